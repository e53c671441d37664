/* tests/distill/math/test_ops.c - the operators of a transformer against double precision, on every instruction set that this machine has. */
#include "distill/base/cpu.h"
#include "distill/base/dtype.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"
#include "distill/math/ops.h"
#include "distill/math/ops_kernels.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *const levels[] = {"scalar", "avx2", "avx512"};
static size_t level_count(void) {
    kd_cpu_cap(NULL);
    return (size_t)kd_cpu_get()->level + 1;
}

static void fill(float *v, size_t n, uint64_t seed, float scale) {
    kd_rng r = {.key = seed};
    for (size_t i = 0; i < n; i++) v[i] = scale * (float)kd_rng_normal(&r);
}

static double ulps(float got, double want) {
    float w = fabsf((float)want), up = nextafterf(w, INFINITY);
    return fabs((double)got - want) / ((double)up - (double)w);
}

static void exp_within_two_ulp(void **state) {
    (void)state;
    enum { N = 4096 + 5 };
    float x[N], y[N];
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        double worst = 0;
        for (int round = 0; round < 60; round++) {
            for (size_t i = 0; i < N; i++) x[i] = -104.0f + (float)(193.0 * ((double)i + round / 60.0) / N);
            kd_ops_get()->exp(y, x, N);
            for (size_t i = 0; i < N; i++) {
                double want = exp((double)x[i]);
                if (want > 3.4028234e38) {
                    assert_true(isinf(y[i]) && y[i] > 0);
                    continue;
                }
                if (want >= 1.17549435e-38) {
                    double u = ulps(y[i], want);
                    worst = u > worst ? u : worst;
                } else
                    assert_true(fabs((double)y[i] - want) <= 3e-45);
            }
        }
        if (!(worst <= 2)) fail_msg("%s: exp is %.3f ulp off", levels[l], worst);
        print_message("# exp, %s: worst %.3f ulp\n", levels[l], worst);
        float odd[5] = {INFINITY, -INFINITY, NAN, 0.0f, 200.0f}, out[5];
        kd_ops_get()->exp(out, odd, 5);
        assert_true(isinf(out[0]) && out[0] > 0);
        assert_true(out[1] >= 0 && out[1] < 1e-44f);
        assert_true(isnan(out[2]));
        assert_true(out[3] == 1.0f);
        assert_true(isinf(out[4]));
    }
    kd_cpu_cap(NULL);
}

static void norms_and_gates(void **state) {
    (void)state;
    static const size_t widths[] = {1, 3, 8, 16, 17, 64, 100, 576, 1030};
    float x[2 * 1030], w[1030], y[2 * 1030], u[2 * 1030], rstd[2];
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        for (size_t k = 0; k < sizeof widths / sizeof *widths; k++) {
            size_t C = widths[k];
            fill(x, 2 * C, k, 2), fill(w, C, 50 + k, 1), fill(u, 2 * C, 70 + k, 1);
            kd_rmsnorm(y, rstd, x, w, 2, C, 1e-5f);
            for (size_t n = 0; n < 2; n++) {
                double ms = 0;
                for (size_t c = 0; c < C; c++) ms += (double)x[n * C + c] * (double)x[n * C + c];
                double r = 1 / sqrt(ms / (double)C + (double)1e-5f);
                assert_true(fabs((double)rstd[n] - r) <= 4e-7 * r);
                for (size_t c = 0; c < C; c++) {
                    double want = (double)w[c] * (double)x[n * C + c] * r;
                    assert_true(fabs((double)y[n * C + c] - want) <= 6e-7 * fabs(want) + 1e-30);
                }
            }
            kd_swiglu(y, x, u, 2 * C);
            for (size_t i = 0; i < 2 * C; i++) {
                double want = (double)x[i] / (1 + exp(-(double)x[i])) * (double)u[i];
                assert_true(fabs((double)y[i] - want) <= 6e-7 * fabs(want) + 1e-30);
            }
            double d = 0, size = 0;
            for (size_t c = 0; c < C; c++) d += (double)x[c] * (double)w[c], size += fabs((double)x[c] * (double)w[c]);
            assert_true(fabs((double)kd_dot_f32(x, w, C) - d) <= 1e-6 * size);
            memcpy(y, u, C * sizeof *y);
            kd_axpy_f32(y, 0.7f, x, C);
            for (size_t c = 0; c < C; c++)
                assert_true(fabs((double)y[c] - ((double)u[c] + (double)0.7f * (double)x[c])) <=
                            3e-7 * (fabs((double)y[c]) + fabs((double)x[c])));
        }
        float g[3] = {-200.0f, 200.0f, -INFINITY}, one[3] = {1, 1, 1};
        kd_swiglu(g, g, one, 2);
        assert_true(fabsf(g[0]) < 1e-30f && g[1] == 200.0f);
    }
    kd_cpu_cap(NULL);
}

