/* datasets/stats.c - a study told in numbers, as one JSON object. Leans on study_int.h, import.h, base/json. */
#include "datasets/import.h"
#include "datasets/study_int.h"

#include "distill/base/json.h"

#include <string.h>

typedef struct {
    kd_db *db;
    kd_jsonw w;
} telling;

static void column(kd_jsonw *w, kd_stmt *q, int i) {
    if (kd_col_null(q, i))
        kd_jsonw_null(w);
    else if (kd_col_is_int(q, i))
        kd_jsonw_int(w, kd_col_int(q, i));
    else if (kd_col_is_number(q, i))
        kd_jsonw_double(w, kd_col_double(q, i));
    else
        kd_jsonw_str(w, kd_col_text(q, i));
}

/* "key": [ {names[0]: column 0, ...}, ... ] */
static kd_code table(telling *t, const char *key, const char *const *names, const char *sql, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    kd_code rc = kd_stmt_new(&q, t->db, sql, e);
    if (rc) return rc;
    kd_jsonw_key(&t->w, key);
    kd_jsonw_array(&t->w);
    while (!(rc = kd_stmt_step(q, &row, e)) && row) {
        kd_jsonw_object(&t->w);
        for (int i = 0; names[i]; i++) {
            kd_jsonw_key(&t->w, names[i]);
            column(&t->w, q, i);
        }
        kd_jsonw_end_object(&t->w);
    }
    kd_jsonw_end_array(&t->w);
    kd_stmt_free(q);
    return rc;
}

/* "key": one number */
static kd_code number(telling *t, const char *key, const char *sql, kd_err *e) {
    kd_stmt *q = NULL;
    bool row;
    kd_code rc = kd_stmt_new(&q, t->db, sql, e);
    if (rc) return rc;
    kd_jsonw_key(&t->w, key);
    if (!(rc = kd_stmt_step(q, &row, e)) && row)
        column(&t->w, q, 0);
    else
        kd_jsonw_null(&t->w);
    kd_stmt_free(q);
    return rc;
}

#define NAMES(...) ((const char *const[]){__VA_ARGS__, NULL})

