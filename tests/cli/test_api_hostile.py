#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket among clients that are slow, silent, endless or many: another one is answered.

    test_api_hostile.py SERVER... [-- unittest options]

SERVER is a program that serves a socket whose path is its last argument (http_server, without a
VM; catnap serve; catnap run, with one), and ends by SIGTERM; its arguments are separated by commas.
"""

import os
import selectors
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
from unix_http import Connection  # noqa: E402 pylint: disable=wrong-import-position

SILENT, SLOW, LONG = 200, 20, 10
LONG_BYTES = 100_000_000
# Nothing here takes long; on a host that does a lot else, it may.
PATIENCE_S = 60
# The memory that the server may take beyond what it has before anybody comes: 256 clients with some 20 KiB each, the
# backlog of streams, big answers that are not read.
MEMORY_KIB = 64 << 10
PUT_LONG = b"PUT /x HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % LONG_BYTES


def get(path, what="/"):
    c = Connection(path)
    try:
        c.request("GET", what)
        with c.getresponse() as r:
            return r.status, r.read()
    finally:
        c.close()


def client(path):
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(PATIENCE_S)
    s.connect(path)
    s.setblocking(False)
    return s


class Crowd(threading.Thread):
    """Clients that never behave, until they are told to go. A client that is sent away comes again."""

    def __init__(self, path, what, n, step):
        super().__init__(daemon=True)
        self.path, self.what, self.n, self.step = path, what, n, step
        self.over = threading.Event()
        self.sent = self.came = 0

    def come(self):
        try:
            s = client(self.path)
            s.send(self.what)
        except OSError:
            return None
        self.came += 1
        return s

    def run(self):
        socks = [self.come() for _ in range(self.n)]
        while not self.over.is_set():
            busy = False
            for i, s in enumerate(socks):
                try:
                    busy |= self.turn(s) if s else False
                except BlockingIOError:
                    pass
                except OSError:
                    s.close()
                    socks[i] = None
                if not socks[i] or socks[i].fileno() < 0:
                    socks[i] = self.come()
            self.over.wait(0 if busy else 0.02)
        for s in socks:
            if s:
                s.close()

    def turn(self, s):
        """True: at once again."""
        if self.step:
            n = s.send(self.step)
            self.sent += n
            return n > 1
        if not s.recv(1, socket.MSG_PEEK):
            raise ConnectionResetError
        return False


class Case(unittest.TestCase):
    server = []
    # Something large, and what does not end.
    big, stream = b"/big", b"/stream"

    def setUp(self):
        self.dir = tempfile.TemporaryDirectory(prefix="catnap-hostile-")
        self.addCleanup(self.dir.cleanup)
        self.path = os.path.join(self.dir.name, "socket")
        self.process = subprocess.Popen([*self.server, self.path])  # pylint: disable=consider-using-with
        self.addCleanup(self.end)
        until = time.monotonic() + PATIENCE_S
        while True:
            try:
                get(self.path)
                return
            except OSError:
                self.assertIsNone(self.process.poll())
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)

    def end(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(PATIENCE_S)

    def peak_kib(self):
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmHWM"))

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def answered(self, n=300, among=""):
        """n requests, each on a connection of its own, and the time of each."""
        took = []
        for _ in range(n):
            begin = time.monotonic()
            status, body = get(self.path)
            took.append(time.monotonic() - begin)
            self.assertEqual((status, body[:1]), (200, b"{"))
        print(f"# {among}: GET / takes {statistics.median(took) * 1e3:.1f} ms (median), "
              f"{max(took) * 1e3:.1f} ms (longest of {n})", flush=True)

    def crowd(self, *args):
        c = Crowd(self.path, *args)
        c.start()
        self.addCleanup(c.join)
        self.addCleanup(c.over.set)
        until = time.monotonic() + PATIENCE_S
        while c.came < c.n:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        return c

    def tidy(self, before):
        """All have gone, and have left nothing behind."""
        until = time.monotonic() + PATIENCE_S
        while self.descriptors() > before:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)
        self.assertIsNone(self.process.poll())


class Hostile(Case):
    def test_alone(self):
        self.answered(among="alone")

    def test_silent(self):
        before = self.descriptors()
        c = self.crowd(b"", SILENT, b"")
        self.answered(among=f"among {SILENT} that say nothing")
        c.over.set()
        c.join()
        self.tidy(before)

    def test_slow(self):
        """A byte now and then, of a request line, of a header, of a body."""
        before = self.descriptors()
        crowds = [self.crowd(what, SLOW, b"x") for what in
                  (b"G", b"GET / HTTP/1.1\r\nX: ", b"PUT / HTTP/1.1\r\nContent-Length: 50000\r\n\r\n")]
        self.answered(among=f"among {3 * SLOW} that send a byte now and then")
        until = time.monotonic() + PATIENCE_S
        for c in crowds:
            while c.sent < SLOW:
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)
            c.over.set()
            c.join()
        self.tidy(before)

    def test_long(self):
        before, memory = self.descriptors(), self.peak_kib()
        crowds = [self.crowd(what, LONG, b"x" * 65536) for what in
                  (PUT_LONG, b"GET / HTTP/1.1\r\nX: ", b"PUT / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n")]
        crowds.append(self.crowd(b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", LONG,
                                 b"8000\r\n" + b"x" * 32768 + b"\r\n"))
        self.answered(among=f"among {4 * LONG} that send without an end")
        until = time.monotonic() + PATIENCE_S
        for c in crowds:
            while c.came <= LONG:  # one at least was sent away, and has come again
                self.assertLess(time.monotonic(), until)
                time.sleep(0.05)
            c.over.set()
            c.join()
        self.tidy(before)
        self.assertLess(self.peak_kib(), memory + MEMORY_KIB)

    def test_endless(self):
        """100 MB in one piece, as a client sends it that does not look for an answer."""
        for _ in range(2):
            with client(self.path) as s:
                s.settimeout(PATIENCE_S)
                s.sendall(PUT_LONG)
                with self.assertRaises((BrokenPipeError, ConnectionResetError)):
                    for _ in range(LONG_BYTES >> 16):
                        s.sendall(b"x" * 65536)
                # The answer is there all the same.
                self.assertTrue(s.recv(1000).startswith(b"HTTP/1.1 400 "))
        self.answered(1)

    def test_not_reading(self):
        """Clients ask and do not read: big answers, many small ones, a stream."""
        before, memory = self.descriptors(), self.peak_kib()
        crowds = [self.crowd(b"GET %s HTTP/1.1\r\n\r\n" % self.big * 3, 2, b"\r\n"),
                  self.crowd(b"GET %s HTTP/1.1\r\n\r\n" % self.stream, 2, b"\r\n"),
                  self.crowd(b"", 2, b"GET / HTTP/1.1\r\n\r\n" * 100)]
        self.answered(among="among those that do not read")
        for c in crowds:
            c.over.set()
            c.join()
        self.tidy(before)
        self.assertLess(self.peak_kib(), memory + MEMORY_KIB)

    def test_pipelined(self):
        """As many requests as there are answers, in one go."""
        n = 1000
        with client(self.path) as s, selectors.DefaultSelector() as sel:
            sel.register(s, selectors.EVENT_READ | selectors.EVENT_WRITE)
            out, back = b"GET / HTTP/1.1\r\n\r\n" * n, b""
            until = time.monotonic() + PATIENCE_S
            while back.count(b"HTTP/1.1 200") < n:
                self.assertLess(time.monotonic(), until)
                for _, events in sel.select(1):
                    if events & selectors.EVENT_READ:
                        part = s.recv(65536)
                        self.assertTrue(part)
                        back += part
                    if events & selectors.EVENT_WRITE and out:
                        out = out[s.send(out):]
                    if not out:
                        sel.modify(s, selectors.EVENT_READ)
        self.answered(1)

    def test_all_of_them(self):
        before, memory = self.descriptors(), self.peak_kib()
        crowds = [self.crowd(*c) for c in (
            (b"", SILENT, b""), (b"GET / HTTP/1.1\r\nX: ", SLOW, b"x"), (PUT_LONG, LONG, b"x" * 65536),
            (b"GET %s HTTP/1.1\r\n\r\n" % self.big, 1, b"\r\n"), (b"GET %s HTTP/1.1\r\n\r\n" % self.stream, 1, b"\r\n"),
            (b"GET / HTTP/1.1\r\nX: ", 1, b"x" * 1000), (b"", 1, b"GET / HTTP/1.1\r\n\r\n" * 100))]
        self.answered(among="among all of these")
        for c in crowds:
            c.over.set()
            c.join()
        self.tidy(before)
        self.assertLess(self.peak_kib(), memory + MEMORY_KIB)


def main():
    args = sys.argv[1:]
    cut = args.index("--") if "--" in args else len(args)
    tests = unittest.TestSuite()
    for i, server in enumerate(x.split(",") for x in args[:cut]):
        how = {"server": server}
        if server[1:]:
            how.update(big=b"/metrics/openmetrics", stream=b"/catnap/events?history=on")
        kind = type(f"Hostile{i}", (Hostile,), how)
        if server[1:2] == ["run"] and not os.access("/dev/kvm", os.R_OK | os.W_OK):
            kind = unittest.skip("no /dev/kvm")(kind)
        tests.addTests(unittest.defaultTestLoader.loadTestsFromTestCase(kind))
    done = unittest.TextTestRunner(verbosity=2).run(tests)
    return 0 if done.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main())
