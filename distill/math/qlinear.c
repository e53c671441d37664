/* distill/math/qlinear.c - 8-bit products: panels are made and owned here, activations quantized, the work cut into pairs of panels and handed to
 * the tiles of this CPU. Leans on qlinear_kernels.h, qlinear_pack.h, linear.h, base/cpu.h, base/mem.h. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/math/linear.h"
#include "distill/math/qlinear_pack.h"

#include <string.h>
#include <sys/mman.h>

enum { GROUP = 4, MANY = 12 }; /* panels a task; rows from which on opening panels pays */

struct kd_qmat {
    kd_mat w;
    const kd_qkernels *k; /* NULL: f32 */
    kd_qformat f;
    int8_t book[16];                                /* as the tiles want it */
    size_t blocks, panels, code_bytes, scale_bytes; /* of a panel */
    uint8_t *codes;                                 /* [panels], or NULL: packed anew in every call */
    char *scales;
};

const kd_qkernels *kd_qkernels_get(void) {
#if defined(__x86_64__)
    const kd_cpu *c = kd_cpu_get();
    if (c->level >= KD_CPU_AVX512 && c->avx512_vnni) return &kd_qkernels_avx512vnni;
    if (c->level >= KD_CPU_AVX2) return c->avx_vnni ? &kd_qkernels_avxvnni : &kd_qkernels_avx2;
#endif
    return NULL;
}

static void pack_task(void *ctx, size_t p, int worker) {
    const kd_qmat *q = ctx;
    (void)worker;
    kd_qpack_panel(&q->w, p * KD_QROWS, &q->f, q->codes + p * q->code_bytes, q->scales + p * q->scale_bytes);
}

static void shape(kd_qmat *q) {
    q->blocks = q->w.cols / KD_QBLOCK;
    q->panels = (q->w.rows + KD_QROWS - 1) / KD_QROWS;
    q->code_bytes = q->blocks * kd_qcode_bytes(q->f.kind);
    q->scale_bytes = q->blocks / (q->f.scale == KD_QS_SUPER ? 8 : 1) * kd_qscale_bytes(&q->f);
    for (int i = 0; q->f.book && i < 16; i++) {
        int v = q->f.book[i] + q->f.offset;
        q->book[i] = (int8_t)(v > 127 ? v - 256 : v);
    }
}

/* Large pages where the system gives them: one row of activations walks all panels once, and would miss a page table entry every 4 KiB. */
static void *panel_memory(size_t n) {
    const size_t large = (size_t)1 << 21;
    void *p = kd_aligned_alloc(n >= large ? large : 64, n ? n : 64);
#if defined(MADV_HUGEPAGE)
    if (p && n >= large) (void)madvise(p, n / large * large, MADV_HUGEPAGE); /* a wish */
#endif
    return p;
}

uint64_t kd_qmat_plan(const kd_mat *w) {
    kd_qmat q = {.w = *w, .k = kd_qkernels_get()};
    if (!q.k || w->cols % KD_QBLOCK || !w->cols || !kd_qformat_of((int)w->type, q.k->signed_bytes, &q.f)) return 0;
    shape(&q);
    return (uint64_t)q.panels * (q.code_bytes + q.scale_bytes);
}

kd_code kd_qmat_new(kd_qmat **out, const kd_mat *w, bool repack, kd_pool *pool, kd_err *e) {
    kd_qmat *q = kd_calloc(1, sizeof *q);
    *out = NULL;
    if (!q) return kd_fail(e, KD_ENOMEM, "matrix of %zu x %zu: out of memory", w->rows, w->cols);
    q->w = *w;
    q->k = kd_qkernels_get();
    if (!q->k || w->cols % KD_QBLOCK || !w->cols || !kd_qformat_of((int)w->type, q->k->signed_bytes, &q->f)) {
        q->k = NULL;
        *out = q;
        return KD_OK;
    }
    shape(q);
    if (repack) {
        size_t cn, sn;
        bool ok = kd_mul_size(q->panels, q->code_bytes, &cn) && kd_mul_size(q->panels, q->scale_bytes, &sn);
        q->codes = ok ? panel_memory(cn) : NULL;
        q->scales = ok ? panel_memory(sn) : NULL;
        if (!q->codes || !q->scales) {
            kd_qmat_free(q);
            return kd_fail(e, KD_ENOMEM, "panels of a matrix of %zu x %zu: out of memory", w->rows, w->cols);
        }
        kd_pool_run(pool, pack_task, q, q->panels);
    }
    *out = q;
    return KD_OK;
}

void kd_qmat_free(kd_qmat *q) {
    if (!q) return;
    kd_free(q->codes);
    kd_free(q->scales);
    kd_free(q);
}

