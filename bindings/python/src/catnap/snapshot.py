# SPDX-License-Identifier: Apache-2.0
"""Goes on from a VM that was put down in files: once, or many times."""
import contextlib
import errno
import os
import threading
import types
from typing import Any, Iterator, List, Mapping, Optional, Sequence, Tuple, Type

from ._abi import ffi
from ._library import Error, check, filled, given, lib
from ._types import (AfterGuest, ImageKind, Io, MemoryMode, MemoryPages, OnReset, SandboxMode, SnapshotDevice, SnapshotInfo,
                     SnapshotMemory)
from ._values import DiskPlace, HaltPoll, NetPlace, Path
from ._written import Written
from .sandbox import Keeper
from .vm import VM, Image, Log, Output, ThreadStart


class Snapshot:
    """A state file that has been read; closed by close(), by the end of a with block, or when nobody has it.

    The memory files are those that the state names, in its folder, or in @folder. Any thread may use it, one at a time.
    Each restore() makes one more VM; pages that none of them writes to are in memory once (MemoryMode.MAP).
    """

    def __init__(self, state: Path, *, folder: Optional[Path] = None) -> None:
        self._snapshot: Any = ffi.NULL
        self._lock = threading.Lock()
        self._folder = os.fsencode(folder) if folder is not None else os.path.dirname(os.fsencode(state)) or b'.'
        fd = os.open(state, os.O_RDONLY | os.O_CLOEXEC)
        try:
            snapshot = ffi.new('struct catnap_snapshot **')
            check(lib.catnap_snapshot_open(fd, snapshot))
            self._snapshot = snapshot[0]
        finally:
            os.close(fd)

    def close(self) -> None:
        """VMs that were made of it go on."""
        with self._lock:
            if self._snapshot != ffi.NULL:
                lib.catnap_snapshot_close(ffi.new('struct catnap_snapshot **', self._snapshot))
                self._snapshot = ffi.NULL

    def __del__(self) -> None:
        if getattr(self, '_snapshot', ffi.NULL) != ffi.NULL:
            self.close()

    def __enter__(self) -> 'Snapshot':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    @contextlib.contextmanager
    def held(self) -> Iterator[Any]:
        """For VM.snapshot(): the library's handle, while nobody else uses it."""
        with self._lock:
            yield self._handle()

    # -- what it is ---------------------------------------------------------------------------

    @property
    def info(self) -> SnapshotInfo:
        with self._lock:
            return self._info()

    @property
    def memories(self) -> Tuple[SnapshotMemory, ...]:
        """Its memory files: the first is full, all others are diffs."""
        with self._lock:
            return self._memories()

    @property
    def devices(self) -> Tuple[SnapshotDevice, ...]:
        with self._lock:
            s, n = self._handle(), self._info().devices
            return tuple(filled(SnapshotDevice, 'catnap_snapshot_device',
                                lambda d, i=i: lib.catnap_snapshot_get_device(s, i, d), None) for i in range(n))

    def verify(self) -> None:
        """Reads all of the memory files for their checksums. Error (EINVAL): one is another, or damaged."""
        with self._lock:
            fds = self._open_memories()
            try:
                for n, fd in enumerate(fds):
                    check(lib.catnap_snapshot_verify_memory(self._handle(), n, fd))
            finally:
                _close(fds)

    def verify_working_set(self, path: Path) -> None:
        """Reads what VM.write_working_set() has written. Error (ESTALE): it is of another snapshot."""
        with self._lock, open(path, 'rb') as f:
            check(lib.catnap_snapshot_verify_working_set(self._handle(), f.fileno()))

    def merge(self, state: Path, memory: Path) -> None:
        """Writes it as one that needs a single memory file: the full one with the diffs on top."""
        with self._lock, Written(state, memory) as files:
            request = ffi.new('struct catnap_snapshot_request *')
            lib.catnap_snapshot_request_init_sized(request, ffi.sizeof('struct catnap_snapshot_request'))
            files.fill(request)
            fds = self._open_memories()
            try:
                files.check(lib.catnap_snapshot_merge(self._handle(), fds, len(fds), request))
            finally:
                _close(fds)

    # -- going on -----------------------------------------------------------------------------

    # pylint: disable=too-many-arguments,too-many-locals
    def restore(self, *, mode: MemoryMode = MemoryMode.MAP, handler: Optional[Path] = None,
                working_set: Optional[Path] = None, paused: bool = False,
                clock_realtime: bool = False, forget: bool = False, disks: Optional[Mapping[int, DiskPlace]] = None,
                nets: Optional[Mapping[int, NetPlace]] = None, vsock: Optional[Path] = None,
                on_console: Optional[Output] = None, name: Optional[str] = None, halt_poll: Optional[HaltPoll] = None,
                io: Io = Io.VCPU, poll_after_guest: AfterGuest = AfterGuest.LEARNED, on_reset: OnReset = OnReset.END,
                kernel: Optional[Image] = None, initramfs: Optional[Image] = None, image_kind: ImageKind = ImageKind.AUTO,
                affinity: Optional[Sequence[int]] = None, sandbox: SandboxMode = SandboxMode.OFF, no_rings: bool = False,
                kvm_fd: Optional[int] = None, halt_trace_fd: Optional[int] = None, pressure_fd: Optional[int] = None,
                throttle_fd: Optional[int] = None, track_dirty: bool = False, memory_shared: bool = False,
                memory_pages: MemoryPages = MemoryPages.HOST, memory_prefault: bool = False, memory_lock: bool = False,
                memory_nodes: Sequence[int] = (), dump_memory: bool = False, kvm_required: Sequence[int] = (),
                kvm_dropped: Sequence[int] = (), kick_signal: Optional[int] = None, cgroup: Optional[Path] = None,
                keeper: Optional[Keeper] = None, on_thread_start: Optional[ThreadStart] = None, on_serial: Optional[Output] = None, on_log: Optional[Log] = None) -> VM:
        """Makes a VM as it was, which start() lets go on: in a pause, if it is to be @paused.

        With MemoryMode.UFFD the process that listens at @handler serves memory, and its files are not needed. With
        MemoryMode.WORKING_SET the pages that @working_set names are brought in ahead; VM.write_working_set() makes such
        a file, of a VM that was restored with that mode and no @working_set. @disks and
        @nets say by number which have other places now; those of @nets that were streams must be there. @kernel and
        @initramfs are for on_reset alone.
        """
        vm = VM.__new__(VM)
        vm._empty()  # pylint: disable=protected-access
        with self._lock:
            cfg, used = vm._config(  # pylint: disable=protected-access
                kernel=kernel, initramfs=initramfs, name=name, halt_poll=halt_poll, image_kind=image_kind, io=io,
                poll_after_guest=poll_after_guest, on_reset=on_reset, affinity=affinity, vcpus=self._info().vcpus,
                sandbox=sandbox, no_rings=no_rings, kvm_fd=kvm_fd, halt_trace_fd=halt_trace_fd, pressure_fd=pressure_fd,
                throttle_fd=throttle_fd, track_dirty=track_dirty, memory_shared=memory_shared, memory_pages=memory_pages,
                memory_prefault=memory_prefault, memory_lock=memory_lock, memory_nodes=memory_nodes, dump_memory=dump_memory,
                kvm_required=kvm_required, kvm_dropped=kvm_dropped, kick_signal=kick_signal, cgroup=cgroup, keeper=keeper,
                on_thread_start=on_thread_start, on_serial=on_serial, on_log=on_log)
            how = ffi.new('struct catnap_restore *')
            lib.catnap_restore_init_sized(how, ffi.sizeof('struct catnap_restore'))
            how.memory_mode, how.paused, how.clock_realtime, how.forget = mode, paused, clock_realtime, forget
            how.disks, how.disk_count = self._places('struct catnap_disk', disks, DiskPlace(), used)
            how.nets, how.net_count = self._places('struct catnap_net', nets, NetPlace(), used)
            how.disk_size, how.net_size = ffi.sizeof('struct catnap_disk'), ffi.sizeof('struct catnap_net')
            if handler is not None:
                used.append(given('handler', handler))
                how.handler = used[-1]
            if vsock is not None:
                place = ffi.new('struct catnap_vsock *')
                lib.catnap_vsock_init_sized(place, ffi.sizeof('struct catnap_vsock'))
                used += [place, given('vsock', vsock)]
                place.path, how.vsock = used[-1], place
            if on_console is not None:
                console = ffi.new('struct catnap_console *')
                lib.catnap_console_init_sized(console, ffi.sizeof('struct catnap_console'))
                console.output = vm._output(on_console)  # pylint: disable=protected-access
                used.append(console)
                how.console = console
            fds = [] if mode == MemoryMode.UFFD else self._open_memories()
            count = len(fds)
            try:
                if working_set is not None:
                    fds.append(os.open(working_set, os.O_RDONLY | os.O_CLOEXEC))
                    how.working_set_fd = fds[-1]
                used.append(ffi.new('int32_t[]', fds))
                how.memory_fds, how.memory_count = used[-1], count
                check(lib.catnap_vm_restore(cfg, self._handle(), how, vm._uses.place))  # pylint: disable=protected-access
            finally:
                _close(fds)
        vm._made()  # pylint: disable=protected-access
        return vm

    # -- inside, with the lock ----------------------------------------------------------------

    def _handle(self) -> Any:
        if self._snapshot == ffi.NULL:
            raise Error(errno.EBADF, 'the snapshot is closed')
        return self._snapshot

    def _info(self) -> SnapshotInfo:
        s = self._handle()
        return filled(SnapshotInfo, 'catnap_snapshot_info', lambda i: lib.catnap_snapshot_get_info(s, i), None)

    def _memories(self) -> Tuple[SnapshotMemory, ...]:
        s, n = self._handle(), self._info().memories
        return tuple(filled(SnapshotMemory, 'catnap_snapshot_memory',
                            lambda m, i=i: lib.catnap_snapshot_get_memory(s, i, m), None) for i in range(n))

    def _open_memories(self) -> List[int]:
        fds: List[int] = []
        try:
            for memory in self._memories():
                fds.append(os.open(os.path.join(self._folder, os.fsencode(memory.name)), os.O_RDONLY | os.O_CLOEXEC))
        except OSError:
            _close(fds)
            raise
        return fds

    @staticmethod
    def _places(struct: str, places: Any, unchanged: Any, used: List[Any]) -> Tuple[Any, int]:
        """An array by number, in which those that are not named change nothing."""
        if not places:
            return ffi.NULL, 0
        array = ffi.new(struct + '[]', max(places) + 1)
        for n in range(len(array)):
            places.get(n, unchanged)._fill(ffi.addressof(array, n), used)  # pylint: disable=protected-access
        used.append(array)
        return array, len(array)


def _close(fds: List[int]) -> None:
    for fd in fds:
        os.close(fd)


__all__ = ['Snapshot']
