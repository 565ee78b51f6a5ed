#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Each command of the documents is run as it is written there: test_documents.py CATNAP BUILD-FOLDER

From fenced blocks of sh in Markdown and from the displays of manual pages. A block has a folder of its own, in which
there is what the tree has, the build folder as "build", and catnap in PATH; as root, in a network of its own, with the
probe guest where `meson install` puts it. Commands that cannot be run here are in one table, INSTEAD, with what is done
instead and why."""

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
MKFS = shutil.which("mkfs.ext4", path=os.environ["PATH"] + ":/usr/sbin:/sbin")
OWN_KERNEL = MKFS and shutil.which("grub-fstest")
LIMIT_S = 120

# (document, beginning of the command, what is done instead, why). The first one that fits.
#   help       its options are looked for in its --help
#   interrupt  run, and ended by Ctrl-C after some seconds, which is documented
#   no-kvm     run where /dev/kvm is not KVM's: it comes as far as that, so its options and files are right
#   serve      run in the background, until it listens; ended after the block
#   ask        run beside a server at the socket that the block speaks to, and not refused
#   with-vm    run beside a VM with what the command speaks of
#   idle       run with a guest that stays
#   list       meson lists the tests that it names
#   copy       run in a copy of the tree
#   dry        ninja says what it would do
#   anywhere   what it finds is not this project's: whether it runs at all
#   files      what it names of the tree is there
#   unit       the template of the unit that it names is there
#   pages      run, or refused for want of huge pages
#   network    run, or refused for want of a network
INSTEAD = [
    (r"", "./quickstart", "help", "installs packages, builds and boots Linux: minutes"),
    (r"", "./test", "help", "is what runs this test"),
    (r"docs/(halt-polling-)?lab.md", "tests/lab/lab", "help", "boots emulated machines: minutes; has tests of its own"),
    (r"", "guest-images/debian/build", "help", "downloads Debian: minutes"),
    (r"", "catnap run -k bzImage --net passt", "network", "here passt may find no interface that leads anywhere"),
    (r"", "guest-images/rootfs/build", "help", "downloads a kernel"),
    (r"", "scripts/results", "help", "measures for 20 minutes"),
    (r"docs/lab.md", "meson test", "list", "boots emulated machines"),
    (r"docs/event-loop.md", "meson test", "list", "measures, and would write over this run's own log"),
    (r"README.md", "meson setup", "copy", "the tree has build folders of its own"),
    (r"README.md", "ninja -C", "dry", "this test runs in what it would build"),
    (r"wake-protocol|tests/model", "tests/model/run.sh", "help", "is a suite: model"),
    (r"", "catnap advise", "help", "listens to whatever VMs this host has, and changes it"),
    (r"", "catnap bench linux", "help", "boots Linux: the lab's"),
    (r"", "catnap bench", "interrupt", "measures for minutes"),
    (r"", "build/src/cli/catnap bench", "interrupt", "measures for minutes"),
    (r"README.md|docs/lab.md", "catnap run -k guest/", "no-kvm", "needs a Linux guest: the lab's"),
    (r"docs/sandbox.md", "scripts/newest-glibc", "help", "downloads Debian, builds and tests: half an hour"),
    (r"docs/sandbox.md", "dmesg", "anywhere", "a message comes of a forbidden call only"),
    (r"docs/sandbox.md", "catnap run --user", "no-kvm", "nobody may not use /dev/kvm on every host"),
    (r"", "firecracker --api-sock", "serve", "does not end before it is told to"),
    (r"", "catnap serve", "serve", "does not end before it is told to"),
    (r"", "curl --unix-socket /tmp/vm.sock", "ask", "the server is another block's, in another terminal"),
    (r"docs/api.md", "vm ", "ask", "the server is another block's, in another terminal"),
    (r"docs/catnap-ctl.1", "catnap ctl", "with-vm", "the VM is of the reader's own"),
    (r"snapshot", "catnap run --restore", "interrupt", "the guest goes on until it is told to end"),
    (r"snapshot", "catnap run -k bzImage", "idle", "this guest has to be there to be put down"),
    (r"docs/catnap-jail.1", "catnap jail", "help", "wants a static catnap and a kernel in the jail; has tests of its own"),
    (r"docs/catnap.7", "install", "anywhere", "is for this host's services; the suite package does it in a host of its own"),
    (r"debian/README.md", "apt-get build-dep", "anywhere", "installs packages"),
    (r"debian/README.md", "dpkg-buildpackage", "anywhere", "is what the suite package begins with"),
    (r"docs/tuning.md", "catnap run -k guest/", "no-kvm", "needs a Linux guest: the lab's"),
    (r"docs/tuning.md", "chrt --fifo 2 catnap run", "no-kvm", "needs a Linux guest: the lab's"),
    (r"bindings/python/README.md", "pip install", "files", "installs on this host; the suite abi builds what it would"),
    (r"docs/catnap.7", "systemctl", "unit", "needs systemd, and changes what this host starts"),
    (r"docs/catnap.7", "journalctl", "unit", "needs systemd"),
    (r"docs/host.md", "catnap run -k bzImage -m 256M,max=2G", "idle", "this guest has to be there to be asked"),
    (r"docs/host.md", "catnap run --disk debian.img --memory", "interrupt", "the guest goes on until it is told to end"),
    (r"docs/host.md", "catnap run -k bzImage -m 2G,hugepages", "pages", "few hosts have huge pages to spare"),
    (r"probe/README.md", "qemu-system-x86_64", "no-kvm", "QEMU's KVM needs processor features not there everywhere"),
]

# The commands that end with another status than 0.
STATUS = [
    (r"--timeout", 124, "the guest does not end by itself"),
    (r"--debug-exit", 65, "the probe's value for a good end, 32, is 65 as a status"),
    (r"^catnap ctl vm.sock memory size=1G,wait=", 1, "this guest, the probe, plugs no memory"),
    (r"^catnap check \| grep", 1, "grep finds nothing where nothing is missing"),
    (r"catnap run (--sandbox|--config|-k bzImage|.*test\.elf|.*--chroot)", 33, "this guest, the probe without a word of what to do, ends by a triple fault"),
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
            # Nor a JSON document or what catnap says.
            found = [body for body in found if not re.match(r"\{|catnap \w+: ", body)]
        for body in found:
            commands = whole(body)
            if commands:
                yield name, commands


def open_quote(command):
    try:
        shlex.split(command, comments=True)
    except ValueError as e:
        return "quotation" in str(e)
    return False


def whole(body):
    """Lines of one command joined, comments taken away; several on a line apart."""
    out, command = [], ""
    for line in body.splitlines():
        command += line
        if open_quote(command):
            command += "\n"
            continue
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
            if not entry.name.startswith(".") and not (entry / "meson-private").exists():  # no build
                (self.folder / entry.name).symlink_to(entry)
        (self.folder / "build").symlink_to(BUILD)
        (self.folder / "bin").mkdir()
        (self.folder / "bin/catnap").symlink_to(CATNAP)
        for example in ROOT.glob("docs/examples/*.c"):
            (self.folder / example.name).symlink_to(example)
        # As if it were installed.
        (self.folder / "catnap.pc").write_text(
            f"Name: catnap\nDescription: of the tree\nVersion: 0\nCflags: -I{ROOT}/include\n"
            f"Libs: -L{BUILD}/src -lcatnap\n")
        self.env = {**os.environ, "PATH": f"{self.folder}/bin:{os.environ['PATH']}", "PKG_CONFIG_PATH": str(self.folder)}
        # The files that the documents say to have: the Debian disk, a guest of one's own.
        (self.folder / "guest").mkdir()
        for name in ("vmlinuz", "initrd.img", "disk.img"):
            (self.folder / "guest" / name).write_bytes(b"\0" * 4096)
        for name in ("kernel.elf", "test.elf", "vmlinux", "probe.elf"):
            shutil.copy(PROBE, self.folder / name)
        # A configuration, and what it is made of.
        shutil.copy(PROBE, self.folder / "bzImage")
        for name in ("root.img", "rootfs.ext4", "disk.img"):
            (self.folder / name).write_bytes(bytes(4096))
        if OWN_KERNEL:
            self.disk_with_kernel(self.folder / "debian.img")
        (self.folder / "share").mkdir()
        (self.folder / "snap").mkdir(mode=0o700)
        (self.folder / "vm.json").write_text('{"kernel": "bzImage", "disk": {"path": "root.img"}}')

    def disk_with_kernel(self, image):
        """Makes a disk that has a boot loader's file, and a kernel."""
        with tempfile.TemporaryDirectory() as top:
            boot = Path(top) / "boot"
            (boot / "grub").mkdir(parents=True)
            (boot / "grub/grub.cfg").write_text("menuentry 'Debian' {\n\tlinux /boot/vmlinuz workload=idle tick_hz=250 tsc_khz=2400000\n}\n")
            shutil.copy(PROBE, boot / "vmlinuz")
            image.touch()
            os.truncate(image, 16 << 20)
            subprocess.run([MKFS, "-q", "-F", "-d", top, str(image)], check=True, stdin=subprocess.DEVNULL)

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
        name = re.search(r"(?:-sock(?:et)? |socket=|-socket-path=|addr\.path=)([^\s,]+)", command)
        until = time.monotonic() + 30
        while name and not (self.folder / name[1]).exists():
            self.assertIsNone(p.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.05)

    def serve(self, command):
        self.background(command)

    def interface(self):
        if not ROOT_USER:
            self.skipTest("needs root")
        subprocess.run(["ip", "tuntap", "add", "tap0", "mode", "tap"], check=False, stderr=subprocess.DEVNULL)
        self.addCleanup(subprocess.run, ["ip", "link", "del", "tap0"], check=False, stderr=subprocess.DEVNULL)

    def ask(self, command):
        if not self.running:
            self.serve(f"catnap serve --api-sock {self.folder}/vm.sock")
        if "tap0" in command:
            self.interface()
        status, out, err = self.finish(self.start(command))
        self.assertEqual(status, 0, out + err)
        self.assertNotIn("fault_message", out)

    def idle(self, command):
        if not KVM:
            self.skipTest("no /dev/kvm")
        self.background(command.replace("-k bzImage", "-k bzImage -c 'workload=idle tick_hz=250 tsc_khz=2400000'"))

    def with_vm(self, command):
        if not KVM:
            self.skipTest("no /dev/kvm")
        if not self.running:
            self.interface()
            self.background("catnap run --api-socket vm.sock --cpus 2 --disk root.img --net tap=tap0 "
                            "-c 'workload=idle tick_hz=250 tsc_khz=2400000' probe.elf")
        if " events " in command:
            return self.interrupt(command)
        return self.run_it(command)

    def help(self, command):
        program, *args = shlex.split(command)
        if program == "catnap":
            end = args.index("--") if "--" in args else len(args)
            program, args = "catnap " + args[0], args[1:end]
        status, out, err = self.finish(self.start(program + " --help"))
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

    def list(self, command):
        if shutil.which("meson"):
            status, out, err = self.finish(self.start(command + " --list"))
            self.assertEqual(status, 0, err)
            # A test's name, after a suite's and " / " if it has one.
            self.assertTrue([x for x in out.splitlines() if " / " in x or re.fullmatch(r"[a-z-]+", x)], out)

    def copy(self, command):
        if not shutil.which("meson"):
            self.skipTest("meson is not installed")
        tree = self.folder / "copy"
        tree.mkdir()
        for entry in ROOT.iterdir():
            if not entry.name.startswith(".") and not (entry / "meson-private").exists():  # no build
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

    def files(self, command):
        named = [word for word in shlex.split(command) if "/" in word]
        self.assertTrue(named)
        for word in named:
            self.assertTrue((self.folder / word).exists(), word)

    def unit(self, command):
        template = re.sub(r"@.*", "@.service", shlex.split(command)[-1])
        self.assertTrue((BUILD / "scripts/systemd" / template).exists(), template)

    def pages(self, command):
        status, _, err = self.finish(self.start(command))
        if status != 33:
            self.assertEqual(status, 1, err)
            self.assertRegex(err, r"^catnap run: memory: hugepages: this host has \d+ free pages")

    def network(self, command):
        status, _, err = self.finish(self.start(command))
        if status != 33:
            self.assertEqual(status, 1, err)
            self.assertIn("catnap run: --net: passt: it has ended before it served the network\n", err)

    def tools(self, command):
        """Skips, and what follows in the block with it, where what others make is not installed."""
        for program in ("bindgen", "qemu-storage-daemon", "virtiofsd"):
            if command.startswith(program) and not shutil.which(program):
                self.skipTest(f"{program} is not installed")
        if "debian.img" in command and not OWN_KERNEL:
            self.skipTest("grub-fstest or mkfs.ext4 is not installed")
        if command.startswith("qemu-storage-daemon"):
            status, _, err = self.finish(self.start("qemu-img create -f qcow2 root.qcow2 1M"))
            self.assertEqual(status, 0, err)

    def one(self, document, command, functions=""):
        """@functions: definitions of the shell's that the block begins with."""
        if command.startswith("catnap bench echo") and not ROOT_USER:
            self.skipTest("needs root")
        for name, begins, how, _ in INSTEAD:
            if re.search(name, document) and command.startswith(begins):
                return getattr(self, how.replace("-", "_"))(functions + self.private(command))
        self.tools(command)
        if not KVM and re.search(r"catnap (run|bench|ctl|stat)", command):
            self.skipTest("no /dev/kvm")
        if re.match(r"ip (tuntap|link)|install -d -o root|unshare", command) and not ROOT_USER:
            self.skipTest("needs root")
        if "| jq" in command and not shutil.which("jq"):
            command = re.sub(r"\| jq .*", "| cat", command)
        if not os.path.exists(INSTALLED):
            command = command.replace(INSTALLED, str(PROBE))
        if re.match(r"catnap stat .*--interval", command):
            return self.interrupt(command)
        return self.run_it(functions + self.private(command))

    def private(self, command):
        """With its socket, and what it makes or shares, in a folder that nobody else has."""
        for name, own in (("/tmp/vm.sock", "vm.sock"), ("/etc/catnap", "etc/catnap"), ("/srv/share", "share"),
                          ("/var/snap", "snap")):
            command = command.replace(name, f"{self.folder}/{own}")
        return command


def add(number, document, commands):
    def test(self):
        functions = "".join(c + "\n" for c in commands if re.match(r"\w+\(\) \{", c))
        for command in commands:
            skipped = True
            with self.subTest(command):
                self.one(document, command, functions and self.private(functions))
                skipped = False
            # What it was to wait for is not there.
            if skipped and command.endswith("&") and not self.running:
                self.skipTest(f"nobody has begun {command!r}")
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
        # The links in /usr/local/bin and the files in /run are gone afterwards.
        script = (f"mount -t tmpfs tmpfs /run && "
                  f"mount -t tmpfs tmpfs /usr/local/share && mkdir -p {os.path.dirname(INSTALLED)} && "
                  "mkdir /usr/local/share/bin /usr/local/share/work && "
                  "mount -t overlay -o lowerdir=/usr/local/bin,upperdir=/usr/local/share/bin,"
                  "workdir=/usr/local/share/work overlay /usr/local/bin && "
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
