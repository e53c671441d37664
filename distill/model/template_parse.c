/* distill/model/template_parse.c - the parser of statements, and a template's making and end. Leans on template_ast.h. */
#include "distill/base/hash.h"
#include "distill/base/utf8.h"
#include "distill/model/template_ast.h"

#include <assert.h>
#include <string.h>

static kd_code parse_statement(kd_tparse *p, kd_tnode **out);

/* The body up to one of the end tags (separated by spaces), which is then the current token, its "{%" consumed. ends NULL: end of template. */
static kd_code parse_body(kd_tparse *p, const char *ends, kd_tnode **out);

static bool at_any(const kd_tparse *p, const char *ends) {
    while (ends && *ends) {
        size_t n = strcspn(ends, " ");
        if (p->tok.kind == KD_TK_NAME && p->tok.text.len == n && memcmp(p->tok.text.data, ends, n) == 0) return true;
        ends += n + strspn(ends + n, " ");
    }
    return false;
}

/* A body that follows a tag: the rest of the tag, then the body; the end tag is the current token. */
static kd_code parse_block(kd_tparse *p, const char *ends, kd_tnode **out) {
    if (p->tok.kind == KD_TK_COLON) KD_T(kd_tpl_next(p));
    uint32_t at = p->tok.at;
    KD_T(kd_tpl_expect(p, KD_TK_BLOCK_END, "'%}'"));
    KD_T(parse_body(p, ends, out));
    if (p->tok.kind == KD_TK_EOF) return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "the template ends before {%% %s %%}", ends);
    return KD_OK;
}

static kd_code parse_last_block(kd_tparse *p, const char *end, kd_tnode **out) {
    KD_T(parse_block(p, end, out));
    return kd_tpl_next(p);
}

/* ---- targets ---- */

static bool can_assign(const kd_tnode *n) {
    if (n->kind == KD_TN_TUPLE) {
        for (uint32_t i = 0; i < n->n; i++)
            if (!can_assign(n->list[i])) return false;
        return true;
    }
    return n->kind == KD_TN_NAME || n->kind == KD_TN_NSREF;
}

static void set_store(kd_tnode *n) {
    if (n->kind == KD_TN_NAME) n->flags |= KD_TN_STORE;
    for (uint32_t i = 0; n->kind == KD_TN_TUPLE && i < n->n; i++) set_store(n->list[i]);
}

static kd_code parse_target(kd_tparse *p, bool nsref, const char *end, kd_tnode **out) {
    uint32_t at = p->tok.at;
    KD_T(kd_tpl_tuple(p, (kd_ttuple_opts){.simple = true, .nsref = nsref, .end = end}, out));
    if (!can_assign(*out)) return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "this cannot be assigned to");
    set_store(*out);
    return KD_OK;
}

/* One plain name as a target. */
static kd_code parse_target_name(kd_tparse *p, kd_tnode **out) {
    uint32_t at = p->tok.at;
    if (p->tok.kind != KD_TK_NAME) return kd_tpl_expect(p, KD_TK_NAME, "a name");
    KD_T(kd_tpl_primary(p, false, out));
    if ((*out)->kind != KD_TN_NAME) return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "this cannot be assigned to");
    set_store(*out);
    return KD_OK;
}

/* ---- statements ---- */

static kd_code parse_set(kd_tparse *p, kd_tnode *n) {
    KD_T(kd_tpl_next(p));
    KD_T(parse_target(p, true, NULL, &n->a));
    if (p->tok.kind == KD_TK_ASSIGN) {
        n->kind = KD_TN_SET;
        KD_T(kd_tpl_next(p));
        return kd_tpl_tuple(p, (kd_ttuple_opts){0}, &n->b);
    }
    n->kind = KD_TN_SETBLOCK;
    KD_T(kd_tpl_filters(p, NULL, false, &n->b));
    return parse_last_block(p, "endset", &n->d);
}

