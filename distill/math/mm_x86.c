/* distill/math/mm_x86.c - the kernels of mm.h for AVX2 with FMA, AVX-512 and AVX512-BF16. Leans on mm.h, base/cpu.h. */
#include "distill/math/mm.h"

#include "distill/base/cpu.h"

#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>

/* ---- AVX-512: 14 x 32 ---- */
#define T512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define TBF __attribute__((target("avx2,fma,avx512f,avx512bw,avx512dq,avx512vl,avx512bf16")))
enum { M5 = 14, N5 = 32 };

static inline __attribute__((always_inline)) T512 void store512(float *c, size_t ldc, __m512 acc[M5][2], float alpha, bool accumulate,
                                                                const float *bias) {
    const __m512 va = _mm512_set1_ps(alpha);
    const __m512 b0 = bias ? _mm512_loadu_ps(bias) : _mm512_setzero_ps(), b1 = bias ? _mm512_loadu_ps(bias + 16) : _mm512_setzero_ps();
#pragma GCC unroll 14
    for (int i = 0; i < M5; i++) {
        float *row = c + (size_t)i * ldc;
        const __m512 o0 = accumulate ? _mm512_add_ps(_mm512_loadu_ps(row), b0) : b0,
                     o1 = accumulate ? _mm512_add_ps(_mm512_loadu_ps(row + 16), b1) : b1;
        _mm512_storeu_ps(row, _mm512_fmadd_ps(acc[i][0], va, o0));
        _mm512_storeu_ps(row + 16, _mm512_fmadd_ps(acc[i][1], va, o1));
    }
}

T512 static void tile512(float *c, size_t ldc, const void *pa, const void *pb, size_t steps, float alpha, bool accumulate,
                         const float *bias) {
    const float *a = pa, *b = pb;
    __m512 acc[M5][2];
#pragma GCC unroll 14
    for (int i = 0; i < M5; i++) acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < steps; k++, a += M5, b += N5) {
        const __m512 b0 = _mm512_loadu_ps(b), b1 = _mm512_loadu_ps(b + 16);
#pragma GCC unroll 14
        for (int i = 0; i < M5; i++) {
            const __m512 v = _mm512_set1_ps(a[i]);
            acc[i][0] = _mm512_fmadd_ps(v, b0, acc[i][0]);
            acc[i][1] = _mm512_fmadd_ps(v, b1, acc[i][1]);
        }
    }
    store512(c, ldc, acc, alpha, accumulate, bias);
}

TBF static void tile_bf16(float *c, size_t ldc, const void *pa, const void *pb, size_t steps, float alpha, bool accumulate,
                          const float *bias) {
    const int32_t *a = pa, *b = pb;
    __m512 acc[M5][2];
#pragma GCC unroll 14
    for (int i = 0; i < M5; i++) acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < steps; k++, a += M5, b += N5) {
        const __m512bh b0 = (__m512bh)_mm512_loadu_si512(b), b1 = (__m512bh)_mm512_loadu_si512(b + 16);
#pragma GCC unroll 14
        for (int i = 0; i < M5; i++) {
            const __m512bh v = (__m512bh)_mm512_set1_epi32(a[i]);
            acc[i][0] = _mm512_dpbf16_ps(acc[i][0], v, b0);
            acc[i][1] = _mm512_dpbf16_ps(acc[i][1], v, b1);
        }
    }
    store512(c, ldc, acc, alpha, accumulate, bias);
}

/* ---- AVX2: 6 x 16 ---- */
#define T256 __attribute__((target("avx2,fma")))
enum { M2 = 6, N2 = 16 };

T256 static void tile256(float *c, size_t ldc, const void *pa, const void *pb, size_t steps, float alpha, bool accumulate,
                         const float *bias) {
    const float *a = pa, *b = pb;
    __m256 acc[M2][2];
#pragma GCC unroll 6
    for (int i = 0; i < M2; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < steps; k++, a += M2, b += N2) {
        const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int i = 0; i < M2; i++) {
            const __m256 v = _mm256_broadcast_ss(a + i);
            acc[i][0] = _mm256_fmadd_ps(v, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(v, b1, acc[i][1]);
        }
    }
    const __m256 va = _mm256_set1_ps(alpha);
    const __m256 z0 = bias ? _mm256_loadu_ps(bias) : _mm256_setzero_ps(), z1 = bias ? _mm256_loadu_ps(bias + 8) : _mm256_setzero_ps();
#pragma GCC unroll 6
    for (int i = 0; i < M2; i++) {
        float *row = c + (size_t)i * ldc;
        const __m256 o0 = accumulate ? _mm256_add_ps(_mm256_loadu_ps(row), z0) : z0,
                     o1 = accumulate ? _mm256_add_ps(_mm256_loadu_ps(row + 8), z1) : z1;
        _mm256_storeu_ps(row, _mm256_fmadd_ps(acc[i][0], va, o0));
        _mm256_storeu_ps(row + 8, _mm256_fmadd_ps(acc[i][1], va, o1));
    }
}

