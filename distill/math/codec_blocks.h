/* distill/math/codec_blocks.h - the blocks of ggml's quantized types as they lie on disk, and their code books. Leans on codec.h.
 * Every struct is packed: blocks start on any byte of a mapped file. K types pack super-blocks of 256 values; the others blocks of 32. */
#ifndef KD_MATH_CODEC_BLOCKS_H
#define KD_MATH_CODEC_BLOCKS_H

#include "distill/math/codec.h"

#include <assert.h>
#include <string.h>

#define KD_PACKED __attribute__((packed))

/* Blocks of 32: value j sits in the low nibble of byte j, value j + 16 in its high nibble; a fifth bit is bit j of qh. f16 scales are raw bits. */
typedef struct KD_PACKED {
    uint16_t d; /* x = d * (q - 8) */
    uint8_t qs[16];
} kd_block_q4_0;
typedef struct KD_PACKED {
    uint16_t d, m; /* x = d * q + m */
    uint8_t qs[16];
} kd_block_q4_1;
typedef struct KD_PACKED {
    uint16_t d; /* x = d * (q - 16) */
    uint32_t qh;
    uint8_t qs[16];
} kd_block_q5_0;
typedef struct KD_PACKED {
    uint16_t d, m; /* x = d * q + m */
    uint32_t qh;
    uint8_t qs[16];
} kd_block_q5_1;
typedef struct KD_PACKED {
    uint16_t d; /* x = d * q */
    int8_t qs[32];
} kd_block_q8_0;
typedef struct KD_PACKED {
    uint16_t d; /* x = d * kd_iq4_values[q] */
    uint8_t qs[16];
} kd_block_iq4_nl;
typedef struct KD_PACKED {
    uint8_t e; /* x = 2^(e - 128) * kd_mxfp4_values[q] (the code book is doubled) */
    uint8_t qs[16];
} kd_block_mxfp4;

/* Super-blocks of 256. */
typedef struct KD_PACKED {
    uint8_t scales[16]; /* of 16 values each: low nibble scale, high nibble min */
    uint8_t qs[64];     /* 2 bits; value 128*h + 32*s + l is bits 2*s of byte 32*h + l */
    uint16_t d, dmin;   /* x = d * scale * q - dmin * min */
} kd_block_q2_k;
typedef struct KD_PACKED {
    uint8_t hmask[32];  /* the third bit of value 32*g + l is bit g of byte l */
    uint8_t qs[64];     /* as q2_k */
    uint8_t scales[12]; /* 16 scales of 6 bits, offset 32 */
    uint16_t d;         /* x = d * (scale - 32) * (q - 4) */
} kd_block_q3_k;
typedef struct KD_PACKED {
    uint16_t d, dmin;   /* x = d * scale * q - dmin * min */
    uint8_t scales[12]; /* 8 scales and 8 mins of 6 bits, each of 32 values */
    uint8_t qs[128];    /* low nibbles of byte 32*g + l: value 64*g + l; high nibbles: value 64*g + 32 + l */
} kd_block_q4_k;
typedef struct KD_PACKED {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32]; /* the fifth bit of value 32*g + l is bit g of byte l */
    uint8_t qs[128];
} kd_block_q5_k;
typedef struct KD_PACKED {
    uint8_t ql[128];   /* low 4 bits */
    uint8_t qh[64];    /* high 2 bits */
    int8_t scales[16]; /* of 16 values each */
    uint16_t d;        /* x = d * scale * (q - 32) */
} kd_block_q6_k;
typedef struct KD_PACKED {
    uint16_t d;          /* x = d * (scale - 32) * kd_iq4_values[q] */
    uint16_t scales_h;   /* 8 scales of 32 values each: high 2 bits */
    uint8_t scales_l[4]; /* low 4 bits */
    uint8_t qs[128];     /* 8 groups of 16 bytes, each laid as iq4_nl */
} kd_block_iq4_xs;

