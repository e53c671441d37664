/* distill/model/template_lex.c - a template cut into tokens: text, tags, and what stands in tags. Leans on template_ast.h.
 * White space control is jinja2's with trim_blocks and lstrip_blocks: a block or comment tag eats the newline behind it and the blanks
 * before it on its line; "-" eats all white space on that side, "+" none. */
#include "distill/base/utf8.h"
#include "distill/model/template_ast.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#undef kd_tpl_fail /* a macro for the analyzer */

int32_t kd_tpl_cp(const char *s, size_t *len) {
    const unsigned char *p = (const unsigned char *)s;
    if (p[0] < 0x80) {
        *len = 1;
        return p[0];
    }
    if (p[0] < 0xe0) {
        *len = 2;
        return (p[0] & 0x1f) << 6 | (p[1] & 0x3f);
    }
    if (p[0] < 0xf0) {
        *len = 3;
        return (p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f);
    }
    *len = 4;
    return (p[0] & 0x07) << 18 | (p[1] & 0x3f) << 12 | (p[2] & 0x3f) << 6 | (p[3] & 0x3f);
}

bool kd_tpl_space(int32_t c) {
    return (c >= 9 && c <= 13) || (c >= 0x1c && c <= 0x20) || c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) ||
           c == 0x2028 || c == 0x2029 || c == 0x202f || c == 0x205f || c == 0x3000;
}

void kd_tpl_where(const kd_template *t, size_t at, size_t *line, size_t *column) {
    size_t begin = 0;
    *line = 1;
    if (at > t->source.len) at = t->source.len;
    for (size_t i = 0; i < at; i++)
        if (t->source.data[i] == '\n') {
            ++*line;
            begin = i + 1;
        }
    *column = 1 + kd_utf8_count(t->source.data + begin, at - begin);
}

kd_code kd_tpl_fail(const kd_template *t, size_t at, kd_err *e, kd_code c, const char *fmt, ...) {
    char msg[400];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t line, column;
    kd_tpl_where(t, at, &line, &column);
    return kd_fail(e, c, "%s: line %zu, column %zu: %s", t->name, line, column, msg);
}

static bool name_char(int32_t c) {
    if (c < 0x80) return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    return kd_uc_letter((uint32_t)c) || kd_uc_mark((uint32_t)c) || kd_uc_number((uint32_t)c);
}

/* Where white space that begins at pos ends. */
static size_t skip_space(kd_str s, size_t pos) {
    while (pos < s.len) {
        size_t n;
        if (!kd_tpl_space(kd_tpl_cp(s.data + pos, &n))) break;
        pos += n;
    }
    return pos;
}

/* Where the white space that ends at end begins. */
static size_t back_space(kd_str s, size_t begin, size_t end) {
    while (end > begin) {
        size_t at = end - 1, n;
        while (at > begin && ((unsigned char)s.data[at] & 0xc0) == 0x80) at--;
        if (!kd_tpl_space(kd_tpl_cp(s.data + at, &n))) break;
        end = at;
    }
    return end;
}

static bool starts(kd_str s, size_t pos, const char *z) {
    size_t n = strlen(z);
    return s.len - pos >= n && memcmp(s.data + pos, z, n) == 0;
}

/* Text from begin to a tag at end, with the white space that the tag's sign and lstrip_blocks take. */
static kd_str trimmed(const kd_tlex *l, size_t begin, size_t end, char sign, bool variable) {
    kd_str s = l->t->source;
    size_t stop = end;
    if (sign == '-') {
        stop = back_space(s, begin, end);
    } else if (sign != '+' && !variable) {
        size_t line = end;
        while (line > begin && s.data[line - 1] != '\n') line--;
        if ((line > begin || l->line_starting) && line < end && back_space(s, line, end) == line) stop = line;
    }
    return (kd_str){s.data + begin, stop - begin};
}

/* End of a block or comment tag ("%}" or "#}") at pos: where what follows begins, or 0 if there is none. */
static size_t tag_end(kd_str s, size_t pos, const char *close) {
    if (pos < s.len && s.data[pos] == '+' && starts(s, pos + 1, close)) return pos + 3;
    if (pos < s.len && s.data[pos] == '-' && starts(s, pos + 1, close)) return skip_space(s, pos + 3);
    if (starts(s, pos, close)) return pos + 2 < s.len && s.data[pos + 2] == '\n' ? pos + 3 : pos + 2;
    return 0;
}

