/* The products of training against sums in double: every shape of tile, stored type, stride; and the same bits at any number of threads. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"
#include "distill/math/gemm.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static float *noise(size_t n, uint64_t seed) {
    float *v = kd_malloc(n * sizeof *v);
    assert_non_null(v);
    kd_rng r = {.key = seed};
    for (size_t i = 0; i < n; i++) v[i] = (float)kd_rng_normal(&r);
    return v;
}

typedef struct {
    size_t N, rows, cols;
    kd_dtype type;
    bool mapped, bf16;
} shape;

static double rounded(float v, const shape *s) { return s->bf16 ? (double)kd_bf16_to_f32(kd_f32_to_bf16(v)) : (double)v; }

static void near(const float *got, size_t ldg, const double *want, size_t R, size_t C, const char *what) {
    double worst = 0, norm = 0;
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++) {
            double d = (double)got[r * ldg + c] - want[r * C + c];
            worst += d * d;
            norm += want[r * C + c] * want[r * C + c];
        }
    if (!(sqrt(worst) <= 2e-6 * sqrt(norm) + 1e-12)) fail_msg("%s off by %.2e of its norm", what, sqrt(worst / norm));
}

/* y, dx, dw of one shape with strides wider than the rows, accumulating onto something; with threads workers. */
static void products(const shape *s, int threads, float **keep) {
    const size_t N = s->N, R = s->rows, C = s->cols, ldx = C + 3, ldy = R + 5;
    float *w = noise(R * C, 1), *x = noise(N * ldx, 2), *dy = noise(N * ldy, 3), *bias = noise(R, 4), *y = noise(N * ldy, 5),
          *dx = noise(N * ldx, 6);
    float *dw = noise(R * C, 7), *row = kd_malloc(C * sizeof *row);
    size_t bytes = 0;
    assert_true(kd_dtype_row_bytes((int)s->type, C, &bytes));
    unsigned char *stored = kd_malloc(R * bytes);
    uint32_t *map = kd_malloc(R * sizeof *map);
    double *W = kd_malloc(R * C * sizeof *W), *Y = kd_malloc(N * R * sizeof *Y), *DX = kd_malloc(N * C * sizeof *DX),
           *DW = kd_malloc(R * C * sizeof *DW);
    for (size_t r = 0; r < R; r++) {
        size_t at = s->mapped ? R - 1 - r : r;
        map[r] = (uint32_t)at;
        if (s->type == KD_F32)
            memcpy(stored + at * bytes, w + r * C, bytes);
        else
            assert_int_equal(kd_quantize(s->type, w + r * C, stored + at * bytes, C, NULL, NULL), KD_OK);
        kd_dequantize(s->type, stored + at * bytes, row, C);
        for (size_t c = 0; c < C; c++) W[r * C + c] = rounded(row[c], s);
    }
    kd_mat m = {s->type, R, C, bytes, stored, s->mapped ? map : NULL};
    for (size_t n = 0; n < N; n++)
        for (size_t r = 0; r < R; r++) {
            double sum = (double)y[n * ldy + r] + (double)bias[r];
            for (size_t c = 0; c < C; c++) sum += 0.5 * rounded(x[n * ldx + c], s) * W[r * C + c];
            Y[n * R + r] = sum;
        }
    for (size_t n = 0; n < N; n++)
        for (size_t c = 0; c < C; c++) {
            double sum = 0;
            for (size_t r = 0; r < R; r++) sum += 2 * rounded(dy[n * ldy + r], s) * W[r * C + c];
            DX[n * C + c] = sum;
        }
    for (size_t r = 0; r < R; r++)
        for (size_t c = 0; c < C; c++) {
            double sum = (double)dw[r * C + c];
            for (size_t n = 0; n < N; n++) sum += rounded(dy[n * ldy + r], s) * rounded(x[n * ldx + c], s);
            DW[r * C + c] = sum;
        }
    kd_pool *pool = NULL;
    if (threads > 1) assert_int_equal(kd_pool_new(&pool, threads, NULL), KD_OK);
    void *scratch = kd_aligned_alloc(64, kd_gemm_scratch(threads));
    kd_gemm g = {.pool = pool, .scratch = scratch, .bf16 = s->bf16};
    kd_gemm_hold(&g, threads == 2 ? x : NULL);
    float *again = noise(N * ldy, 5);
    kd_gemm_y(&g, again, ldy, x, ldx, &m, bias, N, 0.5f, true);
    kd_gemm_y(&g, y, ldy, x, ldx, &m, bias, N, 0.5f, true);
    kd_gemm_dx(&g, dx, ldx, dy, ldy, &m, N, 2, false);
    kd_gemm_dw(&g, dw, C, dy, ldy, x, ldx, N, R, C, 1);
    near(y, ldy, Y, N, R, "y");
    assert_memory_equal(y, again, N * ldy * sizeof *y); /* a held left operand gives the same */
    kd_free(again);
    near(dx, ldx, DX, N, C, "dx");
    near(dw, C, DW, R, C, "dw");
    float *mine[3] = {y, dx, dw};
    size_t n[3] = {N * ldy, N * ldx, R * C};
    for (int i = 0; i < 3; i++) {
        if (keep[i]) {
            assert_memory_equal(keep[i], mine[i], n[i] * sizeof(float)); /* bits of one thread */
            kd_free(mine[i]);
        } else {
            keep[i] = mine[i];
        }
    }
    kd_pool_free(pool);
    void *all[] = {w, x, dy, bias, row, stored, map, W, Y, DX, DW, scratch};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
}

