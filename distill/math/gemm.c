/* distill/math/gemm.c - products of training over OpenBLAS, tile by tile. Leans on codec.h for stored types.
 * A tile is (block of x rows) x (block of the result's columns). Its shape depends on N, the matrix and its type, never on threads. */
#include "distill/math/gemm.h"

#include "distill/math/codec.h"

#include <assert.h>
#include <cblas.h>
#include <dlfcn.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>

enum {
    TILE = 256,    /* rows of x, and columns of the result, at most in a tile */
    TALL = 512,    /* rows of x in a tile when the weight must be expanded for it */
    KC = 512,      /* depth of one expanded panel */
    ALIGN = 16     /* tiles start on multiples of this many rows or columns */
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

size_t kd_gemm_scratch(int threads) { return (size_t)threads * KC * TILE * sizeof(float); }

void kd_sgemm(bool ta, bool tb, size_t M, size_t N, size_t K, float alpha, const float *A, size_t lda, const float *B, size_t ldb, float beta,
              float *C, size_t ldc) {
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

static float *worker_scratch(const job *j, int worker) { return (float *)j->g->scratch + (size_t)worker * KC * TILE; }
static bool plain(const kd_mat *w) { return w->type == KD_F32 && !w->row_map && w->row_bytes % sizeof(float) == 0 && (uintptr_t)w->data % sizeof(float) == 0; }

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
        float *panel = worker_scratch(j, worker);
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
    float *panel = worker_scratch(j, worker);
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

void kd_gemm_y(const kd_gemm *g, float *y, size_t ldy, const float *x, size_t ldx, const kd_mat *w, const float *bias, size_t N, float alpha,
               bool accumulate) {
    job j = {.g = g, .out = y, .in = x, .bias = bias, .ldo = ldy, .ldi = ldx, .depth = w->cols, .w = w, .alpha = alpha,
             .beta = accumulate ? 1.0f : 0.0f};
    tiles(&j, N, w->rows, plain(w) ? TILE : TALL, TILE);
    kd_pool_run(g->pool, y_tile, &j, j.rows.parts * j.cols.parts);
}

void kd_gemm_dx(const kd_gemm *g, float *dx, size_t lddx, const float *dy, size_t lddy, const kd_mat *w, size_t N, float alpha, bool accumulate) {
    job j = {.g = g, .out = dx, .in = dy, .ldo = lddx, .ldi = lddy, .depth = w->rows, .w = w, .alpha = alpha, .beta = accumulate ? 1.0f : 0.0f};
    tiles(&j, N, w->cols, plain(w) ? TILE : TALL, TILE);
    size_t block = kd_dtype_get((int)w->type)->block;
    if (j.cols.step % block) { /* panels are whole blocks: 256 is a multiple of every block size */
        j.cols.step = TILE;
        j.cols.parts = (w->cols + TILE - 1) / TILE;
    }
    kd_pool_run(g->pool, dx_tile, &j, j.rows.parts * j.cols.parts);
}

void kd_gemm_dw(const kd_gemm *g, float *dw, size_t lddw, const float *dy, size_t lddy, const float *x, size_t ldx, size_t N, size_t rows,
                size_t cols, float alpha) {
    job j = {.g = g, .out = dw, .in = dy, .in2 = x, .ldo = lddw, .ldi = lddy, .ldi2 = ldx, .depth = N, .alpha = alpha};
    if (N == 0) return;
    tiles(&j, rows, cols, TILE, TILE);
    kd_pool_run(g->pool, dw_tile, &j, j.rows.parts * j.cols.parts);
}
