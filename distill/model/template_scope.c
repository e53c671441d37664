/* distill/model/template_scope.c - where each name of a template lives. Leans on template_ast.h.
 * jinja2 compiles templates to Python functions; which variable a name means, and what it holds at first, is settled before anything runs.
 * We settle it by the same rules: a frame has a variable for each name that it stores, which begins as a copy of the outer one (alias),
 * as the context's value (resolve) or undefined; loops, with, filter and set blocks have frames, if has none; macros, call blocks, loop
 * tests and recursive loops are functions of their own that see the variables around them as they are when called. */
#include "distill/model/template_ast.h"

#include <string.h>

typedef struct func {
    struct func *parent;
    int depth;
    uint32_t slots;
    kd_tfn *out;
    struct {
        uint32_t level, name, slot;
    } * at; /* open addressing over (level, name); slot + 1 */
    uint32_t cap;
} func;

typedef struct {
    uint32_t name, slot, load; /* load: index + 1 of its load */
    bool stored;
} ref;

typedef struct symbols {
    struct symbols *parent;
    func *fn;
    uint32_t level;
    ref *refs; /* open addressing; name + 1 in .name, 0 = empty */
    uint32_t n, cap;
    kd_tload *loads;
    size_t n_loads, cap_loads;
    uint32_t *journal; /* names in the order in which they were first stored */
    size_t n_journal, cap_journal;
} symbols;

typedef struct {
    kd_template *t;
    kd_err *e;
    uint32_t id_loop, id_special[3]; /* caller, kwargs, varargs */
} ctx;

typedef struct {
    symbols *s;
    bool soft; /* inside an if: unknown filters and tests fail only when used */
    bool in_loop;
} scope;

static kd_code no_memory(ctx *x) { return kd_fail(x->e, KD_ENOMEM, "%s: no memory for its names", x->t->name); }

/* ---- functions and their slots ---- */

static func *func_new(ctx *x, func *parent) {
    func *f = kd_calloc(1, sizeof *f);
    if (!f) return NULL;
    f->parent = parent;
    f->depth = parent ? parent->depth + 1 : 0;
    f->out = kd_arena_alloc(&x->t->arena, sizeof *f->out);
    if (!f->out) {
        kd_free(f);
        return NULL;
    }
    return f;
}

static void func_end(func *f) {
    if (!f) return;
    f->out->slots = f->slots;
    kd_free(f->at);
    kd_free(f);
}

static uint32_t mix(uint32_t a, uint32_t b) { return (a * 0x9e3779b1u) ^ (b * 0x85ebca6bu); }

static kd_code func_slot(ctx *x, func *f, uint32_t level, uint32_t name, uint32_t *slot) {
    if (f->slots * 2 >= f->cap) {
        uint32_t cap = f->cap ? f->cap * 2 : 16;
        void *old = f->at;
        uint32_t old_cap = f->cap;
        f->at = kd_calloc(cap, sizeof *f->at);
        if (!f->at) {
            f->at = old;
            return no_memory(x);
        }
        f->cap = cap;
        for (uint32_t i = 0; i < old_cap; i++) {
            uint32_t *e = (uint32_t *)old + 3 * (size_t)i, h = mix(e[0], e[1]) & (cap - 1);
            if (!e[2]) continue;
            while (f->at[h].slot) h = (h + 1) & (cap - 1);
            memcpy(&f->at[h], e, sizeof f->at[h]);
        }
        kd_free(old);
    }
    uint32_t h = mix(level, name) & (f->cap - 1);
    while (f->at[h].slot && (f->at[h].level != level || f->at[h].name != name)) h = (h + 1) & (f->cap - 1);
    if (!f->at[h].slot) {
        f->at[h].level = level;
        f->at[h].name = name;
        f->at[h].slot = ++f->slots;
    }
    *slot = f->at[h].slot - 1;
    return KD_OK;
}

/* ---- symbols of a frame ---- */

