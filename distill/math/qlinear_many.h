/* distill/math/qlinear_many.h - 8-bit products of many rows for AVX2: the codes of two panels are opened once, piece by piece, into signed bytes that
 * stay in the first cache, and every row of activations goes over them. Leans on qlinear_body.h, which includes nothing of it.
 *
 * maddubs takes its signed operand from memory, so activations are made the unsigned one, x' = x + 128 in 1..255, and a block's integer sum is
 * sum w x' - 128 sum w; the second term belongs to the weights and is where the sum begins (start). w = code - offset. A row then needs four
 * broadcasts for each 128 products and no unpacking, no fifth bits, and 256 columns of its sums stay in registers. Sums of 16 bits never saturate:
 *   4-bit codes less 8     8 pairs of products, 8 * 2 * 255 * 8 = 32640 <= 32767
 *   4-bit codes            4 pairs,             4 * 2 * 255 * 15 = 30600
 *   5-bit codes less 16    4 pairs,             4 * 2 * 255 * 16 = 32640
 *   5-bit codes            2 pairs,             2 * 2 * 255 * 31 = 31620
 *   6-bit codes less 32    2 pairs,             2 * 2 * 255 * 32 = 32640
 *   2-bit codes            4 pairs,             4 * 2 * 255 * 3  =  6120
 * Signed bytes saturate at once: they keep the tiles of qlinear_body.h. The integer sums are those of the other tiles, and so are the bits. */
#include "distill/math/qlinear_finish.h"

KD_INLINE size_t pairs_of(kd_qkind k) { return k == KD_QK_4 ? 8 : k == KD_QK_5M || k == KD_QK_6H ? 2 : 4; }

/* One block of a panel: w [8, 64] signed bytes in the order of steps, start [per, 16] = -128 sum of w. */
KD_INLINE void open_block(kd_qkind k, const uint8_t *block, int offset, int8_t *w, int32_t *start) {
    const size_t per = k >= KD_QK_6H ? 2 : 1;
    const vi off = _mm256_set1_epi8((char)offset), one = _mm256_set1_epi8(1), back = _mm256_set1_epi16(-128);
    for (size_t lane = 0; lane < 64; lane += 32) {
        vi v[8], sum[2] = {i_zero(), i_zero()};
        for (size_t i = 0; i < 8; i++)
            if (k > KD_QK_5M)
                v[i] = i_load(block + 64 * i + lane);
            else if (i < 4)
                unpack(k, block, lane, i, i_zero(), &v[i], &v[i + 4]);
        for (size_t i = 0; i < 8; i++) {
            vi s = _mm256_sub_epi8(v[i], off);
            _mm256_store_si256((void *)(w + 64 * i + lane), s);
            sum[i / 4 % per] = _mm256_add_epi16(sum[i / 4 % per], _mm256_maddubs_epi16(one, s));
        }
        for (size_t h = 0; h < per; h++) _mm256_store_si256((void *)(start + 16 * h + lane / 4), _mm256_madd_epi16(sum[h], back));
    }
}

/* t->N rows of x over t->blocks blocks of two panels; sums go on from acc [N, 32]. */
KD_INLINE void many_rows(kd_qkind k, const kd_qmany *t) {
    const size_t per = k >= KD_QK_6H ? 2 : 1, steps = 8 / per, pairs = pairs_of(k);
    const bool has_min = k == KD_QK_4M || k == KD_QK_5M || k == KD_QK_6HM;
    const vi one = _mm256_set1_epi16(1);
    for (size_t n = 0; n < t->N; n++) {
        const kd_qact *x = t->x + n * t->ldx, *next = n + 1 < t->N ? x + t->ldx : x;
        float *to = t->acc + n * 2 * KD_QROWS;
        vf acc[4];
        KD_UNROLL(4)
        for (size_t p = 0; p < 4; p++) acc[p] = t->first ? v_zero() : v_load(to + 8 * p);
        for (size_t b = 0; b < t->blocks; b++) {
            _mm_prefetch((const void *)(next + b), _MM_HINT_T0);
            KD_UNROLL(2)
            for (size_t half = 0; half < per; half++) {
                const size_t at = (b * per + half) * KD_QROWS;
                vi h[4], s[4];
                KD_UNROLL(8)
                for (size_t i = 0; i < steps; i++) {
                    const size_t step_ = half * 4 + i;
                    const vi a = i_set32(x[b].q + 4 * step_);
                    KD_UNROLL(4)
                    for (size_t p = 0; p < 4; p++) {
                        const vi y =
                            _mm256_maddubs_epi16(a, _mm256_load_si256((const void *)(t->w[p / 2] + 512 * b + 64 * step_ + p % 2 * 32)));
                        h[p] = i % pairs ? _mm256_add_epi16(h[p], y) : y;
                        if (i % pairs + 1 < pairs) continue;
                        const vi wide = _mm256_madd_epi16(h[p], one);
                        s[p] =
                            _mm256_add_epi32(wide, i < pairs ? _mm256_load_si256((const void *)(t->start[p / 2] + at + p % 2 * 8)) : s[p]);
                    }
                }
                const vf d = v_set(x[b].d), dsum = has_min ? v_set(x[b].dsum[half]) : d;
                KD_UNROLL(4)
                for (size_t p = 0; p < 4; p++) {
                    acc[p] = v_fma(i_float(s[p]) * v_load(t->scale[p / 2] + at + p % 2 * 8), d, acc[p]);
                    if (has_min) acc[p] = v_fma(v_load(t->min[p / 2] + at + p % 2 * 8), dsum, acc[p]);
                }
            }
        }
        KD_UNROLL(4)
        for (size_t p = 0; p < 4; p++) v_store(to + 8 * p, acc[p]);
    }
}

#define MANY(k)                                                                                                                            \
    static __attribute__((noinline)) void many_##k(const kd_qmany *t) { many_rows(k, t); }                                                 \
    static __attribute__((noinline)) void open_##k(const uint8_t *codes, size_t blocks, int offset, const int8_t *book, int8_t *w,         \
                                                   int32_t *start) {                                                                       \
        (void)book;                                                                                                                        \
        for (size_t b = 0; b < blocks; b++)                                                                                                \
            open_block(k, codes + b * kd_qcode_bytes(k), offset, w + 512 * b, start + b * kd_qper(k) * KD_QROWS);                          \
    }
MANY(KD_QK_4)
MANY(KD_QK_4M)
MANY(KD_QK_5)
MANY(KD_QK_5M)
MANY(KD_QK_6H)
MANY(KD_QK_6HM)
#define MANIES                                                                                                                             \
    {                                                                                                                                      \
        [KD_QK_4] = many_KD_QK_4, [KD_QK_4M] = many_KD_QK_4M, [KD_QK_5] = many_KD_QK_5, [KD_QK_5M] = many_KD_QK_5M,                        \
        [KD_QK_6H] = many_KD_QK_6H, [KD_QK_6HM] = many_KD_QK_6HM                                                                           \
    }
#define OPENS                                                                                                                              \
    {                                                                                                                                      \
        [KD_QK_4] = open_KD_QK_4, [KD_QK_4M] = open_KD_QK_4M, [KD_QK_5] = open_KD_QK_5, [KD_QK_5M] = open_KD_QK_5M,                        \
        [KD_QK_6H] = open_KD_QK_6H, [KD_QK_6HM] = open_KD_QK_6HM                                                                           \
    }
