#!/usr/bin/env python3
"""K samples a question end to end: `distill generate` against llama.cpp's server, the same questions, file, threads and length of answers.
    scripts/bench_answers.py DISTILL MODEL LLAMA_SERVER [--questions 8] [--samples 8] [--prompt 256] [--tokens 64] [--threads 2]
The server gets its prompt cache, continuous batching, a unified cache of keys and values and one slot a sample in flight; the questions come one
after the other, so that each finds its prompt in a slot. Its load is not counted, ours is. Standard library only."""
import argparse
import concurrent.futures
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

a = argparse.ArgumentParser()
a.add_argument("distill"), a.add_argument("model"), a.add_argument("server")
for name, value in (("questions", 8), ("samples", 8), ("prompt", 256), ("tokens", 64), ("threads", os.cpu_count())):
    a.add_argument(f"--{name}", type=int, default=value)
a = a.parse_args()


def count(text, folder):
    path = os.path.join(folder, "t.txt")
    open(path, "w").write(text)
    out = subprocess.run([a.distill, "tokenize", "--model", a.model, path, "--json"], capture_output=True, text=True, check=True).stdout
    return len(json.loads(out.splitlines()[0])["tokens"])


def questions(folder):
    rng = random.Random(3)
    words = "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which one you".split()
    unit = " ".join(rng.choice(words) for _ in range(64))
    length = max(1, round(64 * a.prompt / count(unit, folder)))
    return [" ".join(rng.choice(words) for _ in range(length)) for _ in range(a.questions)]


def ours(asked, folder):
    lines, study = os.path.join(folder, "q.jsonl"), os.path.join(folder, "s.study")
    with open(lines, "w") as f:
        for q in asked:
            f.write(json.dumps({"prompt": q}) + "\n")
    subprocess.run([a.distill, "import", study, lines, "-q"], check=True, capture_output=True)
    began = time.time()
    subprocess.run([a.distill, "generate", study, "--teacher", a.model, "--samples", str(a.samples), "--max-tokens", str(a.tokens),
                    "--parallel", "64", "--temperature", "1", "--threads", str(a.threads), "-q"], check=True, capture_output=True)
    seconds = time.time() - began
    import sqlite3

    row = sqlite3.connect(study).execute("select count(*), sum(completion_tokens) from samples").fetchone()
    return seconds, row


def ask(url, body):
    r = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(r, timeout=3600))


def theirs(asked):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    slots = min(32, a.questions * a.samples)
    p = subprocess.Popen([a.server, "-m", a.model, "--port", str(port), "-t", str(a.threads), "-tb", str(a.threads), "-np", str(slots), "-kvu",
                          "-c", str(slots * (a.prompt + a.tokens + 64)), "--no-webui"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        for _ in range(600):
            try:
                urllib.request.urlopen(url + "/health", timeout=5)
                break
            except OSError:
                time.sleep(0.1)
        jobs = [(q, s) for q in asked for s in range(a.samples)]
        body = lambda q, s: {"messages": [{"role": "user", "content": q}], "max_tokens": a.tokens, "temperature": 1, "seed": s, "cache_prompt": True}
        began = time.time()
        with concurrent.futures.ThreadPoolExecutor(slots) as pool:
            out = list(pool.map(lambda j: ask(url + "/v1/chat/completions", body(*j)), jobs))
        return time.time() - began, (len(out), sum(o["usage"]["completion_tokens"] for o in out))
    finally:
        p.terminate()
        p.wait()


with tempfile.TemporaryDirectory() as folder:
    asked = questions(folder)
    seconds, (n, tokens) = ours(asked, folder)
    print(f"distill generate: {n} answers, {tokens} tokens in {seconds:.2f} s, {tokens / seconds:.1f} tok/s, start included", flush=True)
    if not os.access(a.server, os.X_OK):
        sys.exit("peer llama-server: absent")
    seconds, (n, tokens) = theirs(asked)
    print(f"llama-server:     {n} answers, {tokens} tokens in {seconds:.2f} s, {tokens / seconds:.1f} tok/s")