static void softmax_and_its_log(void **state) {
    (void)state;
    static const size_t sizes[] = {1, 2, 7, 16, 31, 257, 4099};
    float v[4099], p[4099];
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
            size_t n = sizes[k];
            fill(v, n, k + 9, 5);
            memcpy(p, v, sizeof p);
            double m = -INFINITY, sum = 0;
            for (size_t i = 0; i < n; i++) m = fmax(m, (double)v[i]);
            for (size_t i = 0; i < n; i++) sum += exp((double)v[i] - m);
            double lse = kd_logsumexp(v, n), lse2 = kd_softmax(p, n), total = 0;
            assert_true(fabs(lse - (m + log(sum))) < 1e-6); /* v - m is rounded to f32: 2^-24 of some 20 */
            assert_true(lse == lse2);
            for (size_t i = 0; i < n; i++) {
                double want = exp((double)v[i] - m) / sum;
                /* v - m is rounded to f32 before exp: that much relative error comes in */
                assert_true(fabs((double)p[i] - want) <= (5e-7 + 6e-8 * fabs((double)v[i] - m)) * want + 1e-37);
                total += (double)p[i];
            }
            assert_true(fabs(total - 1) < 1e-6);
        }
    }
    kd_cpu_cap(NULL);
}

static void rope_and_back(void **state) {
    (void)state;
    enum { P = 40, D = 24, HEADS = 3, N = 4, LD = HEADS * D + 5 };
    float inv[D / 2], c[P * D / 2], s[P * D / 2], x[N * LD], y[N * LD];
    int32_t pos[N] = {0, 1, 17, 39};
    for (size_t j = 0; j < D / 2; j++) inv[j] = (float)pow(10000.0, -2.0 * (double)j / D);
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        fill(x, N * LD, 4, 1);
        memcpy(y, x, sizeof y);
        kd_rope_table(c, s, P, inv, D, 1.0f);
        kd_rope(y, LD, pos, c, s, N, HEADS, D);
        for (size_t n = 0; n < N; n++)
            for (size_t h = 0; h < HEADS; h++)
                for (size_t j = 0; j < D / 2; j++) {
                    double a = (double)((float)pos[n] * inv[j]), p = (double)x[n * LD + h * D + j],
                           q = (double)x[n * LD + h * D + j + D / 2];
                    assert_true(fabs((double)y[n * LD + h * D + j] - (p * cos(a) - q * sin(a))) < 4e-7);
                    assert_true(fabs((double)y[n * LD + h * D + j + D / 2] - (q * cos(a) + p * sin(a))) < 4e-7);
                }
        for (size_t n = 0; n < N; n++) assert_memory_equal(&y[n * LD + HEADS * D], &x[n * LD + HEADS * D], 5 * sizeof *x);
        kd_rope_backward(y, LD, pos, c, s, N, HEADS, D); /* the transpose of a rotation undoes it */
        for (size_t i = 0; i < N * LD; i++) assert_true(fabsf(y[i] - x[i]) < 2e-6f);
    }
    kd_cpu_cap(NULL);
}

typedef struct {
    size_t len, H, G, D, page_rows;
    kd_dtype type;
} att;

