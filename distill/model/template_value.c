/* distill/model/template_value.c - the values of a template: memory of a run, dicts, equality, order, truth. Python's rules. Leans on template_run.h. */
#include "distill/base/hash.h"
#include "distill/base/utf8.h"
#include "distill/model/template_run.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef kd_tr_fail /* a macro for the analyzer */
#undef kd_tr_undefined

/* ---- the run ---- */

bool kd_tr_fail(kd_trun *r, kd_code c, const char *fmt, ...) {
    if (r->code != KD_OK) return false;
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    r->code = kd_tpl_fail(r->t, r->at, r->e, c, "%s", msg);
    return false;
}

bool kd_tr_charge(kd_trun *r, size_t steps) {
    if (steps >= r->max_steps - r->steps) return kd_tr_fail(r, KD_ELIMIT, "stopped after %zu steps", r->max_steps);
    r->steps += steps;
    return true;
}

void *kd_tr_alloc(kd_trun *r, size_t n) {
    enum { CHUNK = 64 << 10 };
    if (n > r->max_bytes || r->bytes + n > r->max_bytes) {
        kd_tr_fail(r, KD_ELIMIT, "stopped after %zu MiB of memory", r->max_bytes >> 20);
        return NULL;
    }
    n = (n + 15) & ~(size_t)15;
    if (!r->heap || r->heap->cap - r->heap->used < n) {
        size_t cap = n > CHUNK / 4 ? n : CHUNK;
        kd_tchunk *c = kd_malloc(sizeof *c + cap);
        if (!c) {
            kd_tr_fail(r, KD_ENOMEM, "no memory to render with");
            return NULL;
        }
        c->used = 0;
        c->cap = cap;
        if (r->heap && cap == n) { /* a big one goes behind the one in use */
            c->next = r->heap->next;
            r->heap->next = c;
        } else {
            c->next = r->heap;
            r->heap = c;
        }
        r->bytes += cap;
        c->used = n;
        memset(c->data, 0, n);
        return c->data;
    }
    void *p = (char *)r->heap->data + r->heap->used;
    r->heap->used += n;
    memset(p, 0, n);
    return p;
}

bool kd_tr_write(kd_trun *r, kd_buf *b, const char *s, size_t n) {
    if (!kd_tr_charge(r, n / 32)) return false;
    if (n > r->max_output || b->len > r->max_output - n || r->buffered > r->max_output + r->max_output / 2 - n)
        return kd_tr_fail(r, KD_ELIMIT, "stopped after %zu KiB of output", r->max_output >> 10);
    if (kd_buf_append(b, s, n) != KD_OK) return kd_tr_fail(r, KD_ENOMEM, "no memory to render with");
    r->buffered += n;
    return true;
}

void kd_tr_drop(kd_trun *r, kd_buf *b) {
    r->buffered -= b->len;
    kd_buf_clear(b);
}

/* ---- making values ---- */

bool kd_tv_dup(kd_trun *r, kd_tval *out, const char *s, size_t n) {
    char *p = kd_tr_alloc(r, n + 1);
    if (!p || !kd_tr_charge(r, n / 32)) return false;
    if (n) memcpy(p, s, n);
    *out = kd_tv_view(p, n);
    return true;
}

bool kd_tv_take(kd_trun *r, kd_tval *out, kd_buf *b) {
    bool ok = r->code == KD_OK && kd_tv_dup(r, out, b->data, b->len);
    kd_tr_drop(r, b);
    return ok;
}

bool kd_tv_join(kd_trun *r, kd_tval *out, kd_tval a, kd_tval b) {
    uint8_t flag = (a.flag | b.flag) & KD_TF_MARKUP;
    if (!a.len || !b.len) {
        *out = a.len ? a : b;
        out->flag = flag;
        return true;
    }
    if (!kd_tr_charge(r, b.len / 32)) return false;
    for (int i = 0; i < KD_TR_TAILS; i++) { /* a ends where a grown string ends: nobody else has the bytes behind it */
        if (r->tail[i].end != a.u.s + a.len || r->tail[i].room < b.len) continue;
        memcpy((char *)(uintptr_t)r->tail[i].end, b.u.s, b.len);
        r->tail[i].end += b.len;
        r->tail[i].room -= b.len;
        *out = kd_tv_view(a.u.s, a.len + b.len);
        out->flag = flag;
        return true;
    }
    size_t n = a.len + b.len, room = n >= 256 ? n : 0;
    char *p = kd_tr_alloc(r, n + room + 1);
    if (!p || !kd_tr_charge(r, n / 32)) return false;
    memcpy(p, a.u.s, a.len);
    memcpy(p + a.len, b.u.s, b.len);
    if (room) {
        unsigned i = r->next_tail++ % KD_TR_TAILS;
        r->tail[i].end = p + n;
        r->tail[i].room = room;
    }
    *out = kd_tv_view(p, n);
    out->flag = flag;
    return true;
}

