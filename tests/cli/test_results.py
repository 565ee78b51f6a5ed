#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The page that scripts/results makes: test_results.py CATNAP

From kept figures (results.json, a small run; not how fast anything is), and of replay for real."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

CATNAP = sys.argv.pop(1)
ROOT = Path(__file__).resolve().parents[2]
KEPT = json.loads((Path(__file__).parent / "results.json").read_text())
SECTIONS = ("event", "timer", "ipi", "idle", "start", "memory", "restore", "blk", "echo", "load", "compute", "prices",
            "crossover", "replay", "mix", "neighbour", "linux")


def results(*args):
    return subprocess.run([sys.executable, str(ROOT / "scripts/results"), *map(str, args)],
                          capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
                          timeout=60)


def anchor(heading):
    """As GitHub makes them."""
    return re.sub(r"[^\w -]", "", heading.strip().lower()).replace(" ", "-")


def cells(section, mode):
    """The first row of a mode."""
    m = re.search(rf"^\| {re.escape(mode)} \|(.*)\|$", section, re.M)
    return [c.strip() for c in m.group(1).split("|")] if m else None


class Results(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = Path(scratch.name)
        self.kept = self.folder / "kept"
        self.kept.mkdir()

    def keep(self, **instead):
        for name, data in {**KEPT, **instead}.items():
            if data is not None:
                (self.kept / f"{name}.json").write_text(json.dumps(data))

    def page(self, out="docs/results.md"):
        path = self.folder / out
        p = results("--from", self.kept, "--out", path)
        self.assertEqual((p.returncode, p.stdout, p.stderr), (0, "", ""))
        return path.read_text()

    def sections(self, text):
        """By the workload's name, which the first line of each has."""
        found = {}
        for part in re.split(r"^## ", text, flags=re.M)[1:]:
            m = re.match(r".*\n\n`(\w+)`\. ", part)
            if m:
                found[m.group(1)] = part
        return found

    def check_links(self, text):
        anchors = {anchor(h) for h in re.findall(r"^#+ (.*)$", text, re.M)}
        links = re.findall(r"\]\(([^)\s]+)\)", text)
        self.assertGreater(len(links), len(SECTIONS))
        for link in links:
            path, _, fragment = link.partition("#")
            if path:
                self.assertTrue((self.folder / "docs" / path).exists()
                                or (ROOT / "docs" / path).exists(), link)
            else:
                self.assertIn(fragment, anchors)
        return links

    def check_pictures(self):
        for path in (self.folder / "docs/results").glob("*.svg"):
            text = path.read_text()
            root = ElementTree.fromstring(text)
            self.assertTrue(root.tag.endswith("}svg"), path.name)
            self.assertIsNotNone(root.find("{http://www.w3.org/2000/svg}title"), path.name)
            self.assertIsNone(re.search(r'="-?(nan|inf)', text), path.name)

    def test_each_section_is_there(self):
        self.keep()
        text = self.page()
        self.assertEqual(tuple(self.sections(text)), SECTIONS)
        links = self.check_links(text)
        self.check_pictures()
        pictures = [link for link in links if link.endswith(".svg")]
        self.assertEqual(sorted(pictures), sorted(f"results/{s}.svg" for s in (*SECTIONS, "heat", "pareto")
                                                 if s not in ("echo", "prices", "crossover", "linux")))
        self.assertIsNone(re.search(r"\b(nan|inf|None)\b", text))

    def test_first_screen(self):
        """It comes first, and says what the figures say."""
        event = json.loads(json.dumps(KEPT["event"]))
        for r in event["runs"]:
            r["p50_ns"] = 10000 if r["mode"] == "user:adaptive" else 40000
        idle = json.loads(json.dumps(KEPT["idle"]))
        for r in idle["runs"]:
            r["cpu_percent"] = 3.0 if r["mode"] == "user:adaptive" else 1.0
        self.keep(event=event, idle=idle)
        text = self.page()
        self.assertLess(text.index("## In short"), text.index("## The host"))
        short = " ".join(text.split("## In short")[1].split("Made by")[0].split())
        wins, loses = re.search(r"- \*It wins\*(.*)- \*It loses\*(.*)", short).groups()
        self.assertIn("woken by another thread: 0.25", wins)
        self.assertIn("idle, processor time: 3.00", loses)
        # What is the one under one condition and the other under another is neither, and 0.004 is not 0.
        for r in event["runs"]:
            r["p50_ns"] = 40000
            r["signal_p50_ns"] = 40 if r["mode"] == "user:adaptive" else 10000
            if r["mode"] == "user:adaptive":
                r["p50_ns"] = 10000 if r["gap_ns"] == 20000 else 60000
        self.keep(event=event, idle=idle)
        short = " ".join(self.page().split("## In short")[1].split("Made by")[0].split())
        wins, depends = re.search(r"- \*It wins\*(.*)- \*It loses\*.*- \*It wins here and loses there\*(.*)", short).groups()
        self.assertIn("woken by another thread: 0.88 (0.25 to 1.50)", depends)
        self.assertIn("the thread that wakes: 0.004", wins)
        choice = KEPT["prices"]["irqchip_choice"]
        self.assertIn(f"arms its timer once for each halt `--irqchip {choice['one_vcpu']}` is better", short)

    def test_restore(self):
        restore = json.loads(json.dumps(KEPT["restore"]))
        for r in restore["runs"]:
            r["p50_ns"] = 6000000 if r["way"] == "map" else 4000000
            r["failed"] = r["way"] == "copy"
            if "touch_p50_ns" in r:
                r["touch_p50_ns"] = 100000000 if r["way"] == "map-cold" else 40000000
            if r["way"] == "clones":
                r["all_p50_ns"] = 2500000000
        self.keep(restore=restore)
        section = self.sections(self.page())["restore"]
        for words in ("restore: 128 MiB", "restore: 1 GiB", "map's *p50* is 1.50 of start's", "3 clones, started one after the other, "
                      "all run after 2.50 s", "working-set, disk's *touch* is 0.40 of map, disk's"):
            self.assertIn(words, section)
        self.assertEqual(cells(section, "map")[0], "6.00")
        self.assertEqual(cells(section, "copy")[0], "failed")
        self.assertNotIn("copy's", section)

    def test_crossover(self):
        """By hand: lines of 10 + 4 n and 16 + 1 n cross at 2."""
        crossover = json.loads(json.dumps(KEPT["crossover"]))
        for r in crossover["runs"]:
            a, b = (10, 4) if r["mode"] == "user:adaptive" else (16, 1)
            r["p50_ns"] = 1000 * (a + b * r["per_halt"])
        self.keep(crossover=crossover)
        section = self.sections(self.page())["crossover"]
        self.assertEqual(cells(section, "interrupt, polled"), ["10.00 + 4.00 n", "16.00 + 1.00 n", "user below 2.00"])
        prices = self.sections(self.page())["prices"]
        run = next(r for r in KEPT["prices"]["runs"] if r["price"] == "port")
        self.assertEqual(cells(prices, "port")[0], f"{run['p50_cycles']} ({run['min_cycles']})")

    def test_lead(self):
        """What it is worth stands in the table of parts; a program of the tests measures it."""
        runs = [{"policy": "off", "gap_ns": gap, "lead": lead, "samples": 9, "p50_ns": p50, "p99_ns": 1, "cpu_ns_per_event": cpu}
                for gap, lead, p50, cpu in ((200000, True, 10000, 30000), (200000, False, 40000, 20000), (1000000, True, 20000, 20000),
                                            (1000000, False, 40000, 20000))]
        self.keep(lead={"runs": runs})
        part = self.page().split("## What each part is worth")[1].split("\n## ")[0]
        self.assertIn("by the lead, policy off: lateness | the lead | none | 0.38 (0.25 to 0.50) |", part)
        self.assertIn("by the lead, policy off: processor time | the lead | none | 1.25 (1.00 to 1.50) |", part)
        self.keep()
        (self.kept / "lead.json").unlink()
        self.assertNotIn("the lead", self.page())

    def test_linux(self):
        """Times by load, and what an operation takes beside them; nothing of a host that cannot run it."""
        def run(load, mode, **more):
            return {"workload": "linux", "mode": mode, "gap_ns": 0, "arrivals": "constant", "load": load, "samples": 3, "rounds": 3,
                    "failed": False, **{f"{q}_ns": 20000 for q in ("p50", "p90", "p99", "max")}, **more}
        counted = {"exits": 20.04, "user_exits": 1.5, "halt_exits": 2, "signal_exits": 0, "injections": 3, "context_switches": 4}
        data = dict(KEPT["event"], native=False, runs=[
            run("pipe", "user:adaptive", p50_ns=10000), run("pipe", "qemu", **counted), run("memcached", "qemu", rate=1000)])
        self.keep(linux=data)
        text = self.page()
        section = self.sections(text)["linux"]
        self.assertIn("these times are not worth anything", section)
        self.assertEqual(cells(section, "user:adaptive")[0], "10.00")
        self.assertIn("### linux: memcached, 1000 a second", section)
        part = text.split("## Exits of an operation")[1].split("\n## ")[0]
        self.assertEqual(cells(part, "pipe"), ["qemu", "20.04", "1.50", "2.00", "0.00", "3.00", "4.00"])
        self.assertNotIn("memcached", part)
        self.check_links(text)
        # Where times are worth something, they are on the first screen.
        self.assertNotIn("Linux at work:", text.split("## The host")[0])
        self.keep(linux=dict(data, native=True, runs=[
            r for load, ours in (("pipe", 10000), ("read", 40000))
            for r in (run(load, "user:adaptive", p50_ns=ours), run(load, "kernel:200us"))]))
        short = " ".join(self.page().split("## The host")[0].split())
        self.assertIn("- *It wins here and loses there* where the question is: ", short)
        self.assertIn("Linux at work: 1.25 (0.50 to 2.00)", short)
        why = "catnap bench: linux: this KVM emulates a guest's kernel"
        meta = dict(KEPT["meta"], sections={**KEPT["meta"]["sections"], "linux": {
            "command": "catnap bench linux", "problem": None, "errors": [why], "seconds": 1}})
        self.keep(meta=meta, linux=dict(data, runs=[dict(r, failed=True) for r in data["runs"]]))
        text = self.page()
        self.assertIn(f"Not measured: {why}.", " ".join(self.sections(text)["linux"].split()))
        self.assertIn("They were not counted on this host.", text)

    def test_kit_with_linux(self):
        """Images that are in the cache go with it, and bench is told of them; without them it is not asked."""
        fake, cache = self.folder / "catnap", self.folder / "cache"
        fake.write_text('#!/bin/sh\n[ "$2" = linux ] && echo "$*" >&2\nexit 1\n')
        fake.chmod(0o755)
        cache.mkdir()
        for images in (False, True):
            for name in ("bench-vmlinuz", "bench-initramfs") if images else ():
                (cache / name).write_text(name)
            p = subprocess.run([sys.executable, str(ROOT / "scripts/results"), "--host-kit", self.folder, "--catnap", fake],
                               capture_output=True, text=True, check=False, timeout=60, env={**os.environ, "CATNAP_CACHE": str(cache)})
            self.assertEqual(p.returncode, 0, p.stderr)
            self.assertEqual("there are no images of Linux" in p.stderr, not images)
            subprocess.run(["tar", "-C", self.folder, "-xzf", self.folder / "catnap-host-kit.tar.gz"], check=True)
            there = self.folder / f"there-{images}"
            there.mkdir()
            subprocess.run([self.folder / "catnap-host-kit/measure", "--quick", there], capture_output=True, check=True, timeout=60)
            with tarfile.open(next(there.glob("*.tar*"))) as archive:
                found = [m for m in archive.getmembers() if m.name.endswith("/linux.err")]
                self.assertEqual(len(found), images)
                for m in found:
                    said = archive.extractfile(m).read().decode()
                    self.assertIn(f"--kernel {self.folder}/catnap-host-kit/bench-vmlinuz --initramfs ", said)
                    self.assertEqual("--peer qemu" in said, bool(shutil.which("qemu-system-x86_64")))
            shutil.rmtree(self.folder / "catnap-host-kit")

    def test_kit(self):
        """The archive, unpacked and run, brings back what makes the page."""
        fake = self.folder / "catnap"
        fake.write_text(f"""#!/bin/sh
[ "$1" = check ] && exec echo "ok       host                         kit's, 2 processors"
[ "$1" = bench ] || exit 0
section=$2
for word; do [ "$word" = --rate ] && section=load; last=$word; done
cp {self.kept}/$section.json "$last" 2>/dev/null || {{ echo "catnap bench: $section: no" >&2; exit 1; }}
""")
        fake.chmod(0o755)
        self.keep()
        p = results("--host-kit", self.folder / "kit", "--catnap", fake)
        self.assertEqual((p.returncode, p.stdout), (0, ""), p.stderr)
        subprocess.run(["tar", "-C", self.folder, "-xzf", self.folder / "kit/catnap-host-kit.tar.gz"], check=True)
        there = self.folder / "there"
        there.mkdir()
        p = subprocess.run([self.folder / "catnap-host-kit/measure", "--quick", there], capture_output=True, text=True,
                           check=False, timeout=60)
        self.assertEqual(p.returncode, 0, p.stderr)
        made = list(there.glob("*.tar*"))
        self.assertEqual(len(made), 1)
        path = self.folder / "docs/results.md"
        p = results("--from", made[0], "--out", path)
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        text = path.read_text()
        sections = self.sections(text)
        run = next(r for r in KEPT["event"]["runs"] if r["mode"] == "user:kernel")
        self.assertEqual(cells(sections["event"], "user:kernel")[0], f"{run['p50_ns'] / 1000:.2f}")
        self.assertIn("kit's, 2 processors", text)
        self.assertIn("catnap bench: echo: no", sections["echo"])  # none is kept

    def test_same_figures_same_bytes(self):
        self.keep()
        first = self.page()
        pictures = {p.name: p.read_bytes() for p in (self.folder / "docs/results").iterdir()}
        self.assertEqual(self.page(), first)
        self.assertEqual({p.name: p.read_bytes() for p in (self.folder / "docs/results").iterdir()},
                         pictures)

    def test_figures_are_those_of_the_run(self):
        self.keep()
        sections = self.sections(self.page())
        run = next(r for r in KEPT["event"]["runs"] if r["mode"] == "user:kernel")
        self.assertEqual(cells(sections["event"], "user:kernel"), [
            f"{run[k] / 1000:.2f}" for k in ("p50_ns", "p90_ns", "p99_ns", "max_ns", "signal_p50_ns",
                                             "cpu_ns_per_event")] + [f"{run['ratio_p50']:.2f}"])
        self.assertIn(f"- user:kernel's *ratio* is {run['ratio_p50']:.2f} of kernel:200us's, its *p99* ",
                      sections["event"])
        run = next(r for r in KEPT["memory"]["runs"] if r["mode"] == "qemu")
        self.assertEqual(cells(sections["memory"], "qemu")[0], f"{run['p50_bytes'] / 1024:.0f}")
        ratio = next(p["ratio"] for r in KEPT["replay"]["runs"] for p in r["policies"]
                     if r["price_us"] == 50 and r["process"] == "bimodal"
                     and p["label"] == "kernel,max=200us")
        half = sections["replay"].split("worth 50 us")[1]
        self.assertEqual(cells(half, "`bimodal`")[1], f"{ratio:.2f}")

    def test_sentences_follow_the_figures(self):
        event = json.loads(json.dumps(KEPT["event"]))
        for r in event["runs"]:
            r.update(p50_ns=20000 if r["mode"] == "user:adaptive" else 40000, p99_ns=50000,
                     cpu_ns_per_event=30000 if r["mode"] == "user:adaptive" else 60000,
                     ratio_p50=0.5 if r["mode"] == "user:adaptive" else 1.0)
        self.keep(event=event)
        said = self.sections(self.page())["event"]
        self.assertIn("- user:adaptive's *ratio* is 0.50 of kernel:200us's, its *p99* 1.00, at 0.50 of its "
                      "*CPU*.", said)
        self.assertIn("Lowest *p50*: user:adaptive (20.0 us)", said)

    def test_what_was_not_measured_is_said(self):
        self.keep(idle=None)
        text = self.page()
        sections = self.sections(text)
        self.assertIn("Not measured: it needs root", sections["echo"])
        self.assertIn("Not measured: there is no idle.json.", sections["idle"])
        self.assertEqual(cells(sections["timer"], "user:off")[0], "failed")
        self.assertIn("the guest does not finish", sections["timer"])
        self.assertIn("Without QEMU beside it", sections["blk"])
        self.assertNotIn("Without QEMU beside it", sections["start"])
        self.check_links(text)

    def test_caveats_are_those_of_the_host(self):
        self.keep()
        text = self.page()
        for said in ("*Kind of KVM: kvm_pvm.*", "*Price of KVM_RUN: ", "*2 processors.*",
                     "*A virtual machine itself.*", "made with `--quick`"):
            self.assertIn(said, text)
        meta = dict(KEPT["meta"], virtual=False, quick=False, check="ok       kind of KVM      kvm_intel\n")
        event = dict(KEPT["event"], host=dict(KEPT["event"]["host"], processors=16))
        self.keep(meta=meta, event=event)
        text = self.page()
        for said in ("kvm_pvm", "*2 processors.*", "*A virtual machine itself.*", "--quick"):
            self.assertNotIn(said, text)
        self.assertIn("*16 processors.*", text)

    def test_without_a_baseline(self):
        """Nothing to compare with: no sentence, and no crash."""
        instead = {}
        for name in ("event", "idle", "neighbour", "start", "memory"):
            runs = [{k: v for k, v in r.items() if not k.startswith("ratio")}
                    for r in KEPT[name]["runs"] if r["mode"] == "user:adaptive"]
            instead[name] = dict(KEPT[name], runs=runs)
        self.keep(**instead)
        text = self.page()
        self.assertEqual(tuple(self.sections(text)), SECTIONS)
        self.check_links(text)

    def test_nothing_but_failures(self):
        self.keep(**{name: dict(KEPT[name], runs=[dict(r, failed=True, samples=0, events=0)
                                                  for r in KEPT[name]["runs"]])
                     for name in SECTIONS if name not in ("echo", "replay", "linux")})
        text = self.page()
        self.assertEqual(tuple(self.sections(text)), SECTIONS)
        self.check_links(text)

    def test_measures_traces(self):
        out, kept = self.folder / "docs/results.md", self.folder / "measured"
        p = results("replay", "--quick", "--catnap", CATNAP, "--keep", kept, "--out", out)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("[1/1] replay", p.stderr)
        text = out.read_text()
        row = cells(self.sections(text)["replay"].split("worth 50 us")[1], "`constant,gap=50us`")
        self.assertEqual((row[0], row[-1]), ("1.00", "1.00"))
        self.check_links(text)
        p = results("--from", kept, "--out", out)
        self.assertEqual((p.returncode, out.read_text()), (0, text), p.stderr)

    def test_sentences_name_columns(self):
        """Each figure in a sentence is of a column of the table below it, by its name."""
        self.keep()
        for name, part in self.sections(self.page()).items():
            heads = set()
            for head in re.findall(r"^\| (?:mode|halts) \| (.*) \|$", part, re.M):
                for column in head.split(" | "):
                    heads |= {column, column.split(" ")[0]}
            # Of a sentence that goes on, the next line may begin with the name of a mode.
            for line in re.split(r"\n\n|\n(?=[-|] )", part):
                if re.match(r"(- )?(user:|kernel:|Lowest |Column |Over all|By \*)", line):
                    named = re.findall(r"\*([^*]+)\*", line)
                    self.assertTrue(named, (name, line))
                    self.assertEqual([n for n in named if n not in heads], [], (name, line))

    def test_what_git_keeps_is_not_overwritten(self):
        self.keep()
        page = self.folder / "tree/docs/results.md"
        page.parent.mkdir(parents=True)
        page.write_text("as it was")
        for cmd in (("init", "-q"), ("add", "docs/results.md")):
            subprocess.run(["git", "-C", str(self.folder / "tree"), *cmd], check=True, timeout=60)
        p = results("--from", self.kept, "--out", page)
        self.assertEqual(p.returncode, 2)
        self.assertIn(f"--out: git keeps {page}: expected another file, or --update as well", p.stderr)
        self.assertEqual(page.read_text(), "as it was")
        p = results("--from", self.kept, "--out", page, "--update")
        self.assertEqual((p.returncode, p.stderr), (0, ""))
        self.assertTrue(page.read_text().startswith("# Results"))
        # Without --out it is not the page of the documents either.
        said = re.sub(r"\s+", " ", results("--help").stdout)
        self.assertIn("[build-results/results.md]", said)

    def test_unusable(self):
        """One line that names the file, and status 1; nothing that was half made is left."""
        self.keep()
        for name, text, says in (("event", '{"runs": [', "event.json: not JSON: "), ("event", "[]", "event.json: not what was measured"),
                                 ("meta", "null", "meta.json: not what was measured")):
            self.keep()
            (self.kept / f"{name}.json").write_text(text)
            p = results("--from", self.kept, "--out", self.folder / "page.md")
            self.assertEqual((p.returncode, p.stdout, p.stderr.count("\n")), (1, "", 1), p.stderr)
            self.assertIn(says, p.stderr)
        self.keep()
        for args, says in ((("--from", self.kept, "--out", "/proc/nowhere/page.md"), "/proc/nowhere"),
                           (("--host-kit", "/proc/nowhere", "--catnap", CATNAP), "/proc/nowhere"),
                           (("--host-kit", self.folder, "--catnap", "/nowhere"), "/nowhere"),
                           (("replay", "--quick", "--catnap", CATNAP, "--keep", "/proc/nowhere"), "/proc/nowhere")):
            p = results(*args)
            self.assertEqual((p.returncode, p.stdout), (1, ""), p.stderr)
            self.assertIn(f"results: {says}: No such file or directory\n", p.stderr)
            self.assertNotIn("Traceback", p.stderr)
        p = results("replay", "--quick", "--catnap", "/bin/false", "--out", self.folder / "page.md")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("not measured: catnap replay: ", p.stderr)

    def test_ended(self):
        """With it ends what it measures."""
        fake = self.folder / "catnap"
        fake.write_text(f'#!/bin/sh\n[ "$1" = bench ] || exit 0\necho $$ >{self.folder}/pid\nexec sleep 60\n')
        fake.chmod(0o755)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            (self.folder / "pid").unlink(missing_ok=True)
            p = subprocess.Popen([sys.executable, str(ROOT / "scripts/results"), "timer", "--catnap", fake, "--out",
                                  self.folder / "page.md"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            deadline = time.monotonic() + 60
            while time.monotonic() < deadline and not ((self.folder / "pid").exists() and (self.folder / "pid").read_text()):
                time.sleep(0.05)
            pid = int((self.folder / "pid").read_text())
            p.send_signal(number)
            self.assertNotIn("Traceback", p.communicate(timeout=60)[1])
            self.assertEqual(p.returncode, 128 + number)
            self.assertFalse(Path(f"/proc/{pid}").exists())

    def test_usage(self):
        for args, said in ((("--from", self.folder / "none"), "there are no results in"),
                           (("no-such",), '"no-such" is not a section'),
                           (("--catnap", self.folder / "none"), "expected the command"),
                           (("--from", self.kept, "--quick"), "--from measures nothing"),
                           (("--out", "page.html"), "expected a name that ends in .md")):
            p = results(*args)
            self.assertEqual(p.returncode, 2, args)
            self.assertIn(said, p.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=1)
