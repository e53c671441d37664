/* distill/math/codec_scalar.c - the reference bodies of the codecs, in plain C. Leans on codec_blocks.h.
 * Reading is exact: a scale times a small integer fits float32, so the one rounding is that of the final sum where there is an offset.
 * Writing follows ggml's reference formulas; casts from float are those of x86 (out of range gives the lowest integer, of which the low
 * byte counts), so that blocks whose scale underflows get ggml's bytes too. */
#include "distill/math/codec_blocks.h"

#include <float.h>
#include <math.h>

static void read_f32(const void *src, float *y, size_t n) { memcpy(y, src, n * sizeof *y); }
static uint16_t u16_at(const void *p, size_t i) {
    uint16_t v;
    memcpy(&v, (const char *)p + 2 * i, sizeof v);
    return v;
}
static void read_f16(const void *src, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = kd_f16_to_f32(u16_at(src, i));
}
static void read_bf16(const void *src, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = kd_bf16_to_f32(u16_at(src, i));
}
static void read_f64(const void *src, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) {
        double v;
        memcpy(&v, (const char *)src + 8 * i, sizeof v);
        y[i] = (float)v;
    }
}
/* e4m3 without infinities: moved up by 7 bits it is an f16 whose exponent is 8 too small; the all-ones pattern is NaN. */
static void read_f8_e4m3(const void *src, float *y, size_t n) {
    const uint8_t *q = src;
    for (size_t i = 0; i < n; i++) {
        unsigned sign = (unsigned)(q[i] & 0x80) << 8, a = q[i] & 0x7f;
        y[i] = kd_f16_to_f32((uint16_t)(sign | (a == 0x7f ? 0x7e00 : a << 7))) * 256.0f;
    }
}

static void read_q4_0(const void *src, float *y, size_t n) {
    const kd_block_q4_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) {
        float d = kd_f16_to_f32(b->d);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15) - 8) * d;
            y[j + 16] = (float)((b->qs[j] >> 4) - 8) * d;
        }
    }
}
static void read_q4_1(const void *src, float *y, size_t n) {
    const kd_block_q4_1 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) {
        float d = kd_f16_to_f32(b->d), m = kd_f16_to_f32(b->m);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)(b->qs[j] & 15) * d + m;
            y[j + 16] = (float)(b->qs[j] >> 4) * d + m;
        }
    }
}
static void read_q5_0(const void *src, float *y, size_t n) {
    const kd_block_q5_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) {
        float d = kd_f16_to_f32(b->d);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)((int)((b->qs[j] & 15u) | (b->qh >> j & 1) << 4) - 16) * d;
            y[j + 16] = (float)((int)((b->qs[j] >> 4) | (b->qh >> (j + 16) & 1) << 4) - 16) * d;
        }
    }
}
static void read_q5_1(const void *src, float *y, size_t n) {
    const kd_block_q5_1 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) {
        float d = kd_f16_to_f32(b->d), m = kd_f16_to_f32(b->m);
        for (int j = 0; j < 16; j++) {
            y[j] = (float)((b->qs[j] & 15u) | (b->qh >> j & 1) << 4) * d + m;
            y[j + 16] = (float)((b->qs[j] >> 4) | (b->qh >> (j + 16) & 1) << 4) * d + m;
        }
    }
}
static void read_q8_0(const void *src, float *y, size_t n) {
    const kd_block_q8_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) {
        float d = kd_f16_to_f32(b->d);
        for (int j = 0; j < 32; j++) y[j] = (float)b->qs[j] * d;
    }
}
/* 32 values of a 4-bit code book. */
static void read_book(const uint8_t qs[16], const int8_t book[16], float d, float *y) {
    for (int j = 0; j < 16; j++) {
        y[j] = d * (float)book[qs[j] & 15];
        y[j + 16] = d * (float)book[qs[j] >> 4];
    }
}
static void read_iq4_nl(const void *src, float *y, size_t n) {
    const kd_block_iq4_nl *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) read_book(b->qs, kd_iq4_values, kd_f16_to_f32(b->d), y);
}
static void read_mxfp4(const void *src, float *y, size_t n) {
    const kd_block_mxfp4 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) read_book(b->qs, kd_mxfp4_values, kd_e8m0_half(b->e), y);
}
static void read_iq4_xs(const void *src, float *y, size_t n) {
    const kd_block_iq4_xs *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d);
        int8_t sc[8];
        kd_unpack_scales_iq4_xs(b, sc);
        for (int g = 0; g < 8; g++, y += 32) read_book(b->qs + 16 * g, kd_iq4_values, d * (float)sc[g], y);
    }
}

