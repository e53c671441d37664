/* distill/model/config_gguf.c - GGUF metadata to kd_config. Leans on config.h, format/gguf.h.
 * What config.json says with flags, GGUF says by the tensors that are there: biases, an untied head, rope factors. */
#include "distill/format/gguf.h"
#include "distill/model/names.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const kd_gguf *g;
    const char *path, *arch;
    kd_err *e;
    kd_code code;
    bool stored; /* only converted: experts are welcome */
} reader;

static const char *key_of(const reader *r, char *s, const char *key) {
    snprintf(s, 96, "%s.%s", r->arch, key);
    return s;
}

/* A size in 1..max; otherwise when absent, 0 = it must be there. An array whose elements are all equal counts as that element. */
static uint32_t size_of(reader *r, const char *key, uint32_t otherwise, uint32_t max) {
    char s[96];
    const kd_gguf_kv *kv = kd_gguf_find(r->g, key_of(r, s, key));
    int64_t v = otherwise, u;
    bool good = kv ? kd_gguf_elem_i64(kv, 0, &v) : otherwise != 0;
    for (uint64_t i = 1; good && kv && i < kv->count; i++)
        if (!kd_gguf_elem_i64(kv, i, &u) || u != v) {
            if (!r->code) r->code = kd_fail(r->e, KD_EUNSUPPORTED, "%s: %s: layers that differ in it, which we do not have", r->path, s);
            return 1;
        }
    if (!good || v < 1 || v > max) {
        if (!r->code)
            r->code = kd_fail(r->e, KD_EFORMAT, "%s: %s: expected an integer in 1..%u, found %s", r->path, s, (unsigned)max,
                              kv ? "something else" : "none");
        return 1;
    }
    return (uint32_t)v;
}

static double number_of(reader *r, const char *key, double otherwise) {
    char s[96];
    double v;
    if (!kd_gguf_find(r->g, key_of(r, s, key))) return otherwise;
    if (!kd_gguf_f64(r->g, s, &v) || !isfinite(v)) {
        if (!r->code) r->code = kd_fail(r->e, KD_EFORMAT, "%s: %s: expected a number, found something else", r->path, s);
        return otherwise;
    }
    return v;
}

static void refuse(reader *r) {
    static const char *const keys[] = {"expert_count",        "expert_used_count",        "attention.sliding_window",
                                       "logit_scale",         "attn_logit_softcapping",   "final_logit_softcapping",
                                       "attention.clamp_kqv", "attention.max_alibi_bias", "embedding_scale",
                                       "residual_scale",      "attention.scale",          "attention.kv_lora_rank",
                                       "nextn_predict_layers"};
    char s[96];
    for (size_t i = r->stored ? 2 : 0; i < sizeof keys / sizeof *keys; i++) {
        double v = number_of(r, keys[i], 0);
        if (v != 0 && !r->code)
            r->code = kd_fail(r->e, KD_EUNSUPPORTED, "%s: %s = %g: a feature that we do not have", r->path, key_of(r, s, keys[i]), v);
    }
}

/* [D/2] f32 divisors of rope_freqs.weight, into the config's own memory. */
static void read_factors(reader *r, kd_config *c) {
    const kd_tensor *t = kd_tensors_find(kd_gguf_tensors(r->g), "rope_freqs.weight");
    if (!t || r->code) return;
    size_t n = c->D / 2;
    if (t->type != KD_F32 || t->ndim != 1 || t->shape[0] != n) {
        r->code = kd_fail(r->e, KD_EFORMAT, "%s: rope_freqs.weight: expected f32 [%zu], found %s of %zu elements", r->path, n,
                          kd_dtype_get((int)t->type)->name, kd_tensor_elements(t));
        return;
    }
    if (!(c->rope.factors = kd_malloc(n * sizeof(float)))) {
        r->code = kd_fail(r->e, KD_ENOMEM, "%s: out of memory", r->path);
        return;
    }
    memcpy(c->rope.factors, t->data, n * sizeof(float));
    for (size_t i = 0; i < n; i++)
        if (!(c->rope.factors[i] > 0 && isfinite(c->rope.factors[i]))) {
            r->code = kd_fail(r->e, KD_EFORMAT, "%s: rope_freqs.weight: element %zu: expected a factor above 0, found %g", r->path, i,
                              (double)c->rope.factors[i]);
            return;
        }
}