static symbols *symbols_new(symbols *parent, func *fn) {
    symbols *s = kd_calloc(1, sizeof *s);
    if (s) {
        s->parent = parent;
        s->fn = fn;
        s->level = parent ? parent->level + 1 : 0;
    }
    return s;
}

static void symbols_free(symbols *s) {
    if (!s) return;
    kd_free(s->refs);
    kd_free(s->loads);
    kd_free(s->journal);
    kd_free(s);
}

static ref *own_ref(const symbols *s, uint32_t name) {
    if (!s->cap) return NULL;
    for (uint32_t h = mix(name, 7) & (s->cap - 1); s->refs[h].name; h = (h + 1) & (s->cap - 1))
        if (s->refs[h].name == name + 1) return &s->refs[h];
    return NULL;
}

/* The frame that has the name, from s outwards, and its entry there. */
static ref *find_ref(symbols *s, uint32_t name, symbols **owner) {
    for (; s; s = s->parent) {
        ref *r = own_ref(s, name);
        if (r) {
            *owner = s;
            return r;
        }
    }
    return NULL;
}

static kd_code refs_grow(ctx *x, symbols *s) {
    uint32_t cap = s->cap ? s->cap * 2 : 16;
    ref *refs = kd_calloc(cap, sizeof *refs);
    if (!refs) return no_memory(x);
    for (uint32_t i = 0; i < s->cap; i++) {
        if (!s->refs[i].name) continue;
        uint32_t h = mix(s->refs[i].name - 1, 7) & (cap - 1);
        while (refs[h].name) h = (h + 1) & (cap - 1);
        refs[h] = s->refs[i];
    }
    kd_free(s->refs);
    s->refs = refs;
    s->cap = cap;
    return KD_OK;
}

static kd_code set_load(ctx *x, symbols *s, uint32_t slot, kd_tl_action action, uint32_t name, const symbols *owner, const ref *from) {
    kd_tload l = {.slot = slot, .name = name, .action = (uint8_t)action};
    if (action == KD_TL_ALIAS) {
        l.from = from->slot;
        l.hops = (uint16_t)(s->fn->depth - owner->fn->depth);
    }
    if (action == KD_TL_RESOLVE) x->t->reads[name] = true;
    ref *r = own_ref(s, name);
    if (r->load) {
        s->loads[r->load - 1] = l;
        return KD_OK;
    }
    if (kd_grow((void **)&s->loads, &s->cap_loads, s->n_loads + 1, sizeof *s->loads) != KD_OK) return no_memory(x);
    s->loads[s->n_loads++] = l;
    r->load = (uint32_t)s->n_loads;
    return KD_OK;
}

static kd_code define_ref(ctx *x, symbols *s, uint32_t name, kd_tl_action action, const symbols *owner, const ref *from) {
    uint32_t slot = 0;
    ref outer = {0};
    if (from) outer = *from;
    KD_T(func_slot(x, s->fn, s->level, name, &slot));
    ref *r = own_ref(s, name);
    if (!r) {
        if (s->n * 2 >= s->cap) KD_T(refs_grow(x, s));
        uint32_t h = mix(name, 7) & (s->cap - 1);
        while (s->refs[h].name) h = (h + 1) & (s->cap - 1);
        s->refs[h] = (ref){.name = name + 1, .slot = slot};
        s->n++;
    }
    return set_load(x, s, slot, action, name, owner, from ? &outer : NULL);
}

static kd_code sym_load(ctx *x, symbols *s, uint32_t name) {
    symbols *owner;
    return find_ref(s, name, &owner) ? KD_OK : define_ref(x, s, name, KD_TL_RESOLVE, NULL, NULL);
}

static kd_code mark_stored(ctx *x, symbols *s, uint32_t name) {
    ref *r = own_ref(s, name);
    if (r->stored) return KD_OK;
    r->stored = true;
    if (kd_grow((void **)&s->journal, &s->cap_journal, s->n_journal + 1, sizeof *s->journal) != KD_OK) return no_memory(x);
    s->journal[s->n_journal++] = name;
    return KD_OK;
}

