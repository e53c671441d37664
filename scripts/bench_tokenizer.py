#!/usr/bin/env python3
"""The peer of tests/distill/model/bench_tokenizer.c: Hugging Face's tokenizers on the same texts, one thread, in seconds of the processor.

    bench_tokenizer.py tokenizer.json FILE.jsonl [SECONDS]
"""
import json
import os
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
try:
    import tokenizers
except ImportError:
    print(json.dumps({"peer": None, "why": "python has no tokenizers"}))
    sys.exit(0)

path, data = sys.argv[1:3]
want = float(sys.argv[3]) if len(sys.argv) > 3 else 2
texts = []
for line in open(data, encoding="utf-8"):
    row = json.loads(line)
    texts += [row[k] for k in ("text", "question", "answer") if isinstance(row.get(k), str)]
size = sum(len(s.encode()) for s in texts)
start = time.process_time()
tok = tokenizers.Tokenizer.from_file(path)
load = time.process_time() - start
best = {"encode": 1e30, "encode_batch": 1e30, "encode_batch_fast": 1e30}
first = None
tokens = 0
for how in best:
    start = time.monotonic()
    while True:
        t0 = time.process_time()
        if how == "encode":
            tokens = 0
            for s in texts:
                tokens += len(tok.encode(s, add_special_tokens=False).ids)
        else:
            getattr(tok, how)(texts, add_special_tokens=False)
        took = time.process_time() - t0
        first = first or took
        best[how] = min(best[how], took)
        if time.monotonic() - start > want / 3:
            break
print(json.dumps({"peer": "tokenizers " + tokenizers.__version__, "tokens": tokens, "load_seconds": round(load, 4),
                  "first_mb_per_second": round(size / first / 1e6, 2), "mb_per_second": round(size / min(best.values()) / 1e6, 2),
                  "by_call": {k: round(size / v / 1e6, 2) for k, v in best.items()}}))
