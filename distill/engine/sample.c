/* distill/engine/sample.c - the chain of sample.h. Candidates are the logits within some nats of the largest, widened until they hold what the
 * cuts keep, and sorted; without cuts nothing is sorted: the draw walks blocks of the distribution. Leans on math/ops.h. */
#include "distill/engine/sample.h"

#include "distill/math/ops.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 512 };

typedef struct {
    float logit;
    int32_t id;
} cand;
typedef struct {
    double off;
    cand c;
} deviation;

size_t kd_sample_work(size_t V) {
    return V * (sizeof(cand) + sizeof(deviation)) + 64; /* candidates, and behind them weights or deviations */
}

static bool in(double v, double lo, double hi) { return v >= lo && v <= hi; /* false for NaN */ }

kd_code kd_sampling_check(const kd_sampling *s, size_t V, kd_err *e) {
    if (!in((double)s->temperature, 0, 1000)) return kd_fail(e, KD_EINVAL, "temperature: %g is outside 0..1000", (double)s->temperature);
    if (!in((double)s->top_p, 0, 1)) return kd_fail(e, KD_EINVAL, "top-p: %g is outside 0..1", (double)s->top_p);
    if (!in((double)s->min_p, 0, 1)) return kd_fail(e, KD_EINVAL, "min-p: %g is outside 0..1", (double)s->min_p);
    if (!in((double)s->typical_p, 0, 1)) return kd_fail(e, KD_EINVAL, "typical-p: %g is outside 0..1", (double)s->typical_p);
    if (!in((double)s->repetition_penalty, 0, 1000))
        return kd_fail(e, KD_EINVAL, "repetition-penalty: %g is outside 0..1000", (double)s->repetition_penalty);
    if (!in((double)s->presence_penalty, -1000, 1000) || !in((double)s->frequency_penalty, -1000, 1000))
        return kd_fail(e, KD_EINVAL, "presence-penalty %g, frequency-penalty %g: outside -1000..1000", (double)s->presence_penalty,
                       (double)s->frequency_penalty);
    if (!in((double)s->dry_multiplier, 0, 1000))
        return kd_fail(e, KD_EINVAL, "dry-multiplier: %g is outside 0..1000", (double)s->dry_multiplier);
    if (s->dry_base != 0.0f && !in((double)s->dry_base, 1, 1000))
        return kd_fail(e, KD_EINVAL, "dry-base: %g is outside 1..1000", (double)s->dry_base);
    for (size_t i = 0; i < s->biases; i++)
        if (s->bias[i].id < 0 || (size_t)s->bias[i].id >= V || isnan(s->bias[i].bias))
            return kd_fail(e, KD_EINVAL, "logit bias: token %d, bias %g: no such token or no number", s->bias[i].id,
                           (double)s->bias[i].bias);
    return KD_OK;
}