static void test_products(void **state) {
    (void)state;
    const char *const levels[] = {"scalar", "avx2", "avx512"};
    for (int level = 0; level < 3; level++) {
        kd_cpu_cap(levels[level]);
        const shape shapes[] = {
            {1, 1, 1, KD_F32, false, false},       {7, 5, 3, KD_F32, false, false},       {33, 48, 32, KD_F32, true, false},
            {300, 272, 40, KD_F32, false, false},  {65, 100, 600, KD_F32, false, false},  {70, 24, 512, KD_Q8_0, false, false},
            {130, 300, 544, KD_Q8_0, true, false}, {600, 40, 96, KD_Q4_0, false, false},  {20, 530, 64, KD_BF16, false, false},
            {90, 700, 33, KD_F16, true, false},    {2, 16, 1024, KD_Q5_1, false, false},  {2100, 40, 72, KD_F32, false, false},
            {40, 1500, 96, KD_Q8_0, false, false}, {64, 33, 2112, KD_Q4_1, false, false},
        };
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
            float *keep[3] = {NULL, NULL, NULL};
            for (int threads = 1; threads <= 3; threads++) products(&shapes[i], threads, keep);
            for (int k = 0; k < 3; k++) kd_free(keep[k]);
        }
    }
    kd_cpu_cap(NULL);
}

/* Operands rounded to bfloat16, sums in f32: the same sums of rounded numbers. */
static void test_bf16(void **state) {
    (void)state;
    if (!kd_cpu_get()->avx512_bf16) {
        printf("ok 99 - bf16 # SKIP no AVX512-BF16 on this CPU\n");
        return;
    }
    const shape shapes[] = {{33, 48, 32, KD_F32, true, true},    {300, 272, 45, KD_F32, false, true}, {65, 101, 1100, KD_F32, false, true},
                            {70, 40, 512, KD_Q8_0, false, true}, {600, 40, 96, KD_Q4_0, true, true},  {2100, 40, 72, KD_F32, false, true},
                            {43, 700, 33, KD_F16, true, true}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        float *keep[3] = {NULL, NULL, NULL};
        for (int threads = 1; threads <= 2; threads++) products(&shapes[i], threads, keep);
        for (int k = 0; k < 3; k++) kd_free(keep[k]);
    }
}

