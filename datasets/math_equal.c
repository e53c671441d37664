/* datasets/math_equal.c - is the tree of an answer the tree of the gold answer? By kind: values, lists, sets, intervals, equations, matrices.
 * Leans on math_int.h. Verdicts are right, wrong, or unknown with a reason; a pair that cannot be told is never called wrong. */
#include "datasets/math_judge.h"

#include <stdlib.h>
#include <string.h>

static kd_verdict say(kd_pair *p, kd_verdict v, const char *why) {
    p->why = why;
    return v;
}

/* ---- values ---- */
bool kd_point_names(kd_point *p, const kd_node *n) {
    if (n->kind == N_NAME) {
        for (int i = 0; i < p->n; i++)
            if (kd_str_eq(p->name[i], n->text)) return true;
        if (p->n == KD_MATH_NAMES) return false;
        p->name[p->n++] = n->text;
    }
    for (int i = 0; i < n->n; i++)
        if (!kd_point_names(p, n->kid[i])) return false;
    return true;
}

/* The try-th point: fixed rationals of both signs, small and larger, different for every name. */
static void choose(kd_point *p, int t) {
    static const long num[KD_MATH_NAMES] = {17, 23, 29, 37, 43, 53, 61, 71, 79, 89, 97, 101},
                      den[KD_MATH_NAMES] = {11, 13, 7, 19, 5, 31, 23, 37, 29, 43, 41, 47};
    for (int i = 0; i < p->n; i++) {
        const int k = (i + 5 * t) % KD_MATH_NAMES;
        const bool negative = t == 1 || t == 5 || (t == 2 && i % 2 == 0) || (t == 3 && i % 2 == 1);
        p->num[i] = (t == 4 || t == 5 ? den[k] : num[k]) + (t == 6 ? 300 : 0);
        p->den[i] = t == 4 || t == 5 ? num[k] + 60 : den[k];
        if (negative) p->num[i] = -p->num[i];
    }
}

static kd_val cmp_at(const kd_node *a, const kd_node *g, const kd_point *pt, bool complex, int *sign) {
    kd_val v = complex ? VAL_NOT : kd_rat_cmp(a, g, pt, sign);
    if (v == VAL_NOT) v = kd_num_cmp(a, g, pt, complex, sign);
    return v;
}

static kd_verdict same_function(kd_pair *p, const kd_node *a, const kd_node *g, kd_point *pt) {
    int defined = 0, equal = 0, sign = 0;
    for (int pass = 0; pass < 2 && defined == 0; pass++)
        for (int t = 0; t < 7; t++) {
            choose(pt, t);
            const kd_val v = cmp_at(a, g, pt, pass == 1, &sign);
            if (v == VAL_LARGE) return say(p, KD_UNKNOWN, "too large");
            if (v == VAL_CLOSE) return say(p, KD_UNKNOWN, "too close to tell");
            if (v == VAL_NOT) return say(p, KD_UNKNOWN, "a function that is not known");
            defined += v == VAL_OK;
            equal += v == VAL_OK && sign == 0;
        }
    if (defined < 2) return say(p, KD_UNKNOWN, "nowhere defined together");
    return equal == defined ? say(p, KD_RIGHT, "the same expression") : say(p, KD_WRONG, "another expression");
}

static kd_verdict same_value(kd_pair *p, const kd_node *a, const kd_node *g) {
    kd_point pt = {0};
    int sign = 0, other = 0;
    if (!kd_point_names(&pt, a) || !kd_point_names(&pt, g)) return say(p, KD_UNKNOWN, "too many names");
    if (pt.n) return same_function(p, a, g, &pt);
    switch (kd_const_cmp(a, g, &sign)) {
    case VAL_OK: return sign == 0 ? say(p, KD_RIGHT, "the same number") : say(p, KD_WRONG, "another number");
    case VAL_UNDEFINED:
        if (kd_const_cmp(g, g, &other) != VAL_OK) return say(p, KD_UNKNOWN, "the gold answer has no value");
        return say(p, KD_WRONG, "the answer has no value");
    case VAL_LARGE: return say(p, KD_UNKNOWN, "too large");
    case VAL_CLOSE: return say(p, KD_UNKNOWN, "too close to tell");
    default: return say(p, KD_UNKNOWN, "a function that is not known");
    }
}

