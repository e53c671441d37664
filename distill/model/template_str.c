/* distill/model/template_str.c - the methods of Python's str. Positions count code points. Leans on template_run.h, template_case.c. */
#include "distill/model/template_run.h"

#include <stdio.h>
#include <string.h>

/* ---- pieces ---- */

size_t kd_ts_count(kd_tval s) {
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++) n += ((unsigned char)s.u.s[i] & 0xc0) != 0x80;
    return n;
}

size_t kd_ts_offset(kd_tval s, size_t chars) {
    size_t i = 0;
    for (; chars && i < s.len; chars--)
        for (i++; i < s.len && ((unsigned char)s.u.s[i] & 0xc0) == 0x80; i++) {}
    return i;
}

size_t kd_ts_find(kd_str s, kd_str what, size_t from) {
    if (from > s.len || what.len > s.len - from) return SIZE_MAX;
    if (!what.len) return from;
    const char *p = memmem(s.data + from, s.len - from, what.data, what.len);
    return p ? (size_t)(p - s.data) : SIZE_MAX;
}

/* The last match that ends at or before to; SIZE_MAX if none. */
static size_t find_last(kd_str s, kd_str what, size_t from, size_t to) {
    if (what.len > to - from || to < from) return SIZE_MAX;
    for (size_t i = to - what.len + 1; i-- > from;)
        if (!what.len || memcmp(s.data + i, what.data, what.len) == 0) return i;
    return SIZE_MAX;
}

static kd_tval sub(kd_tval s, size_t from, size_t to) {
    kd_tval v = kd_tv_view(s.u.s + from, to - from);
    v.flag = s.flag;
    return v;
}

static bool want_str(kd_trun *r, const char *who, kd_tval v) {
    return v.type == KD_TV_STR || kd_tr_fail(r, KD_EFORMAT, "%s: expected a string, got %s", who, kd_tv_type_name(v));
}

bool kd_ts_escape(kd_trun *r, kd_tval *out, kd_tval s) {
    *out = s;
    out->flag |= KD_TF_MARKUP;
    if (s.flag & KD_TF_MARKUP) return true;
    kd_buf b = {0};
    bool ok = true, any = false;
    for (size_t i = 0; ok && i < s.len; i++) {
        static const char from[] = "&<>'\"", *const to[] = {"&amp;", "&lt;", "&gt;", "&#39;", "&#34;"};
        const char *p = s.u.s[i] ? strchr(from, s.u.s[i]) : NULL;
        any |= p != NULL;
        ok = p ? kd_tr_write(r, &b, to[p - from], strlen(to[p - from])) : kd_tr_write(r, &b, s.u.s + i, 1);
    }
    if (ok && any) {
        ok = kd_tv_take(r, out, &b);
        out->flag = KD_TF_MARKUP;
    }
    kd_tr_drop(r, &b);
    return ok && kd_tr_charge(r, s.len / 4);
}

bool kd_ts_replace(kd_trun *r, kd_tval *out, kd_tval s, kd_tval old, kd_tval new, int64_t count) {
    kd_buf b = {0};
    bool ok = kd_tr_charge(r, s.len / 16);
    size_t from = 0, at = 0, step;
    while (ok && count != 0) {
        size_t hit = kd_ts_find(kd_tv_text(s), kd_tv_text(old), at);
        if (hit == SIZE_MAX) break;
        ok = kd_tr_charge(r, 1) && kd_tr_write(r, &b, s.u.s + from, hit - from) && kd_tr_write(r, &b, new.u.s, new.len);
        from = hit + old.len;
        at = from;
        count -= count > 0;
        if (!old.len) { /* between every two characters */
            if (hit >= s.len) break;
            kd_tpl_cp(s.u.s + hit, &step);
            at = hit + step;
        }
    }
    if (ok && !b.len && !from && old.len) {
        *out = s;
        return true;
    }
    ok = ok && kd_tr_write(r, &b, s.u.s + from, s.len - from);
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = s.flag;
    return ok;
}

static bool in_set(kd_trun *r, int32_t c, kd_tval chars) {
    for (size_t i = 0, n; i < chars.len; i += n)
        if (kd_tpl_cp(chars.u.s + i, &n) == c) return kd_tr_charge(r, i / 8);
    (void)kd_tr_charge(r, chars.len / 8);
    return false;
}

