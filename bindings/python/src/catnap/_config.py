# SPDX-License-Identifier: Apache-2.0
"""What a VM was made with, as it tells."""
import dataclasses
from typing import Any, Optional, Tuple

from ._abi import ffi
from ._library import text
from ._types import AfterGuest, Hw, ImageKind, Io, Irqchip, MemoryPages, OnReset, SandboxMode, Transport
from ._values import CpuidModifier, HaltPoll, MsrModifier, Node, numbers


@dataclasses.dataclass(frozen=True)
class Config:  # pylint: disable=too-many-instance-attributes
    """A VM's configuration, under the names of VM's arguments. Images, command lines, the control group and capabilities
    that were required are not kept. Halt polling is that of the start."""

    name: Optional[str]
    vcpus: int
    memory: int
    halt_poll: HaltPoll
    irqchip: Irqchip
    image_kind: ImageKind
    hw: Hw
    transport: Transport
    io: Io
    rng: bool
    realtime: bool
    poll_after_guest: AfterGuest
    on_reset: OnReset
    debug_exit_port: Optional[int]
    affinity: Optional[Tuple[int, ...]]
    sandbox: SandboxMode
    no_rings: bool
    guest_hlt: bool
    halt_trace_fd: Optional[int]
    pressure_fd: Optional[int]
    throttle_fd: Optional[int]
    track_dirty: bool
    memory_shared: bool
    memory_pages: MemoryPages
    memory_prefault: bool
    memory_lock: bool
    memory_nodes: Tuple[int, ...]
    nodes: Tuple[Node, ...]
    dump_memory: bool
    hotplug: bool
    cpuid: Tuple[CpuidModifier, ...]
    msrs: Tuple[MsrModifier, ...]
    kvm_dropped: Tuple[int, ...]
    kick_signal: int

    @classmethod
    def _of(cls, cfg: Any) -> 'Config':
        def given(number: int) -> Optional[int]:
            return None if number < 0 else int(number)

        return cls(
            name=text(cfg.name) if cfg.name != ffi.NULL else None, vcpus=cfg.vcpus, memory=cfg.memory_size,
            halt_poll=HaltPoll._of(cfg.halt_poll), irqchip=Irqchip(cfg.irqchip), image_kind=ImageKind(cfg.image_kind),
            hw=Hw(cfg.hw), transport=Transport(cfg.transport), io=Io(cfg.io), rng=bool(cfg.rng), realtime=bool(cfg.realtime),
            poll_after_guest=AfterGuest(cfg.poll_after_guest), on_reset=OnReset(cfg.on_reset),
            debug_exit_port=given(cfg.debug_exit_port),
            affinity=None if cfg.vcpu_affinity == ffi.NULL else tuple(cfg.vcpu_affinity[0:cfg.vcpus]),
            sandbox=SandboxMode(cfg.sandbox), no_rings=bool(cfg.no_rings), guest_hlt=bool(cfg.guest_hlt),
            halt_trace_fd=given(cfg.halt_trace_fd), pressure_fd=given(cfg.pressure_fd), throttle_fd=given(cfg.throttle_fd),
            track_dirty=bool(cfg.track_dirty), memory_shared=bool(cfg.memory_shared), memory_pages=MemoryPages(cfg.memory_pages),
            memory_prefault=bool(cfg.memory_prefault), memory_lock=bool(cfg.memory_lock),
            memory_nodes=numbers(cfg.memory_host_nodes),
            nodes=tuple(Node._of(cfg.nodes[n], cfg.node_count) for n in range(cfg.node_count)),
            dump_memory=bool(cfg.dump_memory), hotplug=bool(cfg.hotplug),
            cpuid=tuple(CpuidModifier._of(cfg.cpuid_modifiers[n]) for n in range(cfg.cpuid_modifier_count)),
            msrs=tuple(MsrModifier._of(cfg.msr_modifiers[n]) for n in range(cfg.msr_modifier_count)),
            kvm_dropped=tuple(cfg.kvm_dropped[n] for n in range(cfg.kvm_dropped_count)), kick_signal=cfg.kick_signal)
