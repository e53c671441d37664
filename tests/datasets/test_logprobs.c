/* tests/datasets/test_logprobs.c - log-probabilities packed and read back to the letter, as OpenAI, vLLM and llama.cpp write them; damage; allocation failures. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distill/base/rng.h"
#include "datasets/logprobs.h"

/* How the packed form of json begins (its version), after a way there and back. */
static int version_of(const char *json, size_t *bytes) {
    kd_json *doc = NULL;
    kd_buf packed = {0}, text = {0}, back = {0};
    kd_err e = {0};
    if (kd_json_parse(&doc, json, strlen(json), "test", &e) || kd_logprobs_pack(&packed, kd_json_root(doc), 0, &e) ||
        kd_logprobs_unpack(&back, kd_buf_view(&packed), &e))
        fail_msg("%s", e.msg);
    kd_jsonw w = {.out = &text};
    kd_jsonw_node(&w, kd_json_root(doc));
    assert_int_equal(text.len, back.len);
    assert_memory_equal(text.data, back.data, text.len);
    int version = packed.data[0];
    if (bytes) *bytes = packed.len;
    kd_json_free(doc);
    kd_buf_clear(&packed), kd_buf_clear(&text), kd_buf_clear(&back);
    return version;
}

static void test_forms(void **state) {
    (void)state;
    static const struct {
        const char *json;
        int version;
    } t[] = {
        /* OpenAI: shortest of the float; vLLM: of the double it became; llama.cpp: ids and members in another order */
        {"[{\"token\":\"Hi\",\"logprob\":-0.31325978,\"bytes\":[72,105],\"top_logprobs\":[{\"token\":\"Hi\",\"logprob\":-0.31325978,"
         "\"bytes\":[72,105]},"
         "{\"token\":\"\\u20ac\",\"logprob\":-12.5,\"bytes\":[226,130,172]}]}]",
         2},
        {"[{\"token\":\"a\",\"logprob\":-0.3132617473602295,\"bytes\":[97],\"top_logprobs\":[{\"token\":\"b\",\"logprob\":-1."
         "3132617473602295,\"bytes\":[98]}]},"
         "{\"token\":\"b\",\"logprob\":-9999.0,\"bytes\":[98],\"top_logprobs\":[]}]",
         2},
        {"[{\"id\":19556,\"token\":\"Hello\",\"bytes\":[72,101,108,108,111],\"logprob\":-0.04056304693222046,\"top_logprobs\":[{\"id\":"
         "19556,\"token\":\"Hello\","
         "\"bytes\":[72,101,108,108,111],\"logprob\":-0.04056304693222046},{\"id\":49,\"token\":\"\\ufffd\",\"bytes\":[226,130],"
         "\"logprob\":-4.5}]}]",
         2},
        {"[{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":null,\"top_logprobs\":[]}]", 2},
        {"[{\"token\":\"x\",\"logprob\":-0.5}]", 2},
        {"[{\"token\":\"bytes:\\\\xe2\",\"logprob\":-1.0,\"bytes\":[226],\"top_logprobs\":[]}]", 2},
        /* what version 2 cannot say is kept as text */
        {"[{\"token\":\"x\",\"logprob\":-0.1234567890123456789}]", 0},
        {"[{\"token\":\"x\",\"logprob\":-0.5,\"more\":1}]", 0},
        {"[{\"token\":\"x\",\"logprob\":-0.5},{\"logprob\":-0.5,\"token\":\"x\"}]", 0},
        {"[{\"token\":\"x\",\"logprob\":-5e-1}]", 0},
        {"[{\"token\":\"x\",\"logprob\":null}]", 0},
        {"[{\"token\":\"x\",\"logprob\":-1}]", 0},
        {"[{\"token\":\"x\",\"logprob\":-0.5,\"bytes\":[300]}]", 0},
        {"[7]", 0},
        {"[]", 0},
        {"{\"a\":1}", 0},
    };
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        int v = version_of(t[i].json, NULL);
        if (v != t[i].version) fail_msg("%s: version %d", t[i].json, v);
    }
}

