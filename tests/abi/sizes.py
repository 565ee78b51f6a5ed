#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The layout of the public structures is the one on record.

A structure may grow at its end, and nothing else: then record the new layout, with

    build/tests/abi/sizes > tests/abi/sizes.txt

Usage: sizes.py PROGRAM RECORD
"""
import difflib
import subprocess
import sys


def main():
    program, record = sys.argv[1:]
    have = subprocess.run([program], stdout=subprocess.PIPE, text=True, check=True).stdout
    with open(record, encoding='utf-8') as f:
        want = f.read()
    diff = difflib.unified_diff(want.splitlines(), have.splitlines(), 'on record', 'built', lineterm='')
    print('\n'.join(diff))
    return 0 if have == want else 1


if __name__ == '__main__':
    sys.exit(main())
