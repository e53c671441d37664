/* datasets/import.c - question files into a study: content hashes, splits, samples that come along, and an account of every row.
 * Leans on import.h, study_int.h, base. */
#include "datasets/import.h"

#include "datasets/label.h"
#include "datasets/study_int.h"
#include "distill/base/clock.h"
#include "distill/base/gz.h"
#include "distill/base/hash.h"

#include <string.h>

enum { ROWS_A_TRANSACTION = 4000 };

typedef struct {
    kd_study *s;
    const char *path;
    const kd_import_opts *o;
    kd_import_report *r;
    kd_import_report open; /* counted since the last commit: a rollback must not leave them told */
    kd_row_form form;      /* of this file */
    int64_t settings;      /* of the source "import" */
} importing;

/* sha256 over messages and tools as canonical JSON: the identity of a prompt. */
void kd_prompt_hash(kd_str messages, kd_str tools, unsigned char out[32]) {
    kd_sha256 h;
    kd_sha256_init(&h);
    kd_sha256_add(&h, "messages\n", 9);
    kd_sha256_add(&h, messages.data, messages.len);
    if (tools.len) {
        kd_sha256_add(&h, "\ntools\n", 7);
        kd_sha256_add(&h, tools.data, tools.len);
    }
    kd_sha256_end(&h, out);
}

static kd_str or_cstr(const char *first, kd_str second, const char *third) {
    return first ? kd_str_of(first) : second.len ? second : kd_str_of(third);
}

/* A gold answer that a math check can read makes a math question: a number, or LaTeX. */
static bool looks_math(kd_str gold) {
    if (!gold.data || gold.len > 200) return false;
    bool digit = false;
    for (size_t i = 0; i < gold.len; i++) {
        if (gold.data[i] == '\n') return false;
        digit |= (gold.data[i] >= '0' && gold.data[i] <= '9') || gold.data[i] == '\\';
    }
    return digit;
}

/* *known: the prompt was there; *conflict: with another split or gold answer. */
static kd_code put_prompt(importing *im, const kd_row_parts *p, size_t line, int64_t *id, bool *known, bool *conflict, kd_err *e) {
    kd_stmt *q;
    bool row;
    unsigned char hash[32];
    kd_prompt_hash(p->messages, p->tools, hash);
    kd_str h = {(const char *)hash, sizeof hash};
    kd_str split = or_cstr(im->o->split, p->split, "train");
    kd_str task = or_cstr(im->o->task, p->task, looks_math(p->gold) ? "math" : "text");
    *known = *conflict = false;
    kd_code rc = kd_study_stmt(im->s, KD_Q_PROMPT_GET, "SELECT id, split, gold FROM prompts WHERE hash=?1", &q, e);
    if (rc) return rc;
    kd_bind_blob(q, 1, h);
    if ((rc = kd_stmt_step(q, &row, e))) return rc;
    if (row) {
        kd_str gold = kd_col_text(q, 2);
        *id = kd_col_int(q, 0);
        *known = true;
        *conflict = !kd_str_eq(split, kd_col_text(q, 1)) || (p->gold.data && gold.data && !kd_str_eq(p->gold, gold));
        kd_stmt_reset(q);
        return KD_OK;
    }
    rc = kd_study_stmt(im->s, KD_Q_PROMPT_ADD,
                       "INSERT INTO prompts(hash, split, task, source, line, gold, messages, tools, reference, meta, created)"
                       " VALUES(?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11)",
                       &q, e);
    if (rc) return rc;
    kd_bind_blob(q, 1, h);
    kd_bind_text(q, 2, split);
    kd_bind_text(q, 3, task);
    kd_bind_text(q, 4, kd_str_of(im->path));
    kd_bind_int(q, 5, (int64_t)line);
    kd_bind_text(q, 6, p->gold);
    kd_bind_text(q, 7, p->messages);
    kd_bind_text(q, 8, p->tools);
    kd_bind_text(q, 9, p->reference);
    kd_bind_text(q, 10, p->meta);
    kd_bind_int(q, 11, kd_unix_ms());
    if (!(rc = kd_stmt_run(q, e))) *id = kd_db_last_id(im->s->db);
    return rc;
}

static kd_code ask_int(kd_stmt *q, bool *found, int64_t *v, kd_err *e) {
    kd_code rc = kd_stmt_step(q, found, e);
    *v = !rc && *found ? kd_col_int(q, 0) : -1;
    kd_stmt_reset(q);
    return rc;
}

