/* distill/model/kv.c - pages of keys and values, counted by their owners. Leans on kv.h, math/codec.h.
 * A page: for each layer the keys [G, page_rows, D], then the values likewise: a head's rows lie side by side, as attention reads them. */
#include "distill/model/kv.h"

#include "distill/math/codec.h"

#include <assert.h>
#include <string.h>

typedef struct page {
    struct page *next; /* in the free list */
    size_t owners;
    char *data;
} page;

struct kd_kv_pool {
    page *free;
    size_t pages, held, max_pages; /* allocated, in use, bound (SIZE_MAX none) */
    size_t page_rows, page_bytes, row_bytes, head_bytes;
    uint32_t L, G, D;
    kd_dtype type;
};

struct kd_kv {
    kd_kv_pool *pool;
    page **pages;
    size_t n, cap; /* pages */
    size_t len;    /* positions */
};

kd_code kd_kv_pool_new(kd_kv_pool **out, const kd_config *c, kd_dtype type, size_t page_rows, uint64_t max_bytes, kd_err *e) {
    *out = NULL;
    if (type != KD_F32 && type != KD_F16 && type != KD_Q8_0)
        return kd_fail(e, KD_EINVAL, "KV cache: expected f32, f16 or q8_0, found type %d", (int)type);
    size_t head, row, layer, bytes;
    if (!page_rows || !kd_dtype_row_bytes((int)type, c->D, &head))
        return kd_fail(e, KD_EINVAL, "KV cache: heads of width %u do not divide into blocks of its type", c->D);
    if (!kd_mul_size(head, c->G, &row) || !kd_mul_size(row, 2 * page_rows, &layer) || !kd_mul_size(layer, c->L, &bytes))
        return kd_fail(e, KD_EINVAL, "KV cache: a page of %zu positions does not fit in memory", page_rows);
    kd_kv_pool *p = kd_calloc(1, sizeof *p);
    if (!p) return kd_fail(e, KD_ENOMEM, "KV cache: out of memory");
    *p = (kd_kv_pool){
        .page_rows = page_rows, .page_bytes = bytes, .row_bytes = row, .head_bytes = head, .L = c->L, .G = c->G, .D = c->D, .type = type};
    p->max_pages = max_bytes ? (size_t)(max_bytes / bytes) : SIZE_MAX;
    *out = p;
    return KD_OK;
}

void kd_kv_pool_free(kd_kv_pool *p) {
    if (!p) return;
    assert(p->held == 0); /* a sequence outlived its pool */
    while (p->free) {
        page *g = p->free;
        p->free = g->next;
        kd_free(g->data);
        kd_free(g);
    }
    kd_free(p);
}

size_t kd_kv_page_rows(const kd_kv_pool *p) { return p->page_rows; }
size_t kd_kv_page_bytes(const kd_kv_pool *p) { return p->page_bytes; }
size_t kd_kv_pages_left(const kd_kv_pool *p) { return p->max_pages == SIZE_MAX ? SIZE_MAX : p->max_pages - p->held; }
uint64_t kd_kv_bytes(const kd_kv_pool *p) { return (uint64_t)p->held * p->page_bytes; }

static kd_code take_page(kd_kv_pool *p, page **out, kd_err *e) {
    if (p->held >= p->max_pages)
        return kd_fail(e, KD_ELIMIT, "KV cache: all %zu pages of %zu positions are in use", p->max_pages, p->page_rows);
    page *g = p->free;
    if (g)
        p->free = g->next;
    else {
        g = kd_calloc(1, sizeof *g);
        if (g && !(g->data = kd_aligned_alloc(64, p->page_bytes))) kd_free(g), g = NULL;
        if (!g) return kd_fail(e, KD_ENOMEM, "KV cache: out of memory for a page of %zu bytes", p->page_bytes);
        p->pages++;
    }
    g->owners = 1, g->next = NULL;
    p->held++;
    *out = g;
    return KD_OK;
}

static void drop_page(kd_kv_pool *p, page *g) {
    if (--g->owners) return;
    g->next = p->free, p->free = g;
    p->held--;
}

kd_code kd_kv_new(kd_kv **out, kd_kv_pool *p, kd_err *e) {
    *out = kd_calloc(1, sizeof **out);
    if (!*out) return kd_fail(e, KD_ENOMEM, "KV cache: out of memory");
    (*out)->pool = p;
    return KD_OK;
}

