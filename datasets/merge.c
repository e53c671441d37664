/* datasets/merge.c - see merge.h. Two connections, one that reads the source and one that writes here. Leans on study_int.h, base. */
#include "datasets/merge.h"

#include "datasets/study_int.h"
#include "distill/base/hash.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

enum { GROUP = 256, TOLD = 20 };

typedef enum {
    PUT_PROMPT,
    FIND_PROMPT,
    PUT_SETTINGS,
    FIND_SETTINGS,
    FIND_RUN,
    PUT_RUN,
    FIND_SAMPLE,
    FIND_DIGEST,
    FREE_NUMBER,
    PUT_SAMPLE,
    PUT_BODY,
    FIND_LABEL,
    PUT_LABEL,
    PUT_NAME,
    FIND_ATTEMPT,
    PUT_ATTEMPT,
    PUT_SELECTION,
    QUERIES
} query;
static const char *const sql[QUERIES] = {
    [PUT_PROMPT] = "INSERT INTO prompts(hash, split, task, source, line, gold, messages, tools, reference, meta, created)"
                   " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11) ON CONFLICT(hash) DO NOTHING",
    [FIND_PROMPT] = "SELECT id, split, task, gold FROM prompts WHERE hash=?1",
    [PUT_SETTINGS] = "INSERT INTO settings(hash, teacher, model, json, created) VALUES(?1,?2,?3,?4,?5) ON CONFLICT(hash) DO NOTHING",
    [FIND_SETTINGS] = "SELECT id FROM settings WHERE hash=?1",
    [FIND_RUN] = "SELECT id FROM runs WHERE started=?1 AND pid IS ?2 AND host IS ?3 AND kind=?4 AND hash=?5",
    [PUT_RUN] = "INSERT INTO runs(started, pid, host, kind, hash, settings, lineage, ended, how) VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9)",
    [FIND_SAMPLE] = "SELECT id, thought, answer, thought_from, finish FROM samples WHERE prompt=?1 AND settings=?2 AND number=?3",
    [FIND_DIGEST] = "SELECT id FROM samples WHERE prompt=?1 AND digest=?2",
    [FREE_NUMBER] = "SELECT coalesce(max(number)+1, 0) FROM samples WHERE prompt=?1 AND settings=?2",
    [PUT_SAMPLE] = "INSERT INTO samples(prompt, settings, number, run, digest, finish, thought_from, prompt_tokens, completion_tokens, "
                   "reasoning_tokens,"
                   " cached_tokens, cost, seconds, first_token_seconds, attempts, created, meta, thought, answer)"
                   " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13,?14,?15,?16,?17,?18,?19)",
    [PUT_BODY] = "INSERT INTO bodies(sample, body, logprobs) VALUES(?1,?2,?3)",
    [FIND_LABEL] = "SELECT value IS ?3, version FROM labels WHERE sample=?1 AND name=?2",
    [PUT_LABEL] = "INSERT INTO labels(sample, name, value, detail, version) VALUES(?1,?2,?3,?4,?5)"
                  " ON CONFLICT(sample, name) DO UPDATE SET value=?3, detail=?4, version=?5",
    [PUT_NAME] = "INSERT INTO label_names(name) VALUES(?1) ON CONFLICT DO NOTHING",
    [FIND_ATTEMPT] = "SELECT 1 FROM attempts WHERE prompt=?1 AND settings=?2 AND number=?3 AND created=?4 AND reason=?5 AND cost IS ?6",
    [PUT_ATTEMPT] = "INSERT INTO attempts(prompt, settings, number, created, reason, cost, run, status, final, prompt_tokens, "
                    "completion_tokens, seconds, body)"
                    " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)",
    [PUT_SELECTION] = "INSERT INTO selections(name, hash, json, created) VALUES(?1,?2,?3,?4) ON CONFLICT DO NOTHING",
};

typedef struct {
    kd_study *dst;
    kd_db *src;
    const kd_watch *w;
    kd_merge_report *r;
    kd_stmt *q[QUERIES];
    kd_stmt *labels; /* of a sample there */
    int64_t *settings;
    size_t n_settings;
    kd_spend spend; /* of the settings being merged, in this transaction */
    int64_t spend_of;
    int told[2];
} merging;

