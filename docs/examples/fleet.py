#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many VMs in one asyncio program: what dies is started again, polls are steered, and figures are written.

    fleet.py [-n COUNT] [-s SECONDS] [-k KILLED] [-c PERCENT] [-o FILE] [-t FOLDER]

fleet.c does the same in C, and says why. Each VM has a task, which starts it again, sooner or later. With -t all are
clones of the snapshot in FOLDER, which is made if there is none.
"""
import argparse
import asyncio
import contextlib
import errno
import os
import random
import stat
import sys
import time
from typing import Callable, List, Optional

import catnap

# cli; again: hlt; jmp again
HALTING = bytearray(b'\xfa\xf4\xeb\xfd')
LONGEST_POLL_NS = 1_000_000
SHORTEST_POLL_NS = 1000
RESTARTS_IN_A_MINUTE = 5


class Member:
    """One place in the fleet."""

    def __init__(self, fleet: 'Fleet', number: int) -> None:
        self.fleet, self.name = fleet, f'vm{number}'
        self.vm: Optional[catnap.VM] = None
        self.restarts, self.halts, self.fail_ns = 0, 0, 0

    async def run(self) -> None:
        begin, lives, delay = time.monotonic(), 0, 0.0
        while True:
            async with self.fleet.make(self.name) as vm:
                vm.start()
                self.vm = vm
                try:
                    end = await vm.wait_async()
                finally:
                    self.vm = None
                    stats = vm.stats().halt
                    self.halts += stats.halt_exits
                    self.fail_ns += stats.halt_poll_fail_ns
            if end.report:
                print(f'{self.name}: {end.report}', end='')
            if time.monotonic() - begin > 60:
                begin, lives, delay = time.monotonic(), 0, 0.0
            lives += 1
            if lives > RESTARTS_IN_A_MINUTE:
                self.fleet.given_up += 1
                return
            await asyncio.sleep(delay)
            delay = 2 * delay or 0.01
            self.restarts += 1

    def total_fail_ns(self) -> int:
        return self.fail_ns + (self.vm.stats().halt.halt_poll_fail_ns if self.vm else 0)

    def total_halts(self) -> int:
        return self.halts + (self.vm.stats().halt.halt_exits if self.vm else 0)


class Fleet:
    def __init__(self, count: int, percent: int, metrics: Optional[str]) -> None:
        self.percent, self.metrics = percent, metrics
        self.max_ns, self.given_up = LONGEST_POLL_NS, 0
        self.kvm = os.open('/dev/kvm', os.O_RDWR | os.O_CLOEXEC)
        try:
            self.pressure: Optional[int] = os.open('/proc/pressure/cpu', os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self.pressure = None
        self.members = [Member(self, n) for n in range(count)]
        self.snapshot: Optional[catnap.Snapshot] = None

    def make(self, name: str) -> catnap.VM:
        """A VM that begins anew, or a clone."""
        halt_poll = catnap.HaltPoll(max_ns=self.max_ns)
        if self.snapshot is not None:
            return self.snapshot.restore(name=name, kvm_fd=self.kvm, pressure_fd=self.pressure, no_rings=True, halt_poll=halt_poll)
        return catnap.VM(HALTING, image_kind=catnap.ImageKind.FLAT, memory=16 << 20, no_rings=True, name=name, kvm_fd=self.kvm,
                         pressure_fd=self.pressure, halt_poll=halt_poll)

    async def open_snapshot(self, folder: str) -> None:
        """Opens the snapshot that all are clones of; if there is none, a VM is started, put down there and ended."""
        state, memory = os.path.join(folder, 'state'), os.path.join(folder, 'memory')
        if not os.path.exists(state):
            async with self.make('first') as vm:
                vm.start()
                # Until it has come to where the others begin.
                await asyncio.sleep(0.1)
                await vm.pause_async()
                await vm.snapshot_async(state, memory)
        self.snapshot = catnap.Snapshot(state)

    def running(self) -> List[catnap.VM]:
        return [m.vm for m in self.members if m.vm]

    def restarts(self) -> int:
        return sum(m.restarts for m in self.members)

    async def steer(self) -> None:
        """Once a second: what polls lose is held against what they may lose."""
        seen, looked = 0, time.monotonic()
        while True:
            await asyncio.sleep(1)
            now, lost = time.monotonic(), sum(m.total_fail_ns() for m in self.members)
            share, seen, looked = (lost - seen) / 1e9 / (now - looked), lost, now
            max_ns = self.max_ns
            if share > self.percent / 100:
                max_ns = max(max_ns // 2, SHORTEST_POLL_NS)
            elif share < self.percent / 200:
                max_ns = min(2 * max_ns, LONGEST_POLL_NS)
            if max_ns != self.max_ns:
                self.max_ns = max_ns
                for vm in self.running():
                    vm.set_halt_poll(catnap.HaltPoll(max_ns=max_ns))
            self.write_metrics()

    def begin_metrics(self) -> None:
        """Writes them for the first time. What takes the place of a device or a FIFO would be no such thing any more."""
        if self.metrics and os.path.lexists(self.metrics) and not stat.S_ISREG(os.lstat(self.metrics).st_mode):
            raise OSError(errno.EINVAL, 'is no regular file', self.metrics)
        self.write_metrics()

    def write_metrics(self) -> None:
        if not self.metrics:
            return
        lines = ['# TYPE fleet_vms gauge', f'fleet_vms {len(self.running())}', '# TYPE fleet_vm_restarts counter']
        lines += [f'fleet_vm_restarts_total{{vm="{m.name}"}} {m.restarts}' for m in self.members]
        lines.append('# TYPE fleet_halt_exits counter')
        lines += [f'fleet_halt_exits_total{{vm="{m.name}"}} {m.total_halts()}' for m in self.members]
        beside = self.metrics + '.new'
        try:
            with open(beside, 'w', encoding='utf-8') as f:
                f.write('\n'.join(lines + ['# EOF', '']))
            os.replace(beside, self.metrics)
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(beside)
            raise

    async def until_all_run(self) -> None:
        while len(self.running()) + self.given_up < len(self.members):
            await asyncio.sleep(0.01)

    async def kill(self, count: int) -> None:
        for vm in random.sample(self.running(), count):
            vm.request_stop()
        while self.restarts() + self.given_up < count:
            await asyncio.sleep(0.01)
        await self.until_all_run()


async def run(args: argparse.Namespace) -> None:
    fleet = Fleet(args.n, args.c, args.o)
    fleet.begin_metrics()
    if args.t:
        await fleet.open_snapshot(args.t)
    tasks = [asyncio.create_task(m.run()) for m in fleet.members] + [asyncio.create_task(fleet.steer())]
    try:
        await fleet.until_all_run()
        print('vms', len(fleet.running()), flush=True)
        await fleet.kill(args.k)
        await asyncio.sleep(args.s)
        print('restarts', fleet.restarts(), 'given up', fleet.given_up)
        fleet.write_metrics()
    finally:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(result, Exception):
                print('failed:', result)
        os.close(fleet.kvm)
        if fleet.pressure is not None:
            os.close(fleet.pressure)
    print('left', len(fleet.running()))


def count(least: int) -> Callable[[str], int]:
    """What an option's value is, for argparse."""
    def number(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= 1_000_000:
            raise argparse.ArgumentTypeError(f'{text!r}: expected a number from {least} to 1000000')
        return int(text)
    return number


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for letter, default, what in (('n', 50, 'VMs'), ('k', 0, 'of them that die, at random'), ('c', 10, 'per cent that polls may lose')):
        parser.add_argument('-' + letter, type=count(1 if letter == 'n' else 0), default=default, help=what)
    parser.add_argument('-s', type=count(0), default=5, help='seconds')
    parser.add_argument('-o', help='a file for the figures')
    parser.add_argument('-t', help='the folder of a snapshot that all are clones of')
    args = parser.parse_args()
    if args.k > args.n:
        parser.error(f'argument -k: {args.k}: there are {args.n} VMs')
    try:
        asyncio.run(run(args))
    except OSError as e:
        sys.exit(f'fleet.py: {e}')


if __name__ == '__main__':
    main()
