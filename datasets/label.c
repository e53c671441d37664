/* datasets/label.c - labels for a whole study: what lacks one, in batches, judged in parallel, written by one transaction each.
 * Leans on label.h, study_int.h, base. */
#include "datasets/label_int.h"

#include "datasets/math_int.h"
#include "datasets/study_int.h"

#include <stdio.h>
#include <string.h>

enum { BATCH = 512, BATCH_BYTES = 16 << 20, BATCHES_A_LOOK = 40 };

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

static const kd_check checks[] = {
    {"math", 2, judge_math},        {"finished", 1, judge_finished},    {"repeats", 1, kd_judge_repeats},
    {"empty", 1, kd_judge_empty},   {"compress", 1, kd_judge_compress}, {"language", 1, kd_judge_language},
    {"format", 1, kd_judge_format}, {"longest_line", 1, kd_judge_line}, {"longest_paragraph", 1, kd_judge_paragraph},
    {"turns", 1, kd_judge_turns},   {"refusal", 1, kd_judge_refusal},   {"copied", 1, kd_judge_copied},
};
enum { CHECKS = sizeof checks / sizeof *checks };

typedef struct {
    kd_study *s;
    const kd_label_opts *o;
    const kd_check *chosen[CHECKS];
    size_t n_chosen;
    bool asks_question; /* a chosen check compares with the prompt */
    kd_buf expr;        /* the samples that lack a label, as a selection */
    size_t expr_fixed;  /* its part that stays; a place to go on from follows */
    kd_arena arena;
    kd_subject *batch;  /* [BATCH] */
    kd_value *verdicts; /* [BATCH * n_chosen] */
    kd_err *worker_err; /* [BATCH] */
    kd_code *worker_rc;
    size_t n;
    int64_t prompt, settings; /* key of the last sample read */
    int number;
    kd_label_report *r;
} labelling;

bool kd_check_known(const char *name) {
    for (size_t i = 0; i < CHECKS; i++)
        if (strcmp(checks[i].name, name) == 0) return true;
    return false;
}

static kd_code choose(labelling *l, kd_err *e) {
    static const char all[] = "math,finished,repeats,empty,compress,language,format,longest_line,longest_paragraph,turns,refusal,copied";
    const char *p = l->o->checks ? l->o->checks : "math,finished,repeats,empty";
    if (strcmp(p, "all") == 0) p = all;
    while (*p) {
        size_t n = strcspn(p, ","), i = 0, k = 0;
        while (i < CHECKS && !(strlen(checks[i].name) == n && memcmp(checks[i].name, p, n) == 0)) i++;
        if (i == CHECKS) return kd_fail(e, KD_EINVAL, "label: no check named %.*s; there are all, %s", (int)(n < 60 ? n : 60), p, all);
        while (k < l->n_chosen && l->chosen[k] != &checks[i]) k++;
        if (k == l->n_chosen) l->chosen[l->n_chosen++] = &checks[i];
        l->asks_question |= checks[i].judge == kd_judge_language || checks[i].judge == kd_judge_copied;
        p += n + (p[n] == ',');
    }
    return l->n_chosen ? KD_OK : kd_fail(e, KD_EINVAL, "label: expected the names of checks, found none");
}

/* The selection: the user's own expression, and fewer labels of these names at these versions than there are checks. */
static kd_code build_expression(labelling *l, kd_err *e) {
    kd_buf *b = &l->expr;
    kd_code rc = kd_buf_printf(b, "(%s)", l->o->select ? l->o->select : "1");
    if (!rc && !l->o->again) {
        rc = kd_buf_puts(b, " AND (SELECT count(*) FROM labels WHERE sample = sample_id AND (");
        for (size_t i = 0; i < l->n_chosen && !rc; i++)
            rc = kd_buf_printf(b, "%s(name = '%s' AND version = %d)", i ? " OR " : "", l->chosen[i]->name, l->chosen[i]->version);
        if (!rc) rc = kd_buf_printf(b, ")) < %zu", l->n_chosen);
    }
    l->expr_fixed = b->len;
    return rc ? kd_fail(e, rc, "label: no memory") : KD_OK;
}

