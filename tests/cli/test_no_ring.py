#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hosts on which io_uring is not to be had: test_no_ring.py CATNAP IMAGES

As with kernel.io_uring_disabled, or in a container: a seccomp filter of the test's own lets io_uring_setup() fail.
"""

import ctypes
import errno
import os
import struct
import subprocess
import sys
import tempfile
import unittest

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_IO_URING_SETUP = 425
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2
PASSED = 67


def without_ring(error):
    """For preexec_fn."""
    def install():
        code = [(0x20, 0, 0, 0), (0x15, 0, 1, SYS_IO_URING_SETUP), (6, 0, 0, 0x50000 | error),
                (6, 0, 0, 0x7fff0000)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
        prog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(program)))
        if LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(SET_SECCOMP, FILTER, prog):
            os._exit(99)
    return install


@unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm")
class NoRing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.disk = os.path.join(folder.name, "disk")
        self.socket = os.path.join(folder.name, "socket")
        with open(self.disk, "wb") as f:
            f.truncate(1 << 20)

    def run_it(self, image, cmdline, *args, error=errno.EPERM):
        # pylint: disable=subprocess-popen-preexec-fn
        return subprocess.run([CATNAP, "run", os.path.join(IMAGES, image), "--debug-exit", "0xf4", "-m", "16M",
                               "--timeout", "20s", "--rng", "off", "--transport", "mmio", "-c", cmdline, *args],
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
                              env={**os.environ, "LC_ALL": "C"}, preexec_fn=without_ring(error))

    def fails(self, p, *words):
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        for word in ("io_uring", *words):
            self.assertIn(word, p.stderr)

    def devices(self):
        return (("-d", self.disk), ("--vsock", f"cid=3,socket={self.socket}"), ("-d", f"{self.disk},bw=1M"))

    def test_inside_the_sandbox(self):
        for io in ("vcpu", "thread"):
            for device in self.devices():
                with self.subTest(io=io, device=device):
                    p = self.run_it("end.elf", "how=hlt", "--io", io, "--sandbox", "on", *device)
                    self.fails(p, "Operation not permitted", "kernel.io_uring_disabled")
        p = self.run_it("end.elf", "how=hlt", "--sandbox", "on", "-d", self.disk, error=errno.ENOSYS)
        self.fails(p, "Function not implemented", "CONFIG_IO_URING")

    def test_what_waits_in_the_ring(self):
        """A socket, or a limit's timer: there is no other way, with or without a sandbox."""
        for io in ("vcpu", "thread"):
            for device in self.devices()[1:]:
                with self.subTest(io=io, device=device):
                    p = self.run_it("end.elf", "how=hlt", "--io", io, "--sandbox", "off", *device)
                    self.fails(p, "Operation not permitted", "kernel.io_uring_disabled")

    def test_disks_do_without(self):
        for io in ("vcpu", "thread"):
            with self.subTest(io=io):
                p = self.run_it("blk.elf", "how=spin only_transfer=1", "--io", io, "--sandbox", "off", "-d", self.disk)
                self.assertEqual(p.returncode, PASSED, p.stderr)
                self.assertIn("without io_uring", p.stderr)
                self.assertIn("kernel.io_uring_disabled", p.stderr)

    def test_nothing_is_needed_without_devices(self):
        p = self.run_it("end.elf", "how=byte value=33", "--sandbox", "on")
        self.assertEqual(p.returncode, 67, p.stderr)


if __name__ == "__main__":
    unittest.main()
