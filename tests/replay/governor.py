#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `catnap replay --guest` against a second implementation of Linux's haltpoll governor.

    governor.py CATNAP [--seed S] [--halts N]

Fixed vectors first, then random halts with random parameters, many of them right at a boundary of the
rule. The model is written from the driver's behaviour in words: an idle CPU polls while its window is
not over, then halts; what the halt alone has lasted lets the window grow (longer than the window, and at
most guest_halt_poll_ns) or shrink (longer than guest_halt_poll_ns, where that is allowed). Exit status 0:
all rows agree.
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
LINUX = {"ns": 200000, "grow": 2, "grow_start": 50000, "shrink": 2, "allow_shrink": True}
ROWS = "halt_ns,window_before,poll_ns,waited,window_after,guest_poll_ns"

# Idle periods with Linux's parameters, and for how long of each the guest polls.
VECTORS = (
    # Grows from nothing once a halt was short; what is found by polling changes nothing.
    ([60000, 60000, 40000, 40000, 60000], [0, 50000, 40000, 40000, 50000]),
    # After a poll the HLT is shorter by it: 10 us is less than the window, and that stays.
    ([50001, 60000, 60000, 60000], [0, 50000, 50000, 50000]),
    # Doubles while the rest is longer than the window: 50, 100, 200 us, and no further.
    ([200000, 110000, 210000, 500000, 200000], [0, 50000, 100000, 200000, 100000]),
    # A long one halves it; below grow_start it is 0.
    ([200000, 110000, 1000000, 1000000, 1000000, 200000], [0, 50000, 100000, 50000, 0, 0]),
    # At the boundary: 200 us is short, one more is long.
    ([200000, 250000, 300001, 300000], [0, 50000, 100000, 50000]),
)


class Governor:
    def __init__(self, params):
        self.params, self.window = params, 0
        self.taken = collections.Counter()

    def idle(self, length):
        """How long the guest polls, and how long its HLT lasts: None, there is none."""
        p = self.params
        if self.window > 0 and length <= self.window:
            self.taken["found"] += 1
            return length, None
        polled = min(self.window, length)
        block = length - polled
        if block > p["ns"]:
            if p["allow_shrink"]:
                self.taken["shrink"] += 1
                kept = self.window // p["shrink"] if p["shrink"] else 0
                self.window = kept if kept >= p["grow_start"] else 0
        elif block > self.window:
            self.taken["grow"] += 1
            product = self.window * p["grow"]
            if product >= U32:
                self.taken["wrapped"] += 1
            self.window = min(max(product % U32, p["grow_start"]), p["ns"])
        else:
            self.taken["keep"] += 1
        return polled, block


def option(params, host):
    return (f"ns={params['ns']}ns,grow={params['grow']},grow-start={params['grow_start']}ns,"
            f"shrink={params['shrink']},allow-shrink={'on' if params['allow_shrink'] else 'off'},host={host}")


def number(rng, near):
    """A u32 of any magnitude, or at one of @near."""
    dice = rng.random()
    if dice < 0.4:
        value = rng.choice(near) + rng.choice((-1, 0, 0, 1))
    elif dice < 0.9:
        value = int(2 ** (rng.random() * 32))
    else:
        value = rng.choice((0, 1, U32 - 1))
    return min(max(value, 0), U32 - 1)


def factor(rng):
    return rng.choice((0, 1, 2, 2, 2, 3, 65537, 2**31, U32 - 1))


def random_params(rng):
    if rng.random() < 0.2:
        return dict(LINUX)
    ns = number(rng, [200000])
    return {"ns": ns, "grow": factor(rng), "grow_start": number(rng, [50000, ns, 0]),
            "shrink": factor(rng), "allow_shrink": rng.random() < 0.8}


def expect(halts, params, host, limit, price, exit_price):
    """The rows and sums for policy fixed with max=@limit."""
    governor, rows, sums = Governor(params), [], collections.Counter()
    limit = min(limit, price) if host == "break-even" else limit
    for length in halts:
        polled, block = governor.idle(length)
        allowed = limit if host != "off" else 0
        host_polled, slept = 0, False
        if block is not None:
            host_polled, slept = min(block, allowed), block > allowed
            sums["exits"] += 1
        rows.append(f"{length},{limit},{host_polled},{int(slept)},{limit},{polled}")
        sums["halts"] += 1
        sums["guest_poll_ns"] += polled
        sums["poll_ns"] += host_polled
        sums["sleeps"] += slept
        sums["cost_ns"] += polled + host_polled + (price if slept else 0) + (exit_price if block is not None else 0)
        sums["optimum_ns"] += min(length, price)
    return rows, sums, governor.taken


def compare(catnap, path, halts, params, host, limit, price, exit_price):
    rows, sums, taken = expect(halts, params, host, limit, price, exit_price)
    with open(path, "w", encoding="ascii") as f:
        f.write("halt_ns\n" + "".join(f"{h}\n" for h in halts))
    command = [catnap, "replay", "--guest", option(params, host), "--halt-poll", f"fixed,max={limit}ns",
               "--price", f"{price}ns", "--exit-price", f"{exit_price}ns"]
    done = subprocess.run(command + [path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
    got = done.stdout.splitlines()
    if got[0] != ROWS or len(got) != len(rows) + 1:
        sys.exit(f"header {got[0]}, {len(got) - 1} rows of {len(rows)}")
    for i, (want, have) in enumerate(zip(rows, got[1:])):
        if want != have:
            sys.exit(f"halt {i}: expected {want}\n  catnap {have}\n  {' '.join(command)}")
    out = subprocess.run(command + ["--format", "json", path], stdout=subprocess.PIPE, text=True, check=True).stdout
    summary = json.loads(out)["policies"][0]
    for key in ("exits", "halts", "guest_poll_ns", "poll_ns", "sleeps", "cost_ns", "optimum_ns"):
        if summary[key] != sums[key]:
            sys.exit(f"{key}: expected {sums[key]}, catnap {summary[key]}\n  {' '.join(command)}")
    return taken


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("catnap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--halts", type=int, default=1000000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    taken = collections.Counter()
    compared = 0

    for halts, polled in VECTORS:
        governor = Governor(LINUX)
        if [governor.idle(h)[0] for h in halts] != polled:
            sys.exit(f"the model itself: {halts}")
    fd, path = tempfile.mkstemp(suffix=".csv")
    os.close(fd)
    try:
        for halts, polled in VECTORS:
            compare(args.catnap, path, halts, LINUX, "off", 200000, 50000, 1000)
        while compared < args.halts:
            params, host = random_params(rng), rng.choice(("off", "break-even", "learned"))
            near = [params["ns"], params["grow_start"], 2 * params["grow_start"]]
            halts = [number(rng, near) for _ in range(min(rng.choice((1, 100, 20000, 100000)), args.halts - compared))]
            taken += compare(args.catnap, path, halts, params, host, number(rng, [50000]), number(rng, [50000]),
                             rng.choice((0, 1000, 8000)))
            compared += len(halts)
    finally:
        os.unlink(path)
    print(f"{compared} halts compared, seed {args.seed}: all rows agree")
    print(", ".join(f"{name}: {taken[name]}" for name in ("found", "grow", "wrapped", "shrink", "keep")))
    if args.halts >= 100000 and min(taken[n] for n in ("found", "grow", "wrapped", "shrink", "keep")) == 0:
        sys.exit("something was never tried")


if __name__ == "__main__":
    main()
