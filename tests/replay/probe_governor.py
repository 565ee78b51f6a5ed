#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds the probe guest's governor against the second implementation of Linux's in governor.py.

    probe_governor.py FILTER [--seed S] [--halts N]

FILTER is probe_governor.c with the very file that the guest is built from. The fixed vectors first, then random
idle periods with random parameters, many of them right at a boundary of the rule. Exit status 0: all agree.
"""

import argparse
import collections
import random
import subprocess
import sys

from governor import LINUX, VECTORS, Governor, number, random_params


def ask(command, text):
    done = subprocess.run([command], input=text, stdout=subprocess.PIPE, text=True, check=True, timeout=300)
    return done.stdout.splitlines()


def begin(params):
    return "p {ns} {grow} {grow_start} {shrink} {allow}\n".format(allow=int(params["allow_shrink"]), **params)


def compare(command, params, periods):
    governor = Governor(params)
    answers = ask(command, begin(params) + "".join(f"i {p}\n" for p in periods))
    if len(answers) != len(periods):
        sys.exit(f"{len(answers)} answers to {len(periods)} periods")
    for i, (period, answer) in enumerate(zip(periods, answers)):
        polled, block = governor.idle(period)
        expected = f"{polled} {'-' if block is None else block} {governor.window}"
        if answer != expected:
            sys.exit(f"period {i}, {period} ns, with {params}: expected {expected}, the probe has {answer}")
    return governor.taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("filter")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--halts", type=int, default=1000000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    taken = collections.Counter()
    compared = 0

    for periods, polled in VECTORS:
        answers = ask(args.filter, begin(LINUX) + "".join(f"i {p}\n" for p in periods))
        if [int(a.split()[0]) for a in answers] != polled:
            sys.exit(f"{periods}: expected to be polled for {polled}, the probe has {answers}")
    while compared < args.halts:
        params = random_params(rng)
        near = [params["ns"], params["grow_start"], 2 * params["grow_start"]]
        n = min(rng.choice((1, 100, 20000, 100000)), args.halts - compared)
        taken += compare(args.filter, params, [number(rng, near) for _ in range(n)])
        compared += n
    print(f"{compared} idle periods compared, seed {args.seed}: all agree")
    print(", ".join(f"{name}: {taken[name]}" for name in ("found", "grow", "wrapped", "shrink", "keep")))
    if args.halts >= 100000 and min(taken[n] for n in ("found", "grow", "wrapped", "shrink", "keep")) == 0:
        sys.exit("something was never tried")


if __name__ == "__main__":
    main()
