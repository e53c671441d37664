/* tests/distill/math/bench_linear.c - products with stored weights in GMAC/s of processor time, one thread, beside what the processor can do at
 * most: multiply-adds of bytes from registers, and bytes a second read from memory.
 *   bench_linear [COLUMNS ROWS [TYPE...]] */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"
#include "distill/math/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#if defined(__x86_64__)
#include <immintrin.h>
#endif

static double cpu_seconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

#if defined(__x86_64__)
/* maddubs and an addition of 16 bits on twelve registers: 32 MACs each. */
__attribute__((target("avx2"), noinline)) static double limit_maddubs(void) {
    __m256i h[12], w = _mm256_set1_epi8(3), x = _mm256_set1_epi8(5);
    for (int i = 0; i < 12; i++) h[i] = _mm256_set1_epi8((char)i);
    double best = 0;
    for (int r = 0; r < 5; r++) {
        double t = cpu_seconds();
        for (int n = 0; n < 2000000; n++) {
            __asm__ volatile("" : "+x"(w), "+x"(x));
#pragma GCC unroll 12
            for (int i = 0; i < 12; i++) h[i] = _mm256_add_epi16(h[i], _mm256_maddubs_epi16(w, x));
            __asm__ volatile("" : "+x"(h[0]), "+x"(h[1]), "+x"(h[2]), "+x"(h[3]), "+x"(h[4]), "+x"(h[5]), "+x"(h[6]), "+x"(h[7]));
            __asm__ volatile("" : "+x"(h[8]), "+x"(h[9]), "+x"(h[10]), "+x"(h[11]));
        }
        t = 2e6 * 12 * 32 / (cpu_seconds() - t) * 1e-9;
        best = t > best ? t : best;
    }
    return best;
}
/* vpdpbusd on sixteen registers: 64 MACs each. */
__attribute__((target("avx512f,avx512bw,avx512vnni"), noinline)) static double limit_vnni(void) {
    __m512i s[16], w = _mm512_set1_epi8(3), x = _mm512_set1_epi8(5);
    for (int i = 0; i < 16; i++) s[i] = _mm512_set1_epi32(i);
    double best = 0;
    for (int r = 0; r < 5; r++) {
        double t = cpu_seconds();
        for (int n = 0; n < 2000000; n++) {
            __asm__ volatile("" : "+v"(w), "+v"(x));
#pragma GCC unroll 16
            for (int i = 0; i < 16; i++) s[i] = _mm512_dpbusd_epi32(s[i], w, x);
            __asm__ volatile("" : "+v"(s[0]), "+v"(s[1]), "+v"(s[2]), "+v"(s[3]), "+v"(s[4]), "+v"(s[5]), "+v"(s[6]), "+v"(s[7]));
            __asm__ volatile("" : "+v"(s[8]), "+v"(s[9]), "+v"(s[10]), "+v"(s[11]), "+v"(s[12]), "+v"(s[13]), "+v"(s[14]), "+v"(s[15]));
        }
        t = 2e6 * 16 * 64 / (cpu_seconds() - t) * 1e-9;
        best = t > best ? t : best;
    }
    return best;
}
static double int8_limit(const char **how) {
    const kd_cpu *c = kd_cpu_get();
    *how = c->level >= KD_CPU_AVX512 && c->avx512_vnni ? "vpdpbusd, 512 bits" : "maddubs, 256 bits";
    if (c->level < KD_CPU_AVX2) return 0;
    return c->level >= KD_CPU_AVX512 && c->avx512_vnni ? limit_vnni() : limit_maddubs();
}
#else
static double int8_limit(const char **how) { return *how = "not x86", 0; }
#endif

/* Bytes read by all threads, GB/s of the clock: what one row of activations can be fed with. */
enum { READ_TASK = 4 << 20, READ_TASKS = 64 };
typedef struct {
    const char *data;
    uint64_t sum[64 * 8];
} reading;
#if defined(__x86_64__)
__attribute__((target("avx2")))
#endif
static void
read_task(void *ctx, size_t task, int worker) {
    reading *r = ctx;
    const char *p = r->data + task * READ_TASK;
#if defined(__x86_64__)
    __m256i a = _mm256_setzero_si256(), b = a, c = a, d = a;
    for (size_t i = 0; i < READ_TASK; i += 128) {
        a = _mm256_xor_si256(a, _mm256_load_si256((const void *)(p + i)));
        b = _mm256_xor_si256(b, _mm256_load_si256((const void *)(p + i + 32)));
        c = _mm256_xor_si256(c, _mm256_load_si256((const void *)(p + i + 64)));
        d = _mm256_xor_si256(d, _mm256_load_si256((const void *)(p + i + 96)));
    }
    a = _mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d));
    r->sum[worker % 64 * 8] += (uint64_t)_mm256_extract_epi64(a, 0);
#else
    for (size_t i = 0; i < READ_TASK; i += 8) {
        uint64_t v;
        memcpy(&v, p + i, 8);
        r->sum[worker % 64 * 8] += v;
    }
