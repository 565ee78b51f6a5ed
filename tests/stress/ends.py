#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Starts, loads and ends VMs with every device, from 1 to 8 vCPUs, while their guest floods, stalls and requests;
by SIGTERM, --timeout, the guest's power-off and the library. Each end is to come within the limit.

    ends.py CATNAP GUESTS ENDS_API [--ends N] [--limit SECONDS] [--seed N] [--sandbox on|off]

A short form is part of the suite, with a limit that no load of the machine reaches. For figures: --ends 1000 --limit 1
on a machine that does nothing else.
"""

import argparse
import os
import random
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time

HOWS = ("SIGTERM", "timeout", "power-off", "api")
API = ("stop", "request", "callback", "destroy")
NAMESPACE = ("unshare", "-rn", "sh", "-c", 'for i in 0 1 2 3 4 5 6 7; do ip tuntap add t$i mode tap && '
             'ip link set t$i up || exit; done; exec "$@"', "sh")
STATUS = {"SIGTERM": 143, "timeout": 124, "power-off": 0}
IN_NAMESPACE = "CATNAP_ENDS_TAP"


class Vm:
    """One run of the command."""

    def __init__(self, args, rng, folder, how, tap):
        self.how, self.dir, self.args, self.clients = how, folder, args, []
        self.cpus = rng.randint(1, 8)
        self.timeout = rng.uniform(0.4, 1.0)
        # Output that holds up the first processor for good would keep it from powering off: that is the guest's affair.
        self.serial = rng.choice(("read", "unread") if how == "power-off" else ("read", "unread", "socket", "pty"))
        printing = rng.random() < 0.5 and not (how == "power-off" and self.serial == "unread")
        c = [args.catnap, "run", os.path.join(args.guests, "unruly.elf"), "--transport", "mmio", "-m", "32M",
             "--cpus", str(self.cpus), "-c", f"cpus={self.cpus} print={int(printing)}",
             "--irqchip", rng.choice(("user", "kernel")), "--io", rng.choice(("vcpu", "thread")),
             "--disk", f"{folder}/disk", "--vsock", f"cid=3,socket={folder}/vsock",
             "--balloon", "size=1M", "--api-socket", f"{folder}/stats",
             "--console", rng.choice((f"file={folder}/console", f"socket={folder}/console.s")) if how != "power-off"
             else f"file={folder}/console",
             "--stats", f"{folder}/stats.json", "--timeout", f"{int(self.timeout * 1000)}ms" if how == "timeout" else "100s"]
        if args.sandbox:
            c += ["--sandbox", args.sandbox]
        if tap:
            c += ["--net", f"tap={tap}"]
        if "user" in c and rng.random() < 0.5:
            c += ["--halt-trace", f"{folder}/trace"]
        c += {"socket": ["--serial", f"socket={folder}/serial"], "pty": ["--serial", "pty"]}.get(self.serial,
                                                                                             ["--serial", "stdio"])
        self.command = c
        self.begin = time.monotonic()
        # pylint: disable=consider-using-with
        self.p = subprocess.Popen(c, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)

    def connect(self, name):
        s = socket.socket(socket.AF_UNIX)
        self.clients.append(s)
        try:
            s.connect(os.path.join(self.dir, name))
            return s
        except (FileNotFoundError, ConnectionRefusedError, BlockingIOError):
            return None

    def read(self, seconds):
        """Reads what comes, if it is to be read, for so long."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            if self.serial == "read" and select.select([self.p.stdout], [], [], 0.02)[0]:
                if not os.read(self.p.stdout.fileno(), 65536):
                    return
            elif self.serial != "read":
                time.sleep(0.02)

    def load(self, rng):
        """Until it runs; then somebody comes to each of its sockets, and types, and mostly does not read."""
        until = time.monotonic() + 60
        while not self.connect("stats"):
            if self.p.poll() is not None or time.monotonic() > until:
                return
            time.sleep(0.01)
        if self.serial == "pty":
            line = self.p.stderr.readline().decode()
            if "/dev/pts/" in line:
                self.clients.append(os.fdopen(os.open(line.split()[-1], os.O_RDWR | os.O_NOCTTY), "r+b", buffering=0))
        if self.serial == "socket":
            self.connect("serial")
        self.connect("console.s")
        for c in self.clients:
            try:
                (c.send if isinstance(c, socket.socket) else c.write)(b"x")
            except OSError:
                pass
        if self.serial in ("read", "unread"):
            os.write(self.p.stdin.fileno(), b"xyz")
        v = self.connect("vsock")
        try:
            if v:
                v.send(b"CONNECT 5\n")
        except OSError:
            pass  # the guest resets such things
        self.read(rng.uniform(0.05, 0.5))

    def end(self):
        """Seconds from its cause to the end."""
        cause = time.monotonic()
        if self.how == "SIGTERM":
            self.p.send_signal(signal.SIGTERM)
        elif self.how == "power-off":
            os.write(self.p.stdin.fileno(), b"q")
        else:
            cause = max(self.begin + self.timeout, cause)
        until = time.monotonic() + 100
        while self.p.poll() is None and time.monotonic() < until:
            if self.serial == "read":
                self.read(0.002)
            else:
                time.sleep(0.001)
        return time.monotonic() - cause

    def check(self):
        left = [n for n in os.listdir(self.dir) if n not in ("disk", "console", "stats.json", "trace")]
        if self.p.returncode != STATUS[self.how]:
            return f"status {self.p.returncode}"
        return f"left behind: {left}" if left else ""

    def tidy(self):
        if self.p.poll() is None:
            self.p.kill()
            self.p.wait()
        for c in (*self.clients, self.p.stdin, self.p.stdout, self.p.stderr):
            c.close()


