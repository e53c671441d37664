/* distill/model/template_text.c - values as text: Python's str and repr, tojson as json.dumps writes it; and JSON as values. Leans on template_run.h. */
#include "distill/base/utf8.h"
#include "distill/model/template_run.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

size_t kd_tv_float_repr(double f, char *s) {
    char digits[32];
    int precision = 0, exponent, n;
    if (isnan(f) || isinf(f)) {
        strcpy(s, isnan(f) ? "nan" : f < 0 ? "-inf" : "inf");
        return strlen(s);
    }
    do snprintf(digits, sizeof digits, "%.*e", precision, f);
    while (strtod(digits, NULL) != f && ++precision < 17);
    exponent = atoi(strchr(digits, 'e') + 1);
    if (exponent >= -4 && exponent < 16) {
        int decimals = precision - exponent;
        n = snprintf(s, 32, "%.*f", decimals > 1 ? decimals : 1, f);
        return (size_t)n;
    }
    char *e = strchr(digits, 'e');
    n = snprintf(s, 32, "%.*se%c%02d", (int)(e - digits), digits, exponent < 0 ? '-' : '+', abs(exponent));
    return (size_t)n;
}

static bool put(kd_trun *r, kd_buf *b, const char *z) { return kd_tr_write(r, b, z, strlen(z)); }

static bool put_int(kd_trun *r, kd_buf *b, int64_t i) {
    char z[24];
    return kd_tr_write(r, b, z, (size_t)snprintf(z, sizeof z, "%lld", (long long)i));
}

static bool put_float(kd_trun *r, kd_buf *b, double f) {
    char z[32];
    return kd_tr_write(r, b, z, kd_tv_float_repr(f, z));
}

/* ---- repr ---- */

static bool printable(int32_t c) {
    if (c < 0x7f) return c >= 0x20;
    unsigned k = kd_uc_category((uint32_t)c), major = k >> 8;
    return major != 'C' && major != 'Z';
}

static bool repr_str(kd_trun *r, kd_buf *b, kd_str s) {
    const char *text = s.data ? s.data : "";
    char q = memchr(text, '\'', s.len) && !memchr(text, '"', s.len) ? '"' : '\'', z[16];
    bool ok = kd_tr_write(r, b, &q, 1) && kd_tr_charge(r, s.len / 8);
    for (size_t i = 0, n; ok && i < s.len; i += n) {
        int32_t c = kd_tpl_cp(s.data + i, &n);
        if (c == q || c == '\\')
            ok = kd_tr_write(r, b, "\\", 1) && kd_tr_write(r, b, s.data + i, 1);
        else if (printable(c))
            ok = kd_tr_write(r, b, s.data + i, n);
        else if (c == '\n' || c == '\r' || c == '\t')
            ok = put(r, b, c == '\n' ? "\\n" : c == '\r' ? "\\r" : "\\t");
        else
            ok = kd_tr_write(r, b, z,
                             (size_t)snprintf(z, sizeof z,
                                              c < 0x100     ? "\\x%02x"
                                              : c < 0x10000 ? "\\u%04x"
                                                            : "\\U%08x",
                                              (unsigned)c));
    }
    return ok && kd_tr_write(r, b, &q, 1);
}

static bool repr_pairs(kd_trun *r, kd_buf *b, const kd_tdict *d, char what) {
    bool ok = true;
    for (uint32_t i = 0; ok && i < d->n; i++) {
        ok = !i || put(r, b, ", ");
        if (what == 'i') ok = ok && put(r, b, "(");
        if (what != 'v') ok = ok && kd_tv_repr(r, b, d->keys[i]);
        if (what == 'd' || what == 'i') ok = ok && put(r, b, what == 'd' ? ": " : ", ");
        if (what != 'k') ok = ok && kd_tv_repr(r, b, d->values[i]);
        if (what == 'i') ok = ok && put(r, b, ")");
    }
    return ok;
}

static bool repr_nested(kd_trun *r, kd_buf *b, kd_tval v) {
    bool ok;
    if (v.type == KD_TV_DICT) return put(r, b, "{") && repr_pairs(r, b, v.u.dict, 'd') && put(r, b, "}");
    if (v.type == KD_TV_NS) return put(r, b, "<Namespace {") && repr_pairs(r, b, v.u.dict, 'd') && put(r, b, "}>");
    if (v.type == KD_TV_VIEW)
        return put(r, b, kd_tv_type_name(v)) && put(r, b, "([") && repr_pairs(r, b, v.u.view->dict, v.u.view->what) && put(r, b, "])");
    ok = put(r, b, v.type == KD_TV_LIST ? "[" : "(");
    for (size_t i = 0; ok && i < v.u.seq->n; i++) ok = (!i || put(r, b, ", ")) && kd_tv_repr(r, b, v.u.seq->at[i]);
    return ok && put(r, b, v.type == KD_TV_LIST ? "]" : v.u.seq->n == 1 ? ",)" : ")");
}

