/* distill/engine/grammar_value.c - the values of a JSON schema that hold no others: strings with their lengths, patterns and formats, numbers with their
 * ranges, literals; and JSON itself, for schemas that allow anything. */
#include "distill/engine/grammar_json.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- strings ---- */

/* An escape as readers take it: no half of a surrogate pair alone. */
static const char escapes[] =
    "\\\\([\"\\\\/"
    "bfnrt]|u([0-9A-CEFa-cef][0-9A-Fa-f]{3}|[dD][0-7][0-9A-Fa-f]{2}|[dD][89ABab][0-9A-Fa-f]{2}\\\\u[dD][C-Fc-f][0-9A-Fa-f]{2}))";

static uint32_t regex(s_compiler *s, const char *p, size_t n, bool json, bool search, uint32_t next) {
    uint32_t at = G_NOWHERE;
    kd_err why = {0};
    if (s->code || s->g->code) return G_NOWHERE;
    kd_code c = g_regex(s->g, &at, p, n, json, search, next, &why);
    if (c) s_fail(s, c, "%s", why.msg);
    return at;
}

static void rule_is(s_compiler *s, uint32_t rule, uint32_t begin) {
    if (!s->code && !s->g->code) s->g->rules[rule] = begin;
}

static uint32_t any_object(s_compiler *s, uint32_t next) {
    kd_grammar *g = s->g;
    uint32_t end = g_call(g, s->ws, g_text(g, "}", 1, next)), one = g_rule(g), first;
    if (g->code) return G_NOWHERE;
    uint32_t pair = g_text(g, "\"", 1, g_call(g, s->rest, g_text(g, ":", 1, g_call(g, s->ws, g_call(g, s->value, G_END)))));
    rule_is(s, one, pair);
    uint32_t comma = g_rule(g);
    rule_is(s, comma, g_text(g, ",", 1, g_call(g, s->ws, g_call(g, one, G_END))));
    first = g_call(g, s->ws, g_call(g, one, g_times(g, comma, 0, SIZE_MAX, end)));
    return g_text(g, "{", 1, g_split(g, first, end));
}

static uint32_t any_array(s_compiler *s, uint32_t next) {
    kd_grammar *g = s->g;
    uint32_t end = g_call(g, s->ws, g_text(g, "]", 1, next)), comma = g_rule(g);
    rule_is(s, comma, g_text(g, ",", 1, g_call(g, s->ws, g_call(g, s->value, G_END))));
    uint32_t first = g_call(g, s->ws, g_call(g, s->value, g_times(g, comma, 0, SIZE_MAX, end)));
    return g_text(g, "[", 1, g_split(g, first, end));
}

static const char integer_text[] = "-?(0|[1-9][0-9]{0,15})",
                  number_text[] = "-?(0|[1-9][0-9]{0,15})(\\.[0-9]{1,16})?([eE][-+]?[0-9]{1,3})?";

kd_code s_basics(s_compiler *s) {
    kd_grammar *g = s->g;
    static const g_span all[] = {{0x20, 0x21}, {0x23, 0x5b}, {0x5d, 0x10ffff}};
    s->ws = g_rule(g), s->value = g_rule(g), s->object = g_rule(g), s->letter = g_rule(g), s->rest = g_rule(g);
    if (g->code) return kd_fail(s->e, KD_ENOMEM, "schema: out of memory");
    /* A space, or line ends and an indent: what models write between the parts; bounded, so that none writes white space for ever. */
    rule_is(s, s->ws, g_split(g, G_END, regex(s, " |\\n{1,2}[ \\t]{0,20}", 20, false, false, G_END)));
    rule_is(s, s->letter, g_split(g, g_char(g, all, 3, false, G_END), regex(s, escapes, sizeof escapes - 1, false, false, G_END)));
    uint32_t loop = g_loop(g), body = g_char(g, all, 3, false, loop), esc = regex(s, escapes, sizeof escapes - 1, false, false, loop);
    uint32_t way = g_split(g, body, esc), close = g_text(g, "\"", 1, G_END);
    if (!g->code) g->nodes[loop].a = way, g->nodes[loop].b = close;
    rule_is(s, s->rest, loop);
    rule_is(s, s->object, any_object(s, G_END));
    uint32_t v = g_call(g, s->object, G_END);
    v = g_split(g, v, any_array(s, G_END));
    v = g_split(g, v, g_text(g, "\"", 1, g_call(g, s->rest, G_END)));
    v = g_split(g, v, regex(s, number_text, sizeof number_text - 1, false, false, G_END));
    v = g_split(g, v, regex(s, "true|false|null", 15, false, false, G_END));
    rule_is(s, s->value, v);
    if (s->code) return s->code;
    return g->code ? kd_fail(s->e, g->code, "schema: out of memory") : KD_OK;
}

