/* datasets/math_parse.c - tokens of an answer made into a tree. Recursive descent, bounded in depth and nodes. Leans on math_int.h.
 *   list := rel ((, | ; | and | or) rel)*      rel := sum ((= | < | ...) sum)*       sum := term ((+ | - | +-) term)*
 *   term := power ((* | / | nothing) power)*   power := base (^ base)? (! | % | degree | unit)* */
#include "datasets/math_int.h"

#include <string.h>

typedef struct {
    kd_math *m;
    const kd_tok *t;
    int depth;
    int bars; /* |...| open: a bar then closes */
} parser;

static kd_node *make1(parser *p, kd_node_kind k, kd_node *a) { return a ? kd_node_new(p->m, k, 1, (kd_node *[]){a}) : NULL; }
static kd_node *make2(parser *p, kd_node_kind k, kd_node *a, kd_node *b) {
    return a && b ? kd_node_new(p->m, k, 2, (kd_node *[]){a, b}) : NULL;
}

static kd_node *make_text(parser *p, kd_node_kind k, kd_str s) {
    kd_node *x = kd_node_new(p->m, k, 0, NULL);
    if (x) x->text = s;
    return x;
}

static kd_node *list(parser *p);
static kd_node *power(parser *p);
static kd_node *sum(parser *p);

static bool is(const parser *p, kd_tok_kind k) { return p->t->kind == k; }
static bool is_open(const parser *p, char c) { return is(p, TOK_OPEN) && p->t->text.data[0] == c; }
static bool is_close(const parser *p, char c) { return is(p, TOK_CLOSE) && p->t->text.data[0] == c; }

static bool take(parser *p, kd_tok_kind k) {
    if (p->t->kind != k) return false;
    p->t++;
    return true;
}

static kd_node *number(parser *p) {
    const kd_tok *t = p->t++;
    kd_node *x = make_text(p, N_NUM, t->text);
    if (!x) return NULL;
    x->scale = t->scale;
    x->other = t->other;
    return x;
}

/* {a} behind a command, or one digit, letter or command: \frac12. */
static kd_node *argument(parser *p) {
    if (is_open(p, '{')) {
        p->t++;
        kd_node *x = list(p);
        if (!x || !is_close(p, '{')) return NULL;
        p->t++;
        return x;
    }
    if (is(p, TOK_NUM) && p->t->text.len > 1 && p->t->scale == 0) { /* \frac12: the first digit alone; the rest is the next argument */
        kd_tok *t = (kd_tok *)(uintptr_t)p->t;                      /* tokens belong to this parse */
        kd_node *x = make_text(p, N_NUM, (kd_str){t->text.data, 1});
        t->text.data++;
        t->text.len--;
        return x;
    }
    return power(p);
}

static kd_node *fraction(parser *p) {
    p->t++;
    kd_node *a = argument(p);
    return a ? make2(p, N_DIV, a, argument(p)) : NULL;
}

static kd_node *root(parser *p) {
    kd_node *degree = NULL;
    p->t++;
    if (is_open(p, '[')) {
        p->t++;
        degree = sum(p);
        if (!degree || !is_close(p, '[')) return NULL;
        p->t++;
    } else {
        degree = kd_node_int(p->m, 2);
    }
    kd_node *of = is(p, TOK_NUM) ? number(p) : argument(p); /* \sqrt12 is meant for the root of twelve */
    return make2(p, N_ROOT, of, degree);
}

/* sin x, \log_2 8, \sin^2 x, \sin 2x: the argument is a bracket, or the product that follows. */
static kd_node *function_arg(parser *p) {
    if (is(p, TOK_OPEN)) return power(p);
    kd_node *x = power(p);
    while (x && !p->t->spaced && (is(p, TOK_NAME) || is(p, TOK_NUM))) x = make2(p, N_MUL, x, power(p));
    if (x && is(p, TOK_NAME) && x->kind == N_NUM) x = make2(p, N_MUL, x, power(p));
    return x;
}

static kd_node *function(parser *p) {
    const kd_str name = (p->t++)->text;
    kd_node *base = NULL, *exponent = NULL;
    for (int i = 0; i < 2; i++) {
        if (take(p, TOK_SUB)) base = argument(p);
        if (take(p, TOK_POW)) exponent = argument(p);
    }
    kd_node *arg = function_arg(p), *x;
    if (!arg) return NULL;
    kd_node *kids[2] = {arg, base};
    if (!(x = kd_node_new(p->m, N_FUNC, base ? 2 : 1, kids))) return NULL;
    x->text = name;
    return exponent ? make2(p, N_POW, x, exponent) : x;
}

