/* convert/inspect.c - what is in a file: structure, sizes, tokenizer, lineage, statistics of tensors, verification. Leans on inspect.h. */
#include "convert/inspect.h"

#include "convert/hashes.h"

#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/model/model.h"
#include "convert/stats.h"
#include "distill/base/hash.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* What is open: one of the two, and the model it makes, if it makes one. */
typedef struct {
    kd_gguf *g;
    kd_safetensors *s;
    const kd_tensors *set;
    kd_model *model;
    kd_source source;
    char *adapter;   /* its folder */
    kd_err no_model; /* why not */
    size_t faults;
} inspection;

static void text(kd_jsonw *w, const char *key, const char *v) {
    kd_jsonw_key(w, key);
    kd_jsonw_cstr(w, v);
}
static void number(kd_jsonw *w, const char *key, uint64_t v) {
    kd_jsonw_key(w, key);
    kd_jsonw_int(w, v > INT64_MAX ? INT64_MAX : (int64_t)v);
}

static kd_code open_it(inspection *x, const char *path, kd_err *e) {
    kd_str p = kd_str_of(path);
    kd_code c;
    bool loose = kd_str_ends(p, ".safetensors") || kd_str_ends(p, ".json"); /* weights without a config beside them */
    if (kd_source_resolve(&x->source, path, &x->no_model) == KD_OK) {
        path = x->source.path;
        if (x->source.adapter) x->adapter = x->source.adapter;
        (void)kd_model_open_stored(&x->model, path, &x->no_model);
    } else if (!loose && !kd_is_dir(path))
        return e ? (*e = x->no_model).code : x->no_model.code;
    if (x->source.path && x->source.kind == KD_SOURCE_GGUF)
        c = kd_gguf_open(&x->g, path, e);
    else
        c = kd_safetensors_open(&x->s, path, e);
    if (!c) x->set = x->g ? kd_gguf_tensors(x->g) : kd_safetensors_tensors(x->s);
    return c;
}

static void close_it(inspection *x) {
    kd_gguf_close(x->g);
    kd_safetensors_close(x->s);
    kd_model_free(x->model);
    kd_source_clear(&x->source);
}

static void types(kd_jsonw *w, const kd_tensors *set) {
    uint64_t bytes[128] = {0}, elements[128] = {0}, count[128] = {0};
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        bytes[t->type] += t->bytes;
        elements[t->type] += kd_tensor_elements(t);
        count[t->type]++;
    }
    kd_jsonw_key(w, "types");
    kd_jsonw_array(w);
    for (int t = 0; t < 128; t++) {
        if (!count[t]) continue;
        kd_jsonw_object(w);
        text(w, "type", kd_dtype_get(t)->name);
        number(w, "tensors", count[t]);
        number(w, "elements", elements[t]);
        number(w, "bytes", bytes[t]);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_array(w);
}

static void config(kd_jsonw *w, const kd_config *c) {
    static const char *const ROPE[] = {"default", "linear", "llama3", "yarn"};
    kd_jsonw_key(w, "config");
    kd_jsonw_object(w);
    number(w, "layers", c->L);
    number(w, "hidden", c->C);
    number(w, "heads", c->H);
    number(w, "kv_heads", c->G);
    number(w, "head_width", c->D);
    number(w, "feed_forward", c->F);
    if (c->experts) {
        number(w, "experts", c->experts);
        number(w, "experts_used", c->experts_used);
        number(w, "expert_feed_forward", c->expert_F);
    }
    if (c->packing.kind) text(w, "packed", kd_packing_name(&c->packing));
    number(w, "vocabulary", c->V);
    number(w, "context", c->context);
    kd_jsonw_key(w, "tied_head");
    kd_jsonw_bool(w, c->tied);
    text(w, "rope", c->rope.factors ? "factors" : ROPE[c->rope.kind]);
    kd_jsonw_key(w, "rope_theta");
    kd_jsonw_double(w, c->rope.theta);
    kd_jsonw_key(w, "norm_epsilon");
    kd_jsonw_double(w, (double)c->norm_eps);
    kd_jsonw_end_object(w);
}

static void shown(kd_jsonw *w, kd_str s, size_t limit) {
    size_t n = s.len;
    char cut[420];
    if (n > limit) {
        n = limit;
        while (n && ((unsigned char)s.data[n] & 0xc0) == 0x80) n--;
        memcpy(cut, s.data, n);
        memcpy(cut + n, "...", 3);
        s = (kd_str){cut, n + 3};
    }
    kd_jsonw_str(w, s);
}

static void elem(kd_jsonw *w, const kd_gguf_kv *kv, uint64_t i) {
    kd_str s;
    int64_t n;
    double d;
    if (kd_gguf_elem_str(kv, i, &s))
        shown(w, s, 400);
    else if (kv->elem == KD_GGUF_BOOL && kd_gguf_elem_i64(kv, i, &n))
        kd_jsonw_bool(w, n != 0);
    else if (kd_gguf_elem_i64(kv, i, &n))
        kd_jsonw_int(w, n);
    else if (kd_gguf_elem_f64(kv, i, &d))
        kd_jsonw_double(w, d);
    else
        kd_jsonw_null(w);
}

