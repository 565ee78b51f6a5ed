#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Options of all commands, found by their own --help: what holds for each value of a kind.

    test_options.py CATNAP [unittest options]
"""

import re
import subprocess
import sys
import unittest

CATNAP = ""


def catnap(*args):
    return subprocess.run([CATNAP, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                          timeout=60)


def forms(command):
    """(option, form) of each option with a value, the form as one word."""
    text = catnap(command, "--help").stdout
    # A form that is longer than a line goes on below its beginning.
    text = re.sub(r"([,|])\n +", r"\1", text.split("\nOptions", 1)[1])
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
        for command in ("run", "bench", "balloon", "replay", "stat"):
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
                      ("run", "--guest-halt-poll", "force,grow-start=%s"), ("balloon", "--wait", "%s"),
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

    def test_no_time(self):
        for value in ("5S", "5 s", "s", "5.5s", "5sec", "-5s", "+5s", "5m", "0x5s", "5s ", "1e3ms", "1s1ms"):
            with self.subTest(value):
                self.refused("run", "--timeout", value, "kernel", says="is not a time: expected")


if __name__ == "__main__":
    CATNAP = sys.argv.pop(1)
    unittest.main(verbosity=2)
