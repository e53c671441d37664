/* datasets/label_run.c - labels for a whole study: what lacks one, in batches, judged in parallel, written by one transaction each.
 * Three batches are under way at a time: one is read and one is written (each by one worker, each on its own connection) while the rest of the pool
 * judges the one between. Leans on label_int.h, study_int.h, base. */
#include "datasets/label_int.h"

#include "datasets/study_int.h"

#include <stdio.h>
#include <string.h>

enum { BATCH = 512, BATCH_BYTES = 16 << 20, BATCHES_A_LOOK = 40, UNDER_WAY = 3, CHOSEN = 64, SHARE = 8, PROGRAMS = 8 };

typedef struct {
    kd_arena arena;
    kd_subject *subjects; /* [BATCH] */
    kd_value *values;     /* [BATCH * n_chosen] */
    size_t n;
} batch;

typedef struct {
    kd_study *s;
    const kd_label_opts *o;
    const kd_check *chosen[CHOSEN];
    size_t n_chosen, batch_most, share; /* share: samples a task; programs take seconds, so that each is a task, and a batch is small */
    unsigned needs;
    kd_code_opts code;
    kd_buf expr;       /* the samples that lack a label, as a selection */
    size_t expr_fixed; /* its part that stays; a place to go on from follows */
    batch batches[UNDER_WAY], *reading, *judging, *writing;
    kd_select *q;
    int looked; /* batches read in this look */
    bool more;  /* there may be samples behind those read */
    kd_lexicon *lexicon;
    kd_label_room *rooms; /* one a worker */
    int n_rooms;
    kd_err read_err, write_err, *worker_err; /* one a worker */
    kd_code read_rc, write_rc, *worker_rc;
    int64_t prompt, settings; /* key of the last sample read */
    int number;
    kd_label_report *r;
    kd_db *beside; /* verify: a connection of the reader's own, for bodies; labels are read by the writer's */
    kd_stmt *bodies, *labels;
    kd_label_report read_report;
} labelling;

static kd_code no_check(kd_str name, kd_err *e) {
    kd_buf all = {0};
    kd_code rc = KD_OK;
    for (size_t i = 0; kd_check_at(i) && !rc; i++) rc = kd_buf_printf(&all, ", %s", kd_check_at(i)->name);
    rc = kd_fail(e, rc ? rc : KD_EINVAL, "label: no check named %.*s; there are all%s", (int)(name.len < 60 ? name.len : 60), name.data,
                 all.data ? all.data : "");
    kd_buf_clear(&all);
    return rc;
}

static void take(labelling *l, const kd_check *c) {
    for (size_t k = 0; k < l->n_chosen; k++)
        if (l->chosen[k] == c) return;
    if (l->n_chosen < CHOSEN) l->chosen[l->n_chosen++] = c;
    l->needs |= c->needs;
}

static kd_code choose(labelling *l, kd_err *e) {
    const char *p = l->o->checks    ? l->o->checks
                    : l->o->verify  ? "all"
                    : l->o->sandbox ? "math,code,finished,repeats,empty"
                                    : "math,finished,repeats,empty";
    while (*p) {
        const kd_str name = {p, strcspn(p, ",")};
        const kd_check *c = kd_check_named(name);
        if (kd_str_is(name, "all")) {
            for (size_t i = 0; kd_check_at(i); i++)
                if (l->o->sandbox || !(kd_check_at(i)->needs & KD_NEEDS_SANDBOX)) take(l, kd_check_at(i));
        } else if (c && (c->needs & KD_NEEDS_SANDBOX) && !l->o->sandbox) {
            return kd_fail(e, KD_EINVAL, "label: the check %s runs programs of the answers: it takes --sandbox besides", c->name);
        } else if (c) {
            take(l, c);
        } else if (name.len) {
            return no_check(name, e);
        }
        p += name.len + (p[name.len] == ',');
    }
    return l->n_chosen ? KD_OK : kd_fail(e, KD_EINVAL, "label: expected the names of checks, found none");
}

