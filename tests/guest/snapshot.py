#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Cycles of snapshot, end and restore, of a guest with a disk, an interface, sockets and a timer.

    snapshot.py CATNAP IMAGES user|kernel [CYCLES]

The guest is cycle.elf: it looks at each block of its disk that it reads, and at its clock. It is the same one over
all cycles, in processes that follow each other, in a network namespace of the test's own. Prints TAP. Exit status: 0,
1 failed, 77 no /dev/kvm.
"""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
from results import end, result  # noqa: E402 pylint: disable=wrong-import-position

PASSED = 67
ETHERTYPE = 0x88b5
BLOCKS, BLOCK = 256, 4096
AHEAD = 2  # words of progress that are waited for in each cycle
SECONDS = 60
WAYS = (("--io", "vcpu"), ("--io", "thread", "--hw", "mptable"))


class Failed(Exception):
    pass


class Guest:
    """A process that runs it; what it has said, out."""

    def __init__(self, catnap, folder, *args):
        self.folder, self.catnap, self.out = folder, catnap, ""
        self.socket = os.path.join(folder, "api")
        self.err = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.p = subprocess.Popen(  # pylint: disable=consider-using-with
            [catnap, "run", "--api-socket", self.socket, "--snapshots", folder, *args],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.err)
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                return
            self.out += data.decode("latin-1")

    def fail(self, what):
        self.p.kill()
        self.p.wait()
        self.err.seek(0)
        raise Failed(f"{what}\n{' '.join(self.p.args)}\n-- serial --\n{self.out[-2000:]}\n-- stderr --\n"
                     f"{self.err.read().decode()}")

    def wait(self, pattern, count=1):
        until = time.monotonic() + SECONDS
        while len(re.findall(pattern, self.out, re.M)) < count:
            if time.monotonic() > until:
                self.fail(f"no {pattern!r}, {count} times")
            if self.p.poll() is not None:
                time.sleep(0.1)
                if len(re.findall(pattern, self.out, re.M)) < count:
                    self.fail(f"no {pattern!r}, {count} times: status {self.p.returncode}")
            time.sleep(0.01)

    def ahead(self):
        self.wait(r"^at 0x\w+\n", AHEAD)

    def at(self):
        return int(re.findall(r"^at (0x\w+)\n", self.out, re.M)[-1], 16)

    def ctl(self, *args):
        p = subprocess.run([self.catnap, "ctl", self.socket, *args], capture_output=True, text=True, check=False,
                           timeout=SECONDS)
        if p.returncode:
            self.fail(f"ctl {' '.join(args)}: status {p.returncode}: {p.stderr}")

    def ends(self, status):
        try:
            self.p.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.fail("it does not end")
        if self.p.returncode != status:
            self.fail(f"status {self.p.returncode}, expected {status}")


class Interface:
    """Packets of the guest's that are heard on the other side of its TAP."""

    def __init__(self):
        self.s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETHERTYPE))
        self.s.bind(("t0", ETHERTYPE))
        self.s.settimeout(SECONDS)

    def hear(self):
        return self.s.recv(2048)[6:12].hex(":")

    def say(self, mac):
        self.s.send(bytes.fromhex(mac.replace(":", "")) + b"\2\0\0\0\0\1" + ETHERTYPE.to_bytes(2, "big") + bytes(46))


def free(tap):
    """The kernel gives up what a process has had a while after that has gone."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        shown = subprocess.run(["ip", "link", "show", tap], capture_output=True, text=True, check=True).stdout
        if "NO-CARRIER" in shown:
            return
        time.sleep(0.01)
    raise Failed(f"{tap} has still a user")


def sockets_reset(path, g):
    """A program that had connected before the snapshot finds that its connection is gone, and may connect again."""
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(SECONDS)
        s.connect(path)
        s.sendall(b"CONNECT 70\n")
    if not re.search("^sockets reset$", g.out, re.M):
        g.fail("sockets are not reset")


def cycles(catnap, images, folder, irqchip, way, count):
    """The whole life of a guest; how far it came."""
    disk, vsock = os.path.join(folder, "disk"), os.path.join(folder, "vsock")
    mac = "02:00:00:00:00:0a"
    devices = ["--disk", disk, "--net", f"tap=t0,mac={mac}", "--vsock", f"cid=7,socket={vsock}"]
    with open(disk, "wb") as f:
        f.truncate(BLOCKS * BLOCK)
    interface = Interface()
    g = Guest(catnap, folder, os.path.join(images, "cycle.elf"), "--irqchip", irqchip, "--transport", "mmio", "-m",
              "16M", "--debug-exit", "0xf4", *way, *devices)
    g.ahead()
    for n in range(1, count + 1):
        shot = os.path.join(folder, f"shot{n}")
        at = g.at()
        # Sometimes it is asked to end, sometimes it has no say.
        if n % 2:
            g.ctl("snapshot", shot, "--then", "stop")
            g.p.wait(SECONDS)
            copy = disk
        else:
            g.ctl("snapshot", shot, "--then", "pause")
            copy = disk + ".copy"
            shutil.copy(disk, copy)
            # It goes on where it was, and the copy does not.
            g.ctl("resume")
            g.wait(r"^at 0x\w+\n", AHEAD + 1)
            g.p.send_signal(signal.SIGKILL)
            g.p.wait()
            os.replace(copy, disk)
            for left in (vsock, os.path.join(folder, "api")):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(left)
        free("t0")
        g = Guest(catnap, folder, "--restore", shot)
        g.wait(rf"^generation 0x{n:x}$")
        g.wait("^sockets reset$")
        g.wait("^announced$")
        heard = interface.hear()
        if heard != mac:
            g.fail(f"an announcement of {heard}")
        interface.say(mac)
        g.wait("^packet\n")
        sockets_reset(vsock, g)
        g.ahead()
        if g.at() <= at:
            g.fail(f"it went back from {at} to {g.at()}")
        for said in ("announced", "sockets reset", "generation .*"):
            if len(re.findall(f"^{said}$", g.out, re.M)) != 1:
                g.fail(f"{said}: not once")
    g.p.stdin.write(b"q")
    g.p.stdin.flush()
    g.ends(PASSED)
    interface.s.close()
    return g.at()


def inside(catnap, images, irqchip, count):
    subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tap"], check=True)
    subprocess.run(["ip", "link", "set", "t0", "up"], check=True)
    for way in WAYS:
        with tempfile.TemporaryDirectory(prefix="catnap-snapshot-") as folder:
            why, at = "", 0
            try:
                at = cycles(catnap, images, folder, irqchip, way, int(count))
            except (Failed, OSError, subprocess.SubprocessError) as e:
                why = str(e)
            result(not why, f"irqchip {irqchip}, {' '.join(way)}: {count} cycles, {at} rounds", why)
    return end()


def main():
    if sys.argv[1] == "inside":
        return inside(*sys.argv[2:])
    own = ["unshare", "-rn"]
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("1..0 # SKIP no /dev/kvm")
        return 77
    try:
        made = subprocess.run([*own, "ip", "tuntap", "add", "t0", "mode", "tap"], capture_output=True, check=False)
    except OSError as e:
        print(f"1..0 # SKIP {e}")
        return 77
    if made.returncode:
        print("1..0 # SKIP no network namespace, or no TAP in it")
        return 77
    catnap, images, irqchip = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2]), sys.argv[3]
    count = sys.argv[4] if len(sys.argv) > 4 else "2"
    return subprocess.run([*own, sys.executable, __file__, "inside", catnap, images, irqchip, count],
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
