/* datasets/work.c - the queue, which is the database: a cursor over what is missing, leases that die with their process.
 * Leans on study_int.h, base. Memory does not grow with the rows: only what other processes hold is remembered, to look at it again. */
#include "datasets/study_int.h"

#include "distill/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEAT_EVERY_S = 20, LOOK_AGAIN_S = 2, FOREIGN_LIFE_MS = 300000, MOST_SAMPLES = 1000000 };

typedef struct {
    int64_t prompt;
    int number;
} work_key;

struct kd_work {
    kd_db *db;
    int64_t settings, owner;
    int64_t last; /* id of the last prompt of the filter */
    char *split;  /* or NULL */
    int samples;
    work_key at;    /* where the walk goes on */
    work_key *held; /* skipped, for somebody held them */
    size_t n_held, cap_held;
    double beat, looked;
    kd_arena arena; /* the strings of the items given last */
    bool *have;     /* [samples] numbers of one prompt that are answered */
    int64_t *found; /* prompt ids of one walk */
    size_t cap_found;
    kd_stmt *walk, *numbers, *prompt, *lease, *sent;
};

/* ---- owners ---- */
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

static void copy_text(char *out, size_t cap, kd_str v) {
    size_t n = v.len < cap - 1 ? v.len : cap - 1;
    memcpy(out, v.data ? v.data : "", n);
    out[n] = 0;
}

/* What was in the air for an owner that is gone: asked, perhaps paid, and never to be seen. A row of attempts each, at its worst case, and their sum
 * in the totals. In a transaction. */
static kd_code count_lost(kd_db *db, int64_t owner, kd_err *e) {
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
static kd_code bury_dead(kd_db *db, kd_err *e) {
    kd_stmt *q = NULL, *d1 = NULL, *d2 = NULL;
    kd_owner self, o;
    bool row;
    kd_owner_self(&self);
    kd_code rc = kd_stmt_new(&q, db, "SELECT id, host, pid, start, beat FROM owners", e);
    if (!rc) rc = kd_stmt_new(&d1, db, "DELETE FROM leases WHERE owner=?1", e);
    if (!rc) rc = kd_stmt_new(&d2, db, "DELETE FROM owners WHERE id=?1", e);
    while (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) {
        copy_text(o.host, sizeof o.host, kd_col_text(q, 1));
        copy_text(o.start, sizeof o.start, kd_col_text(q, 3));
        o.pid = kd_col_int(q, 2);
        if (kd_owner_alive(&self, &o, kd_col_int(q, 4))) continue;
        kd_bind_int(d1, 1, kd_col_int(q, 0));
        kd_bind_int(d2, 1, kd_col_int(q, 0));
        if (!(rc = count_lost(db, kd_col_int(q, 0), e)) && !(rc = kd_stmt_run(d1, e))) rc = kd_stmt_run(d2, e);
    }
    kd_stmt_free(q);
    kd_stmt_free(d1);
    kd_stmt_free(d2);
    return rc;
}

static kd_code add_owner(kd_work *w, kd_err *e) {
    kd_owner self;
    kd_stmt *q = NULL;
    kd_owner_self(&self);
    kd_code rc = kd_stmt_new(&q, w->db, "INSERT INTO owners(host, pid, start, beat) VALUES(?1, ?2, ?3, ?4)", e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(self.host));
        kd_bind_int(q, 2, self.pid);
        kd_bind_text(q, 3, kd_str_of(self.start));
        kd_bind_int(q, 4, kd_unix_ms());
        rc = kd_stmt_run(q, e);
    }
    if (!rc) w->owner = kd_db_last_id(w->db);
    kd_stmt_free(q);
    w->beat = kd_now();
    return rc;
}

