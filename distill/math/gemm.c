/* distill/math/gemm.c - products of training. Leans on mm.h for kernels, codec.h for stored types, OpenBLAS for thin and small products and for
 * machines without kernels of ours.
 * Ours: the left operand is packed once into panels; a task packs a strip of the right one (expanding stored types on the way) and multiplies
 * it with all of them. OpenBLAS: a task is a tile. Strips and tiles depend on the shapes and the type, never on threads. */
#include "distill/math/gemm.h"

#include "distill/math/codec.h"
#include "distill/math/mm.h"

#include <assert.h>
#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

enum {
    TILE = 256,   /* rows of x, and columns of the result, at most in a tile */
    TALL = 512,   /* rows of x in a tile when the weight must be expanded for it */
    KC = 512,     /* depth of one expanded panel */
    ALIGN = 16,   /* tiles start on multiples of this many rows or columns */
    THIN = 32,    /* no dimension of a product may be less for our kernels */
    DEPTH = 1024, /* most depth of a packed stretch */
    LEFT = 2048,  /* most rows of a packed left operand */
    STRIP = KD_MM_STRIP,
    WIDE = 256 /* strips of types whose blocks are wider than STRIP */
};

/* OpenBLAS is loaded at the first product, not with the program: it would start its threads, which we never use, in every `distill --help`
 * (some 2 ms, and more on a busy machine). Its threaded build is wanted nevertheless: the serial one has no locks. Loaded by a thread that
 * may run on one processor only, it counts one and starts none. */
static struct {
    __typeof__(cblas_sgemm) *sgemm; /* NULL: no OpenBLAS here */
    __typeof__(openblas_set_num_threads) *set_threads;
    __typeof__(openblas_get_parallel) *parallel;
    char *(*config)(void);
    pthread_mutex_t lock; /* held around products where the library has none */
    bool locked;
} blas = {.lock = PTHREAD_MUTEX_INITIALIZER};
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void symbol(void *library, const char *name, void *function) {
    void *found = dlsym(library, name);
    memcpy(function, &found, sizeof found);
}

static void *load(void *unused) {
    cpu_set_t all, one;
    CPU_ZERO(&one);
    if (sched_getaffinity(0, sizeof all, &all) == 0) {
        size_t first = 0;
        while (first < CPU_SETSIZE - 1 && !CPU_ISSET(first, &all)) first++;
        CPU_SET(first, &one);
        (void)sched_setaffinity(0, sizeof one, &one); /* this thread's, and it ends here */
    }
    void *library = dlopen("libopenblas.so.0", RTLD_NOW | RTLD_LOCAL);
    if (!library) return unused;
    symbol(library, "cblas_sgemm", &blas.sgemm);
    symbol(library, "openblas_set_num_threads", &blas.set_threads);
    symbol(library, "openblas_get_parallel", &blas.parallel);
    symbol(library, "openblas_get_config", &blas.config);
    if (blas.set_threads) blas.set_threads(1);
    blas.locked = !blas.parallel || blas.parallel() == 0;
    return unused;
}

static void blas_init(void) {
    pthread_t t;
    if (pthread_create(&t, NULL, load, NULL) == 0)
        (void)pthread_join(t, NULL);
    else
        (void)load(NULL);
}

const char *kd_blas_describe(bool *safe) {
    (void)pthread_once(&once, blas_init);
    *safe = blas.sgemm && !blas.locked;
    return blas.sgemm && blas.config ? blas.config() : NULL;
}

/* What is done where no OpenBLAS is: right, and some thirty times slower. */
static void plain_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
                        float beta, float *C, size_t ldc) {
    for (size_t i = 0; i < M; i++) {
        float *c = C + i * ldc;
        for (size_t j = 0; j < N; j++) c[j] = beta == 0 ? 0 : beta * c[j];
        for (size_t k = 0; k < K; k++) {
            const float a = alpha * (ta ? A[k * lda + i] : A[i * lda + k]);
            for (size_t j = 0; j < N; j++) c[j] += a * (tb ? B[j * ldb + k] : B[k * ldb + j]);
        }
    }
}

