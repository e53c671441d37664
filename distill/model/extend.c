/* distill/model/extend.c - works out what an extended model will be: ids of new tokens, the texts of its tokenizer, its new rows. Leans on extend.h,
 * math/codec.h. Writing it is extend_write.c's. */
#include "distill/model/extend_int.h"

#include "distill/math/codec.h"

#include <math.h>
#include <string.h>

enum { TOKENS_MAX = 4096, TEXT_MAX = 256 };

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory to extend a model"); }

/* An id that no text becomes: a hole, or what a GGUF calls unused. */
static bool stands_for_nothing(const kd_tokenizer *t, size_t id) {
    const kd_token_type type = kd_tokenizer_token(t, (int32_t)id).type;
    return type == KD_TOKEN_NONE || type == KD_TOKEN_UNUSED;
}

/* ---- the list of tokens ---- */
typedef struct {
    kd_str *at;
    bool *special;
    size_t n;
} wanted;

static bool is_control(kd_str s, const char *eos) {
    return (eos && kd_str_is(s, eos)) || (s.len > 4 && kd_str_starts(s, "<|") && kd_str_ends(s, "|>"));
}

/* What of the list (and eos) the vocabulary lacks. */
static kd_code read_list(wanted *w, kd_extension *x, const kd_tokenizer *t, const kd_extend_options *o, kd_err *e) {
    const char *p = o->tokens ? o->tokens : "";
    size_t most = 1;
    for (const char *q = p; *q; q++) most += *q == ',';
    if (most > TOKENS_MAX) return kd_fail(e, KD_EINVAL, "--add-tokens: more than %d tokens", TOKENS_MAX);
    w->at = kd_calloc(most, sizeof *w->at);
    w->special = kd_calloc(most, sizeof *w->special);
    if (!w->at || !w->special) return no_memory(e);
    while (*p) {
        const kd_str s = {p, strcspn(p, ",")};
        p += s.len + (p[s.len] == ',');
        if (s.len == 0) continue;
        if (s.len > TEXT_MAX) return kd_fail(e, KD_EINVAL, "--add-tokens: a token of %zu bytes, at most %d", s.len, TEXT_MAX);
        const int32_t id = kd_tokenizer_find(t, s);
        if (id >= 0 && kd_tokenizer_token(t, id).added) {
            x->known++;
            continue;
        }
        if (id >= 0)
            return kd_fail(e, KD_EUNSUPPORTED, "--add-tokens: '%.*s' is a word of the vocabulary already (id %d)", (int)s.len, s.data,
                           (int)id);
        for (size_t i = 0; i < w->n; i++)
            if (kd_str_eq(w->at[i], s)) return kd_fail(e, KD_EINVAL, "--add-tokens: '%.*s' twice", (int)s.len, s.data);
        w->special[w->n] = is_control(s, o->eos);
        w->at[w->n++] = s;
    }
    return o->tokens && !w->n && !x->known ? kd_fail(e, KD_EINVAL, "--add-tokens names no token") : KD_OK;
}

/* ---- tokenizer.json and tokenizer_config.json ---- */
static void put_added(kd_jsonw *w, const wanted *k, size_t i, uint32_t id, bool with_id) {
    const char *const off[] = {"single_word", "lstrip", "rstrip", "normalized"};
    kd_jsonw_object(w);
    if (with_id) kd_jsonw_key(w, "id"), kd_jsonw_int(w, id);
    kd_jsonw_key(w, "content"), kd_jsonw_str(w, k->at[i]);
    for (int f = 0; f < 4; f++) kd_jsonw_key(w, off[f]), kd_jsonw_bool(w, false);
    kd_jsonw_key(w, "special"), kd_jsonw_bool(w, k->special[i]);
    kd_jsonw_end_object(w);
}

static kd_code with_added(kd_buf *out, kd_str json, const wanted *k, uint32_t first, kd_err *e) {
    kd_json *doc = NULL;
    kd_jsonw w = {.out = out};
    bool seen = false;
    kd_code c = kd_json_parse(&doc, json.data, json.len, "tokenizer.json", e);
    if (c) return c;
    kd_jsonw_object(&w);
    for (const kd_json_node *n = kd_json_first(kd_json_root(doc)); n; n = kd_json_next(n)) {
        const bool added = kd_str_is(kd_json_key(n), "added_tokens");
        kd_jsonw_key_str(&w, kd_json_key(n));
        if (!added) {
            kd_jsonw_node(&w, n);
            continue;
        }
        seen = true;
        kd_jsonw_array(&w);
        for (const kd_json_node *v = kd_json_first(n); v; v = kd_json_next(v)) kd_jsonw_node(&w, v);
        for (size_t i = 0; i < k->n; i++) put_added(&w, k, i, first + (uint32_t)i, true);
        kd_jsonw_end_array(&w);
    }
    if (!seen) {
        kd_jsonw_key(&w, "added_tokens");
        kd_jsonw_array(&w);
        for (size_t i = 0; i < k->n; i++) put_added(&w, k, i, first + (uint32_t)i, true);
        kd_jsonw_end_array(&w);
    }
    kd_jsonw_end_object(&w);
    kd_json_free(doc);
    return w.code ? no_memory(e) : KD_OK;
}