static kd_code sym_store(ctx *x, symbols *s, uint32_t name) {
    if (!own_ref(s, name)) {
        symbols *owner = NULL;
        ref *outer = find_ref(s->parent, name, &owner);
        KD_T(define_ref(x, s, name, outer ? KD_TL_ALIAS : KD_TL_UNDEF, owner, outer));
    }
    return mark_stored(x, s, name);
}

static kd_code sym_param(ctx *x, symbols *s, uint32_t name) {
    KD_T(define_ref(x, s, name, KD_TL_PARAM, NULL, NULL));
    return mark_stored(x, s, name);
}

/* ---- what a frame's code loads and stores ---- */

static kd_code see_expr(ctx *x, symbols *s, const kd_tnode *n);

static kd_code see_children(ctx *x, symbols *s, const kd_tnode *n) {
    KD_T(see_expr(x, s, n->a));
    KD_T(see_expr(x, s, n->b));
    KD_T(see_expr(x, s, n->c));
    for (uint32_t i = 0; i < n->n; i++) KD_T(see_expr(x, s, n->list[i]));
    for (uint32_t i = 0; n->list2 && i < n->m; i++) KD_T(see_expr(x, s, n->list2[i]));
    return KD_OK;
}

static kd_code see_expr(ctx *x, symbols *s, const kd_tnode *n) {
    if (!n) return KD_OK;
    if (n->kind == KD_TN_NAME && n->flags & KD_TN_STORE) return sym_store(x, s, n->name);
    if (n->kind == KD_TN_NAME || n->kind == KD_TN_NSREF) return sym_load(x, s, n->name);
    return see_children(x, s, n);
}

static kd_code see_params(ctx *x, symbols *s, const kd_tnode *n) {
    if (n->kind == KD_TN_NAME) return sym_param(x, s, n->name);
    for (uint32_t i = 0; i < n->n; i++) KD_T(see_params(x, s, n->list[i]));
    return KD_OK;
}

static kd_code see_body(ctx *x, symbols *s, const kd_tnode *body);

static kd_code see_if(ctx *x, symbols *s, const kd_tnode *n) {
    KD_T(see_expr(x, s, n->a));
    size_t mark = s->n_journal;
    KD_T(see_body(x, s, n->d));
    for (uint32_t i = 0; i < n->n; i++) KD_T(see_if(x, s, n->list[i]));
    if (n->e) KD_T(see_body(x, s, n->e));
    for (size_t i = mark; i < s->n_journal; i++) { /* perhaps not stored: it begins as what it is outside */
        uint32_t name = s->journal[i];
        symbols *owner = NULL;
        ref *outer = find_ref(s->parent, name, &owner);
        KD_T(set_load(x, s, own_ref(s, name)->slot, outer ? KD_TL_ALIAS : KD_TL_RESOLVE, name, owner, outer));
    }
    return KD_OK;
}

static kd_code see_statement(ctx *x, symbols *s, const kd_tnode *n) {
    switch ((kd_tn_kind)n->kind) {
    case KD_TN_OUTPUT: return see_children(x, s, n);
    case KD_TN_FOR: return see_expr(x, s, n->b);
    case KD_TN_IF: return see_if(x, s, n);
    case KD_TN_SET: KD_T(see_expr(x, s, n->b)); return see_expr(x, s, n->a);
    case KD_TN_SETBLOCK:
    case KD_TN_CALLBLOCK: return see_expr(x, s, n->a);
    case KD_TN_MACRO: return sym_store(x, s, n->name);
    case KD_TN_FILTERBLOCK: return see_expr(x, s, n->b);
    case KD_TN_WITH:
        for (uint32_t i = 0; i < n->m; i++) KD_T(see_expr(x, s, n->list2[i]));
        return KD_OK;
    default: return KD_OK;
    }
}

