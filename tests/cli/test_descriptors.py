#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A process without a descriptor left: whoever connects to a socket of catnap run waits, costs no processor time, and is
served once there is one.

    test_descriptors.py CATNAP IMAGES
"""

import fcntl
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
SECONDS = 1.5


def main_thread(pid):
    with open(f"/proc/{pid}/task/{pid}/schedstat", encoding="ascii") as f:
        return int(f.read().split()[0]) / 1e9


def used_in(pid, seconds):
    """The main thread's processor time."""
    begin = main_thread(pid)
    time.sleep(seconds)
    return main_thread(pid) - begin


@unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm")
class Descriptors(unittest.TestCase):
    def test_every_socket(self):
        with tempfile.TemporaryDirectory() as folder:
            path = {name: os.path.join(folder, name) for name in ("serial", "api", "vsock")}
            args = [CATNAP, "run", os.path.join(IMAGES, "balloon.elf"), "-m", "64M", "-c", "how=late", "--transport", "mmio",
                    "--serial", f"socket={path['serial']}", "--api-socket", path["api"],
                    "--balloon", "size=0", "--vsock", f"cid=3,socket={path['vsock']}"]
            with subprocess.Popen(args, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
                for name in path.values():
                    end = time.monotonic() + 20
                    while not os.path.exists(name) and time.monotonic() < end:
                        time.sleep(0.01)
                time.sleep(0.3)
                for name in ("api", "serial", "vsock"):
                    with self.subTest(name=name):
                        self.waits(p.pid, path[name], name)
                p.terminate()
                p.communicate(timeout=20)

    @staticmethod
    def unread(s):
        return struct.unpack("i", fcntl.ioctl(s, termios.TIOCOUTQ, bytes(4)))[0]

    def waits(self, pid, path, name):
        old = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        # None below the limit is free. (Lower, and poll(2) would not take as many as it is given.)
        have = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
        free = next(fd for fd in range(len(have) + 1) if fd not in have)
        self.assertGreater(free, 16)
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free, old[1]))
        before = used_in(pid, SECONDS)
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(path)
            s.sendall({"api": b"GET / HTTP/1.1\r\n\r\n", "serial": b"", "vsock": b"nonsense\n"}[name])
            used = used_in(pid, SECONDS)
            resource.prlimit(pid, resource.RLIMIT_NOFILE, old)
            # Each signal to a vCPU's thread wakes whoever waits for a signalfd as well: that is the guest's, not the client's.
            self.assertLess(used - before, SECONDS / 50, "the main thread spins")
            if name == "serial":
                s.sendall(b"x")
                end = time.monotonic() + 20
                while self.unread(s) and time.monotonic() < end:
                    time.sleep(0.01)
                self.assertEqual(self.unread(s), 0)
                return
            try:
                got = s.recv(100)
            except ConnectionResetError:
                got = b""
            if name == "api":
                self.assertEqual(got[:9], b"HTTP/1.1 ")
            elif name == "vsock":
                self.assertEqual(got, b"")


if __name__ == "__main__":
    unittest.main(verbosity=2)
