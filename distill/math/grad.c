/* distill/math/grad.c - the plain operators of grad.h over the vector bodies. Leans on grad_ops.h, base/cpu.h, base/rng.h. */
#include "distill/base/cpu.h"
#include "distill/base/rng.h"
#include "distill/math/grad_ops.h"

#include <math.h>

const kd_grad_ops *kd_grad_ops_get(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return &kd_grad_ops_avx512;
    case KD_CPU_AVX2: return &kd_grad_ops_avx2;
    case KD_CPU_SCALAR: break;
    }
#endif
    return &kd_grad_ops_base;
}

void kd_add(float *y, const float *x, size_t n) { kd_grad_ops_get()->add(y, x, n); }
void kd_scale(float *y, float a, size_t n) { kd_grad_ops_get()->scale(y, a, n); }
double kd_dot_rows(const float *a, const float *b, size_t n) { return kd_grad_ops_get()->dot(a, b, n); }

double kd_sum_squares(const float *x, size_t n) { /* squares in double: gradients of 1e-23 do not vanish */
    double s[8] = {0};
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (size_t j = 0; j < 8; j++) s[j] += (double)x[i + j] * (double)x[i + j];
    for (; i < n; i++) s[0] += (double)x[i] * (double)x[i];
    return ((s[0] + s[1]) + (s[2] + s[3])) + ((s[4] + s[5]) + (s[6] + s[7]));
}

void kd_scale_columns(float *y, size_t ldy, const float *z, size_t ldz, const float *s, const float *bias, size_t N, size_t C,
                      bool accumulate) {
    const kd_grad_ops *ops = kd_grad_ops_get();
    for (size_t n = 0; n < N; n++) ops->scale_columns(y + n * ldy, z + n * ldz, s, bias, C, accumulate);
}

void kd_sum_rows(float *out, const float *x, size_t ldx, size_t N, size_t C) {
    kd_grad_ops_get()->column_sums(out, x, ldx, NULL, 0, NULL, NULL, N, C);
}

void kd_sum_products(float *out, const float *a, size_t lda, const float *b, size_t ldb, const float *scale, size_t N, size_t C) {
    kd_grad_ops_get()->column_sums(out, a, lda, b, ldb, scale, NULL, N, C);
}

void kd_rmsnorm_backward(float *dx, const float *dy, const float *x, const float *w, const float *rstd, size_t N, size_t C) {
    const kd_grad_ops *ops = kd_grad_ops_get();
    for (size_t n = 0; n < N; n++) ops->rmsnorm_backward(dx + n * C, dy + n * C, x + n * C, w, rstd[n], C);
}

void kd_rmsnorm_dw(float *dw, const float *dy, const float *x, const float *rstd, size_t N, size_t ld, size_t n_cols) {
    kd_grad_ops_get()->column_sums(dw, dy, ld, x, ld, NULL, rstd, N, n_cols);
}

void kd_swiglu_backward(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n) {
    kd_grad_ops_get()->swiglu_backward(dg, du, dy, g, u, n);
}

void kd_dropout(float *y, size_t ldy, const float *x, size_t ldx, size_t N, size_t C, float p, uint64_t key, uint64_t stream,
                uint64_t row0) {
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)}, limit = (uint32_t)((double)p * 65536.0);
    const float keep = 1.0f / (1.0f - p);
    const uint64_t groups = (C + 7) / 8;
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c += 8) {
            uint64_t at = (row0 + n) * groups + c / 8;
            const uint32_t ctr[4] = {(uint32_t)at, (uint32_t)(at >> 32), (uint32_t)stream, (uint32_t)(stream >> 32)};
            uint32_t bits[4];
            kd_philox(ctr, k, bits);
            for (size_t i = 0; i < 8 && c + i < C; i++) {
                uint32_t b = (bits[i / 2] >> (16 * (i % 2))) & 0xffffu;
                y[n * ldy + c + i] = b >= limit ? x[n * ldx + c + i] * keep : 0.0f;
            }
        }
}

/* sum_k p_k (log p_k - z_k), and what p_k are to be multiplied with. */
static double taught_loss(const float *z, const kd_taught *t, double *unit) {
    double sum = 0, loss = 0;
    for (size_t i = 0; i < t->n; i++) sum += exp((double)t->logprob[i]);
    *unit = 1 / sum;
    for (size_t i = 0; i < t->n; i++) {
        const double l = (double)t->logprob[i] - log(sum);
        loss += exp(l) * (l - (double)z[t->token[i]]);
    }
    return loss;
}

double kd_cross_entropy_taught(float *z, size_t V, size_t target, float weight, const kd_ce *o, const kd_taught *taught, bool grad) {
    const kd_grad_ops *ops = kd_grad_ops_get();
    const bool known = o && taught && taught->n && o->taught != 0;
    const double a = known ? (double)o->taught : 0, own = 1 - a;
    const float top = ops->row_max(z, V), smooth = o ? o->smoothing : 0, zl = o ? o->zloss : 0;
    const double L = (double)top + log(ops->exp_sum(NULL, z, V, top)), zt = (double)z[target];
    double loss = (1.0 - (double)smooth) * (L - zt) + (double)zl * L * L, unit = 0;
    if (smooth != 0) {
        double mean = 0;
        for (size_t i = 0; i < V; i++) mean += (double)z[i];
        loss += (double)smooth * (L - mean / (double)V);
    }
    if (known) loss = own * loss + a * (taught_loss(z, taught, &unit) + L);
    if (grad) {
        const float w = (float)((double)weight * own);
        ops->ce_gradient(z, V, (float)L, (float)((double)weight * (1.0 + own * 2.0 * (double)zl * L)), w * smooth / (float)V);
        z[target] -= w * (1.0f - smooth);
        for (size_t i = 0; known && i < taught->n; i++)
            z[taught->token[i]] -= (float)((double)weight * a * unit * exp((double)taught->logprob[i]));
    }
    return loss;
}
double kd_cross_entropy(float *z, size_t V, size_t target, float weight, const kd_ce *o, bool grad) {
    return kd_cross_entropy_taught(z, V, target, weight, o, NULL, grad);
}

void kd_adamw_step(float *p, const float *g, float *m, float *v, size_t n, float scale, const kd_adamw *o) {
    kd_grad_ops_get()->adamw(p, g, m, v, n, scale, o);
}

void kd_sgd_step(float *p, const float *g, size_t n, float scale, float lr, float decay) {
    const float shrink = 1.0f - lr * decay, step = lr * scale;
    for (size_t i = 0; i < n; i++) p[i] = p[i] * shrink - step * g[i];
}