static kd_code see_body(ctx *x, symbols *s, const kd_tnode *body) {
    for (uint32_t i = 0; i < body->n; i++) KD_T(see_statement(x, s, body->list[i]));
    return KD_OK;
}

/* Which of three names (KD_TPL_NONE: nobody) are loaded in the tree before anything stores them there; jinja2's find_undeclared. */
static void undeclared(const kd_tnode *n, uint32_t names[3], bool found[3]) {
    if (!n) return;
    if (n->kind == KD_TN_NAME) {
        for (int i = 0; i < 3; i++)
            if (names[i] == n->name) {
                if (n->flags & KD_TN_STORE)
                    names[i] = KD_TPL_NONE;
                else
                    found[i] = true;
            }
        return;
    }
    bool targets_last = n->kind == KD_TN_FILTERBLOCK;
    if (targets_last) undeclared(n->d, names, found);
    undeclared(n->a, names, found);
    if (n->kind == KD_TN_FOR || n->kind == KD_TN_CALLBLOCK || n->kind == KD_TN_MACRO || n->kind == KD_TN_WITH) {
        undeclared(n->b, names, found);
        for (uint32_t i = 0; i < n->n; i++) undeclared(n->list[i], names, found);
        for (uint32_t i = 0; i < n->m; i++) undeclared(n->list2[i], names, found);
        undeclared(n->d, names, found);
        undeclared(n->e, names, found);
        undeclared(n->c, names, found);
        return;
    }
    undeclared(n->b, names, found);
    undeclared(n->c, names, found);
    if (!targets_last) undeclared(n->d, names, found);
    for (uint32_t i = 0; i < n->n; i++) undeclared(n->list[i], names, found);
    for (uint32_t i = 0; n->list2 && i < n->m; i++) undeclared(n->list2[i], names, found);
    undeclared(n->e, names, found);
}

/* ---- the second walk: every name gets its slot ---- */

static kd_code res_body(ctx *x, scope sc, kd_tnode *body);
static kd_code res_expr(ctx *x, scope sc, kd_tnode *n);

static kd_code res_name(ctx *x, scope sc, kd_tnode *n) {
    symbols *owner;
    ref *r = find_ref(sc.s, n->name, &owner);
    if (!r) return kd_tpl_fail(x->t, n->at, x->e, KD_EUNSUPPORTED, "the name '%s' cannot be used here", x->t->names[n->name].data);
    n->slot = r->slot;
    n->hops = (uint16_t)(sc.s->fn->depth - owner->fn->depth);
    return KD_OK;
}

static kd_code res_children(ctx *x, scope sc, kd_tnode *n) {
    KD_T(res_expr(x, sc, n->a));
    KD_T(res_expr(x, sc, n->b));
    KD_T(res_expr(x, sc, n->c));
    for (uint32_t i = 0; i < n->n; i++) KD_T(res_expr(x, sc, n->list[i]));
    for (uint32_t i = 0; n->list2 && i < n->m; i++) KD_T(res_expr(x, sc, n->list2[i]));
    return KD_OK;
}

static kd_code res_expr(ctx *x, scope sc, kd_tnode *n) {
    if (!n) return KD_OK;
    if (n->kind == KD_TN_NAME || n->kind == KD_TN_NSREF) return res_name(x, sc, n);
    if (n->kind == KD_TN_FILTER || n->kind == KD_TN_TEST) {
        bool filter = n->kind == KD_TN_FILTER;
        kd_str name = x->t->names[n->name];
        int id = filter ? kd_tpl_filter_id(name) : kd_tpl_test_id(name);
        n->slot = id < 0 ? KD_TPL_NONE : (uint32_t)id;
        if (id < 0 && !sc.soft)
            return kd_tpl_fail(x->t, n->at, x->e, KD_EFORMAT, "no %s named '%s'", filter ? "filter" : "test", name.data);
    }
    if (n->kind == KD_TN_COND) sc.soft = true;
    return res_children(x, sc, n);
}