/* ---- dressing of a value: percent, degrees, units ---- */
typedef struct {
    kd_node *value;
    bool percent, degree;
    kd_str unit;
} dressed;

static dressed undress(kd_math *m, kd_node *n) {
    dressed d = {.value = n};
    bool negative = false;
    for (;;) {
        n = d.value;
        if (n->kind == N_NEG && (n->kid[0]->kind == N_PERCENT || n->kid[0]->kind == N_DEGREE || n->kid[0]->kind == N_UNIT)) {
            negative = !negative;
        } else if (n->kind == N_PERCENT) {
            d.percent = true;
        } else if (n->kind == N_DEGREE) {
            d.degree = true;
        } else if (n->kind == N_UNIT) {
            d.unit = n->text;
        } else if (n->kind == N_MUL && n->kid[1]->kind == N_UNIT) { /* 6 x 3 cm */
            d.unit = n->kid[1]->text;
            kd_node *x = kd_node_new(m, N_MUL, 2, (kd_node *[]){n->kid[0], n->kid[1]->kid[0]});
            if (x) d.value = x;
            break;
        } else {
            break;
        }
        d.value = n->kid[0];
    }
    if (negative) {
        kd_node *x = kd_node_new(m, N_NEG, 1, &d.value);
        if (x) d.value = x;
    }
    return d;
}

typedef struct {
    const char *name;
    int what; /* 1 length, 2 mass, 3 time, 4 volume, 5 money */
    long num, den;
} unit;

static const unit *unit_of(kd_str s) {
    static const unit list[] = {
        {"mm", 1, 1, 1000},         {"cm", 1, 1, 100},
        {"centimeters", 1, 1, 100}, {"m", 1, 1, 1},
        {"meters", 1, 1, 1},        {"meter", 1, 1, 1},
        {"km", 1, 1000, 1},         {"kilometers", 1, 1000, 1},
        {"in", 1, 254, 10000},      {"inches", 1, 254, 10000},
        {"inch", 1, 254, 10000},    {"ft", 1, 3048, 10000},
        {"feet", 1, 3048, 10000},   {"foot", 1, 3048, 10000},
        {"yards", 1, 9144, 10000},  {"miles", 1, 1609344, 1000},
        {"mg", 2, 1, 1000},         {"g", 2, 1, 1},
        {"grams", 2, 1, 1},         {"kg", 2, 1000, 1},
        {"kilograms", 2, 1000, 1},  {"s", 3, 1, 1},
        {"sec", 3, 1, 1},           {"seconds", 3, 1, 1},
        {"min", 3, 60, 1},          {"minutes", 3, 60, 1},
        {"minute", 3, 60, 1},       {"h", 3, 3600, 1},
        {"hours", 3, 3600, 1},      {"hour", 3, 3600, 1},
        {"hrs", 3, 3600, 1},        {"days", 3, 86400, 1},
        {"day", 3, 86400, 1},       {"weeks", 3, 604800, 1},
        {"ml", 4, 1, 1000},         {"l", 4, 1, 1},
        {"liters", 4, 1, 1},        {"cents", 5, 1, 100},
        {"dollars", 5, 1, 1},       {"dollar", 5, 1, 1},
        {"usd", 5, 1, 1},
    };
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (kd_str_is(s, list[i].name)) return &list[i];
    return NULL;
}

static kd_node *times(kd_math *m, kd_node *a, long num, long den) {
    kd_node *q = kd_node_new(m, N_DIV, 2, (kd_node *[]){kd_node_int(m, num), kd_node_int(m, den)});
    return q ? kd_node_new(m, N_MUL, 2, (kd_node *[]){a, q}) : NULL;
}

/* 1.000 under a locale where the point parts thousands. */
static bool other_locale(const kd_node *a, const kd_node *g) {
    if (!a->other || g->kind != N_NUM || g->scale != 0) return false;
    return kd_str_eq(a->text, g->text);
}

