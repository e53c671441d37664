/* convert/compare.c - see compare.h. One chunk of rows of both models is in memory at a time; kept are one KL a token. */
#include "convert/compare.h"

#include "distill/base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    kd_comparison *out;
    double *kl, nats_a, nats_b, kl_sum;
    size_t n, cap, same;
} tally;

static size_t best(const float *z, size_t V) {
    size_t k = 0;
    for (size_t v = 1; v < V; v++)
        if (z[v] > z[k]) k = v;
    return k;
}

static kd_code add_row(tally *t, const float *a, const float *b, size_t V, int32_t next, kd_err *e) {
    if (kd_grow((void **)&t->kl, &t->cap, t->n + 1, sizeof *t->kl)) return kd_fail(e, KD_ENOMEM, "compare: out of memory");
    double la = kd_logsumexp(a, V), lb = kd_logsumexp(b, V), kl = 0;
    for (size_t v = 0; v < V; v++) {
        double p = a[v] - la;
        if (p > -60) kl += exp(p) * (p - (b[v] - lb));
    }
    t->kl[t->n++] = kl > 0 ? kl : 0; /* rounding may leave -1e-9 */
    t->kl_sum += kl > 0 ? kl : 0;
    t->same += best(a, V) == best(b, V);
    t->nats_a -= a[next] - la;
    t->nats_b -= b[next] - lb;
    return KD_OK;
}

static kd_code window_of(tally *t, kd_scorer *a, kd_scorer *b, size_t V, const int32_t *tokens, const uint8_t *loss, size_t n, kd_err *e) {
    size_t chunk = kd_scorer_chunk(a);
    kd_code c = KD_OK;
    kd_scorer_begin(a);
    kd_scorer_begin(b);
    for (size_t at = 0; !c && at + 1 < n; at += chunk) {
        size_t k = n - 1 - at < chunk ? n - 1 - at : chunk;
        const float *za, *zb;
        double t0 = kd_now();
        if ((c = kd_scorer_feed(a, tokens + at, k, &za, e))) break;
        double t1 = kd_now();
        if ((c = kd_scorer_feed(b, tokens + at, k, &zb, e))) break;
        t->out->seconds_a += t1 - t0, t->out->seconds_b += kd_now() - t1;
        for (size_t i = 0; !c && i < k; i++)
            if (!loss || loss[at + i + 1]) c = add_row(t, za + i * V, zb + i * V, V, tokens[at + i + 1], e);
    }
    return c;
}

static int rising(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

kd_code kd_compare(kd_comparison *out, kd_scorer *a, kd_scorer *b, size_t V, const kd_compare_row *rows, size_t n, size_t window,
                   const kd_watch *w, kd_err *e) {
    tally t = {.out = out};
    kd_code c = KD_OK;
    uint64_t done = 0, total = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; i < n; i++) total += rows[i].n;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "compare", .total = total, .unit = "tokens"});
    for (size_t i = 0; !c && i < n; i++)
        for (size_t at = 0; !c && at < rows[i].n; at += window) {
            size_t k = rows[i].n - at < window ? rows[i].n - at : window;
            int stop = kd_stopping(w);
            if (stop)
                c = kd_fail(e, (kd_code)stop, "stopped");
            else
                c = window_of(&t, a, b, V, rows[i].tokens + at, rows[i].loss ? rows[i].loss + at : NULL, k, e);
            done += k;
            kd_emit(w, (kd_event){.kind = KD_EV_STEP, .stage = "compare", .done = done, .total = total, .unit = "tokens"});
        }
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "compare", .done = done, .total = total, .unit = "tokens"});
    if (!c && !t.n) c = kd_fail(e, KD_EINVAL, "compare: expected at least one token to predict, found none");
    if (!c) {
        qsort(t.kl, t.n, sizeof *t.kl, rising);
        out->tokens = t.n;
        out->kl_mean = t.kl_sum / (double)t.n, out->kl_median = t.kl[t.n / 2], out->kl_max = t.kl[t.n - 1];
        out->kl_p99 = t.kl[(size_t)(0.99 * (double)(t.n - 1))];
        out->top1 = (double)t.same / (double)t.n;
        out->ppl_a = exp(t.nats_a / (double)t.n), out->ppl_b = exp(t.nats_b / (double)t.n);
    }
    kd_free(t.kl);
    return c;
}
