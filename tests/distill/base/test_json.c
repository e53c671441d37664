/* tests/distill/base/test_json.c - the oracle of numbers' texts is Python's repr (values printed by Python 3.11). */
#include "check.h"

#include "distill/base/json.h"

static kd_json *parse(const char *text, size_t n) {
    kd_json *d = NULL;
    kd_err e = {0};
    if (kd_json_parse(&d, text, n, "test", &e)) fail_msg("%s", e.msg);
    return d;
}

static void test_types(void **state) {
    (void)state;
    static const char text[] = " {\"n\":null,\"t\":true,\"f\":false,\"i\":-12,\"d\":1.50,\"s\":\"x\",\"a\":[1,[],{}],\"o\":{\"k\":0}} \n";
    kd_json *d = parse(text, sizeof text - 1);
    const kd_json_node *r = kd_json_root(d);
    int64_t i;
    assert_int_equal(kd_json_typeof(r), KD_JSON_OBJECT);
    assert_int_equal(kd_json_count(r), 8);
    assert_int_equal(kd_json_typeof(kd_json_get(r, "n")), KD_JSON_NULL);
    assert_true(kd_json_bool(kd_json_get(r, "t"), false));
    assert_false(kd_json_bool(kd_json_get(r, "f"), true));
    assert_true(kd_json_bool(kd_json_get(r, "i"), true)); /* no bool: the other */
    assert_true(kd_json_int(kd_json_get(r, "i"), &i) && i == -12);
    assert_false(kd_json_int(kd_json_get(r, "d"), &i));
    assert_true(kd_json_number(kd_json_get(r, "d"), 0) == 1.5);
    assert_true(kd_json_number(kd_json_get(r, "none"), -3) == -3);
    assert_true(kd_str_is(kd_json_number_text(kd_json_get(r, "d")), "1.50"));
    assert_true(kd_str_is(kd_json_string(kd_json_get(r, "s")), "x"));
    assert_null(kd_json_string(kd_json_get(r, "i")).data);
    const kd_json_node *a = kd_json_get(r, "a"), *m = kd_json_first(a);
    assert_int_equal(kd_json_count(a), 3);
    assert_int_equal(kd_json_typeof(m), KD_JSON_NUMBER);
    m = kd_json_next(m);
    assert_int_equal(kd_json_typeof(m), KD_JSON_ARRAY);
    assert_null(kd_json_first(m));
    m = kd_json_next(m);
    assert_int_equal(kd_json_typeof(m), KD_JSON_OBJECT);
    assert_int_equal(kd_json_count(m), 0);
    assert_null(kd_json_next(m));
    assert_true(kd_str_is(kd_json_key(kd_json_first(r)), "n"));
    assert_null(kd_json_key(r).data);
    assert_int_equal(kd_json_typeof(NULL), KD_JSON_ABSENT);
    assert_null(kd_json_get(NULL, "x"));
    assert_null(kd_json_get(a, "x"));
    assert_null(kd_json_first(NULL));
    assert_null(kd_json_next(NULL));
    kd_json_free(d);
    kd_json_free(NULL);
}

static void test_strings_keep_their_length(void **state) {
    (void)state;
    static const char text[] = "{\"a\\u0000b\":\"\\u0000\\u0001\\u0002x\\u0000\",\"\\u0002n\":\"\\u0002\",\"e\":\"\"}";
    kd_json *d = parse(text, sizeof text - 1);
    const kd_json_node *m = kd_json_first(kd_json_root(d));
    assert_true(kd_str_eq(kd_json_key(m), KD_STR("a\0b")));
    assert_true(kd_str_eq(kd_json_string(m), KD_STR("\0\1\2x\0")));
    assert_int_equal(kd_json_string(m).data[5], 0);
    m = kd_json_next(m);
    assert_true(kd_str_eq(kd_json_key(m), KD_STR("\2n")));
    assert_int_equal(kd_json_typeof(m), KD_JSON_STRING); /* U+0002 does not make it a number */
    assert_true(kd_str_eq(kd_json_string(m), KD_STR("\2")));
    assert_true(kd_str_eq(kd_json_string(kd_json_next(m)), KD_STR("")));
    assert_null(kd_json_get(kd_json_root(d), "a"));
    kd_json_free(d);
}

static void test_escapes(void **state) {
    (void)state;
    static const char text[] =
        "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u0041\\u00e9\\u20AC\\ud83d\\ude00\\ud800\\ud800\\udc00\\udc00x\\u0022\\u005c\"";
    kd_json *d = parse(text, sizeof text - 1);
    assert_true(kd_str_eq(kd_json_string(kd_json_root(d)),
                          KD_STR("\"\\/\b\f\n\r\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\xef\xbf\xbd\xf0\x90\x80\x80\xef\xbf\xbdx\"\\")));
    kd_json_free(d);
}

