# SPDX-License-Identifier: Apache-2.0
"""The values that callers give: halt polling, limits, and places of devices."""
import dataclasses
import enum
import errno
import os
from typing import Any, List, Optional, Sequence, Tuple, Union

from ._abi import ffi
from ._library import Error, given, lib
from ._types import MAX_NODES, Bias, CpuidRegister, DiskFormat, PolicyKind, Spin

Path = Union[str, bytes, 'os.PathLike[str]', 'os.PathLike[bytes]']


def bits(what: str, chosen: Sequence[int]) -> int:
    """A mask of 64 bits, by their numbers."""
    mask = 0
    for n in chosen:
        if not 0 <= n < 64:
            raise ValueError(f'{what}: {n}: expected 0 to 63')
        mask |= 1 << n
    return mask


def numbers(mask: int) -> Tuple[int, ...]:
    """The numbers of its bits."""
    return tuple(n for n in range(64) if mask >> n & 1)


class VhostType(enum.IntEnum):
    """virtio's numbers of devices that the library knows behind a back end in another process."""

    NET = 1
    DISK = 2
    FOLDER = 26


@dataclasses.dataclass(frozen=True)
class CpuidModifier:
    """A change of what CPUID tells the guest: the bits of @mask become those of @value."""

    leaf: int
    register: CpuidRegister
    mask: int
    value: int
    subleaf: int = 0

    def _fill(self, modifier: Any) -> None:
        modifier.leaf, modifier.subleaf, modifier.reg = self.leaf, self.subleaf, self.register
        modifier.mask, modifier.value = self.mask, self.value

    @classmethod
    def _of(cls, m: Any) -> 'CpuidModifier':
        return cls(m.leaf, CpuidRegister(m.reg), m.mask, m.value, m.subleaf)


@dataclasses.dataclass(frozen=True)
class MsrModifier:
    """A change of an MSR as the guest finds it: the bits of @mask become those of @value."""

    index: int
    mask: int
    value: int

    def _fill(self, modifier: Any) -> None:
        modifier.index, modifier.mask, modifier.value = self.index, self.mask, self.value

    @classmethod
    def _of(cls, m: Any) -> 'MsrModifier':
        return cls(m.index, m.mask, m.value)


@dataclasses.dataclass(frozen=True)
class Node:
    """A NUMA node of the guest: struct catnap_node. It has vCPUs, memory or both; memory goes to the nodes in their order,
    from address 0 on."""

    vcpus: Sequence[int] = ()
    memory: int = 0
    #: The NUMA nodes of the host that its memory may come from. (): those of memory_nodes.
    host_nodes: Sequence[int] = ()
    #: How far its vCPUs are from the memory of each node, as in ACPI's SLIT. (): 10 from its own, 20 from others.
    distances: Sequence[int] = ()

    def _fill(self, node: Any) -> None:
        node.vcpus, node.memory_size = bits('nodes: vcpus', self.vcpus), self.memory
        node.host_nodes = bits('nodes: host_nodes', self.host_nodes)
        if len(self.distances) > MAX_NODES:
            raise ValueError(f'nodes: {len(self.distances)} distances: expected {MAX_NODES} at most')
        for n, distance in enumerate(self.distances):
            if not 0 <= distance <= 255:
                raise ValueError(f'nodes: distance {distance}: expected 0 to 255')
            node.distances[n] = distance

    @classmethod
    def _of(cls, node: Any, count: int) -> 'Node':
        distances = tuple(node.distances[n] for n in range(count))
        return cls(numbers(node.vcpus), int(node.memory_size), numbers(node.host_nodes), distances if any(distances) else ())


