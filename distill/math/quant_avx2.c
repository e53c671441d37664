/* distill/math/quant_avx2.c - quant_body.h built for avx2, 8 blocks at a time, whatever the flags of the build. Leans on quant.h. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#include "distill/math/quant.h"

#define KD_W 8
#define KD_SEARCH kd_search_avx2
#include "distill/math/quant_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int kd_quant_no_avx2; /* ISO C wants a declaration */
#endif
