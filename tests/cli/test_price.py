#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests what a sleep costs on this host, from one VM to the next, and the window that a Linux guest gets of it.

    test_price.py CATNAP PROBE [unittest options]

The file may be anybody's: the VM runs with anything in its place, and says nothing."""

import ctypes
import json
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

CATNAP = os.path.abspath(sys.argv.pop(1))
PROBE = os.path.abspath(sys.argv.pop(1))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
LENGTH = 512


def sealed(text):
    """A record of these lines, as catnap writes it."""
    sum_ = 2166136261
    for byte in text.encode():
        sum_ = (sum_ ^ byte) * 16777619 % 2**32
    return (text + f"sum={sum_:08x}").encode().ljust(LENGTH, b"\n")


def drop_all():
    """As somebody who is not root: for preexec_fn."""
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    # Of /proc/self of a program that was started so, nobody else is the owner.
    ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)


@unittest.skipUnless(KVM, "no /dev/kvm")
class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(folder.cleanup)
        self.dir = Path(folder.name)
        self.cache = self.dir / "cache"
        self.file = self.cache / "catnap/sleep-price"
        self.env = {**os.environ, "XDG_CACHE_HOME": str(self.cache)}

    def catnap(self, *args, command=None, **how):
        return subprocess.run([command or CATNAP, *args], env=self.env, cwd=self.dir, text=True, stdin=subprocess.DEVNULL, timeout=180,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False, **how)

    def window(self, *args):
        """Returns what the guest's command line says of halt polling: {parameter: number}."""
        p = self.catnap("run", "--hw", "fdt", "-c", "begin", "--dump-dtb", "dtb", *args)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))
        tree = (self.dir / "dtb").read_bytes()
        words = tree[tree.index(b"begin"):].split(b"\0")[0].decode()
        given = args[args.index("--guest-halt-poll") + 1] if "--guest-halt-poll" in args else ""
        self.assertEqual("cpuidle_haltpoll.force=Y" in words, given not in ("off", "realtime"), words)
        return {key: int(n) for key, n in re.findall(r"haltpoll\.guest_halt_poll_(\w+)=(\d+)", words)}

    def test_the_trace_of_a_guest_that_polls(self):
        """Its column allowed says whether the policy was to poll, and replay heeds it."""
        for policy, host, want in (("adaptive", "learned", "1"), ("kernel", "learned", "0"), ("adaptive", "off", "0"),
                                   ("fixed", "break-even", "1")):
            with self.subTest(policy=policy, host=host):
                p = self.catnap("run", "--halt-poll", policy, "--guest-halt-poll", "host=" + host, "--halt-trace",
                                "trace", "--timeout=500ms", "-c", "workload=idle tick_hz=250 haltpoll=1", PROBE)
                self.assertIn("the time is over", p.stderr)
                head, *rows = [line.split(",") for line in (self.dir / "trace").read_text("ascii").split()]
                self.assertTrue(rows)
                self.assertEqual({row[head.index("allowed")] for row in rows}, {want})
                p = self.catnap("replay", "--format=json", "--halt-poll=kernel", "--halt-poll=always", "trace")
                polled = [r["poll_ns"] for r in json.loads(p.stdout)["policies"]]
                self.assertEqual(polled[1] > 0, want == "1")
                if want == "0":
                    self.assertEqual(polled[0], 0)

    def key(self):
        """The lines that name this boot and this machine, as catnap check writes them."""
        self.assertEqual(self.catnap("check").returncode, 0)
        return "".join(self.file.read_text("ascii").splitlines(True)[1:5])

    def put(self, sleep_ns, exit_ns=0, key=None, more=""):
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = f"catnap price 1\n{key or self.key()}sleep_ns={sleep_ns}\nexit_ns={exit_ns}\n{more}"
        self.file.write_bytes(sealed(text))

    def run_guest(self, *args, **how):
        """One that sleeps some hundred times."""
        p = self.catnap("run", "--halt-poll=off", "--timeout=2s", "-c", "workload=idle tick_hz=250 tsc_khz=2400000",
                        *args, PROBE, **how)
        self.assertEqual(p.returncode, 124, p.stderr)
        return p.stderr


