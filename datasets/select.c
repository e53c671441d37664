/* datasets/select.c - choosing samples by one SQL expression over prompts, samples and labels. Leans on study_int.h, base.
 * The expression runs on a connection of its own that can only read, and only what db.c's sandbox allows. */
#include "datasets/study_int.h"

#include "distill/base/json.h"

#include <string.h>

struct kd_select {
    kd_db *db;
    kd_buf where;  /* the whole condition in force */
    kd_buf from;   /* "FROM (...)" with a column for every label */
    kd_buf labels; /* JSON of the present row */
    kd_stmt *ids, *row, *lab;
    bool refuse_test;
};

static const char default_split[] = "split = 'train'";
static const char default_select[] = "finished = 1 AND (gold IS NULL OR math = 'right')";

/* The columns an expression may use, besides the names of labels. */
static const char columns[] =
    "s.prompt AS prompt, p.split AS split, p.task AS task, p.source AS source, p.line AS line, p.gold AS gold, p.messages AS messages,"
    " p.meta AS prompt_meta, s.id AS sample_id, s.number AS number, s.settings AS settings, t.teacher AS teacher, t.model AS model,"
    " s.finish AS finish, s.thought AS thought, s.answer AS answer, s.thought_from AS thought_from, s.prompt_tokens AS prompt_tokens,"
    " s.completion_tokens AS completion_tokens, s.reasoning_tokens AS reasoning_tokens, s.cost AS cost, s.seconds AS seconds,"
    " s.attempts AS attempts, s.created AS created, s.meta AS meta";
static const char column_names[] =
    "prompt split task source line gold messages prompt_meta sample_id number settings teacher model finish thought answer "
    "thought_from prompt_tokens completion_tokens reasoning_tokens cost seconds attempts created meta";

/* One expression and nothing behind it: quotes closed, parentheses balanced and never below the start, no ';', no comment. SQLite's own parser then
 * finds whatever else is wrong inside the parentheses that we put around it. */
static kd_code check_expression(const char *s, kd_err *e) {
    int depth = 0;
    size_t i = 0;
    for (; s[i]; i++) {
        char c = s[i], end = c == '[' ? ']' : c;
        if (c == '\'' || c == '"' || c == '`' || c == '[') {
            size_t from = i;
            do i++;
            while (s[i] && s[i] != end);
            if (!s[i]) return kd_fail(e, KD_EINVAL, "select: the %c at character %zu is never closed: %s", c, from + 1, s);
        } else if (c == '(') {
            depth++;
        } else if (c == ')' && --depth < 0) {
            return kd_fail(e, KD_EINVAL, "select: a ) too many at character %zu: %s", i + 1, s);
        } else if (c == ';' || (c == '-' && s[i + 1] == '-') || (c == '/' && s[i + 1] == '*')) {
            return kd_fail(e, KD_EINVAL, "select: expected one expression, found %.*s at character %zu: %s", c == ';' ? 1 : 2, s + i, i + 1,
                           s);
        }
    }
    if (depth) return kd_fail(e, KD_EINVAL, "select: %d ) too few: %s", depth, s);
    if (strspn(s, " \t\r\n") == i) return kd_fail(e, KD_EINVAL, "select: expected an expression, found an empty one");
    return KD_OK;
}

static kd_code put_quoted(kd_buf *b, kd_str s, char quote) {
    kd_code rc = kd_buf_putc(b, quote);
    for (size_t i = 0; i < s.len && !rc; i++) {
        if (s.data[i] == quote) rc = kd_buf_putc(b, quote);
        if (!rc) rc = kd_buf_putc(b, s.data[i]);
    }
    return rc ? rc : kd_buf_putc(b, quote);
}

static bool is_column(kd_str name) {
    const char *p = column_names;
    while (*p) {
        size_t n = strcspn(p, " ");
        if (n == name.len && memcmp(p, name.data, n) == 0) return true;
        p += n + (p[n] == ' ');
    }
    return false;
}

/* FROM with a column for each label; names collects them for messages. A label named like a column, or with a NUL, cannot be asked for. */
static kd_code build_from(kd_select *q, kd_buf *names, kd_err *e) {
    kd_stmt *l = NULL;
    bool row;
    kd_code rc = kd_stmt_new(&l, q->db, "SELECT name FROM label_names", e);
    if (rc) return rc;
    kd_code b = kd_buf_printf(&q->from, "FROM (SELECT %s", columns);
    while (!rc && !b && !(rc = kd_stmt_step(l, &row, e)) && row) {
        kd_str name = kd_col_text(l, 0);
        if (is_column(name) || memchr(name.data, 0, name.len)) continue;
        b = kd_buf_puts(&q->from, ", (SELECT value FROM labels WHERE sample=s.id AND name=");
        if (!b) b = put_quoted(&q->from, name, '\'');
        if (!b) b = kd_buf_puts(&q->from, ") AS ");
        if (!b) b = put_quoted(&q->from, name, '"');
        if (!b) b = kd_buf_printf(names, "%s%.*s", names->len ? " " : "", (int)name.len, name.data);
    }
    if (!b)
        b = kd_buf_puts(
            &q->from,
            " FROM samples s INDEXED BY samples_key CROSS JOIN prompts p ON p.id=s.prompt CROSS JOIN settings t ON t.id=s.settings)");
    kd_stmt_free(l);
    return rc ? rc : b ? kd_fail(e, b, "select: no memory") : KD_OK;
}

