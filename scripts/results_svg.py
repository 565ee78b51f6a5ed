# SPDX-License-Identifier: Apache-2.0
"""Pictures for scripts/results: SVG files that stand alone, in light and dark.

`catnap bench --html` draws whole distributions, which the JSON does not have; these are drawn from
the figures of the tables, so they can be made again from kept JSON. One column, so that the letters
can still be read where the page is narrow.
"""

import math
from html import escape

WIDTH, LABELS, ROW, HEAD, FOOT = 560, 150, 17, 26, 24
# Latency on the left, processor time on the right of it.
RANGE_END, CPU_START, CPU_END = 390, 410, 500
# By the beginning of its label; kernel modes and the peer are told apart by the label as well.
KINDS = (('user:adaptive', 'a'), ('adaptive', 'a'), ('default', 'a'), ('user:', 'u'), ('kernel:', 'k'),
         ('Linux', 'k'), ('qemu', 'q'))
STYLE = '''<style>
svg { --back: #fff; --text: #1b1f24; --soft: #59626d; --grid: #dfe3e8;
  --a: #0b5cc0; --u: #0f7280; --k: #b0520a; --q: #7a3bbd }
@media (prefers-color-scheme: dark) { svg { --back: #14171b; --text: #e6e9ed; --soft: #a3adb8;
  --grid: #333a42; --a: #6fb1ff; --u: #4fd0dc; --k: #ffa657; --q: #c79fff } }
.back { fill: var(--back) }
text { font: 12px system-ui, sans-serif; fill: var(--text) }
.soft { fill: var(--soft); font-size: 11px }
.head { font-weight: 600 }
.grid { stroke: var(--grid) }
.mark { stroke: var(--text); stroke-dasharray: 2 2 }
.a { --c: var(--a) } .u { --c: var(--u) } .k { --c: var(--k) } .q { --c: var(--q) }
.range { stroke: var(--c); stroke-width: 1.6 }
.dot, .bar { fill: var(--c) }
</style>'''


def kind(label):
    return next((k for start, k in KINDS if label.startswith(start)), 'u')


def time_label(ns):
    for unit, size in (('s', 1e9), ('ms', 1e6), ('us', 1e3)):
        if ns >= size:
            return f'{ns / size:g} {unit}'
    return f'{ns:g} ns'


class Picture:
    def __init__(self, title):
        self.title, self.parts, self.y = title, [], 8

    def text(self, x, y, s, cls='', anchor='start'):
        self.parts.append(f'<text class="{cls}" x="{x:.1f}" y="{y:.1f}" '
                          f'text-anchor="{anchor}">{escape(s)}</text>')

    def line(self, cls, x1, y1, x2, y2):
        self.parts.append(f'<line class="{cls}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
                          f'y2="{y2:.1f}"/>')

    def bar(self, cls, x, y, width):
        self.parts.append(f'<rect class="bar {cls}" x="{x:.1f}" y="{y - 5:.1f}" '
                          f'width="{max(width, 0.5):.1f}" height="10"/>')

    def head(self, caption):
        self.text(8, self.y + 15, caption, 'head')
        self.y += HEAD

    def done(self):
        height = math.ceil(self.y) + 4
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                f'width="{WIDTH}" height="{height}" role="img">\n'
                f'<title>{escape(self.title)}</title>\n{STYLE}\n'
                f'<rect class="back" width="{WIDTH}" height="{height}"/>\n'
                + '\n'.join(self.parts) + '\n</svg>\n')


def log_scale(low, high, start, end):
    low, high = max(low, 1e-9) / 1.15, max(high, low, 1e-9) * 1.15
    if high < low * 4:
        middle = math.sqrt(low * high)
        low, high = middle / 2, middle * 2
    def at(v):
        return start + (end - start) * math.log(min(max(v, low), high) / low) / math.log(high / low)
    mantissas = (1, 2, 5) if high / low < 60 else (1,)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    ticks = [m * 10.0 ** p for p in range(first, last + 1) for m in mantissas]
    return at, [t for t in ticks if low <= t <= high]


