#!/usr/bin/env python3
"""Models of random weights, rows to learn, and the peer of scripts/bench_train.sh: HF + PEFT on the same rows.

  bench_train.py make SHAPE DIR [LAYERS]         a Hugging Face folder of that shape, bfloat16 as published models are
  bench_train.py rows FILE VOCAB COUNT packed|padded
  bench_train.py peer DIR FILE lora|full BATCH UPDATES THREADS [f32|bf16]    prints one object

Rows are {"tokens", "loss"} lines. packed: 512 tokens, all learned. padded: lengths like GSM8K's under a chat template (80 to 500, mean about
210), the first part a prompt that is not learned; the peer pads a batch to its longest row, as people run it. Useful tokens are those of the
rows, padding not counted. The peer's first update is left out of its time."""
import json
import random
import resource
import sys
import time

SHAPES = {
    "135m": ("llama", dict(hidden_size=576, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3, intermediate_size=1536,
                           vocab_size=49152)),
    "0.5b": ("qwen2", dict(hidden_size=896, num_hidden_layers=24, num_attention_heads=14, num_key_value_heads=2, intermediate_size=4864,
                           vocab_size=151936)),
    "1.5b": ("qwen2", dict(hidden_size=1536, num_hidden_layers=28, num_attention_heads=12, num_key_value_heads=2, intermediate_size=8960,
                           vocab_size=151936)),
}
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def make(shape, where, layers=None):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM
    kind, c = SHAPES[shape]
    c = dict(c, max_position_embeddings=32768, rms_norm_eps=1e-6, tie_word_embeddings=True, rope_theta=1e6, bos_token_id=1, eos_token_id=2)
    if layers:
        c["num_hidden_layers"] = int(layers)
    torch.manual_seed(1)
    model = LlamaForCausalLM(LlamaConfig(**c)) if kind == "llama" else Qwen2ForCausalLM(Qwen2Config(**c))
    model.to(torch.bfloat16).save_pretrained(where)


def rows(path, vocab, count, kind):
    r = random.Random(7)
    with open(path, "w") as f:
        for _ in range(int(count)):
            if kind == "packed":
                n, prompt = 512, 0
            else:
                n = int(min(500, max(80, r.lognormvariate(5.28, 0.35))))
                prompt = int(n * r.uniform(0.35, 0.6))
            tokens = [r.randrange(3, int(vocab)) for _ in range(n)]
            f.write(json.dumps({"tokens": tokens, "loss": [int(i >= prompt) for i in range(n)]}) + "\n")


def peer(where, path, method, batch, updates, threads, arithmetic="f32"):
    import torch
    from transformers import AutoModelForCausalLM
    torch.set_num_threads(int(threads))
    batch, updates = int(batch), int(updates)
    model = AutoModelForCausalLM.from_pretrained(where, dtype=torch.bfloat16 if arithmetic == "bf16" else torch.float32)
    model.config.use_cache = False
    if method == "lora":
        from peft import LoraConfig, get_peft_model
        model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules=LINEAR, task_type="CAUSAL_LM"))
    model.train()
    step = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    data = [json.loads(line) for line in open(path)]
    useful, spent, losses = 0, 0.0, []
    for u in range(updates + 1):
        part = [data[(u * batch + i) % len(data)] for i in range(batch)]
        longest = max(len(p["tokens"]) for p in part)
        ids = torch.tensor([p["tokens"] + [0] * (longest - len(p["tokens"])) for p in part])
        mask = torch.tensor([[1] * len(p["tokens"]) + [0] * (longest - len(p["tokens"])) for p in part])
        labels = torch.tensor([[t if l else -100 for t, l in zip(p["tokens"], p["loss"])] + [-100] * (longest - len(p["tokens"]))
                               for p in part])
        begin = time.monotonic()
        loss = model(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_([p for p in model.parameters() if p.requires_grad], 1.0)
        step.step()
        step.zero_grad()
        losses.append(loss.item())
        if u:
            spent += time.monotonic() - begin
            useful += sum(len(p["tokens"]) for p in part)
    print(json.dumps({"tokens_per_second": useful / spent, "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
                      "losses": losses}))


if __name__ == "__main__":
    {"make": make, "rows": rows, "peer": peer}[sys.argv[1]](*sys.argv[2:])
