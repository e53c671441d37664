/* distill/model/template_filter.c - the filters that work on text and numbers, and the way to all of them. Leans on template_run.h. */
#include "distill/base/utf8.h"
#include "distill/model/template_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KD_TFL_NAME(name) #name,
static const char *const filters[] = {KD_TFL_ALL(KD_TFL_NAME)};

int kd_tpl_filter_id(kd_str name) {
    for (int i = 0; i < KD_TFL_FILTERS; i++)
        if (kd_str_is(name, filters[i])) return i;
    return -1;
}

/* An integer argument; MISSING leaves *out. */
static bool want_int(kd_trun *r, const char *who, kd_tval v, int64_t *out) {
    if (v.type == KD_TV_UNDEF) return kd_tr_undefined(r, v);
    return v.type == KD_TV_MISSING || kd_tv_index(v, out) ||
           kd_tr_fail(r, KD_EFORMAT, "%s: expected an integer, got %s", who, kd_tv_type_name(v));
}

/* ---- numbers ---- */

/* The value of a decimal digit of any script: they come in tens, zero first. */
static char digit_of(int32_t c) {
    int32_t run = 0;
    while (kd_tc_is(c - 1 - run, KD_TM_isdecimal)) run++;
    return (char)('0' + run % 10);
}

/* Text of a Python number literal in ASCII without its white space and underscores, in z; false if the underscores are misplaced, a character
 * does not belong there, or it is too long. */
static bool plain_number(kd_trun *r, kd_tval s, char *z, size_t cap) {
    static const char digits[] = "0123456789abcdefABCDEF";
    char raw[512];
    size_t n = 0, m = 0;
    if (!kd_ts_strip(r, &s, s, kd_tv(KD_TV_NONE), 3) || s.len > 4 * sizeof raw) return false;
    for (size_t i = 0, len; i < s.len; i += len) {
        int32_t c = kd_tpl_cp(s.u.s + i, &len);
        if (c == 0 || n + 1 == sizeof raw || (c >= 0x80 && !kd_tc_is(c, KD_TM_isdecimal))) return false;
        raw[n++] = c >= 0x80 ? digit_of(c) : (char)c;
    }
    for (size_t i = 0; i < n; i++) {
        if (raw[i] == '_' && (i == 0 || i + 1 == n || !strchr(digits, raw[i - 1]) || !strchr(digits, raw[i + 1]))) return false;
        if (m + 1 == cap) return false;
        if (raw[i] != '_') z[m++] = raw[i];
    }
    z[m] = 0;
    return m > 0;
}

/* float(s): 1 read, 0 no number. */
static bool parse_float(kd_trun *r, kd_tval s, double *out) {
    char z[512];
    if (!plain_number(r, s, z, sizeof z)) return false;
    const char *p = z + (z[0] == '-' || z[0] == '+');
    bool word = strcasecmp(p, "inf") == 0 || strcasecmp(p, "infinity") == 0 || strcasecmp(p, "nan") == 0;
    if (!word && (strspn(p, "0123456789.eE+-") != strlen(p))) return false;
    char *end;
    *out = strtod(z, &end);
    return *end == 0;
}

/* int(s, base): false no number; *big beyond 64 bits. */
static bool parse_int(kd_trun *r, kd_tval s, int64_t base, int64_t *out, bool *big) {
    char z[512];
    *big = false;
    if (!plain_number(r, s, z, sizeof z) || base < 0 || base == 1 || base > 36) return false;
    char *p = z + (z[0] == '-' || z[0] == '+');
    char x = p[0] == '0' ? (char)(p[1] | 0x20) : 0;
    int64_t prefix = x == 'x' ? 16 : x == 'o' ? 8 : x == 'b' ? 2 : 0;
    if (prefix && (base == 0 || base == prefix)) {
        base = prefix;
        p += 2;
    } else if (base == 0) {
        base = 10;
        if (p[0] == '0' && strspn(p, "0") != strlen(p)) return false;
    }
    uint64_t u = 0;
    if (!*p) return false;
    for (; *p; p++) {
        int d = *p >= '0' && *p <= '9' ? *p - '0' : (*p | 0x20) >= 'a' && (*p | 0x20) <= 'z' ? (*p | 0x20) - 'a' + 10 : 99;
        if (d >= base) return false;
        *big |= u > (INT64_MAX - (uint64_t)d) / (uint64_t)base;
        u = u * (uint64_t)base + (uint64_t)d;
    }
    *out = z[0] == '-' ? -(int64_t)u : (int64_t)u;
    return true;
}

