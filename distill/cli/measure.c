/* distill/cli/measure.c - see measure.h. Leans on datasets/study.h, base/gz.h besides. */
#include "distill/cli/measure.h"

#include "datasets/study.h"
#include "distill/base/gz.h"

#include <stdio.h>
#include <string.h>

void kd_measure_clear(kd_measure_rows *r) {
    for (size_t i = 0; i < r->n; i++) kd_lesson_clear(&r->at[i]);
    kd_free(r->at);
    *r = (kd_measure_rows){0};
}

/* Takes the lesson, cut to what is left of the limit. */
static kd_code add(kd_measure_rows *r, kd_lesson *l, kd_err *e) {
    if (r->limit && l->n > r->limit - r->tokens) l->n = (size_t)(r->limit - r->tokens);
    if (l->n < 2) {
        kd_lesson_clear(l);
        return KD_OK;
    }
    if (kd_grow((void **)&r->at, &r->cap, r->n + 1, sizeof *r->at)) {
        kd_lesson_clear(l);
        return kd_fail(e, KD_ENOMEM, "out of memory");
    }
    r->tokens += l->n;
    r->at[r->n++] = *l;
    return KD_OK;
}

static kd_code add_text(kd_measure_rows *r, const kd_tokenizer *t, kd_str text, kd_err *e) {
    kd_ids ids = {0};
    kd_code c = kd_tokenizer_encode(t, &ids, text.data, text.len, KD_TOK_ADD_SPECIAL, e);
    kd_lesson l = {.tokens = ids.id, .n = ids.n};
    if (c) kd_ids_clear(&ids);
    return c ? c : add(r, &l, e);
}

static kd_code add_line(kd_measure_rows *r, const kd_render *render, const kd_json_node *o, bool all, kd_err *e) {
    kd_str text = kd_json_string(kd_json_get(o, "text"));
    if (text.data) return add_text(r, render->tokenizer, text, e);
    kd_lesson l = {0};
    kd_render_counts counts = {0};
    kd_code c = kd_render_lesson(&l, NULL, &counts, render, o, e);
    if (!c && all) kd_free(l.loss), l.loss = NULL;
    return c ? c : add(r, &l, e);
}

kd_code kd_measure_is_study(const char *path, bool *yes, kd_err *e) {
    static const char MAGIC[] = "SQLite format 3";
    kd_map *m = NULL;
    *yes = false;
    if (!strcmp(path, "-")) return KD_OK;
    kd_code c = kd_map_open(&m, path, e);
    if (!c) *yes = kd_map_size(m) > sizeof MAGIC && !memcmp(kd_map_data(m), MAGIC, sizeof MAGIC);
    kd_map_close(m);
    return c;
}

static kd_code read_selection(kd_measure_rows *r, kd_study *s, const kd_select_opts *o, const kd_render *render, bool all, kd_err *e) {
    kd_select *q = NULL;
    kd_render_counts counts = {0};
    kd_code c = kd_select_open(&q, s, o, e);
    for (bool more = true; !c && more && (!r->limit || r->tokens < r->limit);) {
        kd_row row;
        kd_lesson l = {0};
        if ((c = kd_select_next(q, &row, &more, e)) || !more || (c = kd_render_row(&l, NULL, &counts, render, &row, e))) break;
        if (all) kd_free(l.loss), l.loss = NULL;
        c = add(r, &l, e);
    }
    kd_select_close(q);
    return c;
}

static kd_code read_study(kd_measure_rows *r, const char *path, const kd_render *render, bool all, kd_err *e) {
    static const struct {
        kd_select_opts o;
        const char *what;
    } TRY[] = {{{.split = "test"}, "answers of the test split"}, {{0}, "answers that train would take"}, {{.any = true}, "all answers"}};
    kd_study *s = NULL;
    kd_code c = kd_study_open(&s, path, KD_STUDY_READ, e);
    for (size_t i = 0; !c && !r->n && i < sizeof TRY / sizeof *TRY; i++) {
        c = read_selection(r, s, &TRY[i].o, render, all, e);
        r->what = TRY[i].what;
    }
    kd_study_close(s);
    return c;
}

kd_code kd_measure_read_lessons(kd_measure_rows *r, const char *path, const char *select, const kd_render *render, kd_err *e) {
    kd_study *s = NULL;
    bool study = false;
    kd_code c = kd_measure_is_study(path, &study, e);
    if (c || !study) return c ? c : kd_measure_read(r, path, render, true, e);
    c = kd_study_open(&s, path, KD_STUDY_READ, e);
    if (!c) c = read_selection(r, s, &(kd_select_opts){.select = select}, render, true, e);
    r->what = "what train learns from";
    if (!c && !r->n && !select) {
        c = read_selection(r, s, &(kd_select_opts){.any = true}, render, true, e);
        r->what = "all answers";
    }
    kd_study_close(s);
    return c;
}