bool kd_tv_seq(kd_trun *r, kd_tval *out, kd_tv_type type, size_t n) {
    if (n > SIZE_MAX / sizeof(kd_tval) / 2) return kd_tr_fail(r, KD_ELIMIT, "a list of %zu", n);
    kd_tseq *s = kd_tr_alloc(r, sizeof *s);
    if (!s || (n && !(s->at = kd_tr_alloc(r, n * sizeof *s->at))) || !kd_tr_charge(r, n)) return false;
    s->n = n;
    *out = kd_tv(type);
    out->u.seq = s;
    return true;
}

static bool undef_new(kd_trun *r, kd_tval *out, kd_tundef u) {
    kd_tundef *p = kd_tr_alloc(r, sizeof *p);
    if (!p) return false;
    *p = u;
    *out = kd_tv(KD_TV_UNDEF);
    out->u.undef = p;
    return true;
}

bool kd_tv_undef(kd_trun *r, kd_tval *out, const char *hint) { return undef_new(r, out, (kd_tundef){.hint = hint}); }

bool kd_tv_undef_name(kd_trun *r, kd_tval *out, kd_str name) {
    return undef_new(r, out, (kd_tundef){.name = kd_tv_view(name.data, name.len)});
}

bool kd_tv_undef_member(kd_trun *r, kd_tval *out, kd_tval obj, kd_tval name, bool unsafe) {
    return undef_new(r, out, (kd_tundef){.name = name, .obj = obj, .unsafe = unsafe});
}

bool kd_tr_undefined(kd_trun *r, kd_tval v) {
    const kd_tundef *u = v.u.undef;
    kd_buf b = {0};
    if (u->hint) {
        kd_tr_fail(r, KD_EFORMAT, "%s", u->hint);
    } else {
        kd_tv_repr(r, &b, u->name);
        const char *name = b.data ? b.data : "", *type = kd_tv_type_name(u->obj);
        int n = (int)(b.len < 100 ? b.len : 100);
        if (u->obj.type == KD_TV_MISSING)
            kd_tr_fail(r, KD_EFORMAT, "%.*s is undefined", n, name);
        else if (u->unsafe)
            kd_tr_fail(r, KD_EFORMAT, "access to attribute %.*s of '%s' object is unsafe", n, name, type);
        else if (u->obj.type == KD_TV_NONE)
            kd_tr_fail(r, KD_EFORMAT, "'None' has no attribute %.*s", n, name);
        else
            kd_tr_fail(r, KD_EFORMAT, "'%s object' has no %s %.*s", type, u->name.type == KD_TV_STR ? "attribute" : "element", n, name);
    }
    kd_tr_drop(r, &b);
    return false;
}

/* ---- what a value is ---- */

const char *kd_tv_type_name(kd_tval v) {
    static const char *const names[] = {"missing",     "Undefined", "NoneType",  "bool",  "int",      "int",
                                        "float",       "str",       "list",      "tuple", "dict",     "range",
                                        "dict_keys",   "generator", "Namespace", "Macro", "function", "builtin_function_or_method",
                                        "LoopContext", "Cycler",    "Joiner"};
    if (v.type == KD_TV_VIEW) return v.u.view->what == 'k' ? "dict_keys" : v.u.view->what == 'v' ? "dict_values" : "dict_items";
    if (v.type == KD_TV_STR && v.flag & KD_TF_MARKUP) return "Markup";
    return names[v.type];
}

bool kd_tv_is_number(kd_tval v) { return v.type == KD_TV_BOOL || v.type == KD_TV_INT || v.type == KD_TV_BIG || v.type == KD_TV_FLOAT; }