static bool repr_range(kd_trun *r, kd_buf *b, const kd_trange *g) {
    char z[96];
    int n = g->step == 1 ? snprintf(z, sizeof z, "range(%lld, %lld)", (long long)g->start, (long long)g->stop)
                         : snprintf(z, sizeof z, "range(%lld, %lld, %lld)", (long long)g->start, (long long)g->stop, (long long)g->step);
    return kd_tr_write(r, b, z, (size_t)n);
}

bool kd_tv_repr(kd_trun *r, kd_buf *b, kd_tval v) {
    bool ok;
    if (!kd_tr_charge(r, 1)) return false;
    switch ((kd_tv_type)v.type) {
    case KD_TV_UNDEF: return put(r, b, "Undefined");
    case KD_TV_NONE: return put(r, b, "None");
    case KD_TV_BOOL: return put(r, b, v.u.b ? "True" : "False");
    case KD_TV_INT: return put_int(r, b, v.u.i);
    case KD_TV_BIG: return kd_tr_write(r, b, v.u.s, v.len);
    case KD_TV_FLOAT: return put_float(r, b, v.u.f);
    case KD_TV_STR:
        if (!(v.flag & KD_TF_MARKUP)) return repr_str(r, b, kd_tv_text(v));
        return put(r, b, "Markup(") && repr_str(r, b, kd_tv_text(v)) && put(r, b, ")");
    case KD_TV_LIST:
    case KD_TV_TUPLE:
    case KD_TV_DICT:
    case KD_TV_VIEW:
    case KD_TV_NS:
        ok = ++r->nest <= KD_TR_NEST ? repr_nested(r, b, v) : kd_tr_fail(r, KD_ELIMIT, "values nested more than %d deep", KD_TR_NEST);
        r->nest--;
        return ok;
    case KD_TV_RANGE: return repr_range(r, b, v.u.range);
    case KD_TV_MACRO: {
        const kd_tnode *n = v.u.macro->node;
        if (n->kind != KD_TN_MACRO) return put(r, b, "<Macro None>");
        return put(r, b, "<Macro ") && repr_str(r, b, r->t->names[n->name]) && put(r, b, ">");
    }
    case KD_TV_LOOP: {
        int64_t n;
        return kd_tv_len(r, v, &n) && put(r, b, "<LoopContext ") && put_int(r, b, v.u.loop->index0 + 1) && put(r, b, "/") &&
               put_int(r, b, n) && put(r, b, ">");
    }
    default: return kd_tr_fail(r, KD_EUNSUPPORTED, "a %s has no text of its own (put |list or a call behind it)", kd_tv_type_name(v));
    }
}

bool kd_tv_print(kd_trun *r, kd_buf *b, kd_tval v) {
    if (v.type == KD_TV_STR) return kd_tr_write(r, b, v.u.s, v.len);
    return v.type == KD_TV_UNDEF || kd_tv_repr(r, b, v);
}

bool kd_tv_str(kd_trun *r, kd_tval *out, kd_tval v) {
    if (v.type == KD_TV_STR) {
        *out = v;
        return true;
    }
    kd_buf b = {0};
    kd_tv_print(r, &b, v);
    return kd_tv_take(r, out, &b);
}

/* ---- tojson ---- */

typedef struct {
    kd_trun *r;
    kd_buf *b;
    kd_str item, key, indent;
    bool ascii, sort, pretty;
} dump;

static bool dump_string(dump *d, kd_str s) {
    kd_trun *r = d->r;
    char z[16];
    bool ok = kd_tr_charge(r, s.len / 8) && put(r, d->b, "\"");
    size_t from = 0, n;
    for (size_t i = 0; ok && i < s.len; i += n) {
        unsigned char u = (unsigned char)s.data[i];
        n = 1;
        if (u >= 0x20 && u != '"' && u != '\\' && (u < 0x7f || !d->ascii)) continue;
        static const char plain[] = "\"\\\n\r\t\f\b", letter[] = "\"\\nrtfb";
        const char *p = u ? strchr(plain, u) : NULL;
        ok = kd_tr_write(r, d->b, s.data + from, i - from);
        int32_t c = kd_tpl_cp(s.data + i, &n);
        if (p)
            snprintf(z, sizeof z, "\\%c", letter[p - plain]);
        else if (c < 0x10000)
            snprintf(z, sizeof z, "\\u%04x", (unsigned)c);
        else
            snprintf(z, sizeof z, "\\u%04x\\u%04x", 0xd800 + ((unsigned)(c - 0x10000) >> 10), 0xdc00 + ((unsigned)c & 0x3ff));
        ok = ok && put(r, d->b, z);
        from = i + n;
    }
    return ok && kd_tr_write(r, d->b, s.data + from, s.len - from) && put(r, d->b, "\"");
}