/* ---- opening ---- */
static kd_code find_last(kd_work *w, uint64_t limit, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    w->last = INT64_MAX;
    if (!limit || limit > INT64_MAX) return KD_OK;
    kd_code rc =
        kd_stmt_new(&q, w->db, "SELECT id FROM prompts INDEXED BY prompts_walk WHERE ?1 IS NULL OR split=?1 ORDER BY id LIMIT 1 OFFSET ?2",
                    e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(w->split));
        kd_bind_int(q, 2, (int64_t)limit - 1);
        if (!(rc = kd_stmt_step(q, &row, e)) && row) w->last = kd_col_int(q, 0);
    }
    kd_stmt_free(q);
    return rc;
}

static kd_code prepare(kd_work *w, kd_err *e) {
    const struct {
        kd_stmt **q;
        const char *sql;
    } list[] = {
        {&w->walk, "SELECT p.id FROM prompts p INDEXED BY prompts_walk WHERE p.id>=?1 AND p.id<=?2 AND (?3 IS NULL OR p.split=?3) AND"
                   " (SELECT count(*) FROM samples s WHERE s.prompt=p.id AND s.settings=?4 AND s.number<?5) < ?5 ORDER BY p.id LIMIT ?6"},
        {&w->numbers, "SELECT number FROM samples WHERE prompt=?1 AND settings=?2 AND number<?3"},
        {&w->prompt, "SELECT messages, tools, gold, task FROM prompts WHERE id=?1"},
        {&w->lease, "INSERT INTO leases(settings, prompt, number, owner) VALUES(?1, ?2, ?3, ?4) ON CONFLICT DO NOTHING"},
        {&w->sent, "UPDATE leases SET flying=flying+1, worst=?5 WHERE settings=?1 AND prompt=?2 AND number=?3 AND owner=?4"},
    };
    kd_code rc = KD_OK;
    for (size_t i = 0; i < sizeof list / sizeof *list && !rc; i++) rc = kd_stmt_new(list[i].q, w->db, list[i].sql, e);
    return rc;
}

kd_code kd_work_open(kd_work **out, kd_study *s, int64_t settings, const kd_work_opts *o, kd_err *e) {
    *out = NULL;
    int samples = o && o->samples ? o->samples : 1;
    if (samples < 1 || samples > MOST_SAMPLES)
        return kd_fail(e, KD_EINVAL, "samples: expected 1 to %d a prompt, found %d", MOST_SAMPLES, samples);
    kd_work *w = kd_calloc(1, sizeof *w);
    if (!w) return kd_fail(e, KD_ENOMEM, "no memory for the queue");
    w->settings = settings;
    w->samples = samples;
    w->at.prompt = 1;
    kd_code rc = kd_db_open(&w->db, kd_study_path(s), KD_DB_WRITE, e);
    if (!rc) rc = kd_db_relax(w->db, e);
    w->have = kd_calloc((size_t)samples, sizeof *w->have);
    if (o && o->split) w->split = kd_strdup(o->split);
    if (!rc && (!w->have || (o && o->split && !w->split))) rc = kd_fail(e, KD_ENOMEM, "no memory for the queue");
    if (rc || (rc = find_last(w, o ? o->limit : 0, e)) || (rc = prepare(w, e)) || (rc = kd_db_begin(w->db, e))) goto done;
    if (!(rc = bury_dead(w->db, e))) rc = add_owner(w, e);
    if (rc)
        kd_db_rollback(w->db);
    else
        rc = kd_db_commit(w->db, e);
done:
    if (rc) {
        w->owner = 0;
        kd_work_close(w);
        return rc;
    }
    *out = w;
    return KD_OK;
}

/* ---- walking ---- */
/* Numbers of prompt that are answered, into w->have. */
static kd_code read_numbers(kd_work *w, int64_t prompt, kd_err *e) {
    bool row;
    kd_code rc;
    memset(w->have, 0, (size_t)w->samples * sizeof *w->have);
    kd_bind_int(w->numbers, 1, prompt);
    kd_bind_int(w->numbers, 2, w->settings);
    kd_bind_int(w->numbers, 3, w->samples);
    while (!(rc = kd_stmt_step(w->numbers, &row, e)) && row) {
        int64_t k = kd_col_int(w->numbers, 0);
        if (k >= 0 && k < w->samples) w->have[k] = true;
    }
    return rc;
}

