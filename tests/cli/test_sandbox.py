#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The sandbox of catnap run from outside: what its threads are, what is refused, who it becomes.

    test_sandbox.py CATNAP GUESTS [unittest options]

Tests that need /dev/kvm, root or another program are skipped without it. tests/unit/test_sandbox.c and
tests/api/test_sandbox.c test what the filters allow.
"""

import ctypes
import errno
import fcntl
import json
import os
import pty
import re
import resource
import select
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

from filtered import unsaid

CATNAP = GUESTS = ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
PASSED = 67
ENV = {**os.environ, "LC_ALL": "C"}
LIBC = ctypes.CDLL(None, use_errno=True)
SYS_SECCOMP, SYS_LANDLOCK_CREATE_RULESET = 317, 444
NO_NEW_PRIVS, SET_SECCOMP, FILTER = 38, 22, 2


def guest(name):
    return os.path.join(GUESTS, name)


def end(how, *args):
    """A guest that ends as @how says; never longer than 20 s."""
    return [CATNAP, "run", guest("end.elf"), "--debug-exit", "0xf4", "-m", "16M", "-c", f"how={how}", "--timeout",
            "20s", *args]


def landlock():
    return LIBC.syscall(SYS_LANDLOCK_CREATE_RULESET, None, 0, 1) > 0


def without(number, error):
    """For preexec_fn: the system call @number fails as it does on a kernel that lacks it."""
    def install():
        code = [(0x20, 0, 0, 0), (0x15, 0, 1, number), (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7fff0000)]
        program = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *c) for c in code))
        prog = ctypes.create_string_buffer(struct.pack("=HxxxxxxQ", len(code), ctypes.addressof(program)))
        if LIBC.prctl(NO_NEW_PRIVS, 1, 0, 0, 0) or LIBC.prctl(SET_SECCOMP, FILTER, prog):
            os._exit(99)
    return install


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)
        os.chmod(self.dir, 0o755)

    def run_it(self, args, **more):
        done = subprocess.run(args, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=30, check=False, env=ENV, cwd=self.dir, **more)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def refused(self, args, status, *words, **more):
        """One line on standard error that has @words; nothing else, and no file made."""
        had = sorted(os.listdir(self.dir))
        code, out, err = self.run_it(args, **more)
        self.assertEqual((code, out), (status, ""), err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("catnap run: "), err)
        for word in words:
            self.assertIn(word, err)
        self.assertEqual(sorted(os.listdir(self.dir)), had)


class Usage(Case):
    def test_values(self):
        for value in ("yes", "", "On", "log,on"):
            self.refused(end("byte", "--sandbox", value), 2, "--sandbox")
        self.refused(end("byte", "--sandbox", "maybe"), 2, "maybe", "on", "off", "log")
        for value in ("", "no-such-user-here", "1:", ":1", "1:2:3", "1x", "1:x", "4294967295", "1:4294967295",
                      "99999999999", "-1", "root:root"):
            self.refused(end("byte", "--user", value, "--stats", "stats"), 2, "--user")
        self.refused(end("byte", "--user", "3999999999"), 2, "--user", "3999999999", "UID:GID")
        self.refused(end("byte", "--chroot", ""), 2, "--chroot")


@unittest.skipUnless(KVM, "no /dev/kvm")
class Running(Case):
    def start(self, *args, how="spin", **more):
        # pylint: disable=consider-using-with
        p = subprocess.Popen(end(how, *args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env=ENV, cwd=self.dir, bufsize=0, **more)
        self.addCleanup(self.kill, p)
        text = {"spin": b"spinning\n", "halt": b"halting\n"}[how]
        seen = b""
        while text not in seen:
            got = p.stdout.read(1)
            self.assertTrue(got, (seen, p.stderr.read() if p.poll() is not None else b""))
            seen += got
        return p

    def kill(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()

    def status(self, task):
        with open(f"/proc/{task}/status", encoding="ascii") as f:
            return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)

    def threads(self, p):
        """name -> what /proc says of it."""
        found = {}
        for task in os.listdir(f"/proc/{p.pid}/task"):
            status = self.status(f"{p.pid}/task/{task}")
            # A worker of KVM's, which newer kernels show as a thread of whoever made the VM. It runs no
            # code of the process.
            if status["Name"].startswith("kvm-"):
                continue
            found["main" if int(task) == p.pid else status["Name"]] = status
        return found

    def settled(self, p, seccomp):
        until = time.monotonic() + 10
        while True:
            threads = self.threads(p)
            if all(t["Seccomp"] == seccomp for t in threads.values()) or time.monotonic() > until:
                return threads
            time.sleep(0.01)

    def test_threads(self):
        for irqchip in ("user", "kernel"):
            p = self.start("--cpus", "2", "--irqchip", irqchip)
            threads = self.settled(p, "2")
            self.assertEqual(sorted(threads), ["catnap-vcpu0", "catnap-vcpu1", "main"])
            for name, t in threads.items():
                self.assertEqual((t["Seccomp"], t["NoNewPrivs"]), ("2", "1"), name)
                for sort in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
                    self.assertEqual(int(t[sort], 16), 0, (name, sort))
            p.terminate()
            self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
            self.assertEqual(p.stderr.read(), b"")

    def test_name(self):
        """Threads and statistics have the name; what is too long is cut in threads' names."""
        p = self.start("--cpus", "2", "--name", "web.server-1", "--stats", "stats")
        self.assertEqual(sorted(self.settled(p, "2")), ["main", "web.serve-vcpu0", "web.serve-vcpu1"])
        p.terminate()
        self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
        with open(os.path.join(self.dir, "stats"), encoding="ascii") as f:
            self.assertEqual(json.load(f)["name"], "web.server-1")
        self.refused(end("byte", "--name", "a b"), 2, "--name", "a b", "letters")

    def test_policies(self):
        """Each way to wait, inside the filters."""
        for policy in ("kernel", "fixed", "always", "off", "adaptive", "adaptive,cpu-max=5%", "adaptive,group=on",
                       "always,group=on"):
            code, _, err = self.run_it([CATNAP, "run", guest("storm.elf"), "--cpus", "3", "--debug-exit", "0xf4",
                                        "-m", "16M", "-c", "cpus=3 rounds=20", "--halt-poll", policy,
                                        "--sandbox", "on", "--timeout", "25s"])
            self.assertEqual((code, err), (PASSED, ""), policy)

    def test_modes(self):
        mine = self.status("self")
        p = self.start("--sandbox", "off")
        for t in self.threads(p).values():
            self.assertEqual((t["Seccomp"], t["NoNewPrivs"], t["CapEff"]),
                             (mine["Seccomp"], mine["NoNewPrivs"], mine["CapEff"]))
        p = self.start("--sandbox", "log")
        for t in self.settled(p, "2").values():
            self.assertEqual((t["Seccomp"], t["NoNewPrivs"], t["CapEff"]), ("2", "1", mine["CapEff"]))
        p.terminate()
        self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)

    def test_all_in_use(self):
        # Every file that a run writes, and every way in which it ends.
        outputs = ["--stats", "stats", "--halt-trace", "trace", "--serial", "file=serial", "--log-file", "log", "-v"]
        for how, status in (("byte", 1), ("later", PASSED), ("cf9", 32), ("triple", 33), ("emulation", 33)):
            for irqchip in ("user", "kernel"):
                args = [o for o in outputs if irqchip == "user" or o not in ("--halt-trace", "trace")]
                code, _, err = self.run_it(end(how, "--irqchip", irqchip, *args))
                self.assertEqual(code, status, (how, irqchip, err))
                with open(os.path.join(self.dir, "stats"), encoding="ascii") as f:
                    self.assertEqual(json.load(f)["irqchip"], irqchip)
        for extra in ((), ("-v",), ("--stats", "-")):
            code, out, err = self.run_it(end("later", *extra))
            self.assertEqual(code, PASSED, err)
            self.assertIn("a line of output\n", out)

    def test_injected_call(self):
        # Another program makes a thread call what it should not: open a file, start a program.
        gdb = shutil.which("gdb")
        if not gdb or os.geteuid():
            self.skipTest("needs gdb and root")
        p = self.start()
        self.settled(p, "2")
        subprocess.run([gdb, "-p", str(p.pid), "-batch", "-ex", "call (int)socket(2,1,0)"], check=False, timeout=60,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertEqual(p.wait(timeout=10), -signal.SIGSYS)

    # -- what it was started with

    def descriptors(self, pid):
        return {int(n): os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}

    def test_inherited_descriptors(self):
        # Of a shell's, an editor's, a supervisor's: a file, a folder, a socket, a pipe, one with a high number.
        precious = os.open(os.path.join(self.dir, "precious"), os.O_CREAT | os.O_RDWR)
        folder = os.open("/", os.O_RDONLY)
        ours, theirs = socket.socketpair()
        reader, writer = os.pipe()
        high = fcntl.fcntl(precious, fcntl.F_DUPFD, 900)
        given = [precious, folder, theirs.fileno(), writer, high]
        names = {os.readlink(f"/proc/self/fd/{fd}") for fd in given}
        p = self.start("--serial", "stdio", "--api-socket", "stats", pass_fds=given)
        self.settled(p, "2")
        self.assertEqual(names & set(self.descriptors(p.pid).values()), set())
        for keeper in self.keepers(p):
            self.assertEqual(names & set(self.descriptors(keeper).values()), set())
        # A process that waits for the end of a pipe does not wait for the VM.
        os.close(writer)
        theirs.close()
        self.assertEqual(os.read(reader, 1), b"")
        self.assertEqual(ours.recv(1), b"")
        p.terminate()
        self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
        ours.close()
        for fd in (precious, folder, high, reader):
            os.close(fd)

    def test_named_descriptors(self):
        # As a shell's >(...) and <(...) give them: an option names them, so they are used.
        reader, writer = os.pipe()
        kernel = os.open(guest("end.elf"), os.O_RDONLY)
        for folder in ("/dev/fd", "/proc/self/fd"):
            code, _, err = self.run_it([CATNAP, "run", f"{folder}/{kernel}", "--debug-exit", "0xf4", "-m", "16M", "-c",
                                        "how=later", "--timeout", "20s", "--serial", f"file={folder}/{writer}"],
                                       pass_fds=[writer, kernel])
            self.assertEqual((code, err), (PASSED, ""))
            self.assertIn(b"a line of output\n", os.read(reader, 65536))
        for fd in (reader, writer, kernel):
            os.close(fd)

    def test_off_leaves_descriptors(self):
        reader, writer = os.pipe()
        p = self.start("--sandbox", "off", pass_fds=[writer])
        self.assertIn(os.readlink(f"/proc/self/fd/{writer}"), self.descriptors(p.pid).values())
        os.close(reader)
        os.close(writer)

    def limits(self, p):
        with open(f"/proc/{p.pid}/limits", encoding="ascii") as f:
            return {m[1]: (m[2], m[3]) for m in re.finditer(r"(?m)^(Max .*?)  +(\S+) +(\S+)", f.read())}

    def test_limits(self):
        mine = resource.getrlimit(resource.RLIMIT_NOFILE)
        p = self.start("--cpus", "2")
        self.settled(p, "2")
        limits = self.limits(p)
        self.assertEqual(limits["Max core file size"], ("0", "0"))
        soft, hard = (int(n) for n in limits["Max open files"])
        self.assertEqual(soft, hard)
        self.assertLess(soft, 150)
        self.assertGreater(soft, max(self.descriptors(p.pid)) + 32)
        p = self.start("--vsock", "cid=3,socket=vsock")
        self.settled(p, "2")
        soft, hard = (int(n) for n in self.limits(p)["Max open files"])
        self.assertEqual(soft, hard)
        self.assertLess(soft, 1300)
        self.assertGreaterEqual(soft, min(1088, mine[1]))
        for mode in ("off", "log"):
            p = self.start("--sandbox", mode)
            soft, hard = self.limits(p)["Max open files"]
            self.assertEqual(int(soft), mine[0])

    # -- the keeper

    def keepers(self, p):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                status = self.status(pid)
            except OSError:
                continue
            if status["PPid"].strip() == str(p.pid) and status["Name"] == "catnap-keeper":
                found.append(int(pid))
        return found

    def until_gone(self, *pids):
        until = time.monotonic() + 10
        while any(os.path.exists(f"/proc/{pid}") for pid in pids) and time.monotonic() < until:
            time.sleep(0.01)
        self.assertFalse([pid for pid in pids if os.path.exists(f"/proc/{pid}")])

    def test_keeper(self):
        disk = os.path.join(self.dir, "disk")
        with open(disk, "wb") as f:
            f.truncate(1 << 20)
        for args in (["--api-socket", "stats"], ["--vsock", "cid=3,socket=vsock"], ["--console", "socket=c"],
                     ["--serial", "stdio"]):
            p = self.start(*args, "--disk", disk)
            self.settled(p, "2")
            keepers = self.keepers(p)
            self.assertEqual(len(keepers), 0 if "stdio" in args else 1, args)
            for keeper in keepers:
                status = self.status(keeper)
                self.assertEqual((status["Seccomp"], status["NoNewPrivs"], int(status["CapEff"], 16)), ("2", "1", 0))
                # No disk, no /dev/kvm, no standard output: sockets, folders' and sockets' names, who is watched.
                for what in self.descriptors(keeper).values():
                    self.assertTrue(what.startswith((self.dir, "socket:", "anon_inode:[pidfd]")), what)
                    self.assertNotEqual(what, disk)
            # Signals that Ctrl-C, Ctrl-Z and a hangup send to a whole group are not for it.
            for keeper in keepers:
                for sig in (signal.SIGINT, signal.SIGTSTP, signal.SIGHUP, signal.SIGQUIT, signal.SIGTERM):
                    os.kill(keeper, sig)
                time.sleep(0.05)
                self.assertIn(self.status(keeper)["State"][0], "SR")
            p.terminate()
            self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
            # It has gone before: nobody need wait for it.
            self.assertFalse([k for k in keepers if os.path.exists(f"/proc/{k}")])
            self.assertEqual(os.listdir(self.dir), ["disk"])
            self.assertEqual(unsaid(p.stderr.read().decode()), "")

    def test_keeper_after_sigkill(self):
        for sig in (signal.SIGKILL, signal.SIGSYS):
            p = self.start("--api-socket", "stats", "--vsock", "cid=3,socket=vsock")
            self.settled(p, "2")
            keepers = self.keepers(p)
            self.assertEqual(sorted(os.listdir(self.dir)), ["stats", "vsock"])
            p.send_signal(sig)
            self.assertEqual(p.wait(timeout=10), -sig)
            self.until_gone(*keepers)
            self.assertEqual(os.listdir(self.dir), [])

    def test_keeper_killed(self):
        # The VM runs on; its sockets stay behind, and are replaced at the next start.
        p = self.start("--api-socket", "stats")
        self.settled(p, "2")
        for keeper in self.keepers(p):
            os.kill(keeper, signal.SIGKILL)
        time.sleep(0.1)
        self.assertIsNone(p.poll())
        p.terminate()
        self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
        self.assertEqual(os.listdir(self.dir), ["stats"])
        self.assertEqual(self.run_it(end("later", "--api-socket", "stats"))[0], PASSED)
        self.assertEqual(os.listdir(self.dir), [])

    def test_keeper_stopped(self):
        # Nobody waits for it without a limit.
        p = self.start("--api-socket", "stats")
        self.settled(p, "2")
        for keeper in self.keepers(p):
            os.kill(keeper, signal.SIGSTOP)
            self.addCleanup(os.kill, keeper, signal.SIGKILL)
        p.terminate()
        self.assertEqual(p.wait(timeout=15), 128 + signal.SIGTERM)

    def test_keeper_user_and_root(self):
        # The folder was opened before; so who may remove the socket there does it, wherever the VM is by then.
        if os.geteuid():
            self.skipTest("needs root")
        root = os.path.join(self.dir, "root")
        os.mkdir(root)
        for mode in ("on", "off"):
            p = self.start("--api-socket", "stats", "--user", "1234:5678", "--chroot", root, "--sandbox", mode)
            self.settled(p, "0" if mode == "off" else "2")
            self.assertEqual(sorted(os.listdir(self.dir)), ["root", "stats"])
            p.terminate()
            self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
            self.assertEqual(os.listdir(self.dir), ["root"])

    def on_terminal(self, *args):
        """Started on a terminal of its own; its process, the terminal's both ends, its modes before."""
        master, slave = pty.openpty()
        self.addCleanup(os.close, master)
        self.addCleanup(os.close, slave)
        before = termios.tcgetattr(slave)
        before[6][termios.VINTR] = b"\x0b"
        termios.tcsetattr(slave, termios.TCSANOW, before)
        before = termios.tcgetattr(slave)

        def control():
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        p = subprocess.Popen(end("spin", *args), stdin=slave, stdout=slave, stderr=subprocess.PIPE, env=ENV, cwd=self.dir,
                             preexec_fn=control)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.wait(), p.stderr.close()))
        seen = b""
        while b"spinning" not in seen:
            self.assertTrue(select.select([master], [], [], 10)[0], seen)
            seen += os.read(master, 4096)
        self.assertFalse(termios.tcgetattr(slave)[3] & termios.ISIG)
        return p, slave, before

    def until_modes(self, slave, modes):
        until = time.monotonic() + 10
        while termios.tcgetattr(slave) != modes and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(termios.tcgetattr(slave), modes)

    def test_terminal_after_a_sudden_end(self):
        for mode in ("on", "off"):
            for sig in (signal.SIGKILL, signal.SIGSYS, signal.SIGSEGV, signal.SIGBUS):
                p, slave, before = self.on_terminal("--sandbox", mode)
                p.send_signal(sig)
                self.assertEqual(p.wait(timeout=10), -sig)
                self.until_modes(slave, before)

    def test_terminal_of_a_shell_that_was_quicker(self):
        p, slave, before = self.on_terminal()
        keepers = self.keepers(p)
        self.assertEqual(len(keepers), 1)
        os.kill(keepers[0], signal.SIGSTOP)
        p.kill()
        p.wait()
        own = list(before)
        own[3] &= ~(termios.ICANON | termios.ECHO)  # as a shell that edits lines has it
        termios.tcsetattr(slave, termios.TCSANOW, own)
        own = termios.tcgetattr(slave)
        os.kill(keepers[0], signal.SIGCONT)
        self.until_gone(*keepers)
        self.assertEqual(termios.tcgetattr(slave), own)

    def test_terminal_after_a_forbidden_call(self):
        gdb = shutil.which("gdb")
        if not gdb or os.geteuid():
            self.skipTest("needs gdb and root")
        p, slave, before = self.on_terminal()
        self.settled(p, "2")
        subprocess.run([gdb, "-p", str(p.pid), "-batch", "-ex", "call (int)socket(2,1,0)"], check=False, timeout=60,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.assertEqual(p.wait(timeout=10), -signal.SIGSYS)
        self.until_modes(slave, before)

    # -- hosts that lack something

    def test_no_seccomp(self):
        lacks = without(SYS_SECCOMP, errno.ENOSYS)
        for mode in ("on", "log"):
            self.refused(end("byte", "--sandbox", mode, "--stats", "stats"), 1, "--sandbox", "seccomp",
                         preexec_fn=lacks)
        # Not asked for: one line, and it goes on.
        code, _, err = self.run_it(end("byte"), preexec_fn=lacks)
        self.assertEqual((code, err.count("\n")), (1, 1), err)
        self.assertIn("warning", err)
        self.assertIn("seccomp", err)
        self.assertEqual(self.run_it(end("byte", "--sandbox", "off"), preexec_fn=lacks), (1, "", ""))

    def test_no_landlock(self):
        for error in (errno.ENOSYS, errno.EOPNOTSUPP):
            lacks = without(SYS_LANDLOCK_CREATE_RULESET, error)
            self.assertEqual(self.run_it(end("byte", "--sandbox", "on"), preexec_fn=lacks), (1, "", ""))
            code, _, err = self.run_it(end("byte", "-v"), preexec_fn=lacks)
            self.assertEqual(code, 1)
            self.assertIn("Landlock", err)

    def test_check(self):
        code, out, _ = self.run_it([CATNAP, "check"])
        self.assertEqual(code, 0)
        self.assertRegex(out, r"(?m)^ok +seccomp filters +yes$")
        self.assertRegex(out, r"(?m)^ok +Landlock +yes$" if landlock() else r"(?m)^less +Landlock +no$")
        _, out, _ = self.run_it([CATNAP, "check"], preexec_fn=without(SYS_SECCOMP, errno.ENOSYS))
        self.assertRegex(out, r"(?m)^less +seccomp filters +no$")

    # -- those who start as root

    def test_user(self):
        if os.geteuid():
            self.skipTest("needs root")
        for value, uid, gid in (("1234:5678", 1234, 5678), ("nobody", None, None)):
            for mode in ("on", "off", "log"):
                p = self.start("--user", value, "--sandbox", mode, "--stats", "stats")
                if uid is None:
                    uid, gid = (int(subprocess.check_output(["id", o, "nobody"])) for o in ("-u", "-g"))
                for t in self.settled(p, "0" if mode == "off" else "2").values():
                    self.assertEqual(t["Uid"].split(), [str(uid)] * 4)
                    self.assertEqual(t["Gid"].split(), [str(gid)] * 4)
                    self.assertEqual(t["Groups"].strip(), "")
                    self.assertEqual(int(t["CapEff"], 16) | int(t["CapPrm"], 16), 0)
                p.terminate()
                self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
                # It was opened as root, before.
                self.assertGreater(os.path.getsize(os.path.join(self.dir, "stats")), 100)
                self.assertEqual(os.stat(os.path.join(self.dir, "stats")).st_uid, 0)

    def test_chroot(self):
        if os.geteuid():
            self.skipTest("needs root")
        root = os.path.join(self.dir, "root")
        os.mkdir(root)
        for mode in ("on", "off", "log"):
            p = self.start("--chroot", root, "--user", "1234:5678", "--sandbox", mode, "--stats", "stats")
            self.settled(p, "0" if mode == "off" else "2")
            for link in ("root", "cwd"):
                self.assertEqual(os.readlink(f"/proc/{p.pid}/{link}"), root)
            p.terminate()
            self.assertEqual(p.wait(timeout=10), 128 + signal.SIGTERM)
            self.assertGreater(os.path.getsize(os.path.join(self.dir, "stats")), 100)

    def test_recipe(self):
        """The commands of docs/sandbox.md, as they stand there."""
        if os.geteuid() or subprocess.run(["unshare", "--mount", "--net", "true"], check=False,
                                          stderr=subprocess.DEVNULL).returncode:
            self.skipTest("needs root and namespaces")
        page = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../docs/sandbox.md")
        with open(page, encoding="utf-8") as f:
            recipe = re.search(r"(?s)## An empty root\n.*?```sh\n(.*?)```", f.read())[1]
        self.assertIn("--chroot", recipe)
        shutil.copy(guest("end.elf"), os.path.join(self.dir, "kernel.elf"))
        # The one difference: a catnap that is not installed, and /run of its own.
        shell = ('mount -t tmpfs none /run\nPATH=%s:$PATH\n%s' % (os.path.dirname(CATNAP), recipe))
        # pylint: disable=consider-using-with
        p = subprocess.Popen(["unshare", "--mount", "sh", "-eu", "-c", shell], stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENV, cwd=self.dir)
        self.addCleanup(self.kill, p)
        run = None
        until = time.monotonic() + 20
        while not run and time.monotonic() < until:
            self.assertIsNone(p.poll(), p.stderr.read() if p.poll() is not None else b"")
            run = self.descendant(p.pid, "catnap")
        self.assertTrue(run)
        while self.status(run)["Seccomp"] != "2" and time.monotonic() < until:
            time.sleep(0.01)
        run_dir = f"/proc/{p.pid}/root/run/catnap"
        self.assertEqual(sorted(os.listdir(run_dir)), ["api", "serial"])
        self.assertEqual(os.listdir(f"/proc/{run}/root"), [])
        self.assertEqual(self.status(run)["Uid"].split(), ["64123"] * 4)
        self.assertNotEqual(os.readlink(f"/proc/{run}/ns/net"), os.readlink("/proc/self/ns/net"))
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(f"{run_dir}/api")
            s.sendall(b"GET /catnap/stats HTTP/1.1\r\nHost: x\r\n\r\n")
            self.assertRegex(s.recv(4096), rb"^HTTP/1.1 200")
        os.kill(run, signal.SIGTERM)
        self.assertEqual(p.wait(timeout=20), 128 + signal.SIGTERM, p.stderr.read())

    def descendant(self, pid, name):
        """A process called @name, below @pid or @pid itself."""
        below = {pid}
        while True:
            more = set()
            for other in filter(str.isdigit, os.listdir("/proc")):
                try:
                    status = self.status(other)
                except OSError:
                    continue
                if int(other) in below and status["Name"] == name:
                    return int(other)
                if int(status["PPid"]) in below and int(other) not in below:
                    more.add(int(other))
            if not more:
                return None
            below |= more

    def test_chroot_missing(self):
        none = os.path.join(self.dir, "none")
        for path, words in ((none, "No such file"), ("/etc/passwd", "Not a directory")):
            self.refused(end("byte", "--chroot", path, "--stats", "stats", "--serial", "file=serial"), 1, "--chroot",
                         path, words)

    def test_not_root(self):
        if os.geteuid() or not shutil.which("setpriv"):
            self.skipTest("needs root and setpriv(1)")
        few = ["setpriv", "--bounding-set=-sys_chroot,-setuid,-setgid"]
        self.refused([*few, *end("byte", "--chroot", self.dir, "--stats", "stats")], 1, "--chroot", "not permitted")
        self.refused([*few, *end("byte", "--user", "1:1", "--stats", "stats")], 1, "--user", "1:1", "not permitted")


def main():
    global CATNAP, GUESTS
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    CATNAP, GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    program = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not program.result.wasSuccessful():
        sys.exit(1)
    if not KVM:
        print("skipped in part: no /dev/kvm", file=sys.stderr)
        sys.exit(77)


if __name__ == "__main__":
    main()
