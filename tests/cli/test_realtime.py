#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run in a real-time class, all of it on one processor: it ends when it is told to.

    test_realtime.py CATNAP PROBE GUESTS [unittest options]

The lowest priority, where there is none below, and one above it. This program is in the ordinary class;
what it starts is killed after a while. Skipped where real-time classes are not permitted.
"""

import ctypes
import os
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from realtime_class import permitted

CATNAP = PROBE = GUESTS = ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
POLICIES = ("kernel", "fixed", "adaptive", "always", "off")
CLASSES = ((os.SCHED_FIFO, 1), (os.SCHED_FIFO, 2), (os.SCHED_RR, 1), (os.SCHED_RR, 30))
CPU = max(os.sched_getaffinity(0))
PATIENT = 60
LIBC = ctypes.CDLL(None)
SCHED_SETATTR, SCHED_DEADLINE = 314, 6
CAPBSET_DROP, CAP_SYS_NICE = 24, 23
RLIMIT_RTTIME = 15  # us that a thread of a real-time class may run without a sleep


@unittest.skipUnless(KVM, "no /dev/kvm")
@unittest.skipUnless(permitted(), "no real-time class permitted")
class RealTime(unittest.TestCase):
    def start(self, cls, policy, *guest):
        def confine():
            os.sched_setaffinity(0, {CPU})
            # Should it never end: the kernel ends it, lest it keeps the processor from all others.
            resource.setrlimit(RLIMIT_RTTIME, (20000000, 20000000))
            os.sched_setscheduler(0, cls[0], os.sched_param(cls[1]))
        process = subprocess.Popen([CATNAP, "run", *guest, "-m", "16M", "--serial", "null", "--halt-poll", policy],
                                   stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, preexec_fn=confine)
        self.addCleanup(process.stderr.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def ends(self, process, status):
        try:
            process.wait(PATIENT)
        except subprocess.TimeoutExpired:
            self.fail("it has not ended")
        self.assertEqual(process.returncode, status, process.stderr.read())

    # Halts 4000 times a second.
    TICK = ("-c", "workload=idle tick_hz=4000 tsc_khz=2000000")

    def test_timeout(self):
        for cls in CLASSES:
            for policy in POLICIES:
                with self.subTest(cls=cls, policy=policy):
                    self.ends(self.start(cls, policy, PROBE, *self.TICK, "--timeout", "300ms"), 124)

    def test_deadline(self):
        """Its threads are in the ordinary class, and so is what tidies up."""
        attr = struct.pack("=IIQiIQQQ", 48, SCHED_DEADLINE, 0, 0, 0, 10000000, 100000000, 100000000)

        def deadline():
            if LIBC.syscall(SCHED_SETATTR, 0, attr, 0):
                os._exit(99)

        def without():
            deadline()
            LIBC.prctl(CAPBSET_DROP, CAP_SYS_NICE, 0, 0, 0)

        with tempfile.TemporaryDirectory() as folder:
            for how, more, status in ((deadline, (), 124), (deadline, ("--sandbox", "off"), 124),
                                      (deadline, ("--stats", os.path.join(folder, "stats"), "--serial",
                                                  "socket=" + os.path.join(folder, "socket")), 124), (without, (), 1)):
                with self.subTest(more=more, status=status):
                    p = subprocess.run([CATNAP, "run", PROBE, *self.TICK, "-m", "16M", "--timeout", "300ms", *more],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                       preexec_fn=how, timeout=PATIENT, check=False)
                    if p.returncode == 99:
                        self.skipTest("SCHED_DEADLINE is not permitted")
                    self.assertEqual(p.returncode, status, p.stderr)
                    if status == 1:
                        self.assertRegex(p.stderr, r"^catnap run: .*SCHED_DEADLINE.*--reset-on-fork, or CAP_SYS_NICE\n$")
            self.assertEqual(os.listdir(folder), ["stats"])

    def test_bench_neighbour(self):
        """The hog is in the ordinary class wherever the command is: else nobody could stop it."""
        def confine():
            resource.setrlimit(RLIMIT_RTTIME, (20000000, 20000000))
            os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(2))
        p = subprocess.run([CATNAP, "bench", "neighbour", "--duration", "200ms", "--rounds", "1", "--vcpus", "1",
                            "--mode", "user:off", "--mode", "user:kernel"], stdin=subprocess.DEVNULL,
                           stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=confine, timeout=PATIENT,
                           check=False)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("user:kernel", p.stdout)

    def test_computing_guest(self):
        spin = (os.path.join(GUESTS, "end.elf"), "-c", "how=spin")
        for cls in CLASSES:
            for more in (("--cpus", "1"), ("--cpus", "2", "--io", "thread")):
                with self.subTest(cls=cls, more=more):
                    self.ends(self.start(cls, "always", *spin, *more, "--timeout", "300ms"), 124)

    def test_sigterm(self):
        for cls in CLASSES:
            for policy in POLICIES:
                with self.subTest(cls=cls, policy=policy):
                    process = self.start(cls, policy, PROBE, *self.TICK)
                    time.sleep(0.3)
                    process.send_signal(signal.SIGTERM)
                    # The first one presses the power button, where the guest listens.
                    try:
                        process.wait(2)
                    except subprocess.TimeoutExpired:
                        process.send_signal(signal.SIGTERM)
                    self.ends(process, 128 + signal.SIGTERM)


if __name__ == "__main__":
    CATNAP, PROBE, GUESTS = sys.argv[1:4]
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]], verbosity=2)
