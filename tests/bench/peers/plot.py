#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A picture and a table of what `bus-peers --json` has measured: an SVG for documents, readable on light and on dark pages, and
Markdown. Only Python's standard library is needed."""
import argparse
import html
import json
import math
import sys

PANEL_W, PANEL_H = 350, 300
LEFT, TOP, GAP, RIGHT, BOTTOM = 62, 64, 150, 96, 58
LABEL_H = 15
# name: colour on light pages, on dark pages, width, dashes. Ours are drawn last, over the others.
STYLES = {
    "bus": ("#0b5fd0", "#5aa2ff", 3, ""),
    "bus-stream": ("#0b5fd0", "#5aa2ff", 2, "6 3"),
    "redis": ("#c0342b", "#ff7b72", 1.6, ""),
    "zmq": ("#7a3fc0", "#bb8cff", 1.6, ""),
    "nats": ("#0f7f5c", "#3fcf9d", 1.6, ""),
    "mosquitto": ("#96690a", "#e0a93a", 1.6, ""),
    "nng": ("#5c6570", "#a6b0bb", 1.6, ""),
}
OTHER = ("#333333", "#cccccc", 1.6, "2 2")


def size_text(n):
    for unit, factor in (("MiB", 1 << 20), ("KiB", 1 << 10)):
        if n >= factor and n % factor == 0:
            return f"{n // factor} {unit}"
    return f"{n} B"


def rate_text(value):
    return f"{value / 1e9:g} GB/s" if value >= 1e9 else f"{value / 1e6:g} MB/s"


def curves(data, subscribers):
    """name -> rows that were measured, by size; in the order of the peers."""
    names = [p["name"] for p in data["peers"]]
    found = {n: sorted((r for r in data["rows"] if r["peer"] == n and r["subscribers"] == subscribers
                        and r["outcome"] == "ok"), key=lambda r: r["bytes"]) for n in names}
    return {n: rows for n, rows in found.items() if rows}


def class_of(name):
    return "".join(c if c.isalnum() else "_" for c in name)


class Panel:
    """One diagram: both axes logarithmic."""

    def __init__(self, data, subscribers, left, rates):
        self.subscribers, self.left = subscribers, left
        self.curves = curves(data, subscribers)
        self.sizes = sorted({r["bytes"] for r in data["rows"]})
        self.low, self.high = rates

    def x(self, size):
        low, high = math.log(self.sizes[0]), math.log(self.sizes[-1])
        part = (math.log(size) - low) / (high - low) if high > low else 0.5
        return self.left + 12 + part * (PANEL_W - 24)

    def y(self, rate):
        """A range may leave the frame, and is cut there; medians do not."""
        part = (math.log10(rate) - self.low) / (self.high - self.low)
        return TOP + PANEL_H * (1 - min(max(part, 0), 1))

    def axes(self):
        out = [f'<rect class="frame" x="{self.left}" y="{TOP}" width="{PANEL_W}" height="{PANEL_H}"/>']
        title = f"1 publisher, {self.subscribers} subscriber{'s' if self.subscribers > 1 else ''}"
        out.append(f'<text class="title" x="{self.left}" y="{TOP - 10}">{title}</text>')
        for size in self.sizes:
            x = self.x(size)
            out.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{TOP + PANEL_H}"/>')
            out.append(f'<text class="tick" text-anchor="middle" x="{x:.1f}" y="{TOP + PANEL_H + 16}">'
                       f'{size_text(size)}</text>')
        for power in range(self.low, self.high + 1):
            y = self.y(10 ** power)
            out.append(f'<line class="grid" x1="{self.left}" x2="{self.left + PANEL_W}" y1="{y:.1f}" y2="{y:.1f}"/>')
            out.append(f'<text class="tick" text-anchor="end" x="{self.left - 6}" y="{y + 4:.1f}">'
                       f'{rate_text(10 ** power)}</text>')
        return out

    def curve(self, name, rows):
        points, out = [], []
        for row in rows:
            rate = row["bytes_per_second"]
            x, y = self.x(row["bytes"]), self.y(rate["median"])
            points.append(f"{x:.1f},{y:.1f}")
            out.append(f'<line class="range {class_of(name)}" x1="{x:.1f}" x2="{x:.1f}" '
                       f'y1="{self.y(rate["lowest"]):.1f}" y2="{self.y(rate["highest"]):.1f}"/>')
            out.append(f'<circle class="dot {class_of(name)}" cx="{x:.1f}" cy="{y:.1f}" r="2.4"/>')
        return [f'<polyline class="line {class_of(name)}" points="{" ".join(points)}"/>'] + out

    def label_places(self):
        """Heights of the labels: those of the ends of the lines, moved apart where they would overlap."""
        ends = sorted((self.y(rows[-1]["bytes_per_second"]["median"]), name)
                      for name, rows in self.curves.items())
        # groups of labels that touch each other, each centred on its ends
        groups = []
        for y, name in ends:
            groups.append([[y], [name]])
            while len(groups) > 1 and self.bottom(groups[-2]) + LABEL_H > self.top(groups[-1]):
                ys, names = groups.pop()
                groups[-1][0] += ys
                groups[-1][1] += names
        return {name: (self.top(g) + i * LABEL_H, g[0][i])
                for g in groups for i, name in enumerate(g[1])}

    @staticmethod
    def top(group):
        n = len(group[0])
        middle = min(max(sum(group[0]) / n, TOP + n * LABEL_H / 2), TOP + PANEL_H - n * LABEL_H / 2)
        return middle - (n - 1) * LABEL_H / 2

    def bottom(self, group):
        return self.top(group) + (len(group[0]) - 1) * LABEL_H

    def labels(self):
        out, x = [], self.left + PANEL_W + 14
        for name, (y, end) in self.label_places().items():
            last = self.x(self.curves[name][-1]["bytes"])
            out.append(f'<line class="leader {class_of(name)}" x1="{last + 4:.1f}" y1="{end:.1f}" '
                       f'x2="{x - 3}" y2="{y:.1f}"/>')
            out.append(f'<text class="label {class_of(name)}_text" x="{x}" y="{y + 4:.1f}">{html.escape(name)}</text>')
        return out

    def draw(self):
        out = self.axes()
        order = sorted(self.curves, key=lambda name: name.startswith("bus"))
        for name in order:
            out += self.curve(name, self.curves[name])
        return out + self.labels()


