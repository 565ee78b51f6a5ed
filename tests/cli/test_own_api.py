#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The control socket of catnap run: /catnap, the metrics, descriptors; held against docs/openapi.yaml
and docs/metrics.md.

    test_own_api.py CATNAP GUESTS DOCS [unittest options]
"""

import base64
import fcntl
import json
import os
import re
import select
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position
from unix_http import Connection  # noqa: E402 pylint: disable=wrong-import-position

try:
    import yaml
except ImportError:
    yaml = None

DOCS = ""
PROMTOOL = shutil.which("promtool")
OPENMETRICS = "application/openmetrics-text"


# -- the description ------------------------------------------------------------------------------

class Description:
    """docs/openapi.yaml, as far as it is used there."""

    def __init__(self):
        with open(os.path.join(DOCS, "openapi.yaml"), encoding="utf-8") as f:
            self.doc = yaml.safe_load(f)

    def of(self, o):
        while "$ref" in o:
            at = self.doc
            for part in o["$ref"][2:].split("/"):
                at = at[part]
            o = at
        return o

    def operations(self):
        for path, item in self.doc["paths"].items():
            for method, operation in item.items():
                if method != "parameters":
                    yield method.upper(), path, operation

    def answer(self, method, path, status):
        """The schemas of an answer by their types; None: it is not described."""
        responses = self.doc["paths"][path][method.lower()]["responses"]
        if str(status) not in responses:
            return None
        content = self.of(responses[str(status)]).get("content", {})
        return {kind: self.of(body["schema"]) for kind, body in content.items()}

    def wrong(self, schema, value, where="answer"):
        """Returns what of @value is not as @schema says; "": nothing."""
        schema = self.of(schema)
        if value is None:
            return "" if schema.get("nullable") else f"{where} is null"
        kinds = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
        kind = schema["type"]
        if not isinstance(value, kinds[kind]) or (kind in ("integer", "number") and isinstance(value, bool)):
            return f"{where} is no {kind}: {value!r}"
        if "enum" in schema and value not in schema["enum"]:
            return f"{where} is none of {schema['enum']}: {value!r}"
        if kind in ("integer", "number") and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
            return f"{where} is out of range: {value!r}"
        if kind == "array":
            if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", len(value)):
                return f"{where} has {len(value)} items"
            return next(filter(None, (self.wrong(schema["items"], v, f"{where}[{i}]") for i, v in enumerate(value))), "")
        if kind != "object":
            return ""
        known = schema.get("properties", {})
        for name in schema.get("required", []):
            if name not in value:
                return f"{where} lacks {name}"
        for name, v in value.items():
            if name not in known:
                if schema.get("additionalProperties", True) is False:
                    return f"{where}.{name} is not described"
                continue
            found = self.wrong(known[name], v, f"{where}.{name}")
            if found:
                return found
        return ""


# -- what needs no VM -----------------------------------------------------------------------------

def passed(fd, command, pid="", n="1"):
    """@command as systemd starts it: with @fd at 3, and told so. sd_listen_fds(3)."""
    script = ("import os, sys; os.dup2(int(sys.argv[1]), 3); "
              "os.environ.update(LISTEN_PID=sys.argv[2] or str(os.getpid()), LISTEN_FDS=sys.argv[3]); "
              "os.execv(sys.argv[4], sys.argv[4:])")
    return [sys.executable, "-c", script, str(fd), pid, n, *command]


class Usage(base.Case):
    def test_values(self):
        image = base.guest("end.elf")
        for args, words in ((("--api-socket", ""), ("empty", "fd=N")), (("--api-socket", "x" * 108), ("too long",)),
                            (("--api-socket", "fd="), ("fd=N",)), (("--api-socket", "fd=x"), ("fd=N",)),
                            (("--api-socket", "fd=2"), ("from 3 on",)), (("--api-socket", "fd=99999999999"), ("fd=N",)),
                            (("--api-socket", "fd=77"), ("77", "not open")), (("--api-socket", "-"), ("no path",)),
                            (("--disk", "fd=77"), ("--disk", "77", "not open")), (("--disk", "fd=1"), ("3 to",)),
                            (("--disk", "readonly=on"), ("neither path nor fd",)),
                            (("--disk", "path=x,fd=5"), ("both path and fd",)),
                            (("--net", "mtu=1500"), ("no other end", "one of tap, fd")), (("--net", "tap=x,fd=5"), ("several other ends",)),
                            (("--net", "fd=5:"), ("no descriptor",)), (("--net", "fd=5:6,queues=3"), ("queues", "expected 2")),
                            (("--net", "fd=77"), ("--net", "not open")),
                            (("--vsock", "cid=3"), ("neither socket nor fd",)), (("--vsock", "cid=3,fd=77"), ("not open",)),
                            (("--serial", "fd=77"), ("--serial", "not open")), (("--console", "fd=x"), ("fd=N",))):
            with self.subTest(args):
                self.refused(base.vmm(image, *args), 2, args[0], *words)

    def test_wrong_descriptors(self):
        """Each says what it is instead, and nothing is taken."""
        image = base.guest("end.elf")
        with open(os.path.join(self.dir, "plain"), "wb") as f:
            f.truncate(4096)
        plain = os.open(os.path.join(self.dir, "plain"), os.O_RDONLY)
        self.addCleanup(os.close, plain)
        quiet = socket.socket(socket.AF_UNIX)
        inet = socket.socket()
        datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        for s in (quiet, inet, datagrams):
            self.addCleanup(s.close)
        for fd, words in ((plain, "not a socket"), (quiet.fileno(), "not a listening"), (inet.fileno(), "not a Unix"),
                          (datagrams.fileno(), "not a stream")):
            self.refused(base.vmm(image, "--api-socket", f"fd={fd}"), 2, "--api-socket", str(fd), words, pass_fds=[fd])
        self.refused(base.vmm(image, "--serial", f"fd={plain}"), 2, "--serial", "read only", pass_fds=[plain])
        self.refused(base.vmm(image, "--disk", f"fd={plain},readonly=on", "--serial", f"fd={plain}"), 2, "--serial",
                     "--disk's already", pass_fds=[plain])

    def test_passed_by_systemd(self):
        """Descriptor 3 is the control socket, unless an option has it, or another one; or it is not for us."""
        image = base.guest("end.elf")
        with open(os.path.join(self.dir, "plain"), "wb") as f:
            f.truncate(4096)
        plain = os.open(os.path.join(self.dir, "plain"), os.O_RDONLY)
        self.addCleanup(os.close, plain)
        taken = passed(plain, base.vmm(image))
        self.refused(taken, 2, "--api-socket", '"3"', "not a socket", pass_fds=[plain])
        self.refused(passed(plain, base.vmm(image, "--api-socket", "fd=77")), 2, "--api-socket", "77", pass_fds=[plain])
        for command in (passed(plain, base.vmm(image, "--disk", "fd=3,readonly=on", "--print-config")),
                        passed(plain, base.vmm(image, "--api-socket", "s", "--print-config")),
                        passed(plain, base.vmm(image, "--print-config"), pid="1"),
                        passed(plain, base.vmm(image, "--print-config"), n="0")):
            p = subprocess.run(command, capture_output=True, check=False, timeout=60, cwd=self.dir, pass_fds=[plain])
            self.assertEqual((p.returncode, p.stderr), (0, b""), command)

    @unittest.skipUnless(yaml, "PyYAML is not installed")
    def test_the_description_is_whole(self):
        d = Description()
        for method, path, operation in d.operations():
            self.assertTrue(operation["summary"].endswith("."), path)
            for status in operation["responses"]:
                self.assertIsNotNone(d.answer(method, path, status))


# -- with a VM ------------------------------------------------------------------------------------

class Vm(base.Case):
    def start(self, *args, how="halt", api=("--api-socket", "socket"), by=lambda command: command, **more):
        # pylint: disable=consider-using-with
        p = subprocess.Popen(by(base.vmm(base.guest("end.elf"), "--debug-exit", "0xf4", "-m", "16M", "-c", f"how={how}",
                                         "--timeout", "300s", *api, *args)),
                             stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV,
                             cwd=self.dir, **more)
        self.addCleanup(self.kill, p)
        until = time.monotonic() + 60
        while self.running() != "running":
            self.assertIsNone(p.poll(), p.stderr.read() if p.poll() is not None else "")
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        return p

    def kill(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        p.stdout.close()
        p.stderr.close()

    def connection(self):
        c = Connection(os.path.join(self.dir, "socket"))
        self.addCleanup(c.close)
        return c

    def raw(self, method, path, body=None, headers=None):
        c = self.connection()
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return r.status, r.getheader("Content-Type"), r.read()

    def ask(self, method, path, body=None, status=None):
        """The answer as JSON; @status is what it has to be."""
        got, kind, text = self.raw(method, path, json.dumps(body) if body is not None else None)
        if status is not None:
            self.assertEqual(got, status, text)
        if got == 204:
            self.assertEqual((kind, text), (None, b""))
            return None
        self.assertEqual(kind, "application/json")
        return json.loads(text)

    def fault(self, method, path, body, *words):
        said = self.ask(method, path, body, 400)
        self.assertEqual(list(said), ["fault_message"])
        for word in words:
            self.assertIn(word, said["fault_message"])

    def running(self):
        try:
            return self.ask("GET", "/catnap/status")["state"]
        except (FileNotFoundError, ConnectionError):
            return None

    def ended(self, p, status=0):
        """By the control socket."""
        self.ask("POST", "/catnap/stop", {"wait": True}, 204)
        self.assertEqual(p.wait(60), status, p.stderr.read())
        self.assertFalse(os.path.exists(os.path.join(self.dir, "socket")))


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Running(Vm):
    def test_socket(self):
        p = self.start("--name", "web")
        self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.dir, "socket")).st_mode), 0o600)
        self.refused(base.end("byte", "--api-socket", "socket"), 1, "--api-socket", "socket", "listens")
        self.file("taken", b"mine")
        self.refused(base.end("byte", "--api-socket", "taken"), 1, "--api-socket", "not a socket")
        self.refused(base.end("byte", "--api-socket", "none/s"), 1, "--api-socket", "No such file")
        status = self.ask("GET", "/catnap/status", status=200)
        self.assertEqual((status["id"], status["name"], status["pid"]), ("web", "web", p.pid))
        self.ended(p)
        self.assertEqual(p.stderr.read(), b"")
        # One that nobody listens to any more is replaced.
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.dir, "socket"))
        self.ended(self.start())

    def test_ends(self):
        """By a signal, too, whoever is connected; and by SIGKILL, after which the keeper removes the socket."""
        p = self.start()
        c = self.connection()
        c.request("GET", "/catnap/events")
        events = c.getresponse()
        p.terminate()
        self.assertEqual(p.wait(60), 128 + signal.SIGTERM)
        self.assertIn(b'"ended"', events.read())
        self.assertEqual(os.listdir(self.dir), [])
        p = self.start()
        p.kill()
        p.wait()
        until = time.monotonic() + 20
        while os.listdir(self.dir) and time.monotonic() < until:
            time.sleep(0.01)
        self.assertEqual(os.listdir(self.dir), [])

    def test_halt_polling(self):
        p = self.start("--cpus", "2", "--halt-poll", "policy=kernel")
        first = {"policy": "kernel", "max_ns": 200000, "grow": 2, "grow_start_ns": 10000, "shrink": 2, "bias": "balanced",
                 "price_ns": 0, "cpu_max_percent": 0, "group": False, "spin": "auto"}
        both = [{"vcpu": i, **first} for i in range(2)]
        self.assertEqual(self.ask("GET", "/catnap/halt-polling", status=200), {"vcpus": both})
        self.ask("PATCH", "/catnap/halt-polling/1", {"grow": 3, "cpu_max_percent": 12.5}, 204)
        both[1].update(grow=3, cpu_max_percent=12.5)
        self.ask("PATCH", "/catnap/halt-polling", {"shrink": 0, "group": True, "spin": "pause"}, 204)
        for one in both:
            one.update(shrink=0, group=True, spin="pause")
        self.assertEqual(self.ask("GET", "/catnap/halt-polling"), {"vcpus": both})
        # The default of max goes with the policy, as on the command line.
        self.ask("PATCH", "/catnap/halt-polling/0", {"policy": "adaptive", "bias": "latency"}, 204)
        both[0].update(policy="adaptive", bias="latency", max_ns=1000000)
        self.assertEqual(self.ask("GET", "/catnap/halt-polling/0"), both[0])
        self.assertEqual(self.ask("GET", "/catnap/stats")["vcpus"][0]["policy"], "adaptive")
        self.assertEqual(self.ask("GET", "/catnap/stats")["vcpus"][1]["policy"], "kernel")
        # All that was told can be given back.
        whole = {name: value for name, value in both[0].items() if name != "vcpu"}
        self.ask("PATCH", "/catnap/halt-polling/0", whole, 204)
        # A wrong body changes nothing, and the sentence has the member and its range.
        for body, words in (({"max_ns": -1}, ("max_ns", "0 to 4294967295")), ({"max_ns": 1 << 32}, ("max_ns", "4294967295")),
                            ({"max_ns": 1.5}, ("max_ns",)), ({"max_ns": "1"}, ("max_ns",)), ({"grow": True}, ("grow",)),
                            ({"policy": "fast"}, ("policy", "adaptive")), ({"policy": None}, ("policy",)),
                            ({"bias": "speed"}, ("bias", "latency")), ({"cpu_max_percent": 100.5}, ("cpu_max_percent", "100")),
                            ({"cpu_max_percent": -1}, ("cpu_max_percent",)), ({"group": 1}, ("group",)),
                            ({"spin": "hlt"}, ("spin", "umwait")), ({"spin": 1}, ("spin",)),
                            ({"vcpu": 1}, ("vcpu",)), ({"speed": 1}, ("speed",)), ({}, ("member",)), ([], ()), (7, ()),
                            ({"max_ns": 5, "policy": "fast"}, ("policy",))):
            for path in ("/catnap/halt-polling", "/catnap/halt-polling/1"):
                with self.subTest(body=body, path=path):
                    self.fault("PATCH", path, body, *words)
        for text in (b"", b"{", b'{"max_ns": 1} x', b'{"max_ns": 1, "max_ns": 2}', b"\xff", b"[" * 1000):
            self.assertEqual(self.raw("PATCH", "/catnap/halt-polling", text)[0], 400, text)
        for vcpu in ("2", "64", "00000", "x", "-1", "1x"):
            self.fault("GET", f"/catnap/halt-polling/{vcpu}", None)
            self.fault("PATCH", f"/catnap/halt-polling/{vcpu}", {"max_ns": 1})
        self.assertEqual(self.ask("GET", "/catnap/halt-polling"), {"vcpus": both})
        self.ended(p)

    def test_halt_polling_of_kvm(self):
        p = self.start("--cpus", "2", "--irqchip", "kernel")
        self.fault("PATCH", "/catnap/halt-polling/0", {"max_ns": 1}, "one setting")
        self.fault("PATCH", "/catnap/halt-polling", {"group": True}, "group", "irqchip kernel")
        self.fault("PATCH", "/catnap/halt-polling", {"spin": "pause"}, "spin", "irqchip kernel")
        got = self.raw("PATCH", "/catnap/halt-polling", b'{"max_ns": 50000}')
        if got[0] == 204:
            self.assertEqual([v["max_ns"] for v in self.ask("GET", "/catnap/halt-polling")["vcpus"]], [50000] * 2)
        else:
            self.assertIn(b"KVM_CAP_HALT_POLL", got[2])
        self.ended(p)

    def test_threads(self):
        p = self.start("--cpus", "3", "--io", "thread")
        threads = self.ask("GET", "/catnap/threads", status=200)["threads"]
        self.assertEqual([(t["role"], t.get("vcpu")) for t in threads],
                         [("main", None), ("vcpu", 0), ("vcpu", 1), ("vcpu", 2), ("io", None)])
        for t in threads:
            with open(f"/proc/{p.pid}/task/{t['tid']}/comm", encoding="ascii") as f:
                name = f.read().strip()
            self.assertTrue({"main": "catnap", "io": "catnap-io"}.get(t["role"], f"catnap-vcpu{t.get('vcpu')}") == name, name)
            self.assertTrue(os.sched_getaffinity(t["tid"]))
            os.sched_setaffinity(t["tid"], {0})
            self.assertEqual(os.sched_getaffinity(t["tid"]), {0})
        self.ended(p)

    def test_events(self):
        p = self.start()
        lines = []
        c = self.connection()
        c.request("GET", "/catnap/events?history=on")
        r = c.getresponse()
        self.assertEqual((r.status, r.getheader("Content-Type")), (200, "application/x-ndjson"))
        reader = threading.Thread(target=lambda: lines.extend(json.loads(x) for x in r))
        reader.start()
        late = self.connection()
        late.request("GET", "/catnap/events?history=off")
        for state in ("Paused", "Resumed"):
            status = self.raw("PATCH", "/vm", json.dumps({"state": state}))[0]
            self.assertIn(status, (204, 400))  # Firecracker's part
        self.fault("GET", "/catnap/events?history=yes", None, "history=on")
        self.fault("GET", "/catnap/events?x", None, "history=on")
        self.ended(p)
        reader.join(60)
        self.assertFalse(reader.is_alive())
        kinds = [x["event"] for x in lines]
        self.assertEqual((kinds[0], kinds[-1]), ("started", "ended"))
        self.assertEqual([x["number"] for x in lines], list(range(1, len(lines) + 1)))
        self.assertEqual((lines[-1]["reason"], lines[-1]["code"]), ("stopped", 0))
        self.assertLess(abs(time.time_ns() - lines[-1]["time_ns"]), 10**11)
        text = late.getresponse().read().decode().splitlines()
        self.assertNotIn("started", [json.loads(x)["event"] for x in text])
        self.assertEqual(json.loads(text[-1])["event"], "ended")

    def test_who_does_not_read_events(self):
        p = self.start()
        slow = []
        for _ in range(8):
            c = self.connection()
            c.request("GET", "/catnap/events?history=on")
            slow.append(c)
            self.assertEqual(self.ask("GET", "/catnap/status", status=200)["state"], "running")
        self.ended(p)

    def test_serial_input(self):
        p = self.start()
        self.assertEqual(self.ask("PUT", "/catnap/serial-input", {"data": "ab\n"}, 200), {"taken_bytes": 3})
        for data in (b"\0", b"\0\xff", b"\0\xff\xfe"):
            n = self.ask("PUT", "/catnap/serial-input", {"data_base64": base64.b64encode(data).decode()}, 200)
            self.assertEqual(n, {"taken_bytes": len(data)})
        # The guest reads nothing: no more than its FIFO holds.
        self.assertLess(self.ask("PUT", "/catnap/serial-input", {"data": "x" * 4096}, 200)["taken_bytes"], 4096)
        for body in ({}, {"data": "a", "data_base64": "YQ=="}, {"data": 1}, {"data": "a\0b"}, {"data_base64": "YQ"},
                     {"data_base64": "YQ==="}, {"data_base64": "Y"}, {"data_base64": "YR=="}, {"data_base64": "a b="}, {"text": "a"}):
            self.fault("PUT", "/catnap/serial-input", body)
        self.ended(p)

    def test_echo(self):
        """The guest gets what is given there."""
        p = self.start(how="echo")
        rest = "hello."
        until = time.monotonic() + 60
        while rest:
            rest = rest[self.ask("PUT", "/catnap/serial-input", {"data": rest}, 200)["taken_bytes"]:]
            self.assertLess(time.monotonic(), until)
        self.assertEqual(p.wait(60), base.PASSED)
        self.assertIn(b"hello", p.stdout.read())

    def test_config(self):
        p = self.start("--cpus", "2", "--name", "x")
        config = self.ask("GET", "/catnap/config", status=200)
        self.assertEqual((config["cpus"], config["name"], config["api-socket"]), ({"n": 2}, "x", "socket"))
        printed = subprocess.run(base.vmm("--config", "-", "--print-config"), input=json.dumps(config).encode(),
                                 stdout=subprocess.PIPE, check=True, timeout=60)
        self.assertEqual(json.loads(printed.stdout), config)
        machine = {"vcpu_count": 2, "mem_size_mib": int(config["memory"]["size"].rstrip("M")), "smt": False,
                   "track_dirty_pages": False, "huge_pages": "None"}
        self.assertEqual(self.ask("GET", "/vm/config")["machine-config"], machine)
        self.ended(p)
        size = machine["mem_size_mib"]
        p = self.start("--track-dirty", "on", "--cpus", "2", "--numa", f"cpus=0,memory={size}M,distances=10:20",
                       "--numa", "cpus=1,distances=20:10")
        self.assertEqual(self.ask("GET", "/machine-config"), dict(machine, track_dirty_pages=True, numa_nodes=[
            {"vcpus": [0], "mem_size_mib": size, "distances": [10, 20]}, {"vcpus": [1], "mem_size_mib": 0, "distances": [20, 10]}]))
        self.ended(p)

    def test_without_devices(self):
        p = self.start("--rng", "off")
        self.assertEqual(self.ask("GET", "/catnap/devices", status=200), {"devices": []})
        self.fault("GET", "/catnap/balloon", None, "balloon")
        self.fault("PATCH", "/catnap/nets/net0", {"link": "up"}, "net0")
        self.fault("PATCH", "/catnap/nets/net0", {"tx_rate_limiter": {"ops": {"size": 1}}}, "refill_time")
        self.fault("POST", "/catnap/power-button", None, "button")
        self.ended(p)

    def test_disks(self):
        for i in range(2):
            with open(os.path.join(self.dir, f"disk{i}"), "wb") as f:
                f.truncate(1 << 20)
        p = self.start("--disk", "disk0", "--disk", "disk1,readonly=on", "--balloon", "size=1M")
        devices = self.ask("GET", "/catnap/devices", status=200)["devices"]
        self.assertEqual([(d["number"], d["kind"], d.get("id")) for d in devices if d["kind"] == "disk"],
                         [(d["number"], "disk", f"disk{i}") for i, d in enumerate(x for x in devices if x["kind"] == "disk")])
        self.assertEqual(self.ask("GET", "/catnap/balloon", status=200)["target_bytes"], 1 << 20)
        self.ended(p)

    def test_limits_of_options_are_told(self):
        """The members that a PATCH of one bucket does not have stay as the options gave them."""
        with open(os.path.join(self.dir, "disk"), "wb") as f:
            f.truncate(1 << 20)
        p = self.start("--disk", "disk,bw=50M,ops=7", "--rng", "on,bw-burst=1M,bw-refill=2s,bw-one-time=9")
        ops = {"size": 1, "one_time_burst": None, "refill_time": 143}  # a packet each 142.857 ms
        bw = {"size": 5 << 20, "one_time_burst": None, "refill_time": 100}
        shown = self.ask("GET", "/vm/config", status=200)
        self.assertEqual(shown["drives"][0]["rate_limiter"], {"bandwidth": bw, "ops": ops})
        self.assertEqual(shown["entropy"]["rate_limiter"], {
            "bandwidth": {"size": 1 << 20, "one_time_burst": 9, "refill_time": 2000}, "ops": None})
        bw.update(size=1000)
        self.ask("PATCH", "/drives/disk0", {"drive_id": "disk0", "rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 100}}}, 204)
        self.assertEqual(self.ask("GET", "/vm/config")["drives"][0]["rate_limiter"], {"bandwidth": bw, "ops": ops})
        self.ended(p)

    def test_sandbox(self):
        """All that can be asked, in the process that is closed in: nothing of it ends it."""
        for mode in ("on", "log", "off"):
            p = self.start("--sandbox", mode, "--cpus", "2", "--io", "thread", "--balloon", "size=0")
            for path in ("/", "/version", "/vm/config", "/catnap/status", "/catnap/stats", "/catnap/halt-polling", "/catnap/learned",
                         "/catnap/threads", "/catnap/devices", "/catnap/config", "/catnap/balloon", "/metrics/openmetrics"):
                self.assertIn(self.raw("GET", path)[0], (200, 400), path)
            self.ask("PATCH", "/catnap/halt-polling", {"policy": "off"}, 204)
            for _ in range(70):  # more than there is room for at once
                self.connection().connect()
            self.assertEqual(self.running(), "running")
            self.ended(p)


@unittest.skipUnless(base.KVM and yaml, "no /dev/kvm, or PyYAML is not installed")
class Described(Vm):
    """The server is what docs/openapi.yaml says."""

    BODIES = {("PATCH", "/catnap/halt-polling"): {"max_ns": 1000}, ("PATCH", "/catnap/halt-polling/{vcpu}"): {"max_ns": 1000},
              ("PATCH", "/catnap/nets/{id}"): {"link": "up"}, ("PUT", "/catnap/serial-input"): {"data": "x"},
              ("PUT", "/catnap/snapshot"): {"dir": "snapshot"},
              ("PUT", "/catnap/fs/{id}"): {"fs_id": "net0", "path_on_host": "shared"}}
    LAST = ("POST", "/catnap/stop")

    def held(self, d, method, path, body=None):
        where = path.replace("{vcpu}", "0").replace("{id}", "net0")
        status, kind, text = self.raw(method, where, json.dumps(body) if body is not None else None)
        schemas = d.answer(method, path, status)
        self.assertIsNotNone(schemas, f"{method} {path}: {status} is not described: {text}")
        if not schemas:
            self.assertEqual(text, b"", path)
            return status
        kind = kind.partition(";")[0]
        self.assertIn(kind, schemas, path)
        if kind == "application/json":
            self.assertEqual(d.wrong(schemas[kind], json.loads(text), f"{method} {path}"), "")
        return status

    def test_all(self):
        with open(os.path.join(self.dir, "disk"), "wb") as f:
            f.truncate(1 << 20)
        d = Description()
        for args in (("--io", "thread", "--cpus", "2", "--halt-poll", "always"), ("--irqchip", "kernel"), ("--name", "x")):
            p = self.start("--disk", "disk", "--balloon", "size=0", *args)
            events = self.connection()
            events.request("GET", "/catnap/events?history=on")
            done = {}
            for method, path, _ in d.operations():
                if (method, path) == self.LAST or path == "/catnap/events":
                    continue
                done[method, path] = self.held(d, method, path, self.BODIES.get((method, path)))
                # A method that is not described is not there.
                for other in {"GET", "PUT", "PATCH", "POST", "DELETE"} - {m for m, x, _ in d.operations() if x == path}:
                    status, _, text = self.raw(other, path.replace("{vcpu}", "0").replace("{id}", "net0"), b"{}" if other != "GET" else None)
                    self.assertEqual(status, 400, (other, path, text))
            expected = {(m, x): 400 for m, x in (("PATCH", "/catnap/nets/{id}"), ("POST", "/catnap/power-button"),
                                                 ("PUT", "/catnap/snapshot"), ("PUT", "/catnap/fs/{id}"),
                                                 ("DELETE", "/catnap/fs/{id}"),
                                                 ("PATCH", "/catnap/halt-polling/{vcpu}"))
                        if x != "/catnap/halt-polling/{vcpu}" or "kernel" in args}
            for key, status in done.items():
                if key != ("PATCH", "/catnap/halt-polling"):
                    self.assertEqual(status // 100, expected.get(key, 200) // 100, key)
            self.assertEqual(self.held(d, *self.LAST, {"wait": True}), 204)
            p.wait(60)
            schema = d.answer("GET", "/catnap/events", 200)["application/x-ndjson"]
            lines = events.getresponse().read().splitlines()
            self.assertGreaterEqual(len(lines), 2)
            for line in lines:
                self.assertEqual(d.wrong(schema, json.loads(line)), "")
            self.kill(p)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Metrics(Vm):
    ARGS = ("--io", "thread", "--cpus", "2", "--halt-poll", "adaptive", "--balloon", "size=0", "--disk", "disk")

    def setUp(self):
        super().setUp()
        with open(os.path.join(self.dir, "disk"), "wb") as f:
            f.truncate(1 << 20)

    def text(self, accept=None):
        status, kind, text = self.raw("GET", "/metrics/openmetrics", headers={"Accept": accept} if accept else {})
        self.assertEqual((status, kind.partition(";")[0]), (200, accept if accept == OPENMETRICS else "text/plain"))
        text = text.decode("ascii")
        self.assertTrue(text.endswith("\n# EOF\n"))
        return text

    def samples(self, text):
        found = {}
        for line in text.splitlines():
            if line.startswith("#"):
                continue
            name, value = line.rsplit(" ", 1)
            self.assertNotIn(name, found)
            found[name] = float(value)
        return found

    def declared(self, text):
        found = {}
        for line in text.splitlines():
            m = re.fullmatch(r"# (HELP|TYPE|UNIT) (\w+) (.*)", line)
            if m:
                found.setdefault(m[2], {})[m[1]] = m[3]
        return found

    def documented(self):
        with open(os.path.join(DOCS, "metrics.md"), encoding="utf-8") as f:
            text = re.sub(r"\n  ", " ", f.read())
        return {m[1]: (m[2], bool(m[4])) for m in re.finditer(r"^- `(\w+)` \((\w+)(; [^)]*)?\)( \*)?: ", text, re.M)}

    def test_names(self):
        """The page has each name, with its type, and no other; names have their units."""
        pages = self.documented()
        self.assertGreater(len(pages), 50)
        for args, user in ((self.ARGS, True), ((*self.ARGS, "--irqchip", "kernel"), False)):
            p = self.start(*args)
            lax, strict = self.declared(self.text()), self.declared(self.text(OPENMETRICS))
            self.assertEqual(set(lax), {n for n, (_, of_user) in pages.items() if user or not of_user})
            for name, (kind, _) in pages.items():
                if name not in lax:
                    continue
                plain = re.sub("_total$", "", name) if kind == "counter" else re.sub("_info$", "", name) if kind == "info" else name
                self.assertEqual(strict[plain]["TYPE"], kind)
                self.assertEqual(lax[name]["TYPE"], {"info": "gauge", "stateset": "gauge"}.get(kind, kind))
                self.assertEqual(name.endswith("_total"), kind == "counter", name)
                self.assertTrue(lax[name]["HELP"])
                unit = re.search("_(seconds|bytes)$", plain)
                self.assertEqual(lax[name].get("UNIT"), unit[1] if unit else None, name)
                self.assertEqual(strict[plain].get("UNIT"), unit[1] if unit else None, name)
            both = [{n for n in self.samples(self.text(kind)) if "_api_" not in n} for kind in (None, OPENMETRICS)]
            self.assertEqual(*both)
            self.ended(p)

    def test_counters_never_go_back(self):
        p = self.start(*self.ARGS)
        before, kinds = {}, self.declared(self.text())
        for policy in ("off", "kernel", "always", "adaptive", "fixed") * 4:
            self.ask("PATCH", "/catnap/halt-polling", {"policy": policy}, 204)
            now = self.samples(self.text())
            for name, value in before.items():
                family = re.sub(r"\{.*", "", name)
                kind = kinds.get(family, kinds.get(re.sub("_(bucket|count|sum)$", "", family)))["TYPE"]
                if kind in ("counter", "histogram"):
                    self.assertGreaterEqual(now[name], value, name)
            before = now
        # Buckets add up.
        for name, value in before.items():
            m = re.fullmatch(r'(\w+)_bucket\{(.*),le="\+Inf"\}', name)
            if m:
                self.assertEqual(value, before[f"{m[1]}_count{{{m[2]}}}"])
        self.assertEqual(before['catnap_vm_state{catnap_vm_state="running"}'], 1)
        self.assertEqual(before["catnap_vm_memory_bytes"], 16 << 20)
        self.assertGreaterEqual(before['catnap_api_requests_total{method="PATCH",resource="/catnap"}'], 19)
        self.ended(p)

    @unittest.skipUnless(PROMTOOL, "promtool is not installed")
    def test_promtool(self):
        for args in (self.ARGS, ("--irqchip", "kernel"), ("--cpus", "64")):
            p = self.start(*args)
            done = subprocess.run([PROMTOOL, "check", "metrics"], input=self.text().encode(), stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=60, check=False)
            self.assertEqual((done.returncode, done.stdout), (0, b""))
            self.ended(p)

    def test_openmetrics_parser(self):
        try:
            from prometheus_client.openmetrics import parser  # pylint: disable=import-outside-toplevel
        except ImportError:
            self.skipTest("python3-prometheus-client is not installed")
        p = self.start(*self.ARGS)
        families = {f.name: f.type for f in parser.text_string_to_metric_families(self.text(OPENMETRICS))}
        self.assertEqual((families["catnap_halt_exits"], families["catnap_halt_wait_seconds"]), ("counter", "histogram"))
        self.ended(p)


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Given(Vm):
    """Descriptors instead of names."""

    def test_all(self):
        folder = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, folder)
        disk = os.path.join(folder, "image")
        with open(disk, "wb") as f:
            f.truncate(1 << 20)
        image = os.open(disk, os.O_RDWR)
        api = socket.socket(socket.AF_UNIX)
        api.bind(os.path.join(self.dir, "socket"))
        api.listen(8)
        vsock = socket.socket(socket.AF_UNIX)
        vsock.bind(os.path.join(folder, "vsock"))
        vsock.listen(8)
        reader, writer = os.pipe()
        high = fcntl.fcntl(writer, fcntl.F_DUPFD, 700)
        for mode in ("on", "off"):
            p = self.start("--disk", f"fd={image}", "--vsock", f"cid=3,fd={vsock.fileno()}", "--serial", f"fd={high}",
                           "--sandbox", mode, api=("--api-socket", f"fd={api.fileno()}"),
                           pass_fds=[image, api.fileno(), vsock.fileno(), high])
            said = b""
            while b"halting" not in said:
                self.assertTrue(select.select([reader], [], [], 20)[0], said)
                said += os.read(reader, 4096)
            devices = {d["kind"]: d for d in self.ask("GET", "/catnap/devices", status=200)["devices"]}
            self.assertEqual(set(devices), {"disk", "vsock", "entropy"})
            self.ask("POST", "/catnap/stop", {"wait": True}, 204)
            self.assertEqual(p.wait(60), 0)
            self.assertEqual(p.stderr.read(), b"")
            # They are not its own to remove.
            self.assertTrue(os.path.exists(os.path.join(self.dir, "socket")))
            self.assertTrue(os.path.exists(os.path.join(folder, "vsock")))
            self.kill(p)
        for fd in (image, reader, writer, high):
            os.close(fd)
        api.close()
        vsock.close()

    def test_systemd(self):
        """A socket that systemd has passed answers, and stays."""
        with socket.socket(socket.AF_UNIX) as api:
            api.bind(os.path.join(self.dir, "socket"))
            api.listen(8)
            p = self.start(api=(), by=lambda command: passed(api.fileno(), command), pass_fds=[api.fileno()])
            self.ask("POST", "/catnap/stop", {"wait": True}, 204)
            self.assertEqual((p.wait(60), p.stderr.read()), (0, b""))
            self.assertTrue(os.path.exists(os.path.join(self.dir, "socket")))

    def test_in_a_file(self):
        """The same by a configuration file; numbers are numbers there."""
        with open(os.path.join(self.dir, "image"), "wb") as f:
            f.truncate(1 << 20)
        image = os.open(os.path.join(self.dir, "image"), os.O_RDWR)
        self.addCleanup(os.close, image)
        with open(os.path.join(self.dir, "vm.json"), "w", encoding="utf-8") as f:
            json.dump({"disk": {"fd": image}}, f)
        p = self.start("--config", "vm.json", pass_fds=[image])
        self.assertIn("disk", [d["kind"] for d in self.ask("GET", "/catnap/devices")["devices"]])
        self.ask("POST", "/catnap/stop", {}, 204)
        self.assertEqual(p.wait(60), 0)


if __name__ == "__main__":
    base.CATNAP, base.GUESTS, DOCS = (os.path.abspath(p) for p in sys.argv[1:4])
    unittest.main(argv=[sys.argv[0], *sys.argv[4:]])
