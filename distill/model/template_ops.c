/* distill/model/template_ops.c - operators, subscripts and attributes, as Python does them and jinja2's sandbox allows them. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <math.h>
#include <string.h>

/* ---- arithmetic ---- */

static bool operands(kd_trun *r, const char *sign, kd_tval a, kd_tval b) {
    if (a.type == KD_TV_UNDEF) return kd_tr_undefined(r, a);
    if (b.type == KD_TV_UNDEF) return kd_tr_undefined(r, b);
    return kd_tr_fail(r, KD_EFORMAT, "unsupported operand type(s) for %s: '%s' and '%s'", sign, kd_tv_type_name(a), kd_tv_type_name(b));
}

static bool too_big(kd_trun *r) { return kd_tr_fail(r, KD_EUNSUPPORTED, "an integer beyond 64 bits"); }

/* Python's float floor division and remainder: the remainder has the divisor's sign. */
static double float_mod(double x, double y) {
    double m = fmod(x, y);
    if (m != 0 && (m < 0) != (y < 0)) m += y;
    return m == 0 ? copysign(0.0, y) : m;
}

static double float_floordiv(double x, double y) {
    double m = fmod(x, y), d = (x - m) / y;
    if (m != 0 && (m < 0) != (y < 0)) d -= 1;
    if (d == 0) return copysign(0.0, x / y);
    double f = floor(d);
    return d - f > 0.5 ? f + 1 : f;
}

static bool int_pow(kd_trun *r, int64_t a, int64_t b, kd_tval *out) {
    int64_t v = 1;
    if (b < 0) {
        if (a == 0) return kd_tr_fail(r, KD_EFORMAT, "0.0 cannot be raised to a negative power");
        *out = kd_tv_float(pow((double)a, (double)b));
        return true;
    }
    while (b) {
        if (b & 1 && __builtin_mul_overflow(v, a, &v)) return too_big(r);
        b >>= 1;
        if (b && __builtin_mul_overflow(a, a, &a)) return too_big(r);
    }
    *out = kd_tv_int(v);
    return true;
}

static bool int_op(kd_trun *r, kd_to_binary op, int64_t a, int64_t b, kd_tval *out) {
    int64_t v = 0;
    bool over = false;
    if ((op == KD_TO_DIV || op == KD_TO_FLOORDIV || op == KD_TO_MOD) && b == 0)
        return kd_tr_fail(r, KD_EFORMAT, op == KD_TO_DIV ? "division by zero" : "integer division or modulo by zero");
    switch (op) {
    case KD_TO_ADD: over = __builtin_add_overflow(a, b, &v); break;
    case KD_TO_SUB: over = __builtin_sub_overflow(a, b, &v); break;
    case KD_TO_MUL: over = __builtin_mul_overflow(a, b, &v); break;
    case KD_TO_DIV: *out = kd_tv_float((double)a / (double)b); return true;
    case KD_TO_FLOORDIV:
        if ((over = a == INT64_MIN && b == -1)) break;
        v = a / b - (a % b != 0 && (a < 0) != (b < 0));
        break;
    case KD_TO_MOD:
        v = b == -1 ? 0 : a % b;
        v += v != 0 && (v < 0) != (b < 0) ? b : 0;
        break;
    case KD_TO_POW: return int_pow(r, a, b, out);
    }
    if (over) return too_big(r);
    *out = kd_tv_int(v);
    return true;
}

static bool float_op(kd_trun *r, kd_to_binary op, double a, double b, kd_tval *out) {
    double v = 0;
    if ((op == KD_TO_DIV || op == KD_TO_FLOORDIV || op == KD_TO_MOD) && b == 0) return kd_tr_fail(r, KD_EFORMAT, "float division by zero");
    switch (op) {
    case KD_TO_ADD: v = a + b; break;
    case KD_TO_SUB: v = a - b; break;
    case KD_TO_MUL: v = a * b; break;
    case KD_TO_DIV: v = a / b; break;
    case KD_TO_FLOORDIV: v = float_floordiv(a, b); break;
    case KD_TO_MOD: v = float_mod(a, b); break;
    case KD_TO_POW:
        if (a == 0 && b < 0) return kd_tr_fail(r, KD_EFORMAT, "0.0 cannot be raised to a negative power");
        if (a < 0 && !isinf(a) && !isinf(b) && b != floor(b)) return kd_tr_fail(r, KD_EUNSUPPORTED, "a complex number");
        v = pow(a, b);
        if (isinf(v) && !isinf(a) && !isinf(b)) return kd_tr_fail(r, KD_EFORMAT, "(34, 'Numerical result out of range')");
        break;
    }
    *out = kd_tv_float(v);
    return true;
}

