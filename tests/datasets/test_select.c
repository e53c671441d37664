/* tests/datasets/test_select.c - what a selection takes of what it leaves: diverse, difficulty, balance; agreement of samples; the funnel. */
#include "study_help.h"

#include "distill/base/json.h"

static kd_study *s;
static int64_t set;

static void answers(int64_t prompt, const char *const *texts, int n) {
    for (int i = 0; i < n; i++) {
        kd_answer a = answer_of(prompt, i, texts[i]);
        OK(kd_study_commit(s, set, 0, &a, 1, NULL, 0, NULL, &e));
    }
}

static uint64_t count(kd_select_opts o) {
    kd_select *q = NULL;
    uint64_t rows = 0;
    OK(kd_select_open(&q, s, &o, &e));
    OK(kd_select_count(q, &rows, NULL, &e));
    kd_select_close(q);
    return rows;
}

static void test_agreement(void **state) {
    (void)state;
    kd_agreement_report r;
    s = study_of("agree.study", 4); /* gold 0, 2, 4, 6 */
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    answers(1, (const char *const[]){"\\boxed{0}", "so 0.0", "The answer is 7", "nothing"}, 4);
    answers(2, (const char *const[]){"\\boxed{9}", "#### 9", "9.0", "\\boxed{2}"}, 4);
    answers(3, (const char *const[]){"\\boxed{5}", "\\boxed{5}"}, 2);
    OK(kd_agreement_run(s, false, NULL, &r, &e));
    assert_int_equal(r.prompts, 3);
    assert_int_equal(r.samples, 10);
    assert_int_equal(r.doubted, 1); /* question 2: three of four say 9; two of two are too few for question 3 */
    OK(kd_agreement_run(s, false, NULL, &r, &e));
    assert_int_equal(r.prompts, 0);
    static const struct {
        const char *select;
        uint64_t rows;
    } asks[] = {{"agrees = 1", 7},       {"agrees = 0", 2},     {"agrees is null", 1}, {"agreement = 0.5", 4},
                {"agreement = 0.75", 4}, {"gold_doubt = 1", 4}, {"majority = '9'", 4}, {"majority = '5' and agreement = 1", 2}};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++)
        if (count((kd_select_opts){.select = asks[i].select}) != asks[i].rows) fail_msg("%s", asks[i].select);
    kd_answer more = answer_of(3, 2, "\\boxed{5}"); /* a third one: counted anew, that question alone */
    OK(kd_study_commit(s, set, 0, &more, 1, NULL, 0, NULL, &e));
    OK(kd_agreement_run(s, false, NULL, &r, &e));
    assert_int_equal(r.prompts, 1);
    assert_int_equal(r.doubted, 1);
    kd_study_close(s);
}

static void test_diverse(void **state) {
    (void)state;
    static const char a[] = "First we add the two numbers one after another and then we look at the sum that came out of it in the end.";
    static const char a2[] = "First we add the two numbers one after another and then we look at the sum that came out of it in this case.";
    static const char b[] =
        "Let me count on my fingers instead: starting from the larger value I go up by one for every unit of the other.";
    static const char c[] =
        "Doubling is a shift to the left in binary, so write the number in base two and put a zero behind its last digit.";
    s = study_of("diverse.study", 2);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    answers(1, (const char *const[]){a, a2, a, b, a2, c}, 6);
    answers(2, (const char *const[]){a, b}, 2);
    for (int k = 1; k <= 3; k++) {
        kd_select *q = NULL;
        kd_row r;
        bool more;
        char got[64] = "";
        OK(kd_select_open(&q, s, &(kd_select_opts){.any = true, .per_question = k, .prefer = KD_PREFER_DIVERSE}, &e));
        for (;;) {
            OK(kd_select_next(q, &r, &more, &e));
            if (!more) break;
            snprintf(got + strlen(got), sizeof got - strlen(got), "%d.%d ", (int)r.prompt, r.sample);
        }
        if (k == 3) assert_non_null(strstr(kd_select_text(q), "at most 3 a question, diverse first"));
        kd_select_close(q);
        assert_string_equal(got, k == 1 ? "1.0 2.0 " : k == 2 ? "1.0 1.3 2.0 2.1 " : "1.0 1.3 1.5 2.0 2.1 ");
    }
    assert_int_equal(count((kd_select_opts){.any = true, .per_question = 2, .prefer = KD_PREFER_DIVERSE, .balance = "prompt"}), 4);
    kd_select_opts o = {.any = true, .per_question = 2, .prefer = KD_PREFER_DIVERSE}, back;
    char hash[65], hash2[65];
    kd_arena arena = {0};
    OK(kd_selection_save(s, "far", &o, hash, &e));
    OK(kd_selection_load(s, "far", &arena, &back, hash2, &e));
    assert_string_equal(hash, hash2);
    assert_int_equal(back.prefer, KD_PREFER_DIVERSE);
    kd_arena_clear(&arena);
    kd_study_close(s);
}

static int64_t step(const kd_json_node *list, const char *name, const char *key) {
    int64_t v = -1;
    for (const kd_json_node *n = kd_json_first(list); n; n = kd_json_next(n))
        if (kd_str_is(kd_json_string(kd_json_get(n, "step")), name)) (void)kd_json_int(kd_json_get(n, key), &v);
    return v;
}

