/* distill/model/token_bpe.c - one word to ids: a memory of words met before, and byte-pair merges, lowest rank first, leftmost among equals
 * (Sennrich et al. 2016, arXiv:1508.07909). Short words scan for the best pair, long ones keep a heap over a linked list, so that a million
 * times the same letter costs n log n. Leans on token_impl.h. */
#include "distill/model/token_impl.h"

enum {
    CACHE_SLOTS = 1 << 16,
    CACHE_WORDS = CACHE_SLOTS / 4 * 3,
    CACHE_STORE = 2 << 20 /* 4-byte units */,
    CACHE_WORD_MAX = 96,
    SHORT = 24
};

kd_code kd_ids_push(kd_ids *v, int32_t id) {
    if (v->n == v->cap && kd_grow((void **)&v->id, &v->cap, v->n + 1, sizeof *v->id)) return KD_ENOMEM;
    v->id[v->n++] = id;
    return KD_OK;
}

void kd_ids_clear(kd_ids *v) {
    kd_free(v->id);
    *v = (kd_ids){0};
}

/* ---- scratch ---- */

void kd_tok_work_free(tok_work *w) {
    if (!w) return;
    for (int k = 0; k < 2; k++) {
        kd_free(w->cache[k].slot);
        kd_free(w->cache[k].store);
        kd_buf_clear(&w->norm[k]);
    }
    for (size_t k = 0; k < TOK_STAGES_MAX; k++) kd_buf_clear(&w->level[k]);
    for (size_t k = 0; k < w->regexes; k++) kd_regex_free(w->regex[k]);
    kd_free(w->regex);
    kd_free(w->symbol);
    kd_free(w->heap);
    kd_buf_clear(&w->clean);
    kd_buf_clear(&w->letter);
    kd_free(w);
}

kd_code kd_tok_work_get(const kd_tokenizer *t, tok_work **out, kd_err *e) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&t->lock; /* the list of idle scratch is no part of what a tokenizer means */
    (void)pthread_mutex_lock(lock);
    tok_work *w = t->idle;
    if (w) ((kd_tokenizer *)t)->idle = w->next;
    (void)pthread_mutex_unlock(lock);
    *out = w;
    if (w) return KD_OK;
    if (!(w = kd_calloc(1, sizeof *w))) return kd_tok_enomem(e);
    kd_code c = KD_OK;
    if (t->regexes && !(w->regex = kd_calloc(t->regexes, sizeof *w->regex))) c = kd_tok_enomem(e);
    for (; w->regexes < t->regexes && !c; w->regexes++) {
        const kd_str s = t->regex_text[w->regexes];
        if ((c = kd_regex_new(&w->regex[w->regexes], s.data, s.len, e))) break;
    }
    if (c) {
        kd_tok_work_free(w);
        return c;
    }
    *out = w;
    return KD_OK;
}

void kd_tok_work_put(const kd_tokenizer *t, tok_work *w) {
    pthread_mutex_t *lock = (pthread_mutex_t *)&t->lock;
    (void)pthread_mutex_lock(lock);
    w->next = t->idle;
    ((kd_tokenizer *)t)->idle = w;
    (void)pthread_mutex_unlock(lock);
}

void kd_tok_work_begin(tok_work *w, size_t n) {
    w->made = 0;
    w->limit = 64 * n + (1 << 20);
}

kd_code kd_tok_work_made(tok_work *w, size_t n, kd_err *e) {
    w->made += n;
    return w->made <= w->limit ? KD_OK : kd_fail(e, KD_ELIMIT, "tokenizer: its stages make more than %zu bytes of a text", w->limit);
}

/* ---- words met before ---- */

__extension__ typedef unsigned __int128 u128;

static inline uint64_t mix(uint64_t a, uint64_t b) {
    const u128 p = (u128)a * b;
    return (uint64_t)p ^ (uint64_t)(p >> 64);
}

