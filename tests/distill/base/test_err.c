/* tests/distill/base/test_err.c */
#include "check.h"

#include <errno.h>

static void test_fill(void **state) {
    (void)state;
    kd_err e = {0};
    assert_int_equal(kd_fail(&e, KD_EFORMAT, "%s: tensor %s ends at byte %zu of %zu", "a.gguf", "w", (size_t)9, (size_t)7), KD_EFORMAT);
    assert_int_equal(e.code, KD_EFORMAT);
    assert_string_equal(e.msg, "a.gguf: tensor w ends at byte 9 of 7");
    assert_int_equal(kd_fail(NULL, KD_EBUG, "nobody listens %d", 1), KD_EBUG);
    kd_err_clear(&e);
    assert_int_equal(e.code, KD_OK);
    assert_string_equal(e.msg, "");
    kd_err_clear(NULL);
}

static void test_own_message_among_arguments(void **state) {
    (void)state;
    kd_err e = {0};
    (void)kd_fail(&e, KD_EIO, "inner");
    (void)kd_fail(&e, KD_EFORMAT, "outer: %s", e.msg);
    assert_string_equal(e.msg, "outer: inner");
}

static void test_cut_at_a_character(void **state) {
    (void)state;
    kd_err e = {0};
    char text[700];
    for (size_t shift = 0; shift < 4; shift++) { /* "€" is three bytes: wherever the end falls, no part of one stays */
        memset(text, 'x', shift);
        for (size_t i = shift; i + 3 < sizeof text; i += 3) memcpy(text + i, "\xe2\x82\xac", 4);
        (void)kd_fail(&e, KD_EIO, "%s", text);
        const size_t n = strlen(e.msg);
        assert_true(n >= sizeof e.msg - 3 && n < sizeof e.msg);
        assert_int_equal((n - shift) % 3, 0);
    }
}

static void test_errno(void **state) {
    (void)state;
    kd_err e = {0};
    char path[700];
    assert_int_equal(kd_fail_errno(&e, KD_ENOENT, ENOENT, "%s", "a/b"), KD_ENOENT);
    assert_string_equal(e.msg, "a/b: No such file or directory");
    memset(path, 'p', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    (void)kd_fail_errno(&e, KD_EIO, ENOSPC, "%s", path); /* a long path may not push the reason out */
    assert_non_null(strstr(e.msg, ": No space left on device"));
    assert_true(strlen(e.msg) < sizeof e.msg);
    assert_int_equal(kd_fail_errno(NULL, KD_EIO, ENOSPC, "x"), KD_EIO);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fill), cmocka_unit_test(test_own_message_among_arguments),
                                       cmocka_unit_test(test_cut_at_a_character), cmocka_unit_test(test_errno)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
