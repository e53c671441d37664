#!/usr/bin/env python3
"""The peer on the same table: math-verify (PyPI) on tests/datasets/math_pairs.tsv. Prints its agreement with the verdicts decided by hand.
It has no third verdict: equal is right, not equal is wrong, an answer it cannot parse is counted as unknown.
  python3 tests/datasets/compare_math_verify.py [-v]"""
import sys
import time
from math_verify import parse, verify

rows = [l.rstrip("\n").split("\t") for l in open("tests/datasets/math_pairs.tsv", encoding="utf-8") if not l.startswith("#")]
same = opposite = unsure = 0
start = time.time()
for gold, text, by_hand, *_ in rows:
    try:
        g, a = parse("$" + gold + "$"), parse(text.replace("⏎", "\n"))
        if not g:
            g = parse(gold)
        found = "unknown" if not a or not g else "right" if verify(g, a) else "wrong"
    except Exception:
        found = "unknown"
    if found == by_hand:
        same += 1
    elif "unknown" in (found, by_hand):
        unsure += 1
    else:
        opposite += 1
    if found != by_hand and "-v" in sys.argv:
        print(f"{found}\t{by_hand}\t{gold}\t{text[-60:]}")
print(f"math-verify: {same} of {len(rows)} pairs as decided by hand ({100 * same / len(rows):.1f} %), {opposite} opposite, {unsure} unknown on one side, "
      f"{len(rows) / (time.time() - start):.0f} pairs/s")