/* ---- small helpers ---- */
/* The statement, ready to be bound. */
static kd_code ready(merging *m, query k, kd_stmt **q, kd_err *e) {
    kd_code rc = m->q[k] ? KD_OK : kd_stmt_new(&m->q[k], m->dst->db, sql[k], e);
    *q = m->q[k];
    return rc;
}

/* Parameter i = column c of row, as it is. */
static void carry(kd_stmt *q, int i, kd_stmt *row, int c) {
    if (kd_col_null(row, c))
        kd_bind_null(q, i);
    else if (kd_col_is_int(row, c))
        kd_bind_int(q, i, kd_col_int(row, c));
    else if (kd_col_is_number(row, c))
        kd_bind_double(q, i, kd_col_double(row, c));
    else
        kd_bind_text(q, i, kd_col_text(row, c));
}

static void carry_blob(kd_stmt *q, int i, kd_stmt *row, int c) { kd_bind_blob(q, i, kd_col_text(row, c)); }

/* The first column of the first row, 0 if there is none; the statement is left reset unless keep. */
static kd_code first(kd_stmt *q, int64_t *out, kd_err *e) {
    bool row;
    *out = 0;
    kd_code rc = kd_stmt_step(q, &row, e);
    if (!rc && row) *out = kd_col_int(q, 0);
    kd_stmt_reset(q);
    return rc;
}

static void tell(merging *m, int kind, const char *fmt, long long prompt, long long number) {
    char text[200];
    if (m->told[kind]++ >= TOLD) return;
    snprintf(text, sizeof text, fmt, prompt, number);
    kd_emit(m->w, (kd_event){.kind = KD_EV_NOTE, .stage = "merge", .text = text});
}

static void amount(double *sum, kd_stmt *row, int c) {
    if (!kd_col_null(row, c) && kd_col_double(row, c) > 0) *sum += kd_col_double(row, c);
}

static void tokens(int64_t *sum, kd_stmt *row, int c) {
    if (!kd_col_null(row, c) && kd_col_int(row, c) > 0) *sum += kd_col_int(row, c);
}

static kd_code flush_spend(merging *m, kd_err *e) {
    kd_code rc = m->spend.samples + m->spend.attempts ? kd_totals_add(m->dst, m->spend_of, &m->spend, e) : KD_OK;
    m->spend = (kd_spend){0};
    return rc;
}

static kd_code spend_for(merging *m, int64_t settings, kd_err *e) {
    kd_code rc = m->spend_of == settings ? KD_OK : flush_spend(m, e);
    m->spend_of = settings;
    return rc;
}

/* ---- what rows name ---- */
static kd_code prompt_here(merging *m, kd_str hash, int64_t *id, kd_err *e) {
    kd_stmt *q;
    kd_code rc = ready(m, FIND_PROMPT, &q, e);
    if (rc) return rc;
    kd_bind_blob(q, 1, hash);
    if ((rc = first(q, id, e))) return rc;
    return *id ? KD_OK : kd_fail(e, KD_EFORMAT, "%s: a row belongs to no prompt", kd_db_path(m->src));
}

static kd_code settings_here(merging *m, int64_t there, int64_t *id, kd_err *e) {
    if (there > 0 && (size_t)there < m->n_settings && m->settings[there]) {
        *id = m->settings[there];
        return KD_OK;
    }
    return kd_fail(e, KD_EFORMAT, "%s: a row belongs to no settings", kd_db_path(m->src));
}

/* Columns from c on of row: started, pid, host, kind, hash, settings, lineage, ended, how of a run there; NULL kind: none. */
static kd_code run_here(merging *m, kd_stmt *row, int c, int64_t *id, kd_err *e) {
    kd_stmt *q;
    *id = 0;
    if (kd_col_null(row, c + 3)) return KD_OK;
    kd_code rc = ready(m, FIND_RUN, &q, e);
    for (int i = 0; i < 5 && !rc; i++) carry(q, i + 1, row, c + i);
    if (!rc) rc = first(q, id, e);
    if (rc || *id) return rc;
    if ((rc = ready(m, PUT_RUN, &q, e))) return rc;
    for (int i = 0; i < 9; i++) carry(q, i + 1, row, c + i);
    if (!(rc = kd_stmt_run(q, e))) {
        *id = kd_db_last_id(m->dst->db);
        m->r->runs_new++;
    }
    return rc;
}

