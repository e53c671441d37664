/* tests/datasets/test_merge.c - studies joined: nothing twice, conflicts side by side, any order, killed and run again, spend that adds up. */
#include "study_help.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "datasets/db.h"
#include "datasets/merge.h"
#include "distill/base/rng.h"

static int64_t sql(const char *study, const char *q) {
    kd_db *db = NULL;
    int64_t v = -1;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_db_int(db, q, &v, &e));
    kd_db_close(db);
    return v;
}

/* A study of n questions of which [from, to) are answered, twice each; text tells who said it. */
static void make(const char *name, int n, int from, int to, const char *text) {
    kd_study *s = study_of(name, n);
    int64_t set, run;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\",\"model\":\"m\"}", NULL, &e));
    OK(kd_run_begin(s, &run, "generate", "{}", NULL, &e));
    for (int i = from; i < to; i++) {
        kd_answer a[2] = {answer_of(i + 1, 0, text), answer_of(i + 1, 1, "the same")};
        kd_attempt f = {.prompt = i + 1,
                        .reason = "http 500",
                        .status = 500,
                        .prompt_tokens = -1,
                        .completion_tokens = -1,
                        .cost = 0.125,
                        .seconds = 1};
        a[0].raw = KD_STR("{\"body\":1}");
        OK(kd_study_commit(s, set, run, a, 2, &f, 1, NULL, &e));
    }
    OK(kd_run_end(s, run, "done", &e));
    OK(kd_label_run(s, NULL, NULL, NULL, &e));
    kd_study_close(s);
}

static kd_merge_report merge(const char *dst, const char *src) {
    kd_study *s = NULL;
    kd_merge_report r;
    OK(kd_study_open(&s, in_tmp(dst), KD_STUDY_CREATE, &e));
    OK(kd_study_merge(s, in_tmp(src), NULL, &r, &e));
    OK(kd_study_check(s, &e));
    kd_study_close(s);
    return r;
}

static void sums_agree(const char *study) {
    assert_int_equal(
        sql(study,
            "SELECT round(1e9*(SELECT total(cost) FROM totals)) = round(1e9*((SELECT total(cost) FROM samples)+(SELECT total(cost) FROM "
            "attempts)))"),
        1);
    assert_int_equal(sql(study, "SELECT (SELECT total(samples) FROM totals) = (SELECT count(*) FROM samples)"), 1);
    assert_int_equal(sql(study, "SELECT (SELECT total(attempts) FROM totals) = (SELECT count(*) FROM attempts)"), 1);
}

static void test_join(void **state) {
    (void)state;
    make("a.study", 40, 0, 20, "4");
    make("b.study", 60, 15, 50, "4");
    kd_merge_report r = merge("all.study", "a.study");
    assert_int_equal(r.prompts_new, 40);
    assert_int_equal(r.samples_new, 40);
    assert_int_equal(r.attempts_new, 20);
    r = merge("all.study", "b.study");
    assert_int_equal(r.prompts, 60);
    assert_int_equal(r.prompts_new, 20);
    assert_int_equal(r.samples, 70);
    assert_int_equal(r.samples_new, 60); /* 5 questions were answered by both, in the same words */
    assert_int_equal(r.conflicts, 0);
    assert_int_equal(r.runs_new, 1);
    sums_agree(in_tmp("all.study"));
    for (int i = 0; i < 2; i++) {
        r = merge("all.study", i ? "b.study" : "a.study");
        assert_int_equal(r.samples_new + r.prompts_new + r.attempts_new + r.labels_new + r.runs_new + r.conflicts, 0);
    }
    assert_int_equal(sql(in_tmp("all.study"), "SELECT count(*) FROM bodies"), 50);
    assert_int_equal(sql(in_tmp("all.study"), "SELECT count(*) FROM labels"), 100 * 4);
    assert_int_equal(sql(in_tmp("all.study"), "SELECT count(*) FROM leases"), 0);
    /* the other way round it is the same */
    merge("other.study", "b.study"), merge("other.study", "a.study"), merge("other.study", "all.study");
    assert_int_equal(sql(in_tmp("other.study"), "SELECT count(*) FROM samples"), 100);
    assert_int_equal(sql(in_tmp("other.study"), "SELECT count(*) FROM attempts"),
                     sql(in_tmp("all.study"), "SELECT count(*) FROM attempts"));
    sums_agree(in_tmp("other.study"));
}

