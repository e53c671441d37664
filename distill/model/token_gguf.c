/* distill/model/token_gguf.c - a tokenizer out of the tokenizer.ggml.* keys of a GGUF, and into them. Leans on token_impl.h, format/gguf.h.
 * Source: the keys and token types of llama.cpp's include/llama.h and gguf.md; what a score means for merges, Kudo and Richardson 2018,
 * arXiv:1808.06226, in the order in which transformers lists the merges it makes of scores. */
#include "distill/model/token_impl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#define KEY(name) "tokenizer.ggml." name
enum { SPLIT_MAX = 256 /* bytes of a piece whose merges are looked for */ };

/* ---- reading ---- */

static kd_code need_array(const kd_tokenizer *t, const kd_gguf_kv *kv, const char *key, uint64_t n, kd_err *e) {
    if (!kv || kv->type != KD_GGUF_ARRAY) return kd_fail(e, KD_EFORMAT, "%s: %s must be an array", t->what, key);
    if (n && kv->count != n)
        return kd_fail(e, KD_EFORMAT, "%s: %s has %llu elements for %llu tokens", t->what, key, (unsigned long long)kv->count,
                       (unsigned long long)n);
    return KD_OK;
}

static kd_code read_tokens(kd_tokenizer *t, const kd_gguf *g, kd_err *e) {
    const kd_gguf_kv *tokens = kd_gguf_find(g, KEY("tokens")), *types = kd_gguf_find(g, KEY("token_type")),
                     *scores = kd_gguf_find(g, KEY("scores"));
    kd_code c = need_array(t, tokens, KEY("tokens"), 0, e);
    if (!c && (tokens->count == 0 || tokens->count > INT32_MAX)) c = kd_fail(e, KD_EFORMAT, "%s: no tokens, or too many", t->what);
    if (!c && types) c = need_array(t, types, KEY("token_type"), tokens->count, e);
    if (!c && scores) c = need_array(t, scores, KEY("scores"), tokens->count, e);
    if (!c) c = kd_tok_entry_reserve(t, (size_t)tokens->count, e);
    kd_str some[TOK_AT_ONCE];
    for (size_t i = 0; i < t->size && !c; i++) {
        tok_entry *x = &t->entry[i];
        const size_t k = i % TOK_AT_ONCE, left = t->size - i;
        int64_t type = KD_TOKEN_NORMAL;
        double score = 0;
        if ((!k && !kd_gguf_elem_strs(tokens, i, some, left < TOK_AT_ONCE ? left : TOK_AT_ONCE)) ||
            (types && !kd_gguf_elem_i64(types, i, &type)) || (scores && !kd_gguf_elem_f64(scores, i, &score)))
            return kd_fail(e, KD_EFORMAT, "%s: token %zu is of another kind", t->what, i);
        const kd_str s = some[k];
        if (type < 0 || type > KD_TOKEN_BYTE)
            return kd_fail(e, KD_EFORMAT, "%s: token %zu has the unknown type %lld", t->what, i, (long long)type);
        x->model = kd_tok_keep(t, s);
        if (!x->model.data) c = kd_tok_enomem(e);
        x->type = type == KD_TOKEN_NONE ? KD_TOKEN_NORMAL : (uint8_t)type;
        x->score = isfinite(score) ? (float)score : -1e30f;
        if (s.len == 0) continue;
        if (type == KD_TOKEN_CONTROL || type == KD_TOKEN_UNKNOWN) x->flags = TF_ADDED | TF_SPECIAL;
        if (type == KD_TOKEN_USER) x->flags = TF_ADDED;
        if (x->flags) x->added = x->model;
    }
    return c ? c : kd_tok_vocab_index(t, e);
}

static kd_code list_added(kd_tokenizer *t, kd_err *e) {
    size_t n = 0;
    for (size_t i = 0; i < t->size; i++) n += t->entry[i].flags & TF_ADDED;
    if (kd_tok_map_init(&t->by_added, n, t->seed) || !(t->added = kd_calloc(n + 1, sizeof *t->added))) return kd_tok_enomem(e);
    for (unsigned pass = 0; pass < 2; pass++)
        for (size_t i = 0; i < t->size; i++) {
            const tok_entry *x = &t->entry[i];
            if (!(x->flags & TF_ADDED) || ((x->flags & TF_SPECIAL) != 0) == (pass == 1)) continue;
            t->added[t->nadded++] = (int32_t)i;
            kd_tok_map_put(&t->by_added, x->added, (int32_t)i);
        }
    return KD_OK;
}

