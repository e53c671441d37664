/* distill/math/grad_attention.c - causal attention over packed sequences, forward and backward, in blocks. Leans on grad_ops.h, mm.h.
 * Forward: a task is a head of a block of query rows. Backward: a task is a head of a sequence, which owns its dq and, where heads share
 * keys, a part of dk and dv that is summed over the group afterwards. Tasks follow from the shapes, so bits do not depend on threads.
 * A block's rows are copied side by side (Dp floats each), keys also turned; products go tile by tile, and tiles above the diagonal, or the part
 * of a tile's depth that the mask leaves nothing of, are not computed. */
#include "distill/math/grad_ops.h"

#include "distill/math/mm.h"

#include <math.h>
#include <string.h>

enum {
    B = 126,   /* rows of a block: whole tiles of 14 and of 6 */
    LD = 128,  /* floats between rows of scores, and rows of a buffer */
    ROWS = 64, /* rows of a task that joins the parts of heads */
    PIECES = 8 /* buffers of a worker */
};

typedef struct {
    const kd_gemm *g;
    const kd_attention *a;
    const kd_grad_ops *ops;
    const kd_mm_tiles *t;
    const kd_mm *mm; /* NULL: turned one by one */
    float *o, *lse, *dq, *dk, *dv, *part;
    const float *dout, *q, *k, *v;
    size_t ldo, ldq, ldk, NK, Dp;
    char *scratch;
} job;

/* A worker's room: scores and their gradients, then buffers of rows, then what each row sees. */
typedef struct {
    float *S, *dP, *rows[PIECES], *top, *sum;
    size_t *seen;
} room;
static size_t padded(size_t D) { return (D + 31) / 32 * 32; }
static size_t room_floats(size_t D) { return LD * (2 * LD + PIECES * padded(D) + 4); }

void kd_attention_tasks(size_t *tasks, const kd_span *spans, size_t n) {
    size_t t = 0;
    for (size_t i = 0; i < n; i++) {
        tasks[i] = t;
        t += (spans[i].nq + B - 1) / B;
    }
    tasks[n] = t;
}

size_t kd_attention_scratch(int threads, size_t D) { return (size_t)threads * room_floats(D) * sizeof(float); }
static room room_of(const job *j, int worker) {
    float *at = (float *)(void *)j->scratch + (size_t)worker * room_floats(j->a->D);
    room r = {.S = at, .dP = at + LD * LD};
    at += 2 * LD * LD;
    for (int i = 0; i < PIECES; i++, at += LD * j->Dp) r.rows[i] = at;
    r.top = at;
    r.sum = at + LD;
    r.seen = (size_t *)(void *)(at + 2 * LD);
    return r;
}

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

/* ---- products of tiles ---- */
static void plain_tile(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b, size_t ldb, size_t steps, float alpha,
                       bool add) {
    for (size_t i = 0; i < KD_MM_ROWS; i++)
        for (size_t n = 0; n < 32; n++) {
            float s = 0;
            for (size_t k = 0; k < steps; k++) s += a[i * rs + k * cs] * b[k * ldb + n];
            c[i * ldc + n] = alpha * s + (add ? c[i * ldc + n] : 0);
        }
}
static const kd_mm_tiles plain_tiles = {KD_MM_ROWS, 32, plain_tile, NULL, NULL};

/* Rows of D floats side by side, times scale, zeros behind. */
static void copy_rows(const job *j, float *to, const float *from, size_t ld, size_t n, float scale) {
    const size_t D = j->a->D;
    for (size_t i = 0; i < n; i++, to += j->Dp, from += ld) {
        memcpy(to, from, D * sizeof *to);
        if (scale != 1) j->ops->scale(to, scale, D);
        memset(to + D, 0, (j->Dp - D) * sizeof *to);
    }
}
/* Panels [D][nr] of n rows. */
static void turn_rows(const job *j, float *to, const float *from, size_t ld, size_t n) {
    const size_t D = j->a->D, nr = j->t->nr;
    if (j->mm) {
        j->mm->pack_rows(to, nr, from, ld, n, D);
        return;
    }
    for (size_t p = 0; p < n; p += nr)
        for (size_t d = 0; d < D; d++, to += nr)
            for (size_t i = 0; i < nr; i++) to[i] = p + i < n ? from[(p + i) * ld + d] : 0;
}

/* What the last row of the tile that starts at row r sees. */
static size_t reach(const job *j, const room *w, size_t r, size_t n) { return w->seen[r + j->t->mr < n ? r + j->t->mr - 1 : n - 1]; }

