/* datasets/work.c - the queue, which is the database: a cursor over what is missing, leases that die with their process.
 * Leans on study_int.h, base. Memory does not grow with the rows: only what other processes hold is remembered, to look at it again. */
#include "datasets/work_int.h"

#include "distill/base/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BEAT_EVERY_S = 20, LOOK_AGAIN_S = 2, MOST_SAMPLES = 1000000 };

/* ---- opening ---- */
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

static kd_code find_last(kd_work *w, uint64_t limit, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    w->last = INT64_MAX;
    if (!limit || limit > INT64_MAX) return KD_OK;
    kd_code rc = kd_stmt_new(&q, w->db,
                             "SELECT id FROM prompts INDEXED BY prompts_walk WHERE split=?1 OR (?1 IS NULL AND " KD_NOT_JUDGE(
                                 "split") ") ORDER BY id LIMIT 1 OFFSET ?2",
                             e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(w->split));
        kd_bind_int(q, 2, (int64_t)limit - 1);
        if (!(rc = kd_stmt_step(q, &row, e)) && row) w->last = kd_col_int(q, 0);
    }
    kd_stmt_free(q);
    return rc;
}

/* Right answers of a question, and whether they are fewer than wanted (?7; 0: that does not matter). */
#define UNSETTLED                                                                                                                          \
    "(SELECT count(*) FROM samples s WHERE s.prompt=p.id AND s.settings=?4 AND s.number<?5) < ?5 AND (?7=0 OR (SELECT count(*) FROM "      \
    "samples s CROSS JOIN labels l ON l.sample=s.id AND l.value='right' WHERE s.prompt=p.id AND s.settings=?4 AND s.number<?5) < ?7)"

