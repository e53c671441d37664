/* tests/datasets/test_label.c - where a final answer stands, whether it is right, how much a text repeats, and labels of a study. */
#include "study_help.h"

static void test_final(void **state) {
    (void)state;
    static const char *const rows[][3] = {
        {"so \\boxed{\\frac{1}{2}} done", "\\frac{1}{2}", "boxed"},
        {"\\boxed{1} then \\boxed{2}", "2", "boxed"},
        {"\\boxed{1} then \\boxed{2", "1", "boxed"},
        {"\\boxed{} but before \\boxed 7 apples", "7", "boxed"},
        {"\\boxed{3} and \\boxed{ }", "3", "boxed"},
        {"\\fbox{\\{1, 2\\}}", "\\{1, 2\\}", "boxed"},
        {"The final answer is: $18. More talk 99", "$18", "final answer"},
        {"The answer is 5. No wait, the answer is 6.", "6", "final answer"},
        {"**Final Answer:** 3.50", "3.50", "final answer"},
        {"work\n#### 1,234\n", "1,234", "####"},
        {"It costs $1,234.50 in all.", "1,234.50", "last number"},
        {"from 7 down to -3", "-3", "last number"},
        {"5-3", "3", "last number"},
        {"about 1/2 of it", "1/2", "last number"},
        {"nothing", NULL, "none"},
        {"", NULL, "none"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *how;
        kd_str f = kd_math_final(kd_str_of(rows[i][0]), &how);
        if ((rows[i][1] ? !kd_str_is(f, rows[i][1]) : f.data != NULL) || strcmp(how, rows[i][2]) != 0)
            fail_msg("%s: found %.*s by %s", rows[i][0], (int)f.len, f.data ? f.data : "", how);
    }
}

static void test_math(void **state) {
    (void)state;
    static const struct {
        const char *text, *gold;
        kd_verdict v;
    } rows[] = {
        {"\\boxed{42}", "42", KD_RIGHT},
        {"\\boxed{42}", "43", KD_WRONG},
        {"#### 72", "72", KD_RIGHT},
        {"The answer is $1,234.00.", "1234", KD_RIGHT},
        {"The answer is 1234567", "1,234,567", KD_RIGHT},
        {"so 0.5", "1/2", KD_RIGHT},
        {"\\boxed{\\frac{3}{6}}", "0.5", KD_RIGHT},
        {"\\boxed{\\dfrac12}", "0.5", KD_RIGHT},
        {"\\boxed{-\\frac{1}{2}}", "-0.5", KD_RIGHT},
        {"\\boxed{1\\frac{1}{2}}", "1.5", KD_RIGHT},
        {"\\boxed{1 1/2}", "3/2", KD_RIGHT},
        {"\\boxed{50\\%}", "50", KD_RIGHT},
        {"\\boxed{50\\%}", "0.5", KD_RIGHT},
        {"\\boxed{50\\%}", "5", KD_WRONG},
        {"\\boxed{18 \\text{ dollars}}", "18", KD_RIGHT},
        {"\\boxed{x = 5}", "5", KD_RIGHT},
        {"\\boxed{1.5e3}", "1500", KD_RIGHT},
        {"\\boxed{0.1}", "0.10000000000000000000000001", KD_WRONG},
        {"\\boxed{12345678901234567890123}", "12345678901234567890123.0", KD_RIGHT},
        {"\\boxed{1/0}", "0", KD_WRONG},
        {"no numbers here", "5", KD_WRONG},
        {"", "5", KD_WRONG},
        {"5", "", KD_UNKNOWN},
        {"\\boxed{B}", "B", KD_RIGHT},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_judgement j;
        OK(kd_label_math(&j, kd_str_of(rows[i].text), kd_str_of(rows[i].gold), &e));
        if (j.verdict != rows[i].v) fail_msg("%s against %s: %s (%s)", rows[i].text, rows[i].gold, kd_verdict_name(j.verdict), j.reason);
    }
}

static double repeats_of(const char *text, size_t n) {
    double v = -1;
    OK(kd_label_repeats(&v, (kd_str){text, n}, &e));
    assert_true(v >= 0 && v <= 1);
    return v;
}

static void test_repeats(void **state) {
    (void)state;
    kd_buf b = {0};
    assert_true(repeats_of("", 0) == 0);
    assert_true(repeats_of("ha ha ha", 8) == 0);
    static const char prose[] =
        "She sells the remaining nine eggs at the market for two dollars each, so every day she makes eighteen dollars in all.";
    assert_true(repeats_of(prose, sizeof prose - 1) == 0);
    kd_buf_puts(&b, prose);
    const double before = (double)b.len;
    for (int i = 0; i < 40; i++) kd_buf_puts(&b, " Wait, let me check.");
    double v = repeats_of(b.data, b.len);
    assert_true(v > 0.99 * (1 - before / (double)b.len) && v < 1.01 * (1 - before / (double)b.len) + 0.02);
    kd_buf_clear(&b); /* a loop that ends with a sentence of its own: no tail, but words said again */
    for (int i = 0; i < 30; i++) kd_buf_puts(&b, "and then we add the two numbers again to get the sum, ");
    kd_buf_puts(&b, prose);
    assert_true(repeats_of(b.data, b.len) > 0.85);
    kd_buf_clear(&b); /* no words at all */
    for (int i = 0; i < 100; i++) kd_buf_puts(&b, "\xe5\x93\x88");
    assert_true(repeats_of(b.data, b.len) > 0.95);
    kd_buf_clear(&b); /* numbers that go on are not a loop */
    for (int i = 0; i < 300; i++) kd_buf_printf(&b, "%d, ", i * i);
    assert_true(repeats_of(b.data, b.len) < 0.05);
    kd_buf_clear(&b);
}

/* Two texts by definition: the longest tail of a period said three times, found the slow way. */
static void test_repeats_by_definition(void **state) {
    (void)state;
    unsigned r = 1;
    for (int t = 0; t < 300; t++) {
        char s[120];
        size_t n = 24 + (size_t)(t % 90), best = 0;
        for (size_t i = 0; i < n; i++) {
            r = r * 1103515245 + 12345;
            s[i] = (t & 1) && i > 10 ? s[i - 1 - (size_t)(t % 7)] : (char)('!' + (r >> 16) % 3); /* no letters: only tails count */
        }
        for (size_t p = 1; 3 * p <= n; p++) {
            size_t len = p;
            while (len < n && s[n - 1 - len] == s[n - 1 - len + p]) len++;
            if (len >= 3 * p && len >= 24 && len > best) best = len;
        }
        assert_true(repeats_of(s, n) == (double)best / (double)n);
    }
}

static void test_study_labels(void **state) {
    (void)state;
    kd_study *s = study_of("label.study", 6);
    int64_t set;
    kd_label_report r;
    kd_pool *pool = NULL;
    OK(kd_pool_new(&pool, 3, &e));
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "\\boxed{0}"), answer_of(2, 0, "\\boxed{9}"), answer_of(3, 0, " \n"), answer_of(4, 0, "6"),
                     answer_of(5, 0, "8")};
    a[3].finish = "length";
    a[4].finish = NULL;
    a[1].thought_from = KD_THOUGHT_OPENED;
    OK(kd_study_commit(s, set, 0, a, 5, NULL, 0, NULL, &e));
    kd_label_opts o = {.checks = "finished,empty", .pool = pool};
    OK(kd_label_run(s, &o, NULL, &r, &e));
    assert_int_equal(r.looked, 5);
    assert_int_equal(r.written, 10);
    o.checks = NULL;
    OK(kd_label_run(s, &o, NULL, &r, &e)); /* what lacks one label is judged whole */
    assert_int_equal(r.looked, 5);
    assert_int_equal(r.right, 3);
    assert_int_equal(r.wrong, 2);
    OK(kd_label_run(s, &o, NULL, &r, &e));
    assert_int_equal(r.looked, 0);
    o.again = true;
    o.select = "finished = 0";
    OK(kd_label_run(s, &o, NULL, &r, &e));
    assert_int_equal(r.looked, 2);
    static const struct {
        const char *select;
        uint64_t rows;
    } asks[] = {
        {"finished = 1", 2}, {"finished = 0", 2}, {"finished is null", 1}, {"empty = 1", 1}, {"math = 'right' and repeats < 0.1", 3}};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        kd_select *q = NULL;
        uint64_t rows = 0;
        OK(kd_select_open(&q, s, &(kd_select_opts){.select = asks[i].select}, &e));
        OK(kd_select_count(q, &rows, NULL, &e));
        if (rows != asks[i].rows) fail_msg("%s: %llu rows", asks[i].select, (unsigned long long)rows);
        kd_select_close(q);
    }
    o = (kd_label_opts){.checks = "math,beauty"};
    FAILS(KD_EINVAL, "no check named beauty", kd_label_run(s, &o, NULL, &r, &e));
    o = (kd_label_opts){.select = "nonsense ="};
    FAILS(KD_EINVAL, "nonsense", kd_label_run(s, &o, NULL, &r, &e));
    kd_pool_free(pool);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_final),        cmocka_unit_test(test_math),
        cmocka_unit_test(test_repeats),      cmocka_unit_test(test_repeats_by_definition),
        cmocka_unit_test(test_study_labels),
    };
    return cmocka_run_group_tests_name("label", tests, make_tmp, drop_tmp);
}
