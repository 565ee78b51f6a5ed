#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The command as a person or a script sees it: catnap itself, and catnap replay.

    test_replay.py CATNAP [unittest options]
"""

import csv
import io
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
import unittest

CATNAP = ""
ROWS = "halt_ns,window_before,poll_ns,waited,window_after\n"
FOREVER = 2**64 - 1


def catnap(*args, text=None, data=None, **more):
    """Runs the command; gives (exit status, standard output, standard error)."""
    data = text.encode() if text is not None else data
    more.setdefault("stdout", subprocess.PIPE)
    if data is None:
        more.setdefault("stdin", subprocess.DEVNULL)
    done = subprocess.run([CATNAP, *args], input=data, stderr=subprocess.PIPE, check=False, timeout=60,
                          **more)
    return done.returncode, (done.stdout or b"").decode(), done.stderr.decode()


class Case(unittest.TestCase):
    maxDiff = None

    def refused(self, *args, status=2, error=None, **more):
        """One line on standard error, nothing on standard output."""
        got, out, err = catnap(*args, **more)
        self.assertEqual((got, out), (status, ""), err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("catnap"), err)
        if error is not None:
            self.assertEqual(err, error + "\n")

    def replayed(self, *args, text):
        """The rows and the summary."""
        status, out, err = catnap("replay", *args, "-", text=text)
        self.assertEqual(status, 0, err)
        self.assertTrue(out.startswith(ROWS), out)
        return out[len(ROWS):].split(), err


class Main(Case):
    def test_help(self):
        for args in (["--help"], ["-h"], ["help"]):
            status, out, err = catnap(*args)
            self.assertEqual((status, err), (0, ""))
            self.assertIn("Usage: catnap COMMAND", out)
            self.assertIn("\n  replay ", out)
        for args in (["replay", "--help"], ["replay", "-h"], ["help", "replay"],
                     ["replay", "--seed", "1", "--help", "--nonsense"]):
            status, out, err = catnap(*args)
            self.assertEqual((status, err), (0, ""))
            self.assertIn("Usage: catnap replay", out)
            for option in ("--halt-poll", "--price", "--format", "--generate", "--halts", "--seed"):
                self.assertIn(option, out)
            self.assertLess(max(map(len, out.split("\n"))), 80)

    def test_version(self):
        status, out, err = catnap("--version")
        self.assertEqual((status, err), (0, ""))
        self.assertRegex(out, r"^catnap \d+\.\d+\.\d+\S*\n$")

    def test_wrong(self):
        self.refused(error="catnap: no command: expected one of those in catnap --help")
        self.refused("--nope", error='catnap: unknown option "--nope": expected COMMAND, --help or '
                     "--version")
        for args in (["nope"], ["help", "nope"], ["a\nb"], [""], ["--version", "x"], ["--help", "x"],
                     ["help", "replay", "x"]):
            self.refused(*args)

    def test_output_that_fails(self):
        for args in (["--help"], ["--version"], ["replay", "--help"], ["replay", "-"],
                     ["replay", "--format=json", "-"], ["replay", "--format=table", "-"],
                     ["replay", "--generate", "poisson", "--halts", "1000000000000"]):
            with open("/dev/full", "wb") as full:
                status, _, err = catnap(*args, text="halt_ns\n1\n", stdout=full)
            self.assertEqual(status, 1, args)
            self.assertEqual(err.split("\n", 1)[0].split(": ", 1)[1],
                             "standard output: No space left on device")
            self.assertEqual(err.count("\n"), 1, err)

    def test_output_closed(self):
        """Not a hang, whether SIGPIPE kills or is ignored (as Python leaves it)."""
        for restore in (True, False):
            with subprocess.Popen([CATNAP, "replay", "--generate", "tick", "--halts", "1000000000000"],
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  restore_signals=restore) as p:
                self.assertEqual(p.stdout.readline(), b"halt_ns\n")
                p.stdout.close()
                err = p.stderr.read()
                status = p.wait(timeout=30)
            if restore:
                self.assertEqual((status, err), (-signal.SIGPIPE, b""))
            else:
                self.assertEqual((status, err),
                                 (1, b"catnap replay: standard output: Broken pipe\n"))

    def test_no_standard_descriptors(self):
        """Files that are opened must not take their place."""
        done = subprocess.run(["sh", "-c", f'"{CATNAP}" replay - <&- 2>&1'], check=False,
                              stdout=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        done = subprocess.run(["sh", "-c", f'"{CATNAP}" --help >&-'], check=False,
                              stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stderr),
                         (1, b"catnap: standard output: Bad file descriptor\n"))


class Options(Case):
    def bad(self, *args, error):
        self.refused("replay", *args, error="catnap replay: " + error)

    def test_wrong(self):
        self.bad(error="FILE is missing: expected a trace, or - for standard input")
        self.bad("a", "b", error='"b" is one argument too many: expected only FILE')
        self.bad("--prise=1", "-", error="--prise: unknown option: expected --price?")
        self.bad("--price", "-5", "-", error='--price: "-5" is not a time: expected 0 to 10s, as in '
                 "500ns, 200us, 5ms or 1s")
        self.bad("--price", "11s", "-", error='--price: "11s" is out of range: expected 0 to 10s')
        self.bad("--price=1us", "--price=2us", "-", error="--price: given twice: expected once")
        self.bad("--format", "xml", "-",
                 error='--format: "xml" is unknown: expected csv, json or table')
        self.bad("--seed", "4", "-", error="--seed: has no effect here: expected --generate as well")
        self.bad("--generate", "tick", "-", error="both --generate and FILE: expected one of them")
        self.bad("--generate", "tick", "--price", "1us",
                 error="--price: has no effect with --generate: expected a trace to read")

    def test_wrong_halt_poll(self):
        for value, error in (
                ("adaptiv", 'policy: "adaptiv" is unknown: expected adaptive, kernel, fixed, always or '
                 "off"),
                ("adaptive,bias=low", 'bias: "low" is unknown: expected latency, balanced or power'),
                ("kernel,max=4294967296ns",
                 'max: "4294967296ns" is out of range: expected 0 to 4294967295 ns'),
                ("kernel,max=5s", 'max: "5s" is out of range: expected 0 to 4294967295 ns'),
                ("kernel,grow=2x", 'grow: "2x" is not a number: expected 0 to 4294967295'),
                ("kernel,price=1us", '"price" is an unknown key: expected policy, max, grow, '
                 "grow-start, shrink or bias"),
                ("max=1us,max=1us", 'max: "1us" is a second value: expected max once'),
                ("max=", 'max: "" is empty: expected a value'),
                ("", '"" is empty: expected policy=...')):
            self.bad("--halt-poll", value, "-", error="--halt-poll: " + error)
        self.refused("replay", *["--halt-poll=off"] * 17, "-")

    def test_wrong_generate(self):
        for value in ("", "nope", "poisson,gap=1us", "poisson,mean=0", "constant,jitter=101",
                      "pareto,alpha=0", "pareto,alpha=inf", "bursty,burst=0", "tick,period=2h",
                      "poisson,", "mean=3"):
            self.refused("replay", "--generate", value)
        for command, option in (("replay", "--generate"), ("bench", "--process")):
            for value in ("pareto,min=2ms,max=1ms", "pareto,min=11s", "pareto,max=9us"):
                self.refused(command, option, value, error=f'catnap {command}: {option}: "{value}" has a min above its max')

    def test_values_may_be_joined(self):
        self.assertEqual(catnap("replay", "--generate=constant,gap=5ns", "--halts=2")[1],
                         "halt_ns\n5\n5\n")


class Traces(Case):
    def bad(self, text, error):
        """A malformed trace: exit status 1, and the file and line."""
        data = text if isinstance(text, bytes) else text.encode()
        with tempfile.TemporaryDirectory() as where:
            with open(os.path.join(where, "t.csv"), "wb") as f:
                f.write(data)
            status, _, err = catnap("replay", "t.csv", cwd=where)
        self.assertEqual((status, err), (1, f"catnap replay: t.csv{error}\n"))

    def test_malformed(self):
        self.bad("", ": is empty: expected a header line, halt_ns,...")
        self.bad("1000\n", ':1: header "1000" is not the name of a first column: expected halt_ns')
        self.bad("halt_ns,allowed\n",
                 ':1: header "allowed" is not the next column: see catnap replay --help')
        self.bad("halt_ns,valid,allowed,max_after,grow_after,grow_start_after,shrink_after,x\n",
                 ":1: too many columns: expected at most 8")
        self.bad("halt_ns,valid,gave_way_ns\n",
                 ':1: header "gave_way_ns" is not the next column: see catnap replay --help')
        self.bad("halt_ns,valid,allowed,max_after,gave_way_ns\n",
                 ':1: header "gave_way_ns" is not the next column: see catnap replay --help')
        self.bad("halt_ns,valid,allowed,gave_way_ns\n1,1,1,x\n",
                 ':2: gave_way_ns "x" is not a number')
        self.bad("halt_ns\n" + 15 * "1\n" + "12x\n", ':17: halt_ns "12x" is not a number')
        self.bad("halt_ns,valid\n1,1,1\n", ":2: too many columns: the header names 2")
        self.bad("halt_ns,valid\n,1\n", ':2: halt_ns "" is not a number')
        self.bad("halt_ns\n-1\n", ':2: halt_ns "-1" is not a number')
        self.bad("halt_ns\n 1\n", ':2: halt_ns " 1" is not a number')
        self.bad("halt_ns\n18446744073709551616\n", ':2: halt_ns "18446744073709551616" is too large: '
                 "expected 0 to 18446744073709551615")
        self.bad("halt_ns,valid\n1,2\n", ':2: valid "2" is too large: expected 0 to 1')
        self.bad("halt_ns,valid,allowed,max_after\n1,1,1,4294967296\n",
                 ':2: max_after "4294967296" is too large: expected 0 to 4294967295')
        self.bad(b"halt_ns\n1\0\n", ":2: a NUL byte: expected text")
        self.bad(b"halt_ns\n\xff\n", r':2: halt_ns "\xff" is not a number')
        self.bad("halt_ns\n" + 5000 * "1", ":2: a line of more than 1023 characters")

    def test_unreadable(self):
        self.refused("replay", "/nonexistent/t.csv", status=1,
                     error="catnap replay: /nonexistent/t.csv: No such file or directory")
        self.refused("replay", "/", status=1, error="catnap replay: /: Is a directory")
        self.refused("replay", "/dev/null", status=1)

    def test_forms(self):
        want = ["1000,0,0,1,10000", "2000,10000,2000,0,10000"]
        for text in ("halt_ns\n1000\n2000\n", "halt_ns\n1000\n2000", "halt_ns\r\n1000\r\n2000\r\n",
                     "halt_ns\n\n1000\n\n2000\n\n", "\ufeffhalt_ns\n1000\n2000\n",
                     "halt_ns,valid,allowed\n1000\n2000,,\n"):
            self.assertEqual(self.replayed(text=text)[0], want, text)
        self.assertEqual(self.replayed(text="halt_ns\n")[0], [])

    def test_nothing_is_lost_before_an_error(self):
        status, out, _ = catnap("replay", "-", text="halt_ns\n1000\nx\n")
        self.assertEqual((status, out), (1, ROWS + "1000,0,0,1,10000\n"))


class Replay(Case):
    def test_kernel(self):
        rows, _ = self.replayed(text="halt_ns\n" + 6 * "150000\n")
        self.assertEqual([r.split(",")[4] for r in rows],
                         ["10000", "20000", "40000", "80000", "160000", "160000"])
        self.assertEqual(rows[4], "150000,80000,80000,1,160000")
        self.assertEqual(rows[5], "150000,160000,150000,0,160000")

    def test_ends_with_the_window(self):
        rows, _ = self.replayed("--halt-poll", "fixed,max=1us", text="halt_ns\n1000\n1001\n0\n")
        self.assertEqual(rows, ["1000,1000,1000,0,1000", "1001,1000,1000,1,1000", "0,1000,0,0,1000"])

    def test_other_policies(self):
        text = "halt_ns,valid,allowed\n70000,1,1\n70000,0,1\n70000,1,0\n"
        for option, window, polled in (("off", 0, 0), ("fixed,max=80us", 80000, 70000),
                                       ("fixed,max=30us", 30000, 30000), ("always", FOREVER, 70000)):
            rows, _ = self.replayed("--halt-poll", option, text=text)
            row = f"70000,{window},{polled},{int(polled < 70000)},{window}"
            self.assertEqual(rows, [row, row, f"70000,{window},0,1,{window}"])

    def test_parameters_on_the_way(self):
        text = ("halt_ns,valid,allowed,max_after,grow_after,grow_start_after,shrink_after\n"
                "20000,1,1,,,30000\n"       # the first window is the new start
                "50000,1,1,,5\n"            # grows by 5
                "900000,1,1,,,,3\n"         # shrinks by 3
                "900000,1,0,40000\n"        # not allowed: nothing, not even the cap
                "900000,1,0\n"              # which is on the next entry
                "100,0,1,0\n")              # an invalid wake-up comes before max 0
        rows, _ = self.replayed(text=text)
        self.assertEqual([r.split(",")[1] for r in rows], ["0", "30000", "150000", "50000", "40000",
                                                           "40000"])
        self.assertEqual([r.split(",")[4] for r in rows], ["30000", "150000", "50000", "50000",
                                                           "40000", "0"])

    def test_giving_way(self):
        text = "halt_ns,valid,allowed,gave_way_ns\n70000,1,1,20000\n70000,1,1,0\n70000,1,1\n5000,1,1,20000\n"
        for option, polled, window in (("fixed,max=80us", (20000, 0, 70000, 5000), 80000),
                                       ("fixed,max=10us", (10000, 0, 10000, 5000), 10000),
                                       ("always", (70000, 70000, 70000, 5000), FOREVER)):
            rows, _ = self.replayed("--halt-poll", option, text=text)
            self.assertEqual(rows, [f"{halt},{window},{poll},{int(poll < halt)},{window}"
                                    for halt, poll in zip((70000, 70000, 70000, 5000), polled)])
        # The kernel's window learns from the halt, whatever became of its poll.
        rows, _ = self.replayed(text="halt_ns,valid,allowed,gave_way_ns\n" + 4 * "150000,1,1,5\n")
        self.assertEqual(rows, ["150000,0,0,1,10000", "150000,10000,5,1,20000", "150000,20000,5,1,40000",
                                "150000,40000,5,1,80000"])

    def test_summary(self):
        _, err = self.replayed("--halt-poll", "fixed,max=20us", "--price", "30us",
                               text="halt_ns\n10000\n20000\n20001\n90000\n")
        lines = {line[:20].strip(): line[20:] for line in err.splitlines()}
        self.assertEqual(lines["total poll time"], "70.0us")
        self.assertEqual(lines["failed poll time"], "40.0us (57.1 %)")
        self.assertEqual(lines["missed wake-ups"], "2 (50.0 %)")
        self.assertEqual(lines["added latency"], "mean 15.0us, p50 0ns, p90 30.0us, p99 30.0us")
        self.assertEqual(lines["cost"], "130.0us, at 30.0us a sleep")
        self.assertEqual(lines["offline optimum"], "80.0us")
        self.assertEqual(lines["cost over optimum"], "1.625")

    def test_json(self):
        status, out, err = catnap("replay", "--format", "json", "--halt-poll", "fixed,max=20us",
                                  "--halt-poll", "off", "--price", "30us", "-",
                                  text="halt_ns\n10000\n20000\n20001\n90000\n")
        self.assertEqual((status, err), (0, ""))
        fixed, off = json.loads(out)["policies"]
        want = {"policy": "fixed", "halts": 4, "poll_ns": 70000, "failed_poll_ns": 40000, "sleeps": 2,
                "cost_ns": 130000, "optimum_ns": 80001, "ratio": 1.62498}
        self.assertEqual({key: fixed[key] for key in want} | {"ratio": round(fixed["ratio"], 5)},
                         want)
        self.assertEqual((off["policy"], off["sleeps"], off["cost_ns"]), ("off", 4, 120000))

    def test_json_without_a_ratio(self):
        def ratio(text, *args):
            _, out, _ = catnap("replay", "--format=json", *args, "-", text=text)
            return json.loads(out)["policies"][0]["ratio"]
        self.assertEqual(ratio("halt_ns\n"), 1)
        self.assertIsNone(ratio("halt_ns\n5\n", "--price=0", "--halt-poll=always"))

    def test_comparison(self):
        args = ["replay", "--halt-poll", "kernel,max=50us", "--halt-poll", "always", "-"]
        _, out, err = catnap(*args, text="halt_ns\n70000\n70000\n")
        self.assertEqual(err, "")
        self.assertIn("\nkernel,max=50us\n", out)
        self.assertIn("\nalways ", out)
        self.assertEqual([x for x in out.splitlines() if len(x) > 80], [])
        # Each column is explained below the table.
        head = next(x for x in out.splitlines() if x.startswith("policy"))
        below = out[out.rindex("\n\n"):]
        for column in head.split()[1:]:
            self.assertIn(column, re.findall(r"(\w+)[,:]", below), column)
        _, out, _ = catnap(*args, "--format=csv", text="halt_ns\n70000\n70000\n")
        head, *rows = [line.split(",") for line in out.split()]
        self.assertEqual(head[:8], ["policy", "halts", "poll_ns", "failed_poll_ns", "sleeps",
                                    "cost_ns", "optimum_ns", "ratio"])
        self.assertEqual(rows[1][:7], ["always", "2", "140000", "0", "0", "140000", "100000"])

    def test_sums_do_not_wrap(self):
        _, out, _ = catnap("replay", "--halt-poll=always", "--format=json", "-",
                           text=f"halt_ns\n{FOREVER}\n{FOREVER}\n")
        self.assertEqual(json.loads(out)["policies"][0]["poll_ns"], FOREVER)


class Guest(Case):
    """The guest's side; that its rule is Linux's is for tests/replay/governor.py."""

    def rows(self, guest, policy, halts):
        status, out, _ = catnap("replay", "--guest", guest, "--halt-poll", policy, "-",
                                text="halt_ns\n" + "".join(f"{h}\n" for h in halts))
        self.assertEqual(status, 0)
        head, *rows = out.split()
        self.assertEqual(head, "halt_ns,window_before,poll_ns,waited,window_after,guest_poll_ns")
        return [[int(n) for n in row.split(",")] for row in rows]

    def test_hosts(self):
        halts = [60000, 90000, 30000]  # windows of 0, 50 and 50 us: 40 us and nothing are left
        for host, policy, polled in (("off", "always", (0, 0, 0)), ("learned", "always", (60000, 40000, 0)),
                                     ("learned", "kernel", (0, 0, 0)), ("learned", "off", (0, 0, 0)),
                                     ("learned", "fixed,max=10us", (10000, 10000, 0)),
                                     ("break-even", "adaptive", (50000, 40000, 0)),
                                     ("break-even", "off", (0, 0, 0))):
            with self.subTest(host=host, policy=policy):
                rows = self.rows(f"ns=kernel,host={host}", policy, halts)
                self.assertEqual([row[2] for row in rows], list(polled))
                self.assertEqual([row[5] for row in rows], [0, 50000, 30000])

    def test_cost_is_that_of_both_sides(self):
        text = "halt_ns\n60000\n90000\n30000\n"
        _, out, _ = catnap("replay", "--format=json", "--guest", "ns=kernel", "--halt-poll", "fixed,max=45us",
                           "--price=50us", "--exit-price=3us", "-", text=text)
        got = json.loads(out)["policies"][0]
        want = {"guest_poll_ns": 80000, "exits": 2, "exit_price_ns": 3000, "poll_ns": 85000, "sleeps": 1,
                "cost_ns": 80000 + 2 * 3000 + 85000 + 50000, "optimum_ns": 130000}
        self.assertEqual({key: got[key] for key in want}, want)

    def test_all_formats_have_the_guests_side(self):
        text = "halt_ns\n60000\n90000\n30000\n"
        args = ("replay", "--guest", "ns=kernel", "--halt-poll", "fixed,max=45us", "--halt-poll=off",
                "--exit-price=3us")
        _, out, _ = catnap(*args, "--format=json", "-", text=text)
        want = json.loads(out)["policies"]
        _, out, _ = catnap(*args, "--format=csv", "-", text=text)
        for row, policy in zip(csv.DictReader(io.StringIO(out)), want, strict=True):
            for key in ("policy", "cost_ns", "guest_poll_ns", "exits", "exit_price_ns"):
                self.assertEqual(row[key], str(policy[key]))
        _, out, _ = catnap(*args, "-", text=text)
        foot = " ".join(out.split())
        self.assertIn("cost: the time polled, by the guest as well, 50.0us for each sleep, and 3.00us for each exit",
                      foot)
        _, out, _ = catnap("replay", "--halt-poll=off", "--halt-poll=always", "-", text=text)
        self.assertNotIn("guest", out)

    def test_by_price(self):
        """Without ns= the governor's parameters are those that catnap run gives a guest at such prices."""
        made = (("50us", "0", "ns=25us,grow-start=5us"),
                ("50us", "8us", "ns=51us,grow-start=5100ns,grow=10,shrink=0"),
                ("10us", "1us", "ns=8250ns,grow-start=825ns,grow=10,shrink=0"),
                # No longer than a sleep and an exit.
                ("5us", "7us", "ns=12us,grow-start=1200ns,grow=10,shrink=0"))
        text = catnap("replay", "--generate=bursty,gap=10us,pause=100us", "--halts=2000")[1]
        for price, exit_price, same in made:
            def rows(guest):
                return catnap("replay", "--guest", guest, "--halt-poll=adaptive", "--price", price,  # pylint: disable=cell-var-from-loop
                              "--exit-price", exit_price, "-", text=text)[1]  # pylint: disable=cell-var-from-loop
            self.assertEqual(rows("host=learned"), rows(same + ",host=learned"), same)
            # A parameter that is given stays.
            self.assertEqual(rows("grow-start=3us,grow=4,shrink=3"),
                             rows(same.split(",", maxsplit=1)[0] + ",grow-start=3us,grow=4,shrink=3"), same)
        self.assertEqual(rows("ns=kernel"), rows("ns=200us,grow-start=50us,grow=2,shrink=2"))

    def test_by_price_where_the_host_sleeps_at_once(self):
        text = catnap("replay", "--generate=bursty,gap=10us,pause=100us", "--halts=2000")[1]
        for host, policy in (("off", "adaptive"), ("learned", "kernel"), ("learned", "off"), ("break-even", "off")):
            got, want = (catnap("replay", "--guest", guest + "host=" + host, "--halt-poll", policy, "--price=40us",
                                "--exit-price=2us", "-", text=text)[1]
                         for guest in ("", "ns=42us,grow-start=4200ns,grow=10,shrink=0,"))
            self.assertEqual(got, want, f"{host}, {policy}")

    def test_wrong(self):
        self.refused("replay", "--exit-price=1us", "-", error="catnap replay: --exit-price: has no effect here: "
                     "expected --guest as well")
        self.refused("replay", "--guest", "ns=5", "-")
        self.refused("replay", "--guest", "host=on", "-", error='catnap replay: --guest: host: "on" is unknown: '
                     "expected off, break-even or learned")
        self.refused("replay", "--guest", "shrinks=2", "-")
        self.refused("replay", "--generate=tick", "--guest", "ns=1us")


