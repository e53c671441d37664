/* distill/engine/grammar_regex.c - regular expressions into nodes: parsed into a tree, then built from the end. Perl's and ECMAScript's common ground;
 * what no automaton does (look-around, back references, word borders) is refused by name. Characters are code points. */
#include "distill/base/utf8.h"
#include "distill/engine/grammar_int.h"

#include <stdlib.h>
#include <string.h>

typedef enum { R_EMPTY, R_CHARS, R_CAT, R_ALT, R_TIMES } r_kind;
typedef struct {
    r_kind kind;
    uint32_t a, b; /* CAT, ALT: both; TIMES: the child in a; CHARS: spans [a, a + b) */
    uint32_t least, most;
} r_node;
#define R_FOREVER UINT32_MAX
enum { R_MOST_NODES = 100000, R_MOST_DEPTH = 200, R_MOST_TIMES = 100000, R_MOST_STACKED = 16, R_MOST_CATEGORIES = 32, R_LONGEST = 32768 };

typedef struct {
    kd_grammar *g;
    const char *s;
    size_t n, at;
    r_node *nodes;
    size_t nnodes, cap;
    g_span *spans;
    size_t nspans, spans_cap, categories;
    bool json, ignore_case, dot_all, failed;
    kd_code code;
    kd_err *e;
} parser;

static uint32_t fail(parser *p, kd_code c, const char *what) {
    if (!p->code)
        p->code = kd_fail(p->e, c, "regular expression '%.*s': %s at offset %zu", (int)(p->n < 120 ? p->n : 120), p->s, what, p->at);
    return 0;
}

static uint32_t add(parser *p, r_node d) {
    if (p->code) return 0;
    if (p->nnodes >= R_MOST_NODES) return fail(p, KD_ELIMIT, "too large");
    if (kd_grow((void **)&p->nodes, &p->cap, p->nnodes + 1, sizeof *p->nodes)) return fail(p, KD_ENOMEM, "out of memory");
    p->nodes[p->nnodes] = d;
    return (uint32_t)p->nnodes++;
}

static void span(parser *p, uint32_t lo, uint32_t hi) {
    if (p->code) return;
    if (p->nspans >= 1000000 || kd_grow((void **)&p->spans, &p->spans_cap, p->nspans + 1, sizeof *p->spans))
        fail(p, KD_ENOMEM, "out of memory");
    else
        p->spans[p->nspans++] = (g_span){lo, hi};
}

static int by_lo(const void *a, const void *b) {
    const g_span *x = a, *y = b;
    return x->lo != y->lo ? (x->lo > y->lo) - (x->lo < y->lo) : (x->hi > y->hi) - (x->hi < y->hi);
}

/* spans [from, end) sorted and joined; negated if asked. */
static void settle(parser *p, size_t from, bool negate) {
    size_t n = p->nspans - from, k = 0;
    g_span *v = p->spans + from;
    if (p->code) return;
    if (n) qsort(v, n, sizeof *v, by_lo);
    for (size_t i = 0; i < n; i++)
        if (k && v[i].lo <= v[k - 1].hi + 1) {
            if (v[i].hi > v[k - 1].hi) v[k - 1].hi = v[i].hi;
        } else {
            v[k++] = v[i];
        }
    p->nspans = from + k;
    if (!negate) return;
    uint32_t next = 0;
    size_t old = p->nspans;
    for (size_t i = from; i < old; i++) {
        g_span s = p->spans[i];
        if (s.lo > next) span(p, next, s.lo - 1);
        next = s.hi + 1;
    }
    if (next <= 0x10ffff) span(p, next, 0x10ffff);
    if (p->code) return;
    memmove(p->spans + from, p->spans + old, (p->nspans - old) * sizeof *p->spans);
    p->nspans -= old - from;
}

