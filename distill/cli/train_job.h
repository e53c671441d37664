/* distill/cli/train_job.h - a run of `distill train` as cmd_train.c makes it and train_say.c tells of it. Leans on train_base.h, train_eval.h, student/run.h. */
#ifndef KD_CLI_TRAIN_JOB_H
#define KD_CLI_TRAIN_JOB_H

#include "distill/cli/train_base.h"
#include "distill/cli/train_eval.h"
#include "student/run.h"

#include <limits.h>

/* Everything that a run of the command holds. */
typedef struct kd_train_job {
    kd_cli *cli;
    kd_source source;
    kd_model *m;
    kd_adapter *start;
    kd_rank *ranks;    /* of modules, where they differ */
    kd_extension *ext; /* what the model lacked, or NULL */
    kd_tokenizer *tokenizer;
    kd_chat *chat; /* of the student; ext's where there is one */
    kd_train_eval *eval;
    kd_lessons lessons;
    kd_train_data data;
    kd_train_options o;
    kd_train_plan plan;
    kd_pool *pool;
    kd_run *run;
    kd_trainer *t;
    char base[PATH_MAX], start_sha256[65];
    const char *names[KD_SOURCES_MAX];
    int64_t now; /* the date that templates show: of the run's beginning, however often it goes on */
} kd_train_job;

/* Lessons, sources, packing and memory: on stderr, with -n on stdout, with --json as one object. */
kd_code kd_train_say_plan(kd_train_job *j, kd_err *e);
/* The first lesson of each source, with what of it is learned: on a terminal, and with -v. */
kd_code kd_train_show_lessons(kd_train_job *j, kd_err *e);
/* What was trained, gained and forgotten. */
kd_code kd_train_say_result(kd_train_job *j, const kd_run_report *r, kd_err *e);

#endif
