/* distill/model/template_filter_list.c - the filters that work on lists and dicts. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

static bool want_int(kd_trun *r, const char *who, kd_tval v, int64_t *out) {
    if (v.type == KD_TV_UNDEF) return kd_tr_undefined(r, v);
    return kd_tv_index(v, out) || kd_tr_fail(r, KD_EFORMAT, "%s: expected an integer, got %s", who, kd_tv_type_name(v));
}

static bool make_iter(kd_trun *r, kd_ti_kind kind, kd_tval src, kd_titer **it, kd_tval *out) {
    *it = kd_tr_alloc(r, sizeof **it);
    if (!*it) return false;
    (*it)->kind = (uint8_t)kind;
    (*it)->src = src;
    *out = kd_tv(KD_TV_ITER);
    out->u.iter = *it;
    return true;
}

/* Arguments from number skip on, kept for a generator. */
static bool keep_args(kd_trun *r, const kd_targs *a, size_t skip, kd_targs *out) {
    *out = (kd_targs){0};
    size_t n = a->n > skip ? a->n - skip : 0;
    kd_tval *at = kd_tr_alloc(r, (n + a->n_names + 1) * sizeof *at);
    kd_str *names = kd_tr_alloc(r, (a->n_names + 1) * sizeof *names);
    if (!at || !names) return false;
    if (n) memcpy(at, a->at + skip, n * sizeof *at);
    if (a->n_names) {
        memcpy(at + n, a->values, a->n_names * sizeof *at);
        memcpy(names, a->names, a->n_names * sizeof *names);
    }
    *out = (kd_targs){at, n, names, at + n, a->n_names};
    return true;
}

static bool do_map(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_titer *it;
    if (!make_iter(r, KD_TI_MAP, a->at[0], &it, out)) return false;
    it->extra = kd_tv(KD_TV_MISSING);
    size_t by = SIZE_MAX, otherwise = SIZE_MAX;
    for (size_t i = 0; i < a->n_names; i++) {
        if (kd_str_is(a->names[i], "attribute"))
            by = i;
        else if (kd_str_is(a->names[i], "default"))
            otherwise = i;
    }
    if (a->n > 1 || by == SIZE_MAX) return keep_args(r, a, 1, &it->args);
    if (a->n_names > 1 + (size_t)(otherwise != SIZE_MAX)) return kd_tr_fail(r, KD_EFORMAT, "map: unexpected keyword argument");
    kd_targs one = {.at = &a->values[by], .n = 1};
    if (otherwise != SIZE_MAX) it->extra = a->values[otherwise];
    it->attr = true;
    return keep_args(r, &one, 0, &it->args);
}

static bool do_select(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_titer *it;
    if (!make_iter(r, KD_TI_SELECT, a->at[0], &it, out)) return false;
    it->what = id == KD_TFL_reject || id == KD_TFL_rejectattr;
    it->attr = id == KD_TFL_selectattr || id == KD_TFL_rejectattr;
    return keep_args(r, a, 1, &it->args);
}

/* One key as sorting, min, max and groupby see it: attribute of x, in lower case unless case counts. */
static bool key_of(kd_trun *r, kd_tval x, kd_tval attribute, kd_tval fallback, bool with_case, kd_tval *out) {
    return kd_te_attr_path(r, x, attribute, fallback, out) && (with_case || out->type != KD_TV_STR || kd_ts_case(r, out, *out, 'L'));
}

/* A list of keys, one for each of the comma-separated attributes. */
static bool keys_of(kd_trun *r, kd_tval x, kd_tval attribute, bool with_case, kd_tval *out) {
    if (attribute.type != KD_TV_STR || !memchr(attribute.u.s, ',', attribute.len))
        return kd_tv_seq(r, out, KD_TV_LIST, 1) && key_of(r, x, attribute, kd_tv(KD_TV_MISSING), with_case, out->u.seq->at);
    size_t n = 1, from = 0, k = 0;
    for (size_t i = 0; i < attribute.len; i++) n += attribute.u.s[i] == ',';
    if (!kd_tv_seq(r, out, KD_TV_LIST, n)) return false;
    for (size_t i = 0; i <= attribute.len; i++)
        if (i == attribute.len || attribute.u.s[i] == ',') {
            if (!key_of(r, x, kd_tv_view(attribute.u.s + from, i - from), kd_tv(KD_TV_MISSING), with_case, &out->u.seq->at[k++]))
                return false;
            from = i + 1;
        }
    return true;
}

