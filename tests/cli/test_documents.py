#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each command of the documents is run as it is written there: test_documents.py CATNAP BUILD-FOLDER

From fenced blocks of sh in Markdown and from the displays of manual pages. A block has a folder of its
own, in which there is what the tree has, the build folder as "build", and catnap in PATH; as root, in a
network of its own, with the probe guest where `meson install` puts it. What cannot be run here is in one
table, INSTEAD, with what is done instead and why."""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.dont_write_bytecode = True
ROOT = Path(__file__).resolve().parents[2]
INSTALLED = "/usr/local/share/catnap/probe.elf"
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
ROOT_USER = os.geteuid() == 0
LIMIT_S = 120

# (document, beginning of the command, what is done instead, why). The first one that fits.
#   help       its options are looked for in its --help
#   interrupt  run, and ended by Ctrl-C after some seconds, which is documented
#   no-kvm     run where /dev/kvm is not KVM's: it comes as far as that, so its options and files are right
#   no-vm      there is no VM to speak to: says so, so its options are right
#   list       meson lists the tests that it names
#   copy       run in a copy of the tree
#   dry        ninja says what it would do
#   anywhere   what it finds is not this project's: whether it runs at all
INSTEAD = [
    (r"", "./quickstart", "help", "installs packages, builds and boots Linux: minutes"),
    (r"", "./test", "help", "is what runs this test"),
    (r"docs/lab.md", "tests/lab/lab", "help", "boots emulated machines: minutes; has tests of its own"),
    (r"", "guest-images/debian/build", "help", "downloads Debian: minutes"),
    (r"", "scripts/results", "help", "measures for 20 minutes"),
    (r"docs/lab.md", "meson test", "list", "boots emulated machines"),
    (r"README.md", "meson setup", "copy", "the tree has build folders of its own"),
    (r"README.md", "ninja -C", "dry", "this test runs in what it would build"),
    (r"wake-protocol|tests/model", "tests/model/run.sh", "help", "is a suite: model"),
    (r"", "catnap bench", "interrupt", "measures for minutes"),
    (r"", "build/src/cli/catnap bench", "interrupt", "measures for minutes"),
    (r"README.md|docs/lab.md", "catnap run -k debian/", "no-kvm", "needs a Linux guest: the lab's"),
    (r"catnap-balloon.1", "catnap run", "no-kvm", "needs a Linux guest with a balloon driver: the lab's"),
    (r"catnap-balloon.1", "catnap balloon", "no-vm", "the same guest"),
    (r"docs/sandbox.md", "scripts/newest-glibc", "help", "downloads Debian, builds and tests: half an hour"),
    (r"docs/sandbox.md", "dmesg", "anywhere", "a message comes of a forbidden call only"),
    (r"docs/sandbox.md", "catnap run --user", "no-kvm", "nobody may not use /dev/kvm on every host"),
    (r"probe/README.md", "qemu-system-x86_64", "no-kvm", "QEMU's KVM needs processor features not there everywhere"),
]

# What commands end with, and not with 0.
STATUS = [
    (r"--timeout", 124, "the guest does not end by itself"),
    (r"--debug-exit", 65, "the probe's value for a good end, 32, is 65 as a status"),
    (r"^catnap check \| grep", 1, "grep finds nothing where nothing is missing"),
    (r"catnap run (--sandbox|.*test\.elf|.*--chroot)", 33, "this guest, the probe without a word of what to do, ends by a triple fault"),
]


def plain(roff):
    roff = re.sub(r"\\f(\(..|\[[^]]*\]|.)", "", roff)
    return roff.replace("\\-", "-").replace("\\&", "").replace("\\e", "\\").replace("\\:", "")


def blocks():
    """(document, [command]), the commands whole."""
    listed = subprocess.run(["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "*.md",
                             "docs/*.[1-8]"], capture_output=True,
                            text=True, check=False)
    names = listed.stdout.split() if listed.returncode == 0 else []
    names = names or [str(p.relative_to(ROOT)) for pattern in ("*.md", "docs/*.md", "docs/*.[1-8]", "*/*/README.md")
                      for p in ROOT.glob(pattern)]
    for name in sorted(names):
        text = (ROOT / name).read_text(encoding="utf-8")
        if name.endswith(".md"):
            found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.M | re.S)
            found = [body for language, body in found if language in ("sh", "console")]
        else:
            found = [plain(re.sub(r"^\.R[SE]\n", "", b, flags=re.M))
                     for b in re.findall(r"^\.nf\n(.*?)^\.fi", text, re.M | re.S)]
        for body in found:
            commands = whole(body)
            if commands:
                yield name, commands


def whole(body):
    """Lines of one command joined, comments taken away; several on a line apart."""
    out, command = [], ""
    for line in body.splitlines():
        command += line
        if command.endswith("\\") or command.rstrip().endswith("|"):
            command = command[:-1] + " " if command.endswith("\\") else command + "\n"
            continue
        command = re.sub(r"\s+#\s.*$", "", command).strip()
        # "a; b" is two.
        parts = re.split(r";\s+(?=dmesg)", command)
        out += [p for p in parts if p]
        command = ""
    return out


class Documents(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()  # pylint: disable=consider-using-with
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.running = []
        self.addCleanup(self.end_all)
        for entry in ROOT.iterdir():
            if not entry.name.startswith((".", "build")):
                (self.folder / entry.name).symlink_to(entry)
        (self.folder / "build").symlink_to(BUILD)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/catnap").symlink_to(CATNAP)
        self.env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        # What the documents say to have: the Debian disk, a guest of one's own.
        (self.folder / "debian").mkdir()
        for name in ("vmlinuz", "initrd.img", "disk.img"):
            (self.folder / "debian" / name).write_bytes(b"\0" * 4096)
        for name in ("kernel.elf", "test.elf", "vmlinux", "probe.elf"):
            shutil.copy(PROBE, self.folder / name)

    def end_all(self):
        for p in self.running:
            p.terminate()
            try:
                p.wait(20)
            finally:
                p.kill()

    def start(self, command, **how):
        return subprocess.Popen(["bash", "-o", "pipefail", "-c", command], cwd=self.folder, env=self.env, text=True,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                start_new_session=True, **how)

    def finish(self, p, limit=LIMIT_S):
        try:
            out, err = p.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            out, err = p.communicate()
            self.fail(f"does not end: {out[-500:]} {err[-500:]}")
        return p.returncode, out, err

    def run_it(self, command):
        if command.endswith("&"):
            return self.background(command)
        status, out, err = self.finish(self.start(command))
        wanted = [s for pattern, s, _ in STATUS if re.search(pattern, command)]
        self.assertIn(status, [0] + wanted, out[-500:] + err[-500:])
        return None

    def background(self, command):
        """And what it listens at."""
        p = subprocess.Popen(["bash", "-c", "exec " + command.rstrip("& ")],  # pylint: disable=consider-using-with
                             cwd=self.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        self.running.append(p)
        name = re.search(r"-socket (\S+)|socket=(\S+)", command)
        until = time.monotonic() + 30
        while name and not (self.folder / (name[1] or name[2])).exists():
            self.assertIsNone(p.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)

    def help(self, command):
        program, *args = shlex.split(command)
        status, out, err = self.finish(self.start(shlex.quote(program) + " --help"))
        self.assertEqual(status, 0, err)
        for option in args:
            if re.match(r"--?[a-z]", option) and not re.match(r"-D[A-Z]", option):
                self.assertRegex(out, rf"(?<![\w-]){re.escape(option.split('=')[0])}\b")

    def interrupt(self, command):
        p = self.start("exec " + command)
        time.sleep(2)
        os.killpg(p.pid, signal.SIGINT)
        status, out, err = self.finish(p, 60)
        # stat has nothing to report at its end.
        self.assertIn(status, (0, 130, -signal.SIGINT), out[-500:] + err[-500:])

    def no_kvm(self, command):
        if not ROOT_USER:
            self.skipTest("needs root")
        (self.folder / "none").touch()
        program = command.rstrip("& ")
        status, _, err = self.finish(self.start("exec unshare -m bash -c " + shlex.quote(
            'mount --bind none /dev/kvm && eval "$0"') + " " + shlex.quote(program)))
        if program.startswith("qemu") and not shutil.which("qemu-system-x86_64"):
            return
        self.assertEqual(status, 1, err)
        self.assertRegex(err, r"/dev/kvm does not speak|KVM.*(not supported|kernel module)|failed to initialize kvm")

    def no_vm(self, command):
        status, _, err = self.finish(self.start(command))
        self.assertNotEqual(status, 0)
        self.assertRegex(err, r"^catnap \w+: vm\.\S+: No such file")

    def list(self, command):
        if shutil.which("meson"):
            status, out, err = self.finish(self.start(command + " --list"))
            self.assertEqual(status, 0, err)
            self.assertTrue([x for x in out.splitlines() if " / " in x], out)

    def copy(self, command):
        if not shutil.which("meson"):
            self.skipTest("meson is not installed")
        tree = self.folder / "copy"
        tree.mkdir()
        for entry in ROOT.iterdir():
            if not entry.name.startswith((".", "build")):
                (shutil.copytree if entry.is_dir() else shutil.copy)(entry, tree / entry.name)
        status, _, err = self.finish(self.start("cd copy && " + command))
        self.assertEqual(status, 0, err)

    def dry(self, command):
        where = "copy" if (self.folder / "copy").exists() else "."
        if shutil.which("ninja"):
            status, out, err = self.finish(self.start(f"cd {where} && {command} -n"))
            self.assertEqual(status, 0, out[-500:] + err)

    def anywhere(self, command):
        self.assertTrue(shutil.which(command.split()[0]))

    def one(self, document, command):
        for name, begins, how, _ in INSTEAD:
            if re.search(name, document) and command.startswith(begins):
                return getattr(self, how.replace("-", "_"))(command)
        if not KVM and re.search(r"catnap (run|bench)|catnap stat", command):
            self.skipTest("no /dev/kvm")
        if re.match(r"ip (tuntap|link)|install -d -o root|unshare|catnap bench echo", command) and not ROOT_USER:
            self.skipTest("needs root")
        if "| jq" in command and not shutil.which("jq"):
            command = re.sub(r"\| jq .*", "| cat", command)
        if not os.path.exists(INSTALLED):
            command = command.replace(INSTALLED, str(PROBE))
        if re.match(r"catnap stat .*--interval", command):
            return self.interrupt(command)
        return self.run_it(command)


def add(number, document, commands):
    def test(self):
        for command in commands:
            with self.subTest(command):
                self.one(document, command)
    test.__doc__ = f"{document}: {commands[0]}"
    setattr(Documents, f"test_{number:02}_{re.sub(r'[^a-z0-9]+', '_', document.lower())}", test)


class Table(unittest.TestCase):
    def test_each_exception_is_one(self):
        """None is left of a command that is gone."""
        everything = [(d, c) for d, commands in blocks() for c in commands]
        for document, begins, how, why in INSTEAD:
            self.assertTrue(why)
            self.assertTrue(hasattr(Documents, how.replace("-", "_")), how)
            self.assertTrue([1 for d, c in everything if re.search(document, d) and c.startswith(begins)]
                            or begins == "scripts/results", (document, begins))

    def test_there_are_some(self):
        names = {d for d, _ in blocks()}
        for name in ("README.md", "CONTRIBUTING.md", "docs/lab.md", "docs/catnap-run.1", "docs/catnap-probe.7",
                     "guest-images/probe/README.md"):
            self.assertIn(name, names)


def own_namespaces():
    """As root in mounts and a network of this test's own, with the probe where it is installed."""
    if not ROOT_USER or os.environ.get("DOCUMENTS_ALONE"):
        return
    probe = subprocess.run(["unshare", "-mn", "true"], check=False, capture_output=True)
    if probe.returncode == 0:
        os.environ["DOCUMENTS_ALONE"] = "1"
        script = (f"mount -t tmpfs tmpfs /usr/local/share && mkdir -p {os.path.dirname(INSTALLED)} && "
                  f"cp {shlex.quote(str(PROBE))} {INSTALLED}; ip link set lo up; exec \"$@\"")
        os.execvp("unshare", ["unshare", "-mn", "sh", "-c", script, "sh", sys.executable, *ARGV])


if __name__ == "__main__":
    ARGV = [os.path.abspath(__file__), *[os.path.abspath(a) for a in sys.argv[1:3]], *sys.argv[3:]]
    CATNAP, BUILD = (Path(os.path.abspath(a)) for a in sys.argv[1:3])
    PROBE = BUILD / "guest-images/probe/probe.elf"
    del sys.argv[1:3]
    own_namespaces()
    for i, (doc, cmds) in enumerate(blocks()):
        add(i, doc, cmds)
    unittest.main()
