#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Disks and folders that come and go by the command: catnap run --hotplug, catnap ctl disk, catnap ctl fs, the API; with a
guest that drives them (tests/guest/hotplug.c).

    test_hotplug.py CATNAP GUESTS [unittest options]
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position
from unix_http import Connection  # noqa: E402 pylint: disable=wrong-import-position

VIRTIOFSD = shutil.which("virtiofsd", path="/usr/libexec:/usr/lib:/usr/lib/qemu:" + os.environ.get("PATH", ""))
LATE = "not supported after starting"


class Hotplug(base.Case):
    def start(self, *args, cmdline="", says="listens", guest="hotplug.elf", memory="16M"):
        # pylint: disable=consider-using-with
        p = subprocess.Popen(base.vmm(base.guest(guest), "--debug-exit", "0xf4", "-m", memory, "-c", cmdline, "--timeout", "300s",
                                      "--api-socket", "s", *args),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV, cwd=self.dir)
        self.addCleanup(self.kill, p)
        self.pid, self.parents = p.pid, [str(p.pid)]
        while says:
            line = p.stdout.readline().decode()
            self.assertNotEqual(line, "", says)
            if says in line:
                break
        return p

    def kill(self, p):
        p.terminate()
        p.communicate()
        # Its socket goes with it, and in a sandbox a moment later.
        until = time.monotonic() + 60
        while os.path.exists(os.path.join(self.dir, "s")) and time.monotonic() < until:
            time.sleep(0.01)

    def image(self, name):
        path = os.path.join(self.dir, "images", name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.truncate(1 << 16)
        return os.path.join("images", name)

    def ctl(self, *args):
        done = subprocess.run([base.CATNAP, "ctl", "s", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=120, check=False, env=base.ENV, cwd=self.dir)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def yes(self, *args):
        code, out, err = self.ctl(*args)
        self.assertEqual((code, err), (0, ""), args)
        return out

    def no(self, args, *words):
        code, out, err = self.ctl(*args)
        self.assertEqual((code, out, err.count("\n")), (1, "", 1), err)
        for word in words:
            self.assertIn(word, err)

    def ask(self, method, path, body=None):
        c = Connection(os.path.join(self.dir, "s"))
        c.request(method, path, None if body is None else json.dumps(body))
        answer = c.getresponse()
        text = answer.read()
        c.close()
        return answer.status, json.loads(text) if text else None

    def helpers(self, expected):
        """How many children there are of that name, also those that nobody has waited for: after a while as many as
        expected."""
        until, n = time.monotonic() + 60, -1
        while n != expected and time.monotonic() < until:
            n = sum(self.is_helper(pid) for pid in os.listdir("/proc") if pid.isdigit())
            time.sleep(0.02)
        return n

    def is_helper(self, pid):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                name, _, rest = f.read().rpartition(")")
        except (FileNotFoundError, ProcessLookupError):
            return False
        return name.endswith("(virtiofsd") and rest.split()[1] in self.parents

    def starter(self):
        """The process that starts virtiofsd while catnap is closed in."""
        with open(f"/proc/{self.pid}/task/{self.pid}/children", encoding="ascii") as f:
            for pid in f.read().split():
                with open(f"/proc/{pid}/comm", encoding="ascii") as c:
                    if c.read() == "catnap-folders\n":
                        self.parents.append(pid)
                        return int(pid)
        return None

    def drives(self):
        return [d["drive_id"] for d in self.ask("GET", "/vm/config")[1]["drives"]]

    def comes_and_goes(self, *args):
        one, two = self.image("one"), self.image("two")
        self.start(*args)
        for _ in range(3):
            self.yes("disk", f"id=data,add={one}")
            self.yes("disk", f"id=more,add={two},bw=1M")
            self.assertEqual(self.drives(), ["data", "more"])
            shown = [(d["id"], d["number"]) for d in self.ask("GET", "/catnap/devices")[1]["devices"] if "id" in d]
            self.assertEqual(sorted(shown)[0][0], "data")
            self.assertEqual(len(shown), 2)
            self.no(["disk", f"id=data,add={two}"], "there is one already")
            self.no(["disk", f"id=other,add={one}"], "in use")
            self.yes("disk", "id=data,remove=on")
            self.assertEqual(self.drives(), ["more"])
            self.yes("disk", "id=more,remove=on")
            self.assertEqual(self.drives(), [])
            self.no(["disk", "id=more,remove=on"], "not found")
        self.assertIn("more", self.yes("disk", f"id=more,add={one}") + self.yes("disk"))

    def test_disks_come_and_go(self):
        self.comes_and_goes("--hotplug", "images", "--cpus", "2", "--rng", "off")

    def test_they_do_without_a_sandbox(self):
        self.comes_and_goes("--hotplug", "on", "--sandbox", "off", "--irqchip", "kernel")

    def test_a_disk_from_the_start_goes(self):
        self.start("--hotplug", "on", "--disk", self.image("one"), "--disk", self.image("two") + ",id=second")
        self.assertEqual(self.drives(), ["disk0", "second"])
        self.yes("disk", "id=second,remove=on")
        self.assertEqual(self.drives(), ["disk0"])

    def test_what_disks_are_called(self):
        """As their guests know them; but an id that two have, or that may be another's number, is nobody's name."""
        given = [("a", ",id=data"), ("b", ",id=data"), ("c", ",id=disk9"), ("d", ',id="x y"'), ("e", ",id=a_1"), ("f", ",id=a-1")]
        self.start("--hotplug", "on", *(w for name, more in given for w in ("--disk", self.image(name) + more)))
        self.assertEqual(self.drives(), ["data", "disk1", "disk2", "disk3", "a_1", "disk5"])
        self.yes("disk", "id=data,bw=1M")
        self.assertRegex(self.yes("disk"), r"(?m)^data .*1M/s.*images/a$")
        self.yes("disk", "id=a_1,ops=5")
        self.no(["disk", "id=x,bw=1M"], "x")

    def test_a_guest_keeps_it(self):
        one = self.image("one")
        self.start("--hotplug", "images", cmdline="keep=1")
        self.yes("disk", f"id=data,add={one}")
        self.no(["disk", "id=data,remove=on"], "data", "has not let go")
        self.assertEqual(self.drives(), ["data"])
        self.yes("disk", "id=data,remove=on")
        self.assertEqual(self.drives(), [])

    def test_a_guest_refuses(self):
        one = self.image("one")
        self.start("--hotplug", "images", cmdline="refuse=2")
        self.yes("disk", f"id=data,add={one}")
        for _ in range(2):
            self.no(["disk", "id=data,remove=on"], "data", "refuses to let go")
            self.assertTrue([d for d in self.ask("GET", "/catnap/devices")[1]["devices"] if d.get("id") == "data"][0]["kept"])
        self.assertEqual(self.drives(), ["data"])
        self.yes("disk", "id=data,remove=on")
        self.assertEqual(self.drives(), [])
        self.yes("disk", f"id=data,add={one}")
        self.assertFalse([d for d in self.ask("GET", "/catnap/devices")[1]["devices"] if "kept" in d])

    def test_what_folders_are_refused(self):
        p = self.start("--hotplug", "on", "--sandbox", "off")
        self.assertEqual(self.ask("GET", "/catnap/fs"), (200, {"fs": []}))
        # Its memory is private.
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.dir, "back"))
            self.no(["fs", "id=work,socket=back"], "memory that is shared")
        self.no(["fs", "id=work,add=images"], "memory that is shared")
        self.kill(p)
        self.start("--hotplug", "on", "--sandbox", "off", memory="16M,shared=on")
        self.no(["fs", "id=work,remove=on"], "work was not found")
        for body, words in (({}, "one of path_on_host and socket"), ({"path_on_host": "a", "socket": "b"}, "one of path_on_host"),
                            ({"socket": "b", "is_read_only": True}, "back end's"), ({"socket": "b", "cache": "none"}, "back end's"),
                            ({"socket": "b", "tag": ""}, "1 to 36"), ({"socket": "b", "tag": "x" * 37}, "36"),
                            ({"socket": "b", "cache": "x"}, "cache"), ({"path_on_host": "a,b"}, "comma"),
                            ({"path_on_host": "images/none"}, "No such file"), ({"path_on_host": "back"}, "no folder")):
            status, answer = self.ask("PUT", "/catnap/fs/work", {"fs_id": "work", **body})
            self.assertEqual(status, 400, body)
            self.assertIn(words, answer["fault_message"])
        status, answer = self.ask("PUT", "/catnap/fs/" + "x" * 37, {"fs_id": "x" * 37, "socket": "b"})
        self.assertIn("expected a tag", answer["fault_message"])

    def test_no_folder_comes_in_a_sandbox(self):
        self.start("--hotplug", "on", memory="16M,shared=on")
        self.assertIsNone(self.starter())
        self.no(["fs", "id=work,add=."], "sandbox", "--hotplug DIR")
        self.no(["fs", "id=work,socket=s"], "sandbox")

    def late(self):
        """A folder for what comes, with a folder in it, and things that are none of them."""
        os.makedirs(os.path.join(self.dir, "late", "one", "deep"))
        os.mkdir(os.path.join(self.dir, "late-not"))
        os.symlink("/", os.path.join(self.dir, "late", "out"))
        os.symlink("one", os.path.join(self.dir, "late", "in"))
        with open(os.path.join(self.dir, "late", "file"), "w", encoding="ascii"):
            pass

    def test_what_folders_a_sandbox_refuses(self):
        """Whatever is not at or below that of --hotplug, in the same words whether it is there or not."""
        self.late()
        self.start("--hotplug", "late", memory="16M,shared=on")
        self.assertIsNotNone(self.starter())
        for path in ("/", "/none", ".", "late-not", "late-none", "late/..", "late/one/../..", "late/out", "late/out/tmp", "lat", "",
                     "x/../late/one", "/late"):
            status, answer = self.ask("PUT", "/catnap/fs/work", {"fs_id": "work", "path_on_host": path})
            self.assertEqual((status, answer["fault_message"]), (400, (
                "Folder config error: path_on_host: in the sandbox a folder is at or below that of --hotplug: expected a path that begins "
                "with late, and does not lead out of there.")), path)
        for path, word in (("late/none", "No such file"), ("late/file", "no folder"), ("late/one,x", "comma"), ("late/one/none/x", "No such"),
                           ("late/" + "x" * 255 + "y", "too long"), ("late/" + "x/" * 2050, "too long")):
            self.no(["fs", f'id=work,add="{path}"'], word)
        self.assertEqual(self.ask("GET", "/catnap/fs"), (200, {"fs": []}))
        self.assertEqual(self.helpers(0), 0)

    @unittest.skipUnless(VIRTIOFSD and os.geteuid() == 0, "no virtiofsd, or not root, as some need it")
    def test_folders_come_and_go_in_a_sandbox(self):
        self.late()
        for irqchip in ("user", "kernel"):
            p = self.start("--hotplug", "late", "--irqchip", irqchip, "--cpus", "2", memory="16M,shared=on")
            starter = self.starter()
            before = None
            for turn in range(4):
                self.yes("fs", f"id=work,add=late/one{',readonly=on' if turn & 1 else ''}")
                self.yes("fs", "id=all,add=./late//.,cache=none")
                self.yes("fs", f"id=deep,add={self.dir}/late/in/deep")
                self.no(["fs", "id=work,add=late/one"], "there is one already")
                self.assertEqual(self.helpers(3), 3)
                self.assertEqual(len(self.ask("GET", "/catnap/fs")[1]["fs"]), 3)
                for name in ("work", "all", "deep"):
                    self.yes("fs", f"id={name},remove=on")
                self.assertEqual(self.helpers(0), 0)
                now = [len(os.listdir(f"/proc/{pid}/{what}")) for pid in (p.pid, starter) for what in ("fd", "task")]
                before = before or now
                self.assertEqual(now, before)
            self.kill(p)

    @unittest.skipUnless(VIRTIOFSD and os.geteuid() == 0, "no virtiofsd, or not root, as some need it")
    def test_a_guest_uses_one_in_a_sandbox(self):
        self.late()
        made = os.path.join(self.dir, "late", "one", "made")
        with open(os.path.join(self.dir, "late", "one", "hello"), "w", encoding="ascii") as f:
            f.write("from the host\n")
        for irqchip in ("user", "kernel"):
            for readonly in ("off", "on"):
                p = self.start("--hotplug", "late", "--irqchip", irqchip, "--cpus", "2", memory="16M,shared=on",
                               cmdline=f"cpus=2 folder={1 + (readonly == 'on')}")
                for _ in range(3):
                    self.yes("fs", f"id=work,add=late/one,readonly={readonly}")
                    self.assertEqual(p.stdout.readline(), b"used\n")
                    self.yes("fs", "id=work,remove=on")
                    if readonly == "off":
                        with open(made, encoding="ascii") as f:
                            self.assertEqual(f.read(), "from the guest\n")
                        os.unlink(made)
                self.kill(p)

    @unittest.skipUnless(VIRTIOFSD and os.geteuid() == 0, "no virtiofsd, or not root, as some need it")
    def test_who_starts_them_is_small_and_ends(self):
        self.late()
        p = self.start("--hotplug", "late", memory="16M,shared=on")
        starter = self.starter()
        with open(f"/proc/{starter}/status", encoding="ascii") as f:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
        for word in ("CapPrm", "CapEff", "CapBnd"):
            self.assertEqual(int(status[word], 16) & ~0x892401ff, 0, word)
        self.assertEqual(len(os.listdir(f"/proc/{starter}/fd")), 6)
        self.yes("fs", "id=work,add=late/one")
        p.kill()
        p.wait()
        self.assertEqual(self.helpers(0), 0)
        until = time.monotonic() + 60
        while os.path.exists(f"/proc/{starter}/fd/0"):
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)

    def test_nobody_starts_them_any_more(self):
        self.late()
        self.start("--hotplug", "late", memory="16M,shared=on")
        os.kill(self.starter(), 9)
        for _ in range(2):
            self.no(["fs", "id=work,add=late/one"], "the process that starts virtiofsd in the sandbox is gone")
        self.assertEqual(self.ask("GET", "/catnap/fs"), (200, {"fs": []}))

    @unittest.skipUnless(VIRTIOFSD and os.geteuid() == 0, "no virtiofsd, or not root, as some need it")
    def test_folders_come_and_go(self):
        for folder in ("one", "two"):
            os.mkdir(os.path.join(self.dir, folder))
        self.start("--hotplug", "on", "--sandbox", "off", "--fs", "tag=first,path=one", memory="16M,shared=on")
        self.assertEqual(self.ask("GET", "/catnap/fs"), (200, {"fs": [
            {"fs_id": "first", "tag": "first", "path_on_host": "one", "is_read_only": False, "cache": "auto"}]}))
        for _ in range(3):
            self.yes("fs", "id=work,add=two,tag=second,readonly=on,cache=none")
            self.no(["fs", "id=more,add=two,tag=first"], "tag: is another folder's")
            self.no(["fs", "id=work,add=one"], "there is one already")
            table = self.yes("fs").split("\n")
            self.assertEqual(table[2].split(), ["work", "second", "ro", "none", "two"])
            shown = [(d["kind"], d["id"]) for d in self.ask("GET", "/catnap/devices")[1]["devices"] if d["kind"] == "fs"]
            self.assertEqual(shown, [("fs", "first"), ("fs", "work")])
            self.assertEqual(self.helpers(2), 2)
            self.yes("fs", "id=work,remove=on")
            self.assertEqual(self.helpers(1), 1)
        self.yes("fs", "id=first,remove=on")
        self.assertEqual(self.helpers(0), 0)
        self.assertEqual(self.ask("GET", "/catnap/fs"), (200, {"fs": []}))

    def test_what_is_refused(self):
        one = self.image("one")
        self.refused(base.vmm(base.guest("hotplug.elf"), "--hotplug", ""), 2, "--hotplug", "on, off or a folder")
        self.refused(base.vmm(base.guest("hotplug.elf"), "--hotplug", "on", "--transport", "mmio"), 2, "--hotplug", "--transport pci")
        self.refused(base.vmm(base.guest("hotplug.elf"), "--hotplug", "on", "--hw", "fdt"), 2, "--hotplug", "--hw acpi")
        p = self.start("--sandbox", "off", guest="end.elf", cmdline="how=halt", says="")
        while not os.path.exists(os.path.join(self.dir, "s")):
            self.assertIsNone(p.poll())
        self.no(["disk", f"id=data,add={one}"], LATE)
        self.no(["disk", "id=data,remove=on"], LATE)
        self.no(["net", "id=eth1,add=tap77"], LATE)

    def test_what_settings_are_refused(self):
        for args, word in ((["disk", "a,add=x,image=y"], "not with image"), (["disk", "a,readonly=on"], "without add"),
                           (["disk", "a,remove=on,bw=1M"], "not with other settings"), (["net", "a,mac=x"], "without add"),
                           (["fs", "a"], "add="), (["fs", "a,add=x,socket=y"], "both"), (["fs", "a,remove=on,tag=b"], "id= alone"),
                           (["fs", "a,socket=x,cache=none"], "cache"), (["fs", "a,socket=x,readonly=on"], "readonly"),
                           (["net", "a,add=x,link=up"], "not with link"), (["net", "a,remove=on,link=up"], "not with other")):
            code, _, err = self.ctl(*args)
            self.assertEqual(code, 2, err)
            self.assertIn(word, err)


if __name__ == "__main__":
    base.CATNAP, base.GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
