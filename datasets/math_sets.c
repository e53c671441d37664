/* datasets/math_sets.c - intervals, unions and inequalities of one unknown, as sorted pieces of the line. Leans on math_int.h. */
#include "datasets/math_int.h"

#include <string.h>

kd_val kd_const_cmp(const kd_node *a, const kd_node *b, int *sign) {
    kd_val v = kd_rat_cmp(a, b, NULL, sign);
    if (v == VAL_NOT) v = kd_num_cmp(a, b, NULL, false, sign);
    if (v == VAL_UNDEFINED) v = kd_num_cmp(a, b, NULL, true, sign);
    return v;
}

/* -1, 1 for an infinity, else 0. */
static int infinite(const kd_node *n) {
    if (n->kind == N_INF) return 1;
    return n->kind == N_NEG && n->kid[0]->kind == N_INF ? -1 : 0;
}

static bool end_cmp(const kd_node *a, const kd_node *b, int *sign) {
    const int x = infinite(a), y = infinite(b);
    if (x || y) {
        *sign = (x > y) - (x < y);
        return true;
    }
    return kd_const_cmp(a, b, sign) == VAL_OK && *sign != 2;
}

static kd_node *minus_inf(kd_math *m) {
    kd_node *x = kd_node_new(m, N_INF, 0, NULL);
    return x ? kd_node_new(m, N_NEG, 1, &x) : NULL;
}

static bool add(kd_pieces *p, kd_node *lo, kd_node *hi, bool lo_closed, bool hi_closed) {
    int c;
    if (!lo || !hi || p->n == 16 || !end_cmp(lo, hi, &c)) return false;
    if (c > 0 || (c == 0 && !(lo_closed && hi_closed))) return true; /* empty */
    p->piece[p->n++] = (kd_piece){lo, hi, lo_closed && !infinite(lo), hi_closed && !infinite(hi)};
    return true;
}

static bool constant(const kd_node *n) { return infinite(n) || (kd_node_scalar(n) && !kd_node_has(n, N_NAME)); }

/* ---- inequalities ---- */
static kd_node *minus(kd_math *m, kd_node *a, kd_node *b) {
    kd_node *nb = a && b ? kd_node_new(m, N_NEG, 1, &b) : NULL;
    return nb ? kd_node_new(m, N_ADD, 2, (kd_node *[]){a, nb}) : NULL;
}

/* Where a - b, linear in name, is zero; *rising: the sign of its slope. NULL if it is not linear. */
static kd_node *zero_of(kd_math *m, kd_node *a, kd_node *b, kd_str name, int *rising) {
    int c;
    kd_node *f[3], *nothing = kd_node_int(m, 0), *d = minus(m, a, b);
    if (a->kind == N_NAME && constant(b)) {
        *rising = 1;
        return b;
    }
    for (int i = 0; i < 3; i++) {
        kd_node *v = kd_node_int(m, i == 2 ? -7 : i);
        if (!d || !v || !nothing || !(f[i] = kd_node_put(m, d, name, v))) return NULL;
    }
    kd_node *slope = minus(m, f[1], f[0]), *run = minus(m, f[2], f[0]);
    kd_node *there = slope && run ? kd_node_new(m, N_MUL, 2, (kd_node *[]){kd_node_int(m, -7), slope}) : NULL;
    if (!there || kd_const_cmp(run, there, &c) != VAL_OK || c != 0) return NULL;
    if (kd_const_cmp(slope, nothing, rising) != VAL_OK || *rising == 0 || *rising == 2) return NULL;
    kd_node *q = kd_node_new(m, N_DIV, 2, (kd_node *[]){f[0], slope});
    return q ? kd_node_new(m, N_NEG, 1, &q) : NULL;
}

static bool below(unsigned char op) { return op == TOK_LT || op == TOK_LE; }

/* a op b for one unknown. */
static bool half(kd_math *m, kd_pieces *out, kd_node *a, kd_node *b, unsigned char op, kd_str name) {
    int rising;
    kd_node *at = zero_of(m, a, b, name, &rising), *inf = kd_node_new(m, N_INF, 0, NULL);
    if (!at) return false;
    const bool closed = op == TOK_LE || op == TOK_GE, left = below(op) == (rising > 0);
    if (op == TOK_NE) return add(out, minus_inf(m), at, false, false) && add(out, at, inf, false, false);
    return left ? add(out, minus_inf(m), at, false, closed) : add(out, at, inf, closed, false);
}

