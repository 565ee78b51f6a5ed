# SPDX-License-Identifier: Apache-2.0
"""The calls on a VM that are under way. The library frees a VM under whoever still uses it; here, who closes it has the
calls of other threads come to their ends first."""
import asyncio
import errno
import os
import threading
import weakref
from typing import Any, Callable, List

from ._abi import ffi
from ._library import Error, lib


class Inside:
    """Around what a callback does, with the list of the threads that are in one. It does not keep the VM."""

    def __init__(self, threads: List[int], what: str, call: Any) -> None:
        if not callable(call):
            raise TypeError(f'{what}: {call!r} cannot be called')
        self._threads = threads

    def __enter__(self) -> None:
        self._threads.append(threading.get_ident())

    def __exit__(self, *_: Any) -> None:
        self._threads.remove(threading.get_ident())


class Uses:
    """A VM's handle, and who uses it: `with uses as vm:` around each call. A thread may do so several times at once."""

    def __init__(self) -> None:
        self.vm: Any = ffi.NULL
        self.callbacks: List[int] = []  # the threads that are in one
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        self._threads: List[int] = []
        self._closing = False
        self._changed = threading.Condition()

    def __enter__(self) -> Any:
        me = threading.get_ident()
        with self._changed:
            # What closes it waits for callbacks, too, in the library.
            if self.vm == ffi.NULL or self._closing and me not in self.callbacks:
                raise Error(errno.EBADF, 'the VM is closed')
            self._threads.append(me)
            return self.vm

    def __exit__(self, *_: Any) -> None:
        with self._changed:
            self._threads.remove(threading.get_ident())
            self._changed.notify_all()

    def _lone(self) -> bool:
        """Whether nobody else uses it. Who is in a callback waits for nobody: the library refuses what it may not do."""
        return not self._threads or threading.get_ident() in self.callbacks

    def _begin(self) -> None:
        """Has new calls fail, and those that wait for the VM's end come back."""
        with self._changed:
            if threading.get_ident() in self._threads and not self._lone():
                raise Error(errno.EDEADLK, 'destroy: not while the same thread is in another call on the VM')
            self._closing = True
            if not self._lone():
                lib.catnap_vm_request_stop(self.vm)

    def _end(self, destroy: Callable[[Any], None]) -> None:
        if self.vm != ffi.NULL:
            destroy(self.vm)
            self.vm = ffi.NULL

    def _wait(self) -> None:
        with self._changed:
            self._changed.wait_for(self._lone)

    def close(self, destroy: Callable[[Any], None]) -> None:
        """Calls @destroy with the handle, when nobody else uses it."""
        self._begin()
        try:
            self._wait()
            self._end(destroy)
        finally:
            self._closing = False

    async def close_async(self, destroy: Callable[[Any], None]) -> None:
        """The same without blocking the loop."""
        self._begin()
        try:
            if not self._lone():
                await asyncio.get_running_loop().run_in_executor(None, self._wait)
            self._end(destroy)
        finally:
            self._closing = False


_all: 'weakref.WeakSet[Uses]' = weakref.WeakSet()


def _in_child() -> None:
    """The other threads are the parent's, and so are their calls."""
    for uses in list(_all):
        uses._forget()  # pylint: disable=protected-access


os.register_at_fork(after_in_child=_in_child)
