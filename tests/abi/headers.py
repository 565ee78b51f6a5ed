#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each public header compiles alone, without a warning, in C11, C17 and C++17; and in all of them each
_init can be called by its macro, which passes the struct's size on, by its function, and by its address. The one for
C++ alone does so in C++17 and C++20.

Usage: headers.py INCLUDE_DIRECTORY C++_COMPILER|none C_COMPILER [ARGUMENT...]
"""
import os
import re
import subprocess
import sys

FLAGS = ['-Wall', '-Wextra', '-Werror', '-pedantic', '-Wundef', '-Wshadow', '-fsyntax-only']


def use(struct):
    """A function that initialises a struct in each way that there is."""
    return f'''
#ifndef {struct}_init
#error "{struct}_init() does not pass on the size of the caller's struct"
#endif
void use_{struct}(struct {struct} *p);
void use_{struct}(struct {struct} *p)
{{
	void (*plain)(struct {struct} *) = {struct}_init;
	void (*sized)(struct {struct} *, size_t) = {struct}_init_sized;

	{struct}_init(p);
	({struct}_init)(p);
	plain(p);
	(&{struct}_init)(p);
	sized(p, sizeof(*p));
}}
'''


def main():
    include, cxx, *cc = sys.argv[1:]
    languages = [(cc, 'c', 'c11'), (cc, 'c', 'c17')]
    if cxx != 'none':
        languages.append(([cxx], 'c++', 'c++17'))
    bad = inits = 0
    names = sorted(n for n in os.listdir(os.path.join(include, 'catnap')) if n.endswith(('.h', '.hpp')))
    for name in names:
        chosen = languages
        if name.endswith('.hpp'):
            chosen = [([cxx], 'c++', std) for std in ('c++17', 'c++20') if cxx != 'none']
        with open(os.path.join(include, 'catnap', name), encoding='utf-8') as f:
            structs = re.findall(r'^CATNAP_API void (\w+)_init\(struct \1 \*', f.read(), re.M)
        inits += len(structs)
        # Twice: the guard must hold.
        source = (f'#include <catnap/{name}>\n#include <catnap/{name}>\n' + ''.join(map(use, structs)) +
                  'int main(void) { return 0; }\n')
        for compiler, language, std in chosen:
            cmd = compiler + FLAGS + ['-std=' + std, '-x', language, '-I', include, '-']
            if subprocess.run(cmd, input=source, text=True, check=False).returncode:
                print(f'{name} does not compile alone as {std}')
                bad += 1
    print(len(names), 'headers,', inits, 'structs,', ', '.join(std for _, _, std in languages))
    return 1 if bad or not names or not inits else 0


if __name__ == '__main__':
    sys.exit(main())
