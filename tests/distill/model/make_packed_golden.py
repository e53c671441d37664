#!/usr/bin/env python3
"""Makes golden/packed/NAME: a tiny Qwen3 folder whose matrices are packed as NAME says, and expect.safetensors, what they mean in float32, computed
here in numpy from the definition of each form, code by code. Run by hand; the tests read only what it left."""
import json, os, numpy as np, torch
from safetensors.torch import save_file
here = os.path.join(os.path.dirname(os.path.abspath(__file__)), "golden", "packed")
C, H, G, D, F, V = 32, 2, 1, 16, 48, 8
MATS = {"self_attn.q_proj": (H * D, C), "self_attn.k_proj": (G * D, C), "self_attn.v_proj": (G * D, C), "self_attn.o_proj": (C, H * D),
        "mlp.gate_proj": (F, C), "mlp.up_proj": (F, C), "mlp.down_proj": (C, F)}
rng = np.random.default_rng(7)
f32 = np.float32
def half(*shape): return (rng.uniform(0.5, 1.5, shape) * 0.02).astype(np.float16)

def fp8_value(b):
    s, e, m = b >> 7, b >> 3 & 15, b & 7
    v = m * 2.0 ** -9 if e == 0 else (8 + m) * 2.0 ** (e - 10)
    return f32(-v if s else v)
def fp8_codes(r, c):
    b = rng.integers(0, 256, (r, c), dtype=np.uint8)
    return np.where((b & 127) == 127, b & 0x87, b) # no NaN
def fp8_tensor(b): return torch.from_numpy(b.copy()).view(torch.float8_e4m3fn)

