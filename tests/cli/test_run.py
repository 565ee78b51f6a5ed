#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run as a person or a script sees it: what it refuses, how it ends, what it leaves behind.

    test_run.py CATNAP GUESTS [unittest options]

GUESTS is the folder of the test guests. Tests that need /dev/kvm are skipped without it.
"""

import bz2
import fcntl
import gzip
import lzma
import os
import pty
import resource
import select
import shutil
import signal
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import time
import unittest

CATNAP = GUESTS = ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
PASSED = 67
ENV = {**os.environ, "LC_ALL": "C"}


def guest(name):
    return os.path.join(GUESTS, name)


def vmm(*args):
    return [CATNAP, "run", *args]


def end(how, *args):
    """A guest that ends as @how says; never longer than 20 s."""
    return vmm(guest("end.elf"), "--debug-exit", "0xf4", "-m", "16M", "-c", f"how={how}", "--timeout", "20s", *args)


def elf64(machine=62, data=1, paddr=0x100000, memsz=4096, phentsize=56, kind=2):
    """An ELF file with one segment of 16 bytes, and no note."""
    head = b"\x7fELF" + bytes([2, data, 1]) + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", kind, machine, 1, 0x100000, 64, 0, 0, 64, phentsize, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 120, paddr, paddr, 16, memsz, 4096) + b"\xf4" * 16


def bzimage():
    """A Linux kernel as far as its header tells."""
    head = bytearray(1024)
    head[0x1f1] = 1
    struct.pack_into("<IH", head, 0x1f4, 128, 0)
    struct.pack_into("<HHIH", head, 0x1fe, 0xaa55, 0x6aeb, 0x53726448, 0x020f)
    head[0x211] = 1
    struct.pack_into("<I", head, 0x22c, 0x7fffffff)
    struct.pack_into("<IBBHI", head, 0x230, 0x200000, 1, 0, 1, 2047)
    struct.pack_into("<Q", head, 0x258, 16 << 20)
    struct.pack_into("<I", head, 0x260, 1 << 20)
    return bytes(head) + b"\xf4" * 2048


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.dir = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, self.dir)

    def file(self, name, data):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
        return path

    def refused(self, args, status, *words, before=None, **more):
        """One line on standard error that has @words, nothing on standard output, no file made."""
        had = sorted(os.listdir(self.dir))
        done = subprocess.run([*(before or []), *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=30, check=False, env=ENV, cwd=self.dir, **more)
        err = done.stderr.decode()
        self.assertEqual((done.returncode, done.stdout), (status, b""), err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("catnap run: "), err)
        for word in words:
            self.assertIn(word, err)
        self.assertEqual(sorted(os.listdir(self.dir)), had)
        return err


class Usage(Case):
    """Wrong values: status 2; the line names the option and says what was expected."""

    def wrong(self, *args, words=()):
        outputs = ["--stats", "stats", "--halt-trace", "trace", "--serial", "file=serial"]
        self.refused(vmm(guest("end.elf"), *args, *outputs), 2, *words)

    def test_options(self):
        self.refused(vmm(), 2, "--kernel")
        self.refused(vmm("--no-such-option", guest("end.elf")), 2, "--no-such-option")
        self.refused(vmm("-Z", guest("end.elf")), 2, "-Z")
        self.refused(vmm(guest("end.elf"), "another"), 2, "another")
        self.refused(vmm("-k", guest("end.elf"), guest("end.elf")), 2, "twice")
        self.refused(vmm(guest("end.elf"), "--memory"), 2, "--memory")

    def test_cpus(self):
        for value in ("0", "100000", "65", "-1", "1x", "", "2.5", "0x", "4294967297", "1,2", "n"):
            self.wrong("--cpus", value, words=["--cpus"])
        self.wrong("--cpus", "1,colour=red", words=["--cpus", "colour"])
        for value in ("x", "0-", "1-0", ":0", "0:", "9999", "1023"):
            self.wrong("--cpus", "1,affinity=" + value, words=["--cpus", "affinity"])

    def test_memory(self):
        for value in ("0", "1K", "1023K", "1048577", "1M1", "M", "-5M", "16Q", "99999999999999999999", "1.5G"):
            self.wrong("-m", value, words=["--memory"])
        with open("/proc/meminfo", encoding="ascii") as f:
            info = {line.split(":")[0]: int(line.split()[1]) for line in f if "kB" in line}
        more = (info["MemTotal"] + info["SwapTotal"]) // 1024 + 1
        self.wrong("-m", f"{more}M", words=["--memory", "host"])
        self.wrong("-m", "64T", words=["--memory"])

    def test_halt_poll(self):
        for value in ("policy=fast", "max=5s", "max=-1", "max=10x", "max=", "speed=1", "grow=x", "shrink=99999999999"):
            self.wrong("--halt-poll", value, words=["--halt-poll"])
        self.wrong("--halt-poll", "max=5s", words=["max", "expected"])
        self.wrong("--halt-poll", "vcpu=1,policy=off", words=["vcpu"])
        self.wrong("--halt-poll", "vcpu=64,policy=off", words=["vcpu"])

    def test_others(self):
        self.wrong("--irqchip", "split", words=["--irqchip", "split", "user"])
        self.wrong("--timeout", "0", words=["--timeout"])
        self.wrong("--timeout", "5 s", words=["--timeout"])
        self.wrong("--timeout", "99999999999999s", words=["--timeout"])
        self.wrong("--debug-exit", "65536", words=["--debug-exit"])
        self.wrong("--debug-exit", "x", words=["--debug-exit"])
        self.wrong("--kernel-format", "elf", words=["--kernel-format", "elf"])
        self.wrong("--log-level", "loud", words=["--log-level", "loud"])
        self.refused(vmm(guest("end.elf"), "--serial", "file="), 2, "--serial")
        self.refused(vmm(guest("end.elf"), "--serial", "pigeon"), 2, "--serial", "pigeon")
        self.refused(vmm(guest("end.elf"), "--irqchip", "kernel", "--halt-trace", "t"), 2, "--halt-trace")

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_net(self):
        for value, words in (
                ("tap=x,mac=01:00:00:00:00:00", ["mac", "multicast"]),
                ("tap=x,mac=02:00:00:00:00", ["mac", "02:00:00:00:00:01"]),
                ("tap=x,mac=02:00:00:00:00:001", ["mac"]),
                ("tap=x,mac=00:00:00:00:00:00", ["mac"]),
                ("tap=x,mac=02-00-00-00-00-01", ["mac"]),
                ("tap=x,queues=0", ["queues", "1 to 32"]),
                ("tap=x,queues=33", ["queues", "1 to 32"]),
                ("tap=x,mtu=67", ["mtu", "68 to 65535"]),
                ("mac=02:00:00:00:00:01", ["tap", "fd"]),
                ("tap=x,bridge=y", ["bridge", "tap=auto"]),
                ("tap=x,colour=y", ["colour", "unknown key"])):
            self.refused(vmm(guest("end.elf"), "--net", value), 2, "--net", *words)

    def test_vsock(self):
        for value, words in (
                ("cid=2,socket=v", ["cid", "3 to"]),
                ("cid=4294967295,socket=v", ["cid"]),
                ("cid=3", ["socket"]),
                ("socket=v", ["cid"])):
            self.refused(vmm(guest("end.elf"), "--vsock", value), 2, "--vsock", *words)

    def test_balloon_and_console(self):
        self.refused(vmm(guest("end.elf"), "--balloon", "1000"), 2, "--balloon", "4K")
        self.refused(vmm(guest("end.elf"), "--console", "tty"), 2, "--console", "pty")
        self.refused(vmm(guest("end.elf"), "--console", "stdio", "--serial", "stdio"), 2, "--console", "--serial")

    def test_debug_exit_taken(self):
        for port in ("0x3f8", "0x3ff", "0x3f5"):
            self.wrong("--debug-exit", port, words=["--debug-exit", port[2:]])


@unittest.skipUnless(KVM, "no /dev/kvm")
class Kernel(Case):
    """Files that are not a kernel: status 1, and the name is told."""

    def bad(self, path, *words):
        outputs = ["--stats", "stats", "--halt-trace", "trace", "--serial", "file=serial"]
        for irqchip in ("user", "kernel"):
            more = [o for o in outputs if irqchip == "user" or o not in ("--halt-trace", "trace")]
            self.refused(vmm(path, "-m", "16M", "--irqchip", irqchip, *more), 1, path, *words)

    def test_files(self):
        self.bad(os.path.join(self.dir, "none"), "No such file")
        self.bad(os.path.join(self.dir, "none/none"), "No such file")
        self.bad(self.file("empty", b""), "empty")
        self.bad(self.file("text", b"hello, world\n" * 100), "text")
        self.bad(self.file("zip.gz", gzip.compress(b"x" * 1000)), "gzip")
        self.bad(self.file("disk", b"QFI\xfb" + bytes(1000)), "qcow2")
        self.bad(self.file("bz", bytes(0x202) + b"HdrS" + bytes(1000)), "bzImage")
        self.bad(self.file("script", b"#!/bin/sh\n"), "script")
        self.bad(self.dir, "directory")
        self.bad("/dev/null", "regular")
        os.mkfifo(os.path.join(self.dir, "fifo"))
        self.bad(os.path.join(self.dir, "fifo"), "regular")
        self.refused(vmm(self.file("large", b"\xf4" * (17 << 20)), "-m", "16M", "--kernel-format", "flat"),
                     1, "large", "does not fit")

    def test_auto_is_never_flat(self):
        """A file that nobody knows is refused, with the option that would run it; one that has a name, by that."""
        for name, content, words in (
                ("random", b"\xf4" + bytes(range(128, 256)) * 32, ["--kernel-format flat"]),
                ("zeros", bytes(400000), ["--kernel-format flat"]),
                ("byte", b"\xf4", ["--kernel-format flat"]),
                ("arm64", bytes(56) + b"ARM\x64" + bytes(400000), ["arm64"]),
                ("riscv", bytes(56) + b"RSC\x05" + bytes(400000), ["RISC-V"]),
                ("iso", bytes(32769) + b"CD001" + bytes(400000), ["ISO 9660"]),
                ("mbr", b"\xfa" + bytes(509) + b"\x55\xaa" + bytes(400000), ["MBR"]),
                ("ext4", bytes(1080) + b"\x53\xef" + bytes(400000), ["ext4"]),
                ("lzma", lzma.compress(bytes(5000), lzma.FORMAT_ALONE), ["lzma", "unpack"]),
                ("xz", lzma.compress(bytes(5000)), ["an xz file", "unpack"]),
                ("bz2", bz2.compress(bytes(5000)), ["bzip2", "unpack"]),
                ("vmdk", b"KDMV\1\0\0\0" + bytes(400000), ["VMDK"]),
                ("initramfs", b"0707010000" + bytes(5000), ["cpio", "initramfs"])):
            with self.subTest(name):
                self.bad(self.file(name, content), *words)
        self.refused(vmm(self.file("flat", b"\xf4"), "-m", "16M", "--kernel-format", "flat", "--timeout", "100ms"), 124)

    def test_initramfs(self):
        """A kernel or a script is none, for Linux."""
        kernel = self.file("bzimage", bzimage())
        self.refused(vmm(kernel, "-m", "64M", "-i", kernel), 1, "initramfs", "a Linux bzImage", "exchanged")
        self.refused(vmm(kernel, "-m", "64M", "-i", self.file("sh", b"#!/bin/sh\n")), 1, "initramfs", "a script")

    def test_elf(self):
        self.bad(self.file("arm", elf64(machine=183)), "another machine")
        self.bad(self.file("big", elf64(data=2)), "another machine")
        self.bad(self.file("object", elf64(kind=1)), "executable")
        self.bad(self.file("far", elf64(paddr=16 << 20)), "outside guest memory")
        self.bad(self.file("hole", elf64(paddr=0xd0000000)), "outside guest memory")
        self.bad(self.file("over", elf64(paddr=0xffffff00, memsz=512)), "outside guest memory")
        self.bad(self.file("wrap", elf64(paddr=2**64 - 4096, memsz=8192)), "outside guest memory")
        self.bad(self.file("huge", elf64(memsz=2**63)), "outside guest memory")
        self.bad(self.file("small", elf64(memsz=15)), "larger in the file")
        self.bad(self.file("headers", elf64(phentsize=55)), "program headers")
        self.bad(self.file("plain", elf64()), "PVH", "Multiboot")
        with open(guest("pvh.elf"), "rb") as f:
            good = f.read()
        for n in (1, 10, 63, 64, 100, 4096, 5000):
            self.bad(self.file("cut", good[:n]), "ELF")
        self.refused(vmm(self.file("good", good), "--kernel-format", "multiboot"), 1, "Multiboot")
        self.refused(vmm(guest("multiboot.elf"), "--kernel-format", "pvh"), 1, "PVH")

    def test_timeout_counts_loading(self):
        """Over before the guest could be started: it is not, and leaves no word."""
        self.refused(vmm(guest("pvh.elf"), "-m", "16M", "--timeout", "1us"), 124, "--timeout")

    def test_timers(self):
        """A vCPU's timer is there before the guest is, or nothing is started."""
        def no_signals():
            resource.setrlimit(resource.RLIMIT_SIGPENDING, (0, 0))
        for irqchip in ("user", "kernel"):
            # pylint: disable=subprocess-popen-preexec-fn
            self.refused(end("poweroff", "--irqchip", irqchip), 1, "timer of vCPU 0", "ulimit -i", preexec_fn=no_signals)

    def test_not_readable(self):
        path = self.file("secret", elf64())
        os.chmod(path, 0)
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            # Root reads it all the same; others have no /dev/kvm, perhaps.
            self.skipTest("root")
        self.bad(path, "Permission denied")

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_devices(self):
        """Of the host's, that are not there or not what they should be."""
        self.file("taken", b"")
        for args, words in (
                (["--net", "tap=nosuchtap"], ["nosuchtap", "no such interface"]),
                (["--net", "tap=lo"], ["lo", "TAP" if os.access("/dev/net/tun", os.W_OK) else "/dev/net/tun"]),
                (["--vsock", "cid=3,socket=taken"], ["taken"]),
                (["--vsock", "cid=3,socket=no/such"], ["No such file"]),
                (["--console", "file=no/such"], ["--console: no/such"]),
                (["--snapshots", "no/such"], ["--snapshots: no/such: No such file"]),
                (["--snapshots", "taken", "--sandbox", "off"], ["--snapshots: taken: Not a directory"]),
                (["--hotplug", "taken"], ["--hotplug: taken: Not a directory"])):
            self.refused(vmm(guest("end.elf"), *args), 1, args[0], *words)
        for args, words in ((["--net", "tap=" + 16 * "x"], "tap: "), (["--vsock", "cid=3,socket=" + 97 * "x"], "socket: ")):
            self.refused(vmm(guest("end.elf"), *args), 2, f"{args[0]}: {words}", "too long: expected at most")

    def test_long_name(self):
        # One line, though it does not all fit.
        path = os.path.join(self.dir, "x" * 200)
        with open(path, "wb") as f:
            f.write(b"text\n")
        self.refused(vmm(path), 1, "xxx", "text")