static kd_node *matrix(parser *p) {
    kd_node *cells[256];
    int n = 0, rows = 1, wide = -1, col = 0;
    p->t++;
    if (is_open(p, '{')) { /* {array}{cc}: how its columns stand */
        while (!is(p, TOK_END) && !is_close(p, '{')) p->t++;
        if (!take(p, TOK_CLOSE)) return NULL;
    }
    while (!is(p, TOK_ENDENV)) {
        if (n == 256 || !(cells[n] = sum(p))) return NULL;
        n++;
        col++;
        if (take(p, TOK_AMP)) continue;
        if (wide >= 0 && col != wide) return NULL;
        wide = col;
        if (take(p, TOK_ROW)) {
            if (is(p, TOK_ENDENV)) break;
            rows++;
            col = 0;
        } else if (!is(p, TOK_ENDENV)) {
            return NULL;
        }
    }
    p->t++;
    kd_node *x = n ? kd_node_new(p->m, N_MATRIX, n, cells) : NULL;
    if (x) x->rows = rows;
    return x;
}

/* What stands in brackets: a group, a tuple, an interval, a set. */
static kd_node *bracket(parser *p) {
    const char open = p->t->text.data[0];
    p->t++;
    if (is(p, TOK_CLOSE)) { /* {} */
        const bool set = open == 'S' || open == '{';
        p->t++;
        return set ? kd_node_new(p->m, N_EMPTY, 0, NULL) : NULL;
    }
    const int bars = p->bars;
    p->bars = 0;
    kd_node *in = list(p);
    p->bars = bars;
    if (!in) return NULL;
    if (open == 'S' && (is(p, TOK_COLON) || is(p, TOK_MID) || is(p, TOK_BAR))) { /* {x : x > 3} */
        p->t++;
        kd_node *rule = list(p);
        if (!rule || !is_close(p, 'S')) return NULL;
        p->t++;
        return make1(p, N_BUILDER, rule);
    }
    if (!is(p, TOK_CLOSE)) return NULL;
    const char close = p->t->text.data[0];
    const bool mixed = (open == '(' && close == '[') || (open == '[' && close == '(');
    if (close != open && !mixed) return NULL;
    p->t++;
    if (open == 'S' || (open == '{' && in->kind == N_LIST))
        return in->kind == N_LIST ? kd_node_new(p->m, N_SET, in->n, in->kid) : make1(p, N_SET, in);
    if (open == '{' || (in->kind != N_LIST && !mixed)) return in;
    if (in->kind != N_LIST || in->any_or) return NULL;
    kd_node *x = kd_node_new(p->m, N_TUPLE, in->n, in->kid);
    if (x) {
        x->open = open == 'A' ? '(' : open;
        x->close = close == 'A' ? '(' : close;
    }
    return x;
}

static kd_node *absolute(parser *p, kd_tok_kind bar) {
    p->t++;
    p->bars++;
    kd_node *x = sum(p);
    p->bars--;
    if (!x || !take(p, bar)) return NULL;
    return bar == TOK_NORM ? NULL : make1(p, N_ABS, x); /* norms are not ours */
}

/* 0.1\overline{6}: (16 - 1) / 90. before: the digits in front of the bar, or NULL. */
static kd_node *repeating(parser *p, const kd_tok *before) {
    p->t++;
    const bool group = is_open(p, '{');
    if (group) p->t++;
    const kd_tok *r = p->t;
    if (!take(p, TOK_NUM) || r->scale != 0 || !before || (group && !is_close(p, '{'))) return NULL;
    if (group) p->t++;
    if (before->scale < 0 || r->text.len > 100 || before->text.len > 100) return NULL;
    kd_node *head = make_text(p, N_NUM, before->text), *tail = make_text(p, N_NUM, r->text);
    if (!head || !tail) return NULL;
    head->scale = before->scale;
    tail->scale = before->scale;
    char nines[104];
    memset(nines, '9', r->text.len);
    char *kept = kd_arena_strndup(p->m->arena, nines, r->text.len);
    if (!kept) return NULL;
    return make2(p, N_ADD, head, make2(p, N_DIV, tail, make_text(p, N_NUM, (kd_str){kept, r->text.len})));
}

