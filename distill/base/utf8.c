/* distill/base/utf8.c - UTF-8 and Unicode properties, the tables by utf8proc. Leans on mem.h, err.h. */
#include "distill/base/utf8.h"

#include <string.h>
#include <utf8proc.h>

int32_t kd_utf8_next(const char *s, size_t n, size_t *len) {
    const unsigned char *p = (const unsigned char *)s;
    const unsigned char c = p[0];
    *len = 1;
    if (c < 0x80) return c;
    if (c < 0xc2 || c > 0xf4) return -1;
    /* What the second byte may be is where overlong forms, surrogates and what lies above U+10FFFF are kept out. */
    const size_t want = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
    const unsigned char low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80, high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    uint32_t cp = c & (0x7fu >> want);
    for (size_t i = 1; i < want; i++) {
        if (i >= n || p[i] < (i == 1 ? low : 0x80) || p[i] > (i == 1 ? high : 0xbf)) {
            *len = i;
            return -1;
        }
        cp = cp << 6 | (p[i] & 0x3fu);
    }
    *len = want;
    return (int32_t)cp;
}

/* How many bytes from s[0] on are ASCII, eight at a time. */
static size_t ascii_run(const char *s, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, s + i, 8);
        if (v & 0x8080808080808080u) break;
    }
    while (i < n && (unsigned char)s[i] < 0x80) i++;
    return i;
}

bool kd_utf8_valid(const char *s, size_t n) {
    for (size_t i = 0; i < n;) {
        i += ascii_run(s + i, n - i);
        size_t len;
        if (i < n && kd_utf8_next(s + i, n - i, &len) < 0) return false;
        if (i < n) i += len;
    }
    return true;
}

