/* tests/datasets/test_measures.c - each measure on texts whose value is known. */
#include "study_help.h"

#include "datasets/measures.h"

static kd_str S(const char *z) { return kd_str_of(z); }

static void test_language(void **state) {
    (void)state;
    assert_true(kd_measure_language(S("all English here"), S("a question")) == 1);
    assert_true(kd_measure_language(S("123 + 4 = 127"), S("a question")) == 1); /* no letters */
    assert_true(kd_measure_language(S("\xe4\xbd\xa0\xe5\xa5\xbd"), S("a question")) == 0);
    assert_true(kd_measure_language(S("\xe4\xbd\xa0\xe5\xa5\xbd"), S("\xe4\xbd\xa0\xe5\x90\x97?")) == 1);
    const double half = kd_measure_language(S("abcdef \xe4\xbd\xa0\xe5\xa5\xbd"), S("q"));
    assert_true(half > 0.49 && half < 0.51);
    assert_true(kd_measure_language(S("angle \xce\xb1 and \xcf\x80"), S("q")) == 1); /* Greek letters alone are mathematics */
    assert_true(kd_measure_language(S("\xd0\xbf\xd1\x80\xd0\xb8\xd0\xb2\xd0\xb5\xd1\x82"), S("q")) == 0);
    assert_true(kd_measure_language(S("bad \xff\xfe bytes"), S("q")) == 1);
}

static void test_lines(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int line, paragraph;
    } rows[] = {{"", 0, 0},           {"abc", 3, 3},  {"abc\nde\n\nfghij", 5, 5},
                {"ab\ncd\nef", 2, 6}, {"\n\n", 0, 0}, {"\xc3\xa9\xc3\xa9", 2, 2},
                {"a\n \nb", 1, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int64_t line, paragraph;
        kd_measure_lines(S(rows[i].text), &line, &paragraph);
        if (line != rows[i].line || paragraph != rows[i].paragraph) fail_msg("row %zu: %d, %d", i, (int)line, (int)paragraph);
    }
}

static void test_turns(void **state) {
    (void)state;
    assert_int_equal(kd_measure_turns(S("Wait, no. Hmm... let me check again. The waiter waits. Alternatively, x.")), 4);
    assert_int_equal(kd_measure_turns(S("await waiting")), 0);
    assert_int_equal(kd_measure_turns(S("")), 0);
    assert_true(kd_measure_refusal(S("  I'm sorry, but I can't help with that.")));
    assert_true(kd_measure_refusal(S("I\xe2\x80\x99m sorry")));
    assert_false(kd_measure_refusal(S("The answer is sorry.")));
    assert_false(kd_measure_refusal(S("")));
}

static void test_copied(void **state) {
    (void)state;
    static const char q[] = "A train leaves the station at nine and travels at sixty miles an hour for three hours.";
    double v;
    OK(kd_measure_copied(&v, S(q), S(q), &e));
    assert_true(v == 1);
    OK(kd_measure_copied(&v, S("It goes 180 miles in all since sixty times three is one hundred eighty."), S(q), &e));
    assert_true(v == 0);
    OK(kd_measure_copied(&v, S("short"), S(q), &e));
    assert_true(v == 0);
    OK(kd_measure_copied(&v, S("A TRAIN leaves the station, at nine and travels"), S(q), &e)); /* case and commas do not matter */
    assert_true(v == 1);
}

static void test_format_and_compress(void **state) {
    (void)state;
    assert_null(kd_measure_format(KD_THOUGHT_TAGS, S("so"), S("18 costs $5")));
    assert_null(kd_measure_format(KD_THOUGHT_NONE, S(""), S("```\nx\n``` and \\(x\\)")));
    assert_non_null(kd_measure_format(KD_THOUGHT_UNCLOSED, S("so"), S("")));
    assert_non_null(kd_measure_format(KD_THOUGHT_TAGS, S(" \n"), S("18")));
    assert_non_null(kd_measure_format(KD_THOUGHT_TAGS, S("so"), S(" ")));
    assert_non_null(kd_measure_format(KD_THOUGHT_TAGS, S("so"), S("a</think>b")));
    assert_non_null(kd_measure_format(KD_THOUGHT_NONE, S(""), S("```\nx")));
    assert_non_null(kd_measure_format(KD_THOUGHT_NONE, S(""), S("\\[x")));
    kd_buf b = {0};
    double loop, prose;
    for (int i = 0; i < 200; i++) kd_buf_puts(&b, "and again ");
    OK(kd_measure_compress(&loop, kd_buf_view(&b), &e));
    OK(kd_measure_compress(&prose, S("She sells the remaining nine eggs at the market for two dollars each, so she makes eighteen."), &e));
    assert_true(loop < 0.05 && prose > 0.6);
    kd_buf_clear(&b);
}

/* All checks over a study; each label is there for each sample, and can be asked for. */
static void test_all_checks(void **state) {
    (void)state;
    kd_study *s = study_of("all.study", 3);
    int64_t set;
    kd_label_report r;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "I'm sorry, I can't."), answer_of(2, 0, "\xe7\xad\x94\xe6\xa1\x88\xe6\x98\xaf 2"),
                     answer_of(3, 0, "Wait. It is \\boxed{4}")};
    OK(kd_study_commit(s, set, 0, a, 3, NULL, 0, NULL, &e));
    OK(kd_label_run(s, &(kd_label_opts){.checks = "all"}, NULL, &r, &e));
    assert_int_equal(r.written, 36);
    static const char *const asks[] = {"refusal = 1", "language < 0.5", "turns = 1 and math = 'right'", "format = 1 and longest_line > 19",
                                       "copied = 0 and compress = 1 and longest_paragraph = 19"};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        kd_select *q = NULL;
        uint64_t rows = 0;
        OK(kd_select_open(&q, s, &(kd_select_opts){.select = asks[i]}, &e));
        OK(kd_select_count(q, &rows, NULL, &e));
        if (rows != 1) fail_msg("%s: %d rows", asks[i], (int)rows);
        kd_select_close(q);
    }
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_language),
                                       cmocka_unit_test(test_lines),
                                       cmocka_unit_test(test_turns),
                                       cmocka_unit_test(test_copied),
                                       cmocka_unit_test(test_format_and_compress),
                                       cmocka_unit_test(test_all_checks)};
    return cmocka_run_group_tests_name("measures", tests, make_tmp, drop_tmp);
}
