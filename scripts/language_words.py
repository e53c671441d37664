#!/usr/bin/env python3
"""Counts words in the translations of programs (LANG/LC_MESSAGES/*.mo) and writes the ones that tell a language, beside those of our own writing.

  scripts/language_words.py /usr/share/locale [WORDS_A_LANGUAGE] >datasets/language_common.h

A word is taken for a language if it is common there in many programs (so no program's own terms) and not much less common than elsewhere. Words in
datasets/language_words.h for that language, words of one letter, and untranslated messages are left out. Only words are kept, no text. None for English: more of its words
make translations that keep a term of it foreign (tests/datasets/test_language.c, test_shares).
"""
import collections, gettext, glob, os, re, sys

here = os.path.join(os.path.dirname(__file__), "..", "datasets", "language_words.h")
most = int(sys.argv[2]) if len(sys.argv) > 2 else 200
known = {}
for code, words in re.findall(r'^\{"(\w\w)", ((?:\s*"[^"]*"\s*)+)\},', open(here, encoding="utf-8").read().split("letter_lists")[0], re.M):
    known[code] = set("".join(re.findall(r'"([^"]*)"', words)).split())
folders = {"nb": "no", "pt_BR": "pt"}
count, programs = (collections.defaultdict(collections.Counter) for _ in range(2))
total = collections.Counter()
for path in sorted(glob.glob(os.path.join(sys.argv[1], "*", "LC_MESSAGES", "*.mo"))):
    folder = path.split(os.sep)[-3]
    code = folders.get(folder, folder)
    if code not in known and code != "en":
        continue
    try:
        with open(path, "rb") as f:
            catalog = gettext.GNUTranslations(f)._catalog
    except Exception:
        continue
    seen = set()
    for source, text in catalog.items():
        source = source[0] if isinstance(source, tuple) else source
        if not source or not isinstance(text, str) or text == source:
            continue
        for lang, t in ((code, text), ("en", source)) if folder in ("de", "fr") else ((code, text),):
            for w in re.findall(r"[^\W\d_]+", re.sub(r"%[-\d.]*\w|<[^>]*>|[-\w]*[-_=/\\]\w+", " ", t)):
                if len(w) > 1 and not w.isupper():
                    w = w.lower()
                    count[lang][w] += 1
                    total[lang] += 1
                    if (lang, w) not in seen:
                        seen.add((lang, w))
                        programs[lang][w] += 1
print("""/* datasets/language_common.h - more words that are common in a language, counted in the translations of programs by scripts/language_words.py. A word that
 * another language has nearly as often stands for both. Included by language.c alone. */
/* clang-format off */
static const struct {
    char code[4];
    const char *words;
} common_lists[] = {""")
share = lambda lang, w: count[lang][w] / total[lang]
for lang in known:
    if total[lang] < 2000 or lang == "en":  # its own list is long, and programs leave English in what they translate
        continue
    ranked = []
    for w, n in programs[lang].most_common(4000):
        if n < 5 or w in known[lang] or not all(c < "\u0800" for c in w):
            continue
        elsewhere = sorted((share(o, w) for o in known if o != lang and total[o] >= 2000), reverse=True)
        if share(lang, w) >= 0.4 * elsewhere[0] and share(lang, w) >= elsewhere[2 if len(elsewhere) > 2 else -1]:
            ranked.append(w)
    line, lines = "", []
    for w in sorted(ranked[:most]):
        if len(line) + len(w) > 140:
            lines.append(line)
            line = ""
        line += w + " "
    lines.append(line.rstrip())
    print('{"%s", %s},' % (lang, "\n       ".join('"%s"' % x for x in lines)))
print("};\n/* clang-format on */")
