/* distill/engine/penalty.c - what makes tokens less likely that were said before: repetition, presence and frequency penalties, DRY; and the
 * bias a request gives. The first steps of sample.h's chain, in place. Leans on sample.h, dry.h. */
#include "distill/engine/sample.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { SEEN = 64, DRY_WINDOW = 4 /* times V tokens are searched at most: what the work area holds */ };

static int by_id(const void *a, const void *b) {
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

/* Each seen token once, however often: what llama.cpp's penalties do to it. */
static void penalties(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, int32_t *sorted) {
    float rep = s->repetition_penalty != 0.0f ? s->repetition_penalty : 1.0f;
    size_t last = s->penalty_last ? s->penalty_last : SEEN;
    if (rep == 1.0f && s->presence_penalty == 0.0f && s->frequency_penalty == 0.0f) return;
    if (last > nseen) last = nseen;
    if (last > V) last = V; /* what the work area holds */
    memcpy(sorted, seen + (nseen - last), last * sizeof *sorted);
    qsort(sorted, last, sizeof *sorted, by_id);
    for (size_t i = 0, n; i < last; i += n) {
        for (n = 1; i + n < last && sorted[i + n] == sorted[i]; n++)
            ;
        if (sorted[i] < 0 || (size_t)sorted[i] >= V) continue;
        float *l = &logits[sorted[i]];
        *l = *l <= 0 ? *l * rep : *l / rep;
        *l -= (float)n * s->frequency_penalty + s->presence_penalty;
    }
}

/* z[k] = how many tokens end alike at the sequence's end and k tokens before it (the Z function of the reversed sequence), k in 1..n-1. */
static void repeats(int32_t *z, const int32_t *seen, size_t n) {
    const int32_t *last = seen + n - 1;
    size_t left = 0, right = 0; /* the furthest reaching match: [left, right) of the reversed sequence */
    for (size_t k = 1; k < n; k++) {
        size_t m = 0;
        if (k < right) {
            m = (size_t)z[k - left];
            if (m > right - k) m = right - k;
        }
        while (k + m < n && last[-(ptrdiff_t)m] == last[-(ptrdiff_t)(k + m)]) m++;
        z[k] = (int32_t)m;
        if (k + m > right) left = k, right = k + m;
    }
}

/* work: V integers of the longest repetition that each token would go on with, then one a searched token. */
static void dry(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, int32_t *work) {
    double base = s->dry_base != 0.0f ? (double)s->dry_base : 1.75;
    size_t allowed = s->dry_allowed_length ? s->dry_allowed_length : 2, n = nseen;
    if (!(s->dry_multiplier > 0) || base < 1) return;
    if (s->dry_last && n > s->dry_last) n = s->dry_last;
    if (n > DRY_WINDOW * V) n = DRY_WINDOW * V;
    if (n <= allowed) return;
    seen += nseen - n;
    size_t reach = kd_dry_reach(s->dry_breakers, seen, n);
    if (reach < allowed) return;
    int32_t *longest = work, *z = work + V;
    repeats(z, seen, n);
    memset(longest, 0, V * sizeof *longest);
    for (size_t k = 1; k < n; k++) {
        int32_t id = seen[n - k], m = (size_t)z[k] > reach ? (int32_t)reach : z[k];
        if ((size_t)m >= allowed && id >= 0 && (size_t)id < V && m > longest[id]) longest[id] = m;
    }
    double most = base > 1.000001 ? log((double)FLT_MAX) / log(base) : 0; /* an exponent that no float overflows at */
    for (size_t i = 0; i < V; i++) {
        if (!longest[i] || kd_dry_single(s->dry_breakers, (int32_t)i)) continue;
        double exponent = (double)((size_t)longest[i] - allowed);
        if (most > 0 && exponent > most) exponent = floor(most);
        logits[i] -= (float)((double)s->dry_multiplier * pow(base, exponent));
    }
}

void kd_sample_adjust(const kd_sampling *s, float *logits, size_t V, const int32_t *seen, size_t nseen, void *work) {
    for (size_t i = 0; i < s->biases; i++) logits[s->bias[i].id] += s->bias[i].bias;
    penalties(s, logits, V, seen, nseen, work);
    dry(s, logits, V, seen, nseen, work);
}
