/* datasets/label_text.c - the checks of texts: each takes the measures of thought and answer and says the worse. Leans on label_int.h, measures.h. */
#include "datasets/label_int.h"

#include "datasets/math_int.h"
#include "datasets/measures.h"

#include <stdio.h>

kd_code kd_judge_repeats(const kd_subject *s, kd_value *v, kd_err *e) {
    double thought = 0, answer = 0;
    kd_code rc = kd_label_repeats(&answer, s->answer, e);
    if (!rc && s->thought.len) rc = kd_label_repeats(&thought, s->thought, e);
    v->kind = KD_VALUE_NUMBER;
    v->number = thought > answer ? thought : answer;
    return rc;
}

kd_code kd_judge_empty(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    v->kind = KD_VALUE_INT;
    v->number = kd_trim(s->answer).len == 0;
    return KD_OK;
}

/* ---- R1's filters ---- */
static void put_int(kd_value *v, int64_t n) {
    v->kind = KD_VALUE_INT;
    v->number = (double)n;
}

kd_code kd_judge_compress(const kd_subject *s, kd_value *v, kd_err *e) {
    double a = 1, t = 1;
    kd_code rc = kd_measure_compress(&a, s->answer, e);
    if (!rc) rc = kd_measure_compress(&t, s->thought, e);
    v->kind = KD_VALUE_NUMBER;
    v->number = a < t ? a : t;
    return rc;
}

kd_code kd_judge_language(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    const double a = kd_measure_language(s->answer, s->question), t = kd_measure_language(s->thought, s->question);
    v->kind = KD_VALUE_NUMBER;
    v->number = a < t ? a : t;
    return KD_OK;
}

kd_code kd_judge_format(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    const char *wrong = kd_measure_format(s->from, s->thought, s->answer);
    put_int(v, wrong == NULL);
    if (wrong) (void)snprintf(v->detail, sizeof v->detail, "%s", wrong);
    return KD_OK;
}

kd_code kd_judge_line(const kd_subject *s, kd_value *v, kd_err *e) {
    int64_t a, t, unused;
    (void)e;
    kd_measure_lines(s->answer, &a, &unused);
    kd_measure_lines(s->thought, &t, &unused);
    put_int(v, a > t ? a : t);
    return KD_OK;
}

kd_code kd_judge_paragraph(const kd_subject *s, kd_value *v, kd_err *e) {
    int64_t a, t, unused;
    (void)e;
    kd_measure_lines(s->answer, &unused, &a);
    kd_measure_lines(s->thought, &unused, &t);
    put_int(v, a > t ? a : t);
    return KD_OK;
}

kd_code kd_judge_turns(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    put_int(v, kd_measure_turns(s->thought) + kd_measure_turns(s->answer));
    return KD_OK;
}

kd_code kd_judge_refusal(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    put_int(v, kd_measure_refusal(s->answer));
    return KD_OK;
}

kd_code kd_judge_copied(const kd_subject *s, kd_value *v, kd_err *e) {
    v->kind = KD_VALUE_NUMBER;
    return kd_measure_copied(&v->number, s->answer, s->question, e);
}
