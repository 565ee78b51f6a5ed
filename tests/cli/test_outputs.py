#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests what catnap's commands write because an option says so: never over another file of the same command line, never
waiting without a limit, and nothing left of what did not come to be.

    test_outputs.py CATNAP GUESTS [unittest options]
"""

import contextlib
import errno
import fcntl
import itertools
import json
import os
import random
import resource
import shutil
import signal
import stat
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position
from filtered import Call, failing, unsaid  # noqa: E402 pylint: disable=wrong-import-position

def read(*path):
    with open(os.path.join(*path), "rb") as f:
        return f.read()


KCMP = 312
PRECIOUS = b"precious\n" * 512  # 4608 bytes: nine sectors

# option, how its value is made of a path, and whether the guest or this run writes there
INPUTS = [("--kernel", "{}", False), ("--initramfs", "{}", False), ("--disk", "path={},readonly=on", False), ("--disk", "path={}", True)]
OUTPUTS = [("--stats", "{}"), ("--halt-trace", "{}"), ("--log-file", "{}"), ("--dump-dtb", "{}"), ("--serial", "file={}"),
           ("--console", "file={}")]
SOCKETS = [("--api-socket", "{}"), ("--serial", "socket={}"), ("--console", "socket={}"),
           ("--vsock", "cid=3,socket={}")]


class Files(base.Case):
    """Different options, the same file: status 2, one line that names both, and everything as it was."""

    def setUp(self):
        super().setUp()
        self.file("kernel.elf", read(base.guest("end.elf")))

    def state(self):
        out = {}
        for name in sorted(os.listdir(self.dir)):
            path = os.path.join(self.dir, name)
            st = os.lstat(path)
            data = read(path) if stat.S_ISREG(st.st_mode) else None
            out[name] = (st.st_mode, st.st_ino, st.st_size, st.st_mtime_ns, data)
        return out

    def args(self, *pairs):
        options = [o for pair in pairs for o in pair]
        return base.vmm(*([] if "--kernel" in options else ["kernel.elf"]), "-m", "16M", "--debug-exit", "0xf4", "-c", "how=byte",
                        "--timeout", "20s", *options)

    def clash(self, *pairs, words=None, **more):
        before = self.state()
        self.refused(self.args(*pairs), 2, *(words or [pair[0] for pair in pairs]), "same file", **more)
        self.assertEqual(self.state(), before)

    def aliases(self):
        """Other names of the file f."""
        path = self.file("f", PRECIOUS)
        os.link(path, os.path.join(self.dir, "hard"))
        os.symlink("f", os.path.join(self.dir, "soft"))
        os.symlink(".", os.path.join(self.dir, "folder"))
        return ["f", "./f", path, "hard", "soft", "folder/f"]

    def test_inputs(self):
        names = self.aliases()
        for (first, form1, _), (second, form2) in itertools.product(INPUTS, OUTPUTS):
            for name in names:
                self.clash((first, form1.format("f")), (second, form2.format(name)))
            self.clash((second, form2.format("f")), (first, form1.format("soft")))

    def test_outputs(self):
        names = self.aliases()
        for (first, form1), (second, form2) in itertools.combinations(OUTPUTS, 2):
            if first == second:
                continue
            for name in names:
                self.clash((first, form1.format("f")), (second, form2.format(name)))

    def test_outputs_not_there(self):
        # Neither of them is: then neither is made.
        os.symlink(".", os.path.join(self.dir, "folder"))
        os.symlink("new", os.path.join(self.dir, "dangling"))
        os.symlink(os.path.join(self.dir, "folder/dangling"), os.path.join(self.dir, "far"))
        for (first, form1), (second, form2) in itertools.combinations(OUTPUTS + SOCKETS, 2):
            if first == second:
                continue
            for name in ("new", "./new", "folder/new", "dangling", "far"):
                self.clash((first, form1.format("new")), (second, form2.format(name)))

    def test_sockets(self):
        self.aliases()
        for (first, form1), (second, form2, _) in itertools.product(SOCKETS, INPUTS):
            self.clash((first, form1.format("soft")), (second, form2.format("f")))

    def test_disk_that_is_booted(self):
        self.file("f", PRECIOUS)
        for option in ("--kernel", "--initramfs"):
            self.clash((option, "f"), ("--disk", "f"))

    def test_descriptors(self):
        # /dev/fd/N, and what else leads to an open file.
        path = self.file("f", PRECIOUS)
        with open(path, "r+b") as f:
            fd = f.fileno()
            for name in (f"/dev/fd/{fd}", f"/proc/self/fd/{fd}", f"/proc/thread-self/fd/{fd}"):
                for option, form in OUTPUTS:
                    self.clash((option, form.format(name)), ("--disk", "path=f"), pass_fds=[fd])
                self.clash(("--stats", name), ("--halt-trace", name), pass_fds=[fd])

    def redirected(self, words, *pairs, fd, how):
        """Standard stream @fd is f, opened as @how says."""
        before = self.state()
        with open(os.path.join(self.dir, "f"), how) as f:
            streams = {0: subprocess.DEVNULL, 1: subprocess.PIPE, 2: subprocess.PIPE, fd: f}
            done = subprocess.run(self.args(*pairs), stdin=streams[0], stdout=streams[1], stderr=streams[2], cwd=self.dir,
                                  timeout=30, check=False, env=base.ENV)
        self.assertEqual(done.returncode, 2, done.stderr)
        if fd != 2:
            for word in words:
                self.assertIn(word, done.stderr.decode())
            self.assertEqual(self.state(), before)

    def test_redirected(self):
        self.file("f", PRECIOUS)
        for option, form, _ in INPUTS:
            for how in ("r+b", "ab"):
                self.redirected([option, "standard output"], (option, form.format("f")), fd=1, how=how)
        for option, form in OUTPUTS:
            self.redirected([option, "standard output"], (option, form.format("f")), fd=1, how="r+b")
            self.redirected([option, "standard input"], (option, form.format("f")), fd=0, how="rb")
            self.redirected([], (option, form.format("f")), fd=2, how="r+b")

    def test_block_device(self):
        # By its number, whatever it is called.
        if os.geteuid() or not os.path.exists("/dev/loop0"):
            self.skipTest("needs root and a loop device")
        rdev = os.stat("/dev/loop0").st_rdev
        for name in ("one", "two"):
            try:
                os.mknod(os.path.join(self.dir, name), stat.S_IFBLK | 0o600, rdev)
            except OSError as e:
                self.skipTest(f"mknod: {e}")
        for option, form in OUTPUTS:
            self.clash(("--disk", "path=one"), (option, form.format("two")))

    def dump(self, *pairs):
        """Without a kernel."""
        done = subprocess.run(base.vmm(*[o for pair in pairs for o in pair]), cwd=self.dir, timeout=30, check=False, env=base.ENV,
                              capture_output=True, stdin=subprocess.DEVNULL)
        return done.returncode, done.stdout, unsaid(done.stderr.decode())

    def tables(self, *pairs):
        """Returns what --dump-acpi makes, of its own accord."""
        if not base.KVM:
            self.skipTest("no /dev/kvm")
        self.assertEqual(self.dump(("--dump-acpi", "all"), *pairs), (0, b"", ""))
        names = sorted(os.listdir(os.path.join(self.dir, "all")))
        shutil.rmtree(os.path.join(self.dir, "all"))
        return names

    def tree(self):
        out = {}
        for folder, folders, files in os.walk(self.dir):
            out[folder] = sorted(folders + files)
            for name in files:
                path = os.path.join(folder, name)
                out[path] = (os.lstat(path).st_ino, os.lstat(path).st_mtime_ns, read(path))
        return out

    def test_dump_acpi(self):
        # Its files have names of their own: each is compared before one of them is made or replaced.
        tables = os.path.join(self.dir, "tables")
        for name in self.tables():
            for make in (os.link, os.symlink, None):
                os.mkdir(tables)
                path = os.path.join(tables, name)
                if make:
                    make(self.file("f", PRECIOUS), path)
                for other in ("rsdp.dat", "mcfg.dat"):
                    if other != name:
                        self.file(os.path.join(tables, other), b"old")
                before = self.tree()
                for option, form in [*((option, form) for option, form, _ in INPUTS), *OUTPUTS]:
                    if make or option in dict(OUTPUTS):
                        self.clash((option, form.format("f" if make else path)), ("--dump-acpi", "tables"), words=["--dump-acpi", option, name])
                if not make:
                    for option, form in SOCKETS:
                        self.clash((option, form.format(path)), ("--dump-acpi", "tables"), words=["--dump-acpi", option, name])
                self.assertEqual(self.tree(), before)
                shutil.rmtree(tables)
            # The folder is not there yet: nobody would see it later.
            self.clash(("--dump-dtb", f"tables/{name}"), ("--dump-acpi", "./tables"), words=["--dump-acpi", "--dump-dtb", name])

    def test_dump_acpi_mmio(self):
        # A table that is not made is nobody's name.
        every, mmio = self.tables(), self.tables(("--transport", "mmio"))
        for name in set(every) - set(mmio):
            self.assertEqual(self.dump(("--transport", "mmio"), ("--dump-acpi", "t"), ("--dump-dtb", f"t/{name}")), (0, b"", ""))
            self.assertEqual(sorted(os.listdir(os.path.join(self.dir, "t"))), every)
            shutil.rmtree(os.path.join(self.dir, "t"))

    def test_dump_fails(self):
        # One cannot be opened: the others stay as they were, or are not made.
        tables = os.path.join(self.dir, "t")
        for name in self.tables():
            os.makedirs(os.path.join(tables, name))
            self.file("t/rsdp.dat" if name != "rsdp.dat" else "t/dsdt.dat", b"old")
            before = self.tree()
            status, out, err = self.dump(("--dump-acpi", "t"), ("--dump-dtb", "dtb"))
            self.assertEqual((status, out, err.count("\n")), (1, b"", 1))
            self.assertIn(f"--dump-acpi: t/{name}: Is a directory", err)
            self.assertEqual(self.tree(), before)
            shutil.rmtree(tables)
        status, out, err = self.dump(("--dump-acpi", "new"), ("--dump-dtb", "none/dtb"))
        self.assertEqual((status, out), (1, b""), err)
        self.assertEqual(os.listdir(self.dir), ["kernel.elf"])

    def test_dump_acpi_again(self):
        # A file that was replaced leaves its number to the next that is made, which is no other's.
        if not base.KVM:
            self.skipTest("no /dev/kvm")
        tables = os.path.join(self.dir, "tables")
        self.assertEqual(self.dump(("--transport", "mmio"), ("--dump-acpi", "tables")), (0, b"", ""))
        first = sorted(os.listdir(tables))
        self.assertEqual(self.dump(("--dump-acpi", "tables")), (0, b"", ""))
        every = sorted(os.listdir(tables))
        self.assertGreater(len(every), len(first))
        for gone in every:
            os.unlink(os.path.join(tables, gone))
            self.assertEqual(self.dump(("--dump-acpi", "tables"), ("--dump-dtb", "tables/dtb")), (0, b"", ""))
            os.unlink(os.path.join(tables, "dtb"))
            self.assertEqual(sorted(os.listdir(tables)), every)

    def test_cannot_be_looked_at(self):
        # Nobody knows whether these are one file: opening them says what is wrong.
        os.symlink("b", os.path.join(self.dir, "a"))
        os.symlink("a", os.path.join(self.dir, "b"))
        for one, other, said in (("a", "b", "Too many levels"), ("a", "a", "Too many levels"),
                                 ("/dev/fd/98", "/dev/fd/99", "Bad file descriptor"), ("none/a", "none/b", "No such file")):
            for first, second in itertools.permutations(("--stats", "--halt-trace"), 2):
                self.refused(self.args((first, one), (second, other)), 1, said)
        closed = os.path.join(self.dir, "closed")
        os.mkdir(closed, 0)
        # A user who is not root cannot remove what he cannot read.
        self.addCleanup(os.chmod, closed, 0o700)
        path = os.path.join(closed, "x")
        more = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
        # Below a folder that is closed to nobody the command cannot be started.
        with contextlib.suppress(PermissionError):
            subprocess.run([base.CATNAP, "--version"], check=True, capture_output=True, **more)
            self.refused(self.args(("--stats", path), ("--halt-trace", path)), 1, "Permission denied", **more)

    def test_behind_a_loop_device(self):
        """The file that a loop device shows is that device's disk."""
        if not base.KVM or os.geteuid() != 0:
            self.skipTest("needs root and /dev/kvm")
        self.file("f", PRECIOUS)
        found = subprocess.run(["losetup", "-f", "--show", "f"], cwd=self.dir, capture_output=True, text=True, check=False)
        if found.returncode != 0:
            self.skipTest("no loop device")
        device = found.stdout.strip()
        try:
            for option, value in (("--halt-trace", "f"), ("--stats", "f"), ("--serial", "file=f")):
                done = subprocess.run(self.args(("--disk", f"path={device}"), (option, value)), cwd=self.dir, timeout=30,
                                      check=False, env=base.ENV, capture_output=True, stdin=subprocess.DEVNULL)
                self.assertEqual((done.returncode, done.stderr.count(b"\n")), (2, 1), done.stderr)
                self.assertIn(b"--disk", done.stderr)
                self.assertEqual(read(self.dir, "f"), PRECIOUS)
        finally:
            subprocess.run(["losetup", "-d", device], check=True)

    def test_allowed(self):
        if not base.KVM:
            self.skipTest("no /dev/kvm")
        self.file("f", PRECIOUS)
        for pairs in ([("--stats", "/dev/null"), ("--halt-trace", "/dev/null"), ("--serial", "file=/dev/null")],
                      [("--initramfs", "f"), ("--disk", "path=f,readonly=on")],
                      [("--disk", "path=f,readonly=on"), ("--disk", "path=f,readonly=on")],
                      [("--stats", "a"), ("--halt-trace", "b"), ("--log-file", "c"), ("--serial", "file=d")]):
            done = subprocess.run(self.args(*pairs), cwd=self.dir, timeout=30, check=False, env=base.ENV, capture_output=True,
                                  stdin=subprocess.DEVNULL)
            self.assertEqual((done.returncode, unsaid(done.stderr.decode())), (1, ""), pairs)

    def test_standard_output_by_name(self):
        # Statistics where the guest's output is: after it, and neither is lost.
        if not base.KVM:
            self.skipTest("no /dev/kvm")
        for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            for how in ("wb", "ab"):
                self.file("out", b"before\n")
                with open(os.path.join(self.dir, "out"), how) as out:
                    done = subprocess.run(base.end("later", "--stats", name), stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=subprocess.PIPE, cwd=self.dir, timeout=30, check=False, env=base.ENV)
                self.assertEqual((done.returncode, done.stderr), (base.PASSED, b""))
                text = read(self.dir, "out")
                lines = b"a line of output\n" * 100 + b"ok\n"
                self.assertTrue(text.startswith((b"before\n" if how == "ab" else b"") + lines), name)
                self.assertEqual(json.loads(text[text.index(b"{"):])["exit"]["reason"], "debug")
        # An appended log beside an appended standard error.
        with open(os.path.join(self.dir, "log"), "ab") as log:
            done = subprocess.run(base.end("byte", "--log-file", "log", "--log-level", "debug"), stdin=subprocess.DEVNULL,
                                  stderr=log, stdout=subprocess.PIPE, cwd=self.dir, timeout=30, check=False, env=base.ENV)
        self.assertEqual(done.returncode, 1)

    def test_both_streams(self):
        # >out 2>&1 is one open file, also where a filter refuses to compare; the same name twice is two.
        if not base.KVM:
            self.skipTest("no /dev/kvm")
        for error in (errno.EPERM, errno.ENOSYS):
            for twice in (False, True):
                self.file("out", b"")
                with open(os.path.join(self.dir, "out"), "wb") as out, open(os.path.join(self.dir, "out"), "r+b") as again:
                    done = subprocess.run(base.end("byte", "--stats", "-"), stdin=subprocess.DEVNULL, stdout=out,
                                          stderr=again if twice else out, cwd=self.dir, timeout=30, check=False, env=base.ENV,
                                          preexec_fn=failing([Call(KCMP)], error))
                self.assertEqual(done.returncode, 2 if twice else 1)
                self.assertIn(b"same file" if twice else b"{", read(self.dir, "out"))


