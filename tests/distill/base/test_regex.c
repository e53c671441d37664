/* tests/distill/base/test_regex.c */
#include "check.h"

#include "distill/base/regex.h"

static kd_regex *compile(const char *pattern) {
    kd_regex *r = NULL;
    kd_err e = {0};
    if (kd_regex_new(&r, pattern, strlen(pattern), &e)) fail_msg("%s", e.msg);
    return r;
}

static void test_find(void **state) {
    (void)state;
    kd_regex *r = compile("(\\p{L}+)|(\\d+)(x)?");
    static const char text[] = "  \xc3\xa9t\xc3\xa9 42";
    bool found;
    size_t s, t, g[10];
    kd_err e = {0};
    assert_int_equal(kd_regex_find(r, text, sizeof text - 1, 0, &found, &s, &t, g, 5, &e), KD_OK);
    assert_true(found && s == 2 && t == 7);
    assert_true(g[0] == 2 && g[1] == 7 && g[2] == 2 && g[3] == 7 && g[4] == (size_t)-1 && g[8] == (size_t)-1);
    assert_int_equal(kd_regex_find(r, text, sizeof text - 1, t, &found, &s, &t, g, 2, &e), KD_OK);
    assert_true(found && s == 8 && t == 10 && g[2] == (size_t)-1);
    assert_int_equal(kd_regex_find(r, text, sizeof text - 1, 10, &found, &s, &t, NULL, 0, &e), KD_OK);
    assert_false(found);
    assert_int_equal(kd_regex_find(r, text, 4, 5, &found, &s, &t, NULL, 0, &e), KD_EINVAL);
    assert_int_equal(kd_regex_find(r, NULL, 0, 0, &found, &s, &t, NULL, 0, &e), KD_OK);
    kd_regex_free(r);
    kd_regex_free(NULL);
}

static void test_gpt2_pattern_and_nul(void **state) {
    (void)state;
    kd_regex *r = compile("'(?:[sdmt]|ll|ve|re)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");
    static const char text[] = "Hello  world\0!";
    static const size_t ends[] = {5, 6, 12, 14};
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        bool found;
        size_t s, t;
        assert_int_equal(kd_regex_find(r, text, sizeof text - 1, at, &found, &s, &t, NULL, 0, NULL), KD_OK);
        assert_true(found && s == at && t == ends[i]);
        at = t;
    }
    kd_regex_free(r);
}

static void test_refused(void **state) {
    (void)state;
    static const char *const bad[] = {"(", "[a", "a{2,1}", "\\p{Nonsense}", "(?<n>a)(?<n>b)", "\\C", "*"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_regex *r = (kd_regex *)&r;
        kd_err e = {0};
        assert_int_equal(kd_regex_new(&r, bad[i], strlen(bad[i]), &e), KD_EFORMAT);
        assert_null(r);
        assert_non_null(strstr(e.msg, bad[i]));
        assert_non_null(strstr(e.msg, "offset"));
    }
    char deep[601];
    memset(deep, '(', 300);
    memset(deep + 300, ')', 300);
    kd_regex *r;
    assert_int_equal(kd_regex_new(&r, deep, 600, NULL), KD_EFORMAT);
}

static void test_runaway(void **state) {
    (void)state;
    char text[64];
    memset(text, 'a', sizeof text);
    text[63] = 'b';
    kd_regex *r = compile("(a+)+$");
    bool found = true;
    size_t s, t;
    kd_err e = {0};
    assert_int_equal(kd_regex_find(r, text, sizeof text, 0, &found, &s, &t, NULL, 0, &e), KD_ELIMIT);
    assert_false(found);
    kd_regex_free(r);
    r = compile("(?:(a)|b)*c"); /* deep, on a long text: an answer or a limit, never a crash */
    char *many = kd_malloc(1 << 20);
    memset(many, 'a', 1 << 20);
    const kd_code c = kd_regex_find(r, many, 1 << 20, (1 << 20) - 50000, &found, &s, &t, NULL, 0, &e);
    assert_true(c == KD_ELIMIT || (c == KD_OK && !found));
    kd_free(many);
    kd_regex_free(r);
}

static kd_code use(void) {
    kd_regex *r;
    bool found;
    size_t s, t;
    kd_code c = kd_regex_new(&r, "(\\p{L}+)\\s", 10, NULL);
    if (!c) c = kd_regex_find(r, "ab c", 4, 0, &found, &s, &t, NULL, 0, NULL);
    kd_regex_free(r);
    return c;
}

/* Unlike elsewhere, a failed allocation may go by unseen: without memory for the JIT the interpreter does the work. */
static void test_sweep(void **state) {
    (void)state;
    int refused = 0;
    for (long at = 1;; at++) {
        kd_alloc_fail_at(at);
        const kd_code c = use();
        const bool failed = kd_alloc_count() >= at;
        kd_alloc_fail_at(0);
        assert_true(c == KD_OK || (failed && c == KD_ENOMEM));
        refused += c == KD_ENOMEM;
        if (!failed) break;
    }
    assert_true(refused >= 4);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_find), cmocka_unit_test(test_gpt2_pattern_and_nul),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_runaway), cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
