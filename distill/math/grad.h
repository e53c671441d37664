/* distill/math/grad.h - training's side of the operators: backward passes, attention over packed sequences, cross-entropy, optimizer steps.
 * Forward operators that inference shares stand in ops.h. Vector bodies (grad_body.h) are built once per instruction set and give the
 * same bits on each: sums run over 16 lanes in a fixed order (attention's products are tiles by instruction set: there each level has its own).
 * Reentrant, allocates nothing. Leans on gemm.h. */
#ifndef KD_MATH_GRAD_H
#define KD_MATH_GRAD_H

#include "distill/math/gemm.h"

/* y[i] += x[i];  y[i] *= a */
void kd_add(float *y, const float *x, size_t n);
void kd_scale(float *y, float a, size_t n);
/* sum of squares in double; NaN and Inf show in it. */
double kd_sum_squares(const float *x, size_t n);
double kd_dot_rows(const float *a, const float *b, size_t n); /* sum a*b, f32 products, f32 sums of 16 lanes, joined in double every 512 */

/* y[n,c] = s[c] * z[n,c] + (bias ? bias[c] : 0), or y += that. y, z [N,C] with strides. DoRA's row scale. */
void kd_scale_columns(float *y, size_t ldy, const float *z, size_t ldz, const float *s, const float *bias, size_t N, size_t C,
                      bool accumulate);
/* out[c] += sum_n x[n,c] for c in [0,C): the gradient of a bias. */
void kd_sum_rows(float *out, const float *x, size_t ldx, size_t N, size_t C);
/* out[c] += scale[c] * sum_n a[n,c] * b[n,c] */
void kd_sum_products(float *out, const float *a, size_t lda, const float *b, size_t ldb, const float *scale, size_t N, size_t C);

/* RMSNorm backward, y = w * x * rstd: rows of C,
 *   dx += rstd * (w*dy - x * rstd^2/C * sum_c w*dy*x)        x, dy, dx [N,C] contiguous, rstd [N]
 * Source: the derivative of Zhang and Sennrich 2019, arXiv:1910.07467. Test: tests/distill/math/test_grad.c */
void kd_rmsnorm_backward(float *dx, const float *dy, const float *x, const float *w, const float *rstd, size_t N, size_t C);
/* dw[c] += sum_n dy[n,c] * x[n,c] * rstd[n] for c in [0,n_cols); dy, x with stride ld. */
void kd_rmsnorm_dw(float *dw, const float *dy, const float *x, const float *rstd, size_t N, size_t ld, size_t n_cols);

/* y = silu(g) u backward: dg = dy * u * sig * (1 + g (1 - sig)), du = dy * silu(g). dg may be dy; du may be any other. */
void kd_swiglu_backward(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n);

/* Dropout by counter: keeps x[n,c] / (1-p) where 16 bits of Philox(key, stream, row*C + c) are >= p * 65536, else 0. row of n is row0 + n.
 * C is rounded up to 8 for the counter. y may be x. Applying it to a gradient is its own backward. */
void kd_dropout(float *y, size_t ldy, const float *x, size_t ldx, size_t N, size_t C, float p, uint64_t key, uint64_t stream,
                uint64_t row0);

/* Cross-entropy of one row of logits, its gradient in place.
 *   loss = (1-s) * (L - z[t]) + s * (L - mean z) + zl * L^2,   L = log sum exp z
 *   z <- weight * dloss/dz = weight * ((1 + 2 zl L) p - (1-s) 1[t] - s/V),   p = softmax z
 * Returns loss (unweighted, nats). weight 0 gives a zero row. grad = false leaves z alone. s: label smoothing, zl: z-loss. */
typedef struct {
    float smoothing, zloss;
    float taught; /* share of the loss that is held against the teacher, where one is known */
} kd_ce;
double kd_cross_entropy(float *z, size_t V, size_t target, float weight, const kd_ce *o, bool grad);

/* What a teacher gave for one row: its log-probabilities (nats) of n tokens, those it thought likeliest; the rest is unknown. n 0: nothing known. */
typedef struct {
    const int32_t *token;
    const float *logprob;
    size_t n;
} kd_taught;
/* The same with a share a = o->taught of it from the teacher:
 *   loss = (1-a) * the above + a * sum_k p_k (log p_k - z_k + L),   p_k = exp(l_k) / sum exp(l)
 *   z <- weight * ((1-a) * the above + a * (softmax z - p))
 * taught NULL or empty: kd_cross_entropy. Source: Hinton et al. 2015, arXiv:1503.02531, at temperature 1, over the tokens known. */
double kd_cross_entropy_taught(float *z, size_t V, size_t target, float weight, const kd_ce *o, const kd_taught *taught, bool grad);

/* AdamW as PyTorch steps it (Loshchilov and Hutter 2019, arXiv:1711.05101), on one stretch of parameters:
 *   g *= scale;  p *= 1 - lr wd;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2;  p -= lr/(1-b1^t) * m / (sqrt(v)/sqrt(1-b2^t) + eps) */
typedef struct {
    float lr, beta1, beta2, eps, decay;
    double correct1, correct2; /* 1 - beta^t */
} kd_adamw;
void kd_adamw_step(float *p, const float *g, float *m, float *v, size_t n, float scale, const kd_adamw *o);
void kd_sgd_step(float *p, const float *g, size_t n, float scale, float lr, float decay); /* p = p (1 - lr wd) - lr scale g */

/* ---- causal attention over packed sequences that do not see each other ---- */
typedef struct {
    size_t q0, nq; /* its query rows */
    size_t k0, nk; /* its key rows */
} kd_span;
typedef struct {
    const kd_span *spans;
    size_t n;
    const int32_t *qpos; /* [all query rows] place in its sequence: sees keys k0 .. k0+qpos; rising within a span */
    const size_t *tasks; /* [n+1] from kd_attention_tasks */
    size_t H, G, D;      /* heads: query h reads kv head h / (H/G) */
    float scale;
} kd_attention;
/* tasks[i] = blocks of query rows before span i; tasks[n] = all. */
void kd_attention_tasks(size_t *tasks, const kd_span *spans, size_t n);
size_t kd_attention_scratch(int threads, size_t D); /* bytes, for both directions */
/* o[r, h*D..] = sum_s softmax(scale q[r,h].k[s])_s v[s];  q, o [NQ, H*D] strides ldq, ldo; k, v [NK, G*D] stride ldk; lse [NQ, H].
 * Blocks of queries by blocks of keys, never a square (Dao 2023, arXiv:2307.08691). */
void kd_attention_forward(const kd_gemm *g, const kd_attention *a, float *o, size_t ldo, float *lse, const float *q, size_t ldq,
                          const float *k, const float *v, size_t ldk, void *scratch);
/* dq (=), dk, dv (=) from dout; o and lse as forward left them. part: 2 * NK * H * D floats when H > G (else may be NULL), where NK = key rows. */
void kd_attention_backward(const kd_gemm *g, const kd_attention *a, float *dq, float *dk, float *dv, const float *dout, size_t ldo,
                           const float *o, const float *lse, const float *q, size_t ldq, const float *k, const float *v, size_t ldk,
                           size_t NK, float *part, void *scratch);

#endif