@unittest.skipUnless(KVM, "no /dev/kvm")
class Host(Case):
    def test_outputs(self):
        for option in ("--stats", "--halt-trace", "--log-file"):
            for path in ("/none/none", self.dir):
                self.refused(end("byte", option, path), 1, option, path)
        self.refused(end("byte", "--serial", "file=/none/none"), 1, "--serial", "/none/none")
        # Nothing of the others is left behind; and what was there is as it was.
        self.refused(end("byte", "--halt-trace", "trace", "--stats", "/none/none"), 1, "--stats")
        self.refused(end("byte", "--halt-trace", "trace", "--serial", "file=serial", "--stats", "/none/none"), 1,
                     "--stats")

    def test_outputs_kept(self):
        for name in ("trace", "serial", "stats"):
            self.file(name, b"precious")
        outputs = ["--halt-trace", "trace", "--serial", "file=serial", "--stats", "stats"]
        self.refused(vmm("/none", *outputs), 1, "/none")
        self.refused(end("byte", *outputs[:4], "--stats", "/none/none"), 1, "--stats")
        for name in ("trace", "serial", "stats"):
            with open(os.path.join(self.dir, name), "rb") as f:
                self.assertEqual(f.read(), b"precious")
        # A run replaces it.
        done = subprocess.run(end("later", *outputs), cwd=self.dir, env=ENV, timeout=30, check=False,
                              stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, PASSED)
        for name, begin in (("trace", b"halt_ns"), ("serial", b"a line"), ("stats", b"{")):
            with open(os.path.join(self.dir, name), "rb") as f:
                self.assertTrue(f.read().startswith(begin), name)

    def namespace(self, script):
        if os.geteuid() or not shutil.which("unshare"):
            self.skipTest("needs root and unshare(1)")
        return ["unshare", "-m", "sh", "-c", script + ' && exec "$@"', "sh"]

    def test_no_kvm(self):
        absent = self.namespace("mount -t tmpfs none /dev")
        self.refused(end("byte", "--halt-trace", "trace"), 1, "/dev/kvm", "not there", before=absent)

    def test_not_kvm(self):
        other = self.namespace("mount --bind /dev/null /dev/kvm")
        self.refused(end("byte"), 1, "/dev/kvm", before=other)
        regular = self.namespace(f"touch {self.dir}/kvm && mount --bind {self.dir}/kvm /dev/kvm")
        self.file("kvm", b"")
        self.refused(end("byte"), 1, "/dev/kvm", before=regular)

    def test_permission(self):
        if os.geteuid() or not shutil.which("setpriv"):
            self.skipTest("needs root and setpriv(1)")
        if os.stat("/dev/kvm").st_mode & stat.S_IRWXO:
            self.skipTest("anybody may use /dev/kvm")
        # Where the nobody can read them.
        folder = tempfile.mkdtemp(dir="/tmp")
        self.addCleanup(shutil.rmtree, folder)
        os.chmod(folder, 0o755)
        for path in (CATNAP, guest("end.elf")):
            shutil.copy(path, folder)
        exe = os.path.join(folder, os.path.basename(CATNAP))
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        os.chmod(self.dir, 0o755)
        self.refused([exe, "run", os.path.join(folder, "end.elf")], 1, "/dev/kvm", "ermission", before=nobody)

    def test_no_threads(self):
        # So many threads are not to be had: refused, and the VM is taken apart again.
        if os.geteuid() or not shutil.which("prlimit"):
            self.skipTest("needs root and prlimit(1)")
        limit = ["prlimit", "--nofile=20", "--"]
        self.refused(end("byte", "--cpus", "64"), 1, before=limit)


