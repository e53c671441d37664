#!/usr/bin/env python3
"""An exported GGUF in llama.cpp's own server: does it answer as it does here, and is that server a teacher like any other?
    scripts/check_llama.py DISTILL MODEL.gguf QUESTIONS.jsonl [--limit 24] [--tokens 48] [--samples 4] [--threads 2]
1. Every question's prompt is rendered and tokenized here and continued there, greedily: the log-probability that the server gives each of its tokens, against
   `distill score` on the same ids (the server rounds activations to 8 bits, and keys and values to 16; we do not).
2. The questions asked greedily of `distill generate --exact` and of the server as a remote teacher: how many answers are the same, word for word.
3. K sampled answers a question from the server, streamed: each question K times, nothing twice, usage counted.
The server is llama.cpp's, prebuilt in the PyPI package xllamacpp. Ends 1 when a check fails."""
import argparse
import json
import os
import sqlite3
import subprocess
import sys
import tempfile
import time
import urllib.request

p = argparse.ArgumentParser()
p.add_argument("distill"), p.add_argument("model"), p.add_argument("questions")
for name, value in (("limit", 24), ("tokens", 48), ("samples", 4), ("threads", os.cpu_count())):
    p.add_argument(f"--{name}", type=int, default=value)
p.add_argument("--median", type=float, default=0.02, help="nats that half of the tokens' log-probabilities may differ by")
p.add_argument("--most", type=float, default=0.5, help="nats that 99 % may; a file of 16-bit weights stays under 0.02")
a = p.parse_args()


def serve():
    """A llama.cpp server of its own process, so that its end is ours to say; its address on a line."""
    code = (
        "import sys, time, xllamacpp as x\n"
        "c = x.CommonParams(); c.model.path = sys.argv[1]; c.n_parallel = 8; c.n_ctx = 8 * 1024; c.port = 0\n"
        "c.cpuparams.n_threads = c.cpuparams_batch.n_threads = int(sys.argv[2]); c.use_jinja = True\n"
        "s = x.Server(c); print(s.listening_address, flush=True); time.sleep(1e9)\n"
    )
    server = subprocess.Popen([sys.executable, "-c", code, a.model, str(a.threads)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    for line in server.stdout:
        if line.startswith("http"):
            url = line.strip()
            break
    else:
        sys.exit("check_llama: the server did not start")
    while True:
        try:
            urllib.request.urlopen(url + "/health", timeout=5)
            return server, url
        except OSError:
            time.sleep(0.2)


def run(*words):
    r = subprocess.run([a.distill, *map(str, words), "-q"], capture_output=True, text=True)
    if r.returncode:
        sys.exit(f"check_llama: {' '.join(map(str, words))}: exit {r.returncode}: {r.stderr[-500:]}")
    return r.stdout


def answers(study):
    db = sqlite3.connect(study)
    return {k: v for k, *v in db.execute("SELECT hex(p.hash) || ':' || s.number, coalesce(s.thought, ''), s.answer, s.finish, s.completion_tokens FROM samples s JOIN prompts p ON p.id=s.prompt")}


def post(url, body):
    r = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(r, timeout=600))


def logprobs(url, folder, asked):
    """Differences in nats between the server's log-probability of each token it chose and ours, and how often ours was another token."""
    chats, texts = os.path.join(folder, "chats.jsonl"), os.path.join(folder, "ids.jsonl")
    open(chats, "w").writelines(json.dumps({"messages": [{"role": "user", "content": q}]}) + "\n" for q in asked)
    rendered = [json.loads(l) for l in run("render", "--model", a.model, chats, "--add-generation-prompt", "--json").splitlines()]
    rows = []
    for r in rendered:
        said = post(url + "/completion", {"prompt": r["tokens"], "n_predict": a.tokens, "temperature": 0, "n_probs": 1, "post_sampling_probs": False, "cache_prompt": False})
        rows.append((r["tokens"], [(c["id"], c["logprob"]) for c in said["completion_probabilities"]]))
    open(texts, "w").writelines(json.dumps({"tokens": ids + [t for t, _ in said]}) + "\n" for ids, said in rows)
    differences, others = [], 0
    for (ids, said), line in zip(rows, run("score", "--model", a.model, texts, "--json", "--top", 1, "--threads", a.threads).splitlines()):
        scored = json.loads(line)
        for i, (token, logprob) in enumerate(said):
            at = len(ids) + i - 1
            differences.append(abs(scored["logprobs"][at] - logprob))
            others += scored["top"][at][0][0] != token
    return sorted(differences), others


failed = 0


def check(ok, text):
    global failed
    failed += not ok
    print(("ok    " if ok else "FAIL  ") + text)


with tempfile.TemporaryDirectory() as folder:
    lines = [json.loads(l) for l in open(a.questions)][: a.limit]
    asked = os.path.join(folder, "q.jsonl")
    open(asked, "w").writelines(json.dumps({"question": l["question"], "answer": str(l.get("answer", "")).split("####")[-1].strip()}) + "\n" for l in lines)
    ours, theirs, many = (os.path.join(folder, n) for n in ("ours.db", "theirs.db", "many.db"))
    for study in (ours, theirs, many):
        run("import", study, asked, "--split", "train", "--task", "math")
    run("generate", ours, "--teacher", a.model, "--exact", "--temperature", 0, "--max-tokens", a.tokens, "--threads", a.threads)
    server, url = serve()
    try:
        near, others = logprobs(url, folder, [l["question"] for l in lines])
        remote = ("--teacher", url + "/v1", "--teacher-model", "m", "--max-tokens", a.tokens, "--concurrency", 8)
        run("generate", theirs, *remote, "--temperature", 0)
        run("generate", many, *remote, "--temperature", 0.8, "--samples", a.samples, "--stream")
    finally:
        server.kill()
    mine, his, sampled = answers(ours), answers(theirs), answers(many)
    same = sum(mine[k][:2] == his.get(k, [None])[:2] for k in mine)
    print(f"{os.path.basename(a.model)}, {len(mine)} questions, at most {a.tokens} tokens of answer")
    check(near[len(near) // 2] < a.median and near[int(len(near) * 0.99)] < a.most, f"log-probabilities of {len(near)} tokens that llama.cpp chose, theirs against ours: median {near[len(near) // 2]:.4f}, 99 % {near[int(len(near) * 0.99)]:.4f}, largest {near[-1]:.4f} nats; {others} would have been another token here")
    check(set(mine) == set(his), f"asked greedily as a teacher, it answered every question once; {same} of {len(mine)} answers are ours word for word")
    check(len(sampled) == a.samples * len(mine), f"sampled, streamed: {len(sampled)} of {a.samples * len(mine)} answers, each once, {sum(v[3] or 0 for v in sampled.values())} tokens by its usage")
    check(all(v[2] in ("stop", "length") for v in sampled.values()), "each with the server's finish reason")
sys.exit(failed > 0)