/* ---- prompts, settings ---- */
static kd_code merge_prompt(merging *m, kd_stmt *row, kd_err *e) {
    kd_stmt *q;
    bool found;
    kd_code rc = ready(m, PUT_PROMPT, &q, e);
    if (rc) return rc;
    carry_blob(q, 1, row, 0);
    for (int i = 1; i < 11; i++) carry(q, i + 1, row, i);
    if ((rc = kd_stmt_run(q, e))) return rc;
    m->r->prompts++;
    if (kd_db_changes(m->dst->db) > 0) {
        m->r->prompts_new++;
        return KD_OK;
    }
    if ((rc = ready(m, FIND_PROMPT, &q, e))) return rc;
    carry_blob(q, 1, row, 0);
    if ((rc = kd_stmt_step(q, &found, e)) || !found) return rc;
    bool same = kd_str_eq(kd_col_text(q, 1), kd_col_text(row, 1)) && kd_str_eq(kd_col_text(q, 2), kd_col_text(row, 2)) &&
                kd_str_eq(kd_col_text(q, 3), kd_col_text(row, 5));
    if (!same) {
        m->r->prompts_differ++;
        tell(m, 0, "question %lld has another gold answer, split or task there (line %lld): what stands here stays", kd_col_int(q, 0),
             kd_col_int(row, 4));
    }
    kd_stmt_reset(q);
    return KD_OK;
}

static kd_code merge_settings(merging *m, kd_stmt *row, kd_err *e) {
    kd_stmt *q;
    int64_t there = kd_col_int(row, 5), here;
    kd_code rc = ready(m, PUT_SETTINGS, &q, e);
    for (int i = 0; i < 5 && !rc; i++) carry(q, i + 1, row, i);
    if (!rc) rc = kd_stmt_run(q, e);
    if (!rc) rc = ready(m, FIND_SETTINGS, &q, e);
    if (!rc) carry(q, 1, row, 0), rc = first(q, &here, e);
    if (!rc && (there < 1 || there > 1 << 24))
        rc = kd_fail(e, KD_EFORMAT, "%s: settings numbered %lld", kd_db_path(m->src), (long long)there);
    if (!rc) {
        size_t before = m->n_settings;
        if (kd_grow((void **)&m->settings, &m->n_settings, (size_t)there + 1, sizeof *m->settings))
            return kd_fail(e, KD_ENOMEM, "merge: no memory");
        memset(m->settings + before, 0, (m->n_settings - before) * sizeof *m->settings);
        m->settings[there] = here;
    }
    return rc;
}

/* ---- samples ---- */
enum {
    S_HASH,
    S_SETTINGS,
    S_NUMBER,
    S_DIGEST,
    S_FINISH,
    S_FROM,
    S_IN,
    S_OUT,
    S_REASON,
    S_CACHED,
    S_COST,
    S_SECONDS,
    S_FIRST,
    S_TRIES,
    S_CREATED,
    S_META,
    S_THOUGHT,
    S_ANSWER,
    S_ID,
    S_BODY,
    S_LOGPROBS,
    S_SETTINGS_HASH,
    S_RUN
};
static const char samples_sql[] =
    "SELECT p.hash, s.settings, s.number, s.digest, s.finish, s.thought_from, s.prompt_tokens, s.completion_tokens, s.reasoning_tokens, "
    "s.cached_tokens,"
    " s.cost, s.seconds, s.first_token_seconds, s.attempts, s.created, s.meta, s.thought, s.answer, s.id, b.body, b.logprobs, t.hash,"
    " r.started, r.pid, r.host, r.kind, r.hash, r.settings, r.lineage, r.ended, r.how"
    " FROM samples s JOIN prompts p ON p.id=s.prompt JOIN settings t ON t.id=s.settings LEFT JOIN bodies b ON b.sample=s.id LEFT JOIN runs "
    "r ON r.id=s.run WHERE s.id>?1 ORDER BY s.id";

