#!/usr/bin/env python3
"""Labels of a whole study: rows and MB a second, memory, a kill in the middle, and what 1 % of new rows cost afterwards.

  scripts/bench_scale.py BUILD [SHORT [LONG]]     rows of about 300 bytes (1,000,000) and of about 2,000 tokens (50,000); 0 leaves one out

The default labels over the short rows, those that share the walk over the long ones. Processor time is that of all threads together, so
that other work on the machine does not count. Exit status 1: a row lacks a label after the kill, one judged before it was judged again, or
the new rows are not the only ones looked at.
"""
import json, os, random, shutil, signal, sqlite3, subprocess, sys, tempfile, time

build = sys.argv[1]
distill = os.path.join(build, "distill")
sizes = [int(a) for a in sys.argv[2:4]] + [1000000, 50000][len(sys.argv[2:4]) :]
SHARED = "repeats,empty,language,lang,format,truncated,longest_line,longest_paragraph,turns,waits,corrections,refusal,copied"
threads = str(len(os.sched_getaffinity(0)))


def write(path, texts, first, n, length):
    rng, total = random.Random(first), 0
    with open(path, "w") as f:
        for i in range(first, first + n):
            t = texts[i % len(texts)]
            cut = t.find(" ", rng.randrange(len(t) - 600))
            t = (t[cut:] + t[:cut])[:length] + "\n#### %d" % (i % 7)
            total += len(t.encode())
            f.write(json.dumps({"prompt": "Question %d: %s" % (i, t[40:200]), "answer": str(i % 5), "completion": t}) + "\n")
    return total


def run(*words, kill=None):
    """The report of a run that ended, its processor and wall seconds and most memory; with kill, it is killed once kill() is true."""
    start = time.time()
    p = subprocess.Popen([distill, *words, "--threads", threads, "--json", "-q"], stdout=subprocess.PIPE, text=True)
    while kill and p.poll() is None and not kill():
        time.sleep(0.05)
    if kill and p.poll() is None:
        p.send_signal(signal.SIGKILL)
    out = p.stdout.read()
    _, status, used = os.wait4(p.pid, 0) if p.returncode is None else (0, p.returncode, None)
    if status and not kill:
        sys.exit("%s: status %d" % (" ".join(words), status))
    cpu = used.ru_utime + used.ru_stime if used else 0
    return json.loads(out.splitlines()[-1]) if out else {}, cpu, time.time() - start, used.ru_maxrss / 1024 if used else 0, status


def ask(study, sql):
    db = sqlite3.connect("file:%s?mode=ro" % study, uri=True)
    try:
        return db.execute(sql).fetchone()[0]
    finally:
        db.close()


def scale(what, texts, n, length, checks):
    failed, room = 0, tempfile.mkdtemp()
    study, rows = os.path.join(room, "s.study"), os.path.join(room, "rows.jsonl")
    try:
        mb = write(rows, texts, 0, n, length) / 1e6
        _, cpu, wall, top, _ = run("import", study, rows)
        print("%s: %d rows, %.0f MB of answers; import %.1f s of processor time, %.1f by the clock, %.0f MB resident" % (what, n, mb, cpu, wall, top))
        label = ["label", study] + (["--checks", checks] if checks else [])
        sql = "SELECT coalesce(max(sample), 0) FROM labels"
        *_, status = run(*label, kill=lambda: ask(study, sql) > n // 3)
        done = ask(study, "SELECT count(DISTINCT sample) FROM labels")
        r, cpu, wall, top, _ = run(*label)
        rest = n - done
        failed += r["samples"] != rest
        print("  killed (status %d) behind %d rows, gone on over %d: %.1f s of processor time, %.1f by the clock, %.0f MB resident" % (status, done, r["samples"], cpu, wall, top))
        print("  %.0f rows and %.1f MB a second of processor time; %.0f and %.1f by the clock, %s threads" % (rest / cpu, mb * rest / n / cpu, rest / wall, mb * rest / n / wall, threads))
        write(rows, texts, n, n // 100, length)
        run("import", study, rows)
        r, cpu, wall, top, _ = run(*label)
        failed += r["samples"] != n // 100
        print("  1 %% new rows (%d), labelled %d: %.2f s of processor time, %.2f by the clock, %.0f MB resident" % (n // 100, r["samples"], cpu, wall, top))
        r, cpu, wall, _, _ = run(*label)
        failed += r["samples"] != 0
        print("  nothing new: %.2f s of processor time, %.2f by the clock" % (cpu, wall))
        names = ask(study, "SELECT count(DISTINCT name) FROM labels WHERE sample <= 100")
        total = ask(study, "SELECT count(*) FROM labels")
        if total != names * (n + n // 100):
            failed += 1
            print("  %d labels, %d expected" % (total, names * (n + n // 100)))
    finally:
        shutil.rmtree(room)
    return failed


with tempfile.TemporaryDirectory() as d:
    path = os.path.join(d, "texts.jsonl")
    subprocess.run([os.path.join(build, "tests/datasets/bench_measures"), "--write", path, "2000"], check=True)
    texts = [json.loads(line)["text"] for line in open(path)]
bad = 0
if sizes[0]:
    bad += scale("short", texts, sizes[0], 300, None)
if sizes[1]:
    bad += scale("long", texts, sizes[1], 8000, SHARED)
sys.exit(1 if bad else 0)
