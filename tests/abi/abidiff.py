#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A program that was built against the first release of this soname still fits: abidiff, of libabigail, compares the
headers and the library's map with that release's record. Functions may be added, and structures may grow at their end;
nothing else may change, and nothing may go. That the library has what the headers say is abi-symbols' affair, and the
compiler's.

A library of stubs stands for the real one, so that no build needs debug information for this.

Until the release, and with a new soname, the record is made anew:

    tests/abi/abidiff.py --update include src/catnap.map tests/abi/libcatnap.abi cc

Usage: abidiff.py [--update] INCLUDE_DIRECTORY MAP RECORD C_COMPILER [ARGUMENT ...]
"""
import os
import re
import shutil
import subprocess
import sys
import tempfile

# Of abidiff(1)'s status: it could not compare.
FAILED = 1 | 2
# The lines that abidiff may say: of functions and enumerators that were added, of structures that have grown at their
# end, and of those that have such a one in their signature. (Its suppressions take more than they say.)
ALLOWED = re.compile(r'''\s*(
    (Functions|Variables|Function\ symbols|Variable\ symbols)\ changes\ summary:\ 0\ Removed,.*
  | \d+\ (Added|added)\ .* | \d+\ (functions?|variables?)\ with\ some\ .* | \[A\]\ .* | \[C\]\ .*\ (was\ changed|has\ some\ .*):?
  | ('.*'\ )?(return\ type|type\ of\ variable|parameter\ \d+\ of\ type\ '.*')\ (changed|has\ sub-type\ changes):
  | in\ (pointed\ to|referenced|unqualified\ underlying)\ type\ '.*':?(\ at\ .*)?
  | underlying\ type\ '.*'\ changed: | type\ of\ '.*'\ changed: | pointed\ to\ type\ '.*'\ changed:
  | type\ size\ changed\ from\ \d+\ to\ \d+\ \(in\ bits\) | type\ size\ hasn't\ changed
  | \d+\ (data\ member|enumerator)\ insertions?: | '.*',\ at\ offset\ \d+\ \(in\ bits\)(\ at\ .*)? | '.*'\ value\ '\d+'
  | details\ were\ reported\ earlier | (and\ )?type\ '.*'\ was\ .*reported\ earlier | no\ data\ member\ changes?\ .*:
)?\s*''', re.X)


def stubs(include):
    """A definition for each public function, and a use of each type: what is not used is not described."""
    text = ''
    for name in sorted(n for n in os.listdir(os.path.join(include, 'catnap')) if n.endswith('.h')):
        with open(os.path.join(include, 'catnap', name), encoding='utf-8') as f:
            text += re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    out = ['#include <catnap/catnap.h>', '#include <catnap/snapshot.h>']
    for declaration in re.findall(r'^CATNAP_API[^;{]*?\bcatnap_\w+\([^;]*\);', text, re.M):
        name = re.search(r'\b(catnap_\w+)\(', declaration)[1]
        out += [f'#undef {name}', declaration[:-1] + ' { __builtin_trap(); }']
    # Structures and enumerations of which the prototypes do not speak.
    names = re.findall(r'^(struct|enum) (catnap_\w+) \{', text, re.M)
    out += [f'extern {kind} {name} *const seen_{name}; {kind} {name} *const seen_{name} = 0;' for kind, name in names]
    return '\n'.join(out) + '\n'


def record(include, version_map, to, cc, temp):
    source, library, seen = (os.path.join(temp, n) for n in ('stubs.c', 'libcatnap.so', 'map'))
    with open(source, 'w', encoding='utf-8') as f:
        f.write(stubs(include))
    with open(version_map, encoding='utf-8') as f, open(seen, 'w', encoding='utf-8') as g:
        g.write(f.read().replace('catnap_*;', 'catnap_*; seen_*;'))
    subprocess.run(cc + ['-std=gnu11', '-g', '-O0', '-fPIC', '-shared', '-w', '-nostdlib', '-I', include, source, '-o', library,
                         '-Wl,--version-script=' + seen, '-Wl,-soname,libcatnap.so'], check=True)
    subprocess.run(['abidw', '--no-corpus-path', '--no-comp-dir-path', '--no-show-locs', '--no-architecture',
                    '--type-id-style', 'hash', '--out-file', to, library], check=True)
    with open(to, encoding='utf-8') as f:
        text = f.read()
    with open(to, 'w', encoding='utf-8') as f:
        # Where it was compiled, and by what.
        f.write(re.sub(r" (?:path|comp-dir-path|language)='[^']*'", '', text))


def fits(old, new):
    """(whether what knows @old can do with @new, what abidiff says)"""
    p = subprocess.run(['abidiff', '--no-show-locs', old, new], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                       check=False)
    if p.returncode & FAILED:
        print(p.stdout)
        sys.exit('abidiff failed')
    return all(ALLOWED.fullmatch(line) for line in p.stdout.split('\n')), p.stdout


# (what, header, pattern, instead, whether it still fits)
CHANGES = [
    ('a new function', 'catnap.h', r'(CATNAP_API const char \*catnap_version)', r'CATNAP_API int catnap_new(void);\n\1', True),
    ('a function that has gone', 'catnap.h', r'CATNAP_API const char \*catnap_version\(void\);', '', False),
    ('a function with another argument', 'catnap.h', r'(catnap_version\()void', r'\1int what', False),
    ('a structure that has grown at its end', 'vm.h', r'(struct catnap_exit \{.*?)(\n\};)', r'\1 uint64_t grown;\2', True),
    ('a member that has moved', 'limit.h', r'(struct catnap_bucket \{)', r'\1 uint64_t earlier;', False),
    ('a member of another type', 'config.h', r'uint32_t vcpus;', 'uint64_t vcpus;', False),
    ('a constant that is another', 'poll.h', r'CATNAP_POLICY_ADAPTIVE = 4', 'CATNAP_POLICY_ADAPTIVE = 9', False),
]


def bites(include, version_map, now, cc, temp):
    """It tells what may be from what may not."""
    bad = []
    for what, header, pattern, instead, fine in CHANGES:
        other, new = os.path.join(temp, 'include'), os.path.join(temp, 'other.abi')
        shutil.rmtree(other, ignore_errors=True)
        shutil.copytree(include, other)
        path = os.path.join(other, 'catnap', header)
        with open(path, encoding='utf-8') as f:
            text, n = re.subn(pattern, instead, f.read(), count=1, flags=re.S)
        if n != 1:
            sys.exit(f'{header} has no {pattern}')
        with open(path, 'w', encoding='utf-8') as f:
            f.write(text)
        record(other, version_map, new, cc, temp)
        if fits(now, new)[0] != fine:
            print(fits(now, new)[1])
            bad.append(f'{what} is {"refused" if fine else "not seen"}')
    return bad


def main():
    args = sys.argv[1:]
    update = args[:1] == ['--update']
    include, version_map, known, *cc = args[update:]
    if not shutil.which('abidiff'):
        print('no abidiff: apt-get install abigail-tools')
        return 77
    with tempfile.TemporaryDirectory() as temp:
        now = os.path.join(temp, 'now.abi')
        record(include, version_map, known if update else now, cc, temp)
        if update:
            return 0
        good, said = fits(known, now)
        print(said)
        bad = [] if good else ['the library does not fit what was built against the record']
        bad += bites(include, version_map, now, cc, temp)
    print('\n'.join(bad))
    return 1 if bad else 0


if __name__ == '__main__':
    sys.exit(main())
