/* distill/math/qlinear_many512.h - 8-bit products of several rows for AVX-512 VNNI: the codes of two panels are opened once, 256 columns at a time, into
 * bytes that stay in the first cache with their scales, and all rows of activations go over them, six at a time in registers. Codes that are bytes
 * already are read where they lie, and nibbles too: taking them apart costs less than loading twice as much. What will be opened next is fetched from memory meanwhile. Leans on qlinear_body.h, which includes nothing of it.
 * The integer sums are those of the other tiles, floats are added in the same order: the same bits. */
#include "distill/math/qlinear_finish.h"

KD_INLINE void open_block(kd_qkind k, const uint8_t *block, vi book, int8_t *w) {
    KD_UNROLL(4)
    for (size_t v = 0; v < 4; v++) {
        vi lo, hi;
        unpack(k, block, 0, v, book, &lo, &hi);
        _mm512_store_si512((void *)(w + 64 * v), lo);
        _mm512_store_si512((void *)(w + 64 * (v + 4)), hi);
    }
}

/* M rows of x from row n on. per: scales a block; starts: the integer sum begins with the activations' start; has_min: as kd_qhas_min; packed: w holds
 * nibbles. */
KD_INLINE void many_tile(size_t M, size_t per, bool starts, bool has_min, bool packed, const kd_qmany *t, size_t n, const uint8_t **ahead,
                         size_t lines) {
    const size_t steps = packed ? 4 : 8 / per, cb = packed ? 256 : 512;
    const kd_qact *x = t->x + n * t->ldx;
    float *to = t->acc + n * 2 * KD_QROWS;
    vf acc[2][KD_QCOLS];
    KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) KD_UNROLL(2)
    for (size_t p = 0; p < 2; p++) acc[p][m] = t->first ? v_zero() : v_load(to + (2 * m + p) * KD_QROWS);
    for (size_t b = 0; b < t->blocks; b++) {
        KD_UNROLL(8)
        for (size_t m = 0; m < M; m++) _mm_prefetch((const void *)(x + (M + m) * t->ldx + b), _MM_HINT_T0); /* of the rows that follow */
        for (size_t i = 0; i < lines; i++) {
            _mm_prefetch((const void *)(ahead[0] + 64 * i), _MM_HINT_T0);
            _mm_prefetch((const void *)(ahead[1] + 64 * i), _MM_HINT_T0);
        }
        ahead[0] += 64 * lines, ahead[1] += 64 * lines;
        KD_UNROLL(2)
        for (size_t half = 0; half < per; half++) {
            const size_t at = (b * per + half) * KD_QROWS;
            vi s[2][KD_QCOLS];
            KD_UNROLL(8)
            for (size_t m = 0; m < M; m++) s[0][m] = s[1][m] = starts ? VI(set1_epi32)(x[m * t->ldx + b].start[half]) : i_zero();
            KD_UNROLL(8)
            for (size_t i = 0; i < steps; i++) {
                const size_t v = half * 4 + i;
                vi w[2], high[2];
                KD_UNROLL(2)
                for (size_t p = 0; p < 2; p++) {
                    w[p] = i_load(t->w[p] + cb * b + 64 * v);
                    if (!packed) continue;
                    high[p] = i_and(VI(srli_epi16)(w[p], 4), VI(set1_epi8)(15));
                    w[p] = i_and(w[p], VI(set1_epi8)(15));
                }
                KD_UNROLL(8)
                for (size_t m = 0; m < M; m++) {
                    const vi a = i_set32(x[m * t->ldx + b].q + 4 * v);
                    s[0][m] = _mm512_dpbusd_epi32(s[0][m], w[0], a);
                    s[1][m] = _mm512_dpbusd_epi32(s[1][m], w[1], a);
                    if (!packed) continue;
                    const vi c = i_set32(x[m * t->ldx + b].q + 4 * v + 16);
                    s[0][m] = _mm512_dpbusd_epi32(s[0][m], high[0], c);
                    s[1][m] = _mm512_dpbusd_epi32(s[1][m], high[1], c);
                }
            }
            KD_UNROLL(2)
            for (size_t p = 0; p < 2; p++) {
                const vf scale = v_load(t->scale[p] + at), min = has_min ? v_load(t->min[p] + at) : scale;
                KD_UNROLL(8)
                for (size_t m = 0; m < M; m++) {
                    acc[p][m] = v_fma(i_float(s[p][m]) * scale, v_set(x[m * t->ldx + b].d), acc[p][m]);
                    if (has_min) acc[p][m] = v_fma(min, v_set(x[m * t->ldx + b].dsum[half]), acc[p][m]);
                }
            }
        }
    }
    KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) KD_UNROLL(2)
    for (size_t p = 0; p < 2; p++) v_store(to + (2 * m + p) * KD_QROWS, acc[p][m]);
}

