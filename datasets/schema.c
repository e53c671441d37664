/* datasets/schema.c - the tables of a study, their versions, and opening one. Leans on db.h. The tables are told in datasets/README.md. */
#include "datasets/study_int.h"

#include <string.h>

/* steps[v] takes a study from version v to v + 1, inside one transaction. Never edited once released: a change is a new step. */
static const char *const steps[KD_STUDY_VERSION] = {
    "CREATE TABLE prompts(id INTEGER PRIMARY KEY, hash BLOB NOT NULL UNIQUE, split TEXT NOT NULL, task TEXT NOT NULL, source TEXT, line "
    "INTEGER,"
    " gold TEXT, messages TEXT NOT NULL, tools TEXT, reference TEXT, meta TEXT, created INTEGER NOT NULL);"
    "CREATE INDEX prompts_walk ON prompts(id, split);"
    "CREATE TABLE settings(id INTEGER PRIMARY KEY, hash TEXT NOT NULL UNIQUE, teacher TEXT, model TEXT, json TEXT NOT NULL, created "
    "INTEGER NOT NULL);"
    "CREATE TABLE runs(id INTEGER PRIMARY KEY, kind TEXT NOT NULL, hash TEXT NOT NULL, settings TEXT NOT NULL, lineage TEXT, host TEXT, "
    "pid INTEGER,"
    " started INTEGER NOT NULL, ended INTEGER, how TEXT);"
    "CREATE TABLE samples(id INTEGER PRIMARY KEY, prompt INTEGER NOT NULL REFERENCES prompts(id), settings INTEGER NOT NULL REFERENCES "
    "settings(id),"
    " number INTEGER NOT NULL CHECK(number >= 0), run INTEGER, digest BLOB, finish TEXT, thought_from TEXT NOT NULL, prompt_tokens INTEGER,"
    " completion_tokens INTEGER, reasoning_tokens INTEGER, cached_tokens INTEGER, cost REAL, seconds REAL, first_token_seconds REAL,"
    " attempts INTEGER NOT NULL, created INTEGER NOT NULL, meta TEXT, thought TEXT, answer TEXT NOT NULL);"
    "CREATE UNIQUE INDEX samples_key ON samples(prompt, settings, number);"
    "CREATE UNIQUE INDEX samples_digest ON samples(prompt, digest) WHERE digest IS NOT NULL;"
    "CREATE TABLE bodies(sample INTEGER PRIMARY KEY REFERENCES samples(id), body BLOB, logprobs BLOB);"
    "CREATE TABLE attempts(id INTEGER PRIMARY KEY, prompt INTEGER NOT NULL REFERENCES prompts(id), settings INTEGER NOT NULL REFERENCES "
    "settings(id),"
    " number INTEGER NOT NULL, run INTEGER, reason TEXT NOT NULL, status INTEGER, final INTEGER NOT NULL, prompt_tokens INTEGER,"
    " completion_tokens INTEGER, cost REAL, seconds REAL, created INTEGER NOT NULL, body BLOB);"
    "CREATE TABLE labels(sample INTEGER NOT NULL REFERENCES samples(id), name TEXT NOT NULL, value, detail TEXT, version INTEGER NOT NULL,"
    " PRIMARY KEY(sample, name)) WITHOUT ROWID;"
    "CREATE TABLE label_names(name TEXT PRIMARY KEY) WITHOUT ROWID;"
    "CREATE TABLE totals(settings INTEGER PRIMARY KEY REFERENCES settings(id), samples INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, completion_tokens INTEGER NOT NULL, reasoning_tokens INTEGER NOT NULL, cached_tokens INTEGER NOT "
    "NULL,"
    " cost REAL NOT NULL, cost_failed REAL NOT NULL);"
    "CREATE TABLE owners(id INTEGER PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, start TEXT NOT NULL, beat INTEGER NOT NULL);"
    "CREATE TABLE leases(settings INTEGER NOT NULL, prompt INTEGER NOT NULL, number INTEGER NOT NULL, owner INTEGER NOT NULL,"
    " PRIMARY KEY(settings, prompt, number)) WITHOUT ROWID;"
    "CREATE INDEX leases_owner ON leases(owner);",
    /* tries in the air, and what each may cost at most: what a kill loses is counted */
    "ALTER TABLE leases ADD COLUMN flying INTEGER NOT NULL DEFAULT 0; ALTER TABLE leases ADD COLUMN worst REAL;",
    /* selections kept under a name */
    "CREATE TABLE selections(name TEXT PRIMARY KEY, hash TEXT NOT NULL, json TEXT NOT NULL, created INTEGER NOT NULL) WITHOUT ROWID;",
    /* what is told of questions: alike to others, taken from other files, what most answers say */
    "CREATE TABLE prompt_labels(prompt INTEGER NOT NULL REFERENCES prompts(id), name TEXT NOT NULL, value, detail TEXT, version INTEGER "
    "NOT "
    "NULL, PRIMARY KEY(prompt, name)) WITHOUT ROWID;",
    /* work that is out in a batch; attempts found by what they are of, for merging */
    "CREATE TABLE batches(id INTEGER PRIMARY KEY, settings INTEGER NOT NULL REFERENCES settings(id), owner INTEGER NOT NULL, mark TEXT NOT "
    "NULL UNIQUE,"
    " url TEXT NOT NULL, remote TEXT, state TEXT NOT NULL, requests INTEGER NOT NULL, created INTEGER NOT NULL, ended INTEGER);"
    "CREATE INDEX attempts_key ON attempts(prompt, settings, number);",
};

