/* tests/distill/math/test_linear.c - products with a stored matrix against sums in double, and their invariance to the bit: whatever the other
 * rows, their number, and the threads. Every instruction set that this machine has is run. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"
#include "distill/math/linear.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const levels[] = {"scalar", "avx2", "avx512-base", NULL}; /* NULL: all this machine has */
enum { LEVELS = sizeof levels / sizeof *levels };

/* False where the machine lacks the level: capping there would run a lower one twice. */
static bool use(const char *level) {
    kd_cpu_cap(NULL);
    kd_cpu_level have = kd_cpu_get()->level;
    if (level && ((strcmp(level, "avx2") == 0 && have < KD_CPU_AVX2) || (strncmp(level, "avx512", 6) == 0 && have < KD_CPU_AVX512)))
        return false;
    assert_true(kd_cpu_cap(level));
    return true;
}

static float *floats(size_t n, uint64_t seed, float scale) {
    float *v = kd_aligned_alloc(64, n * sizeof *v + 64);
    kd_rng r = {.key = seed};
    assert_non_null(v);
    for (size_t i = 0; i < n; i++) v[i] = scale * (float)kd_rng_normal(&r);
    return v;
}

/* rows x cols of random values stored as t. The bytes start one byte off, as they may in a mapped file. */
static kd_mat matrix(kd_dtype t, size_t rows, size_t cols, uint64_t seed, void **own) {
    kd_mat m = {.type = t, .rows = rows, .cols = cols};
    assert_true(kd_dtype_row_bytes((int)t, cols, &m.row_bytes));
    char *bytes = kd_malloc(rows * m.row_bytes + 1);
    float *v = floats(rows * cols, seed, 0.05f);
    assert_non_null(bytes);
    for (size_t r = 0; r < rows; r++)
        if (t == KD_F32)
            memcpy(bytes + 1 + r * m.row_bytes, v + r * cols, cols * sizeof *v);
        else
            assert_int_equal(kd_quantize(t, v + r * cols, bytes + 1 + r * m.row_bytes, cols, NULL, NULL), KD_OK);
    kd_free(v);
    m.data = bytes + 1;
    *own = bytes;
    return m;
}

/* rows of blocks of random bits: every code, every sub-scale; scales of the block itself are small numbers. For types we do not write. */
static kd_mat random_bits(kd_dtype t, size_t rows, size_t cols, uint64_t seed, void **own) {
    kd_mat m = {.type = t, .rows = rows, .cols = cols};
    const kd_dtype_info *k = kd_dtype_get((int)t);
    assert_true(kd_dtype_row_bytes((int)t, cols, &m.row_bytes));
    uint8_t *bytes = kd_malloc(rows * m.row_bytes + 1);
    for (size_t i = 0; i <= rows * m.row_bytes; i++) bytes[i] = (uint8_t)kd_rng_at(seed, 3, i);
    if (rows > 4) { /* every code the largest and the smallest: sums of 16 bits at their worst */
        memset(bytes + 1 + 2 * m.row_bytes, 0xff, m.row_bytes);
        memset(bytes + 1 + 3 * m.row_bytes, 0x00, m.row_bytes);
    }
    for (size_t b = 0; b < rows * m.row_bytes / k->bytes; b++) {
        uint8_t *p = bytes + 1 + b * k->bytes;
        uint16_t d = kd_f32_to_f16(0.001f * (float)(1 + b % 13)), min = kd_f32_to_f16(0.002f * (float)(b % 11));
        switch (t) {
        case KD_MXFP4: p[0] = (uint8_t)(110 + b % 20); break;
        case KD_Q2_K: memcpy(p + 80, &d, 2), memcpy(p + 82, &min, 2); break;
        case KD_Q3_K: memcpy(p + 108, &d, 2); break;
        case KD_Q6_K: memcpy(p + 208, &d, 2); break;
        case KD_Q4_1:
        case KD_Q5_1:
        case KD_Q4_K:
        case KD_Q5_K: memcpy(p, &d, 2), memcpy(p + 2, &min, 2); break;
        default: memcpy(p, &d, 2);
        }
    }
    m.data = bytes + 1;
    *own = bytes;
    return m;
}