/* 400 tokens with 20 alternatives, words and values of a kind that models give. */
static void make(kd_buf *b, int n, int k, bool openai) {
    kd_rng r = {.key = 9};
    kd_buf_putc(b, '[');
    for (int i = 0; i < n; i++) {
        double lp = -0.05;
        for (int a = 0; a <= k; a++) {
            char word[16], value[40];
            int id = (int)(pow(kd_rng_uniform(&r), 3) * 3000);
            snprintf(word, sizeof word, "%s%c%c%d", id % 3 ? " " : "", 'a' + id % 26, 'a' + id / 26 % 26, id % 100);
            float f = (float)lp;
            if (openai)
                snprintf(value, sizeof value, "%.9g", (double)f);
            else
                value[kd_double_text((double)f, value)] = 0;
            if (a > 0) lp -= 0.6 * kd_rng_uniform(&r);
            if (a == 0)
                kd_buf_printf(b, "%s{\"token\":\"%s\",\"logprob\":%s,\"bytes\":[", i ? "," : "", word, value);
            else
                kd_buf_printf(b, "%s{\"token\":\"%s\",\"logprob\":%s,\"bytes\":[", a > 1 ? "," : "", word, value);
            for (size_t c = 0; word[c]; c++) kd_buf_printf(b, "%s%d", c ? "," : "", word[c]);
            kd_buf_puts(b, a ? "]}" : "],\"top_logprobs\":[");
        }
        kd_buf_puts(b, "]}");
    }
    kd_buf_putc(b, ']');
}

static void test_size(void **state) {
    (void)state;
    kd_buf b = {0};
    size_t bytes = 0;
    make(&b, 400, 20, false);
    assert_int_equal(version_of(b.data, &bytes), 2);
    printf("# 400 tokens, 20 alternatives: %zu bytes of JSON, %zu packed, %.1f a token\n", b.len, bytes, (double)bytes / 400);
    assert_true(bytes < b.len / 8);
    kd_buf_clear(&b);
}

/* What a study of an earlier build holds. */
static void test_old(void **state) {
    (void)state;
    static const unsigned char old[] = {1,   120, 156, 43,  201, 73,  10,  209, 47, 201, 73, 98, 96, 96,  98, 98, 98,  76,  100, 96, 4,
                                        178, 24,  153, 128, 120, 223, 254, 125, 7,  26,  14, 52, 48, 192, 0,  0,  196, 253, 8,   146};
    kd_buf b = {0};
    assert_int_equal(kd_logprobs_unpack(&b, (kd_str){(const char *)old, sizeof old}, NULL), KD_OK);
    assert_string_equal(
        b.data,
        "[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97],\"top_logprobs\":[{\"token\":\"a\",\"logprob\":-0.25,\"bytes\":[97]},"
        "{\"token\":\"b\",\"logprob\":-2.0,\"bytes\":[98]}]},{\"token\":\"b\",\"logprob\":-1.5,\"bytes\":[98],\"top_logprobs\":[]}]");
    kd_buf_clear(&b);
}

/* The array packed at a step, as JSON again. */
static void rounded(kd_json **out, kd_buf *packed, const kd_json_node *array, double step) {
    kd_buf text = {0};
    kd_err e = {0};
    packed->len = 0;
    if (kd_logprobs_pack(packed, array, step, &e) || kd_logprobs_unpack(&text, kd_buf_view(packed), &e) ||
        kd_json_parse(out, text.data, text.len, "test", &e))
        fail_msg("%s", e.msg);
    kd_buf_clear(&text);
}

/* Every member but for the logprobs the same; the greatest distance of those. */
static double distance(const kd_json_node *a, const kd_json_node *b) {
    double worst = 0;
    assert_true(kd_str_eq(kd_json_key(a), kd_json_key(b)));
    assert_int_equal(kd_json_typeof(a), kd_json_typeof(b));
    if (kd_str_is(kd_json_key(a), "logprob")) return fabs(kd_json_number(a, 0) - kd_json_number(b, 0));
    if (kd_json_typeof(a) == KD_JSON_STRING) assert_true(kd_str_eq(kd_json_string(a), kd_json_string(b)));
    assert_true(kd_json_number(a, -1) == kd_json_number(b, -1));
    assert_int_equal(kd_json_count(a), kd_json_count(b));
    const kd_json_node *x = kd_json_first(a), *y = kd_json_first(b);
    for (; x; x = kd_json_next(x), y = kd_json_next(y)) worst = fmax(worst, distance(x, y));
    return worst;
}