/* tokenizer_config.json with the new tokens, eos_token, and without the template that another one replaces. */
static kd_code config_text(kd_buf *out, kd_str was, const wanted *k, uint32_t first, const kd_extend_options *o, kd_err *e) {
    kd_json *doc = NULL;
    kd_jsonw w = {.out = out};
    bool eos = false;
    kd_code c = kd_json_parse(&doc, was.len ? was.data : "{}", was.len ? was.len : 2, "tokenizer_config.json", e);
    if (c) return c;
    kd_jsonw_object(&w);
    for (const kd_json_node *n = kd_json_first(kd_json_root(doc)); n; n = kd_json_next(n)) {
        const kd_str key = kd_json_key(n);
        if (o->template_file && kd_str_is(key, "chat_template")) continue;
        kd_jsonw_key_str(&w, key);
        if (o->eos && kd_str_is(key, "eos_token")) {
            kd_jsonw_cstr(&w, o->eos);
            eos = true;
        } else if (kd_str_is(key, "added_tokens_decoder") && kd_json_typeof(n) == KD_JSON_OBJECT) {
            kd_jsonw_object(&w);
            for (const kd_json_node *v = kd_json_first(n); v; v = kd_json_next(v))
                kd_jsonw_key_str(&w, kd_json_key(v)), kd_jsonw_node(&w, v);
            for (size_t i = 0; i < k->n; i++) {
                char id[16];
                snprintf(id, sizeof id, "%u", first + (uint32_t)i);
                kd_jsonw_key(&w, id);
                put_added(&w, k, i, 0, false);
            }
            kd_jsonw_end_object(&w);
        } else
            kd_jsonw_node(&w, n);
    }
    if (o->eos && !eos) kd_jsonw_key(&w, "eos_token"), kd_jsonw_cstr(&w, o->eos);
    kd_jsonw_end_object(&w);
    kd_json_free(doc);
    return w.code ? no_memory(e) : KD_OK;
}

/* The tokenizer with k's tokens from id first on; *fits: that is where they came to stand. */
static kd_code make_tokenizer(kd_extension *x, const kd_tokenizer *was, const wanted *k, uint32_t first, const kd_extend_options *o,
                              bool *fits, uint32_t *found, kd_err *e) {
    kd_buf json = {0}, config = {0};
    x->json.len = x->config.len = 0;
    kd_tokenizer_free(x->tokenizer);
    x->tokenizer = NULL;
    kd_code c = kd_tokenizer_write_json(was, &json, e);
    if (!c) c = kd_tokenizer_write_config(was, &config, e);
    if (!c && k->n) c = with_added(&x->json, kd_buf_view(&json), k, first, e);
    if (!c && !k->n && kd_buf_append(&x->json, json.data, json.len)) c = no_memory(e);
    if (!c) c = config_text(&x->config, kd_buf_view(&config), k, first, o, e);
    if (!c) c = kd_tokenizer_open_json(&x->tokenizer, kd_buf_view(&x->json), kd_buf_view(&x->config), "the extended tokenizer", e);
    *fits = true;
    *found = first;
    for (size_t i = 0; i < k->n && !c; i++) {
        const int32_t id = kd_tokenizer_find(x->tokenizer, k->at[i]);
        if (i == 0 && id >= 0) *found = (uint32_t)id;
        *fits &= id == (int32_t)(first + i);
        if (id < 0 || id != (int32_t)(*found + i) || !stands_for_nothing(was, (size_t)id))
            c = kd_fail(e, KD_EUNSUPPORTED, "the vocabulary has holes where the new tokens would stand (id %d)", (int)id);
    }
    kd_buf_clear(&json);
    kd_buf_clear(&config);
    return c;
}

