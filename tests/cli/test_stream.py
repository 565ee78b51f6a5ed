#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Networks over a stream socket, and passt, which is started for one: test_stream.py CATNAP IMAGES"""

import os
import random
import select
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from filtered import unsaid

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
PASSED = 67
LONGEST = 65535 + 18


def take(s, n):
    data = b""
    while len(data) < n:
        more = s.recv(n - len(data))
        if not more:
            raise EOFError
        data += more
    return data


def question(s):
    """The next one that comes."""
    while True:
        packet = take(s, struct.unpack(">I", take(s, 4))[0])
        if packet[12:14] == b"\x08\x06":
            return packet


def reply(s, packet):
    """As a neighbour who has every address."""
    sender, source, target = packet[22:28], packet[28:32], packet[38:42]
    mac = b"\x02\0\0\0\0\x77"
    answers = sender + mac + packet[12:20] + b"\0\x02" + mac + target + sender + source
    answers = answers.ljust(60, b"\0")
    s.sendall(struct.pack(">I", len(answers)) + answers)


def answer(s):
    reply(s, question(s))


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.socket = os.path.join(self.dir, "s")

    def args(self, net, *args, ask=1, timeout="50s", words=None):
        return [CATNAP, "run", os.path.join(IMAGES, "net.elf"), "--transport", "mmio", "--rng", "off", "-m", "16M", "--debug-exit",
                "0xf4", "--timeout", timeout, "-c", words or f"ask={ask}", "--net", net, *args]

    def run_catnap(self, net, *args, env=None, **how):
        p = subprocess.run(self.args(net, *args, **how), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=60, env=env)
        p.stderr = unsaid(p.stderr)
        return p

    def refused(self, status, net, *words, env=None):
        p = self.run_catnap(net, env=env)
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (status, "", 1), p.stderr)
        for word in ("--net", *words):
            self.assertIn(word, p.stderr)

    def serve(self, how):
        """One connection, in a thread."""
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.bind(self.socket)
        s.listen(1)

        def run():
            c, _ = s.accept()
            with c:
                how(c)

        t = threading.Thread(target=run, daemon=True)
        t.start()
        return t