#endif
}
static double read_limit(kd_pool *pool) {
    size_t n = (size_t)READ_TASK * READ_TASKS;
    static reading r;
    char *data = kd_aligned_alloc(1 << 21, n);
    double best = 0;
    if (!data) return 0;
    memset(data, 1, n);
    r.data = data;
    for (int i = 0; i < 5; i++) {
        double t = kd_now();
        kd_pool_run(pool, read_task, &r, READ_TASKS);
        t = (double)n / (kd_now() - t) * 1e-9;
        best = t > best ? t : best;
    }
    kd_free(data);
    return best;
}

/* The matrix of random small numbers in type t. */
static kd_mat matrix(kd_dtype t, size_t rows, size_t cols) {
    kd_mat m = {.type = t, .rows = rows, .cols = cols};
    if (!kd_dtype_row_bytes((int)t, cols, &m.row_bytes)) exit(1);
    float *v = kd_malloc(cols * sizeof *v);
    char *bytes = kd_malloc(rows * m.row_bytes);
    kd_rng r = {.key = 1};
    if (!v || !bytes) exit(1);
    for (size_t c = 0; c < cols; c++) v[c] = 0.05f * (float)kd_rng_normal(&r);
    for (size_t i = 0; i < rows; i++) {
        if (i == 0 && t != KD_F32) (void)kd_quantize(t, v, bytes, cols, NULL, NULL);
        if (i == 0 && t == KD_F32) memcpy(bytes, v, m.row_bytes);
        if (i) memcpy(bytes + i * m.row_bytes, bytes, m.row_bytes);
    }
    kd_free(v);
    m.data = bytes;
    return m;
}

static double gmacs(const kd_qmat *q, size_t rows, size_t cols, size_t N, const float *x, float *y, void *scratch) {
    double best = 0, spent = 0;
    for (int r = 0; r < 3 || (r < 200 && spent < 0.05); r++) {
        double t = cpu_seconds();
        kd_qlinear(q, NULL, x, cols, y, rows, N, false, NULL, scratch);
        t = cpu_seconds() - t;
        spent += t;
        double g = (double)rows * (double)cols * (double)N / t * 1e-9;
        best = g > best ? g : best;
    }
    return best;
}

int main(int argc, char **argv) {
    static const kd_dtype all[] = {KD_Q4_0, KD_Q4_1, KD_Q5_0,   KD_Q5_1,   KD_Q8_0,  KD_Q2_K, KD_Q3_K, KD_Q4_K,
                                   KD_Q5_K, KD_Q6_K, KD_IQ4_NL, KD_IQ4_XS, KD_MXFP4, KD_BF16, KD_F16};
    static const size_t Ns[] = {1, 2, 4, 8, 16, 32, 64, 128};
    enum { KINDS = sizeof all / sizeof *all, NS = sizeof Ns / sizeof *Ns, MOST = 128 };
    size_t cols = argc > 2 ? strtoul(argv[1], NULL, 10) : 1792, rows = argc > 2 ? strtoul(argv[2], NULL, 10) : 4864;
    const char *how, *level = getenv("KD_CPU");
    kd_rng rng = {.key = 2};
    kd_pool *pool;
    if (kd_pool_new(&pool, 0, NULL)) return 1;
    if (level && !kd_cpu_cap(level)) return fprintf(stderr, "bench_linear: KD_CPU=%s: no such level\n", level), 64;
    double limit = int8_limit(&how);
    printf("memory read by %d threads: %.1f GB/s\n", kd_pool_threads(pool), read_limit(pool));
    printf("%s; limit of int8 %.0f GMAC/s a core (%s)\n%zu x %zu, GMAC/s by rows of x\n%-8s", kd_cpu_describe(), limit, how, rows, cols,
           "type");
    for (size_t i = 0; i < NS; i++) printf("%8zu", Ns[i]);
    printf("   GB/s at 1  share of the limit at %d\n", MOST);
    kd_pool_free(pool);
    float *x = kd_aligned_alloc(64, MOST * cols * sizeof *x), *y = kd_aligned_alloc(64, MOST * rows * sizeof *y);
    void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(cols, MOST, 1));
    if (!x || !y || !scratch) return 1;
    for (size_t i = 0; i < MOST * cols; i++) x[i] = (float)kd_rng_normal(&rng);
    for (size_t k = 0; k < KINDS; k++) {
        const char *name = kd_dtype_get((int)all[k])->name;
        bool wanted = argc < 4;
        for (int i = 3; i < argc; i++) wanted |= !strcmp(argv[i], name);
        if (!wanted || cols % kd_dtype_get((int)all[k])->block) continue;
        kd_mat m = matrix(all[k], rows, cols);
        kd_qmat *q;
        if (kd_qmat_new(&q, &m, true, NULL, NULL)) return 1;
        printf("%-8s", name);
        double first = 0, last = 0;
        for (size_t i = 0; i < NS; i++) {
            last = gmacs(q, rows, cols, Ns[i], x, y, scratch);
            if (!i) first = last * (double)m.row_bytes / (double)cols;
            printf("%8.1f", last);
            fflush(stdout);
        }
        printf("%12.1f %12.0f %%   %s\n", first, limit > 0 ? 100 * last / limit : 0, kd_qmat_kind(q));
        kd_qmat_free(q);
        kd_free((void *)(size_t)m.data);
    }
    kd_free(x), kd_free(y), kd_free(scratch);
    return 0;
}
