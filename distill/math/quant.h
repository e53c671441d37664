/* distill/math/quant.h - quantizers that search for scales and codes with the smallest (weighted) squared error. Leans on codec.h.
 * Where ggml searches, so do we, with methods of our own; where its rule is a formula, codec_scalar.c and codec_body.h follow it. */
#ifndef KD_MATH_QUANT_H
#define KD_MATH_QUANT_H

#include "distill/math/codec.h"

bool kd_quant_searches(int t); /* types that kd_quant_search writes */
/* dst = src[0..n) in type t, n whole blocks; importance [n] >= 0 or NULL (all 1). Never fails; allocates nothing; reentrant. */
void kd_quant_search(kd_dtype t, const float *src, void *dst, size_t n, const float *importance);

#endif
