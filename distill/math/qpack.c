/* distill/math/qpack.c - stored rows re-laid in panels (qlinear_kernels.h). A model's first token waits for this, so the types that most models are
 * made of go straight from bits to bits, sixteen rows at once. For the others the codes of a block are had by letting the codec read a copy of it
 * whose scales are one and whose mins are nought. Leans on codec_blocks.h, mat.h. */
#include "distill/math/codec_blocks.h"
#include "distill/math/qlinear_pack.h"

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

enum { SUPER = 256 };
static const uint16_t ONE = 0x3c00;

bool kd_qformat_of(int type, bool signed_bytes, kd_qformat *out) {
    kd_qformat f = {KD_QKINDS, KD_QS_F16, 0, NULL};
    switch (type) {
    case KD_Q4_0: f.kind = KD_QK_4, f.offset = 8; break;
    case KD_Q4_1: f.kind = KD_QK_4M; break;
    case KD_Q4_K: f.kind = KD_QK_4M, f.scale = KD_QS_SUPER; break;
    case KD_IQ4_NL: f.kind = KD_QK_4B, f.book = kd_iq4_values; break;
    case KD_IQ4_XS: f.kind = KD_QK_4B, f.book = kd_iq4_values, f.scale = KD_QS_SUPER; break;
    case KD_MXFP4: f.kind = KD_QK_4B, f.book = kd_mxfp4_values, f.scale = KD_QS_BF16; break;
    case KD_Q5_0: f.kind = KD_QK_5, f.offset = 16; break;
    case KD_Q5_1: f.kind = KD_QK_5M; break;
    case KD_Q5_K: f.kind = KD_QK_5M, f.scale = KD_QS_SUPER; break;
    case KD_Q8_0: f.kind = KD_QK_8; break;
    case KD_Q6_K: f.kind = KD_QK_6H, f.offset = 32, f.scale = KD_QS_SUPER; break;
    case KD_Q3_K: f.kind = KD_QK_6H, f.offset = 4, f.scale = KD_QS_SUPER; break;
    case KD_Q2_K: f.kind = KD_QK_6HM, f.scale = KD_QS_SUPER; break;
    default: return false;
    }
    if ((f.kind == KD_QK_8 || f.kind == KD_QK_4B) && !signed_bytes) f.offset = 128;
    *out = f;
    return true;
}

/* One stored block (of 32 or 256 columns) taken apart. */
typedef struct {
    uint8_t code[SUPER];
    uint16_t d, dmin; /* KD_QS_F16, KD_QS_BF16: of the block; KD_QS_SUPER: of the super-block */
    int8_t sub[16], mn[16];
} parts;

/* The nibbles of a block of a code book (read_book's order). */
static void nibbles(uint8_t *code, const uint8_t *qs) {
    for (int j = 0; j < 16; j++) code[j] = qs[j] & 15, code[j + 16] = qs[j] >> 4;
}

/* Whole floats to the low bytes of (int)v + offset; n a multiple of 16. */
static void low_bytes(uint8_t *dst, const float *v, size_t n, int offset) {
#if defined(__SSE2__)
    const __m128i off = _mm_set1_epi32(offset), low = _mm_set1_epi32(255);
    for (size_t i = 0; i < n; i += 16) {
        __m128i q[4];
        for (int k = 0; k < 4; k++) q[k] = _mm_and_si128(_mm_add_epi32(_mm_cvttps_epi32(_mm_loadu_ps(v + i + 4 * k)), off), low);
        _mm_storeu_si128((void *)(dst + i), _mm_packus_epi16(_mm_packs_epi32(q[0], q[1]), _mm_packs_epi32(q[2], q[3])));
    }
#else
    for (size_t i = 0; i < n; i++) dst[i] = (uint8_t)((int)v[i] + offset);
#endif
}

/* Reads a doctored block: values are the codes minus `offset`. */
static void codes(parts *p, int type, const void *block, size_t n, int offset) {
    float v[SUPER];
    kd_dequantize((kd_dtype)type, block, v, n);
    low_bytes(p->code, v, n, offset);
}

static uint16_t get16(const void *p) {
    uint16_t v;
    memcpy(&v, p, 2);
    return v;
}

