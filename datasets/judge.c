/* datasets/judge.c - questions to a judge out of samples, and its verdicts as a label. Leans on judge.h, study_int.h, math_int.h. */
#include "datasets/judge.h"

#include "datasets/math_int.h"
#include "datasets/study_int.h"
#include "distill/base/clock.h"
#include "distill/base/hash.h"

#include <stdio.h>
#include <string.h>

enum { ROWS_A_LOOK = 2048, ROWS_A_BATCH = 256, JUDGE_VERSION = 1 };

const char kd_judge_template[] =
    "You are a strict examiner. Below are a question, the reference answer, and a student's answer.\n\n"
    "[Question]\n{question}\n\n[Reference answer]\n{gold}\n\n[Student's answer]\n{answer}\n\n"
    "Does the student's final answer mean the same as the reference answer? Reason briefly. Then write, as the last line of your "
    "reply and with nothing behind it, either\nVERDICT: right\nor\nVERDICT: wrong\n";

/* ---- templates ---- */
typedef enum { HOLE_QUESTION, HOLE_ANSWER, HOLE_THOUGHT, HOLE_GOLD, HOLES } hole;
static const char *const hole_names[HOLES] = {"{question}", "{answer}", "{thought}", "{gold}"};

static kd_str template_of(const kd_judge_opts *o) {
    return o->text.data ? o->text : (kd_str){kd_judge_template, strlen(kd_judge_template)};
}

/* The first hole at or behind text: HOLES if there is none. */
static hole next_hole(kd_str text, size_t *at) {
    for (const char *p = text.data, *end = text.data + text.len; p < end && (p = memchr(p, '{', (size_t)(end - p))); p++)
        for (int h = 0; h < HOLES; h++)
            if (kd_str_starts((kd_str){p, (size_t)(end - p)}, hole_names[h])) {
                *at = (size_t)(p - text.data);
                return (hole)h;
            }
    return HOLES;
}

static bool has_hole(kd_str text, hole which) { return memmem(text.data, text.len, hole_names[which], strlen(hole_names[which])) != NULL; }

kd_code kd_judge_check(const kd_judge_opts *o, char split[32], kd_err *e) {
    const kd_str t = template_of(o);
    char hash[65];
    if (!has_hole(t, HOLE_ANSWER)) return kd_fail(e, KD_EINVAL, "judge: expected {answer} in the template, found none");
    if (o->votes < 0 || o->votes > 1000) return kd_fail(e, KD_EINVAL, "judge: expected 1 to 1000 votes, found %d", o->votes);
    kd_sha256_hex(t.data, t.len, hash);
    (void)snprintf(split, 32, KD_JUDGE_SPLIT "%.12s", hash);
    return KD_OK;
}

/* out += the question to the judge. What is put in is not looked at for holes. */
static kd_code fill(kd_buf *out, kd_str t, const kd_str values[HOLES]) {
    kd_code rc = KD_OK;
    while (!rc && t.len) {
        size_t at = t.len;
        const hole h = next_hole(t, &at);
        rc = kd_buf_append(out, t.data, at);
        if (h == HOLES || rc) break;
        if (values[h].len) rc = kd_buf_append(out, values[h].data, values[h].len);
        const size_t used = at + strlen(hole_names[h]);
        t = (kd_str){t.data + used, t.len - used};
    }
    return rc;
}

/* ---- the walk over samples ---- */
typedef struct {
    int64_t sample;
    bool without; /* no gold answer to compare with */
    unsigned char hash[32];
    kd_str messages;
} question;
typedef struct {
    kd_study *s;
    const kd_judge_opts *o;
    char split[32];
    kd_arena arena;
    kd_buf expr, text, json;
    question batch[ROWS_A_BATCH];
    size_t n;
    int64_t prompt, settings; /* key of the last sample read */
    int number;
    kd_judge_report *r;
} walking;