/* "{%[-+] raw [-]%}" at pos: where the raw text begins, or 0. */
static size_t raw_begin(kd_str s, size_t pos, char *sign) {
    size_t p = pos + 2;
    *sign = 0;
    if (p < s.len && (s.data[p] == '-' || s.data[p] == '+')) *sign = s.data[p++];
    p = skip_space(s, p);
    if (!starts(s, p, "raw")) return 0;
    p = skip_space(s, p + 3);
    if (starts(s, p, "-%}")) return skip_space(s, p + 3);
    return starts(s, p, "%}") ? p + 2 : 0;
}

/* "{%[-+] endraw %}" at pos: where what follows begins, or 0. */
static size_t raw_end(kd_str s, size_t pos, char *sign) {
    size_t p = pos + 2;
    *sign = 0;
    if (p < s.len && (s.data[p] == '-' || s.data[p] == '+')) *sign = s.data[p++];
    p = skip_space(s, p);
    if (!starts(s, p, "endraw")) return 0;
    return tag_end(s, skip_space(s, p + 6), "%}");
}

static void consumed(kd_tlex *l, size_t to) {
    l->line_starting = to > 0 && l->t->source.data[to - 1] == '\n';
    l->pos = to;
}

/* A raw block whose text begins at l->pos. */
static kd_code lex_raw(kd_tlex *l, size_t at) {
    kd_str s = l->t->source;
    for (size_t p = l->pos; p + 1 < s.len; p++) {
        char sign;
        size_t next = s.data[p] == '{' && s.data[p + 1] == '%' ? raw_end(s, p, &sign) : 0;
        if (!next) continue;
        l->pending = trimmed(l, l->pos, p, sign, false);
        l->pending_at = (uint32_t)l->pos;
        consumed(l, next);
        return KD_OK;
    }
    if (l->pos >= s.len) /* jinja2 minds only what stands in it */
        return KD_OK;
    return kd_tpl_fail(l->t, at, l->e, KD_EFORMAT, "a raw block that nothing ends");
}

static kd_code lex_comment(kd_tlex *l, size_t at) {
    kd_str s = l->t->source;
    for (size_t p = l->pos; p < s.len; p++) {
        size_t next = s.data[p] == '#' || s.data[p] == '-' || s.data[p] == '+' ? tag_end(s, p, "#}") : 0;
        if (next) {
            consumed(l, next);
            return KD_OK;
        }
    }
    if (l->pos >= s.len) return KD_OK;
    return kd_tpl_fail(l->t, at, l->e, KD_EFORMAT, "a comment that nothing ends");
}

/* Text up to the next tag. The token may be empty text. */
static kd_code lex_text(kd_tlex *l, kd_ttoken *tok) {
    kd_str s = l->t->source;
    size_t p = l->pos;
    for (; p + 1 < s.len; p++)
        if (s.data[p] == '{' && (s.data[p + 1] == '{' || s.data[p + 1] == '%' || s.data[p + 1] == '#')) break;
    tok->kind = KD_TK_DATA;
    tok->at = (uint32_t)l->pos;
    if (p + 1 >= s.len) {
        tok->text = (kd_str){s.data + l->pos, s.len - l->pos};
        consumed(l, s.len);
        return KD_OK;
    }
    char what = s.data[p + 1], sign = 0;
    size_t raw = what == '%' ? raw_begin(s, p, &sign) : 0, next = raw;
    if (!raw) {
        next = p + 2;
        sign = next < s.len && (s.data[next] == '-' || s.data[next] == '+') ? s.data[next++] : 0;
    }
    tok->text = trimmed(l, l->pos, p, sign, what == '{');
    l->tag_at = (uint32_t)p;
    consumed(l, next);
    if (raw) return lex_raw(l, p);
    if (what == '#') return lex_comment(l, p);
    l->state = what == '{' ? 1 : 2;
    return KD_OK;
}

/* ---- strings ---- */

static kd_code put_cp(kd_tlex *l, kd_buf *b, uint32_t cp, size_t at) {
    char u[4];
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000))
        return kd_tpl_fail(l->t, at, l->e, KD_EFORMAT, "the escape of U+%04X is no character", (unsigned)cp);
    if (kd_buf_append(b, u, kd_utf8_put(u, cp)) != KD_OK) return kd_fail(l->e, KD_ENOMEM, "%s: no memory for a string", l->t->name);
    return KD_OK;
}

