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
    done = subprocess.run([CATNAP, *args], input=text, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                          check=True, timeout=60)
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


# The conduct of guests and hosts before: Linux's window, and a host that sleeps at once.
LINUX = "ns=kernel,host=off"


def both_sides(text, price, exit_price, guest="host=learned"):
    """The ratio of adaptive behind a guest that polls; by itself as catnap run has it."""
    out = catnap("replay", "--format=json", "--price", f"{price}us", "--exit-price", f"{exit_price}us", "--guest", guest,
                 "--halt-poll", "adaptive", "-", text=text)
    return json.loads(out)["policies"][0]["ratio"]


def both_sides_costs(text, price, exit_price):
    """Returns what each halt costs. The guest executes HLT for those that it has not seen the end of; one that ends
    with the very window it has."""
    rows = catnap("replay", "--format=csv", "--price", f"{price}us", "--exit-price", f"{exit_price}us", "--guest",
                  "host=learned", "--halt-poll", "adaptive", "-", text=text).split()[1:]
    costs = []
    for row in rows:
        halt, _, polled, slept, _, inside = (int(n) for n in row.split(","))
        costs.append(inside + polled + slept * price * US + (inside < halt) * exit_price * US)
    return costs


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
    """The guest polls for a window made of the prices, the host for what is left as it has learned."""

    # By the price of a sleep and of an exit, us: mean and worst of a simulation made beside this one.
    BOUNDS = {(10, 1): (1.22, 1.48), (50, 1): (1.14, 1.32), (50, 8): (1.32, 1.55), (200, 8): (1.12, 1.23)}

    def setUp(self):
        self.traces = [(kind, generated(kind, seed=seed)) for seed, kind in enumerate(SPEC)]

    def test_ratios(self):
        for (price, exit_price), (mean, worst) in self.BOUNDS.items():
            ratios = [both_sides(text, price, exit_price) for _, text in self.traces]
            self.assertLessEqual(max(ratios), 1.04 * worst, (price, exit_price, ratios))
            self.assertLessEqual(sum(ratios) / len(ratios), 1.04 * mean, (price, exit_price, ratios))

    def test_never_much_worse_than_the_guest_alone(self):
        odd = [(name, trace(halts)) for name, halts in odd_processes(random.Random(SEED))]
        for price, exit_price in self.BOUNDS:
            for name, text in self.traces + odd:
                alone = both_sides(text, price, exit_price, LINUX)
                both = both_sides(text, price, exit_price)
                # Where an exit costs a sixth of a sleep, one of those halts that are near the price costs more.
                most = 1.10 if exit_price == 8 and (name, text) in odd else 1.03
                self.assertLessEqual(both, most * alone, f"{name} at {price} and {exit_price} us")

    def test_change(self):
        """After a sudden change, the next 200 halts at most 1.5 of what it settles to."""
        halts = {kind: lengths(text) for kind, text in self.traces}
        for price, exit_price in ((50, 1), (200, 8)):
            for old in SPEC:
                for new in SPEC:
                    if old == new:
                        continue
                    # As many changes as there is room for: one alone would be a matter of luck.
                    first = settled = 0
                    for part in range(4):
                        text = trace(halts[old][part * 1500:][:1500] + halts[new][part * 1500:][:1500])
                        costs = both_sides_costs(text, price, exit_price)
                        first += sum(costs[1500:1700]) / 200
                        settled += sum(costs[1900:]) / 1100
                    self.assertLessEqual(first, settled * 1.5, f"{old} to {new} at {price} and {exit_price} us")


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
        """A course that repeats is foreseen, also if two halts do not tell where in it one is."""
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


class RealArrivals(unittest.TestCase):
    """Gaps between packets that were captured: tests/replay/arrivals/README.md."""

    FILES = ("memcached", "ssh", "scp")

    def test_ratios(self):
        folder = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "replay", "arrivals")
        for price, mean in ((10, 1.05), (50, 1.15), (200, 1.30)):
            ratios = []
            for name in self.FILES:
                with open(os.path.join(folder, name + ".csv"), encoding="ascii") as f:
                    adaptive, kernel, learned = replay(f.read(), price, "adaptive", "kernel", "kernel,max=learned")
                ratios.append(adaptive)
                self.assertLessEqual(adaptive, kernel * 1.02, f"{name} at {price} us")
                self.assertLessEqual(learned, kernel * 1.05, f"{name} at {price} us")
            self.assertLessEqual(sum(ratios) / len(ratios), mean, f"{price} us: {ratios}")


