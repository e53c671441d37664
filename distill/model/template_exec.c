/* distill/model/template_exec.c - statements, macros and loops, and the rendering of a template. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

typedef enum { DONE, BREAK, CONTINUE, FAILED } flow;

static flow exec_body(kd_trun *r, kd_tact *act, const kd_tnode *body);

/* ---- frames and targets ---- */

static kd_tact *act_new(kd_trun *r, kd_tact *parent, kd_tfn *fn) {
    kd_tact *act = kd_tr_alloc(r, sizeof *act + fn->slots * sizeof(kd_tval));
    if (act) {
        act->parent = parent;
        act->fn = fn;
    }
    return act;
}

static void enter_frame(kd_trun *r, kd_tact *act, const kd_tframe *f) {
    for (uint32_t i = 0; i < f->n; i++) {
        const kd_tload *l = &f->loads[i];
        const kd_tact *from = act;
        if (l->action == KD_TL_PARAM) continue;
        for (uint16_t k = 0; k < l->hops; k++) from = from->parent;
        act->slot[l->slot] = l->action == KD_TL_RESOLVE ? r->context[l->name]
                             : l->action == KD_TL_ALIAS ? from->slot[l->from]
                                                        : kd_tv(KD_TV_MISSING);
    }
    r->steps += f->n;
}

static void leave_frame(kd_tact *act, const kd_tframe *f) {
    for (uint32_t i = 0; i < f->n; i++) act->slot[f->loads[i].slot] = kd_tv(KD_TV_MISSING);
}

static bool assign_member(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval v) {
    kd_tact *from = act;
    for (uint16_t i = 0; i < n->hops; i++) from = from->parent;
    kd_tval ns = from->slot[n->slot];
    r->at = n->at;
    if (ns.type != KD_TV_NS) return kd_tr_fail(r, KD_EFORMAT, "cannot assign attribute on non-namespace object");
    if (n->value.len && n->value.u.s[0] == '_')
        return kd_tr_fail(r, KD_EFORMAT, "a namespace cannot hold the underscore-prefixed name '%.*s'", (int)n->value.len, n->value.u.s);
    return kd_td_set(r, ns.u.dict, n->value, v);
}

/* in_test: the variables of a loop's test. */
static bool assign(kd_trun *r, kd_tact *act, const kd_tnode *target, kd_tval v, bool in_test) {
    if (target->kind == KD_TN_NAME) {
        act->slot[in_test ? target->m : target->slot] = v;
        return true;
    }
    if (target->kind == KD_TN_NSREF) return assign_member(r, act, target, v);
    kd_tval all;
    r->at = target->at;
    if (v.type != KD_TV_UNDEF && v.type != KD_TV_ITER && !kd_tv_has_len(v))
        return kd_tr_fail(r, KD_EFORMAT, "cannot unpack non-iterable %s object", kd_tv_type_name(v));
    if (!kd_ti_all(r, v, &all)) return false;
    if (all.u.seq->n != target->n)
        return kd_tr_fail(r, KD_EFORMAT, "%s values to unpack (expected %u, got %zu)", all.u.seq->n > target->n ? "too many" : "not enough",
                          target->n, all.u.seq->n);
    for (uint32_t i = 0; i < target->n; i++)
        if (!assign(r, act, target->list[i], all.u.seq->at[i], in_test)) return false;
    return true;
}

/* ---- capturing ---- */

/* The body's output as a string instead of written. */
static flow capture(kd_trun *r, kd_tact *act, const kd_tnode *body, kd_tval *out) {
    kd_buf b = {0}, *before = r->sink;
    r->sink = &b;
    flow f = exec_body(r, act, body);
    r->sink = before;
    if (f == DONE && !kd_tv_take(r, out, &b)) f = FAILED;
    kd_tr_drop(r, &b);
    return f;
}

/* ---- macros ---- */