/* x, x_1, f(x): a name and what hangs below it are one name. */
static kd_node *name(parser *p) {
    const kd_tok *t = p->t++;
    if (kd_str_is(t->text, "pi")) return kd_node_new(p->m, N_PI, 0, NULL);
    if (!is(p, TOK_SUB)) {
        if (kd_str_is(t->text, "e")) return kd_node_new(p->m, N_E, 0, NULL);
        if (kd_str_is(t->text, "i")) return kd_node_new(p->m, N_I, 0, NULL);
        return make_text(p, N_NAME, t->text);
    }
    p->t++;
    char s[64];
    size_t n = t->text.len < 24 ? t->text.len : 24;
    memcpy(s, t->text.data, n);
    s[n++] = '_';
    const bool group = is_open(p, '{');
    if (group) p->t++;
    while ((is(p, TOK_NUM) || is(p, TOK_NAME) || is(p, TOK_WORD) || (group && (is(p, TOK_PLUS) || is(p, TOK_MINUS)))) && n < 50) {
        const size_t k = p->t->text.len < 10 ? p->t->text.len : 10;
        memcpy(s + n, p->t->text.data ? p->t->text.data : "", k);
        n += k;
        if (is(p, TOK_PLUS) || is(p, TOK_MINUS)) s[n++] = is(p, TOK_PLUS) ? '+' : '-';
        p->t++;
        if (!group) break;
    }
    if (group && !take(p, TOK_CLOSE)) return NULL;
    char *kept = kd_arena_strndup(p->m->arena, s, n);
    return kept ? make_text(p, N_NAME, (kd_str){kept, n}) : NULL;
}

/* Words in a row: one text. */
static kd_node *prose(parser *p) {
    kd_buf b = {0};
    while (is(p, TOK_WORD) || (b.len && is(p, TOK_NAME))) {
        if (b.len) (void)kd_buf_putc(&b, ' ');
        (void)kd_buf_append(&b, p->t->text.data, p->t->text.len);
        p->t++;
    }
    char *kept = b.len ? kd_arena_strndup(p->m->arena, b.data, b.len) : NULL;
    kd_node *x = kept ? make_text(p, N_TEXT, (kd_str){kept, b.len}) : NULL;
    kd_buf_clear(&b);
    return x;
}

static kd_node *vulgar(parser *p) {
    const kd_str s = (p->t++)->text;
    kd_node *a = make_text(p, N_NUM, (kd_str){s.data, 1}), *b = make_text(p, N_NUM, (kd_str){s.data + 2, 1});
    return make2(p, N_DIV, a, b);
}

static kd_node *base(parser *p) {
    const kd_tok *t = p->t;
    kd_node *x;
    switch (t->kind) {
    case TOK_NUM:
        x = number(p);
        if (is(p, TOK_OVERLINE)) return repeating(p, t);
        if (is(p, TOK_SUB)) { /* 101_2 */
            p->t++;
            return make2(p, N_BASE, x, argument(p));
        }
        return x;
    case TOK_NAME: return name(p);
    case TOK_WORD: return prose(p);
    case TOK_FUNC: return function(p);
    case TOK_FRAC: return fraction(p);
    case TOK_SQRT: return root(p);
    case TOK_VULGAR: return vulgar(p);
    case TOK_BINOM: {
        p->t++;
        kd_node *a = argument(p);
        return make2(p, N_BINOM, a, a ? argument(p) : NULL);
    }
    case TOK_OPEN: return bracket(p);
    case TOK_BAR: return p->bars ? NULL : absolute(p, TOK_BAR);
    case TOK_NORM: return absolute(p, TOK_NORM);
    case TOK_BEGIN: return matrix(p);
    case TOK_INF: p->t++; return kd_node_new(p->m, N_INF, 0, NULL);
    case TOK_EMPTY: p->t++; return kd_node_new(p->m, N_EMPTY, 0, NULL);
    case TOK_FIELD: return make_text(p, N_FIELD, (p->t++)->text);
    case TOK_MONEY: p->t++; return is(p, TOK_NUM) || is(p, TOK_MINUS) || is(p, TOK_FRAC) ? power(p) : NULL;
    default: return NULL;
    }
}