static bool repeat(kd_trun *r, kd_tval s, int64_t times, kd_tval *out) {
    size_t n = times > 0 ? (size_t)times : 0;
    if (s.type != KD_TV_STR) {
        size_t len = s.u.seq->n, total;
        if (__builtin_mul_overflow(len, n, &total) || total > SIZE_MAX / 64)
            return kd_tr_fail(r, KD_ELIMIT, "a list repeated %lld times", (long long)times);
        if (!kd_tv_seq(r, out, s.type, total)) return false;
        for (size_t i = 0; i < total; i++) out->u.seq->at[i] = s.u.seq->at[i % len];
        return true;
    }
    size_t total;
    if (__builtin_mul_overflow(s.len, n, &total)) return kd_tr_fail(r, KD_ELIMIT, "a string repeated %lld times", (long long)times);
    char *p = total < SIZE_MAX ? kd_tr_alloc(r, total + 1) : NULL;
    if (!p || !kd_tr_charge(r, total / 16)) return kd_tr_fail(r, KD_ELIMIT, "a string repeated %lld times", (long long)times);
    for (size_t i = 0; i < n && s.len; i++) memcpy(p + i * s.len, s.u.s, s.len);
    *out = kd_tv_view(p, total);
    out->flag = s.flag;
    return true;
}

static bool join_lists(kd_trun *r, kd_tval a, kd_tval b, kd_tval *out) {
    size_t n = a.u.seq->n, m = b.u.seq->n;
    if (!kd_tv_seq(r, out, a.type, n + m)) return false;
    if (n) memcpy(out->u.seq->at, a.u.seq->at, n * sizeof(kd_tval));
    if (m) memcpy(out->u.seq->at + n, b.u.seq->at, m * sizeof(kd_tval));
    return true;
}

static bool add(kd_trun *r, kd_tval a, kd_tval b, kd_tval *out) {
    if (a.type == KD_TV_STR && b.type == KD_TV_STR) {
        if ((a.flag | b.flag) & KD_TF_MARKUP && (!kd_ts_escape(r, &a, a) || !kd_ts_escape(r, &b, b))) return false;
        return kd_tv_join(r, out, a, b);
    }
    if (a.type == b.type && (a.type == KD_TV_LIST || a.type == KD_TV_TUPLE)) return join_lists(r, a, b, out);
    return operands(r, "+", a, b);
}

bool kd_te_binary(kd_trun *r, kd_to_binary op, kd_tval a, kd_tval b, kd_tval *out) {
    static const char *const signs[] = {"+", "-", "*", "/", "//", "%", "** or pow()"};
    int64_t x = 0, y = 0;
    bool ia = kd_tv_index(a, &x), ib = kd_tv_index(b, &y);
    if (ia && ib) return int_op(r, op, x, y, out);
    if (op == KD_TO_MOD && a.type == KD_TV_STR) return kd_te_format(r, a, b, out);
    if (kd_tv_is_number(a) && kd_tv_is_number(b)) {
        if ((a.type == KD_TV_BIG || b.type == KD_TV_BIG) && a.type != KD_TV_FLOAT && b.type != KD_TV_FLOAT) return too_big(r);
        return float_op(r, op, kd_tv_number(a), kd_tv_number(b), out);
    }
    if (op == KD_TO_ADD) return add(r, a, b, out);
    if (op == KD_TO_MUL && ib && (a.type == KD_TV_STR || a.type == KD_TV_LIST || a.type == KD_TV_TUPLE)) return repeat(r, a, y, out);
    if (op == KD_TO_MUL && ia && (b.type == KD_TV_STR || b.type == KD_TV_LIST || b.type == KD_TV_TUPLE)) return repeat(r, b, x, out);
    return operands(r, signs[op], a, b);
}

/* ---- slices ---- */

static bool bound(kd_trun *r, kd_tval v, int64_t otherwise, int64_t *out) {
    *out = otherwise;
    if (v.type == KD_TV_MISSING || v.type == KD_TV_NONE || kd_tv_index(v, out)) return true;
    return kd_tr_fail(r, KD_EFORMAT, "slice indices must be integers or None or have an __index__ method");
}

