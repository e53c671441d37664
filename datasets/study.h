/* datasets/study.h - the study file: one SQLite database of prompts, samples, labels, attempts, runs and leases. Leans on base.
 * The only way to it for teacher, student and cli; datasets/db.c alone knows SQLite. Schema: datasets/README.md.
 * Threads: a handle belongs to one thread at a time. kd_work, kd_prompts and kd_select have a connection of their own, so one thread may
 * lease from a kd_work while another commits through the kd_study that it was opened from. Open as many as you like, from any process. */
#ifndef KD_DATASETS_STUDY_H
#define KD_DATASETS_STUDY_H

#include "distill/base/event.h"
#include "distill/base/mem.h"

/* ---- the file ---- */
typedef struct kd_study kd_study;
typedef enum {
    KD_STUDY_READ,  /* must exist; nothing is written */
    KD_STUDY_WRITE, /* must exist; an older schema is migrated */
    KD_STUDY_CREATE /* made if absent */
} kd_study_mode;
/* Errors: KD_ENOENT; KD_EFORMAT not a study, damaged, or of a newer distill; KD_ECREATE; KD_EIO read-only, disk full;
 * KD_ELIMIT locked by another program for 30 s (running again mends that). */
kd_code kd_study_open(kd_study **out, const char *path, kd_study_mode mode, kd_err *e);
void kd_study_close(kd_study *s);
const char *kd_study_path(const kd_study *s);
kd_code kd_study_check(kd_study *s, kd_err *e); /* reads every page and index; KD_EFORMAT names the first damage */

/* ---- settings: what changes an answer ---- */
/* *id of these settings, made if new. json: an object of everything that changes an answer (teacher, model, system, temperature, ...; not
 * concurrency, not the key). It is stored canonical (members sorted, no white space) and hashed; "teacher" and "model", strings, become columns.
 * hash (or NULL) receives the sha256 of the canonical text. */
kd_code kd_study_settings(kd_study *s, int64_t *id, const char *json, char hash[65], kd_err *e);
/* *id of these settings, 0 if the study does not have them. Writes nothing. */
kd_code kd_study_settings_find(kd_study *s, int64_t *id, const char *json, kd_err *e);
kd_code kd_json_canonical(kd_buf *out, const char *json, size_t n, kd_err *e);

/* ---- runs: lineage ---- */
kd_code kd_run_begin(kd_study *s, int64_t *run, const char *kind, const char *settings_json, const char *lineage_json, kd_err *e);
kd_code kd_run_end(kd_study *s, int64_t run, const char *how, kd_err *e); /* how: "done", "interrupted", "failed: ..." */

/* ---- work: the queue is the database ---- */
typedef struct kd_work kd_work;
typedef struct {
    const char *split; /* NULL: every split */
    uint64_t limit;    /* the first so many prompts of that split in the order of import; 0: all */
    int samples;       /* numbers 0..samples-1 of each prompt are wanted; 0 counts as 1 */
    int until; /* not all of these, but so many that are right: a question is asked for what it lacks, while others' verdicts are awaited; 0: all */
    bool adaptive; /* everybody gets .first of them; the others go, one by one, to the questions that are as often right as wrong so far */
    int first;     /* 0: 1 */
} kd_work_opts;    /* until and adaptive need verdicts: labels "math" or "code" of what was answered */
typedef struct {
    int64_t prompt;  /* its id */
    int sample;      /* its number, from 0 */
    kd_str messages; /* a JSON array of {"role","content",...}: the conversation so far */
    kd_str tools;    /* a JSON array, or {NULL,0} */
    kd_str gold;     /* the answer to check against, or {NULL,0} */
    kd_str task;     /* "math", "code", "text", or what import was told */
} kd_work_item;
typedef struct {
    uint64_t total;     /* prompts of the filter x samples; with until: questions */
    uint64_t done;      /* of these, answered under these settings; with until: settled, by right answers or by all that were allowed */
    uint64_t here;      /* leased to this process (any handle of it) */
    uint64_t elsewhere; /* leased to other living processes */
} kd_work_state;
/* settings from kd_study_settings. What is missing = no row of samples for (prompt, number, settings). */
kd_code kd_work_open(kd_work **out, kd_study *s, int64_t settings, const kd_work_opts *o, kd_err *e);
/* Leases up to max items that are missing and not leased, prompt by prompt in the order of import, the samples of a prompt together.
 * *n = 0: nothing to be had now (all done, or the rest is leased; kd_work_count tells which; calling again later sees leases that died).
 * An item is given once by a kd_work, unless its lease was lost. Strings live until the next call. A lease ends by commit, release, close,
 * the death of its process, or 5 minutes without a sign of life from a process on another machine (every call of next, beat and commit is one). */
