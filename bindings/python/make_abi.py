#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes, of catnap's headers, what the binding knows of the library: _abi.py, by which cffi calls it (ABI mode: no
compiler where it is used), and _types.py, its enumerations and statistics as Python has them.

    make_abi.py INCLUDE_DIRECTORY OUTPUT_DIRECTORY C_COMPILER [ARGUMENT ...]

The rest of the package is copied there, too. Of the compiler only the preprocessor is used. A structure says its own size, so a binding of older headers serves a newer library
of the same soname.
"""
import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile

import cffi

# The headers that cffi knows by itself; the system's own are full of what it does not know.
KNOWN = ('stdbool.h', 'stddef.h', 'stdint.h')
SOURCE = '#include <catnap/snapshot.h>\n'
# Of libc, which the library has; os.eventfd() came with Python 3.10.
EVENTFD = 'int eventfd(unsigned int initval, int flags);\n'
# Structures that the library fills, and their names here.
FILLED = {
    'catnap_halt_stats': 'HaltStats',
    'catnap_vcpu_stats': 'VcpuStats',
    'catnap_policy_context': 'PolicyContext',
    'catnap_policy_stats': 'PolicyStats',
    'catnap_net_queue_stats': 'NetQueueStats',
    'catnap_device_stats': 'DeviceStats',
    'catnap_balloon_stats': 'BalloonStats',
    'catnap_hotplug_stats': 'HotplugStats',
    'catnap_io_stats': 'IoStats',
    'catnap_poll_limit_stats': 'PollLimitStats',
    'catnap_poll_limit_cost': 'PollLimitCost',
    'catnap_exit': 'Exit',
    'catnap_event': 'Event',
    'catnap_snapshot_info': 'SnapshotInfo',
    'catnap_snapshot_memory': 'SnapshotMemory',
    'catnap_snapshot_device': 'SnapshotDevice',
}
# Members that are such an enumeration.
ENUMS = {
    ('catnap_exit', 'reason'): 'catnap_exit_reason',
    ('catnap_event', 'type'): 'catnap_event_type',
    ('catnap_halt_stats', 'policy'): 'catnap_policy_kind',
    ('catnap_policy_stats', 'policy'): 'catnap_policy_kind',
    ('catnap_policy_context', 'before'): 'catnap_halt_class',
    ('catnap_policy_context', 'last'): 'catnap_halt_class',
    ('catnap_snapshot_info', 'irqchip'): 'catnap_irqchip',
    ('catnap_snapshot_info', 'hw'): 'catnap_hw',
    ('catnap_snapshot_info', 'transport'): 'catnap_transport',
    ('catnap_snapshot_memory', 'kind'): 'catnap_snapshot_kind',
}
HIDDEN = re.compile(r'size|reserved\d*|unused|(?!memory_)\w+_size$')


def preprocess(include, cc, *options):
    with tempfile.TemporaryDirectory() as tmp:
        for name in KNOWN:
            with open(os.path.join(tmp, name), 'w', encoding='utf-8'):
                pass
        cmd = cc + ['-E', '-nostdinc', *options, '-I', tmp, '-I', include, '-x', 'c', '-']
        return subprocess.run(cmd, input=SOURCE, stdout=subprocess.PIPE, text=True, check=True).stdout


def constants(include, cc):
    """The numbers among the macros."""
    found = {}
    for name, text in re.findall(r'^#define (CATNAP_\w+)[ \t]+(.*)$', preprocess(include, cc, '-dM'), re.M):
        text = re.sub(r'U?INT(?:32|64)_C\((\w+)\)', r'\1', text)
        text = text.replace('UINT32_MAX', '0xffffffff').replace('UINT64_MAX', '0xffffffffffffffff')
        if re.fullmatch(r'[0-9a-fA-Fx()<| ]+', text):
            found[name] = eval(text)  # pylint: disable=eval-used
    return found


def camel(name):
    return ''.join(part.capitalize() for part in name.removeprefix('catnap_').split('_'))


def enumerators(names):
    """Without what all of them begin with; but for one that would begin with a digit, which keeps a word more."""
    common = os.path.commonprefix(names)
    common = common[:common.rfind('_') + 1] if len(names) > 1 else 'CATNAP_'
    more = common[:common[:-1].rfind('_') + 1]
    return [n[len(common):] if n[len(common):].isidentifier() else n[len(more):] for n in names]


def python_enums(ffi, text, out):
    for name in sorted(re.findall(r'^enum (\w+)\s*\{', text, re.M)):
        elements = ffi.typeof('enum ' + name).elements
        out += ['', '', f'class {camel(name)}(enum.IntEnum):', f'    """enum {name}."""', '']
        values = sorted(elements)
        # The last one may tell how many there are: CATNAP_CAUSES behind each CATNAP_CAUSE_...
        if all(elements[v].startswith(elements[values[-1]][:-1] + '_') for v in values[:-1]):
            values.pop()
        for value, short in zip(values, enumerators([elements[v] for v in values])):
            out.append(f'    {short} = {value}')


def python_type(ffi, struct, member, ctype, known):
    if (struct, member) in ENUMS:
        return f'Union[{camel(ENUMS[struct, member])}, int]'
    if ctype.kind == 'primitive':
        return 'int'
    if ctype.kind == 'array' and ctype.item.cname == 'char':
        return 'str'
    if ctype.kind == 'array' and ctype.item.cname == 'uint8_t':
        return 'bytes'
    if ctype.kind == 'array':
        return f'Tuple[{python_type(ffi, struct, member, ctype.item, known)}, ...]'
    if ctype.kind == 'struct':
        return known[ctype.cname.removeprefix('struct ')]
    raise SystemExit(f'struct {struct}: {member}: what is {ctype}?')


def python_structs(ffi, out):
    for name, short in FILLED.items():
        ctype = ffi.typeof('struct ' + name)
        out += ['', '', '@dataclasses.dataclass(frozen=True)', f'class {short}:', f'    """struct {name}."""', '']
        for member, field in ctype.fields:
            if not HIDDEN.fullmatch(member):
                out.append(f'    {member}: {python_type(ffi, name, member, field.type, FILLED)}')
    out += ['', '', '# Members whose numbers have names.', 'NAMED = {']
    out += [f'    ({FILLED[struct]}, "{member}"): {camel(enum)},' for (struct, member), enum in sorted(ENUMS.items())]
    out.append('}')


def main():
    include, output, *cc = sys.argv[1:]
    text = re.sub(r'__attribute__\s*\(\(.*?\)\)\)', '', preprocess(include, cc, '-P'))
    ffi = cffi.FFI()
    ffi.cdef(text + EVENTFD)
    ffi.set_source('catnap._abi', None)
    package = os.path.join(os.path.dirname(os.path.abspath(__file__)), 'src', 'catnap')
    shutil.copytree(package, output, dirs_exist_ok=True, ignore=shutil.ignore_patterns('__pycache__'))
    path = os.path.join(output, '_abi.py')
    with contextlib.redirect_stdout(None):
        ffi.emit_python_code(path)
    with open(path, encoding='utf-8') as f:
        made = f.read()
    numbers = constants(include, cc)
    with open(path, 'w', encoding='utf-8') as f:
        f.write('# SPDX-License-Identifier: Apache-2.0\n# mypy: ignore-errors\n' + made)
    out = ['# SPDX-License-Identifier: Apache-2.0', '"""Made of the headers by make_abi.py: their numbers, enumerations and statistics."""',
           'import dataclasses', 'import enum', 'from typing import Tuple, Union', '']
    out += [f'{name.removeprefix("CATNAP_")} = {value}' for name, value in sorted(numbers.items())]
    python_enums(ffi, text, out)
    python_structs(ffi, out)
    with open(os.path.join(output, '_types.py'), 'w', encoding='utf-8') as f:
        f.write('\n'.join(out) + '\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
