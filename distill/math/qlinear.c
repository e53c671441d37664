/* distill/math/qlinear.c - 8-bit products: panels are made and owned here, activations quantized, the work cut into pairs of panels and handed to
 * the tiles of this CPU. Leans on qlinear_kernels.h, qlinear_pack.h, linear.h, base/cpu.h, base/mem.h. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/math/linear.h"
#include "distill/math/qlinear_pack.h"

#include <assert.h>
#include <stdatomic.h>
#include <string.h>

enum { GROUP = 4, PARTS = KD_QPIECE * 2 * KD_QROWS, NEAR = 1 << 19, SHARE = 24, BEGINNING = 8192, MEANWHILE = 3 << 17 };
/* panels a task; scales of a piece; bytes of activations that stay near; rows that pay for opening panels once more; bytes that begin a
 * stream; bytes fetched while waiting */

/* What a worker opens (kd_qmany). */
typedef struct {
    int8_t w[2][KD_QPIECE * 512];
    int32_t start[2][PARTS];
    float scale[2][PARTS], min[2][PARTS], acc[KD_QMANY * 2 * KD_QROWS];
} opened;

struct kd_qmat {
    kd_mat w;
    const kd_qkernels *k; /* NULL: f32 */
    kd_qformat f;
    int8_t book[16];                                /* as the tiles want it */
    size_t blocks, panels, code_bytes, scale_bytes; /* of a panel */
    uint8_t *codes;                                 /* [panels], or NULL: packed anew in every call */
    char *scales;
    bool lent; /* both lie in the caller's room */
};

const kd_qkernels *kd_qkernels_get(void) {
#if defined(__x86_64__)
    const kd_cpu *c = kd_cpu_get();
    if (c->level >= KD_CPU_AVX512 && c->avx512_vnni) return &kd_qkernels_avx512vnni;
    if (c->level >= KD_CPU_AVX2) return c->avx_vnni ? &kd_qkernels_avxvnni : &kd_qkernels_avx2;
#endif
    return NULL;
}

