/* datasets/math_lex.c - LaTeX and plain mathematics cut into tokens: numbers of several locales, commands, words, signs of Unicode.
 * Leans on math_int.h, base/utf8. */
#include "datasets/math_int.h"

#include "distill/base/utf8.h"

#include <stdio.h>
#include <string.h>

typedef struct {
    const char *p, *end;
    kd_tok *t;
    int n, depth; /* brackets open: inside them a comma parts items, never thousands */
    bool spaced, euro, bad;
    kd_arena *a;
} lexer;

static bool digit(char c) { return c >= '0' && c <= '9'; }
static bool letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

static void emit(lexer *x, kd_tok_kind kind, kd_str text) {
    if (x->n >= KD_MATH_TOKENS - 1) {
        x->bad = true;
        return;
    }
    x->t[x->n++] = (kd_tok){.kind = kind, .text = text, .spaced = x->spaced};
    x->spaced = false;
}

static bool eat(lexer *x, const char *what) {
    const size_t n = strlen(what);
    if ((size_t)(x->end - x->p) < n || memcmp(x->p, what, n) != 0) return false;
    x->p += n;
    return true;
}

/* ---- numbers ---- */
/* One separator of thousands at p: its length, and which it is; 0 if there is none. */
static size_t group_mark(const lexer *x, const char *p, char *which) {
    static const struct {
        const char *text;
        char which;
    } marks[] = {{"{,}", ','}, {"\\,", ' '}, {"\\!,", ','}, {",\\!", ','}, {"\xe2\x80\x89", ' '}, {"\xe2\x80\xaf", ' '}, {"\xc2\xa0", ' '},
                 {"'", '\''},  {" ", ' '},   {".", '.'},    {",", ','}};
    for (size_t i = 0; i < sizeof marks / sizeof *marks; i++) {
        const size_t n = strlen(marks[i].text);
        if ((size_t)(x->end - p) >= n && memcmp(p, marks[i].text, n) == 0) {
            if (n == 1 && marks[i].which == ',' && x->depth > 0) return 0;
            *which = marks[i].which;
            return n;
        }
    }
    return 0;
}

/* Three digits and no fourth at p. */
static bool triple(const lexer *x, const char *p) {
    return x->end - p >= 3 && digit(p[0]) && digit(p[1]) && digit(p[2]) && (x->end - p == 3 || !digit(p[3]));
}

/* Digits in groups: 1,234,567. Appends them to b; which: the separator used, 0 if none. */
static void grouped(lexer *x, kd_buf *b, char *which, int *groups) {
    const char *from = x->p;
    *which = 0;
    *groups = 0;
    while (x->p < x->end && digit(*x->p)) x->p++;
    (void)kd_buf_append(b, from, (size_t)(x->p - from));
    if (x->p - from > 3 || x->p == from) return;
    for (;;) {
        char w = 0;
        const size_t n = group_mark(x, x->p, &w);
        if (!n || (*which && w != *which) || !triple(x, x->p + n)) return;
        if (w == '.') { /* one group behind a point is a decimal, unless more groups or a decimal comma follow */
            const char *q = x->p + 1 + 3;
            const bool more = x->end - q >= 4 && *q == '.' && triple(x, q + 1);
            const bool comma = x->end - q >= 2 && *q == ',' && digit(q[1]) && x->depth == 0;
            if (!*which && !more && !comma && !x->euro) return;
        }
        *which = w;
        (*groups)++;
        (void)kd_buf_append(b, x->p + n, 3);
        x->p += n + 3;
    }
}

/* 12,34,567: groups of two, the last of three, as India writes them. Its length, 0 if it is none. */
static size_t indian(const lexer *x) {
    const char *p = x->p;
    int pairs = 0;
    if (x->depth > 0) return 0;
    while (p < x->end && digit(*p)) p++;
    if (p == x->p || p - x->p > 2) return 0;
    while (x->end - p >= 4 && *p == ',' && digit(p[1]) && digit(p[2]) && p[3] == ',') {
        p += 3;
        pairs++;
    }
    return pairs && *p == ',' && triple(x, p + 1) ? (size_t)(p + 4 - x->p) : 0;
}

