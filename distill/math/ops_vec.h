/* distill/math/ops_vec.h - one vocabulary of float vectors, built for the instruction set that KD_ISA names (4: four floats of whatever the
 * compiler has, 256: AVX2 with FMA and F16C, 512: AVX-512 F BW VL DQ). A file that includes it defines KD_ISA first and is compiled whole for
 * that set; nothing but its table of kernels leaves it. Leans on the compiler's intrinsics, and on codec.h for halves without F16C. */
#ifndef KD_MATH_OPS_VEC_H
#define KD_MATH_OPS_VEC_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KD_INLINE static inline __attribute__((always_inline, unused))

#if KD_ISA == 256 || KD_ISA == 512
#include <immintrin.h>
#ifndef KD_ISA_MORE /* instructions beyond the level, begun with a comma: ",avx512vnni" */
#define KD_ISA_MORE ""
#endif
#define KD_PRAGMA(x) _Pragma(#x)
#define KD_PRAGMA_OF(x) KD_PRAGMA(x)
#if !defined(__clang__) /* clang does not let a header open a region: for it the Makefile compiles the file with -m flags */
#pragma GCC push_options
#if KD_ISA == 512
KD_PRAGMA_OF(GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx2,fma,f16c,prefer-vector-width=512" KD_ISA_MORE))
#else
KD_PRAGMA_OF(GCC target("avx2,fma,f16c" KD_ISA_MORE))
#endif
#endif
#endif

/* Loops over registers are unrolled; not under sanitizers, whose checks in every copy take minutes to compile. */
#define KD_PRAGMA_TEXT(x) _Pragma(#x)
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || defined(KD_NO_UNROLL)
#define KD_UNROLL(n)
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer) || __has_feature(undefined_behavior_sanitizer)
#define KD_UNROLL(n)
#endif
#endif
#ifndef KD_UNROLL
#define KD_UNROLL(n) KD_PRAGMA_TEXT(GCC unroll n)
#endif