class Run(Case):
    """A VM that runs, and everything that it started."""

    def start(self, args, **more):
        more.setdefault("stdin", subprocess.DEVNULL)
        more.setdefault("stdout", subprocess.PIPE)
        more.setdefault("stderr", subprocess.PIPE)
        # pylint: disable=consider-using-with
        p = subprocess.Popen(args, start_new_session=True, env=ENV, cwd=self.dir, **more)
        self.addCleanup(self.kill, p)
        return p

    @staticmethod
    def kill(p):
        if p.poll() is None:
            p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            if f:
                try:
                    f.close()
                except OSError:
                    pass

    def ends(self, p, status, within=5.0):
        """Nothing is left of it, no thread and no child."""
        begin = time.monotonic()
        try:
            got = p.wait(within)
        except subprocess.TimeoutExpired:
            self.fail(f"still there after {within} s")
        if got != status:
            self.fail(f"status {got}, expected {status}: {p.stderr.read().decode() if p.stderr else ''}")
        took = time.monotonic() - begin
        self.assertFalse(os.path.exists(f"/proc/{p.pid}/task"))
        # A sudden end is seen by what tidies up after it, which then ends as well.
        while status < 0 and time.monotonic() < begin + within:
            try:
                os.killpg(p.pid, 0)
            except ProcessLookupError:
                break
            time.sleep(0.01)
        with self.assertRaises(ProcessLookupError):
            os.killpg(p.pid, 0)
        return took

    @staticmethod
    def until(stream, text):
        seen = b""
        while not seen.endswith(text):
            c = stream.read(1)
            if not c:
                raise AssertionError(seen)
            seen += c
        return seen