static kd_code parse_for(kd_tparse *p, kd_tnode *n) {
    n->kind = KD_TN_FOR;
    KD_T(kd_tpl_next(p));
    KD_T(parse_target(p, false, "in", &n->a));
    if (!kd_tpl_at(p, "in")) return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "expected 'in'");
    KD_T(kd_tpl_next(p));
    KD_T(kd_tpl_tuple(p, (kd_ttuple_opts){.no_conditional = true, .end = "recursive"}, &n->b));
    if (kd_tpl_at(p, "if")) {
        KD_T(kd_tpl_next(p));
        KD_T(kd_tpl_expr(p, true, &n->c));
    }
    if (kd_tpl_at(p, "recursive")) {
        n->flags |= KD_TN_RECURSIVE;
        KD_T(kd_tpl_next(p));
    }
    KD_T(parse_block(p, "endfor else", &n->d));
    bool done = kd_tpl_at(p, "endfor");
    KD_T(kd_tpl_next(p));
    return done ? KD_OK : parse_last_block(p, "endfor", &n->e);
}

static kd_code parse_if(kd_tparse *p, kd_tnode *n) {
    kd_tlist elifs = {0};
    kd_tnode *arm = n;
    n->kind = KD_TN_IF;
    kd_code c;
    for (;;) {
        if ((c = kd_tpl_next(p)) != KD_OK || (c = kd_tpl_tuple(p, (kd_ttuple_opts){.no_conditional = true}, &arm->a)) != KD_OK ||
            (c = parse_block(p, "elif else endif", &arm->d)) != KD_OK || (c = kd_tpl_deep(p, arm)) != KD_OK)
            break;
        if (kd_tpl_at(p, "elif")) {
            if ((c = kd_tpl_node(p, KD_TN_IF, p->tok.at, &arm)) != KD_OK || (c = kd_tpl_push(&elifs, arm, p->e)) != KD_OK) break;
            continue;
        }
        bool has_else = kd_tpl_at(p, "else");
        c = kd_tpl_next(p);
        if (c == KD_OK && has_else) c = parse_last_block(p, "endif", &n->e);
        break;
    }
    if (c == KD_OK) c = kd_tpl_seal(p, &elifs, &n->list, &n->n);
    kd_free(elifs.at);
    return c;
}

/* "(" names with defaults ")" */
static kd_code parse_signature(kd_tparse *p, kd_tnode *n) {
    kd_tlist params = {0}, defaults = {0};
    kd_code c = kd_tpl_expect(p, KD_TK_LPAREN, "'('");
    while (c == KD_OK && p->tok.kind != KD_TK_RPAREN) {
        kd_tnode *x = NULL;
        if (params.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        if ((c = parse_target_name(p, &x)) != KD_OK) break;
        assert(x);
        for (size_t i = 0; i < params.n; i++)
            if (params.at[i]->name == x->name) c = kd_tpl_fail(p->t, x->at, p->e, KD_EFORMAT, "two parameters of one name");
        if (c != KD_OK || (c = kd_tpl_push(&params, x, p->e)) != KD_OK) break;
        if (p->tok.kind == KD_TK_ASSIGN) {
            if ((c = kd_tpl_next(p)) == KD_OK && (c = kd_tpl_expr(p, true, &x)) == KD_OK) c = kd_tpl_push(&defaults, x, p->e);
        } else if (defaults.n) {
            c = kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "a parameter without a default behind one with");
        }
    }
    if (c == KD_OK) c = kd_tpl_next(p);
    if (c == KD_OK) c = kd_tpl_seal(p, &params, &n->list, &n->n);
    if (c == KD_OK) c = kd_tpl_seal(p, &defaults, &n->list2, &n->m);
    kd_free(params.at);
    kd_free(defaults.at);
    return c;
}

static kd_code parse_macro(kd_tparse *p, kd_tnode *n) {
    kd_tnode *name;
    n->kind = KD_TN_MACRO;
    KD_T(kd_tpl_next(p));
    KD_T(parse_target_name(p, &name));
    n->name = name->name;
    KD_T(parse_signature(p, n));
    return parse_last_block(p, "endmacro", &n->d);
}

