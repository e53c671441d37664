/* distill/model/template_eval.c - expressions. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

static kd_tval variable(const kd_tact *act, const kd_tnode *n) {
    for (uint16_t i = 0; i < n->hops; i++) act = act->parent;
    return act->slot[n->slot];
}

static bool eval_name(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    *out = variable(act, n);
    return out->type != KD_TV_MISSING || kd_tv_undef_name(r, out, r->t->names[n->name]);
}

static bool eval_list(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval v;
    if (!kd_tv_seq(r, &v, n->kind == KD_TN_LIST ? KD_TV_LIST : KD_TV_TUPLE, n->n)) return false;
    for (uint32_t i = 0; i < n->n; i++)
        if (!kd_te_eval(r, act, n->list[i], &v.u.seq->at[i])) return false;
    *out = v;
    return true;
}

static bool eval_dict(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval d, k, v;
    if (!kd_td_new(r, &d, n->n)) return false;
    for (uint32_t i = 0; i < n->n; i++)
        if (!kd_te_eval(r, act, n->list[i], &k) || !kd_te_eval(r, act, n->list2[i], &v) || !kd_td_set(r, d.u.dict, k, v)) return false;
    *out = d;
    return true;
}

static bool eval_compare(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval a, b;
    if (!kd_te_eval(r, act, n->a, &a)) return false;
    for (uint32_t i = 0; i < n->n; i++) {
        kd_to_compare op = (kd_to_compare)n->names[i];
        bool yes = false, ok;
        if (!kd_te_eval(r, act, n->list[i], &b)) return false;
        r->at = n->at;
        if (op == KD_TO_EQ || op == KD_TO_NE)
            ok = kd_tv_eq(r, a, b, &yes);
        else if (op == KD_TO_IN || op == KD_TO_NOTIN)
            ok = kd_tv_in(r, a, b, &yes);
        else
            ok = kd_tv_less(r, op, a, b, &yes);
        if (!ok) return false;
        if (op == KD_TO_NE || op == KD_TO_NOTIN) yes = !yes;
        *out = kd_tv_bool(yes);
        if (!yes) return true;
        a = b;
    }
    return true;
}

static bool eval_concat(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval all = kd_tv_lit(""), v;
    for (uint32_t i = 0; i < n->n; i++) {
        if (!kd_te_eval(r, act, n->list[i], &v)) return false;
        r->at = n->at;
        if (!kd_tv_str(r, &v, v)) return false;
        v.flag = 0;
        if (!kd_tv_join(r, &all, all, v)) return false;
    }
    *out = all;
    return true;
}

static bool eval_sign(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval v;
    int64_t i;
    if (!kd_te_eval(r, act, n->a, &v)) return false;
    r->at = n->at;
    if (v.type == KD_TV_UNDEF) return kd_tr_undefined(r, v);
    bool negative = n->kind == KD_TN_NEG;
    if (v.type == KD_TV_FLOAT) {
        *out = kd_tv_float(negative ? -v.u.f : v.u.f);
        return true;
    }
    if (v.type == KD_TV_BIG) return kd_tr_fail(r, KD_EUNSUPPORTED, "an integer beyond 64 bits");
    if (!kd_tv_index(v, &i))
        return kd_tr_fail(r, KD_EFORMAT, "bad operand type for unary %c: '%s'", negative ? '-' : '+', kd_tv_type_name(v));
    if (negative && i == INT64_MIN) return kd_tr_fail(r, KD_EUNSUPPORTED, "an integer beyond 64 bits");
    *out = kd_tv_int(negative ? -i : i);
    return true;
}

static bool eval_item(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval obj, part[3] = {kd_tv(KD_TV_MISSING), kd_tv(KD_TV_MISSING), kd_tv(KD_TV_MISSING)};
    if (!kd_te_eval(r, act, n->a, &obj)) return false;
    if (n->b->kind != KD_TN_SLICE) {
        if (!kd_te_eval(r, act, n->b, &part[0])) return false;
        r->at = n->at;
        return kd_te_item(r, obj, part[0], out);
    }
    const kd_tnode *ends[3] = {n->b->a, n->b->b, n->b->c};
    for (int i = 0; i < 3; i++)
        if (ends[i] && !kd_te_eval(r, act, ends[i], &part[i])) return false;
    r->at = n->at;
    return kd_te_slice(r, obj, part[0], part[1], part[2], out);
}

/* ---- arguments ---- */

