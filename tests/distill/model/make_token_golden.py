#!/usr/bin/env python3
"""Writes golden/tokens.jsonl.gz: random tokenizer.json files, hostile texts, and what Hugging Face's `tokenizers` makes of them.

    python3 make_token_golden.py OUT.jsonl.gz [COUNT [SEED]]

A line: {"tokenizer": the file as text, "pre": GGUF's name for it or null, "texts": [{"hex", "parse", "plain", "add"}], "decodes": [{"ids", "text",
"skip"}]}. parse: ids with control tokens recognised; plain: without (null where a control token could come of plain text, which we forbid and
`tokenizers` does not); add: as the post-processor adds. Run by hand with a large COUNT it is a differential fuzzer's other half.
"""
import gzip
import json
import random
import sys

from tokenizers import Tokenizer

SPACES = [9, 10, 11, 12, 13, 32, 0x85, 0xA0, 0x1680, 0x180E, 0x2000, 0x2009, 0x200B, 0x2028, 0x2029, 0x202F, 0x205F, 0x3000, 0xFEFF]
ODD = SPACES + [0, 1, 0x1F, 0x7F, 0x27, 0x2019, 0x17F, 0x212A, 0x130, 0x131, 0x300, 0x301, 0x327, 0x345, 0x5B0, 0x64B, 0x93C, 0xE31, 0x1100, 0x1161,
                0x11A8, 0xAC00, 0xAC01, 0xD7A3, 0x2581, 0x120, 0x10A, 0xAD, 0x200D, 0x200C, 0xFE0F, 0x1F468, 0x1F600, 0x1F3FD, 0x1F1E6, 0xFFFD,
                0xFFFF, 0x10FFFF, 0xE000, 0x378, 0x31350, 0x2EBF0, 0x10D4A, 0x661, 0x967, 0xB2, 0xBD, 0x2160, 0x2460, 0x3007, 0x4E00, 0x9FA5,
                0x9FA6, 0x3040, 0x30FF, 0x3400, 0x20000, 0xFF11, 0xFF21, 0xFB01, 0xDF, 0x1E9E, 0x3A3, 0x3C2, 0x5D0, 0x627, 0x202E, 0xD7FF, 0x800,
                0x1C4, 0x1C5, 0xAA, 0x2B0, 0x2126, 0x3F4, 0x11938, 0x11935, 0x11930, 0x9FE, 0x1DF6, 0x32FF, 0x16D40, 0x1E5F0]
WORDS = ["the", " the", "'s", "'S", "'ll", "'LL", "'re", "don't", "'ſ", " hello", " world", "123", "1234567", "٣٤٥", "<|im_start|>", "<|im_end|>",
         "<s>", "</s>", "<unk>", "<|im_", "\r\n", "\n\n", "\n \n", "  ", "   \n", "\t\t", "...", "!!", "$%&", "日本語", "中文", "한국어", "العربية",
         "עברית", "ไทย", "नमस्ते", "😀", "👨‍👩‍👧‍👦", "é", "é", "ﬁ", "½", "A", "z", "0", "_", "CamelCase", "https://x.y/z?q=1", "<0x41>", "▁", "▁the", "Ġ"]
