#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Configuration files: the same VM as by options, and what is wrong in them is named with its line and member.

    test_config.py CATNAP GUESTS SCHEMA [unittest options]
"""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import unittest

CATNAP = GUESTS = SCHEMA = ""
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)

# Every option of a VM, with each of its keys.
OPTIONS = [
    "--kernel", "{dir}/image, with a comma", "--kernel-format", "bzimage", "--initramfs", "{dir}/initramfs",
    "--cmdline", "a=\"b c\" -- d", "--cpus", "2,affinity=0:0", "--memory", "64M,shared=on,thp=off,prefault=off,lock=off,host-nodes=0,max=96M,plug=16M,block=4M",
    "--numa", "cpus=0,memory=16M,host-nodes=0,distances=10:15", "--numa", "cpus=1,memory=48M",
    "--disk", "{dir}/a,readonly=on,direct=off,lock=off,format=raw,id=one,queues=2,block-size=4096,bw=1M,bw-burst=2M,bw-one-time=9M,ops=100,ops-refill=3s,"
    "ops-one-time=7",
    "--disk", 'path="{dir}/b,""c""=d"', "--disk", "{dir}/c,bw-burst=2M,bw-refill=100ms,ops=10,ops-burst=9",
    "--pmem", "{dir}/p,readonly=on,format=raw,lock=off,bw=1M,bw-burst=2M,bw-one-time=9M,ops=100,ops-refill=3s,ops-one-time=7",
    "--pmem", "path={dir}/q,bw-burst=2M,bw-refill=100ms,ops=10,ops-burst=9",
    "--net", "tap=none0,mac=02:00:00:00:00:01,queues=1,mtu=1400,bw=1M,ops=5,bw-burst=1M,bw-one-time=1M,"
    "ops-burst=1,ops-one-time=1,rx-bw=1M,rx-bw-burst=2M,rx-bw-one-time=1M,rx-ops-burst=5,rx-ops-refill=1s,rx-ops-one-time=2,"
    "tx-bw-burst=1M,tx-bw-refill=1s,tx-bw-one-time=1M,tx-ops=5,tx-ops-burst=5,tx-ops-one-time=2",
    "--net", "tap=none1,bw-refill=1s,bw-burst=1M,ops-refill=1s,ops=5,rx-bw=1M,rx-bw-refill=1s,rx-ops=5,tx-bw=1M,tx-ops=5,tx-ops-refill=1s",
    "--disk", "vhost-user={dir}/back,queues=2,reconnect=off", "--net", "tap=auto,bridge=br0", "--net", "passt,forward=tcp:8080:80+udp:53",
    "--net", "stream={dir}/stream", "--net", "vhost-user={dir}/back-net,queues=2,mac=02:00:00:00:00:02,mtu=1400,reconnect=on",
    "--fs", "tag=files,socket={dir}/fs,queues=2,reconnect=on", "--fs", "tag=more,path={dir},readonly=on,cache=none", "--vhost", "type=4,socket={dir}/other,queues=1,config=8,reconnect=off",
    "--vsock", "cid=3,socket={dir}/vsock", "--balloon", "size=1M,deflate-on-oom=off",
    "--dump-memory", "on", "--rng", "mode=on,bw=1M,bw-burst=2M,bw-one-time=3M,ops=9,ops-refill=1s,ops-one-time=4", "--on-reset", "restart", "--io", "thread", "--irqchip", "user", "--hw", "acpi", "--transport", "pci",
    "--name", "web-1", "--snapshots", "{dir}", "--track-dirty", "on", "--hotplug", "{dir}",
    "--guest-halt-poll", "force,ns=100us,grow=3,grow-start=10us,shrink=4,allow-shrink=off,host=learned",
    "--halt-poll", "policy=adaptive,max=300us,bias=latency,cpu-max=50%,group=off",
    "--halt-poll", "policy=kernel,max=1ms,grow=3,grow-start=5us,shrink=1,vcpu=1",
    "--serial", "file={dir}/serial", "--console", "file={dir}/console", "--debug-exit", "0xf4,base=64",
    "--dump-acpi", "{dir}", "--dump-dtb", "{dir}/dtb", "--sandbox", "off", "--user", "nobody", "--chroot", "{dir}",
    "--stats", "{dir}/stats", "--api-socket", "{dir}/api.s", "--halt-trace", "{dir}/trace", "--timeout", "5s",
    "--log-level", "debug", "--log-file", "{dir}/log",
]
# Stands in the place of a kernel: a disk has its own.
OWN = ["--disk", "{dir}/a", "--boot-entry", "1>0"]
# The same, and in that of what the guest sees.
RESTORED = ["--restore", "{dir}/snapshot,memory=uffd,handler={dir}/handler,paused=on,clock=realtime,learned=off"]

# Files with a mistake, and where it is: the line and what stands in the message.
BROKEN = [
    ("", 1, "is not JSON"),
    ("{", 1, "is not JSON"),
    ('\xef\xbb\xbf{"kernel": "x"}', 1, "begins with a byte order mark: expected none"),
    ("null", 1, "is not an object"),
    ("[]", 1, "is not an object"),
    ('"kernel"', 1, "is not an object"),
    ('{"kernel": "x"} {}', 1, "is not JSON"),
    ('{"kernel": "x"}\n\nx', 3, "is not JSON"),
    ('{"kernel": "x",}', 1, "is not JSON"),
    ('{"kernel": "x"\n // no\n}', 2, "is not JSON"),
    ('{"kernel": "x" /* no */}', 1, "is not JSON"),
    ("{\n'kernel': \"x\"}", 2, "is not JSON"),
    ('{"kernel": \'x\'}', 1, "is not JSON"),
    ('{"kernel": "\xff"}', 1, "is not JSON"),
    ('{\n"kernel": "x",\n"kernel": "y"}', 3, '"kernel" is given twice'),
    ('{"cpus": {"n": 1,\n "n": 2}}', 2, '"n" is given twice'),
    ('{"kernel": "x",\n"\\u006bernel": "y"}', 2, "without escapes"),
    ('{"kernel": "\\ud800"}', 1, "whole characters"),
    ('{"kernel": "\\udc00\\ud800"}', 1, "whole characters"),
    ('{"kernel": NaN}', 1, '"kernel" is no whole number: expected a string'),
    ('{"cpus": Infinity}', 1, '"cpus" is no whole number'),
    ('{"kernel": true}', 1, '"kernel" is a boolean: expected a string'),
    ('{"disk": true}', 1, '"disk" is a boolean: expected a string or an object'),
    ('{"disk": {"path": "a", "id": 5}}', 1, '"id" is a number: expected a string'),
    ('{"cmdline": 1}', 1, '"cmdline" is a number: expected a string'),
    ('{"irqchip": true}', 1, '"irqchip" is a boolean: expected a string'),
    ('{\n\n"dsik": "x"}', 3, "dsik: unknown option: expected disk?"),
    ('{"nothing-of-ours": 1}', 1, "nothing-of-ours: unknown option"),
    ('{"config": "x"}', 1, '"config" stands on the command line only'),
    ('{"print-config": true}', 1, '"print-config" stands on the command line only'),
    ('{"help": true}', 1, "help: unknown option"),
    ('{"kernel": null}', 1, '"kernel" is null: expected a string'),
    ('{"kernel": {"path": "x"}}', 1, '"kernel" is an object: expected a string'),
    ('{"kernel": ""}', 1, 'kernel: "" is empty'),
    ('{"kernel": "a\\u0000b"}', 1, '"kernel" holds a NUL'),
    ('{"kernel": ["a", "b"]}', 1, '"kernel" is an array: expected one value'),
    ('{"memory": 99999999999999999999}', 1, '"memory" is out of range'),
    ('{"memory": -1}', 1, 'memory: size: "-1"'),
    ('{"memory": 1.5}', 1, '"memory" is no whole number'),
    ('{"memory": true}', 1, '"memory" is a boolean'),
    ('{"timeout": 5}', 1, 'timeout: "5" has no unit'),
    ('{"verbose": "on"}', 1, '"verbose" takes no value'),
    ('{"rng": "maybe"}', 1, 'rng: mode: "maybe" is unknown'),
    ('{"rng": {"mode": "maybe"}}', 1, 'rng: mode: "maybe" is unknown'),
    ('{"rng": {"mode": false,\n"bw": "1M"}}', 1, 'rng: has a limit for what is off: expected off alone'),
    ('{"rng": {"bw-burst": "1M"}}', 1, 'rng: bw-burst without bw'),
    ('{"irqchip": "none"}', 1, 'irqchip: "none" is unknown'),
    ('{"disk": {"pth": "a"}}', 1, 'disk: "pth" is an unknown key: expected path'),
    ('{"disk": {}}', 1, 'disk: "" is empty'),
    ('{"disk": {"readonly": true}}', 1, "disk:"),
    ('{"disk": [{"path": "a"},\n{"path": "b",\n"queues": 0}]}', 3, 'disk: queues: "0" is out of range'),
    ('{"disk": [{"path": "a"},\n{"path": null}]}', 2, '"path" is null'),
    ('{"disk": [["a"]]}', 1, '"disk" is an array'),
    ('{"disk": [\n"a",\n"b,queues=99"]}', 3, "disk: queues"),
    ('{"cpus": {"n": {"x": 1}}}', 1, '"n" is an object'),
    ('{"cpus": {"n": 65}}', 1, 'cpus: n: "65" is out of range'),
    ('{"halt-poll": [{"policy": "off"},\n {"policy": "lazy", "vcpu": 1}]}', 2, 'halt-poll: policy: "lazy"'),
    ('{"halt-poll": ["off", "kernel"]}', 1, "given twice"),
    ('{"vsock": {"cid": 3}}', 1, "vsock:"),
    ('{"serial": {"file": "x"}}', 1, '"serial" is an object'),
    ("{" + ",".join(f'"x{i}": 1' for i in range(5000)) + "}", None, "more than 4096 members"),
    ('{"kernel": ' + "[" * 100 + "]" * 100 + "}", 1, "is not JSON"),
]


def catnap(*args, text=None, timeout=60):
    return subprocess.run([CATNAP, *args], input=text if text is not None else b"", capture_output=True, check=False,
                          timeout=timeout)


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        # pylint: disable=consider-using-with
        self.tmp = tempfile.TemporaryDirectory()
        self.addCleanup(self.tmp.cleanup)
        self.dir = self.tmp.name

    def printed(self, *args, text=None):
        p = catnap("run", *args, "--print-config", text=text)
        self.assertEqual((p.returncode, p.stderr), (0, b""))
        return p.stdout

    def options(self):
        return [o.replace("{dir}", self.dir) for o in OPTIONS]


class Same(Case):
    """A file says what the options said."""

    def test_what_is_not_utf8_is_not_written(self):
        for name in (b"\xff", b"a\x80", b"\xc3", b"\xc0\xaf", b"\xe0\x9f\xbf", b"\xed\xa0\x80", b"\xf0\x8f\xbf\xbf",
                     b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf5\x80\x80\x80"):
            for option, args in (("kernel", ("--kernel", name)), ("disk", ("--kernel", "x", "--disk", b"path=" + name))):
                p = catnap("run", *args, "--print-config")
                self.assertEqual((p.returncode, p.stdout), (2, b""), name)
                self.assertIn(f"--print-config: --{option}: ".encode(), p.stderr)
                self.assertIn(b"is not UTF-8", p.stderr)
                self.assertEqual(p.stderr.count(b"\n"), 1)
        for name in ("\x7f", "\x80", "\u07ff", "\u0800", "\ud7ff", "\ue000", "\uffff", "\U00010000", "\U0010ffff"):
            text = self.printed("--kernel", name)
            self.assertEqual(json.loads(text), {"kernel": name})
            self.assertEqual(self.printed("--config", "-", text=text), text)

    def test_every_option_goes_through_a_file_and_back(self):
        text = self.printed(*self.options())
        self.assertEqual(self.printed("--config", "-", text=text), text)
        document = json.loads(text)
        restored = self.printed(*(o.replace("{dir}", self.dir) for o in RESTORED))
        self.assertEqual(self.printed("--config", "-", text=restored), restored)
        own = self.printed(*(o.replace("{dir}", self.dir) for o in OWN))
        self.assertEqual(self.printed("--config", "-", text=own), own)
        document = {**json.loads(own), **document, **json.loads(restored)}
        missing = set(json.loads(pathlib.Path(SCHEMA).read_text(encoding="utf-8"))["properties"]) - set(document)
        # Beside --log-level it is an error.
        self.assertEqual(missing, {"verbose"}, "expected all options in this test")
        self.assertEqual(document["disk"][1], {"path": f'{self.dir}/b,"c"=d'})
        self.assertEqual(document["disk"][0]["readonly"], True)
        self.assertEqual(document["disk"][0]["queues"], 2)
        self.assertEqual(document["cmdline"], 'a="b c" -- d')
        self.assertEqual(document["cpus"], {"n": 2, "affinity": "0:0"})
        self.assertEqual(document["kernel"], f"{self.dir}/image, with a comma")

    def test_numbers_booleans_and_strings_are_what_options_take(self):
        self.assertEqual(json.loads(self.printed("--config", "-", text=b"""{
            "kernel": "x", "cpus": 2, "memory": 67108864, "rng": false, "verbose": false, "disk": "a,readonly=on",
            "vsock": {"cid": 3, "socket": "s"}}""")),
            {"kernel": "x", "cpus": {"n": 2}, "memory": {"size": "67108864"}, "rng": {"mode": False},
             "disk": [{"path": "a", "readonly": True}], "vsock": {"cid": 3, "socket": "s"}})

    def test_the_command_line_counts(self):
        file = b'{"kernel": "x", "memory": "64M", "disk": [{"path": "a"}, {"path": "b"}], "serial": "null"}'
        self.assertEqual(json.loads(self.printed("--config", "-", "-m", "1M", "--disk", "c", text=file)),
                         {"kernel": "x", "memory": {"size": "1M"}, "disk": [{"path": "c"}], "serial": "null"})
        self.assertEqual(json.loads(self.printed("y", "--config", "-", text=file))["kernel"], "y")

    def test_of_two_options_that_say_the_same_the_command_line_s_counts(self):
        for file, given, left in ((b'{"kernel": "x", "verbose": true}', ("--log-level", "warn"), {"log-level": "warn"}),
                                  (b'{"kernel": "x", "log-level": "debug"}', ("-v",), {"verbose": True})):
            self.assertEqual(json.loads(self.printed("--config", "-", *given, text=file)), {"kernel": "x", **left})

    def test_a_fifo_is_waited_for_until_the_timeout(self):
        path = os.path.join(self.dir, "fifo")
        os.mkfifo(path)
        p = catnap("run", "--config", path, "--timeout", "200ms")
        self.assertEqual((p.returncode, p.stdout, p.stderr.count(b"\n")), (124, b"", 1), p.stderr)
        self.assertIn(b"--timeout: the time is over: --config: ", p.stderr)
        with subprocess.Popen([CATNAP, "run", "--config", path, "--print-config"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE) as p:
            with open(path, "wb") as f:
                f.write(b'{"kernel": ')
                f.flush()
                time.sleep(0.1)
                f.write(b'"x"}')
            self.assertEqual(json.loads(p.communicate(timeout=60)[0]), {"kernel": "x"})

    def test_options_are_checked_together_wherever_they_come_from(self):
        p = catnap("run", "--config", "-", "--irqchip", "kernel", text=b'{"kernel": "x", "halt-trace": "t"}')
        self.assertEqual((p.returncode, p.stdout), (2, b""))
        self.assertIn(b"--halt-trace", p.stderr)

    def test_the_tables_are_those_of_the_options(self):
        if not KVM:
            self.skipTest("no /dev/kvm")
        disk = os.path.join(self.dir, "disk")
        pathlib.Path(disk).write_bytes(bytes(65536))
        given = ["--cpus", "3", "--memory", "48M", "--transport", "mmio", "--disk", disk, "--rng", "off"]
        tables = []
        for config in (False, True):
            folder = os.path.join(self.dir, f"tables{config}")
            os.mkdir(folder)
            p = (catnap("run", "--config", "-", "--dump-acpi", folder, text=text) if config else
                 catnap("run", *given, "--dump-acpi", folder))
            self.assertEqual((p.returncode, p.stderr), (0, b""))
            tables.append({f.name: f.read_bytes() for f in pathlib.Path(folder).iterdir()})
            text = self.printed(*given, "-k", "none")
            text = json.dumps({k: v for k, v in json.loads(text).items() if k != "kernel"}).encode()
        self.assertEqual(tables[0], tables[1])
        self.assertGreater(len(tables[0]), 2)

    def test_a_guest_runs(self):
        if not KVM:
            self.skipTest("no /dev/kvm")
        path = os.path.join(self.dir, "vm.json")
        pathlib.Path(path).write_text(json.dumps({
            "kernel": os.path.join(GUESTS, "end.elf"), "cmdline": "how=byte value=33", "debug-exit": "0xf4", "memory": "16M", "timeout": "50s",
            "stats": os.path.join(self.dir, "stats.json")}), encoding="utf-8")
        p = catnap("run", "--config", path)
        self.assertEqual(p.returncode, 67, p.stderr)
        self.assertIn("vcpus", json.loads(pathlib.Path(self.dir, "stats.json").read_text(encoding="utf-8")))


class Broken(Case):
    def refused(self, text, line, says, *args):
        path = os.path.join(self.dir, "vm.json")
        pathlib.Path(path).write_bytes(text.encode("latin-1"))
        p = catnap("run", "--config", path, *args)
        message = p.stderr.decode()
        self.assertEqual((p.returncode, p.stdout), (2, b""), message)
        self.assertEqual(message.count("\n"), 1, message)
        self.assertRegex(message, r"\A[ -~]*\n\Z")
        place = re.escape(path) + (f":{line}: " if line else ": ")
        self.assertRegex(message, "^catnap run: " + place)
        self.assertIn(says, message)

    def test_each_fault_is_named_with_its_place(self):
        for text, line, says in BROKEN:
            with self.subTest(text=text[:60]):
                self.refused(text, line, says)

    def test_files_that_cannot_be_read(self):
        for path, says in ((os.path.join(self.dir, "none"), b"No such file"), (self.dir, b"Is a directory"),
                           ("/dev/zero", b"at most"), ("", b"is empty")):
            p = catnap("run", "--config", path)
            self.assertEqual((p.returncode, p.stdout, p.stderr.count(b"\n")), (2, b"", 1), p.stderr)
            self.assertIn(says, p.stderr)
        long = os.path.join(self.dir, "long")
        pathlib.Path(long).write_bytes(b'{"kernel": "' + b"x" * (1 << 20) + b'"}')
        p = catnap("run", "--config", long)
        self.assertEqual((p.returncode, p.stderr.count(b"\n")), (2, 1), p.stderr)
        self.assertIn(b"at most 1024 KiB", p.stderr)

    def test_a_run_does_not_write_over_its_configuration(self):
        path = os.path.join(self.dir, "vm.json")
        text = json.dumps({"kernel": os.path.join(GUESTS, "end.elf"), "stats": path})
        pathlib.Path(path).write_text(text, encoding="utf-8")
        p = catnap("run", "--config", path)
        self.assertEqual((p.returncode, p.stdout), (2, b""), p.stderr)
        self.assertIn(b"--config", p.stderr)
        self.assertEqual(pathlib.Path(path).read_text(encoding="utf-8"), text)


class Schema(Case):
    def test_the_installed_schema_is_the_command_s(self):
        p = catnap("run", "--print-schema")
        self.assertEqual((p.returncode, p.stderr), (0, b""))
        schema = json.loads(p.stdout)
        # Where sanitizers run, the sandbox is off by default; its words are the same.
        self.assertEqual(schema, json.loads(pathlib.Path(SCHEMA).read_text(encoding="utf-8")),
                         "catnap run --print-schema >docs/catnap-config.schema.json")

    def test_documents_hold_and_faults_do_not(self):
        try:
            import jsonschema  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("no python3-jsonschema")
        schema = json.loads(pathlib.Path(SCHEMA).read_text(encoding="utf-8"))
        check = jsonschema.validators.validator_for(schema)(schema)
        check.check_schema(schema)
        check.validate(json.loads(self.printed(*self.options())))
        for text in ('{"dsik": 1}', '{"disk": {"pth": 1}}', '{"disk": {"readonly": true}}', '{"verbose": "on"}',
                     '{"cpus": {"n": 65}}', '{"irqchip": "none"}', '{"kernel": null}'):
            self.assertFalse(check.is_valid(json.loads(text)), text)


if __name__ == "__main__":
    CATNAP, GUESTS, SCHEMA = sys.argv[1:4]
    unittest.main(argv=sys.argv[:1] + sys.argv[4:], verbosity=2)
