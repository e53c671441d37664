/* distill/model/token_regex.c - the patterns of Split and Replace. `tokenizers` hands expressions to Oniguruma in Ruby's syntax; they are rewritten
 * here for PCRE2, with character classes spelled out as Oniguruma's Unicode has them, and what has no sure counterpart is refused by name.
 * Leans on token_impl.h, base/regex.h. */
#include "distill/model/token_impl.h"

typedef struct {
    kd_buf *out;
    const char *s;
    size_t n, i;
    kd_str whole;
    kd_err *e;
} translator;

static kd_code refuse(translator *t, const char *what) {
    return kd_fail(t->e, KD_EUNSUPPORTED, "regular expression '%.*s', byte %zu: %s", (int)(t->whole.len < 200 ? t->whole.len : 200),
                   t->whole.data, t->i, what);
}

static kd_code put(translator *t, const char *s, size_t n) { return kd_buf_append(t->out, s, n) ? kd_tok_enomem(t->e) : KD_OK; }

/* name, in brackets of its own unless within some. */
static kd_code put_class(translator *t, kd_str name, bool inside) {
    bool known;
    kd_code c = inside ? KD_OK : put(t, "[", 1);
    if (!c && kd_tok_class_ranges(t->out, name, &known)) c = kd_tok_enomem(t->e);
    if (!c && !known)
        return kd_fail(t->e, KD_EUNSUPPORTED, "regular expression '%.*s': the character property '%.*s'",
                       (int)(t->whole.len < 200 ? t->whole.len : 200), t->whole.data, (int)(name.len < 40 ? name.len : 40), name.data);
    return c || inside ? c : put(t, "]", 1);
}

/* \p{L}, \p{^L}, \P{L}; i stands behind the p */
static kd_code property(translator *t, bool negated, bool inside) {
    char name[40];
    size_t k = 0;
    if (t->i >= t->n || t->s[t->i] != '{') return refuse(t, "a property without braces");
    t->i++;
    if (t->i < t->n && t->s[t->i] == '^') {
        negated = !negated;
        t->i++;
    }
    if (negated) name[k++] = '^';
    while (t->i < t->n && t->s[t->i] != '}' && k < sizeof name - 1) name[k++] = t->s[t->i++];
    if (t->i >= t->n || t->s[t->i] != '}') return refuse(t, "a property without an end");
    t->i++;
    return put_class(t, (kd_str){name, k}, inside);
}

