/* distill/base/mem.h - allocation that tests can make fail, checked sizes, growable buffers, arenas. Leans on err.h.
 * All memory of ours comes from here; nothing aborts when there is none. */
#ifndef KD_BASE_MEM_H
#define KD_BASE_MEM_H

#include "distill/base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* malloc and friends: NULL when there is no memory. n = 0 gives a pointer that may be freed. */
void *kd_malloc(size_t n);
void *kd_calloc(size_t count, size_t size); /* checks count * size */
void *kd_realloc(void *p, size_t n);
void *kd_realloc_array(void *p, size_t count, size_t size);
void *kd_aligned_alloc(size_t align, size_t n); /* align a power of two >= 8; contents undefined; freed with kd_free */
void *kd_large_alloc(size_t n); /* aligned to 64, from 2 MiB on in large pages where the system gives them; freed with kd_free */
char *kd_strdup(const char *s);
char *kd_strndup(const char *s, size_t n); /* copies n bytes, NUL bytes too, and ends them with one */
void kd_free(void *p);

/* Makes the nth allocation from now (1 = the next) of this thread fail, once; 0 switches it off. For tests. */
void kd_alloc_fail_at(long n);
/* Allocations of this thread since the last kd_alloc_fail_at. */
long kd_alloc_count(void);

/* *out = a*b or a+b; false and *out untouched if it does not fit. */
bool kd_mul_size(size_t a, size_t b, size_t *out);
bool kd_add_size(size_t a, size_t b, size_t *out);
bool kd_mul_u64(uint64_t a, uint64_t b, uint64_t *out);
bool kd_add_u64(uint64_t a, uint64_t b, uint64_t *out);

/* Borrowed bytes; not NUL-terminated. */
typedef struct {
    const char *data;
    size_t len;
} kd_str;
#define KD_STR(lit) ((kd_str){(lit), sizeof(lit) - 1})
kd_str kd_str_of(const char *z); /* NULL gives {NULL,0} */
bool kd_str_eq(kd_str a, kd_str b);
bool kd_str_is(kd_str a, const char *z);
bool kd_str_starts(kd_str s, const char *prefix);
bool kd_str_ends(kd_str s, const char *suffix);

/* Growable bytes; {0} is empty. After any success data is NUL-terminated behind len (or NULL when never written).
 * On KD_ENOMEM the buffer is unchanged. */
typedef struct {
    char *data;
    size_t len, cap;
} kd_buf;
kd_code kd_buf_reserve(kd_buf *b, size_t more); /* room for more bytes behind len */
kd_code kd_buf_append(kd_buf *b, const void *p, size_t n);
kd_code kd_buf_puts(kd_buf *b, const char *z);
kd_code kd_buf_putc(kd_buf *b, char c);
kd_code kd_buf_printf(kd_buf *b, const char *fmt, ...) KD_PRINTF(2, 3);
kd_str kd_buf_view(const kd_buf *b);
char *kd_buf_take(kd_buf *b); /* the bytes, NUL-terminated, now the caller's (kd_free); b is empty again; NULL = no memory */
void kd_buf_clear(kd_buf *b); /* frees; b is {0} */

/* Typed growth: makes *p hold at least want elements of size bytes (doubling), *cap updated. */
kd_code kd_grow(void **p, size_t *cap, size_t want, size_t size);

/* Bump allocator; everything goes at once. Blocks are 16-byte aligned and zeroed. {0} is empty. */
typedef struct {
    void *head;
    size_t used, cap, total;
} kd_arena;
void *kd_arena_alloc(kd_arena *a, size_t n);
char *kd_arena_strndup(kd_arena *a, const char *s, size_t n);
void kd_arena_clear(kd_arena *a);

#endif