static void test_funnel(void **state) {
    (void)state;
    kd_buf b = {0};
    kd_json *doc = NULL;
    kd_label_report r;
    s = study_of("funnel.study", 3);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    OK(kd_stats_json(&b, s, NULL, &e)); /* before there are labels */
    b.len = 0;
    answers(1, (const char *const[]){"\\boxed{0}", "no answer"}, 2);
    answers(2, (const char *const[]){"\\boxed{2}", " ", "\\boxed{3}"}, 3);
    OK(kd_label_run(s, &(kd_label_opts){.checks = "math,finished,repeats,empty,format"}, NULL, &r, &e));
    OK(kd_stats_json(
        &b, s,
        &(kd_select_opts){.select = "math = 'right' AND (repeats BETWEEN 0 AND 0.2) and (empty = 0 or 1) and format=1 and 'a and b' <> ''",
                          .per_question = 1},
        &e));
    OK(kd_json_parse(&doc, b.data, b.len, "stats", &e));
    const kd_json_node *f = kd_json_get(kd_json_root(doc), "funnel"), *by = kd_json_get(kd_json_root(doc), "funnel_by_source");
    assert_int_equal(step(f, "samples", "left"), 5);
    assert_int_equal(step(f, "math = 'right'", "fails_alone"), 3);
    assert_int_equal(step(f, "math = 'right'", "left"), 2);
    assert_int_equal(step(f, "(repeats BETWEEN 0 AND 0.2)", "fails_alone"), 0);
    assert_int_equal(step(f, "(empty = 0 or 1)", "left"), 2);
    assert_int_equal(step(f, "format=1", "fails_alone"), 1);
    assert_int_equal(step(f, "'a and b' <> ''", "left"), 2);
    assert_int_equal(step(f, "taken of these", "left"), 2);
    assert_int_equal(kd_json_count(f), kd_json_count(by)); /* one source */
    kd_json_free(doc);
    b.len = 0;
    OK(kd_stats_json(&b, s, NULL, &e));
    assert_non_null(strstr(b.data, "right, or no gold answer"));
    b.len = 0;
    FAILS(KD_EINVAL, "nonsense", kd_stats_json(&b, s, &(kd_select_opts){.select = "nonsense = 1"}, &e));
    kd_buf_clear(&b);
    kd_study_close(s);
}

/* Ten answers of 1 to 10 seconds to one question, every second one right, a quarter of a dollar each. */
static void test_answers(void **state) {
    static const struct {
        const char *key;
        double value;
    } want[] = {{"samples", 10},        {"seconds_p50", 5}, {"seconds_p90", 9},        {"seconds_p99", 10},
                {"first_token_p50", 2}, {"right", 5},       {"tokens_a_question", 50}, {"cost_a_right_answer", 0.5}};
    (void)state;
    kd_buf b = {0};
    kd_json *doc = NULL;
    kd_label_report r;
    s = study_of("answers.study", 1);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    for (int i = 0; i < 10; i++) {
        kd_answer a = answer_of(1, i, i % 2 ? "\\boxed{0}" : "\\boxed{1}");
        a.seconds = (i * 7) % 10 + 1; /* in no order */
        a.first_token_seconds = i < 3 ? i + 1 : -1;
        OK(kd_study_commit(s, set, 0, &a, 1, NULL, 0, NULL, &e));
    }
    OK(kd_label_run(s, &(kd_label_opts){.checks = "math"}, NULL, &r, &e));
    OK(kd_stats_json(&b, s, NULL, &e));
    OK(kd_json_parse(&doc, b.data, b.len, "stats", &e));
    const kd_json_node *row = kd_json_first(kd_json_get(kd_json_root(doc), "answers"));
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_float_equal(kd_json_number(kd_json_get(row, want[i].key), -1), want[i].value, 1e-9);
    kd_json_free(doc);
    kd_buf_clear(&b);
    kd_study_close(s);
}

/* Each allocation of agreement and of the funnel failing in turn: no memory, or all of it; what was told before stays whole. */
static void test_allocations(void **state) {
    (void)state;
    bool clean = false;
    s = study_of("failing.study", 2);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    answers(1, (const char *const[]){"\\boxed{0}", "so 0.0", "The answer is 7"}, 3);
    answers(2, (const char *const[]){"\\boxed{9}", "#### 9", "9.0", "\\boxed{2}"}, 4);
    OK(kd_label_run(s, &(kd_label_opts){.checks = "math,finished,repeats"}, NULL, NULL, &e));
    for (long at = 1; !clean && at < 3000; at++) {
        kd_agreement_report r = {0};
        kd_buf b = {0};
        kd_err e;
        kd_err_clear(&e);
        kd_alloc_fail_at(at);
        kd_code rc = kd_agreement_run(s, true, NULL, &r, &e);
        if (!rc) rc = kd_stats_json(&b, s, &(kd_select_opts){.select = "math = 'right' and repeats < 0.2", .per_question = 1}, &e);
        clean = kd_alloc_count() < at;
        kd_alloc_fail_at(0);
        if (rc != (clean ? KD_OK : KD_ENOMEM)) fail_msg("allocation %ld: code %d: %s", at, (int)rc, e.msg);
        if (clean) {
            assert_int_equal(r.samples, 7);
            assert_non_null(strstr(b.data, "\"taken of these\""));
        }
        kd_buf_clear(&b);
    }
    assert_true(clean);
    if (count((kd_select_opts){.select = "agrees = 1"}) != 5) fail_msg("agreement is not as it was");
    OK(kd_study_check(s, &e));
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_answers), cmocka_unit_test(test_agreement), cmocka_unit_test(test_diverse),
                                       cmocka_unit_test(test_funnel), cmocka_unit_test(test_allocations)};
    return cmocka_run_group_tests_name("select", tests, make_tmp, drop_tmp);
}
