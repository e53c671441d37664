/* tests/datasets/test_scan.c - the walk over a text against one by definition, byte by byte, on random texts; repeats by definition; memory that fails. */
#include "study_help.h"

#include "datasets/measures.h"
#include "distill/base/rng.h"
#include "distill/base/utf8.h"

/* ---- by definition ---- */
static bool letter(unsigned char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }
static bool word_byte(unsigned char c) { return letter(c) || (c >= '0' && c <= '9') || c >= 0x80; }

static size_t cut(const char *s, size_t n, kd_word *out) {
    size_t count = 0, i = 0;
    while (i < n) {
        const unsigned char c = (unsigned char)s[i];
        if (!word_byte(c)) {
            i++;
            continue;
        }
        const size_t start = i, alone = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 0;
        for (; i < n && word_byte((unsigned char)s[i]); i++)
            if (alone ? i >= start + alone : (unsigned char)s[i] >= 0xe0) break;
        out[count++] = (kd_word){(uint32_t)start, (uint32_t)i, kd_word_hash(s + start, i - start)};
    }
    return count;
}

static void lines(kd_str t, int64_t *line, int64_t *paragraph) {
    int64_t in_line = 0, in_paragraph = 0;
    bool blank = true;
    *line = *paragraph = 0;
    for (size_t i = 0; i <= t.len; i++) {
        const char c = i < t.len ? t.data[i] : '\n';
        if (c == '\n') {
            if (in_line > *line) *line = in_line;
            if ((blank || i == t.len) && in_paragraph > *paragraph) *paragraph = in_paragraph;
            if (blank || i == t.len) in_paragraph = 0;
            in_line = 0;
            blank = true;
            continue;
        }
        if (((unsigned char)c & 0xc0) == 0x80) continue;
        in_line++;
        in_paragraph++;
        blank = blank && (c == ' ' || c == '\t' || c == '\r');
    }
}

static void letters(kd_str t, uint64_t *n) {
    size_t len;
    memset(n, 0, KD_SCRIPTS * sizeof *n);
    for (size_t i = 0; i < t.len; i += len) {
        const int32_t cp = kd_utf8_next(t.data + i, t.len - i, &len);
        if (cp < 0) continue;
        if (cp < 0x80) {
            n[KD_LATIN] += letter((unsigned char)cp);
            continue;
        }
        const kd_script s = kd_script_of((uint32_t)cp);
        if (s == KD_SCRIPTS) continue;
        if (s == KD_GREEK && (i == 0 || (unsigned char)t.data[i - 1] < 0x80) && (i + len >= t.len || (unsigned char)t.data[i + len] < 0x80))
            continue;
        n[s] += s == KD_HAN || s == KD_KANA ? 3 : 1;
    }
}

static kd_scan_room room;

static void same_as_defined(kd_str t) {
    static kd_word words[4096];
    kd_scan s;
    uint64_t n[KD_SCRIPTS];
    int64_t line, paragraph;
    OK(kd_scan_text(&s, &room, t, &e));
    const size_t count = cut(t.data, t.len, words);
    assert_int_equal(s.n_words, count);
    for (size_t i = 0; i < count; i++)
        if (s.words[i].start != words[i].start || s.words[i].end != words[i].end || s.words[i].hash != words[i].hash)
            fail_msg("word %zu: %u..%u, expected %u..%u", i, s.words[i].start, s.words[i].end, words[i].start, words[i].end);
    lines(t, &line, &paragraph);
    assert_int_equal(s.line, line);
    assert_int_equal(s.paragraph, paragraph);
    letters(t, n);
    for (int i = 0; i < KD_SCRIPTS; i++) assert_int_equal(s.letters[i], n[i]);
}

static void test_random(void **state) {
    (void)state;
    static const char *const pieces[] = {"a",
                                         "B",
                                         "7",
                                         " ",
                                         " ",
                                         "\n",
                                         "\n\n",
                                         "\n \t\r\n",
                                         "word",
                                         "Longer",
                                         "\xc3\xa9",
                                         "\xce\xb1",
                                         "\xd0\xb4\xd0\xb0",
                                         "\xe4\xbd\xa0",
                                         "\xe3\x81\x82",
                                         "\xf0\x9f\x98\x80",
                                         "\xe2\x80\x99",
                                         "$",
                                         "`",
                                         "```",
                                         "\\(",
                                         "<think>",
                                         ".",
                                         "extraordinarily",
                                         "\xed\x95\x9c",
                                         "\xd8\xa7",
                                         ""};
    kd_rng r = {7, 1, 0};
    kd_buf b = {0};
    for (int t = 0; t < 4000; t++) {
        b.len = 0;
        OK(kd_buf_puts(&b, ""));
        for (size_t k = kd_rng_below(&r, 60); k; k--) OK(kd_buf_puts(&b, pieces[kd_rng_below(&r, sizeof pieces / sizeof *pieces)]));
        char *exact = malloc(b.len + 1); /* so that a sanitizer sees a byte too far */
        memcpy(exact, b.data, b.len);
        same_as_defined((kd_str){exact, b.len});
        free(exact);
    }
    kd_buf_clear(&b);
}