static kd_code parse_call_block(kd_tparse *p, kd_tnode *n) {
    n->kind = KD_TN_CALLBLOCK;
    KD_T(kd_tpl_next(p));
    if (p->tok.kind == KD_TK_LPAREN) KD_T(parse_signature(p, n));
    uint32_t at = p->tok.at;
    KD_T(kd_tpl_expr(p, true, &n->a));
    if (n->a->kind != KD_TN_CALL) return kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "expected a call");
    return parse_last_block(p, "endcall", &n->d);
}

static kd_code parse_with(kd_tparse *p, kd_tnode *n) {
    kd_tlist targets = {0}, values = {0};
    kd_tnode *x;
    n->kind = KD_TN_WITH;
    kd_code c = kd_tpl_next(p);
    while (c == KD_OK && p->tok.kind != KD_TK_BLOCK_END) {
        if (targets.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        uint32_t at = p->tok.at;
        if ((c = kd_tpl_tuple(p, (kd_ttuple_opts){.simple = true}, &x)) != KD_OK) break;
        if (!can_assign(x)) {
            c = kd_tpl_fail(p->t, at, p->e, KD_EFORMAT, "this cannot be assigned to");
            break;
        }
        set_store(x);
        if ((c = kd_tpl_push(&targets, x, p->e)) != KD_OK || (c = kd_tpl_expect(p, KD_TK_ASSIGN, "'='")) != KD_OK ||
            (c = kd_tpl_expr(p, true, &x)) != KD_OK)
            break;
        c = kd_tpl_push(&values, x, p->e);
    }
    if (c == KD_OK) c = kd_tpl_seal(p, &targets, &n->list, &n->n);
    if (c == KD_OK) c = kd_tpl_seal(p, &values, &n->list2, &n->m);
    kd_free(targets.at);
    kd_free(values.at);
    return c == KD_OK ? parse_last_block(p, "endwith", &n->d) : c;
}

static kd_code parse_print(kd_tparse *p, kd_tnode *n) {
    kd_tlist items = {0};
    kd_tnode *x;
    n->kind = KD_TN_OUTPUT;
    kd_code c = kd_tpl_next(p);
    while (c == KD_OK && p->tok.kind != KD_TK_BLOCK_END) {
        if (items.n && (c = kd_tpl_expect(p, KD_TK_COMMA, "','")) != KD_OK) break;
        if ((c = kd_tpl_expr(p, true, &x)) == KD_OK) c = kd_tpl_push(&items, x, p->e);
    }
    if (c == KD_OK) c = kd_tpl_seal(p, &items, &n->list, &n->n);
    kd_free(items.at);
    return c;
}

static kd_code parse_filter_block(kd_tparse *p, kd_tnode *n) {
    n->kind = KD_TN_FILTERBLOCK;
    KD_T(kd_tpl_next(p));
    KD_T(kd_tpl_filters(p, NULL, true, &n->b));
    return parse_last_block(p, "endfilter", &n->d);
}

static kd_code parse_generation(kd_tparse *p, kd_tnode *n) {
    n->kind = KD_TN_GENERATION;
    KD_T(kd_tpl_next(p));
    return parse_last_block(p, "endgeneration", &n->d);
}

static kd_code parse_control(kd_tparse *p, kd_tnode *n) {
    n->kind = kd_tpl_at(p, "break") ? KD_TN_BREAK : KD_TN_CONTINUE;
    return kd_tpl_next(p);
}

static kd_code parse_statement(kd_tparse *p, kd_tnode **out) {
    static const struct {
        const char *tag;
        kd_code (*parse)(kd_tparse *, kd_tnode *);
    } tags[] = {{"set", parse_set},
                {"if", parse_if},
                {"for", parse_for},
                {"macro", parse_macro},
                {"call", parse_call_block},
                {"with", parse_with},
                {"filter", parse_filter_block},
                {"generation", parse_generation},
                {"break", parse_control},
                {"continue", parse_control},
                {"print", parse_print}};
    static const char *const lacking[] = {"include", "import", "from", "extends", "block", "autoescape"};
    if (p->tok.kind != KD_TK_NAME) return kd_tpl_expect(p, KD_TK_NAME, "the name of a tag");
    for (size_t i = 0; i < sizeof tags / sizeof *tags; i++) {
        if (!kd_tpl_at(p, tags[i].tag)) continue;
        KD_T(kd_tpl_enter(p));
        KD_T(kd_tpl_node(p, KD_TN_BODY, p->tok.at, out));
        KD_T(tags[i].parse(p, *out));
        p->depth--;
        return kd_tpl_deep(p, *out);
    }
    for (size_t i = 0; i < sizeof lacking / sizeof *lacking; i++)
        if (kd_tpl_at(p, lacking[i]))
            return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EUNSUPPORTED, "the tag '%s' is not supported in chat templates", lacking[i]);
    return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "unknown tag '%.*s'", (int)(p->tok.text.len < 60 ? p->tok.text.len : 60),
                       p->tok.text.data);
}