kd_code kd_work_next(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e);
kd_code kd_work_beat(kd_work *w, kd_err *e);
kd_code kd_work_release(kd_work *w, int64_t prompt, int sample, kd_err *e); /* others may have it; this kd_work does not get it again */
kd_code kd_work_count(kd_work *w, kd_work_state *out, kd_err *e);           /* exact; an index scan */
void kd_work_close(kd_work *w);                                             /* releases what it still holds */
/* Says, before they go out, that these leased items are tried now, each at a cost of at most worst USD (negative: unknown). The commit of an answer or
 * attempt brings one try home; tries that never come home, for their process died or closed the queue, become rows of attempts, reason "lost",
 * charged at their worst, as soon as somebody finds the lease. */
typedef struct {
    int64_t prompt;
    int sample;
    double worst;
} kd_work_try;
/* budget (USD under these settings; negative: none): of the tries only the first *may go, those that with all that was spent and all that is in the air, of every
 * process, cannot pass it even at their worst. */
kd_code kd_work_sent(kd_work *w, const kd_work_try *tries, size_t n, double budget, size_t *may, kd_err *e);
void kd_work_look(kd_work *w);                 /* the next kd_work_next looks at everything, however lately it did */
bool kd_work_open_questions(const kd_work *w); /* until: some may be asked again when their verdicts are known */
/* As kd_work_count, without taking part: nothing is written. settings 0: none yet, so nothing is done. */
kd_code kd_work_plan(kd_study *s, int64_t settings, const kd_work_opts *o, kd_work_state *out, kd_err *e);

/* ---- answers ---- */
typedef enum {
    KD_THOUGHT_NONE,              /* completion = answer */
    KD_THOUGHT_TAGS,              /* completion = <think> thought </think> answer */
    KD_THOUGHT_CLOSE,             /* completion = thought </think> answer (the opening tag was the prompt's) */
    KD_THOUGHT_UNCLOSED,          /* completion = <think> thought (cut before it closed) */
    KD_THOUGHT_OPENED,            /* completion = thought (the opening tag was the prompt's; cut before it closed) */
    KD_THOUGHT_REASONING_CONTENT, /* given apart, in that field */
    KD_THOUGHT_REASONING,
    KD_THOUGHT_THINKING
} kd_thought_from;
const char *kd_thought_name(kd_thought_from f);

/* Splits a completion at its thought; exact bytes, nothing trimmed: kd_completion of the parts gives it back. opened: the prompt ended with
 * the opening tag. Views into text. */
kd_thought_from kd_thought_split(kd_str text, bool opened, kd_str *thought, kd_str *answer);
/* out += the completion as one text; thoughts given apart are put as "<think>\n" thought "\n</think>\n\n" answer. */
kd_code kd_completion(kd_buf *out, kd_thought_from f, kd_str thought, kd_str answer);

typedef struct {
    int64_t prompt;
    int sample;
    kd_str thought, answer; /* malformed UTF-8 is stored as U+FFFD (the raw body keeps the bytes) */
    kd_thought_from thought_from;
    const char *finish; /* "stop", "length", ... as the teacher said it; NULL unknown */
    int64_t prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens; /* -1 unknown (0 would be a count) */
    double cost;                                                               /* USD; negative: unknown */
    double seconds, first_token_seconds;                                       /* negative: unknown */
    int attempts;                                                              /* tries it took, this one counted in; 0 counts as 1 */
    kd_str raw;                                                                /* the body as it came, stored compressed; may be empty */
    kd_str logprobs;                                                           /* as logprobs.h has them; may be empty */
    kd_str meta;                                                               /* JSON object or empty */
} kd_answer;
typedef struct {
    int64_t prompt;
    int sample;
    const char *reason;                       /* "http 429", "timeout", "empty body", ... */
    int status;                               /* HTTP status, or 0 */
    int64_t prompt_tokens, completion_tokens; /* charged; -1 unknown */
    double cost;                              /* charged; negative: unknown */
    double seconds;
    bool final; /* given up */
    kd_str raw;
} kd_attempt;
/* One transaction: the answers become samples, their leases end, failed attempts are rows of their own, the spend is added up. When it
 * returns KD_OK all are on disk (fsync); otherwise nothing was written (but where that fsync alone failed: then they are there, for now). *added (or NULL): answers that were new (a second answer for
 * the same prompt, number and settings is not stored, but its cost is kept as an attempt "duplicate"). */
