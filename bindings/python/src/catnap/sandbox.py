# SPDX-License-Identifier: Apache-2.0
"""Closes in a process that runs guests: catnap/sandbox.h.

    with catnap.Keeper() as keeper, catnap.VM('vmlinuz', sandbox=catnap.SandboxMode.ON, keeper=keeper) as vm:
        catnap.enter_sandbox()                  # before there are other threads
        vm.start()
        vm.sandbox_thread()                     # the calling thread's own filter
        vm.wait()
"""
import enum
import errno
import os
import types
import weakref
from typing import Any, List, Optional, Sequence, Tuple, Type

from . import _types
from ._abi import ffi
from ._library import Error, check_number, given, lib, text
from ._types import SandboxMode
from ._values import Path


class SandboxMeans(enum.IntFlag):
    """What a sandbox needs of a kernel: CATNAP_SANDBOX_HAS_..."""

    SECCOMP = _types.SANDBOX_HAS_SECCOMP
    LANDLOCK = _types.SANDBOX_HAS_LANDLOCK


class SandboxAllow(enum.IntFlag):
    """What a thread will do beyond calls on its VM: CATNAP_SANDBOX_ALLOW_..."""

    SOCKETS = _types.SANDBOX_ALLOW_SOCKETS
    UNLINK = _types.SANDBOX_ALLOW_UNLINK
    CONTROL = _types.SANDBOX_ALLOW_CONTROL
    IMAGES = _types.SANDBOX_ALLOW_IMAGES
    SNAPSHOTS = _types.SANDBOX_ALLOW_SNAPSHOTS


def sandbox_available() -> SandboxMeans:
    """Returns which of these this host has."""
    return SandboxMeans(lib.catnap_sandbox_available())


def _strings(paths: Sequence[Path], used: List[Any]) -> Any:
    each = [given('paths', p) for p in paths]
    used += each
    used.append(ffi.new('char *[]', each))
    return used[-1]


def enter_sandbox(mode: SandboxMode = SandboxMode.ON, *, chroot_dir: Optional[Path] = None,
                  user: Optional[Tuple[int, int]] = None, read_files: Sequence[Path] = (),
                  write_dirs: Sequence[Path] = ()) -> SandboxMeans:
    """Closes in the calling thread, and those that it starts from now on: call it while there is no other, and once
    all modules are imported, for no file can be opened any more but @read_files, to be read, and those in @write_dirs.
    @user: the uid and the gid to become. Returns what was wanted and is missing here.

    There is no way back, nor after an Error, whose sentence begins with what failed: end the process then.
    """
    cfg = ffi.new('struct catnap_sandbox_config *')
    lib.catnap_sandbox_config_init_sized(cfg, ffi.sizeof('struct catnap_sandbox_config'))
    used: List[Any] = []
    cfg.mode = mode
    if chroot_dir is not None:
        used.append(given('chroot_dir', chroot_dir))
        cfg.chroot_dir = used[-1]
    if user is not None:
        cfg.change_user, (cfg.uid, cfg.gid) = 1, user
    cfg.read_files, cfg.n_read_files = _strings(read_files, used), len(read_files)
    cfg.write_dirs, cfg.n_write_dirs = _strings(write_dirs, used), len(write_dirs)
    ret = lib.catnap_sandbox_enter(cfg)
    if ret < 0:
        what = text(cfg.failed) + ': ' if cfg.failed != ffi.NULL else ''
        raise Error(-ret, 'sandbox: ' + what + os.strerror(-ret))
    return SandboxMeans(cfg.missing)


class _Use:
    """A VM that has a keeper, until it is destroyed."""

    def __init__(self, keeper: 'Keeper') -> None:
        self.keeper = keeper


class Keeper:
    """A small process beside this one, which does for sandboxed VMs what they may not do any more: it removes sockets
    at the end, however that comes, and makes the connections that guests ask for. Make it early: it is a copy of this
    process. Closed by close(), by the end of a with block, or when neither a VM nor anybody else has it.
    """

    def __init__(self, mode: SandboxMode = SandboxMode.ON) -> None:
        self._keeper: Any = ffi.NULL
        self._uses: 'weakref.WeakSet[_Use]' = weakref.WeakSet()
        keeper = ffi.new('struct catnap_keeper **')
        check_number(lib.catnap_keeper_start(keeper, mode, -1, ffi.NULL, ffi.NULL))
        self._keeper = keeper[0]

    def add_socket(self, path: Path) -> None:
        """Has the Unix socket that is now at @path removed at the end, if it is still that one. Before any VM starts."""
        check_number(lib.catnap_keeper_add_socket(self._handle(), given('path', path)))

    def close(self) -> None:
        """Removes the sockets, and waits until the keeper is gone. Error (EBUSY): a VM has it still."""
        if self._keeper == ffi.NULL:
            return
        if len(self._uses):
            raise Error(errno.EBUSY, 'keeper: a VM has it still: close that first')
        lib.catnap_keeper_stop(ffi.new('struct catnap_keeper **', self._keeper))
        self._keeper = ffi.NULL

    def _handle(self) -> Any:
        if self._keeper == ffi.NULL:
            raise Error(errno.EBADF, 'the keeper is closed')
        return self._keeper

    def _use(self, cfg: Any) -> _Use:
        """For a VM's configuration; what it returns is kept as long as that VM is there."""
        cfg.keeper = self._handle()
        use = _Use(self)
        self._uses.add(use)
        return use

    def __del__(self) -> None:
        if getattr(self, '_keeper', ffi.NULL) != ffi.NULL:
            lib.catnap_keeper_stop(ffi.new('struct catnap_keeper **', self._keeper))
            self._keeper = ffi.NULL

    def __enter__(self) -> 'Keeper':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()


__all__ = ['Keeper', 'SandboxAllow', 'SandboxMeans', 'enter_sandbox', 'sandbox_available']
