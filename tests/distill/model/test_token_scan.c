/* tests/distill/model/test_token_scan.c - the hand-written scanners against the expressions that they stand for, run by PCRE2 with classes spelled
 * out: every code point in four places, and random texts of odd characters. The classes themselves are held against Oniguruma by the goldens. */
#include "distill/base/regex.h"
#include "distill/base/rng.h"
#include "distill/base/utf8.h"
#include "distill/model/token_impl.h"
#include "oracle.h"

#define CUT "'s|'t|'re|'ve|'m|'ll|'d"
#define END "\\s+(?!\\S)|\\s+"
static const char *const PATTERNS[] = {
    "(?i:" CUT ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" END,
    "(?i:" CUT ")|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" END,
    "(?i:" CUT ")|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" END,
    CUT "| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" END,
    "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
    "?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" END,
    "\\p{N}{1,3}",
    "\\p{N}+",
    "\\p{N}",
    "[一-龥\u3040-ゟ゠-ヿ]+",
    "[\r\n]",
    "\\s+$",
};
enum { N_PATTERNS = sizeof PATTERNS / sizeof *PATTERNS };

typedef struct {
    tok_scan_fn *scan;
    kd_regex *regex;
    const char *name;
} pair;

static void open_pair(pair *p, const char *pattern) {
    kd_buf b = {0};
    const kd_str s = kd_str_of(pattern);
    p->name = pattern;
    p->scan = kd_tok_scanner(s);
    assert_non_null(p->scan);
    OK(kd_tok_regex_translate(&b, s, e));
    OK(kd_regex_new(&p->regex, b.data, b.len, e));
    kd_buf_clear(&b);
}

static bool next_scan(const pair *p, const char *s, size_t n, size_t from, size_t *a, size_t *b) {
    for (size_t i = from, len; i < n; i += len) {
        size_t end = i;
        (void)tok_cp((const unsigned char *)s + i, &len);
        if (p->scan((const unsigned char *)s, n, i, &end)) {
            *a = i;
            *b = end;
            return true;
        }
        assert_true(end <= n);
        if (end > i + len) len = end - i;
    }
    return false;
}

static void compare(const pair *p, const char *s, size_t n) {
    for (size_t from = 0; from < n;) {
        size_t a = 0, b = 0, c = 0, d = 0;
        bool found;
        OK(kd_regex_find(p->regex, s, n, from, &found, &c, &d, NULL, 0, e));
        const bool mine = next_scan(p, s, n, from, &a, &b);
        if (mine != found || a != c || b != d)
            fail_msg("%s on '%.*s' from %zu: %d [%zu, %zu), expected %d [%zu, %zu)", p->name, (int)n, s, from, mine, a, b, found, c, d);
        if (!found) break;
        assert_true(b > a);
        from = b;
    }
}

static void test_every_code_point(void **state) {
    (void)state;
    static const char *const around[][2] = {{"", ""}, {"'", "e 1"}, {" ", "a"}, {"a\n", "\n "}};
    kd_tok_class_init();
    for (int k = 0; k < N_PATTERNS; k++) {
        pair p;
        open_pair(&p, PATTERNS[k]);
        for (uint32_t cp = 0; cp < 0x110000;
             cp += cp < 0x3400 || (cp >= 0xa000 && cp < 0xac10) || (cp >= 0xf900 && cp < 0x20000) ? 1 : 61) {
            if (cp >= 0xd800 && cp < 0xe000) continue;
            const size_t v = cp % 4;
            char s[32], u[4];
            const size_t len = kd_utf8_put(u, cp), head = strlen(around[v][0]), tail = strlen(around[v][1]);
            memcpy(s, around[v][0], head);
            memcpy(s + head, u, len);
            memcpy(s + head + len, around[v][1], tail);
            compare(&p, s, head + len + tail);
        }
        kd_regex_free(p.regex);
    }
}

static size_t odd_text(kd_rng *r, char *s, size_t cap) {
    static const uint32_t odd[] = {9,       10,     11,      13,     32,     32,    32,   0x85,  0xa0,   0x180e, 0x2003,   0x2028,
                                   0x3000,  0x27,   0x27,    's',    'S',    't',   'l',  'L',   'r',    'e',    'V',      'v',
                                   'E',     'm',    'd',     0x17f,  0x212a, '0',   '7',  0x661, 0xb2,   0x2160, '.',      '!',
                                   '$',     '-',    0x20ac,  0x2019, 'a',    'Z',   0xe9, 0x301, 0x93f,  0x5d0,  0x4e2d,   0x9fa6,
                                   0x3042,  0x30a2, 0x1f600, 0x200d, 0xfe0f, 0,     0x7f, 0xad,  0xe000, 0x378,  0x10ffff, 0x2ebf0,
                                   0x10d4a, '\r',   '\n',    '/',    '_',    0x2b0, 0x1c5};
    size_t n = 0;
    while (n + 4 <= cap && (n == 0 || kd_rng_below(r, 12))) {
        uint32_t cp = odd[kd_rng_below(r, sizeof odd / sizeof *odd)];
        if (kd_rng_below(r, 10) == 0) cp = (uint32_t)kd_rng_below(r, 0x3000);
        const uint64_t times = kd_rng_below(r, 8) == 0 ? 1 + kd_rng_below(r, 5) : 1;
        for (uint64_t k = 0; k < times && n + 4 <= cap; k++) n += kd_utf8_put(s + n, cp);
    }
    return n;
}

static void test_random(void **state) {
    (void)state;
    kd_tok_class_init();
    for (int k = 0; k < N_PATTERNS; k++) {
        pair p;
        kd_rng r = {.key = 7, .stream = (uint64_t)k};
        open_pair(&p, PATTERNS[k]);
        for (int i = 0; i < 20000; i++) {
            char s[160];
            compare(&p, s, odd_text(&r, s, sizeof s));
        }
        kd_regex_free(p.regex);
    }
}

/* A million spaces with a letter behind: where \s+$ never matches, and would be looked for a million times. */
static void test_no_match_is_found_out_once(void **state) {
    (void)state;
    const size_t n = 1000000;
    char *s = malloc(n);
    pair p;
    size_t a, b;
    kd_tok_class_init();
    memset(s, ' ', n - 1);
    s[n - 1] = 'x';
    open_pair(&p, "\\s+$");
    assert_false(next_scan(&p, s, n, 0, &a, &b));
    kd_regex_free(p.regex);
    free(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_code_point), cmocka_unit_test(test_random),
                                       cmocka_unit_test(test_no_match_is_found_out_once)};
    return cmocka_run_group_tests_name("token_scan", tests, NULL, NULL);
}