/* \x41, \x{41}, \u0041; i stands behind the letter */
static kd_code code_point(translator *t, char kind) {
    uint32_t v = 0;
    size_t digits = 0;
    const bool braces = kind == 'x' && t->i < t->n && t->s[t->i] == '{';
    const size_t most = braces ? 8 : kind == 'u' ? 4 : 2;
    if (braces) t->i++;
    for (; digits < most && t->i < t->n; digits++, t->i++) {
        const char c = t->s[t->i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            break;
    }
    if (digits == 0 || (kind == 'u' && digits < 4) || v > 0x10ffff || (v >= 0xd800 && v < 0xe000) || (kind == 'x' && !braces && v > 0x7f))
        return refuse(t, "a code point that is none");
    if (braces && (t->i >= t->n || t->s[t->i++] != '}')) return refuse(t, "a code point without an end");
    return kd_buf_printf(t->out, "\\x{%x}", (unsigned)v) ? kd_tok_enomem(t->e) : KD_OK;
}

static kd_code escape(translator *t, bool inside) {
    t->i++;
    if (t->i >= t->n) return refuse(t, "a backslash at the end");
    const char c = t->s[t->i++];
    switch (c) {
    case 'p': return property(t, false, inside);
    case 'P': return property(t, true, inside);
    case 's': return put_class(t, KD_STR("s"), inside);
    case 'S': return put_class(t, KD_STR("^s"), inside);
    case 'w': return put_class(t, KD_STR("w"), inside);
    case 'W': return put_class(t, KD_STR("^w"), inside);
    case 'd': return put_class(t, KD_STR("Nd"), inside);
    case 'D': return put_class(t, KD_STR("^Nd"), inside);
    case 'h': return inside ? put(t, "0-9a-fA-F", 9) : put(t, "[0-9a-fA-F]", 11);
    case 'x':
    case 'u': return code_point(t, c);
    case 'n': return put(t, "\\x{a}", 5);
    case 'r': return put(t, "\\x{d}", 5);
    case 't': return put(t, "\\x{9}", 5);
    case 'f': return put(t, "\\x{c}", 5);
    case 'v': return put(t, "\\x{b}", 5);
    case 'a': return put(t, "\\x{7}", 5);
    case 'e': return put(t, "\\x{1b}", 6);
    case 'A':
    case 'z':
    case 'Z':
        if (inside) break;
        return put(t, c == 'A' ? "\\A" : c == 'z' ? "\\z" : "(?=\\n?\\z)", c == 'Z' ? 9 : 2);
    default:
        if ((unsigned char)c >= 0x80 || (c | 0x20) < 'a' || (c | 0x20) > 'z') {
            if (c >= '0' && c <= '9') return refuse(t, "a number behind a backslash");
            if ((unsigned char)c >= 0x80) { /* an escaped letter of another alphabet stands for itself */
                t->i--;
                return KD_OK;
            }
            const char two[2] = {'\\', c};
            return put(t, two, 2);
        }
    }
    t->i -= 2;
    return refuse(t, "an escape that we do not know");
}

/* [...]: i stands on the bracket. Sets within sets and intersections are refused. */
static kd_code set(translator *t) {
    kd_code c = put(t, "[", 1);
    t->i++;
    if (!c && t->i < t->n && t->s[t->i] == '^') {
        c = put(t, "^", 1);
        t->i++;
    }
    if (!c && t->i < t->n && t->s[t->i] == ']') return refuse(t, "an empty set");
    while (!c && t->i < t->n && t->s[t->i] != ']') {
        if (t->out->len > TOK_REGEX_MAX) return refuse(t, "too many classes");
        const char *p = t->s + t->i;
        if (*p == '[') return refuse(t, p[1] == ':' ? "a POSIX class" : "a set within a set");
        if (*p == '&' && t->i + 1 < t->n && p[1] == '&') return refuse(t, "an intersection of sets");
        if (*p == '\\') {
            c = escape(t, true);
        } else {
            c = put(t, p, 1);
            t->i++;
        }
    }
    if (c) return c;
    if (t->i >= t->n) return refuse(t, "a set without an end");
    t->i++;
    return put(t, "]", 1);
}

/* (?...: what the group says of itself; i stands on the bracket */
static kd_code group(translator *t) {
    static const char *const same[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:"};
    if (t->i + 1 >= t->n || t->s[t->i + 1] != '?') {
        t->i++;
        return put(t, "(", 1);
    }
    for (size_t k = 0; k < sizeof same / sizeof *same; k++) {
        const size_t len = strlen(same[k]);
        if (t->n - t->i < len || memcmp(t->s + t->i, same[k], len) != 0) continue;
        t->i += len;
        return put(t, same[k], len);
    }
    return refuse(t, "a group of a kind that we do not know");
}

/* a{2}, a{2,}, a{,3}, a{2,3} as Oniguruma counts; i stands on the brace. A brace that counts nothing is a letter. */
static kd_code repeat(translator *t) {
    size_t k = t->i + 1, a = k, b;
    while (k < t->n && t->s[k] >= '0' && t->s[k] <= '9') k++;
    b = k;
    const bool comma = k < t->n && t->s[k] == ',';
    size_t d = comma ? ++k : k;
    while (comma && k < t->n && t->s[k] >= '0' && t->s[k] <= '9') k++;
    if (k >= t->n || t->s[k] != '}' || (b == a && k == d)) {
        t->i++;
        return put(t, "\\{", 2);
    }
    if (k + 1 < t->n && (t->s[k + 1] == '+' || t->s[k + 1] == '?' || t->s[k + 1] == '*'))
        return refuse(t, "a repeat of a repeat"); /* {1,3}+ repeats in Ruby's syntax and is possessive in Perl's */
    kd_code c = put(t, "{", 1);
    if (!c && b == a) c = put(t, "0", 1);
    if (!c) c = put(t, t->s + a, k + 1 - a);
    t->i = k + 1;
    return c;
}

kd_code kd_tok_regex_translate(kd_buf *out, kd_str onig, kd_err *e) {
    translator t = {out, onig.data, onig.len, 0, onig, e};
    kd_code c = KD_OK;
    while (t.i < t.n && !c) {
        if (out->len > TOK_REGEX_MAX) return refuse(&t, "too many classes");
        switch (t.s[t.i]) {
        case '\\': c = escape(&t, false); break;
        case '[': c = set(&t); break;
        case '(': c = group(&t); break;
        case '{': c = repeat(&t); break;
        case '.':
            c = put(&t, "[^\\n]", 5);
            t.i++;
            break;
        case '^': /* lines, always */
            c = put(&t, "(?:(?<=\\n)(?!\\z)|\\A)", 20);
            t.i++;
            break;
        case '$':
            c = put(&t, "(?=\\n|\\z)", 9);
            t.i++;
            break;
        default: c = put(&t, t.s + t.i, 1); t.i++;
        }
    }
    return c;
}

kd_code kd_tok_pattern_regex(kd_tokenizer *t, tok_pattern *p, kd_str onig, bool scanners, kd_err *e) {
    *p = (tok_pattern){.source = kd_tok_keep(t, onig)};
    if (!p->source.data) return kd_tok_enomem(e);
    if (scanners && (p->scan = kd_tok_scanner(onig))) {
        p->kind = SM_SCAN;
        return KD_OK;
    }
    kd_buf b = {0};
    p->kind = SM_REGEX;
    p->regex = t->regexes;
    kd_regex *probe = NULL;
    kd_code c = kd_tok_regex_translate(&b, onig, e);
    if (!c && !(p->text = kd_tok_keep(t, kd_buf_view(&b))).data) c = kd_tok_enomem(e);
    if (!c) c = kd_regex_new(&probe, p->text.data, p->text.len, e); /* a bad expression is told of now */
    kd_regex_free(probe);
    kd_buf_clear(&b);
    if (!c) t->regex_text[t->regexes++] = p->text;
    return c;
}

/* ---- finding ---- */

/* The next match at or after from; empty ones only where last is not. */
static kd_code find(tok_work *w, const tok_pattern *p, const char *s, size_t n, size_t from, bool *found, size_t *a, size_t *b, kd_err *e) {
    *found = false;
    if (p->kind == SM_REGEX) return kd_regex_find(w->regex[p->regex], s, n, from, found, a, b, NULL, 0, e);
    if (p->kind == SM_LITERAL) {
        const char *at = p->text.len == 0 ? s + from : from < n ? memmem(s + from, n - from, p->text.data, p->text.len) : NULL;
        if (!at) return KD_OK;
        *found = true;
        *a = (size_t)(at - s);
        *b = *a + p->text.len;
        return KD_OK;
    }
    for (size_t i = from, len; i < n; i += len) {
        const uint32_t cp = tok_cp((const unsigned char *)s + i, &len);
        size_t end = i + len;
        if (p->kind == SM_SCAN ? p->scan((const unsigned char *)s, n, i, &end) : p->is ? p->is(cp) : cp == p->cp) {
            *found = true;
            *a = i;
            *b = end;
            return KD_OK;
        }
        if (end > i + len) len = end - i;
    }
    return KD_OK;
}

kd_code kd_tok_segments(tok_work *w, const tok_pattern *p, const char *s, size_t n, tok_segment_fn *fn, void *ctx, kd_err *e) {
    if (n == 0) return fn(ctx, 0, 0, false);
    size_t done = 0, from = 0, last = SIZE_MAX, a, b;
    kd_code c = KD_OK;
    while (from <= n) {
        bool found;
        if ((c = find(w, p, s, n, from, &found, &a, &b, e))) return c;
        if (!found) break;
        if (a == b && b == last) { /* no empty match right behind a match: one character on */
            size_t len = 1;
            if (from < n) (void)tok_cp((const unsigned char *)s + from, &len);
            from += len;
            continue;
        }
        from = last = b;
        if (done < a && (c = fn(ctx, done, a, false))) return c;
        if ((c = fn(ctx, a, b, true))) return c;
        done = b;
    }
    return done < n ? fn(ctx, done, n, false) : KD_OK;
}
