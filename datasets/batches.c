/* datasets/batches.c - see batches.h. A batch is an owner of leases that no process is: its last sign of life lies in the far future. Leans on work_int.h. */
#include "datasets/batches.h"

#include "datasets/work_int.h"
#include "distill/base/clock.h"
#include "distill/base/hash.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const int64_t FOR_EVER = INT64_MAX / 4;

/* A name that no other batch of any study has: time, process and place, hashed. */
static void make_mark(char mark[33], const kd_db *db) {
    static uint64_t count;
    char text[600], hex[65];
    int n = snprintf(text, sizeof text, "%.400s %lld %lld %llu %llu", kd_db_path(db), (long long)kd_unix_ms(), (long long)getpid(),
                     (unsigned long long)kd_now_ns(), (unsigned long long)count++);
    kd_sha256_hex(text, (size_t)n, hex);
    memcpy(mark, hex, 16);
    mark[16] = 0;
}

static kd_code take_leases(kd_work *w, int64_t owner, int64_t *n, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, w->db, "UPDATE leases SET owner=?1 WHERE owner=?2 AND flying>0", e);
    if (!rc) {
        kd_bind_int(q, 1, owner), kd_bind_int(q, 2, w->owner);
        rc = kd_stmt_run(q, e);
        *n = kd_db_changes(w->db);
    }
    kd_stmt_free(q);
    return rc;
}

static kd_code add_batch(kd_sent_batch *b, kd_work *w, int64_t owner, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc =
        kd_stmt_new(&q, w->db, "INSERT INTO batches(settings, owner, mark, url, state, requests, created) VALUES(?1,?2,?3,?4,?5,?6,?7)", e);
    if (!rc) {
        kd_bind_int(q, 1, b->settings), kd_bind_int(q, 2, owner);
        kd_bind_text(q, 3, kd_str_of(b->mark)), kd_bind_text(q, 4, kd_str_of(b->url)), kd_bind_text(q, 5, kd_str_of(b->state));
        kd_bind_int(q, 6, b->requests), kd_bind_int(q, 7, b->created);
        if (!(rc = kd_stmt_run(q, e))) b->id = kd_db_last_id(w->db);
    }
    kd_stmt_free(q);
    return rc;
}

kd_code kd_batch_take(kd_sent_batch *b, kd_work *w, const char *url, bool file, kd_err *e) {
    kd_stmt *q = NULL;
    *b = (kd_sent_batch){.settings = w->settings, .created = kd_unix_ms()};
    make_mark(b->mark, w->db);
    snprintf(b->url, sizeof b->url, "%s", url);
    snprintf(b->state, sizeof b->state, "%s", file ? "file" : "taken");
    kd_code rc = kd_db_begin(w->db, e);
    if (rc) return rc;
    rc = kd_stmt_new(&q, w->db, "INSERT INTO owners(host, pid, start, beat) VALUES('batch', 0, ?1, ?2)", e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(b->mark)), kd_bind_int(q, 2, FOR_EVER);
        rc = kd_stmt_run(q, e);
    }
    int64_t owner = rc ? 0 : kd_db_last_id(w->db);
    kd_stmt_free(q);
    if (!rc) rc = take_leases(w, owner, &b->requests, e);
    if (!rc) rc = add_batch(b, w, owner, e);
    b->left = b->requests;
    if (!rc) return kd_db_commit(w->db, e);
    kd_db_rollback(w->db);
    return rc;
}

kd_code kd_batch_sent(kd_study *s, int64_t id, const char *remote, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, s->db, "UPDATE batches SET remote=?2, state='sent' WHERE id=?1", e);
    if (!rc) {
        kd_bind_int(q, 1, id), kd_bind_text(q, 2, kd_str_of(remote));
        rc = kd_stmt_run(q, e);
    }
    kd_stmt_free(q);
    return rc;
}

kd_code kd_batch_next(kd_study *s, const char *name, int64_t after, kd_sent_batch *b, bool *more, kd_err *e) {
    kd_stmt *q = NULL;
    *b = (kd_sent_batch){0};
    kd_code rc = kd_stmt_new(
        &q, s->db,
        "SELECT b.id, b.settings, b.requests, b.mark, b.remote, b.state, b.url, t.model, b.created, (SELECT count(*) FROM leases l"
        " WHERE l.owner=b.owner) FROM batches b JOIN settings t ON t.id=b.settings WHERE b.id>?2 AND (b.mark=?1 OR b.remote=?1 OR"
        " (?1 IS NULL AND b.ended IS NULL)) ORDER BY b.id LIMIT 1",
        e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(name)), kd_bind_int(q, 2, after);
        rc = kd_stmt_step(q, more, e);
    }
    if (!rc && *more) {
        b->id = kd_col_int(q, 0), b->settings = kd_col_int(q, 1), b->requests = kd_col_int(q, 2), b->created = kd_col_int(q, 8);
        b->left = kd_col_int(q, 9);
        kd_owner_text(b->mark, sizeof b->mark, kd_col_text(q, 3)), kd_owner_text(b->remote, sizeof b->remote, kd_col_text(q, 4));
        kd_owner_text(b->state, sizeof b->state, kd_col_text(q, 5)), kd_owner_text(b->url, sizeof b->url, kd_col_text(q, 6));
        kd_owner_text(b->model, sizeof b->model, kd_col_text(q, 7));
    }
    kd_stmt_free(q);
    return rc;
}

static kd_code run_with(kd_study *s, const char *sql, int64_t id, const char *text, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, s->db, sql, e);
    if (!rc) {
        kd_bind_int(q, 1, id);
        if (strstr(sql, "?2")) kd_bind_text(q, 2, kd_str_of(text));
        if (strstr(sql, "?3")) kd_bind_int(q, 3, kd_unix_ms());
        rc = kd_stmt_run(q, e);
    }
    kd_stmt_free(q);
    return rc;
}

kd_code kd_batch_end(kd_study *s, int64_t id, const char *state, bool charged, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    int64_t owner = 0;
    kd_code rc = kd_db_begin(s->db, e);
    if (rc) return rc;
    if (!(rc = kd_stmt_new(&q, s->db, "SELECT owner FROM batches WHERE id=?1", e))) {
        kd_bind_int(q, 1, id);
        if (!(rc = kd_stmt_step(q, &row, e)) && row) owner = kd_col_int(q, 0);
    }
    kd_stmt_free(q);
    if (!rc && charged) rc = kd_owner_lost(s->db, owner, e);
    if (!rc) rc = run_with(s, "DELETE FROM leases WHERE owner=?1", owner, NULL, e);
    if (!rc) rc = run_with(s, "DELETE FROM owners WHERE id=?1 AND host='batch'", owner, NULL, e);
    if (!rc) rc = run_with(s, "UPDATE batches SET state=?2, ended=?3 WHERE id=?1", id, state, e);
    if (!rc) return kd_db_commit(s->db, e);
    kd_db_rollback(s->db);
    return rc;
}
