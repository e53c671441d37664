/* tests/distill/engine/test_sample.c - the sampling chain against a plain sort in double precision: which tokens each cut leaves, and that every
 * number in the middle of a token's share of [0,1) draws that token, so that shares are what they should be; and random draws (chi-squared at fixed
 * seeds). */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/engine/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { V = 1200 };
static float row[V], tmp[V];
static void *work;

static void fill(uint64_t seed, float scale) {
    kd_rng r = {.key = seed};
    for (size_t i = 0; i < V; i++) row[i] = scale * (float)kd_rng_normal(&r);
}

static int32_t sample(const kd_sampling *s, double u) {
    memcpy(tmp, row, sizeof tmp);
    return kd_sample(s, tmp, V, NULL, 0, u, work);
}

typedef struct {
    double p;
    int32_t id;
} tok;
static int falling(const void *a, const void *b) {
    const tok *x = a, *y = b;
    return x->p != y->p ? (x->p > y->p ? -1 : 1) : (x->id > y->id) - (x->id < y->id);
}

static double far_of[V]; /* how far a token's surprise is from the entropy */
static int nearer(const void *a, const void *b) {
    double x = far_of[((const tok *)a)->id], y = far_of[((const tok *)b)->id];
    return x != y ? (x > y) - (x < y) : falling(a, b);
}

/* What llama.cpp's order of cuts leaves: each a normalization and a loop, as its documentation describes them. Probabilities at temperature. */
static size_t reference(const kd_sampling *s, tok *t) {
    double m = -INFINITY, sum = 0;
    size_t n = V;
    for (size_t i = 0; i < V; i++) m = fmax(m, (double)row[i]);
    for (size_t i = 0; i < V; i++) t[i] = (tok){exp((double)row[i] - m), (int32_t)i};
    qsort(t, V, sizeof *t, falling);
    if (s->top_k && n > s->top_k) n = s->top_k;
    if (s->typical_p > 0 && s->typical_p < 1) {
        double H = 0, mass = 0;
        for (size_t i = 0; i < n; i++) sum += t[i].p;
        for (size_t i = 0; i < n; i++) H -= t[i].p / sum * log(t[i].p / sum);
        for (size_t i = 0; i < n; i++) far_of[t[i].id] = fabs(-log(t[i].p / sum) - H);
        qsort(t, n, sizeof *t, nearer);
        size_t k = 0;
        while (k < n && (k == 0 || mass < (double)s->typical_p)) mass += t[k++].p / sum;
        n = k;
        qsort(t, n, sizeof *t, falling);
    }
    if (s->top_p > 0 && s->top_p < 1) {
        double mass = 0;
        size_t k = 0;
        sum = 0;
        for (size_t i = 0; i < n; i++) sum += t[i].p;
        while (k < n && (k == 0 || mass < (double)s->top_p)) mass += t[k++].p / sum;
        n = k;
    }
    if (s->min_p > 0)
        while (n > 1 && t[n - 1].p < (double)s->min_p * t[0].p) n--;
    sum = 0;
    for (size_t i = 0; i < n; i++) sum += t[i].p = exp(((double)row[t[i].id] - m) / (double)s->temperature);
    for (size_t i = 0; i < n; i++) t[i].p /= sum;
    return n;
}

static int by_id(const void *a, const void *b) { return ((const tok *)a)->id - ((const tok *)b)->id; }

/* The draw goes along the kept tokens, falling where something is cut, by id where nothing is: the middle of each share gives its token. */
static void shares(const kd_sampling *s, const tok *kept, size_t n) {
    static tok t[V];
    double from = 0;
    size_t step = n / 150 + 1, tried = 0;
    memcpy(t, kept, n * sizeof *t);
    if (!s->top_k && !s->typical_p && !s->top_p && !s->min_p) qsort(t, n, sizeof *t, by_id);
    for (size_t i = 0; i < n; from += t[i++].p) {
        if (t[i].p < 1e-5 || (i % step && i + 1 != n && i != 0)) continue; /* a block's sums are those of floats */
        assert_int_equal(sample(s, from + t[i].p / 2), t[i].id);
        tried++;
    }
    assert_true(tried > 0);
}