static void test_numbers(void **state) {
    (void)state;
    static const struct {
        const char *text;
        bool is_int;
        int64_t value;
    } ints[] = {{"0", true, 0},
                {"-0", true, 0},
                {"9223372036854775807", true, INT64_MAX},
                {"-9223372036854775808", true, INT64_MIN},
                {"9223372036854775808", false, 0},
                {"-9223372036854775809", false, 0},
                {"9007199254740993", true, 9007199254740993},
                {"1e3", true, 1000},
                {"5.0", true, 5},
                {"1.5", false, 0},
                {"1e30", false, 0},
                {"1e400", false, 0}};
    for (size_t i = 0; i < sizeof ints / sizeof *ints; i++) {
        int64_t v = 42;
        kd_json *d = parse(ints[i].text, strlen(ints[i].text));
        assert_int_equal(kd_json_int(kd_json_root(d), &v), ints[i].is_int);
        assert_true(v == (ints[i].is_int ? ints[i].value : 42));
        assert_true(kd_str_is(kd_json_number_text(kd_json_root(d)), ints[i].text));
        kd_json_free(d);
    }
    char digits[500]; /* longer than any buffer of cJSON's */
    memset(digits, '7', sizeof digits);
    digits[1] = '.';
    kd_json *d = parse(digits, sizeof digits);
    assert_int_equal(kd_json_number_text(kd_json_root(d)).len, sizeof digits);
    assert_true(kd_json_number(kd_json_root(d), 0) == 7.777777777777778);
    kd_json_free(d);
}

static void test_refused(void **state) {
    (void)state;
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "test: line 1 column 1: a value expected, found the end"},
        {"{\"a\":1,\"a\":2}", "test: the key \"a\" is there twice in one object"},
        {"[1,]", "test: line 1 column 4: a value expected, found ']'"},
        {"{\"a\":1,}", "test: line 1 column 8: a key in quotes expected, found '}'"},
        {"01", "test: line 1 column 2: nothing more expected, found '1'"},
        {"+1", "test: line 1 column 1: a value expected, found '+'"},
        {".5", "test: line 1 column 1: a value expected, found '.'"},
        {"1.", "test: line 1 column 3: a digit expected, found the end"},
        {"-", "test: line 1 column 2: a digit expected, found the end"},
        {"1e+", "test: line 1 column 4: a digit expected, found the end"},
        {"NaN", "test: line 1 column 1: a value expected, found 'N'"},
        {"nul", "test: line 1 column 1: a value expected, found 'n'"},
        {"\"a", "test: line 1 column 3: the closing quote of a string expected, found the end"},
        {"\"a\nb\"", "test: line 1 column 3: an escaped control character expected, found U+000A"},
        {"\"\\x\"", "test: line 1 column 3: one of \"\\/bfnrtu after a backslash expected, found 'x'"},
        {"\"\\u12g4\"", "test: line 1 column 4: four hexadecimal digits expected, found '1'"},
        {"\n\n  [1 2]", "test: line 3 column 6: ',' or ']' expected, found '2'"},
        {"{\"\xc3\xa9\" 1}", "test: line 1 column 6: ':' expected, found '1'"},
        {"\"\xff\"", "test: line 1 column 2: UTF-8 expected, found a byte that is not UTF-8"},
        {"\"\xed\xa0\x80\"", "test: line 1 column 2: UTF-8 expected, found a byte that is not UTF-8"},
        {"{} {}", "test: line 1 column 4: nothing more expected, found '{'"},
        {"]", "test: line 1 column 1: a value expected, found ']'"},
        {"[1}", "test: line 1 column 3: ',' or ']' expected, found '}'"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        kd_json *d = (kd_json *)&d;
        kd_err e = {0};
        assert_int_equal(kd_json_parse(&d, bad[i].text, strlen(bad[i].text), "test", &e), KD_EFORMAT);
        assert_null(d);
        assert_string_equal(e.msg, bad[i].message);
    }
}

static void test_depth(void **state) {
    (void)state;
    char text[402];
    kd_json *d;
    memset(text, '[', 200);
    memset(text + 200, ']', 200);
    kd_json_free(parse(text, 400));
    memset(text, '[', 201);
    memset(text + 201, ']', 201);
    assert_int_equal(kd_json_parse(&d, text, 402, "test", NULL), KD_EFORMAT);
    memset(text, '[', 402); /* open brackets without end must not eat the stack */
    assert_int_equal(kd_json_parse(&d, text, 402, "test", NULL), KD_EFORMAT);
}

static void test_duplicates_among_many(void **state) {
    (void)state;
    for (int twice = 0; twice < 2; twice++) {
        kd_buf b = {0};
        kd_json *d;
        (void)kd_buf_putc(&b, '{');
        for (int i = 0; i < 5000; i++) (void)kd_buf_printf(&b, "\"k%d\":%d,", i, i);
        (void)kd_buf_puts(&b, twice ? "\"k\\u0033\":1}" : "\"k\\u0033x\":1}"); /* k3, spelled otherwise */
        assert_int_equal(kd_json_parse(&d, b.data, b.len, "test", NULL), twice ? KD_EFORMAT : KD_OK);
        kd_json_free(d);
        kd_buf_clear(&b);
    }
}

static void test_byte_order_mark(void **state) {
    (void)state;
    kd_json_free(parse("\xef\xbb\xbf[]", 5));
}