bool kd_ts_strip(kd_trun *r, kd_tval *out, kd_tval s, kd_tval chars, int sides) {
    bool space = chars.type == KD_TV_NONE || chars.type == KD_TV_MISSING;
    size_t a = 0, b = s.len, n;
    if (!space && !want_str(r, "strip", chars)) return false;
    while (sides & 1 && a < b) {
        int32_t c = kd_tpl_cp(s.u.s + a, &n);
        if (space ? !kd_tpl_space(c) : !in_set(r, c, chars)) break;
        a += n;
    }
    while (sides & 2 && b > a) {
        size_t p = b - 1;
        while (p > a && ((unsigned char)s.u.s[p] & 0xc0) == 0x80) p--;
        int32_t c = kd_tpl_cp(s.u.s + p, &n);
        if (space ? !kd_tpl_space(c) : !in_set(r, c, chars)) break;
        b = p;
    }
    *out = sub(s, a, b);
    return r->code == KD_OK && kd_tr_charge(r, (a + s.len - b) / 8);
}

bool kd_ts_pad(kd_trun *r, kd_tval *out, kd_tval s, int64_t width, kd_str fill, char how) {
    int64_t n = (int64_t)kd_ts_count(s);
    *out = s;
    if (width <= n) return true;
    size_t pad = (size_t)(width - n), left = how == '<' ? 0 : how == '>' ? pad : pad / 2 + (pad & (size_t)width & 1);
    kd_buf b = {0};
    bool ok = kd_tr_charge(r, pad / 8);
    for (size_t i = 0; ok && i < left; i++) ok = kd_tr_write(r, &b, fill.data, fill.len);
    ok = ok && kd_tr_write(r, &b, s.u.s, s.len);
    for (size_t i = left; ok && i < pad; i++) ok = kd_tr_charge(r, 1) && kd_tr_write(r, &b, fill.data, fill.len);
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = s.flag;
    return ok;
}

/* ---- lists of strings ---- */

typedef struct {
    kd_tval *at;
    size_t n, cap;
} strings;

static bool add(kd_trun *r, strings *l, kd_tval v) {
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 8;
        kd_tval *bigger = kd_tr_alloc(r, cap * sizeof *bigger);
        if (!bigger) return false;
        if (l->n) memcpy(bigger, l->at, l->n * sizeof *bigger);
        l->at = bigger;
        l->cap = cap;
    }
    l->at[l->n++] = v;
    return kd_tr_charge(r, 1);
}

static bool finish(kd_trun *r, strings *l, kd_tv_type type, kd_tval *out) {
    if (!kd_tv_seq(r, out, type, 0)) return false;
    out->u.seq->n = l->n;
    out->u.seq->at = l->at;
    return true;
}

static void reverse(strings *l) {
    for (size_t i = 0; i + 1 < l->n - i; i++) {
        kd_tval v = l->at[i];
        l->at[i] = l->at[l->n - 1 - i];
        l->at[l->n - 1 - i] = v;
    }
}

bool kd_ts_lines(kd_trun *r, kd_tval *out, kd_tval s, bool keep) {
    strings l = {0};
    size_t from = 0, n;
    for (size_t i = 0; i < s.len;) {
        int32_t c = kd_tpl_cp(s.u.s + i, &n);
        size_t end = i;
        i += n;
        if (!(c >= 0x0a && c <= 0x0d) && !(c >= 0x1c && c <= 0x1e) && c != 0x85 && c != 0x2028 && c != 0x2029) continue;
        if (c == '\r' && i < s.len && s.u.s[i] == '\n') i++;
        if (!add(r, &l, sub(s, from, keep ? i : end))) return false;
        from = i;
    }
    if (from < s.len && !add(r, &l, sub(s, from, s.len))) return false;
    return kd_tr_charge(r, s.len / 8) && finish(r, &l, KD_TV_LIST, out);
}

/* split() on white space, from the left. */
static bool split_space(kd_trun *r, kd_tval s, int64_t max, strings *l) {
    size_t i = 0, n;
    for (;;) {
        while (i < s.len && kd_tpl_space(kd_tpl_cp(s.u.s + i, &n))) i += n;
        if (i >= s.len) return true;
        size_t from = i;
        if (max-- == 0) return add(r, l, sub(s, from, s.len));
        while (i < s.len && !kd_tpl_space(kd_tpl_cp(s.u.s + i, &n))) i += n;
        if (!add(r, l, sub(s, from, i))) return false;
    }
}

