/* tests/datasets/bench_dedup.c - near-duplicates over many questions, and how many of the pairs that there are it finds.
 *   bench_dedup [N]              N questions (1000000) from a fixed seed: word problems of 30 to 80 words, one in five a copy of an earlier one with words changed
 *   bench_dedup --write FILE N   writes them, {"text": ...} a line, for the peers (scripts/bench_labels.py) */
#include "datasets/near_dup.h"
#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const names[] = {"Tom",  "Ann", "Natalia", "Weng",  "Betty", "Mark", "James", "Lisa",
                                    "Omar", "Ken", "Sofia",   "Alice", "Ivan",  "Chen", "Aisha", "Paul"};
static const char *const verbs[] = {"buys",   "sells",  "finds", "gives", "eats",  "reads",  "paints", "carries",
                                    "counts", "plants", "bakes", "packs", "earns", "spends", "saves",  "loses"};
static const char *const things[] = {"apples",  "books",   "clips",  "pencils", "eggs",  "tickets", "stamps", "marbles",
                                     "roses",   "cookies", "coins",  "shirts",  "boxes", "fish",    "chairs", "cards",
                                     "bottles", "letters", "stones", "toys",    "lamps", "plates",  "cups",   "cakes"};
static const char *const places[] = {"at the market", "in the garden",    "on Monday",       "for her friends",
                                     "from the shop", "every week",       "in the morning",  "during the summer",
                                     "at school",     "on the train",     "before lunch",    "after the game",
                                     "in a red bag",  "with his brother", "for ten dollars", "near the river"};

#define ONE(list) list[kd_rng_below(r, sizeof list / sizeof *list)]
static void make(kd_buf *b, kd_rng *r) {
    b->len = 0;
    for (uint64_t n = 4 + kd_rng_below(r, 6); n; n--)
        (void)kd_buf_printf(b, "%s %s %d %s %s%s ", ONE(names), ONE(verbs), (int)kd_rng_below(r, 200), ONE(things), ONE(places),
                            n > 1 ? "." : ",");
    (void)kd_buf_printf(b, "how many %s are left for %s?", ONE(things), ONE(names));
}

/* A copy with each word changed once in of. */
static void change(kd_buf *out, kd_str b, kd_rng *r, uint64_t of) {
    out->len = 0;
    for (size_t i = 0; i < b.len;) {
        size_t n = 0;
        while (i + n < b.len && b.data[i + n] != ' ') n++;
        n += i + n < b.len;
        if (kd_rng_below(r, of) == 0)
            (void)kd_buf_printf(out, "%s ", ONE(things));
        else
            (void)kd_buf_append(out, b.data + i, n);
        i += n;
    }
}

/* The ith question: of itself, or of an earlier one. */
static void question(kd_buf *out, uint64_t i) {
    kd_rng r = {9, i, 0};
    const bool copy = i > 10 && kd_rng_below(&r, 5) == 0;
    if (copy) {
        kd_rng of = {9, kd_rng_below(&r, i), 0};
        kd_buf base = {0};
        (void)kd_rng_below(&of, 5);
        make(&base, &of);
        change(out, kd_buf_view(&base), &r, 20 + kd_rng_below(&r, 180));
        kd_buf_clear(&base);
    } else {
        make(out, &r);
    }
}

static int write_questions(const char *path, uint64_t n) {
    FILE *f = fopen(path, "w");
    kd_buf q = {0}, line = {0};
    if (!f) return perror(path), 1;
    for (uint64_t i = 0; i < n; i++) {
        question(&q, i);
        line.len = 0;
        kd_jsonw w = {.out = &line};
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "text");
        kd_jsonw_str(&w, kd_buf_view(&q));
        kd_jsonw_end_object(&w);
        fprintf(f, "%s\n", line.data);
    }
    kd_buf_clear(&q);
    kd_buf_clear(&line);
    return fclose(f);
}

/* Every pair of the first n, by its exact Jaccard: how many of those at 0.8 or more lie in one cluster; how many told pairs are such. */
static void judge(const kd_near_dup *d, const kd_near_like *l, size_t n) {
    size_t pairs = 0, met = 0, told = 0, right = 0;
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; k < i; k++)
            if (kd_near_dup_jaccard(d, i, k) >= 0.8) {
                pairs++;
                met += l[i].first == l[k].first;
            }
    for (size_t i = 0; i < kd_near_dup_count(d); i++)
        if (l[i].like != i) {
            told++;
            right += kd_near_dup_jaccard(d, i, l[i].like) >= 0.8;
        }
    printf("  of the first %zu, all pairs: %zu at Jaccard 0.8 or more, %zu in one cluster: recall %.4f; told of all: %zu, %zu right: "
           "precision %.4f\n",
           n, pairs, met, pairs ? (double)met / (double)pairs : 1, told, right, told ? (double)right / (double)told : 1);
}

static double cpu(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "--write") == 0) return write_questions(argv[2], strtoull(argv[3], NULL, 10));
    const uint64_t n = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    kd_near_dup *d = NULL;
    kd_pool *pool = NULL;
    kd_near_report r;
    kd_err e;
    kd_buf q = {0};
    uint64_t bytes = 0;
    double making = 0, adding = 0;
    if (kd_near_dup_new(&d, &e) || kd_pool_new(&pool, 0, &e)) return 1;
    for (uint64_t i = 0; i < n; i++) {
        const double t = cpu();
        question(&q, i);
        const double t2 = cpu();
        if (kd_near_dup_add(d, kd_buf_view(&q), &e)) return fprintf(stderr, "%s\n", e.msg), 1;
        adding += cpu() - t2;
        making += t2 - t;
        bytes += q.len;
    }
    kd_near_like *l = calloc(n, sizeof *l);
    const double from = kd_now();
    if (!l || kd_near_dup_find(d, 0.8, pool, l, NULL, &r, &e)) return fprintf(stderr, "%s\n", e.msg), 1;
    const double t = kd_now() - from, spent = (double)clock() / CLOCKS_PER_SEC - making;
    printf("near-duplicates: %llu questions, %.0f MB, %d threads: shingles %.1f s, bands %.1f s, %.0f questions/s; %llu exact, %llu near, "
           "%llu candidates, %llu compared; %.1f s of processor time; peak %.0f MB\n",
           (unsigned long long)n, (double)bytes / 1e6, kd_pool_threads(pool), adding, t, (double)n / (adding + t),
           (unsigned long long)r.exact, (unsigned long long)r.near, (unsigned long long)r.candidates, (unsigned long long)r.compared, spent,
           (double)kd_peak_rss() / 1e6);
    judge(d, l, n < 3000 ? n : 3000);
    free(l);
    kd_buf_clear(&q);
    kd_pool_free(pool);
    kd_near_dup_free(d);
    return 0;
}
