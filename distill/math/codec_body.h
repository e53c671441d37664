/* distill/math/codec_body.h - one vector body of the codecs, built by codec_avx2.c and codec_avx512.c. Leans on codec_blocks.h.
 * The including file sets the target, KD_OPS (the name of the table) and KD_WIDE (1: 512-bit registers). Bits are those of codec_scalar.c: every
 * product is of a scale and a small integer, and rounds as there; nothing is fused. */
#include "distill/math/codec_blocks.h"

#include <float.h>
#include <immintrin.h>

#define KD_UNROLL _Pragma("GCC unroll 8") /* shifts and masks become constants */

static inline __m128i load16(const void *p) { return _mm_loadu_si128((const __m128i *)p); }
static inline __m256i load32(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
static inline float half_to_float(uint16_t h) { return _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(h))); }
static inline uint16_t float_to_half(float f) {
    return (uint16_t)_mm_extract_epi16(_mm_cvtps_ph(_mm_set_ss(f), _MM_FROUND_TO_NEAREST_INT), 0);
}

/* --- reading: 16 signed bytes become d * q, or d * q + m --- */

#if KD_WIDE
static inline void put16(float *y, __m128i q, float d) {
    _mm512_storeu_ps(y, _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)), _mm512_set1_ps(d)));
}
static inline void put16_off(float *y, __m128i q, float d, float m) {
    __m512 p = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)), _mm512_set1_ps(d));
    _mm512_storeu_ps(y, _mm512_add_ps(p, _mm512_set1_ps(m)));
}
#else
static inline void put16(float *y, __m128i q, float d) {
    __m256 vd = _mm256_set1_ps(d);
    _mm256_storeu_ps(y, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), vd));
    _mm256_storeu_ps(y + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8))), vd));
}
static inline void put16_off(float *y, __m128i q, float d, float m) {
    __m256 vd = _mm256_set1_ps(d), vm = _mm256_set1_ps(m);
    __m256 lo = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)), vd);
    __m256 hi = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_srli_si128(q, 8))), vd);
    _mm256_storeu_ps(y, _mm256_add_ps(lo, vm));
    _mm256_storeu_ps(y + 8, _mm256_add_ps(hi, vm));
}
#endif
static inline void put32(float *y, __m256i q, float d) {
    put16(y, _mm256_castsi256_si128(q), d);
    put16(y + 16, _mm256_extracti128_si256(q, 1), d);
}
static inline void put32_off(float *y, __m256i q, float d, float m) {
    put16_off(y, _mm256_castsi256_si128(q), d, m);
    put16_off(y + 16, _mm256_extracti128_si256(q, 1), d, m);
}

/* 16 bytes of nibbles -> 32 bytes: the low ones, then the high ones. */
static inline __m256i nibbles(const uint8_t *p) {
    __m128i v = load16(p);
    return _mm256_and_si256(_mm256_set_m128i(_mm_srli_epi16(v, 4), v), _mm256_set1_epi8(15));
}
/* Bit j of u -> byte j: 16 where it is set, 0 elsewhere. */
static inline __m256i fifth_bits(uint32_t u) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201ull);
    __m256i v = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32((int)u), spread), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(v, bit), _mm256_set1_epi8(16));
}

static void read_f16(const void *src, float *y, size_t n) {
    const char *p = src;
    size_t i = 0;
#if KD_WIDE
    for (; i + 16 <= n; i += 16) _mm512_storeu_ps(y + i, _mm512_cvtph_ps(load32(p + 2 * i)));
#endif
    for (; i + 8 <= n; i += 8) _mm256_storeu_ps(y + i, _mm256_cvtph_ps(load16(p + 2 * i)));
    if (i < n) kd_codec_scalar.read[KD_F16](p + 2 * i, y + i, n - i);
}
static void read_bf16(const void *src, float *y, size_t n) {
    const char *p = src;
    size_t i = 0;
#if KD_WIDE
    for (; i + 16 <= n; i += 16)
        _mm512_storeu_ps(y + i, _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(load32(p + 2 * i)), 16)));
