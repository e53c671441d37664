/* datasets/answers.c - committing what a teacher said: samples, failed attempts, leases ended and spend added, in one transaction.
 * Leans on study_int.h, base. */
#include "datasets/study_int.h"

#include "distill/base/clock.h"
#include "distill/base/gz.h"
#include "distill/base/utf8.h"

#include <string.h>

enum { BODY_LEVEL = 3 };

/* A text column holds UTF-8 and nothing else; well-formed text is taken as it is. */
static kd_code clean(kd_arena *a, kd_str v, kd_str *out, kd_err *e) {
    *out = v;
    if (!v.data || kd_utf8_valid(v.data, v.len)) return KD_OK;
    kd_buf b = {0};
    kd_code rc = kd_utf8_replace(&b, v.data, v.len);
    if (rc)
        rc = kd_fail(e, rc, "no memory to mend a text of %zu bytes", v.len);
    else
        rc = kd_str_keep(a, kd_buf_view(&b), out, e);
    kd_buf_clear(&b);
    return rc;
}

static void bind_count(kd_stmt *q, int i, int64_t v) {
    if (v >= 0)
        kd_bind_int(q, i, v);
    else
        kd_bind_null(q, i);
}

static void bind_amount(kd_stmt *q, int i, double v) {
    if (v >= 0)
        kd_bind_double(q, i, v);
    else
        kd_bind_null(q, i); /* NaN comes here too */
}

static kd_code add_body(kd_study *s, int64_t sample, kd_str zipped, kd_str logprobs, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(s, KD_Q_BODY_ADD, "INSERT INTO bodies(sample, body, logprobs) VALUES(?1, ?2, ?3)", &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, sample);
    kd_bind_blob(q, 2, zipped.len ? zipped : (kd_str){NULL, 0});
    kd_bind_blob(q, 3, logprobs.len ? logprobs : (kd_str){NULL, 0});
    return kd_stmt_run(q, e);
}

kd_code kd_sample_add(kd_study *s, int64_t settings, int64_t run, const kd_answer *a, kd_str digest, kd_str zipped, bool *added,
                      kd_err *e) {
    kd_stmt *q;
    kd_arena arena = {0};
    kd_str thought, answer;
    *added = false;
    kd_code rc =
        kd_study_stmt(s, KD_Q_SAMPLE_ADD,
                      "INSERT INTO samples(prompt, settings, number, run, digest, finish, thought_from, prompt_tokens, completion_tokens,"
                      " reasoning_tokens, cached_tokens, cost, seconds, first_token_seconds, attempts, created, meta, thought, answer)"
                      " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)"
                      " ON CONFLICT(prompt, settings, number) DO NOTHING",
                      &q, e);
    if (rc || (rc = clean(&arena, a->thought, &thought, e)) || (rc = clean(&arena, a->answer, &answer, e))) goto done;
    if (a->thought_from == KD_THOUGHT_NONE) thought = (kd_str){NULL, 0};
    kd_bind_int(q, 1, a->prompt);
    kd_bind_int(q, 2, settings);
    kd_bind_int(q, 3, a->sample);
    bind_count(q, 4, run > 0 ? run : -1);
    kd_bind_blob(q, 5, digest);
    kd_bind_text(q, 6, kd_str_of(a->finish));
    kd_bind_text(q, 7, kd_str_of(kd_thought_name(a->thought_from)));
    bind_count(q, 8, a->prompt_tokens);
    bind_count(q, 9, a->completion_tokens);
    bind_count(q, 10, a->reasoning_tokens);
    bind_count(q, 11, a->cached_tokens);
    bind_amount(q, 12, a->cost);
    bind_amount(q, 13, a->seconds);
    bind_amount(q, 14, a->first_token_seconds);
    kd_bind_int(q, 15, a->attempts > 0 ? a->attempts : 1);
    kd_bind_int(q, 16, kd_unix_ms());
    kd_bind_text(q, 17, a->meta.len ? a->meta : (kd_str){NULL, 0});
    kd_bind_text(q, 18, thought);
    kd_bind_text(q, 19, answer.data ? answer : KD_STR(""));
    if ((rc = kd_stmt_run(q, e))) goto done;
    *added = kd_db_changes(s->db) > 0;
    if (*added && (zipped.len || a->logprobs.len)) rc = add_body(s, kd_db_last_id(s->db), zipped, a->logprobs, e);
done:
    kd_arena_clear(&arena);
    return rc;
}

