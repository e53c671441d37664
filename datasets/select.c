/* datasets/select.c - choosing samples by one SQL expression over prompts, samples and labels. Leans on study_int.h, base.
 * The expression runs on a connection of its own that can only read, and only what db.c's sandbox allows. */
#include "datasets/diverse.h"
#include "datasets/study_int.h"

#include "distill/base/json.h"

#include <math.h>
#include <string.h>

struct kd_select {
    kd_db *db;
    kd_buf where;  /* the whole condition in force */
    kd_buf from;   /* "FROM (...)" with a column for every label */
    kd_buf body;   /* "WITH ... " down to the table of rows taken, kd_rows */
    kd_buf told;   /* where, and what is taken of it, for people */
    kd_buf labels; /* JSON of the present row */
    kd_buf picked; /* JSON array of the samples that --prefer diverse takes, bound to ?1 */
    kd_stmt *ids, *row, *lab;
    bool refuse_test, weighs;
    const char *weight; /* while it is opened */
};

static const char default_split[] = "split = 'train'";
static const char default_select[] = "finished = 1 AND (gold IS NULL OR math = 'right' OR EXISTS(SELECT 1 FROM labels WHERE"
                                     " sample = sample_id AND name = 'code' AND value = 'right'))";

/* The columns an expression may use, besides the names of labels. */
#define PROMPT_LABEL(name) " (SELECT value FROM prompt_labels WHERE prompt=s.prompt AND name='" name "') AS " name
static const char columns[] =
    "s.prompt AS prompt, p.split AS split, p.task AS task, p.source AS source, p.line AS line, p.gold AS gold, p.messages AS messages,"
    " p.meta AS prompt_meta, s.id AS sample_id, s.number AS number, s.settings AS settings, t.teacher AS teacher, t.model AS model,"
    " s.finish AS finish, s.thought AS thought, s.answer AS answer, s.thought_from AS thought_from, s.prompt_tokens AS prompt_tokens,"
    " s.completion_tokens AS completion_tokens, s.reasoning_tokens AS reasoning_tokens, s.cost AS cost, s.seconds AS seconds,"
    " s.attempts AS attempts, s.created AS created, s.meta AS meta,"
    " (SELECT avg(l.value = 'right') FROM samples o CROSS JOIN labels l ON l.sample=o.id AND l.name IN ('math','code')"
    " AND l.value IS NOT NULL WHERE o.prompt=s.prompt) AS pass_rate," PROMPT_LABEL("duplicate_of") "," PROMPT_LABEL(
        "contaminated") "," PROMPT_LABEL("agreement") "," PROMPT_LABEL("majority") "," PROMPT_LABEL("gold_doubt");
static const char column_names[] =
    "prompt split task source line gold messages prompt_meta sample_id number settings teacher model finish thought answer "
    "thought_from prompt_tokens completion_tokens reasoning_tokens cost seconds attempts created meta pass_rate duplicate_of contaminated "
    "agreement majority gold_doubt";

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
            " FROM samples s INDEXED BY samples_key CROSS JOIN prompts p ON p.id=s.prompt CROSS JOIN settings t ON t.id=s.settings"
            " WHERE " KD_NOT_JUDGE("p.split") ")");
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

/* A column or label that rows can be balanced by. */
static kd_code check_balance(const kd_select_opts *o, const kd_buf *labels, kd_err *e) {
    const kd_str name = kd_str_of(o->balance);
    if (!o->balance || is_column(name)) return KD_OK;
    for (const char *p = labels->data ? labels->data : ""; *p;) {
        const size_t n = strcspn(p, " ");
        if (n == name.len && memcmp(p, name.data, n) == 0) return KD_OK;
        p += n + (p[n] == ' ');
    }
    return kd_fail(e, KD_EINVAL, "balance: no column or label %s; labels: %s; columns: %s", o->balance,
                   labels->data ? labels->data : "none yet", column_names);
}

