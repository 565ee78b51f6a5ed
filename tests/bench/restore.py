#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What going on from a snapshot takes: restore.py CATNAP GUEST PROBE [RUNS [CLONES]]    GUEST: end.elf

In turn, RUNS times (30): from the start of the process to the guest's first output, of a VM that starts,
and of one that is restored with memory=map and memory=copy, with 128 MiB and 8 GiB of memory (copy with
128 MiB only). The guest prints all the time, so what is restored prints at once. Then the probe, which reads
20 MiB of 200 right after the restore, in pages far from each other, from a file that is not in the page cache:
until it has, with memory=map and memory=working-set in turn. Then CLONES (200) of one snapshot, whose guest
halts: how long it takes until all run, started one after the other, and what memory is a clone's own. Neither
passes nor fails."""

import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

SIZES = ("128M", "8G")


class Bench:
    def __init__(self, catnap, guest, folder):
        self.catnap, self.guest, self.folder = catnap, guest, folder

    def snapshot(self, size, how):
        """A folder with one of a guest of @size that does @how."""
        api = os.path.join(self.folder, "api")
        where = os.path.join(self.folder, f"{how}-{size}")
        with subprocess.Popen([self.catnap, "run", "--api-socket", api, "--snapshots", self.folder, "-m", size, "-c",
                               f"how={how}", self.guest], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as p:
            p.stdout.read(1)
            subprocess.run([self.catnap, "ctl", api, "snapshot", where, "--then", "stop"], check=True,
                           stdout=subprocess.DEVNULL)
            p.stdout.read()
        return where

    def first_output(self, *args):
        """Milliseconds."""
        begin = time.monotonic()
        with subprocess.Popen([self.catnap, "run", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            byte = p.stdout.read(1)
            took = time.monotonic() - begin
            p.kill()
            if not byte:
                sys.exit(p.stderr.read().decode())
        return took * 1000

    def probe_snapshot(self, probe):
        api = os.path.join(self.folder, "api")
        where = os.path.join(self.folder, "touch")
        with subprocess.Popen([self.catnap, "run", "--api-socket", api, "--snapshots", self.folder, "-m", "256M", "-c",
                               "workload=restore span=51200 pages=5120", probe], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as p:
            for line in p.stdout:
                if b"ready" in line:
                    break
            subprocess.run([self.catnap, "ctl", api, "snapshot", where, "--then", "stop"], check=True,
                           stdout=subprocess.DEVNULL)
            p.stdout.read()
        return where

    def touched(self, where, memory, hold=0.0):
        """Milliseconds from the start of the process until the guest has read all, and a second time."""
        for name in os.listdir(where):
            fd = os.open(os.path.join(where, name), os.O_RDONLY)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)
        begin = time.monotonic()
        with subprocess.Popen([self.catnap, "run", "--restore", f"{where},memory={memory}"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            p.stdin.write(b".")
            p.stdin.flush()
            letters = p.stdout.read(3)
            took = time.monotonic() - begin
            time.sleep(hold)
            p.terminate()
            if letters != b"rit":
                sys.exit(f"{letters} {p.stderr.read().decode()}")
        return took * 1000

    def cold(self, probe, runs):
        where = self.probe_snapshot(probe)
        print(f"recording: {self.touched(where, 'working-set', hold=1.5):.1f} ms")
        took = {memory: [] for memory in ("map", "working-set")}
        for _ in range(runs):
            for memory, values in took.items():
                values.append(self.touched(where, memory))
        ratios = sorted(b / a for a, b in zip(took["map"], took["working-set"]))
        print(f"20 MiB touched, the file not in the page cache, ms, {runs} in turn:     p50       min       max")
        for memory, values in took.items():
            print(f"  {memory:56}{statistics.median(values):10.1f}{min(values):10.1f}{max(values):10.1f}")
        print(f"  working-set to map, of each turn: median {statistics.median(ratios):.2f}, {ratios[0]:.2f} to {ratios[-1]:.2f}")

    def clones(self, where, n):
        name = os.path.join(self.folder, "notify")
        running = []
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(name)
            s.settimeout(20)
            begin = time.monotonic()
            try:
                for _ in range(n):
                    running.append(subprocess.Popen([self.catnap, "run", "--restore", where, "--serial", "null"],
                                                    stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                                    env={**os.environ, "NOTIFY_SOCKET": name}))
                    while b"READY=1" not in s.recv(4096):
                        pass
                took = time.monotonic() - begin
                own = [self.private(p.pid) for p in running]
            finally:
                for p in running:
                    p.kill()
                    p.wait()
        print(f"{n} clones, one after the other: {took:.2f} s until all run; a clone's own memory: "
              f"median {statistics.median(own):.0f} KiB, at most {max(own)} KiB")

    @staticmethod
    def private(pid):
        with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Private_"))


def main():
    catnap, guest, probe = (os.path.abspath(a) for a in sys.argv[1:4])
    runs = int(sys.argv[4]) if len(sys.argv) > 4 else 30
    clones = int(sys.argv[5]) if len(sys.argv) > 5 else 200
    folder = tempfile.mkdtemp(dir="/var/tmp")
    try:
        bench = Bench(catnap, guest, folder)
        ways = {}
        for size in SIZES:
            where = bench.snapshot(size, "print")
            ways[f"start, {size}"] = ("-m", size, "-c", "how=print", guest)
            ways[f"restore, map, {size}"] = ("--restore", where)
            if size == SIZES[0]:
                ways[f"restore, copy, {size}"] = ("--restore", f"{where},memory=copy")
        took = {way: [] for way in ways}
        for _ in range(runs):
            for way, args in ways.items():
                took[way].append(bench.first_output(*args))
        print(f"process start to the guest's output, ms, {runs} in turn:     p50       p90       max")
        for way, values in took.items():
            values.sort()
            print(f"  {way:48}{values[len(values) // 2]:10.2f}{values[len(values) * 9 // 10]:10.2f}{values[-1]:10.2f}")
        bench.cold(probe, runs)
        bench.clones(bench.snapshot("128M", "halt"), clones)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
