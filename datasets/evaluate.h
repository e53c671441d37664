/* datasets/evaluate.h - what answers that stand in a study say of who gave them: pass@1, pass@k, cons@k, and the paired comparison of two. Leans on
 * study.h, label.h. */
#ifndef KD_DATASETS_EVALUATE_H
#define KD_DATASETS_EVALUATE_H

#include "datasets/study.h"
#include "distill/base/pool.h"

/* Over the questions of one split that have a gold answer: answers are compared with it here, programs (task code) count by their label `code`, which must be there. Questions
 * count alike, however many samples each has.
 *   pass1 = mean over questions of right / samples;  passk = share of questions with a right answer among k;
 *   consk = share whose most frequent answer is right (ties count as the share of tied answers that are right; programs are never the same).
 * ci: 95 % of pass1: Wilson's interval on the effective number of questions, p(1-p) / (s^2/n), s^2 the variance of the questions' own means
 * (the number of questions itself where k = 1). Sources: Wilson 1927; Chen et al. 2021, arXiv:2107.03374 (pass@k); Wang et al. 2022, arXiv:2203.11171. */
typedef struct {
    uint64_t questions;                /* with a gold answer and k samples under these settings */
    uint64_t without_gold, incomplete; /* left out */
    int k;
    double pass1, ci[2], passk, consk;
    uint64_t right, wrong, unknown, truncated; /* samples */
    double mean_tokens;                        /* of an answer */
    int64_t *prompt;                           /* [questions] ids, ascending */
    float *mean;                               /* [questions] share of right samples */
} kd_eval;

/* limit: the first questions of the split in the order of import (0: all); where: SQL condition on the columns of a selection, or NULL. */
kd_code kd_evaluate(kd_eval *out, kd_study *s, int64_t settings, const char *split, uint64_t limit, int k, const char *where, kd_err *e);
void kd_eval_clear(kd_eval *v);

/* b against a on the questions that both have: difference of means, its 95 % interval (normal, paired), and the two-sided p value of a sign-flip
 * permutation test (exact binomial over the questions that differ where k = 1; else 20,000 random flips from a fixed seed). */
typedef struct {
    uint64_t questions, better, worse; /* questions where b's mean is above, below a's */
    double difference, ci[2], p;
} kd_paired;
void kd_eval_compare(kd_paired *out, const kd_eval *a, const kd_eval *b);

/* Wilson's 95 % interval of a share p of n. */
void kd_wilson(double p, double n, double ci[2]);

#endif
