#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Policies and limits without a halter, by the Python binding:
test_python_policy.py PACKAGE_DIRECTORY LIBRARY [unittest options]"""
import dataclasses
import errno
import gc
import os
import random
import sys
import unittest
import weakref

if len(sys.argv) < 3:
    sys.exit(__doc__)
PACKAGE, LIBRARY = (os.path.abspath(a) for a in sys.argv[1:3])
del sys.argv[1:3]
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGE)
os.environ['CATNAP_LIBRARY'] = LIBRARY
import catnap  # noqa: E402 pylint: disable=wrong-import-position

KIND = catnap.PolicyKind


def one_halt(policy, length):
    """A halt that nothing disturbs. Returns what it cost: the time polled, and whether it slept."""
    window = policy.begin()
    slept = window is not None and length > window
    policy.end(length, waited=slept)
    return (window if slept else length), slept


class Policies(unittest.TestCase):
    def test_kernels_rule(self):
        """Grows by the factor from its start, keeps within the maximum, shrinks by the divisor."""
        with catnap.Policy(catnap.HaltPoll(policy=KIND.KERNEL, max_ns=200_000, grow=2, grow_start_ns=10_000, shrink=2)) as policy:
            seen = [policy.window_ns]
            for length in [50_000] * 3 + [10_000] + [150_000] * 2 + [5_000_000] * 2:
                one_halt(policy, length)
                seen.append(policy.window_ns)
            # A halt that was short enough grows it, until the window holds it; a long one shrinks it.
            self.assertEqual(seen, [0, 10_000, 20_000, 40_000, 40_000, 80_000, 160_000, 80_000, 40_000])
            self.assertEqual(policy.begin(allowed=False), 0)
            policy.end(1000, waited=True, allowed=False)

    def test_others(self):
        for kind, window in ((KIND.OFF, 0), (KIND.FIXED, 30_000), (KIND.ALWAYS, None)):
            with self.subTest(kind.name), catnap.Policy(catnap.HaltPoll(policy=kind, max_ns=30_000)) as policy:
                self.assertEqual(policy.begin(), window)
                policy.end(10_000, waited=False)
                self.assertEqual(policy.window_ns, window)
                self.assertIs(policy.stats().policy, kind)
                policy.set_halt_poll(catnap.HaltPoll(policy=KIND.FIXED, max_ns=7_000))
                self.assertEqual(policy.begin(), 7_000)

    def test_learns(self):
        """Policy adaptive costs less than never to poll, and than always to poll for the longest time."""
        draw = random.Random(7)
        lengths = [draw.choice((8_000, 12_000, 3_000_000)) for _ in range(3000)]
        price, costs = 50_000, {}
        for kind in (KIND.OFF, KIND.FIXED, KIND.ADAPTIVE):
            with catnap.Policy(catnap.HaltPoll(policy=kind, max_ns=1_000_000, price_ns=price)) as policy:
                costs[kind] = sum(polled + price * slept for polled, slept in (one_halt(policy, n) for n in lengths))
                stats = policy.stats()
                if kind is KIND.ADAPTIVE:
                    self.assertEqual((stats.contexts, stats.worth_ns), (len(stats.context), price))
                    self.assertTrue(any(c.halts and c.window_ns for c in stats.context))
                    self.assertEqual({(c.before, c.last) for c in stats.context},
                                     {(a, b) for a in catnap.HaltClass for b in catnap.HaltClass})
        self.assertLess(costs[KIND.ADAPTIVE], costs[KIND.OFF])
        self.assertLess(costs[KIND.ADAPTIVE], costs[KIND.FIXED])

    def test_refuses(self):
        bad = catnap.HaltPoll(cpu_max=10_001)
        for what in (bad.check, lambda: catnap.Policy(bad), lambda: catnap.PollLimit(bad), lambda: catnap.Halter(bad)):
            with self.assertRaisesRegex(catnap.Error, 'cpu_max') as c:
                what()
            self.assertEqual(c.exception.errno, errno.EINVAL)
        catnap.HaltPoll(cpu_max=10_000).check()
        with catnap.Policy(catnap.HaltPoll(policy=KIND.FIXED, max_ns=5)) as policy:
            with self.assertRaises(catnap.Error):
                policy.set_halt_poll(bad)
            self.assertEqual(policy.begin(), 5)
        for use in (policy.begin, policy.stats, lambda: policy.window_ns):
            with self.assertRaisesRegex(ValueError, 'policy is closed'):
                use()
        policy.close()

    def test_collected(self):
        for cls in (catnap.Policy, catnap.PollLimit):
            one = cls()
            gone = weakref.ref(one)
            del one
            gc.collect()
            self.assertIsNone(gone())


class Limits(unittest.TestCase):
    @staticmethod
    def statistics():
        with catnap.Halter() as halter:
            return halter.stats()

    @staticmethod
    def with_halts(stats, count, length):
        """@count more halts that slept for @length ns."""
        wait = list(stats.halt_wait_hist)
        wait[length.bit_length()] += count
        return dataclasses.replace(stats, halt_wait_hist=tuple(wait), halt_wait_ns=stats.halt_wait_ns + count * length)

    def test_learns(self):
        """Halts that are shorter than a sleep is worth are worth a poll, and far longer ones are not."""
        for length, polls in ((10_000, True), (8_000_000, False)):
            with self.subTest(length), catnap.PollLimit(catnap.HaltPoll(max_ns=200_000, price_ns=50_000)) as limit:
                now, stats = 0, self.statistics()
                limit.learn(stats, now)
                for _ in range(50):
                    now += limit.interval_ns
                    stats = self.with_halts(stats, 100, length)
                    before = limit.limit_ns
                    self.assertEqual(limit.learn(stats, now), limit.limit_ns != before)
                self.assertLessEqual(limit.limit_ns, 200_000)
                here, never = limit.expect(limit.limit_ns), limit.expect(0)
                self.assertEqual((never.poll_ns, never.sleeps, never.worth_ns), (0, 1_000_000, 50_000))
                self.assertLessEqual(here.cost_ns, never.cost_ns)
                self.assertEqual(here.cost_ns < never.cost_ns, polls)
                limit.set_halt_poll(catnap.HaltPoll(max_ns=0))
                with self.assertRaises(catnap.Error):
                    limit.set_halt_poll(catnap.HaltPoll(cpu_max=10_001))

    def test_closed(self):
        limit = catnap.PollLimit()
        limit.close()
        limit.close()
        with self.assertRaisesRegex(ValueError, 'limit is closed'):
            limit.learn(self.statistics(), 0)


if __name__ == '__main__':
    unittest.main()