/* The selection: the user's own expression, and fewer labels of these names at these versions than there are checks. */
static kd_code build_expression(labelling *l, kd_err *e) {
    kd_buf *b = &l->expr;
    kd_code rc = kd_buf_printf(b, "(%s)", l->o->select ? l->o->select : "1");
    if (!rc && !l->o->again && !l->o->verify) {
        rc = kd_buf_puts(b, " AND (SELECT count(*) FROM labels WHERE sample = sample_id AND (");
        for (size_t i = 0; i < l->n_chosen && !rc; i++)
            rc = kd_buf_printf(b, "%s(name = '%s' AND version = %d)", i ? " OR " : "", l->chosen[i]->name, l->chosen[i]->version);
        if (!rc) rc = kd_buf_printf(b, ")) < %zu", l->n_chosen);
    }
    l->expr_fixed = b->len;
    return rc ? kd_fail(e, rc, "label: no memory") : KD_OK;
}

/* From behind the last sample on: a long look at a study would keep its log from being folded in, so it is renewed now and then. */
static kd_code look(labelling *l, kd_err *e) {
    kd_select_close(l->q);
    l->q = NULL;
    l->looked = 0;
    l->expr.len = l->expr_fixed;
    kd_code rc = kd_buf_printf(&l->expr, " AND (prompt, settings, number) > (%lld, %lld, %d)", (long long)l->prompt, (long long)l->settings,
                               l->number);
    if (rc) return kd_fail(e, rc, "label: no memory");
    return kd_select_open(&l->q, l->s, &(kd_select_opts){.select = l->expr.data}, e);
}

/* The texts of a conversation, one a line. */
static kd_code read_question(batch *b, kd_str messages, kd_str *out, kd_err *e) {
    kd_json *doc = NULL;
    kd_buf text = {0};
    kd_code rc = kd_json_parse(&doc, messages.data, messages.len, "prompts.messages", e);
    if (rc) return rc;
    for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m && !rc; m = kd_json_next(m)) {
        const kd_str s = kd_json_string(kd_json_get(m, "content"));
        rc = kd_buf_append(&text, s.data, s.len);
        if (!rc) rc = kd_buf_putc(&text, '\n');
    }
    rc = rc ? kd_fail(e, rc, "label: no memory") : kd_str_keep(&b->arena, kd_buf_view(&text), out, e);
    kd_buf_clear(&text);
    kd_json_free(doc);
    return rc;
}

static kd_code keep_row(labelling *l, batch *b, const kd_row *r, kd_err *e) {
    kd_subject *s = &b->subjects[b->n], *before = b->n ? s - 1 : NULL;
    *s = (kd_subject){.id = r->sample_id, .prompt = r->prompt, .from = r->thought_from, .reasoning_tokens = r->reasoning_tokens};
    const kd_str from[] = {r->answer, r->thought, r->gold, r->task, r->finish};
    kd_str *const to[] = {&s->answer, &s->thought, &s->gold, &s->task, &s->finish};
    kd_code rc = KD_OK;
    for (int i = 0; i < 5 && !rc; i++) rc = kd_str_keep(&b->arena, from[i], to[i], e);
    if (!rc && l->bodies) rc = kd_verify_text(l->bodies, l->o, &b->arena, s, &l->read_report, e);
    if (rc || !(l->needs & KD_NEEDS_QUESTION)) return rc;
    if (!before || before->prompt != s->prompt) return read_question(b, r->messages, &s->question, e);
    s->question = before->question;
    return KD_OK;
}

static kd_code read_batch(labelling *l, batch *b, kd_err *e) {
    kd_row r;
    size_t bytes = 0;
    bool found = true;
    kd_code rc = !l->more || (l->q && l->looked < BATCHES_A_LOOK) ? KD_OK : look(l, e);
    b->n = 0;
    kd_arena_clear(&b->arena);
    while (!rc && l->more && b->n < l->batch_most && bytes < BATCH_BYTES) {
        if ((rc = kd_select_next(l->q, &r, &found, e))) break;
        if (!(l->more = found)) break;
        rc = keep_row(l, b, &r, e);
        b->n++;
        bytes += r.answer.len + r.thought.len;
        l->prompt = r.prompt;
        l->settings = r.settings;
        l->number = r.sample;
    }
    l->looked++;
    return rc;
}

