#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The shared library, and the static one, export what the headers declare with CATNAP_API, no more and no
less.

Usage: symbols.py NM SHARED STATIC HEADER...
"""
import os
import re
import subprocess
import sys


def exported_by(nm, options, library):
    out = subprocess.run([nm, *options, '--defined-only', library], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    names = set()
    for fields in map(str.split, out.splitlines()):
        if len(fields) == 3 and fields[1] != 'A':  # the version's own name
            names.add(fields[2].split('@')[0])
    return names


def main():
    nm, shared, static, *headers = sys.argv[1:]
    declared = set()
    for path in headers:
        with open(path, encoding='utf-8') as f:
            text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
        declared |= set(re.findall(r'^CATNAP_API[^;{(]*?\b(\w+)\(', text, flags=re.M))
    bad = 0
    for library, options in ((shared, ['-D']), (static, ['-g'])):
        exported = exported_by(nm, options, library)
        name = os.path.basename(library)
        for what in sorted(declared - exported):
            print(f'{name}: declared, but not exported: {what}')
        for what in sorted(exported - declared):
            print(f'{name}: exported, but not declared: {what}')
        bad += declared != exported
    print(len(declared), 'functions')
    return 1 if bad or not declared else 0


if __name__ == '__main__':
    sys.exit(main())
