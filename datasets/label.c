/* datasets/label.c - the checks there are, and those of the answer as a whole. Leans on label_int.h. Texts: label_text.c; the run: label_run.c. */
#include "datasets/label_int.h"

#include "datasets/math_int.h"
#include "datasets/study_int.h"

#include <stdio.h>
#include <string.h>

static kd_code judge_math(const kd_subject *s, kd_value *v, kd_err *e) {
    kd_judgement j;
    if (!s->gold.data || kd_str_is(s->task, "code")) {
        snprintf(v->detail, sizeof v->detail, "%s", s->gold.data ? "a task of code" : "no gold answer");
        return KD_OK;
    }
    kd_code rc = kd_label_math(&j, s->answer, s->gold, e);
    v->kind = KD_VALUE_WORD;
    v->word = kd_verdict_name(j.verdict);
    snprintf(v->detail, sizeof v->detail, "%s", j.reason);
    return rc;
}

static kd_code judge_code(const kd_subject *s, kd_value *v, kd_err *e) {
    kd_judgement j;
    if (!s->gold.data || !kd_str_is(s->task, "code")) {
        snprintf(v->detail, sizeof v->detail, "%s", s->gold.data ? "not a task of code" : "no gold answer");
        return KD_OK;
    }
    kd_code rc = kd_label_code(&j, s->room->sandbox, s->answer, s->gold, s->room->code, e);
    v->kind = KD_VALUE_WORD;
    v->word = kd_verdict_name(j.verdict);
    v->machine = j.machine;
    snprintf(v->detail, sizeof v->detail, "%s", j.reason);
    return rc;
}

static kd_code judge_finished(const kd_subject *s, kd_value *v, kd_err *e) {
    static const char *const whole[] = {"stop", "end_turn", "eos", "stop_sequence", "complete"};
    (void)e;
    if (!s->finish.data) {
        snprintf(v->detail, sizeof v->detail, "the teacher gave no reason");
        return KD_OK;
    }
    v->kind = KD_VALUE_INT;
    bool open = s->from == KD_THOUGHT_UNCLOSED || s->from == KD_THOUGHT_OPENED;
    for (size_t i = 0; i < sizeof whole / sizeof *whole && !open; i++)
        if (kd_str_is(s->finish, whole[i])) v->number = 1;
    snprintf(v->detail, sizeof v->detail, "%s%.*s", open ? "the thought never closes, " : "",
             (int)(s->finish.len < 40 ? s->finish.len : 40), s->finish.data);
    return KD_OK;
}

/* In the order in which they are told. all: `--checks all` runs it. */
static const kd_check checks[] = {
    {"math", 3, 0, judge_math},
    {"code", 1, KD_NEEDS_SANDBOX, judge_code},
    {"finished", 1, 0, judge_finished},
    {"repeats", 1, 0, kd_judge_repeats},
    {"empty", 1, 0, kd_judge_empty},
    {"compress", 1, 0, kd_judge_compress},
    {"language", 3, KD_NEEDS_QUESTION, kd_judge_language},
    {"lang", 2, 0, kd_judge_lang},
    {"format", 2, 0, kd_judge_format},
    {"truncated", 1, 0, kd_judge_truncated},
    {"longest_line", 1, 0, kd_judge_line},
    {"longest_paragraph", 1, 0, kd_judge_paragraph},
    {"turns", 2, 0, kd_judge_turns},
    {"waits", 1, 0, kd_judge_waits},
    {"corrections", 1, 0, kd_judge_corrections},
    {"refusal", 1, 0, kd_judge_refusal},
    {"copied", 1, KD_NEEDS_QUESTION, kd_judge_copied},
    {"thought_tokens", 1, 0, kd_judge_thought_tokens},
};
enum { CHECKS = sizeof checks / sizeof *checks };

const kd_check *kd_check_named(kd_str name) {
    for (size_t i = 0; i < CHECKS; i++)
        if (kd_str_is(name, checks[i].name)) return &checks[i];
    return NULL;
}

const kd_check *kd_check_at(size_t i) { return i < CHECKS ? &checks[i] : NULL; }

/* "judge" is written by judge.c, not by a check of the table. */
bool kd_check_known(const char *name) { return kd_check_named(kd_str_of(name)) != NULL || strcmp(name, "judge") == 0; }
