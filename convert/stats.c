/* convert/stats.c - range, mean, spread, outliers and histogram of tensors. Leans on stats.h, math/codec.h. */
#include "convert/stats.h"

#include "distill/math/codec.h"

#include <math.h>

typedef struct {
    kd_stats *stats;
    const kd_tensors *set;
    float *rows;
    size_t widest;
} work;

static void first_pass(kd_stats *s, const float *v, size_t n, double *sum, double *squares) {
    for (size_t i = 0; i < n; i++) {
        double x = (double)v[i];
        if (!isfinite(x)) {
            s->nonfinite++;
            continue;
        }
        s->zeros += x == 0;
        s->min = x < s->min ? x : s->min;
        s->max = x > s->max ? x : s->max;
        *sum += x;
        *squares += x * x;
    }
    s->n += n;
}

static void second_pass(kd_stats *s, const float *v, size_t n) {
    double width = s->max - s->min, limit = 6 * s->std;
    for (size_t i = 0; i < n; i++) {
        double x = (double)v[i];
        if (!isfinite(x)) continue;
        s->outliers += fabs(x - s->mean) > limit && limit > 0;
        size_t bin = width > 0 ? (size_t)((x - s->min) / width * KD_STATS_BINS) : 0;
        s->bins[bin < KD_STATS_BINS ? bin : KD_STATS_BINS - 1]++;
    }
}

static void one(void *ctx, size_t i, int worker) {
    work *w = ctx;
    const kd_tensor *t = kd_tensors_at(w->set, i);
    kd_stats *s = &w->stats[i];
    size_t cols = kd_tensor_cols(t), rows = kd_tensor_rows(t), stride = 0;
    float *v = w->rows + (size_t)worker * w->widest;
    double sum = 0, squares = 0;
    if (!kd_can_read((int)t->type) || !kd_dtype_row_bytes((int)t->type, cols, &stride)) return;
    *s = (kd_stats){.known = true, .min = INFINITY, .max = -INFINITY};
    for (int pass = 0; pass < 2; pass++) {
        for (size_t r = 0; r < rows && cols; r++) {
            kd_dequantize(t->type, (const char *)t->data + r * stride, v, cols);
            if (pass == 0)
                first_pass(s, v, cols, &sum, &squares);
            else
                second_pass(s, v, cols);
        }
        double good = (double)(s->n - s->nonfinite);
        if (pass == 0 && good > 0) {
            s->mean = sum / good;
            s->std = sqrt(fmax(squares / good - s->mean * s->mean, 0));
        } else if (pass == 0)
            s->min = s->max = 0;
    }
    kd_tensors_advise(w->set, t, KD_MAP_DONTNEED);
}

kd_code kd_stats_of_set(kd_stats *stats, const kd_tensors *set, kd_pool *pool, kd_err *e) {
    work w = {.stats = stats, .set = set, .widest = 16};
    size_t n;
    for (size_t i = 0; i < kd_tensors_count(set); i++)
        w.widest = kd_tensor_cols(kd_tensors_at(set, i)) > w.widest ? kd_tensor_cols(kd_tensors_at(set, i)) : w.widest;
    w.widest = (w.widest + 15) & ~(size_t)15;
    if (!kd_mul_size(w.widest, (size_t)kd_pool_threads(pool) * sizeof(float), &n) || !(w.rows = kd_aligned_alloc(64, n)))
        return kd_fail(e, KD_ENOMEM, "no memory for rows of %zu", w.widest);
    kd_pool_run(pool, one, &w, kd_tensors_count(set));
    kd_free(w.rows);
    return KD_OK;
}

void kd_weight_stats_json(kd_jsonw *w, const kd_stats *s) {
    const struct {
        const char *key;
        double v;
    } numbers[] = {{"min", s->min}, {"max", s->max}, {"mean", s->mean}, {"std", s->std}};
    const struct {
        const char *key;
        uint64_t v;
    } counts[] = {{"zeros", s->zeros}, {"outliers", s->outliers}, {"nonfinite", s->nonfinite}};
    for (size_t i = 0; i < 4; i++) kd_jsonw_key(w, numbers[i].key), kd_jsonw_double(w, numbers[i].v);
    for (size_t i = 0; i < 3; i++) kd_jsonw_key(w, counts[i].key), kd_jsonw_int(w, (int64_t)counts[i].v);
    kd_jsonw_key(w, "histogram");
    kd_jsonw_array(w);
    for (int i = 0; i < KD_STATS_BINS; i++) kd_jsonw_int(w, (int64_t)s->bins[i]);
    kd_jsonw_end_array(w);
}