static kd_code read_merges(kd_tokenizer *t, const kd_gguf_kv *kv, kd_err *e) {
    kd_code c = need_array(t, kv, KEY("merges"), 0, e);
    if (!c) c = kd_tok_merges_reserve(t, (size_t)kv->count, e);
    for (size_t i = 0, n; !c && i < kv->count; i += n) {
        kd_str both[TOK_AT_ONCE], left[TOK_AT_ONCE], right[TOK_AT_ONCE];
        n = kv->count - i < TOK_AT_ONCE ? (size_t)(kv->count - i) : TOK_AT_ONCE;
        if (!kd_gguf_elem_strs(kv, i, both, n)) return kd_fail(e, KD_EFORMAT, "%s: merge %zu is no string", t->what, i);
        for (size_t k = 0; k < n; k++) {
            const kd_str s = both[k];
            const char *space = s.len > 1 ? memchr(s.data + 1, ' ', s.len - 1) : NULL;
            if (!space)
                return kd_fail(e, KD_EFORMAT, "%s: merge %zu, '%.*s', has not two parts", t->what, i + k, (int)(s.len < 60 ? s.len : 60),
                               s.data);
            left[k] = (kd_str){s.data, (size_t)(space - s.data)};
            right[k] = (kd_str){space + 1, s.len - left[k].len - 1};
        }
        c = kd_tok_merge_set(t, i, left, right, n, e);
    }
    if (!c) t->merges = (size_t)kv->count;
    return c;
}

/* ---- merges out of scores ---- */

typedef struct {
    float score;
    uint32_t left_len, right_len, order; /* characters; order among those of one piece and of all pieces */
    int32_t left, right;
} candidate;

static int by_ids(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->left != y->left) return x->left < y->left ? -1 : 1;
    return (x->right > y->right) - (x->right < y->right);
}

static int by_score(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->score != y->score) return x->score > y->score ? -1 : 1;
    if (x->left_len != y->left_len) return x->left_len > y->left_len ? -1 : 1;
    if (x->right_len != y->right_len) return x->right_len > y->right_len ? -1 : 1;
    return (x->order > y->order) - (x->order < y->order);
}

static int32_t plain(const kd_tokenizer *t, const char *s, size_t n) {
    const int32_t id = kd_tok_map_get(&t->by_text, s, n);
    return id >= 0 && t->entry[id].type == KD_TOKEN_NORMAL ? id : -1;
}

static kd_code piece_merges(const kd_tokenizer *t, size_t id, candidate **v, size_t *n, size_t *cap, kd_err *e) {
    const kd_str s = t->entry[id].model;
    const size_t first = *n;
    const uint32_t chars = (uint32_t)kd_utf8_count(s.data, s.len);
    uint32_t left_len = 0;
    for (size_t i = 0, len; i < s.len; i += len) {
        (void)tok_cp((const unsigned char *)s.data + i, &len);
        if (i > 0) {
            const int32_t left = plain(t, s.data, i), right = left < 0 ? -1 : plain(t, s.data + i, s.len - i);
            if (right >= 0) {
                if (kd_grow((void **)v, cap, *n + 1, sizeof **v)) return kd_tok_enomem(e);
                (*v)[(*n)++] = (candidate){t->entry[id].score, left_len, chars - left_len, 0, left, right};
            }
        }
        left_len++;
    }
    if (*n - first > 1) qsort(*v + first, *n - first, sizeof **v, by_ids);
    return KD_OK;
}

static kd_code make_merges(kd_tokenizer *t, kd_err *e) {
    candidate *v = NULL;
    size_t n = 0, cap = 0;
    kd_code c = KD_OK;
    for (size_t i = 0; i < t->size && !c; i++)
        if (t->entry[i].type == KD_TOKEN_NORMAL && t->entry[i].model.len > 1 && t->entry[i].model.len <= SPLIT_MAX)
            c = piece_merges(t, i, &v, &n, &cap, e);
    for (size_t i = 0; i < n; i++) v[i].order = (uint32_t)i;
    if (!c && n) qsort(v, n, sizeof *v, by_score);
    if (!c) c = kd_tok_merges_reserve(t, n, e);
    for (size_t i = 0; i < n && !c; i++) c = kd_tok_merge_set(t, i, &t->entry[v[i].left].model, &t->entry[v[i].right].model, 1, e);
    if (!c) t->merges = n;
    kd_free(v);
    return c;
}

