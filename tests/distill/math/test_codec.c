/* tests/distill/math/test_codec.c - reading and the formula writers: oracle bytes, equality of every instruction set, edges. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/codec_blocks.h"
#include "tests/distill/math/hard_rows.h"
#include "tests/distill/math/quant_oracle.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const char *const levels[] = {"scalar", "avx2", "avx512"};
static const kd_dtype readable[] = {KD_F32,  KD_F16,  KD_BF16, KD_F64,  KD_F8_E4M3, KD_Q8_0, KD_Q4_0,   KD_Q4_1,   KD_Q5_0,
                                    KD_Q5_1, KD_Q2_K, KD_Q3_K, KD_Q4_K, KD_Q5_K,    KD_Q6_K, KD_IQ4_NL, KD_IQ4_XS, KD_MXFP4};
static const kd_dtype formula[] = {KD_F32, KD_F16, KD_BF16, KD_Q8_0, KD_Q4_0, KD_Q4_1, KD_Q5_0, KD_Q5_1};
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* Bits, with every NaN counted equal to every other. */
static void same_floats(const float *a, const float *b, size_t n, const char *what) {
    for (size_t i = 0; i < n; i++) {
        uint32_t u, v;
        memcpy(&u, a + i, 4);
        memcpy(&v, b + i, 4);
        if (u != v && !(isnan(a[i]) && isnan(b[i]))) fail_msg("%s: value %zu is %a, expected %a", what, i, (double)a[i], (double)b[i]);
    }
}

static void reads_as_ggml(void **state) {
    (void)state;
    int seen = 0;
    for (size_t t = 0; t < COUNT(readable); t++) {
        for (int im = 0; im < 2; im++) {
            char name[64];
            snprintf(name, sizeof name, "%s%s.bytes", kd_dtype_get(readable[t])->name, im ? ".im" : "");
            const char *bytes = oracle_get(name, NULL);
            snprintf(name, sizeof name, "%s%s.values", kd_dtype_get(readable[t])->name, im ? ".im" : "");
            const float *values = oracle_get(name, NULL);
            if (!bytes) continue;
            seen++;
            for (size_t l = 0; l < COUNT(levels); l++) {
                static float got[ORACLE_ROWS * ORACLE_COLS];
                assert_true(kd_cpu_cap(levels[l]));
                kd_dequantize(readable[t], bytes, got, ORACLE_ROWS * ORACLE_COLS);
                same_floats(got, values, ORACLE_ROWS * ORACLE_COLS, name);
            }
        }
    }
    assert_int_equal(seen, 15 + 11); /* every type of the oracle, and those with importance */
    kd_cpu_cap(NULL);
}

static void writes_ggmls_bytes(void **state) {
    (void)state;
    const float *source = oracle_get("source", NULL);
    for (size_t t = 0; t < COUNT(formula); t++) {
        char name[64];
        size_t size, row;
        snprintf(name, sizeof name, "%s.bytes", kd_dtype_get(formula[t])->name);
        const unsigned char *bytes = formula[t] == KD_F32 ? oracle_get("source", &size) : oracle_get(name, &size);
        assert_true(kd_dtype_row_bytes((int)formula[t], ORACLE_COLS, &row) && row * ORACLE_ROWS == size);
        for (size_t l = 0; l < COUNT(levels); l++) {
            unsigned char got[ORACLE_COLS * 4];
            assert_true(kd_cpu_cap(levels[l]));
            for (size_t r = 0; r < ORACLE_ROWS; r++) {
                assert_int_equal(kd_quantize(formula[t], source + r * ORACLE_COLS, got, ORACLE_COLS, NULL, NULL), KD_OK);
                for (size_t i = 0; i < row; i++)
                    if (got[i] != bytes[r * row + i])
                        fail_msg("%s (%s): row %zu byte %zu is %02x, expected %02x", name, levels[l], r, i, got[i], bytes[r * row + i]);
            }
        }
    }
    kd_cpu_cap(NULL);
}

