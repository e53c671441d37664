/* tests/datasets/test_near_dup.c - near-duplicates against all pairs, contamination, and both beside a study. */
#include "study_help.h"

#include "datasets/against.h"
#include "datasets/dedup.h"
#include "datasets/near_dup.h"
#include "distill/base/rng.h"

/* A question of n words out of many, and copies of it with some words changed. */
static void make(kd_buf *b, kd_rng *r, int n) {
    b->len = 0;
    for (int i = 0; i < n; i++) OK(kd_buf_printf(b, "w%d ", (int)kd_rng_below(r, 5000)));
}

static void change(kd_buf *out, const kd_buf *b, kd_rng *r, int of) {
    out->len = 0;
    for (const char *p = b->data; *p;) {
        const size_t n = strcspn(p, " ") + 1;
        if (kd_rng_below(r, (uint64_t)of) == 0)
            OK(kd_buf_printf(out, "x%d ", (int)kd_rng_below(r, 100)));
        else
            OK(kd_buf_append(out, p, n));
        p += n;
    }
}

static void test_all_pairs(void **state) {
    (void)state;
    kd_rng r = {3, 1, 0};
    kd_near_dup *d = NULL;
    kd_buf base = {0}, copy = {0};
    kd_pool *pool = NULL;
    OK(kd_near_dup_new(&d, &e));
    OK(kd_pool_new(&pool, 3, &e));
    for (int i = 0; i < 300; i++) {
        make(&base, &r, 20 + (int)kd_rng_below(&r, 80));
        OK(kd_near_dup_add(d, kd_buf_view(&base), &e));
        for (uint64_t k = kd_rng_below(&r, 4); k; k--) {
            change(&copy, &base, &r, 10 + (int)kd_rng_below(&r, 200));
            OK(kd_near_dup_add(d, kd_buf_view(&copy), &e));
        }
    }
    const size_t n = kd_near_dup_count(d);
    kd_near_like *l = calloc(n, sizeof *l), *again = calloc(n, sizeof *again);
    kd_near_report rep, rep2;
    OK(kd_near_dup_find(d, 0.8, pool, l, NULL, &rep, &e));
    OK(kd_near_dup_find(d, 0.8, NULL, again, NULL, &rep2, &e));
    assert_memory_equal(l, again, n * sizeof *l); /* whatever the threads */
    size_t pairs = 0, met = 0, wrong = 0;
    for (size_t i = 0; i < n; i++) {
        if (l[i].first != i && l[i].similarity > 0) {
            const double j = kd_near_dup_jaccard(d, i, l[i].like);
            if (j < 0.8 && l[i].similarity < 1) wrong++;
            assert_true(l[i].like < i);
        }
        for (size_t k = 0; k < i; k++)
            if (kd_near_dup_jaccard(d, i, k) >= 0.8) {
                pairs++;
                met += l[i].first == l[k].first;
            }
    }
    assert_int_equal(wrong, 0);
    assert_true(pairs > 100);
    if (met < pairs * 99 / 100) fail_msg("%zu of %zu pairs are in one cluster", met, pairs);
    FAILS(KD_EINVAL, "threshold", kd_near_dup_find(d, 0, NULL, l, NULL, &rep, &e));
    free(l);
    free(again);
    kd_pool_free(pool);
    kd_near_dup_free(d);
    kd_buf_clear(&base);
    kd_buf_clear(&copy);
}

static const char taken[] = "Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in May. How many clips "
                            "did Natalia sell altogether?";

static void test_against(void **state) {
    (void)state;
    kd_against *a = NULL;
    kd_scan_room room = {0};
    OK(kd_against_new(&a, &e));
    OK(kd_against_add(a, kd_str_of("Weng earns $12 an hour for babysitting. Yesterday, she just did 50 minutes of babysitting."), "b.jsonl",
                      1, &e));
    OK(kd_against_add(a, kd_str_of(taken), "b.jsonl", 7, &e));
    OK(kd_against_add(a, kd_str_of("What is 2 + 2?"), "c.jsonl", 2, &e));
    static const struct {
        const char *text;
        double low, high;
        size_t line;
    } rows[] = {{taken, 1, 1, 7},
                {"NATALIA sold clips to 48 of her friends in April and then, she sold half as many clips in May! Now, what else?", 0.7,
                 0.95, 7},
                {"A farmer sold clips to 48 of her friends in April and went home with nothing else to do that day.", 0.3, 0.6, 7},
                {"Bob has nine apples and gives two of them to each of his three friends. How many are left?", 0, 0, 0},
                {"what is 2 + 2", 1, 1, 2},
                {"What is 2 + 3?", 0, 0, 0},
                {"", 0, 0, 0}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_contamination c;
        OK(kd_against_look(a, &room, kd_str_of(rows[i].text), &c, &e));
        if (c.share < rows[i].low || c.share > rows[i].high || c.line != rows[i].line)
            fail_msg("row %zu: %g, line %zu, %zu words in a row", i, c.share, c.line, c.run);
    }
    kd_scan_room_clear(&room);
    kd_against_free(a);
}