static kd_code add_and(kd_select *q, const char *text) {
    kd_code rc = q->where.len ? kd_buf_puts(&q->where, " AND ") : KD_OK;
    return rc ? rc : kd_buf_puts(&q->where, text);
}

static kd_code build_where(kd_select *q, const kd_select_opts *o, kd_err *e) {
    kd_code rc = KD_OK;
    kd_buf part = {0};
    if (o->select) {
        if ((rc = check_expression(o->select, e))) return rc;
        rc = kd_buf_printf(&part, "(%s)", o->select);
    } else if (!o->any) {
        if (!o->split) rc = add_and(q, default_split);
        if (!rc) rc = kd_buf_puts(&part, default_select);
    }
    if (!rc && part.len) rc = add_and(q, part.data);
    part.len = 0;
    if (!rc && o->split) {
        rc = kd_buf_puts(&part, "split = ");
        if (!rc) rc = put_quoted(&part, kd_str_of(o->split), '\'');
        if (!rc) rc = add_and(q, part.data);
    }
    part.len = 0;
    if (!rc && o->settings && !(rc = kd_buf_printf(&part, "settings = %lld", (long long)o->settings))) rc = add_and(q, part.data);
    if (!rc && q->where.len == 0) rc = kd_buf_puts(&q->where, "1");
    kd_buf_clear(&part);
    return rc ? kd_fail(e, rc, "select: no memory") : KD_OK;
}

/* The statement "what FROM ... WHERE ... tail". */
static kd_code ask(kd_select *q, const char *what, const char *tail, kd_stmt **out, kd_err *e) {
    kd_buf sql = {0};
    kd_code rc = kd_buf_printf(&sql, "SELECT %s %s WHERE %s %s", what, q->from.data, q->where.data, tail);
    rc = rc ? kd_fail(e, rc, "select: no memory") : kd_stmt_new(out, q->db, sql.data, e);
    kd_buf_clear(&sql);
    return rc;
}

/* SQLite's complaint about a user's expression, put into our words. */
static kd_code explain(const kd_select *q, const kd_select_opts *o, const char *labels, kd_code rc, kd_err *e) {
    static const char none[] = "no such column: ";
    if (rc == KD_ENOMEM || rc == KD_EIO || rc == KD_ELIMIT || !e) return rc;
    char *at = strstr(e->msg, none), name[64];
    if (!at && o->select && strstr(e->msg, "not auth"))
        return kd_fail(e, KD_EINVAL, "select: %s: it uses what a selection may not use: only columns, labels and pure functions",
                       o->select);
    if (!at && o->select) {
        char *what = e->msg + strlen(kd_db_path(q->db)), *sql = strstr(e->msg, " (SELECT");
        if (sql) *sql = 0;
        return kd_fail(e, KD_EINVAL, "select: %s%s", o->select, strlen(e->msg) > strlen(kd_db_path(q->db)) ? what : "");
    }
    if (!at) return rc;
    at += sizeof none - 1;
    size_t n = strcspn(at, " ");
    n = n < sizeof name - 1 ? n : sizeof name - 1;
    memcpy(name, at, n);
    name[n] = 0;
    if (kd_check_known(name))
        return kd_fail(e, KD_ECHECK, "%s: no sample has the label %s yet: run `distill label` first", kd_db_path(q->db), name);
    return kd_fail(e, KD_EINVAL, "select: no column or label %s; labels: %s; columns: %s", name, *labels ? labels : "none yet",
                   column_names);
}

static kd_code prepare(kd_select *q, kd_err *e) {
    kd_code rc = ask(q, "sample_id", "ORDER BY prompt, settings, number", &q->ids, e);
    if (!rc)
        rc = kd_stmt_new(
            &q->row, q->db,
            "SELECT s.prompt, s.settings, s.number, p.messages, p.tools, p.gold, p.task, p.split, p.source, s.thought, s.answer,"
            " s.thought_from, s.finish, t.teacher, t.model, s.prompt_tokens, s.completion_tokens, s.reasoning_tokens"
            " FROM samples s JOIN prompts p ON p.id=s.prompt JOIN settings t ON t.id=s.settings WHERE s.id=?1",
            e);
    if (!rc) rc = kd_stmt_new(&q->lab, q->db, "SELECT name, value FROM labels WHERE sample=?1 ORDER BY name", e);
    return rc;
}

