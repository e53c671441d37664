/* distill/math/quant_pack.h - codes and scales into the bytes of blocks: the inverse of the readers. Leans on codec_blocks.h.
 * q: a byte a value, in the order of the values, offsets added (never negative). The loops are such that compilers vectorize them. */
#include "distill/math/codec_blocks.h"

/* 32 codes: value j low, value j + 16 high. */
static inline void pack_nibbles(const uint8_t *restrict q, uint8_t *restrict qs) {
    for (int j = 0; j < 16; j++) qs[j] = (uint8_t)((q[j] & 15) | q[j + 16] << 4);
}
static inline uint32_t pack_fifth(const uint8_t *q) {
    uint32_t h = 0;
    for (int j = 0; j < 32; j++) h |= (uint32_t)(q[j] >> 4 & 1) << j;
    return h;
}
/* Two bits a value, 128 values in 32 bytes; twice. */
static inline void pack_2bit(const uint8_t *restrict q, uint8_t *restrict qs) {
    for (int l = 0; l < 32; l++) qs[l] = (uint8_t)((q[l] & 3) | (q[l + 32] & 3) << 2 | (q[l + 64] & 3) << 4 | q[l + 96] << 6);
    for (int l = 0; l < 32; l++) qs[l + 32] = (uint8_t)((q[l + 128] & 3) | (q[l + 160] & 3) << 2 | (q[l + 192] & 3) << 4 | q[l + 224] << 6);
}
/* Bit `bit` of 256 codes: that of value 32*g + l becomes bit g of byte l. */
static inline void pack_bit(const uint8_t *restrict q, int bit, uint8_t *restrict h) {
    memset(h, 0, 32);
    for (int g = 0; g < 8; g++)
        for (int l = 0; l < 32; l++) h[l] = (uint8_t)(h[l] | (q[32 * g + l] >> bit & 1) << g);
}
static inline void pack_q3_k(kd_block_q3_k *restrict b, const uint8_t *restrict q, const int s[16]) {
    pack_2bit(q, b->qs);
    pack_bit(q, 2, b->hmask);
    memset(b->scales, 0, sizeof b->scales);
    for (int j = 0; j < 16; j++) {
        unsigned v = (unsigned)(s[j] + 32);
        b->scales[j % 8] |= (uint8_t)((v & 15) << 4 * (j / 8));
        b->scales[8 + j % 4] |= (uint8_t)(v >> 4 << 2 * (j / 4));
    }
}
static inline void pack_q6_k(kd_block_q6_k *restrict b, const uint8_t *restrict q, const int s[16]) {
    for (int h = 0; h < 2; h++, q += 128) {
        uint8_t *restrict ql = b->ql + 64 * h, *restrict qh = b->qh + 32 * h;
        for (int l = 0; l < 64; l++) ql[l] = (uint8_t)((q[l] & 15) | q[l + 64] << 4);
        for (int l = 0; l < 32; l++) qh[l] = (uint8_t)(q[l] >> 4 | q[l + 32] >> 4 << 2 | q[l + 64] >> 4 << 4 | q[l + 96] >> 4 << 6);
    }
    for (int j = 0; j < 16; j++) b->scales[j] = (int8_t)s[j];
}
static inline void pack_iq4_xs(kd_block_iq4_xs *restrict b, const uint8_t *restrict q, const int s[8]) {
    unsigned high = 0;
    memset(b->scales_l, 0, sizeof b->scales_l);
    for (int j = 0; j < 8; j++) {
        unsigned v = (unsigned)(s[j] + 32);
        b->scales_l[j / 2] |= (uint8_t)((v & 15) << 4 * (j % 2));
        high |= v >> 4 << 2 * j;
        pack_nibbles(q + 32 * j, b->qs + 16 * j);
    }
    b->scales_h = (uint16_t)high;
}
static inline void pack_scales_k4(uint8_t out[12], const int s[8], const int m[8]) {
    for (int j = 0; j < 4; j++) {
        out[j] = (uint8_t)(s[j] | s[j + 4] >> 4 << 6);
        out[j + 4] = (uint8_t)(m[j] | m[j + 4] >> 4 << 6);
        out[j + 8] = (uint8_t)((s[j + 4] & 15) | (m[j + 4] & 15) << 4);
    }
}
/* Low nibbles of 256 codes, 64 at a time into 32 bytes. */
static inline void pack_low(const uint8_t *restrict q, uint8_t *restrict qs) {
    for (int g = 0; g < 4; g++)
        for (int l = 0; l < 32; l++) qs[32 * g + l] = (uint8_t)((q[64 * g + l] & 15) | q[64 * g + 32 + l] << 4);
}
