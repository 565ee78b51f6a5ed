# SPDX-License-Identifier: Apache-2.0
"""The values that callers give: halt polling and limits."""
import dataclasses
from typing import Any, Optional

from ._abi import ffi
from ._library import lib
from ._types import Bias, PolicyKind, Spin


@dataclasses.dataclass(frozen=True)
class HaltPoll:
    """How long a halted vCPU polls before it sleeps: struct catnap_halt_poll. None is the library's default."""

    policy: PolicyKind = PolicyKind.ADAPTIVE
    #: The longest poll, in ns. The default depends on the policy: 1 ms for adaptive, else 200 us.
    max_ns: Optional[int] = None
    grow: Optional[int] = None
    grow_start_ns: Optional[int] = None
    shrink: Optional[int] = None
    bias: Optional[Bias] = None
    price_ns: Optional[int] = None
    # : The share of one processor that failing polls may take, in hundredths of per cent; 0: no limit.
    cpu_max: Optional[int] = None
    group: Optional[bool] = None
    spin: Optional[Spin] = None

    def _fill(self, params: Any) -> None:
        from . import _types
        lib.catnap_halt_poll_init_sized(params, ffi.sizeof('struct catnap_halt_poll'))
        if self.max_ns is None and self.policy != PolicyKind.ADAPTIVE:
            params.max_ns = _types.KERNEL_MAX_NS
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                setattr(params, field.name, int(value))

    @classmethod
    def _of(cls, params: Any) -> 'HaltPoll':
        return cls(policy=PolicyKind(params.policy), max_ns=params.max_ns, grow=params.grow, grow_start_ns=params.grow_start_ns,
                   shrink=params.shrink, bias=Bias(params.bias), price_ns=params.price_ns, cpu_max=params.cpu_max,
                   group=bool(params.group), spin=Spin(params.spin))


@dataclasses.dataclass(frozen=True)
class Bucket:
    """A token bucket: @size tokens, which come back in @refill_ns; and some that are there once."""

    size: int
    refill_ns: int
    one_time_burst: int = 0


@dataclasses.dataclass(frozen=True)
class Limit:
    """How much a device may do: bytes, and operations. None: no limit."""

    bandwidth: Optional[Bucket] = None
    operations: Optional[Bucket] = None

    def _fill(self, limit: Any) -> None:
        for bucket, to in ((self.bandwidth, limit.bw), (self.operations, limit.ops)):
            to.size = bucket.size if bucket else 0
            to.refill_ns = bucket.refill_ns if bucket else 0
            to.one_time_burst = bucket.one_time_burst if bucket else 0
