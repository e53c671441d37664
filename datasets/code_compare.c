/* datasets/code_compare.c - is an output the expected one, as the judges of programming contests decide it. Leans on code_int.h. */
#include "datasets/code_int.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool white(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\v' || c == '\f'; }

/* The next token of a line (or of the whole, newline as white space); *lines counts the newlines passed. */
static kd_str next_token(kd_str *rest, size_t *lines, bool across) {
    while (rest->len && (white(*rest->data) || (*rest->data == '\n' && across))) {
        *lines += *rest->data == '\n';
        *rest = (kd_str){rest->data + 1, rest->len - 1};
    }
    size_t n = 0;
    while (n < rest->len && !white(rest->data[n]) && rest->data[n] != '\n') n++;
    const kd_str t = {rest->data, n};
    *rest = (kd_str){rest->data + n, rest->len - n};
    return t;
}

static bool number_of(kd_str t, double *v) {
    char s[64], *end;
    if (!t.len || t.len >= sizeof s) return false;
    memcpy(s, t.data, t.len);
    s[t.len] = 0;
    *v = strtod(s, &end);
    return !*end && isfinite(*v) && !memchr(s, 'x', t.len) && !memchr(s, 'X', t.len);
}

static bool near(double expected, double found, double tolerance) {
    const double d = fabs(expected - found);
    return d <= tolerance || d <= tolerance * fabs(expected);
}

static bool token_same(kd_str a, kd_str b, double tolerance) {
    double x, y;
    if (kd_str_eq(a, b)) return true;
    return tolerance > 0 && number_of(a, &x) && number_of(b, &y) && near(x, y, tolerance);
}

static void tell(char why[160], size_t line, kd_str expected, kd_str found, const char *end) {
    const int a = (int)(expected.len < 40 ? expected.len : 40), b = (int)(found.len < 40 ? found.len : 40);
    if (!why) return;
    (void)snprintf(why, 160, "line %zu: expected %s%.*s%s, found %s%.*s%s", line, expected.len ? "\"" : end, a,
                   expected.len ? expected.data : "",
                   expected.len > 40 ? "...\""
                   : expected.len    ? "\""
                                     : "",
                   found.len ? "\"" : end, b, found.len ? found.data : "",
                   found.len > 40 ? "...\""
                   : found.len    ? "\""
                                  : "");
}

static bool exact(kd_str a, kd_str b, char why[160]) {
    size_t i = 0, line = 1;
    if (kd_str_eq(a, b)) return true;
    while (i < a.len && i < b.len && a.data[i] == b.data[i]) line += a.data[i++] == '\n';
    tell(why, line, (kd_str){a.data + i, a.len - i}, (kd_str){b.data + i, b.len - i}, "the end");
    return false;
}

static kd_str without_tail(kd_str s) {
    while (s.len && (white(s.data[s.len - 1]) || s.data[s.len - 1] == '\n')) s.len--;
    return s;
}

bool kd_output_same(kd_str expected, kd_str found, const kd_compare *c, char why[160]) {
    if (c->how == KD_SAME_EXACT) return exact(expected, found, why);
    const bool across = c->how == KD_SAME_TOKENS;
    kd_str a = without_tail(expected), b = without_tail(found);
    size_t line = 1, other = 1;
    while (a.len || b.len) {
        const kd_str x = next_token(&a, &line, across), y = next_token(&b, &other, across);
        if (!token_same(x, y, c->tolerance)) {
            tell(why, across ? other : line, x, y, a.len && b.len ? "the end of the line" : "the end");
            return false;
        }
        if (x.len || across) continue;
        /* both lines end here */
        line++;
        if (a.len) a = (kd_str){a.data + 1, a.len - 1};
        if (b.len) b = (kd_str){b.data + 1, b.len - 1};
    }
    return true;
}

/* ---- values ---- */
static bool number_node(const kd_json_node *n, double *v, int64_t *i, bool *whole) {
    *whole = false;
    if (kd_json_typeof(n) == KD_JSON_BOOL) {
        *i = kd_json_bool(n, false);
        *v = (double)*i;
        return *whole = true;
    }
    if (kd_json_typeof(n) != KD_JSON_NUMBER) return false;
    *whole = kd_json_int(n, i);
    *v = kd_json_number(n, NAN);
    return true;
}

static bool numbers_same(const kd_json_node *a, const kd_json_node *b, double tolerance, bool *numbers) {
    double x, y;
    int64_t i, j;
    bool wa, wb;
    *numbers = number_node(a, &x, &i, &wa) && number_node(b, &y, &j, &wb);
    if (!*numbers) return false;
    if (wa && wb) return i == j || (tolerance > 0 && near(x, y, tolerance));
    if (kd_str_eq(kd_json_number_text(a), kd_json_number_text(b))) return true;
    /* integers past 64 bits differ where their digits do */
    if (!memchr(kd_json_number_text(a).data, '.', kd_json_number_text(a).len) &&
        !memchr(kd_json_number_text(b).data, '.', kd_json_number_text(b).len) && fabs(x) > 9e18 && fabs(y) > 9e18 && !(tolerance > 0))
        return false;
    return x == y || (tolerance > 0 && near(x, y, tolerance));
}

bool kd_value_same(const kd_json_node *a, const kd_json_node *b, double tolerance) {
    bool numbers;
    const bool same = numbers_same(a, b, tolerance, &numbers);
    if (numbers) return same;
    if (kd_json_typeof(a) != kd_json_typeof(b)) return false;
    switch (kd_json_typeof(a)) {
    case KD_JSON_NULL: return true;
    case KD_JSON_STRING: return kd_str_eq(kd_json_string(a), kd_json_string(b));
    case KD_JSON_ARRAY:
        if (kd_json_count(a) != kd_json_count(b)) return false;
        for (a = kd_json_first(a), b = kd_json_first(b); a && b; a = kd_json_next(a), b = kd_json_next(b))
            if (!kd_value_same(a, b, tolerance)) return false;
        return true;
    case KD_JSON_OBJECT:
        if (kd_json_count(a) != kd_json_count(b)) return false;
        for (const kd_json_node *m = kd_json_first(a); m; m = kd_json_next(m)) {
            const kd_str key = kd_json_key(m);
            const kd_json_node *other = kd_json_get(b, key.data);
            if (!other || !kd_value_same(m, other, tolerance)) return false;
        }
        return true;
    default: return false;
    }
}
