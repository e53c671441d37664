/* distill/math/linear.c - f32 products with a stored matrix: cuts the work into panels of rows, expands them, hands them to the kernel of this
 * CPU. Leans on linear_kernels.h, codec.h, base/cpu.h, base/pool.h. */
#include "distill/math/linear.h"

#include "distill/base/cpu.h"
#include "distill/math/codec.h"
#include "distill/math/linear_kernels.h"

#include <assert.h>
#include <stdint.h>

enum {
    EXPANDED = 96 * 1024,    /* floats of a panel: 384 KiB, well inside a second cache of 1 MiB */
    PAD = 16,                /* floats behind an expanded row, so that rows of 2^k columns do not fall on one set of the cache */
    CHUNK = 4 * KD_LIN_XROWS /* rows of x a task: weights are expanded anew for each, at 1/192 of the work */
};
_Static_assert(KD_LIN_XROWS % 6 == 0 && KD_LIN_XROWS % 3 == 0, "blocks of x are whole tiles");

static size_t round_up(size_t n, size_t m) { return (n + m - 1) / m * m; }

/* Rows of a panel, from the shape of the matrix alone: small enough that there are some eight tasks, and that it fits when expanded. */
static size_t panel_rows(size_t rows, size_t cols) {
    size_t n = EXPANDED / (cols ? cols : 1) / 8 * 8, fair = round_up(rows / 8, 8);
    if (n > KD_LIN_PANEL) n = KD_LIN_PANEL;
    if (n > fair) n = fair;
    return n < 8 ? 8 : n;
}

static size_t worker_floats(size_t max_cols) {
    size_t w = EXPANDED + KD_LIN_PANEL * (PAD + 16), longest = 8 * (round_up(max_cols, 16) + PAD);
    return (w > longest ? w : longest) + (size_t)KD_LIN_XROWS * KD_LIN_PANEL * 16;
}

size_t kd_linear_scratch(size_t max_cols, size_t max_n, int threads) {
    (void)max_n;
    return worker_floats(max_cols) * sizeof(float) * (size_t)(threads < 1 ? 1 : threads);
}

static kd_panel_fn *panel_kernel(void) {
#if defined(__x86_64__)
    switch (kd_cpu_get()->level) {
    case KD_CPU_AVX512: return kd_panel_avx512;
    case KD_CPU_AVX2: return kd_panel_avx2;
    case KD_CPU_SCALAR: break;
    }
#endif
    return kd_panel_scalar;
}

typedef struct {
    const kd_mat *w;
    const float *bias, *x;
    float *y, *scratch;
    size_t ldx, ldy, N, rows, chunks, worker;
    bool accumulate;
    kd_panel_fn *kernel;
} job;

static void panel_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_mat *w = j->w;
    size_t row0 = task / j->chunks * j->rows, n0 = task % j->chunks * CHUNK;
    size_t rows = w->rows - row0 < j->rows ? w->rows - row0 : j->rows, N = j->N - n0 < CHUNK ? j->N - n0 : CHUNK;
    float *scratch = j->scratch + (size_t)worker * j->worker, *acc = scratch + j->worker - (size_t)KD_LIN_XROWS * KD_LIN_PANEL * 16;
    size_t stride = round_up(w->cols, 16) + PAD;
    const char *p[KD_LIN_PANEL + 8];
    for (size_t r = 0; r < rows; r++) {
        p[r] = kd_mat_row(w, row0 + r);
        if (w->type != KD_F32) {
            kd_dequantize(w->type, p[r], scratch + r * stride, w->cols);
            p[r] = (const char *)(scratch + r * stride);
        }
    }
    assert(rows);
    for (size_t r = rows; r < rows + 8; r++) p[r] = p[rows - 1];
    kd_panel panel = {.w = p,
                      .rows = rows,
                      .cols = w->cols,
                      .bias = j->bias ? j->bias + row0 : NULL,
                      .x = j->x + n0 * j->ldx,
                      .ldx = j->ldx,
                      .N = N,
                      .y = j->y + n0 * j->ldy + row0,
                      .ldy = j->ldy,
                      .accumulate = j->accumulate,
                      .acc = acc};
    j->kernel(&panel);
}

void kd_linear_f32(const kd_mat *w, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate,
                   kd_pool *pool, void *scratch) {
    assert(kd_can_read((int)w->type));
    if (!w->rows || !N) return;
    job j = {.w = w,
             .bias = bias,
             .x = x,
             .y = y,
             .scratch = scratch,
             .ldx = ldx,
             .ldy = ldy,
             .N = N,
             .rows = panel_rows(w->rows, w->cols),
             .chunks = (N + CHUNK - 1) / CHUNK,
             .worker = worker_floats(w->cols),
             .accumulate = accumulate,
             .kernel = panel_kernel()};
    kd_pool_run(pool, panel_task, &j, (w->rows + j.rows - 1) / j.rows * j.chunks);
}
