#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What an ordinary user has of the host, whose one right is to open /dev/kvm; with the sandbox. Root becomes such a user.
test_user.py CATNAP IMAGES"""

import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import unsaid

CATNAP, IMAGES = (os.path.abspath(p) for p in sys.argv[1:3])
del sys.argv[1:3]
PASSED = 67
USER, GROUP, KVM_GROUP = 61234, 61234, 61235
DAEMON, IMG = shutil.which("qemu-storage-daemon"), shutil.which("qemu-img")
VIRTIOFSD = next((p for p in ("/usr/libexec/virtiofsd", "/usr/lib/virtiofsd", "/usr/lib/qemu/virtiofsd",
                              shutil.which("virtiofsd")) if p and os.access(p, os.X_OK)), None)
# A /dev/kvm of our own, which the group may open, in name spaces of our own: the host's stays as it is.
ROOM = """set -e
mount -t tmpfs -o mode=755 tmpfs "$0"
mknod -m 660 "$0/kvm" c $(stat -c "0x%t 0x%T" /dev/kvm)
chgrp {group} "$0/kvm"
mount --bind "$0/kvm" /dev/kvm
exec setpriv --reuid {user} --regid {own} --groups {group} --inh-caps=-all --bounding-set=-all --no-new-privs "$@"
""".format(group=KVM_GROUP, user=USER, own=GROUP)


def as_user(room, *command):
    """Returns the command by which an ordinary user runs another; @room: an empty folder."""
    return [*(("unshare", "-m", "sh", "-c", ROOM, room) if os.geteuid() == 0 else ()), *command]


def possible():
    if not os.path.exists("/dev/kvm"):
        return False
    with tempfile.TemporaryDirectory() as room:
        try:
            return subprocess.run(as_user(room, "sh", "-c", "exec 3<>/dev/kvm"), capture_output=True, check=False).returncode == 0
        except OSError:
            return False


@unittest.skipUnless(possible(), "no /dev/kvm, or no ordinary user who may open it")
class User(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        os.chmod(folder.name, 0o755)
        self.room, self.dir = (os.path.join(folder.name, n) for n in ("room", "dir"))
        os.mkdir(self.room)
        os.mkdir(self.dir)
        # The tree may be where nobody else can look.
        self.catnap = shutil.copy(CATNAP, folder.name)
        self.images = folder.name
        self.own(self.dir)

    def own(self, path):
        if os.geteuid() == 0:
            os.chown(path, USER, GROUP)

    def file(self, name, data=b"", size=0):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(data)
            if size:
                f.truncate(size)
        self.own(path)
        return path

    def run_catnap(self, guest, *args, cmdline="", memory="16M"):
        image = shutil.copy(os.path.join(IMAGES, guest), self.images)
        p = subprocess.run(as_user(self.room, self.catnap, "run", image, "--transport", "mmio", "--rng", "off", "-m", memory,
                                   "--debug-exit", "0xf4", "--timeout", "50s", "--sandbox", "on", "-c", cmdline, *args),
                           capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=80, cwd="/")
        p.stderr = unsaid(p.stderr)
        return p

    def passes(self, *args, **how):
        p = self.run_catnap(*args, **how)
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        return p

    def test_rights(self):
        """The user of these tests has none."""
        p = subprocess.run(as_user(self.room, "cat", "/proc/self/status"), capture_output=True, text=True, check=True, cwd="/")
        self.assertRegex(p.stdout, r"(?m)^CapPrm:\t0+$")
        self.assertRegex(p.stdout, r"(?m)^CapEff:\t0+$")
        self.assertNotRegex(p.stdout, r"(?m)^Uid:.*\b0\b")

    @unittest.skipUnless(shutil.which("passt"), "no passt")
    def test_passt(self):
        p = self.run_catnap("net.elf", "--net", "passt", cmdline="ask=1")
        if "default route" in p.stderr or "external interface" in p.stderr:
            self.skipTest("passt finds no network here")
        self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
        self.assertIn("answered", p.stdout)

    def test_tap(self):
        p = self.run_catnap("net.elf", "--net", "tap=auto", cmdline="ask=1")
        self.assertEqual((p.returncode, p.stderr.count("\n")), (1, 1), p.stderr)
        self.assertIn("passt", p.stderr)

    @unittest.skipUnless(DAEMON and IMG, "no qemu-storage-daemon, or no qemu-img")
    def test_storage(self):
        """An image with a backing file, by a daemon of the same user."""
        base, image, where = self.file("base", size=1 << 20), os.path.join(self.dir, "image"), os.path.join(self.dir, "socket")
        subprocess.run(as_user(self.room, IMG, "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, image), check=True, cwd="/")
        with subprocess.Popen(as_user(self.room, DAEMON, "--blockdev", f"driver=file,node-name=file,filename={image}", "--blockdev",
                                      "driver=qcow2,node-name=disk,file=file", "--export",
                                      "type=vhost-user-blk,id=e,node-name=disk,writable=on,addr.type=unix,addr.path=" + where),
                              stdin=subprocess.DEVNULL, cwd="/") as daemon:
            self.addCleanup(daemon.kill)
            until = time.monotonic() + 30
            while not os.path.exists(where):
                self.assertLess(time.monotonic(), until)
                self.assertIsNone(daemon.poll())
                time.sleep(0.01)
            for irqchip in ("user", "kernel"):
                self.passes("blk.elf", "-d", "vhost-user=" + where, "--irqchip", irqchip, cmdline="only_transfer=1")
            daemon.terminate()
        raw = os.path.join(self.dir, "raw")
        subprocess.run([IMG, "convert", "-O", "raw", image, raw], check=True)
        with open(raw, "rb") as f:
            self.assertEqual(f.read(64 * 4096),
                             b"".join(struct.pack("<512Q", *(b << 32 | i << 8 | 0x5a for i in range(512))) for b in range(64)))
        with open(base, "rb") as f:
            self.assertEqual(f.read(), bytes(1 << 20))

    @unittest.skipUnless(VIRTIOFSD, "no virtiofsd")
    def test_folder(self):
        self.file("hello", b"from the host\n")
        p = self.run_catnap("fs.elf", "--fs", f"tag=files,path={self.dir}")
        if "/qemu/" not in VIRTIOFSD:
            self.assertEqual(p.returncode, PASSED, p.stdout + p.stderr)
            return
        self.assertEqual(p.returncode, 1, p.stderr)
        self.assertEqual(p.stderr.count("catnap run:"), 1, p.stderr)
        self.assertIn("--fs: path: virtiofsd has ended before it served the folder: Debian 12's has to be started by root", p.stderr)
        self.assertEqual(os.listdir(self.dir), ["hello"])

    def test_memory_that_grows(self):
        self.passes("mem.elf", memory="16M,max=48M,plug=12M")

    def test_pmem(self):
        old = b"".join(struct.pack("<Q", i + 1) + bytes(4088) for i in range(512))
        path = self.file("pmem", old)
        for readonly in ("on", "off"):
            self.passes("pmem.elf", "--pmem", f"path={path},readonly={readonly}", cmdline=f"pages=512 readonly={int(readonly == 'on')}")
            with open(path, "rb") as f:
                self.assertEqual(f.read() == old, readonly == "on")


if __name__ == "__main__":
    unittest.main()
