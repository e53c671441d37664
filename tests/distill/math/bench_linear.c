/* tests/distill/math/bench_linear.c - products with stored weights in GMAC/s of processor time, one thread, beside what the processor can do at
 * most: multiply-adds of bytes from registers, and bytes a second read from memory.
 *   bench_linear [COLUMNS ROWS [TYPE...]]      THREADS=N in the environment: by the clock, over N threads
 *   bench_linear limits                        the limits alone, a line of JSON */
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"
#include "distill/math/linear.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
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
/* The most that one core does, by instructions on registers that are written out: a compiler may keep an array of sums in memory, and then measures that.
 * maddubs with an addition of 16 bits, twelve times: 32 MACs each. vpdpbusd, twelve times: 64 MACs each. */
#define TWELVE(X) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12) X(13) X(14) X(15)
#define MADDUBS(i) "vpmaddubsw %%ymm1, %%ymm0, %%ymm2\n\tvpaddw %%ymm2, %%ymm" #i ", %%ymm" #i "\n\t"
#define DPBUSD(i) "vpdpbusd %%zmm1, %%zmm0, %%zmm" #i "\n\t"
#define SUMS "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
__attribute__((target("avx2"), noinline)) static void maddubs_times(long n) {
    while (n--) __asm__ volatile(TWELVE(MADDUBS)::: "xmm0", "xmm1", "xmm2", SUMS);
}
__attribute__((target("avx512f,avx512bw,avx512vnni"), noinline)) static void vnni_times(long n) {
    while (n--) __asm__ volatile(TWELVE(DPBUSD)::: "xmm0", "xmm1", SUMS);
}
static bool has_vnni(void) { return kd_cpu_get()->level >= KD_CPU_AVX512 && kd_cpu_get()->avx512_vnni; }
static void limit_task(void *ctx, size_t task, int worker) {
    (void)task, (void)worker;
    (has_vnni() ? vnni_times : maddubs_times)(*(long *)ctx);
}
/* GMAC/s of all threads of the pool at once, by the clock. */
static double int8_limit(kd_pool *pool, const char **how) {
    long n = 2000000;
    double best = 0, threads = (double)kd_pool_threads(pool);
    *how = has_vnni() ? "vpdpbusd, 512 bits" : "maddubs, 256 bits";
    if (kd_cpu_get()->level < KD_CPU_AVX2) return 0;
    for (int r = 0; r < 10; r++) {
        double t = kd_now();
        kd_pool_run(pool, limit_task, &n, (size_t)threads);
        t = threads * (double)n * 12 * (has_vnni() ? 64 : 32) / (kd_now() - t) * 1e-9;
        best = t > best ? t : best;
    }
    return best;
}
#else
static double int8_limit(kd_pool *pool, const char **how) { return (void)pool, *how = "not x86", 0; }
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
#if defined(MADV_HUGEPAGE)
    (void)madvise(data, n, MADV_HUGEPAGE); /* as panels have it */
#endif
    memset(data, 1, n);
    r.data = data;
    for (int i = 0; i < 10; i++) {
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

static double seconds(const kd_pool *pool) { return pool ? kd_now() : cpu_seconds(); }

static double gmacs(const kd_qmat *q, size_t rows, size_t cols, size_t N, const float *x, float *y, kd_pool *pool, void *scratch) {
    double best = 0, spent = 0;
    for (int r = 0; r < 3 || (r < 200 && spent < 0.05); r++) {
        double t = seconds(pool);
        kd_qlinear(q, NULL, x, cols, y, rows, N, false, pool, scratch);
        t = seconds(pool) - t;
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
    const char *threads = getenv("THREADS");
    kd_pool *pool, *use;
    if (kd_pool_new(&pool, threads ? atoi(threads) : 0, NULL)) return 1;
    if (level && !kd_cpu_cap(level)) return fprintf(stderr, "bench_linear: KD_CPU=%s: no such level\n", level), 64;
    double limit = int8_limit(pool, &how), bytes = read_limit(pool), cores = (double)kd_pool_threads(pool);
    if (argc == 2 && !strcmp(argv[1], "limits")) {
        printf("{\"threads\":%d,\"int8_gmac_per_second\":%.1f,\"int8_by\":\"%s\",\"memory_gb_per_second\":%.1f}\n", kd_pool_threads(pool),
               limit, how, bytes);
        return kd_pool_free(pool), 0;
    }
    use = threads ? pool : NULL;
    if (!use) limit /= cores;
    printf("memory read by %d threads: %.1f GB/s\n", kd_pool_threads(pool), bytes);
    printf("%s; limit of int8 %.0f GMAC/s %s (%s)\n%zu x %zu, GMAC/s by rows of x\n%-8s", kd_cpu_describe(), limit,
           use ? "over all threads" : "a core", how, rows, cols, "type");
    for (size_t i = 0; i < NS; i++) printf("%8zu", Ns[i]);
    printf("   GB/s at 1  share of the limit at %d\n", MOST);
    float *x = kd_aligned_alloc(64, MOST * cols * sizeof *x), *y = kd_aligned_alloc(64, MOST * rows * sizeof *y);
    void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(cols, MOST, kd_pool_threads(pool)));
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
            last = gmacs(q, rows, cols, Ns[i], x, y, use, scratch);
            if (!i) first = last * (double)m.row_bytes / (double)cols;
            printf("%8.1f", last);
            fflush(stdout);
        }
        printf("%12.1f %12.0f %%   %s\n", first, limit > 0 ? 100 * last / limit : 0, kd_qmat_kind(q));
        kd_qmat_free(q);
        kd_free((void *)(size_t)m.data);
    }
    kd_free(x), kd_free(y), kd_free(scratch);
    kd_pool_free(pool);
    return 0;
}
