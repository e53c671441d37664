/* distill/base/mem.c - allocation, checked sizes, buffers, arenas. Leans on err.h. */
#include "distill/base/mem.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Thread_local long fail_at, allocations;

/* Counts one allocation; true if it is the one that a test wants to fail. */
static bool refused(void) {
    allocations++;
    return fail_at > 0 && --fail_at == 0;
}

void kd_alloc_fail_at(long n) {
    fail_at = n > 0 ? n : 0;
    allocations = 0;
}

long kd_alloc_count(void) { return allocations; }

void *kd_malloc(size_t n) { return refused() ? NULL : malloc(n ? n : 1); }

void *kd_calloc(size_t count, size_t size) {
    size_t n;
    if (refused() || !kd_mul_size(count, size, &n)) return NULL;
    return calloc(1, n ? n : 1);
}

void *kd_realloc(void *p, size_t n) { return refused() ? NULL : realloc(p, n ? n : 1); }

void *kd_realloc_array(void *p, size_t count, size_t size) {
    size_t n;
    return kd_mul_size(count, size, &n) ? kd_realloc(p, n) : NULL;
}

void *kd_aligned_alloc(size_t align, size_t n) {
    assert(align >= sizeof(void *) && (align & (align - 1)) == 0);
    void *p = NULL;
    if (refused() || posix_memalign(&p, align, n ? n : 1) != 0) return NULL;
    return p;
}

/* What is walked with long strides would miss a page table entry every 4 KiB. */
void *kd_large_alloc(size_t n) {
    const size_t large = (size_t)1 << 21;
    void *p = kd_aligned_alloc(n >= large ? large : 64, n ? n : 64);
#if defined(MADV_HUGEPAGE)
    if (p && n >= large) (void)madvise(p, n / large * large, MADV_HUGEPAGE); /* a wish */
#endif
    return p;
}

char *kd_strndup(const char *s, size_t n) {
    size_t whole;
    char *p = kd_add_size(n, 1, &whole) ? kd_malloc(whole) : NULL;
    if (!p) return NULL;
    if (n) memcpy(p, s, n);
    p[n] = '\0';
    return p;
}

char *kd_strdup(const char *s) { return kd_strndup(s, strlen(s)); }

void kd_free(void *p) { free(p); }

bool kd_mul_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool kd_add_size(size_t a, size_t b, size_t *out) {
    size_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool kd_mul_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

bool kd_add_u64(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

kd_str kd_str_of(const char *z) { return z ? (kd_str){z, strlen(z)} : (kd_str){NULL, 0}; }

bool kd_str_eq(kd_str a, kd_str b) { return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0); }

bool kd_str_is(kd_str a, const char *z) { return kd_str_eq(a, kd_str_of(z)); }

bool kd_str_starts(kd_str s, const char *prefix) {
    const size_t n = strlen(prefix);
    return s.len >= n && (n == 0 || memcmp(s.data, prefix, n) == 0);
}

bool kd_str_ends(kd_str s, const char *suffix) {
    const size_t n = strlen(suffix);
    return s.len >= n && (n == 0 || memcmp(s.data + s.len - n, suffix, n) == 0);
}

kd_code kd_buf_reserve(kd_buf *b, size_t more) {
    size_t want;
    if (!kd_add_size(b->len, more, &want) || !kd_add_size(want, 1, &want)) return KD_ENOMEM;
    if (want <= b->cap) return KD_OK;
    size_t cap = b->cap < 64 ? 64 : b->cap;
    while (cap < want)
        if (!kd_mul_size(cap, 2, &cap)) cap = want;
    char *p = kd_realloc(b->data, cap);
    if (!p) return KD_ENOMEM;
    b->data = p;
    b->cap = cap;
    b->data[b->len] = '\0';
    return KD_OK;
}

kd_code kd_buf_append(kd_buf *b, const void *p, size_t n) {
    const kd_code c = kd_buf_reserve(b, n);
    if (c) return c;
    if (n) memcpy(b->data + b->len, p, n);
    b->len += n;
    b->data[b->len] = '\0';
    return KD_OK;
}

kd_code kd_buf_puts(kd_buf *b, const char *z) { return kd_buf_append(b, z, strlen(z)); }

kd_code kd_buf_putc(kd_buf *b, char c) { return kd_buf_append(b, &c, 1); }

kd_code kd_buf_printf(kd_buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const size_t room = b->cap - b->len;
    const int n = vsnprintf(b->data ? b->data + b->len : NULL, b->data ? room : 0, fmt, ap);
    va_end(ap);
    kd_code c = n < 0 ? KD_ENOMEM : KD_OK;
    if (!c && (!b->data || (size_t)n >= room)) {
        if (b->data) b->data[b->len] = '\0'; /* undo the cut attempt */
        c = kd_buf_reserve(b, (size_t)n);
        if (!c) (void)vsnprintf(b->data + b->len, b->cap - b->len, fmt, again);
    }
    va_end(again);
    if (!c) b->len += (size_t)n;
    return c;
}

kd_str kd_buf_view(const kd_buf *b) { return (kd_str){b->data, b->len}; }

char *kd_buf_take(kd_buf *b) {
    if (!b->data && kd_buf_reserve(b, 0)) return NULL;
    char *p = b->data;
    *b = (kd_buf){0};
    return p;
}

void kd_buf_clear(kd_buf *b) {
    kd_free(b->data);
    *b = (kd_buf){0};
}

kd_code kd_grow(void **p, size_t *cap, size_t want, size_t size) {
    if (want <= *cap) return KD_OK;
    size_t next = *cap < 8 ? 8 : *cap;
    while (next < want)
        if (!kd_mul_size(next, 2, &next)) next = want;
    void *q = kd_realloc_array(*p, next, size);
    if (!q) return KD_ENOMEM;
    *p = q;
    *cap = next;
    return KD_OK;
}

/* An arena is a list of blocks, newest first; a->used and a->cap count within the newest one's payload. */
typedef struct block {
    struct block *before;
    size_t pad; /* keeps the payload 16-byte aligned */
} block;
_Static_assert(sizeof(block) == 16, "the payload of an arena block starts 16-byte aligned");

void *kd_arena_alloc(kd_arena *a, size_t n) {
    size_t need;
    if (!kd_add_size(n ? n : 1, 15, &need)) return NULL;
    need &= ~(size_t)15;
    if (need > a->cap - a->used) {
        size_t cap = a->total < 4096 ? 4096 : a->total < ((size_t)1 << 20) ? a->total : (size_t)1 << 20;
        size_t whole;
        if (cap < need) cap = need;
        if (!kd_add_size(cap, sizeof(block), &whole)) return NULL;
        block *b = kd_calloc(1, whole);
        if (!b) return NULL;
        b->before = a->head;
        a->head = b;
        a->used = 0;
        a->cap = cap;
        a->total += cap;
    }
    char *p = (char *)a->head + sizeof(block) + a->used;
    a->used += need;
    return p;
}

char *kd_arena_strndup(kd_arena *a, const char *s, size_t n) {
    size_t whole;
    char *p = kd_add_size(n, 1, &whole) ? kd_arena_alloc(a, whole) : NULL;
    if (p && n) memcpy(p, s, n);
    return p;
}

void kd_arena_clear(kd_arena *a) {
    for (block *b = a->head; b;) {
        block *before = b->before;
        kd_free(b);
        b = before;
    }
    *a = (kd_arena){0};
}
