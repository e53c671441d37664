/* distill/model/token_vocab.c - the vocabulary of a tokenizer: texts to ids, pairs to merges, and what the hot path wants prepared.
 * Leans on token_impl.h, base/hash.h. */
#include "distill/base/hash.h"
#include "distill/model/token_impl.h"

#undef kd_tok_enomem /* a macro for the analyzer */

kd_code kd_tok_enomem(kd_err *e) { return kd_fail(e, KD_ENOMEM, "tokenizer: no memory"); }

kd_str kd_tok_keep(kd_tokenizer *t, kd_str s) { return (kd_str){kd_arena_strndup(&t->arena, s.len ? s.data : "", s.len), s.len}; }

/* ---- the byte-level alphabet: printable bytes stand for themselves, the others for U+0100 upwards ---- */

const uint16_t kd_tok_byte_char[256] = {
#define SELF8(b) b, b + 1, b + 2, b + 3, b + 4, b + 5, b + 6, b + 7
#define SELF16(b) SELF8(b), SELF8(b + 8)
    256,         257,        258, 259, 260, 261, 262, 263, 264, 265, 266,       267,        268,         269,         270,
    271,         272,        273, 274, 275, 276, 277, 278, 279, 280, 281,       282,        283,         284,         285,
    286,         287,        288, 33,  34,  35,  36,  37,  38,  39,  SELF8(40), SELF16(48), SELF16(64),  SELF16(80),  SELF16(96),
    SELF8(112),  120,        121, 122, 123, 124, 125, 126, 289, 290, 291,       292,        293,         294,         295,
    296,         297,        298, 299, 300, 301, 302, 303, 304, 305, 306,       307,        308,         309,         310,
    311,         312,        313, 314, 315, 316, 317, 318, 319, 320, 321,       322,        161,         162,         163,
    164,         165,        166, 167, 168, 169, 170, 171, 172, 323, 174,       175,        SELF16(176), SELF16(192), SELF16(208),
    SELF16(224), SELF16(240)};

bool kd_tok_byte_of(uint32_t cp, unsigned char *byte) {
    if (cp < 256 && kd_tok_byte_char[cp] == cp) {
        *byte = (unsigned char)cp;
        return true;
    }
    if (cp < 256 || cp > 323) return false;
    *byte = (unsigned char)(cp < 289 ? cp - 256 : cp < 323 ? cp - 289 + 127 : 173);
    return true;
}

kd_code kd_tok_unmap(kd_buf *out, kd_str text, bool *whole) {
    const size_t before = out->len;
    *whole = true;
    if (kd_buf_reserve(out, text.len + 1)) return KD_ENOMEM;
    for (size_t i = 0, len; i < text.len; i += len) {
        unsigned char b;
        if (!kd_tok_byte_of(tok_cp((const unsigned char *)text.data + i, &len), &b)) {
            out->len = before;
            *whole = false;
            return KD_OK;
        }
        out->data[out->len++] = (char)b;
    }
    out->data[out->len] = '\0';
    return KD_OK;
}

/* ---- text -> id ---- */

kd_code kd_tok_map_init(tok_map *m, size_t expect, uint64_t seed) {
    size_t cap = 16;
    while (cap < expect + expect / 2 + 1) cap *= 2;
    *m = (tok_map){.mask = cap - 1, .seed = seed};
    m->slot = cap <= SIZE_MAX / sizeof *m->slot ? kd_large_alloc(cap * sizeof *m->slot) : NULL;
    if (!m->slot) {
        kd_tok_map_clear(m);
        return KD_ENOMEM;
    }
    for (size_t i = 0; i < cap; i++) m->slot[i] = (tok_place){.id = -1};
    return KD_OK;
}

void kd_tok_map_clear(tok_map *m) {
    kd_free(m->slot);
    *m = (tok_map){0};
}

/* The place of a key whose hash is h. */
static tok_place *map_find(const tok_map *m, const char *s, size_t n, uint64_t h, uint32_t *tag) {
    *tag = (uint32_t)(h >> 32);
    size_t i = (size_t)h & m->mask;
    for (;; i = (i + 1) & m->mask) {
        tok_place *x = &m->slot[i];
        if (x->id < 0 || (x->tag == *tag && x->key.len == n && memcmp(x->key.data, s, n) == 0)) return x;
    }
}

