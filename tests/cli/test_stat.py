#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""catnap stat: the lines for pipes, and the live view on terminals of many sizes (with tmux).

    test_stat.py CATNAP GUESTS [unittest options]
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import unittest

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import control  # noqa: E402 pylint: disable=wrong-import-position
import test_run as base  # noqa: E402 pylint: disable=wrong-import-position

Answer = control.Answer
SIZES = ((80, 24), (200, 60), (20, 5), (81, 11), (40, 10), (10, 2), (1, 1))
CONTEXTS = [{"before": a, "last": b, "halts": 9, "samples": 7, "p50_ns": 4000, "p90_ns": 50000000, "window_ns": 9000,
             "cost_ns": 12000} for a in ("short", "middle", "long") for b in ("short", "middle", "long")]


class VM:
    """Answers as a VM of @n vCPUs; vCPU i halts i + 1 times between two looks."""

    def __init__(self, n):
        self.looks, self.state, self.end = 0, "running", None
        self.policies = [{"vcpu": i, "policy": "adaptive", "bias": "balanced"} for i in range(n)]
        self.answers = {("GET", "/catnap/stats"): self.stats, ("GET", "/catnap/status"): self.status,
                        ("GET", "/catnap/halt-polling"): lambda _: Answer({"vcpus": self.policies}),
                        ("PATCH", "/catnap/halt-polling"): self.patch(range(n))}
        for i in range(n):
            self.answers["PATCH", f"/catnap/halt-polling/{i}"] = self.patch([i])

    def patch(self, vcpus):
        def change(body):
            for i in vcpus:
                self.policies[i].update(json.loads(body))
            return Answer(status=204)
        return change

    def status(self, _):
        return Answer({"state": self.state, "id": "vm-1", "name": "web", "vcpus": len(self.policies),
                       "memory_bytes": 256 << 20, "irqchip": "user", "uptime_ns": 100 * 10**9, "exit": self.end})

    def vcpu(self, i):
        n = self.looks * (i + 1) * 1000
        hist = [n // 2 if 10 <= k < 13 else 0 for k in range(32)]
        return {"vcpu": i, "policy": self.policies[i]["policy"], "halt_exits": n, "halt_attempted_poll": n,
                "halt_successful_poll": n * 3 // 4, "halt_poll_fail_ns": 0, "cpu_ns": n, "window_ns": 35000, "price_ns": 52000,
                "exits": 3 * n, "wakeups_ipi": n // 4, "wakeups_timer": n - n // 4, "wakeups_io": 0, "wakeups_eventfd": 0,
                "wakeups_other": 0, "halt_poll_success_hist": hist, "halt_wait_hist": hist,
                "learned": {"worth_ns": 52000, "relearned": 3, "contexts": CONTEXTS}}

    def stats(self, _):
        self.looks += 1
        return Answer({"irqchip": "user", "exit": self.end, "vcpus": [self.vcpu(i) for i in range(len(self.policies))],
                       "devices": [{"name": "disk root", "requests": self.looks * 10, "inflight": 2}]})


class Case(base.Case):
    def stat(self, *args):
        done = subprocess.run([base.CATNAP, "stat", *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60, check=False, env=base.ENV, cwd=self.dir)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def no(self, args, status, *words):
        code, out, err = self.stat(*args)
        self.assertEqual((code, out, err.count("\n")), (status, "", 1), err)
        self.assertTrue(err.startswith("catnap stat: "), err)
        for word in words:
            self.assertIn(word, err)

    def yes(self, *args):
        code, out, err = self.stat(*args)
        self.assertEqual((code, err), (0, ""))
        return out

    def serve(self, answers):
        server = control.Server(os.path.join(self.dir, "s"), answers)
        self.addCleanup(server.close)
        return server


class Usage(Case):
    def test_values(self):
        self.no([], 2, "SOCKET")
        self.no(["a", "b"], 2, "b")
        for args in (["-i", "0"], ["-i", "1us"], ["-n", "0"], ["-n", "x"], ["--colour"]):
            self.no(["s", *args], 2, args[0].lstrip("-") if len(args[0]) > 2 else args[-1])
        self.no(["s", "--once", "-n", "2"], 2, "--once")
        self.no(["s", "-j", "-l"], 2, "--learned")
        self.no(["s", "-j", "-H"], 2, "--histograms")

    def test_nobody(self):
        self.no(["s"], 1, "s: No such file")
        self.no(["x" * 200], 1, "too long")
        self.file("s", b"")
        self.no(["s"], 1, "s: not a socket")

    def test_not_statistics(self):
        """The listener there may say anything."""
        for doc in ({}, {"vcpus": 3, "exit": None}, {"vcpus": [1, None, {}]}, {"vcpus": [{"window_ns": None, "policy": 7}]},
                    {"vcpus": [{"learned": {"contexts": [7]}, "halt_wait_hist": [1], "halt_exits": -1, "cpu_ns": "x"}]},
                    {"vcpus": [], "devices": 3, "io": []}, {"vcpus": [], "devices": [1, {"queues": 7}, None]},
                    {"vcpus": [{}] * 1000, "io": {}}, {"vcpus": [{"policy": "\x1b[2J" * 1000, "halt_exits": 2**64 - 1}]},
                    {"vcpus": [], "devices": [{"name": 4, "queues": [1, {}, None]}]}):
            with self.subTest(str(doc)[:80]):
                server = self.serve({("GET", "/catnap/stats"): Answer(doc)})
                if "vcpus" in doc:
                    out = self.yes("-l", "-H", "-i", "1ms", "-n", "2", "s")
                    self.assertNotIn("\x1b", out)
                else:
                    self.no(["--once", "s"], 1, "no such thing")
                server.close()
                os.unlink(os.path.join(self.dir, "s"))


class Lines(Case):
    def test_table(self):
        self.serve(VM(2).answers)
        out = self.yes("-n", "2", "-i", "10ms", "-l", "-H", "s")
        self.assertEqual([x for x in out.splitlines() if len(x) > 80], [])
        legend, *tables = out.rstrip("\n").split("\n\n")
        for word in ("polled, slept:", "twice as long", "128 ns", "1us, 1ms, 1s", "@ for the most"):
            self.assertIn(word, legend.replace("\n", " "))
        self.assertEqual(tables[0].splitlines()[0],
                         "web, running, up 1m 40s, 2 vCPUs, 256M, irqchip user; since its start:")
        # A thousand in a hundred seconds.
        first = [x.split() for x in tables[0].splitlines() if x.startswith("   0")][0]
        self.assertEqual(first, ["0", "adaptive", "10", "75.0%", "0.0%", "35.0us", "52.0us", "0.0%", "timer", "75%", "30"])
        for table in (tables[0].partition("\n")[2], tables[1]):
            lines = table.splitlines()
            self.assertEqual(lines[0].split()[:3], ["vcpu", "policy", "halts/s"])
            pictures = [i for i, x in enumerate(lines) if "|" in x]
            self.assertEqual([lines[i - 1].split()[0] for i in pictures], ["0", "1"])
            # Each digit of the axis is above the octave that begins there.
            for i in pictures:
                bars = [k for k, c in enumerate(lines[i]) if c == "|"]
                for left, right in ((bars[0], bars[1]), (bars[2], bars[3])):
                    self.assertEqual(right - left - 1, 24)
                    self.assertEqual(lines[1][left + 1:right].rstrip(), "   1us       1ms      1s")
                    self.assertEqual(lines[i][left + 1:right].rstrip(), "  @@@")
            self.assertIn("relearned 3 times", table)
            self.assertIn("longer", table)

    def test_json(self):
        self.serve(VM(3).answers)
        docs = [json.loads(x) for x in self.yes("-j", "-n", "3", "-i", "1ms", "s").splitlines()]
        self.assertEqual([d["vcpus"][0]["halt_exits"] for d in docs], [1000, 2000, 3000])
        self.assertEqual(len(self.yes("-j", "--once", "s").splitlines()), 1)

    def test_ends_with_the_vm(self):
        vm = VM(1)
        server = self.serve(vm.answers)
        with subprocess.Popen([base.CATNAP, "stat", "-i", "20ms", "s"], cwd=self.dir, stdout=subprocess.PIPE) as p:
            p.stdout.readline()
            server.close()
            p.communicate(timeout=20)
            self.assertEqual(p.returncode, 0)
        os.unlink(os.path.join(self.dir, "s"))
        self.serve(vm.answers)
        vm.state, vm.end = "ended", {"reason": "poweroff", "code": 0}
        self.assertEqual(self.yes("s").count("vcpu policy"), 1)

    def test_network_interfaces(self):
        names = ("rx_packets", "rx_bytes", "rx_dropped", "rx_unwanted", "rx_starved", "tx_packets", "tx_bytes",
                 "tx_dropped", "tx_blocked")
        queues = [dict(zip(names, range(1000 * i + 101, 1000 * i + 110))) for i in range(2)]
        more = [{name: n + 7 for name, n in q.items()} for q in queues]
        documents = [Answer({"vcpus": [], "devices": [{"name": "disk x"}, {"name": "net t0", "queues": q}]})
                     for q in (queues, more)]
        self.serve({("GET", "/catnap/stats"): lambda _: documents.pop(0)})
        out = self.yes("-n", "2", "-i", "1ms", "s")
        self.assertNotIn("disk", out)
        self.assertEqual([x for x in out.splitlines() if len(x) > 80], [])
        first, second = (t.splitlines()[1:] for t in out.split("net t0")[1:])
        self.assertEqual([x.split() for x in first[:5]], [
            ["pair", "packets", "bytes", "dropped", "unwanted", "held", "up"],
            ["0", "rx", "101", "102", "103", "104", "105"], ["tx", "106", "107", "108", "-", "109"],
            ["1", "rx", "1101", "1102", "1103", "1104", "1105"], ["tx", "1106", "1107", "1108", "-", "1109"]])
        self.assertEqual(second[0].split()[1:3], ["packets/s", "bytes/s"])
        self.assertEqual([x.split()[-3:] for x in second[1:5]], [["7", "7", "7"], ["7", "-", "7"]] * 2)


@unittest.skipUnless(shutil.which("tmux"), "no tmux")
class Live(Case):
    """On a terminal: what is seen there, and what is left of it."""

    servers, server_socket = 0, ""

    def tmux(self, *args):
        return subprocess.run(["tmux", "-f", "/dev/null", "-S", self.server_socket, *args], check=True, timeout=30,
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE).stdout.decode()

    def start(self, width=80, height=24, vm=None, interval="100ms", shell=None):
        # One that ends takes its time.
        self.servers += 1
        self.server_socket = os.path.join(self.dir, f"tmux{self.servers}")
        self.vm = vm or VM(2)
        self.server = self.serve(self.vm.answers)
        shell = shell or (f"stty -g >before; {base.CATNAP} stat -i {interval} s; echo $? >status; stty -g >after; "
                          "echo back again; sleep 60")
        env = {"LC_ALL": "C.UTF-8", "TERM": "screen", "HOME": self.dir}
        self.addCleanup(subprocess.run, ["tmux", "-S", self.server_socket, "kill-server"], check=False,
                        stderr=subprocess.DEVNULL)
        self.tmux("new-session", "-d", "-x", str(width), "-y", str(height), "-c", self.dir,
                  *(x for k, v in env.items() for x in ("-e", f"{k}={v}")), "sh", "-c", shell)

    def text(self):
        return self.tmux("capture-pane", "-p")

    def until(self, pattern, limit=20):
        end = time.monotonic() + limit
        while not re.search(pattern, text := self.text(), re.M | re.S):
            self.assertLess(time.monotonic(), end, f"{pattern}\n{text}")
            time.sleep(0.05)
        return text

    def keys(self, *keys):
        self.tmux("send-keys", *keys)

    def pid(self):
        shell = int(self.tmux("list-panes", "-F", "#{pane_pid}"))
        with open(f"/proc/{shell}/task/{shell}/children", encoding="ascii") as f:
            return int(f.read().split()[0])

    def ended(self, status, *words):
        """The terminal is as it was, and the shell goes on."""
        text = self.until("back again")
        for word in words:
            self.assertIn(word, text)
        self.assertEqual((int(self.read("status")), self.read("after")), (status, self.read("before")), text)

    def read(self, name):
        """Returns what a command of the shell has written there, once it has."""
        path, text, end = os.path.join(self.dir, name), "", time.monotonic() + 10
        while not text.endswith("\n") and time.monotonic() < end:
            time.sleep(0.02)
            if os.path.exists(path):
                with open(path, encoding="ascii") as f:
                    text = f.read()
        return text

    def test_sizes(self):
        """The view fits any size, and while it changes; with 1 and with 64 vCPUs."""
        for n in (1, 64):
            with self.subTest(vcpus=n):
                self.start(vm=VM(n))
                self.until(rf"web, running.*{n} vCPU.*vcpu policy.*adaptive")
                for width, height in SIZES:
                    self.tmux("resize-window", "-x", str(width), "-y", str(height))
                    for key in ("h", "l", "d", "?", "Escape", "p", "Escape"):
                        self.keys(key)
                    if width >= 20 and height >= 5:
                        text = self.until(r"^vcpu policy.*adaptive")
                        self.assertEqual(len(text.split("\n")), height + 1, text)
                self.tmux("resize-window", "-x", "120", "-y", "30")
                # A terminal is drawn line by line.
                text = self.until(r"(?:adaptive.*?){%d}" % min(n, 25))
                self.assertRegex(text, "inject/s|eventfd")
                self.assertEqual(sum("adaptive" in x for x in text.splitlines()), min(n, 25))
                self.keys("q")
                self.ended(0)
                self.tmux("kill-server")
                self.server.close()
                os.unlink(os.path.join(self.dir, "s"))

    def test_figures(self):
        self.start()
        text = self.until(r"every 100ms.*vcpu policy +halts/s in time")
        rows = [x.split() for x in text.splitlines() if re.match(" +[01] adaptive", x)]
        self.assertEqual([(r[3], r[8:10]) for r in rows], [("75.0%", ["timer", "75%"])] * 2)
        self.assertTrue("host: " in text and "? help" in text, text)
        self.keys("t")
        self.until("since its start")
        self.keys("q")
        self.ended(0)

    def test_sort(self):
        self.start(vm=VM(5))
        self.until(r"^ +0 adaptive.*^ +4 adaptive")
        self.keys(">", ">")
        self.until(r"^ +4 adaptive.*^ +0 adaptive.*sorted by halts/s")
        self.keys("r")
        self.until(r"^ +0 adaptive.*^ +4 adaptive")
        self.keys("Left", "Left", "Left")
        self.until("sorted by exits/s")
        self.keys("q")
        self.ended(0)

    def test_changes(self):
        """Policy and bias of one vCPU, and of all."""
        self.start(vm=VM(3))
        self.until("2 adaptive")
        self.keys("Down", "p")
        self.until(r"policy of vCPU 1: a\)daptive")
        self.keys("k")
        self.until(r"^ +1 kernel.*vCPU 1: policy kernel")
        self.assertEqual([p["policy"] for p in self.vm.policies], ["adaptive", "kernel", "adaptive"])
        self.keys("p", "O")
        self.until(r"^ +0 off.*^ +1 off.*^ +2 off.*all vCPUs: policy off")
        self.keys("b", "P")
        self.until("all vCPUs: bias power")
        self.assertEqual({p["bias"] for p in self.vm.policies}, {"power"})
        asked = len([a for a in self.server.asked if a[0] == "PATCH"])
        for keys in (("p", "Escape"), ("b", "x"), ("p", "q"), ("x",)):
            self.keys(*keys)
        self.until("unknown key")
        self.assertEqual(len([a for a in self.server.asked if a[0] == "PATCH"]), asked)
        del self.vm.answers["PATCH", "/catnap/halt-polling"]
        self.keys("p", "A")
        self.until("no such thing")
        self.keys("q")
        self.ended(0)

    def test_pages(self):
        self.start()
        self.until("1 adaptive")
        for key, pattern in (("h", r"vCPU 0, policy adaptive: how long.*polled, and did not sleep.*█.*slept.*█.*^<256 +1us .*1s$"),
                             ("l", r"what it has learned.*a sleep is worth 52.0us; relearned 3.*long +long"),
                             ("d", r"^device.*^disk root"), ("?", r"keys, and columns.*choose a vCPU.*halts/s"),
                             ("?", r"^vcpu policy"), ("Enter", "how long"), ("Escape", r"^vcpu policy")):
            self.keys(key)
            self.until(pattern)
        self.keys("q")
        self.ended(0)

    def test_signals(self):
        for sig in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT):
            with self.subTest(sig):
                self.start()
                self.until("1 adaptive")
                os.kill(self.pid(), sig)
                self.ended(128 + sig)
                self.tmux("kill-server")
                self.server.close()
                os.unlink(os.path.join(self.dir, "s"))

    def test_stops(self):
        """Stopped, the terminal is the shell's; it goes on where it was."""
        self.start(shell="PS1=ready: HISTFILE= exec bash --norc --noprofile -i")
        self.until(r"^ready:\s*\Z")
        self.keys("stty -g >before", "Enter", f"{base.CATNAP} stat -i 100ms s; echo $? >status", "Enter")
        for _ in range(2):
            self.until("1 adaptive")
            self.keys("C-z")
            self.until("Stopped")
            self.keys("rm -f after; stty -g >after", "Enter", "clear", "Enter")
            self.until(r"\Aready:\s*\Z")
            self.assertEqual(self.read("after"), self.read("before"))
            self.keys("fg; echo $? >status", "Enter")
        self.until("1 adaptive")
        os.kill(self.pid(), signal.SIGSTOP)
        self.until("Stopped")
        self.keys("fg; echo $? >status", "Enter")
        self.until("1 adaptive")
        self.keys("?")
        self.until("keys, and columns")
        self.keys("q")
        self.until(r"^ready:\s*\Z")
        self.keys("rm -f after; stty -g >after; echo back' 'again", "Enter")
        self.ended(0)

    def test_vm_ends(self):
        self.start()
        self.until("1 adaptive")
        self.vm.state, self.vm.end = "ended", {"reason": "poweroff", "code": 0}
        self.ended(0, "ended: poweroff")

    def test_vm_goes(self):
        self.start()
        self.until("1 adaptive")
        self.server.close()
        self.ended(0, "has ended")

    def test_server_hangs(self):
        """Keys are heard while nobody answers."""
        self.start()
        self.until("1 adaptive")
        wait = threading.Event()
        self.addCleanup(wait.set)
        self.vm.answers["GET", "/catnap/stats"] = lambda _: wait.wait(60) and None
        time.sleep(0.5)
        self.keys("?")
        self.until("keys, and columns", 4)
        self.keys("q")
        self.ended(0)

    def test_odd_terminals(self):
        self.start()
        self.until("1 adaptive")
        for term, status, words in (("nonsense", 1, "of a kind that is not known"), ("dumb", 0, ""), ("vt100", 0, ""), ("xterm", 0, "")):
            p = subprocess.run(["script", "-qec", f"{base.CATNAP} stat s", "/dev/null"], input=b"q", capture_output=True, timeout=30,
                               check=False, cwd=self.dir, env={**base.ENV, "TERM": term})
            self.assertEqual(p.returncode, status, (term, p.stdout))
            self.assertIn(words, p.stdout.decode())
        self.keys("q")
        self.ended(0)


if __name__ == "__main__":
    base.CATNAP, base.GUESTS = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]])
