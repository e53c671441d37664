/* tests/teacher/test_judge.c - the judge through the remote teacher: a scripted server reads the question and votes; asked again, only what is missing
 * goes out. */
#include "remote_help.h"

#include "datasets/judge.h"
#include "teacher/response.h"

/* Answers with five in them are right, with six wrong; seven is said in too many words. The first `refuse` requests are refused for good. */
typedef struct {
    int refuse, seen;
} script;

static void examine(void *ctx, const request *q, reply *a) {
    script *t = ctx;
    t->seen++;
    if (t->refuse > 0 && t->refuse--) {
        a->status = 400;
        a->body = copy_of("{\"error\":{\"message\":\"not this one\"}}");
        return;
    }
    const char *text = strstr(q->body, "[five]")  ? "They agree.\\nVERDICT: right"
                       : strstr(q->body, "[six]") ? "VERDICT: wrong"
                                                  : "VERDICT: it is seven";
    a->body = completion(text, 10, 5);
}

#define TEMPLATE "Q: {question} A: [{answer}] G: {gold}"
static const kd_judge_opts judging = {.text = {TEMPLATE, sizeof TEMPLATE - 1}, .votes = 3};

static kd_code judge(kd_study *s, const server *sv, kd_judge_report *r, kd_teach_report *t, kd_err *e) {
    char split[32];
    kd_code rc = kd_judge_check(&judging, split, e);
    if (!rc) rc = kd_judge_prepare(s, &judging, NULL, r, e);
    kd_teach_opts o = opts(judging.votes);
    o.work.split = split, o.temperature = 0.5, o.purpose = "judge";
    kd_remote_opts ro = remote(sv);
    ro.model = "judge", ro.concurrency = 4, ro.retries = 0, ro.budget = 1;
    *t = (kd_teach_report){0};
    if (!rc) rc = kd_teach_remote(s, &o, &ro, NULL, t, e);
    kd_err told;
    if (t->settings && kd_judge_tell(s, &judging, t->settings, "judge", NULL, r, &told) && !rc) rc = kd_fail(e, told.code, "%s", told.msg);
    return rc;
}

static int64_t count(kd_study *s, const char *select) {
    kd_select *q = NULL;
    uint64_t rows = 0;
    OK(kd_select_open(&q, s, &(kd_select_opts){.select = select}, &e));
    OK(kd_select_count(q, &rows, NULL, &e));
    kd_select_close(q);
    return (int64_t)rows;
}

static void test_votes(void **state) {
    (void)state;
    script t = {.refuse = 0};
    kd_study *s = study_of("votes.study", 4);
    int64_t set;
    kd_judge_report r;
    kd_teach_report tr;
    server *sv = server_start(examine, &t);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "five"), answer_of(2, 0, "six"), answer_of(3, 0, "seven")};
    OK(kd_study_commit(s, set, 0, a, 3, NULL, 0, NULL, &e));
    OK(judge(s, sv, &r, &tr, &e));
    assert_int_equal(t.seen, 9);
    assert_int_equal(r.right, 1);
    assert_int_equal(r.wrong, 1);
    assert_int_equal(r.unknown, 1);
    assert_int_equal(count(s, "judge = 'right' and answer = 'five'"), 1);
    OK(judge(s, sv, &r, &tr, &e)); /* again: nothing is asked, the same is told */
    assert_int_equal(t.seen, 9);
    assert_int_equal(r.right, 1);
    kd_answer more = answer_of(4, 0, "five");
    OK(kd_study_commit(s, set, 0, &more, 1, NULL, 0, NULL, &e));
    OK(judge(s, sv, &r, &tr, &e)); /* a new sample: its votes alone */
    assert_int_equal(t.seen, 12);
    assert_int_equal(r.right, 2);
    kd_spend spend;
    OK(kd_study_spend(s, tr.settings, &spend, &e));
    assert_int_equal(spend.samples, 12);
    assert_true(spend.cost > 0);
    server_stop(sv);
    kd_study_close(s);
}