/* Blocks of 32. */
static void take_small(parts *p, int type, const char *src, const kd_qformat *f) {
    char b[40];
    size_t size = kd_dtype_get(type)->bytes;
    memcpy(b, src, size);
    if (type == KD_MXFP4) {
        float s = kd_e8m0_half((uint8_t)b[0]);
        uint32_t u;
        memcpy(&u, &s, 4);
        p->d = (uint16_t)(u >> 16); /* a power of two: exact, subnormal ones too */
        nibbles(p->code, (const uint8_t *)b + 1);
        return;
    }
    p->d = get16(b);
    memcpy(b, &ONE, 2);
    if (type == KD_IQ4_NL) {
        nibbles(p->code, (const uint8_t *)b + 2);
        return;
    }
    if (kd_qhas_min(f->kind)) {
        p->dmin = get16(b + 2);
        memset(b + 2, 0, 2);
    }
    codes(p, type, b, 32, f->offset);
}

static void take_k4(parts *p, int type, const char *src) {
    kd_block_q5_k b;
    uint8_t sc[8], mn[8], one[12] = {1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1}; /* scales 1, mins 0 */
    memcpy(&b, src, kd_dtype_get(type)->bytes);                           /* q4_k is q5_k without qh: d, dmin and scales lie alike */
    p->d = b.d, p->dmin = b.dmin;
    kd_unpack_scales_k4(b.scales, sc, mn);
    for (int i = 0; i < 8; i++) p->sub[i] = (int8_t)sc[i], p->mn[i] = (int8_t)mn[i];
    b.d = ONE, b.dmin = 0;
    memcpy(b.scales, one, 12);
    codes(p, type, &b, SUPER, 0);
}

static void take_super(parts *p, int type, const char *src, const kd_qformat *f) {
    if (type == KD_Q4_K || type == KD_Q5_K) {
        take_k4(p, type, src);
    } else if (type == KD_Q6_K) {
        kd_block_q6_k b;
        memcpy(&b, src, sizeof b);
        p->d = b.d;
        memcpy(p->sub, b.scales, 16);
        b.d = ONE;
        memset(b.scales, 1, 16);
        codes(p, type, &b, SUPER, f->offset);
    } else if (type == KD_Q3_K) {
        kd_block_q3_k b;
        memcpy(&b, src, sizeof b);
        p->d = b.d;
        kd_unpack_scales_q3(b.scales, p->sub);
        b.d = ONE;
        memset(b.scales, 0x11, 8); /* every scale 33: low nibble 1, high bits 2 */
        memset(b.scales + 8, 0xaa, 4);
        codes(p, type, &b, SUPER, f->offset);
    } else if (type == KD_Q2_K) {
        kd_block_q2_k b;
        memcpy(&b, src, sizeof b);
        p->d = b.d, p->dmin = b.dmin;
        for (int i = 0; i < 16; i++) p->sub[i] = b.scales[i] & 15, p->mn[i] = (int8_t)(b.scales[i] >> 4);
        b.d = ONE, b.dmin = 0;
        memset(b.scales, 1, 16);
        codes(p, type, &b, SUPER, 0);
    } else {
        kd_block_iq4_xs b;
        memcpy(&b, src, sizeof b);
        p->d = b.d;
        kd_unpack_scales_iq4_xs(&b, p->sub);
        for (int g = 0; g < 8; g++) nibbles(p->code + 32 * g, b.qs + 16 * g);
    }
}

static void put32(uint8_t *p, uint32_t w) { memcpy(p, &w, 4); }

/* The codes of 32 columns of row r into their places, four at a time. */
static void lay(uint8_t *dst, const uint8_t *code, size_t r, kd_qkind k) {
    uint32_t w[8];
    memcpy(w, code, sizeof w);
    if (k > KD_QK_5M) {
        for (size_t s = 0; s < 8; s++) put32(dst + 64 * s + 4 * r, w[s]);
        return;
    }
    for (size_t s = 0; s < 4; s++) put32(dst + 64 * s + 4 * r, (w[s] & 0x0f0f0f0f) | (w[s + 4] & 0x0f0f0f0f) << 4);
    for (size_t s = 0; k >= KD_QK_5 && s < 8;
         s++) { /* the fifth bits of four codes side by side: a product gathers them in its highest nibble */
        unsigned four = ((w[s] >> 4 & 0x01010101u) * 0x10204080u) >> 28;
        uint8_t *at = dst + 256 + 8 * s + r / 2;
        *at = (uint8_t)(*at | four << 4 * (r % 2));
    }
}

