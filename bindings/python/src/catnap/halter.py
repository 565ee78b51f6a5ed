# SPDX-License-Identifier: Apache-2.0
"""Waits for work by polling for a learned time before a sleep: alone, or as an event loop's selector."""
import os
import select
import selectors
import signal
import threading
import time
import types
from typing import Any, Callable, Dict, Iterator, List, Mapping, Optional, Tuple, Type, Union

from . import _types
from ._abi import ffi
from ._library import Error, check_number, filled, lib, raise_first
from ._types import HaltStats, PolicyStats, WakeCause
from ._values import HaltPoll

Ready = Callable[[int, int], None]
Kick = Callable[[], None]
FileLike = Union[int, Any]

_NS = 1_000_000_000
_LONGEST_S = 1 << 33  # is for ever, and so is infinity
_USER_BITS = 0x00ffffff


def _open(halter: Any) -> Any:
    if halter == ffi.NULL:
        raise ValueError('the halter is closed')
    return halter


class _Signals:
    """The pipe that becomes readable with a signal of Python's: signal.set_wakeup_fd(), which is the main thread's.

    One that another thread closes stays until the main thread makes a halter or halts in one: the interpreter writes to
    its number until the main thread says otherwise.
    """

    left: List['_Signals'] = []

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    @classmethod
    def open(cls) -> Optional['_Signals']:
        """On the main thread. None: somebody else is told of signals."""
        pipe = cls()
        other = signal.set_wakeup_fd(pipe.writer, warn_on_full_buffer=False)
        if other == -1:
            return pipe
        signal.set_wakeup_fd(other)
        pipe._end()
        return None

    @classmethod
    def look(cls) -> None:
        """Closes, on the main thread, those that others have left."""
        if cls.left and threading.current_thread() is threading.main_thread():
            while cls.left:
                cls.left.pop().close()

    def close(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            _Signals.left.append(self)
            return
        other = signal.set_wakeup_fd(-1)
        if other not in (-1, self.writer):
            signal.set_wakeup_fd(other)
        self._end()

    def _end(self) -> None:
        os.close(self.reader)
        os.close(self.writer)


class _OfThread(threading.local):
    """What was raised on each thread."""

    def __init__(self) -> None:
        self.here: List[BaseException] = []


class Halter:
    """A place where one thread, its owner, waits for work: bits that others set, and files that are ready. The thread
    that first calls halt() or reap() is the owner. Closed by close(), by the end of a with block, or when nobody has it.

    A signal that Python has a handler for ends a halt of the main thread, unless signal.set_wakeup_fd() is another's.

    An owner that also waits elsewhere gives kick(), which brings it back from there, and says by enter() and leave()
    when it is away: then a wake calls kick() on its own thread, once, and raises what that raises.
    """

    def __init__(self, halt_poll: Optional[HaltPoll] = None, *, no_ring: bool = False, kick: Optional[Kick] = None) -> None:
        self._halter: Any = ffi.NULL
        self._signals: Optional[_Signals] = None
        _Signals.look()
        self._asked_for_signals = False
        ready: Dict[int, Ready] = {}
        raised: List[BaseException] = []

        # Neither refers to the halter, which would keep it from going.
        def call(_: Any, fd: int, events: int) -> None:
            ready[fd](fd, events)

        # A signal's handler may raise before the first line of that.
        def failed(_: Any, exception: BaseException, __: Any) -> None:
            raised.append(exception)

        self._ready, self._raised = ready, raised
        self._callback = ffi.callback('void(void *, int, uint32_t)', call, onerror=failed)
        cfg = ffi.new('struct catnap_halter_config *')
        lib.catnap_halter_config_init_sized(cfg, ffi.sizeof('struct catnap_halter_config'))
        cfg.halt_poll = (halt_poll or HaltPoll())._checked()[0]  # pylint: disable=protected-access
        cfg.flags = _types.HALTER_NO_RING if no_ring else 0
        self._kick: Any = None
        self._kick_raised = _OfThread()
        if kick is not None:
            self._kick = self._kick_callback(kick, self._kick_raised)
            cfg.kick = self._kick
        halter = ffi.new('struct catnap_halter **')
        check_number(lib.catnap_halter_create(cfg, halter))
        self._halter = halter[0]

    def close(self) -> None:
        """No other thread may be using it."""
        if self._halter != ffi.NULL:
            lib.catnap_halter_destroy(ffi.new('struct catnap_halter **', self._halter))
            self._halter = ffi.NULL
        if self._signals is not None:
            self._signals.close()
            self._signals = None
        self._ready.clear()

    def __del__(self) -> None:
        if getattr(self, '_halter', ffi.NULL) != ffi.NULL:
            self.close()

    def __enter__(self) -> 'Halter':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    # -- waiting ------------------------------------------------------------------------------

    def halt(self, timeout: Optional[float] = None) -> WakeCause:
        """Waits for work, for a source, or for @timeout seconds (None: for ever), and calls what is ready. What a
        callback raises is raised here. TIMER: the time is over."""
        deadline = _types.NO_DEADLINE
        if timeout is not None:
            deadline = min(time.monotonic_ns() + max(int(min(timeout, _LONGEST_S) * _NS), 0), _types.NO_DEADLINE - 1)
        self._hear_signals()
        cause = ffi.new('int *')
        self._finish(lib.catnap_halter_halt(_open(self._halter), deadline, cause))
        # A later library may know more of them.
        return WakeCause(cause[0]) if cause[0] < len(WakeCause) else WakeCause.OTHER

    def reap(self) -> int:
        """Calls what is ready, without waiting. Returns how many were."""
        return self._finish(lib.catnap_halter_reap(_open(self._halter)))

    def wake(self, bits: int = 1 << 1) -> None:
        """Brings work. Any thread."""
        if not bits or bits & ~_USER_BITS:
            raise ValueError(f'wake: {bits:#x}: expected bits among 0 to 23')
        lib.catnap_halter_wake(_open(self._halter), bits)
        raise_first(self._kick_raised.here)

    def take(self) -> int:
        """Returns the work bits, and clears them: until then each halt ends at once."""
        return int(lib.catnap_halter_take(_open(self._halter)))

    def enter(self) -> bool:
        """The owner is about to go where it does not see its work. False: there is work, do not go. Else a wake calls
        kick() until leave(). A source that is ready does not: wait for it there as well."""
        if self._kick is None:
            raise ValueError('enter: the halter was made without kick')
        return bool(lib.catnap_halter_enter(_open(self._halter)))

    def leave(self) -> None:
        """The owner is back."""
        lib.catnap_halter_leave(_open(self._halter))

    @staticmethod
    def _kick_callback(kick: Kick, raised: '_OfThread') -> Any:
        def failed(_: Any, exception: BaseException, __: Any) -> None:
            raised.here.append(exception)

        def call(_: Any) -> None:
            kick()

        return ffi.callback('void(void *)', call, onerror=failed)

    def _finish(self, value: int) -> int:
        raise_first(self._raised)
        return check_number(value)

    def _hear_signals(self) -> None:
        """Has Python's handlers end a halt: the library takes no note of signals."""
        _Signals.look()
        if self._asked_for_signals or threading.current_thread() is not threading.main_thread():
            return
        self._asked_for_signals = True
        self._signals = _Signals.open()
        if self._signals is not None:
            self.add_source(self._signals.reader, lambda fd, _: (os.read(fd, 4096), None)[1])

    # -- sources ------------------------------------------------------------------------------

    def add_source(self, fd: int, ready: Ready, events: int = select.POLLIN, *, edge: bool = False) -> None:
        """Has ready(fd, events) called on the owner's thread when @fd is ready for @events, of poll(2). To be removed
        before the descriptor is closed."""
        before = self._ready.get(fd)
        self._ready[fd] = ready
        try:
            check_number(lib.catnap_halter_add_source(_open(self._halter), self._source(fd, events, edge)))
        except Error:
            if before is not None:
                self._ready[fd] = before
            else:
                del self._ready[fd]
            raise

    def mod_source(self, fd: int, events: int, *, edge: bool = False) -> None:
        """Changes what it is waited for."""
        check_number(lib.catnap_halter_mod_source(_open(self._halter), self._source(fd, events, edge)))

    def del_source(self, fd: int) -> None:
        check_number(lib.catnap_halter_del_source(_open(self._halter), fd))
        self._ready.pop(fd, None)

    def _source(self, fd: int, events: int, edge: bool) -> Any:
        source = ffi.new('struct catnap_source *')
        lib.catnap_source_init_sized(source, ffi.sizeof('struct catnap_source'))
        source.fd, source.events, source.ready = fd, events, self._callback
        source.flags = _types.SOURCE_EDGE if edge else 0
        return source

    # -- halt polling and statistics ----------------------------------------------------------

    def set_halt_poll(self, params: HaltPoll) -> None:
        check_number(lib.catnap_halter_set_halt_poll(_open(self._halter), params._checked()))  # pylint: disable=protected-access

    def set_poll_allowed(self, allowed: bool) -> None:
        """Switches polling off, or on again."""
        lib.catnap_halter_set_poll_allowed(_open(self._halter), allowed)

    def stats(self) -> HaltStats:
        halter = _open(self._halter)
        return filled(HaltStats, 'catnap_halt_stats', lambda s: lib.catnap_halter_get_stats(halter, s), None)

    def policy_stats(self) -> PolicyStats:
        halter = _open(self._halter)
        return filled(PolicyStats, 'catnap_policy_stats', lambda s: lib.catnap_halter_get_policy_stats(halter, s), None,
                      context_size=ffi.sizeof('struct catnap_policy_context'))


class _Files(Mapping[FileLike, selectors.SelectorKey]):
    """The keys of a selector, by file or descriptor."""

    def __init__(self, keys: Dict[int, selectors.SelectorKey]) -> None:
        self.keys_by_fd = keys

    def __getitem__(self, file: FileLike) -> selectors.SelectorKey:
        fd = _descriptor(file, self.keys_by_fd)
        if fd not in self.keys_by_fd:
            raise KeyError(f'{file!r} is not registered')
        return self.keys_by_fd[fd]

    def __iter__(self) -> Iterator[FileLike]:
        return iter(self.keys_by_fd)

    def __len__(self) -> int:
        return len(self.keys_by_fd)


def _descriptor(file: FileLike, keys: Dict[int, selectors.SelectorKey]) -> int:
    """The descriptor of @file, also of one that was closed since it was registered."""
    fd = file if isinstance(file, int) else -1
    if fd < 0 and not isinstance(file, int):
        try:
            fd = int(file.fileno())
        except (AttributeError, TypeError, ValueError):
            fd = -1
        if fd < 0:
            fd = next((key.fd for key in keys.values() if key.fileobj is file), -1)
    if fd < 0:
        raise ValueError(f'Invalid file object: {file!r}')
    return fd


class HalterSelector(selectors.BaseSelector):
    """A selector that waits in a Halter. asyncio polls before it sleeps with

        loop = asyncio.SelectorEventLoop(catnap.HalterSelector())

    All of it is one thread's.
    """

    def __init__(self, halt_poll: Optional[HaltPoll] = None, *, no_ring: bool = False) -> None:
        #: For its statistics and parameters.
        self.halter = Halter(halt_poll, no_ring=no_ring)
        self._keys: Dict[int, selectors.SelectorKey] = {}
        self._files = _Files(self._keys)
        self._found: List[Tuple[selectors.SelectorKey, int]] = []

    def register(self, fileobj: FileLike, events: int, data: Any = None) -> selectors.SelectorKey:
        fd = _descriptor(fileobj, self._keys)
        if fd in self._keys:
            raise KeyError(f'{fileobj!r} (FD {fd}) is already registered')
        key = selectors.SelectorKey(fileobj, fd, events, data)
        self.halter.add_source(fd, self._note, self._mask(events))
        self._keys[fd] = key
        return key

    def unregister(self, fileobj: FileLike) -> selectors.SelectorKey:
        key = self._files[fileobj]
        del self._keys[key.fd]
        try:
            self.halter.del_source(key.fd)
        except (OSError, ValueError):
            pass  # It was closed, or the halter was; it is forgotten.
        return key

    def modify(self, fileobj: FileLike, events: int, data: Any = None) -> selectors.SelectorKey:
        before = self._files[fileobj]
        mask = self._mask(events)
        if events != before.events:
            self.halter.mod_source(before.fd, mask)
        self._keys[before.fd] = key = selectors.SelectorKey(before.fileobj, before.fd, events, data)
        return key

    def select(self, timeout: Optional[float] = None) -> List[Tuple[selectors.SelectorKey, int]]:
        self._found = []
        if timeout is not None and timeout <= 0:
            self.halter.reap()
        else:
            self.halter.halt(timeout)
            # Whoever woke it by bits wanted it to come back, and no more.
            self.halter.take()
        return self._found

    def close(self) -> None:
        self.halter.close()
        self._keys.clear()

    def get_map(self) -> Mapping[FileLike, selectors.SelectorKey]:
        return self._files

    @staticmethod
    def _mask(events: int) -> int:
        if not events or events & ~(selectors.EVENT_READ | selectors.EVENT_WRITE):
            raise ValueError(f'Invalid events: {events!r}')
        return (select.POLLIN if events & selectors.EVENT_READ else 0) | (select.POLLOUT if events & selectors.EVENT_WRITE else 0)

    def _note(self, fd: int, ready: int) -> None:
        key = self._keys.get(fd)
        # An error, or the end, is for whoever reads or writes.
        events = (selectors.EVENT_WRITE if ready & ~select.POLLIN else 0) | (selectors.EVENT_READ if ready & ~select.POLLOUT else 0)
        if key is not None and events & key.events:
            self._found.append((key, events & key.events))


__all__ = ['Halter', 'HalterSelector']
