/* student/run.h - a run folder: settings, metrics, checkpoints, result; begun, killed, begun again. Leans on checkpoint.h, base/event.h.
 *   RUN/config.yaml            the settings; another run of them must agree
 *   RUN/metrics.jsonl          a line an update; cut back to the checkpoint when a run goes on
 *   RUN/checkpoints/step-N/    see checkpoint.h
 *   RUN/adapter/ or RUN/model/ the result, when all updates are done
 * Going on is byte for byte: weights, optimizer and the numbers of metrics (times apart) are those of the unbroken run. */
#ifndef KD_STUDENT_RUN_H
#define KD_STUDENT_RUN_H

#include "distill/base/event.h"
#include "student/checkpoint.h"

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
    uint64_t save_every;                       /* updates; 0: every two minutes */
    unsigned keep;                             /* checkpoints; 0 counts as 2 */
    const char *base;                          /* what the adapter names as its base */
    void (*note)(void *ctx, const char *text); /* a remark for people, or NULL */
    void *ctx;
} kd_run_options;
typedef struct {
    uint64_t first, steps;        /* update it went on from; updates done in all */
    double loss_first, loss_last; /* of the updates done now; NaN if none */
    double seconds, flops;        /* of the updates done now */
    uint64_t tokens, loss_tokens; /* of them */
    bool done;                    /* the result is saved */
} kd_run_report;
/* Goes on from the newest checkpoint to the last update, then saves the result. When w asks to stop, the update is finished, a checkpoint saved,
 * and its code returned. Errors besides: those of step and of files. */
kd_code kd_run_train(kd_run *r, kd_trainer *t, const kd_model *m, const kd_train_options *o, const kd_train_plan *plan,
                     const kd_run_options *ro, const kd_watch *w, kd_run_report *out, kd_err *e);

#endif
