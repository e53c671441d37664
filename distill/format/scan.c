/* distill/format/scan.c - the strict reader of header JSON. Leans on scan.h, base/utf8.h. */
#include "distill/format/scan.h"

#include "distill/base/utf8.h"

#include <string.h>

kd_code kd_scan_fail(const kd_scan *j, const char *expected, kd_err *e) {
    if (j->at >= j->n) return kd_fail(e, KD_EFORMAT, "%s: byte %zu of %zu: expected %s, found the end", j->what, j->at, j->n, expected);
    unsigned char c = (unsigned char)j->s[j->at];
    if (c >= 0x20 && c < 0x7f)
        return kd_fail(e, KD_EFORMAT, "%s: byte %zu of %zu: expected %s, found '%c'", j->what, j->at, j->n, expected, c);
    return kd_fail(e, KD_EFORMAT, "%s: byte %zu of %zu: expected %s, found 0x%02x", j->what, j->at, j->n, expected, c);
}

kd_code kd_scan_init(kd_scan *j, const char *s, size_t n, const char *what, kd_arena *text, kd_err *e) {
    *j = (kd_scan){s, n, 0, what, text};
    if (!kd_utf8_valid(s, n)) return kd_fail(e, KD_EFORMAT, "%s: JSON of %zu bytes is not UTF-8", what, n);
    return KD_OK;
}

char kd_scan_peek(kd_scan *j) {
    while (j->at < j->n && (j->s[j->at] == ' ' || j->s[j->at] == '\t' || j->s[j->at] == '\n' || j->s[j->at] == '\r')) j->at++;
    return j->at < j->n ? j->s[j->at] : 0;
}

kd_code kd_scan_expect(kd_scan *j, char c, kd_err *e) {
    char want[4] = {'\'', c, '\'', 0};
    if (kd_scan_peek(j) != c || j->at >= j->n) return kd_scan_fail(j, want, e);
    j->at++;
    return KD_OK;
}

static int hex4(const char *p) {
    int v = 0;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        int d = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
        if (d < 0) return -1;
        v = v * 16 + d;
    }
    return v;
}

/* At a backslash, end the place of the closing quote: puts what it stands for. */
static kd_code escape(kd_scan *j, size_t end, char *out, size_t *len, bool nul, kd_err *e) {
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *hit = j->at + 1 < end ? memchr(from, j->s[j->at + 1], sizeof from - 1) : NULL;
    if (hit) {
        out[(*len)++] = to[hit - from];
        j->at += 2;
        return KD_OK;
    }
    int u = j->at + 6 <= end && j->s[j->at + 1] == 'u' ? hex4(j->s + j->at + 2) : -1;
    size_t taken = 6;
    if (u >= 0xd800 && u < 0xdc00 && j->at + 12 <= end && j->s[j->at + 6] == '\\' && j->s[j->at + 7] == 'u') {
        int low = hex4(j->s + j->at + 8);
        if (low < 0xdc00 || low > 0xdfff) return kd_scan_fail(j, "a pair of surrogates", e);
        u = 0x10000 + ((u - 0xd800) << 10) + (low - 0xdc00);
        taken = 12;
    }
    if (u < 0 || (u >= 0xd800 && u <= 0xdfff)) return kd_scan_fail(j, "a valid escape", e);
    if (u == 0 && !nul) return kd_scan_fail(j, "no U+0000", e);
    *len += kd_utf8_put(out + *len, (uint32_t)u);
    j->at += taken;
    return KD_OK;
}

