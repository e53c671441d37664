/* distill/math/ops.c - the operators of ops.h: the choice of kernel, and what needs none. Leans on ops_kernels.h, base/cpu.h. */
#include "distill/math/ops.h"

#include "distill/base/cpu.h"
#include "distill/base/dtype.h"
#include "distill/math/codec.h"
#include "distill/math/ops_kernels.h"

#include <assert.h>
#include <math.h>
#include <string.h>

const kd_ops *kd_ops_get(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return &kd_ops_avx512;
    case KD_CPU_AVX2: return &kd_ops_avx2;
    case KD_CPU_SCALAR: break;
    }
#endif
    return &kd_ops_scalar;
}

void kd_rmsnorm(float *y, float *rstd, const float *x, const float *w, size_t N, size_t C, float eps) {
    kd_ops_get()->rmsnorm(y, rstd, x, w, N, C, eps);
}

void kd_rope_table(float *cos_, float *sin_, size_t positions, const float *inv_freq, size_t D, float scale) {
    for (size_t p = 0; p < positions; p++)
        for (size_t j = 0; j < D / 2; j++) {
            float angle = (float)p * inv_freq[j]; /* rounded to f32, as the models were trained */
            cos_[p * (D / 2) + j] = (float)(cos((double)angle) * (double)scale);
            sin_[p * (D / 2) + j] = (float)(sin((double)angle) * (double)scale);
        }
}

void kd_rope(float *x, size_t ldx, const int32_t *pos, const float *cos_, const float *sin_, size_t N, size_t heads, size_t D) {
    const kd_ops *k = kd_ops_get();
    for (size_t n = 0; n < N; n++) k->rope(x + n * ldx, cos_ + (size_t)pos[n] * (D / 2), sin_ + (size_t)pos[n] * (D / 2), heads, D, 1.0f);
}

void kd_rope_backward(float *dx, size_t ldx, const int32_t *pos, const float *cos_, const float *sin_, size_t N, size_t heads, size_t D) {
    const kd_ops *k = kd_ops_get();
    for (size_t n = 0; n < N; n++) k->rope(dx + n * ldx, cos_ + (size_t)pos[n] * (D / 2), sin_ + (size_t)pos[n] * (D / 2), heads, D, -1.0f);
}

void kd_swiglu(float *y, const float *g, const float *u, size_t n) { kd_ops_get()->swiglu(y, g, u, n); }

double kd_softmax(float *v, size_t n) { return kd_ops_get()->softmax(v, n); }

double kd_logsumexp(const float *v, size_t n) { return kd_ops_get()->logsumexp(v, n); }

float kd_max_f32(const float *v, size_t n) { return kd_ops_get()->max(v, n); }

double kd_exp_f32(float *out, const float *v, size_t n, float m, float a) { return kd_ops_get()->exp_sum(out, v, n, m, a); }

float kd_dot_f32(const float *a, const float *b, size_t n) { return kd_ops_get()->dot(a, b, n); }

void kd_axpy_f32(float *y, float a, const float *x, size_t n) { kd_ops_get()->axpy(y, a, x, n); }

void kd_kv_put_key(void *keys, int type, size_t at, const float *key, size_t D) {
    const size_t lane = at % KD_KV_LANES, group = at / KD_KV_LANES * KD_KV_LANES;
    assert(D <= KD_ATTEND_MAX_D);
    if (type == KD_F32) {
        float *to = (float *)keys + group * D + lane;
        for (size_t d = 0; d < D; d++) to[d * KD_KV_LANES] = key[d];
    } else if (type == KD_F16) {
        uint16_t row[KD_ATTEND_MAX_D], *to = (uint16_t *)keys + group * D + lane;
        (void)kd_quantize(KD_F16, key, row, D, NULL, NULL); /* halves, and Q8_0 of whole blocks: cannot fail */
        for (size_t d = 0; d < D; d++) to[d * KD_KV_LANES] = row[d];
    } else {
        enum { BLOCK = 34 };
        char row[KD_ATTEND_MAX_D / 32 * BLOCK], *to = (char *)keys + group * (D / 32 * BLOCK);
        (void)kd_quantize(KD_Q8_0, key, row, D, NULL, NULL);
        for (size_t b = 0; b < D / 32; b++, to += BLOCK * KD_KV_LANES) {
            memcpy(to + 2 * lane, row + b * BLOCK, 2);
            for (size_t i = 0; i < 32; i++) to[(2 + i) * KD_KV_LANES + lane] = row[b * BLOCK + 2 + i];
        }
    }
}

size_t kd_attend_block(size_t R) { return R >= KD_ATTEND_VECS ? 1 : KD_ATTEND_VECS / R < 16 ? KD_ATTEND_VECS / R : 16; }

void kd_attend_rows(float *out, size_t ldo, const float *q, size_t ldq, size_t rows, const kd_kv_view *kv, size_t len, size_t g, size_t R,
                    size_t D, float scale) {
    const kd_ops *k = kd_ops_get();
    size_t block = kd_attend_block(R);
    for (size_t n = 0; n < rows; n += block)
        for (size_t r = 0; r < R; r += KD_ATTEND_VECS)
            k->attend(out + n * ldo + r * D, ldo, q + n * ldq + r * D, ldq, rows - n < block ? rows - n : block, kv, len + n, g,
                      R - r < KD_ATTEND_VECS ? R - r : KD_ATTEND_VECS, D, scale);
}

void kd_attend(float *out, const float *q, const kd_kv_view *kv, size_t len, size_t H, size_t G, size_t D, float scale, float *work) {
    size_t R = H / G;
    (void)work;
    for (size_t g = 0; g < G; g++) kd_attend_rows(out + g * R * D, H * D, q + g * R * D, H * D, 1, kv, len, g, R, D, scale);
}
