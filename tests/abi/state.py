#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The library has no mutable state of its own: any number of VMs may live in one process.

Looks for writable data in its objects. Thread-local data is nobody else's, and .data.rel.ro is
constant after the loader.

Usage: state.py NM ARCHIVE
"""
import subprocess
import sys

# name: why it may be there
ALLOWED = {
    'processors_at_load': 'what the loader found; constant before anybody can call',
}


def main():
    nm, archive = sys.argv[1:]
    out = subprocess.run([nm, '-A', '--format=sysv', archive], stdout=subprocess.PIPE, text=True,
                         check=True).stdout
    bad = seen = 0
    for line in out.splitlines():
        fields = [f.strip() for f in line.split('|')]
        if len(fields) != 7:
            continue
        name, _, kind, what, _, _, section = fields
        seen += 1
        if kind not in 'bBdDsSgGcCuV' or what == 'TLS' or section.startswith('.data.rel.ro'):
            continue
        if name.rsplit(':', 1)[-1] in ALLOWED:
            continue
        print(f'mutable state: {name} in {section}')
        bad += 1
    print(seen, 'symbols')
    return 1 if bad or seen < 100 else 0


if __name__ == '__main__':
    sys.exit(main())
