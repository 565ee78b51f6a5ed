#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The static command: reproducible, and at home in an empty root: test_static.py GUESTS [unittest options]

It builds the tarball twice, in two copies of the sources. As root the program is then started in its own jail; with
/dev/kvm a guest is, too.
"""

import filecmp
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
GUESTS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def run(*cmd, **more):
    return subprocess.run(cmd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=1500, **more)


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

    def jail(self, vm, *args, prepare=()):
        base = self.temp / "jails"
        root = base / "catnap" / vm / "root"
        root.mkdir(parents=True)
        for file in prepare:
            shutil.copy(file, root)
        return run(self.catnap, "jail", "--id", vm, "--uid", "12345", "--gid", "23456", "--chroot-base-dir", str(base), "--", *args)

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


if __name__ == "__main__":
    unittest.main()
