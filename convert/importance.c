/* convert/importance.c - importance in memory, and collected from a model at work. Leans on importance_int.h, model/forward.h. */
#include "convert/importance_int.h"

#include "distill/math/codec.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

void kd_importance_free(kd_importance *im) {
    if (!im) return;
    kd_arena_clear(&im->arena);
    kd_free(im->v);
    kd_free(im->dataset);
    kd_free(im);
}

size_t kd_importance_count(const kd_importance *im) { return im->n; }
const kd_importance_entry *kd_importance_at(const kd_importance *im, size_t i) { return &im->v[i]; }
const char *kd_importance_dataset(const kd_importance *im) { return im->dataset; }

static int by_name(const void *a, const void *b) {
    return strcmp(((const kd_importance_entry *)a)->name, ((const kd_importance_entry *)b)->name);
}
void kd_importance_sort(kd_importance *im) {
    if (im->n) qsort(im->v, im->n, sizeof *im->v, by_name);
}
const kd_importance_entry *kd_importance_find(const kd_importance *im, const char *name) {
    kd_importance_entry key = {.name = name};
    return im->n ? bsearch(&key, im->v, im->n, sizeof *im->v, by_name) : NULL;
}

kd_code kd_importance_set_dataset(kd_importance *im, const char *text, kd_err *e) {
    char *own = kd_strdup(text);
    if (!own) return kd_fail(e, KD_ENOMEM, "importance: out of memory");
    kd_free(im->dataset);
    im->dataset = own;
    return KD_OK;
}

kd_code kd_importance_add(kd_importance *im, const char *name, size_t name_len, size_t cols, size_t mats, kd_importance_entry **out,
                          kd_err *e) {
    size_t n, bytes;
    void *v = im->v;
    kd_code c = kd_grow(&v, &im->cap, im->n + 1, sizeof *im->v);
    im->v = v;
    if (c || !kd_mul_size(cols, mats, &n) || !kd_mul_size(n, sizeof(float), &bytes) || mats > SIZE_MAX / sizeof(uint64_t))
        return kd_fail(e, KD_ENOMEM, "importance of %.*s: out of memory", (int)(name_len < 60 ? name_len : 60), name);
    kd_importance_entry *x = &im->v[im->n];
    *x = (kd_importance_entry){.name = kd_arena_strndup(&im->arena, name, name_len),
                               .cols = cols,
                               .mats = mats,
                               .mean = kd_arena_alloc(&im->arena, bytes),
                               .rows = kd_arena_alloc(&im->arena, mats * sizeof(uint64_t))};
    if (!x->name || !x->mean || !x->rows)
        return kd_fail(e, KD_ENOMEM, "importance of %.*s: out of memory", (int)(name_len < 60 ? name_len : 60), name);
    im->n++;
    *out = x;
    return KD_OK;
}

kd_code kd_importance_of(const float **out, const kd_importance *im, const char *name, size_t cols, size_t mats, size_t k, kd_err *e) {
    const kd_importance_entry *x = kd_importance_find(im, name);
    *out = NULL;
    if (!x) return KD_OK;
    const bool whole =
        x->mats == 1 && mats > 1 && x->cols / mats == cols && x->cols % mats == 0; /* the older form: one row for the stack */
    const bool shared = x->mats == 1 && x->cols == cols;
    if (!whole && !shared && (x->cols != cols || x->mats != mats))
        return kd_fail(e, KD_EFORMAT, "importance of %s: expected %zu x %zu values, as the model's tensor has columns, found %zu x %zu",
                       name, mats, cols, x->mats, x->cols);
    const size_t at = shared || whole ? 0 : k;
    if (x->rows[at]) *out = x->mean + (shared ? 0 : k * cols);
    return KD_OK;
}

/* --- collected --- */

typedef struct {
    const kd_config *c;
    double *sums;  /* of all entries, one behind the other */
    size_t *start; /* [L * KD_MATS + 1] where an entry begins; the head last */
    uint64_t *rows;
    float *part; /* [widest] of one piece */
} collector;

static void tap(void *ctx, kd_role r, uint32_t layer, const float *x, size_t n) {
    collector *k = ctx;
    if (r != KD_HEAD && r >= KD_MATS) return;
    const size_t i = r == KD_HEAD ? (size_t)k->c->L * KD_MATS : (size_t)layer * KD_MATS + (size_t)r, cols = k->start[i + 1] - k->start[i];
    double *sum = k->sums + k->start[i];
    memset(k->part, 0, cols * sizeof *k->part);
    for (size_t row = 0; row < n; row++, x += cols)
        for (size_t j = 0; j < cols; j++) k->part[j] += x[j] * x[j];
    for (size_t j = 0; j < cols; j++) sum[j] += (double)k->part[j];
    k->rows[i] += n;
}

static kd_code start_collector(collector *k, const kd_model *m, kd_err *e) {
    const kd_config *c = &m->config;
    const size_t n = (size_t)c->L * KD_MATS + 1;
    size_t at = 0, widest = c->C, rows, cols;
    k->c = c;
    k->start = kd_calloc(n + 1, sizeof *k->start);
    k->rows = kd_calloc(n, sizeof *k->rows);
    for (size_t i = 0; k->start && i < n; i++, at += cols) {
        kd_role_shape(c, i + 1 == n ? KD_HEAD : (kd_role)(i % KD_MATS), &rows, &cols);
        k->start[i] = at;
        widest = cols > widest ? cols : widest;
    }
    if (k->start) k->start[n] = at;
    k->sums = kd_calloc(at, sizeof *k->sums);
    k->part = kd_calloc(widest, sizeof *k->part);
    return k->start && k->rows && k->sums && k->part ? KD_OK : kd_fail(e, KD_ENOMEM, "importance: out of memory");
}