/* A vote that cannot be had leaves the label out; the next run asks for it alone. */
static void test_missing(void **state) {
    (void)state;
    script t = {.refuse = 1};
    kd_study *s = study_of("missing.study", 2);
    int64_t set;
    kd_judge_report r;
    kd_teach_report tr;
    server *sv = server_start(examine, &t);
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "five"), answer_of(2, 0, "six")};
    OK(kd_study_commit(s, set, 0, a, 2, NULL, 0, NULL, &e));
    OK(judge(s, sv, &r, &tr, &e));
    assert_int_equal(tr.failed, 1);
    assert_int_equal(r.missing, 1);
    assert_int_equal(r.right + r.wrong, 1);
    const int before = t.seen;
    OK(judge(s, sv, &r, &tr, &e));
    assert_int_equal(t.seen, before + 1);
    assert_int_equal(r.missing, 0);
    assert_int_equal(r.right, 1);
    assert_int_equal(r.wrong, 1);
    server_stop(sv);
    kd_study_close(s);
}

/* ---- labels out of raw bodies ---- */
static kd_code reread(void *ctx, kd_str body, const char *prefill, kd_reread *out, kd_err *e) {
    kd_response r = {0};
    (void)ctx;
    assert_null(prefill);
    const kd_code rc = kd_response_parse(&r, body, false, 0, e);
    out->from = r.thought_from;
    out->thought = r.thought;
    out->answer = r.answer;
    r.thought = r.answer = (kd_buf){0};
    kd_response_clear(&r);
    return rc;
}

static void think(void *ctx, const request *q, reply *a) {
    char text[200];
    (void)ctx;
    snprintf(text, sizeof text, "<think>hm %d, wait, let me check</think>so \\\\boxed{%d}", q->number, q->number);
    a->body = completion(text, 10, 5);
}

static void change(const char *study, const char *sql) {
    kd_db *db = NULL;
    OK(kd_db_open(&db, study, KD_DB_WRITE, &e));
    OK(kd_db_exec(db, sql, &e));
    kd_db_close(db);
}

static void test_verify(void **state) {
    (void)state;
    kd_study *s = study_of("verify.study", 5);
    const char *path = in_tmp("verify.study");
    server *sv = server_start(think, NULL);
    kd_teach_report tr = {0};
    kd_label_report r;
    const kd_teach_opts o = opts(2);
    const kd_remote_opts ro = remote(sv);
    OK(kd_teach_remote(s, &o, &ro, NULL, &tr, &e));
    server_stop(sv);
    OK(kd_label_run(s, &(kd_label_opts){.checks = "all"}, NULL, &r, &e));
    const kd_label_opts verify = {.verify = true, .reread = reread};
    OK(kd_label_run(s, &verify, NULL, &r, &e));
    assert_int_equal(r.bodies, 10);
    assert_true(r.compared >= 100);
    assert_int_equal(r.differ, 0);
    change(path, "UPDATE labels SET value='right' WHERE name='math' AND sample=(SELECT min(sample) FROM labels WHERE name='math' AND "
                 "value='wrong')");
    OK(kd_label_run(s, &verify, NULL, &r, &e));
    assert_int_equal(r.differ, 1);
    change(path, "UPDATE samples SET answer='so \\boxed{1000}' WHERE id=2"); /* the text itself, though no label shows it */
    OK(kd_label_run(s, &verify, NULL, &r, &e));
    assert_int_equal(r.differ, 2);
    OK(kd_label_run(s, &(kd_label_opts){.verify = true, .checks = "empty"}, NULL, &r, &e));
    assert_int_equal(r.differ, 0);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_votes), cmocka_unit_test(test_missing), cmocka_unit_test(test_verify)};
    return cmocka_run_group_tests_name("judge", tests, make_tmp, drop_tmp);
}
