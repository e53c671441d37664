/* distill/math/qlinear_body.h - the tiles of 8-bit products for the instruction set of the file that includes it. Leans on ops_vec.h (KD_ISA 256 or
 * 512), qlinear_kernels.h. The file defines QDOT 1 where bytes are multiplied by VNNI, 0 where by maddubs.
 *
 * maddubs adds two products u8 * s8 in 16 bits and saturates. It never has to: |x| <= 127, and sums of 16 bits are folded into 32 in time:
 *   4-bit codes   8 pairs of products,  8 * 2 * 15 * 127 = 30480 <= 32767
 *   5-bit codes   4 pairs,              4 * 2 * 31 * 127 = 31496
 *   6-bit codes   2 pairs,              2 * 2 * 63 * 127 = 32004
 *   signed bytes  as |w| * sign(w) x, one pair, 2 * 128 * 127 = 32512
 * VNNI sums four products in 32 bits. A block's integer sum is exact, and the float sum over blocks runs in order in every tile: the bits of a result do
 * not depend on the tile's shape. */
#include "distill/math/ops_vec.h"
#include "distill/math/qlinear_kernels.h"

#if KD_ISA == 512
typedef __m512i vi;
#define VI(op) _mm512_##op
KD_INLINE vi i_load(const void *p) { return _mm512_loadu_si512(p); }
KD_INLINE vi i_and(vi a, vi b) { return _mm512_and_si512(a, b); }
KD_INLINE vi i_zero(void) { return _mm512_setzero_si512(); }
KD_INLINE vi i_dup128(const void *p) { return _mm512_broadcast_i32x4(_mm_loadu_si128(p)); }
KD_INLINE vi i_fifth(vi nib, const uint8_t *bits) { /* 16 more where the bit is set */
    uint64_t k;
    memcpy(&k, bits, 8);
    return _mm512_mask_add_epi8(nib, (__mmask64)k, nib, _mm512_set1_epi8(16));
}
#else
typedef __m256i vi;
#define VI(op) _mm256_##op
KD_INLINE vi i_load(const void *p) { return _mm256_loadu_si256(p); }
KD_INLINE vi i_and(vi a, vi b) { return _mm256_and_si256(a, b); }
KD_INLINE vi i_zero(void) { return _mm256_setzero_si256(); }
KD_INLINE vi i_dup128(const void *p) { return _mm256_broadcastsi128_si256(_mm_loadu_si128(p)); }
KD_INLINE vi i_fifth(vi nib, const uint8_t *bits) {
    int32_t k;
    memcpy(&k, bits, 4);
    vi each = _mm256_shuffle_epi8(_mm256_set1_epi32(k), _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
                                                                         2, 2, 3, 3, 3, 3, 3, 3, 3, 3));
    vi bit = _mm256_set1_epi64x((long long)0x8040201008040201);
    return _mm256_or_si256(nib, _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(each, bit), bit), _mm256_set1_epi8(16)));
}
#endif
KD_INLINE vi i_set32(const void *p) {
    int32_t v;
    memcpy(&v, p, 4);
    return VI(set1_epi32)(v);
}
KD_INLINE vf i_float(vi a) { return VI(cvtepi32_ps)(a); }

/* Products of one step. s: sums of 32 bits; h: of 16, folded into s by `fold` (without VNNI, but for signed bytes). */
KD_INLINE void step(kd_qkind k, vi *s, vi *h, vi w, vi x) {
    (void)k, (void)h;
#if QDOT && KD_ISA == 512
    *s = _mm512_dpbusd_epi32(*s, w, x);
#elif QDOT
    *s = _mm256_dpbusd_avx_epi32(*s, w, x);
#else
    if (k == KD_QK_8 || k == KD_QK_4B)
        *s =
            _mm256_add_epi32(*s, _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w)), _mm256_set1_epi16(1)));
    else
        *h = _mm256_add_epi16(*h, _mm256_maddubs_epi16(w, x));
#endif
}
KD_INLINE void fold(kd_qkind k, vi *s, vi *h) {
    (void)k, (void)s, (void)h;
#if !QDOT
    if (k == KD_QK_8 || k == KD_QK_4B) return;
    *s = _mm256_add_epi32(*s, _mm256_madd_epi16(*h, _mm256_set1_epi16(1)));
    *h = i_zero();
#endif
}

