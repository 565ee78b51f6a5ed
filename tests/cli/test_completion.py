#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Completion of the command line, by itself and in the shells: test_completion.py CATNAP [unittest options]"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

CATNAP = os.path.abspath(sys.argv.pop(1)) if len(sys.argv) > 1 else ""
SCRIPTS = Path(__file__).resolve().parents[2] / "scripts/completion"


def catnap(*args):
    return subprocess.run([CATNAP, *args], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=60)


def complete(command, *words):
    p = catnap(*([command] if command else []), "--complete", *words)
    assert (p.returncode, p.stderr) == (0, ""), p
    return p.stdout.split()


def commands():
    listed = re.search(r"^Commands:\n((?: +\S.*\n)+)", catnap("--help").stdout, re.M)[1]
    return re.findall(r"^ {2}(\S+)", listed, re.M)


def options(command):
    """(option, form) of each, the form as one word; "" for a flag."""
    text = catnap(command, "--help").stdout.split("\nOptions", 1)
    if len(text) < 2:
        return []
    text = re.sub(r"([,|])\n +", r"\1", text[1].split("\n\n", 1)[0])
    return [(o, f.strip()) for o, f in re.findall(r"^ +(?:-\w, )?(--[a-z-]+)( [^\s]+)?", text, re.M)]


class Tables(unittest.TestCase):
    def test_commands(self):
        self.assertEqual(complete("", ""), commands() + ["help", "--help", "--version"])
        self.assertEqual(complete("help", ""), commands() + ["help", "--help", "--version"])
        self.assertEqual(complete("", "re"), ["replay"])
        self.assertEqual(complete("", "nothing"), [])

    def test_options(self):
        """Each of the help, from its beginning on."""
        for command in commands():
            known = [o for o, _ in options(command)]
            if not known:
                continue
            with self.subTest(command):
                self.assertEqual(set(complete(command, "--")), set(known))
                for option in known:
                    self.assertIn(option, complete(command, option[:4]))

    def test_values(self):
        """Each word in lower case that the help has for a value, alone, after = and after other keys."""
        seen = 0
        for command in commands():
            for option, form in options(command):
                # A form that is only a manner of speaking is not offered.
                if not form or not re.match(r"^[a-zA-Z0-9|,=\[\]-]+$", form):
                    continue
                for part in re.sub(r"[\[\]]", "", form).split(","):
                    key = re.match(r"([a-z0-9-]+)=", part)
                    for word in (part[key.end():] if key else part).split("|"):
                        if not re.match(r"^[a-z0-9-]+$", word):
                            continue
                        seen += 1
                        with self.subTest(command=command, option=option, word=word):
                            if key:
                                self.assertIn(key[0] + word, complete(command, option, key[0]))
                                self.assertIn("x," + key[0] + word, complete(command, option, "x," + key[0] + word[0]))
                            self.assertIn(f"{option}={key[0] if key else ''}{word}",
                                          complete(command, f"{option}={key[0] if key else ''}{word[0]}"))
        self.assertGreater(seen, 60)

    def test_files(self):
        for command, *words in (("run", "--kernel", ""), ("run", "--disk", "path="), ("run", "--disk", "a"), ("run", ""),
                                ("run", "--serial", "file="), ("run", "--stats=x"), ("jail", "--exec-file", "/")):
            self.assertIn(":file", complete(command, *words))
        for command, *words in (("run", "--io", ""), ("run", "--cpus", ""), ("jail", ""), ("run", "--disk", "a,readonly=")):
            self.assertNotIn(":file", complete(command, *words))
        # Behind -- there are arguments only.
        self.assertEqual(complete("run", "--", "--io"), [":file"])

    def test_arguments(self):
        """The words of a command that has some, as its help lists them."""
        text = catnap("bench", "--help").stdout
        listed = re.findall(r"^ {2}([a-z]+) ", re.search(r"^Workloads [^\n]*\n(.*?)\n\n", text, re.M | re.S)[1], re.M)
        self.assertGreater(len(listed), 10)
        self.assertEqual(set(complete("bench", "")), set(listed))
        self.assertEqual(complete("bench", "--rounds", "3", "event", "tim"), ["timer"])
        words = re.search(r"^Usage: catnap snapshot \[OPTIONS\] (\S+) DIR$", catnap("snapshot", "--help").stdout, re.M)[1].split("|")
        self.assertEqual(complete("snapshot", ""), words)
        self.assertEqual(complete("snapshot", "--json", "ver"), ["verify"])
        self.assertEqual(complete("snapshot", "info", ""), [":file"])
        self.assertEqual(complete("snapshot", "info", "folder", ""), [])

    def test_ctl(self):
        """A socket, a command, and its settings, whatever options stand between."""
        listed = re.search(r"^Commands .*:\n((?: +\S.*\n)+)", catnap("ctl", "--help").stdout, re.M)[1]
        names = re.findall(r"^ {2}(\S+)", listed, re.M)
        self.assertGreater(len(names), 10)
        for before in ([], ["--json"], ["-j", "--time-limit", "5s"], ["--time-limit=5s"]):
            self.assertEqual(complete("ctl", *before, ""), [":file"])
            self.assertEqual(complete("ctl", *before, "vm.sock", ""), names)
            self.assertEqual(complete("ctl", "vm.sock", *before, "po"), ["power-button"])
        for name in names:
            with self.subTest(name):
                text = catnap("ctl", name, "--help").stdout
                form = re.search(r"^Settings: (.*(?:\n {10}\S.*)*)", text, re.M)
                answer = complete("ctl", "vm.sock", name, "")
                if not form:
                    self.assertEqual(answer, [])
                    continue
                for key, values in re.findall(r"([a-z-]+)=([\w|]+)", re.sub(r"\n +", "", form[1])):
                    self.assertIn(key + "=", answer)
                    for word in values.split("|"):
                        if re.match(r"^[a-z]+$", word):
                            self.assertIn(f"{key}={word}", complete("ctl", "vm.sock", name, key + "="))
                self.assertEqual(complete("ctl", "vm.sock", name, "x=1", ""), [])
        self.assertEqual(complete("ctl", "vm.sock", "halt-poll", "policy=ada"), ["policy=adaptive"])
        self.assertIn("id=a,bw-once=", complete("ctl", "vm.sock", "disk", "id=a,bw-"))
        self.assertIn(":file", complete("ctl", "vm.sock", "disk", "id=disk0,image=/"))
        self.assertEqual(complete("ctl", "vm.sock", "no-command", ""), [])

    def test_odd(self):
        """Nothing that is written is too long or too strange."""
        for word in ("x" * 100000, "=" * 5000, "--" + "a" * 9999 + "=", "é\x01\x7f", ",=,=", "--disk=" + "a," * 9999):
            for before in ([], ["--disk"], ["--halt-poll"], ["--nonsense"]):
                complete("run", *before, word)


