/* distill/math/ops.h - the small operators of a transformer, forward. Vector bodies chosen at start, scalar reference kept.
 * Every one works row by row with sums in a fixed order, so rows do not feel each other. Reentrant, allocates nothing.
 * Their backward passes stand in grad.h. */
#ifndef KD_MATH_OPS_H
#define KD_MATH_OPS_H

#include <stddef.h>
#include <stdint.h>

/* y[c] = w[c] * x[c] / sqrt(mean(x^2) + eps), per row. x, y [N, C], y may be x; w [C]. rstd [N] receives 1/sqrt(...) or NULL.
 * Source: Zhang and Sennrich 2019, arXiv:1910.07467. */
void kd_rmsnorm(float *y, float *rstd, const float *x, const float *w, size_t N, size_t C, float eps);

/* Rotary embedding in Hugging Face's (NeoX) order on heads of one row: for j < D/2, with a = pos * inv_freq[j],
 *   (x[j], x[j+D/2]) <- scale * (x[j] cos a - x[j+D/2] sin a, x[j+D/2] cos a + x[j] sin a)
 * x [N, heads, D] with ldx floats between rows; pos [N]; inv_freq [D/2] f32; the angle's product in f32 and its sine and cosine as accurate as
 * double would give of it. table: cos and sin [positions, D/2] from kd_rope_table. scale is yarn's attention factor (1 elsewhere).
 * Source: Su et al. 2021, arXiv:2104.09864. */
void kd_rope_table(float *cos_, float *sin_, size_t positions, const float *inv_freq, size_t D, float scale); /* [positions, D/2] each */
void kd_rope(float *x, size_t ldx, const int32_t *pos, const float *cos_, const float *sin_, size_t N, size_t heads, size_t D);
void kd_rope_backward(float *dx, size_t ldx, const int32_t *pos, const float *cos_, const float *sin_, size_t N, size_t heads,
                      size_t D); /* transpose, in place */

/* y = silu(g) * u elementwise, silu(v) = v / (1 + exp(-v)). y may be g or u. */
void kd_swiglu(float *y, const float *g, const float *u, size_t n);

/* Softmax in place over v[0..n); returns log(sum(exp)) of the inputs (f32 exp within 2 ulp, sums in double). */
double kd_softmax(float *v, size_t n);
/* log(sum_i exp(v[i])), v untouched. */
double kd_logsumexp(const float *v, size_t n);

float kd_max_f32(const float *v, size_t n); /* -INFINITY for n = 0; NaN where one hides the maximum */
/* out[i] = exp((v[i] - m) * a), out may be v or NULL; returns the sum. */
double kd_exp_f32(float *out, const float *v, size_t n, float m, float a);

float kd_dot_f32(const float *a, const float *b, size_t n);
void kd_axpy_f32(float *y, float a, const float *x, size_t n); /* y += a x */

/* Attention over a KV cache, rows of one sequence and the R query heads of one kv head at a time:
 *   out[n, r] = sum_s softmax_s(q[n, r] . k[s] * scale) v[s],   s < len + n, n < rows
 *   q, out: row n, head r at n * ldq + r * D, D f32 each; keys and values in the cache's type (KD_F32, KD_F16 or KD_Q8_0). What a page holds of kv
 *   head g begins at pages[s / page_rows] + g * head_stride bytes: values as rows, row_bytes each; keys in groups of KD_KV_LANES positions, turned:
 *   [D, lanes] numbers, or for KD_Q8_0 a block of 32 columns after the other, each lanes scales and then [32, lanes] codes (kd_kv_put_key writes them).
 * Keys are taken in chunks that begin at fixed places, with a running maximum (Milakov and Gimelshein 2018, arXiv:1805.02867), so a row's result
 * depends neither on the other rows nor on how pages lie. D <= KD_ATTEND_MAX_D; for KD_Q8_0 D is a multiple of 32; page_rows one of KD_KV_LANES.
 * One call expands every key and value once for all its rows: kd_attend_block(R) rows make good use of that. */
enum { KD_ATTEND_MAX_D = 512, KD_KV_LANES = 16 };
typedef struct {
    const void *const *k_pages, *const *v_pages;
    size_t page_rows, row_bytes, head_stride; /* bytes, the same for k and v */
    int type;                                 /* kd_dtype */
} kd_kv_view;
/* A key becomes number `at` of a page's keys of one head. */
void kd_kv_put_key(void *keys, int type, size_t at, const float *key, size_t D);
void kd_attend_rows(float *out, size_t ldo, const float *q, size_t ldq, size_t rows, const kd_kv_view *kv, size_t len, size_t g, size_t R,
                    size_t D, float scale);
size_t kd_attend_block(size_t R);
/* All heads of one row: q, out [H, D], H a multiple of G. work: at least H * (len + 16) floats (no longer used). */
void kd_attend(float *out, const float *q, const kd_kv_view *kv, size_t len, size_t H, size_t G, size_t D, float scale, float *work);

#endif
