/* distill/model/token_pre.c - the names that GGUF gives to pre-tokenizers (tokenizer.ggml.pre), and the stages that stand for each in the
 * tokenizer.json of the models that carry them. Leans on token_impl.h. */
#include "distill/model/token_impl.h"

#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s+(?!\\S)|\\s+"
#define LLAMA3 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES
#define QWEN2 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES
#define QWEN35 CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES
/* Letters of alphabets with two cases, as DeepSeek-LLM's tokenizer.json lists them (clang-format counts their width anew at each run). */
/* clang-format off */
#define CASED \
    "A-Za-zµÀ-ÖØ-öø-ƺƼ-ƿǄ-ʓʕ-ʯͰ-ͳͶͷͻ-ͽͿΆΈ-ΊΌΎ-ΡΣ-ϵϷ-ҁҊ-ԯԱ-ՖႠ-ჅᎠ-Ᏽᏸ-ᏽᲐ-ᲺᲽ-Ჿᴀ-ᴫᵫ-ᵷᵹ-ᶚḀ-ἕἘ-Ἕἠ-ὅὈ-Ὅὐ-ὗὙὛὝὟ-ώᾀ-ᾴ" \
    "ᾶ-ᾼιῂ-ῄῆ-ῌῐ-ΐῖ-Ίῠ-Ῥῲ-ῴῶ-ῼℂℇℊ-ℓℕℙ-ℝℤΩℨK-ℭℯ-ℴℹℼ-ℿⅅ-ⅉⅎↃↄⰀ-ⱻⱾ-ⳤⳫ-ⳮⳲⳳꙀ-ꙭꚀ-ꚛꜢ-ꝯꝱ-ꞇꞋ-ꞎꭰ-ꮿﬀ-ﬆﬓ-ﬗＡ-Ｚａ-ｚ𐐀-𐑏𐒰-𐓓" \
    "𐓘-𐓻𐲀-𐲲𐳀-𐳲𑢠-𑣟𞤀-𞥃"
/* clang-format on */
#define DEEPSEEK3                                                                                                                          \
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "                                    \
    "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|" SPACES
#define HAN "[一-龥ࠀ-一가-퟿]+" /* U+4E00-U+9FA5, U+0800-U+4E00, U+AC00-U+D7FF */
#define DIGITS ""                      /* Digits, one by one */

static const struct {
    const char *name;
    bool nfc, ignore_merges;
    const char *stage[8]; /* expressions of Splits, all isolated; NULL ends them; the byte-level alphabet follows */
} known[] = {
    {"llama-bpe", false, true, {LLAMA3}},
    {"llama3", false, true, {LLAMA3}},
    {"llama-v3", false, true, {LLAMA3}},
    {"smaug-bpe", false, false, {LLAMA3}},
    {"dbrx", false, false, {LLAMA3}},
    {"qwen2", true, false, {QWEN2}},
    {"deepseek-r1-qwen", true, false, {QWEN2}},
    {"stablelm2", false, false, {QWEN2}},
    {"qwen35", true, false, {QWEN35}},
    {"deepseek-llm", false, false, {"[\r\n]", "\\s?[" CASED "]+", "\\s?[!-/:-~！-／：-～‘-‟　-。]+", "\\s+$", HAN, DIGITS}},
    {"deepseek-coder", false, false, {"[\r\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", HAN, DIGITS}},
    {"deepseek-v3", false, false, {"\\p{N}{1,3}", "[一-龥\u3040-ゟ゠-ヿ]+", DEEPSEEK3}},
    {"smollm", false, false, {DIGITS, GPT2}},
    {"starcoder", false, false, {DIGITS, GPT2}},
    {"refact", false, false, {DIGITS, GPT2}},
    {"gpt-2", false, false, {GPT2}},
    {"mpt", false, false, {GPT2}},
    {"olmo", false, false, {GPT2}},
    {"default",
     false,
     false,
     {"[\\p{P}\\$\\+<=>\\^~\\|]+", "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)", "\\p{N}+",
      "[0-9][0-9][0-9]"}},
};
enum { KNOWN = sizeof known / sizeof *known, STAGES = sizeof known[0].stage / sizeof *known[0].stage };

