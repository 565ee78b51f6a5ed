#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each public header compiles alone, without a warning, in C11, C17 and C++17.

Usage: headers.py INCLUDE_DIRECTORY C++_COMPILER|none C_COMPILER [ARGUMENT...]
"""
import os
import subprocess
import sys

FLAGS = ['-Wall', '-Wextra', '-Werror', '-pedantic', '-Wundef', '-Wshadow', '-fsyntax-only']


def main():
    include, cxx, *cc = sys.argv[1:]
    languages = [(cc, 'c', 'c11'), (cc, 'c', 'c17')]
    if cxx != 'none':
        languages.append(([cxx], 'c++', 'c++17'))
    bad = 0
    names = sorted(n for n in os.listdir(os.path.join(include, 'catnap')) if n.endswith('.h'))
    for name in names:
        # Twice: the guard must hold.
        source = f'#include <catnap/{name}>\n#include <catnap/{name}>\nint main(void) {{ return 0; }}\n'
        for compiler, language, std in languages:
            cmd = compiler + FLAGS + ['-std=' + std, '-x', language, '-I', include, '-']
            if subprocess.run(cmd, input=source, text=True, check=False).returncode:
                print(f'{name} does not compile alone as {std}')
                bad += 1
    print(len(names), 'headers,', ', '.join(std for _, _, std in languages))
    return 1 if bad or not names else 0


if __name__ == '__main__':
    sys.exit(main())
