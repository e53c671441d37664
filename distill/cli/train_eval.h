/* distill/cli/train_eval.h - what `train` measures a student on while it learns: held-out lessons, general text, questions that it answers itself.
 * Leans on train_data.h, student/run.h, distill/engine. */
#ifndef KD_CLI_TRAIN_EVAL_H
#define KD_CLI_TRAIN_EVAL_H

#include "distill/cli/train_data.h"
#include "student/run.h"

typedef struct kd_train_eval kd_train_eval;
/* What the flags --eval-*, --general ask for; *out = NULL where they ask for nothing. study: the first study among the sources, or NULL.
 * *rows: of the longest lesson in it; *bytes: memory that measuring takes besides training. */
kd_code kd_train_eval_new(kd_train_eval **out, kd_cli *cli, const kd_train_data *d, const kd_train_source *s, const kd_config *c,
                          size_t *rows, uint64_t *bytes, kd_err *e);
void kd_train_eval_free(kd_train_eval *v);
/* What the student runs on from now; all outlive it. */
void kd_train_eval_bind(kd_train_eval *v, const kd_model *m, const kd_train_method *method, kd_pool *pool);
/* Fills line; the weights are t's as they are. KD_EINTERRUPT, KD_ETERMINATE when the watch says stop. */
kd_code kd_train_eval_run(kd_train_eval *v, kd_trainer *t, kd_eval_line *line, kd_err *e);
/* "40 held-out lessons, 12 questions ..." for people and for the record. */
kd_code kd_train_eval_text(kd_buf *out, const kd_train_eval *v);

#endif