/* Sixes, and fours where sixes would leave one or two. */
KD_INLINE void many_rows(size_t per, bool starts, bool has_min, bool packed, const kd_qmany *t) {
    const uint8_t *ahead[2] = {t->ahead[0], t->ahead[1]};
    const size_t looks = (t->N + 5) / 6 * t->blocks, lines = (t->ahead_bytes / 64 + looks - 1) / looks;
    for (size_t n = 0, m; n < t->N; n += m) {
        const size_t left = t->N - n;
        m = left >= 6 && left != 8 && left != 7 ? 6 : left >= 7 ? 4 : left;
        if (m == 6)
            many_tile(6, per, starts, has_min, packed, t, n, ahead, lines);
        else if (m == 5)
            many_tile(5, per, starts, has_min, packed, t, n, ahead, lines);
        else if (m == 4)
            many_tile(4, per, starts, has_min, packed, t, n, ahead, lines);
        else if (m == 3)
            many_tile(3, per, starts, has_min, packed, t, n, ahead, lines);
        else if (m == 2)
            many_tile(2, per, starts, has_min, packed, t, n, ahead, lines);
        else
            many_tile(1, per, starts, has_min, packed, t, n, ahead, lines);
    }
}
static __attribute__((noinline)) void many_4(const kd_qmany *t) { many_rows(1, true, false, true, t); }
static __attribute__((noinline)) void many_4m(const kd_qmany *t) { many_rows(1, false, true, true, t); }
static __attribute__((noinline)) void many_plain(const kd_qmany *t) { many_rows(1, true, false, false, t); }
static __attribute__((noinline)) void many_min(const kd_qmany *t) { many_rows(1, false, true, false, t); }
static __attribute__((noinline)) void many_halves(const kd_qmany *t) { many_rows(2, true, false, false, t); }
static __attribute__((noinline)) void many_halves_min(const kd_qmany *t) { many_rows(2, false, true, false, t); }

#define OPEN(k)                                                                                                                            \
    static __attribute__((noinline)) void open_##k(const uint8_t *codes, size_t blocks, int offset, const int8_t *book, int8_t *w,         \
                                                   int32_t *start) {                                                                       \
        (void)offset, (void)start;                                                                                                         \
        const vi b16 = k == KD_QK_4B ? i_dup128(book) : i_zero();                                                                          \
        for (size_t b = 0; b < blocks; b++) open_block(k, codes + b * kd_qcode_bytes(k), b16, w + 512 * b);                                \
    }
OPEN(KD_QK_4B)
OPEN(KD_QK_5)
#define MANIES                                                                                                                             \
    {                                                                                                                                      \
        [KD_QK_4] = many_4, [KD_QK_4M] = many_4m, [KD_QK_4B] = many_plain, [KD_QK_5] = many_plain, [KD_QK_5M] = many_min,                  \
        [KD_QK_8] = many_plain, [KD_QK_6H] = many_halves, [KD_QK_6HM] = many_halves_min                                                    \
    }
#define OPENS                                                                                                                              \
    { [KD_QK_4B] = open_KD_QK_4B, [KD_QK_5] = open_KD_QK_5, [KD_QK_5M] = open_KD_QK_5 }