/* out [n,LD] = rows x [n,Dp] times turned keys, where a row of the tile sees one of its keys. */
static void scores(const job *j, const room *w, float *out, const float *x, const float *turned, size_t n) {
    const size_t mr = j->t->mr, nr = j->t->nr, D = j->a->D;
    for (size_t r = 0; r < n; r += mr) {
        const size_t end = reach(j, w, r, n);
        for (size_t c = 0; c < end; c += nr) j->t->wide(out + r * LD + c, LD, x + r * j->Dp, j->Dp, 1, turned + c * D, nr, D, 1, false);
    }
}
/* Zeros behind what row i sees, as far as a product reads. */
static void hide(const job *j, const room *w, float *row, size_t i, size_t n) {
    const size_t mr = j->t->mr, seen = w->seen[i], whole = (seen + mr - 1) / mr * mr, end = reach(j, w, i / mr * mr, n);
    memset(row + seen, 0, ((whole > end ? whole : end) - seen) * sizeof *row);
}
/* out [n,Dp] (+)= P [n,LD] y [.,Dp] */
static void by_rows(const job *j, const room *w, float *out, const float *P, const float *y, size_t n, float alpha, bool add) {
    const size_t mr = j->t->mr, nr = j->t->nr;
    for (size_t r = 0; r < n; r += mr) {
        const size_t steps = reach(j, w, r, n);
        for (size_t c = 0; c < j->Dp; c += nr) j->t->wide(out + r * j->Dp + c, j->Dp, P + r * LD, LD, 1, y + c, j->Dp, steps, alpha, add);
    }
}
/* out [kn,Dp] += P^T y, P [n,LD], y [n,Dp]: rows that see no key of a tile are left out. */
static void by_keys(const job *j, const room *w, float *out, const float *P, const float *y, size_t n, size_t kn) {
    const size_t mr = j->t->mr, nr = j->t->nr;
    size_t from = 0;
    for (size_t k = 0; k < kn; k += mr) {
        while (from < n && w->seen[from] <= k) from++;
        if (from == n) return;
        for (size_t c = 0; c < j->Dp; c += nr)
            j->t->wide(out + k * j->Dp + c, j->Dp, P + from * LD + k, 1, LD, y + from * j->Dp + c, j->Dp, n - from, 1, true);
    }
}

static void forward_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_attention *a = j->a;
    const size_t h = task % a->H, block = task / a->H, si = span_of(a, block), kv = h / (a->H / a->G);
    const kd_span *s = &a->spans[si];
    const size_t from = (block - a->tasks[si]) * B, n = s->nq - from < B ? s->nq - from : B, r0 = s->q0 + from;
    const size_t keys = (size_t)a->qpos[r0 + n - 1] + 1, D = a->D;
    const room w = room_of(j, worker);
    float *Q = w.rows[0], *K = w.rows[1], *V = w.rows[2], *O = w.rows[3];
    copy_rows(j, Q, j->q + r0 * j->ldq + h * D, j->ldq, n, a->scale);
    for (size_t i = 0; i < n; i++) {
        w.top[i] = -INFINITY;
        w.sum[i] = 0;
    }
    for (size_t kb = 0; kb < keys; kb += B) {
        const size_t kn = keys - kb < B ? keys - kb : B;
        turn_rows(j, K, j->k + (s->k0 + kb) * j->ldk + kv * D, j->ldk, kn);
        copy_rows(j, V, j->v + (s->k0 + kb) * j->ldk + kv * D, j->ldk, kn, 1);
        for (size_t i = 0; i < n; i++) w.seen[i] = visible(a->qpos[r0 + i], kb, kn);
        scores(j, &w, w.S, Q, K, n);
        for (size_t i = 0; i < n; i++) {
            float *row = w.S + i * LD;
            if (w.seen[i]) {
                float m = j->ops->row_max(row, w.seen[i]);
                if (m < w.top[i]) m = w.top[i];
                if (kb && m != w.top[i]) {
                    float fade = expf(w.top[i] - m);
                    w.sum[i] *= fade;
                    j->ops->scale(O + i * j->Dp, fade, D);
                }
                w.top[i] = m;
                w.sum[i] += (float)j->ops->exp_sum(row, row, w.seen[i], m);
            }
            hide(j, &w, row, i, n);
        }
        by_rows(j, &w, O, w.S, V, n, 1, kb > 0);
    }
    for (size_t i = 0; i < n; i++) {
        float *o = j->o + (r0 + i) * j->ldo + h * D;
        memcpy(o, O + i * j->Dp, D * sizeof *o);
        j->ops->scale(o, 1.0f / w.sum[i], D);
        j->lse[(r0 + i) * a->H + h] = w.top[i] + logf(w.sum[i]);
    }
}

static job begin(const kd_gemm *g, const kd_attention *a, void *scratch) {
    job j = {.g = g, .a = a, .ops = kd_grad_ops_get(), .t = kd_mm_open_tiles(), .mm = kd_mm_f32(), .Dp = padded(a->D), .scratch = scratch};
    if (!j.t) j.t = &plain_tiles;
    return j;
}

void kd_attention_forward(const kd_gemm *g, const kd_attention *a, float *o, size_t ldo, float *lse, const float *q, size_t ldq,
                          const float *k, const float *v, size_t ldk, void *scratch) {
    job j = begin(g, a, scratch);
    j.o = o, j.lse = lse, j.q = q, j.k = k, j.v = v;
    j.ldo = ldo, j.ldq = ldq, j.ldk = ldk;
    kd_pool_run(g->pool, forward_task, &j, a->tasks[a->n] * a->H);
}

