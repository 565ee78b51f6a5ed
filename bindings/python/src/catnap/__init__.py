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
from ._library import Error
from ._types import (AfterGuest, BalloonStats, Bias, CheckState, DeviceStats, DiskFormat, Event, EventType, Exit, ExitReason,
                     HaltStats, HotplugStats, Hw, ImageKind, Io, IoStats, Irqchip, LogLevel, MemoryMode, MemoryPages, NetQueueStats,
                     OnReset, PolicyContext, PolicyKind, PolicyStats, PollLimitStats, SandboxMode, SnapshotDevice,
                     SnapshotInfo, SnapshotKind, SnapshotMemory, Spin, Transport, VcpuStats, VmState, WakeCause)
from ._values import Bucket, DiskPlace, HaltPoll, Limit, NetPlace, VhostType
from .halter import Halter, HalterSelector
from .host import Check, check_host, host_memory, host_tsc_khz, library_version
from .snapshot import Snapshot
from .vm import VM

__all__ = ['AfterGuest', 'BalloonStats', 'Bias', 'Bucket', 'Check', 'CheckState', 'DeviceStats', 'DiskFormat', 'DiskPlace',
           'Error', 'Event', 'EventType', 'Exit', 'ExitReason', 'HaltPoll', 'HaltStats', 'Halter', 'HalterSelector',
           'HotplugStats', 'Hw', 'ImageKind', 'Io', 'IoStats', 'Irqchip', 'Limit', 'LogLevel', 'MemoryMode', 'MemoryPages',
           'NetPlace', 'NetQueueStats', 'OnReset', 'PolicyContext', 'PolicyKind', 'PolicyStats', 'PollLimitStats',
           'SandboxMode', 'Snapshot', 'SnapshotDevice', 'SnapshotInfo', 'SnapshotKind', 'SnapshotMemory', 'Spin',
           'Transport', 'VM', 'VcpuStats', 'VhostType', 'VmState', 'WakeCause', 'check_host', 'host_memory',
           'host_tsc_khz', 'library_version']
