#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes section 3 of the manual of the public headers: their comments are the reference, and so are the pages.

A page is a family of functions (pages.py), and each function has a link to its page. Of a comment, what follows
"Errors:" goes to ERRORS; @name is a parameter. The version that a function came with is that of its node in the
library's map.

Usage: make.py INCLUDE_DIRECTORY MAP OUTPUT_DIRECTORY
"""
import os
import re
import shutil
import sys

sys.dont_write_bytecode = True
from pages import PAGES, TYPES  # noqa: E402 pylint: disable=wrong-import-position

# In the order in which a VM is made: names stand on the page of who speaks of them first.
VM_HEADERS = ('config.h', 'limit.h', 'disk.h', 'vhost.h', 'net.h', 'vsock.h', 'console.h', 'hotplug.h', 'pmem.h', 'balloon.h', 'vm.h',
              'event.h', 'interrupt.h', 'memory.h', 'vm_poll.h', 'stats.h', 'host.h')
HEADERS = ('version.h', 'poll.h', 'sandbox.h', 'catnap.h') + VM_HEADERS + ('snapshot.h',)
# An inner comment, a string of none of these, ...
ITEM = re.compile(r'''
    (?P<comment>/\*.*?\*/)
  | (?P<function>^CATNAP_API\s[^;{]*?\b(?P<fname>catnap_\w+)\([^;]*\);)
  | (?P<struct>^struct\s(?P<sname>catnap_\w+)\s\{.*?^\};)
  | (?P<opaque>^struct\s(?P<oname>catnap_\w+);)
  | (?P<enum>^enum\s(?P<ename>catnap_\w+)\s\{.*?\};)
  | (?P<macro>^\#define\s(?P<mname>CATNAP_\w+)(?P<margs>\([^)]*\))?[ \t]+(?P<value>(?:[^\n]*\\\n)*[^\n]*))
''', re.X | re.S | re.M)
LOCAL = {'CATNAP_API'}
THREADS = {
    'catnap.h': 'A virtual machine may be used by several threads at once, unless a function says otherwise; destroy is the '
                'last call. catnap(3) says which calls a callback may make, and what holds after fork(2).',
    'poll.h': 'Each function says which thread may call it. What holds after fork(2) is said in catnap_halter(3).',
    'sandbox.h': 'Each function says which thread may call it.',
    'snapshot.h': 'A snapshot that is open belongs to one thread at a time. Calls on a virtual machine may be made by any '
                  'thread but its own.',
}


# -- the headers ----------------------------------------------------------------------------------

class Item:
    """Something that a header declares, with the comment that is about it."""

    def __init__(self, kind, name, text, comment, header):
        self.kind, self.name, self.text, self.comment, self.header = kind, name, text, comment, header
        self.group = self  # the item that has the comment

    def mentions(self, name):
        return re.search(rf'\b{name}\b', self.text + (self.comment or '')) is not None


def inner(comment):
    """A comment's lines, without what makes it one."""
    text = re.sub(r'^/\*+<?|\*/$', '', comment.strip())
    lines = [re.sub(r'^[ \t]*\* ?|^[ \t]+(?=\S)', '', line) if i else line.strip()
             for i, line in enumerate(text.split('\n'))]
    return '\n'.join(lines).strip('\n').rstrip()


def read(include):
    items, tops, sections = [], {}, []
    for header in HEADERS:
        with open(os.path.join(include, 'catnap', header), encoding='utf-8') as f:
            text = f.read()
        text = re.sub(r'^/\* SPDX.*?\*/\n', '', text)
        comment, end, last, alone = None, 0, None, False
        for m in ITEM.finditer(text):
            if re.search(r'\n[ \t]*\n', text[end:m.start()]):
                if comment and alone:
                    sections.append((header, comment, len(items)))
                comment, last = None, None
            end = m.end()
            if m['comment']:
                if header not in tops and header != 'version.h':
                    tops[header] = inner(m['comment'])
                    comment = None
                else:
                    comment, last = inner(m['comment']), None
                    alone = not m['comment'].startswith('/**')
                continue
            kind = next(k for k in ('function', 'struct', 'opaque', 'enum', 'macro') if m[k])
            name = m['fname'] or m['sname'] or m['oname'] or m['ename'] or m['mname']
            if name in LOCAL or name.endswith('_H') or (kind == 'opaque' and not comment):
                continue
            item = Item(kind, name, m[0], comment, header)
            if comment is None and last is not None and kind == last.kind:
                item.group = last.group
            items.append(item)
            comment, last = None, item
    return items, tops, sections


