#!/usr/bin/env python3
"""Our verdicts and those of the peer, math-verify (PyPI), on the same tables: agreement with what was decided by hand.
math-verify has no third verdict: equal is right, not equal is wrong, an answer it cannot parse is counted as unknown.
Every row where one of the two is not as decided has a comment that says why it was decided so; exit status 1: one has none.
  python3 tests/datasets/compare_math_verify.py [-v] [DISTILL]     -v: print those rows
  python3 tests/datasets/compare_math_verify.py --bench            verdicts a second of math-verify on the rows of bench_math.c"""
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
from math_verify import parse, verify

TABLES = ["tests/datasets/math_pairs.tsv", "tests/datasets/math_pairs_2.tsv"]


def theirs(gold, text):
    try:
        g, a = parse("$" + gold + "$"), parse(text)
        if not g:
            g = parse(gold)
        return "unknown" if not a or not g else "right" if verify(g, a) else "wrong"
    except Exception:
        return "unknown"


def ours(distill, rows):
    with tempfile.TemporaryDirectory() as d:
        with open(d + "/rows.jsonl", "w", encoding="utf-8") as f:
            for i, (gold, text, *_) in enumerate(rows):
                f.write(json.dumps({"prompt": f"row {i}", "answer": gold, "completion": text, "task": "math"}) + "\n")
        for words in (["import", d + "/s.study", d + "/rows.jsonl"], ["label", d + "/s.study", "--checks", "math"]):
            subprocess.run([distill, *words, "-q"], check=True, stdout=subprocess.DEVNULL)
        q = sqlite3.connect(d + "/s.study").execute(
            "SELECT p.line, l.value FROM prompts p JOIN samples s ON s.prompt=p.id JOIN labels l ON l.sample=s.id AND l.name='math'")
        found = dict(q.fetchall())
        return [found[i + 1] for i in range(len(rows))]


def count(found, rows):
    same = sum(f == r[2] for f, r in zip(found, rows))
    unsure = sum(f != r[2] and "unknown" in (f, r[2]) for f, r in zip(found, rows))
    return f"{same:5d} as decided ({100 * same / len(rows):.1f} %), {len(rows) - same - unsure:3d} opposite, {unsure:3d} unknown on one side"


def bench():
    step = "Each day she sells 16 - 3 - 4 = 9 eggs for $2 each, so she makes 9 * 2 = 18 dollars. "
    for name, before, n in (("plain numbers", "", 4000), ("plain numbers behind 1 KB", step * (1024 // len(step)), 1000)):
        start, right = time.process_time(), 0
        for i in range(n):
            v = i * 7919 % 100003
            w = v if i % 5 else v + 1
            text = before + (f"\\boxed{{{w}}}" if i % 2 else f"\n#### {w}")
            right += theirs(str(v), text) == "right"
        print(f"math-verify, {name}: {n / (time.process_time() - start):.0f} a second ({n} rows, {right} right)")


if "--bench" in sys.argv:
    bench()
    sys.exit()
words = [a for a in sys.argv[1:] if not a.startswith("-")]
distill = os.path.abspath(words[0] if words else "build/release/distill")
bare = 0
for table in TABLES:
    with open(table, encoding="utf-8") as f:
        rows = [line.rstrip("\n").replace("⏎", "\n").split("\t") for line in f if not line.startswith("#")]
    a, b = ours(distill, rows), [theirs(r[0], r[1]) for r in rows]
    print(f"{os.path.basename(table)}, {len(rows)} pairs\n  distill      {count(a, rows)}\n  math-verify  {count(b, rows)}")
    apart = [(r, x, y) for r, x, y in zip(rows, a, b) if x != r[2] or y != r[2]]
    without = [r for r, _, _ in apart if not r[3].strip()]
    print(f"  {len(apart)} rows where one of the two is not as decided, {len(apart) - len(without)} with a comment")
    for r in without:
        print(f"  no comment: {r[0]} | {r[1][-70:]!r}")
    bare += len(without)
    for r, x, y in apart if "-v" in sys.argv else []:
        print(f"  {'us' if x != r[2] else '--'} {'them' if y != r[2] else '----'}  by hand {r[2]}, distill {x}, math-verify {y}: {r[0]} | {r[1][-70:]!r} {r[3]}")
sys.exit(bare > 0)