/* Thin products, and products of low rank summed into large ones, at one rank; bits the same at 1 to 3 threads. */
static void low_products(size_t N, size_t rows, size_t cols, size_t r, bool bf16) {
    const size_t ldx = cols;
    float *x = noise(N * cols, 1), *w = noise(rows * cols, 2), *a = noise(r * cols, 3), *b = noise(rows * r, 4), *dy = noise(N * rows, 5);
    double *XA = kd_malloc(N * r * sizeof *XA), *T = kd_malloc(N * r * sizeof *T), *Y = kd_malloc(N * rows * sizeof *Y),
           *DX = kd_malloc(N * cols * sizeof *DX), *DA = kd_malloc(r * cols * sizeof *DA), *DB = kd_malloc(rows * r * sizeof *DB);
    const shape s = {.bf16 = bf16 && N >= 32 && rows >= 32 && cols >= 32};
    float *keep[4] = {NULL};
    for (int threads = 1; threads <= 3; threads++) {
        kd_pool *pool = NULL;
        if (threads > 1) assert_int_equal(kd_pool_new(&pool, threads, NULL), KD_OK);
        kd_gemm g = {.pool = pool, .scratch = kd_aligned_alloc(64, kd_gemm_scratch(threads)), .bf16 = bf16};
        kd_gemm_hold(&g, NULL);
        float *xa = noise(N * r, 6), *t = noise(N * r, 7), *y = noise(N * rows, 8), *dx = noise(N * cols, 9), *da = noise(r * cols, 10),
              *db = noise(rows * r, 11);
        const kd_mat m = kd_mat_f32(w, rows, cols);
        kd_low_y(&g, xa, x, ldx, a, false, N, cols, r, 1);
        kd_low_y(&g, t, dy, rows, b, true, N, rows, r, 0.5f);
        if (threads == 1) { /* what follows is held against products of what these two gave */
            for (size_t n = 0; n < N; n++) {
                for (size_t q = 0; q < r; q++) {
                    XA[n * r + q] = T[n * r + q] = 0;
                    for (size_t c = 0; c < cols; c++) XA[n * r + q] += (double)x[n * cols + c] * (double)a[q * cols + c];
                    for (size_t o = 0; o < rows; o++) T[n * r + q] += 0.5 * (double)dy[n * rows + o] * (double)b[o * r + q];
                }
                for (size_t o = 0; o < rows; o++) {
                    double sum = (double)y[n * rows + o];
                    for (size_t c = 0; c < cols; c++) sum += rounded(x[n * cols + c], &s) * rounded(w[o * cols + c], &s);
                    for (size_t q = 0; q < r; q++) sum += 2 * rounded(xa[n * r + q], &s) * rounded(b[o * r + q], &s);
                    Y[n * rows + o] = sum;
                }
                for (size_t c = 0; c < cols; c++) {
                    double sum = 0;
                    for (size_t o = 0; o < rows; o++) sum += rounded(dy[n * rows + o], &s) * rounded(w[o * cols + c], &s);
                    for (size_t q = 0; q < r; q++) sum += rounded(t[n * r + q], &s) * rounded(a[q * cols + c], &s);
                    DX[n * cols + c] = sum;
                }
            }
            for (size_t q = 0; q < r; q++) {
                for (size_t c = 0; c < cols; c++) {
                    DA[q * cols + c] = (double)da[q * cols + c];
                    for (size_t n = 0; n < N; n++) DA[q * cols + c] += (double)t[n * r + q] * (double)x[n * cols + c];
                }
                for (size_t o = 0; o < rows; o++) {
                    DB[o * r + q] = (double)db[o * r + q];
                    for (size_t n = 0; n < N; n++) DB[o * r + q] += 3 * (double)dy[n * rows + o] * (double)xa[n * r + q];
                }
            }
        }
        const kd_low up = {xa, b, r, 2}, down = {t, a, r, 1};
        kd_gemm_y_low(&g, y, rows, x, cols, &m, NULL, N, true, &up);
        kd_gemm_dx_low(&g, dx, cols, dy, rows, &m, N, false, &down);
        kd_low_dw(&g, da, true, x, cols, t, N, cols, r, 1);
        kd_low_dw(&g, db, false, dy, rows, xa, N, rows, r, 3);
        near(xa, r, XA, N, r, "x A");
        near(t, r, T, N, r, "dy B");
        near(y, rows, Y, N, rows, "y with a low product");
        near(dx, cols, DX, N, cols, "dx with a low product");
        near(da, cols, DA, r, cols, "dA");
        near(db, r, DB, rows, r, "dB");
        float *mine[4] = {y, dx, da, db};
        const size_t n[4] = {N * rows, N * cols, r * cols, rows * r};
        for (int i = 0; i < 4; i++) {
            if (keep[i]) {
                assert_memory_equal(keep[i], mine[i], n[i] * sizeof(float));
                kd_free(mine[i]);
            } else {
                keep[i] = mine[i];
            }
        }
        kd_free(xa), kd_free(t), kd_free(g.scratch);
        kd_pool_free(pool);
    }
    void *all[] = {x, w, a, b, dy, XA, T, Y, DX, DA, DB, keep[0], keep[1], keep[2], keep[3]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
}
static void test_low(void **state) {
    (void)state;
    const char *const levels[] = {"scalar", "avx2", "avx512", NULL};
    const size_t shapes[][4] = {{130, 100, 48, 16}, {61, 33, 2048, 8}, {29, 14, 20, 3},   {150, 130, 1100, 24},
                                {40, 5, 70, 2},     {50, 64, 80, 100}, {17, 60, 5000, 64}};
    for (int level = 0; level < 4; level++) {
        kd_cpu_cap(levels[level]);
        for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
            low_products(shapes[i][0], shapes[i][1], shapes[i][2], shapes[i][3],
                         !levels[level] && shapes[i][3] <= KD_LOW_RANK && kd_cpu_get()->avx512_bf16);
    }
    kd_cpu_cap(NULL);
}

static void test_edges(void **state) {
    (void)state;
    float c[4] = {1, 2, NAN, 4}, a[2] = {1, 1}, b[2] = {1, 1};
    kd_sgemm(false, false, 2, 2, 0, 1, a, 1, b, 2, 0, c, 2); /* nothing to sum: zeros, and what was there is not read */
    for (int i = 0; i < 4; i++) assert_true(c[i] == 0);
    c[0] = 3;
    kd_sgemm(false, false, 1, 1, 0, 1, a, 1, b, 2, 2, c, 2);
    assert_true(c[0] == 6);
    kd_sgemm(false, false, 0, 2, 2, 1, a, 2, b, 2, 0, c, 2);
    assert_true(c[0] == 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_products), cmocka_unit_test(test_bf16), cmocka_unit_test(test_low),
                                       cmocka_unit_test(test_edges)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