/* Whose tiles w goes through, and how it lies in their panels; NULL where it has no such form. */
static const kd_qkernels *kernels_of(const kd_mat *w, kd_qformat *f) {
    const kd_qkernels *k = kd_qkernels_get();
    if (!k || w->cols % KD_QBLOCK || !w->cols) return NULL;
#if defined(__x86_64__)
    if ((w->type == KD_BF16 || w->type == KD_F16) && kd_cpu_get()->level >= KD_CPU_AVX512 && kd_cpu_get()->avx512_bf16) {
        *f = (kd_qformat){KD_QK_BF16, KD_QS_NONE, 0, NULL};
        return &kd_qkernels_avx512bf16;
    }
#endif
    return kd_qformat_of((int)w->type, k->signed_bytes, f) ? k : NULL;
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

uint64_t kd_qmat_plan(const kd_mat *w) {
    kd_qmat q = {.w = *w};
    if (!kernels_of(w, &q.f)) return 0;
    shape(&q);
    return ((uint64_t)q.panels * (q.code_bytes + q.scale_bytes) + 63) / 64 * 64;
}

static kd_code make(kd_qmat **out, const kd_mat *w, bool repack, char *room, kd_pool *pool, kd_err *e) {
    kd_qmat *q = kd_calloc(1, sizeof *q);
    *out = NULL;
    if (!q) return kd_fail(e, KD_ENOMEM, "matrix of %zu x %zu: out of memory", w->rows, w->cols);
    q->w = *w;
    q->k = kernels_of(w, &q->f);
    if (!q->k) {
        *out = q;
        return KD_OK;
    }
    shape(q);
    if (repack) {
        size_t cn, sn;
        bool ok = kd_mul_size(q->panels, q->code_bytes, &cn) && kd_mul_size(q->panels, q->scale_bytes, &sn);
        q->lent = room != NULL;
        q->codes = q->lent ? (uint8_t *)room : ok ? kd_large_alloc(cn) : NULL; /* whole lines, so scales begin on one too */
        q->scales = q->lent ? room + cn : ok ? kd_large_alloc(sn) : NULL;
        if (!q->codes || !q->scales) {
            kd_qmat_free(q);
            return kd_fail(e, KD_ENOMEM, "panels of a matrix of %zu x %zu: out of memory", w->rows, w->cols);
        }
        kd_pool_run(pool, pack_task, q, q->panels);
    }
    *out = q;
    return KD_OK;
}

kd_code kd_qmat_new(kd_qmat **out, const kd_mat *w, bool repack, kd_pool *pool, kd_err *e) { return make(out, w, repack, NULL, pool, e); }

kd_code kd_qmat_new_in(kd_qmat **out, const kd_mat *w, void *room, kd_pool *pool, kd_err *e) { return make(out, w, true, room, pool, e); }

void kd_qmat_free(kd_qmat *q) {
    if (!q) return;
    if (!q->lent) kd_free(q->codes), kd_free(q->scales);
    kd_free(q);
}

size_t kd_qmat_bytes(const kd_qmat *q) { return sizeof *q + (q->codes ? q->panels * (q->code_bytes + q->scale_bytes) : 0); }

const char *kd_qmat_kind(const kd_qmat *q) { return q->k ? q->k->name : "f32"; }

/* A worker's floats and bytes: expanded scales and mins of a task's panels, and panels that are packed anew. */
static size_t worker_bytes(size_t blocks) {
    size_t scale = 2 * blocks * KD_QROWS * sizeof(float);
    size_t packed = blocks * 1024 + blocks * 64; /* the widest codes; no scales take more than 64 bytes a block */
    return (GROUP * (2 * scale + packed) + sizeof(opened) + 1024) / 64 * 64;
}

size_t kd_qlinear_scratch(size_t max_cols, size_t max_n, int threads) {
    size_t blocks = (max_cols + KD_QBLOCK - 1) / KD_QBLOCK, t = (size_t)(threads < 1 ? 1 : threads),
           chunk = max_n < KD_QMANY ? max_n : KD_QMANY;
    size_t shared = max_n * (blocks * sizeof(kd_qact) + sizeof(size_t)) + 64 + t * (KD_QTOGETHER * blocks * sizeof(kd_qact) + 64),
           own = t * chunk * blocks * sizeof(kd_qact);
    size_t f32 = kd_linear_scratch(max_cols, max_n, threads), i8 = shared + own + t * worker_bytes(blocks);
    return f32 > i8 ? f32 : i8;
}

typedef struct {
    const kd_qmat *q;
    const float *bias, *x;
    float *y;
    size_t ldx, ldy, N, group, run; /* group: panels, or pairs of panels, that are taken together; run: panels a task */
    size_t chunk, chunks;           /* rows that a worker takes together */
    int threads;
    bool accumulate;
    atomic_size_t *next; /* [chunks]: groups of pairs that are taken */
    kd_qact *act;        /* of all rows, or [threads, chunk] */
    char *scratch;
    size_t worker;
} job;

static void quantize_row(const job *j, kd_qact *a, size_t n) {
    j->q->k->quantize(a, j->x + n * j->ldx, j->q->blocks, j->q->f.offset, kd_qper(j->q->f.kind));
}

static void quantize_rows(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    (void)worker;
    for (size_t n = task * 8; n < j->N && n < task * 8 + 8; n++) quantize_row(j, j->act + n * j->q->blocks, n);
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

static void fetch(const void *p, size_t n) {
    for (size_t i = 0; i < n; i += 64) __builtin_prefetch((const char *)p + i);
}

/* Bytes of scales of blocks b .. b + KD_QPIECE. */
static size_t scale_bytes_at(const kd_qmat *q, size_t b) { return q->scale_bytes / q->blocks * b; }

/* Blocks b .. b + t->blocks of panels a[0], a[1] opened into o. */
static void open_piece(kd_qmany *t, const kd_qmat *q, const panel *a, size_t b, opened *o) {
    for (size_t p = 0; p < 2; p++) {
        const uint8_t *codes = a[p].codes + b * kd_qcode_bytes(q->f.kind);
        if (q->k->open[q->f.kind]) {
            q->k->open[q->f.kind](codes, t->blocks, q->f.offset, q->book, o->w[p], o->start[p]);
            t->w[p] = o->w[p], t->start[p] = o->start[p];
        } else
            t->w[p] = (const int8_t *)codes;
        q->k->scales(o->scale[p], o->min[p], a[p].scales + scale_bytes_at(q, b), &q->f, t->blocks);
        t->scale[p] = o->scale[p], t->min[p] = o->min[p];
    }
}

/* What comes behind blocks b .. b + t->blocks of pair p0, as far as it can be known: the pair's next piece, or the next pair's first. */
static void look_ahead(kd_qmany *t, const job *j, size_t p0, size_t b) {
    const kd_qmat *q = j->q;
    const size_t cb = kd_qcode_bytes(q->f.kind);
    size_t at = b + t->blocks, p = p0;
    if (at >= q->blocks) {
        at = 0, p = p0 + 2;
        if (p / 2 % j->group == 0 && j->chunks == 1) p += 2 * j->group * (size_t)(j->threads - 1);
    }
    t->ahead_bytes = 0;
    if (!q->codes || p + 1 >= q->panels) return;
    const size_t n = q->blocks - at < KD_QPIECE ? q->blocks - at : KD_QPIECE;
    t->ahead_bytes = n * cb;
    for (size_t i = 0; i < 2; i++) {
        t->ahead[i] = q->codes + (p + i) * q->code_bytes + at * cb;
        fetch(q->scales + (p + i) * q->scale_bytes + scale_bytes_at(q, at), scale_bytes_at(q, n));
    }
}

/* Two panels against rows n0 .. n0 + N, whose activations are act; opened piece by piece. */
static void many_pair(const job *j, size_t p0, size_t n0, size_t N, const kd_qact *act, char *scratch, opened *o) {
    const kd_qmat *q = j->q;
    panel a[2];
    a[0] = panel_of(j, p0, 0, scratch);
    a[1] = p0 + 1 == q->panels ? a[0] : panel_of(j, p0 + 1, 1, scratch); /* a second panel that is not there is the first again */
    for (size_t b = 0; b < q->blocks; b += KD_QPIECE) {
        kd_qmany t = {.x = act + b,
                      .acc = o->acc,
                      .blocks = q->blocks - b < KD_QPIECE ? q->blocks - b : KD_QPIECE,
                      .ldx = q->blocks,
                      .N = N,
                      .first = b == 0};
        open_piece(&t, q, a, b, o);
        look_ahead(&t, j, p0, b);
        q->k->many[q->f.kind](&t);
    }
    size_t row0 = p0 * KD_QROWS;
    q->k->finish(o->acc, N, j->bias ? j->bias + row0 : NULL, j->y + n0 * j->ldy + row0, j->ldy,
                 q->w.rows - row0 < 2 * KD_QROWS ? q->w.rows - row0 : 2 * KD_QROWS, j->accumulate);
}

/* What one worker does: its own chunk of rows first, against group after group of pairs, then what others have left. It quantizes the rows itself:
 * activations that another core wrote are slow to come (a worker's rows are its own from product to product, as far as can be). */
static void many_worker(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const kd_qmat *q = j->q;
    const size_t pairs = (q->panels + 1) / 2, groups = (pairs + j->group - 1) / j->group, w = (size_t)worker;
    char *scratch = j->scratch + w * j->worker;
    opened *o = (opened *)(scratch + j->worker - (sizeof(opened) + 63) / 64 * 64);
    kd_qact *act = j->act + w * j->chunk * q->blocks;
    (void)task;
    for (size_t k = 0; k < j->chunks; k++) {
        const size_t c = (k + w * j->chunks / (size_t)j->threads) % j->chunks, n0 = c * j->chunk;
        const size_t N = j->N - n0 < j->chunk ? j->N - n0 : j->chunk;
        if (atomic_load_explicit(&j->next[c], memory_order_relaxed) >= groups) continue;
        for (size_t n = 0; n < N; n++) {
            kd_qact *a = act + n * q->blocks;
            quantize_row(j, a, n0 + n);
            for (size_t b = 0; q->k->unsigned_x && b < q->blocks; b++)
                for (size_t i = 0; i < KD_QBLOCK; i++) a[b].q[i] = (int8_t)(a[b].q[i] ^ -128);
        }
        for (size_t g; (g = atomic_fetch_add_explicit(&j->next[c], 1, memory_order_relaxed)) < groups;)
            for (size_t i = g * j->group; i < (g + 1) * j->group && i < pairs; i++) many_pair(j, 2 * i, n0, N, act, scratch, o);
    }
}

/* How many rows a worker takes together: its share, where that is enough to pay for opening panels twice, and no more than stay near. */
static size_t chunk_of(const job *j) {
    size_t most = NEAR / (j->q->blocks * sizeof(kd_qact)), chunks = 1;
    most = most < 32 ? 32 : most > KD_QMANY ? KD_QMANY : most;
    if (j->N >= 2 * SHARE) chunks = j->N / SHARE < (size_t)j->threads ? j->N / SHARE : (size_t)j->threads;
    chunks *= (j->N + chunks * most - 1) / (chunks * most);
    return (j->N + chunks - 1) / chunks;
}

static void many(job *j, char *scratch, kd_pool *pool) {
    const kd_qmat *q = j->q;
    j->chunk = chunk_of(j);
    j->chunks = (j->N + j->chunk - 1) / j->chunk;
    j->group = (q->panels + 1) / 2 * j->chunks / (8 * (size_t)j->threads);
    j->group = j->group < 1 ? 1 : j->group > 4 ? 4 : j->group;
    j->act = (kd_qact *)scratch;
    j->next = (atomic_size_t *)(j->act + (size_t)j->threads * j->chunk * q->blocks);
    j->scratch = (char *)j->next + (j->chunks * sizeof *j->next + 63) / 64 * 64;
    for (size_t c = 0; c < j->chunks; c++) atomic_init(&j->next[c], 0);
    kd_pool_run(pool, many_worker, j, (size_t)j->threads);
}

/* How many rows the next tile takes: sixes (fours where there is no six), the rest without a single one at the end where that can be. */
static size_t next_rows(const kd_qkernels *k, kd_qkind kind, size_t left) {
    if (left >= 6 && k->tile[kind][6] && left != 8 && left != 7) return 6;
    return left >= 6 || left == 4 ? 4 : left >= 3 ? 3 : left;
}

static void panels_group(const job *j, size_t p0, char *scratch) {
    const kd_qmat *q = j->q;
    size_t P = q->panels - p0 < j->group ? q->panels - p0 : j->group;
    panel a[GROUP];
    bool wide = j->N == 1 && P == GROUP;
    for (size_t p = 0; p < P; p++) {
        a[p] = panel_of(j, p0 + p, p, scratch);
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

static void panels_task(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    const size_t first = task * j->run, end = first + j->run < j->q->panels ? first + j->run : j->q->panels;
    for (size_t p = first; p < end; p += j->group) panels_group(j, p, j->scratch + (size_t)worker * j->worker);
}

/* Groups of panels side by side in memory, enough of them for every worker to have a few. */
static size_t panels_run(const job *j) {
    const size_t groups = (j->q->panels + j->group - 1) / j->group, n = groups / (4 * (size_t)j->threads);
    return j->group * (n < 1 ? 1 : n > 32 ? 32 : n);
}

/* One row of x, which memory alone can feed: every worker walks a stretch of the groups of panels of all products, cut by their bytes, then takes from
 * the others' ends, and then fetches the beginning of its stretch of what comes next. */
typedef struct {
    const kd_qproduct *p;
    const job *at; /* [n] */
    size_t n;
    atomic_uint_fast64_t *left; /* [threads * 8]: a worker's groups that are not taken, first and end in the halves */
    const kd_qproduct *next;
    size_t next_n;
    kd_pool *pool;
} stream;

static size_t groups_of(const kd_qmat *q) { return (q->panels + GROUP - 1) / GROUP; }

/* Where the stretch of worker w begins, in groups from the first product on. */
static size_t cut(const kd_qproduct *p, size_t n, size_t w, size_t threads) {
    size_t bytes = 0, groups = 0;
    for (size_t i = 0; i < n; i++) bytes += groups_of(p[i].q) * (p[i].q->code_bytes + p[i].q->scale_bytes);
    bytes = bytes / threads * w + bytes % threads * w / threads;
    for (size_t i = 0; i < n; i++) {
        const size_t each = p[i].q->code_bytes + p[i].q->scale_bytes, here = groups_of(p[i].q);
        if (bytes < here * each) return groups + bytes / each;
        bytes -= here * each, groups += here;
    }
    return groups;
}

/* Codes from group g on, and how many bytes of them there are in that product; NULL where panels are not kept. */
static const uint8_t *codes_at(const kd_qproduct *p, size_t n, size_t g, size_t *bytes) {
    for (size_t i = 0; i < n; g -= groups_of(p[i++].q))
        if (g < groups_of(p[i].q)) {
            *bytes = (p[i].q->panels - g * GROUP) * p[i].q->code_bytes;
            return p[i].q->codes ? p[i].q->codes + g * GROUP * p[i].q->code_bytes : NULL;
        }
    *bytes = 0;
    return NULL;
}

static void stream_group(const job *j, size_t g, int worker) {
    while (g >= groups_of(j->q)) g -= groups_of(j->q), j++;
    panels_group(j, g * GROUP, j->scratch + (size_t)worker * j->worker);
}

static bool take(atomic_uint_fast64_t *left, bool last, size_t *g) {
    uint_fast64_t seen = atomic_load_explicit(left, memory_order_relaxed);
    for (;;) {
        const uint_fast64_t first = seen >> 32, end = seen & 0xffffffffu;
        if (first >= end) return false;
        *g = (size_t)(last ? end - 1 : first);
        if (atomic_compare_exchange_weak_explicit(left, &seen, last ? seen - 1 : seen + ((uint_fast64_t)1 << 32), memory_order_relaxed,
                                                  memory_order_relaxed))
            return true;
    }
}

/* The jobs with x quantized in this worker's own memory: lines that another core has read are slow to write. */
static void own_activations(const stream *s, job *at, size_t w) {
    for (size_t i = 0; i < s->n; i++) {
        const kd_qmat *q = s->at[i].q, *before = i ? at[i - 1].q : NULL;
        at[i] = s->at[i];
        at[i].act += (w * KD_QTOGETHER + i) * q->blocks;
        if (before && q->k == before->k && q->f.offset == before->f.offset && kd_qper(q->f.kind) == kd_qper(before->f.kind))
            at[i].act = at[i - 1].act;
        else
            quantize_row(&at[i], at[i].act, 0);
    }
}

static void stream_task(void *ctx, size_t task, int worker) {
    const stream *s = ctx;
    const size_t threads = (size_t)s->at->threads, w = (size_t)worker;
    size_t g, bytes;
    (void)task;
    job at[KD_QTOGETHER];
    bool ready = false;
    const uint8_t *codes = codes_at(s->p, s->n, atomic_load_explicit(&s->left[w * 8], memory_order_relaxed) >> 32, &bytes);
    if (codes) fetch(codes, bytes < BEGINNING ? bytes : BEGINNING); /* tiles fetch what comes later */
    for (size_t k = 0; k < threads; k++)
        while (take(&s->left[(w + k) % threads * 8], k > 0, &g)) {
            if (!ready) own_activations(s, at, w);
            ready = true;
            stream_group(at, g, worker);
        }
    codes = s->next ? codes_at(s->next, s->next_n, cut(s->next, s->next_n, w, threads), &bytes) : NULL;
    if (codes && w)
        kd_pool_meanwhile(s->pool, worker, codes, bytes < MEANWHILE ? bytes : MEANWHILE);
    else if (codes) /* the caller has other things to do until then */
        fetch(codes, bytes < BEGINNING ? bytes : BEGINNING);
}

static bool all_int8(const kd_qproduct *p, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!p[i].q || !p[i].q->k || !p[i].q->w.rows) return false;
    return true;
}

void kd_qlinear_row(const kd_qproduct *p, size_t n, const float *x, bool accumulate, const kd_qproduct *next, size_t next_n, kd_pool *pool,
                    void *scratch) {
    job at[KD_QTOGETHER];
    assert(n && n <= KD_QTOGETHER);
    if (!all_int8(p, n)) {
        for (size_t i = 0; i < n; i++) kd_qlinear(p[i].q, p[i].bias, x, 0, p[i].y, 0, 1, accumulate, pool, scratch);
        return;
    }
    const size_t threads = (size_t)kd_pool_threads(pool);
    char *rest = (char *)scratch + threads * KD_QTOGETHER * p->q->blocks * sizeof(kd_qact);
    stream s = {.p = p,
                .at = at,
                .n = n,
                .left = (atomic_uint_fast64_t *)rest,
                .next = all_int8(next, next_n) ? next : NULL,
                .next_n = next_n,
                .pool = pool};
    for (size_t i = 0; i < n; i++)
        at[i] = (job){.q = p[i].q,
                      .bias = p[i].bias,
                      .x = x,
                      .y = p[i].y,
                      .N = 1,
                      .group = GROUP,
                      .accumulate = accumulate,
                      .threads = (int)threads,
                      .act = scratch,
                      .scratch = rest + threads * 64,
                      .worker = worker_bytes(p[i].q->blocks)};
    for (size_t w = 0; w < threads; w++)
        atomic_init(&s.left[8 * w], (uint_fast64_t)cut(p, n, w, threads) << 32 | cut(p, n, w + 1, threads));
    kd_pool_run(pool, stream_task, &s, threads);
}

void kd_qlinear(const kd_qmat *q, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate,
                kd_pool *pool, void *scratch) {
    if (!q->k) {
        kd_linear_f32(&q->w, bias, x, ldx, y, ldy, N, accumulate, pool, scratch);
        return;
    }
    if (!N || !q->w.rows) return;
    if (N == 1) {
        kd_qlinear_row(&(kd_qproduct){q, bias, y}, 1, x, accumulate, NULL, 0, pool, scratch);
        return;
    }
    job j = {.q = q,
             .bias = bias,
             .x = x,
             .y = y,
             .ldx = ldx,
             .ldy = ldy,
             .N = N,
             .group = 2,
             .accumulate = accumulate,
             .threads = kd_pool_threads(pool),
             .act = scratch,
             .scratch = (char *)scratch + N * q->blocks * sizeof(kd_qact),
             .worker = worker_bytes(q->blocks)};
    if (q->k->many[q->f.kind] && N >= q->k->least) {
        many(&j, scratch, pool);
        return;
    }
    kd_pool_run(N * q->w.cols >= 16384 ? pool : NULL, quantize_rows, &j, (N + 7) / 8);
    j.run = panels_run(&j);
    kd_pool_run(pool, panels_task, &j, (q->panels + j.run - 1) / j.run);
}