static kd_code seal_frame(ctx *x, const symbols *s, kd_tframe **out) {
    *out = kd_arena_alloc(&x->t->arena, sizeof **out);
    if (!*out) return no_memory(x);
    (*out)->n = (uint32_t)s->n_loads;
    if (!s->n_loads) return KD_OK;
    (*out)->loads = kd_arena_alloc(&x->t->arena, s->n_loads * sizeof *s->loads);
    if (!(*out)->loads) return no_memory(x);
    memcpy((*out)->loads, s->loads, s->n_loads * sizeof *s->loads);
    return KD_OK;
}

/* A macro's, call block's or generation block's function. sc is the frame around it. */
static kd_code res_macro(ctx *x, scope sc, kd_tnode *n) {
    static const uint8_t flags[3] = {KD_TN_CALLER, KD_TN_KWARGS, KD_TN_VARARGS};
    func *fn = func_new(x, sc.s->fn);
    symbols *s = fn ? symbols_new(sc.s, fn) : NULL;
    bool found[3] = {false, false, false};
    uint32_t special[3] = {x->id_special[0], x->id_special[1], x->id_special[2]};
    kd_code c = s ? KD_OK : no_memory(x);
    n->names = c == KD_OK ? kd_arena_alloc(&x->t->arena, 3 * sizeof *n->names) : NULL;
    if (c == KD_OK && !n->names) c = no_memory(x);
    for (uint32_t i = 0; c == KD_OK && i < n->n; i++) c = sym_param(x, s, n->list[i]->name);
    for (uint32_t i = 0; c == KD_OK && i < n->m; i++) c = see_expr(x, s, n->list2[i]);
    if (c == KD_OK) c = see_body(x, s, n->d);
    undeclared(n->d, special, found);
    for (int i = 0; c == KD_OK && i < 3; i++) {
        uint32_t own = KD_TPL_NONE;
        for (uint32_t k = 0; k < n->n; k++)
            if (n->list[k]->name == x->id_special[i]) own = k;
        n->names[i] = KD_TPL_NONE;
        if (i == 0 && own != KD_TPL_NONE) {
            n->flags |= KD_TN_XCALLER;
            if (found[0] && own + n->m < n->n)
                c = kd_tpl_fail(x->t, n->at, x->e, KD_EFORMAT, "the parameter 'caller' must be left out or have a default");
        }
        if (found[i] && (own == KD_TPL_NONE || i == 0)) n->flags |= flags[i];
        if (c == KD_OK && found[i] && own == KD_TPL_NONE && (c = sym_param(x, s, x->id_special[i])) == KD_OK)
            n->names[i] = own_ref(s, x->id_special[i])->slot;
    }
    scope inner = {.s = s};
    for (uint32_t i = 0; c == KD_OK && i < n->n; i++) c = res_name(x, inner, n->list[i]);
    for (uint32_t i = 0; c == KD_OK && i < n->m; i++) c = res_expr(x, inner, n->list2[i]);
    if (c == KD_OK) c = seal_frame(x, s, &n->frame);
    if (c == KD_OK) c = res_body(x, inner, n->d);
    if (fn) n->fn = fn->out;
    symbols_free(s);
    func_end(fn);
    return c;
}

static bool stores_loop(const ctx *x, const kd_tnode *n) {
    if (!n) return false;
    if (n->kind == KD_TN_NAME) return n->flags & KD_TN_STORE && n->name == x->id_loop;
    if (stores_loop(x, n->a) || stores_loop(x, n->b) || stores_loop(x, n->c) || stores_loop(x, n->d) || stores_loop(x, n->e)) return true;
    for (uint32_t i = 0; i < n->n; i++)
        if (stores_loop(x, n->list[i])) return true;
    for (uint32_t i = 0; n->list2 && i < n->m; i++)
        if (stores_loop(x, n->list2[i])) return true;
    return false;
}

