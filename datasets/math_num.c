/* datasets/math_num.c - expressions with roots, logarithms, angles, pi and i, to 2000 bits. Leans on math_int.h, MPFR.
 * The one file that includes mpfr.h. Numbers that agree to 1900 bits are taken for equal: no two different answers of a page come that near. */
#include "datasets/math_int.h"

#include <mpfr.h>
#include <string.h>

enum { BITS = 2048, EQUAL = -1900, APART = -1400, MOST_EXP = 20000 };
#define RND MPFR_RNDN

typedef struct {
    mpfr_t re, im;
} cnum;
typedef struct {
    const kd_point *pt;
    bool complex;
    long seen; /* largest exponent met: how much may have cancelled */
} scope;

static void c_init(cnum *z) {
    mpfr_init2(z->re, BITS);
    mpfr_init2(z->im, BITS);
    mpfr_set_zero(z->re, 1);
    mpfr_set_zero(z->im, 1);
}

static void c_clear(cnum *z) {
    mpfr_clear(z->re);
    mpfr_clear(z->im);
}

static void c_set(cnum *z, const cnum *a) {
    mpfr_set(z->re, a->re, RND);
    mpfr_set(z->im, a->im, RND);
}

static bool real(const cnum *z) { return mpfr_zero_p(z->im); }

static kd_val check(scope *s, const cnum *z) {
    if (!mpfr_number_p(z->re) || !mpfr_number_p(z->im)) return VAL_UNDEFINED;
    const mpfr_srcptr part[2] = {z->re, z->im};
    for (int i = 0; i < 2; i++)
        if (!mpfr_zero_p(part[i])) {
            const long e = (long)mpfr_get_exp(part[i]);
            if (e > MOST_EXP || e < -MOST_EXP) return VAL_LARGE;
            if (e > s->seen) s->seen = e;
        }
    return VAL_OK;
}

static void c_mul(cnum *z, const cnum *a, const cnum *b) {
    if (real(a) && real(b)) {
        mpfr_mul(z->re, a->re, b->re, RND);
        mpfr_set_zero(z->im, 1);
        return;
    }
    cnum t;
    c_init(&t);
    mpfr_fmms(t.re, a->re, b->re, a->im, b->im, RND);
    mpfr_fmma(t.im, a->re, b->im, a->im, b->re, RND);
    c_set(z, &t);
    c_clear(&t);
}

static kd_val c_div(cnum *z, const cnum *a, const cnum *b) {
    if (mpfr_zero_p(b->re) && mpfr_zero_p(b->im)) return VAL_UNDEFINED;
    if (real(a) && real(b)) {
        mpfr_div(z->re, a->re, b->re, RND);
        mpfr_set_zero(z->im, 1);
        return VAL_OK;
    }
    cnum conj, t;
    mpfr_t norm;
    c_init(&conj);
    c_init(&t);
    mpfr_init2(norm, BITS);
    mpfr_set(conj.re, b->re, RND);
    mpfr_neg(conj.im, b->im, RND);
    mpfr_fmma(norm, b->re, b->re, b->im, b->im, RND);
    c_mul(&t, a, &conj);
    mpfr_div(z->re, t.re, norm, RND);
    mpfr_div(z->im, t.im, norm, RND);
    mpfr_clear(norm);
    c_clear(&conj);
    c_clear(&t);
    return VAL_OK;
}

static void c_exp(cnum *z, const cnum *a) {
    mpfr_t r, s, c;
    mpfr_inits2(BITS, r, s, c, (mpfr_ptr)0);
    mpfr_exp(r, a->re, RND);
    if (real(a)) {
        mpfr_set(z->re, r, RND);
        mpfr_set_zero(z->im, 1);
    } else {
        mpfr_sin_cos(s, c, a->im, RND);
        mpfr_mul(z->re, r, c, RND);
        mpfr_mul(z->im, r, s, RND);
    }
    mpfr_clears(r, s, c, (mpfr_ptr)0);
}

static kd_val c_log(scope *s, cnum *z, const cnum *a) {
    if (mpfr_zero_p(a->re) && mpfr_zero_p(a->im)) return VAL_UNDEFINED;
    if (real(a) && mpfr_sgn(a->re) > 0) {
        mpfr_log(z->re, a->re, RND);
        mpfr_set_zero(z->im, 1);
        return VAL_OK;
    }
    if (!s->complex) return VAL_UNDEFINED;
    mpfr_t m;
    mpfr_init2(m, BITS);
    mpfr_hypot(m, a->re, a->im, RND);
    mpfr_atan2(z->im, a->im, a->re, RND);
    mpfr_log(z->re, m, RND);
    mpfr_clear(m);
    return VAL_OK;
}

