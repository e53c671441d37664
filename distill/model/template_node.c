/* distill/model/template_node.c - what both parsers stand on: the tokens ahead, nodes and lists of the tree, and its bounds. Leans on template_ast.h. */
#include "distill/model/template_ast.h"

#include <string.h>

#undef kd_tpl_unexpected /* a macro for the analyzer */

kd_code kd_tpl_next(kd_tparse *p) {
    if (p->has_ahead) {
        p->tok = p->ahead;
        p->has_ahead = false;
        return KD_OK;
    }
    return kd_tpl_lex(&p->lex, &p->tok);
}

kd_code kd_tpl_look(kd_tparse *p, const kd_ttoken **ahead) {
    if (!p->has_ahead) KD_T(kd_tpl_lex(&p->lex, &p->ahead));
    p->has_ahead = true;
    *ahead = &p->ahead;
    return KD_OK;
}

bool kd_tpl_at(const kd_tparse *p, const char *keyword) { return p->tok.kind == KD_TK_NAME && kd_str_is(p->tok.text, keyword); }

kd_code kd_tpl_unexpected(kd_tparse *p, const char *expected) {
    char b[64];
    const char *got = kd_tpl_token_name(&p->tok, b, sizeof b);
    if (expected) return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "expected %s, got %s", expected, got);
    return kd_tpl_fail(p->t, p->tok.at, p->e, KD_EFORMAT, "unexpected %s", got);
}

kd_code kd_tpl_expect(kd_tparse *p, kd_tk_kind kind, const char *what) {
    return p->tok.kind == kind ? kd_tpl_next(p) : kd_tpl_unexpected(p, what);
}

kd_code kd_tpl_enter(kd_tparse *p) {
    if (++p->depth > KD_TPL_NEST) return kd_tpl_fail(p->t, p->tok.at, p->e, KD_ELIMIT, "nested more than %d deep", KD_TPL_NEST);
    return KD_OK;
}

kd_code kd_tpl_node(kd_tparse *p, kd_tn_kind kind, uint32_t at, kd_tnode **out) {
    if (++p->t->nodes > KD_TPL_NODES) return kd_tpl_fail(p->t, at, p->e, KD_ELIMIT, "a template of more than %d nodes", KD_TPL_NODES);
    kd_tnode *n = kd_arena_alloc(&p->t->arena, sizeof *n);
    if (!n) return kd_fail(p->e, KD_ENOMEM, "%s: no memory for its tree", p->t->name);
    n->kind = (uint8_t)kind;
    n->at = at;
    n->depth = 1;
    *out = n;
    return KD_OK;
}

kd_code kd_tpl_push(kd_tlist *l, kd_tnode *n, kd_err *e) {
    if (kd_grow((void **)&l->at, &l->cap, l->n + 1, sizeof *l->at) != KD_OK)
        return kd_fail(e, KD_ENOMEM, "no memory for a template's tree");
    l->at[l->n++] = n;
    return KD_OK;
}

kd_code kd_tpl_seal(kd_tparse *p, kd_tlist *l, kd_tnode ***out, uint32_t *n) {
    *n = (uint32_t)l->n;
    *out = NULL;
    if (l->n) {
        *out = kd_arena_alloc(&p->t->arena, l->n * sizeof **out);
        if (*out) memcpy(*out, l->at, l->n * sizeof **out);
    }
    bool ok = *out || !l->n;
    kd_free(l->at);
    *l = (kd_tlist){0};
    return ok ? KD_OK : kd_fail(p->e, KD_ENOMEM, "%s: no memory for its tree", p->t->name);
}

void kd_tpl_deepen(kd_tnode *n, const kd_tnode *child) {
    if (child && child->depth >= n->depth) n->depth = (uint16_t)(child->depth + 1);
}

kd_code kd_tpl_deep(kd_tparse *p, kd_tnode *n) {
    kd_tpl_deepen(n, n->a);
    kd_tpl_deepen(n, n->b);
    kd_tpl_deepen(n, n->c);
    kd_tpl_deepen(n, n->d);
    kd_tpl_deepen(n, n->e);
    for (uint32_t i = 0; i < n->n; i++) kd_tpl_deepen(n, n->list[i]);
    for (uint32_t i = 0; n->list2 && i < n->m; i++) kd_tpl_deepen(n, n->list2[i]);
    if (n->depth > KD_TPL_TREE) return kd_tpl_fail(p->t, n->at, p->e, KD_ELIMIT, "an expression of more than %d levels", KD_TPL_TREE);
    return KD_OK;
}
