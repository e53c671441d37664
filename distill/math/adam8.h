/* distill/math/adam8.h - AdamW whose two moments take a byte each: 8-bit floats by blocks of 256 that share a scale. Leans on grad.h.
 * Source of the idea: Dettmers et al. 2022, arXiv:2110.02861; the codes and their rounding are ours.
 *   first moment m:       sign, 4 bits of exponent, 3 of fraction;  value = scale * (1 + f/8) * 2^(e - 15), code 0 is 0
 *   second moment v:      kept as sqrt(v): 4 bits of exponent, 4 of fraction;  value = scale * (1 + f/16) * 2^(e - 15), code 0 is 0
 * The largest of a block meets the top code. Rounding is at random, in proportion, so a moment that moves by less than a step moves on average; the
 * random bits come from (key, step, element), so a step is a function of its inputs. sqrt(v) above 0 is never rounded to 0 (a step would explode). */
#ifndef KD_MATH_ADAM8_H
#define KD_MATH_ADAM8_H

#include "distill/math/grad.h"

enum { KD_ADAM8_BLOCK = 256 };
/* One step on n parameters as kd_adamw_step has it; m, v [n] codes, ms, vs [ceil(n/256)] scales. element: number of the first, a multiple of 256.
 * Test: tests/distill/math/test_adam8.c */
void kd_adam8_step(float *p, const float *g, uint8_t *m, float *ms, uint8_t *v, float *vs, size_t n, float scale, const kd_adamw *o,
                   uint64_t key, uint64_t step, uint64_t element);
/* Codes to values and back, n <= 256. bits: 16 random bits an element. Returns the scale. */
void kd_adam8_read_m(float *out, const uint8_t *codes, float scale, size_t n);
void kd_adam8_read_v(float *root, const uint8_t *codes, float scale, size_t n);
float kd_adam8_write_m(uint8_t *codes, const float *m, const uint16_t *bits, size_t n);
float kd_adam8_write_v(uint8_t *codes, const float *root, const uint16_t *bits, size_t n);

#endif