BROKEN = [b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\xf0\x9f\x98", b"\xff", b"\xc3", b"\x80"]
CUT = r"'s|'t|'re|'ve|'m|'ll|'d"
END = r"\s+(?!\S)|\s+"
LLAMA3 = rf"(?i:{CUT})|[^\r\n\p{{L}}\p{{N}}]?\p{{L}}+|\p{{N}}{{1,3}}| ?[^\s\p{{L}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{END}"
QWEN2 = LLAMA3.replace("{1,3}", "")
QWEN35 = rf"(?i:{CUT})|[^\r\n\p{{L}}\p{{N}}]?[\p{{L}}\p{{M}}]+|\p{{N}}| ?[^\s\p{{L}}\p{{M}}\p{{N}}]+[\r\n]*|\s*[\r\n]+|{END}"
DEEPSEEK3 = ("[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|" + END)
GPT2 = rf"{CUT}| ?\p{{L}}+| ?\p{{N}}+| ?[^\s\p{{L}}\p{{N}}]+|{END}"
KANA = "[一-龥\u3040-ゟ゠-ヿ]+"
HAN = "[一-龥ࠀ-一가-\ud7ff]+"
PATTERNS = [LLAMA3, QWEN2, QWEN35, DEEPSEEK3, GPT2, r"\p{N}{1,3}", r"\p{N}+", r"\p{N}", KANA, "[\r\n]", r"[\r\n]", r"\s+$", HAN, r"\s?\p{L}+", r"\s?\p{P}+",
            r"[0-9][0-9][0-9]", r"[\p{P}\$\+<=>\^~\|]+", GPT2[:-4], "(?:" + LLAMA3 + ")", r"(?:\s+$)", r"\w+|[^\w\s]+", r"\d+|\D", r"\S+|\s",
            r"[\s\p{Sc}]+", r"^a|b$", r".+", r"x*", r"(?=[A-Z])", r"\p{Han}+|\p{Hangul}|\p{Hiragana}|\p{Katakana}", r"\h+", r"[^\p{L}]", r"[^\s]",
            r"\P{L}+", r"\p{^N}+", r"(?i:straße|k)", r"a{2,3}|b{,2}|c{2}", r"(?<=a)b|(?<!a)c", r"\A.|.\z|\Z", r"\x{1F600}|é|\u4e00", r"(?>a+)b|a"]
BEHAVIORS = ["Isolated", "Removed", "Contiguous", "MergedWithPrevious", "MergedWithNext"]
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}


def byte_alphabet():
    keep = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    chars, extra = {}, 256
    for b in range(256):
        chars[b] = chr(b) if b in keep else chr(extra)
        extra += b not in keep
    return chars


BYTE = byte_alphabet()


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}