/* 6 x 7, where the x may be a sign of times. */
static bool crossed(const kd_node *a) {
    if (a->kind != N_MUL || a->kid[0]->kind != N_MUL || a->kid[1]->kind != N_NUM) return false;
    const kd_node *l = a->kid[0];
    return l->kid[0]->kind == N_NUM && l->kid[1]->kind == N_NAME && kd_str_is(l->kid[1]->text, "x");
}

static bool cross(kd_pair *p, const kd_node *a, kd_node *g) {
    if (!crossed(a)) return false;
    const kd_node *l = a->kid[0];
    kd_node *x = kd_node_new(p->m, N_MUL, 2, (kd_node *[]){l->kid[0], a->kid[1]});
    return x && same_value(p, x, g) == KD_RIGHT;
}

/* 4.5 million (dollars): the word of the number goes into the value, what follows it stays the unit. */
static void spell_out(kd_math *m, dressed *d) {
    static const struct {
        const char *word;
        long times;
    } list[] = {{"hundred", 100}, {"thousand", 1000}, {"million", 1000000}, {"billion", 1000000000}, {"trillion", 1000000000000}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const size_t n = strlen(list[i].word);
        if (!kd_str_starts(d->unit, list[i].word) || (d->unit.len > n && d->unit.data[n] != ' ')) continue;
        kd_node *x = times(m, d->value, list[i].times, 1);
        if (!x) return;
        d->value = x;
        d->unit = d->unit.len > n ? (kd_str){d->unit.data + n + 1, d->unit.len - n - 1} : (kd_str){NULL, 0};
        return;
    }
}

static kd_verdict scalar(kd_pair *p, kd_node *an, kd_node *gn) {
    dressed a = undress(p->m, an), g = undress(p->m, gn);
    spell_out(p->m, &a);
    spell_out(p->m, &g);
    const unit *ua = unit_of(a.unit), *ug = unit_of(g.unit);
    if (ua && ug && ua != ug) {
        if (ua->what != ug->what) return say(p, KD_UNKNOWN, "units of different things");
        kd_node *x = times(p->m, a.value, ua->num, ua->den), *y = times(p->m, g.value, ug->num, ug->den);
        return x && y ? same_value(p, x, y) : say(p, KD_UNKNOWN, "too large");
    }
    kd_verdict v = same_value(p, a.value, g.value);
    if (v == KD_RIGHT && kd_str_is(a.unit, "ordinal") != kd_str_is(g.unit, "ordinal")) return say(p, KD_UNKNOWN, "an ordinal");
    if (v == KD_WRONG && (ua || ug) && !(a.unit.data && g.unit.data)) { /* 25 cents against 0.25 */
        kd_node *x = ua ? times(p->m, a.value, ua->num, ua->den) : a.value, *y = ug ? times(p->m, g.value, ug->num, ug->den) : g.value;
        if (x && y && same_value(p, x, y) == KD_RIGHT) return say(p, KD_UNKNOWN, "the same, if the bare number is of the larger unit");
        p->why = "another number";
    }
    if (v == KD_WRONG && cross(p, a.value, g.value)) return say(p, KD_UNKNOWN, "an x that may be a sign of times");
    if (v == KD_WRONG && a.percent != g.percent) { /* 50% is 50 with its unit, and it is 0.5 */
        kd_node *x = a.percent ? times(p->m, a.value, 1, 100) : a.value, *y = g.percent ? times(p->m, g.value, 1, 100) : g.value;
        if (x && y && same_value(p, x, y) == KD_RIGHT) return say(p, KD_RIGHT, "the same number, as a percentage");
        return say(p, KD_WRONG, "another number");
    }
    if (v == KD_WRONG && a.degree != g.degree) {
        kd_node *x = a.degree ? kd_node_new(p->m, N_DEGREE, 1, &a.value) : a.value,
                *y = g.degree ? kd_node_new(p->m, N_DEGREE, 1, &g.value) : g.value;
        if (x && y && same_value(p, x, y) == KD_RIGHT) return say(p, KD_UNKNOWN, "degrees against radians");
        return say(p, KD_WRONG, "another number");
    }
    if (v == KD_WRONG && (other_locale(a.value, g.value) || other_locale(g.value, a.value)))
        return say(p, KD_UNKNOWN, "a point that parts thousands or decimals");
    return v;
}

