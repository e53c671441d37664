/* distill/engine/grammar_schema.c - JSON schemas into nodes. Every schema becomes a rule, so that references, recursion among them, are calls. Keywords that
 * say nothing about the text (title, description, default ...) are let pass; those that we cannot hold are refused by name and place. */
#include "distill/engine/grammar_json.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

kd_code s_fail(s_compiler *s, kd_code c, const char *fmt, const char *what) {
    char why[200];
    if (s->code) return s->code;
    snprintf(why, sizeof why, fmt, what);
    return s->code = kd_fail(s->e, c, "schema at #%.*s: %s", (int)s->path.len, s->path.data ? s->path.data : "", why);
}

static size_t enter(s_compiler *s, const char *key, kd_str name) {
    size_t was = s->path.len;
    if (!s->code &&
        (kd_buf_printf(&s->path, "/%s%s", key, name.len ? "/" : "") || kd_buf_append(&s->path, name.data ? name.data : "", name.len)))
        s->code = kd_fail(s->e, KD_ENOMEM, "schema: out of memory");
    return was;
}

static void leave(s_compiler *s, size_t was) {
    s->path.len = was;
    if (s->path.data) s->path.data[was] = 0;
}

/* ---- references ---- */

/* The member or element that one step of a JSON pointer names. */
static const kd_json_node *follow(s_compiler *s, const kd_json_node *n, kd_str step, kd_buf *name) {
    name->len = 0;
    for (size_t i = 0; i < step.len; i++) {
        char c = step.data[i];
        if (c == '~' && i + 1 < step.len) c = step.data[++i] == '1' ? '/' : '~';
        if (kd_buf_putc(name, c)) {
            s_fail(s, KD_ENOMEM, "out of %s", "memory");
            return NULL;
        }
    }
    if (kd_json_typeof(n) == KD_JSON_OBJECT) {
        for (const kd_json_node *m = kd_json_first(n); m; m = kd_json_next(m))
            if (kd_str_eq(kd_json_key(m), (kd_str){name->data ? name->data : "", name->len})) return m;
        return NULL;
    }
    char *end;
    if (kd_json_typeof(n) != KD_JSON_ARRAY || !name->len) return NULL;
    unsigned long at = strtoul(name->data, &end, 10);
    if (*end) return NULL;
    const kd_json_node *m = kd_json_first(n);
    while (m && at--) m = kd_json_next(m);
    return m;
}

static uint32_t reference(s_compiler *s, const kd_json_node *ref, uint32_t next) {
    kd_str at = kd_json_string(ref);
    const kd_json_node *n = s->root;
    kd_buf name = {0};
    if (!at.data || !at.len || at.data[0] != '#')
        return s_fail(s, KD_EUNSUPPORTED, "$ref %s: only references within the schema (#/...) are followed", at.data ? at.data : "?");
    size_t i = 1;
    while (n && i < at.len) {
        size_t end = ++i;
        if (at.data[i - 1] != '/') n = NULL;
        while (end < at.len && at.data[end] != '/') end++;
        if (n) n = follow(s, n, (kd_str){at.data + i, end - i}, &name);
        i = end;
    }
    kd_buf_clear(&name);
    if (!n) return s_fail(s, KD_EFORMAT, "$ref %s leads nowhere", at.data);
    return g_call(s->g, s_rule(s, n), next);
}

/* ---- which keywords there are ---- */

