/* tests/datasets/test_pack.c - packing against a plain best fit that looks at every row, and its promises. */
#include "datasets/pack.h"
#include "distill/base/rng.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static kd_lesson *make(size_t n, size_t max, uint64_t seed) {
    kd_rng r = {.key = seed};
    kd_lesson *l = calloc(n + 1, sizeof *l);
    for (size_t i = 0; i < n; i++) {
        l[i].n = 1 + (size_t)kd_rng_below(&r, max);
        l[i].tokens = calloc(l[i].n, sizeof *l[i].tokens);
        l[i].loss = calloc(l[i].n, 1);
        l[i].loss[l[i].n - 1 - (size_t)kd_rng_below(&r, l[i].n)] = 1;
        l[i].row = i + 1;
    }
    return l;
}

static void drop(kd_lesson *l, size_t n) {
    for (size_t i = 0; i < n; i++) {
        free(l[i].tokens);
        free(l[i].loss);
    }
    free(l);
}

/* Row of each lesson by looking at all rows: the least room that is enough; of equals the one that has had that room for longest. */
static size_t plain(size_t *row_of, const kd_lesson *l, size_t n, size_t length, bool cut) {
    size_t rows = 0, clock = 0, *room = calloc(n + 1, sizeof *room), *since = calloc(n + 1, sizeof *since);
    for (size_t i = 0; i < n; i++) {
        size_t len = l[i].n, best = SIZE_MAX;
        row_of[i] = SIZE_MAX;
        if (len > length) {
            bool learns = false;
            for (size_t k = 1; k < length; k++) learns |= l[i].loss[k];
            if (!cut || !learns) continue;
            len = length;
        }
        for (size_t r = 0; r < rows; r++)
            if (room[r] >= len && (best == SIZE_MAX || room[r] < room[best] || (room[r] == room[best] && since[r] < since[best]))) best = r;
        if (best == SIZE_MAX) {
            best = rows++;
            room[best] = length;
        }
        room[best] -= len;
        since[best] = ++clock;
        row_of[i] = best;
    }
    free(room);
    free(since);
    return rows;
}

static void check(size_t n, size_t max, size_t length, kd_pack_long longer, uint64_t seed) {
    kd_lesson *l = make(n, max, seed);
    size_t *row_of = calloc(n + 1, sizeof *row_of), *seen = calloc(n + 1, sizeof *seen), tokens = 0, waste = 0, left_out = 0, cut = 0;
    kd_packed p;
    assert_int_equal(kd_pack(&p, l, n, &(kd_pack_opts){.length = length, .longer = longer}, NULL), KD_OK);
    assert_int_equal(p.n, plain(row_of, l, n, length, longer == KD_PACK_CUT));
    for (size_t r = 0; r < p.n; r++) {
        size_t sum = 0;
        for (size_t k = 0; k < p.rows[r].n; k++) {
            const kd_pack_part part = p.rows[r].parts[k];
            assert_true(part.lesson < n && part.n > 0 && (k == 0 || part.lesson > p.rows[r].parts[k - 1].lesson));
            assert_int_equal(part.n, l[part.lesson].n > length ? length : l[part.lesson].n);
            assert_int_equal(row_of[part.lesson], r);
            cut += part.n < l[part.lesson].n;
            seen[part.lesson]++;
            sum += part.n;
        }
        assert_true(sum == p.rows[r].tokens && sum <= length);
        tokens += sum;
        waste += length - sum;
    }
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(seen[i], row_of[i] != SIZE_MAX);
        left_out += row_of[i] == SIZE_MAX;
    }
    assert_true(p.tokens == tokens && p.waste == waste && p.dropped == left_out && p.cut == cut);
    kd_packed_clear(&p);
    free(row_of);
    free(seen);
    drop(l, n);
}

static void test_best_fit(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++)
        check(1 + seed * 7 % 200, 1 + seed % 90, 2 + seed * 13 % 100, seed % 2 ? KD_PACK_DROP : KD_PACK_CUT, seed);
    check(0, 5, 10, KD_PACK_DROP, 1);
    check(5000, 300, 512, KD_PACK_CUT, 7);
}

static void test_options(void **state) {
    (void)state;
    kd_lesson *l = make(10, 8, 3);
    kd_packed p;
    kd_err e = {0};
    assert_int_equal(kd_pack(&p, l, 10, &(kd_pack_opts){.length = 8, .single = true}, NULL), KD_OK);
    assert_int_equal(p.n, 10);
    for (size_t i = 0; i < 10; i++) assert_true(p.rows[i].n == 1 && p.rows[i].parts[0].lesson == i);
    kd_packed_clear(&p);
    assert_int_equal(kd_pack(&p, l, 10, &(kd_pack_opts){.length = 1}, &e), KD_EINVAL);
    assert_int_equal(kd_pack(&p, l, 10, &(kd_pack_opts){.length = 3, .longer = KD_PACK_REFUSE}, &e), KD_EFORMAT);
    assert_true(strstr(e.msg, "longer than a row of 3") != NULL && p.rows == NULL);
    drop(l, 10);
}

static void test_memory(void **state) {
    (void)state;
    kd_lesson *l = make(50, 30, 5);
    bool done = false;
    for (long k = 1; !done; k++) {
        kd_packed p;
        kd_alloc_fail_at(k);
        kd_code c = kd_pack(&p, l, 50, &(kd_pack_opts){.length = 64}, NULL);
        done = kd_alloc_count() < k;
        kd_alloc_fail_at(0);
        assert_int_equal(c, done ? KD_OK : KD_ENOMEM);
        kd_packed_clear(&p);
    }
    drop(l, 50);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_best_fit), cmocka_unit_test(test_options), cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
