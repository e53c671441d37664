/* distill/math/quant_lanes.h - KD_W floats side by side, each lane a block of its own; the including file sets KD_W (1, 8 or 16) and the target.
 * Every operation rounds once and the same in each width (fused ones fuse in plain C too), so a lane's result does not depend on KD_W. */
#include "distill/math/codec_blocks.h"

#include <math.h>

#if KD_W > 1
#include <immintrin.h>
#endif

#define KD_UNROLL _Pragma("GCC unroll 8")
#define KD_INLINE static inline __attribute__((always_inline))

#if KD_W == 16
typedef __m512 vf;
typedef __mmask16 vm;
#define v_load(p) _mm512_loadu_ps(p)
#define v_store(p, v) _mm512_storeu_ps(p, v)
#define v_set(s) _mm512_set1_ps(s)
#define v_add(a, b) _mm512_add_ps(a, b)
#define v_sub(a, b) _mm512_sub_ps(a, b)
#define v_mul(a, b) _mm512_mul_ps(a, b)
#define v_div(a, b) _mm512_div_ps(a, b)
#define v_fma(a, b, c) _mm512_fmadd_ps(a, b, c)   /* a * b + c */
#define v_fnma(a, b, c) _mm512_fnmadd_ps(a, b, c) /* c - a * b */
#define v_min(a, b) _mm512_min_ps(a, b)
#define v_max(a, b) _mm512_max_ps(a, b)
#define v_abs(a) _mm512_abs_ps(a)
#define v_lt(a, b) _mm512_cmp_ps_mask(a, b, _CMP_LT_OQ)
#define v_sel(m, a, b) _mm512_mask_blend_ps(m, b, a) /* m ? a : b */
KD_INLINE vf v_half(vf v) { return _mm512_cvtph_ps(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
/* Lanes hold integers of 0..255 (negative ones wrap): their low bytes to p. */
KD_INLINE void v_bytes(uint8_t *p, vf v) { _mm_storeu_si128((__m128i *)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(v))); }
/* Node 16..31 of a tree of 15 thresholds in heap order (tree[1] the root): how many thresholds lie below v, plus 16. */
KD_INLINE __m512i v_descend(vf v, const float tree[16]) {
    const __m512 t = _mm512_loadu_ps(tree);
    const __m512i one = _mm512_set1_epi32(1);
    __m512i node =
        _mm512_mask_blend_epi32(_mm512_cmp_ps_mask(v, _mm512_set1_ps(tree[1]), _CMP_GT_OQ), _mm512_set1_epi32(2), _mm512_set1_epi32(3));
    for (int i = 0; i < 3; i++) {
        __mmask16 up = _mm512_cmp_ps_mask(v, _mm512_permutexvar_ps(node, t), _CMP_GT_OQ);
        node = _mm512_add_epi32(node, node);
        node = _mm512_mask_add_epi32(node, up, node, one);
    }
    return node;
}
KD_INLINE vf v_book(vf v, const float tree[16], const float book[16]) {
    return _mm512_permutexvar_ps(v_descend(v, tree), _mm512_loadu_ps(book));
}
KD_INLINE vf v_book_index(vf v, const float tree[16]) {
    return _mm512_cvtepi32_ps(_mm512_sub_epi32(v_descend(v, tree), _mm512_set1_epi32(16)));
}
/* The power of two at or below a >= 1. */
KD_INLINE vf v_floor2(vf a) { return _mm512_castsi512_ps(_mm512_and_si512(_mm512_castps_si512(a), _mm512_set1_epi32(0x7f800000))); }

#elif KD_W == 8
typedef __m256 vf;
typedef __m256 vm;
#define v_load(p) _mm256_loadu_ps(p)
#define v_store(p, v) _mm256_storeu_ps(p, v)
#define v_set(s) _mm256_set1_ps(s)
#define v_add(a, b) _mm256_add_ps(a, b)
#define v_sub(a, b) _mm256_sub_ps(a, b)
#define v_mul(a, b) _mm256_mul_ps(a, b)
#define v_div(a, b) _mm256_div_ps(a, b)
#define v_fma(a, b, c) _mm256_fmadd_ps(a, b, c)
#define v_fnma(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define v_min(a, b) _mm256_min_ps(a, b)
#define v_max(a, b) _mm256_max_ps(a, b)
#define v_abs(a) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a)
#define v_lt(a, b) _mm256_cmp_ps(a, b, _CMP_LT_OQ)
#define v_sel(m, a, b) _mm256_blendv_ps(b, a, m)
KD_INLINE vf v_half(vf v) { return _mm256_cvtph_ps(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT)); }
KD_INLINE void v_bytes(uint8_t *p, vf v) {
    __m256i i = _mm256_and_si256(_mm256_cvtps_epi32(v), _mm256_set1_epi32(255));
    __m128i w = _mm_packus_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)p, _mm_packus_epi16(w, w));
}
KD_INLINE __m256i v_descend(vf v, const float tree[16]) {
    const __m256 top = _mm256_loadu_ps(tree), leaves = _mm256_loadu_ps(tree + 8);
    __m256i node = _mm256_sub_epi32(_mm256_set1_epi32(2), _mm256_castps_si256(_mm256_cmp_ps(v, _mm256_set1_ps(tree[1]), _CMP_GT_OQ)));
    for (int i = 0; i < 3; i++) {
        __m256 up = _mm256_cmp_ps(v, _mm256_permutevar8x32_ps(i < 2 ? top : leaves, node), _CMP_GT_OQ);
        node = _mm256_sub_epi32(_mm256_add_epi32(node, node), _mm256_castps_si256(up));
    }
    return node;
}
KD_INLINE vf v_book(vf v, const float tree[16], const float book[16]) {
    __m256i node = v_descend(v, tree);
    __m256 lo = _mm256_permutevar8x32_ps(_mm256_loadu_ps(book), node), hi = _mm256_permutevar8x32_ps(_mm256_loadu_ps(book + 8), node);
    return _mm256_blendv_ps(lo, hi, _mm256_castsi256_ps(_mm256_slli_epi32(node, 28)));
}
KD_INLINE vf v_book_index(vf v, const float tree[16]) {
    return _mm256_cvtepi32_ps(_mm256_sub_epi32(v_descend(v, tree), _mm256_set1_epi32(16)));
}
KD_INLINE vf v_floor2(vf a) { return _mm256_and_ps(a, _mm256_castsi256_ps(_mm256_set1_epi32(0x7f800000))); }