static void keys(kd_jsonw *w, const kd_gguf *g) {
    kd_jsonw_key(w, "keys");
    kd_jsonw_object(w);
    for (size_t i = 0; i < kd_gguf_count(g); i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        kd_jsonw_key_str(w, kv->key);
        if (kv->type != KD_GGUF_ARRAY) {
            elem(w, kv, 0);
            continue;
        }
        kd_jsonw_object(w);
        text(w, "array", kd_gguf_type_name((int)kv->elem));
        number(w, "count", kv->count);
        kd_jsonw_key(w, "first");
        kd_jsonw_array(w);
        for (uint64_t k = 0; k < kv->count && k < 8; k++) elem(w, kv, k);
        kd_jsonw_end_array(w);
        kd_jsonw_end_object(w);
    }
    kd_jsonw_end_object(w);
}

static void gguf_text(kd_jsonw *w, const kd_gguf *g, const char *as, const char *key) {
    kd_str s;
    if (kd_gguf_str(g, key, &s)) {
        kd_jsonw_key(w, as);
        shown(w, s, 400);
    }
}

/* Model, tokenizer and lineage as the keys of a GGUF file tell them. */
static void gguf_facts(kd_jsonw *w, const kd_gguf *g) {
    static const char *const IDS[] = {"bos_token_id", "eos_token_id", "eot_token_id", "padding_token_id", "unknown_token_id"};
    const kd_gguf_kv *tokens = kd_gguf_find(g, "tokenizer.ggml.tokens"), *merges = kd_gguf_find(g, "tokenizer.ggml.merges");
    kd_str s;
    gguf_text(w, g, "name", "general.name");
    gguf_text(w, g, "license", "general.license");
    gguf_text(w, g, "base_model", "general.base_model.0.name");
    kd_jsonw_key(w, "tokenizer");
    kd_jsonw_object(w);
    gguf_text(w, g, "model", "tokenizer.ggml.model");
    gguf_text(w, g, "pre", "tokenizer.ggml.pre");
    number(w, "tokens", tokens ? tokens->count : 0);
    number(w, "merges", merges ? merges->count : 0);
    for (size_t i = 0; i < sizeof IDS / sizeof *IDS; i++) {
        char key[64];
        int64_t id;
        snprintf(key, sizeof key, "tokenizer.ggml.%s", IDS[i]);
        if (kd_gguf_i64(g, key, &id)) {
            kd_jsonw_key(w, IDS[i]);
            kd_jsonw_int(w, id);
        }
    }
    kd_jsonw_end_object(w);
    kd_jsonw_key(w, "chat_template");
    kd_jsonw_bool(w, kd_gguf_str(g, "tokenizer.chat_template", &s));
    kd_jsonw_key(w, "lineage");
    kd_jsonw_object(w);
    for (size_t i = 0; i < kd_gguf_count(g); i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        if (!kd_str_starts(kv->key, "distill.") || kd_str_starts(kv->key, "distill.hf.") || kv->type == KD_GGUF_ARRAY) continue;
        kd_jsonw_key_str(w, kv->key);
        elem(w, kv, 0);
    }
    kd_jsonw_end_object(w);
}

static void adapter_facts(kd_jsonw *w, const char *dir) {
    char *path = kd_path_join(dir, "adapter_config.json");
    kd_buf b = {0};
    kd_json *doc = NULL;
    if (path && !kd_file_read(&b, path, 1 << 20, NULL) && !kd_json_parse(&doc, b.data, b.len, path, NULL)) {
        static const char *const SHOWN[] = {
            "peft_type", "r", "lora_alpha", "use_rslora", "use_dora", "target_modules", "base_model_name_or_path"};
        kd_jsonw_key(w, "adapter");
        kd_jsonw_object(w);
        text(w, "path", dir);
        for (size_t i = 0; i < sizeof SHOWN / sizeof *SHOWN; i++) {
            const kd_json_node *n = kd_json_get(kd_json_root(doc), SHOWN[i]);
            if (n) {
                kd_jsonw_key(w, SHOWN[i]);
                kd_jsonw_node(w, n);
            }
        }
        kd_jsonw_end_object(w);
    }
    kd_json_free(doc);
    kd_buf_clear(&b);
    kd_free(path);
}

static void tensor(kd_jsonw *w, const kd_tensor *t, const kd_stats *s, unsigned what) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "name");
    kd_jsonw_str(w, t->name);
    text(w, "type", kd_dtype_get((int)t->type)->name);
    kd_jsonw_key(w, "shape");
    kd_jsonw_array(w);
    for (int i = 0; i < t->ndim; i++) kd_jsonw_int(w, (int64_t)t->shape[i]);
    kd_jsonw_end_array(w);
    number(w, "bytes", t->bytes);
    if (s && s->known) kd_weight_stats_json(w, s);
    if (what & KD_INSPECT_HASHES) {
        char hex[65];
        kd_sha256_hex(t->data, t->bytes, hex);
        text(w, "sha256", hex);
    }
    kd_jsonw_end_object(w);
}

