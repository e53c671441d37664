#!/usr/bin/env python3
"""K samples a question end to end: `distill generate` against llama.cpp's server, the same questions, file, threads, sampling and length of answers.
    scripts/bench_answers.py DISTILL MODEL [--data FILE.jsonl] [--questions 8] [--samples 8] [--prompt 256] [--tokens 64] [--threads 2] [--free]
                             [--server LLAMA_SERVER]
--data takes questions of a real file (members question or prompt) instead of made ones of --prompt tokens; answers are of just --tokens tokens, unless
--free lets them end by themselves. The server is llama.cpp's own, in a process of its own: the program --server (built for the machine), or what the Python
package xllamacpp brings; with flash attention, its prompt cache, continuous batching and a unified cache of keys and values, tried at several numbers of slots (--slots 8,32): the best counts. The questions come one after the other, so that
each finds its prompt in a slot. Its load is not counted, ours is."""
import argparse
import concurrent.futures
import json
import os
import random
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

a = argparse.ArgumentParser()
a.add_argument("distill"), a.add_argument("model")
for name, value in (("questions", 8), ("samples", 8), ("prompt", 256), ("tokens", 64), ("threads", os.cpu_count())):
    a.add_argument(f"--{name}", type=int, default=value)
a.add_argument("--server"), a.add_argument("--data"), a.add_argument("--slots", default="8,32"), a.add_argument("--free", action="store_true")
a.add_argument("--ours-alone", action="store_true"), a.add_argument("--theirs-alone", action="store_true")
a = a.parse_args()

SERVER = """
import sys, time, xllamacpp
model, threads, slots, context = sys.argv[1], *map(int, sys.argv[2:5])
p = xllamacpp.CommonParams()
p.model.path = model
p.n_parallel, p.n_ctx, p.n_gpu_layers, p.kv_unified, p.cont_batching, p.cache_prompt, p.verbosity = slots, slots * context, 0, True, True, True, -1
p.cpuparams.n_threads = p.cpuparams_batch.n_threads = threads
s = xllamacpp.Server(p)
print(s.listening_address, flush=True)
sys.stdin.read()
"""


def count(text, folder):
    path = os.path.join(folder, "t.txt")
    open(path, "w").write(text)
    out = subprocess.run([a.distill, "tokenize", "--model", a.model, path, "--json"], capture_output=True, text=True, check=True).stdout
    return len(json.loads(out.splitlines()[0])["tokens"])


def questions(folder):
    if a.data:
        rows = [json.loads(line) for line in open(a.data)][: a.questions]
        return [r.get("question") or r.get("prompt") for r in rows]
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
                    "--parallel", "64", "--temperature", "1", "--top-p", "1", "--threads", str(a.threads), "-q"]
                   + ([] if a.free else ["--min-tokens", str(a.tokens), "--no-loop-guard"]), check=True, capture_output=True)
    seconds = time.time() - began
    return seconds, sqlite3.connect(study).execute("select count(*), sum(completion_tokens) from samples").fetchone()


def ask(url, body):
    r = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(r, timeout=3600))


def theirs(asked, slots):
    context = a.tokens + (a.prompt if not a.data else 400) + 64
    command = [sys.executable, "-c", SERVER, a.model, str(a.threads), str(slots), str(context)]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    if a.server:
        command = [a.server, "-m", a.model, "-t", str(a.threads), "-tb", str(a.threads), "-np", str(slots), "-c", str(slots * context), "--host", "127.0.0.1",
                   "--port", str(port), "-fa", "on", "-kvu", "-cb"]
    p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL if a.server else subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        url = f"http://127.0.0.1:{port}" if a.server else p.stdout.readline().strip()
        url = url if url.startswith("http") else "http://" + url
        while a.server: # until it has loaded
            try:
                urllib.request.urlopen(url + "/health", timeout=5)
                break
            except OSError:
                time.sleep(0.2)
                if p.poll() is not None:
                    sys.exit(f"  peer llama.cpp's server: it ended with {p.returncode}")
        body = lambda q, s: {"messages": [{"role": "user", "content": q}], "max_tokens": a.tokens, "temperature": 1, "top_p": 1, "top_k": 0, "min_p": 0,
                             "seed": s, "cache_prompt": True, "ignore_eos": not a.free}
        ask(url + "/v1/chat/completions", {**body("Hello", 0), "max_tokens": 1})
        jobs = [(q, s) for q in asked for s in range(a.samples)]
        began = time.time()
        with concurrent.futures.ThreadPoolExecutor(slots) as pool:
            out = list(pool.map(lambda j: ask(url + "/v1/chat/completions", body(*j)), jobs))
        return time.time() - began, (len(out), sum(o["usage"]["completion_tokens"] for o in out))
    finally:
        p.kill()
        p.wait()


def say(name, seconds, n, tokens):
    print(f"  {name:26} {n} answers, {tokens} tokens in {seconds:.2f} s, {tokens / seconds:.1f} tok/s", flush=True)
    return tokens / seconds


with tempfile.TemporaryDirectory() as folder:
    asked, mine, best = questions(folder), 0, 0
    if not a.theirs_alone:
        seconds, (n, tokens) = ours(asked, folder)
        mine = say("distill generate", seconds, n, tokens)
    if a.server and not os.access(a.server, os.X_OK):
        a.server = None
    if not a.server and not a.ours_alone:
        try:
            import xllamacpp
        except ImportError:
            sys.exit("  peer llama.cpp's server: absent (--server, or the Python package xllamacpp)")
    for slots in [] if a.ours_alone else map(int, a.slots.split(",")):
        seconds, (n, tokens) = theirs(asked, slots)
        best = max(best, say(f"llama.cpp's server, {slots} slots", seconds, n, tokens))
    if mine and best:
        print(f"  {mine / best:.2f} times as many tokens a second")
