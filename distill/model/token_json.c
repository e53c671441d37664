/* distill/model/token_json.c - a tokenizer out of tokenizer.json: vocabulary, merges and added tokens; the stages are token_parts.c's.
 * Leans on token_impl.h, base/json.h, base/clock.h. */
#include "distill/base/clock.h"
#include "distill/model/token_impl.h"

#include <assert.h>

kd_code kd_tok_new(kd_tokenizer **out, const char *what, kd_err *e) {
    *out = NULL;
    kd_tokenizer *t = kd_calloc(1, sizeof *t);
    if (!t || !(t->what = kd_strdup(what)) || pthread_mutex_init(&t->lock, NULL)) {
        if (t) kd_free(t->what);
        kd_free(t);
        return kd_tok_enomem(e);
    }
    t->locked = true;
    t->seed = (kd_now_ns() ^ (uint64_t)(uintptr_t)t << 20) |
              1; /* of tables that hostile texts shall not fill as they like; no result depends on it */
    t->unk_id = -1;
    t->special = (kd_specials){.bos = -1, .eos = -1, .unk = -1, .pad = -1, .sep = -1, .mask = -1, .eot = -1, .eom = -1};
    kd_tok_class_init();
    *out = t;
    return KD_OK;
}

/* ---- vocabulary ---- */

static kd_code bad(const kd_tokenizer *t, const char *why, kd_str s, kd_err *e) {
    return kd_fail(e, KD_EFORMAT, "%s: %s '%.*s'", t->what, why, (int)(s.len < 60 ? s.len : 60), s.len ? s.data : "");
}

static kd_code read_vocab(kd_tokenizer *t, const kd_json_node *vocab, kd_err *e) {
    if (kd_json_typeof(vocab) != KD_JSON_OBJECT) return kd_fail(e, KD_EFORMAT, "%s: model.vocab must be an object", t->what);
    const size_t count = kd_json_count(vocab);
    int64_t id, top = -1;
    for (const kd_json_node *v = kd_json_first(vocab); v; v = kd_json_next(v)) {
        if (!kd_json_int(v, &id) || id < 0 || (id >= TOK_IDS_MAX && (uint64_t)id >= 4 * (uint64_t)count))
            return bad(t, "the vocabulary gives an id out of range to", kd_json_key(v), e);
        if (id > top) top = id;
    }
    kd_code c = kd_tok_entry_reserve(t, (size_t)(top + 1), e);
    for (const kd_json_node *v = kd_json_first(vocab); v && !c; v = kd_json_next(v)) {
        (void)kd_json_int(v, &id);
        tok_entry *x = &t->entry[id];
        if (x->model.data) return bad(t, "two tokens have the id of", kd_json_key(v), e);
        x->model = kd_tok_keep(t, kd_json_key(v));
        x->type = KD_TOKEN_NORMAL;
        if (!x->model.data) c = kd_tok_enomem(e);
    }
    return c ? c : kd_tok_vocab_index(t, e);
}

/* "a b", or ["a", "b"]; lines that begin with #version are comments among the strings. */
static kd_code read_merges(kd_tokenizer *t, const kd_json_node *merges, kd_err *e) {
    if (kd_json_typeof(merges) != KD_JSON_ARRAY) return kd_fail(e, KD_EFORMAT, "%s: model.merges must be a list", t->what);
    const size_t count = kd_json_count(merges);
    kd_code c = kd_tok_merges_reserve(t, count, e);
    size_t n = 0;
    for (const kd_json_node *v = kd_json_first(merges); v && !c; v = kd_json_next(v)) {
        kd_str left = kd_json_string(v), right = {0};
        if (left.data) {
            if (kd_str_starts(left, "#version")) continue;
            const char *space = memchr(left.data, ' ', left.len);
            if (space) {
                right = (kd_str){space + 1, left.len - (size_t)(space + 1 - left.data)};
                left.len = (size_t)(space - left.data);
            }
            if (!space || memchr(right.data, ' ', right.len)) return bad(t, "a merge of not two parts:", kd_json_string(v), e);
        } else if (kd_json_typeof(v) == KD_JSON_ARRAY && kd_json_count(v) == 2) {
            left = kd_json_string(kd_json_first(v));
            right = kd_json_string(kd_json_next(kd_json_first(v)));
        }
        if (!left.data || !right.data) return kd_fail(e, KD_EFORMAT, "%s: merge %zu is neither a string nor a pair of strings", t->what, n);
        c = kd_tok_merge_set(t, n++, &left, &right, 1, e);
    }
    t->merges = n;
    return c;
}

static kd_code optional_text(kd_tokenizer *t, const kd_json_node *model, const char *key, kd_str *out, kd_err *e) {
    const kd_json_node *v = kd_json_get(model, key);
    if (!v || kd_json_typeof(v) == KD_JSON_NULL) return KD_OK;
    if (kd_json_typeof(v) != KD_JSON_STRING) return kd_fail(e, KD_EFORMAT, "%s: model.%s must be a string", t->what, key);
    *out = kd_tok_keep(t, kd_json_string(v));
    return out->data ? KD_OK : kd_tok_enomem(e);
}

