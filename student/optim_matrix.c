/* student/optim_matrix.c - the optimizers that see an array whole: Adafactor and Muon. Leans on optim.h, math/gemm.h, math/grad.h. */
#include "student/optim.h"

#include "distill/math/grad.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { PIECE = 32, COLS = 64 };
static size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }

typedef struct {
    kd_optimizer *o;
    float *p, *row, *col, *root, *buf, *x;
    const float *g;
    size_t rows, cols, n;
    float scale, a, b;
    double keep, mean;
} job;

/* ---- Adafactor ----
 *   row = k row + (1-k) mean_c(g^2 + 1e-30), col alike over rows, k = 1 - t^-0.8
 *   u = g / sqrt(row / mean(row)) / sqrt(col);  u /= max(1, rms(u));  p = p (1 - lr wd) - lr u */
static const double tiny = 1e-30;

static void row_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    for (size_t r = task * PIECE; r < (task + 1) * PIECE && r < j->rows; r++) {
        const double mean = kd_sum_squares(j->g + r * j->cols, j->cols) * (double)j->scale * (double)j->scale / (double)j->cols + tiny;
        j->row[r] = (float)(j->keep * (double)j->row[r] + (1 - j->keep) * mean);
    }
}
static void col_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t c0 = task * COLS, m = j->cols - c0 < COLS ? j->cols - c0 : COLS;
    double sum[COLS] = {0};
    for (size_t r = 0; r < j->rows; r++)
        for (size_t c = 0; c < m; c++) {
            const double x = (double)(j->g[r * j->cols + c0 + c] * j->scale);
            sum[c] += x * x;
        }
    for (size_t c = 0; c < m; c++) {
        float *to = &j->col[c0 + c];
        *to = (float)(j->keep * (double)*to + (1 - j->keep) * (sum[c] / (double)j->rows + tiny));
        j->root[c0 + c] = 1.0f / sqrtf(*to);
    }
}
static float row_factor(const job *j, size_t r) { return j->scale / sqrtf((float)((double)j->row[r] / j->mean)); }
static void size_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    double sum = 0;
    for (size_t r = task * PIECE; r < (task + 1) * PIECE && r < j->rows; r++) {
        const float f = row_factor(j, r), *g = j->g + r * j->cols;
        for (size_t c = 0; c < j->cols; c++) {
            const double u = (double)(g[c] * f * j->root[c]);
            sum += u * u;
        }
    }
    j->o->partial[task] = sum;
}
static void move_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    for (size_t r = task * PIECE; r < (task + 1) * PIECE && r < j->rows; r++) {
        const float f = row_factor(j, r), *g = j->g + r * j->cols;
        float *p = j->p + r * j->cols;
        for (size_t c = 0; c < j->cols; c++) p[c] = p[c] * j->a - j->b * (g[c] * f * j->root[c]);
    }
}

/* A vector keeps its second moment whole. */
static void vector_step(const job *j, float lr, float shrink) {
    assert(j->g);
    double sum = 0;
    for (size_t i = 0; i < j->n; i++) {
        const double x = (double)(j->g[i] * j->scale);
        j->buf[i] = (float)(j->keep * (double)j->buf[i] + (1 - j->keep) * (x * x + tiny));
        sum += x * x / (double)j->buf[i];
    }
    const double rms = sqrt(sum / (double)j->n);
    const float step = (float)((double)lr / (rms > 1 ? rms : 1)) * j->scale;
    for (size_t i = 0; i < j->n; i++) j->p[i] = j->p[i] * shrink - step * j->g[i] / sqrtf(j->buf[i]);
}

void kd_adafactor_step(kd_optimizer *o, size_t i, float lr, float scale) {
    const kd_param *q = &o->params->at[i];
    kd_state_array s[KD_STATE_ARRAYS];
    (void)kd_optimizer_arrays(s, &o->o, q);
    job j = {.o = o,
             .p = kd_param_value(o->params, q),
             .g = kd_param_grad(o->params, q),
             .rows = q->rows,
             .cols = q->cols,
             .n = q->n,
             .scale = scale,
             .keep = 1 - pow((double)o->steps, -0.8),
             .a = 1.0f - lr * (q->decay ? o->o.decay : 0)};
    if (!q->cols) {
        j.buf = kd_optimizer_at(o, i, &s[0]);
        vector_step(&j, lr, j.a);
        return;
    }
    j.row = kd_optimizer_at(o, i, &s[0]);
    j.col = kd_optimizer_at(o, i, &s[1]);
    j.root = o->work;
    const size_t tasks = blocks(q->rows, PIECE);
    kd_pool_run(o->pool, row_task, &j, tasks);
    kd_pool_run(o->pool, col_task, &j, blocks(q->cols, COLS));
    for (size_t r = 0; r < q->rows; r++) j.mean += (double)j.row[r];
    j.mean /= (double)q->rows;
    kd_pool_run(o->pool, size_task, &j, tasks);
    double sum = 0;
    for (size_t t = 0; t < tasks; t++) sum += o->partial[t];
    const double rms = sqrt(sum / (double)q->n);
    j.b = (float)((double)lr / (rms > 1 ? rms : 1));
    kd_pool_run(o->pool, move_task, &j, tasks);
}

