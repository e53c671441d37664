/* distill/model/score.h - what a model thinks of given tokens: every row's logits, a chunk at a time, never a whole table. Leans on forward.h. */
#ifndef KD_MODEL_SCORE_H
#define KD_MODEL_SCORE_H

#include "distill/model/forward.h"

typedef struct kd_scorer kd_scorer;
typedef struct {
    bool fast;      /* 8-bit activations; otherwise f32 arithmetic and f32 keys and values */
    size_t chunk;   /* rows of logits at once (0 = 64) */
    size_t context; /* positions at most (0 = the model's own) */
} kd_score_options;

/* adapter or NULL. The model and the pool outlive it. */
kd_code kd_scorer_new(kd_scorer **out, const kd_model *m, kd_adapter *adapter, const kd_score_options *o, kd_pool *pool, kd_err *e);
void kd_scorer_free(kd_scorer *s);

/* One sequence after another, or pieces of one: begin, then feed as often as one likes. logits [n,V] of the piece's rows, valid until the next
 * call; n <= chunk. Row i predicts the token behind the i-th fed. Errors: KD_EINVAL (a token out of range, the context exceeded), KD_ENOMEM. */
void kd_scorer_begin(kd_scorer *s);
size_t kd_scorer_chunk(const kd_scorer *s);
kd_code kd_scorer_feed(kd_scorer *s, const int32_t *tokens, size_t n, const float **logits, kd_err *e);

/* The top best of logits [V], falling, lowest id first among equals: ids [k], nats [k] (log-probabilities). lse = kd_logsumexp(logits). */
void kd_top_logprobs(const float *logits, size_t V, double lse, size_t k, int32_t *ids, double *nats);

#endif