UNKNOWN = {"ns": 25000, "grow_start": 5000}


class Window(Case):
    def test_unknown(self):
        self.assertEqual(self.window(), UNKNOWN)
        self.assertEqual(self.window("--guest-halt-poll", "force"), UNKNOWN)
        self.assertEqual(self.window("--guest-halt-poll", "realtime"), UNKNOWN)
        self.assertFalse(self.cache.exists(), "made where nothing ran")

    def test_known(self):
        self.put(40000)
        self.assertEqual(self.window(), {"ns": 20000, "grow_start": 4000})
        self.put(50000, 8000)
        self.assertEqual(self.window(), {"ns": 51000, "grow_start": 5100, "grow": 10, "shrink": 0})
        self.put(5000, 7000)
        self.assertEqual(self.window(), {"ns": 12000, "grow_start": 1200, "grow": 10, "shrink": 0})
        # The longest that there is.
        self.put(5000000, 5000000)
        self.assertEqual(self.window()["ns"], 1000000)

    def test_given(self):
        """A parameter that was given is not made of the price."""
        self.put(40000, 1000)
        self.assertEqual(self.window("--guest-halt-poll", "ns=70us"), {"ns": 70000})
        self.assertEqual(self.window("--guest-halt-poll", "ns=kernel"), {})
        self.assertEqual(self.window("--guest-halt-poll", "ns=kernel,grow=3"), {"grow": 3})
        self.assertEqual(self.window("--guest-halt-poll", "grow-start=3us,grow=4"),
                         {"ns": 23250, "grow_start": 3000, "grow": 4, "shrink": 0})
        self.assertEqual(self.window("--guest-halt-poll", "off"), {})

    def test_host_that_sleeps_at_once(self):
        """The price of a sleep and an exit: nobody polls after the guest."""
        self.put(40000, 1000)
        for args in (("--guest-halt-poll", "host=off"), ("--halt-poll", "off"), ("--halt-poll", "kernel")):
            self.assertEqual(self.window(*args), {"ns": 41000, "grow_start": 4100, "grow": 10, "shrink": 0}, args)
        # The halts are KVM's: so are the parameters.
        self.assertEqual(self.window("--irqchip", "kernel"), {})

    def test_said(self):
        self.put(40000)
        said = self.catnap("run", "-v", "--dump-dtb", "dtb").stderr
        self.assertIn("a Linux guest polls for 20000 ns at most: a sleep was last measured to cost 40000 ns here", said)

    def test_check(self):
        p = self.catnap("check", "--json")
        d = json.loads(p.stdout)
        self.assertEqual(p.returncode, 0)
        known = self.file.read_text("ascii")
        self.assertIn(f"\nsleep_ns={d['sleep_price_ns']}\nexit_ns={d['exit_price_ns']}\n", known)
        self.assertEqual(self.window()["ns"], d["guest_halt_poll_ns"])
        table = self.catnap("check").stdout
        self.assertRegex(table, r"ok +price of a sleep +[0-9.]+ us\n")
        self.assertRegex(table, r"ok +polling of Linux guests +[0-9.]+ us\n")


