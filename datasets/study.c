/* datasets/study.c - settings and their hash, runs, prompts in order, and where a thought stands in an answer. Leans on schema.c, db.h, base. */
#include "datasets/study_int.h"

#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/base/json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- canonical JSON ---- */
static int by_key(const void *a, const void *b) {
    kd_str x = kd_json_key(*(const kd_json_node *const *)a), y = kd_json_key(*(const kd_json_node *const *)b);
    int c = memcmp(x.data, y.data, x.len < y.len ? x.len : y.len);
    return c ? c : (x.len > y.len) - (x.len < y.len);
}

/* 1, 1.0 and 1e0 are one number; what no double or int64 holds exactly keeps its spelling. */
static void canonical_number(kd_jsonw *w, const kd_json_node *n) {
    int64_t i;
    double d = kd_json_number(n, 0);
    if (kd_json_int(n, &i))
        kd_jsonw_int(w, i);
    else if (d > -9e15 && d < 9e15 && d == (double)(int64_t)d)
        kd_jsonw_int(w, (int64_t)d);
    else if (d - d == 0)
        kd_jsonw_double(w, d);
    else
        kd_jsonw_raw(w, kd_json_number_text(n));
}

static kd_code canonical(kd_jsonw *w, const kd_json_node *n) {
    const kd_json_node **v = NULL;
    kd_code rc = KD_OK;
    size_t count = kd_json_count(n), i = 0;
    switch (kd_json_typeof(n)) {
    case KD_JSON_OBJECT:
        if (!(v = kd_realloc_array(NULL, count ? count : 1, sizeof *v))) return KD_ENOMEM;
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) v[i++] = m;
        qsort(v, count, sizeof *v, by_key);
        kd_jsonw_object(w);
        for (i = 0; i < count && !rc; i++) {
            kd_jsonw_key_str(w, kd_json_key(v[i]));
            rc = canonical(w, v[i]);
        }
        if (!rc) kd_jsonw_end_object(w); /* without memory what was begun stays open, and the caller cuts it off */
        kd_free(v);
        return rc;
    case KD_JSON_ARRAY:
        kd_jsonw_array(w);
        for (const kd_json_node *m = kd_json_first(n); m && !rc; m = kd_json_next(m)) rc = canonical(w, m);
        if (!rc) kd_jsonw_end_array(w);
        return rc;
    case KD_JSON_NUMBER: canonical_number(w, n); return KD_OK;
    default: kd_jsonw_node(w, n); return KD_OK;
    }
}

kd_code kd_canonical_node(kd_jsonw *w, const kd_json_node *n) {
    kd_code rc = canonical(w, n);
    return rc ? rc : w->code;
}

kd_code kd_json_canonical(kd_buf *out, const char *json, size_t n, kd_err *e) {
    kd_json *doc = NULL;
    size_t before = out->len;
    kd_code rc = kd_json_parse(&doc, json, n, "settings", e);
    if (rc) return rc;
    kd_jsonw w = {.out = out};
    rc = kd_canonical_node(&w, kd_json_root(doc));
    kd_json_free(doc);
    if (rc) {
        out->len = before;
        return kd_fail(e, rc, "no memory to write JSON of %zu bytes", n);
    }
    return KD_OK;
}

/* ---- settings and runs ---- */
kd_code kd_study_settings(kd_study *s, int64_t *id, const char *json, char hash[65], kd_err *e) {
    kd_buf text = {0};
    kd_json *doc = NULL;
    kd_stmt *q;
    char hex[65];
    bool row;
    kd_code rc = kd_json_canonical(&text, json, strlen(json), e);
    if (!rc) rc = kd_json_parse(&doc, text.data, text.len, "settings", e);
    if (!rc && kd_json_typeof(kd_json_root(doc)) != KD_JSON_OBJECT) rc = kd_fail(e, KD_EINVAL, "settings: expected a JSON object");
    if (rc) goto done;
    kd_sha256_hex(text.data, text.len, hex);
    if ((rc = kd_study_stmt(s, KD_Q_SETTINGS_GET, "SELECT id FROM settings WHERE hash=?1", &q, e))) goto done;
    kd_bind_text(q, 1, (kd_str){hex, 64});
    if ((rc = kd_stmt_step(q, &row, e))) goto done;
    if (row) {
        *id = kd_col_int(q, 0);
        kd_stmt_reset(q);
    } else {
        rc = kd_study_stmt(s, KD_Q_SETTINGS_ADD,
                           "INSERT INTO settings(hash, teacher, model, json, created) VALUES(?1, ?2, ?3, ?4, ?5) "
                           "ON CONFLICT(hash) DO UPDATE SET hash=hash RETURNING id",
                           &q, e);
        if (rc) goto done;
        kd_bind_text(q, 1, (kd_str){hex, 64});
        kd_bind_text(q, 2, kd_json_string(kd_json_get(kd_json_root(doc), "teacher")));
        kd_bind_text(q, 3, kd_json_string(kd_json_get(kd_json_root(doc), "model")));
        kd_bind_text(q, 4, kd_buf_view(&text));
        kd_bind_int(q, 5, kd_unix_ms());
        if ((rc = kd_stmt_step(q, &row, e))) goto done;
        *id = kd_col_int(q, 0);
        rc = kd_stmt_run(q, e);
    }
    if (!rc && hash) memcpy(hash, hex, 65);
done:
    kd_json_free(doc);
    kd_buf_clear(&text);
    return rc;
}

