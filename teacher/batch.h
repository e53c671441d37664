/* teacher/batch.h - asking by file: the batch APIs of OpenAI and of those who speak like it, and the files of vLLM's run-batch. Leans on teacher.h. */
#ifndef KD_TEACHER_BATCH_H
#define KD_TEACHER_BATCH_H

#include "datasets/batches.h"
#include "teacher/teacher.h"

typedef struct {
    uint64_t requests;  /* of a batch at most; 0: 50000 */
    uint64_t bytes;     /* of its file at most; 0: 100 MB */
    const char *window; /* completion_window; NULL: "24h" */
    const char *file;   /* NULL: to the endpoint; else written here (submit), read from here (fetch) */
} kd_batch_opts;
typedef struct {
    uint64_t batches, requests;            /* submitted, looked at */
    uint64_t answered, duplicates, failed; /* by fetch */
    uint64_t freed;                        /* without an answer when their batch ended: asked again by whoever asks next */
    uint64_t waiting;                      /* batches that are not done */
    double cost;
} kd_batch_report;
/* Called with each batch as it stands: what the provider says of it, and how many of its requests are through. */
typedef void kd_batch_told(void *ctx, const kd_sent_batch *b, const char *state, int64_t done, int64_t failed);

/* Leases what is missing and sends it, a batch after another, until nothing is missing or the budget is reached; answers stand under the same settings as live ones.
 * A batch that was taken and perhaps never sent, for its process died, is looked for at the provider first. Errors: as kd_teach_remote. */
kd_code kd_batch_submit(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, const kd_batch_opts *b, const kd_watch *w,
                        kd_batch_report *r, kd_err *e);
/* What became of the batches that are not ended (name: of that one): told each. ro: key, headers, CA, timeout, prices. */
kd_code kd_batch_status(kd_study *s, const char *name, const kd_remote_opts *ro, kd_batch_told *told, void *ctx, kd_batch_report *r,
                        kd_err *e);
/* Takes in what is done, of batches that ended early too; run again, it takes what is new. Lines come in any order; a line of another study, or one cut or damaged, is
 * passed over and told by a warning. */
kd_code kd_batch_fetch(kd_study *s, const char *name, const kd_teach_opts *o, const kd_remote_opts *ro, const kd_batch_opts *b,
                       const kd_watch *w, kd_batch_report *r, kd_err *e);
kd_code kd_batch_cancel(kd_study *s, const char *name, const kd_remote_opts *ro, kd_batch_report *r, kd_err *e);

#endif
