/* distill/math/ops_scalar.c - the operators of ops.h for any machine. Leans on ops_body.h, ops_attend.h. */
#define KD_ISA 4
#include "distill/math/ops_body.h"

#include "distill/math/ops_attend.h"

const kd_ops kd_ops_scalar = {rmsnorm, rope, swiglu, softmax, logsumexp, max_of, exp_sum, dot, axpy, vexp, attend};