double kd_tv_number(kd_tval v) {
    if (v.type == KD_TV_BIG) {
        char z[400];
        size_t n = v.len < sizeof z - 1 ? v.len : sizeof z - 1;
        if (v.len > n) return v.u.s[0] == '-' ? -HUGE_VAL : HUGE_VAL;
        memcpy(z, v.u.s, n);
        z[n] = 0;
        return strtod(z, NULL);
    }
    return v.type == KD_TV_FLOAT ? v.u.f : v.type == KD_TV_BOOL ? (double)v.u.b : (double)v.u.i;
}

bool kd_tv_index(kd_tval v, int64_t *i) {
    if (v.type != KD_TV_INT && v.type != KD_TV_BOOL) return false;
    *i = v.type == KD_TV_BOOL ? (int64_t)v.u.b : v.u.i;
    return true;
}

bool kd_tv_truth(kd_tval v) {
    switch ((kd_tv_type)v.type) {
    case KD_TV_MISSING:
    case KD_TV_UNDEF:
    case KD_TV_NONE: return false;
    case KD_TV_BOOL: return v.u.b;
    case KD_TV_INT: return v.u.i != 0;
    case KD_TV_FLOAT: return v.u.f != 0;
    case KD_TV_STR: return v.len != 0;
    case KD_TV_LIST:
    case KD_TV_TUPLE: return v.u.seq->n != 0;
    case KD_TV_DICT: return v.u.dict->n != 0;
    case KD_TV_RANGE: return v.u.range->n != 0;
    case KD_TV_VIEW: return v.u.view->dict->n != 0;
    default: return true;
    }
}

bool kd_tv_has_len(kd_tval v) { return v.type == KD_TV_UNDEF || (v.type >= KD_TV_STR && v.type <= KD_TV_VIEW) || v.type == KD_TV_LOOP; }

bool kd_tv_len(kd_trun *r, kd_tval v, int64_t *n) {
    *n = 0;
    switch ((kd_tv_type)v.type) {
    case KD_TV_UNDEF: return true;
    case KD_TV_STR: *n = (int64_t)kd_ts_count(v); return kd_tr_charge(r, v.len / 32);
    case KD_TV_LIST:
    case KD_TV_TUPLE: *n = (int64_t)v.u.seq->n; return true;
    case KD_TV_DICT: *n = v.u.dict->n; return true;
    case KD_TV_RANGE: *n = (int64_t)v.u.range->n; return true;
    case KD_TV_VIEW: *n = v.u.view->dict->n; return true;
    case KD_TV_LOOP: {
        kd_tval l;
        if (!kd_te_attr(r, v, KD_STR("length"), &l)) return false;
        *n = l.u.i;
        return true;
    }
    default: return kd_tr_fail(r, KD_EFORMAT, "object of type '%s' has no len()", kd_tv_type_name(v));
    }
}

bool kd_tv_same(kd_tval a, kd_tval b) {
    if (a.type != b.type) return false;
    switch ((kd_tv_type)a.type) {
    case KD_TV_MISSING:
    case KD_TV_NONE: return true;
    case KD_TV_BOOL: return a.u.b == b.u.b;
    case KD_TV_INT: return a.u.i == b.u.i;
    case KD_TV_FLOAT: return a.u.f == b.u.f;
    case KD_TV_STR: return a.u.s == b.u.s && a.len == b.len;
    default: return a.u.s == b.u.s;
    }
}

/* ---- equality and order ---- */

static int sign(double d) { return d < 0 ? -1 : d > 0 ? 1 : 0; }

/* -1, 0, 1; 2 where one is not a number. Exact between integers and floats. */
static int number_order(kd_tval a, kd_tval b) {
    int64_t x, y;
    if (kd_tv_index(a, &x) && kd_tv_index(b, &y)) return x < y ? -1 : x > y;
    if (a.type == KD_TV_BIG && b.type == KD_TV_BIG) {
        bool na = a.u.s[0] == '-', nb = b.u.s[0] == '-';
        if (na != nb) return na ? -1 : 1;
        int c = a.len != b.len ? (a.len < b.len ? -1 : 1) : memcmp(a.u.s, b.u.s, a.len);
        return na ? -sign(c) : sign(c);
    }
    double p = kd_tv_number(a), q = kd_tv_number(b);
    if (isnan(p) || isnan(q)) return 2;
    if (p != q) return p < q ? -1 : 1;
    if (a.type == KD_TV_FLOAT && kd_tv_index(b, &y)) return fabs(p) >= 9.3e18 ? sign(p) : (int64_t)p < y ? -1 : (int64_t)p > y;
    if (b.type == KD_TV_FLOAT && kd_tv_index(a, &x)) return fabs(q) >= 9.3e18 ? -sign(q) : x < (int64_t)q ? -1 : x > (int64_t)q;
    return 0;
}