class Others(base.Case):
    """The other commands."""

    def run_it(self, *args, **more):
        more.setdefault("stdout", subprocess.PIPE)
        return subprocess.run([base.CATNAP, *args], stdin=more.pop("stdin", subprocess.DEVNULL), stderr=subprocess.PIPE,
                              cwd=self.dir, timeout=60, check=False, env=base.ENV, **more)

    def test_bench_same(self):
        path = self.file("f", PRECIOUS)
        os.link(path, os.path.join(self.dir, "hard"))
        os.symlink("new", os.path.join(self.dir, "dangling"))
        for a, b in (("f", "hard"), ("new", "./new"), ("new", "dangling"), ("/dev/stdout", "-")):
            done = self.run_it("bench", "event", "--json", a, "--html", b)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count(b"\n")), (2, b"", 1), done.stderr)
            self.assertIn(b"--json", done.stderr)
            self.assertIn(b"--html", done.stderr)
        with open(path, "r+b") as f:
            done = self.run_it("bench", "event", "--json", "hard", stdout=f)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"standard output", done.stderr)
        self.assertEqual(read(path), PRECIOUS)
        self.assertEqual(sorted(os.listdir(self.dir)), ["dangling", "f", "hard"])

    def test_bench_cannot_write(self):
        # At once and once: before anything is measured.
        for option in ("--json", "--html"):
            for path in ("/none/none", self.dir):
                done = self.run_it("bench", "event", "--samples", "100000", "--rounds", "1000", option, path)
                self.assertEqual((done.returncode, done.stdout), (1, b""))
                self.assertEqual(done.stderr.count(b"\n"), 1, done.stderr)
                self.assertIn(f"{option}: {path}".encode(), done.stderr)

    @unittest.skipUnless(base.KVM, "no /dev/kvm")
    def test_bench_writes(self):
        path = self.file("f", PRECIOUS)
        os.chmod(path, 0o640)
        done = self.run_it("bench", "timer", "--mode", "user:off", "--samples", "5", "--rounds", "1", "--gap", "1ms", "--json", "f",
                           "--html", "new")
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertIn("runs", json.loads(read(path)))
        self.assertEqual(stat.S_IMODE(os.stat(path).st_mode), 0o640)
        self.assertEqual(sorted(os.listdir(self.dir)), ["f", "new"])
        # A full disk is told, with the table printed all the same.
        if os.path.exists("/dev/full"):
            done = self.run_it("bench", "timer", "--mode", "user:off", "--samples", "5", "--rounds", "1", "--gap", "1ms", "--json",
                               "/dev/full")
            self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1), done.stderr)
            self.assertIn(b"timer", done.stdout)

    @unittest.skipUnless(base.KVM, "no /dev/kvm")
    def test_bench_killed(self):
        # Its old results are whole, and nothing is beside them.
        self.file("f", PRECIOUS)
        for sig in (signal.SIGTERM, signal.SIGUSR1, signal.SIGALRM):
            p = subprocess.Popen([base.CATNAP, "bench", "event", "--json", "f", "--html", "new"], stdin=subprocess.DEVNULL,
                                 stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.dir, env=base.ENV)
            try:
                until = time.monotonic() + 30
                while len(os.listdir(self.dir)) < 3 and time.monotonic() < until:
                    time.sleep(0.01)
                p.send_signal(sig)
                p.wait(60)
            finally:
                p.kill()
                p.wait()
            self.assertFalse([n for n in os.listdir(self.dir) if n.startswith(".")])
            # The results until then are written, if there are any; never half of them.
            if p.returncode == -sig and read(self.dir, "f") != PRECIOUS:
                json.loads(read(self.dir, "f"))

    def test_replay_same(self):
        trace = b"halt_ns\n" + b"100000\n" * 10
        path = self.file("t", trace)
        for args in (["t"], ["-"], ["/dev/stdin"]):
            for fd in (1, 2):
                with open(path, "ab") as out, open(path, "rb") as given:
                    done = subprocess.run([base.CATNAP, "replay", *args], stdin=given, cwd=self.dir, timeout=30, check=False,
                                          stdout=out if fd == 1 else subprocess.PIPE, stderr=out if fd == 2 else subprocess.PIPE,
                                          env=base.ENV)
                self.assertEqual(done.returncode, 2)
                if fd == 1:
                    self.assertIn(b"standard output", done.stderr)
                    self.assertEqual(read(path), trace)
                self.file("t", trace)

    def test_replay_fifo(self):
        os.mkfifo(os.path.join(self.dir, "t"))
        p = subprocess.Popen([base.CATNAP, "replay", "t"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             cwd=self.dir, env=base.ENV)
        try:
            self.assertRegex(p.stderr.readline(), rb"^catnap replay: t: .*FIFO.*\n$")
            with open(os.path.join(self.dir, "t"), "wb") as f:
                f.write(b"halt_ns\n100000\n")
            out, _ = p.communicate(timeout=30)
            self.assertEqual((p.returncode, out.count(b"\n")), (0, 2))
        finally:
            p.kill()
            p.wait()


class Sending(base.Run):
    """With pipes."""

    @staticmethod
    def end(how, timeout, *args):
        return base.vmm(base.guest("end.elf"), "--debug-exit", "0xf4", "-m", "16M", "-c", f"how={how}", "--timeout", timeout, *args)

    def fifo(self, name="fifo"):
        path = os.path.join(self.dir, name)
        os.mkfifo(path)
        return path

    def stuck(self, path, leave=0):
        """A reader of the FIFO @path who does not read, and no room in it but for @leave bytes."""
        r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        self.addCleanup(os.close, r)
        w = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(w, b"x" * 4096)
        if leave:
            os.read(r, leave)
        return r, w

    WRITERS = [("--stats", "{}"), ("--halt-trace", "{}"), ("--log-file", "{}"), ("--serial", "file={}"), ("--console", "file={}"),
               ("--dump-dtb", "{}")]


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Fifos(Sending):
    """A FIFO without a reader is waited for within --timeout, and said."""

    def waiting(self, option, form, *args):
        p = self.start(base.vmm(base.guest("end.elf"), "-m", "16M", "-c", "how=later", "--debug-exit", "0xf4", option, form.format("fifo"),
                                "--api-socket", "socket", *args))
        line = p.stderr.readline().decode()
        self.assertIn(f"{option}: fifo", line)
        self.assertIn("reader", line)
        return p

    def test_nobody(self):
        self.fifo()
        for option, form in self.WRITERS:
            p = self.waiting(option, form, "--timeout", "300ms")
            self.ends(p, 124, within=30)
            self.assertIn(b"--timeout", p.stderr.read())
            self.assertEqual(os.listdir(self.dir), ["fifo"])
            for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2):
                p = self.waiting(option, form)
                p.send_signal(sig)
                self.ends(p, -sig, within=30)
                self.assertEqual(os.listdir(self.dir), ["fifo"])

    def test_reader_comes(self):
        path = self.fifo()
        for option, form in self.WRITERS:
            p = self.waiting(option, form, "--timeout", "60s")
            with open(path, "rb") as f:
                text = f.read()
            self.ends(p, base.PASSED, within=30)
            begin = {"--stats": b"{", "--halt-trace": b"halt_ns", "--serial": b"a line", "--dump-dtb": b"\xd0\x0d\xfe\xed"}
            self.assertTrue(text.startswith(begin.get(option, b"")), (option, text[:50]))

    def test_reader_goes(self):
        # Lost, and no reason to end.
        path = self.fifo()
        for option, form in self.WRITERS[1:5]:
            p = self.waiting(option, form, "--timeout", "60s")
            os.close(os.open(path, os.O_RDONLY))
            self.ends(p, base.PASSED, within=30)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Unread(Sending):
    """Nobody reads: it ends all the same, and says what is lost."""

    def ended(self, p, how, word):
        """By a signal, or by --timeout."""
        if how == signal.SIGTERM:
            time.sleep(0.5)
            p.send_signal(how)
        self.ends(p, 124 if how == "timeout" else 128 + how, within=30)
        if word:
            self.assertIn(word, p.stderr.read())

    def test_all(self):
        path = self.fifo()
        self.stuck(path)
        halts = ["-c", "rounds=100000000", base.guest("halt_race.elf")]
        rests = ["-c", "how=halt", base.guest("end.elf")]
        for how in (signal.SIGTERM, "timeout"):
            limit = ["--timeout", "700ms" if how == "timeout" else "60s", "-m", "16M", "--debug-exit", "0xf4"]
            self.ended(self.start(base.vmm(*halts, *limit, "--halt-trace", "fifo")), how, b"lines are lost")
            self.ended(self.start(base.vmm(*rests, *limit, "--cpus", "8", "--stats", "fifo")), how, b"--stats: fifo: nobody reads it")
            self.ended(self.start(base.vmm(*rests, *limit, "--serial", "file=fifo")), how, None)
            self.ended(self.start(base.vmm(*rests, *limit, "--log-level", "debug", "--log-file", "fifo")), how, None)

    def test_own_end(self):
        # The guest has ended; what is left to write is waited for until --timeout, or a signal.
        self.stuck(self.fifo())
        for how in ("timeout", signal.SIGTERM, signal.SIGINT):
            p = self.start(self.end("byte", "1s" if how == "timeout" else "60s", "--stats", "fifo", "--cpus", "8"))
            if how != "timeout":
                time.sleep(1)
                self.assertIsNone(p.poll())
                p.send_signal(how)
            self.ends(p, 1, within=30)
            self.assertIn(b"nobody reads it", p.stderr.read())

    def test_standard_streams(self):
        path = self.fifo()
        _, w = self.stuck(path)
        fcntl.fcntl(w, fcntl.F_SETFL, 0)
        for how in (signal.SIGTERM, "timeout"):
            limit = "700ms" if how == "timeout" else "60s"
            self.ended(self.start(self.end("print", limit, "--stats", "-"), stdout=w), how, b"nobody reads it")
            self.ended(self.start(self.end("halt", limit), stderr=w), how, None)
        # A crash report that nobody reads: --timeout's end ends that, too.
        p = self.start(self.end("triple", "1s"), stderr=w)
        self.ends(p, 33, within=30)
        p = self.start(self.end("triple", "60s"), stderr=w)
        time.sleep(0.5)
        p.terminate()
        self.ends(p, 33, within=30)
        self.assertFalse(fcntl.fcntl(w, fcntl.F_GETFL) & os.O_NONBLOCK)

    def test_slow_reader(self):
        # Everything arrives that is read in the end.
        path = self.fifo()
        r = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        p = self.start(base.end("byte", "--cpus", "64", "--stats", "fifo"))
        os.set_blocking(r, True)
        time.sleep(1)
        with open(r, "rb") as f:
            text = f.read()
        self.ends(p, 1, within=30)
        self.assertGreater(len(text), 65536)
        self.assertEqual(len(json.loads(text)["vcpus"]), 64)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Documents(base.Run):
    """--stats is written beside and renamed."""

    def stats(self, *args, status=1, **more):
        p = self.start(base.end("byte", "--stats", "stats", *args), **more)
        self.ends(p, status, within=30)
        return p.stderr.read()

    def whole(self, name="stats"):
        with open(os.path.join(self.dir, name), encoding="utf-8") as f:
            self.assertEqual(json.load(f)["exit"]["reason"], "debug")

    def test_mode_and_owner(self):
        path = self.file("stats", PRECIOUS)
        os.chmod(path, 0o604)
        if os.geteuid() == 0:
            os.chown(path, 1234, 2345)
        before = os.stat(path)
        self.assertEqual(self.stats(), b"")
        after = os.stat(path)
        self.assertEqual((after.st_mode, after.st_uid, after.st_gid), (before.st_mode, before.st_uid, before.st_gid))
        self.assertNotEqual(before.st_ino, after.st_ino)
        self.whole()
        self.assertEqual(os.listdir(self.dir), ["stats"])

    def test_new(self):
        self.assertEqual(self.stats(preexec_fn=lambda: os.umask(0o027)), b"")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "stats")).st_mode), 0o640)
        self.assertEqual(os.listdir(self.dir), ["stats"])

    def test_links(self):
        os.mkdir(os.path.join(self.dir, "far"))
        self.file("far/real", PRECIOUS)
        os.symlink("far/real", os.path.join(self.dir, "stats"))
        self.stats()
        self.assertEqual(os.readlink(os.path.join(self.dir, "stats")), "far/real")
        self.whole("far/real")
        self.assertEqual(os.listdir(os.path.join(self.dir, "far")), ["real"])
        # One that leads nowhere is followed, too.
        os.unlink(os.path.join(self.dir, "far/real"))
        self.stats()
        self.whole("far/real")
        # Several names stay names of one file.
        os.unlink(os.path.join(self.dir, "stats"))
        os.link(os.path.join(self.dir, "far/real"), os.path.join(self.dir, "stats"))
        self.stats()
        self.assertTrue(os.path.samefile(os.path.join(self.dir, "far/real"), os.path.join(self.dir, "stats")))
        self.whole()

    def test_folder_closed(self):
        # Where nothing can be made beside it, it is written where it is; as is what is mounted.
        if os.geteuid() or not shutil.which("setpriv") or not shutil.which("unshare"):
            self.skipTest("needs root, setpriv(1) and unshare(1)")
        self.file("stats", PRECIOUS)
        os.chmod(self.dir, 0o555)
        closed = ["setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override"]
        p = self.start([*closed, *base.end("byte", "--stats", "stats")])
        self.ends(p, 1, within=30)
        os.chmod(self.dir, 0o755)
        self.whole()
        self.file("other", PRECIOUS)
        mounted = ["unshare", "-m", "sh", "-c", 'mount --bind other stats && exec "$@"', "sh"]
        p = self.start([*mounted, *base.end("byte", "--stats", "stats")])
        self.ends(p, 1, within=30)
        self.whole("other")
        self.assertEqual(sorted(os.listdir(self.dir)), ["other", "stats"])

    def test_killed(self):
        # At any moment, by anything: the old one is whole, and nothing is beside it.
        self.file("stats", PRECIOUS)
        for sig in (signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL):
            p = self.start(base.end("halt", "--stats", "stats"), bufsize=0)
            self.until(p.stdout, b"halting\n")
            self.assertEqual(len(os.listdir(self.dir)), 2)
            p.send_signal(sig)
            p.wait(30)
            until = time.monotonic() + 20
            while os.listdir(self.dir) != ["stats"]:
                self.assertLess(time.monotonic(), until, os.listdir(self.dir))
                time.sleep(0.01)
            self.assertEqual(read(self.dir, "stats"), PRECIOUS)

    def renamer(self, p):
        """A child that has not run yet has no name of its own."""
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for pid in read(f"/proc/{p.pid}/task/{p.pid}/children").split():
                if read(f"/proc/{int(pid)}/comm") == b"catnap-rename\n":
                    return int(pid)
            time.sleep(0.01)
        return self.fail("nobody renames")

    def test_renamer_stopped(self):
        """The helper that gives the name does not answer: the command ends within its ways out, and says where the
        document is."""
        for ends, args, there in (((signal.SIGTERM, 143), ("--timeout", "60s"), True), ((signal.SIGINT, 130), (), False),
                                  ((None, 124), ("--timeout", "2s"), True)):
            with self.subTest(ends=ends, there=there):
                if there:
                    self.file("stats", PRECIOUS)
                command = base.vmm(base.guest("end.elf"), "--debug-exit", "0xf4", "-m", "16M", "-c", "how=halt", "--stats", "stats")
                p = self.start([*command, *args], bufsize=0)
                self.until(p.stdout, b"halting\n")
                renamer = self.renamer(p)
                os.kill(renamer, signal.SIGSTOP)
                try:
                    if ends[0]:
                        p.send_signal(ends[0])
                    self.assertEqual(p.wait(30), ends[1])
                    beside, = (name for name in os.listdir(self.dir) if name.startswith(".stats."))
                    said = p.stderr.read().decode().splitlines()[-1]
                    self.assertIn("--stats: stats: ", said)
                    self.assertIn("does not answer", said)
                    self.assertTrue(said.endswith(f" in {beside} until it does"), said)
                    with open(os.path.join(self.dir, beside), encoding="utf-8") as f:
                        json.load(f)
                    if there:
                        self.assertEqual(read(self.dir, "stats"), PRECIOUS)
                finally:
                    os.kill(renamer, signal.SIGCONT)
                until = time.monotonic() + 20
                while os.listdir(self.dir) != ["stats"]:
                    self.assertLess(time.monotonic(), until, os.listdir(self.dir))
                    time.sleep(0.01)
                with open(os.path.join(self.dir, "stats"), encoding="utf-8") as f:
                    json.load(f)
                os.unlink(os.path.join(self.dir, "stats"))

    def test_renamer_stopped_at_start(self):
        os.mkfifo(os.path.join(self.dir, "fifo"))
        p = self.start(base.end("byte", "--stats", "stats", "--serial", "file=fifo"), bufsize=0)
        self.until(p.stderr, b"waiting for a reader\n")
        renamer = self.renamer(p)
        os.kill(renamer, signal.SIGSTOP)
        try:
            p.terminate()
            self.assertEqual(p.wait(15), -signal.SIGTERM)
            self.assertEqual(os.listdir(self.dir), ["fifo"])
        finally:
            os.kill(renamer, signal.SIGCONT)

    def test_chroot_and_user(self):
        if os.geteuid():
            self.skipTest("needs root")
        os.mkdir(os.path.join(self.dir, "empty"))
        self.file("stats", PRECIOUS)
        self.stats("--chroot", "empty", "--user", "65534:65534")
        self.whole()
        self.assertEqual(sorted(os.listdir(self.dir)), ["empty", "stats"])

    def test_started_elsewhere(self):
        # The output of a pipeline ends with the command: nothing of it holds the pipe open.
        p = self.start(base.end("byte", "--stats", "stats"))
        out, err = p.communicate(timeout=30)
        self.assertEqual((p.returncode, out, err), (1, b"", b""))


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Full(base.Run):
    """A disk that is full, or a file that may not grow: one sentence, and status 1 where it would have been 0."""

    CASES = [("stats", ["--stats", "FILE", "-c", "how=byte", "--cpus", "4"], "end.elf", 1),
             ("serial", ["--serial", "file=FILE", "-c", "how=later lines=2000"], "end.elf", base.PASSED),
             ("halt-trace", ["--halt-trace", "FILE", "-c", "rounds=2000"], "halt_race.elf", base.PASSED)]

    def one(self, name, args, image, status, error, path, **more):
        args = [a.replace("FILE", path) for a in args]
        p = self.start([*more.pop("before", []), *base.vmm(base.guest(image), "-m", "16M", "--debug-exit", "0xf4", "--timeout", "60s",
                                                           *args)], **more)
        out, err = p.communicate(timeout=90)
        err = err.decode()
        self.assertEqual(p.returncode, status, err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertRegex(err, f"^catnap run: --{name}: .*{error}")
        return out

    def test_limit(self):
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))
        for name, args, image, status in self.CASES:
            self.file("old", PRECIOUS[:1000])
            self.one(name, args, image, status, "File too large", "old", preexec_fn=limit)
            self.assertEqual(os.listdir(self.dir), ["old"])
            if name == "stats":
                self.assertEqual(read(self.dir, "old"), PRECIOUS[:1000])

    def test_device(self):
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        for name, args, image, status in self.CASES:
            self.one(name, args, image, status, "No space left", "/dev/full")

    def test_disk(self):
        if os.geteuid() or not shutil.which("unshare"):
            self.skipTest("needs root and unshare(1)")
        os.mkdir(os.path.join(self.dir, "disk"))
        # Two pages: one is the old file's.
        before = ["unshare", "-m", "sh", "-c", "mount -t tmpfs -o size=8k none disk && echo old > disk/f && \"$@\"; s=$?; head -c4 disk/f; "
                  "ls -A disk; exit $s", "sh"]
        for name, args, image, status in self.CASES:
            out = self.one(name, args, image, status, "No space left", "disk/f", before=before)
            self.assertTrue(out.endswith({"stats": b"old\nf\n", "serial": b"a lif\n", "halt-trace": b"haltf\n"}[name]), out)

    def test_standard_output(self):
        with open("/dev/full", "wb") as full:
            p = self.start(base.end("later"), stdout=full)
            self.ends(p, base.PASSED, within=30)
            self.assertRegex(p.stderr.read(), rb"^catnap run: --serial: standard output: No space left.*\n$")

    # What each command prints: little and much, at once and bit by bit.
    BENCH = ["bench", "timer", "--gap", "100us", "--samples", "5", "--rounds", "1", "--mode", "user:off"]
    PRINTED = (["--help"], ["help", "run"], ["--version"], ["run", "--print-schema"], ["run", "--print-config", "-k", "kernel"],
               ["check"], ["check", "--json"], ["bench", "--help"], [*BENCH], [*BENCH, "--json", "-"], [*BENCH, "--html", "-"],
               ["replay", "trace"], ["replay", "--format", "json", "trace"], ["replay", "--generate", "tick", "--halts", "1000"],
               ["stat", "socket", "--once"], ["stat", "socket", "--json", "--count", "2", "--interval", "50ms"], ["ctl", "socket", "status"],
               ["ctl", "socket", "metrics"], ["snapshot", "info", "snap"], ["snapshot", "--json", "info", "snap"])

    def test_what_commands_print(self):
        # Beside a guest that runs, for those that ask one.
        p = self.start(base.vmm(base.guest("end.elf"), "-m", "16M", "-c", "how=halt", "--serial", "null", "--api-socket", "socket",
                                "--snapshots", self.dir))
        self.file("kernel", read(base.guest("end.elf")))
        self.file("trace", b"halt_ns\n" + b"1000\n" * 1000)
        while not os.path.exists(os.path.join(self.dir, "socket")):
            self.assertIsNone(p.poll())
            time.sleep(0.01)
        subprocess.run([base.CATNAP, "ctl", "socket", "snapshot", "snap"], cwd=self.dir, env=base.ENV, timeout=60, check=True)
        with open("/dev/full", "wb") as full, open(os.path.join(self.dir, "small"), "wb") as small:
            for out, size, why in ((full, None, "No space left on device"), (small, 5, "File too large")):
                limit = lambda size=size: size and resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
                for args in self.PRINTED:
                    done = subprocess.run([base.CATNAP, *args], stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE,
                                          cwd=self.dir, env=base.ENV, timeout=60, preexec_fn=limit, check=False)
                    err = done.stderr.decode()
                    self.assertEqual(done.returncode, 1, (args, err))
                    self.assertRegex(err, f"^catnap[^\n]*: {why}\n$", args)
        p.terminate()
        p.wait(20)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Signals(base.Run):
    """A signal at any moment of the start, or later: no socket, no successor of a file, no empty trace is left."""

    SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
               signal.SIGVTALRM, signal.SIGPROF, signal.SIGXCPU, signal.SIGIO, signal.SIGABRT, signal.SIGRTMIN + 5]
    ROUNDS = 300

    def test_random(self):
        signal.signal(signal.SIGQUIT, signal.SIG_DFL)  # a shell ignores it for what runs in the background
        rng = random.Random(12)
        outputs = ["--stats", "stats", "--halt-trace", "trace", "--serial", "socket=serial", "--console", "socket=console",
                   "--api-socket", "numbers", "--vsock", "cid=3,socket=vsock",
                   "--log-file", "log"]
        took = self.length(outputs)
        for i in range(self.ROUNDS):
            sig = rng.choice(self.SIGNALS)
            old = i % 2
            if old:
                self.file("stats", PRECIOUS)
            p = self.start(base.end("halt", *outputs), stdout=subprocess.DEVNULL)
            time.sleep(rng.uniform(0, took))
            p.send_signal(sig)
            status = p.wait(30)
            p.stderr.close()
            # In the end of the start, and later, a signal is read.
            self.assertIn(status, (128 + sig, -sig), sig)
            left = sorted(os.listdir(self.dir))
            for name in left:
                self.assertIn(name, ("stats", "trace", "log"), (i, sig, status, left))
            if "trace" in left:  # then it ran
                with open(os.path.join(self.dir, "trace"), "rb") as f:
                    self.assertEqual(f.read(7), b"halt_ns", (i, sig))
            if "stats" in left:
                with open(os.path.join(self.dir, "stats"), "rb") as f:
                    text = f.read()
                self.assertTrue(text == PRECIOUS if old and text[:1] != b"{" else json.loads(text), (i, sig))
            else:
                self.assertFalse(old)
            for name in left:
                os.unlink(os.path.join(self.dir, name))

    def length(self, outputs):
        """How long a start takes here, and somewhat more."""
        begin = time.monotonic()
        p = self.start(base.end("halt", *outputs), stdout=subprocess.DEVNULL)
        while not os.path.exists(os.path.join(self.dir, "numbers")):
            self.assertIsNone(p.poll())
        took = time.monotonic() - begin
        time.sleep(0.5)
        p.terminate()
        self.ends(p, 143, within=30)
        for name in os.listdir(self.dir):
            os.unlink(os.path.join(self.dir, name))
        return min(2 * took, 1)

    def test_running(self):
        for sig in self.SIGNALS:
            p = self.start(base.end("halt", "--serial", "socket=serial", "--api-socket", "numbers", "--vsock", "cid=3,socket=vsock",
                                    "--console", "stdio"), bufsize=0)
            until = time.monotonic() + 30
            while not os.path.exists(os.path.join(self.dir, "numbers")):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)
            time.sleep(0.1)
            p.send_signal(sig)
            self.ends(p, 128 + sig, within=30)
            self.assertEqual(os.listdir(self.dir), [])


if __name__ == "__main__":
    base.main()