def style(names):
    def colours(column):
        return " ".join(f".{class_of(n)}{{stroke:{STYLES.get(n, OTHER)[column]};}}"
                        f".{class_of(n)}_text,.dot.{class_of(n)}{{fill:{STYLES.get(n, OTHER)[column]};}}" for n in names)

    def page(paper, ink, faint):
        return f".paper{{fill:{paper};}} .frame{{stroke:{faint};}} .grid{{stroke:{faint};}} " \
               f".title,.head{{fill:{ink};}} .tick,.note{{fill:{ink};}}"

    shapes = " ".join(f".line.{class_of(n)}{{stroke-width:{STYLES.get(n, OTHER)[2]};"
                      f"stroke-dasharray:{STYLES.get(n, OTHER)[3] or 'none'};}}" for n in names)
    return ("text{font-family:system-ui,sans-serif;font-size:11px;} .head{font-size:15px;font-weight:600;} "
            ".title{font-size:13px;font-weight:600;} .label{font-size:12px;font-weight:600;} "
            ".frame{fill:none;} .grid{stroke-width:.6;stroke-opacity:.7;} .line{fill:none;stroke-linejoin:round;} "
            ".range{stroke-width:1;stroke-opacity:.55;} .leader{stroke-width:.8;stroke-opacity:.5;stroke-dasharray:2 2;} "
            f".dot{{stroke:none;}} {shapes} {page('#ffffff', '#1f2328', '#d0d7de')} {colours(0)} "
            f"@media (prefers-color-scheme: dark){{ {page('#0d1117', '#e6edf3', '#3d444d')} {colours(1)} }}")


def misses(data):
    """What has no point in the picture, in words."""
    words = {"failed": "failed", "cannot": "not possible"}
    out = [f"{r['peer']}, {size_text(r['bytes'])} to {r['subscribers']}: {words[r['outcome']]}"
           for r in data["rows"] if r["outcome"] != "ok"]
    return out + [f"{p['name']}: left out ({p['skipped']})" for p in data["peers"] if "skipped" in p]


def rate_bounds(data):
    rates = [r["bytes_per_second"]["median"] for r in data["rows"] if r["outcome"] == "ok"]
    if not rates:
        sys.exit("plot.py: nothing was measured in this file")
    low, high = math.floor(math.log10(min(rates))), math.ceil(math.log10(max(rates)))
    return low, max(high, low + 1)