#endif
    for (; i + 8 <= n; i += 8)
        _mm256_storeu_ps(y + i, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(load16(p + 2 * i)), 16)));
    if (i < n) kd_codec_scalar.read[KD_BF16](p + 2 * i, y + i, n - i);
}
static void read_f64(const void *src, float *y, size_t n) {
    const char *p = src;
    size_t i = 0;
    for (; i + 4 <= n; i += 4) _mm_storeu_ps(y + i, _mm256_cvtpd_ps(_mm256_castsi256_pd(load32(p + 8 * i))));
    if (i < n) kd_codec_scalar.read[KD_F64](p + 8 * i, y + i, n - i);
}
static void read_f8_e4m3(const void *src, float *y, size_t n) {
    const uint8_t *p = src;
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        __m128i q = _mm_cvtepu8_epi16(_mm_loadl_epi64((const __m128i *)(p + i)));
        __m128i a = _mm_and_si128(q, _mm_set1_epi16(0x7f)), sign = _mm_slli_epi16(_mm_and_si128(q, _mm_set1_epi16(0x80)), 8);
        __m128i h = _mm_blendv_epi8(_mm_slli_epi16(a, 7), _mm_set1_epi16(0x7e00), _mm_cmpeq_epi16(a, _mm_set1_epi16(0x7f)));
        _mm256_storeu_ps(y + i, _mm256_mul_ps(_mm256_cvtph_ps(_mm_or_si128(h, sign)), _mm256_set1_ps(256)));
    }
    if (i < n) kd_codec_scalar.read[KD_F8_E4M3](p + i, y + i, n - i);
}

static void read_q4_0(const void *src, float *y, size_t n) {
    const kd_block_q4_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) put32(y, _mm256_sub_epi8(nibbles(b->qs), _mm256_set1_epi8(8)), half_to_float(b->d));
}
static void read_q4_1(const void *src, float *y, size_t n) {
    const kd_block_q4_1 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) put32_off(y, nibbles(b->qs), half_to_float(b->d), half_to_float(b->m));
}
static void read_q5_0(const void *src, float *y, size_t n) {
    const kd_block_q5_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32)
        put32(y, _mm256_sub_epi8(_mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), _mm256_set1_epi8(16)), half_to_float(b->d));
}
static void read_q5_1(const void *src, float *y, size_t n) {
    const kd_block_q5_1 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32)
        put32_off(y, _mm256_or_si256(nibbles(b->qs), fifth_bits(b->qh)), half_to_float(b->d), half_to_float(b->m));
}
static void read_q8_0(const void *src, float *y, size_t n) {
    const kd_block_q8_0 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) put32(y, load32(b->qs), half_to_float(b->d));
}
static inline void read_book(const uint8_t *qs, const int8_t *book, float d, float *y) {
    put32(y, _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load16(book)), nibbles(qs)), d);
}
static void read_iq4_nl(const void *src, float *y, size_t n) {
    const kd_block_iq4_nl *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) read_book(b->qs, kd_iq4_values, half_to_float(b->d), y);
}
static void read_mxfp4(const void *src, float *y, size_t n) {
    const kd_block_mxfp4 *b = src;
    for (size_t i = 0; i < n / 32; i++, b++, y += 32) read_book(b->qs, kd_mxfp4_values, kd_e8m0_half(b->e), y);
}
static void read_iq4_xs(const void *src, float *y, size_t n) {
    const kd_block_iq4_xs *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d);
        int8_t sc[8];
        kd_unpack_scales_iq4_xs(b, sc);
        KD_UNROLL
        for (int g = 0; g < 8; g++, y += 32) read_book(b->qs + 16 * g, kd_iq4_values, d * (float)sc[g], y);
    }
}