def versions(path, functions):
    with open(path, encoding='utf-8') as f:
        text = re.sub(r'/\*.*?\*/', '', f.read(), flags=re.S)
    nodes = re.findall(r'CATNAP_([\d.]+) \{\s*global:(.*?)(?:local:|\})', text, re.S)
    found = {}
    for version, names in nodes:
        for name in re.findall(r'\w+\*?', names):
            for f in functions:
                if re.fullmatch(name.replace('*', r'\w*'), f):
                    found.setdefault(f, version)
    return found


# -- roff -----------------------------------------------------------------------------------------

def escape(text):
    return text.replace('\\', '\\e')


def start(line):
    """A line of text that roff takes for no request."""
    return '\\&' + line if line[:1] in ('.', "'") else line


def words(text):
    """Marks what is a name."""
    # What the overview says is on the first page.
    text = escape(text).replace('`', '').replace('in catnap/catnap.h', 'in catnap(3)')
    text = re.sub(r'@([a-z]\w*)', r'\\fI\1\\fR', text)
    text = re.sub(r'(?<![\w\\])(-E[A-Z0-9]+)\b', lambda m: '\\fB\\' + m[1] + '\\fR', text)
    text = re.sub(r'\b(struct |enum )?(catnap_[a-z0-9_]+|CATNAP_[A-Z0-9_]+)', r'\\fB\1\2\\fR', text)
    text = re.sub(r'(?<![\w\\])([a-z][a-z0-9_.-]*)\((\d)\)', r'\\fB\1\\fR(\2)', text)
    text = re.sub(r'(?<=[ (])-(?=\d)', r'\\-', text)
    return text


def flow(text, out):
    """Sentences, each on a line."""
    text = re.sub(r'\s+', ' ', text).strip()
    for sentence in re.split(r'(?<=[.:;]) (?=[A-Z@(*])', text):
        out.append(start(words(sentence)))


def paragraphs(text):
    """(kind, lines): text, code, list."""
    for block in re.split(r'\n[ \t]*\n', text):
        lines, kind = [], None
        for line in block.split('\n'):
            now = 'code' if line.startswith('\t') else 'list' if re.match(r' {2,}\S', line) else 'text'
            if kind == 'list' and now == 'text' and line.startswith(' '):
                now = 'list'
            if kind and now != kind and lines:
                yield kind, lines
                lines = []
            kind = now
            lines.append(line)
        if lines and any(line.strip() for line in lines):
            yield kind, lines


def items_of(lines):
    """An indented list: (head, text) of each entry; head None for a bullet."""
    entries = []
    for line in lines:
        bullet = re.match(r'\s+- (.*)', line)
        pair = re.match(r'\s{2,8}(-E\w+|\S.*?\S)\s{2,}(\S.*)', line)
        if bullet:
            entries.append([None, bullet[1]])
        elif pair:
            entries.append([pair[1], pair[2]])
        elif re.match(r'\s{2,8}(-E\w+)$', line):
            entries.append([line.strip(), ''])
        elif entries:
            entries[-1][1] += ' ' + line.strip()
        else:
            entries.append([None, line.strip()])
    return entries


def body(text, out, first='.PP'):
    request = first
    for kind, lines in paragraphs(text):
        if kind == 'code':
            out += [request or '.PP', '.nf', '.RS 4'] if request != '' else ['.nf', '.RS 4']
            out += [start(escape(line.strip('\n').replace('\t', '        ')[8:] or '\\&').replace('-', '\\-')) for line in lines]
            out += ['.RE', '.fi']
        elif kind == 'list':
            for head, entry in items_of(lines):
                out += ['.IP \\(bu 2'] if head is None else ['.TP', start(words(head))]
                flow(entry, out)
                if not entry:
                    out.append('\\&')
        else:
            if request:
                out.append(request)
            flow('\n'.join(lines), out)
        request = '.PP'


