/* tests/distill/base/test_mem.c */
#include "check.h"

static void test_fail_at(void **state) {
    (void)state;
    kd_alloc_fail_at(2);
    void *a = kd_malloc(1), *b = kd_malloc(1), *c = kd_malloc(1);
    assert_non_null(a);
    assert_null(b);
    assert_non_null(c); /* once */
    assert_int_equal(kd_alloc_count(), 3);
    kd_alloc_fail_at(0);
    kd_free(a);
    kd_free(c);
}

static void test_every_kind_can_fail(void **state) {
    (void)state;
    kd_alloc_fail_at(1);
    assert_null(kd_calloc(2, 2));
    kd_alloc_fail_at(1);
    assert_null(kd_aligned_alloc(64, 100));
    kd_alloc_fail_at(1);
    assert_null(kd_strdup("x"));
    void *p = kd_malloc(4);
    kd_alloc_fail_at(1);
    assert_null(kd_realloc(p, 8)); /* p stays */
    kd_free(p);
    kd_alloc_fail_at(0);
}

static void test_sizes(void **state) {
    (void)state;
    size_t n = 5;
    assert_true(kd_mul_size(3, 7, &n) && n == 21);
    assert_false(kd_mul_size(SIZE_MAX / 2 + 1, 2, &n));
    assert_false(kd_add_size(SIZE_MAX, 1, &n));
    assert_int_equal(n, 21);
    uint64_t u;
    assert_true(kd_add_u64(UINT64_MAX - 1, 1, &u) && u == UINT64_MAX);
    assert_false(kd_mul_u64(UINT64_MAX, 2, &u));
    assert_null(kd_calloc(SIZE_MAX, 2));
    assert_null(kd_realloc_array(NULL, SIZE_MAX / 4, 8));
    assert_null(kd_strndup("x", SIZE_MAX));
    void *p = kd_malloc(0);
    assert_non_null(p);
    kd_free(p);
    p = kd_calloc(0, 8);
    assert_non_null(p);
    kd_free(p);
    p = kd_aligned_alloc(4096, 10);
    assert_int_equal((uintptr_t)p % 4096, 0);
    kd_free(p);
}

static void test_strings(void **state) {
    (void)state;
    assert_true(kd_str_eq(KD_STR("a\0b"), (kd_str){"a\0b", 3}));
    assert_false(kd_str_eq(KD_STR("a\0b"), KD_STR("a\0c")));
    assert_true(kd_str_is((kd_str){NULL, 0}, ""));
    assert_true(kd_str_starts(KD_STR("abc"), "ab") && !kd_str_starts(KD_STR("a"), "ab") && kd_str_starts((kd_str){NULL, 0}, ""));
    assert_true(kd_str_ends(KD_STR("abc"), "bc") && !kd_str_ends(KD_STR("c"), "bc"));
    char *s = kd_strndup("a\0b", 3);
    assert_memory_equal(s, "a\0b", 4);
    kd_free(s);
}

static void test_buffer(void **state) {
    (void)state;
    kd_buf b = {0};
    for (int i = 0; i < 1000; i++) assert_int_equal(kd_buf_printf(&b, "%d,", i), KD_OK);
    assert_int_equal(b.len, 10 * 2 + 90 * 3 + 900 * 4);
    assert_int_equal(b.data[b.len], 0);
    assert_memory_equal(b.data + b.len - 4, "999,", 5);
    assert_int_equal(kd_buf_append(&b, "\0x", 2), KD_OK);
    const kd_buf before = b;
    assert_int_equal(kd_buf_reserve(&b, SIZE_MAX), KD_ENOMEM);
    kd_alloc_fail_at(1);
    assert_int_equal(kd_buf_reserve(&b, b.cap), KD_ENOMEM);
    kd_alloc_fail_at(1);
    assert_int_equal(kd_buf_printf(&b, "%*d", (int)b.cap, 1), KD_ENOMEM);
    kd_alloc_fail_at(0);
    assert_memory_equal(&b, &before, sizeof b); /* unchanged, and still ended */
    assert_int_equal(b.data[b.len], 0);
    char *taken = kd_buf_take(&b);
    assert_memory_equal(taken, "0,1,2,", 6);
    assert_null(b.data);
    kd_free(taken);
    taken = kd_buf_take(&b);
    assert_string_equal(taken, "");
    kd_free(taken);
    kd_buf_clear(&b);
}

static kd_code fill_buffer(kd_buf *b) {
    kd_code c = KD_OK;
    *b = (kd_buf){0};
    for (int i = 0; i < 200 && !c; i++) c = i % 2 ? kd_buf_puts(b, "some text") : kd_buf_printf(b, "%d and %s", i, "more");
    if (c) kd_buf_clear(b);
    return c;
}

static void test_sweep(void **state) {
    (void)state;
    kd_buf b;
    SWEEP(fill_buffer(&b), kd_buf_clear(&b));
}

static void test_grow(void **state) {
    (void)state;
    int *v = NULL;
    size_t cap = 0;
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(kd_grow((void **)&v, &cap, i + 1, sizeof *v), KD_OK);
        v[i] = (int)i;
    }
    for (int i = 0; i < 1000; i++) assert_int_equal(v[i], i);
    assert_int_equal(kd_grow((void **)&v, &cap, SIZE_MAX / 2, sizeof *v), KD_ENOMEM);
    assert_int_equal(v[999], 999);
    kd_free(v);
}

static void test_arena(void **state) {
    (void)state;
    kd_arena a = {0};
    for (size_t i = 0; i < 3000; i++) {
        unsigned char *p = kd_arena_alloc(&a, i);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % 16, 0);
        for (size_t k = 0; k < i; k++) assert_int_equal(p[k], 0);
        memset(p, 0xff, i);
    }
    assert_string_equal(kd_arena_strndup(&a, "abc", 2), "ab");
    assert_null(kd_arena_alloc(&a, SIZE_MAX));
    assert_null(kd_arena_alloc(&a, SIZE_MAX - 20));
    kd_alloc_fail_at(1);
    assert_null(kd_arena_alloc(&a, 1 << 22));
    kd_alloc_fail_at(0);
    kd_arena_clear(&a);
    assert_null(a.head);
    kd_arena_clear(&a);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_fail_at), cmocka_unit_test(test_every_kind_can_fail),
                                       cmocka_unit_test(test_sizes),   cmocka_unit_test(test_strings),
                                       cmocka_unit_test(test_buffer),  cmocka_unit_test(test_sweep),
                                       cmocka_unit_test(test_grow),    cmocka_unit_test(test_arena)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