def fp8_block(r, c, bh=12, bw=20):
    b, s = fp8_codes(r, c), rng.uniform(0.001, 0.01, (-(-r // bh), -(-c // bw))).astype(f32)
    w = np.array([[fp8_value(int(b[i, j])) * s[i // bh, j // bw] for j in range(c)] for i in range(r)], f32)
    return {"weight": fp8_tensor(b), "weight_scale_inv": torch.from_numpy(s)}, w
def fp8_tensorwise(r, c):
    b, s = fp8_codes(r, c), f32(0.0078)
    return {"weight": fp8_tensor(b), "weight_scale": torch.tensor(s)}, np.array([[fp8_value(int(x)) * s for x in row] for row in b], f32)

def gptq(bits, v2, order):
    def f(r, c, group=16):
        n, per, mask = c // group, 32 // bits, (1 << bits) - 1
        q = rng.integers(0, mask + 1, (c, r)); z = rng.integers(1, mask + 1, (n, r)); s = half(n, r)
        g = rng.permutation(np.repeat(np.arange(n), group)) if order else np.repeat(np.arange(n), group)
        qw = np.zeros((c // per, r), np.uint32); qz = np.zeros((n, r // per), np.uint32)
        for i in range(c):
            for o in range(r): qw[i // per, o] |= np.uint32(int(q[i, o]) << (bits * (i % per)))
        for k in range(n):
            for o in range(r): qz[k, o // per] |= np.uint32(int(z[k, o] - (0 if v2 else 1)) << (bits * (o % per)))
        w = np.array([[f32(s[g[i], o]) * f32(int(q[i, o]) - int(z[g[i], o])) for i in range(c)] for o in range(r)], f32)
        t = {"qweight": qw.view(np.int32), "qzeros": qz.view(np.int32), "scales": s}
        if order: t["g_idx"] = g.astype(np.int32)
        return {k: torch.from_numpy(v) for k, v in t.items()}, w
    return f
def awq(r, c, group=16):
    n = c // group; order = [0, 2, 4, 6, 1, 3, 5, 7]
    q = rng.integers(0, 16, (c, r)); z = rng.integers(0, 16, (n, r)); s = half(n, r)
    def pack(a):
        out = np.zeros((a.shape[0], a.shape[1] // 8), np.uint32)
        for i in range(a.shape[0]):
            for k in range(a.shape[1] // 8):
                for j in range(8): out[i, k] |= np.uint32(int(a[i, 8 * k + order[j]]) << (4 * j))
        return out.view(np.int32)
    w = np.array([[f32(s[i // group, o]) * f32(int(q[i, o]) - int(z[i // group, o])) for i in range(c)] for o in range(r)], f32)
    return {"qweight": torch.from_numpy(pack(q)), "qzeros": torch.from_numpy(pack(z)), "scales": torch.from_numpy(s)}, w
def pack_rows(u, bits): # [a, b] unsigned along b
    per = 32 // bits
    out = np.zeros((u.shape[0], -(-u.shape[1] // per)), np.uint32)
    for i in range(u.shape[0]):
        for j in range(u.shape[1]): out[i, j // per] |= np.uint32(int(u[i, j]) << (bits * (j % per)))
    return out.view(np.int32)
def compressed(bits, asym):
    def f(r, c, group=16):
        n, mid = c // group, 1 << (bits - 1)
        q = rng.integers(-mid, mid, (r, c)); z = rng.integers(-mid, mid, (r, n)) if asym else np.zeros((r, n), int)
        s = torch.from_numpy(half(r, n).astype(f32)).to(torch.bfloat16)
        sf = s.float().numpy()
        w = np.array([[sf[o, i // group] * f32(int(q[o, i]) - int(z[o, i // group])) for i in range(c)] for o in range(r)], f32)
        t = {"weight_packed": torch.from_numpy(pack_rows(q + mid, bits)), "weight_scale": s, "weight_shape": torch.tensor([r, c])}
        if asym: t["weight_zero_point"] = torch.from_numpy(np.ascontiguousarray(pack_rows((z + mid).T, bits).T))
        return t, w
    return f
def ct_int8(r, c):
    q, s = rng.integers(-128, 128, (r, c)).astype(np.int8), half(r, 1)
    return {"weight": torch.from_numpy(q), "weight_scale": torch.from_numpy(s)}, q.astype(f32) * s.astype(f32)
def ct_fp8(r, c):
    b, s = fp8_codes(r, c), half(r, 1)
    return {"weight": fp8_tensor(b), "weight_scale": torch.from_numpy(s)}, np.array([[fp8_value(int(x)) * f32(s[i, 0]) for x in row] for i, row in enumerate(b)], f32)

def groups(bits, kind, **k): return {"group_0": {"targets": ["Linear"], "weights": {"num_bits": bits, "type": kind, **k}}}
CASES = {
    "fp8-block": (fp8_block, {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [12, 20]}),
    "fp8-tensor": (fp8_tensorwise, {"quant_method": "fp8", "activation_scheme": "static"}),
    "gptq": (gptq(4, False, False), {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": False, "sym": True}),
    "gptq-order": (gptq(4, False, True), {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True, "checkpoint_format": "gptq"}),
    "gptq-v2": (gptq(4, True, True), {"quant_method": "gptq", "bits": 4, "group_size": 16, "desc_act": True, "checkpoint_format": "gptq_v2"}),
    "gptq-8bit": (gptq(8, False, False), {"quant_method": "gptq", "bits": 8, "group_size": 16, "desc_act": False}),
    "awq": (awq, {"quant_method": "awq", "bits": 4, "group_size": 16, "zero_point": True, "version": "gemm"}),
    "ct-pack4": (compressed(4, False), {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups(4, "int", group_size=16, strategy="group", symmetric=True), "ignore": ["lm_head"]}),
    "ct-pack4-asym": (compressed(4, True), {"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": groups(4, "int", group_size=16, strategy="group", symmetric=False)}),
    "ct-int8": (ct_int8, {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": groups(8, "int", strategy="channel")}),
    "ct-fp8": (ct_fp8, {"quant_method": "compressed-tensors", "format": "float-quantized", "config_groups": groups(8, "float", strategy="channel")}),
}
for name, (make, quant) in CASES.items():
    d = os.path.join(here, name); os.makedirs(d, exist_ok=True)
    t, want = {"model.embed_tokens.weight": torch.from_numpy(rng.standard_normal((V, C)).astype(np.float16)), "model.norm.weight": torch.ones(C, dtype=torch.float16)}, {}
    for m, (r, c) in MATS.items():
        parts, w = make(r, c)
        for k, v in parts.items(): t[f"model.layers.0.{m}.{k}"] = v.contiguous()
        want[f"model.layers.0.{m}.weight"] = torch.from_numpy(w)
        if name == "gptq": t[f"model.layers.0.{m}.bias"] = torch.zeros(r, dtype=torch.float16) # as AutoGPTQ leaves them
    for n, k in (("input_layernorm", C), ("post_attention_layernorm", C), ("self_attn.q_norm", D), ("self_attn.k_norm", D)):
        t[f"model.layers.0.{n}.weight"] = torch.ones(k, dtype=torch.float16)
    save_file(t, os.path.join(d, "model.safetensors"), metadata={"format": "pt"})
    save_file(want, os.path.join(d, "expect.safetensors"))
    json.dump({"architectures": ["Qwen3ForCausalLM"], "model_type": "qwen3", "hidden_size": C, "num_hidden_layers": 1, "num_attention_heads": H, "num_key_value_heads": G,
               "head_dim": D, "intermediate_size": F, "vocab_size": V, "max_position_embeddings": 64, "rms_norm_eps": 1e-6, "tie_word_embeddings": True, "rope_theta": 10000.0,
               "hidden_act": "silu", "torch_dtype": "float16", "quantization_config": quant}, open(os.path.join(d, "config.json"), "w"), indent=1)