/* Codes of step v (low nibbles) and v + 4 (high) of a block. */
KD_INLINE void unpack(kd_qkind k, const uint8_t *block, size_t lane, size_t v, vi book, vi *lo, vi *hi) {
    vi low = VI(set1_epi8)(15), w = i_load(block + 64 * v + lane);
    *lo = i_and(w, low);
    *hi = i_and(VI(srli_epi16)(w, 4), low);
    if (k == KD_QK_4B) {
        *lo = VI(shuffle_epi8)(book, *lo);
        *hi = VI(shuffle_epi8)(book, *hi);
    } else if (k == KD_QK_5 || k == KD_QK_5M) {
        *lo = i_fifth(*lo, block + 256 + 8 * v + lane / 8);
        *hi = i_fifth(*hi, block + 256 + 8 * (v + 4) + lane / 8);
    }
}

#if KD_ISA == 512
KD_INLINE vf v_bf16(const void *p) { return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16)); }
#else
KD_INLINE vf v_bf16(const void *p) { return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16)); }
#endif
/* Scale and min of part `half` of block b for the rows from r0 on, however they are kept (kd_qscale_bytes). */
KD_INLINE void scale_at(kd_qscale q, size_t per, bool has_min, const kd_qtile *t, size_t p, size_t b, size_t half, size_t r0, vf *scale,
                        vf *min) {
    const char *s = t->scale[p];
    if (q == KD_QS_EXPANDED) {
        *scale = v_load(s + ((b * per + half) * KD_QROWS + r0) * sizeof(float));
        if (has_min) *min = v_load(t->min[p] + (b * per + half) * KD_QROWS + r0);
    } else if (q == KD_QS_SUPER) {
        size_t n = 8 * per, i = b % 8 * per + half;
        s += b / 8 * (has_min ? 2 : 1) * (32 + n * 16);
        *scale = v_half(s + 2 * r0) * v_i8(s + (has_min ? 64 : 32) + 16 * i + r0);
        if (has_min) *min = (v_zero() - v_half(s + 32 + 2 * r0)) * v_i8(s + 64 + 16 * (n + i) + r0);
    } else {
        s += b * (has_min ? 64 : 32) + 2 * r0;
        *scale = q == KD_QS_F16 ? v_half(s) : v_bf16(s);
        if (has_min) *min = v_half(s + 32);
    }
}

/* One row of x is fed by memory alone: what comes AHEAD bytes later, in this panel or in the next, is fetched
 * (where codes are whole bytes that was no gain). */
enum { AHEAD = 8192 };
KD_INLINE void fetch_ahead(size_t cb, const uint8_t *codes) {
    KD_UNROLL(8)
    for (size_t i = 0; i < cb; i += 64) _mm_prefetch((const char *)codes + AHEAD + i, _MM_HINT_T0);
}