static void test_rounded(void **state) {
    (void)state;
    static const double steps[] = {1, 0.125, 0.03, 0.001, 1e-6};
    kd_buf b = {0}, packed = {0};
    kd_json *doc, *back, *again;
    kd_err e = {0};
    make(&b, 400, 20, true);
    assert_int_equal(kd_json_parse(&doc, b.data, b.len, "test", &e), KD_OK);
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        rounded(&back, &packed, kd_json_root(doc), steps[i]);
        double worst = distance(kd_json_root(doc), kd_json_root(back));
        printf("# step %g: %.1f bytes a token, at most %g nats off\n", steps[i], (double)packed.len / 400, worst);
        assert_true(worst <= steps[i] / 2 + 1e-6);
        assert_int_equal(packed.data[0], 2);
        size_t bytes = packed.len;
        rounded(&again, &packed, kd_json_root(back), steps[i]); /* what is rounded stays as it is */
        assert_true(distance(kd_json_root(back), kd_json_root(again)) == 0);
        assert_int_equal(bytes, packed.len);
        kd_json_free(back), kd_json_free(again);
    }
    kd_json_free(doc);
    static const char *const kept[] = {"[{\"token\":\"x\",\"logprob\":null}]", "[{\"token\":\"x\",\"logprob\":-0.3,\"bytes\":[300]}]",
                                       "[{\"token\":\"x\",\"logprob\":-0.3,\"more\":1}]"}; /* as text, to the letter */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(kd_json_parse(&doc, kept[i], strlen(kept[i]), "test", &e), KD_OK);
        rounded(&back, &packed, kd_json_root(doc), 0.1);
        assert_int_equal(packed.data[0], 0);
        assert_true(distance(kd_json_root(doc), kd_json_root(back)) == 0);
        kd_json_free(doc), kd_json_free(back);
    }
    static const char far[] = "[{\"token\":\"x\",\"logprob\":-9999.0,\"bytes\":null},{\"token\":\"y\",\"logprob\":0.0,\"bytes\":null}]";
    assert_int_equal(kd_json_parse(&doc, far, sizeof far - 1, "test", &e), KD_OK);
    rounded(&back, &packed, kd_json_root(doc), 0.03);
    assert_true(distance(kd_json_root(doc), kd_json_root(back)) < 0.015);
    kd_json_free(doc), kd_json_free(back);
    kd_buf_clear(&b), kd_buf_clear(&packed);
}

static void damage(double step) {
    kd_buf b = {0}, packed = {0}, back = {0};
    kd_json *doc;
    kd_err e = {0};
    make(&b, 3, 4, false);
    assert_int_equal(kd_json_parse(&doc, b.data, b.len, "test", &e), KD_OK);
    assert_int_equal(kd_logprobs_pack(&packed, kd_json_root(doc), step, &e), KD_OK);
    for (size_t i = 0; i < packed.len; i++) {
        char kept = packed.data[i];
        packed.data[i] ^= 0x41;
        (void)kd_logprobs_unpack(&back, kd_buf_view(&packed), &e); /* an error or another list, never a crash */
        packed.data[i] = kept;
        back.len = 0;
        assert_int_equal(kd_logprobs_unpack(&back, (kd_str){packed.data, i}, &e), KD_EFORMAT);
        assert_int_equal(back.len, 0);
    }
    for (long i = 1;; i++) {
        kd_buf out = {0};
        kd_alloc_fail_at(i);
        kd_code c = kd_logprobs_pack(&out, kd_json_root(doc), step, &e);
        bool failed = kd_alloc_count() >= i;
        kd_alloc_fail_at(0);
        kd_buf_clear(&out);
        if (!failed) break;
        assert_true(c == KD_ENOMEM || c == KD_OK);
    }
    kd_json_free(doc);
    kd_buf_clear(&b), kd_buf_clear(&packed), kd_buf_clear(&back);
}

static void test_damage(void **state) {
    (void)state;
    damage(0), damage(0.03);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_forms), cmocka_unit_test(test_size), cmocka_unit_test(test_old),
                                       cmocka_unit_test(test_rounded), cmocka_unit_test(test_damage)};
    return cmocka_run_group_tests_name("logprobs", tests, NULL, NULL);
}