class LearnedLimit(unittest.TestCase):
    """The kernel's rule below a limit that is learned from KVM's histograms."""

    # Mean and worst by the price of a sleep, us; with kvm.halt_poll_ns as it is they are 4.2 and 15, 1.47 and 3.0,
    # 1.17 and 1.67.
    BOUNDS = {10: (1.10, 1.33), 50: (1.15, 1.48), 200: (1.15, 1.66)}

    def both(self, text, price, learned="kernel,max=learned"):
        return replay(text, price, learned, "kernel")

    def test_ratios(self):
        for price, (mean, worst) in self.BOUNDS.items():
            ratios = []
            for seed, kind in enumerate(SPEC):
                learned, given = self.both(generated(kind, seed=seed), price)
                ratios.append(learned)
                self.assertLessEqual(learned, given * 1.05, f"{kind} at {price} us")
            self.assertLessEqual(max(ratios), worst, f"{price} us: {ratios}")
            self.assertLessEqual(sum(ratios) / len(ratios), mean, f"{price} us: {ratios}")

    def test_ratios_of_the_defaults(self):
        for price, mean in ((10, 1.10), (50, 1.18), (200, 1.20)):
            ratios = []
            for seed, kind in enumerate(DEFAULTS):
                learned, given = self.both(generated(kind, seed=seed), price)
                ratios.append(learned)
                self.assertLessEqual(learned, given * 1.05, f"{kind} at {price} us")
            self.assertLessEqual(sum(ratios) / len(ratios), mean, f"{price} us: {ratios}")

    def test_odd_processes(self):
        for name, halts in odd_processes(random.Random(SEED)):
            for price in self.BOUNDS:
                learned, given = self.both(trace(halts), price)
                # Regimes that are shorter than its shortest interval are what it cannot follow.
                self.assertLessEqual(learned, given * 1.20, f"{name} at {price} us")

    def test_change(self):
        """The knowledge about one process does not stay for the next."""
        for price in self.BOUNDS:
            for old, new in (("constant,gap=20us", "constant,gap=1ms"), ("poisson,mean=1ms", "constant,gap=30us"),
                             ("pareto", "poisson,mean=20us")):
                tail = generated(new, halts=20000)
                alone, = replay(tail, price, "kernel,max=learned")
                text = generated(old) + tail.split("\n", 1)[1]
                rows = catnap("replay", "--format=csv", "--price", f"{price}us", "--halt-poll=kernel,max=learned", "-",
                              text=text).split()[1 + 10000 + 10000:]
                halts = [[int(field) for field in row.split(",")] for row in rows]
                cost = sum(polled + slept * price * US for _, _, polled, slept, _ in halts)
                optimum = sum(min(halt, price * US) for halt, *_ in halts)
                self.assertLessEqual(cost / optimum, alone * 1.05, f"{old} to {new} at {price} us")

    def test_never_above_the_default_limit_of_adaptive(self):
        rows = catnap("replay", "--price", "5ms", "--halt-poll=kernel,max=learned", "-",
                      text=trace([900 * US, 5 * MS] * 3000)).split()[1:]
        self.assertLessEqual(max(int(r.split(",")[1]) for r in rows), MS)

    def test_bias(self):
        polled = []
        for bias in ("power", "balanced", "latency"):
            out = catnap("replay", "--format=json", "--price=60us", "--halt-poll", f"kernel,max=learned,bias={bias}", "-",
                         text=generated("poisson,mean=50us"))
            polled.append(json.loads(out)["policies"][0]["poll_ns"])
        self.assertEqual(polled, sorted(polled))
        self.assertLess(polled[0], polled[2] / 4)

    def test_formats(self):
        text = generated("constant,gap=40us", halts=5000)
        out = catnap("replay", "--format=json", "--price=60us", "--halt-poll=kernel,max=learned", "--halt-poll=kernel", "-",
                     text=text)
        learned, given = json.loads(out)["policies"]
        self.assertEqual((learned["max_ns"], learned["limit_ns"]), ("learned", 65536))
        self.assertGreater(learned["limit_changes"], 0)
        self.assertEqual(given["max_ns"], 200000)
        self.assertNotIn("limit_ns", given)
        out = catnap("replay", "--format=csv", "--halt-poll=kernel,max=learned", "--halt-poll=kernel", "-", text=text)
        self.assertEqual([line.split(",")[8] for line in out.split()], ["max_ns", "learned", "200000"])

    def test_a_change_in_the_trace_is_not_followed(self):
        """max_after would take the limit from who learns it."""
        text = "halt_ns,valid,allowed,max_after\n" + "40000,1,1,0\n" * 3000
        rows = catnap("replay", "--price=60us", "--halt-poll=kernel,max=learned", "-", text=text).split()
        self.assertEqual(rows[-1], "40000,40000,40000,0,40000")

    def test_refused(self):
        for option, error in (("adaptive,max=learned", 'max: "learned" has no effect with policy adaptive: expected policy '
                               "kernel"),
                              ("kernel,bias=power", "bias: has no effect with policy kernel: expected policy adaptive"),
                              ("kernel,max=learnt", 'max: "learnt" is not a time: expected 0 to 4294967295 ns, as in '
                               "500ns, 200us, 5ms or 1s")):
            done = subprocess.run([CATNAP, "replay", "--halt-poll", option, "-"], input="", capture_output=True, text=True,
                                  check=False)
            self.assertEqual((done.returncode, done.stderr), (2, f"catnap replay: --halt-poll: {error}\n"))


if __name__ == "__main__":
    CATNAP = os.path.abspath(sys.argv.pop(1))
    unittest.main()