/* ---- lists ---- */
typedef struct {
    kd_node *v[KD_ITEMS];
    kd_str name[KD_ITEMS];
    int n;
    bool named; /* by different names: x = 1, y = 2 */
} items;

static kd_str stem(kd_str s) {
    const char *bar = memchr(s.data, '_', s.len);
    return bar ? (kd_str){s.data, (size_t)(bar - s.data)} : s;
}

static bool push(items *it, kd_node *v, kd_str name) {
    if (!v || it->n == KD_ITEMS) return false;
    it->name[it->n] = name;
    it->v[it->n++] = v;
    return true;
}

static bool named_equation(const kd_node *n) { return n->kind == N_REL && n->n == 2 && n->ops[0] == TOK_EQ && n->kid[0]->kind == N_NAME; }

/* One item, its plus-or-minus written out, its name (x = ...) noted. */
static bool collect_one(kd_pair *p, items *it, kd_node *n) {
    kd_str name = {NULL, 0};
    if (named_equation(n)) {
        name = n->kid[0]->text;
        n = n->kid[1];
    }
    if (!kd_node_has(n, N_PM)) return push(it, n, name);
    return push(it, kd_node_side(p->m, n, 1), name) && push(it, kd_node_side(p->m, n, -1), name);
}

static bool collect(kd_pair *p, items *it, kd_node *n) {
    *it = (items){0};
    if (n->kind != N_LIST && n->kind != N_SET && n->kind != N_TUPLE) return collect_one(p, it, n);
    for (int i = 0; i < n->n; i++)
        if (!collect_one(p, it, n->kid[i])) return false;
    for (int i = 0; i < it->n; i++)
        if (!it->name[i].data) return true;
    for (int i = 1; i < it->n; i++) it->named |= !kd_str_eq(stem(it->name[0]), stem(it->name[i]));
    return true;
}

static kd_verdict equal(kd_pair *p, kd_node *a, kd_node *g);

static kd_verdict ordered(kd_pair *p, kd_node **a, int n, kd_node **g, int m) {
    bool unknown = false;
    const char *why = "";
    if (n != m) return say(p, KD_WRONG, "another count");
    for (int i = 0; i < n; i++) {
        const kd_verdict v = equal(p, a[i], g[i]);
        if (v == KD_WRONG) return v;
        if (v == KD_UNKNOWN) {
            unknown = true;
            why = p->why;
        }
    }
    return unknown ? say(p, KD_UNKNOWN, why) : say(p, KD_RIGHT, "the same items");
}

/* Is every one of a among g? */
static kd_verdict within(kd_pair *p, const items *a, const items *g) {
    for (int i = 0; i < a->n; i++) {
        kd_verdict best = KD_WRONG;
        for (int k = 0; k < g->n && best != KD_RIGHT; k++) {
            if (++p->work > KD_PAIRS) return say(p, KD_UNKNOWN, "too large");
            const kd_verdict v = equal(p, a->v[i], g->v[k]);
            if (v != KD_WRONG) best = v;
        }
        if (best != KD_RIGHT) return best == KD_WRONG ? say(p, KD_WRONG, "another item") : KD_UNKNOWN;
    }
    return say(p, KD_RIGHT, "the same items");
}

static kd_verdict unordered(kd_pair *p, const items *a, const items *g) {
    const kd_verdict v = within(p, a, g);
    return v == KD_RIGHT ? within(p, g, a) : v;
}

static kd_verdict by_name(kd_pair *p, const items *a, const items *g) {
    if (a->n != g->n) return say(p, KD_WRONG, "another count");
    for (int i = 0; i < g->n; i++) {
        int k = 0;
        while (k < a->n && !kd_str_eq(a->name[k], g->name[i])) k++;
        if (k == a->n) return say(p, KD_UNKNOWN, "other names");
        const kd_verdict v = equal(p, a->v[k], g->v[i]);
        if (v != KD_RIGHT) return v;
    }
    return say(p, KD_RIGHT, "the same items");
}