/* The rows taken, as tables one after another: the condition, so many a question, so many of each value. */
static kd_code build_body(kd_select *q, const kd_select_opts *o, kd_err *e) {
    static const char *const order[] = {"settings, number", "size, settings, number", "size DESC, settings, number", "lot",
                                        "settings, number"};
    kd_buf *b = &q->body;
    kd_code rc = kd_buf_printf(b,
                               "WITH kd_all AS (SELECT sample_id, prompt, settings, number, coalesce(completion_tokens, (length(answer) + "
                               "coalesce(length(thought), 0)) / 4) AS size,"
                               " (sample_id * 2654435761 + %llu) %% 4294967291 AS lot, ",
                               (unsigned long long)(o->seed % 1000003 * 40503));
    if (!rc) rc = o->balance ? put_quoted(b, kd_str_of(o->balance), '"') : kd_buf_puts(b, "0");
    if (!rc && o->weight)
        rc = kd_buf_printf(b, " AS kind, (%s) AS kd_weight %s WHERE %s", o->weight, q->from.data, q->where.data);
    else if (!rc)
        rc = kd_buf_printf(b, " AS kind %s WHERE %s", q->from.data, q->where.data);
    if (!rc && o->easiest > 0) rc = kd_buf_printf(b, " AND pass_rate BETWEEN %.9g AND %.9g", o->hardest, o->easiest);
    if (!rc) rc = kd_buf_puts(b, ")");
    if (!rc && o->max_tokens > 0)
        rc = kd_buf_printf(b, ", kd_short AS (SELECT * FROM kd_all WHERE size <= %lld)", (long long)o->max_tokens);
    const char *last = o->max_tokens > 0 ? "kd_short" : "kd_all";
    if (!rc && o->per_question > 0 && o->prefer == KD_PREFER_DIVERSE) {
        rc = kd_buf_printf(b, ", kd_some AS (SELECT * FROM %s WHERE sample_id IN (SELECT value FROM json_each(?1)))", last);
        last = "kd_some";
    } else if (!rc && o->per_question > 0) {
        rc = kd_buf_printf(b,
                           ", kd_some AS (SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY prompt ORDER BY %s) AS place FROM %s) "
                           "WHERE place <= %d)",
                           order[o->prefer], last, o->per_question);
        last = "kd_some";
    }
    if (!rc && o->balance) {
        rc = kd_buf_printf(b,
                           ", kd_even AS (SELECT * FROM (SELECT *, row_number() OVER (PARTITION BY kind ORDER BY lot) AS seat FROM %s)"
                           " WHERE seat <= (SELECT min(n) FROM (SELECT count(*) AS n FROM %s GROUP BY kind)))",
                           last, last);
        last = "kd_even";
    }
    if (!rc) rc = kd_buf_printf(b, ", kd_rows AS (SELECT * FROM %s) ", last);
    return rc ? kd_fail(e, rc, "select: no memory") : KD_OK;
}

static kd_code tell(kd_select *q, const kd_select_opts *o, kd_err *e) {
    static const char *const prefer[] = {"first", "shortest", "longest", "random", "diverse"};
    kd_code rc = kd_buf_puts(&q->told, q->where.data);
    if (!rc && o->easiest > 0) rc = kd_buf_printf(&q->told, " AND pass_rate BETWEEN %.9g AND %.9g", o->hardest, o->easiest);
    if (!rc && o->max_tokens > 0) rc = kd_buf_printf(&q->told, "; at most %lld tokens", (long long)o->max_tokens);
    if (!rc && o->per_question > 0) rc = kd_buf_printf(&q->told, "; at most %d a question, %s first", o->per_question, prefer[o->prefer]);
    if (!rc && o->balance) rc = kd_buf_printf(&q->told, "; as many of each %s", o->balance);
    if (!rc && (o->balance || o->prefer == KD_PREFER_RANDOM)) rc = kd_buf_printf(&q->told, "; seed %llu", (unsigned long long)o->seed);
    return rc ? kd_fail(e, rc, "select: no memory") : KD_OK;
}

static bool plain(const kd_select_opts *o) { return !(o->easiest > 0) && o->max_tokens <= 0 && o->per_question <= 0 && !o->balance; }

/* The statement "SELECT what FROM the rows taken tail". Without options it is a walk along an index, with nothing sorted or kept. */
static kd_code ask(kd_select *q, const char *what, const char *tail, kd_stmt **out, kd_err *e) {
    kd_buf sql = {0};
    kd_code rc = q->body.len ? kd_buf_printf(&sql, "%sSELECT %s FROM kd_rows %s", q->body.data, what, tail)
                             : kd_buf_printf(&sql, "SELECT %s %s WHERE %s %s", what, q->from.data, q->where.data, tail);
    rc = rc ? kd_fail(e, rc, "select: no memory") : kd_stmt_new(out, q->db, sql.data, e);
    if (!rc && q->picked.len) kd_bind_text(*out, 1, kd_buf_view(&q->picked));
    kd_buf_clear(&sql);
    return rc;
}

