#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Section 3 of the manual is whole: each public name is in a page, each function has one under its own name, each
SYNOPSIS compiles and says what the header says, and nothing complains when a page is rendered.

Usage: manual.py PAGES_DIRECTORY INCLUDE_DIRECTORY VERSION C_COMPILER [ARGUMENT ...]
"""
import os
import re
import shutil
import subprocess
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from names import declared  # noqa: E402 pylint: disable=wrong-import-position

SECTIONS = ('NAME', 'LIBRARY', 'SYNOPSIS', 'DESCRIPTION', 'RETURN VALUE', 'ERRORS', 'THREADS', 'VERSIONS', 'SEE ALSO')


def plain(roff):
    text = re.sub(r'\\f(\(..|\[[^]]*\]|.)', '', roff)
    return text.replace('\\-', '-').replace('\\&', '').replace('\\e', '\\')


def section(text, name):
    found = re.search(rf'^\.SH {name}\n(.*?)(?=^\.SH |\Z)', text, re.M | re.S)
    return found[1] if found else ''


def read(directory):
    """The pages, and what each name leads to."""
    pages, links = {}, {}
    for name in sorted(os.listdir(directory)):
        with open(os.path.join(directory, name), encoding='utf-8') as f:
            text = f.read()
        link = re.fullmatch(r'\.so man3/(\S+)\n', text)
        if link:
            links[name] = link[1]
        else:
            pages[name] = text
    return pages, links


def compiles(name, text, include, cc):
    """The header is read before: then each prototype must be the same once more."""
    lines = [line for line in section(text, 'SYNOPSIS').split('\n') if not re.match(r'\.(nf|fi|PP)$', line)]
    source = plain('\n'.join(lines))
    undefine = ''.join(f'#undef {f}\n' for f in sorted(set(re.findall(r'\b(catnap_\w+)\(', source))))
    source = re.sub(r'(#include .*\n)', lambda m: m[1] + undefine, source, count=1)
    cmd = cc + ['-fsyntax-only', '-Wall', '-Wextra', '-Werror', '-I', include, '-x', 'c', '-']
    p = subprocess.run(cmd, input=source, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    return [] if p.returncode == 0 else [f'{name}: SYNOPSIS: {p.stdout}']


def rendered(path):
    bad = []
    for tool, cmd in (('mandoc', ['mandoc', '-T', 'lint', '-W', 'warning', path]),
                      ('groff', ['groff', '-man', '-Tutf8', '-ww', '-z', path])):
        if not shutil.which(tool):
            continue
        p = subprocess.run(cmd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        # A page names the version that it is of, and no date.
        bad += [f'{tool}: {line}' for line in p.stdout.splitlines() if line.strip() and 'missing date, using ""' not in line]
    return bad


def main():
    directory, include, version, *cc = sys.argv[1:]
    pages, links = read(directory)
    bad = []
    for name, to in links.items():
        if to not in pages:
            bad.append(f'{name}: leads to {to}, which is not there')
    everything = '\n'.join(plain(text) for text in pages.values())
    words = set(re.findall(r'\w+', everything))
    known = declared(include)
    for kind, name in sorted(known):
        if kind == 'FunctionDecl':
            page = name + '.3'
            page = links.get(page, page)
            if page not in pages:
                bad.append(f'{name}: no page')
            elif not re.search(rf'\b{name}\(', plain(section(pages[page], 'SYNOPSIS'))):
                bad.append(f'{name}: not in the SYNOPSIS of {page}')
            elif not re.search(rf'\b{name}\(\)', plain(section(pages[page], 'VERSIONS'))):
                bad.append(f'{page}: since when is there {name}?')
            elif name not in re.findall(r'\w+', plain(section(pages[page], 'NAME'))):
                bad.append(f'{page}: {name} is not among its names')
        elif name not in words and not name.endswith('_H') and name != 'CATNAP_API':
            bad.append(f'{name}: in no page')
    for name, text in pages.items():
        for s in SECTIONS:
            if not section(text, s).strip():
                bad.append(f'{name}: no {s}')
        for v in re.findall(r'^catnap (\S+)$', section(text, 'VERSIONS'), re.M):
            if not re.fullmatch(r'\d+\.\d+', v) or tuple(map(int, v.split('.'))) > tuple(map(int, version.split('.')[:2])):
                bad.append(f'{name}: version {v}')
        for other in re.findall(r'\b(catnap_\w+) \(3\)', section(text, 'SEE ALSO')):
            if other + '.3' not in pages:
                bad.append(f'{name}: SEE ALSO {other}(3), which is not there')
        bad += compiles(name, text, include, cc)
        bad += [f'{name}: {b}' for b in rendered(os.path.join(directory, name))]
    print('\n'.join(bad))
    print(len(pages), 'pages,', len(links), 'links,', len(known), 'names')
    return 1 if bad or len(pages) < 10 else 0


if __name__ == '__main__':
    sys.exit(main())
