/* distill/math/grad_ops.h - the table of vector bodies behind grad.h; private to distill/math. */
#ifndef KD_MATH_GRAD_OPS_H
#define KD_MATH_GRAD_OPS_H

#include "distill/math/grad.h"

typedef struct {
    void (*add)(float *y, const float *x, size_t n);
    void (*scale)(float *y, float a, size_t n);
    double (*dot)(const float *a, const float *b, size_t n);
    void (*scale_columns)(float *y, const float *z, const float *s, const float *bias, size_t C, bool accumulate);
    void (*column_sums)(float *out, const float *a, size_t lda, const float *b, size_t ldb, const float *scale, const float *row, size_t N,
                        size_t C);
    void (*rmsnorm_backward)(float *dx, const float *dy, const float *x, const float *w, float rstd, size_t C);
    void (*swiglu_backward)(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n);
    double (*exp_sum)(float *out, const float *z, size_t n, float m);
    float (*row_max)(const float *z, size_t n);
    void (*ce_gradient)(float *z, size_t n, float L, float a, float b);
    void (*attention_row)(float *s, float *dp, size_t n, size_t width, float L, float delta);
    void (*adamw)(float *p, const float *g, float *m, float *v, size_t n, float scale, const kd_adamw *o);
} kd_grad_ops;
extern const kd_grad_ops kd_grad_ops_base, kd_grad_ops_avx2, kd_grad_ops_avx512;
const kd_grad_ops *kd_grad_ops_get(void); /* by kd_cpu_get, looked up on every call */

#endif