static kd_code prepare(kd_work *w, kd_err *e) {
    const struct {
        kd_stmt **q;
        const char *sql;
    } list[] = {
        {&w->walk,
         "SELECT p.id FROM prompts p INDEXED BY prompts_walk WHERE p.id>=?1 AND p.id<=?2 AND (p.split=?3 OR (?3 IS NULL AND " KD_NOT_JUDGE(
             "p.split") ")) AND"
                        " " UNSETTLED " ORDER BY p.id LIMIT ?6"},
        {&w->spent,
         "SELECT (SELECT total(cost) FROM totals WHERE settings=?1) + (SELECT total(flying*worst) FROM leases WHERE settings=?1)"},
        /* answers, right ones, those without a verdict yet, and leases of a question */
        {&w->room, "SELECT count(*), total(ok), total(open), (SELECT count(*) FROM leases WHERE settings=?2 AND prompt=?1) FROM (SELECT"
                   " EXISTS(SELECT 1 FROM labels l WHERE l.sample=s.id AND l.value='right') AS ok,"
                   " NOT EXISTS(SELECT 1 FROM labels l WHERE l.sample=s.id AND l.name IN ('math','code')) AS open"
                   " FROM samples s WHERE s.prompt=?1 AND s.settings=?2 AND s.number<?3)"},
        /* questions that more answers would tell most about, how many there are, and how many are out: as often right as wrong so far, by Laplace's rule; of these the least asked */
        {&w->pick,
         "SELECT prompt FROM (SELECT s.prompt AS prompt, count(*) AS n, total(EXISTS(SELECT 1 FROM labels l WHERE l.sample=s.id AND"
         " l.value='right')) AS ok, total(EXISTS(SELECT 1 FROM labels l WHERE l.sample=s.id AND l.value IN ('right','wrong'))) AS told"
         " FROM samples s INDEXED BY samples_key CROSS JOIN prompts p ON p.id=s.prompt WHERE s.settings=?4 AND s.number<?5 AND p.id<=?2"
         " AND (p.split=?3 OR (?3 IS NULL AND " KD_NOT_JUDGE(
             "p.split") ")) GROUP BY s.prompt) q WHERE n<?5 AND told>0 AND NOT EXISTS(SELECT 1 FROM leases x WHERE"
                        " x.settings=?4 AND x.prompt=q.prompt) ORDER BY abs((ok+1.0)/(told+2.0)-0.5), n, prompt LIMIT ?6"},
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
    w->samples = w->first = samples;
    w->until = o ? o->until : 0;
    w->adaptive = o && o->adaptive;
    if (w->adaptive) w->first = o->first > 0 && o->first < samples ? o->first : 1;
    w->at.prompt = 1;
    kd_code rc = kd_db_open(&w->db, kd_study_path(s), KD_DB_WRITE, e);
    if (!rc) kd_db_patience(w->db, kd_db_patience_of(s->db));
    if (!rc) rc = kd_db_relax(w->db, e);
    w->have = kd_calloc((size_t)samples, sizeof *w->have);
    if (o && o->split) w->split = kd_strdup(o->split);
    if (!rc && (!w->have || (o && o->split && !w->split))) rc = kd_fail(e, KD_ENOMEM, "no memory for the queue");
    if (rc || (rc = find_last(w, o ? o->limit : 0, e)) || (rc = prepare(w, e)) || (rc = kd_db_begin(w->db, e))) goto done;
    if (!(rc = kd_owners_bury(w->db, e))) rc = add_owner(w, e);
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
    kd_bind_int(w->walk, 5, w->first);
    kd_bind_int(w->walk, 6, (int64_t)max);
    kd_bind_int(w->walk, 7, w->until);
    while (!(rc = kd_stmt_step(w->walk, &row, e)) && row && *n < max) w->found[(*n)++] = kd_col_int(w->walk, 0);
    kd_stmt_reset(w->walk);
    return rc;
}

/* until: how many more answers of a question may be asked for now; *settled: none, ever. */
static kd_code room_of(kd_work *w, int64_t prompt, int *room, bool *settled, kd_err *e) {
    bool row;
    kd_bind_int(w->room, 1, prompt);
    kd_bind_int(w->room, 2, w->settings);
    kd_bind_int(w->room, 3, w->samples);
    kd_code rc = kd_stmt_step(w->room, &row, e);
    if (rc) return rc;
    int64_t have = kd_col_int(w->room, 0), ok = kd_col_int(w->room, 1), open = kd_col_int(w->room, 2), leased = kd_col_int(w->room, 3);
    kd_stmt_reset(w->room);
    int64_t want = w->until - ok - leased - open, left = w->samples - have - leased;
    *settled = ok >= w->until || have >= w->samples;
    *room = (int)(want < left ? want : left);
    return KD_OK;
}

/* Numbers of a prompt from k on that are missing, at most so many; those that others hold are remembered where keep. *k: where it stopped. */
static kd_code lease_numbers(kd_work *w, int64_t prompt, int *k, int most, bool keep, kd_work_item *items, size_t max, size_t *n,
                             kd_err *e) {
    kd_code rc = read_numbers(w, prompt, e);
    for (; *k < most && *n < max && !rc; (*k)++) {
        bool got;
        if (w->have[*k]) continue;
        if (!(rc = take(w, prompt, *k, &got, e)) && got) {
            rc = fill(w, &items[*n], *n ? &items[*n - 1] : NULL, prompt, *k, e);
            (*n)++;
        } else if (!rc && keep) {
            rc = remember(w, prompt, *k, e);
        }
    }
    return rc;
}

/* until: the answers that a question may be asked for now. */
static kd_code lease_room(kd_work *w, int64_t prompt, bool *settled, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    int room = 0, k = 0;
    kd_code rc = room_of(w, prompt, &room, settled, e);
    if (rc || *settled || room <= 0) return rc;
    size_t cap = *n + (size_t)room < max ? *n + (size_t)room : max;
    if (*n + (size_t)room > max) w->more_held = true;
    return lease_numbers(w, prompt, &k, w->samples, false, items, cap, n, e);
}

/* Leases from the prompts found, in order, until max items are given. */
static kd_code lease_found(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    kd_code rc = KD_OK;
    for (size_t i = 0; i < found && *n < max && !rc; i++) {
        int k = w->found[i] == w->at.prompt ? w->at.number : 0;
        if (w->until) {
            bool settled;
            rc = lease_room(w, w->found[i], &settled, items, max, n, e);
            if (!rc && !settled) rc = remember(w, w->found[i], -1, e);
            w->at = (work_key){w->found[i] + 1, 0};
            continue;
        }
        rc = lease_numbers(w, w->found[i], &k, w->first, true, items, max, n, e);
        w->at = k < w->first ? (work_key){w->found[i], k} : (work_key){w->found[i] + 1, 0};
    }
    return rc;
}

/* What others held when we came by: answered by now, still held, or to be had because their process died or gave it back. */
static kd_code lease_held(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    size_t kept = 0;
    kd_code rc = kd_owners_bury(w->db, e);
    w->more_held = false;
    for (size_t i = 0; i < w->n_held; i++) {
        work_key k = w->held[i];
        bool gone = false;
        if (!rc && *n < max && k.number < 0) {
            rc = lease_room(w, k.prompt, &gone, items, max, n, e);
        } else if (!rc && *n < max) {
            size_t before = *n;
            int at = k.number;
            rc = lease_numbers(w, k.prompt, &at, k.number + 1, false, items, max, n, e);
            gone = !rc && (*n > before || w->have[k.number]);
        }
        if (!gone) w->held[kept++] = k;
    }
    w->n_held = kept;
    return rc;
}

/* adaptive: one answer more of each of the questions that it would tell most about. */
static kd_code lease_picked(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    kd_code rc = KD_OK;
    for (size_t i = 0; i < found && *n < max && !rc; i++) {
        int k = 0;
        size_t cap = *n + 1;
        rc = lease_numbers(w, w->found[i], &k, w->samples, false, items, cap, n, e);
    }
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

/* One transaction of leases. */
typedef kd_code lease_fn(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e);

static kd_code from_held(kd_work *w, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    (void)found;
    return lease_held(w, items, max, n, e);
}

static kd_code lease_some(kd_work *w, lease_fn *f, size_t found, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    work_key at = w->at;
    size_t before = *n;
    kd_code rc = kd_db_begin(w->db, e);
    if (rc) return rc;
    if (kd_now() - w->beat >= BEAT_EVERY_S) rc = send_beat(w, e);
    if (!rc) rc = f(w, found, items, max, n, e);
    if (rc)
        kd_db_rollback(w->db);
    else
        rc = kd_db_commit(w->db, e);
    if (rc) { /* nothing was leased */
        w->at = at;
        *n = before;
    }
    return rc;
}

/* Looks again at what was held, not oftener than it is worth: where questions wait for verdicts, as soon as a twentieth of the time allows. */
static kd_code look_again(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    double now = kd_now(), every = w->until ? 0.02 + 20 * w->look_took : LOOK_AGAIN_S;
    if (!w->n_held || (w->looked > 0 && now - w->looked < every && !w->more_held)) return KD_OK;
    kd_code rc = lease_some(w, from_held, 0, items, max, n, e);
    w->looked = kd_now();
    w->look_took = w->looked - now;
    return rc;
}

static kd_code pick(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    bool row;
    size_t found = 0;
    double now = kd_now();
    if (w->looked > 0 && now - w->looked < 0.02 + 20 * w->look_took) return KD_OK;
    kd_bind_int(w->pick, 2, w->last);
    kd_bind_text(w->pick, 3, kd_str_of(w->split));
    kd_bind_int(w->pick, 4, w->settings);
    kd_bind_int(w->pick, 5, w->samples);
    kd_bind_int(w->pick, 6, (int64_t)max);
    kd_code rc =
        kd_grow((void **)&w->found, &w->cap_found, max, sizeof *w->found) ? kd_fail(e, KD_ENOMEM, "no memory for the queue") : KD_OK;
    while (!rc && found < max && !(rc = kd_stmt_step(w->pick, &row, e)) && row) {
        int64_t out = kd_col_int(w->pick, 2), all = kd_col_int(w->pick, 1) + out;
        if (out + (int64_t)found >= 1 + all / 4) break; /* the best quarter alone: what it says decides who is next */
        w->found[found++] = kd_col_int(w->pick, 0);
    }
    kd_stmt_reset(w->pick);
    if (!rc && found) rc = lease_some(w, lease_picked, found, items, max, n, e);
    w->looked = kd_now();
    w->look_took = w->looked - now;
    return rc;
}

kd_code kd_work_next(kd_work *w, kd_work_item *items, size_t max, size_t *n, kd_err *e) {
    size_t found = 0;
    kd_code rc = KD_OK;
    *n = 0;
    kd_arena_clear(&w->arena);
    if (max == 0) return KD_OK;
    if (w->until && (rc = look_again(w, items, max, n, e))) return rc;
    if (*n == max) return KD_OK;
    do { /* whole stretches may be held by others */
        if (!(rc = walk(w, max - *n, &found, e)) && found) rc = lease_some(w, lease_found, found, items, max, n, e);
    } while (!rc && found && *n == 0);
    if (!rc && *n == 0 && !w->until) rc = look_again(w, items, max, n, e);
    if (!rc && *n == 0 && w->adaptive) rc = pick(w, items, max, n, e);
    return rc || *n ? rc : kd_work_beat(w, e);
}

void kd_work_look(kd_work *w) { w->looked = 0; }

bool kd_work_open_questions(const kd_work *w) { return w->until && w->n_held > 0; }

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

static kd_code committed_money(kd_work *w, double *usd, kd_err *e) {
    bool row;
    kd_bind_int(w->spent, 1, w->settings);
    kd_code rc = kd_stmt_step(w->spent, &row, e);
    *usd = rc ? 0 : kd_col_double(w->spent, 0);
    kd_stmt_reset(w->spent);
    return rc;
}

kd_code kd_work_sent(kd_work *w, const kd_work_try *tries, size_t n, double budget, size_t *may, kd_err *e) {
    double used = 0;
    *may = 0;
    if (n == 0) return KD_OK;
    kd_code rc = kd_db_begin(w->db, e);
    if (rc) return rc;
    if (budget >= 0) rc = committed_money(w, &used, e);
    for (size_t i = 0; i < n && !rc; i++) {
        if (tries[i].worst > 0) used += tries[i].worst;
        if (budget >= 0 && used > budget) break;
        kd_bind_int(w->sent, 1, w->settings);
        kd_bind_int(w->sent, 2, tries[i].prompt);
        kd_bind_int(w->sent, 3, tries[i].sample);
        kd_bind_int(w->sent, 4, w->owner);
        if (tries[i].worst >= 0)
            kd_bind_double(w->sent, 5, tries[i].worst);
        else
            kd_bind_null(w->sent, 5);
        if (!(rc = kd_stmt_run(w->sent, e))) (*may)++;
    }
    if (rc)
        kd_db_rollback(w->db);
    else
        rc = kd_db_commit(w->db, e);
    if (rc) *may = 0;
    return rc;
}

/* Leases under these settings, told apart by who holds them; the dead count for nobody. */
static kd_code count_leases(const kd_work *w, kd_work_state *out, kd_err *e) {
    kd_stmt *q = NULL;
    kd_owner self, o;
    bool row;
    kd_owner_self(&self);
    kd_code rc = kd_stmt_new(
        &q, w->db,
        "SELECT o.host, o.pid, o.start, o.beat, count(*) FROM leases l JOIN owners o ON o.id=l.owner WHERE l.settings=?1 GROUP BY o.id", e);
    if (!rc) kd_bind_int(q, 1, w->settings);
    while (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) {
        kd_owner_text(o.host, sizeof o.host, kd_col_text(q, 0));
        kd_owner_text(o.start, sizeof o.start, kd_col_text(q, 2));
        o.pid = kd_col_int(q, 1);
        if (o.pid == self.pid && strcmp(o.host, self.host) == 0 && strcmp(o.start, self.start) == 0)
            out->here += (uint64_t)kd_col_int(q, 4);
        else if (kd_owner_alive(&self, &o, kd_col_int(q, 3)))
            out->elsewhere += (uint64_t)kd_col_int(q, 4);
    }
    kd_stmt_free(q);
    return rc;
}

static kd_code count_one(const kd_work *w, const char *sql, uint64_t *out, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    kd_code rc = kd_stmt_new(&q, w->db, sql, e);
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(w->split));
        kd_bind_int(q, 2, w->last);
        kd_bind_int(q, 3, w->settings);
        kd_bind_int(q, 4, w->samples);
        if (strstr(sql, "?7")) kd_bind_int(q, 7, w->until);
        rc = kd_stmt_step(q, &row, e);
    }
    *out = rc ? 0 : (uint64_t)kd_col_int(q, 0);
    kd_stmt_free(q);
    return rc;
}