typedef struct {
    kd_dtype type;
    size_t rows, cols, N;
} shape;
static const shape shapes[] = {
    {KD_F32, 1, 1, 1},       {KD_F32, 3, 7, 2},     {KD_F32, 67, 100, 13},  {KD_F32, 64, 512, 48},  {KD_F32, 130, 1030, 61},
    {KD_F32, 9, 4099, 7},    {KD_F32, 40, 32, 200}, {KD_BF16, 33, 576, 9},  {KD_F16, 70, 96, 5},    {KD_Q8_0, 100, 1056, 50},
    {KD_Q4_1, 192, 576, 64}, {KD_Q4_0, 65, 64, 3},  {KD_Q5_1, 20, 1536, 6}, {KD_Q5_0, 77, 544, 49},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static void against_double(void **state) {
    (void)state;
    for (size_t l = 0; l < LEVELS; l++) {
        if (!use(levels[l])) continue;
        for (size_t s = 0; s < SHAPES; s++) {
            shape p = shapes[s];
            void *own;
            kd_mat m = matrix(p.type, p.rows, p.cols, s + 1, &own);
            size_t ldx = p.cols + 3, ldy = p.rows + 5;
            float *x = floats(p.N * ldx, 77 + s, 1), *y = floats(p.N * ldy, 99 + s, 1), *bias = floats(p.rows, 5, 1),
                  *w = floats(p.cols, 1, 1);
            float *was = floats(p.N * ldy, 99 + s, 1);
            void *scratch = kd_aligned_alloc(64, kd_linear_scratch(p.cols, p.N, 1));
            bool accumulate = s % 2;
            kd_linear_f32(&m, s % 3 ? bias : NULL, x, ldx, y, ldy, p.N, accumulate, NULL, scratch);
            for (size_t o = 0; o < p.rows; o++) {
                kd_dequantize(m.type, kd_mat_row(&m, o), w, p.cols);
                for (size_t n = 0; n < p.N; n++) {
                    double sum = s % 3 ? (double)bias[o] : 0, size = fabs(sum);
                    if (accumulate) sum += (double)was[n * ldy + o], size += fabs((double)was[n * ldy + o]);
                    for (size_t c = 0; c < p.cols; c++) {
                        sum += (double)x[n * ldx + c] * (double)w[c];
                        size += fabs((double)x[n * ldx + c] * (double)w[c]);
                    }
                    double bound = size * 6e-8 * (4 + (double)p.cols / 32);
                    if (!(fabs((double)y[n * ldy + o] - sum) <= bound))
                        fail_msg("level %s shape %zu y[%zu,%zu] = %.9g, not %.9g (bound %.3g)", levels[l] ? levels[l] : "all", s, n, o,
                                 (double)y[n * ldy + o], sum, bound);
                }
            }
            for (size_t n = 0; n < p.N; n++)
                for (size_t o = p.rows; o < ldy; o++)
                    assert_memory_equal(&y[n * ldy + o], &was[n * ldy + o], sizeof *y); /* what is beside y is left alone */
            kd_free(own), kd_free(x), kd_free(y), kd_free(bias), kd_free(w), kd_free(was), kd_free(scratch);
        }
    }
    kd_cpu_cap(NULL);
}

/* Row n alone, and among 2..64 others, and by two and three threads: the same bits. */
static void rows_do_not_feel_each_other(void **state) {
    (void)state;
    kd_pool *pool[2];
    assert_int_equal(kd_pool_new(&pool[0], 2, NULL), KD_OK);
    assert_int_equal(kd_pool_new(&pool[1], 3, NULL), KD_OK);
    static const shape some[] = {{KD_F32, 70, 1100, 0}, {KD_Q4_1, 48, 576, 0}, {KD_BF16, 25, 96, 0}, {KD_F32, 12, 19, 0}};
    for (size_t l = 0; l < LEVELS; l++) {
        if (!use(levels[l])) continue;
        for (size_t s = 0; s < sizeof some / sizeof *some; s++) {
            enum { N = 64 };
            void *own;
            kd_mat m = matrix(some[s].type, some[s].rows, some[s].cols, s, &own);
            float *x = floats(N * m.cols, 3, 1), *one = floats(N * m.rows, 4, 1), *y = floats(N * m.rows, 5, 1);
            void *scratch = kd_aligned_alloc(64, kd_linear_scratch(m.cols, N, 3));
            for (size_t n = 0; n < N; n++)
                kd_linear_f32(&m, NULL, x + n * m.cols, m.cols, one + n * m.rows, m.rows, 1, false, NULL, scratch);
            for (size_t n = 2; n <= N; n++) {
                kd_pool *with = n % 3 ? pool[n % 3 - 1] : NULL;
                memset(y, 0x7f, N * m.rows * sizeof *y);
                kd_linear_f32(&m, NULL, x, m.cols, y, m.rows, n, false, with, scratch);
                assert_memory_equal(y, one, n * m.rows * sizeof *y);
            }
            kd_free(own), kd_free(x), kd_free(one), kd_free(y), kd_free(scratch);
        }
    }
    kd_cpu_cap(NULL);
    kd_pool_free(pool[0]);
    kd_pool_free(pool[1]);
}

/* A row map gives the rows in its order; bytes that no element owns are not read into the result. */
static void row_map(void **state) {
    (void)state;
    void *own;
    kd_mat m = matrix(KD_Q8_0, 32, 64, 8, &own), p = m;
    uint32_t map[32];
    for (uint32_t r = 0; r < 32; r++) map[r] = (r * 7 + 3) % 32;
    p.row_map = map;
    float *x = floats(5 * 64, 3, 1), *a = floats(5 * 32, 4, 1), *b = floats(5 * 32, 5, 1);
    void *scratch = kd_aligned_alloc(64, kd_linear_scratch(64, 5, 1));
    kd_linear_f32(&m, NULL, x, 64, a, 32, 5, false, NULL, scratch);
    kd_linear_f32(&p, NULL, x, 64, b, 32, 5, false, NULL, scratch);
    for (size_t n = 0; n < 5; n++)
        for (size_t r = 0; r < 32; r++) assert_memory_equal(&b[n * 32 + r], &a[n * 32 + map[r]], sizeof *a);
    kd_free(own), kd_free(x), kd_free(a), kd_free(b), kd_free(scratch);
}

static const kd_dtype small_types[] = {KD_Q8_0, KD_Q4_0, KD_Q4_1, KD_Q5_0, KD_Q5_1, KD_IQ4_NL, KD_MXFP4,
                                       KD_Q2_K, KD_Q3_K, KD_Q4_K, KD_Q5_K, KD_Q6_K, KD_IQ4_XS};
enum { SMALL_TYPES = sizeof small_types / sizeof *small_types };
static const char *const qlevels[] = {"avx2", "avx512-base", NULL};

/* The activations of one row as 8-bit products see them: blocks of 32, d = max / 127, rounded to even. */
static void eight_bits(double *out, const float *x, size_t cols) {
    for (size_t b = 0; b < cols; b += 32) {
        float max = 0;
        for (size_t i = 0; i < 32; i++) max = fmaxf(max, fabsf(x[b + i]));
        float inv = max > 1e-30f ? 127.0f / max : 0;
        for (size_t i = 0; i < 32; i++) out[b + i] = (double)(max / 127.0f) * (double)rintf(x[b + i] * inv);
    }
}

/* Every type, on hard rows (zeros, outliers, the largest codes against the largest activations), panels and none: sums in double of what the
 * stored weights and the 8-bit activations are. */
static void eight_bit_products(void **state) {
    (void)state;
    enum { N = 15, ROWS = 53 };
    for (size_t l = 0; l < sizeof qlevels / sizeof *qlevels; l++) {
        if (!use(qlevels[l])) continue;
        for (size_t k = 0; k < SMALL_TYPES; k++)
            for (int repack = 0; repack < 2; repack++) {
                size_t cols = kd_dtype_get((int)small_types[k])->block == 256 ? 768 : 544;
                void *own;
                kd_mat m = random_bits(small_types[k], ROWS, cols, k, &own);
                float *x = floats(N * cols, 5, 1), *y = floats(N * ROWS, 6, 1), *bias = floats(ROWS, 7, 1), *w = floats(cols, 8, 1);
                double *xq = kd_malloc(cols * sizeof *xq);
                for (size_t c = 0; c < cols; c++) {
                    x[c] = 0;                                       /* row 0: nothing */
                    x[cols + c] = c % 32 == 5 ? 1e4f : x[cols + c]; /* row 1: outliers */
                    x[2 * cols + c] = c % 2 ? 3.0f : -3.0f;         /* rows 2, 3: every activation at its limit */
                    x[3 * cols + c] = 3.0f;
                    x[4 * cols + c] *= 1e-20f;
                    x[5 * cols + c] = c / 32 % 2 ? 0 : x[5 * cols + c];
                }
                kd_qmat *q;
                assert_int_equal(kd_qmat_new(&q, &m, repack, NULL, NULL), KD_OK);
                assert_non_null(strstr(kd_qmat_kind(q), "int8"));
                void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(cols, N, 1));
                kd_qlinear(q, bias, x, cols, y, ROWS, N, false, NULL, scratch);
                for (size_t n = 0; n < N; n++) {
                    eight_bits(xq, x + n * cols, cols);
                    for (size_t o = 0; o < ROWS; o++) {
                        kd_dequantize(m.type, kd_mat_row(&m, o), w, cols);
                        double sum = (double)bias[o], size = fabs(sum);
                        for (size_t c = 0; c < cols; c++) sum += xq[c] * (double)w[c], size += fabs(xq[c] * (double)w[c]);
                        /* a min is multiplied with the sum of activations: its part may be larger than the terms that are left */
                        if (!(fabs((double)y[n * ROWS + o] - sum) <= 4e-6 * size))
                            fail_msg("%s %s repack %d: y[%zu,%zu] = %.9g, not %.9g (of %.3g)", qlevels[l] ? qlevels[l] : "all",
                                     kd_dtype_get((int)m.type)->name, repack, n, o, (double)y[n * ROWS + o], sum, size);
                    }
                }
                kd_qmat_free(q);
                kd_free(own), kd_free(x), kd_free(y), kd_free(bias), kd_free(w), kd_free(xq), kd_free(scratch);
            }
    }
    kd_cpu_cap(NULL);
}

