#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disassembles what a build has for processors with WAITPKG and MONITORX.

    spin_code.py OBJDUMP LIBRARY

The two functions have their pair of instructions, in this order, and nothing else in the library has any of them: code
that has not asked CPUID does not meet them. Exit status 77: the library is not machine code yet (LTO).
"""

import re
import subprocess
import sys

EXPECTED = {"spin_umwait": ["umonitor", "umwait"], "spin_mwaitx": ["monitorx", "mwaitx"]}
ALL = {"umonitor", "umwait", "tpause", "monitorx", "mwaitx", "monitor", "mwait"}


def main():
    out = subprocess.run([sys.argv[1], "-d", sys.argv[2]], stdout=subprocess.PIPE, text=True, check=True).stdout
    found, name = {}, ""
    for line in out.splitlines():
        begin = re.fullmatch(r"[0-9a-f]+ <(.*)>:", line)
        if begin:
            name = begin.group(1)
            continue
        code = line.split("\t")
        if len(code) < 3 or not code[2].split():
            continue
        word = code[2].split()[0]
        if word in ALL:
            found.setdefault(name, []).append(word)
    if not re.search(r"<spin_umwait>:", out):
        print("no such function: not machine code?")
        sys.exit(77)
    if found != EXPECTED:
        sys.exit(f"expected {EXPECTED}, found {found}")
    print(found)


if __name__ == "__main__":
    main()