static_assert(sizeof(kd_block_q4_0) == 18, "q4_0");
static_assert(sizeof(kd_block_q4_1) == 20, "q4_1");
static_assert(sizeof(kd_block_q5_0) == 22, "q5_0");
static_assert(sizeof(kd_block_q5_1) == 24, "q5_1");
static_assert(sizeof(kd_block_q8_0) == 34, "q8_0");
static_assert(sizeof(kd_block_iq4_nl) == 18, "iq4_nl");
static_assert(sizeof(kd_block_mxfp4) == 17, "mxfp4");
static_assert(sizeof(kd_block_q2_k) == 84, "q2_k");
static_assert(sizeof(kd_block_q3_k) == 110, "q3_k");
static_assert(sizeof(kd_block_q4_k) == 144, "q4_k");
static_assert(sizeof(kd_block_q5_k) == 176, "q5_k");
static_assert(sizeof(kd_block_q6_k) == 210, "q6_k");
static_assert(sizeof(kd_block_iq4_xs) == 136, "iq4_xs");

extern const int8_t kd_iq4_values[16];
extern const int8_t kd_mxfp4_values[16]; /* twice the e2m1 values; code 8 (minus zero) reads as 0 */

/* The 8 scales and mins of q4_k and q5_k out of their 12 bytes: the first four in the low 6 bits of bytes 0-3 (scales) and 4-7 (mins), the
 * other four in the nibbles of bytes 8-11 with their high bits on top of bytes 0-7. */
static inline void kd_unpack_scales_k4(const uint8_t s[12], uint8_t sc[8], uint8_t mn[8]) {
    for (int j = 0; j < 4; j++) {
        sc[j] = s[j] & 63;
        mn[j] = s[j + 4] & 63;
        sc[j + 4] = (uint8_t)((s[j + 8] & 15) | (s[j] >> 6) << 4);
        mn[j + 4] = (uint8_t)(s[j + 8] >> 4 | (s[j + 4] >> 6) << 4);
    }
}
/* The 16 scales of q3_k, offset taken off: -32..31. Low nibbles in bytes 0-7 (scale j + 8 high), 2 high bits each in bytes 8-11. */
static inline void kd_unpack_scales_q3(const uint8_t s[12], int8_t sc[16]) {
    for (int j = 0; j < 16; j++) {
        int low = j < 8 ? s[j] & 15 : s[j - 8] >> 4;
        sc[j] = (int8_t)((low | ((s[8 + j % 4] >> 2 * (j / 4)) & 3) << 4) - 32);
    }
}
/* The 8 scales of iq4_xs, offset taken off: -32..31. */
static inline void kd_unpack_scales_iq4_xs(const kd_block_iq4_xs *b, int8_t sc[8]) {
    for (int j = 0; j < 8; j++) sc[j] = (int8_t)(((b->scales_l[j / 2] >> 4 * (j % 2) & 15) | (b->scales_h >> 2 * j & 3) << 4) - 32);
}
/* 2^(e - 128), the scale of an mxfp4 block over the doubled code book; subnormal at e = 0 and 1. */
static inline float kd_e8m0_half(uint8_t e) {
    uint32_t u = e < 2 ? (uint32_t)0x00200000 << e : (uint32_t)(e - 1) << 23;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* One set of bodies an instruction set; [type], NULL where the type has none. n is whole blocks. */
typedef void kd_read_fn(const void *src, float *dst, size_t n);
typedef void kd_write_fn(const float *src, void *dst, size_t n);
#define KD_CODEC_SLOTS (KD_F8_E4M3 + 1)
typedef struct {
    kd_read_fn *read[KD_CODEC_SLOTS];
    kd_write_fn *write[KD_CODEC_SLOTS];
    bool (*all_finite)(const float *v, size_t n);
} kd_codec_ops;
extern const kd_codec_ops kd_codec_scalar;
#if defined(__x86_64__)
extern const kd_codec_ops kd_codec_avx2, kd_codec_avx512;
#endif

#endif
