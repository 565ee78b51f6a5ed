#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a latency test for CI: what it calls worse, and that it can measure: test_latency_gate.py CATNAP"""
import json
import os
import subprocess
import sys
import tempfile
import unittest

CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ''
GATE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/examples/latency-gate')


class Gate(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name

    def path(self, name):
        return os.path.join(self.temp, name)

    def results(self, name, ours, reference=10000, **other):
        """A file as of catnap bench."""
        runs = [{'workload': 'event', 'mode': mode, 'gap_ns': 20000, 'arrivals': 'constant', 'p99_ns': value, 'failed': False, **other}
                for mode, value in (('user:adaptive', ours), ('kernel:200us', reference))]
        with open(self.path(name), 'w', encoding='utf-8') as f:
            json.dump({'host': {}, 'runs': runs}, f)
        return self.path(name)

    def gate(self, *args):
        p = subprocess.run([sys.executable, GATE, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                           timeout=100)
        return p.returncode, p.stdout, p.stderr

    def test_worse(self):
        known = self.path('known')
        self.assertEqual(self.gate('--record', known, '--from', self.results('a', 8000))[0], 0)
        for ours, reference, share, status in ((8000, 10000, 25, 0), (9900, 10000, 25, 0), (10100, 10000, 25, 1),
                                               (10100, 10000, 30, 0), (80000, 100000, 1, 0), (8000, 5000, 25, 1)):
            with self.subTest(ours=ours, reference=reference, share=share):
                got, out, err = self.gate('--check', known, '--share', str(share), '--from', self.results('b', ours, reference))
                self.assertEqual((got, err), (status, ''))
                self.assertTrue(out.startswith('worse ' if status else 'ok '), out)

    def test_tries(self):
        """One good run of three is enough; what is not measured is not good."""
        known = self.path('known')
        self.gate('--record', known, '--from', self.results('a', 8000))
        bad, good = self.results('bad', 20000), self.results('good', 8000)
        files = [w for f in (bad, bad, good) for w in ('--from', f)]
        self.assertEqual(self.gate('--check', known, *files)[0], 0)
        self.assertEqual(self.gate('--check', known, '--tries', '2', *files)[0], 1)
        status, out, _ = self.gate('--check', known, '--from', self.results('c', 8000, arrivals='random'))
        self.assertEqual(status, 1)
        self.assertIn('not measured', out)

    def test_wrong(self):
        """What could not be compared is not worse: one line, and another status."""
        good, known = self.results('a', 8000), self.path('known')
        for name, text in (('empty', ''), ('list', '[]'), ('object', '{}'), ('other', '{"mode": "user:off", "ratios": {}}')):
            with open(self.path(name), 'w', encoding='utf-8') as f:
                f.write(text)
        for args, word in ((('--record', known, '--mode', 'user:off', '--from', good), 'nothing of user:off'),
                           (('--record', known, '--catnap', '/bin/false'), '/bin/false bench'),
                           (('--record', known, '--catnap', '/nonexistent'), '/nonexistent: No such file'),
                           (('--record', '/nonexistent/known', '--from', good), '/nonexistent/known: No such file'),
                           (('--record', known, '--from', self.path('object')), 'has no runs'),
                           (('--check', '/nonexistent', '--from', good), '/nonexistent: No such file'),
                           (('--check', self.temp, '--from', good), 'directory'),
                           (('--check', self.path('empty'), '--from', good), 'empty: '),
                           (('--check', self.path('list'), '--from', good), 'has no mode and no ratios'),
                           (('--check', self.path('other'), '--from', good), 'is of mode user:off')):
            with self.subTest(args=args):
                status, out, err = self.gate(*args)
                self.assertEqual((status, out, err.count('\n')), (2, '', 1), err)
                self.assertIn(word, err)
        for args in (('--share', '-5'), ('--share', 'nan'), ('--tries', '0')):
            status, _, err = self.gate('--record', known, '--from', good, *args)
            self.assertEqual(status, 2)
            self.assertIn(f'error: {args[0]} ', err)
        self.assertFalse(os.path.exists(known))

    @unittest.skipUnless(os.access('/dev/kvm', os.R_OK | os.W_OK), 'no /dev/kvm')
    def test_measures(self):
        """For real, but the outcome is not judged."""
        few = ('--catnap', CATNAP, '--workload', 'event', '--samples', '20', '--rounds', '1', '--tries', '1')
        self.assertEqual(self.gate('--record', self.path('known'), *few)[::2], (0, ''))
        status, out, err = self.gate('--check', self.path('known'), *few)
        self.assertIn(status, (0, 1), err)
        self.assertRegex(out, r'(?m)^(ok|worse) +event/20000/constant ')


if __name__ == '__main__':
    unittest.main()
