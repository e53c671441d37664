#!/usr/bin/env python3
"""Weights that were rounded to Q4_1 are put somewhere in their cell of its grid again, so that no quantizer finds the grid they came from.
    scripts/off_grid.py Q4_1.gguf F16.gguf      F16.gguf: the same model converted to F16; changed in place. Needs numpy and gguf."""
import sys

import gguf
import numpy as np

rounded = {t.name: t for t in gguf.GGUFReader(sys.argv[1]).tensors}
out = gguf.GGUFReader(sys.argv[2], "r+")
rng = np.random.default_rng(5)
for t in out.tensors:
    q = rounded[t.name]
    if q.tensor_type != gguf.GGMLQuantizationType.Q4_1:
        continue
    blocks = q.data.reshape(q.data.shape[0], -1, 20)  # scale, minimum, 32 codes of 4 bits
    step = blocks[:, :, :2].copy().view(np.float16).astype(np.float32)
    w = np.asarray(t.data, np.float32).reshape(step.shape[0], -1, 32)
    t.data[...] = (w + (rng.random(w.shape, np.float32) - 0.5) * step).reshape(t.data.shape).astype(np.float16)
out.data.flush()
