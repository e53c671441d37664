/* distill/model/template_iter.c - iterators, and the generators that map, select and their kin are in jinja2: lazy, and read once. Sorting and
 * the binding of arguments besides. Leans on template_run.h. */
#include "distill/model/template_run.h"

#include <string.h>

static kd_titer *iter_alloc(kd_trun *r, kd_ti_kind kind, kd_tval src) {
    kd_titer *it = kd_tr_alloc(r, sizeof *it);
    if (it) {
        it->kind = (uint8_t)kind;
        it->src = src;
    }
    return it;
}

bool kd_ti_new(kd_trun *r, kd_titer **out, kd_tval v) {
    kd_ti_kind kind;
    switch ((kd_tv_type)v.type) {
    case KD_TV_UNDEF: kind = KD_TI_EMPTY; break;
    case KD_TV_STR: kind = KD_TI_STR; break;
    case KD_TV_LIST:
    case KD_TV_TUPLE: kind = KD_TI_SEQ; break;
    case KD_TV_DICT:
    case KD_TV_VIEW: kind = KD_TI_DICT; break;
    case KD_TV_RANGE: kind = KD_TI_RANGE; break;
    case KD_TV_ITER: *out = v.u.iter; return true;
    case KD_TV_LOOP: kind = KD_TI_LOOP; break;
    default: return kd_tr_fail(r, KD_EFORMAT, "'%s' object is not iterable", kd_tv_type_name(v));
    }
    if (!(*out = iter_alloc(r, kind, v))) return false;
    if (kind == KD_TI_DICT) {
        (*out)->what = (uint8_t)(v.type == KD_TV_DICT ? 'k' : v.u.view->what);
        if (v.type == KD_TV_VIEW) {
            (*out)->src = kd_tv(KD_TV_DICT);
            (*out)->src.u.dict = v.u.view->dict;
        }
    }
    return true;
}

static bool pair(kd_trun *r, kd_tval a, kd_tval b, kd_tval *out) {
    if (!kd_tv_seq(r, out, KD_TV_TUPLE, 2)) return false;
    out->u.seq->at[0] = a;
    out->u.seq->at[1] = b;
    return true;
}

static bool next_dict(kd_trun *r, const kd_tdict *d, size_t i, char what, kd_tval *out) {
    if (what == 'i') return pair(r, d->keys[i], d->values[i], out);
    *out = what == 'v' ? d->values[i] : d->keys[i];
    return true;
}

/* From the end: how many there are is known. */
static bool next_reversed(kd_trun *r, kd_titer *it, kd_tval *out, bool *more) {
    int64_t n;
    if (!kd_tv_len(r, it->src, &n)) return false;
    *more = it->pos < (size_t)n;
    if (!*more) return true;
    size_t i = (size_t)n - ++it->pos;
    if (it->src.type == KD_TV_LIST || it->src.type == KD_TV_TUPLE)
        *out = it->src.u.seq->at[i];
    else if (it->src.type == KD_TV_RANGE)
        *out = kd_tv_int(it->src.u.range->start + (int64_t)i * it->src.u.range->step);
    else if (it->src.type == KD_TV_DICT)
        *out = it->src.u.dict->keys[i];
    else if (it->src.type == KD_TV_VIEW)
        return next_dict(r, it->src.u.view->dict, i, it->src.u.view->what, out);
    return true;
}

/* A loop read by itself, as `for x in loop` or |list would: what is left of it, with the loop. */
static bool next_loop(kd_trun *r, kd_tloop *l, kd_tval *out, bool *more) {
    kd_tval self = kd_tv(KD_TV_LOOP), v = l->after;
    *more = true;
    self.u.loop = l;
    if (v.type == KD_TV_MISSING && (!kd_ti_next(r, l->it, &v, more) || !*more)) return r->code == KD_OK;
    l->after = kd_tv(KD_TV_MISSING);
    l->index0++;
    l->before = l->current;
    l->current = v;
    return pair(r, v, self, out);
}

/* The source of a generator, opened when the first item is asked for, as Python does it. */
static bool open_source(kd_trun *r, kd_titer *it) {
    it->started = true;
    if ((it->kind == KD_TI_MAP || it->kind == KD_TI_SELECT) && !kd_tv_truth(it->src)) {
        it->done = true;
        return true;
    }
    if (it->kind == KD_TI_ITEMS) {
        if (it->src.type == KD_TV_UNDEF)
            it->done = true;
        else if (it->src.type != KD_TV_DICT)
            return kd_tr_fail(r, KD_EFORMAT, "Can only get item pairs from a mapping.");
    }
    if (it->kind == KD_TI_MAP && it->args.n == 0 && !it->attr) return kd_tr_fail(r, KD_EFORMAT, "map requires a filter argument");
    if (it->kind == KD_TI_SELECT && it->attr && it->args.n == 0) return kd_tr_fail(r, KD_EFORMAT, "Missing parameter for attribute name");
    return it->done || kd_ti_new(r, &it->in, it->src);
}

