#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What `catnap bench` says, not how long it took: test_bench.py CATNAP"""

import html.parser
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import has_io_uring

CATNAP = os.path.abspath(sys.argv.pop(1))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
MODES = ("user:kernel", "user:off/thread", "kernel:200us", "kernel:0/vcpu")


def bench(*args, timeout=100):
    return subprocess.run([CATNAP, "bench", *args], capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL, timeout=timeout)


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
        samples = () if workload == "neighbour" else ("--samples", "20")
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

    def interrupted(self, number, *args, wait=1):
        """Until it had something to show: its output, and its JSON and HTML."""
        with tempfile.TemporaryDirectory() as d:
            files = [os.path.join(d, n) for n in ("r.json", "r.html")]
            while True:
                with subprocess.Popen([CATNAP, "bench", *args, "--json", files[0], "--html", files[1]],
                                      stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
                                      stderr=subprocess.PIPE) as p:
                    try:
                        time.sleep(wait)
                        p.send_signal(number)
                        out, err = p.communicate(timeout=30)
                    finally:
                        p.kill()
                self.assertEqual(p.returncode, 128 + number, err)
                with open(files[0], encoding="utf-8") as f:
                    results = json.load(f)
                if results["runs"] or wait > 30:
                    with open(files[1], encoding="utf-8") as f:
                        return out, err, results, f.read()
                wait *= 2

    def test_interrupted(self):
        """What there is is printed and written, and says that it is not all."""
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
                out, err, results, page = self.interrupted(number, *args)
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
        out, _, results, page = self.interrupted(signal.SIGINT, "event", "--gap", "1s", wait=40)
        if not results["runs"]:
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

    def test_all_processes_and_biases(self):
        p = bench("mix", "--samples", "20", "--rounds", "1", "--json", "-")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        runs = json.loads(p.stdout)["runs"]
        self.assertEqual(len(runs), 6 * 9)
        self.assertEqual({r["process"].split(",")[0] for r in runs},
                         {"constant", "poisson", "bursty", "bimodal", "pareto", "tick"})
        self.assertLessEqual({"user:adaptive", "user:adaptive:latency", "user:adaptive:power"},
                             {r["mode"] for r in runs})
        # What a policy that learns has learned.
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

    @unittest.skipUnless(len(os.sched_getaffinity(0)) > 1, "one processor only")
    def test_neighbour_of_a_real_time_class(self):
        runs = self.runs("neighbour", "--realtime", "on", "--duration", "200ms", "--vcpus", "1", "--gap", "500us",
                         modes=("user:kernel", "user:fixed", "user:adaptive"))
        if all(run["failed"] for run in runs):
            self.skipTest("no real-time class permitted")
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
        self.assertEqual(page.tags.count("table"), 2 + 2 + 3 + 2)
        self.assertEqual(page.tags.count("details"), 2)
        said = "".join(page.text)
        for words in ("user:adaptive", "kernel:200us", "Processor", "Before you believe it"):
            self.assertIn(words, said)

    def test_html_colours(self):
        """Each mode has one of its own."""
        with tempfile.TemporaryDirectory() as d:
            path = os.path.join(d, "report.html")
            for workload, modes in (("mix", ()), ("compute", ()), ("event", (
                    "user:adaptive", "kernel:200us", "user:adaptive:power", "user:adaptive:balanced", "kernel:0",
                    "kernel:1us", "kernel:2us", "kernel:3us", "kernel:4us", "kernel:5us", "kernel:6us", "kernel:7us",
                    "kernel:8us", "kernel:9us", "user:off"))):
                options = [o for m in modes for o in ("--mode", m)]
                p = bench(workload, "--samples", "5", "--rounds", "1", "--html", path, *options)
                self.assertEqual((p.returncode, p.stderr), (0, ""))
                with open(path, encoding="utf-8") as f:
                    text = f.read()
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
            self.assertIn("failed", p.stdout)

    def test_table_fits_a_terminal(self):
        two = ("--mode", "user:adaptive:latency", "--mode", "kernel:200us")
        few = ("--samples", "10")
        for args in (("event", "timer", "ipi", "idle", "start", "memory", "--gap", "100us", "--duration", "300ms", *few,
                      *two),
                     ("blk", *few, *two), ("compute", "--vcpus", "1", "--gap", "100us", *few, *two),
                     ("neighbour", "--vcpus", "1", "--duration", "300ms", *two, "--mode", "user:off"),
                     ("mix", "--process", "constant", *few)):
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

    def test_wrong(self):
        for args, says in (
                (("--mode", "user:kernel/moon"), '--mode: "user:kernel/moon" is not a mode: expected /vcpu or /thread'),
                (("--mode", "user:/vcpu"), '--mode: "user:/vcpu" is not a mode'),
                (("--mode", "kernel:x/vcpu"), '--mode: '),
                (("--pin", "two"), '--pin: "two"'),
                (("--mode", "user:adaptive:speed"), '--mode: "user:adaptive:speed" is not a mode'),
                (("--mode", "user:kernel:power"), '--mode: "user:kernel:power" is not a mode'),
                (("event", "--realtime", "on"), "--realtime: has no effect in event"),
                (("--vcpus", "5"), '--vcpus: "5" is out of range: expected 1 to 4'),
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
