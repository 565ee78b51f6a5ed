#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The files that `meson install` installs are whole, and serve a program that knows nothing of the tree.

Installs into a folder of its own. Then builds the example that was installed, by the pkg-config file that
was installed, against the static library and the shared one: with a program around it that has every name
that the library has inside (rng_create, ...) and some that anybody has (error, log, ...). Where there is a
/dev/kvm both run a guest, and no function of the program's may be called by the library.

Usage: installed.py MESON BUILD_DIRECTORY NM PKG_CONFIG INNER_ARCHIVE IMAGE C_COMPILER [ARGUMENT ...]
"""
import os
import re
import subprocess
import sys
import tempfile

LIMIT_S = 120
INCLUDE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../include/catnap')
# Names that programs like to give to their own, beside those of the library's inside.
COMMON = ('log', 'error', 'warn', 'die', 'fatal', 'debug', 'init', 'run', 'start', 'stop', 'poll_once',
          'thread', 'kick', 'load', 'add', 'make', 'tell', 'bus_add', 'hash', 'rng_create')
GUEST = 'workload=cpus cpus=1 exit=244'


def run(cmd, **more):
    done = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=LIMIT_S, check=False, **more)
    if done.returncode:
        print('$', ' '.join(cmd))
        print(done.stdout)
        sys.exit(1)
    return done.stdout


def find(root, name):
    """The one file of that name."""
    found = [os.path.join(d, name) for d, _, names in os.walk(root) if name in names]
    if len(found) != 1:
        print(f'{name}: installed {len(found)} times')
        sys.exit(1)
    return found[0]


def inner_names(nm, archive):
    """Returns the names by which the library's files know each other."""
    out = run([nm, '-g', '--defined-only', archive])
    names = {f[2] for f in map(str.split, out.splitlines()) if len(f) == 3}
    return {n for n in names if re.fullmatch(r'[a-z]\w*', n) and not n.startswith('catnap_')}


def clash(names):
    """A program's own functions, none of which the library has any business to call."""
    lines = ['#include <stdio.h>', '#include <stdlib.h>']
    for name in sorted(names):
        lines.append(f'void {name}(void); void {name}(void) {{ fprintf(stderr, "%s() of the program was '
                     f'called\\n", "{name}"); _Exit(99); }}')
    return '\n'.join(lines) + '\n'


def cited(root):
    """Documents that the headers name are installed."""
    bad = 0
    docs = os.path.dirname(find(root, 'sandbox.md'))
    headers = os.path.dirname(find(root, 'catnap.hpp'))
    if sorted(os.listdir(headers)) != sorted(n for n in os.listdir(INCLUDE) if re.search(r'\.(?:h|hpp)$', n)):
        print('not the headers of the tree:', sorted(os.listdir(headers)))
        bad += 1
    for header in sorted(os.listdir(headers)):
        with open(os.path.join(headers, header), encoding='utf-8') as f:
            text = f.read()
        for name in set(re.findall(r'[\w/-]+\.(?:md|c)\b', text)):
            if not os.path.exists(os.path.join(docs, name)):
                print(f'{header}: {name} is named and not installed')
                bad += 1
    for name in ('catnap.1', 'catnap-run.1', 'minimal.c', 'halter.c', 'loop.c', 'fleet.c'):
        find(root, name)
    return bad


def links(root):
    """Links of installed documents lead to what is installed: to their folder, a manual page or a header."""
    bad = 0
    docs = os.path.dirname(find(root, 'sandbox.md'))
    elsewhere = {name for d, _, names in os.walk(root) for name in names if re.search(r'\.(?:h|\d)$', name)}
    for name in sorted(n for n in os.listdir(docs) if n.endswith('.md')):
        with open(os.path.join(docs, name), encoding='utf-8') as f:
            text = f.read()
        for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', text):
            if ('://' not in target and os.path.basename(target) not in elsewhere and
                    (target.startswith('..') or not os.path.exists(os.path.join(docs, target)))):
                print(f'{name}: link to {target}, which is not installed')
                bad += 1
    return bad


def main():
    meson, build, nm, pkg_config, archive, image, *cc = sys.argv[1:]
    names = inner_names(nm, archive)
    if len(names) < 100:
        print('only', len(names), 'names inside')
        return 1
    with tempfile.TemporaryDirectory() as tmp:
        root = os.path.join(tmp, 'root')
        run([meson, 'install', '-C', build, '--no-rebuild', '--quiet', '--destdir', root])
        bad = cited(root) + links(root)
        static, shared = find(root, 'libcatnap.a'), os.path.dirname(find(root, 'libcatnap.so'))
        env = dict(os.environ, PKG_CONFIG_PATH=os.path.dirname(find(root, 'catnap.pc')),
                   PKG_CONFIG_SYSROOT_DIR=root)
        source = os.path.join(tmp, 'clash.c')
        with open(source, 'w', encoding='utf-8') as f:
            f.write(clash(names.union(COMMON)))
        own = [source, '-w', '-fno-builtin', find(root, 'minimal.c')]
        for kind in ('static', 'shared'):
            flags = run([pkg_config, '--cflags', '--libs', 'catnap'] +
                        (['--static'] if kind == 'static' else []), env=env).split()
            if kind == 'static':
                flags = [static if f == '-lcatnap' else f for f in flags]
            program = os.path.join(tmp, kind)
            run(cc + own + flags + ['-o', program])
            if os.access('/dev/kvm', os.R_OK | os.W_OK):
                run([program, image, GUEST], env=dict(os.environ, LD_LIBRARY_PATH=shared))
    print(len(names), 'names')
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