kd_code kd_scan_string(kd_scan *j, kd_str *out, bool nul, kd_err *e) {
    if (kd_scan_peek(j) != '"') return kd_scan_fail(j, "a string", e);
    size_t start = ++j->at, end = start;
    while (end < j->n && j->s[end] != '"' && (unsigned char)j->s[end] >= 0x20) end += j->s[end] == '\\' ? 2 : 1;
    if (end >= j->n || j->s[end] != '"') {
        j->at = end < j->n ? end : j->n;
        return kd_scan_fail(j, "the end of the string that begins before it", e);
    }
    if (!j->text) {
        j->at = end + 1;
        *out = (kd_str){NULL, 0};
        return KD_OK;
    }
    char *p = kd_arena_alloc(j->text, end - start + 1); /* no escape is shorter than what it stands for */
    if (!p) return kd_fail(e, KD_ENOMEM, "%s: no memory for a string of %zu bytes", j->what, end - start);
    size_t len = 0;
    while (j->at < end) {
        const char *esc = memchr(j->s + j->at, '\\', end - j->at);
        size_t run = esc ? (size_t)(esc - (j->s + j->at)) : end - j->at;
        memcpy(p + len, j->s + j->at, run);
        len += run;
        j->at += run;
        kd_code c = j->at < end ? escape(j, end, p, &len, nul, e) : KD_OK;
        if (c) return c;
    }
    j->at = end + 1;
    *out = (kd_str){p, len};
    return KD_OK;
}

kd_code kd_scan_u64(kd_scan *j, uint64_t *out, kd_err *e) {
    char c = kd_scan_peek(j);
    size_t start = j->at;
    uint64_t v = 0;
    if (c < '0' || c > '9') return kd_scan_fail(j, "a whole number", e);
    for (; j->at < j->n && j->s[j->at] >= '0' && j->s[j->at] <= '9'; j->at++) {
        if (!kd_mul_u64(v, 10, &v) || !kd_add_u64(v, (uint64_t)(j->s[j->at] - '0'), &v)) return kd_scan_fail(j, "a number below 2^64", e);
    }
    if ((c == '0' && j->at > start + 1) || (j->at < j->n && strchr(".eE+-", j->s[j->at]) && j->s[j->at]))
        return kd_scan_fail(j, "a whole number in plain digits", e);
    *out = v;
    return KD_OK;
}

static bool literal(kd_scan *j, const char *word) {
    size_t n = strlen(word);
    if (j->n - j->at < n || memcmp(j->s + j->at, word, n)) return false;
    j->at += n;
    return true;
}

static kd_code skip_number(kd_scan *j, kd_err *e) {
    size_t start = j->at;
    while (j->at < j->n && j->s[j->at] && strchr("+-.eE0123456789", j->s[j->at])) j->at++;
    return j->at > start ? KD_OK : kd_scan_fail(j, "a value", e);
}

kd_code kd_scan_skip(kd_scan *j, kd_err *e) {
    char open[64]; /* what closes each level */
    size_t depth = 0;
    kd_arena *text = j->text;
    kd_code c = KD_OK;
    j->text = NULL;
    bool first = false;
    do {
        bool more = true;
        if (depth) {
            c = kd_scan_more(j, open[depth - 1], first, &more, e);
            first = false;
            if (!c && !more) {
                depth--;
                continue;
            }
            kd_str key;
            if (!c && open[depth - 1] == '}' && !(c = kd_scan_string(j, &key, true, e))) c = kd_scan_expect(j, ':', e);
        }
        char ch = c ? 0 : kd_scan_peek(j);
        if (c) break;
        if (ch == '{' || ch == '[') {
            if (depth == sizeof open) {
                c = kd_scan_fail(j, "at most 64 levels", e);
                break;
            }
            open[depth++] = ch == '{' ? '}' : ']';
            j->at++;
            first = true;
        } else if (ch == '"') {
            kd_str s;
            c = kd_scan_string(j, &s, true, e);
        } else if (!literal(j, "true") && !literal(j, "false") && !literal(j, "null"))
            c = skip_number(j, e);
    } while (!c && depth);
    j->text = text;
    return c;
}

kd_code kd_scan_more(kd_scan *j, char close, bool first, bool *more, kd_err *e) {
    char c = kd_scan_peek(j);
    if (c == close && j->at < j->n) {
        j->at++;
        *more = false;
        return KD_OK;
    }
    *more = true;
    if (first) return KD_OK;
    return kd_scan_expect(j, ',', e);
}

kd_code kd_scan_end(kd_scan *j, kd_err *e) {
    kd_scan_peek(j);
    return j->at == j->n ? KD_OK : kd_scan_fail(j, "the end", e);
}
