#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Policy adaptive by what it is judged by: its cost over the offline optimum, on traces.

    test_adaptive.py CATNAP [unittest options]

The bounds are not those of a lucky seed: the seeds differ from run to run if CATNAP_SEED=random is
set, and the policy is measured against policy kernel and against the best window of a fixed length
that can be found when the whole trace is known.
"""

import json
import math
import os
import random
import subprocess
import sys
import unittest

CATNAP = ""
SEED = random.randrange(2**32) if os.environ.get("CATNAP_SEED") == "random" else 1
US, MS = 1000, 1000000

# The arrival processes that the bounds are about.
SPEC = ("constant,gap=50us", "constant,gap=150us", "constant,gap=1ms", "poisson,mean=20us",
        "poisson,mean=100us", "poisson,mean=1ms", "bimodal,a=20us,b=1ms,jitter=0",
        "bursty,burst=100,gap=20us", "pareto,min=10us,alpha=1.5", "tick,period=4ms,net=1ms")
BOUNDS = {10: (1.13, 1.36), 50: (1.12, 1.30), 200: (1.08, 1.25)}
# The same with --generate's own parameters. At 50 and 200 us the bounds above are out of reach for
# these: two peaks with a jitter of 10 % cost any policy 46/35 of the optimum at 50 us, and the best
# window of a fixed length, found afterwards, has a mean of 1.124 and 1.088. So it is held against
# that one.
DEFAULTS = SPEC[:6] + ("bimodal", "bursty", "pareto", "tick")


def catnap(*args, text=None):
    done = subprocess.run([CATNAP, *args], input=text, stdout=subprocess.PIPE, text=True, check=True,
                          timeout=60)
    return done.stdout


def generated(kind, halts=10000, seed=0):
    return catnap("replay", "--generate", kind, "--halts", str(halts), "--seed", str(SEED + seed))


def trace(halts):
    return "halt_ns\n" + "".join(f"{max(1, int(h))}\n" for h in halts)


def lengths(text):
    return [int(line) for line in text.split()[1:]]


def replay(text, price, *policies):
    """The ratios of the policies."""
    args = [arg for p in policies for arg in ("--halt-poll", p)]
    out = catnap("replay", "--format=json", "--price", f"{price}us", *args, "-", text=text)
    return [p["ratio"] for p in json.loads(out)["policies"]]


def both_sides(text, price, exit_price, host, halves=True):
    """The ratio of adaptive behind a guest that polls: for half of the price, or as Linux's default."""
    guest = f"host={host}"
    if halves:
        guest += f",ns={price * 500}ns,grow-start={price * 100}ns"
    out = catnap("replay", "--format=json", "--price", f"{price}us", "--exit-price", f"{exit_price}us", "--guest", guest,
                 "--halt-poll", "adaptive", "-", text=text)
    return json.loads(out)["policies"][0]["ratio"]


def best_fixed(halts, price):
    """The ratio of the best window of a fixed length, seen from the end."""
    price *= US
    optimum = sum(min(h, price) for h in halts)
    halts = sorted(halts)
    below, best = 0, len(halts) * price
    for i, h in enumerate(halts, 1):
        below += h
        best = min(best, below + (len(halts) - i) * (h + price))
    return best / optimum


