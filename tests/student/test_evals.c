/* RUN/evals.jsonl: what comes back of it, how it is cut when a run goes back, which line is the best, and damaged files. Then the shares of mixed sources. */
#include "student/batch.h"
#include "student/evals.h"

#include "distill/base/file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char path[64];
static const kd_eval_line lines[] = {
    {0, 2.0, 3.0, 0.1, 20}, {10, 1.5, 3.1, 0.2, 20}, {20, 1.2, 3.2, 0.4, 20}, {30, 1.1, NAN, 0.4, 20}, {40, 1.3, NAN, 0.3, 20}};

static void put_lines(kd_evals *v, size_t n) {
    (void)remove(path);
    assert_int_equal(kd_evals_open(v, path, UINT64_MAX, NULL), KD_OK);
    for (size_t i = 0; i < n; i++) assert_int_equal(kd_evals_add(v, &lines[i], NULL), KD_OK);
}

static void test_again(void **state) {
    (void)state;
    kd_evals v, w;
    put_lines(&v, 5);
    assert_int_equal(kd_evals_open(&w, path, 30, NULL), KD_OK);
    assert_int_equal(w.n, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_true(w.at[i].step == lines[i].step && w.at[i].loss == lines[i].loss && w.at[i].pass1 == lines[i].pass1 &&
                    w.at[i].questions == 20);
        assert_true(isnan(lines[i].general) ? isnan(w.at[i].general) : w.at[i].general == lines[i].general);
    }
    kd_evals_clear(&w);
    assert_int_equal(kd_evals_open(&w, path, UINT64_MAX, NULL), KD_OK); /* the fifth line is gone from the file too */
    assert_int_equal(w.n, 4);
    assert_null(kd_evals_of(&w, 40));
    assert_non_null(kd_evals_of(&w, 30));
    kd_evals_clear(&w);
    kd_evals_clear(&v);
}

static void test_best(void **state) {
    (void)state;
    kd_evals v;
    put_lines(&v, 1);
    assert_null(kd_evals_best(&v)); /* nothing was trained yet */
    kd_evals_clear(&v);
    put_lines(&v, 5);
    assert_int_equal(kd_evals_best(&v)->step, 30); /* as many right as at 20, a lower loss */
    assert_int_equal(kd_evals_since_best(&v), 1);
    kd_evals_clear(&v);
}

static void test_damage(void **state) {
    (void)state;
    static const char *const bad[] = {
        "{\"step\":0}\n{\"step\":0}\n", "{\"step\":-1}\n", "{\"step\":5", "nothing\n", "{\"loss\":1}\n", "[1]\n", "\n"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_evals v;
        kd_err e = {0};
        assert_int_equal(kd_file_write(path, bad[i], strlen(bad[i]), NULL), KD_OK);
        assert_int_equal(kd_evals_open(&v, path, UINT64_MAX, &e), KD_EFORMAT);
        assert_non_null(strstr(e.msg, path));
    }
}

/* Any stretch of the row holds the shares to within one lesson a source; every source goes through all its lessons before one comes again; going back gives the same. */
static void test_mix(void **state) {
    (void)state;
    const kd_source_mix mix = {.sources = 3, .first = {0, 5, 105}, .n = {5, 100, 40}, .weight = {3, 1, 0.5}};
    kd_order o, p;
    size_t count[3] = {0}, seen[5] = {0};
    assert_int_equal(kd_order_mix(&o, &mix, true, 7, NULL), KD_OK);
    assert_int_equal(kd_order_mix(&p, &mix, true, 7, NULL), KD_OK);
    assert_int_equal(o.n, 145);
    for (size_t i = 0; i < 900; i++) {
        const size_t l = kd_order_at(&o, i), s = l < 5 ? 0 : l < 105 ? 1 : 2;
        assert_true(l < 145);
        count[s]++;
        for (size_t k = 0; k < 3; k++) assert_true(fabs((double)count[k] - (double)(i + 1) * mix.weight[k] / 4.5) <= 1.0);
        if (s == 0 && ++seen[l] > (count[0] + 4) / 5) fail_msg("lesson %zu came %zu times in %zu draws", l, seen[l], count[0]);
    }
    assert_int_equal(kd_order_at(&o, 3), kd_order_at(&p, 3));
    for (size_t i = 800; i-- > 780;) assert_int_equal(kd_order_at(&o, i), kd_order_at(&p, i));
    kd_order_clear(&o);
    kd_order_clear(&p);
}

static void test_mix_memory(void **state) {
    (void)state;
    const kd_source_mix mix = {.sources = 2, .first = {0, 5}, .n = {5, 3}, .weight = {1, 1}};
    kd_alloc_fail_at(0);
    kd_order o;
    assert_int_equal(kd_order_mix(&o, &mix, true, 1, NULL), KD_OK);
    const long n = kd_alloc_count();
    kd_order_clear(&o);
    for (long i = 1; i <= n; i++) {
        kd_alloc_fail_at(i);
        assert_int_equal(kd_order_mix(&o, &mix, true, 1, NULL), KD_ENOMEM);
    }
    kd_alloc_fail_at(0);
}

int main(void) {
    snprintf(path, sizeof path, "/tmp/kd-evals-%ld.jsonl", (long)getpid());
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_again), cmocka_unit_test(test_best), cmocka_unit_test(test_damage),
                                       cmocka_unit_test(test_mix), cmocka_unit_test(test_mix_memory)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    (void)remove(path);
    return rc;
}
