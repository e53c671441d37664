/* tests/teacher/test_prices.c - prices from a table, what usage costs, and that no usage costs more than its worst case. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>

#include "distill/base/file.h"
#include "distill/base/rng.h"
#include "teacher/prices.h"

static char path[] = "/tmp/kd-prices-XXXXXX";

static bool near(double a, double b) { return a - b < 1e-12 && b - a < 1e-12; }

static void test_cost(void **state) {
    (void)state;
    kd_prices p = {1, 4, 0.1, -1};
    kd_usage u = {1000, 500, 300, 600, 1500};
    assert_true(near(kd_prices_cost(&p, &u), (400 * 1 + 600 * 0.1 + 500 * 4) / 1e6));
    p.reasoning = 8;
    assert_true(near(kd_prices_cost(&p, &u), (400 * 1 + 600 * 0.1 + 200 * 4 + 300 * 8) / 1e6));
    u = (kd_usage){1000, 200, 300, -1, 1500}; /* reasoning stands beside the completion */
    assert_true(near(kd_usage_tokens(&u), 1500));
    assert_true(near(kd_prices_cost(&p, &u), (1000 * 1 + 200 * 4 + 300 * 8) / 1e6));
    u = (kd_usage){-1, -1, -1, -1, -1};
    assert_false(kd_usage_known(&u));
    assert_true(near(kd_prices_cost(&p, &u), 0));
    kd_rng r = {.key = 1};
    for (int i = 0; i < 10000; i++) { /* however the tokens are told apart, the worst case covers them */
        kd_prices q = {(double)kd_rng_below(&r, 10), (double)kd_rng_below(&r, 10), (double)kd_rng_below(&r, 12) - 1,
                       (double)kd_rng_below(&r, 12) - 1};
        int64_t in = (int64_t)kd_rng_below(&r, 1000), out = (int64_t)kd_rng_below(&r, 1000);
        kd_usage w = {in, out, (int64_t)kd_rng_below(&r, (uint64_t)out + 1), (int64_t)kd_rng_below(&r, 2000), in + out};
        assert_true(kd_prices_cost(&q, &w) <= kd_prices_worst(&q, (double)in, (double)out) + 1e-15);
    }
}

static kd_code read_table(const char *table, const char *model, kd_prices *p, kd_err *e) {
    *p = KD_PRICES_NONE;
    assert_int_equal(kd_file_write(path, table, strlen(table), NULL), KD_OK);
    return kd_prices_read(p, path, model, e);
}

static void test_table(void **state) {
    (void)state;
    kd_prices p;
    kd_err e = {0};
    assert_int_equal(read_table("{\"a\":{\"input\":1,\"output\":2},\"b\":{\"input\":3,\"output\":4,\"cached\":0.5,\"reasoning\":6}}", "b",
                                &p, &e),
                     KD_OK);
    assert_true(p.input == 3 && p.output == 4 && p.cached == 0.5 && p.reasoning == 6);
    assert_int_equal(
        read_table("{\"m\":{\"input_cost_per_token\":1.5e-07,\"output_cost_per_token\":6e-07,\"cache_read_input_token_cost\":7.5e-08}}",
                   "openai/m", &p, &e),
        KD_OK);
    assert_true(near(p.input, 0.15) && near(p.output, 0.6) && near(p.cached, 0.075) && p.reasoning == -1);
    assert_int_equal(read_table("{\"m\":{\"input\":1,\"output\":2}}", "n", &p, &e), KD_ECONFIG);
    assert_non_null(strstr(e.msg, "no prices of the model n"));
    assert_int_equal(read_table("{\"m\":{\"input\":1}}", "m", &p, &e), KD_ECONFIG);
    assert_int_equal(read_table("{\"m\":{\"input\":-1,\"output\":2}}", "m", &p, &e), KD_ECONFIG);
    assert_int_equal(read_table("{\"m\":{\"input\":\"1\",\"output\":2}}", "m", &p, &e), KD_ECONFIG);
    assert_int_equal(read_table("{\"m\":[]}", "m", &p, &e), KD_ECONFIG);
    assert_int_equal(read_table("{", "m", &p, &e), KD_EFORMAT);
    unlink(path);
    assert_int_equal(kd_prices_read(&p, path, "m", &e), KD_ENOENT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cost), cmocka_unit_test(test_table)};
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    return cmocka_run_group_tests_name("prices", tests, NULL, NULL);
}
