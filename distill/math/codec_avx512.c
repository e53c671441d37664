/* distill/math/codec_avx512.c - codec_body.h built for avx512, whatever the flags of the build. Leans on codec_blocks.h. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c")
#endif

#define KD_OPS kd_codec_avx512
#define KD_WIDE 1
#include "distill/math/codec_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int kd_codec_no_avx512; /* ISO C wants a declaration */
#endif
