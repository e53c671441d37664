#!/usr/bin/env python3
"""Rows of tokens trained beside a LoRA adapter, as PEFT has them (trainable_token_indices): a start adapter, the gradients of all trained arrays over the
eight sequences of an oracle model as one update, and the log-probabilities of sequence 1, in float64, for test_tokens.c.
   tests/student/make_tokens_golden.py    (needs torch, transformers, peft)"""
import json
import os
import pathlib
import shutil

import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

here = pathlib.Path(__file__).resolve().parent
for name, first, n in (("qwen2-tied", 260, 6), ("llama-untied-spm", 300, 5)):
    torch.manual_seed(7)
    folder = here.parent / "oracle/models" / name
    base = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tied = base.config.tie_word_embeddings
    ids = list(range(first, first + n))
    want = {"embed_tokens": ids} if tied else {"embed_tokens": ids, "lm_head": ids}
    model = get_peft_model(base, LoraConfig(r=2, lora_alpha=3, target_modules=["q_proj", "down_proj"], trainable_token_indices=want))
    with torch.no_grad():
        for k, p in model.named_parameters():
            if p.requires_grad:
                p.add_(torch.randn_like(p) * (0.05 if "lora_A" not in k else 0))
    out = here / "golden" / f"tokens-{name}"
    shutil.rmtree(out, ignore_errors=True)
    model.save_pretrained(out)
    os.remove(out / "README.md")
    config = json.load(open(out / "adapter_config.json"))
    config["base_model_name_or_path"] = name
    json.dump(config, open(out / "adapter_config.json", "w"), indent=1)
    model.double()
    rows = [json.loads(line) for line in open(folder / "sequences.jsonl")]
    count = sum(sum(r["loss"][1:]) for r in rows)
    total = 0
    for r in rows:
        logits = model(torch.tensor([r["tokens"]])).logits[0, :-1]
        take = torch.tensor(r["loss"][1:], dtype=torch.bool)
        total = total + torch.nn.functional.cross_entropy(logits[take], torch.tensor(r["tokens"][1:])[take], reduction="sum")
    (total / count).backward()
    save_file({k.replace(".default", ""): p.grad.float().contiguous() for k, p in model.named_parameters() if p.requires_grad}, out / "grads.safetensors")
    with torch.no_grad():
        t = rows[1]["tokens"]
        lp = torch.log_softmax(model(torch.tensor([t])).logits[0], -1)
        json.dump({"loss": (total / count).item(), "logprobs_of_sequence_1": [lp[i, t[i + 1]].item() for i in range(len(t) - 1)]}, open(out / "expect.json", "w"))