static void read_rope(reader *r, kd_config *c) {
    kd_rope_config *p = &c->rope;
    char s[96];
    p->theta = number_of(r, "rope.freq_base", 10000.0);
    p->factor = number_of(r, "rope.scaling.factor", number_of(r, "rope.scale_linear", 0));
    p->original_context = number_of(r, "rope.scaling.original_context_length", 0);
    p->attention_factor = number_of(r, "rope.scaling.attn_factor", -1);
    p->beta_fast = number_of(r, "rope.scaling.yarn_beta_fast", 32);
    p->beta_slow = number_of(r, "rope.scaling.yarn_beta_slow", 1);
    p->truncate = true;
    kd_str type = {0};
    bool named = kd_gguf_str(r->g, key_of(r, s, "rope.scaling.type"), &type);
    if (named && kd_str_is(type, "yarn"))
        p->kind = KD_ROPE_YARN;
    else if ((named && kd_str_is(type, "linear")) || (!named && p->factor > 1))
        p->kind = KD_ROPE_LINEAR;
    else if (named && !kd_str_is(type, "none")) {
        if (!r->code)
            r->code = kd_fail(r->e, KD_EUNSUPPORTED, "%s: %s: '%.*s' is a rope scaling that we do not have (none, linear, yarn)", r->path,
                              s, (int)(type.len < 40 ? type.len : 40), type.data);
        return;
    }
    if (p->kind == KD_ROPE_YARN && p->original_context == 0) p->original_context = c->context;
    /* llama.cpp multiplies attn_factor with 1 + 0.1 ln(factor); Hugging Face's attention_factor is the product. */
    if (p->kind == KD_ROPE_YARN && p->attention_factor >= 0) p->attention_factor *= p->factor > 1 ? 1 + 0.1 * log(p->factor) : 1;
    if (p->kind != KD_ROPE_DEFAULT && !(p->factor > 0) && !r->code)
        r->code = kd_fail(r->e, KD_EFORMAT, "%s: rope.scaling.factor: expected a number above 0", r->path);
    read_factors(r, c);
    uint32_t rot = size_of(r, "rope.dimension_count", c->D, 4096);
    if (rot != c->D && !r->code)
        r->code = kd_fail(r->e, KD_EUNSUPPORTED, "%s: rope.dimension_count: rotary embedding on %u of %u dimensions, which we do not have",
                          r->path, rot, c->D);
}

static bool has(const reader *r, kd_role role) {
    char s[96];
    return kd_tensors_find(kd_gguf_tensors(r->g), kd_name_gguf(s, role, 0)) != NULL;
}

static int64_t id_of(const reader *r, const char *key) {
    int64_t v;
    return kd_gguf_i64(r->g, key, &v) ? v : -1;
}

static void read_sizes(reader *r, kd_config *c) {
    c->L = size_of(r, "block_count", 0, 4096);
    c->C = size_of(r, "embedding_length", 0, 1u << 20);
    c->F = size_of(r, "feed_forward_length", 0, 1u << 22);
    c->H = size_of(r, "attention.head_count", 0, 1u << 14);
    c->G = size_of(r, "attention.head_count_kv", c->H, 1u << 14);
    c->D = size_of(r, "attention.key_length", c->C >= c->H ? c->C / c->H : 1, 4096);
    if (size_of(r, "attention.value_length", c->D, 4096) != c->D && !r->code)
        r->code =
            kd_fail(r->e, KD_EUNSUPPORTED, "%s: attention.value_length: values wider or narrower than keys, which we do not have", r->path);
    c->context = size_of(r, "context_length", 2048, 1u << 30);
    c->norm_eps = (float)number_of(r, "attention.layer_norm_rms_epsilon", 0);
    c->initializer_range = 0.02;
    char s[96];
    const kd_tensor *embed = kd_tensors_find(kd_gguf_tensors(r->g), kd_name_gguf(s, KD_EMBED, 0));
    const kd_gguf_kv *vocab = kd_gguf_find(r->g, "tokenizer.ggml.tokens");
    c->V = size_of(r, "vocab_size", vocab && vocab->count && vocab->count < (1u << 24) ? (uint32_t)vocab->count : 0, 1u << 24);
    if (embed && embed->ndim == 2 && embed->shape[0] <= (1u << 24)) c->V = (uint32_t)embed->shape[0];
    c->tied = !has(r, KD_HEAD);
    c->qkv_bias = has(r, KD_Q_BIAS);
    c->o_bias = has(r, KD_O_BIAS);
    c->mlp_bias = has(r, KD_GATE_BIAS);
    c->qk_norm = has(r, KD_Q_NORM);
    c->bos = id_of(r, "tokenizer.ggml.bos_token_id");
    c->pad = id_of(r, "tokenizer.ggml.padding_token_id");
    int64_t eos = id_of(r, "tokenizer.ggml.eos_token_id");
    if (eos >= 0) c->eos[c->eos_count++] = eos;
}

