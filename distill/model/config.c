/* distill/model/config.c - config.json to kd_config and back, and what both spellings of it mean. Leans on config.h, base/json.h.
 * Defaults are those of transformers' configuration classes, so a key that is absent means here what it means there. */
#include "distill/model/config.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *type, *cls;
} ARCH[KD_ARCHS] = {{"llama", "LlamaForCausalLM"}, {"qwen2", "Qwen2ForCausalLM"}, {"qwen3", "Qwen3ForCausalLM"}};

/* Mixtures of experts, by the dense family that they are built on. */
static const struct {
    kd_arch base;
    const char *type, *cls, *gguf;
} MOE[] = {{KD_QWEN3, "qwen3_moe", "Qwen3MoeForCausalLM", "qwen3moe"}, {KD_LLAMA, "mixtral", "MixtralForCausalLM", "llama"}};
enum { MOES = sizeof MOE / sizeof *MOE };

static int moe_of(const kd_config *c) {
    for (int i = 0; i < MOES; i++)
        if (c->experts && MOE[i].base == c->arch) return i;
    return -1;
}
const char *kd_config_type(const kd_config *c) { return moe_of(c) < 0 ? ARCH[c->arch].type : MOE[moe_of(c)].type; }
const char *kd_config_class(const kd_config *c) { return moe_of(c) < 0 ? ARCH[c->arch].cls : MOE[moe_of(c)].cls; }
const char *kd_config_gguf_arch(const kd_config *c) { return moe_of(c) < 0 ? ARCH[c->arch].type : MOE[moe_of(c)].gguf; }

const char *kd_arch_name(kd_arch a) { return ARCH[a].type; }
const char *kd_arch_class(kd_arch a) { return ARCH[a].cls; }

void kd_config_clear(kd_config *c) {
    kd_free(c->rope.factors);
    memset(c, 0, sizeof *c);
}

/* What reading carries along. The first failure stays. */
typedef struct {
    const kd_json_node *o;
    const char *what;
    kd_err *e;
    kd_code code;
    int moe;     /* of MOE, or -1 */
    bool stored; /* only converted: packed weights are welcome */
} reader;

static const kd_json_node *get(const kd_json_node *o, const char *key) {
    const kd_json_node *n = kd_json_get(o, key);
    return kd_json_typeof(n) == KD_JSON_NULL ? NULL : n; /* null means absent, as in transformers */
}

static void fail(reader *r, kd_code c, const char *key, const char *expected) {
    if (!r->code) r->code = kd_fail(r->e, c, "%s: %s: %s", r->what, key, expected);
}

/* An integer in 1..max; otherwise is used when the key is absent, 0 = it must be there. */
static uint32_t size_of(reader *r, const char *key, uint32_t otherwise, uint32_t max) {
    const kd_json_node *n = get(r->o, key);
    int64_t v = otherwise;
    if (n ? !kd_json_int(n, &v) || v < 1 || v > max : !otherwise) {
        char s[80];
        snprintf(s, sizeof s, "expected an integer in 1..%u, found %s", (unsigned)max, n ? "something else" : "none");
        fail(r, KD_EFORMAT, key, s);
        return 1;
    }
    return (uint32_t)v;
}

static double number_of(reader *r, const kd_json_node *o, const char *key, double otherwise, bool positive) {
    const kd_json_node *n = get(o, key);
    if (!n) return otherwise;
    double v = kd_json_number(n, NAN);
    if (kd_json_typeof(n) != KD_JSON_NUMBER || !isfinite(v) || (positive && v <= 0)) {
        fail(r, KD_EFORMAT, key, positive ? "expected a number above 0, found something else" : "expected a number, found something else");
        return otherwise;
    }
    return v;
}

static bool bool_of(reader *r, const char *key, bool otherwise) {
    const kd_json_node *n = get(r->o, key);
    if (n && kd_json_typeof(n) != KD_JSON_BOOL) fail(r, KD_EFORMAT, key, "expected true or false, found something else");
    return kd_json_bool(n, otherwise);
}