/* \d \w \s, as ECMAScript has them (ASCII, and Unicode's white space). */
static bool shorthand(parser *p, char c) {
    static const g_span digit[] = {{'0', '9'}}, word_[] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                        space[] = {{9, 13},          {' ', ' '},       {0xa0, 0xa0},     {0x1680, 0x1680}, {0x2000, 0x200a},
                                   {0x2028, 0x2029}, {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000}, {0xfeff, 0xfeff}};
    const g_span *v;
    size_t n, from = p->nspans;
    switch (c | 0x20) {
    case 'd': v = digit, n = 1; break;
    case 'w': v = word_, n = 4; break;
    case 's': v = space, n = 10; break;
    default: return false;
    }
    for (size_t i = 0; i < n; i++) span(p, v[i].lo, v[i].hi);
    settle(p, from, !(c & 0x20));
    return true;
}

/* \p{Lu}, \p{L}, \pL, and \P for the rest, by Unicode's general categories. */
static void category(parser *p, bool negate) {
    char name[3] = {0};
    size_t n = 0, from = p->nspans;
    bool braced = p->at < p->n && p->s[p->at] == '{';
    if (++p->categories > R_MOST_CATEGORIES) {
        fail(p, KD_ELIMIT, "more than 32 properties");
        return;
    }
    if (braced) p->at++;
    while (p->at < p->n && n < (braced ? 2u : 1u) && p->s[p->at] != '}') name[n++] = p->s[p->at++];
    if (!n || (braced && (p->at >= p->n || p->s[p->at++] != '}')) || !strchr("LMNPSZC", name[0])) {
        fail(p, KD_EUNSUPPORTED, "a property other than a general category (\\p{L}, \\p{Lu})");
        return;
    }
    uint32_t begin = 0;
    bool in = false;
    for (uint32_t c = 0; c <= 0x110000; c++) {
        unsigned k = c <= 0x10ffff ? kd_uc_category(c) : 0;
        bool now = k >> 8 == (unsigned char)name[0] && (!name[1] || (k & 255) == (unsigned char)name[1]);
        if (now && !in) begin = c;
        if (!now && in) span(p, begin, c - 1);
        in = now;
    }
    settle(p, from, negate);
}

static bool hex(parser *p, size_t least, size_t most, uint32_t *out) {
    size_t k = 0;
    *out = 0;
    for (; k < most && p->at < p->n; k++, p->at++) {
        char c = p->s[p->at];
        int d = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (d < 0) break;
        *out = *out * 16 + (uint32_t)d;
    }
    return k >= least && *out <= 0x10ffff;
}

/* \x41, \x{1F600}, A, \u{1F600}; the letter is behind us. */
static uint32_t numbered(parser *p, char letter) {
    uint32_t c = 0;
    bool ok;
    if (p->at < p->n && p->s[p->at] == '{') {
        p->at++;
        ok = hex(p, 1, 6, &c) && p->at < p->n && p->s[p->at] == '}';
        p->at++;
    } else {
        size_t n = letter == 'x' ? 2 : 4;
        ok = hex(p, n, n, &c);
    }
    if (!ok) fail(p, KD_EFORMAT, "a character's number that is none");
    return c;
}

static uint32_t plain(parser *p) {
    size_t len = 1;
    int32_t c = kd_utf8_next(p->s + p->at, p->n - p->at, &len);
    if (c < 0) fail(p, KD_EFORMAT, "malformed UTF-8");
    p->at += len;
    return c < 0 ? 0 : (uint32_t)c;
}

/* Behind a backslash: one character, or false when it was a class (then its spans are added). */
static bool escape(parser *p, uint32_t *c) {
    static const char from[] = "ntrfva0", to[] = "\n\t\r\f\v\a";
    if (p->at >= p->n) {
        fail(p, KD_EFORMAT, "a backslash at the end");
        return false;
    }
    char k = p->s[p->at];
    if (shorthand(p, k)) {
        p->at++;
        return false;
    }
    if (k == 'p' || k == 'P') {
        p->at++;
        category(p, k == 'P');
        return false;
    }
    const char *at = k ? strchr(from, k) : NULL;
    if (at) {
        p->at++;
        *c = k == '0' ? 0 : (uint32_t)(unsigned char)to[at - from];
    } else if (k == 'x' || k == 'u') {
        p->at++;
        *c = numbered(p, k);
    } else if ((k >= '1' && k <= '9') || k == 'k') {
        fail(p, KD_EUNSUPPORTED, "a back reference");
    } else if (k == 'b' || k == 'B') {
        fail(p, KD_EUNSUPPORTED, "a word border");
    } else if ((k >= 'a' && k <= 'z') || (k >= 'A' && k <= 'Z')) {
        fail(p, KD_EUNSUPPORTED, "an unknown escape");
    } else {
        *c = plain(p);
    }
    return true;
}