/* Random bytes are blocks too: every level reads the same, on any alignment, and nothing is undefined. */
static void levels_read_the_same(void **state) {
    (void)state;
    enum { N = 4 * 256 };
    kd_rng rng = {.key = 7};
    for (size_t t = 0; t < COUNT(readable); t++) {
        for (int round = 0; round < 50; round++) {
            static unsigned char raw[N * 8 + 8];
            static float want[N], got[N];
            size_t bytes, shift = kd_rng_below(&rng, 8), n = kd_dtype_get(readable[t])->block == 1 ? N - kd_rng_below(&rng, 40) : N;
            assert_true(kd_dtype_row_bytes((int)readable[t], n, &bytes));
            for (size_t i = 0; i < bytes; i++) raw[shift + i] = (unsigned char)kd_rng_u32(&rng);
            kd_cpu_cap("scalar");
            kd_dequantize(readable[t], raw + shift, want, n);
            for (size_t l = 1; l < COUNT(levels); l++) {
                kd_cpu_cap(levels[l]);
                kd_dequantize(readable[t], raw + shift, got, n);
                same_floats(got, want, n, kd_dtype_get(readable[t])->name);
            }
        }
    }
    kd_cpu_cap(NULL);
}

static void levels_write_the_same(void **state) {
    (void)state;
    enum { N = 512 };
    kd_rng rng = {.key = 8};
    for (size_t t = 0; t < COUNT(formula); t++) {
        for (int round = 0; round < HARD_KINDS * 4; round++) {
            static float x[N];
            static unsigned char want[N * 4 + 8], got[N * 4 + 8];
            size_t bytes, shift = kd_rng_below(&rng, 8), n = kd_dtype_get(formula[t])->block == 1 ? N - kd_rng_below(&rng, 40) : N;
            hard_row(&rng, round % HARD_KINDS, x, n);
            assert_true(kd_dtype_row_bytes((int)formula[t], n, &bytes));
            kd_cpu_cap("scalar");
            assert_int_equal(kd_quantize(formula[t], x, want + shift, n, NULL, NULL), KD_OK);
            for (size_t l = 1; l < COUNT(levels); l++) {
                kd_cpu_cap(levels[l]);
                memset(got, 0xaa, sizeof got);
                assert_int_equal(kd_quantize(formula[t], x, got + shift, n, NULL, NULL), KD_OK);
                for (size_t i = 0; i < bytes; i++)
                    if (got[shift + i] != want[shift + i])
                        fail_msg("%s (%s): kind %d byte %zu is %02x, scalar %02x", kd_dtype_get(formula[t])->name, levels[l],
                                 round % HARD_KINDS, i, got[shift + i], want[shift + i]);
                assert_int_equal(got[shift + bytes], 0xaa); /* nothing beyond the row */
            }
        }
    }
    kd_cpu_cap(NULL);
}

/* Every f16 there is; f32 -> f16 at and around every rounding border. */
static void halves(void **state) {
    (void)state;
    for (uint32_t h = 0; h < 65536; h++) {
        float f = kd_f16_to_f32((uint16_t)h);
        int e = h >> 10 & 31;
        double m = h & 1023, want = e == 0 ? ldexp(m, -24) : ldexp(1024 + m, e - 25);
        if (e == 31) {
            assert_true(m != 0 ? isnan(f) : isinf(f));
        } else {
            assert_true((double)f == (h & 0x8000 ? -want : want));
            assert_int_equal(!!signbit(f), h >> 15);
        }
        assert_int_equal(kd_f32_to_f16(f), e == 31 && m != 0 ? h | 0x200 : h);
        if (e < 30 && !(h & 0x8000)) { /* halfway to the next goes to the even one, a hair beside it to the near one */
            float next = kd_f16_to_f32((uint16_t)(h + 1)), mid = f + (next - f) / 2;
            assert_int_equal(kd_f32_to_f16(mid), h + (h & 1));
            assert_int_equal(kd_f32_to_f16(nextafterf(mid, 0)), h);
            assert_int_equal(kd_f32_to_f16(-nextafterf(mid, INFINITY)), (h + 1) | 0x8000);
        }
    }
    assert_int_equal(kd_f32_to_f16(65519.996f), 0x7bff);
    assert_int_equal(kd_f32_to_f16(65520.0f), 0x7c00);
    assert_int_equal(kd_f32_to_f16(3e38f), 0x7c00);
    assert_int_equal(kd_f32_to_f16(1e-30f), 0);
    assert_int_equal(kd_f32_to_bf16(1.00390625f), 0x3f80); /* halfway, to even */
    assert_int_equal(kd_f32_to_bf16(1.01171875f), 0x3f82);
    assert_int_equal(kd_f32_to_bf16(3.4e38f), 0x7f80);
    assert_true(isnan(kd_bf16_to_f32(kd_f32_to_bf16(NAN))));
}