@dataclasses.dataclass(frozen=True)
class HaltPoll:
    """How long a halted vCPU polls before it sleeps: struct catnap_halt_poll. None is the library's default."""

    policy: PolicyKind = PolicyKind.ADAPTIVE
    #: The longest poll, in ns. The default depends on the policy: 1 ms for adaptive, else 200 us.
    max_ns: Optional[int] = None
    grow: Optional[int] = None
    grow_start_ns: Optional[int] = None
    shrink: Optional[int] = None
    bias: Optional[Bias] = None
    price_ns: Optional[int] = None
    # : The share of one processor that failing polls may take, in hundredths of per cent; 0: no limit.
    cpu_max: Optional[int] = None
    group: Optional[bool] = None
    spin: Optional[Spin] = None

    def _fill(self, params: Any) -> None:
        from . import _types
        lib.catnap_halt_poll_init_sized(params, ffi.sizeof('struct catnap_halt_poll'))
        if self.max_ns is None and self.policy != PolicyKind.ADAPTIVE:
            params.max_ns = _types.KERNEL_MAX_NS
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(params, field.name, int(value))

    def check(self) -> None:
        """Error (EINVAL): it cannot be used."""
        self._checked()

    def _checked(self) -> Any:
        params = ffi.new('struct catnap_halt_poll *')
        self._fill(params)
        if lib.catnap_halt_poll_check(params) < 0:
            raise Error(errno.EINVAL, 'halt polling: policy, bias or spin is unknown, or cpu_max is above 10000')
        return params

    @classmethod
    def _of(cls, params: Any) -> 'HaltPoll':
        return cls(policy=PolicyKind(params.policy), max_ns=params.max_ns, grow=params.grow, grow_start_ns=params.grow_start_ns,
                   shrink=params.shrink, bias=Bias(params.bias), price_ns=params.price_ns, cpu_max=params.cpu_max,
                   group=bool(params.group), spin=Spin(params.spin))


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A token bucket: @size tokens, which come back in @refill_ns; and some that are there once."""

    size: int
    refill_ns: int
    one_time_burst: int = 0


@dataclasses.dataclass(frozen=True)
class Limit:
    """How much a device may do: bytes, and operations. None: no limit."""

    bandwidth: Optional[Bucket] = None
    operations: Optional[Bucket] = None

    def _fill(self, limit: Any) -> None:
        for bucket, to in ((self.bandwidth, limit.bw), (self.operations, limit.ops)):
            to.size = bucket.size if bucket else 0
            to.refill_ns = bucket.refill_ns if bucket else 0
            to.one_time_burst = bucket.one_time_burst if bucket else 0


@dataclasses.dataclass(frozen=True)
class DiskPlace:
    """Where a disk of a snapshot's is now: struct catnap_disk. A descriptor is the VM's then."""

    path: Optional[Path] = None
    fd: Optional[int] = None
    direct: bool = False
    lock: bool = True
    disk_format: DiskFormat = DiskFormat.GUARDED
    limit: Optional[Limit] = None

    def _fill(self, disk: Any, used: List[Any]) -> None:
        lib.catnap_disk_init_sized(disk, ffi.sizeof('struct catnap_disk'))
        if self.path is not None:
            used.append(given('path', self.path))
            disk.path = used[-1]
        if self.fd is not None:
            disk.fd = self.fd
        disk.direct, disk.no_lock, disk.format = self.direct, not self.lock, self.disk_format
        if self.limit is not None:
            self.limit._fill(disk.limit)


@dataclasses.dataclass(frozen=True)
class NetPlace:
    """What an interface leads to: struct catnap_net. A TAP interface of the host, or descriptors of its queues; or a
    stream socket, as passt(1) has it, by its path or connected. Descriptors are the VM's then."""

    tap: Optional[str] = None
    fds: Optional[Sequence[int]] = None
    stream: Optional[Path] = None
    stream_fd: Optional[int] = None
    mac: Optional[bytes] = None

    def _fill(self, net: Any, used: List[Any]) -> None:
        lib.catnap_net_init_sized(net, ffi.sizeof('struct catnap_net'))
        if self.tap is not None:
            used.append(given('tap', self.tap))
            net.tap = used[-1]
        if self.fds is not None:
            used.append(ffi.new('int32_t[]', list(self.fds)))
            net.tap_fds, net.queues = used[-1], len(self.fds)
        if self.stream is not None:
            used.append(given('stream', self.stream))
            net.stream = used[-1]
        if self.stream_fd is not None:
            net.stream_fd = self.stream_fd
        if self.mac is not None:
            net.mac = list(self.mac)
