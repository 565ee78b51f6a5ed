#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The example of a sandbox for one command: what it puts into the guest, and what it makes of what comes back. The guest
is played here; the lab has a real one (tests/lab/one_command.py)."""
import os
import subprocess
import sys
import tempfile
import textwrap
import unittest

EXAMPLE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/examples/one-command')

# In place of catnap: @status at the end, and what the guest would say.
PLAYED = '''
import os, re, shutil, socket, sys
args = sys.argv[1:]
assert args[0] == 'run', args
vsock = args[args.index('--vsock') + 1]
path = re.fullmatch(r'cid=3,socket=(.*)', vsock)[1]
shutil.copy(args[args.index('--initramfs') + 1], {kept!r})
for port, text in ((1024, {output!r}), (1025, {said!r})):
    if text:
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(path + '_' + str(port))
            s.sendall(text)
sys.exit({status})
'''


def entries(data):
    """{name: (mode, content)} of an archive."""
    found, at = {}, 0
    while True:
        assert data[at:at + 6] == b'070701' and at % 4 == 0
        fields = [int(data[at + 6 + 8 * i:at + 14 + 8 * i], 16) for i in range(13)]
        name = data[at + 110:at + 110 + fields[11] - 1].decode()
        at = (at + 110 + fields[11] + 3) // 4 * 4
        if name == 'TRAILER!!!':
            return found
        assert name not in found, name
        found[name] = (fields[1], data[at:at + fields[6]])
        at = (at + fields[6] + 3) // 4 * 4


class OneCommand(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name
        self.kept = os.path.join(self.temp, 'initramfs')
        self.init = os.path.join(self.temp, 'init')
        with open(self.init, 'wb') as f:
            f.write(b'the init')

    def run_it(self, *args, output=b'', said=b'0\n', status=0):
        catnap = os.path.join(self.temp, 'catnap')
        with open(catnap, 'w', encoding='utf-8') as f:
            f.write(f'#!{sys.executable}\n' + textwrap.dedent(PLAYED.format(kept=self.kept, output=output, said=said, status=status)))
        os.chmod(catnap, 0o755)
        p = subprocess.run([sys.executable, EXAMPLE, '--kernel', 'none', '--init', self.init, '--catnap', catnap, *args],
                           stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60)
        return p.returncode, p.stdout, p.stderr

    def test_status_and_output(self):
        for n in (0, 137):
            self.assertEqual(self.run_it('--', 'true', output=b'said\n' * 50000, said=b'%d\n' % n), (n, b'said\n' * 50000, b''))

    def test_no_end(self):
        status, _, err = self.run_it('--', 'true', said=b'', status=33)
        self.assertEqual((status, b'no status (catnap run: 33)' in err), (125, True))
        status, _, err = self.run_it('--', 'true', said=b'not a number\n')
        self.assertEqual(status, 125)
        status, _, err = self.run_it('--', 'true', said=b'', status=124)
        self.assertEqual((status, b'the time is over' in err), (124, True))

    def test_archive(self):
        more = os.path.join(self.temp, 'more')
        with open(more, 'wb') as f:
            f.write(b'content')
        self.assertEqual(self.run_it('--module', more, '--module', self.init, '--file', f'/etc/deep/name={more}', '--', 'sh', '-c', 'a b', '')[0], 0)
        with open(self.kept, 'rb') as f:
            found = entries(f.read())
        self.assertEqual(found['init'], (0o100755, b'the init'))
        self.assertEqual(found['args'][1], b'sh\0-c\0a b\0\0')
        self.assertEqual(found['etc/deep/name'][1], b'content')
        self.assertEqual(found['etc/deep'][0], 0o40755)
        self.assertEqual([n for n in found if n.startswith('modules/')], ['modules/000-more', 'modules/001-init'])
        self.assertTrue(found['command'][1].startswith(b'\x7fELF'))
        self.assertTrue([n for n in found if 'libc.so' in n or 'ld-' in n])

    def test_wrong(self):
        for args, word in (((), b'no command'), (('--',), b'no command'), (('--file', 'x', '--', 'true'), b'--file x'),
                           (('--', 'no-such-program-here'), b'no such program')):
            status, _, err = self.run_it(*args)
            self.assertIn(status, (125, 2))
            self.assertIn(word, err)
        for args in (('--module', '/nonexistent'), ('--file', '/a=/nonexistent'), ('--catnap', '/nonexistent'), ('--init', '/nonexistent')):
            with self.subTest(args=args):
                status, out, err = self.run_it(*args, '--', 'true')
                self.assertEqual((status, out, err), (125, b'', b'one-command: /nonexistent: No such file or directory\n'))
        self.assertFalse(os.path.exists(self.kept))


if __name__ == '__main__':
    unittest.main()
