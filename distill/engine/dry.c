/* distill/engine/dry.c - the breakers of dry.h: strings become tokens and sequences of tokens. What they break is penalty.c's. */
#include "distill/engine/dry.h"

#include <stdlib.h>
#include <string.h>

enum { MOST_STRINGS = 64, LONGEST_STRING = 40, LONGEST_TAIL = 20 };

/* A token that begins a breaker, and the tokens behind it. */
typedef struct {
    int32_t head;
    uint32_t at, n; /* of tails */
} breaker;

struct kd_dry {
    breaker *v; /* sorted by head */
    size_t n, cap;
    kd_ids tails;
    uint8_t *single; /* [V] bits */
    size_t V;
};

void kd_dry_free(kd_dry *d) {
    if (!d) return;
    kd_free(d->v);
    kd_free(d->single);
    kd_ids_clear(&d->tails);
    kd_free(d);
}

static kd_dry *fresh(size_t V) {
    kd_dry *d = kd_calloc(1, sizeof *d);
    if (d && !(d->single = kd_calloc(V / 8 + 1, 1))) {
        kd_dry_free(d);
        return NULL;
    }
    if (d) d->V = V;
    return d;
}

static kd_code add(kd_dry *d, int32_t head, const int32_t *tail, size_t n) {
    if (head < 0 || (size_t)head >= d->V) return KD_OK;
    if (n > LONGEST_TAIL) n = LONGEST_TAIL;
    for (size_t i = 0; i < d->n; i++)
        if (d->v[i].head == head && d->v[i].n == n && (!n || !memcmp(d->tails.id + d->v[i].at, tail, n * sizeof *tail))) return KD_OK;
    if (kd_grow((void **)&d->v, &d->cap, d->n + 1, sizeof *d->v) != KD_OK) return KD_ENOMEM;
    d->v[d->n++] = (breaker){head, (uint32_t)d->tails.n, (uint32_t)n};
    for (size_t i = 0; i < n; i++)
        if (kd_ids_push(&d->tails, tail[i]) != KD_OK) return KD_ENOMEM;
    if (!n) d->single[head / 8] |= (uint8_t)(1u << (head % 8));
    return KD_OK;
}

static int by_head(const void *a, const void *b) {
    const breaker *x = a, *y = b;
    return x->head != y->head ? (x->head > y->head) - (x->head < y->head) : (x->at > y->at) - (x->at < y->at);
}

/* Every beginning of z that the token's text ends with makes it the head of z's rest. */
static kd_code add_heads(kd_dry *d, const kd_tokenizer *tok, int32_t id, kd_str text, kd_str z, kd_err *e) {
    for (size_t k = 1; k < z.len && k <= text.len; k++) {
        if (memcmp(text.data + text.len - k, z.data, k) != 0) continue;
        kd_ids tail = {0};
        kd_code c = kd_tokenizer_encode(tok, &tail, z.data + k, z.len - k, 0, e);
        if (c == KD_OK && tail.n) c = add(d, id, tail.id, tail.n);
        kd_ids_clear(&tail);
        if (c != KD_OK) return c;
    }
    return KD_OK;
}

static kd_code add_string(kd_dry *d, const kd_tokenizer *tok, kd_str z, kd_err *e) {
    kd_buf text = {0};
    kd_code c = KD_OK;
    size_t size = kd_tokenizer_size(tok);
    for (size_t i = 0; c == KD_OK && i < size && i < d->V; i++) {
        kd_token t = kd_tokenizer_token(tok, (int32_t)i);
        if (!t.text.data || t.type == KD_TOKEN_CONTROL) continue;
        text.len = 0;
        if ((c = kd_tokenizer_piece(tok, (int32_t)i, &text, e)) != KD_OK || !text.len) continue;
        if (memmem(text.data, text.len, z.data, z.len))
            c = add(d, (int32_t)i, NULL, 0);
        else
            c = add_heads(d, tok, (int32_t)i, kd_buf_view(&text), z, e);
    }
    kd_buf_clear(&text);
    return c;
}

kd_code kd_dry_new(kd_dry **out, const kd_tokenizer *tok, size_t V, const char *const *strings, size_t n, kd_err *e) {
    static const char *const usual[] = {"\n", ":", "\"", "*"};
    *out = NULL;
    if (!strings) strings = usual, n = 4;
    if (n > MOST_STRINGS) return kd_fail(e, KD_EINVAL, "DRY: %zu breakers, at most %d", n, MOST_STRINGS);
    for (size_t i = 0; i < n; i++)
        if (!strings[i] || !*strings[i] || strlen(strings[i]) > LONGEST_STRING)
            return kd_fail(e, KD_EINVAL, "DRY: breaker %zu: expected 1 to %d bytes", i + 1, LONGEST_STRING);
    kd_dry *d = fresh(V);
    kd_code c = d ? KD_OK : KD_ENOMEM;
    for (size_t i = 0; c == KD_OK && i < n; i++) c = add_string(d, tok, kd_str_of(strings[i]), e);
    if (c != KD_OK) {
        kd_dry_free(d);
        return c == KD_ENOMEM ? kd_fail(e, c, "DRY: no memory for the breakers") : c;
    }
    if (d->n) qsort(d->v, d->n, sizeof *d->v, by_head);
    *out = d;
    return KD_OK;
}

kd_code kd_dry_of_tokens(kd_dry **out, size_t V, const int32_t *tokens, const size_t *at, size_t n, kd_err *e) {
    kd_dry *d = fresh(V);
    kd_code c = d ? KD_OK : KD_ENOMEM;
    *out = NULL;
    for (size_t i = 0; c == KD_OK && i < n; i++) c = add(d, tokens[at[i]], tokens + at[i] + 1, at[i + 1] - at[i] - 1);
    if (c != KD_OK) {
        kd_dry_free(d);
        return kd_fail(e, c, "DRY: no memory for the breakers");
    }
    if (d->n) qsort(d->v, d->n, sizeof *d->v, by_head);
    *out = d;
    return KD_OK;
}

bool kd_dry_single(const kd_dry *d, int32_t id) { return d && id >= 0 && (size_t)id < d->V && (d->single[id / 8] >> (id % 8) & 1); }

/* The first of d's breakers with that head, or n. */
static size_t first_of(const kd_dry *d, int32_t head) {
    size_t lo = 0, hi = d->n;
    while (lo < hi) {
        size_t mid = (lo + hi) / 2;
        if (d->v[mid].head < head)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo;
}

size_t kd_dry_reach(const kd_dry *d, const int32_t *seen, size_t n) {
    if (!d || !d->n) return n;
    for (size_t i = 0; i < n; i++) { /* i tokens stand behind this one */
        int32_t head = seen[n - 1 - i];
        long longest = -1;
        for (size_t k = first_of(d, head); k < d->n && d->v[k].head == head; k++) {
            size_t m = d->v[k].n;
            if (m <= i && (long)m > longest && (!m || !memcmp(seen + n - i, d->tails.id + d->v[k].at, m * sizeof *seen))) longest = (long)m;
        }
        if (longest >= 0) return i - (size_t)longest;
    }
    return n;
}