/* The completion of a row becomes the next sample of its prompt, unless the very same one is there. */
static kd_code put_sample(importing *im, const kd_row_parts *p, int64_t prompt, bool *added, kd_err *e) {
    unsigned char hash[32];
    kd_stmt *q;
    kd_sha256 h;
    int64_t v;
    bool found;
    kd_sha256_init(&h);
    kd_sha256_add(&h, p->completion.data, p->completion.len);
    kd_sha256_end(&h, hash);
    kd_str digest = {(const char *)hash, sizeof hash};
    *added = false;
    kd_code rc = kd_study_stmt(im->s, KD_Q_DIGEST_GET, "SELECT 1 FROM samples WHERE prompt=?1 AND digest=?2", &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, prompt);
    kd_bind_blob(q, 2, digest);
    if ((rc = ask_int(q, &found, &v, e)) || found) return rc;
    if ((rc =
             kd_study_stmt(im->s, KD_Q_NUMBER_MAX, "SELECT coalesce(max(number), -1) FROM samples WHERE prompt=?1 AND settings=?2", &q, e)))
        return rc;
    kd_bind_int(q, 1, prompt);
    kd_bind_int(q, 2, im->settings);
    if ((rc = ask_int(q, &found, &v, e))) return rc;
    kd_answer a = {.prompt = prompt,
                   .sample = (int)(v + 1),
                   .thought = p->thought,
                   .answer = p->answer,
                   .thought_from = p->thought_from,
                   .finish = "stop",
                   .prompt_tokens = -1,
                   .completion_tokens = -1,
                   .reasoning_tokens = -1,
                   .cached_tokens = -1,
                   .cost = -1,
                   .seconds = -1,
                   .first_token_seconds = -1};
    char finish[64];
    if (p->thought_from == KD_THOUGHT_UNCLOSED || p->thought_from == KD_THOUGHT_OPENED)
        a.finish = "length"; /* a thought that never closed was cut */
    if (p->finish.len && p->finish.len < sizeof finish && !memchr(p->finish.data, 0, p->finish.len)) {
        memcpy(finish, p->finish.data, p->finish.len);
        finish[p->finish.len] = 0;
        a.finish = finish;
    }
    a.completion_tokens = p->tokens;
    return kd_sample_add(im->s, im->settings, 0, &a, digest, (kd_str){NULL, 0}, added, e);
}

/* A row that cannot be read is an account entry, not an error. */
static kd_code bad_row(importing *im, size_t line, const kd_err *why) {
    im->open.bad++;
    if (im->o->bad_row) im->o->bad_row(im->o->ctx, im->path, line, why->msg);
    return KD_OK;
}

static kd_code put_row(importing *im, kd_arena *arena, kd_str line, size_t number, kd_err *e) {
    kd_row_parts p;
    kd_err why;
    int64_t id = 0;
    bool known, conflict, added = false;
    kd_err_clear(&why);
    kd_code rc = kd_row_parse(&p, arena, line, im->form, &why);
    if (rc == KD_ENOMEM) return kd_fail(e, rc, "%s:%zu: %s", im->path, number, why.msg);
    if (rc) return bad_row(im, number, &why);
    im->form = p.form;
    if ((rc = put_prompt(im, &p, number, &id, &known, &conflict, e))) return rc;
    if (p.completion.data && (rc = put_sample(im, &p, id, &added, e))) return rc;
    im->open.prompts += !known;
    im->open.samples += added;
    im->open.known += known && !added;
    im->open.conflicts += conflict;
    return KD_OK;
}

static void settle(importing *im) {
    kd_import_report *r = im->r, *d = &im->open;
    r->rows += d->rows;
    r->bad += d->bad;
    r->prompts += d->prompts;
    r->samples += d->samples;
    r->known += d->known;
    r->conflicts += d->conflicts;
    *d = (kd_import_report){0};
}

static bool blank(kd_str s) {
    for (size_t i = 0; i < s.len; i++)
        if (!strchr(" \t\r", s.data[i]) || !s.data[i]) return false;
    return true;
}