kd_code kd_select_open(kd_select **out, kd_study *s, const kd_select_opts *o, kd_err *e) {
    static const kd_select_opts nothing;
    *out = NULL;
    kd_buf labels = {0};
    kd_err mine;
    kd_err_clear(&mine);
    kd_err *err = e ? e : &mine;
    if (!o) o = &nothing;
    kd_select *q = kd_calloc(1, sizeof *q);
    if (!q) return kd_fail(e, KD_ENOMEM, "select: no memory");
    q->refuse_test = o->refuse_test;
    kd_code rc = kd_db_open(&q->db, kd_study_path(s), KD_DB_READ, err);
    if (!rc) rc = build_from(q, &labels, err);
    if (!rc) rc = build_where(q, o, err);
    if (!rc) {
        kd_db_sandbox(q->db);
        if ((rc = prepare(q, err))) rc = explain(q, o, labels.data ? labels.data : "", rc, err);
    }
    kd_buf_clear(&labels);
    if (rc) {
        kd_select_close(q);
        return rc;
    }
    *out = q;
    return KD_OK;
}

kd_code kd_select_count(kd_select *q, uint64_t *rows, uint64_t *prompts, kd_err *e) {
    kd_stmt *c = NULL;
    bool row;
    kd_code rc = ask(q, "count(*), count(DISTINCT prompt)", "", &c, e);
    if (!rc) rc = kd_stmt_step(c, &row, e);
    if (!rc && rows) *rows = (uint64_t)kd_col_int(c, 0);
    if (!rc && prompts) *prompts = (uint64_t)kd_col_int(c, 1);
    kd_stmt_free(c);
    return rc;
}

/* {"math":"right","repeats":0.03} of sample id into q->labels. */
static kd_code read_labels(kd_select *q, int64_t id, kd_err *e) {
    bool row;
    q->labels.len = 0;
    kd_jsonw w = {.out = &q->labels};
    kd_jsonw_object(&w);
    kd_bind_int(q->lab, 1, id);
    kd_code rc;
    while (!(rc = kd_stmt_step(q->lab, &row, e)) && row) {
        kd_jsonw_key_str(&w, kd_col_text(q->lab, 0));
        if (kd_col_null(q->lab, 1))
            kd_jsonw_null(&w);
        else if (kd_col_is_int(q->lab, 1))
            kd_jsonw_int(&w, kd_col_int(q->lab, 1));
        else if (kd_col_is_number(q->lab, 1))
            kd_jsonw_double(&w, kd_col_double(q->lab, 1));
        else
            kd_jsonw_str(&w, kd_col_text(q->lab, 1));
    }
    kd_jsonw_end_object(&w);
    return rc ? rc : w.code ? kd_fail(e, w.code, "select: no memory") : KD_OK;
}

static int64_t count_or_unknown(kd_stmt *q, int i) { return kd_col_null(q, i) ? -1 : kd_col_int(q, i); }

kd_code kd_select_next(kd_select *q, kd_row *r, bool *more, kd_err *e) {
    bool found;
    *r = (kd_row){0};
    kd_stmt_reset(q->row);
    kd_code rc = kd_stmt_step(q->ids, more, e);
    if (rc || !*more) return rc;
    r->sample_id = kd_col_int(q->ids, 0);
    kd_bind_int(q->row, 1, r->sample_id);
    if ((rc = kd_stmt_step(q->row, &found, e))) return rc;
    if (!found)
        return kd_fail(e, KD_EFORMAT, "%s: the study is damaged: sample %lld is in an index alone", kd_db_path(q->db),
                       (long long)r->sample_id);
    kd_str *const to[] = {&r->messages, &r->tools,  &r->gold, &r->task,   &r->split,   &r->source,
                          &r->thought,  &r->answer, NULL,     &r->finish, &r->teacher, &r->model};
    r->prompt = kd_col_int(q->row, 0);
    r->settings = kd_col_int(q->row, 1);
    r->sample = (int)kd_col_int(q->row, 2);
    for (int i = 0; i < 12; i++)
        if (to[i]) *to[i] = kd_col_text(q->row, i + 3);
    r->thought_from = kd_thought_named(kd_col_text(q->row, 11));
    r->prompt_tokens = count_or_unknown(q->row, 15);
    r->completion_tokens = count_or_unknown(q->row, 16);
    r->reasoning_tokens = count_or_unknown(q->row, 17);
    if (q->refuse_test && kd_str_is(r->split, "test"))
        return kd_fail(e, KD_ECHECK, "%s: the selection holds rows of the split test (prompt %lld): refused; add split <> 'test'",
                       kd_db_path(q->db), (long long)r->prompt);
    if ((rc = read_labels(q, r->sample_id, e))) return rc;
    r->labels = kd_buf_view(&q->labels);
    return KD_OK;
}

const char *kd_select_text(const kd_select *q) { return q->where.data; }

void kd_select_close(kd_select *q) {
    if (!q) return;
    kd_stmt_free(q->ids);
    kd_stmt_free(q->row);
    kd_stmt_free(q->lab);
    kd_db_close(q->db);
    kd_buf_clear(&q->where);
    kd_buf_clear(&q->from);
    kd_buf_clear(&q->labels);
    kd_free(q);
}
