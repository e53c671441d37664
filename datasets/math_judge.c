/* datasets/math_judge.c - the verdict on an answer: plain numbers at once, the same text, letters, yes and no, words, and for the rest trees.
 * Leans on math_judge.h. */
#include "datasets/math_judge.h"

#include <stdio.h>
#include <string.h>

const char *kd_verdict_name(kd_verdict v) {
    static const char *const names[] = {"unknown", "right", "wrong"};
    return names[v];
}

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

/* ---- plain numbers, the common case ---- */
typedef struct {
    unsigned long v;
    int scale;
    bool neg;
} decimal;

/* -1234.50, 1,234 and $18: up to 18 digits, trailing zeros of the fraction taken off. */
static bool read_decimal(decimal *d, kd_str s) {
    size_t i = 0, digits = 0;
    bool point = false;
    *d = (decimal){0};
    if (i < s.len && s.data[i] == '-') {
        d->neg = true;
        i++;
    }
    if (i < s.len && s.data[i] == '$') i++;
    for (const size_t from = i; i < s.len; i++) {
        const char c = s.data[i];
        if (digit(c)) {
            d->v = d->v * 10 + (unsigned long)(c - '0');
            d->scale += point;
            if (++digits > 18) return false;
        } else if (c == '.' && !point && i + 1 < s.len && !(digits <= 3 && s.len - i == 4)) { /* 1.000 may be a thousand: not plain */
            point = true;
        } else if (c == ',' && !point && digits && i - from <= 3 && s.len - i == 4) { /* one comma, then three digits */
        } else {
            return false;
        }
    }
    while (d->scale > 0 && d->v % 10 == 0) {
        d->v /= 10;
        d->scale--;
    }
    if (d->v == 0) d->neg = false;
    return digits > 0;
}

/* ---- words ---- */
/* Letters, digits and single spaces of an answer, in lower case, its dressing off: for answers that are words. */
static kd_str words_of(kd_arena *a, kd_str s) {
    static const char *const gone[] = {"\\textbf", "\\textit", "\\textrm", "\\text",  "\\mathrm",      "\\mathbf",
                                       "\\mbox",   "\\boxed",  "\\left",   "\\right", "\\displaystyle"};
    char *out = kd_arena_alloc(a, s.len + 1);
    size_t n = 0;
    if (!out) return (kd_str){NULL, 0};
    for (size_t i = 0; i < s.len;) {
        bool skipped = false;
        for (size_t k = 0; k < sizeof gone / sizeof *gone && !skipped; k++) {
            const size_t len = strlen(gone[k]);
            if (s.len - i >= len && memcmp(s.data + i, gone[k], len) == 0) {
                i += len;
                skipped = true;
            }
        }
        if (skipped) continue;
        const char c = s.data[i++];
        if (letter(c) || digit(c) || (unsigned char)c >= 0x80 || c == '\'' || c == '-')
            out[n++] = c >= 'A' && c <= 'Z' ? (char)(c | 32) : c;
        else if (n && out[n - 1] != ' ' && !strchr("{}$*`\\()", c))
            out[n++] = ' ';
    }
    while (n && out[n - 1] == ' ') n--;
    kd_str r = {out, n};
    static const char *const articles[] = {"the ", "a ", "an "};
    for (size_t k = 0; k < 3; k++)
        if (kd_str_starts(r, articles[k])) {
            const size_t len = strlen(articles[k]);
            return (kd_str){r.data + len, r.len - len};
        }
    return r;
}

static int truth(kd_str w) {
    if (kd_str_is(w, "yes") || kd_str_is(w, "true") || kd_str_is(w, "correct")) return 1;
    return kd_str_is(w, "no") || kd_str_is(w, "false") || kd_str_is(w, "incorrect") ? -1 : 0;
}

static bool one_word(kd_str s) { return s.data && s.len > 0 && !memchr(s.data, ' ', s.len); }

kd_verdict kd_texts(kd_pair *p, kd_str a, kd_str g) {
    a = words_of(p->m->arena, a);
    g = words_of(p->m->arena, g);
    const int x = truth(a), y = truth(g);
    kd_verdict v = KD_UNKNOWN;
    p->why = "other words";
    if (a.data && g.data && kd_str_eq(a, g)) {
        v = KD_RIGHT;
        p->why = "the same words";
    } else if (x && y) {
        v = x == y ? KD_RIGHT : KD_WRONG;
        p->why = x == y ? "the same words" : "yes against no";
    } else if (one_word(a) && one_word(g)) {
        v = KD_WRONG;
        p->why = "another word";
    }
    return v;
}

