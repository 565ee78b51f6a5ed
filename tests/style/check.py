#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Style of sources and documents, in TAP: check.py SOURCE-FOLDER CATNAP-COMMAND"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(sys.argv[1])
CATNAP = sys.argv[2]
SPDX = 'SPDX-License-Identifier: Apache-2.0'
number = failed = 0


def result(name, problems, skip=None):
    global number, failed
    number += 1
    if skip:
        print(f'ok {number} - {name} # SKIP {skip}')
        return
    print(f'{"not ok" if problems else "ok"} {number} - {name}')
    for p in problems:
        print(f'# {p}')
    failed += bool(problems)
    sys.stdout.flush()


def run(*cmd):
    return subprocess.run(cmd, capture_output=True, text=True, check=False,
                          stdin=subprocess.DEVNULL)


def files():
    """Text files of the project: what git knows, or, without git, everything but hidden folders."""
    listed = run('git', '-C', str(ROOT), 'ls-files', '-z', '--cached', '--others',
                 '--exclude-standard')
    if listed.returncode == 0:
        names = [n for n in listed.stdout.split('\0') if n]
    else:
        names = []
        for folder, inner, here in os.walk(ROOT):
            inner[:] = [d for d in inner if d == '.ci' or not d.startswith(('.', 'build'))]
            names += [os.path.relpath(os.path.join(folder, n), ROOT) for n in here]
    for name in sorted(set(names)):
        path = ROOT / name
        if path.is_symlink() or not path.is_file():
            continue
        data = path.read_bytes()
        if b'\0' not in data:
            yield name, data.decode('utf-8', 'replace')


FILES = dict(files())
IS_C = re.compile(r'^(src|include|tests|guest-images|docs)/.*\.([ch]|[ch]pp)$')
IS_SOURCE = re.compile(r'\.(c|h|cpp|hpp|S|ld|map|sh|py|pyi|pml|build|options|service|socket|[1-8])$|meson_options\.txt$')


# -- files ----------------------------------------------------------------------------------------

def first_lines_name_the_licence():
    bad = []
    for name, text in FILES.items():
        if not (IS_SOURCE.search(name) or text.startswith('#!')):
            continue
        if SPDX not in '\n'.join(text.splitlines()[:3]):
            bad.append(f'{name}: no line "{SPDX}" among the first three')
    result('each source file names its licence', bad)


def no_trailing_space():
    bad = []
    for name, text in FILES.items():
        # In Markdown two spaces at the end are a line break, which nobody can see: not here.
        for i, line in enumerate(text.split('\n'), 1):
            if line != line.rstrip(' \t\r'):
                bad.append(f'{name}:{i}: white space at the end of the line')
        if text and not text.endswith('\n'):
            bad.append(f'{name}: no newline at the end of the file')
        if text.endswith('\n\n'):
            bad.append(f'{name}: an empty line at the end of the file')
    result('no white space at the end of lines and files', bad)


def clang_format():
    if not shutil.which('clang-format'):
        result('clang-format', [], 'clang-format is not installed')
        return
    bad = []
    names = [n for n in FILES if IS_C.match(n)]
    # All by one process: most of the time of one for each file is its start. A file that is not
    # named in what it says is as it should be.
    p = run('clang-format', '--dry-run', '-Werror', *(str(ROOT / name) for name in names))
    for name in names:
        where = re.search(rf'^{re.escape(str(ROOT / name))}:(\d+):\d+: error', p.stderr, re.M)
        if where:
            bad.append(f'{name}:{where.group(1)}: not as clang-format writes it '
                       f'(clang-format -i {name})')
    if p.returncode and not bad:
        bad.append(f'clang-format: {p.stderr[-500:]}')
    result(f'clang-format, {len(names)} files', bad)


def only_the_command_prints():
    bad = []
    for name, text in FILES.items():
        if not re.match(r'src/(poll|sandbox|devices|vcpu|vmm)/.*\.c$', name):
            continue
        code = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\])*"',
                      lambda c: re.sub(r'[^\n]', ' ', c.group()), text, flags=re.S)
        for m in re.finditer(r'\b(printf|puts|perror|fprintf|exit|_exit|abort|setlocale)\s*\(', code):
            line = code.count('\n', 0, m.start()) + 1
            bad.append(f'{name}:{line}: {m.group(1)}() in the library')
    result('the library neither prints nor exits', bad)


# -- the command and its documents ----------------------------------------------------------------

