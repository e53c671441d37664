/* datasets/label_verify.c - labels made anew beside those that stand in the study: texts out of the raw bodies where there are some, values and reasons
 * compared. Leans on label_int.h, study_int.h, base/gz.h. Writes nothing. */
#include "datasets/label_int.h"
#include "datasets/study_int.h"
#include "distill/base/gz.h"

#include <stdio.h>
#include <string.h>

enum { BODY_MOST = 1 << 28 };

static void differ(const kd_label_opts *o, kd_label_report *r, int64_t sample, const char *what, const char *stored, const char *found) {
    r->differ++;
    if (o->differs) o->differs(o->differs_ctx, sample, what, stored, found);
}

/* *read: there is a body, and it says what again holds. A body that cannot be read is a difference. */
static kd_code read_body(kd_stmt *bodies, const kd_label_opts *o, const kd_subject *s, kd_reread *again, bool *read, kd_label_report *r,
                         kd_err *e) {
    kd_buf body = {0}, prefill = {0};
    bool row;
    kd_err why;
    kd_err_clear(&why);
    *read = false;
    kd_bind_int(bodies, 1, s->id);
    kd_code rc = kd_stmt_step(bodies, &row, e);
    if (!rc && row && kd_col_text(bodies, 0).len) {
        const kd_str z = kd_col_text(bodies, 0), begin = kd_col_text(bodies, 1);
        rc = kd_unzip(&body, z.data, z.len, BODY_MOST, &why);
        if (!rc && begin.len) rc = kd_buf_append(&prefill, begin.data, begin.len);
        if (!rc && body.len) rc = o->reread(o->reread_ctx, kd_buf_view(&body), prefill.data, again, &why);
        *read = !rc && body.len;
        if (rc == KD_EFORMAT) {
            differ(o, r, s->id, "its raw body", "an answer", why.msg);
            rc = KD_OK;
        } else if (rc) {
            kd_fail(e, rc, "%s", why.msg);
        }
    }
    kd_stmt_reset(bodies);
    kd_buf_clear(&body);
    kd_buf_clear(&prefill);
    return rc;
}

kd_code kd_verify_text(kd_stmt *bodies, const kd_label_opts *o, kd_arena *arena, kd_subject *s, kd_label_report *r, kd_err *e) {
    kd_reread again = {0};
    bool read;
    kd_code rc = read_body(bodies, o, s, &again, &read, r, e);
    if (!rc && read) {
        r->bodies++;
        if (!kd_str_eq(kd_buf_view(&again.answer), s->answer) || !kd_str_eq(kd_buf_view(&again.thought), s->thought) ||
            again.from != s->from)
            differ(o, r, s->id, "its text", "as it stands", "another, by the raw body");
        if (!(rc = kd_str_keep(arena, again.answer.len ? kd_buf_view(&again.answer) : KD_STR(""), &s->answer, e)))
            rc = kd_str_keep(arena, kd_buf_view(&again.thought), &s->thought, e);
        s->from = again.from;
    }
    kd_buf_clear(&again.thought);
    kd_buf_clear(&again.answer);
    return rc;
}

static bool value_same(kd_stmt *q, const kd_value *v) {
    switch (v->kind) {
    case KD_VALUE_NONE: return kd_col_null(q, 0);
    case KD_VALUE_WORD: return kd_str_is(kd_col_text(q, 0), v->word);
    default: return kd_col_is_number(q, 0) && kd_col_double(q, 0) == v->number; /* the same bits: sums are in one order */
    }
}

static void words_of(char out[96], const kd_value *v) {
    if (v->kind == KD_VALUE_NONE)
        (void)snprintf(out, 96, "NULL");
    else if (v->kind == KD_VALUE_WORD)
        (void)snprintf(out, 96, "%s", v->word);
    else
        (void)snprintf(out, 96, "%.17g", v->number);
}

kd_code kd_verify_label(kd_stmt *labels, const kd_label_opts *o, int64_t sample, const kd_check *c, const kd_value *v, kd_label_report *r,
                        kd_err *e) {
    bool row;
    kd_bind_int(labels, 1, sample);
    kd_bind_text(labels, 2, kd_str_of(c->name));
    kd_bind_int(labels, 3, c->version);
    kd_code rc = kd_stmt_step(labels, &row, e);
    if (!rc && row) { /* one of another version, or none, is not wrong: `label` makes it */
        r->compared++;
        const kd_str detail = kd_col_text(labels, 1), mine = v->detail[0] ? kd_str_of(v->detail) : (kd_str){NULL, 0};
        const bool details =
            c->needs & KD_NEEDS_SANDBOX || kd_str_eq(detail, mine); /* what a program says of itself may be another every time */
        if (!value_same(labels, v) || !details) {
            char found[96];
            const kd_str stored = kd_col_null(labels, 0) ? KD_STR("NULL") : kd_col_text(labels, 0);
            char was[96];
            (void)snprintf(was, sizeof was, "%.*s", (int)(stored.len < 90 ? stored.len : 90), stored.data);
            words_of(found, v);
            differ(o, r, sample, c->name, was, details ? found : "another reason");
        }
    }
    kd_stmt_reset(labels);
    return rc;
}