static void number(lexer *x) {
    kd_buf b = {0};
    char which = 0;
    int groups = 0, scale = 0;
    bool other = false;
    const size_t all = indian(x);
    for (size_t i = 0; i < all; i++)
        if (x->p[i] != ',') (void)kd_buf_putc(&b, x->p[i]);
    x->p += all;
    if (!all) grouped(x, &b, &which, &groups);
    const char point = which == '.' ? ',' : '.';
    if (x->end - x->p >= 2 && *x->p == point && digit(x->p[1])) {
        const char *from = ++x->p;
        while (x->p < x->end && digit(*x->p)) x->p++;
        scale = (int)(x->p - from);
        (void)kd_buf_append(&b, from, (size_t)scale);
        other = !groups && scale == 3 && b.len <= 6;
    } else if (x->p < x->end && *x->p == '.' && (x->end - x->p == 1 || !(x->p[1] == '.' || x->p[1] == '\\'))) {
        x->p++; /* 12. */
    } else if (x->end - x->p >= 2 && *x->p == '.' && x->p[1] == '\\') {
        x->p++; /* 0.\overline{3} */
    }
    if (x->end - x->p >= 2 && (*x->p == 'e' || *x->p == 'E')) {
        const char *q = x->p + 1;
        const bool neg = *q == '-';
        if ((*q == '-' || *q == '+') && x->end - q >= 2) q++;
        long v = 0;
        const char *from = q;
        while (q < x->end && digit(*q) && v < 100000) v = v * 10 + (*q++ - '0');
        if (q > from && (q == x->end || !letter(*q))) {
            x->p = q;
            if (v >= 2000) x->bad = true;
            scale += (int)(neg ? v : -v);
        }
    }
    char *kept = b.len ? kd_arena_strndup(x->a, b.data, b.len) : NULL;
    if (!kept) x->bad = true;
    const size_t len = b.len;
    kd_buf_clear(&b);
    emit(x, TOK_NUM, (kd_str){kept, len});
    if (!x->bad) {
        x->t[x->n - 1].scale = scale;
        x->t[x->n - 1].other = other;
    }
}

/* ---- commands ---- */
typedef struct {
    const char *name;
    kd_tok_kind kind;
    const char *text;
} command;