static int64_t clamp(int64_t i, int64_t n, int64_t low, int64_t high) {
    if (i < 0) i += n;
    return i < low ? low : i > high ? high : i;
}

/* Picks count items of a string from character start on, step apart. */
static bool slice_str(kd_trun *r, kd_tval s, int64_t start, int64_t step, size_t count, kd_tval *out) {
    size_t chars = kd_ts_count(s);
    if (!kd_tr_charge(r, s.len / 16)) return false;
    if (step == 1) {
        size_t from = kd_ts_offset(s, (size_t)start), to = from + kd_ts_offset(kd_tv_view(s.u.s + from, s.len - from), count);
        *out = kd_tv_view(s.u.s + from, to - from);
        return true;
    }
    kd_buf b = {0};
    uint32_t *at = kd_tr_alloc(r, (chars + 1) * sizeof *at); /* where each character begins */
    bool ok = at != NULL;
    for (size_t i = 0, n = 0; ok && i < s.len; i++)
        if (((unsigned char)s.u.s[i] & 0xc0) != 0x80) at[n++] = (uint32_t)i;
    if (ok) at[chars] = (uint32_t)s.len;
    for (size_t k = 0; ok && k < count; k++) {
        size_t i = (size_t)(start + (int64_t)k * step);
        ok = kd_tr_charge(r, 1) && kd_tr_write(r, &b, s.u.s + at[i], at[i + 1] - at[i]);
    }
    return kd_tv_take(r, out, &b) && ok;
}

bool kd_te_slice(kd_trun *r, kd_tval obj, kd_tval from, kd_tval to, kd_tval step, kd_tval *out) {
    int64_t n, by, start, stop;
    if (obj.type == KD_TV_UNDEF) return kd_tr_undefined(r, obj);
    if (obj.type != KD_TV_STR && obj.type != KD_TV_LIST && obj.type != KD_TV_TUPLE && obj.type != KD_TV_RANGE)
        return kd_tr_fail(r, KD_EFORMAT, "'%s' object is not subscriptable by a slice", kd_tv_type_name(obj));
    if (!kd_tv_len(r, obj, &n) || !bound(r, step, 1, &by)) return false;
    if (by == 0) return kd_tr_fail(r, KD_EFORMAT, "slice step cannot be zero");
    if (!bound(r, from, by > 0 ? 0 : INT64_MAX, &start) || !bound(r, to, by > 0 ? INT64_MAX : INT64_MIN, &stop)) return false;
    bool open = to.type == KD_TV_MISSING || to.type == KD_TV_NONE;
    start = by > 0 ? clamp(start, n, 0, n) : clamp(start, n, -1, n - 1);
    stop = by > 0 ? clamp(stop, n, 0, n) : open ? -1 : clamp(stop, n, -1, n - 1);
    uint64_t gap = by > 0 ? (uint64_t)(stop > start ? stop - start : 0) : (uint64_t)(start > stop ? start - stop : 0);
    uint64_t stride = by > 0 ? (uint64_t)by : 0 - (uint64_t)by;
    size_t count = gap ? (size_t)((gap - 1) / stride + 1) : 0;
    if (count <= 1) /* a step beyond what there is must not overflow */
        by = by > 0 ? 1 : -1;
    if (obj.type == KD_TV_STR) {
        bool ok = slice_str(r, obj, start, by, count, out);
        out->flag = obj.flag;
        return ok;
    }
    if (obj.type == KD_TV_RANGE) {
        kd_trange *g = kd_tr_alloc(r, sizeof *g);
        if (!g) return false;
        const kd_trange *o = obj.u.range;
        *g = (kd_trange){o->start + start * o->step, o->start + stop * o->step, o->step * by, count};
        *out = kd_tv(KD_TV_RANGE);
        out->u.range = g;
        return true;
    }
    if (!kd_tv_seq(r, out, obj.type, count)) return false;
    for (size_t k = 0; k < count; k++) out->u.seq->at[k] = obj.u.seq->at[start + (int64_t)k * by];
    return true;
}

/* ---- subscripts and attributes ---- */