static bool do_sort(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[4], keys;
    if (!kd_te_bind(r, "sort", a, "value reverse case_sensitive attribute", 1, v) || !kd_ti_all(r, v[0], out) ||
        !kd_tv_seq(r, &keys, KD_TV_LIST, out->u.seq->n))
        return false;
    for (size_t i = 0; i < out->u.seq->n; i++)
        if (!keys_of(r, out->u.seq->at[i], v[3], kd_tv_truth(v[2]), &keys.u.seq->at[i])) return false;
    return kd_te_sort(r, out->u.seq->at, keys.u.seq->at, out->u.seq->n, kd_tv_truth(v[1]));
}

static bool do_dictsort(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[4], keys;
    if (!kd_te_bind(r, "dictsort", a, "value case_sensitive by reverse", 1, v)) return false;
    kd_str by = v[2].type == KD_TV_MISSING ? KD_STR("key") : v[2].type == KD_TV_STR ? kd_tv_text(v[2]) : KD_STR("");
    if (!kd_str_is(by, "key") && !kd_str_is(by, "value"))
        return kd_tr_fail(r, KD_EFORMAT, "You can only sort by either \"key\" or \"value\"");
    if (v[0].type == KD_TV_UNDEF) return kd_tr_undefined(r, v[0]);
    if (v[0].type != KD_TV_DICT) return kd_tr_fail(r, KD_EFORMAT, "'%s' object has no attribute 'items'", kd_tv_type_name(v[0]));
    const kd_tdict *d = v[0].u.dict;
    if (!kd_tv_seq(r, out, KD_TV_LIST, d->n) || !kd_tv_seq(r, &keys, KD_TV_LIST, d->n)) return false;
    for (uint32_t i = 0; i < d->n; i++) {
        kd_tval two;
        if (!kd_tv_seq(r, &two, KD_TV_TUPLE, 2)) return false;
        two.u.seq->at[0] = d->keys[i];
        two.u.seq->at[1] = d->values[i];
        out->u.seq->at[i] = two;
        if (!key_of(r, two.u.seq->at[by.data[0] == 'v'], kd_tv(KD_TV_NONE), kd_tv(KD_TV_MISSING), kd_tv_truth(v[1]), &keys.u.seq->at[i]))
            return false;
    }
    return kd_te_sort(r, out->u.seq->at, keys.u.seq->at, d->n, kd_tv_truth(v[3]));
}

static bool do_groupby(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[4], all, keys, order;
    if (!kd_te_bind(r, "groupby", a, "value attribute default case_sensitive", 2, v) || !kd_ti_all(r, v[0], &all)) return false;
    size_t n = all.u.seq->n, groups = 0;
    bool with_case = kd_tv_truth(v[3]);
    kd_tval *at = all.u.seq->at;
    if (!kd_tv_seq(r, &keys, KD_TV_LIST, n) || !kd_tv_seq(r, out, KD_TV_LIST, n) || !kd_tv_seq(r, &order, KD_TV_LIST, n)) return false;
    for (size_t i = 0; i < n; i++) {
        order.u.seq->at[i] = kd_tv_int((int64_t)i);
        if (!key_of(r, at[i], v[1], v[2], with_case, &keys.u.seq->at[i])) return false;
    }
    if (!kd_te_sort(r, order.u.seq->at, keys.u.seq->at, n, false)) return false;
    for (size_t i = 0, j; i < n; i = j) {
        size_t first = (size_t)order.u.seq->at[i].u.i;
        bool eq = true;
        for (j = i + 1; j < n; j++)
            if (!kd_tv_eq(r, keys.u.seq->at[first], keys.u.seq->at[order.u.seq->at[j].u.i], &eq))
                return false;
            else if (!eq)
                break;
        kd_tval group, list;
        if (!kd_tv_seq(r, &group, KD_TV_TUPLE, 2) || !kd_tv_seq(r, &list, KD_TV_LIST, j - i)) return false;
        for (size_t k = i; k < j; k++) list.u.seq->at[k - i] = at[order.u.seq->at[k].u.i];
        group.u.seq->at[1] = list;
        if (!key_of(r, list.u.seq->at[0], v[1], v[2], true, &group.u.seq->at[0])) return false;
        group.flag = KD_TF_GROUP;
        out->u.seq->at[groups++] = group;
    }
    out->u.seq->n = groups;
    return true;
}