kd_code kd_study_commit(kd_study *s, int64_t settings, int64_t run, const kd_answer *a, size_t n, const kd_attempt *f, size_t m,
                        size_t *added, kd_err *e);

typedef struct {
    uint64_t samples, attempts;
    int64_t prompt_tokens, completion_tokens, reasoning_tokens, cached_tokens; /* known ones, failed attempts included */
    double cost, cost_failed;                                                  /* USD: of everything; of failed attempts alone */
} kd_spend;
kd_code kd_study_spend(kd_study *s, int64_t settings, kd_spend *out, kd_err *e); /* settings 0: the whole study; O(1) in rows */

/* Mean seconds of the last thousand answers under these settings; negative: none that tells. */
kd_code kd_study_seconds(kd_study *s, int64_t settings, double *out, kd_err *e);

/* ---- prompts in the order of import (eval, preview) ---- */
typedef struct kd_prompts kd_prompts;
typedef struct {
    int64_t id;
    kd_str messages, tools, gold, reference, task, split, source, meta; /* {NULL,0} where absent */
    int64_t line;
} kd_prompt;
kd_code kd_prompts_open(kd_prompts **out, kd_study *s, const char *split, uint64_t limit, uint64_t *count,
                        kd_err *e);                                            /* count may be NULL */
kd_code kd_prompts_next(kd_prompts *p, kd_prompt *row, bool *more, kd_err *e); /* strings live until the next call */
void kd_prompts_close(kd_prompts *p);

/* ---- selection ---- */
typedef struct kd_select kd_select;
typedef struct {
    const char
        *select; /* one SQL expression over the columns of datasets/README.md and the label names, e.g. "math = 'right' and repeats < 0.2";
                             NULL: split train, finished, and right where there is a gold answer */
    const char *split;  /* NULL: the default selection says train, an expression says all */
    const char *weight; /* one SQL expression over the same columns: kd_row.weight; NULL: 1. No part of a kept selection */
    int64_t settings;   /* only these; 0: all */
    bool any;           /* with select NULL: every sample */
    bool refuse_test;   /* a row of the split "test" is an error, KD_ECHECK (train sets this) */
    /* What is taken of what the condition leaves, in this order; 0 and NULL: all. */
    double easiest, hardest; /* pass_rate of the question within [hardest, easiest]; easiest 0: any (1.0 and 0.0 are the ends) */
    int64_t max_tokens;      /* answers of at most so many tokens (a quarter of their characters, where the teacher did not say) */
    int per_question;        /* at most so many samples a question ... */
    enum { KD_PREFER_FIRST, KD_PREFER_SHORTEST, KD_PREFER_LONGEST, KD_PREFER_RANDOM, KD_PREFER_DIVERSE } prefer; /* ... these first */
    const char *balance; /* as many rows of each value of this column or label as of the rarest */
    uint64_t seed;       /* of random and balance; the same seed takes the same rows */
} kd_select_opts;
typedef struct {
    int64_t prompt, sample_id, settings;
    int sample;
    kd_str messages, tools, gold, task, split, source;
    kd_str thought, answer;
    kd_thought_from thought_from;
    kd_str finish, teacher, model; /* teacher "import": the row came with the question file */
    int64_t prompt_tokens, completion_tokens, reasoning_tokens;
    kd_str labels; /* JSON object {"math":"right","repeats":0.03,...} */
    double weight; /* of kd_select_opts.weight; NaN where the expression gives no number */
} kd_row;
/* Read-only and sandboxed: one expression, no statement, no function that is not on a list of pure ones; KD_EINVAL says what is wrong with it and
 * which columns there are. Rows come by prompt, then settings, then number: the same on every run over the same study. */
kd_code kd_select_open(kd_select **out, kd_study *s, const kd_select_opts *o, kd_err *e);
kd_code kd_select_count(kd_select *q, uint64_t *rows, uint64_t *prompts, kd_err *e);
kd_code kd_select_next(kd_select *q, kd_row *row, bool *more, kd_err *e); /* strings live until the next call; memory flat in rows */
const char *kd_select_text(const kd_select *q);                           /* the whole condition in force, for the record of a run */
void kd_select_close(kd_select *q);
/* Keeps options under a name, with the sha256 of what they say, so that a run can tell what it learned from. A name that stands for something else
 * is KD_EINVAL. load: strings live in arena; KD_ENOENT lists the names there are. */
kd_code kd_selection_save(kd_study *s, const char *name, const kd_select_opts *o, char hash[65], kd_err *e);
kd_code kd_selection_load(kd_study *s, const char *name, kd_arena *arena, kd_select_opts *out, char hash[65], kd_err *e);

#endif