static size_t back(kd_tval s, size_t i) {
    do i--;
    while (i > 0 && ((unsigned char)s.u.s[i] & 0xc0) == 0x80);
    return i;
}

static bool rsplit_space(kd_trun *r, kd_tval s, int64_t max, strings *l) {
    size_t i = s.len, n;
    for (;;) {
        while (i > 0 && kd_tpl_space(kd_tpl_cp(s.u.s + back(s, i), &n))) i = back(s, i);
        if (!i) break;
        size_t to = i;
        if (max-- == 0) {
            if (!add(r, l, sub(s, 0, to))) return false;
            break;
        }
        while (i > 0 && !kd_tpl_space(kd_tpl_cp(s.u.s + back(s, i), &n))) i = back(s, i);
        if (!add(r, l, sub(s, i, to))) return false;
    }
    reverse(l);
    return true;
}

static bool split_at(kd_trun *r, kd_tval s, kd_tval sep, int64_t max, bool right, strings *l) {
    size_t from = 0, to = s.len;
    while (max-- != 0) {
        size_t hit = right ? find_last(kd_tv_text(s), kd_tv_text(sep), 0, to) : kd_ts_find(kd_tv_text(s), kd_tv_text(sep), from);
        if (hit == SIZE_MAX) break;
        if (!add(r, l, right ? sub(s, hit + sep.len, to) : sub(s, from, hit))) return false;
        if (right)
            to = hit;
        else
            from = hit + sep.len;
    }
    if (!add(r, l, sub(s, from, to))) return false;
    if (right) reverse(l);
    return true;
}

static bool do_split(kd_trun *r, kd_tval s, const kd_targs *a, bool right, kd_tval *out) {
    kd_tval v[2];
    strings l = {0};
    int64_t max = -1;
    if (!kd_te_bind(r, right ? "rsplit" : "split", a, "sep maxsplit", 0, v) || !kd_tr_charge(r, s.len / 8)) return false;
    if (v[1].type != KD_TV_MISSING && !kd_tv_index(v[1], &max))
        return kd_tr_fail(r, KD_EFORMAT, "split: maxsplit must be an integer, not %s", kd_tv_type_name(v[1]));
    if (v[0].type == KD_TV_MISSING || v[0].type == KD_TV_NONE)
        return (right ? rsplit_space(r, s, max, &l) : split_space(r, s, max, &l)) && finish(r, &l, KD_TV_LIST, out);
    if (!want_str(r, "split", v[0])) return false;
    if (!v[0].len) return kd_tr_fail(r, KD_EFORMAT, "split: empty separator");
    return split_at(r, s, v[0], max, right, &l) && finish(r, &l, KD_TV_LIST, out);
}

static bool do_join(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[1], list;
    kd_buf b = {0};
    if (!kd_te_bind(r, "join", a, "iterable /", 1, v) || !kd_ti_all(r, v[0], &list)) return false;
    bool ok = true;
    for (size_t i = 0; ok && i < list.u.seq->n; i++) {
        kd_tval x = list.u.seq->at[i];
        if (x.type != KD_TV_STR)
            ok = kd_tr_fail(r, KD_EFORMAT, "sequence item %zu: expected str instance, %s found", i, kd_tv_type_name(x));
        if (ok && s.flag & KD_TF_MARKUP) ok = kd_ts_escape(r, &x, x);
        ok = ok && (!i || kd_tr_write(r, &b, s.u.s, s.len)) && kd_tr_write(r, &b, x.u.s, x.len);
    }
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = s.flag;
    return ok;
}

static bool do_partition(kd_trun *r, kd_tval s, const kd_targs *a, bool right, kd_tval *out) {
    kd_tval v[1];
    if (!kd_te_bind(r, "partition", a, "sep /", 1, v) || !want_str(r, "partition", v[0]) || !kd_tv_seq(r, out, KD_TV_TUPLE, 3))
        return false;
    if (!v[0].len || !kd_tr_charge(r, s.len / 8)) return kd_tr_fail(r, KD_EFORMAT, "partition: empty separator");
    size_t hit = right ? find_last(kd_tv_text(s), kd_tv_text(v[0]), 0, s.len) : kd_ts_find(kd_tv_text(s), kd_tv_text(v[0]), 0);
    kd_tval *p = out->u.seq->at;
    p[0] = p[1] = p[2] = sub(s, 0, 0);
    if (hit == SIZE_MAX) {
        p[right ? 2 : 0] = s;
        return true;
    }
    p[0] = sub(s, 0, hit);
    p[1] = sub(s, hit, hit + v[0].len);
    p[2] = sub(s, hit + v[0].len, s.len);
    return true;
}