static bool next_map(kd_trun *r, kd_titer *it, kd_tval v, kd_tval *out) {
    if (it->attr) return kd_te_attr_path(r, v, it->args.at[0], it->extra, out);
    kd_tval name = it->args.at[0];
    int id = name.type == KD_TV_STR ? kd_tpl_filter_id(kd_tv_text(name)) : -1;
    if (id < 0)
        return kd_tr_fail(r, KD_EFORMAT, "no filter named '%.*s'", name.type == KD_TV_STR ? (int)(name.len < 60 ? name.len : 60) : 1,
                          name.type == KD_TV_STR ? name.u.s : "?");
    kd_targs rest = it->args;
    rest.at++;
    rest.n--;
    return kd_te_filter(r, id, v, &rest, out);
}

/* Whether the generator's test keeps item v. */
static bool keep_item(kd_trun *r, kd_titer *it, kd_tval v, bool *keep) {
    kd_targs rest = it->args;
    kd_tval x = v;
    if (it->attr) {
        if (!kd_te_attr_path(r, v, rest.at[0], kd_tv(KD_TV_MISSING), &x)) return false;
        rest.at++;
        rest.n--;
    }
    if (!rest.n) {
        *keep = kd_tv_truth(x);
    } else {
        kd_tval name = rest.at[0];
        int id = name.type == KD_TV_STR ? kd_tpl_test_id(kd_tv_text(name)) : -1;
        if (id < 0)
            return kd_tr_fail(r, KD_EFORMAT, "no test named '%.*s'", name.type == KD_TV_STR ? (int)(name.len < 60 ? name.len : 60) : 1,
                              name.type == KD_TV_STR ? name.u.s : "?");
        rest.at++;
        rest.n--;
        if (!kd_te_test(r, id, x, &rest, keep)) return false;
    }
    *keep = *keep != (it->what == 1);
    return true;
}

static bool keep_unique(kd_trun *r, kd_titer *it, kd_tval v, bool *keep) {
    kd_tval key = v, seen = kd_tv(KD_TV_MISSING);
    if (!kd_te_attr_path(r, v, it->extra, kd_tv(KD_TV_MISSING), &key)) return false;
    if (!it->what && key.type == KD_TV_STR && !kd_ts_case(r, &key, key, 'L')) return false;
    if (!it->seen && (!kd_td_new(r, &seen, 0) || !(it->seen = seen.u.dict))) return false;
    if (!kd_td_get(r, it->seen, key, &seen, keep)) return false;
    *keep = !*keep;
    return !*keep || kd_td_set(r, it->seen, key, kd_tv(KD_TV_NONE));
}

/* The next count items of the source as a list. */
static bool next_batch(kd_trun *r, kd_titer *it, kd_tval *out, bool *more) {
    size_t cap = 0, n = 0;
    kd_tval *at = NULL, v;
    int64_t want = it->count;
    while ((int64_t)n != want || n == 0) { /* as in jinja2, where a count below 1 never comes up */
        if (!kd_ti_next(r, it->in, &v, more)) return false;
        if (!*more) break;
        if (n == cap) {
            kd_tval *bigger = kd_tr_alloc(r, (cap = cap ? cap * 2 : 8) * sizeof *at);
            if (!bigger) return false;
            if (n) memcpy(bigger, at, n * sizeof *at);
            at = bigger;
        }
        at[n++] = v;
        if ((int64_t)n == want) break;
    }
    *more = n > 0;
    if (!n) return true;
    size_t total = it->extra.type != KD_TV_NONE && want > (int64_t)n ? (size_t)want : n;
    if (!kd_tv_seq(r, out, KD_TV_LIST, total)) return false;
    memcpy(out->u.seq->at, at, n * sizeof *at);
    for (size_t i = n; i < total; i++) out->u.seq->at[i] = it->extra;
    return true;
}