class Generate(Case):
    KINDS = ("constant", "poisson", "bursty", "bimodal", "pareto", "tick")

    def halts(self, kind, *args):
        status, out, err = catnap("replay", "--generate", kind, *args)
        self.assertEqual((status, err), (0, ""))
        head, *rows = out.split()
        self.assertEqual(head, "halt_ns")
        return [int(row) for row in rows]

    def test_same_seed_same_trace(self):
        for kind in self.KINDS:
            first = self.halts(kind, "--halts", "500", "--seed", "3")
            self.assertEqual(len(first), 500)
            self.assertGreater(min(first), 0)
            self.assertEqual(first, self.halts(kind, "--seed", "3", "--halts", "500"))
            if kind != "constant":
                self.assertNotEqual(first, self.halts(kind, "--seed", "4", "--halts", "500"))
        # From one release to the next, too.
        self.assertEqual(self.halts("poisson,mean=20us", "--halts", "3", "--seed", "1"),
                         [7050, 13062, 11099])

    def test_shapes(self):
        def mean(values):
            return sum(values) / len(values)
        n = ["--halts", "20000"]
        self.assertEqual(set(self.halts("constant,gap=7us", *n)), {7000})
        self.assertAlmostEqual(mean(self.halts("poisson,mean=20us", *n)), 20000, delta=500)
        self.assertAlmostEqual(mean(self.halts("bursty,burst=10,gap=10us,pause=1ms", *n)), 109000,
                               delta=9000)
        two = self.halts("bimodal,a=1us,b=1ms,share=25,jitter=0", *n)
        self.assertEqual(set(two), {1000, 1000000})
        self.assertAlmostEqual(two.count(1000) / len(two), 0.25, delta=0.02)
        tail = self.halts("pareto,min=10us,alpha=2,max=100us", *n)
        self.assertEqual((min(tail) // 100, max(tail)), (100, 100000))
        self.assertAlmostEqual(sum(h > 20000 for h in tail) / len(tail), 0.25, delta=0.02)
        ticks = self.halts("tick,period=1ms,net=500us", *n)
        self.assertLessEqual(max(ticks), 1000000)
        self.assertAlmostEqual(len(ticks) / sum(ticks) * 1e6, 3, delta=0.1)  # a ms: 1 tick, 2 packets
        self.assertEqual(self.halts("kind=constant", "--halts", "0"), [])

    def test_pipe(self):
        for kind in self.KINDS:
            trace = catnap("replay", "--generate", kind, "--halts", "2000", "--seed", "1")[1]
            rows, _ = self.replayed(text=trace)
            self.assertEqual([row.split(",")[0] for row in rows], trace.split()[1:])

    def test_a_million_lines(self):
        trace = catnap("replay", "--generate", "poisson,mean=20us", "--halts", "1000000")[1]
        began = time.monotonic()
        rows, _ = self.replayed(text=trace)
        self.assertEqual(len(rows), 1000000)
        # It takes a fraction of a second; the rest is for sanitizers and loaded machines.
        self.assertLess(time.monotonic() - began, 20)


if __name__ == "__main__":
    CATNAP = os.path.abspath(sys.argv.pop(1))
    unittest.main()
