/* datasets/math_node.c - nodes of the tree of an answer: new ones, copies with a name put in or one side of each plus-or-minus taken, what is among them.
 * Leans on math_int.h. */
#include "datasets/math_int.h"

#include <stdio.h>

kd_node *kd_node_new(kd_math *m, kd_node_kind kind, int n, kd_node **kids) {
    if (++m->nodes > KD_MATH_NODES) return NULL;
    for (int i = 0; i < n; i++)
        if (!kids[i]) return NULL;
    kd_node *x = kd_arena_alloc(m->arena, sizeof *x);
    if (!x) return NULL;
    x->kind = kind;
    x->n = n;
    if (n && !(x->kid = kd_arena_alloc(m->arena, (size_t)n * sizeof *x->kid))) return NULL;
    for (int i = 0; i < n; i++) x->kid[i] = kids[i];
    return x;
}

kd_node *kd_node_int(kd_math *m, long v) {
    char s[32];
    const int n = snprintf(s, sizeof s, "%ld", v < 0 ? -v : v);
    kd_node *x = kd_node_new(m, N_NUM, 0, NULL);
    if (!x || !(x->text.data = kd_arena_strndup(m->arena, s, (size_t)n))) return NULL;
    x->text.len = (size_t)n;
    return v < 0 ? kd_node_new(m, N_NEG, 1, &x) : x;
}

/* ---- copies ---- */
static kd_node *copy(kd_math *m, const kd_node *n, kd_str name, const kd_node *with, int side) {
    if (with && n->kind == N_NAME && kd_str_eq(n->text, name)) return copy(m, with, (kd_str){NULL, 0}, NULL, side);
    kd_node **kids = kd_arena_alloc(m->arena, (size_t)(n->n ? n->n : 1) * sizeof *kids);
    if (!kids) return NULL;
    for (int i = 0; i < n->n; i++)
        if (!(kids[i] = copy(m, n->kid[i], name, with, side))) return NULL;
    if (n->kind == N_PM && side) {
        kd_node *b = n->sign * side > 0 ? kids[1] : kd_node_new(m, N_NEG, 1, &kids[1]);
        return b ? kd_node_new(m, N_ADD, 2, (kd_node *[]){kids[0], b}) : NULL;
    }
    kd_node *x = kd_node_new(m, n->kind, n->n, kids);
    if (!x) return NULL;
    kd_node **own = x->kid;
    *x = *n;
    x->kid = own;
    return x;
}

kd_node *kd_node_put(kd_math *m, const kd_node *n, kd_str name, const kd_node *with) { return copy(m, n, name, with, 0); }
kd_node *kd_node_side(kd_math *m, const kd_node *n, int side) { return copy(m, n, (kd_str){NULL, 0}, NULL, side); }

bool kd_node_has(const kd_node *n, kd_node_kind kind) {
    if (n->kind == kind) return true;
    for (int i = 0; i < n->n; i++)
        if (kd_node_has(n->kid[i], kind)) return true;
    return false;
}

bool kd_node_scalar(const kd_node *n) {
    switch (n->kind) {
    case N_NUM:
    case N_NAME:
    case N_PI:
    case N_E:
    case N_I:
    case N_ADD:
    case N_MUL:
    case N_DIV:
    case N_NEG:
    case N_POW:
    case N_ROOT:
    case N_FUNC:
    case N_ABS:
    case N_FACT:
    case N_BINOM:
    case N_PERCENT:
    case N_DEGREE:
    case N_UNIT: break;
    default: return false;
    }
    for (int i = 0; i < n->n; i++)
        if (!kd_node_scalar(n->kid[i])) return false;
    return true;
}
