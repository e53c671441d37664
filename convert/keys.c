/* convert/keys.c - the keys of a GGUF file: what the model is, its tokenizer, its chat templates, where it came from. Leans on plan.h,
 * model/tokenizer.h. Key names are facts of the GGUF specification and of what llama.cpp reads. */
#include "convert/plan.h"

#include "convert/card.h"
#include "distill/model/tokenizer.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

/* Sets keys until one fails; the first failure stays. */
typedef struct {
    kd_gguf_writer *w;
    const char *arch;
    kd_code c;
    kd_err *e;
} keys;

static const char *key(const keys *k, const char *name, char s[96]) {
    snprintf(s, 96, "%s.%s", k->arch, name);
    return s;
}
static void u32(keys *k, const char *name, uint32_t v) {
    char s[96];
    if (!k->c) k->c = kd_gguf_writer_u32(k->w, key(k, name, s), v, k->e);
}
static void f32(keys *k, const char *name, double v) {
    char s[96];
    if (!k->c) k->c = kd_gguf_writer_f32(k->w, key(k, name, s), (float)v, k->e);
}
static void text(keys *k, const char *name, kd_str v) {
    if (!k->c && v.data) k->c = kd_gguf_writer_str(k->w, name, v, k->e);
}
static void number(keys *k, const char *name, uint32_t v) {
    if (!k->c) k->c = kd_gguf_writer_u32(k->w, name, v, k->e);
}

static void rope(keys *k, const kd_config *c) {
    const kd_rope_config *p = &c->rope;
    char s[96];
    u32(k, "rope.dimension_count", c->D);
    f32(k, "rope.freq_base", p->theta);
    if (p->kind != KD_ROPE_LINEAR && p->kind != KD_ROPE_YARN) return; /* llama3 is told by rope_freqs.weight */
    text(k, key(k, "rope.scaling.type", s), p->kind == KD_ROPE_LINEAR ? KD_STR("linear") : KD_STR("yarn"));
    f32(k, "rope.scaling.factor", p->factor);
    if (p->kind == KD_ROPE_LINEAR) return;
    u32(k, "rope.scaling.original_context_length", (uint32_t)p->original_context);
    if (p->beta_fast != 32) f32(k, "rope.scaling.yarn_beta_fast", p->beta_fast);
    if (p->beta_slow != 1) f32(k, "rope.scaling.yarn_beta_slow", p->beta_slow);
    /* llama.cpp scales by 1 + 0.1 ln(factor) by itself; attn_factor is what is left of Hugging Face's attention factor. */
    double own = p->factor > 1 ? 1 + 0.1 * log(p->factor) : 1, whole = own;
    if (p->attention_factor >= 0)
        whole = p->attention_factor;
    else if (p->mscale != 0 && p->mscale_all_dim != 0)
        whole = p->factor > 1 ? (1 + 0.1 * p->mscale * log(p->factor)) / (1 + 0.1 * p->mscale_all_dim * log(p->factor)) : 1;
    if (whole != own) f32(k, "rope.scaling.attn_factor", whole / own);
}

static void sizes(keys *k, const kd_config *c) {
    u32(k, "block_count", c->L);
    u32(k, "context_length", c->context);
    u32(k, "embedding_length", c->C);
    u32(k, "feed_forward_length", c->F);
    if (c->experts) {
        u32(k, "expert_count", c->experts);
        u32(k, "expert_used_count", c->experts_used);
        if (c->arch != KD_LLAMA) u32(k, "expert_feed_forward_length", c->expert_F);
    }
    u32(k, "attention.head_count", c->H);
    u32(k, "attention.head_count_kv", c->G);
    u32(k, "attention.key_length", c->D);
    u32(k, "attention.value_length", c->D);
    f32(k, "attention.layer_norm_rms_epsilon", (double)c->norm_eps);
    u32(k, "vocab_size", c->V);
    rope(k, c);
}

/* The file type that most of the bytes are of. */
static uint32_t file_type(const kd_plan *p) {
    if (p->type) return (uint32_t)p->type->file_type;
    int most = KD_F32;
    for (int t = 0; t < KD_TYPES; t++)
        if (p->result.type_bytes[t] > p->result.type_bytes[most]) most = t;
    const kd_convert_type *t = kd_dtype_get(most) ? kd_convert_type_named(kd_dtype_get(most)->name) : NULL;
    return t ? (uint32_t)t->file_type : 0;
}

/* Keys of a GGUF source that stay true of the copy. */
static bool stays(const kd_plan *p, kd_str key) {
    char tied[64];
    snprintf(tied, sizeof tied, "%s.", kd_config_gguf_arch(&p->config));
    if (kd_str_starts(key, "split.") || kd_str_is(key, "general.alignment") || kd_str_is(key, "general.file_type") ||
        kd_str_is(key, "general.quantization_version") || (p->adapter && kd_str_starts(key, "general.base_model.")))
        return false;
    if (kd_str_starts(key, "quantize.imatrix.")) return p->type == NULL && !p->mix;
    return true;
}

static void copy_keys(keys *k, const kd_plan *p) {
    const kd_gguf *g = kd_model_gguf(p->model);
    for (size_t i = 0; i < kd_gguf_count(g) && !k->c; i++)
        if (stays(p, kd_gguf_at(g, i)->key)) k->c = kd_gguf_writer_copy(k->w, kd_gguf_at(g, i), k->e);
}