/* until: questions, and those that are settled. Here ?4 is the settings and ?5 the samples, as in UNSETTLED. */
static kd_code count_questions(const kd_work *w, kd_work_state *out, kd_err *e) {
    static const char *const sql[] = {
        "SELECT count(*) FROM prompts p INDEXED BY prompts_walk WHERE p.id<=?2 AND (p.split=?3 OR (?3 IS NULL AND " KD_NOT_JUDGE(
            "p.split") ")) AND ?4=?4 AND ?5=?5 AND "
                       "?7=?7",
        "SELECT count(*) FROM prompts p INDEXED BY prompts_walk WHERE p.id<=?2 AND (p.split=?3 OR (?3 IS NULL AND " KD_NOT_JUDGE(
            "p.split") ")) AND NOT (" UNSETTLED ")"};
    uint64_t *const to[] = {&out->total, &out->done};
    kd_code rc = KD_OK;
    for (int i = 0; i < 2 && !rc; i++) {
        kd_stmt *q = NULL;
        bool row;
        if (!(rc = kd_stmt_new(&q, w->db, sql[i], e))) {
            kd_bind_int(q, 2, w->last);
            kd_bind_text(q, 3, kd_str_of(w->split));
            kd_bind_int(q, 4, w->settings);
            kd_bind_int(q, 5, w->samples);
            kd_bind_int(q, 7, w->until);
            rc = kd_stmt_step(q, &row, e);
        }
        *to[i] = rc ? 0 : (uint64_t)kd_col_int(q, 0);
        kd_stmt_free(q);
    }
    return rc;
}

