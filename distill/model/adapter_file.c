/* distill/model/adapter_file.c - PEFT's folder: adapter_config.json and adapter_model.safetensors. Leans on adapter.h, format/safetensors.h, base/regex.h.
 * The ranks are those of the tensors; the config gives alpha, its patterns, and the features that change the arithmetic. */
#include "distill/base/regex.h"
#include "distill/format/safetensors.h"
#include "distill/math/codec.h"
#include "distill/model/adapter.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const char PREFIX[] = "base_model.model.";

static kd_code fail(kd_err *e, kd_code c, const char *path, const char *key, const char *why) {
    return kd_fail(e, c, "%s: %s: %s", path, key, why);
}

/* Features that change what an adapter computes: absent, null, false, 0, or an empty container. */
static bool off(const kd_json_node *n) {
    switch (kd_json_typeof(n)) {
    case KD_JSON_BOOL: return !kd_json_bool(n, true);
    case KD_JSON_NUMBER: return kd_json_number(n, 1) == 0;
    case KD_JSON_STRING: return kd_json_string(n).len == 0;
    case KD_JSON_ARRAY:
    case KD_JSON_OBJECT: return kd_json_count(n) == 0;
    default: return true;
    }
}

static kd_code read_config(kd_adapter *a, const kd_json_node *o, const char *path, kd_err *e) {
    static const char *const refused[] = {"fan_in_fan_out", "lora_bias",         "layer_replication",
                                          "use_qalora",     "use_bdlora",        "alora_invocation_tokens",
                                          "arrow_config",   "target_parameters", "monteclora_config",
                                          "velora_config",  "kasa_config"};
    kd_str type = kd_json_string(kd_json_get(o, "peft_type")), bias = kd_json_string(kd_json_get(o, "bias"));
    if (!kd_str_is(type, "LORA")) return fail(e, KD_EUNSUPPORTED, path, "peft_type", "an adapter that is not LORA");
    if (bias.data && !kd_str_is(bias, "none")) return fail(e, KD_EUNSUPPORTED, path, "bias", "trained biases");
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++)
        if (!off(kd_json_get(o, refused[i]))) return fail(e, KD_EUNSUPPORTED, path, refused[i], "a feature that we do not have");
    int64_t r;
    double alpha = kd_json_number(kd_json_get(o, "lora_alpha"), 8);
    if (!kd_json_int(kd_json_get(o, "r"), &r) || r < 1 || r > 65536)
        return fail(e, KD_EFORMAT, path, "r", "expected an integer in 1..65536");
    if (!(isfinite(alpha) && alpha > 0)) return fail(e, KD_EFORMAT, path, "lora_alpha", "expected a number above 0");
    a->config.r = (uint32_t)r;
    a->config.alpha = (float)alpha;
    a->config.dropout = (float)kd_json_number(kd_json_get(o, "lora_dropout"), 0);
    a->config.rslora = kd_json_bool(kd_json_get(o, "use_rslora"), false);
    a->config.dora = kd_json_bool(kd_json_get(o, "use_dora"), false);
    kd_str base = kd_json_string(kd_json_get(o, "base_model_name_or_path"));
    if (base.data && !(a->config.base = kd_strndup(base.data, base.len))) return kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    return KD_OK;
}

/* The value of a pattern table (rank_pattern, alpha_pattern) for a module: PEFT matches (.*\.)?(KEY)$ from the start of its name. */
static kd_code pattern_value(const kd_json_node *table, const char *module, double otherwise, double *out, kd_err *e) {
    *out = otherwise;
    for (const kd_json_node *n = kd_json_first(table); n; n = kd_json_next(n)) {
        kd_buf p = {0};
        kd_str key = kd_json_key(n);
        kd_regex *re = NULL;
        bool found = false;
        size_t from, to;
        kd_code c = kd_buf_printf(&p, "^(.*\\.)?(%.*s)$", (int)key.len, key.data);
        c = c ? kd_fail(e, c, "adapter: out of memory") : kd_regex_new(&re, p.data, p.len, e);
        if (!c) c = kd_regex_find(re, module, strlen(module), 0, &found, &from, &to, NULL, 0, e);
        kd_regex_free(re);
        kd_buf_clear(&p);
        if (c) return c;
        if (found) {
            *out = kd_json_number(n, otherwise);
            return KD_OK;
        }
    }
    return KD_OK;
}

