# SPDX-License-Identifier: Apache-2.0
"""The calls on a VM that are under way. The library frees a VM under whoever still uses it; here, who closes it has the
calls of other threads come to their ends first."""
import asyncio
import errno
import os
import threading
import weakref
from typing import Any, Dict, List, Optional

from ._abi import ffi
from ._library import Error, check, lib


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
    """A VM's handle, and who uses it.

    KeyboardInterrupt comes between any two steps of the main thread. So what must not be lost is done by one call that is
    not Python's: a thread is in a call while it has its own lock, and the library puts the handle here and takes it away.
    """

    def __init__(self) -> None:
        self.place = ffi.new('struct catnap_vm **')
        self.callbacks: List[int] = []  # the threads that are in one
        self._forget()
        _all.add(self)

    def _forget(self) -> None:
        self._locks: Dict[int, Any] = {}
        self._closing = False
        self._guard = threading.Lock()
        self._ending = threading.RLock()

    @property
    def gone(self) -> bool:
        return bool(self.place[0] == ffi.NULL)

    def mine(self) -> Any:
        """What the calling thread has around each call: `with uses.mine():`, several times if need be."""
        me = threading.get_ident()
        return self._locks.get(me) or self._locks.setdefault(me, threading.RLock())

    def handle(self) -> Any:
        """For such a call."""
        # What closes it waits for callbacks, too, in the library.
        if self.gone or self._closing and threading.get_ident() not in self.callbacks:
            raise Error(errno.EBADF, 'the VM is closed')
        return self.place[0]

    def _begin(self) -> None:
        """Has new calls fail, and those that wait for the VM's end come back."""
        if self.mine()._is_owned():
            raise Error(errno.EDEADLK, 'destroy: not while the same thread is in another call on the VM')
        with self._guard:
            first, self._closing = not self._closing, True
            if first and not self.gone:
                lib.catnap_vm_request_stop(self.place[0])

    def _end(self) -> None:
        try:
            with self._ending:
                self._closing = True
                for lock in list(self._locks.values()):
                    with lock:
                        pass  # That thread's call has come to its end.
                if not self.gone:
                    check(lib.catnap_vm_destroy(self.place), self.place[0])
        finally:
            self._closing = False

    def close(self) -> None:
        """Destroys the VM when nobody else uses it."""
        if threading.get_ident() in self.callbacks:
            # Nobody is waited for: the library refuses.
            check(lib.catnap_vm_destroy(self.place), self.place[0])
            return
        self._begin()
        self._end()

    async def close_async(self, keep: List[Any]) -> None:
        """The same without blocking the loop. It goes on if the task is cancelled, and has @keep until it is done."""
        loop = asyncio.get_running_loop()
        done: 'asyncio.Future[None]' = loop.create_future()

        def tell(failure: Optional[BaseException]) -> None:
            if done.done():
                return
            if failure is None:
                done.set_result(None)
            else:
                done.set_exception(failure)

        def work(_: List[Any]) -> None:
            failure: Optional[BaseException] = None
            try:
                self._end()
            except BaseException as e:  # pylint: disable=broad-except
                failure = e
            try:
                loop.call_soon_threadsafe(tell, failure)
            except RuntimeError:
                pass  # The loop has gone.
        self._begin()
        # Of its own: those of the loop may all wait for VMs.
        threading.Thread(target=work, args=(keep,)).start()
        await done


_all: 'weakref.WeakSet[Uses]' = weakref.WeakSet()


def _in_child() -> None:
    """The other threads are the parent's, and so are their calls."""
    for uses in list(_all):
        uses._forget()  # pylint: disable=protected-access


os.register_at_fork(after_in_child=_in_child)