/* ---- searching ---- */

/* Optional start and end, in characters, as bytes. False in *valid: start lies behind the end of s. */
static bool window(kd_trun *r, kd_tval s, kd_tval start, kd_tval end, size_t *from, size_t *to, bool *valid) {
    int64_t n = (int64_t)kd_ts_count(s), a = 0, b = n;
    if (start.type != KD_TV_MISSING && start.type != KD_TV_NONE && !kd_tv_index(start, &a))
        return kd_tr_fail(r, KD_EFORMAT, "slice indices must be integers or None");
    if (end.type != KD_TV_MISSING && end.type != KD_TV_NONE && !kd_tv_index(end, &b))
        return kd_tr_fail(r, KD_EFORMAT, "slice indices must be integers or None");
    a = a < 0 ? (a + n < 0 ? 0 : a + n) : a;
    b = b < 0 ? (b + n < 0 ? 0 : b + n) : b > n ? n : b;
    *valid = a <= n && a <= b;
    *from = kd_ts_offset(s, (size_t)(a > n ? n : a));
    *to = *valid ? kd_ts_offset(s, (size_t)b) : *from;
    return kd_tr_charge(r, s.len / 16);
}

static bool do_find(kd_trun *r, kd_tval s, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    size_t from, to, hit = SIZE_MAX;
    bool valid;
    const char *who = kd_tm_name(id);
    if (!kd_te_bind(r, who, a, "sub start end /", 1, v) || !want_str(r, who, v[0]) || !window(r, s, v[1], v[2], &from, &to, &valid))
        return false;
    kd_str in = {s.u.s, to};
    if (valid && (id == KD_TM_find || id == KD_TM_index))
        hit = kd_ts_find(in, kd_tv_text(v[0]), from);
    else if (valid)
        hit = find_last(in, kd_tv_text(v[0]), from, to);
    if (hit == SIZE_MAX && (id == KD_TM_index || id == KD_TM_rindex)) return kd_tr_fail(r, KD_EFORMAT, "substring not found");
    *out = kd_tv_int(hit == SIZE_MAX ? -1 : (int64_t)kd_ts_count(sub(s, 0, hit)));
    return true;
}

static bool do_count(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    size_t from, to;
    bool valid;
    int64_t n = 0;
    if (!kd_te_bind(r, "count", a, "sub start end /", 1, v) || !want_str(r, "count", v[0]) || !window(r, s, v[1], v[2], &from, &to, &valid))
        return false;
    kd_str in = {s.u.s, to};
    if (valid && !v[0].len) n = (int64_t)kd_ts_count(sub(s, from, to)) + 1;
    for (size_t hit; valid && v[0].len && (hit = kd_ts_find(in, kd_tv_text(v[0]), from)) != SIZE_MAX; from = hit + v[0].len) n++;
    *out = kd_tv_int(n);
    return kd_tr_charge(r, s.len / 16);
}

/* Whether s[from..to) starts (or ends) with one of what, a string or a tuple of them. */
static bool do_starts(kd_trun *r, kd_tval s, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[3], *at = v;
    size_t from, to, n = 1;
    bool valid, yes = false;
    const char *who = kd_tm_name(id);
    if (!kd_te_bind(r, who, a, "prefix start end /", 1, v) || !window(r, s, v[1], v[2], &from, &to, &valid)) return false;
    if (v[0].type == KD_TV_TUPLE) {
        at = v[0].u.seq->at;
        n = v[0].u.seq->n;
    }
    for (size_t i = 0; !yes && i < n; i++) {
        if (at[i].type != KD_TV_STR)
            return kd_tr_fail(r, KD_EFORMAT, "%s first arg must be str or a tuple of str, not %s", who, kd_tv_type_name(at[i]));
        size_t len = at[i].len;
        if (valid && len <= to - from) yes = memcmp(id == KD_TM_startswith ? s.u.s + from : s.u.s + to - len, at[i].u.s, len) == 0;
    }
    *out = kd_tv_bool(yes);
    return true;
}

