#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap serve: Firecracker's API, held against its specification, and the life of a VM by it.

    test_api.py CATNAP GUESTS SPECIFICATION.yaml [unittest options]
"""

import fcntl
import json
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

sys.dont_write_bytecode = True
from unix_http import Connection  # noqa: E402 pylint: disable=wrong-import-position

CATNAP = os.path.abspath(sys.argv.pop(1))
GUESTS = os.path.abspath(sys.argv.pop(1))
SPECIFICATION = os.path.abspath(sys.argv.pop(1))
TREE = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KVM = os.access("/dev/kvm", os.R_OK | os.W_OK)
PATIENCE = 60

BEFORE = "The requested operation is not supported before starting the microVM."
AFTER = "The requested operation is not supported after starting the microVM."
JSON = "An error occurred when deserializing the json body of a request: "

try:
    import yaml
except ImportError:
    print("no module yaml: Debian's python3-yaml")
    sys.exit(77)


class Case(unittest.TestCase):
    """Each test has a folder, which is empty at its end but for what it made itself."""

    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="catnap-api-")
        self.socket = os.path.join(self.dir, "s")
        self.process = None
        self.connection = None

    def tearDown(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        if self.connection:
            self.connection.close()
        # The socket goes at about the same time, if the process was killed.
        shutil.rmtree(self.dir, ignore_errors=True)

    def file(self, name, content=b""):
        path = os.path.join(self.dir, name)
        with open(path, "wb") as f:
            f.write(content)
        return path

    def serve(self, *args, name=None, **more):
        self.process = subprocess.Popen(  # pylint: disable=consider-using-with
            [name or "catnap", *([] if name else ["serve"]), "--api-sock", self.socket, *args], executable=CATNAP,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=self.dir, **more)
        until = time.monotonic() + PATIENCE
        self.connection = Connection(self.socket)
        while not self.listens():
            self.assertIsNone(self.process.poll())
            self.assertLess(time.monotonic(), until)
            time.sleep(0.01)

    def listens(self):
        try:
            self.connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return False
        return True

    def ask(self, method, path, body=None, raw=None):
        """-> status, what was answered, headers"""
        text = raw if raw is not None else json.dumps(body) if body is not None else None
        self.connection.request(method, path, text, {"Content-Type": "application/json"} if text is not None else {})
        answer = self.connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if data else None, answer.headers

    def ok(self, method, path, body=None, raw=None):
        status, answer, _ = self.ask(method, path, body, raw)
        self.assertIn(status, (200, 204), (method, path, body, answer))
        self.assertEqual(answer is None, status == 204)
        return answer

    def no(self, says, method, path, body=None, raw=None):
        status, answer, _ = self.ask(method, path, body, raw)
        self.assertEqual((status, list(answer or [])), (400, ["fault_message"]), (method, path, body, raw, answer))
        self.assertIn(says, answer["fault_message"], (method, path, body))
        return answer["fault_message"]

    def end(self, status=0):
        """The process ends by itself."""
        out, err = self.process.communicate(timeout=PATIENCE)
        self.assertEqual(self.process.returncode, status, (out[-2000:], err))
        self.assertFalse(os.path.exists(self.socket))
        return out.decode(), err.decode()


# ---- the specification ----

with open(SPECIFICATION, encoding="utf-8") as specification:
    SPEC = yaml.safe_load(specification)

ABSENT = ("/mmds", "/balloon/hinting")


def resolve(schema):
    while "$ref" in schema:
        schema = SPEC["definitions"][schema["$ref"].rsplit("/", 1)[1]]
    return schema


def operations():
    for path, methods in SPEC["paths"].items():
        for method, operation in methods.items():
            schema = None
            for parameter in operation.get("parameters", []):
                if parameter["in"] == "body":
                    schema = resolve(parameter["schema"])
            yield method.upper(), path, schema


def sample(schema, name, files):
    """A value that the schema allows, with all that it has."""
    schema = resolve(schema)
    kind = schema.get("type")
    special = {"kernel_image_path": files["kernel"], "initrd_path": files["kernel"], "path_on_host": files["disk"],
               "log_path": files["log"], "metrics_path": files["metrics"], "serial_out_path": files["serial"],
               "host_dev_name": "lo", "guest_mac": "02:00:00:00:00:01", "drive_id": "ID", "iface_id": "ID",
               "id": "ID", "uds_path": "v", "guest_cid": 3, "mem_size_mib": 128, "amount_mib": 64, "cpu_template": "None",
               "huge_pages": "None", "mtu": 1500, "leaf": "0x1", "subleaf": "0x0", "addr": "0x10a",
               "state": "Paused", "refill_time": 100, "total_size_mib": 128, "slot_size_mib": 128, "block_size_mib": 2}
    if name == "bitmap":
        return "0b" + "x" * 32
    if name in ("kvm_capabilities", "cpuid_modifiers", "msr_modifiers"):
        return []
    if name in special:
        return special[name]
    if "enum" in schema:
        return schema["enum"][0]
    if kind == "object":
        return {n: sample(s, n, files) for n, s in schema.get("properties", {}).items()
                if n not in ("socket", "smt", "free_page_hinting", "reg_modifiers", "vcpu_features", "properties")}
    if kind == "array":
        return []
    if kind == "boolean":
        return False
    if kind == "integer":
        return schema.get("minimum", 0) + 1
    return "text"


WRONG = {"string": (5, True, [], {}), "integer": ("5", True, 1.5, -1, 1 << 70, {}), "boolean": ("true", 1, {}),
         "object": ([], "x", 7), "array": ({}, "x", 7)}


def wrongs(schema, good):
    """Yields what the schema does not allow: (body, member)."""
    properties = schema.get("properties", {})
    for name in schema.get("required", []):
        yield {n: v for n, v in good.items() if n != name}, name
    yield dict(good, no_such_member=1), "no_such_member"
    for name, inner in properties.items():
        inner = resolve(inner)
        for value in WRONG.get(inner.get("type"), ()):
            yield dict(good, **{name: value}), name
        if "enum" in inner:
            yield dict(good, **{name: "no such word"}), name
        if inner.get("type") == "object" and isinstance(good.get(name), dict):
            for body, member in wrongs(inner, good[name]):
                yield dict(good, **{name: body}), member


NOT_JSON = ("", " ", "x", "{", '{"a"', '{"a": }', "{} {}", "{}x", "[]", "null", "5", '"x"', "{'a': 1}", "{\"a\": NaN}",
            '{"a": 1, "a": 2}', "{" * 1000, "\0", "{}\0")


class Specification(Case):
    def files(self):
        return {"kernel": self.file("kernel", b"\x7fELF"), "disk": self.file("disk", bytes(4096)),
                "log": self.file("log"), "metrics": self.file("metrics"), "serial": self.file("serial")}

    def test_bodies(self):
        """Each path and method: a right body is taken or refused with a reason, each wrong one with its member."""
        files = self.files()
        self.serve()
        before = self.ok("GET", "/machine-config")
        n = 0
        for method, path, schema in operations():
            if schema is None or path.startswith(ABSENT):
                continue
            at = path.replace("{drive_id}", "ID").replace("{iface_id}", "ID").replace("{id}", "ID")
            good = sample(schema, "", files)
            for body, member in wrongs(schema, good):
                # Members that a PATCH may leave out.
                if method == "PATCH" and path == "/machine-config" and set(body) < set(good) and body:
                    continue
                says = self.no("", method, at, body)
                if "id from the path" not in says:
                    self.assertIn(member, says, (method, at, body))
                n += 1
            for text in NOT_JSON:
                self.no("", method, at, raw=text)
        self.assertGreater(n, 150)
        self.assertEqual(self.ok("GET", "/machine-config"), before)

    def test_right(self):
        files = self.files()
        self.serve()
        for method, path, schema in operations():
            if path.startswith(ABSENT):
                continue
            at = path.replace("{drive_id}", "ID").replace("{iface_id}", "ID").replace("{id}", "ID")
            body = sample(schema, "", files) if schema else None
            if method == "GET":
                if path == "/balloon":
                    self.no("No balloon device found", method, at)
                elif path in ("/balloon/statistics", "/hotplug/memory"):
                    self.no(BEFORE, method, at)
                else:
                    self.ok(method, at)
            elif path in ("/actions", "/snapshot/create"):
                self.no(BEFORE, method, at, body)
            elif path == "/snapshot/load":
                self.no("too many fields", method, at, body)
            elif method == "PATCH" and path != "/machine-config":
                self.no(BEFORE, method, at, body)
            else:
                self.ok(method, at, body)
        shown = self.ok("GET", "/vm/config")
        self.assertEqual(set(shown), set(SPEC["definitions"]["FullVmConfiguration"]["properties"]))
        self.assertEqual(shown["drives"][0]["path_on_host"], files["disk"])

    def test_absent(self):
        files = self.files()
        self.serve()
        for method, path, schema in operations():
            if path.startswith(ABSENT):
                body = None if method == "GET" else sample(schema, "", files) if schema else {}
                says = self.no("", method, path.replace("{id}", "ID"), body)
                self.assertTrue(says == BEFORE or "not offered yet" in says, says)

    def test_answers(self):
        """The members that the specification requires of answers are there."""
        self.serve("--id", "abc")
        for path, name in (("/", "InstanceInfo"), ("/version", "FirecrackerVersion"),
                           ("/machine-config", "MachineConfiguration")):
            self.assertLessEqual(set(SPEC["definitions"][name]["required"]), set(self.ok("GET", path)))
        self.assertEqual(self.ok("GET", "/"), {"id": "abc", "state": "Not started", "vmm_version": "1.17.0",
                                               "app_name": "Firecracker"})

    def test_taken_and_shown(self):
        """docs/api.md: what makes no difference here is taken, and shown as it was given."""
        files = self.files()
        self.serve()
        drive = {"drive_id": "a", "path_on_host": files["disk"], "is_root_device": False}
        for more in ({}, {"cache_type": "Unsafe", "io_engine": "Async"}, {"cache_type": "Writeback", "io_engine": "Sync"}):
            self.ok("PUT", "/drives/a", dict(drive, **more))
            shown = self.ok("GET", "/vm/config")["drives"]
            self.assertEqual([(d["cache_type"], d["io_engine"]) for d in shown],
                             [(more.get("cache_type", "Unsafe"), more.get("io_engine", "Sync"))])
        for flags in (0, 1, (1 << 32) - 1):
            leaf = {"leaf": "0x1", "subleaf": "0x0", "flags": flags, "modifiers": [{"register": "ecx", "bitmap": "0b0"}]}
            self.ok("PUT", "/cpu-config", {"cpuid_modifiers": [leaf]})
        self.no("flags", "PUT", "/cpu-config", {"cpuid_modifiers": [dict(leaf, flags=1 << 32)]})

    def test_methods(self):
        self.serve()
        # Devices go as well, which the specification does not have so far.
        for path in set(SPEC["paths"]) - {"/drives/{drive_id}", "/network-interfaces/{iface_id}"}:
            self.no("Invalid request method and/or path: DELETE", "DELETE", path)
        self.no("Invalid request method and/or path: GET nothing.", "GET", "/nothing")
        self.no("GET request cannot have a body.", "GET", "/", {})
        self.no("Empty PUT request.", "PUT", "/vsock")
        self.no("Empty PATCH request.", "PATCH", "/vm")

    def test_deprecated(self):
        self.serve()
        for path, body in (("/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "None"}),
                           ("/vsock", {"guest_cid": 3, "uds_path": "v", "vsock_id": "x"})):
            self.assertEqual(self.ask("PUT", path, body)[2].get("Deprecation"), "true")
        self.assertIsNone(self.ask("PUT", "/vsock", {"guest_cid": 3, "uds_path": "v"})[2].get("Deprecation"))


# ---- the command ----

class Command(Case):
    def run_it(self, *args, name=None):
        return subprocess.run([name or "catnap", *([] if name else ["serve"]), *args], executable=CATNAP,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              timeout=PATIENCE, cwd=self.dir, check=False)

    def refused(self, status, words, *args):
        p = self.run_it(*args)
        err = p.stderr.decode()
        self.assertEqual((p.returncode, err.count("\n")), (status, 1), err)
        for word in words:
            self.assertIn(word, err)
        self.assertFalse(os.path.exists(self.socket))

    def test_version(self):
        for p in (self.run_it("--version"), self.run_it("--version", name="firecracker")):
            lines = p.stdout.decode().split("\n")
            self.assertEqual((p.returncode, lines[0]), (0, "Firecracker v1.17.0"))
            self.assertTrue(any(line.startswith("catnap ") for line in lines))

    def test_refused(self):
        sock = ["--api-sock", self.socket]
        self.refused(2, ["--no-api", "--config-file"], "--no-api")
        self.refused(2, ["--level", "Loud"], *sock, "--level", "Loud")
        self.refused(2, ["--id"], *sock, "--id", "a b")
        self.refused(2, ["--metadata"], *sock, "--metadata", "x")
        self.refused(2, ["--http-api-max-payload-size"], *sock, "--http-api-max-payload-size", "x")
        self.refused(1, ["--log-path", "/nowhere/x"], *sock, "--log-path", "/nowhere/x")
        self.refused(1, ["--metrics-path", "/nowhere/x"], *sock, "--metrics-path", "/nowhere/x")
        self.refused(1, ["--config-file", "/nowhere/x"], *sock, "--log-path", "log", "--config-file", "/nowhere/x")
        self.refused(1, ["too long for a socket", "107 bytes"], "--log-path", "log", "--api-sock", "x" * 108)
        self.refused(1, ["--api-sock", "fd=77"], "--log-path", "log", "--api-sock", "fd=77")
        self.file("s")
        p = self.run_it(*sock, "--log-path", "log")
        self.assertEqual(p.returncode, 1)
        self.assertIn(b"exists", p.stderr)

    def test_socket(self):
        """Mode 0600 whatever the mask is; gone at the end."""
        for mask in (0, 0o077, 0o777):
            before = os.umask(mask)
            try:
                self.serve("--no-seccomp", "--log-path", "/dev/null")
            finally:
                os.umask(before)
            self.assertEqual(stat.S_IMODE(os.stat(self.socket).st_mode), 0o600, oct(mask))
            self.process.terminate()
            self.end(128 + signal.SIGTERM)
            self.connection.close()

    def test_inherited(self):
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.socket)
            s.listen(5)
            self.connection = Connection(self.socket)
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [CATNAP, "serve", "--api-sock", f"fd={s.fileno()}"], stdout=subprocess.DEVNULL, pass_fds=[s.fileno()])
            self.assertEqual(self.ok("GET", "/")["state"], "Not started")

    def test_log_and_metrics(self):
        self.serve("--id", "me", "--log-path", "log", "--metrics-path", "metrics", "--show-level")
        self.ok("PUT", "/machine-config", {"vcpu_count": 2, "mem_size_mib": 128})
        self.no("Reinitialization", "PUT", "/metrics", {"metrics_path": "other"})
        self.ok("PUT", "/logger", {"log_path": "second", "level": "DEBUG", "show_log_origin": True})
        self.no("/nowhere/x", "PUT", "/logger", {"log_path": "/nowhere/x"})
        self.process.terminate()
        self.end(128 + signal.SIGTERM)
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as f:
            first = f.read().split("\n")
        self.assertRegex(first[0], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9} \[me:main:INFO\] Running Firecracker v1\.17\.0")
        with open(os.path.join(self.dir, "second"), encoding="utf-8") as f:
            self.assertRegex(f.read(), r"\[me:main:ERROR:[^]]+\] .*Status code: 400")
        with open(os.path.join(self.dir, "metrics"), encoding="utf-8") as f:
            m = json.loads(f.read())
        self.assertEqual(m["put_api_requests"]["machine_cfg_count"], 1)
        self.assertEqual(m["put_api_requests"]["metrics_fails"], 1)

    def test_log_origin(self):
        """Each line names the place in the sources that it comes from: one where something is logged."""
        self.serve("--log-path", "log", "--show-level", "--show-log-origin")
        self.ok("GET", "/")
        self.no("", "PUT", "/vsock", {"guest_cid": 1})
        self.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "None"})
        self.process.terminate()
        self.end(128 + signal.SIGTERM)
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as f:
            lines = f.read().splitlines()
        files = set()
        for text in lines:
            m = re.match(r"[^ ]+ \[[^:\]]+:main:[A-Z]+:(src/[a-z_/]+\.c):(\d+)\] ", text)
            self.assertTrue(m, text)
            files.add(m[1])
            with open(os.path.join(TREE, m[1]), encoding="utf-8") as f:
                self.assertRegex(f.read().splitlines()[int(m[2]) - 1], r"\b(logger_line|logger_always|api_log)\(", text)
        self.assertEqual(files, {f"src/cli/{name}.c" for name in ("api/fc_machine", "api/route", "serve/serve")})

    def test_log_module(self):
        """Lines of other files are left out."""
        self.serve("--log-path", "log", "--show-log-origin", "--module", "src/cli/api/fc_")
        self.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 128, "cpu_template": "None"})
        self.process.terminate()
        self.end(128 + signal.SIGTERM)
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as f:
            requests = [text for text in f.read().splitlines() if "Running Firecracker" not in text]
        self.assertEqual(len(requests), 1, requests)
        self.assertRegex(requests[0], r"src/cli/api/fc_machine\.c:\d+\] .*cpu_template")

    def test_status_of_a_bad_command_line(self):
        """Firecracker's where the command has its name."""
        for args in (("--no-such-option",), ("--level", "Loud"), ("--no-api",), ("--start-time-us", "soon"), ("x",)):
            for name, status in ((None, 2), ("firecracker", 153), ("/usr/bin/firecracker", 153)):
                p = self.run_it(*args, name=name)
                self.assertEqual((p.returncode, p.stdout, p.stderr.count(b"\n")), (status, b"", 1), p.stderr)
        self.assertEqual(self.run_it("--help", name="firecracker").returncode, 0)

    def test_start_times(self):
        """The duration of the start is told, in the log and in each line of metrics."""
        now, ahead = time.monotonic_ns() // 1000, 10**12
        for times, least, most in (
                ((now - 5000000, 0, 7000000), (5000000, 7000000), (5000000 + PATIENCE * 10**6, 7000000 + PATIENCE * 10**6)),
                ((now + ahead, ahead, 5), (0, 5), (0, 5)), ((None, None, 5), (0, 0), (0, 0))):
            names = ("--start-time-us", "--start-time-cpu-us", "--parent-cpu-time-us")
            args = [str(x) for name, t in zip(names, times) if t is not None for x in (name, t)]
            log, metrics = self.file("log"), self.file("metrics")
            self.serve("--log-path", log, "--metrics-path", metrics, *args)
            self.process.terminate()
            self.end(128 + signal.SIGTERM)
            self.connection.close()
            self.connection = None
            with open(metrics, encoding="utf-8") as f:
                told = json.loads(f.read())["api_server"]
            with open(log, encoding="utf-8") as f:
                text = f.read()
            for i, name in enumerate(("process_startup_time_us", "process_startup_time_cpu_us")):
                self.assertTrue(least[i] <= told[name] <= most[i], (times, told))
                self.assertEqual(f"{name}: {told[name]}\n" in text, times[i] is not None, text)

    def test_fifos(self):
        """For the log and the metrics: no reader is waited for, and one that does not read holds nothing up."""
        paths = [os.path.join(self.dir, name) for name in ("log", "metrics")]
        for path in paths:
            os.mkfifo(path)
        self.serve("--log-path", "log", "--metrics-path", "metrics", "--level", "Error")
        readers = [os.open(path, os.O_RDONLY | os.O_NONBLOCK) for path in paths]
        try:
            # More than a FIFO holds, of what is logged at this level.
            for _ in range(1000):
                self.no("nothing", "GET", "/nothing" + "x" * 150)
            text = b""
            while True:
                try:
                    text += os.read(readers[0], 65536)
                except BlockingIOError:
                    break
            lines = text.split(b"\n")
            self.assertGreater(len(lines), 50)
            self.assertLess(len(lines), 1000)
            self.assertEqual(lines[-1], b"")
            for line in lines[1:-1]:  # whole ones
                self.assertRegex(line, rb"^\d{4}-.*] .* GET nothingx+\.$")
            # There is room again.
            self.no("nothing", "GET", "/nothing")
            self.assertIn(b"GET nothing", os.read(readers[0], 65536))
            self.process.terminate()
            self.end(128 + signal.SIGTERM)
            self.assertEqual(json.loads(os.read(readers[1], 65536))["put_api_requests"]["actions_count"], 0)
        finally:
            for fd in readers:
                os.close(fd)

    def test_systemd(self):
        """LISTEN_FDS, as sd_listen_fds(3) has it: descriptor 3, for the process LISTEN_PID alone."""
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(self.socket)
            s.listen(5)
            start = [sys.executable, "-c", "import os, sys; os.dup2(int(sys.argv[1]), 3); "
                     "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='api'); "
                     "os.execv(sys.argv[2], sys.argv[2:])", str(s.fileno())]
            self.process = subprocess.Popen(  # pylint: disable=consider-using-with
                [*start, CATNAP, "serve", "--log-path", "log"], cwd=self.dir, pass_fds=[s.fileno()])
            self.connection = Connection(self.socket)
            self.assertEqual(self.ok("GET", "/")["state"], "Not started")
            with open(f"/proc/{self.process.pid}/environ", "rb") as f:
                self.assertIn(b"LISTEN_FDS=1", f.read())  # it was told
            self.process.terminate()
            self.assertEqual(self.process.wait(PATIENCE), 128 + signal.SIGTERM)
            # A socket that was given is not removed.
            self.assertTrue(os.path.exists(self.socket))
        # A descriptor that is no listening socket is refused.
        with open(os.path.join(self.dir, "log"), "rb") as f:
            start[-1] = str(f.fileno())
            p = subprocess.run([*start, CATNAP, "serve", "--log-path", "log"], cwd=self.dir, pass_fds=[f.fileno()],
                               capture_output=True, timeout=PATIENCE, check=False)
            self.assertEqual((p.returncode, p.stdout), (1, b""))
            self.assertRegex(p.stderr, rb"LISTEN_FDS: is not a socket\n$")

    def test_config_file_errors(self):
        kernel = self.file("kernel", b"\x7fELF")
        good = {"boot-source": {"kernel_image_path": kernel}, "drives": []}
        wrong = [("{", "EOF"), ('{"x": 1}', "`x`"), (json.dumps(dict(good, drives={})), "drives"),
                 (json.dumps(dict(good, drives=[{"drive_id": "a"}])), "is_root_device"),
                 (json.dumps(dict(good, drives=[{"drive_id": "a", "is_root_device": 5}])), "drives[0].is_root_device"),
                 (json.dumps(dict(good, **{"machine-config": {"vcpu_count": 0, "mem_size_mib": 1}})), "machine-config"),
                 (json.dumps(dict(good, **{"mmds-config": {"network_interfaces": []}})), "not offered"),
                 (json.dumps({"drives": []}), "kernel"),
                 (json.dumps({"boot-source": {"kernel_image_path": "/nowhere/x"}}), "No such file")]
        for text, word in wrong:
            self.file("c", text.encode())
            self.refused(152, ["--config-file", word], "--log-path", "log", "--no-api", "--config-file", "c")

    def test_config_file_that_does_not_end(self):
        """It is waited for, until it is there or a signal comes."""
        fifo = os.path.join(self.dir, "fifo")
        os.mkfifo(fifo)
        self.file("cpu", json.dumps({"cpu-config": fifo, "boot-source": {"kernel_image_path": "/nowhere/x"}}).encode())
        args = [CATNAP, "serve", "--log-path", self.file("log", b""), "--no-api", "--config-file"]
        for file in (fifo, os.path.join(self.dir, "cpu")):
            for number in (signal.SIGTERM, signal.SIGINT):
                with subprocess.Popen([*args, file], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
                    # There is no sign of its waiting.
                    time.sleep(0.3)
                    self.assertIsNone(p.poll())
                    p.send_signal(number)
                    self.assertEqual((p.communicate(timeout=30)[1], p.returncode), ("", 128 + number))
        with subprocess.Popen([*args, fifo], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as p:
            with open(fifo, "w", encoding="utf-8") as f:
                f.write("{")
                f.flush()
                time.sleep(0.1)
                f.write("]")
            self.assertIn("it is not JSON", p.communicate(timeout=30)[1])
            self.assertEqual(p.returncode, 152)


@unittest.skipUnless(KVM, "no /dev/kvm")
class Running(Case):
    def begin(self, guest, args, *options, **more):
        self.serve("--log-path", "log", *options, **more)
        self.ok("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64})
        self.ok("PUT", "/boot-source", {"kernel_image_path": os.path.join(GUESTS, guest), "boot_args": args})

    def start(self):
        self.ok("PUT", "/actions", {"action_type": "InstanceStart"})

    def test_life(self):
        self.begin("end.elf", "how=spin", "--metrics-path", "metrics")
        disk = self.file("disk", bytes(1 << 20))
        self.ok("PUT", "/drives/a", {"drive_id": "a", "path_on_host": disk, "is_root_device": False,
                                     "is_read_only": False})
        self.ok("PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True, "stats_polling_interval_s": 1})
        self.ok("PUT", "/entropy", {})
        hotplug = {"total_size_mib": 256, "slot_size_mib": 128, "block_size_mib": 4}
        for key, value in (("total_size_mib", 130), ("slot_size_mib", 64), ("block_size_mib", 3)):
            self.no(key, "PUT", "/hotplug/memory", {**hotplug, key: value})
        self.ok("PUT", "/hotplug/memory", hotplug)
        pmem = {"id": "p", "path_on_host": self.file("pmem", bytes(2 << 20)), "root_device": True}
        self.no("No such file", "PUT", "/pmem/p", {**pmem, "path_on_host": "none"})
        self.ok("PUT", "/pmem/p", {**pmem, "read_only": True})
        self.ok("PUT", "/pmem/p", pmem)
        self.no("root device already", "PUT", "/pmem/q", {**pmem, "id": "q"})
        self.no("root block device already", "PUT", "/drives/a", {
            "drive_id": "a", "path_on_host": disk, "is_root_device": True, "is_read_only": False})
        self.start()
        self.assertEqual(self.ok("GET", "/")["state"], "Running")
        limit = {"ops": {"size": 5, "refill_time": 100}}
        self.assertEqual(self.ok("GET", "/vm/config")["memory-hotplug"], hotplug)
        self.ok("PATCH", "/hotplug/memory", {"requested_size_mib": 128})
        self.no("requested_size_mib", "PATCH", "/hotplug/memory", {"requested_size_mib": 257})
        self.no("requested_size_mib", "PATCH", "/hotplug/memory", {"requested_size_mib": 126})
        self.assertEqual(self.ok("GET", "/hotplug/memory"), {**hotplug, "plugged_size_mib": 0, "requested_size_mib": 128})
        self.ok("PATCH", "/pmem/p", {"id": "p"})
        self.ok("PATCH", "/pmem/p", {"id": "p", "rate_limiter": limit})
        self.no("was not found", "PATCH", "/pmem/q", {"id": "q", "rate_limiter": limit})
        self.assertEqual(self.ok("GET", "/vm/config")["pmem"], [
            {**pmem, "read_only": False, "rate_limiter": {
                "bandwidth": None, "ops": {"size": 5, "one_time_burst": None, "refill_time": 100}}}])
        # These requests were for before the start.
        for method, path, body in (
                ("PUT", "/machine-config", {"vcpu_count": 1, "mem_size_mib": 64}),
                ("PATCH", "/machine-config", {"vcpu_count": 1}),
                ("PUT", "/boot-source", {"kernel_image_path": "x"}),
                ("PUT", "/pmem/p", pmem), ("PUT", "/hotplug/memory", hotplug),
                ("PUT", "/drives/b", {"drive_id": "b", "path_on_host": "x", "is_root_device": False}),
                ("PUT", "/network-interfaces/b", {"iface_id": "b", "host_dev_name": "x"}),
                ("PUT", "/vsock", {"guest_cid": 3, "uds_path": "x"}), ("PUT", "/entropy", {}), ("PUT", "/serial", {}),
                ("PUT", "/logger", {}), ("PUT", "/metrics", {"metrics_path": "x"}),
                ("PUT", "/balloon", {"amount_mib": 1, "deflate_on_oom": True}),
                ("PUT", "/actions", {"action_type": "InstanceStart"})):
            self.no(AFTER, method, path, body)
        for _ in range(2):
            self.ok("PATCH", "/vm", {"state": "Paused"})
            self.assertEqual(self.ok("GET", "/")["state"], "Paused")
        for _ in range(2):
            self.ok("PATCH", "/vm", {"state": "Resumed"})
            self.assertEqual(self.ok("GET", "/")["state"], "Running")
        self.ok("PATCH", "/balloon", {"amount_mib": 2})
        self.assertEqual(self.ok("GET", "/balloon")["amount_mib"], 2)
        self.no("too large", "PATCH", "/balloon", {"amount_mib": 64})
        self.assertEqual(self.ok("GET", "/balloon/statistics")["target_mib"], 2)
        self.ok("PATCH", "/balloon/statistics", {"stats_polling_interval_s": 5})
        self.no("Cannot enable/disable", "PATCH", "/balloon/statistics", {"stats_polling_interval_s": 0})
        limit = {"bandwidth": {"size": 5000, "refill_time": 100}, "ops": {"size": 500, "refill_time": 100}}
        self.ok("PATCH", "/drives/a", {"drive_id": "a", "rate_limiter": limit})
        self.assertEqual(self.ok("GET", "/vm/config")["drives"][0]["rate_limiter"]["ops"],
                         {"size": 500, "one_time_burst": None, "refill_time": 100})
        self.no("expected different backend.", "PATCH", "/drives/a", {"drive_id": "a"})
        other = self.file("other", bytes(2 << 20))
        self.ok("PATCH", "/drives/a", {"drive_id": "a", "path_on_host": other})
        self.assertEqual(self.ok("GET", "/vm/config")["drives"][0]["path_on_host"], other)
        self.no("(os error 2) foo.bar", "PATCH", "/drives/a", {"drive_id": "a", "path_on_host": "foo.bar"})
        self.no("not found", "PATCH", "/drives/b", {"drive_id": "b", "rate_limiter": limit})
        self.ok("PUT", "/actions", {"action_type": "FlushMetrics"})
        with open(os.path.join(self.dir, "metrics"), encoding="utf-8") as f:
            self.assertEqual(json.loads(f.read())["put_api_requests"]["drive_count"], 3)
        # Nobody listens to the button in this guest.
        self.no("", "PUT", "/actions", {"action_type": "SendCtrlAltDel"})
        self.process.terminate()
        self.end(128 + signal.SIGTERM)

    def test_nodes(self):
        """The guest's NUMA nodes: all vCPUs and all memory, each once; what is not so is named, and changes nothing."""
        self.begin("end.elf", "how=spin")
        machine = {"vcpu_count": 3, "mem_size_mib": 64}
        nodes = [{"vcpus": [0, 2], "mem_size_mib": 16, "host_nodes": [0], "distances": [10, 30]},
                 {"vcpus": [1], "mem_size_mib": 48, "distances": [30, 10]}]
        self.ok("PUT", "/machine-config", {**machine, "numa_nodes": nodes})
        self.assertEqual(self.ok("GET", "/machine-config")["numa_nodes"], nodes)
        for says, wrong in (
                ("vCPU 2 is in no node", [{**nodes[0], "vcpus": [0]}, nodes[1]]),
                ("vCPU 1 is in two nodes", [{**nodes[0], "vcpus": [0, 1, 2]}, nodes[1]]),
                ("there is no vCPU 3: the VM has 3 vCPUs", [nodes[0], {**nodes[1], "vcpus": [1, 3]}]),
                ("mem_size_mib: the nodes have 63M together: expected 64M", [nodes[0], {**nodes[1], "mem_size_mib": 47}]),
                ("mem_size_mib", [nodes[0], {**nodes[1], "mem_size_mib": 1 << 63}]),
                ("mem_size_mib", [nodes[0], {**nodes[1], "mem_size_mib": -1}]),
                ("node 2 has nothing: expected vcpus, mem_size_mib or both", [{**nodes[0], "distances": []}, {"vcpus": [1], "mem_size_mib": 48}, {}]),
                ("host_nodes: has no effect without mem_size_mib", [nodes[0], {"vcpus": [1], "host_nodes": [0], "distances": [30, 10]}]),
                ("distances: of node 0 are not one for each", [{**nodes[0], "distances": [10]}, nodes[1]]),
                ("distances: of node 0 are not one for each", [{**nodes[0], "distances": [10, 20, 30]}, nodes[1]]),
                ("from node 0 to node 0: expected 10", [{**nodes[0], "distances": [20, 20]}, nodes[1]]),
                ("distances: expected a number for each node, 10 to 255", [{**nodes[0], "distances": [9, 20]}, nodes[1]]),
                ("distances: expected", [{**nodes[0], "distances": [10, 256]}, nodes[1]]),
                ("distances: expected", [{**nodes[0], "distances": [10] * 17}, nodes[1]]),
                ("distances: expected", [{**nodes[0], "distances": "10:20"}, nodes[1]]),
                ("vcpus: expected a list of numbers, 0 to 63", [{**nodes[0], "vcpus": [64]}, nodes[1]]),
                ("vcpus: expected", [{**nodes[0], "vcpus": [-1]}, nodes[1]]),
                ("vcpus: expected", [{**nodes[0], "vcpus": ["0"]}, nodes[1]]),
                ("vcpus: expected", [{**nodes[0], "vcpus": 0}, nodes[1]]),
                ("vcpus: expected", [{**nodes[0], "vcpus": [1.5]}, nodes[1]]),
                ("host_nodes: expected", [{**nodes[0], "host_nodes": {"a": 1}}, nodes[1]]),
                ("cpus", [{"cpus": [0]}]), ("numa_nodes", 5), ("numa_nodes", [5]), ("numa_nodes", nodes * 9)):
            self.no(says, "PUT", "/machine-config", {**machine, "numa_nodes": wrong})
            self.no(says, "PATCH", "/machine-config", {"numa_nodes": wrong})
        # What the nodes are of cannot be changed without them.
        self.no("vCPU 3 is in no node", "PATCH", "/machine-config", {"vcpu_count": 4})
        self.no("expected 128M, all of the machine's mem_size_mib", "PATCH", "/machine-config", {"mem_size_mib": 128})
        self.no("expected", "PATCH", "/machine-config", {"mem_size_mib": (1 << 64) - 1})
        self.assertEqual(self.ok("GET", "/vm/config")["machine-config"]["numa_nodes"], nodes)
        self.ok("PATCH", "/machine-config", {"numa_nodes": []})
        self.assertNotIn("numa_nodes", self.ok("GET", "/machine-config"))
        self.ok("PATCH", "/machine-config", {"numa_nodes": nodes})
        self.start()
        self.assertEqual(self.ok("GET", "/")["state"], "Running")
        self.assertEqual(self.ok("GET", "/machine-config")["numa_nodes"], nodes)
        self.no(AFTER, "PATCH", "/machine-config", {"numa_nodes": []})

    def test_nodes_of_a_host_that_has_no_such(self):
        self.begin("end.elf", "how=spin")
        self.ok("PATCH", "/machine-config", {"numa_nodes": [{"vcpus": [0], "mem_size_mib": 64, "host_nodes": [63]}]})
        self.no("node", "PUT", "/actions", {"action_type": "InstanceStart"})
        self.ok("PATCH", "/machine-config", {"numa_nodes": []})
        self.start()

    def test_start_that_fails(self):
        """Nothing is lost, and it can be tried again."""
        self.serve("--log-path", "log")
        self.no("kernel", "PUT", "/actions", {"action_type": "InstanceStart"})
        self.ok("PUT", "/boot-source", {"kernel_image_path": self.file("bad", b"x" * 5000)})
        self.no("Start microvm error", "PUT", "/actions", {"action_type": "InstanceStart"})
        self.assertEqual(self.ok("GET", "/")["state"], "Not started")
        self.ok("PUT", "/boot-source", {"kernel_image_path": os.path.join(GUESTS, "end.elf"), "boot_args": "how=spin"})
        self.ok("PATCH", "/machine-config", {"mem_size_mib": (1 << 64) - 1})
        self.no("Start microvm error", "PUT", "/actions", {"action_type": "InstanceStart"})
        self.ok("PATCH", "/machine-config", {"mem_size_mib": 64})
        self.ok("PUT", "/serial", {"serial_out_path": "/nowhere/x"})
        self.no("/nowhere/x", "PUT", "/actions", {"action_type": "InstanceStart"})
        self.ok("PUT", "/serial", {"serial_out_path": "serial"})
        self.start()
        self.assertEqual(self.ok("GET", "/")["state"], "Running")

    def begin_log(self):
        self.file("log")
        self.ok("PUT", "/logger", {"log_path": "log"})

    def logged(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8") as f:
            return f.read()

    def test_guest_ends(self):
        """The process ends with the guest, and with 0 whatever that did."""
        for how in ("cf9", "keyboard", "triple"):
            with self.subTest(how=how):
                self.begin("end.elf", f"how={how}")
                self.begin_log()
                self.start()
                self.connection.close()
                self.end(0)
                out = self.logged()
                # The report of the triple fault has several lines, each one of the log.
                self.assertNotIn("\\x0a", out)
                self.assertEqual(len(re.findall(r"\] (?:vCPU 0: triple fault|rip [0-9a-f]{16} .*|code: .*)\n", out)), 3 * (how == "triple"), out)

    def test_pmem_that_becomes_shorter(self):
        """The VM ends, with a line; the process ends with it, by no signal."""
        self.begin("pmem.elf", "rounds=1000000000")
        path = self.file("pmem", bytes(2 << 20))
        self.begin_log()
        self.ok("PUT", "/pmem/p", {"id": "p", "path_on_host": path})
        self.start()
        time.sleep(0.2)
        os.truncate(os.path.join(self.dir, "pmem"), 0)
        self.connection.close()
        self.end(1)
        out = self.logged()
        self.assertEqual(len(re.findall(r"guest memory .* made shorter, or its file system is full or fails", out)), 1, out)

    def test_serial(self):
        self.begin("end.elf", "how=halt")
        self.ok("PUT", "/serial", {"serial_out_path": "serial"})
        self.start()
        until = time.monotonic() + PATIENCE
        said = b""
        while b"halting" not in said:
            self.assertLess(time.monotonic(), until)
            time.sleep(0.1)
            with open(os.path.join(self.dir, "serial"), "rb") as f:
                said = f.read()
        self.process.terminate()
        self.end(128 + signal.SIGTERM)

    def test_config_file(self):
        config = {"boot-source": {"kernel_image_path": os.path.join(GUESTS, "end.elf"), "boot_args": "how=cf9"},
                  "machine-config": {"vcpu_count": 1, "mem_size_mib": 64},
                  "drives": [{"drive_id": "a", "path_on_host": self.file("disk", bytes(4096)), "is_root_device": True,
                              "is_read_only": True}]}
        self.file("c", json.dumps(config).encode())
        for options in (["--no-api"], ["--no-api", "--no-seccomp"], ["--no-api", "--enable-pci"]):
            p = subprocess.run([CATNAP, "serve", "--config-file", "c", *options], stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=PATIENCE, cwd=self.dir,
                               check=False)
            self.assertEqual(p.returncode, 0, p.stderr)
            self.assertIn(b"Running Firecracker v1.17.0", p.stdout)
            self.assertIn(b"Firecracker exiting successfully. exit_code=0", p.stdout)

    def test_snapshots(self):
        """What was written since is to be had where an account is kept, by /machine-config, and nowhere else."""
        def create(kind):
            return "PUT", "/snapshot/create", {"snapshot_type": kind, "snapshot_path": "state", "mem_file_path": kind}

        for track in (True, False):
            self.begin("end.elf", "how=spin")
            self.ok("PATCH", "/machine-config", {"track_dirty_pages": track})
            self.start()
            self.ok("PATCH", "/vm", {"state": "Paused"})
            self.ok(*create("Full"))
            if track:
                self.ok(*create("Diff"))
                size = [os.stat(os.path.join(self.dir, kind)).st_blocks for kind in ("Full", "Diff")]
                self.assertLess(size[1], size[0])
            else:
                self.no("", *create("Diff"))
            self.process.terminate()
            self.end(128 + signal.SIGTERM)

    def test_loaded(self):
        """Another process goes on from one, whatever it was told to load before."""
        disk, copy = self.file("disk", bytes(1 << 20)), os.path.join(self.dir, "gone")
        self.begin("end.elf", "how=spin")
        self.ok("PATCH", "/machine-config", {"track_dirty_pages": True})
        self.ok("PUT", "/drives/a", {"drive_id": "a", "path_on_host": disk, "is_root_device": False, "is_read_only": False})
        self.start()
        self.ok("PATCH", "/vm", {"state": "Paused"})
        self.ok("PUT", "/snapshot/create", {"snapshot_path": "diffs", "mem_file_path": "first"})
        self.ok("PUT", "/snapshot/create", {"snapshot_path": "diffs", "mem_file_path": "diff", "snapshot_type": "Diff"})
        self.ok("PUT", "/snapshot/create", {"snapshot_path": "state", "mem_file_path": "memory"})
        self.process.terminate()
        self.end(128 + signal.SIGTERM)

        self.serve()
        good = {"snapshot_path": "state", "mem_backend": {"backend_type": "File", "backend_path": "memory"}}
        before = self.ok("GET", "/vm/config")
        os.rename(disk, copy)
        os.mkfifo(os.path.join(self.dir, "fifo"))
        for says, change in (("backend_path: expected a path", {"mem_backend": {"backend_type": "File", "backend_path": ""}}),
                             ("snapshot_path: expected a path", {"snapshot_path": ""}),
                             ("nothing: No such file", {"snapshot_path": "nothing"}),
                             ("fifo: is no regular file", {"snapshot_path": "fifo"}),
                             ("memory: the state file is no state", {"snapshot_path": "memory"}),
                             ("diffs: is a diff", {"snapshot_path": "diffs"}),
                             ("is no memory of a snapshot", {"mem_backend": {"backend_type": "File", "backend_path": "state"}}),
                             ("is the memory of another snapshot", {"mem_backend": {"backend_type": "File", "backend_path": "first"}}),
                             ("handler: nobody: No such file", {"mem_backend": {"backend_type": "Uffd", "backend_path": "nobody"}}),
                             ("Unknown Network Device: x", {"network_overrides": [{"iface_id": "x", "host_dev_name": "t"}]}),
                             ("huge_pages", {"huge_pages": "2M"}),
                             ("disk: No such file", {})):
            with self.subTest(says=says):
                self.no(says, "PUT", "/snapshot/load", {**good, **change})
                self.assertEqual(self.ok("GET", "/vm/config"), before)
        os.rename(copy, disk)
        self.ok("PUT", "/snapshot/load", {**good, "track_dirty_pages": True})
        self.assertEqual(self.ok("GET", "/")["state"], "Paused")
        self.assertEqual([d["path_on_host"] for d in self.ok("GET", "/vm/config")["drives"]], [disk])
        self.no("", "PUT", "/snapshot/load", good)
        self.ok("PATCH", "/vm", {"state": "Resumed"})
        self.assertEqual(self.ok("GET", "/")["state"], "Running")
        self.process.terminate()
        self.end(128 + signal.SIGTERM)

    def test_what_was_left_of_a_snapshot(self):
        """A process that was killed in the midst of one has left files; those of one that is at it stay."""
        self.begin("end.elf", "how=spin")
        self.start()
        self.ok("PATCH", "/vm", {"state": "Paused"})
        tag = "0123456789abcdef"
        left, made = f"memory.new-{tag}", f"state.new-{tag}"
        others = (f"memory.{tag}", f"memory.new-{tag}0", f"memory.new-{tag[1:]}g", f"other.new-{tag}", f"memory.new-{tag[::-1]}")
        for name in (left, made, *others[:-1]):
            self.file(name, b"x")
        os.mkdir(os.path.join(self.dir, others[-1]))
        with open(os.path.join(self.dir, made), "rb") as f:
            fcntl.flock(f, fcntl.LOCK_EX)
            self.ok("PUT", "/snapshot/create", {"snapshot_path": "state", "mem_file_path": "memory"})
            there = os.listdir(self.dir)
        self.assertNotIn(left, there)
        self.assertLessEqual({"state", "memory", made, *others}, set(there))
        self.ok("PUT", "/snapshot/create", {"snapshot_path": "state", "mem_file_path": "memory"})
        self.assertNotIn(made, os.listdir(self.dir))

    def test_many_pauses(self):
        """Clients that pause and resume at once: each is answered."""
        self.begin("end.elf", "how=spin")
        self.start()
        others = [Connection(self.socket) for _ in range(8)]
        for i, c in enumerate(others):
            c.request("PATCH", "/vm", json.dumps({"state": "Resumed" if i % 3 == 2 else "Paused"}))
        statuses = []
        for c in others:
            answer = c.getresponse()
            answer.read()
            statuses.append(answer.status)
            c.close()
        self.assertLessEqual(set(statuses), {204, 400})
        self.ok("PATCH", "/vm", {"state": "Resumed"})
        self.assertEqual(self.ok("GET", "/")["state"], "Running")


if __name__ == "__main__":
    unittest.main(verbosity=2)
