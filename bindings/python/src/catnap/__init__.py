# SPDX-License-Identifier: Apache-2.0
"""Virtual machines on KVM, by libcatnap.

    import catnap

    with catnap.VM('vmlinuz', initramfs='initrd.img', on_serial=sys.stdout.buffer.write) as vm:
        vm.start()
        print(vm.wait().reason)

and in asyncio:

    async with catnap.VM('vmlinuz') as vm:
        vm.start()
        async for event in vm.events():
            print(event)
"""
from ._config import Config
from ._library import Error
from ._types import (AfterGuest, BalloonStats, Bias, CheckState, CpuidRegister, DeviceStats, DiskFormat, Event, EventType, Exit, ExitReason,
                     HaltClass, HaltStats, HotplugStats, Hw, ImageKind, Io, IoStats, Irqchip, LogLevel, MemoryMode, MemoryPages, NetQueueStats,
                     OnReset, PolicyContext, PolicyKind, PolicyStats, PollLimitCost, PollLimitStats, SandboxMode, SnapshotDevice,
                     SnapshotInfo, SnapshotKind, SnapshotMemory, Spin, Transport, VcpuStats, VmState, WakeCause)
from ._values import Bucket, CpuidModifier, DiskPlace, HaltPoll, Limit, MsrModifier, NetPlace, Node, VhostType
from .halter import Halter, HalterSelector
from .host import Check, check_host, host_kvm_run_ns, host_memory, host_tsc_khz, library_version
from .policy import Policy, PollLimit
from .sandbox import Keeper, SandboxAllow, SandboxMeans, enter_sandbox, sandbox_available
from .snapshot import Snapshot
from .vm import VM

__all__ = ['AfterGuest', 'BalloonStats', 'Bias', 'Bucket', 'Check', 'CheckState', 'Config', 'CpuidModifier',
           'CpuidRegister', 'DeviceStats', 'DiskFormat', 'DiskPlace', 'Error', 'Event', 'EventType', 'Exit',
           'ExitReason', 'HaltClass', 'HaltPoll', 'HaltStats', 'Halter', 'HalterSelector', 'HotplugStats', 'Hw',
           'ImageKind', 'Io', 'IoStats', 'Irqchip', 'Keeper', 'Limit', 'LogLevel', 'MemoryMode', 'MemoryPages',
           'MsrModifier', 'NetPlace', 'NetQueueStats', 'Node', 'OnReset', 'Policy', 'PolicyContext', 'PolicyKind',
           'PolicyStats', 'PollLimit', 'PollLimitCost', 'PollLimitStats', 'SandboxAllow', 'SandboxMeans',
           'SandboxMode', 'Snapshot', 'SnapshotDevice', 'SnapshotInfo', 'SnapshotKind', 'SnapshotMemory', 'Spin',
           'Transport', 'VM', 'VcpuStats', 'VhostType', 'VmState', 'WakeCause', 'check_host', 'enter_sandbox',
           'host_kvm_run_ns', 'host_memory', 'host_tsc_khz', 'library_version', 'sandbox_available']