static void test_conflicts(void **state) {
    (void)state;
    make("c.study", 10, 0, 10, "four");
    make("d.study", 10, 0, 10, "five");
    merge("both.study", "c.study");
    kd_merge_report r = merge("both.study", "d.study");
    assert_int_equal(r.conflicts, 10);
    assert_int_equal(r.samples_new, 10);
    assert_int_equal(sql(in_tmp("both.study"), "SELECT count(*) FROM samples WHERE answer='five' AND number=2"), 10);
    r = merge("both.study", "d.study"); /* what had to move is known again */
    assert_int_equal(r.conflicts + r.samples_new, 0);
    merge("chain.study", "both.study"); /* and behind a second merge too */
    r = merge("chain.study", "d.study");
    assert_int_equal(r.samples_new, 0);
    assert_int_equal(sql(in_tmp("chain.study"), "SELECT count(*) FROM samples"), 30);
    sums_agree(in_tmp("chain.study"));
    /* another gold answer: told, what stands here stays */
    kd_study *s = NULL;
    write_text(in_tmp("other.jsonl"), "{\"question\":\"What is 0 + 0?\",\"answer\":\"7\"}\n");
    OK(kd_study_open(&s, in_tmp("gold.study"), KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, in_tmp("other.jsonl"), NULL, NULL, NULL, &e));
    kd_study_close(s);
    r = merge("both.study", "gold.study");
    assert_int_equal(r.prompts_differ, 1);
    assert_int_equal(sql(in_tmp("both.study"), "SELECT gold FROM prompts WHERE id=1"), 0);
    OK(kd_study_open(&s, in_tmp("both.study"), KD_STUDY_WRITE, &e));
    FAILS(KD_EINVAL, "into itself", kd_study_merge(s, in_tmp("both.study"), NULL, &r, &e));
    FAILS(KD_ENOENT, "no such study", kd_study_merge(s, in_tmp("nothing.study"), NULL, &r, &e));
    FAILS(KD_EFORMAT, "not a study", kd_study_merge(s, in_tmp("other.jsonl"), NULL, &r, &e));
    kd_study_close(s);
}

static void test_kills(void **state) {
    (void)state;
    make("big.study", 1500, 0, 1500, "42");
    kd_rng r = {.key = 11};
    int killed = 0;
    for (int round = 0; round <= 25; round++) {
        pid_t pid = fork();
        if (!pid) {
            kd_study *s = NULL;
            kd_merge_report rep;
            kd_err e;
            kd_code c = kd_study_open(&s, in_tmp("grown.study"), KD_STUDY_CREATE, &e);
            if (!c) c = kd_study_merge(s, in_tmp("big.study"), NULL, &rep, &e);
            if (c) fprintf(stderr, "%s\n", e.msg);
            _exit(c ? 1 : 0);
        }
        int status;
        if (round < 25) {
            nanosleep(&(struct timespec){0, 1000000 * (long)kd_rng_below(&r, 60)}, NULL);
            kill(pid, SIGKILL);
        }
        waitpid(pid, &status, 0);
        killed += WIFSIGNALED(status);
        if (round == 25) assert_int_equal(status, 0);
    }
    kd_study *s = NULL;
    OK(kd_study_open(&s, in_tmp("grown.study"), KD_STUDY_READ, &e));
    OK(kd_study_check(s, &e));
    kd_study_close(s);
    assert_int_equal(sql(in_tmp("grown.study"), "SELECT count(*) FROM samples"), 3000);
    assert_int_equal(sql(in_tmp("grown.study"), "SELECT count(*) FROM attempts"), 1500);
    assert_int_equal(sql(in_tmp("grown.study"), "SELECT count(*) FROM labels"), 12000);
    sums_agree(in_tmp("grown.study"));
    print_message("# %d merges killed\n", killed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_join), cmocka_unit_test(test_conflicts), cmocka_unit_test(test_kills)};
    return cmocka_run_group_tests_name("merge", tests, make_tmp, drop_tmp);
}
