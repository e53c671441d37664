/* datasets/math_rat.c - constants compared exactly over the rationals, within a bound on digits. Leans on math_int.h, GMP.
 * The one file that includes gmp.h. */
#include "datasets/math_int.h"

#include <gmp.h>
#include <string.h>

enum { MOST_BITS = 4096 /* 1233 digits: 5^5^5 has 2185 */, MOST_FACTORIAL = 400, MOST_BINOMIAL = 3000 };

/* Bits of a number; what an operation may need is known before it is done. */
static size_t bits(const mpq_t q) { return mpz_sizeinbase(mpq_numref(q), 2) + mpz_sizeinbase(mpq_denref(q), 2); }

static kd_val eval(mpq_t out, const kd_node *n, const kd_point *pt);

static kd_val read_num(mpq_t out, const kd_node *n) {
    char s[KD_MATH_TEXT + 8];
    if (n->text.len == 0 || n->text.len > KD_MATH_TEXT) return VAL_LARGE;
    const long down = n->scale > 0 ? n->scale : 0, up = n->scale < 0 ? -n->scale : 0;
    if (n->text.len < 19) { /* in one word */
        unsigned long v = 0;
        for (size_t i = 0; i < n->text.len; i++) v = v * 10 + (unsigned long)(n->text.data[i] - '0');
        mpq_set_ui(out, v, 1);
    } else {
        memcpy(s, n->text.data, n->text.len);
        s[n->text.len] = 0;
        mpz_set_str(mpq_numref(out), s, 10);
        mpz_set_ui(mpq_denref(out), 1);
    }
    if (up) {
        mpz_t ten;
        mpz_init(ten);
        mpz_ui_pow_ui(ten, 10, (unsigned long)up);
        mpz_mul(mpq_numref(out), mpq_numref(out), ten);
        mpz_clear(ten);
    }
    if (down) {
        mpz_ui_pow_ui(mpq_denref(out), 10, (unsigned long)down);
        mpq_canonicalize(out);
    }
    return VAL_OK;
}

/* a^(num/den) where the root is exact; otherwise VAL_NOT. */
static kd_val power(mpq_t out, const mpq_t a, const mpq_t b) {
    if (!mpz_fits_slong_p(mpq_numref(b)) || !mpz_fits_ulong_p(mpq_denref(b))) {
        if (mpq_sgn(a) == 0 || mpq_cmp_ui(a, 1, 1) == 0) {
            mpq_set(out, a);
            return mpq_sgn(a) == 0 && mpq_sgn(b) <= 0 ? VAL_UNDEFINED : VAL_OK;
        }
        return VAL_LARGE;
    }
    long e = mpz_get_si(mpq_numref(b));
    const unsigned long r = mpz_get_ui(mpq_denref(b));
    mpq_set(out, a);
    if (e == 0) {
        mpq_set_ui(out, 1, 1);
        return mpq_sgn(a) == 0 ? VAL_UNDEFINED : VAL_OK;
    }
    if (mpq_sgn(a) == 0) return e > 0 ? VAL_OK : VAL_UNDEFINED;
    if (r > 1) {
        if (r > 1000) return VAL_NOT;
        if (mpq_sgn(a) < 0 && r % 2 == 0) return VAL_NOT;
        if (!mpz_root(mpq_numref(out), mpq_numref(out), r) || !mpz_root(mpq_denref(out), mpq_denref(out), r)) return VAL_NOT;
    }
    if (e < 0) {
        mpq_inv(out, out);
        e = -e;
    }
    if (mpz_cmpabs_ui(mpq_numref(out), 1) == 0 && mpz_cmp_ui(mpq_denref(out), 1) == 0) { /* 1, -1 */
        if (mpq_sgn(out) < 0 && e % 2 == 0) mpq_neg(out, out);
        return VAL_OK;
    }
    if ((unsigned long)e > MOST_BITS || bits(out) * (unsigned long)e > MOST_BITS) return VAL_LARGE;
    mpz_pow_ui(mpq_numref(out), mpq_numref(out), (unsigned long)e);
    mpz_pow_ui(mpq_denref(out), mpq_denref(out), (unsigned long)e);
    return VAL_OK;
}

