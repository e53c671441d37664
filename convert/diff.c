/* convert/diff.c - two models compared, tensor by tensor and value by value, whatever each is stored as. Leans on inspect.h, model/model.h. */
#include "convert/inspect.h"

#include "distill/math/codec.h"
#include "distill/model/model.h"

#include <math.h>
#include <string.h>

typedef struct {
    double max_abs, diff, norm; /* diff, norm: sums of squares */
    bool equal;
} gap;

typedef struct {
    kd_model *a, *b;
    const kd_mat *ma, *mb;
    float *rows; /* [workers, 2, cols] */
    size_t cols;
    gap *gaps; /* [rows of the matrix / 64 + 1] */
    kd_jsonw *w;
    size_t compared, different, missing;
} differ;

enum { ROWS = 64 };

static gap compare(const float *x, const float *y, size_t n) {
    gap g = {.equal = memcmp(x, y, n * sizeof *x) == 0};
    for (size_t i = 0; i < n && !g.equal; i++) {
        double d = (double)x[i] - (double)y[i];
        g.diff += d * d;
        g.norm += (double)x[i] * (double)x[i];
        g.max_abs = fabs(d) > g.max_abs ? fabs(d) : g.max_abs;
    }
    return g;
}

static void merge(gap *into, const gap *g) {
    into->equal &= g->equal;
    into->diff += g->diff;
    into->norm += g->norm;
    into->max_abs = g->max_abs > into->max_abs ? g->max_abs : into->max_abs;
}

static void rows_task(void *ctx, size_t task, int worker) {
    differ *d = ctx;
    size_t end = (task + 1) * ROWS < d->ma->rows ? (task + 1) * ROWS : d->ma->rows;
    float *x = d->rows + (size_t)worker * 2 * d->cols, *y = x + d->cols;
    gap all = {.equal = true};
    for (size_t r = task * ROWS; r < end; r++) {
        kd_mat_rows(d->ma, r, 1, x);
        kd_mat_rows(d->mb, r, 1, y);
        gap g = compare(x, y, d->ma->cols);
        merge(&all, &g);
    }
    d->gaps[task] = all;
}

static void report(differ *d, const char *name, const gap *g, const char *ta, const char *tb) {
    d->compared++;
    if (g->equal) return;
    d->different++;
    kd_jsonw_object(d->w);
    kd_jsonw_key(d->w, "name"), kd_jsonw_cstr(d->w, name);
    kd_jsonw_key(d->w, "a"), kd_jsonw_cstr(d->w, ta);
    kd_jsonw_key(d->w, "b"), kd_jsonw_cstr(d->w, tb);
    kd_jsonw_key(d->w, "max_abs"), kd_jsonw_double(d->w, g->max_abs);
    kd_jsonw_key(d->w, "relative"), kd_jsonw_double(d->w, g->norm > 0 ? sqrt(g->diff / g->norm) : 0);
    kd_jsonw_end_object(d->w);
}

static const char *type_name(const kd_mat *m) { return (int)m->type == KD_PACKED_TYPE ? "packed" : kd_dtype_get((int)m->type)->name; }

static kd_code matrix(differ *d, const char *name, kd_pool *pool, kd_err *e) {
    size_t tasks = (d->ma->rows + ROWS - 1) / ROWS;
    gap all = {.equal = true};
    if (!(d->gaps = kd_calloc(tasks + 1, sizeof *d->gaps))) return kd_fail(e, KD_ENOMEM, "no memory to compare %s", name);
    kd_pool_run(pool, rows_task, d, tasks);
    for (size_t i = 0; i < tasks; i++) merge(&all, &d->gaps[i]);
    kd_free(d->gaps);
    report(d, name, &all, type_name(d->ma), type_name(d->mb));
    return KD_OK;
}