/* v_load_n and v_store_n touch the first n < VW lanes only; the others read as zero. */
#if KD_ISA == 512
#define VW 16
typedef __m512 vf;
KD_INLINE vf v_zero(void) { return _mm512_setzero_ps(); }
KD_INLINE vf v_set(float a) { return _mm512_set1_ps(a); }
KD_INLINE vf v_load(const void *p) { return _mm512_loadu_ps(p); }
KD_INLINE void v_store(void *p, vf a) { _mm512_storeu_ps(p, a); }
KD_INLINE vf v_load_n(const void *p, size_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
KD_INLINE void v_store_n(void *p, vf a, size_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), a); }
KD_INLINE vf v_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
KD_INLINE vf v_max(vf a, vf b) { return _mm512_max_ps(a, b); } /* b where either is NaN */
KD_INLINE vf v_min(vf a, vf b) { return _mm512_min_ps(a, b); }
KD_INLINE vf v_half(const void *p) { return _mm512_cvtph_ps(_mm256_loadu_si256(p)); }
KD_INLINE vf v_i8(const void *p) { return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(p))); }
KD_INLINE vf v_round(vf a) { return _mm512_roundscale_ps(a, 0x08); }
KD_INLINE vf v_scale2(vf a, vf n) { return _mm512_scalef_ps(a, n); } /* a * 2^n, n whole */
/* Lanes 0..7 and 8..15 summed in double. */
KD_INLINE double v_sum_double(vf a) {
    __m512d s = _mm512_add_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1)));
    __m256d t = _mm256_add_pd(_mm512_castpd512_pd256(s), _mm512_extractf64x4_pd(s, 1));
    __m128d u = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
    return _mm_cvtsd_f64(u) + _mm_cvtsd_f64(_mm_unpackhi_pd(u, u));
}
KD_INLINE __m256 v_fold(vf a) { return _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1)); }
#elif KD_ISA == 256
#define VW 8
typedef __m256 vf;
KD_INLINE vf v_zero(void) { return _mm256_setzero_ps(); }
KD_INLINE vf v_set(float a) { return _mm256_set1_ps(a); }
KD_INLINE vf v_load(const void *p) { return _mm256_loadu_ps(p); }
KD_INLINE void v_store(void *p, vf a) { _mm256_storeu_ps(p, a); }
static const int32_t v_mask_table[16] = {-1, -1, -1, -1, -1, -1, -1, -1, 0, 0, 0, 0, 0, 0, 0, 0};
KD_INLINE __m256i v_mask(size_t n) { return _mm256_loadu_si256((const void *)(v_mask_table + 8 - n)); }
KD_INLINE vf v_load_n(const void *p, size_t n) { return _mm256_maskload_ps(p, v_mask(n)); }
KD_INLINE void v_store_n(void *p, vf a, size_t n) { _mm256_maskstore_ps(p, v_mask(n), a); }
KD_INLINE vf v_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
KD_INLINE vf v_max(vf a, vf b) { return _mm256_max_ps(a, b); }
KD_INLINE vf v_min(vf a, vf b) { return _mm256_min_ps(a, b); }
KD_INLINE vf v_half(const void *p) { return _mm256_cvtph_ps(_mm_loadu_si128(p)); }
KD_INLINE vf v_i8(const void *p) { return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(p))); }
KD_INLINE vf v_round(vf a) { return _mm256_round_ps(a, 0x08); }
KD_INLINE vf v_pow2(vf n) {
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23));
}
KD_INLINE vf v_scale2(vf a, vf n) { /* in two steps, so that results below the normal range are right too */
    vf h = _mm256_round_ps(_mm256_mul_ps(n, _mm256_set1_ps(0.5f)), 0x09);
    return _mm256_mul_ps(_mm256_mul_ps(a, v_pow2(h)), v_pow2(_mm256_sub_ps(n, h)));
}
KD_INLINE double v_sum_double(vf a) {
    __m256d t = _mm256_add_pd(_mm256_cvtps_pd(_mm256_castps256_ps128(a)), _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1)));
    __m128d u = _mm_add_pd(_mm256_castpd256_pd128(t), _mm256_extractf128_pd(t, 1));
    return _mm_cvtsd_f64(u) + _mm_cvtsd_f64(_mm_unpackhi_pd(u, u));
}
KD_INLINE __m256 v_fold(vf a) { return a; }
#else
#include "distill/math/codec.h"
#define VW 4
typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi4 __attribute__((vector_size(16)));
KD_INLINE vf v_set(float a) { return (vf){a, a, a, a}; }
KD_INLINE vf v_zero(void) { return v_set(0); }
KD_INLINE vf v_load(const void *p) {
    vf a;
    memcpy(&a, p, sizeof a);
    return a;
}
KD_INLINE void v_store(void *p, vf a) { memcpy(p, &a, sizeof a); }
KD_INLINE vf v_load_n(const void *p, size_t n) {
    float t[4] = {0, 0, 0, 0};
    memcpy(t, p, n * sizeof *t);
    return v_load(t);
}
KD_INLINE void v_store_n(void *p, vf a, size_t n) { memcpy(p, &a, n * sizeof(float)); }
KD_INLINE vf v_fma(vf a, vf b, vf c) { return a * b + c; }
KD_INLINE vf v_pick(vi4 m, vf a, vf b) { return (vf)(((vi4)a & m) | ((vi4)b & ~m)); }
KD_INLINE vf v_max(vf a, vf b) { return v_pick(a > b, a, b); }
KD_INLINE vf v_min(vf a, vf b) { return v_pick(a < b, a, b); }
KD_INLINE vf v_half(const void *p) {
    uint16_t h[4];
    memcpy(h, p, sizeof h);
    return (vf){kd_f16_to_f32(h[0]), kd_f16_to_f32(h[1]), kd_f16_to_f32(h[2]), kd_f16_to_f32(h[3])};
}
KD_INLINE vf v_i8(const void *p) {
    const int8_t *q = p;
    return (vf){(float)q[0], (float)q[1], (float)q[2], (float)q[3]};
}
KD_INLINE vf v_round(vf a) { return (vf){rintf(a[0]), rintf(a[1]), rintf(a[2]), rintf(a[3])}; }
KD_INLINE vf v_pow2(vf n) {
    vi4 i = {(int32_t)n[0], (int32_t)n[1], (int32_t)n[2], (int32_t)n[3]};
    i = i + 127;
    return (vf)((vi4)((i << 23) & 0x7fffffff));
}
KD_INLINE vf v_scale2(vf a, vf n) {
    vf h = v_round(n * v_set(0.5f));
    return a * v_pow2(h) * v_pow2(n - h);
}
KD_INLINE double v_sum_double(vf a) { return ((double)a[0] + (double)a[2]) + ((double)a[1] + (double)a[3]); }
#endif

