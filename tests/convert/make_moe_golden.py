#!/usr/bin/env python3
"""Makes golden/moe/NAME: tiny mixtures of experts (Qwen3-MoE, Mixtral) as transformers saves them, and golden/moe-NAME.txt: what llama.cpp's own
convert_hf_to_gguf.py makes of them (f32), key by key, tensor by tensor. And golden/moe-mixes.txt: what llama-quantize makes each matrix of mixtures of
8 and 16 experts. Run by hand: make_moe_golden.py LLAMA_CPP_SOURCES [LLAMA_CPP_BIN]. The tests read only what it left."""
import hashlib, os, shutil, subprocess, sys, tempfile
src = sys.argv[1]
here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, src); sys.path.insert(0, os.path.join(src, "gguf-py"))
import gguf, numpy as np, torch
from transformers import AutoModelForCausalLM, MixtralConfig, Qwen3MoeConfig
oracle = os.path.join(here, "../oracle/models")
torch.manual_seed(3)
CASES = {
    "qwen3moe": ("qwen3-untied", Qwen3MoeConfig(vocab_size=320, hidden_size=32, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
                 num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16, norm_topk_prob=True, max_position_embeddings=128, tie_word_embeddings=False, bos_token_id=None, eos_token_id=0)),
    "mixtral": ("llama-tied-rope3", MixtralConfig(vocab_size=320, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
                 num_local_experts=3, num_experts_per_tok=2, max_position_embeddings=128, sliding_window=None, tie_word_embeddings=False, bos_token_id=None, eos_token_id=0)),
}
for name, (vocab, config) in CASES.items():
    d = os.path.join(here, "golden/moe", name)
    shutil.rmtree(d, ignore_errors=True); os.makedirs(d)
    m = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    with torch.no_grad():
        for n, p in m.named_parameters(): p.copy_((torch.randn_like(p, dtype=torch.float32) * 0.05 + (1 if "norm" in n else 0)).to(torch.bfloat16))
    m.save_pretrained(d)
    for f in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"): shutil.copy(os.path.join(oracle, vocab, f), d)
    g = os.path.join(d, "generation_config.json")
    if os.path.exists(g): os.remove(g)
    with tempfile.TemporaryDirectory() as t:
        code = f"""
import sys; sys.argv=['x',{d!r},'--outtype','f32','--outfile',{t + '/o.gguf'!r}]
sys.path.insert(0,{src!r}); sys.path.insert(0,{os.path.join(src, 'gguf-py')!r})
from conversion.base import TextModel
TextModel.get_vocab_base_pre = lambda self, tok: {"qwen2" if name == "qwen3moe" else "llama-bpe"!r}
import runpy; runpy.run_path({os.path.join(src, 'convert_hf_to_gguf.py')!r}, run_name='__main__')
"""
        subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
        r = gguf.GGUFReader(t + "/o.gguf")
        out = []
        for f in r.fields.values():
            if not f.name.startswith(("general.", "GGUF.", "tokenizer.")) or f.name in ("general.architecture", "general.size_label"):
                v = f.contents()
                out.append(f"{f.name} {v if isinstance(v, str) else float(v)}")
        for x in r.tensors:
            out.append(f"{x.name} {x.tensor_type.name.lower()} {list(reversed([int(k) for k in x.shape]))} {hashlib.sha256(x.data.tobytes()).hexdigest()[:16]}")
        open(os.path.join(here, "golden", f"moe-{name}.txt"), "w").write("\n".join(sorted(out)) + "\n")
if len(sys.argv) > 2:
    with tempfile.TemporaryDirectory() as d, open(os.path.join(here, "golden/moe-mixes.txt"), "w") as out:
        for arch, E, G in (("llama", 8, 2), ("qwen3moe", 16, 1)):
            C, F, L, V, D, H = 256, 256, 16, 64, 64, 4
            w = gguf.GGUFWriter(d + "/m.gguf", arch)
            w.add_block_count(L); w.add_context_length(64); w.add_embedding_length(C); w.add_feed_forward_length(F); w.add_head_count(H)
            w.add_head_count_kv(G); w.add_layer_norm_rms_eps(1e-5); w.add_vocab_size(V); w.add_tokenizer_model("llama")
            w.add_expert_count(E); w.add_expert_used_count(2); w.add_expert_feed_forward_length(F); w.add_key_length(D); w.add_value_length(D)
            w.add_token_list([f"t{i}" for i in range(V)]); w.add_token_scores([0.0] * V); w.add_token_types([1] * V)
            rng = np.random.default_rng(1)
            def add(n, *shape): w.add_tensor(n, (rng.standard_normal(shape) * 0.02).astype(np.float16))
            add("token_embd.weight", V, C); add("output.weight", V, C); w.add_tensor("output_norm.weight", np.ones(C, np.float32))
            for i in range(L):
                for n, r, c in (("attn_q", H * D, C), ("attn_k", G * D, C), ("attn_v", G * D, C), ("attn_output", C, H * D)): add(f"blk.{i}.{n}.weight", r, c)
                for n, r, c in (("ffn_gate_exps", F, C), ("ffn_up_exps", F, C), ("ffn_down_exps", C, F)): add(f"blk.{i}.{n}.weight", E, r, c)
                w.add_tensor(f"blk.{i}.ffn_gate_inp.weight", rng.standard_normal((E, C)).astype(np.float32))
                for n in ("attn_norm", "ffn_norm"): w.add_tensor(f"blk.{i}.{n}.weight", np.ones(C, np.float32))
                if arch == "qwen3moe":
                    for n in ("attn_q_norm", "attn_k_norm"): w.add_tensor(f"blk.{i}.{n}.weight", np.ones(D, np.float32))
            w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
            for mix in ("q3_k_s", "q3_k_m", "q3_k_l", "q4_k_s", "q4_k_m", "q5_k_s", "q5_k_m"):
                subprocess.run([sys.argv[2] + "/llama-quantize", d + "/m.gguf", d + "/q.gguf", mix, "2"], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                for t in gguf.GGUFReader(d + "/q.gguf").tensors:
                    if len(t.shape) > 1: out.write(f"{mix} {arch} {E} {G} {t.name} {t.tensor_type.name.lower()}\n")
