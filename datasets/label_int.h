/* datasets/label_int.h - what a check of `distill label` is given and gives. Private to datasets: label.c runs them, label_text.c holds those of texts.
 * Leans on label.h, base. */
#ifndef KD_DATASETS_LABEL_INT_H
#define KD_DATASETS_LABEL_INT_H

#include "datasets/label.h"

/* What is judged, copied out of the study; and the verdicts, one a check. */
typedef struct {
    int64_t id;
    kd_str answer, thought, gold, task, finish;
    kd_str question; /* what the messages say, one after another; only where a check asks for it */
    kd_thought_from from;
} kd_subject;
typedef enum { KD_VALUE_NONE, KD_VALUE_NUMBER, KD_VALUE_INT, KD_VALUE_WORD } kd_value_kind;
typedef struct {
    kd_value_kind kind;
    double number;
    const char *word;
    char detail[96];
} kd_value;
typedef struct {
    const char *name;
    int version; /* of its rule: a new one is judged anew */
    kd_code (*judge)(const kd_subject *s, kd_value *v, kd_err *e);
} kd_check;

/* label_text.c: measures of the thought and the answer alone, and beside the question. Reentrant. */
kd_code kd_judge_repeats(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_empty(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_compress(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_language(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_format(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_line(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_paragraph(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_turns(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_refusal(const kd_subject *s, kd_value *v, kd_err *e);
kd_code kd_judge_copied(const kd_subject *s, kd_value *v, kd_err *e);

#endif