static int hex_digit(char c) {
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* One escape at s[*i] (behind the backslash), Python's unicode-escape; *i moves behind it. */
static kd_code unescape_one(kd_tlex *l, kd_str s, size_t *i, kd_buf *b, size_t at) {
    static const char from[] = "abfnrtv\\'\"", to[] = "\a\b\f\n\r\t\v\\'\"";
    char c = s.data[(*i)++];
    const char *simple = c ? strchr(from, c) : NULL;
    if (c == '\n') return KD_OK;
    if (simple) return put_cp(l, b, (uint32_t)to[simple - from], at);
    if (c >= '0' && c <= '7') {
        uint32_t v = (uint32_t)(c - '0');
        for (int k = 0; k < 2 && *i < s.len && s.data[*i] >= '0' && s.data[*i] <= '7'; k++) v = v * 8 + (uint32_t)(s.data[(*i)++] - '0');
        return put_cp(l, b, v, at);
    }
    size_t digits = c == 'x' ? 2 : c == 'u' ? 4 : c == 'U' ? 8 : 0;
    if (digits) {
        uint32_t v = 0;
        for (size_t k = 0; k < digits; k++, ++*i) {
            int d = *i < s.len ? hex_digit(s.data[*i]) : -1;
            if (d < 0) return kd_tpl_fail(l->t, at, l->e, KD_EFORMAT, "the escape \\%c wants %zu hexadecimal digits", c, digits);
            v = v << 4 | (uint32_t)d;
        }
        return put_cp(l, b, v, at);
    }
    if (c == 'N') return kd_tpl_fail(l->t, at, l->e, KD_EUNSUPPORTED, "characters by name (\\N{...}) are not supported");
    if ((unsigned char)c >= 0x80) { /* Python escapes what is not ASCII first, and so the backslash escapes an escape */
        size_t n;
        char z[16];
        uint32_t cp = (uint32_t)kd_tpl_cp(s.data + *i - 1, &n);
        *i += n - 1;
        snprintf(z, sizeof z, cp < 0x100 ? "\\x%02x" : cp < 0x10000 ? "\\u%04x" : "\\U%08x", (unsigned)cp);
        return kd_buf_puts(b, z) == KD_OK ? KD_OK : kd_fail(l->e, KD_ENOMEM, "%s: no memory for a string", l->t->name);
    }
    char both[2] = {'\\', c};
    return kd_buf_append(b, both, 2) == KD_OK ? KD_OK : kd_fail(l->e, KD_ENOMEM, "%s: no memory for a string", l->t->name);
}

static kd_code lex_string(kd_tlex *l, kd_ttoken *tok, size_t end) {
    kd_str raw = {l->t->source.data + l->pos + 1, end - l->pos - 2};
    tok->kind = KD_TK_STRING;
    tok->text = raw;
    if (!memchr(raw.data, '\\', raw.len)) return KD_OK;
    kd_buf b = {0};
    kd_code c = KD_OK;
    for (size_t i = 0; c == KD_OK && i < raw.len;) {
        if (raw.data[i] == '\\' && i + 1 < raw.len) {
            size_t at = l->pos + 1 + i++;
            c = unescape_one(l, raw, &i, &b, at);
            continue;
        }
        size_t from = i;
        while (i < raw.len && (raw.data[i] != '\\' || i + 1 == raw.len)) i++;
        if (kd_buf_append(&b, raw.data + from, i - from) != KD_OK) c = kd_fail(l->e, KD_ENOMEM, "%s: no memory for a string", l->t->name);
    }
    if (c == KD_OK) {
        tok->text.len = b.len;
        tok->text.data = kd_arena_strndup(&l->t->arena, b.len ? b.data : "", b.len);
        if (!tok->text.data) c = kd_fail(l->e, KD_ENOMEM, "%s: no memory for a string", l->t->name);
    }
    kd_buf_clear(&b);
    return c;
}

/* ---- numbers ---- */

/* (\d+_)*\d+ at p: its end, or p. */
static size_t digits(kd_str s, size_t p) {
    size_t q = p;
    while (q < s.len && s.data[q] >= '0' && s.data[q] <= '9') q++;
    while (q > p && q + 1 < s.len && s.data[q] == '_' && s.data[q + 1] >= '0' && s.data[q + 1] <= '9')
        for (q++; q < s.len && s.data[q] >= '0' && s.data[q] <= '9'; q++) {}
    return q;
}

/* End of a float that begins at p, or 0 if none does. */
static size_t float_end(kd_str s, size_t p) {
    if (p > 0 && s.data[p - 1] == '.') return 0;
    size_t q = digits(s, p), r = q;
    bool fraction = false;
    if (q < s.len && s.data[q] == '.') {
        size_t f = digits(s, q + 1);
        if (f > q + 1) {
            r = f;
            fraction = true;
        }
    }
    if (r < s.len && (s.data[r] == 'e' || s.data[r] == 'E')) {
        size_t x = r + 1;
        if (x < s.len && (s.data[x] == '+' || s.data[x] == '-')) x++;
        size_t f = digits(s, x);
        if (f > x) return f;
    }
    return fraction ? r : 0;
}

/* End of an integer that begins at p, a digit. */
static size_t int_end(kd_str s, size_t p, int *base) {
    *base = 10;
    if (s.data[p] == '0' && p + 1 < s.len) {
        char x = (char)(s.data[p + 1] | 0x20);
        int b = x == 'b' ? 2 : x == 'o' ? 8 : x == 'x' ? 16 : 0;
        size_t q = p + 2;
        for (;;) {
            size_t d = q < s.len && s.data[q] == '_' ? q + 1 : q;
            int v = b && d < s.len ? hex_digit(s.data[d]) : -1;
            if (v < 0 || v >= b) break;
            q = d + 1;
        }
        if (b && q > p + 2) {
            *base = b;
            return q;
        }
    }
    bool zero = s.data[p] == '0';
    size_t q = p + 1;
    for (;;) {
        size_t d = q < s.len && s.data[q] == '_' ? q + 1 : q;
        if (d >= s.len || s.data[d] < '0' || s.data[d] > (zero ? '0' : '9')) return q;
        q = d + 1;
    }
}

static kd_code lex_number(kd_tlex *l, kd_ttoken *tok, size_t *end) {
    kd_str s = l->t->source;
    int base = 10;
    size_t f = float_end(s, l->pos);
    *end = f ? f : int_end(s, l->pos, &base);
    char *z = kd_arena_alloc(&l->t->arena, *end - l->pos + 1);
    if (!z) return kd_fail(l->e, KD_ENOMEM, "%s: no memory for a number", l->t->name);
    size_t n = 0;
    for (size_t i = l->pos + (base == 10 ? 0 : 2); i < *end; i++)
        if (s.data[i] != '_') z[n++] = s.data[i];
    if (f) {
        tok->kind = KD_TK_FLOAT;
        tok->value = (kd_tval){.type = KD_TV_FLOAT, .u.f = strtod(z, NULL)};
        return KD_OK;
    }
    tok->kind = KD_TK_INT;
    errno = 0;
    tok->value = (kd_tval){.type = KD_TV_INT, .u.i = strtoll(z, NULL, base)};
    if (errno && base == 10)
        tok->value = (kd_tval){.type = KD_TV_BIG, .u.s = z, .len = n};
    else if (errno)
        return kd_tpl_fail(l->t, l->pos, l->e, KD_EUNSUPPORTED, "an integer of more than 64 bits");
    return KD_OK;
}

/* ---- inside a tag ---- */

static kd_code lex_operator(kd_tlex *l, kd_ttoken *tok) {
    static const struct {
        char z[3];
        uint8_t kind;
    } ops[] = {{"//", KD_TK_FLOORDIV}, {"**", KD_TK_POW},   {"==", KD_TK_EQ},      {"!=", KD_TK_NE},      {">=", KD_TK_GE},
               {"<=", KD_TK_LE},       {"+", KD_TK_ADD},    {"-", KD_TK_SUB},      {"/", KD_TK_DIV},      {"*", KD_TK_MUL},
               {"%", KD_TK_MOD},       {"~", KD_TK_TILDE},  {"[", KD_TK_LBRACKET}, {"]", KD_TK_RBRACKET}, {"(", KD_TK_LPAREN},
               {")", KD_TK_RPAREN},    {"{", KD_TK_LBRACE}, {"}", KD_TK_RBRACE},   {">", KD_TK_GT},       {"<", KD_TK_LT},
               {"=", KD_TK_ASSIGN},    {".", KD_TK_DOT},    {":", KD_TK_COLON},    {"|", KD_TK_PIPE},     {",", KD_TK_COMMA},
               {";", KD_TK_SEMICOLON}};
    kd_str s = l->t->source;
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (!starts(s, l->pos, ops[i].z)) continue;
        char c = ops[i].z[0];
        tok->kind = (kd_tk_kind)ops[i].kind;
        tok->text = kd_str_of(ops[i].z);
        if (c == '(' || c == '[' || c == '{') {
            if (l->n_nest == KD_TLEX_NEST)
                return kd_tpl_fail(l->t, l->pos, l->e, KD_ELIMIT, "brackets nested more than %d deep", KD_TLEX_NEST);
            l->nest[l->n_nest++] = c == '(' ? ')' : c == '[' ? ']' : '}';
        } else if (c == ')' || c == ']' || c == '}') {
            if (!l->n_nest) return kd_tpl_fail(l->t, l->pos, l->e, KD_EFORMAT, "unexpected '%c'", c);
            char want = l->nest[--l->n_nest];
            if (want != c) return kd_tpl_fail(l->t, l->pos, l->e, KD_EFORMAT, "unexpected '%c', expected '%c'", c, want);
        }
        consumed(l, l->pos + tok->text.len);
        return KD_OK;
    }
    size_t n;
    kd_tpl_cp(s.data + l->pos, &n);
    return kd_tpl_fail(l->t, l->pos, l->e, KD_EFORMAT, "unexpected character '%.*s'", (int)n, s.data + l->pos);
}