static void eight_bit_rows_do_not_feel_each_other(void **state) {
    (void)state;
    enum { N = 150, ROWS = 83 };
    kd_pool *pool;
    assert_int_equal(kd_pool_new(&pool, 3, NULL), KD_OK);
    for (size_t l = 0; l < sizeof qlevels / sizeof *qlevels; l++) {
        if (!use(qlevels[l])) continue;
        for (size_t k = 0; k < SMALL_TYPES; k++) {
            size_t cols = 1024;
            void *own;
            kd_mat m = random_bits(small_types[k], ROWS, cols, k, &own);
            kd_qmat *q, *lean;
            float *x = floats(N * cols, 3, 1), *one = floats(N * ROWS, 4, 1), *y = floats(N * ROWS, 5, 1);
            void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(cols, N, 3));
            assert_int_equal(kd_qmat_new(&q, &m, true, pool, NULL), KD_OK);
            assert_int_equal(kd_qmat_new(&lean, &m, false, pool, NULL), KD_OK);
            assert_true(kd_qmat_bytes(q) > kd_qmat_bytes(lean));
            for (size_t n = 0; n < N; n++) kd_qlinear(q, NULL, x + n * cols, cols, one + n * ROWS, ROWS, 1, false, NULL, scratch);
            for (size_t n = 2; n <= N; n += n < 20 ? 1u : n < 60 ? 11u : 37u) {
                memset(y, 0x7f, N * ROWS * sizeof *y);
                kd_qlinear(n % 2 ? q : lean, NULL, x, cols, y, ROWS, n, false, n % 3 ? pool : NULL, scratch);
                assert_memory_equal(y, one, n * ROWS * sizeof *y);
            }
            memset(y, 0, N * ROWS * sizeof *y);
            kd_qlinear(q, NULL, x, cols, y, ROWS, 5, true, pool, scratch);
            assert_memory_equal(y, one, 5 * ROWS * sizeof *y);
            x[cols * 2 + 7] = NAN, x[cols * 3 + 9] = INFINITY; /* no row with such a number looks healthy, and no other row feels it */
            size_t some = k % 2 ? 8 : 21;                      /* both ways of many rows */
            kd_qlinear(q, NULL, x, cols, y, ROWS, some, false, pool, scratch);
            for (size_t n = 0; n < some; n++)
                for (size_t o = 0; o < ROWS; o++)
                    if (n == 2 || n == 3)
                        assert_true(!isfinite(y[n * ROWS + o]));
                    else
                        assert_memory_equal(&y[n * ROWS + o], &one[n * ROWS + o], sizeof *y);
            kd_qmat_free(q), kd_qmat_free(lean), kd_free(own), kd_free(x), kd_free(one), kd_free(y), kd_free(scratch);
        }
    }
    kd_cpu_cap(NULL);
    kd_pool_free(pool);
}