/* What stands at the head of the scratch: the left operand that is packed already. */
typedef struct {
    const float *hold; /* may be reused while held */
    size_t ld, rows, depth;
    bool bf16, packed;
} head;
enum { HEAD = 64, WORKER = 2 * STRIP * DEPTH * sizeof(float), PANELS = (LEFT + 16) * DEPTH * sizeof(float) };
static_assert(sizeof(head) <= HEAD, "the head fits its place");
static_assert(WORKER >= KC * TILE * sizeof(float), "a worker's scratch serves tiles too");

enum { LOW_PANELS = (LEFT + 16) * KD_LOW_RANK * sizeof(float) };
size_t kd_gemm_scratch(int threads) { return HEAD + (size_t)threads * WORKER + PANELS + LOW_PANELS + KD_LOW_SCRATCH * sizeof(float); }
static float *scratch_of(const kd_gemm *g, int worker) { return (float *)(void *)((char *)g->scratch + HEAD + (size_t)worker * WORKER); }
static char *panels_of(const kd_gemm *g) { return (char *)g->scratch + HEAD + (size_t)kd_pool_threads(g->pool) * WORKER; }
static char *low_panels_of(const kd_gemm *g) { return panels_of(g) + PANELS; }
float *kd_gemm_low_scratch(const kd_gemm *g) { return (float *)(void *)(low_panels_of(g) + LOW_PANELS); }
float *kd_gemm_worker_scratch(const kd_gemm *g, int worker) { return scratch_of(g, worker); }

void kd_gemm_hold(const kd_gemm *g, const float *x) { *(head *)g->scratch = (head){.hold = x}; }

void kd_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B, size_t ldb,
              float beta, float *C, size_t ldc) {
    (void)pthread_once(&once, blas_init);
    if (M == 0 || N == 0) return;
    if (K == 0) { /* some BLAS leave C alone here */
        for (size_t i = 0; i < M; i++)
            for (size_t j = 0; j < N; j++) C[i * ldc + j] = beta == 0 ? 0 : beta * C[i * ldc + j];
        return;
    }
    assert(M <= INT32_MAX && N <= INT32_MAX && K <= INT32_MAX && lda <= INT32_MAX && ldb <= INT32_MAX && ldc <= INT32_MAX);
    if (!blas.sgemm) {
        plain_sgemm(ta, tb, M, N, K, alpha, A, lda, B, ldb, beta, C, ldc);
        return;
    }
    if (blas.locked) (void)pthread_mutex_lock(&blas.lock);
    blas.sgemm(CblasRowMajor, ta ? CblasTrans : CblasNoTrans, tb ? CblasTrans : CblasNoTrans, (int)M, (int)N, (int)K, alpha, A, (int)lda, B,
               (int)ldb, beta, C, (int)ldc);
    if (blas.locked) (void)pthread_mutex_unlock(&blas.lock);
}

/* n cut into even parts of at most max, each but the last a multiple of ALIGN. */
typedef struct {
    size_t n, step, parts;
} cut;
static cut cut_even(size_t n, size_t max) {
    size_t parts = (n + max - 1) / max;
    if (parts == 0) return (cut){0, ALIGN, 0};
    size_t step = (n + parts - 1) / parts;
    step = (step + ALIGN - 1) / ALIGN * ALIGN;
    return (cut){n, step, (n + step - 1) / step};
}
static size_t cut_len(const cut *c, size_t part) {
    size_t from = part * c->step;
    return from + c->step <= c->n ? c->step : c->n - from;
}

typedef struct {
    const kd_gemm *g;
    float *out;
    const float *in, *in2, *bias;
    size_t ldo, ldi, ldi2, depth;
    const kd_mat *w;
    cut rows, cols; /* of the result */
    float alpha, beta;
} job;