static bool small_int(const cnum *b, long *v) {
    if (!real(b) || !mpfr_integer_p(b->re) || !mpfr_fits_slong_p(b->re, RND)) return false;
    *v = mpfr_get_si(b->re, RND);
    return *v >= -MOST_EXP && *v <= MOST_EXP;
}

/* Integer powers by squaring, so that they hold for negative and complex bases. */
static kd_val c_pow_int(scope *s, cnum *z, const cnum *a, long e) {
    cnum base, acc, unit;
    kd_val v = VAL_OK;
    c_init(&base);
    c_init(&acc);
    c_init(&unit);
    mpfr_set_ui(acc.re, 1, RND);
    mpfr_set_ui(unit.re, 1, RND);
    c_set(&base, a);
    for (unsigned long k = (unsigned long)(e < 0 ? -e : e); k && v == VAL_OK; k >>= 1) {
        if (k & 1) c_mul(&acc, &acc, &base);
        if (k > 1) c_mul(&base, &base, &base);
        v = check(s, &acc);
        if (v == VAL_OK && k > 1) v = check(s, &base);
    }
    if (v == VAL_OK && e < 0)
        v = c_div(z, &unit, &acc);
    else if (v == VAL_OK)
        c_set(z, &acc);
    c_clear(&base);
    c_clear(&acc);
    c_clear(&unit);
    return v;
}

static kd_val c_pow(scope *s, cnum *z, const cnum *a, const cnum *b) {
    long e;
    if (small_int(b, &e)) return e == 0 && mpfr_zero_p(a->re) && mpfr_zero_p(a->im) ? VAL_UNDEFINED : c_pow_int(s, z, a, e);
    if (real(a) && real(b) && mpfr_sgn(a->re) >= 0) {
        if (mpfr_zero_p(a->re) && mpfr_sgn(b->re) <= 0) return VAL_UNDEFINED;
        if (mpfr_get_exp(b->re) > 32) return VAL_LARGE;
        mpfr_pow(z->re, a->re, b->re, RND);
        mpfr_set_zero(z->im, 1);
        return VAL_OK;
    }
    cnum l;
    c_init(&l);
    kd_val v = c_log(s, &l, a);
    if (v == VAL_OK) {
        c_mul(&l, &l, b);
        if ((v = check(s, &l)) == VAL_OK) {
            if (mpfr_cmpabs_ui(l.re, MOST_EXP) > 0)
                v = VAL_LARGE;
            else
                c_exp(z, &l);
        }
    }
    c_clear(&l);
    return v;
}

/* The root of an odd degree of a negative real is real. */
static kd_val c_root(scope *s, cnum *z, const cnum *a, const cnum *degree) {
    long d;
    if (!small_int(degree, &d) || d < 1) return d == 0 ? VAL_UNDEFINED : VAL_NOT;
    if (real(a) && (mpfr_sgn(a->re) >= 0 || d % 2 == 1)) {
        mpfr_rootn_ui(z->re, a->re, (unsigned long)d, RND);
        mpfr_set_zero(z->im, 1);
        return VAL_OK;
    }
    if (!s->complex) return VAL_UNDEFINED;
    if (real(a) && d == 2) { /* exactly on the imaginary axis */
        mpfr_neg(z->im, a->re, RND);
        mpfr_sqrt(z->im, z->im, RND);
        mpfr_set_zero(z->re, 1);
        return VAL_OK;
    }
    cnum inv;
    c_init(&inv);
    mpfr_set_ui(inv.re, 1, RND);
    mpfr_div_si(inv.re, inv.re, d, RND);
    const kd_val v = c_pow(s, z, a, &inv);
    c_clear(&inv);
    return v;
}

typedef int real_fn(mpfr_ptr, mpfr_srcptr, mpfr_rnd_t);

static kd_val call(scope *s, cnum *z, const kd_str name, const cnum *a) {
    static const struct {
        const char *name;
        real_fn *fn;
    } list[] = {{"sin", mpfr_sin},   {"cos", mpfr_cos},     {"tan", mpfr_tan},     {"cot", mpfr_cot},     {"sec", mpfr_sec},
                {"csc", mpfr_csc},   {"arcsin", mpfr_asin}, {"arccos", mpfr_acos}, {"arctan", mpfr_atan}, {"asin", mpfr_asin},
                {"acos", mpfr_acos}, {"atan", mpfr_atan},   {"sinh", mpfr_sinh},   {"cosh", mpfr_cosh},   {"tanh", mpfr_tanh}};
    if (kd_str_is(name, "exp")) {
        if (mpfr_cmpabs_ui(a->re, MOST_EXP / 2) > 0) return VAL_LARGE;
        c_exp(z, a);
        return VAL_OK;
    }
    if (kd_str_is(name, "ln") || kd_str_is(name, "log")) return c_log(s, z, a);
    if (!real(a)) return VAL_NOT;
    if (!mpfr_zero_p(a->re) && mpfr_get_exp(a->re) > 64) return VAL_LARGE;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (kd_str_is(name, list[i].name)) {
            list[i].fn(z->re, a->re, RND);
            mpfr_set_zero(z->im, 1);
            return VAL_OK;
        }
    return VAL_NOT;
}