static bool float_to_int(kd_trun *r, double f, kd_tval *out) {
    if (fabs(f) >= 9.2e18) return kd_tr_fail(r, KD_EUNSUPPORTED, "an integer beyond 64 bits");
    *out = kd_tv_int((int64_t)f);
    return true;
}

static bool do_int(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    int64_t base = 10, i;
    double f;
    bool big = false;
    if (!kd_te_bind(r, "int", a, "value default base", 1, v) || !want_int(r, "int", v[2], &base)) return false;
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (v[0].type == KD_TV_BIG) {
        *out = v[0];
        return true;
    }
    if (kd_tv_index(v[0], &i) || (v[0].type == KD_TV_STR && parse_int(r, v[0], base, &i, &big))) {
        if (v[0].type == KD_TV_STR && big) return kd_tr_fail(r, KD_EUNSUPPORTED, "an integer beyond 64 bits");
        *out = kd_tv_int(i);
        return true;
    }
    if (v[0].type == KD_TV_FLOAT && isinf(v[0].u.f)) return kd_tr_fail(r, KD_EFORMAT, "cannot convert float infinity to integer");
    if ((v[0].type == KD_TV_FLOAT && ((f = v[0].u.f), true)) || (v[0].type == KD_TV_STR && parse_float(r, v[0], &f)))
        if (!isnan(f) && !isinf(f)) return float_to_int(r, f, out);
    *out = v[1].type == KD_TV_MISSING ? kd_tv_int(0) : v[1];
    return true;
}

static bool do_float(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    double f;
    if (!kd_te_bind(r, "float", a, "value default", 1, v)) return false;
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (kd_tv_is_number(v[0]))
        *out = kd_tv_float(kd_tv_number(v[0]));
    else if (v[0].type == KD_TV_STR && parse_float(r, v[0], &f))
        *out = kd_tv_float(f);
    else
        *out = v[1].type == KD_TV_MISSING ? kd_tv_float(0) : v[1];
    return true;
}

/* Python's round(f, digits): the decimal nearest to the exact value, ties to even. */
static double round_float(double f, int64_t digits) {
    char z[800];
    if (!isfinite(f) || digits > 320) return f;
    if (digits < -310) return copysign(0.0, f);
    if (digits >= 0) {
        snprintf(z, sizeof z, "%.*f", (int)digits, f);
        return strtod(z, NULL);
    }
    double p = pow(10, (double)-digits);
    return nearbyint(f / p) * p;
}

static bool do_round(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    int64_t digits = 0, i;
    if (!kd_te_bind(r, "round", a, "value precision method", 1, v) || !want_int(r, "round", v[1], &digits)) return false;
    kd_str how = v[2].type == KD_TV_MISSING ? KD_STR("common") : v[2].type == KD_TV_STR ? kd_tv_text(v[2]) : KD_STR("");
    if (!kd_str_is(how, "common") && !kd_str_is(how, "ceil") && !kd_str_is(how, "floor"))
        return kd_tr_fail(r, KD_EFORMAT, "method must be common, ceil or floor");
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (!kd_tv_is_number(v[0]) || v[0].type == KD_TV_BIG)
        return kd_tr_fail(r, KD_EFORMAT, "type %s doesn't define __round__ method", kd_tv_type_name(v[0]));
    bool integer = kd_tv_index(v[0], &i);
    if (how.data[0] != 'c' || how.data[1] == 'e') {
        double p = pow(10, (double)digits), x = kd_tv_number(v[0]) * p;
        if (!isfinite(x)) return kd_tr_fail(r, KD_EFORMAT, "cannot convert float infinity or NaN to integer");
        *out = kd_tv_float((how.data[0] == 'c' ? ceil(x) : floor(x)) / p);
        return true;
    }
    if (!integer) {
        *out = kd_tv_float(round_float(v[0].u.f, digits));
        return true;
    }
    if (digits < 0) {
        int64_t p = 1;
        for (int64_t k = 0; k > digits && p < INT64_MAX / 10; k--) p *= 10;
        int64_t m = digits < -18 ? 0 : ((i % p) + p) % p, down = digits < -18 ? 0 : i - m;
        bool up = m * 2 > p || (m * 2 == p && (down / p) % 2 != 0);
        i = digits < -18 ? 0 : down + (up ? p : 0);
    }
    *out = kd_tv_int(i);
    return true;
}

static bool do_abs(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    int64_t i;
    if (!kd_te_bind(r, "abs", a, "x /", 1, v)) return false;
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (v[0].type == KD_TV_FLOAT)
        *out = kd_tv_float(fabs(v[0].u.f));
    else if (kd_tv_index(v[0], &i) && i != INT64_MIN)
        *out = kd_tv_int(i < 0 ? -i : i);
    else
        return kd_tr_fail(r, KD_EFORMAT, "bad operand type for abs(): '%s'", kd_tv_type_name(v[0]));
    return true;
}

