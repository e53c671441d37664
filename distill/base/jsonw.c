/* distill/base/jsonw.c - writing JSON: the other half of json.h. Leans on mem.h, utf8.h. */
#include "distill/base/json.h"
#include "distill/base/utf8.h"

#include <assert.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void put(kd_jsonw *w, const char *p, size_t n) {
    if (!w->code) w->code = kd_buf_append(w->out, p, n);
}

/* What stands before a value: a comma, or nothing behind a key or an opening bracket. */
static void begin(kd_jsonw *w) {
    if (w->need_comma && !w->after_key) put(w, ", ", w->python ? 2 : 1);
    w->after_key = false;
    w->need_comma = true;
}

static void open_bracket(kd_jsonw *w, const char *bracket) {
    begin(w);
    put(w, bracket, 1);
    w->depth++;
    w->need_comma = false;
}

static void close_bracket(kd_jsonw *w, const char *bracket) {
    assert(w->depth > 0 && !w->after_key);
    put(w, bracket, 1);
    w->depth--;
    w->need_comma = true;
}

void kd_jsonw_object(kd_jsonw *w) { open_bracket(w, "{"); }
void kd_jsonw_end_object(kd_jsonw *w) { close_bracket(w, "}"); }
void kd_jsonw_array(kd_jsonw *w) { open_bracket(w, "["); }
void kd_jsonw_end_array(kd_jsonw *w) { close_bracket(w, "]"); }

static void put_unit(kd_jsonw *w, unsigned unit) {
    char s[8];
    (void)snprintf(s, sizeof s, "\\u%04x", unit & 0xffffu);
    put(w, s, 6);
}

/* One character that cannot stand as it is. */
static void put_escaped(kd_jsonw *w, uint32_t cp) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *known = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (known) {
        const char s[2] = {'\\', to[known - from]};
        put(w, s, 2);
    } else if (cp >= 0x10000) {
        put_unit(w, 0xd800 + ((cp - 0x10000) >> 10));
        put_unit(w, 0xdc00 + ((cp - 0x10000) & 0x3ff));
    } else {
        put_unit(w, cp);
    }
}

static void put_string(kd_jsonw *w, kd_str s) {
    put(w, "\"", 1);
    for (size_t i = 0, start = 0; i <= s.len;) {
        const unsigned char c = i < s.len ? (unsigned char)s.data[i] : 0;
        if (i < s.len && c >= 0x20 && c != '"' && c != '\\' && c < 0x7f) {
            i++;
            continue;
        }
        size_t n = 1;
        const int32_t cp = i < s.len ? kd_utf8_next(s.data + i, s.len - i, &n) : 0;
        if (i < s.len && cp >= 0x7f && !w->ascii) {
            i += n;
            continue;
        }
        if (i > start) put(w, s.data + start, i - start);
        if (i == s.len) break;
        if (cp < 0 && !w->ascii)
            put(w, "\xef\xbf\xbd", 3);
        else
            put_escaped(w, cp < 0 ? 0xfffd : (uint32_t)cp);
        i += n;
        start = i;
    }
    put(w, "\"", 1);
}

void kd_jsonw_key_str(kd_jsonw *w, kd_str key) {
    assert(w->depth > 0 && !w->after_key);
    begin(w);
    put_string(w, key);
    put(w, ": ", w->python ? 2 : 1);
    w->after_key = true;
}

void kd_jsonw_key(kd_jsonw *w, const char *key) { kd_jsonw_key_str(w, kd_str_of(key)); }

void kd_jsonw_str(kd_jsonw *w, kd_str s) {
    begin(w);
    put_string(w, s);
}

void kd_jsonw_cstr(kd_jsonw *w, const char *s) {
    if (s)
        kd_jsonw_str(w, kd_str_of(s));
    else
        kd_jsonw_null(w);
}

void kd_jsonw_raw(kd_jsonw *w, kd_str json) {
    begin(w);
    put(w, json.data, json.len);
}

void kd_jsonw_int(kd_jsonw *w, int64_t v) {
    char s[24];
    const int n = snprintf(s, sizeof s, "%lld", (long long)v);
    kd_jsonw_raw(w, (kd_str){s, (size_t)n});
}

