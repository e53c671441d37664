/* distill/model/template_call.c - what can be called: global functions, methods, cyclers, joiners. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define KD_TM_ROW(name, on) {#name, KD_TM_##on},
static const struct {
    const char *name;
    unsigned on;
} methods[] = {KD_TM_LIST_ALL(KD_TM_ROW)};

int kd_tm_find(kd_str name) {
    for (int i = 0; i < KD_TM_METHODS; i++)
        if (name.len && methods[i].name[0] == name.data[0] && kd_str_is(name, methods[i].name)) return i;
    return -1;
}

unsigned kd_tm_on(int id) { return methods[id].on; }

const char *kd_tm_name(int id) { return methods[id].name; }

/* ---- globals ---- */

enum { G_RANGE, G_DICT, G_NAMESPACE, G_CYCLER, G_JOINER, G_RAISE, G_STRFTIME, G_LIPSUM, G_COUNT };
static const char *const globals[G_COUNT] = {"range", "dict", "namespace", "cycler", "joiner", "raise_exception", "strftime_now", "lipsum"};

bool kd_te_global_id(kd_str name, int *id) {
    for (*id = 0; *id < G_COUNT; ++*id)
        if (kd_str_is(name, globals[*id])) return true;
    return false;
}

static bool make_range(kd_trun *r, const kd_targs *a, kd_tval *out) {
    enum { MAX_RANGE = 100000 };
    int64_t v[3] = {0, 0, 1};
    if (a->n_names) return kd_tr_fail(r, KD_EFORMAT, "range() takes no keyword arguments");
    if (a->n < 1 || a->n > 3) return kd_tr_fail(r, KD_EFORMAT, "range expected 1 to 3 arguments, got %zu", a->n);
    for (size_t i = 0; i < a->n; i++) {
        if (a->at[i].type == KD_TV_UNDEF) return kd_tr_undefined(r, a->at[i]);
        if (!kd_tv_index(a->at[i], &v[a->n == 1 ? 1 : i]))
            return kd_tr_fail(r, KD_EFORMAT, "'%s' object cannot be interpreted as an integer", kd_tv_type_name(a->at[i]));
    }
    if (!v[2]) return kd_tr_fail(r, KD_EFORMAT, "range() arg 3 must not be zero");
    uint64_t gap = v[2] > 0 ? (v[1] > v[0] ? (uint64_t)v[1] - (uint64_t)v[0] : 0) : (v[0] > v[1] ? (uint64_t)v[0] - (uint64_t)v[1] : 0);
    uint64_t stride = v[2] > 0 ? (uint64_t)v[2] : 0 - (uint64_t)v[2], n = gap ? (gap - 1) / stride + 1 : 0;
    if (n > MAX_RANGE) return kd_tr_fail(r, KD_ELIMIT, "Range too big. The sandbox blocks ranges larger than MAX_RANGE (%d).", MAX_RANGE);
    kd_trange *g = kd_tr_alloc(r, sizeof *g);
    if (!g) return false;
    *g = (kd_trange){v[0], v[1], v[2], (size_t)n};
    *out = kd_tv(KD_TV_RANGE);
    out->u.range = g;
    return true;
}

/* dict(mapping or pairs, **kwargs) */
static bool make_dict(kd_trun *r, const kd_targs *a, kd_tval *out) {
    if (a->n > 1) return kd_tr_fail(r, KD_EFORMAT, "dict expected at most 1 argument, got %zu", a->n);
    if (!kd_td_new(r, out, 0)) return false;
    kd_tdict *d = out->u.dict;
    if (a->n && a->at[0].type == KD_TV_DICT) {
        const kd_tdict *from = a->at[0].u.dict;
        for (uint32_t i = 0; i < from->n; i++)
            if (!kd_td_set(r, d, from->keys[i], from->values[i])) return false;
    } else if (a->n) {
        kd_tval list, two;
        if (!kd_ti_all(r, a->at[0], &list)) return false;
        for (size_t i = 0; i < list.u.seq->n; i++) {
            if (!kd_ti_all(r, list.u.seq->at[i], &two)) return false;
            if (two.u.seq->n != 2)
                return kd_tr_fail(r, KD_EFORMAT, "dictionary update sequence element #%zu has length %zu; 2 is required", i, two.u.seq->n);
            if (!kd_td_set(r, d, two.u.seq->at[0], two.u.seq->at[1])) return false;
        }
    }
    for (size_t i = 0; i < a->n_names; i++)
        if (!kd_td_set(r, d, kd_tv_view(a->names[i].data, a->names[i].len), a->values[i])) return false;
    return true;
}