/* The texts of a conversation, one a line. */
static kd_code texts_of(kd_buf *out, kd_str messages, kd_err *e) {
    kd_json *doc = NULL;
    kd_code rc = kd_json_parse(&doc, messages.data, messages.len, "prompts.messages", e);
    if (rc) return rc;
    for (const kd_json_node *m = kd_json_first(kd_json_root(doc)); m && !rc; m = kd_json_next(m)) {
        const kd_str s = kd_json_string(kd_json_get(m, "content"));
        if (out->len && !rc) rc = kd_buf_putc(out, '\n');
        if (!rc) rc = kd_buf_append(out, s.data, s.len);
    }
    kd_json_free(doc);
    return rc ? kd_fail(e, rc, "judge: no memory") : KD_OK;
}

static kd_code make_question(walking *k, const kd_row *row, kd_err *e) {
    const kd_str t = template_of(k->o);
    question *q = &k->batch[k->n++];
    kd_buf asked = {0};
    *q = (question){.sample = row->sample_id, .without = !row->gold.data && has_hole(t, HOLE_GOLD)};
    if (q->without) return KD_OK;
    k->text.len = k->json.len = 0;
    kd_code rc = texts_of(&asked, row->messages, e);
    if (!rc) {
        const kd_str values[HOLES] = {kd_buf_view(&asked), kd_trim(row->answer), row->thought, row->gold};
        kd_jsonw w = {.out = &k->json};
        if (!(rc = fill(&k->text, t, values))) {
            kd_jsonw_array(&w);
            kd_jsonw_object(&w);
            kd_jsonw_key(&w, "content");
            kd_jsonw_str(&w, kd_buf_view(&k->text));
            kd_jsonw_key(&w, "role");
            kd_jsonw_cstr(&w, "user");
            kd_jsonw_end_object(&w);
            kd_jsonw_end_array(&w);
            rc = w.code;
        }
        if (rc) kd_fail(e, rc, "judge: no memory");
        if (!rc) rc = kd_str_keep(&k->arena, kd_buf_view(&k->json), &q->messages, e);
        if (!rc) kd_prompt_hash(q->messages, (kd_str){NULL, 0}, q->hash);
    }
    kd_buf_clear(&asked);
    return rc;
}

/* Every sample of the selection, a batch at a time, through each. A look is renewed now and then, so that the log can be folded in. */
static kd_code walk(walking *k, kd_code (*each)(walking *k, kd_err *e), const kd_watch *w, kd_err *e) {
    kd_code rc = KD_OK;
    kd_event ev = {KD_EV_BEGIN, "judge", 0, 0, "samples", NULL};
    bool more = true, any = true;
    kd_emit(w, ev);
    ev.kind = KD_EV_STEP;
    while (!rc && any) {
        kd_select *q = NULL;
        k->expr.len = 0;
        rc = kd_buf_printf(&k->expr, "(%s) AND (prompt, settings, number) > (%lld, %lld, %d)", k->o->select ? k->o->select : "1",
                           (long long)k->prompt, (long long)k->settings, k->number);
        rc = rc ? kd_fail(e, rc, "judge: no memory") : kd_select_open(&q, k->s, &(kd_select_opts){.select = k->expr.data}, e);
        any = false;
        more = true;
        for (int rows = 0; !rc && more && rows < ROWS_A_LOOK;) {
            kd_row row;
            k->n = 0;
            kd_arena_clear(&k->arena);
            while (!rc && k->n < ROWS_A_BATCH && !(rc = kd_select_next(q, &row, &more, e)) && more) {
                rc = make_question(k, &row, e);
                k->prompt = row.prompt;
                k->settings = row.settings;
                k->number = row.sample;
            }
            rows += (int)k->n;
            any |= k->n > 0;
            if (!rc && k->n) rc = each(k, e);
            if (!rc) k->r->looked += k->n;
            ev.done = k->r->looked;
            kd_emit(w, ev);
            const int stop = kd_stopping(w);
            if (!rc && stop) rc = kd_fail(e, (kd_code)stop, "interrupted; run it again to go on");
        }
        kd_select_close(q);
    }
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    return rc;
}

