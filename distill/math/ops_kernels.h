/* distill/math/ops_kernels.h - the operators of ops.h once per instruction set. Private to distill/math. Leans on ops.h. */
#ifndef KD_MATH_OPS_KERNELS_H
#define KD_MATH_OPS_KERNELS_H

#include "distill/math/ops.h"

enum { KD_ATTEND_VECS = 48 }; /* query vectors that attention holds at once */

typedef struct {
    void (*rmsnorm)(float *y, float *rstd, const float *x, const float *w, size_t N, size_t C, float eps);
    void (*rope)(float *x, const float *cos_, const float *sin_, size_t heads, size_t D, float sign); /* one row at one position */
    void (*swiglu)(float *y, const float *g, const float *u, size_t n);
    double (*softmax)(float *v, size_t n);
    double (*logsumexp)(const float *v, size_t n);
    float (*max)(const float *v, size_t n);
    double (*exp_sum)(float *out, const float *v, size_t n, float m, float a);
    float (*dot)(const float *a, const float *b, size_t n);
    void (*axpy)(float *y, float a, const float *x, size_t n);
    void (*exp)(float *y, const float *x, size_t n); /* y[i] = exp(x[i]) */
    void (*attend)(float *out, size_t ldo, const float *q, size_t ldq, size_t rows, const kd_kv_view *kv, size_t len, size_t g, size_t R,
                   size_t D, float scale); /* rows * R <= KD_ATTEND_VECS */
} kd_ops;
extern const kd_ops kd_ops_scalar;
#if defined(__x86_64__)
extern const kd_ops kd_ops_avx2, kd_ops_avx512;
#endif
const kd_ops *kd_ops_get(void); /* of this CPU, capped */

#endif