static kd_val eval(scope *s, cnum *z, const kd_node *n);

/* \log_b x; \lg and \log of no base: of ten where it says so, else natural (a gold answer and its candidate use one convention). */
static kd_val function(scope *s, cnum *z, const kd_node *n, const cnum *a, const cnum *b) {
    const bool lg = kd_str_is(n->text, "lg"), has_base = n->n == 2;
    if (!lg && !has_base) return call(s, z, n->text, a);
    if (!lg && !kd_str_is(n->text, "log")) return VAL_NOT;
    cnum top, bottom, ten;
    c_init(&top);
    c_init(&bottom);
    c_init(&ten);
    mpfr_set_ui(ten.re, 10, RND);
    kd_val v = c_log(s, &top, a);
    if (v == VAL_OK) v = c_log(s, &bottom, has_base ? b : &ten);
    if (v == VAL_OK) v = c_div(z, &top, &bottom);
    c_clear(&top);
    c_clear(&bottom);
    c_clear(&ten);
    return v;
}

static kd_val factorial(cnum *z, const cnum *a) {
    long k;
    if (!small_int(a, &k) || k < 0) return VAL_NOT;
    if (k > 3000) return VAL_LARGE;
    mpfr_fac_ui(z->re, (unsigned long)k, RND);
    return VAL_OK;
}

static kd_val binomial(cnum *z, const cnum *a, const cnum *b) {
    long n, k;
    if (!small_int(a, &n) || !small_int(b, &k) || n < 0 || k < 0) return VAL_NOT;
    if (n > 3000) return VAL_LARGE;
    mpfr_set_ui(z->re, k > n ? 0 : 1, RND);
    for (long i = 1; i <= k && k <= n; i++) {
        mpfr_mul_si(z->re, z->re, n - k + i, RND);
        mpfr_div_si(z->re, z->re, i, RND);
    }
    return VAL_OK;
}

static kd_val combine(scope *s, cnum *z, const kd_node *n, const cnum *a, const cnum *b) {
    switch (n->kind) {
    case N_ADD:
        mpfr_add(z->re, a->re, b->re, RND);
        mpfr_add(z->im, a->im, b->im, RND);
        return VAL_OK;
    case N_MUL: c_mul(z, a, b); return VAL_OK;
    case N_DIV: return c_div(z, a, b);
    case N_NEG:
        mpfr_neg(z->re, a->re, RND);
        if (!mpfr_zero_p(a->im)) mpfr_neg(z->im, a->im, RND);
        return VAL_OK;
    case N_POW: return c_pow(s, z, a, b);
    case N_ROOT: return c_root(s, z, a, b);
    case N_FUNC: return function(s, z, n, a, b);
    case N_ABS: mpfr_hypot(z->re, a->re, a->im, RND); return VAL_OK;
    case N_FACT: return factorial(z, a);
    case N_BINOM: return binomial(z, a, b);
    case N_PERCENT:
        mpfr_div_ui(z->re, a->re, 100, RND);
        mpfr_div_ui(z->im, a->im, 100, RND);
        return VAL_OK;
    case N_DEGREE:
        mpfr_const_pi(z->re, RND);
        mpfr_mul(z->re, z->re, a->re, RND);
        mpfr_div_ui(z->re, z->re, 180, RND);
        return real(a) ? VAL_OK : VAL_NOT;
    case N_UNIT: c_set(z, a); return VAL_OK;
    default: return VAL_NOT;
    }
}

static kd_val read_num(cnum *z, const kd_node *n) {
    char s[KD_MATH_TEXT + 32];
    if (n->text.len > KD_MATH_TEXT) return VAL_LARGE;
    memcpy(s, n->text.data, n->text.len);
    s[n->text.len] = 0;
    mpfr_set_str(z->re, s, 10, RND);
    cnum ten;
    c_init(&ten);
    mpfr_ui_pow_ui(ten.re, 10, (unsigned long)(n->scale < 0 ? -n->scale : n->scale), RND);
    if (n->scale > 0) mpfr_div(z->re, z->re, ten.re, RND);
    if (n->scale < 0) mpfr_mul(z->re, z->re, ten.re, RND);
    c_clear(&ten);
    return VAL_OK;
}

