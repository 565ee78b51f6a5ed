#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The tree's borders: who may include whom, and what only the command may do.

Usage: includes.py SOURCE_ROOT
"""
import os
import re
import sys

from rooms import MAY

INCLUDE = re.compile(r'^\s*#\s*include\s*[<"]([^">]+)[">]', re.M)
# The functions that are the command's alone. The library's exceptions are below: it has a handler for the kick, and none else.
CLI_ONLY = re.compile(r'(?<![\w.>])(?:(exit|_exit|_Exit|quick_exit|abort|v?printf|puts|putchar|perror|signal|'
                      r'sigaction|sigset|atexit|fork|system|tcsetattr|isatty|v?fprintf|fputs|fputc|'
                      r'fwrite)\s*\(|(stdout|stderr)\b)')
# The public headers that know no VM.
POLL_HEADERS = {'catnap/poll.h', 'catnap/version.h'}
EXCEPTIONS = {
    ('src/vcpu/kick.c', 'sigaction'): 'the kick',
    ('src/vmm/memory_lost.c', 'sigaction'): 'a look at who handles SIGBUS',
}


def strip(text):
    """The text without comments and strings, its lines kept."""
    def blank(match):
        return re.sub(r'[^\n]', ' ', match[0])
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"', blank, text, flags=re.S)


def check_includes(path, folder, text):
    bad = 0
    for name in INCLUDE.findall(text):
        if '/' not in name:
            continue
        top = name.split('/')[0]
        if top in MAY and top not in MAY[folder]:
            print(f'{path}: {folder} may not include {name}')
            bad += 1
        if name.startswith(('src/', '../')):
            print(f'{path}: {name}: includes are relative to src/')
            bad += 1
        if folder == 'poll' and (name == 'linux/kvm.h' or top == 'catnap' and name not in POLL_HEADERS):
            print(f'{path}: the poll engine knows no VM, so not {name}')
            bad += 1
        if folder == 'devices' and name == 'linux/kvm.h':
            print(f'{path}: devices know no KVM')
            bad += 1
    return bad


def check_calls(path, text):
    bad = 0
    for number, line in enumerate(strip(text).splitlines(), 1):
        if line.lstrip().startswith('#'):
            continue
        for call, stream in CLI_ONLY.findall(line):
            name = call or stream
            if (path, name) in EXCEPTIONS:
                continue
            print(f'{path}:{number}: {name} is for src/cli only')
            bad += 1
    return bad


def main():
    root = sys.argv[1]
    bad = seen = 0
    for folder in sorted(os.listdir(os.path.join(root, 'src'))):
        if not os.path.isdir(os.path.join(root, 'src', folder)):
            continue
        if folder not in MAY:
            print(f'src/{folder}: a folder that this test does not know')
            bad += 1
            continue
        for directory, _, names in os.walk(os.path.join(root, 'src', folder)):
            for name in sorted(names):
                if not name.endswith(('.c', '.h')):
                    continue
                full = os.path.join(directory, name)
                path = os.path.relpath(full, root)
                with open(full, encoding='utf-8') as f:
                    text = f.read()
                seen += 1
                bad += check_includes(path, folder, text)
                if folder != 'cli':
                    bad += check_calls(path, text)
    print(seen, 'files')
    return 1 if bad or not seen else 0


if __name__ == '__main__':
    sys.exit(main())