@unittest.skipUnless(KVM, "no /dev/kvm")
class Ends(Run):
    def test_signals_that_a_shell_ignores(self):
        """As in the background of a script."""
        def ignore():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGQUIT, signal.SIG_IGN)
        for sig in (signal.SIGINT, signal.SIGQUIT):
            p = self.start(end("halt"), preexec_fn=ignore, bufsize=0)
            self.until(p.stdout, b"halting\n")
            p.send_signal(sig)
            self.ends(p, 128 + sig)

    def test_signals(self):
        for irqchip in ("user", "kernel"):
            for how, word in (("spin", b"spinning\n"), ("halt", b"halting\n")):
                for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
                    p = self.start(end(how, "--irqchip", irqchip, "--cpus", "2", "--stats", "stats"), bufsize=0)
                    self.until(p.stdout, word)
                    p.send_signal(sig)
                    self.ends(p, 128 + sig)
                    self.assertEqual(p.stderr.read(), b"")
                    # It said at the end what it had to say.
                    self.assertTrue(os.path.getsize(os.path.join(self.dir, "stats")) > 100)

    def test_nohup(self):
        p = self.start(["nohup", *end("spin")], bufsize=0)
        self.until(p.stdout, b"spinning\n")
        p.send_signal(signal.SIGHUP)
        time.sleep(0.2)
        self.assertIsNone(p.poll())
        p.send_signal(signal.SIGTERM)
        self.ends(p, 128 + signal.SIGTERM)

    def test_timeout(self):
        for irqchip in ("user", "kernel"):
            begin = time.monotonic()
            p = self.start(vmm(guest("end.elf"), "-c", "how=spin", "--timeout", "250ms", "--irqchip", irqchip))
            self.ends(p, 124)
            self.assertGreaterEqual(time.monotonic() - begin, 0.25)
            self.assertEqual(p.stderr.read().count(b"\n"), 1)

    def test_input_end(self):
        # The end of the input is not the end of the VM, and is no reason to spin.
        p = self.start(end("halt"), bufsize=0)
        self.until(p.stdout, b"halting\n")
        time.sleep(0.5)
        self.assertIsNone(p.poll())
        with open(f"/proc/{p.pid}/stat", encoding="ascii") as f:
            ticks = sum(int(n) for n in f.read().split()[13:15])
        self.assertLess(ticks / os.sysconf("SC_CLK_TCK"), 0.4)
        p.terminate()
        self.ends(p, 143)

    def test_input_before_end(self):
        # Bytes that were sent before the end arrive; Ctrl-A in a pipe is the guest's.
        p = self.start(end("echo"), stdin=subprocess.PIPE, bufsize=0)
        self.until(p.stdout, b"ready\n")
        p.stdin.write(b"hello\x01x\x01h" + bytes(range(128, 256)) + b".")
        p.stdin.close()
        self.ends(p, PASSED)
        self.assertEqual(p.stdout.read(), b"hello\x01x\x01h" + bytes(range(128, 256)) + b"ok\n")

    def test_closed_output(self):
        # Nobody reads its output any more: lost, and the guest goes on to its end.
        p = self.start(end("later"), bufsize=0)
        self.until(p.stdout, b"output\n")
        p.stdout.close()
        self.ends(p, PASSED)
        self.assertEqual(p.stderr.read(), b"")

    def blocked(self, sig, limit):
        """Returns what a guest that goes on printing got out to one who does not read. Ended by @sig, or by @limit."""
        out, pipe = os.pipe()
        try:
            fcntl.fcntl(pipe, fcntl.F_SETPIPE_SZ, 8192)
            p = self.start(vmm(guest("end.elf"), "-c", "how=print", "--timeout", limit), stdout=pipe)
            os.close(pipe)
            if sig:
                self.wait_for_full(out, p)
                p.send_signal(sig)
            self.ends(p, 128 + sig if sig else 124, within=5.0 if sig else 30.0)
            return os.read(out, 8192)
        finally:
            os.close(out)

    def wait_for_full(self, out, p):
        """Until there is something in the pipe, and no more comes."""
        there, before = 0, 0
        while not there or there != before:
            self.assertIsNone(p.poll())
            before = there
            time.sleep(0.3)
            there = int.from_bytes(fcntl.ioctl(out, termios.FIONREAD, bytes(4)), "little")

    def test_blocked_output(self):
        # Nobody reads, but somebody might: the guest waits; a signal and --timeout end it all the same.
        first = b"0123456789" * 6 + b"0\n0123456789"  # of what the guest sends: there is room for that
        for sig in (signal.SIGTERM, signal.SIGINT):
            self.assertTrue(self.blocked(sig, "20s").startswith(first))
        # On a busy host the guest may not have begun by then.
        for limit in ("700ms", "3s", "10s"):
            said = self.blocked(None, limit)
            if said:
                break
        self.assertTrue(said.startswith(first))

    def test_closed_descriptors(self):
        # Started without standard input, output, error: what it opens itself is not taken for them.
        trace = os.path.join(self.dir, "trace")
        cmd = end("later", "--halt-trace", trace)
        done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *cmd], timeout=30, check=False, env=ENV)
        self.assertEqual(done.returncode, PASSED)
        with open(trace, encoding="ascii") as f:
            self.assertNotIn("output", f.read())
        # stats to a standard output that is not there
        done = subprocess.run(["sh", "-c", 'exec "$@" <&- >&-', "sh", *end("byte")], timeout=30, check=False,
                              stderr=subprocess.PIPE, env=ENV)
        self.assertEqual((done.returncode, done.stderr), (1, b""))

    def test_serial_file(self):
        p = self.start(end("later", "--serial", "file=serial"))
        self.ends(p, PASSED)
        self.assertEqual(p.stdout.read(), b"")
        with open(os.path.join(self.dir, "serial"), "rb") as f:
            self.assertEqual(f.read(), b"a line of output\n" * 100 + b"ok\n")
        p = self.start(end("later", "--serial", "null"))
        self.ends(p, PASSED)
        self.assertEqual(p.stdout.read(), b"")

    def test_stats_full(self):
        # Statistics that cannot be written are told.
        if not os.path.exists("/dev/full"):
            self.skipTest("no /dev/full")
        p = self.start(end("byte", "--stats", "/dev/full"))
        self.ends(p, 1)
        self.assertIn(b"--stats", p.stderr.read())


