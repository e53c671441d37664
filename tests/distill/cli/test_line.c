/* tests/distill/cli/test_line.c - keys make the line that a shell's user would expect; any bytes leave it valid UTF-8 with the cursor on a character. */
#include "distill/cli/line.h"

#include "distill/base/rng.h"
#include "distill/base/utf8.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const char *typed(kd_line_editor *ed, const kd_line_history *h, const char *keys, kd_key_what *last) {
    ed->shown = h->n;
    for (; *keys; keys++) *last = kd_line_key(ed, (unsigned char)*keys, h);
    assert_int_equal(kd_buf_putc(&ed->text, 0), KD_OK);
    ed->text.len--;
    return ed->text.data;
}

static void keys_do_what_they_do(void **state) {
    (void)state;
    kd_line_history h = {0};
    kd_line_remember(&h, KD_STR("first"));
    kd_line_remember(&h, KD_STR("second"));
    kd_line_remember(&h, KD_STR("second"));
    assert_int_equal(h.n, 2);
    static const char *const cases[][2] = {
        {"hello", "hello"},
        {"hllo\033[D\033[D\033[De", "hello"},
        {"b\001a\005c", "abc"},
        {"\xc3\xa9\xe2\x82\xac\x7f"
         "x",
         "\xc3\xa9x"},
        {"\xe2\x82\xac\xc3\xa9\033[D\033[Dx", "x\xe2\x82\xac\xc3\xa9"},
        {"one two  \027x", "one x"},
        {"one two\002\002\013", "one t"},
        {"one two\002\002\025", "wo"},
        {"abc\033[H\033[3~\033[F!", "bc!"},
        {"abc\033OD\033OD\004", "ac"},
        {"new\033[A", "second"},
        {"new\033[A\033[A\033[A", "first"},
        {"new\033[A\033[A\033[B\033[B", "new"},
        {"\020\020\016", "second"},
        {"a\033[1;5Cb\033[200~c", "abc"},
        {"a\xff\xfe"
         "b",
         "ab"},
        {"a\tb", "a b"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        kd_line_editor ed = {0};
        kd_key_what last;
        assert_string_equal(typed(&ed, &h, cases[i][0], &last), cases[i][1]);
        assert_int_equal(last, KD_KEY_MORE);
        kd_line_editor_clear(&ed);
    }
    kd_line_editor ed = {0};
    assert_int_equal(kd_line_key(&ed, 4, &h), KD_KEY_END);
    assert_int_equal(kd_line_key(&ed, 3, &h), KD_KEY_BREAK);
    assert_int_equal(kd_line_key(&ed, '\r', &h), KD_KEY_DONE);
    kd_line_history_clear(&h);
    assert_int_equal(kd_line_width(KD_STR("a\xc3\xa9\xe6\x97\xa5"
                                          "e\xcc\x81")),
                     5);
}

static void any_bytes(void **state) {
    (void)state;
    kd_rng r = {.key = 3};
    kd_line_history h = {0};
    kd_line_remember(&h, KD_STR("h\xc3\xa9"));
    for (int round = 0; round < 300; round++) {
        kd_line_editor ed = {.shown = 1};
        for (int i = 0; i < 200; i++) {
            unsigned char b = kd_rng_below(&r, 3) ? (unsigned char)kd_rng_below(&r, 256)
                                                  : (unsigned char)"\033[ABCDHF~\x7f\x01\xc3\xa9"[kd_rng_below(&r, 13)];
            kd_line_key(&ed, b, &h);
            assert_true(ed.at <= ed.text.len && kd_utf8_valid(ed.text.data ? ed.text.data : "", ed.text.len));
            assert_true(ed.at == ed.text.len || ((unsigned char)ed.text.data[ed.at] & 0xc0) != 0x80);
        }
        kd_line_editor_clear(&ed);
    }
    kd_line_history_clear(&h);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(keys_do_what_they_do), cmocka_unit_test(any_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