static bool interval_like(const kd_node *n) {
    if (n->kind == N_CUP || n->kind == N_BUILDER || n->kind == N_FIELD) return true;
    if (n->kind == N_TUPLE && n->n == 2) return n->open == '[' || n->close == '[' || kd_node_has(n, N_INF);
    if (n->kind == N_LIST) return n->kid[0]->kind == N_REL && n->kid[0]->ops[0] != TOK_EQ;
    return n->kind == N_REL && n->ops[0] != TOK_EQ;
}

static kd_verdict lists(kd_pair *p, kd_node *a, kd_node *g) {
    items x, y;
    if (!collect(p, &x, a) || !collect(p, &y, g)) return say(p, KD_UNKNOWN, "too large");
    if (x.named && y.named) return by_name(p, &x, &y);
    const bool tuple = a->kind == N_TUPLE || g->kind == N_TUPLE || x.named || y.named;
    if (a->kind == N_TUPLE && g->kind == N_TUPLE && (a->open != g->open || a->close != g->close)) return say(p, KD_WRONG, "other brackets");
    if (tuple && !(a->kind == N_SET || g->kind == N_SET) && !(g->kind == N_LIST && !y.named)) return ordered(p, x.v, x.n, y.v, y.n);
    return unordered(p, &x, &y);
}

/* ---- equations ---- */
/* A relation of = alone whose left side only names what the right side is: its right side. Otherwise n itself. */
static kd_node *bare(kd_pair *p, kd_node *n) {
    kd_point names = {0};
    if (n->kind != N_REL) return n;
    for (int i = 0; i < n->n - 1; i++)
        if (n->ops[i] != TOK_EQ) return n;
    kd_node *l = n->kid[0], *last = n->kid[n->n - 1];
    (void)p;
    if (l->kind == N_NAME || (l->kind == N_MUL && l->kid[0]->kind == N_NAME && l->kid[1]->kind == N_NAME)) return last;
    if (l->kind == N_TUPLE && last->kind == N_TUPLE) return last;
    if (kd_point_names(&names, n) && names.n == 0) return last;                                      /* 6 x 7 = 42 */
    if (crossed(l)) return last;                                                                     /* 6 x 7 = 42 */
    if (n->n == 2 && last->kind == N_NAME && kd_node_scalar(l) && !kd_node_has(l, N_NAME)) return l; /* 5 = x */
    return n;
}

static bool equation(const kd_node *n) {
    return n->kind == N_REL && n->n == 2 && n->ops[0] == TOK_EQ && kd_node_scalar(n->kid[0]) && kd_node_scalar(n->kid[1]);
}

static kd_node *difference(kd_pair *p, kd_node *n) {
    kd_node *b = kd_node_new(p->m, N_NEG, 1, &n->kid[1]);
    return b ? kd_node_new(p->m, N_ADD, 2, (kd_node *[]){n->kid[0], b}) : NULL;
}

/* Two equations say the same when left minus right of one is a number times that of the other. */
static kd_verdict equations(kd_pair *p, kd_node *a, kd_node *g) {
    kd_point pt = {0};
    kd_node *x = difference(p, a), *y = difference(p, g);
    if (!x || !y || !kd_point_names(&pt, x) || !kd_point_names(&pt, y)) return say(p, KD_UNKNOWN, "too large");
    if (pt.n == 0) return equal(p, a->kid[1], g->kid[1]);
    int told = 0;
    for (int t = 0; t < 4; t++) {
        kd_point q = pt;
        bool same;
        choose(&pt, t);
        choose(&q, t + 2);
        const kd_val v = kd_num_same_ratio(x, y, &pt, &q, &same);
        if (v == VAL_LARGE) return say(p, KD_UNKNOWN, "too large");
        if (v != VAL_OK) continue;
        if (!same) return say(p, KD_WRONG, "another equation");
        told++;
    }
    return told >= 2 ? say(p, KD_RIGHT, "the same equation") : say(p, KD_UNKNOWN, "an equation that cannot be evaluated");
}