static kd_code read_floats(float **out, const kd_tensor *t, const char *path, int ndim, size_t rows, size_t cols, kd_err *e) {
    char s[64];
    bool vector = ndim == 1;
    if (t->ndim != ndim || t->shape[0] != rows || (!vector && t->shape[1] != cols))
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s: expected shape [%zu%s%.0zu], found %s", path, t->name.data, rows, vector ? "" : ", ",
                       vector ? 0 : cols, kd_shape_text(t->ndim, t->shape, s, sizeof s));
    if (!kd_can_read((int)t->type))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: tensor %s: type %s", path, t->name.data, kd_dtype_get((int)t->type)->name);
    size_t n = kd_tensor_elements(t);
    if (!(*out = kd_malloc(n * sizeof(float)))) return kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    kd_dequantize(t->type, t->data, *out, n);
    if (!kd_all_finite(*out, n)) return kd_fail(e, KD_EFORMAT, "%s: tensor %s: holds values that are not finite", path, t->name.data);
    return KD_OK;
}

/* What reading the tensors carries along. */
typedef struct {
    kd_adapter *a;
    const kd_config *c;
    const kd_tensors *set;
    const kd_json_node *o;
    const char *path;
    size_t used;
    kd_err *e;
} reader;

static const kd_tensor *find(reader *r, const char *module, const char *suffix) {
    char s[192];
    snprintf(s, sizeof s, "%s%s.%s", PREFIX, module, suffix);
    const kd_tensor *t = kd_tensors_find(r->set, s);
    r->used += t != NULL;
    return t;
}

/* a [r,in], b [out,r], magnitude [out] of one module, if its tensors are there. */
static kd_code read_lora(reader *r, kd_lora *l, const char *module, bool embedding, size_t in, size_t out) {
    const kd_tensor *ta = find(r, module, embedding ? "lora_embedding_A" : "lora_A.weight");
    const kd_tensor *tb = find(r, module, embedding ? "lora_embedding_B" : "lora_B.weight");
    if (!ta && !tb) return KD_OK;
    if (!ta || !tb || ta->ndim != 2 || ta->shape[0] < 1 || ta->shape[0] > 65536)
        return kd_fail(r->e, KD_EFORMAT, "%s: %s: expected both factors of a rank in 1..65536", r->path, module);
    uint32_t rank = (uint32_t)ta->shape[0];
    double alpha, expect;
    kd_code c = pattern_value(kd_json_get(r->o, "alpha_pattern"), module, r->a->config.alpha, &alpha, r->e);
    if (!c) c = pattern_value(kd_json_get(r->o, "rank_pattern"), module, r->a->config.r, &expect, r->e);
    if (!c && expect != rank)
        c = kd_fail(r->e, KD_EFORMAT, "%s: %s: expected rank %g by adapter_config.json, found %u", r->path, module, expect, rank);
    if (!c && !(isfinite(alpha) && alpha > 0)) c = kd_fail(r->e, KD_EFORMAT, "%s: %s: alpha: expected a number above 0", r->path, module);
    if (c) return c;
    l->r = rank, l->alpha = (float)alpha;
    l->scale = kd_lora_scale(l->alpha, rank, r->a->config.rslora);
    c = read_floats(&l->a, ta, r->path, 2, rank, in, r->e);
    if (!c) c = read_floats(&l->b, tb, r->path, 2, out, rank, r->e);
    if (c || !r->a->config.dora || embedding) return c;
    const kd_tensor *tm = find(r, module, "lora_magnitude_vector");
    if (!tm) tm = find(r, module, "lora_magnitude_vector.weight");
    if (!tm) return kd_fail(r->e, KD_EFORMAT, "%s: %s: expected lora_magnitude_vector of a DoRA adapter, found none", r->path, module);
    return read_floats(&l->magnitude, tm, r->path, 1, out, 0, r->e);
}