static bool seq_eq(kd_trun *r, const kd_tseq *a, const kd_tseq *b, bool *eq) {
    *eq = a->n == b->n;
    for (size_t i = 0; *eq && i < a->n; i++)
        if (!kd_tv_eq(r, a->at[i], b->at[i], eq)) return false;
    return true;
}

static bool dict_eq(kd_trun *r, const kd_tdict *a, const kd_tdict *b, bool values, bool *eq) {
    *eq = a->n == b->n;
    for (uint32_t i = 0; *eq && i < a->n; i++) {
        kd_tval v;
        if (!kd_td_get(r, b, a->keys[i], &v, eq)) return false;
        if (*eq && values && !kd_tv_eq(r, a->values[i], v, eq)) return false;
    }
    return true;
}

static bool nest_in(kd_trun *r) {
    return ++r->nest <= KD_TR_NEST || kd_tr_fail(r, KD_ELIMIT, "values nested more than %d deep", KD_TR_NEST);
}

bool kd_tv_eq(kd_trun *r, kd_tval a, kd_tval b, bool *eq) {
    if (!kd_tr_charge(r, 1)) return false;
    bool ok = true;
    if (kd_tv_is_number(a) && kd_tv_is_number(b)) {
        *eq = number_order(a, b) == 0;
    } else if (a.type != b.type) {
        *eq = false;
    } else if (a.type == KD_TV_STR) {
        *eq = a.len == b.len && memcmp(a.u.s, b.u.s, a.len) == 0;
        ok = a.len != b.len || kd_tr_charge(r, a.len / 64);
    } else if (a.type == KD_TV_NONE || a.type == KD_TV_UNDEF) {
        *eq = true;
    } else if (a.type == KD_TV_RANGE) {
        const kd_trange *p = a.u.range, *q = b.u.range;
        *eq = p->n == q->n && (!p->n || (p->start == q->start && (p->n == 1 || p->step == q->step)));
    } else if (a.type == KD_TV_LIST || a.type == KD_TV_TUPLE || a.type == KD_TV_DICT) {
        ok = nest_in(r) && (a.type == KD_TV_DICT ? dict_eq(r, a.u.dict, b.u.dict, true, eq) : seq_eq(r, a.u.seq, b.u.seq, eq));
        r->nest--;
    } else if (a.type == KD_TV_VIEW && a.u.view->what != 'v' && a.u.view->what == b.u.view->what) {
        ok = dict_eq(r, a.u.view->dict, b.u.view->dict, a.u.view->what == 'i', eq);
    } else {
        *eq = kd_tv_same(a, b);
    }
    return ok;
}

static bool decide(kd_to_compare op, int order) {
    if (order == 2) return false;
    return op == KD_TO_LT ? order < 0 : op == KD_TO_LE ? order <= 0 : op == KD_TO_GT ? order > 0 : order >= 0;
}

bool kd_tv_less(kd_trun *r, kd_to_compare op, kd_tval a, kd_tval b, bool *yes) {
    static const char *const signs[] = {"==", "!=", "<", "<=", ">", ">="};
    if (!kd_tr_charge(r, 1)) return false;
    if (a.type == KD_TV_UNDEF) return kd_tr_undefined(r, a);
    if (b.type == KD_TV_UNDEF) return kd_tr_undefined(r, b);
    if (kd_tv_is_number(a) && kd_tv_is_number(b)) {
        *yes = decide(op, number_order(a, b));
        return true;
    }
    if (a.type == KD_TV_STR && b.type == KD_TV_STR) {
        size_t n = a.len < b.len ? a.len : b.len;
        int c = n ? memcmp(a.u.s, b.u.s, n) : 0;
        *yes = decide(op, c ? sign(c) : a.len < b.len ? -1 : a.len > b.len);
        return kd_tr_charge(r, n / 64);
    }
    if (a.type != b.type || (a.type != KD_TV_LIST && a.type != KD_TV_TUPLE))
        return kd_tr_fail(r, KD_EFORMAT, "'%s' not supported between instances of '%s' and '%s'", signs[op], kd_tv_type_name(a),
                          kd_tv_type_name(b));
    const kd_tseq *p = a.u.seq, *q = b.u.seq;
    bool ok = nest_in(r), eq = true;
    size_t i = 0;
    for (; ok && i < p->n && i < q->n; i++)
        if (!(ok = kd_tv_eq(r, p->at[i], q->at[i], &eq)) || !eq) break;
    if (ok && i < p->n && i < q->n)
        ok = kd_tv_less(r, op, p->at[i], q->at[i], yes);
    else if (ok)
        *yes = decide(op, p->n < q->n ? -1 : p->n > q->n);
    r->nest--;
    return ok;
}

