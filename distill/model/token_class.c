/* distill/model/token_class.c - what a code point is to `tokenizers`, out of token_tables.h. Leans on token_impl.h. */
#include "distill/model/token_impl.h"
#include "distill/model/token_tables.h"

#define RUNS (sizeof runs / sizeof *runs)
enum { RUN_NUMERIC = 1 << 5, RUN_PUNCT = 1 << 6, RUN_WORD = 1 << 7, RUN_ONIG_WORD = 1 << 8, RUN_NEW = 1 << 9 };

uint8_t kd_tok_class[0x110000];

static const char *category(uint32_t run) { return categories[run & 31]; }

static bool is_space(uint32_t cp) {
    return (cp >= 9 && cp <= 13) || cp == ' ' || cp == 0x85 || cp == 0xa0 || cp == 0x1680 || (cp >= 0x2000 && cp <= 0x200a) ||
           cp == 0x2028 || cp == 0x2029 || cp == 0x202f || cp == 0x205f || cp == 0x3000;
}

static void fill(void) {
    for (size_t i = 0; i < RUNS; i++) {
        const uint32_t end = i + 1 < RUNS ? runs[i + 1] >> 10 : 0x110000;
        unsigned v = 0;
        switch (category(runs[i])[0]) {
        case 'L': v = TC_L; break;
        case 'N': v = TC_N; break;
        case 'M': v = TC_M; break;
        case 'P': v = TC_P; break;
        case 'S': v = TC_S; break;
        default: break;
        }
        if (runs[i] & RUN_WORD) v |= TC_WORD;
        if (runs[i] & RUN_NEW) v |= TC_NEW;
        memset(kd_tok_class + (runs[i] >> 10), (int)v, end - (runs[i] >> 10));
    }
    for (uint32_t cp = 0; cp <= 0x3000; cp++)
        if (is_space(cp)) kd_tok_class[cp] |= TC_SPACE;
}

void kd_tok_class_init(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, fill);
}

static uint32_t run_of(uint32_t cp) {
    size_t lo = 0, hi = RUNS; /* runs[lo] begins at or before cp */
    while (hi - lo > 1) {
        const size_t mid = (lo + hi) / 2;
        if (runs[mid] >> 10 <= cp)
            lo = mid;
        else
            hi = mid;
    }
    return runs[lo];
}

bool kd_tok_numeric(uint32_t cp) { return cp < 0x80 ? cp >= '0' && cp <= '9' : (run_of(cp) & RUN_NUMERIC) != 0; }
bool kd_tok_punct(uint32_t cp) { return cp < 0x80 ? (kd_tok_class[cp] & (TC_P | TC_S)) != 0 : (run_of(cp) & RUN_PUNCT) != 0; }

/* ---- classes as text ---- */

typedef struct {
    kd_buf *out;
    uint32_t from; /* of the range being gathered; next = one past it; from > next: none */
    uint32_t next;
    kd_code code;
} ranges;

static void put_range(ranges *r, uint32_t a, uint32_t b) /* a..b-1; surrogates are no characters, and PCRE2 refuses them */
{
    if (a < 0xd800 && b > 0xd800) {
        put_range(r, a, 0xd800);
        a = 0xd800;
    }
    if (a >= 0xd800 && a < 0xe000) a = 0xe000;
    if (a >= b || r->code) return;
    r->code = b - a == 1 ? kd_buf_printf(r->out, "\\x{%x}", (unsigned)a)
                         : kd_buf_printf(r->out, "\\x{%x}-\\x{%x}", (unsigned)a, (unsigned)(b - 1));
}

static void gather(ranges *r, uint32_t a, uint32_t b, bool in) {
    if (!in) return;
    if (a == r->next) {
        r->next = b;
        return;
    }
    put_range(r, r->from, r->next);
    r->from = a;
    r->next = b;
}

static bool in_category(uint32_t run, kd_str name) {
    const char *c = category(run);
    return c[0] == name.data[0] && (name.len == 1 || c[1] == name.data[1]);
}

static bool known_category(kd_str name) {
    if (name.len < 1 || name.len > 2) return false;
    for (size_t i = 0; i < sizeof categories / sizeof *categories; i++)
        if (categories[i][0] == name.data[0] && (name.len == 1 || categories[i][1] == name.data[1])) return true;
    return false;
}

static void script(ranges *r, const uint32_t *v, size_t n, bool not ) {
    uint32_t next = 0;
    for (size_t i = 0; i < n; i += 2) {
        if (not )
            gather(r, next, v[i], next < v[i]);
        else
            gather(r, v[i], v[i + 1] + 1, true);
        next = v[i + 1] + 1;
    }
    if (not ) gather(r, next, 0x110000, true);
}

kd_code kd_tok_class_ranges(kd_buf *out, kd_str name, bool *known) {
    static const struct {
        const char *name;
        const uint32_t *v;
        size_t n;
    } scripts[] = {{"Han", script_han, sizeof script_han / 4},
                   {"Hiragana", script_hiragana, sizeof script_hiragana / 4},
                   {"Katakana", script_katakana, sizeof script_katakana / 4},
                   {"Hangul", script_hangul, sizeof script_hangul / 4}};
    ranges r = {.out = out};
    const bool not = name.len && name.data[0] == '^';
    if (not ) name = (kd_str){name.data + 1, name.len - 1};
    const bool space = kd_str_is(name, "s"), word = kd_str_is(name, "w");
    *known = true;
    for (size_t k = 0; k < sizeof scripts / sizeof *scripts; k++) {
        if (!kd_str_is(name, scripts[k].name)) continue;
        script(&r, scripts[k].v, scripts[k].n, not );
        put_range(&r, r.from, r.next);
        return r.code;
    }
    *known = space || word || known_category(name);
    if (!*known) return KD_OK;
    if (space) {
        for (uint32_t cp = 0; cp <= 0x3000; cp++) gather(&r, cp, cp + 1, is_space(cp) != not );
        gather(&r, 0x3001, 0x110000, not );
    }
    for (size_t i = 0; i < RUNS && !space; i++) {
        const bool in = word ? (runs[i] & RUN_ONIG_WORD) != 0 : in_category(runs[i], name);
        gather(&r, runs[i] >> 10, i + 1 < RUNS ? runs[i + 1] >> 10 : 0x110000, in != not );
    }
    put_range(&r, r.from, r.next);
    return r.code;
}