static kd_code read_saved(reader *r, float **out, const char *module) {
    const kd_tensor *t = find(r, module, "weight");
    if (!t) t = find(r, module, "modules_to_save.weight");
    if (!t) t = find(r, module, "modules_to_save.default.weight");
    return t ? read_floats(out, t, r->path, 2, r->c->V, r->c->C, r->e) : KD_OK;
}

static kd_code token_ids(reader *r, const kd_json_node *list, int32_t **ids, size_t *n) {
    *n = kd_json_count(list);
    if (kd_json_typeof(list) != KD_JSON_ARRAY || !*n || *n > r->c->V)
        return fail(r->e, KD_EFORMAT, r->path, "trainable_token_indices", "expected a list of token ids");
    if (!(*ids = kd_calloc(*n, sizeof **ids))) return kd_fail(r->e, KD_ENOMEM, "%s: out of memory", r->path);
    size_t i = 0;
    for (const kd_json_node *v = kd_json_first(list); v; v = kd_json_next(v), i++) {
        int64_t id;
        if (!kd_json_int(v, &id) || id < 0 || id >= (int64_t)r->c->V)
            return fail(r->e, KD_EFORMAT, r->path, "trainable_token_indices", "expected ids of the vocabulary");
        (*ids)[i] = (int32_t)id;
    }
    return KD_OK;
}

/* Rows of tokens: "trainable_token_indices" is a list for the embedding, or {"embed_tokens": [...], "lm_head": [...]}. */
static kd_code read_rows(reader *r) {
    static const char KEY[] = "trainable_token_indices", SUFFIX[] = "token_adapter.trainable_tokens_delta";
    const kd_json_node *o = kd_json_get(r->o, KEY), *list[2] = {o, NULL};
    const size_t C = r->c->C;
    size_t n[2] = {0, 0};
    int32_t *ids[2] = {NULL, NULL};
    char s[96];
    kd_code c = KD_OK;
    if (off(o)) return KD_OK;
    if (kd_json_typeof(o) == KD_JSON_OBJECT) {
        list[0] = kd_json_get(o, "embed_tokens"), list[1] = kd_json_get(o, "lm_head");
        if (kd_json_count(o) != (size_t)(list[0] != NULL) + (list[1] != NULL))
            return fail(r->e, KD_EUNSUPPORTED, r->path, KEY, "rows of modules other than embed_tokens and lm_head");
    }
    for (int k = 0; k < 2 && !c; k++)
        if (list[k]) c = token_ids(r, list[k], &ids[k], &n[k]);
    if (!c && ids[0] && ids[1] && (n[0] != n[1] || memcmp(ids[0], ids[1], n[0] * sizeof *ids[0]) != 0))
        c = fail(r->e, KD_EUNSUPPORTED, r->path, KEY, "other tokens for embed_tokens than for lm_head");
    if (!c && r->c->tied && !ids[0]) c = fail(r->e, KD_EUNSUPPORTED, r->path, KEY, "rows of a tied head without the embedding's");
    kd_token_rows *rows = &r->a->rows;
    if (!c) c = kd_adapter_add_rows(r->a, r->c, ids[0] ? ids[0] : ids[1], ids[0] ? n[0] : n[1], ids[0] != NULL, ids[1] != NULL, r->e);
    float **into[2] = {&rows->embed, &rows->head};
    for (int k = 0; k < 2 && !c; k++) {
        if (!*into[k]) continue;
        kd_name_hf(s, k ? KD_HEAD : KD_EMBED, 0);
        *strrchr(s, '.') = 0;
        const kd_tensor *t = find(r, s, SUFFIX);
        kd_free(*into[k]);
        *into[k] = NULL;
        c = t ? read_floats(into[k], t, r->path, 2, rows->n, C, r->e)
              : kd_fail(r->e, KD_EFORMAT, "%s: expected tensor %s%s.%s of the trained tokens, found none", r->path, PREFIX, s, SUFFIX);
    }
    kd_free(ids[0]), kd_free(ids[1]);
    return c;
}