/* Keys that change the arithmetic in ways we lack: each must be absent, null, or one of the neutral values. */
static void refuse_features(reader *r, kd_arch arch) {
    static const struct {
        const char *key;
        double neutral;
    } keys[] = {{"num_local_experts", 0},
                {"num_experts", 0},
                {"n_routed_experts", 0},
                {"use_mrope", 0},
                {"partial_rotary_factor", 1},
                {"rotary_pct", 1},
                {"embedding_multiplier", 1},
                {"attention_multiplier", NAN},
                {"residual_multiplier", 1},
                {"logits_scaling", 1},
                {"logit_scale", 1},
                {"attn_logit_softcapping", 0},
                {"final_logit_softcapping", 0},
                {"clip_qkv", 0},
                {"use_sliding_window", 0},
                {"query_pre_attn_scalar", NAN},
                {"num_nextn_predict_layers", 0},
                {"kv_lora_rank", 0},
                {"alibi", 0},
                {"use_alibi", 0},
                {"parallel_attn", 0},
                {"scale_emb", 1},
                {"scale_depth", NAN},
                {"dim_model_base", NAN},
                {"no_rope_layers", NAN},
                {"attention_sink_size", 0},
                {"num_kv_shared_layers", 0},
                {"rope_interleaved", 0}};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        const kd_json_node *n = get(r->o, keys[i].key);
        if (!n || (r->moe >= 0 && (!strcmp(keys[i].key, "num_local_experts") || !strcmp(keys[i].key, "num_experts")))) continue;
        double v = kd_json_typeof(n) == KD_JSON_BOOL ? kd_json_bool(n, false) : kd_json_number(n, NAN);
        if (v != keys[i].neutral) fail(r, KD_EUNSUPPORTED, keys[i].key, "a feature that we do not have; a model that uses it is refused");
    }
    if (get(r->o, "quantization_config") && !r->stored)
        fail(r, KD_EUNSUPPORTED, "quantization_config",
             "weights quantized inside safetensors, which are not computed with: convert them first");
    if (arch == KD_LLAMA && get(r->o, "sliding_window"))
        fail(r, KD_EUNSUPPORTED, "sliding_window", "windowed attention, which we do not have");
    const kd_json_node *types = get(r->o, "layer_types");
    for (const kd_json_node *t = kd_json_first(types); t; t = kd_json_next(t))
        if (!kd_str_is(kd_json_string(t), "full_attention"))
            fail(r, KD_EUNSUPPORTED, "layer_types", "a layer that is not full_attention, which we do not have");
    kd_str act = kd_json_string(get(r->o, "hidden_act"));
    if (act.data && !kd_str_is(act, "silu") && !kd_str_is(act, "swish"))
        fail(r, KD_EUNSUPPORTED, "hidden_act", "an activation that we do not have (only silu)");
}

/* Qwen3-MoE with every layer sparse, Mixtral. */
static void read_experts(reader *r, kd_config *c) {
    if (r->moe < 0) return;
    const bool mixtral = MOE[r->moe].base == KD_LLAMA;
    /* either word may stand for the number: transformers' writers changed */
    c->experts = size_of(r, get(r->o, "num_experts") ? "num_experts" : "num_local_experts", mixtral ? 8 : 128, 4096);
    c->experts_used = size_of(r, "num_experts_per_tok", mixtral ? 2 : 8, 4096);
    c->expert_F = mixtral ? c->F : size_of(r, "moe_intermediate_size", 768, 1u << 22);
    c->norm_topk = mixtral || bool_of(r, "norm_topk_prob", false);
    if (c->experts_used > c->experts) fail(r, KD_EFORMAT, "num_experts_per_tok", "expected at most the number of experts");
    if (!mixtral && number_of(r, r->o, "decoder_sparse_step", 1, true) != 1)
        fail(r, KD_EUNSUPPORTED, "decoder_sparse_step", "layers without experts among others, which we do not have");
    if (kd_json_count(get(r->o, "mlp_only_layers")))
        fail(r, KD_EUNSUPPORTED, "mlp_only_layers", "layers without experts among others, which we do not have");
    if (mixtral && get(r->o, "sliding_window")) fail(r, KD_EUNSUPPORTED, "sliding_window", "windowed attention, which we do not have");
}

