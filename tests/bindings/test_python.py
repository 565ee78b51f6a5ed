#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The Python binding: test_python.py PACKAGE_DIRECTORY LIBRARY GUESTS PROBE [unittest options]

With /dev/kvm it starts, talks to, pauses, tunes and ends VMs; without, what needs none.
"""
import asyncio
import contextlib
import ctypes
import dataclasses
import errno
import gc
import glob
import inspect
import io
import os
import random
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
import unittest
import weakref

if len(sys.argv) < 5:
    sys.exit(__doc__)
PACKAGE, LIBRARY, GUESTS, PROBE = (os.path.abspath(a) for a in sys.argv[1:5])
del sys.argv[1:5]
sys.dont_write_bytecode = True
sys.path.insert(0, PACKAGE)
os.environ['CATNAP_LIBRARY'] = LIBRARY
import catnap  # noqa: E402 pylint: disable=wrong-import-position
from catnap import _abi, _library, _types  # noqa: E402 pylint: disable=wrong-import-position

KVM = os.access('/dev/kvm', os.R_OK | os.W_OK)
MIB = 1 << 20
# cli; again: hlt; jmp again
HALTING = bytearray(b'\xfa\xf4\xeb\xfd')
# A letter to the serial port, as long as it has not been told to end by an 'x': then by port 0xf4.
# mov dx,0x3f8; in a 16-bit world:
#   again: mov dx,0x3fd; in al,dx; test al,1; jz again; mov dx,0x3f8; in al,dx; cmp al,'x'; je end; out dx,al; jmp again
#   end: mov dx,0xf4; mov al,7; out dx,al; hlt
ECHO = bytearray(b'\xba\xfd\x03\xec\xa8\x01\x74\xf8\xba\xf8\x03\xec\x3c\x78\x74\x03\xee\xeb\xed\xba\xf4\x00\xb0\x07\xee\xf4')
FLAT = catnap.ImageKind.FLAT


def reading(instructions):
    """Ends by port 0xf4 with what @instructions have left in EAX."""
    return bytearray(instructions + b'\xba\xf4\x00\x66\xef\xf4')


def cpuid_eax(leaf):
    # mov eax,leaf; xor ecx,ecx; cpuid
    return reading(b'\x66\xb8' + leaf.to_bytes(4, 'little') + b'\x66\x31\xc9\x0f\xa2')


def msr_low(index):
    # mov ecx,index; rdmsr
    return reading(b'\x66\xb9' + index.to_bytes(4, 'little') + b'\x0f\x32')


#: What the binding leaves out: what a source does as well, and what is for a handler of SIGBUS, which Python has not.
LEFT_OUT = re.compile(r'catnap_halter_(add|del)_eventfd|catnap_vm_memory_fault')


def guest(name):
    return os.path.join(GUESTS, name + '.elf')


def halting(**more):
    return catnap.VM(HALTING, image_kind=FLAT, memory=2 * MIB, no_rings=True, **more)


def count(folder):
    return len(os.listdir(f'/proc/self/{folder}'))


def until(what, limit=30):
    end = time.monotonic() + limit
    while not what():
        if time.monotonic() > end:
            raise AssertionError('not in time')
        time.sleep(0.01)


def at_rest(threads=None):
    """How many descriptors and threads there are: of those that were joined some are listed for a moment longer."""
    until(lambda: count('task') == (threads or threading.active_count()))
    return count('fd'), count('task')


class Alone(unittest.TestCase):
    """Without a VM."""

    def test_sentences(self):
        with self.assertRaises(catnap.Error) as c:
            catnap.VM('/nonexistent/kernel')
        self.assertIsInstance(c.exception, OSError)
        self.assertEqual(c.exception.errno, errno.ENOENT)
        self.assertIn('/nonexistent/kernel', str(c.exception))
        for more, word in (({'memory': 5}, 'memory'), ({'vcpus': 65}, 'vcpus'), ({'name': 'a b'}, 'name'),
                           ({'halt_poll': catnap.HaltPoll(cpu_max=10001)}, 'cpu_max')):
            with self.subTest(word), self.assertRaises(catnap.Error) as c:
                catnap.VM(HALTING, image_kind=FLAT, **more)
            self.assertEqual(c.exception.errno, errno.EINVAL)
            self.assertIn(word.replace('vcpus', 'vCPUs').lower(), str(c.exception).lower())

    def test_null_bytes(self):
        """No text and no path goes on without what stands behind a zero."""
        for name in ('cmdline', 'linux_cmdline', 'name', 'kernel', 'initramfs', 'cgroup'):
            with self.subTest(name), self.assertRaisesRegex(ValueError, name + ': embedded null byte'):
                catnap.VM(**{'kernel': HALTING, 'image_kind': FLAT, name: 'a\0b'})
        with self.assertRaisesRegex(ValueError, 'tap: embedded null byte'):
            catnap.NetPlace('a\0b')._fill(_abi.ffi.new('struct catnap_net *'), [])  # pylint: disable=protected-access

    def test_callbacks_that_are_none(self):
        for name in ('on_serial', 'on_log', 'on_thread_start'):
            with self.subTest(name), self.assertRaisesRegex(TypeError, '5 cannot be called'):
                catnap.VM(HALTING, image_kind=FLAT, **{name: 5})

    def test_types(self):
        """Each dataclass has the members of its structure, and no enumeration lacks a name."""
        ffi = _abi.ffi
        for name in dir(_types):
            cls = getattr(_types, name)
            if dataclasses.is_dataclass(cls):
                struct = cls.__doc__.split()[1].rstrip('.')
                members = {m for m, _ in ffi.typeof('struct ' + struct).fields}
                hidden = {m for m in members if m in ('size', 'unused') or m.startswith('reserved') or
                          m.endswith('_size') and m != 'memory_size'}
                self.assertEqual({f.name for f in dataclasses.fields(cls)}, members - hidden)
                _library.convert(cls, ffi.new(f'struct {struct} *'))
        self.assertEqual(catnap.PolicyKind.ADAPTIVE, 4)
        self.assertEqual(catnap.EventType.ENDED.name, 'ENDED')

    def test_all_functions(self):
        """Each function of the library is called, or is known to be left out."""
        text = ''
        for name in glob.glob(os.path.join(PACKAGE, 'catnap', '*.py')):
            if os.path.basename(name) != '_abi.py':
                with open(name, encoding='utf-8') as f:
                    text += f.read()
        known = subprocess.run(['nm', '-D', '--defined-only', '-j', LIBRARY], stdout=subprocess.PIPE, text=True, check=True).stdout
        functions = {n.split('@')[0] for n in known.split() if n.startswith('catnap_')}
        self.assertGreater(len(functions), 100)
        # An _init function is called by its other name.
        self.assertEqual({f for f in functions - {f.removesuffix('_sized') for f in functions if f.endswith('_sized')}
                          if not re.search(rf'\blib\.{f}\b', text) and not LEFT_OUT.fullmatch(f)}, set())

    def test_version(self):
        self.assertEqual(catnap.library_version(), f'{_types.VERSION_MAJOR}.{_types.VERSION_MINOR}.{_types.VERSION_PATCH}')

    def test_host(self):
        self.assertGreater(catnap.host_memory(), 64 * MIB)
        checks = catnap.check_host()
        self.assertGreater(len(checks), 5)
        self.assertTrue(all(isinstance(c.state, catnap.CheckState) and c.name and c.found for c in checks))

    def test_mypy(self):
        mypy = shutil.which('mypy')
        if not mypy:
            self.skipTest('no mypy')
        with tempfile.TemporaryDirectory() as temp:
            program = os.path.join(temp, 'program.py')
            with open(program, 'w', encoding='utf-8') as f:
                f.write(textwrap.dedent('''
                    import asyncio
                    import catnap

                    async def run() -> int:
                        async with catnap.VM('kernel', halt_poll=catnap.HaltPoll(max_ns=5)) as vm:
                            vm.start()
                            async for event in vm.events():
                                print(event.text.upper(), event.number + 1)
                            end: catnap.Exit = await vm.wait_async(1.5)
                            halts: int = vm.stats(0).halt.halt_exits
                            with catnap.Snapshot('state') as snapshot:
                                clone: catnap.VM = snapshot.restore(disks={0: catnap.DiskPlace('copy')})
                                size: int = snapshot.info.memory_size
                            config: catnap.Config = clone.config()
                            print(config.halt_poll.policy.name, [n.memory + 1 for n in config.nodes])
                            await clone.close_async()
                            return end.code + halts + size
                    asyncio.SelectorEventLoop(catnap.HalterSelector()).run_until_complete(run())
                    with catnap.Policy(catnap.HaltPoll(policy=catnap.PolicyKind.FIXED)) as policy, catnap.PollLimit() as limit:
                        window = policy.begin()
                        policy.end(5000, waited=window is not None and window < 5000)
                        limit.learn(catnap.Halter().stats(), 0)
                        cost: int = limit.expect(limit.limit_ns).cost_ns + limit.interval_ns
                '''))
            example = os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../docs/examples/fleet.py')
            p = subprocess.run([mypy, '--strict', '--no-error-summary', '--cache-dir', temp, program, example,
                                *glob.glob(os.path.join(PACKAGE, 'catnap', '*.py'))],
                               env=dict(os.environ, MYPYPATH=PACKAGE), capture_output=True, text=True, check=False)
            self.assertEqual((p.returncode, p.stdout), (0, ''), p.stderr)


@unittest.skipUnless(KVM, 'no /dev/kvm')
class Machine(unittest.TestCase):
    def test_life(self):
        with catnap.VM(PROBE, cmdline='workload=cpus cpus=2 exit=244', vcpus=2, memory=64 * MIB, debug_exit_port=0xf4,
                       name='life') as vm:
            self.assertEqual((vm.state, vm.name, vm.vcpus), (catnap.VmState.MADE, 'life', 2))
            with self.assertRaises(catnap.Error) as c:
                vm.wait(0)
            self.assertEqual(c.exception.errno, errno.ETIMEDOUT)
            vm.start()
            end = vm.wait(60)
            self.assertEqual((end.reason, end.vcpu in (0, 1)), (catnap.ExitReason.DEBUG, True))
            self.assertEqual(vm.state, catnap.VmState.ENDED)
            self.assertGreater(vm.stats(1).exits, 0)
            self.assertIn('ended', repr(vm))
        self.assertTrue(vm.closed)
        with self.assertRaises(catnap.Error) as c:
            vm.start()
        self.assertEqual(c.exception.errno, errno.EBADF)
        vm.close()

    def test_talk(self):
        said = []
        with catnap.VM(ECHO, image_kind=FLAT, memory=2 * MIB, debug_exit_port=0xf4, on_serial=said.append) as vm:
            vm.start()
            for letter in b'catnap':
                until(lambda n=letter: vm.serial_input(bytes([n])) == 1)
                until(lambda n=letter: b''.join(said).endswith(bytes([n])))
            until(lambda: vm.serial_input(b'x') == 1)
            end = vm.wait(30)
            self.assertEqual((end.reason, end.code), (catnap.ExitReason.DEBUG, 7))
        self.assertEqual(b''.join(said), b'catnap')

    def test_pause_and_tune(self):
        with catnap.VM(PROBE, cmdline='workload=idle tick_hz=250 tsc_khz=2400000', memory=32 * MIB) as vm:
            vm.start()
            until(lambda: vm.stats().halt.halt_exits > 20)
            vm.pause()
            self.assertEqual(vm.state, catnap.VmState.PAUSED)
            halts = vm.stats().halt.halt_exits
            time.sleep(0.2)
            self.assertEqual(vm.stats().halt.halt_exits, halts)
            vm.set_halt_poll(catnap.HaltPoll(policy=catnap.PolicyKind.FIXED, max_ns=30000))
            vm.resume()
            until(lambda: vm.stats().halt.halt_exits > halts)
            self.assertEqual(vm.halt_poll(), catnap.HaltPoll(
                policy=catnap.PolicyKind.FIXED, max_ns=30000, grow=2, grow_start_ns=10000, shrink=2,
                bias=catnap.Bias.BALANCED, price_ns=0, cpu_max=0, group=False, spin=catnap.Spin.AUTO))
            stats = vm.stats()
            self.assertIs(stats.halt.policy, catnap.PolicyKind.FIXED)
            self.assertEqual(len(stats.halt.halt_wait_hist), _types.HIST_BUCKETS)
            self.assertIsInstance(vm.policy_stats(), catnap.PolicyStats)
            self.assertGreater(os.sched_getaffinity(vm.vcpu_tid(0)), set())
            with self.assertRaises(catnap.Error) as c:
                vm.power_button()
            self.assertEqual(c.exception.errno, errno.ENXIO)
            self.assertIn('power button', str(c.exception))
            vm.stop()
            self.assertEqual(vm.wait().reason, catnap.ExitReason.STOPPED)

    def test_devices(self):
        with tempfile.TemporaryDirectory() as temp:
            for name, size in (('a', MIB), ('b', 2 * MIB), ('c', 2 * MIB)):
                with open(os.path.join(temp, name), 'wb') as f:
                    f.truncate(size)
            limit = catnap.Limit(bandwidth=catnap.Bucket(MIB, 10 ** 8))
            with catnap.VM(HALTING, image_kind=FLAT, memory=2 * MIB, rng=True) as vm:
                vm.add_disk(os.path.join(temp, 'a'), disk_id='first', limit=limit)
                with self.assertRaises(catnap.Error) as c:
                    vm.add_disk(os.path.join(temp, 'a'))
                self.assertEqual(c.exception.errno, errno.EBUSY)
                fd = os.open(os.path.join(temp, 'b'), os.O_RDONLY)
                vm.add_disk(fd=fd, readonly=True)
                with self.assertRaises(OSError):
                    os.fstat(fd)
                vm.set_hotplug(4 * MIB, requested=2 * MIB)
                vm.add_pmem(os.path.join(temp, 'c'))
                vm.set_vsock(3, os.path.join(temp, 'vsock'))
                vm.set_console(lambda data: None, cols=80, rows=25)
                vm.set_balloon(0)
                vm.start()
                vm.set_disk_limit(0, catnap.Limit())
                vm.set_rng_limit(limit)
                vm.set_pmem_limit(0, limit)
                vm.set_balloon_target(MIB)
                vm.set_hotplug_size(4 * MIB)
                for size in (6 * MIB, 3 * MIB):
                    with self.assertRaisesRegex(catnap.Error, f'{size} bytes: .* block, 2097152, at most max, 4194304'):
                        vm.set_hotplug_size(size)
                self.assertEqual((vm.hotplug_stats().requested, vm.hotplug_stats().plugged), (4 * MIB, 0))
                self.assertEqual(vm.balloon_stats().target, MIB)
                self.assertEqual(vm.console_input(b'x'), 0)
                os.truncate(os.path.join(temp, 'a'), 3 * MIB)
                self.assertEqual(vm.update_disk(0), 3 * MIB)
                self.assertEqual(vm.change_disk(0, os.path.join(temp, 'a')), 3 * MIB)
                stats = vm.device_stats()
                self.assertEqual(len(stats), 8)
                self.assertTrue(any('disk' in s.name for s in stats))
                self.assertEqual(vm.read_memory(0x7c00, 4), bytes(HALTING))
                vm.write_memory(0x8000, b'hello')
                self.assertEqual(vm.read_memory(0x8000, 5), b'hello')
                with self.assertRaises(catnap.Error) as c:
                    vm.read_memory(2 * MIB, 1)
                self.assertEqual(c.exception.errno, errno.EFAULT)
            self.assertFalse(os.path.exists(os.path.join(temp, 'vsock')))

    def test_processor(self):
        """CPUID and MSRs as the guest has them."""
        for cpuid, want in (((catnap.CpuidModifier(0x80000002, catnap.CpuidRegister.EAX, 0xffffffff, 0x6e746163),), 0x6e746163),
                            ((catnap.CpuidModifier(0x80000002, catnap.CpuidRegister.EAX, 0xffffffff, 0x6e746163),
                              catnap.CpuidModifier(0x80000002, catnap.CpuidRegister.EAX, 0xff, 0x43)), 0x6e746143)):
            with catnap.VM(cpuid_eax(0x80000002), image_kind=FLAT, memory=2 * MIB, debug_exit_port=0xf4, cpuid=cpuid) as vm:
                vm.start()
                self.assertEqual(vm.wait(30).code, want)
        with catnap.VM(msr_low(0x1a0), image_kind=FLAT, memory=2 * MIB, debug_exit_port=0xf4,
                       msrs=[catnap.MsrModifier(0x1a0, 1, 1)]) as vm:
            vm.start()
            self.assertEqual(vm.wait(30).code & 1, 1)
        for more, word in (({'cpuid': [catnap.CpuidModifier(0x7777, catnap.CpuidRegister.EAX, 1, 1)]}, '0x7777'),
                           ({'msrs': [catnap.MsrModifier(0x10, 1, 1)]}, '0x10'),
                           ({'kvm_required': [9999]}, '9999'), ({'kick_signal': signal.SIGUSR1}, 'signal')):
            with self.assertRaisesRegex(catnap.Error, word):
                halting(**more)
        with halting(kvm_required=[0], kvm_dropped=[9999], kick_signal=signal.SIGRTMIN + 3, dump_memory=True):
            pass

    def test_config(self):
        """A VM tells what it was made with, in the words of its constructor."""
        cpu = min(os.sched_getaffinity(0))
        given = {
            'name': 'told', 'vcpus': 2, 'memory': 4 * MIB, 'hw': catnap.Hw.ACPI, 'transport': catnap.Transport.PCI,
            'io': catnap.Io.THREAD, 'rng': True, 'realtime': True, 'poll_after_guest': catnap.AfterGuest.NEVER,
            'on_reset': catnap.OnReset.RESTART, 'debug_exit_port': 0xf4, 'affinity': (cpu, -1), 'no_rings': True,
            'track_dirty': True, 'memory_pages': catnap.MemoryPages.SMALL, 'memory_prefault': True, 'dump_memory': True,
            'memory_nodes': (0,), 'nodes': (catnap.Node(vcpus=(1,), memory=3 * MIB, distances=(10, 30)),
                                            catnap.Node(vcpus=(0,), memory=MIB, host_nodes=(0,), distances=(40, 10))),
            'cpuid': (catnap.CpuidModifier(0x80000002, catnap.CpuidRegister.EAX, 0xff, 0x43),),
            'msrs': (catnap.MsrModifier(0x1a0, 1, 1),), 'kvm_dropped': (9999,), 'kick_signal': signal.SIGRTMIN + 3,
            'image_kind': FLAT,
        }
        try:
            vm = catnap.VM(HALTING, **given)
        except catnap.Error as e:
            if 'NUMA' not in str(e):
                raise
            # A host without them.
            del given['memory_nodes']
            given['nodes'] = tuple(dataclasses.replace(n, host_nodes=()) for n in given['nodes'])
            vm = catnap.VM(HALTING, **given)
        with vm:
            config = vm.config()
            for member, value in given.items():
                self.assertEqual(getattr(config, member), value, member)
            vm.start()
            vm.set_halt_poll(catnap.HaltPoll(policy=catnap.PolicyKind.OFF))
            self.assertEqual(vm.config(), config)
        with halting() as vm:
            config = vm.config()
            self.assertEqual((config.name, config.affinity, config.debug_exit_port, config.nodes, config.halt_trace_fd),
                             (None, None, None, (), None))
            self.assertIs(config.halt_poll.policy, catnap.PolicyKind.ADAPTIVE)
        # Nothing is missing, but what a VM does not keep.
        arguments = set(inspect.signature(catnap.VM).parameters)
        not_kept = {'kernel', 'initramfs', 'cmdline', 'linux_cmdline', 'kvm_fd', 'kvm_required', 'cgroup', 'keeper', 'on_serial',
                    'on_log', 'on_thread_start'}
        self.assertEqual({f.name for f in dataclasses.fields(catnap.Config)}, arguments - not_kept)

    def test_nodes(self):
        for nodes, word in (((catnap.Node(vcpus=(0,), memory=MIB),), 'memory'), ((catnap.Node(memory=2 * MIB),), 'vCPU')):
            with self.assertRaisesRegex(catnap.Error, word):
                halting(nodes=nodes)
        for node in (catnap.Node(vcpus=(64,)), catnap.Node(vcpus=(-1,)), catnap.Node(host_nodes=(64,)),
                     catnap.Node(distances=(256,)), catnap.Node(distances=(10,) * 17)):
            with self.assertRaisesRegex(ValueError, 'nodes'):
                halting(nodes=(node,))

    def test_threads(self):
        """Each begins with the caller's function, and what that raises is the start's."""
        begun = []
        with catnap.VM(HALTING, image_kind=FLAT, memory=2 * MIB, vcpus=2, io=catnap.Io.THREAD,
                       on_thread_start=lambda vcpu: begun.append((vcpu, threading.get_native_id()))) as vm:
            vm.start()
            self.assertEqual(set(begun), {(0, vm.vcpu_tid(0)), (1, vm.vcpu_tid(1)), (None, vm.io_tid())})

        def refuse(vcpu):
            if len(begun) < 4:
                begun.append(vcpu)
                raise RuntimeError('not now')

        vm = halting(on_thread_start=refuse)
        with self.assertRaisesRegex(RuntimeError, 'not now'):
            vm.start()
        vm.start()
        gone = weakref.ref(vm)
        del vm
        self.assertIsNone(gone())
        # Nor does what was raised keep one that was never started.
        begun.clear()
        vm = halting(on_thread_start=refuse)
        with contextlib.suppress(RuntimeError):
            vm.start()
        gone = weakref.ref(vm)
        del vm
        self.assertIsNone(gone())

    def test_tables(self):
        with halting() as vm:
            tables = vm.acpi_tables()
            self.assertEqual(tables[0][0], 'RSDP')
            self.assertEqual(tables[0][1][:8], b'RSD PTR ')
            self.assertTrue({'FACP', 'APIC', 'DSDT'} <= {name for name, _ in tables})
            self.assertEqual(vm.device_tree()[:4], b'\xd0\x0d\xfe\xed')

    def test_trace_and_stop(self):
        with tempfile.TemporaryFile() as trace, catnap.VM(guest('msr'), cmdline='halts=3', memory=16 * MIB, debug_exit_port=0xf4,
                                                          halt_trace_fd=trace.fileno()) as vm:
            stopping = vm.stopping_fd()
            self.assertEqual(select.select([stopping], [], [], 0)[0], [])
            with self.assertRaises(catnap.Error) as c:
                vm.flush_halt_trace()
            self.assertEqual(c.exception.errno, errno.EBUSY)
            vm.start()
            vm.wait(30)
            self.assertEqual(select.select([stopping], [], [], 0)[0], [stopping])
            self.assertEqual(vm.flush_halt_trace(), 0)
            trace.seek(0)
            self.assertEqual(len(trace.readlines()), 1 + 3)

    def test_keeper(self):
        """It removes sockets at the end, and is there as long as a VM has it."""
        fds, _ = at_rest()
        with tempfile.TemporaryDirectory() as temp:
            paths = [os.path.join(temp, name) for name in ('own', 'vsock')]
            with socket.socket(socket.AF_UNIX) as own:
                own.bind(paths[0])
                with catnap.Keeper() as keeper:
                    keeper.add_socket(paths[0])
                    with self.assertRaises(catnap.Error) as c:
                        keeper.add_socket(os.path.join(temp, 'none'))
                    self.assertEqual(c.exception.errno, errno.ENOENT)
                    vm = catnap.VM(HALTING, image_kind=FLAT, memory=2 * MIB, keeper=keeper, sandbox=catnap.SandboxMode.LOG)
                    vm.set_vsock(3, paths[1])
                    vm.start()
                    with self.assertRaises(catnap.Error) as c:
                        keeper.close()
                    self.assertEqual(c.exception.errno, errno.EBUSY)
                    self.assertEqual([os.path.exists(p) for p in paths], [True, True])
                    vm.close()
                self.assertEqual([os.path.exists(p) for p in paths], [False, False])
                with self.assertRaises(catnap.Error) as c:
                    keeper.add_socket(paths[0])
                self.assertEqual(c.exception.errno, errno.EBADF)
            # One that only its VM has goes with that.
            keeper = catnap.Keeper()
            vm = halting(keeper=keeper)
            gone = weakref.ref(keeper)
            del keeper
            gc.collect()
            self.assertIsNotNone(gone())
            vm.close()
            self.assertIsNone(gone())
        self.assertEqual(at_rest()[0], fds)

    def test_events(self):
        with halting(name='eventful') as vm:
            vm.start()
            vm.pause()
            vm.resume()
            vm.stop()
            kinds = []
            while (event := vm.next_event()) is not None:
                kinds.append(event.type)
                self.assertEqual(event.number, len(kinds))
        want = catnap.EventType
        self.assertEqual(kinds, [want.STARTED, want.PAUSED, want.RESUMED, want.ENDED])

    def test_log(self):
        said = []
        with tempfile.NamedTemporaryFile() as f:
            f.truncate(MIB)
            with catnap.VM(guest('unruly') if os.path.exists(guest('unruly')) else PROBE, memory=16 * MIB,
                           on_log=lambda level, message: said.append((level, message)), no_rings=True) as vm:
                with self.assertRaises(catnap.Error):
                    vm.add_disk(f.name)  # no_rings
        for level, message in said:
            self.assertIsInstance(level, catnap.LogLevel)
            self.assertIsInstance(message, str)

    def test_collected(self):
        """One that nobody has any more is destroyed: also where it is part of a circle, by its own callback."""
        fds, threads = at_rest()
        vm = halting()
        vm.start()
        self.assertGreater(count('task'), threads)
        gone = weakref.ref(vm)
        del vm
        self.assertIsNone(gone())
        self.assertEqual(at_rest(threads)[0], fds)

        class Owner:
            def __init__(self):
                self.vm = catnap.VM(ECHO, image_kind=FLAT, memory=2 * MIB, on_serial=self.said)
                self.vm.start()

            def said(self, data):
                pass

        gone = weakref.ref(Owner())
        gc.collect()
        self.assertIsNone(gone())
        self.assertEqual(at_rest(threads)[0], fds)

    def test_dropped_in_its_own_callback(self):
        """It goes as soon as that has returned."""
        fds, threads = at_rest()
        have, seen = [], []

        def said(data):
            # The last reference.
            have.clear()
            seen.append(data)

        have.append(catnap.VM(ECHO, image_kind=FLAT, memory=2 * MIB, on_serial=said))
        have[0].start()
        until(lambda: not have or have[0].serial_input(b'a') >= 0 and seen)
        self.assertEqual(have, [])
        until(lambda: count('task') == threads)
        halting().close()  # looks after those that have left
        self.assertEqual(count('fd'), fds)

    def test_callback_that_raises(self):
        """It neither ends the VM nor the process."""
        seen = threading.Event()

        def said(data):
            seen.set()
            raise RuntimeError('of no use')

        out = io.StringIO()
        with contextlib.redirect_stderr(out), catnap.VM(ECHO, image_kind=FLAT, memory=2 * MIB, on_serial=said,
                                                        debug_exit_port=0xf4) as vm:
            vm.start()
            vm.serial_input(b'a')
            self.assertTrue(seen.wait(30))
            until(lambda: vm.serial_input(b'x') == 1)
            self.assertEqual(vm.wait(30).code, 7)

    def test_closed_while_others_use_it(self):
        """Their calls come to their ends, a wait by that of the VM, and what they call then is an error."""
        def use(vm, ends):
            while True:
                try:
                    vm.stats(0), vm.device_stats(), vm.pause(), vm.resume(), vm.read_memory(0, 4096)  # pylint: disable=expression-not-assigned
                except catnap.Error as e:
                    # Another thread has let it go on before, or it has been ended.
                    if e.errno not in (errno.EINVAL, errno.ECANCELED):
                        ends.append(e.errno)
                        return

        def wait(vm, ends):
            ends.append(vm.wait().reason)

        for close in (lambda vm: vm.close(), lambda vm: asyncio.run(vm.close_async())):
            for _ in range(10):
                vm, used, waited = halting(), [], []
                vm.start()
                threads = [threading.Thread(target=use, args=(vm, used)) for _ in range(3)]
                threads += [threading.Thread(target=wait, args=(vm, waited)) for _ in range(2)]
                for t in threads:
                    t.start()
                time.sleep(random.uniform(0.005, 0.02))
                close(vm)
                for t in threads:
                    t.join(30)
                self.assertEqual(used, [errno.EBADF] * 3)
                self.assertEqual(waited, [catnap.ExitReason.STOPPED] * 2)

    def test_closed_while_a_callback_uses_it(self):
        """That goes on as before: who closes it waits for it."""
        closing, said, seen = threading.Event(), threading.Event(), []

        def talk(data):
            said.set()
            closing.wait(30)
            time.sleep(0.2)
            seen.append(vm.stats().exits)

        vm = catnap.VM(ECHO, image_kind=FLAT, memory=2 * MIB, on_serial=talk)
        vm.start()
        vm.serial_input(b'a')
        self.assertTrue(said.wait(30))
        closing.set()
        vm.close()
        self.assertEqual(len(seen), 1)

    def test_closed_by_a_handler_of_signals(self):
        """It interrupts a call on the VM, by the same thread: that cannot be waited for."""
        with halting() as vm:
            vm.start()
            before = signal.signal(signal.SIGUSR1, lambda *_: vm.close())
            try:
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1)).start()
                with self.assertRaises(catnap.Error) as c:
                    vm.wait(30)
            finally:
                signal.signal(signal.SIGUSR1, before)
            self.assertEqual(c.exception.errno, errno.EDEADLK)
            self.assertEqual(vm.state, catnap.VmState.RUNNING)

    def test_interrupted(self):
        """Ctrl-C is heard by who waits."""
        with halting() as vm:
            vm.start()
            for timeout in (None, 30, float('inf'), 1e300):
                threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
                with self.assertRaises(KeyboardInterrupt):
                    vm.wait(timeout)
            with self.assertRaises(ValueError):
                vm.wait(float('nan'))

    def test_interrupted_at_any_step(self):
        """A program that is told to end twice, in the midst of closing its VMs, ends so, and not by a fault."""
        program = textwrap.dedent('''
            import asyncio, catnap
            async def one(vm):
                async with vm:
                    vm.start()
                    await vm.wait_async()
            async def main():
                vms = [catnap.VM(bytearray(b'\\xfa\\xf4\\xeb\\xfd'), image_kind=catnap.ImageKind.FLAT, memory=2 << 20) for _ in range(20)]
                tasks = [asyncio.create_task(one(vm)) for vm in vms]
                await asyncio.sleep(0)
                print('running', flush=True)
                await asyncio.gather(*tasks)
            asyncio.run(main())
        ''')
        for _ in range(12):
            with subprocess.Popen([sys.executable, '-c', program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                  env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1')) as p:
                self.assertEqual(p.stdout.readline(), 'running\n')
                time.sleep(0.1)
                p.send_signal(signal.SIGINT)
                time.sleep(random.choice((0, 0.0005, 0.002, 0.01, 0.03)))
                p.send_signal(signal.SIGINT)
                try:
                    said = p.communicate(timeout=5)[1]
                except subprocess.TimeoutExpired:
                    # A step of a task's that is interrupted so is lost to asyncio, which waits for that task.
                    p.kill()
                    continue
            self.assertEqual(p.returncode, -signal.SIGINT, said)

    def test_forked_while_others_use_it(self):
        """A child closes its copy, though threads were in calls that it does not have."""
        vm = halting()
        vm.start()
        waiting = threading.Thread(target=vm.wait)
        waiting.start()
        time.sleep(0.1)
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            vm.close()
            os._exit(0 if vm.closed else 1)
        self.assertEqual(os.waitpid(child, 0)[1], 0)
        self.assertEqual(vm.state, catnap.VmState.RUNNING)
        vm.close()
        waiting.join(30)

    def test_at_exit(self):
        """A program that forgets its VMs ends as if it had not."""
        program = textwrap.dedent('''
            import catnap, sys
            def said(data):
                pass
            vms = [catnap.VM(bytearray(b'\\xba\\xf8\\x03\\xee\\xeb\\xfd'), image_kind=catnap.ImageKind.FLAT, memory=2 << 20, on_serial=said)
                   for _ in range(4)]
            for vm in vms:
                vm.start()
            print('running')
        ''')
        p = subprocess.run([sys.executable, '-c', program], env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1'),
                           capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, 'running\n', ''))

    def test_asyncio(self):
        async def one():
            async with halting() as vm:
                vm.start()
                waiters = [asyncio.create_task(vm.wait_async()) for _ in range(3)]
                with self.assertRaises(catnap.Error) as c:
                    await vm.wait_async(0.05)
                self.assertEqual(c.exception.errno, errno.ETIMEDOUT)
                await vm.pause_async()
                self.assertEqual(vm.state, catnap.VmState.PAUSED)
                vm.resume()
                end = await vm.stop_async()
                self.assertEqual(end.reason, catnap.ExitReason.STOPPED)
                self.assertEqual([e.reason for e in await asyncio.gather(*waiters)], [end.reason] * 3)
                return [e.type.name async for e in vm.events()]

        fds, threads = at_rest()
        self.assertEqual(asyncio.run(one()), ['STARTED', 'PAUSED', 'RESUMED', 'ENDED'])
        self.assertEqual(at_rest(threads)[0], fds)

    def test_a_task_that_is_cancelled(self):
        async def one():
            async with halting() as vm:
                vm.start()
                task = asyncio.create_task(vm.wait_async())
                await asyncio.sleep(0.05)
                before = count('fd')
                task.cancel()
                with self.assertRaises(asyncio.CancelledError):
                    await task
                self.assertEqual(count('fd'), before - 1)

        asyncio.run(one())

    def test_fifty_in_one_program(self):
        """Each is watched by its own tasks, and talks; they end in any order."""
        async def one(n, kvm):
            said = asyncio.Queue()
            loop = asyncio.get_running_loop()
            seen = []
            async with catnap.VM(guest('serial'), cmdline='trigger=edge', memory=16 * MIB, name=f'vm{n}', no_rings=True,
                                 kvm_fd=kvm, debug_exit_port=0xf4,
                                 on_serial=lambda data: loop.call_soon_threadsafe(said.put_nowait, data)) as vm:
                async def watch():
                    async for event in vm.events():
                        seen.append(event.type)

                async def hear(text):
                    heard = b''
                    while text not in heard:
                        heard += await asyncio.wait_for(said.get(), 60)

                vm.start()
                watcher = asyncio.create_task(watch())
                await hear(b'ready\n')
                vm.serial_input(b'vm %d' % n)
                await hear(b'VM %d' % n)
                await asyncio.sleep(random.random() / 10)
                vm.serial_input(b'.')
                end = await vm.wait_async(60)
                await watcher
                self.assertEqual(seen, [catnap.EventType.STARTED, catnap.EventType.ENDED])
                return end.code

        async def all_of_them():
            kvm = os.open('/dev/kvm', os.O_RDWR | os.O_CLOEXEC)
            try:
                return await asyncio.gather(*(one(n, kvm) for n in range(50)))
            finally:
                os.close(kvm)

        fds, threads = at_rest()
        self.assertEqual(asyncio.run(all_of_them()), [0x21] * 50)
        self.assertEqual(at_rest(threads)[0], fds)

    def test_sandbox(self):
        """Callbacks run under the filter."""
        program = textwrap.dedent(f'''
            import catnap, sys
            said = []
            with catnap.VM({PROBE!r}, cmdline='workload=cpus cpus=1 exit=244', memory=32 << 20, debug_exit_port=0xf4,
                           sandbox=catnap.SandboxMode.ON, on_serial=said.append) as vm:
                vm.start()
                print(vm.wait(30).reason.name, len(said) >= 0)
        ''')
        p = subprocess.run([sys.executable, '-c', program], env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1'),
                           capture_output=True, text=True, check=False, timeout=60)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, 'DEBUG True\n', ''))

    def test_closed_in(self):
        """The process, and its own thread as well: no file is opened any more, and a call that no filter has ends it."""
        wanted = catnap.SandboxMeans.SECCOMP | catnap.SandboxMeans.LANDLOCK
        with tempfile.TemporaryDirectory() as temp:
            def run(end):
                program = textwrap.dedent(f'''
                    import catnap, os, sys
                    keeper = catnap.Keeper()
                    vm = catnap.VM({PROBE!r}, cmdline='workload=cpus cpus=1 exit=244', memory=32 << 20, debug_exit_port=0xf4,
                                   sandbox=catnap.SandboxMode.ON, keeper=keeper)
                    missing = catnap.enter_sandbox(write_dirs=[{temp!r}])
                    assert missing == {int(wanted)} & ~catnap.sandbox_available(), missing
                    open({temp!r} + '/made', 'w').close()
                    for path in ('/etc/passwd', '/tmp/not-there'):
                        try:
                            open(path, 'a')
                        except PermissionError:
                            os.write(1, b'refused ')
                    vm.start()
                    vm.sandbox_thread()
                    os.write(1, vm.wait(30).reason.name.encode())
                    vm.close()
                    keeper.close()
                    {end}
                ''')
                return subprocess.run([sys.executable, '-c', program], env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1'),
                                      capture_output=True, text=True, check=False, timeout=60)

            if catnap.sandbox_available() != wanted:
                self.skipTest('no seccomp, or no Landlock')
            p = run('os._exit(5)')
            self.assertEqual((p.returncode, p.stdout, p.stderr), (5, 'refused refused DEBUG', ''))
            self.assertEqual(os.listdir(temp), ['made'])
            p = run('os.mkdir("/tmp/not-there")')
            self.assertEqual((p.returncode, p.stdout), (-signal.SIGSYS, 'refused refused DEBUG'))

    def test_not_closed_in(self):
        """What is wrong is said with its name."""
        program = '''
import catnap
for more in ({'chroot_dir': '/nonexistent'}, {'mode': 7}):
    try:
        catnap.enter_sandbox(**more)
    except catnap.Error as e:
        print(e)
'''
        p = subprocess.run([sys.executable, '-c', program], env=dict(os.environ, PYTHONPATH=PACKAGE, PYTHONDONTWRITEBYTECODE='1'),
                           capture_output=True, text=True, check=False, timeout=60)
        self.assertRegex(p.stdout, r'^sandbox: chroot.*: No such file or directory\nsandbox: .*Invalid argument\n$')


if __name__ == '__main__':
    # Memory that is freed is to be seen as such.
    ctypes.CDLL(None).mallopt(-1, 0)
    unittest.main()