/* "model.layers.3.self_attn.q_proj": the tensor's name without its last part. */
static const char *module_path(char *s, kd_role r, uint32_t layer) {
    kd_name_hf(s, r, layer);
    *strrchr(s, '.') = 0;
    return s;
}

static kd_code read_tensors(reader *r) {
    kd_adapter *a = r->a;
    const kd_config *c = r->c;
    kd_code code = KD_OK;
    char s[96];
    size_t rows, cols;
    for (uint32_t l = 0; !code && l < c->L; l++)
        for (int i = 0; !code && i < KD_MATS; i++) {
            kd_role_shape(c, (kd_role)i, &rows, &cols);
            kd_lora *lora = &a->layers[l * KD_MATS + (uint32_t)i];
            code = read_lora(r, lora, module_path(s, (kd_role)i, l), false, cols, rows);
            if (lora->r) a->config.targets |= 1u << i;
        }
    if (!code) code = read_lora(r, &a->embed, module_path(s, KD_EMBED, 0), true, c->V, c->C);
    if (!code) code = read_lora(r, &a->head, module_path(s, KD_HEAD, 0), false, c->C, c->V);
    if (!code) code = read_saved(r, &a->saved_embed, module_path(s, KD_EMBED, 0));
    if (!code) code = read_saved(r, &a->saved_head, module_path(s, KD_HEAD, 0));
    if (!code) code = read_rows(r);
    a->config.targets |= (a->embed.r ? 1u << KD_EMBED : 0) | (a->head.r ? 1u << KD_HEAD : 0);
    if (!code && r->used != kd_tensors_count(r->set)) {
        for (size_t i = 0; i < kd_tensors_count(r->set); i++) {
            const char *name = kd_tensors_at(r->set, i)->name.data;
            if (strncmp(name, PREFIX, sizeof PREFIX - 1))
                return kd_fail(r->e, KD_EFORMAT, "%s: tensor %s: expected a name that begins with %s", r->path, name, PREFIX);
        }
        code = kd_fail(r->e, KD_EUNSUPPORTED,
                       "%s: %zu of its %zu tensors fit a %s model of %u layers; the others belong to modules that we do not adapt", r->path,
                       r->used, kd_tensors_count(r->set), kd_arch_name(c->arch), c->L);
    }
    if (!code && !a->config.targets && !a->saved_embed && !a->saved_head && !a->rows.n)
        code = kd_fail(r->e, KD_EFORMAT, "%s: holds no adapter", r->path);
    return code;
}

kd_code kd_adapter_open(kd_adapter **out, const char *dir, const kd_config *c, kd_err *e) {
    *out = NULL;
    char *path = kd_path_join(dir, "adapter_config.json"), *weights = kd_path_join(dir, "adapter_model.safetensors");
    kd_adapter *a = kd_calloc(1, sizeof *a);
    kd_buf text = {0};
    kd_json *doc = NULL;
    kd_safetensors *st = NULL;
    kd_code code = KD_OK;
    if (!path || !weights || !a || !(a->layers = kd_calloc((size_t)c->L * KD_MATS, sizeof *a->layers)))
        code = kd_fail(e, KD_ENOMEM, "%s: out of memory", dir);
    if (!code) a->L = c->L, code = kd_file_read(&text, path, 1 << 20, e);
    if (!code) code = kd_json_parse(&doc, text.data, text.len, path, e);
    if (!code) code = read_config(a, kd_json_root(doc), path, e);
    if (!code) code = kd_safetensors_open(&st, weights, e);
    if (!code) {
        reader r = {.a = a, .c = c, .set = kd_safetensors_tensors(st), .o = kd_json_root(doc), .path = weights, .e = e};
        code = read_tensors(&r);
    }
    if (!code) *out = a, a = NULL;
    kd_adapter_free(a);
    kd_safetensors_close(st);
    kd_json_free(doc);
    kd_buf_clear(&text);
    kd_free(path), kd_free(weights);
    return code;
}