static bool do_filesize(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    double n;
    char z[64];
    if (!kd_te_bind(r, "filesizeformat", a, "value binary", 1, v)) return false;
    if (kd_tv_is_number(v[0]))
        n = kd_tv_number(v[0]);
    else if (v[0].type != KD_TV_STR || !parse_float(r, v[0], &n))
        return kd_tr_fail(r, KD_EFORMAT, "filesizeformat: no number");
    bool binary = kd_tv_truth(v[1]);
    double base = binary ? 1024 : 1000, unit;
    if (n == 1) {
        strcpy(z, "1 Byte");
    } else if (n < base) {
        snprintf(z, sizeof z, "%.0f Bytes", trunc(n));
    } else {
        int k = 0;
        for (unit = base * base; k < 7 && n >= unit; k++) unit *= base;
        snprintf(z, sizeof z, "%.1f %c%s", base * n / unit, (binary ? "KMGTPEZY" : "kMGTPEZY")[k], binary ? "iB" : "B");
    }
    return kd_tv_dup(r, out, z, strlen(z));
}

/* ---- text ---- */

static bool do_title(kd_trun *r, kd_tval s, kd_tval *out) {
    kd_buf b = {0};
    bool ok = true, start = true;
    for (size_t i = 0, n; ok && i < s.len; i += n) {
        int32_t c = kd_tpl_cp(s.u.s + i, &n), to[3];
        bool separator = c == '-' || c == '(' || c == '{' || c == '[' || c == '<' || kd_tpl_space(c);
        int32_t k = kd_tc_full(c, start && !separator ? 'U' : 'L', to);
        for (int32_t j = 0; ok && j < k; j++) {
            char u[4];
            ok = kd_tr_write(r, &b, u, kd_utf8_put(u, (uint32_t)to[j]));
        }
        start = separator;
    }
    return kd_tv_take(r, out, &b) && ok && kd_tr_charge(r, s.len / 4);
}

static bool do_indent(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[4], lines;
    int64_t width = 4;
    if (!kd_te_bind(r, "indent", a, "s width first blank", 1, v)) return false;
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (v[0].type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "indent: expected a string, got %s", kd_tv_type_name(v[0]));
    kd_tval by = kd_tv_lit("");
    if (v[1].type == KD_TV_STR)
        by = v[1];
    else if (!want_int(r, "indent", v[1], &width) || !kd_ts_pad(r, &by, by, width, KD_STR(" "), '<'))
        return false;
    bool first = kd_tv_truth(v[2]), blank = kd_tv_truth(v[3]);
    kd_buf b = {0};
    kd_tval closed;
    if (!kd_tv_join(r, &closed, v[0], kd_tv_lit("\n")) || !kd_ts_lines(r, &lines, closed, false)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < lines.u.seq->n; i++) {
        kd_tval line = lines.u.seq->at[i];
        if (i) ok = kd_tr_write(r, &b, "\n", 1);
        if (i ? blank || line.len : first) ok = ok && kd_tr_write(r, &b, by.u.s, by.len);
        ok = ok && kd_tr_write(r, &b, line.u.s, line.len);
    }
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = v[0].flag;
    return ok;
}

static bool do_truncate(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[5];
    int64_t length = 255, leeway = 5, n;
    if (!kd_te_bind(r, "truncate", a, "s length killwords end leeway", 1, v) || !want_int(r, "truncate", v[1], &length)) return false;
    if (v[4].type != KD_TV_NONE && !want_int(r, "truncate", v[4], &leeway)) return false;
    kd_tval end = v[3].type == KD_TV_MISSING ? kd_tv_lit("...") : v[3];
    if (end.type != KD_TV_STR || length < (int64_t)kd_ts_count(end) || leeway < 0)
        return kd_tr_fail(r, KD_EFORMAT, "truncate: expected length >= %zu", end.type == KD_TV_STR ? kd_ts_count(end) : 0);
    *out = v[0];
    if (!kd_tv_len(r, v[0], &n) || n <= length + leeway) return r->code == KD_OK;
    if (v[0].type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "truncate: expected a string, got %s", kd_tv_type_name(v[0]));
    size_t cut = kd_ts_offset(v[0], (size_t)(length - (int64_t)kd_ts_count(end)));
    if (!kd_tv_truth(v[2]))
        for (size_t i = cut; i-- > 0;)
            if (v[0].u.s[i] == ' ') {
                cut = i;
                break;
            }
    return kd_tv_join(r, out, kd_tv_view(v[0].u.s, cut), end);
}

