#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `catnap bench` says, not how long it took: test_bench.py CATNAP"""

import json
import os
import shutil
import subprocess
import sys
import unittest

CATNAP = os.path.abspath(sys.argv.pop(1))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
MODES = ("user:kernel", "user:off/thread", "kernel:200us", "kernel:0/vcpu")


def bench(*args, timeout=100):
    return subprocess.run([CATNAP, "bench", *args], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=timeout)


@unittest.skipUnless(KVM, "no /dev/kvm")
class Bench(unittest.TestCase):
    def runs(self, workload, *args, modes=MODES):
        options = [o for m in modes for o in ("--mode", m)]
        p = bench(workload, "--json", "-", "--samples", "20", "--rounds", "1", *options, *args)
        self.assertEqual((p.returncode, p.stderr), (0, ""), p.stdout)
        return json.loads(p.stdout)["runs"]

    def check(self, run, samples=20):
        self.assertFalse(run["failed"])
        self.assertEqual(run["samples"], samples)
        self.assertLessEqual(run["p50_ns"], run["p99_ns"])
        self.assertGreater(run["cpu_ns_per_event"], 0)

    def test_blk(self):
        before = {d: set(os.listdir(d)) for d in ("/dev/shm", "/var/tmp")}
        runs = self.runs("blk")
        self.assertEqual([(r["disk"], r["mode"]) for r in runs],
                         [(d, m) for d in ("id", "tmpfs", "direct") for m in MODES])
        for run in runs:
            self.check(run)
        for d, names in before.items():
            self.assertFalse([n for n in set(os.listdir(d)) - names if n.startswith("catnap-bench")])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_echo(self):
        runs = self.runs("echo", "--gap", "100us")
        self.assertEqual([r["mode"] for r in runs], list(MODES))
        for run in runs:
            self.check(run)
            self.assertEqual(run["gap_ns"], 100000)

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "QEMU is not installed")
    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_peer(self):
        for workload, n in (("blk", 3), ("echo", 1)):
            with self.subTest(workload):
                runs = self.runs(workload, "--peer", "qemu", "--gap", "100us", modes=("user:kernel",))
                self.assertEqual([r["mode"] for r in runs], ["user:kernel", "qemu"] * n)
                for run in runs:
                    self.check(run)

    def test_pinned_to_one(self):
        for run in self.runs("blk", "--pin", "one", modes=("user:kernel", "kernel:200us")):
            self.check(run)

    def test_table(self):
        p = bench("blk", "--samples", "5", "--rounds", "1", "--mode", "user:off")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("blk: doorbell to the interrupt's handler", p.stdout)
        self.assertIn("net: without the guest's own share", p.stdout)

    def test_wrong(self):
        for args, says in (
                (("--mode", "user:kernel/moon"), '--mode: "user:kernel/moon" is not a mode: expected /vcpu or /thread'),
                (("--mode", "user:/vcpu"), '--mode: "user:/vcpu" is not a mode'),
                (("--mode", "kernel:x/vcpu"), '--mode: '),
                (("--pin", "two"), '--pin: "two"'),
                (("disk",), '"disk" is not a workload')):
            with self.subTest(args):
                p = bench(*args)
                self.assertEqual((p.returncode, p.stdout), (2, ""))
                self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
                self.assertIn(says, p.stderr)


if __name__ == "__main__":
    unittest.main()
