/* teacher/keeper.h - the second thread of a remote run: what arrives is committed in groups while the first goes on asking. Leans on
 * response.h, teacher.h. */
#ifndef KD_TEACHER_KEEPER_H
#define KD_TEACHER_KEEPER_H

#include "teacher/response.h"
#include "teacher/teacher.h"

/* One answer or one failed attempt, owned. */
typedef struct kd_kept {
    struct kd_kept *next;
    bool failed;
    kd_response response; /* an answer's parts */
    kd_buf raw;           /* the body */
    kd_buf logprobs;      /* as logprobs.h has them; or empty */
    kd_buf meta;          /* a JSON object, or empty */
    char reason[256];     /* of a failed attempt */
    kd_answer answer;     /* numbers; strings are set from response and raw when it is committed */
    kd_attempt attempt;
} kd_kept;
kd_kept *kd_kept_new(void); /* NULL: no memory */
void kd_kept_free(kd_kept *k);

typedef struct kd_keeper kd_keeper;
/* Commits into s, which nobody else uses until kd_keeper_end; o: for its judge, called behind each commit. */
kd_code kd_keeper_begin(kd_keeper **out, kd_study *s, const kd_teach_opts *o, int64_t settings, int64_t run, kd_err *e);
void kd_keeper_give(kd_keeper *k, kd_kept *one); /* takes it; waits while 4096 are not committed yet */
bool kd_keeper_failed(kd_keeper *k);             /* a commit failed: stop asking */
bool kd_keeper_idle(kd_keeper *k);               /* all that was given is on disk, and judged */
uint64_t kd_keeper_added(kd_keeper *k);          /* answers on disk so far */
/* Commits the rest, ends the thread, frees. Errors: the first commit that failed. */
kd_code kd_keeper_end(kd_keeper *k, uint64_t *added, uint64_t *duplicates, kd_err *e);

#endif