static bool bind_special(kd_trun *r, const kd_tmacro *m, const kd_targs *a, const uint8_t *used, kd_tact *act, bool found_caller) {
    const kd_tnode *n = m->node;
    const char *name = n->kind == KD_TN_MACRO ? r->t->names[n->name].data : "caller";
    kd_tval rest, caller = kd_tv(KD_TV_NONE);
    if (!kd_td_new(r, &rest, 0)) return false;
    for (size_t i = 0; i < a->n_names; i++) {
        if (used[i]) continue;
        if (n->flags & KD_TN_CALLER && !found_caller && kd_str_is(a->names[i], "caller")) {
            caller = a->values[i];
            continue;
        }
        if (!(n->flags & KD_TN_KWARGS))
            return kd_tr_fail(r, KD_EFORMAT, "macro '%s' takes no keyword argument '%.*s'", name, (int)a->names[i].len, a->names[i].data);
        if (!kd_td_set(r, rest.u.dict, kd_tv_view(a->names[i].data, a->names[i].len), a->values[i])) return false;
    }
    if (n->flags & KD_TN_CALLER && !found_caller && n->names[0] != KD_TPL_NONE) {
        if (caller.type == KD_TV_NONE && !kd_tv_undef(r, &caller, "No caller defined")) return false;
        act->slot[n->names[0]] = caller;
    }
    if (n->flags & KD_TN_KWARGS) act->slot[n->names[1]] = rest;
    if (n->flags & KD_TN_VARARGS) {
        size_t extra = a->n > n->n ? a->n - n->n : 0;
        kd_tval more;
        if (!kd_tv_seq(r, &more, KD_TV_TUPLE, extra)) return false;
        if (extra) memcpy(more.u.seq->at, a->at + n->n, extra * sizeof(kd_tval));
        act->slot[n->names[2]] = more;
    } else if (a->n > n->n) {
        return kd_tr_fail(r, KD_EFORMAT, "macro '%s' takes not more than %u argument(s)", name, n->n);
    }
    return true;
}

static bool bind_macro(kd_trun *r, const kd_tmacro *m, const kd_targs *a, kd_tact *act) {
    const kd_tnode *n = m->node;
    uint8_t *used = kd_tr_alloc(r, a->n_names + 1);
    bool found_caller = a->n >= n->n && n->flags & KD_TN_XCALLER;
    if (!used || !kd_tr_charge(r, n->n)) return false;
    for (uint32_t i = 0; i < n->n; i++) {
        kd_str name = r->t->names[n->list[i]->name];
        kd_tval v = kd_tv(KD_TV_MISSING);
        if (i < a->n) {
            v = a->at[i];
        } else {
            found_caller |= kd_str_is(name, "caller");
            for (size_t k = 0; k < a->n_names; k++)
                if (kd_str_eq(a->names[k], name)) {
                    v = a->values[k];
                    used[k] = 1;
                }
        }
        act->slot[n->list[i]->slot] = v;
    }
    return bind_special(r, m, a, used, act, found_caller);
}

static bool fill_defaults(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    for (uint32_t i = 0; i < n->n; i++) {
        kd_tval *v = &act->slot[n->list[i]->slot];
        if (v->type != KD_TV_MISSING) continue;
        uint32_t without = n->n - n->m;
        if (i < without ? !kd_tv_undef_name(r, v, r->t->names[n->list[i]->name]) : !kd_te_eval(r, act, n->list2[i - without], v))
            return false;
    }
    return true;
}

bool kd_te_macro(kd_trun *r, kd_tmacro *m, const kd_targs *a, kd_tval *out) {
    if (++r->macros > KD_TR_MACROS) return kd_tr_fail(r, KD_ELIMIT, "macros called more than %d deep", KD_TR_MACROS);
    kd_tact *act = act_new(r, m->act, m->node->fn);
    if (!act || !bind_macro(r, m, a, act)) return false;
    enter_frame(r, act, m->node->frame);
    bool ok = fill_defaults(r, act, m->node) && capture(r, act, m->node->d, out) == DONE;
    r->macros--;
    return ok;
}

static bool make_macro(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tmacro *m = kd_tr_alloc(r, sizeof *m);
    if (!m) return false;
    *m = (kd_tmacro){n, act};
    *out = kd_tv(KD_TV_MACRO);
    out->u.macro = m;
    return true;
}

/* ---- loops ---- */

bool kd_te_test_item(kd_trun *r, kd_titer *it, kd_tval item, bool *keep) {
    kd_tval v;
    if (!assign(r, it->act, it->node->a, item, true) || !kd_te_eval(r, it->act, it->node->c, &v)) return false;
    *keep = kd_tv_truth(v);
    return true;
}

/* The iterable behind the loop's test. outer: the function around the loop. */
static bool with_test(kd_trun *r, const kd_tnode *n, kd_tact *outer, kd_tval *iterable) {
    kd_titer *it = kd_tr_alloc(r, sizeof *it);
    if (!it || !(it->act = act_new(r, outer, n->fn2))) return false;
    it->kind = KD_TI_TEST;
    it->src = *iterable;
    it->node = n;
    enter_frame(r, it->act, n->frame3);
    *iterable = kd_tv(KD_TV_ITER);
    iterable->u.iter = it;
    return true;
}

