/* tests/datasets/test_judge.c - a model as the judge: its template, its questions in the study, its votes read strictly. */
#include "study_help.h"

#include "datasets/judge.h"

static void test_vote(void **state) {
    (void)state;
    static const struct {
        const char *answer, *finish;
        kd_verdict v;
    } rows[] = {
        {"They agree.\nVERDICT: right", "stop", KD_RIGHT},
        {"VERDICT: wrong\n\n", "stop", KD_WRONG},
        {"verdict:RIGHT", NULL, KD_RIGHT},
        {"\tVerdict:  Wrong \r\n", "stop", KD_WRONG},
        {"VERDICT: right", "length", KD_UNKNOWN},          /* cut: perhaps in the middle of a sentence */
        {"VERDICT: right\nor is it?", "stop", KD_UNKNOWN}, /* not the last line */
        {"VERDICT: right.", "stop", KD_UNKNOWN},           /* more than the verdict */
        {"VERDICT: right or wrong", "stop", KD_UNKNOWN},
        {"My VERDICT: right", "stop", KD_UNKNOWN},
        {"VERDICT:", "stop", KD_UNKNOWN},
        {"VERDICT: rigth", "stop", KD_UNKNOWN},
        {"right", "stop", KD_UNKNOWN},
        {"", "stop", KD_UNKNOWN},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        if (kd_judge_vote(kd_str_of(rows[i].answer), kd_str_of(rows[i].finish)) != rows[i].v) fail_msg("%s", rows[i].answer);
}

static int64_t ask(kd_study *s, const char *select) {
    kd_select *q = NULL;
    uint64_t rows = 0;
    OK(kd_select_open(&q, s, &(kd_select_opts){.select = select}, &e));
    OK(kd_select_count(q, &rows, NULL, &e));
    kd_select_close(q);
    return (int64_t)rows;
}

/* Answers each question of the split as `say` has it, number by number. */
static void vote(kd_study *s, int64_t settings, const char *split, const char *const *say, int votes) {
    kd_prompts *p = NULL;
    kd_prompt row;
    bool more;
    OK(kd_prompts_open(&p, s, split, 0, NULL, &e));
    for (int i = 0; kd_prompts_next(p, &row, &more, NULL) == KD_OK && more; i++)
        for (int k = 0; k < votes; k++) {
            const char *text = say[i * votes + k];
            kd_answer a = {.prompt = row.id,
                           .sample = k,
                           .answer = kd_str_of(text),
                           .finish = "stop",
                           .prompt_tokens = -1,
                           .completion_tokens = -1,
                           .reasoning_tokens = -1,
                           .cached_tokens = -1,
                           .cost = -1,
                           .seconds = -1,
                           .first_token_seconds = -1};
            if (text) OK(kd_study_commit(s, settings, 0, &a, 1, NULL, 0, NULL, &e));
        }
    kd_prompts_close(p);
}

static void test_study(void **state) {
    (void)state;
    kd_study *s = study_of("judge.study", 4);
    int64_t set, judge;
    char split[32];
    kd_judge_report r;
    kd_label_report lr;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    OK(kd_study_settings(s, &judge, "{\"teacher\":\"j\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "0"), answer_of(2, 0, "two {gold}"), answer_of(2, 1, "two {gold}"), answer_of(3, 0, "7"),
                     answer_of(4, 0, "6")};
    OK(kd_study_commit(s, set, 0, a, 5, NULL, 0, NULL, &e));
    const kd_judge_opts o = {.text = KD_STR("Q {question} A {answer} G {gold} {other} \\boxed{}"), .votes = 3};
    FAILS(KD_EINVAL, "{answer}", kd_judge_prepare(s, &(kd_judge_opts){.text = KD_STR("{gold}")}, NULL, &r, &e));
    FAILS(KD_EINVAL, "nonsense", kd_judge_prepare(s, &(kd_judge_opts){.select = "nonsense ="}, NULL, &r, &e));
    OK(kd_judge_prepare(s, &o, NULL, &r, &e));
    assert_int_equal(r.looked, 5);
    assert_int_equal(r.added, 4); /* the same answer twice is one question */
    OK(kd_judge_prepare(s, &o, NULL, &r, &e));
    assert_int_equal(r.added, 0);
    OK(kd_judge_check(&o, split, &e));
    kd_prompts *p = NULL;
    kd_prompt row;
    bool more;
    OK(kd_prompts_open(&p, s, split, 0, NULL, &e));
    OK(kd_prompts_next(p, &row, &more, &e));
    OK(kd_prompts_next(p, &row, &more, &e));
    assert_true(kd_str_is(row.messages, "[{\"content\":\"Q What is 1 + 1? A two {gold} G 2 {other} \\\\boxed{}\",\"role\":\"user\"}]"));
    kd_prompts_close(p);
    /* nobody else meets these questions */
    assert_int_equal(ask(s, "1"), 5);
    OK(kd_prompts_open(&p, s, NULL, 0, NULL, &e));
    int n = 0;
    while (kd_prompts_next(p, &row, &more, NULL) == KD_OK && more) n++;
    assert_int_equal(n, 4);
    kd_prompts_close(p);
    kd_work *w = NULL;
    kd_work_state state_of;
    OK(kd_work_open(&w, s, set, &(kd_work_opts){.samples = 1}, &e));
    OK(kd_work_count(w, &state_of, &e));
    assert_int_equal(state_of.total, 4);
    kd_work_close(w);
    static const char yes[] = "VERDICT: right", no[] = "VERDICT: wrong";
    const char *const said[] = {yes, yes, no, no, "hm", no, yes, "hm", no, yes, yes, NULL};
    vote(s, judge, split, said, 3);
    OK(kd_judge_tell(s, &o, judge, "j", NULL, &r, &e));
    assert_int_equal(r.right, 1);
    assert_int_equal(r.wrong, 2); /* one question, two samples */
    assert_int_equal(r.unknown, 1);
    assert_int_equal(r.missing, 1); /* its third vote is not there */
    assert_int_equal(ask(s, "judge = 'right'"), 1);
    assert_int_equal(ask(s, "judge = 'wrong'"), 2);
    assert_int_equal(ask(s, "judge is null"), 1);
    OK(kd_label_run(s, &(kd_label_opts){0}, NULL, &lr, &e)); /* the votes are no answers to be judged */
    assert_int_equal(lr.looked, 5);
    kd_study_close(s);
}

/* A template that compares, and a sample without a gold answer: the label is there, and empty. */
static void test_without(void **state) {
    (void)state;
    kd_study *s = NULL;
    kd_import_report ir;
    kd_judge_report r;
    int64_t judge;
    write_text(in_tmp("free.jsonl"), "{\"prompt\":\"Say hello\",\"completion\":\"hello\"}\n");
    OK(kd_study_open(&s, in_tmp("free.study"), KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, in_tmp("free.jsonl"), NULL, NULL, &ir, &e));
    OK(kd_study_settings(s, &judge, "{\"teacher\":\"j\"}", NULL, &e));
    OK(kd_judge_prepare(s, &(kd_judge_opts){0}, NULL, &r, &e));
    assert_int_equal(r.added, 0);
    OK(kd_judge_tell(s, &(kd_judge_opts){0}, judge, "j", NULL, &r, &e));
    assert_int_equal(r.without, 1);
    const kd_judge_opts free_of_gold = {.text = KD_STR("Is this polite? {answer}")};
    OK(kd_judge_prepare(s, &free_of_gold, NULL, &r, &e));
    assert_int_equal(r.added, 1);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_vote), cmocka_unit_test(test_study), cmocka_unit_test(test_without)};
    return cmocka_run_group_tests_name("judge", tests, make_tmp, drop_tmp);
}
