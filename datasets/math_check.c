/* datasets/math_check.c - are two answers the same number? Exact over the rationals. Leans on math_int.h, GMP.
 * The one file that includes gmp.h. */
#include "datasets/math_int.h"

#include <gmp.h>
#include <stdio.h>
#include <string.h>

enum { MOST_TEXT = 400, MOST_EXPONENT = 400 };

const char *kd_verdict_name(kd_verdict v) {
    static const char *const names[] = {"unknown", "right", "wrong"};
    return names[v];
}

/* Plain characters of an answer: mathematics marks, dressing and white space taken off. */
typedef struct {
    char s[MOST_TEXT + 8];
    size_t n;
    bool percent;
} plain;

static bool starts(const char *p, const char *end, const char *what) {
    size_t n = strlen(what);
    return (size_t)(end - p) >= n && memcmp(p, what, n) == 0;
}

/* Dressing that means nothing: what to skip at p, in bytes; 0 if it means something. */
static size_t dressing(const char *p, const char *end) {
    static const char *const words[] = {"\\left",
                                        "\\right",
                                        "\\displaystyle",
                                        "\\text",
                                        "\\mathrm",
                                        "\\mbox",
                                        "\\,",
                                        "\\!",
                                        "\\;",
                                        "\\:",
                                        "\\ ",
                                        "\\(",
                                        "\\)",
                                        "\\[",
                                        "\\]",
                                        "\\$",
                                        "$",
                                        "~",
                                        "{,}" /* a comma between groups */,
                                        "\xc2\xa0",
                                        "\xe2\x80\x89",
                                        "\xe2\x80\xaf",
                                        "\xc2\xa3",
                                        "\xe2\x82\xac",
                                        "\xc2\xa5",
                                        "**",
                                        "`"};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (starts(p, end, words[i])) return strlen(words[i]);
    return 0;
}

static bool undress(plain *o, kd_str in) {
    const char *p = in.data, *end = p + in.len;
    *o = (plain){0};
    while (p < end) {
        size_t skip = dressing(p, end);
        if (starts(p, end, "\\%") || *p == '%') {
            o->percent = true;
            p += *p == '%' ? 1 : 2;
        } else if (skip) {
            p += skip;
        } else if (starts(p, end, "\xe2\x88\x92")) { /* the minus sign */
            o->s[o->n++] = '-';
            p += 3;
        } else {
            char c = *p++;
            o->s[o->n++] = c == '\t' || c == '\n' || c == '\r' ? ' ' : c;
        }
        if (o->n >= MOST_TEXT) return false;
    }
    while (o->n && strchr(" .,;:!", o->s[o->n - 1])) o->n--;
    o->s[o->n] = 0;
    return true;
}

static const char *blanks(const char *p) {
    while (*p == ' ') p++;
    return p;
}

/* A decimal at *p into q: 1,234.50  .5  2e-3. */
static bool read_decimal(mpq_t q, const char **p) {
    char digits[MOST_TEXT + 8];
    size_t n = 0;
    long scale = 0, exponent = 0;
    const char *s = *p, *stop = kd_number_end(s, s + strlen(s));
    if (!stop) return false;
    bool point = false;
    for (; s < stop && *s != '/' && *s != '%'; s++) {
        if (*s == '.') point = true;
        if (*s >= '0' && *s <= '9') {
            digits[n++] = *s;
            scale += point;
        }
    }
    digits[n] = 0;
    if ((*s == 'e' || *s == 'E') && ((s[1] >= '0' && s[1] <= '9') || ((s[1] == '-' || s[1] == '+') && s[2] >= '0' && s[2] <= '9'))) {
        bool neg = s[1] == '-';
        for (s += 1 + (s[1] == '-' || s[1] == '+'); *s >= '0' && *s <= '9' && exponent <= MOST_EXPONENT; s++)
            exponent = exponent * 10 + (*s - '0');
        if (exponent > MOST_EXPONENT) return false;
        exponent = neg ? -exponent : exponent;
    }
    mpz_set_str(mpq_numref(q), digits, 10);
    mpz_ui_pow_ui(mpq_denref(q), 10, (unsigned long)(scale > exponent ? scale - exponent : 0));
    if (exponent > scale) {
        mpz_t ten;
        mpz_init(ten);
        mpz_ui_pow_ui(ten, 10, (unsigned long)(exponent - scale));
        mpz_mul(mpq_numref(q), mpq_numref(q), ten);
        mpz_clear(ten);
    }
    mpq_canonicalize(q);
    *p = s;
    return true;
}

static bool divide(mpq_t q, const mpq_t by) {
    if (mpq_sgn(by) == 0) return false;
    mpq_div(q, q, by);
    return true;
}

/* {a}{b}, {a}b, ab behind \frac. */
static bool read_frac(mpq_t q, const char **p) {
    mpq_t part[2];
    const char *s = *p;
    bool ok = true;
    mpq_inits(part[0], part[1], NULL);
    for (int i = 0; i < 2 && ok; i++) {
        bool brace = *(s = blanks(s)) == '{', neg = false;
        s = blanks(s + brace);
        if (*s == '-') {
            neg = true;
            s = blanks(s + 1);
        }
        if (brace) {
            ok = read_decimal(part[i], &s);
            s = blanks(s);
            ok = ok && *s++ == '}';
        } else if ((ok = *s >= '0' && *s <= '9')) {
            mpq_set_ui(part[i], (unsigned long)(*s++ - '0'), 1);
        }
        if (neg) mpq_neg(part[i], part[i]);
    }
    if (ok && (ok = divide(part[0], part[1]))) mpq_set(q, part[0]);
    mpq_clears(part[0], part[1], NULL);
    *p = s;
    return ok;
}

