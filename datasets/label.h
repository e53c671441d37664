/* datasets/label.h - judging answers: verdicts and measures stand beside samples and delete nothing. Leans on study.h, base. */
#ifndef KD_DATASETS_LABEL_H
#define KD_DATASETS_LABEL_H

#include "datasets/sandbox.h"
#include "datasets/study.h"
#include "distill/base/pool.h"

/* ---- one answer at a time (eval, teachers that stop when an answer is right) ---- */
typedef enum { KD_UNKNOWN, KD_RIGHT, KD_WRONG } kd_verdict;
const char *kd_verdict_name(kd_verdict v); /* "unknown", "right", "wrong" */
typedef struct {
    kd_verdict verdict;
    bool machine;     /* unknown for want of something on this machine: worth judging again */
    char reason[256]; /* "boxed 18 = 18", "no answer found", "too large", "test 3 of 12: line 1: expected \"5\", found \"6\"", ... */
} kd_judgement;
/* Is the final answer of text (what stands outside the thought) the gold one? text's last \boxed{}, "final answer is", #### or, failing these,
 * last number, compared exactly. Bounded in time and memory for every input. Reentrant. gold: the bare reference ("42", "\\frac{1}{2}"). */
kd_code kd_label_math(kd_judgement *out, kd_str text, kd_str gold, kd_err *e);
/* The final answer of text as it stands there (a view), {NULL,0} if none; *how (or NULL) "boxed", "final answer", "####", "last number". */
kd_str kd_math_final(kd_str text, const char **how);
/* Are two bare answers equal? For majority votes. Errors: KD_ENOMEM. */
kd_code kd_math_equal(kd_verdict *out, kd_str a, kd_str b, kd_err *e);

typedef struct {
    double seconds;      /* of processor time a run, where the tests do not say; 0: 10 */
    double idle_seconds; /* of waiting; 0: 10 */
    uint64_t memory;     /* bytes, where the tests do not say; 0: 1 GiB */
    bool (*stop)(void *ctx);
    void *ctx;
} kd_code_opts;
/* Does the program in answer pass the tests in gold (datasets/README.md, "Programs")? Run in the sandbox, or not at all: b NULL or missing is unknown.
 * o may be NULL. Reentrant. Errors: KD_ENOMEM; KD_EINTERRUPT stop said so. Test: tests/datasets/test_code.c */
kd_code kd_label_code(kd_judgement *out, kd_sandbox *b, kd_str answer, kd_str gold, const kd_code_opts *o, kd_err *e);

/* Share of text that only repeats, 0 (nothing does) to 1 (an endless loop): the longest tail of period p repeated >= 3 times over the length, or
 * the share of bytes in repeated 8-word windows beyond their first, whichever is more. O(n). Errors: KD_ENOMEM. */
kd_code kd_label_repeats(double *out, kd_str text, kd_err *e);

/* ---- a whole study ---- */
typedef struct {
    kd_buf thought, answer;
    kd_thought_from from;
} kd_reread; /* what a raw body says */
typedef struct {
    const char *checks;                   /* comma-separated names, NULL: "math,finished,repeats,empty" */
    const char *select;                   /* only samples of this expression; NULL: all */
    bool again;                           /* also those that have the label at this version */
    const struct kd_tokenizer *tokenizer; /* of the student, for thought_tokens; NULL: the teacher's own counts */
    kd_pool *pool;                        /* NULL: the caller alone */
    kd_sandbox *sandbox;                  /* NULL: programs are not run, and "code" is refused; else "code" is among the checks of NULL */
    kd_code_opts code;                    /* its stop is set by the watch */
    /* Nothing is written: labels that stand at their version are made anew and compared. */
    bool verify;
    kd_code (*reread)(void *ctx, kd_str body, const char *prefill, kd_reread *out, kd_err *e);           /* or NULL: by the stored texts */
    void (*differs)(void *ctx, int64_t sample, const char *what, const char *stored, const char *found); /* each difference; or NULL */
    void *reread_ctx, *differs_ctx;
} kd_label_opts;
typedef struct {
    uint64_t looked;                   /* samples that lacked a label of those asked for */
    uint64_t written;                  /* label rows */
    uint64_t right, wrong, unknown;    /* of math (and code) */
    uint64_t compared, differ, bodies; /* verify: labels, differences, raw bodies read again */
} kd_label_report;
/* Labels what lacks a label at its version, in batches of one transaction each: may be killed and run again. Errors: KD_EINVAL an unknown check
 * (the message lists them), and the study's own. */
kd_code kd_label_run(kd_study *s, const kd_label_opts *o, const kd_watch *w, kd_label_report *out, kd_err *e);

/* ---- questions as a whole ---- */
typedef struct {
    uint64_t prompts, samples; /* counted anew: their samples changed since */
    uint64_t doubted;          /* questions whose gold answer most samples contradict */
} kd_agreement_report;
/* The final answers of each question's samples, grouped where they are equal. Rows of prompt_labels: agreement (samples of the largest group over all: what
 * cons@k looks at), majority (its answer as it stands in the first), gold_doubt (1 where three samples or more, and 70 % of all, say another answer than
 * gold). Sample label agrees: 1 or 0, NULL without an answer. Questions of code are passed over. May be killed and run again; only questions with samples
 * that were not counted are looked at, unless again. Test: tests/datasets/test_select.c */
kd_code kd_agreement_run(kd_study *s, bool again, const kd_watch *w, kd_agreement_report *out, kd_err *e);

#endif
