/* distill/model/token_scan.c - the regular expressions of well-known pre-tokenizers, written out as scanners. Each gives the match that begins
 * at i, exactly as the expression would; tests/distill/model/test_token_scan.c holds them against the expressions themselves. Leans on token_impl.h. */
#include "distill/model/token_impl.h"

#define CLASS(cp) kd_tok_class[cp]

static inline size_t run(const unsigned char *s, size_t n, size_t i, unsigned in) {
    for (size_t len; i < n && (CLASS(tok_cp(s + i, &len)) & in); i += len) {}
    return i;
}

/* As long as none of these classes applies. */
static inline size_t run_not(const unsigned char *s, size_t n, size_t i, unsigned out) {
    for (size_t len; i < n && !(CLASS(tok_cp(s + i, &len)) & out); i += len) {}
    return i;
}

static inline size_t newlines(const unsigned char *s, size_t n, size_t i) {
    while (i < n && (s[i] == '\r' || s[i] == '\n')) i++;
    return i;
}

/* \s+(?!\S)|\s+ where white space begins at i; with lines, \s*[\r\n]+ before it. */
static size_t spaces(const unsigned char *s, size_t n, size_t i, bool lines) {
    size_t last = i, line = i, end = i;
    for (size_t len; end < n && (CLASS(tok_cp(s + end, &len)) & TC_SPACE); end += len) {
        last = end;
        if (s[end] == '\r' || s[end] == '\n') line = end + 1;
    }
    if (lines && line > i) return line;
    return end == n || last == i ? end : last;
}

/* 's|'t|'re|'ve|'m|'ll|'d behind an apostrophe at i; any case folds as Oniguruma does (U+017F is an s). */
static size_t contraction(const unsigned char *s, size_t n, size_t i, bool fold) {
    if (i + 1 >= n || s[i] != '\'') return i;
    const unsigned char up = fold ? 0x20 : 0, a = s[i + 1] | up, b = i + 2 < n ? s[i + 2] | up : 0;
    if (s[i + 1] < 0x80 && (a == 's' || a == 't' || a == 'm' || a == 'd')) return i + 2;
    if (fold && s[i + 1] == 0xc5 && i + 2 < n && s[i + 2] == 0xbf) return i + 3;
    if (i + 2 >= n || s[i + 1] >= 0x80 || s[i + 2] >= 0x80) return i;
    if ((a == 'r' && b == 'e') || (a == 'v' && b == 'e') || (a == 'l' && b == 'l')) return i + 3;
    return i;
}

/* 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+ */
bool kd_tok_scan_gpt2(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t len, k = contraction(s, n, i, false);
    if (k == i) {
        k = i + (s[i] == ' ' && i + 1 < n);
        const unsigned v = CLASS(tok_cp(s + k, &len));
        if (v & TC_L)
            k = run(s, n, k, TC_L);
        else if (v & TC_N)
            k = run(s, n, k, TC_N);
        else if (!(v & TC_SPACE))
            k = run_not(s, n, k, TC_SPACE | TC_L | TC_N);
        else
            k = spaces(s, n, i, false);
    }
    *end = k;
    return true;
}

/* (?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?W+|\p{N}{1,digits}| ?[^\s W \p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+
 * where W is \p{L}, or [\p{L}\p{M}] */
static inline bool cl100k(const unsigned char *s, size_t n, size_t i, size_t *end, unsigned word, int digits) {
    size_t len, k = contraction(s, n, i, true);
    if (k > i) {
        *end = k;
        return true;
    }
    const unsigned v = CLASS(tok_cp(s + i, &len));
    k = i + len;
    const bool lead = !(v & (TC_L | TC_N)) && s[i] != '\r' && s[i] != '\n';
    size_t second;
    if ((v & word) || (lead && k < n && (CLASS(tok_cp(s + k, &second)) & word))) {
        *end = run(s, n, k, word);
        return true;
    }
    if (v & TC_N) {
        for (int d = 1; d < digits && k < n && (CLASS(tok_cp(s + k, &len)) & TC_N); d++) k += len;
        *end = k;
        return true;
    }
    k = i + (s[i] == ' ' && i + 1 < n);
    if (!(CLASS(tok_cp(s + k, &len)) & (TC_SPACE | word | TC_N)))
        *end = newlines(s, n, run_not(s, n, k, TC_SPACE | word | TC_N));
    else
        *end = spaces(s, n, i, true);
    return true;
}

static bool llama3(const unsigned char *s, size_t n, size_t i, size_t *end) { return cl100k(s, n, i, end, TC_L, 3); }
static bool qwen2(const unsigned char *s, size_t n, size_t i, size_t *end) { return cl100k(s, n, i, end, TC_L, 1); }
static bool qwen35(const unsigned char *s, size_t n, size_t i, size_t *end) { return cl100k(s, n, i, end, TC_L | TC_M, 1); }

