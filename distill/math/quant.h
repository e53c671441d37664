/* distill/math/quant.h - quantizers that search for scales and codes with the smallest (weighted) squared error. Leans on codec_blocks.h.
 * Where ggml searches, so do we, with methods of our own (quant_sym.h, quant_asym.h); where its rule is a formula, codec_scalar.c and
 * codec_body.h follow it. Every width of quant_lanes.h gives the same bytes. */
#ifndef KD_MATH_QUANT_H
#define KD_MATH_QUANT_H

#include "distill/math/codec_blocks.h"

bool kd_quant_searches(int t); /* types that kd_quant_search writes */
/* dst = src[0..n) in type t, n whole blocks; importance [n] >= 0 or NULL (all 1). Never fails; allocates nothing; reentrant. */
void kd_quant_search(kd_dtype t, const float *src, void *dst, size_t n, const float *importance);

typedef void kd_search_fn(const float *src, void *dst, size_t n, const float *importance);
extern kd_search_fn *const kd_search_scalar[KD_CODEC_SLOTS];
#if defined(__x86_64__)
extern kd_search_fn *const kd_search_avx2[KD_CODEC_SLOTS];
extern kd_search_fn *const kd_search_avx512[KD_CODEC_SLOTS];
#endif

#endif