/* Two long texts: compared in time that grows with their length, and the run is found. */
static void test_long(void **state) {
    (void)state;
    kd_against *a = NULL;
    kd_scan_room room = {0};
    kd_rng r = {8, 1, 0};
    kd_buf b = {0};
    kd_contamination c;
    make(&b, &r, 20000);
    OK(kd_against_new(&a, &e));
    OK(kd_against_add(a, kd_buf_view(&b), "long", 1, &e));
    OK(kd_against_look(a, &room, kd_buf_view(&b), &c, &e));
    assert_true(c.share == 1 && c.run == 20000 && c.grams13 == 1);
    kd_scan_room_clear(&room);
    kd_against_free(a);
    kd_buf_clear(&b);
}

/* Each allocation failing in turn. */
static void test_allocations(void **state) {
    (void)state;
    bool clean = false;
    for (long at = 1; !clean && at < 500; at++) {
        kd_near_dup *d = NULL;
        kd_against *a = NULL;
        kd_scan_room room = {0};
        kd_contamination c;
        kd_near_like l[3];
        kd_near_report r;
        kd_err e;
        kd_alloc_fail_at(at);
        kd_code rc = kd_near_dup_new(&d, &e);
        for (int i = 0; i < 3 && !rc; i++) rc = kd_near_dup_add(d, kd_str_of(taken), &e);
        if (!rc) rc = kd_near_dup_find(d, 0.8, NULL, l, NULL, &r, &e);
        if (!rc) rc = kd_against_new(&a, &e);
        if (!rc) rc = kd_against_add(a, kd_str_of(taken), "f", 1, &e);
        if (!rc) rc = kd_against_look(a, &room, kd_str_of(taken), &c, &e);
        clean = kd_alloc_count() < at;
        kd_alloc_fail_at(0);
        if (rc != (clean ? KD_OK : KD_ENOMEM)) fail_msg("allocation %ld: code %d", at, (int)rc);
        if (clean) assert_true(r.exact == 2 && c.share == 1);
        kd_scan_room_clear(&room);
        kd_near_dup_free(d);
        kd_against_free(a);
    }
    assert_true(clean);
}

static int told;
static void pair(void *ctx, const char *kind, int64_t prompt, kd_str text, const char *file, int64_t other, kd_str other_text,
                 double share) {
    (void)ctx, (void)kind, (void)prompt, (void)text, (void)file, (void)other, (void)other_text, (void)share;
    told++;
}

