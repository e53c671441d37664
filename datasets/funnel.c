/* datasets/funnel.c - a selection taken apart: what each of its conditions turns away, alone and one behind the other, by source. Leans on study_int.h. */
#include "datasets/study_int.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

enum { TERMS = 24 };

typedef struct {
    kd_str term[TERMS];
    size_t n;
} terms;

static bool word_at(const char *s, size_t i, const char *word) {
    const size_t n = strlen(word);
    if (strncasecmp(s + i, word, n) != 0) return false;
    const char before = i ? s[i - 1] : ' ', after = s[i + n];
    return !isalnum((unsigned char)before) && before != '_' && !isalnum((unsigned char)after) && after != '_';
}

static kd_str trim(const char *s, size_t n) {
    while (n && isspace((unsigned char)*s)) s++, n--;
    while (n && isspace((unsigned char)s[n - 1])) n--;
    return (kd_str){s, n};
}

/* Parentheses around the whole of it come off. */
static kd_str bare(kd_str t) {
    while (t.len >= 2 && t.data[0] == '(') {
        int depth = 0;
        size_t i = 0;
        char quote = 0;
        for (; i < t.len; i++) {
            const char c = t.data[i];
            if (quote) {
                if (c == quote) quote = 0;
            } else if (c == '\'' || c == '"' || c == '`') {
                quote = c;
            } else if (c == '(') {
                depth++;
            } else if (c == ')' && --depth == 0) {
                break;
            }
        }
        if (i + 1 != t.len) return t;
        t = trim(t.data + 1, t.len - 2);
    }
    return t;
}

/* Cuts s at every AND that stands outside quotes, parentheses, CASE and BETWEEN ... AND. Behind the last place all the rest is one term. */
static void cut(terms *t, const char *s, size_t n) {
    int depth = 0;
    bool between = false;
    char quote = 0;
    size_t from = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = s[i];
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"' || c == '`') {
            quote = c;
        } else if (c == '(' || word_at(s, i, "case")) {
            depth++;
        } else if (c == ')' || word_at(s, i, "end")) {
            depth--;
        } else if (depth == 0 && word_at(s, i, "between")) {
            between = true;
        } else if (depth == 0 && word_at(s, i, "and")) {
            if (!between && t->n < TERMS - 1) {
                t->term[t->n++] = trim(s + from, i - from);
                from = i + 3;
            }
            between = false;
        }
    }
    t->term[t->n++] = trim(s + from, n - from);
}

/* An OR outside parentheses makes one condition of the whole: AND binds tighter. */
static bool has_or(const char *s, size_t n) {
    int depth = 0;
    char quote = 0;
    for (size_t i = 0; i < n; i++) {
        const char c = s[i];
        if (quote) {
            if (c == quote) quote = 0;
        } else if (c == '\'' || c == '"' || c == '`') {
            quote = c;
        } else if (c == '(' || word_at(s, i, "case")) {
            depth++;
        } else if (c == ')' || word_at(s, i, "end")) {
            depth--;
        } else if (depth == 0 && word_at(s, i, "or")) {
            return true;
        }
    }
    return false;
}

/* The condition in force, opened up where a whole user's expression stands in parentheses. */
static void read_terms(terms *out, const char *where) {
    terms outer = {.n = 0};
    cut(&outer, where, strlen(where));
    out->n = 0;
    for (size_t i = 0; i < outer.n; i++) {
        const kd_str t = bare(outer.term[i]);
        if (out->n + 1 < TERMS && !has_or(t.data, t.len)) {
            terms inner = {.n = 0};
            cut(&inner, t.data, t.len);
            for (size_t k = 0; k < inner.n && out->n < TERMS; k++) out->term[out->n++] = inner.term[k];
        } else if (out->n < TERMS) {
            out->term[out->n++] = t;
        }
    }
}