/* P panels from byte `lane` of their vectors on (VW rows) against M rows of x. */
KD_INLINE void core(kd_qkind k, kd_qscale q, size_t P, size_t M, const kd_qtile *t, size_t lane) {
    size_t per = k >= KD_QK_6H ? 2 : 1, cb = k <= KD_QK_4B ? 256 : k <= KD_QK_5M ? 320 : 512, r0 = lane / 4;
    bool narrow = k <= KD_QK_5M, has_min = k == KD_QK_4M || k == KD_QK_5M || k == KD_QK_6HM;
    bool starts = k != KD_QK_4M && k != KD_QK_5M && k != KD_QK_6HM && (QDOT || (k != KD_QK_8 && k != KD_QK_4B));
    vi book = k == KD_QK_4B ? i_dup128(t->book) : i_zero();
    vf acc[4][KD_QCOLS];
    KD_UNROLL(8)
    for (size_t p = 0; p < P; p++) KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) acc[p][m] = v_zero();
    for (size_t b = 0; b < t->blocks; b++) {
        const kd_qact *x = t->x + b;
        if (q != KD_QS_EXPANDED && cb < 512) fetch_ahead(cb, t->codes[0] + b * cb);
        KD_UNROLL(2)
        for (size_t half = 0; half < per; half++) {
            vi s[4][KD_QCOLS], h[4][KD_QCOLS];
            KD_UNROLL(8)
            for (size_t p = 0; p < P; p++) KD_UNROLL(8)
            for (size_t m = 0; m < M; m++) {
                s[p][m] = starts ? VI(set1_epi32)(x[m * t->blocks].start[half]) : i_zero();
                h[p][m] = i_zero();
            }
            if (narrow) {
                KD_UNROLL(4)
                for (size_t v = 0; v < 4; v++) {
                    vi lo[4], hi[4];
                    KD_UNROLL(8)
                    for (size_t p = 0; p < P; p++) unpack(k, t->codes[p] + b * cb, lane, v, book, &lo[p], &hi[p]);
                    KD_UNROLL(8)
                    for (size_t m = 0; m < M; m++) {
                        vi a = i_set32(x[m * t->blocks].q + 4 * v), c = i_set32(x[m * t->blocks].q + 16 + 4 * v);
                        KD_UNROLL(8)
                        for (size_t p = 0; p < P; p++) {
                            step(k, &s[p][m], &h[p][m], lo[p], a);
                            step(k, &s[p][m], &h[p][m], hi[p], c);
                            if (v == 3 || ((k == KD_QK_5 || k == KD_QK_5M) && v == 1)) fold(k, &s[p][m], &h[p][m]);
                        }
                    }
                }
            } else {
                KD_UNROLL(8)
                for (size_t i = 0; i < 8 / per; i++) {
                    size_t v = half * 4 + i;
                    vi w[4];
                    KD_UNROLL(8)
                    for (size_t p = 0; p < P; p++) w[p] = i_load(t->codes[p] + b * cb + 64 * v + lane);
                    KD_UNROLL(8)
                    for (size_t m = 0; m < M; m++) {
                        vi a = i_set32(x[m * t->blocks].q + 4 * v);
                        KD_UNROLL(8)
                        for (size_t p = 0; p < P; p++) {
                            step(k, &s[p][m], &h[p][m], w[p], a);
                            if (i % 2) fold(k, &s[p][m], &h[p][m]);
                        }
                    }
                }
            }
            KD_UNROLL(8)
            for (size_t p = 0; p < P; p++) {
                vf scale, min = v_zero();
                scale_at(q, per, has_min, t, p, b, half, r0, &scale, &min);
                KD_UNROLL(8)
                for (size_t m = 0; m < M; m++) {
                    acc[p][m] = v_fma(i_float(s[p][m]) * scale, v_set(x[m * t->blocks].d), acc[p][m]);
                    if (has_min) acc[p][m] = v_fma(min, v_set(x[m * t->blocks].dsum[half]), acc[p][m]);
                }
            }
        }
    }
    KD_UNROLL(8)
    for (size_t p = 0; p < P; p++) {
        size_t at = p * KD_QROWS + r0, n = t->rows < at ? 0 : t->rows - at;
        vf bias = v_zero();
        if (t->bias && n) bias = n >= VW ? v_load(t->bias + at) : v_load_n(t->bias + at, n);
        KD_UNROLL(8)
        for (size_t m = 0; m < M; m++) {
            float *y = t->y + m * t->ldy + at;
            vf v = acc[p][m];
            if (t->bias) v = v + bias;
            if (t->accumulate && n) v = v + (n >= VW ? v_load(y) : v_load_n(y, n));
            if (n >= VW)
                v_store(y, v);
            else if (n)
                v_store_n(y, v, n);
        }
    }
}

/* 512 bits hold a panel's 16 rows; 256 bits half of them: there panels and their halves go one after the other. */
KD_INLINE void whole(kd_qkind k, kd_qscale q, size_t P, size_t M, const kd_qtile *t) {
#if KD_ISA == 512
    if (q == KD_QS_EXPANDED) {
        core(k, q, P, M, t, 0);
        return;
    }
    kd_qtile one = *t; /* one row of x: panel by panel, as they lie in memory */
    for (size_t p = 0; p < P && p * KD_QROWS < t->rows; p++) {
        one.codes[0] = t->codes[p], one.scale[0] = t->scale[p];
        one.y = t->y + p * KD_QROWS, one.bias = t->bias ? t->bias + p * KD_QROWS : NULL, one.rows = t->rows - p * KD_QROWS;
        core(k, q, 1, 1, &one, 0);
    }
#else
    kd_qtile one = *t;
    for (size_t p = 0; p < P && p * KD_QROWS < t->rows; p++) {
        one.codes[0] = t->codes[p], one.scale[0] = t->scale[p], one.min[0] = t->min[p];
        one.y = t->y + p * KD_QROWS, one.bias = t->bias ? t->bias + p * KD_QROWS : NULL, one.rows = t->rows - p * KD_QROWS;
        for (size_t lane = 0; lane < 64; lane += 32) core(k, q, 1, M, &one, lane);
    }
#endif
}
#define QTILE(name, k, q, P, M)                                                                                                            \
    static __attribute__((noinline)) void name(const kd_qtile *t) { whole(k, q, P, M, t); }