static void both_cases(parser *p, size_t from) {
    size_t end = p->nspans;
    for (size_t i = from; i < end && p->ignore_case; i++)
        for (uint32_t c = p->spans[i].lo; c <= p->spans[i].hi && c - p->spans[i].lo < 2000; c++) {
            uint32_t l = kd_uc_tolower(c), u = kd_uc_toupper(c);
            if (l != c) span(p, l, l);
            if (u != c) span(p, u, u);
        }
}

static uint32_t chars(parser *p, size_t from, bool negate) {
    both_cases(p, from);
    settle(p, from, negate);
    return add(p, (r_node){.kind = R_CHARS, .a = (uint32_t)from, .b = (uint32_t)(p->nspans - from)});
}

static uint32_t bracket(parser *p) {
    size_t from = p->nspans, first;
    bool negate = p->at < p->n && p->s[p->at] == '^';
    p->at += negate;
    first = p->at;
    while (!p->code && p->at < p->n && (p->s[p->at] != ']' || p->at == first)) {
        uint32_t lo = 0, hi = 0;
        bool one = true;
        if (p->s[p->at] == '[' && p->at + 1 < p->n && p->s[p->at + 1] == ':') return fail(p, KD_EUNSUPPORTED, "a POSIX class");
        if (p->s[p->at] == '\\') {
            p->at++;
            if (p->at < p->n && p->s[p->at] == 'b')
                p->at++, lo = '\b';
            else
                one = escape(p, &lo);
        } else {
            lo = plain(p);
        }
        if (!one) continue;
        hi = lo;
        if (p->at + 1 < p->n && p->s[p->at] == '-' && p->s[p->at + 1] != ']') {
            p->at++;
            if (p->s[p->at] == '\\') {
                p->at++;
                if (!escape(p, &hi)) return fail(p, KD_EFORMAT, "a range up to a class");
            } else {
                hi = plain(p);
            }
        }
        if (hi < lo) return fail(p, KD_EFORMAT, "a range that runs backwards");
        span(p, lo, hi);
    }
    if (p->at >= p->n) return fail(p, KD_EFORMAT, "no ] behind [");
    p->at++;
    return chars(p, from, negate);
}

static uint32_t alternatives(parser *p, int depth);

/* ( ... behind us. */
static uint32_t group(parser *p, int depth) {
    if (p->at < p->n && p->s[p->at] == '?') {
        char k = p->at + 1 < p->n ? p->s[p->at + 1] : 0, l = p->at + 2 < p->n ? p->s[p->at + 2] : 0;
        if (k == ':')
            p->at += 2;
        else if ((k == 'P' && l == '<') || (k == '<' && l != '=' && l != '!')) {
            while (p->at < p->n && p->s[p->at] != '>') p->at++;
            p->at++;
        } else
            return fail(p, KD_EUNSUPPORTED, k == '=' || k == '!' || k == '<' ? "look-around" : "a group of that kind");
    }
    if (p->at > p->n) p->at = p->n;
    uint32_t in = alternatives(p, depth + 1);
    if (!p->code && (p->at >= p->n || p->s[p->at] != ')')) return fail(p, KD_EFORMAT, "no ) behind (");
    p->at++;
    return in;
}

static uint32_t atom(parser *p, int depth) {
    uint32_t c = 0;
    size_t from = p->nspans;
    char k = p->s[p->at];
    switch (k) {
    case '(': p->at++; return group(p, depth);
    case '[': p->at++; return bracket(p);
    case '.':
        p->at++;
        if (!p->dot_all) span(p, '\n', '\n'), span(p, '\r', '\r');
        settle(p, from, true);
        return add(p, (r_node){.kind = R_CHARS, .a = (uint32_t)from, .b = (uint32_t)(p->nspans - from)});
    case '*':
    case '+':
    case '?': return fail(p, KD_EFORMAT, "nothing to repeat");
    case '^':
    case '$': return fail(p, KD_EUNSUPPORTED, "an anchor that is not at the border of the whole");
    case '\\':
        p->at++;
        if (!escape(p, &c)) return chars(p, from, false);
        break;
    default: c = plain(p);
    }
    span(p, c, c);
    return chars(p, from, false);
}

