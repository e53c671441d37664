/* distill/model/kv.c - pages of keys and values, counted by their owners. Leans on kv.h, math/codec.h.
 * A page: for each layer the keys of head after head, turned as attention wants them (math/ops.h), then the values [G, page_rows, D]. Pages are cut
 * from slabs of whole large pages where the machine has such: a sequence's are spread over memory, and every one would cost a walk of its tables. */
#include "distill/model/kv.h"

#include "distill/math/codec.h"

#include <assert.h>
#include <string.h>

typedef struct page {
    struct page *next; /* in the free list */
    size_t owners;
    char *data;
} page;

typedef struct slab {
    struct slab *next;
    char *data;
    page pages[];
} slab;
enum { SLAB = 1 << 21, SLAB_PAGES = 8 }; /* bytes a slab at least, pages a slab at least (but for what max_pages leaves) */

struct kd_kv_pool {
    page *free;
    slab *slabs;
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
    page_rows = (page_rows + KD_KV_LANES - 1) / KD_KV_LANES * KD_KV_LANES;
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
    while (p->slabs) {
        slab *s = p->slabs;
        p->slabs = s->next;
        kd_free(s->data);
        kd_free(s);
    }
    kd_free(p);
}

size_t kd_kv_page_rows(const kd_kv_pool *p) { return p->page_rows; }
size_t kd_kv_page_bytes(const kd_kv_pool *p) { return p->page_bytes; }
size_t kd_kv_pages_left(const kd_kv_pool *p) { return p->max_pages == SIZE_MAX ? SIZE_MAX : p->max_pages - p->held; }
uint64_t kd_kv_bytes(const kd_kv_pool *p) { return (uint64_t)p->held * p->page_bytes; }

/* More free pages. */
static kd_code grow(kd_kv_pool *p, kd_err *e) {
    size_t n = SLAB / p->page_bytes > SLAB_PAGES ? SLAB / p->page_bytes : SLAB_PAGES, bytes;
    if (n > p->max_pages - p->pages) n = p->max_pages - p->pages;
    slab *s = kd_mul_size(n, p->page_bytes, &bytes) ? kd_calloc(1, sizeof *s + n * sizeof *s->pages) : NULL;
    if (s && !(s->data = kd_large_alloc(bytes))) kd_free(s), s = NULL;
    if (!s) return kd_fail(e, KD_ENOMEM, "KV cache: out of memory for %zu pages of %zu bytes", n, p->page_bytes);
    for (size_t i = n; i-- > 0;) s->pages[i] = (page){.next = p->free, .data = s->data + i * p->page_bytes}, p->free = &s->pages[i];
    s->next = p->slabs, p->slabs = s;
    p->pages += n;
    return KD_OK;
}

static kd_code take_page(kd_kv_pool *p, page **out, kd_err *e) {
    if (p->held >= p->max_pages)
        return kd_fail(e, KD_ELIMIT, "KV cache: all %zu pages of %zu positions are in use", p->max_pages, p->page_rows);
    if (!p->free) {
        const kd_code c = grow(p, e);
        if (c) return c;
    }
    page *g = p->free;
    p->free = g->next;
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

/* What a page holds of head 0 of a layer. */
static char *layer_of(const kd_kv_pool *p, const page *g, uint32_t layer, int v) {
    return g->data + (2 * (size_t)layer + (size_t)v) * p->page_rows * p->row_bytes;
}

void kd_kv_put(kd_kv *s, uint32_t layer, size_t pos, const float *k, const float *v) {
    const kd_kv_pool *p = s->pool;
    const page *g = s->pages[pos / p->page_rows];
    const size_t at = pos % p->page_rows, head = p->page_rows * p->head_bytes;
    char *keys = layer_of(p, g, layer, 0), *values = layer_of(p, g, layer, 1) + at * p->head_bytes;
    for (size_t h = 0; h < p->G; h++, k += p->D, v += p->D, keys += head, values += head) {
        kd_kv_put_key(keys, (int)p->type, at, k, p->D);
        if (p->type == KD_F32)
            memcpy(values, v, p->D * sizeof(float));
        else
            (void)kd_quantize(p->type, v, values, p->D, NULL, NULL); /* F16 and Q8_0 of whole blocks: cannot fail */
    }
}

void kd_kv_view_of(const kd_kv *s, uint32_t layer, const void **k_pages, const void **v_pages, kd_kv_view *view) {
    const kd_kv_pool *p = s->pool;
    for (size_t i = 0; i < s->n; i++) k_pages[i] = layer_of(p, s->pages[i], layer, 0), v_pages[i] = layer_of(p, s->pages[i], layer, 1);
    *view = (kd_kv_view){.k_pages = k_pages,
                         .v_pages = v_pages,
                         .page_rows = p->page_rows,
                         .row_bytes = p->head_bytes,
                         .head_stride = p->page_rows * p->head_bytes,
                         .type = (int)p->type};
}

void kd_kv_set_len(kd_kv *s, size_t len) {
    assert(len <= s->n * s->pool->page_rows);
    s->len = len;
}
