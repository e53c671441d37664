/* distill/math/linear_kernels.h - what the instruction sets' files offer linear.c. Private to distill/math. Leans on nothing of ours. */
#ifndef KD_MATH_LINEAR_KERNELS_H
#define KD_MATH_LINEAR_KERNELS_H

#include <stdbool.h>
#include <stddef.h>

/* Shapes of the blocking: a panel has up to KD_LIN_PANEL weight rows (fewer where rows are long: expanded, it should stay in the second
 * cache), tiles go over KD_LIN_XROWS rows of x and KD_LIN_K columns at a time, so that a tile's operands stay in the first. */
enum { KD_LIN_PANEL = 64, KD_LIN_XROWS = 48, KD_LIN_K = 512, KD_TILE_ACC = 24 * 16 };

typedef struct {
    const char *const *w; /* rows of f32, KD_LIN_PANEL + 8 entries: those behind the last repeat it */
    size_t rows, cols;
    const float *bias; /* [rows] or NULL */
    const float *x;
    size_t ldx, N;
    float *y;
    size_t ldy;
    bool accumulate;
    float *acc; /* sums between two pieces of c: KD_TILE_ACC floats for each tile of a block of KD_LIN_XROWS */
} kd_panel;
typedef void kd_panel_fn(const kd_panel *p);
kd_panel_fn kd_panel_scalar;
#if defined(__x86_64__)
kd_panel_fn kd_panel_avx2, kd_panel_avx512;
#endif

#endif