static void write_patterns(kd_jsonw *w, const kd_adapter *a, bool rank) {
    char s[96];
    kd_jsonw_key(w, rank ? "rank_pattern" : "alpha_pattern");
    kd_jsonw_object(w);
    for (uint32_t l = 0; l < a->L; l++)
        for (int i = 0; i < KD_MATS; i++) {
            const kd_lora *y = &a->layers[l * KD_MATS + (uint32_t)i];
            if (!y->r || (rank ? y->r == a->config.r : y->alpha == a->config.alpha)) continue;
            kd_jsonw_key(w, module_path(s, (kd_role)i, l));
            if (rank)
                kd_jsonw_int(w, y->r);
            else
                kd_jsonw_double(w, y->alpha);
        }
    kd_jsonw_end_object(w);
}

static kd_code save_config(const kd_adapter *a, const char *path, const char *base, kd_err *e) {
    kd_buf out = {0};
    kd_jsonw w = {.out = &out, .python = true};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "peft_type"), kd_jsonw_cstr(&w, "LORA");
    kd_jsonw_key(&w, "task_type"), kd_jsonw_cstr(&w, "CAUSAL_LM");
    kd_jsonw_key(&w, "base_model_name_or_path"), kd_jsonw_cstr(&w, base);
    kd_jsonw_key(&w, "r"), kd_jsonw_int(&w, a->config.r);
    kd_jsonw_key(&w, "lora_alpha");
    if (a->config.alpha == floorf(a->config.alpha))
        kd_jsonw_int(&w, (int64_t)a->config.alpha);
    else
        kd_jsonw_double(&w, a->config.alpha);
    kd_jsonw_key(&w, "lora_dropout"), kd_jsonw_double(&w, (double)a->config.dropout);
    kd_jsonw_key(&w, "use_rslora"), kd_jsonw_bool(&w, a->config.rslora);
    kd_jsonw_key(&w, "use_dora"), kd_jsonw_bool(&w, a->config.dora);
    kd_jsonw_key(&w, "bias"), kd_jsonw_cstr(&w, "none");
    kd_jsonw_key(&w, "fan_in_fan_out"), kd_jsonw_bool(&w, false);
    kd_jsonw_key(&w, "inference_mode"), kd_jsonw_bool(&w, true);
    kd_jsonw_key(&w, "init_lora_weights"), kd_jsonw_bool(&w, true);
    kd_jsonw_key(&w, "target_modules");
    kd_jsonw_array(&w);
    for (int r = 0; r < KD_ROLES; r++)
        if ((a->config.targets >> r & 1) && kd_module_name((kd_role)r)) kd_jsonw_cstr(&w, kd_module_name((kd_role)r));
    kd_jsonw_end_array(&w);
    kd_jsonw_key(&w, "modules_to_save");
    if (a->saved_embed || a->saved_head) {
        kd_jsonw_array(&w);
        if (a->saved_embed) kd_jsonw_cstr(&w, "embed_tokens");
        if (a->saved_head) kd_jsonw_cstr(&w, "lm_head");
        kd_jsonw_end_array(&w);
    } else
        kd_jsonw_null(&w);
    kd_jsonw_key(&w, "trainable_token_indices");
    if (a->rows.n) {
        kd_jsonw_object(&w);
        for (int k = 0; k < 2; k++) {
            if (!(k ? a->rows.head : a->rows.embed)) continue;
            kd_jsonw_key(&w, k ? "lm_head" : "embed_tokens");
            kd_jsonw_array(&w);
            for (size_t i = 0; i < a->rows.n; i++) kd_jsonw_int(&w, a->rows.token[i]);
            kd_jsonw_end_array(&w);
        }
        kd_jsonw_end_object(&w);
    } else
        kd_jsonw_null(&w);
    write_patterns(&w, a, true);
    write_patterns(&w, a, false);
    kd_jsonw_end_object(&w);
    kd_code c =
        w.code || kd_buf_putc(&out, '\n') ? kd_fail(e, KD_ENOMEM, "%s: out of memory", path) : kd_file_write(path, out.data, out.len, e);
    kd_buf_clear(&out);
    return c;
}

