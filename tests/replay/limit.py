#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Holds `catnap replay --halt-poll kernel,max=learned` against a second implementation.

    limit.py CATNAP [--seed S] [--halts N]

Random processes that change on the way, with random prices and parameters of the rule. The window before and
after each halt is compared, in which the limit shows, and the limit at the end. The rule is reference.py's; the
learner is written from what docs/halt-polling.md says of it, in integers of any size. Exit status 0: all agree.
"""

import argparse
import collections
import json
import os
import random
import subprocess
import sys
import tempfile

from reference import Kernel, U32

BUCKETS = 32
WEIGHTS = 2**20
MS = 1000000
DEFAULT_LIMIT = 200000


def bucket(ns):
    return min(ns.bit_length(), BUCKETS - 1)


def shrunk(rule, window):
    kept = window // rule["shrink"] if rule["shrink"] else 0
    return kept if kept >= rule["grow_start"] else 0


def windows(rule, limit):
    """The windows that follow on each other while halts are short."""
    found = [0]
    while True:
        factor = rule["grow"]
        following = max(found[-1] * factor % U32, rule["grow_start"]) if factor else found[-1]
        following = min(following, limit)
        if following <= found[-1]:
            return found
        found.append(following)


def expected(halts, rule, limit):
    """By weighted halts [(ns, weight)]: time polled in a halt, and sleeps of WEIGHTS halts."""
    total = sum(weight for _, weight in halts)
    longer = sum(weight for ns, weight in halts if ns > limit)
    steps = windows(rule, limit)
    falls_to = [max(i for i, w in enumerate(steps[:n + 1]) if w <= shrunk(rule, steps[n])) for n in range(len(steps))]
    share = [0] * len(steps)
    share[-1] = U32
    for n in reversed(range(1, len(steps))):
        rising = sum(weight for ns, weight in halts if steps[n - 1] < ns < limit)
        if rising == 0:
            share[n - 1:] = [U32] + [0] * (len(steps) - n)
            continue
        falling = sum(share[i] for i in range(n, len(steps)) if falls_to[i] < n)
        share[n - 1] = falling * longer // rising
        while share[n - 1] > U32:
            share[n - 1:] = [s // 2 for s in share[n - 1:]]
    polled = slept = 0
    for step, part in zip(steps, share):
        part = part * WEIGHTS // sum(share)
        missed = sum(weight for ns, weight in halts if ns > step)
        found = sum(ns * weight for ns, weight in halts if ns <= step)
        polled += part * (missed * step // total + found // total)
        slept += part * (missed * WEIGHTS // total)
    return polled // WEIGHTS, slept // WEIGHTS


class Learner:
    """Gives a limit, from what KVM counts."""

    def __init__(self, worth, rule):
        self.worth, self.rule = worth, rule
        self.limits = sorted({0, DEFAULT_LIMIT, MS} | {2**bit for bit in range(12, 20)})
        self.ratio = {limit: (65536, 0) for limit in self.limits}
        self.limit = max(limit for limit in self.limits if limit <= worth)
        self.lengths = [0] * BUCKETS
        self.now = 0
        self.began, self.interval = 0, MS
        self.changes = 0
        self.forget_step()

    def forget_step(self):
        self.found, self.waited = [0] * BUCKETS, [0] * BUCKETS
        self.found_ns = self.failed_ns = self.failed = 0
        self.halved = 1

    def halt(self, halt, polled, slept, tried):
        """True: the limit is another one now."""
        self.now += halt
        if slept:
            self.waited[bucket(halt - polled)] += 1
            self.failed += tried
            self.failed_ns += polled
        elif tried:
            self.found[bucket(polled)] += 1
            self.found_ns += polled
        if self.now < self.began + self.interval:
            return False
        before = self.limit
        elapsed = self.now - self.began
        while max(sum(self.found), sum(self.waited)) > 8192 * self.halved:
            self.halved *= 2
        self.found, self.waited = ([n // self.halved for n in counts] for counts in (self.found, self.waited))
        self.failed = min(self.failed // self.halved, sum(self.waited))
        self.found_ns //= self.halved
        self.failed_ns //= self.halved
        elapsed //= self.halved
        halts = sum(self.found) + sum(self.waited)
        if halts:
            self.learn(halts)
        wanted = 250 * MS
        if halts and elapsed < 1000 * MS:
            wanted = min(wanted, elapsed * 64 // halts)
        self.interval = min(max(wanted, 10 * MS), 2 * self.interval)
        self.began = self.now
        self.forget_step()
        self.changes += self.limit != before
        return self.limit != before

    def add_lengths(self, halts):
        waits = sum(self.waited)
        polled = self.failed_ns // self.failed if self.failed else 0
        self.lengths = [n * 150 // (150 + halts) for n in self.lengths]
        for b in range(BUCKETS):
            tried = self.waited[b] * 256 * self.failed // waits if waits else 0
            self.lengths[b] += (self.found[b] + self.waited[b]) * 256 - tried
            self.lengths[bucket((2**b * 3 // 4 if b > 1 else b) + polled)] += tried

    def points(self):
        result = []
        for b, n in enumerate(self.lengths):
            begin = 2**(b - 1) if b else 0
            weight = n * WEIGHTS // sum(self.lengths)
            if weight:
                result += [(begin + begin * k // 8, weight) for k in (1, 3, 5, 7)]
        return result

    def learn(self, halts):
        self.add_lengths(halts)
        points = self.points()
        cost = {}
        for limit in self.limits:
            polled, slept = expected(points, self.rule, limit)
            cost[limit] = polled + self.worth * slept // WEIGHTS
        real = (self.found_ns + self.failed_ns) // halts + self.worth * sum(self.waited) // halts
        real = min(real * 65536 // max(cost[self.limit], 1), 16 * 65536)
        for limit, (ratio, samples) in self.ratio.items():
            samples = samples * 2000 // (2000 + halts)
            if limit == self.limit:
                ratio = (ratio * samples + real * halts) // (samples + halts)
                samples += halts
            self.ratio[limit] = (ratio, samples)
        for limit, (ratio, samples) in self.ratio.items():
            cost[limit] = cost[limit] * ((ratio * samples + 65536 * 4) // (samples + 4)) // 65536
        best = min(self.limits, key=lambda limit: (cost[limit], limit))
        if cost[best] < cost[self.limit] - cost[self.limit] // 50:
            self.limit = best


def weigh(price, bias):
    if bias == "latency":
        return max(8 * price, 300000)
    return max(price // 4, 1) if bias == "power" else price


def draw(rng, count):
    """Halts of some processes, one after the other."""
    halts = []
    while len(halts) < count:
        mean = 10 ** rng.uniform(1.5, 7)
        kind = rng.choice(("constant", "memoryless", "two", "wide"))
        for i in range(rng.choice((10, 1000, 5000))):
            if kind == "constant":
                halts.append(mean)
            elif kind == "memoryless":
                halts.append(rng.expovariate(1 / mean))
            elif kind == "two":
                halts.append(mean if i % 7 else mean * 30)
            else:
                halts.append(mean * rng.lognormvariate(0, 2))
    return [min(int(h) + rng.choice((0, 0, 1)), 2**34) for h in halts[:count]]


def compare(catnap, path, rng, count):
    price = rng.choice((1000, 10000, 50000, 200000, rng.randrange(1, 3000000)))
    bias = rng.choice(("balanced", "balanced", "latency", "power"))
    rule = {"grow": 2, "grow_start": 10000, "shrink": 2}
    if rng.random() < 0.5:
        rule = {"grow": rng.choice((0, 1, 2, 3, 65537)), "grow_start": rng.choice((0, 1, 700, 10000, 3000000)),
                "shrink": rng.choice((0, 1, 2, 5))}
    halts = draw(rng, count)
    with open(path, "w", encoding="ascii") as f:
        f.write("halt_ns\n" + "".join(f"{h}\n" for h in halts))
    option = f"kernel,max=learned,bias={bias},grow={rule['grow']},grow-start={rule['grow_start']}ns,shrink={rule['shrink']}"
    command = [catnap, "replay", "--halt-poll", option, "--price", f"{price}ns", path]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit status {done.returncode}: {done.stderr}")
    rows = done.stdout.splitlines()[1:]
    if len(rows) != count:
        sys.exit(f"{len(rows)} rows of {count} halts")

    learner = Learner(weigh(price, bias), rule)
    model = Kernel(learner.limit, rule["grow"], rule["grow_start"], rule["shrink"])
    for number, (halt, row) in enumerate(zip(halts, rows), 2):
        model.enter()
        window = model.window
        polled, slept = min(halt, window), halt > window
        model.leave(halt, True, True, {})
        want = f"{halt},{window},{polled},{int(slept)},{model.window}"
        if row != want:
            sys.exit(f"line {number}: expected {want}\n  catnap {row}\n  {' '.join(command)}")
        if learner.halt(halt, polled, slept, window > 0):
            model.params["max"] = learner.limit
    out = subprocess.run(command + ["--format=json"], stdout=subprocess.PIPE, text=True, check=True).stdout
    summary = json.loads(out)["policies"][0]
    if (summary["limit_ns"], summary["limit_changes"]) != (learner.limit, learner.changes):
        sys.exit(f"limit {summary['limit_ns']} after {summary['limit_changes']} changes: expected {learner.limit} "
                 f"after {learner.changes}\n  {' '.join(command)}")
    return learner


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("catnap")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--halts", type=int, default=1000000)
    args = parser.parse_args()
    rng = random.Random(args.seed)
    compared = changes = 0
    limits = collections.Counter()

    fd, path = tempfile.mkstemp(suffix=".csv")
    os.close(fd)
    try:
        while compared < args.halts:
            count = min(rng.choice((1, 3000, 20000, 50000)), args.halts - compared)
            learner = compare(args.catnap, path, rng, count)
            compared += count
            changes += learner.changes
            limits[learner.limit] += 1
    finally:
        os.unlink(path)
    print(f"{compared} halts compared, seed {args.seed}: all rows agree; the limit changed {changes} times")
    if args.halts >= 100000 and (changes < args.halts // 10000 or len(limits) < 4):
        sys.exit(f"hardly anything was learned: {limits}")


if __name__ == "__main__":
    main()