bool kd_tv_in(kd_trun *r, kd_tval x, kd_tval in, bool *yes) {
    *yes = false;
    if (in.type == KD_TV_STR) {
        if (x.type != KD_TV_STR)
            return kd_tr_fail(r, KD_EFORMAT, "'in <string>' requires string as left operand, not %s", kd_tv_type_name(x));
        *yes = kd_ts_find(kd_tv_text(in), kd_tv_text(x), 0) != SIZE_MAX;
        return kd_tr_charge(r, in.len / 8);
    }
    if (in.type == KD_TV_DICT || (in.type == KD_TV_VIEW && in.u.view->what == 'k')) {
        kd_tval v;
        return kd_td_get(r, in.type == KD_TV_DICT ? in.u.dict : in.u.view->dict, x, &v, yes);
    }
    if (in.type == KD_TV_RANGE && (x.type == KD_TV_INT || x.type == KD_TV_BOOL)) {
        const kd_trange *g = in.u.range;
        int64_t i = 0;
        kd_tv_index(x, &i);
        if (g->n && i >= (g->step > 0 ? g->start : g->stop + 1) && i <= (g->step > 0 ? g->stop - 1 : g->start))
            *yes = (i - g->start) % g->step == 0;
        return true;
    }
    kd_titer *it;
    if (in.type != KD_TV_UNDEF && in.type != KD_TV_ITER && in.type != KD_TV_LOOP && !kd_tv_has_len(in))
        return kd_tr_fail(r, KD_EFORMAT, "argument of type '%s' is not iterable", kd_tv_type_name(in));
    if (!kd_ti_new(r, &it, in)) return false;
    for (bool more;;) {
        kd_tval v;
        if (!kd_ti_next(r, it, &v, &more)) return false;
        if (!more) return true;
        if (!kd_tv_eq(r, v, x, yes)) return false;
        if (*yes) return true;
    }
}

/* ---- dicts ---- */

/* False if the value cannot be a key. */
static bool hash_value(kd_trun *r, kd_tval v, uint64_t *h) {
    uint64_t n = 0, type = v.type;
    if (kd_tv_is_number(v)) {
        double d = kd_tv_number(v);
        int64_t i;
        if (kd_tv_index(v, &i))
            n = (uint64_t)i;
        else if (d == floor(d) && fabs(d) < 9.2e18)
            n = (uint64_t)(int64_t)d;
        else
            memcpy(&n, &d, sizeof n);
        type = KD_TV_INT;
    } else if (v.type == KD_TV_STR) {
        *h = kd_hash64(v.u.s, v.len, 1);
        return kd_tr_charge(r, v.len / 8);
    } else if (v.type == KD_TV_TUPLE) {
        if (!nest_in(r)) return false;
        for (size_t i = 0; i < v.u.seq->n; i++) {
            uint64_t k;
            if (!kd_tr_charge(r, 1) || !hash_value(r, v.u.seq->at[i], &k)) return false;
            n = kd_hash64(&k, sizeof k, n);
        }
        r->nest--;
    } else if (v.type == KD_TV_LIST || v.type == KD_TV_DICT || v.type == KD_TV_NS || (v.type == KD_TV_VIEW && v.u.view->what != 'v')) {
        return kd_tr_fail(r, KD_EFORMAT, "unhashable type: '%s'", kd_tv_type_name(v));
    } else if (v.type == KD_TV_RANGE) {
        n = v.u.range->n;
    } else if (v.type != KD_TV_NONE && v.type != KD_TV_UNDEF) {
        n = (uint64_t)(uintptr_t)v.u.s;
    }
    uint64_t both[2] = {type, n};
    *h = kd_hash64(both, sizeof both, 2);
    return true;
}