/* ---- tiles over operands as they lie ---- */
/* Five pointers, three rows each: rows are reached by the addressing of the processor. */
static inline __attribute__((always_inline)) T512 void open512(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b,
                                                               size_t ldb, size_t steps, float alpha, bool accumulate, const int V) {
    const float *p[5] = {a, a + 3 * rs, a + 6 * rs, a + 9 * rs, a + 12 * rs};
    __m512 acc[M5][2];
#pragma GCC unroll 14
    for (int i = 0; i < M5; i++) acc[i][0] = acc[i][1] = _mm512_setzero_ps();
    for (size_t k = 0; k < steps; k++, b += ldb) {
        const __m512 b0 = _mm512_loadu_ps(b), b1 = V > 1 ? _mm512_loadu_ps(b + 16) : b0;
#pragma GCC unroll 14
        for (int i = 0; i < M5; i++) {
            const __m512 v = _mm512_set1_ps(p[i / 3][(size_t)(i % 3) * rs]);
            acc[i][0] = _mm512_fmadd_ps(v, b0, acc[i][0]);
            if (V > 1) acc[i][1] = _mm512_fmadd_ps(v, b1, acc[i][1]);
        }
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) p[i] += cs;
    }
    const __m512 va = _mm512_set1_ps(alpha);
#pragma GCC unroll 14
    for (int i = 0; i < M5; i++)
#pragma GCC unroll 2
        for (int j = 0; j < V; j++) {
            float *to = c + (size_t)i * ldc + 16 * j;
            _mm512_storeu_ps(to, _mm512_fmadd_ps(acc[i][j], va, accumulate ? _mm512_loadu_ps(to) : _mm512_setzero_ps()));
        }
}
static inline __attribute__((always_inline)) T256 void open256(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b,
                                                               size_t ldb, size_t steps, float alpha, bool accumulate) {
    const float *p[2] = {a, a + 3 * rs};
    __m256 acc[M2][2];
#pragma GCC unroll 6
    for (int i = 0; i < M2; i++) acc[i][0] = acc[i][1] = _mm256_setzero_ps();
    for (size_t k = 0; k < steps; k++, b += ldb, p[0] += cs, p[1] += cs) {
        const __m256 b0 = _mm256_loadu_ps(b), b1 = _mm256_loadu_ps(b + 8);
#pragma GCC unroll 6
        for (int i = 0; i < M2; i++) {
            const __m256 v = _mm256_broadcast_ss(p[i / 3] + (size_t)(i % 3) * rs);
            acc[i][0] = _mm256_fmadd_ps(v, b0, acc[i][0]);
            acc[i][1] = _mm256_fmadd_ps(v, b1, acc[i][1]);
        }
    }
    const __m256 va = _mm256_set1_ps(alpha);
#pragma GCC unroll 6
    for (int i = 0; i < M2; i++)
#pragma GCC unroll 2
        for (int j = 0; j < 2; j++) {
            float *to = c + (size_t)i * ldc + 8 * j;
            _mm256_storeu_ps(to, _mm256_fmadd_ps(acc[i][j], va, accumulate ? _mm256_loadu_ps(to) : _mm256_setzero_ps()));
        }
}
#define OPEN_ARGS                                                                                                                          \
    float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b, size_t ldb, size_t steps, float alpha, bool add
T512 static void wide512(OPEN_ARGS) { open512(c, ldc, a, rs, cs, b, ldb, steps, alpha, add, 2); }
T512 static void narrow512(OPEN_ARGS) { open512(c, ldc, a, rs, cs, b, ldb, steps, alpha, add, 1); }
T512 static void turned512(OPEN_ARGS) {
    (void)rs;
    open512(c, ldc, a, 1, cs, b, ldb, steps, alpha, add, 1);
}
T256 static void narrow256(OPEN_ARGS) { open256(c, ldc, a, rs, cs, b, ldb, steps, alpha, add); }
T256 static void turned256(OPEN_ARGS) {
    (void)rs;
    open256(c, ldc, a, 1, cs, b, ldb, steps, alpha, add);
}

