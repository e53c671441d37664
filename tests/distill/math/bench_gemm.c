/* Speed of the products of training beside OpenBLAS's sgemm on the same shapes, in processor time where other work shares the machine.
 *   bench_gemm                 a table by shape, one thread
 *   bench_gemm peak [THREADS]  GFLOPS by the clock, best of five: of OpenBLAS on 1024^3, a caller a thread; and of the processor's bfloat16 dot products out of registers
 *                              (0 where it has none) */
#include "distill/base/cpu.h"
#include "distill/base/clock.h"
#include "distill/base/err.h"
#include "distill/base/mem.h"
#include "distill/math/gemm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double cpu_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static float *floats(size_t n) {
    float *x = kd_aligned_alloc(64, n * sizeof *x);
    if (!x) exit(1);
    for (size_t i = 0; i < n; i++) x[i] = (float)((i * 2654435761u >> 8) & 0xffff) / 65536.0f - 0.5f;
    return x;
}

enum { P = 1024 };
typedef struct {
    float *a[256], *b[256], *c[256];
} square;
static void square_task(void *ctx, size_t task, int worker) {
    (void)worker;
    square *s = ctx;
    kd_sgemm(false, false, P, P, P, 1, s->a[task], P, s->b[task], P, 0, s->c[task], P);
}
/* Products of pairs of bfloat16 in as many chains as hide their latency. */
enum { CHAINS = 16, TURNS = 1 << 23, FLOPS = 64 };
#if defined(__x86_64__)
#include <immintrin.h>
__attribute__((target("avx512f,avx512bf16"))) static void dots_task(void *ctx, size_t task, int worker) {
    (void)worker;
    __m512 sum[CHAINS];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3f803f80);
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_set1_ps((float)c); /* all different, or they are one to the compiler */
    for (int i = 0; i < TURNS; i++) {
#pragma GCC unroll 16
        for (int c = 0; c < CHAINS; c++) sum[c] = _mm512_dpbf16_ps(sum[c], x, x);
        __asm__ volatile("" : "+v"(x));
    }
    float s = 0;
#pragma GCC unroll 16
    for (int c = 0; c < CHAINS; c++) s += _mm512_reduce_add_ps(sum[c]);
    ((float *)ctx)[task] = s;
}
#endif
static double dots_peak(kd_pool *pool, int threads) {
    double best = 0;
#if defined(__x86_64__)
    float sums[256];
    for (int k = 0; k < 8 && kd_cpu_get()->avx512_bf16; k++) {
        const double begin = kd_now();
        kd_pool_run(pool, dots_task, sums, (size_t)threads);
        const double rate = (double)CHAINS * TURNS * FLOPS * threads / (kd_now() - begin) / 1e9;
        if (rate > best) best = rate;
    }
#else
    (void)pool, (void)threads;
#endif
    return best;
}

static int peak(int threads) {
    kd_pool *pool = NULL;
    kd_err e;
    square s;
    if (threads < 1 || threads > 256 || kd_pool_new(&pool, threads, &e) != KD_OK) return 1;
    for (int i = 0; i < threads; i++) s.a[i] = floats(P * P), s.b[i] = floats(P * P), s.c[i] = floats(P * P);
    kd_pool_run(pool, square_task, &s, (size_t)threads);
    double best = 0;
    for (int k = 0; k < 5; k++) {
        const double begin = kd_now();
        for (int i = 0; i < 4; i++) kd_pool_run(pool, square_task, &s, (size_t)threads);
        const double rate = 4.0 * 2.0 * P * P * P * threads / (kd_now() - begin) / 1e9;
        if (rate > best) best = rate;
    }
    printf("%.1f %.1f\n", best, dots_peak(pool, threads));
    for (int i = 0; i < threads; i++) kd_free(s.a[i]), kd_free(s.b[i]), kd_free(s.c[i]);
    kd_pool_free(pool);
    return 0;
}

typedef struct {
    const char *name;
    size_t N, out, in;
} shape;

/* GFLOPS of one of ours (0 y, 1 dx, 2 dw) or OpenBLAS's (3, 4, 5) */
static double rate(const kd_gemm *g, const shape *s, int what, float *x, float *w, float *y) {
    const kd_mat m = kd_mat_f32(w, s->out, s->in);
    double best = 1e30;
    for (int k = 0; k < 4; k++) {
        const double begin = cpu_now();
        switch (what) {
        case 0: kd_gemm_y(g, y, s->out, x, s->in, &m, NULL, s->N, 1, false); break;
        case 1: kd_gemm_dx(g, x, s->in, y, s->out, &m, s->N, 1, false); break;
        case 2: kd_gemm_dw(g, w, s->in, y, s->out, x, s->in, s->N, s->out, s->in, 1e-6f); break;
        case 3: kd_sgemm(false, true, s->N, s->out, s->in, 1, x, s->in, w, s->in, 0, y, s->out); break;
        case 4: kd_sgemm(false, false, s->N, s->in, s->out, 1, y, s->out, w, s->in, 0, x, s->in); break;
        default: kd_sgemm(true, false, s->out, s->in, s->N, 1e-6f, y, s->out, x, s->in, 1, w, s->in); break;
        }
        const double t = cpu_now() - begin;
        if (k && t < best) best = t;
    }
    return 2.0 * (double)s->N * (double)s->out * (double)s->in / best / 1e9;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], "peak") == 0) return peak(argc > 2 ? atoi(argv[2]) : 1);
    const shape shapes[] = {{"135m q", 512, 576, 576},     {"135m k", 512, 192, 576},       {"135m up", 512, 1536, 576},
                            {"135m down", 512, 576, 1536}, {"135m up", 2048, 1536, 576},    {"0.5b q", 1024, 896, 896},
                            {"0.5b k", 1024, 128, 896},    {"0.5b up", 1024, 4864, 896},    {"0.5b down", 1024, 896, 4864},
                            {"1.5b up", 512, 8960, 1536},  {"lora A", 1024, 16, 896},       {"lora B", 1024, 896, 16},
                            {"lora B up", 1024, 4864, 16}, {"lora A down", 1024, 16, 4864}, {"head", 128, 49152, 576}};
    kd_gemm g = {.scratch = kd_aligned_alloc(64, kd_gemm_scratch(1))};
    if (!g.scratch) return 1;
    memset(g.scratch, 0, kd_gemm_scratch(1));
    kd_gemm_hold(&g, NULL);
    printf("GFLOPS of one thread, ours and OpenBLAS\n%-12s %5s %6s %5s %16s %16s %16s\n", "product", "N", "out", "in", "y", "dx", "dw");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        const shape *s = &shapes[i];
        float *x = floats(s->N * s->in), *w = floats(s->out * s->in), *y = floats(s->N * s->out);
        double r[6];
        for (int k = 0; k < 6; k++) r[k] = rate(&g, s, k, x, w, y);
        printf("%-12s %5zu %6zu %5zu %7.1f %7.1f  %7.1f %7.1f  %7.1f %7.1f\n", s->name, s->N, s->out, s->in, r[0], r[3], r[1], r[4], r[2],
               r[5]);
        kd_free(x), kd_free(w), kd_free(y);
    }
    kd_free(g.scratch);
    return 0;
}
