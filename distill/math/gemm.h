/* distill/math/gemm.h - the large products of training: forward, gradient of the input, gradient of the weight; f32, or bf16 with f32 sums.
 * Kernels of our own where the CPU has AVX2 or more (mm.h), else OpenBLAS, called single-threaded; gemm.c is the one room that includes it.
 * Work is cut by the shapes alone and handed to our own pool: the bits do not depend on the number of threads. Leans on mat.h, codec.h, base/pool.h. */
#ifndef KD_MATH_GEMM_H
#define KD_MATH_GEMM_H

#include "distill/base/pool.h"
#include "distill/math/mat.h"

#include <stdbool.h>

/* How products run. scratch: kd_gemm_scratch(threads of the pool) bytes, 64-byte aligned. Borrowed; one product at a time. */
typedef struct {
    kd_pool *pool; /* NULL: the caller alone */
    void *scratch; /* begins zeroed */
    bool bf16;     /* operands of the large products rounded to bfloat16 where the CPU multiplies that; sums stay f32 */
} kd_gemm;
size_t kd_gemm_scratch(int threads);
float *kd_gemm_worker_scratch(const kd_gemm *g, int worker); /* 512 KiB that products use too, between them free for others */
enum { KD_LOW_RANK = 64, KD_LOW_SCRATCH = 1 << 18 };         /* widest thin side that low.c and kd_low take; floats */
float *kd_gemm_low_scratch(const kd_gemm *g);                /* KD_LOW_SCRATCH floats, the products' own */
/* Says that x will be the left operand of the next products, unchanged: packed once for all. NULL ends it; so does the next hold. */
void kd_gemm_hold(const kd_gemm *g, const float *x);

/* C[M,N] = alpha * op(A) op(B) + beta * C on the caller's thread; op transposes where ta, tb say so; ld* in floats, row-major.
 * beta = 0 never reads C. M, N or K may be 0. */
void kd_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
              float beta, float *C, size_t ldc);

/* What OpenBLAS says of itself, or NULL if there is none (products are slow then); *safe: it has locks of its own, as its serial build has not
 * (products are made one after another then). Loads it. */
const char *kd_blas_describe(bool *safe);

/* A product of low rank that is summed into the tiles of a large one: + alpha * left[N,r] w, where w is [rows of W, r] for y, [r, cols of W] for dx. */
typedef struct {
    const float *left, *w; /* contiguous */
    size_t r;
    float alpha;
} kd_low;

/* y[n,o] (+)= alpha * sum_c x[n,c] W[o,c] + (bias ? bias[o] : 0);  x [N, cols], y [N, rows], strides in floats.
 * A stored matrix is expanded panel by panel inside its tile. Allocates nothing. Test: tests/distill/math/test_gemm.c */
void kd_gemm_y(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N,
               float alpha, bool accumulate);
/* dx[n,c] (+)= alpha * sum_o dy[n,o] W[o,c];  dy [N, rows], dx [N, cols]. */
void kd_gemm_dx(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, float alpha,
                bool accumulate);
/* The same with a product of low rank in it. */
void kd_gemm_y_low(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N,
                   bool accumulate, const kd_low *low);
void kd_gemm_dx_low(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, bool accumulate,
                    const kd_low *low);
/* dw[o,c] += alpha * sum_n dy[n,o] x[n,c];  dw [rows, cols]. */
void kd_gemm_dw(const kd_gemm *g, float *dw, size_t lddw, const float *dy, size_t lddy, const float *x, size_t ldx, size_t N, size_t rows,
                size_t cols, float alpha);

/* Thin products, in f32 whatever the arithmetic up to KD_LOW_RANK (wider ones are large products); x is read as it lies.
 *   kd_low_y   out[N,r] = alpha * x[N,C] w^T, w [r,C]; turned: alpha * x[N,C] w, w [C,r]
 *   kd_low_dw  dw[C,r] += alpha * x[N,C]^T t[N,r]; turned: the same into dw [r,C] */
void kd_low_y(const kd_gemm *g, float *out, const float *x, size_t ldx, const float *w, bool turned, size_t N, size_t C, size_t r,
              float alpha);
void kd_low_dw(const kd_gemm *g, float *dw, bool turned, const float *x, size_t ldx, const float *t, size_t N, size_t C, size_t r,
               float alpha);

/* A plain f32 matrix as products take it. */
static inline kd_mat kd_mat_f32(const float *data, size_t rows, size_t cols) {
    return (kd_mat){KD_F32, rows, cols, cols * sizeof(float), data, NULL};
}

#endif