/* Byte j: its two bits from bit shift on. */
static inline __m256i two_bits(__m256i v, int shift) {
    return _mm256_and_si256(_mm256_srl_epi16(v, _mm_cvtsi32_si128(shift)), _mm256_set1_epi8(3));
}
static void read_q2_k(const void *src, float *y, size_t n) {
    const kd_block_q2_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        KD_UNROLL
        for (int g = 0; g < 16; g += 2, y += 32) {
            __m256i q = two_bits(load32(b->qs + 32 * (g / 8)), g % 8);
            uint8_t s0 = b->scales[g], s1 = b->scales[g + 1];
            put16_off(y, _mm256_castsi256_si128(q), d * (float)(s0 & 15), -(dmin * (float)(s0 >> 4)));
            put16_off(y + 16, _mm256_extracti128_si256(q, 1), d * (float)(s1 & 15), -(dmin * (float)(s1 >> 4)));
        }
    }
}
static void read_q3_k(const void *src, float *y, size_t n) {
    const kd_block_q3_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d);
        __m256i h = load32(b->hmask);
        int8_t sc[16];
        kd_unpack_scales_q3(b->scales, sc);
        KD_UNROLL
        for (int g = 0; g < 16; g += 2, y += 32) {
            __m256i unset = _mm256_cmpeq_epi8(_mm256_and_si256(h, _mm256_set1_epi8((char)(1 << g / 2))), _mm256_setzero_si256());
            __m256i q = two_bits(load32(b->qs + 32 * (g / 8)), g % 8);
            q = _mm256_sub_epi8(q, _mm256_and_si256(unset, _mm256_set1_epi8(4)));
            put16(y, _mm256_castsi256_si128(q), d * (float)sc[g]);
            put16(y + 16, _mm256_extracti128_si256(q, 1), d * (float)sc[g + 1]);
        }
    }
}
static inline __m256i low_or_high(const uint8_t *p, int high) {
    return _mm256_and_si256(_mm256_srl_epi16(load32(p), _mm_cvtsi32_si128(4 * high)), _mm256_set1_epi8(15));
}
static void read_q4_k(const void *src, float *y, size_t n) {
    const kd_block_q4_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        uint8_t sc[8], mn[8];
        kd_unpack_scales_k4(b->scales, sc, mn);
        KD_UNROLL
        for (int g = 0; g < 8; g++, y += 32)
            put32_off(y, low_or_high(b->qs + 32 * (g / 2), g % 2), d * (float)sc[g], -(dmin * (float)mn[g]));
    }
}
static void read_q5_k(const void *src, float *y, size_t n) {
    const kd_block_q5_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d), dmin = half_to_float(b->dmin);
        __m256i h = load32(b->qh);
        uint8_t sc[8], mn[8];
        kd_unpack_scales_k4(b->scales, sc, mn);
        KD_UNROLL
        for (int g = 0; g < 8; g++, y += 32) {
            __m256i bit = _mm256_set1_epi8((char)(1 << g));
            __m256i five = _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(h, bit), bit), _mm256_set1_epi8(16));
            put32_off(y, _mm256_or_si256(low_or_high(b->qs + 32 * (g / 2), g % 2), five), d * (float)sc[g], -(dmin * (float)mn[g]));
        }
    }
}
static void read_q6_k(const void *src, float *y, size_t n) {
    const kd_block_q6_k *b = src;
    for (size_t i = 0; i < n / 256; i++, b++) {
        float d = half_to_float(b->d);
        KD_UNROLL
        for (int g = 0; g < 16; g += 2, y += 32) {
            int s = g / 2 % 4;
            __m256i low = low_or_high(b->ql + 64 * (g / 8) + 32 * (s % 2), s / 2);
            __m256i high = _mm256_slli_epi16(two_bits(load32(b->qh + 32 * (g / 8)), 2 * s), 4);
            __m256i q = _mm256_sub_epi8(_mm256_or_si256(low, high), _mm256_set1_epi8(32));
            put16(y, _mm256_castsi256_si128(q), d * (float)b->scales[g]);
            put16(y + 16, _mm256_extracti128_si256(q, 1), d * (float)b->scales[g + 1]);
        }
    }
}

/* --- writing --- */

