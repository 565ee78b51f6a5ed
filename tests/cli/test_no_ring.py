#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Hosts on which io_uring is not to be had: test_no_ring.py CATNAP IMAGES

As with kernel.io_uring_disabled or in a container, by a seccomp filter, or with little memory to be locked: everything
works, in the sandbox and without, and it is said once, with what to do.
"""

import ctypes
import errno
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import IO_URING, failing, has_io_uring

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
PASSED = 67
CAPBSET_DROP, CAP_IPC_LOCK = 24, 14


def little_memory(size):
    """For preexec_fn: root has no limit, unless it lacks that one capability."""
    def before():
        ctypes.CDLL(None).prctl(CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0)
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (size, size))
    return before


@unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm")
class NoRing(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        # Not on a file system that is memory: there nothing would need a ring.
        big = tempfile.NamedTemporaryFile(dir="/var/tmp")
        self.addCleanup(big.close)
        big.truncate(1 << 20)
        self.disk = big.name
        self.socket = os.path.join(folder.name, "socket")

    def run_it(self, image, cmdline, *args, how):
        # pylint: disable=subprocess-popen-preexec-fn
        return subprocess.run([CATNAP, "run", os.path.join(IMAGES, image), "--debug-exit", "0xf4", "-m", "16M",
                               "--timeout", "60s", "--rng", "off", "--transport", "mmio", "-c", cmdline, *args],
                              capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=120,
                              env={**os.environ, "LC_ALL": "C"}, preexec_fn=how)

    def passes(self, p, *words):
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1 if words else 0, p.stderr)
        for word in words:
            self.assertIn(word, p.stderr)

    def test_a_disk(self):
        how = failing(IO_URING, errno.EPERM)
        words = "without io_uring", "Operation not permitted", "kernel.io_uring_disabled", "I/O thread"
        for args, extra in ((("--io", "vcpu", "--sandbox", "on"), ""), (("--io", "thread", "--sandbox", "on"), ",direct=on"),
                            (("--irqchip", "kernel", "--sandbox", "on"), ",bw=64M,ops=20000"),
                            (("--halt-poll", "always", "--sandbox", "off"), ""),
                            (("--halt-poll", "off", "--sandbox", "off"), ",direct=on"),
                            (("--halt-poll", "kernel", "--cpus", "2"), ",bw=64M,ops=20000")):
            with self.subTest(args=args, extra=extra):
                p = self.run_it("blk.elf", "how=hlt only_transfer=1", *args, "-d", self.disk + extra, how=how)
                self.passes(p, *words)

    def test_a_kernel_without(self):
        p = self.run_it("blk.elf", "how=spin only_transfer=1", "-d", self.disk, how=failing(IO_URING, errno.ENOSYS))
        self.passes(p, "Function not implemented", "CONFIG_IO_URING")

    @unittest.skipUnless(has_io_uring(), "no io_uring")
    def test_little_memory_to_be_locked(self):
        # The second VM may have one ring or none, by what else runs as this user.
        for size, cpus, words in ((0, "1", ("without io_uring", "ulimit -l")), (65536, "16", ("ulimit -l", "I/O thread"))):
            with self.subTest(size=size):
                p = self.run_it("blk.elf", "how=hlt only_transfer=1", "--cpus", cpus, "-d", self.disk,
                                how=little_memory(size))
                self.passes(p, *words)

    @unittest.skipUnless(has_io_uring(), "no io_uring")
    def test_the_rest_of_the_user_may_have_it(self):
        """Capabilities go when the process closes itself in, and with them the right to lock memory: not before."""
        if os.geteuid():
            self.skipTest("not root")
        p = self.run_it("blk.elf", "how=hlt only_transfer=1", "--sandbox", "on", "-d", self.disk,
                        how=lambda: resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0)))
        self.passes(p)

    def test_vsock(self):
        """The host's side is served, by poll(2)."""
        for sandbox in ("on", "off"):
            with self.subTest(sandbox=sandbox):
                # pylint: disable=subprocess-popen-preexec-fn
                with subprocess.Popen([CATNAP, "run", os.path.join(IMAGES, "end.elf"), "-m", "16M", "-c", "how=halt",
                                       "--sandbox", sandbox, "--vsock", f"cid=3,socket={self.socket}", "--timeout", "60s"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                      preexec_fn=failing(IO_URING, errno.EPERM)) as p:
                    end = time.monotonic() + 30
                    with socket.socket(socket.AF_UNIX) as s:
                        while s.connect_ex(self.socket) and time.monotonic() < end:
                            time.sleep(0.01)
                        s.settimeout(30)
                        # Nonsense is answered by the I/O thread, which closes.
                        s.sendall(b"HELLO\n")
                        try:
                            self.assertEqual(s.recv(1), b"")
                        except ConnectionResetError:
                            pass
                    p.terminate()
                    err = p.communicate()[1]
                self.assertIn("without io_uring", err)
                self.assertEqual(err.count("io_uring"), 2, err)  # and the sysctl

    def test_one_that_cannot_be_entered(self):
        """A filter that refuses io_uring_enter alone: a ring that is of no use is none."""
        how = failing(IO_URING[1:2], errno.EPERM)
        words = "without io_uring", "Operation not permitted", "kernel.io_uring_disabled"
        for sandbox in ("on", "off"):
            for args in (("--vsock", f"cid=3,socket={self.socket}"), ("--io", "thread", "-d", self.disk), ("-d", self.disk)):
                with self.subTest(sandbox=sandbox, args=args):
                    image, cmdline = ("end.elf", "how=byte value=33") if "--vsock" in args else \
                        ("blk.elf", "how=hlt only_transfer=1")
                    self.passes(self.run_it(image, cmdline, "--sandbox", sandbox, *args, how=how), *words)
        # pylint: disable=subprocess-popen-preexec-fn
        p = subprocess.run([CATNAP, "check"], capture_output=True, text=True, check=False, preexec_fn=how)
        self.assertRegex(p.stdout, r"(?m)^less +io_uring ")

    def test_nothing_is_said_without_devices(self):
        for how in (failing(IO_URING, errno.EPERM), little_memory(0)):
            self.passes(self.run_it("end.elf", "how=byte value=33", "--sandbox", "on", how=how))

    def test_check_says_it(self):
        for error, word in ((errno.EPERM, "kernel.io_uring_disabled"), (errno.ENOSYS, "CONFIG_IO_URING")):
            # pylint: disable=subprocess-popen-preexec-fn
            p = subprocess.run([CATNAP, "check"], capture_output=True, text=True, check=False,
                               preexec_fn=failing(IO_URING, error))
            self.assertRegex(p.stdout, r"(?m)^less +io_uring ")
            self.assertIn(word, p.stdout)


if __name__ == "__main__":
    unittest.main()