static kd_code look(kd_db *db, int64_t *app, int64_t *version, int64_t *tables, kd_err *e) {
    kd_code rc = kd_db_int(db, "PRAGMA application_id", app, e);
    if (!rc) rc = kd_db_int(db, "PRAGMA user_version", version, e);
    return rc ? rc : kd_db_int(db, "SELECT count(*) FROM sqlite_schema", tables, e);
}

static kd_code judge(const char *path, int64_t app, int64_t version, int64_t tables, kd_study_mode mode, kd_err *e) {
    if (app == 0 && version == 0 && tables == 0)
        return mode == KD_STUDY_CREATE ? KD_OK : kd_fail(e, KD_EFORMAT, "%s: not a study yet: an empty database", path);
    if (app != KD_STUDY_APP)
        return kd_fail(e, KD_EFORMAT, "%s: an SQLite database, but not a study (application id %lld, expected %d)", path, (long long)app,
                       KD_STUDY_APP);
    if (version > KD_STUDY_VERSION)
        return kd_fail(e, KD_EFORMAT, "%s: made by a newer distill: schema %lld, this one knows up to %d", path, (long long)version,
                       KD_STUDY_VERSION);
    if (version < 1) return kd_fail(e, KD_EFORMAT, "%s: damaged: schema %lld", path, (long long)version);
    return KD_OK;
}

/* Takes the file to our version; looks again inside the transaction, since another process may have been first. */
static kd_code migrate(kd_db *db, kd_study_mode mode, kd_err *e) {
    int64_t app, version, tables;
    kd_buf b = {0};
    kd_code rc = kd_db_begin(db, e);
    if (rc) return rc;
    if ((rc = look(db, &app, &version, &tables, e)) || (rc = judge(kd_db_path(db), app, version, tables, mode, e))) goto done;
    for (; version < KD_STUDY_VERSION && !rc; version++) rc = kd_db_exec(db, steps[version], e);
    if (!rc && (rc = kd_buf_printf(&b, "PRAGMA application_id=%d; PRAGMA user_version=%d", KD_STUDY_APP, KD_STUDY_VERSION)))
        kd_fail(e, rc, "%s: no memory to make its tables", kd_db_path(db));
    if (!rc) rc = kd_db_exec(db, b.data, e);
done:
    kd_buf_clear(&b);
    if (rc) {
        kd_db_rollback(db);
        return rc;
    }
    return kd_db_commit(db, e);
}

kd_code kd_study_open(kd_study **out, const char *path, kd_study_mode mode, kd_err *e) {
    *out = NULL;
    int64_t app, version, tables;
    kd_study *s = kd_calloc(1, sizeof *s);
    if (!s) return kd_fail(e, KD_ENOMEM, "%s: no memory to open", path ? path : "study");
    s->mode = mode;
    kd_code rc = kd_db_open(&s->db, path, mode == KD_STUDY_READ ? KD_DB_READ : mode == KD_STUDY_WRITE ? KD_DB_WRITE : KD_DB_CREATE, e);
    if (!rc) rc = look(s->db, &app, &version, &tables, e);
    if (!rc) rc = judge(path, app, version, tables, mode, e);
    if (!rc && version < KD_STUDY_VERSION) {
        if (mode == KD_STUDY_READ) { /* a reader of an old study lets a writer bring it forward first */
            kd_study *writer = NULL;
            rc = kd_study_open(&writer, path, KD_STUDY_WRITE, e);
            kd_study_close(writer);
        } else {
            rc = migrate(s->db, mode, e);
        }
    }
    if (rc) {
        kd_study_close(s);
        return rc;
    }
    *out = s;
    return KD_OK;
}

void kd_study_close(kd_study *s) {
    if (!s) return;
    for (int i = 0; i < KD_Q_COUNT; i++) kd_stmt_free(s->kept[i]);
    kd_db_close(s->db);
    kd_free(s);
}

const char *kd_study_path(const kd_study *s) { return kd_db_path(s->db); }

kd_code kd_study_stmt(kd_study *s, kd_study_query slot, const char *sql, kd_stmt **out, kd_err *e) {
    kd_code rc = s->kept[slot] ? KD_OK : kd_stmt_new(&s->kept[slot], s->db, sql, e);
    *out = s->kept[slot];
    return rc;
}

kd_code kd_study_check(kd_study *s, kd_err *e) {
    kd_stmt *q = NULL;
    bool row = false;
    kd_code rc = kd_stmt_new(&q, s->db, "PRAGMA integrity_check(1)", e);
    if (!rc) rc = kd_stmt_step(q, &row, e);
    if (!rc && row) {
        kd_str t = kd_col_text(q, 0);
        if (!kd_str_is(t, "ok"))
            rc = kd_fail(e, KD_EFORMAT, "%s: the study is damaged: %.*s", kd_study_path(s), (int)(t.len < 300 ? t.len : 300), t.data);
    }
    kd_stmt_free(q);
    q = NULL;
    if (!rc && !(rc = kd_stmt_new(&q, s->db, "PRAGMA foreign_key_check", e)) && !(rc = kd_stmt_step(q, &row, e)) && row) {
        kd_str t = kd_col_text(q, 0);
        rc = kd_fail(e, KD_EFORMAT, "%s: the study is damaged: a row of %.*s belongs to nothing", kd_study_path(s), (int)t.len, t.data);
    }
    kd_stmt_free(q);
    return rc;
}
