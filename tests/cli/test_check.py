#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap check, and what scripts say and look for where something is missing: test_check.py CATNAP"""

import importlib.machinery
import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

sys.dont_write_bytecode = True
CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
ROOT = Path(__file__).resolve().parents[2]


def run(*cmd, timeout=60):
    return subprocess.run(cmd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=timeout)


class Check(unittest.TestCase):
    def test_json(self):
        """The same as the table, in the same order."""
        self.table_and_json()

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_json_without_kvm(self):
        """Nor is there a line that is too long where why a VM cannot be made takes many words."""
        hidden = ("unshare", "-m", "sh", "-c", 'mount -t tmpfs tmpfs /dev && exec "$@"', "sh")
        if run(*hidden, "true").returncode:
            self.skipTest("no mounts of its own")
        self.table_and_json(*hidden)

    def table_and_json(self, *inside):
        p, table = run(*inside, CATNAP, "check", "--json"), run(*inside, CATNAP, "check")
        self.assertEqual((p.stderr, table.stderr), ("", ""))
        self.assertEqual(p.returncode, table.returncode)
        d = json.loads(p.stdout)
        self.assertEqual(set(d), {"catnap", "can_run", "checks", "sleep_price_ns", "exit_price_ns", "guest_halt_poll_ns"})
        self.assertEqual(d["can_run"], p.returncode == 0)
        # Further lines of what was found, and of advice, begin with a space.
        rows = re.split(r"\n(?! )", table.stdout.rstrip("\n"))
        self.assertEqual(len(rows), len(d["checks"]))
        for row, check in zip(rows, d["checks"]):
            line = " ".join(row.split())
            self.assertEqual(set(check), {"name", "state", "found", "advice"})
            self.assertIn(check["state"], ("ok", "less", "missing"))
            self.assertEqual(line.lower().split()[0], check["state"])
            self.assertIn(check["name"], line)
            # Figures that are measured are not the same twice.
            if not check["found"].endswith((" us", " MHz")):
                self.assertIn(check["found"], line)
            self.assertTrue(check["advice"] is None or check["advice"])
            self.assertIn(check["advice"] or "", line)
        self.assertEqual([x for x in table.stdout.splitlines() if len(x) >= 80], [])

    @unittest.skipUnless(os.access("/dev/kvm", os.R_OK | os.W_OK), "no /dev/kvm")
    def test_crossover(self):
        # It measures for seconds, which a busy host makes many.
        p = run(CATNAP, "check", "--crossover", "--json", timeout=110)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        found = {c["name"]: c["found"] for c in json.loads(p.stdout)["checks"]}
        self.assertRegex(found["irqchip by crossover"], r"^(user|kernel) with one vCPU, (user|kernel) with several$")
        one = r"(user|kernel)( (below|above) [0-9.]+)?"
        for by in ("a thread", "a timer"):
            self.assertRegex(found["irqchip, halts by " + by], f"^by interrupts {one}, IPIs {one}, timers {one}$")

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_without_kvm(self):
        """It says so, with the same status; and never to join root's group."""
        for how, state in (("mount -t tmpfs tmpfs /dev", "is not there"),
                           ("mount -t tmpfs tmpfs /dev && touch /dev/kvm && chmod 0 /dev/kvm && "
                            "chown 0:0 /dev/kvm", "denied")):
            unshare = ["unshare", "-m", "sh", "-c", how + ' && exec "$@"', "sh"]
            if state == "denied":
                unshare += ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
            p = run(*unshare, CATNAP, "check", "--json")
            if p.stderr:
                self.skipTest(p.stderr)
            d = json.loads(p.stdout)
            self.assertEqual((p.returncode, d["can_run"]), (1, False))
            kvm = next(c for c in d["checks"] if c["name"] == "/dev/kvm")
            self.assertEqual(kvm["state"], "missing")
            self.assertIn(state, kvm["found"])
            self.assertNotIn("catnap check", kvm["found"])
            if state == "denied":
                self.assertIn("udev rule", kvm["advice"])
                self.assertNotIn("join", kvm["advice"])

    def test_options(self):
        p = run(CATNAP, "check", "--xml")
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (2, "", 1))


class Scripts(unittest.TestCase):
    def rights(self, group):
        script = run("sed", "-n", "/^kvm_rights()/,/^}/p", str(ROOT / "quickstart")).stdout
        return run("bash", "-c", script + 'kvm_rights "$@"', "bash", "ann", group).stdout

    def test_quickstart_never_advises_the_group_root(self):
        said = self.rights("root")
        self.assertNotRegex(said, r"usermod -aG root|group root")
        for way in ("udev rule", "setfacl -m u:ann:rw /dev/kvm", "run as root"):
            self.assertIn(way, said)
        self.assertIn("usermod -aG kvm ann", self.rights("kvm"))

    def test_an_interrupted_run_leaves_nothing(self):
        """What ./test has started ends with it, in whatever session it is."""
        path = str(ROOT / "scripts/run-tests")
        loader = importlib.machinery.SourceFileLoader("run_tests", path)
        runner = importlib.util.module_from_spec(importlib.util.spec_from_loader("run_tests", loader))
        loader.exec_module(runner)
        reader, writer = os.pipe()
        with subprocess.Popen(["sh", "-c", "setsid sh -c 'sleep 1000 & echo up; exec sleep 1000' & sleep 1000 & echo up; wait"],
                              stdout=writer, start_new_session=True) as p:
            os.close(writer)
            self.assertEqual(os.read(reader, 3) + os.read(reader, 3), b"up\nup\n")
            runner.signal_all(p.pid, signal.SIGKILL)
        # None of them has it open any more.
        self.assertEqual(os.read(reader, 1), b"")
        os.close(reader)

    def test_debian_finds_its_own_tools(self):
        """mmdebstrap out of its package runs helpers that are not installed either."""
        path = str(ROOT / "guest-images/debian/build")
        loader = importlib.machinery.SourceFileLoader("debian_build", path)
        spec = importlib.util.spec_from_loader("debian_build", loader)
        build = importlib.util.module_from_spec(spec)
        loader.exec_module(build)
        with tempfile.TemporaryDirectory() as d:
            tools = Path(d) / "usr/bin"
            tools.mkdir(parents=True)
            for name in ("mmdebstrap", "mmtarfilter"):
                (tools / name).write_text("#!/bin/sh\n")
                (tools / name).chmod(0o755)
            with mock.patch.object(build.images, "unpacked", lambda name: Path(d)), \
                    mock.patch.object(build.images, "need", lambda *names: None), \
                    mock.patch.object(build.shutil, "which", lambda name: None):
                program, search = build.mmdebstrap()
            self.assertEqual(program, tools / "mmdebstrap")
            self.assertEqual(build.shutil.which("mmtarfilter", path=search), str(tools / "mmtarfilter"))
            with mock.patch.object(build.shutil, "which", lambda name: "/usr/bin/" + name):
                self.assertEqual(build.mmdebstrap(), ("mmdebstrap", os.environ["PATH"]))


if __name__ == "__main__":
    unittest.main()