class Shell:
    """On a terminal, as people type."""

    def setUp(self):
        temp = tempfile.TemporaryDirectory()
        self.addCleanup(temp.cleanup)
        self.temp = temp.name
        os.symlink(CATNAP, os.path.join(self.temp, "catnap"))
        Path(self.temp, "kernel-image.elf").touch()

    def typed(self, line):
        """Returns what the line has become after Tab: it is made the argument of a command that writes it to a file."""
        got = Path(self.temp, "got")
        got.unlink(missing_ok=True)
        pid, fd = pty.fork()
        if pid == 0:
            os.chdir(self.temp)
            os.environ.update(PATH=self.temp + ":" + os.environ["PATH"], TERM="dumb", HOME=self.temp, PS1="$ ")
            os.execvp(self.shell[0], self.shell)
        try:
            self.expect(fd, "$ ")
            os.write(fd, self.setup.encode() + b" echo READY''NOW\n")
            self.expect(fd, "READYNOW")
            os.write(fd, line.encode() + b"\t")
            time.sleep(1.5)
            # Home, and then the end.
            os.write(fd, b"\x01printf %s \"\x05\" >got.new; mv got.new got\n")
            end = time.monotonic() + 30
            while not got.exists():
                self.assertLess(time.monotonic(), end)
                if select.select([fd], [], [], 0.05)[0]:
                    os.read(fd, 65536)
            return got.read_text(encoding="utf-8")
        finally:
            os.close(fd)
            os.kill(pid, 9)
            os.waitpid(pid, 0)

    def expect(self, fd, text):
        end, out = time.monotonic() + 30, ""
        while text not in out:
            self.assertLess(time.monotonic(), end, out)
            if select.select([fd], [], [], 1)[0]:
                out += os.read(fd, 65536).decode("utf-8", "replace")

    def test_shell(self):
        for line, want in (("catnap rep", "catnap replay "), ("catnap run --irqc", "catnap run --irqchip "),
                           ("catnap run --io v", "catnap run --io vcpu "), ("catnap run --io=th", "catnap run --io=thread "),
                           ("catnap run --halt-poll pol", "catnap run --halt-poll policy="),
                           ("catnap run --halt-poll policy=ada", "catnap run --halt-poll policy=adaptive "),
                           ("catnap run --kernel ker", "catnap run --kernel kernel-image.elf "),
                           ("catnap run --disk path=ker", "catnap run --disk path=kernel-image.elf "),
                           ("catnap run --disk x,reado", "catnap run --disk x,readonly="),
                           ("catnap ctl vm.sock ba", "catnap ctl vm.sock balloon "),
                           ("catnap ctl vm.sock stop wait=of", "catnap ctl vm.sock stop wait=off ")):
            with self.subTest(line):
                # zsh takes its own space away again when the line goes on otherwise.
                self.assertEqual(self.typed(line).rstrip(), want.rstrip())


class Bash(Shell, unittest.TestCase):
    shell = ["bash", "--norc", "--noprofile", "-i"]
    setup = f"bind 'set enable-bracketed-paste off' 2>/dev/null; source {SCRIPTS / 'catnap.bash'};"


@unittest.skipUnless(shutil.which("zsh"), "no zsh")
class Zsh(Shell, unittest.TestCase):
    shell = ["zsh", "-f", "-i"]
    setup = f"unset zle_bracketed_paste; bindkey -e; fpath=({SCRIPTS} $fpath); autoload -U compinit; compinit -u -d ./dump;"


if __name__ == "__main__":
    unittest.main()
