#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The descriptions of hardware, as the compilers of their languages see them: test_hardware.py CATNAP"""

import os
import shutil
import subprocess
import sys
import tempfile
import unittest

from filtered import unsaid

CATNAP = os.path.abspath(sys.argv.pop(1))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def run(*cmd, cwd=None):
    p = subprocess.run(cmd, capture_output=True, text=True, check=False, cwd=cwd,
                       stdin=subprocess.DEVNULL, timeout=60)
    p.stderr = unsaid(p.stderr)
    return p


@unittest.skipUnless(KVM, "no /dev/kvm")
class Hardware(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name

    def dump(self, *args):
        shutil.rmtree(os.path.join(self.dir, "acpi"), ignore_errors=True)
        p = run(CATNAP, "run", "--dump-acpi", "acpi", "--dump-dtb", "dtb", *args, cwd=self.dir)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))

    NODES = ("--numa", "cpus=0:2,memory=64M,distances=10:30", "--numa", "cpus=1:3,memory=192M")

    def disks(self, n):
        """Options for as many disks."""
        args = []
        for i in range(n):
            path = os.path.join(self.dir, f"disk{i}")
            with open(path, "wb") as f:
                f.truncate(512)
            args += ["-d", path]
        return args

    @unittest.skipUnless(shutil.which("iasl"), "iasl is not installed")
    def test_iasl(self):
        for cpus, transport, disks in (("1", "pci", 1), ("64", "pci", 0), ("1", "mmio", 0), ("64", "mmio", 15), ("4", "pci", 0)):
            nodes = cpus == "4"
            self.dump("--cpus", cpus, "--transport", transport, *self.disks(disks), *(self.NODES if nodes else ()),
                      *(("--hotplug", "on") if transport == "pci" and disks else ()))
            folder = os.path.join(self.dir, "acpi")
            names = {n[:4] for n in os.listdir(folder) if n.endswith(".dat")}
            self.assertEqual(names, {"rsdp", "xsdt", "facp", "apic", "dsdt"} |
                             ({"mcfg"} if transport == "pci" else set()) | ({"srat", "slit"} if nodes else set()))
            for name in sorted(names - {"rsdp"}):
                p = run("iasl", "-d", name + ".dat", cwd=folder)
                self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
                self.assertNotRegex(p.stdout + p.stderr, r"(?i)warning|error|invalid")
                p = run("iasl", "-oa", "-p", "again", name + ".dsl", cwd=folder)
                self.assertRegex(p.stdout, r"0 Errors, 0 Warnings, 0 Remarks", p.stdout + p.stderr)
                # And it means the same.
                with open(os.path.join(folder, name + ".dat"), "rb") as f:
                    ours = f.read()
                with open(os.path.join(folder, "again.aml"), "rb") as f:
                    theirs = f.read()
                self.assertEqual(len(ours), len(theirs), name)
                self.assertEqual(ours[36:], theirs[36:], name)

    @unittest.skipUnless(shutil.which("dtc"), "dtc is not installed")
    def test_dtc(self):
        for args in ((), ("--transport", "mmio"), ("--transport", "mmio", *self.disks(15)), ("--cpus", "64", "--hw", "fdt", "-m", "4G"),
                     ("--cpus", "4", *self.NODES)):
            if "4G" in args and os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < 5 << 30:
                continue
            self.dump(*args)
            p = run("dtc", "-I", "dtb", "-O", "dts", "-o", "dts", "dtb", cwd=self.dir)
            self.assertEqual((p.returncode, p.stderr), (0, ""))

    def test_words_for_init(self):
        """In the device tree, too, what is added is a parameter: before "--", but not before one in quotes."""
        for given, end in (("console=ttyS0 -- one two", " -- one two"), ('a="b -- c"', None), ("quietly", None)):
            for transport in ("pci", "mmio"):
                self.dump("-c", given, "--hw", "fdt", "--transport", transport, *self.disks(1))
                with open(os.path.join(self.dir, "dtb"), "rb") as f:
                    tree = f.read()
                begin = given.split(" -- one")[0].encode()
                at = tree.index(begin)
                words = tree[at:tree.index(b"\0", at)].decode()
                ours = words[len(begin):len(words) - len(end or "")]
                self.assertTrue(words.endswith(end or ""), words)
                self.assertIn("cpuidle_haltpoll.force=Y", ours)
                self.assertIn("acpi=off pmtmr=0x608", ours)
                self.assertNotIn("--", ours)

    def test_ports_of_pci(self):
        for port in ("0xcf5", "0xcf8", "0xcfc", "0xcff"):
            p = run(CATNAP, "run", "--dump-dtb", "dtb", "--debug-exit", port, cwd=self.dir)
            self.assertEqual(p.returncode, 1)
            self.assertRegex(p.stderr, f"debug_exit_port: {port} belongs to the PCI bus")
            self.dump("--transport", "mmio", "--debug-exit", port)
        self.dump("--debug-exit", "0xcf4")

    def test_nowhere(self):
        for option, word in (("--dump-acpi", "none/none"), ("--dump-dtb", "none/none")):
            p = run(CATNAP, "run", option, word, cwd=self.dir)
            self.assertEqual(p.returncode, 1)
            self.assertIn(f"{option}: {word}: No such file or directory", p.stderr)


class Options(unittest.TestCase):
    def wrong(self, *args, words):
        p = run(CATNAP, "run", "kernel", *args)
        self.assertEqual(p.returncode, 2)
        for word in words:
            self.assertIn(word, p.stderr)

    def test_options(self):
        self.wrong("--hw", "pc", words=["--hw", "pc", "acpi"])
        self.wrong("--transport", "isa", words=["--transport", "isa", "mmio"])
        self.wrong("--guest-halt-poll", "on", words=["--guest-halt-poll", "force"])
        self.wrong("--guest-halt-poll", "off,ns=1us", words=["--guest-halt-poll", "off"])
        self.wrong("--guest-halt-poll", "force,ns=5s", words=["ns", "5s"])
        self.wrong("--guest-halt-poll", "force,allow-shrink=Y", words=["allow-shrink", "on"])
        self.wrong("--guest-halt-poll", "force,host=always", words=["host", "always", "break-even"])
        self.wrong("--guest-halt-poll", "off,host=break-even", words=["--guest-halt-poll", "off"])
        self.wrong("--guest-halt-poll", "force,host=break-even", "--irqchip", "kernel",
                   words=["--guest-halt-poll", "host", "--irqchip user"])


if __name__ == "__main__":
    unittest.main()
