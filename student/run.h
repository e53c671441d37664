/* student/run.h - a run folder: settings, metrics, checkpoints, result; begun, killed, begun again. Leans on checkpoint.h, base/event.h.
 *   RUN/config.yaml            the settings; another run of them must agree
 *   RUN/metrics.jsonl          a line an update; cut back to the checkpoint when a run goes on
 *   RUN/evals.jsonl            see evals.h; likewise
 *   RUN/base or base.gguf      the base that a student with new tokens, template or end of turn is of (model/extend.h)
 *   RUN/checkpoints/step-N/    see checkpoint.h
 *   RUN/adapter/ or RUN/model/ the result, when all updates are done
 * Going on is byte for byte: weights, optimizer and the numbers of metrics (times apart) are those of the unbroken run. */
#ifndef KD_STUDENT_RUN_H
#define KD_STUDENT_RUN_H

#include "distill/base/event.h"
#include "student/checkpoint.h"
#include "student/evals.h"

typedef struct kd_run kd_run;
/* Opens or makes the folder and locks it. fresh: what a run left there is removed first. Errors: KD_ECREATE; KD_ELIMIT another process trains in it. */
kd_code kd_run_open(kd_run **out, const char *dir, bool fresh, kd_err *e);
void kd_run_close(kd_run *r);
/* As kd_run_recorded, of a folder that is not opened. */
bool kd_run_peek(const char *dir, const char *key, char *value, size_t n);
/* The value of a line "# key: value" or "key: value" of the settings on record; false if there is none. */
bool kd_run_recorded(const kd_run *r, const char *key, char *value, size_t n);
/* Records settings (lines "key: value"), or, where the folder has some, compares: lines whose key is in free (ends with NULL) may differ and are replaced.
 * Errors: KD_ECONFIG names each difference, there and now. */
kd_code kd_run_settle(kd_run *r, kd_str settings, const char *const *free, kd_err *e);

typedef struct {
    uint64_t save_every; /* updates; 0: every two minutes */
    unsigned keep;       /* checkpoints; 0 counts as 2; the best evaluation's is kept besides */
    const char *base;    /* what the adapter names as its base */
    /* Measures t as it is into line (loss, general, pass1, questions); stops when its watch says so. NULL: nothing is measured. */
    kd_code (*evaluate)(void *ctx, kd_trainer *t, kd_eval_line *line, kd_err *e);
    uint64_t eval_every; /* updates; 0: before the first and after the last alone */
    unsigned patience;   /* evaluations without a better one after which training ends; 0: none */
    bool last;           /* the result is of the last update even where an earlier one was better */
    /* Adds files to the result before it is put in place. */
    kd_code (*beside)(void *ctx, const char *dir, kd_err *e);
    double peak_flops;          /* of this machine, for people to compare with; 0: unknown */
    const char *const *sources; /* names, where there are several */
    size_t n_sources;
    void (*note)(void *ctx, const char *text); /* a remark for people, or NULL */
    void *ctx;
} kd_run_options;
typedef struct {
    uint64_t first, steps;        /* update it went on from; updates done in all */
    double loss_first, loss_last; /* of the updates done now; NaN if none */
    double seconds, flops;        /* of the updates done now */
    uint64_t tokens, loss_tokens; /* of them */
    bool done;                    /* the result is saved */
    uint64_t result_step;         /* the update that it is of */
    bool stopped_early;
    kd_eval_line before, after; /* evaluations of update 0 and of the result; NaN where there were none */
    size_t padded;
} kd_run_report;
/* Goes on from the newest checkpoint to the last update, then saves the result. When w asks to stop, the update is finished, a checkpoint saved,
 * and its code returned. Errors besides: those of step and of files. */
kd_code kd_run_train(kd_run *r, kd_trainer *t, const kd_model *m, const kd_train_options *o, const kd_train_plan *plan,
                     const kd_run_options *ro, const kd_watch *w, kd_run_report *out, kd_err *e);

#endif
