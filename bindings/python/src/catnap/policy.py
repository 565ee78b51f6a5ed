# SPDX-License-Identifier: Apache-2.0
"""Policies of halt polling without a halter: what they would have made of halts, and a limit for somebody else's."""
import dataclasses
import types
from typing import Any, Optional, Type

from . import _types
from ._abi import ffi
from ._library import check_number, filled, lib
from ._types import HaltStats, PolicyStats, PollLimitCost
from ._values import HaltPoll


def _open(handle: Any, what: str) -> Any:
    if handle == ffi.NULL:
        raise ValueError(f'the {what} is closed')
    return handle


def _poll_ns(window: int) -> Optional[int]:
    return None if window == _types.WINDOW_FOREVER else int(window)


class Policy:
    """A policy alone: it decides from a list of halts, with no clock and no thread. For simulation.

        with catnap.Policy(catnap.HaltPoll(policy=catnap.PolicyKind.KERNEL)) as policy:
            for halt_ns in lengths:
                window = policy.begin()
                policy.end(halt_ns, waited=window is not None and halt_ns > window)

    One thread at a time. Closed by close(), by the end of a with block, or when nobody has it.
    """

    def __init__(self, halt_poll: Optional[HaltPoll] = None) -> None:
        self._policy: Any = ffi.NULL
        params = (halt_poll or HaltPoll())._checked()  # pylint: disable=protected-access
        policy = ffi.new('struct catnap_policy **')
        check_number(lib.catnap_policy_create(params, policy))
        self._policy = policy[0]

    def close(self) -> None:
        if self._policy != ffi.NULL:
            lib.catnap_policy_destroy(ffi.new('struct catnap_policy **', self._policy))
            self._policy = ffi.NULL

    def __del__(self) -> None:
        if getattr(self, '_policy', ffi.NULL) != ffi.NULL:
            self.close()

    def __enter__(self) -> 'Policy':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    def set_halt_poll(self, params: HaltPoll) -> None:
        """Changes the parameters. The window stays, and is capped when the next halt begins."""
        check_number(lib.catnap_policy_set(self._handle(), params._checked()))  # pylint: disable=protected-access

    def begin(self, *, allowed: bool = True) -> Optional[int]:
        """Begins a halt. Returns for how long to poll, in ns; None: until a wake-up comes (policy ALWAYS)."""
        return _poll_ns(lib.catnap_policy_begin(self._handle(), allowed))

    def end(self, halt_ns: int, *, waited: bool, valid: bool = True, allowed: bool = True, gave_way: bool = False) -> None:
        """Ends the halt, from which the policy learns: it took @halt_ns, poll and sleep; it really slept (@waited);
        the poll was not disturbed (@valid), nor switched off from outside (@allowed), nor ended early since others
        wanted the processor (@gave_way)."""
        halt = ffi.new('struct catnap_halt *')
        halt.halt_ns, halt.waited, halt.valid, halt.allowed, halt.gave_way = halt_ns, waited, valid, allowed, gave_way
        lib.catnap_policy_end(self._handle(), halt)

    @property
    def window_ns(self) -> Optional[int]:
        """The present window. None: policy ALWAYS."""
        return _poll_ns(lib.catnap_policy_window(self._handle()))

    def stats(self) -> PolicyStats:
        """Returns what it has learned."""
        policy = self._handle()
        return filled(PolicyStats, 'catnap_policy_stats', lambda s: lib.catnap_policy_get_stats(policy, s), None,
                      context_size=ffi.sizeof('struct catnap_policy_context'))

    def _handle(self) -> Any:
        return _open(self._policy, 'policy')


class PollLimit:
    """Finds the limit below which the kernel's own polling costs least, from statistics of halts. It has no clock and
    no thread, and sets nothing.

    One thread at a time. Closed by close(), by the end of a with block, or when nobody has it.
    """

    def __init__(self, halt_poll: Optional[HaltPoll] = None) -> None:
        self._limit: Any = ffi.NULL
        params = (halt_poll or HaltPoll())._checked()  # pylint: disable=protected-access
        limit = ffi.new('struct catnap_poll_limit **')
        check_number(lib.catnap_poll_limit_create(params, limit))
        self._limit = limit[0]

    def close(self) -> None:
        if self._limit != ffi.NULL:
            lib.catnap_poll_limit_destroy(ffi.new('struct catnap_poll_limit **', self._limit))
            self._limit = ffi.NULL

    def __del__(self) -> None:
        if getattr(self, '_limit', ffi.NULL) != ffi.NULL:
            self.close()

    def __enter__(self) -> 'PollLimit':
        return self

    def __exit__(self, kind: Optional[Type[BaseException]], value: Optional[BaseException],
                 trace: Optional[types.TracebackType]) -> None:
        self.close()

    def set_halt_poll(self, params: HaltPoll) -> None:
        """Changes the parameters. All that was learned of the halts stays."""
        check_number(lib.catnap_poll_limit_set(self._handle(), params._checked()))  # pylint: disable=protected-access

    def learn(self, stats: HaltStats, now_ns: int) -> bool:
        """Learns from the three histograms of @stats, of all halts so far, at @now_ns of any clock that does not go
        back. The first call is where counting begins. Returns whether limit_ns is another one now."""
        struct = ffi.new('struct catnap_halt_stats *')
        struct.size = ffi.sizeof('struct catnap_halt_stats')
        for field in dataclasses.fields(stats):
            setattr(struct, field.name, getattr(stats, field.name))
        return bool(check_number(lib.catnap_poll_limit_learn(self._handle(), struct, now_ns)))

    @property
    def limit_ns(self) -> int:
        """The limit to be set; 0: do not poll."""
        return int(lib.catnap_poll_limit_ns(self._handle()))

    @property
    def interval_ns(self) -> int:
        """How long after the last learn() the next one is due."""
        return int(lib.catnap_poll_limit_interval(self._handle()))

    def expect(self, limit_ns: int) -> PollLimitCost:
        """Returns what polling would cost below the limit @limit_ns, by the halts of late."""
        limit = self._handle()
        return filled(PollLimitCost, 'catnap_poll_limit_cost', lambda c: lib.catnap_poll_limit_expect(limit, limit_ns, c), None)

    def _handle(self) -> Any:
        return _open(self._limit, 'limit')


__all__ = ['Policy', 'PollLimit']
