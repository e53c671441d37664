/* distill/math/low.c - products with a thin side, as adapters make them: the large operand is read as it lies, never packed. Leans on gemm.h, mm.h.
 * A task is a block of rows (kd_low_y) or of columns (kd_low_dw); blocks and stretches depend on the shapes alone. */
#include "distill/math/gemm.h"

#include "distill/math/mm.h"

#include <string.h>

enum {
    MOST = KD_LOW_RANK, /* widest thin side */
    BLOCK = 112,        /* rows or columns of a task: whole tiles of 14, and of 6 but for four */
    STRETCH = 1024,     /* depth summed before it is added to what is there */
    ROWS = 128,         /* depth of a stretch of kd_low_dw: what it reads stays in the second cache */
    PACK = 512          /* depth that a packing task lays out */
};

typedef struct {
    const kd_gemm *g;
    const kd_mm_tiles *t;
    const kd_mm *mm;
    float *out, *panel;
    const float *x, *w;
    size_t ldx, ldb, N, C, r, rp, k0, k; /* rp: r in whole narrow tiles; k0, k: the stretch in the panel */
    bool turned;
    float alpha;
} job;

static size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }
static size_t block_of(const job *j) { return BLOCK / j->t->mr * j->t->mr; }

static void pack_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t at = task * PACK, n = j->k - at < PACK ? j->k - at : PACK;
    float *to = j->panel + at * j->rp;
    if (j->turned)
        j->mm->pack_columns(to, j->rp, j->w + (j->k0 + at) * j->r, j->r, j->r, n);
    else
        j->mm->pack_rows(to, j->rp, j->w + j->k0 + at, j->C, j->r, n);
}

/* out[row .. row+rows) of the stretch in the panel, rows <= mr. */
static void rows_tile(const job *j, size_t row, size_t rows, float *scratch) {
    const size_t mr = j->t->mr;
    const bool part = rows < mr || j->r != j->rp,
               copy = rows < mr || j->ldx % 1024 == 0; /* rows a power of two apart share few lines of a cache */
    float tmp[KD_MM_ROWS * MOST], *c = part ? tmp : j->out + row * j->r;
    const size_t ldc = part ? j->rp : j->r;
    for (size_t k = 0; k < j->k; k += STRETCH) {
        const size_t n = j->k - k < STRETCH ? j->k - k : STRETCH;
        const float *a = j->x + row * j->ldx + j->k0 + k;
        size_t lda = j->ldx;
        if (copy) {
            for (size_t i = 0; i < rows; i++) memcpy(scratch + i * (STRETCH + 16), a + i * lda, n * sizeof *a);
            for (size_t i = rows; i < mr; i++) memset(scratch + i * (STRETCH + 16), 0, n * sizeof *a);
            a = scratch;
            lda = STRETCH + 16;
        }
        for (size_t i = 0; i < j->rp; i += KD_MM_NARROW)
            j->t->narrow(c + i, ldc, a, lda, 1, j->panel + k * j->ldb + i, j->ldb, n, j->alpha, k || (j->k0 && !part));
    }
    for (size_t i = 0; i < rows && part; i++)
        for (size_t q = 0; q < j->r; q++) {
            float *to = j->out + (row + i) * j->r + q;
            *to = j->k0 ? *to + tmp[i * ldc + q] : tmp[i * ldc + q]; /* NOLINT: narrow, by its pointer, has filled tmp */
        }
}
static void rows_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const size_t from = task * block_of(j), to = from + block_of(j) < j->N ? from + block_of(j) : j->N;
    float *scratch = kd_gemm_worker_scratch(j->g, worker);
    for (size_t r = from; r < to; r += j->t->mr) rows_tile(j, r, to - r < j->t->mr ? to - r : j->t->mr, scratch);
}

static bool fits(size_t N, size_t C, size_t r) {
    return kd_mm_open_tiles() && kd_mm_f32() && r <= MOST && C >= KD_MM_ROWS && N >= KD_MM_ROWS;
}

