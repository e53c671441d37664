/* distill/model/template_format.c - "..." % args and "...".format(args), with Python's format language. Leans on template_run.h. */
#include "distill/base/utf8.h"
#include "distill/model/template_run.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { WIDTH_MAX = 1 << 20, PRECISION_MAX = 400 };

typedef struct {
    kd_str fill;
    char align, sign, group, type; /* 0: not given */
    bool alt, zero;
    int64_t width, precision; /* -1: not given */
} spec;

static bool out_padded(kd_trun *r, kd_buf *b, const spec *f, kd_str sign, kd_str body, char align) {
    size_t n = kd_utf8_count(sign.data, sign.len) + kd_utf8_count(body.data, body.len);
    size_t pad = f->width > (int64_t)n ? (size_t)f->width - n : 0;
    size_t left = align == '<' ? 0 : align == '^' ? pad / 2 : pad;
    kd_str fill = f->fill.len ? f->fill : KD_STR(" ");
    bool ok = kd_tr_charge(r, pad / 8) && (align != '=' || kd_tr_write(r, b, sign.data, sign.len));
    for (size_t i = 0; ok && i < left; i++) ok = kd_tr_write(r, b, fill.data, fill.len);
    ok = ok && (align == '=' || kd_tr_write(r, b, sign.data, sign.len)) && kd_tr_write(r, b, body.data, body.len);
    for (size_t i = left; ok && i < pad; i++) ok = kd_tr_write(r, b, fill.data, fill.len);
    return ok;
}

/* Digits grouped by threes (or fours, for bases of bits) with the separator; the integer part of text ends at the first non-digit. */
static size_t grouped(char *out, const char *text, char sep, int every) {
    size_t whole = 0, n = 0;
    while (text[whole] && strchr("0123456789abcdefABCDEF", text[whole]) && (every == 4 || (text[whole] >= '0' && text[whole] <= '9')))
        whole++;
    for (size_t i = 0; i < whole; i++) {
        if (i && (whole - i) % (size_t)every == 0) out[n++] = sep;
        out[n++] = text[i];
    }
    strcpy(out + n, text + whole);
    return n + strlen(text + whole);
}

static bool put_number(kd_trun *r, kd_buf *b, const spec *f, bool negative, const char *prefix, char *text, int every) {
    char head[8], both[1600];
    snprintf(head, sizeof head, "%s%s", negative ? "-" : f->sign == '+' ? "+" : f->sign == ' ' ? " " : "", f->alt ? prefix : "");
    size_t n = f->group ? grouped(both, text, f->group, every) : strlen(strcpy(both, text));
    if (f->zero && f->align == '=' && f->group && !f->fill.data) /* zeros are grouped as well */
        while ((int64_t)(strlen(head) + n) < f->width && n < sizeof both - 8) {
            char plain[1600] = "0";
            size_t k = 1;
            for (size_t i = 0; i < n; i++)
                if (both[i] != f->group) plain[k++] = both[i];
            plain[k] = 0;
            n = grouped(both, plain, f->group, every);
        }
    spec with = *f;
    if (f->zero && !f->fill.data) with.fill = KD_STR("0");
    return out_padded(r, b, &with, kd_str_of(head), (kd_str){both, n}, f->align ? f->align : '>');
}

static size_t int_text(char *s, uint64_t u, unsigned base, bool upper) {
    char t[72];
    size_t n = 0;
    do t[n++] = (upper ? "0123456789ABCDEF" : "0123456789abcdef")[u % base];
    while (u /= base);
    for (size_t i = 0; i < n; i++) s[i] = t[n - 1 - i];
    s[n] = 0;
    return n;
}

