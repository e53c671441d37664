#!/usr/bin/env python3
"""Text measures, language and near-duplicates beside datatrove, langdetect and datasketch, both in one run.

  scripts/bench_labels.py BUILD/tests/datasets/bench_measures [MAN_DIR]

Speed: the same texts of about 2,000 tokens for both sides, processor time of one core. datatrove's words are cut by str.split (its own cutter wants
spaCy, which is slower). Accuracy: with MAN_DIR (a folder of LANG/man*/*.gz, as Debian's manpages-LANG packages unpack to /usr/share/man), paragraphs of the
manual pages, whole and cut to about 60 letters; English from Python's own manual. A peer that is absent is said to be absent.
"""
import glob, gzip, json, os, random, re, subprocess, sys, tempfile, time

bench = sys.argv[1]


def speed():
    path = os.path.join(tempfile.mkdtemp(), "texts.jsonl")
    subprocess.run([bench, "--write", path, "300"], check=True)
    print(subprocess.run([bench, path], check=True, capture_output=True, text=True).stdout, end="")
    texts = [json.loads(line)["text"] for line in open(path)]
    try:
        from datatrove.data import Document
        from datatrove.pipeline.filters import gopher_repetition_filter as g

        g.split_into_words = lambda text, language: text.split()
        f, some = g.GopherRepetitionFilter(), texts[:100]
        start = time.process_time()
        for t in some:
            f.filter(Document(text=t, id="1"))
        t = time.process_time() - start
        print("  datatrove GopherRepetitionFilter   %8.2f MB/s a core" % (sum(len(t.encode()) for t in some) / t / 1e6))
    except ImportError as e:
        print("  peer datatrove: absent (%s)" % e)
    try:
        import langdetect

        langdetect.DetectorFactory.seed = 0
        langdetect.detect("warm up the profiles")
        some = texts[:50]
        start = time.process_time()
        for t in some:
            langdetect.detect(t)
        t = time.process_time() - start
        print("  langdetect detect                  %8.2f MB/s a core" % (sum(len(t.encode()) for t in some) / t / 1e6))
    except ImportError as e:
        print("  peer langdetect: absent (%s)" % e)


def near_duplicates(n=3000):
    dedup = os.path.join(os.path.dirname(bench), "bench_dedup")
    if not os.path.exists(dedup):
        return
    path = os.path.join(tempfile.mkdtemp(), "questions.jsonl")
    subprocess.run([dedup, "--write", path, str(n)], check=True)
    print(subprocess.run([dedup, str(n)], check=True, capture_output=True, text=True).stdout, end="")
    texts = [json.loads(line)["text"] for line in open(path)]
    try:
        from datasketch import MinHash, MinHashLSH
    except ImportError as e:
        print("  peer datasketch: absent (%s)" % e)
        return
    start, lsh, met = time.process_time(), MinHashLSH(params=(21, 6), num_perm=126), 0
    for i, t in enumerate(texts):
        w = re.findall(r"\w+", t.lower())
        m = MinHash(num_perm=126)
        m.update_batch([" ".join(w[k : k + 5]).encode() for k in range(max(1, len(w) - 4))])
        met += bool(lsh.query(m))
        lsh.insert(str(i), m)
    t = time.process_time() - start
    print("  datasketch MinHashLSH (21, 6), the same questions: %.0f questions/s, %d like one before" % (n / t, met))


def man_paragraphs(path):
    text = gzip.open(path, "rb").read().decode("utf-8", "replace")
    for block in re.split(r"\n(?=[.'])[^\n]*\n|\n\s*\n", text):
        block = "\n".join(line for line in block.split("\n") if line[:1] not in ".'")
        block = re.sub(r"\\f\(?[A-Z]{1,2}|\\f\[[A-Z]*\]|\\s[-+]?\d|\\[&%/,|]", "", block)
        block = re.sub(r"\\\((\w\w|.')|\\\[\w+\]|\\e|\\-|\\ ", "-", block).replace("\n", " ").strip()
        if sum(c.isalpha() for c in block) > 120 and "\\" not in block:
            yield block


def paragraphs(man):
    found = {}
    english = {p for path in glob.glob(os.path.join(man, "man*/*.gz")) if not os.path.islink(path) for p in man_paragraphs(path)}
    for folder in sorted(glob.glob(os.path.join(man, "*"))):
        lang = {"nb": "no", "pt_BR": "pt", "zh_CN": "zh", "zh_TW": "zh"}.get(os.path.basename(folder), os.path.basename(folder))
        if lang == "sr":  # neither side knows Serbian
            continue
        for path in sorted(glob.glob(folder + "/man*/*.gz")):
            if not os.path.islink(path):
                found.setdefault(lang, []).extend(p for p in man_paragraphs(path) if p not in english)  # nobody translated those
    import pydoc_data.topics

    for text in pydoc_data.topics.topics.values():
        found.setdefault("en", []).extend(p.replace("\n", " ") for p in text.split("\n\n") if sum(c.isalpha() for c in p) > 120)
    rng = random.Random(1)
    return {lang: rng.sample(sorted(set(ps)), min(100, len(set(ps)))) for lang, ps in sorted(found.items())}


def cut(p):
    return p[: p.find(" ", 60)] if p.find(" ", 60) > 0 else p


def ours(texts):
    path = os.path.join(tempfile.mkdtemp(), "texts.jsonl")
    with open(path, "w") as f:
        for t in texts:
            f.write(json.dumps({"text": t}) + "\n")
    return subprocess.run([bench, "--languages", path], check=True, capture_output=True, text=True).stdout.split()


def accuracy(man):
    found = paragraphs(man)
    theirs = None
    try:
        import langdetect

        def theirs(texts):
            out = []
            for t in texts:
                langdetect.DetectorFactory.seed = 0
                try:
                    out.append(langdetect.detect(t)[:2])
                except langdetect.lang_detect_exception.LangDetectException:
                    out.append("und")
            return out
    except ImportError as e:
        print("  peer langdetect: absent (%s)" % e)
    print("language of paragraphs of manual pages, right of all: ours / langdetect")
    total = [0] * 5
    for lang, ps in found.items():
        row = []
        for texts in (ps, [cut(p) for p in ps]):
            row.append(sum(a == lang for a in ours(texts)))
            row.append(sum(a == lang for a in theirs(texts)) if theirs else 0)
        print("  %-3s %4d   whole %3d / %3d   cut to 60 letters %3d / %3d" % (lang, len(ps), *row))
        total = [a + b for a, b in zip(total, [len(ps)] + row)]
    n = total[0]
    print("  all %4d   whole %.1f%% / %.1f%%   cut to 60 letters %.1f%% / %.1f%%" % (n, *(100 * x / n for x in total[1:])))


speed()
near_duplicates()
if len(sys.argv) > 2:
    accuracy(sys.argv[2])
