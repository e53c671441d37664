/* datasets/label_text.c - the checks of texts: each takes the measures of thought and answer and says the worse. Leans on label_int.h, measures.h.
 * The texts are walked once, whichever checks are asked for: repeats, empty, language, lang, format, truncated, longest_line, longest_paragraph, turns,
 * waits, corrections, refusal and copied share the walk; compress (deflate) and thought_tokens (a tokenizer) do not. */
#include "datasets/label_int.h"

#include "datasets/measures.h"

#include <stdio.h>

void kd_label_room_next(kd_label_room *r, int64_t prompt) {
    for (int i = 0; i < KD_PARTS; i++)
        if (i != KD_QUESTION || r->prompt != prompt) r->scanned[i] = r->told[i] = false;
    r->prompt = prompt;
}

void kd_label_room_clear(kd_label_room *r) {
    for (int i = 0; i < KD_PARTS; i++) kd_scan_room_clear(&r->room[i]);
    kd_ids_clear(&r->ids);
}

static kd_str part_of(const kd_subject *s, kd_part p) { return p == KD_ANSWER ? s->answer : p == KD_THOUGHT ? s->thought : s->question; }

static kd_code scan_of(const kd_subject *s, kd_part p, const kd_scan **out, kd_err *e) {
    kd_label_room *r = s->room;
    kd_code rc = r->scanned[p] ? KD_OK : kd_scan_text(&r->scan[p], &r->room[p], part_of(s, p), e);
    r->scanned[p] = rc == KD_OK;
    *out = &r->scan[p];
    return rc;
}

/* Thought and answer are told against the language of the question where it is known, else against their own. */
static kd_code tell_of(const kd_subject *s, kd_part p, const kd_telling **out, kd_err *e) {
    kd_label_room *r = s->room;
    const kd_scan *scan;
    const kd_telling *asked;
    int target = KD_NO_LANGUAGE;
    kd_code rc = KD_OK;
    *out = &r->telling[p];
    if (r->told[p]) return KD_OK;
    if (p != KD_QUESTION && s->question.data && !(rc = tell_of(s, KD_QUESTION, &asked, e))) target = asked->language;
    if (!rc) rc = scan_of(s, p, &scan, e);
    if (rc) return rc;
    kd_language_tell(&r->telling[p], r->lexicon, scan, part_of(s, p), target);
    r->told[p] = true;
    return KD_OK;
}

static void put_int(kd_value *v, int64_t n) {
    v->kind = KD_VALUE_INT;
    v->number = (double)n;
}

static void put_wrong(kd_value *v, const char *wrong, bool value) {
    put_int(v, value);
    if (wrong) (void)snprintf(v->detail, sizeof v->detail, "%s", wrong);
}

static kd_code both(const kd_subject *s, const kd_scan *of[2], kd_err *e) {
    kd_code rc = scan_of(s, KD_ANSWER, &of[0], e);
    return rc ? rc : scan_of(s, KD_THOUGHT, &of[1], e);
}

static kd_code tell_both(const kd_subject *s, const kd_telling *of[2], kd_err *e) {
    kd_code rc = tell_of(s, KD_ANSWER, &of[0], e);
    return rc ? rc : tell_of(s, KD_THOUGHT, &of[1], e);
}

kd_code kd_judge_repeats(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *of[2];
    double thought = 0, answer = 0;
    kd_code rc = both(s, of, e);
    if (!rc) rc = kd_measure_repeats(&answer, of[0], &s->room->room[KD_ANSWER], s->answer, e);
    if (!rc) rc = kd_measure_repeats(&thought, of[1], &s->room->room[KD_THOUGHT], s->thought, e);
    v->kind = KD_VALUE_NUMBER;
    v->number = thought > answer ? thought : answer;
    return rc;
}

kd_code kd_judge_empty(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *scan;
    const kd_code rc = scan_of(s, KD_ANSWER, &scan, e);
    if (!rc) put_int(v, scan->blank);
    return rc;
}

kd_code kd_judge_compress(const kd_subject *s, kd_value *v, kd_err *e) {
    double a = 1, t = 1;
    kd_code rc = kd_measure_compress(&a, s->answer, e);
    if (!rc) rc = kd_measure_compress(&t, s->thought, e);
    v->kind = KD_VALUE_NUMBER;
    v->number = a < t ? a : t;
    return rc;
}

