/* tests/distill/engine/test_loop.c - when the loop guard speaks, and when it must not. */
#include "distill/base/rng.h"
#include "distill/engine/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

/* Where it trips on an answer whose token i is at(i); n if never. */
static size_t trips(size_t n, int32_t (*at)(size_t)) {
    static int32_t t[20000];
    static kd_loop l;
    memset(&l, 0, sizeof l);
    for (size_t i = 0; i < n; i++) {
        t[i] = at(i);
        if (kd_loop_push(&l, t, i + 1)) return i + 1;
    }
    return n;
}
static int32_t one(size_t i) {
    (void)i;
    return 5;
}
static int32_t cycle(size_t i) { /* 100 tokens of sense, then 37 that repeat */
    return i < 100 ? (int32_t)(1000 + i) : (int32_t)((i - 100) % 37);
}
static int32_t long_cycle(size_t i) { return (int32_t)(i % 512); }
static int32_t too_long(size_t i) { return (int32_t)(i % 513); }
static int32_t noise(size_t i) { return (int32_t)(kd_rng_at(1, 2, i) % 12); }
static int32_t table(size_t i) { /* rows alike but for a number that counts */
    return i % 8 == 3 ? (int32_t)(100 + i / 8) : (int32_t)(i % 8);
}
static int32_t equal_rows(size_t i) { /* 20 equal rows of 8, and then something else */
    return i % 200 < 160 ? (int32_t)(i % 8) : (int32_t)(50 + i);
}

static void rule(void **state) {
    (void)state;
    assert_int_equal(trips(5000, one), 193);
    assert_int_equal(trips(5000, cycle), 100 + 37 + 192);
    assert_int_equal(trips(5000, long_cycle), 512 * 5);
    assert_int_equal(trips(19000, too_long), 19000);
    assert_int_equal(trips(19000, noise), 19000);
    assert_int_equal(trips(19000, table), 19000);
    assert_int_equal(trips(19000, equal_rows), 19000);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(rule)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