/* |a| op c. */
static bool absolute(kd_math *m, kd_pieces *out, kd_node *a, kd_node *c, unsigned char op, kd_str name) {
    kd_node *neg = kd_node_new(m, N_NEG, 1, &c);
    int rising;
    kd_node *hi = zero_of(m, a, c, name, &rising), *lo = neg ? zero_of(m, a, neg, name, &rising) : NULL;
    if (!hi || !lo || op == TOK_NE) return false;
    if (rising < 0) {
        kd_node *t = lo;
        lo = hi;
        hi = t;
    }
    const bool closed = op == TOK_LE || op == TOK_GE;
    if (below(op)) return add(out, lo, hi, closed, closed);
    return add(out, minus_inf(m), lo, false, closed) && add(out, hi, kd_node_new(m, N_INF, 0, NULL), closed, false);
}

static unsigned char turned(unsigned char op) {
    return op == TOK_LT ? TOK_GT : op == TOK_GT ? TOK_LT : op == TOK_LE ? TOK_GE : op == TOK_GE ? TOK_LE : op;
}

static bool read_into(kd_math *m, kd_pieces *out, const kd_node *n);

static bool chain(kd_math *m, kd_pieces *out, const kd_node *n, kd_str name) {
    kd_pieces a = {0}, b = {0};
    if (below(n->ops[0]) != below(n->ops[1]) || n->ops[0] == TOK_NE || n->ops[1] == TOK_NE) return false;
    if (!half(m, &a, n->kid[1], n->kid[0], turned(n->ops[0]), name) || !half(m, &b, n->kid[1], n->kid[2], n->ops[1], name) || a.n != 1 ||
        b.n != 1)
        return false;
    const kd_piece *lo = infinite(a.piece[0].hi) ? &a.piece[0] : &b.piece[0], *hi = lo == &a.piece[0] ? &b.piece[0] : &a.piece[0];
    return add(out, lo->lo, hi->hi, lo->lo_closed, hi->hi_closed);
}

static bool relation(kd_math *m, kd_pieces *out, const kd_node *n) {
    kd_point names = {0};
    for (int i = 0; i < n->n - 1; i++)
        if (n->ops[i] == TOK_EQ || n->ops[i] == TOK_APPROX) return false;
    if (n->n == 2 && n->ops[0] == TOK_IN) return read_into(m, out, n->kid[1]);
    for (int i = 0; i < n->n; i++)
        if (!kd_node_scalar(n->kid[i]) && !infinite(n->kid[i])) return false;
    if (!kd_point_names(&names, n) || names.n != 1) return false;
    if (n->n == 3) return chain(m, out, n, names.name[0]);
    if (n->n != 2) return false;
    if (n->kid[0]->kind == N_ABS && constant(n->kid[1])) return absolute(m, out, n->kid[0]->kid[0], n->kid[1], n->ops[0], names.name[0]);
    if (n->kid[1]->kind == N_ABS && constant(n->kid[0]))
        return absolute(m, out, n->kid[1]->kid[0], n->kid[0], turned(n->ops[0]), names.name[0]);
    if (n->kid[1]->kind == N_NAME) return half(m, out, n->kid[1], n->kid[0], turned(n->ops[0]), names.name[0]);
    return half(m, out, n->kid[0], n->kid[1], n->ops[0], names.name[0]);
}

/* Both at once. */
static bool meet(kd_pieces *out, const kd_pieces *a, const kd_pieces *b) {
    *out = (kd_pieces){0};
    for (int i = 0; i < a->n; i++)
        for (int k = 0; k < b->n; k++) {
            const kd_piece *x = &a->piece[i], *y = &b->piece[k];
            int lo, hi;
            if (!end_cmp(x->lo, y->lo, &lo) || !end_cmp(x->hi, y->hi, &hi)) return false;
            const bool lo_closed = lo > 0 ? x->lo_closed : lo < 0 ? y->lo_closed : x->lo_closed && y->lo_closed;
            const bool hi_closed = hi < 0 ? x->hi_closed : hi > 0 ? y->hi_closed : x->hi_closed && y->hi_closed;
            if (!add(out, lo > 0 ? x->lo : y->lo, hi < 0 ? x->hi : y->hi, lo_closed, hi_closed)) return false;
        }
    return true;
}