/* ---- ratios, times, numerals of another base, matrices ---- */
static kd_verdict ratios(kd_pair *p, kd_node *a, kd_node *g) {
    const dressed x = undress(p->m, a), y = undress(p->m, g);
    if (x.value->kind != N_RATIO || y.value->kind != N_RATIO) return say(p, KD_UNKNOWN, "a ratio against a number");
    kd_node **u = x.value->kid, **v = y.value->kid;
    const kd_verdict first = equal(p, u[0], v[0]), second = equal(p, u[1], v[1]);
    if (first == KD_RIGHT && second == KD_RIGHT) {
        const bool same = !x.unit.data || !y.unit.data || kd_str_eq(x.unit, y.unit);
        return same ? say(p, KD_RIGHT, "the same ratio") : say(p, KD_WRONG, "another time");
    }
    const bool time = u[1]->kind == N_NUM && u[1]->text.len == 2 && v[1]->kind == N_NUM && v[1]->text.len == 2;
    if (time && second == KD_RIGHT) {
        kd_node *later = kd_node_new(p->m, N_ADD, 2, (kd_node *[]){u[0], kd_node_int(p->m, 12)}),
                *back = kd_node_new(p->m, N_ADD, 2, (kd_node *[]){v[0], kd_node_int(p->m, 12)});
        if (later && back && (same_value(p, later, v[0]) == KD_RIGHT || same_value(p, u[0], back) == KD_RIGHT))
            return say(p, KD_UNKNOWN, "twelve hours apart");
    }
    kd_node *l = kd_node_new(p->m, N_MUL, 2, (kd_node *[]){u[0], v[1]}), *r = kd_node_new(p->m, N_MUL, 2, (kd_node *[]){u[1], v[0]});
    if (!l || !r) return say(p, KD_UNKNOWN, "too large");
    return same_value(p, l, r);
}

/* Value of a numeral of digits in a base of two to ten; -1 if it is none or too long. */
static long numeral(const kd_node *n) {
    if (n->kind == N_NUM) return n->scale == 0 && n->text.len < 16 ? strtol(n->text.data, NULL, 10) : -1;
    if (n->kid[0]->kind != N_NUM || n->kid[1]->kind != N_NUM || n->kid[1]->text.len > 2 || n->kid[0]->scale != 0) return -1;
    const long b = strtol(n->kid[1]->text.data, NULL, 10);
    long v = 0;
    for (size_t i = 0; i < n->kid[0]->text.len; i++) {
        const int d = n->kid[0]->text.data[i] - '0';
        if (b < 2 || b > 10 || d >= b || v > (1L << 50)) return -1;
        v = v * b + d;
    }
    return v;
}

static kd_verdict numerals(kd_pair *p, kd_node *a, kd_node *g) {
    const kd_node *da = a->kind == N_BASE ? a->kid[0] : a, *dg = g->kind == N_BASE ? g->kid[0] : g;
    if (da->kind != N_NUM || dg->kind != N_NUM) return say(p, KD_UNKNOWN, "a numeral of another base");
    if (a->kind == N_BASE && g->kind == N_BASE && same_value(p, a->kid[1], g->kid[1]) == KD_RIGHT)
        return same_value(p, (kd_node *)(uintptr_t)da, (kd_node *)(uintptr_t)dg);
    if (a->kind != g->kind && kd_str_eq(da->text, dg->text)) return say(p, KD_RIGHT, "the same digits, the base left out");
    const long x = numeral(a), y = numeral(g);
    if (x < 0 || y < 0 || x == y) return say(p, KD_UNKNOWN, "numerals of two bases");
    return say(p, KD_WRONG, "another number");
}

static kd_verdict matrices(kd_pair *p, kd_node *a, kd_node *g) {
    const bool vector = g->kind == N_MATRIX ? g->rows == 1 || g->rows == g->n : a->kind == N_MATRIX && (a->rows == 1 || a->rows == a->n);
    if (a->kind == N_MATRIX && g->kind == N_MATRIX) {
        if (a->n != g->n || a->rows != g->rows) return say(p, KD_WRONG, "a matrix of another shape");
    } else if (!vector || (a->kind != N_MATRIX && a->kind != N_TUPLE && a->kind != N_LIST) ||
               (g->kind != N_MATRIX && g->kind != N_TUPLE && g->kind != N_LIST)) {
        return say(p, KD_UNKNOWN, "a matrix against something else");
    }
    return ordered(p, a->kid, a->n, g->kid, g->n);
}

