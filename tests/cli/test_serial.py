#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run --serial: where the serial port leads, who comes and goes there, and that pastes of 100 KB arrive.

    test_serial.py CATNAP GUESTS [unittest options]
"""

import os
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import termios
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position

PASSED = base.PASSED


# Nothing that a terminal or the guest takes for itself.
PASTE = (bytes(c for c in range(0x20, 0x7f) if c not in b".?") * 1200)[:100 * 1024]


class Tools:
    """For both."""

    def until_on(self, fd, end, data=b""):
        """Sends @data, and reads up to @end; both as fast as they can be had."""
        os.set_blocking(fd, False)
        seen, left = b"", memoryview(data)
        while not seen.endswith(end):
            r, w, _ = select.select([fd], [fd] if left else [], [], 20)
            self.assertTrue(r or w, (seen[-200:], len(left)))
            if w:
                left = left[os.write(fd, left[:8192]):]
            if r:
                more = os.read(fd, 65536)
                self.assertTrue(more, seen[-200:])
                seen += more
        self.assertFalse(left)
        return seen


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Port(Tools, base.Run):
    """--serial pty and socket=: the port's other end comes and goes, and 100 KB arrive as they were sent."""

    def start_paste(self, *args, **more):
        return self.start(base.vmm(base.guest("paste.elf"), "-m", "16M", "--debug-exit", "0xf4", "--timeout", "60s", *args),
                          **more)

    def pty(self, *args):
        p = self.start_paste("--serial", "pty", *args)
        line = p.stderr.readline().decode()
        self.assertRegex(line, r"^catnap run: the serial port is /dev/pts/[0-9]+\n$")
        return p, line.split()[-1]

    def attach(self, name):
        fd = os.open(name, os.O_RDWR | os.O_NOCTTY)
        return fd, lambda: os.close(fd)

    def connect(self, path="serial"):
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        until = time.monotonic() + 10
        while True:
            try:
                s.connect(os.path.join(self.dir, path))
                return s.fileno(), s.close
            except (FileNotFoundError, ConnectionRefusedError):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)

    def paste(self, fd):
        self.until_on(fd, b"ready\n", b"?")
        seen = self.until_on(fd, b"\nok\n", PASTE + b".")
        self.assertEqual(seen, PASTE + b"\nreceived %d\nok\n" % len(PASTE))

    def test_pty(self):
        p, name = self.pty()
        # Several come and go, in pieces; what is sent while nobody is there is lost, and holds up nothing.
        for word in (b"one", b"two", b"three"):
            fd, close = self.attach(name)
            self.until_on(fd, b"ready\n" + word, b"?" + word)
            os.write(fd, b"lost?" * 5)
            close()
            time.sleep(0.05)
        fd, close = self.attach(name)
        self.paste(fd)
        self.ends(p, PASSED)
        close()
        self.assertEqual((p.stdout.read(), p.stderr.read()), (b"", b""))

    def test_pty_read_late(self):
        # The guest has ended before anything was read: its last lines are there all the same.
        p, name = self.pty()
        fd, close = self.attach(name)
        self.until_on(fd, b"ready\n", b"?")
        os.write(fd, PASTE[:3000] + b".")
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        self.assertEqual(self.until_on(fd, b"\nok\n"), PASTE[:3000] + b"\nreceived 3000\nok\n")
        self.ends(p, PASSED)
        close()

    def test_pty_is_raw(self):
        p, name = self.pty()
        fd, close = self.attach(name)
        mode = termios.tcgetattr(fd)
        self.assertFalse(mode[1] & termios.OPOST or mode[3] & (termios.ICANON | termios.ECHO | termios.ISIG))
        # Ctrl-A and Ctrl-C are the guest's.
        self.until_on(fd, b"\x01x\x03", b"\x01x\x03")
        # Nobody is there: it waits, and takes no time for that.
        close()
        p.terminate()
        self.ends(p, 143)

    def test_pty_idle(self):
        p = self.start(base.end("halt", "--serial", "pty"))
        name = p.stderr.readline().decode().split()[-1]
        time.sleep(0.2)
        for attached in (False, True):
            if attached:
                self.attach(name)
            before = self.ticks(p)
            time.sleep(0.5)
            self.assertLess(self.ticks(p) - before, 0.2)
        p.terminate()
        self.ends(p, 143)

    @staticmethod
    def ticks(p):
        with open(f"/proc/{p.pid}/stat", encoding="ascii") as f:
            return sum(int(n) for n in f.read().split()[13:15]) / os.sysconf("SC_CLK_TCK")

    def test_pty_not_read(self):
        # Somebody has it open and does not read: the guest waits, and a signal ends it all the same.
        p = self.start(base.end("print", "--serial", "pty"))
        fd, close = self.attach(p.stderr.readline().decode().split()[-1])
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        p.terminate()
        self.ends(p, 143)
        close()

    def test_socket(self):
        p = self.start_paste("--serial", "socket=serial")
        for word in (b"one", b"two", b"three"):
            fd, close = self.connect()
            self.until_on(fd, b"ready\n" + word, b"?" + word)
            close()
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "serial")).st_mode), 0o600)
        # One at a time: the next one's turn comes when this one has gone.
        first, close = self.connect()
        self.until_on(first, b"ready\n", b"?")
        second, _ = self.connect()
        os.write(second, b"?")
        self.assertEqual(select.select([second], [], [], 0.2)[0], [])
        close()
        self.until_on(second, b"ready\n")
        self.paste(second)
        self.ends(p, PASSED)
        self.assertEqual(os.read(second, 10), b"")
        self.assertEqual((p.stdout.read(), p.stderr.read(), os.listdir(self.dir)), (b"", b"", []))

    def test_socket_half_closed(self):
        # Bytes that a client sends and leaves behind are the guest's; one that only reads on, does so.
        p = self.start_paste("--serial", "socket=serial")
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        fd, close = self.connect()
        self.until_on(fd, b"ready\n", b"?")
        os.write(fd, PASTE[:50000])
        close()
        fd, _ = self.connect()
        with socket.socket(fileno=os.dup(fd)) as s:
            s.sendall(PASTE[50000:] + b".")
            s.shutdown(socket.SHUT_WR)
        self.assertIn(b"\nreceived %d\nok\n" % len(PASTE), self.until_on(fd, b"\nok\n"))
        self.ends(p, PASSED)

    def test_socket_not_read(self):
        p = self.start(base.end("print", "--serial", "socket=serial"))
        self.connect()
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        p.terminate()
        self.ends(p, 143)
        self.assertEqual(os.listdir(self.dir), [])

    def test_socket_removed(self):
        # At every end.
        for how, status in (("byte", 1), ("cf9", 32), ("triple", 33), ("later", PASSED), ("spin", 124),
                            ("spin", signal.SIGTERM), ("halt", signal.SIGINT)):
            sig = how in ("spin", "halt") and status != 124
            p = self.start(base.vmm(base.guest("end.elf"), "-m", "16M", "-c", f"how={how}", "--debug-exit", "0xf4", "--timeout",
                               "300ms" if status == 124 else "20s", "--serial", "socket=serial"))
            if sig:
                self.connect()
                p.send_signal(status)
            self.ends(p, 128 + status if sig else status)
            self.assertEqual(os.listdir(self.dir), [])
        # The host's refusals: nothing is left either.
        self.refused(base.end("byte", "--serial", "socket=serial", "--stats", "/none/none"), 1, "--stats")
        self.refused(base.vmm("/none", "--serial", "socket=serial"), 1, "/none")

    def until_empty(self):
        until = time.monotonic() + 10
        while os.listdir(self.dir) and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(os.listdir(self.dir), [])

    def test_socket_killed(self):
        # Nobody in the VM's process can remove it any more.
        for sig in (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS):
            p = self.start(base.end("halt", "--serial", "socket=serial", "--console", "socket=console",
                                    "--api-socket", "stats"))
            self.connect()
            p.send_signal(sig)
            self.assertEqual(p.wait(timeout=10), -sig)
            self.until_empty()

    def test_socket_stale(self):
        # One that nobody listens to, left by whomever, goes; a live one and another file are left alone.
        path = os.path.join(self.dir, "serial")
        p = self.start(base.end("halt", "--serial", "socket=serial"))
        self.connect()
        self.refused(base.end("byte", "--serial", "socket=serial"), 1, "--serial", "serial", "listens")
        p.kill()
        p.wait()
        self.until_empty()
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        self.assertEqual(os.listdir(self.dir), ["serial"])
        self.ends(self.start(base.end("later", "--serial", "socket=serial")), PASSED)
        self.assertEqual(os.listdir(self.dir), [])
        self.file("serial", b"precious")
        self.refused(base.end("byte", "--serial", "socket=serial"), 1, "--serial", "not a socket")
        with open(path, "rb") as f:
            self.assertEqual(f.read(), b"precious")

    def test_socket_refused(self):
        for value in ("socket=", "socket", "pty=x", "null=x", "socket=" + "x" * 108):
            self.refused(base.vmm(base.guest("end.elf"), "--serial", value), 2, "--serial", "expected")
        self.refused(base.end("byte", "--serial", "socket=none/s"), 1, "--serial", "none/s", "No such file")
        self.refused(base.end("byte", "--serial", "socket=" + self.dir), 1, "--serial", "not a socket")
        self.file("plain", b"")
        self.refused(base.end("byte", "--serial", "socket=plain/s"), 1, "--serial", "plain/s", "Not a directory")
        # As long as may be.
        name = "socket=" + "x" * 107
        self.ends(self.start(base.end("later", "--serial", name)), PASSED)

    def test_no_permission(self):
        os.chmod(self.dir, 0o555)
        before = None
        if os.geteuid() == 0:
            if not shutil.which("setpriv"):
                self.skipTest("needs setpriv(1)")
            # Root without the right to write everywhere, but with what /dev/kvm may need.
            before = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
            if subprocess.run([*before, "touch", "x"], cwd=self.dir, stderr=subprocess.DEVNULL,
                              check=False).returncode == 0:
                self.skipTest("this user may write everywhere")
        for value in ("socket=s", "file=f"):
            self.refused(base.end("byte", "--serial", value), 1, "--serial", value[-1], "Permission denied", before=before)
        os.chmod(self.dir, 0o755)

    def test_file_mode(self):
        self.ends(self.start(base.end("later", "--serial", "file=out")), PASSED)
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "out")).st_mode), 0o600)

    def test_stdio(self):
        # A pipe, and a terminal.
        p = self.start_paste(stdin=subprocess.PIPE, bufsize=0)
        p.stdin.write(b"?")
        self.until(p.stdout, b"ready\n")
        out, _ = p.communicate(PASTE + b".")
        # Apart: unittest would look for the differences of two tuples for half an hour.
        self.assertEqual(p.returncode, PASSED)
        self.assertEqual(out, PASTE + b"\nreceived %d\nok\n" % len(PASTE))


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Terminal(Tools, base.OnTerminal):
    def test_paste(self):
        p = self.on_terminal(base.vmm(base.guest("paste.elf"), "-m", "16M", "--debug-exit", "0xf4", "--timeout", "60s"))
        until = time.monotonic() + 10
        while termios.tcgetattr(self.slave)[3] & termios.ECHO:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        self.until_on(self.master, b"ready\r\n", b"?")
        seen = self.until_on(self.master, b"\nok\r\n", PASTE + b".")
        self.assertEqual(seen.replace(b"\r", b""), PASTE + b"\nreceived %d\nok\n" % len(PASTE))
        self.restored(p, PASSED)

    def test_elsewhere(self):
        # The port is not this terminal: that stays as it is, and Ctrl-C ends the VM.
        for value in ("pty", "socket=serial", "null"):
            p = self.on_terminal(base.end("halt", "--serial", value))
            time.sleep(0.3)
            self.assertEqual(termios.tcgetattr(self.slave), self.before)
            os.write(self.master, b"\x0b")
            self.restored(p, 130)


if __name__ == "__main__":
    base.main()