/* 3^{rd}, 4^{th} at the sign of a power. */
static bool ordinal(const parser *p) {
    static const char *const ends[] = {"st", "nd", "rd", "th"};
    if (p->t[1].kind == TOK_OPEN && p->t[2].kind == TOK_NAME && p->t[3].kind == TOK_NAME && p->t[4].kind == TOK_CLOSE)
        for (size_t i = 0; i < 4; i++)
            if (p->t[2].text.len == 1 && p->t[3].text.len == 1 && p->t[2].text.data[0] == ends[i][0] && p->t[3].text.data[0] == ends[i][1])
                return true;
    return false;
}

/* A unit behind a number: words, powers of them, m/s. */
static kd_node *unit(parser *p, kd_node *x) {
    char s[96];
    size_t n = 0;
    for (;;) {
        if (is(p, TOK_WORD) && n + p->t->text.len + 2 < sizeof s) {
            if (n && s[n - 1] != '/') s[n++] = ' ';
            memcpy(s + n, p->t->text.data, p->t->text.len);
            n += p->t->text.len;
            p->t++;
        } else if (n && is(p, TOK_NAME) && p->t->spaced && n + p->t->text.len + 2 < sizeof s && p[0].t[1].kind == TOK_WORD) {
            s[n++] = ' '; /* "clips a day" */
            memcpy(s + n, p->t->text.data, p->t->text.len);
            n += p->t->text.len;
            p->t++;
        } else if (n && is(p, TOK_POW) && p->t[1].kind == TOK_NUM && p->t[1].text.len == 1) {
            s[n++] = p->t[1].text.data[0];
            p->t += 2;
        } else if (n && is(p, TOK_POW) && p->t[1].kind == TOK_OPEN && p->t[2].kind == TOK_NUM && p->t[2].text.len == 1 &&
                   p->t[3].kind == TOK_CLOSE) {
            s[n++] = p->t[2].text.data[0];
            p->t += 4;
        } else if (n && is(p, TOK_DIV) && p->t[1].kind == TOK_WORD) {
            s[n++] = '/';
            p->t++;
        } else {
            break;
        }
    }
    char *kept = kd_arena_strndup(p->m->arena, s, n);
    kd_node *u = kept ? make1(p, N_UNIT, x) : NULL;
    if (u) u->text = (kd_str){kept, n};
    return u;
}

static kd_node *postfix(parser *p, kd_node *x) {
    while (x) {
        if (is(p, TOK_FACT) && p->t[1].kind != TOK_EQ) {
            p->t++;
            x = make1(p, N_FACT, x);
        } else if (take(p, TOK_PERCENT)) {
            x = make1(p, N_PERCENT, x);
        } else if (take(p, TOK_DEGREE)) {
            x = make1(p, N_DEGREE, x);
        } else if (is(p, TOK_POW) && ordinal(p)) {
            p->t += 5;
            if ((x = make1(p, N_UNIT, x))) x->text = KD_STR("ordinal");
        } else if (is(p, TOK_POW)) {
            p->t++;
            if (take(p, TOK_DEGREE)) {
                x = make1(p, N_DEGREE, x);
            } else if (is_open(p, '{') && p->t[1].kind == TOK_DEGREE && p->t[2].kind == TOK_CLOSE) {
                p->t += 3;
                x = make1(p, N_DEGREE, x);
            } else {
                const bool neg = take(p, TOK_MINUS);
                kd_node *e = is_open(p, '{') ? argument(p) : power(p); /* a^b^c = a^(b^c) */
                x = make2(p, N_POW, x, neg ? make1(p, N_NEG, e) : e);
            }
        } else if (is(p, TOK_WORD) && x->kind != N_TEXT) {
            x = unit(p, x);
        } else {
            break;
        }
    }
    return x;
}

static kd_node *power(parser *p) {
    if (++p->depth > KD_MATH_DEPTH) return NULL;
    kd_node *x = postfix(p, base(p));
    p->depth--;
    return x;
}

static bool literal(const kd_node *x) { return x->kind == N_NUM; }
static bool literal_fraction(const kd_node *x) { return x->kind == N_DIV && literal(x->kid[0]) && literal(x->kid[1]); }