def command_help(*args):
    p = run(CATNAP, *args, '--help')
    return p.stdout if p.returncode == 0 else ''


def commands():
    text = command_help()
    listed = re.search(r'^Commands:\n((?: +\S.*\n)+)', text, re.M)
    return re.findall(r'^ +(\S+)', listed.group(1), re.M) if listed else []


def options_of_help(text):
    return set(re.findall(r'^ +(?:-\w, )?(--[a-z][a-z-]*)', text, re.M))


def plain(roff):
    """A line of a man page without its markup."""
    roff = re.sub(r'\\f(\(..|\[[^]]*\]|.)', '', roff)
    return roff.replace('\\-', '-').replace('\\&', '').replace('\\e', '\\')


def options_of_page(text):
    """Returns those that head a paragraph of OPTIONS."""
    section = re.search(r'^\.SH OPTIONS\n(.*?)(?=^\.SH |\Z)', text, re.M | re.S)
    found = set()
    for head in re.findall(r'^\.TP.*\n((?:\.[BIR]+ .*|\\f.*|.*))\n', section.group(1) if section else '',
                           re.M):
        found |= set(re.findall(r'--[a-z][a-z-]*', plain(head)))
    return found


def man_pages():
    bad = []
    pages = [n for n in FILES if re.match(r'docs/.*\.[1-8]$', n)]
    for name in pages:
        if shutil.which('mandoc'):
            p = run('mandoc', '-T', 'lint', '-W', 'warning', str(ROOT / name))
            said = p.stdout + p.stderr
        else:
            p = run('groff', '-man', '-Tutf8', '-ww', '-z', str(ROOT / name))
            said = p.stdout + p.stderr
        # A page names the version that it is of, and no date.
        bad += [f'{name}: {line}' for line in said.splitlines()
                if line.strip() and 'missing date, using ""' not in line]
    if not shutil.which('mandoc') and not shutil.which('groff'):
        result('man pages', [], 'neither mandoc nor groff is installed')
    else:
        result(f'man pages, {len(pages)}', bad)


def options_are_described():
    for c in commands():
        page = f'docs/catnap-{c}.1'
        name = f'catnap {c}: --help and {page} have the same options'
        if page not in FILES:
            result(name, [f'there is no {page}'])
            continue
        shown, written = options_of_help(command_help(c)), options_of_page(FILES[page])
        result(name, [f'{o} is not in {page}' for o in sorted(shown - written)] +
               [f'{o} is in {page} only' for o in sorted(written - shown)] +
               ([] if shown else [f'catnap {c} --help shows no options']))


def help_fits_a_terminal():
    """80 columns, in each command's help and in that of all."""
    bad = []
    for c in ['', *commands()]:
        text = command_help(*([c] if c else []))
        bad += [f'catnap {c} --help: {len(line)} columns: {line}' for line in text.splitlines() if len(line) > 80]
        if not text:
            bad.append(f'catnap {c} --help shows nothing')
    result('--help fits 80 columns', bad)


def overview_names_the_commands():
    page = plain(FILES.get('docs/catnap.1', ''))
    result('docs/catnap.1 names each command',
           [f'catnap-{c}(1) is not in it' for c in commands() if not re.search(
               rf'catnap-{c}\b', page)])


def examples_are_right():
    """Each catnap command in Markdown and in the man pages: it exists, and so do its options."""
    bad = []
    have = {c: options_of_help(command_help(c)) for c in commands()}
    for name, text in FILES.items():
        if name.endswith('.md'):
            fenced = re.findall(r'^```(\w*)\n(.*?)^```', text, re.M | re.S)
            blocks = [block for kind, block in fenced if kind in ('', 'sh', 'console')]
            blocks += re.findall(r'`(catnap [^`\n]+)`', text)
        elif re.match(r'docs/.*\.1$', name):
            blocks = [plain(b) for b in re.findall(r'^\.nf\n(.*?)^\.fi', text, re.M | re.S)]
        else:
            continue
        for block in blocks:
            for line in block.replace('\\\n', ' ').splitlines():
                for m in re.finditer(r'(?:^|[|$;] ?|/| )catnap +([a-z]+)([^|;#]*)', line):
                    c, rest = m.groups()
                    if line.lstrip().startswith(('"', '*', '/*')):
                        continue
                    if c not in have:
                        bad.append(f'{name}: catnap {c}: no such command: {line.strip()}')
                        continue
                    for o in re.findall(r'(?<!\S)(--[a-z][a-z-]*)', rest.split(' -- ')[0]):
                        if o not in have[c]:
                            bad.append(f'{name}: catnap {c}: no option {o}: {line.strip()}')
    result('commands in the documents exist', bad)