kd_code kd_measure_read(kd_measure_rows *r, const char *path, const kd_render *render, bool all, kd_err *e) {
    kd_str p = kd_str_of(path);
    kd_buf whole = {0};
    kd_lines *lines;
    kd_code c;
    bool study = false;
    if ((c = kd_measure_is_study(path, &study, e)) || study) return c ? c : read_study(r, path, render, all, e);
    if (!kd_str_ends(p, ".jsonl") && !kd_str_ends(p, ".jsonl.gz")) {
        if (!(c = kd_file_read(&whole, path, (size_t)1 << 31, e))) c = add_text(r, render->tokenizer, kd_buf_view(&whole), e);
        kd_buf_clear(&whole);
        return c;
    }
    if ((c = kd_lines_open(&lines, path, e))) return c;
    for (bool more = true; !c && more && (!r->limit || r->tokens < r->limit);) {
        kd_str line;
        char what[300];
        kd_json *doc = NULL;
        if ((c = kd_lines_next(lines, &line, &more, e)) || !more) break;
        if (!line.len) continue;
        snprintf(what, sizeof what, "%s:%zu", path, kd_lines_number(lines));
        if (!(c = kd_json_parse(&doc, line.data, line.len, what, e))) c = add_line(r, render, kd_json_root(doc), all, e);
        kd_json_free(doc);
    }
    kd_lines_close(lines);
    return c;
}

/* Both must mean the same by an id. */
kd_code kd_measure_same_words(const kd_loaded *a, const kd_loaded *b, kd_err *e) {
    if (a->model->config.V != b->model->config.V)
        return kd_fail(e, KD_EFORMAT, "%s has %u rows of logits, %s has %u: they do not speak of the same tokens", a->source.path,
                       a->model->config.V, b->source.path, b->model->config.V);
    size_t n = kd_tokenizer_size(a->tokenizer), m = kd_tokenizer_size(b->tokenizer);
    for (size_t i = 0; i < n && i < m; i++) {
        kd_token x = kd_tokenizer_token(a->tokenizer, (int32_t)i), y = kd_tokenizer_token(b->tokenizer, (int32_t)i);
        if (x.text.data && y.text.data && !kd_str_eq(x.text, y.text))
            return kd_fail(e, KD_EFORMAT, "token %zu is '%.40s' in %s and '%.40s' in %s", i, x.text.data, a->source.path, y.text.data,
                           b->source.path);
    }
    return KD_OK;
}

kd_code kd_measure(kd_cli *cli, kd_comparison *out, const kd_loaded *a, const kd_loaded *b, const kd_measure_rows *r,
                   const kd_measure_options *o, kd_err *e) {
    kd_pool *pool;
    kd_scorer *sa = NULL, *sb = NULL;
    kd_compare_row *views = kd_calloc(r->n + 1, sizeof *views);
    kd_code c = views ? kd_cli_pool(cli, &pool, e) : kd_fail(e, KD_ENOMEM, "out of memory");
    for (size_t i = 0; !c && i < r->n; i++) views[i] = (kd_compare_row){r->at[i].tokens, r->at[i].loss, r->at[i].n};
    if (!c) c = kd_scorer_new(&sa, a->model, a->adapter, &(kd_score_options){.fast = o->fast_a}, pool, e);
    if (!c) c = kd_scorer_new(&sb, b->model, b->adapter, &(kd_score_options){.fast = o->fast_b}, pool, e);
    if (!c) c = kd_compare(out, sa, sb, a->model->config.V, views, r->n, o->window, cli->watch, e);
    kd_scorer_free(sa);
    kd_scorer_free(sb);
    kd_free(views);
    return c;
}

void kd_measure_json(kd_jsonw *w, const kd_comparison *r) {
    const struct {
        const char *key;
        double v;
    } f[] = {{"kl_mean", r->kl_mean}, {"kl_median", r->kl_median}, {"kl_p99", r->kl_p99},
             {"kl_max", r->kl_max},   {"top1", r->top1},           {"ppl_a", r->ppl_a},
             {"ppl_b", r->ppl_b},     {"seconds_a", r->seconds_a}, {"seconds_b", r->seconds_b}};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++) kd_jsonw_key(w, f[i].key), kd_jsonw_double(w, f[i].v);
    kd_jsonw_key(w, "tokens"), kd_jsonw_int(w, (int64_t)r->tokens);
}

kd_code kd_measure_print(kd_cli *cli, const kd_comparison *r) {
    return kd_out(cli,
                  "tokens     %llu\nKL(A||B)   mean %.6f  median %.6f  99%% %.6f  max %.6f nats\ntop-1      %.2f %% the same\nperplexity A "
                  "%.4f  B %.4f\n",
                  (unsigned long long)r->tokens, r->kl_mean, r->kl_median, r->kl_p99, r->kl_max, 100 * r->top1, r->ppl_a, r->ppl_b);
}
