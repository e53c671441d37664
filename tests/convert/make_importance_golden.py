#!/usr/bin/env python3
"""Makes golden/importance-MODEL.json: mean squares of what every linear layer of an oracle model reads over its sequences, by transformers in
float64 with hooks. Run by hand; the tests read only what it left."""
import json, os, torch
from transformers import AutoModelForCausalLM
here = os.path.dirname(os.path.abspath(__file__))
NAMES = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output", "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
for name in ("llama-tied-rope3", "qwen3-untied"):
    path = os.path.join(here, "../oracle/models", name)
    m = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float64, attn_implementation="eager")
    sums, rows = {}, {}
    def hook(key):
        def f(mod, args, out=None):
            x = args[0].reshape(-1, args[0].shape[-1])
            sums[key] = sums.get(key, 0) + (x * x).sum(0)
            rows[key] = rows.get(key, 0) + x.shape[0]
        return f
    for n, mod in m.named_modules():
        if isinstance(mod, torch.nn.Linear):
            p = n.split(".")
            key = "output.weight" if n == "lm_head" else f"blk.{p[2]}.{NAMES[p[-1]]}.weight"
            mod.register_forward_hook(hook(key))
    with torch.no_grad():
        for line in open(os.path.join(path, "sequences.jsonl")):
            m(torch.tensor([json.loads(line)["tokens"]]))
    keep = [k for k in sorted(sums) if k == "output.weight" or k.startswith("blk.1.")]
    out = {k: {"rows": rows[k], "mean": [float(f"{v:.9g}") for v in (sums[k] / rows[k]).tolist()]} for k in keep}
    json.dump(out, open(os.path.join(here, "golden", f"importance-{name}.json"), "w"), separators=(",", ":"))