typedef struct {
    kd_tval few[6], few_values[4];
    kd_str few_names[4];
    kd_tval *at, *values;
    kd_str *names;
} arg_room;

static bool star_args(kd_trun *r, kd_tval list, kd_targs *a, arg_room *m) {
    kd_tval all;
    if (!kd_ti_all(r, list, &all)) return false;
    size_t n = a->n + all.u.seq->n;
    kd_tval *at = kd_tr_alloc(r, (n + 1) * sizeof *at);
    if (!at) return false;
    memcpy(at, m->at, a->n * sizeof *at);
    if (all.u.seq->n) memcpy(at + a->n, all.u.seq->at, all.u.seq->n * sizeof *at);
    a->at = m->at = at;
    a->n = n;
    return true;
}

static bool star_names(kd_trun *r, kd_tval dict, kd_targs *a, arg_room *m) {
    if (dict.type == KD_TV_UNDEF) return kd_tr_undefined(r, dict);
    if (dict.type != KD_TV_DICT) return kd_tr_fail(r, KD_EFORMAT, "argument after ** must be a mapping, not %s", kd_tv_type_name(dict));
    const kd_tdict *d = dict.u.dict;
    size_t n = a->n_names + d->n;
    kd_tval *values = kd_tr_alloc(r, (n + 1) * sizeof *values);
    kd_str *names = kd_tr_alloc(r, (n + 1) * sizeof *names);
    if (!values || !names) return false;
    memcpy(values, m->values, a->n_names * sizeof *values);
    memcpy(names, m->names, a->n_names * sizeof *names);
    for (uint32_t i = 0; i < d->n; i++) {
        if (d->keys[i].type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "keywords must be strings");
        names[a->n_names + i] = kd_tv_text(d->keys[i]);
        values[a->n_names + i] = d->values[i];
        for (size_t k = 0; k < a->n_names; k++)
            if (kd_str_eq(names[k], names[a->n_names + i]))
                return kd_tr_fail(r, KD_EFORMAT, "got multiple values for keyword argument '%.*s'", (int)names[k].len, names[k].data);
    }
    if (!kd_tr_charge(r, n * (a->n_names + 1))) return false;
    a->names = m->names = names;
    a->values = m->values = values;
    a->n_names = n;
    return true;
}

/* The arguments of a call, filter or test, in m while they are few. */
static bool eval_args(kd_trun *r, kd_tact *act, const kd_tnode *n, const kd_tval *caller, kd_targs *a, arg_room *m) {
    kd_tval v;
    uint32_t named = n->m + (caller != NULL);
    m->at = n->n <= 6 ? m->few : kd_tr_alloc(r, n->n * sizeof *m->at);
    m->values = named <= 4 ? m->few_values : kd_tr_alloc(r, named * sizeof *m->values);
    m->names = named <= 4 ? m->few_names : kd_tr_alloc(r, named * sizeof *m->names);
    if (!m->at || !m->values || !m->names) return false;
    for (uint32_t i = 0; i < n->n; i++)
        if (!kd_te_eval(r, act, n->list[i], &m->at[i])) return false;
    for (uint32_t i = 0; i < n->m; i++) {
        m->names[i] = r->t->names[n->names[i]];
        if (!kd_te_eval(r, act, n->list2[i], &m->values[i])) return false;
    }
    if (caller) {
        m->names[n->m] = KD_STR("caller");
        m->values[n->m] = *caller;
    }
    *a = (kd_targs){m->at, n->n, m->names, m->values, named};
    if (n->b && (!kd_te_eval(r, act, n->b, &v) || !star_args(r, v, a, m))) return false;
    if (n->c && (!kd_te_eval(r, act, n->c, &v) || !star_names(r, v, a, m))) return false;
    return true;
}