static kd_code walk_all(kd_study *s, const kd_judge_opts *o, walking *k, kd_code (*each)(walking *k, kd_err *e), const kd_watch *w,
                        kd_err *e) {
    kd_select *q = NULL;
    kd_code rc = kd_judge_check(o, k->split, e);
    k->s = s;
    k->o = o;
    k->prompt = -1;
    k->r->looked = 0;
    if (!rc && o->select) { /* found wrong by itself, before ours is put around it */
        rc = kd_select_open(&q, s, &(kd_select_opts){.select = o->select}, e);
        kd_select_close(q);
    }
    if (!rc) rc = walk(k, each, w, e);
    kd_arena_clear(&k->arena);
    kd_buf_clear(&k->expr);
    kd_buf_clear(&k->text);
    kd_buf_clear(&k->json);
    kd_free(k);
    return rc;
}

/* ---- asking ---- */
static kd_code put_questions(walking *k, kd_err *e) {
    kd_stmt *q = NULL;
    uint64_t added = 0;
    kd_code rc = kd_db_begin(k->s->db, e);
    if (rc) return rc;
    rc = kd_stmt_new(
        &q, k->s->db,
        "INSERT INTO prompts(hash, split, task, source, messages, created) VALUES(?1, ?2, 'judge', 'judge', ?3, ?4) ON CONFLICT DO NOTHING",
        e);
    for (size_t i = 0; i < k->n && !rc; i++) {
        if (k->batch[i].without) continue;
        kd_bind_blob(q, 1, (kd_str){(const char *)k->batch[i].hash, 32});
        kd_bind_text(q, 2, kd_str_of(k->split));
        kd_bind_text(q, 3, k->batch[i].messages);
        kd_bind_int(q, 4, kd_unix_ms());
        rc = kd_stmt_run(q, e);
        if (!rc) added += (uint64_t)kd_db_changes(k->s->db);
    }
    kd_stmt_free(q);
    if (rc) {
        kd_db_rollback(k->s->db);
        return rc;
    }
    if (!(rc = kd_db_commit(k->s->db, e))) k->r->added += added;
    return rc;
}

kd_code kd_judge_prepare(kd_study *s, const kd_judge_opts *o, const kd_watch *w, kd_judge_report *r, kd_err *e) {
    walking *k = kd_calloc(1, sizeof *k);
    if (!k) return kd_fail(e, KD_ENOMEM, "judge: no memory");
    *r = (kd_judge_report){0};
    k->r = r;
    return walk_all(s, o, k, put_questions, w, e);
}

/* ---- verdicts ---- */
kd_verdict kd_judge_vote(kd_str answer, kd_str finish) {
    if (kd_str_is(finish, "length") || kd_str_is(finish, "max_tokens")) return KD_UNKNOWN;
    const kd_str t = kd_trim(answer);
    size_t from = t.len;
    while (from && t.data[from - 1] != '\n' && t.data[from - 1] != '\r') from--;
    const kd_str line = kd_trim((kd_str){t.data + from, t.len - from});
    static const char head[] = "VERDICT:";
    if (line.len <= sizeof head - 1 || strncasecmp(line.data, head, sizeof head - 1) != 0) return KD_UNKNOWN;
    const kd_str word = kd_trim((kd_str){line.data + sizeof head - 1, line.len - (sizeof head - 1)});
    if (word.len != 5) return KD_UNKNOWN;
    return strncasecmp(word.data, "right", 5) == 0 ? KD_RIGHT : strncasecmp(word.data, "wrong", 5) == 0 ? KD_WRONG : KD_UNKNOWN;
}

typedef struct {
    walking k; /* first: freed as one */
    int64_t settings;
    const char *judge;
} telling;

static kd_code count_votes(kd_stmt *q, const question *asked, int64_t settings, int votes, int n[3], int *have, kd_err *e) {
    bool row;
    kd_code rc = KD_OK;
    n[0] = n[1] = n[2] = *have = 0;
    kd_bind_blob(q, 1, (kd_str){(const char *)asked->hash, 32});
    kd_bind_int(q, 2, settings);
    kd_bind_int(q, 3, votes);
    while (!(rc = kd_stmt_step(q, &row, e)) && row) {
        n[kd_judge_vote(kd_col_text(q, 0), kd_col_text(q, 1))]++;
        ++*have;
    }
    return rc;
}

