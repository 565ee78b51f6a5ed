#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap advise, on traces and on VMs that run: test_advise.py CATNAP PROBE"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

CATNAP, PROBE = (os.path.abspath(p) for p in (sys.argv.pop(1), sys.argv.pop(1)))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)


def catnap(*args, **options):
    return subprocess.run([CATNAP, *args], capture_output=True, text=True, check=False, timeout=100,
                          **{"stdin": subprocess.DEVNULL, **options})


def line(thread, ns, waited=True, valid=True, name="CPU 0/KVM"):
    return (f" {name}-{thread} [001] ..... 1.000000: kvm_vcpu_wakeup: {'wait' if waited else 'poll'} time {ns} ns, "
            f"polling {'valid' if valid else 'invalid'}\n")


class Traces(unittest.TestCase):
    def advise(self, text, *args):
        p = catnap("advise", "--from", "-", "--price", "50us", "--json", *args, input=text, stdin=None)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        return json.loads(p.stdout)

    def test_against_replay(self):
        """Each limit costs what replay says of policy kernel with it."""
        for process in ("poisson,mean=60us", "bimodal", "bursty"):
            trace = catnap("replay", "--generate", process, "--halts", "3000").stdout
            halts = [int(x.split(",")[0]) for x in trace.splitlines()[1:]]
            d = self.advise("".join(line(7, ns) for ns in halts))
            self.assertEqual([(p["pid"], p["vcpus"], p["halts"]) for p in d["processes"]], [(7, 1, 3000)])
            limits = d["processes"][0]["limits"]
            options = [o for x in limits for o in ("--halt-poll", f"kernel,max={x['halt_poll_ns']}ns")]
            p = catnap("replay", "--format", "json", "--price", "50us", *options, "-", input=trace, stdin=None)
            for ours, theirs in zip(limits, json.loads(p.stdout)["policies"], strict=True):
                self.assertEqual((ours["polled_ns"], ours["polled_in_vain_ns"], ours["sleeps"], ours["cost_ns"]),
                                 (theirs["poll_ns"], theirs["failed_poll_ns"], theirs["sleeps"], theirs["cost_ns"]))
            best = min(limits, key=lambda x: x["cost_ns"])
            self.assertEqual(d["all"]["best_halt_poll_ns"], best["halt_poll_ns"])
            self.assertEqual(d["all"]["limits"], limits)

    def test_each_vcpu_by_itself(self):
        """Windows are a vCPU's own, whoever halts in between; sums are of all."""
        a, b = [line(1, 20000)] * 400, [line(2, 900000)] * 400
        d = self.advise("".join(x + y for x, y in zip(a, b)))
        alone = [self.advise("".join(x)) for x in (a, b)]
        for p, q in zip(d["processes"], alone, strict=True):
            self.assertEqual(p["limits"], q["processes"][0]["limits"])
        for i, limit in enumerate(d["all"]["limits"]):
            for key in ("polled_ns", "sleeps", "cost_ns"):
                self.assertEqual(limit[key], sum(q["all"]["limits"][i][key] for q in alone))
        self.assertEqual(d["processes"][0]["best_halt_poll_ns"], 30000)
        self.assertEqual(d["processes"][1]["best_halt_poll_ns"], 0)

    def test_what_is_good_stays(self):
        d = self.advise(line(1, 150000) * 500)
        # A limit of 200 us polls 150 us for a sleep worth 50: none is best.
        self.assertEqual((d["all"]["best_halt_poll_ns"], d["all"]["worth_a_change"]), (0, True))
        d = self.advise(line(1, 10**9) * 5)
        self.assertFalse(d["all"]["worth_a_change"])

    def test_windows(self):
        """KVM has polled for the windows that it tells: that of a halt is the one before its change."""
        change = " x-1 [001] ..... 1.000000: kvm_halt_poll_ns: vcpu 0: halt_poll_ns {} ({} {})\n"
        text = (change.format(10000, "grow", 0) + line(1, 90000) + line(1, 8000, waited=False) +
                change.format(20000, "grow", 10000) + line(1, 70000) + line(1, 90000) + change.format(0, "shrink", 20000) +
                line(1, 10**6) + line(1, 10**6))
        d = self.advise(text)
        self.assertEqual(d["processes"][0]["halts"], 6)
        self.assertEqual(d["processes"][0]["kvm_polled_ns"], 0 + 8000 + 10000 + 20000 + 20000 + 0)
        self.assertEqual(d["all"]["kvm_polled_ns"], 58000)

    def test_expected(self):
        """With another limit KVM would poll what the rule says of that, as exactly as it keeps to the rule today."""
        change = " x-1 [001] ..... 1.000000: kvm_halt_poll_ns: vcpu 0: halt_poll_ns {} ({} {})\n"
        # By the rule the first halt is not polled for, and the others are as long as they last; KVM has told of that late.
        text = line(1, 150000) + (line(1, 150000, waited=False) + change.format(200000, "grow", 200000)) * 99
        d = self.advise(text)["all"]
        self.assertEqual((d["best_halt_poll_ns"], d["expected_polled_ns"]), (0, 0))
        self.assertGreater(d["kvm_polled_ns"], 0)
        short = line(1, 30000) + change.format(100000, "grow", 0) + line(1, 20000, waited=False) * 99
        d = self.advise(short + line(2, 150000) * 100)["all"]
        best = next(x for x in d["limits"] if x["halt_poll_ns"] == d["best_halt_poll_ns"])
        # The second has never been polled for: it is the first's proportion that counts.
        one = self.advise(short)["all"]
        then = next(x for x in one["limits"] if x["halt_poll_ns"] == best["halt_poll_ns"])
        other = self.advise(line(2, 150000) * 100)["all"]
        also = next(x for x in other["limits"] if x["halt_poll_ns"] == best["halt_poll_ns"])
        want = one["kvm_polled_ns"] * then["polled_ns"] / one["now"]["polled_ns"]
        if other["now"]["polled_ns"]:
            want += other["kvm_polled_ns"] * also["polled_ns"] / other["now"]["polled_ns"]
        self.assertGreater(best["halt_poll_ns"], 0)
        self.assertAlmostEqual(d["expected_polled_ns"], want, delta=2)

    def test_text(self):
        text = line(1, 20000, name="-1 [x] (y)") * 100 + "CPU:0 [LOST 5 EVENTS]\n" + "x" * 5000 + "\n" + line(1, 20000)
        p = catnap("advise", "--from", "-", "--price", "50us", input=text, stdin=None)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("5 halts were lost", p.stdout)
        self.assertEqual([x for x in p.stdout.splitlines() if len(x) > 80], [])
        for text in ("", "# tracer: nop\n#\n", "CPU:0 [LOST 5 EVENTS]\n"):
            p = catnap("advise", "--from", "-", input=text, stdin=None)
            self.assertIn("No virtual CPU has halted in KVM.", p.stdout)
        # What is no trace of halts is not taken for one without any.
        for text in ("nothing\n", "\1\xff\n" * 9, "halt_ns\n1000\n", "# tracer: nop\n x-1 [000] d..2. 1.5: sched_switch: y\n"):
            p = catnap("advise", "--from", "-", input=text, stdin=None)
            self.assertEqual((p.returncode, p.stdout, p.stderr),
                             (1, "", "catnap advise: -: no line is of halts: expected the event kvm_vcpu_wakeup, in the text of "
                                     "tracefs\n"))

    def test_refused(self):
        for args, status, says in ((("--from", "/nowhere/x"), 1, "/nowhere/x: No such file or directory"),
                                   (("--from", "x", "--apply", "max=1us"), 2, "--from: "),
                                   (("--apply", "min=2us,max=1us"), 2, "has a min above its max"),
                                   (("--apply", "min=2us"), 2, "max"),
                                   (("--tracefs", "/nowhere", "--parameters", "/nowhere"), 1, "/nowhere/halt_poll_ns"),
                                   (("--from", "/dev/null", "--parameters", "/nowhere"), 1, "/nowhere/halt_poll_ns")):
            p = catnap("advise", *args)
            self.assertEqual((p.returncode, p.stdout), (status, ""), p.stderr)
            self.assertIn(says, p.stderr)
            self.assertEqual(p.stderr.count("\n"), 1)

    def test_a_signal_while_nothing_comes(self):
        """From a pipe whose other end says nothing, from a FIFO that nobody writes to, and from one who writes for ever."""
        with tempfile.TemporaryDirectory() as temp:
            fifo = os.path.join(temp, "fifo")
            os.mkfifo(fifo)
            for args, stdin in (("-", None), (fifo, None), ("-", "yes '# nothing'")):
                for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                    with self.subTest(args=args, stdin=stdin, number=number):
                        writer = stdin and subprocess.Popen(["sh", "-c", stdin], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                        p = subprocess.Popen([CATNAP, "advise", "--from", args], stdin=writer.stdout if writer else subprocess.PIPE,
                                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                        try:
                            time.sleep(0.2)
                            self.assertIsNone(p.poll())
                            p.send_signal(number)
                            self.assertEqual(p.wait(20), -number)
                        finally:
                            p.kill()
                            p.wait()
                            for f in (p.stdin, p.stdout, p.stderr, writer and writer.stdout):
                                if f:
                                    f.close()
                            if writer:
                                writer.wait()

    @unittest.skipUnless(os.access("/sys/module/kvm/parameters/halt_poll_ns", os.R_OK), "no module kvm")
    def test_no_tracefs(self):
        p = catnap("advise", "--tracefs", "/nowhere")
        self.assertEqual((p.returncode, p.stdout), (1, ""))
        self.assertEqual(p.stderr, 'catnap advise: --tracefs: /nowhere: no tracefs is mounted there: expected '
                                   '"mount -t tracefs tracefs /nowhere" before\n')


def mounted():
    """Whether tracefs and debugfs with KVM's part can be mounted, in a namespace of one's own."""
    if os.geteuid() != 0 or not KVM:
        return False
    p = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tracefs none /sys/kernel/tracing && "
                        "mount -t debugfs none /sys/kernel/debug && test -d /sys/kernel/debug/kvm && "
                        "test -d /sys/kernel/tracing/events/kvm/kvm_vcpu_wakeup"], check=False, capture_output=True)
    return p.returncode == 0


