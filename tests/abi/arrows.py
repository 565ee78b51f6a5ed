#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Checks which file calls which, as the linker sees it: no arrow against the direction, and no circle.

An arrow leads from an object file with an undefined symbol to the one that defines it. A function that is inline in a
header, or called through a pointer, makes none.

Usage: arrows.py NM SOURCE_ROOT LIBRARY COMMAND (static archives of their objects)
"""
import os
import re
import subprocess
import sys

from rooms import INNER, MAY, TOP

# Only in the command of -Dstatic=true.
STATIC_ONLY = {'cli/no_tls'}

# Modules that live in several files, which call each other: why they are not put apart.
MODULES = [
    ({'devices/virtio/net', 'devices/virtio/net_ctrl', 'devices/virtio/net_state'},
     'the control queue, and a snapshot, change what the data queues do'),
    ({'devices/virtio/vsock', 'devices/virtio/vsock_conn'},
     'connections and the queues that carry them make each other move'),
    ({'cli/opts', 'cli/opts_value'},
     'a value that is made of keys is parsed by what parses options'),
    ({'cli/run/port', 'cli/run/port_pty', 'cli/run/port_socket'},
     'a port is of one of two kinds, and does for both what both need'),
]

# Of what the library defines, the command may use what is in its headers.
PUBLIC = re.compile(r'catnap_')


def sources(root):
    """The names of object files in an archive -> files of src, without their ending."""
    found = {}
    for folder, _, names in os.walk(os.path.join(root, 'src')):
        for name in names:
            if not name.endswith('.c'):
                continue
            path = os.path.relpath(os.path.join(folder, name), os.path.join(root, 'src'))
            # Meson names an object after the path from its target's folder.
            for base in ('', 'cli/'):
                if path.startswith(base):
                    found.setdefault(path[len(base):].replace('/', '_'), []).append(path[:-2])
    return found


def room(path):
    return path.split('/')[0]


class Objects:
    """The symbols that the archives' objects define and need."""

    def __init__(self, nm, root):
        self.nm = nm
        self.sources = sources(root)
        self.defined = {}  # symbol -> file
        self.needed = {}   # file -> symbols

    def file_of(self, name, command):
        """The source of an object; None: it is made by the build."""
        files = [f for f in self.sources.get(re.sub(r'\.o$', '', name), ())
                 if (room(f) == 'cli') == command]
        if len(files) > 1:
            sys.exit(f'{name}: is made of {" or of ".join(files)}: names that cannot be told apart')
        return files[0] if files else None

    def read(self, archive, command):
        out = subprocess.run([self.nm, '-A', '--format=posix', archive], stdout=subprocess.PIPE,
                             text=True, check=True).stdout
        for line in out.splitlines():
            where, _, rest = line.partition(']: ')
            symbol, kind = rest.split()[:2]
            file = self.file_of(os.path.basename(re.split(r'[\[:]', where)[-1]), command)
            if not file:
                continue
            self.needed.setdefault(file, set())
            if kind in 'Uw':
                self.needed[file].add(symbol)
            elif kind.isupper():
                self.defined[symbol] = file

    def arrows(self):
        """file -> {file that it uses: symbols}"""
        found = {}
        for file, symbols in self.needed.items():
            to = found.setdefault(file, {})
            for s in sorted(symbols):
                other = self.defined.get(s)
                if other and other != file:
                    to.setdefault(other, []).append(s)
        return found


def allowed(file, other, symbols):
    a, b = room(file), room(other)
    if a == 'cli' and b != 'cli':
        return all(PUBLIC.match(s) for s in symbols)
    if b not in MAY:  # in src itself: open to all of the library, and above nothing
        return True
    if b not in MAY.get(a, ()):
        return False
    inner, outer = os.path.dirname(file), os.path.dirname(other)
    return (a != b or inner == outer or file in TOP or inner not in INNER or
            outer in INNER[inner])


def against_the_direction(arrows):
    bad = 0
    for file, to in sorted(arrows.items()):
        for other, symbols in sorted(to.items()):
            if not allowed(file, other, symbols):
                print(f'src/{file}.c may not use src/{other}.c: {", ".join(symbols)}')
                bad += 1
    return bad


def circles(arrows):
    """Sets of files of which each reaches each other (Tarjan, without recursion)."""
    order, low, stack, found = {}, {}, [], []
    for start in sorted(arrows):
        if start in order:
            continue
        order[start] = low[start] = len(order)
        stack.append(start)
        work = [(start, iter(arrows[start]))]
        while work:
            file, rest = work[-1]
            other = next(rest, None)
            if other is None:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[file])
                if low[file] == order[file]:
                    at = stack.index(file)
                    if len(stack) - at > 1:
                        found.append(set(stack[at:]))
                    del stack[at:]
            elif other not in order:
                order[other] = low[other] = len(order)
                stack.append(other)
                work.append((other, iter(arrows.get(other, ()))))
            elif other in stack:
                low[file] = min(low[file], order[other])
    return found


def unexcused(arrows):
    bad = 0
    seen = circles(arrows)
    for files in seen:
        if any(files <= module for module, _ in MODULES):
            continue
        bad += 1
        print('a circle:')
        for file in sorted(files):
            for other in sorted(files & set(arrows[file])):
                print(f'  src/{file}.c -> src/{other}.c: {", ".join(arrows[file][other])}')
    for module, why in MODULES:
        if not any(files <= module for files in seen):
            print(f'no circle any more, so it needs no excuse: {", ".join(sorted(module))} ({why})')
            bad += 1
    return bad


def main():
    nm, root, library, command = sys.argv[1:]
    objects = Objects(nm, root)
    objects.read(library, False)
    objects.read(command, True)
    arrows = objects.arrows()
    bad = against_the_direction(arrows) + unexcused(arrows)
    missing = {f for files in objects.sources.values() for f in files} - set(objects.needed) - STATIC_ONLY
    for file in sorted(missing):
        print(f'src/{file}.c: in neither archive')
    print(len(arrows), 'files,', sum(len(to) for to in arrows.values()), 'arrows')
    return 1 if bad or missing or not arrows else 0


if __name__ == '__main__':
    sys.exit(main())
