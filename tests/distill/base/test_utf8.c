/* tests/distill/base/test_utf8.c - digests by make_utf8_golden.py: Python's unicodedata and decoder over all code points. */
#include "check.h"

#include "distill/base/hash.h"
#include "distill/base/utf8.h"

static void digest_is(kd_sha256 *h, const char *expected) {
    unsigned char sum[32];
    char hex[65];
    kd_sha256_end(h, sum);
    kd_hex(sum, 32, hex);
    assert_string_equal(hex, expected);
}

static void test_categories(void **state) {
    (void)state;
    kd_sha256 h;
    kd_sha256_init(&h);
    for (uint32_t c = 0; c < 0x110000; c++) {
        const unsigned k = kd_uc_category(c);
        const char two[2] = {(char)(k >> 8), (char)k};
        kd_sha256_add(&h, two, 2);
        assert_int_equal(kd_uc_letter(c), two[0] == 'L');
        assert_int_equal(kd_uc_mark(c), two[0] == 'M');
        assert_int_equal(kd_uc_number(c), two[0] == 'N');
    }
    digest_is(&h, "8085160539536024cb99f586e60b6ea9ee9db67d8c95201969ac34657016c1af");
    assert_int_equal(kd_uc_category(0x110000), 'C' << 8 | 'n');
    assert_false(kd_uc_letter(0xffffffff));
}

static void normal_form(kd_normal_form f, const char *expected) {
    kd_sha256 h;
    kd_buf out = {0};
    kd_sha256_init(&h);
    for (uint32_t c = 0; c < 0x110000; c++) {
        if (c >= 0xd800 && c < 0xe000) continue;
        char s[32] = "a";
        size_t n = 1 + kd_utf8_put(s + 1, c);
        static const uint32_t marks[] = {0x307, 0x323, 0x3099, 0x301};
        for (int i = 0; i < 4; i++) n += kd_utf8_put(s + n, marks[i]);
        out.len = 0;
        assert_int_equal(kd_utf8_normalize(&out, s, n, f, NULL), KD_OK);
        kd_sha256_add(&h, out.data, out.len);
    }
    kd_buf_clear(&out);
    digest_is(&h, expected);
}

static void test_nfc(void **state) { (void)state, normal_form(KD_NFC, "8ac7bc7032345c23054dbd75483f61b98ff9b3086c2076a19119ecc181e8828c"); }
static void test_nfd(void **state) { (void)state, normal_form(KD_NFD, "ff600d2048e300696107ea79cb8ada1bff268bddc627af83e7594a3073240def"); }
static void test_nfkc(void **state) {
    (void)state, normal_form(KD_NFKC, "c33fab211a9b42f8d9b902bf319df9ff7990f89ac97701bb4e54145fff6ceb4d");
}
static void test_nfkd(void **state) {
    (void)state, normal_form(KD_NFKD, "3c879fb53805099e4af26c239bbb88c60a8b063b94b2964d19599004f831d119");
}

/* A long row of marks out of order: ordered as a short one is, and in time that grows with its length (a quadratic sort would need minutes). */
static void test_many_marks(void **state) {
    (void)state;
    enum { MARKS = 400000 };
    kd_buf in = {0}, out = {0};
    assert_int_equal(kd_buf_putc(&in, 'x'), KD_OK);
    for (int i = 0; i < MARKS; i++)
        assert_int_equal(kd_buf_puts(&in, i % 2 ? "\xcc\xa3" : "\xcc\x87"), KD_OK); /* U+0323 (220), U+0307 (230) */
    assert_int_equal(kd_utf8_normalize(&out, in.data, in.len, KD_NFD, NULL), KD_OK);
    assert_int_equal(out.len, in.len);
    assert_memory_equal(out.data + 1, "\xcc\xa3\xcc\xa3", 4);
    assert_memory_equal(out.data + 1 + MARKS - 2, "\xcc\xa3\xcc\x87", 4);
    kd_buf_clear(&in);
    kd_buf_clear(&out);
}

static void test_replace(void **state) {
    (void)state;
    static const unsigned char odd[] = {0x00, 0x41, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1,
                                        0xc2, 0xdf, 0xe0, 0xe1, 0xed, 0xef, 0xf0, 0xf1, 0xf4, 0xf5, 0xff};
    const size_t n = sizeof odd;
    kd_sha256 h;
    kd_buf out = {0};
    kd_sha256_init(&h);
    for (size_t i = 0; i < n * n * n * n; i++) {
        const char s[4] = {(char)odd[i / (n * n * n)], (char)odd[i / (n * n) % n], (char)odd[i / n % n], (char)odd[i % n]};
        out.len = 0;
        assert_int_equal(kd_utf8_replace(&out, s, 4), KD_OK);
        kd_sha256_add(&h, out.data, out.len);
        assert_int_equal(kd_utf8_count(s, 4), kd_utf8_count(out.data, out.len));
        assert_int_equal(kd_utf8_valid(s, 4), out.len == 4 && memcmp(s, out.data, 4) == 0);
        assert_true(kd_utf8_valid(out.data, out.len));
    }
    kd_buf_clear(&out);
    digest_is(&h, "75b887227582c2cc1791aad4baca158096b1128ddc38de781c04112e78f273fa");
}

