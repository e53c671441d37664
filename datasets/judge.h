/* datasets/judge.h - a model as the judge: questions to it made of samples, and what it answered read as a label. Asking is a teacher's trade: distill/cli
 * joins the two. Leans on label.h.
 * A question to the judge is a row of `prompts` in the split "judge:" + 12 digits of its template's sha256, its votes are rows of `samples` there: the
 * same queue, budget and lineage as any answer, never asked twice. Selections, exports and checks pass these splits over. */
#ifndef KD_DATASETS_JUDGE_H
#define KD_DATASETS_JUDGE_H

#include "datasets/label.h"

extern const char kd_judge_template[]; /* what is asked where no template is given */

typedef struct {
    kd_str text; /* the template: {question} {answer} {thought} {gold} stand for the sample's; {answer} must be in it. {NULL,0}: ours */
    const char *select; /* only samples of this expression; NULL: all */
    int votes;          /* answers of the judge a sample; 0: 1 */
} kd_judge_opts;
typedef struct {
    uint64_t looked, added;         /* samples; questions that were new (two samples may ask the same) */
    uint64_t right, wrong, unknown; /* labels written */
    uint64_t missing;               /* not all votes are there yet: no label */
    uint64_t without;               /* the template says {gold}, and there is none: label NULL */
} kd_judge_report;

/* Is this a template? KD_EINVAL says what is wrong with it. split: where its questions stand. */
kd_code kd_judge_check(const kd_judge_opts *o, char split[32], kd_err *e);
/* Puts what is not there yet into the study, in batches of one transaction each. Counts looked and added. */
kd_code kd_judge_prepare(kd_study *s, const kd_judge_opts *o, const kd_watch *w, kd_judge_report *r, kd_err *e);
/* Writes the label "judge" of every sample whose votes under these settings (of a teacher's report) are complete: more than half say right, or wrong; else
 * unknown. judge: a name for the details. */
kd_code kd_judge_tell(kd_study *s, const kd_judge_opts *o, int64_t settings, const char *judge, const kd_watch *w, kd_judge_report *r,
                      kd_err *e);
/* One vote: the last line that is not empty is "VERDICT: right" or "VERDICT: wrong" (any case) and nothing else; an answer that was cut says nothing. */
kd_verdict kd_judge_vote(kd_str answer, kd_str finish);

#endif