/* Slice number pos of the count that the whole is cut into. */
static bool next_slice(kd_trun *r, kd_titer *it, kd_tval *out, bool *more) {
    kd_tval all = it->src;
    if (!it->pos) {
        if (!kd_ti_all(r, it->src, &all)) return false;
        it->src = all;
        if (it->count == 0) return kd_tr_fail(r, KD_EFORMAT, "integer division or modulo by zero");
    }
    *more = it->count > 0 && (int64_t)it->pos < it->count;
    if (!*more) return true;
    size_t n = all.u.seq->n, count = (size_t)it->count, k = it->pos++, each = n / count, extra = n % count;
    size_t start = k * each + (k < extra ? k : extra), length = each + (k < extra);
    bool fill = it->extra.type != KD_TV_NONE && k >= extra;
    if (!kd_tv_seq(r, out, KD_TV_LIST, length + fill)) return false;
    if (length) memcpy(out->u.seq->at, all.u.seq->at + start, length * sizeof(kd_tval));
    if (fill) out->u.seq->at[length] = it->extra;
    return true;
}

static bool next_generated(kd_trun *r, kd_titer *it, kd_tval *out, bool *more) {
    if (it->kind == KD_TI_SLICE) return next_slice(r, it, out, more);
    if (!it->started && !open_source(r, it)) return false;
    *more = !it->done;
    if (it->done) return true;
    if (it->kind == KD_TI_BATCH) return next_batch(r, it, out, more);
    if (it->kind == KD_TI_ITEMS) {
        *more = it->pos < it->src.u.dict->n;
        return !*more || next_dict(r, it->src.u.dict, it->pos++, 'i', out);
    }
    for (bool keep = false; !keep;) {
        kd_tval v = kd_tv(KD_TV_MISSING);
        if (!kd_ti_next(r, it->in, &v, more)) return false;
        if (!*more) {
            it->done = true;
            return true;
        }
        *out = v;
        if (it->kind == KD_TI_MAP) return next_map(r, it, v, out);
        if (it->kind == KD_TI_TEST     ? !kd_te_test_item(r, it, v, &keep)
            : it->kind == KD_TI_UNIQUE ? !keep_unique(r, it, v, &keep)
                                       : !keep_item(r, it, v, &keep))
            return false;
    }
    return true;
}

bool kd_ti_next(kd_trun *r, kd_titer *it, kd_tval *out, bool *more) {
    if (!kd_tr_charge(r, 1)) return false;
    *more = true;
    switch ((kd_ti_kind)it->kind) {
    case KD_TI_EMPTY: *more = false; return true;
    case KD_TI_SEQ:
        if ((*more = it->pos < it->src.u.seq->n)) *out = it->src.u.seq->at[it->pos++];
        return true;
    case KD_TI_STR:
        if ((*more = it->pos < it->src.len)) {
            size_t n;
            kd_tpl_cp(it->src.u.s + it->pos, &n);
            *out = kd_tv_view(it->src.u.s + it->pos, n);
            it->pos += n;
        }
        return true;
    case KD_TI_RANGE:
        if ((*more = it->pos < it->src.u.range->n)) *out = kd_tv_int(it->src.u.range->start + (int64_t)it->pos++ * it->src.u.range->step);
        return true;
    case KD_TI_DICT: *more = it->pos < it->src.u.dict->n; return !*more || next_dict(r, it->src.u.dict, it->pos++, (char)it->what, out);
    case KD_TI_LOOP: return next_loop(r, it->src.u.loop, out, more);
    case KD_TI_REVERSED: return next_reversed(r, it, out, more);
    default: { /* generators stand on generators */
        bool ok = ++r->depth <= KD_TR_DEPTH ? next_generated(r, it, out, more) : kd_tr_fail(r, KD_ELIMIT, "nested too deep");
        r->depth--;
        return ok;
    }
    }
}

bool kd_ti_all(kd_trun *r, kd_tval v, kd_tval *list) {
    if (v.type == KD_TV_LIST || v.type == KD_TV_TUPLE) {
        kd_tval copy;
        if (!kd_tv_seq(r, &copy, KD_TV_LIST, v.u.seq->n)) return false;
        if (v.u.seq->n) memcpy(copy.u.seq->at, v.u.seq->at, v.u.seq->n * sizeof(kd_tval));
        *list = copy;
        return true;
    }
    kd_titer *it;
    kd_tval *at = NULL, x;
    size_t n = 0, cap = 0;
    if (!kd_ti_new(r, &it, v)) return false;
    for (bool more;;) {
        if (!kd_ti_next(r, it, &x, &more)) return false;
        if (!more) break;
        if (n == cap) {
            kd_tval *bigger = kd_tr_alloc(r, (cap = cap ? cap * 2 : 8) * sizeof *at);
            if (!bigger) return false;
            if (n) memcpy(bigger, at, n * sizeof *at);
            at = bigger;
        }
        at[n++] = x;
    }
    if (!kd_tv_seq(r, list, KD_TV_LIST, 0)) return false;
    list->u.seq->n = n;
    list->u.seq->at = at;
    return true;
}

/* ---- sorting ---- */