/* Python's obj[key]: *found = false where it would raise TypeError or LookupError. */
static bool subscript(kd_trun *r, kd_tval obj, kd_tval key, kd_tval *out, bool *found) {
    int64_t i, n;
    *found = false;
    if (obj.type == KD_TV_UNDEF) return kd_tr_undefined(r, obj);
    if (obj.type == KD_TV_DICT) {
        if (key.type == KD_TV_LIST || key.type == KD_TV_DICT) return true;
        return kd_td_get(r, obj.u.dict, key, out, found);
    }
    if ((obj.type != KD_TV_STR && obj.type != KD_TV_LIST && obj.type != KD_TV_TUPLE && obj.type != KD_TV_RANGE) || !kd_tv_index(key, &i))
        return true;
    if (!kd_tv_len(r, obj, &n)) return false;
    i += i < 0 ? n : 0;
    if (i < 0 || i >= n) return true;
    *found = true;
    if (obj.type == KD_TV_RANGE)
        *out = kd_tv_int(obj.u.range->start + i * obj.u.range->step);
    else if (obj.type != KD_TV_STR)
        *out = obj.u.seq->at[i];
    else {
        bool ok = slice_str(r, obj, i, 1, 1, out);
        out->flag = obj.flag;
        return ok;
    }
    return true;
}

static unsigned method_mask(kd_tval v) {
    switch ((kd_tv_type)v.type) {
    case KD_TV_STR: return KD_TM_STR;
    case KD_TV_LIST: return KD_TM_LIST;
    case KD_TV_TUPLE:
    case KD_TV_RANGE: return KD_TM_TUPLE;
    case KD_TV_DICT: return KD_TM_DICT;
    case KD_TV_BOOL:
    case KD_TV_INT:
    case KD_TV_FLOAT: return KD_TM_NUM;
    default: return 0;
    }
}

/* Attributes that are no methods. */
static bool special_attr(kd_trun *r, kd_tval obj, kd_str name, kd_tval *out, bool *found) {
    *found = true;
    if (obj.type == KD_TV_NS) return (*found = kd_td_str(obj.u.dict, name, out)), true;
    if (obj.type == KD_TV_TUPLE && obj.flag & KD_TF_GROUP && (kd_str_is(name, "grouper") || kd_str_is(name, "list"))) {
        *out = obj.u.seq->at[kd_str_is(name, "list")];
        return true;
    }
    if (obj.type == KD_TV_RANGE && (kd_str_is(name, "start") || kd_str_is(name, "stop") || kd_str_is(name, "step"))) {
        const kd_trange *g = obj.u.range;
        *out = kd_tv_int(name.data[2] == 'a' ? g->start : name.data[2] == 'o' ? g->stop : g->step);
        return true;
    }
    if (obj.type == KD_TV_MACRO && kd_str_is(name, "name")) {
        const kd_tnode *n = obj.u.macro->node;
        *out = n->kind == KD_TN_MACRO ? kd_tv_view(r->t->names[n->name].data, r->t->names[n->name].len) : kd_tv(KD_TV_NONE);
        return true;
    }
    if (obj.type == KD_TV_MACRO && kd_str_is(name, "arguments")) {
        const kd_tnode *n = obj.u.macro->node;
        if (!kd_tv_seq(r, out, KD_TV_TUPLE, n->n)) return false;
        for (uint32_t i = 0; i < n->n; i++) {
            kd_str s = r->t->names[n->list[i]->name];
            out->u.seq->at[i] = kd_tv_view(s.data, s.len);
        }
        return true;
    }
    if (obj.type == KD_TV_CYCLER && kd_str_is(name, "current")) {
        *out = obj.u.cycle->items.at[obj.u.cycle->pos];
        return true;
    }
    bool integer = obj.type == KD_TV_INT || obj.type == KD_TV_BOOL;
    if ((integer || obj.type == KD_TV_FLOAT) && (kd_str_is(name, "real") || kd_str_is(name, "imag"))) {
        *out = kd_str_is(name, "real") ? obj : integer ? kd_tv_int(0) : kd_tv_float(0);
        return true;
    }
    if (integer && (kd_str_is(name, "numerator") || kd_str_is(name, "denominator"))) {
        *out = name.data[0] == 'n' ? obj : kd_tv_int(1);
        return true;
    }
    *found = false;
    return true;
}

