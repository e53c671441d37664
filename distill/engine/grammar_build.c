/* distill/engine/grammar_build.c - nodes of a form and the makers that put them together; characters as sequences of bytes; what leads nowhere. */
#include "distill/base/utf8.h"
#include "distill/engine/grammar_int.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t node(kd_grammar *g, g_kind kind, uint32_t a, uint32_t b) {
    if (g->code) return G_NOWHERE;
    if (g->n >= G_MOST_NODES)
        g->code = KD_ELIMIT;
    else
        g->code = kd_grow((void **)&g->nodes, &g->cap, g->n + 1, sizeof *g->nodes);
    if (g->code) return G_NOWHERE;
    g->nodes[g->n] = (g_node){.kind = (uint8_t)kind, .a = a, .b = b};
    return (uint32_t)g->n++;
}

kd_code g_new(kd_grammar **out, kd_err *e) {
    kd_grammar *g = *out = kd_calloc(1, sizeof *g);
    if (!g) return kd_fail(e, KD_ENOMEM, "grammar: out of memory");
    node(g, G_FAIL, 0, 0);
    node(g, G_RETURN, 0, 0);
    return g->code ? kd_fail(e, g->code, "grammar: out of memory") : KD_OK;
}

void kd_grammar_free(kd_grammar *g) {
    if (!g) return;
    g_run_clear(g);
    kd_free(g->nodes);
    kd_free(g->sets);
    kd_free(g->rules);
    kd_free(g);
}

uint32_t g_bytes(kd_grammar *g, const g_set *s, uint32_t next) {
    size_t i = g->nsets;
    while (i-- > 0)
        if (!memcmp(&g->sets[i], s, sizeof *s)) return node(g, G_BYTES, (uint32_t)i, next);
    if (!g->code) g->code = kd_grow((void **)&g->sets, &g->sets_cap, g->nsets + 1, sizeof *g->sets);
    if (g->code) return G_NOWHERE;
    g->sets[g->nsets] = *s;
    return node(g, G_BYTES, (uint32_t)g->nsets++, next);
}

static void put(g_set *s, unsigned lo, unsigned hi) {
    for (unsigned c = lo; c <= hi; c++) s->w[c / 64] |= (uint64_t)1 << (c % 64);
}

uint32_t g_range(kd_grammar *g, unsigned lo, unsigned hi, uint32_t next) {
    g_set s = {{0}};
    put(&s, lo, hi);
    return g_bytes(g, &s, next);
}

uint32_t g_text(kd_grammar *g, const char *s, size_t n, uint32_t next) {
    while (n-- > 0) next = g_range(g, (unsigned char)s[n], (unsigned char)s[n], next);
    return next;
}

uint32_t g_split(kd_grammar *g, uint32_t a, uint32_t b) {
    return a == G_NOWHERE ? b : b == G_NOWHERE || a == b ? a : node(g, G_SPLIT, a, b);
}
uint32_t g_loop(kd_grammar *g) { return node(g, G_SPLIT, G_NOWHERE, G_NOWHERE); }
uint32_t g_call(kd_grammar *g, uint32_t rule, uint32_t next) { return node(g, G_CALL, rule, next); }

uint32_t g_rule(kd_grammar *g) {
    if (!g->code) g->code = kd_grow((void **)&g->rules, &g->rules_cap, g->nrules + 1, sizeof *g->rules);
    if (g->code) return G_NONE;
    g->rules[g->nrules] = G_NOWHERE;
    return (uint32_t)g->nrules++;
}

uint32_t g_times(kd_grammar *g, uint32_t rule, size_t least, size_t most, uint32_t next) {
    uint32_t at = next;
    if (most == SIZE_MAX) {
        uint32_t loop = g_loop(g), body = g_call(g, rule, loop);
        if (g->code) return G_NOWHERE;
        g->nodes[loop].a = body, g->nodes[loop].b = next;
        at = loop;
    } else {
        for (size_t i = least; i < most && !g->code; i++) at = g_split(g, g_call(g, rule, at), next);
    }
    for (size_t i = 0; i < least && !g->code; i++) at = g_call(g, rule, at);
    return at;
}

/* ---- characters ---- */

/* Code points lo..hi, of one length in UTF-8, as byte ranges: where both ends run over whole blocks of continuation bytes they are one range. */
static uint32_t utf8_range(kd_grammar *g, const unsigned char *lo, const unsigned char *hi, size_t n, uint32_t next) {
    if (n == 1) return g_range(g, lo[0], hi[0], next);
    static const unsigned char low[4] = {0x80, 0x80, 0x80, 0x80}, high[4] = {0xbf, 0xbf, 0xbf, 0xbf};
    if (lo[0] == hi[0]) return g_range(g, lo[0], lo[0], utf8_range(g, lo + 1, hi + 1, n - 1, next));
    uint32_t at = G_NOWHERE;
    unsigned from = lo[0], to = hi[0];
    if (memcmp(lo + 1, low, n - 1) != 0) at = g_split(g, at, g_range(g, from, from, utf8_range(g, lo + 1, high, n - 1, next))), from++;
    if (memcmp(hi + 1, high, n - 1) != 0) at = g_split(g, at, g_range(g, to, to, utf8_range(g, low, hi + 1, n - 1, next))), to--;
    if (from <= to) at = g_split(g, at, g_range(g, from, to, utf8_range(g, low, high, n - 1, next)));
    return at;
}

