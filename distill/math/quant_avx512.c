/* distill/math/quant_avx512.c - quant_body.h built for avx512, 16 blocks at a time, whatever the flags of the build. Leans on quant.h. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#endif

#include "distill/math/quant.h"

#define KD_W 16
#define KD_SEARCH kd_search_avx512
#include "distill/math/quant_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int kd_quant_no_avx512; /* ISO C wants a declaration */
#endif
