/* tests/teacher/remote_help.h - what the tests of the remote teacher share: a study, the scripted server, options for it, and questions to the file. */
#ifndef KD_TESTS_REMOTE_HELP_H
#define KD_TESTS_REMOTE_HELP_H

#include "tests/datasets/study_help.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "datasets/db.h"
#include "teacher/teacher.h"

#include "server.c"

/* First column of the first row; and the same of a study in the folder by its name. */
static inline int64_t sql(const char *study, const char *q) {
    kd_db *db = NULL;
    int64_t v = -1;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_db_int(db, q, &v, &e));
    kd_db_close(db);
    return v;
}

static inline kd_teach_opts opts(int samples) {
    return (kd_teach_opts){.work = {.samples = samples}, .temperature = -1, .top_p = -1, .min_p = -1, .top_k = -1, .max_tokens = 100};
}

static inline kd_remote_opts remote_at(const char *url) {
    return (kd_remote_opts){.url = url,
                            .model = "scripted",
                            .concurrency = 8,
                            .retries = -1,
                            .budget = -1,
                            .prices = {1, 2, -1, -1},
                            .logprobs = -1,
                            .timeout = 20};
}

static inline kd_remote_opts remote(const server *s) { return remote_at(server_url(s)); }

/* An answer of its own to every request: 10 tokens in, 5 out. */
static inline void good(void *ctx, const request *q, reply *a) {
    char text[40];
    (void)ctx;
    snprintf(text, sizeof text, "answer %d", q->number);
    a->body = completion(text, 10, 5);
}

static inline void slow(void *ctx, const request *q, reply *a) {
    good(ctx, q, a);
    a->delay_ms = 1 + q->number * 7 % 15;
}

/* In the totals stands what samples and attempts cost together. */
static inline bool books_balance(const char *study) {
    return sql(study, "SELECT round(1e9*(SELECT total(cost) FROM totals)) = round(1e9*((SELECT total(cost) FROM samples)+(SELECT "
                      "total(cost) FROM attempts)))") == 1;
}

/* The study is sound, holds n answers, each once, and no lease. */
static inline void holds_all(const char *study, int64_t n) {
    kd_study *s = NULL;
    OK(kd_study_open(&s, study, KD_STUDY_WRITE, &e));
    OK(kd_study_check(s, &e));
    kd_study_close(s);
    assert_int_equal(sql(study, "SELECT count(*) FROM samples"), n);
    assert_int_equal(sql(study, "SELECT count(DISTINCT answer) FROM samples"), n);
    assert_int_equal(sql(study, "SELECT count(*) FROM leases"), 0);
    assert_true(books_balance(study));
}

#endif
