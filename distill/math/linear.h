/* distill/math/linear.h - products with a stored weight matrix. Leans on mat.h, codec.h, base/pool.h.
 * Two arithmetics: f32 (weights expanded panel by panel, exact to the stored value) and int8 (weights as stored or re-laid in panels, activations
 * quantized to 8 bits by block). Both are batch-invariant: row n of the result depends on row n of x alone, to the bit, whatever N, the
 * other rows and the number of threads; so a sequence gives the same tokens alone or among others. */
#ifndef KD_MATH_LINEAR_H
#define KD_MATH_LINEAR_H

#include "distill/base/pool.h"
#include "distill/math/mat.h"

#include <stdbool.h>

/* y[n*ldy + o] = sum_c x[n*ldx + c] * W[o, c] + (bias ? bias[o] : 0), f32 sums over c in one fixed order; n < N, o < W->rows.
 *   x [N, cols] f32, y [N, rows] f32, strides in floats. accumulate: y += instead of =.
 * Work is spread over pool (NULL: the caller alone). Scratch is the pool's own (kd_linear_scratch). Allocates nothing. */
void kd_linear_f32(const kd_mat *w, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate,
                   kd_pool *pool, void *scratch);
/* Bytes of scratch (64-byte aligned) that any call with a matrix of up to max_cols columns, up to max_n rows of x and threads workers needs. */
size_t kd_linear_scratch(size_t max_cols, size_t max_n, int threads);

/* A matrix made ready for int8 products: panels re-laid for this CPU (owns its memory), or a plain view of the stored rows (repack false).
 * Types that have no int8 form (F32, F16) and matrices whose columns no block of 32 divides fall back to kd_linear_f32 (or a bf16 dot where the
 * CPU has it), and say so in kd_qmat_kind. Errors: KD_ENOMEM. */
typedef struct kd_qmat kd_qmat;
kd_code kd_qmat_new(kd_qmat **out, const kd_mat *w, bool repack, kd_pool *pool, kd_err *e);
/* Panels in room of the caller's: kd_qmat_plan(w) bytes, 64-byte aligned, which outlive it. Many matrices side by side fill large pages, where one
 * alone would lie in small ones. Not touched where the plan is 0. */
kd_code kd_qmat_new_in(kd_qmat **out, const kd_mat *w, void *room, kd_pool *pool, kd_err *e);
void kd_qmat_free(kd_qmat *q);
size_t kd_qmat_bytes(const kd_qmat *q);     /* memory of its own */
uint64_t kd_qmat_plan(const kd_mat *w);     /* what the panels of w will take on this CPU, whole lines; 0 where it has none */
const char *kd_qmat_kind(const kd_qmat *q); /* "int8 panels (avx512 vnni)", "f32", ...; static */
/* As kd_linear_f32 in 8-bit arithmetic; scratch of kd_qlinear_scratch bytes. */
void kd_qlinear(const kd_qmat *q, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate,
                kd_pool *pool, void *scratch);
/* One row of x against up to KD_QTOGETHER matrices of the same columns, in one go over the pool: what kd_qlinear gives for each, to the bit. next, or
 * NULL: what will be asked for after this; workers that have nothing left to do fetch its beginning. */
enum { KD_QTOGETHER = 3 };
typedef struct {
    const kd_qmat *q;
    const float *bias; /* or NULL */
    float *y;
} kd_qproduct;
void kd_qlinear_row(const kd_qproduct *p, size_t n, const float *x, bool accumulate, const kd_qproduct *next, size_t next_n, kd_pool *pool,
                    void *scratch);
size_t kd_qlinear_scratch(size_t max_cols, size_t max_n, int threads);

#endif