def ranges(title, panels):
    """Panels of (caption, rows), a row being (label, p50, p90, p99, processor time or None), in ns:
    a line from p50 to p99, a dot at p50, a stroke at p90, and a bar of the processor time. All
    panels have the same axes."""
    rows = [r for _, rs in panels for r in rs]
    if not rows:
        return None
    at, ticks = log_scale(min(r[1] for r in rows), max(r[3] for r in rows), LABELS, RANGE_END)
    most = max((r[4] or 0 for r in rows), default=0)
    pic = Picture(title)
    for caption, rs in panels:
        pic.head(caption)
        top, bottom = pic.y, pic.y + len(rs) * ROW
        for t in ticks:
            pic.line('grid', at(t), top, at(t), bottom)
            pic.text(at(t), bottom + 14, time_label(t), 'soft', 'middle')
        if most:
            pic.text(CPU_START, top - 11, 'CPU for each', 'soft')
        for i, (label, p50, p90, p99, cpu) in enumerate(rs):
            y, c = top + i * ROW + ROW / 2, kind(label)
            pic.text(LABELS - 8, y + 4, label, '', 'end')
            pic.line(f'range {c}', at(p50), y, at(p99), y)
            pic.line(f'range {c}', at(p90), y - 4, at(p90), y + 4)
            pic.parts.append(f'<circle class="dot {c}" cx="{at(p50):.1f}" cy="{y:.1f}" r="4"/>')
            if most and cpu is not None:
                width = (CPU_END - CPU_START) * cpu / most
                pic.bar(c, CPU_START, y, width)
                pic.text(CPU_START + width + 4, y + 4, f'{cpu / 1000:.0f} us', 'soft')
        pic.y = bottom + FOOT
    return pic.done()


def bars(title, panels, mark=None, unit=''):
    """Panels of (caption, rows), a row being (label, value); from zero, all on the same scale. @mark:
    where a line is drawn."""
    values = [v for _, rs in panels for _, v in rs]
    if not values:
        return None
    end = WIDTH - 70
    scale = (end - LABELS) / (max(values + [mark or 0]) or 1)
    pic = Picture(title)
    for caption, rs in panels:
        if caption:
            pic.head(caption)
        top = pic.y
        for i, (label, value) in enumerate(rs):
            y = top + i * ROW + ROW / 2
            pic.text(LABELS - 8, y + 4, label, '', 'end')
            pic.bar(kind(label), LABELS, y, value * scale)
            pic.text(LABELS + max(value, mark or 0) * scale + 5, y + 4,
                     (f'{value}' if isinstance(value, int) else f'{value:.3f}') + unit, 'soft')
        pic.y = top + len(rs) * ROW + 4
        if mark is not None:
            pic.line('mark', LABELS + mark * scale, top - 2, LABELS + mark * scale, pic.y)
    return pic.done()


def frontier(points):
    """Those of (label, x, y) that no other one beats in both, from left to right."""
    out, lowest = [], math.inf
    for p in sorted(points, key=lambda p: (p[1], p[2])):
        if p[2] < lowest:
            out.append(p)
            lowest = p[2]
    return out


def scatter(title, panels):
    """Panels of (caption, points), a point being (label, processor time, p99), in ns, on axes of their own. Labels
    stand in a list below, by number: points may lie on each other."""
    if not panels:
        return None
    pic, height, left, right = Picture(title), 170, 60, WIDTH - 190
    for caption, points in panels:
        pic.head(caption)
        top, bottom = pic.y, pic.y + height
        at_x, x_ticks = log_scale(min(p[1] for p in points), max(p[1] for p in points), left, right)
        at_y, y_ticks = log_scale(min(p[2] for p in points), max(p[2] for p in points), bottom, top)
        for t in x_ticks:
            pic.line('grid', at_x(t), top, at_x(t), bottom)
            pic.text(at_x(t), bottom + 14, time_label(t), 'soft', 'middle')
        for t in y_ticks:
            pic.line('grid', left, at_y(t), right, at_y(t))
            pic.text(left - 6, at_y(t) + 4, time_label(t), 'soft', 'end')
        best = frontier(points)
        for a, b in zip(best, best[1:]):
            pic.line('mark', at_x(a[1]), at_y(a[2]), at_x(b[1]), at_y(b[2]))
        for i, (label, x, y) in enumerate(points):
            c = kind(label)
            pic.parts.append(f'<circle class="dot {c}" cx="{at_x(x):.1f}" cy="{at_y(y):.1f}" r="4"/>')
            pic.text(at_x(x) + 6, at_y(y) - 4, str(i + 1), 'soft')
            pic.parts.append(f'<circle class="dot {c}" cx="{right + 22}" cy="{top + 8 + i * 15}" r="4"/>')
            pic.text(right + 31, top + 12 + i * 15, f'{i + 1} {label}', 'soft')
        pic.text(left, top - 4, 'p99', 'soft', 'end')
        pic.y = max(bottom + FOOT, top + 20 + len(points) * 15)
    return pic.done()