/* One piece of text as a constant to print. */
static kd_code parse_data(kd_tparse *p, kd_tlist *out) {
    kd_tnode *n = NULL;
    if (p->tok.text.len) {
        KD_T(kd_tpl_node(p, KD_TN_CONST, p->tok.at, &n));
        n->flags = KD_TN_DATA;
        n->value = (kd_tval){.type = KD_TV_STR, .u.s = p->tok.text.data, .len = p->tok.text.len};
        KD_T(kd_tpl_push(out, n, p->e));
    }
    return kd_tpl_next(p);
}

static kd_code parse_print_tag(kd_tparse *p, kd_tlist *out) {
    kd_tnode *n;
    KD_T(kd_tpl_next(p));
    KD_T(kd_tpl_tuple(p, (kd_ttuple_opts){0}, &n));
    KD_T(kd_tpl_push(out, n, p->e));
    return kd_tpl_expect(p, KD_TK_VAR_END, "'}}'");
}

/* What has been gathered to print becomes one statement. */
static kd_code flush(kd_tparse *p, kd_tlist *data, kd_tlist *body) {
    kd_tnode *n;
    if (!data->n) return KD_OK;
    KD_T(kd_tpl_node(p, KD_TN_OUTPUT, data->at[0]->at, &n));
    KD_T(kd_tpl_seal(p, data, &n->list, &n->n));
    KD_T(kd_tpl_deep(p, n));
    return kd_tpl_push(body, n, p->e);
}

static kd_code parse_body(kd_tparse *p, const char *ends, kd_tnode **out) {
    kd_tlist data = {0}, body = {0};
    kd_tnode *n = NULL;
    uint32_t at = p->tok.at;
    kd_code c = KD_OK;
    while (c == KD_OK && p->tok.kind != KD_TK_EOF) {
        if (p->tok.kind == KD_TK_DATA) {
            c = parse_data(p, &data);
        } else if (p->tok.kind == KD_TK_VAR_BEGIN) {
            c = parse_print_tag(p, &data);
        } else { /* {% */
            if ((c = flush(p, &data, &body)) != KD_OK || (c = kd_tpl_next(p)) != KD_OK || at_any(p, ends)) break;
            if ((c = parse_statement(p, &n)) == KD_OK && (c = kd_tpl_push(&body, n, p->e)) == KD_OK)
                c = kd_tpl_expect(p, KD_TK_BLOCK_END, "'%}'");
        }
    }
    if (c == KD_OK) c = flush(p, &data, &body);
    if (c == KD_OK && (c = kd_tpl_node(p, KD_TN_BODY, at, out)) == KD_OK && (c = kd_tpl_seal(p, &body, &(*out)->list, &(*out)->n)) == KD_OK)
        c = kd_tpl_deep(p, *out);
    kd_free(data.at);
    kd_free(body.at);
    return c;
}

kd_code kd_tpl_parse(kd_template *t, kd_err *e) {
    kd_tparse p = {.t = t, .lex = {.t = t, .line_starting = true, .e = e}, .e = e};
    KD_T(kd_tpl_next(&p));
    return parse_body(&p, NULL, &t->root);
}

/* ---- names ---- */

