#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Bindings can be made of the public headers as they are: Python's cffi reads what the preprocessor leaves
of them, but for attributes, and calls the library by that.

It then sees each structure as others do, and checks what a record of sizes cannot:
- the record (sizes.txt) has each member, at the place where cffi has it;
- a structure that may grow is the last member of another, or has room in itself (reserved);
- a last member that is an array of structures has a member that says how large an element is.

Usage: bindings.py LIBRARY INCLUDE_DIRECTORY RECORD VERSION C_COMPILER [ARGUMENT ...]
"""
import os
import re
import subprocess
import sys
import tempfile

try:
    import cffi
except ImportError:
    print('no cffi for this Python: apt-get install python3-cffi')
    sys.exit(77)

# The headers that cffi knows by itself; the system's own are full of what it does not know.
KNOWN = ('stdbool.h', 'stddef.h', 'stdint.h')


def preprocess(include, cc):
    with tempfile.TemporaryDirectory() as tmp:
        for name in KNOWN:
            with open(os.path.join(tmp, name), 'w', encoding='utf-8'):
                pass
        cmd = cc + ['-E', '-P', '-nostdinc', '-I', tmp, '-I', include, '-x', 'c', '-']
        return subprocess.run(cmd, input='#include <catnap/snapshot.h>\n', stdout=subprocess.PIPE, text=True,
                              check=True).stdout


def read_record(path):
    structs, members = {}, None
    with open(path, encoding='utf-8') as f:
        for line in f:
            words = line.split()
            if words[0] == 'struct':
                members = {}
                structs[words[1]] = (int(words[2]), members)
            elif line.startswith(' '):
                members[words[0]] = tuple(map(int, words[1].split('+')))
    return structs


def may_grow(ctype):
    return ctype.kind == 'struct' and bool(ctype.fields) and ctype.fields[0][0] == 'size'


def check_members(name, ctype, bad):
    """Nothing moves when what is inside grows."""
    names = [f[0] for f in ctype.fields]
    for i, (member, field) in enumerate(ctype.fields):
        last = i == len(names) - 1
        inner = field.type
        if may_grow(inner) and not last and inner.fields[-1][0] != 'reserved':
            bad.append(f'struct {name}: {member} may grow, and is not the last member')
        if inner.kind == 'array' and inner.item.kind == 'struct':
            if not last or member + '_size' not in names:
                bad.append(f'struct {name}: {member} is an array whose elements may grow: it is to be last, '
                           f'with a member {member}_size')


def check_record(ffi, name, ctype, record, bad):
    if name not in record:
        bad.append(f'struct {name} is not on record')
        return
    size, members = record[name]
    if ffi.sizeof(ctype) != size:
        bad.append(f'struct {name}: {ffi.sizeof(ctype)} bytes, on record {size}')
    for member, field in ctype.fields:
        have = (field.offset, ffi.sizeof(field.type))
        if members.get(member) != have:
            bad.append(f'struct {name}: {member} is at {have[0]}+{have[1]}, on record {members.get(member)}')


def main():
    library, include, record, version, *cc = sys.argv[1:]
    text = preprocess(include, cc)
    ffi = cffi.FFI()
    ffi.cdef(re.sub(r'__attribute__\s*\(\(.*?\)\)\)', '', text))
    lib = ffi.dlopen(library)
    record = read_record(record)
    bad = []
    seen = 0
    for name in ffi.list_types()[1]:
        ctype = ffi.typeof('struct ' + name)
        if ctype.fields is None:  # opaque
            continue
        seen += 1
        check_members(name, ctype, bad)
        check_record(ffi, name, ctype, record, bad)
    for name in re.findall(r'\b(catnap_\w+)\s*\((?!\s*\*)', text):
        getattr(lib, name)
    if ffi.string(lib.catnap_version()).decode() != version:
        bad.append('catnap_version() is not ' + version)
    cfg = ffi.new('struct catnap_vm_config *')
    lib.catnap_vm_config_init_sized(cfg, ffi.sizeof('struct catnap_vm_config'))
    if cfg.size != ffi.sizeof('struct catnap_vm_config') or cfg.vcpus != 1:
        bad.append('catnap_vm_config_init_sized() has not filled the struct')
    vm = ffi.new('struct catnap_vm **')
    if lib.catnap_vm_create(cfg, vm) >= 0 or b'kernel' not in ffi.string(lib.catnap_vm_last_error(ffi.NULL)):
        bad.append('catnap_vm_create() without a kernel has no sentence')
    print('\n'.join(bad))
    print(seen, 'structures')
    return 1 if bad or seen < 10 else 0


if __name__ == '__main__':
    sys.exit(main())