static const char *const ones[] = {"zero",     "one",     "two",     "three",     "four",     "five",    "six",
                                   "seven",    "eight",   "nine",    "ten",       "eleven",   "twelve",  "thirteen",
                                   "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen"};
static const char *const tens[] = {"twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"};

/* One word of a number into *part and *whole; false if it is none. */
static bool number_word(kd_str w, long *part, long *whole) {
    for (int i = 0; i < 20; i++)
        if (kd_str_is(w, ones[i])) {
            *part += i;
            return true;
        }
    for (int i = 0; i < 8; i++)
        if (kd_str_is(w, tens[i])) {
            *part += 10 * (i + 2);
            return true;
        }
    if (kd_str_is(w, "hundred") && *part > 0 && *part < 100) {
        *part *= 100;
        return true;
    }
    if (kd_str_is(w, "thousand") && *part > 0 && *part < 1000) {
        *whole += *part * 1000;
        *part = 0;
        return true;
    }
    return false;
}

kd_node *kd_number_words(kd_math *m, kd_str s) {
    long part = 0, whole = 0;
    int n = 0;
    while (s.len) {
        size_t k = 0;
        while (k < s.len && s.data[k] != ' ' && s.data[k] != '-') k++;
        const kd_str w = {s.data, k};
        if (!number_word(w, &part, &whole)) break;
        n++;
        s = (kd_str){s.data + k + (k < s.len), s.len - k - (k < s.len)};
    }
    if (!n) return NULL;
    kd_node *x = kd_node_int(m, whole + part);
    if (!x || !s.len) return x;
    kd_node *u = kd_node_new(m, N_UNIT, 1, &x);
    if (u) u->text = s;
    return u;
}

/* ---- letters of a choice ---- */
/* B, (B), B. and "B) 17" into 'B'; 0 if s is no choice. */
static char choice(kd_arena *a, kd_str s) {
    static const char *const gone[] = {"\\textbf", "\\textit", "\\textrm", "\\text", "\\mathrm", "\\mathbf", "\\mbox"};
    char t[64];
    size_t n = 0;
    (void)a;
    for (size_t i = 0; i < s.len && n < sizeof t - 1;) {
        bool skipped = false;
        for (size_t k = 0; k < sizeof gone / sizeof *gone && !skipped; k++) {
            const size_t len = strlen(gone[k]);
            if (s.len - i >= len && memcmp(s.data + i, gone[k], len) == 0) {
                i += len;
                skipped = true;
            }
        }
        if (skipped) continue;
        if (!strchr("{}$*`\\", s.data[i]) || !s.data[i]) t[n++] = s.data[i];
        i++;
    }
    t[n] = 0;
    const char *p = t;
    while (*p == ' ') p++;
    const bool open = *p == '(';
    p += open;
    char c = *p++;
    if (c >= 'a' && c <= 'j') c = (char)(c - 32);
    if (c < 'A' || c > 'J') return 0;
    if (open && *p != ')') return 0;
    if (*p == 0 || *p == ')' || *p == ':') return c;
    if (*p == '.') return c;
    while (*p == ' ') p++;
    return *p == 0 ? c : 0;
}

static bool letter_gold(kd_str gold) {
    size_t letters = 0;
    for (size_t i = 0; i < gold.len; i++) letters += letter(gold.data[i]);
    return letters == 1 || memmem(gold.data, gold.len, "\\text", 5);
}

/* ---- the whole ---- */
/* A space or dollar that parts nothing: between two digits a space does. */
static bool between(kd_str s, size_t i) {
    if (s.data[i] == '$') return true;
    return s.data[i] == ' ' && !(i > 0 && i + 1 < s.len && digit(s.data[i - 1]) && digit(s.data[i + 1]));
}

static bool same_text(kd_str a, kd_str b) {
    size_t i = 0, k = 0;
    for (;;) {
        while (i < a.len && between(a, i)) i++;
        while (k < b.len && between(b, k)) k++;
        if (i == a.len || k == b.len) return i == a.len && k == b.len;
        if (a.data[i++] != b.data[k++]) return false;
    }
}

/* Full stops, marks of emphasis and of mathematics around an answer. */
static kd_str peel(kd_str s) {
    for (;;) {
        const size_t before = s.len;
        s = kd_trim(s);
        while (s.len && strchr(".,;:*`$\"", s.data[s.len - 1]) && !(s.len >= 2 && s.data[s.len - 2] == '\\') && !kd_str_ends(s, "..."))
            s.len--;
        while (s.len && strchr("*`$:\"", s.data[0]) && !(s.data[0] == '$' && s.len > 1 && digit(s.data[1]))) {
            s.data++;
            s.len--;
        }
        if (s.len == before) return s;
    }
}