def split_errors(text):
    """Splits a comment into what a function does, and what it fails by."""
    found = re.search(r'(?:^|(?<=\s))Errors(?:, (with which [^:]*))?:', text)
    if not found:
        # Sentences that begin with one.
        sentence = re.compile(r'(?:^|(?<=[.]\s))-E[A-Z]+\b[^.(]*(?:\([^)]*\)[^.(]*)*\.')
        return sentence.sub('', text).strip(), ' '.join(sentence.findall(text))
    text, failed = text[:found.start()].rstrip(), text[found.end():].lstrip(' ')
    if found[1]:
        failed = f'{found[1][0].upper()}{found[1][1:]}: {failed}'
    # The words on threads behind them.
    threads = re.search(r'\s((?:Any thread|One thread at a time|Owner)\b[^-]*)$', failed)
    if threads:
        text, failed = text + ' ' + threads[1], failed[:threads.start()]
    return text, failed


def code(text):
    text = text.replace('\t', '        ')
    return [start(escape(line).replace('-', '\\-')) or '\\&' for line in text.split('\n')]


# -- pages ----------------------------------------------------------------------------------------

def prototype(item):
    text = re.sub(r'/\*.*?\*/', '', item.text, flags=re.S)
    text = re.sub(r'\s+', ' ', text.replace('CATNAP_API ', '')).strip()
    if len(text) <= 76:
        return [text]
    head, arguments = text.split('(', 1)
    if '(*' in arguments:
        head, arguments = re.match(r'(.*?\bcatnap_\w+)\((.*)$', text).groups()
    lines, line = [], head + '('
    for part in re.split(r'(?<=,) ', arguments):
        if len(line) + len(part) > 76 and line.strip():
            lines.append(line.rstrip())
            line = '    '
        line += part + ' '
    return lines + [line.rstrip()]


def members(text):
    """Of a structure or an enumeration: its lines without comments, and [(names, comment)]."""
    kept, notes, pending = [], [], None
    body_text = text[text.index('{') + 1:text.rindex('}')]
    pieces = re.split(r'(/\*.*?\*/)', body_text, flags=re.S)
    bare, last_names = '', ''
    for piece in pieces:
        if piece.startswith('/*'):
            note = inner(piece)
            if piece.startswith('/**<'):
                names = last_names
                notes.append((names, note))
            elif piece.startswith('/**'):
                pending = note
            continue
        bare += piece
        declared = [d for d in re.split(r'[;,](?![^()\[\]]*\))|\n\n', piece) if d.strip()]
        if declared:
            if pending:
                # The text behind this comment, up to where its line, or lines of one declaration, end.
                first = re.match(r'\s*(.*?)(?:;|,\s*\n|,\s*$|$)', piece, re.S)[1]
                notes.append((first, pending))
                pending = None
            last = re.split(r'[;\n]', piece.strip().rstrip(';,'))[-1]
            last_names = last
    end = ';' if item_is_struct(text) else ','
    for line in bare.split(end):
        if line.strip():
            kept.append(re.sub(r'\s+', ' ', line).strip() + end)
    return kept, notes


def item_is_struct(text):
    return text.startswith('struct')


def names_in(declaration):
    """The names of the members that a line declares."""
    declaration = re.sub(r'\s+', ' ', declaration).strip()
    pointer = re.search(r'\(\*(\w+)\)\(', declaration)
    if pointer:
        return [pointer[1]]
    declaration = re.sub(r'\[[^\]]*\]| = .*', '', declaration)
    parts = [p.strip() for p in declaration.split(',') if p.strip()]
    return [re.sub(r'.*[\s*]', '', p) for p in parts]


def describe_type(item, out):
    kind = 'struct' if item.kind == 'struct' else 'enum'
    out.append(f'.SS {kind} {item.name}')
    if item.comment:
        body(item.comment, out, '')
        out.append('.PP')
    kept, notes = members(item.text)
    out += ['.nf', '.RS 4', f'\\fB{kind} {item.name}\\fR {{']
    out += code('\n'.join('    ' + line for line in kept))
    out += ['};', '.RE', '.fi']
    for declaration, note in notes:
        found = names_in(declaration)
        if found:
            out += ['.TP', '.BR ' + ' ", " '.join(escape(n) for n in found)]
            lines = []
            flow(note, lines)
            out += lines