/* One row against several matrices at once, of every mixture of types, in room lent for panels: the bits that each gives alone. */
static void one_row_together(void **state) {
    (void)state;
    enum { COLS = 1024, MOST_ROWS = 403 };
    static const size_t rows[3] = {MOST_ROWS, 37, 130};
    kd_pool *pool;
    assert_int_equal(kd_pool_new(&pool, 3, NULL), KD_OK);
    float *x = floats(COLS, 3, 1), *alone = floats(MOST_ROWS, 4, 1), *bias = floats(MOST_ROWS, 5, 1);
    void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(COLS, 1, 3));
    for (size_t l = 0; l < sizeof qlevels / sizeof *qlevels; l++) {
        if (!use(qlevels[l])) continue;
        for (size_t k = 0; k < SMALL_TYPES; k++) {
            kd_qproduct p[3];
            void *own[3];
            char *room[3];
            for (size_t i = 0; i < 3; i++) {
                kd_mat m = random_bits(small_types[(k + i * i) % SMALL_TYPES], rows[i], COLS, k + i, &own[i]);
                kd_qmat *q;
                room[i] = kd_aligned_alloc(64, kd_qmat_plan(&m));
                if (i == 2)
                    assert_int_equal(kd_qmat_new(&q, &m, false, NULL, NULL), KD_OK);
                else
                    assert_int_equal(kd_qmat_new_in(&q, &m, room[i], pool, NULL), KD_OK);
                p[i] = (kd_qproduct){q, i == 1 ? NULL : bias, floats(rows[i], 6, 1)};
            }
            for (size_t n = 1; n <= 3; n++)
                for (int add = 0; add < 2; add++) {
                    for (size_t i = 0; i < n; i++) memset(p[i].y, 0, rows[i] * sizeof(float));
                    kd_qlinear_row(p, n, x, add, p, 3, n == 2 ? NULL : pool, scratch);
                    for (size_t i = 0; i < n; i++) {
                        kd_qlinear(p[i].q, p[i].bias, x, COLS, alone, rows[i], 1, false, NULL, scratch);
                        assert_memory_equal(p[i].y, alone, rows[i] * sizeof(float));
                    }
                }
            for (size_t i = 0; i < 3; i++) kd_qmat_free((kd_qmat *)(size_t)p[i].q), kd_free(p[i].y), kd_free(own[i]), kd_free(room[i]);
        }
    }
    kd_cpu_cap(NULL);
    kd_free(x), kd_free(alone), kd_free(bias), kd_free(scratch);
    kd_pool_free(pool);
}