static void follows_the_distribution(void **state) {
    (void)state;
    static const kd_sampling cases[] = {
        {.temperature = 1},
        {.temperature = 0.6f},
        {.temperature = 1, .top_k = 20},
        {.temperature = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f},
        {.temperature = 0.6f, .top_p = 0.95f},
        {.temperature = 1, .top_p = 0.999f},
        {.temperature = 1.5f, .min_p = 0.1f},
        {.temperature = 1, .typical_p = 0.5f, .top_k = 300},
        {.temperature = 1, .typical_p = 0.9f},
        {.temperature = 1, .top_k = V - 1, .top_p = 0.5f},
    };
    static tok t[V];
    static unsigned seen[V];
    enum { DRAWS = 800 };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++)
        for (int flat = 0; flat < 2; flat++) {
            fill(k + 1, flat ? 0.3f : 3.0f);
            size_t n = reference(&cases[k], t);
            shares(&cases[k], t, n);
            memset(seen, 0, sizeof seen);
            kd_rng r = {.key = 99, .stream = k};
            for (int i = 0; i < DRAWS; i++) {
                int32_t id = sample(&cases[k], kd_rng_uniform(&r));
                assert_in_range(id, 0, V - 1);
                seen[id]++;
            }
            double chi = 0, rest = 0, rest_seen = 0, freedom = -1;
            unsigned total = 0;
            for (size_t i = 0; i < n; i++) {
                double want = t[i].p * DRAWS;
                total += seen[t[i].id];
                if (want < 8) {
                    rest += want, rest_seen += seen[t[i].id];
                    continue;
                }
                chi += ((double)seen[t[i].id] - want) * ((double)seen[t[i].id] - want) / want;
                freedom++;
            }
            assert_int_equal(total, DRAWS); /* nothing that a cut removed is ever drawn */
            if (rest > 8) chi += (rest_seen - rest) * (rest_seen - rest) / rest, freedom++;
            if (freedom > 0 && chi > freedom + 4.5 * sqrt(2 * freedom) + 8)
                fail_msg("case %zu flat %d: chi-squared %.1f at %.0f degrees", k, flat, chi, freedom);
        }
}

static void greedy_and_bounds(void **state) {
    (void)state;
    kd_sampling s = {0};
    fill(5, 1);
    row[700] = row[900] = 50;
    assert_int_equal(sample(&s, 0.5), 700); /* the lowest among equals */
    s.temperature = 1, s.top_k = 1;
    assert_int_equal(sample(&s, 0.99), 700);
    s.top_k = 2;
    assert_int_equal(sample(&s, 0.49), 700);
    assert_int_equal(sample(&s, 0.51), 900);
    s = (kd_sampling){.temperature = 0.01f};
    assert_int_equal(sample(&s, nextafter(1, 0)), 900);
    kd_logit_bias b[2] = {{700, -INFINITY}, {3, 1000}};
    s = (kd_sampling){.bias = b, .biases = 1};
    assert_int_equal(sample(&s, 0), 900);
    s.biases = 2;
    assert_int_equal(sample(&s, 0), 3);
    for (size_t i = 0; i < V; i++) row[i] = -INFINITY;
    s = (kd_sampling){.temperature = 1};
    assert_int_equal(sample(&s, 0.3), -1);
    row[17] = -5;
    s.top_p = 0.9f;
    for (int i = 0; i < 10; i++) assert_int_equal(sample(&s, i / 10.0), 17);
    row[3] = NAN;
    sample(&s, 0.3); /* no promise but to return */
}

static void penalties(void **state) {
    (void)state;
    float l[8] = {1, 2, -1, 3, 0, 5, 5, 5};
    int32_t seen[] = {7, 6, 1, 1, 2, 3, 5, 1};
    kd_sampling s = {.repetition_penalty = 2, .presence_penalty = 0.5f, .frequency_penalty = 0.25f, .penalty_last = 6};
    assert_int_equal(kd_sample(&s, l, 8, seen, 8, 0, work), 6);
    assert_float_equal(l[0], 1, 0);
    assert_float_equal(l[1], 2 / 2.0f - 3 * 0.25f - 0.5f, 1e-6);
    assert_float_equal(l[2], -1 * 2.0f - 0.25f - 0.5f, 1e-6);
    assert_float_equal(l[6], 5, 0); /* longer ago than penalty_last */
    kd_err e;
    s = (kd_sampling){.temperature = NAN};
    assert_int_equal(kd_sampling_check(&s, 8, &e), KD_EINVAL);
    assert_non_null(strstr(e.msg, "temperature"));
    s = (kd_sampling){.top_p = 1.5f};
    assert_int_equal(kd_sampling_check(&s, 8, &e), KD_EINVAL);
    kd_logit_bias b = {8, 0};
    s = (kd_sampling){.bias = &b, .biases = 1};
    assert_int_equal(kd_sampling_check(&s, 8, &e), KD_EINVAL);
}

int main(void) {
    work = kd_aligned_alloc(64, kd_sample_work(V));
    const struct CMUnitTest tests[] = {cmocka_unit_test(follows_the_distribution), cmocka_unit_test(greedy_and_bounds),
                                       cmocka_unit_test(penalties)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kd_free(work);
    return failed;
}