def odd_processes(rng, n=10000):
    """Arrival processes that are none of --generate's."""
    def markov(a, b, p):
        slow, out = False, []
        for _ in range(n):
            slow ^= rng.random() < p
            out.append(rng.expovariate(1 / (b if slow else a)))
        return out

    def pattern(*halts):
        return [halts[i % len(halts)] for i in range(n)]

    def drifting():
        mean, out = 50 * US, []
        for _ in range(n):
            mean = min(max(mean * rng.lognormvariate(0, 0.03), 2 * US), 2 * MS)
            out.append(mean * rng.uniform(0.8, 1.2))
        return out

    yield "uniform", [rng.uniform(0, 150 * US) for _ in range(n)]
    yield "lognormal", [rng.lognormvariate(11, 1) for _ in range(n)]
    yield "wide lognormal", [rng.lognormvariate(11.5, 2) for _ in range(n)]
    yield "weibull 0.5", [rng.weibullvariate(60 * US, 0.5) for _ in range(n)]
    yield "weibull 3", [rng.weibullvariate(60 * US, 3) for _ in range(n)]
    yield "markov, slow", markov(15 * US, 500 * US, 0.01)
    yield "markov, fast", markov(15 * US, 1 * MS, 0.2)
    yield "drifting", drifting()
    yield "period 2", pattern(20 * US, 1 * MS)
    yield "period 3", pattern(30 * US, 2 * MS, 2 * MS)
    yield "period 4", pattern(8 * US, 8 * US, 8 * US, 700 * US)
    yield "period 5", pattern(15 * US, 400 * US, 15 * US, 15 * US, 900 * US)
    def sources(*periods):
        due, now, out = list(periods), 0, []
        for _ in range(n):
            i = due.index(min(due))
            out.append(due[i] - now)
            now = due[i]
            due[i] += periods[i]
        return out

    def modulated(*means):
        mean, out = means[0], []
        for _ in range(n):
            if rng.random() < 0.03:
                mean = rng.choice(means)
            out.append(rng.expovariate(1 / mean))
        return out

    yield "trains of 8", pattern(*[12 * US] * 7, 1.5 * MS)
    yield "trains of 20", [rng.expovariate(1 / (2 * MS if i % 20 == 19 else 20 * US))
                           for i in range(n)]
    yield "sawtooth", [10 * US + i % 20 * 20 * US for i in range(n)]
    yield "sine", [60 * US * math.exp(2 * math.sin(i / 300)) * rng.uniform(0.7, 1.3)
                   for i in range(n)]
    yield "two sources", sources(100 * US, 337 * US)
    yield "three sources", sources(250 * US, 337 * US, 1010 * US)
    yield "modulated", modulated(8 * US, 80 * US, 800 * US)
    yield "spikes", [20 * MS if rng.random() < 0.02 else rng.uniform(10, 14) * US for _ in range(n)]
    yield "regimes", [rng.expovariate(1 / (20 * US)) if i // 400 % 2 else 300 * US for i in range(n)]


class BothSides(unittest.TestCase):
    """The guest polls for half of the price, the host for what is left as it has learned."""

    # By the price of a sleep and of an exit, us: mean and worst of a simulation made beside this one.
    BOUNDS = {(10, 1): (1.22, 1.48), (50, 1): (1.14, 1.32), (50, 8): (1.32, 1.55), (200, 8): (1.12, 1.23)}

    def test_ratios(self):
        traces = [generated(kind, seed=seed) for seed, kind in enumerate(SPEC)]
        for (price, exit_price), (mean, worst) in self.BOUNDS.items():
            ratios = [both_sides(text, price, exit_price, "learned") for text in traces]
            self.assertLessEqual(max(ratios), 1.04 * worst, (price, exit_price, ratios))
            self.assertLessEqual(sum(ratios) / len(ratios), 1.04 * mean, (price, exit_price, ratios))

    def test_never_much_worse_than_the_guest_alone(self):
        rng = random.Random(SEED)
        traces = [(kind, generated(kind, seed=seed)) for seed, kind in enumerate(SPEC)]
        traces += [(name, trace(halts)) for name, halts in odd_processes(rng)]
        for name, text in traces:
            for price in (10, 50):
                alone = both_sides(text, price, 1, "off", halves=False)
                both = both_sides(text, price, 1, "learned")
                self.assertLessEqual(both, 1.03 * alone, f"{name} at {price} us")


class Acceptance(unittest.TestCase):
    def test_ratios(self):
        for price, (mean, worst) in BOUNDS.items():
            ratios = {}
            for seed, kind in enumerate(SPEC):
                ratios[kind], kernel = replay(generated(kind, seed=seed), price, "adaptive", "kernel")
                self.assertLessEqual(ratios[kind], kernel * 1.02, f"{kind} at {price} us")
            self.assertLessEqual(max(ratios.values()), worst, f"{price} us: {ratios}")
            self.assertLessEqual(sum(ratios.values()) / len(ratios), mean, f"{price} us: {ratios}")

    def test_ratios_of_the_defaults(self):
        for price, (mean, worst) in BOUNDS.items():
            ratios, fixed = [], []
            for seed, kind in enumerate(DEFAULTS):
                text = generated(kind, seed=seed)
                adaptive, kernel = replay(text, price, "adaptive", "kernel")
                ratios.append(adaptive)
                fixed.append(best_fixed(lengths(text), price))
                self.assertLessEqual(adaptive, kernel * 1.02, f"{kind} at {price} us")
                self.assertLessEqual(adaptive, fixed[-1] * 1.025, f"{kind} at {price} us")
            bound = max(mean, sum(fixed) / len(fixed) * 1.005)
            self.assertLessEqual(sum(ratios) / len(ratios), bound, f"{price} us: {ratios}")
            self.assertLessEqual(max(ratios), max(worst, max(fixed) * 1.015), f"{price} us: {ratios}")

    def test_odd_processes(self):
        rng = random.Random(SEED)
        for name, halts in odd_processes(rng):
            text = trace(halts)
            for price in BOUNDS:
                adaptive, kernel = replay(text, price, "adaptive", "kernel")
                what = f"{name} at {price} us"
                self.assertLessEqual(adaptive, kernel * 1.02, what)
                # It has to learn, and whoever knows the whole trace need not.
                self.assertLessEqual(adaptive, best_fixed(lengths(text), price) * 1.04, what)
                self.assertLessEqual(adaptive, 2, what)

    def test_change(self):
        """After a sudden change, the next 200 halts at most 1.5 of what it settles to."""
        kinds = SPEC + ("constant,gap=20us", "bimodal,a=20us,b=1ms,share=80",
                        "bursty,burst=50,gap=20us")
        for price in BOUNDS:
            traces = {k: lengths(generated(k, 6000, seed=i)) for i, k in enumerate(kinds)}
            for old in kinds:
                for new in kinds:
                    if old == new:
                        continue
                    # As many changes as there is room for: one alone would be a matter of luck.
                    first = settled = 0
                    for part in range(4):
                        halts = traces[old][part * 1500:][:1500]
                        halts += traces[new][part * 1500:][:1500]
                        rows = catnap("replay", "--price", f"{price}us", "--halt-poll", "adaptive",
                                      "--format=csv", "-", text=trace(halts)).split()[1:]
                        costs = [int(r.split(",")[2]) + price * US * int(r.split(",")[3])
                                 for r in rows]
                        first += sum(costs[1500:1700]) / 200
                        settled += sum(costs[1900:]) / 1100
                    self.assertLessEqual(first, settled * 1.5, f"{old} to {new} at {price} us")

    def test_patterns(self):
        """What repeats is foreseen, also if two halts do not tell where in it one is."""
        for halts in ([8, 8, 8, 700], [12] * 7 + [1500], [15, 400, 15, 15, 900], [30] * 30 + [2000],
                      [30] + [2000] * 12, list(range(10, 400, 20))):
            text = trace(h * US for h in halts * (6000 // len(halts)))
            for price in BOUNDS:
                ratio, = replay(text, price, "adaptive")
                self.assertLess(ratio, 1.05, f"{halts} at {price} us")

    def test_first_guess(self):
        """Nothing learned: it polls for the price, which is never worse than twice the optimum."""
        for price in BOUNDS:
            row = catnap("replay", "--price", f"{price}us", "--halt-poll", "adaptive", "-",
                         text="halt_ns\n9999999\n").split()[1]
            self.assertEqual(row.split(",")[1], str(price * US))

    def test_never_above_max(self):
        for maximum in (0, 1, 700, 98 * US, 200 * US):
            rows = catnap("replay", "--price", "200us", "--halt-poll", f"adaptive,max={maximum}ns", "-",
                          text=generated("poisson,mean=100us", 3000)).split()[1:]
            self.assertLessEqual(max(int(r.split(",")[1]) for r in rows), maximum)

    def test_uses_all_of_max(self):
        """Halts just below max are caught, whatever the width of the learner's buckets."""
        ratio, = replay(trace([97 * US] * 2000), 200, "adaptive,max=98us")
        self.assertLess(ratio, 1.02)
        # And just above it, it does not poll in vain.
        ratio, = replay(trace([99 * US] * 2000), 90, "adaptive,max=98us")
        self.assertLess(ratio, 1.02)

    def test_bias(self):
        text = generated("poisson,mean=100us")
        polled, sleeps = {}, {}
        for bias in ("latency", "balanced", "power"):
            out = catnap("replay", "--format=json", "--price=40us", "--halt-poll",
                         f"adaptive,bias={bias}", "-", text=text)
            summary = json.loads(out)["policies"][0]
            polled[bias], sleeps[bias] = summary["poll_ns"], summary["sleeps"]
        self.assertLess(sleeps["latency"], 500)
        self.assertLess(sleeps["balanced"], 10001)
        self.assertLessEqual(polled["power"], polled["balanced"])
        self.assertLess(polled["balanced"], polled["latency"])


if __name__ == "__main__":
    CATNAP = os.path.abspath(sys.argv.pop(1))
    unittest.main()
