# SPDX-License-Identifier: Apache-2.0
"""A virtual machine."""
import asyncio
import atexit
import contextlib
import errno
import math
import os
import select
import time
import types
import weakref
from typing import TYPE_CHECKING, Any, AsyncIterator, Callable, List, Optional, Sequence, Tuple, Type, Union

from . import _types
from ._abi import ffi
from ._config import Config
from ._library import Error, check, convert, filled, given, lib, raise_first, text
from ._readable import eventfd, readable
from ._types import (AfterGuest, BalloonStats, DeviceStats, DiskFormat, Event, Exit, HotplugStats, Hw, ImageKind, Io, IoStats, Irqchip,
                     LogLevel, MemoryPages, NetQueueStats, OnReset, PolicyContext, PolicyStats, PollLimitStats, SandboxMode,
                     SnapshotKind, Transport, VcpuStats, VmState)
from ._uses import Inside, Uses
from ._values import CpuidModifier, DiskPlace, HaltPoll, Limit, MsrModifier, NetPlace, Node, Path, VhostType, bits
from ._written import Written
from .sandbox import Keeper, SandboxAllow

if TYPE_CHECKING:
    from .snapshot import Snapshot

Image = Union[Path, memoryview, bytearray]
Output = Callable[[bytes], None]
Log = Callable[[LogLevel, str], None]
ThreadStart = Callable[[Optional[int]], None]

_LONGEST_MS = 1 << 30  # of poll(2), whose times are ints


class _Leaving:
    """A VM that could not be freed at once, and what its callbacks need until it is."""

    waiting: List['_Leaving'] = []

    def __init__(self, keep: List[Any], done: int) -> None:
        """@done: the eventfd that tells when it has been freed."""
        self.keep = keep
        self.eventfd = done
        self.waiting.append(self)
        self.look()

    @classmethod
    def look(cls) -> None:
        """Forgets those that have gone."""
        for left in list(cls.waiting):
            try:
                os.read(left.eventfd, 8)
            except BlockingIOError:
                continue
            cls.waiting.remove(left)
            os.close(left.eventfd)


_all: 'weakref.WeakSet[VM]' = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    """Callbacks want an interpreter."""
    for vm in list(_all):
        vm._release()  # pylint: disable=protected-access


def _poll(what: select.poll, timeout: Optional[float]) -> None:
    """Waits for @timeout seconds at most (None: for ever), so that a signal's handler runs, and may raise."""
    deadline = math.inf if timeout is None else time.monotonic() + timeout
    if math.isnan(deadline):
        raise ValueError('timeout: is not a number')
    while not what.poll(max(min(math.ceil((deadline - time.monotonic()) * 1000), _LONGEST_MS), 0) if deadline < math.inf else None):
        if time.monotonic() >= deadline:
            return