static bool format_float(kd_trun *r, kd_buf *b, const spec *f, double x) {
    char text[800], style[8];
    int precision = f->precision < 0 ? 6 : (int)f->precision;
    char type = f->type == '%' ? 'f' : f->type == 'n' ? 'g' : f->type;
    double v = fabs(f->type == '%' ? x * 100 : x);
    if (isnan(x) || isinf(x)) {
        strcpy(text, isnan(x) ? "nan" : "inf");
        if (type == 'F' || type == 'E' || type == 'G') strcpy(text, isnan(x) ? "NAN" : "INF");
    } else if (!type && f->precision < 0) {
        kd_tv_float_repr(v, text);
    } else if (!type) { /* as g, with a digit behind the point */
        snprintf(text, sizeof text, "%.*g", precision ? precision : 1, v);
        char *e = strchr(text, 'e');
        int exponent = e ? atoi(e + 1) : 0;
        if (!e && !strchr(text, '.') && (int)strlen(text) >= (precision ? precision : 1) && v >= 1) {
            snprintf(text, sizeof text, "%.*e", (precision ? precision : 1) - 1, v); /* all digits whole: Python turns to the exponent */
            for (e = strchr(text, 'e'); strchr(text, '.') && (e[-1] == '0' || e[-1] == '.'); e--) {
                bool point = e[-1] == '.';
                memmove(e - 1, e, strlen(e) + 1);
                if (point) break;
            }
        } else if (!e && !strchr(text, '.')) {
            strcat(text, ".0");
        }
        (void)exponent;
    } else {
        snprintf(style, sizeof style, f->alt ? "%%#.*%c" : "%%.*%c", type);
        snprintf(text, sizeof text, style, precision, v);
    }
    if (f->type == '%') strcat(text, "%");
    spec plain = *f;
    plain.alt = false;
    return put_number(r, b, &plain, signbit(x) && !isnan(x), "", text, 3);
}

static bool format_int(kd_trun *r, kd_buf *b, const spec *f, int64_t i) {
    char text[800];
    if (f->type && strchr("eEfFgG%", f->type)) return format_float(r, b, f, (double)i);
    if (f->precision >= 0) return kd_tr_fail(r, KD_EFORMAT, "Precision not allowed in integer format specifier");
    if (f->type == 'c') {
        if (i < 0 || i > 0x10ffff || (i >= 0xd800 && i < 0xe000)) return kd_tr_fail(r, KD_EFORMAT, "%%c arg not in range(0x110000)");
        return out_padded(r, b, f, KD_STR(""), (kd_str){text, kd_utf8_put(text, (uint32_t)i)}, f->align ? f->align : '<');
    }
    unsigned base = f->type == 'b' ? 2 : f->type == 'o' ? 8 : f->type == 'x' || f->type == 'X' ? 16 : 10;
    if (f->type && !strchr("bdoxXn", f->type))
        return kd_tr_fail(r, KD_EFORMAT, "Unknown format code '%c' for object of type 'int'", f->type);
    int_text(text, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, base, f->type == 'X');
    const char *prefix = f->type == 'b' ? "0b" : f->type == 'o' ? "0o" : f->type == 'x' ? "0x" : f->type == 'X' ? "0X" : "";
    return put_number(r, b, f, i < 0, prefix, text, base == 10 ? 3 : 4);
}

static bool read_int(kd_str s, size_t *i, int64_t *out) {
    size_t from = *i;
    int64_t n = 0;
    while (*i < s.len && s.data[*i] >= '0' && s.data[*i] <= '9') {
        if (n < 1 << 28) n = n * 10 + (s.data[*i] - '0');
        ++*i;
    }
    if (*i == from) return false;
    *out = n;
    return true;
}