static kd_code read_model(kd_tokenizer *t, const kd_json_node *model, kd_err *e) {
    static const char *const flags[] = {"ignore_merges", "fuse_unk", "byte_fallback"};
    bool *const into[] = {&t->ignore_merges, &t->fuse_unk, &t->byte_fallback};
    if (kd_json_typeof(model) != KD_JSON_OBJECT) return kd_fail(e, KD_EFORMAT, "%s: model must be an object", t->what);
    const kd_str type = kd_json_string(kd_json_get(model, "type"));
    if (type.data ? !kd_str_is(type, "BPE") : !kd_json_get(model, "merges"))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: model type %.40s is not supported, BPE is", t->what, type.data ? type.data : "(none)");
    const kd_json_node *dropout = kd_json_get(model, "dropout");
    if (dropout && kd_json_typeof(dropout) != KD_JSON_NULL && kd_json_number(dropout, 1) != 0)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: model.dropout is not supported", t->what);
    for (int i = 0; i < 3; i++) {
        const kd_json_node *v = kd_json_get(model, flags[i]);
        if (v && kd_json_typeof(v) != KD_JSON_BOOL && kd_json_typeof(v) != KD_JSON_NULL)
            return kd_fail(e, KD_EFORMAT, "%s: model.%s must be true or false", t->what, flags[i]);
        *into[i] = kd_json_bool(v, false);
    }
    kd_code c = optional_text(t, model, "unk_token", &t->unk, e);
    if (!c) c = optional_text(t, model, "continuing_subword_prefix", &t->subword_prefix, e);
    if (!c) c = optional_text(t, model, "end_of_word_suffix", &t->word_suffix, e);
    t->has_unk = t->unk.data != NULL;
    if (!c) c = read_vocab(t, kd_json_get(model, "vocab"), e);
    return c ? c : read_merges(t, kd_json_get(model, "merges"), e);
}

/* ---- added tokens ---- */

static kd_code added_flag(const kd_tokenizer *t, const kd_json_node *v, const char *key, unsigned bit, unsigned *flags, kd_err *e) {
    const kd_json_node *b = kd_json_get(v, key);
    if (kd_json_typeof(b) != KD_JSON_BOOL) return bad(t, "an added token without", (kd_str){key, strlen(key)}, e);
    if (kd_json_bool(b, false)) *flags |= bit;
    return KD_OK;
}

/* Ids are given as `tokenizers` gives them: the vocabulary's, or the next free one. What the file says besides is not asked. */
static kd_code read_added(kd_tokenizer *t, const kd_json_node *v, int64_t *next, kd_err *e) {
    static const struct {
        const char *key;
        unsigned bit;
    } keys[] = {
        {"single_word", TF_SINGLE}, {"lstrip", TF_LSTRIP}, {"rstrip", TF_RSTRIP}, {"normalized", TF_NORMALIZED}, {"special", TF_SPECIAL}};
    unsigned flags = TF_ADDED;
    const kd_str text = kd_json_string(kd_json_get(v, "content"));
    if (!text.data) return kd_fail(e, KD_EFORMAT, "%s: an added token without content", t->what);
    kd_code c = KD_OK;
    for (int k = 0; k < 5 && !c; k++) c = added_flag(t, v, keys[k].key, keys[k].bit, &flags, e);
    if (c || text.len == 0) return c;
    const int32_t before = kd_tok_map_get(&t->by_added, text.data, text.len);
    if (before >= 0)
        return t->entry[before].flags == flags ? KD_OK : bad(t, "an added token is there twice with different flags:", text, e);
    int64_t id = kd_tok_map_get(&t->by_text, text.data, text.len);
    if (id < 0) id = (*next)++;
    if ((c = kd_tok_entry_reserve(t, (size_t)id + 1, e))) return c;
    tok_entry *x = &t->entry[id];
    x->added = kd_tok_keep(t, text);
    if (!x->added.data) return kd_tok_enomem(e);
    x->flags = (uint8_t)flags;
    x->type = flags & TF_SPECIAL ? KD_TOKEN_CONTROL : KD_TOKEN_USER;
    kd_tok_map_put(&t->by_added, x->added, (int32_t)id);
    return KD_OK;
}