static kd_code tell_counts(telling *t, kd_err *e) {
    kd_code rc = number(t, "prompts", "SELECT count(*) FROM prompts", e);
    if (!rc) rc = number(t, "samples", "SELECT count(*) FROM samples", e);
    if (!rc)
        rc = table(t, "splits", NAMES("split", "task", "prompts", "with_gold"),
                   "SELECT split, task, count(*), count(gold) FROM prompts GROUP BY split, task ORDER BY split, task", e);
    if (!rc)
        rc = table(t, "sources", NAMES("source", "prompts"), "SELECT source, count(*) FROM prompts GROUP BY source ORDER BY min(id)", e);
    if (!rc)
        rc = table(t, "teachers",
                   NAMES("settings", "hash", "teacher", "model", "prompts", "samples", "prompt_tokens", "completion_tokens",
                         "reasoning_tokens", "cost", "seconds_mean"),
                   "SELECT s.settings, substr(t.hash,1,12), t.teacher, t.model, count(DISTINCT s.prompt), count(*), sum(s.prompt_tokens),"
                   " sum(s.completion_tokens), sum(s.reasoning_tokens), sum(s.cost), avg(s.seconds)"
                   " FROM samples s JOIN settings t ON t.id=s.settings GROUP BY s.settings ORDER BY s.settings",
                   e);
    /* Percentiles by nearest rank; what failed attempts cost is in the cost of what came of them. */
    if (!rc)
        rc = table(t, "answers",
                   NAMES("settings", "samples", "seconds_p50", "seconds_p90", "seconds_p99", "first_token_p50", "tokens_a_question",
                         "right", "cost_a_right_answer"),
                   "WITH s AS (SELECT settings, prompt, id, seconds, first_token_seconds AS f, completion_tokens AS c,"
                   " row_number() OVER (PARTITION BY settings ORDER BY seconds IS NULL, seconds) AS i,"
                   " count(seconds) OVER (PARTITION BY settings) AS n,"
                   " row_number() OVER (PARTITION BY settings ORDER BY first_token_seconds IS NULL, first_token_seconds) AS j,"
                   " count(first_token_seconds) OVER (PARTITION BY settings) AS m FROM samples),"
                   " r AS (SELECT s.settings AS settings, count(DISTINCT l.sample) AS good FROM labels l JOIN samples s ON s.id = l.sample"
                   " WHERE l.name IN ('math','code') AND l.value = 'right' GROUP BY 1)"
                   " SELECT s.settings, count(*), max(CASE WHEN n AND i = (n*50+99)/100 THEN seconds END),"
                   " max(CASE WHEN n AND i = (n*90+99)/100 THEN seconds END), max(CASE WHEN n AND i = (n*99+99)/100 THEN seconds END),"
                   " max(CASE WHEN m AND j = (m*50+99)/100 THEN f END), total(c) / count(DISTINCT prompt), coalesce(max(r.good), 0),"
                   " (SELECT CASE WHEN cost + cost_failed > 0 THEN (cost + cost_failed) / max(r.good) END FROM totals WHERE"
                   " totals.settings = s.settings)"
                   " FROM s LEFT JOIN r ON r.settings = s.settings GROUP BY s.settings HAVING max(n) > 0 ORDER BY s.settings",
                   e);
    if (!rc)
        rc = table(t, "finish", NAMES("reason", "samples"), "SELECT finish, count(*) FROM samples GROUP BY finish ORDER BY 2 DESC, 1", e);
    if (!rc)
        rc = table(t, "attempts", NAMES("reason", "status", "attempts", "cost"),
                   "SELECT reason, status, count(*), sum(cost) FROM attempts GROUP BY reason, status ORDER BY 3 DESC, 1, 2", e);
    if (!rc)
        rc = table(t, "spend", NAMES("cost", "cost_failed", "prompt_tokens", "completion_tokens", "reasoning_tokens", "cached_tokens"),
                   "SELECT total(cost), total(cost_failed), coalesce(sum(prompt_tokens),0), coalesce(sum(completion_tokens),0),"
                   " coalesce(sum(reasoning_tokens),0), coalesce(sum(cached_tokens),0) FROM totals",
                   e);
    return rc;
}

static kd_code tell_labels(telling *t, kd_err *e) {
    /* A measure of many values is told by its mean, least and greatest; others value by value. */
    kd_code rc =
        table(t, "labels", NAMES("label", "value", "samples", "mean", "least", "greatest"),
              "WITH k AS (SELECT name, max(typeof(value) = 'real') OR count(DISTINCT CASE typeof(value) WHEN 'integer' THEN value END) > "
              "12 AS many"
              " FROM labels GROUP BY name)"
              " SELECT l.name, CASE WHEN k.many AND l.value IS NOT NULL THEN 'number' ELSE l.value END, count(*),"
              " CASE WHEN k.many THEN avg(l.value) END, CASE WHEN k.many THEN min(l.value) END, CASE WHEN k.many THEN max(l.value) END"
              " FROM labels l JOIN k ON k.name = l.name GROUP BY 1, 2 ORDER BY 1, 3 DESC, 2",
              e);
    if (!rc)
        rc = table(
            t, "questions", NAMES("label", "questions", "mean"),
            "SELECT name, count(*), CASE WHEN name IN ('agreement', 'contaminated', 'gold_doubt') THEN avg(value) END FROM prompt_labels"
            " GROUP BY name ORDER BY name",
            e);
    if (!rc)
        rc = table(t, "reasons", NAMES("label", "value", "reason", "samples"),
                   "SELECT name, value, detail, count(*) FROM labels WHERE detail IS NOT NULL AND typeof(value) <> 'real' GROUP BY 1, 2, 3 "
                   "ORDER BY 1, 4 DESC, 3"
                   " LIMIT 100",
                   e);
    /* Share of samples that are right, and of questions with at least one right sample, by split and settings. */
    if (!rc)
        rc = table(t, "pass", NAMES("split", "settings", "prompts", "samples", "right", "rate", "solved"),
                   "SELECT split, settings, count(*), sum(n), sum(r), total(r)/sum(n), sum(r > 0) FROM (SELECT p.split AS split, "
                   "s.settings AS settings,"
                   " count(*) AS n, sum(l.value = 'right') AS r FROM samples s CROSS JOIN labels l ON l.sample=s.id AND l.name IN "
                   "('math','code') AND "
                   "l.value IS NOT NULL"
                   " JOIN prompts p ON p.id=s.prompt GROUP BY s.prompt, s.settings) GROUP BY split, settings ORDER BY split, settings",
                   e);
    return rc;
}

