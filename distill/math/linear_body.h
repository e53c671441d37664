/* distill/math/linear_body.h - one panel of weight rows against N rows of x, in f32, for the instruction set of the file that includes it.
 * Leans on linear_tile.h and linear_kernels.h. */
#include "distill/math/linear_kernels.h"
#include "distill/math/linear_tile.h"

_Static_assert(TILE_ACC <= KD_TILE_ACC && KD_LIN_XROWS % TILE_M == 0 && KD_LIN_PANEL % TILE_R == 0, "the scratch formula covers the tiles");

/* y[i, j] (+)= sum + bias. */
static void finish(const float *sum, size_t ldsum, size_t M, size_t R, const float *bias, float *y, size_t ldy, bool accumulate) {
    for (size_t i = 0; i < M; i++)
        for (size_t j = 0; j < R; j++) {
            float s = sum[i * ldsum + j];
            if (bias) s += bias[j];
            y[i * ldy + j] = accumulate ? y[i * ldy + j] + s : s;
        }
}

/* One or two rows of x: w is read once, in order; nothing is blocked. */
static void thin(const kd_panel *p) {
    float sum[8];
    size_t j = 0;
    for (; j + 8 <= p->rows; j += 8)
        for (size_t n = 0; n < p->N; n++) {
            tile1x8(p->w + j, p->x + n * p->ldx, p->ldx, p->cols, NULL, 0, sum, 8);
            finish(sum, 8, 1, 8, p->bias ? p->bias + j : NULL, p->y + n * p->ldy + j, p->ldy, p->accumulate);
        }
    for (; j < p->rows; j += 4)
        for (size_t n = 0; n < p->N; n++) {
            tile1(p->w + j, p->x + n * p->ldx, p->ldx, p->cols, NULL, 0, sum, 4);
            finish(sum, 4, 1, p->rows - j < 4 ? p->rows - j : 4, p->bias ? p->bias + j : NULL, p->y + n * p->ldy + j, p->ldy,
                   p->accumulate);
        }
}

void PANEL(const kd_panel *p) {
    if (p->N <= 2) {
        thin(p);
        return;
    }
    for (size_t n0 = 0; n0 < p->N; n0 += KD_LIN_XROWS) {
        size_t nb = p->N - n0 < KD_LIN_XROWS ? p->N - n0 : KD_LIN_XROWS;
        for (size_t k0 = 0; k0 < p->cols; k0 += KD_LIN_K) {
            size_t k = p->cols - k0 < KD_LIN_K ? p->cols - k0 : KD_LIN_K;
            int more = (k0 > 0 ? 1 : 0) | (k0 + k < p->cols ? 2 : 0);
            float *acc = p->acc;
            for (size_t i = 0; i < nb; i += TILE_M) {
                size_t m = nb - i < TILE_M ? nb - i : TILE_M, n = n0 + i;
                for (size_t j = 0; j < p->rows; j += TILE_R, acc += TILE_ACC) {
                    float sum[TILE_M * TILE_R];
                    const char *w[TILE_R];
                    for (size_t r = 0; r < TILE_R; r++) w[r] = p->w[j + r] + k0 * sizeof(float);
                    tiles[m](w, p->x + n * p->ldx + k0, p->ldx, k, acc, more, sum, TILE_R);
                    if (!(more & 2))
                        finish(sum, TILE_R, m, p->rows - j < TILE_R ? p->rows - j : TILE_R, p->bias ? p->bias + j : NULL,
                               p->y + n * p->ldy + j, p->ldy, p->accumulate);
                }
            }
        }
    }
}