static void write_f16(const float *x, void *dst, size_t n) {
    char *p = dst;
    size_t i = 0;
#if KD_WIDE
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(p + 2 * i), _mm512_cvtps_ph(_mm512_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
#endif
    for (; i + 8 <= n; i += 8) _mm_storeu_si128((__m128i *)(p + 2 * i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
    if (i < n) kd_codec_scalar.write[KD_F16](x + i, p + 2 * i, n - i);
}
/* Eight bf16 values in the low half of each 32-bit lane. */
static inline __m256i bf16_lanes(const float *x) {
    __m256i u = load32(x), up = _mm256_srli_epi32(u, 16), one = _mm256_set1_epi32(1);
    __m256i r = _mm256_add_epi32(u, _mm256_add_epi32(_mm256_set1_epi32(0x7fff), _mm256_and_si256(up, one)));
    __m256i nan = _mm256_cmpgt_epi32(_mm256_and_si256(u, _mm256_set1_epi32(0x7fffffff)), _mm256_set1_epi32(0x7f800000));
    return _mm256_blendv_epi8(_mm256_srli_epi32(r, 16), _mm256_or_si256(up, _mm256_set1_epi32(64)), nan);
}
static void write_bf16(const float *x, void *dst, size_t n) {
    char *p = dst;
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        __m256i v = _mm256_packus_epi32(bf16_lanes(x + i), bf16_lanes(x + i + 8));
        _mm256_storeu_si256((__m256i *)(p + 2 * i), _mm256_permute4x64_epi64(v, 0xd8));
    }
    if (i < n) kd_codec_scalar.write[KD_BF16](x + i, p + 2 * i, n - i);
}

/* A block of 32 in four registers. */
typedef struct {
    __m256 v[4];
} block;
static inline block load_block(const float *x) {
    return (block){{_mm256_loadu_ps(x), _mm256_loadu_ps(x + 8), _mm256_loadu_ps(x + 16), _mm256_loadu_ps(x + 24)}};
}
static inline __m256 magnitude(__m256 v) { return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), v); }
static inline float lane_max(__m256 v) {
    __m128 m = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_max_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_max_ss(m, _mm_shuffle_ps(m, m, 1)));
}
static inline float lane_min(__m256 v) {
    __m128 m = _mm_min_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    m = _mm_min_ps(m, _mm_movehl_ps(m, m));
    return _mm_cvtss_f32(_mm_min_ss(m, _mm_shuffle_ps(m, m, 1)));
}
/* The largest magnitude; a NaN counts as nothing (the instruction hands on its second operand). */
static inline float amax_of(const block *b) {
    __m256 m = _mm256_setzero_ps();
    KD_UNROLL
    for (int i = 0; i < 4; i++) m = _mm256_max_ps(magnitude(b->v[i]), m);
    return lane_max(m);
}
/* The first value whose comparison key (magnitude or itself) equals it; otherwise, if there is none. */
static inline float first_equal(const float *x, const block *b, float key, int by_magnitude, float otherwise) {
    uint32_t hits = 0;
    KD_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256 v = by_magnitude ? magnitude(b->v[i]) : b->v[i];
        hits |= (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(v, _mm256_set1_ps(key), _CMP_EQ_OQ)) << 8 * i;
    }
    return hits ? x[__builtin_ctz(hits)] : otherwise;
}
static inline float extreme(const float *x, const block *b) {
    float amax = amax_of(b);
    return amax > 0 ? first_equal(x, b, amax, 1, 0) : 0;
}
static inline void range(const float *x, const block *b, float *lo, float *hi) {
    __m256 l = _mm256_set1_ps(FLT_MAX), h = _mm256_set1_ps(-FLT_MAX);
    KD_UNROLL
    for (int i = 0; i < 4; i++) {
        l = _mm256_min_ps(b->v[i], l);
        h = _mm256_max_ps(b->v[i], h);
    }
    *lo = lane_min(l); /* of zeros of both signs the first counts */
    *hi = lane_max(h);
    *lo = first_equal(x, b, *lo, 0, *lo);
    *hi = first_equal(x, b, *hi, 0, *hi);
}
static inline float inverse(float d) { return d != 0 ? 1.0f / d : 0.0f; }
/* The low bytes of 32 integers, in order. */
static inline __m256i low_bytes(__m256i a, __m256i b, __m256i c, __m256i d) {
    const __m256i byte = _mm256_set1_epi32(255);
    __m256i ab = _mm256_packus_epi32(_mm256_and_si256(a, byte), _mm256_and_si256(b, byte));
    __m256i cd = _mm256_packus_epi32(_mm256_and_si256(c, byte), _mm256_and_si256(d, byte));
    return _mm256_permutevar8x32_epi32(_mm256_packus_epi16(ab, cd), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
}
/* Codes: the low byte of trunc((x - sub) * id + add), at most top. */
static inline __m256i codes(const block *b, float sub, float id, float add, int top) {
    __m256i q[4];
    KD_UNROLL
    for (int i = 0; i < 4; i++) {
        __m256 t = _mm256_mul_ps(_mm256_sub_ps(b->v[i], _mm256_set1_ps(sub)), _mm256_set1_ps(id));
        q[i] = _mm256_cvttps_epi32(_mm256_add_ps(t, _mm256_set1_ps(add)));
    }
    return _mm256_min_epu8(low_bytes(q[0], q[1], q[2], q[3]), _mm256_set1_epi8((char)top));
}
static inline void store_nibbles(uint8_t *qs, __m256i q) {
    __m128i lo = _mm256_castsi256_si128(q), hi = _mm256_extracti128_si256(q, 1), four = _mm_set1_epi8(15);
    _mm_storeu_si128((__m128i *)qs, _mm_or_si128(_mm_and_si128(lo, four), _mm_slli_epi16(_mm_and_si128(hi, four), 4)));
}
static inline uint32_t fifth(__m256i q) { return (uint32_t)_mm256_movemask_epi8(_mm256_slli_epi16(q, 3)); /* bit 4 to bit 7 */ }

static void write_q4_0(const float *x, void *dst, size_t n) {
    kd_block_q4_0 *o = dst;
    for (size_t i = 0; i < n / 32; i++, o++, x += 32) {
        block b = load_block(x);
        float d = extreme(x, &b) / -8;
        o->d = float_to_half(d);
        store_nibbles(o->qs, codes(&b, 0, inverse(d), 8.5f, 15));
    }
}
static void write_q4_1(const float *x, void *dst, size_t n) {
    kd_block_q4_1 *o = dst;
    for (size_t i = 0; i < n / 32; i++, o++, x += 32) {
        block b = load_block(x);
        float lo, hi;
        range(x, &b, &lo, &hi);
        float d = (hi - lo) / 15;
        o->d = float_to_half(d);
        o->m = float_to_half(lo);
        store_nibbles(o->qs, codes(&b, lo, inverse(d), 0.5f, 15));
    }
}
static void write_q5_0(const float *x, void *dst, size_t n) {
    kd_block_q5_0 *o = dst;
    for (size_t i = 0; i < n / 32; i++, o++, x += 32) {
        block b = load_block(x);
        float d = extreme(x, &b) / -16;
        o->d = float_to_half(d);
        __m256i q = codes(&b, 0, inverse(d), 16.5f, 31);
        o->qh = fifth(q);
        store_nibbles(o->qs, q);
    }
}
static void write_q5_1(const float *x, void *dst, size_t n) {
    kd_block_q5_1 *o = dst;
    for (size_t i = 0; i < n / 32; i++, o++, x += 32) {
        block b = load_block(x);
        float lo, hi;
        range(x, &b, &lo, &hi);
        float d = (hi - lo) / 31;
        o->d = float_to_half(d);
        o->m = float_to_half(lo);
        __m256i q = codes(&b, lo, inverse(d), 0.5f, 255);
        o->qh = fifth(q);
        store_nibbles(o->qs, q);
    }
}
/* To the nearest integer, halves away from zero: adding the float below 1/2 (towards the sign) carries halves up, as the sum itself rounds,
 * and nothing smaller. */
static inline __m256i round_away(__m256 v) {
    __m256 half = _mm256_or_ps(_mm256_and_ps(v, _mm256_set1_ps(-0.0f)), _mm256_set1_ps(0x1.fffffep-2f));
    return _mm256_cvttps_epi32(_mm256_add_ps(v, half));
}
static void write_q8_0(const float *x, void *dst, size_t n) {
    kd_block_q8_0 *o = dst;
    for (size_t i = 0; i < n / 32; i++, o++, x += 32) {
        block b = load_block(x);
        __m256i q[4];
        float d = amax_of(&b) / 127, id = inverse(d);
        o->d = float_to_half(d);
        KD_UNROLL
        for (int k = 0; k < 4; k++) q[k] = round_away(_mm256_mul_ps(b.v[k], _mm256_set1_ps(id)));
        _mm256_storeu_si256((__m256i *)o->qs, low_bytes(q[0], q[1], q[2], q[3]));
    }
}

static bool all_finite(const float *v, size_t n) {
    const __m256i e = _mm256_set1_epi32(0x7f800000);
    size_t i = 0;
    for (; i + 32 <= n; i += 32) {
        __m256i bad = _mm256_setzero_si256();
        KD_UNROLL
        for (size_t k = 0; k < 32; k += 8) bad = _mm256_or_si256(bad, _mm256_cmpeq_epi32(_mm256_and_si256(load32(v + i + k), e), e));
        if (!_mm256_testz_si256(bad, bad)) return false;
    }
    return kd_codec_scalar.all_finite(v + i, n - i);
}

const kd_codec_ops KD_OPS = {
    .read = {[KD_F16] = read_f16,
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
    .write = {[KD_F16] = write_f16,
              [KD_BF16] = write_bf16,
              [KD_Q4_0] = write_q4_0,
              [KD_Q4_1] = write_q4_1,
              [KD_Q5_0] = write_q5_0,
              [KD_Q5_1] = write_q5_1,
              [KD_Q8_0] = write_q8_0},
    .all_finite = all_finite,
};