void kd_kv_free(kd_kv *s) {
    if (!s) return;
    kd_kv_truncate(s, 0);
    kd_free(s->pages);
    kd_free(s);
}

size_t kd_kv_len(const kd_kv *s) { return s->len; }
size_t kd_kv_pages(const kd_kv *s) { return s->n; }

/* The page that position len falls into, if it is partly written and shared, becomes the sequence's own copy. */
static kd_code own_tail(kd_kv *s, kd_err *e) {
    size_t i = s->len / s->pool->page_rows;
    if (s->len % s->pool->page_rows == 0 || i >= s->n || s->pages[i]->owners == 1) return KD_OK;
    page *g;
    kd_code c = take_page(s->pool, &g, e);
    if (c) return c;
    memcpy(g->data, s->pages[i]->data, s->pool->page_bytes);
    drop_page(s->pool, s->pages[i]);
    s->pages[i] = g;
    return KD_OK;
}

kd_code kd_kv_reserve(kd_kv *s, size_t len, kd_err *e) {
    size_t want = len / s->pool->page_rows + (len % s->pool->page_rows != 0), had = s->n;
    if (kd_grow((void **)&s->pages, &s->cap, want, sizeof *s->pages)) return kd_fail(e, KD_ENOMEM, "KV cache: out of memory");
    kd_code c = KD_OK;
    while (!c && s->n < want)
        if (!(c = take_page(s->pool, &s->pages[s->n], e))) s->n++;
    if (!c && len > s->len) c = own_tail(s, e);
    while (c && s->n > had) drop_page(s->pool, s->pages[--s->n]);
    return c;
}

void kd_kv_truncate(kd_kv *s, size_t len) {
    size_t keep = len / s->pool->page_rows + (len % s->pool->page_rows != 0);
    while (s->n > keep) drop_page(s->pool, s->pages[--s->n]);
    if (s->len > len) s->len = len;
}

kd_code kd_kv_fork(kd_kv **out, const kd_kv *s, size_t len, kd_err *e) {
    assert(len <= s->len);
    kd_code c = kd_kv_new(out, s->pool, e);
    if (c) return c;
    kd_kv *t = *out;
    size_t n = len / s->pool->page_rows + (len % s->pool->page_rows != 0);
    if (kd_grow((void **)&t->pages, &t->cap, n, sizeof *t->pages)) {
        kd_kv_free(t);
        *out = NULL;
        return kd_fail(e, KD_ENOMEM, "KV cache: out of memory");
    }
    for (size_t i = 0; i < n; i++) (t->pages[i] = s->pages[i])->owners++;
    t->n = n, t->len = len;
    return KD_OK;
}

/* Head 0's row. */
static char *row_at(const kd_kv *s, uint32_t layer, size_t pos, int v) {
    const kd_kv_pool *p = s->pool;
    return s->pages[pos / p->page_rows]->data + (2 * (size_t)layer + (size_t)v) * p->page_rows * p->row_bytes +
           pos % p->page_rows * p->head_bytes;
}

static void put_row(const kd_kv_pool *p, char *dst, const float *v) {
    for (size_t g = 0; g < p->G; g++, v += p->D, dst += p->page_rows * p->head_bytes)
        if (p->type == KD_F32)
            memcpy(dst, v, p->D * sizeof(float));
        else
            (void)kd_quantize(p->type, v, dst, p->D, NULL, NULL); /* F16 and Q8_0 of whole blocks: cannot fail */
}

void kd_kv_put(kd_kv *s, uint32_t layer, size_t pos, const float *k, const float *v) {
    put_row(s->pool, row_at(s, layer, pos, 0), k);
    put_row(s->pool, row_at(s, layer, pos, 1), v);
}

void kd_kv_view_of(const kd_kv *s, uint32_t layer, const void **k_pages, const void **v_pages, kd_kv_view *view) {
    const kd_kv_pool *p = s->pool;
    for (size_t i = 0; i < s->n; i++) {
        k_pages[i] = row_at(s, layer, i * p->page_rows, 0);
        v_pages[i] = row_at(s, layer, i * p->page_rows, 1);
    }
    *view = (kd_kv_view){.k_pages = k_pages,
                         .v_pages = v_pages,
                         .page_rows = p->page_rows,
                         .row_stride = p->head_bytes,
                         .head_stride = p->page_rows * p->head_bytes,
                         .type = (int)p->type};
}

void kd_kv_set_len(kd_kv *s, size_t len) {
    assert(len <= s->n * s->pool->page_rows);
    s->len = len;
}