static bool number(parser *p, uint32_t *out) {
    size_t k = 0;
    *out = 0;
    for (; p->at < p->n && p->s[p->at] >= '0' && p->s[p->at] <= '9' && k < 7; k++) *out = *out * 10 + (uint32_t)(p->s[p->at++] - '0');
    return k > 0;
}

/* {m}, {m,}, {m,n}; false if the brace is only itself. */
static bool braces(parser *p, uint32_t *least, uint32_t *most) {
    size_t back = p->at++;
    bool ok = number(p, least);
    *most = *least;
    if (ok && p->at < p->n && p->s[p->at] == ',') {
        p->at++;
        if (!number(p, most)) *most = R_FOREVER;
    }
    if (ok && p->at < p->n && p->s[p->at] == '}') {
        p->at++;
        if (*least > *most) fail(p, KD_EFORMAT, "a count that runs backwards");
        if (*least > R_MOST_TIMES || (*most > R_MOST_TIMES && *most != R_FOREVER)) fail(p, KD_ELIMIT, "a count over 100000");
        return true;
    }
    p->at = back;
    return false;
}

static uint32_t repeated(parser *p, int depth) {
    uint32_t it = atom(p, depth);
    for (int stacked = 0; !p->code && p->at < p->n; stacked++) {
        uint32_t least = 0, most = R_FOREVER;
        char k = p->s[p->at];
        if (k == '*' || k == '+' || k == '?') {
            p->at++;
            least = k == '+', most = k == '?' ? 1 : R_FOREVER;
        } else if (k != '{' || !braces(p, &least, &most)) {
            if (k == '{') fail(p, KD_EFORMAT, "a brace that is no count (write \\{)");
            break;
        }
        if (p->at < p->n && p->s[p->at] == '+') return fail(p, KD_EUNSUPPORTED, "a possessive repetition");
        if (p->at < p->n && p->s[p->at] == '?') p->at++; /* lazy: the same texts */
        if (stacked >= R_MOST_STACKED) return fail(p, KD_ELIMIT, "repetitions of repetitions, more than 16");
        it = add(p, (r_node){.kind = R_TIMES, .a = it, .least = least, .most = most});
    }
    return it;
}

static uint32_t sequence(parser *p, int depth) {
    uint32_t it = add(p, (r_node){.kind = R_EMPTY});
    while (!p->code && p->at < p->n && p->s[p->at] != '|' && p->s[p->at] != ')') {
        if (p->s[p->at] == '$' && depth == 0 && (p->at + 1 == p->n || p->s[p->at + 1] == '|')) break;
        uint32_t next = repeated(p, depth);
        it = add(p, (r_node){.kind = R_CAT, .a = it, .b = next});
    }
    return it;
}

static uint32_t alternatives(parser *p, int depth) {
    if (depth > R_MOST_DEPTH) return fail(p, KD_ELIMIT, "nested too deep");
    uint32_t it = sequence(p, depth);
    while (!p->code && p->at < p->n && p->s[p->at] == '|') {
        p->at++;
        uint32_t next = sequence(p, depth);
        it = add(p, (r_node){.kind = R_ALT, .a = it, .b = next});
    }
    return it;
}

/* ---- building ---- */

static uint32_t build(parser *p, uint32_t i, uint32_t next);

static uint32_t build_times(parser *p, const r_node *d, uint32_t next) {
    kd_grammar *g = p->g;
    uint32_t rule = g_rule(g);
    if (g->code) return G_NOWHERE;
    uint32_t begin = build(p, d->a, G_END);
    if (g->code) return G_NOWHERE;
    g->rules[rule] = begin;
    return g_times(g, rule, d->least, d->most == R_FOREVER ? SIZE_MAX : d->most, next);
}

