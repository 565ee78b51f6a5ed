# SPDX-License-Identifier: Apache-2.0
"""Tells what a host offers, and which library this is."""
import dataclasses
from typing import Tuple

from ._abi import ffi
from ._library import lib, text
from ._types import CheckState


@dataclasses.dataclass(frozen=True)
class Check:
    """One thing that was looked at: what was found, and what its absence costs."""

    name: str
    state: CheckState
    found: str
    advice: str


def check_host() -> Tuple[Check, ...]:
    """Looks at this host, which takes a moment."""
    room = 256
    checks = ffi.new(f'struct catnap_check[{room}]')
    n = lib.catnap_check_host_sized(checks, room, ffi.sizeof('struct catnap_check'))
    return tuple(Check(text(c.name), CheckState(c.state), text(c.found), text(c.advice)) for c in checks[0:min(n, room)])


def host_memory() -> int:
    """Bytes; no VM may have more."""
    return int(lib.catnap_host_memory())


def host_tsc_khz() -> int:
    """0: this host's TSC is no clock."""
    return int(lib.catnap_host_tsc_khz())


def host_kvm_run_ns() -> int:
    """What a KVM_RUN costs that does not enter the guest, in ns; 0: not known. Takes a moment."""
    return int(lib.catnap_host_kvm_run_ns())


def library_version() -> str:
    return text(lib.catnap_version())