/* Tries for one lease: *got true if it is ours now, false if somebody has it. */
static kd_code take(kd_work *w, int64_t prompt, int number, bool *got, kd_err *e) {
    kd_bind_int(w->lease, 1, w->settings);
    kd_bind_int(w->lease, 2, prompt);
    kd_bind_int(w->lease, 3, number);
    kd_bind_int(w->lease, 4, w->owner);
    kd_code rc = kd_stmt_run(w->lease, e);
    *got = !rc && kd_db_changes(w->db) > 0;
    return rc;
}

static kd_code fill(kd_work *w, kd_work_item *item, const kd_work_item *before, int64_t prompt, int number, kd_err *e) {
    bool row;
    kd_code rc;
    if (before && before->prompt == prompt) {
        *item = *before;
        item->sample = number;
        return KD_OK;
    }
    *item = (kd_work_item){.prompt = prompt, .sample = number};
    kd_bind_int(w->prompt, 1, prompt);
    if ((rc = kd_stmt_step(w->prompt, &row, e))) return rc;
    if (!row)
        return kd_fail(e, KD_EFORMAT, "%s: the study is damaged: prompt %lld is in an index alone", kd_db_path(w->db), (long long)prompt);
    kd_str *const to[] = {&item->messages, &item->tools, &item->gold, &item->task};
    for (int i = 0; i < 4 && !rc; i++) rc = kd_str_keep(&w->arena, kd_col_text(w->prompt, i), to[i], e);
    kd_stmt_reset(w->prompt);
    return rc;
}

static kd_code remember(kd_work *w, int64_t prompt, int number, kd_err *e) {
    kd_code rc = kd_grow((void **)&w->held, &w->cap_held, w->n_held + 1, sizeof *w->held);
    if (rc) return kd_fail(e, rc, "no memory for the queue");
    w->held[w->n_held++] = (work_key){prompt, number};
    return KD_OK;
}

/* Ids of up to max prompts from w->at on that lack an answer. A read alone: no lock is held while a million rows go by. */
static kd_code walk(kd_work *w, size_t max, size_t *n, kd_err *e) {
    bool row;
    *n = 0;
    kd_code rc = kd_grow((void **)&w->found, &w->cap_found, max, sizeof *w->found);
    if (rc) return kd_fail(e, rc, "no memory for the queue");
    kd_bind_int(w->walk, 1, w->at.prompt);
    kd_bind_int(w->walk, 2, w->last);
    kd_bind_text(w->walk, 3, kd_str_of(w->split));
    kd_bind_int(w->walk, 4, w->settings);
    kd_bind_int(w->walk, 5, w->samples);
    kd_bind_int(w->walk, 6, (int64_t)max);
    while (!(rc = kd_stmt_step(w->walk, &row, e)) && row && *n < max) w->found[(*n)++] = kd_col_int(w->walk, 0);
    kd_stmt_reset(w->walk);
    return rc;
}

/* Leases from the prompts found, in order, until max items are given. */
static kd_code lease_found(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    kd_code rc = KD_OK;
    for (size_t i = 0; i < found && *n < max && !rc; i++) {
        int k = w->found[i] == w->at.prompt ? w->at.number : 0;
        rc = read_numbers(w, w->found[i], e);
        for (; k < w->samples && *n < max && !rc; k++) {
            bool got;
            if (w->have[k]) continue;
            if (!(rc = take(w, w->found[i], k, &got, e)) && got) {
                rc = fill(w, &items[*n], *n ? &items[*n - 1] : NULL, w->found[i], k, e);
                (*n)++;
            } else if (!rc) {
                rc = remember(w, w->found[i], k, e);
            }
        }
        w->at = k < w->samples ? (work_key){w->found[i], k} : (work_key){w->found[i] + 1, 0};
    }
    return rc;
}

