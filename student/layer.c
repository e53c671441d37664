/* student/layer.c - one decoder layer, forward and backward. Leans on layer.h, math/ops.h, math/grad.h. */
#include "student/layer.h"

#include "distill/math/ops.h"

#include <string.h>

enum { ROWS = 32, COLS = 64 };
static size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }

/* ---- row loops on the pool ---- */
typedef struct {
    const kd_layer_run *r;
    size_t N, C, heads;
    float *y, *y2, *rstd;
    const float *x, *x2, *x3, *w;
    const int32_t *pos;
    const uint32_t *pick;
    float eps;
} job;
static size_t len(const job *j, size_t task) { return j->N - task * ROWS < ROWS ? j->N - task * ROWS : ROWS; }
static void run(const kd_layer_run *r, kd_pool_fn *fn, job *j) {
    j->r = r;
    kd_pool_run(r->t->work.gemm.pool, fn, j, blocks(j->N, ROWS));
}

static void norm_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS;
    kd_rmsnorm(j->y + at * j->C, j->rstd + at, j->x + at * j->C, j->w, len(j, task), j->C, j->eps);
}
static void norm(const kd_layer_run *r, float *y, float *rstd, const float *x, const float *w, size_t N) {
    job j = {.N = N, .C = r->c->C, .y = y, .rstd = rstd, .x = x, .w = w, .eps = r->c->norm_eps};
    run(r, norm_task, &j);
}

static void pick_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    for (size_t n = task * ROWS; n < task * ROWS + len(j, task); n++)
        memcpy(j->y + n * j->C, j->x + (j->pick ? (size_t)j->pick[n] : n) * j->C, j->C * sizeof *j->y);
}
/* y [NQ,C] = the rows of x [N,C] that go on. */
static void pick_rows(const kd_layer_run *r, float *y, const float *x) {
    job j = {.N = r->NQ, .C = r->c->C, .y = y, .x = x, .pick = r->pick};
    run(r, pick_task, &j);
}
static void scatter_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    for (size_t n = task * ROWS; n < task * ROWS + len(j, task); n++) kd_add(j->y + (size_t)j->pick[n] * j->C, j->x + n * j->C, j->C);
}
/* y[pick[n]] += x[n]; picked rows differ, so tasks never meet. */
static void scatter_rows(const kd_layer_run *r, float *y, const float *x) {
    job j = {.N = r->NQ, .C = r->c->C, .y = y, .x = x, .pick = r->pick};
    run(r, scatter_task, &j);
}

/* Heads of q or k: normed where the model does that, then turned. */
static void heads_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t at = task * ROWS, n = len(j, task), D = j->r->c->D, width = j->heads * D;
    if (j->w) kd_rmsnorm(j->y + at * width, j->rstd + at * j->heads, j->x + at * width, j->w, n * j->heads, D, j->eps);
    kd_rope(j->y + at * width, width, j->pos + at, j->r->t->cos_, j->r->t->sin_, n, j->heads, D);
}
static void heads_back_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t at = task * ROWS, n = len(j, task), D = j->r->c->D, width = j->heads * D;
    kd_rope_backward(j->y + at * width, width, j->pos + at, j->r->t->cos_, j->r->t->sin_, n, j->heads, D);
    if (!j->w) return;
    memset(j->y2 + at * width, 0, n * width * sizeof *j->y2);
    kd_rmsnorm_backward(j->y2 + at * width, j->y + at * width, j->x + at * width, j->w, j->rstd + at * j->heads, n * j->heads, D);
}

static void swiglu_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C;
    kd_swiglu(j->y + at, j->x + at, j->x2 + at, len(j, task) * j->C);
}
static void swiglu_back_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS * j->C;
    kd_swiglu_backward(j->y + at, j->y2 + at, j->x + at, j->x2 + at, j->x3 + at, len(j, task) * j->C);
}
static void norm_back_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at = task * ROWS;
    kd_rmsnorm_backward(j->y + at * j->C, j->x + at * j->C, j->x2 + at * j->C, j->w, j->rstd + at, len(j, task), j->C);
}
static void norm_dw_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t c = task * COLS;
    kd_rmsnorm_dw(j->y2 + c, j->x + c, j->x2 + c, j->rstd, j->N, j->C, j->C - c < COLS ? j->C - c : COLS);
}
/* dx += the norm's backward of dy; dw too where it is trained. */
static void norm_back(const kd_layer_run *r, float *dx, float *dw, const float *dy, const float *x, const float *w, float *rstd, size_t N) {
    job j = {.N = N, .C = r->c->C, .y = dx, .y2 = dw, .rstd = rstd, .x = dy, .x2 = x, .w = w};
    if (dx) run(r, norm_back_task, &j);
    if (dw) kd_pool_run(r->t->work.gemm.pool, norm_dw_task, &j, blocks(j.C, COLS));
}