def anchors(text):
    """Returns what headings are linked by: lower case, hyphens for blanks, and nothing else but letters and digits."""
    heads = re.findall(r'^#+ +(.*?) *$', text, re.M)
    return {re.sub(r'[^\w -]', '', h).lower().replace(' ', '-') for h in heads}


def links_lead_somewhere():
    bad = []
    for name, text in FILES.items():
        if not name.endswith('.md'):
            continue
        here = (ROOT / name).parent
        for target in re.findall(r'\]\(([^)#\s]+)[^)]*\)', text):
            if '://' not in target and not (here / target).exists():
                bad.append(f'{name}: link to {target}, which is not there')
        for target, anchor in re.findall(r'\]\(([^)#\s]*)#([^)\s]+)\)', text):
            to = (here / target).resolve() if target else ROOT / name
            if '://' not in target and to.exists() and anchor not in anchors(to.read_text('utf-8')):
                bad.append(f'{name}: link to {target}#{anchor}: no such heading')
        for path in re.findall(r'`((?:src|docs|tests|include|guest-images|scripts)/[\w./-]+)`', text):
            # .elf: in the build folder.
            if not path.endswith('.elf') and not (ROOT / path).exists():
                bad.append(f'{name}: names {path}, which is not there')
        for path in re.findall(r'(?:^|[\s`])\./([a-z][\w-]*)', text):
            if not os.access(ROOT / path, os.X_OK):
                bad.append(f'{name}: names ./{path}, which cannot be run')
    result('links and paths in Markdown lead somewhere', bad)


def documents_wrap():
    """Prose at 100 columns. A picture is a line; so is what has no blank."""
    bad = []
    for name, text in FILES.items():
        if not name.endswith('.md'):
            continue
        code = False
        for n, line in enumerate(text.splitlines(), 1):
            code ^= line.lstrip().startswith('```')
            if (not code and len(line) > 100 and ' ' in line.strip() and
                    not line.startswith(('|', '![', '```'))):
                bad.append(f'{name}:{n}: {len(line)} columns')
    result('documents have at most 100 columns', bad)


# When the rule began: a commit's hash does not outlive a history that is written anew, the time of its author does.
COMMITS_SINCE = 1796040600
NO_VERB = set("""a an the this that these those what who whom whose which where when why how while if no nobody nothing
    none not one two three four each every all some any both more less most only also its it they we there here as at by
    for from in of on or and with without""".split())
ENDS_IN_S = set('pass address process discuss focus miss guess press compress access express bypass cross dismiss'.split())


def is_imperative(subject):
    """Whether a subject may be `area: verb ...`. It knows words that are no verb, and endings of other forms."""
    m = re.fullmatch(r'[\w/.+*{}()-]+(?:, [\w/.+*{}()-]+)*: (?P<word>\S+) \S.*', subject)
    if not m or subject.endswith('.'):
        return False
    word = m['word']
    return (re.fullmatch(r'[a-z][a-z-]*', word) is not None and word not in NO_VERB and
            not word.endswith(('ing', 'ed')) and (not word.endswith('s') or word in ENDS_IN_S) or
            word in ('bring', 'ring', 'feed', 'embed', 'need', 'seed', 'shed', 'speed', 'string'))


def commits_say_why():
    name = 'commits have an imperative subject and a body'
    log = run('git', '-C', str(ROOT), 'log', '--no-merges', '--format=%at%x00%h%x00%s%x00%b%x01')
    if log.returncode != 0:
        result(name, [], skip='no git')
        return
    bad = []
    for commit in log.stdout.split('\x01'):
        if not commit.strip():
            continue
        written, ident, subject, body = commit.strip().split('\0')
        if int(written) < COMMITS_SINCE:
            continue
        if not is_imperative(subject):
            bad.append(f'{ident}: "{subject}": expected "area: verb what", the verb as in "add", "mend", "split"')
        if not body.strip():
            bad.append(f'{ident}: "{subject}": no body: expected why')
    result(name, bad)


first_lines_name_the_licence()
no_trailing_space()
clang_format()
only_the_command_prints()
man_pages()
overview_names_the_commands()
options_are_described()
help_fits_a_terminal()
examples_are_right()
links_lead_somewhere()
documents_wrap()
commits_say_why()
print(f'1..{number}')
sys.exit(1 if failed else 0)
