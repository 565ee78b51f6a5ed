#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest writes, discards and flushes, and its monitor is killed: what was flushed is in the image.

    kill.py CATNAP IMAGES CATNAP-DISK user|kernel [ROUNDS]

The guest is load.elf; catnap-disk (guest-images/disk) knows from its seed what it does. Prints TAP.
Exit status: 0, 1 failed, 77 no /dev/kvm."""

import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
from results import end, result  # noqa: E402 pylint: disable=wrong-import-position

CATNAP, IMAGES, TOOL, IRQCHIP = sys.argv[1:5]
ROUNDS = int(sys.argv[5]) if len(sys.argv) > 5 else 8
SECTORS = 8192
WAYS = (('--io', 'vcpu', 'direct=off'), ('--io', 'thread', 'direct=off'), ('--io', 'vcpu', 'direct=on'),
        ('--io', 'thread', 'direct=on'))


def command(image, seed, way, *more):
    return [CATNAP, 'run', f'{IMAGES}/load.elf', '--irqchip', IRQCHIP, '--debug-exit', '0xf4', '-m', '16M',
            '--transport', 'mmio', '--rng', 'off', *way[:2], '-d', f'{image},{way[2]}', '-c', f'seed={seed}',
            *more]


def empty(image):
    with open(image, 'wb') as f:
        f.truncate(SECTORS * 512)


def check(image, log):
    p = subprocess.run([TOOL, 'check', image, log], capture_output=True, text=True, check=False, timeout=60)
    return p.returncode, p.stdout + p.stderr


def killed(image, log, seed, way, seconds):
    """Returns what catnap said before it was killed, so many seconds after the first flush."""
    empty(image)
    with open(log, 'wb') as out, subprocess.Popen(command(image, seed, way), stdin=subprocess.DEVNULL,
                                                  stdout=out, stderr=subprocess.PIPE) as p:
        end = time.monotonic() + 20
        while b'flush' not in Path(log).read_bytes() and p.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        time.sleep(seconds)
        p.send_signal(signal.SIGKILL)
        err = ''.join(line for line in p.communicate()[1].decode().splitlines(True) if 'without io_uring' not in line)
    return err if p.returncode == -signal.SIGKILL else f'status {p.returncode}\n{err}'


def whole(image, log):
    """To its end, without a kill: then everything is there."""
    empty(image)
    with open(log, 'wb') as out:
        cmd = command(image, 1, WAYS[0])
        cmd[-1] += ' operations=100'
        p = subprocess.run(cmd, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, text=True,
                           check=False, timeout=60)
    text = Path(log).read_text(encoding='latin-1')
    result(p.returncode == 67, 'without a kill', f'status {p.returncode}\n{p.stderr}\n{text}')
    status, said = check(image, log)
    result(status == 0, 'without a kill: all is there', said)


def main():
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        print('1..0 # SKIP no /dev/kvm')
        return 77
    flushes = promised = bad = 0
    with tempfile.TemporaryDirectory(prefix='catnap-kill-') as folder:
        image, log = f'{folder}/disk.img', f'{folder}/log'
        whole(image, log)
        why = ''
        for i in range(ROUNDS):
            seconds, way = random.uniform(0, 1.5), WAYS[i % len(WAYS)]
            err = killed(image, log, i + 1, way, seconds)
            if 'direct=off' in err:  # the file system has no direct I/O
                way = (*way[:2], 'direct=off')
                err = killed(image, log, i + 1, way, seconds)
            status, said = check(image, log)
            m = re.search(r'(\d+) flushes, (\d+) sectors promised', said)
            if m and status == 0 and not err:
                flushes += int(m[1])
                promised += int(m[2])
            else:
                bad += 1
                why += f'seed {i + 1}, {" ".join(way)}, killed after {seconds:.3f} s: {err}\n{said}\n'
        result(not bad, f'{ROUNDS} kills: what was flushed is in the image', why)
        print(f'# {flushes} flushes, {promised} sectors that they promised')
        result(promised > 0, 'there was something to promise')
    return end()


if __name__ == '__main__':
    sys.exit(main())