static inline uint64_t hash_word(const char *s, size_t n, uint64_t seed) {
    uint64_t h = seed ^ n, a = 0, b = 0;
    while (n > 16) {
        memcpy(&a, s, 8);
        memcpy(&b, s + 8, 8);
        h = mix(a ^ 0x9e3779b97f4a7c15u, b ^ h);
        s += 16;
        n -= 16;
    }
    if (n >= 8) {
        memcpy(&a, s, 8);
        memcpy(&b, s + n - 8, 8);
    } else if (n >= 4) {
        uint32_t lo, hi;
        memcpy(&lo, s, 4);
        memcpy(&hi, s + n - 4, 4);
        a = lo;
        b = hi;
    } else {
        a = (uint64_t)(unsigned char)s[0] << 16 | (uint64_t)(unsigned char)s[n / 2] << 8 | (unsigned char)s[n - 1];
        b = 0;
    }
    return mix(a ^ 0xd6e8feb86659fd93u, b ^ h);
}

/* The record of a word: its length and count of ids, the ids, its bytes. NULL: not met, and *free says where it would go. */
static inline const uint32_t *cache_find(const tok_cache *k, const char *s, size_t n, uint64_t h, size_t *free) {
    const uint32_t tag = (uint32_t)(h >> 32) | 1;
    size_t i = (size_t)h & (CACHE_SLOTS - 1);
    for (; k->slot[i].tag; i = (i + 1) & (CACHE_SLOTS - 1)) {
        if (k->slot[i].tag != tag) continue;
        const uint32_t *r = k->store + k->slot[i].at;
        if ((r[0] & 0xffff) == n && memcmp(r + 1 + (r[0] >> 16), s, n) == 0) return r;
    }
    *free = i;
    return NULL;
}

/* Remembers a word. Without memory nothing is remembered, which is no error. */
static void cache_put(tok_cache *k, const char *s, size_t n, uint64_t h, size_t slot, const int32_t *ids, size_t count) {
    const size_t units = 1 + count + (n + 3) / 4;
    if (k->words >= CACHE_WORDS || k->used + units > CACHE_STORE) { /* full: start over */
        memset(k->slot, 0, CACHE_SLOTS * sizeof *k->slot);
        k->words = k->used = 0;
        slot = (size_t)h & (CACHE_SLOTS - 1);
    }
    if (kd_grow((void **)&k->store, &k->cap, k->used + units, sizeof *k->store)) return;
    uint32_t *r = k->store + k->used;
    r[0] = (uint32_t)(n | count << 16);
    memcpy(r + 1, ids, count * sizeof *ids);
    memcpy(r + 1 + count, s, n);
    k->slot[slot] = (tok_slot){(uint32_t)(h >> 32) | 1, (uint32_t)k->used};
    k->used += units;
    k->words++;
}

/* ---- merges ---- */

static inline const tok_pair *pair_of(const kd_tokenizer *t, int32_t left, int32_t right) {
    const uint64_t key = (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
    uint64_t h = (key ^ t->seed) * 0x9e3779b97f4a7c15u;
    h ^= h >> 32;
    size_t i = (size_t)(h * 0xd6e8feb86659fd93u >> 24) & t->pair_mask;
    while (t->pair[i].key != key) {
        if (t->pair[i].key == UINT64_MAX) return NULL;
        i = (i + 1) & t->pair_mask;
    }
    return &t->pair[i];
}

static inline uint32_t rank_of(const tok_call *c, int32_t left, int32_t right, int32_t *made) {
    const tok_pair *p = c->t->merges ? pair_of(c->t, left, right) : NULL;
    if (!p || (c->forbid && (c->t->entry[p->made].flags & TF_SPECIAL))) return TOK_NO_RANK;
    *made = p->made;
    return p->rank;
}

static size_t merge_short(const tok_call *c, tok_symbol *v, size_t n) {
    for (size_t i = 0; i + 1 < n; i++) v[i].rank = rank_of(c, v[i].id, v[i + 1].id, &v[i].made);
    while (n > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < n; i++)
            if (v[i].rank < v[best].rank) best = i;
        if (v[best].rank == TOK_NO_RANK) break;
        v[best].id = v[best].made;
        n--;
        memmove(v + best + 1, v + best + 2, (n - best - 1) * sizeof *v);
        if (best + 1 < n) v[best].rank = rank_of(c, v[best].id, v[best + 1].id, &v[best].made);
        if (best > 0) v[best - 1].rank = rank_of(c, v[best - 1].id, v[best].id, &v[best - 1].made);
    }
    return n;
}

static void heap_up(uint64_t *h, size_t i) {
    const uint64_t x = h[i];
    for (; i > 0 && h[(i - 1) / 2] > x; i = (i - 1) / 2) h[i] = h[(i - 1) / 2];
    h[i] = x;
}