static void read_experts(reader *r, kd_config *c, bool qwen) {
    char s[96];
    if (!r->stored || (!qwen && !kd_gguf_find(r->g, key_of(r, s, "expert_count")))) return;
    int64_t n = 0;
    if (!qwen && kd_gguf_i64(r->g, s, &n) && n == 0) return; /* some dense files say so */
    c->experts = size_of(r, "expert_count", 0, 4096);
    c->experts_used = size_of(r, "expert_used_count", 0, 4096);
    c->expert_F = size_of(r, "expert_feed_forward_length", c->F, 1u << 22);
    c->norm_topk = true;
    c->mlp_bias = false;
    if (number_of(r, "expert_shared_count", 0) != 0 || number_of(r, "expert_shared_feed_forward_length", 0) != 0) {
        if (!r->code)
            r->code = kd_fail(r->e, KD_EUNSUPPORTED, "%s: %s: experts that every token takes, which we do not have", r->path,
                              key_of(r, s, "expert_shared_count"));
    }
    if (c->experts_used > c->experts && !r->code)
        r->code = kd_fail(r->e, KD_EFORMAT, "%s: %s: expected at most the %u experts, found %u", r->path, key_of(r, s, "expert_used_count"),
                          c->experts, c->experts_used);
}

static kd_code from_gguf(kd_config *out, const kd_gguf *g, bool stored, kd_err *e) {
    memset(out, 0, sizeof *out);
    reader r = {.g = g, .path = "GGUF", .e = e, .stored = stored};
    const kd_tensors *set = kd_gguf_tensors(g);
    if (kd_tensors_files(set)) r.path = kd_map_path(kd_tensors_map(set, 0));
    kd_str arch;
    if (!kd_gguf_str(g, "general.architecture", &arch))
        return kd_fail(e, KD_EFORMAT, "%s: general.architecture: expected a string, found none", r.path);
    const bool qwen_moe = kd_str_is(arch, "qwen3moe");
    int a = qwen_moe ? KD_QWEN3 : 0;
    while (!qwen_moe && a < KD_ARCHS && !kd_str_is(arch, kd_arch_name((kd_arch)a))) a++;
    if (qwen_moe && !stored)
        return kd_fail(e, KD_EUNSUPPORTED,
                       "%s: general.architecture: 'qwen3moe' is a mixture of experts, which can be converted but not run", r.path);
    if (a == KD_ARCHS)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: general.architecture: '%.*s' is a family that we do not have (llama, qwen2, qwen3)", r.path,
                       (int)(arch.len < 60 ? arch.len : 60), arch.data);
    out->arch = (kd_arch)a;
    r.arch = qwen_moe ? "qwen3moe" : kd_arch_name(out->arch);
    refuse(&r);
    read_sizes(&r, out);
    read_experts(&r, out, qwen_moe);
    read_rope(&r, out);
    kd_code code = r.code ? r.code : kd_config_check(out, r.path, e);
    if (code) kd_config_clear(out);
    return code;
}

kd_code kd_config_from_gguf(kd_config *out, const kd_gguf *g, kd_err *e) { return from_gguf(out, g, false, e); }
kd_code kd_config_from_gguf_stored(kd_config *out, const kd_gguf *g, kd_err *e) { return from_gguf(out, g, true, e); }