static void test_every_code_point_there_and_back(void **state) {
    (void)state;
    for (uint32_t c = 0; c < 0x110000; c++) {
        char s[4];
        size_t len;
        const size_t n = kd_utf8_put(s, c);
        const int32_t back = kd_utf8_next(s, n, &len);
        assert_true(c >= 0xd800 && c < 0xe000 ? back == -1 && len == 1 : back == (int32_t)c && len == n);
        for (size_t cut = 1; cut < n && back >= 0; cut++) {
            assert_int_equal(kd_utf8_partial(s, cut), cut);
            assert_int_equal(kd_utf8_next(s, cut, &len), -1);
        }
        if (back >= 0) assert_int_equal(kd_utf8_partial(s, n), 0);
    }
}

static void test_partial(void **state) {
    (void)state;
    assert_int_equal(kd_utf8_partial("", 0), 0);
    assert_int_equal(kd_utf8_partial("abc\xe2\x82", 5), 2);
    assert_int_equal(kd_utf8_partial("\x82", 1), 0);         /* no start: waits for nothing */
    assert_int_equal(kd_utf8_partial("\xed\xa0", 2), 0);     /* a surrogate will never be whole */
    assert_int_equal(kd_utf8_partial("\xf0\x80\x80", 3), 0); /* nor an overlong form */
    assert_int_equal(kd_utf8_partial("\xff", 1), 0);
    assert_int_equal(kd_utf8_partial("\xf0\x9f\x98\x80", 4), 0);
}

static void test_classes(void **state) {
    (void)state;
    static const uint32_t spaces[] = {9,      10,     11,     12,     13,     0x20,   0x85,   0xa0,   0x1680,
                                      0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007, 0x2008,
                                      0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000};
    size_t found = 0;
    for (uint32_t c = 0; c < 0x110000; c++)
        if (kd_uc_space(c)) assert_int_equal(spaces[found++], c);
    assert_int_equal(found, sizeof spaces / sizeof *spaces);
    for (const char *s = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"; *s; s++) assert_true(kd_uc_punct((uint32_t)*s));
    assert_true(kd_uc_punct(0x3002) && kd_uc_punct(0x2014));
    assert_false(kd_uc_punct('a') || kd_uc_punct(0x20ac) || kd_uc_punct(' '));
    assert_int_equal(kd_uc_tolower(0xc9), 0xe9);
    assert_int_equal(kd_uc_toupper(0x3c9), 0x3a9);
    assert_int_equal(kd_uc_tolower(0x110000), 0x110000);
    kd_buf b = {0};
    assert_int_equal(kd_utf8_lower(&b, "\xc3\x89T\xc3\x89 \xff\0X", 9), KD_OK);
    assert_true(kd_str_eq(kd_buf_view(&b), (kd_str){"\xc3\xa9t\xc3\xa9 \xff\0x", 9}));
    b.len = 0;
    assert_int_equal(kd_utf8_upper(&b, "\xcf\x89z", 3), KD_OK);
    assert_string_equal(b.data, "\xce\xa9Z");
    kd_buf_clear(&b);
}

static void test_normalize_refuses(void **state) {
    (void)state;
    kd_buf b = {0};
    kd_err e = {0};
    assert_int_equal(kd_buf_puts(&b, "kept"), KD_OK);
    assert_int_equal(kd_utf8_normalize(&b, "\xc3\xa9\xff", 3, KD_NFC, &e), KD_EFORMAT);
    assert_string_equal(b.data, "kept");
    assert_int_equal(kd_utf8_normalize(&b, "", 0, KD_NFC, &e), KD_OK);
    assert_int_equal(kd_utf8_normalize(&b, "\0\xc3\xa9", 3, KD_NFD, &e), KD_OK);
    assert_int_equal(b.len, 8);
    kd_buf_clear(&b);
}

static kd_code work(kd_buf *b) {
    static const char text[] = "e\xcc\x81\xcc\xa3 \xef\xac\x81 \xff";
    *b = (kd_buf){0};
    kd_code c = kd_utf8_normalize(b, text, sizeof text - 2, KD_NFKC, NULL);
    if (!c) c = kd_utf8_replace(b, text, sizeof text - 1);
    if (!c) c = kd_utf8_upper(b, text, sizeof text - 1);
    if (c) kd_buf_clear(b);
    return c;
}

static void test_sweep(void **state) {
    (void)state;
    kd_buf b;
    SWEEP(work(&b), kd_buf_clear(&b));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_categories),
                                       cmocka_unit_test(test_nfc),
                                       cmocka_unit_test(test_nfd),
                                       cmocka_unit_test(test_nfkc),
                                       cmocka_unit_test(test_nfkd),
                                       cmocka_unit_test(test_many_marks),
                                       cmocka_unit_test(test_replace),
                                       cmocka_unit_test(test_every_code_point_there_and_back),
                                       cmocka_unit_test(test_partial),
                                       cmocka_unit_test(test_classes),
                                       cmocka_unit_test(test_normalize_refuses),
                                       cmocka_unit_test(test_sweep)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
