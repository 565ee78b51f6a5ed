#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a web service behind passt: what it puts into the guest, and what it tells catnap. Here no guest runs
its init: test_web_service.py CATNAP [unittest options]. The lab has a real one (tests/lab/web_service.py)."""
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
sys.dont_write_bytecode = True
from test_one_command import entries  # noqa: E402 pylint: disable=wrong-import-position

CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ''
EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/examples/web-service')

# In place of catnap: keeps what it was given.
PLAYED = '''#!/bin/sh
cat /dev/fd/3 >"$KEPT/initramfs"
printf '%s\\n' "$@" >"$KEPT/args"
exit 7
'''


@unittest.skipUnless(shutil.which('busybox'), 'no busybox')
class WebService(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name
        for name in ('www/deep', 'tmp'):
            os.makedirs(self.path(name))
        for name, text in (('www/index.html', 'it is here\n'), ('www/deep/a b', 'too'), ('module', 'first'), ('m 2', 'second'),
                           ('catnap', PLAYED)):
            with open(self.path(name), 'w', encoding='utf-8') as f:
                f.write(text)
        os.chmod(self.path('catnap'), 0o755)

    def path(self, name):
        return os.path.join(self.temp, name)

    def run_it(self, *args, catnap='', **env):
        p = subprocess.run([EXAMPLE, '--catnap', catnap or self.path('catnap'), *args], stdin=subprocess.DEVNULL, capture_output=True,
                           check=False, timeout=60, env=dict(os.environ, KEPT=self.temp, TMPDIR=self.path('tmp'), **env))
        # Whatever has become of it, nothing is left.
        self.assertEqual(os.listdir(self.path('tmp')), [])
        return p.returncode, p.stdout.decode(), p.stderr.decode()

    def args(self):
        with open(self.path('args'), encoding='utf-8') as f:
            return f.read().splitlines()

    def test_guest(self):
        status = self.run_it('--kernel', 'bzImage', '--module', self.path('module'), '--module', self.path('m 2'), '--port', '38090',
                             self.path('www'))
        self.assertEqual(status, (7, '', ''))
        with open(self.path('initramfs'), 'rb') as f:
            found = {name.removeprefix('./'): value for name, value in entries(f.read()).items()}
        self.assertEqual(found['www/index.html'][1], b'it is here\n')
        self.assertEqual(found['www/deep/a b'][1], b'too')
        self.assertEqual([(n, found[n][1]) for n in sorted(found) if n.startswith('modules/')],
                         [('modules/101.ko', b'first'), ('modules/102.ko', b'second')])
        self.assertEqual((found['init'][0], found['lease'][0]), (0o100755, 0o100755))
        self.assertTrue(found['bin/busybox'][1].startswith(b'\x7fELF'))
        for name in ('init', 'lease'):
            p = subprocess.run(['busybox', 'sh', '-n', '/dev/stdin'], input=found[name][1], capture_output=True, check=False)
            self.assertEqual((p.returncode, p.stderr), (0, b''), name)
        args = self.args()
        self.assertEqual(args[args.index('--net') + 1], 'passt,forward=tcp:38090:80')
        self.assertEqual(args[args.index('--cmdline') + 1], 'console=ttyS0 panic=-1 quiet')
        self.assertEqual(args[args.index('--serial') + 1], 'null')

    def test_console(self):
        self.assertEqual(self.run_it('--console', '--kernel', 'bzImage', self.path('www'))[0], 7)
        args = self.args()
        self.assertEqual(args[args.index('--cmdline') + 1], 'console=ttyS0 panic=-1')
        self.assertEqual(args[args.index('--serial') + 1], 'stdio')

    def test_catnap_takes_it(self):
        """The command line is one of catnap's, and the archive can be read without a name."""
        self.run_it('--kernel', '/dev/null', self.path('www'))
        p = subprocess.run([CATNAP, *self.args(), '--print-config'], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                           check=False, timeout=60)
        self.assertEqual((p.returncode, p.stderr), (0, ''))
        # It gets as far as the kernel, which is none; or there is no /dev/kvm, or no passt.
        status, _, err = self.run_it('--kernel', EXAMPLE, self.path('www'), catnap=CATNAP)
        self.assertEqual(status, 1)
        self.assertEqual(err.count('\n'), 1, err)
        self.assertNotIn('/fd/3', err)

    def test_wrong(self):
        www = self.path('www')
        for args, word in (((), '--kernel'), ((www,), '--kernel'), (('--kernel', 'k'), 'folder'), (('--kernel', 'k', www, www), 'folder'),
                           (('--kernel', 'k', self.path('none')), self.path('none')), (('--kernel',), '--kernel: expected a value'),
                           (('--nothing', www), '--nothing'), (('--busybox', 'no-such-program', '--kernel', 'k', www), '--busybox')):
            status, _, err = self.run_it(*args)
            self.assertEqual((status, err.count('\n')), (2, 1), err)
            self.assertIn(word, err)
        self.assertNotEqual(self.run_it('--kernel', 'k', '--module', self.path('none'), www)[0], 0)
        self.assertFalse(os.path.exists(self.path('args')))
        self.assertIn('--port', self.run_it('--help')[1])


if __name__ == '__main__':
    unittest.main()