static void read_q2_k(const void *src, float *y, size_t n) {
    const kd_block_q2_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d), dmin = kd_f16_to_f32(b->dmin);
        for (int g = 0; g < 16; g++, y += 16) {
            float dl = d * (float)(b->scales[g] & 15), ml = dmin * (float)(b->scales[g] >> 4);
            const uint8_t *q = b->qs + 32 * (g / 8) + 16 * (g % 2);
            for (int l = 0; l < 16; l++) y[l] = dl * (float)(q[l] >> 2 * (g / 2 % 4) & 3) - ml;
        }
    }
}
static void read_q3_k(const void *src, float *y, size_t n) {
    const kd_block_q3_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d);
        int8_t sc[16];
        kd_unpack_scales_q3(b->scales, sc);
        for (int g = 0; g < 16; g++, y += 16) {
            float dl = d * (float)sc[g];
            const uint8_t *q = b->qs + 32 * (g / 8) + 16 * (g % 2), *h = b->hmask + 16 * (g % 2);
            for (int l = 0; l < 16; l++) y[l] = dl * (float)((q[l] >> 2 * (g / 2 % 4) & 3) - (h[l] >> g / 2 & 1 ? 0 : 4));
        }
    }
}
static void read_q4_k(const void *src, float *y, size_t n) {
    const kd_block_q4_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d), dmin = kd_f16_to_f32(b->dmin);
        uint8_t sc[8], mn[8];
        kd_unpack_scales_k4(b->scales, sc, mn);
        for (int g = 0; g < 8; g++, y += 32) {
            float dl = d * (float)sc[g], ml = dmin * (float)mn[g];
            for (int l = 0; l < 32; l++) y[l] = dl * (float)(b->qs[32 * (g / 2) + l] >> 4 * (g % 2) & 15) - ml;
        }
    }
}
static void read_q5_k(const void *src, float *y, size_t n) {
    const kd_block_q5_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d), dmin = kd_f16_to_f32(b->dmin);
        uint8_t sc[8], mn[8];
        kd_unpack_scales_k4(b->scales, sc, mn);
        for (int g = 0; g < 8; g++, y += 32) {
            float dl = d * (float)sc[g], ml = dmin * (float)mn[g];
            for (int l = 0; l < 32; l++) y[l] = dl * (float)((b->qs[32 * (g / 2) + l] >> 4 * (g % 2) & 15) | (b->qh[l] >> g & 1) << 4) - ml;
        }
    }
}
static void read_q6_k(const void *src, float *y, size_t n) {
    const kd_block_q6_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = kd_f16_to_f32(b->d);
        for (int g = 0; g < 16; g++, y += 16) { /* halves of 128: groups 0-7 of 16; ql bytes 32*(g/2%2).., high nibble from 64 on */
            float dl = d * (float)b->scales[g];
            int s = g / 2 % 4;
            const uint8_t *ql = b->ql + 64 * (g / 8) + 32 * (s % 2) + 16 * (g % 2), *qh = b->qh + 32 * (g / 8) + 16 * (g % 2);
            for (int l = 0; l < 16; l++) y[l] = dl * (float)(((ql[l] >> 4 * (s / 2) & 15) | (qh[l] >> 2 * s & 3) << 4) - 32);
        }
    }
}

/* --- writing --- */

static void write_f32(const float *x, void *dst, size_t n) { memcpy(dst, x, n * sizeof *x); }
static void write_f16(const float *x, void *dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h = kd_f32_to_f16(x[i]);
        memcpy((char *)dst + 2 * i, &h, sizeof h);
    }
}
static void write_bf16(const float *x, void *dst, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint16_t h = kd_f32_to_bf16(x[i]);
        memcpy((char *)dst + 2 * i, &h, sizeof h);
    }
}

static uint8_t trunc_byte(float f) {
    int32_t i = f > -0x1p31f && f < 0x1p31f ? (int32_t)f : INT32_MIN;
    return (uint8_t)((uint32_t)i & 255);
}
/* The value of largest magnitude, the first of equals; 0 if there is none. */
static float extreme(const float *x) {
    float amax = 0, max = 0;
    for (int j = 0; j < 32; j++) {
        if (amax < fabsf(x[j])) {
            amax = fabsf(x[j]);
            max = x[j];
        }
    }
    return max;
}
static void range(const float *x, float *lo, float *hi) {
    *lo = FLT_MAX;
    *hi = -FLT_MAX;
    for (int j = 0; j < 32; j++) {
        if (x[j] < *lo) *lo = x[j];
        if (x[j] > *hi) *hi = x[j];
    }
}
static float inverse(float d) { return d != 0 ? 1.0f / d : 0.0f; }