static bool among(kd_str k, const char *list) {
    size_t n = k.len;
    for (const char *p = list; (p = strstr(p, k.data)) != NULL; p += n)
        if (n && (p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

static void check_keywords(s_compiler *s, const kd_json_node *n) {
    static const char
        known[] =
            "$ref $defs definitions type enum const anyOf oneOf allOf properties required additionalProperties minProperties maxProperties "
            "items prefixItems additionalItems minItems maxItems pattern minLength maxLength format minimum maximum exclusiveMinimum "
            "exclusiveMaximum nullable",
        silent[] =
            "$schema $id $comment $anchor title description default examples example deprecated readOnly writeOnly strict discriminator "
            "propertyOrdering contentMediaType contentEncoding";
    for (const kd_json_node *m = kd_json_first(n); m && !s->code; m = kd_json_next(m)) {
        kd_str k = kd_json_key(m);
        if (among(k, known) || among(k, silent) || (k.len > 1 && k.data[0] == 'x' && k.data[1] == '-')) continue;
        bool off = kd_json_typeof(m) == KD_JSON_BOOL && !kd_json_bool(m, true);
        if ((kd_str_is(k, "uniqueItems") && off) || (kd_str_is(k, "unevaluatedProperties"))) continue;
        s_fail(s, KD_EUNSUPPORTED, "the keyword \"%s\" cannot be held", k.data);
    }
}

static bool count_of(s_compiler *s, const kd_json_node *n, const char *key, size_t *out) {
    const kd_json_node *m = kd_json_get(n, key);
    double d = kd_json_number(m, -1);
    if (!m) return false;
    if (!(d >= 0 && d <= 1e6 && d == (double)(size_t)d)) s_fail(s, KD_EFORMAT, "%s: expected a count up to 1000000", key);
    *out = d >= 0 && d <= 1e6 ? (size_t)d : 0;
    return true;
}

/* ---- objects ---- */

/* , and white space; or white space alone before the first. */
static uint32_t part(s_compiler *s, bool first, uint32_t next) {
    next = g_call(s->g, s->ws, next);
    return first ? next : g_text(s->g, ",", 1, next);
}

static uint32_t pair(s_compiler *s, uint32_t key, uint32_t value_rule, uint32_t next) {
    next = g_text(s->g, ":", 1, g_call(s->g, s->ws, g_call(s->g, value_rule, next)));
    return g_call(s->g, key, next);
}

/* Any text that is none of these keys (their bytes, sorted, alike up to at), to the end of its quotes. */
static uint32_t other_key(s_compiler *s, const kd_str *keys, size_t n, size_t at, uint32_t next) {
    kd_grammar *g = s->g;
    g_set ascii = {{0}}, lead[3] = {{{0}}};
    bool ends = false, taken[256] = {false}, some[3] = {false}, plain = false;
    uint32_t it = G_NOWHERE;
    for (size_t i = 0, k; i < n; i = k) {
        k = i + 1;
        if (keys[i].len == at) {
            ends = true;
            continue;
        }
        unsigned char c = (unsigned char)keys[i].data[at];
        while (k < n && keys[k].len > at && (unsigned char)keys[k].data[at] == c) k++;
        taken[c] = true;
        it = g_split(g, it, g_range(g, c, c, other_key(s, keys + i, k - i, at + 1, next)));
    }
    if (!ends) it = g_split(g, it, g_text(g, "\"", 1, next));
    if (at && n && keys[0].len >= at && at < keys[0].len && ((unsigned char)keys[0].data[at] & 0xc0) == 0x80)
        return it; /* within a character */
    for (unsigned c = 0x20; c < 0x80; c++)
        if (c != '"' && c != '\\' && !taken[c]) ascii.w[c / 64] |= (uint64_t)1 << (c % 64), plain = true;
    for (unsigned c = 0xc2; c < 0xf4; c++) {
        size_t k = c < 0xe0 ? 0 : c < 0xf0 ? 1 : 2;
        if (!taken[c] && c != 0xe0 && c != 0xed && c != 0xf0) lead[k].w[c / 64] |= (uint64_t)1 << (c % 64), some[k] = true;
    }
    uint32_t rest = g_call(g, s->rest, next), more = rest;
    if (plain) it = g_split(g, it, g_bytes(g, &ascii, rest));
    for (size_t k = 0; k < 3; k++) {
        more = g_range(g, 0x80, 0xbf, more);
        if (some[k]) it = g_split(g, it, g_bytes(g, &lead[k], more));
    }
    return it;
}

static int by_bytes(const void *a, const void *b) {
    const kd_str *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int d = n ? memcmp(x->data, y->data, n) : 0;
    return d ? d : (x->len > y->len) - (x->len < y->len);
}

/* A rule for the keys that the schema does not name. */
static uint32_t free_key(s_compiler *s, const kd_json_node *props) {
    size_t n = kd_json_count(props), i = 0;
    uint32_t rule = g_rule(s->g);
    kd_str *keys = kd_calloc(n + 1, sizeof *keys);
    if (!keys || s->g->code) {
        kd_free(keys);
        s->code = kd_fail(s->e, KD_ENOMEM, "schema: out of memory");
        return G_NONE;
    }
    for (const kd_json_node *m = kd_json_first(props); m; m = kd_json_next(m)) {
        keys[i++] = kd_json_key(m);
        if (keys[i - 1].len > S_LONGEST_KEY) s_fail(s, KD_ELIMIT, "%s: longer than 1000 bytes, beside others that are free", "a name");
    }
    if (s->code) {
        kd_free(keys);
        return G_NONE;
    }
    if (n) qsort(keys, n, sizeof *keys, by_bytes);
    uint32_t begin = g_text(s->g, "\"", 1, n ? other_key(s, keys, n, 0, G_END) : g_call(s->g, s->rest, G_END));
    if (!s->g->code) s->g->rules[rule] = begin;
    kd_free(keys);
    return rule;
}

/* A rule for the text of one key, in quotes. */
static uint32_t named_key(s_compiler *s, kd_str key) {
    uint32_t rule = g_rule(s->g), begin = s_literal_text(s, key, G_END);
    if (!s->g->code && !s->code) s->g->rules[rule] = begin;
    return rule;
}

static bool required(const kd_json_node *n, kd_str key) {
    for (const kd_json_node *m = kd_json_first(kd_json_get(n, "required")); m; m = kd_json_next(m))
        if (kd_str_eq(kd_json_string(m), key)) return true;
    return false;
}

/* Pairs of keys that are not named, least to most of them, then the end; [0]: none has come yet, [1]: some have. */
static void free_pairs(s_compiler *s, const kd_json_node *n, const kd_json_node *extra, size_t least, size_t most, uint32_t end,
                       uint32_t at[2]) {
    kd_grammar *g = s->g;
    uint32_t key = free_key(s, kd_json_get(n, "properties")),
             value = extra && kd_json_typeof(extra) == KD_JSON_OBJECT ? s_rule(s, extra) : s->value;
    if (s->code || g->code) return;
    uint32_t one = g_rule(g), begin = part(s, false, pair(s, key, value, G_END));
    if (g->code) return;
    g->rules[one] = begin;
    uint32_t more = g_times(g, one, least ? least - 1 : 0, most == SIZE_MAX ? most : most ? most - 1 : 0, end);
    uint32_t first = most ? part(s, true, pair(s, key, value, more)) : G_NOWHERE;
    at[0] = least ? first : g_split(g, first, end);
    at[1] = g_times(g, one, least, most, end);
}

static uint32_t object(s_compiler *s, const kd_json_node *n, uint32_t next) {
    kd_grammar *g = s->g;
    const kd_json_node *props = kd_json_get(n, "properties"), *extra = kd_json_get(n, "additionalProperties"), *list[1] = {NULL},
                       **all = NULL;
    size_t count = kd_json_count(props), least = 0, most = SIZE_MAX, i = 0;
    const bool from = count_of(s, n, "minProperties", &least), to = count_of(s, n, "maxProperties", &most), bounded = from || to;
    bool open = extra ? kd_json_typeof(extra) == KD_JSON_OBJECT || kd_json_bool(extra, false) : !props;
    if (props && kd_json_typeof(props) != KD_JSON_OBJECT) return s_fail(s, KD_EFORMAT, "%s: expected an object", "properties");
    if (bounded && count) return s_fail(s, KD_EUNSUPPORTED, "%s beside properties cannot be held", "minProperties or maxProperties");
    for (const kd_json_node *r = kd_json_first(kd_json_get(n, "required")); r; r = kd_json_next(r)) {
        kd_str k = kd_json_string(r);
        if (!k.data) return s_fail(s, KD_EFORMAT, "%s: expected names", "required");
        if (!kd_json_get(props, k.data) && !open) return s_fail(s, KD_EFORMAT, "required names \"%s\", which properties lack", k.data);
        if (!kd_json_get(props, k.data))
            return s_fail(s, KD_EUNSUPPORTED, "required \"%s\", which properties lack, cannot be held", k.data);
    }
    if (!(all = count ? kd_calloc(count, sizeof *all) : list)) return s_fail(s, KD_ENOMEM, "out of %s", "memory");
    for (const kd_json_node *m = kd_json_first(props); m; m = kd_json_next(m)) all[i++] = m;
    uint32_t end = g_call(g, s->ws, g_text(g, "}", 1, next)), at[2] = {end, end};
    if (open) free_pairs(s, n, extra, least, most, end, at);
    while (i-- > 0 && !s->code && !g->code) {
        kd_str name = kd_json_key(all[i]);
        size_t was = enter(s, "properties", name);
        uint32_t key = named_key(s, name), value = s_rule(s, all[i]);
        uint32_t with[2] = {part(s, true, pair(s, key, value, at[1])), part(s, false, pair(s, key, value, at[1]))};
        bool must = required(n, name);
        for (int k = 0; k < 2; k++) at[k] = must ? with[k] : g_split(g, with[k], at[k]);
        leave(s, was);
    }
    if (count) kd_free(all);
    return g_text(g, "{", 1, at[0]);
}

/* ---- arrays ---- */

static uint32_t array(s_compiler *s, const kd_json_node *n, uint32_t next) {
    kd_grammar *g = s->g;
    const kd_json_node *prefix = kd_json_get(n, "prefixItems"), *items = kd_json_get(n, "items");
    if (kd_json_typeof(items) == KD_JSON_ARRAY)
        prefix = items, items = kd_json_get(n, "additionalItems"); /* as drafts before 2020 wrote it */
    size_t least = 0, most = SIZE_MAX, fixed = kd_json_count(prefix), i = 0;
    bool closed = kd_json_typeof(items) == KD_JSON_BOOL && !kd_json_bool(items, true);
    count_of(s, n, "minItems", &least), count_of(s, n, "maxItems", &most);
    if (closed && most > fixed) most = fixed;
    if (most < least) return s_fail(s, KD_EFORMAT, "%s: more than there may be", "minItems");
    if (fixed > 2000) return s_fail(s, KD_ELIMIT, "%s: more than 2000", "prefixItems");
    uint32_t end = g_call(g, s->ws, g_text(g, "]", 1, next)), value = s->value, at, first = G_NOWHERE;
    size_t was = enter(s, "items", (kd_str){0});
    if (kd_json_typeof(items) == KD_JSON_OBJECT) value = s_rule(s, items);
    uint32_t one = g_rule(g), rules[2001];
    for (const kd_json_node *m = kd_json_first(prefix); m && !s->code; m = kd_json_next(m)) rules[i++] = s_rule(s, m);
    leave(s, was);
    if (s->code || g->code) return G_NOWHERE;
    uint32_t begin = part(s, false, g_call(g, value, G_END));
    if (g->code) return G_NOWHERE;
    g->rules[one] = begin;
    /* behind the fixed ones */
    size_t least_more = least > fixed ? least - fixed : 0, most_more = most == SIZE_MAX ? most : most > fixed ? most - fixed : 0;
    if (!fixed) {
        if (!most) return g_text(g, "[", 1, end);
        at = g_times(g, one, least ? least - 1 : 0, most == SIZE_MAX ? most : most - 1, end);
        first = part(s, true, g_call(g, value, at));
        return g_text(g, "[", 1, least ? first : g_split(g, first, end));
    }
    at = g_times(g, one, least_more, most_more, end);
    for (i = fixed; i-- > 0;) { /* at: what may stand once i + 1 are there */
        if (i >= most) continue;
        uint32_t with = part(s, i == 0, g_call(g, rules[i], i + 1 >= most ? end : at));
        at = i >= least ? g_split(g, with, end) : with;
    }
    return g_text(g, "[", 1, at);
}

/* ---- a schema ---- */

static uint32_t any_of(s_compiler *s, const kd_json_node *list, const char *key, uint32_t next) {
    uint32_t at = G_NOWHERE;
    if (kd_json_typeof(list) != KD_JSON_ARRAY || !kd_json_count(list))
        return s_fail(s, KD_EFORMAT, "%s: expected an array that is not empty", key);
    size_t was = enter(s, key, (kd_str){0});
    for (const kd_json_node *m = kd_json_first(list); m && !s->code; m = kd_json_next(m))
        at = g_split(s->g, at, g_call(s->g, s_rule(s, m), next));
    leave(s, was);
    return at;
}

static uint32_t of_type(s_compiler *s, const kd_json_node *n, kd_str type, uint32_t next) {
    if (kd_str_is(type, "object")) return object(s, n, next);
    if (kd_str_is(type, "array")) return array(s, n, next);
    if (kd_str_is(type, "string")) return s_string(s, n, next);
    if (kd_str_is(type, "number") || kd_str_is(type, "integer")) return s_number(s, n, kd_str_is(type, "integer"), next);
    if (kd_str_is(type, "boolean")) return g_split(s->g, g_text(s->g, "true", 4, next), g_text(s->g, "false", 5, next));
    if (kd_str_is(type, "null")) return g_text(s->g, "null", 4, next);
    return s_fail(s, KD_EFORMAT, "type: expected object, array, string, number, integer, boolean or null, found \"%s\"",
                  type.data ? type.data : "?");
}

/* What a schema without a type is about, by its keywords; NULL: anything. */
static const char *implied(const kd_json_node *n) {
    static const char *const by[][2] = {{"properties", "object"},       {"required", "object"},        {"additionalProperties", "object"},
                                        {"minProperties", "object"},    {"maxProperties", "object"},   {"items", "array"},
                                        {"prefixItems", "array"},       {"minItems", "array"},         {"maxItems", "array"},
                                        {"pattern", "string"},          {"minLength", "string"},       {"maxLength", "string"},
                                        {"format", "string"},           {"minimum", "number"},         {"maximum", "number"},
                                        {"exclusiveMinimum", "number"}, {"exclusiveMaximum", "number"}};
    for (size_t i = 0; i < sizeof by / sizeof *by; i++)
        if (kd_json_get(n, by[i][0])) return by[i][1];
    return NULL;
}

static uint32_t typed(s_compiler *s, const kd_json_node *n, uint32_t next) {
    const kd_json_node *type = kd_json_get(n, "type");
    const char *word = implied(n);
    uint32_t at = G_NOWHERE;
    if (!type) return word ? of_type(s, n, kd_str_of(word), next) : g_call(s->g, s->value, next);
    if (kd_json_typeof(type) != KD_JSON_ARRAY) return of_type(s, n, kd_json_string(type), next);
    for (const kd_json_node *m = kd_json_first(type); m && !s->code; m = kd_json_next(m))
        at = g_split(s->g, at, of_type(s, n, kd_json_string(m), next));
    return at;
}

static uint32_t schema(s_compiler *s, const kd_json_node *n, uint32_t next) {
    const kd_json_node *m, *all = kd_json_get(n, "allOf");
    uint32_t at;
    if (kd_json_typeof(n) == KD_JSON_BOOL) return kd_json_bool(n, true) ? g_call(s->g, s->value, next) : G_NOWHERE;
    if (kd_json_typeof(n) != KD_JSON_OBJECT) return s_fail(s, KD_EFORMAT, "expected %s", "an object, true or false");
    check_keywords(s, n);
    if (s->code) return G_NOWHERE;
    bool combined = kd_json_get(n, "$ref") || kd_json_get(n, "anyOf") || kd_json_get(n, "oneOf") || all;
    if (combined && implied(n)) return s_fail(s, KD_EUNSUPPORTED, "%s beside $ref, anyOf, oneOf or allOf cannot be held", implied(n));
    if (all && kd_json_count(all) != 1) return s_fail(s, KD_EUNSUPPORTED, "%s of more than one schema cannot be held", "allOf");
    if ((m = kd_json_get(n, "$ref")))
        at = reference(s, m, next);
    else if ((m = kd_json_get(n, "const")))
        at = s_literal(s, m, next);
    else if ((m = kd_json_get(n, "enum"))) {
        if (!kd_json_count(m)) return s_fail(s, KD_EFORMAT, "%s: nothing in it", "enum");
        at = G_NOWHERE;
        for (const kd_json_node *v = kd_json_first(m); v && !s->code; v = kd_json_next(v)) at = g_split(s->g, at, s_literal(s, v, next));
    } else if ((m = kd_json_get(n, "anyOf")))
        at = any_of(s, m, "anyOf", next);
    else if ((m = kd_json_get(n, "oneOf")))
        at = any_of(s, m, "oneOf", next);
    else if (all)
        at = any_of(s, all, "allOf", next);
    else
        at = typed(s, n, next);
    if (kd_json_bool(kd_json_get(n, "nullable"), false)) at = g_split(s->g, at, g_text(s->g, "null", 4, next));
    return at;
}

uint32_t s_rule(s_compiler *s, const kd_json_node *n) {
    for (size_t i = 0; i < s->known; i++)
        if (s->rules[i].node == n) return s->rules[i].rule;
    if (s->code) return 0;
    if (s->known >= S_MOST_SCHEMAS) return s_fail(s, KD_ELIMIT, "%s", "too many schemas");
    uint32_t rule = g_rule(s->g);
    if (s->g->code || kd_grow((void **)&s->rules, &s->rules_cap, s->known + 1, sizeof *s->rules)) {
        s->code = kd_fail(s->e, KD_ENOMEM, "schema: out of memory");
        return 0;
    }
    s->rules[s->known++] = (s_known){n, rule};
    uint32_t begin = schema(s, n, G_END);
    if (!s->code && !s->g->code) s->g->rules[rule] = begin;
    return rule;
}

static kd_code finish(kd_grammar **out, s_compiler *s, uint32_t rule, kd_err *e) {
    kd_grammar *g = s->g;
    kd_code c = s->code;
    g->begin[0] = g_call(g, rule, G_END);
    g->begin[1] = g_call(g, s->ws, g->begin[0]);
    if (!c) c = g_finish(g, "schema", e);
    kd_buf_clear(&s->path);
    kd_free(s->rules);
    if (c)
        kd_grammar_free(g);
    else
        *out = g;
    return c;
}

kd_code kd_grammar_new_schema(kd_grammar **out, const kd_json_node *node, kd_err *e) {
    s_compiler s = {.root = node, .e = e};
    *out = NULL;
    kd_code c = g_new(&s.g, e);
    if (!c) c = s_basics(&s);
    if (c) {
        kd_grammar_free(s.g);
        return c;
    }
    uint32_t rule = s_rule(&s, node);
    return finish(out, &s, rule, e);
}

kd_code kd_grammar_new_json(kd_grammar **out, bool object_only, kd_err *e) {
    s_compiler s = {.e = e};
    *out = NULL;
    kd_code c = g_new(&s.g, e);
    if (!c) c = s_basics(&s);
    if (c) {
        kd_grammar_free(s.g);
        return c;
    }
    return finish(out, &s, object_only ? s.object : s.value, e);
}
