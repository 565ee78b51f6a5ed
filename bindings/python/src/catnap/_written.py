# SPDX-License-Identifier: Apache-2.0
"""Writes the two files of a snapshot so that they are there whole, or as before."""
import errno
import os
import types
from typing import Any, List, Optional, Type

from ._abi import ffi
from ._library import check
from ._values import Path


class Written:
    """A state file and a memory file, beside their places until both are durable."""

    def __init__(self, state: Path, memory: Path) -> None:
        # The memory first: a state file never names one that is not there.
        self.paths = [os.fsencode(memory), os.fsencode(state)]
        self.folders = {os.path.realpath(os.path.dirname(p) or b'.') for p in self.paths}
        if len(self.folders) != 1 or os.path.basename(self.paths[0]) == os.path.basename(self.paths[1]):
            raise ValueError('snapshot: expected two files in one folder')
        self.fds: List[int] = []
        self.failure: Optional[BaseException] = None

    def __enter__(self) -> 'Written':
        try:
            for path in self.paths:
                # Else the first might have its name, and the second get none.
                if os.path.isdir(path):
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fsdecode(path))
                self.fds.append(os.open(os.fsdecode(path) + '.new', os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600))
        except OSError:
            self._close()
            raise
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self._close()

    def _close(self) -> None:
        for fd, path in zip(self.fds, self.paths):
            os.close(fd)
            try:
                os.unlink(path + b'.new')
            except FileNotFoundError:
                pass

    def fill(self, request: Any) -> None:
        """Says in @request where it goes; both have to stay until the call returns."""
        self.name = ffi.new('char[]', os.path.basename(self.paths[0]))
        self.commit = ffi.callback('int(void *)', self._commit)
        request.memory_fd, request.state_fd = self.fds
        request.memory_name, request.commit = self.name, self.commit

    def _commit(self, _: Any) -> int:
        try:
            for fd in self.fds:
                os.fsync(fd)
            for path in self.paths:
                os.rename(path + b'.new', path)
            folder = os.open(self.folders.pop(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)
            return 0
        except OSError as e:
            self.failure = e
            return -(e.errno or errno.EIO)
        except BaseException as e:  # pylint: disable=broad-except
            self.failure = e
            return -errno.EIO

    def check(self, value: int, vm: Optional[Any] = None) -> None:
        """Raises what was wrong with the files, or what the library says."""
        if self.failure is not None:
            raise self.failure
        check(value, vm)