#if KD_ISA == 512
#define BIG(k) QTILE(tile6_##k, k, KD_QS_EXPANDED, 2, 6)
#define BIG_OF(k) tile6_##k
#else
#define BIG(k)
#define BIG_OF(k) NULL
#endif
#define KIND(k)                                                                                                                            \
    QTILE(tile1_##k, k, KD_QS_EXPANDED, 2, 1)                                                                                              \
    QTILE(tile2_##k, k, KD_QS_EXPANDED, 2, 2) QTILE(tile3_##k, k, KD_QS_EXPANDED, 2, 3) QTILE(tile4_##k, k, KD_QS_EXPANDED, 2, 4) BIG(k)
KIND(KD_QK_4)
KIND(KD_QK_4M)
KIND(KD_QK_4B)
KIND(KD_QK_5)
KIND(KD_QK_5M)
KIND(KD_QK_8)
KIND(KD_QK_6H)
KIND(KD_QK_6HM)
QTILE(wide_4, KD_QK_4, KD_QS_F16, 4, 1)
QTILE(wide_4m, KD_QK_4M, KD_QS_F16, 4, 1)
QTILE(wide_4ms, KD_QK_4M, KD_QS_SUPER, 4, 1)
QTILE(wide_4b, KD_QK_4B, KD_QS_F16, 4, 1)
QTILE(wide_4bb, KD_QK_4B, KD_QS_BF16, 4, 1)
QTILE(wide_4bs, KD_QK_4B, KD_QS_SUPER, 4, 1)
QTILE(wide_5, KD_QK_5, KD_QS_F16, 4, 1)
QTILE(wide_5m, KD_QK_5M, KD_QS_F16, 4, 1)
QTILE(wide_5ms, KD_QK_5M, KD_QS_SUPER, 4, 1)
QTILE(wide_8, KD_QK_8, KD_QS_F16, 4, 1)
QTILE(wide_6s, KD_QK_6H, KD_QS_SUPER, 4, 1)
QTILE(wide_6ms, KD_QK_6HM, KD_QS_SUPER, 4, 1)
#define ROW(k) [k] = {NULL, tile1_##k, tile2_##k, tile3_##k, tile4_##k, NULL, BIG_OF(k)}
#define TILES                                                                                                                              \
    { ROW(KD_QK_4), ROW(KD_QK_4M), ROW(KD_QK_4B), ROW(KD_QK_5), ROW(KD_QK_5M), ROW(KD_QK_8), ROW(KD_QK_6H), ROW(KD_QK_6HM) }
#define WIDES                                                                                                                              \
    {                                                                                                                                      \
        [KD_QK_4] = {wide_4, NULL, NULL}, [KD_QK_4M] = {wide_4m, NULL, wide_4ms}, [KD_QK_4B] = {wide_4b, wide_4bb, wide_4bs},              \
        [KD_QK_5] = {wide_5, NULL, NULL}, [KD_QK_5M] = {wide_5m, NULL, wide_5ms}, [KD_QK_8] = {wide_8, NULL, NULL},                        \
        [KD_QK_6H] = {NULL, NULL, wide_6s}, [KD_QK_6HM] = {                                                                                \
            NULL,                                                                                                                          \
            NULL,                                                                                                                          \
            wide_6ms                                                                                                                       \
        }                                                                                                                                  \
    }

/* d = max|x| / 127, q = round(x / d) to even. A NaN or infinity makes d one, and so every output of the row. */
static void quantize(kd_qact *out, const float *x, size_t blocks, int offset, size_t per) {
    const __m256i absolute = _mm256_set1_epi32(0x7fffffff), one8 = _mm256_set1_epi8(1), one16 = _mm256_set1_epi16(1);
    for (size_t b = 0; b < blocks; b++, out++, x += 32) {
        __m256 v[4];
        __m256i m = _mm256_setzero_si256();
        for (int i = 0; i < 4; i++) {
            v[i] = _mm256_loadu_ps(x + 8 * i);
            m = _mm256_max_epi32(m,
                                 _mm256_and_si256(_mm256_castps_si256(v[i]), absolute)); /* order of bits is that of numbers, NaN on top */
        }
        __m128i q = _mm_max_epi32(_mm256_castsi256_si128(m), _mm256_extracti128_si256(m, 1));
        q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0x4e));
        q = _mm_max_epi32(q, _mm_shuffle_epi32(q, 0xb1));
        float max = _mm_cvtss_f32(_mm_castsi128_ps(q));
        __m256 inv = _mm256_set1_ps(max > 1e-30f ? 127.0f / max : 0.0f);
        __m256i a = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(v[0], inv)), _mm256_cvtps_epi32(_mm256_mul_ps(v[1], inv)));
        __m256i c = _mm256_packs_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(v[2], inv)), _mm256_cvtps_epi32(_mm256_mul_ps(v[3], inv)));
        a = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, c), _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
        _mm256_storeu_si256((void *)out->q, a);
        __m256i s = _mm256_madd_epi16(_mm256_maddubs_epi16(one8, a), one16);
        __m128i lo = _mm256_castsi256_si128(s), hi = _mm256_extracti128_si256(s, 1);
        __m128i two = _mm_hadd_epi32(lo, hi);
        two = _mm_hadd_epi32(two, two);
        int32_t s0 = _mm_cvtsi128_si32(two), s1 = _mm_extract_epi32(two, 1);
        if (per == 1) s0 += s1, s1 = 0;
        float d = max / 127.0f;
        out->d = d;
        out->start[0] = -offset * s0, out->start[1] = -offset * s1;
        out->dsum[0] = d * (float)s0, out->dsum[1] = d * (float)s1;
    }
}

