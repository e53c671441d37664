/* datasets/problems.h - arithmetic word problems of our own making, with their answers, for the demo and for tests. Leans on base/rng.h, base/mem.h.
 * A problem is a function of (seed, number): the same on every machine. Numbers are whole and small; one to three steps. */
#ifndef KD_DATASETS_PROBLEMS_H
#define KD_DATASETS_PROBLEMS_H

#include "distill/base/mem.h"

enum { KD_PROBLEM_FORMS = 15, KD_PROBLEM_KEPT_OUT = 3 }; /* the last KEPT_OUT forms are for testing what training never saw */
const char *kd_problem_form(int form);                   /* "gain", "share", ... */

/* Problem number n of form: question (text += it) and *answer. */
kd_code kd_problem(kd_buf *text, int64_t *answer, int form, uint64_t seed, uint64_t n);

/* Questions of four kinds that share no question text: train, dev and test from the forms that training sees, "forms" from the ones kept out. */
typedef struct {
    size_t train, dev, test, forms;
} kd_problem_counts;
/* Writes DIR/train.jsonl, dev.jsonl, test.jsonl, forms.jsonl: {"question":...,"answer":"...","form":...} lines; suffix (or NULL) ends each question.
 * The test questions do not depend on the counts of dev and train. Errors: KD_EINVAL when there are not so many, KD_ENOMEM, files'. */
kd_code kd_problems_write(const char *dir, const kd_problem_counts *n, uint64_t seed, const char *suffix, kd_err *e);

#endif