static bool do_wordcount(kd_trun *r, kd_tval s, kd_tval *out) {
    int64_t words = 0;
    bool inside = false;
    for (size_t i = 0, n; i < s.len; i += n) {
        int32_t c = kd_tpl_cp(s.u.s + i, &n);
        bool word = c == '_' || kd_tc_is(c, KD_TM_isalnum);
        words += word && !inside;
        inside = word;
    }
    *out = kd_tv_int(words);
    return kd_tr_charge(r, s.len / 4);
}

static bool put_quoted(kd_trun *r, kd_buf *b, kd_tval v, bool query) {
    kd_tval s;
    bool ok = kd_tv_str(r, &s, v);
    for (size_t i = 0; ok && i < s.len; i++) {
        unsigned char c = (unsigned char)s.u.s[i];
        char z[4];
        bool safe =
            (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c && strchr("_.-~", c)) || (c == '/' && !query);
        if (query && c == ' ')
            ok = kd_tr_write(r, b, "+", 1);
        else if (safe)
            ok = kd_tr_write(r, b, s.u.s + i, 1);
        else
            ok = kd_tr_write(r, b, z, (size_t)snprintf(z, sizeof z, "%%%02X", c));
    }
    return ok;
}

static bool do_urlencode(kd_trun *r, kd_tval v, kd_tval *out) {
    kd_buf b = {0};
    kd_tval pairs, two;
    bool ok = true;
    if (v.type == KD_TV_STR || kd_tv_is_number(v) || v.type == KD_TV_NONE) {
        ok = put_quoted(r, &b, v, false);
        return kd_tv_take(r, out, &b) && ok;
    }
    if (v.type == KD_TV_DICT) {
        kd_tmethod m = {v, KD_TM_items};
        kd_targs none = {0};
        if (!kd_te_method(r, m.self, m.id, &none, &v)) return false;
    }
    if (!kd_ti_all(r, v, &pairs)) return false;
    for (size_t i = 0; ok && i < pairs.u.seq->n; i++) {
        ok = kd_ti_all(r, pairs.u.seq->at[i], &two);
        if (ok && two.u.seq->n != 2) ok = kd_tr_fail(r, KD_EFORMAT, "urlencode: expected pairs");
        ok = ok && (!i || kd_tr_write(r, &b, "&", 1)) && put_quoted(r, &b, two.u.seq->at[0], true) && kd_tr_write(r, &b, "=", 1) &&
             put_quoted(r, &b, two.u.seq->at[1], true);
    }
    return kd_tv_take(r, out, &b) && ok;
}

static bool do_xmlattr(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    kd_buf b = {0};
    if (!kd_te_bind(r, "xmlattr", a, "d autospace", 1, v)) return false;
    if (v[0].type != KD_TV_DICT) return kd_tr_fail(r, KD_EFORMAT, "xmlattr: expected a dict, got %s", kd_tv_type_name(v[0]));
    bool ok = true, space = v[1].type == KD_TV_MISSING || kd_tv_truth(v[1]);
    for (uint32_t i = 0; ok && i < v[0].u.dict->n; i++) {
        kd_tval k = v[0].u.dict->keys[i], x = v[0].u.dict->values[i];
        if (x.type == KD_TV_NONE || x.type == KD_TV_UNDEF) continue;
        if (k.type != KD_TV_STR) ok = kd_tr_fail(r, KD_EFORMAT, "xmlattr: expected string keys");
        for (size_t c = 0; ok && c < k.len; c++)
            if (strchr(" \t\n\r\f\v/>=", k.u.s[c])) ok = kd_tr_fail(r, KD_EFORMAT, "xmlattr: invalid character in attribute name");
        ok = ok && kd_tv_str(r, &x, x) && kd_ts_escape(r, &k, k) && kd_ts_escape(r, &x, x) &&
             (!(b.len || space) || kd_tr_write(r, &b, " ", 1)) && kd_tr_write(r, &b, k.u.s, k.len) && kd_tr_write(r, &b, "=\"", 2) &&
             kd_tr_write(r, &b, x.u.s, x.len) && kd_tr_write(r, &b, "\"", 1);
    }
    return kd_tv_take(r, out, &b) && ok;
}