/* ---- new rows ---- */
/* The mean of the rows that stand for tokens, in f64 over rows in order, in the stored type. */
static kd_code mean_row(struct kd_extend_mean *out, const kd_tensor *t, const kd_tokenizer *was, kd_err *e) {
    const size_t C = (size_t)t->shape[1], V = (size_t)t->shape[0];
    size_t count = 0, bytes;
    float *row = kd_calloc(C, sizeof *row);
    double *sum = kd_calloc(C, sizeof *sum);
    kd_code c = row && sum && kd_dtype_row_bytes((int)t->type, C, &bytes) ? KD_OK : no_memory(e);
    for (size_t v = 0; v < V && v < kd_tokenizer_size(was) && !c; v++) {
        if (stands_for_nothing(was, v)) continue;
        kd_dequantize(t->type, (const char *)t->data + v * bytes, row, C);
        for (size_t i = 0; i < C; i++) sum[i] += (double)row[i];
        count++;
    }
    for (size_t i = 0; i < C && !c; i++) row[i] = count ? (float)(sum[i] / (double)count) : 0;
    if (!c && !(out->row = kd_malloc(bytes))) c = no_memory(e);
    if (!c) c = kd_quantize(t->type, row, out->row, C, NULL, e);
    if (!c) out->bytes = bytes;
    kd_free(row);
    kd_free(sum);
    return c;
}

static kd_code make_rows(kd_extension *x, const kd_extend_source *s, const kd_tokenizer *was, kd_err *e) {
    if (!(x->means = kd_calloc(2, sizeof *x->means))) return no_memory(e);
    for (int k = 0; k < 2; k++) {
        const kd_tensor *t = kd_extend_table(s, k);
        if (!t) continue;
        kd_code c = mean_row(&x->means[k], t, was, e);
        if (c) return c;
    }
    return KD_OK;
}

/* ---- the face ---- */
static kd_code open_words(kd_extension *x, const kd_model *m, const kd_extend_options *o, wanted *k, kd_tokenizer *was, kd_err *e) {
    bool fits;
    uint32_t first = (uint32_t)kd_tokenizer_size(was);
    kd_code c = read_list(k, x, was, o, e);
    while (!c && first && stands_for_nothing(was, first - 1)) first--;
    if (!c) c = make_tokenizer(x, was, k, first, o, &fits, &first, e);
    if (!c && !fits) c = make_tokenizer(x, was, k, first, o, &fits, &first, e);
    if (c) return c;
    x->first = first;
    x->n = (uint32_t)k->n;
    x->V = m->config.V;
    if (x->n && first + x->n > x->V) x->V = first + x->n;
    if (o->eos) {
        x->eos = kd_tokenizer_find(x->tokenizer, kd_str_of(o->eos));
        if (x->eos < 0 || !kd_tokenizer_token(x->tokenizer, x->eos).added)
            return kd_fail(e, KD_EINVAL, "--eos '%s': expected a token of the vocabulary, found none; --add-tokens '%s' makes one", o->eos,
                           o->eos);
    }
    c = kd_chat_open(&x->chat, m->path, o->template_file, e);
    if (!c && o->eos) c = kd_chat_set_token(x->chat, "eos_token", kd_str_of(o->eos), e);
    return c;
}

kd_code kd_extension_new(kd_extension **out, const kd_model *m, const kd_extend_options *o, kd_err *e) {
    wanted k = {0};
    kd_tokenizer *was = NULL;
    kd_extend_source s = {0};
    *out = NULL;
    if (o->rope_theta != 0 && !(o->rope_theta >= 1 && o->rope_theta <= 1e12))
        return kd_fail(e, KD_EINVAL, "--rope-theta: expected a number in 1..1e12, found %g", o->rope_theta);
    kd_extension *x = kd_calloc(1, sizeof *x);
    if (!x) return no_memory(e);
    x->eos = -1;
    x->rope_theta = o->rope_theta;
    x->has_template = o->template_file != NULL;
    kd_code c = kd_tokenizer_open(&was, m->path, e);
    if (!c) c = open_words(x, m, o, &k, was, e);
    if (!c) c = kd_extend_source_open(&s, m, e);
    if (!c && x->n) c = make_rows(x, &s, was, e);
    if (!c) x->bytes = m->kind == KD_SOURCE_GGUF || x->n ? m->bytes + (uint64_t)(x->V - m->config.V) * (m->bytes / m->config.V + 1) : 0;
    if (!c) x->bytes += x->json.len + x->config.len + (1u << 20);
    kd_extend_source_close(&s);
    kd_tokenizer_free(was);
    kd_free(k.at);
    kd_free(k.special);
    if (c)
        kd_extension_free(x);
    else
        *out = x;
    return c;
}

void kd_extension_free(kd_extension *x) {
    if (!x) return;
    for (int k = 0; x->means && k < 2; k++) kd_free(x->means[k].row);
    kd_free(x->means);
    kd_tokenizer_free(x->tokenizer);
    kd_chat_free(x->chat);
    kd_buf_clear(&x->json);
    kd_buf_clear(&x->config);
    kd_free(x);
}
