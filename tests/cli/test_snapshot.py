#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots as a person or a script makes them: by catnap ctl, of a VM that is in the sandbox; and what becomes of
them. The guest writes the alphabet over and over, so that a letter that is lost, or comes twice, shows.

    test_snapshot.py CATNAP GUESTS HANDLER FAILING SLOW [unittest options]

HANDLER is docs/examples/uffd-handler.c, built, FAILING fail_fsync.c, and SLOW slow_open.c.
"""

import fcntl
import json
import os
import random
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position
from unix_http import Connection  # noqa: E402 pylint: disable=wrong-import-position

# again: mov al, [0x9000]; add al, 'A'; mov dx, 0x3f8; out dx, al; inc byte [0x9000]; cmp byte [0x9000], 26; jb skip;
# mov byte [0x9000], 0; skip: mov cx, 0x1000; wait: loop wait; jmp again
ALPHABET = bytes.fromhex("a00090" "0441" "baf803" "ee" "fe060090" "803e00901a" "7205" "c606009000" "b90010" "e2fe" "ebe0")
# The same at Linux's 64-bit entry, as long as the device tree that boot_params led to is there: mov r8, [rsi+0x250];
# mov dx, 0x3f8; mov bl, 'A'; again: cmp dword [r8+16], 0xedfe0dd0; jne stop; mov al, bl; out dx, al; inc bl;
# cmp bl, 'Z' + 1; jb skip; mov bl, 'A'; skip: mov ecx, 0x1000; wait: loop wait; jmp again; stop: hlt; jmp stop
TREE = bytes.fromhex("4c8b8650020000" "66baf803" "b341" "41817810d00dfeed" "7515" "88d8" "ee" "fec3" "80fb5b" "7202" "b341"
                     "b900100000" "e2fe" "ebe1" "f4" "ebfd")
# Sanitizers and coverage are not for the sandbox.
SANDBOX = "SANDBOX_OFF" not in os.environ


HANDLER = FAILING = SLOW = ""
# How often a process is killed; the number is larger by hand.
KILLS = int(os.environ.get("KILLS", "12"))


def served():
    """May this process have a page served that KVM touches?"""
    try:
        with open("/proc/sys/vm/unprivileged_userfaultfd", encoding="ascii") as f:
            return f.read().strip() == "1" or os.geteuid() == 0 or os.access("/dev/userfaultfd", os.R_OK | os.W_OK)
    except FileNotFoundError:
        return False


def elf(code, at):
    """One for Linux's 64-bit entry."""
    head = b"\x7fELF\2\1\1" + bytes(9) + struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, at, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 120, at, at, len(code), len(code), 16) + code


def follows(text):
    return all(b == (a - 64) % 26 + 65 for a, b in zip(text, text[1:]))


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Case(base.Case):
    user: dict = {}  # who runs the VM, as subprocess has it; nothing: this user

    def setUp(self):
        super().setUp()
        self.kernel = self.file("kernel", ALPHABET)
        self.snap = os.path.join(self.dir, "snap")
        self.n = 0

    def run_vm(self, *args, env=None):
        self.n += 1
        out = os.path.join(self.dir, f"out{self.n}")
        p = subprocess.Popen([base.CATNAP, "run", "--serial", f"file={out}", "--api-socket", "s", "--timeout", "60s", *args],
                             cwd=self.dir, env=env or base.ENV, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, **self.user)
        self.addCleanup(self.kill, p)
        return p, out

    def kill(self, p):
        if p.poll() is None:
            p.kill()
            p.wait()
        p.stderr.close()
        self.gone()

    def gone(self):
        if os.path.exists(os.path.join(self.dir, "s")):
            deadline = time.monotonic() + 5
            while os.path.exists(os.path.join(self.dir, "s")) and time.monotonic() < deadline:
                time.sleep(0.01)

    def boot(self, *args, env=None, memory=("-m", "4M")):
        return self.run_vm("--kernel-format", "flat", "-k", self.kernel, *memory, "--cmdline", "", "--guest-halt-poll", "off",
                           "--snapshots", self.dir, *args, env=env)

    def restore(self, *args, keys=""):
        return self.run_vm("--restore", self.snap + keys, "--snapshots", self.dir, *args)

    def wait_for_control(self):
        deadline = time.monotonic() + 30
        while self.ctl("status")[0]:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def text(self, path):
        try:
            with open(path, "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""

    def wait_for(self, p, path, letters=60):
        deadline = time.monotonic() + 30
        while len(self.text(path)) < letters:
            self.assertIsNone(p.poll(), p.poll() is not None and p.stderr.read())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def command(self, *args):
        done = subprocess.run([base.CATNAP, *args], cwd=self.dir, env=base.ENV, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def ctl(self, *args):
        return self.command("ctl", "s", *args)

    def yes(self, *args):
        code, out, err = self.command(*args)
        self.assertEqual((code, err), (0, ""), args)
        return out

    def no(self, status, words, *args):
        code, out, err = self.command(*args)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), (args, err))
        for word in words:
            self.assertIn(word, err)

    def stopped(self, p):
        p.wait(30)
        self.gone()


