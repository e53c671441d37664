/* datasets/batches.h - work that is out in a batch: leases that outlive the process that sent them. Leans on study.h. */
#ifndef KD_DATASETS_BATCHES_H
#define KD_DATASETS_BATCHES_H

#include "datasets/study.h"

typedef struct {
    int64_t id, settings, requests, left; /* left: not answered yet */
    char mark[33];                        /* ours: begins each custom_id, and goes into the provider's metadata */
    char remote[128];                     /* the provider's id, "" before it has one */
    char state[24]; /* "taken" (perhaps not sent), "sent", "file" (written for run-batch), and at the end what the provider called it */
    char url[512], model[128];
    int64_t created; /* milliseconds since 1970 */
} kd_sent_batch;

/* The leases of w whose tries were noted (kd_work_sent) go over to a new batch and end with it alone. Errors: the study's. */
kd_code kd_batch_take(kd_sent_batch *out, kd_work *w, const char *url, bool file, kd_err *e);
kd_code kd_batch_sent(kd_study *s, int64_t id, const char *remote, kd_err *e);
/* Batches whose mark or provider's id is name, or all that are not ended where name is NULL; one after another: *more false when there is none with an id above
 * after. */
kd_code kd_batch_next(kd_study *s, const char *name, int64_t after, kd_sent_batch *out, bool *more, kd_err *e);
/* It ended: what has no answer is free to be asked again. charged: what it may have cost is counted as lost, else as never sent. */
kd_code kd_batch_end(kd_study *s, int64_t id, const char *state, bool charged, kd_err *e);

#endif
