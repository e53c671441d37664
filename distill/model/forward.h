/* distill/model/forward.h - the forward pass of many sequences at once over a KV cache. Leans on model.h, adapter.h, kv.h, math/linear.h, math/ops.h.
 * Row n of the result depends on its own sequence alone, to the bit: not on the other rows, their number, or threads. */
#ifndef KD_MODEL_FORWARD_H
#define KD_MODEL_FORWARD_H

#include "distill/model/adapter.h"
#include "distill/model/kv.h"

typedef struct kd_forward kd_forward; /* buffers for one model; one thread at a time, spreads over its pool */

typedef struct {
    size_t max_rows;   /* rows a call at most (0 = 512) */
    size_t max_logits; /* rows of logits a call at most (0 = max_rows) */
    bool fast;         /* 8-bit activations (kd_qmat); false: f32 arithmetic */
    bool no_repack;    /* fast: keep the mapping, no panels */
    size_t context;    /* positions rope tables are made for (0 = the model's own) */
} kd_forward_options;

/* adapter NULL for none (kept, not owned; bound here). pool NULL: the caller alone. */
kd_code kd_forward_new(kd_forward **out, const kd_model *m, kd_adapter *adapter, const kd_forward_options *o, kd_pool *pool, kd_err *e);
void kd_forward_free(kd_forward *f);
uint64_t kd_forward_bytes(const kd_forward *f); /* memory of its own */

/* Rows of one sequence, consecutive in the batch: they take positions kd_kv_len(kv) .. + rows, for which kv has room (kd_kv_reserve). */
typedef struct {
    kd_kv *kv;
    size_t rows;
} kd_batch_seq;
typedef struct {
    const int32_t *tokens; /* [n], each < V */
    size_t n;
    const kd_batch_seq *seqs; /* rows sum to n; no kv twice */
    size_t nseq;
    const size_t *want; /* rows whose logits are wanted, ascending */
    size_t nwant;
    const float *x; /* instead of tokens: the residual stream [n,C] as it enters layer `from` (what a tap of KD_ATTN_NORM saw) */
    uint32_t from;
    uint32_t until; /* 0: all the way; else nothing from this layer on (layers in all: no head): a tap sees what would enter it */
} kd_batch;
/* logits [nwant, V] f32; NULL: everything but the head's product. Advances each kv by its rows. Errors: KD_EINVAL (sizes, token out of range,
 * context exceeded): nothing changed. */
kd_code kd_forward_run(kd_forward *f, const kd_batch *b, float *logits, kd_err *e);

/* Nanoseconds of all calls so far: whole, in attention (queries against keys, values weighted), in the head's product. */
typedef struct {
    uint64_t all, attention, head;
} kd_forward_times;
kd_forward_times kd_forward_time(const kd_forward *f);

/* Shown what every product is about to read: x [n, cols of the matrix r of that layer]; and as KD_ATTN_NORM the residual stream [n,C] that
 * enters a layer, as KD_FINAL_NORM what leaves the last one. On the caller's thread. fn NULL: no longer. */
typedef void kd_forward_tap_fn(void *ctx, kd_role r, uint32_t layer, const float *x, size_t n);
void kd_forward_tap(kd_forward *f, kd_forward_tap_fn *fn, void *ctx);

#endif
