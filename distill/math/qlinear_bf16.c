/* distill/math/qlinear_bf16.c - products of bf16 weights (F16 rounded to it) with activations rounded to bf16, for AVX512-BF16: the scheme of
 * qlinear_kernels.h with two columns a step, no scales, and f32 sums. A row's sums run over its columns in order in every tile: the same bits.
 * Leans on ops_vec.h, qlinear_finish.h. */
#if defined(__x86_64__)
#define KD_ISA 512
#define KD_ISA_MORE ",avx512bf16"
#include "distill/math/ops_vec.h"
#include "distill/math/qlinear_kernels.h"
#include "distill/math/qlinear_finish.h"

enum { STEPS = KD_QBLOCK / 2 };

KD_INLINE __m512bh weights(const void *p) { return (__m512bh)_mm512_loadu_si512(p); }
KD_INLINE __m512bh two(const void *x) { /* two activations, to every row */
    int32_t v;
    memcpy(&v, x, 4);
    return (__m512bh)_mm512_set1_epi32(v);
}

/* acc[p, m] += sum over `blocks` of panel p and row m of x (ldx blocks apart). */
KD_INLINE void sums(size_t P, size_t M, vf acc[4][KD_QCOLS], const uint8_t *const *w, const kd_qact *x, size_t ldx, size_t blocks) {
    for (size_t b = 0; b < blocks; b++) {
        KD_UNROLL(8)
        for (size_t m = 0; m < M; m++) _mm_prefetch((const void *)(x + (M + m) * ldx + b), _MM_HINT_T0); /* of the rows that follow */
        KD_UNROLL(16)
        for (size_t s = 0; s < STEPS; s++) {
            __m512bh v[4];
            KD_UNROLL(4)
            for (size_t p = 0; p < P; p++) v[p] = weights(w[p] + b * 1024 + s * 64);
            KD_UNROLL(8)
            for (size_t m = 0; m < M; m++) {
                const __m512bh a = two((const char *)(x + m * ldx + b) + 4 * s);
                KD_UNROLL(4)
                for (size_t p = 0; p < P; p++) acc[p][m] = _mm512_dpbf16_ps(acc[p][m], v[p], a);
            }
        }
    }
}

KD_INLINE void tile(size_t P, size_t M, const kd_qtile *t) {
    vf acc[4][KD_QCOLS];
    KD_UNROLL(4)
    for (size_t p = 0; p < P; p++) KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) acc[p][m] = v_zero();
    sums(P, M, acc, t->codes, t->x, t->blocks, t->blocks);
    KD_UNROLL(4)
    for (size_t p = 0; p < P; p++) {
        const size_t at = p * KD_QROWS, n = t->rows < at ? 0 : t->rows - at < VW ? t->rows - at : VW;
        const vf bias = t->bias ? v_load_n(t->bias + at, n) : v_zero();
        KD_UNROLL(8)
        for (size_t m = 0; m < M; m++) {
            float *y = t->y + m * t->ldy + at;
            vf v = acc[p][m];
            if (t->bias) v = v + bias;
            if (t->accumulate) v = v + v_load_n(y, n);
            v_store_n(y, v, n);
        }
    }
}

KD_INLINE void many_tile(size_t M, const kd_qmany *t, size_t n) {
    vf acc[4][KD_QCOLS];
    float *to = t->acc + n * 2 * KD_QROWS;
    const uint8_t *const w[2] = {(const uint8_t *)t->w[0], (const uint8_t *)t->w[1]};
    KD_UNROLL(2)
    for (size_t p = 0; p < 2; p++) KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) acc[p][m] = t->first ? v_zero() : v_load(to + (2 * m + p) * KD_QROWS);
    sums(2, M, acc, w, t->x + n * t->ldx, t->ldx, t->blocks);
    KD_UNROLL(2)
    for (size_t p = 0; p < 2; p++) KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) v_store(to + (2 * m + p) * KD_QROWS, acc[p][m]);
}

static void many(const kd_qmany *t) {
    const size_t tiles = (t->N + 5) / 6, lines = t->ahead_bytes / 64;
    for (size_t n = 0, m, k = 0, i = 0; n < t->N; n += m, k++) {
        for (; i < lines * (k + 1) / tiles; i++) { /* what will be multiplied next, a share with every tile */
            _mm_prefetch((const void *)(t->ahead[0] + 64 * i), _MM_HINT_T1);
            _mm_prefetch((const void *)(t->ahead[1] + 64 * i), _MM_HINT_T1);
        }
        m = t->N - n;
        m = m == 7 || m == 8 ? 4 : m < 6 ? m : 6;
        switch (m) {
        case 1: many_tile(1, t, n); break;
        case 2: many_tile(2, t, n); break;
        case 3: many_tile(3, t, n); break;
        case 4: many_tile(4, t, n); break;
        case 5: many_tile(5, t, n); break;
        default: many_tile(6, t, n); break;
        }
    }
}

static __attribute__((noinline)) void wide(const kd_qtile *t) { tile(4, 1, t); }
static __attribute__((noinline)) void tile1(const kd_qtile *t) { tile(2, 1, t); }
static __attribute__((noinline)) void tile2(const kd_qtile *t) { tile(2, 2, t); }
static __attribute__((noinline)) void tile3(const kd_qtile *t) { tile(2, 3, t); }
static __attribute__((noinline)) void tile4(const kd_qtile *t) { tile(2, 4, t); }

/* Activations to bf16, to the nearest, to even between two. */
static void round_row(kd_qact *out, const float *x, size_t blocks, int offset, size_t per) {
    (void)offset, (void)per;
    for (size_t b = 0; b < blocks; b++, x += KD_QBLOCK)
        _mm512_store_si512((void *)(out + b), (__m512i)_mm512_cvtne2ps_pbh(v_load(x + VW), v_load(x)));
}

static void no_scales(float *scale, float *min, const void *src, const kd_qformat *f, size_t blocks) {
    (void)scale, (void)min, (void)src, (void)f, (void)blocks;
}

const kd_qkernels kd_qkernels_avx512bf16 = {.name = "bf16 panels (avx512 bf16)",
                                            .wide = {[KD_QK_BF16] = {[KD_QS_NONE] = wide}},
                                            .tile = {[KD_QK_BF16] = {NULL, tile1, tile2, tile3, tile4}},
                                            .quantize = round_row,
                                            .scales = no_scales,
                                            .many = {[KD_QK_BF16] = many},
                                            .least = 5,
                                            .finish = many_finish};
#else
typedef int kd_qlinear_bf16_is_for_x86;
#endif
