#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `catnap replay` against a second implementation of policy kernel.

    reference.py CATNAP [--seed S] [--halts N]

Makes random halts with random parameters that change on the way, many of them right at a boundary of
the rule (the window, the maximum, 2^32), runs catnap over them, and compares every row and the sums.
The model below is written from the rule in words, in integers of any size with the u32 arithmetic made
explicit, so that a slip of C's conversions cannot be in both. Exit status 0: all rows agree.
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile

U32 = 2**32
U64_MAX = 2**64 - 1
PRICE = 50000
CHANGES = "max_after,grow_after,grow_start_after,shrink_after"
HEADER = "halt_ns,valid,allowed," + CHANGES
GIVING_WAY = "halt_ns,valid,allowed,gave_way_ns," + CHANGES  # the other form of a trace


class Kernel:
    """Policy kernel: what each halt does to the window."""

    def __init__(self, maximum, grow, grow_start, shrink):
        self.params = {"max": maximum, "grow": grow, "grow_start": grow_start, "shrink": shrink}
        self.window = 0
        self.taken = collections.Counter()  # which paths of the rule were tried

    def enter(self):
        """The cap is applied on entry, whether or not polling is allowed."""
        if self.params["max"] < self.window:
            self.taken["capped"] += 1
        self.window = min(self.window, self.params["max"])

    def verdict(self, halt, valid):
        """Returns what is to be done after a halt in which polling was allowed."""
        maximum = self.params["max"]
        if not valid:
            return "shrink: invalid"
        if maximum == 0:
            return "zero"
        if halt <= self.window:
            return "keep: seen"
        if halt > maximum and self.window != 0:
            return "shrink: long"
        if max(halt, self.window) < maximum:
            return "grow"
        return "keep: neither"

    def leave(self, halt, valid, allowed, changes):
        self.params.update(changes)
        todo = self.verdict(halt, valid) if allowed else "keep: not allowed"
        self.taken[todo] += 1
        what = todo.split(":")[0]
        if what == "zero":
            self.window = 0
        elif what == "shrink":
            self.window = self.shrunk()
        elif what == "grow":
            self.window = self.grown()

    def grown(self):
        factor = self.params["grow"]
        if factor == 0:
            self.taken["grow 0"] += 1
            return self.window
        product = self.window * factor
        if product >= U32:
            self.taken["wrapped"] += 1
        return max(product % U32, self.params["grow_start"])

    def shrunk(self):
        divisor = self.params["shrink"]
        if divisor == 0:
            self.taken["shrink 0"] += 1
            return 0
        quotient = self.window // divisor
        if quotient < self.params["grow_start"]:
            self.taken["shrunk away"] += 1
            return 0
        return quotient


PATHS = ["capped", "shrink: invalid", "zero", "keep: seen", "shrink: long", "grow", "keep: neither",
         "keep: not allowed", "grow 0", "wrapped", "shrink 0", "shrunk away", "gave way"]


def any_time(rng, near):
    """A u32 of any magnitude, at or beside one of @near, or at an end of the range."""
    dice = rng.random()
    if dice < 0.35:
        value = rng.choice(near) + rng.choice((-1, 0, 0, 1))
    elif dice < 0.85:
        value = int(2 ** (rng.random() * 32))
    else:
        value = rng.choice((0, 1, 10000, 200000, 2**31, U32 - 2, U32 - 1))
    return min(max(value, 0), U32 - 1)


def any_factor(rng):
    return rng.choice((0, 1, 2, 2, 2, 3, 7, 65537, 2**31, 2**31 + 1, U32 - 1, rng.randrange(U32)))


