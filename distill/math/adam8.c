/* distill/math/adam8.c - AdamW with 8-bit moments. Leans on adam8.h, base/rng.h.
 * Codes are cut out of the bits of a float: exponent and the head of the fraction, the random bits added below before the cut. */
#include "distill/math/adam8.h"

#include "distill/base/rng.h"

#include <math.h>
#include <string.h>

enum { LEAST = 112 }; /* the exponent field of 2^-15 */

static uint32_t bits_of(float x) {
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
static float float_of(uint32_t u) {
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}

/* code (with `cut` bits of fraction left out) to a number in [2^-15, 2), 0 for code 0 */
static float number(uint32_t code, unsigned cut) { return code ? float_of((code + ((uint32_t)LEAST << (23 - cut))) << cut) : 0.0f; }

/* t >= 0 to a code of at most top, rounded up with the probability that `random` in [0, 2^cut) leaves */
static uint32_t code_of(float t, unsigned cut, uint32_t random, uint32_t top) {
    const uint32_t lowest = (((uint32_t)LEAST << (23 - cut)) + 1) << cut; /* code 1 */
    if (bits_of(t) < lowest) return t * 32768.0f * (float)(1u << cut) > (float)random * (1.0f + 1.0f / (float)(1u << (23 - cut))) ? 1 : 0;
    const uint32_t c = ((bits_of(t) + random) >> cut) - ((uint32_t)LEAST << (23 - cut));
    return c < top ? c : top;
}

static float largest(const float *x, size_t n) {
    float most = 0;
    for (size_t i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        if (a > most) most = a;
    }
    return most;
}

void kd_adam8_read_m(float *out, const uint8_t *codes, float scale, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const float x = number(codes[i] & 127u, 20) * scale;
        out[i] = codes[i] & 128u ? -x : x;
    }
}
void kd_adam8_read_v(float *root, const uint8_t *codes, float scale, size_t n) {
    for (size_t i = 0; i < n; i++) root[i] = number(codes[i], 19) * scale;
}
float kd_adam8_write_m(uint8_t *codes, const float *m, const uint16_t *bits, size_t n) {
    const float scale = largest(m, n) / 1.875f;
    if (!(scale > 1e-37f)) {
        memset(codes, 0, n);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = code_of(fabsf(m[i]) / scale, 20, (uint32_t)bits[i] << 4, 127);
        codes[i] = (uint8_t)(c | (m[i] < 0 && c ? 128u : 0));
    }
    return scale;
}
float kd_adam8_write_v(uint8_t *codes, const float *root, const uint16_t *bits, size_t n) {
    const float scale = largest(root, n) / 1.9375f;
    if (!(scale > 1e-37f)) {
        memset(codes, 0, n);
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = code_of(root[i] / scale, 19, (uint32_t)bits[i] << 3, 255);
        codes[i] = (uint8_t)(c ? c : root[i] > 0);
    }
    return scale;
}

static void random_bits(uint16_t *out, size_t n, uint64_t key, uint64_t step, uint64_t element, uint32_t which) {
    const uint32_t k[2] = {(uint32_t)key, (uint32_t)(key >> 32)};
    for (size_t i = 0; i < n; i += 8) {
        const uint64_t at = (element + i) / 8;
        const uint32_t ctr[4] = {(uint32_t)at, (uint32_t)(at >> 32), (uint32_t)step, which};
        uint32_t b[4];
        kd_philox(ctr, k, b);
        for (size_t j = 0; j < 8; j++) out[i + j] = (uint16_t)(b[j / 2] >> (16 * (j % 2)));
    }
}

void kd_adam8_step(float *p, const float *g, uint8_t *m, float *ms, uint8_t *v, float *vs, size_t n, float scale, const kd_adamw *o,
                   uint64_t key, uint64_t step, uint64_t element) {
    const float shrink = 1.0f - o->lr * o->decay, rate = (float)((double)o->lr / o->correct1), root = (float)sqrt(o->correct2);
    const float c1 = 1.0f - o->beta1, c2 = 1.0f - o->beta2;
    for (size_t at = 0; at < n; at += KD_ADAM8_BLOCK) {
        const size_t k = n - at < KD_ADAM8_BLOCK ? n - at : KD_ADAM8_BLOCK, block = at / KD_ADAM8_BLOCK;
        float fm[KD_ADAM8_BLOCK], fr[KD_ADAM8_BLOCK];
        uint16_t bits[KD_ADAM8_BLOCK];
        kd_adam8_read_m(fm, m + at, ms[block], k);
        kd_adam8_read_v(fr, v + at, vs[block], k);
        for (size_t i = 0; i < k; i++) {
            const float x = g[at + i] * scale;
            fm[i] += (x - fm[i]) * c1;
            fr[i] = sqrtf(fr[i] * fr[i] * o->beta2 + x * x * c2);
            p[at + i] = p[at + i] * shrink - rate * fm[i] / (fr[i] / root + o->eps);
        }
        random_bits(bits, k, key, step, element + at, 0x6d);
        ms[block] = kd_adam8_write_m(m + at, fm, bits, k);
        random_bits(bits, k, key, step, element + at, 0x76);
        vs[block] = kd_adam8_write_v(v + at, fr, bits, k);
    }
}