static void read_rope(reader *r, kd_config *c) {
    kd_rope_config *p = &c->rope;
    const kd_json_node *o = get(r->o, "rope_parameters");
    if (!o) o = get(r->o, "rope_scaling");
    if (o && kd_json_typeof(o) != KD_JSON_OBJECT) {
        fail(r, KD_EFORMAT, "rope_parameters", "expected an object, found something else");
        return;
    }
    p->theta = number_of(r, r->o, "rope_theta", 10000.0, true);
    p->theta = number_of(r, o, "rope_theta", p->theta, true);
    p->attention_factor = -1;
    kd_str type = kd_json_string(get(o, "rope_type"));
    if (!type.data) type = kd_json_string(get(o, "type"));
    if (number_of(r, o, "partial_rotary_factor", 1, true) != 1)
        fail(r, KD_EUNSUPPORTED, "partial_rotary_factor", "rotary embedding on a part of the head, which we do not have");
    if (get(o, "mrope_section")) fail(r, KD_EUNSUPPORTED, "mrope_section", "multimodal rotary embedding, which we do not have");
    if (!type.data || kd_str_is(type, "default")) {
        p->kind = KD_ROPE_DEFAULT;
        return;
    }
    if (kd_str_is(type, "linear"))
        p->kind = KD_ROPE_LINEAR;
    else if (kd_str_is(type, "llama3"))
        p->kind = KD_ROPE_LLAMA3;
    else if (kd_str_is(type, "yarn"))
        p->kind = KD_ROPE_YARN;
    else {
        char s[160];
        snprintf(s, sizeof s, "'%.60s' is a rope scaling that we do not have (default, linear, llama3, yarn)", type.data);
        fail(r, KD_EUNSUPPORTED, "rope_type", s);
        return;
    }
    p->factor = number_of(r, o, "factor", 0, true);
    p->original_context = number_of(r, o, "original_max_position_embeddings", 0, true);
    p->low_freq_factor = number_of(r, o, "low_freq_factor", 0, true);
    p->high_freq_factor = number_of(r, o, "high_freq_factor", 0, true);
    p->beta_fast = number_of(r, o, "beta_fast", 32, true);
    p->beta_slow = number_of(r, o, "beta_slow", 1, true);
    p->attention_factor = number_of(r, o, "attention_factor", -1, true);
    p->mscale = number_of(r, o, "mscale", 0, false);
    p->mscale_all_dim = number_of(r, o, "mscale_all_dim", 0, false);
    p->truncate = kd_json_bool(get(o, "truncate"), true);
    if (p->kind == KD_ROPE_YARN && p->original_context == 0) p->original_context = c->context;
    if (p->kind == KD_ROPE_YARN && p->factor == 0 && get(o, "original_max_position_embeddings"))
        p->factor = c->context / p->original_context;
    if (p->factor == 0) fail(r, KD_EFORMAT, "factor", "expected the rope scaling's factor, found none");
    if (p->kind == KD_ROPE_LLAMA3 && (p->original_context == 0 || p->low_freq_factor == 0 || p->high_freq_factor <= p->low_freq_factor))
        fail(r, KD_EFORMAT, "rope_scaling", "llama3 needs original_max_position_embeddings and low_freq_factor < high_freq_factor");
}

static void read_ids(reader *r, kd_config *c) {
    int64_t v;
    c->bos = kd_json_int(get(r->o, "bos_token_id"), &v) ? v : -1;
    c->pad = kd_json_int(get(r->o, "pad_token_id"), &v) ? v : -1;
    const kd_json_node *eos = get(r->o, "eos_token_id");
    if (kd_json_int(eos, &v))
        c->eos[c->eos_count++] = v;
    else if (kd_json_typeof(eos) == KD_JSON_ARRAY)
        for (const kd_json_node *n = kd_json_first(eos); n && c->eos_count < 8; n = kd_json_next(n))
            if (kd_json_int(n, &v)) c->eos[c->eos_count++] = v;
}