static kd_code one(differ *d, kd_role r, uint32_t layer, kd_pool *pool, kd_err *e) {
    char name[96];
    size_t rows, cols, n = 1;
    kd_name_stored(name, &d->a->config, false, r, layer, 0);
    kd_role_shape(&d->a->config, r, &rows, &cols);
    if (kd_role_present(&d->a->config, r) != kd_role_present(&d->b->config, r)) {
        d->missing++;
        return KD_OK;
    }
    if (!kd_role_present(&d->a->config, r)) return KD_OK;
    if (!cols) {
        gap g = compare(kd_model_vec(d->a, r, layer), kd_model_vec(d->b, r, layer), rows);
        report(d, name, &g, "f32", "f32");
        return KD_OK;
    }
    const kd_mat *ma = kd_model_mats(d->a, r, layer, &n), *mb = kd_model_mats(d->b, r, layer, &n);
    kd_code c = KD_OK;
    for (size_t k = 0; k < n && !c; k++) {
        d->ma = &ma[k], d->mb = &mb[k];
        kd_name_stored(name, &d->a->config, false, r, layer, (uint32_t)k);
        c = matrix(d, name, pool, e);
    }
    return c;
}

static kd_code all_tensors(differ *d, kd_pool *pool, kd_err *e) {
    const kd_config *c = &d->a->config;
    kd_code r = one(d, KD_EMBED, 0, pool, e);
    for (uint32_t l = 0; l < c->L && !r; l++) {
        for (int k = 0; k < KD_LAYER_ROLES && !r; k++) r = one(d, (kd_role)k, l, pool, e);
        for (int k = KD_ROUTER; k < KD_ROLES && !r; k++) r = one(d, (kd_role)k, l, pool, e);
    }
    if (!r) r = one(d, KD_FINAL_NORM, 0, pool, e);
    return r ? r : one(d, KD_HEAD, 0, pool, e);
}

static kd_code open_model(kd_model **m, const char *path, kd_err *e) {
    kd_source s = {0};
    kd_code c = kd_source_resolve(&s, path, e);
    if (!c && s.adapter) c = kd_fail(e, KD_EUNSUPPORTED, "%s: an adapter on a model; merge it first (distill convert), then compare", path);
    if (!c) c = kd_model_open_stored(m, s.path, e);
    kd_source_clear(&s);
    return c;
}

kd_code kd_inspect_diff(kd_jsonw *out, const char *a, const char *b, kd_pool *pool, bool *same, kd_err *e) {
    differ d = {.w = out};
    size_t n;
    kd_code c = open_model(&d.a, a, e);
    if (c || (c = open_model(&d.b, b, e))) goto done;
    const kd_config *x = &d.a->config, *y = &d.b->config;
    if (x->arch != y->arch || x->L != y->L || x->C != y->C || x->H != y->H || x->G != y->G || x->D != y->D || x->F != y->F ||
        x->V != y->V || x->experts != y->experts || x->expert_F != y->expert_F) {
        c = kd_fail(e, KD_EINVAL, "%s and %s are models of different shapes: %s of %u layers, %u wide; %s of %u layers, %u wide", a, b,
                    kd_arch_name(x->arch), x->L, x->C, kd_arch_name(y->arch), y->L, y->C);
        goto done;
    }
    d.cols = (size_t)x->H * x->D;
    d.cols = x->C > d.cols ? x->C : d.cols;
    d.cols = x->F > d.cols ? x->F : d.cols;
    d.cols = x->expert_F > d.cols ? x->expert_F : d.cols;
    if (!kd_mul_size(d.cols, 2 * sizeof(float) * (size_t)kd_pool_threads(pool), &n) || !(d.rows = kd_malloc(n))) {
        c = kd_fail(e, KD_ENOMEM, "no memory for rows of %zu", d.cols);
        goto done;
    }
    kd_jsonw_object(out);
    kd_jsonw_key(out, "a"), kd_jsonw_cstr(out, a);
    kd_jsonw_key(out, "b"), kd_jsonw_cstr(out, b);
    kd_jsonw_key(out, "different");
    kd_jsonw_array(out);
    c = all_tensors(&d, pool, e);
    kd_jsonw_end_array(out);
    kd_jsonw_key(out, "tensors"), kd_jsonw_int(out, (int64_t)d.compared);
    kd_jsonw_key(out, "one_sided"), kd_jsonw_int(out, (int64_t)d.missing);
    *same = !d.different && !d.missing;
    kd_jsonw_key(out, "identical"), kd_jsonw_bool(out, *same);
    kd_jsonw_end_object(out);
done:
    kd_free(d.rows);
    kd_model_free(d.a);
    kd_model_free(d.b);
    return c;
}