static void lay_scales(char *dst, const parts *p, size_t r, const kd_qformat *f) {
    bool min = kd_qhas_min(f->kind);
    memcpy(dst + 2 * r, &p->d, 2);
    if (min) memcpy(dst + 32 + 2 * r, &p->dmin, 2);
    if (f->scale != KD_QS_SUPER) return;
    char *sub = dst + (min ? 64 : 32);
    size_t n = 8 * kd_qper(f->kind);
    for (size_t i = 0; i < n; i++) {
        sub[16 * i + r] = (char)p->sub[i];
        if (min) sub[16 * (n + i) + r] = (char)p->mn[i];
    }
}

/* The slow way, any type. */
static void pack_any(const kd_mat *w, size_t row0, const kd_qformat *f, uint8_t *code, char *scale) {
    size_t blocks = w->cols / KD_QBLOCK, per = f->scale == KD_QS_SUPER ? 8 : 1, cb = kd_qcode_bytes(f->kind), sb = kd_qscale_bytes(f);
    size_t rows = w->rows - row0 < KD_QROWS ? w->rows - row0 : KD_QROWS, bytes = kd_dtype_get((int)w->type)->bytes;
    memset(code, 0, blocks * cb); /* rows that are not there: scale 0 */
    memset(scale, 0, blocks / per * sb);
    for (size_t r = 0; r < rows; r++) {
        const char *src = kd_mat_row(w, row0 + r);
        for (size_t b = 0; b < blocks; b += per, src += bytes) {
            parts p;
            if (per == 8)
                take_super(&p, (int)w->type, src, f);
            else
                take_small(&p, (int)w->type, src, f);
            for (size_t i = 0; i < per; i++) lay(code + (b + i) * cb, p.code + 32 * i, r, f->kind);
            lay_scales(scale + b / per * sb, &p, r, f);
        }
    }
}

#if defined(__SSE2__)
/* Four rows' 16 bytes become four columns of four: dst[64 * s + 4 * r ..] = word s of row r. */
static void put4(uint8_t *dst, __m128i a, __m128i b, __m128i c, __m128i d) {
    __m128i ab = _mm_unpacklo_epi32(a, b), cd = _mm_unpacklo_epi32(c, d), AB = _mm_unpackhi_epi32(a, b), CD = _mm_unpackhi_epi32(c, d);
    _mm_storeu_si128((void *)dst, _mm_unpacklo_epi64(ab, cd));
    _mm_storeu_si128((void *)(dst + 64), _mm_unpackhi_epi64(ab, cd));
    _mm_storeu_si128((void *)(dst + 128), _mm_unpacklo_epi64(AB, CD));
    _mm_storeu_si128((void *)(dst + 192), _mm_unpackhi_epi64(AB, CD));
}
typedef struct {
    const uint8_t *row[KD_QROWS]; /* a panel's rows as stored */
} rows16;
static __m128i load16(const void *p) { return _mm_loadu_si128(p); }

/* 16 bytes of every row from byte `at` on, exclusive-or'ed with `flip`. */
static void lay16(uint8_t *dst, const rows16 *w, size_t at, uint8_t flip) {
    const __m128i x = _mm_set1_epi8((char)flip);
    for (size_t r = 0; r < KD_QROWS; r += 4)
        put4(dst + 4 * r, _mm_xor_si128(load16(w->row[r] + at), x), _mm_xor_si128(load16(w->row[r + 1] + at), x),
             _mm_xor_si128(load16(w->row[r + 2] + at), x), _mm_xor_si128(load16(w->row[r + 3] + at), x));
}

/* Fifth bits: nibble s of row r's 32 bits goes to nibble r of word s. */
static void lay_fifth(uint8_t *dst, const uint32_t *bits) {
    for (size_t r = 0; r < KD_QROWS; r += 2) {
        uint64_t v = 0;
        for (size_t i = 0; i < 2; i++) { /* a nibble a byte */
            uint64_t x = bits[r + i];
            x = (x | x << 16) & 0x0000ffff0000ffffu;
            x = (x | x << 8) & 0x00ff00ff00ff00ffu;
            x = (x | x << 4) & 0x0f0f0f0f0f0f0f0fu;
            v |= x << 4 * i;
        }
        for (size_t s = 0; s < 8; s++) dst[8 * s + r / 2] = (uint8_t)(v >> 8 * s);
    }
}