/* source, samples, then for each term how many it fails alone and how many are left behind it. */
static kd_code build(kd_buf *b, const terms *t) {
    kd_code rc = kd_buf_puts(b, "source, count(*)");
    for (size_t i = 0; i < t->n && !rc; i++) {
        rc = kd_buf_printf(b, ", sum((%.*s) IS NOT TRUE), sum(", (int)t->term[i].len, t->term[i].data);
        for (size_t k = 0; k <= i && !rc; k++)
            rc = kd_buf_printf(b, "%s(%.*s) IS TRUE", k ? " AND " : "", (int)t->term[k].len, t->term[k].data);
        if (!rc) rc = kd_buf_puts(b, ")");
    }
    return rc;
}

typedef struct {
    int64_t fails[TERMS + 2], left[TERMS + 2]; /* [0] all samples, then the terms, then what is taken */
} counts;

static void write_step(kd_jsonw *w, const kd_str *source, kd_str step, int64_t fails, int64_t left) {
    kd_jsonw_object(w);
    if (source) {
        kd_jsonw_key(w, "source");
        if (source->data)
            kd_jsonw_str(w, *source);
        else
            kd_jsonw_null(w);
    }
    kd_jsonw_key(w, "step");
    kd_jsonw_str(w, step);
    kd_jsonw_key(w, "fails_alone");
    kd_jsonw_int(w, fails);
    kd_jsonw_key(w, "left");
    kd_jsonw_int(w, left);
    kd_jsonw_end_object(w);
}

static void write_steps(kd_jsonw *w, const kd_str *source, const terms *t, const counts *c, bool taken) {
    write_step(w, source, KD_STR("samples"), 0, c->left[0]);
    for (size_t i = 0; i < t->n; i++) write_step(w, source, t->term[i], c->fails[i + 1], c->left[i + 1]);
    if (taken) write_step(w, source, KD_STR("taken of these"), c->left[t->n] - c->left[t->n + 1], c->left[t->n + 1]);
}

/* How many rows of that source are taken in the end. */
static kd_code count_taken(kd_select *q, kd_str source, int64_t *n, kd_err *e) {
    kd_stmt *c = NULL;
    bool row;
    *n = 0;
    kd_code rc =
        kd_select_ask(q, "(SELECT p.source FROM prompts p WHERE p.id = kd_rows.prompt) AS source, count(*)", "GROUP BY 1", true, &c, e);
    while (!rc && !(rc = kd_stmt_step(c, &row, e)) && row)
        if (kd_str_eq(kd_col_text(c, 0), source)) *n = kd_col_int(c, 1);
    kd_stmt_free(c);
    return rc;
}

kd_code kd_funnel_write(kd_jsonw *by_source, kd_jsonw *whole, kd_select *q, kd_err *e) {
    terms t;
    counts all = {0};
    kd_buf what = {0};
    kd_stmt *rows = NULL;
    bool row;
    const bool taken = kd_select_takes(q);
    read_terms(&t, kd_select_where(q));
    kd_code rc = build(&what, &t) ? kd_fail(e, KD_ENOMEM, "funnel: no memory")
                                  : kd_select_ask(q, what.data, "GROUP BY source ORDER BY min(prompt)", false, &rows, e);
    while (!rc && !(rc = kd_stmt_step(rows, &row, e)) && row) {
        counts c = {0};
        const kd_str source = kd_col_text(rows, 0);
        c.left[0] = kd_col_int(rows, 1);
        for (size_t i = 0; i < t.n; i++) {
            c.fails[i + 1] = kd_col_int(rows, (int)(2 + 2 * i));
            c.left[i + 1] = kd_col_int(rows, (int)(3 + 2 * i));
        }
        if (taken) rc = count_taken(q, source, &c.left[t.n + 1], e);
        for (size_t i = 0; i < t.n + 2; i++) {
            all.fails[i] += c.fails[i];
            all.left[i] += c.left[i];
        }
        write_steps(by_source, &source, &t, &c, taken);
    }
    if (!rc && whole) write_steps(whole, NULL, &t, &all, taken);
    kd_stmt_free(rows);
    kd_buf_clear(&what);
    return rc;
}
