#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Measures what bad clients of the control socket cost a VM and a good client: clients.py CATNAP PROBE [RUNS]

Runs of two kinds alternate: a VM that nobody speaks to, and one with 200 clients that connect and say
nothing, 20 that send a byte each second, 10 that send 100 MB and one that asks and reads nothing. The
guest (the probe's workload "timer") arms a timer 200 us ahead and takes how late it is. Prints the
medians over the runs of that lateness' median and 99th percentile, their ratio, and how long GET / took
beside the bad clients. Neither passes nor fails."""

import os
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

SAMPLES = 3000


def percentile(values, percent):
    return sorted(values)[min(len(values) - 1, len(values) * percent // 100)]


class Clients:
    """The bad ones, in a process of their own."""

    def __init__(self, path):
        self.pid = os.fork()
        if self.pid == 0:
            try:
                self.run(path)
            finally:
                os._exit(0)

    @staticmethod
    def connect(path):
        s = socket.socket(socket.AF_UNIX)
        try:
            s.connect(path)
        except OSError:
            return None
        return s

    def much(self, path):
        s = self.connect(path)
        block = b"x" * 65536
        try:
            s.sendall(b"PUT /boot-source HTTP/1.1\r\nHost: x\r\nContent-Length: 104857600\r\n\r\n")
            for _ in range(1600):
                s.sendall(block)
        except (OSError, AttributeError):
            pass

    def run(self, path):
        kept = [self.connect(path) for _ in range(200)]
        slow = [self.connect(path) for _ in range(20)]
        deaf = self.connect(path)
        for _ in range(10):
            threading.Thread(target=self.much, args=(path,), daemon=True).start()
        request = b"GET /catnap/stats HTTP/1.1\r\nHost: x\r\n\r\n"
        n = 0
        while kept:
            for s in slow:
                try:
                    s.send(request[n % len(request):][:1])
                except (OSError, AttributeError):
                    pass
            try:
                deaf.setblocking(False)
                deaf.send(request)
            except (OSError, AttributeError):
                pass
            n += 1
            time.sleep(1)

    def end(self):
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


def ask(path):
    """How long GET / took, in ms."""
    begin = time.monotonic()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(30)
        s.connect(path)
        s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = s.recv(4096)
    if not answer.startswith(b"HTTP/1.1 200"):
        raise RuntimeError(answer)
    return (time.monotonic() - begin) * 1000


def resident(pid):
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def run(catnap, probe, bad, answers, memory):
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "socket")
        with open(os.path.join(folder, "out"), "w+b") as out:
            p = subprocess.Popen(
                [catnap, "run", "--api-socket", path, "--debug-exit", "0xf4", "--timeout", "60s", "-c",
                 f"workload=timer gap_ns=200000 samples={SAMPLES} warmup=3000 exit=244", probe], stdout=out,
                stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            while not os.path.exists(path):
                time.sleep(0.002)
            clients = Clients(path) if bad else None
            while bad and p.poll() is None:
                try:
                    answers.append(ask(path))
                    memory.append(resident(p.pid))
                except (OSError, RuntimeError, StopIteration):
                    if p.poll() is None:
                        answers.append(float("inf"))
                time.sleep(0.05)
            p.wait()
            if clients:
                clients.end()
            out.seek(0)
            samples = [int(line[2:]) / 1000 for line in out.read().decode().splitlines() if line.startswith("s ")]
    if len(samples) != SAMPLES:
        sys.exit(f"clients.py: {len(samples)} samples of {SAMPLES}")
    return percentile(samples, 50), percentile(samples, 99)


def main():
    catnap, probe = sys.argv[1:3]
    runs = int(sys.argv[3]) if len(sys.argv) > 3 else 9
    alone, beside, answers, memory = [], [], [], []
    for _ in range(runs):
        alone.append(run(catnap, probe, False, answers, memory))
        beside.append(run(catnap, probe, True, answers, memory))
    print(f"lateness of a timer, us, medians of {runs} runs in turn of {SAMPLES}\n"
          f"{'':6}{'alone':>10}{'beside':>10}{'ratio':>8}  (runs)")
    for i, name in enumerate(("p50", "p99")):
        ratios = sorted(b[i] / a[i] for a, b in zip(alone, beside))
        print(f"{name:6}{statistics.median(a[i] for a in alone):10.2f}{statistics.median(b[i] for b in beside):10.2f}"
              f"{statistics.median(ratios):8.2f}  {ratios[0]:.2f}-{ratios[-1]:.2f}")
    if answers:
        print(f"GET / beside them, ms: p50 {percentile(answers, 50):.2f}, p99 {percentile(answers, 99):.2f}, "
              f"max {max(answers):.2f} of {len(answers)}; resident memory at most {max(memory) / 1024:.1f} MiB")


if __name__ == "__main__":
    main()