static bool plain(const kd_mat *w) {
    return w->type == KD_F32 && !w->row_map && w->row_bytes % sizeof(float) == 0 && (uintptr_t)w->data % sizeof(float) == 0;
}

/* Rows of bfloat16 as they lie. */
static bool bits(const kd_mat *w) { return w->type == KD_BF16 && !w->row_map && w->row_bytes % 2 == 0 && (uintptr_t)w->data % 2 == 0; }

/* dst[r - r0, 0..n) = W[r, c0..c0+n) in f32 for rows r0..r0+rn; c0 and n whole blocks. */
static void expand(float *dst, size_t ldd, const kd_mat *w, size_t r0, size_t rn, size_t c0, size_t n) {
    const kd_dtype_info *t = kd_dtype_get((int)w->type);
    for (size_t r = 0; r < rn; r++)
        kd_dequantize(w->type, (const char *)kd_mat_row(w, r0 + r) + c0 / t->block * t->bytes, dst + r * ldd, n);
}

static void y_tile(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    size_t ri = task / j->cols.parts, ci = task % j->cols.parts;
    size_t n0 = ri * j->rows.step, nn = cut_len(&j->rows, ri), o0 = ci * j->cols.step, on = cut_len(&j->cols, ci);
    float *y = j->out + n0 * j->ldo + o0;
    const float *x = j->in + n0 * j->ldi;
    if (plain(j->w)) {
        size_t ldw = j->w->row_bytes / sizeof(float);
        kd_sgemm(false, true, nn, on, j->depth, j->alpha, x, j->ldi, (const float *)j->w->data + o0 * ldw, ldw, j->beta, y, j->ldo);
    } else {
        float *panel = scratch_of(j->g, worker);
        for (size_t k0 = 0; k0 < j->depth; k0 += KC) {
            size_t kn = j->depth - k0 < KC ? j->depth - k0 : KC;
            expand(panel, kn, j->w, o0, on, k0, kn);
            kd_sgemm(false, true, nn, on, kn, j->alpha, x + k0, j->ldi, panel, kn, k0 ? 1.0f : j->beta, y, j->ldo);
        }
    }
    if (j->bias)
        for (size_t n = 0; n < nn; n++)
            for (size_t o = 0; o < on; o++) y[n * j->ldo + o] += j->bias[o0 + o];
}

static void dx_tile(void *ctx, size_t task, int worker) {
    const job *j = ctx;
    size_t ri = task / j->cols.parts, ci = task % j->cols.parts;
    size_t n0 = ri * j->rows.step, nn = cut_len(&j->rows, ri), c0 = ci * j->cols.step, cn = cut_len(&j->cols, ci);
    float *dx = j->out + n0 * j->ldo + c0;
    const float *dy = j->in + n0 * j->ldi;
    if (plain(j->w)) {
        size_t ldw = j->w->row_bytes / sizeof(float);
        kd_sgemm(false, false, nn, cn, j->depth, j->alpha, dy, j->ldi, (const float *)j->w->data + c0, ldw, j->beta, dx, j->ldo);
        return;
    }
    float *panel = scratch_of(j->g, worker);
    for (size_t k0 = 0; k0 < j->depth; k0 += KC) {
        size_t kn = j->depth - k0 < KC ? j->depth - k0 : KC;
        expand(panel, cn, j->w, k0, kn, c0, cn);
        kd_sgemm(false, false, nn, cn, kn, j->alpha, dy + k0, j->ldi, panel, cn, k0 ? 1.0f : j->beta, dx, j->ldo);
    }
}

static void dw_tile(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t ri = task / j->cols.parts, ci = task % j->cols.parts;
    size_t o0 = ri * j->rows.step, on = cut_len(&j->rows, ri), c0 = ci * j->cols.step, cn = cut_len(&j->cols, ci);
    kd_sgemm(true, false, on, cn, j->depth, j->alpha, j->in + o0, j->ldi, j->in2 + c0, j->ldi2, 1.0f, j->out + o0 * j->ldo + c0, j->ldo);
}

