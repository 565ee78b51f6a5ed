#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Debian's packages: they build, twice to the same bytes; lintian has no error; and in a new Debian 12 they install, run
virtual machines as services, and go: test_debian.py GUESTS [unittest options]

As root, with debootstrap and debhelper. The new system is started for real, in namespaces of its own.
"""

import filecmp
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
GUESTS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
MIRROR = os.environ.get("CATNAP_MIRROR", "http://deb.debian.org/debian")
# The packages that a small system has beside the most necessary.
INCLUDE = "systemd,systemd-sysv,dbus,udev,bash-completion,ca-certificates,man-db,python3"
# Not the packages' own.
OTHERS = re.compile(r"^(var/(lib/(apt|dpkg|systemd|dbus|logrotate)|cache|log|backups|tmp)|proc|sys|dev|run|tmp|etc/(ld\.so\.cache|machine-id|"
                    r"mtab|resolv\.conf|hostname|hosts|\.pwd\.lock|(passwd|group|shadow|gshadow)-?$)|debs|opt)(/|$)|__pycache__")

# PID 1 of the new system, in namespaces of its own, all of which go with it.
BOOT = r"""
set -e
cd "$1"
mount --make-rprivate /
mount --bind "$1" "$1"
cd "$1"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
for d in run tmp; do mount -t tmpfs tmpfs $d; done
mount -t tmpfs -o mode=755 tmpfs dev
for n in null zero full random urandom tty; do touch dev/$n; mount --bind /dev/$n dev/$n; done
mkdir dev/pts dev/shm dev/net
mount -t devpts -o newinstance,ptmxmode=666 devpts dev/pts
ln -s pts/ptmx dev/ptmx
mount -t tmpfs tmpfs dev/shm
touch dev/console
if [ -c /dev/kvm ]; then
	mknod -m 660 dev/kvm c 10 232
	chgrp "$(sed -n 's/^kvm:[^:]*:\([0-9]*\):.*/\1/p' etc/group)" dev/kvm
fi
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o ro tmpfs mnt
exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . /lib/systemd/systemd --unit=multi-user.target --log-target=journal \
	--show-status=no