def svg(data):
    numbers = sorted({r["subscribers"] for r in data["rows"]})
    rates = rate_bounds(data)
    panels = [Panel(data, n, LEFT + i * (PANEL_W + GAP), rates) for i, n in enumerate(numbers)]
    notes = misses(data)
    lines = [", ".join(notes[i:i + 4]) for i in range(0, len(notes), 4)]
    width = LEFT + len(panels) * PANEL_W + (len(panels) - 1) * GAP + RIGHT
    height = TOP + PANEL_H + BOTTOM + 14 * len(lines)
    names = [p["name"] for p in data["peers"]]
    head = "Bytes of bodies delivered to all subscribers in a second, by the size of a body"
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img">',
           f"<title>{head}</title>", f"<style>{style(names)}</style>",
           f'<rect class="paper" width="{width}" height="{height}"/>',
           f'<text class="head" x="{LEFT}" y="26">{head}</text>']
    for panel in panels:
        out += panel.draw()
    y = TOP + PANEL_H + 40
    for line in [f"Median and range of {data['runs']} runs of {data['seconds']:g} s, {data['processors']} processors; every byte "
                 "written and checked"] + lines:
        out.append(f'<text class="note" x="{LEFT}" y="{y}">{html.escape(line)}</text>')
        y += 14
    return "\n".join(out + ["</svg>", ""])


# ---- table ----

def short(value):
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def cell(row, best):
    if row is None:
        return ""
    if row["outcome"] != "ok":
        return {"failed": "**failed**", "cannot": "–"}[row["outcome"]]
    rate = row["bytes_per_second"]
    median = short(rate["median"] / 1e6)
    mark = "**" if rate["median"] == best else ""
    return f"{mark}{median}{mark} ({short(rate['lowest'] / 1e6)}–{short(rate['highest'] / 1e6)})"


def markdown_table(data, subscribers):
    rows = {(r["bytes"], r["peer"]): r for r in data["rows"] if r["subscribers"] == subscribers}
    names = [p["name"] for p in data["peers"] if any(r["peer"] == p["name"] for r in data["rows"])]
    out = [f"One publisher, {subscribers} subscriber{'s' if subscribers > 1 else ''}: MB/s", "",
           "| body | " + " | ".join(names) + " |", "|---:|" + "---:|" * len(names)]
    for size in sorted({b for b, _ in rows}):
        of_size = [rows.get((size, n)) for n in names]
        best = max((r["bytes_per_second"]["median"] for r in of_size if r and r["outcome"] == "ok"), default=None)
        out.append(f"| {size_text(size)} | " + " | ".join(cell(r, best) for r in of_size) + " |")
    return out + [""]


def markdown(data):
    out = [f"Bytes of bodies delivered to all subscribers, in MB/s (10⁶ bytes): median (lowest–highest) of {data['runs']} runs of "
           f"{data['seconds']:g} s; the best median of a line is bold. Window: {data['window_messages']} messages or "
           f"{size_text(data['window_bytes'])}, at least 4 messages. {data['processors']} processors.", ""]
    for n in sorted({r["subscribers"] for r in data["rows"]}):
        out += markdown_table(data, n)
    for r in data["rows"]:
        if r["outcome"] != "ok":
            word = "failed" if r["outcome"] == "failed" else "not possible"
            out.append(f"* {r['peer']}, {size_text(r['bytes'])} to {r['subscribers']}: {word}: {r['reason']}")
    for p in data["peers"]:
        if "skipped" in p:
            out.append(f"* {p['name']}: left out: {p['skipped']}")
        else:
            versions = ", ".join(v for v in (p["server"], p["library"]) if v)
            out.append(f"* {p['name']}: {p['about']} ({versions})")
    return "\n".join(out + [""])


def main():
    parser = argparse.ArgumentParser(description="Picture and table of the JSON of bus-peers.")
    parser.add_argument("json", help="file with the output of bus-peers --json, or - for standard input")
    parser.add_argument("--svg", metavar="FILE", help="write the picture there")
    parser.add_argument("--markdown", metavar="FILE", help="write the table there; without --svg and --markdown: to standard output")
    args = parser.parse_args()
    with sys.stdin if args.json == "-" else open(args.json, encoding="utf-8") as f:
        data = json.load(f)
    if args.svg:
        with open(args.svg, "w", encoding="utf-8") as f:
            f.write(svg(data))
    if args.markdown:
        with open(args.markdown, "w", encoding="utf-8") as f:
            f.write(markdown(data))
    if not args.svg and not args.markdown:
        print(markdown(data), end="")


if __name__ == "__main__":
    main()