static const char *frac_word(const char *s) {
    static const char *const words[] = {"\\frac", "\\dfrac", "\\tfrac", "\\cfrac"};
    for (size_t i = 0; i < 4; i++)
        if (strncmp(s, words[i], strlen(words[i])) == 0) return s + strlen(words[i]);
    return NULL;
}

/* a, a/b, \frac{a}{b}, and mixed numbers: a b/c, a\frac{b}{c}. */
static bool read_unsigned(mpq_t q, const char **p) {
    const char *s = *p, *f = frac_word(s);
    mpq_t second;
    if (f) {
        *p = f;
        return read_frac(q, p);
    }
    if (!read_decimal(q, &s)) return false;
    bool ok = true, integer = mpz_cmp_ui(mpq_denref(q), 1) == 0;
    const char *t = blanks(s);
    mpq_init(second);
    if (*t == '/') {
        t = blanks(t + 1);
        ok = read_decimal(second, &t) && divide(q, second);
        s = t;
    } else if (integer && (f = frac_word(t))) {
        if ((ok = read_frac(second, &f))) mpq_add(q, q, second);
        s = f;
    } else if (integer && t > s && *t >= '0' && *t <= '9') {
        mpq_t third;
        const char *u = t;
        mpq_init(third);
        if (read_decimal(second, &u) && *(u = blanks(u)) == '/') {
            u = blanks(u + 1);
            if ((ok = read_decimal(third, &u) && divide(second, third))) mpq_add(q, q, second);
            s = u;
        }
        mpq_clear(third);
    }
    mpq_clear(second);
    *p = s;
    return ok;
}

/* What may stand behind a number and mean nothing: a unit of letters, also in braces. A product, a power or an operator is something else. */
static bool only_unit(const char *s) {
    for (; *s; s++)
        if (!((*s >= 'a' && *s <= 'z') || (*s >= 'A' && *s <= 'Z') || *s == ' ' || *s == '{' || *s == '}' || *s == '.' ||
              (unsigned char)*s >= 0x80))
            return false;
    return true;
}

/* "x = 5": what stands behind the last sign of equality. */
static const char *behind_equals(const char *s) {
    const char *p = strrchr(s, '=');
    return blanks(p ? p + 1 : s);
}

/* The whole of a plain answer as one rational. */
static bool read_number(mpq_t q, const plain *a) {
    const char *s = behind_equals(a->s);
    bool neg = false;
    if (*s == '{') /* {5} */
        s = blanks(s + 1);
    if (*s == '-' || *s == '+') {
        neg = *s == '-';
        s = blanks(s + 1);
    }
    if (!read_unsigned(q, &s) || !only_unit(blanks(s))) return false;
    if (neg) mpq_neg(q, q);
    return true;
}

static bool same_text(const plain *a, const plain *b) {
    size_t i = 0, k = 0;
    for (;;) {
        while (a->s[i] == ' ') i++;
        while (b->s[k] == ' ') k++;
        if (a->s[i] != b->s[k]) return false;
        if (!a->s[i]) return a->n > 0;
        i++;
        k++;
    }
}

static kd_verdict compare(const plain *a, const plain *b, const char **why) {
    mpq_t x, y, hundred;
    kd_verdict v = KD_UNKNOWN;
    mpq_inits(x, y, hundred, NULL);
    mpq_set_ui(hundred, 100, 1);
    bool rx = read_number(x, a), ry = read_number(y, b);
    if (rx && ry) {
        v = mpq_equal(x, y) ? KD_RIGHT : KD_WRONG;
        *why = v == KD_RIGHT ? "the same number" : "another number";
        if (v == KD_WRONG && a->percent != b->percent) { /* 50% is 50 with its unit, and it is 0.5 */
            mpq_div(a->percent ? x : y, a->percent ? x : y, hundred);
            if (mpq_equal(x, y)) {
                v = KD_RIGHT;
                *why = "the same number, as a percentage";
            }
        }
    } else if (same_text(a, b)) {
        v = KD_RIGHT;
        *why = "the same text";
    } else if (rx != ry && (rx ? b : a)->n == 0) {
        *why = "nothing to compare";
    } else {
        *why = "not plain numbers";
    }
    mpq_clears(x, y, hundred, NULL);
    return v;
}

static kd_verdict judge(kd_str a, kd_str b, const char **why) {
    plain x, y;
    if (a.len > MOST_TEXT || b.len > MOST_TEXT || !undress(&x, a) || !undress(&y, b)) {
        *why = "too large";
        return KD_UNKNOWN;
    }
    return compare(&x, &y, why);
}

kd_code kd_math_equal(kd_verdict *out, kd_str a, kd_str b, kd_err *e) {
    const char *why;
    (void)e;
    *out = judge(a, b, &why);
    return KD_OK;
}

kd_code kd_label_math(kd_judgement *out, kd_str text, kd_str gold, kd_err *e) {
    const char *how, *why = "";
    (void)e;
    *out = (kd_judgement){0};
    kd_str final = kd_math_final(text, &how);
    if (!gold.data || kd_trim(gold).len == 0) {
        snprintf(out->reason, sizeof out->reason, "no gold answer");
        return KD_OK;
    }
    if (!final.data) {
        out->verdict = KD_WRONG;
        snprintf(out->reason, sizeof out->reason, "no answer found");
        return KD_OK;
    }
    out->verdict = judge(final, gold, &why);
    snprintf(out->reason, sizeof out->reason, "%s: %s", how, why);
    return KD_OK;
}
