#!/usr/bin/env python3
"""Writes distill/model/token_tables.h: what Hugging Face's `tokenizers` takes each code point for.

Its parts carry Unicode data of different ages (Oniguruma for Split and ByteLevel, Rust's standard library for Digits and Whitespace, an old
table for Punctuation, Unicode 9 in the normalizers), and none is the age of our utf8proc or PCRE2, so the library itself is asked about every
code point. Needs `tokenizers` and perl (for the age of code points). Run it again when `tokenizers` moves to another Unicode:
    python3 scripts/token_tables.py > distill/model/token_tables.h
"""
import subprocess
import sys

import tokenizers
from tokenizers import Regex, pre_tokenizers

CPS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CATS = "Cn Cc Cf Co Lu Ll Lt Lm Lo Mn Mc Me Nd Nl No Pc Pd Ps Pe Pi Pf Po Sm Sc Sk So Zs Zl Zp".split()


def matches(pattern):
    p = pre_tokenizers.Split(Regex(pattern), "removed")
    return {c for c in CPS if not p.pre_tokenize_str(chr(c))}


cat = {}
for i, name in enumerate(CATS):
    for c in matches(r"\p{%s}" % name):
        cat[c] = i
for c in range(0xD800, 0xE000):
    cat[c] = 0
assert len(cat) == 0x110000

digits = pre_tokenizers.Digits(False)
numeric = {c for c in CPS if len(digits.pre_tokenize_str("a" + chr(c))) == 2}
punctuation = pre_tokenizers.Punctuation("removed")
punct = {c for c in CPS if not punctuation.pre_tokenize_str(chr(c))}
white = pre_tokenizers.Whitespace()
word = {c for c in CPS if white.pre_tokenize_str("a" + chr(c)) == [("a" + chr(c), (0, 2))]}
oword = matches(r"\w")
old = set(map(int, subprocess.run(
    ["perl", "-e", r'for my $c (0..0x10ffff) { next if $c >= 0xd800 && $c < 0xe000; print "$c\n" if chr($c) =~ /\p{Present_In: 9.0}/ }'],
    capture_output=True, text=True, check=True).stdout.split()))


def value(c):
    return cat[c] | (c in numeric) << 5 | (c in punct) << 6 | (c in word) << 7 | (c in oword) << 8 | (c not in old) << 9


def rows(items, per):
    for i in range(0, len(items), per):
        print("    " + ", ".join(items[i:i + per]) + ",")


runs = []
for c in range(0x110000):
    v = value(c)
    if not runs or runs[-1][1] != v:
        runs.append((c, v))
print("/* distill/model/token_tables.h - what `tokenizers` %s takes each code point for. Written by scripts/token_tables.py: do not edit.\n"
      " * Included by token_class.c alone. A run is first code point << 10 | flags << 5 | category, up to the next run. */\n"
      "/* clang-format off */" % tokenizers.__version__)
print("static const char categories[][3] = {%s};" % ", ".join('"%s"' % c for c in CATS))
print("/* flags: 1 Rust is_numeric, 2 Punctuation, 4 Rust \\w, 8 Oniguruma \\w, 16 not yet in Unicode 9 */")
print("static const uint32_t runs[] = {")
rows(["0x%x" % (c << 10 | v) for c, v in runs], 14)
print("};")
for script in ("Han", "Hiragana", "Katakana", "Hangul"):
    got = sorted(matches(r"\p{%s}" % script))
    spans = []
    for c in got:
        if spans and spans[-1][1] == c - 1:
            spans[-1][1] = c
        else:
            spans.append([c, c])
    print("static const uint32_t script_%s[] = {" % script.lower())
    rows(["0x%x, 0x%x" % tuple(s) for s in spans], 8)
    print("};")
print(len(runs), "runs", file=sys.stderr)