/* Even tiles; more and smaller ones where there would be too few for a machine of many cores. */
static void tiles(job *j, size_t rows, size_t cols, size_t max_rows, size_t max_cols) {
    for (;;) {
        j->rows = cut_even(rows, max_rows);
        j->cols = cut_even(cols, max_cols);
        if (j->rows.parts * j->cols.parts >= 12 || max_rows <= 64) return;
        max_rows /= 2;
    }
}

/* ---- products through packed panels ---- */
/* out[M,N] (+)= alpha * left[M,K] right[K,N]. */
typedef struct {
    const kd_gemm *g;
    const kd_mm *mm;
    float *out;
    size_t ldo, M, N, K;
    const float *left, *right; /* right: plain floats [K,N], or NULL: the matrix w */
    size_t ldl, ldr;
    bool left_turned; /* left is stored [K,M] */
    const kd_mat *w;
    bool w_turned; /* right is W^T: its columns are W's rows */
    const float *bias;
    float alpha;
    bool accumulate;
    const kd_low *low; /* added to the same tiles; NULL: nothing */
    /* of the stretch in work */
    size_t m0, m, k0, k, strip, block, blocks;
    char *panels;
    bool pack_left, pack_low, last;
} product;
enum { PACK_ROWS = 4 }; /* panels a packing task makes */

static size_t steps_of(const product *p, size_t depth) { return (depth + p->mm->pair - 1) / p->mm->pair; }

static void pack_left_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const product *p = ctx;
    const size_t mr = p->mm->mr, bytes = mr * steps_of(p, p->k) * 4;
    for (size_t i = task * PACK_ROWS; i < (task + 1) * PACK_ROWS && i * mr < p->m; i++) {
        const size_t r = p->m0 + i * mr, n = p->m - i * mr < mr ? p->m - i * mr : mr;
        if (p->pack_low)
            p->mm->pack_rows(low_panels_of(p->g) + i * mr * steps_of(p, p->low->r) * 4, mr, p->low->left + r * p->low->r, p->low->r, n,
                             p->low->r);
        if (!p->pack_left) continue;
        if (p->left_turned)
            p->mm->pack_columns(p->panels + i * bytes, mr, p->left + p->k0 * p->ldl + r, p->ldl, n, p->k);
        else
            p->mm->pack_rows(p->panels + i * bytes, mr, p->left + r * p->ldl + p->k0, p->ldl, n, p->k);
    }
}

/* Packs columns c .. c+n of the right operand, rows k0 .. k0+k; spare is room for n*k floats. */
static void pack_right(const product *p, char *to, float *spare, size_t c, size_t n) {
    const kd_mm *mm = p->mm;
    const size_t bytes = mm->nr * steps_of(p, p->k) * 4;
    const float *src = p->right ? p->right + p->k0 * p->ldr + c : NULL;
    size_t ld = p->ldr;
    if (!src && mm->pack_rows_bits && bits(p->w)) {
        ld = p->w->row_bytes / sizeof(uint16_t);
        const uint16_t *from = (const uint16_t *)p->w->data + (p->w_turned ? c * ld + p->k0 : p->k0 * ld + c);
        if (p->w_turned) mm->pack_rows_bits(to, mm->nr, from, ld, n, p->k);
        for (size_t i = 0; i < n && !p->w_turned; i += mm->nr, to += bytes)
            mm->pack_columns_bits(to, mm->nr, from + i, ld, n - i < mm->nr ? n - i : mm->nr, p->k);
        return;
    }
    if (!src && plain(p->w)) {
        ld = p->w->row_bytes / sizeof(float);
        src = (const float *)p->w->data + (p->w_turned ? c * ld + p->k0 : p->k0 * ld + c);
    } else if (!src) {
        ld = p->w_turned ? p->k : n;
        if (p->w_turned)
            expand(spare, ld, p->w, c, n, p->k0, p->k);
        else
            expand(spare, ld, p->w, p->k0, p->k, c, n);
        src = spare;
    }
    if (p->w_turned) {
        mm->pack_rows(to, mm->nr, src, ld, n, p->k);
        return;
    }
    for (size_t i = 0; i < n; i += mm->nr, to += bytes) mm->pack_columns(to, mm->nr, src + i, ld, n - i < mm->nr ? n - i : mm->nr, p->k);
}

