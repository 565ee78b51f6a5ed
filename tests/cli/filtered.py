#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Runs a command on a host where some system calls fail: a seccomp filter, as containers have.

As a program: filtered.py [--errno NAME] COMMAND...: io_uring_setup, _enter and _register fail, with EPERM as by
Docker's filter, or as with kernel.io_uring_disabled; ENOSYS is a kernel without it. As a module: Call, failing().
"""

import argparse
import ctypes
import errno
import os
import struct
import sys
from typing import NamedTuple, Optional

LIBC = ctypes.CDLL(None, use_errno=True)
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
LOAD, EQUAL, RETURN = 0x20, 0x15, 6
NUMBER, ARGS = 0, 16  # struct seccomp_data
ERRNO, ALLOW = 0x50000, 0x7fff0000


class Call(NamedTuple):
    number: int
    arg: int = 0
    value: Optional[int] = None  # None: whatever the argument


FCNTL = 72
F_OFD_SETLK = 37
IO_URING = (Call(425), Call(426), Call(427))


def program(calls, error):
    code = []
    for call in calls:
        code += [(LOAD, 0, 0, NUMBER), (EQUAL, 0, 1 if call.value is None else 3, call.number)]
        if call.value is not None:
            code += [(LOAD, 0, 0, ARGS + 8 * call.arg), (EQUAL, 0, 1, call.value)]
        code.append((RETURN, 0, 0, ERRNO | error))
    return code + [(RETURN, 0, 0, ALLOW)]


def install(calls, error):
    code = program(calls, error)
    text = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
    prog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(text)))
    # Root may do so without giving up new privileges, as a container's does.
    return LIBC.prctl(SET_SECCOMP, FILTER, prog) == 0 or \
        (LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) == 0 and LIBC.prctl(SET_SECCOMP, FILTER, prog) == 0)


def failing(calls, error):
    """For subprocess's preexec_fn."""
    def before():
        if not install(calls, error):
            os._exit(99)
    return before


def has_io_uring():
    """With no argument it can only fail; how tells."""
    return LIBC.syscall(IO_URING[0].number, 0, None) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS)


def unsaid(text):
    """Returns what the command says, without its line on a host that has no io_uring."""
    return "".join(line for line in text.splitlines(True) if "without io_uring" not in line)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--errno", default="EPERM")
    parser.add_argument("command", nargs=argparse.REMAINDER)
    args = parser.parse_args()
    if not install(IO_URING, getattr(errno, args.errno)):
        sys.exit("filtered.py: no seccomp filters here")
    os.execvp(args.command[0], args.command)


if __name__ == "__main__":
    main()