static void scales_small(float *scale, float *min, const char *src, const kd_qformat *f, size_t blocks) {
    for (size_t b = 0; b < blocks; b++, scale += KD_QROWS) {
        for (size_t i = 0; i < KD_QROWS; i += 8) {
            __m128i d = _mm_loadu_si128((const void *)(src + 2 * i));
            _mm256_storeu_ps(scale + i, f->scale == KD_QS_F16 ? _mm256_cvtph_ps(d)
                                                              : _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(d), 16)));
        }
        src += 32;
        if (!kd_qhas_min(f->kind)) continue;
        for (size_t i = 0; i < KD_QROWS; i += 8) _mm256_storeu_ps(min + i, _mm256_cvtph_ps(_mm_loadu_si128((const void *)(src + 2 * i))));
        src += 32, min += KD_QROWS;
    }
}

static void scales(float *scale, float *min, const void *src, const kd_qformat *f, size_t blocks) {
    const char *p = src;
    if (f->scale != KD_QS_SUPER) {
        scales_small(scale, min, p, f, blocks);
        return;
    }
    size_t n = 8 * kd_qper(f->kind);
    bool has_min = kd_qhas_min(f->kind);
    for (size_t b = 0; b < blocks; b += 8, p += kd_qscale_bytes(f)) {
        const char *sub = p + (has_min ? 64 : 32);
        for (size_t i = 0; i < KD_QROWS; i += 8) {
            __m256 d = _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 2 * i))), e = d;
            if (has_min) e = _mm256_sub_ps(_mm256_setzero_ps(), _mm256_cvtph_ps(_mm_loadu_si128((const void *)(p + 32 + 2 * i))));
            for (size_t j = 0; j < n; j++) {
                __m256 s = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(sub + 16 * j + i))));
                _mm256_storeu_ps(scale + (b / 8 * n + j) * KD_QROWS + i, _mm256_mul_ps(d, s));
                if (has_min) {
                    s = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const void *)(sub + 16 * (n + j) + i))));
                    _mm256_storeu_ps(min + (b / 8 * n + j) * KD_QROWS + i, _mm256_mul_ps(e, s));
                }
            }
        }
    }
}