static int falling(const void *a, const void *b) {
    const cand *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

static size_t within(cand *c, const float *logits, size_t V, float least) {
    size_t n = 0;
    for (size_t i = 0; i < V; i++)
        if (logits[i] >= least && logits[i] != -INFINITY) c[n++] = (cand){logits[i], (int32_t)i};
    return n;
}

/* Candidates that hold everything the cuts can keep, sorted falling. */
static size_t candidates(const kd_sampling *s, const float *logits, size_t V, float max, cand *c) {
    bool all = s->typical_p > 0 && s->typical_p < 1 && !s->top_k, by_mass = s->top_p > 0 && s->top_p < 1 && !s->top_k;
    double total = by_mass && !all ? kd_exp_f32(NULL, logits, V, max, 1.0f) : 0;
    for (float width = all ? INFINITY : 8.0f;; width *= 2) {
        float least = width > 200.0f ? -INFINITY : max - width;
        size_t n = within(c, logits, V, least);
        double mass = 0;
        if (least != -INFINITY && by_mass)
            for (size_t i = 0; i < n; i++) mass += exp((double)c[i].logit - (double)max);
        bool enough = (!s->top_k || n >= s->top_k) && (!by_mass || mass >= (double)s->top_p * total * (1 + 1e-6));
        if (!s->top_k && !by_mass && s->min_p > 0 && (double)width > -log((double)s->min_p))
            enough = true;
        else if (!s->top_k && !by_mass)
            enough = false;
        if (enough || least == -INFINITY) {
            qsort(c, n, sizeof *c, falling);
            return n;
        }
    }
}

static int nearer(const void *a, const void *b) {
    const deviation *x = a, *y = b;
    if (x->off != y->off) return x->off < y->off ? -1 : 1;
    return falling(&x->c, &y->c);
}

/* Keeps the candidates whose surprise is nearest to the entropy until they hold typical_p; they stay sorted falling. */
static size_t typical(cand *c, size_t n, float p, deviation *d) {
    double sum = 0, mean = 0, mass = 0, top = (double)c[0].logit;
    for (size_t i = 0; i < n; i++) sum += exp((double)c[i].logit - top);
    for (size_t i = 0; i < n; i++) mean += exp((double)c[i].logit - top) / sum * ((double)c[i].logit - top);
    for (size_t i = 0; i < n; i++) d[i] = (deviation){fabs((double)c[i].logit - top - mean), c[i]};
    qsort(d, n, sizeof *d, nearer);
    size_t k = 0;
    while (k < n && (k == 0 || mass < (double)p * sum)) {
        mass += exp((double)d[k].c.logit - top);
        c[k] = d[k].c;
        k++;
    }
    qsort(c, k, sizeof *c, falling);
    return k;
}

/* top-k, typical, top-p, min-p on sorted candidates; how many are left, at least one. */
static size_t cut(const kd_sampling *s, cand *c, size_t n, double total, deviation *d) {
    if (s->top_k && n > s->top_k) n = s->top_k;
    if (s->typical_p > 0 && s->typical_p < 1) {
        n = typical(c, n, s->typical_p, d);
        total = 0;
    }
    if (s->top_p > 0 && s->top_p < 1) {
        double mass = 0;
        if (total <= 0) /* of what the cuts before left */
            for (size_t i = 0; i < n; i++) total += exp((double)c[i].logit - (double)c[0].logit);
        size_t k = 0;
        while (k < n && (k == 0 || mass < (double)s->top_p * total)) {
            mass += exp((double)c[k].logit - (double)c[0].logit);
            k++;
        }
        n = k;
    }
    if (s->min_p > 0) {
        double least = (double)c[0].logit + log((double)s->min_p);
        while (n > 1 && (double)c[n - 1].logit < least) n--;
    }
    return n;
}

static int32_t draw_cut(const kd_sampling *s, const float *logits, size_t V, float max, double u, void *work) {
    cand *c = work;
    double *w = (double *)(c + V), sum = 0;
    bool by_mass = s->top_p > 0 && s->top_p < 1 && !s->top_k;
    size_t n = candidates(s, logits, V, max, c);
    n = cut(s, c, n, by_mass ? kd_exp_f32(NULL, logits, V, max, 1.0f) : 0, (deviation *)(c + V));
    for (size_t i = 0; i < n; i++) sum += w[i] = exp(((double)c[i].logit - (double)max) / (double)s->temperature);
    double at = u * sum;
    for (size_t i = 0; i < n; i++)
        if ((at -= w[i]) < 0) return c[i].id;
    return c[n - 1].id; /* rounding at the end of the row */
}

static int32_t draw_all(float temperature, const float *logits, size_t V, float max, double u, void *work) {
    double *block = work, sum = 0;
    float *p = (float *)(block + V / BLOCK + 1);
    size_t n = 0;
    for (size_t i = 0; i < V; i += BLOCK)
        sum += block[n++] = kd_exp_f32(p + i, logits + i, V - i < BLOCK ? V - i : BLOCK, max, 1.0f / temperature);
    double at = u * sum;
    size_t b = 0;
    while (b + 1 < n && at >= block[b]) at -= block[b++];
    int32_t last = -1; /* rounding at a block's end: the last token of it that can be drawn */
    for (size_t i = b * BLOCK; i < V && i < (b + 1) * BLOCK; i++) {
        if (p[i] > 0) last = (int32_t)i;
        if ((at -= (double)p[i]) < 0) return (int32_t)i;
    }
    if (last >= 0) return last;
    for (size_t i = 0; i < V; i++) /* a last block without weight */
        if (p[i] > 0) last = (int32_t)i;
    return last;
}

int32_t kd_sample(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, double u, void *work) {
    kd_sample_adjust(s, logits, V, seen, nseen, work);
    float max = kd_max_f32(logits, V);
    if (!isfinite(max)) return -1;
    if (s->temperature == 0.0f || s->top_k == 1) {
        for (size_t i = 0; i < V; i++)
            if (logits[i] == max) return (int32_t)i;
        return -1;
    }
    bool cuts = (s->top_k && s->top_k < V) || (s->top_p > 0 && s->top_p < 1) || s->min_p > 0 || (s->typical_p > 0 && s->typical_p < 1);
    return cuts ? draw_cut(s, logits, V, max, u, work) : draw_all(s->temperature, logits, V, max, u, work);
}