static bool do_min_max(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[3], all, best;
    if (!kd_te_bind(r, id == KD_TFL_min ? "min" : "max", a, "value case_sensitive attribute", 1, v) || !kd_ti_all(r, v[0], &all))
        return false;
    if (!all.u.seq->n) return kd_tv_undef(r, out, "No aggregated item, sequence was empty.");
    for (size_t i = 0; i < all.u.seq->n; i++) {
        kd_tval key;
        bool better = true;
        if (!key_of(r, all.u.seq->at[i], v[2], kd_tv(KD_TV_MISSING), kd_tv_truth(v[1]), &key)) return false;
        if (i && !kd_tv_less(r, id == KD_TFL_min ? KD_TO_LT : KD_TO_GT, key, best, &better)) return false;
        if (better) {
            best = key;
            *out = all.u.seq->at[i];
        }
    }
    return true;
}

static bool do_unique(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    kd_titer *it;
    if (!kd_te_bind(r, "unique", a, "value case_sensitive attribute", 1, v) || !make_iter(r, KD_TI_UNIQUE, v[0], &it, out)) return false;
    it->what = kd_tv_truth(v[1]);
    it->extra = v[2];
    return true;
}

static bool do_batch(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    kd_titer *it;
    if (!kd_te_bind(r, id == KD_TFL_batch ? "batch" : "slice", a,
                    id == KD_TFL_batch ? "value linecount fill_with" : "value slices fill_with", 2, v) ||
        !make_iter(r, id == KD_TFL_batch ? KD_TI_BATCH : KD_TI_SLICE, v[0], &it, out) || !want_int(r, "batch", v[1], &it->count))
        return false;
    it->extra = v[2].type == KD_TV_MISSING ? kd_tv(KD_TV_NONE) : v[2];
    return true;
}

static bool do_sum(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3], x;
    kd_titer *it;
    bool more;
    if (!kd_te_bind(r, "sum", a, "iterable attribute start", 1, v) || !kd_ti_new(r, &it, v[0])) return false;
    *out = v[2].type == KD_TV_MISSING ? kd_tv_int(0) : v[2];
    if (out->type == KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "sum() can't sum strings [use ''.join(seq) instead]");
    for (;;) {
        if (!kd_ti_next(r, it, &x, &more)) return false;
        if (!more) return true;
        if (!kd_te_attr_path(r, x, v[1], kd_tv(KD_TV_MISSING), &x) || !kd_te_binary(r, KD_TO_ADD, *out, x, out)) return false;
    }
}

static bool do_join(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3], d, x;
    kd_titer *it;
    kd_buf b = {0};
    bool more, first = true, ok = true;
    if (!kd_te_bind(r, "join", a, "value d attribute", 1, v) || !kd_ti_new(r, &it, v[0])) return false;
    d = kd_tv_lit("");
    if (v[1].type != KD_TV_MISSING && !kd_tv_str(r, &d, v[1])) return false;
    for (; ok; first = false) {
        ok = kd_ti_next(r, it, &x, &more);
        if (!ok || !more) break;
        ok = kd_te_attr_path(r, x, v[2], kd_tv(KD_TV_MISSING), &x) && (first || kd_tr_write(r, &b, d.u.s, d.len)) && kd_tv_print(r, &b, x);
    }
    return kd_tv_take(r, out, &b) && ok;
}

static bool do_first(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    kd_titer *it;
    bool more;
    if (!kd_te_bind(r, "first", a, "seq", 1, v) || !kd_ti_new(r, &it, v[0]) || !kd_ti_next(r, it, out, &more)) return false;
    return more || kd_tv_undef(r, out, "No first item, sequence was empty.");
}

