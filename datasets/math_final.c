/* datasets/math_final.c - where the final answer of a text stands. Leans on label.h. Views into the text; allocates nothing; O(n). */
#include "datasets/label.h"
#include "datasets/math_int.h"

#include <string.h>
#include <strings.h>

static bool digit(char c) { return c >= '0' && c <= '9'; }

static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static bool space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

kd_str kd_trim(kd_str s) {
    while (s.len && space(s.data[0])) {
        s.data++;
        s.len--;
    }
    while (s.len && space(s.data[s.len - 1])) s.len--;
    return s;
}

const char *kd_last_of(kd_str s, const char *what) {
    size_t n = strlen(what);
    for (const char *p = s.data + s.len; s.len >= n && p-- > s.data;)
        if (*p == what[0] && (size_t)(s.data + s.len - p) >= n && memcmp(p, what, n) == 0) return p;
    return NULL;
}

/* The brace that closes the one at p, or NULL; \{ and \} do not count. */
static const char *closing(const char *p, const char *end) {
    int depth = 0;
    for (; p < end; p++) {
        if (*p == '\\' && p + 1 < end)
            p++;
        else if (*p == '{')
            depth++;
        else if (*p == '}' && --depth == 0)
            return p;
    }
    return NULL;
}

/* "\boxed{x}", "\boxed x", "\fbox{x}": p stands behind the word. An unclosed box reads to the end of its line (a text cut short). */
static kd_str inside(const char *p, const char *end) {
    while (p < end && space(*p)) p++;
    if (p < end && *p == '{') {
        const char *close = closing(p, end);
        if (!close) return (kd_str){NULL, 0};
        return (kd_str){p + 1, (size_t)(close - p - 1)};
    }
    const char *from = p;
    while (p < end && !space(*p) && *p != '$') p++;
    return (kd_str){from, (size_t)(p - from)};
}

kd_str kd_last_boxed(kd_str s) {
    static const char *const words[] = {"\\boxed", "\\fbox"};
    const char *best = NULL;
    size_t skip = 0;
    for (size_t i = 0; i < 2; i++) {
        const char *p = kd_last_of(s, words[i]);
        if (p && (!best || p > best)) {
            best = p;
            skip = strlen(words[i]);
        }
    }
    /* A box that is never closed, or holds nothing, does not hide an earlier one; looking back ends somewhere. */
    for (int tries = 0; best && tries < 32; tries++) {
        kd_str in = inside(best + skip, s.data + s.len);
        if (kd_trim(in).len) return in;
        s.len = (size_t)(best - s.data);
        best = kd_last_of(s, "\\boxed");
        skip = strlen("\\boxed");
    }
    return (kd_str){NULL, 0};
}

/* The last place where word stands in any case, or NULL. */
static const char *last_word(kd_str s, const char *word) {
    size_t n = strlen(word);
    for (const char *p = s.data + s.len; s.len >= n && p-- > s.data;)
        if ((*p | 32) == word[0] && (size_t)(s.data + s.len - p) >= n && strncasecmp(p, word, n) == 0) return p;
    return NULL;
}

/* What is said from p on, to the end of the line or sentence: a full stop that a space or the end follows. */
static kd_str sentence(const char *p, const char *end) {
    while (p < end && (space(*p) || *p == ':' || *p == '*' || *p == '=' || *p == '}')) p++; /* \text{The answer is } 8 */
    const char *from = p;
    for (; p < end && *p != '\n'; p++)
        if (*p == '.' && (p + 1 == end || space(p[1]) || p[1] == '*' || p[1] == '$')) break;
    return kd_trim((kd_str){from, (size_t)(p - from)});
}

/* A point and three digits, no fourth. */
static bool triple(const char *p, const char *end) {
    return end - p >= 4 && *p == '.' && digit(p[1]) && digit(p[2]) && digit(p[3]) && (end - p == 4 || !digit(p[4]));
}

/* One number that starts at p: 1,234.5  .5  3/4  12%. Its end, or NULL. */
const char *kd_number_end(const char *p, const char *end) {
    const char *from = p;
    while (p < end && digit(*p)) p++;
    if (p - from >= 1 && p - from <= 3)
        while (end - p >= 4 && *p == ',' && digit(p[1]) && digit(p[2]) && digit(p[3]) && (end - p == 4 || !digit(p[4]))) p += 4;
    /* 1.234,50 and 1.234.567: points that group, by what follows them */
    if (p - from >= 1 && p - from <= 3 && triple(p, end) && (triple(p + 4, end) || (end - p >= 6 && p[4] == ',' && digit(p[5])))) {
        while (triple(p, end)) p += 4;
        if (end - p >= 2 && *p == ',' && digit(p[1]))
            for (p++; p < end && digit(*p);) p++;
        return p;
    }
    bool whole = p > from;
    if (end - p >= 2 && *p == '.' && digit(p[1]))
        for (p++; p < end && digit(*p);) p++;
    else if (!whole)
        return NULL;
    if (end - p >= 2 && *p == '/' && digit(p[1]))
        for (p++; p < end && digit(*p);) p++;
    if (p < end && *p == '%')
        p++;
    else if (end - p >= 2 && p[0] == '\\' && p[1] == '%')
        p += 2;
    return p;
}