/* F16 and BF16 where the processor multiplies bf16: every row alone and among others the same bits, and within what rounding both sides to eight bits
 * of mantissa may cost; elsewhere the f32 product. */
static void halves(void **state) {
    (void)state;
    enum { N = 130, ROWS = 83, COLS = 544 };
    kd_pool *pool;
    assert_int_equal(kd_pool_new(&pool, 3, NULL), KD_OK);
    for (int k = 0; k < 2; k++) {
        void *own;
        kd_mat m = matrix(k ? KD_F16 : KD_BF16, ROWS, COLS, 8, &own);
        kd_qmat *q, *lean;
        float *x = floats(N * COLS, 3, 1), *one = floats(N * ROWS, 4, 1), *y = floats(N * ROWS, 5, 1), *exact = floats(N * ROWS, 6, 1),
              *w = floats(COLS, 7, 1);
        float *bias = floats(ROWS, 9, 1);
        void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(COLS, N, 3));
        assert_int_equal(kd_qmat_new(&q, &m, true, pool, NULL), KD_OK);
        assert_int_equal(kd_qmat_new(&lean, &m, false, pool, NULL), KD_OK);
        const bool fast = kd_cpu_get()->avx512_bf16;
        assert_string_equal(kd_qmat_kind(q), fast ? "bf16 panels (avx512 bf16)" : "f32");
        for (size_t n = 0; n < N; n++) kd_qlinear(q, bias, x + n * COLS, COLS, one + n * ROWS, ROWS, 1, false, NULL, scratch);
        kd_linear_f32(&m, bias, x, COLS, exact, ROWS, N, false, pool, scratch);
        for (size_t o = 0; o < ROWS; o++) {
            kd_dequantize(m.type, kd_mat_row(&m, o), w, COLS);
            for (size_t n = 0; n < N; n++) {
                double size = 0;
                for (size_t c = 0; c < COLS; c++) size += fabs((double)w[c] * (double)x[n * COLS + c]);
                assert_true(fabs((double)one[n * ROWS + o] - (double)exact[n * ROWS + o]) <= size / 256);
            }
        }
        for (size_t n = 2; n <= N; n += n < 14 ? 1 : 29) {
            memset(y, 0x7f, N * ROWS * sizeof *y);
            kd_qlinear(n % 2 ? q : lean, bias, x, COLS, y, ROWS, n, false, n % 3 ? pool : NULL, scratch);
            assert_memory_equal(y, one, n * ROWS * sizeof *y);
        }
        memset(y, 0, N * ROWS * sizeof *y);
        kd_qlinear(q, bias, x, COLS, y, ROWS, 7, true, pool, scratch);
        assert_memory_equal(y, one, 7 * ROWS * sizeof *y);
        kd_qmat_free(q), kd_qmat_free(lean), kd_free(own), kd_free(x), kd_free(one), kd_free(y), kd_free(exact), kd_free(w), kd_free(bias),
            kd_free(scratch);
    }
    kd_pool_free(pool);
}

