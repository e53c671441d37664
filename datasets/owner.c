/* datasets/owner.c - who holds leases, whether they still live, and what became of what they had in the air. Leans on study_int.h, base. */
#include "datasets/study_int.h"

#include "distill/base/clock.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { FOREIGN_LIFE_MS = 300000 };

static void first_line(const char *path, char *out, size_t cap) {
    FILE *f = fopen(path, "r");
    size_t n = f ? fread(out, 1, cap - 1, f) : 0;
    if (f) fclose(f);
    out[n] = 0;
    out[strcspn(out, "\n")] = 0;
}

/* State letter and start time of a process, from /proc; false if there is none. */
static bool process_start(int64_t pid, char *state, char start[24]) {
    char path[64], line[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    first_line(path, line, sizeof line);
    char *p = strrchr(line, ')'); /* the name before it may hold anything */
    if (!p || p[1] != ' ') return false;
    *state = p[2];
    for (int field = 3; field < 22; field++)
        if (!(p = strchr(p + 2 - (field > 3), ' '))) return false;
    p++;
    size_t n = strcspn(p, " ");
    if (n == 0 || n > 23) return false;
    memcpy(start, p, n);
    start[n] = 0;
    return true;
}

void kd_owner_self(kd_owner *o) {
    char boot[48], space[32], state;
    *o = (kd_owner){.pid = (int64_t)getpid()};
    first_line("/proc/sys/kernel/random/boot_id", boot, sizeof boot);
    ssize_t n = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[n > 0 ? n : 0] = 0;
    if (!boot[0]) gethostname(boot, sizeof boot - 1);
    snprintf(o->host, sizeof o->host, "%s %s", boot, space);
    if (!process_start(o->pid, &state, o->start)) snprintf(o->start, sizeof o->start, "0");
}

bool kd_owner_alive(const kd_owner *self, const kd_owner *o, int64_t beat_ms) {
    char state, start[24];
    if (strcmp(self->host, o->host) == 0 && strcmp(self->start, "0") != 0)
        return process_start(o->pid, &state, start) && strcmp(start, o->start) == 0 && state != 'Z' && state != 'X';
    int64_t age = kd_unix_ms() - beat_ms;
    return age < FOREIGN_LIFE_MS; /* a clock set back keeps a lease longer, never ends it early */
}

void kd_owner_text(char *out, size_t cap, kd_str v) {
    size_t n = v.len < cap - 1 ? v.len : cap - 1;
    memcpy(out, v.data ? v.data : "", n);
    out[n] = 0;
}

/* What was in the air for an owner that is gone: asked, perhaps paid, and never to be seen. A row of attempts each, at its worst case, and their sum
 * in the totals. In a transaction. */
kd_code kd_owner_lost(kd_db *db, int64_t owner, kd_err *e) {
    static const char *const sql[] = {
        "INSERT INTO attempts(prompt, settings, number, reason, final, cost, created)"
        " SELECT prompt, settings, number, 'lost', 0, flying*worst, ?2 FROM leases WHERE owner=?1 AND flying>0",
        "INSERT INTO totals SELECT settings, 0, count(*), 0, 0, 0, 0, total(flying*worst), total(flying*worst) FROM leases"
        " WHERE owner=?1 AND flying>0 AND ?2=?2 GROUP BY settings ON CONFLICT(settings) DO UPDATE SET attempts=attempts+excluded.attempts,"
        " cost=cost+excluded.cost, cost_failed=cost_failed+excluded.cost_failed"};
    kd_code rc = KD_OK;
    for (int i = 0; i < 2 && !rc; i++) {
        kd_stmt *q = NULL;
        if (!(rc = kd_stmt_new(&q, db, sql[i], e))) {
            kd_bind_int(q, 1, owner);
            kd_bind_int(q, 2, kd_unix_ms());
            rc = kd_stmt_run(q, e);
        }
        kd_stmt_free(q);
    }
    return rc;
}

/* Takes away the leases of owners that are gone. In a transaction. */
kd_code kd_owners_bury(kd_db *db, kd_err *e) {
    kd_stmt *q = NULL, *d1 = NULL, *d2 = NULL;
    kd_owner self, o;
    bool row;
    kd_owner_self(&self);
    kd_code rc = kd_stmt_new(&q, db, "SELECT id, host, pid, start, beat FROM owners", e);
    if (!rc) rc = kd_stmt_new(&d1, db, "DELETE FROM leases WHERE owner=?1", e);
    if (!rc) rc = kd_stmt_new(&d2, db, "DELETE FROM owners WHERE id=?1", e);
    while (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) {
        kd_owner_text(o.host, sizeof o.host, kd_col_text(q, 1));
        kd_owner_text(o.start, sizeof o.start, kd_col_text(q, 3));
        o.pid = kd_col_int(q, 2);
        if (kd_owner_alive(&self, &o, kd_col_int(q, 4))) continue;
        kd_bind_int(d1, 1, kd_col_int(q, 0));
        kd_bind_int(d2, 1, kd_col_int(q, 0));
        if (!(rc = kd_owner_lost(db, kd_col_int(q, 0), e)) && !(rc = kd_stmt_run(d1, e))) rc = kd_stmt_run(d2, e);
    }
    kd_stmt_free(q);
    kd_stmt_free(d1);
    kd_stmt_free(d2);
    return rc;
}
