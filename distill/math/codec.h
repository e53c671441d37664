/* distill/math/codec.h - stored types to float32 and back, a row at a time. Leans on base/dtype.h, base/err.h.
 * Scalar reference in codec*.c; vector bodies chosen at start give the same bits (reading is exact: tests/oracle/quant.safetensors). */
#ifndef KD_MATH_CODEC_H
#define KD_MATH_CODEC_H

#include "distill/base/dtype.h"
#include "distill/base/err.h"

#include <stdint.h>

/* dst[0..n) f32 = the n values stored at src in type t; n a multiple of the block. Every type of dtype.h but the integer ones and MXFP4's
 * kin is read exactly as ggml's own reference reads it. assert on a type we cannot read: ask kd_can_read first. Reentrant. */
void kd_dequantize(kd_dtype t, const void *src, float *dst, size_t n);
bool kd_can_read(int t);
/* dst = src[0..n) in type t; n a multiple of the block. importance [n] or NULL: weights of the squared error, >= 0.
 * F16, BF16, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0 without importance: ggml's bytes exactly. Values that are not finite: the caller's business
 * (check with kd_all_finite). Errors: KD_EUNSUPPORTED naming the type if we do not write it; KD_EINVAL if n is no multiple. */
kd_code kd_quantize(kd_dtype t, const float *src, void *dst, size_t n, const float *importance, kd_err *e);
bool kd_can_write(int t);
bool kd_all_finite(const float *v, size_t n);

float kd_f16_to_f32(uint16_t h);
uint16_t kd_f32_to_f16(float f); /* round to nearest even, as ggml and the hardware do */
static inline float kd_bf16_to_f32(uint16_t h) {
    union {
        uint32_t u;
        float f;
    } v = {(uint32_t)h << 16};
    return v.f;
}
uint16_t kd_f32_to_bf16(float f); /* round to nearest even; NaN stays a quiet NaN */

#endif