static bool parse_spec(kd_trun *r, kd_str s, spec *f) {
    size_t i = 0, n;
    *f = (spec){.width = -1, .precision = -1};
    if (s.len) {
        kd_tpl_cp(s.data, &n);
        if (n < s.len && strchr("<>=^", s.data[n])) {
            f->fill = (kd_str){s.data, n};
            f->align = s.data[n];
            i = n + 1;
        } else if (strchr("<>=^", s.data[0])) {
            f->align = s.data[i++];
        }
    }
    if (i < s.len && (s.data[i] == '+' || s.data[i] == '-' || s.data[i] == ' ')) f->sign = s.data[i++];
    if (i < s.len && s.data[i] == '#') {
        f->alt = true;
        i++;
    }
    if (i < s.len && s.data[i] == '0') {
        f->zero = true;
        if (!f->align) f->align = '=';
        i++;
    }
    read_int(s, &i, &f->width);
    if (i < s.len && (s.data[i] == ',' || s.data[i] == '_')) f->group = s.data[i++];
    if (i < s.len && s.data[i] == '.') {
        i++;
        if (!read_int(s, &i, &f->precision)) return kd_tr_fail(r, KD_EFORMAT, "Format specifier missing precision");
    }
    if (i < s.len) f->type = s.data[i++];
    if (i < s.len) return kd_tr_fail(r, KD_EFORMAT, "Invalid format specifier");
    if (f->width > WIDTH_MAX || f->precision > PRECISION_MAX)
        return kd_tr_fail(r, KD_ELIMIT, "a format of width or precision beyond the bound");
    return true;
}

/* format(v, s) */
static bool format_value(kd_trun *r, kd_buf *b, kd_tval v, kd_str s) {
    spec f;
    if (!s.len) return kd_tv_print(r, b, v);
    if (!parse_spec(r, s, &f)) return false;
    if (v.type == KD_TV_INT) return format_int(r, b, &f, v.u.i);
    if (v.type == KD_TV_BOOL) return format_int(r, b, &f, v.u.b);
    if (v.type == KD_TV_FLOAT) {
        if (f.type && !strchr("eEfFgGn%", f.type))
            return kd_tr_fail(r, KD_EFORMAT, "Unknown format code '%c' for object of type 'float'", f.type);
        return format_float(r, b, &f, v.u.f);
    }
    if (v.type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "unsupported format string passed to %s.__format__", kd_tv_type_name(v));
    if ((f.type && f.type != 's') || f.sign || f.alt || f.group || (f.align == '=' && !f.zero))
        return kd_tr_fail(r, KD_EFORMAT, "Invalid format specifier for a string");
    if (f.zero && !f.fill.data) f.fill = KD_STR("0");
    size_t n = f.precision >= 0 ? kd_ts_offset(v, (size_t)f.precision) : v.len;
    return out_padded(r, b, &f, KD_STR(""), (kd_str){v.u.s, n}, f.align && f.align != '=' ? f.align : '<');
}

/* ---- str.format ---- */

typedef struct {
    const kd_targs *a;
    int64_t next; /* automatic number; -1 after an explicit one */
    int depth;
    bool markup;
} fields;

static bool field_value(kd_trun *r, fields *g, kd_str name, kd_tval *out) {
    size_t n = 0;
    int64_t i = 0;
    while (n < name.len && name.data[n] != '.' && name.data[n] != '[') n++;
    size_t k = 0;
    if (n == 0) {
        if (g->next < 0) return kd_tr_fail(r, KD_EFORMAT, "cannot switch from manual field specification to automatic field numbering");
        i = g->next++;
    } else if (!read_int((kd_str){name.data, n}, &k, &i) || k < n) {
        i = -1;
    } else {
        if (g->next > 0) return kd_tr_fail(r, KD_EFORMAT, "cannot switch from automatic field numbering to manual field specification");
        g->next = -1;
    }
    if (i >= 0) {
        if ((size_t)i >= g->a->n)
            return kd_tr_fail(r, KD_EFORMAT, "Replacement index %lld out of range for positional args tuple", (long long)i);
        *out = g->a->at[i];
    } else {
        for (k = 0; k < g->a->n_names && !kd_str_eq(g->a->names[k], (kd_str){name.data, n}); k++) {}
        if (k == g->a->n_names) return kd_tr_fail(r, KD_EFORMAT, "format: no argument named '%.*s'", (int)n, name.data);
        *out = g->a->values[k];
    }
    while (n < name.len) {
        bool item = name.data[n++] == '[';
        size_t from = n;
        while (n < name.len && (item ? name.data[n] != ']' : name.data[n] != '.' && name.data[n] != '[')) n++;
        kd_str part = {name.data + from, n - from};
        if (!part.len || (item && n == name.len)) return kd_tr_fail(r, KD_EFORMAT, "format: Empty attribute in format string");
        n += item;
        k = 0;
        bool number = item && read_int(part, &k, &i) && k == part.len;
        if (!(item ? kd_te_item(r, *out, number ? kd_tv_int(i) : kd_tv_view(part.data, part.len), out) : kd_te_attr(r, *out, part, out)))
            return false;
    }
    return true;
}