/* Python's reversed(). */
static bool reversed(kd_trun *r, kd_tval v, kd_titer **it, kd_tval *out) {
    if (v.type == KD_TV_ITER || v.type == KD_TV_LOOP || !kd_tv_has_len(v))
        return kd_tr_fail(r, KD_EFORMAT, "'%s' object is not reversible", kd_tv_type_name(v));
    if (v.type == KD_TV_STR && !kd_ti_all(r, v, &v)) return false;
    return make_iter(r, KD_TI_REVERSED, v, it, out);
}

static bool do_last(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[1], list;
    kd_titer *it;
    bool more;
    if (!kd_te_bind(r, "last", a, "seq", 1, v) || !reversed(r, v[0], &it, &list) || !kd_ti_next(r, it, out, &more)) return false;
    return more || kd_tv_undef(r, out, "No last item, sequence was empty.");
}

static bool do_reverse(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    kd_titer *it;
    if (!kd_te_bind(r, "reverse", a, "value", 1, v)) return false;
    if (v[0].type == KD_TV_STR) return kd_te_slice(r, v[0], kd_tv(KD_TV_NONE), kd_tv(KD_TV_NONE), kd_tv_int(-1), out);
    if (v[0].type == KD_TV_ITER || v[0].type == KD_TV_LOOP) {
        if (!kd_ti_all(r, v[0], out)) return false;
        for (size_t i = 0, n = out->u.seq->n; i + 1 < n - i; i++) {
            kd_tval x = out->u.seq->at[i];
            out->u.seq->at[i] = out->u.seq->at[n - 1 - i];
            out->u.seq->at[n - 1 - i] = x;
        }
        return true;
    }
    return reversed(r, v[0], &it, out);
}

static bool do_default(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    if (!kd_te_bind(r, "default", a, "value default_value boolean", 1, v)) return false;
    *out = v[0];
    if (v[0].type == KD_TV_UNDEF || (kd_tv_truth(v[2]) && !kd_tv_truth(v[0]))) *out = v[1].type == KD_TV_MISSING ? kd_tv_lit("") : v[1];
    return true;
}

static bool do_attr(kd_trun *r, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    bool found;
    if (!kd_te_bind(r, "attr", a, "obj name", 2, v)) return false;
    if (v[1].type != KD_TV_STR) return kd_tr_fail(r, KD_EFORMAT, "attr: expected a string, got %s", kd_tv_type_name(v[1]));
    if (!kd_te_own_attr(r, v[0], kd_tv_text(v[1]), out, &found)) return false;
    return found || kd_tv_undef_member(r, out, v[0], v[1], false);
}

bool kd_te_list_filter(kd_trun *r, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    kd_titer *it;
    int64_t n;
    switch (id) {
    case KD_TFL_map: return do_map(r, a, out);
    case KD_TFL_select:
    case KD_TFL_reject:
    case KD_TFL_selectattr:
    case KD_TFL_rejectattr: return do_select(r, id, a, out);
    case KD_TFL_sort: return do_sort(r, a, out);
    case KD_TFL_dictsort: return do_dictsort(r, a, out);
    case KD_TFL_groupby: return do_groupby(r, a, out);
    case KD_TFL_min:
    case KD_TFL_max: return do_min_max(r, id, a, out);
    case KD_TFL_unique: return do_unique(r, a, out);
    case KD_TFL_batch:
    case KD_TFL_slice: return do_batch(r, id, a, out);
    case KD_TFL_sum: return do_sum(r, a, out);
    case KD_TFL_join: return do_join(r, a, out);
    case KD_TFL_first: return do_first(r, a, out);
    case KD_TFL_last: return do_last(r, a, out);
    case KD_TFL_reverse: return do_reverse(r, a, out);
    case KD_TFL_d:
    case KD_TFL_default: return do_default(r, a, out);
    case KD_TFL_attr: return do_attr(r, a, out);
    case KD_TFL_items: return kd_te_bind(r, "items", a, "value", 1, v) && make_iter(r, KD_TI_ITEMS, v[0], &it, out);
    case KD_TFL_list: return kd_te_bind(r, "list", a, "value", 1, v) && kd_ti_all(r, v[0], out);
    case KD_TFL_length:
    case KD_TFL_count:
        if (!kd_te_bind(r, "length", a, "obj /", 1, v) || !kd_tv_len(r, v[0], &n)) return false;
        *out = kd_tv_int(n);
        return true;
    default: return kd_te_text_filter(r, id, a, out);
    }
}