static bool make_namespace(kd_trun *r, const kd_targs *a, kd_tval *out) {
    if (!make_dict(r, a, out)) return false;
    out->type = KD_TV_NS;
    for (uint32_t i = 0; i < out->u.dict->n; i++) {
        kd_tval k = out->u.dict->keys[i];
        if (k.type == KD_TV_STR && k.len && k.u.s[0] == '_')
            return kd_tr_fail(r, KD_EFORMAT, "a namespace cannot hold the underscore-prefixed name '%.*s'", (int)k.len, k.u.s);
    }
    return true;
}

static bool make_cycle(kd_trun *r, kd_tv_type type, const kd_targs *a, kd_tval *out) {
    kd_tval sep[1] = {kd_tv(KD_TV_MISSING)};
    if (type == KD_TV_JOINER && !kd_te_bind(r, "joiner", a, "sep", 0, sep)) return false;
    if (type == KD_TV_CYCLER && (!a->n || a->n_names)) return kd_tr_fail(r, KD_EFORMAT, "cycler: at least one item has to be provided");
    kd_tcycle *c = kd_tr_alloc(r, sizeof *c);
    size_t n = type == KD_TV_JOINER ? 1 : a->n;
    if (!c || !(c->items.at = kd_tr_alloc(r, n * sizeof(kd_tval)))) return false;
    c->items.n = n;
    if (type == KD_TV_JOINER)
        c->items.at[0] = sep[0].type == KD_TV_MISSING ? kd_tv_lit(", ") : sep[0];
    else
        memcpy(c->items.at, a->at, n * sizeof(kd_tval));
    *out = kd_tv(type);
    out->u.cycle = c;
    return true;
}

static bool do_raise(kd_trun *r, const kd_targs *a) {
    kd_tval v[1], s;
    if (!kd_te_bind(r, "raise_exception", a, "message", 1, v) || !kd_tv_str(r, &s, v[0])) return false;
    return kd_tr_fail(r, KD_EFORMAT, "%.*s", (int)(s.len < 350 ? s.len : 350), s.u.s);
}

/* strftime of the caller's clock. The clock has no zone, as Python's datetime.now() has none. */
static bool do_strftime(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    struct tm tm;
    time_t now = (time_t)r->in->now;
    char one[4] = "%x", text[256];
    kd_buf b = {0};
    if (!kd_te_bind(r, "strftime_now", a, "format", 1, v)) return false;
    if (v[0].type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "strftime() argument 1 must be str, not %s", kd_tv_type_name(v[0]));
    if (!gmtime_r(&now, &tm)) return kd_tr_fail(r, KD_EINVAL, "a clock that shows no date");
    bool ok = true;
    for (size_t i = 0; ok && i < v[0].len; i++) {
        const char *s = v[0].u.s + i;
        size_t left = v[0].len - i, n = 2;
        if (*s != '%' || left < 2) {
            ok = kd_tr_write(r, &b, s, 1);
            continue;
        }
        if (strchr("-_^#0", s[1]) && left > 2) n = 3;
        memcpy(one, s, n);
        one[n] = 0;
        char c = s[n - 1];
        i += n - 1;
        if (c == 'z' || c == 'Z' || !strchr("aAbBcCdDeFgGhHIjklmMnpPrRsStTuUVwWxXyYf%", c)) {
            ok = c == 'z' || c == 'Z' || kd_tr_write(r, &b, one, n);
        } else if (c == 'f') {
            ok = kd_tr_write(r, &b, "000000", 6);
        } else {
            size_t len = strftime(text, sizeof text, one, &tm);
            ok = kd_tr_write(r, &b, text, len);
        }
    }
    return kd_tv_take(r, out, &b) && ok;
}