/* The place of each target in the test's function. */
static void set_test_slots(const symbols *s, kd_tnode *target) {
    if (target->kind == KD_TN_NAME) target->m = own_ref(s, target->name)->slot;
    for (uint32_t i = 0; target->kind == KD_TN_TUPLE && i < target->n; i++) set_test_slots(s, target->list[i]);
}

/* The loop's test: a function of its own, with the targets as its variables. */
static kd_code res_loop_test(ctx *x, scope sc, kd_tnode *n) {
    func *fn = func_new(x, sc.s->fn);
    symbols *s = fn ? symbols_new(sc.s, fn) : NULL;
    kd_code c = s ? see_params(x, s, n->a) : no_memory(x);
    if (c == KD_OK) set_test_slots(s, n->a);
    if (c == KD_OK) c = see_expr(x, s, n->c);
    if (c == KD_OK) c = res_expr(x, (scope){.s = s}, n->c);
    if (c == KD_OK) c = seal_frame(x, s, &n->frame3);
    if (fn) n->fn2 = fn->out;
    symbols_free(s);
    func_end(fn);
    return c;
}

static kd_code res_for(ctx *x, scope sc, kd_tnode *n) {
    uint32_t names[3] = {x->id_loop, KD_TPL_NONE, KD_TPL_NONE};
    bool found[3] = {false, false, false};
    if (stores_loop(x, n)) return kd_tpl_fail(x->t, n->at, x->e, KD_EFORMAT, "the special variable 'loop' cannot be assigned to in a loop");
    undeclared(n->d, names, found);
    if (found[0] || n->flags & KD_TN_RECURSIVE) n->flags |= KD_TN_LOOPVAR;
    func *fn = n->flags & KD_TN_RECURSIVE ? func_new(x, sc.s->fn) : sc.s->fn;
    symbols *s = fn ? symbols_new(sc.s, fn) : NULL, *other = fn && n->e ? symbols_new(sc.s, fn) : NULL;
    kd_code c = !s || (n->e && !other) ? no_memory(x) : KD_OK;
    n->slot = KD_TPL_NONE;
    if (c == KD_OK && n->flags & KD_TN_LOOPVAR && (c = sym_param(x, s, x->id_loop)) == KD_OK) n->slot = own_ref(s, x->id_loop)->slot;
    if (c == KD_OK) c = see_params(x, s, n->a);
    if (c == KD_OK) c = see_body(x, s, n->d);
    if (c == KD_OK && n->e) c = see_body(x, other, n->e);
    if (c == KD_OK && n->c) /* the test's targets are resolved first, then the loop's own over them */
        c = res_loop_test(x, (scope){.s = sc.s}, n);
    scope inner = {.s = s, .in_loop = true};
    if (c == KD_OK) c = res_expr(x, inner, n->a);
    if (c == KD_OK) c = seal_frame(x, s, &n->frame);
    if (c == KD_OK) c = res_body(x, inner, n->d);
    if (c == KD_OK && n->e && (c = seal_frame(x, other, &n->frame2)) == KD_OK)
        c = res_body(x, (scope){.s = other, .in_loop = sc.in_loop && !(n->flags & KD_TN_RECURSIVE)}, n->e);
    if (c == KD_OK) c = res_expr(x, sc, n->b);
    symbols_free(s);
    symbols_free(other);
    if (fn && n->flags & KD_TN_RECURSIVE) {
        n->fn = fn->out;
        func_end(fn);
    }
    return c;
}

static kd_code res_if(ctx *x, scope sc, kd_tnode *n) {
    sc.soft = true;
    KD_T(res_expr(x, sc, n->a));
    KD_T(res_body(x, sc, n->d));
    for (uint32_t i = 0; i < n->n; i++) KD_T(res_if(x, sc, n->list[i]));
    return n->e ? res_body(x, sc, n->e) : KD_OK;
}

