/* convert/mix_error.c - what every type would cost every matrix, by a sample of its rows. Leans on mix_int.h, math/codec.h. */
#include "convert/mix_int.h"

#include "distill/math/codec.h"

#include <string.h>

enum { SAMPLE = 96, SAMPLE_WORDS = 1024, ROW_MAX = 1 << 22 };

void kd_mix_row(const kd_mix_tensor *t, size_t r, float *w) {
    kd_dequantize(t->mat.type, kd_mat_row(&t->mat, r), w, t->mat.cols);
    if (t->lora) kd_lora_merge_row(t->lora, r, w, t->mat.cols);
}

/* The types a matrix may take, rising in bytes. */
static void list_types(kd_mix_tensor *t) {
    static const kd_dtype ALL[] = {KD_Q2_K, KD_Q3_K, KD_IQ4_XS, KD_Q4_0, KD_IQ4_NL, KD_Q4_K, KD_Q4_1,
                                   KD_Q5_0, KD_Q5_K, KD_Q5_1,   KD_Q6_K, KD_Q8_0,   KD_F16};
    const kd_dtype half = t->mat.type == KD_BF16 && !t->lora ? KD_BF16 : KD_F16;
    t->n = 0;
    for (size_t i = 0; i < sizeof ALL / sizeof *ALL; i++) {
        const kd_dtype d = ALL[i] == KD_F16 ? half : ALL[i];
        size_t row;
        if (!kd_dtype_row_bytes((int)d, t->mat.cols, &row)) continue;
        if (t->settled && d != KD_Q8_0 && d != half) continue;
        t->type[t->n] = d;
        t->bytes[t->n] = (uint64_t)row * t->mat.rows;
        t->error[t->n++] = 0;
        if (t->settled) return;
    }
    t->settled |= t->n == 1;
}

/* Notes what a probe needs, and drops every type that another beats at no more bytes. */
static void prune(kd_mix_tensor *t) {
    int kept = 0, probe = 0;
    for (int k = 0; k < t->n; k++)
        if (t->type[k] == KD_Q4_0) probe = k;
    t->probe = t->type[probe], t->probe_error = t->error[probe];
    bool beaten[KD_MIX_TYPES] = {0};
    for (int k = 0; k < t->n; k++)
        for (int i = 0; i < t->n && !beaten[k]; i++)
            beaten[k] = i != k && t->bytes[i] <= t->bytes[k] && (t->error[i] < t->error[k] || (t->error[i] == t->error[k] && i < k));
    for (int k = 0; k < t->n; k++) {
        if (beaten[k]) continue;
        t->type[kept] = t->type[k], t->bytes[kept] = t->bytes[k], t->error[kept] = t->error[k];
        kept++;
    }
    t->n = kept;
}

typedef struct {
    kd_mix_job *j;
    kd_mix_tensor *t;
    size_t sample, stride;
    double *sums; /* [sample, KD_MIX_TYPES] */
    unsigned char *bytes;
    size_t row_cap;
} errors;

static void one_row(void *ctx, size_t i, int worker) {
    errors *x = ctx;
    const size_t cols = x->t->mat.cols;
    float *w = x->j->work + (size_t)worker * 2 * x->j->widest, *v = w + x->j->widest;
    unsigned char *b = x->bytes + (size_t)worker * x->row_cap;
    kd_mix_row(x->t, i * x->stride, w);
    for (int k = 0; k < x->t->n; k++) {
        double sum = 0;
        if (kd_quantize(x->t->type[k], w, b, cols, x->t->im, NULL)) continue;
        kd_dequantize(x->t->type[k], b, v, cols);
        for (size_t c = 0; c < cols; c++) {
            const double d = (double)(w[c] - v[c]);
            sum += (x->t->im ? (double)x->t->im[c] : 1.0) * d * d;
        }
        x->sums[i * KD_MIX_TYPES + (size_t)k] = sum;
    }
}

static kd_code errors_of(kd_mix_job *j, kd_mix_tensor *t, errors *x, kd_err *e) {
    const size_t want = t->role == KD_EMBED || t->role == KD_HEAD ? SAMPLE_WORDS : SAMPLE;
    x->t = t;
    x->sample = t->mat.rows < want ? t->mat.rows : want;
    x->stride = t->mat.rows / x->sample;
    const int stop = kd_stopping(j->watch);
    if (stop) return kd_fail(e, (kd_code)stop, "stopped");
    kd_pool_run(j->pool, one_row, x, x->sample);
    for (int k = 0; k < t->n; k++)
        for (size_t i = 0; i < x->sample; i++) t->error[k] += x->sums[i * KD_MIX_TYPES + (size_t)k];
    for (int k = 0; k < t->n; k++) t->error[k] *= (double)t->mat.rows / (double)x->sample;
    prune(t);
    return KD_OK;
}

kd_code kd_mix_errors(kd_mix_job *j, kd_err *e) {
    errors x = {.j = j, .row_cap = (j->widest * 4 + 63) & ~(size_t)63};
    const size_t workers = (size_t)kd_pool_threads(j->pool);
    x.sums = kd_calloc((size_t)SAMPLE_WORDS * KD_MIX_TYPES, sizeof *x.sums);
    x.bytes = j->widest <= ROW_MAX ? kd_malloc(workers * x.row_cap) : NULL;
    kd_code c = x.sums && x.bytes ? KD_OK : kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    for (size_t i = 0; i < j->n && !c; i++) {
        list_types(&j->t[i]);
        c = errors_of(j, &j->t[i], &x, e);
        kd_mix_step(j);
    }
    kd_free(x.sums);
    kd_free(x.bytes);
    return c;
}