static bool format_text(kd_trun *r, kd_buf *b, fields *g, kd_str s);

/* The field between { and } into b. */
static bool format_field(kd_trun *r, kd_buf *b, fields *g, kd_str s) {
    size_t n = 0, depth = 0;
    for (; n < s.len && (depth || (s.data[n] != '!' && s.data[n] != ':')); n++)
        depth += s.data[n] == '[' ? 1 : s.data[n] == ']' && depth ? (size_t)-1 : 0;
    kd_tval v;
    char conversion = 0;
    kd_str rest = {s.data + n, s.len - n};
    if (!field_value(r, g, (kd_str){s.data, n}, &v)) return false;
    if (rest.len && rest.data[0] == '!') {
        if (rest.len < 2 || !strchr("rsa", rest.data[1]) || (rest.len > 2 && rest.data[2] != ':'))
            return kd_tr_fail(r, KD_EFORMAT, "format: an unknown conversion");
        conversion = rest.data[1];
        rest = (kd_str){rest.data + 2, rest.len - 2};
    }
    if (conversion == 'a') return kd_tr_fail(r, KD_EUNSUPPORTED, "format: the conversion !a is not supported");
    if (conversion) {
        kd_buf t = {0};
        bool ok = conversion == 'r' ? kd_tv_repr(r, &t, v) : kd_tv_print(r, &t, v);
        if (!kd_tv_take(r, &v, &t) || !ok) return false;
    }
    kd_buf spec_text = {0}, plain = {0};
    bool ok = true;
    if (rest.len) {
        g->depth++;
        ok = format_text(r, &spec_text, g, (kd_str){rest.data + 1, rest.len - 1});
        g->depth--;
    }
    ok = ok && format_value(r, g->markup ? &plain : b, v, kd_buf_view(&spec_text));
    if (ok && g->markup) {
        kd_tval t, safe;
        t = kd_tv_view(plain.data, plain.len);
        t.flag = v.flag & KD_TF_MARKUP;
        ok = kd_ts_escape(r, &safe, t) && kd_tr_write(r, b, safe.u.s, safe.len);
    }
    kd_tr_drop(r, &spec_text);
    kd_tr_drop(r, &plain);
    return ok;
}

static bool format_text(kd_trun *r, kd_buf *b, fields *g, kd_str s) {
    if (g->depth > 2) return kd_tr_fail(r, KD_EFORMAT, "Max string recursion exceeded");
    bool ok = true;
    for (size_t i = 0; ok && i < s.len;) {
        char c = s.data[i];
        size_t from = i;
        if (c != '{' && c != '}') {
            while (i < s.len && s.data[i] != '{' && s.data[i] != '}') i++;
            ok = kd_tr_write(r, b, s.data + from, i - from);
            continue;
        }
        if (i + 1 < s.len && s.data[i + 1] == c) {
            ok = kd_tr_write(r, b, &c, 1);
            i += 2;
            continue;
        }
        if (c == '}') return kd_tr_fail(r, KD_EFORMAT, "Single '}' encountered in format string");
        size_t depth = 1, to = ++i;
        for (; to < s.len && depth; to++) depth += s.data[to] == '{' ? 1 : s.data[to] == '}' ? (size_t)-1 : 0;
        if (depth) return kd_tr_fail(r, KD_EFORMAT, "Single '{' encountered in format string");
        ok = kd_tr_charge(r, 1) && format_field(r, b, g, (kd_str){s.data + i, to - 1 - i});
        i = to;
    }
    return ok;
}

