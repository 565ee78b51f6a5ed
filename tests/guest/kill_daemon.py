#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A guest writes, discards and flushes on a qcow2 image with a backing file, by qemu-storage-daemon: that is killed, and
waited for or not, or its front end is killed with it. What was flushed is in the image, which is whole.

    kill_daemon.py CATNAP IMAGES CATNAP-DISK user|kernel [KILLS]

KILLS of each kind, 4 if nothing is said. The guest is load.elf; catnap-disk (guest-images/disk) knows from its seed what
it does. Prints TAP. Exit status: 0, 1 failed, 77 no /dev/kvm or no qemu-storage-daemon."""

import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.dont_write_bytecode = True
from results import end, result  # noqa: E402 pylint: disable=wrong-import-position

CATNAP, IMAGES, TOOL, IRQCHIP = sys.argv[1:5]
KILLS = int(sys.argv[5]) if len(sys.argv) > 5 else 4
LIFE = 4  # kills in one life of a guest whose daemon comes back
SECTORS = 8192
WAIT_S = 60


def until(condition):
    """Returns whether it came about."""
    limit = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > limit:
            return False
        time.sleep(0.005)
    return True


class Bench:
    """One image, its daemon, and its guest."""

    def __init__(self, folder, seed, keys=''):
        self.base, self.image, self.socket, self.log, self.err = (f'{folder}/{n}' for n in ('base', 'image', 'socket', 'log', 'err'))
        with open(self.base, 'wb') as f:
            f.truncate(SECTORS * 512)
        subprocess.run(['qemu-img', 'create', '-q', '-f', 'qcow2', '-b', self.base, '-F', 'raw', self.image], check=True)
        self.begin_daemon()
        with open(self.log, 'wb') as out, open(self.err, 'wb') as err:
            self.vm = subprocess.Popen([CATNAP, 'run', f'{IMAGES}/load.elf', '--irqchip', IRQCHIP, '--debug-exit', '0xf4', '-m', '16M',
                                        '--transport', 'mmio', '--rng', 'off', '-d', f'vhost-user={self.socket}{keys}', '-c',
                                        f'seed={seed}'], stdin=subprocess.DEVNULL, stdout=out, stderr=err)

    def begin_daemon(self):
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        self.daemon = subprocess.Popen(['qemu-storage-daemon', '--blockdev',
                                        f'driver=file,node-name=file,filename={self.image},discard=unmap', '--blockdev',
                                        'driver=qcow2,node-name=disk,file=file,discard=unmap', '--export',
                                        'type=vhost-user-blk,id=export,node-name=disk,writable=on,addr.type=unix,'
                                        f'addr.path={self.socket}'], stdin=subprocess.DEVNULL)
        until(lambda: os.path.exists(self.socket) or self.daemon.poll() is not None)

    def flushes(self):
        return Path(self.log).read_bytes().count(b'flush')

    def goes_on(self):
        before = self.flushes()
        return until(lambda: self.flushes() > before or self.vm.poll() is not None) and self.vm.poll() is None

    def said(self):
        return Path(self.err).read_text(encoding='utf-8')

    def kill_daemon(self):
        self.daemon.kill()
        self.daemon.wait()

    def end(self):
        """Kills what is left. Returns what is wrong, and how many flushes and sectors were promised."""
        self.vm.kill()
        self.vm.wait()
        self.kill_daemon()
        wrong = ''
        p = subprocess.run(['qemu-img', 'check', '-q', self.image], capture_output=True, text=True, check=False)
        if p.returncode not in (0, 3):  # 3: clusters that nobody uses
            wrong += f'the image: {p.stdout}{p.stderr}\n'
        subprocess.run(['qemu-img', 'convert', '-O', 'raw', self.image, self.image + '.raw'], check=True)
        p = subprocess.run([TOOL, 'check', self.image + '.raw', self.log], capture_output=True, text=True, check=False, timeout=60)
        m = re.search(r'(\d+) flushes, (\d+) sectors promised', p.stdout)
        if p.returncode or not m:
            wrong += p.stdout + p.stderr
        with open(self.base, 'rb') as f:
            if f.read() != bytes(SECTORS * 512):
                wrong += 'the backing file has changed\n'
        return wrong, *((int(m[1]), int(m[2])) if m else (0, 0))


def moment():
    time.sleep(random.uniform(0, 1))


def with_it(b):
    """The front end, and the daemon with it."""
    moment()
    b.vm.kill()
    return 1, ''


def comes_back(b):
    for n in range(LIFE):
        moment()
        b.kill_daemon()
        b.begin_daemon()
        if not b.goes_on():
            return n + 1, 'the load does not go on\n' + b.said()
    return LIFE, 'the driver was told' if 'reset' in b.said() else ''


def does_not(b):
    moment()
    b.kill_daemon()
    if not until(lambda: 'the device ends' in b.said()):
        return 1, 'nobody is told of it\n' + b.said()
    return 1, '' if b.vm.poll() is None else f'status {b.vm.returncode}\n' + b.said()


def main():
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        print('1..0 # SKIP no /dev/kvm')
        return 77
    if not shutil.which('qemu-storage-daemon') or not shutil.which('qemu-img'):
        print('1..0 # SKIP no qemu-storage-daemon')
        return 77
    seed = 0
    for how, keys in ((with_it, ''), (comes_back, ''), (does_not, ',reconnect=off')):
        kills = flushes = promised = 0
        why = ''
        while kills < KILLS:
            seed += 1
            with tempfile.TemporaryDirectory(prefix='catnap-kill-') as folder:
                b = Bench(folder, seed, keys)
                more, wrong = how(b) if b.goes_on() else (1, f'no load: {b.said()}')
                lost, *promises = b.end()
                kills += more
                flushes += promises[0]
                promised += promises[1]
                if wrong or lost:
                    why += f'seed {seed}: {wrong}\n{lost}\n'
        name = how.__name__.replace('_', ' ')
        result(not why, f'{name}: {kills} kills: what was flushed is in the image', why)
        print(f'# {name}: {flushes} flushes, {promised} sectors that they promised')
        result(promised > 0, f'{name}: there was something to promise')
    return end()


if __name__ == '__main__':
    sys.exit(main())