class Book:
    def __init__(self, items, tops, sections, since):
        self.items, self.tops, self.sections, self.since = items, tops, sections, since
        self.page_of = {}
        self.place()

    def place(self):
        """Says on which page each name is."""
        lost = []
        functions = [i for i in self.items if i.kind == 'function']
        for f in functions:
            page = next((p[0] for p in PAGES if re.fullmatch(p[4], f.name)), None)
            if page is None:
                lost.append(f.name)
            self.page_of[f.name] = page
        if lost:
            raise SystemExit(f'docs/man3/pages.py: no page has {", ".join(lost)}')
        headers = {p[0]: p[1] for p in PAGES}
        apart = [f.name for f in functions if headers[self.page_of[f.name]] != f.header]
        if apart:
            raise SystemExit(f'docs/man3/pages.py: {", ".join(apart)}: declared in another header than its page is of')
        order = {p[0]: n for n, p in enumerate(PAGES)}
        rest = [i for i in self.items if i.kind in ('struct', 'opaque', 'enum')]
        # By prototypes first; then by what those that have a place speak of.
        for i in rest:
            if i.name in TYPES:
                self.page_of[i.name] = TYPES[i.name]
                continue
            users = [f for f in functions if re.search(rf'\b(struct|enum) {i.name}\b', f.text)]
            own = [f for f in users if f.name.startswith(i.name + '_') or f.name.endswith(i.name.replace('catnap_', '_'))]
            if users:
                self.page_of[i.name] = self.page_of[(own or users)[0].name]
        for _ in range(3):
            for i in rest:
                if i.name in self.page_of:
                    continue
                users = [j for j in self.items if j.name in self.page_of and j is not i and j.mentions(i.name)]
                if users:
                    self.page_of[i.name] = min((self.page_of[j.name] for j in users), key=order.get)
        self.page_of['catnap_vm'] = 'catnap_vm_create'
        for n, i in enumerate(self.items):
            if i.name in self.page_of:
                continue
            # A constant belongs to what is declared behind it.
            near = [j for j in self.items[n:] if j.name in self.page_of and j.header == i.header]
            self.page_of[i.name] = self.page_of[near[0].name] if near else 'catnap'

    def on(self, page, *kinds):
        return [i for i in self.items if i.kind in kinds and self.page_of[i.name] == page]

    def introduction(self, page, header, about, out):
        out.append('.SH DESCRIPTION')
        if page == 'catnap':
            top = self.tops['catnap.h']
            body(top.split('\n', 1)[1].strip('\n'), out, '')
            return
        if page == 'catnap_sandbox_enter':
            body(self.tops['sandbox.h'].split('\n', 1)[1].strip('\n'), out, '')
            return
        if about:
            flow(about, out)
            return
        if page == 'catnap_halter':
            body(self.tops['poll.h'].split('\n\n', 1)[1], out, '')
            return
        # The header's words before the first of the family.
        own = self.own_sections(page)
        if own:
            text = re.sub(r'^-{5,}\s*', '', own[0]).strip('\n')
            text = text.split('\n\n', 1)[1] if '\n\n' in text else text
            body(text, out, '')
        else:
            body(self.on(page, 'opaque')[0].comment, out, '')

    def own_sections(self, page):
        """Returns what the headers say between declarations, before one of this page."""
        return [t for h, t, n in self.sections
                if n < len(self.items) and self.items[n].header == h and self.page_of[self.items[n].name] == page]

    def make(self, page, header, line, about):
        functions = self.on(page, 'function')
        out = ['.\\" SPDX-License-Identifier: Apache-2.0', '.\\" Made of catnap/' + header + ' by docs/man3/make.py.',
               f'.TH {page.upper()} 3 "" "catnap" "Library Functions Manual"', '.nh', '.ad l', '.SH NAME']
        named = [f.name for f in functions if f.name != page]
        out.append(', '.join([page] + named) + ' \\- ' + line)
        whole = 'catnap.h' if header in VM_HEADERS else header
        out += ['.SH LIBRARY', 'libcatnap', '.RB ( "pkg\\-config \\-\\-cflags \\-\\-libs catnap" )', '.SH SYNOPSIS', '.nf',
                f'\\fB#include <catnap/{whole}>\\fR']
        for f in functions:
            if f.group is f:
                out.append('.PP')
            out += ['\\fB' + escape(text).replace('-', '\\-') + '\\fR' for text in prototype(f)]
        out.append('.fi')
        self.introduction(page, header, about, out)
        for text in self.own_sections(page)[0 if about else 1:]:
            if '.' in text and not text.startswith('-----'):
                body(text, out)
        errors = []
        for f in functions:
            if f.group is not f:
                continue
            group = [g for g in functions if g.group is f]
            text, failed = split_errors(f.comment or '')
            out.append('.SS ' + ', '.join(g.name + '()' for g in group))
            body(text, out, '') if text else out.append('Fails as said below.')
            if failed:
                errors.append((group, failed))
        constants = self.on(page, 'macro')
        if constants:
            out.append('.SH CONSTANTS')
            for m in constants:
                arguments = re.match(r'#define \w+(\([^)]*\))?', m.text)[1] or ''
                value = re.sub(r'\s*/\*.*', '', re.sub(r'\\\n\s*', '', re.match(ITEM, m.text)['value']))
                out += ['.TP', f'.B {m.name}{arguments}']
                lines = []
                if m.comment or re.search(r'/\*\*<(.*?)\*/', m.text, re.S):
                    flow(m.comment or inner(re.search(r'/\*\*<.*?\*/', m.text, re.S)[0]), lines)
                out += lines
                out.append(start(escape(value.strip()).replace('-', '\\-')))
        types = self.on(page, 'struct', 'enum')
        if types:
            out.append('.SH TYPES')
            for t in types:
                describe_type(t, out)
        out.append('.SH RETURN VALUE')
        flow('A function of type int returns 0, or what its description says, and a negative errno value when it fails; '
             'catnap_vm_last_error(3) has the sentence for people, where there is a virtual machine.', out)
        out.append('.SH ERRORS')
        if errors:
            for group, text in errors:
                out += ['.SS ' + ', '.join(g.name + '()' for g in group)]
                body(text, out, '')
        else:
            out.append('As said with each function.')
        out.append('.SH THREADS')
        flow(THREADS[whole], out)
        for o in self.on(page, 'opaque'):
            if o.name != 'catnap_vm':
                flow(o.comment, out)
        out.append('.SH VERSIONS')
        by_version = {}
        for f in functions:
            by_version.setdefault(self.since.get(f.name, '?'), []).append(f.name)
        for version in sorted(by_version):
            out += ['.TP', f'catnap {version}', ', '.join(f'\\fB{n}\\fR()' for n in by_version[version])]
        out.append('.SH SEE ALSO')
        others = self.see_also(page, functions)
        out += [f'.BR {o} (3)' + (',' if n < len(others) - 1 else '') for n, o in enumerate(others)]
        return '\n'.join(out) + '\n'

    def see_also(self, page, functions):
        """The pages of what is spoken of; and the first."""
        if page == 'catnap':
            return [p[0] for p in PAGES if p[0] != page]
        found = {'catnap'}
        for f in functions:
            for name in re.findall(r'\bcatnap_\w+', (f.comment or '') + f.text):
                found.add(self.page_of.get(name, page))
        return sorted(found - {page, None})


def main():
    include, version_map, output = sys.argv[1:]
    items, tops, sections = read(include)
    functions = [i.name for i in items if i.kind == 'function']
    book = Book(items, tops, sections, versions(version_map, functions))
    shutil.rmtree(output, ignore_errors=True)
    os.makedirs(output)
    for page, header, line, about, _ in PAGES:
        with open(os.path.join(output, page + '.3'), 'w', encoding='utf-8') as f:
            f.write(book.make(page, header, line, about))
    for name in functions:
        if name != book.page_of[name]:
            with open(os.path.join(output, name + '.3'), 'w', encoding='utf-8') as f:
                f.write(f'.so man3/{book.page_of[name]}.3\n')
    return 0


if __name__ == '__main__':
    sys.exit(main())
