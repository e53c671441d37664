/* datasets/dedup.c - near-duplicates and contamination of a study's questions, written beside them. Leans on near_dup.h, against.h, study_int.h. */
#include "datasets/dedup.h"

#include "datasets/against.h"
#include "datasets/near_dup.h"
#include "datasets/study_int.h"

#include <string.h>

enum { VERSION = 1 };

typedef struct {
    kd_study *s;
    const kd_dedup_opts *o;
    kd_dedup_report *r;
    kd_near_dup *near;
    kd_against *against;
    int64_t *ids; /* [prompts]: in order */
    size_t n, ids_cap;
    kd_near_like *likes;
    kd_stmt *put, *get;
    kd_buf detail;
} dedup;

/* Every question goes into the sets, and its id is kept. */
static kd_code read_prompts(dedup *d, const kd_watch *w, kd_err *e) {
    kd_prompts *p = NULL;
    kd_prompt row;
    bool more = true;
    kd_buf text = {0};
    kd_event ev = {KD_EV_BEGIN, "read", 0, 0, "questions", NULL};
    kd_code rc = kd_prompts_open(&p, d->s, NULL, 0, &ev.total, e);
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    while (!rc && !(rc = kd_prompts_next(p, &row, &more, e)) && more) {
        if (!(rc = kd_question_text(&text, row.messages, e))) rc = kd_near_dup_add(d->near, kd_buf_view(&text), e);
        if (!rc && kd_grow((void **)&d->ids, &d->ids_cap, d->n + 1, sizeof *d->ids)) rc = kd_fail(e, KD_ENOMEM, "dedup: no memory");
        if (!rc) d->ids[d->n++] = row.id;
        if (++ev.done % 4096 == 0) {
            kd_emit(w, ev);
            const int stop = kd_stopping(w);
            if (!rc && stop) rc = kd_fail(e, (kd_code)stop, "dedup: interrupted; nothing was written");
        }
    }
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    kd_prompts_close(p);
    kd_buf_clear(&text);
    return rc;
}

static kd_code put_label(dedup *d, int64_t prompt, const char *name, bool whole, double value, kd_err *e) {
    kd_bind_int(d->put, 1, prompt);
    kd_bind_text(d->put, 2, kd_str_of(name));
    if (whole)
        kd_bind_int(d->put, 3, (int64_t)value);
    else
        kd_bind_double(d->put, 3, value);
    kd_bind_text(d->put, 4, kd_buf_view(&d->detail));
    kd_bind_int(d->put, 5, VERSION);
    return kd_stmt_run(d->put, e);
}

/* The text of prompt id, for those who watch. */
static kd_code text_of(dedup *d, int64_t id, kd_buf *out, kd_err *e) {
    bool row;
    kd_bind_int(d->get, 1, id);
    kd_code rc = kd_stmt_step(d->get, &row, e);
    if (!rc && row) rc = kd_question_text(out, kd_col_text(d->get, 0), e);
    kd_stmt_reset(d->get);
    return rc;
}

static kd_code tell_pair(dedup *d, int64_t a, int64_t b, double share, kd_err *e) {
    kd_buf x = {0}, y = {0};
    if (!d->o->pair) return KD_OK;
    kd_code rc = text_of(d, a, &x, e);
    if (!rc) rc = text_of(d, b, &y, e);
    if (!rc) d->o->pair(d->o->ctx, share == 1 ? "duplicate" : "near-duplicate", a, kd_buf_view(&x), NULL, b, kd_buf_view(&y), share);
    kd_buf_clear(&x);
    kd_buf_clear(&y);
    return rc;
}

static kd_code write_duplicates(dedup *d, kd_err *e) {
    kd_code rc = kd_db_exec(d->s->db, "DELETE FROM prompt_labels WHERE name = 'duplicate_of'", e);
    for (size_t i = 0; i < d->n && !rc; i++) {
        const kd_near_like *l = &d->likes[i];
        if (l->first == i) continue;
        d->detail.len = 0;
        if (kd_buf_printf(&d->detail, "%.4f like prompt %lld", (double)l->similarity, (long long)d->ids[l->like]))
            return kd_fail(e, KD_ENOMEM, "dedup: no memory");
        rc = put_label(d, d->ids[i], "duplicate_of", true, (double)d->ids[l->first], e);
        if (!rc) rc = tell_pair(d, d->ids[i], d->ids[l->like], (double)l->similarity, e);
    }
    return rc;
}

