#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Devices whose back end is another process: qemu-storage-daemon's disk, one that goes and comes back, and one that does
each thing wrong. test_vhost.py CATNAP IMAGES"""

import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import unittest

from filtered import unsaid

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
BACK = os.path.join(os.path.dirname(os.path.abspath(__file__)), "vhost_back.py")
DAEMON = shutil.which("qemu-storage-daemon")
SIZE = 1 << 20
PASSED = 67
KILLS = 4


def written(blocks):
    """Returns what the guest writes to its first blocks."""
    return b"".join(struct.pack("<512Q", *(b << 32 | i << 8 | 0x5a for i in range(512))) for b in range(blocks))


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.socket = os.path.join(self.dir, "s")
        self.image = os.path.join(self.dir, "image")
        with open(self.image, "wb") as f:
            f.truncate(SIZE)

    def begin(self, *args):
        """A process that makes the socket anew."""
        if os.path.exists(self.socket):
            os.unlink(self.socket)
        p = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        for _ in range(2000):
            if os.path.exists(self.socket):
                return p
            time.sleep(0.005)
        raise TimeoutError(args)

    def daemon(self, driver="file", path=None, queues=1):
        nodes = ["--blockdev", f"driver=file,node-name=file,filename={path or self.image}"]
        if driver != "file":
            nodes += ["--blockdev", f"driver={driver},node-name=top,file=file"]
        return self.begin(DAEMON, *nodes, "--export",
                          f"type=vhost-user-blk,id=e,node-name={'file' if driver == 'file' else 'top'},writable=on,"
                          f"addr.type=unix,addr.path={self.socket},num-queues={queues}")

    def back(self, **options):
        return self.begin(sys.executable, BACK, self.socket, self.image, *(f"{k}={v}" for k, v in options.items()))

    def args(self, *args, disk="", cmdline="only_transfer=1", mmio=True, timeout="40s", memory="16M"):
        return [CATNAP, "run", os.path.join(IMAGES, "blk.elf"), *(("--transport", "mmio") if mmio else ()), "--rng", "off", "-m",
                memory, "--debug-exit", "0xf4", "--timeout", timeout, "-c", cmdline, "-d", f"vhost-user={self.socket}{disk}", *args]

    def run_catnap(self, *args, **how):
        p = subprocess.run(self.args(*args, **how), capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=60)
        p.stderr = unsaid(p.stderr)
        return p

    def passes(self, *args, **how):
        p = self.run_catnap(*args, **how)
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        return p

    def refused(self, status, *args, words, **how):
        began = time.monotonic()
        p = self.run_catnap(*args, **how)
        self.assertEqual((p.returncode, p.stdout), (status, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        for word in words:
            self.assertIn(word, p.stderr)
        self.assertLess(time.monotonic() - began, 20)


class Usage(Case):
    def test_usage(self):
        for key in ("readonly=on", "direct=on", "path=a", "id=x", "bw=1M", "format=raw", "lock=off"):
            self.refused(2, disk="," + key, words=["--disk", key.split("=", maxsplit=1)[0], "vhost-user"])
        self.refused(2, disk=",queues=17", words=["queues"])
        self.refused(2, disk=",reconnect=maybe", words=["reconnect", "on", "off"])
        for option in ("-d", "-n"):
            name = {"-d": "--disk", "-n": "--net"}[option]
            for value in ("fd=", "fd=x", "fd=2", "fd=-1"):
                self.refused(2, option, f"vhost-user={value}", words=[f"{name}: vhost-user", "no descriptor"])
            self.refused(2, option, "vhost-user=fd=999", words=[name, "999", "not open"])
            self.refused(2, option, "vhost-user=fd=9,reconnect=off", words=[f"{name}: reconnect"])
        self.refused(2, "-d", "a,reconnect=off", words=["reconnect", "without vhost-user"])
        self.refused(2, "-n", "vhost-user=a,tap=b", words=["--net", "tap", "vhost-user"])
        self.refused(2, "-n", "vhost-user=a,queues=33", words=["--net", "queues", "1 to 32"])
        self.refused(2, memory="16M,shared=off", words=["--memory", "shared", "expected on"])
        self.refused(2, "--fs", "socket=a", words=["--fs", "tag"])
        self.refused(2, "--fs", "tag=a", words=["--fs", "socket"])
        for option, keys in (("--fs", "tag=a"), ("--vhost", "type=4")):
            for value in ("fd=x", "fd=2", "fd=-1"):
                self.refused(2, option, f"{keys},{value}", words=[f"{option}: fd"])
            self.refused(2, option, f"{keys},fd=999", words=[option, "999", "not open"])
            self.refused(2, option, f"{keys},fd=9,reconnect=off", words=[f"{option}: reconnect"])
            self.refused(2, option, f"{keys},fd=9,socket=a", words=[f"{option}: has several back ends"])
            self.refused(2, option, f"{keys},queues=1", words=[option, "socket", "fd"])
        self.refused(2, "--fs", "tag=" + "x" * 37 + ",socket=a", words=["--fs", "tag", "36"])
        self.refused(2, "--vhost", "type=2,socket=a", words=["--vhost", "type", "--disk vhost-user"])
        self.refused(2, "--vhost", "type=70000,socket=a", words=["--vhost", "type"])
        self.refused(2, "--vhost", "type=4", words=["--vhost", "socket"])
        self.refused(2, "--vhost", "type=4,socket=a,config=257", words=["--vhost", "config", "256"])

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_nobody(self):
        self.refused(1, words=["--disk", self.socket, "No such file", "a back end that listens"])
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.socket)
            self.refused(1, words=["--disk", self.socket, "Connection refused"])
            s.listen(1)
            self.refused(1, words=["--disk", self.socket, "does not answer"])

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_somebody_else(self):
        """The listener there knows nothing of the protocol."""
        for says, words in ((b"HTTP/1.1 400 Bad Request\r\n\r\n", "not those of vhost-user"), (b"", "has closed the connection")):
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(self.socket)
                s.listen(1)

                def answer(s=s, says=says):
                    c, _ = s.accept()
                    with c:
                        c.recv(12)
                        c.sendall(says)

                t = threading.Thread(target=answer)
                t.start()
                self.refused(1, words=["--disk", words])
                t.join()
            os.unlink(self.socket)


@unittest.skipUnless(KVM, "no /dev/kvm")
class Disk(Case):
    def holds(self, image=None):
        with open(image or self.image, "rb") as f:
            self.assertEqual(f.read(64 * 4096), written(64))

    def test_serves(self):
        """With the sandbox; by each who may wait for it; by KVM's doorbells, and its own."""
        self.back()
        for irqchip, io, how in (("user", "vcpu", "hlt"), ("user", "thread", "spin"), ("kernel", "vcpu", "spin"),
                                 ("kernel", "thread", "hlt")):
            with open(self.image, "wb") as f:
                f.truncate(SIZE)
            self.passes("--irqchip", irqchip, "--io", io, "--sandbox", "on", "--cpus", "2", cmdline=f"only_transfer=1 how={how}")
            self.holds()

    def test_given(self):
        """A connection that was made before: it is used, and is the device's alone."""
        self.back()
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            given = [a if not a.startswith("vhost-user=") else f"vhost-user=fd={s.fileno()}" for a in self.args("--sandbox", "on")]
            p = subprocess.run(given, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
                               pass_fds=[s.fileno()])
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.holds()
        with open(self.image, "rb") as f:
            p = subprocess.run([a if not a.startswith("vhost-user=") else f"vhost-user=fd={f.fileno()}" for a in self.args()],
                               capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60,
                               pass_fds=[f.fileno()])
        self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)

    def test_snapshot(self):
        """Its state is in another process: a snapshot is refused, by its name, and the VM goes on."""
        self.back()
        api = os.path.join(self.dir, "api")
        with subprocess.Popen(self.args("--api-socket", api, "--snapshots", self.dir, "--track-dirty", "on",
                                        cmdline="only_transfer=1 reads=10"),
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            self.addCleanup(p.kill)
            while not os.path.exists(api):
                time.sleep(0.01)
            done = subprocess.run([CATNAP, "ctl", api, "snapshot", os.path.join(self.dir, "snap")], capture_output=True,
                                  text=True, check=False, timeout=60)
            self.assertEqual((done.returncode, done.stdout, done.stderr.count("\n")), (1, "", 1), done.stderr)
            self.assertIn("its back end is in another process, whose state is not known", done.stderr)
            self.assertRegex(done.stderr, "(blk|disk|vhost)")
            self.assertFalse(os.path.exists(os.path.join(self.dir, "snap")))
            _, err = p.communicate(timeout=60)
            self.assertEqual(p.returncode, PASSED, err)

    @unittest.skipUnless(DAEMON, "no qemu-storage-daemon")
    def test_daemon(self):
        self.daemon(queues=2)
        for irqchip in ("user", "kernel"):
            self.passes("--irqchip", irqchip)
        self.holds()

    @unittest.skipUnless(DAEMON and shutil.which("qemu-img"), "no qemu-storage-daemon, or no qemu-img")
    def test_qcow2(self):
        image = os.path.join(self.dir, "image.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image, image], check=True)
        p = self.daemon("qcow2", image)
        self.passes()
        p.terminate()
        p.wait()
        raw = os.path.join(self.dir, "raw")
        subprocess.run(["qemu-img", "convert", "-O", "raw", image, raw], check=True)
        self.holds(raw)
        with open(self.image, "rb") as f:
            self.assertEqual(f.read(), bytes(SIZE))

    def begun(self, vm, before):
        """Waits until the guest has written to its disk, so that it has one, and is at work."""
        until = time.monotonic() + 60
        while os.stat(self.image).st_mtime_ns == before and vm.poll() is None:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)

    def killed(self, begin, rounds):
        """A verifying load comes to its end, whenever its back end dies."""
        p, kills, before = begin(), 0, os.stat(self.image).st_mtime_ns
        with subprocess.Popen(self.args("--sandbox", "on", timeout="200s", cmdline=f"only_transfer=1 rounds={rounds}"), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as vm:
            self.begun(vm, before)
            # On a busy host it would not come to its end if its back end died for ever.
            while kills < KILLS:
                try:
                    # The first ones early: a fast host is soon done.
                    vm.wait(0.3 + 0.05 * (kills % 3) if kills > 1 else 0.05)
                    break
                except subprocess.TimeoutExpired:
                    p.kill()
                    p.wait()
                    p = begin()
                    kills += 1
            out, err = vm.communicate()
        self.assertEqual(vm.returncode, PASSED, f"after {kills}: {out}{err}")
        self.assertGreater(kills, 1)
        self.assertIn("its back end has gone", err)
        self.assertIn("it has a back end again", err)
        self.assertNotIn("has to reset it", err)

    def test_comes_back(self):
        self.killed(self.back, 10)
        self.holds()

    @unittest.skipUnless(DAEMON, "no qemu-storage-daemon")
    def test_daemon_comes_back(self):
        self.killed(self.daemon, 3)
        self.holds()

    @unittest.skipUnless(DAEMON and shutil.which("qemu-img"), "no qemu-storage-daemon, or no qemu-img")
    def test_daemon_comes_back_with_an_image(self):
        """Where its clusters are is in the daemon's memory until it is written: none that is in use is lost."""
        base, self.image = self.image, os.path.join(self.dir, "image.qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, "-o", "cluster_size=512", self.image],
                       check=True)
        self.killed(lambda: self.daemon("qcow2", self.image), 3)
        raw = os.path.join(self.dir, "raw")
        subprocess.run(["qemu-img", "convert", "-U", "-O", "raw", self.image, raw], check=True)
        self.holds(raw)

    def test_serve(self):
        """A drive of Firecracker's API."""
        self.back()
        config = {"boot-source": {"kernel_image_path": os.path.join(IMAGES, "end.elf"), "boot_args": "how=halt"},
                  "machine-config": {"vcpu_count": 1, "mem_size_mib": 16},
                  "drives": [{"drive_id": "d", "is_root_device": False, "socket": self.socket}]}
        path, api = os.path.join(self.dir, "config.json"), os.path.join(self.dir, "api")
        with open(path, "w", encoding="utf-8") as f:
            json.dump(config, f)
        with subprocess.Popen([CATNAP, "serve", "--api-sock", api, "--config-file", path], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as p:
            for _ in range(1000):
                if os.path.exists(api) or p.poll() is not None:
                    break
                time.sleep(0.01)
            time.sleep(0.2)
            self.assertIsNone(p.poll())
            status = subprocess.run([CATNAP, "ctl", api, "status"], capture_output=True, text=True, check=False, timeout=30)
            self.assertEqual(status.returncode, 0, status.stderr)
            p.terminate()
            _, err = p.communicate(timeout=30)
        self.assertNotIn("error", err.lower())

    def test_does_not_come_back(self):
        p, before = self.back(), os.stat(self.image).st_mtime_ns
        with subprocess.Popen(self.args(disk=",reconnect=off", cmdline="only_transfer=1 rounds=1000000"), text=True,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as vm:
            self.begun(vm, before)
            p.kill()
            p.wait()
            time.sleep(0.5)
            self.assertIsNone(vm.poll())
            vm.send_signal(signal.SIGTERM)
            _, err = vm.communicate(timeout=30)
        self.assertIn("the guest's driver has to reset it: its back end has gone", err)

    def messages(self, *args, wrap=()):
        """A guest with MSI-X, whose vectors are masked and moved."""
        self.back(entropy=1)
        return subprocess.run([*wrap, CATNAP, "run", os.path.join(IMAGES, "foreign.elf"), "--rng", "off", "-m", "16M",
                               "--debug-exit", "0xf4", "--timeout", "60s", *args], capture_output=True, text=True, check=False,
                              stdin=subprocess.DEVNULL, timeout=90)

    def test_messages(self):
        for irqchip, io, reconnect in (("user", "vcpu", "off"), ("kernel", "vcpu", "off"), ("kernel", "thread", "off"),
                                       ("kernel", "vcpu", "on")):
            p = self.messages("--irqchip", irqchip, "--io", io, "--sandbox", "on", "-c", f"how=msix irqchip={irqchip}",
                              "--vhost", f"type=4,socket={self.socket},reconnect={reconnect}")
            self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    def test_calls_stay_in_the_kernel(self):
        """With irqchip kernel, where nothing is to be learned from them; and not while they are pending."""
        for irqchip, reconnect, taken in (("kernel", "off", True), ("kernel", "on", False), ("user", "off", False)):
            log = os.path.join(self.dir, "calls")
            p = self.messages("--irqchip", irqchip, "--sandbox", "off", "-c", f"how=msix irqchip={irqchip}", "--vhost",
                              f"type=4,socket={self.socket},reconnect={reconnect}",
                              wrap=("strace", "-f", "-o", log, "-e", "trace=ioctl", "-e", "signal=none"))
            self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
            with open(log, encoding="utf-8", errors="replace") as f:
                calls = [line for line in f if "KVM_IRQFD" in line]
            self.assertEqual(bool(calls), taken)
            for line in calls:
                self.assertRegex(line, r"= 0$|resumed|unfinished")

    def test_pci(self):
        """A device of any type on PCI, which nobody there uses; the guest finds it, and goes on."""
        self.back()
        p = self.run_catnap(mmio=False, cmdline="how=none")
        self.assertNotEqual(p.returncode, 1, p.stderr)


VIRTIOFSD = next((p for p in ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd",
                              shutil.which("virtiofsd")) if p and os.access(p, os.X_OK)), None)


class Folder(Case):
    def setUp(self):
        super().setUp()
        self.folder = os.path.join(self.dir, "folder")
        os.mkdir(self.folder)
        with open(os.path.join(self.folder, "hello"), "w", encoding="ascii") as f:
            f.write("from the host\n")

    def run_fs(self, keys, *args, cmdline="", **how):
        p = subprocess.run([CATNAP, "run", os.path.join(IMAGES, "fs.elf"), "--transport", "mmio", "--rng", "off", "-m", "16M",
                            "--debug-exit", "0xf4", "--timeout", "40s", "-c", cmdline, "--fs", f"tag=files,{keys}", *args],
                           capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60, **how)
        p.stderr = unsaid(p.stderr)
        return p

    def helpers(self):
        """Programs that serve the folder."""
        return subprocess.run(["pgrep", "-f", self.folder], capture_output=True, text=True, check=False).stdout.split()

    def made(self):
        path = os.path.join(self.folder, "made")
        if not os.path.exists(path):
            return None
        with open(path, encoding="ascii") as f:
            return f.read()

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0, "no /dev/kvm, no virtiofsd, or not root")
    def test_serves(self):
        for irqchip in ("user", "kernel"):
            p = self.run_fs(f"path={self.folder}", "--irqchip", irqchip, "--sandbox", "on")
            self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
            self.assertIn("tag files", p.stdout)
            self.assertEqual(self.made(), "from the guest\n")
            self.assertEqual(self.helpers(), [])
            os.unlink(os.path.join(self.folder, "made"))

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0, "no /dev/kvm, no virtiofsd, or not root")
    def test_same_tag(self):
        p = self.run_fs(f"path={self.folder}", "--fs", f"tag=files,path={self.dir}")
        self.assertEqual((p.returncode, p.stdout, p.stderr.splitlines()[0]),
                         (2, "", 'catnap run: --fs: tag: "files" is another folder\'s: expected one of its own'))
        self.assertEqual(self.helpers(), [])

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0, "no /dev/kvm, no virtiofsd, or not root")
    def test_given(self):
        """A connection to a virtiofsd that somebody else has started."""
        where = os.path.join(self.dir, "fs")
        with subprocess.Popen([VIRTIOFSD, "--socket-path=" + where, "-o", "source=" + self.folder], stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as daemon:
            try:
                for _ in range(500):
                    if os.path.exists(where):
                        break
                    time.sleep(0.02)
                with socket.socket(socket.AF_UNIX) as s:
                    s.connect(where)
                    p = self.run_fs(f"fd={s.fileno()}", "--sandbox", "on", pass_fds=[s.fileno()])
            finally:
                daemon.kill()
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.assertEqual(self.made(), "from the guest\n")

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0, "no /dev/kvm, no virtiofsd, or not root")
    def test_readonly(self):
        p = self.run_fs(f"path={self.folder},readonly=on,cache=none", cmdline="readonly=1")
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.assertIsNone(self.made())

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0, "no /dev/kvm, no virtiofsd, or not root")
    def test_killed(self):
        """It ends with the VM, whatever becomes of that; and nothing is left in /tmp."""
        before = set(os.listdir("/tmp"))
        with subprocess.Popen([CATNAP, "run", os.path.join(IMAGES, "end.elf"), "-m", "16M", "-c", "how=halt", "--fs",
                               f"tag=files,path={self.folder}"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as vm:
            vm.stdout.read(1)
            self.assertNotEqual(self.helpers(), [])
            vm.kill()
        for _ in range(200):
            if not self.helpers():
                break
            time.sleep(0.02)
        self.assertEqual(self.helpers(), [])
        self.assertFalse([n for n in set(os.listdir("/tmp")) - before if n.startswith("catnap-") and len(n) == 13])

    @unittest.skipUnless(KVM and VIRTIOFSD and os.geteuid() == 0 and shutil.which("passt"), "no /dev/kvm, virtiofsd or passt, or not root")
    def test_as_many_as_can_be(self):
        """Each device that may have a program of its own has one, and none is left."""
        more = [o for i in range(10) for o in ("--fs", f"tag=more{i},path={self.folder}")]
        for folders, status in ((7, 124), (10, 1)):
            p = subprocess.run([CATNAP, "run", os.path.join(IMAGES, "halt_off.elf"), "-m", "16M", "--rng", "off", "--timeout", "1s",
                                *more[:2 * folders], *["--net", "passt"] * 8], capture_output=True, text=True, check=False,
                               stdin=subprocess.DEVNULL, timeout=60)
            if "default route" in p.stderr or "external interface" in p.stderr:
                self.skipTest("passt finds no network here")
            self.assertEqual(p.returncode, status, p.stdout + p.stderr)
        self.assertIn("there are 16 devices, which is the most\n", p.stderr)
        for _ in range(100):
            if not self.helpers():
                return
            time.sleep(0.05)
        self.fail(self.helpers())

    @unittest.skipUnless(KVM, "no /dev/kvm")
    def test_refused(self):
        for keys, word in ((f"path={self.folder}/none", "No such file"), (f"path={self.folder}/hello", "is no folder")):
            p = self.run_fs(keys)
            self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
            self.assertIn("--fs: path: ", p.stderr)
            self.assertIn(word, p.stderr)
        if VIRTIOFSD == shutil.which("virtiofsd"):
            p = self.run_fs(f"path={self.folder}", env={"PATH": "/nonexistent"})
            self.assertEqual(p.returncode, 1)
            self.assertIn("there is no virtiofsd: expected the package", p.stderr)

    def test_usage(self):
        for keys, word in (("path=a,socket=b", "has several back ends"), ("readonly=on", "has no back end"), ("fd=9,cache=none", "cache"), ("path=a,fd=9", "has several"), ("path=a,queues=2", "queues"),
                           ("path=a,reconnect=off", "reconnect"), ("socket=a,readonly=on", "readonly"),
                           ("socket=a,cache=none", "cache"), ("path=a,cache=some", "auto"), ('path="a,b"', "comma")):
            p = self.run_fs(keys)
            self.assertEqual((p.returncode, p.stderr.count("\n")), (2, 1), keys + p.stderr)
            self.assertIn("--fs: ", p.stderr)
            self.assertIn(word, p.stderr)
        p = self.run_fs("path=a", "--fs", "tag=other,path=b", "--fs", "tag=files,path=b")
        self.assertEqual((p.returncode, p.stderr), (2, 'catnap run: --fs: tag: "files" is another folder\'s: expected one of its own\n'))


@unittest.skipUnless(KVM, "no /dev/kvm")
class Hostile(Case):
    def ends(self, fault, at, reconnect):
        self.back(fault=fault, at=at)
        began = time.monotonic()
        p = self.run_catnap(timeout="2s", disk="" if reconnect else ",reconnect=off")
        self.assertIn(p.returncode, (1, PASSED, 69, 124), f"{fault} at {at}: {p.stdout} {p.stderr}")
        self.assertLess(time.monotonic() - began, 15, f"{fault} at {at}")
        return p.returncode

    def test_steps(self):
        """Some of what is wrong, at some steps; all of it at each is in tests/unit/test_vhost.c."""
        for fault in ("close", "other", "huge", "fds", "talk"):
            for at in (1, 14):
                with self.subTest(fault, at=at):
                    self.ends(fault, at, False)

    def test_late(self):
        self.assertEqual(self.ends("late", 2, False), 1)

    def test_rings(self):
        """Its changes of the rings are between it and the guest, and calls without end leave the VM usable."""
        for fault in ("used", "flood"):
            self.back(fault=fault)
            p = self.run_catnap(timeout="2s")
            self.assertIn(p.returncode, (124, 69, PASSED), fault + p.stderr)


if __name__ == "__main__":
    unittest.main()
