/* tests/datasets/code_help.h - verdicts on programs by rows of a table, several at a time, for the tests of code_*.c. */
#include "study_help.h"

#include "datasets/code_int.h"

static kd_sandbox *box;
static kd_pool *pool;

typedef struct {
    const char *gold, *answer;
    kd_verdict verdict;
    const char *reason; /* what it must say somewhere */
} verdict_row;

typedef struct {
    const verdict_row *row;
    char said[400];
} job;
static void judge_row(void *ctx, size_t i, int worker) {
    job *j = (job *)ctx + i;
    kd_judgement v;
    (void)worker;
    OK(kd_label_code(&v, box, kd_str_of(j->row->answer), kd_str_of(j->row->gold), NULL, &e));
    if (v.verdict != j->row->verdict || !strstr(v.reason, j->row->reason))
        snprintf(j->said, sizeof j->said, "%s (%s)", kd_verdict_name(v.verdict), v.reason);
}
static void check_rows(const verdict_row *rows, size_t n) {
    job *jobs = calloc(n, sizeof *jobs);
    int bad = 0;
    for (size_t i = 0; i < n; i++) jobs[i].row = &rows[i];
    kd_pool_run(pool, judge_row, jobs, n);
    for (size_t i = 0; i < n; i++)
        if (jobs[i].said[0]) printf("# row %zu, %s against %s: %s\n", i, rows[i].answer, rows[i].gold, jobs[i].said), bad++;
    free(jobs);
    assert_int_equal(bad, 0);
}

/* g++ and node may be absent: then there is no verdict, and the reason is said. */
static void absent(const verdict_row *r, const char *what) {
    kd_judgement v;
    OK(kd_label_code(&v, box, kd_str_of(r->answer), kd_str_of(r->gold), NULL, &e));
    assert_int_equal(v.verdict, KD_UNKNOWN);
    assert_true(v.machine);
    assert_non_null(strstr(v.reason, what));
}

static int begin(void **state) {
    kd_err e;
    return make_tmp(state) || kd_pool_new(&pool, 4, &e);
}
static int finish(void **state) {
    kd_pool_free(pool);
    kd_sandbox_close(box);
    return drop_tmp(state);
}
