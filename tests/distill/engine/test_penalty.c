/* tests/distill/engine/test_penalty.c - repetition, presence, frequency and DRY penalties against what llama.cpp's documentation says, written as plain
 * loops; DRY's own examples; breakers of real vocabularies. */
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/engine/sample.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { V = 40, N = 120 };
static void *work;

/* logit -= multiplier * base^(n - allowed): n by trying every place, each backwards, stopped at the last breaker. single[t]: t alone breaks. */
static void plain_dry(float *l, const int32_t *seen, size_t n, const kd_sampling *s, const bool *single, const int32_t pair[2]) {
    size_t allowed = s->dry_allowed_length ? s->dry_allowed_length : 2, reach = n;
    double base = s->dry_base > 0 ? (double)s->dry_base : 1.75;
    if (s->dry_last && n > s->dry_last) seen += n - s->dry_last, n = s->dry_last, reach = n;
    for (size_t i = 0; i < n; i++) {
        if (single[seen[n - 1 - i]] && !(seen[n - 1 - i] == pair[0] && i && seen[n - i] == pair[1])) {
            reach = i;
            break;
        }
        if (seen[n - 1 - i] == pair[0] && i && seen[n - i] == pair[1]) {
            reach = i - 1;
            break;
        }
    }
    for (int32_t t = 0; t < V; t++) {
        size_t longest = 0;
        for (size_t at = 1; at < n; at++) { /* t stands at `at`: how far is what is before it like the end? */
            if (seen[at] != t) continue;
            size_t m = 0;
            while (m < at && seen[at - 1 - m] == seen[n - 1 - m]) m++;
            if (m > reach) m = reach;
            if (m > longest) longest = m;
        }
        if (n > allowed && reach >= allowed && longest >= allowed && !single[t])
            l[t] -= (float)((double)s->dry_multiplier * pow(base, (double)(longest - allowed)));
    }
}

static void dry_is_what_it_says(void **state) {
    (void)state;
    kd_rng r = {.key = 5};
    size_t felt = 0;
    for (int round = 0; round < 4000; round++) {
        int32_t seen[N];
        bool single[V] = {false};
        int32_t pair[2] = {-1, -1}, tokens[8];
        size_t n = kd_rng_below(&r, N), at[5] = {0}, nb = 0, words = 1 + kd_rng_below(&r, 5);
        for (size_t i = 0; i < n; i++) /* few words, and pieces again */
            seen[i] = i > 8 && kd_rng_below(&r, 4) ? seen[i - 1 - kd_rng_below(&r, 3) * 2] : (int32_t)kd_rng_below(&r, words);
        for (int b = 0; b < round % 3; b++, nb++) {
            tokens[at[nb]] = (int32_t)kd_rng_below(&r, V / 4);
            single[tokens[at[nb]]] = true, at[nb + 1] = at[nb] + 1;
        }
        if (round % 5 == 0) {
            pair[0] = tokens[at[nb]] = (int32_t)kd_rng_below(&r, words), pair[1] = tokens[at[nb] + 1] = (int32_t)kd_rng_below(&r, words);
            at[nb + 1] = at[nb] + 2, nb++;
        }
        kd_dry *d;
        assert_int_equal(kd_dry_of_tokens(&d, V, tokens, at, nb, NULL), KD_OK);
        kd_sampling s = {.dry_multiplier = 0.8f,
                         .dry_base = round % 2 ? 0 : 1.3f,
                         .dry_allowed_length = (uint32_t)(round % 4),
                         .dry_last = round % 7 ? 0 : 30,
                         .dry_breakers = nb ? d : NULL};
        float got[V], want[V];
        for (size_t i = 0; i < V; i++) got[i] = want[i] = (float)kd_rng_normal(&r);
        plain_dry(want, seen, n, &s, single, pair);
        float before = got[0];
        kd_sample_adjust(&s, got, V, seen, n, work);
        felt += got[0] != before;
        for (size_t i = 0; i < V; i++)
            if (fabsf(got[i] - want[i]) > 1e-5f * fabsf(want[i]) + 1e-5f)
                fail_msg("round %d: token %zu %g, expected %g", round, i, (double)got[i], (double)want[i]);
        kd_dry_free(d);
    }
    assert_true(felt > 300);
}

/* The example of the sampler's author: a b c c b c y a b c -> c after "a b c" is 3 long, b after "c" 1 long. */
static void dry_by_hand(void **state) {
    (void)state;
    const int32_t seen[] = {0, 1, 2, 2, 1, 2, 24, 0, 1, 2};
    float l[V] = {0};
    kd_sampling s = {.dry_multiplier = 1, .dry_base = 2, .dry_allowed_length = 1};
    kd_sample_adjust(&s, l, V, seen, 10, work);
    assert_float_equal(l[2], -4, 1e-6);  /* 2^(3-1) */
    assert_float_equal(l[1], -1, 1e-6);  /* 2^(1-1) */
    assert_float_equal(l[24], -2, 1e-6); /* "b c" came before y: 2^(2-1) */
    assert_float_equal(l[0], 0, 0);
    float huge[V] = {0};
    int32_t same[2000];
    for (size_t i = 0; i < 160; i++) same[i] = 7;
    s.dry_base = 3;
    kd_sample_adjust(&s, huge, V, same, 160, work); /* the exponent is bounded: finite */
    assert_true(isfinite(huge[7]) && huge[7] < -1e30f);
}