static kd_val leaf(scope *s, cnum *z, const kd_node *n) {
    switch (n->kind) {
    case N_NUM: return read_num(z, n);
    case N_PI: mpfr_const_pi(z->re, RND); return VAL_OK;
    case N_E:
        mpfr_set_ui(z->re, 1, RND);
        mpfr_exp(z->re, z->re, RND);
        return VAL_OK;
    case N_I:
        if (!s->complex) return VAL_UNDEFINED;
        mpfr_set_ui(z->im, 1, RND);
        return VAL_OK;
    case N_NAME:
        for (int i = 0; s->pt && i < s->pt->n; i++)
            if (kd_str_eq(s->pt->name[i], n->text)) {
                mpfr_set_si(z->re, s->pt->num[i], RND);
                mpfr_div_si(z->re, z->re, s->pt->den[i], RND);
                return VAL_OK;
            }
        return VAL_NOT;
    default: return VAL_NOT;
    }
}

static kd_val eval(scope *s, cnum *z, const kd_node *n) {
    cnum a, b;
    if (n->n == 0) {
        const kd_val v = leaf(s, z, n);
        return v == VAL_OK ? check(s, z) : v;
    }
    if (n->n > 2) return VAL_NOT;
    c_init(&a);
    c_init(&b);
    kd_val v = eval(s, &a, n->kid[0]);
    if (v == VAL_OK && n->n == 2) v = eval(s, &b, n->kid[1]);
    if (v == VAL_OK) v = combine(s, z, n, &a, &b);
    if (v == VAL_OK) v = check(s, z);
    c_clear(&a);
    c_clear(&b);
    return v;
}

/* *sign of a - b by how far they are apart, measured against the largest value met: 2 if they differ and one is not real. */
static kd_val decide(const scope *s, const cnum *a, const cnum *b, int *sign) {
    cnum d;
    long e = -1000000;
    c_init(&d);
    mpfr_sub(d.re, a->re, b->re, RND);
    mpfr_sub(d.im, a->im, b->im, RND);
    if (!mpfr_zero_p(d.re)) e = (long)mpfr_get_exp(d.re);
    if (!mpfr_zero_p(d.im) && (long)mpfr_get_exp(d.im) > e) e = (long)mpfr_get_exp(d.im);
    const long apart = e - (s->seen > 0 ? s->seen : 0);
    const bool on_line = mpfr_zero_p(d.im) || (long)mpfr_get_exp(d.im) - (s->seen > 0 ? s->seen : 0) < EQUAL;
    *sign = apart < EQUAL ? 0 : on_line ? mpfr_sgn(d.re) : 2;
    c_clear(&d);
    return apart >= EQUAL && apart < APART ? VAL_CLOSE : VAL_OK;
}

kd_val kd_num_cmp(const kd_node *a, const kd_node *b, const kd_point *p, bool complex, int *sign) {
    cnum x, y;
    scope s = {.pt = p, .complex = complex};
    c_init(&x);
    c_init(&y);
    kd_val v = eval(&s, &x, a);
    if (v == VAL_OK) v = eval(&s, &y, b);
    if (v == VAL_OK) v = decide(&s, &x, &y, sign);
    c_clear(&x);
    c_clear(&y);
    mpfr_free_cache2(MPFR_FREE_LOCAL_CACHE); /* threads come and go; what they remember of pi must not outlive them */
    return v;
}

kd_val kd_num_same_ratio(const kd_node *a, const kd_node *b, const kd_point *p, const kd_point *q, bool *same) {
    cnum x[4];
    scope s = {.pt = p};
    kd_val v = VAL_OK;
    int sign = 2;
    for (int i = 0; i < 4; i++) c_init(&x[i]);
    for (int i = 0; i < 4 && v == VAL_OK; i++) {
        s.pt = i < 2 ? p : q;
        v = eval(&s, &x[i], i % 2 ? b : a);
    }
    if (v == VAL_OK) { /* a(p) b(q) = a(q) b(p) */
        c_mul(&x[0], &x[0], &x[3]);
        c_mul(&x[1], &x[1], &x[2]);
        if ((v = check(&s, &x[0])) == VAL_OK && (v = check(&s, &x[1])) == VAL_OK) v = decide(&s, &x[0], &x[1], &sign);
    }
    *same = sign == 0;
    for (int i = 0; i < 4; i++) c_clear(&x[i]);
    mpfr_free_cache2(MPFR_FREE_LOCAL_CACHE);
    return v;
}