static void read_sizes(reader *r, kd_config *c) {
    c->C = size_of(r, "hidden_size", 0, 1u << 20);
    c->L = size_of(r, "num_hidden_layers", 0, 4096);
    c->H = size_of(r, "num_attention_heads", 0, 1u << 14);
    c->G = size_of(r, "num_key_value_heads", r->moe >= 0 ? (c->arch == KD_LLAMA ? 8 : 4) : c->arch == KD_LLAMA ? c->H : 32, 1u << 14);
    c->F = size_of(r, "intermediate_size", 0, 1u << 22);
    c->V = size_of(r, "vocab_size", 0, 1u << 24);
    c->D = size_of(r, "head_dim", c->arch == KD_QWEN3 && r->moe < 0 ? 128 : c->C >= c->H ? c->C / c->H : 1, 4096);
    c->context = size_of(r, "max_position_embeddings", c->arch == KD_LLAMA ? 2048 : 32768, 1u << 30);
    c->norm_eps = (float)number_of(r, r->o, "rms_norm_eps", 1e-6, true);
    c->initializer_range = number_of(r, r->o, "initializer_range", 0.02, true);
    c->tied = bool_of(r, "tie_word_embeddings", false);
    bool attention_bias = bool_of(r, "attention_bias", false);
    c->qkv_bias = c->arch == KD_QWEN2 || attention_bias;
    c->o_bias = c->arch != KD_QWEN2 && attention_bias;
    c->mlp_bias = c->arch == KD_LLAMA && bool_of(r, "mlp_bias", false);
    c->qk_norm = c->arch == KD_QWEN3;
}

kd_code kd_config_check(const kd_config *c, const char *what, kd_err *e) {
    if (c->H % c->G)
        return kd_fail(e, KD_EFORMAT, "%s: num_key_value_heads: expected a divisor of the %u query heads, found %u", what, c->H, c->G);
    if (c->D % 2) return kd_fail(e, KD_EFORMAT, "%s: head_dim: expected an even number, found %u", what, c->D);
    if (!(c->norm_eps > 0 && c->norm_eps < 1))
        return kd_fail(e, KD_EFORMAT, "%s: rms_norm_eps: expected a number in (0,1), found %g", what, (double)c->norm_eps);
    return KD_OK;
}

static kd_code from_json(kd_config *out, const char *text, size_t len, const char *what, bool stored, kd_err *e) {
    memset(out, 0, sizeof *out);
    kd_json *doc = NULL;
    kd_code code = kd_json_parse(&doc, text, len, what, e);
    if (code) return code;
    reader r = {.o = kd_json_root(doc), .what = what, .e = e, .moe = -1, .stored = stored};
    kd_str type = kd_json_string(get(r.o, "model_type"));
    int arch = 0;
    while (arch < KD_ARCHS && !kd_str_is(type, ARCH[arch].type)) arch++;
    for (int i = 0; i < MOES; i++)
        if (kd_str_is(type, MOE[i].type)) r.moe = i, arch = (int)MOE[i].base;
    if (r.moe >= 0 && !stored) {
        code = kd_fail(e, KD_EUNSUPPORTED, "%s: model_type: '%s' is a mixture of experts, which can be converted but not run", what,
                       type.data);
        goto done;
    }
    if (arch == KD_ARCHS) {
        code = kd_fail(e, KD_EUNSUPPORTED, "%s: model_type: '%.60s' is a family that we do not have (llama, qwen2, qwen3)", what,
                       type.data ? type.data : "");
        goto done;
    }
    kd_str cls = kd_json_string(kd_json_first(get(r.o, "architectures")));
    const char *expected = r.moe < 0 ? ARCH[arch].cls : MOE[r.moe].cls;
    if (cls.data && !kd_str_is(cls, expected)) {
        code = kd_fail(e, KD_EUNSUPPORTED, "%s: architectures: expected %s, found '%.60s'", what, expected, cls.data);
        goto done;
    }
    out->arch = (kd_arch)arch;
    refuse_features(&r, out->arch);
    read_sizes(&r, out);
    read_experts(&r, out);
    read_rope(&r, out);
    read_ids(&r, out);
    if (!r.code && stored) r.code = kd_packing_read(&out->packing, get(r.o, "quantization_config"), what, e);
    code = r.code ? r.code : kd_config_check(out, what, e);
done:
    if (code) kd_config_clear(out);
    kd_json_free(doc);
    return code;
}