static void plain_penalties(float *l, const int32_t *seen, size_t n, const kd_sampling *s) {
    size_t last = s->penalty_last ? s->penalty_last : 64;
    for (int32_t t = 0; t < V; t++) {
        int count = 0;
        for (size_t i = n > last ? n - last : 0; i < n; i++) count += seen[i] == t;
        if (!count) continue;
        float rep = s->repetition_penalty != 0.0f ? s->repetition_penalty : 1;
        l[t] = l[t] <= 0 ? l[t] * rep : l[t] / rep;
        l[t] -= (float)count * s->frequency_penalty + s->presence_penalty;
    }
}

static void penalties_are_what_they_say(void **state) {
    (void)state;
    kd_rng r = {.key = 6};
    for (int round = 0; round < 500; round++) {
        int32_t seen[N];
        size_t n = kd_rng_below(&r, N);
        for (size_t i = 0; i < n; i++) seen[i] = (int32_t)kd_rng_below(&r, V);
        kd_sampling s = {.repetition_penalty = round % 3 ? 1.0f + (float)(round % 5) / 4 : 0,
                         .presence_penalty = (float)(round % 4) / 3,
                         .frequency_penalty = (float)(round % 7 - 3) / 5,
                         .penalty_last = (uint32_t)(round % 6 ? kd_rng_below(&r, V) : 0)};
        float got[V], want[V];
        for (size_t i = 0; i < V; i++) got[i] = want[i] = (float)kd_rng_normal(&r);
        size_t m = n > V && !s.penalty_last ? V : n; /* the work area of so small a vocabulary holds no more */
        plain_penalties(want, seen + (n - m), m, &s);
        kd_sample_adjust(&s, got, V, seen, n, work);
        for (size_t i = 0; i < V; i++) assert_float_equal(got[i], want[i], 1e-5);
    }
}

/* Breakers as strings: every token that holds one, and tokens that end with the beginning of one, with the rest behind them. */
static void breakers_of_a_vocabulary(void **state) {
    (void)state;
    static const char *const models[] = {"tests/oracle/models/llama-tied-rope3", "tests/oracle/models/llama-untied-spm"};
    for (size_t k = 0; k < 2; k++) {
        kd_tokenizer *tok;
        kd_err e = {0};
        if (kd_tokenizer_open(&tok, models[k], &e) != KD_OK) fail_msg("%s", e.msg);
        size_t size = kd_tokenizer_size(tok), singles = 0;
        kd_dry *d;
        assert_int_equal(kd_dry_new(&d, tok, size, NULL, 0, &e), KD_OK);
        kd_buf b = {0};
        for (size_t i = 0; i < size; i++) {
            b.len = 0;
            assert_int_equal(kd_tokenizer_piece(tok, (int32_t)i, &b, NULL), KD_OK);
            bool holds =
                kd_tokenizer_token(tok, (int32_t)i).type != KD_TOKEN_CONTROL && b.len &&
                (memchr(b.data, '\n', b.len) || memchr(b.data, ':', b.len) || memchr(b.data, '"', b.len) || memchr(b.data, '*', b.len));
            assert_int_equal(holds, kd_dry_single(d, (int32_t)i));
            singles += holds;
        }
        assert_true(singles >= 4);
        kd_ids ids = {0};
        assert_int_equal(kd_tokenizer_encode(tok, &ids, "one: two", 8, 0, NULL), KD_OK);
        size_t behind = 0;
        while (!kd_dry_single(d, ids.id[ids.n - 1 - behind])) behind++;
        assert_int_equal(kd_dry_reach(d, ids.id, ids.n), behind);
        kd_dry_free(d);
        /* A breaker over a border of tokens: the end of the first token and the whole of the second. */
        char word[40];
        ids.n = 0;
        assert_int_equal(kd_tokenizer_encode(tok, &ids, "one two 3 four", 14, 0, NULL), KD_OK);
        size_t cut = ids.n - 1;
        b.len = 0;
        assert_int_equal(kd_tokenizer_piece(tok, ids.id[cut - 1], &b, NULL), KD_OK);
        size_t first = b.len;
        assert_int_equal(kd_tokenizer_piece(tok, ids.id[cut], &b, NULL), KD_OK);
        snprintf(word, sizeof word, "%.*s", (int)(b.len - first + 1), b.data + first - 1);
        const char *const across[] = {word};
        assert_int_equal(kd_dry_new(&d, tok, size, across, 1, &e), KD_OK);
        assert_false(kd_dry_single(d, ids.id[cut]));
        /* SentencePiece writes a text's beginning otherwise than the same text further on: there, as with llama.cpp, no rest is found. */
        if (k == 0) assert_int_equal(kd_dry_reach(d, ids.id, ids.n), 0);
        assert_int_equal(kd_dry_reach(d, ids.id, cut), cut);
        kd_dry_free(d);
        const char *const none[] = {""};
        assert_int_equal(kd_dry_new(&d, tok, size, none, 1, &e), KD_EINVAL);
        kd_ids_clear(&ids);
        kd_buf_clear(&b);
        kd_tokenizer_free(tok);
    }
}

int main(void) {
    work = kd_aligned_alloc(64, kd_sample_work(V));
    const struct CMUnitTest tests[] = {cmocka_unit_test(dry_is_what_it_says), cmocka_unit_test(dry_by_hand),
                                       cmocka_unit_test(penalties_are_what_they_say), cmocka_unit_test(breakers_of_a_vocabulary)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kd_free(work);
    return failed;
}
