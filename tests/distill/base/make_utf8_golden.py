#!/usr/bin/env python3
"""Prints the digests that test_utf8.c holds: Python's own unicodedata and codecs as the oracle (Unicode 15.0, as Debian 12 has in utf8proc; Python 3.12)."""
import hashlib
import itertools
import unicodedata

assert unicodedata.unidata_version == "15.0.0"
print("categories", hashlib.sha256("".join(unicodedata.category(chr(c)) for c in range(0x110000)).encode()).hexdigest())
for form in ("NFC", "NFD", "NFKC", "NFKD"):
    h = hashlib.sha256()
    for c in range(0x110000):
        if 0xD800 <= c < 0xE000:
            continue
        h.update(unicodedata.normalize(form, "a" + chr(c) + "\u0307\u0323\u3099\u0301").encode())
    print(form, h.hexdigest())
odd = [0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0, 0xE1, 0xED, 0xEF, 0xF0, 0xF1, 0xF4, 0xF5, 0xFF]
h = hashlib.sha256()
for t in itertools.product(odd, repeat=4):
    h.update(bytes(t).decode("utf-8", "replace").encode())
print("replace", h.hexdigest())
