/* distill/math/linear_tile.h - the register tile under every f32 product: M rows of x against R rows of w, each sum kept in VW lanes over c
 * (lane c mod VW), folded at the end in one fixed tree. The order of a sum depends on nothing but its length, so tiles of any shape, and any
 * cutting of c into whole vectors, give the same bits. Leans on ops_vec.h (built once per instruction set). */
#ifndef KD_MATH_LINEAR_TILE_H
#define KD_MATH_LINEAR_TILE_H

#include "distill/math/ops_vec.h"

/* The main tile: its accumulators, one row of operands and one vector of the other fill the register file (24+6+1 of 32, 12+3+1 of 16). */
#if KD_ISA == 512
#define TILE_M 6
#else
#define TILE_M 3
#endif
#define TILE_R 4
#define TILE_ACC (TILE_M * TILE_R * VW) /* floats that a tile's sums need between two pieces of c */

/* sum[i*ldsum + j] for i < M, j < R over c of [0, K): x[i*ldx + c] * w[j][c]; w rows on any byte. acc: sums of an earlier piece of c to start
 * from (more & 1) or to leave for the next (more & 2, then sum is not written); pieces but the last are whole vectors. */
KD_INLINE void tile_body(size_t M, size_t R, const char *const *w, const float *x, size_t ldx, size_t K, float *acc, int more, float *sum,
                         size_t ldsum) {
    vf a[8][8];
    KD_UNROLL(8)
    for (size_t i = 0; i < M; i++) KD_UNROLL(8)
    for (size_t j = 0; j < R; j++) a[i][j] = more & 1 ? v_load(acc + (i * R + j) * VW) : v_zero();
    size_t c = 0;
    for (; c + VW <= K; c += VW) {
        vf xv[8];
        KD_UNROLL(8)
        for (size_t i = 0; i < M; i++) xv[i] = v_load(x + i * ldx + c);
        KD_UNROLL(8)
        for (size_t j = 0; j < R; j++) {
            vf wv = v_load(w[j] + c * sizeof(float));
            KD_UNROLL(8)
            for (size_t i = 0; i < M; i++) a[i][j] = v_fma(xv[i], wv, a[i][j]);
        }
    }
    if (c < K) KD_UNROLL(8)
    for (size_t j = 0; j < R; j++) {
        vf wv = v_load_n(w[j] + c * sizeof(float), K - c);
        KD_UNROLL(8)
        for (size_t i = 0; i < M; i++) a[i][j] = v_fma(v_load_n(x + i * ldx + c, K - c), wv, a[i][j]);
    }
    if (more & 2) {
        KD_UNROLL(8)
        for (size_t i = 0; i < M; i++) KD_UNROLL(8)
        for (size_t j = 0; j < R; j++) v_store(acc + (i * R + j) * VW, a[i][j]);
        return;
    }
    KD_UNROLL(8)
    for (size_t i = 0; i < M; i++) KD_UNROLL(8)
    for (size_t j = 0; j < R; j += 4) v_sum4_into(sum + i * ldsum + j, a[i][j], a[i][j + 1], a[i][j + 2], a[i][j + 3]);
}

typedef void tile_fn(const char *const *w, const float *x, size_t ldx, size_t K, float *acc, int more, float *sum, size_t ldsum);
#define TILE(name, M, R)                                                                                                                   \
    static __attribute__((unused, noinline)) void name(const char *const *w, const float *x, size_t ldx, size_t K, float *acc, int more,   \
                                                       float *sum, size_t ldsum) {                                                         \
        tile_body(M, R, w, x, ldx, K, acc, more, sum, ldsum);                                                                              \
    }
TILE(tile1, 1, 4)
TILE(tile2, 2, 4)
TILE(tile3, 3, 4)
#if TILE_M == 6
TILE(tile4, 4, 4)
TILE(tile5, 5, 4)
TILE(tile6, 6, 4)
#endif
TILE(tile1x8, 1, 8) /* one row: eight sums, so that the adder is not waited for */
/* By the number of x rows, 1..TILE_M; R is TILE_R. */
static __attribute__((unused)) tile_fn *const tiles[TILE_M + 1] = {NULL,  tile1, tile2, tile3,
#if TILE_M == 6
                                                                   tile4, tile5, tile6
#endif
};

#endif
