#!/usr/bin/env python3
"""A base model made a chat model, as transformers does it, for test_base.sh: tests/oracle/models/llama-untied-spm without its template gets three tokens, whose
rows are the mean of the others, a ChatML template, another rope base. Prints {"text", "tokens", "logprobs"} lines of the chats given.
   make_base_golden.py CHATS.jsonl TEMPLATE > golden/base_student.jsonl      (needs torch, transformers)"""
import json
import pathlib
import sys

import torch
from tokenizers import AddedToken
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

folder = pathlib.Path(__file__).resolve().parents[2] / "oracle/models/llama-untied-spm"
config = AutoConfig.from_pretrained(folder)
config.rope_parameters["rope_theta"] = 50000.0
model = AutoModelForCausalLM.from_pretrained(folder, config=config, dtype=torch.float32)
tok = AutoTokenizer.from_pretrained(folder)
tok.chat_template = open(sys.argv[2]).read()
tok.add_tokens([AddedToken("<|im_start|>", normalized=False, special=True), AddedToken("<|im_end|>", normalized=False, special=True)], special_tokens=True)
tok.add_tokens([AddedToken("<think>", normalized=False)])
mean_in = model.get_input_embeddings().weight.data.double().mean(0)
mean_out = model.get_output_embeddings().weight.data.double().mean(0)
old = model.config.vocab_size
model.resize_token_embeddings(old + 3, mean_resizing=False)
model.get_input_embeddings().weight.data[old:] = mean_in.float()
model.get_output_embeddings().weight.data[old:] = mean_out.float()
model.double().eval()
for line in open(sys.argv[1]):
    chat = json.loads(line)
    text = tok.apply_chat_template(chat["messages"], add_generation_prompt=chat.get("add_generation_prompt", False), tokenize=False)
    ids = tok(text, add_special_tokens=False)["input_ids"]
    with torch.no_grad():
        lp = torch.log_softmax(model(torch.tensor([ids])).logits[0], -1)
    print(json.dumps({"text": text, "tokens": ids, "logprobs": [round(lp[i, ids[i + 1]].item(), 7) for i in range(len(ids) - 1)]}))
