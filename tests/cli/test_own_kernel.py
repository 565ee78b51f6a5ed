#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A disk's own kernel: images with partitions, file systems and boot loaders' files as they are in use, started without
--kernel; images that are made to mislead; and a reader that has been taken over. test_own_kernel.py CATNAP IMAGES HOSTILE PROBE"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

from filtered import unsaid

CATNAP, IMAGES, HOSTILE, PROBE = (os.path.abspath(p) for p in sys.argv[1:5])
del sys.argv[1:5]
os.environ["PATH"] += ":/usr/sbin:/sbin"
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
READER = shutil.which("grub-fstest")
TOOLS = all(shutil.which(t) for t in ("grub-fstest", "sfdisk", "mkfs.ext4"))
ROOT = os.geteuid() == 0
PASSED = 67
MIB = 1 << 20
INITRD = bytes(random.Random(1).randbytes(3001))

GRUB = """
if [ -s $prefix/grubenv ]; then
  load_env
fi
set default="${saved_entry}"
menuentry_id_option="--id"
menuentry 'Debian GNU/Linux' --class debian $menuentry_id_option 'gnulinux-simple' {
	search --no-floppy --fs-uuid --set=root 1234
	linux	/vmlinuz root=UUID=1234 ro  quiet
	initrd	/initrd.img
}
submenu 'Advanced options' $menuentry_id_option 'gnulinux-advanced' {
	menuentry 'Linux 6.1.0-13' $menuentry_id_option 'gnulinux-13' {
		linux	/boot/vmlinuz-6.1.0-13 root=UUID=1234 ro console=tty0 console=ttyS0,115200
	}
	menuentry 'Two' { linux /boot/vmlinuz-6.1.0-13 two
		initrd /boot/a /boot/b
	}
	menuentry 'Lost' {
		linux	/boot/vmlinuz-none
	}
	menuentry 'No initramfs' {
		linux	/boot/vmlinuz-6.1.0-13
		initrd	/boot/none
	}
	menuentry 'Loop' {
		linux	/loop1
	}
	menuentry 'Folder' {
		linux	/boot
	}
	menuentry 'Empty' {
		linux	/boot/a0
	}
	menuentry 'Text' {
		linux	/boot/grub/grub.cfg
	}
	menuentry 'Huge' {
		linux	/boot/huge
	}
	menuentry 'Up' {
		linux	/../../../../../../../../etc/passwd
	}
}
menuentry 'Firmware' {
	fwsetup
}
"""


def total(data):
    value = 0
    for byte in data:
        value = (value * 31 + byte) & 0xffffffff
    return value