class VM:  # pylint: disable=too-many-public-methods
    """A virtual machine: made by its constructor, destroyed by close(), by the end of a with block, or when nobody
    has it any more.

    Calls block, but not the interpreter; those that may block for long have a second form, NAME_async(), for asyncio.
    Any thread may use a VM. Callbacks come on the VM's threads. One that is destroyed there goes as soon as it can.

    An image is a path, or its contents as bytearray or memoryview. Each failure is an Error with a sentence.

    on_thread_start(vcpu) is called by each new thread before anything of the guest has run, with None by that of the
    devices; what it raises comes out of start().
    """

    # pylint: disable=too-many-arguments,too-many-locals
    def __init__(self, kernel: Image, *, cmdline: str = '', memory: int = 256 << 20, vcpus: int = 1,
                 initramfs: Optional[Image] = None, name: Optional[str] = None, halt_poll: Optional[HaltPoll] = None,
                 irqchip: Irqchip = Irqchip.USER, image_kind: ImageKind = ImageKind.AUTO, hw: Hw = Hw.ACPI,
                 transport: Transport = Transport.PCI, io: Io = Io.VCPU, rng: bool = False,
                 linux_cmdline: Optional[str] = None, realtime: bool = False,
                 poll_after_guest: AfterGuest = AfterGuest.LEARNED, on_reset: OnReset = OnReset.END,
                 debug_exit_port: Optional[int] = None, affinity: Optional[Sequence[int]] = None,
                 sandbox: SandboxMode = SandboxMode.OFF, no_rings: bool = False, guest_hlt: bool = False,
                 kvm_fd: Optional[int] = None, halt_trace_fd: Optional[int] = None,
                 pressure_fd: Optional[int] = None, throttle_fd: Optional[int] = None, track_dirty: bool = False,
                 memory_shared: bool = False, memory_pages: MemoryPages = MemoryPages.HOST, memory_prefault: bool = False,
                 memory_lock: bool = False, memory_nodes: Sequence[int] = (), nodes: Sequence[Node] = (), dump_memory: bool = False,
                 hotplug: bool = False, cpuid: Sequence[CpuidModifier] = (), msrs: Sequence[MsrModifier] = (),
                 kvm_required: Sequence[int] = (), kvm_dropped: Sequence[int] = (), kick_signal: Optional[int] = None,
                 cgroup: Optional[Path] = None, keeper: Optional[Keeper] = None,
                 on_thread_start: Optional[ThreadStart] = None,
                 on_serial: Optional[Output] = None, on_log: Optional[Log] = None) -> None:
        self._empty()
        cfg, used = self._config(
            kernel=kernel, initramfs=initramfs, name=name, halt_poll=halt_poll, image_kind=image_kind, io=io,
            poll_after_guest=poll_after_guest, on_reset=on_reset, affinity=affinity, vcpus=vcpus, sandbox=sandbox,
            no_rings=no_rings, kvm_fd=kvm_fd, halt_trace_fd=halt_trace_fd, pressure_fd=pressure_fd, throttle_fd=throttle_fd,
            track_dirty=track_dirty, memory_shared=memory_shared, memory_pages=memory_pages, memory_prefault=memory_prefault,
            memory_lock=memory_lock, memory_nodes=memory_nodes, dump_memory=dump_memory, kvm_required=kvm_required,
            kvm_dropped=kvm_dropped, kick_signal=kick_signal, cgroup=cgroup, keeper=keeper,
            on_thread_start=on_thread_start, on_serial=on_serial, on_log=on_log)
        cfg.cpuid_modifiers, cfg.cpuid_modifier_count = self._array('struct catnap_cpuid_modifier', cpuid, used)
        cfg.msr_modifiers, cfg.msr_modifier_count = self._array('struct catnap_msr_modifier', msrs, used)
        cfg.nodes, cfg.node_count = self._array('struct catnap_node', nodes, used)
        for member, value in (('cmdline', cmdline), ('linux_cmdline', linux_cmdline)):
            if value is not None:
                used.append(given(member, value))
                setattr(cfg, member, used[-1])
        cfg.vcpus, cfg.memory_size = vcpus, memory
        cfg.irqchip, cfg.hw, cfg.transport = irqchip, hw, transport
        cfg.rng, cfg.realtime, cfg.guest_hlt, cfg.hotplug = rng, realtime, guest_hlt, hotplug
        if debug_exit_port is not None:
            cfg.debug_exit_port = debug_exit_port
        check(lib.catnap_vm_create(cfg, self._uses.place))
        self._made()

    def _empty(self) -> None:
        self._uses = Uses()
        self._keep: List[Any] = []
        self._raised: List[BaseException] = []

    def _made(self) -> None:
        _all.add(self)

    # What a VM has whether it is new or was restored.
    def _config(self, *, kernel: Optional[Image], initramfs: Optional[Image], name: Optional[str],
                halt_poll: Optional[HaltPoll], image_kind: ImageKind, io: Io, poll_after_guest: AfterGuest,
                on_reset: OnReset, affinity: Optional[Sequence[int]], vcpus: int, sandbox: SandboxMode, no_rings: bool,
                kvm_fd: Optional[int], halt_trace_fd: Optional[int], pressure_fd: Optional[int],
                throttle_fd: Optional[int], track_dirty: bool, memory_shared: bool, memory_pages: MemoryPages,
                memory_prefault: bool, memory_lock: bool, memory_nodes: Sequence[int], dump_memory: bool,
                kvm_required: Sequence[int], kvm_dropped: Sequence[int], kick_signal: Optional[int], cgroup: Optional[Path],
                keeper: Optional[Keeper], on_thread_start: Optional[ThreadStart], on_serial: Optional[Output],
                on_log: Optional[Log]) -> Tuple[Any, List[Any]]:
        cfg = ffi.new('struct catnap_vm_config *')
        lib.catnap_vm_config_init_sized(cfg, ffi.sizeof('struct catnap_vm_config'))
        used: List[Any] = []
        if kernel is not None:
            self._image(cfg, 'kernel', kernel, used)
        if initramfs is not None:
            self._image(cfg, 'initramfs', initramfs, used)
        if name is not None:
            used.append(given('name', name))
            cfg.name = used[-1]
        cfg.image_kind, cfg.io, cfg.no_rings = image_kind, io, no_rings
        cfg.poll_after_guest, cfg.on_reset, cfg.sandbox = poll_after_guest, on_reset, sandbox
        cfg.track_dirty, cfg.memory_shared, cfg.memory_pages = track_dirty, memory_shared, memory_pages
        cfg.memory_prefault, cfg.memory_lock, cfg.dump_memory = memory_prefault, memory_lock, dump_memory
        cfg.memory_host_nodes = bits('memory_nodes', memory_nodes)
        (halt_poll or HaltPoll())._fill(ffi.addressof(cfg, 'halt_poll'))  # pylint: disable=protected-access
        for member, number in (('kvm_fd', kvm_fd), ('halt_trace_fd', halt_trace_fd), ('pressure_fd', pressure_fd),
                               ('throttle_fd', throttle_fd), ('kick_signal', kick_signal)):
            if number is not None:
                setattr(cfg, member, number)
        if affinity is not None:
            if len(affinity) != vcpus:
                raise ValueError(f'affinity: {len(affinity)} processors for {vcpus} vCPUs')
            used.append(ffi.new('int32_t[]', list(affinity)))
            cfg.vcpu_affinity = used[-1]
        for what, capabilities in (('kvm_required', kvm_required), ('kvm_dropped', kvm_dropped)):
            used.append(ffi.new('uint32_t[]', list(capabilities)))
            setattr(cfg, what, used[-1])
            setattr(cfg, what + '_count', len(capabilities))
        if cgroup is not None:
            used.append(given('cgroup', cgroup))
            cfg.cgroup = used[-1]
        if keeper is not None:
            self._keep.append(keeper._use(cfg))  # pylint: disable=protected-access
        if on_thread_start is not None:
            cfg.thread_start = self._thread_start(on_thread_start)
        if on_serial is not None:
            cfg.serial_output = self._output(on_serial)
        if on_log is not None:
            cfg.log = self._log(on_log)
        _Leaving.look()
        return cfg, used

    # -- life ---------------------------------------------------------------------------------

    def close(self) -> None:
        """Ends the VM, if it runs, and frees all of it; nothing, if that was done. What other threads have begun comes
        to its end first: wait() returns, and what they begin then is an Error (EBADF). Error (EDEADLK) by a callback of
        its own, (ETIMEDOUT) if a callback does not return: then it may be called again."""
        self._uses.close()
        self._keep = []

    async def close_async(self) -> None:
        """The same without blocking the loop."""
        if not self.closed:
            await self._uses.close_async(self._keep)
        self._keep = []

    def _release(self) -> None:
        """For who has no one to tell of an error."""
        try:
            self.close()
        except Error as e:
            if e.errno not in (errno.EDEADLK, errno.ETIMEDOUT):
                return
            done, vm = eventfd(), self._uses.place[0]
            self._uses.place[0] = ffi.NULL
            if lib.catnap_vm_request_destroy(vm, done) == 0:
                _Leaving(self._keep, done)
            else:
                os.close(done)

    def __del__(self) -> None:
        if hasattr(self, '_uses') and not self.closed:
            self._release()

    def __enter__(self) -> 'VM':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    async def __aenter__(self) -> 'VM':
        return self

    async def __aexit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                        trace: Optional[types.TracebackType]) -> None:
        await self.close_async()

    def start(self) -> None:
        """Starts it: one thread for each vCPU. Once."""
        self._raised.clear()
        with self._uses.mine():
            vm = self._uses.handle()
            ret = lib.catnap_vm_start(vm)
            raise_first(self._raised)
            check(ret, vm)

    def sandbox_thread(self, allow: SandboxAllow = SandboxAllow(0)) -> None:
        """Gives the calling thread its filter of system calls, after the start: calls on this VM, reading and writing
        what is open, memory, the end of the process, and what @allow names. The interpreter's own end needs more: end
        by os._exit()."""
        self._call(lib.catnap_vm_sandbox_thread, allow)

    def wait(self, timeout: Optional[float] = None) -> Exit:
        """Waits for its end, for @timeout seconds at most. Error (ETIMEDOUT): it goes on. Ctrl-C ends the wait."""
        end = ffi.new('struct catnap_exit *')
        end.size = ffi.sizeof('struct catnap_exit')
        with self._uses.mine():
            vm = self._uses.handle()
            ended = select.poll()
            ended.register(check(lib.catnap_vm_get_fd(vm), vm), select.POLLIN)
            _poll(ended, timeout)
            check(lib.catnap_vm_wait(vm, 0, end), vm)
        return convert(Exit, end)

    async def wait_async(self, timeout: Optional[float] = None) -> Exit:
        await readable(self.fileno(), timeout)
        return self.wait(0)

    def request_stop(self) -> None:
        """Ends it as by pulling the plug, and does not wait."""
        self._call(lib.catnap_vm_request_stop)

    def stop(self) -> None:
        self._call(lib.catnap_vm_stop)

    async def stop_async(self) -> Exit:
        self.request_stop()
        return await self.wait_async()

    def pause(self) -> None:
        """Stops all vCPUs, and waits until they stand still."""
        self._call(lib.catnap_vm_pause)

    async def pause_async(self) -> None:
        """The same without blocking the loop. One that is cancelled pauses the VM all the same."""
        fd = self._call(lib.catnap_vm_get_paused_fd)
        self._call(lib.catnap_vm_request_pause)
        await readable(fd)
        self._call(lib.catnap_vm_pause)

    def resume(self) -> None:
        self._call(lib.catnap_vm_resume)

    def snapshot(self, state: Path, memory: Path, *, kind: SnapshotKind = SnapshotKind.FULL,
                 base: 'Optional[Snapshot]' = None) -> None:
        """Puts a VM that is paused down in two files, in one folder; Snapshot(state) goes on from them. A diff has
        what was written since the last snapshot (track_dirty), and its files need those before it: those of @base,
        which is the VM's last snapshot, perhaps merged, or those that the VM has written itself.
        Error (ESTALE): @base is another snapshot.

        Both files are durable, and get their names at the end: a call that fails leaves what was there. Only a diff's
        @memory may not be there yet: it could be one of those that it needs."""
        if kind == SnapshotKind.DIFF and os.path.lexists(memory):
            raise FileExistsError(errno.EEXIST, 'a diff needs a memory file of its own', os.fsdecode(memory))
        with Written(state, memory) as files, base.held() if base is not None else contextlib.nullcontext(ffi.NULL) as behind:
            request = ffi.new('struct catnap_snapshot_request *')
            lib.catnap_snapshot_request_init_sized(request, ffi.sizeof('struct catnap_snapshot_request'))
            request.kind = kind
            request.base = behind
            files.fill(request)
            with self._uses.mine():
                vm = self._uses.handle()
                files.check(lib.catnap_vm_snapshot(vm, request), vm)

    async def snapshot_async(self, state: Path, memory: Path, *, kind: SnapshotKind = SnapshotKind.FULL,
                             base: 'Optional[Snapshot]' = None) -> None:
        """The same in a thread, so that the loop goes on."""
        await asyncio.get_running_loop().run_in_executor(None, lambda: self.snapshot(state, memory, kind=kind, base=base))

    def reset(self) -> None:
        """Begins the guest anew, and waits until that is done (on_reset is RESTART)."""
        self._call(lib.catnap_vm_reset)

    def request_reset(self) -> None:
        self._call(lib.catnap_vm_request_reset)

    def power_button(self) -> None:
        """Asks the guest to shut down. Error (ENXIO): it does not listen."""
        self._call(lib.catnap_vm_power_button)

    # -- what it has --------------------------------------------------------------------------

    def add_disk(self, path: Optional[Path] = None, *, fd: Optional[int] = None, readonly: bool = False, direct: bool = False,
                 disk_id: Optional[str] = None, queues: int = 0, block_size: int = 0, lock: bool = True,
                 disk_format: DiskFormat = DiskFormat.GUARDED, limit: Optional[Limit] = None) -> None:
        """A disk on a raw image, before the start or, with hotplug, later. With @fd it is the VM's then."""
        disk, used = self._disk(path, fd, readonly, direct, lock, disk_format)
        if disk_id is not None:
            used.append(given('disk_id', disk_id))
            disk.id = used[-1]
        disk.queues, disk.block_size = queues, block_size
        if limit is not None:
            limit._fill(disk.limit)  # pylint: disable=protected-access
        self._call(lib.catnap_vm_add_disk, disk)

    def change_disk(self, disk: int, path: Optional[Path] = None, *, fd: Optional[int] = None, readonly: bool = False,
                    direct: bool = False, lock: bool = True, disk_format: DiskFormat = DiskFormat.GUARDED) -> int:
        """Another image in the place of disk number @disk's. Returns its bytes."""
        image, used = self._disk(path, fd, readonly, direct, lock, disk_format)
        size = ffi.new('uint64_t *')
        self._call(lib.catnap_vm_change_disk, disk, image, size)
        del used
        return int(size[0])

    def update_disk(self, disk: int) -> int:
        """Tells the guest how long the image is now, which is returned."""
        size = ffi.new('uint64_t *')
        self._call(lib.catnap_vm_update_disk, disk, size)
        return int(size[0])

    def remove_disk(self, disk: int) -> None:
        """Asks the guest of a VM with hotplug to let go of a disk; an event tells when it has."""
        self._call(lib.catnap_vm_remove_disk, disk)

    def set_disk_limit(self, disk: int, limit: Limit) -> None:
        self._call(lib.catnap_vm_set_disk_limit, disk, self._limit(limit))

    def set_hotplug(self, maximum: int, *, block: int = 0, requested: int = 0) -> None:
        """Memory that the guest plugs and unplugs, before the start."""
        hotplug = ffi.new('struct catnap_hotplug *')
        lib.catnap_hotplug_init_sized(hotplug, ffi.sizeof('struct catnap_hotplug'))
        hotplug.max, hotplug.requested, hotplug.block = maximum, requested, block or hotplug.block
        self._call(lib.catnap_vm_set_hotplug, hotplug)

    def set_hotplug_size(self, size: int) -> None:
        self._call(lib.catnap_vm_set_hotplug_size, size)

    def add_pmem(self, path: Optional[Path] = None, *, fd: Optional[int] = None, readonly: bool = False, lock: bool = True,
                 pmem_format: DiskFormat = DiskFormat.GUARDED, limit: Optional[Limit] = None) -> None:
        """Persistent memory, which is a file, before the start. With @fd it is the VM's then."""
        pmem = ffi.new('struct catnap_pmem *')
        lib.catnap_pmem_init_sized(pmem, ffi.sizeof('struct catnap_pmem'))
        used = ffi.NULL if path is None else given('path', path)
        pmem.path, pmem.readonly, pmem.no_lock, pmem.format = used, readonly, not lock, pmem_format
        if fd is not None:
            pmem.fd = fd
        if limit is not None:
            limit._fill(pmem.limit)  # pylint: disable=protected-access
        self._call(lib.catnap_vm_add_pmem, pmem)

    def set_pmem_limit(self, pmem: int, limit: Limit) -> None:
        self._call(lib.catnap_vm_set_pmem_limit, pmem, self._limit(limit))

    def add_net(self, tap: Optional[str] = None, *, fds: Optional[Sequence[int]] = None, stream: Optional[Path] = None,
                stream_fd: Optional[int] = None, queues: int = 0, mac: Optional[bytes] = None, mtu: int = 0,
                rx_limit: Optional[Limit] = None, tx_limit: Optional[Limit] = None) -> None:
        """A network interface, before the start or, with hotplug, later: on a TAP interface of the host, on descriptors of one's queues, or
        at a stream socket, as passt(1) has it. Descriptors are the VM's then."""
        net = ffi.new('struct catnap_net *')
        used: List[Any] = []
        NetPlace(tap, fds, stream, stream_fd, mac)._fill(net, used)  # pylint: disable=protected-access
        net.queues, net.mtu = queues or net.queues, mtu
        for limit, to in ((rx_limit, net.rx_limit), (tx_limit, net.tx_limit)):
            if limit is not None:
                limit._fill(to)  # pylint: disable=protected-access
        self._call(lib.catnap_vm_add_net, net)

    def remove_net(self, net: int) -> None:
        """Asks the guest of a VM with hotplug to let go of an interface; an event tells when it has."""
        self._call(lib.catnap_vm_remove_net, net)

    def set_net_limit(self, net: int, rx: Optional[Limit] = None, tx: Optional[Limit] = None) -> None:
        """None: that one stays."""
        self._call(lib.catnap_vm_set_net_limit, net, self._limit(rx), self._limit(tx))

    def set_rng_limit(self, limit: Limit) -> None:
        self._call(lib.catnap_vm_set_rng_limit, self._limit(limit))

    def set_link(self, device: int, up: bool) -> None:
        self._call(lib.catnap_vm_set_link, device, up)

    def add_vhost(self, kind: Union[VhostType, int], socket: Optional[Path] = None, *, fd: Optional[int] = None,
                  queues: int = 0, config_size: int = 0, reconnect: bool = True, tag: Optional[str] = None,
                  mac: Optional[bytes] = None, mtu: int = 0) -> None:
        """A device whose back end is another process, by the vhost-user protocol (memory_shared).
        The back end listens at @socket, or is connected at @fd, which is the VM's then. A folder has a @tag."""
        vhost = ffi.new('struct catnap_vhost *')
        lib.catnap_vhost_init_sized(vhost, ffi.sizeof('struct catnap_vhost'))
        used: List[Any] = []
        if socket is not None:
            used.append(given('socket', socket))
            vhost.socket = used[-1]
        if tag is not None:
            used.append(given('tag', tag))
            vhost.tag = used[-1]
        if fd is not None:
            vhost.fd = fd
        if mac is not None:
            vhost.mac = list(mac)
        vhost.type, vhost.queues, vhost.config_size, vhost.mtu = kind, queues, config_size, mtu
        vhost.no_reconnect = not reconnect
        self._call(lib.catnap_vm_add_vhost, vhost)

    def remove_vhost(self, device: int) -> None:
        """Asks the guest of a VM with hotplug to let go of it, by its number among all devices; an event tells when it
        has."""
        self._call(lib.catnap_vm_remove_vhost, device)

    def set_vsock(self, cid: int, path: Optional[Path] = None, *, fd: Optional[int] = None) -> None:
        """Sockets between guest and host, before the start."""
        vsock = ffi.new('struct catnap_vsock *')
        lib.catnap_vsock_init_sized(vsock, ffi.sizeof('struct catnap_vsock'))
        name = ffi.NULL if path is None else given('path', path)
        vsock.cid, vsock.path = cid, name
        if fd is not None:
            vsock.fd = fd
        self._call(lib.catnap_vm_set_vsock, vsock)

    def set_console(self, output: Optional[Output] = None, *, cols: int = 0, rows: int = 0) -> None:
        """A virtio console, before the start."""
        console = ffi.new('struct catnap_console *')
        lib.catnap_console_init_sized(console, ffi.sizeof('struct catnap_console'))
        console.cols, console.rows = cols, rows
        if output is not None:
            console.output = self._output(output)
        self._call(lib.catnap_vm_set_console, console)

    def set_balloon(self, target: int = 0, *, deflate_on_oom: bool = True) -> None:
        """A balloon, before the start."""
        balloon = ffi.new('struct catnap_balloon *')
        lib.catnap_balloon_init_sized(balloon, ffi.sizeof('struct catnap_balloon'))
        balloon.target, balloon.deflate_on_oom = target, deflate_on_oom
        self._call(lib.catnap_vm_set_balloon, balloon)

    def set_balloon_target(self, target: int) -> None:
        self._call(lib.catnap_vm_set_balloon_target, target)

    # -- talking to it ------------------------------------------------------------------------

    def serial_input(self, data: bytes) -> int:
        """Gives input to the serial port. Returns how much of it was taken."""
        with self._uses.mine():
            vm = self._uses.handle()
            return int(lib.catnap_vm_serial_input(vm, data, len(data)))

    def console_input(self, data: bytes) -> int:
        with self._uses.mine():
            vm = self._uses.handle()
            return int(lib.catnap_vm_console_input(vm, data, len(data)))

    def console_resize(self, cols: int, rows: int) -> None:
        self._call(lib.catnap_vm_console_resize, cols, rows)

    def signal_msi(self, address: int, data: int) -> None:
        """A message-signalled interrupt."""
        self._call(lib.catnap_vm_signal_msi, address, data)

    def add_interrupt_event(self, fd: int, address: int, data: int) -> None:
        """Each signal on the eventfd @fd is such an interrupt; it stays the caller's, who does not read it."""
        self._call(lib.catnap_vm_add_interrupt_event, fd, address, data)

    def del_interrupt_event(self, fd: int) -> None:
        self._call(lib.catnap_vm_del_interrupt_event, fd)

    def add_doorbell(self, address: int, length: int = 0, *, port: bool = False, value: Optional[int] = None) -> int:
        """Returns an eventfd that is signalled when the guest writes to @address (a port, or where no memory is):
        @length bytes (0: any), and @value (None: any). It is the VM's."""
        bell = ffi.new('struct catnap_doorbell *')
        lib.catnap_doorbell_init_sized(bell, ffi.sizeof('struct catnap_doorbell'))
        bell.address, bell.len, bell.port, bell.match, bell.value = address, length, port, value is not None, value or 0
        fd = ffi.new('int *')
        self._call(lib.catnap_vm_add_doorbell, bell, fd)
        return int(fd[0])

    def del_doorbell(self, fd: int) -> None:
        self._call(lib.catnap_vm_del_doorbell, fd)

    def memory_fd(self) -> int:
        """The file that guest memory is (memory_shared), for another process. It stays the VM's."""
        return self._call(lib.catnap_vm_get_memory_fd)

    def read_memory(self, gpa: int, length: int) -> bytes:
        """A copy of guest memory, as it is at some moment of the call."""
        with self._uses.mine():
            return bytes(ffi.buffer(self._memory(gpa, length), length))

    def write_memory(self, gpa: int, data: bytes) -> None:
        with self._uses.mine():
            ffi.memmove(self._memory(gpa, len(data)), data, len(data))

    def next_event(self) -> Optional[Event]:
        """The oldest event that was not taken yet; None: there is none now."""
        event = ffi.new('struct catnap_event *')
        event.size = ffi.sizeof('struct catnap_event')
        with self._uses.mine():
            vm = self._uses.handle()
            ret = lib.catnap_vm_next_event(vm, event)
            if ret == -errno.EAGAIN:
                return None
            check(ret, vm)
        return convert(Event, event)

    async def events(self) -> AsyncIterator[Event]:
        """Each event, as it comes. The last one is ENDED. An event is given once: let one task take them."""
        fd = self._call(lib.catnap_vm_get_event_fd)
        while True:
            event = self.next_event()
            if event is None:
                await readable(fd)
                continue
            yield event
            if event.type == _types.EventType.ENDED:
                return

    # -- halt polling and statistics ----------------------------------------------------------

    def set_halt_poll(self, params: HaltPoll, vcpu: Optional[int] = None) -> None:
        """Changes halt polling of one vCPU, or of all, while it runs."""
        struct = ffi.new('struct catnap_halt_poll *')
        params._fill(struct)  # pylint: disable=protected-access
        self._call(lib.catnap_vm_set_halt_poll, -1 if vcpu is None else vcpu, struct)

    def halt_poll(self, vcpu: int = 0) -> HaltPoll:
        """Returns what was asked for."""
        struct = ffi.new('struct catnap_halt_poll *')
        struct.size = ffi.sizeof('struct catnap_halt_poll')
        self._call(lib.catnap_vm_get_halt_poll, vcpu, struct)
        return HaltPoll._of(struct)  # pylint: disable=protected-access

    def poll_limit_fd(self) -> int:
        """A descriptor that is readable when learn_poll_limit() is due (irqchip KERNEL). It stays the VM's."""
        return self._call(lib.catnap_vm_get_poll_limit_fd)

    def learn_poll_limit(self) -> None:
        """Sets the limit of KVM's own polling by what halts were like (irqchip KERNEL, policy ADAPTIVE)."""
        self._call(lib.catnap_vm_learn_poll_limit)

    def poll_limit_stats(self) -> PollLimitStats:
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(PollLimitStats, 'catnap_poll_limit_stats', lambda s: lib.catnap_vm_get_poll_limit_stats(vm, s), vm)

    def stats(self, vcpu: int = 0) -> VcpuStats:
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(VcpuStats, 'catnap_vcpu_stats', lambda s: lib.catnap_vm_get_stats(vm, vcpu, s), vm)

    def policy_stats(self, vcpu: int = 0) -> PolicyStats:
        """Returns what the halt polling of a vCPU has learned."""
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(PolicyStats, 'catnap_policy_stats', lambda s: lib.catnap_vm_get_policy_stats(vm, vcpu, s), vm,
                          context_size=ffi.sizeof('struct catnap_policy_context'))

    def device_stats(self) -> Tuple[DeviceStats, ...]:
        """Of all virtio devices, in the order in which they were added."""
        found: List[DeviceStats] = []
        with self._uses.mine():
            vm = self._uses.handle()
            while True:
                device = len(found)
                try:
                    found.append(filled(DeviceStats, 'catnap_device_stats',
                                        lambda s, n=device: lib.catnap_vm_get_device_stats(vm, n, s), vm,
                                        net_queue_size=ffi.sizeof('struct catnap_net_queue_stats')))
                except Error as e:
                    if e.errno == errno.ENOENT:
                        return tuple(found)
                    raise

    def io_stats(self) -> IoStats:
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(IoStats, 'catnap_io_stats', lambda s: lib.catnap_vm_get_io_stats(vm, s), vm)

    def hotplug_stats(self) -> HotplugStats:
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(HotplugStats, 'catnap_hotplug_stats', lambda s: lib.catnap_vm_get_hotplug_stats(vm, s), vm)

    def balloon_stats(self) -> BalloonStats:
        with self._uses.mine():
            vm = self._uses.handle()
            return filled(BalloonStats, 'catnap_balloon_stats', lambda s: lib.catnap_vm_get_balloon_stats(vm, s), vm)

    # -- what it is ---------------------------------------------------------------------------

    @property
    def state(self) -> VmState:
        return VmState(self._call(lib.catnap_vm_get_state))

    @property
    def name(self) -> str:
        with self._uses.mine():
            vm = self._uses.handle()
            return text(lib.catnap_vm_get_name(vm))

    @property
    def vcpus(self) -> int:
        return self._call(lib.catnap_vm_get_vcpu_count)

    @property
    def closed(self) -> bool:
        return self._uses.gone

    def config(self) -> Config:
        """Returns what it was made with, as far as it keeps that. halt_poll() has the present values."""
        struct = ffi.new('struct catnap_vm_config *')
        struct.size = ffi.sizeof('struct catnap_vm_config')
        self._call(lib.catnap_vm_get_config, struct)
        return Config._of(struct)  # pylint: disable=protected-access

    def vcpu_tid(self, vcpu: int) -> int:
        """The id of a vCPU's thread, for os.sched_setaffinity() and such."""
        return self._call(lib.catnap_vm_get_vcpu_tid, vcpu)

    def io_tid(self) -> int:
        return self._call(lib.catnap_vm_get_io_tid)

    def memory_handler_fd(self) -> int:
        """A descriptor that is readable once nobody serves the memory any more (MemoryMode.UFFD): then
        check_memory_handler() is to be called. It stays the VM's."""
        return self._call(lib.catnap_vm_get_memory_handler_fd)

    def check_memory_handler(self) -> None:
        """Ends the VM if nobody serves its memory any more."""
        self._call(lib.catnap_vm_check_memory_handler)

    def write_working_set(self, path: Path) -> None:
        """Writes which pages its guest has touched since the VM was restored, with MemoryMode.WORKING_SET."""
        with open(path, 'wb') as f:
            self._call(lib.catnap_vm_write_working_set, f.fileno())

    def flush_halt_trace(self) -> int:
        """Writes what is left of the halt trace of a VM that has ended. Returns how many lines were lost. Error
        (EAGAIN): some wait for the reader of a pipe."""
        lost = ffi.new('uint64_t *')
        self._call(lib.catnap_vm_flush_halt_trace, lost)
        return int(lost[0])

    def stopping_fd(self) -> int:
        """A descriptor that is readable as soon as the VM is to end, for callbacks that wait for something else. It
        stays the VM's, who alone reads it."""
        return self._call(lib.catnap_vm_get_stopping_fd)

    def acpi_tables(self) -> List[Tuple[str, bytes]]:
        """Names and contents of the ACPI tables, as the guest would find them; the RSDP is the first."""
        name, data, length = ffi.new('const char **'), ffi.new('const void **'), ffi.new('size_t *')
        found: List[Tuple[str, bytes]] = []
        with self._uses.mine():
            vm = self._uses.handle()
            while True:
                ret = lib.catnap_vm_get_acpi_table(vm, len(found), name, data, length)
                if ret == -errno.ENOENT:
                    return found
                check(ret, vm)
                found.append((text(name[0]), bytes(ffi.buffer(data[0], length[0]))))

    def device_tree(self) -> bytes:
        """The flattened device tree, as the guest would find it."""
        data, length = ffi.new('const void **'), ffi.new('size_t *')
        with self._uses.mine():
            self._call(lib.catnap_vm_get_device_tree, data, length)
            return bytes(ffi.buffer(data[0], length[0]))

    def fileno(self) -> int:
        """A descriptor that is readable once it has ended, for select and such."""
        return self._call(lib.catnap_vm_get_fd)

    def __repr__(self) -> str:
        try:
            return f'<catnap.VM {self.name or hex(id(self))} {self.state.name.lower()}>'
        except Error:
            return '<catnap.VM closed>'

    # -- inside -------------------------------------------------------------------------------

    def _call(self, function: Any, *args: Any) -> int:
        with self._uses.mine():
            vm = self._uses.handle()
            return check(function(vm, *args), vm)

    def _memory(self, gpa: int, length: int) -> Any:
        pointer = ffi.new('void **')
        self._call(lib.catnap_vm_guest_memory, gpa, length, pointer)
        return pointer[0]

    @staticmethod
    def _image(cfg: Any, what: str, image: Image, used: List[Any]) -> None:
        if isinstance(image, (bytearray, memoryview)):
            used.append(ffi.from_buffer(image))
            setattr(cfg, what + '_data', ffi.cast('void *', used[-1]))
            setattr(cfg, what + '_size', len(used[-1]))
        else:
            used.append(given(what, image))
            setattr(cfg, what + '_path', used[-1])

    @staticmethod
    def _disk(path: Optional[Path], fd: Optional[int], readonly: bool, direct: bool, lock: bool,
              disk_format: DiskFormat) -> Tuple[Any, List[Any]]:
        disk = ffi.new('struct catnap_disk *')
        used: List[Any] = []
        DiskPlace(path, fd, direct, lock, disk_format)._fill(disk, used)  # pylint: disable=protected-access
        disk.readonly = readonly
        return disk, used

    @staticmethod
    def _limit(limit: Optional[Limit]) -> Any:
        if limit is None:
            return ffi.NULL
        struct = ffi.new('struct catnap_rate_limit *')
        limit._fill(struct)  # pylint: disable=protected-access
        return struct

    @staticmethod
    def _array(struct: str, values: Sequence[Any], used: List[Any]) -> Tuple[Any, int]:
        array = ffi.new(struct + '[]', len(values))
        for n, value in enumerate(values):
            value._fill(ffi.addressof(array, n))  # pylint: disable=protected-access
        used.append(array)
        return array, len(values)

    def _thread_start(self, start: ThreadStart) -> Any:
        raised = self._raised  # Not the VM, which it would keep from going.
        inside = Inside(self._uses.callbacks, 'on_thread_start', start)

        def call(_: Any, vcpu: int) -> int:
            try:
                with inside:
                    start(None if vcpu == _types.IO_THREAD_VCPU else vcpu)
                return 0
            except BaseException as e:  # pylint: disable=broad-except
                raised.append(e)
                return -errno.ECANCELED
        self._keep.append(ffi.callback('int(void *, uint32_t)', call))
        return self._keep[-1]

    def _output(self, output: Output) -> Any:
        inside = Inside(self._uses.callbacks, 'output', output)

        def call(_: Any, data: Any, length: int) -> None:
            with inside:
                output(bytes(ffi.buffer(data, length)))
        self._keep.append(ffi.callback('void(void *, const void *, size_t)', call))
        return self._keep[-1]

    def _log(self, log: Log) -> Any:
        inside = Inside(self._uses.callbacks, 'on_log', log)

        def call(_: Any, level: int, message: Any) -> None:
            with inside:
                log(LogLevel(level), text(message))
        self._keep.append(ffi.callback('void(void *, enum catnap_log_level, const char *)', call))
        return self._keep[-1]


__all__ = ['VM', 'NetQueueStats', 'PolicyContext']