static bool has_digit(kd_str s) {
    for (size_t i = 0; i < s.len; i++)
        if (digit(s.data[i])) return true;
    return false;
}

static bool wordy(kd_str w) {
    for (size_t i = 0; i + 1 < w.len; i++)
        if (letter(w.data[i]) && letter(w.data[i + 1])) return true;
    return false;
}

/* ---- answers said in a sentence ---- */
static int count_words(kd_str s) {
    int n = 0;
    for (size_t i = 0; i < s.len; i++) n += letter(s.data[i]) && (i == 0 || !letter(s.data[i - 1]));
    return n;
}

/* "actually 6", "indeed 30": the adverb off. */
static kd_str skip_adverbs(kd_str s) {
    static const char *const list[] = {"actually ", "indeed ", "still ",     "just ", "simply ", "always ",   "exactly ",
                                       "only ",     "now ",    "therefore ", "thus ", "then ",   "equal to ", "both: "};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (kd_str_starts(s, list[i])) {
            const size_t n = strlen(list[i]);
            s = kd_trim((kd_str){s.data + n, s.len - n});
            i = (size_t)-1;
        }
    return s;
}

static bool arithmetic(char c) { return digit(c) || (c && strchr(" .,+-*/=()$%^", c)); }

/* The arithmetic that s begins with, up to its first word or a comma that a space follows. */
static kd_str leading(kd_str s) {
    size_t n = 0;
    while (n < s.len && arithmetic(s.data[n]) && !(s.data[n] == ',' && n + 1 < s.len && s.data[n + 1] == ' ')) n++;
    return kd_trim((kd_str){s.data, n});
}

/* The one number of a sentence, or the one behind its last sign of equality; {NULL,0} if there are several, or it is said not to be. */
static kd_str lone_number(kd_str s) {
    const char *equals = kd_last_of(s, "="), *end = s.data + s.len, *p = equals ? equals + 1 : s.data;
    kd_str found = {NULL, 0};
    while (p < end) {
        const char *stop = digit(*p) ? kd_number_end(p, end) : NULL;
        if (!stop) {
            p++;
            continue;
        }
        const kd_str one = {p, (size_t)(stop - p)};
        if (found.data && !kd_str_eq(found, one)) return equals ? found : (kd_str){NULL, 0};
        if (p - s.data >= 4 && memcmp(p - 4, "not ", 4) == 0) return (kd_str){NULL, 0};
        found = one;
        p = stop;
    }
    return found;
}

/* The number that a sentence gives for an answer; {NULL,0} if it gives none, or is cut short in the middle of one. */
static kd_str said_number(kd_str s) {
    if (memchr(s.data, '\\', s.len) || memmem(s.data, s.len, " or ", 4)) return (kd_str){NULL, 0};
    s = skip_adverbs(s);
    kd_str head = leading(s);
    while (head.len && strchr("=,(", head.data[head.len - 1])) head = kd_trim((kd_str){head.data, head.len - 1});
    if (!has_digit(head)) return lone_number(s);
    if (head.len && strchr("+-*/^$", head.data[head.len - 1])) return (kd_str){NULL, 0};
    const char *equals = kd_last_of(head, "=");
    return equals ? kd_trim((kd_str){equals + 1, (size_t)(head.data + head.len - equals - 1)}) : head;
}

static kd_node *as_number(kd_math *m, kd_node *n) {
    kd_node *x = n && n->kind == N_TEXT ? kd_number_words(m, n->text) : NULL;
    return x ? x : n;
}

static kd_verdict by_tree(kd_pair *p, kd_str a, kd_str g) {
    kd_node *x = as_number(p->m, kd_math_parse(p->m, a)), *y = as_number(p->m, kd_math_parse(p->m, g));
    kd_verdict v = KD_UNKNOWN;
    p->why = p->m->nodes > KD_MATH_NODES || a.len > KD_MATH_TEXT || g.len > KD_MATH_TEXT ? "too large"
             : x                                                                         ? "a gold answer that cannot be read"
                                                                                         : "an answer that cannot be read";
    if (x && y) v = kd_nodes_equal(p, x, y);
    const kd_str wa = words_of(p->m->arena, a), wg = words_of(p->m->arena, g);
    if (v == KD_RIGHT || !wordy(wa)) return v;
    const bool told =
        v == KD_WRONG && !kd_node_has(x, N_TEXT) && !kd_node_has(y, N_TEXT); /* [0,\infty) and (0,\infty) have the same letters */
    if (!told && wa.len && kd_str_eq(wa, wg)) {
        p->why = "the same words";
        return KD_RIGHT;
    }
    if (!y || !kd_node_scalar(y) || kd_node_has(y, N_NAME)) return v;
    if (!has_digit(a)) { /* words for a number */
        p->why = count_words(wa) > 3 ? "words without a number" : "words against mathematics";
        return count_words(wa) > 3 ? KD_UNKNOWN : KD_WRONG;
    }
    const kd_str said = said_number(a);
    kd_node *z = said.len ? kd_math_parse(p->m, said) : NULL;
    if (!z) return v == KD_WRONG && count_words(a) < 3 ? v : KD_UNKNOWN;
    return kd_nodes_equal(p, z, y);
}

