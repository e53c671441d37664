/* datasets/selection.c - selections kept under a name: what a run learned from, word for word. Leans on study_int.h, base. */
#include "datasets/study_int.h"

#include "distill/base/clock.h"
#include "distill/base/hash.h"

#include <string.h>

static void member_text(kd_jsonw *w, const char *key, const char *v) {
    if (!v) return;
    kd_jsonw_key(w, key);
    kd_jsonw_cstr(w, v);
}

static void member_number(kd_jsonw *w, const char *key, double v) {
    if (v == 0) return;
    kd_jsonw_key(w, key);
    kd_jsonw_double(w, v);
}

/* The options as canonical JSON; what is not set is not said. */
static kd_code write_opts(kd_buf *out, const kd_select_opts *o, kd_err *e) {
    kd_buf raw = {0};
    kd_jsonw w = {.out = &raw};
    kd_jsonw_object(&w);
    member_text(&w, "select", o->select);
    member_text(&w, "split", o->split);
    member_text(&w, "balance", o->balance);
    member_number(&w, "settings", (double)o->settings);
    member_number(&w, "any", o->any);
    member_number(&w, "easiest", o->easiest);
    member_number(&w, "hardest", o->hardest);
    member_number(&w, "max_tokens", (double)o->max_tokens);
    member_number(&w, "per_question", o->per_question);
    member_number(&w, "prefer", (double)o->prefer);
    member_number(&w, "seed", (double)(o->seed % 9007199254740992ULL));
    kd_jsonw_end_object(&w);
    const kd_code rc = w.code ? kd_fail(e, w.code, "selection: no memory") : kd_json_canonical(out, raw.data, raw.len, e);
    kd_buf_clear(&raw);
    return rc;
}

static kd_code find(kd_study *s, const char *name, kd_buf *json, char hash[65], bool *found, kd_err *e) {
    kd_stmt *q = NULL;
    kd_code rc = kd_stmt_new(&q, s->db, "SELECT json, hash FROM selections WHERE name=?1", e);
    *found = false;
    if (!rc) {
        kd_bind_text(q, 1, kd_str_of(name));
        rc = kd_stmt_step(q, found, e);
    }
    if (!rc && *found) {
        const kd_str text = kd_col_text(q, 0), h = kd_col_text(q, 1);
        if (kd_buf_append(json, text.data, text.len)) rc = kd_fail(e, KD_ENOMEM, "selection: no memory");
        memset(hash, 0, 65);
        memcpy(hash, h.data, h.len < 64 ? h.len : 64);
    }
    kd_stmt_free(q);
    return rc;
}

kd_code kd_selection_save(kd_study *s, const char *name, const kd_select_opts *o, char hash[65], kd_err *e) {
    kd_buf json = {0}, before = {0};
    kd_stmt *q = NULL;
    char old[65], hex[65];
    bool found;
    if (!name || !*name || strlen(name) > 100) return kd_fail(e, KD_EINVAL, "selection: expected a name of 1 to 100 characters");
    kd_code rc = write_opts(&json, o, e);
    if (!rc) rc = find(s, name, &before, old, &found, e);
    if (rc) goto done;
    kd_sha256_hex(json.data, json.len, hex);
    if (found && strcmp(hex, old) != 0) {
        rc = kd_fail(e, KD_EINVAL, "selection %s stands for %.200s; choose another name", name, before.data);
    } else if (!found && !(rc = kd_stmt_new(&q, s->db, "INSERT INTO selections(name, hash, json, created) VALUES(?1, ?2, ?3, ?4)", e))) {
        kd_bind_text(q, 1, kd_str_of(name));
        kd_bind_text(q, 2, (kd_str){hex, 64});
        kd_bind_text(q, 3, kd_buf_view(&json));
        kd_bind_int(q, 4, kd_unix_ms());
        rc = kd_stmt_run(q, e);
    }
    if (!rc && hash) memcpy(hash, hex, 65);
done:
    kd_stmt_free(q);
    kd_buf_clear(&json);
    kd_buf_clear(&before);
    return rc;
}

static kd_code unknown_name(kd_study *s, const char *name, kd_err *e) {
    kd_stmt *q = NULL;
    kd_buf names = {0};
    bool row;
    kd_code rc = kd_stmt_new(&q, s->db, "SELECT name FROM selections ORDER BY name LIMIT 20", e);
    while (!rc && !(rc = kd_stmt_step(q, &row, e)) && row) {
        const kd_str n = kd_col_text(q, 0);
        (void)kd_buf_printf(&names, "%s%.*s", names.len ? ", " : "", (int)n.len, n.data);
    }
    if (!rc) rc = kd_fail(e, KD_ENOENT, "no selection named %s; there are: %s", name, names.len ? names.data : "none");
    kd_stmt_free(q);
    kd_buf_clear(&names);
    return rc;
}

static kd_code text_of(const kd_json_node *root, const char *key, kd_arena *a, const char **out, kd_err *e) {
    kd_str v;
    const kd_code rc = kd_str_keep(a, kd_json_string(kd_json_get(root, key)), &v, e);
    *out = v.data;
    return rc;
}

/* A whole number within bounds, 0 if there is none. */
static int64_t count_of(const kd_json_node *root, const char *key, int64_t most) {
    int64_t v;
    return kd_json_int(kd_json_get(root, key), &v) && v > 0 && v <= most ? v : 0;
}

kd_code kd_selection_load(kd_study *s, const char *name, kd_arena *arena, kd_select_opts *out, char hash[65], kd_err *e) {
    kd_buf json = {0};
    kd_json *doc = NULL;
    char hex[65];
    bool found;
    *out = (kd_select_opts){0};
    kd_code rc = find(s, name, &json, hex, &found, e);
    if (!rc && !found) rc = unknown_name(s, name, e);
    if (!rc) rc = kd_json_parse(&doc, json.data, json.len, "selections.json", e);
    if (rc) goto done;
    const kd_json_node *r = kd_json_root(doc);
    if ((rc = text_of(r, "select", arena, &out->select, e)) || (rc = text_of(r, "split", arena, &out->split, e)) ||
        (rc = text_of(r, "balance", arena, &out->balance, e)))
        goto done;
    out->prefer = (unsigned)count_of(r, "prefer", KD_PREFER_DIVERSE);
    out->settings = count_of(r, "settings", INT64_MAX);
    out->any = kd_json_number(kd_json_get(r, "any"), 0) != 0;
    out->easiest = kd_json_number(kd_json_get(r, "easiest"), 0);
    out->hardest = kd_json_number(kd_json_get(r, "hardest"), 0);
    out->max_tokens = count_of(r, "max_tokens", INT64_MAX);
    out->per_question = (int)count_of(r, "per_question", INT32_MAX);
    out->seed = (uint64_t)count_of(r, "seed", INT64_MAX);
    if (!rc && hash) memcpy(hash, hex, 65);
done:
    kd_json_free(doc);
    kd_buf_clear(&json);
    return rc;
}
