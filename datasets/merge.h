/* datasets/merge.h - studies made on several machines joined into one. Leans on study.h. */
#ifndef KD_DATASETS_MERGE_H
#define KD_DATASETS_MERGE_H

#include "datasets/study.h"

typedef struct {
    uint64_t prompts, prompts_new; /* of the source; of these, new here */
    uint64_t prompts_differ;       /* known here with another gold answer, split or task: what stands here stays */
    uint64_t samples, samples_new; /* conflicts counted in */
    uint64_t
        conflicts; /* another answer stands here under the same question, settings and number: both are kept, ours under the next free number */
    uint64_t attempts, attempts_new, labels_new, labels_differ, runs_new;
} kd_merge_report;

/* Everything of src that dst lacks, by content: prompts by the hash of their messages and tools, settings by theirs, answers by (prompt, settings, number) and what
 * they say, attempts by their time and reason, runs by process and start. Nothing comes twice, however often and in whatever order studies are merged; leases do not
 * come along. Transactions of some hundred rows: killed and run again it goes on. Memory flat in rows. What differs is emitted as notes, the first twenty of each kind.
 * Errors: KD_EINVAL src is dst; those of opening src (KD_ENOENT, KD_EFORMAT, ...) and of writing dst. Test: tests/datasets/test_merge.c */
kd_code kd_study_merge(kd_study *dst, const char *src, const kd_watch *w, kd_merge_report *out, kd_err *e);

#endif