size_t kd_utf8_put(char out[4], uint32_t cp) {
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

kd_code kd_utf8_replace(kd_buf *out, const char *s, size_t n) {
    const size_t before = out->len;
    size_t start = 0;
    kd_code c = KD_OK;
    for (size_t i = 0; i < n && !c;) {
        size_t len;
        i += ascii_run(s + i, n - i);
        if (i == n) break;
        if (kd_utf8_next(s + i, n - i, &len) < 0) {
            c = kd_buf_append(out, s + start, i - start);
            if (!c) c = kd_buf_append(out, "\xef\xbf\xbd", 3);
            start = i + len;
        }
        i += len;
    }
    if (!c) c = kd_buf_append(out, s + start, n - start);
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

size_t kd_utf8_count(const char *s, size_t n) {
    size_t count = 0;
    for (size_t i = 0, len; i < n; i += len, count++) (void)kd_utf8_next(s + i, n - i, &len);
    return count;
}

size_t kd_utf8_partial(const char *s, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char c = (unsigned char)s[n - back];
        if (c < 0x80) return 0;
        if (c < 0xc0) continue;
        size_t len;
        const size_t want = c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
        /* A start that what follows has already broken (len < back) is not waiting for more. */
        return c >= 0xc2 && c <= 0xf4 && back < want && kd_utf8_next(s + n - back, back, &len) < 0 && len == back ? back : 0;
    }
    return 0;
}

/* ---- normal forms ---- */

typedef struct {
    int32_t *v;
    size_t n, cap;
} points;

static kd_code decompose(points *p, const char *s, size_t n, utf8proc_option_t options, kd_err *e) {
    for (size_t i = 0, len; i < n; i += len) {
        const int32_t cp = kd_utf8_next(s + i, n - i, &len);
        if (cp < 0) return kd_fail(e, KD_EFORMAT, "text to normalize: byte %zu is not UTF-8", i);
        if (kd_grow((void **)&p->v, &p->cap, p->n + 32, sizeof *p->v)) return kd_fail(e, KD_ENOMEM, "text to normalize: no memory");
        const utf8proc_ssize_t got = utf8proc_decompose_char(cp, p->v + p->n, 32, options, NULL);
        if (got < 0 || got > 32) return kd_fail(e, KD_EBUG, "U+%04X: cannot be decomposed", (unsigned)cp);
        p->n += (size_t)got;
    }
    return KD_OK;
}

static unsigned ccc(int32_t cp) { return (unsigned)utf8proc_get_property(cp)->combining_class; }

/* Canonical ordering: each run of marks by combining class, stable. Long runs are counted into place, so that a text that is all marks
 * costs no more than its length. temp has room for n. */
static void order_run(int32_t *v, size_t n, int32_t *temp) {
    if (n < 32) {
        for (size_t i = 1; i < n; i++) {
            const int32_t x = v[i];
            size_t k = i;
            for (; k > 0 && ccc(v[k - 1]) > ccc(x); k--) v[k] = v[k - 1];
            v[k] = x;
        }
        return;
    }
    size_t at[257] = {0};
    for (size_t i = 0; i < n; i++) at[ccc(v[i]) + 1]++;
    for (size_t i = 1; i < 257; i++) at[i] += at[i - 1];
    for (size_t i = 0; i < n; i++) temp[at[ccc(v[i])]++] = v[i];
    memcpy(v, temp, n * sizeof *v);
}

static kd_code order(points *p, kd_err *e) {
    int32_t *temp = kd_realloc_array(NULL, p->n, sizeof *temp);
    if (!temp) return kd_fail(e, KD_ENOMEM, "text to normalize: no memory");
    for (size_t i = 0; i < p->n;) {
        size_t end = i;
        while (end < p->n && ccc(p->v[end]) != 0) end++;
        if (end - i > 1) order_run(p->v + i, end - i, temp);
        i = end > i ? end : i + 1;
    }
    kd_free(temp);
    return KD_OK;
}

kd_code kd_utf8_normalize(kd_buf *out, const char *s, size_t n, kd_normal_form f, kd_err *e) {
    if (ascii_run(s, n) == n) return kd_buf_append(out, s, n) ? kd_fail(e, KD_ENOMEM, "text to normalize: no memory") : KD_OK;
    const size_t before = out->len;
    const bool compose = f == KD_NFC || f == KD_NFKC, compat = f == KD_NFKC || f == KD_NFKD;
    const utf8proc_option_t options =
        (utf8proc_option_t)((compose ? UTF8PROC_COMPOSE : UTF8PROC_DECOMPOSE) | (compat ? UTF8PROC_COMPAT : 0) | UTF8PROC_STABLE);
    points p = {0};
    kd_code c = decompose(&p, s, n, options, e);
    if (!c) c = order(&p, e);
    if (!c && compose) {
        const utf8proc_ssize_t got = utf8proc_normalize_utf32(p.v, (utf8proc_ssize_t)p.n, options);
        if (got < 0)
            c = kd_fail(e, KD_EBUG, "text to normalize: %s", utf8proc_errmsg(got));
        else
            p.n = (size_t)got;
    }
    for (size_t i = 0; i < p.n && !c; i++) {
        char u[4];
        if (kd_buf_append(out, u, kd_utf8_put(u, (uint32_t)p.v[i]))) c = kd_fail(e, KD_ENOMEM, "text to normalize: no memory");
    }
    kd_free(p.v);
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

static kd_code map_case(kd_buf *out, const char *s, size_t n, uint32_t (*to)(uint32_t)) {
    const size_t before = out->len;
    kd_code c = KD_OK;
    for (size_t i = 0, len; i < n && !c; i += len) {
        const int32_t cp = kd_utf8_next(s + i, n - i, &len);
        char u[4];
        c = cp < 0 ? kd_buf_append(out, s + i, len) : kd_buf_append(out, u, kd_utf8_put(u, to((uint32_t)cp)));
    }
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

kd_code kd_utf8_lower(kd_buf *out, const char *s, size_t n) { return map_case(out, s, n, kd_uc_tolower); }
kd_code kd_utf8_upper(kd_buf *out, const char *s, size_t n) { return map_case(out, s, n, kd_uc_toupper); }

/* ---- properties ---- */

unsigned kd_uc_category(uint32_t cp) {
    const char *two = cp <= 0x10ffff ? utf8proc_category_string((utf8proc_int32_t)cp) : "Cn";
    return (unsigned)(unsigned char)two[0] << 8 | (unsigned char)two[1];
}

static bool major(uint32_t cp, char letter) { return cp <= 0x10ffff && utf8proc_category_string((utf8proc_int32_t)cp)[0] == letter; }

bool kd_uc_letter(uint32_t cp) {
    if (cp < 0x80) return (cp | 0x20) >= 'a' && (cp | 0x20) <= 'z';
    return major(cp, 'L');
}

bool kd_uc_mark(uint32_t cp) { return major(cp, 'M'); }

bool kd_uc_number(uint32_t cp) {
    if (cp < 0x80) return cp >= '0' && cp <= '9';
    return major(cp, 'N');
}

bool kd_uc_space(uint32_t cp) {
    if (cp < 0x80) return cp == ' ' || (cp >= 9 && cp <= 13);
    return cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) || cp == 0x2028 || cp == 0x2029 || cp == 0x202f ||
           cp == 0x205f || cp == 0x3000;
}

bool kd_uc_punct(uint32_t cp) {
    if (cp < 0x80) return (cp >= 33 && cp <= 47) || (cp >= 58 && cp <= 64) || (cp >= 91 && cp <= 96) || (cp >= 123 && cp <= 126);
    return major(cp, 'P');
}

uint32_t kd_uc_tolower(uint32_t cp) { return cp <= 0x10ffff ? (uint32_t)utf8proc_tolower((utf8proc_int32_t)cp) : cp; }
uint32_t kd_uc_toupper(uint32_t cp) { return cp <= 0x10ffff ? (uint32_t)utf8proc_toupper((utf8proc_int32_t)cp) : cp; }