/* Keys and values [len, G, D] in pages as attention reads them; what no position fills is NaN. */
typedef struct {
    char *k, *v;
    const void **kp, **vp;
    kd_kv_view view;
} pages;
static pages pages_of(const float *k, const float *v, size_t len, size_t G, size_t D, size_t page_rows, kd_dtype type) {
    pages p;
    size_t rb, n = (len + page_rows - 1) / page_rows, head;
    assert_true(kd_dtype_row_bytes((int)type, D, &rb));
    head = page_rows * rb;
    p.k = kd_malloc(n * G * head), p.v = kd_malloc(n * G * head), p.kp = kd_malloc(n * sizeof *p.kp), p.vp = kd_malloc(n * sizeof *p.vp);
    memset(p.k, 0xff, n * G * head), memset(p.v, 0xff, n * G * head);
    for (size_t i = 0; i < n; i++)
        p.kp[i] = p.k + (n - 1 - i) * G * head, p.vp[i] = p.v + (n - 1 - i) * G * head; /* in another order than used */
    for (size_t s = 0; s < len; s++)
        for (size_t g = 0; g < G; g++) {
            char *to = (char *)(size_t)p.vp[s / page_rows] + g * head + s % page_rows * rb;
            kd_kv_put_key((char *)(size_t)p.kp[s / page_rows] + g * head, (int)type, s % page_rows, k + (s * G + g) * D, D);
            if (type == KD_F32)
                memcpy(to, v + (s * G + g) * D, rb);
            else
                assert_int_equal(kd_quantize(type, v + (s * G + g) * D, to, D, NULL, NULL), KD_OK);
        }
    p.view = (kd_kv_view){p.kp, p.vp, page_rows, rb, head, (int)type};
    return p;
}
static void pages_clear(pages *p) { kd_free(p->k), kd_free(p->v), kd_free(p->kp), kd_free(p->vp); }

static void attend_one(const att *a, const char *level) {
    size_t rb, R = a->H / a->G, D = a->D, n = a->len * a->G;
    assert_true(kd_dtype_row_bytes((int)a->type, D, &rb));
    float *kf = kd_malloc(n * D * 4), *vf = kd_malloc(n * D * 4), *q = kd_malloc(a->H * D * 4), *out = kd_malloc(a->H * D * 4);
    float *work = kd_malloc(a->H * (a->len + 16) * 4);
    double *p = kd_malloc(a->len * 8);
    char *row = kd_malloc(rb);
    fill(kf, n * D, 1, 1), fill(vf, n * D, 2, 1), fill(q, a->H * D, 3, 1.5f);
    pages at = pages_of(kf, vf, a->len, a->G, D, a->page_rows, a->type);
    for (size_t i = 0; i < n && a->type != KD_F32; i++) { /* what is stored */
        assert_int_equal(kd_quantize(a->type, kf + i * D, row, D, NULL, NULL), KD_OK), kd_dequantize(a->type, row, kf + i * D, D);
        assert_int_equal(kd_quantize(a->type, vf + i * D, row, D, NULL, NULL), KD_OK), kd_dequantize(a->type, row, vf + i * D, D);
    }
    float scale = 1.0f / sqrtf((float)D);
    kd_attend(out, q, &at.view, a->len, a->H, a->G, D, scale, work);
    for (size_t h = 0; h < a->H; h++) {
        double m = -INFINITY, sum = 0;
        for (size_t s = 0; s < a->len; s++) {
            p[s] = 0;
            for (size_t d = 0; d < D; d++) p[s] += (double)q[h * D + d] * (double)kf[(s * a->G + h / R) * D + d];
            p[s] *= (double)scale;
            m = fmax(m, p[s]);
        }
        for (size_t s = 0; s < a->len; s++) p[s] = exp(p[s] - m), sum += p[s];
        for (size_t d = 0; d < D; d++) {
            double want = 0;
            for (size_t s = 0; s < a->len; s++) want += p[s] / sum * (double)vf[(s * a->G + h / R) * D + d];
            if (!(fabs((double)out[h * D + d] - want) < 5e-6))
                fail_msg("%s len %zu H %zu G %zu D %zu %s: out[%zu,%zu] %.8g not %.8g", level, a->len, a->H, a->G, D,
                         kd_dtype_get((int)a->type)->name, h, d, (double)out[h * D + d], want);
        }
    }
    pages_clear(&at);
    kd_free(kf), kd_free(vf), kd_free(q), kd_free(out), kd_free(work), kd_free(p), kd_free(row);
}

