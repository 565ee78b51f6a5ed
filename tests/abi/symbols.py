#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shared library exports what the headers declare with CATNAP_API, no more and no less.

Usage: symbols.py NM LIBRARY HEADER...
"""
import re
import subprocess
import sys


def main():
    nm, library, *headers = sys.argv[1:]
    declared = set()
    for path in headers:
        with open(path, encoding='utf-8') as f:
            text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
        declared |= set(re.findall(r'^CATNAP_API[^;{(]*?\b(\w+)\(', text, flags=re.M))
    out = subprocess.run([nm, '-D', '--defined-only', library], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    exported = set()
    for line in out.splitlines():
        kind, name = line.split()[-2:]
        if kind != 'A':  # the version's own name
            exported.add(name.split('@')[0])
    for name in sorted(declared - exported):
        print('declared, but not exported:', name)
    for name in sorted(exported - declared):
        print('exported, but not declared:', name)
    print(len(declared), 'functions')
    return 1 if declared != exported or not declared else 0


if __name__ == '__main__':
    sys.exit(main())
