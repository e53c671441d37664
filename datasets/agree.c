/* datasets/agree.c - what most samples of a question say, how many say it, and whether the gold answer is to be doubted. Leans on label.h, study_int.h. */
#include "datasets/label.h"
#include "datasets/math_int.h"
#include "datasets/study_int.h"

#include <stdio.h>
#include <string.h>

enum { VERSION = 1, CLASSES = 64, A_TRANSACTION = 256, LEAST_VOTES = 3 };
#define STRONG 0.7 /* share of the samples that must agree against the gold answer */

typedef struct {
    int64_t id;
    kd_str final; /* {NULL,0}: none */
    int class;    /* -1: none */
} vote;
typedef struct {
    kd_study *s;
    kd_stmt *prompts, *samples, *before, *put, *label;
    kd_arena arena;
    vote *votes;
    size_t n, cap;
    kd_str face[CLASSES]; /* the first of each class as it stands there */
    size_t size[CLASSES];
    int classes;
    bool again;
} agreeing;

static kd_code prepare(agreeing *a, kd_err *e) {
    kd_code rc = kd_stmt_new(&a->prompts, a->s->db,
                             "SELECT id, gold FROM prompts WHERE id > ?1 AND task NOT IN ('code', 'judge') ORDER BY id LIMIT 256", e);
    if (!rc) rc = kd_stmt_new(&a->samples, a->s->db, "SELECT id, answer FROM samples WHERE prompt=?1 ORDER BY settings, number", e);
    if (!rc)
        rc = kd_stmt_new(
            &a->before, a->s->db,
            "SELECT (SELECT count(*) FROM samples WHERE prompt=?1) ="
            " (SELECT count(*) FROM samples s JOIN labels l ON l.sample=s.id AND l.name='agrees' AND l.version=?2 WHERE s.prompt=?1)",
            e);
    if (!rc)
        rc = kd_stmt_new(&a->put, a->s->db,
                         "INSERT INTO prompt_labels(prompt, name, value, detail, version) VALUES(?1,?2,?3,?4,?5)"
                         " ON CONFLICT(prompt, name) DO UPDATE SET value=?3, detail=?4, version=?5",
                         e);
    if (!rc)
        rc = kd_stmt_new(&a->label, a->s->db,
                         "INSERT INTO labels(sample, name, value, detail, version) VALUES(?1,'agrees',?2,NULL,?3)"
                         " ON CONFLICT(sample, name) DO UPDATE SET value=?2, version=?3",
                         e);
    if (!rc) rc = kd_db_exec(a->s->db, "INSERT INTO label_names(name) VALUES('agrees') ON CONFLICT DO NOTHING", e);
    return rc;
}

static kd_code read_votes(agreeing *a, int64_t prompt, kd_err *e) {
    bool row;
    kd_arena_clear(&a->arena);
    a->n = 0;
    kd_bind_int(a->samples, 1, prompt);
    kd_code rc;
    while (!(rc = kd_stmt_step(a->samples, &row, e)) && row) {
        if (kd_grow((void **)&a->votes, &a->cap, a->n + 1, sizeof *a->votes)) return kd_fail(e, KD_ENOMEM, "agreement: no memory");
        vote *v = &a->votes[a->n++];
        *v = (vote){kd_col_int(a->samples, 0), {NULL, 0}, -1};
        const kd_str final = kd_math_final(kd_col_text(a->samples, 1), NULL);
        if (final.data && (rc = kd_str_keep(&a->arena, kd_trim(final), &v->final, e))) return rc;
    }
    return rc;
}

/* Each answer joins the first class whose first member it equals. */
static kd_code classify(agreeing *a, kd_err *e) {
    kd_code rc = KD_OK;
    a->classes = 0;
    memset(a->size, 0, sizeof a->size);
    for (size_t i = 0; i < a->n && !rc; i++) {
        vote *v = &a->votes[i];
        for (int k = 0; v->final.data && k < a->classes && v->class < 0 && !rc; k++) {
            kd_verdict same = kd_str_eq(a->face[k], v->final) ? KD_RIGHT : KD_UNKNOWN;
            if (same != KD_RIGHT) rc = kd_math_equal(&same, v->final, a->face[k], e);
            if (same == KD_RIGHT) v->class = k;
        }
        if (v->final.data && v->class < 0 && a->classes < CLASSES) {
            v->class = a->classes++;
            a->face[v->class] = v->final;
        }
        if (v->class >= 0) a->size[v->class]++;
    }
    return rc;
}

static void bind_row(agreeing *a, int64_t prompt, const char *name, const char *detail) {
    kd_bind_int(a->put, 1, prompt);
    kd_bind_text(a->put, 2, kd_str_of(name));
    kd_bind_text(a->put, 4, kd_str_of(detail));
    kd_bind_int(a->put, 5, VERSION);
}