/* ---- forward ---- */
static void qkv_forward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, const float *x) {
    const kd_config *c = r->c;
    kd_tape *s = r->t;
    norm(r, s->xn, t->rstd1, x, w->attn_norm, r->N);
    const float *xq = s->xn;
    if (r->pick) {
        pick_rows(r, s->xq, s->xn);
        xq = s->xq;
    }
    kd_gemm_hold(&s->work.gemm, s->xn);
    float *q = c->qk_norm ? t->q_raw : t->q, *k = c->qk_norm ? t->k_raw : t->k;
    kd_proj_forward(&s->work, &w->proj[KD_Q], &t->proj[KD_Q], q, xq, r->NQ, r->qrow0, false);
    kd_proj_forward(&s->work, &w->proj[KD_K], &t->proj[KD_K], k, s->xn, r->N, r->row0, false);
    kd_proj_forward(&s->work, &w->proj[KD_V], &t->proj[KD_V], t->v, s->xn, r->N, r->row0, false);
    kd_gemm_hold(&s->work.gemm, NULL);
    job j = {.N = r->NQ, .heads = c->H, .y = t->q, .rstd = t->q_rstd, .x = q, .w = w->q_norm, .pos = r->qpos, .eps = c->norm_eps};
    run(r, heads_task, &j);
    j = (job){.N = r->N, .heads = c->G, .y = t->k, .rstd = t->k_rstd, .x = k, .w = w->k_norm, .pos = r->b->pos, .eps = c->norm_eps};
    run(r, heads_task, &j);
}

void kd_layer_forward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *x_out, const float *x) {
    const kd_config *c = r->c;
    kd_tape *s = r->t;
    const size_t HD = (size_t)c->H * c->D, GD = (size_t)c->G * c->D;
    qkv_forward(r, w, t, x);
    kd_attention_forward(&s->work.gemm, &r->attn, t->o, HD, t->lse, t->q, HD, t->k, t->v, GD, s->attn_scratch);
    pick_rows(r, t->xm, x);
    kd_proj_forward(&s->work, &w->proj[KD_O], &t->proj[KD_O], t->xm, t->o, r->NQ, r->qrow0, true);
    norm(r, s->xn, t->rstd2, t->xm, w->mlp_norm, r->NQ);
    kd_gemm_hold(&s->work.gemm, s->xn);
    kd_proj_forward(&s->work, &w->proj[KD_GATE], &t->proj[KD_GATE], t->gate, s->xn, r->NQ, r->qrow0, false);
    kd_proj_forward(&s->work, &w->proj[KD_UP], &t->proj[KD_UP], t->up, s->xn, r->NQ, r->qrow0, false);
    kd_gemm_hold(&s->work.gemm, NULL);
    if (!x_out && !w->proj[KD_DOWN].r) return; /* again for backward: of the last product only an adapter's tape is wanted */
    job j = {.N = r->NQ, .C = c->F, .y = s->h, .x = t->gate, .x2 = t->up};
    run(r, swiglu_task, &j);
    if (x_out) {
        j = (job){.N = r->NQ, .C = c->C, .y = x_out, .x = t->xm};
        run(r, pick_task, &j);
    }
    kd_proj_forward(&s->work, &w->proj[KD_DOWN], &t->proj[KD_DOWN], x_out, s->h, r->NQ, r->qrow0, true);
}