static kd_code lex_tag(kd_tlex *l, kd_ttoken *tok) {
    kd_str s = l->t->source;
    for (;;) { /* the end of the tag is asked for before white space is, as it may begin with '-' */
        size_t next = 0;
        if (!l->n_nest && l->state == 2)
            next = tag_end(s, l->pos, "%}");
        else if (!l->n_nest)
            next = starts(s, l->pos, "-}}") ? skip_space(s, l->pos + 3) : starts(s, l->pos, "}}") ? l->pos + 2 : 0;
        if (next) {
            tok->kind = l->state == 2 ? KD_TK_BLOCK_END : KD_TK_VAR_END;
            tok->at = (uint32_t)l->pos;
            l->state = 0;
            consumed(l, next);
            return KD_OK;
        }
        next = skip_space(s, l->pos);
        if (next == l->pos) break;
        consumed(l, next);
    }
    tok->at = (uint32_t)l->pos;
    if (l->pos >= s.len) {
        tok->kind = KD_TK_EOF;
        return KD_OK;
    }
    size_t n, end = l->pos;
    char c = s.data[l->pos];
    if (c >= '0' && c <= '9') {
        kd_code rc = lex_number(l, tok, &end);
        if (rc == KD_OK) consumed(l, end);
        return rc;
    }
    while (end < s.len && name_char(kd_tpl_cp(s.data + end, &n))) end += n;
    if (end > l->pos) {
        tok->kind = KD_TK_NAME;
        tok->text = (kd_str){s.data + l->pos, end - l->pos};
        int32_t first = kd_tpl_cp(s.data + l->pos, &n);
        if (first >= 0x80 && !kd_uc_letter((uint32_t)first))
            return kd_tpl_fail(l->t, l->pos, l->e, KD_EFORMAT, "invalid character in an identifier");
        consumed(l, end);
        return KD_OK;
    }
    if (c == '\'' || c == '"') {
        for (end = l->pos + 1; end < s.len && s.data[end] != c; end++)
            if (s.data[end] == '\\') end++;
        if (end < s.len) {
            kd_code rc = lex_string(l, tok, end + 1);
            if (rc == KD_OK) consumed(l, end + 1);
            return rc;
        }
    }
    return lex_operator(l, tok);
}