bool kd_te_str_format(kd_trun *r, kd_tval fmt, const kd_targs *a, kd_tval *out) {
    kd_buf b = {0};
    fields g = {.a = a, .markup = fmt.flag & KD_TF_MARKUP};
    bool ok = format_text(r, &b, &g, kd_tv_text(fmt));
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = fmt.flag;
    return ok;
}

/* ---- % ---- */

typedef struct {
    kd_tval args;
    size_t next;
    bool mapping;
} percent;

static bool next_arg(kd_trun *r, percent *p, kd_tval *out) {
    if (p->args.type == KD_TV_TUPLE ? p->next >= p->args.u.seq->n : p->next > 0)
        return kd_tr_fail(r, KD_EFORMAT, "not enough arguments for format string");
    *out = p->args.type == KD_TV_TUPLE ? p->args.u.seq->at[p->next] : p->args;
    p->next++;
    return true;
}

static bool star(kd_trun *r, percent *p, kd_str s, size_t *i, int64_t *out) {
    if (*i >= s.len || s.data[*i] != '*') {
        read_int(s, i, out);
        return true;
    }
    kd_tval v;
    ++*i;
    if (!next_arg(r, p, &v)) return false;
    return kd_tv_index(v, out) || kd_tr_fail(r, KD_EFORMAT, "* wants int");
}

static bool percent_one(kd_trun *r, kd_buf *b, spec *f, bool left, char c, kd_tval v) {
    kd_buf t = {0};
    bool ok;
    if (c == 's' || c == 'r') {
        ok = c == 's' ? kd_tv_print(r, &t, v) : kd_tv_repr(r, &t, v);
        kd_tval s = kd_tv_view(t.data, t.len);
        size_t n = f->precision >= 0 ? kd_ts_offset(s, (size_t)f->precision) : t.len;
        ok = ok && out_padded(r, b, f, KD_STR(""), (kd_str){t.data, n}, left ? '<' : '>');
        kd_tr_drop(r, &t);
        return ok;
    }
    f->align = left ? '<' : f->zero ? '=' : '>';
    if (left) f->zero = false;
    if (v.type == KD_TV_UNDEF) return kd_tr_undefined(r, v);
    if (c == 'c') {
        if (v.type == KD_TV_STR && kd_ts_count(v) == 1) return out_padded(r, b, f, KD_STR(""), kd_tv_text(v), f->align == '<' ? '<' : '>');
        f->type = 'c';
        f->precision = -1;
        return v.type == KD_TV_INT ? format_int(r, b, f, v.u.i) : kd_tr_fail(r, KD_EFORMAT, "%%c requires int or char");
    }
    if (!kd_tv_is_number(v) || v.type == KD_TV_BIG)
        return kd_tr_fail(r, KD_EFORMAT, "%%%c format: a real number is required, not %s", c, kd_tv_type_name(v));
    f->type = c;
    if (strchr("eEfFgG", c)) return format_float(r, b, f, kd_tv_number(v));
    int64_t i;
    if (v.type == KD_TV_FLOAT && strchr("diu", c) && fabs(v.u.f) < 9e18)
        i = (int64_t)v.u.f;
    else if (!kd_tv_index(v, &i))
        return kd_tr_fail(r, KD_EFORMAT, "%%%c format: an integer is required, not %s", c, kd_tv_type_name(v));
    char text[800];
    size_t n = int_text(text, i < 0 ? 0 - (uint64_t)i : (uint64_t)i, c == 'o' ? 8 : c == 'x' || c == 'X' ? 16 : 10, c == 'X');
    if (f->precision > (int64_t)n) {
        size_t add = (size_t)f->precision - n;
        memmove(text + add, text, n + 1);
        memset(text, '0', add);
    }
    return put_number(r, b, f, i < 0, c == 'o' ? "0o" : c == 'x' ? "0x" : c == 'X' ? "0X" : "", text, 3);
}