static kd_code write_prompt(agreeing *a, int64_t prompt, kd_str gold, int best, kd_agreement_report *r, kd_err *e) {
    char detail[200];
    const size_t votes = best >= 0 ? a->size[best] : 0;
    const kd_str face = best >= 0 ? a->face[best] : KD_STR("");
    (void)snprintf(detail, sizeof detail, "%zu of %zu, %d different", votes, a->n, a->classes);
    bind_row(a, prompt, "agreement", detail);
    kd_bind_double(a->put, 3, (double)votes / (double)a->n);
    kd_code rc = kd_stmt_run(a->put, e);
    if (!rc) {
        bind_row(a, prompt, "majority", detail);
        if (best >= 0)
            kd_bind_text(a->put, 3, face);
        else
            kd_bind_null(a->put, 3);
        rc = kd_stmt_run(a->put, e);
    }
    if (rc || !gold.data) return rc;
    kd_verdict same = KD_UNKNOWN;
    const bool many = votes >= LEAST_VOTES && (double)votes >= STRONG * (double)a->n;
    if (many && (rc = kd_math_equal(&same, face, gold, e))) return rc;
    const bool doubt = many && same == KD_WRONG;
    (void)snprintf(detail, sizeof detail, "gold %.*s, %zu of %zu say %.*s", (int)(gold.len < 60 ? gold.len : 60), gold.data, votes, a->n,
                   (int)(face.len < 60 ? face.len : 60), face.data);
    bind_row(a, prompt, "gold_doubt", doubt ? detail : NULL);
    kd_bind_int(a->put, 3, doubt);
    r->doubted += doubt;
    return kd_stmt_run(a->put, e);
}

static kd_code agree_one(agreeing *a, int64_t prompt, kd_str gold, kd_agreement_report *r, kd_err *e) {
    bool row, known = false;
    int best = -1;
    kd_code rc = KD_OK;
    if (!a->again) {
        kd_bind_int(a->before, 1, prompt);
        kd_bind_int(a->before, 2, VERSION);
        if ((rc = kd_stmt_step(a->before, &row, e))) return rc;
        known = row && kd_col_int(a->before, 0);
        kd_stmt_reset(a->before);
        if (known) return KD_OK; /* no samples, or all counted */
    }
    if ((rc = read_votes(a, prompt, e)) || a->n == 0 || (rc = classify(a, e))) return rc;
    for (int k = 0; k < a->classes; k++)
        if (best < 0 || a->size[k] > a->size[best]) best = k;
    rc = write_prompt(a, prompt, gold, best, r, e);
    for (size_t i = 0; i < a->n && !rc; i++) {
        kd_bind_int(a->label, 1, a->votes[i].id);
        if (a->votes[i].class >= 0)
            kd_bind_int(a->label, 2, a->votes[i].class == best);
        else
            kd_bind_null(a->label, 2);
        kd_bind_int(a->label, 3, VERSION);
        rc = kd_stmt_run(a->label, e);
    }
    r->prompts++;
    r->samples += a->n;
    return rc;
}

/* One transaction's worth behind prompt *from; *more false at the end. */
static kd_code agree_some(agreeing *a, int64_t *from, bool *more, kd_agreement_report *r, kd_err *e) {
    struct {
        int64_t id;
        kd_str gold;
    } some[A_TRANSACTION];
    kd_arena golds = {0};
    size_t n = 0;
    bool row;
    kd_bind_int(a->prompts, 1, *from);
    kd_code rc = KD_OK;
    while (!rc && n < A_TRANSACTION && !(rc = kd_stmt_step(a->prompts, &row, e)) && row) {
        some[n].id = kd_col_int(a->prompts, 0);
        rc = kd_str_keep(&golds, kd_col_text(a->prompts, 1), &some[n].gold, e);
        n++;
    }
    kd_stmt_reset(a->prompts);
    *more = n == A_TRANSACTION;
    if (!rc && n && !(rc = kd_db_begin(a->s->db, e))) {
        for (size_t i = 0; i < n && !rc; i++) rc = agree_one(a, some[i].id, some[i].gold, r, e);
        if (rc)
            kd_db_rollback(a->s->db);
        else
            rc = kd_db_commit(a->s->db, e);
        *from = some[n - 1].id;
    }
    kd_arena_clear(&golds);
    return rc;
}

kd_code kd_agreement_run(kd_study *s, bool again, const kd_watch *w, kd_agreement_report *out, kd_err *e) {
    agreeing a = {.s = s, .again = again};
    kd_event ev = {KD_EV_BEGIN, "agreement", 0, 0, "questions", NULL};
    int64_t from = -1;
    bool more = true;
    *out = (kd_agreement_report){0};
    kd_code rc = prepare(&a, e);
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    while (!rc && more) {
        rc = agree_some(&a, &from, &more, out, e);
        ev.done = out->prompts;
        kd_emit(w, ev);
        const int stop = kd_stopping(w);
        if (!rc && more && stop) rc = kd_fail(e, (kd_code)stop, "interrupted; run it again to go on");
    }
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    kd_stmt_free(a.prompts);
    kd_stmt_free(a.samples);
    kd_stmt_free(a.before);
    kd_stmt_free(a.put);
    kd_stmt_free(a.label);
    kd_arena_clear(&a.arena);
    kd_free(a.votes);
    return rc;
}
