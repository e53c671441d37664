#!/usr/bin/env python3
"""A remote teacher against a real llama.cpp server, killed by SIGKILL again and again, and finished: every answer once, what was lost counted.

    scripts/soak_llama.py BUILD_DIR MODEL.gguf     QUESTIONS=1000 SAMPLES=4 MAX_TOKENS=16 KILLS=10 SEED=1 THREADS=processors (1 where others compute)

The server is llama.cpp's own, of the Python package xllamacpp, in this process. Exit status 1: a check said no; 77: no xllamacpp here."""
import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request
import zlib

try:
    import xllamacpp
except ImportError:
    print("soak_llama: absent: the Python package xllamacpp")
    sys.exit(77)

build, model = sys.argv[1], sys.argv[2]
questions, samples, most, kills = (int(os.environ.get(k, d)) for k, d in (("QUESTIONS", 1000), ("SAMPLES", 4), ("MAX_TOKENS", 16), ("KILLS", 10)))
rng = random.Random(int(os.environ.get("SEED", 1)))
PRICE_IN, PRICE_OUT = 1.0, 2.0  # USD a million tokens; a token is at least a millionth of a dollar, so nothing rounds away


def serve():
    p = xllamacpp.CommonParams()
    p.model.path = model
    p.n_parallel, p.n_ctx, p.n_gpu_layers, p.endpoint_metrics, p.verbosity = 16, 16 * 256, 0, True, -1
    p.cpuparams.n_threads = p.cpuparams_batch.n_threads = int(os.environ.get("THREADS", os.cpu_count()))
    return xllamacpp.Server(p)


def metric(url, name):
    text = urllib.request.urlopen(url + "/metrics").read().decode()
    return int(float(next(line.split()[1] for line in text.splitlines() if line.startswith("llamacpp:" + name + " "))))


def one(study, query):
    db = sqlite3.connect(f"file:{study}?mode=ro", uri=True, timeout=60)
    try:
        return db.execute(query).fetchone()[0]
    finally:
        db.close()


def check(name, ok):
    print(("ok   " if ok else "FAIL ") + name, flush=True)
    return ok


def main():
    server = serve()
    work = tempfile.TemporaryDirectory(prefix="kd-llama-")
    study, out = work.name + "/s.study", open(work.name + "/out", "w+")
    with open(work.name + "/q.jsonl", "w") as f:
        for i in range(questions):
            f.write(json.dumps({"question": f"What is {i} + {3 * i % 97}?", "answer": str(i + 3 * i % 97)}) + "\n")
    distill = build + "/distill"
    subprocess.run([distill, "import", study, work.name + "/q.jsonl", "-q"], check=True)
    command = [distill, "generate", study, "--teacher", server.listening_address + "/v1", "--teacher-model", "m", "--samples", str(samples),
               "--max-tokens", str(most), "--temperature", "1", "--concurrency", "24", "--price-input", str(PRICE_IN), "--price-output", str(PRICE_OUT), "-q"]
    wanted, done_kills, began = questions * samples, 0, time.monotonic()
    at = sorted(rng.sample(range(wanted // 50, wanted * 49 // 50), kills))  # answers there when it is to be killed, and a random while more
    code = None
    while code is None:
        child = subprocess.Popen(command, stdout=out, stderr=out)
        if done_kills < kills:
            while child.poll() is None and one(study, "SELECT count(*) FROM samples") < at[done_kills]:
                time.sleep(0.2)
            time.sleep(rng.random() * 0.3)
            if child.poll() is None:
                child.send_signal(signal.SIGKILL)
                child.wait()
                done_kills += 1
                continue
        code = child.wait()
    out.seek(0)
    if code:
        print(f"distill generate ended with {code}: {out.read()[-2000:]}")
        return 1
    ids, finish = set(), {}
    db = sqlite3.connect(study)
    for body, f in db.execute("SELECT b.body, s.finish FROM samples s JOIN bodies b ON b.sample=s.id"):
        ids.add(json.loads(zlib.decompress(body))["id"])
        finish[f] = finish.get(f, 0) + 1
    db.close()
    lost = one(study, "SELECT count(*) FROM attempts WHERE reason='lost'")
    # A model may say nothing at all: that is asked once more, and the try is paid by its usage.
    empty = one(study, "SELECT count(*) FROM attempts WHERE reason LIKE 'an empty answer%'")
    told = one(study, "SELECT total(completion_tokens) FROM totals")
    paid, lost_cost = one(study, "SELECT total(cost) FROM totals"), one(study, "SELECT total(cost) FROM attempts WHERE reason='lost'")
    usage = one(study, f"SELECT total(prompt_tokens)*{PRICE_IN}e-6 + total(completion_tokens)*{PRICE_OUT}e-6 FROM totals")
    made = metric(server.listening_address, "tokens_predicted_total")
    print(f"{questions} questions x {samples}, {most} tokens at most, {done_kills} kills, {time.monotonic() - began:.0f} s; finished: {finish}")
    print(f"{lost} tries lost and charged ${lost_cost:.6f} at their worst; {empty} answers were empty and asked again; all that came home ${usage:.6f} by their usage; the study's total ${paid:.6f}")
    print(f"tokens: the server made {made}, what came home says {told:.0f}, the lost may have had {made - told:.0f}")
    ok = check(f"killed {kills} times", done_kills == kills)
    ok &= check(f"{wanted} answers, each (question, number) once", one(study, "SELECT count(*) FROM samples") == wanted
                and one(study, "SELECT count(DISTINCT prompt*1000+number) FROM samples") == wanted)
    ok &= check("each answer is a completion of its own (ids of the bodies)", len(ids) == wanted)
    ok &= check("no lease is left, and no failure but what was lost or empty", one(study, "SELECT count(*) FROM leases") == 0
                and one(study, "SELECT count(*) FROM attempts") == lost + empty)
    ok &= check("what the server made beyond what came home is no more than was counted as lost", 0 <= made - told <= lost * most)
    ok &= check("total = usage of what came home + the lost at their worst", abs(paid - usage - lost_cost) < 1e-9 * max(1, paid))
    again = subprocess.run(command + ["--json"], capture_output=True, text=True)
    ok &= check("run again: nothing is asked", again.returncode == 0 and json.loads(again.stdout)["answered"] == 0
                and metric(server.listening_address, "tokens_predicted_total") == made)
    return 0 if ok else 1


status = main()
sys.stdout.flush()
os._exit(status)  # the server's threads are not waited for
