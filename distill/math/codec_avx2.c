/* distill/math/codec_avx2.c - codec_body.h built for avx2, whatever the flags of the build. Leans on codec_blocks.h. */
#if defined(__x86_64__)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif

#define KD_OPS kd_codec_avx2
#define KD_WIDE 0
#include "distill/math/codec_body.h"

#if defined(__clang__)
#pragma clang attribute pop
#endif
#else
typedef int kd_codec_no_avx2; /* ISO C wants a declaration */
#endif