/* The lanes of four vectors, each summed in one fixed tree: the halves folded onto each other until one lane is left. */
#if VW > 4
KD_INLINE __m128 v_sum4(vf a, vf b, vf c, vf d) {
    __m256 a2 = v_fold(a), b2 = v_fold(b), c2 = v_fold(c), d2 = v_fold(d);
    __m128 a1 = _mm_add_ps(_mm256_castps256_ps128(a2), _mm256_extractf128_ps(a2, 1));
    __m128 b1 = _mm_add_ps(_mm256_castps256_ps128(b2), _mm256_extractf128_ps(b2, 1));
    __m128 c1 = _mm_add_ps(_mm256_castps256_ps128(c2), _mm256_extractf128_ps(c2, 1));
    __m128 d1 = _mm_add_ps(_mm256_castps256_ps128(d2), _mm256_extractf128_ps(d2, 1));
    __m128 ab = _mm_add_ps(_mm_unpacklo_ps(a1, b1), _mm_unpackhi_ps(a1, b1)); /* a0+a2 b0+b2 a1+a3 b1+b3 */
    __m128 cd = _mm_add_ps(_mm_unpacklo_ps(c1, d1), _mm_unpackhi_ps(c1, d1));
    return _mm_add_ps(_mm_movelh_ps(ab, cd), _mm_movehl_ps(cd, ab));
}
KD_INLINE void v_sum4_into(float *p, vf a, vf b, vf c, vf d) { _mm_storeu_ps(p, v_sum4(a, b, c, d)); }
KD_INLINE float v_sum(vf a) { return _mm_cvtss_f32(v_sum4(a, a, a, a)); }
#else
KD_INLINE float v_sum(vf a) { return (a[0] + a[2]) + (a[1] + a[3]); }
KD_INLINE void v_sum4_into(float *p, vf a, vf b, vf c, vf d) { p[0] = v_sum(a), p[1] = v_sum(b), p[2] = v_sum(c), p[3] = v_sum(d); }
#endif
KD_INLINE float v_max_lane(vf a) {
    float t[VW], m;
    v_store(t, a);
    m = t[0];
    for (int i = 1; i < VW; i++) m = t[i] > m ? t[i] : m;
    return m;
}

/* exp within 2 ulp over the whole range (results below the normal range lose bits as they must, above the largest float give infinity, NaN
 * stays). x = n ln2 + r, |r| <= ln2/2; exp(r) by its Taylor polynomial of degree 7 in the order of Estrin, whose remainder is under 2^-27. */
KD_INLINE vf v_exp(vf x) {
    x = v_min(v_set(89.0f), v_max(v_set(-104.0f), x));
    vf n = v_round(x * v_set(1.44269504088896341f));
    vf r = v_fma(n, v_set(-0.693359375f), x); /* ln2 = 0.693359375 - 2.12194440e-4; the first has 9 bits, so n * it is exact */
    r = v_fma(n, v_set(2.12194440054690583e-4f), r);
    vf r2 = r * r;
    vf p1 = v_fma(r, v_set(1.0f / 24), v_set(1.0f / 6)), p2 = v_fma(r, v_set(1.0f / 720), v_set(1.0f / 120));
    p2 = v_fma(r2, v_set(1.0f / 5040), p2);
    vf t = v_fma(r2 * r, v_fma(r2, p2, p1), v_fma(r2, v_set(0.5f), r));
    return v_scale2(v_set(1.0f) + t, n);
}

#endif