static kd_code count_all(const kd_work *w, kd_work_state *out, kd_err *e) {
    *out = (kd_work_state){0};
    if (w->until) return count_questions(w, out, e);
    kd_code rc =
        count_one(w,
                  "SELECT count(*) * ?4 FROM prompts INDEXED BY prompts_walk WHERE id<=?2 AND (split=?1 OR (?1 IS NULL AND " KD_NOT_JUDGE(
                      "split") ")) AND ?3=?3",
                  &out->total, e);
    if (rc) return rc;
    if (!w->split && w->last == INT64_MAX)
        return count_one(w, "SELECT count(*) FROM samples INDEXED BY samples_key WHERE settings=?3 AND number<?4 AND ?1 IS ?1 AND ?2=?2",
                         &out->done, e);
    return count_one(w,
                     "SELECT count(*) FROM prompts p INDEXED BY prompts_walk CROSS JOIN samples s INDEXED BY samples_key ON s.prompt=p.id "
                     "WHERE p.id<=?2 AND (p.split=?1 OR (?1 IS NULL AND " KD_NOT_JUDGE("p.split") ")) AND s.settings=?3 AND s.number<?4",
                     &out->done, e);
}

kd_code kd_work_count(kd_work *w, kd_work_state *out, kd_err *e) {
    kd_code rc = count_all(w, out, e);
    return rc ? rc : count_leases(w, out, e);
}