bool kd_te_eval_call(kd_trun *r, kd_tact *act, const kd_tnode *n, const kd_tval *caller, kd_tval *out) {
    kd_tval f;
    kd_targs a;
    arg_room m;
    if (!kd_te_eval(r, act, n->a, &f) || !eval_args(r, act, n, caller, &a, &m)) return false;
    r->at = n->at;
    return kd_te_call(r, f, &a, out);
}

static bool eval_filter(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval v = r->piped;
    kd_targs a;
    arg_room m;
    if ((n->a && !kd_te_eval(r, act, n->a, &v)) || !eval_args(r, act, n, NULL, &a, &m)) return false;
    r->at = n->at;
    if (n->slot == KD_TPL_NONE) return kd_tr_fail(r, KD_EFORMAT, "no filter named '%s'", r->t->names[n->name].data);
    return kd_te_filter(r, (int)n->slot, v, &a, out);
}

static bool eval_test(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval v;
    kd_targs a;
    arg_room m;
    bool yes = false;
    if (!kd_te_eval(r, act, n->a, &v) || !eval_args(r, act, n, NULL, &a, &m)) return false;
    r->at = n->at;
    if (n->slot == KD_TPL_NONE) return kd_tr_fail(r, KD_EFORMAT, "no test named '%s'", r->t->names[n->name].data);
    if (!kd_te_test(r, (int)n->slot, v, &a, &yes)) return false;
    *out = kd_tv_bool(yes);
    return true;
}

static bool eval(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    kd_tval a, b;
    switch ((kd_tn_kind)n->kind) {
    case KD_TN_CONST: *out = n->value; return true;
    case KD_TN_NAME: return eval_name(r, act, n, out);
    case KD_TN_LIST:
    case KD_TN_TUPLE: return eval_list(r, act, n, out);
    case KD_TN_DICT: return eval_dict(r, act, n, out);
    case KD_TN_COND:
        if (!kd_te_eval(r, act, n->a, &a)) return false;
        if (kd_tv_truth(a)) return kd_te_eval(r, act, n->b, out);
        return n->c ? kd_te_eval(r, act, n->c, out)
                    : kd_tv_undef(r, out, "the inline if-expression evaluated to false and no else section was defined");
    case KD_TN_OR:
    case KD_TN_AND:
        if (!kd_te_eval(r, act, n->a, out)) return false;
        return kd_tv_truth(*out) == (n->kind == KD_TN_OR) || kd_te_eval(r, act, n->b, out);
    case KD_TN_NOT:
        if (!kd_te_eval(r, act, n->a, &a)) return false;
        *out = kd_tv_bool(!kd_tv_truth(a));
        return true;
    case KD_TN_COMPARE: return eval_compare(r, act, n, out);
    case KD_TN_BINARY:
        if (!kd_te_eval(r, act, n->a, &a) || !kd_te_eval(r, act, n->b, &b)) return false;
        r->at = n->at;
        return kd_te_binary(r, (kd_to_binary)n->op, a, b, out);
    case KD_TN_NEG:
    case KD_TN_POS: return eval_sign(r, act, n, out);
    case KD_TN_CONCAT: return eval_concat(r, act, n, out);
    case KD_TN_ATTR:
        if (!kd_te_eval(r, act, n->a, &a)) return false;
        r->at = n->at;
        return kd_te_attr(r, a, r->t->names[n->name], out);
    case KD_TN_ITEM: return eval_item(r, act, n, out);
    case KD_TN_CALL: return kd_te_eval_call(r, act, n, NULL, out);
    case KD_TN_FILTER: return eval_filter(r, act, n, out);
    case KD_TN_TEST: return eval_test(r, act, n, out);
    default: r->at = n->at; return kd_tr_fail(r, KD_EFORMAT, "this cannot be evaluated");
    }
}

bool kd_te_eval(kd_trun *r, kd_tact *act, const kd_tnode *n, kd_tval *out) {
    r->at = n->at;
    if (!kd_tr_charge(r, 1)) return false;
    bool ok = ++r->depth <= KD_TR_DEPTH ? eval(r, act, n, out) : kd_tr_fail(r, KD_ELIMIT, "nested too deep");
    r->depth--;
    return ok;
}
