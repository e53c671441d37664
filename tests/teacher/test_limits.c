/* tests/teacher/test_limits.c - buckets and the window of requests in flight, over times of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "teacher/limits.h"

static void test_bucket(void **state) {
    (void)state;
    kd_bucket b = kd_bucket_of(10, 5, 100), none = kd_bucket_of(0, 1, 100);
    int passed = 0;
    for (int ms = 0; ms <= 2000; ms++)
        while (kd_bucket_wait(&b, 1, 100 + ms / 1000.0) <= 0) kd_bucket_take(&b, 1), passed++;
    assert_in_range(passed, 24, 25); /* what it held, and 10 a second; the last may fall to rounding */
    assert_true(kd_bucket_wait(&none, 1e9, 100) == 0);
    b = kd_bucket_of(10, 5, 0);
    assert_true(kd_bucket_wait(&b, 50, 0) == 0); /* more than it can ever hold passes when it is full, and is paid for after */
    kd_bucket_take(&b, 50);
    assert_true(fabs(kd_bucket_wait(&b, 1, 0) - 4.6) < 1e-9);
    kd_bucket_take(&b, -1000); /* what is given back never overflows it */
    assert_true(b.level == 5);
}

static void test_pace(void **state) {
    (void)state;
    kd_pace p = kd_pace_of(64);
    assert_true(p.limit == 64);
    kd_pace_cut(&p, 1.0, 2.0);
    for (int i = 0; i < 63; i++) kd_pace_cut(&p, 1.5, 2.1); /* the burst: sent before the cut */
    assert_true(p.limit == 32);
    kd_pace_cut(&p, 2.5, 3.0);
    assert_true(p.limit == 16);
    for (int i = 0; i < 16; i++) kd_pace_answer(&p); /* a round of answers adds about one */
    assert_true(p.limit > 16.9 && p.limit < 17.01);
    for (int i = 0; i < 10000; i++) kd_pace_answer(&p);
    assert_true(p.limit == 64);
    for (int i = 0; i < 20; i++) kd_pace_cut(&p, 10 + i, 10 + i + 0.5);
    assert_true(p.limit == 1);
    kd_pace_hold(&p, 50);
    kd_pace_hold(&p, 40);
    assert_true(p.hold == 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bucket), cmocka_unit_test(test_pace)};
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