"""


def run(*cmd, limit=1500, **more):
    return subprocess.run([str(c) for c in cmd], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=limit,
                          **more)


def must(*cmd, **more):
    p = run(*cmd, **more)
    if p.returncode:
        raise AssertionError(f"{cmd}: status {p.returncode}\n{p.stdout[-3000:]}\n{p.stderr[-3000:]}")
    return p.stdout


def need(*programs):
    gone = [p for p in programs if not shutil.which(p)]
    if os.geteuid() != 0 or gone:
        raise unittest.SkipTest(f"needs root, and {', '.join(gone) or 'nothing else'}")


def copy_source(to):
    listed = must("git", "-C", SOURCE, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for file in filter(None, listed.split("\0")):
        if (SOURCE / file).is_file():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(SOURCE / file, to / file)


def halting_flat(text):
    """A flat image that writes @text to the serial port, and powers off."""
    code = b"\xba\xf8\x03" + b"".join(b"\xb0" + bytes([c]) + b"\xee" for c in text.encode()) + b"\xba\x00\x06\xb0\x34\xee\xf4"
    return code


class Packages(unittest.TestCase):
    """One folder, and one new system, for all of them."""

    @classmethod
    def setUpClass(cls):
        need("dpkg-buildpackage", "dh", "debootstrap", "unshare", "nsenter")
        temp = tempfile.TemporaryDirectory()
        cls.addClassCleanup(temp.cleanup)
        cls.temp = Path(temp.name)
        cls.made = []
        # Only the folder differs, and who may read what is made.
        builds = (("one", 0o022), ("another-folder", 0o077))
        for name, _ in builds:
            copy_source(cls.temp / name / "source")
        for name, mask in builds:
            source = cls.temp / name / "source"
            must("dpkg-buildpackage", "-b", "-uc", cwd=source, umask=mask,
                 env=dict(os.environ, SOURCE_DATE_EPOCH="1700000000", CCACHE_DISABLE="1"))
            cls.made.append(sorted((cls.temp / name).glob("*.deb")))
            shutil.rmtree(source)
        cls.debs = [d for d in cls.made[0] if "-dbgsym_" not in d.name]
        cls.init = None

    @classmethod
    def root(cls):
        """The new system, with the packages' files; it is made when it is first asked for."""
        root = cls.temp / "root"
        if not root.exists():
            must("debootstrap", "--variant=minbase", "--include=" + INCLUDE, "bookworm", root, MIRROR)
            shutil.copy("/etc/resolv.conf", root / "etc/resolv.conf")
            # Nothing is started in a folder.
            (root / "usr/sbin/policy-rc.d").write_text("#!/bin/sh\nexit 101\n", encoding="ascii")
            (root / "usr/sbin/policy-rc.d").chmod(0o755)
            must("chroot", root, "apt-get", "update", "-q")
            cls.before = cls.files(root)
            (root / "debs").mkdir()
            for deb in cls.debs:
                shutil.copy(deb, root / "debs")
                (root / "debs" / deb.name).chmod(0o644)
            must("chroot", root, "sh", "-c", "apt-get install -y -q --no-install-recommends libcurl4 libncursesw6 /debs/*.deb",
                 env=dict(os.environ, DEBIAN_FRONTEND="noninteractive", LC_ALL="C"))
            for name in ("button.elf", "end.elf"):
                shutil.copy(os.path.join(GUESTS, name), root / "opt")
                (root / "opt" / name).chmod(0o644)
            # systemd forgets how a unit has ended when it is not in use any more: the journal does not.
            (root / "etc/systemd/system/catnap@.service.d").mkdir(parents=True)
            (root / "etc/systemd/system/catnap@.service.d/tell.conf").write_text(
                "[Service]\nExecStopPost=/bin/sh -c 'echo ended: $SERVICE_RESULT $EXIT_CODE $EXIT_STATUS'\n", encoding="ascii")
        return root

    @staticmethod
    def files(root):
        found = set()
        for folder, folders, names in os.walk(root):
            here = os.path.relpath(folder, root)
            found |= {os.path.normpath(os.path.join(here, n)) for n in folders + names}
        return {f for f in found if not OTHERS.search(f)}

    @classmethod
    def system(cls):
        """The number of its PID 1. The new system is up."""
        if cls.init is None:
            unshare = subprocess.Popen(["unshare", "--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child", "sh",
                                        "-c", BOOT, "sh", str(cls.root())],
                                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            cls.addClassCleanup(lambda: (unshare.kill(), unshare.communicate()))
            end = time.monotonic() + 60
            while True:
                children = Path(f"/proc/{unshare.pid}/task/{unshare.pid}/children").read_text(encoding="ascii").split()
                if children:
                    cls.init = children[0]
                    state = cls.inside("systemctl", "is-system-running").stdout.strip()
                    if state in ("running", "degraded"):
                        break
                if unshare.poll() is not None or time.monotonic() > end:
                    raise AssertionError(f"the system does not start: {unshare.stderr.read() if unshare.poll() is not None else ''}")
                time.sleep(0.2)
        return cls.init

    @classmethod
    def inside(cls, *cmd, **more):
        init = cls.init or cls.system()
        return run("nsenter", "-t", init, "-m", "-u", "-i", "-p", "-C", "-r", "-w", "env", "-i", "LC_ALL=C.UTF-8",
                   "PATH=/usr/sbin:/usr/bin:/sbin:/bin", *cmd, **more)

    def say(self, vm, **options):
        """Writes /etc/catnap/VM.json."""
        (self.root() / "etc/catnap" / (vm + ".json")).write_text(json.dumps(options), encoding="utf-8")
        self.addCleanup(lambda: (self.root() / "etc/catnap" / (vm + ".json")).unlink())

    def systemctl(self, *args):
        p = self.inside("systemctl", *args)
        return p.returncode

    def show(self, vm, *what):
        text = self.inside("systemctl", "show", f"catnap@{vm}.service", *[f"--property={w}" for w in what]).stdout
        found = dict(line.split("=", 1) for line in text.splitlines())
        return tuple(found[w] for w in what)

    def journal(self, vm):
        out = self.inside("journalctl", "--output=json", "--unit", f"catnap@{vm}.service").stdout
        return [json.loads(line) for line in out.splitlines()]

    def ended(self, vm):
        """(result, code, status) of its last run."""
        return tuple([e["MESSAGE"] for e in self.journal(vm) if e["MESSAGE"].startswith("ended: ")][-1].split()[1:])

    # -- the files ----------------------------------------------------------------------------

    def test_same_bytes(self):
        first, second = self.made
        self.assertEqual([d.name for d in first], [d.name for d in second])
        self.assertEqual({d.name.split("_")[0] for d in self.debs},
                         {"catnap", "catnap-doc", "catnap-images", "libcatnap-dev", "libcatnap0.2", "python3-catnap"})
        for a, b in zip(first, second):
            self.assertTrue(filecmp.cmp(a, b, shallow=False), f"{a.name}: two builds differ")

    def test_lintian(self):
        if not shutil.which("lintian"):
            self.skipTest("no lintian")
        changes = next((self.temp / "one").glob("*.changes"))
        p = run("lintian", "--allow-root", "--fail-on", "error,warning", "--tag-display-limit", "0", changes)
        self.assertEqual((p.returncode, p.stdout), (0, ""), p.stderr)

    # -- in the new system --------------------------------------------------------------------

    def test_command(self):
        self.assertRegex(self.inside("catnap", "--version").stdout, r"^catnap \d+\.\d+\.\d+\n$")
        p = self.inside("catnap", "check", "--json")
        self.assertEqual((p.returncode, p.stderr), (0 if KVM else 1, ""))
        for page in ("catnap", "catnap-run", "catnap-config", "7 catnap", "3 catnap", "catnap_vm_add_disk", "catnap-probe"):
            p = self.inside("man", *page.split())
            self.assertEqual((p.returncode, p.stderr), (0, ""), page)
            self.assertIn("NAME", p.stdout)

    def test_python(self):
        p = self.inside("python3", "-c", "import catnap; print(catnap.library_version())")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertRegex(p.stdout, r"^\d+\.\d+\.\d+\n$")
        if KVM:
            p = self.inside("python3", "-c", """
import catnap
with catnap.VM('/usr/share/catnap/probe.elf', cmdline='workload=cpus cpus=1 exit=244', memory=32 << 20, debug_exit_port=0xf4) as vm:
    vm.start()
    print(vm.wait(60).reason.name)
""")
            self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "DEBUG\n", ""))

    def test_completion(self):
        """By bash, as its package loads it: each option of each command, and each of its words."""
        script = r"""
            . /usr/share/bash-completion/bash_completion
            _completion_loader catnap
            f=$(complete -p catnap | sed -n 's/.*-F \([^ ]*\).*/\1/p')
            while IFS= read -r line; do
                read -ra COMP_WORDS <<<"$line"
                [[ $line == *' ' ]] && COMP_WORDS+=('')
                COMP_CWORD=$((${#COMP_WORDS[@]} - 1)) COMP_LINE=$line COMP_POINT=${#line}
                COMPREPLY=()
                "$f" catnap "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}" 2>/dev/null
                printf '%s\t%s\n' "$line" "${COMPREPLY[*]}"
            done
        """
        commands = re.findall(r"^ {2}(\S+)", re.search(r"^Commands:\n((?: +\S.*\n)+)", self.inside("catnap", "--help").stdout, re.M)[1], re.M)
        lines, want = ["catnap "], {"catnap ": set(commands)}
        for c in commands:
            text = self.inside("catnap", c, "--help").stdout.split("\nOptions", 1)
            options = set(re.findall(r"^ +(?:-\w, )?(--[a-z-]+)", text[1], re.M)) if len(text) > 1 else set()
            if options:
                lines.append(f"catnap {c} --")
                want[lines[-1]] = options
        for option, words in (("--irqchip", "user kernel"), ("--io", "vcpu thread"), ("--hw", "acpi fdt mptable"),
                              ("--sandbox", "on off log"), ("--log-level", "error warn info debug")):
            lines.append(f"catnap run {option} ")
            want[lines[-1]] = set(words.split())
        p = subprocess.run(["nsenter", "-t", self.system(), "-m", "-p", "-r", "-w", "bash", "-c", script], input="\n".join(lines) + "\n",
                           capture_output=True, text=True, check=False, timeout=120)
        answers = dict(line.split("\t") for line in p.stdout.splitlines())
        self.assertGreater(len(lines), 10)
        for line in lines:
            self.assertEqual(want[line] - set(answers.get(line, "").split()), set(), line)

    def test_units(self):
        p = self.inside("systemd-analyze", "verify", "catnap@x.service", "catnap@x.socket", "catnap-serve@x.service",
                        "catnap-serve@x.socket")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_stop_asks_the_guest(self):
        self.say("web", kernel="/opt/button.elf", memory="16M", cmdline="delay=2", verbose=True)
        self.assertEqual(self.systemctl("start", "catnap@web"), 0)
        self.assertEqual(self.show("web", "ActiveState", "StatusText"), ("active", "The guest runs."))
        end = time.monotonic() + 30
        while not [e for e in self.journal("web") if e["MESSAGE"] == "listening"]:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        self.assertEqual(self.systemctl("stop", "catnap@web"), 0)
        entries = self.journal("web")
        self.assertTrue([e for e in entries if e["MESSAGE"] == "pressed"])
        self.assertEqual(self.show("web", "ActiveState"), ("inactive",))
        self.assertEqual(self.ended("web"), ("success", "exited", "0"))
        # Its own messages have a priority of their own.
        own = [e for e in entries if e["SYSLOG_IDENTIFIER"] == "catnap"]
        self.assertTrue([e for e in own if e["MESSAGE"].startswith("info: ") and e["PRIORITY"] == "6"], entries)
        # Nobody's, but the service's.
        self.assertTrue(all(e["_UID"] not in ("0", "65534") for e in entries if "_UID" in e and e.get("_COMM") == "catnap"))

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_a_guest_that_does_not_listen(self):
        self.say("idle", kernel="/usr/share/catnap/probe.elf", memory="32M", cmdline="workload=idle tick_hz=100 tsc_khz=2400000")
        self.assertEqual(self.systemctl("start", "catnap@idle"), 0)
        self.assertEqual(self.systemctl("stop", "catnap@idle"), 0)
        self.assertEqual(self.show("idle", "ActiveState"), ("inactive",))
        self.assertEqual(self.ended("idle"), ("success", "exited", "143"))

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_a_guest_that_stays(self):
        """It is asked, waited for, and ended."""
        self.say("deaf", kernel="/opt/button.elf", memory="16M", cmdline="deaf=1")
        folder = self.root() / "etc/systemd/system/catnap@deaf.service.d"
        folder.mkdir(parents=True)
        self.addCleanup(lambda: shutil.rmtree(folder))
        (folder / "limit.conf").write_text("[Service]\nTimeoutStopSec=2s\nRestart=no\n", encoding="ascii")
        self.assertEqual(self.systemctl("daemon-reload"), 0)
        self.assertEqual(self.systemctl("start", "catnap@deaf"), 0)
        time.sleep(0.5)
        self.systemctl("stop", "catnap@deaf")
        self.assertEqual(self.show("deaf", "ActiveState", "Result"), ("failed", "timeout"))
        self.assertEqual(self.ended("deaf"), ("timeout", "killed", "KILL"))
        self.assertTrue([e for e in self.journal("deaf") if e["MESSAGE"] == "pressed"])

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_priorities(self):
        """A guest has none to give."""
        (self.root() / "opt/loud.bin").write_bytes(halting_flat("<0>the sky falls\n"))
        (self.root() / "opt/loud.bin").chmod(0o644)
        self.say("loud", kernel="/opt/loud.bin", memory="2M", **{"kernel-format": "flat"})
        self.assertEqual(self.systemctl("start", "catnap@loud"), 0)
        end = time.monotonic() + 30
        # Between active and inactive there is what runs after its end.
        while self.show("loud", "ActiveState")[0] not in ("inactive", "failed"):
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        self.assertEqual(self.ended("loud"), ("success", "exited", "0"))
        said = [e for e in self.journal("loud") if "sky" in e["MESSAGE"]]
        self.assertEqual([(e["MESSAGE"], e["PRIORITY"]) for e in said], [("<0>the sky falls", "6")])

    def test_a_wrong_configuration(self):
        """It is told, and not tried again."""
        self.say("wrong", kernel="/opt/button.elf", memory="much")
        self.assertNotEqual(self.systemctl("start", "catnap@wrong"), 0)
        self.assertEqual(self.show("wrong", "ActiveState", "ExecMainStatus", "NRestarts"), ("failed", "2", "0"))
        self.assertTrue([e for e in self.journal("wrong") if "/etc/catnap/wrong.json:1: memory" in e["MESSAGE"]])

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_control_socket(self):
        """The first client that speaks to it starts the VM, and is answered."""
        self.say("asked", kernel="/opt/button.elf", memory="16M")
        self.assertEqual(self.systemctl("start", "catnap@asked.socket"), 0)
        self.assertEqual(self.show("asked", "ActiveState")[0], "inactive")
        p = self.inside("catnap", "ctl", "--json", "/run/catnap/asked.sock", "status")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertEqual(json.loads(p.stdout)["state"], "running")
        self.assertEqual(self.show("asked", "ActiveState")[0], "active")
        mode = self.inside("stat", "-c", "%a %U", "/run/catnap/asked.sock").stdout.strip()
        self.assertEqual(mode, "600 root")
        self.systemctl("stop", "catnap@asked.socket", "catnap@asked.service")
        self.assertEqual(self.show("asked", "ActiveState")[0], "inactive")
        self.assertNotEqual(self.inside("test", "-e", "/run/catnap/asked.sock").returncode, 0)

    @unittest.skipUnless(KVM, "needs /dev/kvm")
    def test_told_of_its_vm(self):
        """The first client starts the process, and tells it of a VM; a VM of that name that is a service of the other
        kind ends."""
        unit = ("show", "catnap-serve@told.service", "--value", "--property")
        self.say("told", kernel="/opt/button.elf", memory="16M")
        self.assertEqual(self.systemctl("start", "catnap@told"), 0)
        self.assertEqual(self.systemctl("start", "catnap-serve@told.socket"), 0)
        for path, body in (("boot-source", {"kernel_image_path": "/opt/button.elf"}),
                           ("machine-config", {"vcpu_count": 1, "mem_size_mib": 16}), ("actions", {"action_type": "InstanceStart"})):
            p = self.inside("python3", "-c", """
import socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect("/run/catnap/told.sock")
path, body = sys.argv[1:]
s.sendall(f"PUT /{path} HTTP/1.1\\r\\nHost: x\\r\\nContent-Length: {len(body)}\\r\\n\\r\\n{body}".encode())
print(s.recv(4096).decode())
""", path, json.dumps(body))
            self.assertIn(" 204 ", p.stdout, p.stderr)
        self.assertEqual(self.inside("systemctl", *unit, "ActiveState").stdout, "active\n")
        self.assertEqual(self.inside("systemctl", *unit, "StatusText").stdout, "The VM was started.\n")
        self.assertEqual(self.show("told", "ActiveState")[0], "inactive")
        # Its socket goes, and it goes with that.
        self.assertEqual(self.systemctl("stop", "catnap-serve@told.socket"), 0)
        self.assertEqual(self.inside("systemctl", *unit, "ActiveState").stdout, "inactive\n")
        self.assertEqual(self.inside("systemctl", *unit, "Result").stdout, "success\n")
        self.assertNotEqual(self.inside("test", "-e", "/run/catnap/told.sock").returncode, 0)

    def test_zz_removal(self):
        """The last: what runs is asked to end, and nothing is left."""
        if KVM:
            self.say("last", kernel="/opt/button.elf", memory="16M")
            (self.root() / "usr/sbin/policy-rc.d").unlink()
            self.assertEqual(self.systemctl("start", "catnap@last"), 0)
            time.sleep(0.5)
        names = [d.name.split("_")[0] for d in self.debs]
        p = self.inside("apt-get", "purge", "-y", "-q", "--autoremove", *names, "libcurl4", "libncursesw6")
        self.assertEqual(p.returncode, 0, p.stdout + p.stderr)
        if KVM:
            self.assertEqual(self.show("last", "ActiveState")[0], "inactive")
            self.assertTrue([e for e in self.journal("last") if e["MESSAGE"] == "pressed"])
        self.doCleanups()
        left = self.files(self.root()) - self.before
        # Its disks are a service's own, and its configuration whoever's.
        left = {f for f in left if not f.startswith(("etc/catnap", "var/lib/private", "var/lib/catnap", "etc/systemd/system"))}
        self.assertEqual(left, set())


if __name__ == "__main__":
    unittest.main()