/* Merges the sorted halves [0,m) and [m,n) of keys by way of the index arrays. */
static bool merge(kd_trun *r, const kd_tval *keys, uint32_t *a, uint32_t *tmp, size_t m, size_t n, bool reverse) {
    size_t i = 0, j = m, k = 0;
    while (i < m && j < n) {
        bool second;
        if (!(reverse ? kd_tv_less(r, KD_TO_LT, keys[a[i]], keys[a[j]], &second)
                      : kd_tv_less(r, KD_TO_LT, keys[a[j]], keys[a[i]], &second)))
            return false;
        tmp[k++] = second ? a[j++] : a[i++];
    }
    while (i < m) tmp[k++] = a[i++];
    while (j < n) tmp[k++] = a[j++];
    memcpy(a, tmp, n * sizeof *a);
    return true;
}

bool kd_te_sort(kd_trun *r, kd_tval *at, kd_tval *keys, size_t n, bool reverse) {
    if (n > 1u << 24) return kd_tr_fail(r, KD_ELIMIT, "a list of %zu to sort", n);
    uint32_t *order = kd_tr_alloc(r, n * sizeof *order), *tmp = order ? kd_tr_alloc(r, n * sizeof *tmp) : NULL;
    kd_tval *copy = tmp ? kd_tr_alloc(r, n * sizeof *copy) : NULL;
    if (!copy) return false;
    for (size_t i = 0; i < n; i++) order[i] = (uint32_t)i;
    for (size_t w = 1; w < n; w *= 2)
        for (size_t i = 0; i + w < n; i += 2 * w)
            if (!merge(r, keys, order + i, tmp, w, i + 2 * w < n ? 2 * w : n - i, reverse)) return false;
    if (n) memcpy(copy, at, n * sizeof *copy);
    for (size_t i = 0; i < n; i++) at[i] = copy[order[i]];
    return true;
}

/* ---- arguments ---- */

bool kd_te_bind(kd_trun *r, const char *who, const kd_targs *a, const char *names, int required, kd_tval *out) {
    int n = 0, by_name = 0;
    kd_str name[8] = {0};
    for (const char *p = names; *p;) {
        size_t len = strcspn(p, " ");
        if (*p == '/')
            by_name = n;
        else
            name[n++] = (kd_str){p, len};
        p += len + (p[len] == ' ');
    }
    for (int i = 0; i < n; i++) out[i] = kd_tv(KD_TV_MISSING);
    if (a->n > (size_t)n) return kd_tr_fail(r, KD_EFORMAT, "%s takes at most %d arguments (%zu given)", who, n, a->n);
    for (size_t i = 0; i < a->n; i++) out[i] = a->at[i];
    for (size_t k = 0; k < a->n_names; k++) {
        int i = by_name;
        while (i < n && !kd_str_eq(name[i], a->names[k])) i++;
        if (i == n)
            return kd_tr_fail(r, KD_EFORMAT, "%s got an unexpected keyword argument '%.*s'", who, (int)a->names[k].len, a->names[k].data);
        if (out[i].type != KD_TV_MISSING)
            return kd_tr_fail(r, KD_EFORMAT, "%s got multiple values for argument '%.*s'", who, (int)a->names[k].len, a->names[k].data);
        out[i] = a->values[k];
    }
    for (int i = 0; i < required; i++)
        if (out[i].type == KD_TV_MISSING)
            return kd_tr_fail(r, KD_EFORMAT, "%s misses its argument '%.*s'", who, (int)name[i].len, name[i].data);
    return true;
}

bool kd_te_attr_path(kd_trun *r, kd_tval item, kd_tval path, kd_tval fallback, kd_tval *out) {
    *out = item;
    if (path.type == KD_TV_NONE || path.type == KD_TV_MISSING) return true;
    kd_str s = kd_tv_text(path);
    for (size_t from = 0; path.type != KD_TV_STR || from <= s.len;) {
        kd_tval key = path;
        if (path.type == KD_TV_STR) {
            size_t to = from, digits = 0;
            int64_t number = 0;
            for (; to < s.len && s.data[to] != '.'; to++)
                if (s.data[to] >= '0' && s.data[to] <= '9' && digits < 18) {
                    digits++;
                    number = number * 10 + (s.data[to] - '0');
                }
            key = digits && digits == to - from ? kd_tv_int(number) : kd_tv_view(s.data + from, to - from);
            from = to + 1;
        }
        if (!kd_te_item(r, *out, key, out)) return false;
        if (out->type == KD_TV_UNDEF && fallback.type != KD_TV_MISSING && fallback.type != KD_TV_NONE) *out = fallback;
        if (path.type != KD_TV_STR) break;
    }
    return true;
}