static bool loop_attr(kd_trun *r, kd_tloop *l, kd_str name, kd_tval *out, bool *found) {
    static const char *const names[] = {"index",     "index0",   "first",    "last",  "length", "revindex",
                                        "revindex0", "previtem", "nextitem", "depth", "depth0"};
    size_t k = 0, count = sizeof names / sizeof *names;
    bool more;
    while (k < count && !kd_str_is(name, names[k])) k++;
    *found = k < count;
    if ((k == 3 || k == 8) && l->after.type == KD_TV_MISSING) {
        if (!kd_ti_next(r, l->it, &l->after, &more)) return false;
        if (!more) l->after = kd_tv(KD_TV_MISSING);
    }
    if (k >= 4 && k <= 6 && l->length < 0) {
        if (kd_tv_has_len(l->iterable)) {
            if (!kd_tv_len(r, l->iterable, &l->length)) return false;
        } else { /* a generator: read to its end, and read on from there */
            kd_tval it = kd_tv(KD_TV_ITER), rest;
            it.u.iter = l->it;
            if (!kd_ti_all(r, it, &rest) || !kd_ti_new(r, &l->it, rest)) return false;
            l->length = (int64_t)rest.u.seq->n + l->index0 + 1 + (l->after.type != KD_TV_MISSING);
        }
    }
    switch (k) {
    case 0: *out = kd_tv_int(l->index0 + 1); return true;
    case 1: *out = kd_tv_int(l->index0); return true;
    case 2: *out = kd_tv_bool(l->index0 == 0); return true;
    case 3: *out = kd_tv_bool(l->after.type == KD_TV_MISSING); return true;
    case 4: *out = kd_tv_int(l->length); return true;
    case 5: *out = kd_tv_int(l->length - l->index0); return true;
    case 6: *out = kd_tv_int(l->length - l->index0 - 1); return true;
    case 7:
        *out = l->before;
        return (l->index0 != 0 && l->before.type != KD_TV_MISSING) || kd_tv_undef(r, out, "there is no previous item");
    case 8: *out = l->after; return l->after.type != KD_TV_MISSING || kd_tv_undef(r, out, "there is no next item");
    default: *out = kd_tv_int(l->depth0 + (k == 9)); return true;
    }
}

bool kd_te_own_attr(kd_trun *r, kd_tval obj, kd_str name, kd_tval *out, bool *found) {
    *found = true;
    if (obj.type == KD_TV_UNDEF) return kd_tr_undefined(r, obj);
    if (name.len > 4 && kd_str_starts(name, "__") && kd_str_ends(name, "__")) /* Python's internals */
        return kd_tv_undef_member(r, out, obj, kd_tv_view(name.data, name.len), true);
    if (obj.type == KD_TV_NS && name.len && name.data[0] == '_') {
        *found = false;
        return true;
    }
    int id = kd_tm_find(name);
    unsigned on = id >= 0 ? kd_tm_on(id) : 0;
    bool other = on & KD_TM_OTHER && ((obj.type == KD_TV_LOOP && (id == KD_TM_cycle || id == KD_TM_changed)) ||
                                      (obj.type == KD_TV_CYCLER && (id == KD_TM_next || id == KD_TM_reset)));
    if (other || on & method_mask(obj)) {
        if (id == KD_TM_is_integer && obj.type != KD_TV_FLOAT) {
            *found = false;
            return true;
        }
        if (on & KD_TM_UNSAFE) return kd_tv_undef_member(r, out, obj, kd_tv_view(name.data, name.len), true);
        kd_tmethod *m = kd_tr_alloc(r, sizeof *m);
        if (!m) return false;
        *m = (kd_tmethod){obj, id};
        *out = kd_tv(KD_TV_METHOD);
        out->u.method = m;
        return true;
    }
    if (obj.type == KD_TV_LOOP) return loop_attr(r, obj.u.loop, name, out, found);
    return special_attr(r, obj, name, out, found);
}

bool kd_te_attr(kd_trun *r, kd_tval obj, kd_str name, kd_tval *out) {
    bool found;
    kd_tval key = kd_tv_view(name.data, name.len);
    if (!kd_te_own_attr(r, obj, name, out, &found)) return false;
    if (!found && !subscript(r, obj, key, out, &found)) return false;
    return found || kd_tv_undef_member(r, out, obj, key, false);
}

bool kd_te_item(kd_trun *r, kd_tval obj, kd_tval key, kd_tval *out) {
    bool found;
    if (!kd_tr_charge(r, 1) || !subscript(r, obj, key, out, &found)) return false;
    if (!found && key.type == KD_TV_STR && !kd_te_own_attr(r, obj, kd_tv_text(key), out, &found)) return false;
    return found || kd_tv_undef_member(r, out, obj, key, false);
}
