/* student/proj.c - forward and backward of one linear layer. Leans on proj.h. */
#include "student/proj.h"

#include "distill/math/codec.h"

#include <math.h>
#include <string.h>

enum { ROWS = 32, COLS = 64 };
static size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }

/* ---- loops over rows or columns on the pool ---- */
typedef struct {
    float *out;
    const float *a, *b, *s, *bias;
    size_t N, C, ld;
    bool accumulate;
    float p;
    uint64_t key, stream, row0;
} job;
static size_t len(const job *j, size_t task) { return j->N - task * ROWS < ROWS ? j->N - task * ROWS : ROWS; }

static void scale_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C;
    kd_scale_columns(j->out + at, j->C, j->a + at, j->C, j->s, j->bias, len(j, task), j->C, j->accumulate);
}
/* y (+)= s * z + bias by column */
static void scale_columns(kd_proj_work *wk, float *y, const float *z, const float *s, const float *bias, size_t N, size_t C,
                          bool accumulate) {
    job j = {.out = y, .a = z, .s = s, .bias = bias, .N = N, .C = C, .accumulate = accumulate};
    kd_pool_run(wk->gemm.pool, scale_task, &j, blocks(N, ROWS));
}

static void sub_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C, n = len(j, task) * j->C;
    for (size_t i = at; i < at + n; i++) j->out[i] = j->a[i] - j->b[i];
}
/* out = a - b */
static void subtract(kd_proj_work *wk, float *out, const float *a, const float *b, size_t N, size_t C) {
    job j = {.out = out, .a = a, .b = b, .N = N, .C = C};
    kd_pool_run(wk->gemm.pool, sub_task, &j, blocks(N, ROWS));
}

static void add_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C;
    kd_add(j->out + at, j->a + at, len(j, task) * j->C);
}

static void drop_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C;
    kd_dropout(j->out + at, j->C, j->a + at, j->C, len(j, task), j->C, j->p, j->key, j->stream, j->row0 + task * ROWS);
}
static void dropout(kd_proj_work *wk, const kd_proj *p, float *y, const float *x, size_t N, uint64_t row0) {
    job j = {
        .out = y, .a = x, .N = N, .C = p->w.cols, .p = p->dropout, .key = wk->seed, .stream = p->stream + (wk->update << 20), .row0 = row0};
    kd_pool_run(wk->gemm.pool, drop_task, &j, blocks(N, ROWS));
}

static void column_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t c = task * COLS, n = j->C - c < COLS ? j->C - c : COLS;
    if (j->b)
        kd_sum_products(j->out + c, j->a + c, j->C, j->b + c, j->C, j->s + c, j->N, n);
    else
        kd_sum_rows(j->out + c, j->a + c, j->C, j->N, n);
}
/* out[c] += s[c] * sum_n a*b, or sum_n a */
static void column_sums(kd_proj_work *wk, float *out, const float *a, const float *b, const float *s, size_t N, size_t C) {
    job j = {.out = out, .a = a, .b = b, .s = s, .N = N, .C = C};
    kd_pool_run(wk->gemm.pool, column_task, &j, blocks(C, COLS));
}

/* ---- the projection ---- */
void kd_proj_forward(kd_proj_work *wk, const kd_proj *p, kd_proj_tape *t, float *y, const float *x, size_t N, uint64_t row0,
                     bool accumulate) {
    const kd_gemm *g = &wk->gemm;
    const size_t in = p->w.cols, out = p->w.rows;
    const bool drop = p->r && p->dropout > 0 && wk->train;
    if (p->r == 0) {
        if (y) kd_gemm_y(g, y, out, x, in, &p->w, p->bias, N, 1, accumulate);
        return;
    }
    if (drop) dropout(wk, p, wk->xd, x, N, row0);
    const float *xd = drop ? wk->xd : x;
    const kd_low low = {.left = t->xa, .w = p->b, .r = p->r, .alpha = p->scale};
    kd_low_y(g, t->xa, xd, in, p->a, false, N, in, p->r, 1);
    if (!p->mag) {
        if (y) kd_gemm_y_low(g, y, out, x, in, &p->w, p->bias, N, accumulate, &low);
        return;
    }
    if (y && drop) {
        kd_gemm_y(g, y, out, x, in, &p->w, p->bias, N, 1, accumulate);
        kd_gemm_y(g, t->z, out, xd, in, &p->w, NULL, N, 1, false);
        subtract(wk, y, y, t->z, N, out);
        const kd_mat B = kd_mat_f32(p->b, out, p->r);
        kd_gemm_y(g, t->z, out, t->xa, p->r, &B, NULL, N, p->scale, true);
    } else {
        kd_gemm_y_low(g, t->z, out, xd, in, &p->w, NULL, N, false, &low);
    }
    if (y) scale_columns(wk, y, t->z, p->c, drop ? NULL : p->bias, N, out, accumulate || drop);
}