#else
typedef float vf;
typedef int vm;
#define v_load(p) (*(p))
#define v_store(p, v) (*(p) = (v))
#define v_set(s) (s)
#define v_add(a, b) ((a) + (b))
#define v_sub(a, b) ((a) - (b))
#define v_mul(a, b) ((a) * (b))
#define v_div(a, b) ((a) / (b))
#define v_fma(a, b, c) fmaf(a, b, c)
#define v_fnma(a, b, c) fmaf(-(a), b, c)
#define v_abs(a) fabsf(a)
#define v_lt(a, b) ((a) < (b))
#define v_sel(m, a, b) ((m) ? (a) : (b))
KD_INLINE vf v_min(vf a, vf b) { /* the second operand where they do not compare, as the instructions have it */
    return a < b ? a : b;
}
KD_INLINE vf v_max(vf a, vf b) { return a > b ? a : b; }
KD_INLINE vf v_half(vf v) { return kd_f16_to_f32(kd_f32_to_f16(v)); }
KD_INLINE void v_bytes(uint8_t *p, vf v) { *p = (uint8_t)((uint32_t)(int32_t)v & 255); }
KD_INLINE int v_descend(vf v, const float tree[16]) {
    int node = 1;
    while (node < 16) node = 2 * node + (v > tree[node]);
    return node;
}
KD_INLINE vf v_book(vf v, const float tree[16], const float book[16]) { return book[v_descend(v, tree) - 16]; }
KD_INLINE vf v_book_index(vf v, const float tree[16]) { return (float)(v_descend(v, tree) - 16); }
KD_INLINE vf v_floor2(vf a) {
    uint32_t u;
    memcpy(&u, &a, 4);
    u &= 0x7f800000;
    memcpy(&a, &u, 4);
    return a;
}
#endif

#if KD_W > 1
/* out[i][0..7] = src[0..7][i] for 8 values i; rows of out are 16 floats, those of src stride. */
KD_INLINE void v_transpose8(float (*out)[16], const float *src, size_t stride) {
    __m256 a[8], b[8];
    KD_UNROLL
    for (size_t i = 0; i < 8; i++) a[i] = _mm256_loadu_ps(src + i * stride);
    KD_UNROLL
    for (int i = 0; i < 8; i += 2) { /* pairs of rows interleaved: b[i] columns 0 1 4 5, b[i + 1] columns 2 3 6 7 */
        b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
        b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
    }
    KD_UNROLL
    for (int i = 0; i < 8; i += 4) { /* four rows of one column to a half */
        a[i] = _mm256_shuffle_ps(b[i], b[i + 2], 0x44);
        a[i + 1] = _mm256_shuffle_ps(b[i], b[i + 2], 0xee);
        a[i + 2] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0x44);
        a[i + 3] = _mm256_shuffle_ps(b[i + 1], b[i + 3], 0xee);
    }
    KD_UNROLL
    for (int i = 0; i < 4; i++) {
        _mm256_storeu_ps(out[i], _mm256_permute2f128_ps(a[i], a[i + 4], 0x20));
        _mm256_storeu_ps(out[i + 4], _mm256_permute2f128_ps(a[i], a[i + 4], 0x31));
    }
}
#endif

KD_INLINE vf v_clamp(vf v, float lo, float hi) { return v_min(v_max(v, v_set(lo)), v_set(hi)); }
/* Adding it rounds to an integer (to even) for |v| < 2^22; beyond, sums stay ordered, so that clamping afterwards is right. */
#define KD_MAGIC 12582912.0f
KD_INLINE vf v_round(vf v) { return v_sub(v_add(v, v_set(KD_MAGIC)), v_set(KD_MAGIC)); }
/* a * b rounded to an integer of lo..hi. */
KD_INLINE vf v_round_mul(vf a, vf b, float lo, float hi) { return v_clamp(v_sub(v_fma(a, b, v_set(KD_MAGIC)), v_set(KD_MAGIC)), lo, hi); }
/* 1 / v, and 0 for 0. */
KD_INLINE vf v_inverse(vf v) {
    vm zero = v_lt(v_abs(v), v_set(1e-30f));
    return v_sel(zero, v_set(0), v_div(v_set(1), v_sel(zero, v_set(1), v)));
}
