#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap run and serve under a service manager: they say when they are ready, messages have priorities in the journal,
and SIGTERM asks the guest: test_service.py CATNAP GUESTS [unittest options]"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest

CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 2 else ""
GUESTS = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
JOURNAL = "/run/systemd/journal/socket"
LIMIT = "60s"


def guest(name):
    return os.path.join(GUESTS, name + ".elf")


def command(*args):
    return [CATNAP, "run", "-m", "16M", "--timeout", LIMIT, *args]


def listen(name):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    s.bind(name)
    s.settimeout(60)
    return s


def all_of(s):
    """Returns what has come by now."""
    s.setblocking(False)
    found = []
    try:
        while True:
            found.append(s.recv(65536))
    except BlockingIOError:
        return found


def entry(data):
    """The fields of a journal entry."""
    fields = {}
    while data:
        line, data = data.split(b"\n", 1)
        name, sep, value = line.partition(b"=")
        if not sep:
            n = struct.unpack("<Q", data[:8])[0]
            value, end, data = data[8:8 + n], data[8 + n:9 + n], data[9 + n:]
            assert end == b"\n", data
        fields[name.decode()] = value.decode()
    return fields


class Service(unittest.TestCase):
    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name

    def start(self, manager, *args, **env):
        p = subprocess.Popen(command(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True, env=dict(os.environ, NOTIFY_SOCKET=manager, **env))
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        return p

    def test_ready(self):
        for name in (os.path.join(self.temp, "notify"), f"\0catnap-test-{os.getpid()}"):
            for sandbox in ("on", "off"):
                with self.subTest(name=name, sandbox=sandbox), listen(name) as s:
                    p = self.start(name.replace("\0", "@"), "--sandbox", sandbox, guest("button"))
                    self.assertIn("READY=1", s.recv(4096).decode().splitlines())
                    # It is there already, whatever the guest has said.
                    self.assertEqual(p.stdout.readline(), "listening\n")
                    self.assertEqual(all_of(s), [])
                    s.settimeout(60)
                    p.send_signal(signal.SIGTERM)
                    lines = s.recv(4096).decode().splitlines()
                    self.assertIn("STOPPING=1", lines)
                    self.assertTrue([line for line in lines if line.startswith("STATUS=") and "asked" in line])
                    self.assertEqual(p.wait(60), 0)
                    self.assertEqual((p.stdout.read(), p.stderr.read()), ("pressed\n", ""))
                if name[0] == "/":
                    os.unlink(name)

    def test_ends_by_itself(self):
        name = os.path.join(self.temp, "notify")
        with listen(name) as s:
            p = self.start(name, "--debug-exit", "0xf4", "-c", "how=byte value=5", guest("end"))
            self.assertEqual(p.wait(60), 11)
            self.assertEqual([d.split(b"\n")[0] for d in all_of(s)], [b"READY=1", b"STOPPING=1"])

    def test_not_ready(self):
        """A start that fails says nothing."""
        name = os.path.join(self.temp, "notify")
        with listen(name) as s:
            p = self.start(name, os.path.join(self.temp, "no-kernel"))
            self.assertEqual(p.wait(60), 1)
            self.assertEqual(all_of(s), [])

    def test_nobody_there(self):
        """A name that leads nowhere holds nothing up."""
        full = os.path.join(self.temp, "full")
        for name in ("", "/", "@", "no-path", "vsock:2:1234", os.path.join(self.temp, "nobody"), "/" + "x" * 200, full):
            with self.subTest(name), listen(full) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0)
                p = self.start(name, "--debug-exit", "0xf4", "-c", "how=byte value=5", guest("end"))
                out, err = p.communicate(timeout=60)
                self.assertEqual((p.returncode, out, err), (11, "", ""))
                os.unlink(full)

    def test_waits_for_the_guest(self):
        """As long as it takes; a second signal does not wait."""
        p = self.start("", "-c", "deaf=1", guest("button"))
        self.assertEqual(p.stdout.readline(), "listening\n")
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.stdout.readline(), "pressed\n")
        with self.assertRaises(subprocess.TimeoutExpired):
            p.wait(1)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(p.wait(60), 128 + signal.SIGTERM)


