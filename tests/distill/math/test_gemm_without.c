/* tests/distill/math/test_gemm_without.c - the products where OpenBLAS is not there, or has no locks: held against OpenBLAS itself.
 * Takes the source in, so that it can pull the library away. */
#include "distill/math/gemm.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#include <math.h>

enum { M = 13, N = 9, K = 21 };
static float a[M * K], b[K * N];

static void all_ways(void (*each)(bool ta, bool tb, float alpha, float beta)) {
    static const float scale[] = {0, 1, -0.5f};
    for (int i = 0; i < M * K; i++) a[i] = (float)(i * 37 % 101) / 50 - 1;
    for (int i = 0; i < K * N; i++) b[i] = (float)(i * 53 % 97) / 48 - 1;
    for (int t = 0; t < 36; t++) each(t & 1, t & 2, scale[t / 4 % 3], scale[t / 12]);
}

static void sgemm_into(bool ta, bool tb, float alpha, float beta, float *c) {
    for (int i = 0; i < M * N; i++) c[i] = beta == 0 ? NAN : (float)i;
    kd_sgemm(ta, tb, M, N, K, alpha, a, ta ? M : K, b, tb ? K : N, beta, c, N);
}

static void compare(bool ta, bool tb, float alpha, float beta) {
    float with[M * N], without[M * N], locked[M * N];
    __typeof__(blas.sgemm) there = blas.sgemm;
    sgemm_into(ta, tb, alpha, beta, with);
    blas.sgemm = NULL;
    sgemm_into(ta, tb, alpha, beta, without);
    blas.sgemm = there;
    const bool had = blas.locked;
    blas.locked = true;
    sgemm_into(ta, tb, alpha, beta, locked);
    sgemm_into(ta, tb, alpha, beta, locked); /* the lock was given back */
    blas.locked = had;
    for (int i = 0; i < M * N; i++) assert_true(fabsf(with[i] - without[i]) <= 1e-5f * (fabsf(with[i]) + 1));
    assert_memory_equal(with, locked, sizeof with);
}

static void test_without(void **state) {
    (void)state;
    bool safe;
    assert_non_null(kd_blas_describe(&safe)); /* setup.sh installs one; without it there is nothing to hold this against */
    assert_true(safe);
    all_ways(compare);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_without)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
