/* distill/model/template_expr.c - the parser of expressions, in jinja2's grammar: or, and, not, comparisons, + -, ~, * / // %, **, unary,
 * postfix, filters and tests, each binding tighter than the one before. Leans on template_ast.h. */
#include "distill/model/template_ast.h"

#include <string.h>

/* ---- primaries ---- */

static kd_code parse_constant(kd_tparse *p, kd_tval v, kd_tnode **out) {
    KD_T(kd_tpl_node(p, KD_TN_CONST, p->tok.at, out));
    (*out)->value = v;
    return kd_tpl_next(p);
}

/* A string, with those that follow it directly. */
static kd_code parse_string(kd_tparse *p, kd_tnode **out) {
    KD_T(kd_tpl_node(p, KD_TN_CONST, p->tok.at, out));
    kd_str s = p->tok.text;
    kd_buf b = {0};
    KD_T(kd_tpl_next(p));
    kd_code c = p->tok.kind == KD_TK_STRING ? kd_buf_append(&b, s.data, s.len) : KD_OK;
    while (c == KD_OK && p->tok.kind == KD_TK_STRING)
        if ((c = kd_buf_append(&b, p->tok.text.data, p->tok.text.len)) == KD_OK && (c = kd_tpl_next(p)) != KD_OK) {
            kd_buf_clear(&b);
            return c;
        }
    if (c == KD_OK && b.data) {
        s = (kd_str){kd_arena_strndup(&p->t->arena, b.data, b.len), b.len};
        c = s.data ? KD_OK : KD_ENOMEM;
    }
    kd_buf_clear(&b);
    (*out)->value = (kd_tval){.type = KD_TV_STR, .u.s = s.data, .len = s.len};
    return c == KD_OK ? c : kd_fail(p->e, c, "%s: no memory for a string", p->t->name);
}

static kd_code parse_name(kd_tparse *p, bool nsref, kd_tnode **out) {
    kd_str s = p->tok.text;
    if (kd_str_is(s, "true") || kd_str_is(s, "True") || kd_str_is(s, "false") || kd_str_is(s, "False"))
        return parse_constant(p, (kd_tval){.type = KD_TV_BOOL, .u.b = (s.data[0] | 0x20) == 't'}, out);
    if (kd_str_is(s, "none") || kd_str_is(s, "None")) return parse_constant(p, (kd_tval){.type = KD_TV_NONE}, out);
    KD_T(kd_tpl_node(p, KD_TN_NAME, p->tok.at, out));
    KD_T(kd_tpl_intern(p->t, s, &(*out)->name, p->e));
    KD_T(kd_tpl_next(p));
    if (!nsref || p->tok.kind != KD_TK_DOT) return KD_OK;
    KD_T(kd_tpl_next(p));
    (*out)->kind = KD_TN_NSREF;
    (*out)->value = (kd_tval){.type = KD_TV_STR, .u.s = p->tok.text.data, .len = p->tok.text.len};
    return kd_tpl_expect(p, KD_TK_NAME, "a name");
}

