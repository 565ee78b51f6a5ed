#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a sandbox for one command, with a stock Debian kernel, in the lab's machine: one_command.py CATNAP

Status 77, which skips, where Debian's kernel cannot be had."""
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / 'guest-images'))
import images  # noqa: E402 pylint: disable=wrong-import-position

# The guest has a shell, and no other program.
COMMAND = ['/bin/sh', '-c', 'echo "argument: $1"; read -r first rest </proc/mounts && echo "mounted: $first" >&2; exit 7', 'sh', 'a b']


def main():
    catnap = Path(sys.argv[1]).resolve()
    kernel = images.StockKernel('6.12')
    with tempfile.TemporaryDirectory() as temp:
        cmd = [ROOT / 'docs/examples/one-command', '--catnap', catnap, '--kernel', kernel.vmlinuz, '--timeout', '900s']
        for number, module in enumerate(kernel.modules('virtio_pci', 'vmw_vsock_virtio_transport')):
            path = Path(temp, f'{number}.ko')
            path.write_bytes(images.read_module(module))
            cmd += ['--module', path]
        line = shlex.join(str(c) for c in cmd + ['--'] + COMMAND)
        p = subprocess.run([sys.executable, ROOT / 'tests/lab/inside', '--cpus', '1', '--limit', '1400', '--catnap', catnap, line],
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    print(p.stdout)
    good = p.returncode == 7 and all(line in p.stdout for line in ('argument: a b', 'mounted: '))
    print('ok' if good else f'not ok: status {p.returncode}')
    return 0 if good else 1


if __name__ == '__main__':
    try:
        sys.exit(main())
    except images.Missing as e:
        print(e)
        sys.exit(77)