/* Conversions of arrays agree with those of single values over all bit patterns of a stride that visits every exponent, NaNs too. */
static void arrays_of_halves(void **state) {
    (void)state;
    enum { N = 4096 };
    static float x[N];
    static uint16_t h[N], b[N];
    for (uint32_t base = 0; base < 0xffffffffu - N * 2053u; base += N * 2053u) {
        for (uint32_t i = 0; i < N; i++) {
            uint32_t u = base + i * 2053u;
            memcpy(x + i, &u, 4);
        }
        kd_quantize(KD_F16, x, h, N, NULL, NULL);
        kd_quantize(KD_BF16, x, b, N, NULL, NULL);
        for (uint32_t i = 0; i < N; i++) {
            assert_int_equal(h[i], kd_f32_to_f16(x[i]));
            assert_int_equal(b[i], kd_f32_to_bf16(x[i]));
        }
    }
}

static void f8_values(void **state) {
    (void)state;
    unsigned char q[256];
    float y[256];
    for (int i = 0; i < 256; i++) q[i] = (unsigned char)i;
    kd_dequantize(KD_F8_E4M3, q, y, 256);
    for (int i = 0; i < 256; i++) {
        int e = i >> 3 & 15, m = i & 7;
        double want = e == 0 ? ldexp(m, -9) : ldexp(8 + m, e - 10);
        if ((i & 127) == 127)
            assert_true(isnan(y[i]));
        else
            assert_true((double)y[i] == (i & 128 ? -want : want));
    }
    assert_true(y[0x7e] == 448.0f);
}

static void finiteness(void **state) {
    (void)state;
    static float x[300];
    const float bad[] = {INFINITY, -INFINITY, NAN};
    for (size_t l = 0; l < COUNT(levels); l++) {
        kd_cpu_cap(levels[l]);
        for (size_t n = 0; n < 300; n += 1 + n / 7) {
            for (size_t i = 0; i < n; i++) x[i] = i % 2 ? 3.4e38f : -1e-45f;
            assert_true(kd_all_finite(x, n));
            for (size_t i = 0; i < n; i++) {
                float keep = x[i];
                x[i] = bad[i % 3];
                assert_false(kd_all_finite(x, n));
                x[i] = keep;
            }
        }
    }
    kd_cpu_cap(NULL);
}

static void refusals(void **state) {
    (void)state;
    kd_err e;
    float x[64] = {0};
    unsigned char out[512];
    assert_int_equal(kd_quantize(KD_Q4_0, x, out, 33, NULL, &e), KD_EINVAL);
    assert_non_null(strstr(e.msg, "q4_0"));
    assert_int_equal(kd_quantize(KD_I32, x, out, 32, NULL, &e), KD_EUNSUPPORTED);
    assert_non_null(strstr(e.msg, "i32"));
    assert_int_equal(kd_quantize((kd_dtype)77, x, out, 32, NULL, &e), KD_EUNSUPPORTED);
    assert_int_equal(kd_quantize(KD_Q4_0, x, out, 0, NULL, &e), KD_OK);
    for (int t = -3; t < 200; t++) {
        bool want = false;
        for (size_t i = 0; i < COUNT(readable); i++) want |= (int)readable[i] == t;
        assert_int_equal(kd_can_read(t), want);
    }
    for (int t = -3; t < 200; t++) /* all but these two */
        assert_int_equal(kd_can_write(t), kd_can_read(t) && t != KD_F64 && t != KD_F8_E4M3);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_as_ggml),
        cmocka_unit_test(writes_ggmls_bytes),
        cmocka_unit_test(levels_read_the_same),
        cmocka_unit_test(levels_write_the_same),
        cmocka_unit_test(halves),
        cmocka_unit_test(arrays_of_halves),
        cmocka_unit_test(f8_values),
        cmocka_unit_test(finiteness),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