static void test_study(void **state) {
    (void)state;
    kd_study *s = NULL;
    kd_dedup_report r;
    kd_import_report ir;
    const char *questions = in_tmp("q.jsonl"), *path = in_tmp("dup.study");
    write_text(questions, "{\"question\":\"Tom has three red apples and five green apples in his big basket. How many apples does he have "
                          "in all?\",\"answer\":\"8\"}\n"
                          "{\"question\":\"tom has three red apples and five green apples, in his big basket: how many apples does he have "
                          "in all?\",\"answer\":\"8\"}\n"
                          "{\"question\":\"Ann has three red apples and five green apples in his big basket. How many apples does he have "
                          "in all?\",\"answer\":\"8\"}\n"
                          "{\"question\":\"Natalia sold clips to 48 of her friends in April, and then she sold half as many clips in "
                          "May.\",\"answer\":\"72\"}\n");
    const char *bench = in_tmp("bench.jsonl");
    kd_buf b = {0};
    OK(kd_buf_printf(&b, "{\"question\":\"%s\",\"answer\":\"72\"}\nnonsense\n", taken));
    write_text(bench, b.data);
    kd_buf_clear(&b);
    OK(kd_study_open(&s, path, KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, questions, NULL, NULL, &ir, &e));
    int64_t set;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a[] = {answer_of(1, 0, "8"), answer_of(2, 0, "8"), answer_of(3, 0, "8"), answer_of(4, 0, "72")};
    OK(kd_study_commit(s, set, 0, a, 4, NULL, 0, NULL, &e));
    for (int i = 0; i < 2; i++) { /* the second run says the same */
        told = 0;
        OK(kd_dedup_run(s, &(kd_dedup_opts){.against = &bench, .n_against = 1, .pair = pair}, NULL, &r, &e));
        assert_int_equal(r.prompts, 4);
        assert_int_equal(r.exact, 1);
        assert_int_equal(r.near, 1);
        assert_int_equal(r.bad, 1);
        assert_int_equal(r.against, 1);
        assert_int_equal(r.contaminated, 1);
        assert_int_equal(told, 3);
    }
    static const struct {
        const char *select;
        uint64_t rows;
    } asks[] = {{"duplicate_of is null", 2}, {"duplicate_of = 1", 2}, {"contaminated > 0.9", 1}, {"coalesce(contaminated, 0) < 0.5", 3}};
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        kd_select *q = NULL;
        uint64_t rows = 0;
        OK(kd_select_open(&q, s, &(kd_select_opts){.select = asks[i].select}, &e));
        OK(kd_select_count(q, &rows, NULL, &e));
        if (rows != asks[i].rows) fail_msg("%s: %llu rows", asks[i].select, (unsigned long long)rows);
        kd_select_close(q);
    }
    const char *nowhere = "/nowhere/x.jsonl";
    FAILS(KD_ENOENT, "nowhere", kd_dedup_run(s, &(kd_dedup_opts){.against = &nowhere, .n_against = 1}, NULL, &r, &e));
    kd_study_close(s);
}

/* The same for the whole command over a study: what an earlier run told is replaced whole or not at all. */
static void test_study_allocations(void **state) {
    (void)state;
    const char *bench = in_tmp("failing.jsonl");
    kd_buf b = {0};
    kd_dedup_report r;
    bool clean = false;
    OK(kd_buf_printf(&b, "{\"question\":\"%s\",\"answer\":\"72\"}\n", taken));
    write_text(bench, b.data);
    kd_study *s = study_of("failing.study", 3);
    kd_import_report ir;
    OK(kd_import_file(s, bench, NULL, NULL, &ir, &e));
    const kd_dedup_opts o = {.against = &bench, .n_against = 1, .pair = pair};
    int64_t set;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    kd_answer a = answer_of(4, 0, "72");
    OK(kd_study_commit(s, set, 0, &a, 1, NULL, 0, NULL, &e));
    OK(kd_dedup_run(s, &o, NULL, &r, &e));
    for (long at = 1; !clean && at < 3000; at++) {
        kd_err e;
        kd_err_clear(&e);
        kd_alloc_fail_at(at);
        const kd_code rc = kd_dedup_run(s, &o, NULL, &r, &e);
        clean = kd_alloc_count() < at;
        kd_alloc_fail_at(0);
        if (rc != (clean ? KD_OK : KD_ENOMEM)) fail_msg("allocation %ld: code %d: %s", at, (int)rc, e.msg);
        kd_select *q = NULL;
        uint64_t rows = 0;
        OK(kd_study_check(s, &e));
        OK(kd_select_open(&q, s, &(kd_select_opts){.select = "contaminated = 1", .any = true}, &e));
        OK(kd_select_count(q, &rows, NULL, &e));
        kd_select_close(q);
        assert_int_equal(rows, 1);
    }
    assert_true(clean);
    assert_int_equal(r.prompts, 4);
    assert_int_equal(r.contaminated, 1);
    kd_buf_clear(&b);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_all_pairs),   cmocka_unit_test(test_against),
                                       cmocka_unit_test(test_study),       cmocka_unit_test(test_long),
                                       cmocka_unit_test(test_allocations), cmocka_unit_test(test_study_allocations)};
    return cmocka_run_group_tests_name("near_dup", tests, make_tmp, drop_tmp);
}