/* The samples that differ most, of those that the condition and --max-tokens leave: picked here, for SQL cannot. */
static kd_code pick_diverse(kd_select *q, const kd_select_opts *o, kd_err *e) {
    kd_stmt *rows = NULL;
    kd_select_opts before = *o;
    if (o->prefer != KD_PREFER_DIVERSE || o->per_question <= 0) return KD_OK;
    before.per_question = 0;
    before.balance = NULL;
    kd_buf kept = q->body;
    q->body = (kd_buf){0};
    kd_code rc = build_body(q, &before, e);
    if (!rc) rc = ask(q, "sample_id, prompt", "ORDER BY prompt, settings, number", &rows, e);
    kd_buf_clear(&q->body);
    q->body = kept;
    if (!rc) rc = kd_diverse_pick(&q->picked, q->db, rows, o->per_question, e);
    kd_stmt_free(rows);
    return rc;
}

/* SQLite's complaint about a user's expression, put into our words. */
static kd_code explain(const kd_select *q, const kd_select_opts *o, const char *labels, kd_code rc, kd_err *e) {
    static const char none[] = "no such column: ";
    if (rc == KD_ENOMEM || rc == KD_EIO || rc == KD_ELIMIT || !e) return rc;
    char *at = strstr(e->msg, none), name[64];
    const char *said = o->select ? o->select : o->weight;
    if (!at && said && strstr(e->msg, "not auth"))
        return kd_fail(e, KD_EINVAL, "select: %s: it uses what a selection may not use: only columns, labels and pure functions", said);
    if (!at && said) {
        char *what = e->msg + strlen(kd_db_path(q->db)), *sql = strstr(e->msg, " (SELECT");
        if (sql) *sql = 0;
        return kd_fail(e, KD_EINVAL, "select: %s%s", said, strlen(e->msg) > strlen(kd_db_path(q->db)) ? what : "");
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
    kd_buf what = {0};
    kd_code rc = kd_buf_puts(&what, "sample_id");
    if (!rc && q->weight) rc = q->body.len ? kd_buf_puts(&what, ", kd_weight") : kd_buf_printf(&what, ", (%s)", q->weight);
    rc = rc ? kd_fail(e, rc, "select: no memory") : ask(q, what.data, "ORDER BY prompt, settings, number", &q->ids, e);
    kd_buf_clear(&what);
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
    q->weight = o->weight;
    q->weighs = o->weight != NULL;
    kd_code rc = kd_db_open(&q->db, kd_study_path(s), KD_DB_READ, err);
    if (!rc) rc = build_from(q, &labels, err);
    if (!rc && o->weight) rc = check_expression(o->weight, err);
    if (!rc) rc = build_where(q, o, err);
    if (!rc) rc = check_balance(o, &labels, err);
    if (!rc && !plain(o)) rc = build_body(q, o, err);
    if (!rc) rc = tell(q, o, err);
    int64_t none;
    if (!rc &&
        o->prefer ==
            KD_PREFER_DIVERSE) /* SQLite makes this table of functions once a connection: here, before the sandbox forbids making any */
        rc = kd_db_int(q->db, "SELECT count(*) FROM json_each('[]')", &none, err);
    if (!rc) {
        kd_db_sandbox(q->db);
        if ((rc = pick_diverse(q, o, err)) || (rc = prepare(q, err))) rc = explain(q, o, labels.data ? labels.data : "", rc, err);
    }
    q->weight = NULL;
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
    r->weight = !q->weighs ? 1 : kd_col_is_number(q->ids, 1) || kd_col_is_int(q->ids, 1) ? kd_col_double(q->ids, 1) : NAN;
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

kd_code kd_select_ask(kd_select *q, const char *what, const char *tail, bool taken, kd_stmt **out, kd_err *e) {
    if (taken) return ask(q, what, tail, out, e);
    kd_buf sql = {0};
    kd_code rc = kd_buf_printf(&sql, "SELECT %s %s %s", what, q->from.data, tail);
    rc = rc ? kd_fail(e, rc, "select: no memory") : kd_stmt_new(out, q->db, sql.data, e);
    kd_buf_clear(&sql);
    return rc;
}

const char *kd_select_where(const kd_select *q) { return q->where.data; }

bool kd_select_takes(const kd_select *q) { return q->body.len > 0; }

const char *kd_select_text(const kd_select *q) { return q->told.data; }

void kd_select_close(kd_select *q) {
    if (!q) return;
    kd_stmt_free(q->ids);
    kd_stmt_free(q->row);
    kd_stmt_free(q->lab);
    kd_db_close(q->db);
    kd_buf_clear(&q->where);
    kd_buf_clear(&q->from);
    kd_buf_clear(&q->body);
    kd_buf_clear(&q->told);
    kd_buf_clear(&q->labels);
    kd_buf_clear(&q->picked);
    kd_free(q);
}