/* ---- stages ---- */

static kd_code spm_stages(kd_tokenizer *t, const kd_gguf *g, kd_err *e) {
    static const kd_str bar = {"\xe2\x96\x81", 3}, space = {" ", 1};
    const kd_gguf_kv *charsmap = kd_gguf_find(g, KEY("precompiled_charsmap"));
    if (charsmap && charsmap->count > 0 && charsmap->type == KD_GGUF_ARRAY)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: the normalizer of " KEY("precompiled_charsmap") " is not supported", t->what);
    t->space_prefix = true;
    (void)kd_gguf_bool(g, KEY("add_space_prefix"), &t->space_prefix);
    (void)kd_gguf_bool(g, "distill.tokenizer.prefix_first", &t->prefix_first);
    t->byte_fallback = t->fuse_unk = true;
    if (t->space_prefix && t->prefix_first) {
        t->pre[t->pres++] = (tok_pre){.kind = ST_METASPACE, .replacement = bar, .scheme = MS_FIRST};
    } else {
        if (t->space_prefix) t->norm[t->norms++] = (tok_norm){.kind = NM_PREPEND, .content = bar};
        t->norm[t->norms++] = (tok_norm){.kind = NM_REPLACE, .pattern = {.kind = SM_LITERAL, .text = space}, .content = bar};
    }
    t->dec[t->decs++] = (tok_dec){.kind = DC_REPLACE, .pattern = {.kind = SM_LITERAL, .text = bar}, .content = space};
    t->dec[t->decs++] = (tok_dec){.kind = DC_BYTE_FALLBACK};
    t->dec[t->decs++] = (tok_dec){.kind = DC_FUSE};
    if (t->space_prefix) t->dec[t->decs++] = (tok_dec){.kind = DC_STRIP, .content = space, .start = 1};
    t->has_decoder = true;
    return KD_OK;
}

static void read_id(const kd_tokenizer *t, const kd_gguf *g, const char *key, int32_t *id) {
    uint32_t v;
    if (kd_gguf_u32(g, key, &v)) *id = v < t->size ? (int32_t)v : -1; /* a number out of range means none, as -1 does */
}

static kd_code read_specials(kd_tokenizer *t, const kd_gguf *g, kd_err *e) {
    kd_specials *s = &t->special;
    const bool spm = t->kind == KD_TOKENIZER_SPM;
    bool bos = spm || t->ignore_merges, eos = false; /* llama.cpp's own defaults */
    if (spm && t->size > 2) {
        s->bos = 1;
        s->eos = 2;
        s->unk = 0;
    }
    read_id(t, g, KEY("bos_token_id"), &s->bos);
    read_id(t, g, KEY("eos_token_id"), &s->eos);
    read_id(t, g, KEY("unknown_token_id"), &s->unk);
    read_id(t, g, KEY("padding_token_id"), &s->pad);
    read_id(t, g, KEY("seperator_token_id"), &s->sep);
    read_id(t, g, KEY("mask_token_id"), &s->mask);
    read_id(t, g, KEY("eot_token_id"), &s->eot);
    read_id(t, g, KEY("eom_token_id"), &s->eom);
    (void)kd_gguf_bool(g, KEY("add_bos_token"), &bos);
    (void)kd_gguf_bool(g, KEY("add_eos_token"), &eos);
    if ((bos && s->bos >= 0 && kd_ids_push(&t->before, s->bos)) || (eos && s->eos >= 0 && kd_ids_push(&t->after, s->eos)))
        return kd_tok_enomem(e);
    return KD_OK;
}