static void heap_down(uint64_t *h, size_t n, size_t i) {
    const uint64_t x = h[i];
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        if (k + 1 < n && h[k + 1] < h[k]) k++;
        if (h[k] >= x) break;
        h[i] = h[k];
    }
    h[i] = x;
}

static kd_code push(const tok_call *c, uint32_t rank, size_t at) {
    tok_work *w = c->w;
    if (kd_grow((void **)&w->heap, &w->heap_cap, w->heap_n + 1, sizeof *w->heap)) return kd_tok_enomem(c->e);
    w->heap[w->heap_n] = (uint64_t)rank << 32 | at;
    heap_up(w->heap, w->heap_n++);
    return KD_OK;
}

/* Takes the rank of the pair at i anew, and queues it. */
static kd_code rerank(const tok_call *c, tok_symbol *v, int32_t i) {
    v[i].rank = v[i].next < 0 ? TOK_NO_RANK : rank_of(c, v[i].id, v[v[i].next].id, &v[i].made);
    return v[i].rank == TOK_NO_RANK ? KD_OK : push(c, v[i].rank, (size_t)i);
}

static kd_code merge_long(const tok_call *c, tok_symbol *v, size_t *count) {
    tok_work *w = c->w;
    const size_t n = *count;
    w->heap_n = 0;
    kd_code rc = KD_OK;
    for (size_t i = 0; i < n; i++) {
        v[i].prev = (int32_t)i - 1;
        v[i].next = i + 1 < n ? (int32_t)i + 1 : -1;
    }
    for (size_t i = 0; i < n && !rc; i++) rc = rerank(c, v, (int32_t)i);
    while (w->heap_n && !rc) {
        const uint64_t top = w->heap[0];
        w->heap[0] = w->heap[--w->heap_n];
        if (w->heap_n) heap_down(w->heap, w->heap_n, 0);
        const int32_t i = (int32_t)(top & 0xffffffffu), gone = v[i].next;
        if (v[i].rank != top >> 32) continue; /* the pair is no more; a symbol that is gone has no rank */
        v[i].id = v[i].made;
        v[i].next = v[gone].next;
        if (v[gone].next >= 0) v[v[gone].next].prev = i;
        v[gone].rank = TOK_NO_RANK;
        rc = rerank(c, v, i);
        if (!rc && v[i].prev >= 0) rc = rerank(c, v, v[i].prev);
    }
    size_t k = 0;
    for (int32_t i = 0; i >= 0 && n; i = v[i].next) v[k++].id = v[i].id; /* k <= i always */
    *count = k;
    return rc;
}

/* ---- a word ---- */

static inline kd_code add_symbol(tok_call *c, int32_t id) {
    tok_work *w = c->w;
    if (w->symbols == w->symbol_cap && kd_grow((void **)&w->symbol, &w->symbol_cap, w->symbols + 32, sizeof *w->symbol))
        return kd_tok_enomem(c->e);
    w->symbol[w->symbols++] = (tok_symbol){.id = id, .rank = TOK_NO_RANK};
    return KD_OK;
}

static inline bool barred(const tok_call *c, int32_t id) { return c->forbid && (c->t->entry[id].flags & TF_SPECIAL); }

/* A character the vocabulary lacks. *waiting: an unknown token that comes behind what else this run of characters gives. */
static kd_code unknown(tok_call *c, const char *s, size_t n, bool *waiting) {
    const kd_tokenizer *t = c->t;
    if (t->byte_fallback) {
        bool all = true;
        for (size_t i = 0; i < n && all; i++) all = t->byte_id[(unsigned char)s[i]] >= 0 && !barred(c, t->byte_id[(unsigned char)s[i]]);
        kd_code rc = KD_OK;
        for (size_t i = 0; i < n && all && !rc; i++) rc = add_symbol(c, t->byte_id[(unsigned char)s[i]]);
        if (all) return rc;
    }
    if (!t->has_unk) return KD_OK;
    if (t->unk_id < 0)
        return kd_fail(c->e, KD_EFORMAT, "%s: a character is unknown, and so is the unknown token '%.*s'", t->what, (int)t->unk.len,
                       t->unk.data);
    if (*waiting && !t->fuse_unk) {
        const kd_code rc = add_symbol(c, t->unk_id);
        if (rc) return rc;
    }
    *waiting = true;
    return KD_OK;
}