@unittest.skipUnless(mounted(), "no tracefs, no debugfs, or not root")
class Live(unittest.TestCase):
    """VMs that tick, in KVM; parameters that are files, and change nothing."""

    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.parameters = Path(scratch.name)
        for name, value in (("", 200000), ("_grow", 2), ("_grow_start", 10000), ("_shrink", 2)):
            (self.parameters / f"halt_poll_ns{name}").write_text(f"{value}\n", encoding="ascii")

    def vm(self, *args, hz=2000):
        p = subprocess.Popen([CATNAP, "run", "--irqchip", "kernel", "--serial", "null", "-m", "16M", *args, "-c",
                              f"workload=idle tick_hz={hz} tsc_khz=2400000 apic_hz=1000000000", PROBE],
                             stdin=subprocess.DEVNULL)
        self.addCleanup(p.wait, 20)
        self.addCleanup(p.terminate)
        return p

    def start(self, *args):
        return subprocess.Popen(["unshare", "-m", "sh", "-c", "mount -t tracefs none /sys/kernel/tracing && "
                                 "mount -t debugfs none /sys/kernel/debug && exec \"$@\"", "sh", CATNAP, "advise",
                                 "--parameters", str(self.parameters), "--price", "50us", *args],
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    @staticmethod
    def instances(p):
        """Those of tracefs that this process has left."""
        ls = subprocess.run(["unshare", "-m", "sh", "-c", "mount -t tracefs none /sys/kernel/tracing && "
                             "ls /sys/kernel/tracing/instances"], capture_output=True, text=True, check=False)
        return [x for x in ls.stdout.split() if x == f"catnap-advise-{p.pid}"]

    def limit(self):
        # Unlike a parameter of the kernel's, a file is empty for a moment while it is written.
        text = ""
        until = time.monotonic() + 10
        while not text and time.monotonic() < until:
            text = (self.parameters / "halt_poll_ns").read_text(encoding="ascii")
        return int(text)

    def test_of_vms_that_run(self):
        vms = [self.vm(), self.vm("--halt-poll", "kernel,max=0")]
        user = subprocess.Popen([CATNAP, "run", "--serial", "null", "-m", "16M", "-c",
                                 "workload=idle tick_hz=2000 tsc_khz=2400000 apic_hz=1000000000", PROBE],
                                stdin=subprocess.DEVNULL)
        self.addCleanup(user.wait, 20)
        self.addCleanup(user.terminate)
        time.sleep(0.5)
        p = self.start("--duration", "2s", "--json")
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, err), (0, ""))
        found = {x["pid"]: x for x in json.loads(out)["processes"]}
        for vm in vms:
            self.assertGreater(found[vm.pid]["halts"], 500)
            self.assertEqual(found[vm.pid]["name"], "catnap")
            self.assertIn("kvm_polled_ns", found[vm.pid])
        # One that KVM does not poll for, whatever the module says: it counts what it takes to see that.
        self.assertLess(found[vms[1].pid]["kvm_polled_ns"], 1000 * found[vms[1].pid]["halts"])
        # Halts in user space are not KVM's.
        self.assertNotIn(user.pid, found)
        self.assertEqual((self.instances(p), self.limit()), ([], 200000))

    def test_apply_takes_back_what_does_not_help(self):
        """These parameters are files: nothing changes, whatever is written."""
        self.vm()
        time.sleep(0.5)
        # On a busy host the guest may halt otherwise in the second half, which looks as if it had helped.
        for _ in range(5):
            (self.parameters / "halt_poll_ns").write_text("200000\n", encoding="ascii")
            p = self.start("--duration", "1s", "--apply", "max=1ms", "--json")
            out, err = p.communicate(timeout=60)
            self.assertEqual((p.returncode, err), (0, ""))
            self.assertEqual(self.instances(p), [])
            applied = json.loads(out)["applied"]
            if not applied["kept"]:
                break
        self.assertEqual((applied["kept"], self.limit()), (False, 200000))

    def test_bounds(self):
        self.vm()
        time.sleep(0.5)
        p = self.start("--duration", "500ms", "--apply", "min=200us,max=200us", "--json")
        out, err = p.communicate(timeout=60)
        self.assertEqual((p.returncode, err), (0, ""))
        d = json.loads(out)
        self.assertEqual((d["all"].get("best_halt_poll_ns"), d["applied"], self.limit()),
                         (200000, {"set": False, "kept": False}, 200000))

    def test_a_signal_takes_it_back(self):
        self.vm()
        time.sleep(0.5)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            p = self.start("--duration", "2s", "--apply", "max=1ms", "--json")
            until = time.monotonic() + 10
            while self.limit() == 200000 and time.monotonic() < until and p.poll() is None:
                time.sleep(0.05)
            changed = self.limit() != 200000
            p.send_signal(number)
            out, err = p.communicate(timeout=60)
            self.assertEqual(self.limit(), 200000)
            self.assertEqual(self.instances(p), [])
            if changed:
                self.assertEqual((p.returncode, err), (128 + number, ""))
                self.assertEqual((json.loads(out)["applied"]["set"], json.loads(out)["applied"]["kept"]), (True, False))


if __name__ == "__main__":
    unittest.main()