kd_code kd_tpl_lex(kd_tlex *l, kd_ttoken *tok) {
    *tok = (kd_ttoken){0};
    if (l->pending.data) { /* a raw block's text */
        tok->kind = KD_TK_DATA;
        tok->text = l->pending;
        tok->at = l->pending_at;
        l->pending = (kd_str){0};
        return KD_OK;
    }
    if (l->state == 0) {
        kd_str s = l->t->source;
        if (l->pos >= s.len) {
            tok->at = (uint32_t)s.len;
            return KD_OK;
        }
        kd_code c = lex_text(l, tok);
        if (c != KD_OK || tok->text.len || l->state == 0) return c;
    } else if (l->begun) {
        kd_code c = lex_tag(l, tok);
        l->begun = l->state != 0;
        return c;
    }
    tok->kind = l->state == 1 ? KD_TK_VAR_BEGIN : KD_TK_BLOCK_BEGIN;
    tok->at = l->tag_at;
    l->begun = true;
    return KD_OK;
}

const char *kd_tpl_token_name(const kd_ttoken *tok, char *buf, size_t n) {
    switch (tok->kind) {
    case KD_TK_EOF: return "end of template";
    case KD_TK_DATA: return "text";
    case KD_TK_VAR_BEGIN: return "{{";
    case KD_TK_VAR_END: return "}}";
    case KD_TK_BLOCK_BEGIN: return "{%";
    case KD_TK_BLOCK_END: return "%}";
    case KD_TK_STRING: return "a string";
    case KD_TK_INT:
    case KD_TK_FLOAT: return "a number";
    default: snprintf(buf, n, "'%.*s'", (int)(tok->text.len < 40 ? tok->text.len : 40), tok->text.data); return buf;
    }
}