/* What a block of keys has in the room during backward. */
enum { KT, VT, KEYS, DK, DV, QUERIES, DOUT, DQ };

/* One block of queries against the block of keys in the room. */
static void backward_block(const job *j, const room *w, const kd_span *s, size_t h, size_t qb, size_t qn, size_t kb, size_t kn) {
    const kd_attention *a = j->a;
    const size_t D = a->D, r0 = s->q0 + qb;
    const float *o = j->o + r0 * j->ldo + h * D, *dout = w->rows[DOUT];
    float *dq = j->dq + r0 * j->ldq + h * D;
    for (size_t i = 0; i < qn; i++) w->seen[i] = visible(a->qpos[r0 + i], kb, kn);
    copy_rows(j, w->rows[QUERIES], j->q + r0 * j->ldq + h * D, j->ldq, qn, a->scale);
    copy_rows(j, w->rows[DOUT], j->dout + r0 * j->ldo + h * D, j->ldo, qn, 1);
    scores(j, w, w->S, w->rows[QUERIES], w->rows[KT], qn);
    scores(j, w, w->dP, w->rows[DOUT], w->rows[VT], qn);
    for (size_t i = 0; i < qn; i++) {
        float *S = w->S + i * LD, *dP = w->dP + i * LD, delta = (float)j->ops->dot(dout + i * j->Dp, o + i * j->ldo, D);
        j->ops->attention_row(S, dP, w->seen[i], w->seen[i], j->lse[(r0 + i) * a->H + h], delta);
        hide(j, w, S, i, qn);
        hide(j, w, dP, i, qn);
    }
    by_keys(j, w, w->rows[DV], w->S, dout, qn, kn);
    by_keys(j, w, w->rows[DK], w->dP, w->rows[QUERIES], qn, kn);
    by_rows(j, w, w->rows[DQ], w->dP, w->rows[KEYS], qn, a->scale, false);
    for (size_t i = 0; i < qn; i++)
        if (w->seen[i]) j->ops->add(dq + i * j->ldq, w->rows[DQ] + i * j->Dp, D);
}

static void backward_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_attention *a = j->a;
    const size_t h = task % a->H, D = a->D, kv = h / (a->H / a->G), ldd = a->H == a->G ? j->ldk : D;
    const kd_span *s = &a->spans[task / a->H];
    const room w = room_of(j, worker);
    float *dk = a->H == a->G ? j->dk + s->k0 * ldd + h * D : j->part + (h * j->NK + s->k0) * D;
    float *dv = a->H == a->G ? j->dv + s->k0 * ldd + h * D : dk + a->H * j->NK * D;
    for (size_t i = 0; i < s->nq; i++) memset(j->dq + (s->q0 + i) * j->ldq + h * D, 0, D * sizeof *j->dq);
    for (size_t kb = 0; kb < s->nk; kb += B) {
        const size_t kn = s->nk - kb < B ? s->nk - kb : B;
        const float *k = j->k + (s->k0 + kb) * j->ldk + kv * D, *v = j->v + (s->k0 + kb) * j->ldk + kv * D;
        turn_rows(j, w.rows[KT], k, j->ldk, kn);
        turn_rows(j, w.rows[VT], v, j->ldk, kn);
        copy_rows(j, w.rows[KEYS], k, j->ldk, kn, 1);
        memset(w.rows[DK], 0, LD * j->Dp * sizeof(float));
        memset(w.rows[DV], 0, LD * j->Dp * sizeof(float));
        for (size_t qb = 0; qb < s->nq; qb += B) {
            const size_t qn = s->nq - qb < B ? s->nq - qb : B;
            const size_t end = (size_t)a->qpos[s->q0 + qb + qn - 1] + 1; /* keys that its last row sees */
            if (end > kb) backward_block(j, &w, s, h, qb, qn, kb, end - kb < kn ? end - kb : kn);
        }
        for (size_t i = 0; i < kn; i++) {
            memcpy(dk + (kb + i) * ldd, w.rows[DK] + i * j->Dp, D * sizeof *dk);
            memcpy(dv + (kb + i) * ldd, w.rows[DV] + i * j->Dp, D * sizeof *dv);
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
    job j = begin(g, a, scratch);
    j.o = (float *)(uintptr_t)o, j.lse = (float *)(uintptr_t)lse;
    j.dq = dq, j.dk = dk, j.dv = dv, j.part = part, j.dout = dout, j.q = q, j.k = k, j.v = v;
    j.ldo = ldo, j.ldq = ldq, j.ldk = ldk, j.NK = NK;
    kd_pool_run(g->pool, backward_task, &j, a->n * a->H);
    if (a->H != a->G) kd_pool_run(g->pool, join_task, &j, (NK + ROWS - 1) / ROWS);
}