static void test_marks(void **state) {
    (void)state;
    static const struct {
        const char *text;
        size_t fences;
        uint32_t tags, displays, dollars;
        int round, square;
        bool blank;
    } rows[] = {{"", 0, 0, 0, 0, 0, 0, true},
                {" \n\t", 0, 0, 0, 0, 0, 0, true},
                {"```` a ```` `x`", 2, 0, 0, 0, 0, 0, false},
                {"<think>a</think> <thin", 0, 2, 0, 0, 0, 0, false},
                {"$$x$$ \\(a \\[b\\] \\\\(", 0, 0, 2, 0, 1, 0, false},
                {"```\n$ \\( \\[ $$\n```", 2, 0, 0, 0, 0, 0, false},
                {"$a$ $b$ $c", 0, 0, 0, 1, 0, 0, false},
                {"$1 and $2 and $3", 0, 0, 0, 0, 0, 0, false},
                {"costs 5$ or 6 $ now", 0, 0, 0, 0, 0, 0, false},
                {"\\", 0, 0, 0, 0, 0, 0, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        kd_scan s;
        OK(kd_scan_text(&s, &room, kd_str_of(rows[i].text), &e));
        if (s.n_fences != rows[i].fences || s.tags != rows[i].tags || s.displays != rows[i].displays || s.dollars != rows[i].dollars ||
            s.round != rows[i].round || s.square != rows[i].square || s.blank != rows[i].blank)
            fail_msg("row %zu: fences %zu tags %u $$ %u $ %u round %d square %d", i, s.n_fences, s.tags, s.displays, s.dollars, s.round,
                     s.square);
    }
}

/* Tails of every shape, those that make many candidates too: the quick search and the one by failures must both be the definition. */
static void test_tails(void **state) {
    (void)state;
    kd_rng r = {11, 1, 0};
    for (int t = 0; t < 1500; t++) {
        static char s[3000];
        const size_t n = 24 + kd_rng_below(&r, t % 10 ? 200 : 2900), period = 1 + kd_rng_below(&r, n / 2), runs = kd_rng_below(&r, 4);
        size_t best = 0;
        for (size_t i = 0; i < n; i++)
            s[i] = runs == 0                              ? '.'
                   : runs == 1                            ? (char)('!' + kd_rng_below(&r, 2))
                   : i >= period && kd_rng_below(&r, 200) ? s[i - period]
                                                          : (char)('!' + kd_rng_below(&r, 3));
        if (runs == 3 && n > 300)
            for (size_t i = 0; i < n; i += 97) s[i] = (char)('!' + kd_rng_below(&r, 9));
        for (size_t p = 1; 3 * p <= n; p++) {
            size_t len = p;
            while (len < n && s[n - 1 - len] == s[n - 1 - len + p]) len++;
            if (len >= 3 * p && len >= 24 && len > best) best = len;
        }
        double v;
        OK(kd_label_repeats(&v, (kd_str){s, n}, &e));
        if (v != (double)best / (double)n) fail_msg("text %d of %zu bytes: %g, expected %g", t, n, v, (double)best / (double)n);
    }
}

static void test_memory(void **state) {
    (void)state;
    kd_buf b = {0};
    kd_err err;
    for (int i = 0; i < 400; i++) OK(kd_buf_printf(&b, "word%d ``` and so on ", i));
    for (long at = 1;; at++) {
        kd_scan_room fresh = {0};
        kd_scan s;
        double v;
        kd_alloc_fail_at(at);
        kd_code rc = kd_scan_text(&s, &fresh, kd_buf_view(&b), &err);
        if (!rc) rc = kd_measure_repeats(&v, &s, &fresh, kd_buf_view(&b), &err);
        const bool whole = kd_alloc_count() < at;
        kd_alloc_fail_at(0);
        kd_scan_room_clear(&fresh);
        if (whole) {
            assert_int_equal(rc, KD_OK);
            break;
        }
        assert_int_equal(rc, KD_ENOMEM);
    }
    kd_buf_clear(&b);
    kd_scan_room_clear(&room);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_marks), cmocka_unit_test(test_tails),
                                       cmocka_unit_test(test_memory)};
    return cmocka_run_group_tests_name("scan", tests, make_tmp, drop_tmp);
}