/* One pass declares (w's tensors are counted), a second one puts: the same walk both times. */
typedef struct {
    kd_safetensors_writer *w;
    bool put;
    size_t next;
    kd_code code;
    kd_err *e;
} writer;

static void write_one(writer *w, const char *module, const char *suffix, const float *v, int ndim, size_t rows, size_t cols) {
    char s[192];
    uint64_t shape[2] = {rows, cols};
    if (!v || w->code) return;
    snprintf(s, sizeof s, "%s%s.%s", PREFIX, module, suffix);
    if (w->put)
        w->code = kd_safetensors_writer_put(w->w, w->next++, v, rows * (ndim == 2 ? cols : 1) * sizeof(float), w->e);
    else
        w->code = kd_safetensors_writer_declare(w->w, s, KD_F32, ndim, shape, NULL, w->e);
}

static void write_all(writer *w, const kd_adapter *a, const kd_config *c) {
    char s[96];
    size_t rows, cols;
    for (uint32_t l = 0; l < a->L; l++)
        for (int i = 0; i < KD_MATS; i++) {
            const kd_lora *y = &a->layers[l * KD_MATS + (uint32_t)i];
            kd_role_shape(c, (kd_role)i, &rows, &cols);
            module_path(s, (kd_role)i, l);
            write_one(w, s, "lora_A.weight", y->a, 2, y->r, cols);
            write_one(w, s, "lora_B.weight", y->b, 2, rows, y->r);
            write_one(w, s, "lora_magnitude_vector", y->magnitude, 1, rows, 0);
        }
    module_path(s, KD_EMBED, 0);
    write_one(w, s, "lora_embedding_A", a->embed.a, 2, a->embed.r, c->V);
    write_one(w, s, "lora_embedding_B", a->embed.b, 2, c->C, a->embed.r);
    write_one(w, s, "token_adapter.trainable_tokens_delta", a->rows.embed, 2, a->rows.n, c->C);
    write_one(w, s, "weight", a->saved_embed, 2, c->V, c->C);
    module_path(s, KD_HEAD, 0);
    write_one(w, s, "lora_A.weight", a->head.a, 2, a->head.r, c->C);
    write_one(w, s, "lora_B.weight", a->head.b, 2, c->V, a->head.r);
    write_one(w, s, "lora_magnitude_vector", a->head.magnitude, 1, c->V, 0);
    write_one(w, s, "token_adapter.trainable_tokens_delta", a->rows.head, 2, a->rows.n, c->C);
    write_one(w, s, "weight", a->saved_head, 2, c->V, c->C);
}

kd_code kd_adapter_save(const kd_adapter *a, const char *dir, const kd_config *c, const char *base, kd_err *e) {
    char *path = kd_path_join(dir, "adapter_config.json"), *weights = kd_path_join(dir, "adapter_model.safetensors");
    writer w = {.e = e};
    kd_code code = !path || !weights ? kd_fail(e, KD_ENOMEM, "%s: out of memory", dir) : kd_mkdirs(dir, e);
    if (!code) code = kd_safetensors_writer_new(&w.w, weights, 0, e);
    if (!code) code = kd_safetensors_writer_meta(w.w, "format", KD_STR("pt"), e);
    if (!code) write_all(&w, a, c), code = w.code;
    if (!code) code = kd_safetensors_writer_begin(w.w, e);
    if (!code) w.put = true, write_all(&w, a, c), code = w.code;
    if (!code) code = kd_safetensors_writer_commit(w.w, e);
    if (!code) code = save_config(a, path, base, e); /* last: a folder without it is no adapter */
    kd_safetensors_writer_free(w.w);
    kd_free(path), kd_free(weights);
    return code;
}