static uint32_t wide(kd_grammar *g, uint32_t lo, uint32_t hi, uint32_t next) {
    static const uint32_t ends[] = {0x7f, 0x7ff, 0xd7ff, 0xdfff, 0xffff, 0x10ffff};
    uint32_t at = G_NOWHERE;
    for (size_t i = 1; i < sizeof ends / sizeof *ends; i++) {
        uint32_t a = lo > ends[i - 1] ? lo : ends[i - 1] + 1, b = hi < ends[i] ? hi : ends[i];
        char x[4], y[4];
        if (a > b || i == 3) continue; /* 3: surrogates are no characters */
        size_t n = kd_utf8_put(x, a);
        kd_utf8_put(y, b);
        at = g_split(g, at, utf8_range(g, (unsigned char *)x, (unsigned char *)y, n, next));
    }
    return at;
}

/* Characters that a JSON string must escape, as they are written escaped. */
static uint32_t escaped(kd_grammar *g, unsigned c, uint32_t next) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *p = c ? strchr(from, (int)c) : NULL;
    char text[8];
    int n = p ? snprintf(text, sizeof text, "\\%c", to[p - from]) : snprintf(text, sizeof text, "\\u%04x", c);
    return g_text(g, text, (size_t)n, next);
}

uint32_t g_char(kd_grammar *g, const g_span *spans, size_t n, bool json, uint32_t next) {
    g_set ascii = {{0}};
    bool some = false;
    uint32_t at = G_NOWHERE;
    for (size_t i = 0; i < n; i++) {
        for (uint32_t c = spans[i].lo; c <= spans[i].hi && c < 0x80; c++)
            if (json && (c < 0x20 || c == '"' || c == '\\'))
                at = g_split(g, at, escaped(g, c, next));
            else
                put(&ascii, c, c), some = true;
        if (spans[i].hi >= 0x80) at = g_split(g, at, wide(g, spans[i].lo < 0x80 ? 0x80 : spans[i].lo, spans[i].hi, next));
    }
    return some ? g_split(g, g_bytes(g, &ascii, next), at) : at;
}

/* ---- what is dead, and which bytes are alike ---- */

static bool lives(const kd_grammar *g, const g_node *d) {
    switch ((g_kind)d->kind) {
    case G_FAIL: return false;
    case G_RETURN: return true;
    case G_BYTES: return g->nodes[d->b].live;
    case G_SPLIT: return g->nodes[d->a].live || g->nodes[d->b].live;
    case G_CALL: return g->nodes[g->rules[d->a]].live && g->nodes[d->b].live;
    }
    return false;
}

static void find_classes(kd_grammar *g) {
    memset(g->class_of, 0, sizeof g->class_of);
    g->classes = 1;
    for (size_t s = 0; s < g->nsets && g->classes < 256; s++) {
        uint8_t in_class[256], fresh = 0;
        bool have[256] = {false}, out[256] = {false};
        for (int c = 0; c < 256; c++)
            if (!(g->sets[s].w[c / 64] >> (c % 64) & 1)) out[g->class_of[c]] = true;
        for (int c = 0; c < 256; c++) { /* a class that is cut gives its part inside the set a new number */
            uint8_t k = g->class_of[c];
            if (!(g->sets[s].w[c / 64] >> (c % 64) & 1) || !out[k]) continue;
            if (!have[k]) have[k] = true, in_class[k] = (uint8_t)(g->classes + fresh++);
            g->class_of[c] = in_class[k];
        }
        g->classes += fresh;
    }
    for (int c = 255; c >= 0; c--) g->byte_of[g->class_of[c]] = (uint8_t)c;
}

kd_code g_finish(kd_grammar *g, const char *what, kd_err *e) {
    if (g->code == KD_ELIMIT) return kd_fail(e, KD_ELIMIT, "%s: too large: more than %d nodes", what, G_MOST_NODES);
    if (g->code) return kd_fail(e, g->code, "%s: out of memory", what);
    for (bool changed = true; changed;) {
        changed = false;
        for (size_t i = 0; i < g->n; i++)
            if (!g->nodes[i].live && lives(g, &g->nodes[i])) g->nodes[i].live = changed = true;
    }
    if (!g->nodes[g->begin[0]].live) return kd_fail(e, KD_EFORMAT, "%s: no text of finite length fits it", what);
    find_classes(g);
    return g_run_begin(g, e);
}
