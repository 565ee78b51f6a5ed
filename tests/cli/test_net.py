#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run --net: a guest that does not want what comes, and an interface that goes, in a network namespace of the
test's own.

    test_net.py CATNAP IMAGES

Exit status 77: no /dev/kvm, or no namespace.
"""

import atexit
import mmap
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

NOBODY = "02:09:09:09:09:09"
UDP_SEGMENT = 103
SEGMENT, SEGMENTS = 16, 64  # as many frames in a system call
FLOODERS = 2
LEAST_SHARE = 1 / 3
TRIES = 4
KILLS = 30


class Guest:
    """Prints dots; .cpu() is the processor time of the thread that runs it and its device."""

    def __init__(self, catnap, image, thread, *args):
        self.err = tempfile.TemporaryFile()  # pylint: disable=consider-using-with
        self.p = subprocess.Popen(  # pylint: disable=consider-using-with
            [catnap, "run", image, "--transport", "mmio", "-m", "16M", "--net", "tap=t0", "--debug-exit", "0xf4",
             "--sandbox", "off", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.err)
        atexit.register(self.p.kill)  # also where something is wrong
        self.out = b""
        self.beats = 0
        threading.Thread(target=self.read, daemon=True).start()
        self.wait(b"up\n")
        tasks = f"/proc/{self.p.pid}/task"
        self.thread = next(f"{tasks}/{t}" for t in os.listdir(tasks) if self.name(f"{tasks}/{t}") == thread)

    @staticmethod
    def name(task):
        with open(f"{task}/comm", encoding="ascii") as f:
            return f.read().strip()

    def read(self):
        while True:
            data = os.read(self.p.stdout.fileno(), 65536)
            if not data:
                return
            self.beats += data.count(b".")
            self.out += data.replace(b".", b"")

    def wait(self, text, seconds=30):
        end = time.monotonic() + seconds
        while text not in self.out and self.p.poll() is None:
            if time.monotonic() > end:
                raise TimeoutError(f"no {text!r}: {self.out!r}")
            time.sleep(0.01)
        if text not in self.out:
            self.err.seek(0)
            raise TimeoutError(f"no {text!r}: {self.out!r} {self.err.read()!r}")

    def cpu(self):
        with open(f"{self.thread}/schedstat", encoding="ascii") as f:
            return int(f.read().split()[0]) / 1e9

    def speed(self):
        """Beats in a second of the thread's processor time, whoever else uses the machine."""
        beats, cpu = self.beats, self.cpu()
        end = time.monotonic() + 20
        while self.cpu() < cpu + 0.15 and time.monotonic() < end:
            time.sleep(0.05)
        return (self.beats - beats) / (self.cpu() - cpu)

    def end(self):
        self.p.terminate()
        self.p.wait(20)
        self.err.seek(0)
        return self.err.read().decode()


class Flood:
    """Processes of their own: threads of this one would keep the reader of the guest's dots from running. A guest
    that waits for its reader has its time all the same, and a smaller share of what its thread computes."""

    def __init__(self):
        self.counts = mmap.mmap(-1, 8 * FLOODERS)
        self.children = [self.start(i) for i in range(FLOODERS)]

    def start(self, number):
        parent = os.getpid()
        child = os.fork()
        if child == 0:
            try:
                self.run(number, parent)
            finally:
                os._exit(1)
        return child

    def run(self, number, parent):
        sent = 0
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, SEGMENT)
            s.connect(("10.9.9.2", 9))
            while os.getppid() == parent:
                try:
                    s.send(bytes(SEGMENT * SEGMENTS))
                    sent += SEGMENTS
                    struct.pack_into("Q", self.counts, 8 * number, sent)
                except OSError:
                    time.sleep(0.001)

    def end(self):
        for child in self.children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)

    @property
    def sent(self):
        return sum(struct.unpack(f"{FLOODERS}Q", self.counts))


def share(catnap, image):
    """Checks how much of the thread that a flood occupies is left to the guest."""
    for irqchip in ("user", "kernel"):
        g = Guest(catnap, image, "catnap-vcpu0", "--irqchip", irqchip)
        got = []
        for _ in range(TRIES):
            alone = g.speed()
            flood = Flood()
            time.sleep(0.3)
            got.append(g.speed() / alone)
            flood.end()
            if got[-1] >= LEAST_SHARE:
                break
        g.end()
        print(f"irqchip={irqchip}: beside a flood of {flood.sent} frames the guest has", *(f"{x:.2f}" for x in got))
        if got[-1] < LEAST_SHARE:
            return f"irqchip={irqchip}: the guest hardly runs"
    return None


def deleted(catnap, image):
    """One sentence, the link down, and no processor time for it."""
    for io in ("vcpu", "thread"):
        subprocess.run(["ip", "link", "set", "t0", "up"], check=True)
        thread = "catnap-vcpu0" if io == "vcpu" else "catnap-io"
        g = Guest(catnap, image, thread, "--io", io, "-v")
        subprocess.run(["ip", "link", "delete", "t0"], check=True)
        g.wait(b"down\n")
        used = None
        if io == "thread":
            before = g.cpu()
            time.sleep(1)
            used = g.cpu() - before
        err = g.end()
        print(f"io={io}: {used} s; {err.strip()!r}")
        said = [line for line in err.splitlines() if "net t0" in line]
        if len(said) != 1 or "gone" not in said[0]:
            return f"io={io}: {err!r}"
        if used is not None and used > 0.3:
            return f"io={io}: {used} s of a processor in a second for an interface that is gone"
        if g.out != b"up\ndown\n":
            return f"io={io}: {g.out!r}"
        subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tap"], check=True)
    return None


def killed(catnap, image):
    """One that was killed has the interface and the disk no more: the next one starts at once."""
    with tempfile.NamedTemporaryFile() as disk:
        disk.truncate(1 << 20)
        for i in range(KILLS):
            g = Guest(catnap, image, "catnap-vcpu0", "--disk", f"path={disk.name},format=raw")
            g.p.kill()
            g.p.wait()
            if i and g.err.tell():
                g.err.seek(0)
                return f"start {i} after a kill: {g.err.read()!r}"
    print(f"{KILLS} killed, each started again at once")
    return None


def inside(catnap, images):
    image = os.path.join(images, "net.elf")
    subprocess.run(["ip", "tuntap", "add", "t0", "mode", "tap"], check=True)
    subprocess.run(["ip", "addr", "add", "10.9.9.1/24", "dev", "t0"], check=True)
    subprocess.run(["ip", "link", "set", "t0", "up"], check=True)
    subprocess.run(["ip", "neigh", "add", "10.9.9.2", "lladdr", NOBODY, "dev", "t0"], check=True)
    for what in (share, deleted, killed):
        wrong = what(catnap, image)
        if wrong:
            print("not ok:", wrong)
            return 1
    return 0


def main():
    if len(sys.argv) == 4:
        return inside(*sys.argv[2:])
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("no /dev/kvm")
        return 77
    own = ["unshare", "-rn"]
    try:
        made = subprocess.run([*own, "ip", "tuntap", "add", "t0", "mode", "tap"], capture_output=True, check=False)
    except OSError as e:
        print(e)
        return 77
    if made.returncode:
        print("no network namespace, or no TAP in it:", made.stderr.decode())
        return 77
    return subprocess.run([*own, sys.executable, __file__, "inside", *map(os.path.abspath, sys.argv[1:])],
                          check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
