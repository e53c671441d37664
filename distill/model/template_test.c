/* distill/model/template_test.c - the tests behind "is". Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

enum {
    T_ODD,
    T_EVEN,
    T_DIVISIBLEBY,
    T_DEFINED,
    T_UNDEFINED,
    T_FILTER,
    T_TEST,
    T_NONE,
    T_BOOLEAN,
    T_FALSE,
    T_TRUE,
    T_INTEGER,
    T_FLOAT,
    T_LOWER,
    T_UPPER,
    T_STRING,
    T_MAPPING,
    T_NUMBER,
    T_SEQUENCE,
    T_ITERABLE,
    T_CALLABLE,
    T_SAMEAS,
    T_ESCAPED,
    T_IN,
    T_EQ,
    T_NE,
    T_LT,
    T_LE,
    T_GT,
    T_GE
};
static const struct {
    const char *name;
    uint8_t id;
} tests[] = {{"odd", T_ODD},
             {"even", T_EVEN},
             {"divisibleby", T_DIVISIBLEBY},
             {"defined", T_DEFINED},
             {"undefined", T_UNDEFINED},
             {"filter", T_FILTER},
             {"test", T_TEST},
             {"none", T_NONE},
             {"boolean", T_BOOLEAN},
             {"false", T_FALSE},
             {"true", T_TRUE},
             {"integer", T_INTEGER},
             {"float", T_FLOAT},
             {"lower", T_LOWER},
             {"upper", T_UPPER},
             {"string", T_STRING},
             {"mapping", T_MAPPING},
             {"number", T_NUMBER},
             {"sequence", T_SEQUENCE},
             {"iterable", T_ITERABLE},
             {"callable", T_CALLABLE},
             {"sameas", T_SAMEAS},
             {"escaped", T_ESCAPED},
             {"in", T_IN},
             {"==", T_EQ},
             {"eq", T_EQ},
             {"equalto", T_EQ},
             {"!=", T_NE},
             {"ne", T_NE},
             {">", T_GT},
             {"gt", T_GT},
             {"greaterthan", T_GT},
             {"ge", T_GE},
             {">=", T_GE},
             {"<", T_LT},
             {"lt", T_LT},
             {"lessthan", T_LT},
             {"<=", T_LE},
             {"le", T_LE}};

int kd_tpl_test_id(kd_str name) {
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++)
        if (kd_str_is(name, tests[i].name)) return tests[i].id;
    return -1;
}

/* value % by == want */
static bool divides(kd_trun *r, kd_tval value, kd_tval by, int64_t want, bool *yes) {
    kd_tval m;
    return kd_te_binary(r, KD_TO_MOD, value, by, &m) && kd_tv_eq(r, m, kd_tv_int(want), yes);
}

static bool of_two(kd_trun *r, int id, kd_tval a, kd_tval b, bool *yes) {
    static const kd_to_compare ops[] = {KD_TO_LT, KD_TO_LE, KD_TO_GT, KD_TO_GE};
    switch (id) {
    case T_DIVISIBLEBY: return divides(r, a, b, 0, yes);
    case T_SAMEAS: *yes = kd_tv_same(a, b); return true;
    case T_IN: return kd_tv_in(r, a, b, yes);
    case T_EQ: return kd_tv_eq(r, a, b, yes);
    case T_NE:
        if (!kd_tv_eq(r, a, b, yes)) return false;
        *yes = !*yes;
        return true;
    default: return kd_tv_less(r, ops[id - T_LT], a, b, yes);
    }
}

static bool is_cased(kd_trun *r, kd_tval v, int method, bool *yes) {
    kd_tval s, b;
    kd_targs none = {0};
    if (!kd_tv_str(r, &s, v) || !kd_te_str_method(r, s, method, &none, &b)) return false;
    *yes = b.u.b;
    return true;
}

bool kd_te_test(kd_trun *r, int id, kd_tval v, const kd_targs *a, bool *yes) {
    bool two = id == T_DIVISIBLEBY || id == T_SAMEAS || id == T_IN || id >= T_EQ;
    kd_tv_type t = (kd_tv_type)v.type;
    kd_tval arg = kd_tv(KD_TV_MISSING);
    if (a->n == 1 && !a->n_names)
        arg = a->at[0];
    else if (!a->n && a->n_names == 1)
        arg = a->values[0];
    if (two ? arg.type == KD_TV_MISSING : a->n + a->n_names != 0)
        return kd_tr_fail(r, KD_EFORMAT, "a test with %zu arguments takes %d", a->n + a->n_names, two);
    if (two) return of_two(r, id, v, arg, yes);
    switch (id) {
    case T_ODD:
    case T_EVEN: return divides(r, v, kd_tv_int(2), id == T_ODD, yes);
    case T_LOWER:
    case T_UPPER: return is_cased(r, v, id == T_LOWER ? KD_TM_islower : KD_TM_isupper, yes);
    case T_DEFINED: *yes = t != KD_TV_UNDEF; break;
    case T_UNDEFINED: *yes = t == KD_TV_UNDEF; break;
    case T_FILTER: *yes = t == KD_TV_STR && kd_tpl_filter_id(kd_tv_text(v)) >= 0; break;
    case T_TEST: *yes = t == KD_TV_STR && kd_tpl_test_id(kd_tv_text(v)) >= 0; break;
    case T_NONE: *yes = t == KD_TV_NONE; break;
    case T_BOOLEAN: *yes = t == KD_TV_BOOL; break;
    case T_FALSE:
    case T_TRUE: *yes = t == KD_TV_BOOL && v.u.b == (id == T_TRUE); break;
    case T_INTEGER: *yes = t == KD_TV_INT || t == KD_TV_BIG; break;
    case T_FLOAT: *yes = t == KD_TV_FLOAT; break;
    case T_STRING: *yes = t == KD_TV_STR; break;
    case T_MAPPING: *yes = t == KD_TV_DICT; break;
    case T_NUMBER: *yes = kd_tv_is_number(v); break;
    case T_SEQUENCE: *yes = kd_tv_has_len(v) && t != KD_TV_VIEW && t != KD_TV_LOOP; break;
    case T_ITERABLE: *yes = kd_tv_has_len(v) || t == KD_TV_ITER; break;
    case T_CALLABLE:
        *yes = t == KD_TV_MACRO || t == KD_TV_FUNC || t == KD_TV_METHOD || t == KD_TV_LOOP || t == KD_TV_JOINER || t == KD_TV_UNDEF;
        break;
    default: /* escaped */ *yes = t == KD_TV_STR && v.flag & KD_TF_MARKUP;
    }
    return true;
}
