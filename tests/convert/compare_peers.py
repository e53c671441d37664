#!/usr/bin/env python3
"""Every type and mix that convert writes, loaded by llama.cpp and by transformers, and what they think of each next token compared with what we think.
By hand, where the peers are:
    tests/convert/compare_peers.py BUILD_DIR LLAMA_CPP_BIN MODEL TEXT [TYPE...]
MODEL: what convert takes, rows of 256 so that the K types have a place; TEXT: a file of some hundred tokens. Mixtures of experts (golden/moe), which we do not
run, are compared between the two. Prints a line each; exit status 1 if something is not loaded or too far off. llama-perplexity's own
file of log-probabilities is read (16 bits each); its products quantize activations to 8 bits, so quantized types are apart by more than F32."""
import json, os, struct, subprocess, sys, tempfile
import gguf
import numpy as np

build, peer, model, text = sys.argv[1:5]
distill = os.path.join(build, "distill")
TYPES = sys.argv[5:] or ("f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs mxfp4 "
                         "q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m").split()
CONTEXT = 64
here = os.path.dirname(os.path.abspath(__file__))
work = tempfile.mkdtemp()
failed = 0


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE).stdout


def llama(path, file):
    """Tokens [chunks, CONTEXT], and log-probabilities [chunks, CONTEXT/2 - 1, V] of what follows places CONTEXT/2 ... of each chunk."""
    out = os.path.join(work, "logits")
    run(os.path.join(peer, "llama-perplexity"), "-m", path, "-f", file, "-c", str(CONTEXT), "-b", str(CONTEXT), "--chunks", "12", "-t", "2",
        "--save-all-logits", out)
    b = open(out, "rb").read()
    context, vocabulary, chunks = struct.unpack("<iii", b[8:20])
    at = 20 + 4 * context * chunks
    tokens = np.frombuffer(b[20:at], np.int32).reshape(chunks, context).copy()
    key = {f.name: f for f in gguf.GGUFReader(path).fields.values() if "bos_token" in f.name}
    if "tokenizer.ggml.add_bos_token" in key and key["tokenizer.ggml.add_bos_token"].contents():
        tokens[:, 0] = key["tokenizer.ggml.bos_token_id"].contents()  # computed so, though the file holds the text's own
    words = 2 * ((vocabulary + 1) // 2) + 4
    rows = np.frombuffer(b[at:], np.uint16).reshape(chunks, context - context // 2 - 1, words)
    head = np.ascontiguousarray(rows[:, :, :4]).view(np.float32)
    return tokens, rows[:, :, 4 : 4 + vocabulary].astype(np.float64) * head[:, :, :1] + head[:, :, 1:2]


def ours(path, tokens):
    """The log-probability of each next token, and the likeliest, at the same places."""
    file = os.path.join(work, "t.jsonl")
    with open(file, "w") as f:
        for t in tokens:
            f.write(json.dumps({"tokens": t.tolist()}) + "\n")
    lines = [json.loads(x) for x in run(distill, "score", "--model", path, "--top", "1", "--json", "-q", file).decode().splitlines()]
    first = CONTEXT // 2
    return (np.array([x["logprobs"][first:] for x in lines]), np.array([[k[0][0] for k in x["top"][first : first + CONTEXT - first - 1]] for x in lines]))


def hugging(folder, tokens):
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging
    logging.disable_progress_bar()
    m = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.no_grad():
        z = torch.log_softmax(m(torch.tensor(np.array(tokens, np.int64))).logits.double(), -1).numpy()
    return z[:, CONTEXT // 2 : CONTEXT - 1]


def next_of(tokens, logs):
    return np.take_along_axis(logs, tokens[:, CONTEXT // 2 + 1 :, None].astype(np.int64), 2)[:, :, 0]


def line(name, a, b, same, most):
    global failed
    d = np.abs(a - b)
    bad = not (d.mean() <= most and np.isfinite(d).all())
    failed += bad
    print(f"{name:34} {d.size:5d} tokens  off by {d.mean():9.2e} mean {d.max():9.2e} most   top-1 the same {100 * same:6.2f} %{'   TOO FAR' if bad else ''}", flush=True)


for t in TYPES:
    path = os.path.join(work, "m.gguf")
    run(distill, "convert", model, path, "--type", t, "-q")
    tokens, logs = llama(path, text)
    mine, top = ours(path, tokens)
    keep = next_of(tokens, logs) > logs.min(2)  # their file clips what is 16 nats below the likeliest
    line("llama.cpp " + t, next_of(tokens, logs)[keep], mine[keep], (logs.argmax(2) == top).mean(), 2e-3 if t in ("f32", "f16", "bf16") else 0.05)
    if t in ("f32", "f16", "bf16"):
        folder = os.path.join(work, "hf-" + t)
        run(distill, "convert", path, folder, "-q")
        logs = hugging(folder, tokens)
        mine, top = ours(folder, tokens)
        line("transformers " + t + ", a folder", next_of(tokens, logs), mine, (logs.argmax(2) == top).mean(), 1e-4)
for name in ("qwen3moe", "mixtral"):
    folder, path = os.path.join(here, "golden/moe", name), os.path.join(work, "moe.gguf")
    for t in ("f32", "bf16", "q8_0"):
        run(distill, "convert", folder, path, "--type", t, "-q")
        tokens, logs = llama(path, os.path.join(here, "make_moe_golden.py"))
        theirs = hugging(folder, tokens)
        line(f"llama.cpp and transformers {name} {t}", next_of(tokens, logs), next_of(tokens, theirs), (logs.argmax(2) == theirs.argmax(2)).mean(),
             5e-2 if t == "q8_0" else 5e-3)
    back = os.path.join(work, "moe-" + name)
    run(distill, "convert", folder, back, "-q")
    line(f"transformers {name}, a folder", next_of(tokens, hugging(back, tokens)), next_of(tokens, theirs), 1, 1e-6)
sys.exit(failed > 0)