static kd_code judge_one(labelling *l, kd_subject *s, kd_value *v, kd_label_room *room, kd_err *e) {
    kd_code rc = KD_OK;
    s->room = room;
    room->tokenizer = l->o->tokenizer;
    kd_label_room_next(room, s->prompt);
    for (size_t k = 0; k < l->n_chosen && !rc; k++) {
        v[k] = (kd_value){0};
        rc = l->chosen[k]->judge(s, &v[k], e);
    }
    return rc;
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
    kd_bind_int(q, 5, v->machine ? 0 : c->version); /* no version of the rule: the next run judges it again */
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

static kd_code compare_batch(labelling *l, batch *b, kd_err *e) {
    kd_code rc = KD_OK;
    for (size_t i = 0; i < b->n && !rc; i++)
        for (size_t k = 0; k < l->n_chosen && !rc; k++)
            rc = kd_verify_label(l->labels, l->o, b->subjects[i].id, l->chosen[k], &b->values[i * l->n_chosen + k], l->r, e);
    l->r->looked += b->n;
    return rc;
}

static kd_code write_batch(labelling *l, batch *b, kd_err *e) {
    if (!b->n) return KD_OK;
    if (l->o->verify) return compare_batch(l, b, e);
    kd_code rc = kd_db_begin(l->s->db, e);
    if (rc) return rc;
    for (size_t i = 0; i < b->n && !rc; i++)
        for (size_t k = 0; k < l->n_chosen && !rc; k++)
            rc = write_label(l, b->subjects[i].id, l->chosen[k], &b->values[i * l->n_chosen + k], e);
    if (rc) {
        kd_db_rollback(l->s->db);
        return rc;
    }
    if ((rc = kd_db_commit(l->s->db, e))) return rc;
    l->r->looked += b->n;
    l->r->written += b->n * l->n_chosen;
    for (size_t i = 0; i < b->n * l->n_chosen; i++) count_verdict(l->r, &b->values[i]);
    return KD_OK;
}

/* Task 0 writes the batch before, task 1 reads the one behind, the others judge SHARE samples each. */
static void work(void *ctx, size_t task, int worker) {
    labelling *l = ctx;
    if (task == 0) {
        l->write_rc = write_batch(l, l->writing, &l->write_err);
    } else if (task == 1) {
        l->read_rc = read_batch(l, l->reading, &l->read_err);
    } else {
        batch *b = l->judging;
        const size_t from = (task - 2) * l->share, to = from + l->share < b->n ? from + l->share : b->n;
        for (size_t i = from; i < to && !l->worker_rc[worker]; i++)
            l->worker_rc[worker] = judge_one(l, &b->subjects[i], &b->values[i * l->n_chosen], &l->rooms[worker], &l->worker_err[worker]);
    }
}

static kd_code step(labelling *l, kd_err *e) {
    kd_pool_run(l->o->pool, work, l, 2 + (l->judging->n + l->share - 1) / l->share);
    if (l->write_rc) return kd_fail(e, l->write_rc, "%s", l->write_err.msg);
    l->writing->n = 0;
    for (int i = 0; i < l->n_rooms; i++)
        if (l->worker_rc[i]) return kd_fail(e, l->worker_rc[i], "%s", l->worker_err[i].msg);
    if (l->read_rc) return kd_fail(e, l->read_rc, "%s", l->read_err.msg);
    batch *free_now = l->writing;
    l->writing = l->judging;
    l->judging = l->reading;
    l->reading = free_now;
    return KD_OK;
}

static kd_code prepare_verify(labelling *l, kd_err *e) {
    kd_code rc = kd_stmt_new(&l->labels, l->s->db, "SELECT value, detail FROM labels WHERE sample=?1 AND name=?2 AND version=?3", e);
    if (!rc && l->o->reread) rc = kd_db_open(&l->beside, kd_study_path(l->s), KD_DB_READ, e);
    if (!rc && l->o->reread)
        rc = kd_stmt_new(&l->bodies, l->beside,
                         "SELECT b.body, json_extract(t.json, '$.prefill') FROM bodies b JOIN samples s ON s.id=b.sample JOIN settings t "
                         "ON t.id=s.settings WHERE b.sample=?1",
                         e);
    return rc;
}

static kd_code prepare(labelling *l, kd_err *e) {
    kd_code rc = choose(l, e);
    if (rc) return rc;
    bool room = true;
    l->n_rooms = kd_pool_threads(l->o->pool);
    for (int i = 0; i < UNDER_WAY; i++) {
        l->batches[i].subjects = kd_calloc(BATCH, sizeof *l->batches[i].subjects);
        l->batches[i].values = kd_calloc(BATCH * l->n_chosen, sizeof *l->batches[i].values);
        room &= l->batches[i].subjects && l->batches[i].values;
    }
    l->rooms = kd_calloc((size_t)l->n_rooms, sizeof *l->rooms);
    l->worker_err = kd_calloc((size_t)l->n_rooms, sizeof *l->worker_err);
    l->worker_rc = kd_calloc((size_t)l->n_rooms, sizeof *l->worker_rc);
    if (!room || !l->rooms || !l->worker_err || !l->worker_rc) return kd_fail(e, KD_ENOMEM, "label: no memory");
    if ((rc = kd_lexicon_new(&l->lexicon, e))) return rc;
    l->batch_most = l->needs & KD_NEEDS_SANDBOX ? PROGRAMS * (size_t)l->n_rooms : BATCH;
    if (l->batch_most > BATCH) l->batch_most = BATCH;
    l->share = l->needs & KD_NEEDS_SANDBOX ? 1 : SHARE;
    for (int i = 0; i < l->n_rooms; i++) {
        l->rooms[i].lexicon = l->lexicon;
        l->rooms[i].sandbox = l->o->sandbox;
        l->rooms[i].code = &l->code;
    }
    l->reading = &l->batches[0];
    l->judging = &l->batches[1];
    l->writing = &l->batches[2];
    if (l->o->select) { /* found wrong by itself, before ours is put around it */
        kd_select *q = NULL;
        rc = kd_select_open(&q, l->s, &(kd_select_opts){.select = l->o->select}, e);
        kd_select_close(q);
    }
    if (!rc) rc = build_expression(l, e);
    return rc ? rc : l->o->verify ? prepare_verify(l, e) : write_names(l, e);
}

static void clear(labelling *l) {
    for (int i = 0; i < UNDER_WAY; i++) {
        kd_arena_clear(&l->batches[i].arena);
        kd_free(l->batches[i].subjects);
        kd_free(l->batches[i].values);
    }
    for (int i = 0; i < l->n_rooms && l->rooms; i++) kd_label_room_clear(&l->rooms[i]);
    l->r->bodies += l->read_report.bodies;
    l->r->differ += l->read_report.differ;
    kd_stmt_free(l->labels);
    kd_stmt_free(l->bodies);
    kd_db_close(l->beside);
    kd_select_close(l->q);
    kd_lexicon_free(l->lexicon);
    kd_buf_clear(&l->expr);
    kd_free(l->rooms);
    kd_free(l->worker_err);
    kd_free(l->worker_rc);
}

static bool asked_to_stop(void *ctx) { return kd_stopping(ctx) != 0; }

kd_code kd_label_run(kd_study *s, const kd_label_opts *o, const kd_watch *w, kd_label_report *out, kd_err *e) {
    static const kd_label_opts nothing;
    kd_label_report mine;
    kd_event ev = {KD_EV_BEGIN, "label", 0, 0, "samples", NULL};
    labelling l = {.s = s, .o = o ? o : &nothing, .prompt = -1, .more = true, .r = out ? out : &mine};
    kd_watch watch = w ? *w : (kd_watch){0};
    *l.r = (kd_label_report){0};
    l.code = l.o->code;
    l.code.stop = asked_to_stop;
    l.code.ctx = &watch;
    kd_code rc = prepare(&l, e);
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    while (!rc && (l.more || l.judging->n || l.writing->n)) {
        rc = step(&l, e);
        ev.done = l.r->looked;
        kd_emit(w, ev);
        const int stop = kd_stopping(w);
        if (rc == KD_EINTERRUPT && stop) rc = KD_OK; /* a program that was running: its sample stays to be judged */
        if (!rc && stop && (l.more || l.judging->n || l.writing->n))
            rc = kd_fail(e, (kd_code)stop, "interrupted behind %llu samples; run it again to go on", (unsigned long long)l.r->looked);
    }
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    clear(&l);
    return rc;
}
