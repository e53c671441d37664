/* distill/math/grad_attention.c - causal attention over packed sequences, forward and backward, in blocks. Leans on grad_ops.h, gemm.h.
 * Forward: a task is a head of a block of query rows. Backward: a task is a head of a sequence, which owns its dq and, where heads share
 * keys, a part of dk and dv that is summed over the group afterwards. Tasks follow from the shapes, so bits do not depend on threads. */
#include "distill/math/grad_ops.h"

#include <math.h>
#include <string.h>

enum { BQ = 128, BK = 128, ROWS = 64 };

typedef struct {
    const kd_gemm *g;
    const kd_attention *a;
    const kd_grad_ops *ops;
    float *o, *lse, *dq, *dk, *dv, *part;
    const float *dout, *q, *k, *v;
    size_t ldo, ldq, ldk, NK;
    char *scratch;
} job;

void kd_attention_tasks(size_t *tasks, const kd_span *spans, size_t n) {
    size_t t = 0;
    for (size_t i = 0; i < n; i++) {
        tasks[i] = t;
        t += (spans[i].nq + BQ - 1) / BQ;
    }
    tasks[n] = t;
}

/* Two blocks of scores and three values a row. */
size_t kd_attention_scratch(int threads, size_t D) {
    (void)D;
    return (size_t)threads * (2 * BQ * BK + 4 * BQ) * sizeof(float);
}
static float *worker_scratch(const job *j, int worker) { return (float *)(void *)j->scratch + (size_t)worker * (2 * BQ * BK + 4 * BQ); }

/* The span that block number b of query rows lies in: the last whose first block is not behind b. */
static size_t span_of(const kd_attention *a, size_t b) {
    size_t lo = 0, hi = a->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (a->tasks[mid] <= b)
            lo = mid;
        else
            hi = mid;
    }
    return lo;
}

/* How many of the keys kb .. kb+kn a query at pos sees. */
static size_t visible(int32_t pos, size_t kb, size_t kn) {
    size_t end = (size_t)pos + 1;
    return end <= kb ? 0 : end - kb < kn ? end - kb : kn;
}

static void forward_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_attention *a = j->a;
    const size_t h = task % a->H, block = task / a->H, si = span_of(a, block), kv = h / (a->H / a->G);
    const kd_span *s = &a->spans[si];
    const size_t from = (block - a->tasks[si]) * BQ, n = s->nq - from < BQ ? s->nq - from : BQ, r0 = s->q0 + from;
    const size_t keys = (size_t)a->qpos[r0 + n - 1] + 1, D = a->D;
    float *S = worker_scratch(j, worker), *top = S + 2 * BQ * BK, *sum = top + BQ;
    float *o = j->o + r0 * j->ldo + h * D;
    for (size_t i = 0; i < n; i++) {
        top[i] = -INFINITY;
        sum[i] = 0;
    }
    for (size_t kb = 0; kb < keys; kb += BK) {
        const size_t kn = keys - kb < BK ? keys - kb : BK;
        const float *k = j->k + (s->k0 + kb) * j->ldk + kv * D, *v = j->v + (s->k0 + kb) * j->ldk + kv * D;
        kd_sgemm(false, true, n, kn, D, a->scale, j->q + r0 * j->ldq + h * D, j->ldq, k, j->ldk, 0, S, BK);
        for (size_t i = 0; i < n; i++) {
            float *row = S + i * BK;
            size_t seen = visible(a->qpos[r0 + i], kb, kn);
            if (seen) {
                float m = j->ops->row_max(row, seen);
                if (m < top[i]) m = top[i];
                if (kb && m != top[i]) {
                    float fade = expf(top[i] - m);
                    sum[i] *= fade;
                    j->ops->scale(o + i * j->ldo, fade, D);
                }
                top[i] = m;
                sum[i] += (float)j->ops->exp_sum(row, row, seen, m);
            }
            memset(row + seen, 0, (kn - seen) * sizeof *row);
        }
        kd_sgemm(false, false, n, D, kn, 1, S, BK, v, j->ldk, kb ? 1.0f : 0.0f, o, j->ldo);
    }
    for (size_t i = 0; i < n; i++) {
        j->ops->scale(o + i * j->ldo, 1.0f / sum[i], D);
        j->lse[(r0 + i) * a->H + h] = top[i] + logf(sum[i]);
    }
}

void kd_attention_forward(const kd_gemm *g, const kd_attention *a, float *o, size_t ldo, float *lse, const float *q, size_t ldq,
                          const float *k, const float *v, size_t ldk, void *scratch) {
    job j = {.g = g,
             .a = a,
             .ops = kd_grad_ops_get(),
             .o = o,
             .lse = lse,
             .q = q,
             .k = k,
             .v = v,
             .ldo = ldo,
             .ldq = ldq,
             .ldk = ldk,
             .scratch = scratch};
    kd_pool_run(g->pool, forward_task, &j, a->tasks[a->n] * a->H);
}

typedef struct {
    float *dq, *dk, *dv;
    size_t ldd; /* of dk, dv */
} grads;

