/* datasets/label_int.h - what a check of `distill label` is given and gives. Private to datasets: label.c names them, label_run.c runs them, label_text.c
 * holds those of texts. Leans on label.h, language.h, scan.h, model/tokenizer.h, base. */
#ifndef KD_DATASETS_LABEL_INT_H
#define KD_DATASETS_LABEL_INT_H

#include "datasets/db.h"
#include "datasets/label.h"
#include "datasets/language.h"
#include "datasets/scan.h"
#include "distill/model/tokenizer.h"

typedef enum { KD_ANSWER, KD_THOUGHT, KD_QUESTION, KD_PARTS } kd_part;

/* What one worker remembers of the sample in hand, so that checks share one walk over each text. Owned by label_run.c. */
typedef struct {
    const kd_lexicon *lexicon;
    const kd_tokenizer *tokenizer; /* of the student; NULL: none given */
    kd_ids ids;
    kd_scan_room room[KD_PARTS];
    kd_scan scan[KD_PARTS];
    kd_telling telling[KD_PARTS];
    bool scanned[KD_PARTS], told[KD_PARTS];
    int64_t prompt;      /* whose question it remembers */
    kd_sandbox *sandbox; /* NULL: programs are not run */
    const kd_code_opts *code;
} kd_label_room;

/* What is judged, copied out of the study; and the verdicts, one a check. */
typedef struct {
    int64_t id, prompt;
    kd_str answer, thought, gold, task, finish;
    kd_str question; /* what the messages say, one after another; only where a check asks for it */
    kd_thought_from from;
    int64_t reasoning_tokens; /* as the teacher counted; -1 unknown */
    kd_label_room *room;
} kd_subject;
typedef enum { KD_VALUE_NONE, KD_VALUE_NUMBER, KD_VALUE_INT, KD_VALUE_WORD } kd_value_kind;
typedef struct {
    kd_value_kind kind;
    double number;
    const char *word; /* static */
    bool machine;     /* unknown for want of something on this machine: judged again by the next run */
    char detail[256];
} kd_value;
enum { KD_NEEDS_QUESTION = 1, KD_NEEDS_SANDBOX = 2 };
typedef struct {
    const char *name;
    int version; /* of its rule: a new one is judged anew */
    unsigned needs;
    kd_code (*judge)(const kd_subject *s, kd_value *v, kd_err *e);
} kd_check;
const kd_check *kd_check_named(kd_str name); /* NULL: there is none */
const kd_check *kd_check_at(size_t i);       /* NULL behind the last */

/* label_text.c: measures of the thought and the answer alone, and beside the question. Reentrant, a room each. */
kd_code kd_judge_repeats(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_empty(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_compress(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_language(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_lang(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_format(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_truncated(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_line(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_paragraph(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_turns(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_waits(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_corrections(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_refusal(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_copied(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_thought_tokens(const kd_subject *s, kd_value *v, kd_err *e);
/* The room forgets the sample it knew (the question stays while the prompt does). */
void kd_label_room_next(kd_label_room *r, int64_t prompt);
void kd_label_room_clear(kd_label_room *r);

/* label_verify.c: the texts of a sample out of its raw body, if it has one (bodies: SELECT body, prefill, by sample); a value beside the label that stands (labels:
 * SELECT value, detail, by sample, name, version). */
kd_code kd_verify_text(kd_stmt *bodies, const kd_label_opts *o, kd_arena *arena, kd_subject *s, kd_label_report *r, kd_err *e);
kd_code kd_verify_label(kd_stmt *labels, const kd_label_opts *o, int64_t sample, const kd_check *c, const kd_value *v, kd_label_report *r,
                        kd_err *e);

#endif