/* ---- Muon ----
 *   buf = mu buf + (1-mu) g;  x = (1-mu) g + mu buf;  x /= ||x||
 *   five times: A = x x^T (the smaller side), x = a x + (b A + c A A) x
 *   p = p (1 - lr wd) - lr 0.2 sqrt(max(rows, cols)) x */
static void momentum_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const float mu = (float)j->keep, rest = 1.0f - mu;
    double sum = 0;
    for (size_t r = task * PIECE; r < (task + 1) * PIECE && r < j->rows; r++)
        for (size_t k = r * j->cols; k < (r + 1) * j->cols; k++) {
            const float g = j->g[k] * j->scale;
            j->buf[k] += rest * (g - j->buf[k]);
            j->x[k] = g + mu * (j->buf[k] - g);
            sum += (double)j->x[k] * (double)j->x[k];
        }
    j->o->partial[task] = sum;
}
static void times_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t at = task * PIECE * j->cols, end = (task + 1) * PIECE < j->rows ? (task + 1) * PIECE : j->rows;
    for (size_t k = at; k < end * j->cols; k++) j->root[k] = j->a * j->x[k];
}
/* p = a p - b x */
static void apply_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t at = task * PIECE * j->cols, end = (task + 1) * PIECE < j->rows ? (task + 1) * PIECE : j->rows;
    for (size_t k = at; k < end * j->cols; k++) j->p[k] = j->p[k] * j->a - j->b * j->x[k];
}
/* to = f x, both [rows, cols] */
static void times(job *j, float *to, float f, float *x, size_t rows, size_t cols) {
    job t = {.o = j->o, .root = to, .x = x, .a = f, .rows = rows, .cols = cols};
    kd_pool_run(j->o->pool, times_task, &t, blocks(rows, PIECE));
}

/* One turn of Newton and Schulz: y = a x + (b A + c A A) x, where A, B [m,m] are room. */
static void turn(job *j, float *y, float *x, float *A, float *B) {
    static const float a = 3.4445f, b = -4.7750f, c = 2.0315f;
    const kd_gemm g = {.pool = j->o->pool, .scratch = j->o->scratch};
    const size_t rows = j->rows, cols = j->cols, m = rows < cols ? rows : cols;
    const kd_mat X = kd_mat_f32(x, rows, cols), square = kd_mat_f32(A, m, m), factor = kd_mat_f32(B, m, m);
    if (rows <= cols) {
        kd_gemm_y(&g, A, m, x, cols, &X, NULL, rows, 1, false);
    } else {
        memset(A, 0, m * m * sizeof *A);
        kd_gemm_dw(&g, A, m, x, cols, x, cols, rows, cols, cols, 1);
    }
    times(j, B, b, A, m, m);
    kd_gemm_y(&g, B, m, A, m, &square, NULL, m, c, true);
    times(j, y, a, x, rows, cols);
    if (rows <= cols)
        kd_gemm_dx(&g, y, cols, B, m, &X, rows, 1, true);
    else
        kd_gemm_dx(&g, y, cols, x, cols, &factor, rows, 1, true);
}

void kd_muon_step(kd_optimizer *o, size_t i, float lr, float scale) {
    const kd_param *q = &o->params->at[i];
    kd_state_array s[KD_STATE_ARRAYS];
    (void)kd_optimizer_arrays(s, &o->o, q);
    const size_t n = (q->n + 15) / 16 * 16, m = q->rows < q->cols ? q->rows : q->cols, tasks = blocks(q->rows, PIECE);
    float *x = o->work, *y = x + n, *A = y + n, *B = A + (m * m + 15) / 16 * 16;
    job j = {.o = o,
             .p = kd_param_value(o->params, q),
             .g = kd_param_grad(o->params, q),
             .buf = kd_optimizer_at(o, i, &s[0]),
             .x = x,
             .rows = q->rows,
             .cols = q->cols,
             .n = q->n,
             .scale = scale,
             .keep = (double)(o->o.momentum > 0 ? o->o.momentum : 0.95f)};
    kd_pool_run(o->pool, momentum_task, &j, tasks);
    double sum = 0;
    for (size_t t = 0; t < tasks; t++) sum += o->partial[t];
    const double norm = sqrt(sum);
    times(&j, x, (float)(1 / (norm > 1e-7 ? norm : 1e-7)), x, q->rows, q->cols);
    for (int k = 0; k < 5; k++) {
        turn(&j, y, x, A, B);
        float *swap = x;
        x = y;
        y = swap;
    }
    j.x = x;
    j.a = 1.0f - lr * (q->decay ? o->o.decay : 0);
    j.b = (float)((double)lr * 0.2 * sqrt((double)(q->rows > q->cols ? q->rows : q->cols)));
    kd_pool_run(o->pool, apply_task, &j, tasks);
}