kd_code kd_work_plan(kd_study *s, int64_t settings, const kd_work_opts *o, kd_work_state *out, kd_err *e) {
    kd_work w = {.db = s->db, .settings = settings, .samples = o->samples ? o->samples : 1, .until = o->until};
    if (o->split && !(w.split = kd_strdup(o->split))) return kd_fail(e, KD_ENOMEM, "no memory for the queue");
    kd_code rc = find_last(&w, o->limit, e);
    if (!rc) rc = count_all(&w, out, e);
    if (!rc) rc = count_leases(&w, out, e);
    kd_free(w.split);
    return rc;
}

void kd_work_close(kd_work *w) {
    if (!w) return;
    kd_stmt *const list[] = {w->walk, w->numbers, w->prompt, w->lease, w->sent, w->spent, w->room, w->pick};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) kd_stmt_free(list[i]);
    if (w->owner > 0 && kd_db_begin(w->db, NULL) == KD_OK) { /* if this fails, the leases die with the process */
        char sql[160];
        snprintf(sql, sizeof sql, "DELETE FROM leases WHERE owner=%lld; DELETE FROM owners WHERE id=%lld", (long long)w->owner,
                 (long long)w->owner);
        if (kd_owner_lost(w->db, w->owner, NULL) == KD_OK && kd_db_exec(w->db, sql, NULL) == KD_OK)
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