/* The default selection step by step: what each step alone turns away, and what is left behind it. */
static kd_code tell_funnel(telling *t, kd_err *e) {
    return table(
        t, "funnel", NAMES("step", "fails_alone", "left"),
        "WITH v AS MATERIALIZED (SELECT p.split = 'train' AS a, (SELECT value FROM labels WHERE sample=s.id AND name='finished') IS 1 AS b,"
        " p.gold IS NULL OR EXISTS(SELECT 1 FROM labels WHERE sample=s.id AND name IN ('math','code') AND value='right') AS c"
        " FROM samples s INDEXED BY samples_key CROSS JOIN prompts p ON p.id=s.prompt WHERE " KD_NOT_JUDGE(
            "p.split") ")"
                       " SELECT 'samples', 0, count(*) FROM v UNION ALL SELECT 'split train', coalesce(sum(NOT a),0), coalesce(sum(a),0) "
                       "FROM v"
                       " UNION ALL SELECT 'finished', coalesce(sum(NOT b),0), coalesce(sum(a AND b),0) FROM v"
                       " UNION ALL SELECT 'right, or no gold answer', coalesce(sum(NOT c),0), coalesce(sum(a AND b AND c),0) FROM v",
        e);
}

/* The funnel of options, whole and by source; of the default selection as soon as the labels are there that it asks for. */
static kd_code tell_sources(telling *t, kd_study *s, const kd_select_opts *o, kd_err *e) {
    kd_select *q = NULL;
    kd_buf rows = {0}, whole = {0};
    kd_jsonw a = {.out = &rows}, b = {.out = &whole};
    kd_err mine;
    kd_code rc = kd_select_open(&q, s, o, o ? e : &mine);
    kd_jsonw_array(&a);
    kd_jsonw_array(&b);
    if (!rc)
        rc = kd_funnel_write(&a, &b, q, e);
    else if (!o && rc == KD_ECHECK)
        rc = KD_OK; /* not labelled yet */
    else if (!o)
        rc = kd_fail(e, rc, "%s", mine.msg);
    kd_jsonw_end_array(&a);
    kd_jsonw_end_array(&b);
    if (!rc && (a.code || b.code)) rc = kd_fail(e, KD_ENOMEM, "stats: no memory");
    if (!rc && o) {
        kd_jsonw_key(&t->w, "funnel");
        kd_jsonw_raw(&t->w, kd_buf_view(&whole));
    }
    if (!rc) {
        kd_jsonw_key(&t->w, "funnel_by_source");
        kd_jsonw_raw(&t->w, kd_buf_view(&rows));
    }
    kd_select_close(q);
    kd_buf_clear(&rows);
    kd_buf_clear(&whole);
    return rc;
}

kd_code kd_stats_json(kd_buf *out, kd_study *s, const kd_select_opts *o, kd_err *e) {
    telling t = {.w = {.out = out}};
    size_t before = out->len;
    kd_code rc = kd_db_open(&t.db, kd_study_path(s), KD_DB_READ, e);
    if (rc) return rc;
    rc = kd_db_exec(t.db, "BEGIN", e); /* one look: the parts agree with each other */
    kd_jsonw_object(&t.w);
    if (!rc) rc = tell_counts(&t, e);
    if (!rc) rc = tell_labels(&t, e);
    if (!rc && !o) rc = tell_funnel(&t, e);
    if (!rc) rc = tell_sources(&t, s, o, e);
    if (!rc)
        rc = table(&t, "selections", NAMES("name", "hash", "says"), "SELECT name, substr(hash, 1, 12), json FROM selections ORDER BY name",
                   e);
    if (!rc) {
        kd_jsonw_end_object(&t.w);
        if (t.w.code) rc = kd_fail(e, t.w.code, "stats: no memory");
    }
    if (rc) out->len = before;
    kd_db_close(t.db);
    return rc;
}