class OnTerminal(Run):
    """With a terminal of its own."""

    def setUp(self):
        super().setUp()
        self.master, self.slave = pty.openpty()
        self.addCleanup(os.close, self.master)
        self.addCleanup(os.close, self.slave)
        # Unlike any default, so that restoring a default would be seen.
        mode = termios.tcgetattr(self.slave)
        mode[0] |= termios.IXOFF
        mode[3] &= ~termios.ECHOE
        mode[6][termios.VINTR] = b"\x0b"
        termios.tcsetattr(self.slave, termios.TCSANOW, mode)
        self.before = termios.tcgetattr(self.slave)
        self.seen = b""

    def on_terminal(self, args, **more):
        slave = self.slave

        def control():
            # The session of its own that Popen makes has this terminal.
            os.setsid()
            fcntl.ioctl(slave, termios.TIOCSCTTY, 0)

        # pylint: disable=consider-using-with,subprocess-popen-preexec-fn
        p = subprocess.Popen(args, stdin=slave, stdout=slave, stderr=more.get("stderr", slave), env=ENV,
                             cwd=self.dir, preexec_fn=control)
        self.addCleanup(self.kill, p)
        return p

    def wait_for(self, text, within=10):
        until = time.monotonic() + within
        while text not in self.seen:
            ready, _, _ = select.select([self.master], [], [], max(0, until - time.monotonic()))
            self.assertTrue(ready, self.seen)
            self.seen += os.read(self.master, 4096)

    def drain(self):
        while select.select([self.master], [], [], 0.05)[0]:
            self.seen += os.read(self.master, 4096)

    def restored(self, p, status):
        self.ends(p, status)
        self.assertEqual(termios.tcgetattr(self.slave), self.before)
        self.drain()