static kd_code rehash(kd_template *t, kd_err *e) {
    uint32_t cap = t->cap_slots ? t->cap_slots * 2 : 64;
    uint32_t *slots = kd_calloc(cap, sizeof *slots);
    if (!slots) return kd_fail(e, KD_ENOMEM, "%s: no memory for its names", t->name);
    for (uint32_t i = 0; i < t->n_names; i++) {
        uint32_t h = (uint32_t)kd_hash64(t->names[i].data, t->names[i].len, 0) & (cap - 1);
        while (slots[h]) h = (h + 1) & (cap - 1);
        slots[h] = i + 1;
    }
    kd_free(t->name_slots);
    t->name_slots = slots;
    t->cap_slots = cap;
    return KD_OK;
}

kd_code kd_tpl_intern(kd_template *t, kd_str s, uint32_t *id, kd_err *e) {
    if (t->n_names * 2 >= t->cap_slots) KD_T(rehash(t, e));
    uint32_t h = (uint32_t)kd_hash64(s.data, s.len, 0) & (t->cap_slots - 1);
    for (; t->name_slots[h]; h = (h + 1) & (t->cap_slots - 1))
        if (kd_str_eq(t->names[t->name_slots[h] - 1], s)) {
            *id = t->name_slots[h] - 1;
            return KD_OK;
        }
    size_t cap = t->cap_names;
    char *copy = kd_arena_strndup(&t->arena, s.data, s.len);
    if (!copy || kd_grow((void **)&t->names, &cap, t->n_names + 1u, sizeof *t->names) != KD_OK)
        return kd_fail(e, KD_ENOMEM, "%s: no memory for its names", t->name);
    t->cap_names = (uint32_t)cap;
    t->names[t->n_names] = (kd_str){copy, s.len};
    *id = t->n_names;
    t->name_slots[h] = ++t->n_names;
    return KD_OK;
}

/* ---- a template ---- */

/* CRLF and CR become LF, and one newline at the end is dropped, as jinja2 does. */
static kd_code take_source(kd_template *t, const char *source, size_t len, kd_err *e) {
    char *given = kd_arena_strndup(&t->arena, source, len), *s = kd_arena_alloc(&t->arena, len + 1);
    if (!given || !s) return kd_fail(e, KD_ENOMEM, "%s: no memory for %zu bytes of template", t->name, len);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r' && i + 1 < len && source[i + 1] == '\n') continue;
        s[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (n && s[n - 1] == '\n') n--;
    t->given = (kd_str){given, len};
    t->source = (kd_str){s, n};
    return KD_OK;
}

kd_code kd_template_new(kd_template **out, const char *source, size_t len, const char *name, kd_err *e) {
    *out = NULL;
    if (!name) name = "chat template";
    if (len > KD_TPL_SOURCE)
        return kd_fail(e, KD_ELIMIT, "%s: %zu bytes, more than the %d that a template may have", name, len, KD_TPL_SOURCE);
    if (!kd_utf8_valid(source, len)) return kd_fail(e, KD_EFORMAT, "%s: not valid UTF-8", name);
    kd_template *t = kd_calloc(1, sizeof *t);
    if (!t) return kd_fail(e, KD_ENOMEM, "%s: no memory for a template", name);
    t->name = kd_strdup(name);
    kd_code c = t->name ? take_source(t, source, len, e) : kd_fail(e, KD_ENOMEM, "%s: no memory for a template", name);
    if (c == KD_OK) c = kd_tpl_parse(t, e);
    if (c == KD_OK) c = kd_tpl_resolve(t, e);
    if (c == KD_OK)
        *out = t;
    else
        kd_template_free(t);
    return c;
}

void kd_template_free(kd_template *t) {
    if (!t) return;
    kd_arena_clear(&t->arena);
    kd_free(t->names);
    kd_free(t->reads);
    kd_free(t->name_slots);
    kd_free(t->name);
    kd_free(t);
}

const char *kd_template_source(const kd_template *t, size_t *len) {
    if (len) *len = t->given.len;
    return t->given.data;
}
