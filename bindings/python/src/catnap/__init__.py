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
                     HaltStats, Hw, ImageKind, Io, IoStats, Irqchip, LogLevel, NetQueueStats, OnReset, PolicyContext, PolicyKind,
                     PolicyStats, SandboxMode, Spin, Transport, VcpuStats, VmState)
from ._values import Bucket, HaltPoll, Limit
from .host import Check, check_host, host_memory, host_tsc_khz, library_version
from .vm import VM

__all__ = ['AfterGuest', 'BalloonStats', 'Bias', 'Bucket', 'Check', 'CheckState', 'DeviceStats', 'DiskFormat', 'Error', 'Event',
           'EventType', 'Exit', 'ExitReason', 'HaltPoll', 'HaltStats', 'Hw', 'ImageKind', 'Io', 'IoStats', 'Irqchip', 'Limit',
           'LogLevel', 'NetQueueStats', 'OnReset', 'PolicyContext', 'PolicyKind', 'PolicyStats', 'SandboxMode', 'Spin',
           'Transport', 'VM', 'VcpuStats', 'VmState', 'check_host', 'host_memory', 'host_tsc_khz', 'library_version']
