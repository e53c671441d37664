#!/usr/bin/env python3
"""Curves of the engine's speed, drawn: rates on a logarithmic scale above, attention's share of the time below.
    scripts/curve_engine.py FOLDER TITLE X NAME...      reads FOLDER/NAME.tsv (x, prefill tok/s, decode tok/s, attention's shares of both), writes FOLDER/TITLE.svg
Called by bench_engine.sh with CURVES=FOLDER. Python's standard library only."""
import html
import math
import os
import re
import sys

folder, title, axis, names = sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:]
curves = {n: [list(map(float, line.split("\t"))) for line in open(os.path.join(folder, n + ".tsv"))] for n in names}
W, H, LOW, LEFT, GAP = 760, 360, 160, 70, 60
xs = sorted({p[0] for c in curves.values() for p in c})
rates = [v for c in curves.values() for p in c for v in p[1:3] if v > 0]
low, high = 10 ** math.floor(math.log10(min(rates))), 10 ** math.ceil(math.log10(max(rates)))
COLOURS = ("#0b6e99", "#c2410c", "#15803d", "#7e22ce")


def x_of(x):
    return LEFT + (math.log(x / xs[0]) / math.log(xs[-1] / xs[0]) if xs[-1] > xs[0] else 0) * (W - LEFT - 20)


def y_of(v):
    return 40 + (1 - math.log(v / low) / math.log(high / low)) * (H - 40)


def share(v):
    return H + GAP + (1 - v) * LOW


out = []
text = lambda x, y, s, anchor="middle", fill="#333": out.append(f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}" fill="{fill}">{html.escape(s)}</text>')
line = lambda points, colour, dash="": out.append(
    f'<polyline fill="none" stroke="{colour}" stroke-width="2" stroke-dasharray="{dash}" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in points)}"/>')
text(W / 2, 20, f"{title}: tokens a second (solid decode, dashed prefill) and attention's share of the time")
v = low
while v <= high:
    out.append(f'<line x1="{LEFT}" x2="{W - 20}" y1="{y_of(v):.1f}" y2="{y_of(v):.1f}" stroke="#ddd"/>')
    text(LEFT - 8, y_of(v) + 4, f"{v:g}", "end")
    v *= 10
for v in (0, 0.25, 0.5, 0.75, 1):
    out.append(f'<line x1="{LEFT}" x2="{W - 20}" y1="{share(v):.1f}" y2="{share(v):.1f}" stroke="{"#999" if v == 0.25 else "#ddd"}"/>')
    text(LEFT - 8, share(v) + 4, f"{100 * v:.0f} %", "end")
for x in xs:
    text(x_of(x), H + 18, f"{x:g}")
    text(x_of(x), H + GAP + LOW + 18, f"{x:g}")
text(W / 2, H + GAP + LOW + 36, axis)
for k, (name, points) in enumerate(curves.items()):
    colour = COLOURS[k % len(COLOURS)]
    line([(x_of(p[0]), y_of(p[2])) for p in points if p[2] > 0], colour)
    line([(x_of(p[0]), y_of(p[1])) for p in points if p[1] > 0], colour, "6 4")
    line([(x_of(p[0]), share(p[4])) for p in points], colour)
    line([(x_of(p[0]), share(p[3])) for p in points], colour, "6 4")
    text(LEFT + 10, 52 + 16 * k, name, "start", colour)
path = os.path.join(folder, re.sub(r"[^A-Za-z0-9._-]+", "-", title) + ".svg")
with open(path, "w") as f:
    f.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {W} {H + GAP + LOW + 50}" font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>{"".join(out)}</svg>\n')
print(f"  drawn: {path}")