void kd_jsonw_double(kd_jsonw *w, double v) {
    char s[32];
    if (isfinite(v))
        kd_jsonw_raw(w, (kd_str){s, kd_double_text(v, s)});
    else
        kd_jsonw_null(w);
}

void kd_jsonw_bool(kd_jsonw *w, bool v) { kd_jsonw_raw(w, v ? KD_STR("true") : KD_STR("false")); }
void kd_jsonw_null(kd_jsonw *w) { kd_jsonw_raw(w, KD_STR("null")); }

void kd_jsonw_node(kd_jsonw *w, const kd_json_node *n) {
    switch (kd_json_typeof(n)) {
    case KD_JSON_ABSENT:
    case KD_JSON_NULL: kd_jsonw_null(w); break;
    case KD_JSON_BOOL: kd_jsonw_bool(w, kd_json_bool(n, false)); break;
    case KD_JSON_NUMBER: kd_jsonw_raw(w, kd_json_number_text(n)); break;
    case KD_JSON_STRING: kd_jsonw_str(w, kd_json_string(n)); break;
    case KD_JSON_ARRAY:
        kd_jsonw_array(w);
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) kd_jsonw_node(w, m);
        kd_jsonw_end_array(w);
        break;
    case KD_JSON_OBJECT:
        kd_jsonw_object(w);
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m)) {
            kd_jsonw_key_str(w, kd_json_key(m));
            kd_jsonw_node(w, m);
        }
        kd_jsonw_end_object(w);
        break;
    }
}

/* The last digit of d.ddde+XX, a scientific text, raised by one, if it is no 9. */
static bool raise_last(char *e) {
    char *last = strchr(e, 'e') - 1;
    if (*last == '9' || *last == '.') return false;
    ++*last;
    return true;
}

/* The fewest digits that read back as v >= 0, as "d.ddde+XX" into e (40 bytes). 15 digits hold every normal number that has so few, so
 * the search starts there; below the normal ones it starts at one. Just below a power of two the numbers lie closer, and of a given length
 * the nearest text may miss v where the next one up, on the wide side, hits it. */
static const char *shortest(double v, char *e) {
    for (int precision = v < DBL_MIN ? 0 : 14; precision <= 16; precision++) {
        (void)snprintf(e, 40, "%.*e", precision, v);
        if (strtod(e, NULL) == v) break;
        if (precision < 16 && raise_last(e) && strtod(e, NULL) == v) break;
    }
    return e;
}

/* The fewest significant digits that read back as v, then laid out as Python's repr does: plain from 1e-4 up to 1e16, else with an
 * exponent of at least two digits. */
size_t kd_double_text(double v, char *s) {
    if (isnan(v)) return strlen(strcpy(s, "nan"));
    if (isinf(v)) return strlen(strcpy(s, v < 0 ? "-inf" : "inf"));
    const double mag = fabs(v);
    char e[40];
    (void)shortest(mag, e);
    char digits[24];
    size_t n = 0;
    const char *p = e;
    for (; *p && *p != 'e'; p++)
        if (*p != '.') digits[n++] = *p;
    const int exponent = *p == 'e' ? atoi(p + 1) : 0;
    while (n > 1 && digits[n - 1] == '0') n--;
    digits[n] = '\0';
    char *t = s;
    if (signbit(v)) *t++ = '-';
    if (exponent >= 16 || exponent < -4) {
        *t++ = digits[0];
        if (n > 1) t += sprintf(t, ".%s", digits + 1);
        t += sprintf(t, "e%c%02d", exponent < 0 ? '-' : '+', abs(exponent));
    } else if (exponent < 0) {
        *t++ = '0';
        *t++ = '.';
        for (int i = -1; i > exponent; i--) *t++ = '0';
        t += sprintf(t, "%s", digits);
    } else {
        const size_t whole = (size_t)exponent + 1;
        for (size_t i = 0; i < whole; i++) *t++ = i < n ? digits[i] : '0';
        *t++ = '.';
        if (n > whole)
            t += sprintf(t, "%s", digits + whole);
        else
            *t++ = '0';
        *t = '\0';
    }
    return (size_t)(t - s);
}