kd_code kd_study_settings_find(kd_study *s, int64_t *id, const char *json, kd_err *e) {
    kd_buf text = {0};
    kd_stmt *q;
    char hex[65];
    bool row;
    *id = 0;
    kd_code rc = kd_json_canonical(&text, json, strlen(json), e);
    if (!rc) rc = kd_study_stmt(s, KD_Q_SETTINGS_GET, "SELECT id FROM settings WHERE hash=?1", &q, e);
    if (!rc) {
        kd_sha256_hex(text.data, text.len, hex);
        kd_bind_text(q, 1, (kd_str){hex, 64});
        if (!(rc = kd_stmt_step(q, &row, e)) && row) *id = kd_col_int(q, 0);
        kd_stmt_reset(q);
    }
    kd_buf_clear(&text);
    return rc;
}

kd_code kd_run_begin(kd_study *s, int64_t *run, const char *kind, const char *settings_json, const char *lineage_json, kd_err *e) {
    kd_buf text = {0};
    kd_stmt *q;
    kd_owner self;
    char hex[65];
    kd_code rc = kd_json_canonical(&text, settings_json, strlen(settings_json), e);
    if (!rc)
        rc = kd_study_stmt(s, KD_Q_RUN_ADD,
                           "INSERT INTO runs(kind, hash, settings, lineage, host, pid, started) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)", &q, e);
    if (!rc) {
        kd_sha256_hex(text.data, text.len, hex);
        kd_owner_self(&self);
        kd_bind_text(q, 1, kd_str_of(kind));
        kd_bind_text(q, 2, (kd_str){hex, 64});
        kd_bind_text(q, 3, kd_buf_view(&text));
        kd_bind_text(q, 4, kd_str_of(lineage_json));
        kd_bind_text(q, 5, kd_str_of(self.host));
        kd_bind_int(q, 6, self.pid);
        kd_bind_int(q, 7, kd_unix_ms());
        if (!(rc = kd_stmt_run(q, e))) *run = kd_db_last_id(s->db);
    }
    kd_buf_clear(&text);
    return rc;
}

kd_code kd_run_end(kd_study *s, int64_t run, const char *how, kd_err *e) {
    kd_stmt *q;
    kd_code rc = kd_study_stmt(s, KD_Q_RUN_END, "UPDATE runs SET ended=?2, how=?3 WHERE id=?1", &q, e);
    if (rc) return rc;
    kd_bind_int(q, 1, run);
    kd_bind_int(q, 2, kd_unix_ms());
    kd_bind_text(q, 3, kd_str_of(how));
    return kd_stmt_run(q, e);
}

/* ---- thoughts ---- */
static const char *const thought_names[] = {"none", "tags", "close", "unclosed", "opened", "reasoning_content", "reasoning", "thinking"};

const char *kd_thought_name(kd_thought_from f) { return thought_names[f]; }

kd_thought_from kd_thought_named(kd_str name) {
    for (size_t i = 0; i < sizeof thought_names / sizeof *thought_names; i++)
        if (kd_str_is(name, thought_names[i])) return (kd_thought_from)i;
    return KD_THOUGHT_NONE;
}

/* The first tag in s, or NULL. */
static const char *tag_at(kd_str s, const char *tag) { return s.len ? memmem(s.data, s.len, tag, strlen(tag)) : NULL; }

kd_thought_from kd_thought_split(kd_str text, bool opened, kd_str *thought, kd_str *answer) {
    const char *end = text.data + text.len;
    bool open = kd_str_starts(text, "<think>");
    size_t skip = open ? strlen("<think>") : 0;
    kd_str rest = {text.data + skip, text.len - skip};
    const char *close = tag_at(rest, "</think>");
    *thought = (kd_str){NULL, 0};
    *answer = text.data ? text : KD_STR("");
    if (!text.data || (!close && !open && !opened)) return KD_THOUGHT_NONE;
    if (!close) {
        *thought = rest;
        *answer = KD_STR("");
        return open ? KD_THOUGHT_UNCLOSED : KD_THOUGHT_OPENED;
    }
    *thought = (kd_str){rest.data, (size_t)(close - rest.data)};
    close += strlen("</think>");
    *answer = (kd_str){close, (size_t)(end - close)};
    return open ? KD_THOUGHT_TAGS : KD_THOUGHT_CLOSE;
}