/* ---- packing ---- */
/* t[k][i] = r[i][k] for an 8 x 8 block, in registers; r is spent. */
static inline __attribute__((always_inline)) T256 void turn8(__m256 t[8], __m256 r[8]) {
    __m256 s[8];
#pragma GCC unroll 4
    for (int i = 0; i < 8; i += 2) {
        s[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        s[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
#pragma GCC unroll 2
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_shuffle_ps(s[i], s[i + 2], 0x44);
        r[i + 1] = _mm256_shuffle_ps(s[i], s[i + 2], 0xee);
        r[i + 2] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0x44);
        r[i + 3] = _mm256_shuffle_ps(s[i + 1], s[i + 3], 0xee);
    }
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2f128_ps(r[i], r[i + 4], 0x31);
    }
}

/* Panels of `lanes` from rows: 8 x 8 blocks turned in registers, the rest one by one. */
T256 static void pack_rows_f32(void *pd, size_t lanes, const float *src, size_t ld, size_t n, size_t depth) {
    float *dst = pd;
    for (size_t p = 0; p < n; p += lanes, dst += lanes * depth) {
        const size_t m = n - p < lanes ? n - p : lanes;
        if (m < lanes) memset(dst, 0, lanes * depth * sizeof *dst);
        size_t i = 0;
        for (; m >= 8 && i < m; i += 8) {
            if (i + 8 > m) i = m - 8; /* the last block takes some lanes a second time */
            size_t k = 0;
            for (; k + 8 <= depth; k += 8) {
                __m256 t[8], r[8];
#pragma GCC unroll 8
                for (size_t j = 0; j < 8; j++) {
                    const float *from = src + (p + i + j) * ld + k;
                    r[j] = _mm256_loadu_ps(from);
                    _mm_prefetch((const char *)(from + lanes * ld),
                                 _MM_HINT_T0); /* the next panel's: rows are too many streams to be foreseen */
                }
                turn8(t, r);
#pragma GCC unroll 8
                for (size_t j = 0; j < 8; j++) _mm256_storeu_ps(dst + (k + j) * lanes + i, t[j]);
            }
            for (; k < depth; k++)
                for (size_t j = 0; j < 8; j++) dst[k * lanes + i + j] = src[(p + i + j) * ld + k];
        }
        for (; i < m; i++)
            for (size_t k = 0; k < depth; k++) dst[k * lanes + i] = src[(p + i) * ld + k];
    }
}

/* Whole panels of a width known here: a copy of known size is a few moves, any other is a call. */
static inline __attribute__((always_inline)) void copy_columns(float *dst, size_t lanes, const float *src, size_t ld, size_t depth) {
    for (size_t k = 0; k < depth; k++, dst += lanes, src += ld) memcpy(dst, src, lanes * sizeof *dst);
}
T256 static void pack_columns_f32(void *pd, size_t lanes, const float *src, size_t ld, size_t n, size_t depth) {
    float *dst = pd;
    if (n == lanes) switch (lanes) {
        case M2: copy_columns(dst, M2, src, ld, depth); return;
        case N2: copy_columns(dst, N2, src, ld, depth); return;
        case M5: copy_columns(dst, M5, src, ld, depth); return;
        case N5: copy_columns(dst, N5, src, ld, depth); return;
        default: break;
        }
    for (size_t k = 0; k < depth; k++, dst += lanes, src += ld) {
        memcpy(dst, src, n * sizeof *dst);
        if (n < lanes) memset(dst + n, 0, (lanes - n) * sizeof *dst);
    }
}

/* Sixteen floats as bfloat16, rounded to nearest even by the instruction that also flushes subnormals, as the product does. */
static inline __attribute__((always_inline)) TBF __m256i round16(__m512 v) { return (__m256i)_mm512_cvtneps_pbh(v); }

/* dst[k/2][lane] = (src[lane][k], src[lane][k+1]); depth odd: the last pair's second is 0. Pairs are turned as floats are.
 * stored: the numbers are bfloat16 already, else floats. */