static kd_code write_some(kd_buf *b, bool ascii, bool python) {
    kd_jsonw w = {.out = b, .ascii = ascii, .python = python};
    *b = (kd_buf){0};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "s");
    kd_jsonw_str(&w, KD_STR("a\0\"\\\n\x1f\x7f\xc3\xa9\xf0\x9f\x98\x80\xff\xe2\x82"));
    kd_jsonw_key_str(&w, KD_STR("k\0"));
    kd_jsonw_array(&w);
    kd_jsonw_int(&w, INT64_MIN);
    kd_jsonw_double(&w, 3);
    kd_jsonw_double(&w, 0.0 / 0.0);
    kd_jsonw_bool(&w, true);
    kd_jsonw_null(&w);
    kd_jsonw_cstr(&w, NULL);
    kd_jsonw_array(&w);
    kd_jsonw_end_array(&w);
    kd_jsonw_raw(&w, KD_STR("1.50"));
    kd_jsonw_end_array(&w);
    kd_jsonw_key(&w, "o");
    kd_jsonw_object(&w);
    kd_jsonw_end_object(&w);
    kd_jsonw_end_object(&w);
    if (w.code) kd_buf_clear(b);
    return w.code;
}

/* Expected texts: json.dumps(..., separators=(",", ":") or not, ensure_ascii=...) of the same value. */
static void test_write(void **state) {
    (void)state;
    kd_buf b;
    assert_int_equal(write_some(&b, false, false), KD_OK);
    assert_string_equal(b.data, "{\"s\":\"a\\u0000\\\"\\\\\\n\\u001f\x7f\xc3\xa9\xf0\x9f\x98\x80\xef\xbf\xbd\xef\xbf\xbd\",\"k\\u0000\":"
                                "[-9223372036854775808,3.0,null,true,null,null,[],1.50],\"o\":{}}");
    kd_buf_clear(&b);
    assert_int_equal(write_some(&b, true, true), KD_OK);
    assert_string_equal(b.data, "{\"s\": \"a\\u0000\\\"\\\\\\n\\u001f\\u007f\\u00e9\\ud83d\\ude00\\ufffd\\ufffd\", \"k\\u0000\": "
                                "[-9223372036854775808, 3.0, null, true, null, null, [], 1.50], \"o\": {}}");
    kd_buf_clear(&b);
    SWEEP(write_some(&b, true, false), kd_buf_clear(&b));
}

static void test_again(void **state) {
    (void)state;
    static const char text[] = "{\"b\":[1.50,-0,1E+2,\"\\u0000x\"],\"a\":{\"z\":null,\"y\":[true,false]}}";
    kd_json *d = parse(text, sizeof text - 1);
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_node(&w, kd_json_root(d));
    assert_string_equal(b.data, text);
    kd_buf_clear(&b);
    kd_json_free(d);
}

static void test_double_text(void **state) {
    (void)state;
    static const struct {
        double v;
        const char *text;
    } known[] = {{0.0, "0.0"},
                 {-0.0, "-0.0"},
                 {1.0, "1.0"},
                 {0.1, "0.1"},
                 {1e15, "1000000000000000.0"},
                 {1e16, "1e+16"},
                 {123456789012345680.0, "1.2345678901234568e+17"},
                 {0.0001, "0.0001"},
                 {0.00001, "1e-05"},
                 {5e-324, "5e-324"},
                 {0x1p-44, "5.684341886080802e-14"},
                 {0x1p-1022, "2.2250738585072014e-308"},
                 {1.7976931348623157e308, "1.7976931348623157e+308"},
                 {0.1 + 0.2, "0.30000000000000004"},
                 {1e22, "1e+22"},
                 {1e23, "1e+23"},
                 {-1234.5678, "-1234.5678"},
                 {1e100, "1e+100"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        char s[32];
        const size_t n = kd_double_text(known[i].v, s);
        assert_string_equal(s, known[i].text);
        assert_int_equal(n, strlen(s));
    }
}

static kd_code parse_sweep(kd_json **d) {
    static const char text[] =
        "{\"a\":[1,2,\"three\",{\"four\":null}],\"b\":1,\"c\":1,\"d\":1,\"e\":1,\"f\":1,\"g\":1,\"h\":1,\"i\":1,\"j\":{}}";
    return kd_json_parse(d, text, sizeof text - 1, "test", NULL);
}

static void test_sweep(void **state) {
    (void)state;
    kd_json *d;
    SWEEP(parse_sweep(&d), kd_json_free(d));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_types),
                                       cmocka_unit_test(test_strings_keep_their_length),
                                       cmocka_unit_test(test_escapes),
                                       cmocka_unit_test(test_numbers),
                                       cmocka_unit_test(test_refused),
                                       cmocka_unit_test(test_depth),
                                       cmocka_unit_test(test_duplicates_among_many),
                                       cmocka_unit_test(test_byte_order_mark),
                                       cmocka_unit_test(test_write),
                                       cmocka_unit_test(test_again),
                                       cmocka_unit_test(test_double_text),
                                       cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