kd_code kd_completion(kd_buf *out, kd_thought_from f, kd_str thought, kd_str answer) {
    size_t before = out->len;
    bool apart = f >= KD_THOUGHT_REASONING_CONTENT;
    kd_code rc = KD_OK;
    if (f == KD_THOUGHT_TAGS || f == KD_THOUGHT_UNCLOSED || apart) rc = kd_buf_puts(out, apart ? "<think>\n" : "<think>");
    if (!rc && f != KD_THOUGHT_NONE) rc = kd_buf_append(out, thought.data, thought.len);
    if (!rc && (f == KD_THOUGHT_TAGS || f == KD_THOUGHT_CLOSE || apart)) rc = kd_buf_puts(out, apart ? "\n</think>\n\n" : "</think>");
    if (!rc) rc = kd_buf_append(out, answer.data, answer.len);
    if (rc) out->len = before;
    return rc;
}

kd_code kd_str_keep(kd_arena *a, kd_str v, kd_str *out, kd_err *e) {
    *out = (kd_str){NULL, 0};
    if (!v.data) return KD_OK;
    char *p = kd_arena_strndup(a, v.data, v.len);
    if (!p) return kd_fail(e, KD_ENOMEM, "no memory for a text of %zu bytes", v.len);
    *out = (kd_str){p, v.len};
    return KD_OK;
}

/* ---- prompts in order ---- */
struct kd_prompts {
    kd_db *db;
    kd_stmt *q;
};

kd_code kd_prompts_open(kd_prompts **out, kd_study *s, const char *split, uint64_t limit, uint64_t *count, kd_err *e) {
    *out = NULL;
    kd_prompts *p = kd_calloc(1, sizeof *p);
    kd_stmt *q = NULL;
    bool row;
    kd_code rc = KD_OK;
    if (!p) return kd_fail(e, KD_ENOMEM, "%s: no memory to read prompts", kd_study_path(s));
    if ((rc = kd_db_open(&p->db, kd_study_path(s), KD_DB_READ, e))) goto done;
    int64_t most = limit && limit < INT64_MAX ? (int64_t)limit : -1;
    if (count) {
        if ((rc = kd_stmt_new(
                 &q, p->db,
                 "SELECT count(*) FROM (SELECT 1 FROM prompts INDEXED BY prompts_walk WHERE split=?1 OR (?1 IS NULL AND " KD_NOT_JUDGE(
                     "split") ") LIMIT ?2)",
                 e)))
            goto done;
        kd_bind_text(q, 1, kd_str_of(split));
        kd_bind_int(q, 2, most);
        if ((rc = kd_stmt_step(q, &row, e))) goto done;
        *count = row ? (uint64_t)kd_col_int(q, 0) : 0;
    }
    rc = kd_stmt_new(&p->q, p->db,
                     "SELECT id, messages, tools, gold, reference, task, split, source, meta, line FROM prompts "
                     "WHERE split=?1 OR (?1 IS NULL AND " KD_NOT_JUDGE("split") ") ORDER BY id LIMIT ?2",
                     e);
    if (rc) goto done;
    kd_bind_text(p->q, 1, kd_str_of(split)); /* borrowed until the close; callers pass what lives as long */
    kd_bind_int(p->q, 2, most);
done:
    kd_stmt_free(q);
    if (rc) {
        kd_prompts_close(p);
        return rc;
    }
    *out = p;
    return KD_OK;
}

kd_code kd_prompts_next(kd_prompts *p, kd_prompt *r, bool *more, kd_err *e) {
    *r = (kd_prompt){0};
    kd_code rc = kd_stmt_step(p->q, more, e);
    if (rc || !*more) return rc;
    *r = (kd_prompt){.id = kd_col_int(p->q, 0), .line = kd_col_int(p->q, 9)};
    kd_str *const to[] = {&r->messages, &r->tools, &r->gold, &r->reference, &r->task, &r->split, &r->source, &r->meta};
    for (int i = 0; i < 8; i++) *to[i] = kd_col_text(p->q, i + 1);
    return KD_OK;
}

void kd_prompts_close(kd_prompts *p) {
    if (!p) return;
    kd_stmt_free(p->q);
    kd_db_close(p->db);
    kd_free(p);
}