/* From behind the last sample on: a long look at a study would keep its log from being folded in, so it is renewed now and then. */
static kd_code look(labelling *l, kd_select **q, kd_err *e) {
    l->expr.len = l->expr_fixed;
    kd_code rc = kd_buf_printf(&l->expr, " AND (prompt, settings, number) > (%lld, %lld, %d)", (long long)l->prompt, (long long)l->settings,
                               l->number);
    if (rc) return kd_fail(e, rc, "label: no memory");
    return kd_select_open(q, l->s, &(kd_select_opts){.select = l->expr.data}, e);
}

/* The texts of a conversation, one a line. */
static kd_code read_question(labelling *l, kd_str messages, kd_str *out, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf b = {0};
    kd_code rc = kd_json_parse(&doc, messages.data, messages.len, "prompts.messages", e);
    if (rc) return rc;
    for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m && !rc; m = kd_json_next(m)) {
        const kd_str s = kd_json_string(kd_json_get(m, "content"));
        rc = kd_buf_append(&b, s.data, s.len);
        if (!rc) rc = kd_buf_putc(&b, '\n');
    }
    rc = rc ? kd_fail(e, rc, "label: no memory") : kd_str_keep(&l->arena, kd_buf_view(&b), out, e);
    kd_buf_clear(&b);
    kd_json_free(doc);
    return rc;
}

static kd_code read_batch(labelling *l, kd_select *q, bool *more, kd_err *e) {
    kd_row r;
    size_t bytes = 0;
    kd_code rc = KD_OK;
    l->n = 0;
    kd_arena_clear(&l->arena);
    while (!rc && l->n < BATCH && bytes < BATCH_BYTES && !(rc = kd_select_next(q, &r, more, e)) && *more) {
        kd_subject *s = &l->batch[l->n++];
        *s = (kd_subject){.id = r.sample_id, .from = r.thought_from};
        const kd_str from[] = {r.answer, r.thought, r.gold, r.task, r.finish};
        kd_str *const to[] = {&s->answer, &s->thought, &s->gold, &s->task, &s->finish};
        for (int i = 0; i < 5 && !rc; i++) rc = kd_str_keep(&l->arena, from[i], to[i], e);
        if (!rc && l->asks_question) rc = read_question(l, r.messages, &s->question, e);
        bytes += r.answer.len + r.thought.len;
        l->prompt = r.prompt;
        l->settings = r.settings;
        l->number = r.sample;
    }
    return rc;
}

static void judge_one(void *ctx, size_t task, int worker) {
    labelling *l = ctx;
    (void)worker;
    kd_code rc = KD_OK;
    for (size_t k = 0; k < l->n_chosen && !rc; k++) {
        kd_value *v = &l->verdicts[task * l->n_chosen + k];
        *v = (kd_value){0};
        rc = l->chosen[k]->judge(&l->batch[task], v, &l->worker_err[task]);
    }
    l->worker_rc[task] = rc;
}

static void count_verdict(kd_label_report *r, const kd_value *v) {
    if (v->kind != KD_VALUE_WORD) return;
    r->right += strcmp(v->word, "right") == 0;
    r->wrong += strcmp(v->word, "wrong") == 0;
    r->unknown += strcmp(v->word, "unknown") == 0;
}

static kd_code write_label(labelling *l, int64_t sample, const kd_check *c, const kd_value *v, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(l->s, KD_Q_LABEL_ADD,
                               "INSERT INTO labels(sample, name, value, detail, version) VALUES(?1,?2,?3,?4,?5)"
                               " ON CONFLICT(sample, name) DO UPDATE SET value=?3, detail=?4, version=?5",
                               &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, sample);
    kd_bind_text(q, 2, kd_str_of(c->name));
    if (v->kind == KD_VALUE_NUMBER)
        kd_bind_double(q, 3, v->number);
    else if (v->kind == KD_VALUE_INT)
        kd_bind_int(q, 3, (int64_t)v->number);
    else if (v->kind == KD_VALUE_WORD)
        kd_bind_text(q, 3, kd_str_of(v->word));
    else
        kd_bind_null(q, 3);
    kd_bind_text(q, 4, v->detail[0] ? kd_str_of(v->detail) : (kd_str){NULL, 0});
    kd_bind_int(q, 5, c->version);
    return kd_stmt_run(q, e);
}

