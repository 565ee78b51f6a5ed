#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Tests what `catnap bench` says, not how long it took: test_bench.py CATNAP"""

import contextlib
import functools
import html.parser
import json
import os
import pathlib
import pty
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import has_io_uring
from realtime_class import permitted

CATNAP = os.path.abspath(sys.argv.pop(1))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
MODES = ("user:kernel", "user:off/thread", "kernel:200us", "kernel:0/vcpu")


def bench(*args, timeout=100, env=None):
    return subprocess.run([CATNAP, "bench", *args], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=timeout, env=env)


VOID = {"meta", "link", "br", "hr", "img", "input", "source"}
SVG_SHAPES = {"path", "line", "circle", "rect"}


class Page(html.parser.HTMLParser):
    """Whether each element ends where it should, and what the page names from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.open, self.wrong, self.tags, self.ids, self.links = [], [], [], set(), []
        self.titles, self.rows, self.text = [], [], []
        self.feed(text)
        self.close()
        self.wrong += [f"<{t}> does not end" for t in self.open]

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        attrs = dict(attrs)
        if "id" in attrs:
            self.ids.add(attrs["id"])
        for name in ("src", "href", "xlink:href", "data", "action", "srcset"):
            if name in attrs:
                self.links.append(attrs[name])
        for name, value in attrs.items():
            if re.search(r"\b(nan|inf)\b", value or "") and name != "aria-label":
                self.wrong.append(f"<{tag} {name}={value}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        if tag not in VOID | SVG_SHAPES:
            self.wrong.append(f"<{tag}/>")
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        if not self.open or self.open[-1] != tag:
            self.wrong.append(f"</{tag}> at {self.getpos()}, open: {self.open[-3:]}")
        else:
            self.open.pop()

    def handle_data(self, data):
        self.text.append(data)


@unittest.skipUnless(KVM, "no /dev/kvm")
class Bench(unittest.TestCase):
    def runs(self, workload, *args, modes=MODES):
        options = [o for m in modes for o in ("--mode", m)]
        samples = () if workload in ("neighbour", "idle") else ("--samples", "20")
        p = bench(workload, "--json", "-", "--rounds", "1", *samples, *options, *args)
        self.assertEqual((p.returncode, p.stderr), (0, ""), p.stdout)
        return json.loads(p.stdout)["runs"]

    def check(self, run, samples=20):
        self.assertFalse(run["failed"])
        self.assertEqual(run["samples"], samples)
        self.assertLessEqual(run["p50_ns"], run["p99_ns"])
        self.assertLessEqual(run["mean_ns"], run["max_ns"])
        self.assertGreater(run["cpu_ns_per_event"], 0)

    def test_blk(self):
        before = {d: set(os.listdir(d)) for d in ("/dev/shm", "/var/tmp")}
        runs = self.runs("blk")
        self.assertEqual([(r["disk"], r["mode"]) for r in runs],
                         [(d, m) for d in ("id", "tmpfs", "direct") for m in MODES])
        for run in runs:
            self.check(run)
            # There as a number even if the guest's own share is all of it.
            self.assertEqual("net_p50_ns" in run, run["disk"] != "id")
        for d, names in before.items():
            self.assertFalse([n for n in set(os.listdir(d)) - names if n.startswith("catnap-bench")])

    VHOST = ("vhost-user", "vhost-user-reconnect", "vhost-user-write", "vhost-user-write-reconnect")

    @unittest.skipUnless(shutil.which("qemu-storage-daemon"), "qemu-storage-daemon is not installed")
    def test_back_end(self):
        """Disks that are served by another process: what it costs is known, and nothing of it is left."""
        disks = [o for d in ("id", *self.VHOST) for o in ("--disk", d)]
        before = set(os.listdir("/tmp"))
        runs = self.runs("blk", *disks)
        self.assertEqual([(r["disk"], r["mode"]) for r in runs], [(d, m) for d in ("id", *self.VHOST) for m in MODES])
        for run in runs:
            self.check(run)
            self.assertEqual("net_p50_ns" in run, run["disk"] != "id")
            self.assertEqual("back_end_cpu_ns_per_event" in run, run["disk"] != "id")
            if run["disk"] != "id":
                self.assertGreater(run["back_end_cpu_ns_per_event"], 0)
                self.assertLess(run["back_end_cpu_ns_per_event"], run["cpu_ns_per_event"])
        self.assertFalse([n for n in set(os.listdir("/tmp")) - before if n.startswith("catnap-bench")])
        p = bench("blk", "--disk", "vhost-user", "--samples", "5", "--rounds", "1", "--mode", "user:off")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertRegex(p.stdout, r"\nwho pays +guest back end\nuser:off +[\d.]+ +[\d.]+\n")
        self.assertIn("the guest's and its monitor's, and the back end's", " ".join(p.stdout.split()))

    @unittest.skipUnless(shutil.which("qemu-storage-daemon"), "qemu-storage-daemon is not installed")
    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "QEMU is not installed")
    def test_back_end_of_a_peer(self):
        """The peer has the same back end, but where that would not cache for us."""
        runs = self.runs("blk", "--peer", "qemu", *[o for d in self.VHOST for o in ("--disk", d)], modes=("user:kernel",))
        self.assertEqual([(r["disk"], r["mode"]) for r in runs],
                         [(d, m) for d in self.VHOST for m in ("user:kernel", "qemu") if m != "qemu" or "reconnect" not in d])
        for run in runs:
            self.check(run)
            self.assertGreater(run["back_end_cpu_ns_per_event"], 0)

    def test_no_back_end(self):
        """Without the program that is said once, and the other disks are measured."""
        with tempfile.TemporaryDirectory() as empty:
            p = bench("blk", "--disk", "id", "--disk", "vhost-user", "--disk", "vhost-user-reconnect", "--samples", "5", "--rounds", "2",
                      "--mode", "user:off", "--json", "-", env={**os.environ, "PATH": empty})
        self.assertEqual((p.returncode, p.stderr), (1, "catnap bench: blk: qemu-storage-daemon: No such file or directory\n"))
        self.assertEqual([(r["disk"], r["failed"]) for r in json.loads(p.stdout)["runs"]],
                         [("id", False), ("vhost-user", True), ("vhost-user-reconnect", True)])

    @unittest.skipUnless(shutil.which("qemu-storage-daemon"), "qemu-storage-daemon is not installed")
    def test_killed_with_a_back_end(self):
        for number in (signal.SIGTERM, signal.SIGKILL):
            before = set(os.listdir("/tmp"))
            with subprocess.Popen([CATNAP, "bench", "blk", "--disk", "vhost-user", "--samples", "100000", "--rounds", "1", "--json", "-"],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
                try:
                    self.wait_for_disk(p, "/dev/shm")
                    time.sleep(0.5)
                    child = self.child_of(p.pid, b"qemu-storage-daemon")
                    self.assertTrue(child)
                    p.send_signal(number)
                    self.assertEqual(p.wait(30), -number if number == signal.SIGKILL else 128 + number)
                finally:
                    p.kill()
            until = time.monotonic() + 30
            while not self.is_gone(child):
                self.assertLess(time.monotonic(), until)
                time.sleep(0.01)
            self.assertFalse([n for n in set(os.listdir("/tmp")) - before if n.startswith("catnap-bench")], number)

    def interrupted(self, number, *args, wait):
        """The output of one that is sent a signal after wait(it), and its JSON and HTML."""
        with tempfile.TemporaryDirectory() as d:
            files = [os.path.join(d, n) for n in ("r.json", "r.html")]
            with subprocess.Popen([CATNAP, "bench", *args, "--json", files[0], "--html", files[1]],
                                  stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                  stderr=subprocess.PIPE) as p:
                try:
                    wait(p)
                    p.send_signal(number)
                    out, err = p.communicate(timeout=30)
                finally:
                    p.kill()
            self.assertEqual(p.returncode, 128 + number, err)
            with open(files[0], encoding="utf-8") as results, open(files[1], encoding="utf-8") as page:
                return out, err, json.load(results), page.read()

    def interrupted_later(self, number, *args):
        """The same of one that had something to show."""
        wait = 1
        while True:
            found = self.interrupted(number, *args, wait=lambda _: time.sleep(wait))
            if found[2]["runs"] or wait > 30:
                return found
            wait *= 2

    def wait_for_signals(self, p):
        """Until a thread of it waits for signals."""
        waits_for_two = re.compile(r"7 0x[0-9a-f]+ 0x2 0x(f{8}|f{16}) ")  # poll(): the signals, and its end
        until = time.monotonic() + 30
        calls = []
        while not any(waits_for_two.match(c) for c in calls):
            self.assertIsNone(p.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
            calls = []
            for thread in os.listdir(f"/proc/{p.pid}/task"):
                with contextlib.suppress(OSError), open(f"/proc/{p.pid}/task/{thread}/syscall", encoding="utf-8") as f:
                    calls.append(f.read())

    def test_interrupted(self):
        """The results so far are printed and written, and say that they are not all."""
        for number, name, args in (
                (signal.SIGINT, "SIGINT", ("event", "--samples", "100000", "--gap", "1ms")),
                (signal.SIGTERM, "SIGTERM", ("timer", "--samples", "100000", "--gap", "1ms")),
                (signal.SIGINT, "SIGINT", ("ipi", "--rounds", "1000")),
                (signal.SIGHUP, "SIGHUP", ("idle", "--duration", "1000s")),
                (signal.SIGINT, "SIGINT", ("blk", "--samples", "100000")),
                (signal.SIGTERM, "SIGTERM", ("mix", "--samples", "100000")),
                (signal.SIGINT, "SIGINT", ("start", "memory", "--rounds", "1000")),
                (signal.SIGTERM, "SIGTERM", ("compute", "--samples", "30000", "--gap", "1ms"))):
            with self.subTest(args=args):
                out, err, results, page = self.interrupted_later(number, *args)
                self.assertEqual(err, f"catnap bench: ended by {name}: what has been measured follows\n")
                self.assertIn(f"\nInterrupted ({name}): this is what had been measured until then.\n", out)
                self.assertIs(results["interrupted"], True)
                self.assertTrue(results["runs"])
                for run in results["runs"]:
                    self.assertFalse(run["failed"])
                    self.assertGreater(run["samples"], 0)
                self.assertIn("<b>Interrupted</b> by " + name, page)
                self.assertEqual(Page(page).wrong, [])

    def test_interrupted_before_anything(self):
        # A host may be so busy that a second goes by until the signal comes.
        for _ in range(20):
            out, _, results, page = self.interrupted(signal.SIGINT, "event", "--gap", "1s", "--arrivals", "constant",
                                                     wait=self.wait_for_signals)
            if not results["runs"]:
                break
        self.assertEqual(results["runs"], [])
        self.assertIn("Interrupted (SIGINT): nothing had been measured until then.", out)
        self.assertEqual(Page(page).wrong, [])

    def test_ignored_signals_stay_so(self):
        """As under nohup, and as those of background jobs of a script are."""
        p = subprocess.run(["sh", "-c", "trap '' INT HUP; \"$@\" & sleep 1; kill -INT $!; kill -HUP $!; wait $!",
                            "sh", CATNAP, "bench", "idle", "--duration", "1s", "--rounds", "1", "--mode",
                            "user:off", "--json", "-"], capture_output=True, text=True, check=False, timeout=100)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIs(json.loads(p.stdout)["interrupted"], False)

    def test_killed(self):
        """Its disk is gone with it, whatever ends it."""
        for workload, folder in (("blk", "/dev/shm"), ("compute", "/var/tmp")):
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL):
                before = set(os.listdir(folder))
                with subprocess.Popen([CATNAP, "bench", workload, "--samples", "100000", "--json", "-"],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL) as p:
                    try:
                        self.wait_for_disk(p, folder)
                        p.send_signal(number)
                        self.assertEqual(p.wait(30), -number if number == signal.SIGKILL else 128 + number)
                    finally:
                        p.kill()
                left = [n for n in set(os.listdir(folder)) - before if n.startswith("catnap-bench")]
                self.assertEqual(left, [], (workload, number))

    @staticmethod
    def child_of(pid, word):
        """A process that @pid has started and whose command line has the word; or None."""
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{name}/stat", "rb") as f:
                    parent = int(f.read().rpartition(b") ")[2].split()[1])
                with open(f"/proc/{name}/cmdline", "rb") as f:
                    words = f.read().split(b"\0")
            except OSError:
                continue
            if parent == pid and word in words:
                return int(name)
        return None

    @staticmethod
    def is_gone(pid):
        """Whether it has ended; nobody may have waited for it yet."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as f:
                return f.read().rpartition(b") ")[2][:1] in b"ZX"
        except OSError:
            return True

    def test_killed_with_a_child(self):
        """What it has started ends with it, when it cannot do anything about that."""
        cases = [(b"run", ("--mode", "user:off"))]
        if shutil.which("qemu-system-x86_64"):
            cases.append((b"qemu-system-x86_64", ("--mode", "user:off", "--peer", "qemu")))
        for word, args in cases:
            with subprocess.Popen([CATNAP, "bench", "memory", "--rounds", "1000", *args], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as p:
                try:
                    child, until = None, time.monotonic() + 60
                    while not child:
                        self.assertIsNone(p.poll())
                        self.assertLess(time.monotonic(), until)
                        child = self.child_of(p.pid, word)
                    # It does not end its child itself any more.
                    p.send_signal(signal.SIGSTOP)
                finally:
                    p.kill()
            until = time.monotonic() + 60
            while not self.is_gone(child):
                self.assertLess(time.monotonic(), until, f"{word} is still there")
                time.sleep(0.01)

    def wait_for_disk(self, p, folder):
        """Until it has a file there open, by whatever name, and a VM."""
        until = time.monotonic() + 30
        while True:
            self.assertIsNone(p.poll())
            self.assertLess(time.monotonic(), until)
            links = []
            for fd in os.listdir(f"/proc/{p.pid}/fd"):
                try:
                    links.append(os.readlink(f"/proc/{p.pid}/fd/{fd}"))
                except OSError:
                    pass
            if any(x.startswith(folder + "/") for x in links) and "anon_inode:kvm-vm" in links:
                return
            time.sleep(0.01)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_echo(self):
        runs = self.runs("echo", "--gap", "100us")
        self.assertEqual([r["mode"] for r in runs], list(MODES))
        for run in runs:
            self.check(run)
            self.assertEqual(run["gap_ns"], 100000)

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "QEMU is not installed")
    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_peer(self):
        # QEMU is told to use io_uring.
        peers = (("blk", 3, ()), ("echo", 1, ("--gap", "100us")))
        for workload, n, gap in peers if has_io_uring() else peers[1:]:
            with self.subTest(workload):
                runs = self.runs(workload, "--peer", "qemu", *gap, modes=("user:kernel",))
                self.assertEqual([r["mode"] for r in runs], ["user:kernel", "qemu"] * n)
                for run in runs:
                    self.check(run)

    @unittest.skipUnless(shutil.which("qemu-system-x86_64"), "QEMU is not installed")
    def test_peer_by_an_eventfd(self):
        """Signalled from here, by the irqfd of a device; and idle."""
        for run in self.runs("event", "--peer", "qemu", "--gap", "100us", "--arrivals", "constant", modes=("kernel:200us",)):
            self.check(run)
            self.assertGreater(run["signal_p50_ns"], 0)
        runs = self.runs("idle", "--peer", "qemu", "--duration", "500ms", modes=("user:off",))
        self.assertEqual([(r["tick_hz"], r["mode"], r["failed"]) for r in runs],
                         [(hz, m, False) for hz in (0, 250) for m in ("user:off", "qemu")])

    def test_peers(self):
        """One whose program is not there is named, with it; what there is is looked for in PATH."""
        with tempfile.TemporaryDirectory() as d:
            for args, says in (("linux --peer kvmtool", "--peer: kvmtool: lkvm is not in PATH"),
                               ("linux --peer qemu", "--peer: qemu: qemu-system-x86_64 is not in PATH"),
                               ("event --peer kvmtool", "--peer: kvmtool: has no effect in event: expected linux"),
                               ("linux --peer qemu --peer qemu", '--peer: "qemu" was given twice'),
                               ("linux --peer xen", '--peer: "xen" is not known: expected qemu or kvmtool')):
                p = subprocess.run([CATNAP, "bench", *args.split()], capture_output=True, text=True, check=False,
                                   env={**os.environ, "PATH": d}, stdin=subprocess.DEVNULL, timeout=60)
                self.assertEqual((p.returncode, p.stdout, p.stderr), (2, "", f"catnap bench: {says}\n"))
            for name in ("lkvm", "qemu-system-x86_64"):
                with open(os.path.join(d, name), "w", encoding="ascii") as f:
                    os.fchmod(f.fileno(), 0o755)
            p = subprocess.run([CATNAP, "bench", "linux", "--peer", "kvmtool", "--peer", "qemu", "--kernel", d + "/none"],
                               capture_output=True, text=True, check=False, env={**os.environ, "PATH": d},
                               stdin=subprocess.DEVNULL, timeout=60)
            self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)

    def test_members_are_documented(self):
        """Each member that a report can have is in the manual, by the names in the tables."""
        root = pathlib.Path(__file__).parents[2]
        manual = (root / "docs/catnap-bench.1").read_text(encoding="utf-8").replace("\\-", "-")
        names = set()
        for path in (root / "src/cli/bench").rglob("*.c"):
            text = path.read_text(encoding="utf-8")
            names |= set(re.findall(r'\{(?:\.name = )?"([a-z][a-z0-9_]+)",\s*\.(?:whole|real|text|rounds) = ', text))
            names |= set(re.findall(r'(?:json_object_object_add|\badd_\w+)\(\w+, "([a-z0-9_]+)"', text))
        self.assertGreater(len(names), 80)
        self.assertEqual([n for n in sorted(names) if not re.search(rf"\b{n}\b", manual)], [])

    def test_many_idle_vcpus(self):
        runs = self.runs("idle", "--vcpus", "8", "--duration", "200ms", modes=("user:off", "kernel:0"))
        self.assertEqual([(r["vcpus"], r["tick_hz"], r["failed"]) for r in runs],
                         [(8, hz, False) for hz in (0, 250) for _ in range(2)])

    def test_compute(self):
        modes = ("user:off", "user:off/thread", "kernel:0/vcpu")
        runs = self.runs("compute", "--vcpus", "1", modes=modes)
        self.assertEqual([(r["vcpus"], r["completes"], r["mode"]) for r in runs],
                         [(1, c, m) for c in ("event", "read") for m in modes])
        for run in runs:
            self.assertFalse(run["failed"])
            self.assertGreater(run["p50_ns"], 1000 if run["completes"] == "event" else 10000)
            self.assertLessEqual(run["p50_ns"], run["p99_ns"])
            self.assertGreater(run["samples"], 0)

    def test_prices(self):
        modes = ("user:adaptive", "kernel:200us")
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "r.json")
            p = bench("prices", "--samples", "10", "--rounds", "1", "--json", path, "--mode", modes[0], "--mode", modes[1])
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            with open(path, encoding="utf-8") as f:
                results = json.load(f)
        self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
        of_guest = ("cpuid", "msr", "port", "apic", "eoi", "timer", "interrupt", "interrupt_pv", "hlt", "ipi", "timer_wake",
                    "timer_wake_of_two", "wake", "wake_of_two", "wake_send", "kick")
        of_host = ("kvm_run", "signal", "futex", "eventfd")
        self.assertEqual([(r["price"], r["mode"]) for r in results["runs"]],
                         [(x, m) for x in of_guest for m in modes] + [(x, modes[0]) for x in of_host])
        price = {(r["price"], r["mode"]): r for r in results["runs"]}
        for key, run in price.items():
            with self.subTest(key):
                self.assertFalse(run["failed"])
                self.assertLessEqual(run["min_cycles"], run["p50_cycles"])
        # Of one, on a busy host, what measuring takes may be more.
        self.assertGreater(sum(run["p50_cycles"] for run in price.values()), 0)
        crossover = results["crossover"]
        self.assertEqual([(c["halt"], c["extra"]) for c in crossover],
                         [(h, e) for h in ("event_polled", "timer_polled")
                          for e in ("interrupt", "ipi", "timer")])
        for c in crossover:
            gain, each = c["kernel_ns"] - c["user_ns"], c["user_each_ns"] - c["kernel_each_ns"]
            expected = ("user" if gain >= 0 and each <= 0 else "kernel" if gain <= 0 <= each else
                        "user_below" if gain > 0 else "user_above")
            self.assertEqual(c["better"], expected)
            self.assertEqual("at" in c, expected not in ("user", "kernel"))
            self.assertIn(results["irqchip_choice"]["one_vcpu"], ("user", "kernel"))
            if "at" in c:
                self.assertAlmostEqual(c["at"], gain / each, delta=1e-6 * abs(gain / each))

    def test_restore(self):
        """Each way of the memory, of both sizes; with clones; and nothing is left of the snapshots."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as temp:
            p = bench("restore", "--rounds", "1", "--clones", "3", "--json", "-", env={**os.environ, "TMPDIR": temp})
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            self.assertEqual(os.listdir(temp), [])
        runs = {(r["way"], r["memory_bytes"] >> 20): r for r in json.loads(p.stdout)["runs"]}
        self.assertEqual(set(runs), {(way, size) for way in ("start", "map", "map-cold", "working-set") for size in (128, 8192)}
                         | {("copy", 128), ("clones", 128)})
        for (way, _), r in runs.items():
            self.assertEqual((r["samples"], r["rounds"]), (3 if way == "clones" else 1, 1))
            self.assertEqual("work_p50_ns" in r, way not in ("start", "clones"))
            if "work_p50_ns" in r:
                self.assertLess(r["p50_ns"], r["work_p50_ns"])
                self.assertLess(r["work_p50_ns"], r["touch_p50_ns"])
                self.assertGreater(r["private_p50_bytes"], 100 << 10)
        self.assertLess(runs["map", 128]["private_p50_bytes"], 8 << 20)
        self.assertGreater(runs["copy", 128]["private_p50_bytes"], 96 << 20)
        self.assertGreater(runs["clones", 128]["all_p50_ns"], runs["clones", 128]["p50_ns"])

    def test_restore_sizes(self):
        """Those that are asked for: with copy and clones, too."""
        sizes = (192, 256)
        with tempfile.TemporaryDirectory(dir="/var/tmp") as temp:
            p = bench("restore", "--rounds", "1", "--clones", "2", "--json", "-", *(a for n in sizes for a in ("--memory", f"{n}M")),
                      env={**os.environ, "TMPDIR": temp})
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            self.assertEqual(os.listdir(temp), [])
        runs = {(r["way"], r["memory_bytes"] >> 20) for r in json.loads(p.stdout)["runs"]}
        self.assertEqual(runs, {(way, size) for way in ("start", "map", "copy", "map-cold", "working-set", "clones") for size in sizes})

    def test_clone(self):
        """What a clone's first halts cost, of the modes that learn; and nothing is left of the snapshots."""
        with tempfile.TemporaryDirectory(dir="/var/tmp") as temp:
            env = {**os.environ, "TMPDIR": temp}
            p = bench("clone", "--rounds", "2", "--samples", "50", "--process", "constant", "--process", "tick", "--json", "-", env=env)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            runs = json.loads(p.stdout)["runs"]
            self.assertEqual([(r["process"], r["mode"]) for r in runs],
                             [(process, mode) for process in ("constant", "tick") for mode in ("user:adaptive", "user:kernel")])
            for r in runs:
                self.assertEqual((r["samples"], r["rounds"], r["failed"]), (200, 2, False))
                self.assertGreater(r["settled_halt_ns"], 0)
                self.assertGreater(r["ratio_restored"], 0)
                self.assertGreater(r["ratio_anew"], 0)
            p = bench("clone", "--rounds", "1", "--mode", "kernel:0", env=env)
            self.assertEqual(p.returncode, 1)
            self.assertIn("nothing is learned: expected a mode user:POLICY", p.stderr)
            self.assertEqual(os.listdir(temp), [])

    def test_crossover(self):
        modes = ("user:adaptive", "kernel:200us")
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "r.json")
            p = bench("crossover", "--samples", "10", "--rounds", "1", "--mode", modes[0], "--mode", modes[1], "--json", path)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            with open(path, encoding="utf-8") as f:
                runs = json.load(f)["runs"]
        self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
        for extra in ("interrupt", "ipi", "timer"):
            self.assertRegex(p.stdout, rf"polled, by {extra}s:\s+(user|kernel)")
        self.assertEqual([(r["extra"], r["per_halt"], r["mode"]) for r in runs],
                         [(e, n, m) for e in ("interrupt", "ipi", "timer") for n in (0, 1, 2, 4, 8) for m in modes])
        for run in runs:
            self.assertFalse(run["failed"])
            self.assertEqual(run["samples"], 10)

    def test_in_turn(self):
        """Prices and what they predict have their turns in the same rounds, as a terminal shows; others do not."""
        master, slave = pty.openpty()
        with subprocess.Popen([CATNAP, "bench", "event", "prices", "crossover", "--mode", "user:off", "--samples", "10", "--rounds",
                               "2", "--arrivals", "constant", "--gap", "20us", "--gap", "50us"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=slave) as p:
            os.close(slave)
            said = b""
            with contextlib.suppress(OSError):  # its end, when nobody has the other end any more
                while data := os.read(master, 65536):
                    said += data
        os.close(master)
        self.assertEqual(p.returncode, 0, said)
        turns = [(w.decode(), int(n)) for n, w in re.findall(rb"round (\d) of 2: (\w+) user:off", said)]
        self.assertEqual([n for w, n in turns if w == "event"], [1, 2, 1, 2])
        rest = [t for t in turns if t[0] != "event"]
        self.assertEqual([n for _, n in rest], [1] * (len(rest) // 2) + [2] * (len(rest) // 2))
        self.assertEqual({w for w, n in rest if n == 1}, {"prices", "crossover"})

    def test_linux(self):
        """What it needs is said once, and by its name; where it can run, the lab runs it."""
        with tempfile.TemporaryDirectory() as d:
            env = {**os.environ, "CATNAP_CACHE": d}
            here = [CATNAP, "bench", "linux", "--mode", "user:adaptive", "--mode", "kernel:200us", "--rounds", "1", "--samples", "10"]

            def run(*args):
                p = subprocess.run([*here, *args], capture_output=True, text=True, check=False, env=env, stdin=subprocess.DEVNULL, timeout=100)
                self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
                self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
                return p.stderr

            self.assertIn("linux: no kernel: expected --kernel FILE, or \"guest-images/rootfs/build", run())
            self.assertIn(f"linux: --kernel: {d}/k: No such file", run("--kernel", d + "/k"))
            self.assertIn(f"linux: --kernel: {d}/\\x1bk: No such file", run("--kernel", d + "/\x1bk"))
            for name in ("bench-vmlinuz", "k"):
                with open(os.path.join(d, name), "wb") as f:
                    f.write(bytes(4096))
            self.assertIn("linux: no initramfs: expected --initramfs FILE", run("--load", "pipe"))
            self.assertIn(f"linux: --initramfs: {d}/i: No such file", run("--kernel", d + "/k", "--initramfs", d + "/i"))
        for args, says in ((("linux", "--load", "x"), "--load: \"x\" is not a load: expected boot, pipe,"),
                           (("event", "--exits"), "--exits: has no effect in event: expected linux"),
                           (("event", "--kernel", "k"), "--kernel: has no effect in event"),
                           (("event", "--initramfs", "k"), "--initramfs: has no effect in event"),
                           (("event", "--load", "pipe"), "--load: has no effect in event"),
                           (("linux", "--load", "pipe", "--rate", "9"), "--rate: has no effect in linux: expected event or echo"),
                           (("linux", "--load", "pipe", "--duration", "9s"), "--duration: has no effect in linux: expected"),
                           (("linux", "--load", "pipe", "--arrivals", "random"), "--arrivals: has no effect in linux: expected")):
            p = bench(*args)
            self.assertEqual((p.returncode, p.stderr.count("\n")), (2, 1))
            self.assertIn(says, p.stderr)

    def check_offered(self, workload, rates, modes):
        """At each rate there are as many events as fit into the time."""
        options = [o for r in rates for o in ("--rate", str(r))]
        p = bench(workload, "--json", "-", "--rounds", "1", "--duration", "200ms", "--arrivals", "constant", *options,
                  *[o for m in modes for o in ("--mode", m)])
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        runs = json.loads(p.stdout)["runs"]
        self.assertEqual([(r["rate"], r["mode"]) for r in runs], [(r, m) for r in rates for m in modes])
        for run in runs:
            self.assertEqual(run["samples"] + run["lost"], run["rate"] * 2 // 10)
            self.assertGreater(run["samples"], 0)
            self.assertLessEqual(run["p99_ns"], run["p999_ns"])
            self.assertLessEqual(run["p999_ns"], run["max_ns"])
            self.assertLess(run["handled_per_s"], run["rate"] * 1.05)
        return runs

    def test_offered_events(self):
        self.check_offered("event", (100, 5000), ("user:adaptive", "kernel:200us", "pm"))

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_offered_packets(self):
        self.check_offered("echo", (100, 2000), ("user:adaptive", "kernel:200us", "user:off/thread"))

    def test_a_stall_shows(self):
        """A guest that stands still for 10 ms keeps events waiting, and p99.9 does not hide it, at any rate."""
        options = [o for r in (400, 5000) for o in ("--rate", str(r))]
        for workload in ("event", "echo") if os.geteuid() == 0 else ("event",):
            p = bench(workload, "--json", "-", "--rounds", "1", "--duration", "300ms", "--stall", "10ms", *options,
                      "--arrivals", "constant", "--mode", "user:adaptive", "--mode", "kernel:200us")
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            runs = json.loads(p.stdout)["runs"]
            self.assertEqual(len(runs), 4)
            for run in runs:
                with self.subTest(workload=workload, rate=run["rate"], mode=run["mode"]):
                    # The first of those that came meanwhile has waited for nearly all of it.
                    self.assertGreater(run["p999_ns"], 6_000_000)

    def test_pinned_to_one(self):
        for run in self.runs("blk", "--pin", "one", modes=("user:kernel", "kernel:200us")):
            self.check(run)

    def test_mix(self):
        modes = ("user:adaptive:power", "user:off", "kernel:0")
        processes = ("bursty,pause=1ms", "constant,gap=50us,jitter=5")
        options = [o for p in processes for o in ("--process", p)]
        runs = self.runs("mix", *options, modes=modes)
        self.assertEqual([(r["process"], r["mode"]) for r in runs],
                         [(p, m) for p in processes for m in modes])
        for run in runs:
            self.check(run)
            self.assertGreaterEqual(run["poll_vain_ns_per_event"], 0)
            if run["mode"] == "user:off":
                self.assertEqual(run["poll_vain_ns_per_event"], 0)
        windows = {r["process"]: r.get("windows") for r in runs if r["mode"] == modes[0]}
        for process, samples in windows.items():
            self.assertEqual(len(samples), 200)
            self.assertEqual(sorted(samples), samples, process)  # in the order of time
            for at, halt, window in samples:
                self.assertGreater(halt, 0)
                self.assertLessEqual(window, 1000000)
        # The sender may be held up, so a halt is what was asked for, or longer.
        for _, halt, _ in windows[processes[1]]:
            self.assertGreaterEqual(halt, 47500 - 100)
        self.assertFalse([r for r in runs if r["mode"] != modes[0] and "windows" in r])

    @staticmethod
    @functools.cache
    def mix_of_all():
        """The process, its JSON and its HTML: each process in each mode, once for all that look at it."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "report.html")
            p = bench("mix", "--samples", "20", "--rounds", "1", "--json", "-", "--html", path, timeout=400)
            with contextlib.suppress(FileNotFoundError), open(path, encoding="utf-8") as f:
                return p, p.stdout, f.read()
        return p, p.stdout, ""

    def test_all_processes_and_biases(self):
        p, results, _ = self.mix_of_all()
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        runs = json.loads(results)["runs"]
        self.assertEqual(len(runs), 6 * 9)
        self.assertEqual({r["process"].split(",")[0] for r in runs},
                         {"constant", "poisson", "bursty", "bimodal", "pareto", "tick"})
        self.assertLessEqual({"user:adaptive", "user:adaptive:latency", "user:adaptive:power"},
                             {r["mode"] for r in runs})
        # The report has what a policy that learns has learned.
        for run in runs:
            self.assertEqual("learned" in run, run["mode"].startswith("user:adaptive"), run["mode"])
            for vcpu in run.get("learned", []):
                self.assertEqual(len(vcpu["contexts"]), 9)
                self.assertGreater(sum(c["halts"] for c in vcpu["contexts"]), 10)
                for c in vcpu["contexts"]:
                    self.assertLessEqual(c["p50_ns"], c["p90_ns"])
                    self.assertLessEqual(c["window_ns"], 1000000)

    @unittest.skipUnless(len(os.sched_getaffinity(0)) > 1, "one processor only")
    def test_neighbour(self):
        modes = ("user:adaptive", "user:off", "user:always", "kernel:200us")
        runs = self.runs("neighbour", "--duration", "200ms", "--vcpus", "1", "--vcpus", "3",
                         "--gap", "500us", modes=modes)
        self.assertEqual([(r["vcpus"], r["mode"]) for r in runs], [(n, m) for n in (1, 3) for m in modes])
        for run in runs:
            self.assertFalse(run["failed"])
            self.assertEqual(run["gap_ns"], 500000)
            self.assertGreater(run["progress_per_s"], 0)
            self.assertGreater(run["alone_per_s"], 0)
            self.assertGreater(run["ratio_progress"], 0)
            self.assertGreater(run["ratio_hog_cpu"], 0)
            self.assertTrue(0 < run["hog_cpu_percent"] < 101, run)
            self.assertGreater(run["events"], 0)
            self.assertEqual(run["samples"], run["events"])
            self.assertLessEqual(run["polled_percent"], 101 * run["vcpus"])
            if run["mode"] == "user:always":
                self.assertGreater(run["polled_percent"], 0)
            if run["mode"] == "user:off":
                self.assertEqual(run["polled_percent"], 0)
                self.assertEqual(run["ratio_progress"], 1)
                self.assertEqual(run["ratio_hog_cpu"], 1)

    def test_neighbour_on_the_sibling(self):
        """As the host says where that is: this one's, and one that is made up."""
        cpus = sorted(os.sched_getaffinity(0))
        run = [CATNAP, "bench", "neighbour", "--sibling", "on", "--duration", "100ms", "--vcpus", "1", "--rounds", "1",
               "--mode", "user:off", "--json", "-"]
        topology = f"/sys/devices/system/cpu/cpu{cpus[min(1, len(cpus) - 1)]}/topology"
        for siblings in ("%d", "%d,%d" % tuple(cpus[:2])) if len(cpus) == 2 else ():
            text = siblings % cpus[1] if siblings == "%d" else siblings
            p = subprocess.run(["unshare", "-m", "sh", "-c", 'mount -t tmpfs none "$1" && echo "$2" > "$1/thread_siblings_list" '
                                '&& shift 2 && exec "$@"', "sh", topology, text, *run], capture_output=True, text=True,
                               check=False, timeout=60)
            if p.stderr.startswith(("unshare:", "mount:")):
                self.skipTest(p.stderr)
            says = "has no SMT sibling" if siblings == "%d" else "the sender needs a processor of its own"
            self.assertEqual(p.returncode, 1)
            self.assertIn("catnap bench: neighbour: --sibling: ", p.stderr)
            self.assertIn(says, p.stderr)
            self.assertEqual(p.stderr.count("\n"), 1)
        if len(cpus) > 2 and os.path.exists(topology):
            p = subprocess.run(run, capture_output=True, text=True, check=False, timeout=60)
            if p.returncode == 0:
                self.assertEqual(json.loads(p.stdout)["runs"][0]["hog"], "sibling")

    @unittest.skipUnless(len(os.sched_getaffinity(0)) > 1, "one processor only")
    @unittest.skipUnless(permitted(), "no real-time class permitted")
    def test_neighbour_of_a_real_time_class(self):
        runs = self.runs("neighbour", "--realtime", "on", "--duration", "200ms", "--vcpus", "1", "--gap", "500us",
                         modes=("user:kernel", "user:fixed", "user:adaptive"))
        for run in runs:
            self.assertFalse(run["failed"])
            self.assertGreater(run["hog_cpu_percent"], 0)
            # Nothing is polled there, whatever else this host does.
            self.assertLess(run["polled_percent"], 1)

    def test_html(self):
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "report.html")
            p = bench("mix", "event", "idle", "blk", "--samples", "20", "--rounds", "1", "--gap", "50us",
                      "--duration", "50ms", "--html", path, "--process", "bursty", "--process", "tick",
                      "--mode", "user:adaptive", "--mode", "user:kernel", "--mode", "kernel:0",
                      "--mode", "kernel:200us")
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            self.assertIn("mix: signal to the guest's handler, bursty", p.stdout)
            with open(path, encoding="utf-8") as f:
                text = f.read()
        page = Page(text)
        self.assertEqual(page.wrong, [])
        # Nothing is fetched from anywhere: all links are to places in the page, which exist.
        self.assertEqual([x for x in page.links if not x.startswith("#") or x[1:] not in page.ids], [])
        self.assertNotRegex(text, r"://|@import|url\(|<script|<iframe|<object")
        for part in ("event", "idle", "blk", "mix", "caveats"):
            self.assertIn(part, page.ids)
        # Two pictures for each condition with latencies, one for idle, two windows for each process.
        self.assertEqual(page.tags.count("svg"), 2 * 2 + 2 + 3 * 2 + 2 * (2 + 2))
        # A table for each condition, and a map of those workloads that have a ratio under several.
        maps = re.findall(r'<table class="heat">(.*?)</table>', text, re.S)
        self.assertEqual(page.tags.count("table"), 2 + 2 + 3 + 2 + len(maps))
        self.assertGreaterEqual(len(maps), 3)
        for heads, rows in (m.split("</thead>") for m in maps):
            self.assertIn("ratio to kernel:200us", heads)
            self.assertEqual(re.findall(r"</i>([^<]*)</th>", rows), ["user:adaptive", "user:kernel", "kernel:0"])
            for row in rows.split("</tr>")[:-1]:
                self.assertEqual(row.count("<td"), len(re.findall(r"<th[ >]", heads)) - 1)
                for kind, ratio in re.findall(r'<td class="(..)">([^<]*)', row):
                    limits = {"b2": (0, 0.5), "b1": (0.5, 0.95), "b0": (0.95, 1.05), "w1": (1.05, 2), "w2": (2, 1e9)}[kind]
                    self.assertTrue(limits[0] - 0.006 <= float(ratio) <= limits[1] + 0.006, row)
        self.assertEqual(page.tags.count("details"), 2)
        # The first of all is where it wins and where it loses.
        self.assertIn("short", page.ids)
        self.assertLess(text.index("In short"), text.index("<dl>"))
        for workload in ("event", "idle", "blk", "mix"):
            self.assertRegex(text.split('id="short"')[1].split("</section>")[0], rf'href="#{workload}"')
        said = "".join(page.text)
        for words in ("user:adaptive", "kernel:200us", "Processor", "Before you believe it"):
            self.assertIn(words, said)

    def test_html_colours(self):
        """Each mode has one of its own."""
        p, _, text = self.mix_of_all()
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.check_colours(text)
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "report.html")
            for workload, modes in (("compute", ()), ("event", (
                    "user:adaptive", "kernel:200us", "user:adaptive:power", "user:adaptive:balanced", "kernel:0",
                    "kernel:1us", "kernel:2us", "kernel:3us", "kernel:4us", "kernel:5us", "kernel:6us", "kernel:7us",
                    "kernel:8us", "kernel:9us", "user:off"))):
                options = [o for m in modes for o in ("--mode", m)]
                p = bench(workload, "--samples", "5", "--rounds", "1", "--html", path, *options)
                self.assertEqual((p.returncode, p.stderr), (0, ""))
                with open(path, encoding="utf-8") as f:
                    self.check_colours(f.read())

    def check_colours(self, text):
        rows = set(re.findall(r'<th scope="row" class="(m\d+)"><i></i>([^<]+)</th>', text))
        self.assertEqual(len(rows), len({c for c, _ in rows}), sorted(rows))
        self.assertGreater(len(rows), 3)
        for colour, _ in rows:
            self.assertEqual(len(re.findall(rf"--{colour}: #", text)), 3, colour)

    def test_html_to_standard_output(self):
        p = bench("idle", "--duration", "10ms", "--rounds", "1", "--mode", "user:off", "--html", "-")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertEqual(Page(p.stdout).wrong, [])
        self.assertTrue(p.stdout.startswith("<!doctype html>"))

    def test_html_cannot_be_written(self):
        p = bench("idle", "--duration", "10ms", "--rounds", "1", "--mode", "user:off", "--html", "/nowhere/x")
        self.assertEqual(p.returncode, 1)
        self.assertEqual(p.stderr, "catnap bench: --html: /nowhere/x: No such file or directory\n")
        self.assertEqual(p.stdout, "")  # before anything is measured
        if os.path.exists("/dev/full"):
            p = bench("idle", "--duration", "10ms", "--rounds", "1", "--mode", "user:off", "--html", "/dev/full")
            self.assertEqual(p.returncode, 1)
            self.assertIn("No space left on device", p.stderr)
            self.assertIn("idle", p.stdout)

    def test_kvm_cannot_be_opened(self):
        """Said once, and not for each mode."""
        # A bare /dev/kvm is not KVM's: a file, a link to nowhere, one without rights.
        for how, says in (("mount --bind /dev/null /dev/kvm", "/dev/kvm"),
                          ("mount -t tmpfs tmpfs /dev", "/dev/kvm is not there")):
            p = subprocess.run(["unshare", "-m", "sh", "-c", how + ' && exec "$@"', "sh", CATNAP, "bench", "event",
                                "start", "--samples", "5"], capture_output=True, text=True, check=False, timeout=100)
            if p.stderr.startswith("unshare:"):
                self.skipTest(p.stderr)
            self.assertEqual((p.returncode, p.stdout), (1, ""))
            self.assertIn(says, p.stderr)
            self.assertEqual(p.stderr.count("\n"), 1, p.stderr)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_what_no_mode_can_is_said_once(self):
        """echo without the right to make a network namespace; blk where no file can be made."""
        for args, drop, says in (
                (("echo", "--samples", "5"), ("setpriv", "--bounding-set=-sys_admin", "--inh-caps=-sys_admin"),
                 "catnap bench: echo: a network namespace: Operation not permitted\n"),
                (("blk", "--samples", "5", "--rounds", "1"),
                 ("unshare", "-m", "sh", "-c", "mount --bind -o ro / /mnt && mount --bind /mnt/var/tmp /var/tmp && "
                  "mount -o remount,ro,bind /var/tmp && exec \"$@\"", "sh"),
                 "catnap bench: blk: a file in /var/tmp: Read-only file system\n")):
            p = subprocess.run([*drop, CATNAP, "bench", *args], capture_output=True, text=True, check=False,
                               timeout=100)
            if p.stderr.startswith(("unshare:", "setpriv:", "mount:")):
                self.skipTest(p.stderr)
            self.assertEqual((p.returncode, p.stderr), (1, says))
            # No table in which nothing stands but that; blk has disks that are no files.
            if args[0] == "echo":
                self.assertEqual(p.stdout, "")
            else:
                self.assertIn("failed", p.stdout)

    def test_table_fits_a_terminal(self):
        two = ("--mode", "user:adaptive:latency", "--mode", "kernel:200us")
        few = ("--samples", "10")
        for args in (("event", "timer", "ipi", "idle", "start", "memory", "--gap", "100us", "--duration", "300ms", *few,
                      *two),
                     ("blk", *few, *two), ("compute", "--vcpus", "1", "--gap", "100us", *few, *two),
                     ("neighbour", "--vcpus", "1", "--duration", "300ms", *two, "--mode", "user:off"),
                     ("mix", "--process", "constant", *few),
                     ("event", "--rate", "1000", "--duration", "50ms", *two)):
            p = bench(*args, "--rounds", "2")
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
        name = "user:adaptive:balanced/thread"
        p = bench("blk", "--samples", "10", "--rounds", "2", "--mode", name, "--mode", "kernel:200us/vcpu")
        self.assertIn(name + "\n", p.stdout)
        self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])

    def test_ratio_can_be_computed(self):
        """From each round's median, and lies between those of the rounds."""
        p = bench("event", "neighbour", "--samples", "20", "--rounds", "3", "--gap", "100us", "--arrivals",
                  "random", "--vcpus", "1", "--duration", "300ms", "--mode", "user:off", "--mode", "user:kernel",
                  "--mode", "kernel:200us", "--json", "-")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        runs = json.loads(p.stdout)["runs"]
        for workload, base, values, ratio in (("event", "kernel:200us", "round_p50_ns", "ratio_p50"),
                                              ("neighbour", "user:off", "round_progress_per_s", "ratio_progress")):
            of = {r["mode"]: r for r in runs if r["workload"] == workload}
            for run in of.values():
                middle = sorted(run[values])[1]
                if middle:
                    self.assertAlmostEqual(run["spread_percent"],
                                           100 * (max(run[values]) - min(run[values])) / middle)
                if ratio not in run:
                    continue  # the hog did not get to run at all
                ratios = sorted(a / b for a, b in zip(run[values], of[base][values]))
                self.assertEqual(len(ratios), 3)
                self.assertAlmostEqual(run[ratio], ratios[1])
                self.assertAlmostEqual(run[ratio + "_min"], ratios[0])
                self.assertAlmostEqual(run[ratio + "_max"], ratios[2])

    def test_what_was_not_measured_is_not_there(self):
        p = bench("blk", "start", "memory", "event", "compute", "neighbour", "--samples", "5", "--rounds", "1", "--gap",
                  "200us", "--duration", "50ms", "--vcpus", "1", "--mode", "user:off", "--mode", "kernel:0", "--json",
                  "-")
        for run in json.loads(p.stdout)["runs"]:
            workload = run["workload"]
            # Only those who count what wakes a vCPU know it.
            self.assertEqual("kicks" in run, run["mode"] == "user:off" and workload in ("event", "neighbour"), run)
            self.assertEqual("signal_p50_ns" in run, workload == "event")
            self.assertEqual("cpu_ns_per_event" in run and run["cpu_ns_per_event"] > 0,
                             workload in ("blk", "event") or (workload == "neighbour" and run["events"] > 0), run)
            self.assertNotIn("ratio_p50", run)
            self.assertNotIn("spread_percent", run)

    def test_table(self):
        p = bench("blk", "--samples", "5", "--rounds", "1", "--mode", "user:off")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("blk: doorbell to the interrupt's handler", p.stdout)
        self.assertIn("net: without the guest's own share", p.stdout)

    # A window that no host is too busy for, one that is never open, and one that is as long as Linux's.
    GUESTS = ("guest:100ms,grow-start=100ms", "guest:0/learned", "guest:200us,allow-shrink=off/break-even")

    def guest_runs(self, workload, *args):
        modes = self.GUESTS + ("user:off",)
        runs = self.runs(workload, *args, modes=modes)
        for run in runs:
            self.assertIs(run["failed"], False, run)
            guest = run.get("guest")
            self.assertEqual(guest is not None, run["mode"].startswith("guest:"), run)
            if guest is None:
                continue
            self.assertLessEqual(guest["found"], guest["polls"], run)
            self.assertLessEqual(guest["host_found"], guest["host_polls"], run)
            if run["mode"] == self.GUESTS[0]:
                # The guest has switched its host's polling off.
                self.assertEqual(guest["host_polls"], 0, run)
            if run["mode"] == self.GUESTS[1]:
                self.assertEqual((guest["polls"], guest["ipis_saved"]), (0, 0), run)
        return {m: [r for r in runs if r["mode"] == m] for m in modes}

    def test_guest_polls(self):
        for workload, args in (("event", ("--gap", "100us", "--arrivals", "constant")),
                               ("timer", ("--gap", "100us", "--arrivals", "constant")),
                               ("mix", ("--process", "poisson,mean=100us"))):
            with self.subTest(workload):
                runs = self.guest_runs(workload, *args)
                self.check(runs["user:off"][0])
                self.check(runs[self.GUESTS[0]][0])
                self.assertGreater(runs[self.GUESTS[0]][0]["guest"]["found"], 0, runs)
                self.assertGreater(runs[self.GUESTS[0]][0]["guest"]["poll_ns_per_event"], 0, runs)
                self.assertGreater(runs[self.GUESTS[1]][0]["guest"]["hlt_exits"], 0, runs)

    def test_guest_polls_idle(self):
        still, ticking = self.guest_runs("idle", "--duration", "300ms")[self.GUESTS[0]]
        # Without anything to wake it there is nothing that lets a window grow.
        self.assertEqual((still["guest"]["polls"], still["tick_hz"]), (0, 0))
        self.assertGreater(ticking["guest"]["polls"] + ticking["guest"]["hlt_exits"], 0)

    def test_guest_polls_neighbour(self):
        runs = self.guest_runs("neighbour", "--vcpus", "2", "--gap", "500us", "--duration", "300ms")
        self.assertEqual([len(r) for r in runs.values()], [1] * 4)

    def test_guest_polls_blk(self):
        for mode, runs in self.guest_runs("blk").items():
            self.assertEqual([(r["disk"], "net_p50_ns" in r) for r in runs],
                             [("id", False), ("tmpfs", True), ("direct", True)], mode)

    @unittest.skipUnless(os.geteuid() == 0, "needs root")
    def test_guest_polls_echo(self):
        for run in self.guest_runs("echo", "--gap", "100us")[self.GUESTS[0]]:
            self.check(run)
            self.assertIn("net_p50_ns", run)
            self.assertGreater(run["guest"]["polls"], 0, run)

    def test_guest_polls_ipi(self):
        """Each round trip has two wake-ups, by memory or by an interrupt."""
        runs = self.guest_runs("ipi")
        for mode in self.GUESTS:
            guest = runs[mode][0]["guest"]
            # The last one may not have been counted yet.
            self.assertIn(guest["ipis_saved"] + guest["ipis_sent"], (2 * 120 - 1, 2 * 120), runs)
        self.assertGreater(runs[self.GUESTS[0]][0]["guest"]["ipis_saved"], 0, runs)

    def test_guest_table(self):
        with tempfile.TemporaryDirectory() as d:
            page = os.path.join(d, "r.html")
            p = bench("ipi", "--samples", "10", "--rounds", "2", "--mode", "guest:200us,grow=3/off", "--mode", "user:off",
                      "--mode", "guest:1us/learned", "--html", page)
            self.assertEqual((p.returncode, p.stderr), (0, ""))
            self.assertEqual([line for line in p.stdout.splitlines() if len(line) > 80], [])
            rows = p.stdout.split("\nguest ", 1)[1]
            self.assertRegex(rows, r"(?m)^guest:200us,grow=3/off\n +\d")
            self.assertRegex(rows, r"(?m)^guest:1us/learned ")
            # A table of costs follows, of all modes, where the host counts any.
            self.assertNotIn("user:off", re.split(r"\n\n|\ncosts ", rows, maxsplit=1)[0])
            self.assertIn("\nguest: how often the guest polled", p.stdout)
            with open(page, encoding="utf-8") as f:
                self.assertIn("<th scope=\"col\">HLT exits</th>", f.read())

    def test_wrong(self):
        for args, says in (
                (("--mode", "guest:"), "--mode: guest: "),
                (("--mode", "guest:200"), '--mode: guest: "200" has no unit'),
                (("--mode", "guest:200us,grow=x"), '--mode: grow: "x" is not a number'),
                (("--mode", "guest:200us,tea=1"), '--mode: "tea" is an unknown key'),
                (("--mode", "guest:200us/moon"), '--mode: host: "moon" is unknown: expected off, break-even or learned'),
                (("--mode", "guest:200us/"), "--mode: host: "),
                (("--mode", "guest:200us/off/moon"), '--mode: "guest:200us/off/moon" is not a mode: expected /vcpu or'),
                (("--mode", "guest:200us,"), "--mode: "),
                (("--mode", "guest:" + "1" * 200), "is not a mode: expected user:adaptive"),
                (("start", "memory", "--mode", "guest:200us"),
                 '--mode: "guest:200us": has no effect in start or memory: expected event, timer, ipi, idle, blk, '
                 'echo, neighbour, mix or linux'),
                (("event", "--mode", "guest:200us/off/thread"), '--mode: /thread of "guest:200us/off/thread": has no'),
                (("--mode", "user:kernel/moon"), '--mode: "user:kernel/moon" is not a mode: expected /vcpu or /thread'),
                (("--mode", "user:/vcpu"), '--mode: "user:/vcpu" is not a mode'),
                (("--mode", "kernel:x/vcpu"), '--mode: '),
                (("--pin", "two"), '--pin: "two"'),
                (("--mode", "user:adaptive:speed"), '--mode: "user:adaptive:speed" is not a mode'),
                (("--mode", "user:kernel:power"), '--mode: "user:kernel:power" is not a mode'),
                (("event", "--realtime", "on"), "--realtime: has no effect in event"),
                (("--vcpus", "65"), '--vcpus: "65" is out of range: expected 1 to 64'),
                (("neighbour", "--vcpus", "5"), "--vcpus: 5: has no effect in neighbour: expected idle"),
                (("--process", "square"), '--process: kind: "square"'),
                (("--process", "tick,period=0"), '--process: period: "0"'),
                (("--process", "tick", "--process", "tick"), '--process: "tick" was given twice'),
                (("--json", "-", "--html", "-"), '--html: "-" is where --json goes already'),
                (("disk",), '"disk" is not a workload')):
            with self.subTest(args):
                p = bench(*args)
                self.assertEqual((p.returncode, p.stdout), (2, ""))
                self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
                self.assertIn(says, p.stderr)


if __name__ == "__main__":
    # Under nohup, too: a signal that is ignored would be ignored by what we start, one with a handler is not.
    signal.signal(signal.SIGHUP, lambda *_: None)
    unittest.main()
