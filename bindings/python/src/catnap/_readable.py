# SPDX-License-Identifier: Apache-2.0
"""Waits in asyncio for descriptors of the library's, which it alone reads; and eventfds for it to write to."""
import asyncio
import os
from typing import Optional

from ._abi import ffi
from ._library import lib


def eventfd() -> int:
    fd = int(lib.eventfd(0, os.O_CLOEXEC | os.O_NONBLOCK))
    if fd < 0:
        raise OSError(ffi.errno, os.strerror(ffi.errno))
    return fd


def _finish(done: 'asyncio.Future[None]') -> None:
    if not done.done():
        done.set_result(None)


async def readable(fd: int, timeout: Optional[float] = None) -> bool:
    """Whether @fd is readable; waits for it for @timeout seconds at most (None: for ever)."""
    loop = asyncio.get_running_loop()
    # Of its own: a loop knows one reader for each descriptor, and several tasks may wait.
    own = os.dup(fd)
    try:
        done: 'asyncio.Future[None]' = loop.create_future()
        loop.add_reader(own, _finish, done)
        try:
            await asyncio.wait_for(done, timeout)
            return True
        except asyncio.TimeoutError:
            return False
        finally:
            loop.remove_reader(own)
    finally:
        os.close(own)
