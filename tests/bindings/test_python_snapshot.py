#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Snapshots and back ends in other processes, by the Python binding:
test_python_snapshot.py PACKAGE_DIRECTORY LIBRARY GUESTS [unittest options]"""
import asyncio
import errno
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

if len(sys.argv) < 4:
    sys.exit(__doc__)
PACKAGE, LIBRARY, GUESTS = (os.path.abspath(a) for a in sys.argv[1:4])
del sys.argv[1:4]
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGE)
os.environ['CATNAP_LIBRARY'] = LIBRARY
import catnap  # noqa: E402 pylint: disable=wrong-import-position

MIB = 1 << 20
BACK = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../cli/vhost_back.py')
# An address that the guests of these tests do not use.
FREE = 12 * MIB


def guest(name):
    return os.path.join(GUESTS, name + '.elf')


def count(folder):
    return len(os.listdir(f'/proc/self/{folder}'))


class Said:
    """What a guest has written, and a way to wait for it."""

    def __init__(self):
        self.text, self.more = b'', threading.Condition()

    def __call__(self, data):
        with self.more:
            self.text += data
            self.more.notify_all()

    def expect(self, text):
        with self.more:
            if not self.more.wait_for(lambda: text in self.text, 60):
                raise AssertionError(f'{text!r} is not in {self.text!r}')


class Folder(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name

    def path(self, name):
        return os.path.join(self.temp, name)

    def talker(self, **more):
        """A guest that answers each letter with a capital one, and ends at a dot."""
        said = Said()
        vm = catnap.VM(guest('serial'), cmdline='trigger=edge', memory=16 * MIB, debug_exit_port=0xf4, on_serial=said, **more)
        self.addCleanup(vm.close)
        vm.start()
        said.expect(b'ready\n')
        return vm, said

    def answers(self, vm, said, text):
        vm.serial_input(text)
        said.expect(text.upper())

    def ends(self, vm):
        vm.serial_input(b'.')
        self.assertEqual(vm.wait(60).code, 0x21)


class Snapshots(Folder):
    def test_goes_on(self):
        """The one that was put down, and others that begin there."""
        vm, said = self.talker(name='first')
        vm.write_memory(FREE, b'kept')
        vm.pause()
        vm.snapshot(self.path('state'), self.path('memory'))
        vm.resume()
        vm.write_memory(FREE, b'lost')
        self.answers(vm, said, b'the first')
        self.ends(vm)
        vm.close()
        fds, threads = count('fd'), count('task')
        with catnap.Snapshot(self.path('state')) as snapshot:
            info = snapshot.info
            self.assertEqual((info.vcpus, info.memory_size, info.name, info.debug_exit_port), (1, 16 * MIB, 'first', 0xf4))
            self.assertIs(info.irqchip, catnap.Irqchip.USER)
            self.assertLess(abs(time.time() - info.taken_ns / 1e9), 100)
            memory, = snapshot.memories
            self.assertEqual((memory.name, memory.kind, len(memory.id)), ('memory', catnap.SnapshotKind.FULL, 16))
            self.assertEqual(snapshot.devices, ())
            snapshot.verify()
            for mode in (catnap.MemoryMode.MAP, catnap.MemoryMode.COPY):
                said = Said()
                with snapshot.restore(name='again', mode=mode, on_serial=said) as vm:
                    self.assertEqual((vm.name, vm.vcpus), ('again', 1))
                    self.assertEqual(vm.read_memory(FREE, 4), b'kept')
                    vm.start()
                    self.answers(vm, said, b'again')
                    self.ends(vm)
                self.assertNotIn(b'ready', said.text)
        # One that is paused, of a snapshot that is closed before it begins.
        snapshot = catnap.Snapshot(self.path('state'))
        vm = snapshot.restore(paused=True)
        snapshot.close()
        with self.assertRaises(catnap.Error) as c:
            snapshot.restore()
        self.assertEqual(c.exception.errno, errno.EBADF)
        with vm:
            vm.start()
            self.assertEqual(vm.state, catnap.VmState.PAUSED)
            vm.resume()
            self.ends(vm)
        self.assertEqual((count('fd'), count('task')), (fds, threads))

    def test_working_set(self):
        """What one has touched is brought in ahead for another."""
        vm, _ = self.talker()
        vm.pause()
        vm.snapshot(self.path('state'), self.path('memory'))
        vm.close()
        mode = catnap.MemoryMode.WORKING_SET
        with catnap.Snapshot(self.path('state')) as snapshot:
            for more in ({}, {'working_set': self.path('set')}):
                said = Said()
                with snapshot.restore(mode=mode, on_serial=said, **more) as vm:
                    vm.start()
                    self.answers(vm, said, b'again')
                    if more:
                        with self.assertRaises(catnap.Error):
                            vm.write_working_set(self.path('other'))
                    else:
                        vm.write_working_set(self.path('set'))
                    self.ends(vm)

    def test_clones(self):
        """Twenty at once in one asyncio program; each has its own memory, and knows nothing of the others."""
        vm, _ = self.talker()
        vm.write_memory(FREE, b'one for all')
        vm.pause()
        asyncio.run(vm.snapshot_async(self.path('state'), self.path('memory')))
        vm.close()

        async def clone(snapshot, n):
            said = Said()
            async with snapshot.restore(name=f'clone{n}', on_serial=said, no_rings=True) as vm:
                self.assertEqual(vm.read_memory(FREE, 11), b'one for all')
                vm.write_memory(FREE, b'%11d' % n)
                vm.start()
                vm.serial_input(b'clone %d' % n)
                await asyncio.to_thread(said.expect, b'CLONE %d' % n)
                self.assertEqual(vm.read_memory(FREE, 11), b'%11d' % n)
                vm.serial_input(b'.')
                return (await vm.wait_async(60)).code

        async def all_of_them():
            with catnap.Snapshot(self.path('state')) as snapshot:
                return await asyncio.gather(*(clone(snapshot, n) for n in range(20)))

        fds = count('fd')
        self.assertEqual(asyncio.run(all_of_them()), [0x21] * 20)
        self.assertEqual(count('fd'), fds)

    def test_diffs(self):
        vm, said = self.talker(track_dirty=True)
        for n, kind in enumerate((catnap.SnapshotKind.FULL, catnap.SnapshotKind.DIFF, catnap.SnapshotKind.DIFF)):
            vm.pause()
            vm.write_memory(FREE, b'state %d' % n)
            vm.snapshot(self.path(f'state{n}'), self.path(f'memory{n}'), kind=kind)
            # One that is there might be one of those that a diff needs.
            with self.assertRaises(FileExistsError):
                vm.snapshot(self.path('other'), self.path('memory0'), kind=catnap.SnapshotKind.DIFF)
            vm.resume()
            self.answers(vm, said, b'after %d' % n)
        vm.close()
        self.assertFalse(os.path.exists(self.path('other')))
        self.assertLess(os.stat(self.path('memory1')).st_blocks, os.stat(self.path('memory0')).st_size // 512)
        with catnap.Snapshot(self.path('state2')) as snapshot:
            kinds = catnap.SnapshotKind
            self.assertEqual([m.kind for m in snapshot.memories], [kinds.FULL, kinds.DIFF, kinds.DIFF])
            snapshot.verify()
            snapshot.merge(self.path('state'), self.path('memory'))
        for n, name in ((1, 'state1'), (2, 'state2'), (2, 'state')):
            said = Said()
            with catnap.Snapshot(self.path(name)) as snapshot, snapshot.restore(on_serial=said) as vm:
                self.assertEqual(vm.read_memory(FREE, 7), b'state %d' % n)
                vm.start()
                self.answers(vm, said, b'merged')

    def test_behind_one_that_was_merged(self):
        vm, said = self.talker(track_dirty=True)
        vm.pause()
        vm.snapshot(self.path('state0'), self.path('memory0'))
        vm.snapshot(self.path('state1'), self.path('memory1'), kind=catnap.SnapshotKind.DIFF)
        with catnap.Snapshot(self.path('state1')) as snapshot:
            snapshot.merge(self.path('state2'), self.path('memory2'))
        vm.write_memory(FREE, b'merged')
        with catnap.Snapshot(self.path('state0')) as other, self.assertRaises(catnap.Error) as c:
            vm.snapshot(self.path('state3'), self.path('memory3'), kind=catnap.SnapshotKind.DIFF, base=other)
        self.assertEqual(c.exception.errno, errno.ESTALE)
        with catnap.Snapshot(self.path('state2')) as merged:
            vm.snapshot(self.path('state3'), self.path('memory3'), kind=catnap.SnapshotKind.DIFF, base=merged)
        vm.close()
        with self.assertRaises(catnap.Error):
            vm.snapshot(self.path('state'), self.path('memory'), base=merged)
        with catnap.Snapshot(self.path('state3')) as snapshot:
            self.assertEqual([m.name for m in snapshot.memories], ['memory2', 'memory3'])
            snapshot.verify()
            said = Said()
            with snapshot.restore(on_serial=said) as vm:
                self.assertEqual(vm.read_memory(FREE, 6), b'merged')
                vm.start()
                self.answers(vm, said, b'behind')

    def test_other_places(self):
        """A clone has its own disk, under the same number."""
        for name in ('disk', 'copy'):
            with open(self.path(name), 'wb') as f:
                f.truncate(MIB)
        vm = catnap.VM(guest('serial'), cmdline='trigger=edge', memory=16 * MIB)
        with vm:
            vm.add_disk(self.path('disk'))
            vm.start()
            vm.pause()
            vm.snapshot(self.path('state'), self.path('memory'))
            with catnap.Snapshot(self.path('state')) as snapshot:
                disk = [d for d in snapshot.devices if d.type == catnap.VhostType.DISK]
                self.assertEqual([(d.place, d.number, d.mac) for d in disk], [(self.path('disk'), 0, bytes(6))])
                # The first has its own still.
                with self.assertRaises(catnap.Error) as c:
                    snapshot.restore()
                self.assertEqual(c.exception.errno, errno.EBUSY)
                with snapshot.restore(disks={0: catnap.DiskPlace(self.path('copy'))}) as clone:
                    clone.start()
                    self.assertEqual(clone.update_disk(0), MIB)

    def test_failures(self):
        """Nothing is left behind, and what was there stays."""
        vm, said = self.talker()
        with self.assertRaises(catnap.Error) as c:
            vm.snapshot(self.path('state'), self.path('memory'))
        self.assertEqual(c.exception.errno, errno.EINVAL)
        self.assertIn('pause', str(c.exception))
        vm.pause()
        with self.assertRaises(catnap.Error) as c:
            vm.snapshot(self.path('state'), self.path('memory'), kind=catnap.SnapshotKind.DIFF)
        self.assertEqual(c.exception.errno, errno.ENOTSUP)
        for pair in (('a', 'a'), ('a', 'folder/b')):
            with self.assertRaises(ValueError):
                vm.snapshot(*(self.path(p) for p in pair))
        with self.assertRaises(FileNotFoundError):
            vm.snapshot(self.path('none/state'), self.path('none/memory'))
        os.mkdir(self.path('folder'))
        # It cannot get its name: the VM is as before.
        for pair in (('state', 'folder'), ('folder', 'memory')):
            with self.assertRaises(IsADirectoryError):
                vm.snapshot(*(self.path(p) for p in pair))
            self.assertEqual(os.listdir(self.temp), ['folder'])
        vm.snapshot(self.path('state'), self.path('memory'))
        vm.resume()
        self.answers(vm, said, b'goes on')
        self.ends(vm)
        with open(self.path('memory'), 'r+b') as f:
            f.seek(-1, os.SEEK_END)
            f.write(b'x')
            f.truncate(4 * MIB)
        with catnap.Snapshot(self.path('state')) as snapshot:
            for call in (snapshot.verify, snapshot.restore):
                with self.assertRaises(catnap.Error) as c:
                    call()
                self.assertEqual(c.exception.errno, errno.EINVAL)
            os.unlink(self.path('memory'))
            fds = count('fd')
            with self.assertRaises(FileNotFoundError):
                snapshot.restore()
            self.assertEqual(count('fd'), fds)
        with self.assertRaises(catnap.Error) as c:
            catnap.Snapshot(guest('serial'))
        self.assertEqual(c.exception.errno, errno.EINVAL)


class Vhost(Folder):
    def test_disk(self):
        with open(self.path('image'), 'wb') as f:
            f.truncate(MIB)
        back = subprocess.Popen([sys.executable, BACK, self.path('socket'), self.path('image')], stdin=subprocess.DEVNULL)
        self.addCleanup(lambda: (back.kill(), back.wait()))
        while not os.path.exists(self.path('socket')):
            time.sleep(0.01)
        with catnap.VM(guest('blk'), cmdline='only_transfer=1', memory=16 * MIB, transport=catnap.Transport.MMIO,
                       memory_shared=True, debug_exit_port=0xf4) as vm:
            vm.add_vhost(catnap.VhostType.DISK, self.path('socket'))
            self.assertEqual(os.fstat(vm.memory_fd()).st_size, 16 * MIB)
            vm.start()
            end = vm.wait(60)
            self.assertEqual((end.reason, end.code), (catnap.ExitReason.DEBUG, 0x21), end.report)
        with open(self.path('image'), 'rb') as f:
            self.assertNotEqual(f.read(4096), bytes(4096))

    def test_refused(self):
        with catnap.VM(guest('blk'), memory=16 * MIB) as vm:
            with self.assertRaises(catnap.Error) as c:
                vm.add_vhost(catnap.VhostType.DISK, self.path('socket'))
            self.assertEqual(c.exception.errno, errno.EINVAL)
            with self.assertRaises(catnap.Error) as c:
                vm.memory_fd()
            self.assertEqual(c.exception.errno, errno.ENOTSUP)
        with catnap.VM(guest('blk'), memory=16 * MIB, memory_shared=True) as vm:
            with self.assertRaises(catnap.Error) as c:
                vm.add_vhost(catnap.VhostType.FOLDER, self.path('socket'), tag='shared')
            self.assertEqual(c.exception.errno, errno.ENOENT)
            self.assertIn(self.path('socket'), str(c.exception))


class Doorbells(Folder):
    def test_rings(self):
        """A guest's write to a port is an eventfd's signal."""
        # mov dx,0x510; mov al,7; out dx,al; out dx,al; cli; hlt
        with catnap.VM(bytearray(b'\xba\x10\x05\xb0\x07\xee\xee\xfa\xf4'), image_kind=catnap.ImageKind.FLAT, memory=2 * MIB) as vm:
            bell, other = vm.add_doorbell(0x510, 1, port=True, value=7), vm.add_doorbell(0x511, 1, port=True)
            vm.start()
            end, rings = time.monotonic() + 30, 0
            while rings < 2 and time.monotonic() < end:
                try:
                    rings += int.from_bytes(os.read(bell, 8), 'little')
                except BlockingIOError:
                    time.sleep(0.01)
            self.assertEqual(rings, 2)
            with self.assertRaises(BlockingIOError):
                os.read(other, 8)
            vm.del_doorbell(bell)
            with self.assertRaises(catnap.Error):
                vm.del_doorbell(bell)


if __name__ == '__main__':
    if not os.access('/dev/kvm', os.R_OK | os.W_OK):
        print('no /dev/kvm')
        sys.exit(77)
    unittest.main()