static inline __attribute__((always_inline)) TBF void pack_pairs(void *pd, size_t lanes, const void *src, size_t ld, size_t n, size_t depth,
                                                                 const bool stored) {
    uint32_t *dst = pd;
    const size_t steps = (depth + 1) / 2;
    for (size_t p = 0; p < n; p += lanes, dst += lanes * steps) {
        const size_t m = n - p < lanes ? n - p : lanes;
        if (m < lanes) memset(dst, 0, lanes * steps * sizeof *dst);
        for (size_t i = 0; i < m; i += 8) {
            if (m >= 8 && i + 8 > m) i = m - 8;
            const size_t rows = m - i < 8 ? m - i : 8;
            for (size_t k = 0; k < depth; k += 16) {
                const size_t width = depth - k < 16 ? depth - k : 16;
                const __mmask16 in = (__mmask16)((1u << width) - 1);
                __m256 t[8], r[8];
#pragma GCC unroll 8
                for (size_t j = 0; j < 8; j++) {
                    const size_t at = (p + i + j) * ld + k;
                    const __mmask16 row = j < rows ? in : 0;
                    if (stored) {
                        r[j] = (__m256)_mm256_maskz_loadu_epi16(row, (const uint16_t *)src + at);
                        continue;
                    }
                    const float *from = (const float *)src + at;
                    r[j] = (__m256)round16(_mm512_maskz_loadu_ps(row, from));
                    _mm_prefetch((const char *)(from + lanes * ld), _MM_HINT_T0);
                }
                turn8(t, r);
                const __mmask8 out = (__mmask8)((1u << rows) - 1);
                for (size_t j = 0; j < (width + 1) / 2; j++)
                    _mm256_mask_storeu_ps((float *)(void *)(dst + (k / 2 + j) * lanes + i), out, t[j]);
            }
        }
    }
}
TBF static void pack_rows_bf16(void *pd, size_t lanes, const float *src, size_t ld, size_t n, size_t depth) {
    pack_pairs(pd, lanes, src, ld, n, depth, false);
}
TBF static void pack_rows_bits(void *pd, size_t lanes, const uint16_t *src, size_t ld, size_t n, size_t depth) {
    pack_pairs(pd, lanes, src, ld, n, depth, true);
}

/* dst[k/2][lane] = (src[k][lane], src[k+1][lane]). */
TBF static void pack_columns_bf16(void *pd, size_t lanes, const float *src, size_t ld, size_t n, size_t depth) {
    uint32_t *dst = pd;
    for (size_t k = 0; k < depth; k += 2, dst += lanes)
        for (size_t i = 0; i < lanes; i += 16) {
            const size_t left = i < n ? n - i : 0, width = lanes - i < 16 ? lanes - i : 16;
            const __mmask16 in = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1), out = (__mmask16)((1u << width) - 1);
            const __m512i lo = _mm512_cvtepu16_epi32(round16(_mm512_maskz_loadu_ps(in, src + k * ld + i)));
            const __m512i hi =
                k + 1 < depth ? _mm512_cvtepu16_epi32(round16(_mm512_maskz_loadu_ps(in, src + (k + 1) * ld + i))) : _mm512_setzero_si512();
            _mm512_mask_storeu_epi32(dst + i, out, _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
        }
}

TBF static void pack_columns_bits(void *pd, size_t lanes, const uint16_t *src, size_t ld, size_t n, size_t depth) {
    uint32_t *dst = pd;
    for (size_t k = 0; k < depth; k += 2, dst += lanes)
        for (size_t i = 0; i < lanes; i += 16) {
            const size_t left = i < n ? n - i : 0, width = lanes - i < 16 ? lanes - i : 16;
            const __mmask16 in = (__mmask16)(left >= 16 ? 0xffffu : (1u << left) - 1), out = (__mmask16)((1u << width) - 1);
            const __m512i lo = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(in, src + k * ld + i));
            const __m512i hi = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(k + 1 < depth ? in : 0, src + (k + 1) * ld + i));
            _mm512_mask_storeu_epi32(dst + i, out, _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
        }
}

static const kd_mm mm512 = {M5, N5, 1, tile512, pack_rows_f32, pack_columns_f32, NULL, NULL};
static const kd_mm mm256 = {M2, N2, 1, tile256, pack_rows_f32, pack_columns_f32, NULL, NULL};
static const kd_mm mmbf16 = {M5, N5, 2, tile_bf16, pack_rows_bf16, pack_columns_bf16, pack_rows_bits, pack_columns_bits};
static const kd_mm_tiles tiles512 = {M5, N5, wide512, narrow512, turned512};
static const kd_mm_tiles tiles256 = {M2, N2, narrow256, narrow256, turned256};
#endif

const kd_mm_tiles *kd_mm_open_tiles(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return &tiles512;
    case KD_CPU_AVX2: return &tiles256;
    case KD_CPU_SCALAR: break;
    }
#endif
    return NULL;
}

const kd_mm *kd_mm_f32(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return &mm512;
    case KD_CPU_AVX2: return &mm256;
    case KD_CPU_SCALAR: break;
    }
#endif
    return NULL;
}
const kd_mm *kd_mm_bf16(void) {
#if defined(__x86_64__)
    if (kd_cpu_get()->avx512_bf16) return &mmbf16;
#endif
    return NULL;
}