static kd_code letters_raw(tok_call *c, const char *s, size_t n) {
    bool waiting = false;
    kd_code rc = KD_OK;
    for (size_t i = 0; i < n && !rc; i++) {
        const int32_t id = c->t->byte_id[(unsigned char)s[i]];
        if (id < 0 || barred(c, id)) {
            rc = unknown(c, s + i, 1, &waiting);
            continue;
        }
        if (waiting) rc = add_symbol(c, c->t->unk_id);
        waiting = false;
        if (!rc) rc = add_symbol(c, id);
    }
    return !rc && waiting ? add_symbol(c, c->t->unk_id) : rc;
}

static kd_code letters(tok_call *c, const char *s, size_t n) {
    const kd_tokenizer *t = c->t;
    kd_buf *b = &c->w->letter;
    bool waiting = false;
    kd_code rc = KD_OK;
    for (size_t i = 0, len; i < n && !rc; i += len) {
        (void)tok_cp((const unsigned char *)s + i, &len);
        const bool prefix = i > 0 && t->subword_prefix.len, suffix = i + len == n && t->word_suffix.len;
        const char *p = s + i;
        size_t pn = len;
        if (prefix || suffix) {
            b->len = 0;
            if ((prefix && kd_buf_append(b, t->subword_prefix.data, t->subword_prefix.len)) || kd_buf_append(b, p, len) ||
                (suffix && kd_buf_append(b, t->word_suffix.data, t->word_suffix.len)))
                return kd_tok_enomem(c->e);
            p = b->data;
            pn = b->len;
        }
        const int32_t id = kd_tok_map_get(&t->by_text, p, pn);
        if (id < 0 || barred(c, id)) {
            rc = unknown(c, p, pn, &waiting);
            continue;
        }
        if (waiting) rc = add_symbol(c, t->unk_id);
        waiting = false;
        if (!rc) rc = add_symbol(c, id);
    }
    return !rc && waiting ? add_symbol(c, t->unk_id) : rc;
}

static kd_code encode_word(tok_call *c, const char *s, size_t n) {
    const kd_tokenizer *t = c->t;
    tok_work *w = c->w;
    if (t->ignore_merges) {
        const int32_t id = kd_tok_map_get(t->raw ? &t->by_bytes : &t->by_text, s, n);
        if (id >= 0 && !barred(c, id)) return kd_ids_push(c->out, id) ? kd_tok_enomem(c->e) : KD_OK;
    }
    w->symbols = 0;
    kd_code rc = t->raw ? letters_raw(c, s, n) : letters(c, s, n);
    if (rc) return rc;
    size_t k = w->symbols;
    if (k <= SHORT)
        k = merge_short(c, w->symbol, k);
    else
        rc = merge_long(c, w->symbol, &k);
    if (rc) return rc;
    if (kd_grow((void **)&c->out->id, &c->out->cap, c->out->n + k + 1, sizeof *c->out->id)) return kd_tok_enomem(c->e);
    for (size_t i = 0; i < k; i++) c->out->id[c->out->n++] = w->symbol[i].id;
    return KD_OK;
}

kd_code kd_tok_word(tok_call *c, const char *s, size_t n) {
    if (n == 0) return KD_OK;
    tok_cache *k = &c->w->cache[c->forbid && c->t->wary];
    if (n > CACHE_WORD_MAX || (!k->slot && !(k->slot = kd_calloc(CACHE_SLOTS, sizeof *k->slot)))) return encode_word(c, s, n);
    const uint64_t h = hash_word(s, n, c->t->seed);
    size_t slot = 0;
    const uint32_t *r = cache_find(k, s, n, h, &slot);
    kd_ids *out = c->out;
    if (r) {
        const size_t count = r[0] >> 16;
        if (out->n + count > out->cap && kd_grow((void **)&out->id, &out->cap, out->n + count, sizeof *out->id)) return kd_tok_enomem(c->e);
        for (size_t i = 0; i < count; i++) out->id[out->n + i] = (int32_t)r[1 + i];
        out->n += count;
        return KD_OK;
    }
    const size_t before = out->n;
    const kd_code rc = encode_word(c, s, n);
    if (!rc && out->n - before < 256) cache_put(k, s, n, h, slot, out->id + before, out->n - before);
    return rc;
}
