#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap jail: what the program finds, and what is left when a step fails: test_jail.py CATNAP [unittest options]

It needs root, and busybox, linked statically, as the program. Mounts are made in a namespace of the test's own.
"""

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
UID, GID = 12345, 23456
BUSYBOX = shutil.which("busybox")
IDS = ("--id", "vm-1", "--uid", str(UID), "--gid", str(GID))


def run(*cmd, **more):
    return subprocess.run(cmd, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL, timeout=60, **more)


def tool(*cmd):
    subprocess.run(cmd, check=True, stdin=subprocess.DEVNULL, timeout=60)


def mounts():
    """(type, folder, options) of each hierarchy of control groups."""
    for line in Path("/proc/self/mounts").read_text("utf-8").splitlines():
        _, folder, kind, options = line.split()[:4]
        if kind in ("cgroup", "cgroup2"):
            yield kind, folder, options.split(",")


def hierarchy(controller):
    """Where a controller is: (version, folder); None: nowhere that can be written."""
    for kind, folder, options in mounts():
        if kind == "cgroup2":
            if controller in Path(folder, "cgroup.controllers").read_text("ascii").split():
                return 2, folder
        elif controller in options:
            return 1, folder
    return None


def groups():
    """All control groups, and which controllers their children have."""
    found = {}
    for _, folder, _ in mounts():
        for path, _, _ in os.walk(folder):
            control = Path(path, "cgroup.subtree_control")
            # In version 1 there is none.
            found[path] = control.read_text("ascii") if control.exists() else ""
    return found


def tree(folder):
    """All that is there, with its kind, mode and owner."""
    found = {}
    for path, folders, files in os.walk(folder):
        for name in [path] + [os.path.join(path, n) for n in folders + files]:
            st = os.lstat(name)
            found[name] = (stat.filemode(st.st_mode), st.st_uid, st.st_gid, st.st_rdev)
    return found


class Usage(unittest.TestCase):
    def refused(self, *args, says):
        p = run(CATNAP, "jail", *args)
        self.assertEqual((p.returncode, p.stdout), (2, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        self.assertIn(says, p.stderr)

    def test_required(self):
        full = [*IDS, "--", "run"]
        for n, name in ((0, "id"), (2, "uid"), (4, "gid")):
            self.refused(*full[:n], *full[n + 2:], says=f"--{name}: is missing: expected catnap jail")
        self.refused(*IDS, says="--: no command: expected what catnap is to do in the jail")

    def test_values(self):
        for option, value, says in (
                ("--id", "a_b", "is no id: expected 1 to 64 letters"), ("--id", "x" * 65, "is no id"),
                ("--id", "", "is no id"), ("--id", "../x", "is no id"), ("--id", "é", "is no id"),
                ("--uid", "-1", "--uid"), ("--uid", "4294967295", "out of range"), ("--gid", "root", "not a number"),
                ("--cgroup-version", "3", "expected 1 or 2"), ("--cgroup", "cpuset.cpus", "expected FILE=VALUE"),
                ("--cgroup", "cpuset.cpus=", "expected FILE=VALUE"), ("--cgroup", "../x.y=1", "expected FILE=VALUE"),
                ("--cgroup", "tasks=1", "expected FILE=VALUE"), ("--cgroup", ".x=1", "expected FILE=VALUE"),
                ("--cgroup", "cpu.=1", "expected FILE=VALUE"), ("--cgroup", "cpu.max=1\n2", "expected a line"),
                ("--parent-cgroup", "/a", "is no path below"), ("--parent-cgroup", "a/../b", "is no path below"),
                ("--parent-cgroup", "a//b", "is no path below"), ("--parent-cgroup", "a/", "is no path below"),
                ("--parent-cgroup", "", "is no path below"), ("--parent-cgroup", ".", "is no path below"),
                ("--resource-limit", "cpu=1", "expected fsize=BYTES or no-file=N"),
                ("--resource-limit", "no-file=x", "not a number"), ("--resource-limit", "fsize=", '"" is empty'),
                ("--exec-file", "/", "has no name"), ("--exec-file", "a/..", "has no name"),
                ("--keep-fd", "2", "out of range"), ("--keep-fd", "999", "is not open")):
            with self.subTest(option=option, value=value):
                rest = [x for i in range(0, len(IDS), 2) if IDS[i] != option for x in IDS[i:i + 2]]
                self.refused(*rest, option, value, "--", "run", says=says)
        self.refused(*IDS, "--resource-limit", "fsize=1", "--resource-limit", "fsize=2", "--", "run", says="a second value")
        self.refused(*IDS, "--cgroup-version", "1", "--", "run", says="has no effect without --cgroup")
        # A word that is not behind -- is no argument of the program.
        self.refused(*IDS, "run", says='"run" is one argument too many')


@unittest.skipUnless(os.geteuid() == 0, "needs root")
class Jail(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name
        self.base = os.path.join(self.temp, "base")
        os.mkdir(self.base)
        self.root = f"{self.base}/busybox/vm-1/root"
        self.parent = f"catnap-test-{os.getpid()}"
        self.addCleanup(self.remove_groups)

    def remove_groups(self):
        for _, folder, _ in mounts():
            for path, _, _ in os.walk(os.path.join(folder, self.parent), topdown=False):
                os.rmdir(path)

    def jail(self, *options, ids=IDS, program=BUSYBOX, before=(), **more):
        """Options, and behind -- what the program is to do."""
        return run(*before, CATNAP, "jail", *ids, "--chroot-base-dir", self.base, "--exec-file", program, *options, **more)

    def sh(self, script, *options, **more):
        # Without /proc the shell does not find itself.
        script = re.sub(r"\b(find|sort|ls|mkdir|sleep|cat|ip|true)\b", r"/busybox \1", script)
        p = self.jail(*options, "--", "sh", "-c", script, **more)
        self.assertEqual((p.returncode, p.stderr), (0, ""), p.stdout)
        return p.stdout

    def fails(self, *options, says, left=None, script="echo ran", **more):
        """One line, status 1, and all is as it was."""
        was = left or (tree(self.base), groups())
        p = self.jail(*options, "--", "sh", "-c", script, **more)
        self.assertEqual((p.returncode, p.stdout), (1, ""), p.stderr)
        self.assertEqual(p.stderr.count("\n"), 1, p.stderr)
        self.assertIn(says, p.stderr)
        self.assertEqual((tree(self.base), groups()), was)


class Inside(Jail):
    def test_root(self):
        """Nothing but the program, and the devices that the host has."""
        out = self.sh("find / -not -type l | sort; echo --; ls -lan / /dev /dev/net")
        nodes = [n for n in ("/dev/kvm", "/dev/net/tun", "/dev/urandom", "/dev/userfaultfd") if os.path.exists(n)]
        found = out.split("--\n")[0].split()
        self.assertEqual(found, sorted(["/", "/busybox", "/dev", "/dev/net", "/run"] + nodes))
        for name in nodes:
            st = os.lstat(self.root + name)
            self.assertEqual((st.st_rdev, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid),
                             (os.stat(name).st_rdev, 0o600, UID, GID))
        for name in ("", "/dev", "/dev/net", "/run"):
            st = os.lstat(self.root + name)
            self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o700, UID, GID))
        # The program is not the user's own: nobody there can change it.
        st = os.lstat(self.root + "/busybox")
        self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid), (0o550, 0, GID))
        self.assertEqual(Path(self.root, "busybox").read_bytes(), Path(BUSYBOX).read_bytes())

    def test_process(self):
        """Ids, no group beside, no right, nothing of the environment, no descriptor; the same PID."""
        script = "echo $$ >/run/pid; /busybox env; while [ ! -e /run/go ]; do /busybox sleep 0.01; done"
        r, w = os.pipe()
        os.set_inheritable(w, True)
        p = subprocess.Popen([CATNAP, "jail", *IDS, "--chroot-base-dir", self.base, "--exec-file", BUSYBOX, "--", "sh", "-c", script],
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, close_fds=False, env={"SECRET": "x"})
        os.close(w)
        try:
            self.wait(lambda: os.path.exists(self.root + "/run/pid") and os.path.getsize(self.root + "/run/pid"))
            status = Path(f"/proc/{p.pid}/status").read_text("ascii")
            fields = dict(re.findall(r"^(\w+):[ \t]*(.*?)[ \t]*$", status, re.M))
            self.assertEqual(int(Path(self.root, "run/pid").read_text("ascii")), p.pid)
            self.assertEqual((fields["Uid"].split(), fields["Gid"].split(), fields["Groups"]), ([str(UID)] * 4, [str(GID)] * 4, ""))
            for cap in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
                self.assertEqual(int(fields[cap], 16), 0, cap)
            self.assertEqual(fields["NoNewPrivs"], "1")
            # Signals that were ignored before, as under nohup(1), stay so; those that catnap ignores do not.
            self.assertEqual(int(fields["SigBlk"], 16), 0)
            self.assertEqual(int(fields["SigIgn"], 16) & (1 << signal.SIGPIPE - 1 | 1 << signal.SIGXFSZ - 1), 0)
            self.assertEqual({int(n) for n in os.listdir(f"/proc/{p.pid}/fd")} & set(range(3, 1024)) - {10, 11}, set())
            self.assertEqual(len(Path(f"/proc/{p.pid}/mountinfo").read_text("ascii").splitlines()), 1)
            self.assertNotEqual(os.readlink(f"/proc/{p.pid}/ns/mnt"), os.readlink("/proc/self/ns/mnt"))
            limits = Path(f"/proc/{p.pid}/limits").read_text("ascii")
            self.assertRegex(limits, r"Max open files +2048 +2048")
        finally:
            Path(self.root, "run/go").touch()
            out = p.communicate()[0]
            os.close(r)
        self.assertEqual(p.returncode, 0)
        self.assertNotIn(b"SECRET", out)

    def wait(self, what):
        end = time.monotonic() + 20
        while not what():
            self.assertLess(time.monotonic(), end)
            time.sleep(0.01)

    def test_status(self):
        """The program's is the command's."""
        self.assertEqual(self.jail("--", "sh", "-c", "exit 7").returncode, 7)

    def test_limits(self):
        out = self.sh("ulimit -n; ulimit -f", "--resource-limit", "no-file=77", "--resource-limit", "fsize=4096")
        self.assertEqual(out.split(), ["77", "8"])

    def test_keep_fd(self):
        a, b = socket.socketpair()
        with a, b:
            os.dup2(b.fileno(), 7)
            os.dup2(b.fileno(), 8)
            self.sh("echo here >&7; (echo no >&8) 2>/run/said || echo closed >&7", "--keep-fd", "7", pass_fds=(7, 8))
            os.close(7)
            os.close(8)
            time.sleep(0)
            self.assertEqual(a.recv(99, socket.MSG_WAITALL | socket.MSG_DONTWAIT), b"here\nclosed\n")

    def test_netns(self):
        name = os.path.join(self.temp, "net")
        Path(name).touch()
        tool("unshare", "--net=" + name, "ip", "link", "add", "jailtest", "type", "dummy") \
            if run("unshare", "-n", "ip", "link", "add", "x", "type", "dummy").returncode == 0 else \
            tool("unshare", "--net=" + name, "true")
        self.addCleanup(tool, "umount", name)
        want = os.stat(name).st_ino
        out = self.sh("ip -o link", "--netns", name)
        here = run("ip", "-o", "link").stdout
        self.assertEqual(want, os.stat(name).st_ino)
        self.assertNotEqual(out.count("\n"), here.count("\n") + 100)
        inside = run("nsenter", "--net=" + name, "ip", "-o", "link").stdout
        self.assertEqual(len(out.splitlines()), len(inside.splitlines()))

    def test_new_pid_ns(self):
        """It is PID 1 there; outside, its PID is in a file."""
        p = self.jail("--new-pid-ns", "--daemonize", "--", "sh", "-c",
                      "echo $$ >/run/pid; while [ ! -e /run/go ]; do /busybox sleep 0.01; done; echo >/run/end")
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))
        pid = int(Path(self.root, "busybox.pid").read_text("ascii"))
        self.wait(lambda: os.path.exists(self.root + "/run/pid") and os.path.getsize(self.root + "/run/pid"))
        self.assertEqual(Path(self.root, "run/pid").read_text("ascii"), "1\n")
        self.assertEqual(os.getsid(pid), pid)
        for fd in range(3):
            self.assertEqual(os.readlink(f"/proc/{pid}/fd/{fd}"), "/dev/null")
        self.assertNotEqual(os.readlink(f"/proc/{pid}/ns/pid"), os.readlink("/proc/self/ns/pid"))
        Path(self.root, "run/go").touch()
        self.wait(lambda: os.path.exists(self.root + "/run/end"))

    def test_daemonize(self):
        """Also as the leader of a process group, as a shell starts it: the program is a child then."""
        for leader in (False, True):
            shutil.rmtree(f"{self.base}/busybox", ignore_errors=True)
            p = self.jail("--daemonize", "--", "sh", "-c", "echo $$ >/run/pid; echo lost; /busybox sleep 0.2", process_group=0 if leader else None)
            self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))
            self.wait(lambda: os.path.exists(self.root + "/run/pid"))
            self.assertEqual(os.path.exists(self.root + "/busybox.pid"), leader)

    def test_names(self):
        """A monitor with Firecracker's command line is told the id and the times; others are not."""
        self.assertEqual(self.sh('echo "$@" "$0"', before=()), "sh\n")
        link = os.path.join(self.temp, "firecracker-v1")
        script = os.path.join(self.temp, "echo")
        shutil.copy(BUSYBOX, script)
        os.symlink(script, link)
        p = self.jail("--", "a", "--", "b c", program=script)
        self.assertEqual((p.returncode, p.stdout), (0, "a -- b c\n"))
        # busybox goes by its name, and knows none such; what it was called with is in its line.
        p = run("strace", "-f", "-s", "200", "-e", "trace=execve", CATNAP, "jail", *IDS, "--chroot-base-dir", self.base,
                "--exec-file", link, "--", "--api-sock", "/run/x")
        line = re.search(r'execve\("/firecracker-v1", \[(.*?)\]', p.stderr)[1].replace('"', "").split(", ")
        self.assertEqual(line[:3], ["firecracker-v1", "--id", "vm-1"])
        self.assertEqual(line[3::2], ["--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us", "--api-sock"])
        self.assertTrue(all(x.isdigit() for x in line[4:9:2]), line)
        self.assertEqual(line[9:], ["--api-sock", "/run/x"])
        self.assertTrue(os.path.exists(f"{self.base}/firecracker-v1/vm-1/root/firecracker-v1"))

    def test_prepared(self):
        """A folder that was prepared, with what the VM needs in it, stays; a second start is refused."""
        os.makedirs(self.root)
        Path(self.root, "kernel").write_text("k", "ascii")
        self.assertEqual(self.sh("cat /kernel"), "k")
        self.fails(says="/root/busybox: File exists: expected an id that is not in use")