static uint64_t map_hash(const tok_map *m, kd_str key) { /* and its place is fetched meanwhile */
    const uint64_t h = kd_hash64(key.data, key.len, m->seed);
    __builtin_prefetch(&m->slot[(size_t)h & m->mask]);
    return h;
}

static void map_put(tok_map *m, kd_str key, uint64_t h, int32_t id) {
    uint32_t tag;
    tok_place *x = map_find(m, key.data, key.len, h, &tag);
    if (x->id < 0) m->n++;
    *x = (tok_place){key, tag, id};
}

void kd_tok_map_put(tok_map *m, kd_str key, int32_t id) { map_put(m, key, kd_hash64(key.data, key.len, m->seed), id); }

int32_t kd_tok_map_get(const tok_map *m, const char *s, size_t n) {
    uint32_t tag;
    return m->slot ? map_find(m, s, n, kd_hash64(s, n, m->seed), &tag)->id : -1;
}

/* ---- entries and merges ---- */

kd_code kd_tok_entry_reserve(kd_tokenizer *t, size_t size, kd_err *e) {
    if (size <= t->size) return KD_OK;
    tok_entry *v = t->entry                       ? kd_realloc_array(t->entry, size, sizeof *v)
                   : size <= SIZE_MAX / sizeof *v ? kd_large_alloc(size * sizeof *v)
                                                  : NULL;
    if (!v) return kd_tok_enomem(e);
    memset(v + t->size, 0, (size - t->size) * sizeof *v);
    t->entry = v;
    t->size = size;
    return KD_OK;
}

kd_code kd_tok_vocab_index(kd_tokenizer *t, kd_err *e) {
    uint64_t h[TOK_AT_ONCE];
    if (kd_tok_map_init(&t->by_text, t->size, t->seed)) return kd_tok_enomem(e);
    t->no_twins = true;
    for (size_t from = 0; from < t->size; from += TOK_AT_ONCE) {
        const size_t end = from + TOK_AT_ONCE < t->size ? from + TOK_AT_ONCE : t->size;
        for (size_t i = from; i < end; i++)
            if (t->entry[i].model.data) h[i - from] = map_hash(&t->by_text, t->entry[i].model);
        for (size_t i = from; i < end; i++) {
            const kd_str s = t->entry[i].model;
            if (!s.data || t->entry[i].type == KD_TOKEN_UNUSED) continue;
            const size_t before = t->by_text.n;
            map_put(&t->by_text, s, h[i - from], (int32_t)i);
            if (t->by_text.n != before) continue;
            t->no_twins = false;
            if (!t->from_gguf) /* in a GGUF the last one counts, as for llama.cpp */
                return kd_fail(e, KD_EFORMAT, "%s: the vocabulary has '%.60s' twice, the second time as token %zu", t->what, s.data, i);
        }
    }
    return KD_OK;
}

static size_t pair_home(const kd_tokenizer *t, uint64_t key) {
    uint64_t h = (key ^ t->seed) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    return (size_t)(h * 0xd6e8feb86659fd93u >> 24) & t->pair_mask;
}

static size_t pair_find(const kd_tokenizer *t, uint64_t key) {
    size_t i = pair_home(t, key);
    while (t->pair[i].key != key && t->pair[i].key != UINT64_MAX) i = (i + 1) & t->pair_mask;
    return i;
}

kd_code kd_tok_merges_reserve(kd_tokenizer *t, size_t n, kd_err *e) {
    size_t cap = 16;
    if (n >= TOK_NO_RANK / 4) return kd_fail(e, KD_EFORMAT, "%s: %zu merges", t->what, n);
    while (cap < n + n / 2 + 1) cap *= 2;
    t->merge = kd_calloc(n ? n : 1, sizeof *t->merge);
    t->pair = kd_large_alloc(cap * sizeof *t->pair);
    if (!t->merge || !t->pair) return kd_tok_enomem(e);
    memset(t->pair, 0xff, cap * sizeof *t->pair);
    t->pair_mask = cap - 1;
    return KD_OK;
}