/* A number that is the lower part of a \frac{}{}: the whole fraction, its sign with it. */
static kd_str whole_fraction(kd_str text, kd_str n) {
    static const char *const words[] = {"\\frac{", "\\dfrac{", "\\tfrac{"};
    const kd_str before = {text.data, (size_t)(n.data - text.data)};
    const char *end = text.data + text.len, *at = NULL;
    size_t skip = 0;
    for (size_t i = 0; i < 3; i++) {
        const char *p = kd_last_of(before, words[i]);
        if (p && (!at || p > at)) {
            at = p;
            skip = strlen(words[i]) - 1;
        }
    }
    const char *upper = at ? closing(at + skip, end) : NULL;
    if (!upper || upper + 1 >= n.data || upper[1] != '{' || upper + 2 > n.data) return n;
    const char *lower = closing(upper + 1, end);
    if (!lower || lower < n.data + n.len) return n;
    if (at > text.data && at[-1] == '-') at--;
    return (kd_str){at, (size_t)(lower + 1 - at)};
}

static kd_str last_number(kd_str s) {
    kd_str best = {NULL, 0};
    const char *end = s.data + s.len;
    for (const char *p = s.data; p < end;) {
        bool point = *p == '.' && end - p >= 2 && digit(p[1]);
        if (!digit(*p) && !point) {
            p++;
            continue;
        }
        const char *from = p, *stop = kd_number_end(p, end);
        if (!stop) {
            p++;
            continue;
        }
        const char *b = from; /* its sign, with a dollar between or before */
        if (b > s.data && b[-1] == '$') b--;
        if (b > s.data && b[-1] == '\\') b--;
        if (b > s.data && b[-1] == '-' && (b - 1 == s.data || !(digit(b[-2]) || letter(b[-2]) || b[-2] == ')'))) from = b - 1;
        best = (kd_str){from, (size_t)(stop - from)};
        p = stop;
    }
    return best;
}

/* The last phrase that announces an answer before end, and what it says. */
static const char *announced(kd_str text, kd_str *said) {
    static const char *const phrases[] = {"final answer is", "final answer:", "final answer", "answer is",
                                          "answer:",         "option is",     "choice is"};
    const char *best = NULL;
    size_t skip = 0;
    for (size_t i = 0; i < sizeof phrases / sizeof *phrases; i++) {
        const char *p = last_word(text, phrases[i]);
        const size_t n = strlen(phrases[i]);
        if (p && (!best || p + n > best + skip)) {
            best = p;
            skip = n;
        }
    }
    *said = best ? sentence(best + skip, text.data + text.len) : (kd_str){NULL, 0};
    return best;
}

/* Words that go on for a while and hold no number: "not a straightforward one". */
static bool idle(kd_str s) {
    int words = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (digit(s.data[i]) || s.data[i] == '\\') return false;
        words += letter(s.data[i]) && (i == 0 || !letter(s.data[i - 1]));
    }
    return words > 3;
}

/* What the last announcement says; if that is idle talk, what one before it said, where that was an answer. */
static kd_str said_last(kd_str text) {
    kd_str first = {NULL, 0}, said;
    for (int tries = 0; tries < 8; tries++) {
        const char *at = announced(text, &said);
        if (!at) break;
        if (said.len && !idle(said)) return said;
        if (!first.len) first = said;
        text.len = (size_t)(at - text.data);
    }
    return first;
}

kd_str kd_math_final(kd_str text, const char **how) {
    const char *dummy;
    how = how ? how : &dummy;
    *how = "boxed";
    kd_str found = kd_last_boxed(text);
    if (found.data) return kd_trim(found);
    *how = "final answer";
    found = said_last(text);
    if (found.len) return found;
    *how = "####";
    const char *p = kd_last_of(text, "####");
    if (p) {
        const char *end = memchr(p, '\n', (size_t)(text.data + text.len - p));
        found = kd_trim((kd_str){p + 4, (size_t)((end ? end : text.data + text.len) - p - 4)});
        if (found.len) return found;
    }
    *how = "last number";
    found = last_number(text);
    if (found.data) found = whole_fraction(text, found);
    if (!found.data) *how = "none";
    return found;
}