static kd_code add_attempt(kd_study *s, int64_t settings, int64_t run, const kd_attempt *f, kd_str zipped, kd_err *e) {
    kd_stmt *q;
    kd_code rc =
        kd_study_stmt(s, KD_Q_ATTEMPT_ADD,
                      "INSERT INTO attempts(prompt, settings, number, run, reason, status, final, prompt_tokens, completion_tokens, cost,"
                      " seconds, created, body) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
                      &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, f->prompt);
    kd_bind_int(q, 2, settings);
    kd_bind_int(q, 3, f->sample);
    bind_count(q, 4, run > 0 ? run : -1);
    kd_bind_text(q, 5, kd_str_of(f->reason ? f->reason : "unknown"));
    bind_count(q, 6, f->status > 0 ? f->status : -1);
    kd_bind_int(q, 7, f->final);
    bind_count(q, 8, f->prompt_tokens);
    bind_count(q, 9, f->completion_tokens);
    bind_amount(q, 10, f->cost);
    bind_amount(q, 11, f->seconds);
    kd_bind_int(q, 12, kd_unix_ms());
    kd_bind_blob(q, 13, zipped.len ? zipped : (kd_str){NULL, 0});
    return kd_stmt_run(q, e);
}

static kd_code end_lease(kd_study *s, int64_t settings, int64_t prompt, int number, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(s, KD_Q_LEASE_END, "DELETE FROM leases WHERE settings=?1 AND prompt=?2 AND number=?3", &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, settings);
    kd_bind_int(q, 2, prompt);
    kd_bind_int(q, 3, number);
    return kd_stmt_run(q, e);
}

/* A try of a lease that goes on has ended. */
static kd_code land(kd_study *s, int64_t settings, int64_t prompt, int number, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(s, KD_Q_LEASE_LANDED,
                               "UPDATE leases SET flying=flying-1 WHERE settings=?1 AND prompt=?2 AND number=?3 AND flying>0", &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, settings);
    kd_bind_int(q, 2, prompt);
    kd_bind_int(q, 3, number);
    return kd_stmt_run(q, e);
}

static int64_t known(int64_t v) { return v > 0 ? v : 0; }

static void spend_add(kd_spend *t, int64_t in, int64_t out, double cost, bool failed) {
    t->prompt_tokens += known(in);
    t->completion_tokens += known(out);
    if (cost > 0) {
        t->cost += cost;
        t->cost_failed += failed ? cost : 0;
    }
    if (failed)
        t->attempts++;
    else
        t->samples++;
}

kd_code kd_totals_add(kd_study *s, int64_t settings, const kd_spend *t, kd_err *e) {
    kd_stmt *q;
    kd_code rc =
        kd_study_stmt(s, KD_Q_TOTALS_ADD,
                      "INSERT INTO totals VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9) ON CONFLICT(settings) DO UPDATE SET samples=samples+?2,"
                      " attempts=attempts+?3, prompt_tokens=prompt_tokens+?4, completion_tokens=completion_tokens+?5,"
                      " reasoning_tokens=reasoning_tokens+?6, cached_tokens=cached_tokens+?7, cost=cost+?8, cost_failed=cost_failed+?9",
                      &q, e);
    if (rc) return rc;
    const int64_t v[] = {settings,         (int64_t)t->samples,  (int64_t)t->attempts,
                         t->prompt_tokens, t->completion_tokens, t->reasoning_tokens,
                         t->cached_tokens};
    for (int i = 0; i < 7; i++) kd_bind_int(q, i + 1, v[i]);
    kd_bind_double(q, 8, t->cost);
    kd_bind_double(q, 9, t->cost_failed);
    return kd_stmt_run(q, e);
}

/* A sign of life for every lease of this process, at most every 20 s. */
static kd_code beat(kd_study *s, kd_err *e) {
    kd_stmt *q;
    kd_owner self;
    if (s->beat > 0 && kd_now() - s->beat < 20) return KD_OK;
    kd_code rc = kd_study_stmt(s, KD_Q_BEAT, "UPDATE owners SET beat=?4 WHERE host=?1 AND pid=?2 AND start=?3", &q, e);
    if (rc) return rc;
    kd_owner_self(&self);
    kd_bind_text(q, 1, kd_str_of(self.host));
    kd_bind_int(q, 2, self.pid);
    kd_bind_text(q, 3, kd_str_of(self.start));
    kd_bind_int(q, 4, kd_unix_ms());
    if (!(rc = kd_stmt_run(q, e))) s->beat = kd_now();
    return rc;
}

/* Packed bodies, all in one buffer: body i is [at[i], at[i+1]). Done before the transaction, so that the lock is held for writing alone. */
typedef struct {
    kd_buf bytes;
    size_t *at;
} bodies;

static kd_code zip_all(bodies *z, const kd_answer *a, size_t n, const kd_attempt *f, size_t m, kd_err *e) {
    kd_code rc = KD_OK;
    if (!(z->at = kd_calloc(n + m + 1, sizeof *z->at))) return kd_fail(e, KD_ENOMEM, "no memory to commit %zu answers", n);
    for (size_t i = 0; i < n + m && !rc; i++) {
        kd_str raw = i < n ? a[i].raw : f[i - n].raw;
        if (raw.len) rc = kd_zip(&z->bytes, raw.data, raw.len, BODY_LEVEL, e);
        z->at[i + 1] = z->bytes.len;
    }
    return rc;
}