static kd_code write_names(labelling *l, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(l->s, KD_Q_LABEL_NAME, "INSERT INTO label_names(name) VALUES(?1) ON CONFLICT DO NOTHING", &q, e);
    for (size_t k = 0; k < l->n_chosen && !rc; k++) {
        kd_bind_text(q, 1, kd_str_of(l->chosen[k]->name));
        rc = kd_stmt_run(q, e);
    }
    return rc;
}

static kd_code write_batch(labelling *l, kd_err *e) {
    kd_code rc = kd_db_begin(l->s->db, e);
    if (rc) return rc;
    for (size_t i = 0; i < l->n && !rc; i++)
        for (size_t k = 0; k < l->n_chosen && !rc; k++)
            rc = write_label(l, l->batch[i].id, l->chosen[k], &l->verdicts[i * l->n_chosen + k], e);
    if (rc) {
        kd_db_rollback(l->s->db);
        return rc;
    }
    if ((rc = kd_db_commit(l->s->db, e))) return rc;
    l->r->looked += l->n;
    l->r->written += l->n * l->n_chosen;
    for (size_t i = 0; i < l->n * l->n_chosen; i++) count_verdict(l->r, &l->verdicts[i]);
    return KD_OK;
}

static kd_code judge_batch(labelling *l, kd_err *e) {
    for (size_t i = 0; i < l->n; i++) kd_err_clear(&l->worker_err[i]);
    kd_pool_run(l->o->pool, judge_one, l, l->n);
    for (size_t i = 0; i < l->n; i++)
        if (l->worker_rc[i]) return kd_fail(e, l->worker_rc[i], "%s", l->worker_err[i].msg);
    return write_batch(l, e);
}

/* Some batches over one look at the study; *more false when it has no sample left. */
static kd_code label_some(labelling *l, bool *more, const kd_watch *w, kd_event *ev, kd_err *e) {
    kd_select *q = NULL;
    kd_code rc = look(l, &q, e);
    for (int i = 0; i < BATCHES_A_LOOK && !rc && *more; i++) {
        rc = read_batch(l, q, more, e);
        if (!rc && l->n) rc = judge_batch(l, e);
        ev->done = l->r->looked;
        kd_emit(w, *ev);
        int stop = kd_stopping(w);
        if (!rc && *more && stop)
            rc = kd_fail(e, (kd_code)stop, "interrupted behind %llu samples; run it again to go on", (unsigned long long)l->r->looked);
    }
    kd_select_close(q);
    return rc;
}

kd_code kd_label_run(kd_study *s, const kd_label_opts *o, const kd_watch *w, kd_label_report *out, kd_err *e) {
    static const kd_label_opts nothing;
    kd_label_report mine;
    kd_event ev = {KD_EV_BEGIN, "label", 0, 0, "samples", NULL};
    bool more = true;
    labelling l = {.s = s, .o = o ? o : &nothing, .prompt = -1, .r = out ? out : &mine};
    *l.r = (kd_label_report){0};
    kd_code rc = choose(&l, e);
    if (rc) return rc;
    l.batch = kd_calloc(BATCH, sizeof *l.batch);
    l.verdicts = kd_calloc(BATCH * l.n_chosen, sizeof *l.verdicts);
    l.worker_err = kd_calloc(BATCH, sizeof *l.worker_err);
    l.worker_rc = kd_calloc(BATCH, sizeof *l.worker_rc);
    if (!l.batch || !l.verdicts || !l.worker_err || !l.worker_rc) rc = kd_fail(e, KD_ENOMEM, "label: no memory");
    if (!rc && o && o->select) { /* found wrong by itself, before ours is put around it */
        kd_select *q = NULL;
        rc = kd_select_open(&q, s, &(kd_select_opts){.select = o->select}, e);
        kd_select_close(q);
    }
    if (!rc) rc = build_expression(&l, e);
    if (!rc) rc = write_names(&l, e);
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    while (!rc && more) rc = label_some(&l, &more, w, &ev, e);
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    kd_buf_clear(&l.expr);
    kd_arena_clear(&l.arena);
    kd_free(l.batch);
    kd_free(l.verdicts);
    kd_free(l.worker_err);
    kd_free(l.worker_rc);
    return rc;
}