def named():
    digits = {"type": "Digits", "individual_digits": True}
    gpt2 = {**BYTE_LEVEL, "use_regex": True}
    nfc = {"type": "NFC"}
    return [("llama-bpe", None, [split(LLAMA3), BYTE_LEVEL], True), ("smaug-bpe", None, [split(LLAMA3), BYTE_LEVEL], False),
            ("qwen2", nfc, [split(QWEN2), BYTE_LEVEL], False), ("qwen35", nfc, [split(QWEN35), BYTE_LEVEL], False),
            ("deepseek-v3", {"type": "Sequence", "normalizers": []}, [split(r"\p{N}{1,3}"), split(KANA), split(DEEPSEEK3), BYTE_LEVEL], False),
            ("deepseek-coder", None, [split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"), split(HAN), digits, BYTE_LEVEL], False),
            ("smollm", None, [digits, gpt2], False), ("gpt-2", None, [gpt2], False),
            ("default", None, [split(r"[\p{P}\$\+<=>\^~\|]+"), split(GPT2[:-4]), split(r"\p{N}+"), split("[0-9][0-9][0-9]"), BYTE_LEVEL], False)]


def text(r):
    out = []
    for _ in range(r.choice([1, 2, 3, 5, 8, 13])):
        z = r.random()
        if z < .4: out.append(r.choice(WORDS))
        elif z < .6: out.append(chr(r.choice(ODD)))
        elif z < .75: out.append(r.choice(" abcdefghijklmnopqrstuvwxyzABC'0123456789.,\n"))
        elif z < .85: out.append(chr(r.choice(ODD)) * r.randint(1, 5))
        elif z < .95: out.append(chr(r.choice([r.randrange(0xD800), r.randrange(0xE000, 0x110000)])))
        else: out.append(r.choice("ab \n1!") * r.randint(1, 40))
    raw = "".join(out).encode()
    if r.random() < .2:
        for _ in range(r.randint(1, 3)):
            i = r.randrange(len(raw) + 1)
            raw = raw[:i] + r.choice(BROKEN) + raw[i + r.randrange(2):]
    return raw


def pattern(r):
    if r.random() < .2: return {"String": r.choice([" ", "a", "the", "\n", ".", "é", "", "▁", "  ", "😀"])}
    return {"Regex": r.choice(PATTERNS)}


def pre_tokenizer(r):
    if r.random() < .1: return None
    stages = []
    for _ in range(r.choice([1, 1, 2, 3])):
        first = r.choice(["always", "first", "never"] if not stages else ["always", "never"])
        stages.append(r.choice([{"type": "Split", "pattern": pattern(r), "behavior": r.choice(BEHAVIORS), "invert": r.random() < .2}] * 4 + [
            {"type": "Digits", "individual_digits": r.random() < .5}, {"type": "Punctuation", "behavior": r.choice(BEHAVIORS)}, {"type": "Whitespace"},
            {"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": first, "split": r.random() < .5},
            {"type": "CharDelimiterSplit", "delimiter": r.choice(" a▁")}]))
    if r.random() < .6: stages.append({**BYTE_LEVEL, "add_prefix_space": r.random() < .25, "use_regex": r.random() < .5})
    return {"type": "Sequence", "pretokenizers": stages}


def normalizer(r):
    if r.random() < .4: return None
    kinds = [{"type": k} for k in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase", "StripAccents")] + [
        {"type": "Replace", "pattern": r.choice([{"String": r.choice([" ", "a", "  ", "", "\n"])}, {"Regex": r.choice([r"\s+", r"\p{M}", "[a-c]+", "(a)(b)?"])}]),
         "content": r.choice(["▁", "", "x", "$1", "é "])}, {"type": "Prepend", "prepend": r.choice(["▁", "xy"])},
        {"type": "Strip", "strip_left": r.random() < .5, "strip_right": r.random() < .5}, {"type": "ByteLevel"}]
    return {"type": "Sequence", "normalizers": [r.choice(kinds) for _ in range(r.choice([1, 1, 2, 3]))]}


def decoder(r):
    if r.random() < .15: return None
    kinds = [BYTE_LEVEL, {"type": "ByteFallback"}, {"type": "Fuse"},
             {"type": "Replace", "pattern": r.choice([{"String": r.choice(["▁", "a", "th", ""])}, {"Regex": r.choice([r"\s+", "[a-c]", "x*"])}]),
              "content": r.choice([" ", "", "zz"])}, {"type": "Strip", "content": r.choice(" a▁"), "start": r.choice([0, 1, 2]), "stop": r.choice([0, 0, 1])},
             {"type": "Metaspace", "replacement": "▁", "prepend_scheme": r.choice(["always", "never"]), "split": True}]
    return {"type": "Sequence", "decoders": [r.choice(kinds) for _ in range(r.choice([1, 2, 3, 4]))]}


def post_processor(r):
    plain = {**BYTE_LEVEL, "trim_offsets": False}
    p = r.choice([None, plain, {"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "A1", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": "B1", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
                  "special_tokens": {"A1": {"id": "A1", "ids": [1, 2], "tokens": ["x", "y"]}, "B1": {"id": "B1", "ids": [3], "tokens": ["z"]}}},
                  {"type": "RobertaProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0], "trim_offsets": True, "add_prefix_space": True},
                  {"type": "BertProcessing", "sep": ["</s>", 2], "cls": ["<s>", 0]}])
    return {"type": "Sequence", "processors": [plain, p]} if p and r.random() < .3 else p


def model(r, raw, ignore):
    """raw: a byte-level vocabulary with all that GGUF cannot say left out."""
    m = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None, "end_of_word_suffix": None, "fuse_unk": r.random() < .5,
         "byte_fallback": False, "ignore_merges": ignore}
    chars = list(BYTE.values())
    if not raw:
        m["byte_fallback"] = r.random() < .35
        if r.random() < .5: m["unk_token"] = "<unk>"
        z = r.random()
        if z < .3: m["end_of_word_suffix"] = "</w>"
        elif z < .4: m["continuing_subword_prefix"] = r.choice(["##", "@"])
        if r.random() < .6: chars += [chr(c) for c in ODD] + list(" \n▁日本語中文é😀👨")
        if r.random() < .5: chars = [c for c in chars if r.random() < .8]
    vocab = ["<unk>"] if m["unk_token"] else []
    if m["byte_fallback"]: vocab += ["<0x%02X>" % b for b in range(256) if r.random() < .99]
    vocab += list(dict.fromkeys(chars))
    suffix, prefix = m["end_of_word_suffix"], m["continuing_subword_prefix"]
    if suffix: vocab += [c + suffix for c in dict.fromkeys(chars)]
    if prefix: vocab += [prefix + c for c in dict.fromkeys(chars)]
    seen = set(vocab)
    pool = [c for c in [BYTE[b] for b in b" etaoinshrdluthe'sll0123\n." + "é日ん가नс😀".encode()] + list("▁ abce日本") if c in seen]
    if prefix: pool += [prefix + c for c in pool if prefix + c in seen]
    if suffix: pool += [c + suffix for c in pool if c + suffix in seen]
    if "<unk>" in seen and r.random() < .3: pool.append("<unk>")
    merges = []
    for _ in range(r.choice([40, 250])):
        a, b = r.choice(pool), r.choice(pool)
        if (prefix and not b.startswith(prefix)) or (suffix and a.endswith(suffix)): continue
        made = a + b[len(prefix or ""):]
        if len(made) > 20 or (a, b) in merges: continue
        if made not in seen: vocab.append(made)
        seen.add(made)
        merges.append((a, b))
        pool.append(made)
    for w in ["hello", "Ġhello", "the", "Ġthe", "123", "▁the"]:
        if r.random() < .5 and w not in seen: vocab.append(w)
    ids = list(range(len(vocab)))
    if r.random() < .2: r.shuffle(ids)
    m["vocab"] = dict(zip(vocab, ids))
    pairs = r.random() < .5 or any(" " in a + b for a, b in merges)
    m["merges"] = [list(p) if pairs else " ".join(p) for p in merges]
    return m


def make(r, name=None, norm=None, stages=None, ignore=None):
    m = model(r, name is not None, r.random() < .3 if ignore is None else ignore)
    added, contents = [], set()
    for _ in range(r.choice([2, 5, 10])):
        c = r.choice(["<|im_start|>", "<|im_end|>", "<s>", "</s>", "<think>"] if name else
                     ["<|im_start|>", "<|im_end|>", "<|im_", "<s>", "</s>", "<unk>", "the", " x", "  ", "\n\n", "<|a b|>", "É", "é", "ABC", "▁", "日本", "12",
                      "'s", "a", "<mask>", "ſ", "ı"])
        if c in contents: continue
        contents.add(c)
        flags = {k: not name and r.random() < .25 for k in ("single_word", "lstrip", "rstrip")}
        added.append({"id": len(m["vocab"]) + len(added), "content": c, **flags, "normalized": not name and r.random() < .5, "special": r.random() < .6})
    pre = {"type": "Sequence", "pretokenizers": stages} if name else pre_tokenizer(r)
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": norm if name else normalizer(r), "pre_tokenizer": pre,
            "post_processor": None if name else post_processor(r), "decoder": BYTE_LEVEL if name else decoder(r), "model": m}


def attempt(call):
    try:
        return call()
    except BaseException:  # a panic of the library: nothing to agree with
        return None


def line(r, name, d, texts):
    h = attempt(lambda: Tokenizer.from_str(json.dumps(d)))
    if h is None: return None
    # A token that normalizes to nothing makes `tokenizers` cut between bytes, and panic within characters: refused here.
    if any(h.id_to_token(h.token_to_id(a["content"])) == "" for a in d["added_tokens"]): return None
    avoid = any(a["special"] and a["content"] in d["model"]["vocab"] and a["content"] != d["model"]["unk_token"] for a in d["added_tokens"])
    out = {"tokenizer": json.dumps(d, ensure_ascii=False), "pre": name, "texts": [], "decodes": []}
    for _ in range(texts):
        raw = text(r)
        s = raw.decode("utf-8", "replace")
        row = {"hex": raw.hex()}
        h.encode_special_tokens = False
        row["parse"] = attempt(lambda: h.encode(s, add_special_tokens=False).ids)
        row["add"] = attempt(lambda: h.encode(s).ids)
        h.encode_special_tokens = True
        row["plain"] = None if avoid else attempt(lambda: h.encode(s, add_special_tokens=False).ids)
        out["texts"].append(row)
        ids = [r.randrange(h.get_vocab_size()) for _ in range(r.randint(0, 10))] if r.random() < .6 or not row["parse"] else row["parse"]
        whole = attempt(lambda: h.decode(ids, skip_special_tokens=False))
        skip = attempt(lambda: h.decode(ids, skip_special_tokens=True))
        if whole is not None and skip is not None: out["decodes"].append({"ids": ids, "text": whole, "skip": skip})
    return out


def main():
    path, count = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 40
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 1
    rows = []
    for k, (name, norm, stages, ignore) in enumerate(named()):
        r = random.Random(seed * 1000003 + k)
        rows.append(line(r, name, make(r, name, norm, stages, ignore), 24))
    for k in range(count):
        r = random.Random(seed * 1000003 + 1000 + k)
        rows.append(line(r, None, make(r), 14))
    with gzip.GzipFile(path, "wb", 9, mtime=0) as f:
        for row in rows:
            if row: f.write((json.dumps(row, ensure_ascii=False, separators=(",", ":")) + "\n").encode("utf-8", "replace"))


main()
