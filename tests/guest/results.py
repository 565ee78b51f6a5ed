# SPDX-License-Identifier: Apache-2.0
"""Results of a test as TAP."""

import sys

number = failed = 0


def result(good, text, why=''):
    global number, failed
    number += 1
    failed += not good
    print(f'{"ok" if good else "not ok"} {number} - {text}')
    for line in why.splitlines() if not good else ():
        print(f'# {line}')
    sys.stdout.flush()


def end():
    """The last line; returns the exit status."""
    print(f'1..{number}')
    return 1 if failed else 0
