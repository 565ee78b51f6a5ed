#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap ctl: what it asks for, how it shows it, and what servers of any kind can do to it.

    test_ctl.py CATNAP GUESTS [unittest options]
"""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import control  # noqa: E402 pylint: disable=wrong-import-position
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position

Answer = control.Answer
STATUS = {"state": "running", "id": "vm-1", "name": "web", "pid": 4711, "version": "0.2.0", "vcpus": 2,
          "memory_bytes": 256 << 20, "irqchip": "user", "uptime_ns": 754 * 10**9, "exit": None}
HALT = {"vcpu": 0, "policy": "adaptive", "max_ns": 2000000, "grow": 2, "grow_start_ns": 10000, "shrink": 2,
        "bias": "balanced", "price_ns": 0, "cpu_max_percent": 12.5, "group": True, "spin": "auto"}
LIMIT = {"bandwidth": {"size": 10 << 20, "refill_time": 1000}, "ops": {"size": 50, "refill_time": 100}}
CONFIG = {"drives": [{"drive_id": "root", "path_on_host": "/images/root.img", "is_read_only": False,
                      "cache_type": "Unsafe", "rate_limiter": LIMIT},
                     {"drive_id": "data", "path_on_host": "/images/data.img", "is_read_only": True,
                      "cache_type": "Writeback"}],
          "network-interfaces": [{"iface_id": "eth0", "host_dev_name": "tap0", "guest_mac": "02:00:00:00:00:01",
                                  "tx_rate_limiter": LIMIT}]}
METRICS = (b"# HELP catnap_halts Halts.\n# TYPE catnap_halts counter\ncatnap_halts_total{vcpu=\"0\"} 12\n"
           b"catnap_info{name=\"a b\\\"}\"} 1 1700000000\ncatnap_window_seconds NaN\n# EOF\n")


class Case(base.Case):
    def ctl(self, *args, limit=30):
        done = subprocess.run([base.CATNAP, "ctl", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=limit, check=False, env={**base.ENV, "TZ": "UTC"},
                              cwd=self.dir)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def no(self, args, status, *words):
        code, out, err = self.ctl(*args)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), err)
        self.assertTrue(err.startswith("catnap ctl: "), err)
        for word in words:
            self.assertIn(word, err)

    def yes(self, *args):
        code, out, err = self.ctl(*args)
        self.assertEqual((code, err), (0, ""))
        return out

    def serve(self, answers):
        server = control.Server(os.path.join(self.dir, "s"), answers)
        self.addCleanup(server.close)
        return server


class Usage(Case):
    def test_arguments(self):
        self.no([], 2, "SOCKET COMMAND is missing")
        self.no(["s"], 2, "SOCKET COMMAND is missing")
        self.no(["s", "reboot"], 2, '"reboot"', "status, pause")
        self.no(["s", "pause", "now"], 2, '"now"')
        self.no(["s", "disk", "a,image=b", "c"], 2, '"c"')
        self.no(["s", "status", "--colour"], 2, "--colour")
        self.no(["s", "status", "-t", "5"], 2, "--time-limit", "unit")

    def test_settings(self):
        """One line that names command and key, before anybody is asked."""
        for args, words in ((["halt-poll", "policy=best"], ("halt-poll: policy", "adaptive, kernel")),
                            (["halt-poll", "max=5"], ("halt-poll: max", "unit")),
                            (["halt-poll", "cpu-max=101%"], ("halt-poll: cpu-max", "0 to 100")),
                            (["halt-poll", "vcpu=1"], ("vcpu alone",)),
                            (["halt-poll", "vcpu=64,policy=off"], ("halt-poll: vcpu", "0 to 63")),
                            (["halt-poll", "off,policy=off"], ("policy", "once")),
                            (["disk", "image=x"], ("no id",)), (["disk", "root"], ("nothing is to change",)),
                            (["disk", "root,bw-once=1M"], ("bw-once without bw",)),
                            (["net", "eth0,rx-bw=1M,tx-ops-once=1"], ("tx-ops-once without tx-ops",)),
                            (["disk", "root,size=1G"], ("unknown key", "refresh")),
                            (["disk", "root,bw=x"], ("disk: bw", "size")), (["disk", 'root,image="x'], ("double quote",)),
                            (["net", "eth0"], ("nothing is to change",)), (["net", "eth0,link=on"], ("down or up",)),
                            (["net", "eth0,rx-bw=-1"], ("rx-bw",)), (["balloon", "1000"], ("multiple of 1M",)),
                            (["balloon", "wait=1s"], ("size=SIZE",)), (["balloon", "size=1M,wait=0"], ("wait",)),
                            (["memory", "1000"], ("multiple of 1M",)), (["memory", "wait=1s"], ("size=SIZE",)),
                            (["stop", "wait=yes"], ("on or off",)), (["events", "history="], ("history",)),
                            (["metrics", "format=xml"], ("table or openmetrics",))):
            with self.subTest(args):
                self.no(["s", *args], 2, *words)

    def test_help(self):
        everything = self.yes("--help")
        commands = [x.split()[0] for x in everything.split("Commands")[1].splitlines()[1:] if x.startswith("  ")]
        self.assertEqual(len(commands), 16)
        for c in commands:
            for args in ((c, "--help"), ("s", c, "-h")):
                text = self.yes(*args)
                self.assertIn(f"SOCKET {c}", text)
                self.assertIn("Exit status", text)
                self.assertEqual([x for x in text.splitlines() if len(x) > 80], [])

    def test_nobody(self):
        self.no(["s", "status"], 1, "s: No such file")
        self.no(["x" * 200, "status"], 1, "too long")
        self.file("s", b"")
        self.no(["s", "status"], 1, "s: not a socket")
        self.no([".", "status"], 1, "not a socket")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(os.path.join(self.dir, "gone"))
        self.no(["gone", "status"], 1, "nobody listens")
        os.mkdir(os.path.join(self.dir, "closed"), 0)


class Tame(Case):
    """A server that answers as the real one does."""

    def test_status(self):
        s = self.serve({("GET", "/catnap/status"): Answer(STATUS)})
        out = self.yes("s", "status")
        for line in (r"state +running", r"id +vm-1", r"name +web", r"process +4711", r"vCPUs +2", r"memory +256M",
                     r"irqchip +user", r"up for +12m 34s"):
            self.assertRegex(out, rf"(?m)^{line}$")
        self.assertNotIn("ended", out)
        self.assertEqual(json.loads(self.yes("-j", "s", "status")), STATUS)
        s.answers["GET", "/catnap/status"] = Answer({**STATUS, "state": "ended", "exit": {
            "reason": "panic", "code": -5, "report": "a\x1b[2Jb"}})
        out = self.yes("s", "status")
        self.assertRegex(out, r"(?m)^ended by +panic, code -5$")
        self.assertIn(r"a\x1b[2Jb", out)

    def test_actions(self):
        s = self.serve({(m, p): Answer(status=204) for m, p in (
            ("PATCH", "/vm"), ("POST", "/catnap/stop"), ("POST", "/catnap/power-button"),
            ("PATCH", "/catnap/halt-polling"), ("PATCH", "/catnap/halt-polling/3"), ("PATCH", "/drives/root"),
            ("PATCH", "/drives/a%2F%20b"), ("PATCH", "/catnap/nets/eth0"), ("PATCH", "/balloon"))})
        s.answers["GET", "/vm/config"] = Answer(CONFIG)
        bucket = {"size": 1 << 20, "refill_time": 1000}
        for args, asked in (
                (["pause"], ("PATCH", "/vm", {"state": "Paused"})), (["resume"], ("PATCH", "/vm", {"state": "Resumed"})),
                (["stop"], ("POST", "/catnap/stop", {"wait": False})),
                (["stop", "wait=on"], ("POST", "/catnap/stop", {"wait": True})),
                (["power-button"], ("POST", "/catnap/power-button", None)),
                (["halt-poll", "kernel"], ("PATCH", "/catnap/halt-polling", {"policy": "kernel"})),
                (["halt-poll", "vcpu=3,bias=power,cpu-max=2.5%,group=on"],
                 ("PATCH", "/catnap/halt-polling/3", {"bias": "power", "cpu_max_percent": 2.5, "group": True})),
                (["halt-poll", "spin=umwait"], ("PATCH", "/catnap/halt-polling", {"spin": "umwait"})),
                (["halt-poll", "max=50us,grow=4,grow-start=5us,shrink=0"],
                 ("PATCH", "/catnap/halt-polling", {"max_ns": 50000, "grow": 4, "grow_start_ns": 5000, "shrink": 0})),
                (["disk", "root,image=new.img"], ("PATCH", "/drives/root",
                                                  {"drive_id": "root", "path_on_host": "new.img"})),
                (["disk", "root,bw=1M,ops=0"], ("PATCH", "/drives/root", {
                    "drive_id": "root", "rate_limiter": {"bandwidth": bucket, "ops": {"size": 0, "refill_time": 0}}})),
                (["disk", 'id="a/ b",bw=1M,bw-once=2M'], ("PATCH", "/drives/a%2F%20b", {
                    "drive_id": "a/ b", "rate_limiter": {"bandwidth": {**bucket, "one_time_burst": 2 << 20}}})),
                (["disk", "root,refresh=on"], ("PATCH", "/drives/root",
                                               {"drive_id": "root", "path_on_host": "/images/root.img"})),
                (["net", "eth0,link=down"], ("PATCH", "/catnap/nets/eth0", {"link": "down"})),
                (["net", "eth0,link=up,tx-bw=1M"], ("PATCH", "/catnap/nets/eth0",
                                                    {"link": "up", "tx_rate_limiter": {"bandwidth": bucket}})),
                (["net", "eth0,rx-ops=9"], ("PATCH", "/catnap/nets/eth0",
                                            {"rx_rate_limiter": {"ops": {"size": 9, "refill_time": 1000}}})),
                (["balloon", "64M"], ("PATCH", "/balloon", {"amount_mib": 64}))):
            with self.subTest(args):
                self.assertEqual(self.yes("s", *args), "")
                self.assertEqual(s.asked[-1], asked)
        self.no(["s", "disk", "other,refresh=on"], 1, "other")

    def test_refused(self):
        """The server's sentence is said on, on one line."""
        s = self.serve({("PATCH", "/vm"): Answer({"fault_message": "the VM has\nended\x1b["}, 400)})
        self.no(["s", "pause"], 1, r"the VM has\x0aended\x1b[")
        self.no(["s", "disk", "root,bw=1M"], 1, "no such thing: PATCH /drives/root")
        s.answers["PATCH", "/vm"] = Answer(b"x" * 100000, 500)
        self.no(["s", "pause"], 1, "500")

    def test_tables(self):
        self.serve({("GET", "/catnap/halt-polling"): Answer({"vcpus": [HALT, {**HALT, "vcpu": 1, "cpu_max_percent": 0}]}),
                    ("GET", "/vm/config"): Answer(CONFIG),
                    ("GET", "/catnap/threads"): Answer({"threads": [{"role": "vcpu", "vcpu": 0, "tid": 12},
                                                                    {"role": "main", "tid": 11}]}),
                    ("GET", "/catnap/balloon"): Answer({"target_bytes": 64 << 20, "actual_bytes": 32 << 20,
                                                                  "free_bytes": 3 << 19})})

        def rows(*args):
            out = self.yes("s", *args)
            self.assertEqual([x for x in out.splitlines() if len(x) > 80 or x != x.rstrip()], [])
            return [x.split() for x in out.splitlines()]
        self.assertEqual(rows("halt-poll"), [
            ["vcpu", "policy", "max", "grow", "grow-start", "shrink", "bias", "cpu-max", "group", "spin"],
            ["0", "adaptive", "2.00ms", "2", "10.0us", "2", "balanced", "12.5%", "on", "auto"],
            ["1", "adaptive", "2.00ms", "2", "10.0us", "2", "balanced", "-", "on", "auto"]])
        self.assertEqual(rows("threads"), [["role", "vcpu", "tid"], ["vcpu", "0", "12"], ["main", "-", "11"]])
        self.assertEqual(rows("disk")[1:], [["root", "rw", "Unsafe", "10M/s,", "500", "ops/s", "/images/root.img"],
                                            ["data", "ro", "Writeback", "-", "/images/data.img"]])
        self.assertEqual(rows("net")[1:], [["eth0", "tap0", "02:00:00:00:00:01", "-", "10M/s,", "500", "ops/s"]])
        self.assertEqual(rows("balloon"), [["asked", "for", "64M"], ["in", "the", "balloon", "32M"],
                                           ["free", "in", "it", "1536K"]])

    def test_balloon_waits(self):
        seen = []

        def statistics(_):
            seen.append(0)
            return Answer({"target_bytes": 8 << 20, "actual_bytes": min(2 * len(seen), 8) << 20})
        s = self.serve({("PATCH", "/balloon"): Answer(status=204), ("GET", "/catnap/balloon"): statistics})
        self.yes("s", "balloon", "size=8M,wait=20s")
        self.assertEqual(len(seen), 4)
        s.answers["GET", "/catnap/balloon"] = Answer({"target_bytes": 8 << 20, "actual_bytes": 2 << 20})
        self.no(["s", "balloon", "size=8M,wait=100ms"], 1, "time is over", "2M of 8M")

    def test_metrics(self):
        self.serve({("GET", "/metrics/openmetrics"): Answer(METRICS, kind="application/openmetrics-text")})
        self.assertEqual(self.yes("s", "metrics", "openmetrics"), METRICS.decode())
        self.assertEqual([x.split(maxsplit=1) for x in self.yes("s", "metrics").splitlines()], [
            ["value", "metric"], ["12", 'catnap_halts_total{vcpu="0"}'], ["1", 'catnap_info{name="a b\\"}"}'],
            ["NaN", "catnap_window_seconds"]])
        doc = json.loads(self.yes("--json", "s", "metrics"))
        self.assertEqual(list(doc.values())[:2], [12, 1])

    def test_config(self):
        self.serve({("GET", "/catnap/config"): Answer({"kernel": "vmlinuz"})})
        self.assertEqual(json.loads(self.yes("s", "config")), {"kernel": "vmlinuz"})

    def test_events(self):
        lines = [{"number": 1, "time_ns": 1700000000 * 10**9 + 5 * 10**6, "event": "started"},
                 {"number": 2, "time_ns": 1700000001 * 10**9, "event": "link", "device": "eth0", "up": False}]
        body = b"".join(json.dumps(x).encode() + b"\n" for x in lines)
        s = self.serve({("GET", p): Answer(body, kind="application/x-ndjson")
                        for p in ("/catnap/events", "/catnap/events?history=on")})
        out = self.yes("s", "events").splitlines()
        self.assertEqual(out[0], "2023-11-14 22:13:20.005  started")
        self.assertEqual(out[1], "2023-11-14 22:13:21.000  link  device eth0  up false")
        self.assertEqual([json.loads(x) for x in self.yes("-j", "s", "events", "history=on").splitlines()], lines)
        self.assertEqual([x[1] for x in s.asked], ["/catnap/events", "/catnap/events?history=on"])