def by_command(args, rng, folder, how, tap):
    vm = Vm(args, rng, folder, how, tap)
    try:
        vm.load(rng)
        took = vm.end()
        wrong = vm.check()
        if wrong:
            os.set_blocking(vm.p.stderr.fileno(), False)
            wrong += f" {(vm.p.stderr.read() or b'')[-200:]} {' '.join(vm.command)}"
        return took, wrong, f"{how}, {vm.cpus} vCPUs, serial {vm.serial}"
    finally:
        vm.tidy()


def by_library(args, rng, folder, _how, _tap):
    cpus, how = rng.randint(1, 8), rng.choice(API)
    c = [args.api, os.path.join(args.guests, "unruly.elf"), f"{folder}/disk", f"{folder}/vsock", str(cpus),
         rng.choice(("user", "kernel")), rng.choice(("vcpu", "thread")), how, str(rng.randint(20, 500))]
    done = subprocess.run(c, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=200)
    wrong = f"status {done.returncode} {done.stdout} {' '.join(c)}" if done.returncode else ""
    return 0 if wrong else int(done.stdout) / 1e6, wrong, f"api {how}, {cpus} vCPUs"


def run(args, tap):
    rng = random.Random(args.seed)
    took = {how: [] for how in HOWS}
    failures = 0
    for i in range(args.ends):
        how = HOWS[i % len(HOWS)]
        with tempfile.TemporaryDirectory() as folder:
            with open(f"{folder}/disk", "wb") as f:
                f.truncate(1 << 20)
            # In turn: the kernel may let go of an interface a little after its process has gone.
            by, interface = by_library if how == "api" else by_command, tap and f"t{i % 8}"
            seconds, wrong, what = by(args, rng, folder, how, interface)
        if not wrong and seconds > args.limit:
            wrong = f"took {seconds:.3f} s, limit {args.limit} s"
        if wrong:
            failures += 1
            print(f"not ok: end {i}: {what}: {wrong}", flush=True)
        took[how].append(seconds)
    took["all"] = [t for how in HOWS for t in took[how]]
    for how, times in took.items():
        times.sort()
        if times:
            print(f"{how:10} {len(times):5} ends: p50 {times[len(times) // 2]:.3f} s, "
                  f"p99 {times[min(len(times) - 1, len(times) * 99 // 100)]:.3f} s, max {times[-1]:.3f} s")
    print(f"seed {args.seed}, {'with' if tap else 'without'} a network interface, load {os.getloadavg()[0]:.1f}, "
          f"{failures} failures")
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("catnap")
    parser.add_argument("guests")
    parser.add_argument("api")
    parser.add_argument("--ends", type=int, default=60)
    parser.add_argument("--limit", type=float, default=30)
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--sandbox")
    args = parser.parse_args()
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("skipped: no /dev/kvm")
        return 77
    if IN_NAMESPACE not in os.environ:
        probe = subprocess.run([*NAMESPACE, "true"], check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        env = {**os.environ, IN_NAMESPACE: "0" if probe.returncode else "1", "LC_ALL": "C"}
        again = [sys.executable, *sys.argv]
        os.execvpe((again if probe.returncode else [*NAMESPACE])[0],
                   again if probe.returncode else [*NAMESPACE, *again], env)
    return run(args, os.environ[IN_NAMESPACE] == "1")


if __name__ == "__main__":
    sys.exit(main())