class Serve(unittest.TestCase):
    """catnap serve: ready is who listens, and has started what a file asked for."""

    READY = ["READY=1", "STATUS=Waits to be told of a VM."]
    STARTED = ["STATUS=The VM was started."]
    STOPPING = ["STOPPING=1", "STATUS=The process ends."]

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.notify, self.api, self.file = (os.path.join(temp.name, n) for n in ("notify", "api", "vm.json"))
        self.manager = listen(self.notify)
        self.addCleanup(self.manager.close)

    def start(self, *args):
        p = subprocess.Popen([CATNAP, "serve", "--level", "Off", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env=dict(os.environ, NOTIFY_SOCKET=self.notify))
        self.addCleanup(lambda: (p.poll() is None and p.kill(), p.communicate()))
        return p

    def told(self):
        return self.manager.recv(4096).decode().splitlines()

    def put(self, path, body):
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.api)
            client = http.client.HTTPConnection("localhost")
            client.sock = s
            client.request("PUT", path, json.dumps(body))
            answer = client.getresponse()
            return answer.status, answer.read()

    def say(self, kernel):
        with open(self.file, "w", encoding="utf-8") as f:
            json.dump({"boot-source": {"kernel_image_path": kernel, "boot_args": "deaf=1"},
                       "machine-config": {"vcpu_count": 1, "mem_size_mib": 16}}, f)

    def test_api(self):
        for more in ([], ["--no-seccomp"]):
            with self.subTest(more):
                p = self.start("--api-sock", self.api, *more)
                # A client can come as soon as it is said.
                self.assertEqual(self.told(), self.READY)
                for path, body, status in (("/machine-config", {"vcpu_count": 1, "mem_size_mib": 16}, 204),
                                           ("/boot-source", {"kernel_image_path": "/nonexistent"}, 400),
                                           ("/actions", {"action_type": "InstanceStart"}, 400),
                                           ("/boot-source", {"kernel_image_path": guest("button"), "boot_args": "deaf=1"}, 204)):
                    self.assertEqual(self.put(path, body)[0], status, path)
                # Nothing was started so far.
                self.assertEqual(all_of(self.manager), [])
                self.manager.settimeout(60)
                self.assertEqual(self.put("/actions", {"action_type": "InstanceStart"})[0], 204)
                self.assertEqual(self.told(), self.STARTED)
                p.send_signal(signal.SIGTERM)
                self.assertEqual(self.told(), self.STOPPING)
                self.assertEqual(p.wait(60), 128 + signal.SIGTERM)
                self.assertEqual(all_of(self.manager), [])
                self.manager.settimeout(60)
                self.assertFalse(os.path.exists(self.api))

    def test_without_a_vm(self):
        p = self.start("--api-sock", self.api)
        self.assertEqual(self.told(), self.READY)
        p.send_signal(signal.SIGTERM)
        self.assertEqual(self.told(), self.STOPPING)
        self.assertEqual(p.wait(60), 128 + signal.SIGTERM)

    def test_config_file(self):
        self.say(guest("button"))
        for more in (["--api-sock", self.api], ["--no-api"]):
            with self.subTest(more):
                p = self.start("--config-file", self.file, *more)
                self.assertEqual([self.told(), self.told()], [self.STARTED, ["READY=1"]])
                p.send_signal(signal.SIGTERM)
                self.assertEqual(self.told(), self.STOPPING)
                self.assertEqual(p.wait(60), 128 + signal.SIGTERM)

    def test_not_ready(self):
        """A start that fails says nothing."""
        self.say("/nonexistent")
        with open(self.api, "w", encoding="utf-8"):
            pass
        for args, status in ((["--config-file", self.file, "--no-api"], 152), (["--api-sock", self.api], 1)):
            with self.subTest(args):
                self.assertEqual(self.start(*args).wait(60), status)
                self.assertEqual(all_of(self.manager), [])


@unittest.skipUnless(os.geteuid() == 0 and shutil.which("unshare"), "needs root, for a /run of its own")
class Journal(unittest.TestCase):
    """journald's place is taken, in a mount namespace."""

    INNER = r"""
import os, socket, subprocess, sys
os.makedirs("/run/systemd/journal")
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("/run/systemd/journal/socket")
s.setblocking(False)
a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
st = os.fstat(b.fileno())
own = sys.argv[1] == "ours"
env = dict(os.environ, JOURNAL_STREAM=f"{st.st_dev}:{st.st_ino + (not own)}")
p = subprocess.run(sys.argv[2:], env=env, stdin=subprocess.DEVNULL, stdout=b, stderr=b, timeout=100)
b.close()
text = b""
while True:
    more = a.recv(65536)
    if not more:
        break
    text += more
entries = []
while True:
    try:
        entries.append(s.recv(65536))
    except BlockingIOError:
        break
print(repr((p.returncode, text.decode(), entries)))
"""

    def run_in(self, whose, *args):
        p = subprocess.run(["unshare", "--mount", "--propagation", "private", "sh", "-c", 'mount -t tmpfs run /run && exec "$@"', "sh",
                            sys.executable, "-c", self.INNER, whose, *command(*args)],
                           capture_output=True, text=True, timeout=120, check=False)
        if p.returncode and "mount" in p.stderr:
            self.skipTest(p.stderr)
        self.assertEqual(p.returncode, 0, p.stderr)
        status, text, entries = eval(p.stdout)  # pylint: disable=eval-used
        return status, text, [entry(e) for e in entries]

    def test_messages(self):
        for sandbox in ("on", "off"):
            with self.subTest(sandbox):
                status, text, entries = self.run_in("ours", "--sandbox", sandbox, "-v", "-c", "how=triple", guest("end"))
                self.assertEqual(status, 33)
                # The guest's output stays where it was.
                self.assertNotIn("catnap run", text)
                self.assertEqual({e["SYSLOG_IDENTIFIER"] for e in entries}, {"catnap"})
                self.assertIn("6", {e["PRIORITY"] for e in entries})
                # The report: several lines, one entry.
                report = [e for e in entries if "triple fault" in e["MESSAGE"] and e["PRIORITY"] == "4"]
                self.assertEqual(len(report), 1, entries)
                self.assertIn("\n", report[0]["MESSAGE"])
                for e in entries:
                    self.assertIsNone(re.match(r"catnap run|\n", e["MESSAGE"]))
                    self.assertFalse(e["MESSAGE"].endswith("\n"))

    def test_not_the_journal(self):
        """Standard error leads elsewhere than what was the journal once."""
        status, text, entries = self.run_in("another", "-c", "how=triple", guest("end"))
        self.assertEqual((status, entries), (33, []))
        self.assertIn("catnap run: ", text)

    def test_log_file(self):
        with tempfile.TemporaryDirectory() as temp:
            log = os.path.join(temp, "log")
            status, _, entries = self.run_in("ours", "--log-file", log, "-c", "how=triple", guest("end"))
            self.assertEqual((status, entries), (33, []))
            with open(log, encoding="utf-8") as f:
                self.assertIn("catnap run: ", f.read())


if __name__ == "__main__":
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("no /dev/kvm")
        sys.exit(77)
    unittest.main()