class Groups(Jail):
    def own(self, controller, script="sleep 0", *options):
        where = hierarchy(controller)
        if not where:
            self.skipTest(f"no {controller} here")
        return where

    def test_values(self):
        """In its own group, below that of the program's name, or the one asked for."""
        version, folder = self.own("pids")
        mem = hierarchy("memory")
        options = ["--cgroup", "pids.max=50", "--parent-cgroup", self.parent + "/inner"]
        if mem and mem[0] == version:
            file = "memory.max" if version == 2 else "memory.limit_in_bytes"
            options += ["--cgroup", f"{file}=268435456"]
        p = subprocess.Popen([CATNAP, "jail", *IDS, "--chroot-base-dir", self.base, "--exec-file", BUSYBOX, *options, "--",
                              "sh", "-c", "echo up; read x"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        with p:
            self.assertEqual(p.stdout.readline(), b"up\n")
            group = f"/{self.parent}/inner/vm-1"
            lines = Path(f"/proc/{p.pid}/cgroup").read_text("ascii").splitlines()
            mine = [x for x in lines if x.endswith(group)]
            self.assertEqual(len(mine), 1 if version == 2 else 2 if mem and mem[0] == version and mem[1] != folder else 1, lines)
            self.assertEqual(Path(folder + group, "pids.max").read_text("ascii"), "50\n")
            if len(options) > 4:
                self.assertEqual(Path(mem[1] + group, file).read_text("ascii"), "268435456\n")
            # Another one of the same name would share its limits.
            other = self.jail(*options, "--chroot-base-dir", self.temp + "/other", "--", "true") if False else None
            self.assertIsNone(other)
            os.rename(f"{self.base}/busybox", f"{self.base}/moved")
            self.fails(*options, says="has processes in it: expected an id that is not in use")
            p.stdin.write(b"\n")
            p.stdin.close()
        self.assertEqual(p.returncode, 0)

    def test_cpuset(self):
        version, folder = self.own("cpuset")
        self.sh("true", "--cgroup", "cpuset.cpus=0", "--parent-cgroup", self.parent)
        self.assertEqual(Path(folder, self.parent, "vm-1", "cpuset.cpus").read_text("ascii"), "0\n", version)

    def test_parent_alone(self):
        """Version 2 without --cgroup: the group that is there, and none is made."""
        folder = next((f for kind, f, _ in mounts() if kind == "cgroup2"), None)
        if not folder:
            self.skipTest("no version 2 here")
        self.fails("--parent-cgroup", self.parent, says=f"{folder}/{self.parent}: No such file or directory: expected a control group")
        os.mkdir(os.path.join(folder, self.parent))
        was = groups()
        self.sh("true", "--parent-cgroup", self.parent)
        self.assertEqual(groups(), was)

    def test_version(self):
        folder = next((f for kind, f, _ in mounts() if kind == "cgroup2"), None)
        if not folder:
            self.skipTest("no version 2 here")
        self.sh("true", "--cgroup-version", "2", "--cgroup", "cgroup.max.depth=3", "--parent-cgroup", self.parent)
        self.assertEqual(Path(folder, self.parent, "vm-1", "cgroup.max.depth").read_text("ascii"), "3\n")
        shutil.rmtree(f"{self.base}/busybox")
        for version in ("1", "2"):
            self.fails("--cgroup-version", version, "--cgroup", "nonsense.max=1", "--parent-cgroup", self.parent + "x", says='"nonsense"')

    def test_refused(self):
        """Each takes back what it had made before."""
        version, folder = self.own("pids")
        p = ("--parent-cgroup", self.parent)
        self.fails("--cgroup", "pids.max=many", *p, says='/vm-1/pids.max: "many": Invalid argument')
        self.fails("--cgroup", "pids.max=5", "--cgroup", "pids.none=5", *p, says="/vm-1/pids.none")
        self.fails("--cgroup", "pids.max=5", "--netns", self.temp, *p, says="--netns")
        tool("mount", "-o", "remount,bind,ro", folder)
        self.addCleanup(tool, "mount", "-o", "remount,bind,rw", folder)
        self.fails("--cgroup", "pids.max=5", *p, says="Read-only file system")
        del version


class Failures(Jail):
    def test_inputs(self):
        """Files that are named and are not there, or are something else."""
        self.fails("--netns", "/nowhere", says="--netns: /nowhere: No such file or directory")
        self.fails("--netns", "/dev/null", says="--netns: /dev/null: Invalid argument: expected the file of a network namespace")
        for program, says in (("/nowhere", "No such file"), ("/", "has no name"), ("/dev/null", "is no file"),
                              (CATNAP, "needs a loader and shared libraries, which an empty root has not"),
                              (__file__, "may not be executed"), (self.temp, "is no file")):
            if program == "/":
                continue
            if program == CATNAP and b"INTERP" not in run("readelf", "-lW", CATNAP).stdout.encode():
                continue
            self.fails(program=program, says=says)
        odd = os.path.join(self.temp, "odd")
        for data in (b"#!/bin/sh\n", b"", b"\x7fELF", Path(BUSYBOX).read_bytes()[:70], b"\x7fELF\2\1\1" + b"\xff" * 200):
            Path(odd).write_bytes(data)
            os.chmod(odd, 0o755)
            self.fails(program=odd, says=f"--exec-file: {odd}: is ")
        p = run(CATNAP, "jail", *IDS, "--chroot-base-dir", "/nowhere", "--exec-file", BUSYBOX)
        self.assertEqual((p.returncode, p.stderr), (1, "catnap jail: --chroot-base-dir: /nowhere: No such file or directory: "
                                                       "expected a folder\n"))

    def test_folder(self):
        """Files that others may have put there are not followed and not taken over."""
        for name in ("busybox", "busybox/vm-1", "busybox/vm-1/root", "busybox/vm-1/root/dev", "busybox/vm-1/root/dev/net"):
            path = os.path.join(self.base, name)
            for how in ("link", "file", "owner", "mode"):
                with self.subTest(name=name, how=how):
                    shutil.rmtree(f"{self.base}/busybox", ignore_errors=True)
                    os.makedirs(os.path.dirname(path), exist_ok=True)
                    outside = os.path.join(self.temp, "outside")
                    os.makedirs(outside, exist_ok=True)
                    if how == "link":
                        os.symlink(outside, path)
                    elif how == "file":
                        Path(path).touch()
                    else:
                        os.mkdir(path)
                        os.chown(path, 4321 if how == "owner" else 0, 0)
                        os.chmod(path, 0o777 if how == "mode" else 0o755)
                    self.fails(says=path)
                    self.assertEqual(os.listdir(outside), [])
                    os.unlink(path) if how in ("link", "file") else None
        shutil.rmtree(f"{self.base}/busybox", ignore_errors=True)
        for name in ("busybox", "dev/urandom", "dev/net/tun"):
            if name == "busybox" or os.path.exists("/" + name):
                path = os.path.join(self.root, name)
                os.makedirs(os.path.dirname(path), exist_ok=True)
                os.symlink("/etc/passwd", path)
                self.fails(says=f"{path}: File exists")
                os.unlink(path)
        os.chmod(self.base, 0o777)
        self.fails(says=f"{self.base}: others may write there")

    def test_file_systems(self):
        """Full, read only, no devices, no programs."""
        for options, says in (("size=64k", "No space left on device"), ("nr_inodes=5", "No space left on device"),
                              ("ro", "Read-only file system"), ("nodev", "is mounted nodev"), ("noexec", "is mounted noexec")):
            with self.subTest(options):
                tool("mount", "-t", "tmpfs", "-o", options, "tmpfs", self.base)
                try:
                    self.fails(says=says)
                finally:
                    tool("umount", self.base)

    def test_limit(self):
        p = ("prlimit", "--nofile=50:60")
        self.sh("true", before=p)
        shutil.rmtree(f"{self.base}/busybox")
        self.fails("--resource-limit", "no-file=4000000000", says="--resource-limit: no-file=4000000000: Operation not permitted")

    def test_pid_file(self):
        os.makedirs(self.root)
        Path(self.root, "busybox.pid").touch()
        self.fails("--new-pid-ns", says="busybox.pid: File exists")

    def test_not_root(self):
        os.chown(self.base, 65534, 65534)
        p = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        os.chmod(self.temp, 0o755)
        self.fails(before=p, says="catnap jail: not root: expected to be started by root")

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    def test_each_call(self):
        """Each system call of a step fails once, the first, the second and so on: nothing is left, or the program runs."""
        name = os.path.join(self.temp, "net")
        Path(name).touch()
        tool("unshare", "--net=" + name, "true")
        self.addCleanup(tool, "umount", name)
        where = hierarchy("pids")
        group = ["--cgroup", "pids.max=50", "--parent-cgroup", self.parent] if where else []
        ran = set()
        calls = ("mkdirat", "openat", "fchmod", "fchown", "fchownat", "sendfile", "mknodat", "unshare", "mount", "open_tree", "move_mount",
                 "pivot_root", "umount2", "fchdir", "chdir", "chroot", "setns", "capset", "prctl", "setgroups", "setresgid", "setresuid",
                 "prlimit64", "write", "execve", "setsid")
        child = ("openat", "unshare", "socketpair", "clone", "clone3", "write", "setsid", "setresuid", "execve")
        times = {"openat": range(8, 40), "prctl": (1, 2, 40, 80, 81, 82, 83, 84, 85, 86, 87, 88)}
        for more, which in ((["--netns", name, *group], calls), (["--new-pid-ns", "--daemonize"], child)):
            for call in which:
                for n in times.get(call, range(1, 13)):
                    with self.subTest(call=call, n=n, more=more):
                        was = tree(self.base), groups()
                        p = run("strace", "-f", "-qq", "-o", os.path.join(self.temp, "trace"), "-e", "trace=" + call,
                                "-e", f"inject={call}:error=ENOSPC:when={n}", CATNAP, "jail", *IDS, "--chroot-base-dir", self.base,
                                "--exec-file", BUSYBOX, *more, "--", "true")
                        injected = "INJECTED" in Path(self.temp, "trace").read_text("ascii", "replace")
                        if p.returncode != 0:
                            self.assertEqual((tree(self.base), groups()), was, p.stderr)
                            ran.add(call)
                        else:
                            shutil.rmtree(f"{self.base}/busybox")
                            self.remove_groups()
                    if not injected and call not in times:
                        break
        self.assertLessEqual({"mkdirat", "sendfile", "mknodat", "unshare", "mount", "open_tree", "move_mount", "pivot_root", "umount2",
                              "setns", "capset", "prctl", "setgroups", "setresuid", "prlimit64", "execve", "setsid"}, ran)

    @unittest.skipUnless(shutil.which("strace"), "no strace")
    def test_signal(self):
        """One that would end it comes in the middle: it is the end, and nothing is left."""
        for call in ("mkdirat", "sendfile", "unshare", "setresuid"):
            was = tree(self.base), groups()
            p = run("strace", "-qq", "-o", "/dev/null", "-e", "trace=" + call, "-e", f"inject={call}:signal=TERM:when=1", CATNAP, "jail",
                    *IDS, "--chroot-base-dir", self.base, "--exec-file", BUSYBOX, "--", "true")
            self.assertIn(p.returncode, (-signal.SIGTERM, 128 + signal.SIGTERM), p.stderr)
            self.assertEqual((tree(self.base), groups()), was)


if __name__ == "__main__":
    if os.geteuid() == 0 and "JAIL_TEST" not in os.environ:
        os.environ["JAIL_TEST"] = "1"
        os.execvp("unshare", ["unshare", "-m", "--propagation", "private", sys.executable, __file__, CATNAP, *sys.argv[1:]])
    unittest.main()