static bool dump_float(dump *d, double f) {
    if (isnan(f) || isinf(f)) return put(d->r, d->b, isnan(f) ? "NaN" : f < 0 ? "-Infinity" : "Infinity");
    return put_float(d->r, d->b, f);
}

static bool dump_newline(dump *d, int depth) {
    bool ok = !d->pretty || put(d->r, d->b, "\n");
    for (int i = 0; ok && d->pretty && i < depth; i++) ok = kd_tr_write(d->r, d->b, d->indent.data, d->indent.len);
    return ok;
}

static bool dump_value(dump *d, kd_tval v, int depth);

static bool dump_key(dump *d, kd_tval k) {
    kd_tval s;
    switch ((kd_tv_type)k.type) {
    case KD_TV_STR: return dump_string(d, kd_tv_text(k));
    case KD_TV_BOOL: return put(d->r, d->b, k.u.b ? "\"true\"" : "\"false\"");
    case KD_TV_NONE: return put(d->r, d->b, "\"null\"");
    case KD_TV_FLOAT: return put(d->r, d->b, "\"") && dump_float(d, k.u.f) && put(d->r, d->b, "\"");
    case KD_TV_INT:
    case KD_TV_BIG: return kd_tv_str(d->r, &s, k) && dump_string(d, kd_tv_text(s));
    default: return kd_tr_fail(d->r, KD_EFORMAT, "keys must be str, int, float, bool or None, not %s", kd_tv_type_name(k));
    }
}

static bool dump_dict(dump *d, const kd_tdict *t, int depth) {
    kd_tval order;
    if (!t->n) return put(d->r, d->b, "{}");
    if (!kd_tv_seq(d->r, &order, KD_TV_LIST, d->sort ? (size_t)t->n * 2 : 0)) return false;
    kd_tval *at = order.u.seq->at;
    if (d->sort) { /* positions sorted by key */
        for (uint32_t i = 0; i < t->n; i++) {
            at[i] = kd_tv_int(i);
            at[t->n + i] = t->keys[i];
        }
        if (!kd_te_sort(d->r, at, at + t->n, t->n, false)) return false;
    }
    bool ok = put(d->r, d->b, "{");
    for (uint32_t i = 0; ok && i < t->n; i++) {
        size_t k = d->sort ? (size_t)at[i].u.i : i;
        ok = (!i || kd_tr_write(d->r, d->b, d->item.data, d->item.len)) && dump_newline(d, depth + 1) && dump_key(d, t->keys[k]) &&
             kd_tr_write(d->r, d->b, d->key.data, d->key.len) && dump_value(d, t->values[k], depth + 1);
    }
    return ok && dump_newline(d, depth) && put(d->r, d->b, "}");
}

static bool dump_list(dump *d, const kd_tseq *s, int depth) {
    if (!s->n) return put(d->r, d->b, "[]");
    bool ok = put(d->r, d->b, "[");
    for (size_t i = 0; ok && i < s->n; i++)
        ok = (!i || kd_tr_write(d->r, d->b, d->item.data, d->item.len)) && dump_newline(d, depth + 1) && dump_value(d, s->at[i], depth + 1);
    return ok && dump_newline(d, depth) && put(d->r, d->b, "]");
}

static bool dump_value(dump *d, kd_tval v, int depth) {
    if (!kd_tr_charge(d->r, 1)) return false;
    if (depth > KD_TR_NEST) return kd_tr_fail(d->r, KD_ELIMIT, "values nested more than %d deep", KD_TR_NEST);
    switch ((kd_tv_type)v.type) {
    case KD_TV_NONE: return put(d->r, d->b, "null");
    case KD_TV_BOOL: return put(d->r, d->b, v.u.b ? "true" : "false");
    case KD_TV_INT: return put_int(d->r, d->b, v.u.i);
    case KD_TV_BIG: return kd_tr_write(d->r, d->b, v.u.s, v.len);
    case KD_TV_FLOAT: return dump_float(d, v.u.f);
    case KD_TV_STR: return dump_string(d, kd_tv_text(v));
    case KD_TV_LIST:
    case KD_TV_TUPLE: return dump_list(d, v.u.seq, depth);
    case KD_TV_DICT: return dump_dict(d, v.u.dict, depth);
    default: return kd_tr_fail(d->r, KD_EFORMAT, "Object of type %s is not JSON serializable", kd_tv_type_name(v));
    }
}