int32_t kd_tok_merge_made(const kd_tokenizer *t, size_t i) {
    return t->pair[pair_find(t, (uint64_t)(uint32_t)t->merge[i].left << 32 | (uint32_t)t->merge[i].right)].made;
}

/* The token of a text that merge i makes. Vocabularies list them as merges made them, so the one behind the last is asked first. */
static int32_t made_of(const kd_tokenizer *t, size_t i, const char *text, size_t n) {
    if (i && t->no_twins) {
        const tok_merge *m = &t->merge[i - 1];
        const size_t next = (size_t)t->pair[pair_find(t, (uint64_t)(uint32_t)m->left << 32 | (uint32_t)m->right)].made + 1;
        const tok_entry *x = next < t->size ? &t->entry[next] : NULL;
        if (x && x->model.data && x->type != KD_TOKEN_UNUSED && x->model.len == n && !memcmp(x->model.data, text, n)) return (int32_t)next;
    }
    return kd_tok_map_get(&t->by_text, text, n);
}

static uint64_t pair_key(tok_merge m) { return (uint64_t)(uint32_t)m.left << 32 | (uint32_t)m.right; }

/* Merge i, of tokens m. */
static kd_code merge_put(kd_tokenizer *t, size_t i, tok_merge m, kd_str left, kd_str right, kd_err *e) {
    char stack[256], *text = stack;
    const size_t skip = t->subword_prefix.len;
    kd_code c = KD_OK;
    if (m.left < 0 || m.right < 0) {
        const kd_str s = m.left < 0 ? left : right;
        return kd_fail(e, KD_EFORMAT, "%s: merge %zu: '%.*s' is not in the vocabulary", t->what, i, (int)(s.len < 60 ? s.len : 60), s.data);
    }
    if (right.len < skip)
        return kd_fail(e, KD_EFORMAT, "%s: merge %zu: '%.*s' is shorter than the continuing_subword_prefix", t->what, i, (int)right.len,
                       right.data);
    const size_t n = left.len + right.len - skip;
    if (n > sizeof stack && !(text = kd_malloc(n))) return kd_tok_enomem(e);
    memcpy(text, left.data, left.len);
    memcpy(text + left.len, right.data + skip, right.len - skip);
    const int32_t made = made_of(t, i, text, n);
    if (made < 0) {
        c = kd_fail(e, KD_EFORMAT, "%s: merge %zu makes '%.*s', which is not in the vocabulary", t->what, i, (int)(n < 60 ? n : 60), text);
        goto done;
    }
    t->merge[i] = m;
    t->pair[pair_find(t, pair_key(m))] =
        (tok_pair){pair_key(m), (uint32_t)i, made}; /* of equal ones the last counts, as in a map filled in order */
done:
    if (text != stack) kd_free(text);
    return c;
}

kd_code kd_tok_merge_set(kd_tokenizer *t, size_t i, const kd_str *left, const kd_str *right, size_t n, kd_err *e) {
    uint64_t l[TOK_AT_ONCE], r[TOK_AT_ONCE];
    tok_merge m[TOK_AT_ONCE];
    uint32_t tag;
    kd_code c = KD_OK;
    if (!t->by_text.slot) return kd_fail(e, KD_EFORMAT, "%s: merges without a vocabulary", t->what);
    for (size_t k = 0; k < n; k++) l[k] = map_hash(&t->by_text, left[k]), r[k] = map_hash(&t->by_text, right[k]);
    for (size_t k = 0; k < n; k++) {
        m[k].left = map_find(&t->by_text, left[k].data, left[k].len, l[k], &tag)->id;
        m[k].right = map_find(&t->by_text, right[k].data, right[k].len, r[k], &tag)->id;
        __builtin_prefetch(&t->pair[pair_home(t, pair_key(m[k]))], 1);
    }
    for (size_t k = 0; k < n && !c; k++) c = merge_put(t, i + k, m[k], left[k], right[k], e);
    return c;
}

/* ---- what follows from all that ---- */

