#!/usr/bin/env python3
"""A model of random weights in the shape of Qwen2, for measuring speed where no real model is at hand: a Hugging Face folder in bf16 with a
byte-level BPE vocabulary of invented words. Speed depends on shapes and types alone; nothing that it says means anything.
    scripts/make_shape.py 135m|0.5b|1.5b|small|tiny FOLDER [TEXT]        then: distill convert FOLDER model.gguf --type q4_k_m
0.5b:48 is the 0.5b with 48 layers. With TEXT, a file, the vocabulary is learned from it instead (byte-level BPE), so that a small model can be trained on it.
Python's standard library only."""
import array
import json
import os
import random
import re
import struct
import sys

SHAPES = {  # hidden, layers, heads, kv heads, feed-forward, vocabulary rows
    "135m": (576, 30, 9, 3, 1536, 49152),
    "0.5b": (896, 24, 14, 2, 4864, 151936),
    "1.5b": (1536, 28, 12, 2, 8960, 151936),
    "small": (256, 6, 4, 2, 768, 3000),
    "tiny": (256, 3, 4, 2, 512, 3000),
}


def tensors(shape):
    c, layers, h, g, f, v = shape
    d = c // h
    yield "model.embed_tokens.weight", (v, c), 0.02
    for i in range(layers):
        p = f"model.layers.{i}."
        for name, rows, cols in (("q", h * d, c), ("k", g * d, c), ("v", g * d, c)):
            yield f"{p}self_attn.{name}_proj.weight", (rows, cols), 1 / cols**0.5
            yield f"{p}self_attn.{name}_proj.bias", (rows,), 0.1
        yield f"{p}self_attn.o_proj.weight", (c, h * d), 1 / c**0.5 / layers
        yield f"{p}mlp.gate_proj.weight", (f, c), 1 / c**0.5
        yield f"{p}mlp.up_proj.weight", (f, c), 1 / c**0.5
        yield f"{p}mlp.down_proj.weight", (c, f), 1 / f**0.5 / layers
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{p}{name}.weight", (c,), None
    yield "model.norm.weight", (c,), None


def bf16(values):
    """The upper halves of floats, as bytes."""
    b = array.array("f", values).tobytes()
    out = bytearray(len(b) // 2)
    out[0::2], out[1::2] = b[2::4], b[3::4]
    return bytes(out)


def write_weights(path, shape, rng):
    noise = [rng.gauss(0, 1) for _ in range(1 << 18)]
    blocks = {}  # standard deviation: the noise of that size, in bf16
    header, at, plan = {}, 0, []
    for name, dims, std in tensors(shape):
        n = 1
        for x in dims:
            n *= x
        header[name] = {"dtype": "BF16", "shape": dims, "data_offsets": [at, at + 2 * n]}
        plan.append((n, std))
        at += 2 * n
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for n, std in plan:
            if std is None:
                f.write(bf16([1.0]) * n)
                continue
            if std not in blocks:
                blocks[std] = bf16([x * std for x in noise])
            block = blocks[std]
            while n:  # pieces of the noise, from random places on
                start = rng.randrange(len(noise))
                k = min(n, len(noise) - start)
                f.write(block[2 * start : 2 * (start + k)])
                n -= k


def byte_letters():
    """GPT-2's letters for the 256 bytes."""
    plain = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    letters = {b: chr(b) for b in plain}
    for n, b in enumerate(b for b in range(256) if b not in letters):
        letters[b] = chr(256 + n)
    return letters


def learned(text, letters, count):
    """Words and merges of BPE over the words of a text: the most frequent pair, again and again."""
    split = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[A-Za-z]+|\d| ?[^\sA-Za-z\d]+|\s+")
    times = {}
    for w in split.findall(text):
        times[w] = times.get(w, 0) + 1
    words = [[[letters[b] for b in w.encode()], n] for w, n in times.items()]
    pairs, where = {}, {}  # how often a pair stands; in which words
    def tally(i, sign):
        parts, n = words[i]
        for p in zip(parts, parts[1:]):
            pairs[p] = pairs.get(p, 0) + sign * n
            where.setdefault(p, set()).add(i)
    for i in range(len(words)):
        tally(i, 1)
    tokens, merges = [letters[b] for b in range(256)], []
    seen = set(tokens)
    while len(tokens) < count and pairs:
        a, b = best = max(pairs, key=lambda p: (pairs[p], p))
        for i in where[best]:
            tally(i, -1)
            parts, k = words[i][0], 0
            while k + 1 < len(parts):
                if (parts[k], parts[k + 1]) == best:
                    parts[k : k + 2] = [a + b]
                k += 1
            tally(i, 1)
        del pairs[best]
        merges.append(f"{a} {b}")
        if a + b not in seen:
            seen.add(a + b)
            tokens.append(a + b)
    return tokens, merges


def invented(letters, count, rng):
    """As many words that nobody says."""
    words = [letters[b] for b in range(256)]
    seen, merges = set(words), []
    common = [letters[b] for b in b"etaoinshrdlucmfwyp g"]
    pool = list(common)
    while len(words) < count:
        a, b = rng.choice(pool), rng.choice(pool)
        w = a + b
        if w in seen or letters[32] in w[1:]:
            continue
        seen.add(w)
        words.append(w)
        if len(w) <= 7:
            pool.append(w)
        merges.append(f"{a} {b}")
    return words, merges


def write_vocabulary(folder, rows, rng, text):
    letters, count = byte_letters(), rows - 300
    words, merges = learned(text, letters, count) if text else invented(letters, count, rng)
    count = len(words)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    added = [{"id": count + i, "content": s, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
             for i, s in enumerate(special)]
    split = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": False}
    json.dump({
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": {"type": "NFC"},
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": split}, "behavior": "Isolated", "invert": False}, level]},
        "post_processor": level, "decoder": level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "",
                  "fuse_unk": False, "byte_fallback": False, "vocab": {w: i for i, w in enumerate(words)}, "merges": merges},
    }, open(os.path.join(folder, "tokenizer.json"), "w"))
    template = ("{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>' + '\\n' }}{% endfor %}"
                "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}")
    json.dump({"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "pad_token": "<|endoftext|>", "bos_token": None,
               "chat_template": template, "add_bos_token": False}, open(os.path.join(folder, "tokenizer_config.json"), "w"))
    return count


def main():
    name, _, other = sys.argv[1].partition(":") if len(sys.argv) in (3, 4) else ("", "", "")
    if name not in SHAPES or (other and not other.isdigit()):
        sys.exit(__doc__)
    shape, folder, rng = SHAPES[name], sys.argv[2], random.Random(7)
    if other:
        shape = (shape[0], int(other), *shape[2:])
    c, layers, h, g, f, v = shape
    os.makedirs(folder, exist_ok=True)
    text = open(sys.argv[3], encoding="utf-8").read() if len(sys.argv) > 3 else ""
    count = write_vocabulary(folder, v, rng, text)
    write_weights(os.path.join(folder, "model.safetensors"), shape, rng)
    json.dump({"architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": c, "num_hidden_layers": layers,
               "num_attention_heads": h, "num_key_value_heads": g, "intermediate_size": f, "vocab_size": v, "rms_norm_eps": 1e-6,
               "rope_theta": 1000000.0, "max_position_embeddings": 32768, "tie_word_embeddings": True, "hidden_act": "silu",
               "use_sliding_window": False, "torch_dtype": "bfloat16", "bos_token_id": count, "eos_token_id": count + 2},
              open(os.path.join(folder, "config.json"), "w"))


main()