/* indent: None, a number of spaces, or the text itself. */
static bool dump_indent(dump *d, kd_tval v) {
    int64_t n;
    if (v.type == KD_TV_MISSING || v.type == KD_TV_NONE) return true;
    d->pretty = true;
    d->item = KD_STR(",");
    if (v.type == KD_TV_STR) {
        d->indent = kd_tv_text(v);
        return true;
    }
    if (!kd_tv_index(v, &n)) return kd_tr_fail(d->r, KD_EFORMAT, "tojson: indent must be a number or a string, not %s", kd_tv_type_name(v));
    if (n > 1000) return kd_tr_fail(d->r, KD_ELIMIT, "tojson: an indent of %lld", (long long)n);
    char *spaces = kd_tr_alloc(d->r, (size_t)(n > 0 ? n : 0) + 1);
    if (!spaces) return false;
    memset(spaces, ' ', (size_t)(n > 0 ? n : 0));
    d->indent = (kd_str){spaces, (size_t)(n > 0 ? n : 0)};
    return true;
}

static bool dump_separators(dump *d, kd_tval v) {
    kd_tval l;
    if (v.type == KD_TV_MISSING || v.type == KD_TV_NONE) return true;
    if (!kd_ti_all(d->r, v, &l)) return false;
    if (l.u.seq->n != 2 || l.u.seq->at[0].type != KD_TV_STR || l.u.seq->at[1].type != KD_TV_STR)
        return kd_tr_fail(d->r, KD_EFORMAT, "tojson: separators must be two strings");
    d->item = kd_tv_text(l.u.seq->at[0]);
    d->key = kd_tv_text(l.u.seq->at[1]);
    return true;
}

bool kd_tv_json(kd_trun *r, kd_tval *out, const kd_targs *a) {
    kd_tval v[5];
    kd_buf b = {0};
    if (!kd_te_bind(r, "tojson", a, "x ensure_ascii indent separators sort_keys", 1, v)) return false;
    dump d = {.r = r, .b = &b, .item = KD_STR(", "), .key = KD_STR(": "), .ascii = kd_tv_truth(v[1]), .sort = kd_tv_truth(v[4])};
    if (dump_indent(&d, v[2]) && dump_separators(&d, v[3])) dump_value(&d, v[0], 0);
    return kd_tv_take(r, out, &b);
}

/* ---- JSON in ---- */

static bool from_number(kd_trun *r, kd_tval *out, const kd_json_node *n) {
    kd_str s = kd_json_number_text(n);
    int64_t i;
    for (size_t k = 0; k < s.len; k++)
        if (s.data[k] == '.' || s.data[k] == 'e' || s.data[k] == 'E') {
            *out = kd_tv_float(kd_json_number(n, 0));
            return true;
        }
    if (kd_json_int(n, &i)) {
        *out = kd_tv_int(i);
        return true;
    }
    if (!kd_tv_dup(r, out, s.data, s.len)) return false;
    out->type = KD_TV_BIG;
    return true;
}

bool kd_tv_from_json(kd_trun *r, kd_tval *out, const kd_json_node *n) {
    size_t i = 0, count = kd_json_count(n);
    kd_str s;
    switch (kd_json_typeof(n)) {
    case KD_JSON_BOOL: *out = kd_tv_bool(kd_json_bool(n, false)); return true;
    case KD_JSON_NUMBER: return from_number(r, out, n);
    case KD_JSON_STRING:
        s = kd_json_string(n);
        *out = kd_tv_view(s.data, s.len);
        return true;
    case KD_JSON_ARRAY:
        if (!kd_tv_seq(r, out, KD_TV_LIST, count)) return false;
        for (const kd_json_node *c = kd_json_first(n); c; c = kd_json_next(c))
            if (!kd_tv_from_json(r, &out->u.seq->at[i++], c)) return false;
        return true;
    case KD_JSON_OBJECT:
        if (!kd_td_new(r, out, count)) return false;
        for (const kd_json_node *c = kd_json_first(n); c; c = kd_json_next(c)) {
            kd_tval v;
            s = kd_json_key(c);
            if (!kd_tv_from_json(r, &v, c) || !kd_td_set(r, out->u.dict, kd_tv_view(s.data, s.len), v)) return false;
        }
        return true;
    default: *out = kd_tv(KD_TV_NONE); return true;
    }
}