static kd_code write_one(dedup *d, int64_t id, kd_str text, const kd_contamination *c, kd_err *e) {
    const bool taken = c->share >= 0.5 || c->grams13 > 0;
    d->r->touched++;
    d->r->contaminated += taken;
    d->detail.len = 0;
    if (kd_buf_printf(&d->detail, "%s:%zu, %zu words in a row, runs of 8: %.3f, of 13: %.3f: %.*s", c->file, c->line, c->run, c->grams8,
                      c->grams13, (int)c->text.len, c->text.data))
        return kd_fail(e, KD_ENOMEM, "dedup: no memory");
    if (taken && d->o->pair) d->o->pair(d->o->ctx, "contaminated", id, text, c->file, (int64_t)c->line, c->text, c->share);
    return put_label(d, id, "contaminated", false, c->share, e);
}

static kd_code write_contamination(dedup *d, kd_err *e) {
    kd_scan_room room = {0};
    kd_buf text = {0};
    kd_code rc = kd_db_exec(d->s->db, "DELETE FROM prompt_labels WHERE name = 'contaminated'", e);
    for (size_t i = 0; i < d->n && !rc; i++) {
        kd_contamination c;
        rc = text_of(d, d->ids[i], &text, e);
        if (!rc) rc = kd_against_look(d->against, &room, kd_buf_view(&text), &c, e);
        if (!rc && c.file) rc = write_one(d, d->ids[i], kd_buf_view(&text), &c, e);
    }
    kd_scan_room_clear(&room);
    kd_buf_clear(&text);
    return rc;
}

static kd_code write_all(dedup *d, kd_err *e) {
    kd_code rc = kd_stmt_new(&d->put, d->s->db,
                             "INSERT INTO prompt_labels(prompt, name, value, detail, version) VALUES(?1,?2,?3,?4,?5)"
                             " ON CONFLICT(prompt, name) DO UPDATE SET value=?3, detail=?4, version=?5",
                             e);
    if (!rc) rc = kd_stmt_new(&d->get, d->s->db, "SELECT messages FROM prompts WHERE id=?1", e);
    if (!rc) rc = kd_db_begin(d->s->db, e);
    if (rc) return rc;
    rc = write_duplicates(d, e);
    if (!rc && d->o->n_against) rc = write_contamination(d, e);
    if (!rc) return kd_db_commit(d->s->db, e);
    kd_db_rollback(d->s->db);
    return rc;
}

kd_code kd_dedup_run(kd_study *s, const kd_dedup_opts *o, const kd_watch *w, kd_dedup_report *out, kd_err *e) {
    kd_near_report near = {0};
    dedup d = {.s = s, .o = o, .r = out};
    *out = (kd_dedup_report){0};
    kd_code rc = kd_near_dup_new(&d.near, e);
    if (!rc) rc = kd_against_new(&d.against, e);
    for (size_t i = 0; i < o->n_against && !rc; i++) {
        uint64_t bad;
        rc = kd_against_file(d.against, o->against[i], &bad, e);
        out->bad += bad;
    }
    if (!rc) rc = read_prompts(&d, w, e);
    if (!rc && !(d.likes = kd_calloc(d.n + 1, sizeof *d.likes))) rc = kd_fail(e, KD_ENOMEM, "dedup: no memory for %zu questions", d.n);
    if (!rc) rc = kd_near_dup_find(d.near, o->threshold == 0 ? 0.8 : o->threshold, o->pool, d.likes, w, &near, e);
    if (!rc) rc = write_all(&d, e);
    out->prompts = d.n;
    out->exact = near.exact;
    out->near = near.near;
    out->compared = near.compared;
    out->against = d.against ? kd_against_count(d.against) : 0;
    kd_stmt_free(d.put);
    kd_stmt_free(d.get);
    kd_buf_clear(&d.detail);
    kd_free(d.ids);
    kd_free(d.likes);
    kd_against_free(d.against);
    kd_near_dup_free(d.near);
    return rc;
}
