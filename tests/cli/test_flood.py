#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Ends of a VM whose guest asks its disk for much more than can be done by then: test_flood.py CATNAP IMAGES

8 vCPUs with 64 requests of 16 MiB each, again and again. Requests in flight are finished or given up, those that wait
are forgotten. The limits are far beyond what it takes, since other tests run beside: what is to be found took minutes.
"""

import errno
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import IO_URING, failing

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
READ, WRITE, DISCARD, ZERO = 0, 1, 11, 13
LATE = 8


@unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm")
class Flood(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory(dir="/var/tmp")  # where a disk is, not memory
        self.addCleanup(folder.cleanup)
        self.disk = os.path.join(folder.name, "disk")
        self.stats = os.path.join(folder.name, "stats")

    def image(self, full):
        with open(self.disk, "wb") as f:
            if full:
                block = os.urandom(1 << 20)
                for _ in range(64):
                    f.write(block)
            f.truncate(64 << 20)

    def flood(self, kind, *args, option="", how=None, by_timeout=False):
        self.image(kind == READ)
        cmd = [CATNAP, "run", os.path.join(IMAGES, "flood.elf"), "--cpus", "8", "-m", "64M", "--transport", "mmio",
               "--rng", "off", "-c", f"queues=8 type={kind}", "-d", self.disk + ",queues=8" + option,
               "--stats", self.stats, *args, *(("--timeout", "2s") if by_timeout else ())]
        # pylint: disable=subprocess-popen-preexec-fn
        with subprocess.Popen(cmd, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              preexec_fn=how) as p:
            self.assertEqual(p.stdout.read(3), b"go\n")
            time.sleep(2 if by_timeout else 1)
            begin = time.monotonic()
            if not by_timeout:
                p.send_signal(signal.SIGTERM)
            out, err = p.communicate(timeout=300)
            took = time.monotonic() - begin
        self.assertEqual(p.returncode, 124 if by_timeout else 143, (out, err))
        print(f"type {kind} {option} {args}: {took:.2f} s", file=sys.stderr)
        self.assertLess(took, LATE)
        with open(self.stats, encoding="ascii") as f:
            dev = json.load(f)["devices"][0]
        self.assertGreater(dev["requests"], 0)
        self.assertEqual(dev["errors"], 0)

    def test_reads(self):
        for args, option in (((), ",direct=on"), ((), ""), (("--io", "thread"), ",direct=on"), (("--irqchip", "kernel"), "")):
            with self.subTest(args=args, option=option):
                self.flood(READ, *args, option=option)
        self.flood(READ, option=",direct=on", by_timeout=True)

    def test_writes_and_flushes(self):
        for args in ((), ("--io", "thread")):
            with self.subTest(args=args):
                self.flood(WRITE, *args)

    def test_holes_and_zeroes(self):
        for kind in (DISCARD, ZERO):
            with self.subTest(kind=kind):
                self.flood(kind)

    def test_behind_a_limit(self):
        self.flood(READ, option=",direct=on,bw=1M")

    def test_without_io_uring(self):
        for kind, option in ((READ, ",direct=on"), (WRITE, ""), (DISCARD, "")):
            with self.subTest(kind=kind):
                self.flood(kind, option=option, how=failing(IO_URING, errno.EPERM))


if __name__ == "__main__":
    unittest.main()
