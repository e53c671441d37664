/* distill/model/kv.h - keys and values of sequences, in pages that sequences share. Leans on config.h, math/ops.h.
 * A page holds page_rows positions of every layer, keys and values; a page with one owner is written, a shared one is copied first. */
#ifndef KD_MODEL_KV_H
#define KD_MODEL_KV_H

#include "distill/base/dtype.h"
#include "distill/math/ops.h"
#include "distill/model/config.h"

typedef struct kd_kv_pool kd_kv_pool; /* one thread at a time */
typedef struct kd_kv kd_kv;           /* one sequence */

/* type: KD_F32, KD_F16 or KD_Q8_0 (D a multiple of 32). max_bytes bounds all pages together (0: no bound); pages are allocated as needed. */
kd_code kd_kv_pool_new(kd_kv_pool **out, const kd_config *c, kd_dtype type, size_t page_rows, uint64_t max_bytes, kd_err *e);
void kd_kv_pool_free(kd_kv_pool *p); /* after all its sequences */
size_t kd_kv_page_rows(const kd_kv_pool *p);
size_t kd_kv_page_bytes(const kd_kv_pool *p);
size_t kd_kv_pages_left(const kd_kv_pool *p); /* that could still be had; SIZE_MAX without a bound */
uint64_t kd_kv_bytes(const kd_kv_pool *p);    /* held now */

kd_code kd_kv_new(kd_kv **out, kd_kv_pool *p, kd_err *e);
void kd_kv_free(kd_kv *s);
size_t kd_kv_len(const kd_kv *s); /* positions written */
/* Room for positions up to len, written pages of others copied. KD_ELIMIT when the bound is reached: then nothing changed. */
kd_code kd_kv_reserve(kd_kv *s, size_t len, kd_err *e);
void kd_kv_truncate(kd_kv *s, size_t len); /* forgets positions from len on */
/* A new sequence that shares the first len positions. */
kd_code kd_kv_fork(kd_kv **out, const kd_kv *s, size_t len, kd_err *e);
size_t kd_kv_pages(const kd_kv *s);

/* For the forward pass. k, v [G*D] f32 of one position, stored in the pool's type; pos < the reserved length. */
void kd_kv_put(kd_kv *s, uint32_t layer, size_t pos, const float *k, const float *v);
/* Fills k_pages, v_pages (kd_kv_pages entries each) for one layer and the view over them. */
void kd_kv_view_of(const kd_kv *s, uint32_t layer, const void **k_pages, const void **v_pages, kd_kv_view *view);
void kd_kv_set_len(kd_kv *s, size_t len); /* after all layers of new rows are written */

#endif
