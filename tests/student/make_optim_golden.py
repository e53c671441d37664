#!/usr/bin/env python3
"""Five steps of torch.optim.Muon (its products in float64) and of transformers' Adafactor on fixed gradients, for test_optim.c.
   tests/student/make_optim_golden.py tests/student/golden/optim.json    (needs torch, transformers)"""
import json, math, pathlib, sys
import torch
import torch.optim._muon as mu
from transformers.optimization import Adafactor

def ns(grad, c, steps, eps):  # torch's own, without its bfloat16
    a, b, d = c
    x = grad.double()
    if grad.size(0) > grad.size(1): x = x.T
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        g = x @ x.T
        x = torch.addmm(x, torch.addmm(g, g, g, beta=b, alpha=d), x, beta=a)
    return x.T if grad.size(0) > grad.size(1) else x
mu._zeropower_via_newtonschulz = ns

def number(i): return ((i * 2654435761 % 4294967296) >> 8) / 16777216 - 0.5
def filled(n, at): return [number(at + i) for i in range(n)]
out = {}
for name, shape in (("wide", (5, 40)), ("tall", (48, 36)), ("vector", (50,))):
    n = math.prod(shape)
    for kind in ("muon", "adafactor"):
        if kind == "muon" and len(shape) == 1: continue
        p = torch.nn.Parameter(torch.tensor(filled(n, 1), dtype=torch.float64).reshape(shape))
        o = (mu.Muon([p], lr=0.02, weight_decay=0.1, momentum=0.9, adjust_lr_fn="match_rms_adamw") if kind == "muon" else
             Adafactor([p], lr=0.02, weight_decay=0.1, relative_step=False, scale_parameter=False, warmup_init=False))
        for step in range(5):
            p.grad = torch.tensor(filled(n, 1000 * (step + 1)), dtype=torch.float64).reshape(shape) * 10.0 ** (step - 2)
            o.step()
        out[f"{kind}-{name}"] = p.detach().flatten().tolist()
json.dump({k: [float(f"{x:.9g}") for x in v] for k, v in out.items()}, open(sys.argv[1], "w"), separators=(",", ":"))