/* Types without an 8-bit form say so and give the f32 product. */
static void fallback(void **state) {
    (void)state;
    void *own;
    kd_mat m = matrix(KD_F16, 20, 72, 8, &own);
    kd_qmat *q;
    float *x = floats(5 * 72, 3, 1), *a = floats(5 * 20, 4, 1), *b = floats(5 * 20, 5, 1);
    void *scratch = kd_aligned_alloc(64, kd_qlinear_scratch(72, 5, 1));
    assert_int_equal(kd_qmat_new(&q, &m, true, NULL, NULL), KD_OK);
    assert_string_equal(kd_qmat_kind(q), "f32");
    kd_linear_f32(&m, NULL, x, 72, a, 20, 5, false, NULL, scratch);
    kd_qlinear(q, NULL, x, 72, b, 20, 5, false, NULL, scratch);
    assert_memory_equal(a, b, 5 * 20 * sizeof *a);
    kd_qmat_free(q), kd_free(own), kd_free(x), kd_free(a), kd_free(b), kd_free(scratch);
    for (long at = 1; at <= 3; at++) {
        m = random_bits(KD_Q4_0, 40, 64, 1, &own);
        kd_alloc_fail_at(at);
        assert_int_equal(kd_qmat_new(&q, &m, true, NULL, NULL), KD_ENOMEM);
        kd_alloc_fail_at(0);
        assert_null(q);
        kd_free(own);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(against_double),   cmocka_unit_test(rows_do_not_feel_each_other),
                                       cmocka_unit_test(row_map),          cmocka_unit_test(eight_bit_products),
                                       cmocka_unit_test(one_row_together), cmocka_unit_test(eight_bit_rows_do_not_feel_each_other),
                                       cmocka_unit_test(halves),           cmocka_unit_test(fallback)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
