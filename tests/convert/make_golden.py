#!/usr/bin/env python3
"""Makes golden/NAME.txt: what llama.cpp's own convert_hf_to_gguf.py makes of the oracle models (f32): every key but the tokenizer's lists,
every tensor with a hash of its bytes. And golden/mixes.txt: what llama-quantize makes each matrix of a model of 16 layers.
Run by hand: make_golden.py LLAMA_CPP_SOURCES LLAMA_CPP_BIN. The tests read only what it left."""
import hashlib, os, subprocess, sys, tempfile, types
src, bins = sys.argv[1:3]
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, src); sys.path.insert(0, os.path.join(src, "gguf-py"))
import gguf, numpy as np
from conversion.base import TextModel
oracle = os.path.join(here, "../oracle/models")
PRE = {"llama-tied-rope3": "llama-bpe", "qwen2-tied": "qwen2", "qwen3-untied": "qwen2"}
skip = ("general.", "GGUF.", "tokenizer.")
def lines(path):
    r = gguf.GGUFReader(path)
    out = []
    for f in r.fields.values():
        if not f.name.startswith(skip):
            v = f.contents()
            out.append(f"{f.name} {v if isinstance(v, str) else float(v)}")
    for t in r.tensors:
        if t.name == "rope_freqs.weight": # computed, so compared within rounding
            out.append(t.name + " factors " + " ".join(repr(float(x)) for x in t.data))
            continue
        out.append(f"{t.name} {t.tensor_type.name.lower()} {list(reversed([int(x) for x in t.shape]))} {hashlib.sha256(t.data.tobytes()).hexdigest()[:16]}")
    return sorted(out)
for m in sorted(os.listdir(oracle)):
    with tempfile.TemporaryDirectory() as d:
        code = f"""
import sys; sys.argv=['x',{os.path.join(oracle, m)!r},'--outtype','f32','--outfile',{d + '/o.gguf'!r}]
sys.path.insert(0,{src!r}); sys.path.insert(0,{os.path.join(src, 'gguf-py')!r})
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tok: {PRE.get(m, 'default')!r}
import runpy; runpy.run_path({os.path.join(src, 'convert_hf_to_gguf.py')!r}, run_name='__main__')
"""
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
        open(os.path.join(here, "golden", m + ".txt"), "w").write("\n".join(lines(d + "/o.gguf")) + "\n")
with tempfile.TemporaryDirectory() as d, open(os.path.join(here, "golden/mixes.txt"), "w") as out:
    for tied, H, G in ((True, 4, 2), (False, 4, 4), (False, 4, 1)):
        C, F, L, V, D = 256, 512, 16, 64, 64
        w = gguf.GGUFWriter(d + "/m.gguf", "llama")
        w.add_block_count(L); w.add_context_length(64); w.add_embedding_length(C); w.add_feed_forward_length(F); w.add_head_count(H)
        w.add_head_count_kv(G); w.add_layer_norm_rms_eps(1e-5); w.add_vocab_size(V); w.add_tokenizer_model("llama")
        w.add_token_list([f"t{i}" for i in range(V)]); w.add_token_scores([0.0] * V); w.add_token_types([1] * V)
        rng = np.random.default_rng(1)
        def add(n, r, c): w.add_tensor(n, rng.standard_normal((r, c)).astype(np.float16))
        add("token_embd.weight", V, C)
        if not tied: add("output.weight", V, C)
        w.add_tensor("output_norm.weight", np.ones(C, np.float32))
        for i in range(L):
            for n, r, c in (("attn_q", H * D, C), ("attn_k", G * D, C), ("attn_v", G * D, C), ("attn_output", C, H * D), ("ffn_gate", F, C), ("ffn_up", F, C), ("ffn_down", C, F)):
                add(f"blk.{i}.{n}.weight", r, c)
            w.add_tensor(f"blk.{i}.attn_norm.weight", np.ones(C, np.float32)); w.add_tensor(f"blk.{i}.ffn_norm.weight", np.ones(C, np.float32))
        w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
        for mix in ("q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m"):
            subprocess.run([bins + "/llama-quantize", d + "/m.gguf", d + "/q.gguf", mix, "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            for t in gguf.GGUFReader(d + "/q.gguf").tensors:
                if len(t.shape) > 1:
                    out.write(f"{mix} {int(tied)} {G} {t.name} {t.tensor_type.name.lower()}\n")