static bool starts_factor(const parser *p) {
    switch (p->t->kind) {
    case TOK_OPEN: return p->t[1].kind != TOK_WORD || p->t->text.data[0] != '('; /* 42 (forty-two) */
    case TOK_NUM:
    case TOK_NAME:
    case TOK_FUNC:
    case TOK_FRAC:
    case TOK_SQRT:
    case TOK_BINOM:
    case TOK_BEGIN:
    case TOK_VULGAR:
    case TOK_INF: return true;
    case TOK_BAR: return p->bars == 0;
    default: return false;
    }
}

/* 3 1/2 and 3\frac12. right is what stands behind the integer left. */
static bool mixed(const kd_node *left, const kd_node *right) { return literal(left) && left->scale == 0 && literal_fraction(right); }

static kd_node *scale_matrix(parser *p, kd_node *k, kd_node *mat) {
    kd_node *cells[256];
    for (int i = 0; i < mat->n; i++)
        if (!(cells[i] = make2(p, N_MUL, k, mat->kid[i]))) return NULL;
    kd_node *x = kd_node_new(p->m, N_MATRIX, mat->n, cells);
    if (x) x->rows = mat->rows;
    return x;
}

static kd_node *multiply(parser *p, kd_node *a, kd_node *b) {
    if (!a || !b) return NULL;
    if (b->kind == N_MATRIX && kd_node_scalar(a)) return scale_matrix(p, a, b);
    return make2(p, N_MUL, a, b);
}

/* A number behind a factor with nothing between: 3 1/2, or two numbers in a row. */
static kd_node *behind(parser *p, kd_node *left, bool last_literal) {
    if (last_literal && is(p, TOK_NUM)) {
        kd_node *b = number(p);
        if (b && is(p, TOK_DIV) && p->t[1].kind == TOK_NUM && literal(left) && left->scale == 0) {
            p->t++;
            return postfix(p, make2(p, N_ADD, left, make2(p, N_DIV, b, number(p))));
        }
        return make2(p, N_JUXT, left, b);
    }
    kd_node *b = power(p);
    if (!b) return NULL;
    if (mixed(left, b)) return make2(p, N_ADD, left, b);
    if ((b->kind == N_PERCENT || b->kind == N_DEGREE || b->kind == N_UNIT) && mixed(left, b->kid[0])) { /* 33 1/3 % */
        b->kid[0] = make2(p, N_ADD, left, b->kid[0]);
        return b->kid[0] ? b : NULL;
    }
    return multiply(p, left, b);
}

static kd_node *term(parser *p) {
    kd_node *x;
    if (++p->depth > KD_MATH_DEPTH) return NULL;
    if (take(p, TOK_MINUS)) {
        x = make1(p, N_NEG, term(p));
    } else if (take(p, TOK_PLUS)) {
        x = term(p);
    } else {
        x = power(p);
        bool fresh = true; /* x is one factor: an integer may be the whole of a mixed number */
        while (x) {
            if (take(p, TOK_TIMES)) {
                const bool neg = take(p, TOK_MINUS);
                kd_node *b = power(p);
                x = multiply(p, x, neg ? make1(p, N_NEG, b) : b);
            } else if (take(p, TOK_DIV)) {
                const bool neg = take(p, TOK_MINUS);
                kd_node *b = power(p);
                x = make2(p, N_DIV, x, neg ? make1(p, N_NEG, b) : b);
            } else if (take(p, TOK_CHOOSE)) {
                x = make2(p, N_BINOM, x, power(p));
            } else if (starts_factor(p)) {
                x = behind(p, x, fresh && literal(x));
            } else {
                break;
            }
            fresh = false;
        }
    }
    p->depth--;
    return x;
}

static kd_node *plus_minus(parser *p, kd_node *a, kd_node *b, int sign) {
    kd_node *x = make2(p, N_PM, a, b);
    if (x) x->sign = sign;
    return x;
}