/* [a, b] or {k: v}: from behind the opening bracket. */
static kd_code parse_display(kd_tparse *p, bool dict, kd_tnode **out) {
    kd_tk_kind close = dict ? KD_TK_RBRACE : KD_TK_RBRACKET;
    kd_tlist keys = {0}, values = {0};
    kd_tnode *n = NULL;
    kd_code c = kd_tpl_node(p, dict ? KD_TN_DICT : KD_TN_LIST, p->tok.at, &n);
    if (c == KD_OK) c = kd_tpl_next(p);
    while (c == KD_OK && p->tok.kind != close) {
        kd_tnode *x;
        if (keys.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        if (p->tok.kind == close) break;
        if ((c = kd_tpl_expr(p, true, &x)) != KD_OK || (c = kd_tpl_push(&keys, x, p->e)) != KD_OK || !dict) continue;
        if ((c = kd_tpl_expect(p, KD_TK_COLON, "':'")) == KD_OK && (c = kd_tpl_expr(p, true, &x)) == KD_OK)
            c = kd_tpl_push(&values, x, p->e);
    }
    if (c == KD_OK) c = kd_tpl_expect(p, close, dict ? "'}'" : "']'");
    if (c == KD_OK) c = kd_tpl_seal(p, &keys, &n->list, &n->n);
    if (c == KD_OK && dict) c = kd_tpl_seal(p, &values, &n->list2, &n->m);
    if (c == KD_OK) c = kd_tpl_deep(p, n);
    kd_free(keys.at);
    kd_free(values.at);
    *out = n;
    return c;
}

kd_code kd_tpl_primary(kd_tparse *p, bool nsref, kd_tnode **out) {
    switch (p->tok.kind) {
    case KD_TK_NAME: return parse_name(p, nsref, out);
    case KD_TK_STRING: return parse_string(p, out);
    case KD_TK_INT:
    case KD_TK_FLOAT: return parse_constant(p, p->tok.value, out);
    case KD_TK_LPAREN:
        KD_T(kd_tpl_enter(p));
        KD_T(kd_tpl_next(p));
        KD_T(kd_tpl_tuple(p, (kd_ttuple_opts){.parens = true}, out));
        p->depth--;
        return kd_tpl_expect(p, KD_TK_RPAREN, "')'");
    case KD_TK_LBRACKET:
    case KD_TK_LBRACE: return parse_display(p, p->tok.kind == KD_TK_LBRACE, out);
    default: return kd_tpl_unexpected(p, NULL);
    }
}

kd_code kd_tpl_tuple(kd_tparse *p, kd_ttuple_opts o, kd_tnode **out) {
    uint32_t at = p->tok.at;
    kd_tlist items = {0};
    bool tuple = false;
    kd_code c = KD_OK;
    for (;;) {
        if (items.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        kd_tk_kind k = p->tok.kind;
        if (k == KD_TK_VAR_END || k == KD_TK_BLOCK_END || k == KD_TK_RPAREN || (o.end && kd_tpl_at(p, o.end))) break;
        kd_tnode *x;
        c = o.simple ? kd_tpl_primary(p, o.nsref, &x) : kd_tpl_expr(p, !o.no_conditional, &x);
        if (c != KD_OK || (c = kd_tpl_push(&items, x, p->e)) != KD_OK) break;
        if (p->tok.kind != KD_TK_COMMA) break;
        tuple = true;
    }
    if (c == KD_OK && !tuple && items.n) {
        *out = items.at[0];
    } else if (c == KD_OK && !tuple && !o.parens) {
        c = kd_tpl_unexpected(p, "an expression");
    } else if (c == KD_OK) {
        c = kd_tpl_node(p, KD_TN_TUPLE, at, out);
        if (c == KD_OK) c = kd_tpl_seal(p, &items, &(*out)->list, &(*out)->n);
        if (c == KD_OK) c = kd_tpl_deep(p, *out);
    }
    kd_free(items.at);
    return c;
}

/* ---- postfix ---- */

/* What stands between [ and ] or a comma there. */
static kd_code parse_subscribed(kd_tparse *p, kd_tnode **out) {
    kd_tnode *part[3] = {NULL, NULL, NULL};
    uint32_t at = p->tok.at;
    if (p->tok.kind != KD_TK_COLON) {
        KD_T(kd_tpl_expr(p, true, &part[0]));
        if (p->tok.kind != KD_TK_COLON) {
            *out = part[0];
            return KD_OK;
        }
    }
    KD_T(kd_tpl_next(p));
    if (p->tok.kind != KD_TK_COLON && p->tok.kind != KD_TK_RBRACKET && p->tok.kind != KD_TK_COMMA) KD_T(kd_tpl_expr(p, true, &part[1]));
    if (p->tok.kind == KD_TK_COLON) {
        KD_T(kd_tpl_next(p));
        if (p->tok.kind != KD_TK_RBRACKET && p->tok.kind != KD_TK_COMMA) KD_T(kd_tpl_expr(p, true, &part[2]));
    }
    KD_T(kd_tpl_node(p, KD_TN_SLICE, at, out));
    (*out)->a = part[0];
    (*out)->b = part[1];
    (*out)->c = part[2];
    return kd_tpl_deep(p, *out);
}

static kd_code parse_subscript(kd_tparse *p, kd_tnode *of, kd_tnode **out) {
    uint32_t at = p->tok.at;
    bool dot = p->tok.kind == KD_TK_DOT;
    KD_T(kd_tpl_next(p));
    if (dot && p->tok.kind == KD_TK_NAME) {
        KD_T(kd_tpl_node(p, KD_TN_ATTR, at, out));
        (*out)->a = of;
        KD_T(kd_tpl_intern(p->t, p->tok.text, &(*out)->name, p->e));
        KD_T(kd_tpl_deep(p, *out));
        return kd_tpl_next(p);
    }
    KD_T(kd_tpl_node(p, KD_TN_ITEM, at, out));
    (*out)->a = of;
    if (dot) {
        if (p->tok.kind != KD_TK_INT) return kd_tpl_unexpected(p, "a name or a number");
        KD_T(parse_constant(p, p->tok.value, &(*out)->b));
        return kd_tpl_deep(p, *out);
    }
    kd_tlist args = {0};
    kd_code c = KD_OK;
    while (c == KD_OK && p->tok.kind != KD_TK_RBRACKET) {
        kd_tnode *x;
        if (args.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        if ((c = parse_subscribed(p, &x)) == KD_OK) c = kd_tpl_push(&args, x, p->e);
    }
    if (c == KD_OK) c = kd_tpl_next(p);
    if (c == KD_OK && args.n == 1) {
        (*out)->b = args.at[0];
    } else if (c == KD_OK && (c = kd_tpl_node(p, KD_TN_TUPLE, at, &(*out)->b)) == KD_OK) {
        kd_tnode *t = (*out)->b;
        if ((c = kd_tpl_seal(p, &args, &t->list, &t->n)) == KD_OK) c = kd_tpl_deep(p, t);
    }
    kd_free(args.at);
    return c == KD_OK ? kd_tpl_deep(p, *out) : c;
}

typedef struct {
    kd_tlist args, values;
    uint32_t *names;
    size_t n_names, cap_names;
} call_args;

static kd_code bad_call(kd_tparse *p, uint32_t at) {
    return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "invalid syntax for a call's arguments");
}

static kd_code parse_keyword(kd_tparse *p, call_args *g) {
    uint32_t id, at = p->tok.at;
    KD_T(kd_tpl_intern(p->t, p->tok.text, &id, p->e));
    for (size_t i = 0; i < g->n_names; i++)
        if (g->names[i] == id)
            return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "keyword argument repeated: %.*s", (int)p->tok.text.len, p->tok.text.data);
    KD_T(kd_tpl_next(p));
    KD_T(kd_tpl_next(p));
    kd_tnode *x;
    KD_T(kd_tpl_expr(p, true, &x));
    if (kd_grow((void **)&g->names, &g->cap_names, g->n_names + 1, sizeof *g->names) != KD_OK)
        return kd_fail(p->e, KD_ENOMEM, "%s: no memory for its tree", p->t->name);
    g->names[g->n_names++] = id;
    return kd_tpl_push(&g->values, x, p->e);
}

static kd_code parse_argument(kd_tparse *p, kd_tnode *n, call_args *g, uint32_t open) {
    kd_tnode *x;
    if (p->tok.kind == KD_TK_MUL) {
        if (n->b || n->c) return bad_call(p, open);
        KD_T(kd_tpl_next(p));
        return kd_tpl_expr(p, true, &n->b);
    }
    if (p->tok.kind == KD_TK_POW) {
        if (n->c) return bad_call(p, open);
        KD_T(kd_tpl_next(p));
        return kd_tpl_expr(p, true, &n->c);
    }
    if (p->tok.kind == KD_TK_NAME) {
        const kd_ttoken *ahead;
        KD_T(kd_tpl_look(p, &ahead));
        if (ahead->kind == KD_TK_ASSIGN) return n->c ? bad_call(p, open) : parse_keyword(p, g);
    }
    if (n->b || n->c || g->n_names) return bad_call(p, open);
    KD_T(kd_tpl_expr(p, true, &x));
    return kd_tpl_push(&g->args, x, p->e);
}

/* "(" arguments ")" into n. */
static kd_code parse_call_args(kd_tparse *p, kd_tnode *n) {
    uint32_t open = p->tok.at;
    call_args g = {0};
    bool comma = false;
    kd_code c = kd_tpl_expect(p, KD_TK_LPAREN, "'('");
    while (c == KD_OK && p->tok.kind != KD_TK_RPAREN) {
        if (comma && ((c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK || p->tok.kind == KD_TK_RPAREN)) break;
        c = parse_argument(p, n, &g, open);
        comma = true;
    }
    if (c == KD_OK) c = kd_tpl_next(p);
    if (c == KD_OK) c = kd_tpl_seal(p, &g.args, &n->list, &n->n);
    if (c == KD_OK) c = kd_tpl_seal(p, &g.values, &n->list2, &n->m);
    if (c == KD_OK && n->m) {
        n->names = kd_arena_alloc(&p->t->arena, n->m * sizeof *n->names);
        if (n->names)
            memcpy(n->names, g.names, n->m * sizeof *n->names);
        else
            c = kd_fail(p->e, KD_ENOMEM, "%s: no memory for its tree", p->t->name);
    }
    kd_free(g.args.at);
    kd_free(g.values.at);
    kd_free(g.names);
    return c == KD_OK ? kd_tpl_deep(p, n) : c;
}

static kd_code parse_call(kd_tparse *p, kd_tnode *of, kd_tnode **out) {
    KD_T(kd_tpl_node(p, KD_TN_CALL, p->tok.at, out));
    (*out)->a = of;
    return parse_call_args(p, *out);
}

static kd_code parse_postfix(kd_tparse *p, kd_tnode **node) {
    for (;;) {
        kd_tk_kind k = p->tok.kind;
        if (k == KD_TK_DOT || k == KD_TK_LBRACKET)
            KD_T(parse_subscript(p, *node, node));
        else if (k == KD_TK_LPAREN)
            KD_T(parse_call(p, *node, node));
        else
            return KD_OK;
    }
}

/* ---- filters and tests ---- */

/* name(.name)* into a string of the arena. */
static kd_code parse_dotted(kd_tparse *p, kd_tnode *n) {
    kd_str s = p->tok.text;
    KD_T(kd_tpl_expect(p, KD_TK_NAME, "a name"));
    while (p->tok.kind == KD_TK_DOT) {
        KD_T(kd_tpl_next(p));
        char *both = kd_arena_alloc(&p->t->arena, s.len + p->tok.text.len + 2);
        if (!both) return kd_fail(p->e, KD_ENOMEM, "%s: no memory for a name", p->t->name);
        memcpy(both, s.data, s.len);
        both[s.len] = '.';
        memcpy(both + s.len + 1, p->tok.text.data ? p->tok.text.data : "", p->tok.text.len);
        s = (kd_str){both, s.len + 1 + p->tok.text.len};
        KD_T(kd_tpl_expect(p, KD_TK_NAME, "a name"));
    }
    return kd_tpl_intern(p->t, s, &n->name, p->e);
}

kd_code kd_tpl_filters(kd_tparse *p, kd_tnode *of, bool inline_start, kd_tnode **out) {
    *out = of;
    while (p->tok.kind == KD_TK_PIPE || inline_start) {
        kd_tnode *n;
        if (!inline_start) KD_T(kd_tpl_next(p));
        KD_T(kd_tpl_node(p, KD_TN_FILTER, p->tok.at, &n));
        n->a = *out;
        KD_T(parse_dotted(p, n));
        if (p->tok.kind == KD_TK_LPAREN) KD_T(parse_call_args(p, n));
        KD_T(kd_tpl_deep(p, n));
        *out = n;
        inline_start = false;
    }
    return KD_OK;
}

static kd_code parse_test(kd_tparse *p, kd_tnode **node) {
    kd_tnode *n, *arg;
    uint32_t at = p->tok.at;
    KD_T(kd_tpl_next(p));
    bool negated = kd_tpl_at(p, "not");
    if (negated) KD_T(kd_tpl_next(p));
    KD_T(kd_tpl_node(p, KD_TN_TEST, p->tok.at, &n));
    n->a = *node;
    KD_T(parse_dotted(p, n));
    kd_tk_kind k = p->tok.kind;
    if (k == KD_TK_LPAREN) {
        KD_T(parse_call_args(p, n));
    } else if ((k == KD_TK_NAME || k == KD_TK_STRING || k == KD_TK_INT || k == KD_TK_FLOAT || k == KD_TK_LBRACKET || k == KD_TK_LBRACE) &&
               !kd_tpl_at(p, "else") && !kd_tpl_at(p, "or") && !kd_tpl_at(p, "and")) {
        if (kd_tpl_at(p, "is")) return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "tests cannot be chained with 'is'");
        kd_tlist one = {0};
        KD_T(kd_tpl_primary(p, false, &arg));
        KD_T(parse_postfix(p, &arg));
        kd_code c = kd_tpl_push(&one, arg, p->e);
        if (c == KD_OK) c = kd_tpl_seal(p, &one, &n->list, &n->n);
        kd_free(one.at);
        KD_T(c);
    }
    KD_T(kd_tpl_deep(p, n));
    *node = n;
    if (!negated) return KD_OK;
    KD_T(kd_tpl_node(p, KD_TN_NOT, at, node));
    (*node)->a = n;
    return kd_tpl_deep(p, *node);
}

static kd_code parse_filter_expr(kd_tparse *p, kd_tnode **node) {
    for (;;) {
        if (p->tok.kind == KD_TK_PIPE)
            KD_T(kd_tpl_filters(p, *node, false, node));
        else if (kd_tpl_at(p, "is"))
            KD_T(parse_test(p, node));
        else if (p->tok.kind == KD_TK_LPAREN)
            KD_T(parse_call(p, *node, node));
        else
            return KD_OK;
    }
}

/* ---- operators ---- */

static kd_code parse_unary(kd_tparse *p, bool with_filter, kd_tnode **out) {
    kd_tk_kind k = p->tok.kind;
    if (k == KD_TK_SUB || k == KD_TK_ADD) {
        kd_tnode *n;
        KD_T(kd_tpl_enter(p));
        KD_T(kd_tpl_node(p, k == KD_TK_SUB ? KD_TN_NEG : KD_TN_POS, p->tok.at, &n));
        KD_T(kd_tpl_next(p));
        KD_T(parse_unary(p, false, &n->a));
        KD_T(kd_tpl_deep(p, n));
        *out = n;
        p->depth--;
    } else {
        KD_T(kd_tpl_primary(p, false, out));
    }
    KD_T(parse_postfix(p, out));
    return with_filter ? parse_filter_expr(p, out) : KD_OK;
}

static kd_code binary(kd_tparse *p, kd_tn_kind kind, int op, uint32_t at, kd_tnode *left, kd_tnode *right, kd_tnode **out) {
    KD_T(kd_tpl_node(p, kind, at, out));
    (*out)->op = (uint8_t)op;
    (*out)->a = left;
    (*out)->b = right;
    return kd_tpl_deep(p, *out);
}

static kd_code parse_pow(kd_tparse *p, kd_tnode **out) {
    kd_tnode *right;
    KD_T(parse_unary(p, true, out));
    while (p->tok.kind == KD_TK_POW) {
        uint32_t at = p->tok.at;
        KD_T(kd_tpl_next(p));
        KD_T(parse_unary(p, true, &right));
        KD_T(binary(p, KD_TN_BINARY, KD_TO_POW, at, *out, right, out));
    }
    return KD_OK;
}

static kd_code parse_product(kd_tparse *p, kd_tnode **out) {
    kd_tnode *right;
    KD_T(parse_pow(p, out));
    for (;;) {
        kd_tk_kind k = p->tok.kind;
        int op = k == KD_TK_MUL        ? KD_TO_MUL
                 : k == KD_TK_DIV      ? KD_TO_DIV
                 : k == KD_TK_FLOORDIV ? KD_TO_FLOORDIV
                 : k == KD_TK_MOD      ? KD_TO_MOD
                                       : -1;
        if (op < 0) return KD_OK;
        uint32_t at = p->tok.at;
        KD_T(kd_tpl_next(p));
        KD_T(parse_pow(p, &right));
        KD_T(binary(p, KD_TN_BINARY, op, at, *out, right, out));
    }
}

/* first, then the operands behind tildes, as one list. */
static kd_code parse_tildes(kd_tparse *p, kd_tnode *first, kd_tnode **out) {
    kd_tlist parts = {0};
    kd_tnode *x;
    uint32_t at = p->tok.at;
    kd_code c = kd_tpl_push(&parts, first, p->e);
    while (c == KD_OK && p->tok.kind == KD_TK_TILDE)
        if ((c = kd_tpl_next(p)) == KD_OK && (c = parse_product(p, &x)) == KD_OK) c = kd_tpl_push(&parts, x, p->e);
    if (c == KD_OK && (c = kd_tpl_node(p, KD_TN_CONCAT, at, out)) == KD_OK) c = kd_tpl_seal(p, &parts, &(*out)->list, &(*out)->n);
    kd_free(parts.at);
    return c == KD_OK ? kd_tpl_deep(p, *out) : c;
}

static kd_code parse_concat(kd_tparse *p, kd_tnode **out) {
    KD_T(parse_product(p, out));
    return p->tok.kind == KD_TK_TILDE ? parse_tildes(p, *out, out) : KD_OK;
}

static kd_code parse_sum(kd_tparse *p, kd_tnode **out) {
    kd_tnode *right;
    KD_T(parse_concat(p, out));
    while (p->tok.kind == KD_TK_ADD || p->tok.kind == KD_TK_SUB) {
        int op = p->tok.kind == KD_TK_ADD ? KD_TO_ADD : KD_TO_SUB;
        uint32_t at = p->tok.at;
        KD_T(kd_tpl_next(p));
        KD_T(parse_concat(p, &right));
        KD_T(binary(p, KD_TN_BINARY, op, at, *out, right, out));
    }
    return KD_OK;
}

/* The comparison that the current token begins, consumed; -1 if none. */
static kd_code compare_op(kd_tparse *p, int *op) {
    static const struct {
        uint8_t tk, op;
    } map[] = {{KD_TK_EQ, KD_TO_EQ}, {KD_TK_NE, KD_TO_NE}, {KD_TK_LT, KD_TO_LT},
               {KD_TK_LE, KD_TO_LE}, {KD_TK_GT, KD_TO_GT}, {KD_TK_GE, KD_TO_GE}};
    *op = -1;
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (p->tok.kind == (kd_tk_kind)map[i].tk) *op = map[i].op;
    if (kd_tpl_at(p, "in")) *op = KD_TO_IN;
    if (kd_tpl_at(p, "not")) {
        const kd_ttoken *ahead;
        KD_T(kd_tpl_look(p, &ahead));
        if (ahead->kind == KD_TK_NAME && kd_str_is(ahead->text, "in")) {
            *op = KD_TO_NOTIN;
            KD_T(kd_tpl_next(p));
        }
    }
    return *op >= 0 ? kd_tpl_next(p) : KD_OK;
}

static kd_code parse_compare(kd_tparse *p, kd_tnode **out) {
    uint32_t at = p->tok.at, *ops = NULL;
    size_t cap = 0;
    int op;
    kd_tlist operands = {0};
    kd_tnode *x, *n;
    KD_T(parse_sum(p, out));
    kd_code c = compare_op(p, &op);
    while (c == KD_OK && op >= 0) {
        c = kd_grow((void **)&ops, &cap, operands.n + 1, sizeof *ops);
        if (c != KD_OK)
            kd_fail(p->e, c, "%s: no memory for its tree", p->t->name);
        else
            ops[operands.n] = (uint32_t)op;
        if (c == KD_OK && (c = parse_sum(p, &x)) == KD_OK && (c = kd_tpl_push(&operands, x, p->e)) == KD_OK) c = compare_op(p, &op);
    }
    if (c == KD_OK && operands.n && (c = kd_tpl_node(p, KD_TN_COMPARE, at, &n)) == KD_OK) {
        n->a = *out;
        c = kd_tpl_seal(p, &operands, &n->list, &n->n);
        n->names = c == KD_OK ? kd_arena_alloc(&p->t->arena, n->n * sizeof *n->names) : NULL;
        if (n->names)
            memcpy(n->names, ops, n->n * sizeof *ops);
        else if (c == KD_OK)
            c = kd_fail(p->e, KD_ENOMEM, "%s: no memory for its tree", p->t->name);
        if (c == KD_OK) c = kd_tpl_deep(p, n);
        *out = n;
    }
    kd_free(operands.at);
    kd_free(ops);
    return c;
}

static kd_code parse_not(kd_tparse *p, kd_tnode **out) {
    if (!kd_tpl_at(p, "not")) return parse_compare(p, out);
    kd_tnode *n;
    KD_T(kd_tpl_enter(p));
    KD_T(kd_tpl_node(p, KD_TN_NOT, p->tok.at, &n));
    KD_T(kd_tpl_next(p));
    KD_T(parse_not(p, &n->a));
    p->depth--;
    *out = n;
    return kd_tpl_deep(p, n);
}

/* Operands joined by a word, from the left. */
static kd_code parse_joined(kd_tparse *p, const char *word, kd_tn_kind kind, kd_code (*operand)(kd_tparse *, kd_tnode **), kd_tnode **out) {
    kd_tnode *right;
    KD_T(operand(p, out));
    while (kd_tpl_at(p, word)) {
        uint32_t at = p->tok.at;
        KD_T(kd_tpl_next(p));
        KD_T(operand(p, &right));
        KD_T(binary(p, kind, 0, at, *out, right, out));
    }
    return KD_OK;
}
static kd_code parse_and(kd_tparse *p, kd_tnode **out) { return parse_joined(p, "and", KD_TN_AND, parse_not, out); }
static kd_code parse_or(kd_tparse *p, kd_tnode **out) { return parse_joined(p, "or", KD_TN_OR, parse_and, out); }

kd_code kd_tpl_expr(kd_tparse *p, bool conditional, kd_tnode **out) {
    KD_T(kd_tpl_enter(p));
    KD_T(parse_or(p, out));
    while (conditional && kd_tpl_at(p, "if")) {
        kd_tnode *n;
        KD_T(kd_tpl_node(p, KD_TN_COND, p->tok.at, &n));
        n->b = *out;
        KD_T(kd_tpl_next(p));
        KD_T(parse_or(p, &n->a));
        if (kd_tpl_at(p, "else")) {
            KD_T(kd_tpl_next(p));
            KD_T(kd_tpl_expr(p, true, &n->c));
        }
        KD_T(kd_tpl_deep(p, n));
        *out = n;
    }
    p->depth--;
    return KD_OK;
}