static bool percent_field(kd_trun *r, kd_buf *b, percent *p, kd_str s, size_t *i, bool markup) {
    spec f = {.width = -1, .precision = -1};
    kd_tval v = kd_tv(KD_TV_MISSING);
    bool left = false, keyed = false;
    if (*i < s.len && s.data[*i] == '(') {
        size_t from = ++*i, depth = 1;
        for (; *i < s.len && depth; ++*i) depth += s.data[*i] == '(' ? 1 : s.data[*i] == ')' ? (size_t)-1 : 0;
        if (depth) return kd_tr_fail(r, KD_EFORMAT, "incomplete format key");
        if (p->args.type != KD_TV_DICT) return kd_tr_fail(r, KD_EFORMAT, "format requires a mapping");
        if (!kd_td_str(p->args.u.dict, (kd_str){s.data + from, *i - 1 - from}, &v))
            return kd_tr_fail(r, KD_EFORMAT, "format: no key '%.*s'", (int)(*i - 1 - from), s.data + from);
        keyed = p->mapping = true;
    }
    for (; *i < s.len && strchr("-+ #0", s.data[*i]); ++*i) {
        char c = s.data[*i];
        left |= c == '-';
        f.zero |= c == '0';
        f.alt |= c == '#';
        if (c == '+' || (c == ' ' && !f.sign)) f.sign = c;
    }
    if (!star(r, p, s, i, &f.width)) return false;
    if (f.width < -1) {
        left = true;
        f.width = -f.width;
    }
    if (*i < s.len && s.data[*i] == '.') {
        ++*i;
        f.precision = 0;
        if (!star(r, p, s, i, &f.precision)) return false;
        f.precision = f.precision < 0 ? 0 : f.precision;
    }
    while (*i < s.len && strchr("lLh", s.data[*i])) ++*i;
    if (*i >= s.len) return kd_tr_fail(r, KD_EFORMAT, "incomplete format");
    char c = s.data[(*i)++];
    if (c == '%') return kd_tr_write(r, b, "%", 1);
    if (!strchr("srdiuoxXeEfFgGc", c))
        return kd_tr_fail(r, c == 'a' ? KD_EUNSUPPORTED : KD_EFORMAT, "unsupported format character '%c'", c);
    if (f.width > WIDTH_MAX || f.precision > PRECISION_MAX)
        return kd_tr_fail(r, KD_ELIMIT, "a format of width or precision beyond the bound");
    if (!keyed && !next_arg(r, p, &v)) return false;
    if (markup && (c == 's' || c == 'r') && (!kd_tv_str(r, &v, v) || !kd_ts_escape(r, &v, v))) return false;
    return percent_one(r, b, &f, left, c == 'i' || c == 'u' ? 'd' : c, v);
}

bool kd_te_format(kd_trun *r, kd_tval fmt, kd_tval args, kd_tval *out) {
    kd_str s = kd_tv_text(fmt);
    kd_buf b = {0};
    percent p = {.args = args,
                 .mapping = args.type == KD_TV_DICT || args.type == KD_TV_LIST || args.type == KD_TV_RANGE || args.type == KD_TV_UNDEF};
    bool ok = true;
    for (size_t i = 0; ok && i < s.len;) {
        size_t from = i;
        while (i < s.len && s.data[i] != '%') i++;
        ok = kd_tr_write(r, &b, s.data + from, i - from);
        if (i >= s.len) break;
        i++;
        ok = ok && kd_tr_charge(r, 1) && percent_field(r, &b, &p, s, &i, fmt.flag & KD_TF_MARKUP);
    }
    if (ok && (args.type == KD_TV_TUPLE ? p.next < args.u.seq->n : !p.mapping && p.next == 0))
        ok = kd_tr_fail(r, KD_EFORMAT, "not all arguments converted during string formatting");
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = fmt.flag;
    return ok;
}