/* ---- what a string is ---- */

static bool ask(kd_tval s, int id) {
    bool any = false, upper = false, lower = false, previous = false;
    if (id == KD_TM_isascii || (id == KD_TM_isprintable && !s.len)) any = true;
    for (size_t i = 0, n; i < s.len; i += n) {
        int32_t c = kd_tpl_cp(s.u.s + i, &n);
        bool cased = kd_tc_cased(c);
        bool is_upper = kd_tc_upper(c), is_lower = kd_tc_lower(c), is_title = cased && !is_upper && !is_lower;
        switch (id) {
        case KD_TM_isascii:
            if (c >= 0x80) return false;
            break;
        case KD_TM_isspace:
            if (!kd_tpl_space(c)) return false;
            any = true;
            break;
        case KD_TM_isidentifier:
            if (!(c == '_' || kd_tc_is(c, KD_TM_isalpha) || (i && kd_tc_is(c, KD_TM_isdecimal)))) return false;
            any = true;
            break;
        case KD_TM_isupper:
        case KD_TM_islower:
            upper |= is_upper || is_title;
            lower |= is_lower || is_title;
            any |= cased;
            break;
        case KD_TM_istitle:
            if (((is_upper || is_title) && previous) || (is_lower && !previous)) return false;
            any |= cased;
            break;
        default:
            if (!kd_tc_is(c, id)) return false;
            any = true;
        }
        previous = cased;
    }
    return any && !(id == KD_TM_isupper && lower) && !(id == KD_TM_islower && upper);
}

/* ---- the rest ---- */

static bool do_pad(kd_trun *r, kd_tval s, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[2];
    int64_t width;
    const char *who = kd_tm_name(id);
    if (!kd_te_bind(r, who, a, "width fillchar /", 1, v)) return false;
    if (!kd_tv_index(v[0], &width))
        return kd_tr_fail(r, KD_EFORMAT, "%s: the width must be an integer, not %s", who, kd_tv_type_name(v[0]));
    if (v[1].type == KD_TV_MISSING) v[1] = kd_tv_lit(" ");
    if (v[1].type != KD_TV_STR || kd_ts_count(v[1]) != 1)
        return kd_tr_fail(r, KD_EFORMAT, "The fill character must be exactly one character long");
    return kd_ts_pad(r, out, s, width, kd_tv_text(v[1]), id == KD_TM_ljust ? '<' : id == KD_TM_rjust ? '>' : '^');
}

static bool do_zfill(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[1], digits;
    int64_t width;
    if (!kd_te_bind(r, "zfill", a, "width /", 1, v) ||
        (!kd_tv_index(v[0], &width) && !kd_tr_fail(r, KD_EFORMAT, "zfill: the width must be an integer")))
        return false;
    size_t sign = s.len && (s.u.s[0] == '-' || s.u.s[0] == '+');
    if (!kd_ts_pad(r, &digits, sub(s, sign, s.len), width - (int64_t)sign, KD_STR("0"), '>')) return false;
    return kd_tv_join(r, out, sub(s, 0, sign), digits);
}

static bool do_expandtabs(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    int64_t size = 8, column = 0;
    kd_buf b = {0};
    if (!kd_te_bind(r, "expandtabs", a, "tabsize", 0, v)) return false;
    if (v[0].type != KD_TV_MISSING && !kd_tv_index(v[0], &size))
        return kd_tr_fail(r, KD_EFORMAT, "expandtabs: the size must be an integer");
    bool ok = true;
    for (size_t i = 0; ok && i < s.len; i++) {
        char c = s.u.s[i];
        if (c == '\t') {
            for (int64_t k = size > 0 ? size - column % size : 0; ok && k > 0; k--, column++)
                ok = kd_tr_charge(r, 1) && kd_tr_write(r, &b, " ", 1);
            continue;
        }
        ok = kd_tr_write(r, &b, &c, 1);
        column = c == '\n' || c == '\r' ? 0 : column + (((unsigned char)c & 0xc0) != 0x80);
    }
    ok = kd_tv_take(r, out, &b) && ok;
    out->flag = s.flag;
    return ok;
}