/* Blocks of 32 whose nibbles lie as a panel wants them (value j low, j + 16 high), and signed bytes. */
static void pack_small(const rows16 *w, kd_dtype type, const kd_qformat *f, size_t blocks, uint8_t *code, char *scale) {
    const size_t bytes = kd_dtype_get((int)type)->bytes, cb = kd_qcode_bytes(f->kind), sb = kd_qscale_bytes(f);
    const bool min = kd_qhas_min(f->kind), fifth = f->kind == KD_QK_5 || f->kind == KD_QK_5M;
    const size_t head = (min ? 4u : 2u) + (fifth ? 4u : 0u);
    for (size_t b = 0, at = 0; b < blocks; b++, at += bytes, code += cb, scale += sb) {
        uint32_t bits[KD_QROWS];
        for (size_t r = 0; r < KD_QROWS; r++) {
            const uint8_t *src = w->row[r] + at;
            memcpy(scale + 2 * r, src, 2);
            if (min) memcpy(scale + 32 + 2 * r, src + 2, 2);
            if (fifth) memcpy(&bits[r], src + head - 4, 4);
        }
        lay16(code, w, at + head, f->kind == KD_QK_8 && f->offset ? 0x80 : 0);
        if (f->kind == KD_QK_8) lay16(code + 256, w, at + head + 16, f->offset ? 0x80 : 0);
        if (fifth) lay_fifth(code + 256, bits);
    }
}

/* One super-block of sixteen rows, 32 columns at a time: low nibbles of 32 bytes are one block, high ones the next. */
static void lay_k4(uint8_t *code, const rows16 *w, size_t at, size_t cb) {
    const __m128i low = _mm_set1_epi8(15);
    for (size_t g = 0; g < 4; g++, code += 2 * cb)
        for (size_t r = 0; r < KD_QROWS; r += 4) {
            __m128i lo[4], hi[4];
            for (size_t i = 0; i < 4; i++) {
                const uint8_t *q = w->row[r + i] + at + 32 * g;
                const __m128i a = load16(q), b = load16(q + 16);
                lo[i] = _mm_or_si128(_mm_and_si128(a, low), _mm_andnot_si128(low, _mm_slli_epi16(b, 4)));
                hi[i] = _mm_or_si128(_mm_and_si128(_mm_srli_epi16(a, 4), low), _mm_andnot_si128(low, b));
            }
            put4(code + 4 * r, lo[0], lo[1], lo[2], lo[3]);
            put4(code + cb + 4 * r, hi[0], hi[1], hi[2], hi[3]);
        }
}

static void pack_k45(const rows16 *w, bool five, size_t blocks, uint8_t *code, char *scale) {
    const size_t bytes = five ? sizeof(kd_block_q5_k) : sizeof(kd_block_q4_k), cb = five ? 320 : 256;
    for (size_t b = 0, at = 0; b < blocks; b += 8, at += bytes, code += 8 * cb, scale += 2 * (32 + 8 * 16)) {
        for (size_t r = 0; r < KD_QROWS; r++) {
            const uint8_t *src = w->row[r] + at;
            uint8_t sc[8], mn[8];
            memcpy(scale + 2 * r, src, 2);
            memcpy(scale + 32 + 2 * r, src + 2, 2);
            kd_unpack_scales_k4(src + 4, sc, mn);
            for (size_t i = 0; i < 8; i++) scale[64 + 16 * i + r] = (char)sc[i], scale[64 + 128 + 16 * i + r] = (char)mn[i];
        }
        lay_k4(code, w, at + (five ? 48 : 16), cb);
        for (size_t g = 0; five && g < 8; g++) { /* bit g of 32 bytes: the fifth bits of block g */
            uint32_t bits[KD_QROWS];
            for (size_t r = 0; r < KD_QROWS; r++) {
                const uint8_t *qh = w->row[r] + at + 16;
                const __m128i up = _mm_cvtsi32_si128((int)(7 - g));
                bits[r] = (uint32_t)_mm_movemask_epi8(_mm_sll_epi16(load16(qh), up)) |
                          (uint32_t)_mm_movemask_epi8(_mm_sll_epi16(load16(qh + 16), up)) << 16;
            }
            lay_fifth(code + g * cb + 256, bits);
        }
    }
}