/* set, filter and with blocks: a frame in the function around. */
static kd_code res_inner(ctx *x, scope sc, kd_tnode *n) {
    symbols *s = symbols_new(sc.s, sc.s->fn);
    scope inner = {.s = s, .in_loop = sc.in_loop};
    kd_code c = s ? KD_OK : no_memory(x);
    for (uint32_t i = 0; c == KD_OK && n->kind == KD_TN_WITH && i < n->n; i++) c = see_params(x, s, n->list[i]);
    if (c == KD_OK) c = see_body(x, s, n->d);
    if (c == KD_OK && n->kind == KD_TN_FILTERBLOCK) c = see_expr(x, s, n->b);
    if (c == KD_OK) c = seal_frame(x, s, &n->frame);
    for (uint32_t i = 0; c == KD_OK && n->kind == KD_TN_WITH && i < n->n; i++)
        if ((c = res_expr(x, inner, n->list[i])) == KD_OK) c = res_expr(x, sc, n->list2[i]);
    if (c == KD_OK && n->kind != KD_TN_WITH) c = res_expr(x, inner, n->b);
    if (c == KD_OK && n->kind == KD_TN_SETBLOCK) c = res_expr(x, sc, n->a);
    if (c == KD_OK) c = res_body(x, inner, n->d);
    symbols_free(s);
    return c;
}

static kd_code res_statement(ctx *x, scope sc, kd_tnode *n) {
    switch ((kd_tn_kind)n->kind) {
    case KD_TN_OUTPUT: return res_children(x, sc, n);
    case KD_TN_FOR: return res_for(x, sc, n);
    case KD_TN_IF: return res_if(x, sc, n);
    case KD_TN_SET: KD_T(res_expr(x, sc, n->b)); return res_expr(x, sc, n->a);
    case KD_TN_MACRO: {
        symbols *owner;
        n->slot = find_ref(sc.s, n->name, &owner)->slot;
        return res_macro(x, sc, n);
    }
    case KD_TN_CALLBLOCK: KD_T(res_expr(x, sc, n->a)); return res_macro(x, sc, n);
    case KD_TN_GENERATION: return res_macro(x, sc, n);
    case KD_TN_SETBLOCK:
    case KD_TN_FILTERBLOCK:
    case KD_TN_WITH: return res_inner(x, sc, n);
    case KD_TN_BREAK:
    case KD_TN_CONTINUE:
        if (!sc.in_loop)
            return kd_tpl_fail(x->t, n->at, x->e, KD_EFORMAT, "'%s' outside of a loop", n->kind == KD_TN_BREAK ? "break" : "continue");
        return KD_OK;
    default: return KD_OK;
    }
}

static kd_code res_body(ctx *x, scope sc, kd_tnode *body) {
    for (uint32_t i = 0; i < body->n; i++) KD_T(res_statement(x, sc, body->list[i]));
    return KD_OK;
}

kd_code kd_tpl_resolve(kd_template *t, kd_err *e) {
    ctx x = {.t = t, .e = e};
    static const char *const special[3] = {"caller", "kwargs", "varargs"};
    KD_T(kd_tpl_intern(t, KD_STR("loop"), &x.id_loop, e));
    for (int i = 0; i < 3; i++) KD_T(kd_tpl_intern(t, kd_str_of(special[i]), &x.id_special[i], e));
    t->reads = kd_calloc(t->n_names, sizeof *t->reads);
    func *fn = t->reads ? func_new(&x, NULL) : NULL;
    symbols *s = fn ? symbols_new(NULL, fn) : NULL;
    kd_code c = s ? see_body(&x, s, t->root) : no_memory(&x);
    if (c == KD_OK) c = seal_frame(&x, s, &t->frame);
    if (c == KD_OK) c = res_body(&x, (scope){.s = s}, t->root);
    if (fn) t->fn = fn->out;
    symbols_free(s);
    func_end(fn);
    return c;
}

bool kd_template_reads(const kd_template *t, const char *variable) {
    for (uint32_t i = 0; i < t->n_names; i++)
        if (t->reads[i] && kd_str_is(t->names[i], variable)) return true;
    return false;
}
