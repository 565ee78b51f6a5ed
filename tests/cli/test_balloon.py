#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run --balloon socket= and catnap balloon: memory that comes back while the guest runs.

    test_balloon.py CATNAP GUESTS [unittest options]
"""

import json
import os
import re
import socket
import stat
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position

M = 1 << 20


class Usage(base.Case):
    def balloon(self, *args):
        done = subprocess.run([base.CATNAP, "balloon", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False, env=base.ENV, cwd=self.dir)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def no(self, args, status, *words):
        code, out, err = self.balloon(*args)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), err)
        self.assertTrue(err.startswith("catnap balloon: "), err)
        for word in words:
            self.assertIn(word, err)

    def test_values(self):
        self.no([], 2, "SOCKET")
        self.no(["a", "1M", "b"], 2, "b")
        for size in ("x", "-1", "1.5M", "", "1Q", "99999999999999999999"):
            self.no(["socket", f"--size={size}"], 2, "--size")
            if size not in ("-1", ""):
                self.no(["socket", size], 2, "--size")
        self.no(["socket", "1000"], 2, "--size", "1000", "4K")
        self.no(["socket", "1M", "-s", "1M"], 2, "twice")
        for wait in ("0", "x", "3601s"):
            self.no(["socket", "--wait", wait], 2, "--wait")

    def test_run_values(self):
        self.refused(base.vmm(base.guest("end.elf"), "--balloon", "size=0,socket="), 2, "--balloon", "socket")

    def test_nobody(self):
        self.no(["socket"], 1, "socket", "No such file")
        self.no(["socket", "4M", "--wait", "10s"], 1, "socket", "No such file")
        self.no(["x" * 200], 1, "too long")
        self.file("socket", b"")
        self.no(["socket", "4M"], 1, "socket", "refused")

    def test_not_a_balloon(self):
        """Whoever listens there may say anything."""
        for said in (b"", b"{", b"[]", b"nonsense\n", b'{"target": 3}', b'{"error": null}', b'{"driver": true}',
                     b'{"error": "a\\u001b[2J\\nb", "driver": true}', b'{"error": {"x": [1]}}', b'{"error": 7}' * 100):
            path = os.path.join(self.dir, "socket")
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(path)
                s.listen(1)
                # pylint: disable=consider-using-with
                p = subprocess.Popen([base.CATNAP, "balloon", path, "4M"], stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE)
                with s.accept()[0] as c:
                    self.assertEqual(c.recv(100), b"target 4194304\n")
                    c.sendall(said)
                out, err = p.communicate(timeout=30)
            os.unlink(path)
            self.assertEqual((p.returncode, out, err.count(b"\n")), (1, b"", 1), said)
            self.assertNotIn(b"\x1b", err)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Running(Usage):
    test_values = test_run_values = test_nobody = test_not_a_balloon = None

    def start(self, *args, how="all", size="0", begin=True):
        # pylint: disable=consider-using-with
        p = subprocess.Popen(base.vmm(base.guest("balloon.elf"), "--debug-exit", "0xf4", "-m", "64M", "--transport",
                                      "mmio", "-c", f"how={how}", "--timeout", "60s", "--balloon",
                                      f"size={size},socket=socket", *args),
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV,
                             cwd=self.dir, bufsize=0)
        self.addCleanup(self.kill, p)
        self.assertEqual(p.stdout.readline(), b"filled\n")
        if begin:  # its driver does, in its own time
            code, _, err = self.balloon("socket", size, "--wait", "20s")
            self.assertEqual((code, err), (0, ""))
        return p

    def kill(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()

    def ended(self, p):
        """It ends by itself, well, once it is asked for one page."""
        code, _, err = self.balloon("socket", "4K")
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(p.wait(20), base.PASSED, p.stdout.read())
        self.assertFalse(os.path.exists(os.path.join(self.dir, "socket")))

    def state(self):
        code, out, err = self.balloon("--json", "socket")
        self.assertEqual((code, err), (0, ""))
        return json.loads(out)

    def said(self, words):
        """The answer to a request of any kind."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(20)
            s.connect(os.path.join(self.dir, "socket"))
            s.sendall(words)
            got = b""
            while True:
                try:
                    more = s.recv(65536)
                except ConnectionResetError:
                    return got
                if not more:
                    return got
                got += more

    def resident(self, p):
        with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
            return int(re.search(r"^VmRSS:\s*(\d+)", f.read(), re.M).group(1)) << 10

    def test_size(self):
        """Up, down, and up again, with what the host sees of it; in the sandbox, whoever runs the device."""
        for args in ((), ("--io", "thread"), ("--irqchip", "kernel"), ("--cpus", "2", "--halt-poll", "off")):
            with self.subTest(args):
                p = self.start(*args)
                before = self.resident(p)
                self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "socket")).st_mode), 0o600)
                code, out, err = self.balloon("-w", "20s", "socket", "24M")
                self.assertEqual((code, err), (0, ""))
                self.assertRegex(out, r"(?m)^asked for +24\.0M$")
                self.assertRegex(out, r"(?m)^in the balloon +24\.0M$")
                self.assertLess(self.resident(p), before - 20 * M)
                self.assertEqual(self.balloon("--wait=20s", "--size", "4M", "socket")[0], 0)
                self.assertGreater(self.resident(p), before - 8 * M)
                code, out, err = self.balloon("--json", "--wait", "20s", "socket", "32m")
                self.assertEqual((code, err, out.count("\n")), (0, "", 1))
                doc = json.loads(out)
                self.assertEqual((doc["target"], doc["actual"], doc["driver"]), (32 * M, 32 * M, True))
                self.assertEqual((doc["released"], doc["reported"]), (52 * M, 0))
                self.ended(p)

    def test_at_the_start(self):
        p = self.start(size="16M")
        self.assertEqual(self.state()["actual"], 16 * M)
        self.ended(p)

    def test_statistics(self):
        """What the guest says of its memory is as new as the question before."""
        p = self.start()
        self.assertEqual(self.balloon("socket", "8M", "--wait", "20s")[0], 0)
        until = time.monotonic() + 20
        while self.state().get("free") != 24 * M:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        code, out, err = self.balloon("socket")
        self.assertEqual((code, err), (0, ""))
        self.assertRegex(out, r"(?m)^free in it +24\.0M$")
        self.assertRegex(out, r"(?m)^the guest's memory +32\.0M$")
        self.assertNotIn("caches", out)
        self.ended(p)

    def test_too_much(self):
        p = self.start()
        for size in ("64M", "1T", "9223372036854775808"):
            self.no(["socket", size], 1, "socket", "less than the guest's memory")
        self.assertEqual(self.state()["target"], 0)
        self.ended(p)

    def test_guest_that_keeps_some(self):
        p = self.start(how="half")
        self.no(["socket", "32M", "--wait", "1s"], 1, "socket", "over", str(32 * M))
        self.assertEqual(self.state()["actual"], 16 * M)
        self.assertEqual(self.balloon("socket", "32M")[0], 0)  # who does not wait is not told
        self.ended(p)

    def test_no_driver(self):
        p = self.start(how="late", begin=False)
        self.no(["socket", "8M"], 1, "socket", "no driver")
        self.no(["socket", "8M", "-w", "100ms"], 1, "socket", "no driver")
        doc = self.state()
        self.assertEqual((doc["driver"], doc["target"], doc["actual"]), (False, 0, 0))
        # pylint: disable=consider-using-with
        waits = subprocess.Popen([base.CATNAP, "balloon", "-w", "30s", "socket", "8M"], stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, cwd=self.dir)
        p.stdin.write(b".")
        _, err = waits.communicate(timeout=40)
        self.assertEqual((waits.returncode, err), (0, b""))
        self.ended(p)

    def test_requests(self):
        """Nothing but the two that there are does anything, and nobody holds the VM or the others."""
        p = self.start("--stats-socket", "stats")
        for words in (b"\n", b"target\n", b"target \n", b"target -4096\n", b"target 4096x\n", b"target 0x1000\n",
                      b"target 18446744073709551616\n", b"target 99999999999999999999999999999999\n", b" state\n",
                      b"target  4096\n", b"state\0\n", b"STATE\n", b"x" * 63, b"x" * 100000, b"target " + b"0" * 70,
                      b"\xff\xfe\n"):
            try:
                got = self.said(words)
            except BrokenPipeError:
                continue  # answered before it had all been said
            self.assertIn("not understood", json.loads(got)["error"], words)
        self.assertEqual(self.state()["target"], 0)
        for words in (b"state\n", b"state\nstate\n", b"target 0\nstate\n"):
            self.assertEqual(json.loads(self.said(words))["actual"], 0, words)
        # Those who say nothing, or half of it; also by the byte.
        silent = []
        for words in (b"", b"", b"sta", b"target 4", b"", b"target 409"):
            s = socket.socket(socket.AF_UNIX)
            self.addCleanup(s.close)
            s.connect(os.path.join(self.dir, "socket"))
            s.sendall(words)
            silent.append(s)
            self.assertEqual(self.state()["target"], 0)
        for s in silent:
            s.close()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(self.dir, "socket"))
            for c in b"state\n":
                s.sendall(bytes([c]))
                time.sleep(0.01)
            self.assertEqual(json.loads(s.recv(65536))["target"], 0)
        # Neither socket is the other.
        self.no(["stats", "8M"], 1, "stats", "not a balloon's socket")
        self.assertEqual(self.state()["target"], 0)
        self.ended(p)

    def test_without(self):
        """No socket, no balloon."""
        # pylint: disable=consider-using-with
        p = subprocess.Popen(base.end("halt", "--stats-socket", "socket"), stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV, cwd=self.dir, bufsize=0)
        self.addCleanup(self.kill, p)
        self.assertEqual(p.stdout.readline(), b"halting\n")
        self.no(["socket"], 1, "socket", "not a balloon's socket")
        self.no(["socket", "4M", "--wait", "20s"], 1, "socket", "not a balloon's socket")
        p.terminate()
        self.assertEqual(p.wait(20), 128 + 15)

    def test_path(self):
        """As for the serial port's socket: nothing of somebody else's is touched."""
        self.file("taken", b"mine")
        self.refused(base.end("byte", "--balloon", "size=0,socket=taken"), 1, "--balloon", "not a socket")
        self.refused(base.end("byte", "--balloon", f"size=0,socket={'x' * 108}"), 1, "--balloon", "too long")
        p = self.start()
        self.refused(base.end("byte", "--balloon", "size=0,socket=socket"), 1, "--balloon", "listens")
        self.ended(p)


if __name__ == "__main__":
    base.CATNAP, base.GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