/* [!-/:-@\[-`{-~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+ : does not match everywhere */
static bool deepseek3(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t len, k = i + 1, second;
    if (s[i] < 0x80 && (CLASS(s[i]) & (TC_P | TC_S))) {
        while (k < n && ((s[k] | 0x20) >= 'a' && (s[k] | 0x20) <= 'z')) k++;
        if (k > i + 1) {
            *end = k;
            return true;
        }
    }
    const unsigned v = CLASS(tok_cp(s + i, &len)), word = TC_L | TC_M, sign = TC_P | TC_S;
    k = i + len;
    const bool lead = !(v & (TC_L | sign)) && s[i] != '\r' && s[i] != '\n';
    if ((v & word) || (lead && k < n && (CLASS(tok_cp(s + k, &second)) & word))) {
        *end = run(s, n, k, word);
        return true;
    }
    k = i + (s[i] == ' ' && i + 1 < n);
    if (CLASS(tok_cp(s + k, &len)) & sign) {
        *end = newlines(s, n, run(s, n, k, sign));
        return true;
    }
    *end = spaces(s, n, i, true);
    return v & TC_SPACE;
}

/* \p{N}{1,3} */
static bool numbers3(const unsigned char *s, size_t n, size_t i, size_t *end) {
    int d = 0;
    for (size_t len; d < 3 && i < n && (CLASS(tok_cp(s + i, &len)) & TC_N); d++) i += len;
    *end = i;
    return d > 0;
}

static bool numbers(const unsigned char *s, size_t n, size_t i, size_t *end) {
    *end = run(s, n, i, TC_N);
    return *end > i;
}

static bool number(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t len;
    (void)n;
    const bool yes = CLASS(tok_cp(s + i, &len)) & TC_N;
    *end = i + len;
    return yes;
}

/* One character that Rust's is_numeric takes: the Digits pre-tokenizer, one by one. */
bool kd_tok_scan_digit(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t len;
    if (kd_tok_numeric(tok_cp(s + i, &len))) {
        *end = i + len;
        return true;
    }
    do i += len;
    while (i < n && !kd_tok_numeric(tok_cp(s + i, &len)));
    *end = i;
    return false;
}

/* [\x{4e00}-\x{9fa5}\x{3040}-\x{309f}\x{30a0}-\x{30ff}]+ */
static bool cjk(const unsigned char *s, size_t n, size_t i, size_t *end) {
    const size_t start = i;
    for (size_t len; i < n; i += len) {
        const uint32_t cp = tok_cp(s + i, &len);
        if (!((cp >= 0x4e00 && cp <= 0x9fa5) || (cp >= 0x3040 && cp <= 0x30ff))) break;
    }
    *end = i;
    return i > start;
}

/* [\r\n] */
static bool newline(const unsigned char *s, size_t n, size_t i, size_t *end) {
    (void)n;
    *end = i + 1;
    return s[i] == '\r' || s[i] == '\n';
}

/* \s+$ : white space up to the end of a line, that is up to where a \n or nothing follows */
static bool trailing(const unsigned char *s, size_t n, size_t i, size_t *end) {
    size_t k = i, line = i;
    for (size_t len; k < n && (CLASS(tok_cp(s + k, &len)) & TC_SPACE); k += len)
        if (k > i && s[k] == '\n') line = k;
    const bool yes = k > i && (k == n || line > i);
    *end = yes && k < n ? line : k; /* without a match here, none begins before k either */
    return yes;
}

tok_scan_fn *kd_tok_scanner(kd_str pattern) {
#define CONTRACTIONS "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define SPACES "\\s+(?!\\S)|\\s+"
#define PUNCT_LETTERS "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+"
    static const struct {
        const char *text;
        tok_scan_fn *scan;
    } known[] = {
        {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES, llama3},
        {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES, qwen2},
        {CONTRACTIONS "|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES, qwen35},
        {"'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|" SPACES, kd_tok_scan_gpt2},
        {PUNCT_LETTERS "|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|" SPACES, deepseek3},
        {PUNCT_LETTERS "|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|" SPACES, deepseek3},
        {"\\p{N}{1,3}", numbers3},
        {"\\p{N}+", numbers},
        {"\\p{N}", number},
        {"[一-龥\u3040-ゟ゠-ヿ]+", cjk},
        {"[\r\n]", newline},
        {"[\\r\\n]", newline},
        {"\\s+$", trailing},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (kd_str_is(pattern, known[i].text)) return known[i].scan;
    return NULL;
}