static kd_code read_all_added(kd_tokenizer *t, const kd_json_node *list, kd_err *e) {
    const size_t n = kd_json_count(list);
    int64_t next = (int64_t)t->by_text.n; /* not behind the highest id, where ids have holes: so it is */
    if (list && kd_json_typeof(list) != KD_JSON_ARRAY && kd_json_typeof(list) != KD_JSON_NULL)
        return kd_fail(e, KD_EFORMAT, "%s: added_tokens must be a list", t->what);
    if (kd_tok_map_init(&t->by_added, n, t->seed)) return kd_tok_enomem(e);
    kd_code c = KD_OK;
    for (const kd_json_node *v = n ? kd_json_first(list) : NULL; v && !c; v = kd_json_next(v)) c = read_added(t, v, &next, e);
    if (c) return c;
    if (!(t->added = kd_calloc(n ? n : 1, sizeof *t->added))) return kd_tok_enomem(e);
    uint8_t *seen = kd_calloc(t->size + 1, 1);
    if (!seen) return kd_tok_enomem(e);
    for (unsigned pass = 0; pass < 2; pass++) /* special ones are looked for first */
        for (const kd_json_node *v = n ? kd_json_first(list) : NULL; v; v = kd_json_next(v)) {
            const kd_str text = kd_json_string(kd_json_get(v, "content"));
            const int32_t id = kd_tok_map_get(&t->by_added, text.data, text.len);
            if (id < 0 || seen[id] || ((t->entry[id].flags & TF_SPECIAL) != 0) == (pass == 1)) continue;
            seen[id] = 1;
            t->added[t->nadded++] = id;
        }
    kd_free(seen);
    return KD_OK;
}

/* ---- the whole ---- */

/* What a GGUF would say of each token: bytes, the unknown token, and scores that make its search follow the merges. */
static void set_types(kd_tokenizer *t) {
    t->kind = t->byte_fallback ? KD_TOKENIZER_SPM : KD_TOKENIZER_BPE;
    for (unsigned b = 0; b < 256 && t->byte_fallback; b++)
        if (t->byte_id[b] >= 0 && !(t->entry[t->byte_id[b]].flags & TF_ADDED)) t->entry[t->byte_id[b]].type = KD_TOKEN_BYTE;
    if (t->kind != KD_TOKENIZER_SPM) return;
    if (t->unk_id >= 0) t->entry[t->unk_id].type = KD_TOKEN_UNKNOWN;
    for (size_t i = 0; i < t->size; i++) t->entry[i].score = t->entry[i].type == KD_TOKEN_NORMAL ? -(float)(t->merges + i + 1) : 0;
    for (size_t i = t->merges; i-- > 0;) {
        const int32_t made = kd_tok_merge_made(t, i);
        if (t->entry[made].type == KD_TOKEN_NORMAL) t->entry[made].score = -(float)i;
    }
    t->space_prefix = false;
    for (size_t i = 0; i < t->norms; i++) t->space_prefix |= t->norm[i].kind == NM_PREPEND;
    for (size_t i = 0; i < t->pres; i++) {
        if (t->pre[i].kind != ST_METASPACE) continue;
        t->space_prefix |= t->pre[i].scheme != MS_NEVER;
        t->prefix_first |= t->pre[i].scheme == MS_FIRST;
    }
}

kd_code kd_tok_open(kd_tokenizer **out, kd_str json, kd_str config, const char *dir, const char *what, kd_err *e) {
    kd_json *doc = NULL;
    kd_tokenizer *t = NULL;
    *out = NULL;
    kd_code c = kd_tok_new(&t, what, e);
    assert(c || t);
    if (!c) c = kd_json_parse(&doc, json.data, json.len, what, e);
    const kd_json_node *root = kd_json_root(doc);
    if (!c && kd_json_typeof(root) != KD_JSON_OBJECT) c = kd_fail(e, KD_EFORMAT, "%s: a tokenizer must be an object", what);
    if (!c) c = read_model(t, kd_json_get(root, "model"), e);
    if (!c) c = read_all_added(t, kd_json_get(root, "added_tokens"), e);
    if (!c) c = kd_tok_parse_normalizer(t, kd_json_get(root, "normalizer"), e);
    if (!c) c = kd_tok_parse_pre(t, kd_json_get(root, "pre_tokenizer"), e);
    if (!c) c = kd_tok_parse_decoder(t, kd_json_get(root, "decoder"), e);
    if (!c) c = kd_tok_parse_post(t, kd_json_get(root, "post_processor"), e);
    if (!c) c = kd_tok_finish(t, e);
    if (!c && (kd_buf_append(&t->json, json.data, json.len) || kd_buf_append(&t->config, config.data, config.len))) c = kd_tok_enomem(e);
    if (!c) {
        set_types(t);
        t->pre_name = kd_tok_pre_name(t);
        c = kd_tok_special_config(t, dir, e);
    }
    kd_json_free(doc);
    if (c) {
        kd_tokenizer_free(t);
        return c;
    }
    *out = t;
    return KD_OK;
}

kd_code kd_tokenizer_open_json(kd_tokenizer **out, kd_str json, kd_str config, const char *what, kd_err *e) {
    return kd_tok_open(out, json, config, NULL, what, e);
}