bool kd_te_global(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    switch (id) {
    case G_RANGE: return make_range(r, a, out);
    case G_DICT: return make_dict(r, a, out);
    case G_NAMESPACE: return make_namespace(r, a, out);
    case G_CYCLER: return make_cycle(r, KD_TV_CYCLER, a, out);
    case G_JOINER: return make_cycle(r, KD_TV_JOINER, a, out);
    case G_RAISE: return do_raise(r, a);
    case G_STRFTIME: return do_strftime(r, a, out);
    default: return kd_tr_fail(r, KD_EUNSUPPORTED, "the function '%s' is not supported", globals[id]);
    }
}

/* ---- methods of other types than strings ---- */

static bool seq_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    int64_t n = 0, from = 0, to = INT64_MAX;
    if (id == KD_TM_copy) return kd_te_bind(r, "copy", a, "", 0, v) && kd_ti_all(r, self, out);
    if (!kd_te_bind(r, kd_tm_name(id), a, id == KD_TM_count ? "value /" : "value start stop /", 1, v)) return false;
    kd_tval list;
    if (!kd_ti_all(r, self, &list)) return false;
    int64_t len = (int64_t)list.u.seq->n;
    if (id == KD_TM_index &&
        ((v[1].type != KD_TV_MISSING && !kd_tv_index(v[1], &from)) || (v[2].type != KD_TV_MISSING && !kd_tv_index(v[2], &to))))
        return kd_tr_fail(r, KD_EFORMAT, "slice indices must be integers or have an __index__ method");
    from = from < 0 ? (from + len < 0 ? 0 : from + len) : from;
    to = to < 0 ? to + len : to > len ? len : to;
    for (int64_t i = from; i < to; i++) {
        bool eq;
        if (!kd_tv_eq(r, list.u.seq->at[i], v[0], &eq)) return false;
        if (eq && id == KD_TM_index) {
            *out = kd_tv_int(i);
            return true;
        }
        n += eq;
    }
    if (id == KD_TM_index) return kd_tr_fail(r, KD_EFORMAT, "the value is not in the %s", kd_tv_type_name(self));
    *out = kd_tv_int(n);
    return true;
}

static bool dict_view(kd_trun *r, kd_tdict *d, char what, kd_tval *out) {
    kd_tview *view = kd_tr_alloc(r, sizeof *view);
    if (!view) return false;
    *view = (kd_tview){d, what};
    *out = kd_tv(KD_TV_VIEW);
    out->u.view = view;
    return true;
}

static bool dict_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    bool found;
    if (id == KD_TM_fromkeys) return kd_tr_fail(r, KD_EUNSUPPORTED, "the method 'fromkeys' is not supported");
    if (id == KD_TM_get) {
        if (!kd_te_bind(r, "get", a, "key default /", 1, v) || !kd_td_get(r, self.u.dict, v[0], out, &found)) return false;
        if (!found) *out = v[1].type == KD_TV_MISSING ? kd_tv(KD_TV_NONE) : v[1];
        return true;
    }
    if (!kd_te_bind(r, kd_tm_name(id), a, "", 0, v)) return false;
    if (id == KD_TM_copy) {
        kd_targs one = {.at = &self, .n = 1};
        return make_dict(r, &one, out);
    }
    return dict_view(r, self.u.dict, id == KD_TM_keys ? 'k' : id == KD_TM_values ? 'v' : 'i', out);
}

