/* 8-bit moments: every code comes back as itself, rounding is fair on average and never takes sqrt(v) to 0, a step is a function of its inputs. */
#include "distill/math/adam8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

static void test_codes(void **state) {
    (void)state;
    uint8_t codes[256], again[256];
    float x[256];
    const uint16_t none[256] = {0};
    for (int i = 0; i < 256; i++) codes[i] = (uint8_t)i;
    kd_adam8_read_v(x, codes, 3.0f, 256);
    assert_true(x[0] == 0 && fabsf(x[255] - 3.0f * 1.9375f) < 1e-6f);
    for (int i = 2; i < 256; i++) assert_true(x[i] > x[i - 1]);
    assert_true(fabsf(kd_adam8_write_v(again, x, none, 256) / 3.0f - 1) < 1e-6f);
    for (int i = 1; i < 256; i++) assert_true(again[i] == i || again[i] + 1 == i); /* a last bit of the division may fall below */
    kd_adam8_read_m(x, codes, 2.0f, 128);
    for (int i = 1; i < 128; i++) assert_true(x[i] > x[i - 1]);
}

static void test_rounding(void **state) {
    (void)state;
    float x[256], back[256];
    uint8_t codes[256];
    uint16_t bits[256];
    double sum[3] = {0};
    const float value[3] = {0.3137f, 7.3e-5f, 4e-6f}; /* in the grid; near its foot; below code 1 */
    for (int k = 0; k < 3; k++) {
        x[0] = 1.875f;
        for (int i = 1; i < 256; i++) x[i] = -value[k];
        for (int t = 0; t < 256; t++) {
            for (int i = 0; i < 256; i++) bits[i] = (uint16_t)(t * 256 + i);
            const float s = kd_adam8_write_m(codes, x, bits, 256);
            kd_adam8_read_m(back, codes, s, 256);
            for (int i = 1; i < 256; i++) sum[k] -= (double)back[i];
        }
        assert_true(fabs(sum[k] / (255.0 * 256) / (double)value[k] - 1) < 0.01);
    }
    x[0] = 1;
    for (int i = 1; i < 256; i++) x[i] = 1e-20f;
    memset(bits, 0xff, sizeof bits);
    (void)kd_adam8_write_v(codes, x, bits, 256);
    for (int i = 0; i < 256; i++) assert_true(codes[i] > 0);
    memset(x, 0, sizeof x);
    assert_true(kd_adam8_write_v(codes, x, bits, 256) == 0 && codes[9] == 0);
}

/* The first step from nothing is AdamW's own: what is rounded only counts in the next. */
static void test_step(void **state) {
    (void)state;
    enum { N = 600 };
    static float p[3][N], g[N], m32[N], v32[N], ms[3], vs[3];
    static uint8_t m[2][N], v[2][N];
    const kd_adamw o = {.lr = 0.01f,
                        .beta1 = 0.9f,
                        .beta2 = 0.999f,
                        .eps = 1e-8f,
                        .decay = 0.1f,
                        .correct1 = 1 - (double)0.9f,
                        .correct2 = 1 - (double)0.999f};
    for (int i = 0; i < N; i++) {
        g[i] = (float)sin(i * 1.7) * (float)pow(10, -(i % 6));
        p[0][i] = p[1][i] = p[2][i] = (float)cos(i);
    }
    kd_adamw_step(p[0], g, m32, v32, N, 0.5f, &o);
    for (int k = 0; k < 2; k++) {
        memset(ms, 0, sizeof ms);
        memset(vs, 0, sizeof vs);
        kd_adam8_step(p[1 + k], g, m[k], ms, v[k], vs, N, 0.5f, &o, 7, 1, 256);
    }
    assert_memory_equal(p[1], p[2], sizeof p[1]);
    assert_memory_equal(m[0], m[1], N);
    assert_memory_equal(v[0], v[1], N);
    for (int i = 0; i < N; i++) assert_true(fabsf(p[0][i] - p[1][i]) < 1e-5f);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_codes), cmocka_unit_test(test_rounding), cmocka_unit_test(test_step)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
