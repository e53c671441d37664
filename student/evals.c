/* student/evals.c - the file of evaluations, and which of them is the best. Leans on evals.h, base/file.h. */
#include "student/evals.h"

#include "distill/base/file.h"

#include <math.h>
#include <string.h>

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for evaluations"); }

static kd_code push(kd_evals *v, const kd_eval_line *line, kd_err *e) {
    void *at = v->at;
    if (kd_grow(&at, &v->cap, v->n + 1, sizeof *v->at) != KD_OK) return no_memory(e);
    v->at = at;
    v->at[v->n++] = *line;
    return KD_OK;
}

static kd_code read_line(kd_evals *v, kd_str line, uint64_t upto, kd_err *e) {
    kd_json *doc = NULL;
    int64_t step = -1, questions = 0;
    kd_code c = kd_json_parse(&doc, line.data, line.len, v->path, e);
    const kd_json_node *o = kd_json_root(doc);
    if (!c && (!kd_json_int(kd_json_get(o, "step"), &step) || step < 0 || (v->n && (uint64_t)step <= v->at[v->n - 1].step)))
        c = kd_fail(e, KD_EFORMAT, "%s: expected a step above the one before; --fresh starts over", v->path);
    if (!c && (uint64_t)step <= upto) {
        (void)kd_json_int(kd_json_get(o, "questions"), &questions);
        const kd_eval_line l = {(uint64_t)step, kd_json_number(kd_json_get(o, "eval_loss"), NAN),
                                kd_json_number(kd_json_get(o, "general_loss"), NAN), kd_json_number(kd_json_get(o, "pass@1"), NAN),
                                (uint64_t)questions};
        c = push(v, &l, e);
    }
    kd_json_free(doc);
    return c;
}

static kd_code put(kd_buf *out, const kd_eval_line *l) {
    const struct {
        const char *key;
        double value;
    } numbers[] = {{"eval_loss", l->loss}, {"general_loss", l->general}, {"pass@1", l->pass1}};
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "step");
    kd_jsonw_int(&w, (int64_t)l->step);
    for (size_t i = 0; i < 3; i++) {
        if (isnan(numbers[i].value)) continue;
        kd_jsonw_key(&w, numbers[i].key);
        kd_jsonw_double(&w, numbers[i].value);
    }
    if (l->questions) kd_jsonw_key(&w, "questions"), kd_jsonw_int(&w, (int64_t)l->questions);
    kd_jsonw_end_object(&w);
    return w.code ? w.code : kd_buf_putc(out, '\n');
}

static kd_code write_all(const kd_evals *v, kd_err *e) {
    kd_buf out = {0};
    kd_code c = KD_OK;
    for (size_t i = 0; i < v->n && !c; i++)
        if (put(&out, &v->at[i])) c = no_memory(e);
    if (!c) c = kd_file_write(v->path, out.data ? out.data : "", out.len, e);
    kd_buf_clear(&out);
    return c;
}

kd_code kd_evals_open(kd_evals *v, const char *path, uint64_t upto, kd_err *e) {
    kd_buf text = {0};
    size_t lines = 0;
    *v = (kd_evals){.path = kd_strdup(path)};
    if (!v->path) return no_memory(e);
    if (!kd_file_exists(path)) return KD_OK;
    kd_code c = kd_file_read(&text, path, (size_t)1 << 30, e);
    for (size_t at = 0; at < text.len && !c; lines++) {
        const char *nl = memchr(text.data + at, '\n', text.len - at);
        if (!nl) c = kd_fail(e, KD_EFORMAT, "%s: its last line is not whole; --fresh starts over", path);
        if (!c) c = read_line(v, (kd_str){text.data + at, (size_t)(nl - text.data) - at}, upto, e);
        if (!c) at = (size_t)(nl - text.data) + 1;
    }
    if (!c && v->n < lines) c = write_all(v, e);
    kd_buf_clear(&text);
    if (c) kd_evals_clear(v);
    return c;
}

kd_code kd_evals_add(kd_evals *v, const kd_eval_line *line, kd_err *e) {
    kd_code c = push(v, line, e);
    if (c) return c;
    c = write_all(v, e);
    if (c) v->n--;
    return c;
}

const kd_eval_line *kd_evals_of(const kd_evals *v, uint64_t step) {
    for (size_t i = 0; i < v->n; i++)
        if (v->at[i].step == step) return &v->at[i];
    return NULL;
}

/* a before b, where b is the best so far. */
static bool better(const kd_eval_line *a, const kd_eval_line *b) {
    if (!isnan(a->pass1) && !isnan(b->pass1) && a->pass1 != b->pass1) return a->pass1 > b->pass1;
    return a->loss < b->loss;
}

const kd_eval_line *kd_evals_best(const kd_evals *v) {
    const kd_eval_line *best = NULL;
    for (size_t i = 0; i < v->n; i++) {
        const kd_eval_line *l = &v->at[i];
        if (l->step == 0 || (isnan(l->loss) && isnan(l->pass1))) continue;
        if (!best || better(l, best)) best = l;
    }
    return best;
}

size_t kd_evals_since_best(const kd_evals *v) {
    const kd_eval_line *best = kd_evals_best(v);
    return best ? (size_t)(v->at + v->n - best) - 1 : 0;
}

void kd_evals_clear(kd_evals *v) {
    kd_free(v->path);
    kd_free(v->at);
    *v = (kd_evals){0};
}
