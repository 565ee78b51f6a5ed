#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The verifying disk load and its checker (guest-images/disk) on a file of this machine: load.py CATNAP-DISK

What the checker must see, and what it must not complain about. Prints TAP."""

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

TOOL = sys.argv[1]
SECTORS = 16384


def check(image, log):
    p = subprocess.run([TOOL, 'check', image, log], capture_output=True, text=True, check=False, timeout=60)
    return p.returncode, p.stdout + p.stderr


def load(image, log, seconds, *, kill=False):
    with open(image, 'wb') as f:
        f.truncate(SECTORS * 512)
    with open(log, 'wb') as out, subprocess.Popen(
            [TOOL, 'load', image, 'seed=7', 'workers=3', f'seconds={60 if kill else seconds}'],
            stdout=out, stderr=subprocess.PIPE, start_new_session=True) as p:
        if kill:
            time.sleep(seconds)
            os.killpg(p.pid, signal.SIGKILL)
        return p.wait(60), p.stderr.read().decode()


def broken(text, image, log, change, want):
    """change(data) spoils a copy of the image."""
    data = bytearray(Path(image).read_bytes())
    change(data)
    Path(image + '.bad').write_bytes(data)
    status, said = check(image + '.bad', log)
    result(status == 1 and re.search(want, said), text, f'status {status}\n{said}')


def written(data, at):
    return data[at:at + 8] == b'cat-disk'


def flushed_writes(data, log):
    """In the first worker's region: where a sector is that was flushed -> the number of its write."""
    flushed = max(int(n) for n in re.findall(r'^disk: 0 flush (\d+)$', Path(log).read_text(encoding='ascii'), re.M))
    found = {i: int.from_bytes(data[i + 24:i + 32], 'little') for i in range(0, len(data) // 3 - 512, 512)
             if written(data, i)}
    return {i: number for i, number in found.items() if number < flushed}


def main():
    with tempfile.TemporaryDirectory(prefix='catnap-load-') as folder:
        image, log = f'{folder}/disk.img', f'{folder}/log'
        status, err = load(image, log, 1)
        if status and 'Invalid argument' in Path(log).read_text(encoding='ascii') + err:
            print('1..0 # SKIP this file system has no direct I/O')
            return 77
        text = Path(log).read_text(encoding='ascii')
        result(status == 0 and text.endswith('disk: done ok\n'), 'the load verifies what it reads', text + err)
        status, said = check(image, log)
        result(status == 0 and ' 0 wrong, 0 errors' in said, 'its image is as promised', said)
        # Only sectors that were flushed are promised: one that is, in the first worker's region.
        data = Path(image).read_bytes()
        here = flushed_writes(data, log)
        first, other = min(here), max(here)

        def zero(d):
            d[first:first + 512] = bytes(512)

        def flip(d):
            d[first + 300] ^= 1

        def misplace(d):
            d[first:first + 512] = d[other:other + 512]

        def halve(d):
            d[first + 256:first + 512] = bytes(256)

        broken('a lost sector is seen', image, log, zero, 'zeroes')
        broken('a flipped bit is seen', image, log, flip, 'never written')
        broken('a misplaced sector is seen', image, log, misplace, 'never written')
        broken('a torn sector is seen', image, log, halve, 'never written')

        # The same writes and more of them; then one sector as it was before: an old write in the place of a new one.
        stale = []
        for seconds in (3, 6, 12, 24):
            load(image, log, seconds)
            now = flushed_writes(Path(image).read_bytes(), log)
            stale = [i for i in here if now.get(i, 0) > here[i]]
            if stale:
                break

        def age(d):
            d[stale[0]:stale[0] + 512] = data[stale[0]:stale[0] + 512]

        result(stale, 'a sector is written again')
        if stale:
            broken('a stale sector is seen', image, log, age, 'an old write')

        for i in range(4):
            load(image, log, random.uniform(0.2, 1.0), kill=True)
            status, said = check(image, log)
            result(status == 0, f'killed, time {i + 1}: as promised', said)
        Path(log).write_text('nothing\n', encoding='ascii')
        result(check(image, log)[0] == 2, 'a log without a beginning')
        result(check(f'{folder}/none', log)[0] == 2, 'no image')
    return end()


if __name__ == '__main__':
    sys.exit(main())