void kd_proj_backward(kd_proj_work *wk, const kd_proj *p, const kd_proj_tape *t, float *dx, const float *dy, const float *x, size_t N,
                      uint64_t row0, bool accumulate) {
    const kd_gemm *g = &wk->gemm;
    const size_t in = p->w.cols, out = p->w.rows;
    const bool drop = p->r && p->dropout > 0 && wk->train;
    if (p->dw) kd_gemm_dw(g, p->dw, in, dy, out, x, in, N, out, in, 1);
    if (p->dbias) column_sums(wk, p->dbias, dy, NULL, NULL, N, out);
    const float *dyc = dy;
    if (p->mag) {
        column_sums(wk, p->dmag, dy, t->z, p->inv_norm, N, out);
        scale_columns(wk, wk->dyc, dy, p->c, NULL, N, out, false);
        dyc = wk->dyc;
    }
    if (p->r == 0) {
        if (dx) kd_gemm_dx(g, dx, in, dy, out, &p->w, N, 1, accumulate);
        return;
    }
    if (drop) dropout(wk, p, wk->xd, x, N, row0);
    kd_low_y(g, wk->t, dyc, out, p->b, true, N, out, p->r, p->scale);
    kd_low_dw(g, p->db, false, dyc, out, t->xa, N, out, p->r, p->scale);
    kd_low_dw(g, p->da, true, drop ? wk->xd : x, in, wk->t, N, in, p->r, 1);
    if (!dx) return;
    if (!drop) {
        const kd_low low = {.left = wk->t, .w = p->a, .r = p->r, .alpha = 1};
        kd_gemm_dx_low(g, dx, in, dyc, out, &p->w, N, accumulate, &low);
        return;
    }
    kd_gemm_dx(g, dx, in, dy, out, &p->w, N, 1, accumulate);
    const kd_mat A = kd_mat_f32(p->a, p->r, in);
    kd_gemm_dx(g, wk->dxd, in, wk->t, p->r, &A, N, 1, false);
    if (p->mag) {
        subtract(wk, wk->dyc, dyc, dy, N, out);
        kd_gemm_dx(g, wk->dxd, in, wk->dyc, out, &p->w, N, 1, true);
    }
    dropout(wk, p, wk->dxd, wk->dxd, N, row0);
    job j = {.out = dx, .a = wk->dxd, .N = N, .C = in};
    kd_pool_run(g->pool, add_task, &j, blocks(N, ROWS));
}

/* ---- DoRA's norms ---- */
typedef struct {
    kd_proj *p;
    const kd_gemm *g;
    float *mag_init;
} norm_job;
enum { NORM_ROWS = 8, NORM_COLS = 1024 };
/* Norms of 8 rows of W + scale B A, a stretch of columns at a time, on the worker's scratch. */
static void norm_task(void *ctx, size_t task, int worker) {
    const norm_job *j = ctx;
    const kd_proj *p = j->p;
    float *panel = kd_gemm_worker_scratch(j->g, worker);
    const size_t r0 = task * NORM_ROWS, n = p->w.rows - r0 < NORM_ROWS ? p->w.rows - r0 : NORM_ROWS;
    const kd_dtype_info *t = kd_dtype_get((int)p->w.type);
    double sum[NORM_ROWS] = {0};
    for (size_t c = 0; c < p->w.cols; c += NORM_COLS) {
        size_t m = p->w.cols - c < NORM_COLS ? p->w.cols - c : NORM_COLS;
        for (size_t i = 0; i < n; i++)
            kd_dequantize(p->w.type, (const char *)kd_mat_row(&p->w, r0 + i) + c / t->block * t->bytes, panel + i * m, m);
        kd_sgemm(false, false, n, m, p->r, p->scale, p->b + r0 * p->r, p->r, p->a + c, p->w.cols, 1, panel, m);
        for (size_t i = 0; i < n; i++) sum[i] += kd_sum_squares(panel + i * m, m);
    }
    for (size_t i = 0; i < n; i++) {
        float norm = (float)sqrt(sum[i]);
        if (j->mag_init) j->mag_init[r0 + i] = norm;
        p->inv_norm[r0 + i] = 1.0f / norm;
        p->c[r0 + i] = p->mag[r0 + i] / norm;
    }
}
void kd_proj_norm(kd_proj_work *wk, kd_proj *p, float *mag_init) {
    norm_job j = {p, &wk->gemm, mag_init};
    kd_pool_run(wk->gemm.pool, norm_task, &j, blocks(p->w.rows, NORM_ROWS));
}
