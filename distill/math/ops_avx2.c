/* distill/math/ops_avx2.c - the operators of ops.h for AVX2. Leans on ops_body.h, ops_attend.h. */
#if defined(__x86_64__)
#define KD_ISA 256
#include "distill/math/ops_body.h"

#include "distill/math/ops_attend.h"

const kd_ops kd_ops_avx2 = {rmsnorm, rope, swiglu, softmax, logsumexp, max_of, exp_sum, dot, axpy, vexp, attend};
#else
typedef int kd_ops_avx2_is_for_x86;
#endif
