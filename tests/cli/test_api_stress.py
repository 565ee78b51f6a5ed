#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Requests of every kind, from several clients at once, to processes that are closed in: none of them makes a system
call that is not allowed, and each request is answered.

    test_api_stress.py CATNAP GUESTS SPECIFICATION.yaml [unittest options]

CATNAP_STRESS_S is how long each process is asked, in seconds; 3 if it is not there."""

import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
import test_api as base  # noqa: E402 pylint: disable=wrong-import-position

SECONDS = float(os.environ.get("CATNAP_STRESS_S", "3"))
CLIENTS = 4

# What a VM's own process has beyond the specification; those that end the VM are for the end.
OWN = [("GET", path, None) for path in (
    "/catnap/status", "/catnap/stats", "/catnap/halt-polling", "/catnap/halt-polling/0", "/catnap/learned",
    "/catnap/threads", "/catnap/devices", "/catnap/balloon", "/catnap/config", "/metrics/openmetrics")]
OWN += [("PATCH", path, body) for path in ("/catnap/halt-polling", "/catnap/halt-polling/0") for body in (
    {"policy": "adaptive", "bias": "latency"}, {"policy": "kernel", "max_ns": 50000, "grow": 2, "shrink": 0},
    {"policy": "fixed", "max_ns": 20000}, {"policy": "off"}, {"cpu_max_percent": 50.0}, {"group": True}, {"group": False},
    {"policy": "none"}, {"max_ns": -1}, {})]
OWN += [("PATCH", "/catnap/nets/net0", {"link": "up"}), ("PUT", "/catnap/serial-input", {"data": "abc\n"}),
        ("PUT", "/catnap/serial-input", {"data": 5}), ("POST", "/catnap/power-button", None),
        ("PUT", "/catnap/snapshot", {"dir": "snap"}), ("PUT", "/catnap/snapshot", {"dir": "snap", "diff": True}),
        ("PUT", "/catnap/snapshot", {"dir": "/nowhere/snap"}), ("GET", "/catnap/nothing", None)]


class Stress(base.Case):
    def setUp(self):
        super().setUp()
        self.counts, self.wrong, self.lock = {}, [], threading.Lock()
        self.drive, self.net = "disk0", "net0"

    def files(self):
        return {"kernel": os.path.join(base.GUESTS, "end.elf"), "disk": self.file("disk", bytes(1 << 20)),
                "log": self.file("log2"), "metrics": self.file("metrics2"), "serial": self.file("serial2")}

    def requests(self):
        """What a running VM does, and each path and method with a body that is good, but for the time perhaps, with
        wrong ones, and with what is no JSON."""
        files = self.files()
        other = self.file("other", bytes(2 << 20))
        all_of_them = []
        for method, path, schema in base.operations():
            name = self.net if path.startswith("/network") else self.drive
            at = re.sub(r"\{[a-z_]+\}", name, path)
            if schema is None:
                all_of_them.append((method, at, None))
                continue
            good = base.sample(schema, "", files)
            bodies = [good] + [body for body, _ in base.wrongs(schema, good)]
            all_of_them += [(method, at, json.dumps(body).replace('"ID"', f'"{name}"')) for body in bodies]
            all_of_them += [(method, at, text) for text in base.NOT_JSON]
        own = [(method, path, json.dumps(body) if body is not None else None) for method, path, body in OWN]
        limit = {"size": 1 << 20, "one_time_burst": 1 << 10, "refill_time": 100}
        limits = {"bandwidth": limit, "ops": limit}
        drive, net = "/drives/" + self.drive, "/network-interfaces/" + self.net
        often = [("PATCH", drive, {"drive_id": self.drive, "path_on_host": files["disk"]}),
                 ("PATCH", drive, {"drive_id": self.drive, "path_on_host": other}),
                 ("PATCH", drive, {"drive_id": self.drive, "rate_limiter": limits}),
                 ("PATCH", net, {"iface_id": self.net, "rx_rate_limiter": limits, "tx_rate_limiter": limits}),
                 ("PATCH", "/vm", {"state": "Paused"}), ("PATCH", "/vm", {"state": "Resumed"}),
                 ("PATCH", "/balloon", {"amount_mib": 4}), ("PATCH", "/balloon", {"amount_mib": 0}),
                 ("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 2}),
                 ("PUT", "/actions", {"action_type": "FlushMetrics"}),
                 ("PUT", "/actions", {"action_type": "SendCtrlAltDel"}),
                 ("PUT", "/snapshot/create", {"snapshot_path": "state", "mem_file_path": "memory"})]
        good = own + [(method, path, json.dumps(body)) for method, path, body in often]
        good += [request for request in all_of_them if request[0] == "GET"]
        return good, all_of_them

    def client(self, choices, n, until):
        """One after the other over one connection, and now and then over a new one, or half of one: each of what a
        running VM does at least once."""
        draw = random.Random(n)
        connection = base.Connection(self.socket)
        good, others = choices
        order, begun = [], 0
        while time.monotonic() < until or begun < 1 or (begun == 1 and order):
            if not order:
                order = draw.sample(good, len(good))
                begun += 1
            kind = draw.random()
            method, path, text = draw.choice(others) if kind < 0.5 else order.pop()
            try:
                if kind < 0.01:
                    self.half(method, path)
                    continue
                if kind < 0.03:
                    self.events()
                    continue
                if kind < 0.05:
                    connection.close()
                connection.request(method, path, text, {"Content-Type": "application/json"} if text is not None else {})
                answer = connection.getresponse()
                data = answer.read()
            except (OSError, http.client.HTTPException) as e:
                with self.lock:
                    self.wrong.append((method, path, text, repr(e)))
                return
            with self.lock:
                key = (method, path, answer.status)
                self.counts[key] = self.counts.get(key, 0) + 1
                if answer.status not in (200, 204, 400, 404) or (answer.status == 400 and b"fault_message" not in data):
                    self.wrong.append((method, path, text, answer.status, data))
        connection.close()

    def half(self, method, path):
        """A client that goes in the middle of its request."""
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(self.socket)
            s.sendall(f"{method} {path} HTTP/1.1\r\nContent-Length: 100\r\n\r\n{{".encode())

    def events(self):
        """A client that reads events for a moment, and goes."""
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(base.PATIENCE)
            s.connect(self.socket)
            s.sendall(b"GET /catnap/events HTTP/1.1\r\nHost: vm\r\n\r\n")
            s.recv(1000)

    def ask_all(self):
        choices = self.requests()
        begin = time.monotonic()
        until = begin + SECONDS
        clients = [threading.Thread(target=self.client, args=(choices, n, until)) for n in range(CLIENTS)]
        for t in clients:
            t.start()
        for t in clients:
            t.join()
        self.assertIsNone(self.process.poll(), self.wrong[:1])
        self.assertEqual(self.wrong, [])
        self.ok("PATCH", "/vm", {"state": "Resumed"})
        self.assertEqual(self.ok("GET", "/")["state"], "Running")
        done = sum(n for (_, _, status), n in self.counts.items() if status < 300)
        total = sum(self.counts.values())
        print(f"{total} requests, {done} of them done, in {time.monotonic() - begin:.1f} s", file=sys.stderr)
        return {(method, path) for method, path, status in self.counts if status < 300}

    def threads_are_there(self):
        """Each thread is one of the process', and its processors can be chosen by its id."""
        told = self.ok("GET", "/catnap/threads")["threads"]
        self.assertLessEqual({"vcpu", "main"}, {t["role"] for t in told})
        allowed = sorted(os.sched_getaffinity(0))
        for t in told:
            self.assertTrue(os.path.isdir(f"/proc/{self.process.pid}/task/{t['tid']}"), t)
            for wanted in ([allowed[-1]], allowed):
                subprocess.run(["taskset", "-c", "-p", ",".join(map(str, wanted)), str(t["tid"])], check=True,
                               stdout=subprocess.DEVNULL)
                self.assertEqual(os.sched_getaffinity(t["tid"]), set(wanted))
        self.assertEqual(self.ok("GET", "/")["state"], "Running")

    def closed_in(self):
        """Whether the main thread, which serves the socket, has a filter."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return "Seccomp:\t2" in f.read()

    def test_serve(self):
        self.drive = self.net = "ID"
        self.serve("--log-path", "log", "--metrics-path", "metrics")
        disk = self.file("disk", bytes(1 << 20))
        for path, body in (("/machine-config", {"vcpu_count": 2, "mem_size_mib": 64, "track_dirty_pages": True}),
                           ("/boot-source", {"kernel_image_path": os.path.join(base.GUESTS, "end.elf"),
                                             "boot_args": "how=spin"}),
                           ("/drives/ID", {"drive_id": "ID", "path_on_host": disk, "is_root_device": False,
                                           "is_read_only": False}),
                           ("/balloon", {"amount_mib": 1, "deflate_on_oom": True, "stats_polling_interval_s": 1}),
                           ("/vsock", {"guest_cid": 3, "uds_path": "v"}),
                           ("/entropy", {"rate_limiter": {"bandwidth": {"size": 1000, "refill_time": 100}}}),
                           ("/serial", {"serial_out_path": "serial"}), ("/actions", {"action_type": "InstanceStart"})):
            self.ok("PUT", path, body)
        self.threads_are_there()
        done = self.ask_all()
        self.assertLessEqual({("GET", "/vm/config"), ("PATCH", "/drives/ID"), ("PATCH", "/vm"), ("PATCH", "/balloon"),
                              ("GET", "/catnap/stats"), ("PATCH", "/catnap/halt-polling")}, done)
        print("with filters" if self.closed_in() else "without filters", file=sys.stderr)
        self.process.terminate()
        # A call that is not allowed would have ended it, with 159.
        self.end(128 + signal.SIGTERM)

    def run_it(self, *args):
        disk = self.file("disk", bytes(1 << 20))
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [base.CATNAP, "run", "-k", os.path.join(base.GUESTS, "end.elf"), "-c", "how=spin", "-m", "64M", "--cpus", "2",
             "--api-socket", self.socket, "--disk", f"path={disk}", "--vsock", "cid=3,socket=v", "--balloon", "size=0",
             *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            cwd=self.dir)
        self.connection = base.Connection(self.socket)
        until = time.monotonic() + base.PATIENCE
        while not self.listens():
            self.assertIsNone(self.process.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)
        self.threads_are_there()
        done = self.ask_all()
        self.assertLessEqual({("PUT", "/catnap/serial-input"), ("GET", "/catnap/config"), ("PATCH", "/drives/disk0"),
                              ("PATCH", "/catnap/halt-polling")}, done)
        self.ok("POST", "/catnap/stop")
        self.end(0)
        return done

    def test_run_snapshots(self):
        self.assertIn(("PUT", "/catnap/snapshot"), self.run_it("--snapshots", self.dir))

    def test_run_network(self):
        with socket.socket(socket.AF_UNIX) as other_end:
            other_end.bind(os.path.join(self.dir, "n"))
            other_end.listen(1)
            done = self.run_it("--net", "stream=n")
        self.assertLessEqual({("PATCH", "/catnap/nets/net0"), ("PATCH", "/network-interfaces/net0")}, done)

    def test_run_kernel_irqchip(self):
        self.run_it("--irqchip", "kernel", "--io", "thread")


if __name__ == "__main__":
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        print("no /dev/kvm")
        sys.exit(1 if os.environ.get("CI") else 77)
    if not shutil.which("taskset"):
        print("no taskset: Debian's util-linux")
        sys.exit(77)
    unittest.main(verbosity=2)