static bool do_replace(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[3];
    int64_t count = -1;
    if (!kd_te_bind(r, "replace", a, "old new count /", 2, v) || !want_str(r, "replace", v[0]) || !want_str(r, "replace", v[1]))
        return false;
    if (v[2].type != KD_TV_MISSING && !kd_tv_index(v[2], &count))
        return kd_tr_fail(r, KD_EFORMAT, "replace: the count must be an integer, not %s", kd_tv_type_name(v[2]));
    if (s.flag & KD_TF_MARKUP && !kd_ts_escape(r, &v[1], v[1])) return false;
    return kd_ts_replace(r, out, s, v[0], v[1], count);
}

static bool do_remove(kd_trun *r, kd_tval s, bool suffix, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    if (!kd_te_bind(r, suffix ? "removesuffix" : "removeprefix", a, "affix /", 1, v) || !want_str(r, "removeprefix", v[0])) return false;
    bool has = v[0].len <= s.len && memcmp(suffix ? s.u.s + s.len - v[0].len : s.u.s, v[0].u.s, v[0].len) == 0;
    *out = !has ? s : suffix ? sub(s, 0, s.len - v[0].len) : sub(s, v[0].len, s.len);
    return true;
}

static bool do_strip(kd_trun *r, kd_tval s, int id, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    return kd_te_bind(r, kd_tm_name(id), a, "chars /", 0, v) && kd_ts_strip(r, out, s, v[0],
                                                                            id == KD_TM_lstrip   ? 1
                                                                            : id == KD_TM_rstrip ? 2
                                                                                                 : 3);
}

static bool do_lines(kd_trun *r, kd_tval s, const kd_targs *a, kd_tval *out) {
    kd_tval v[1];
    return kd_te_bind(r, "splitlines", a, "keepends", 0, v) && kd_ts_lines(r, out, s, kd_tv_truth(v[0]));
}

bool kd_te_str_method(kd_trun *r, kd_tval s, int id, const kd_targs *a, kd_tval *out) {
    kd_tval none[1];
    switch (id) {
    case KD_TM_split:
    case KD_TM_rsplit: return do_split(r, s, a, id == KD_TM_rsplit, out);
    case KD_TM_strip:
    case KD_TM_lstrip:
    case KD_TM_rstrip: return do_strip(r, s, id, a, out);
    case KD_TM_startswith:
    case KD_TM_endswith: return do_starts(r, s, id, a, out);
    case KD_TM_replace: return do_replace(r, s, a, out);
    case KD_TM_join: return do_join(r, s, a, out);
    case KD_TM_find:
    case KD_TM_rfind:
    case KD_TM_index:
    case KD_TM_rindex: return do_find(r, s, id, a, out);
    case KD_TM_count: return do_count(r, s, a, out);
    case KD_TM_splitlines: return do_lines(r, s, a, out);
    case KD_TM_partition:
    case KD_TM_rpartition: return do_partition(r, s, a, id == KD_TM_rpartition, out);
    case KD_TM_removeprefix:
    case KD_TM_removesuffix: return do_remove(r, s, id == KD_TM_removesuffix, a, out);
    case KD_TM_center:
    case KD_TM_ljust:
    case KD_TM_rjust: return do_pad(r, s, id, a, out);
    case KD_TM_zfill: return do_zfill(r, s, a, out);
    case KD_TM_expandtabs: return do_expandtabs(r, s, a, out);
    case KD_TM_format: return kd_te_str_format(r, s, a, out);
    case KD_TM_encode:
    case KD_TM_translate:
    case KD_TM_maketrans:
    case KD_TM_format_map: return kd_tr_fail(r, KD_EUNSUPPORTED, "the method '%s' of strings is not supported", kd_tm_name(id));
    default: break;
    }
    if (!kd_te_bind(r, kd_tm_name(id), a, "", 0, none)) return false;
    switch (id) {
    case KD_TM_upper: return kd_ts_case(r, out, s, 'U');
    case KD_TM_lower: return kd_ts_case(r, out, s, 'L');
    case KD_TM_title: return kd_ts_case(r, out, s, 'T');
    case KD_TM_capitalize: return kd_ts_case(r, out, s, 'C');
    case KD_TM_swapcase: return kd_ts_case(r, out, s, 'S');
    case KD_TM_casefold: return kd_ts_case(r, out, s, 'F');
    default: *out = kd_tv_bool(ask(s, id)); return kd_tr_charge(r, s.len / 4);
    }
}