/* Packs columns c .. c+n of the low product's right operand. */
static void pack_low_right(const product *p, char *to, size_t c, size_t n) {
    const kd_mm *mm = p->mm;
    const size_t r = p->low->r, bytes = mm->nr * steps_of(p, r) * 4;
    if (p->w_turned) {
        mm->pack_rows(to, mm->nr, p->low->w + c * r, r, n, r);
        return;
    }
    for (size_t i = 0; i < n; i += mm->nr, to += bytes)
        mm->pack_columns(to, mm->nr, p->low->w + c + i, p->N, n - i < mm->nr ? n - i : mm->nr, r);
}

/* Panels against each other. */
typedef struct {
    const void *a, *b, *low_a, *low_b; /* low: NULL where nothing is added */
} panels;
static void multiply_panels(const product *p, float *out, size_t ldo, const panels *f, bool add, const float *bias) {
    p->mm->tile(out, ldo, f->a, f->b, steps_of(p, p->k), p->alpha, add, bias);
    if (f->low_a) p->mm->tile(out, ldo, f->low_a, f->low_b, steps_of(p, p->low->r), p->low->alpha, true, NULL);
}

/* One panel against one panel, cut to what is there. */
static void tile(const product *p, const panels *f, size_t r, size_t c) {
    const kd_mm *mm = p->mm;
    const size_t rows = p->M - r < mm->mr ? p->M - r : mm->mr, cols = p->N - c < mm->nr ? p->N - c : mm->nr;
    const bool add = p->accumulate || p->k0;
    const float *bias = p->bias && p->k0 == 0 ? p->bias + c : NULL;
    float *out = p->out + r * p->ldo + c;
    if (rows == mm->mr && cols == mm->nr) {
        multiply_panels(p, out, p->ldo, f, add, bias);
        return;
    }
    float edge[16 * 32] = {0}, edge_bias[32] = {0}; /* the same sums as inside: a row does not feel where it lies */
    if (bias) memcpy(edge_bias, bias, cols * sizeof *bias);
    for (size_t i = 0; i < rows && add; i++) memcpy(edge + i * mm->nr, out + i * p->ldo, cols * sizeof *out);
    multiply_panels(p, edge, mm->nr, f, add, bias ? edge_bias : NULL);
    for (size_t i = 0; i < rows; i++) memcpy(out + i * p->ldo, edge + i * mm->nr, cols * sizeof *out);
}

static void strip_task(void *ctx, size_t task, int worker) {
    const product *p = ctx;
    const kd_mm *mm = p->mm;
    const size_t c = task / p->blocks * p->strip, n = p->N - c < p->strip ? p->N - c : p->strip;
    const size_t from = task % p->blocks * p->block, to = from + p->block < p->m ? from + p->block : p->m;
    float *scratch = scratch_of(p->g, worker);
    char *right = (char *)scratch, *low_right = (char *)(scratch + STRIP * DEPTH); /* where types were expanded just now */
    pack_right(p, right, scratch + STRIP * DEPTH, c, n);
    const bool low = p->low && p->last;
    if (low) pack_low_right(p, low_right, c, n);
    const size_t left_bytes = mm->mr * steps_of(p, p->k) * 4, right_bytes = mm->nr * steps_of(p, p->k) * 4;
    const size_t low_steps = low ? steps_of(p, p->low->r) * 4 : 0;
    for (size_t r = from; r < to; r += mm->mr)
        for (size_t j = 0; j < n; j += mm->nr) {
            panels f = {p->panels + r / mm->mr * left_bytes, right + j / mm->nr * right_bytes, NULL, NULL};
            if (low) {
                f.low_a = low_panels_of(p->g) + r / mm->mr * mm->mr * low_steps;
                f.low_b = low_right + j / mm->nr * mm->nr * low_steps;
            }
            tile(p, &f, p->m0 + r, c + j);
        }
}

