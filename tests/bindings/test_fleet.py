#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of many VMs: what dies is there again, and nothing is left:
test_fleet.py FLEET [--package FOLDER --library FILE] [unittest options]"""
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
import time
import unittest

FLEET = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ''
PYTHON = FLEET.endswith('.py')
ENV = dict(os.environ, MALLOC_ARENA_MAX='1', GLIBC_TUNABLES='glibc.pthread.stack_cache_size=0')
if PYTHON:
    ENV.update(PYTHONPATH=os.path.abspath(sys.argv.pop(1)), CATNAP_LIBRARY=os.path.abspath(sys.argv.pop(1)),
               PYTHONDONTWRITEBYTECODE='1')
# A sanitizer's own mappings come and stay, and TSan's own thread.
LEFT = (r'(?m)^left +fds 0, threads ' +
        (r'[01], mappings -?\d+$' if os.environ.get('FLEET_SANITIZED') else '0, mappings 0$'))
COMMAND = [sys.executable, FLEET] if PYTHON else [FLEET]


def fleet(*args):
    p = subprocess.run([*COMMAND, *args], env=ENV, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100,
                       check=False)
    return p.returncode, p.stdout, p.stderr


def figures(path):
    """The samples of an OpenMetrics file; each belongs to a family that was declared."""
    with open(path, encoding='utf-8') as f:
        text = f.read()
    assert text.endswith('# EOF\n'), text[-100:]
    types = dict(re.findall(r'^# TYPE (\S+) (\S+)$', text, re.M))
    found = {}
    for name, labels, value in re.findall(r'^(\w+)(\{.*?\})? (\S+)$', text, re.M):
        family = name.removesuffix('_total')
        assert (types[family] == 'counter') == name.endswith('_total'), name
        assert (name, labels) not in found, name
        found[name, labels] = float(value)
    return found


class Fleet(unittest.TestCase):
    def test_restarts(self):
        with tempfile.TemporaryDirectory() as temp:
            path = os.path.join(temp, 'metrics')
            status, out, err = fleet('-n', '24', '-k', '9', '-s', '1', '-o', path)
            self.assertEqual((status, err), (0, ''), out)
            self.assertRegex(out, r'restarts 9,? given up 0')
            found = figures(path)
            self.assertEqual(found['fleet_vms', ''], 24)
            self.assertEqual(sum(v for (name, _), v in found.items() if name == 'fleet_vm_restarts_total'), 9)
            # A halt counts when it ends: with the VM, if that had come so far.
            halts = [v for (name, _), v in found.items() if name == 'fleet_halt_exits_total']
            self.assertEqual(len(halts), 24)
            self.assertLessEqual(sum(halts), 9)
            self.assertGreater(sum(halts), 0)
            self.assertEqual(os.listdir(temp), ['metrics'])
        if PYTHON:
            self.assertRegex(out, r'(?m)^left 0$')
        else:
            for what in ('vms', 'start', 'memory', 'fds', 'idle'):
                self.assertRegex(out, rf'(?m)^{what} +[p0-9]')
            self.assertRegex(out, LEFT)

    def test_clones(self):
        """All of one snapshot, those too that are started again; the snapshot is there for the next fleet."""
        with tempfile.TemporaryDirectory() as temp:
            kept = []
            for _ in range(2):
                status, out, err = fleet('-n', '24', '-k', '9', '-s', '0', '-t', temp)
                self.assertEqual((status, err), (0, ''), out)
                self.assertRegex(out, r'restarts 9,? given up 0')
                if not PYTHON:
                    self.assertRegex(out, LEFT)
                kept.append([(name, os.stat(os.path.join(temp, name)).st_ino) for name in sorted(os.listdir(temp))])
            self.assertEqual([name for name, _ in kept[0]], ['memory', 'state'])
            self.assertEqual(kept[0], kept[1])
            with open(os.path.join(temp, 'state'), 'wb') as f:
                f.write(b'of no use')
            status, out, err = fleet('-n', '2', '-s', '0', '-t', temp)
            self.assertEqual((status, out), (1, ''))
            self.assertIn('state', err)
        status, out, err = fleet('-n', '2', '-s', '0', '-t', '/nonexistent')
        self.assertEqual((status, out), (1, ''))
        self.assertIn('/nonexistent', err)

    def test_wrong_options(self):
        """Each is named, with what was wrong with it, and nothing is started."""
        for option, values in (('-n', ('0', '-1', 'x', '', '1e3', '1000001')), ('-k', ('-1', 'x', '6')), ('-s', ('-1', 'x', 'nan')), ('-c', ('-5', 'x'))):
            for value in values:
                with self.subTest(option=option, value=value):
                    args = [option, value] if option == '-n' else ['-n', '5', option, value]
                    status, out, err = fleet(*args)
                    self.assertEqual((status, out), (2, ''))
                    self.assertRegex(err, rf'(fleet|error: argument|error: ).*{option}.*(expected|there are 5)')

    def test_no_place_for_figures(self):
        """What is no file is not replaced by one."""
        with tempfile.TemporaryDirectory() as temp:
            fifo, folder, link = (os.path.join(temp, n) for n in ('fifo', 'folder', 'link'))
            os.mkfifo(fifo)
            os.mkdir(folder)
            os.symlink(fifo, link)
            for path in (fifo, folder, link, os.path.join(temp, 'none', 'figures')):
                status, out, err = fleet('-n', '2', '-s', '0', '-o', path)
                self.assertEqual((status, out), (1, ''))
                self.assertIn(path, err)
            self.assertEqual(sorted(os.listdir(temp)), ['fifo', 'folder', 'link'])
            self.assertTrue(stat.S_ISFIFO(os.lstat(fifo).st_mode))

    @unittest.skipIf(PYTHON, 'is of C')
    def test_given_up(self):
        status, out, err = fleet('-n', '5', '-k', '5', '-s', '0', '-r', '0')
        self.assertEqual((status, err), (0, ''), out)
        self.assertRegex(out, r'restarts 0, given up 5')
        self.assertRegex(out, LEFT)

    @unittest.skipIf(PYTHON, 'is of C')
    def test_signal(self):
        """It ends in order, early."""
        p = subprocess.Popen([*COMMAND, '-n', '5', '-s', '90'], env=ENV, stdout=subprocess.PIPE, text=True)
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.stdout.close()))
        time.sleep(1)
        p.send_signal(signal.SIGTERM)
        out = p.communicate(timeout=30)[0]
        self.assertEqual(p.returncode, 0)
        self.assertRegex(out, LEFT)

    @unittest.skipIf(PYTHON, 'is of C')
    def test_limits(self):
        """A fleet that will not fit is told of before anything is started."""
        status, out, err = fleet('-n', '1000000', '-m', '1000000')
        self.assertEqual((status, out), (1, ''))
        self.assertIn("than this host's", err)
        p = subprocess.run(['sh', '-c', 'ulimit -n 100; exec "$@"', 'sh', *COMMAND, '-n', '100'], env=ENV, capture_output=True,
                           text=True, timeout=60, check=False)
        self.assertEqual((p.returncode, p.stdout), (1, ''))
        self.assertIn('ulimit -n', p.stderr)


if __name__ == '__main__':
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        print('no /dev/kvm')
        sys.exit(77)
    unittest.main()
