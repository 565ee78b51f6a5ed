#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The static command: reproducible, and at home in an empty root: test_static.py GUESTS HANDLER [unittest options]

HANDLER is docs/examples/uffd-handler.c, built.
It builds the tarball twice, in two copies of the sources. As root the program is then started in its own jail; with
/dev/kvm a guest is, too, and goes on from a snapshot in other jails.
"""

import filecmp
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
GUESTS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
HANDLER = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
UID, GID = 12345, 23456
# Writes the alphabet over and over, as that of tests/cli/test_snapshot.py.
ALPHABET = bytes.fromhex("a00090" "0441" "baf803" "ee" "fe060090" "803e00901a" "7205" "c606009000" "b90010" "e2fe" "ebe0")


def run(*cmd, **more):
    return subprocess.run(cmd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=1500, **more)


class Connection(http.client.HTTPConnection):
    """To a control socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=60)
        self.path = str(path)

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


class Static(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        temp = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temp.cleanup)
        cls.temp = Path(temp.name)
        cls.made = []
        listed = run("git", "-C", str(SOURCE), "ls-files", "-z", "--cached", "--others", "--exclude-standard").stdout
        builds = (("one", 0o022), ("another-folder", 0o077))
        for name, _ in builds:
            for file in filter(None, listed.split("\0")):
                copy = cls.temp / name / "source" / file
                if (SOURCE / file).is_file():
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy2(SOURCE / file, copy)
        for name, mask in builds:
            copy = cls.temp / name / "source"
            p = run(str(copy / "scripts/static-tarball"), str(cls.temp / name / "out"), umask=mask,
                    env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000", CCACHE_DISABLE="1"))
            assert p.returncode == 0, p.stderr
            cls.made.append(Path(p.stdout.strip()))
        with tarfile.open(cls.made[0]) as tar:
            tar.extractall(cls.temp, filter="data")
        cls.catnap = str(cls.temp / cls.made[0].name.removesuffix(".tar.gz") / "bin/catnap")

    def test_same_bytes(self):
        a, b = self.made
        self.assertEqual(a.name, b.name)
        self.assertTrue(filecmp.cmp(a, b, shallow=False), f"{a.name}: two builds differ")
        self.assertEqual(run("sha256sum", "-c", "SHA256SUMS", cwd=a.parent).returncode, 0)
        with tarfile.open(a) as tar:
            self.assertEqual({(m.uid, m.gid, m.mtime) for m in tar.getmembers()}, {(0, 0, 1700000000)})
            names = [m.name.split("/", 1)[-1] for m in tar.getmembers()]
        self.assertIn("share/man/man1/catnap-run.1", names)
        self.assertEqual([n for n in names if n.startswith(("lib", "include"))], [])

    def test_alone(self):
        p = run("readelf", "-ldW", self.catnap)
        for word in ("INTERP", "NEEDED", "RUNPATH", "RPATH"):
            self.assertNotIn(word, p.stdout)
        # At an address of its own each time.
        self.assertIn("Elf file type is DYN", p.stdout)
        self.assertRegex(run(self.catnap, "--version").stdout, r"^catnap \d+\.\d+\.\d+\n$")
        self.assertNotIn(str(self.temp).encode(), Path(self.catnap).read_bytes())

    def root(self, vm, prepare=()):
        """The root of a jail, with copies of what is to be in it."""
        root = self.temp / "jails" / "catnap" / vm / "root"
        root.mkdir(parents=True)
        for file in prepare:
            shutil.copy(file, root)
        return root

    def in_jail(self, vm, *args):
        return [self.catnap, "jail", "--id", vm, "--uid", str(UID), "--gid", str(GID), "--chroot-base-dir",
                str(self.temp / "jails"), "--", *args]

    def jail(self, vm, *args, prepare=()):
        self.root(vm, prepare)
        return run(*self.in_jail(vm, *args))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_in_an_empty_root(self):
        p = self.jail("version", "--version")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, run(self.catnap, "--version").stdout, ""))
        p = self.jail("check", "check", "--json")
        self.assertEqual((p.returncode, p.stderr), (0 if KVM else 1, ""))
        p = self.jail("replay", "replay", "--generate", "tick", "--halts", "3")
        self.assertEqual((p.returncode, p.stdout.count("\n")), (0, 4), p.stderr)

    @unittest.skipUnless(os.geteuid() == 0 and KVM, "needs root and /dev/kvm")
    def test_guest(self):
        for irqchip in ("user", "kernel"):
            p = self.jail("guest-" + irqchip, "run", "-m", "16M", "--irqchip", irqchip, "--debug-exit", "0xf4", "-c",
                          "how=byte value=5", "--timeout", "20s", "/end.elf", prepare=[os.path.join(GUESTS, "end.elf")])
            self.assertEqual((p.returncode, p.stderr), (11, ""))

    def start(self, vm, *args):
        """In the background; what its guest writes is in the file "out" of its root."""
        p = subprocess.Popen(self.in_jail(vm, "run", "--serial", "file=/out", "--api-socket", "/api", "--timeout", "60s", *args),
                             stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.addCleanup(p.stderr.close)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        return p

    def ask(self, root, method, path, body):
        c = Connection(root / "api")
        c.request(method, path, json.dumps(body), {"Content-Type": "application/json"})
        answer = c.getresponse()
        self.assertIn(answer.status, (200, 204), answer.read())
        c.close()

    def text(self, root):
        return (root / "out").read_bytes() if (root / "out").exists() else b""

    def wait_for(self, p, root, letters=60):
        deadline = time.monotonic() + 60
        while len(self.text(root)) < letters or not (root / "api").exists():
            self.assertIsNone(p.poll(), p.poll() is not None and p.stderr.read())
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)

    def put_down(self, p, root, diff=False):
        self.ask(root, "PATCH", "/vm", {"state": "Paused"})
        self.ask(root, "PUT", "/catnap/snapshot", {"dir": "/snap", "diff": diff})
        self.ask(root, "PATCH", "/vm", {"state": "Resumed"})
        self.wait_for(p, root, len(self.text(root)) + 60)

    def put_down_first(self, vm):
        """A base and a diff, of a guest in a jail of its own. The root, and what it wrote until then."""
        root = self.root(vm)
        (root / "kernel").write_bytes(ALPHABET)
        p = self.start(vm, "--kernel-format", "flat", "-k", "/kernel", "-m", "4M", "--cmdline", "", "--guest-halt-poll", "off",
                       "--snapshots", "/", "--track-dirty", "on")
        self.wait_for(p, root)
        self.put_down(p, root)
        self.ask(root, "PATCH", "/vm", {"state": "Paused"})
        self.ask(root, "PUT", "/catnap/snapshot", {"dir": "/snap", "diff": True})
        self.ask(root, "POST", "/catnap/stop", {"wait": False})
        p.wait(30)
        self.assertEqual({f.stat().st_uid for f in (root / "snap").iterdir()}, {UID})
        return root, self.text(root)

    def take(self, snap, root):
        """A snapshot for another jail."""
        shutil.copytree(snap, root / "snap")
        for f in (root / "snap", *(root / "snap").iterdir()):
            os.chown(f, UID, GID)

    def goes_on(self, vm, root, keys, before):
        p = self.start(vm, "--restore", "/snap,memory=" + keys, "--snapshots", "/")
        self.wait_for(p, root)
        whole = before + self.text(root)
        self.assertTrue(all(b == (a - 64) % 26 + 65 for a, b in zip(whole, whole[1:])), whole)
        # And is put down once more.
        self.put_down(p, root)
        self.ask(root, "POST", "/catnap/stop", {"wait": False})
        p.wait(30)
        self.assertEqual(p.stderr.read(), "")

    @unittest.skipUnless(os.geteuid() == 0 and KVM, "needs root and /dev/kvm")
    def test_snapshots(self):
        """A VM is put down in a jail, and goes on in other ones."""
        first, before = self.put_down_first("first")
        for keys in ("map", "copy", "map,clock=realtime,learned=off"):
            with self.subTest(keys=keys):
                vm = "on-" + "".join(c for c in keys if c.isalpha())
                root = self.root(vm)
                self.take(first / "snap", root)
                self.goes_on(vm, root, keys, before)

    @unittest.skipUnless(os.geteuid() == 0 and KVM and os.path.exists("/dev/userfaultfd"), "needs root, /dev/kvm and /dev/userfaultfd")
    def test_served_memory(self):
        """By a process outside, at a socket in the jail's root."""
        first, before = self.put_down_first("puts")
        root = self.root("served")
        self.take(first / "snap", root)
        info = run(self.catnap, "snapshot", "info", str(first / "snap"), "--json").stdout
        handler = subprocess.Popen([HANDLER, str(root / "handler"), *(str(first / "snap" / m["name"]) for m in json.loads(info)["memories"])])
        self.addCleanup(handler.wait)
        self.addCleanup(handler.kill)
        deadline = time.monotonic() + 60
        while not (root / "handler").exists():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        os.chown(root / "handler", UID, GID)
        self.goes_on("served", root, "uffd,handler=/handler", before)

    @unittest.skipUnless(os.geteuid() == 0 and KVM, "needs root and /dev/kvm")
    def test_working_set(self):
        """Without /proc nothing is recorded. What was recorded elsewhere is used."""
        first, before = self.put_down_first("record")
        root = self.root("records")
        self.take(first / "snap", root)
        p = run(*self.in_jail("records", "run", "--restore", "/snap,memory=working-set"))
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (1, "", 1), p.stderr)
        for word in ("--restore: ", "/proc/self/pagemap", "recorded elsewhere"):
            self.assertIn(word, p.stderr)
        self.assertEqual(sorted(os.listdir(root / "snap")), sorted(os.listdir(first / "snap")))
        p = run(self.catnap, "run", "--restore", f"{first}/snap,memory=working-set", "--serial", "null", "--timeout", "2s")
        self.assertEqual(p.returncode, 124, p.stderr)
        self.assertIn("working-set", os.listdir(first / "snap"))
        root = self.root("uses")
        self.take(first / "snap", root)
        self.goes_on("uses", root, "working-set", before)


if __name__ == "__main__":
    unittest.main()