/* x > 2 and x <= 5: inequalities of one unknown that hold together. */
static bool together(kd_math *m, kd_pieces *out, const kd_node *n) {
    kd_point names = {0};
    kd_pieces all = {0}, one, both;
    if (!kd_point_names(&names, n) || names.n != 1 || n->n > 4) return false;
    for (int i = 0; i < n->n; i++) {
        one = (kd_pieces){0};
        if (n->kid[i]->kind != N_REL || n->kid[i]->ops[0] == TOK_EQ || !read_into(m, &one, n->kid[i])) return false;
        if (i == 0) {
            all = one;
            continue;
        }
        if (!meet(&both, &all, &one)) return false;
        all = both;
    }
    if (out->n + all.n > 16) return false;
    for (int i = 0; i < all.n; i++) out->piece[out->n++] = all.piece[i];
    return true;
}

static bool read_into(kd_math *m, kd_pieces *out, const kd_node *n) {
    switch (n->kind) {
    case N_TUPLE:
        return n->n == 2 && constant(n->kid[0]) && constant(n->kid[1]) && add(out, n->kid[0], n->kid[1], n->open == '[', n->close == '[');
    case N_CUP: return read_into(m, out, n->kid[0]) && read_into(m, out, n->kid[1]);
    case N_BUILDER: return read_into(m, out, n->kid[0]);
    case N_REL: return relation(m, out, n);
    case N_EMPTY: return true;
    case N_FIELD: return kd_str_is(n->text, "R") && add(out, minus_inf(m), kd_node_new(m, N_INF, 0, NULL), false, false);
    case N_TEXT:
        if (!kd_str_is(n->text, "all real numbers") && !kd_str_is(n->text, "all reals") && !kd_str_is(n->text, "real numbers"))
            return false;
        return add(out, minus_inf(m), kd_node_new(m, N_INF, 0, NULL), false, false);
    case N_SET:
        for (int i = 0; i < n->n; i++)
            if (!constant(n->kid[i]) || !add(out, n->kid[i], n->kid[i], true, true)) return false;
        return true;
    case N_LIST:
        if (!n->any_or) return together(m, out, n);
        for (int i = 0; i < n->n; i++)
            if (!n->any_or || n->kid[i]->kind != N_REL || !read_into(m, out, n->kid[i])) return false;
        return true;
    default: return false;
    }
}

/* Sorted by where they begin; pieces that meet become one. */
static bool tidy(kd_pieces *p) {
    int c;
    for (int i = 1; i < p->n; i++)
        for (int k = i; k > 0; k--) {
            if (!end_cmp(p->piece[k - 1].lo, p->piece[k].lo, &c)) return false;
            if (c < 0 || (c == 0 && p->piece[k - 1].lo_closed >= p->piece[k].lo_closed)) break;
            const kd_piece t = p->piece[k];
            p->piece[k] = p->piece[k - 1];
            p->piece[k - 1] = t;
        }
    int n = 0;
    for (int i = 1; i < p->n; i++) {
        kd_piece *last = &p->piece[n];
        const kd_piece *next = &p->piece[i];
        if (!end_cmp(next->lo, last->hi, &c)) return false;
        if (c > 0 || (c == 0 && !next->lo_closed && !last->hi_closed)) {
            p->piece[++n] = *next;
            continue;
        }
        if (!end_cmp(next->hi, last->hi, &c)) return false;
        if (c > 0) {
            last->hi = next->hi;
            last->hi_closed = next->hi_closed;
        } else if (c == 0) {
            last->hi_closed |= next->hi_closed;
        }
    }
    if (p->n) p->n = n + 1;
    return true;
}

bool kd_pieces_read(kd_math *m, kd_pieces *out, const kd_node *n) {
    *out = (kd_pieces){0};
    return read_into(m, out, n) && tidy(out);
}

kd_verdict kd_pieces_equal(const kd_pieces *a, const kd_pieces *b) {
    int c;
    if (a->n != b->n) return KD_WRONG;
    for (int i = 0; i < a->n; i++) {
        const kd_piece *x = &a->piece[i], *y = &b->piece[i];
        if (!end_cmp(x->lo, y->lo, &c)) return KD_UNKNOWN;
        if (c) return KD_WRONG;
        if (!end_cmp(x->hi, y->hi, &c)) return KD_UNKNOWN;
        if (c || x->lo_closed != y->lo_closed || x->hi_closed != y->hi_closed) return KD_WRONG;
    }
    return KD_RIGHT;
}