class Stream(Case):
    def test_usage(self):
        for net, word in (("stream=a,tap=b", "several"), ("stream=a,queues=2", "queues"), ("stream=a,forward=tcp:1", "passt"),
                          ("tap=a,forward=tcp:1", "passt"), ("passt,forward=tcp:0", "forward"), ("passt,forward=tcp:1:", "forward"),
                          ("passt,forward=icmp:1", "forward"), ("passt,forward=tcp:1:2:3", "forward"),
                          ("passt,forward=tcp:70000", "forward"), ("passt,forward=tcp:1+", "forward"), ("passt,queues=2", "queues"),
                          ("mtu=1400", "no other end"), ("tap=a,bridge=b", "bridge"),
                          ("tap=auto,bridge=" + "x" * 16, "bridge")):
            self.refused(2, net, word)

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_nobody(self):
        self.refused(1, f"stream={self.socket}", "stream", self.socket, "No such file")

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_packets_pass(self):
        for n, args in enumerate((("--irqchip", "user"), ("--irqchip", "kernel"), ("--io", "thread"))):
            self.socket = os.path.join(self.dir, f"s{n}")
            t = self.serve(answer)
            p = self.run_catnap(f"stream={self.socket}", "--sandbox", "on", *args)
            self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
            self.assertIn("answered", p.stdout)
            t.join()

    def echoes(self, c, count, got):
        """Sends packets as fast as they are taken, and takes each as it was sent, in their order, from a guest that sends them
        back. With pieces that end anywhere; and at times nothing is taken until nothing can be sent."""
        r = random.Random(count)
        pool = r.randbytes(1 << 17)
        # Most are as Ethernet's. Some take several buffers, and more than a stream sends at once where it is nearly full.
        sizes = [r.randrange(60, 1515) if r.random() < 0.9 else r.randrange(1515, LONGEST + 1) for _ in range(count)]
        sizes[count // 2] = LONGEST
        starts = [r.randrange(len(pool) - size) for size in sizes]

        def packet(n):
            return struct.pack(">Q", n) + pool[starts[n]:starts[n] + sizes[n] - 8]

        def send():
            rest = b""
            try:
                for n in range(count):
                    rest += struct.pack(">I", sizes[n]) + packet(n)
                    while len(rest) > 4096 or (rest and n == count - 1):
                        if select.select([], [c], [], 0.05)[1]:
                            rest = rest[c.send(rest[:pieces.randrange(1, 16384)], socket.MSG_DONTWAIT):]
                        else:
                            stuck.set()
            finally:
                ended.append(True)
                stuck.set()

        pieces, stuck, ended = random.Random(-count), threading.Event(), []
        c.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        sender = threading.Thread(target=send, daemon=True)
        take(c, 4 + 60)  # its driver is there
        sender.start()
        for n in range(count):
            if n % 250 == 100:
                stuck.clear()
                if not ended:
                    stuck.wait(20)
            size = struct.unpack(">I", take(c, 4))[0]
            data = take(c, size)
            if data != packet(n):
                got.append(f"packet {n} of {sizes[n]} bytes came as one of {size}, number {data[:8].hex()}")
                return
        sender.join()
        got.append(count)
        c.sendall(struct.pack(">I", 60) + bytes(60))
        got.append(c.recv(1))  # nothing more, when the guest has ended

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_echo(self):
        """Each packet passes whole, once, and in its order, however full the stream is."""
        for n, args in enumerate((("--irqchip", "user"), ("--irqchip", "kernel"), ("--io", "thread"))):
            self.socket = os.path.join(self.dir, f"s{n}")
            got = []
            t = self.serve(lambda c, got=got: self.echoes(c, 800, got))
            p = self.run_catnap(f"stream={self.socket}", *args, words="echo=800")
            t.join(30)
            self.assertEqual((p.returncode, got), (PASSED, [800, b""]), p.stdout + p.stderr)

    def put_down(self):
        """A guest that has asked and waits, in a snapshot; and what it asked."""
        asked = []

        def hear(c):
            asked.append(question(c))
            c.recv(1)

        t = self.serve(hear)
        api = os.path.join(self.dir, "api")
        p = subprocess.Popen(self.args(f"stream={self.socket}", "--api-socket", api, "--snapshots", self.dir, ask=2),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(p.communicate)
        self.addCleanup(p.kill)
        end = time.monotonic() + 30
        while not asked:
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(p.poll())
            time.sleep(0.01)
        snap = os.path.join(self.dir, "snap")
        done = subprocess.run([CATNAP, "ctl", api, "snapshot", snap, "--then", "stop"], capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        p.wait(30)
        t.join(30)
        return snap, asked[0]

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_snapshot(self):
        """An interface goes on over another stream, both ways. Where it leads has to be said."""
        snap, asked = self.put_down()
        p = subprocess.run([CATNAP, "run", "--restore", snap], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=60)
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (2, "", 1), p.stderr)
        for word in ("--net: ", snap, "interface 0 was on a stream", "expected --net"):
            self.assertIn(word, p.stderr)

        def talk(c):
            # The first one, which was put down with the guest. What comes before that goes on is lost, as in a network.
            while not select.select([c], [], [], 0.2)[0]:
                reply(c, asked)
            again = question(c)
            self.assertEqual(again[6:12], asked[6:12])
            reply(c, again)
            c.recv(1)  # until the guest has ended

        for n in range(2):
            with self.subTest(clone=n):
                self.socket = os.path.join(self.dir, f"clone{n}")
                t = self.serve(talk)
                p = subprocess.run([CATNAP, "run", "--restore", snap, "--net", f"stream={self.socket}", "--timeout", "50s"],
                                   capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)
                self.assertEqual((p.returncode, unsaid(p.stderr)), (PASSED, ""))
                self.assertEqual(p.stdout.count("answered"), 2)
                t.join()

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_other_end(self):
        """A peer that goes, or talks of something else, leaves the guest with its link down."""
        for n, says in enumerate((b"", b"HTTP/1.1 200 OK\r\n\r\n", b"\xff\xff\xff\xff", b"\0\0\0\0")):
            self.socket = os.path.join(self.dir, f"s{n}")
            left = threading.Event()

            def talk(c, says=says, left=left):
                if says:
                    c.sendall(says)
                    left.wait(20)

            t = self.serve(talk)
            with subprocess.Popen(self.args(f"stream={self.socket}", ask=0, timeout="50s"), stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE) as vm:
                out = b""
                while b"down" not in out and len(out) < 1 << 20:
                    more = vm.stdout.read1(4096)
                    if not more:
                        break
                    out += more
                vm.terminate()
                err = vm.stderr.read().decode()
            left.set()
            t.join()
            self.assertIn(b"down", out)
            self.assertEqual(err.count("the other end is gone: the guest's link is down"), 1, err)


def free_port():
    """One that nobody listens at, and that no connection is given."""
    while True:
        with socket.socket() as s:
            port = random.randrange(20000, 32768)
            try:
                s.bind(("", port))
                return port
            except OSError:
                pass


@unittest.skipUnless(KVM, "no /dev/kvm")
class Passt(Case):
    def test_nowhere(self):
        if os.access("/usr/bin/passt", os.X_OK):
            self.skipTest("it is there")
        self.refused(1, "passt", "there is no passt: expected the package", env={"PATH": "/nonexistent"})

    @unittest.skipUnless(shutil.which("passt"), "no passt")
    def test_answers(self):
        p = self.run_catnap(f"passt,forward=tcp:{free_port()}:80+udp:{free_port()}", "--sandbox", "on")
        if "default route" in p.stderr or "external interface" in p.stderr:
            self.skipTest("passt finds no network here")
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.assertIn("answered", p.stdout)

    @unittest.skipUnless(shutil.which("passt"), "no passt")
    def test_no_port(self):
        """A port that is somebody else's already: the VM does not start without what was asked for."""
        with socket.socket(socket.AF_INET6) as s:
            s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            s.bind(("::", 0))
            s.listen()
            for forward in (f"tcp:{s.getsockname()[1]}:80", f"udp:{free_port()}+tcp:{s.getsockname()[1]}"):
                p = self.run_catnap(f"passt,forward={forward}")
                if "default route" in p.stderr or "external interface" in p.stderr:
                    self.skipTest("passt finds no network here")
                self.assertEqual(p.returncode, 1, p.stderr)
                self.assertIn("catnap run: --net: passt: it has ended before it served the network\n", p.stderr)

    @unittest.skipUnless(shutil.which("passt"), "no passt")
    def test_ends(self):
        """It ends with the VM, whatever becomes of that; and the port leads to it as long."""
        port = free_port()
        with subprocess.Popen(self.args(f"passt,forward=tcp:{port}:80", ask=0), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as vm:
            vm.stdout.read(4)
            for _ in range(250):
                with socket.socket() as s:
                    reached = s.connect_ex(("127.0.0.1", port))
                if reached == 0:
                    break
                time.sleep(0.02)
            vm.kill()
            err = vm.stderr.read().decode()
        if "default route" in err or "external interface" in err:
            self.skipTest("passt finds no network here")
        self.assertEqual(reached, 0, err)
        for _ in range(200):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", port)) != 0:
                    return
            time.sleep(0.02)
        self.fail("the port is still there")


    def begin(self, name, *args):
        """A VM, and the file that its guest's words go to."""
        out = os.path.join(self.dir, name)
        with open(out, "wb") as f:
            p = subprocess.Popen([CATNAP, "run", *args], stdin=subprocess.DEVNULL, stdout=f, stderr=subprocess.PIPE)
        self.addCleanup(p.communicate)
        self.addCleanup(p.kill)
        return p, out

    def wait_for(self, p, condition):
        """False: the VM has ended before."""
        end = time.monotonic() + 40
        while not condition():
            if p.poll() is not None:
                return False
            self.assertLess(time.monotonic(), end)
            time.sleep(0.02)
        return True

    @unittest.skipUnless(shutil.which("passt"), "no passt")
    def test_snapshot(self):
        """Where an interface leads has to be said again; it goes on over another passt, with its ports, in each clone."""
        def answers(out):
            with open(out, "rb") as f:
                return f.read().count(b"answered")

        api, snap, port = os.path.join(self.dir, "api"), os.path.join(self.dir, "snap"), free_port()
        # What is under way when the guest is put down is lost, so it asks again.
        first = self.args("passt", "--api-socket", api, "--snapshots", self.dir, ask="1000000 again=5000")
        p, out = self.begin("first", *first[2:])
        if not self.wait_for(p, lambda: answers(out) > 2):
            err = p.stderr.read().decode()
            if "default route" in err or "external interface" in err:
                self.skipTest("passt finds no network here")
            self.fail(err)
        done = subprocess.run([CATNAP, "ctl", api, "snapshot", snap, "--then", "stop"], capture_output=True, text=True, check=False,
                              timeout=60)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        p.wait(30)

        p = subprocess.run([CATNAP, "run", "--restore", snap], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=60)
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (2, "", 1), p.stderr)
        self.assertIn("interface 0 was on a stream", p.stderr)

        clones = [self.begin(f"clone{n}", "--restore", snap, "--net", net, "--timeout", "50s")
                  for n, net in enumerate(("passt", f"passt,forward=tcp:{port}:80"))]
        for p, out in clones:
            self.assertTrue(self.wait_for(p, lambda out=out: answers(out) > 2), "its VM has ended")

        def reached():
            with socket.socket() as s:
                return s.connect_ex(("127.0.0.1", port)) == 0

        self.assertTrue(self.wait_for(clones[1][0], reached))
        for p, _ in clones:
            p.terminate()
            p.wait(30)
            self.assertNotIn("the other end is gone", p.stderr.read().decode())
        end = time.monotonic() + 30
        while reached():
            self.assertLess(time.monotonic(), end, "the port is still there")
            time.sleep(0.02)


ROOM = ("unshare", "-rn", "sh", "-c", 'ip link add br0 type bridge && exec "$@"', "sh")


def has_room():
    """Name spaces of our own, with a bridge in them."""
    try:
        return subprocess.run([*ROOM, "true"], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


@unittest.skipUnless(KVM and has_room(), "no /dev/kvm, or no name spaces of our own")
class Made(Case):
    def in_room(self, script):
        p = subprocess.run([*ROOM, "sh", "-c", script], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=60)
        return p.returncode, p.stdout, unsaid(p.stderr)

    def run_made(self, net):
        """Returns the interfaces while the VM is there, its status, and those afterwards."""
        command = " ".join(f"'{a}'" for a in self.args(net, ask=0, timeout="50s"))
        return self.in_room(f"{command} >/dev/null & p=$!; until ip -o link show | grep -q 'catnap0.*UP' || ! kill -0 $p 2>/dev/null; "
                            "do sleep 0.05; done; ip -o link show; kill $p 2>/dev/null; wait $p; echo status $?; "
                            # Files of an io_uring go a moment after its process.
                            "for i in $(seq 50); do ip -o link show | grep -q catnap0 || break; sleep 0.1; done; ip -o link show")

    def test_made(self):
        for net in ("tap=auto", "tap=auto,bridge=br0", "tap=auto,queues=2,bridge=br0"):
            _, out, err = self.run_made(net)
            during, _, after = out.partition("status ")
            line = next((line for line in during.splitlines() if "catnap0" in line), "")
            self.assertIn("UP", line, out + err)
            self.assertEqual("master br0" in line, "bridge" in net, line)
            self.assertTrue(after)
            self.assertNotIn("catnap0", after)

    def test_refused(self):
        for net, words in (("tap=auto,bridge=br9", "--net: bridge: br9: No such bridge"),
                           ("tap=auto,bridge=lo", "--net: bridge: lo: Is no bridge")):
            _, out, err = self.run_made(net)
            self.assertIn("status 1", out)
            self.assertIn(words, err)
            self.assertNotIn("catnap0", out)

    @unittest.skipUnless(os.geteuid() == 0, "not root")
    def test_no_right(self):
        p = subprocess.run(["setpriv", "--bounding-set=-all", "--inh-caps=-all", *self.args("tap=auto")], capture_output=True,
                           text=True, check=False, stdin=subprocess.DEVNULL, timeout=60)
        self.assertEqual(p.returncode, 1)
        self.assertIn("--net: tap: auto: Operation not permitted: expected root, or CAP_NET_ADMIN", p.stderr)


if __name__ == "__main__":
    unittest.main()