/* CAT and ALT lean to the left: their spines are walked, not recursed into. */
static uint32_t build(parser *p, uint32_t i, uint32_t next) {
    uint32_t at = G_NOWHERE;
    for (;;) {
        const r_node d = p->nodes[i];
        switch (d.kind) {
        case R_EMPTY: return next;
        case R_CHARS: return g_char(p->g, p->spans + d.a, d.b, p->json, next);
        case R_TIMES: return build_times(p, &d, next);
        case R_CAT:
            next = build(p, d.b, next);
            i = d.a;
            continue;
        case R_ALT:
            while (p->nodes[i].kind == R_ALT) at = g_split(p->g, build(p, p->nodes[i].b, next), at), i = p->nodes[i].a;
            return g_split(p->g, build(p, i, next), at);
        }
    }
}

/* Any text, of any length, as one node that goes on to next. */
static uint32_t anything(kd_grammar *g, bool json, uint32_t next) {
    static const g_span all[] = {{0, 0x10ffff}};
    uint32_t loop = g_loop(g), body = g_char(g, all, 1, json, loop);
    if (g->code) return G_NOWHERE;
    g->nodes[loop].a = body, g->nodes[loop].b = next;
    return loop;
}

/* The branches of the whole, each with its own anchors. */
static uint32_t branches(parser *p, bool search, uint32_t next) {
    kd_grammar *g = p->g;
    uint32_t at = G_NOWHERE;
    do {
        bool from_start = p->at < p->n && p->s[p->at] == '^';
        p->at += from_start;
        uint32_t tree = sequence(p, 0);
        bool to_end = !p->code && p->at < p->n && p->s[p->at] == '$';
        p->at += to_end;
        if (p->code) return G_NOWHERE;
        uint32_t one = build(p, tree, search && !to_end ? anything(g, p->json, next) : next);
        if (search && !from_start) one = anything(g, p->json, one);
        at = g_split(g, one, at);
        if (p->at < p->n && p->s[p->at] == ')') return fail(p, KD_EFORMAT, "no ( before )");
    } while (p->at < p->n && p->s[p->at++] == '|' && !g->code);
    return at;
}

kd_code g_regex(kd_grammar *g, uint32_t *begin, const char *pattern, size_t len, bool json, bool search, uint32_t next, kd_err *e) {
    parser p = {.g = g, .s = pattern, .n = len, .json = json, .e = e};
    *begin = G_NOWHERE;
    if (len > R_LONGEST) return kd_fail(e, KD_ELIMIT, "regular expression: %zu bytes, at most %d", len, R_LONGEST);
    for (size_t i = 0; len > 3 && i < 4 && !strncmp(p.s, "(?", 2) && (p.s[2] == 'i' || p.s[2] == 's') && p.s[3] == ')'; i++) {
        p.ignore_case |= p.s[2] == 'i', p.dot_all |= p.s[2] == 's';
        p.s += 4, p.n -= 4;
        if (p.n < 4) break;
    }
    *begin = branches(&p, search, next);
    kd_free(p.nodes);
    kd_free(p.spans);
    if (p.code) return p.code;
    if (g->code) return kd_fail(e, g->code, "regular expression: %s", g->code == KD_ELIMIT ? "too large" : "out of memory");
    return KD_OK;
}

kd_code kd_grammar_new_regex(kd_grammar **out, const char *pattern, size_t len, kd_err *e) {
    kd_grammar *g;
    static const g_span blank[] = {{' ', ' '}, {'\n', '\n'}};
    kd_code c = g_new(&g, e);
    *out = NULL;
    if (!c) c = g_regex(g, &g->begin[0], pattern, len, false, false, G_END, e);
    if (!c) { /* behind a thought, up to two blanks or line ends */
        g->begin[1] = g->begin[0];
        for (int i = 0; i < 2; i++) g->begin[1] = g_split(g, g_char(g, blank, 2, false, g->begin[1]), g->begin[0]);
        c = g_finish(g, "regular expression", e);
    }
    if (c)
        kd_grammar_free(g);
    else
        *out = g;
    return c;
}