/* ---- languages and turns ---- */
kd_code kd_judge_language(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_telling *of[2], *asked;
    kd_code rc = tell_both(s, of, e);
    if (!rc) rc = tell_of(s, KD_QUESTION, &asked, e);
    if (rc) return rc;
    v->kind = KD_VALUE_NUMBER;
    v->number = of[0]->share < of[1]->share ? of[0]->share : of[1]->share;
    (void)snprintf(v->detail, sizeof v->detail, "asked %s, thought %s, answer %s", kd_language_code(asked->language),
                   kd_language_code(of[1]->language), kd_language_code(of[0]->language));
    return KD_OK;
}

/* Of the thought where there is one, for it is longer. */
kd_code kd_judge_lang(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_telling *of[2];
    const kd_code rc = tell_both(s, of, e);
    v->kind = KD_VALUE_WORD;
    if (!rc) v->word = kd_language_code(of[1]->language != KD_NO_LANGUAGE ? of[1]->language : of[0]->language);
    return rc;
}

kd_code kd_judge_turns(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_telling *of[2];
    const kd_code rc = tell_both(s, of, e);
    if (!rc) put_int(v, of[0]->turns + of[1]->turns);
    return rc;
}

kd_code kd_judge_waits(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_telling *of[2];
    const kd_code rc = tell_both(s, of, e);
    if (!rc) put_int(v, of[0]->waits + of[1]->waits);
    return rc;
}

kd_code kd_judge_corrections(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_telling *of[2];
    const kd_code rc = tell_both(s, of, e);
    if (!rc) put_int(v, of[0]->corrections + of[1]->corrections);
    return rc;
}

/* ---- form ---- */
kd_code kd_judge_format(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *of[2];
    const kd_code rc = both(s, of, e);
    if (rc) return rc;
    const char *wrong = kd_measure_format(s->from, of[1], of[0]);
    put_wrong(v, wrong, wrong == NULL);
    return KD_OK;
}

kd_code kd_judge_truncated(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *scan;
    const kd_code rc = scan_of(s, KD_ANSWER, &scan, e);
    if (rc) return rc;
    const char *wrong = kd_measure_truncated(s->from, s->finish, scan, s->answer);
    put_wrong(v, wrong, wrong != NULL);
    return KD_OK;
}

kd_code kd_judge_line(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *of[2];
    const kd_code rc = both(s, of, e);
    if (!rc) put_int(v, of[0]->line > of[1]->line ? of[0]->line : of[1]->line);
    return rc;
}

kd_code kd_judge_paragraph(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *of[2];
    const kd_code rc = both(s, of, e);
    if (!rc) put_int(v, of[0]->paragraph > of[1]->paragraph ? of[0]->paragraph : of[1]->paragraph);
    return rc;
}

kd_code kd_judge_refusal(const kd_subject *s, kd_value *v, kd_err *e) {
    (void)e;
    put_int(v, kd_measure_refusal(s->answer));
    return KD_OK;
}

kd_code kd_judge_copied(const kd_subject *s, kd_value *v, kd_err *e) {
    const kd_scan *answer, *question;
    kd_code rc = scan_of(s, KD_ANSWER, &answer, e);
    if (!rc) rc = scan_of(s, KD_QUESTION, &question, e);
    v->kind = KD_VALUE_NUMBER;
    return rc ? rc : kd_measure_copied(&v->number, answer, question, &s->room->room[KD_ANSWER], e);
}

/* In tokens of the student; without one, as the teacher counted where it did. */
kd_code kd_judge_thought_tokens(const kd_subject *s, kd_value *v, kd_err *e) {
    kd_label_room *r = s->room;
    kd_code rc = KD_OK;
    if (s->from == KD_THOUGHT_NONE) {
        put_int(v, 0);
    } else if (r->tokenizer) {
        r->ids.n = 0;
        if (!(rc = kd_tokenizer_encode(r->tokenizer, &r->ids, s->thought.data ? s->thought.data : "", s->thought.len, 0, e)))
            put_int(v, (int64_t)r->ids.n);
    } else if (s->reasoning_tokens >= 0) {
        put_int(v, s->reasoning_tokens);
        (void)snprintf(v->detail, sizeof v->detail, "as the teacher counted");
    } else {
        (void)snprintf(v->detail, sizeof v->detail, "no count: give the student by --model");
    }
    return rc;
}
