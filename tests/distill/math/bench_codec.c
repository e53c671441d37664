/* tests/distill/math/bench_codec.c - speed and error of the codecs on one core: a line a type. Weights are of a kind that models have: normal
 * rows of different widths, every other one with heavy tails. KD_CPU caps the instructions. Arguments: types (default: all that are written).
 * KD_PEER_GGML=libggml-base.so: ggml's quantizer beside ours on the same rows, and our squared error by ggml's (a row's mean, the worst row). */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { ROWS = 256, COLS = 4096 };

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}
/* Values a second of writing (dst NULL: reading), the best of three. */
static double speed(kd_dtype t, float *x, unsigned char *q, size_t row, const float *im, bool read) {
    double best = 0;
    for (int k = 0; k < 3; k++) {
        double start = now();
        for (size_t r = 0; r < ROWS; r++) {
            if (read)
                kd_dequantize(t, q + r * row, x + r * COLS, COLS);
            else if (kd_quantize(t, x + r * COLS, q + r * row, COLS, im, NULL) != KD_OK)
                abort();
        }
        double rate = (double)ROWS * COLS / (now() - start);
        best = rate > best ? rate : best;
    }
    return best;
}
/* Root of the weighted squared error by the weighted energy. */
static double error_of(const float *x, const float *y, const float *w) {
    double e = 0, all = 0;
    for (size_t i = 0; i < (size_t)ROWS * COLS; i++) {
        double c = w ? (double)w[i % COLS] : 1;
        e += c * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
        all += c * (double)x[i] * (double)x[i];
    }
    return sqrt(e / all);
}

static void bench(kd_dtype t, float *x, float *y, unsigned char *q, const float *im) {
    size_t row;
    if (!kd_dtype_row_bytes((int)t, COLS, &row)) abort();
    double plain = speed(t, x, q, row, NULL, false), read = speed(t, y, q, row, NULL, true), error = error_of(x, y, NULL);
    double weighted = speed(t, x, q, row, im, false);
    speed(t, y, q, row, NULL, true);
    printf("%-8s %6.3f %10.1f %10.1f %8.2f %10.1f %8.2f %10.3g %10.3g\n", kd_dtype_get((int)t)->name, 8.0 * (double)row / COLS, plain / 1e6,
           weighted / 1e6, 4e-9 * plain, read / 1e6, 4e-9 * read, error, error_of(x, y, im));
}

/* ggml_quantize_chunk(type, source, destination, first, rows, columns, importance) */
typedef size_t peer_fn(int, const float *, void *, int64_t, int64_t, int64_t, const float *);

static double row_error(const float *x, const float *y, const float *w) {
    double e = 0;
    for (size_t i = 0; i < COLS; i++) e += (w ? (double)w[i] : 1) * ((double)x[i] - (double)y[i]) * ((double)x[i] - (double)y[i]);
    return e;
}

/* One line: speeds, and our error by the peer's. z [COLS] is scratch. */
static void beside(peer_fn *peer, kd_dtype t, const float *x, float *y, unsigned char *q, const float *im) {
    size_t row, rows = 0;
    float *z = kd_malloc(sizeof(float) * COLS);
    if (!z || !kd_dtype_row_bytes((int)t, COLS, &row)) abort();
    unsigned char *theirs = q + ROWS * row;
    const double ours = speed(t, (float *)(uintptr_t)x, q, row, im, false);
    double best = 0, sum = 0, worst = 0;
    for (int k = 0; k < 3; k++) {
        const double start = now();
        if (peer((int)t, x, theirs, 0, ROWS, COLS, im) != ROWS * row) abort();
        const double rate = (double)ROWS * COLS / (now() - start);
        best = rate > best ? rate : best;
    }
    for (size_t r = 0; r < ROWS; r++) {
        kd_dequantize(t, q + r * row, y, COLS);
        kd_dequantize(t, theirs + r * row, z, COLS);
        const double a = row_error(x + r * COLS, y, im), b = row_error(x + r * COLS, z, im);
        if (!(b > 0)) continue;
        rows++, sum += a / b, worst = a / b > worst ? a / b : worst;
    }
    if (!rows) rows = 1, sum = worst = 1;
    printf("%-8s %-3s %9.1f %9.1f %7.1f %10.3f %8.3f\n", kd_dtype_get((int)t)->name, im ? "yes" : "no", ours / 1e6, best / 1e6, ours / best,
           sum / (double)rows, worst);
    kd_free(z);
}

static bool searched(kd_dtype t) { return kd_dtype_get((int)t)->quantized; }

int main(int argc, char **argv) {
    void *lib = getenv("KD_PEER_GGML") ? dlopen(getenv("KD_PEER_GGML"), RTLD_LAZY) : NULL;
    peer_fn *peer = NULL;
    if (lib) *(void **)&peer = dlsym(lib, "ggml_quantize_chunk");
    if (getenv("KD_PEER_GGML") && !peer) printf("peer ggml: absent: %s\n", dlerror());
    kd_rng rng = {.key = 1};
    float *x = kd_malloc(sizeof(float) * ROWS * COLS), *y = kd_malloc(sizeof(float) * ROWS * COLS), *im = kd_malloc(sizeof(float) * COLS);
    unsigned char *q = kd_malloc(2 * sizeof(float) * ROWS * COLS);
    if (!x || !y || !im || !q || !kd_cpu_cap(getenv("KD_CPU"))) return 1;
    for (size_t r = 0; r < ROWS; r++) {
        double width = 0.02 * exp(0.5 * kd_rng_normal(&rng));
        for (size_t c = 0; c < COLS; c++) {
            double tail = r % 2 ? 1 / sqrt(0.2 - log(1 - kd_rng_uniform(&rng))) : 1;
            x[r * COLS + c] = (float)(width * tail * kd_rng_normal(&rng));
        }
    }
    for (size_t c = 0; c < COLS; c++) im[c] = (float)exp(1.2 * kd_rng_normal(&rng));
    printf("one core, %s; M = million values; f32 GB/s; error: root of squared error by energy (weighted: with importance)\n",
           kd_cpu_describe());
    if (peer)
        printf("%-8s %-3s %9s %9s %7s %10s %8s\n", "type", "importance", "M/s", "ggml", "times", "error", "worst");
    else
        printf("%-8s %6s %10s %10s %8s %10s %8s %10s %10s\n", "type", "bits", "write M/s", "weighted", "GB/s", "read M/s", "GB/s", "error",
               "weighted");
    for (int t = 0; t < KD_TYPES; t++) {
        bool wanted = argc == 1;
        for (int a = 1; a < argc; a++) {
            kd_dtype named;
            wanted |= kd_dtype_named(argv[a], &named) && (int)named == t;
        }
        if (!wanted || !kd_can_write(t)) continue;
        if (!peer)
            bench((kd_dtype)t, x, y, q, im);
        else if (searched((kd_dtype)t)) {
            beside(peer, (kd_dtype)t, x, y, q, NULL);
            beside(peer, (kd_dtype)t, x, y, q, im);
        }
    }
    kd_free(x);
    kd_free(y);
    kd_free(im);
    kd_free(q);
    return 0;
}
