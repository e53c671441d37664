/* distill/math/qlinear.c - 8-bit products: panels are made and owned here, activations quantized, the work cut into pairs of panels and handed to
 * the tiles of this CPU. Leans on qlinear_kernels.h, qlinear_pack.h, linear.h, base/cpu.h, base/mem.h. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/math/linear.h"
#include "distill/math/qlinear_pack.h"

#include <string.h>
#include <sys/mman.h>

enum { GROUP = 4 }; /* panels a task */

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
    return (GROUP * (2 * scale + packed) + 1024) / 64 * 64;
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
    bool accumulate;
    kd_qact *act;
    char *scratch;
    size_t worker;
} job;

static void quantize_rows(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    (void)worker;
    for (size_t n = task * 8; n < j->N && n < task * 8 + 8; n++)
        j->q->k->quantize(j->act + n * j->q->blocks, j->x + n * j->ldx, j->q->blocks, j->q->f.offset, kd_qper(j->q->f.kind));
}

/* How many rows the next tile takes: sixes (fours where there is no six), the rest without a single one at the end where that can be. */
static size_t next_rows(const kd_qkernels *k, kd_qkind kind, size_t left) {
    if (left >= 6 && k->tile[kind][6] && left != 8 && left != 7) return 6;
    return left >= 6 || left == 4 ? 4 : left >= 3 ? 3 : left;
}

static void panels_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_qmat *q = j->q;
    size_t p0 = task * j->group, P = q->panels - p0 < j->group ? q->panels - p0 : j->group,
           scale_floats = q->blocks * kd_qper(q->f.kind) * KD_QROWS;
    float *expanded = (float *)(j->scratch + (size_t)worker * j->worker);
    uint8_t *packed = (uint8_t *)(expanded + 2 * GROUP * scale_floats);
    const uint8_t *codes[GROUP];
    const char *scales[GROUP];
    bool wide = j->N == 1 && P == GROUP;
    for (size_t p = 0; p < P; p++) {
        if (q->codes) {
            codes[p] = q->codes + (p0 + p) * q->code_bytes, scales[p] = q->scales + (p0 + p) * q->scale_bytes;
        } else {
            uint8_t *c = packed + p * (q->code_bytes + q->scale_bytes);
            codes[p] = c, scales[p] = (char *)c + q->code_bytes;
            kd_qpack_panel(&q->w, (p0 + p) * KD_QROWS, &q->f, c, (char *)c + q->code_bytes);
        }
        if (!wide) q->k->scales(expanded + 2 * p * scale_floats, expanded + (2 * p + 1) * scale_floats, scales[p], &q->f, q->blocks);
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
            t.codes[i] = codes[at];
            t.scale[i] = wide ? (const void *)scales[at] : expanded + 2 * at * scale_floats;
            t.min[i] = expanded + (2 * at + 1) * scale_floats;
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
             .act = scratch,
             .scratch = (char *)scratch + N * q->blocks * sizeof(kd_qact),
             .worker = worker_bytes(q->blocks)};
    kd_pool_run(N * q->w.cols >= 16384 ? pool : NULL, quantize_rows, &j, (N + 7) / 8);
    kd_pool_run(pool, panels_task, &j, (q->panels + j.group - 1) / j.group);
}
