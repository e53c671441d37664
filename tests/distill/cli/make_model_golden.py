#!/usr/bin/env python3
"""Log-probabilities of SmolLM2-135M-Instruct (the GGUF that scripts/get_model.sh fetches) as transformers computes them in float32 on the dequantized
weights: golden/smollm2_score.jsonl for test_model.sh.   make_model_golden.py MODEL.gguf > golden/smollm2_score.jsonl"""
import json
import os
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

TEXTS = [
    "The harbour was quiet in the morning. Three boats had left before sunrise, and the gulls were already fighting over what the fishermen had thrown away.",
    "def area(width, height):\n    \"\"\"The area of a rectangle, in the square of its unit.\"\"\"\n    return width * height\n\nprint(area(3, 4))  # 12\n",
    "Karin has 12 shells. She buys 4 packs of 5 shells. 4 * 5 = 20, and 12 + 20 = 32, so Karin has 32 shells now. Ünïcödé: naïve café, 東京, привет, 🙂!",
]
folder, name = os.path.split(sys.argv[1])
tok = AutoTokenizer.from_pretrained(folder, gguf_file=name)
model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
for text in TEXTS:
    ids = tok(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lp = torch.log_softmax(model(torch.tensor([ids])).logits[0].double(), -1)
    print(json.dumps({"text": text, "tokens": ids, "logprobs": [round(lp[i, ids[i + 1]].item(), 7) for i in range(len(ids) - 1)]}))