/* Two numbers in a row: the gold one with a space in it, perhaps; else nothing that could be right. */
static kd_verdict juxtaposed(kd_pair *p, const kd_node *a, const kd_node *g) {
    const kd_node *x = a->kid[0], *y = a->kid[1];
    const bool join = x->kind == N_NUM && y->kind == N_NUM && g->kind == N_NUM && x->text.len + y->text.len == g->text.len &&
                      memcmp(x->text.data, g->text.data, x->text.len) == 0 &&
                      memcmp(y->text.data, g->text.data + x->text.len, y->text.len) == 0;
    return join ? say(p, KD_UNKNOWN, "a number with a space in it") : say(p, KD_WRONG, "two numbers");
}

/* 3,5 where a comma parts decimals. */
static kd_verdict decimal_comma(kd_pair *p, const kd_node *a, kd_node *g) {
    const kd_node *w = a->kid[0], *f = a->kid[1];
    if (!a->tight || w->kind != N_NUM || f->kind != N_NUM || w->scale || f->scale) return say(p, KD_WRONG, "another count");
    kd_node *tail = kd_node_new(p->m, N_NUM, 0, NULL);
    if (!tail) return say(p, KD_UNKNOWN, "too large");
    tail->text = f->text;
    tail->scale = (int)f->text.len;
    kd_node *x = kd_node_new(p->m, N_ADD, 2, (kd_node *[]){(kd_node *)(uintptr_t)w, tail});
    if (x && same_value(p, x, g) == KD_RIGHT) return say(p, KD_RIGHT, "the same number, with a decimal comma");
    return say(p, KD_WRONG, "another count");
}

static bool no_solution(const kd_node *n) {
    static const char *const words[] = {"no solution",      "no solutions", "none",         "no real solutions",
                                        "no real solution", "empty set",    "the empty set"};
    for (size_t i = 0; n->kind == N_TEXT && i < sizeof words / sizeof *words; i++)
        if (kd_str_is(n->text, words[i])) return true;
    return n->kind == N_EMPTY;
}

static bool is_inf(const kd_node *n) { return n->kind == N_INF || (n->kind == N_NEG && n->kid[0]->kind == N_INF); }
static bool collection(const kd_node *n) { return n->kind == N_LIST || n->kind == N_SET || n->kind == N_TUPLE; }

static kd_verdict pieces(kd_pair *p, kd_node *a, kd_node *g) {
    kd_pieces x, y;
    const bool ra = kd_pieces_read(p->m, &x, a), rg = kd_pieces_read(p->m, &y, g);
    if (ra && rg) {
        const kd_verdict v = kd_pieces_equal(&x, &y);
        return say(p, v, v == KD_RIGHT ? "the same set" : v == KD_WRONG ? "another set" : "ends that cannot be compared");
    }
    if (a->kind == N_TUPLE && g->kind == N_TUPLE) return lists(p, a, g);
    if (rg && kd_node_scalar(a) && !kd_node_has(a, N_NAME)) return say(p, KD_WRONG, "a number for a set");
    if (a->kind == N_FIELD && g->kind == N_FIELD)
        return kd_str_eq(a->text, g->text) ? say(p, KD_RIGHT, "the same set") : say(p, KD_WRONG, "another set");
    return say(p, KD_UNKNOWN, "sets that cannot be compared");
}