static const command commands[] = {
    {"frac", TOK_FRAC, ""},
    {"dfrac", TOK_FRAC, ""},
    {"tfrac", TOK_FRAC, ""},
    {"cfrac", TOK_FRAC, ""},
    {"sqrt", TOK_SQRT, ""},
    {"cdot", TOK_TIMES, ""},
    {"times", TOK_TIMES, ""},
    {"ast", TOK_TIMES, ""},
    {"div", TOK_DIV, ""},
    {"pm", TOK_PM, ""},
    {"mp", TOK_MP, ""},
    {"le", TOK_LE, ""},
    {"leq", TOK_LE, ""},
    {"leqslant", TOK_LE, ""},
    {"ge", TOK_GE, ""},
    {"geq", TOK_GE, ""},
    {"geqslant", TOK_GE, ""},
    {"lt", TOK_LT, ""},
    {"gt", TOK_GT, ""},
    {"ne", TOK_NE, ""},
    {"neq", TOK_NE, ""},
    {"approx", TOK_APPROX, ""},
    {"sim", TOK_APPROX, ""},
    {"infty", TOK_INF, ""},
    {"cup", TOK_CUP, ""},
    {"in", TOK_IN, ""},
    {"mid", TOK_MID, ""},
    {"emptyset", TOK_EMPTY, ""},
    {"varnothing", TOK_EMPTY, ""},
    {"binom", TOK_BINOM, ""},
    {"dbinom", TOK_BINOM, ""},
    {"tbinom", TOK_BINOM, ""},
    {"choose", TOK_CHOOSE, ""},
    {"overline", TOK_OVERLINE, ""},
    {"bar", TOK_OVERLINE, ""},
    {"dots", TOK_DOTS, ""},
    {"ldots", TOK_DOTS, ""},
    {"cdots", TOK_DOTS, ""},
    {"circ", TOK_DEGREE, ""},
    {"degree", TOK_DEGREE, ""},
    {"langle", TOK_OPEN, "A"},
    {"rangle", TOK_CLOSE, "A"},
    {"lvert", TOK_BAR, ""},
    {"rvert", TOK_BAR, ""},
    {"vert", TOK_BAR, ""},
    {"lbrace", TOK_OPEN, "S"},
    {"rbrace", TOK_CLOSE, "S"},
    {"lbrack", TOK_OPEN, "["},
    {"rbrack", TOK_CLOSE, "["},
    {"colon", TOK_COLON, ""},
    {"land", TOK_AND, ""},
    {"wedge", TOK_AND, ""},
    {"lor", TOK_OR, ""},
    {"vee", TOK_OR, ""},
    {"Vert", TOK_NORM, ""},
    {"pi", TOK_NAME, "pi"},
};
/* Commands that dress and mean nothing; those with an argument leave it as a group. */
static const char *const dressing[] = {"left",   "right",  "displaystyle", "textstyle",  "big",      "Big",      "bigl",   "bigr",
                                       "Bigl",   "Bigr",   "bigg",         "Bigg",       "quad",     "qquad",    "mathbf", "boldsymbol",
                                       "bm",     "mathit", "boxed",        "fbox",       "limits",   "nolimits", "space",  "thinspace",
                                       "hspace", "mathop", "underline",    "ensuremath", "medspace", "enspace"};
static const char *const texts[] = {"text", "textbf", "textit", "textrm", "mathrm", "mbox", "operatorname", "texttt", "textsf", "rm"};
static const char *const functions[] = {"sin",  "cos",  "tan", "cot", "sec", "csc", "arcsin", "arccos", "arctan", "sinh",
                                        "cosh", "tanh", "log", "ln",  "lg",  "exp", "asin",   "acos",   "atan"};

static bool in_list(const char *const *list, size_t n, kd_str s) {
    for (size_t i = 0; i < n; i++)
        if (kd_str_is(s, list[i])) return true;
    return false;
}
#define IN_LIST(list, s) in_list(list, sizeof(list) / sizeof *(list), s)

static void words(lexer *x, kd_str s);

/* {...} at x->p: its inside; false if there is none. */
static bool group_text(lexer *x, kd_str *out) {
    const char *p = x->p;
    while (p < x->end && *p == ' ') p++;
    if (p == x->end || *p != '{') return false;
    const char *from = ++p;
    for (int depth = 1; p < x->end; p++) {
        depth += *p == '{' ? 1 : *p == '}' ? -1 : 0;
        if (depth == 0) {
            *out = (kd_str){from, (size_t)(p - from)};
            x->p = p + 1;
            return true;
        }
    }
    return false;
}

static void command_word(lexer *x) {
    const char *from = x->p;
    while (x->p < x->end && letter(*x->p)) x->p++;
    const kd_str name = {from, (size_t)(x->p - from)};
    kd_str inside;
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
        if (kd_str_is(name, commands[i].name)) {
            if (commands[i].kind == TOK_OPEN) x->depth++;
            if (commands[i].kind == TOK_CLOSE && x->depth > 0) x->depth--;
            emit(x, commands[i].kind, kd_str_of(commands[i].text));
            return;
        }
    if (IN_LIST(functions, name)) {
        emit(x, TOK_FUNC, name);
    } else if (IN_LIST(texts, name)) {
        if (group_text(x, &inside)) words(x, inside);
    } else if (kd_str_is(name, "mathbb")) {
        if (group_text(x, &inside)) emit(x, TOK_FIELD, kd_trim(inside));
    } else if (kd_str_is(name, "begin") || kd_str_is(name, "end")) {
        if (group_text(x, &inside)) emit(x, kd_str_is(name, "begin") ? TOK_BEGIN : TOK_ENDENV, inside);
    } else if (IN_LIST(dressing, name)) {
        if ((kd_str_is(name, "left") || kd_str_is(name, "right")) && x->p < x->end && *x->p == '.') x->p++;
        x->spaced = true;
    } else {
        emit(x, TOK_NAME, name); /* Greek, and what we do not know */
    }
}

