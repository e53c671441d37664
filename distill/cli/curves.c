/* distill/cli/curves.c - reads the course of a run, and what its pictures share. Leans on curves.h, base/gz.h. */
#include "distill/cli/curves.h"

#include "distill/base/file.h"
#include "distill/base/gz.h"

#include <math.h>
#include <string.h>

static kd_code no_memory(kd_err *e) { return kd_fail(e, KD_ENOMEM, "no memory for curves"); }

static kd_code add_line(kd_curve *c, kd_str line, const char *path, size_t number, bool *whole, kd_err *e) {
    kd_json *doc = NULL;
    kd_err why = {0};
    kd_code code = kd_json_parse(&doc, line.data, line.len, path, &why);
    *whole = code == KD_OK;
    if (code != KD_OK) return code == KD_ENOMEM ? no_memory(e) : KD_OK;
    const kd_json_node *o = kd_json_root(doc);
    const kd_curve_point p = {kd_json_number(kd_json_get(o, "step"), NAN), kd_json_number(kd_json_get(o, "loss"), NAN),
                              kd_json_number(kd_json_get(o, "learning_rate"), NAN)};
    if (!(p.step >= 1) || (c->n && !(p.step > c->at[c->n - 1].step)))
        code = kd_fail(e, KD_EFORMAT, "%s:%zu: expected a line of an update, with a step above the one before", path, number);
    void *at = c->at;
    if (code == KD_OK && kd_grow(&at, &c->cap, c->n + 1, sizeof *c->at) != KD_OK) code = no_memory(e);
    c->at = at;
    if (code == KD_OK) {
        const double tokens = kd_json_number(kd_json_get(o, "tokens"), 0), rate = kd_json_number(kd_json_get(o, "tokens_per_second"), 0);
        const double peak = kd_json_number(kd_json_get(o, "peak_rss_bytes"), 0);
        c->at[c->n++] = p;
        c->tokens += tokens;
        if (rate > 0) c->seconds += tokens / rate;
        if (peak > (double)c->peak_bytes && peak < 1e18) c->peak_bytes = (uint64_t)peak;
    }
    kd_json_free(doc);
    return code;
}

static kd_code read_metrics(kd_curve *c, const char *path, kd_err *e) {
    kd_lines *in = NULL;
    kd_str line;
    bool more = true, whole = true;
    kd_code code = kd_lines_open(&in, path, e);
    while (code == KD_OK && (code = kd_lines_next(in, &line, &more, e)) == KD_OK && more) {
        if (!whole) code = kd_fail(e, KD_EFORMAT, "%s:%zu: expected a JSON object", path, kd_lines_number(in) - 1);
        if (code == KD_OK && line.len) code = add_line(c, line, path, kd_lines_number(in), &whole, e);
    }
    kd_lines_close(in);
    if (code == KD_OK && c->n == 0) code = kd_fail(e, KD_EFORMAT, "%s: no update yet", path);
    return code;
}

kd_code kd_curve_read(kd_curve *c, const char *path, kd_err *e) {
    *c = (kd_curve){0};
    const bool run = kd_is_dir(path);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    size_t from = n;
    while (from && path[from - 1] != '/') from--;
    c->name = kd_strndup(path + from, n - from);
    char *metrics = run ? kd_path_join(path, "metrics.jsonl") : kd_strdup(path), *evals = run ? kd_path_join(path, "evals.jsonl") : NULL;
    kd_code code = c->name && metrics && (evals || !run) ? KD_OK : no_memory(e);
    if (code == KD_OK && !kd_file_exists(metrics))
        code = kd_fail(e, KD_ENOENT, "%s: no metrics.jsonl: expected the folder of a training run", path);
    if (code == KD_OK) code = read_metrics(c, metrics, e);
    if (code == KD_OK && run) code = kd_evals_open(&c->evals, evals, UINT64_MAX, e);
    kd_free(metrics);
    kd_free(evals);
    if (code != KD_OK) kd_curve_clear(c);
    return code;
}

void kd_curve_clear(kd_curve *c) {
    kd_free(c->name);
    kd_free(c->at);
    kd_evals_clear(&c->evals);
    *c = (kd_curve){0};
}

double kd_curve_smooth(const kd_curve *c, size_t i, size_t window) {
    double sum = 0;
    size_t k = 0;
    for (; k < window && k <= i; k++) sum += c->at[i - k].loss;
    return sum / (double)k;
}

size_t kd_ticks(double lo, double hi, int about, double at[12]) {
    if (!(hi > lo) || !isfinite(hi - lo)) return 0;
    const double raw = (hi - lo) / about, power = pow(10, floor(log10(raw)));
    const double step = power * (raw / power < 1.5 ? 1 : raw / power < 3.5 ? 2 : raw / power < 7.5 ? 5 : 10);
    size_t n = 0;
    for (double v = ceil(lo / step - 1e-9) * step; v <= hi + step * 1e-9 && n < 12; v += step) at[n++] = fabs(v) < step * 1e-9 ? 0 : v;
    return n;
}