static bool do_replace(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[4];
    int64_t count = -1;
    if (!kd_te_bind(r, "replace", a, "s old new count", 3, v) || (v[3].type != KD_TV_NONE && !want_int(r, "replace", v[3], &count)))
        return false;
    for (int i = 0; i < 3; i++)
        if (!kd_tv_str(r, &v[i], v[i])) return false;
    v[0].flag = 0;
    return kd_ts_replace(r, out, v[0], v[1], v[2], count);
}

static bool do_format(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval s, args;
    if (a->n > 1 && a->n_names) return kd_tr_fail(r, KD_EFORMAT, "can't handle positional and keyword arguments at the same time");
    if (!kd_tv_str(r, &s, a->at[0])) return false;
    if (!a->n_names) {
        if (!kd_tv_seq(r, &args, KD_TV_TUPLE, a->n - 1)) return false;
        if (a->n > 1) memcpy(args.u.seq->at, a->at + 1, (a->n - 1) * sizeof(kd_tval));
        return kd_te_format(r, s, args, out);
    }
    if (!kd_td_new(r, &args, a->n_names)) return false;
    for (size_t i = 0; i < a->n_names; i++)
        if (!kd_td_set(r, args.u.dict, kd_tv_view(a->names[i].data, a->names[i].len), a->values[i])) return false;
    return kd_te_format(r, s, args, out);
}

/* Filters of one text and nothing else. */
static bool of_text(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[1], s;
    if (!kd_te_bind(r, filters[id], a, "s", 1, v) || !kd_tv_str(r, &s, v[0])) return false;
    switch (id) {
    case KD_TFL_upper: return kd_ts_case(r, out, s, 'U');
    case KD_TFL_lower: return kd_ts_case(r, out, s, 'L');
    case KD_TFL_capitalize: return kd_ts_case(r, out, s, 'C');
    case KD_TFL_title: return do_title(r, s, out);
    case KD_TFL_wordcount: return do_wordcount(r, s, out);
    case KD_TFL_safe:
        *out = s;
        out->flag = KD_TF_MARKUP;
        return true;
    case KD_TFL_forceescape: s.flag = 0; return kd_ts_escape(r, out, s);
    case KD_TFL_e:
    case KD_TFL_escape: return kd_ts_escape(r, out, s);
    default: /* string */ *out = s; return true;
    }
}

bool kd_te_text_filter(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    int64_t width = 80;
    switch (id) {
    case KD_TFL_int: return do_int(r, a, out);
    case KD_TFL_float: return do_float(r, a, out);
    case KD_TFL_round: return do_round(r, a, out);
    case KD_TFL_abs: return do_abs(r, a, out);
    case KD_TFL_filesizeformat: return do_filesize(r, a, out);
    case KD_TFL_indent: return do_indent(r, a, out);
    case KD_TFL_truncate: return do_truncate(r, a, out);
    case KD_TFL_urlencode: return kd_te_bind(r, "urlencode", a, "value", 1, v) && do_urlencode(r, v[0], out);
    case KD_TFL_xmlattr: return do_xmlattr(r, a, out);
    case KD_TFL_replace: return do_replace(r, a, out);
    case KD_TFL_format: return do_format(r, a, out);
    case KD_TFL_tojson: return kd_tv_json(r, out, a);
    case KD_TFL_trim:
        return kd_te_bind(r, "trim", a, "value chars", 1, v) && kd_tv_str(r, &v[0], v[0]) && kd_ts_strip(r, out, v[0], v[1], 3);
    case KD_TFL_center:
        return kd_te_bind(r, "center", a, "value width", 1, v) && kd_tv_str(r, &v[0], v[0]) && want_int(r, "center", v[1], &width) &&
               kd_ts_pad(r, out, v[0], width, KD_STR(" "), '^');
    case KD_TFL_pprint:
    case KD_TFL_random:
    case KD_TFL_urlize:
    case KD_TFL_wordwrap:
    case KD_TFL_striptags: return kd_tr_fail(r, KD_EUNSUPPORTED, "the filter '%s' is not supported", filters[id]);
    default: return of_text(r, id, a, out);
    }
}

bool kd_te_filter(kd_trun *r, int id, kd_tval v, const kd_targs *a, kd_tval *out) {
    kd_tval few[8], *at = few;
    if (a->n + 1 > 8 && !(at = kd_tr_alloc(r, (a->n + 1) * sizeof *at))) return false;
    at[0] = v;
    if (a->n) memcpy(at + 1, a->at, a->n * sizeof *at);
    kd_targs all = {at, a->n + 1, a->names, a->values, a->n_names};
    bool ok = ++r->depth <= KD_TR_DEPTH ? kd_te_list_filter(r, id, &all, out) : kd_tr_fail(r, KD_ELIMIT, "nested too deep");
    r->depth--;
    return ok;
}