/* What tells an answer that had to move: its own digest, else one of where it stood and what it says. */
static kd_str identity(kd_stmt *row, unsigned char out[32]) {
    kd_sha256 h;
    char number[32];
    kd_str own = kd_col_text(row, S_DIGEST);
    if (own.len == 32) {
        memcpy(out, own.data, 32);
        return (kd_str){(char *)out, 32};
    }
    kd_sha256_init(&h);
    snprintf(number, sizeof number, "merge %lld ", (long long)kd_col_int(row, S_NUMBER));
    kd_sha256_add(&h, number, strlen(number));
    static const int columns[] = {S_SETTINGS_HASH, S_FROM, S_FINISH, S_THOUGHT, S_ANSWER};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) {
        kd_str v = kd_col_text(row, columns[i]);
        snprintf(number, sizeof number, " %zu ", v.len);
        kd_sha256_add(&h, number, strlen(number));
        if (v.len) kd_sha256_add(&h, v.data, v.len);
    }
    kd_sha256_end(&h, out);
    return (kd_str){(char *)out, 32};
}

/* The sample here of that identity or at that place; *same: it says what row says. */
static kd_code find_sample(merging *m, kd_stmt *row, int64_t prompt, int64_t settings, kd_str digest, int64_t *id, bool *same, kd_err *e) {
    static const int there[] = {S_THOUGHT, S_ANSWER, S_FROM, S_FINISH};
    kd_stmt *q;
    bool found;
    *id = 0, *same = true;
    kd_code rc = ready(m, FIND_DIGEST, &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, prompt);
    kd_bind_blob(q, 2, digest);
    if ((rc = first(q, id, e)) || *id) return rc;
    if ((rc = ready(m, FIND_SAMPLE, &q, e))) return rc;
    kd_bind_int(q, 1, prompt);
    kd_bind_int(q, 2, settings);
    carry(q, 3, row, S_NUMBER);
    if ((rc = kd_stmt_step(q, &found, e)) || !found) return rc;
    *id = kd_col_int(q, 0);
    for (int i = 0; i < 4; i++) *same &= kd_str_eq(kd_col_text(q, i + 1), kd_col_text(row, there[i]));
    kd_stmt_reset(q);
    return KD_OK;
}

static kd_code put_sample(merging *m, kd_stmt *row, int64_t prompt, int64_t settings, int64_t number, kd_str digest, int64_t *id,
                          kd_err *e) {
    kd_stmt *q;
    int64_t run;
    kd_code rc = run_here(m, row, S_RUN, &run, e);
    if (!rc) rc = ready(m, PUT_SAMPLE, &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, prompt), kd_bind_int(q, 2, settings), kd_bind_int(q, 3, number);
    if (run)
        kd_bind_int(q, 4, run);
    else
        kd_bind_null(q, 4);
    kd_bind_blob(q, 5, digest);
    for (int c = S_FINISH; c <= S_ANSWER; c++) carry(q, c - S_FINISH + 6, row, c);
    if ((rc = kd_stmt_run(q, e))) return rc;
    *id = kd_db_last_id(m->dst->db);
    if (!kd_col_null(row, S_BODY) || !kd_col_null(row, S_LOGPROBS)) {
        if ((rc = ready(m, PUT_BODY, &q, e))) return rc;
        kd_bind_int(q, 1, *id);
        carry_blob(q, 2, row, S_BODY), carry_blob(q, 3, row, S_LOGPROBS);
        if ((rc = kd_stmt_run(q, e))) return rc;
    }
    m->r->samples_new++, m->spend.samples++;
    tokens(&m->spend.prompt_tokens, row, S_IN), tokens(&m->spend.completion_tokens, row, S_OUT);
    tokens(&m->spend.reasoning_tokens, row, S_REASON), tokens(&m->spend.cached_tokens, row, S_CACHED);
    amount(&m->spend.cost, row, S_COST);
    return KD_OK;
}