static bool loop_method(kd_trun *r, kd_tloop *l, int id, const kd_targs *a, kd_tval *out) {
    if (a->n_names) return kd_tr_fail(r, KD_EFORMAT, "loop.%s takes no keyword arguments", kd_tm_name(id));
    if (id == KD_TM_cycle) {
        if (!a->n) return kd_tr_fail(r, KD_EFORMAT, "no items for cycling given");
        *out = a->at[(size_t)l->index0 % a->n];
        return true;
    }
    kd_tval now;
    bool eq = false;
    if (!kd_tv_seq(r, &now, KD_TV_TUPLE, a->n)) return false;
    if (a->n) memcpy(now.u.seq->at, a->at, a->n * sizeof(kd_tval));
    if (l->changed.type != KD_TV_MISSING && !kd_tv_eq(r, l->changed, now, &eq)) return false;
    l->changed = now;
    *out = kd_tv_bool(!eq);
    return true;
}

static bool number_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out) {
    kd_tval none[1];
    int64_t i = 0;
    if (!kd_te_bind(r, kd_tm_name(id), a, "", 0, none)) return false;
    if (id == KD_TM_conjugate) {
        *out = self;
    } else if (id == KD_TM_is_integer) {
        *out = kd_tv_bool(self.type != KD_TV_FLOAT || self.u.f == floor(self.u.f));
    } else if (kd_tv_index(self, &i)) {
        uint64_t u = i < 0 ? 0 - (uint64_t)i : (uint64_t)i;
        *out = kd_tv_int(u ? 64 - __builtin_clzll(u) : 0);
    } else {
        return kd_tr_fail(r, KD_EFORMAT, "'float' object has no attribute 'bit_length'");
    }
    return true;
}

bool kd_te_method(kd_trun *r, kd_tval self, int id, const kd_targs *a, kd_tval *out) {
    kd_tval none[1];
    switch ((kd_tv_type)self.type) {
    case KD_TV_STR: return kd_te_str_method(r, self, id, a, out);
    case KD_TV_DICT: return dict_method(r, self, id, a, out);
    case KD_TV_LOOP: return loop_method(r, self.u.loop, id, a, out);
    case KD_TV_CYCLER: {
        kd_tcycle *c = self.u.cycle;
        if (!kd_te_bind(r, kd_tm_name(id), a, "", 0, none)) return false;
        *out = id == KD_TM_next ? c->items.at[c->pos] : kd_tv(KD_TV_NONE);
        c->pos = id == KD_TM_next ? (c->pos + 1) % c->items.n : 0;
        return true;
    }
    case KD_TV_LIST:
    case KD_TV_TUPLE:
    case KD_TV_RANGE: return seq_method(r, self, id, a, out);
    default: return number_method(r, self, id, a, out);
    }
}

/* ---- calls ---- */

static bool call(kd_trun *r, kd_tval f, const kd_targs *a, kd_tval *out) {
    kd_tval none[1];
    switch ((kd_tv_type)f.type) {
    case KD_TV_UNDEF: return kd_tr_undefined(r, f);
    case KD_TV_MACRO: return kd_te_macro(r, f.u.macro, a, out);
    case KD_TV_FUNC: return kd_te_global(r, (int)f.u.i, a, out);
    case KD_TV_METHOD: return kd_te_method(r, f.u.method->self, f.u.method->id, a, out);
    case KD_TV_LOOP:
        if (!f.u.loop->recurse) return kd_tr_fail(r, KD_EFORMAT, "The loop must have the 'recursive' marker to be called recursively.");
        return kd_te_bind(r, "loop", a, "iterable", 1, none) && kd_te_loop(r, f.u.loop, none[0], out);
    case KD_TV_JOINER:
        if (!kd_te_bind(r, "joiner", a, "", 0, none)) return false;
        *out = f.u.cycle->pos ? f.u.cycle->items.at[0] : kd_tv_lit("");
        f.u.cycle->pos = 1;
        return true;
    default: return kd_tr_fail(r, KD_EFORMAT, "'%s' object is not callable", kd_tv_type_name(f));
    }
}

bool kd_te_call(kd_trun *r, kd_tval f, const kd_targs *a, kd_tval *out) {
    bool ok = ++r->depth <= KD_TR_DEPTH ? call(r, f, a, out) : kd_tr_fail(r, KD_ELIMIT, "nested too deep");
    r->depth--;
    return ok;
}
