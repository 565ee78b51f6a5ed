#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks on the command line: test_disk.py CATNAP IMAGES"""

import errno
import os
import subprocess
import sys
import tempfile
import unittest

from filtered import FCNTL, F_OFD_SETLK, Call, failing, unsaid

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


class Disk(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def image(self, name="disk", size=65536):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.truncate(size)
        return path

    def run_catnap(self, *args, **how):
        p = subprocess.run([CATNAP, "run", "-k", os.path.join(IMAGES, "end.elf"), "-m", "16M", "--debug-exit",
                            "0xf4", "-c", "how=byte value=0", *args], capture_output=True, text=True,
                           check=False, stdin=subprocess.DEVNULL, timeout=60, **how)
        p.stderr = unsaid(p.stderr)
        return p

    def refused(self, status, *args, words, option="--disk", **how):
        p = self.run_catnap(*args, **how)
        self.assertEqual((p.returncode, p.stdout), (status, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        for word in (option, *words):
            self.assertIn(word, p.stderr)

    def test_usage(self):
        self.refused(2, "-d", "readonly=on", words=["path"])
        self.refused(2, "-d", "", words=["path"])
        self.refused(2, "-d", "a,b", words=["b"])
        self.refused(2, "-d", "a,readonly=yes", words=["readonly", "on"])
        self.refused(2, "-d", "a,queues=0", words=["queues", "1 to 16"])
        self.refused(2, "-d", "a,queues=17", words=["queues", "1 to 16"])
        self.refused(2, "-d", "a,cache=none", words=["cache", "direct"])
        for value in ("1024", "0", "4K", "", "4096,block-size=512"):
            self.refused(2, "-d", "a,block-size=" + value, words=["block-size"])
        self.refused(2, "-d", "a,block-size=8192", words=["block-size", "8192", "expected 512 or 4096"])
        self.refused(2, "-d", "a,id=" + "x" * 21, words=["id", "20"])
        self.refused(2, *["-d", "a"] * 16, words=["15"])

    def test_limits(self):
        for key in ("bw", "ops", "bw-burst", "ops-burst"):
            for value in ("0", "", "-1", "1.5", "10x", "20000000000000000000", "fast"):
                with self.subTest(key=key, value=value):
                    self.refused(2, "-d", f"a,{key}={value}", words=[key])
        self.refused(2, "-d", "a,bw=1x", words=["bw", "64K"])
        self.refused(2, "-d", "a,bw=17179869184G", words=["bw", "out of range"])
        self.refused(2, "-d", "a,ops=1K", words=["ops", "number"])
        self.refused(2, "-d", "a,bw-burst=1M", words=["bw-burst", "without bw"])
        self.refused(2, "-d", "a,bw=1M,ops-burst=5", words=["ops-burst", "without ops"])
        for key, value in (("refill", "1s"), ("one-time", "5"), ("refill", "1s,ops-one-time=5")):
            self.refused(2, "-d", f"a,ops-{key}={value}", words=[f"ops-{key} without ops"])
        self.refused(2, "-d", "a,ops=5,ops-burst=5,ops-refill=1s", words=["ops-burst", "two of them"])
        self.refused(2, "-d", "a,ops=1,ops-burst=2000000000", words=["ops-burst", "36 years"])
        for value in ("0", "999ns", "5", "-1s", "1153000000s"):
            self.refused(2, "-d", f"a,ops=5,ops-refill={value}", words=["ops-refill"])
        for p in ("rx-", "tx-"):
            for key in ("bw-one-time=5", "bw-burst=5", "ops-refill=1s", "ops-burst=2"):
                self.refused(2, "-n", f"tap=a,bw=5,ops=5,{p}{key}", words=[f"{p}{key.split('=')[0]} without"],
                             option="--net")

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_image(self):
        self.refused(1, "-d", "/nonexistent/disk", words=["/nonexistent/disk", "No such file"])
        self.refused(1, "-d", self.dir, words=["directory"])
        self.refused(1, "-d", "/dev/zero", words=["/dev/zero", "file"])
        self.refused(1, "-d", self.image("none", 0), words=["empty"])
        self.refused(1, "-d", self.image("odd", 1000), words=["1000", "512"])
        self.refused(1, "-d", self.image("odd", 66048) + ",block-size=4096", words=["66048", "multiple of 4096"])
        for size in ("512", "4096"):
            self.assertEqual(self.run_catnap("-d", self.image() + ",block-size=" + size).returncode, 1)
        path = self.image()
        self.refused(1, "-d", path, "-d", path, words=[path, "in use"])
        self.refused(1, "-d", path, "-d", path + ",readonly=on", words=[path, "in use"])
        self.assertEqual(self.run_catnap(*["-d", path + ",readonly=on"] * 2).returncode, 1)

    # The bytes that a format begins with, before zeroes, and its name. The rest of them: tests/unit/test_format.c.
    FORMATS = (("qcow2", b"QFI\xfb\0\0\0\3"), ("VMDK", b"KDMV\1\0\0\0"), ("VMDK", b"# Disk DescriptorFile\nversion=1\n"),
               ("VHDX", b"vhdxfile"), ("VDI", b"<<< Oracle VM VirtualBox Disk Image >>>\n".ljust(64, b"\0") + b"\x7f\x10\xda\xbe"))

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_formats(self):
        """An image that is no raw one is refused by its name, unless it is said to be one: whatever its size, in every way
        to open it."""
        self.refused(2, "-d", "a,format=qcow2", words=["format", "raw"])
        for name, head in self.FORMATS:
            for size in (65536, 1000):
                path = self.image("disk", size)
                with open(path, "r+b") as f:
                    f.write(head)
                for more in ("", ",readonly=on", ",direct=on", ",lock=off"):
                    with self.subTest(name, more=more, size=size):
                        self.refused(1, "-d", path + more, words=[path + ": is ", name, "format=raw"])
                        p = self.run_catnap("-d", path + ",format=raw" + more)
                        self.assertEqual(p.returncode, 1)
                        # The guest ends with 1; a disk that is none is said to be none.
                        self.assertEqual("expected a multiple of 512" in p.stderr, size % 512 != 0, p.stderr)
                        self.assertEqual(p.stderr.count("\n"), int(size % 512 != 0), p.stderr)
                with open(path, "rb") as f:
                    self.assertEqual(f.read(), head.ljust(size, b"\0"))

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_raw(self):
        """The contents of a raw disk are the guest's: tables, file systems, archives, nothing known."""
        for at, head in ((510, b"\x55\xaa"), (512, b"EFI PART"), (1080, b"\x53\xef"), (0, b"hsqs"), (0, b"\x1f\x8b\x08"),
                         (257, b"ustar"), (0, b"\x7fELF"), (0, b"070701"), (4096, b"QFI\xfb"), (0, b"some text\n")):
            path = self.image()
            with open(path, "r+b") as f:
                f.seek(at)
                f.write(head)
            p = self.run_catnap("-d", path)
            self.assertEqual((p.returncode, p.stderr), (1, ""))

    @unittest.skipUnless(KVM and os.geteuid() != 0, "root may do anything")
    def test_permission(self):
        path = self.image()
        os.chmod(path, 0o400)
        self.refused(1, "-d", path, words=[path, "Permission", "readonly=on"])
        os.chmod(path, 0)
        self.refused(1, "-d", path + ",readonly=on", words=[path, "Permission"])

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_lock(self):
        """Another process, as long as it runs."""
        path = self.image()
        with subprocess.Popen([CATNAP, "run", "-k", os.path.join(IMAGES, "end.elf"), "-m", "16M", "-c", "how=halt",
                               "-d", path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as p:
            p.stdout.read(1)
            self.refused(1, "-d", path, words=[path, "in use"])
            p.kill()
            p.stdout.read()
        self.assertEqual(self.run_catnap("-d", path).returncode, 1)

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_no_lock_to_be_had(self):
        """As on NFS without its lock manager: an error, unless it is said that nobody else is there."""
        path = self.image()
        for error in (errno.ENOLCK, errno.EOPNOTSUPP, errno.EINVAL, errno.EIO, errno.ENOSYS):
            how = failing([Call(FCNTL, 1, F_OFD_SETLK)], error)
            self.refused(1, "-d", path, words=[path, "cannot be locked", os.strerror(error), "lock=off"], preexec_fn=how)
            self.refused(1, "-d", path + ",readonly=on,lock=on", words=["lock=off"], preexec_fn=how)
            p = self.run_catnap("-d", path + ",lock=off", preexec_fn=how)
            self.assertEqual((p.returncode, p.stderr), (1, ""))
        p = self.run_catnap("-d", path + ",lock=off", "-d", path + ",lock=off")
        self.assertEqual((p.returncode, p.stderr), (1, ""))
        self.refused(2, "-d", path + ",lock=no", words=["lock", "on or off"])

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_options(self):
        path = self.image()
        for args in (("--io", "thread"), ("--io", "vcpu"), ("--rng", "off"), ("--transport", "mmio"),
                     ("--irqchip", "kernel"), ("--hw", "fdt")):
            self.assertEqual(self.run_catnap("-d", path + ",id=x,queues=3", *args).returncode, 1, args)
        for option, value, word in (("--io", "kernel", "thread"), ("--rng", "yes", "on")):
            p = self.run_catnap(option, value)
            self.assertEqual(p.returncode, 2)
            self.assertIn(option, p.stderr)
            self.assertIn(word, p.stderr)


if __name__ == "__main__":
    unittest.main()