static kd_code merge_labels(merging *m, int64_t there, int64_t here, kd_err *e) {
    kd_stmt *q, *l = m->labels;
    bool row, found;
    kd_code rc = KD_OK;
    kd_bind_int(l, 1, there);
    while (!rc && !(rc = kd_stmt_step(l, &row, e)) && row) {
        if ((rc = ready(m, FIND_LABEL, &q, e))) break;
        kd_bind_int(q, 1, here);
        carry(q, 2, l, 0), carry(q, 3, l, 1);
        if ((rc = kd_stmt_step(q, &found, e))) break;
        bool same = found && kd_col_int(q, 0) != 0;
        int64_t version = found ? kd_col_int(q, 1) : -1;
        kd_stmt_reset(q);
        if (found && version >= kd_col_int(l, 3)) {
            m->r->labels_differ += !same && version == kd_col_int(l, 3);
            continue;
        }
        if ((rc = ready(m, PUT_NAME, &q, e))) break;
        carry(q, 1, l, 0);
        if ((rc = kd_stmt_run(q, e)) || (rc = ready(m, PUT_LABEL, &q, e))) break;
        kd_bind_int(q, 1, here);
        for (int i = 0; i < 4; i++) carry(q, i + 2, l, i);
        rc = kd_stmt_run(q, e);
        m->r->labels_new++;
    }
    kd_stmt_reset(l);
    return rc;
}

static kd_code merge_sample(merging *m, kd_stmt *row, kd_err *e) {
    unsigned char hash[32];
    int64_t prompt = 0, settings = 0, id = 0, number = kd_col_int(row, S_NUMBER);
    bool same;
    m->r->samples++;
    kd_code rc = prompt_here(m, kd_col_text(row, S_HASH), &prompt, e);
    if (!rc) rc = settings_here(m, kd_col_int(row, S_SETTINGS), &settings, e);
    if (!rc) rc = spend_for(m, settings, e);
    if (rc) return rc;
    kd_str digest = identity(row, hash);
    if ((rc = find_sample(m, row, prompt, settings, digest, &id, &same, e))) return rc;
    if (id && !same) {
        kd_stmt *q;
        if ((rc = ready(m, FREE_NUMBER, &q, e))) return rc;
        kd_bind_int(q, 1, prompt), kd_bind_int(q, 2, settings);
        if ((rc = first(q, &number, e))) return rc;
        m->r->conflicts++;
        tell(m, 1, "question %lld: two answers stand under one number; the other is now number %lld", prompt, number);
        rc = put_sample(m, row, prompt, settings, number, digest, &id, e);
    } else if (!id) {
        rc = put_sample(m, row, prompt, settings, number, kd_col_text(row, S_DIGEST), &id, e);
    }
    return rc ? rc : merge_labels(m, kd_col_int(row, S_ID), id, e);
}

/* ---- attempts ---- */
static const char attempts_sql[] =
    "SELECT p.hash, a.settings, a.number, a.created, a.reason, a.cost, a.id, a.status, a.final, a.prompt_tokens, a.completion_tokens, "
    "a.seconds, a.body,"
    " r.started, r.pid, r.host, r.kind, r.hash, r.settings, r.lineage, r.ended, r.how"
    " FROM attempts a JOIN prompts p ON p.id=a.prompt LEFT JOIN runs r ON r.id=a.run WHERE a.id>?1 ORDER BY a.id";

static kd_code merge_attempt(merging *m, kd_stmt *row, kd_err *e) {
    kd_stmt *q;
    int64_t prompt = 0, settings = 0, run, known;
    m->r->attempts++;
    kd_code rc = prompt_here(m, kd_col_text(row, 0), &prompt, e);
    if (!rc) rc = settings_here(m, kd_col_int(row, 1), &settings, e);
    if (!rc) rc = spend_for(m, settings, e);
    if (!rc) rc = ready(m, FIND_ATTEMPT, &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, prompt), kd_bind_int(q, 2, settings);
    for (int i = 3; i <= 6; i++) carry(q, i, row, i - 1);
    if ((rc = first(q, &known, e)) || known) return rc;
    if ((rc = run_here(m, row, 13, &run, e)) || (rc = ready(m, PUT_ATTEMPT, &q, e))) return rc;
    kd_bind_int(q, 1, prompt), kd_bind_int(q, 2, settings);
    for (int i = 3; i <= 6; i++) carry(q, i, row, i - 1);
    if (run)
        kd_bind_int(q, 7, run);
    else
        kd_bind_null(q, 7);
    for (int i = 8; i <= 12; i++) carry(q, i, row, i - 1);
    carry_blob(q, 13, row, 12);
    if ((rc = kd_stmt_run(q, e))) return rc;
    m->r->attempts_new++, m->spend.attempts++;
    tokens(&m->spend.prompt_tokens, row, 9), tokens(&m->spend.completion_tokens, row, 10);
    amount(&m->spend.cost, row, 5), amount(&m->spend.cost_failed, row, 5);
    return KD_OK;
}

