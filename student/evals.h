/* student/evals.h - RUN/evals.jsonl: what was measured before, during and after training, a line an evaluation. Leans on base/file.h, base/json.h.
 *   {"step":40,"eval_loss":0.71,"general_loss":2.4,"pass@1":0.3,"questions":50}      only what was measured; step 0: before the first update
 * The file is replaced whole by each line that comes. */
#ifndef KD_STUDENT_EVALS_H
#define KD_STUDENT_EVALS_H

#include "distill/base/json.h"

typedef struct {
    uint64_t step;
    double loss;    /* mean over the loss tokens of the held-out lessons, nats; NaN: not measured, as the others */
    double general; /* of general text */
    double pass1;   /* share of the held-out questions answered right */
    uint64_t questions;
} kd_eval_line;
typedef struct {
    char *path;
    kd_eval_line *at;
    size_t n, cap;
} kd_evals;

/* Reads path's lines up to update `upto` and leaves no others in it; no file: none. Errors: KD_EFORMAT (damaged, steps that do not rise), KD_EIO, KD_ENOMEM. */
kd_code kd_evals_open(kd_evals *v, const char *path, uint64_t upto, kd_err *e);
kd_code kd_evals_add(kd_evals *v, const kd_eval_line *line, kd_err *e); /* on disk when it returns */
const kd_eval_line *kd_evals_of(const kd_evals *v, uint64_t step);      /* NULL: that update was not evaluated */
/* The best after at least one update: the most questions right, of equals the lowest loss, of equals the earliest; NULL where neither was measured. */
const kd_eval_line *kd_evals_best(const kd_evals *v);
size_t kd_evals_since_best(const kd_evals *v); /* evaluations that came behind it */
void kd_evals_clear(kd_evals *v);

#endif