size_t kd_qmat_bytes(const kd_qmat *q) { return sizeof *q + (q->codes ? q->panels * (q->code_bytes + q->scale_bytes) : 0); }

const char *kd_qmat_kind(const kd_qmat *q) { return q->k ? q->k->name : "f32"; }

/* A worker's floats and bytes: expanded scales and mins of a task's panels, and panels that are packed anew. */
static size_t worker_bytes(size_t blocks) {
    size_t scale = 2 * blocks * KD_QROWS * sizeof(float);
    size_t packed = blocks * 512 + blocks * 64; /* the widest codes; no scales take more than 64 bytes a block */
    size_t piece = 2 * KD_QPIECE * (512 + 2 * KD_QROWS * sizeof(int32_t)) + (size_t)KD_QMANY * 2 * KD_QROWS * sizeof(float);
    return (GROUP * (2 * scale + packed) + piece + 1024) / 64 * 64;
}

size_t kd_qlinear_scratch(size_t max_cols, size_t max_n, int threads) {
    size_t blocks = (max_cols + KD_QBLOCK - 1) / KD_QBLOCK, t = (size_t)(threads < 1 ? 1 : threads);
    size_t f32 = kd_linear_scratch(max_cols, max_n, threads), i8 = max_n * blocks * sizeof(kd_qact) + t * worker_bytes(blocks);
    return f32 > i8 ? f32 : i8;
}

typedef struct {
    const kd_qmat *q;
    const float *bias, *x;
    float *y;
    size_t ldx, ldy, N, group;
    bool accumulate, many; /* many: panels opened, activations as unsigned bytes */
    kd_qact *act;
    char *scratch;
    size_t worker;
} job;

static void quantize_rows(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    (void)worker;
    for (size_t n = task * 8; n < j->N && n < task * 8 + 8; n++) {
        kd_qact *a = j->act + n * j->q->blocks;
        j->q->k->quantize(a, j->x + n * j->ldx, j->q->blocks, j->q->f.offset, kd_qper(j->q->f.kind));
        if (j->many)
            for (size_t b = 0; b < j->q->blocks; b++)
                for (size_t i = 0; i < KD_QBLOCK; i++) a[b].q[i] = (int8_t)(a[b].q[i] ^ -128);
    }
}

/* What a task needs of panel p: codes and scales, packed here where they are not kept; floats for them expanded. */
typedef struct {
    const uint8_t *codes;
    const char *scales;
    float *scale, *min;
} panel;

static panel panel_of(const job *j, size_t p, size_t slot, char *scratch) {
    const kd_qmat *q = j->q;
    size_t floats = q->blocks * kd_qper(q->f.kind) * KD_QROWS;
    float *expanded = (float *)scratch;
    panel a = {.scale = expanded + 2 * slot * floats, .min = expanded + (2 * slot + 1) * floats};
    if (q->codes) {
        a.codes = q->codes + p * q->code_bytes, a.scales = q->scales + p * q->scale_bytes;
    } else {
        uint8_t *c = (uint8_t *)(expanded + 2 * GROUP * floats) + slot * (q->code_bytes + q->scale_bytes);
        a.codes = c, a.scales = (char *)c + q->code_bytes;
        kd_qpack_panel(&q->w, p * KD_QROWS, &q->f, c, (char *)c + q->code_bytes);
    }
    return a;
}