kd_code kd_config_from_json(kd_config *out, const char *text, size_t len, const char *what, kd_err *e) {
    return from_json(out, text, len, what, false, e);
}
kd_code kd_config_from_json_stored(kd_config *out, const char *text, size_t len, const char *what, kd_err *e) {
    return from_json(out, text, len, what, true, e);
}

static void write_rope(kd_jsonw *w, const kd_rope_config *p) {
    static const char *const kinds[] = {"default", "linear", "llama3", "yarn"};
    kd_jsonw_key(w, "rope_theta");
    kd_jsonw_double(w, p->theta);
    kd_jsonw_key(w, "rope_scaling");
    if (p->kind == KD_ROPE_DEFAULT) {
        kd_jsonw_null(w);
        return;
    }
    kd_jsonw_object(w);
    kd_jsonw_key(w, "rope_type");
    kd_jsonw_cstr(w, kinds[p->kind]);
    kd_jsonw_key(w, "factor");
    kd_jsonw_double(w, p->factor);
    if (p->kind != KD_ROPE_LINEAR && p->original_context > 0)
        kd_jsonw_key(w, "original_max_position_embeddings"), kd_jsonw_int(w, (int64_t)p->original_context);
    if (p->kind == KD_ROPE_LLAMA3) {
        kd_jsonw_key(w, "low_freq_factor");
        kd_jsonw_double(w, p->low_freq_factor);
        kd_jsonw_key(w, "high_freq_factor");
        kd_jsonw_double(w, p->high_freq_factor);
    }
    if (p->kind == KD_ROPE_YARN) {
        kd_jsonw_key(w, "beta_fast");
        kd_jsonw_double(w, p->beta_fast);
        kd_jsonw_key(w, "beta_slow");
        kd_jsonw_double(w, p->beta_slow);
        if (p->attention_factor >= 0) kd_jsonw_key(w, "attention_factor"), kd_jsonw_double(w, p->attention_factor);
        if (p->mscale != 0) kd_jsonw_key(w, "mscale"), kd_jsonw_double(w, p->mscale);
        if (p->mscale_all_dim != 0) kd_jsonw_key(w, "mscale_all_dim"), kd_jsonw_double(w, p->mscale_all_dim);
        if (!p->truncate) kd_jsonw_key(w, "truncate"), kd_jsonw_bool(w, false);
    }
    kd_jsonw_end_object(w);
}

static void write_id(kd_jsonw *w, const char *key, int64_t id) {
    kd_jsonw_key(w, key);
    if (id < 0)
        kd_jsonw_null(w);
    else
        kd_jsonw_int(w, id);
}

