/* distill/math/qpack.c - stored rows re-laid in panels (qlinear_kernels.h). The codes of a block are had by letting the codec read a copy of it whose
 * scales are one and whose mins are nought, so that every layout of bits is known in one place only. Leans on codec_blocks.h, mat.h. */
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

void kd_qpack_panel(const kd_mat *w, size_t row0, const kd_qformat *f, uint8_t *code, char *scale) {
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