static kd_str zipped_view(const bodies *z, size_t i) { return (kd_str){z->bytes.data + z->at[i], z->at[i + 1] - z->at[i]}; }

static kd_code check_answers(const kd_answer *a, size_t n, kd_err *e) {
    for (size_t i = 0; i < n; i++)
        if (a[i].prompt < 1 || a[i].sample < 0)
            return kd_fail(e, KD_EINVAL, "commit: answer %zu: expected a prompt and a number, found prompt %lld, number %d", i,
                           (long long)a[i].prompt, a[i].sample);
    return KD_OK;
}

/* One answer; what is known twice is kept as an attempt, so that its cost does not vanish. */
static kd_code put_answer(kd_study *s, int64_t settings, int64_t run, const kd_answer *a, kd_str body, kd_spend *t, kd_err *e) {
    bool is_new;
    kd_code rc = kd_sample_add(s, settings, run, a, (kd_str){NULL, 0}, body, &is_new, e);
    if (!rc && !is_new) {
        kd_attempt f = {.prompt = a->prompt,
                        .sample = a->sample,
                        .reason = "duplicate",
                        .prompt_tokens = a->prompt_tokens,
                        .completion_tokens = a->completion_tokens,
                        .cost = a->cost,
                        .seconds = a->seconds};
        rc = add_attempt(s, settings, run, &f, body, e);
    }
    spend_add(t, a->prompt_tokens, a->completion_tokens, a->cost, !is_new);
    t->reasoning_tokens += known(a->reasoning_tokens);
    t->cached_tokens += known(a->cached_tokens);
    return rc ? rc : end_lease(s, settings, a->prompt, a->sample, e);
}

kd_code kd_study_commit(kd_study *s, int64_t settings, int64_t run, const kd_answer *a, size_t n, const kd_attempt *f, size_t m,
                        size_t *added, kd_err *e) {
    bodies z = {0};
    kd_spend t = {0};
    bool open = false;
    if (added) *added = 0;
    if (n + m == 0) return KD_OK;
    kd_code rc = check_answers(a, n, e);
    if (rc || (rc = zip_all(&z, a, n, f, m, e)) || (rc = kd_db_begin_brief(s->db, e))) goto done;
    open = true;
    for (size_t i = 0; i < n && !rc; i++) rc = put_answer(s, settings, run, &a[i], zipped_view(&z, i), &t, e);
    for (size_t i = 0; i < m && !rc; i++) {
        rc = add_attempt(s, settings, run, &f[i], zipped_view(&z, n + i), e);
        spend_add(&t, f[i].prompt_tokens, f[i].completion_tokens, f[i].cost, true);
        if (!rc) rc = (f[i].final ? end_lease : land)(s, settings, f[i].prompt, f[i].sample, e);
    }
    if (rc || (rc = kd_totals_add(s, settings, &t, e)) || (rc = beat(s, e))) goto done;
    open = false;
    if (!(rc = kd_db_commit_brief(s->db, e)) && added) *added = (size_t)t.samples;
done:
    if (open) kd_db_rollback(s->db);
    if (rc) kd_db_full(s->db);
    kd_buf_clear(&z.bytes);
    kd_free(z.at);
    return rc;
}

kd_code kd_study_spend(kd_study *s, int64_t settings, kd_spend *out, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    *out = (kd_spend){0};
    kd_code rc =
        kd_stmt_new(&q, s->db,
                    "SELECT total(samples), total(attempts), total(prompt_tokens), total(completion_tokens), total(reasoning_tokens),"
                    " total(cached_tokens), total(cost), total(cost_failed) FROM totals WHERE ?1=0 OR settings=?1",
                    e);
    if (!rc) {
        kd_bind_int(q, 1, settings);
        rc = kd_stmt_step(q, &row, e);
    }
    if (!rc)
        *out = (kd_spend){(uint64_t)kd_col_int(q, 0), (uint64_t)kd_col_int(q, 1), kd_col_int(q, 2),    kd_col_int(q, 3),
                          kd_col_int(q, 4),           kd_col_int(q, 5),           kd_col_double(q, 6), kd_col_double(q, 7)};
    kd_stmt_free(q);
    return rc;
}

kd_code kd_study_seconds(kd_study *s, int64_t settings, double *out, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    *out = -1;
    kd_code rc =
        kd_stmt_new(&q, s->db,
                    "SELECT avg(seconds) FROM (SELECT seconds FROM samples NOT INDEXED WHERE settings=?1 ORDER BY id DESC LIMIT 1000)", e);
    if (!rc) {
        kd_bind_int(q, 1, settings);
        rc = kd_stmt_step(q, &row, e);
    }
    if (!rc && !kd_col_null(q, 0)) *out = kd_col_double(q, 0);
    kd_stmt_free(q);
    return rc;
}
