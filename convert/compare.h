/* convert/compare.h - what a converted model lost: two models over the same rows, logits a chunk at a time. Leans on model/score.h. */
#ifndef KD_CONVERT_COMPARE_H
#define KD_CONVERT_COMPARE_H

#include "distill/base/event.h"
#include "distill/model/score.h"

/* Over every predicted token. KL(a || b) = sum_v p_a (log p_a - log p_b), nats; top1: share of places where both think the same token most likely
 * (the lowest id among equals); ppl = exp(-mean log p of the token that came). */
typedef struct {
    uint64_t tokens;
    double kl_mean, kl_median, kl_p99, kl_max, top1, ppl_a, ppl_b;
    double seconds_a, seconds_b; /* of the forward passes */
} kd_comparison;

typedef struct {
    const int32_t *tokens;
    const uint8_t *loss; /* [n] which predicted tokens count, or NULL: all */
    size_t n;
} kd_compare_row;

/* rows are cut into pieces of at most window tokens. Both scorers have the same chunk. V: rows of logits (both models').
 * Errors: KD_EINVAL if no token is predicted; those of kd_scorer_feed. Test: tests/convert/test_compare.c */
kd_code kd_compare(kd_comparison *out, kd_scorer *a, kd_scorer *b, size_t V, const kd_compare_row *rows, size_t n, size_t window,
                   const kd_watch *w, kd_err *e);

#endif