static kd_code write_one(telling *t, kd_stmt *labels, const question *asked, const int n[3], int votes, kd_err *e) {
    const kd_verdict v = 2 * n[KD_RIGHT] > votes ? KD_RIGHT : 2 * n[KD_WRONG] > votes ? KD_WRONG : KD_UNKNOWN;
    char detail[200];
    if (asked->without)
        (void)snprintf(detail, sizeof detail, "no gold answer");
    else if (n[KD_UNKNOWN])
        (void)snprintf(detail, sizeof detail, "%d right, %d wrong, %d without a verdict; %.100s", n[KD_RIGHT], n[KD_WRONG], n[KD_UNKNOWN],
                       t->judge);
    else
        (void)snprintf(detail, sizeof detail, "%d right, %d wrong; %.100s", n[KD_RIGHT], n[KD_WRONG], t->judge);
    kd_bind_int(labels, 1, asked->sample);
    if (asked->without)
        kd_bind_null(labels, 2);
    else
        kd_bind_text(labels, 2, kd_str_of(kd_verdict_name(v)));
    kd_bind_text(labels, 3, kd_str_of(detail));
    kd_bind_int(labels, 4, JUDGE_VERSION);
    kd_judge_report *r = t->k.r;
    if (asked->without)
        r->without++;
    else
        (v == KD_RIGHT ? &r->right : v == KD_WRONG ? &r->wrong : &r->unknown)[0]++;
    return kd_stmt_run(labels, e);
}

static kd_code tell_batch(walking *k, kd_err *e) {
    telling *t = (telling *)(void *)k;
    kd_stmt *q = NULL, *labels = NULL;
    const int votes = k->o->votes > 0 ? k->o->votes : 1;
    kd_judge_report before = *k->r;
    kd_code rc = kd_db_begin(k->s->db, e);
    if (rc) return rc;
    rc = kd_stmt_new(&q, k->s->db,
                     "SELECT s.answer, s.finish FROM prompts p CROSS JOIN samples s ON s.prompt=p.id WHERE p.hash=?1 AND s.settings=?2 AND "
                     "s.number < ?3",
                     e);
    if (!rc)
        rc = kd_stmt_new(&labels, k->s->db,
                         "INSERT INTO labels(sample, name, value, detail, version) VALUES(?1,'judge',?2,?3,?4)"
                         " ON CONFLICT(sample, name) DO UPDATE SET value=?2, detail=?3, version=?4",
                         e);
    for (size_t i = 0; i < k->n && !rc; i++) {
        const question *asked = &k->batch[i];
        int n[3] = {0}, have = votes;
        if (!asked->without) rc = count_votes(q, asked, t->settings, votes, n, &have, e);
        if (rc) break;
        if (have < votes)
            k->r->missing++;
        else
            rc = write_one(t, labels, asked, n, votes, e);
    }
    kd_stmt_free(q);
    kd_stmt_free(labels);
    if (!rc) rc = kd_db_exec(k->s->db, "INSERT INTO label_names(name) VALUES('judge') ON CONFLICT DO NOTHING", e);
    if (rc) {
        *k->r = before;
        kd_db_rollback(k->s->db);
        return rc;
    }
    return kd_db_commit(k->s->db, e);
}

kd_code kd_judge_tell(kd_study *s, const kd_judge_opts *o, int64_t settings, const char *judge, const kd_watch *w, kd_judge_report *r,
                      kd_err *e) {
    telling *t = kd_calloc(1, sizeof *t);
    if (!t) return kd_fail(e, KD_ENOMEM, "judge: no memory");
    const uint64_t added = r->added;
    *r = (kd_judge_report){.added = added};
    t->settings = settings;
    t->judge = judge;
    t->k.r = r;
    return walk_all(s, o, &t->k, tell_batch, w, e);
}
