/* tests/datasets/test_math.c - the checker against the table of answer pairs decided by hand (math_pairs.tsv), and its bounds. */
#include "study_help.h"

#include "distill/base/clock.h"

/* The tables lie beside this file; tests run from the repository root. */
static const char *const tables[] = {"tests/datasets/math_pairs.tsv", "tests/datasets/math_pairs_2.tsv"};

typedef struct {
    char gold[600], text[4000], verdict[12], comment[400];
} pair;

static bool read_pair(char *line, pair *p) {
    char *f[4], *s = line;
    size_t at = 0;
    for (int i = 0; i < 4; i++) {
        f[i] = s;
        s = strchr(s, i < 3 ? '\t' : '\n');
        if (!s) {
            if (i < 3) return false;
            break;
        }
        *s++ = 0;
    }
    for (const char *q = f[1]; *q && at < sizeof p->text - 1;) { /* the sign for a new line */
        const bool nl = strncmp(q, "\xe2\x8f\x8e", 3) == 0;
        p->text[at++] = nl ? '\n' : *q;
        q += nl ? 3 : 1;
    }
    p->text[at] = 0;
    snprintf(p->gold, sizeof p->gold, "%s", f[0]);
    snprintf(p->verdict, sizeof p->verdict, "%s", f[2]);
    snprintf(p->comment, sizeof p->comment, "%s", f[3]);
    return true;
}

static void check_table(const char *path, int least) {
    static char line[8000];
    static pair p;
    int rows = 0, same = 0, opposite = 0, unsure = 0;
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#') continue;
        if (!read_pair(line, &p)) fail_msg("row %d of the table: expected four columns", rows + 1);
        kd_judgement j;
        OK(kd_label_math(&j, kd_str_of(p.text), kd_str_of(p.gold), &e));
        const char *got = kd_verdict_name(j.verdict);
        rows++;
        if (strcmp(got, p.verdict) == 0) {
            same++;
            continue;
        }
        const bool against = strcmp(got, "unknown") != 0 && strcmp(p.verdict, "unknown") != 0;
        opposite += against;
        unsure += !against;
        printf("# %s%s against %s: by hand %s (%s), found %s (%s)\n", against ? "OPPOSITE " : "", p.text, p.gold, p.verdict, p.comment, got,
               j.reason);
    }
    fclose(f);
    printf("# %d of %d pairs as decided by hand (%.1f %%), %d opposite, %d unknown on one side\n", same, rows, 100.0 * same / rows,
           opposite, unsure);
    assert_true(rows >= least);
    assert_true(same >= rows * 97 / 100);
    assert_int_equal(opposite, 0);
}

static void test_tables(void **state) {
    (void)state;
    check_table(tables[0], 800);
    check_table(tables[1], 200);
}

/* Answers made to run away: each ends soon, with "can't tell" or the plain truth. */
static void test_bounds(void **state) {
    (void)state;
    static const char *const bad[] = {"5^5^5",
                                      "9^{9^{9^{9}}}",
                                      "((((10^{100})!)!)!)!",
                                      "2^{2^{2^{2^{2^{2^{2}}}}}}",
                                      "\\binom{1000000}{500000}",
                                      "10^{10^{10}}-10^{10^{10}}",
                                      "\\sin(10^{100000})",
                                      "e^{e^{e^{e^{10}}}}",
                                      "1e99999",
                                      "x^{100000}",
                                      "(1+x)^{99999}",
                                      "\\sqrt[1000000]{2}",
                                      "\\frac{1}{0}",
                                      "0^0",
                                      "\\log_1 5",
                                      "\\ln 0"};
    const double from = kd_now();
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
            kd_verdict v;
            OK(kd_math_equal(&v, kd_str_of(bad[i]), kd_str_of(bad[k]), &e));
            if (i == k) assert_int_equal(v, KD_RIGHT); /* the same text */
            if (i != k && v == KD_RIGHT) fail_msg("%s taken for %s", bad[i], bad[k]);
        }
    kd_buf b = {0};
    static const char *const units[] = {"(",   "{", "\\frac{", "\\sqrt{",          "1+",  "x,",   "-", "\\{", "|", "2^",
                                        "x^{", "!", "1,",      "\\begin{pmatrix}", "(1,", "\\pm "};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        kd_verdict v;
        b.len = 0;
        while (b.len < 900) kd_buf_puts(&b, units[i]);
        OK(kd_math_equal(&v, kd_buf_view(&b), KD_STR("1"), &e));
        kd_buf_puts(&b, "1");
        OK(kd_math_equal(&v, kd_buf_view(&b), KD_STR("x+1"), &e));
        OK(kd_math_equal(&v, KD_STR("\\{1,2\\}"), kd_buf_view(&b), &e));
    }
    kd_buf_clear(&b);
    printf("# runaway answers took %.2f s\n", kd_now() - from);
}

/* A verdict does not depend on which side is which, except where it says so by kind; equality is reflexive. */
static void test_both_ways(void **state) {
    (void)state;
    static char line[8000];
    static pair p;
    FILE *f = fopen(tables[0], "r");
    assert_non_null(f);
    int turned = 0, rows = 0;
    while (fgets(line, sizeof line, f)) {
        if (line[0] == '#' || !read_pair(line, &p)) continue;
        kd_verdict v, w, self;
        kd_str a = kd_math_final(kd_str_of(p.text), NULL), g = kd_str_of(p.gold);
        if (!a.data || !a.len) continue;
        OK(kd_math_equal(&v, a, g, &e));
        OK(kd_math_equal(&w, g, a, &e));
        OK(kd_math_equal(&self, g, g, &e));
        assert_int_equal(self, KD_RIGHT);
        rows++;
        if ((v == KD_RIGHT && w == KD_WRONG) || (v == KD_WRONG && w == KD_RIGHT)) {
            printf("# %.*s against %s: %s one way, %s the other\n", (int)a.len, a.data, p.gold, kd_verdict_name(v), kd_verdict_name(w));
            turned++;
        }
    }
    fclose(f);
    printf("# %d of %d pairs turn\n", turned, rows);
    assert_true(turned <= 6);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_tables), cmocka_unit_test(test_bounds), cmocka_unit_test(test_both_ways)};
    return cmocka_run_group_tests_name("math", tests, NULL, NULL);
}