static void backslash(lexer *x) {
    if (x->p == x->end) return;
    const char c = *x->p;
    if (letter(c)) {
        command_word(x);
        return;
    }
    x->p++;
    switch (c) {
    case '{':
        x->depth++;
        emit(x, TOK_OPEN, KD_STR("S"));
        break;
    case '}':
        if (x->depth > 0) x->depth--;
        emit(x, TOK_CLOSE, KD_STR("S"));
        break;
    case '%': emit(x, TOK_PERCENT, KD_STR("")); break;
    case '$': emit(x, TOK_MONEY, KD_STR("$")); break;
    case '\\': emit(x, TOK_ROW, KD_STR("")); break;
    case '|': emit(x, TOK_NORM, KD_STR("")); break;
    default: x->spaced = true; /* \, \; \! \( \) \[ \] and a space */
    }
}

/* ---- words ---- */
static kd_str lower_dup(lexer *x, kd_str s) {
    char *p = kd_arena_strndup(x->a, s.data, s.len);
    if (!p) {
        x->bad = true;
        return KD_STR("");
    }
    for (size_t i = 0; i < s.len; i++)
        if (p[i] >= 'A' && p[i] <= 'Z') p[i] = (char)(p[i] | 32);
    return (kd_str){p, s.len};
}

/* One run of letters outside a command. */
static void plain_word(lexer *x, kd_str s, bool in_text) {
    const kd_str low = lower_dup(x, s);
    static const struct {
        const char *word;
        kd_tok_kind kind;
    } known[] = {{"and", TOK_AND},       {"or", TOK_OR},        {"percent", TOK_PERCENT}, {"degrees", TOK_DEGREE},
                 {"degree", TOK_DEGREE}, {"infinity", TOK_INF}, {"inf", TOK_INF},         {"in", TOK_IN}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (kd_str_is(low, known[i].word)) {
            emit(x, known[i].kind, KD_STR(""));
            return;
        }
    if (!in_text && IN_LIST(functions, s)) {
        emit(x, TOK_FUNC, s);
    } else if (!in_text && kd_str_is(s, "sqrt")) {
        emit(x, TOK_SQRT, KD_STR(""));
    } else if (!in_text && kd_str_is(s, "pi")) {
        emit(x, TOK_NAME, KD_STR("pi"));
    } else if (s.len == 1 && !in_text) {
        emit(x, TOK_NAME, s);
    } else if (s.len <= 3 && !in_text && !x->spaced && !(x->n && x->t[x->n - 1].kind == TOK_WORD) && low.data &&
               memcmp(low.data, s.data, s.len) == 0 && !kd_str_is(s, "cm") && !kd_str_is(s, "km") && !kd_str_is(s, "kg") &&
               !kd_str_is(s, "mm") && !kd_str_is(s, "ml") && !kd_str_is(s, "ft")) {
        for (size_t i = 0; i < s.len; i++) emit(x, TOK_NAME, (kd_str){s.data + i, 1}); /* 2xy */
    } else {
        emit(x, TOK_WORD, low);
    }
}

/* The text of a \text{...}: words, and numbers that may stand in it. */
static void words(lexer *x, kd_str s) {
    lexer in = *x;
    in.p = s.data;
    in.end = s.data + s.len;
    in.spaced = true;
    while (in.p < in.end && !in.bad) {
        if (letter(*in.p)) {
            const char *from = in.p;
            while (in.p < in.end && (letter(*in.p) || ((*in.p == '-' || *in.p == '\'') && in.p + 1 < in.end && letter(in.p[1])))) in.p++;
            plain_word(&in, (kd_str){from, (size_t)(in.p - from)}, true);
        } else if (digit(*in.p)) {
            number(&in);
        } else {
            if (*in.p == '%') emit(&in, TOK_PERCENT, KD_STR(""));
            in.spaced = true;
            in.p++;
        }
    }
    x->n = in.n;
    x->bad = in.bad;
    x->spaced = true;
}

/* ---- signs of Unicode ---- */
static const struct {
    uint32_t cp;
    kd_tok_kind kind;
    const char *text;
} signs[] = {
    {0x3c0, TOK_NAME, "pi"},     {0x221a, TOK_SQRT, ""},      {0xd7, TOK_TIMES, ""},       {0xb7, TOK_TIMES, ""},
    {0x22c5, TOK_TIMES, ""},     {0xf7, TOK_DIV, ""},         {0x2212, TOK_MINUS, ""},     {0x2013, TOK_MINUS, ""},
    {0x2264, TOK_LE, ""},        {0x2265, TOK_GE, ""},        {0x2260, TOK_NE, ""},        {0xb1, TOK_PM, ""},
    {0x221e, TOK_INF, ""},       {0xb0, TOK_DEGREE, ""},      {0x222a, TOK_CUP, ""},       {0x2205, TOK_EMPTY, ""},
    {0x2208, TOK_IN, ""},        {0x2248, TOK_APPROX, ""},    {0xa3, TOK_MONEY, ""},       {0xa5, TOK_MONEY, ""},
    {0x2044, TOK_DIV, ""},       {0xbd, TOK_VULGAR, "1/2"},   {0xbc, TOK_VULGAR, "1/4"},   {0xbe, TOK_VULGAR, "3/4"},
    {0x2153, TOK_VULGAR, "1/3"}, {0x2154, TOK_VULGAR, "2/3"}, {0x215b, TOK_VULGAR, "1/8"}, {0x2026, TOK_DOTS, ""},
    {0x211d, TOK_FIELD, "R"},    {0x211a, TOK_FIELD, "Q"},    {0x2124, TOK_FIELD, "Z"},    {0x2115, TOK_FIELD, "N"},
};

static void unicode(lexer *x) {
    size_t len = 0;
    const char *from = x->p;
    const int32_t cp = kd_utf8_next(x->p, (size_t)(x->end - x->p), &len);
    x->p += len;
    if (cp < 0) {
        x->bad = true;
        return;
    }
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++)
        if (signs[i].cp == (uint32_t)cp) {
            emit(x, signs[i].kind, kd_str_of(signs[i].text));
            return;
        }
    if (cp == 0xb2 || cp == 0xb3) { /* superscripts */
        emit(x, TOK_POW, KD_STR(""));
        emit(x, TOK_NUM, cp == 0xb2 ? KD_STR("2") : KD_STR("3"));
    } else if (cp == 0x20ac) {
        x->euro = true;
        emit(x, TOK_MONEY, KD_STR(""));
    } else if (kd_uc_space((uint32_t)cp) || cp == 0x200b || cp == 0x2061) {
        x->spaced = true;
    } else if (kd_uc_letter((uint32_t)cp)) {
        while (x->p < x->end && (unsigned char)*x->p >= 0x80) { /* a word of another script */
            const int32_t c = kd_utf8_next(x->p, (size_t)(x->end - x->p), &len);
            if (c < 0 || !kd_uc_letter((uint32_t)c)) break;
            x->p += len;
        }
        const kd_str w = {from, (size_t)(x->p - from)};
        emit(x, w.len <= 2 ? TOK_NAME : TOK_WORD, w);
    } else {
        x->bad = true;
    }
}