/* ]a, b[ as the French write an open interval: the brackets of others. A copy in buf, or s itself. */
static kd_str french(kd_str s, char buf[160]) {
    if (s.len < 5 || s.len >= 160) return s;
    const char first = s.data[0], last = s.data[s.len - 1];
    if (!((first == ']' && (last == '[' || last == ']')) || (first == '[' && last == '['))) return s;
    for (size_t i = 1; i + 1 < s.len; i++)
        if (strchr("[]()", s.data[i])) return s;
    memcpy(buf, s.data, s.len);
    if (first == ']') buf[0] = '(';
    if (last == '[') buf[s.len - 1] = ')';
    return (kd_str){buf, s.len};
}

static kd_verdict judge(kd_str a, kd_str g, const char **why) {
    decimal x, y;
    char room_a[160], room_g[160];
    a = french(peel(a), room_a);
    g = french(peel(g), room_g);
    *why = "the same number";
    if (read_decimal(&x, a) && read_decimal(&y, g)) {
        if (x.v == y.v && x.scale == y.scale && x.neg == y.neg) return KD_RIGHT;
        *why = "another number";
        return KD_WRONG;
    }
    *why = "the same text";
    if (a.len && same_text(a, g)) return KD_RIGHT;
    kd_arena arena = {0};
    kd_math m = {.arena = &arena};
    kd_pair p = {.m = &m, .why = ""};
    kd_verdict v = KD_UNKNOWN;
    const char c = letter_gold(g) ? choice(&arena, g) : 0, d = c ? choice(&arena, a) : 0;
    const kd_str wa = words_of(&arena, a), wg = words_of(&arena, g);
    if (c && d) {
        v = c == d ? KD_RIGHT : KD_WRONG;
        p.why = c == d ? "the same letter" : "another letter";
    } else if (truth(wa) && truth(wg)) {
        v = truth(wa) == truth(wg) ? KD_RIGHT : KD_WRONG;
        p.why = v == KD_RIGHT ? "the same words" : "yes against no";
    } else {
        v = by_tree(&p, a, g);
    }
    *why = p.why;
    kd_arena_clear(&arena);
    return v;
}

kd_code kd_math_equal(kd_verdict *out, kd_str a, kd_str b, kd_err *e) {
    const char *why;
    (void)e;
    kd_verdict v = judge(a, b, &why),
               w = judge(b, a, &why); /* judge reads its two sides differently: a sentence is looked for in one alone */
    *out = v == w ? v : v == KD_RIGHT || w == KD_RIGHT ? KD_RIGHT : KD_UNKNOWN;
    return KD_OK;
}

/* "?", "...", "--": signs of punctuation alone. */
static bool says_nothing(kd_str s) {
    for (size_t i = 0; i < s.len; i++)
        if (!strchr("?!.,;:-_ \t\n*`'\"", s.data[i]) || !s.data[i]) return false;
    return true;
}

kd_code kd_label_math(kd_judgement *out, kd_str text, kd_str gold, kd_err *e) {
    const char *how, *why = "";
    (void)e;
    *out = (kd_judgement){0};
    if (!gold.data || kd_trim(gold).len == 0) {
        (void)snprintf(out->reason, sizeof out->reason, "no gold answer");
        return KD_OK;
    }
    kd_str final = kd_math_final(text, &how);
    if (final.data && says_nothing(final)) final.data = NULL;
    if (!final.data) {
        out->verdict = KD_WRONG;
        (void)snprintf(out->reason, sizeof out->reason, "no answer found");
        return KD_OK;
    }
    if (strcmp(how, "boxed") == 0) { /* \boxed{The answer is B} */
        const char *inner;
        const kd_str in = kd_math_final(final, &inner);
        if (strcmp(inner, "final answer") == 0) final = in;
    }
    out->verdict = judge(final, gold, &why);
    (void)snprintf(out->reason, sizeof out->reason, "%s: %s", how, why);
    return KD_OK;
}