@unittest.skipUnless(KVM, "no /dev/kvm")
class Terminal(OnTerminal):
    """On a terminal: raw while it runs, and as it was afterwards, however it ends."""

    def is_raw(self):
        mode = termios.tcgetattr(self.slave)
        self.assertFalse(mode[3] & (termios.ICANON | termios.ECHO | termios.ISIG))

    def test_guest_ends(self):
        for how, status in (("byte", 1), ("cf9", 32), ("triple", 33), ("later", PASSED)):
            self.restored(self.on_terminal(end(how)), status)
            if how == "triple":
                # Its lines begin at the left.
                self.assertIn(b"\r\nrip ", self.seen)

    def test_signals_and_timeout(self):
        for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
            p = self.on_terminal(end("spin"))
            self.wait_for(b"spinning\r\n")
            self.is_raw()
            self.seen = b""
            p.send_signal(sig)
            self.restored(p, 128 + sig)
        p = self.on_terminal(vmm(guest("end.elf"), "-c", "how=spin", "--timeout", "300ms"))
        self.restored(p, 124)

    def test_keys(self):
        p = self.on_terminal(end("echo"))
        self.wait_for(b"ready\r\n")
        self.is_raw()
        # Ctrl-C is the guest's; Ctrl-A Ctrl-A is a Ctrl-A; another key after Ctrl-A is lost.
        os.write(self.master, b"a\x03b\x01\x01c\x01qd")
        self.wait_for(b"a\x03b\x01cd")
        os.write(self.master, b"\x01h")
        self.wait_for(b"Ctrl-A x")
        self.wait_for(b"help\r\n")
        os.write(self.master, b"\x01")
        time.sleep(0.1)
        os.write(self.master, b"x")
        self.restored(p, 0)

    def test_end_by_guest_after_input(self):
        p = self.on_terminal(end("echo"))
        self.wait_for(b"ready\r\n")
        os.write(self.master, b"xyz.")
        self.restored(p, PASSED)
        self.assertIn(b"xyzok\r\n", self.seen)

    def test_failed_start(self):
        for args, status in ((end("byte", "--cpus", "0"), 2), (vmm("/none"), 1),
                             (end("byte", "--stats", "/none/none"), 1),
                             (end("byte", "--debug-exit", "0x3f8"), None)):
            p = self.on_terminal(args)
            if status:
                self.restored(p, status)
            p.wait()
            self.assertEqual(termios.tcgetattr(self.slave), self.before)

    def test_stopped_output(self):
        # Ctrl-S was pressed in another program: the terminal takes nothing, and the end comes all the same.
        p = self.on_terminal(end("print"), stderr=subprocess.DEVNULL)
        self.wait_for(b"0123456789")
        termios.tcflow(self.slave, termios.TCOOFF)
        time.sleep(0.3)
        p.terminate()
        try:
            self.restored(p, 143)
        finally:
            termios.tcflow(self.slave, termios.TCOON)


def main(module="__main__"):
    global CATNAP, GUESTS
    if len(sys.argv) < 3:
        sys.exit("arguments: CATNAP GUESTS [unittest options]")
    CATNAP, GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    # Under nohup, too: a signal that is ignored would be ignored by what we start, one with a handler is not.
    signal.signal(signal.SIGHUP, lambda *_: None)
    program = unittest.main(module, argv=[sys.argv[0], *sys.argv[3:]], exit=False)
    if not program.result.wasSuccessful():
        sys.exit(1)
    if not KVM:
        print("skipped in part: no /dev/kvm", file=sys.stderr)
        sys.exit(77)


if __name__ == "__main__":
    main()