/* Sixteen codes of Q6_K from column `col` (a multiple of 16) of a super-block on. */
static __m128i six_bits(const uint8_t *block, size_t col) {
    const size_t half = col / 128, part = col % 128 / 32, l = col % 32;
    const __m128i low = load16(block + 64 * half + part % 2 * 32 + l), high = load16(block + 128 + 32 * half + l);
    const __m128i nib = _mm_and_si128(part < 2 ? low : _mm_srli_epi16(low, 4), _mm_set1_epi8(15));
    const __m128i two = _mm_and_si128(_mm_srl_epi16(high, _mm_cvtsi32_si128((int)(2 * part))), _mm_set1_epi8(3));
    return _mm_or_si128(nib, _mm_slli_epi16(two, 4));
}

static void pack_k6(const rows16 *w, size_t blocks, uint8_t *code, char *scale) {
    for (size_t b = 0, at = 0; b < blocks; b += 8, at += sizeof(kd_block_q6_k), scale += 32 + 16 * 16) {
        for (size_t r = 0; r < KD_QROWS; r++) {
            const uint8_t *src = w->row[r] + at;
            memcpy(scale + 2 * r, src + 208, 2);
            for (size_t i = 0; i < 16; i++) scale[32 + 16 * i + r] = (char)src[192 + i];
        }
        for (size_t col = 0; col < 256; col += 16, code += 256)
            for (size_t r = 0; r < KD_QROWS; r += 4)
                put4(code + 4 * r, six_bits(w->row[r] + at, col), six_bits(w->row[r + 1] + at, col), six_bits(w->row[r + 2] + at, col),
                     six_bits(w->row[r + 3] + at, col));
    }
}

#endif

/* n floats to bf16, to the nearest, to even between two; NaN stays NaN. */
static void to_bf16(uint16_t *dst, const float *v, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, v + i, 4);
        dst[i] = (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? u >> 16 | 64 : (u + 0x7fff + (u >> 16 & 1)) >> 16);
    }
}

/* F16 and BF16: step s of 16 rows holds columns 2s and 2s + 1 of each. F16 is rounded. */
static void pack_halves(const kd_mat *w, size_t row0, uint8_t *code) {
    const size_t rows = w->rows - row0 < KD_QROWS ? w->rows - row0 : KD_QROWS;
    memset(code, 0, w->cols * 2 * KD_QROWS);
    for (size_t r = 0; r < rows; r++) {
        const char *src = kd_mat_row(w, row0 + r);
        for (size_t c = 0; c < w->cols; c += KD_QBLOCK) {
            uint16_t h[KD_QBLOCK];
            if (w->type == KD_BF16)
                memcpy(h, src + 2 * c, sizeof h);
            else {
                float v[KD_QBLOCK];
                kd_dequantize(w->type, src + 2 * c, v, KD_QBLOCK);
                to_bf16(h, v, KD_QBLOCK);
            }
            for (size_t s = 0; s < KD_QBLOCK / 2; s++) memcpy(code + (c / 2 + s) * 64 + 4 * r, h + 2 * s, 4);
        }
    }
}

void kd_qpack_panel(const kd_mat *w, size_t row0, const kd_qformat *f, uint8_t *code, char *scale) {
    if (f->kind == KD_QK_BF16) {
        pack_halves(w, row0, code);
        return;
    }
#if defined(__SSE2__)
    rows16 all;
    size_t blocks = w->cols / KD_QBLOCK;
    if (row0 + KD_QROWS <= w->rows) { /* whole panels; the last one of odd matrices goes the slow way */
        for (size_t r = 0; r < KD_QROWS; r++) all.row[r] = kd_mat_row(w, row0 + r);
        switch (w->type) {
        case KD_Q4_0:
        case KD_Q4_1:
        case KD_Q5_0:
        case KD_Q5_1:
        case KD_Q8_0:
        case KD_IQ4_NL: pack_small(&all, w->type, f, blocks, code, scale); return;
        case KD_Q4_K:
        case KD_Q5_K: pack_k45(&all, w->type == KD_Q5_K, blocks, code, scale); return;
        case KD_Q6_K: pack_k6(&all, blocks, code, scale); return;
        default: break;
        }
    }
#endif
    pack_any(w, row0, f, code, scale);
}