static void write_q4_0(const float *x, void *dst, size_t n) {
    kd_block_q4_0 *b = dst;
    for (size_t i = 0; i < n / 32; i++, b++, x += 32) {
        float d = extreme(x) / -8, id = inverse(d);
        b->d = kd_f32_to_f16(d);
        for (int j = 0; j < 16; j++) {
            unsigned q0 = trunc_byte(x[j] * id + 8.5f), q1 = trunc_byte(x[j + 16] * id + 8.5f);
            b->qs[j] = (uint8_t)((q0 < 15 ? q0 : 15) | (q1 < 15 ? q1 : 15) << 4);
        }
    }
}
static void write_q4_1(const float *x, void *dst, size_t n) {
    kd_block_q4_1 *b = dst;
    for (size_t i = 0; i < n / 32; i++, b++, x += 32) {
        float lo, hi;
        range(x, &lo, &hi);
        float d = (hi - lo) / 15, id = inverse(d);
        b->d = kd_f32_to_f16(d);
        b->m = kd_f32_to_f16(lo);
        for (int j = 0; j < 16; j++) {
            unsigned q0 = trunc_byte((x[j] - lo) * id + 0.5f), q1 = trunc_byte((x[j + 16] - lo) * id + 0.5f);
            b->qs[j] = (uint8_t)((q0 < 15 ? q0 : 15) | (q1 < 15 ? q1 : 15) << 4);
        }
    }
}
/* Low nibbles and fifth bits of 32 codes. */
static void put_5bit(const uint8_t q[32], uint32_t *qh, uint8_t qs[16]) {
    uint32_t h = 0;
    for (int j = 0; j < 16; j++) {
        qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
        h |= (uint32_t)(q[j] >> 4 & 1) << j | (uint32_t)(q[j + 16] >> 4 & 1) << (j + 16);
    }
    *qh = h;
}
static void write_q5_0(const float *x, void *dst, size_t n) {
    kd_block_q5_0 *b = dst;
    for (size_t i = 0; i < n / 32; i++, b++, x += 32) {
        float d = extreme(x) / -16, id = inverse(d);
        uint8_t q[32];
        uint32_t qh;
        b->d = kd_f32_to_f16(d);
        for (int j = 0; j < 32; j++) {
            q[j] = trunc_byte(x[j] * id + 16.5f);
            q[j] = q[j] < 31 ? q[j] : 31;
        }
        put_5bit(q, &qh, b->qs);
        b->qh = qh;
    }
}
static void write_q5_1(const float *x, void *dst, size_t n) {
    kd_block_q5_1 *b = dst;
    for (size_t i = 0; i < n / 32; i++, b++, x += 32) {
        float lo, hi;
        range(x, &lo, &hi);
        float d = (hi - lo) / 31, id = inverse(d);
        uint8_t q[32];
        uint32_t qh;
        b->d = kd_f32_to_f16(d);
        b->m = kd_f32_to_f16(lo);
        for (int j = 0; j < 32; j++) q[j] = trunc_byte((x[j] - lo) * id + 0.5f);
        put_5bit(q, &qh, b->qs);
        b->qh = qh;
    }
}
static void write_q8_0(const float *x, void *dst, size_t n) {
    kd_block_q8_0 *b = dst;
    for (size_t i = 0; i < n / 32; i++, b++, x += 32) {
        float d = fabsf(extreme(x)) / 127, id = inverse(d);
        b->d = kd_f32_to_f16(d);
        for (int j = 0; j < 32; j++) b->qs[j] = (int8_t)trunc_byte(roundf(x[j] * id));
    }
}

static bool all_finite(const float *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, v + i, sizeof u);
        if ((u & 0x7f800000) == 0x7f800000) return false;
    }
    return true;
}

const kd_codec_ops kd_codec_scalar = {
    .read = {[KD_F32] = read_f32,
             [KD_F16] = read_f16,
             [KD_BF16] = read_bf16,
             [KD_F64] = read_f64,
             [KD_F8_E4M3] = read_f8_e4m3,
             [KD_Q4_0] = read_q4_0,
             [KD_Q4_1] = read_q4_1,
             [KD_Q5_0] = read_q5_0,
             [KD_Q5_1] = read_q5_1,
             [KD_Q8_0] = read_q8_0,
             [KD_Q2_K] = read_q2_k,
             [KD_Q3_K] = read_q3_k,
             [KD_Q4_K] = read_q4_k,
             [KD_Q5_K] = read_q5_k,
             [KD_Q6_K] = read_q6_k,
             [KD_IQ4_NL] = read_iq4_nl,
             [KD_IQ4_XS] = read_iq4_xs,
             [KD_MXFP4] = read_mxfp4},
    .write = {[KD_F32] = write_f32,
              [KD_F16] = write_f16,
              [KD_BF16] = write_bf16,
              [KD_Q4_0] = write_q4_0,
              [KD_Q4_1] = write_q4_1,
              [KD_Q5_0] = write_q5_0,
              [KD_Q5_1] = write_q5_1,
              [KD_Q8_0] = write_q8_0},
    .all_finite = all_finite,
};
