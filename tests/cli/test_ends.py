#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run ends, whoever does not read what it says; and it is a good citizen of a terminal with job control.

    test_ends.py CATNAP GUESTS [unittest options]
"""

import ctypes
import fcntl
import json
import os
import pty
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import termios
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position

TIMEOUT = 124
PTRACE_SEIZE, PTRACE_INTERRUPT, PTRACE_DETACH = 0x4206, 0x4207, 17


def state(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        return f.read().rsplit(")", 1)[1].split()[0]


def until(true, within=20):
    end = time.monotonic() + within
    while not true():
        if time.monotonic() > end:
            return False
        time.sleep(0.02)
    return True


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Reset(base.Run):
    """A guest that asks for a reset: it ends, or begins anew until something else ends it."""

    def test_both(self):
        for how in "cf9", "keyboard":
            for irqchip in "user", "kernel":
                with self.subTest(how=how, irqchip=irqchip):
                    args = base.vmm(base.guest("end.elf"), "-m", "16M", "-c", f"how={how}", "--irqchip", irqchip)
                    p = subprocess.run([*args, "--timeout", "60s"], capture_output=True, check=False)
                    self.assertNotEqual(p.returncode, TIMEOUT, p.stderr)
                    p = subprocess.run([*args, "--timeout", "3s", "--on-reset", "restart"], capture_output=True, check=False)
                    self.assertEqual(p.returncode, TIMEOUT, p.stderr)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class NotRead(base.Run):
    """Nobody reads, and something comes that the main thread has to do with the device: it ends all the same."""

    def timed(self, how, *args):
        return base.vmm(base.guest("end.elf"), "-m", "16M", "-c", f"how={how}", "--timeout", "2s", "--api-socket", "st", *args)

    def answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(os.path.join(self.dir, "st"))
            s.settimeout(10)
            s.sendall(b"GET / HTTP/1.1\r\n\r\n")
            self.assertTrue(s.recv(100))

    def full(self, fd):
        """Until @fd, the other end of what the guest writes to, has been full for a while."""
        self.assertTrue(select.select([fd], [], [], 20)[0])
        time.sleep(0.5)

    def connect(self):
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)

        def connected():
            try:
                s.connect(os.path.join(self.dir, "s"))
                return True
            except (FileNotFoundError, ConnectionRefusedError):
                return False
        self.assertTrue(until(connected))
        return s

    def test_pipes(self):
        for sig in (None, signal.SIGTERM, signal.SIGINT):
            p = self.start(self.timed("print"), stdin=subprocess.PIPE, bufsize=0)
            self.full(p.stdout)
            p.stdin.write(b"x")
            time.sleep(0.3)
            self.answers()
            if sig:
                p.send_signal(sig)
            self.ends(p, 128 + sig if sig else TIMEOUT)

    def test_socket(self):
        p = self.start(self.timed("print", "--serial", "socket=s"))
        s = self.connect()
        self.full(s)
        s.send(b"x")
        time.sleep(0.3)
        self.answers()
        self.ends(p, TIMEOUT)

    def test_socket_gone(self):
        # The one that does not read goes: the next has its turn.
        p = self.start(base.end("print", "--serial", "socket=s"))
        s = self.connect()
        self.full(s)
        s.send(b"x")
        s.close()
        s = self.connect()
        self.full(s)
        p.terminate()
        self.ends(p, 143)

    def test_pty(self):
        p = self.start(self.timed("print", "--serial", "pty"))
        fd = os.open(p.stderr.readline().decode().split()[-1], os.O_RDWR | os.O_NOCTTY)
        self.addCleanup(os.close, fd)
        self.full(fd)
        os.write(fd, b"x")
        self.ends(p, TIMEOUT)

    def test_console(self):
        # Its size changes, too.
        for transport in ("mmio", "pci"):
            how = "emergency" if transport == "mmio" else "print"
            other = ("--console", "stdio") if transport == "mmio" else ("--serial", "stdio", "--console", "socket=s")
            master, slave = pty.openpty()
            p = subprocess.Popen(self.timed(how, "--transport", transport, *other), stdin=slave, stdout=slave,
                                 stderr=subprocess.DEVNULL, cwd=self.dir, start_new_session=True)
            self.addCleanup(self.kill, p)
            self.full(master)
            os.write(master, b"x")
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 100, 0, 0))
            p.send_signal(signal.SIGWINCH)
            time.sleep(0.3)
            self.answers()
            self.ends(p, TIMEOUT)
            os.close(slave)
            os.close(master)

    def test_power_off(self):
        # One processor powers off while another is held up by its output.
        p = self.start(base.vmm(base.guest("end.elf"), "-m", "16M", "--cpus", "2", "-c", "how=aside", "--timeout", "60s"))
        fcntl.fcntl(p.stdout, 1031, 4096)  # F_SETPIPE_SZ: it is full soon
        self.ends(p, 0, 30)

    def test_errors(self):
        # Messages: limited, and lost where nobody reads them.
        p = self.start(self.timed("crashes"))
        self.ends(p, TIMEOUT)
        err = p.stderr.read().decode()
        self.assertIn("left out", err)
        self.assertLess(err.count("crash kernel"), 10)
        r, w = os.pipe()
        fcntl.fcntl(w, fcntl.F_SETFL, os.O_NONBLOCK)
        try:
            while True:
                os.write(w, bytes(4096))
        except BlockingIOError:
            pass
        fcntl.fcntl(w, fcntl.F_SETFL, 0)
        p = subprocess.Popen(self.timed("crashes"), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=w,
                             cwd=self.dir)
        self.addCleanup(self.kill, p)
        os.close(w)
        self.assertTrue(until(lambda: os.path.exists(os.path.join(self.dir, "st"))))
        time.sleep(1.2)
        self.answers()
        # Somebody reads after all: what was lost is told.
        seen = b""
        while True:
            more = os.read(r, 65536)
            if not more:
                break
            seen += more
        self.assertRegex(seen.lstrip(b"\0"), rb"^catnap run: [0-9]+ messages were lost: nobody read them\n")
        os.close(r)
        self.ends(p, TIMEOUT)

    def test_closed(self):
        # Readers that have gone: SIGPIPE ends nothing.
        for stream in ("stdout", "stderr"):
            r, w = os.pipe()
            os.close(r)
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, stream: w}
            p = subprocess.Popen(self.timed("crashes" if stream == "stderr" else "print"), stdin=subprocess.DEVNULL,
                                 cwd=self.dir, **streams)
            self.addCleanup(self.kill, p)
            os.close(w)
            self.ends(p, TIMEOUT)

    def test_file_limit(self):
        # As large as may be: the guest goes on without.
        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        p = self.start(self.timed("print", "--serial", "file=out", "--log-file", "log"), preexec_fn=limit)
        self.ends(p, TIMEOUT)
        self.assertEqual(os.path.getsize(os.path.join(self.dir, "out")), 4096)

    def test_no_escapes(self):
        # A terminal does not obey text that somebody else has chosen.
        escape = "\x1b]0;title\x07\x9b31m"
        for args in (base.vmm("./" + escape), base.end("byte", "--disk", escape), base.end("byte", "--log-file", escape + "/x"),
                     base.end("byte", "--serial", f"socket={escape}/x"), base.end("byte", "--stats", escape + "/x")):
            done = subprocess.run(args, stdin=subprocess.DEVNULL, capture_output=True, check=False, cwd=self.dir, timeout=60)
            self.assertIn(done.returncode, (1, 2))
            self.assertIn(b"\\x1b]0;title", done.stderr)
            self.assertNotRegex(done.stdout + done.stderr, rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")

    def test_no_inotify(self):
        # None to be had: the pty is looked at from time to time.
        none = ["unshare", "-Ur", "sh", "-c", 'echo 0 >/proc/sys/user/max_inotify_instances && exec "$0" "$@"']
        if not shutil.which("unshare") or subprocess.run([*none, "true"], check=False, stderr=subprocess.DEVNULL).returncode:
            self.skipTest("needs a user namespace of its own")
        p = self.start([*none, *base.end("echo", "--serial", "pty", "--sandbox", "off")])
        line = p.stderr.readline().decode()
        self.assertIn("/dev/pts/", line)
        for _ in range(2):
            fd = os.open(line.split()[-1], os.O_RDWR | os.O_NOCTTY)
            os.write(fd, b"abc")
            seen = b""
            while not seen.endswith(b"abc"):
                self.assertTrue(select.select([fd], [], [], 10)[0], seen)
                seen += os.read(fd, 100)
            os.close(fd)
        fd = os.open(line.split()[-1], os.O_RDWR | os.O_NOCTTY)
        os.write(fd, b".")
        self.ends(p, base.PASSED)
        os.close(fd)

    def test_stuck(self):
        # A vCPU that does not come back, here because a debugger holds it: the process ends all the same, and tidies up.
        p = self.start(base.end("halt", "--stats", "stats", "--api-socket", "st", "--sandbox", "off"))

        def vcpu():
            for task in os.listdir(f"/proc/{p.pid}/task"):
                with open(f"/proc/{p.pid}/task/{task}/comm", encoding="ascii") as f:
                    if f.read().startswith("catnap-vcpu0"):
                        return int(task)
            return None
        self.assertTrue(until(vcpu))
        libc = ctypes.CDLL(None, use_errno=True)
        libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        tid = vcpu()
        if libc.ptrace(PTRACE_SEIZE, tid, None, None) or libc.ptrace(PTRACE_INTERRUPT, tid, None, None):
            self.skipTest("may not trace")
        os.waitpid(tid, 0x40000000)  # __WALL
        begin = time.monotonic()
        p.terminate()
        threading.Timer(2, p.terminate).start()  # losing patience
        self.assertTrue(until(lambda: os.waitpid(tid, os.WNOHANG | 0x40000000)[0]))
        self.ends(p, 143)
        self.assertLess(time.monotonic() - begin, 20)
        self.assertRegex(p.stderr.read().decode(), r"^catnap run: .*vCPU 0: the process ends all the same\n$")
        self.assertEqual(os.listdir(self.dir), ["stats"])
        with open(os.path.join(self.dir, "stats"), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["exit"]["reason"], "stopped")


@unittest.skipUnless(base.KVM and shutil.which("bash"), "needs /dev/kvm and bash")
class Withheld:
    """A file whose readers wait until somebody lets them, as where a file server does not answer. No signal handler
    runs meanwhile (fanotify_init(2), FAN_ACCESS_PERM)."""

    def __init__(self, path):
        libc = ctypes.CDLL(None, use_errno=True)
        libc.fanotify_mark.argtypes = [ctypes.c_int, ctypes.c_uint, ctypes.c_uint64, ctypes.c_int, ctypes.c_char_p]
        self.fd = libc.fanotify_init(0x4 | 0x1, os.O_RDONLY)
        if self.fd < 0 or libc.fanotify_mark(self.fd, 1, 0x20000, -100, path.encode()) < 0:
            raise unittest.SkipTest(f"fanotify: {os.strerror(ctypes.get_errno())}")

    def asked_for(self, within=20):
        """Whether somebody waits for it."""
        return bool(select.select([self.fd], [], [], within)[0])

    def close(self):
        if self.fd >= 0:
            os.close(self.fd)
        self.fd = -1


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Loading(base.Run):
    """A file that cannot be read does not keep a VM from ending while it is made; and nothing is left behind."""

    def withheld(self, name):
        path = self.file(name, b"\x7fELF" + bytes(8192))
        held = Withheld(path)
        self.addCleanup(held.close)
        return held

    def test_timeout(self):
        for option in ("--kernel", "--initramfs"):
            held = self.withheld("file")
            args = [option, "file"] + ([] if option == "--kernel" else [base.guest("end.elf")])
            before = sorted(os.listdir(self.dir))
            p = self.start(base.vmm("--timeout", "1s", "--stats", "stats", "--halt-trace", "trace", "--serial", "file=out", *args))
            self.assertTrue(held.asked_for(), option)
            out, err = p.communicate(timeout=30)
            self.assertEqual((p.returncode, out, err), (TIMEOUT, b"", b"catnap run: --timeout: the time is over\n"), option)
            self.assertEqual(sorted(os.listdir(self.dir)), before, option)
            held.close()

    def test_signals(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            held = self.withheld("kernel")
            p = self.start(base.vmm("--stats", "stats", "--halt-trace", "trace", "kernel"))
            self.assertTrue(held.asked_for())
            p.send_signal(sig)
            out, err = p.communicate(timeout=30)
            self.assertEqual((p.returncode, out, err), (-sig, b"", b""))
            self.assertEqual(os.listdir(self.dir), ["kernel"])
            held.close()

    def test_fifo(self):
        """It is not waited for at all: a kernel is a file."""
        os.mkfifo(os.path.join(self.dir, "fifo"))
        for args in (["fifo"], ["--initramfs", "fifo", base.guest("end.elf")]):
            p = self.start(base.vmm("--timeout", "60s", "--stats", "stats", *args))
            _, err = p.communicate(timeout=30)
            self.assertEqual(p.returncode, 1)
            self.assertRegex(err.decode(), r"fifo: not a regular file\n$")
            self.assertEqual(os.listdir(self.dir), ["fifo"])


@unittest.skipUnless(base.KVM and shutil.which("bash"), "needs /dev/kvm and bash")
class JobControl(base.Case):
    """In a shell on a terminal of its own."""

    def setUp(self):
        super().setUp()
        pid, self.master = pty.fork()
        if pid == 0:
            os.chdir(self.dir)
            os.environ.update(PS1="$ ", LC_ALL="C", HISTFILE="")
            os.execlp("bash", "bash", "--norc", "--noprofile", "--noediting", "-i")
        self.shell = pid
        self.seen = b""
        self.addCleanup(self.end_shell)
        self.wait_for(b"$ ")

    def end_shell(self):
        os.close(self.master)
        try:
            os.kill(self.shell, signal.SIGKILL)
        except ProcessLookupError:
            pass
        os.waitpid(self.shell, 0)

    def wait_for(self, text, within=20):
        end = time.monotonic() + within
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, end - time.monotonic()))
            self.assertTrue(ready, self.seen)
            self.seen += os.read(self.master, 4096)
        self.seen = self.seen.split(text, 1)[1]

    def type(self, text):
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def shell_says(self, command, text):
        """@text is not in @command: what comes is an answer, and no echo."""
        self.type(command + "\n")
        self.wait_for(text)

    def command(self, *args):
        """A guest that echoes what is typed, and ends with 67 at a dot."""
        with open(os.path.join(self.dir, "vm"), "w", encoding="utf-8") as f:
            quoted = " ".join(f"'{a}'" for a in base.vmm(base.guest("end.elf"), "-m", "16M", "-c", "how=echo", "--debug-exit",
                                                        "0xf4", "--timeout", "120s", *args))
            f.write(f"echo $$ >pid\nexec {quoted}\n")
        return "bash ./vm"

    def pid(self):
        with open(os.path.join(self.dir, "pid"), encoding="ascii") as f:
            return int(f.read())

    def modes(self):
        return termios.tcgetattr(self.master)

    def raw(self):
        return not self.modes()[3] & (termios.ICANON | termios.ECHO | termios.ISIG)

    def is_raw(self):
        self.assertTrue(until(self.raw))

    def echoes(self, text):
        self.type(text)
        self.wait_for(text.encode())

    def test_background(self):
        before = self.modes()
        self.type(self.command() + " &\n")
        self.wait_for(b"ready")
        self.shell_says("echo on$((1))e", b"on1e")
        time.sleep(0.5)
        self.assertIn(state(self.pid()), "SR")
        self.assertEqual(self.modes(), before)
        # It comes to the foreground without a signal.
        self.type("fg\n")
        self.is_raw()
        self.echoes("abc")
        self.type(".")
        self.assertTrue(until(lambda: not self.raw()))
        self.shell_says("echo =$?=", b"=%d=" % base.PASSED)
        self.assertEqual(self.modes(), before)

    def test_under_timeout(self):
        # A group of its own that is never in the foreground.
        self.type("bash -c 'timeout 100 " + self.command() + "; echo =$?='\n")
        self.wait_for(b"ready")
        self.type("keys for nobody\n")
        time.sleep(0.7)
        pid = self.pid()
        self.assertIn(state(pid), "SR")
        self.assertFalse(self.raw())
        os.kill(pid, signal.SIGTERM)
        self.wait_for(b"=143=")

    def test_stop_and_go(self):
        before = self.modes()
        self.type(self.command() + "\n")
        self.wait_for(b"ready")
        self.is_raw()
        for _ in range(2):
            self.type("\x01z")
            self.wait_for(b"Stopped")
            self.assertEqual(state(self.pid()), "T")
            self.assertEqual(self.modes(), before)
            self.shell_says("echo on$((1))e", b"on1e")
            self.type("fg\n")
            self.is_raw()
            self.echoes("xyz")
        # On in the background, and back.
        self.type("\x01z")
        self.wait_for(b"Stopped")
        self.type("bg\n")
        self.assertTrue(until(lambda: state(self.pid()) in "SR"))
        self.shell_says("echo on$((1))e", b"on1e")
        time.sleep(0.3)
        self.assertEqual(self.modes(), before)
        self.type("fg\n")
        self.is_raw()
        self.type("\x01x")
        self.assertTrue(until(lambda: not self.raw()))
        self.shell_says("echo =$?=", b"=0=")
        self.assertEqual(self.modes(), before)

    def test_pipeline(self):
        # The whole job stops; behind Landlock, which lets no signal out, with a Ctrl-Z for the others.
        self.type("(" + self.command() + ") | cat\n")
        self.wait_for(b"ready")
        self.is_raw()
        self.type("\x01z")
        self.assertTrue(until(lambda: state(self.pid()) == "T"))
        self.type("\x1a")
        self.wait_for(b"Stopped")
        self.type("fg\n")
        self.is_raw()
        self.type(".")
        self.assertTrue(until(lambda: not self.raw()))
        self.shell_says("echo on$((1))e", b"on1e")

    def test_stopped_by_another(self):
        for sig in (signal.SIGSTOP, signal.SIGTSTP):
            before = self.modes()
            self.type(self.command() + "\n")
            self.wait_for(b"ready")
            self.is_raw()
            os.kill(self.pid(), sig)
            self.wait_for(b"Stopped")
            # The modes are others when it goes on.
            self.shell_says("stty -echoctl; echo on$((1))e", b"on1e")
            changed = self.modes()
            self.assertNotEqual(changed[3], before[3])
            self.type("fg\n")
            self.is_raw()
            self.echoes("abc")
            self.type(".")
            self.assertTrue(until(lambda: not self.raw()))
            self.shell_says("echo =$?=", b"=%d=" % base.PASSED)
            self.assertEqual(self.modes(), changed)
            self.shell_says("stty echoctl; echo on$((1))e", b"on1e")
            self.assertEqual(self.modes(), before)

    def test_stop_for_a_moment(self):
        # Nobody has touched the terminal meanwhile: what was found first is what is given back.
        before = self.modes()
        self.type("exec " + self.command() + "\n")
        self.wait_for(b"ready")
        self.is_raw()
        os.kill(self.pid(), signal.SIGSTOP)
        self.assertTrue(until(lambda: state(self.pid()) == "T"))
        os.kill(self.pid(), signal.SIGCONT)
        self.echoes("abc")
        # No shell is left that would let it go on: it is not stopped.
        self.type("\x01z")
        self.is_raw()
        self.echoes("xyz")
        with os.fdopen(os.dup(self.master), "rb"):
            self.type(".")
            self.assertTrue(until(lambda: state(self.shell) == "Z"))
        self.assertEqual(self.modes()[3], before[3])

    def test_tostop(self):
        # Nothing that it writes stops it in the background.
        self.shell_says("stty tostop; echo on$((1))e", b"on1e")
        self.type(self.command() + " &\n")
        self.wait_for(b"ready")
        self.assertIn(state(self.pid()), "SR")
        self.type("kill %1; wait %1; echo =$?=\n")
        self.wait_for(b"=143=")


if __name__ == "__main__":
    base.main()