def tool(*args):
    subprocess.run(args, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL)


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = folder.name
        self.disk = os.path.join(self.dir, "disk")

    def tree(self, files, name="tree"):
        """A folder with files: text, bytes, a link's target as (target,), or a length, of which almost all is a hole."""
        top = os.path.join(self.dir, name)
        for path, content in files.items():
            path = os.path.join(top, path)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            if isinstance(content, tuple):
                os.symlink(content[0], path)
                continue
            with open(path, "wb") as f:
                if isinstance(content, int):
                    f.write(b"x")
                    f.truncate(content)
                else:
                    f.write(content.encode() if isinstance(content, str) else content)
        return top

    def ext4(self, files, size=16 * MIB, path=None):
        path = path or self.disk
        top = self.tree(files, os.path.basename(path) + ".tree")
        with open(path, "wb") as f:
            f.truncate(size)
        tool("mkfs.ext4", "-q", "-F", "-d", top, path)
        shutil.rmtree(top)
        return path

    def partitions(self, *volumes, label="gpt"):
        """A disk with a partition table, and these images in it."""
        offset = MIB
        script = f"label: {label}\n"
        for path in volumes:
            script += f"start={offset // 512},size={os.path.getsize(path) // 512}\n"
            offset += os.path.getsize(path)
        with open(self.disk, "wb") as f:
            f.truncate(offset + MIB)
        subprocess.run(["sfdisk", "-q", self.disk], input=script, text=True, check=True, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL)
        offset = MIB
        with open(self.disk, "r+b") as f:
            for path in volumes:
                f.seek(offset)
                with open(path, "rb") as v:
                    shutil.copyfileobj(v, f)
                offset += os.path.getsize(path)

    def debian(self, **more):
        with open(os.path.join(IMAGES, "own.elf"), "rb") as f:
            kernel = f.read()
        return {"boot/vmlinuz-6.1.0-13": kernel, "boot/initrd.img-6.1.0-13": INITRD, "vmlinuz": ("boot/vmlinuz-6.1.0-13",),
                "initrd.img": ("/boot/initrd.img-6.1.0-13",), "boot/a": b"abcde", "boot/b": b"fgh", "boot/a0": b"",
                "loop1": ("loop2",), "loop2": ("loop1",), "boot/grub/grub.cfg": GRUB, **more}

    def catnap(self, *args, disk=None, limit="60s", pass_fds=(), before=()):
        p = subprocess.run([*before, CATNAP, "run", "-d", disk or self.disk, "-m", "32M", "--debug-exit", "0xf4", "--rng", "off",
                            "--timeout", limit, *args], capture_output=True, check=False, stdin=subprocess.DEVNULL,
                           timeout=120, pass_fds=pass_fds)
        p.stdout, p.stderr = p.stdout.decode(errors="replace"), unsaid(p.stderr.decode(errors="replace"))
        return p

    def starts(self, *args, cmdline, module=None, **how):
        p = self.catnap(*args, **how)
        self.assertEqual((p.returncode, p.stderr), (PASSED, ""), p.stdout)
        lines = p.stdout.splitlines()
        self.assertEqual(lines[0].split("cpuidle_haltpoll")[0].strip(), f"cmdline {cmdline}".strip())
        self.assertEqual(lines[1:2] if module else [], [f"module {len(module)} {total(module)}"] if module else [], p.stdout)

    def refused(self, *args, words, status=1, **how):
        p = self.catnap(*args, **how)
        self.assertEqual((p.returncode, p.stdout), (status, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        self.assertTrue(p.stderr.startswith("catnap run: "), p.stderr)
        for word in words:
            self.assertIn(word, p.stderr)
        return p.stderr


class Usage(Case):
    def test_usage(self):
        self.refused("-k", "x", "--boot-entry", "0", status=2, words=["--boot-entry", "--kernel"])
        self.refused("-k", "x", "--list-boot-entries", status=2, words=["--list-boot-entries", "--kernel"])
        self.refused("--restore", "x", "--boot-entry", "0", status=2, words=["--boot-entry", "--restore"])
        p = subprocess.run([CATNAP, "run", "--boot-entry", "0"], capture_output=True, text=True, check=False)
        self.assertEqual((p.returncode, p.stderr.count("\n")), (2, 1), p.stderr)
        self.assertIn("--boot-entry: there is no disk: expected --disk PATH", p.stderr)
        self.refused(disk="vhost-user=/none", status=2, words=["--disk", "vhost-user", "--kernel PATH"])

    @unittest.skipUnless(READER, "no grub-fstest")
    def test_no_disk(self):
        self.refused(words=["--disk", self.disk, "No such file"])
        self.refused(disk="/dev/null", words=["--disk", "is no disk image"])
        self.refused(disk=self.dir, words=["--disk", "is no disk image"])
        with open(self.disk, "wb") as f:
            f.write(b"QFI\xfb" + bytes(MIB - 4))
        self.refused(words=["--disk", "qcow2", "--kernel PATH"])
        self.refused(disk=self.disk + ",format=raw", words=["--disk", "no file system"])


@unittest.skipUnless(TOOLS, "no grub-fstest, sfdisk or mkfs.ext4")
class Reading(Case):
    def test_list(self):
        self.ext4(self.debian())
        p = self.catnap("--list-boot-entries")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("* 0     Debian GNU/Linux\n        kernel     /vmlinuz\n        initramfs  /initrd.img\n"
                      "        cmdline    root=UUID=1234 ro quiet\n", p.stdout)
        self.assertIn("  1>0   Linux 6.1.0-13\n", p.stdout)
        self.assertIn("  2     Firmware\n        starts something else than Linux\n", p.stdout)

    def test_failures(self):
        """A line for each thing that an entry or a disk lacks."""
        self.ext4(self.debian(**{"boot/huge": 300 * MIB}), size=24 * MIB)
        for entry, words in (("Lost", ["/boot/vmlinuz-none", "not found"]), ("No initramfs", ["/boot/none", "not found"]),
                             ("Loop", ["/loop1", "symlink"]), ("Folder", ["/boot: ", "regular file"]),
                             ("Empty", ["/boot/a0", "is empty"]), ("Firmware", ["Firmware", "--boot-entry"]),
                             ("Huge", ["/boot/huge", "too large"]), ("Up", ["/etc/passwd", "not found"])):
            self.refused("--boot-entry", entry, words=["--disk", self.disk, *words])
        self.refused("--boot-entry", "1>77\x1b", words=["--boot-entry", "1>77\\x1b", "/boot/grub/grub.cfg", "--list-boot-entries"])
        with open(self.disk, "wb") as f:
            f.truncate(MIB)
        self.refused(words=["no file system", "--kernel PATH"])
        self.ext4({"etc/passwd": "x"})
        self.refused(words=["no boot entries", "--kernel PATH"])
        self.ext4({"EFI/BOOT/BOOTX64.EFI": "x"})
        self.refused(words=["EFI firmware only", "--kernel PATH"])
        self.ext4({"boot/grub/grub.cfg": "set timeout=5\n"})
        self.refused(words=["no boot entries"])
        self.ext4({"boot/grub/grub.cfg": "#\n" * 3000000}, size=32 * MIB)
        self.refused(words=["/boot/grub/grub.cfg", "too large"])
        luks = os.path.join(self.dir, "luks")
        with open(luks, "wb") as f:
            f.write(b"LUKS\xba\xbe\x00\x02" + bytes(4 * MIB - 8))
        self.partitions(luks)
        self.refused(words=["is encrypted (LUKS)"])

    def test_damaged(self):
        """Whatever is overwritten or cut off, there is an end, and one line."""
        self.ext4(self.debian())
        with open(self.disk, "rb") as f:
            whole = f.read()
        r = random.Random(7)
        for i in range(16):
            data = bytearray(whole)
            for _ in range(1 << i % 8):
                at = r.randrange(1024, 400000)
                data[at:at + 4] = r.randbytes(4)
            with open(self.disk, "wb") as f:
                f.write(data[:r.randrange(4096, len(data))] if i % 3 == 0 else data)
            p = self.catnap("--list-boot-entries")
            self.assertIn(p.returncode, (0, 1), p.stderr)
            self.assertEqual(p.stderr.count("\n"), p.returncode, p.stderr)

    def test_many_lines(self):
        """As many as may be read, and what they define is there."""
        self.ext4(self.debian(**{"boot/grub/grub.cfg": "x=1;\n" * 800000 + "menuentry last {\nlinux /k\n}\n"}), size=32 * MIB)
        p = self.catnap("--list-boot-entries")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertIn("* 0     last\n", p.stdout)

    def test_terminal(self):
        """A title has no say over the terminal that it is shown on."""
        self.ext4(self.debian(**{"boot/grub/grub.cfg": "menuentry '\x1b[31m\x9b\x07x' {\nlinux /k\x1b c\n}\n"}))
        p = self.catnap("--list-boot-entries")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertFalse([c for c in p.stdout if ord(c) < 32 and c != "\n"], p.stdout)

    @unittest.skipUnless(ROOT and shutil.which("setpriv"), "not root")
    def test_ordinary_user(self):
        """An image of one's own; another's is refused by the one who opens it."""
        self.ext4(self.debian())
        user = ["setpriv", "--reuid", "65533", "--regid", "65533", "--clear-groups"]
        os.chmod(self.dir, 0o711)
        os.chown(self.disk, 65533, 65533)
        os.chmod(self.disk, 0o600)
        p = self.catnap("--list-boot-entries", before=user)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        os.chown(self.disk, 0, 0)
        self.refused("--list-boot-entries", before=user, words=["Permission denied"])

    def test_config(self):
        """The options are in documents, but for the one that only shows."""
        p = self.catnap("--boot-entry", "1>0", "--print-config")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(json.loads(p.stdout)["boot-entry"], "1>0")
        self.assertNotIn("list-boot", p.stdout)


@unittest.skipUnless(TOOLS and KVM, "no /dev/kvm, grub-fstest, sfdisk or mkfs.ext4")
class Starting(Case):
    def test_debian(self):
        """A partition table, the root file system behind another partition; the default, and others by each name."""
        esp = self.ext4({"EFI/BOOT/BOOTX64.EFI": "x"}, size=4 * MIB, path=os.path.join(self.dir, "esp"))
        root = self.ext4(self.debian(), path=os.path.join(self.dir, "root"))
        for label in ("gpt", "dos"):
            self.partitions(esp, root, label=label)
            self.starts(cmdline="root=UUID=1234 ro quiet console=ttyS0", module=INITRD)
        for entry in ("1>0", "Linux 6.1.0-13", "gnulinux-13", "Advanced options>Linux 6.1.0-13", "gnulinux-advanced>gnulinux-13"):
            self.starts("--boot-entry", entry, cmdline="root=UUID=1234 ro console=tty0 console=ttyS0,115200")
        self.starts("--boot-entry", "Two", cmdline="two console=ttyS0", module=b"abcde\0\0\0fgh")
        self.starts("-c", "own", cmdline="own", module=INITRD)
        mine = os.path.join(self.dir, "mine")
        with open(mine, "wb") as f:
            f.write(b"mine")
        self.starts("-i", mine, cmdline="root=UUID=1234 ro quiet console=ttyS0", module=b"mine")
        self.refused("--boot-entry", "Text", words=["kernel"])
        p = self.catnap("-v")
        self.assertIn('boot entry "Debian GNU/Linux": (loop0,msdos2)/vmlinuz', p.stderr)

    def test_descriptor(self):
        self.ext4(self.debian())
        fd = os.open(self.disk, os.O_RDWR)
        self.addCleanup(os.close, fd)
        self.starts(disk=f"fd={fd}", pass_fds=[fd], cmdline="root=UUID=1234 ro quiet console=ttyS0", module=INITRD)
        os.unlink(self.disk)
        self.refused(disk=f"fd={fd}", pass_fds=[fd], words=[f"fd={fd}", "name", "--kernel PATH"])

    def test_readonly(self):
        """Nothing is written to the image, also where GRUB would."""
        self.ext4(self.debian(**{"boot/grub/grubenv": "# GRUB Environment Block\nsaved_entry=gnulinux-advanced>gnulinux-13\n#####"}))
        with open(self.disk, "rb") as f:
            before = f.read()
        self.starts(disk=self.disk + ",readonly=on", cmdline="root=UUID=1234 ro console=tty0 console=ttyS0,115200")
        with open(self.disk, "rb") as f:
            self.assertEqual(f.read(), before)

    def test_separate_boot(self):
        """/boot is a file system of its own, and BLS entries lie there; as Fedora has it."""
        with open(os.path.join(IMAGES, "own.elf"), "rb") as f:
            kernel = f.read()
        entry = "title Fedora {0}\nlinux /vmlinuz-{0}\ninitrd /initramfs-{0}\noptions root=UUID=1 ver={0} $tuned_params\n"
        boot = self.ext4({"vmlinuz-6.5.6": kernel, "initramfs-6.5.6": b"old", "vmlinuz-6.10.1": kernel, "initramfs-6.10.1": b"new",
                          "loader/entries/m-6.5.6.conf": entry.format("6.5.6"), "loader/entries/m-6.10.1.conf": entry.format("6.10.1"),
                          "grub2/grub.cfg": 'set default="${saved_entry}"\ninsmod blscfg\nblscfg\n'},
                         path=os.path.join(self.dir, "boot"))
        root = self.ext4({"etc/fstab": "x", "boot/.keep": ""}, path=os.path.join(self.dir, "root"))
        self.partitions(boot, root)
        self.starts(cmdline="root=UUID=1 ver=6.10.1 console=ttyS0", module=b"new")
        self.starts("--boot-entry", "m-6.5.6", cmdline="root=UUID=1 ver=6.5.6 console=ttyS0", module=b"old")

    def test_other_places(self):
        """systemd-boot's entries, extlinux.conf, and a kernel on another volume than its entry."""
        with open(os.path.join(IMAGES, "own.elf"), "rb") as f:
            kernel = f.read()
        self.ext4({"loader/entries/a.conf": "linux /k\noptions sd\n", "loader/entries/b.conf": "linux /none\n",
                   "loader/loader.conf": "default a.conf\n", "k": kernel})
        self.starts(cmdline="sd console=ttyS0")
        self.ext4({"boot/extlinux/extlinux.conf": "DEFAULT l\nLABEL l\n KERNEL ../k\n INITRD /boot/i\n APPEND ext\n", "boot/k": kernel,
                   "boot/i": b"i"})
        self.starts(cmdline="ext console=ttyS0", module=b"i")
        one = self.ext4({"grub/grub.cfg": "menuentry a {\nlinux (hd0,gpt2)/k far\ninitrd (hd0,gpt2)/i\n}\n"}, size=4 * MIB,
                        path=os.path.join(self.dir, "one"))
        two = self.ext4({"k": kernel, "i": b"far"}, size=4 * MIB, path=os.path.join(self.dir, "two"))
        self.partitions(one, two)
        self.starts(cmdline="far console=ttyS0", module=b"far")

    @unittest.skipUnless(shutil.which("mkfs.btrfs"), "no mkfs.btrfs")
    def test_btrfs(self):
        top = self.tree(self.debian(), "btrfs")
        with open(self.disk, "wb") as f:
            f.truncate(128 * MIB)
        tool("mkfs.btrfs", "-q", "-r", top, self.disk)
        self.starts(cmdline="root=UUID=1234 ro quiet console=ttyS0", module=INITRD)


# grub-mkconfig, with name spaces in which it sees another /boot, and settings, and what there is to know of its disk.
MKCONFIG = """
set -e
mount --bind "$PROBE" "$(command -v grub-probe)"
mount --bind "$SETTINGS" /etc/default
mount -t tmpfs tmpfs /boot
mkdir /boot/grub
for version in 6.1.0-9 6.1.0-13; do
    cp "$KERNEL" /boot/vmlinuz-$version
    echo "of $version" >/boot/initrd.img-$version
done
exec grub-mkconfig
"""


@unittest.skipUnless(TOOLS and KVM, "no /dev/kvm, grub-fstest, sfdisk or mkfs.ext4")
class Made(Case):
    """What this machine's grub-mkconfig makes, as a distribution's update would."""

    def configuration(self, settings):
        if not shutil.which("grub-mkconfig") or not shutil.which("unshare"):
            self.skipTest("no grub-mkconfig or unshare")
        folder = self.tree({"grub": settings}, "settings")
        env = {**os.environ, "PROBE": PROBE, "SETTINGS": folder, "KERNEL": os.path.join(IMAGES, "own.elf"), "LC_ALL": "C"}
        p = subprocess.run(["unshare", "-rm", "sh", "-c", MKCONFIG], capture_output=True, text=True, check=False, env=env,
                           stdin=subprocess.DEVNULL)
        shutil.rmtree(folder)
        if "unshare: " in p.stderr or "mount: " in p.stderr:
            self.skipTest(p.stderr.strip())
        self.assertEqual(p.returncode, 0, p.stderr)
        return p.stdout

    def boot(self, settings, environment=None):
        """A disk whose /boot is a file system of its own, which has that menu."""
        with open(os.path.join(IMAGES, "own.elf"), "rb") as f:
            kernel = f.read()
        more = {"grub/grubenv": ("# GRUB Environment Block\n" + environment).ljust(1024, "#")} if environment else {}
        self.ext4({"grub/grub.cfg": self.configuration(settings), **more, "vmlinuz-6.1.0-9": kernel, "vmlinuz-6.1.0-13": kernel,
                   "initrd.img-6.1.0-9": "of 6.1.0-9\n", "initrd.img-6.1.0-13": "of 6.1.0-13\n"})

    def test_menu(self):
        self.boot('GRUB_DISTRIBUTOR=Debian\nGRUB_CMDLINE_LINUX="console=ttyS0 a=\\\'b c\\\'"\nGRUB_CMDLINE_LINUX_DEFAULT=quiet\n')
        p = self.catnap("--list-boot-entries")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        titles = [line for line in p.stdout.splitlines() if not line.startswith("   ")]
        self.assertEqual([t[:8].strip() for t in titles], ["* 0", "1>0", "1>1", "1>2", "1>3"], p.stdout)
        line = "root=/dev/vda ro console=ttyS0 a='b c'"
        self.starts(cmdline=f"{line} quiet", module=b"of 6.1.0-13\n")
        self.starts("--boot-entry", "1>2", cmdline=f"{line} quiet", module=b"of 6.1.0-9\n")
        self.starts("--boot-entry", "1>3", cmdline="root=/dev/vda ro single console=ttyS0 a='b c'", module=b"of 6.1.0-9\n")
        self.starts("--boot-entry", "Debian GNU/Linux, with Linux 6.1.0-9", cmdline=f"{line} quiet", module=b"of 6.1.0-9\n")

    def test_saved(self):
        """grub-set-default chose one, and grub-reboot another for one start only."""
        self.boot("GRUB_DEFAULT=saved\nGRUB_CMDLINE_LINUX=x\n", "saved_entry=1>2\nnext_entry=1>1\n")
        self.starts(cmdline="root=/dev/vda ro x console=ttyS0", module=b"of 6.1.0-9\n")

    def test_no_submenu(self):
        self.boot("GRUB_DEFAULT=2\nGRUB_DISABLE_SUBMENU=true\nGRUB_CMDLINE_LINUX=x\n")
        self.starts(cmdline="root=/dev/vda ro x console=ttyS0", module=b"of 6.1.0-9\n")


@unittest.skipUnless(ROOT and READER and shutil.which("unshare"), "not root, or no grub-fstest")
class TakenOver(Case):
    """The reader is another program, in a mount name space of its own."""

    def hostile(self, image, words, **how):
        disk = os.path.join(self.dir, image)
        with open(disk, "wb") as f:
            f.truncate(MIB)
        os.chmod(self.dir, 0o777)
        script = f"mount --bind {HOSTILE} {READER} && exec \"$@\""
        began = time.monotonic()
        said = self.refused("--list-boot-entries", disk=disk, words=words, before=["unshare", "-m", "sh", "-c", script, "sh"], **how)
        self.assertEqual(os.listdir(self.dir), [image])
        os.unlink(disk)
        return said, time.monotonic() - began

    def test_confined(self):
        said, _ = self.hostile("image", words=["could:"])
        self.assertTrue(said.endswith(" could:\n"), said)

    def test_endless(self):
        self.hostile("endless", words=["its partitions", "too large"])
        self.hostile("crash", words=["signal 11"])
        self.hostile("garbage", words=["no boot entries"])
        said, _ = self.hostile("memory", words=["MiB"])
        self.assertLessEqual(int(said.split(" MiB")[0].split()[-1]), 1024)

    def test_silent(self):
        for image in ("silent", "messages"):
            _, took = self.hostile(image, limit="1s", words=["--timeout"], status=124)
            self.assertLess(took, 30)


@unittest.skipUnless(ROOT and READER and shutil.which("unshare"), "not root, or no grub-fstest")
class NotThere(Case):
    def test_no_program(self):
        with open(self.disk, "wb") as f:
            f.truncate(MIB)
        script = f"mount --bind /dev/null {READER} && exec \"$@\""
        self.refused("--list-boot-entries", words=["no grub-fstest", "package grub-common", "--kernel PATH"],
                     before=["unshare", "-m", "sh", "-c", script, "sh"])


if __name__ == "__main__":
    unittest.main()
