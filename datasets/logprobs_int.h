/* datasets/logprobs_int.h - what packing (logprobs.c) and reading (logprobs_read.c) of log-probabilities share. */
#ifndef KD_DATASETS_LOGPROBS_INT_H
#define KD_DATASETS_LOGPROBS_INT_H

#include "datasets/logprobs.h"

enum { KD_LP_MEMBERS = 5, KD_LP_TEXT = 0, KD_LP_OLD = 1, KD_LP_PARTS = 2 }; /* members of a token; versions */
extern const char *const kd_lp_names[KD_LP_MEMBERS];
extern const char kd_lp_letters[KD_LP_MEMBERS + 1];

/* s (40 bytes) = f as style 0 or 1 spells it; its length. */
size_t kd_lp_spell(float f, int style, char *s);
/* A rounded value: k steps. */
static inline float kd_lp_value(int64_t k, double step) { return (float)((double)k * step); }

#endif
