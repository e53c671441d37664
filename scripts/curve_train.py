#!/usr/bin/env python3
"""Beside scripts/curve_train.sh: rows of worked solutions, the peer's course over them, and what is said of both.

  curve_train.py lessons FILE COUNT OUT        conversations of {"question","answer"} lines, calculator marks removed
  curve_train.py peer DIR ROWS ADAPTER OUT UPDATES THREADS f32|bf16   HF + PEFT from that adapter: one row an update, AdamW, linear schedule, clip 1
  curve_train.py say NAME=FILE...              mean loss of each run by stretches, and how far it is from the first run's, update by update
"""
import json
import re
import resource
import sys
import time


def lessons(path, count, out):
    with open(out, "w") as f:
        for line in list(open(path))[:int(count)]:
            d = json.loads(line)
            f.write(json.dumps({"messages": [{"role": "user", "content": d["question"]},
                                             {"role": "assistant", "content": re.sub(r"<<.*?>>", "", d["answer"])}]}) + "\n")


def peer(where, path, adapter, out, updates, threads, arithmetic):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(int(threads))
    updates = int(updates)
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16 if arithmetic == "bf16" else torch.float32)
    model.config.use_cache = False
    model = PeftModel.from_pretrained(model, adapter, is_trainable=True)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    step = torch.optim.AdamW(trained, lr=2e-4, weight_decay=0)
    data = [json.loads(line) for line in open(path)]
    begin = time.monotonic()
    with open(out + ".jsonl", "w") as log:
        for u in range(updates):
            p = data[u % len(data)]
            ids = torch.tensor([p["tokens"]])
            labels = torch.tensor([[t if l else -100 for t, l in zip(p["tokens"], p["loss"])]])
            for group in step.param_groups:
                group["lr"] = 2e-4 * (updates - u) / updates
            loss = model(input_ids=ids, labels=labels).loss
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(trained, 1.0)
            step.step()
            step.zero_grad()
            log.write(json.dumps({"step": u + 1, "loss": loss.item(), "grad_norm": float(norm)}) + "\n")
    model.save_pretrained(out)
    print("%s: %.0f s, %.2f GB" % (out, time.monotonic() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9))


def say(*runs):
    curves = []
    for r in runs:
        name, path = r.split("=", 1)
        curves.append((name, [json.loads(line) for line in open(path)]))
    n = len(curves[0][1])
    cuts = [c for c in (0, n // 10, n // 4, n // 2, 3 * n // 4, n)]
    print("%-10s" % "updates" + "".join("%12s" % name for name, _ in curves))
    for a, b in zip(cuts, cuts[1:]):
        if b > a:
            print("%-10s" % ("%d-%d" % (a + 1, b)) + "".join("%12.6f" % (sum(r["loss"] for r in c[a:b]) / (b - a)) for _, c in curves))
    first = curves[0][1]
    for name, c in curves[1:]:
        off = [abs(x["loss"] - y["loss"]) for x, y in zip(first, c)]
        norm = [abs(x["grad_norm"] / y["grad_norm"] - 1) for x, y in zip(first, c)]
        print("%s beside %s: losses differ by %.1e on average, %.1e at most; gradient norms by %.1e (relative) on average" % (
            name, curves[0][0], sum(off) / n, max(off), sum(norm) / n))


if __name__ == "__main__":
    {"lessons": lessons, "peer": peer, "say": say}[sys.argv[1]](*sys.argv[2:])