/* What others held when we came by: answered by now, still held, or to be had because their process died or gave it back. */
static kd_code lease_held(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    size_t kept = 0;
    kd_code rc = bury_dead(w->db, e);
    for (size_t i = 0; i < w->n_held; i++) {
        work_key k = w->held[i];
        bool got = false, answered = false;
        if (!rc && *n < max) {
            rc = read_numbers(w, k.prompt, e);
            answered = !rc && w->have[k.number];
            if (!rc && !answered) rc = take(w, k.prompt, k.number, &got, e);
            if (!rc && got) {
                rc = fill(w, &items[*n], *n ? &items[*n - 1] : NULL, k.prompt, k.number, e);
                (*n)++;
            }
        }
        if (!answered && !got) w->held[kept++] = k;
    }
    w->n_held = kept;
    return rc;
}

static kd_code send_beat(kd_work *w, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, w->db, "UPDATE owners SET beat=?2 WHERE id=?1", e);
    if (!rc) {
        kd_bind_int(q, 1, w->owner);
        kd_bind_int(q, 2, kd_unix_ms());
        rc = kd_stmt_run(q, e);
    }
    if (!rc && kd_db_changes(w->db) == 0) /* taken for dead (the machine slept, say): register again, leases were lost */
        rc = add_owner(w, e);
    if (!rc) w->beat = kd_now();
    kd_stmt_free(q);
    return rc;
}

kd_code kd_work_beat(kd_work *w, kd_err *e) { return kd_now() - w->beat < BEAT_EVERY_S ? KD_OK : send_beat(w, e); }

/* One transaction of leases: from the prompts found, or, with none, from what was held. */
static kd_code lease_some(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    work_key at = w->at;
    kd_code rc = kd_db_begin(w->db, e);
    if (rc) return rc;
    if (kd_now() - w->beat >= BEAT_EVERY_S) rc = send_beat(w, e);
    if (!rc) rc = found ? lease_found(w, found, items, max, n, e) : lease_held(w, items, max, n, e);
    if (rc)
        kd_db_rollback(w->db);
    else
        rc = kd_db_commit(w->db, e);
    if (rc) { /* nothing was leased */
        w->at = at;
        *n = 0;
    }
    return rc;
}

kd_code kd_work_next(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    size_t found = 0;
    kd_code rc;
    *n = 0;
    kd_arena_clear(&w->arena);
    if (max == 0) return KD_OK;
    do { /* whole stretches may be held by others */
        if (!(rc = walk(w, max, &found, e)) && found) rc = lease_some(w, found, items, max, n, e);
    } while (!rc && found && *n == 0);
    if (rc || *n) return rc;
    if (w->n_held > 0 && (w->looked <= 0 || kd_now() - w->looked >= LOOK_AGAIN_S)) {
        w->looked = kd_now();
        return lease_some(w, 0, items, max, n, e);
    }
    return kd_work_beat(w, e);
}

kd_code kd_work_release(kd_work *w, int64_t prompt, int sample, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, w->db, "DELETE FROM leases WHERE settings=?1 AND prompt=?2 AND number=?3 AND owner=?4", e);
    if (!rc) {
        kd_bind_int(q, 1, w->settings);
        kd_bind_int(q, 2, prompt);
        kd_bind_int(q, 3, sample);
        kd_bind_int(q, 4, w->owner);
        rc = kd_stmt_run(q, e);
    }
    kd_stmt_free(q);
    return rc;
}

kd_code kd_work_sent(kd_work *w, const kd_work_try *tries, size_t n, kd_err *e) {
    if (n == 0) return KD_OK;
    kd_code rc = kd_db_begin(w->db, e);
    if (rc) return rc;
    for (size_t i = 0; i < n && !rc; i++) {
        kd_bind_int(w->sent, 1, w->settings);
        kd_bind_int(w->sent, 2, tries[i].prompt);
        kd_bind_int(w->sent, 3, tries[i].sample);
        kd_bind_int(w->sent, 4, w->owner);
        if (tries[i].worst >= 0)
            kd_bind_double(w->sent, 5, tries[i].worst);
        else
            kd_bind_null(w->sent, 5);
        rc = kd_stmt_run(w->sent, e);
    }
    if (rc)
        kd_db_rollback(w->db);
    else
        rc = kd_db_commit(w->db, e);
    return rc;
}