static bool ascii_sign(lexer *x) {
    static const struct {
        const char *text;
        kd_tok_kind kind;
        const char *tok;
    } list[] = {{"<=", TOK_LE, ""},  {">=", TOK_GE, ""},   {"!=", TOK_NE, ""},   {"**", TOK_POW, ""}, {"...", TOK_DOTS, ""},
                {"+", TOK_PLUS, ""}, {"-", TOK_MINUS, ""}, {"*", TOK_TIMES, ""}, {"/", TOK_DIV, ""},  {"^", TOK_POW, ""},
                {"_", TOK_SUB, ""},  {"|", TOK_BAR, ""},   {",", TOK_COMMA, ""}, {";", TOK_SEMI, ""}, {":", TOK_COLON, ""},
                {"=", TOK_EQ, ""},   {"<", TOK_LT, ""},    {">", TOK_GT, ""},    {"!", TOK_FACT, ""}, {"%", TOK_PERCENT, ""},
                {"&", TOK_AMP, ""}};
    for (size_t i = 0; i < sizeof list / sizeof *list; i++)
        if (eat(x, list[i].text)) {
            emit(x, list[i].kind, KD_STR(""));
            return true;
        }
    return false;
}

static void one(lexer *x) {
    const char c = *x->p;
    if (c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '~' || c == '$' || c == '`') {
        x->spaced = true;
        x->p++;
    } else if (digit(c) || (c == '.' && x->end - x->p >= 2 && digit(x->p[1]))) {
        number(x);
    } else if (c == '\\') {
        x->p++;
        backslash(x);
    } else if (letter(c)) {
        const char *from = x->p;
        while (x->p < x->end &&
               (letter(*x->p) || (x->p > from + 2 && (*x->p == '-' || *x->p == '\'') && x->p + 1 < x->end && letter(x->p[1]))))
            x->p++;
        plain_word(x, (kd_str){from, (size_t)(x->p - from)}, false);
    } else if (c == '(' || c == '[' || c == '{') {
        x->depth += c != '{';
        emit(x, TOK_OPEN, (kd_str){x->p++, 1});
    } else if (c == ')' || c == ']' || c == '}') {
        if (c != '}' && x->depth > 0) x->depth--;
        emit(x, TOK_CLOSE, c == ')' ? KD_STR("(") : c == ']' ? KD_STR("[") : KD_STR("{"));
        x->p++;
    } else if ((unsigned char)c >= 0x80) {
        unicode(x);
    } else if (c == '.' && !(x->end - x->p >= 3 && x->p[1] == '.')) { /* a full stop */
        x->p++;
        x->spaced = true;
    } else if (!ascii_sign(x)) {
        x->bad = true;
    }
}