static void fault(inspection *x, kd_jsonw *w, const char *msg) {
    x->faults++;
    kd_jsonw_cstr(w, msg);
}

typedef struct {
    inspection *x;
    kd_jsonw *w;
} faults_to;
static void hash_fault(void *ctx, const char *msg) {
    const faults_to *f = ctx;
    fault(f->x, f->w, msg);
}

static kd_code verify(inspection *x, kd_jsonw *w, const kd_stats *stats, kd_err *e) {
    char msg[256];
    size_t checked = 0;
    kd_jsonw_key(w, "faults");
    kd_jsonw_array(w);
    if (!x->model && x->source.path) fault(x, w, x->no_model.msg);
    assert(stats);
    for (size_t i = 0; i < kd_tensors_count(x->set); i++)
        if (stats[i].nonfinite) {
            snprintf(msg, sizeof msg, "tensor %.120s: %llu values are NaN or infinite", kd_tensors_at(x->set, i)->name.data,
                     (unsigned long long)stats[i].nonfinite);
            fault(x, w, msg);
        }
    const kd_gguf_kv *tokens = x->g ? kd_gguf_find(x->g, "tokenizer.ggml.tokens") : NULL;
    if (x->model && tokens && tokens->count != x->model->config.V) {
        snprintf(msg, sizeof msg, "tokenizer.ggml.tokens: %llu tokens for %u rows of the embedding", (unsigned long long)tokens->count,
                 x->model->config.V);
        fault(x, w, msg);
    }
    kd_code c = kd_hashes_check(x->set, hash_fault, &(faults_to){x, w}, &checked, e);
    kd_jsonw_end_array(w);
    number(w, "hashes_checked", checked);
    return c;
}

static kd_code body(inspection *x, kd_jsonw *w, const char *path, unsigned what, kd_pool *pool, kd_err *e) {
    size_t n = kd_tensors_count(x->set);
    uint64_t elements = 0, bytes = 0;
    kd_stats *stats = NULL;
    for (size_t i = 0; i < n; i++) {
        elements += kd_tensor_elements(kd_tensors_at(x->set, i));
        bytes += kd_tensors_at(x->set, i)->bytes;
    }
    if (what & (KD_INSPECT_STATS | KD_INSPECT_VERIFY)) {
        if (!(stats = kd_calloc(n + 1, sizeof *stats)))
            return kd_fail(e, KD_ENOMEM, "%s: no memory for statistics of %zu tensors", path, n);
        kd_code c = kd_stats_of_set(stats, x->set, pool, e);
        if (c) {
            kd_free(stats);
            return c;
        }
    }
    kd_jsonw_object(w);
    text(w, "path", path);
    text(w, "format", x->g ? "GGUF" : "safetensors");
    if (x->g) number(w, "version", kd_gguf_version(x->g));
    number(w, "files", kd_tensors_files(x->set));
    kd_str arch = {0};
    if (x->model)
        text(w, "architecture", kd_config_type(&x->model->config));
    else if (x->g && kd_gguf_str(x->g, "general.architecture", &arch))
        kd_jsonw_key(w, "architecture"), kd_jsonw_str(w, arch);
    number(w, "parameters", x->model ? kd_config_parameters(&x->model->config) : elements);
    number(w, "tensors_count", n);
    number(w, "bytes", bytes);
    types(w, x->set);
    if (x->model) config(w, &x->model->config);
    if (x->g) gguf_facts(w, x->g);
    if (x->adapter) adapter_facts(w, x->adapter);
    if ((what & KD_INSPECT_KEYS) && x->g) keys(w, x->g);
    if (what & (KD_INSPECT_TENSORS | KD_INSPECT_STATS | KD_INSPECT_HASHES)) {
        kd_jsonw_key(w, "tensors");
        kd_jsonw_array(w);
        for (size_t i = 0; i < n; i++) tensor(w, kd_tensors_at(x->set, i), stats ? &stats[i] : NULL, what);
        kd_jsonw_end_array(w);
    }
    kd_code c = what & KD_INSPECT_VERIFY ? verify(x, w, stats, e) : KD_OK;
    kd_jsonw_end_object(w);
    kd_free(stats);
    return c ? c : w->code ? kd_fail(e, w->code, "%s: no memory to describe it", path) : KD_OK;
}

kd_code kd_inspect(kd_jsonw *out, const char *path, unsigned what, kd_pool *pool, size_t *faults, kd_err *e) {
    inspection x = {0};
    kd_code c = open_it(&x, path, e);
    if (!c) c = body(&x, out, path, what, pool, e);
    if (faults) *faults = x.faults;
    close_it(&x);
    return c;
}