/* Blocks of left rows a strip is cut into where strips alone are too few tasks. */
static void cut_rows(product *p) {
    const size_t strips = (p->N + p->strip - 1) / p->strip;
    p->blocks = 1;
    while (strips * p->blocks < 12 && p->m / (p->blocks + 1) >= 8 * p->mm->mr) p->blocks++;
    p->block = (p->m / p->mm->mr / p->blocks + 1) * p->mm->mr;
    p->blocks = (p->m + p->block - 1) / p->block;
}

static void multiply(product *p) {
    head *h = p->g->scratch;
    size_t depth = DEPTH;
    p->strip = STRIP;
    if (p->w && !p->right && !p->w_turned && kd_dtype_get((int)p->w->type)->block > STRIP) {
        p->strip = WIDE;
        depth = DEPTH * STRIP / WIDE;
    }
    /* even stretches of depth, whole blocks of the stored type */
    const size_t parts = (p->K + depth - 1) / depth, each = ((p->K + parts - 1) / parts + WIDE - 1) / WIDE * WIDE;
    const size_t most = (LEFT + p->mm->mr - 1) / p->mm->mr * p->mm->mr; /* whole panels: PANELS has room for them */
    const bool whole = p->M <= most && p->K <= depth;
    for (p->m0 = 0; p->m0 < p->M; p->m0 += most) {
        p->m = p->M - p->m0 < most ? p->M - p->m0 : most;
        cut_rows(p);
        for (p->k0 = 0; p->k0 < p->K; p->k0 += each) {
            p->k = p->K - p->k0 < each ? p->K - p->k0 : each;
            p->panels = panels_of(p->g);
            p->last = p->k0 + p->k == p->K;
            p->pack_low = p->low && p->last;
            const bool held = whole && h->hold == p->left && !p->left_turned;
            p->pack_left = !(held && h->packed && h->ld == p->ldl && h->rows == p->M && h->depth == p->K && h->bf16 == (p->mm->pair == 2));
            if (p->pack_left || p->pack_low) {
                const size_t n = (p->m + p->mm->mr - 1) / p->mm->mr;
                kd_pool_run(p->g->pool, pack_left_task, p, (n + PACK_ROWS - 1) / PACK_ROWS);
            }
            if (p->pack_left) {
                h->packed = false;
                if (held) *h = (head){p->left, p->ldl, p->M, p->K, p->mm->pair == 2, true};
            }
            kd_pool_run(p->g->pool, strip_task, p, (p->N + p->strip - 1) / p->strip * p->blocks);
        }
    }
}

/* The kernels for a product of this shape, or NULL: OpenBLAS. */
static const kd_mm *kernels(const kd_gemm *g, size_t M, size_t N, size_t K) {
    if (M < THIN || N < THIN || K < THIN) return NULL;
    const kd_mm *bf = g->bf16 ? kd_mm_bf16() : NULL;
    return bf ? bf : kd_mm_f32();
}