/* tokenizer.chat_template, and the named ones. */
static kd_code one_template(void *ctx, kd_str name, kd_str source, kd_err *e) {
    kd_gguf_writer *w = ctx;
    kd_buf b = {0};
    if (kd_str_is(name, "default")) return kd_gguf_writer_str(w, "tokenizer.chat_template", source, e);
    for (size_t i = 0; i < name.len; i++) /* llama.cpp keeps lower case letters, digits, '_' and '-' */
        if (!((name.data[i] >= 'a' && name.data[i] <= 'z') || (name.data[i] >= '0' && name.data[i] <= '9') || name.data[i] == '_' ||
              name.data[i] == '-'))
            return kd_fail(e, KD_EUNSUPPORTED, "chat template \"%.*s\": its name has no words in GGUF",
                           (int)(name.len < 60 ? name.len : 60), name.data);
    kd_code c = kd_buf_printf(&b, "tokenizer.chat_template.%.*s", (int)name.len, name.data);
    c = c ? kd_fail(e, c, "no memory for a chat template") : kd_gguf_writer_str(w, b.data, source, e);
    kd_buf_clear(&b);
    return c;
}

static kd_code template_names(kd_gguf_writer *w, const kd_card_templates *t, kd_err *e) {
    kd_str *names = kd_calloc(t->n + 1, sizeof *names);
    size_t n = 0;
    if (!names) return kd_fail(e, KD_ENOMEM, "no memory for chat templates");
    kd_code c = KD_OK;
    for (size_t i = 0; i < t->n && !c; i++) {
        c = one_template(w, t->v[i].name, t->v[i].source, e);
        if (!kd_str_is(t->v[i].name, "default")) names[n++] = t->v[i].name;
    }
    if (!c && n) c = kd_gguf_writer_set_array(w, "tokenizer.chat_templates", KD_GGUF_STRING, names, n, e);
    kd_free(names);
    return c;
}

/* Everything of a Hugging Face folder that is no weight. */
static void folder_keys(keys *k, kd_plan *p, const kd_convert_options *o) {
    kd_tokenizer *tok = NULL;
    kd_card card = {0};
    if ((k->c = kd_card_read(&card, p, o, k->e))) goto done;
    text(k, "general.type", KD_STR("model"));
    text(k, "general.name", card.name);
    text(k, "general.size_label", card.size_label);
    text(k, "general.license", card.license);
    if (card.base.data) {
        number(k, "general.base_model.count", 1);
        text(k, "general.base_model.0.name", card.base_name);
        text(k, "general.base_model.0.repo_url", card.base_url);
    }
    sizes(k, &p->config);
    text(k, "distill.hf.config", card.config);
    text(k, "distill.hf.generation_config", card.generation);
    text(k, "distill.hf.tokenizer_config", card.tokenizer_config);
    if (!k->c) k->c = kd_tokenizer_open_folder(&tok, p->source.path, k->e);
    if (!k->c) k->c = kd_tokenizer_write_gguf(tok, k->w, p->config.V, k->e);
    if (!k->c) k->c = template_names(k->w, &card.templates, k->e);
done:
    kd_tokenizer_free(tok);
    kd_card_clear(&card);
}

/* A student merged into a GGUF file is another model than its base: it gets a name of its own, and the base's where bases are named. */
static void merged_keys(keys *k, kd_plan *p, const kd_convert_options *o) {
    kd_card card = {0};
    if (!k->c && !(k->c = kd_card_read(&card, p, o, k->e))) {
        text(k, "general.name", card.name);
        number(k, "general.base_model.count", 1);
        text(k, "general.base_model.0.name", card.base_name);
    }
    kd_card_clear(&card);
}

/* What llama-quantize says of the importance it used. */
static void importance_keys(keys *k, const kd_plan *p, const kd_convert_options *o) {
    if (!o->importance || !p->result.weighted) return;
    const char *set = kd_importance_dataset(o->importance);
    text(k, "quantize.imatrix.file", kd_str_of(o->importance_name ? kd_path_base(o->importance_name) : ""));
    text(k, "quantize.imatrix.dataset", kd_str_of(set ? kd_path_base(set) : ""));
    number(k, "quantize.imatrix.entries_count", (uint32_t)kd_importance_count(o->importance));
}

kd_code kd_write_keys(kd_plan *p, kd_gguf_writer *w, const kd_convert_options *o, kd_err *e) {
    keys k = {w, kd_config_gguf_arch(&p->config), KD_OK, e};
    text(&k, "general.architecture", kd_str_of(k.arch));
    if (k.c) return k.c;
    if (kd_model_gguf(p->model))
        copy_keys(&k, p);
    else
        folder_keys(&k, p, o);
    if (kd_model_gguf(p->model) && p->adapter) merged_keys(&k, p, o);
    if (o->name) text(&k, "general.name", kd_str_of(o->name));
    number(&k, "general.file_type", file_type(p));
    number(&k, "general.quantization_version", 2);
    importance_keys(&k, p, o);
    if (!k.c) k.c = kd_card_lineage(p, w, e);
    return k.c;
}