/* Kinds that are no arithmetic. *done false: not one of them. */
static kd_verdict odd_kinds(kd_pair *p, kd_node *a, kd_node *g, bool *done) {
    *done = true;
    if (a->kind == N_LIST && kd_node_scalar(g) && kd_node_has(a, N_TEXT)) return say(p, KD_UNKNOWN, "words among mathematics");
    if (no_solution(a) || no_solution(g))
        return no_solution(a) == no_solution(g) ? say(p, KD_RIGHT, "no solution") : say(p, KD_WRONG, "a solution against none");
    if (a->kind == N_TEXT && g->kind == N_TEXT) return kd_texts(p, a->text, g->text);
    if (interval_like(a) || interval_like(g)) return pieces(p, a, g);
    if (a->kind == N_TEXT || g->kind == N_TEXT) return say(p, KD_WRONG, "words against mathematics");
    if (is_inf(a) || is_inf(g)) {
        if (!is_inf(a) || !is_inf(g))
            return collection(a) || collection(g) ? say(p, KD_UNKNOWN, "an infinity") : say(p, KD_WRONG, "infinite against finite");
        return a->kind == g->kind ? say(p, KD_RIGHT, "the same infinity") : say(p, KD_WRONG, "the other infinity");
    }
    if (kd_node_has(a, N_RATIO) || kd_node_has(g, N_RATIO)) return ratios(p, a, g);
    if (a->kind == N_BASE || g->kind == N_BASE) return numerals(p, a, g);
    if (a->kind == N_JUXT || g->kind == N_JUXT)
        return a->kind == N_JUXT && g->kind != N_JUXT ? juxtaposed(p, a, g) : say(p, KD_UNKNOWN, "numbers in a row");
    if (a->kind == N_MATRIX || g->kind == N_MATRIX) return matrices(p, a, g);
    *done = false;
    return KD_UNKNOWN;
}

/* 3/4 or 75%: each of them is the gold one. */
static bool said_twice(kd_pair *p, const kd_node *a, kd_node *g) {
    for (int i = 0; i < a->n; i++)
        if (equal(p, a->kid[i], g) != KD_RIGHT) return false;
    return true;
}

static kd_verdict equal_in(kd_pair *p, kd_node *a, kd_node *g) {
    bool done;
    if (a->kind == N_APPROX || g->kind == N_APPROX) {
        const kd_verdict v = equal(p, a->kind == N_APPROX ? a->kid[0] : a, g->kind == N_APPROX ? g->kid[0] : g);
        return v == KD_WRONG ? v : say(p, KD_UNKNOWN, "about, not exactly");
    }
    if (a->kind == N_REL && a->n == 2 && a->ops[0] == TOK_APPROX && a->kid[0]->kind != N_NAME && equal(p, a->kid[0], g) == KD_RIGHT)
        return say(p, KD_RIGHT, "the same, an approximation behind it");
    if (a->kind == N_REL && a->n == 2 && a->ops[0] == TOK_APPROX)
        return equal(p, a->kid[1], g) == KD_WRONG ? KD_WRONG : say(p, KD_UNKNOWN, "about, not exactly");
    if (equation(a) && equation(g)) return equations(p, a, g);
    a = g->kind == N_REL && g->ops[0] == TOK_EQ && a->kind == N_REL ? a : bare(p, a);
    g = a->kind == N_REL && a->ops[0] == TOK_EQ ? g : bare(p, g);
    if (kd_node_has(g, N_EMPTY) + kd_node_has(a, N_EMPTY) == 0 && (kd_node_has(a, N_PM) || kd_node_has(g, N_PM))) return lists(p, a, g);
    const kd_verdict v = odd_kinds(p, a, g, &done);
    if (done) return v;
    if (a->kind == N_LIST && a->any_or && kd_node_scalar(g) && said_twice(p, a, g)) return say(p, KD_RIGHT, "the same, said twice");
    if (collection(a) && !collection(g) && a->kind == N_LIST && a->n == 2 && kd_node_scalar(g)) return decimal_comma(p, a, g);
    if (collection(a) || collection(g)) return lists(p, a, g);
    if (kd_node_scalar(a) && kd_node_scalar(g)) return scalar(p, a, g);
    return say(p, KD_UNKNOWN, "different kinds of answer");
}

static kd_verdict equal(kd_pair *p, kd_node *a, kd_node *g) {
    if (++p->depth > 20) return say(p, KD_UNKNOWN, "too large");
    const kd_verdict v = equal_in(p, a, g);
    p->depth--;
    return v;
}

kd_verdict kd_nodes_equal(kd_pair *p, kd_node *a, kd_node *g) { return equal(p, a, g); }