void kd_low_y(const kd_gemm *g, float *out, const float *x, size_t ldx, const float *w, bool turned, size_t N, size_t C, size_t r,
              float alpha) {
    if (!fits(N, C, r)) {
        const kd_mat m = turned ? kd_mat_f32(w, C, r) : kd_mat_f32(w, r, C);
        if (turned)
            kd_gemm_dx(g, out, r, x, ldx, &m, N, alpha, false);
        else
            kd_gemm_y(g, out, r, x, ldx, &m, NULL, N, alpha, false);
        return;
    }
    job j = {.g = g, .t = kd_mm_open_tiles(), .mm = kd_mm_f32(), .out = out, .x = x, .w = w, .ldx = ldx};
    j.N = N, j.C = C, j.r = r, j.turned = turned, j.alpha = alpha;
    j.rp = blocks(r, KD_MM_NARROW) * KD_MM_NARROW;
    const bool direct = turned && r == j.rp;
    const size_t depth = direct ? C : KD_LOW_SCRATCH / j.rp / STRETCH * STRETCH;
    j.ldb = j.rp;
    for (j.k0 = 0; j.k0 < C; j.k0 += depth) {
        j.k = C - j.k0 < depth ? C - j.k0 : depth;
        j.panel = direct ? (float *)(uintptr_t)w : kd_gemm_low_scratch(g);
        if (!direct) kd_pool_run(g->pool, pack_task, &j, blocks(j.k, PACK));
        kd_pool_run(g->pool, rows_task, &j, blocks(N, block_of(&j)));
    }
}

/* dw of a block of columns c of x: tiles of mr columns by narrow tiles of t's, summed over stretches of rows. */
static void columns_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const size_t mr = j->t->mr, from = task * block_of(j), to = from + block_of(j) < j->C ? from + block_of(j) : j->C;
    float *sum = kd_gemm_worker_scratch(j->g, worker), *spare = sum + (BLOCK + KD_MM_ROWS) * MOST;
    for (size_t n0 = 0; n0 < j->N; n0 += ROWS) {
        const size_t n = j->N - n0 < ROWS ? j->N - n0 : ROWS;
        const float *t = j->w + n0 * j->r;
        if (j->r != j->rp) {
            j->mm->pack_columns(spare, j->rp, t, j->r, j->r, n);
            t = spare;
        }
        float *c = sum;
        for (size_t at = from; at < to; at += mr, c += mr * j->rp) {
            const size_t col = at + mr <= j->C ? at : j->C - mr; /* the last tile takes some columns a second time */
            for (size_t i = 0; i < j->rp; i += KD_MM_NARROW)
                j->t->turned(c + i, j->rp, j->x + n0 * j->ldx + col, 1, j->ldx, t + i, j->rp, n, j->alpha, n0 > 0);
        }
    }
    const float *c = sum;
    for (size_t at = from; at < to; at += mr, c += mr * j->rp) {
        const size_t n = to - at < mr ? to - at : mr, skip = at + mr <= j->C ? 0 : at + mr - j->C;
        for (size_t i = 0; i < n; i++)
            for (size_t q = 0; q < j->r; q++) j->out[j->turned ? q * j->C + at + i : (at + i) * j->r + q] += c[(skip + i) * j->rp + q];
    }
}

void kd_low_dw(const kd_gemm *g, float *dw, bool turned, const float *x, size_t ldx, const float *t, size_t N, size_t C, size_t r,
               float alpha) {
    if (N == 0) return;
    if (!fits(N, C, r)) {
        if (turned)
            kd_gemm_dw(g, dw, C, t, r, x, ldx, N, r, C, alpha);
        else
            kd_gemm_dw(g, dw, r, x, ldx, t, r, N, C, r, alpha);
        return;
    }
    job j = {.g = g, .t = kd_mm_open_tiles(), .mm = kd_mm_f32(), .out = dw, .x = x, .w = t, .ldx = ldx};
    j.N = N, j.C = C, j.r = r, j.turned = turned, j.alpha = alpha;
    j.rp = blocks(r, KD_MM_NARROW) * KD_MM_NARROW;
    kd_pool_run(g->pool, columns_task, &j, blocks(C, block_of(&j)));
}
