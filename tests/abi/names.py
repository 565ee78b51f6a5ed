#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sources of binding generators have each public name: clang's syntax tree as JSON has the functions, structures,
members, enumerations and enumerators of the headers, and its preprocessor the constants, each with a value. And the
version is the one of the build, in each of its forms.

Usage: names.py CLANG INCLUDE_DIRECTORY VERSION
"""
import json
import os
import re
import subprocess
import sys

SOURCE = '#include <catnap/snapshot.h>\n'


def run(cmd, source=SOURCE):
    return subprocess.run(cmd, input=source, stdout=subprocess.PIPE, text=True, check=True).stdout


def declared(include):
    """Returns the names in the text of the headers: (kind, name)."""
    found = set()
    for name in sorted(os.listdir(os.path.join(include, 'catnap'))):
        if not name.endswith('.h'):
            continue
        with open(os.path.join(include, 'catnap', name), encoding='utf-8') as f:
            text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
        found |= {('FunctionDecl', n) for n in re.findall(r'^CATNAP_API[^;{(]*?\b(\w+)\(', text, re.M)}
        found |= {('RecordDecl', n) for n in re.findall(r'^struct (\w+)(?: \{|;)', text, re.M)}
        found |= {('EnumDecl', n) for n in re.findall(r'^enum (\w+) \{', text, re.M)}
        for body in re.findall(r'^enum \w+ \{(.*?)\}', text, re.M | re.S):
            found |= {('EnumConstantDecl', n) for n in re.findall(r'\b(CATNAP_\w+)\s*(?:=|,|$|\s)', body)}
        found |= {('macro', n) for n in re.findall(r'^#define (CATNAP_\w+)[ \t]+\S', text, re.M)}
    return found


def in_tree(node, found):
    if node.get('name'):
        found.add((node['kind'], node['name']))
    for child in node.get('inner', ()):
        in_tree(child, found)


def constants(clang, include, names):
    """The values of macros, which the compiler works out."""
    lines = [SOURCE] + [f'static const unsigned long long value_of_{n} = {n};\n' for n in names]
    run([*clang, '-fsyntax-only', '-I', include, '-x', 'c', '-'], ''.join(lines))


def main():
    clang, include, version = sys.argv[1:]
    clang = [clang]
    base = clang + ['-I', include, '-x', 'c']
    want = declared(include)
    have = set()
    in_tree(json.loads(run(base + ['-Xclang', '-ast-dump=json', '-fsyntax-only', '-'])), have)
    macros = dict(re.findall(r'^#define (CATNAP_\w+)[ \t]+(.*)$', run(base + ['-dM', '-E', '-']), re.M))
    have |= {('macro', n) for n in macros}
    missing = sorted(n for n in want - have if not n[1].endswith('_H'))
    for kind, name in missing:
        print(f'{kind} {name}: not in what clang says of the headers')
    values = sorted(n for k, n in want if k == 'macro' and n not in ('CATNAP_API', 'CATNAP_VERSION_STRING'))
    constants(clang, include, values)
    forms = {'CATNAP_VERSION_STRING': f'"{version}"'}
    for part, value in zip(('MAJOR', 'MINOR', 'PATCH'), version.split('.')):
        forms['CATNAP_VERSION_' + part] = value
    for name, value in forms.items():
        if macros.get(name) != value:
            print(f'{name} is {macros.get(name)}, and the version of the build is {version}')
            missing.append(name)
    print(len(want), 'names,', len(values), 'constants')
    return 1 if missing or len(want) < 200 else 0


if __name__ == '__main__':
    sys.exit(main())