/* ---- backward ---- */
/* dx [NQ,C]: the gradient behind the MLP becomes the one before it. */
static void mlp_backward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *dx) {
    kd_tape *s = r->t;
    const size_t F = r->c->F;
    job j = {.N = r->NQ, .C = F, .y = s->h, .x = t->gate, .x2 = t->up};
    run(r, swiglu_task, &j);
    kd_proj_backward(&s->work, &w->proj[KD_DOWN], &t->proj[KD_DOWN], s->dh, dx, s->h, r->NQ, r->qrow0, false);
    j = (job){.N = r->NQ, .C = F, .y = s->dh, .y2 = s->h, .x = s->dh, .x2 = t->gate, .x3 = t->up};
    run(r, swiglu_back_task, &j);
    norm(r, s->xn, t->rstd2, t->xm, w->mlp_norm, r->NQ);
    kd_proj_backward(&s->work, &w->proj[KD_GATE], &t->proj[KD_GATE], s->dxn, s->dh, s->xn, r->NQ, r->qrow0, false);
    kd_proj_backward(&s->work, &w->proj[KD_UP], &t->proj[KD_UP], s->dxn, s->h, s->xn, r->NQ, r->qrow0, true);
    norm_back(r, dx, w->d_mlp_norm, s->dxn, t->xm, w->mlp_norm, t->rstd2, r->NQ);
}

/* Turns the gradients of q or k back: rope, then the head norm. Returns where they are now. */
static float *heads_backward(const kd_layer_run *r, float *dy, float *spare, const float *raw, const float *w, float *dw, float *rstd,
                             size_t N, size_t heads, const int32_t *pos) {
    job j = {.N = N, .heads = heads, .y = dy, .y2 = spare, .rstd = rstd, .x = raw, .w = w, .pos = pos};
    run(r, heads_back_task, &j);
    if (w && dw) kd_rmsnorm_dw(dw, dy, raw, rstd, N * heads, r->c->D, r->c->D);
    return w ? spare : dy;
}

/* dx_out [NQ,C]: the gradient behind attention's sum; the layer's dx goes to t->dx. */
static void attention_backward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *dx_out, const float *x,
                               bool need_dx) {
    const kd_config *c = r->c;
    kd_tape *s = r->t;
    const size_t HD = (size_t)c->H * c->D, GD = (size_t)c->G * c->D;
    kd_proj_backward(&s->work, &w->proj[KD_O], &t->proj[KD_O], s->dattn, dx_out, t->o, r->NQ, r->qrow0, false);
    kd_attention_backward(&s->work.gemm, &r->attn, s->dq, s->dk, s->dv, s->dattn, HD, t->o, t->lse, t->q, HD, t->k, t->v, GD, r->N, s->part,
                          s->attn_scratch);
    /* q, k and v of the tape are spent: q and k hold the gradients before the head norm where there is one */
    float *dq = heads_backward(r, s->dq, t->q, t->q_raw, w->q_norm, w->d_q_norm, t->q_rstd, r->NQ, c->H, r->qpos);
    float *dk = heads_backward(r, s->dk, t->k, t->k_raw, w->k_norm, w->d_k_norm, t->k_rstd, r->N, c->G, r->b->pos);
    norm(r, s->xn, t->rstd1, x, w->attn_norm, r->N);
    const bool want = need_dx || w->d_attn_norm;
    float *dxn = want ? s->dxn : NULL;
    kd_proj_backward(&s->work, &w->proj[KD_K], &t->proj[KD_K], dxn, dk, s->xn, r->N, r->row0, false);
    kd_proj_backward(&s->work, &w->proj[KD_V], &t->proj[KD_V], dxn, s->dv, s->xn, r->N, r->row0, true);
    if (r->pick) {
        pick_rows(r, s->xq, s->xn);
        float *tmp = want ? s->dattn : NULL; /* [NQ,C] fits: see kd_tape */
        kd_proj_backward(&s->work, &w->proj[KD_Q], &t->proj[KD_Q], tmp, dq, s->xq, r->NQ, r->qrow0, false);
        if (want) scatter_rows(r, dxn, tmp);
    } else {
        kd_proj_backward(&s->work, &w->proj[KD_Q], &t->proj[KD_Q], dxn, dq, s->xn, r->N, r->row0, true);
    }
    if (r->pick && need_dx) {
        memset(s->dx, 0, r->N * c->C * sizeof *s->dx);
        scatter_rows(r, s->dx, dx_out);
    }
    norm_back(r, need_dx ? s->dx : NULL, w->d_attn_norm, dxn, x, w->attn_norm, t->rstd1, r->N);
}

void kd_layer_backward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *dx_out, const float *x, bool need_dx) {
    mlp_backward(r, w, t, dx_out);
    attention_backward(r, w, t, dx_out, x, need_dx);
}