kd_code kd_question_head_check(const char *path, kd_str line, kd_err *e) {
    static const struct {
        const char *name, *magic;
        size_t n;
    } others[] = {{"Parquet", "PAR1", 4},
                  {"Arrow", "ARROW1", 6},
                  {"ORC", "ORC", 3},
                  {"a zip archive", "PK\x03\x04", 4},
                  {"zstd", "\x28\xb5\x2f\xfd", 4},
                  {"xz",
                   "\xfd"
                   "7zXZ",
                   5},
                  {"bzip2", "BZh", 3},
                  {"an SQLite database", "SQLite format 3", 15}};
    const char *head = line.data;
    const size_t n = line.len;
    size_t i = 0;
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (n >= others[k].n && memcmp(head, others[k].magic, others[k].n) == 0)
            return kd_fail(e, KD_EUNSUPPORTED,
                           "%s is %s: expected lines of JSON, plain or gzip (from Parquet: pandas.read_parquet(FILE).to_json(OUT, "
                           "orient=\"records\", lines=True))",
                           path, others[k].name);
    if (n >= 3 && memcmp(head, "\xef\xbb\xbf", 3) == 0) i = 3;
    while (i < n && (head[i] == ' ' || head[i] == '\t' || head[i] == '\r')) i++;
    if (i < n && head[i] == '[')
        return kd_fail(e, KD_EUNSUPPORTED, "%s is one JSON array: expected an object a line (jq -c '.[]' FILE > FILE.jsonl makes them)",
                       path);
    return KD_OK;
}

/* Up to ROWS_A_TRANSACTION rows in one transaction. */
static kd_code put_some(importing *im, kd_lines *lines, kd_arena *arena, bool *more, kd_err *e) {
    kd_str line;
    kd_code rc = kd_db_begin(im->s->db, e);
    if (rc) return rc;
    for (int i = 0; i < ROWS_A_TRANSACTION && !rc; i++) {
        if (im->o->limit && im->r->rows + im->open.rows >= im->o->limit) {
            *more = false;
            break;
        }
        if ((rc = kd_lines_next(lines, &line, more, e)) || !*more) break;
        size_t number = kd_lines_number(lines);
        if (number == 1 && (rc = kd_question_head_check(im->path, line, e))) break;
        if (number == 1 && line.len >= 3 && memcmp(line.data, "\xef\xbb\xbf", 3) == 0) line = (kd_str){line.data + 3, line.len - 3};
        if (blank(line)) continue;
        im->open.rows++;
        rc = put_row(im, arena, line, number, e);
        kd_arena_clear(arena);
    }
    if (rc) {
        kd_db_rollback(im->s->db);
        return rc;
    }
    if (!(rc = kd_db_commit(im->s->db, e))) settle(im);
    return rc;
}

kd_code kd_import_file(kd_study *s, const char *path, const kd_import_opts *o, const kd_watch *w, kd_import_report *out, kd_err *e) {
    static const kd_import_opts nothing;
    kd_import_report mine;
    kd_lines *lines = NULL;
    kd_arena arena = {0};
    bool more = true;
    out = out ? out : &mine;
    *out = (kd_import_report){0};
    importing im = {.s = s, .path = path, .o = o ? o : &nothing, .r = out};
    im.form = im.o->form;
    kd_code rc = kd_study_settings(s, &im.settings, "{\"teacher\":\"import\"}", NULL, e);
    /* Rows lost to a power cut are imported again: one wait for the disk at the end, not one a transaction. The index of content hashes is
     * met at random places, so it gets a larger cache. */
    if (!rc) rc = kd_db_exec(s->db, "PRAGMA synchronous=NORMAL; PRAGMA cache_size=-65536", e);
    if (!rc) rc = kd_lines_open(&lines, path, e);
    kd_event ev = {KD_EV_BEGIN, "import", 0, 0, "bytes", path};
    kd_emit(w, ev);
    while (!rc && more) {
        rc = put_some(&im, lines, &arena, &more, e);
        kd_lines_progress(lines, &ev.done, &ev.total);
        ev.kind = KD_EV_STEP;
        kd_emit(w, ev);
        int stop = kd_stopping(w);
        if (!rc && more && stop)
            rc = kd_fail(e, (kd_code)stop, "%s: interrupted behind line %zu; run it again to go on", path, kd_lines_number(lines));
    }
    ev.kind = KD_EV_END;
    kd_emit(w, ev);
    const kd_code safe =
        kd_db_exec(s->db, "PRAGMA wal_checkpoint(PASSIVE); PRAGMA synchronous=FULL; PRAGMA cache_size=-8000", rc ? NULL : e);
    if (!rc) rc = safe;
    kd_lines_close(lines);
    kd_arena_clear(&arena);
    return rc;
}