static void attention(void **state) {
    (void)state;
    static const att cases[] = {
        {1, 1, 1, 8, 16, KD_F32},    {5, 4, 2, 12, 16, KD_F32},      {33, 9, 3, 64, 16, KD_F32},  {100, 14, 2, 64, 32, KD_F16},
        {17, 6, 1, 80, 16, KD_F16},  {257, 16, 8, 128, 64, KD_F16},  {70, 9, 3, 64, 16, KD_Q8_0}, {300, 10, 1, 96, 32, KD_Q8_0},
        {19, 5, 5, 20, 16, KD_F16},  {40, 12, 1, 512, 16, KD_F32},   {31, 7, 7, 40, 48, KD_F32},  {391, 20, 2, 128, 32, KD_F16},
        {150, 2, 2, 72, 16, KD_F16}, {200, 48, 1, 64, 160, KD_Q8_0},
    };
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) attend_one(&cases[i], levels[l]);
    }
    kd_cpu_cap(NULL);
}

/* Many rows in one call, and each alone; pages of another size: the same bits. Heads that make few query vectors of a row, and many. */
static void rows_alone_and_together(size_t D, size_t R, size_t ROWS, size_t LEN, kd_dtype type) {
    const size_t G = 2, ALL = LEN + ROWS - 1, LD = G * R * D, one_page = (ALL + 15) / 16 * 16;
    float *k = kd_malloc(ALL * G * D * 4), *v = kd_malloc(ALL * G * D * 4), *q = kd_malloc(ROWS * LD * 4), *one = kd_calloc(ROWS * LD, 4),
          *many = kd_calloc(ROWS * LD, 4);
    fill(k, ALL * G * D, 1, 1), fill(v, ALL * G * D, 2, 1), fill(q, ROWS * LD, 3, 2);
    pages small = pages_of(k, v, ALL, G, D, 16, type), whole = pages_of(k, v, ALL, G, D, one_page, type);
    for (size_t g = 0; g < G; g++) {
        for (size_t n = 0; n < ROWS; n++)
            kd_attend_rows(one + n * LD + g * R * D, LD, q + n * LD + g * R * D, LD, 1, &small.view, LEN + n, g, R, D, 0.2f);
        kd_attend_rows(many + g * R * D, LD, q + g * R * D, LD, ROWS, &whole.view, LEN, g, R, D, 0.2f);
    }
    assert_memory_equal(one, many, ROWS * LD * sizeof *one);
    for (size_t d = 0; d < D; d++)
        v[(ALL - 1) * G * D + d] = k[(ALL - 1) * G * D + d] = NAN; /* what only the last row sees, only it feels */
    pages_clear(&whole);
    whole = pages_of(k, v, ALL, G, D, one_page, type);
    kd_attend_rows(many, LD, q, LD, ROWS, &whole.view, LEN, 0, R, D, 0.2f);
    assert_memory_equal(one, many, (ROWS - 1) * LD * sizeof *one);
    assert_true(many[(ROWS - 1) * LD] != one[(ROWS - 1) * LD]); /* NaN, but for what blocks of 8 bits make of it */
    pages_clear(&whole), pages_clear(&small);
    kd_free(k), kd_free(v), kd_free(q), kd_free(one), kd_free(many);
}
static void attention_rows_do_not_feel_each_other(void **state) {
    (void)state;
    for (size_t l = 0; l < level_count(); l++) {
        kd_cpu_cap(levels[l]);
        rows_alone_and_together(40, 5, 23, 171, KD_F32);
        rows_alone_and_together(64, 7, 20, 250, KD_F16);
        rows_alone_and_together(64, 1, 33, 1, KD_F16);
        rows_alone_and_together(80, 3, 9, 120, KD_F16);
        rows_alone_and_together(128, 8, 7, 300, KD_F16);
        rows_alone_and_together(64, 4, 11, 129, KD_Q8_0);
    }
    kd_cpu_cap(NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(exp_within_two_ulp),  cmocka_unit_test(norms_and_gates),
                                       cmocka_unit_test(softmax_and_its_log), cmocka_unit_test(rope_and_back),
                                       cmocka_unit_test(attention),           cmocka_unit_test(attention_rows_do_not_feel_each_other)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