/* Full-width digits and signs become plain ones; "**bold**" loses its stars. */
static kd_str flatten(kd_str s, kd_arena *a) {
    char *out = kd_arena_alloc(a, s.len + 1);
    size_t n = 0, len = 0;
    if (!out) return (kd_str){NULL, 0};
    for (size_t i = 0; i < s.len; i += len) {
        const int32_t cp = kd_utf8_next(s.data + i, s.len - i, &len);
        if (cp >= 0xff01 && cp <= 0xff5e) {
            out[n++] = (char)(cp - 0xff01 + '!');
        } else {
            memcpy(out + n, s.data + i, len);
            n += len;
        }
    }
    kd_str r = {out, n};
    while (r.len >= 4 && kd_str_starts(r, "**") && kd_str_ends(r, "**")) r = kd_trim((kd_str){r.data + 2, r.len - 4});
    return r;
}

bool kd_math_lex(kd_tok *t, kd_str s, kd_arena *a) {
    if (s.len > KD_MATH_TEXT) return false;
    s = flatten(s, a);
    if (!s.data) return false;
    lexer x = {.p = s.data, .end = s.data + s.len, .t = t, .a = a};
    x.euro = memmem(s.data, s.len, "\xe2\x82\xac", 3) != NULL; /* before or behind its number */
    while (x.p < x.end && !x.bad) one(&x);
    t[x.n] = (kd_tok){.kind = TOK_END};
    return !x.bad;
}