static bool small_count(const mpq_t q, unsigned long *v) {
    if (mpz_cmp_ui(mpq_denref(q), 1) != 0 || mpq_sgn(q) < 0 || !mpz_fits_ulong_p(mpq_numref(q))) return false;
    *v = mpz_get_ui(mpq_numref(q));
    return true;
}

static kd_val two(mpq_t out, const kd_node *n, const mpq_t a, const mpq_t b) {
    unsigned long i, k;
    switch (n->kind) {
    case N_ADD: mpq_add(out, a, b); return VAL_OK;
    case N_MUL: mpq_mul(out, a, b); return VAL_OK;
    case N_DIV:
        if (mpq_sgn(b) == 0) return VAL_UNDEFINED;
        mpq_div(out, a, b);
        return VAL_OK;
    case N_POW: return power(out, a, b);
    case N_ROOT: {
        if (mpq_sgn(b) <= 0) return VAL_UNDEFINED;
        mpq_t inv;
        mpq_init(inv);
        mpq_inv(inv, b);
        const kd_val v = power(out, a, inv);
        mpq_clear(inv);
        return v;
    }
    case N_BINOM:
        if (!small_count(a, &i) || !small_count(b, &k)) return VAL_NOT;
        if (i > MOST_BINOMIAL) return VAL_LARGE;
        mpz_bin_uiui(mpq_numref(out), i, k);
        mpz_set_ui(mpq_denref(out), 1);
        return VAL_OK;
    default: return VAL_NOT;
    }
}

static kd_val one(mpq_t out, const kd_node *n, const mpq_t a) {
    unsigned long k;
    switch (n->kind) {
    case N_NEG: mpq_neg(out, a); return VAL_OK;
    case N_ABS: mpq_abs(out, a); return VAL_OK;
    case N_PERCENT:
        mpq_set_ui(out, 100, 1);
        mpq_div(out, a, out);
        return VAL_OK;
    case N_FACT:
        if (!small_count(a, &k)) return VAL_NOT;
        if (k > MOST_FACTORIAL) return VAL_LARGE;
        mpz_fac_ui(mpq_numref(out), k);
        mpz_set_ui(mpq_denref(out), 1);
        return VAL_OK;
    case N_UNIT: mpq_set(out, a); return VAL_OK;
    default: return VAL_NOT;
    }
}

static kd_val eval(mpq_t out, const kd_node *n, const kd_point *pt) {
    if (n->kind == N_NUM) return read_num(out, n);
    if (n->kind == N_NAME) {
        for (int i = 0; pt && i < pt->n; i++)
            if (kd_str_eq(pt->name[i], n->text)) {
                mpq_set_si(out, pt->num[i], (unsigned long)pt->den[i]);
                mpq_canonicalize(out);
                return VAL_OK;
            }
        return VAL_NOT;
    }
    if (n->n < 1 || n->n > 2 || n->kind == N_FUNC || n->kind == N_DEGREE) return VAL_NOT;
    mpq_t a, b;
    mpq_inits(a, b, NULL);
    kd_val v = eval(a, n->kid[0], pt);
    if (v == VAL_OK && n->n == 2) v = eval(b, n->kid[1], pt);
    if (v == VAL_OK && bits(a) + bits(b) > 4 * MOST_BITS) v = VAL_LARGE;
    if (v == VAL_OK) v = n->n == 2 ? two(out, n, a, b) : one(out, n, a);
    mpq_clears(a, b, NULL);
    return v;
}

kd_val kd_rat_cmp(const kd_node *a, const kd_node *b, const kd_point *p, int *sign) {
    mpq_t x, y;
    mpq_inits(x, y, NULL);
    kd_val v = eval(x, a, p);
    if (v == VAL_OK) v = eval(y, b, p);
    if (v == VAL_OK) {
        const int c = mpq_cmp(x, y);
        *sign = (c > 0) - (c < 0);
    }
    mpq_clears(x, y, NULL);
    return v;
}
