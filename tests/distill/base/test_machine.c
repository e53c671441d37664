/* tests/distill/base/test_machine.c - clock, memory figures, processor, storage types, events. */
#include "check.h"

#include "distill/base/clock.h"
#include "distill/base/cpu.h"
#include "distill/base/dtype.h"
#include "distill/base/event.h"

static void test_clock(void **state) {
    (void)state;
    char s[32];
    const uint64_t a = kd_now_ns();
    assert_true(kd_now_ns() >= a);
    assert_true(kd_now() > 0);
    assert_true(kd_unix_ms() > 1700000000000);
    kd_iso_time(0, s);
    assert_string_equal(s, "1970-01-01T00:00:00.000Z");
    kd_iso_time(1769903999123, s);
    assert_string_equal(s, "2026-01-31T23:59:59.123Z");
    kd_iso_time(-1, s);
    assert_string_equal(s, "1969-12-31T23:59:59.999Z");
    kd_iso_time(INT64_MAX, s);
    assert_int_equal(strlen(s), 24);
}

static void test_memory(void **state) {
    (void)state;
    assert_true(kd_memory_total() >= (uint64_t)64 << 20);
    assert_true(kd_memory_free() <= kd_memory_total());
    const uint64_t before = kd_peak_rss();
    const size_t n = (size_t)(before + (64 << 20));
    char *p = kd_malloc(n);
    assert_non_null(p);
    for (size_t i = 0; i < n; i += 4096) p[i] = 1;
    assert_true(kd_peak_rss() >= before + (32 << 20));
    kd_free(p);
}

static void test_cpu(void **state) {
    (void)state;
    const kd_cpu_level had = kd_cpu_get()->level;
    assert_false(kd_cpu_cap("avx1024"));
    assert_false(kd_cpu_cap(""));
    assert_true(kd_cpu_cap("scalar"));
    assert_int_equal(kd_cpu_get()->level, KD_CPU_SCALAR);
    assert_string_equal(kd_cpu_describe(), "scalar");
    assert_false(kd_cpu_get()->avx512_vnni || kd_cpu_get()->avx_vnni || kd_cpu_get()->amx_int8);
    assert_true(kd_cpu_cap("avx2"));
    assert_true(kd_cpu_get()->level <= KD_CPU_AVX2);
    assert_false(kd_cpu_get()->avx512_vnni || kd_cpu_get()->avx512_bf16);
    assert_true(kd_cpu_cap("avx512-base"));
    assert_int_equal(kd_cpu_get()->level, had);
    assert_false(kd_cpu_get()->avx512_vnni || kd_cpu_get()->avx512_bf16 || kd_cpu_get()->avx_vnni);
    assert_true(kd_cpu_cap(NULL));
    assert_int_equal(kd_cpu_get()->level, had);
    /* the compiler's own reading of CPUID */
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    const bool wide = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                      __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
    assert_int_equal(had, wide ? KD_CPU_AVX512 : avx2 ? KD_CPU_AVX2 : KD_CPU_SCALAR);
    if (wide) assert_int_equal(kd_cpu_get()->avx512_vnni, __builtin_cpu_supports("avx512vnni") != 0);
    if (wide) assert_int_equal(kd_cpu_get()->avx512_bf16, __builtin_cpu_supports("avx512bf16") != 0);
}

static void test_dtype(void **state) {
    (void)state;
    /* ggml's block sizes */
    static const struct {
        int type;
        const char *name;
        size_t block, bytes;
    } known[] = {{0, "f32", 1, 4},       {1, "f16", 1, 2},       {2, "q4_0", 32, 18},    {3, "q4_1", 32, 20},      {6, "q5_0", 32, 22},
                 {7, "q5_1", 32, 24},    {8, "q8_0", 32, 34},    {10, "q2_k", 256, 84},  {11, "q3_k", 256, 110},   {12, "q4_k", 256, 144},
                 {13, "q5_k", 256, 176}, {14, "q6_k", 256, 210}, {20, "iq4_nl", 32, 18}, {23, "iq4_xs", 256, 136}, {30, "bf16", 1, 2},
                 {39, "mxfp4", 32, 17},  {24, "i8", 1, 1},       {27, "i64", 1, 8},      {28, "f64", 1, 8},        {100, "f8_e4m3", 1, 1}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        const kd_dtype_info *t = kd_dtype_get(known[i].type);
        kd_dtype back;
        size_t bytes;
        assert_non_null(t);
        assert_string_equal(t->name, known[i].name);
        assert_int_equal(t->block, known[i].block);
        assert_int_equal(t->bytes, known[i].bytes);
        assert_true(kd_dtype_named(known[i].name, &back) && (int)back == known[i].type);
        assert_true(kd_dtype_row_bytes(known[i].type, 512, &bytes) && bytes == 512 / t->block * t->bytes);
    }
    kd_dtype d;
    size_t bytes = 7;
    assert_true(kd_dtype_named("Q4_K", &d) && d == KD_Q4_K);
    assert_false(kd_dtype_named("q4_2", &d));
    assert_null(kd_dtype_get(4));
    assert_null(kd_dtype_get(-1));
    assert_false(kd_dtype_row_bytes(KD_Q8_0, 33, &bytes));
    assert_false(kd_dtype_row_bytes(KD_F64, SIZE_MAX / 4, &bytes));
    assert_false(kd_dtype_row_bytes(4, 32, &bytes));
    assert_int_equal(bytes, 7);
}

static int emitted;
static void on_event(void *ctx, const kd_event *ev) { emitted += *(int *)ctx + (int)ev->done; }
static int on_stop(void *ctx) { return *(int *)ctx; }

static void test_event(void **state) {
    (void)state;
    int ctx = KD_EINTERRUPT;
    kd_emit(NULL, (kd_event){.kind = KD_EV_NOTE});
    kd_emit(&(kd_watch){0}, (kd_event){.kind = KD_EV_NOTE});
    assert_int_equal(kd_stopping(NULL), 0);
    assert_int_equal(kd_stopping(&(kd_watch){0}), 0);
    const kd_watch w = {on_event, on_stop, &ctx};
    kd_emit(&w, (kd_event){.kind = KD_EV_STEP, .done = 5});
    assert_int_equal(emitted, KD_EINTERRUPT + 5);
    assert_int_equal(kd_stopping(&w), KD_EINTERRUPT);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clock), cmocka_unit_test(test_memory), cmocka_unit_test(test_cpu),
                                       cmocka_unit_test(test_dtype), cmocka_unit_test(test_event)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