class Kept(Case):
    def sleep_ns(self):
        text = self.file.read_text("ascii")
        self.assertEqual(len(text), LENGTH)
        return int(re.search(r"\nsleep_ns=(\d+)\n", text)[1])

    def test_at_the_end(self):
        """In the sandbox, by the one who ran the guest; the next one begins with it."""
        self.assertEqual(self.run_guest("--stats", "stats"), "catnap run: --timeout: the time is over\n")
        price = json.loads((self.dir / "stats").read_text("ascii"))["vcpus"][0]["price_ns"]
        self.assertEqual(self.sleep_ns(), price)
        self.assertEqual(stat.S_IMODE(self.file.stat().st_mode) & 0o133, 0)
        self.assertEqual(self.window()["ns"], price // 2)

    def test_half_of_what_was_known(self):
        self.put(4000000, 3000)
        self.run_guest("--stats", "stats")
        price = json.loads((self.dir / "stats").read_text("ascii"))["vcpus"][0]["price_ns"]
        self.assertEqual(self.sleep_ns(), (4000000 + price) // 2)
        self.assertIn("\nexit_ns=3000\n", self.file.read_text("ascii"), "what an exit costs is forgotten")

    def test_few_sleeps(self):
        """A guest that has hardly slept says nothing of the host."""
        p = self.catnap("run", "--timeout=1s", "-c", "workload=none", PROBE)
        self.assertNotEqual(p.returncode, 0)
        if self.file.exists():
            self.assertEqual(self.file.stat().st_size, 0)

    def test_failed_start(self):
        p = self.catnap("run", "none.elf")
        self.assertEqual(p.returncode, 1)
        self.assertFalse(self.cache.exists())


class Irqchip(Case):
    """--irqchip auto."""

    def chosen(self, *args):
        """Returns what was chosen, and why."""
        p = self.catnap("run", "-v", "--irqchip", "auto", "--timeout=30s", "--stats", "stats", "--debug-exit", "0xf4", "-c",
                        "workload=timer samples=1 warmup=0 gap_ns=100000 tsc_khz=2400000 apic_hz=1000000000 exit=244", *args, PROBE)
        self.assertNotIn(p.returncode, (1, 2, 124), p.stderr)
        said = re.search(r"^catnap run: info: irqchip auto: (user|kernel): (.*)$", p.stderr, re.M)
        self.assertTrue(said, p.stderr)
        self.assertEqual(json.loads((self.dir / "stats").read_text("ascii"))["irqchip"], said[1])
        return said[1], said[2]

    def test_by_the_number_of_vcpus(self):
        key = self.key()
        for known in (("user", "kernel"), ("kernel", "user")):
            self.put(40000, key=key, more="irqchip=%s,%s\n" % known)
            for cpus in (1, 2, 4):
                self.assertEqual(self.chosen("--cpus", str(cpus))[0], known[cpus > 1], (known, cpus))

    def test_by_other_options(self):
        """One that has an effect with irqchip user only decides, whatever is better."""
        self.put(40000, more="irqchip=kernel,kernel\n")
        for option, *args in (("--halt-trace", "--halt-trace", "trace"), ("--halt-poll", "--halt-poll", "fixed"),
                              ("--halt-poll", "--halt-poll", "kernel,cpu-max=5%"), ("--halt-poll", "--halt-poll", "kernel,grow=3"),
                              ("--halt-poll vcpu=", "--halt-poll", "vcpu=0,policy=off"),
                              ("--guest-halt-poll host=", "--guest-halt-poll", "host=break-even")):
            self.assertEqual(self.chosen(*args), ("user", option + " needs it"))
        for args in (("--halt-poll", "off"), ("--halt-poll", "kernel,max=50us"), ("--halt-poll", "adaptive,cpu-max=5%")):
            self.assertEqual(self.chosen(*args)[0], "kernel", args)

    def test_measured_once(self):
        """The first VM measures, within no --timeout of its own; the next ones find it there."""
        first = self.chosen()
        known = self.file.read_text("ascii")
        self.assertRegex(known, r"\nirqchip=(user|kernel),(user|kernel)\n")
        self.assertEqual(re.search(r"irqchip=(\w+),", known)[1], first[0])
        self.assertIn("by prices of this host", first[1])
        self.assertEqual(self.chosen(), first)
        # What a VM has learned of sleeps goes beside it.
        self.run_guest()
        self.assertIn(re.search(r"\nirqchip=.*\n", known)[0], self.file.read_text("ascii"))
        self.assertGreater(int(re.search(r"sleep_ns=(\d+)", self.file.read_text("ascii"))[1]), 0)

    def test_check_keeps_it(self):
        p = self.catnap("check", "--crossover", "--json")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        found = {c["name"]: c["found"] for c in json.loads(p.stdout)["checks"]}["irqchip by crossover"]
        one, several = re.fullmatch(r"(\w+) with one vCPU, (\w+) with several", found).groups()
        self.assertIn(f"\nirqchip={one},{several}\n", self.file.read_text("ascii"))
        self.assertEqual((self.chosen()[0], self.chosen("--cpus", "2")[0]), (one, several))
        # One that does not measure it leaves it.
        self.catnap("check")
        self.assertIn(f"\nirqchip={one},{several}\n", self.file.read_text("ascii"))

    def test_no_place(self):
        """What could not be kept is not measured: each VM would take that long."""
        self.env["XDG_CACHE_HOME"] = "/proc"
        self.assertEqual(self.chosen(), ("user", "nothing is known of this host, and what is measured could not be kept"))

    def test_spoilt(self):
        key = self.key()
        for more in ("irqchip=user\n", "irqchip=user,\n", "irqchip=none,user\n", "irqchip=user,kernel,user\n",
                     "irqchip=user,kernel\nirqchip=user,kernel\n"):
            self.put(40000, key=key, more=more)
            self.assertEqual(self.window(), UNKNOWN, more)

    def test_nothing_is_measured_for_nothing(self):
        p = self.catnap("run", "--irqchip", "auto", "--print-config", "x")
        self.assertEqual((p.returncode, json.loads(p.stdout)), (0, {"kernel": "x", "irqchip": "auto"}))
        self.assertEqual(self.catnap("run", "--irqchip", "auto", "--dump-dtb", "dtb", "--hw", "fdt").returncode, 0)
        self.assertEqual(self.catnap("run", "--irqchip", "auto", "--guest-halt-poll", "x", "k").returncode, 2)
        self.assertFalse(self.file.exists())


class Hostile(Case):
    def unknown(self, what):
        self.assertEqual(self.window(), UNKNOWN, what)

    def test_other_boots_and_machines(self):
        key = self.key()
        for was, now in ((r"boot=\w", "boot=x"), ("kernel=", "kernel=1"), ("cpu=", "cpu=another "), (r"virtual=\d", "virtual=7")):
            self.put(40000, key=re.sub(was, now, key))
            self.unknown(now)

    def test_contents(self):
        key = self.key()
        good = sealed(f"catnap price 1\n{key}sleep_ns=40000\nexit_ns=0\n")
        for bad in (b"", b"\0" * LENGTH, os.urandom(LENGTH), good[:-1], good + b"\n", good * 1000, good.replace(b"40000", b"90000"),
                    sealed(f"catnap price 1\n{key}sleep_ns=-1\nexit_ns=0\n"),
                    sealed(f"catnap price 1\n{key}sleep_ns=18446744073709551617\nexit_ns=0\n"),
                    sealed(f"catnap price 1\n{key}sleep_ns=5000001\nexit_ns=0\n"),
                    sealed(f"catnap price 1\n{key}sleep_ns=1\nexit_ns=0\n"),
                    sealed(f"catnap price 1\n{key}sleep_ns=40000\nexit_ns=4000000000\n"),
                    sealed(f"catnap price 1\n{key}sleep_ns=40000\nexit_ns=0\nmore=1\n"),
                    sealed(f"catnap price 2\n{key}sleep_ns=40000\nexit_ns=0\n")):
            self.file.write_bytes(bad)
            self.unknown(bad[:200])
        self.file.write_bytes(good)
        self.assertEqual(self.window()["ns"], 20000)

    def test_kinds_of_files(self):
        self.put(40000)
        elsewhere = self.dir / "elsewhere"
        self.file.rename(elsewhere)
        for make in (lambda: self.file.symlink_to(elsewhere), lambda: os.link(elsewhere, self.file),
                     lambda: os.mkfifo(self.file), self.file.mkdir, lambda: self.file.symlink_to("/dev/zero"),
                     lambda: self.file.symlink_to(self.file)):
            before = elsewhere.read_bytes()
            make()
            self.unknown(make)
            self.run_guest()
            self.assertEqual(elsewhere.read_bytes(), before, "written to through a link")
            if self.file.is_dir() and not self.file.is_symlink():
                self.file.rmdir()
            else:
                self.file.unlink()

    def test_kinds_of_folders(self):
        """A link, and one that others may write in: nothing is read there, and nothing is left."""
        self.put(40000)
        folder, elsewhere = self.file.parent, self.dir / "elsewhere"
        folder.rename(elsewhere)
        folder.symlink_to(elsewhere)
        self.unknown("a link")
        (elsewhere / self.file.name).unlink()
        self.run_guest()
        self.assertEqual(os.listdir(elsewhere), [])
        folder.unlink()
        folder.mkdir()
        folder.chmod(0o777)
        self.run_guest()
        self.assertEqual(os.listdir(folder), [])

    def test_modes(self):
        for mode in (0o622, 0o620, 0o602):
            self.put(40000)
            self.file.chmod(mode)
            self.unknown(oct(mode))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_somebody_elses(self):
        self.put(40000)
        os.chown(self.file, 65534, 65534)
        self.unknown("not root's")
        # Root's is good for others.
        os.chown(self.file, 0, 0)
        for path in (self.dir, self.cache, self.file.parent):
            path.chmod(0o755)
        # The build may lie below a folder that is closed to others.
        command = shutil.copy(CATNAP, self.dir / "catnap")
        p = self.catnap("run", "-v", "--dump-dtb", "/dev/null", command=command, preexec_fn=drop_all)
        self.assertIn("was last measured to cost 40000 ns", p.stderr)

    def test_no_place(self):
        """Nowhere to keep it: nothing is said of that, and the VM is what it was."""
        (self.dir / "plain").write_text("a file")
        for place in ("/proc/none", "/dev/null", str(self.dir / "plain"), "/" + "x" * 5000):
            self.env["XDG_CACHE_HOME"] = place
            self.assertEqual(self.run_guest(), "catnap run: --timeout: the time is over\n", place[:40])

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_system(self):
        """Without a cache of his own root has the system's, which others read; here in a file system of their own."""
        p = subprocess.run(["unshare", "-m", "true"], stderr=subprocess.PIPE, text=True, check=False)
        if p.returncode:
            self.skipTest(p.stderr)
        self.dir.chmod(0o755)
        (self.dir / "home").mkdir()
        os.chown(self.dir / "home", 65534, 65534)
        script = """
            set -e
            mount -t tmpfs tmpfs /var/cache
            [ -z "$3" ] || mount -o remount,ro /var/cache
            status=0
            "$1" run --halt-poll=off --timeout=2s -c "workload=idle tick_hz=250 tsc_khz=2400000" "$2" >/dev/null || status=$?
            [ $status = 124 ]
            ls /var/cache
            HOME=$PWD/home setpriv --reuid=65534 --regid=65534 --clear-groups "$1" run -v --dump-dtb /dev/null || true
        """
        env = {key: value for key, value in self.env.items() if key not in ("XDG_CACHE_HOME", "HOME")}
        for given in ("relative", "", None):
            for read_only, kept, said in (("", "catnap\n", "was last measured"), ("ro", "", "is taken to cost 50000")):
                here = dict(env, XDG_CACHE_HOME=given) if given is not None else env
                p = subprocess.run(["unshare", "-m", "sh", "-c", script, "sh", CATNAP, PROBE, read_only], env=here, cwd=self.dir,
                                   stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                   timeout=60, check=False)
                self.assertEqual((p.returncode, p.stdout), (0, kept), p.stderr)
                self.assertIn(said, p.stderr)
        self.assertFalse((self.dir / "relative").exists())


if __name__ == "__main__":
    unittest.main()