static kd_code set_stages(kd_tokenizer *t, size_t k, kd_err *e) {
    kd_code c = KD_OK;
    t->ignore_merges = known[k].ignore_merges;
    if (known[k].nfc) t->norm[t->norms++] = (tok_norm){.kind = NM_FORM, .form = KD_NFC};
    for (size_t i = 0; i < STAGES && known[k].stage[i] && !c; i++) {
        const char *text = known[k].stage[i];
        tok_pre *p = &t->pre[t->pres++];
        *p = (tok_pre){.kind = ST_SPLIT, .pattern = {.kind = SM_SCAN, .scan = kd_tok_scan_digit}, .behavior = SB_ISOLATED};
        if (text[0]) c = kd_tok_pattern_regex(t, &p->pattern, (kd_str){text, strlen(text)}, true, e);
    }
    t->pre[t->pres++] = (tok_pre){.kind = ST_MAP_BYTES};
    t->dec[t->decs++] = (tok_dec){.kind = DC_BYTE_LEVEL};
    t->has_decoder = true;
    return c;
}

kd_code kd_tok_pre_set(kd_tokenizer *t, kd_str name, kd_err *e) {
    if (!name.data) name = KD_STR("default");
    for (size_t k = 0; k < KNOWN; k++) {
        if (!kd_str_is(name, known[k].name)) continue;
        t->pre_name = known[k].name;
        return set_stages(t, k, e);
    }
    return kd_fail(e, KD_EUNSUPPORTED, "%s: the pre-tokenizer '%.*s' (tokenizer.ggml.pre) is not supported", t->what,
                   (int)(name.len < 60 ? name.len : 60), name.data);
}

static bool same(const tok_pre *p, const char *text) {
    if (p->kind != ST_SPLIT || p->behavior != SB_ISOLATED) return false;
    if (!text[0]) return p->pattern.kind == SM_SCAN && p->pattern.scan == kd_tok_scan_digit;
    if (p->pattern.kind == SM_SCAN) return p->pattern.scan == kd_tok_scanner((kd_str){text, strlen(text)});
    return p->pattern.kind == SM_REGEX && kd_str_is(p->pattern.source, text);
}

const char *kd_tok_pre_name(const kd_tokenizer *t) {
    if (t->kind == KD_TOKENIZER_SPM || !t->raw || t->decs != 1 || t->dec[0].kind != DC_BYTE_LEVEL) return NULL;
    const bool nfc = t->norms == 1 && t->norm[0].kind == NM_FORM && t->norm[0].form == KD_NFC;
    if (t->norms && !nfc) return NULL;
    for (size_t k = 0; k < KNOWN; k++) {
        size_t i = 0;
        if (known[k].nfc != nfc || known[k].ignore_merges != t->ignore_merges) continue;
        while (i < STAGES && known[k].stage[i] && i + 1 < t->pres && same(&t->pre[i], known[k].stage[i])) i++;
        if (i + 1 == t->pres && (i == STAGES || !known[k].stage[i])) return known[k].name;
    }
    return NULL;
}

/* The pre_tokenizer of tokenizer.json for the name that t has. */
void kd_tok_pre_write(const kd_tokenizer *t, kd_jsonw *w) {
    size_t k = 0;
    while (k + 1 < KNOWN && strcmp(known[k].name, t->pre_name) != 0) k++;
    kd_jsonw_key(w, "normalizer");
    if (known[k].nfc) {
        kd_jsonw_object(w);
        kd_jsonw_key(w, "type");
        kd_jsonw_cstr(w, "NFC");
        kd_jsonw_end_object(w);
    } else {
        kd_jsonw_null(w);
    }
    kd_jsonw_key(w, "pre_tokenizer");
    kd_jsonw_object(w);
    kd_jsonw_key(w, "type");
    kd_jsonw_cstr(w, "Sequence");
    kd_jsonw_key(w, "pretokenizers");
    kd_jsonw_array(w);
    for (size_t i = 0; i < STAGES && known[k].stage[i]; i++) {
        const char *text = known[k].stage[i];
        kd_jsonw_object(w);
        kd_jsonw_key(w, "type");
        kd_jsonw_cstr(w, text[0] ? "Split" : "Digits");
        if (text[0]) {
            kd_jsonw_key(w, "pattern");
            kd_jsonw_object(w);
            kd_jsonw_key(w, "Regex");
            kd_jsonw_cstr(w, text);
            kd_jsonw_end_object(w);
            kd_jsonw_key(w, "behavior");
            kd_jsonw_cstr(w, "Isolated");
        }
        kd_jsonw_key(w, text[0] ? "invert" : "individual_digits");
        kd_jsonw_bool(w, !text[0]);
        kd_jsonw_end_object(w);
    }
    kd_tok_write_byte_level(w, false, false);
    kd_jsonw_end_array(w);
    kd_jsonw_end_object(w);
}
