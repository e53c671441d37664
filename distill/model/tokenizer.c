/* distill/model/tokenizer.c - the face of a tokenizer: opening, encoding, and what others may ask of it. Leans on token_impl.h, base/file.h. */
#include "distill/model/token_impl.h"

enum { JSON_MAX = 512 << 20 };

void kd_tokenizer_free(kd_tokenizer *t) {
    if (!t) return;
    while (t->idle) {
        tok_work *w = t->idle;
        t->idle = w->next;
        kd_tok_work_free(w);
    }
    if (t->locked) (void)pthread_mutex_destroy(&t->lock);
    kd_tok_map_clear(&t->by_text);
    kd_tok_map_clear(&t->by_added);
    kd_tok_map_clear(&t->by_bytes);
    kd_tok_trie_clear(&t->raw_trie);
    kd_tok_trie_clear(&t->norm_trie);
    kd_ids_clear(&t->before);
    kd_ids_clear(&t->after);
    kd_ids_clear(&t->eog);
    kd_buf_clear(&t->json);
    kd_buf_clear(&t->config);
    kd_free(t->entry);
    kd_free(t->merge);
    kd_free(t->pair);
    kd_free(t->added);
    kd_free(t->what);
    kd_arena_clear(&t->arena);
    kd_free(t);
}

kd_code kd_tokenizer_open_folder(kd_tokenizer **out, const char *dir, kd_err *e) {
    *out = NULL;
    kd_buf json = {0}, config = {0};
    char *path = kd_path_join(dir, "tokenizer.json"), *config_path = kd_path_join(dir, "tokenizer_config.json");
    kd_code c = path && config_path ? KD_OK : kd_tok_enomem(e);
    if (!c && !kd_file_exists(path)) c = kd_fail(e, KD_ENOENT, "%s: no tokenizer.json in this folder", dir);
    if (!c) c = kd_file_read(&json, path, JSON_MAX, e);
    if (!c && kd_file_exists(config_path)) c = kd_file_read(&config, config_path, JSON_MAX, e);
    if (!c) c = kd_tok_open(out, kd_buf_view(&json), kd_buf_view(&config), dir, path, e);
    kd_buf_clear(&json);
    kd_buf_clear(&config);
    kd_free(path);
    kd_free(config_path);
    return c;
}

kd_code kd_tokenizer_open(kd_tokenizer **out, const char *path, kd_err *e) {
    kd_source s;
    kd_gguf *g = NULL;
    *out = NULL;
    kd_code c = kd_source_resolve(&s, path, e);
    if (c) return c;
    if (s.kind == KD_SOURCE_HF) {
        c = kd_tokenizer_open_folder(out, s.path, e);
    } else if (!(c = kd_gguf_open(&g, s.path, e))) {
        c = kd_tokenizer_open_gguf(out, g, e);
        kd_gguf_close(g);
    }
    kd_source_clear(&s);
    return c;
}

/* ---- encoding ---- */

static kd_code words(tok_call *c, const char *s, size_t n, bool first) { return kd_tok_pre(c, 0, s, n, first); }

static kd_code between(tok_call *c, const char *s, size_t n, bool first) {
    const kd_tokenizer *t = c->t;
    const kd_code rc = t->norms ? kd_tok_norm_run(t, c->w, &s, &n, &first, c->e) : KD_OK;
    if (rc || n == 0) return rc;
    return t->norm_trie.n ? kd_tok_added_split(c, &t->norm_trie, s, n, first, words) : words(c, s, n, first);
}

static kd_code around(tok_call *c, const kd_ids *ids) {
    for (size_t i = 0; i < ids->n; i++)
        if (kd_ids_push(c->out, ids->id[i])) return kd_tok_enomem(c->e);
    return KD_OK;
}

kd_code kd_tokenizer_encode(const kd_tokenizer *t, kd_ids *out, const char *text, size_t len, unsigned flags, kd_err *e) {
    const size_t before = out->n;
    tok_call c = {.t = t, .out = out, .forbid = !(flags & KD_TOK_PARSE_SPECIAL), .e = e};
    if (len > TOK_TEXT_MAX) return kd_fail(e, KD_ELIMIT, "tokenizer: a text of %zu bytes, %d at most", len, TOK_TEXT_MAX);
    kd_code rc = kd_tok_work_get(t, &c.w, e);
    if (rc) return rc;
    kd_tok_work_begin(c.w, len);
    if (!kd_utf8_valid(text, len)) {
        c.w->clean.len = 0;
        rc = kd_utf8_replace(&c.w->clean, text, len) ? kd_tok_enomem(e) : KD_OK;
        text = c.w->clean.data;
        len = c.w->clean.len;
    }
    if (!rc && (flags & KD_TOK_ADD_SPECIAL)) rc = around(&c, &t->before);
    if (!rc && len) rc = kd_tok_added_split(&c, &t->raw_trie, text, len, true, between);
    if (!rc && (flags & KD_TOK_ADD_SPECIAL)) rc = around(&c, &t->after);
    if (rc) out->n = before;
    kd_tok_work_put(t, c.w);
    return rc;
}

/* ---- questions ---- */

size_t kd_tokenizer_size(const kd_tokenizer *t) { return t->size; }

kd_token kd_tokenizer_token(const kd_tokenizer *t, int32_t id) {
    if (id < 0 || (size_t)id >= t->size) return (kd_token){0};
    const tok_entry *x = &t->entry[id];
    return (kd_token){.text = x->added.data ? x->added : x->model,
                      .type = x->type,
                      .score = x->score,
                      .added = x->flags & TF_ADDED,
                      .special = x->flags & TF_SPECIAL,
                      .lstrip = x->flags & TF_LSTRIP,
                      .rstrip = x->flags & TF_RSTRIP,
                      .normalized = x->flags & TF_NORMALIZED,
                      .single_word = x->flags & TF_SINGLE};
}

int32_t kd_tokenizer_find(const kd_tokenizer *t, kd_str text) {
    if (!text.data) return -1;
    const int32_t id = kd_tok_map_get(&t->by_added, text.data, text.len);
    return id >= 0 ? id : kd_tok_map_get(&t->by_text, text.data, text.len);
}

const kd_specials *kd_tokenizer_specials(const kd_tokenizer *t) { return &t->special; }

bool kd_tokenizer_is_eog(const kd_tokenizer *t, int32_t id) {
    for (size_t i = 0; i < t->eog.n; i++)
        if (t->eog.id[i] == id) return true;
    return false;
}

kd_tokenizer_kind kd_tokenizer_kind_of(const kd_tokenizer *t) { return t->kind; }
const char *kd_tokenizer_pre(const kd_tokenizer *t) { return t->pre_name; }
bool kd_tokenizer_space_prefix(const kd_tokenizer *t) { return t->space_prefix; }
size_t kd_tokenizer_merges(const kd_tokenizer *t) { return t->merges; }

bool kd_tokenizer_merge(const kd_tokenizer *t, size_t i, kd_str *left, kd_str *right) {
    if (i >= t->merges) return false;
    *left = t->entry[t->merge[i].left].model;
    *right = t->entry[t->merge[i].right].model;
    return true;
}