def heat(title, panels):
    """Panels of (caption, {row: {column: ratio}}): a cell is the fuller the further its ratio is from 1, in one colour
    below and another one above; its number stands in it."""
    if not panels:
        return None
    pic = Picture(title)
    for caption, rows in panels:
        columns = list(dict.fromkeys(c for row in rows.values() for c in row))
        width = (WIDTH - LABELS - 10) / len(columns)
        pic.head(caption)
        for k, column in enumerate(columns):
            kind_of, _, gap = column.partition(' ')
            pic.text(LABELS + (k + 0.5) * width, pic.y + 8, kind_of, 'soft', 'middle')
            pic.text(LABELS + (k + 0.5) * width, pic.y + 21, gap, 'soft', 'middle')
        pic.y += 28
        for label, row in rows.items():
            pic.text(LABELS - 8, pic.y + 16, label, '', 'end')
            for k, column in enumerate(columns):
                if column not in row:
                    continue
                x, far = LABELS + k * width, min(abs(math.log2(row[column])) / 2, 1)
                pic.parts.append(f'<rect class="bar {"a" if row[column] <= 1 else "k"}" x="{x + 1:.1f}" y="{pic.y + 1:.1f}" '
                                 f'width="{width - 2:.1f}" height="22" fill-opacity="{0.08 + 0.5 * far:.2f}"/>')
                pic.text(x + width / 2, pic.y + 16, f'{row[column]:.2f}', '', 'middle')
            pic.y += 24
        pic.y += 10
    return pic.done()


def dots(title, panels, legend, low):
    """Panels of (caption, rows), a row being (label, {name: value}); a dot for each name on a
    logarithmic axis from @low, one below the other in the order of @legend, (name, kind)s."""
    values = [v for _, rs in panels for _, points in rs for v in points.values()]
    if not values:
        return None
    at, ticks = log_scale(low, max(values), LABELS + 24, WIDTH - 20)
    step, pic = 4.5, Picture(title)
    x = LABELS + 24
    for i, (name, cls) in enumerate(legend):
        y = pic.y + 6 + i * 14
        pic.parts.append(f'<circle class="dot {cls}" cx="{x}" cy="{y}" r="3"/>')
        pic.text(x + 8, y + 4, name, 'soft')
    pic.y += 14 * len(legend) + 6
    height = step * (len(legend) + 1)
    for caption, rs in panels:
        pic.head(caption)
        top, bottom = pic.y, pic.y + len(rs) * height
        for t in ticks:
            pic.line('grid', at(t), top, at(t), bottom)
            pic.text(at(t), bottom + 14, f'{t:g}', 'soft', 'middle')
        for i, (label, points) in enumerate(rs):
            y = top + i * height
            pic.line('grid', 8, y, WIDTH - 20, y)
            pic.text(LABELS + 12, y + height / 2 + 4, label, 'soft', 'end')
            for k, (name, cls) in enumerate(legend):
                if name in points:
                    pic.parts.append(f'<circle class="dot {cls}" cx="{at(points[name]):.1f}" '
                                     f'cy="{y + (k + 1) * step:.1f}" r="3"/>')
        pic.y = bottom + FOOT
    return pic.done()
