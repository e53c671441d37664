/* distill/engine/sample.h - one token from a row of logits. Leans on math/ops.h, base/rng.h, dry.h.
 * The order is that of llama.cpp's default chain: logit bias, penalties, DRY, top-k, typical, top-p, min-p, then temperature, then the draw; so top-p
 * and min-p look at the distribution at temperature 1. */
#ifndef KD_ENGINE_SAMPLE_H
#define KD_ENGINE_SAMPLE_H

#include "distill/base/err.h"
#include "distill/engine/dry.h"

#include <stddef.h>
#include <stdint.h>

typedef struct {
    int32_t id;
    float bias; /* added to the logit; -INFINITY bans */
} kd_logit_bias;

/* The zero value is greedy: the most likely token, the lowest id among equals. */
typedef struct {
    float temperature;        /* 0: greedy */
    uint32_t top_k;           /* 0: off */
    float top_p;              /* 0 or 1: off */
    float min_p;              /* 0: off */
    float typical_p;          /* 0 or 1: off (Meister et al. 2022, arXiv:2202.00666) */
    float repetition_penalty; /* 0 or 1: off; logits of seen tokens are divided by it (multiplied where negative); Keskar et al. 2019 */
    float presence_penalty, frequency_penalty; /* 0: off; subtracted once, and for every time, that a token was seen */
    uint32_t penalty_last;                     /* how many of the last tokens count as seen (prompt included); 0: 64 */
    float dry_multiplier;                      /* 0: off; see dry.h */
    float dry_base;                            /* 0: 1.75 */
    uint32_t dry_allowed_length;               /* 0: 2 */
    uint32_t dry_last;                         /* how many of the last tokens are searched; 0: all */
    const kd_dry *dry_breakers;                /* what no repetition reaches across; lent, NULL: nothing */
    const kd_logit_bias *bias;
    size_t biases;
} kd_sampling;
/* Errors: KD_EINVAL names the setting that is out of its domain. */
kd_code kd_sampling_check(const kd_sampling *s, size_t V, kd_err *e);

/* Draws from logits [V] (changed: penalties and bias are applied in place). seen [nseen]: the sequence so far. u in [0,1): the random number.
 * work: kd_sample_work(V) bytes. A row without a finite logit gives -1. The draw depends on its arguments alone. */
int32_t kd_sample(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, double u, void *work);
size_t kd_sample_work(size_t V);
/* The first three steps alone: bias, penalties, DRY, in place. (penalty.c) */
void kd_sample_adjust(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, void *work);

#endif