class Hostile(Case):
    """The listener there may say anything, or nothing."""

    HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"

    def raw(self, data, **how):
        path = os.path.join(self.dir, "s")
        if os.path.exists(path):
            os.unlink(path)
        server = control.Raw(path, data, **how)
        self.addCleanup(server.close)

    def test_garbage(self):
        for data in (b"", b"\n", b"{}\n", b"SSH-2.0-x\r\n", b"\0" * 1000, b"HTTP/9.9 200 OK\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n",
                     self.HEAD, self.HEAD + b"Content-Length: 10\r\n\r\n{", self.HEAD + b"Content-Length: -1\r\n\r\n{}",
                     self.HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", b"HTTP/1.1 302 X\r\nLocation: file:///etc/passwd\r\n"
                     b"Content-Length: 0\r\n\r\n", b"HTTP/1.1 404 Not Found\r\nContent-Length: 3\r\n\r\nabc",
                     b"HTTP/1.1 400 X\r\nContent-Length: 20\r\n\r\n{\"fault_message\": 77}"):
            with self.subTest(data):
                self.raw(data, hang_up=True)
                self.no(["s", "status"], 1, "s: ")

    def test_no_json(self):
        for body in (b"", b"[]", b"7", b"nonsense", b'{"a": ', b"[" * 1000, b'{"a":' * 100 + b"1" + b"}" * 100, b"\xff\xfe"):
            with self.subTest(body):
                self.raw(self.HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, hang_up=True)
                for command in ("status", "halt-poll", "disk", "threads", "balloon"):
                    self.no(["s", command], 1, "no JSON object")

    def test_odd_members(self):
        """A figure that is not there, or of another kind, is a dash."""
        for doc in ({}, {"vcpus": 3, "threads": {}, "drives": "x", "network-interfaces": 7, "exit": 1},
                    {"vcpus": [1, None, {}, {"policy": 7, "max_ns": "x", "vcpu": -1}], "threads": [None, [], {"role": {}}],
                     "drives": [1, {"drive_id": 1, "rate_limiter": 7}, {"rate_limiter": {"bandwidth": {"size": -1, "refill_time": 1}}},
                                {"rate_limiter": {"bandwidth": {"size": 2**64 - 1, "refill_time": 1}}}],
                     "network-interfaces": [None, {"rx_rate_limiter": []}], "memory_bytes": 2**64 - 1, "uptime_ns": -5}):
            body = json.dumps(doc).encode()
            self.raw(self.HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body, hang_up=True)
            for command in ("status", "halt-poll", "disk", "net", "threads", "balloon"):
                with self.subTest(doc=doc, command=command):
                    self.yes("s", command)

    def test_no_escapes(self):
        """A terminal does not obey text that somebody else has chosen."""
        e = "\x1b]0;title\x07\x9b31m"
        doc = {"state": "running" + e, "name": e, "id": e, "irqchip": e, "exit": {"reason": e, "report": e},
               "vcpus": [{"policy": "adaptive" + e, "bias": e, "learned": {"contexts": [{"halts": 1, "before": e, "last": e}]}}],
               "threads": [{"role": e}], "actual_bytes": 1, "devices": [{"name": e, "queues": [{}]}], e: e,
               "drives": [{"drive_id": e, "cache_type": e, "path_on_host": e}],
               "network-interfaces": [{"iface_id": e, "host_dev_name": e, "guest_mac": e}]}
        for body, status in ((doc, 200), ({"fault_message": e}, 400)):
            text = json.dumps(body, ensure_ascii=False).encode()
            answers = {("GET", p): Answer(text, status) for p in (
                "/catnap/status", "/catnap/stats", "/catnap/halt-polling", "/catnap/threads", "/vm/config", "/catnap/balloon",
                "/catnap/config", "/metrics/openmetrics", "/catnap/events")}
            server = self.serve(answers)
            for args in (*(["ctl", "s", c] for c in ("status", "halt-poll", "disk", "net", "threads", "balloon", "config", "metrics",
                                                     "events", "pause")),
                         *(["ctl", "-j", "s", c] for c in ("status", "halt-poll", "disk", "metrics", "events")),
                         ["stat", "-1", "s"], ["stat", "-1", "-l", "-H", "s"], ["stat", "-1", "-j", "s"]):
                done = subprocess.run([base.CATNAP, *args], stdin=subprocess.DEVNULL, capture_output=True, check=False,
                                      cwd=self.dir, timeout=60)
                self.assertTrue(done.stdout + done.stderr)
                self.assertNotRegex(done.stdout + done.stderr, rb"[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
            server.close()
            os.unlink(os.path.join(self.dir, "s"))

    def test_silent(self):
        for data, how in ((b"", {}), (self.HEAD, {}), (self.HEAD + b"Content-Length: 100\r\n\r\n{", {}),
                          (self.HEAD + b"Content-Length: 1000000\r\n\r\n| ", {"endless": True, "pause": 0.02}),
                          (b"|H", {"endless": True, "pause": 0.02})):
            with self.subTest(data):
                self.raw(data, **how)
                since = time.monotonic()
                self.no(["s", "status", "-t", "300ms"], 1)
                self.assertLess(time.monotonic() - since, 10)
        self.raw(b"")
        self.no(["s", "events", "-t", "300ms"], 1, "no answer")

    def test_endless(self):
        """Bounded in memory, however much comes."""
        for data in (self.HEAD + b"\r\n|" + b" " * 65536, self.HEAD + b"|X: " + b"x" * 1000 + b"\r\n", b"|" + b"x" * 65536,
                     self.HEAD + b"Transfer-Encoding: chunked\r\n\r\n|10000\r\n" + b" " * 65536 + b"\r\n"):
            self.raw(data, endless=True)
            p = subprocess.run(["prlimit", "--data=100000000", base.CATNAP, "ctl", "s", "status"], cwd=self.dir,
                               stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False)
            self.assertEqual((p.returncode, p.stdout, p.stderr.count(b"\n")), (1, b"", 1), p.stderr)
            self.assertNotIn(b"memory", p.stderr)
        self.raw(self.HEAD + b"\r\n|" + b"x" * 65536, endless=True)
        self.no(["s", "events"], 1, "too large")

    def test_interrupt(self):
        """Ctrl-C ends it at once, whatever it waits for."""
        for command in ("status", "events"):
            self.raw(self.HEAD + b"\r\n")
            with subprocess.Popen([base.CATNAP, "ctl", "-t", "60s", "s", command], cwd=self.dir) as p:
                time.sleep(0.3)
                p.send_signal(signal.SIGINT)
                self.assertEqual(p.wait(10), -signal.SIGINT)

    def test_proxy(self):
        """Nothing but the socket is spoken to."""
        server = control.Server(os.path.join(self.dir, "s"), {("GET", "/catnap/status"): Answer(STATUS)})
        self.addCleanup(server.close)
        p = subprocess.run([base.CATNAP, "ctl", "s", "status"], cwd=self.dir, capture_output=True, timeout=30, check=False,
                           env={**base.ENV, "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"})
        self.assertEqual((p.returncode, p.stderr), (0, b""))


@unittest.skipUnless(base.KVM, "no /dev/kvm")
class Running(Case):
    """The real server: what is asked for is done."""

    M = 1 << 20

    def start(self, *args, guest=None):
        # pylint: disable=consider-using-with
        p = subprocess.Popen([*(guest or base.end("halt")), "--api-socket", "s", *args], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=base.ENV, cwd=self.dir)
        self.addCleanup(self.kill, p)
        until = time.monotonic() + 20
        while self.ctl("s", "status")[0]:
            self.assertIsNone(p.poll(), p.stderr.read() if p.poll() is not None else "")
            self.assertLess(time.monotonic(), until)
            time.sleep(0.02)
        return p

    def kill(self, p):
        if p.poll() is None:
            p.kill()
        p.wait()
        for f in (p.stdin, p.stdout, p.stderr):
            f.close()

    def status(self):
        return json.loads(self.yes("-j", "s", "status"))

    def test_life(self):
        p = self.start("--cpus", "2")
        status = self.status()
        self.assertEqual((status["pid"], status["vcpus"], status["memory_bytes"], status["irqchip"]), (p.pid, 2, 16 * self.M, "user"))
        with subprocess.Popen([base.CATNAP, "ctl", "-j", "s", "events", "history=on"], cwd=self.dir, stdout=subprocess.PIPE) as events:
            self.yes("s", "pause")
            self.assertEqual(self.status()["state"], "paused")
            self.yes("s", "resume")
            self.assertEqual(self.status()["state"], "running")
            self.yes("s", "stop")
            p.wait(20)
            told = [json.loads(x)["event"] for x in events.communicate(timeout=20)[0].splitlines()]
        self.assertEqual(events.returncode, 0)
        self.assertEqual([t for t in told if t in ("started", "paused", "resumed", "ended")],
                         ["started", "paused", "resumed", "ended"])
        self.no(["s", "status"], 1, "No such file")

    def test_halt_poll(self):
        self.start("--cpus", "2", "--halt-poll", "adaptive")
        self.yes("s", "halt-poll", "vcpu=1,policy=kernel,max=50us,grow=4")
        self.yes("s", "halt-poll", "vcpu=0,bias=power,cpu-max=2.5%")
        now = json.loads(self.yes("-j", "s", "halt-poll"))["vcpus"]
        self.assertEqual([(v["policy"], v["bias"]) for v in now], [("adaptive", "power"), ("kernel", now[1]["bias"])])
        self.assertEqual((now[0]["cpu_max_percent"], now[1]["max_ns"], now[1]["grow"]), (2.5, 50000, 4))
        self.assertEqual([x.split()[:3] for x in self.yes("s", "halt-poll").splitlines()[1:]][1], ["1", "kernel", "50.0us"])
        self.no(["s", "halt-poll", "vcpu=7,policy=off"], 1, "the VM has 2 vCPUs, 0 to 1")
        self.yes("s", "halt-poll", "off")
        self.assertEqual({v["policy"] for v in json.loads(self.yes("-j", "s", "halt-poll"))["vcpus"]}, {"off"})

    def test_shows(self):
        p = self.start("--cpus", "2", "--io", "thread")
        rows = [x.split() for x in self.yes("s", "threads").splitlines()]
        tids = {int(r[-1]) for r in rows[1:]}
        self.assertLessEqual(tids, {int(t) for t in os.listdir(f"/proc/{p.pid}/task")})
        self.assertLessEqual({("vcpu", "0"), ("vcpu", "1")}, {tuple(r[:2]) for r in rows[1:]})
        self.assertTrue(self.yes("s", "metrics", "openmetrics").endswith("# EOF\n"))
        self.assertGreater(len(self.yes("s", "metrics").splitlines()), 10)
        self.assertIsInstance(json.loads(self.yes("-j", "s", "metrics")), dict)
        self.assertIsInstance(json.loads(self.yes("s", "config")), dict)
        out = subprocess.run([base.CATNAP, "stat", "-n", "2", "-i", "50ms", "-H", "-l", "s"], cwd=self.dir, capture_output=True,
                             text=True, check=True, timeout=60).stdout
        self.assertEqual([x.split()[0] for x in out.splitlines() if re.match(" +(0|1|io) ", x)], ["0", "1", "io"] * 2)
        self.assertEqual([x for x in out.splitlines() if len(x) > 80], [])

    def test_disk(self):
        for name in ("a", "b"):
            with open(os.path.join(self.dir, name), "wb") as f:
                f.truncate(self.M)
        self.start("--disk", f"{self.dir}/a,bw=20M", "--sandbox", "off")
        self.assertRegex(self.yes("s", "disk"), r"(?m)^disk0 +rw .*20M/s.*/a$")
        self.yes("s", "disk", "disk0,bw=10M,ops=50")
        self.assertRegex(self.yes("s", "disk"), r"(?m)^disk0 +rw .*10M/s, 50 ops/s.*/a$")
        self.yes("s", "disk", f"disk0,image={self.dir}/b")
        self.assertRegex(self.yes("s", "disk"), r"(?m)^disk0 .*/b$")
        self.yes("s", "disk", "disk0,bw=0,ops=0")
        self.yes("s", "disk", "disk0,refresh=on")
        self.assertRegex(self.yes("s", "disk"), r"(?m)^disk0 .* - +/.*/b$")
        self.no(["s", "disk", "other,bw=1M"], 1, "s: ")
        self.no(["s", "disk", f"disk0,image={self.dir}/none"], 1, "s: ")

    def test_memory(self):
        guest = base.vmm(base.guest("mem.elf"), "--debug-exit", "0xf4", "-m", "16M,max=80M", "--transport", "mmio", "-c", "how=follow",
                         "--timeout", "60s")
        p = self.start("--snapshots", self.dir, guest=guest)

        def resident():
            with open(f"/proc/{p.pid}/status", encoding="ascii") as f:
                return int(re.search(r"VmRSS:\s+(\d+) kB", f.read())[1]) >> 10

        self.assertRegex(self.yes("s", "memory"), r"asked for +16M\nthere +16M\nat most +80M\n")
        before = resident()
        self.yes("s", "memory", "size=48M,wait=40s")
        self.assertRegex(self.yes("s", "memory"), r"(?m)^there +48M$")
        grown = resident()
        self.yes("s", "memory", "size=16M,wait=40s")
        self.assertEqual(json.loads(self.yes("s", "--json", "memory"))["plugged_size_mib"], 0)
        self.assertGreater(grown - before, 1)  # a page in sixteen is written
        self.assertLess(resident() - before, (grown - before) / 2)
        self.no(["s", "memory", "8M"], 1, "at least 16M")
        self.no(["s", "memory", "81M"], 1, "multiple of its block")
        self.no(["s", "memory", "82M"], 1, "at most max")
        self.no(["s", "snapshot", f"{self.dir}/snap"], 1, "memory: a device of this kind cannot be saved")
        self.yes("s", "memory", "18M")  # which ends it
        self.assertEqual(p.wait(20), 67)

    def test_balloon(self):
        guest = base.vmm(base.guest("balloon.elf"), "--debug-exit", "0xf4", "-m", "64M", "--transport", "mmio", "-c", "how=all",
                         "--timeout", "60s")
        p = self.start("--balloon", "size=0", guest=guest)
        self.assertEqual(p.stdout.readline(), b"filled\n")
        self.yes("s", "balloon", "size=24M,wait=20s")
        self.assertRegex(self.yes("s", "balloon"), r"(?m)^in the balloon +24M$")
        self.yes("s", "balloon", "size=0,wait=20s")
        self.no(["s", "balloon", "1T"], 1, "s: ")


if __name__ == "__main__":
    base.CATNAP, base.GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
