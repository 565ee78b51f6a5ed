#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Halters by the Python binding, alone and as asyncio's selector, with and without io_uring:
test_python_halter.py PACKAGE_DIRECTORY LIBRARY [unittest options]"""
import asyncio
import concurrent.futures
import contextlib
import errno
import gc
import os
import select
import selectors
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
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

CAUSE = catnap.WakeCause


def count(folder):
    return len(os.listdir(f'/proc/self/{folder}'))


class Halters(unittest.TestCase):
    def both(self):
        for no_ring in (False, True):
            with catnap.Halter(no_ring=no_ring) as halter:
                yield halter

    def test_time(self):
        for halter in self.both():
            begin = time.monotonic()
            self.assertIs(halter.halt(0.05), CAUSE.TIMER)
            self.assertGreaterEqual(time.monotonic() - begin, 0.05)
            self.assertIs(halter.halt(0), CAUSE.TIMER)
            self.assertEqual(halter.reap(), 0)

    def test_wake(self):
        for halter in self.both():
            timer = threading.Timer(0.1, halter.wake, [1 << 5])
            timer.start()
            self.assertIs(halter.halt(30), CAUSE.OTHER)
            timer.join()
            # As long as nobody takes it.
            self.assertIs(halter.halt(30), CAUSE.OTHER)
            self.assertEqual((halter.take(), halter.take()), (1 << 5, 0))
            self.assertGreaterEqual(halter.stats().halt_exits, 1)
            for bits in (0, 1 << 24, -1):
                with self.assertRaises(ValueError):
                    halter.wake(bits)

    def test_sources(self):
        for halter in self.both():
            a, b = socket.socketpair()
            with a, b:
                seen = []
                halter.add_source(a.fileno(), lambda fd, events: seen.append((fd, events)))
                with self.assertRaises(catnap.Error) as c:
                    halter.add_source(a.fileno(), lambda fd, events: None)
                self.assertEqual(c.exception.errno, errno.EEXIST)
                b.send(b'x')
                # By level: as often as it is asked.
                self.assertIs(halter.halt(30), CAUSE.EVENTFD)
                self.assertEqual(halter.reap(), 1)
                self.assertEqual(seen, [(a.fileno(), select.POLLIN)] * 2)
                a.recv(1)
                self.assertEqual(halter.reap(), 0)
                # By edge: once for each.
                halter.mod_source(a.fileno(), select.POLLIN, edge=True)
                b.send(b'x')
                self.assertIs(halter.halt(30), CAUSE.EVENTFD)
                self.assertIs(halter.halt(0.02), CAUSE.TIMER)
                halter.del_source(a.fileno())
                with self.assertRaises(catnap.Error) as c:
                    halter.del_source(a.fileno())
                self.assertEqual(c.exception.errno, errno.ENOENT)
            with open(__file__, 'rb') as f, self.assertRaises(catnap.Error) as c:
                halter.add_source(f.fileno(), lambda fd, events: None)
            self.assertEqual(c.exception.errno, errno.EPERM)

    def test_raises(self):
        """What a callback raises comes out of the halt."""
        for halter in self.both():
            a, b = socket.socketpair()
            with a, b:
                def ready(fd, events):
                    raise RuntimeError('of no use')

                halter.add_source(a.fileno(), ready)
                b.send(b'x')
                with self.assertRaisesRegex(RuntimeError, 'of no use'):
                    halter.halt(30)
                halter.del_source(a.fileno())
                self.assertIs(halter.halt(0.01), CAUSE.TIMER)

    def test_parameters(self):
        with catnap.Halter(catnap.HaltPoll(policy=catnap.PolicyKind.FIXED, max_ns=50_000)) as halter:
            halter.halt(0.01)
            stats = halter.stats()
            self.assertEqual((stats.policy, stats.halt_exits), (catnap.PolicyKind.FIXED, 1))
            halter.set_halt_poll(catnap.HaltPoll(policy=catnap.PolicyKind.OFF))
            halter.halt(0.01)
            self.assertIs(halter.stats().policy, catnap.PolicyKind.OFF)
            self.assertIs(halter.policy_stats().policy, catnap.PolicyKind.OFF)
            halter.set_poll_allowed(False)
            with self.assertRaises(catnap.Error) as c:
                halter.set_halt_poll(catnap.HaltPoll(cpu_max=10001))
            self.assertEqual(c.exception.errno, errno.EINVAL)
        with self.assertRaises(ValueError):
            halter.halt(0)
        halter.close()

    def test_collected(self):
        fds = count('fd')
        halter = catnap.Halter()
        halter.halt(0)
        gone = weakref.ref(halter)
        del halter
        gc.collect()
        self.assertIsNone(gone())
        self.assertEqual(count('fd'), fds)

    def test_collected_elsewhere(self):
        """By a thread that may not say whom signals are told to: what is left goes with the next of the main thread."""
        fds = count('fd')
        for _ in range(20):
            box = [catnap.Halter()]
            box[0].halt(0)
            thread = threading.Thread(target=box.clear)
            thread.start()
            thread.join()
            # A signal that comes meanwhile goes nowhere.
            signal.signal(signal.SIGUSR1, lambda *_: None)
            os.kill(os.getpid(), signal.SIGUSR1)
            self.assertLessEqual(count('fd'), fds + 2)
        with catnap.Halter() as halter:
            halter.halt(0)
            thread = threading.Thread(target=halter.close)
            thread.start()
            thread.join()
        with catnap.Halter(), self.assertRaises(ValueError):
            halter.halt(0)
        self.assertEqual((count('fd'), signal.set_wakeup_fd(-1)), (fds, -1))

    def test_elsewhere(self):
        """While the owner is away, a wake brings it back, once for each time."""
        for no_ring in (False, True):
            reader, writer = os.pipe()
            with catnap.Halter(no_ring=no_ring, kick=lambda w=writer: os.write(w, b'k')) as halter:
                halter.wake(1 << 3)
                self.assertFalse(halter.enter())
                self.assertEqual(halter.take(), 1 << 3)
                self.assertTrue(halter.enter())
                with concurrent.futures.ThreadPoolExecutor(2) as pool:
                    wakers = [pool.submit(halter.wake, 1 << n) for n in (1, 2)]
                    self.assertEqual(os.read(reader, 1), b'k')
                    for w in wakers:
                        w.result()
                halter.leave()
                self.assertEqual(halter.take(), 1 << 1 | 1 << 2)
                # It is here again.
                halter.wake(1 << 4)
                self.assertEqual((halter.take(), select.select([reader], [], [], 0)[0]), (1 << 4, []))
            os.close(reader)
            os.close(writer)
        with catnap.Halter() as halter, self.assertRaisesRegex(ValueError, 'kick'):
            halter.enter()

    def test_kick_raises(self):
        """It comes out of the wake."""
        def kick():
            raise RuntimeError('of no use')

        with catnap.Halter(kick=kick) as halter:
            self.assertTrue(halter.enter())
            with self.assertRaisesRegex(RuntimeError, 'of no use'):
                halter.wake()
            halter.wake()
            halter.leave()
            self.assertEqual(halter.take(), 1 << 1)
        halter = catnap.Halter(kick=kick)
        halter.enter()
        with contextlib.suppress(RuntimeError):
            halter.wake()
        gone = weakref.ref(halter)
        del halter
        self.assertIsNone(gone())

    def test_signal(self):
        """Ctrl-C ends a halt that would be for ever, and other handlers run in it."""
        for make, wait in (('catnap.Halter()', 'halt'), ('asyncio.SelectorEventLoop(catnap.HalterSelector())', 'run_forever')):
            program = textwrap.dedent(f'''
                import asyncio, catnap, signal
                signal.signal(signal.SIGUSR1, lambda *_: print('heard', flush=True))
                one = {make}
                print('waits', flush=True)
                try:
                    while True:
                        one.{wait}()
                except KeyboardInterrupt:
                    print('interrupted', flush=True)
                one.close()
            ''')
            p = subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                 env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1'))
            with self.subTest(make), p:
                try:
                    self.assertEqual(p.stdout.readline(), 'waits\n')
                    time.sleep(0.5)
                    p.send_signal(signal.SIGUSR1)
                    self.assertEqual(p.stdout.readline(), 'heard\n')
                    p.send_signal(signal.SIGINT)
                    self.assertEqual(p.stdout.readline(), 'interrupted\n')
                    self.assertEqual((p.wait(30), p.stderr.read()), (0, ''))
                finally:
                    p.kill()


class Selectors(unittest.TestCase):
    def both(self):
        for no_ring in (False, True):
            with catnap.HalterSelector(no_ring=no_ring) as selector:
                yield selector

    def test_like_others(self):
        """Answers as the system's own selector."""
        for mine in self.both():
            with selectors.DefaultSelector() as other:
                a, b = socket.socketpair()
                for s in (mine, other):
                    with self.assertRaises(KeyError):
                        s.unregister(a)
                    with self.assertRaises(ValueError):
                        s.register(a, 0)
                    with self.assertRaises(ValueError):
                        s.register('none', selectors.EVENT_READ)
                    key = s.register(a, selectors.EVENT_READ, 'data')
                    self.assertEqual((key.fileobj, key.fd, key.data), (a, a.fileno(), 'data'))
                    with self.assertRaises(KeyError):
                        s.register(a, selectors.EVENT_READ)
                    self.assertEqual(s.select(0), [])
                b.send(b'x')
                self.assertEqual(mine.select(30), other.select(30))
                for s in (mine, other):
                    s.modify(a, selectors.EVENT_READ | selectors.EVENT_WRITE, 'more')
                self.assertEqual(mine.select(30), other.select(30))
                self.assertEqual(mine.get_key(a), other.get_key(a.fileno()))
                for s in (mine, other):
                    s.modify(a, selectors.EVENT_READ)
                b.close()
                self.assertEqual(mine.select(30), other.select(30))
                a.close()
                for s in (mine, other):
                    self.assertEqual(s.unregister(a).fileobj, a)
                    self.assertEqual(len(s.get_map()), 0)

    def test_asyncio(self):
        """A server and its clients, subprocesses, threads and timers in a loop that polls."""
        async def echo(reader, writer):
            while data := await reader.read(100):
                writer.write(data)
                await writer.drain()
            writer.close()

        async def client(path, n):
            reader, writer = await asyncio.open_unix_connection(path)
            for i in range(20):
                writer.write(b'%d %d\n' % (n, i))
                self.assertEqual(await reader.readline(), b'%d %d\n' % (n, i))
            writer.close()
            await writer.wait_closed()

        async def all_of_it():
            path = f'\0catnap-halter-{os.getpid()}'
            async with await asyncio.start_unix_server(echo, path):
                await asyncio.gather(*(client(path, n) for n in range(20)))
            begin = time.monotonic()
            await asyncio.sleep(0.05)
            self.assertGreaterEqual(time.monotonic() - begin, 0.05)
            self.assertEqual(await asyncio.to_thread(lambda: 7), 7)
            p = await asyncio.create_subprocess_exec('echo', 'said', stdout=subprocess.PIPE)
            self.assertEqual((await p.communicate())[0], b'said\n')

        fds = count('fd')
        for no_ring in (False, True):
            selector = catnap.HalterSelector(no_ring=no_ring)
            loop = asyncio.SelectorEventLoop(selector)
            try:
                asyncio.set_event_loop(loop)
                loop.run_until_complete(all_of_it())
                self.assertGreater(selector.halter.stats().halt_exits, 20)
                loop.run_until_complete(loop.shutdown_default_executor())
            finally:
                asyncio.set_event_loop(None)
                loop.close()
        self.assertEqual(count('fd'), fds)


if __name__ == '__main__':
    unittest.main()