kd_code kd_tokenizer_open_gguf(kd_tokenizer **out, const kd_gguf *g, kd_err *e) {
    kd_tokenizer *t = NULL;
    kd_str model = {0}, pre = {0};
    *out = NULL;
    if (!kd_gguf_str(g, KEY("model"), &model)) return kd_fail(e, KD_EFORMAT, "GGUF tokenizer: no " KEY("model"));
    const bool spm = kd_str_is(model, "llama");
    if (!spm && !kd_str_is(model, "gpt2"))
        return kd_fail(e, KD_EUNSUPPORTED, "GGUF tokenizer: the model '%.*s' is not supported, gpt2 and llama are",
                       (int)(model.len < 60 ? model.len : 60), model.data);
    kd_code c = kd_tok_new(&t, "GGUF tokenizer", e);
    if (c) return c;
    t->from_gguf = true;
    t->kind = spm ? KD_TOKENIZER_SPM : KD_TOKENIZER_BPE;
    (void)kd_gguf_str(g, KEY("pre"), &pre);
    c = spm ? spm_stages(t, g, e) : kd_tok_pre_set(t, pre, e);
    if (!c) c = read_tokens(t, g, e);
    if (!c) c = list_added(t, e);
    const kd_gguf_kv *merges = kd_gguf_find(g, KEY("merges"));
    if (!c) c = spm && !merges ? make_merges(t, e) : read_merges(t, merges, e);
    if (!c) c = read_specials(t, g, e);
    if (!c && spm && t->special.unk >= 0) {
        t->unk = t->entry[t->special.unk].model;
        t->has_unk = true;
    }
    if (!c) c = kd_tok_finish(t, e);
    if (!c) c = kd_tok_special_finish(t, e);
    if (c) {
        kd_tokenizer_free(t);
        return c;
    }
    *out = t;
    return KD_OK;
}

/* ---- writing ---- */

static kd_code unsaid(const kd_tokenizer *t, const char *what, kd_err *e) {
    return kd_fail(e, KD_EUNSUPPORTED, "%s: GGUF has no words for %s", t->what, what);
}

static bool replaces_space(const tok_norm *m) {
    return m->kind == NM_REPLACE && m->pattern.kind == SM_LITERAL && kd_str_is(m->pattern.text, " ") &&
           kd_str_is(m->content, "\xe2\x96\x81");
}

/* Whether the stages are those that llama.cpp's kind of tokenizer stands for. */
static kd_code can_say(const kd_tokenizer *t, kd_err *e) {
    for (size_t i = 0; i < t->nadded; i++)
        if (t->entry[t->added[i]].flags & (TF_LSTRIP | TF_RSTRIP | TF_SINGLE))
            return unsaid(t, "an added token with lstrip, rstrip or single_word", e);
    if (t->subword_prefix.len || t->word_suffix.len) return unsaid(t, "continuing_subword_prefix and end_of_word_suffix", e);
    if (t->kind == KD_TOKENIZER_BPE) return t->pre_name ? KD_OK : unsaid(t, "these normalizers and pre-tokenizers", e);
    const bool prefix = t->norms == 2 && t->norm[0].kind == NM_PREPEND && kd_str_is(t->norm[0].content, "\xe2\x96\x81");
    const bool normal = t->pres == 0 && (prefix || t->norms == 1) && replaces_space(&t->norm[t->norms - 1]);
    const bool meta = t->norms == 0 && t->pres == 1 && t->pre[0].kind == ST_METASPACE && kd_str_is(t->pre[0].replacement, "\xe2\x96\x81");
    return normal || meta ? KD_OK : unsaid(t, "these normalizers and pre-tokenizers", e);
}

static kd_code write_vocab(const kd_tokenizer *t, kd_gguf_writer *w, size_t rows, kd_err *e) {
    kd_arena names = {0};
    kd_str *text = kd_calloc(rows, sizeof *text);
    int32_t *type = kd_calloc(rows, sizeof *type);
    float *score = kd_calloc(rows, sizeof *score);
    kd_code c = text && type && score ? KD_OK : kd_tok_enomem(e);
    for (size_t i = 0; i < rows && !c; i++) {
        const kd_token k = kd_tokenizer_token(t, (int32_t)i);
        text[i] = k.text;
        type[i] = (int32_t)k.type;
        score[i] = k.score;
        if (k.text.data) continue;
        char name[32];
        const int n = snprintf(name, sizeof name, "[PAD%zu]", i);
        text[i] = (kd_str){kd_arena_strndup(&names, name, (size_t)n), (size_t)n};
        type[i] = KD_TOKEN_UNUSED;
        if (!text[i].data) c = kd_tok_enomem(e);
    }
    if (!c) c = kd_gguf_writer_set_array(w, KEY("tokens"), KD_GGUF_STRING, text, rows, e);
    if (!c) c = kd_gguf_writer_set_array(w, KEY("token_type"), KD_GGUF_I32, type, rows, e);
    if (!c && t->kind == KD_TOKENIZER_SPM) c = kd_gguf_writer_set_array(w, KEY("scores"), KD_GGUF_F32, score, rows, e);
    kd_arena_clear(&names);
    kd_free(text);
    kd_free(type);
    kd_free(score);
    return c;
}