/* Leases under these settings, told apart by who holds them; the dead count for nobody. */
static kd_code count_leases(kd_work *w, kd_work_state *out, kd_err *e) {
    kd_stmt *q = NULL;
    kd_owner self, o;
    bool row;
    kd_owner_self(&self);
    kd_code rc = kd_stmt_new(
        &q, w->db,
        "SELECT o.host, o.pid, o.start, o.beat, count(*) FROM leases l JOIN owners o ON o.id=l.owner WHERE l.settings=?1 GROUP BY o.id", e);
    if (!rc) kd_bind_int(q, 1, w->settings);
    while (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) {
        copy_text(o.host, sizeof o.host, kd_col_text(q, 0));
        copy_text(o.start, sizeof o.start, kd_col_text(q, 2));
        o.pid = kd_col_int(q, 1);
        if (o.pid == self.pid && strcmp(o.host, self.host) == 0 && strcmp(o.start, self.start) == 0)
            out->here += (uint64_t)kd_col_int(q, 4);
        else if (kd_owner_alive(&self, &o, kd_col_int(q, 3)))
            out->elsewhere += (uint64_t)kd_col_int(q, 4);
    }
    kd_stmt_free(q);
    return rc;
}

static kd_code count_one(kd_work *w, const char *sql, uint64_t *out, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    kd_code rc = kd_stmt_new(&q, w->db, sql, e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(w->split));
        kd_bind_int(q, 2, w->last);
        kd_bind_int(q, 3, w->settings);
        kd_bind_int(q, 4, w->samples);
        rc = kd_stmt_step(q, &row, e);
    }
    *out = rc ? 0 : (uint64_t)kd_col_int(q, 0);
    kd_stmt_free(q);
    return rc;
}

kd_code kd_work_count(kd_work *w, kd_work_state *out, kd_err *e) {
    *out = (kd_work_state){0};
    kd_code rc =
        count_one(w, "SELECT count(*) * ?4 FROM prompts INDEXED BY prompts_walk WHERE id<=?2 AND (?1 IS NULL OR split=?1) AND ?3=?3",
                  &out->total, e);
    if (!rc && !w->split && w->last == INT64_MAX)
        rc = count_one(w, "SELECT count(*) FROM samples INDEXED BY samples_key WHERE settings=?3 AND number<?4 AND ?1 IS ?1 AND ?2=?2",
                       &out->done, e);
    else if (!rc)
        rc =
            count_one(w,
                      "SELECT count(*) FROM prompts p INDEXED BY prompts_walk CROSS JOIN samples s INDEXED BY samples_key ON s.prompt=p.id "
                      "WHERE p.id<=?2 AND (?1 IS NULL OR p.split=?1) AND s.settings=?3 AND s.number<?4",
                      &out->done, e);
    return rc ? rc : count_leases(w, out, e);
}

void kd_work_close(kd_work *w) {
    if (!w) return;
    kd_stmt *const list[] = {w->walk, w->numbers, w->prompt, w->lease, w->sent};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) kd_stmt_free(list[i]);
    if (w->owner > 0 && kd_db_begin(w->db, NULL) == KD_OK) { /* if this fails, the leases die with the process */
        char sql[160];
        snprintf(sql, sizeof sql, "DELETE FROM leases WHERE owner=%lld; DELETE FROM owners WHERE id=%lld", (long long)w->owner,
                 (long long)w->owner);
        if (count_lost(w->db, w->owner, NULL) == KD_OK && kd_db_exec(w->db, sql, NULL) == KD_OK)
            kd_db_commit(w->db, NULL);
        else
            kd_db_rollback(w->db);
    }
    kd_db_close(w->db);
    kd_arena_clear(&w->arena);
    kd_free(w->held);
    kd_free(w->have);
    kd_free(w->found);
    kd_free(w->split);
    kd_free(w);
}
