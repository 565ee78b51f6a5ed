#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Options of all commands, found by their own --help: what holds for each value of a kind.

    test_options.py CATNAP GUESTS [unittest options]
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

CATNAP = GUESTS = ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def catnap(*args):
    return subprocess.run([CATNAP, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=60)


def forms(command):
    """(option, form) of each option with a value, the form as one word."""
    text = catnap(command, "--help").stdout
    # A form that is longer than a line goes on below its beginning.
    text = re.sub(r"([,|])\n +", r"\1", text.split("\nOptions", 1)[1].split("\n\n", 1)[0])
    return re.findall(r"^ +(?:-\w, )?(--[a-z-]+) ([^\s]+)", text, re.M)


class Case(unittest.TestCase):
    maxDiff = None

    def refused(self, *args, says=""):
        """One line on standard error, nothing on standard output, status 2."""
        p = catnap(*args)
        self.assertEqual((p.returncode, p.stdout), (2, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        self.assertIn(says, p.stderr)


class Times(Case):
    """A time has a unit: 5 is nobody's 5 ns."""

    def values(self):
        """(command, option, value with %s for the time), for every time of every command."""
        for command in ("run", "bench", "ctl", "replay", "stat"):
            for option, form in forms(command):
                if form == "TIME":
                    yield command, option, "%s"
                first = re.match(r"[a-z]+", form.split("|")[0].split("=")[-1])
                for key in re.findall(r"([a-z-]+)=TIME", form):
                    # The first value of an option with modes; one that takes keys.
                    yield command, option, ("force," if first and "force" in form else "") + key + "=%s"
        yield "bench", "--mode", "kernel:%s"
        yield "bench", "--mode", "kernel:%s/vcpu"
        kinds = re.findall(r"^  ([a-z]+) +(?=[a-z]+=)((?:.*\n {8,})*.*)", catnap("replay", "--help").stdout, re.M)
        for kind, keys in kinds:
            for key in re.findall(r"([a-z]+)=TIME", keys):
                yield "replay", "--generate", f"{kind},{key}=%s"
                yield "bench", "--process", f"{kind},{key}=%s"

    def test_no_unit(self):
        found = list(self.values())
        for known in (("run", "--timeout", "%s"), ("run", "--halt-poll", "max=%s"), ("stat", "--interval", "%s"),
                      ("run", "--guest-halt-poll", "force,grow-start=%s"), ("ctl", "--time-limit", "%s"),
                      ("replay", "--price", "%s"), ("bench", "--gap", "%s"), ("bench", "--duration", "%s"),
                      ("replay", "--generate", "bursty,pause=%s"), ("bench", "--process", "tick,net=%s")):
            self.assertIn(known, found)
        for command, option, value in found:
            for time in ("5", "200", "2000000000", "0000001", "99999999999999999999999"):
                with self.subTest(command=command, option=option, value=value % time):
                    self.refused(command, option, value % time,
                                 says=f'"{time}" has no unit: expected ns, us, ms or s after the number')

    def test_zero(self):
        for value in ("0", "00", "0ns", "0s"):
            self.assertEqual(catnap("replay", "--price", value, "--generate", "tick").returncode, 2)
            p = subprocess.run([CATNAP, "replay", "--price", value, "--halt-poll", "kernel,max=" + value, "-"],
                               input="halt_ns\n1\n", capture_output=True, text=True, check=False, timeout=60)
            self.assertEqual(p.returncode, 0, p.stderr)
        # That is no time to wait.
        self.refused("run", "--timeout", "0", "kernel", says='--timeout: "0" is out of range: expected at least 1ns')
        self.refused("run", "--timeout", "99999999999s", "kernel",
                     says='--timeout: "99999999999s" is out of range: expected at least 1ns, below 2^64 ns\n')

    def test_no_time(self):
        for value in ("5S", "5 s", "s", "5.5s", "5sec", "-5s", "+5s", "5m", "0x5s", "5s ", "1e3ms", "1s1ms"):
            with self.subTest(value):
                self.refused("run", "--timeout", value, "kernel", says="is not a time: expected")


def quoted(text):
    return '"' + text.replace('"', '""') + '"'


class Quotes(Case):
    """In double quotes everything is a value."""

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_paths(self):
        """Every path of a run, with all that could be mistaken for something else in it."""
        with tempfile.TemporaryDirectory() as folder:
            odd = os.path.join(folder, 'a,readonly=on "b" c=d')
            os.symlink(os.path.join(GUESTS, "end.elf"), odd + ".elf")
            for name in ("disk", "initramfs"):
                with open(f"{odd}.{name}", "wb") as f:
                    f.truncate(65536)
            args = []
            for option, before, name, after in (
                    ("--kernel", "", "elf", ""), ("--initramfs", "", "initramfs", ""),
                    ("--disk", "", "disk", ""), ("--disk", "path=", "disk2", ",id=\"x,y\""),
                    ("--serial", "file=", "serial", ""), ("--console", "file=", "console", ""),
                    ("--vsock", "cid=3,socket=", "vsock", ""),
                    ("--stats", "", "stats", ""), ("--api-socket", "", "ask", ""),
                    ("--halt-trace", "", "trace", ""), ("--log-file", "", "log", ""),
                    ("--dump-acpi", "", "acpi", ""), ("--dump-dtb", "", "dtb", "")):
                args += [option, before + quoted(f"{odd}.{name}") + after]
            with open(odd + ".disk2", "wb") as f:
                f.truncate(65536)
            p = catnap("run", "-m", "16M", "--debug-exit", "0xf4", "-c", "how=byte value=5", "--timeout", "20s", *args)
            self.assertEqual((p.returncode, p.stderr), (11, ""))
            with open(odd + ".stats", encoding="ascii") as f:
                names = [d["name"] for d in json.load(f)["devices"]]
            self.assertIn("disk", " ".join(names))
            made = {n[len(os.path.basename(odd)) + 1:] for n in os.listdir(folder)}
            self.assertLessEqual({"serial", "console", "stats", "trace", "log", "acpi", "dtb"}, made)
            self.assertTrue(all(n.startswith(os.path.basename(odd)) for n in os.listdir(folder)))

    def test_not_closed(self):
        for command in ("run", "bench", "ctl", "replay", "stat"):
            for option, form in forms(command):
                if option == "--cmdline":
                    continue
                for value in ('"', '"a', 'a"', 'a"b,c', '"a","b'):
                    with self.subTest(command=command, option=option, value=value):
                        self.refused(command, option, value,
                                     says=f'{option}: "{value}" has a double quote that is not closed: expected a pair')

    def test_every_value(self):
        """Quotes around what needs none change nothing."""
        self.refused("bench", "--mode", '"user:kernel"', "--samples", '"10"', "--process", '"tick","period"=1ms',
                     says='"period=1ms" is not key=value')
        p = catnap("replay", "--generate", '"bursty",burst="5"', "--halts", '"3"', "--seed", '"7"')
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(p.stdout, catnap("replay", "--generate", "bursty,burst=5", "--halts=3", "--seed=7").stdout)


COMMANDS = ("run", "bench", "ctl", "replay", "stat", "advise", "jail")
# In the help they say so, or (run) are devices and policies.
REPEATED = {("run", "--disk"), ("run", "--pmem"), ("run", "--net"), ("run", "--halt-poll"), ("bench", "--mode"), ("bench", "--gap"), ("bench", "--peer"),
            ("bench", "--vcpus"), ("bench", "--rate"), ("bench", "--process"), ("replay", "--halt-poll"), ("jail", "--cgroup"), ("jail", "--resource-limit"),
            ("jail", "--keep-fd"), ("run", "--fs"), ("run", "--vhost"), ("run", "--numa"), ("bench", "--load"), ("bench", "--disk"), ("bench", "--memory")}


class Paths(Case):
    """A path that nobody has: one line, whatever is in it and however long it is, and why at its end."""

    FORMS = {"disk": "%s", "net": "stream=%s", "fs": "tag=a,path=%s", "vhost": "type=40,socket=%s", "vsock": "cid=3,socket=%s",
             "serial": "file=%s", "console": "socket=%s"}

    def values(self):
        """(option, value with %s for the path)."""
        for option, form in forms("run"):
            name = option[2:]
            if name in self.FORMS or re.search(r"PATH|DIR|FILE", form):
                yield option, self.FORMS.get(name, "%s")

    def line(self, option, value):
        more = [] if option in ("--kernel", "--restore") else ["-k", os.path.join(GUESTS, "end.elf")]
        p = catnap("run", "--timeout", "1s", option + "=" + value, *more)
        self.assertIn(p.returncode, (1, 2), p.stderr)
        self.assertEqual((p.stdout, p.stderr.count("\n"), p.stderr[-1:]), ("", 1, "\n"), p.stderr)
        return p.stderr

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_several_lines(self):
        with tempfile.TemporaryDirectory() as temp:
            for option, value in self.values():
                with self.subTest(option=option):
                    said = self.line(option, value % (temp + "/none\nhere/a\rb"))
                    self.assertIn("none\\x0ahere/a\\x0db", said)

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_long(self):
        for letters in (60, 600, 5000):
            for option, value in self.values():
                with self.subTest(option=option, letters=letters):
                    said = self.line(option, value % ("/none/" + "x" * letters))
                    self.assertRegex(said, "(No such file or directory|File name too long|too long)(.*: expected .*)?\n$")

    def test_advise(self):
        """Its folders, of which nothing is cut off: another one would be meant."""
        for option in ("--tracefs", "--debugfs", "--parameters"):
            with self.subTest(option=option):
                self.refused("advise", "--duration", "1ms", option, "/" + "x" * 400, says=option + ": ")
        p = catnap("advise", "--duration", "1ms", "--tracefs", "/none\nhere")
        self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (1, "", 1), p.stderr)


class Numbers(Case):
    """Numbers and sizes are digits, all of them, and in range: anything else is refused by its option and key."""

    BAD = ("-1", "+1", "1x", "0x", "", " 1", "1 ", "1e3", "1,5", "0b1", "1'000", "x", "99999999999999999999999",
           "18446744073709551616")

    def values(self):
        for command in COMMANDS:
            for option, form in forms(command):
                plain = re.match(r"(N|SIZE|PORT)($|\[)", form)
                if plain:
                    yield command, option, "", plain[1]
                for key, kind in re.findall(r"([a-z-]+)=(N|SIZE)\b(?!%)", form):
                    mode = "force," if option == "--guest-halt-poll" else ""
                    mode = "kernel," if key in ("grow", "shrink") and option == "--halt-poll" else mode
                    yield command, option, f"{mode}{key}=", kind

    def test_bad(self):
        found = list(self.values())
        for known in (("run", "--cpus", "", "N"), ("run", "--memory", "", "SIZE"), ("run", "--disk", "bw=", "SIZE"),
                      ("run", "--net", "mtu=", "N"), ("run", "--vsock", "cid=", "N"), ("run", "--debug-exit", "base=", "N"),
                      ("bench", "--samples", "", "N"), ("replay", "--seed", "", "N"), ("stat", "--count", "", "N"),
                      ("run", "--halt-poll", "kernel,shrink=", "N")):
            self.assertIn(known, found)
        for command, option, before, kind in found:
            more = ("1KB", "1 K", "18446744073709551615K", "0x1K", "1k1") if kind == "SIZE" else ("1K", "0x1ffffffffffffffff")
            for value in self.BAD + more:
                if "," in value and before:
                    value = f'"{value}"'
                with self.subTest(command=command, option=option, value=before + value):
                    self.refused(command, option, before + value, says=f"catnap {command}: {option}: ")

    def test_largest(self):
        """The last that there is, and one more."""
        for command, option, value, more in (
                ("run", "--debug-exit", "65535", "65536"), ("run", "--debug-exit", "0xffff", "0x10000"),
                ("replay", "--seed", "18446744073709551615", "18446744073709551616"),
                ("run", "--disk", "x,bw=18446744073709551615", "x,bw=18446744073709551616"),
                ("run", "--disk", "x,bw=17592186044415M", "x,bw=17592186044416M"),
                ("run", "--disk", "x,bw=16777215T", "x,bw=16777216T"),
                ("run", "--timeout", "18446744073709551615ns", "18446744073709551616ns"),
                ("run", "--timeout", "18446744073s", "18446744074s"),
                ("run", "--halt-poll", "max=4294967295ns", "max=4294967296ns"),
                ("run", "--halt-poll", "kernel,grow=4294967295", "kernel,grow=4294967296"),
                ("run", "--vsock", "cid=4294967294,socket=x", "cid=4294967295,socket=x")):
            with self.subTest(option=option, value=value):
                self.refused(command, option, more, says="is out of range: expected")
                self.refused(command, option, value, "--nonsense", says="--nonsense: unknown option")


class Twice(Case):
    """Each option once, but for those that are lists of things; and each key once."""

    WORDS = (("N", "2"), ("TIME", "5ms"), ("SIZE", "16M"), ("PORT", "5"), ("UID", "0"), ("GID", "0"), ("BYTES", "5"), ("KIND", "tick"), ("FILE", "x"),
             ("PATH", "x"), ("DIR", "x"), ("STRING", "x"))

    def value(self, form):
        if form.startswith("cid="):
            return "cid=3,socket=x"
        text = re.split(r"[|\[]", form)[0]
        for word, value in self.WORDS:
            text = re.sub(rf"\b{word}\b", value, text)
        return text

    def test_options(self):
        for command in COMMANDS:
            for option, form in forms(command):
                value = self.value(form)
                with self.subTest(command=command, option=option, value=value):
                    p = catnap(command, option, value, f"{option}={value}", "--nonsense")
                    self.assertEqual((p.returncode, p.stdout), (2, ""))
                    said = f"catnap {command}: {option}: given twice: expected once\n"
                    self.assertEqual(p.stderr == said, (command, option) not in REPEATED, p.stderr)

    def test_flags(self):
        self.refused("run", "-v", "--verbose", "kernel", says="--verbose: given twice: expected once")
        self.refused("stat", "-j", "-j", "x", says="--json: given twice")

    def test_keys(self):
        for command, option, value, key in (("run", "--disk", "a,readonly=on,readonly=off", "readonly"),
                                            ("run", "--disk", "a,path=b", "path"), ("run", "--net", "a,mtu=99,mtu=99", "mtu"),
                                            ("run", "--cpus", "1,n=2", "n"), ("run", "--debug-exit", "1,port=1", "port"),
                                            ("run", "--vsock", "cid=3,cid=3,socket=x", "cid"),
                                            ("run", "--balloon", "0,size=0", "size"),
                                            ("run", "--guest-halt-poll", "off,mode=off", "mode"),
                                            ("replay", "--halt-poll", "max=1us,max=1us", "max"),
                                            ("replay", "--generate", "tick,net=1us,net=1us", "net")):
            self.refused(command, option, value, says=f"is a second value: expected {key} once")


ALL = ("event", "timer", "ipi", "idle", "start", "memory", "blk", "echo", "neighbour", "mix", "compute",
       "prices", "crossover", "restore", "clone", "linux")
BY_DEFAULT = ALL[:6]


class BenchEffects(Case):
    """An option that does nothing in what is measured is refused by its name."""

    # The option, and the workloads that it has an effect in.
    EFFECTS = (("--gap", "20us", ("event", "timer", "echo", "neighbour", "compute")),
               ("--arrivals", "random", ("event", "timer", "neighbour", "compute", "linux")),
               ("--duration", "1s", ("idle", "neighbour", "linux")),
               ("--rate", "1000", ("event", "echo", "linux")),
               ("--sibling", "on", ("neighbour",)),
               ("--vcpus", "2", ("idle", "neighbour", "compute")),
               ("--vcpus", "64", ("idle",)),
               ("--process", "tick", ("mix", "clone")),
               ("--clones", "3", ("restore",)),
               ("--memory", "1G", ("restore",)),
               ("--pin", "on", ("event", "timer", "ipi", "idle", "mix", "compute", "prices", "crossover", "clone")),
               ("--pin", "off", ("event", "timer", "ipi", "idle", "mix", "compute", "prices", "crossover", "clone")),
               ("--pin", "one", ("blk", "echo")),
               ("--peer", "qemu", ("event", "timer", "ipi", "idle", "start", "memory", "blk", "echo", "linux")),
               ("--peer", "kvmtool", ("linux",)),
               ("--mode", "pm", tuple(w for w in ALL if w not in ("start", "memory"))),
               ("--load", "pipe", ("linux",)),
               ("--disk", "vhost-user", ("blk",)),
               ("--kernel", "bzImage", ("linux",)),
               ("--initramfs", "initramfs", ("linux",)),
               ("--mode", "user:off/thread", ("blk", "echo", "compute", "linux")),
               ("--mode", "kernel:0/vcpu", ("blk", "echo", "compute", "linux")))
    # These are refused with any options, once nothing else is wrong: nothing is measured.
    STOP = ("--json", "-", "--html", "-")

    def test_each(self):
        for option, value, workloads in self.EFFECTS:
            names = " or ".join(filter(None, (", ".join(workloads[:-1]), workloads[-1])))
            for workload in ALL:
                with self.subTest(option=option, value=value, workload=workload):
                    p = catnap("bench", workload, option, value, *self.STOP)
                    self.assertEqual((p.returncode, p.stdout), (2, ""))
                    self.assertEqual("has no effect" in p.stderr, workload not in workloads, p.stderr)
                    if workload not in workloads:
                        self.assertTrue(p.stderr.startswith(f"catnap bench: {option}: "), p.stderr)
                        self.assertTrue(p.stderr.endswith(f"has no effect in {workload}: expected {names}\n"), p.stderr)

    def test_several(self):
        """It is enough that there is one that it is for; none named are the six by default."""
        for option, value, workloads in self.EFFECTS:
            p = catnap("bench", *ALL, option, value, *self.STOP)
            self.assertNotIn("no effect", p.stderr)
            p = catnap("bench", option, value, *self.STOP)
            self.assertEqual("has no effect" in p.stderr, not set(workloads) & set(BY_DEFAULT), p.stderr)
        self.refused("bench", "start", "memory", "--gap", "1ms", says="has no effect in start or memory")
        self.refused("bench", "compute", "--gap", "1ms", "--gap", "2ms", says="--gap: compute has one")
        p = catnap("bench", "compute", "event", "--gap", "1ms", "--gap", "2ms", *self.STOP)
        self.assertNotIn("compute has one", p.stderr)

    def test_memory(self):
        for value, says in (("127M", "128M"), ("9G", "8G"), ("131073K", "is no multiple of 1M"), ("x", "is not a size")):
            self.refused("bench", "restore", "--memory", value, says=says)
        self.refused("bench", "restore", "--memory", "1G", "--memory", "1024M", says="was given twice")
        self.refused("bench", "restore", *(a for n in range(9) for a in ("--memory", f"{128 + n}M")), says="is one too many")

    def test_rate(self):
        """With it a round has a duration, and neither gaps nor a number of samples."""
        rate = ("--rate", "1000")
        for workload in ("event", "echo"):
            p = catnap("bench", workload, *rate, "--duration", "1s", "--stall", "1ms", *self.STOP)
            self.assertNotIn("no effect", p.stderr)
            self.refused("bench", workload, "--duration", "1s", says="--duration: has no effect in " + workload)
            self.refused("bench", workload, *rate, "--gap", "20us", says="--gap: has no effect in " + workload)
            self.refused("bench", workload, "--stall", "1ms", says="--stall: has no effect without --rate")
            p = catnap("bench", workload, *rate, "--samples", "5", *self.STOP)
            self.assertIn("--samples: has no effect in " + workload, p.stderr)
        p = catnap("bench", "event", "timer", *rate, "--gap", "20us", "--samples", "5", *self.STOP)
        self.assertNotIn("no effect", p.stderr)
        self.refused("bench", "event", *rate, *rate, says="was given twice")
        self.refused("bench", "event", "--rate", "0", says="expected 1 to 1000000")

    def test_samples(self):
        """Given to all alike: said, not refused."""
        for workload in ALL:
            p = catnap("bench", workload, "--samples", "5", *self.STOP)
            self.assertEqual("--samples: has no effect in " + workload in p.stderr,
                             workload in ("idle", "neighbour", "start", "memory", "restore"), p.stderr)
            self.assertIn("--html", p.stderr)


class StatEffects(Case):
    def test_stat(self):
        self.refused("stat", "--json", "--learned", "socket", says="--learned: has no effect with --json")
        p = catnap("stat", "-n", "1", "-i", "1s", "/nonexistent")
        self.assertEqual(p.returncode, 1)
        self.assertIn("--interval: has no effect with --count 1\n", p.stderr)
        self.assertNotIn("effect", catnap("stat", "-n", "2", "-i", "1s", "/nonexistent").stderr)


class Lists(Case):
    """Processors and nodes of the host."""

    def test_too_far(self):
        for value in ("1024", "0-1024", "0:1-0"):
            self.refused("run", "--cpus", "2,affinity=" + value, "kernel", says="expected one such as 0-1 or 0:2, up to 1023\n")
        if 1023 not in os.sched_getaffinity(0):
            self.refused("run", "--cpus", "2,affinity=1023", "kernel", says="names processor 1023, which this process may not use")
        self.refused("run", "--memory", "64M,host-nodes=64", "kernel", says="up to 63\n")


class Nodes(Case):
    """--numa: all vCPUs and all memory, each once; what is not so is named before anything starts."""

    def test_wrong(self):
        for nodes, says, *more in (
                (("cpus=0,memory=256M",), "cpus: vCPU 1 is in no node"),
                (("cpus=0-2,memory=256M",), "cpus: there is no vCPU 2: the VM has 2 vCPUs, 0 to 1"),
                (("cpus=0-1,memory=128M",), "memory: the nodes have 128M together: expected 256M"),
                (("cpus=0-1,memory=128M", "memory=256M"), "memory: the nodes have 384M together"),
                (("cpus=0-1", "cpus=1,memory=256M"), "cpus: vCPU 1 is in two nodes"),
                (("cpus=0-1,memory=256M", "host-nodes=0"), "node 1 has nothing"),
                (("cpus=0,memory=256M", "cpus=1,host-nodes=0"), "host-nodes: has no effect without memory"),
                (("cpus=0-1,memory=256M,distances=10:20",), "distances: of node 0 are not one for each node: expected 1"),
                (("cpus=0,memory=128M,distances=10", "cpus=1,memory=128M"), "distances: of node 0 are not one for each node: expected 2"),
                (("cpus=0,memory=128M,distances=11:10", "cpus=1,memory=128M"), 'distances: "11" from node 0 to node 0: expected 10'),
                (("cpus=0,memory=128M,distances=10:10", "cpus=1,memory=128M"), 'distances: "10" from node 0 to node 1: expected 11 to 255'),
                (("cpus=0-1,memory=256M,distances=10:256",), 'distances: "10:256" is not a list of distances'),
                (("cpus=0-1,memory=256M,distances=9",), 'distances: "9" is not a list'),
                (("cpus=64,memory=256M",), 'cpus: "64" is not a list of vCPUs'),
                (("cpus=0-1,memory=256M,host-nodes=x",), 'host-nodes: "x" is not a list of nodes'),
                (("cpus=0,memory=127M", "cpus=1,memory=129M"), "memory: of node 0 is no multiple of a page: expected one of 2048K", "-m", "256M,hugepages=2M"),
                (("cpus=0-1,memory=256M",), "an MP table cannot tell of nodes", "--hw", "mptable"),
                (("memory=16M",) * 17, "too many nodes: expected at most 16")):
            with self.subTest(nodes=nodes):
                self.refused("run", "kernel", "--cpus", "2", *more, *(w for n in nodes for w in ("--numa", n)), says="--numa: " + says)
        self.refused("run", "--restore", "x", "--numa", "cpus=0,memory=256M", says="--numa: is as it was")


class RunEffects(Case):
    def test_policies(self):
        """The table of docs/halt-polling.md."""
        values = {"max": "50us", "grow": "3", "grow-start": "1us", "shrink": "1", "bias": "power", "cpu-max": "5%"}
        effects = {"adaptive": ("max", "bias", "cpu-max"), "kernel": ("max", "grow", "grow-start", "shrink", "cpu-max"),
                   "fixed": ("max", "cpu-max"), "always": (), "off": ()}
        for policy, keys in effects.items():
            for key, value in values.items():
                for command in ("run", "replay"):
                    if command == "replay" and key == "cpu-max":
                        continue
                    for text in (f"{policy},{key}={value}", f"{key}={value},policy={policy}"):
                        with self.subTest(text, command=command):
                            # Another mistake ends it, if this is none.
                            p = catnap(command, "--halt-poll", text, "--nonsense")
                            self.assertEqual((p.returncode, p.stdout), (2, ""))
                            self.assertEqual(f"--halt-poll: {key}: has no effect with policy {policy}: expected policy"
                                             in p.stderr, key not in keys, p.stderr)
            p = catnap("run", "--halt-poll", policy + ",group=on", "--nonsense")
            self.assertNotIn("effect", p.stderr)
        # The policy that counts is the one that it is added to.
        self.refused("run", "--halt-poll", "off", "--halt-poll", "vcpu=1,bias=power", says="policy off")
        for cpus, has in (("1", "1 vCPU, 0"), ("4", "4 vCPUs, 0 to 3")):
            self.refused("run", "--cpus", cpus, "--halt-poll", "vcpu=5,policy=off", "kernel",
                         says=f"--halt-poll: vcpu: there is no vCPU 5: the VM has {has}\n")
        # For all vCPUs there is one.
        for second in ("off", "fixed", "max=1us"):
            self.refused("run", "--halt-poll", "fixed", "--halt-poll", "vcpu=0,policy=off", "--halt-poll", second, "kernel",
                         says="--halt-poll: given twice: expected once")

    def test_irqchip_kernel(self):
        for key in ("grow=2", "group=on", "group=off"):
            policy = "kernel," if key.startswith("grow") else ""
            self.refused("run", "--irqchip", "kernel", "--halt-poll", policy + key, "kernel",
                         says=f"--halt-poll: {key.split('=')[0]}: has no effect with --irqchip kernel")
        self.refused("run", "--irqchip", "kernel", "--halt-poll", "vcpu=0,policy=off", "kernel", says="--halt-poll: vcpu")
        # The parameters by which a limit of KVM's is learned.
        self.refused("run", "--irqchip", "kernel", "--halt-poll", "kernel,cpu-max=5%", "kernel",
                     says="--halt-poll: cpu-max: has no effect with --irqchip kernel and policy kernel")

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_comparison(self):
        """A policy that scripts run on both is said, and runs; one that KVM has is not said."""
        for policy, said in (("fixed,max=50us", True), ("always", True), ("adaptive", False), ("off", False),
                             ("adaptive,bias=power,cpu-max=5%", False),
                             ("kernel", False), ("max=50us", False)):
            p = catnap("run", "--irqchip", "kernel", "--halt-poll", policy, "-m", "16M", "--debug-exit", "0xf4", "-c",
                       "how=byte value=2", os.path.join(GUESTS, "end.elf"))
            self.assertEqual(p.returncode, 5, p.stderr)
            self.assertEqual("has no effect with --irqchip kernel" in p.stderr, said, p.stderr)
            self.assertEqual(p.stderr.count("\n"), int(said))
        for cpus in ("1", "2"):
            p = catnap("run", "--cpus", cpus, "--halt-poll", "group=on", "-m", "16M", "--debug-exit", "0xf4", "-c",
                       "how=byte value=2", os.path.join(GUESTS, "end.elf"))
            said = "catnap run: --halt-poll: group: has no effect with --cpus 1\n"
            self.assertEqual((p.returncode, p.stderr), (5, said if cpus == "1" else ""))

    def test_others(self):
        for args, says in (
                (("--guest-halt-poll", "force,host=break-even", "--halt-poll", "off"),
                 "--guest-halt-poll: host: break-even has no effect"),
                (("--guest-halt-poll", "host=learned", "--halt-poll", "off"), "--guest-halt-poll: host: learned has no effect"),
                (("--guest-halt-poll", "force,ns=1us", "--kernel-format", "flat"), "--guest-halt-poll: parameters"),
                (("--guest-halt-poll", "realtime,grow=2", "--kernel-format", "multiboot"), "--guest-halt-poll: param"),
                (("--guest-halt-poll", "force", "--kernel-format", "multiboot"), "--guest-halt-poll: force"),
                (("--guest-halt-poll", "off,ns=1us"), "--guest-halt-poll"),
                (("--cmdline", "x", "--kernel-format", "flat"), "--cmdline: has no effect"),
                (("--balloon", "size=256M"), "--balloon: size: is all of the guest's memory"),
                (("--balloon", "size=64M", "-m", "64M"), "--balloon: size: is all of the guest's memory"),
                (("--halt-trace", "-"), '--halt-trace: "-" is no path'),
                (("--dump-dtb", "-"), '--dump-dtb: "-" is no path'),
                (("--dump-acpi", "-"), '--dump-acpi: "-" is no path'),
                (("--log-file", "-"), '--log-file: "-" is no path'),
                (("--api-socket", "-"), '--api-socket: "-" is no path'),
                (("--verbose", "--log-level", "warn"), "--verbose"),
                (("-v", "--log-level", "debug"), "--verbose")):
            with self.subTest(args):
                self.refused("run", *args, "kernel", says=says)
        for option in (("--stats", "s"), ("--api-socket", "s"), ("--halt-trace", "t"), ("--timeout", "5s"),
                       ("--initramfs", "i"), ("--kernel-format", "linux")):
            with tempfile.TemporaryDirectory() as folder:
                self.refused("run", "--dump-acpi", os.path.join(folder, "x"), *option,
                             says=option[0] + ": has no effect where nothing is started")
                self.assertEqual(os.listdir(folder), [])


@unittest.skipUnless(KVM, "no /dev/kvm")
class DebugExit(Case):
    def end(self, value, debug_exit="0xf4"):
        return catnap("run", "-m", "16M", "--debug-exit", debug_exit, "-c", f"how=long value={value}", "--timeout",
                      "20s", os.path.join(GUESTS, "end.elf"))

    def test_statuses(self):
        """The guest's status is as ever; one that could be something else's is said to be the guest's."""
        for value in (0, 1, 0x0f, 0x10, 0x11, 0x3e, 0x3f, 0x40, 0x4f, 0x5f, 0x60, 0x7f, 0x80, 0x90, 0xff, 0x110, 0xffffffff):
            with self.subTest(value):
                p = self.end(value)
                status = (value << 1 | 1) & 255
                self.assertEqual((p.returncode, p.stdout), (status, ""))
                if status in (33, 127) or 128 < status <= 192:
                    self.assertTrue(p.stderr.startswith(f"catnap run: --debug-exit: the guest ended with {value:#x}: "
                                                        f"status {status} is its own, not "), p.stderr)
                    self.assertEqual(p.stderr.count("\n"), 1)
                else:
                    self.assertEqual(p.stderr, "")

    def test_base(self):
        for debug_exit, base in (("0xf4,base=64", 64), ("base=35,port=244", 35), ("port=0xf4,base=122", 122)):
            for value in (0, 1, 58, 59, 60, 0x10, 255, 0x7fffffff, 0xffffffff):
                with self.subTest(debug_exit, value=value):
                    p = self.end(value, debug_exit)
                    self.assertEqual(p.returncode, min(base + value, 123))
                    self.assertEqual(p.stderr.count("\n"), int(base + value > 122))
                    self.assertEqual("too large" in p.stderr, base + value > 122)
        for value in ("0xf4,base=34", "0xf4,base=123", "0xf4,base=", "base=64", "0xf4,base=64s", "0x10000,base=64", ""):
            self.refused("run", "--debug-exit", value, "kernel", says="--debug-exit: ")


if __name__ == "__main__":
    CATNAP, GUESTS = (os.path.abspath(p) for p in sys.argv[1:3])
    del sys.argv[1:3]
    unittest.main(verbosity=2)