static bool next_item(kd_trun *r, kd_titer *it, kd_tloop *l, kd_tval *item, bool *more) {
    *more = true;
    if (l && l->after.type != KD_TV_MISSING) {
        *item = l->after;
        l->after = kd_tv(KD_TV_MISSING);
    } else if (!kd_ti_next(r, l ? l->it : it, item, more)) {
        return false;
    }
    if (l && *more) {
        l->index0++;
        l->before = l->current;
        l->current = *item;
    }
    return true;
}

static flow loop_items(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_titer *it, kd_tloop *l, bool *empty) {
    for (;;) {
        kd_tval item;
        bool more;
        if (!next_item(r, it, l, &item, &more)) return FAILED;
        if (!more) return DONE;
        if (!assign(r, act, n->a, item, false)) return FAILED;
        if (l) {
            act->slot[n->slot] = kd_tv(KD_TV_LOOP);
            act->slot[n->slot].u.loop = l;
        }
        enter_frame(r, act, n->frame);
        flow f = exec_body(r, act, n->d);
        if (f == FAILED) return f;
        if (f == BREAK) return DONE;
        if (f == DONE) /* jinja2 notes it at the end of the body only */
            *empty = false;
    }
}

/* The loop over iterable with its variables in act; outer: the function around it. recursive: depth0 counts. */
static flow run_loop(kd_trun *r, kd_tact *act, kd_tact *outer, const kd_tnode *n, kd_tval iterable, int depth0) {
    kd_titer *it = NULL;
    kd_tloop *l = NULL;
    bool empty = true;
    r->at = n->b->at;
    if (n->c && !with_test(r, n, outer, &iterable)) return FAILED;
    if (!kd_ti_new(r, &it, iterable)) return FAILED;
    if (n->flags & KD_TN_LOOPVAR) {
        kd_tval none = kd_tv(KD_TV_MISSING);
        if (!(l = kd_tr_alloc(r, sizeof *l))) return FAILED;
        *l = (kd_tloop){it, iterable, none, none, none, none, -1, -1, n->flags & KD_TN_RECURSIVE ? n : NULL, outer, depth0};
    }
    flow f = loop_items(r, act, n, it, l, &empty);
    if (f == FAILED) return f;
    leave_frame(act, n->frame);
    if (!n->e || !empty) return f;
    enter_frame(r, act, n->frame2);
    f = exec_body(r, act, n->e);
    leave_frame(act, n->frame2);
    return f;
}

static bool run_recursive(kd_trun *r, kd_tact *outer, const kd_tnode *n, kd_tval iterable, int depth0, kd_tval *out) {
    kd_buf b = {0}, *before = r->sink;
    if (++r->macros > KD_TR_MACROS) return kd_tr_fail(r, KD_ELIMIT, "a loop called more than %d deep", KD_TR_MACROS);
    kd_tact *act = act_new(r, outer, n->fn);
    if (!act) return false;
    r->sink = &b;
    flow f = run_loop(r, act, outer, n, iterable, depth0);
    r->sink = before;
    r->macros--;
    bool ok = kd_tv_take(r, out, &b);
    return ok && f == DONE;
}

bool kd_te_loop(kd_trun *r, kd_tloop *l, kd_tval iterable, kd_tval *out) {
    return run_recursive(r, l->act, l->recurse, iterable, l->depth0 + 1, out);
}

/* ---- statements ---- */

static flow from_bool(bool ok) { return ok ? DONE : FAILED; }

static flow exec_output(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    for (uint32_t i = 0; i < n->n; i++) {
        const kd_tnode *x = n->list[i];
        kd_tval v = x->value;
        if (x->kind != KD_TN_CONST && !kd_te_eval(r, act, x, &v)) return FAILED;
        r->at = x->at;
        if (!kd_tv_print(r, r->sink, v)) return FAILED;
    }
    return DONE;
}

static flow exec_for(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval v, text;
    if (!kd_te_eval(r, act, n->b, &v)) return FAILED;
    if (!(n->flags & KD_TN_RECURSIVE)) return run_loop(r, act, act, n, v, 0);
    return from_bool(run_recursive(r, act, n, v, 0, &text) && kd_tv_print(r, r->sink, text));
}

