/* tests/datasets/test_measures.c - each measure on texts whose value is known. */
#include "study_help.h"

#include "datasets/measures.h"

static kd_str S(const char *z) { return kd_str_of(z); }

static kd_scan_room rooms[3];
static kd_scan scan_of(kd_str t, int room) {
    kd_scan scan;
    OK(kd_scan_text(&scan, &rooms[room], t, &e));
    return scan;
}

static void test_refusal(void **state) {
    (void)state;
    assert_true(kd_measure_refusal(S("  I'm sorry, but I can't help with that.")));
    assert_true(kd_measure_refusal(S("I\xe2\x80\x99m sorry")));
    assert_false(kd_measure_refusal(S("The answer is sorry.")));
    assert_false(kd_measure_refusal(S("")));
}

static void test_copied(void **state) {
    (void)state;
    static const char q[] = "A train leaves the station at nine and travels at sixty miles an hour for three hours.";
    static const struct {
        const char *text;
        double share;
    } rows[] = {{q, 1},
                {"It goes 180 miles in all since sixty times three is one hundred eighty.", 0},
                {"short", 0},
                {"A TRAIN leaves the station, at nine and travels", 1}, /* case and commas do not matter */
                {"A train leaves the station at nine and then it goes on", 0.2}};
    const kd_scan prompt = scan_of(S(q), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        double v;
        const kd_scan text = scan_of(S(rows[i].text), 1);
        OK(kd_measure_copied(&v, &text, &prompt, &rooms[2], &e));
        if (v != rows[i].share) fail_msg("row %zu: %g", i, v);
    }
}

static void test_format_and_compress(void **state) {
    (void)state;
    static const struct {
        kd_thought_from from;
        const char *thought, *answer;
        bool good;
    } rows[] = {{KD_THOUGHT_TAGS, "so", "18 costs $5", true},
                {KD_THOUGHT_NONE, "", "```\nx $ y\n``` and \\(x\\)", true},
                {KD_THOUGHT_NONE, "", "I pay $5, then $7/kg, and $x^2 + 1$ is a square; \\$ and \\\\[2pt] too. 5$ each.", true},
                {KD_THOUGHT_NONE, "", "$5x+3$ and $10$", true},
                {KD_THOUGHT_NONE, "", "so $x = 5 is it", false},
                {KD_THOUGHT_NONE, "", "so $x = 5\n\nis it$ no", false},
                {KD_THOUGHT_NONE, "", "\\frac{1}{2}$ is it", false},
                {KD_THOUGHT_UNCLOSED, "so", "", false},
                {KD_THOUGHT_TAGS, " \n", "18", false},
                {KD_THOUGHT_TAGS, "so", " ", false},
                {KD_THOUGHT_TAGS, "so", "a</think>b", false},
                {KD_THOUGHT_NONE, "", "```\nx", false},
                {KD_THOUGHT_NONE, "", "\\[x", false},
                {KD_THOUGHT_NONE, "", "$$ x", false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const kd_scan thought = scan_of(S(rows[i].thought), 0), answer = scan_of(S(rows[i].answer), 1);
        const char *wrong = kd_measure_format(rows[i].from, &thought, &answer);
        if ((wrong == NULL) != rows[i].good) fail_msg("row %zu: %s", i, wrong ? wrong : "good");
    }
    static const struct {
        const char *finish, *answer;
        bool cut;
    } ends[] = {{"stop", "so \\boxed{5}", false},
                {"length", "so 5", true},
                {"stop", "so \\boxed{5", true},
                {NULL, "```c\nint", true},
                {NULL, "it is 5", false},
                {"stop", "$$ x", true},
                {"stop", "\\boxed{1} \\boxed{\\frac{1}{2}}", false}};
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
        const kd_scan answer = scan_of(S(ends[i].answer), 1);
        const char *why = kd_measure_truncated(KD_THOUGHT_NONE, kd_str_of(ends[i].finish), &answer, S(ends[i].answer));
        if ((why != NULL) != ends[i].cut) fail_msg("end %zu: %s", i, why ? why : "whole");
    }
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
    assert_int_equal(r.written, 3 * 17);
    static const char *const asks[] = {"refusal = 1",
                                       "language < 0.5",
                                       "lang = 'zh'",
                                       "waits = 1",
                                       "turns = 1 and math = 'right'",
                                       "format = 1 and longest_line > 19",
                                       "thought_tokens = 0 and copied = 0 and compress = 1 and longest_paragraph = 19"};
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
    const struct CMUnitTest tests[] = {

        cmocka_unit_test(test_refusal), cmocka_unit_test(test_copied), cmocka_unit_test(test_format_and_compress),
        cmocka_unit_test(test_all_checks)};
    return cmocka_run_group_tests_name("measures", tests, make_tmp, drop_tmp);
}
