/* distill/math/codec.c - the face of the codecs: conversions of single values, and which body serves a call. Leans on codec_blocks.h,
 * base/cpu.h. The bodies are in codec_scalar.c (the reference) and codec_body.h (vectors); the searched quantizers in quant.c. */
#include "distill/math/codec_blocks.h"

#include "distill/base/cpu.h"
#include "distill/math/quant.h"

#include <assert.h>
#include <string.h>

const int8_t kd_iq4_values[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const int8_t kd_mxfp4_values[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

static uint32_t bits_of(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}
static float float_of(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

float kd_f16_to_f32(uint16_t h) {
    uint32_t sign = (uint32_t)(h & 0x8000) << 16, e = h >> 10 & 31, m = h & 1023;
    if (e == 0) /* zero or subnormal: m * 2^-24, exact */
        return float_of(sign | bits_of((float)m * 0x1p-24f));
    if (e == 31) /* infinity; a NaN comes out quiet, as the hardware has it */
        return float_of(sign | 0x7f800000 | (m ? 0x400000 | m << 13 : 0));
    return float_of(sign | (e + 112) << 23 | m << 13);
}

uint16_t kd_f32_to_f16(float f) {
    uint32_t u = bits_of(f), a = u & 0x7fffffff, sign = u >> 16 & 0x8000;
    if (a > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (a >> 13 & 0x3ff));
    if (a >= 0x477ff000) /* 65520 and up round to infinity */
        return (uint16_t)(sign | 0x7c00);
    if (a < 0x38800000) /* subnormal: adding 1/2 makes the adder round at 2^-24 */
        return (uint16_t)(sign | (bits_of(float_of(a) + 0.5f) - 0x3f000000));
    return (uint16_t)(sign | (a - 0x38000000 + 0xfff + (a >> 13 & 1)) >> 13);
}

uint16_t kd_f32_to_bf16(float f) {
    uint32_t u = bits_of(f);
    if ((u & 0x7fffffff) > 0x7f800000) return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fff + (u >> 16 & 1)) >> 16);
}

static const kd_codec_ops *ops(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return &kd_codec_avx512;
    case KD_CPU_AVX2: return &kd_codec_avx2;
    case KD_CPU_SCALAR: break;
    }
#endif
    return &kd_codec_scalar;
}

static kd_read_fn *reader(int t) {
    if (t < 0 || t >= KD_CODEC_SLOTS) return NULL;
    kd_read_fn *f = ops()->read[t];
    return f ? f : kd_codec_scalar.read[t];
}

bool kd_can_read(int t) { return t >= 0 && t < KD_CODEC_SLOTS && kd_codec_scalar.read[t]; }

void kd_dequantize(kd_dtype t, const void *src, float *dst, size_t n) {
    kd_read_fn *f = reader((int)t);
    assert(f);
    if (f && n) f(src, dst, n);
}

bool kd_can_write(int t) { return t >= 0 && t < KD_CODEC_SLOTS && (kd_codec_scalar.write[t] || kd_quant_searches(t)); }

kd_code kd_quantize(kd_dtype t, const float *src, void *dst, size_t n, const float *importance, kd_err *e) {
    const kd_dtype_info *info = kd_dtype_get((int)t);
    if (!info || !kd_can_write((int)t))
        return kd_fail(e, KD_EUNSUPPORTED, "type %s (number %d) is not one that distill writes", info ? info->name : "unknown", (int)t);
    if (n % info->block)
        return kd_fail(e, KD_EINVAL, "a row of %zu values is not whole blocks of %zu, as type %s needs", n, info->block, info->name);
    if (n == 0) return KD_OK;
    kd_write_fn *formula = ops()->write[t] ? ops()->write[t] : kd_codec_scalar.write[t];
    if (formula && (!importance || !kd_quant_searches((int)t)))
        formula(src, dst, n);
    else
        kd_quant_search(t, src, dst, n, importance);
    return KD_OK;
}

bool kd_all_finite(const float *v, size_t n) { return ops()->all_finite(v, n); }