static const char *format_of(kd_str name) {
    static const char *const formats[][2] = {
        {"date", "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"},
        {"time", "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[-+]([01][0-9]|2[0-3]):[0-5][0-9])"},
        {"date-time", "[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[-+](["
                      "01][0-9]|2[0-3]):[0-5][0-9])"},
        {"duration", "P([0-9]{1,9}W|([0-9]{1,9}Y)?([0-9]{1,9}M)?[0-9]{1,9}D(T[0-9]{1,9}[HMS])?|T([0-9]{1,9}H)?([0-9]{1,9}M)?[0-9]{1,9}(\\.["
                     "0-9]{1,9})?S|[0-9]{1,9}[YMD]|T[0-9]{1,9}[HM])"},
        {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
        {"email", "[A-Za-z0-9_+-]{1,40}(\\.[A-Za-z0-9_+-]{1,40}){0,4}@([A-Za-z0-9]([A-Za-z0-9-]{0,40}[A-Za-z0-9])?\\.){1,4}[A-Za-z]{2,20}"},
        {"hostname", "[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?(\\.[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?){0,8}"},
        {"ipv4", "((25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"},
        {"ipv6", "([0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}"},
        {"uri", "[A-Za-z][A-Za-z0-9+.-]{0,20}:[A-Za-z0-9._~:/?#@!$&'()*+,;=%\\[\\]-]{1,500}"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (kd_str_is(name, formats[i][0])) return formats[i][1];
    return NULL;
}

static bool length(s_compiler *s, const kd_json_node *n, const char *key, size_t *out) {
    const kd_json_node *m = kd_json_get(n, key);
    double d = kd_json_number(m, -1);
    if (!m) return false;
    if (!(d >= 0 && d <= 100000 && d == floor(d))) {
        s_fail(s, d > 100000 ? KD_ELIMIT : KD_EFORMAT, "%s: expected a count up to 100000", key);
        return false;
    }
    *out = (size_t)d;
    return true;
}

uint32_t s_string(s_compiler *s, const kd_json_node *n, uint32_t next) {
    kd_grammar *g = s->g;
    const kd_json_node *pattern = kd_json_get(n, "pattern"), *format = kd_json_get(n, "format");
    size_t least = 0, most = SIZE_MAX;
    const bool from = length(s, n, "minLength", &least), to = length(s, n, "maxLength", &most), sized = from || to;
    if (least > most) return s_fail(s, KD_EFORMAT, "%s: more than maxLength", "minLength");
    uint32_t end = g_text(g, "\"", 1, next);
    if ((pattern != NULL) + (format != NULL) + sized > 1)
        return s_fail(s, KD_EUNSUPPORTED, "%s together cannot be held", "more than one of pattern, format, and minLength or maxLength");
    if (pattern) {
        kd_str p = kd_json_string(pattern);
        if (!p.data) return s_fail(s, KD_EFORMAT, "%s: expected a string", "pattern");
        return g_text(g, "\"", 1, regex(s, p.data, p.len, true, true, end));
    }
    if (format) {
        const char *p = format_of(kd_json_string(format));
        if (!p)
            return s_fail(s, KD_EUNSUPPORTED, "the format \"%s\" cannot be held",
                          kd_json_string(format).data ? kd_json_string(format).data : "?");
        return g_text(g, "\"", 1, regex(s, p, strlen(p), true, false, end));
    }
    if (!sized) return g_text(g, "\"", 1, g_call(g, s->rest, next));
    return g_text(g, "\"", 1, g_times(g, s->letter, least, most, end));
}

/* ---- literals ---- */

uint32_t s_literal_text(s_compiler *s, kd_str text, uint32_t next) {
    kd_buf b = {0};
    kd_jsonw w = {.out = &b};
    kd_jsonw_str(&w, text);
    if (w.code) s_fail(s, KD_ENOMEM, "out of %s", "memory");
    uint32_t at = w.code ? G_NOWHERE : g_text(s->g, b.data, b.len, next);
    kd_buf_clear(&b);
    return at;
}

/* A value as written, white space allowed between its parts. */
uint32_t s_literal(s_compiler *s, const kd_json_node *v, uint32_t next) {
    kd_grammar *g = s->g;
    bool object = kd_json_typeof(v) == KD_JSON_OBJECT;
    switch (kd_json_typeof(v)) {
    case KD_JSON_STRING: return s_literal_text(s, kd_json_string(v), next);
    case KD_JSON_NUMBER: return g_text(g, kd_json_number_text(v).data, kd_json_number_text(v).len, next);
    case KD_JSON_BOOL: return kd_json_bool(v, false) ? g_text(g, "true", 4, next) : g_text(g, "false", 5, next);
    case KD_JSON_OBJECT:
    case KD_JSON_ARRAY: break;
    default: return g_text(g, "null", 4, next);
    }
    size_t n = kd_json_count(v), i = 0;
    const kd_json_node **all = kd_calloc(n + 1, sizeof *all);
    uint32_t at = g_call(g, s->ws, g_text(g, object ? "}" : "]", 1, next));
    if (!all) return s_fail(s, KD_ENOMEM, "out of %s", "memory");
    for (const kd_json_node *m = kd_json_first(v); m; m = kd_json_next(m)) all[i++] = m;
    while (i-- > 0) {
        at = s_literal(s, all[i], at);
        if (object) at = s_literal_text(s, kd_json_key(all[i]), g_text(g, ":", 1, g_call(g, s->ws, at)));
        at = g_call(g, s->ws, at);
        if (i) at = g_text(g, ",", 1, at);
    }
    kd_free(all);
    return g_text(g, object ? "{" : "[", 1, at);
}

/* ---- numbers ---- */

/* Digits from a to b, both of n digits, then next. */
static uint32_t between(kd_grammar *g, const char *a, const char *b, size_t n, uint32_t next) {
    static const char low[] = "0000000000000000000", high[] = "9999999999999999999";
    if (!n) return next;
    unsigned lo = (unsigned char)a[0], hi = (unsigned char)b[0];
    if (lo == hi) return g_range(g, lo, lo, between(g, a + 1, b + 1, n - 1, next));
    uint32_t at = G_NOWHERE;
    if (memcmp(a + 1, low, n - 1) != 0) at = g_range(g, lo, lo, between(g, a + 1, high, n - 1, next)), lo++;
    if (memcmp(b + 1, high, n - 1) != 0) at = g_split(g, at, g_range(g, hi, hi, between(g, low, b + 1, n - 1, next))), hi--;
    if (lo <= hi) at = g_split(g, at, g_range(g, lo, hi, between(g, low, high, n - 1, next)));
    return at;
}

/* Whole numbers from a to b, without leading zeros; both below 10^16. */
static uint32_t naturals(kd_grammar *g, uint64_t a, uint64_t b, uint32_t next) {
    uint32_t at = G_NOWHERE;
    uint64_t from = 0, ten = 10;
    for (int digits = 1; digits <= 16 && a <= b; digits++, from = ten, ten *= 10) {
        uint64_t lo = a > from ? a : from, hi = b < ten - 1 ? b : ten - 1;
        char x[24], y[24];
        if (lo > hi) continue;
        snprintf(x, sizeof x, "%llu", (unsigned long long)lo), snprintf(y, sizeof y, "%llu", (unsigned long long)hi);
        at = g_split(g, at, between(g, x, y, (size_t)digits, next));
    }
    return at;
}

static const double widest = 1e15;

/* Magnitudes from a to b (whole numbers), the ends themselves left out where open_a, open_b; fractions unless integer. */
static uint32_t magnitudes(s_compiler *s, double a, bool open_a, double b, bool open_b, bool integer, uint32_t next) {
    kd_grammar *g = s->g;
    uint64_t lo = (uint64_t)a, hi = (uint64_t)b;
    if (a > b) return G_NOWHERE;
    if (integer) {
        lo += open_a;
        if (open_b && !hi) return G_NOWHERE;
        return naturals(g, lo, hi - open_b, next);
    }
    uint32_t fraction = g_split(g, next, regex(s, "\\.[0-9]{1,16}", 13, false, false, next)),
             zeros = g_split(g, next, regex(s, "\\.0{1,16}", 9, false, false, next));
    uint32_t some = regex(s, "\\.[0-9]{0,8}[1-9][0-9]{0,8}", 27, false, false, next), at = G_NOWHERE;
    if (lo < hi)
        at = g_split(g, naturals(g, lo, lo, open_a ? some : fraction), lo + 1 < hi ? naturals(g, lo + 1, hi - 1, fraction) : G_NOWHERE);
    if (!open_b && !(open_a && lo == hi)) at = g_split(g, at, naturals(g, hi, hi, b >= widest ? fraction : zeros));
    return at;
}

/* minimum and exclusiveMinimum, or maximum and its like; drafts before 6 had the exclusive one true or false. */
static bool bound(s_compiler *s, const kd_json_node *n, const char *plain, const char *exclusive, bool upper, double *v, bool *open) {
    const kd_json_node *m = kd_json_get(n, plain), *x = kd_json_get(n, exclusive);
    *v = upper ? INFINITY : -INFINITY, *open = false;
    if (kd_json_typeof(m) == KD_JSON_NUMBER) *v = kd_json_number(m, 0);
    if (kd_json_typeof(x) == KD_JSON_BOOL)
        *open = kd_json_bool(x, false);
    else if (kd_json_typeof(x) == KD_JSON_NUMBER && (upper ? kd_json_number(x, 0) <= *v : kd_json_number(x, 0) >= *v))
        *v = kd_json_number(x, 0), *open = true;
    if (isfinite(*v) && fabs(*v) > widest) s_fail(s, KD_EUNSUPPORTED, "%s beyond 1e15 cannot be held", plain);
    return m || x;
}

uint32_t s_number(s_compiler *s, const kd_json_node *n, bool integer, uint32_t next) {
    double lo, hi;
    bool open_lo, open_hi;
    const bool held_lo = bound(s, n, "minimum", "exclusiveMinimum", false, &lo, &open_lo),
               held_hi = bound(s, n, "maximum", "exclusiveMaximum", true, &hi, &open_hi), bounded = held_lo || held_hi;
    const char *text = integer ? integer_text : number_text;
    if (s->code) return G_NOWHERE;
    if (!bounded) return regex(s, text, strlen(text), false, false, next);
    if (integer) { /* the nearest whole numbers inside */
        if (isfinite(lo) && lo != floor(lo)) lo = ceil(lo), open_lo = false;
        if (isfinite(hi) && hi != floor(hi)) hi = floor(hi), open_hi = false;
    } else if ((isfinite(lo) && lo != floor(lo)) || (isfinite(hi) && hi != floor(hi))) {
        return s_fail(s, KD_EUNSUPPORTED, "%s that is no whole number cannot be held for type number", "a minimum or maximum");
    }
    if (lo < -widest) lo = -widest;
    if (hi > widest) hi = widest;
    uint32_t at = G_NOWHERE;
    if (hi >= 0) {
        double from = lo > 0 ? lo : 0;
        at = magnitudes(s, from, lo >= 0 && open_lo, hi, open_hi, integer, next);
    }
    if (lo < 0) {
        double to = hi < 0 ? -hi : 0;
        uint32_t below = magnitudes(s, to, hi <= 0 ? open_hi : integer, -lo, open_lo, integer, next); /* no -0 among integers */
        at = g_split(s->g, at, g_text(s->g, "-", 1, below));
    }
    return at;
}