static kd_code make_raw(kd_tokenizer *t, kd_err *e) {
    for (unsigned b = 0; b < 256; b++) {
        char u[4];
        t->byte_id[b] = kd_tok_map_get(&t->by_text, u, kd_utf8_put(u, kd_tok_byte_char[b]));
    }
    if (!t->ignore_merges) return KD_OK;
    if (kd_tok_map_init(&t->by_bytes, t->size, t->seed)) return kd_tok_enomem(e);
    kd_buf b = {0};
    kd_code c = KD_OK;
    for (size_t i = 0; i < t->size && !c; i++) {
        bool whole;
        const kd_str text = t->entry[i].model;
        if (!text.data || (t->from_gguf && t->entry[i].type != KD_TOKEN_NORMAL)) continue;
        b.len = 0;
        kd_str kept = {0};
        if ((c = kd_tok_unmap(&b, text, &whole)) || (whole && !(kept = kd_tok_keep(t, kd_buf_view(&b))).data))
            c = kd_tok_enomem(e);
        else if (whole && kept.len)
            kd_tok_map_put(&t->by_bytes, kept, (int32_t)i);
    }
    kd_buf_clear(&b);
    return c;
}

static void make_byte_tokens(kd_tokenizer *t) {
    for (unsigned b = 0; b < 256; b++) {
        static const char digit[] = "0123456789ABCDEF";
        const char name[6] = {'<', '0', 'x', digit[b >> 4], digit[b & 15], '>'};
        t->byte_id[b] = kd_tok_map_get(&t->by_text, name, 6);
    }
}

static bool is_wary(const kd_tokenizer *t) {
    for (size_t i = 0; i < t->merges; i++)
        if (t->entry[kd_tok_merge_made(t, i)].flags & TF_SPECIAL) return true;
    for (size_t i = 0; i < t->size; i++) {
        const tok_entry *x = &t->entry[i];
        size_t len = 0;
        if (!(x->flags & TF_SPECIAL) || !x->model.len || (int32_t)i == t->unk_id) continue;
        (void)tok_cp((const unsigned char *)x->model.data, &len);
        if (t->ignore_merges || len == x->model.len || t->subword_prefix.len || t->word_suffix.len || t->byte_fallback) return true;
    }
    return false;
}

static kd_code make_tries(kd_tokenizer *t, kd_err *e) {
    kd_code c = KD_OK;
    tok_work *w = NULL;
    for (size_t i = 0; i < t->nadded && !c; i++) {
        tok_entry *x = &t->entry[t->added[i]];
        const char *s = x->added.data;
        size_t n = x->added.len;
        bool first = true;
        x->shown = x->added;
        if ((x->flags & TF_NORMALIZED) && t->norms) {
            if (!w && (c = kd_tok_work_get(t, &w, e))) break;
            kd_tok_work_begin(w, n);
            if ((c = kd_tok_norm_run(t, w, &s, &n, &first, e))) break;
            x->shown = kd_tok_keep(t, (kd_str){s, n});
            if (!x->shown.data) c = kd_tok_enomem(e);
            if (!c && n == 0) /* `tokenizers` would then cut texts between any two bytes */
                c = kd_fail(e, KD_EUNSUPPORTED, "%s: the added token '%.60s' normalizes to nothing", t->what, x->added.data);
        }
        const int32_t same = kd_tok_map_get(&t->by_added, s, n); /* `tokenizers` asks by text what is special */
        if (same >= 0 && (t->entry[same].flags & TF_SPECIAL)) x->flags |= TF_SKIP;
        if (!c) c = kd_tok_trie_put(x->flags & TF_NORMALIZED ? &t->norm_trie : &t->raw_trie, x->shown, t->added[i], e);
    }
    if (w) kd_tok_work_put(t, w);
    return c;
}

kd_code kd_tok_finish(kd_tokenizer *t, kd_err *e) {
    t->unk_id = t->has_unk ? kd_tok_map_get(&t->by_text, t->unk.data, t->unk.len) : -1;
    size_t maps = 0;
    for (size_t i = 0; i < t->pres; i++) maps += t->pre[i].kind == ST_MAP_BYTES;
    t->raw = maps == 1 && t->pre[t->pres - 1].kind == ST_MAP_BYTES && !t->byte_fallback && !t->subword_prefix.len && !t->word_suffix.len;
    kd_code c = KD_OK;
    if (t->raw)
        c = make_raw(t, e);
    else
        make_byte_tokens(t);
    if (c) return c;
    t->wary = is_wary(t);
    return make_tries(t, e);
}