bool kd_td_new(kd_trun *r, kd_tval *out, size_t room) {
    kd_tdict *d = kd_tr_alloc(r, sizeof *d);
    if (!d) return false;
    *out = kd_tv(KD_TV_DICT);
    out->u.dict = d;
    if (!room) return true;
    if (room > 1u << 24) return kd_tr_fail(r, KD_ELIMIT, "a dict of %zu", room);
    d->cap = (uint32_t)room;
    d->keys = kd_tr_alloc(r, room * sizeof *d->keys);
    d->values = d->keys ? kd_tr_alloc(r, room * sizeof *d->values) : NULL;
    return d->values != NULL;
}

static bool find(kd_trun *r, const kd_tdict *d, kd_tval key, uint64_t h, uint32_t *at, bool *found) {
    *found = false;
    if (!d->index) {
        for (uint32_t i = 0; i < d->n; i++) {
            if (!kd_tv_eq(r, d->keys[i], key, found)) return false;
            if (*found) {
                *at = i;
                return true;
            }
        }
        return true;
    }
    for (uint32_t k = (uint32_t)h & (d->n_index - 1); d->index[k]; k = (k + 1) & (d->n_index - 1)) {
        *at = d->index[k] - 1;
        if (!kd_tv_eq(r, d->keys[*at], key, found)) return false;
        if (*found) return true;
    }
    return true;
}

static bool reindex(kd_trun *r, kd_tdict *d) {
    uint32_t n = d->n_index ? d->n_index * 4 : 32;
    uint32_t *index = kd_tr_alloc(r, n * sizeof *index);
    if (!index || !kd_tr_charge(r, d->n)) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        uint64_t h;
        if (!hash_value(r, d->keys[i], &h)) return false;
        uint32_t k = (uint32_t)h & (n - 1);
        while (index[k]) k = (k + 1) & (n - 1);
        index[k] = i + 1;
    }
    d->index = index;
    d->n_index = n;
    return true;
}

static bool grow(kd_trun *r, kd_tdict *d) {
    uint32_t cap = d->cap ? d->cap * 2 : 4;
    if (cap > 1u << 24) return kd_tr_fail(r, KD_ELIMIT, "a dict of %u", cap);
    kd_tval *keys = kd_tr_alloc(r, cap * sizeof *keys), *values = keys ? kd_tr_alloc(r, cap * sizeof *values) : NULL;
    if (!values) return false;
    if (d->n) {
        memcpy(keys, d->keys, d->n * sizeof *keys);
        memcpy(values, d->values, d->n * sizeof *values);
    }
    d->keys = keys;
    d->values = values;
    d->cap = cap;
    return true;
}

bool kd_td_set(kd_trun *r, kd_tdict *d, kd_tval key, kd_tval value) {
    uint64_t h = 0;
    uint32_t at = 0;
    bool found;
    if (!kd_tr_charge(r, 1) || !hash_value(r, key, &h) || !find(r, d, key, h, &at, &found)) return false;
    if (found) {
        d->values[at] = value;
        return true;
    }
    if (d->n == d->cap && !grow(r, d)) return false;
    d->keys[d->n] = key;
    d->values[d->n++] = value;
    if (d->index ? d->n * 2 > d->n_index : d->n > 8) return reindex(r, d);
    if (d->index) {
        uint32_t k = (uint32_t)h & (d->n_index - 1);
        while (d->index[k]) k = (k + 1) & (d->n_index - 1);
        d->index[k] = d->n;
    }
    return true;
}

bool kd_td_get(kd_trun *r, const kd_tdict *d, kd_tval key, kd_tval *out, bool *found) {
    uint64_t h;
    uint32_t at = 0;
    if (!hash_value(r, key, &h) || !find(r, d, key, h, &at, found)) return false;
    if (*found) *out = d->values[at];
    return true;
}

bool kd_td_str(const kd_tdict *d, kd_str key, kd_tval *out) {
    if (!d->index) {
        for (uint32_t i = 0; i < d->n; i++)
            if (d->keys[i].type == KD_TV_STR && kd_str_eq(kd_tv_text(d->keys[i]), key)) {
                *out = d->values[i];
                return true;
            }
        return false;
    }
    uint64_t h = kd_hash64(key.data, key.len, 1);
    for (uint32_t k = (uint32_t)h & (d->n_index - 1); d->index[k]; k = (k + 1) & (d->n_index - 1)) {
        uint32_t at = d->index[k] - 1;
        if (d->keys[at].type == KD_TV_STR && kd_str_eq(kd_tv_text(d->keys[at]), key)) {
            *out = d->values[at];
            return true;
        }
    }
    return false;
}