static flow exec_if(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval v;
    if (!kd_te_eval(r, act, n->a, &v)) return FAILED;
    if (kd_tv_truth(v)) return exec_body(r, act, n->d);
    for (uint32_t i = 0; i < n->n; i++) {
        if (!kd_te_eval(r, act, n->list[i]->a, &v)) return FAILED;
        if (kd_tv_truth(v)) return exec_body(r, act, n->list[i]->d);
    }
    return n->e ? exec_body(r, act, n->e) : DONE;
}

static flow exec_setblock(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval v;
    enter_frame(r, act, n->frame);
    flow f = capture(r, act, n->d, &v);
    if (f != DONE) return f;
    r->piped = v;
    if (n->b && !kd_te_eval(r, act, n->b, &v)) return FAILED;
    leave_frame(act, n->frame);
    return from_bool(assign(r, act, n->a, v, false));
}

static flow exec_filterblock(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval v;
    enter_frame(r, act, n->frame);
    flow f = capture(r, act, n->d, &v);
    if (f != DONE) return f;
    r->piped = v;
    if (!kd_te_eval(r, act, n->b, &v) || !kd_tv_print(r, r->sink, v)) return FAILED;
    leave_frame(act, n->frame);
    return DONE;
}

static flow exec_with(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    enter_frame(r, act, n->frame);
    for (uint32_t i = 0; i < n->n; i++) {
        kd_tval v;
        if (!kd_te_eval(r, act, n->list2[i], &v) || !assign(r, act, n->list[i], v, false)) return FAILED;
    }
    flow f = exec_body(r, act, n->d);
    leave_frame(act, n->frame);
    return f;
}

static flow exec_callblock(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval caller, v;
    return from_bool(make_macro(r, act, n, &caller) && kd_te_eval_call(r, act, n->a, &caller, &v) && kd_tv_print(r, r->sink, v));
}

static flow exec_generation(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval m, text;
    kd_targs none = {0};
    size_t start = r->root.len;
    if (!make_macro(r, act, n, &m) || !kd_te_macro(r, m.u.macro, &none, &text)) return FAILED;
    if (r->spans) {
        if (kd_grow((void **)&r->spans->at, &r->spans->cap, r->spans->n + 1, sizeof *r->spans->at) != KD_OK)
            return from_bool(kd_tr_fail(r, KD_ENOMEM, "no memory to render with"));
        r->spans->at[r->spans->n++] = (kd_template_span){start, start + text.len};
    }
    return from_bool(kd_tv_print(r, r->sink, text));
}

static flow exec(kd_trun *r, kd_tact *act, const kd_tnode *n) {
    kd_tval v;
    switch ((kd_tn_kind)n->kind) {
    case KD_TN_OUTPUT: return exec_output(r, act, n);
    case KD_TN_FOR: return exec_for(r, act, n);
    case KD_TN_IF: return exec_if(r, act, n);
    case KD_TN_SET: return from_bool(kd_te_eval(r, act, n->b, &v) && assign(r, act, n->a, v, false));
    case KD_TN_SETBLOCK: return exec_setblock(r, act, n);
    case KD_TN_MACRO:
        if (!make_macro(r, act, n, &v)) return FAILED;
        act->slot[n->slot] = v;
        return DONE;
    case KD_TN_CALLBLOCK: return exec_callblock(r, act, n);
    case KD_TN_FILTERBLOCK: return exec_filterblock(r, act, n);
    case KD_TN_WITH: return exec_with(r, act, n);
    case KD_TN_GENERATION: return exec_generation(r, act, n);
    case KD_TN_BREAK: return BREAK;
    default: return CONTINUE;
    }
}

static flow exec_body(kd_trun *r, kd_tact *act, const kd_tnode *body) {
    for (uint32_t i = 0; i < body->n; i++) {
        r->at = body->list[i]->at;
        if (!kd_tr_charge(r, 1)) return FAILED;
        if (++r->depth > KD_TR_DEPTH) return from_bool(kd_tr_fail(r, KD_ELIMIT, "nested too deep"));
        flow f = exec(r, act, body->list[i]);
        r->depth--;
        if (f != DONE) return f;
    }
    return DONE;
}

void kd_te_exec_root(kd_trun *r, kd_tact *act) {
    enter_frame(r, act, r->t->frame);
    exec_body(r, act, r->t->root);
}