static kd_code write_merges(const kd_tokenizer *t, kd_gguf_writer *w, kd_err *e) {
    kd_arena texts = {0};
    kd_str *v = kd_calloc(t->merges ? t->merges : 1, sizeof *v);
    kd_code c = v ? KD_OK : kd_tok_enomem(e);
    for (size_t i = 0; i < t->merges && !c; i++) {
        kd_str a = {"", 0}, b = a;
        (void)kd_tokenizer_merge(t, i, &a, &b);
        if (memchr(a.data, ' ', a.len) || memchr(b.data, ' ', b.len)) {
            c = unsaid(t, "a merge of tokens with spaces", e);
            break;
        }
        v[i].len = a.len + 1 + b.len;
        char *s = kd_arena_alloc(&texts, v[i].len + 1);
        v[i].data = s;
        if (!s) {
            c = kd_tok_enomem(e);
            break;
        }
        memcpy(s, a.data, a.len);
        s[a.len] = ' ';
        memcpy(s + a.len + 1, b.data, b.len);
    }
    if (!c) c = kd_gguf_writer_set_array(w, KEY("merges"), KD_GGUF_STRING, v, t->merges, e);
    kd_arena_clear(&texts);
    kd_free(v);
    return c;
}

static kd_code write_id(kd_gguf_writer *w, const char *key, int32_t id, kd_err *e) {
    return id >= 0 ? kd_gguf_writer_u32(w, key, (uint32_t)id, e) : KD_OK;
}

kd_code kd_tokenizer_write_gguf(const kd_tokenizer *t, kd_gguf_writer *w, size_t rows, kd_err *e) {
    const bool spm = t->kind == KD_TOKENIZER_SPM;
    const kd_specials *s = &t->special;
    kd_code c = can_say(t, e);
    if (!c && rows < t->size) c = kd_fail(e, KD_EINVAL, "%s: %zu rows for %zu tokens", t->what, rows, t->size);
    if (!c) c = kd_gguf_writer_str(w, KEY("model"), kd_str_of(spm ? "llama" : "gpt2"), e);
    if (!c) c = kd_gguf_writer_str(w, KEY("pre"), kd_str_of(spm ? "default" : t->pre_name), e);
    if (!c) c = write_vocab(t, w, rows, e);
    if (!c) c = write_merges(t, w, e);
    if (!c) c = write_id(w, KEY("bos_token_id"), s->bos, e);
    if (!c) c = write_id(w, KEY("eos_token_id"), s->eos, e);
    if (!c) c = write_id(w, KEY("unknown_token_id"), s->unk, e);
    if (!c) c = write_id(w, KEY("padding_token_id"), s->pad, e);
    if (!c) c = write_id(w, KEY("seperator_token_id"), s->sep, e);
    if (!c) c = write_id(w, KEY("mask_token_id"), s->mask, e);
    if (!c) c = write_id(w, KEY("eot_token_id"), s->eot, e);
    if (!c) c = write_id(w, KEY("eom_token_id"), s->eom, e);
    if (!c) c = kd_gguf_writer_bool(w, KEY("add_bos_token"), s->add_bos, e);
    if (!c) c = kd_gguf_writer_bool(w, KEY("add_eos_token"), s->add_eos, e);
    if (!c) c = kd_gguf_writer_bool(w, KEY("add_space_prefix"), t->space_prefix, e);
    if (!c && t->prefix_first) c = kd_gguf_writer_bool(w, "distill.tokenizer.prefix_first", true, e);
    return c;
}