/* One block of queries against one block of keys. */
static void backward_block(const job *j, const kd_span *s, size_t h, size_t qb, size_t qn, size_t kb, size_t kn, float *S, const grads *d) {
    const kd_attention *a = j->a;
    const size_t D = a->D, r0 = s->q0 + qb, kv = h / (a->H / a->G);
    const float *q = j->q + r0 * j->ldq + h * D, *dout = j->dout + r0 * j->ldo + h * D, *o = j->o + r0 * j->ldo + h * D;
    const float *k = j->k + (s->k0 + kb) * j->ldk + kv * D, *v = j->v + (s->k0 + kb) * j->ldk + kv * D;
    float *dP = S + BQ * BK;
    kd_sgemm(false, true, qn, kn, D, a->scale, q, j->ldq, k, j->ldk, 0, S, BK);
    kd_sgemm(false, true, qn, kn, D, 1, dout, j->ldo, v, j->ldk, 0, dP, BK);
    for (size_t i = 0; i < qn; i++) {
        float delta = (float)j->ops->dot(dout + i * j->ldo, o + i * j->ldo, D);
        j->ops->attention_row(S + i * BK, dP + i * BK, visible(a->qpos[r0 + i], kb, kn), kn, j->lse[(r0 + i) * a->H + h], delta);
    }
    kd_sgemm(true, false, kn, D, qn, 1, S, BK, dout, j->ldo, 1, d->dv + kb * d->ldd, d->ldd);
    kd_sgemm(true, false, kn, D, qn, a->scale, dP, BK, q, j->ldq, 1, d->dk + kb * d->ldd, d->ldd);
    kd_sgemm(false, false, qn, D, kn, a->scale, dP, BK, k, j->ldk, 1, d->dq + qb * j->ldq, j->ldq);
}

static void zero_rows(float *x, size_t ld, size_t n, size_t D) {
    for (size_t i = 0; i < n; i++) memset(x + i * ld, 0, D * sizeof *x);
}

static void backward_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_attention *a = j->a;
    const size_t h = task % a->H, D = a->D;
    const kd_span *s = &a->spans[task / a->H];
    grads d = {j->dq + s->q0 * j->ldq + h * D, NULL, NULL, D};
    if (a->H == a->G) {
        d.ldd = j->ldk;
        d.dk = j->dk + s->k0 * j->ldk + h * D;
        d.dv = j->dv + s->k0 * j->ldk + h * D;
    } else {
        d.dk = j->part + (h * j->NK + s->k0) * D;
        d.dv = d.dk + a->H * j->NK * D;
    }
    zero_rows(d.dq, j->ldq, s->nq, D);
    zero_rows(d.dk, d.ldd, s->nk, D);
    zero_rows(d.dv, d.ldd, s->nk, D);
    float *S = worker_scratch(j, worker);
    for (size_t kb = 0; kb < s->nk; kb += BK) {
        size_t kn = s->nk - kb < BK ? s->nk - kb : BK;
        for (size_t qb = 0; qb < s->nq; qb += BQ) {
            size_t qn = s->nq - qb < BQ ? s->nq - qb : BQ;
            size_t reach = (size_t)j->a->qpos[s->q0 + qb + qn - 1] + 1; /* keys that its last row sees */
            if (reach <= kb) continue;
            backward_block(j, s, h, qb, qn, kb, reach - kb < kn ? reach - kb : kn, S, &d);
        }
    }
}

/* dk, dv of a kv head = the sum over its query heads, in their order. */
static void join_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const kd_attention *a = j->a;
    const size_t D = a->D, group = a->H / a->G, r1 = j->NK - task * ROWS < ROWS ? j->NK : (task + 1) * ROWS;
    for (int which = 0; which < 2; which++) {
        const float *part = j->part + (which ? a->H * j->NK * D : 0);
        float *out = which ? j->dv : j->dk;
        for (size_t r = task * ROWS; r < r1; r++)
            for (size_t kv = 0; kv < a->G; kv++) {
                float *to = out + r * j->ldk + kv * D;
                memcpy(to, part + (kv * group * j->NK + r) * D, D * sizeof *to);
                for (size_t i = 1; i < group; i++) j->ops->add(to, part + ((kv * group + i) * j->NK + r) * D, D);
            }
    }
}

void kd_attention_backward(const kd_gemm *g, const kd_attention *a, float *dq, float *dk, float *dv, const float *dout, size_t ldo,
                           const float *o, const float *lse, const float *q, size_t ldq, const float *k, const float *v, size_t ldk,
                           size_t NK, float *part, void *scratch) {
    job j = {.g = g,
             .a = a,
             .ops = kd_grad_ops_get(),
             .o = (float *)(uintptr_t)o,
             .lse = (float *)(uintptr_t)lse,
             .dq = dq,
             .dk = dk,
             .dv = dv,
             .part = part,
             .dout = dout,
             .q = q,
             .k = k,
             .v = v,
             .ldo = ldo,
             .ldq = ldq,
             .ldk = ldk,
             .NK = NK,
             .scratch = scratch};
    kd_pool_run(g->pool, backward_task, &j, a->n * a->H);
    if (a->H != a->G) kd_pool_run(g->pool, join_task, &j, (NK + ROWS - 1) / ROWS);
}