static kd_code merge_selection(merging *m, kd_stmt *row, kd_err *e) {
    kd_stmt *q;
    kd_code rc = ready(m, PUT_SELECTION, &q, e);
    for (int i = 0; i < 4 && !rc; i++) carry(q, i + 1, row, i);
    return rc ? rc : kd_stmt_run(q, e);
}

/* ---- all of a table, a group of rows a transaction ---- */
typedef kd_code row_fn(merging *m, kd_stmt *row, kd_err *e);

static kd_code group_of(merging *m, kd_stmt *rows, row_fn *f, bool *more, kd_err *e) {
    kd_code rc = kd_db_begin(m->dst->db, e);
    if (rc) return rc;
    for (int i = 0; i < GROUP && !rc && *more; i++)
        if (!(rc = kd_stmt_step(rows, more, e)) && *more) rc = f(m, rows, e);
    if (!rc) rc = flush_spend(m, e);
    if (!rc) return kd_db_commit(m->dst->db, e);
    m->spend = (kd_spend){0};
    kd_db_rollback(m->dst->db);
    return rc;
}

static kd_code table(merging *m, const char *select, const char *unit, row_fn *f, kd_err *e) {
    kd_stmt *rows = NULL;
    bool more = true;
    uint64_t done = 0;
    kd_code rc = kd_stmt_new(&rows, m->src, select, e);
    if (!rc && strstr(select, "?1")) kd_bind_int(rows, 1, 0);
    while (!rc && more) {
        int stop = kd_stopping(m->w);
        if (stop)
            rc = kd_fail(e, (kd_code)stop, "interrupted; run it again to go on");
        else
            rc = group_of(m, rows, f, &more, e);
        done += GROUP;
        kd_emit(m->w, (kd_event){.kind = KD_EV_STEP, .stage = "merge", .done = done, .unit = unit});
    }
    kd_stmt_free(rows);
    return rc;
}

static kd_code same_file(const kd_study *dst, const char *src, kd_err *e) {
    struct stat a, b;
    if (stat(kd_study_path(dst), &a) || stat(src, &b) || a.st_dev != b.st_dev || a.st_ino != b.st_ino) return KD_OK;
    return kd_fail(e, KD_EINVAL, "%s: a study cannot be merged into itself", src);
}

kd_code kd_study_merge(kd_study *dst, const char *src, const kd_watch *w, kd_merge_report *out, kd_err *e) {
    merging m = {.dst = dst, .w = w, .r = out};
    kd_study *there = NULL;
    *out = (kd_merge_report){0};
    kd_code rc = same_file(dst, src, e);
    if (!rc) rc = kd_study_open(&there, src, KD_STUDY_READ, e);
    if (rc) return rc;
    m.src = there->db;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "merge", .unit = "rows"});
    rc = kd_db_exec(m.src, "BEGIN", e); /* one look at it */
    if (!rc) rc = kd_stmt_new(&m.labels, m.src, "SELECT name, value, detail, version FROM labels WHERE sample=?1", e);
    if (!rc)
        rc = table(&m, "SELECT hash, split, task, source, line, gold, messages, tools, reference, meta, created FROM prompts ORDER BY id",
                   "prompts", merge_prompt, e);
    if (!rc) rc = table(&m, "SELECT hash, teacher, model, json, created, id FROM settings ORDER BY id", "settings", merge_settings, e);
    if (!rc) rc = table(&m, samples_sql, "samples", merge_sample, e);
    if (!rc) rc = table(&m, attempts_sql, "attempts", merge_attempt, e);
    if (!rc) rc = table(&m, "SELECT name, hash, json, created FROM selections", "selections", merge_selection, e);
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "merge", .done = out->samples, .unit = "samples"});
    for (int i = 0; i < QUERIES; i++) kd_stmt_free(m.q[i]);
    kd_stmt_free(m.labels);
    kd_study_close(there);
    kd_free(m.settings);
    return rc;
}
