#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run --stats-socket and catnap stat: what a running VM tells of itself, and to whom.

    test_stat.py CATNAP GUESTS [unittest options]
"""

import json
import os
import socket
import stat
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position


class Usage(base.Case):
    def stat(self, *args):
        done = subprocess.run([base.CATNAP, "stat", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30, check=False, env=base.ENV, cwd=self.dir)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def refused(self, args, status, *words):  # pylint: disable=arguments-differ
        code, out, err = self.stat(*args)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), err)
        self.assertTrue(err.startswith("catnap stat: "), err)
        for word in words:
            self.assertIn(word, err)

    def test_values(self):
        self.refused([], 2, "SOCKET")
        self.refused(["a", "b"], 2, "b")
        for args in (["-i", "0"], ["-i", "1us"], ["-n", "0"], ["-n", "x"], ["--colour"]):
            self.refused(["socket", *args], 2, args[0].lstrip("-") if len(args[0]) > 2 else args[-1])

    def test_nobody(self):
        self.refused(["socket"], 1, "socket", "No such file")
        self.refused(["x" * 200], 1, "too long")
        self.file("socket", b"")
        self.refused(["socket"], 1, "socket", "refused")

    def test_not_statistics(self):
        """Whoever listens there may say anything."""
        for said in (b"", b"{", b"[]", b"nonsense\n", b'{"vcpus": 3, "exit": null}', b'{"vcpus": [1, null, {}]}',
                     b'{"vcpus": [{"learned": {"contexts": [7]}, "halt_wait_hist": [1]}]}'):
            path = os.path.join(self.dir, "socket")
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(path)
                s.listen(1)
                # pylint: disable=consider-using-with
                p = subprocess.Popen([base.CATNAP, "stat", "-l", "-n", "1", path], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
                with s.accept()[0] as c:
                    c.sendall(said)
                out, err = p.communicate(timeout=30)
            os.unlink(path)
            if b'"vcpus"' in said:
                self.assertEqual((p.returncode, err), (0, b""), said)
            else:
                self.assertEqual((p.returncode, out, err.count(b"\n")), (1, b"", 1), said)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Running(Usage):
    test_values = test_nobody = test_not_statistics = None

    def start(self, *args, how="halt"):
        # pylint: disable=consider-using-with
        p = subprocess.Popen(base.end(how, "--stats-socket", "socket", *args), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV, cwd=self.dir)
        self.addCleanup(self.kill, p)
        until = time.monotonic() + 10
        while self.stat("-n", "1", "-j", "socket")[0]:
            self.assertIsNone(p.poll(), p.stderr.read() if p.poll() is not None else "")
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        return p

    def kill(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()

    def ended(self, p, status):
        p.terminate()
        self.assertEqual(p.wait(20), status)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "socket")))

    def test_json(self):
        p = self.start("--cpus", "2", "--halt-poll", "adaptive", "--io", "thread", "--stats", "stats")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "socket")).st_mode), 0o600)
        code, out, err = self.stat("--json", "-n", "3", "-i", "1ms", "socket")
        self.assertEqual((code, err, out.count("\n")), (0, "", 3))
        docs = [json.loads(line) for line in out.splitlines()]
        for doc in docs:
            self.assertEqual((doc["irqchip"], doc["exit"]), ("user", None))
            for who in (*doc["vcpus"], doc["io"]):
                self.assertEqual(who["policy"], "adaptive")
                self.assertEqual([(c["before"], c["last"]) for c in who["learned"]["contexts"]],
                                 [(a, b) for a in ("short", "middle", "long") for b in ("short", "middle", "long")])
                for name in ("window_ns", "price_ns", "worth_ns", "relearned"):
                    self.assertGreaterEqual(who["learned"][name], 0)
        self.ended(p, 128 + 15)
        # The same at the end, but for how it ended.
        with open(os.path.join(self.dir, "stats"), encoding="utf-8") as f:
            last = json.load(f)
        self.assertEqual(last["exit"]["reason"], "stopped")
        self.assertEqual(set(last["vcpus"][0]), set(docs[0]["vcpus"][0]))

    def test_table(self):
        p = self.start("--cpus", "2", "--halt-poll", "adaptive", "--halt-poll", "vcpu=1,policy=always")
        code, out, err = self.stat("-n", "2", "-i", "10ms", "--learned", "socket")
        self.assertEqual((code, err), (0, ""))
        legend, *tables = out.split("\n\n")
        for word in ("polled, slept:", "twice as long", "128 ns", "1us, 1ms, 1s", "@ for the most"):
            self.assertIn(word, legend.replace("\n", " "))
        self.assertEqual([x for x in out.splitlines() if len(x) > 80], [])
        self.assertEqual([t.split()[2] for t in tables[:2]], ["halts", "halts/s"])
        for table in tables[:2]:
            lines = table.splitlines()
            pictures = [i for i, x in enumerate(lines) if "|" in x]
            self.assertEqual([tuple(lines[i - 1].split()[:2]) for i in pictures],
                             [("0", "adaptive"), ("1", "always")])
            # Each digit of the axis is above the octave that begins there.
            axis = lines[1]
            for i in pictures:
                bars = [k for k, c in enumerate(lines[i]) if c == "|"]
                for left, right in ((bars[0], bars[1]), (bars[2], bars[3])):
                    self.assertEqual(right - left - 1, 24)
                    self.assertEqual(axis[left + 1:right], "   1us       1ms      1s")
            self.assertTrue([x for x in lines if "relearned" in x], table)
        self.ended(p, 128 + 15)

    def test_kernel_irqchip(self):
        p = self.start("--irqchip", "kernel")
        code, out, err = self.stat("-n", "1", "-l", "socket")
        self.assertEqual((code, err), (0, ""))
        self.assertIn("kvm", out)
        self.ended(p, 128 + 15)

    def test_many_and_slow_readers(self):
        """Nobody holds the VM, nor the other readers."""
        p = self.start("--cpus", "64", "--halt-poll", "adaptive")
        slow = []
        for _ in range(8):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.connect(os.path.join(self.dir, "socket"))
            slow.append(s)
            code, out, err = self.stat("-j", "-n", "1", "socket")
            self.assertEqual((code, err), (0, ""))
            self.assertEqual(len(json.loads(out)["vcpus"]), 64)
        self.ended(p, 128 + 15)

    def test_ends_with_the_vm(self):
        p = self.start()
        # pylint: disable=consider-using-with
        watcher = subprocess.Popen([base.CATNAP, "stat", "-i", "20ms", os.path.join(self.dir, "socket")],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.kill, watcher)
        self.assertTrue(watcher.stdout.readline().startswith(b"polled, slept:"))
        while not watcher.stdout.readline().startswith(b"vcpu"):
            pass
        self.ended(p, 128 + 15)
        _, err = watcher.communicate(timeout=20)
        self.assertEqual((watcher.returncode, err), (0, b""))

    def test_path(self):
        """As for the serial port's socket: nothing of somebody else's is touched."""
        self.file("taken", b"mine")
        base.Case.refused(self, base.end("byte", "--stats-socket", "taken"), 1, "--stats-socket", "not a socket")
        p = self.start()
        base.Case.refused(self, base.end("byte", "--stats-socket", "socket"), 1, "--stats-socket", "listens")
        self.ended(p, 128 + 15)


if __name__ == "__main__":
    base.CATNAP, base.GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