kd_code kd_config_to_json(kd_buf *out, const kd_config *c, const char *dtype, kd_err *e) {
    kd_jsonw w = {.out = out, .python = true};
    const struct {
        const char *key;
        int64_t v;
    } sizes[] = {{"hidden_size", c->C},         {"intermediate_size", c->F},
                 {"num_hidden_layers", c->L},   {"num_attention_heads", c->H},
                 {"num_key_value_heads", c->G}, {"head_dim", c->D},
                 {"vocab_size", c->V},          {"max_position_embeddings", c->context}};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "architectures");
    kd_jsonw_array(&w);
    kd_jsonw_cstr(&w, kd_config_class(c));
    kd_jsonw_end_array(&w);
    kd_jsonw_key(&w, "model_type");
    kd_jsonw_cstr(&w, kd_config_type(c));
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) kd_jsonw_key(&w, sizes[i].key), kd_jsonw_int(&w, sizes[i].v);
    kd_jsonw_key(&w, "hidden_act");
    kd_jsonw_cstr(&w, "silu");
    kd_jsonw_key(&w, "rms_norm_eps");
    char text[32];
    snprintf(text, sizeof text, "%.8g", (double)c->norm_eps); /* a float's own digits: 1e-06, not 9.99999997e-07 */
    for (int digits = 1; digits < 9; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)c->norm_eps);
        if (strtof(text, NULL) == c->norm_eps) break;
    }
    kd_jsonw_raw(&w, kd_str_of(text));
    kd_jsonw_key(&w, "initializer_range");
    kd_jsonw_double(&w, c->initializer_range > 0 ? c->initializer_range : 0.02);
    kd_jsonw_key(&w, "tie_word_embeddings");
    kd_jsonw_bool(&w, c->tied);
    if (c->arch != KD_QWEN2 && !(c->arch == KD_LLAMA && c->experts)) kd_jsonw_key(&w, "attention_bias"), kd_jsonw_bool(&w, c->o_bias);
    if (c->arch == KD_LLAMA && c->experts)
        kd_jsonw_key(&w, "sliding_window"), kd_jsonw_null(&w);
    else if (c->arch == KD_LLAMA)
        kd_jsonw_key(&w, "mlp_bias"), kd_jsonw_bool(&w, c->mlp_bias);
    else
        kd_jsonw_key(&w, "use_sliding_window"), kd_jsonw_bool(&w, false);
    if (c->experts) {
        kd_jsonw_key(&w, c->arch == KD_LLAMA ? "num_local_experts" : "num_experts"), kd_jsonw_int(&w, c->experts);
        kd_jsonw_key(&w, "num_experts_per_tok"), kd_jsonw_int(&w, c->experts_used);
        if (c->arch != KD_LLAMA) {
            kd_jsonw_key(&w, "moe_intermediate_size"), kd_jsonw_int(&w, c->expert_F);
            kd_jsonw_key(&w, "norm_topk_prob"), kd_jsonw_bool(&w, c->norm_topk);
            kd_jsonw_key(&w, "decoder_sparse_step"), kd_jsonw_int(&w, 1);
            kd_jsonw_key(&w, "mlp_only_layers"), kd_jsonw_array(&w), kd_jsonw_end_array(&w);
        }
    }
    write_rope(&w, &c->rope);
    write_id(&w, "bos_token_id", c->bos);
    kd_jsonw_key(&w, "eos_token_id");
    if (c->eos_count > 1) {
        kd_jsonw_array(&w);
        for (int i = 0; i < c->eos_count; i++) kd_jsonw_int(&w, c->eos[i]);
        kd_jsonw_end_array(&w);
    } else if (c->eos_count == 1)
        kd_jsonw_int(&w, c->eos[0]);
    else
        kd_jsonw_null(&w);
    write_id(&w, "pad_token_id", c->pad);
    kd_jsonw_key(&w, "torch_dtype");
    kd_jsonw_cstr(&w, dtype);
    kd_jsonw_end_object(&w);
    return w.code ? kd_fail(e, KD_ENOMEM, "config.json: out of memory") : KD_OK;
}

uint64_t kd_config_parameters(const kd_config *c) {
    uint64_t q = (uint64_t)c->H * c->D, k = (uint64_t)c->G * c->D, C = c->C, F = c->F;
    uint64_t layer = 2 * q * C + 2 * k * C + 2 * C;
    layer += c->experts ? (uint64_t)c->experts * (3 * (uint64_t)c->expert_F + 1) * C : 3 * F * C;
    layer += c->qkv_bias ? q + 2 * k : 0;
    layer += c->o_bias ? C : 0;
    layer += c->mlp_bias ? 2 * F + C : 0;
    layer += c->qk_norm ? 2 * (uint64_t)c->D : 0;
    return c->L * layer + C + (uint64_t)c->V * C * (c->tied ? 1 : 2);
}
