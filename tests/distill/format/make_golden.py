#!/usr/bin/env python3
"""Makes golden/: files written by Python's safetensors and gguf packages, and what is in them as text (dump.h prints the same).
Run by hand where those packages are; the tests only read what it left."""
import hashlib, json, os, struct, sys
import numpy as np, torch
import safetensors.torch, gguf
from huggingface_hub import save_torch_state_dict

out = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden")
os.makedirs(out, exist_ok=True)
os.chdir(out)
rng = np.random.default_rng(7)
ST = {torch.float64: "f64", torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16", torch.float8_e4m3fn: "f8_e4m3",
      torch.int64: "i64", torch.int32: "i32", torch.int16: "i16", torch.int8: "i8", torch.uint8: "u8", torch.bool: "bool"}
sha = lambda b: hashlib.sha256(b).hexdigest()[:16]

def st_tensors():
    t = {}
    for i, d in enumerate(ST):
        x = torch.from_numpy(rng.standard_normal((3, i + 1)) * 50).abs()
        t[f"block.{i}.weight"] = (x > 20) if d == torch.bool else x.to(d)
    t["scalar"] = torch.tensor(3.5)
    t["empty"] = torch.zeros(0, 4)
    t["five"] = torch.arange(24, dtype=torch.float16).reshape(1, 2, 3, 4, 1)
    t["na\u00efve.\u6c34"] = torch.ones(2)
    return t

def st_lines(t):
    return sorted(f"{n} {ST[x.dtype]} {list(x.shape)} {sha(x.contiguous().view(torch.uint8).numpy().tobytes() if x.numel() and x.dim() else x.reshape(-1).view(torch.uint8).numpy().tobytes() if x.numel() else b'')}" for n, x in t.items())

t = st_tensors()
safetensors.torch.save_file(t, "one.safetensors", metadata={"format": "pt", "note": "tab\tquote\" \u00e9 \U0001f40d"})
open("one.txt", "w").write("\n".join(st_lines(t)) + "\n")
t = {f"layer.{i}.w": torch.from_numpy(rng.standard_normal((8, 16)).astype(np.float32)) for i in range(6)}
os.makedirs("sharded", exist_ok=True)
save_torch_state_dict(t, "sharded", max_shard_size=1100)
open("sharded.txt", "w").write("\n".join(st_lines(t)) + "\n")

GT = {0: "f32", 1: "f16", 8: "q8_0", 2: "q4_0", 30: "bf16", 28: "f64", 24: "i8", 26: "i32", 14: "q6_k"}
def gguf_file(path, align=None, split=0):
    w = gguf.GGUFWriter(path, "llama", split_max_tensors=split)
    if align:
        w.add_custom_alignment(align)
    lines = ["general.architecture string \"llama\""]
    if align:
        lines.append(f"general.alignment u32 {align}")
    def add(k, v, t, text, sub=None):
        w.add_key_value(k, v, t, sub)
        lines.append(f"{k} {text}")
    V = gguf.GGUFValueType
    for name, v in {"u8": 200, "i8": -100, "u16": 60000, "i16": -30000, "u32": 4000000000, "i32": -2000000000, "u64": 2**63 + 5, "i64": -2**62,
                    "f32": 0.15625, "f64": 1e300, "bool": True}.items():
        t = {"f32": V.FLOAT32, "f64": V.FLOAT64, "bool": V.BOOL}.get(name) or V[("UINT" if name[0] == "u" else "INT") + name[1:]]
        add(f"kv.{name}", v, t, f"{name} {v if name != 'bool' else 1}" if name not in ("f32", "f64") else f"{name} {v!r}".replace("1e+300", "1e+300"))
    add("kv.string", "caf\u00e9 \u6c34", V.STRING, 'string "caf\u00e9 \u6c34"')
    add("kv.nul", "a\0b", V.STRING, 'string "a\\0b"')
    add("kv.empty", "", V.STRING, 'string ""')
    words = [f"w{i}" * (i % 5) for i in range(100)]
    add("tokenizer.ggml.tokens", words, V.ARRAY, f"[string 100] {sha(chr(10).join(words).encode())}")
    add("kv.ints", [1, -2, 3], V.ARRAY, "[i32 3] 1 -2 3")
    add("kv.floats", [0.5, -1.25], V.ARRAY, "[f32 2] 0.5 -1.25")
    add("kv.bools", [True, False, True], V.ARRAY, "[bool 3] 1 0 1")
    tensors = {}
    for i, (num, name) in enumerate(GT.items()):
        q = gguf.GGMLQuantizationType(num)
        block, size = gguf.GGML_QUANT_SIZES[q]
        rows, cols = i + 1, block * 3
        data = rng.integers(0, 255, rows * cols // block * size, dtype=np.uint8)
        n = f"blk.{i}.ffn.weight"
        if num in (0, 1, 24, 26, 28):
            a = data.view({0: np.float32, 1: np.float16, 24: np.int8, 26: np.int32, 28: np.float64}[num]).reshape(rows, cols)
            w.add_tensor(n, a)
        else:
            w.add_tensor(n, data.reshape(rows, -1), raw_dtype=q)
        tensors[n] = f"{n} {name} [{rows}, {cols}] {sha(data.tobytes())}"
    v = np.arange(7, dtype=np.float32)
    w.add_tensor("norm.weight", v)
    tensors["norm.weight"] = f"norm.weight f32 [7] {sha(v.tobytes())}"
    w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
    return sorted(lines) + sorted(tensors.values())

open("one.gguf.txt", "w").write("\n".join(gguf_file("one.gguf")) + "\n")
open("aligned.gguf.txt", "w").write("\n".join(gguf_file("aligned.gguf", align=64)) + "\n")
open("split.gguf.txt", "w").write("\n".join(gguf_file("split.gguf", split=4)) + "\n")
w = gguf.GGUFWriter("vocab.gguf", "llama")
w.add_array("tokenizer.ggml.tokens", ["a", "b"])
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