static kd_code finish_collector(kd_importance *im, const collector *k, kd_err *e) {
    const size_t n = (size_t)k->c->L * KD_MATS + 1;
    kd_code c = KD_OK;
    for (size_t i = 0; i < n && !c; i++) {
        const size_t cols = k->start[i + 1] - k->start[i];
        kd_importance_entry *x;
        char name[96];
        kd_name_gguf(name, i + 1 == n ? KD_HEAD : (kd_role)(i % KD_MATS), (uint32_t)(i / KD_MATS));
        if ((c = kd_importance_add(im, name, strlen(name), cols, 1, &x, e))) break;
        x->rows[0] = k->rows[i];
        for (size_t j = 0; j < cols; j++) x->mean[j] = (float)(k->sums[k->start[i] + j] / (double)k->rows[i]);
        if (!kd_all_finite(x->mean, cols))
            c = kd_fail(e, KD_EFORMAT, "calibration: the activations that %s reads are not finite: the model itself fails on this text",
                        name);
    }
    kd_importance_sort(im);
    return c;
}

typedef struct {
    kd_forward *f;
    kd_kv_pool *pages;
    kd_kv *kv;
    size_t *want, rows;
} runner;

static kd_code start_runner(runner *r, const kd_model *m, kd_adapter *adapter, size_t window, kd_pool *pool, kd_err *e) {
    r->rows = window < 512 ? window : 512;
    if (!(r->want = kd_malloc(r->rows * sizeof *r->want))) return kd_fail(e, KD_ENOMEM, "calibration: out of memory");
    for (size_t i = 0; i < r->rows; i++) r->want[i] = i;
    kd_code c = kd_forward_new(&r->f, m, adapter, &(kd_forward_options){.max_rows = r->rows, .context = window}, pool, e);
    if (!c) c = kd_kv_pool_new(&r->pages, &m->config, KD_F32, 64, 0, e);
    return c ? c : kd_kv_new(&r->kv, r->pages, e);
}

static void stop_runner(runner *r) {
    kd_kv_free(r->kv);
    kd_kv_pool_free(r->pages);
    kd_forward_free(r->f);
    kd_free(r->want);
}

static kd_code run_piece(runner *r, const int32_t *tokens, size_t n, kd_err *e) {
    kd_code c = KD_OK;
    kd_kv_truncate(r->kv, 0);
    for (size_t at = 0; at < n && !c; at += r->rows) {
        const size_t k = n - at < r->rows ? n - at : r->rows;
        const kd_batch_seq q = {r->kv, k};
        if ((c = kd_kv_reserve(r->kv, kd_kv_len(r->kv) + k, e))) break;
        c = kd_forward_run(r->f, &(kd_batch){.tokens = tokens + at, .n = k, .seqs = &q, .nseq = 1, .want = r->want, .nwant = k}, NULL, e);
    }
    return c;
}

static kd_code run_rows(runner *r, const kd_compare_row *rows, size_t n, size_t window, const kd_watch *w, kd_err *e) {
    uint64_t done = 0, total = 0;
    kd_code c = KD_OK;
    for (size_t i = 0; i < n; i++) total += rows[i].n;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "calibrate", .total = total, .unit = "tokens"});
    for (size_t i = 0; i < n && !c; i++)
        for (size_t at = 0; at < rows[i].n && !c; at += window) {
            const size_t k = rows[i].n - at < window ? rows[i].n - at : window;
            const int stop = kd_stopping(w);
            c = stop ? kd_fail(e, (kd_code)stop, "stopped") : run_piece(r, rows[i].tokens + at, k, e);
            done += k;
            kd_emit(w, (kd_event){.kind = KD_EV_STEP, .stage = "calibrate", .done = done, .total = total, .unit = "tokens"});
        }
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "calibrate", .done = done, .total = total, .unit = "tokens"});
    return c ? c : total ? KD_OK : kd_fail(e, KD_EINVAL, "calibration: expected at least one token, found none");
}

kd_code kd_importance_collect(kd_importance **out, const kd_model *m, kd_adapter *adapter, const kd_compare_row *rows, size_t n,
                              size_t window, kd_pool *pool, const kd_watch *w, kd_err *e) {
    collector k = {0};
    runner r = {0};
    kd_importance *im = kd_calloc(1, sizeof *im);
    kd_code c = im ? start_collector(&k, m, e) : kd_fail(e, KD_ENOMEM, "calibration: out of memory");
    *out = NULL;
    if (window > m->config.context) window = m->config.context;
    if (!c) c = start_runner(&r, m, adapter, window, pool, e);
    if (!c) {
        kd_forward_tap(r.f, tap, &k);
        c = run_rows(&r, rows, n, window, w, e);
    }
    if (!c) c = finish_collector(im, &k, e);
    stop_runner(&r);
    kd_free(k.sums), kd_free(k.start), kd_free(k.rows), kd_free(k.part);
    if (c)
        kd_importance_free(im);
    else
        *out = im;
    return c;
}