class GoesOn(Case):
    def test_again_and_again(self):
        p, out = self.boot()
        whole = b""
        for keys in ("", ",memory=copy", ",clock=realtime", ",learned=off"):
            self.wait_for(p, out)
            self.assertEqual(self.ctl("snapshot", self.snap, "--then", "stop"), (0, "", ""))
            self.stopped(p)
            whole += self.text(out)
            p, out = self.restore(keys=keys)
        self.wait_for(p, out)
        whole += self.text(out)
        self.assertTrue(follows(whole), whole)
        self.assertEqual(self.ctl("stop"), (0, "", ""))

    def test_a_device_tree(self):
        kernel, image = self.file("tree", elf(TREE, 1 << 20)), self.file("image", bytes(4096))
        for irqchip, transport in (("user", "mmio"), ("kernel", "pci")):
            with self.subTest(irqchip=irqchip, transport=transport):
                p, out = self.run_vm("--kernel-format", "linux", "-k", kernel, "--hw", "fdt", "-m", "8M", "--irqchip", irqchip,
                                     "--transport", transport, "-d", image, "--snapshots", self.dir, "--track-dirty", "on")
                whole = b""
                for more in ((), ("--diff",)):
                    self.wait_for(p, out)
                    self.assertEqual(self.ctl("snapshot", self.snap, *more, "--then", "stop"), (0, "", ""))
                    self.stopped(p)
                    whole += self.text(out)
                    p, out = self.restore("--track-dirty", "on")
                self.wait_for(p, out)
                self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
                self.stopped(p)
                whole += self.text(out)
                self.assertTrue(follows(whole), whole)

    def test_it_goes_on_itself_and_clones_begin_where_it_was(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        self.wait_for(p, out, len(self.text(out)) + 60)
        self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
        self.stopped(p)
        self.assertTrue(follows(self.text(out)))
        first = []
        for _ in range(2):
            p, out = self.restore()
            self.wait_for(p, out)
            self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
            self.stopped(p)
            self.assertTrue(follows(self.text(out)))
            first.append(self.text(out)[:1])
        self.assertEqual(first[0], first[1])

    def test_nobody_waits_for_it(self):
        """The VM goes on, or ends, when its snapshot is there, and whoever asked has gone."""
        p, out = self.boot(memory=("-m", "1G"))
        self.wait_for(p, out)
        self.no(1, ["no answer within"], "ctl", "s", "snapshot", "snap", "--time-limit", "50ms")
        deadline = time.monotonic() + 60
        while "running" not in self.yes("ctl", "s", "status", "--time-limit", "60s"):
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.1)
        self.wait_for(p, out, len(self.text(out)) + 30)
        self.assertTrue(follows(self.text(out)))
        self.yes("snapshot", "verify", "snap")
        asks = subprocess.Popen([base.CATNAP, "ctl", "s", "snapshot", "snap", "--then", "stop"], cwd=self.dir, env=base.ENV)
        state = json.loads(self.yes("snapshot", "info", "snap", "--json"))["taken_ns"]
        while asks.poll() is None and not any(n.startswith("state.new-") for n in os.listdir(self.snap)):
            time.sleep(0.001)
        asks.kill()
        asks.wait()
        self.stopped(p)
        self.yes("snapshot", "verify", "snap")
        self.assertGreater(json.loads(self.yes("snapshot", "info", "snap", "--json"))["taken_ns"], state)

    def test_what_becomes_of_it(self):
        p, out = self.boot()
        self.wait_for(p, out)
        for before in ("running", "paused"):
            self.yes("ctl", "s", "pause" if before == "paused" else "resume")
            for then, after in (((), before), (("--then", "pause"), "paused"), (("--then", "resume"), "running")):
                self.yes("ctl", "s", "pause" if before == "paused" else "resume")
                self.assertEqual(self.ctl("snapshot", "snap", *then), (0, "", ""))
                self.assertIn(after, self.yes("ctl", "s", "status"), (before, then))
            # One that cannot be made changes nothing.
            for then in ((), ("--then", "pause"), ("--then", "resume"), ("--then", "stop")):
                self.yes("ctl", "s", "pause" if before == "paused" else "resume")
                self.no(1, ["none/snap: No such file"], "ctl", "s", "snapshot", "none/snap", *then)
                self.assertIn(before, self.yes("ctl", "s", "status"), (before, then))
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)

    def test_one_stands_until_it_is_resumed(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap,then=stop"), (0, "", ""))
        self.stopped(p)
        p, out = self.restore(keys=",paused=on")
        deadline = time.monotonic() + 20
        while self.ctl("status")[0] != 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIn("paused", self.ctl("status")[1])
        time.sleep(0.1)
        self.assertEqual(self.text(out), b"")
        self.assertEqual(self.ctl("resume"), (0, "", ""))
        self.wait_for(p, out)
        self.assertEqual(self.ctl("stop"), (0, "", ""))

    def test_diffs_are_merged(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out)
        before = os.listdir(self.dir)
        self.no(1, ["expected a full one first"], "ctl", "s", "snapshot", "snap", "--diff")
        self.no(1, ["expected a full one first"], "ctl", "s", "snapshot", "other", "--diff")
        self.assertEqual(os.listdir(self.dir), before)
        for args in ((), ("--diff",), ("--diff",), ("--diff", "--then", "stop")):
            self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
            if "stop" not in args:
                self.wait_for(p, out, len(self.text(out)) + 30)
        self.stopped(p)
        before = self.text(out)
        told = json.loads(self.yes("snapshot", "info", "snap", "--json"))
        self.assertEqual([m["kind"] for m in told["memories"]], ["full", "diff", "diff", "diff"])
        self.assertEqual((told["vcpus"], told["memory_bytes"]), (1, 4 << 20))
        self.yes("snapshot", "verify", "snap")
        copy = os.path.join(self.dir, "copy")
        shutil.copytree(self.snap, copy)
        self.yes("snapshot", "merge", "snap")
        self.yes("snapshot", "verify", "snap")
        self.assertEqual(len(os.listdir(self.snap)), 2)
        for self.snap in (copy, self.snap):
            p, out = self.restore()
            self.wait_for(p, out)
            self.assertTrue(follows(before + self.text(out)))
            self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
            self.stopped(p)

    def test_diffs_go_behind_what_was_merged(self):
        p, out = self.boot("--track-dirty", "on")
        whole = b""
        for _ in range(2):
            for args in (() if not whole else ("--diff",), ("--diff",)):
                self.wait_for(p, out, len(self.text(out)) + 30)
                self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
            self.yes("snapshot", "merge", "snap")
            self.wait_for(p, out, len(self.text(out)) + 30)
            self.assertEqual(self.ctl("snapshot", "snap", "--diff", "--then", "stop"), (0, "", ""))
            self.stopped(p)
            self.yes("snapshot", "verify", "snap")
            told = json.loads(self.yes("snapshot", "info", "snap", "--json"))
            self.assertEqual([m["kind"] for m in told["memories"]], ["full", "diff"])
            whole += self.text(out)
            p, out = self.restore("--track-dirty", "on")
        self.wait_for(p, out)
        self.assertTrue(follows(whole + self.text(out)))

    def content(self):
        return {name: self.text(os.path.join(self.snap, name)) for name in os.listdir(self.snap)}

    def test_more_diffs_than_files_may_be_open(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        for _ in range(40):
            self.assertEqual(self.ctl("snapshot", "snap", "--diff"), (0, "", ""))
        self.assertEqual(self.ctl("snapshot", "snap", "--diff", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]

        def limited(most):
            return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (32, most))
        for most, status, said in ((hard, 0, b""), (40, 1, b"Too many open files")):
            for command in ("verify", "merge"):
                copy = os.path.join(self.dir, f"{command}{status}")
                shutil.copytree(self.snap, copy)
                done = subprocess.run([base.CATNAP, "snapshot", command, copy], stderr=subprocess.PIPE, check=False, preexec_fn=limited(most))
                self.assertEqual((done.returncode, done.stderr.count(b"\n")), (status, status), done.stderr)
                self.assertIn(said, done.stderr)
        before = self.text(out)
        out = os.path.join(self.dir, "more")
        p = subprocess.Popen([base.CATNAP, "run", "--restore", self.snap, "--serial", f"file={out}", "--timeout", "60s"],
                             stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=limited(hard))
        self.addCleanup(self.kill, p)
        self.wait_for(p, out)
        self.assertTrue(follows(before + self.text(out)))

    def test_diffs_go_nowhere_else(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        self.no(1, ["other: a diff: there is no snapshot in it: expected a full one first"], "ctl", "s", "snapshot", "other", "--diff")
        self.assertFalse(os.path.exists(os.path.join(self.dir, "other")))
        # Its last one is there now.
        self.assertEqual(self.ctl("snapshot", "other", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        old = self.snap
        self.snap = os.path.join(self.dir, "other")
        p, out = self.restore("--track-dirty", "on")
        self.wait_for(p, out)
        self.snap = old
        before = self.content()
        self.no(1, ["snap: ", "is not this VM's last one", "expected a full one first"], "ctl", "s", "snapshot", "snap", "--diff")
        self.assertEqual(self.content(), before)
        self.yes("snapshot", "verify", "snap")
        self.assertEqual(self.ctl("snapshot", "other", "--diff"), (0, "", ""))
        self.yes("snapshot", "verify", "other")
        # Nor behind what is not whole any more.
        diff = json.loads(self.yes("snapshot", "info", "other", "--json"))["memories"][1]["name"]
        os.remove(os.path.join(self.dir, "other", diff))
        self.no(1, ["other: a diff: ", diff, "No such file", "expected a full one first"], "ctl", "s", "snapshot", "other", "--diff")
        self.assertEqual(self.ctl("snapshot", "other"), (0, "", ""))
        self.yes("snapshot", "verify", "other")
        self.assertEqual(self.ctl("resume"), (0, "", ""))
        self.wait_for(p, out, len(self.text(out)) + 30)

    def test_a_full_one_takes_the_place_of_all_others(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out)
        for args in ((), ("--diff",), ("--diff",), ()):
            self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
        self.assertEqual(len(os.listdir(self.snap)), 2)
        self.yes("snapshot", "verify", "snap")
        self.assertEqual(oct(os.stat(os.path.join(self.snap, "state")).st_mode & 0o777), "0o600")


def in_kvm():
    """An ordinary user in the group that may use /dev/kvm, as subprocess has it; None: there is no such group, or this
    is not root."""
    if os.geteuid() or not base.KVM:
        return None
    st = os.stat("/dev/kvm")
    user = {"user": 65534, "group": 65534, "extra_groups": [st.st_gid]}
    if not st.st_gid or not st.st_mode & 0o020:
        return None
    try:
        return user if subprocess.run([base.CATNAP, "--version"], stdout=subprocess.DEVNULL, check=False, **user).returncode == 0 else None
    except OSError:
        return None


class CutOff(Case):
    """Memory that is a file's, which somebody makes shorter: one line, and an end that is no signal."""

    def ends(self, p):
        err = p.communicate(timeout=60)[1].decode()
        self.assertEqual((p.returncode, err.count("\n")), (1, 1), err)
        self.assertIn("guest memory", err)
        self.assertIn("was made shorter, or its file system is full or fails", err)

    def test_restored(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.yes("ctl", "s", "pause")
        self.yes("ctl", "s", "snapshot", "snap")
        self.yes("ctl", "s", "stop")
        self.stopped(p)
        memory = next(os.path.join(self.snap, n) for n in os.listdir(self.snap) if n.startswith("memory"))
        whole = self.text(memory)
        for mode in ("on", "off"):
            with open(memory, "r+b") as f:
                f.write(whole)
                f.flush()
                p, out = self.restore("--sandbox", mode, keys=",paused=on")
                self.wait_for_control()
                f.truncate(0)
            # Whoever is first, the guest or what asks for its state.
            self.command("ctl", "s", "resume")
            self.ends(p)

    def test_pmem(self):
        for mode in ("on", "off"):
            path = self.file("pmem", bytes(4 << 20))
            p, _ = self.run_vm("-k", os.path.join(base.GUESTS, "pmem.elf"), "-m", "16M", "--transport", "mmio", "--debug-exit", "0xf4",
                               "--pmem", path, "-c", "rounds=1000000000", "--guest-halt-poll", "off", "--sandbox", mode, "--log-level", "error")
            self.wait_for_control()
            time.sleep(0.2)
            os.truncate(path, 0)
            self.ends(p)


class OrdinaryUser(Case):
    """All that a user may who is nobody but in the group of /dev/kvm."""

    def setUp(self):
        super().setUp()
        user = in_kvm()
        if not user:
            self.skipTest("no group for /dev/kvm, or not root")
        self.user = user
        os.chown(self.dir, user["user"], user["group"])

    def test_goes_on(self):
        p, out = self.boot("--track-dirty", "on")
        whole = b""
        for keys in ("", ",memory=copy", ",memory=working-set", ",memory=working-set,clock=realtime"):
            self.wait_for(p, out)
            self.assertEqual(self.ctl("snapshot", self.snap, "--then", "stop"), (0, "", ""))
            self.stopped(p)
            self.assertEqual(os.stat(os.path.join(self.snap, "state")).st_uid, self.user["user"])
            whole += self.text(out)
            p, out = self.restore(keys=keys)
        self.wait_for(p, out)
        self.assertTrue(follows(whole + self.text(out)), whole)
        self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
        self.stopped(p)

    def test_nothing_may_be_recorded(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", self.snap, "--then", "stop"), (0, "", ""))
        self.stopped(p)
        os.chown(self.snap, 0, 0)
        os.chmod(self.snap, 0o755)
        p, _ = self.restore(keys=",memory=working-set")
        self.assertEqual(p.wait(30), 1)
        err = p.stderr.read().decode()
        self.assertEqual(err.count("\n"), 1, err)
        for word in ("--restore", "working-set", "Permission denied"):
            self.assertIn(word, err)


class WorkingSet(Case):
    def setUp(self):
        super().setUp()
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        self.before = self.text(out)
        self.set = os.path.join(self.snap, "working-set")

    def goes_on(self, seconds=0):
        p, out = self.restore(keys=",memory=working-set")
        self.wait_for(p, out)
        time.sleep(seconds)
        self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
        self.stopped(p)
        self.assertEqual(p.stderr.read(), b"")
        self.assertTrue(follows(self.before + self.text(out)))

    def content(self):
        with open(self.set, "rb") as f:
            return f.read()

    def test_after_a_second(self):
        p, out = self.restore(keys=",memory=working-set")
        self.wait_for(p, out)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.set) and time.monotonic() < deadline:
            time.sleep(0.02)
        self.assertIsNone(p.poll())
        self.assertEqual(self.content()[:8], b"catnapWS")
        self.assertEqual(oct(os.stat(self.set).st_mode & 0o777), "0o600")
        self.assertEqual(len(os.listdir(self.snap)), 3)
        self.assertEqual(self.ctl("stop", "wait=on"), (0, "", ""))
        self.stopped(p)
        recorded = self.content()
        self.goes_on()
        self.assertEqual(self.content(), recorded)
        self.yes("snapshot", "verify", "snap")

    def test_of_one_that_ends_before(self):
        self.goes_on()
        self.assertEqual(self.content()[:8], b"catnapWS")
        self.assertEqual(len(os.listdir(self.snap)), 3)
        self.goes_on()

    def test_of_another_snapshot(self):
        self.goes_on()
        recorded = self.content()
        p, out = self.restore(keys=",memory=working-set")
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        self.before += self.text(out)
        self.assertFalse(os.path.exists(self.set))
        with open(self.set, "wb") as f:
            f.write(recorded)
        self.no(1, ["working-set", "another snapshot"], "snapshot", "verify", "snap")
        self.goes_on()
        self.assertNotEqual(self.content(), recorded)
        self.yes("snapshot", "verify", "snap")

    def test_damaged(self):
        self.goes_on()
        good = self.content()
        for bad in (good[:-1], good + b"x", b"x" + good[1:], good[:-1] + bytes([good[-1] ^ 1]), good[:60]):
            with open(self.set, "wb") as f:
                f.write(bad)
            self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=working-set"], 1, "--restore: ", "working-set")
            self.no(1, ["working-set"], "snapshot", "verify", "snap")
        os.remove(self.set)
        os.mkfifo(self.set)
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=working-set"], 1, "working-set", "regular file")

    def test_not_to_be_written(self):
        os.mkdir(self.set)
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=working-set"], 1, "working-set", "regular file")
        os.rmdir(self.set)
        if os.geteuid():
            os.chmod(self.snap, 0o500)
            self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=working-set"], 1, "working-set", "Permission denied")
            os.chmod(self.snap, 0o700)
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=working-set,handler=h"], 2, "handler")


@unittest.skipUnless(served(), "no userfaultfd for this user")
class Served(Case):
    def make(self):
        p, out = self.boot("--track-dirty", "on")
        for args in ((), ("--diff",), ("--diff", "--then", "stop")):
            self.wait_for(p, out, len(self.text(out)) + 30)
            self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
        self.stopped(p)
        told = json.loads(self.yes("snapshot", "info", "snap", "--json"))
        return self.text(out), [os.path.join(self.snap, m["name"]) for m in told["memories"]]

    def handler(self, *files):
        h = subprocess.Popen([HANDLER, os.path.join(self.dir, "h"), *files])
        self.addCleanup(self.end_handler, h)
        while not os.path.exists(os.path.join(self.dir, "h")):
            self.assertIsNone(h.poll())
            time.sleep(0.01)
        return h

    def end_handler(self, h):
        h.kill()
        h.wait()

    def vm(self, n):
        out = os.path.join(self.dir, f"served{n}")
        p = subprocess.Popen([base.CATNAP, "run", "--restore", self.snap + ",memory=uffd,handler=h", "--serial", f"file={out}",
                              "--timeout", "60s"], cwd=self.dir, env=base.ENV, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self.addCleanup(self.kill, p)
        return p, out

    def test_eight_and_then_none(self):
        before, files = self.make()
        h = self.handler(*files)
        vms = [self.vm(n) for n in range(8)]
        for p, out in vms:
            self.wait_for(p, out)
            self.assertTrue(follows(before + self.text(out)))
        h.kill()
        h.wait()
        for p, _ in vms:
            self.assertEqual(p.wait(30), 1)
            err = p.stderr.read().decode()
            self.assertIn("the process that served the guest's memory has gone", err)

    def test_one_that_never_answers(self):
        self.make()
        s = socket.socket(socket.AF_UNIX)
        self.addCleanup(s.close)
        s.bind(os.path.join(self.dir, "h"))
        s.listen()
        p, _ = self.vm(0)
        c, _ = s.accept()
        self.addCleanup(c.close)
        time.sleep(0.3)
        self.assertIsNone(p.poll())
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(30), -signal.SIGTERM if p.returncode and p.returncode < 0 else 128 + signal.SIGTERM)

    def test_files_in_another_order(self):
        """Their pages would be those of different moments."""
        _, (full, first, second) = self.make()
        for files, said in (((first,), "the full memory file first"), ((first, full), "the full memory file first"),
                            ((full, second), "the diff that builds on the file before"),
                            ((full, full), "the diff that builds on the file before"), ((full, self.kernel), "is no memory file"),
                            ((full, first, second, second), "the diff that builds on the file before")):
            h = subprocess.run([HANDLER, "h", *files], cwd=self.dir, stderr=subprocess.PIPE, timeout=60, check=False)
            self.assertEqual((h.returncode, h.stderr.count(b"\n")), (1, 1), h.stderr)
            self.assertIn(said, h.stderr.decode())

    def test_one_that_is_not_there(self):
        self.make()
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=uffd,handler=h"], 1, "handler: h")
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",memory=uffd"], 2, "handler")
        self.refused([base.CATNAP, "run", "--restore", self.snap + ",handler=h"], 2, "handler")


class IsWhole(Case):
    """Whatever happens while one is made, there is a whole one."""

    def test_killed(self):
        seed = random.Random(1)
        p, out = self.boot()
        self.wait_for(p, out, 5)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        for _ in range(KILLS):
            making = subprocess.Popen([base.CATNAP, "ctl", "s", "snapshot", "snap"], cwd=self.dir, env=base.ENV,
                                      stderr=subprocess.PIPE)
            time.sleep(seed.random() * 0.06)
            p.send_signal(signal.SIGKILL)
            p.wait()
            said = making.communicate(timeout=60)[1]
            self.assertEqual(said.count(b"\n"), int(making.returncode != 0), said)
            self.gone()
            self.yes("snapshot", "verify", "snap")
            p, out = self.boot()
            self.wait_for(p, out, 5)
        # What those have left goes with the next that is whole.
        for name in ("memory-0123456789abcdef", "state.new-0123456789abcdef"):
            self.file(os.path.join("snap", name), b"left")
        kept = ("memory-0123456789abcdeg", "memory-0123", "mine")
        for name in kept:
            self.file(os.path.join("snap", name), b"not ours")
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        told = json.loads(self.yes("snapshot", "info", "snap", "--json"))
        self.assertEqual(sorted(os.listdir(self.snap)), sorted(["state", told["memories"][0]["name"], *kept]))
        self.yes("snapshot", "verify", "snap")

    def test_two_at_a_time(self):
        p, out = self.boot()
        self.wait_for(p, out, 5)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        fd = os.open(self.snap, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.no(1, ["snap: another process makes a snapshot there"], "ctl", "s", "snapshot", "snap")
        os.close(fd)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))

    def test_killed_while_it_merges(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out, 5)
        for args in ((), ("--diff",), ("--diff",)):
            self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
        seed, kept = random.Random(2), os.path.join(self.dir, "kept")
        shutil.copytree(self.snap, kept)
        for _ in range(KILLS):
            shutil.rmtree(self.snap)
            shutil.copytree(kept, self.snap)
            merging = subprocess.Popen([base.CATNAP, "snapshot", "merge", "snap"], cwd=self.dir, env=base.ENV)
            time.sleep(seed.random() * 0.02)
            merging.kill()
            merging.wait()
            self.yes("snapshot", "verify", "snap")
            self.yes("snapshot", "merge", "snap")
            self.yes("snapshot", "verify", "snap")
            self.assertEqual(len(os.listdir(self.snap)), 2)
        # One that is damaged is not merged, and the file is named.
        shutil.rmtree(self.snap)
        shutil.copytree(kept, self.snap)
        before = sorted(os.listdir(self.snap))
        full = json.loads(self.yes("snapshot", "info", "snap", "--json"))["memories"][0]["name"]
        with open(os.path.join(self.snap, full), "r+b") as f:
            f.seek(0x7c00)
            f.write(b"\0")
        self.no(1, ["snap: ", full + ": is damaged"], "snapshot", "merge", "snap")
        self.assertEqual(sorted(os.listdir(self.snap)), before)

    def test_merged_while_one_is_made(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out, 5)
        for args in ((), ("--diff",)):
            self.assertEqual(self.ctl("snapshot", "snap", *args), (0, "", ""))
        fd = os.open(self.snap, os.O_RDONLY)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.no(1, ["snap: another process makes a snapshot there"], "snapshot", "merge", "snap")
        with open("/dev/full", "wb") as full:
            done = subprocess.run([base.CATNAP, "snapshot", "info", "--json", self.snap], stdout=full, stderr=subprocess.PIPE, check=False)
        self.assertEqual((done.returncode, done.stderr), (1, b"catnap: standard output: No space left on device\n"))
        os.close(fd)
        self.yes("snapshot", "merge", "snap")
        self.yes("snapshot", "merge", "snap")
        self.yes("snapshot", "verify", "snap")

    @unittest.skipUnless(SANDBOX, "a sanitizer comes first")
    def test_read_while_another_takes_its_place(self):
        """Whose memory goes between a reader's look at the state and at that reads the new one."""
        p, out = self.boot()
        self.wait_for(p, out, 5)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        for _ in range(3):
            reader = subprocess.Popen([base.CATNAP, "snapshot", "verify", "snap"], cwd=self.dir, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                      env={**base.ENV, "LD_PRELOAD": SLOW, "SLOW_OPEN": "memory-"})
            time.sleep(0.1)
            self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
            out, err = reader.communicate(timeout=60)
            self.assertEqual((reader.returncode, out, err), (0, b"", b""))

    def goes_on(self, p, out):
        """It still runs, and a snapshot can be made of it."""
        self.wait_for(p, out, len(self.text(out)) + 30)
        self.assertTrue(follows(self.text(out)))
        self.assertEqual(self.ctl("resume"), (0, "", ""))

    def mounted(self, name):
        """A small file system of its own; None: that is not for this user."""
        path = os.path.join(self.dir, name)
        os.mkdir(path)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", path], stderr=subprocess.DEVNULL, check=False).returncode:
            self.skipTest("no file system can be mounted")
        self.addCleanup(subprocess.run, ["umount", "-l", path], check=True)
        return path

    def test_no_room_on_the_disk(self):
        small = self.mounted("small")
        p, out = self.boot()
        self.wait_for(p, out)
        where = os.path.join(small, "snap")
        self.assertEqual(self.ctl("snapshot", where), (0, "", ""))
        before = sorted(os.listdir(where))
        with open(os.path.join(small, "all"), "wb", buffering=0) as f, self.assertRaises(OSError):
            while True:
                f.write(bytes(4096))
        for _ in range(3):
            self.no(1, [where, "No space left on device"], "ctl", "s", "snapshot", where)
            self.assertEqual(sorted(os.listdir(where)), before)
            self.yes("snapshot", "verify", where)
            self.goes_on(p, out)
        os.remove(os.path.join(small, "all"))
        self.assertEqual(self.ctl("snapshot", where), (0, "", ""))
        self.assertNotEqual(sorted(os.listdir(where)), before)
        self.yes("snapshot", "verify", where)

    def test_a_folder_to_be_read_only(self):
        small = self.mounted("small")
        p, out = self.boot()
        self.wait_for(p, out)
        where = os.path.join(small, "snap")
        self.assertEqual(self.ctl("snapshot", where), (0, "", ""))
        before = sorted(os.listdir(where))
        subprocess.run(["mount", "-o", "remount,ro", small], check=True)
        self.no(1, [where, "Read-only file system"], "ctl", "s", "snapshot", where)
        self.no(1, ["Read-only file system"], "ctl", "s", "snapshot", os.path.join(small, "other"))
        self.assertEqual(sorted(os.listdir(where)), before)
        self.yes("snapshot", "verify", where)
        self.goes_on(p, out)

    @unittest.skipUnless(SANDBOX, "a sanitizer comes first")
    def test_fsync_fails(self):
        """At each of the places where it is called: the old one is there, or the new one, and the VM goes on."""
        for n in range(1, 5):
            env = {**base.ENV, "LD_PRELOAD": FAILING, "FAIL_FSYNC": str(n)}
            p, out = self.boot(env=env)
            self.wait_for(p, out)
            where = os.path.join(self.dir, f"snap{n}")
            self.no(1, [where, "Input/output error"], "ctl", "s", "snapshot", where)
            self.assertEqual(os.path.exists(where), n == 4)
            self.goes_on(p, out)
            self.assertEqual(self.ctl("snapshot", where), (0, "", ""))
            self.assertEqual(len(os.listdir(where)), 2)
            self.yes("snapshot", "verify", where)
            self.assertEqual(self.ctl("stop"), (0, "", ""))
            self.stopped(p)

    def test_a_folder_that_cannot_be_written_to(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap"), (0, "", ""))
        os.mkdir(os.path.join(self.dir, "full"))
        with open(os.path.join(self.dir, "full", "state"), "wb"):
            pass
        # What is no folder, and what Landlock keeps.
        self.no(1, ["kernel", "Not a directory"], "ctl", "s", "snapshot", "kernel")
        if SANDBOX:
            self.no(1, ["/var/tmp"], "ctl", "s", "snapshot", "/var/tmp/catnap-no-such-folder")
        at = len(self.text(out))
        self.wait_for(p, out, at + 30)
        self.assertTrue(follows(self.text(out)))
        self.yes("snapshot", "verify", "snap")


def crc32c(data):
    """RFC 3720, B.4."""
    crc = 0xffffffff
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


class Edited:
    """A state file whose vCPU is told of more than it was, with the right checksum: docs/snapshot-format.md."""

    LEAF, MSR = struct.Struct("<7I"), struct.Struct("<IIQ")

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.data = bytearray(f.read())
        self.at, = (at for at, section in self.sections() if section == b"VCPU")
        # Its end has the leaves of CPUID, and the MSRs.
        end = self.at + 24 + struct.unpack_from("<Q", self.data, self.at + 16)[0]
        self.msrs = next(n for n in range(1, 4096) if struct.unpack_from("<I", self.data, end - n * 16 - 4)[0] == n)
        self.msrs_at = end - self.msrs * 16
        self.leaves = next(n for n in range(1, 256) if struct.unpack_from("<I", self.data, self.msrs_at - 8 - n * 28)[0] == n)
        self.leaves_at = self.msrs_at - 4 - self.leaves * 28

    def sections(self):
        at = 32
        while at < len(self.data):
            yield at, bytes(self.data[at:at + 4])
            at += 24 + struct.unpack_from("<Q", self.data, at + 16)[0]

    def leaf(self, function, index):
        """Where it is; None: the guest has none."""
        for at in range(self.leaves_at, self.msrs_at - 4, 28):
            if self.LEAF.unpack_from(self.data, at)[:2] == (function, index):
                return at
        return None

    def add_feature(self, function, index, register, bit):
        """Returns whether the guest did not have it."""
        at = self.leaf(function, index)
        if at is None:
            return False
        at += 12 + 4 * register
        value, = struct.unpack_from("<I", self.data, at)
        struct.pack_into("<I", self.data, at, value | 1 << bit)
        return not value >> bit & 1

    def set_msr(self, n, index, value):
        self.MSR.pack_into(self.data, self.msrs_at + n * 16, index, 0, value)

    def write(self):
        struct.pack_into("<I", self.data, self.at + 12, 0)
        end = self.at + 24 + struct.unpack_from("<Q", self.data, self.at + 16)[0]
        struct.pack_into("<I", self.data, self.at + 12, crc32c(self.data[self.at:end]))
        with open(self.path, "wb") as f:
            f.write(self.data)


class Pairs(Case):
    """Firecracker's two files."""

    def make(self, state, memory, kind="Full"):
        return self.put("/snapshot/create", {"snapshot_path": os.path.join(self.dir, state),
                                             "mem_file_path": os.path.join(self.dir, memory), "snapshot_type": kind})

    def put(self, path, body):
        c = Connection(os.path.join(self.dir, "s"))
        try:
            c.request("PUT", path, json.dumps(body))
            answer = c.getresponse()
            return answer.status, answer.read().decode()
        finally:
            c.close()

    def test_what_is_there_stays(self):
        p, out = self.boot("--track-dirty", "on")
        self.wait_for(p, out)
        self.yes("ctl", "s", "pause")
        os.mkdir(self.snap)
        self.assertEqual(self.make("snap/state", "snap/memory")[0], 204)
        self.assertEqual(self.make("snap/state", "snap/diff", "Diff")[0], 204)
        before = self.everything()
        for state, memory, kind, words in (
                ("snap/state", "snap/memory", "Diff", "snap/memory: is the name of a memory file that the diff needs"),
                ("snap/state", "snap/diff", "Diff", "snap/diff: is the name of a memory file that the diff needs"),
                ("snap/state", "snap/state", "Full", "snap/state: is the place of the other file as well"),
                ("snap/state", "snap/./state", "Full", "snap/state: is the place of the other file as well"),
                ("none/state", "memory", "Full", "none/state: No such file or directory"),
                ("state", "none/memory", "Full", "none/memory: No such file or directory"),
                ("state", "snap", "Full", "snap: is no regular file")):
            with self.subTest(state=state, memory=memory, kind=kind):
                code, said = self.make(state, memory, kind)
                self.assertEqual(code, 400)
                self.assertIn(words, said)
                self.assertEqual(self.everything(), before)
                self.yes("snapshot", "verify", "snap")
        fifo = os.path.join(self.dir, "fifo")
        os.mkfifo(fifo)
        before = self.everything()
        for pair in (("state", "fifo"), ("fifo", "memory")):
            code, said = self.make(*pair)
            self.assertEqual(code, 400)
            self.assertIn("fifo: is no regular file", said)
            self.assertEqual(self.everything(), before)
        for path, body, member in (("/snapshot/create", {"snapshot_path": "", "mem_file_path": "m"}, "snapshot_path"),
                                   ("/snapshot/create", {"snapshot_path": "s", "mem_file_path": ""}, "mem_file_path"),
                                   ("/catnap/snapshot", {"dir": ""}, "dir")):
            code, said = self.put(path, body)
            self.assertEqual(code, 400)
            self.assertIn(member + ": expected a path, it is empty", said)
        self.assertEqual(self.make("snap/state", "snap/another", "Diff")[0], 204)
        self.yes("snapshot", "merge", "snap")
        self.yes("snapshot", "verify", "snap")

    def everything(self):
        return {os.path.join(at, name) for at, _, names in os.walk(self.dir) for name in names if not name.startswith("out")}


class Refused(Case):
    def make(self):
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)

    def test_damaged(self):
        self.make()
        state = os.path.join(self.snap, "state")
        memory, = (os.path.join(self.snap, x) for x in os.listdir(self.snap) if x != "state")
        for path in (state, memory):
            with open(path, "rb") as f:
                good = f.read()
            for bad, what in ((good[:-1], path), (good[:len(good) // 2], path), (b"", path), (good + b"x", path),
                              (b"x" + good[1:], state), (good[:-4] + b"abcd", path)):
                if what != path:
                    continue
                with open(path, "wb") as f:
                    f.write(bad)
                self.refused([base.CATNAP, "run", "--restore", self.snap], 1, "--restore: ", self.snap if path == state else "memory-")
                self.no(1, [self.snap], "snapshot", "verify", self.snap)
            with open(path, "wb") as f:
                f.write(good)
        with open(memory, "r+b") as f:
            f.seek(0x7c00)
            f.write(b"\0")
        self.no(1, ["the checksum of the pages"], "snapshot", "verify", self.snap)
        os.remove(memory)
        self.refused([base.CATNAP, "run", "--restore", self.snap], 1, os.path.basename(memory), "No such file")
        self.refused([base.CATNAP, "run", "--restore", "nothing"], 1, "nothing", "No such file")
        self.refused([base.CATNAP, "run", "--restore", "no\nthing"], 1, "no\\x0athing", "No such file")
        self.no(1, ["no\\x0athing: No such file"], "snapshot", "info", "no\nthing")
        self.assertIn("vCPUs        1\n", self.yes("snapshot", "info", self.snap))

    def test_no_regular_files(self):
        """Nobody waits for what is in the place of a file, and may never say anything."""
        self.make()
        names = ["state", next(x for x in os.listdir(self.snap) if x != "state")]
        for name in names:
            path = os.path.join(self.snap, name)
            os.rename(path, path + ".kept")
            for make in (os.mkfifo, os.mkdir):
                make(path)
                self.refused([base.CATNAP, "run", "--restore", self.snap], 1, "--restore: ", name + ": is no regular file")
                self.no(1, [name + ": is no regular file"], "snapshot", "verify", self.snap)
                (os.unlink if make is os.mkfifo else os.rmdir)(path)
            os.rename(path + ".kept", path)
        # The VM that takes the place of another with one goes on.
        os.rename(os.path.join(self.snap, "state"), os.path.join(self.snap, "kept"))
        os.mkfifo(os.path.join(self.snap, "state"))
        p, out = self.boot()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        self.yes("snapshot", "verify", self.snap)

    def test_features(self):
        """One for more features of a processor than this host has is refused, and the first that is missing is named."""
        self.make()
        state = os.path.join(self.snap, "state")
        with open(state, "rb") as f:
            good = f.read()
        eax, ebx, ecx, edx = range(4)
        missing = 0
        # What no host has; what few have; and what has no name in /proc/cpuinfo.
        for function, index, register, bit, name in (
                (7, 0, ebx, 14, "mpx"), (0x80000001, 0, ecx, 11, "xop"), (0x80000001, 0, ecx, 16, "fma4"), (7, 0, ecx, 16, "la57"),
                (7, 0, edx, 8, "avx512_vp2intersect"), (7, 0, ebx, 4, "hle"), (7, 0, edx, 23, "avx512_fp16"),
                (0xd, 0, eax, 17, "the AMX state of XSAVE"), (7, 0, ecx, 15, "CPUID leaf 0x7, subleaf 0x0, ecx, bit 15"),
                (1, 0, ecx, 16, "CPUID leaf 0x1, subleaf 0x0, ecx, bit 16")):
            with self.subTest(name=name):
                edited = Edited(state)
                if edited.add_feature(function, index, register, bit):
                    missing += 1
                    edited.write()
                    for memory in ("map", "copy"):
                        self.refused([base.CATNAP, "run", "--restore", f"{self.snap},memory={memory}"], 1,
                                     "the guest was told of ", name, "this host does not have")
                    # It is no damage: another host may have it.
                    self.yes("snapshot", "verify", self.snap)
                with open(state, "wb") as f:
                    f.write(good)
        self.assertGreaterEqual(missing, 3)
        edited = Edited(state)
        edited.set_msr(0, 0x12345678, 0x5a)
        edited.write()
        self.refused([base.CATNAP, "run", "--restore", self.snap], 1, "MSR 0x12345678: this host does not take the value 0x5a")
        with open(state, "wb") as f:
            f.write(good)
        # What was written was as good as the library's own.
        edited = Edited(state)
        edited.write()
        with open(state, "rb") as f:
            self.assertEqual(f.read(), good)
        p, out = self.restore()
        self.wait_for(p, out)
        self.assertEqual(self.ctl("stop"), (0, "", ""))

    def test_options(self):
        self.make()
        for args, word in (((self.kernel,), "--restore"), (("--cpus", "2"), "--cpus"), (("-m", "8M"), "--memory"),
                           (("--on-reset", "restart"), "--on-reset"), (("--disk", "x"), "--disk"), (("--net", "tap=x"), "--net"),
                           (("--vsock", "cid=3,socket=v"), "--vsock"), (("--console", "null"), "--console")):
            self.refused([base.CATNAP, "run", "--restore", self.snap, *args], 2, word)
        for args in (("snapshot",), ("snapshot", "info"), ("snapshot", "what", "x"), ("snapshot", "verify", "x", "--json"),
                     ("ctl", "s", "status", "--diff"), ("ctl", "s", "snapshot"), ("ctl", "s", "snapshot", "x,then=fly")):
            code, out, err = self.command(*args)
            self.assertEqual((code, out), (2, ""), args)
            self.assertEqual(err.count("\n"), 1, err)

    def test_keys_of_devices(self):
        """An option that has a snapshot's device lead elsewhere cannot make another device of it."""
        image = self.file("image", bytes(4096))
        p, out = self.boot("-d", image)
        self.wait_for(p, out)
        self.assertEqual(self.ctl("snapshot", "snap", "--then", "stop"), (0, "", ""))
        self.stopped(p)
        for key in ("id=x", "queues=2", "block-size=4096", "bw=1M", "ops=5", "readonly=on", "vhost-user=v"):
            disk = key if key.startswith("vhost") else f"path=image,{key}"
            self.refused([base.CATNAP, "run", "--restore", "snap", "-d", disk], 2, "--disk: ",
                         "its limits" if key[:2] in ("bw", "op") else key.split("=")[0] + ": ")
        for key in ("queues=2", "mtu=1400", "bw=1M", "rx-ops=5", "vhost-user=v"):
            net = key if key.startswith("vhost") else f"tap=t,{key}"
            self.refused([base.CATNAP, "run", "--restore", "snap", "--net", net], 2, "--net: ",
                         "its limits" if key[:2] in ("bw", "rx") else key.split("=")[0] + ": ")
        p, out = self.restore("-d", image + ",direct=off,lock=off")
        self.wait_for(p, out)
        self.assertEqual(self.ctl("stop"), (0, "", ""))

    @unittest.skipUnless(SANDBOX, "no sandbox")
    def test_the_sandbox_lets_none_be_made_unless_it_is_told_where(self):
        p, out = self.run_vm("--kernel-format", "flat", "-k", self.kernel, "-m", "4M", "--cmdline", "", "--guest-halt-poll", "off")
        self.wait_for(p, out)
        self.no(1, ["--snapshots"], "ctl", "s", "snapshot", "snap")
        self.wait_for(p, out, len(self.text(out)) + 30)
        self.assertTrue(follows(self.text(out)))
        self.assertFalse(os.path.exists(self.snap))


if __name__ == "__main__":
    base.CATNAP, base.GUESTS, HANDLER, FAILING, SLOW = (os.path.abspath(p) for p in sys.argv[1:6])
    unittest.main(argv=sys.argv[:1] + sys.argv[6:], verbosity=2)