/* Two panels against up to KD_QMANY rows, opened piece by piece. */
static void many_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_qmat *q = j->q;
    size_t chunks = (j->N + KD_QMANY - 1) / KD_QMANY, p0 = task / chunks * 2, n0 = task % chunks * KD_QMANY, per = kd_qper(q->f.kind),
           N = j->N - n0 < KD_QMANY ? j->N - n0 : KD_QMANY, cb = kd_qcode_bytes(q->f.kind);
    char *scratch = j->scratch + (size_t)worker * j->worker;
    char *tail =
        scratch + j->worker - 2 * KD_QPIECE * (512 + 2 * KD_QROWS * sizeof(int32_t)) - (size_t)KD_QMANY * 2 * KD_QROWS * sizeof(float);
    int8_t *w = (int8_t *)tail;
    int32_t *start = (int32_t *)(tail + 2 * KD_QPIECE * 512);
    float *acc = (float *)(start + 2 * KD_QPIECE * 2 * KD_QROWS);
    panel a[2];
    for (size_t p = 0; p < 2; p++) {
        a[p] = p && p0 + 1 == q->panels ? a[0] : panel_of(j, p0 + p, p, scratch); /* a second panel that is not there is the first again */
        if (!p || p0 + 1 < q->panels) q->k->scales(a[p].scale, a[p].min, a[p].scales, &q->f, q->blocks);
    }
    memset(acc, 0, N * 2 * KD_QROWS * sizeof *acc);
    for (size_t b = 0; b < q->blocks; b += KD_QPIECE) {
        size_t blocks = q->blocks - b < KD_QPIECE ? q->blocks - b : KD_QPIECE;
        kd_qmany t = {.x = j->act + n0 * q->blocks + b, .acc = acc, .blocks = blocks, .ldx = q->blocks, .N = N};
        for (size_t p = 0; p < 2; p++) {
            int8_t *wp = w + p * KD_QPIECE * 512;
            int32_t *sp = start + p * KD_QPIECE * 2 * KD_QROWS;
            q->k->open[q->f.kind](a[p].codes + b * cb, blocks, q->f.offset, wp, sp);
            t.w[p] = wp, t.start[p] = sp, t.scale[p] = a[p].scale + b * per * KD_QROWS, t.min[p] = a[p].min + b * per * KD_QROWS;
        }
        q->k->many[q->f.kind](&t);
    }
    size_t row0 = p0 * KD_QROWS;
    q->k->finish(acc, N, j->bias ? j->bias + row0 : NULL, j->y + n0 * j->ldy + row0, j->ldy,
                 q->w.rows - row0 < 2 * KD_QROWS ? q->w.rows - row0 : 2 * KD_QROWS, j->accumulate);
}

/* How many rows the next tile takes: sixes (fours where there is no six), the rest without a single one at the end where that can be. */
static size_t next_rows(const kd_qkernels *k, kd_qkind kind, size_t left) {
    if (left >= 6 && k->tile[kind][6] && left != 8 && left != 7) return 6;
    return left >= 6 || left == 4 ? 4 : left >= 3 ? 3 : left;
}

static void panels_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_qmat *q = j->q;
    size_t p0 = task * j->group, P = q->panels - p0 < j->group ? q->panels - p0 : j->group;
    panel a[GROUP];
    bool wide = j->N == 1 && P == GROUP;
    for (size_t p = 0; p < P; p++) {
        a[p] = panel_of(j, p0 + p, p, j->scratch + (size_t)worker * j->worker);
        if (!wide) q->k->scales(a[p].scale, a[p].min, a[p].scales, &q->f, q->blocks);
    }
    for (size_t p = 0, step = wide ? GROUP : 2; p < P; p += step) {
        size_t row0 = (p0 + p) * KD_QROWS;
        kd_qtile t = {.book = q->book,
                      .blocks = q->blocks,
                      .bias = j->bias ? j->bias + row0 : NULL,
                      .ldy = j->ldy,
                      .rows = q->w.rows - row0,
                      .accumulate = j->accumulate};
        for (size_t i = 0; i < step; i++) {
            size_t at = p + i < P ? p + i : p; /* a pair whose second panel is not there reads the first twice, and writes it once */
            t.codes[i] = a[at].codes;
            t.scale[i] = wide ? (const void *)a[at].scales : a[at].scale;
            t.min[i] = a[at].min;
        }
        for (size_t n = 0, m; n < j->N; n += m) {
            m = next_rows(q->k, q->f.kind, j->N - n);
            t.x = j->act + n * q->blocks;
            t.y = j->y + n * j->ldy + row0;
            (wide ? q->k->wide[q->f.kind][q->f.scale] : q->k->tile[q->f.kind][m])(&t);
        }
    }
}

void kd_qlinear(const kd_qmat *q, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate,
                kd_pool *pool, void *scratch) {
    if (!q->k) {
        kd_linear_f32(&q->w, bias, x, ldx, y, ldy, N, accumulate, pool, scratch);
        return;
    }
    if (!N || !q->w.rows) return;
    job j = {.q = q,
             .bias = bias,
             .x = x,
             .y = y,
             .ldx = ldx,
             .ldy = ldy,
             .N = N,
             .group = N == 1 ? GROUP : 2,
             .accumulate = accumulate,
             .many = N >= MANY && q->k->many[q->f.kind],
             .act = scratch,
             .scratch = (char *)scratch + N * q->blocks * sizeof(kd_qact),
             .worker = worker_bytes(q->blocks)};
    kd_pool_run(N * q->w.cols >= 16384 ? pool : NULL, quantize_rows, &j, (N + 7) / 8);
    if (j.many)
        kd_pool_run(pool, many_task, &j, (q->panels + 1) / 2 * ((N + KD_QMANY - 1) / KD_QMANY));
    else
        kd_pool_run(pool, panels_task, &j, (q->panels + j.group - 1) / j.group);
}