static kd_node *sum(parser *p) {
    if (++p->depth > KD_MATH_DEPTH) return NULL;
    kd_node *x;
    if (is(p, TOK_PM) || is(p, TOK_MP)) {
        const int sign = is(p, TOK_PM) ? 1 : -1;
        p->t++;
        x = plus_minus(p, kd_node_int(p->m, 0), term(p), sign);
    } else {
        x = term(p);
    }
    while (x) {
        if (take(p, TOK_PLUS))
            x = make2(p, N_ADD, x, term(p));
        else if (take(p, TOK_MINUS))
            x = make2(p, N_ADD, x, make1(p, N_NEG, term(p)));
        else if (is(p, TOK_PM) || is(p, TOK_MP)) {
            const int sign = is(p, TOK_PM) ? 1 : -1;
            p->t++;
            x = plus_minus(p, x, term(p), sign);
        } else {
            break;
        }
    }
    if (x && is(p, TOK_COLON) && p->t[1].kind == TOK_NUM) {
        p->t++;
        x = make2(p, N_RATIO, x, term(p));
        if (x && x->kid[1]->kind == N_UNIT) x = make1(p, N_UNIT, x); /* 4:30 p.m. */
        if (x && x->kind == N_UNIT) {
            x->text = x->kid[0]->kid[1]->text;
            x->kid[0]->kid[1] = x->kid[0]->kid[1]->kid[0];
        }
    }
    while (x && take(p, TOK_CUP)) x = make2(p, N_CUP, x, term(p));
    p->depth--;
    return x;
}

static bool relation(kd_tok_kind k) {
    return k == TOK_EQ || k == TOK_LT || k == TOK_GT || k == TOK_LE || k == TOK_GE || k == TOK_NE || k == TOK_APPROX || k == TOK_IN;
}

static kd_node *rel(parser *p) {
    kd_node *kids[8];
    unsigned char ops[8];
    int n = 0;
    if (relation(p->t->kind)) { /* "= 42", "\approx 42" */
        const bool approx = is(p, TOK_APPROX), eq = is(p, TOK_EQ);
        p->t++;
        kd_node *x = sum(p);
        return approx ? make1(p, N_APPROX, x) : eq ? x : NULL;
    }
    if (!(kids[n++] = sum(p))) return NULL;
    while (relation(p->t->kind) && n < 8) {
        ops[n - 1] = (unsigned char)p->t->kind;
        p->t++;
        if (!(kids[n++] = sum(p))) return NULL;
    }
    if (n == 1) return kids[0];
    kd_node *x = kd_node_new(p->m, N_REL, n, kids);
    if (!x || !(x->ops = kd_arena_alloc(p->m->arena, 8))) return NULL;
    memcpy(x->ops, ops, (size_t)n - 1);
    return x;
}

static kd_node *list(parser *p) {
    kd_node *items[128];
    int n = 0;
    bool any_or = false, tight = true;
    if (++p->depth > KD_MATH_DEPTH) return NULL;
    if (!(items[n++] = rel(p))) return NULL;
    while (is(p, TOK_COMMA) || is(p, TOK_SEMI) || is(p, TOK_AND) || is(p, TOK_OR)) {
        const kd_tok *t = p->t;
        any_or |= is(p, TOK_OR);
        while (is(p, TOK_COMMA) || is(p, TOK_SEMI) || is(p, TOK_AND) || is(p, TOK_OR)) p->t++;
        if (is(p, TOK_END) || is(p, TOK_CLOSE)) break; /* a comma behind the last one */
        tight = tight && t->kind == TOK_COMMA && t + 1 == p->t && !p->t->spaced;
        if (n == 128 || !(items[n++] = rel(p))) return NULL;
    }
    p->depth--;
    if (n == 1) return items[0];
    kd_node *x = kd_node_new(p->m, N_LIST, n, items);
    if (x) {
        x->any_or = any_or;
        x->tight = tight && n == 2;
    }
    return x;
}

kd_node *kd_math_parse(kd_math *m, kd_str s) {
    kd_tok *t = kd_arena_alloc(m->arena, KD_MATH_TOKENS * sizeof *t);
    if (!t || !kd_math_lex(t, s, m->arena)) return NULL;
    parser p = {.m = m, .t = t};
    kd_node *x = list(&p);
    if (!x) return NULL;
    if (is(&p, TOK_OPEN) && x->kind == N_UNIT) { /* 42 clips (in all) */
        while (!is(&p, TOK_END)) p.t++;
    }
    if (is_open(&p, '(') && p.t[1].kind == TOK_WORD) { /* 42 (forty-two) */
        while (!is(&p, TOK_END) && !is(&p, TOK_CLOSE)) p.t++;
        if (is(&p, TOK_CLOSE)) p.t++;
    }
    while (is_close(&p, '{')) p.t++; /* a brace too many at the end */
    return is(&p, TOK_END) ? x : NULL;
}
