/* datasets/dedup.h - questions that are alike, and questions that stand in other files: told beside the prompts, nothing deleted. Leans on study.h, base. */
#ifndef KD_DATASETS_DEDUP_H
#define KD_DATASETS_DEDUP_H

#include "datasets/study.h"
#include "distill/base/pool.h"

typedef struct {
    double threshold;           /* Jaccard of the sets of five-word shingles; 0 counts as 0.8 */
    const char *const *against; /* question files that the study must not hold */
    size_t n_against;
    kd_pool *pool;
    /* Told of each pair, a near-duplicate (with a null file) or a contamination; may be NULL. */
    void (*pair)(void *ctx, const char *kind, int64_t prompt, kd_str text, const char *file, int64_t other, kd_str other_text,
                 double share);
    void *ctx;
} kd_dedup_opts;
typedef struct {
    uint64_t prompts, exact, near; /* questions looked at; with the words of one before; otherwise alike to one before */
    uint64_t compared;             /* pairs whose sets were compared */
    uint64_t against, bad;         /* rows of the other files; rows that could not be read */
    uint64_t touched,
        contaminated; /* questions that share a run of 8 words; of which the run is half of the shorter question, or 13 words are shared */
} kd_dedup_report;
/* Writes rows of prompt_labels, those of an earlier run of the same kind being replaced, in one transaction:
 *   duplicate_of  the id of the first question like it, detail what it is like and how much; questions without one have no row
 *   contaminated  0 to 1, words of the longest run shared with a question of the files, of the shorter one's words; detail the pair. Only with against; a row for
 *                 every question that shares eight words in a row (or all, where there are fewer).
 * In --select both are columns, NULL where there is no row. Errors: the study's, the files', KD_EINVAL a threshold. Test: tests/datasets/test_near_dup.c */
kd_code kd_dedup_run(kd_study *s, const kd_dedup_opts *o, const kd_watch *w, kd_dedup_report *out, kd_err *e);

#endif