/* low: added in the same tiles where true comes back, else not at all; NULL: nothing. */
static bool gemm_y(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N,
                   float alpha, bool accumulate, const kd_low *low) {
    const kd_mm *mm = kernels(g, N, w->rows, w->cols);
    if (mm) {
        product p = {.g = g,
                     .mm = mm,
                     .out = y,
                     .ldo = ldy,
                     .M = N,
                     .N = w->rows,
                     .K = w->cols,
                     .left = x,
                     .ldl = ldx,
                     .w = w,
                     .w_turned = true,
                     .bias = bias,
                     .alpha = alpha,
                     .accumulate = accumulate,
                     .low = low};
        multiply(&p);
        return low != NULL;
    }
    job j = {.g = g,
             .out = y,
             .in = x,
             .bias = bias,
             .ldo = ldy,
             .ldi = ldx,
             .depth = w->cols,
             .w = w,
             .alpha = alpha,
             .beta = accumulate ? 1.0f : 0.0f};
    tiles(&j, N, w->rows, plain(w) ? TILE : TALL, TILE);
    kd_pool_run(g->pool, y_tile, &j, j.rows.parts * j.cols.parts);
    return false;
}
void kd_gemm_y(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N,
               float alpha, bool accumulate) {
    (void)gemm_y(g, y, ldy, x, ldx, w, bias, N, alpha, accumulate, NULL);
}
void kd_gemm_y_low(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N,
                   bool accumulate, const kd_low *low) {
    if (gemm_y(g, y, ldy, x, ldx, w, bias, N, 1, accumulate, low->r <= KD_LOW_RANK ? low : NULL)) return;
    const kd_mat B = kd_mat_f32(low->w, w->rows, low->r);
    kd_gemm_y(g, y, ldy, low->left, low->r, &B, NULL, N, low->alpha, true);
}

static bool gemm_dx(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, float alpha,
                    bool accumulate, const kd_low *low) {
    const kd_mm *mm = kernels(g, N, w->cols, w->rows);
    if (mm) {
        product p = {.g = g,
                     .mm = mm,
                     .out = dx,
                     .ldo = lddx,
                     .M = N,
                     .N = w->cols,
                     .K = w->rows,
                     .left = dy,
                     .ldl = lddy,
                     .w = w,
                     .alpha = alpha,
                     .accumulate = accumulate,
                     .low = low};
        multiply(&p);
        return low != NULL;
    }
    job j = {
        .g = g, .out = dx, .in = dy, .ldo = lddx, .ldi = lddy, .depth = w->rows, .w = w, .alpha = alpha, .beta = accumulate ? 1.0f : 0.0f};
    tiles(&j, N, w->cols, plain(w) ? TILE : TALL, TILE);
    size_t block = kd_dtype_get((int)w->type)->block;
    if (j.cols.step % block) { /* panels are whole blocks: 256 is a multiple of every block size */
        j.cols.step = TILE;
        j.cols.parts = (w->cols + TILE - 1) / TILE;
    }
    kd_pool_run(g->pool, dx_tile, &j, j.rows.parts * j.cols.parts);
    return false;
}
void kd_gemm_dx(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, float alpha,
                bool accumulate) {
    (void)gemm_dx(g, dx, lddx, dy, lddy, w, N, alpha, accumulate, NULL);
}
void kd_gemm_dx_low(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, bool accumulate,
                    const kd_low *low) {
    if (gemm_dx(g, dx, lddx, dy, lddy, w, N, 1, accumulate, low->r <= KD_LOW_RANK ? low : NULL)) return;
    const kd_mat A = kd_mat_f32(low->w, low->r, w->cols);
    kd_gemm_dx(g, dx, lddx, low->left, low->r, &A, N, low->alpha, true);
}

void kd_gemm_dw(const kd_gemm *g, float *dw, size_t lddw, const float *dy, size_t lddy, const float *x, size_t ldx, size_t N, size_t rows,
                size_t cols, float alpha) {
    if (N == 0) return;
    const kd_mm *mm = kernels(g, rows, cols, N);
    if (mm) {
        product p = {.g = g,
                     .mm = mm,
                     .out = dw,
                     .ldo = lddw,
                     .M = rows,
                     .N = cols,
                     .K = N,
                     .left = dy,
                     .ldl = lddy,
                     .left_turned = true,
                     .right = x,
                     .ldr = ldx,
                     .alpha = alpha,
                     .accumulate = true};
        multiply(&p);
        return;
    }
    job j = {.g = g, .out = dw, .in = dy, .in2 = x, .ldo = lddw, .ldi = lddy, .ldi2 = ldx, .depth = N, .alpha = alpha};
    tiles(&j, rows, cols, TILE, TILE);
    kd_pool_run(g->pool, dw_tile, &j, j.rows.parts * j.cols.parts);
}