def any_param(rng, name, model):
    if name in ("grow", "shrink"):
        return any_factor(rng)
    p = model.params
    near = [model.window, 2 * model.window, p["max"], p["grow_start"], model.window // 2]
    if name == "grow_start" and rng.random() < 0.4:
        return rng.choice((0, 1, 100, 10000))  # small ones, or most shrinking would end at 0
    return any_time(rng, near)


def any_halt(rng, model):
    dice = rng.random()
    if dice < 0.02:
        return rng.choice((U32, U32 + 1, 2 * U32 + 5, U64_MAX, U64_MAX - 1, rng.randrange(2**64)))
    maximum = model.params["max"]
    if dice < 0.4:
        return any_time(rng, [model.window, maximum, 2 * model.window, model.params["grow_start"]])
    if dice < 0.7:
        return rng.randrange(maximum + 1)  # what a busy guest does: the window grows
    return any_time(rng, [maximum])


def make(rng, count, chance):
    """@count lines, the rows expected of them, and the options to start with."""
    start = {"max": any_time(rng, [200000]), "grow": any_factor(rng), "grow_start":
             rng.choice((0, 1, 10000, rng.randrange(U32))), "shrink": any_factor(rng)}
    model = Kernel(start["max"], start["grow"], start["grow_start"], start["shrink"])
    gives_way = rng.random() < 0.5
    lines, rows = [GIVING_WAY if gives_way else HEADER], []
    sums = collections.Counter()
    for _ in range(count):
        halt = any_halt(rng, model)
        valid = rng.random() >= 0.05
        allowed = rng.random() >= 0.1
        changes = {}
        if rng.random() < chance:
            for name in ("max", "grow", "grow_start", "shrink"):
                if rng.random() < 0.5:
                    changes[name] = any_param(rng, name, model)
        fields = [str(halt), str(int(valid)), str(int(allowed))]
        others = None  # nobody else wants the processor
        if gives_way:
            if rng.random() < 0.3:
                others = rng.choice((0, 0, any_time(rng, [model.window, halt])))
            fields.append("" if others is None else str(others))
        fields += [str(changes.get(n, "")) for n in ("max", "grow", "grow_start", "shrink")]
        lines.append(",".join(fields))

        model.enter()
        before = model.window
        limit = before if allowed else 0
        # A poll that gives way ends there; the window learns from the halt as from any other.
        if others is not None and others < min(limit, halt):
            limit = others
            model.taken["gave way"] += 1
        polled = min(halt, limit)
        slept = halt > limit
        model.leave(halt, valid, allowed, changes)
        rows.append(f"{halt},{before},{polled},{int(slept)},{model.window}")
        sums["halts"] += 1
        sums["poll_ns"] += polled
        sums["failed_poll_ns"] += polled if slept else 0
        sums["sleeps"] += slept
        sums["cost_ns"] += polled + (PRICE if slept else 0)
        sums["optimum_ns"] += min(halt, PRICE)
    option = ("kernel,max={max}ns,grow={grow},grow-start={grow_start}ns,shrink={shrink}"
              .format(**start))
    return lines, rows, sums, option, model.taken


def compare(catnap, path, lines, rows, sums, option):
    """Runs catnap over the trace; returns the number of rows that agree, exits at the first other."""
    command = [catnap, "replay", "--halt-poll", option, "--price", f"{PRICE}ns"]
    done = subprocess.run(command + [path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
    got = done.stdout.splitlines()
    if got[0] != "halt_ns,window_before,poll_ns,waited,window_after":
        sys.exit(f"header: {got[0]}")
    for number, (line, want, have) in enumerate(zip(lines[1:], rows, got[1:]), 2):
        if want != have:
            sys.exit(f"line {number}: {line}\n  expected {want}\n  catnap   {have}\n"
                     f"  policy {option}, changed by the lines before")
    if len(got) != len(rows) + 1:
        sys.exit(f"{len(rows)} halts, {len(got) - 1} rows")

    done = subprocess.run(command + ["--format", "json", path], stdout=subprocess.PIPE, text=True,
                          check=True)
    summary = json.loads(done.stdout)["policies"][0]
    for key, want in sums.items():
        if summary[key] != want:
            sys.exit(f"{option}: {key}: expected {want}, catnap {summary[key]}")
    return len(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("catnap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--halts", type=int, default=1000000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    taken = collections.Counter()
    compared = traces = 0

    fd, path = tempfile.mkstemp(suffix=".csv")
    os.close(fd)
    try:
        while compared < args.halts:
            count = min(rng.choice((1, 50, 1000, 20000, 50000)), args.halts - compared)
            # From parameters that stay to ones that change in every second halt.
            chance = rng.choice((0, 0.001, 0.02, 0.5))
            lines, rows, sums, option, paths = make(rng, count, chance)
            with open(path, "w", encoding="ascii") as f:
                f.write("\n".join(lines) + "\n")
            compared += compare(args.catnap, path, lines, rows, sums, option)
            traces += 1
            taken += paths
    finally:
        os.unlink(path)

    print(f"{compared} halts in {traces} traces compared, seed {args.seed}: all rows agree")
    print(", ".join(f"{name}: {taken[name]}" for name in PATHS))
    missing = [name for name in PATHS if not taken[name]]
    if missing and args.halts >= 100000:
        sys.exit("never tried: " + ", ".join(missing))


if __name__ == "__main__":
    main()
