/* distill/math/grad_x86.c - builds grad_body.h for the plain instruction set, AVX2 and AVX-512. Leans on grad_ops.h. */
#include "distill/math/grad_ops.h"

#include <math.h>
#include <string.h>

typedef float vf __attribute__((vector_size(64), aligned(16)));
typedef int32_t vi __attribute__((vector_size(64), aligned(16)));
typedef float vfu __attribute__((vector_size(64), aligned(4), may_alias));

#pragma GCC diagnostic ignored "-Wpsabi" /* vectors never leave this file: every function that passes one is inlined */

#define KD_TARGET
#define KD_SUFFIX base
#include "distill/math/grad_body.h"
#undef KD_TARGET
#undef KD_SUFFIX
#if defined(__x86_64__)
#define KD_TARGET __attribute__((target("avx2")))
#define KD_SUFFIX avx2
#include "distill/math/grad_body.h"
#undef KD_TARGET
#undef KD_SUFFIX
#define KD_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define KD_SUFFIX avx512
#include "distill/math/grad_body.h"
#endif
