/* distill/base/json.c - reading JSON. cJSON does the parsing; this file makes up for what it loses. Writing is in jsonw.c.
 * Leans on mem.h, utf8.h, hash.h.
 *
 * cJSON takes more than RFC 8259 allows, cuts strings at U+0000 and keeps numbers as doubles only. So the text first passes a strict
 * checker (grammar, UTF-8, depth), which writes it out again in a form that cJSON keeps whole:
 *   a number  12.50    becomes the string  "\x02" "12.50"     - its digits survive
 *   U+0000, U+0001, U+0002 in a string become \x01 and the value + 1 - no byte of it is NUL
 *   \uXXXX escapes become the characters themselves, a lone surrogate U+FFFD
 * and after cJSON a walk undoes that in place. From then on a node of ours is a cJSON node whose fields mean:
 *   type        cJSON's, cJSON_Number for the numbers again (valuestring: their text)
 *   valuedouble strings and numbers: length of valuestring; arrays and objects: how many children
 *   valueint    members: length of the key */
#include "distill/base/json.h"

#include "distill/base/hash.h"
#include "distill/base/utf8.h"

#include <cjson/cJSON.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEPTH = 200, TAG_ESCAPE = 1, TAG_NUMBER = 2 };

struct kd_json {
    cJSON *root;
};

/* ---- the strict checker ---- */

typedef struct {
    const char *s, *end, *at;
    kd_buf out;
    const char *what;
    kd_err *e;
    kd_code code;
} scan;

static kd_code wrong(scan *c, const char *where, const char *expected) {
    size_t line = 1;
    const char *start = c->s;
    for (const char *p = c->s; p < where; p++)
        if (*p == '\n') {
            line++;
            start = p + 1;
        }
    const size_t column = kd_utf8_count(start, (size_t)(where - start)) + 1;
    char found[32] = "the end";
    if (where < c->end) {
        size_t n;
        const int32_t cp = kd_utf8_next(where, (size_t)(c->end - where), &n);
        if (cp < 0) strcpy(found, "a byte that is not UTF-8");
        if (cp >= 0x20 && cp != 0x7f) {
            found[0] = '\'';
            memcpy(found + 1, where, n);
            strcpy(found + 1 + n, "'");
        } else if (cp >= 0) {
            (void)snprintf(found, sizeof found, "U+%04X", (unsigned)cp);
        }
    }
    return c->code = kd_fail(c->e, KD_EFORMAT, "%s: line %zu column %zu: %s expected, found %s", c->what, line, column, expected, found);
}

static void emit(scan *c, const char *p, size_t n) {
    if (!c->code && kd_buf_append(&c->out, p, n)) c->code = kd_fail(c->e, KD_ENOMEM, "%s: no memory to parse it", c->what);
}

static void space(scan *c) {
    while (c->at < c->end && (*c->at == ' ' || *c->at == '\n' || *c->at == '\r' || *c->at == '\t')) c->at++;
}

static int hex4(const char *p, const char *end) {
    int v = 0;
    if (end - p < 4) return -1;
    for (int i = 0; i < 4; i++) {
        const char ch = p[i];
        const int d = ch >= '0' && ch <= '9'   ? ch - '0'
                      : ch >= 'a' && ch <= 'f' ? ch - 'a' + 10
                      : ch >= 'A' && ch <= 'F' ? ch - 'A' + 10
                                               : -1;
        if (d < 0) return -1;
        v = v << 4 | d;
    }
    return v;
}

/* One character into the text for cJSON. */
static void emit_char(scan *c, uint32_t cp) {
    char s[4];
    if (cp <= TAG_NUMBER) {
        s[0] = TAG_ESCAPE;
        s[1] = (char)(cp + 1);
        emit(c, s, 2);
    } else if (cp == '"' || cp == '\\') {
        s[0] = '\\';
        s[1] = (char)cp;
        emit(c, s, 2);
    } else {
        emit(c, s, kd_utf8_put(s, cp));
    }
}

/* An escape; c->at is at the backslash. */
static void escape(scan *c) {
    if (c->end - c->at < 2) {
        (void)wrong(c, c->end, "an escape");
        return;
    }
    const char kind = c->at[1];
    if (kind != 'u') {
        if (!kind || !strchr("\"\\/bfnrt", kind)) {
            (void)wrong(c, c->at + 1, "one of \"\\/bfnrtu after a backslash");
            return;
        }
        emit(c, c->at, 2);
        c->at += 2;
        return;
    }
    int cp = hex4(c->at + 2, c->end);
    if (cp < 0) {
        (void)wrong(c, c->at + 2, "four hexadecimal digits");
        return;
    }
    c->at += 6;
    if (cp >= 0xd800 && cp < 0xdc00) {
        const int low = c->end - c->at >= 6 && c->at[0] == '\\' && c->at[1] == 'u' ? hex4(c->at + 2, c->end) : -1;
        if (low >= 0xdc00 && low < 0xe000) {
            cp = 0x10000 + ((cp - 0xd800) << 10) + (low - 0xdc00);
            c->at += 6;
        } else {
            cp = 0xfffd;
        }
    } else if (cp >= 0xdc00 && cp < 0xe000) {
        cp = 0xfffd;
    }
    emit_char(c, (uint32_t)cp);
}

static void string(scan *c) {
    emit(c, c->at++, 1);
    while (!c->code) {
        const char *p = c->at;
        while (p < c->end && (unsigned char)*p >= 0x20 && *p != '"' && *p != '\\') p++;
        if (!kd_utf8_valid(c->at, (size_t)(p - c->at))) {
            size_t n;
            while (kd_utf8_next(c->at, (size_t)(p - c->at), &n) >= 0) c->at += n;
            (void)wrong(c, c->at, "UTF-8");
            return;
        }
        emit(c, c->at, (size_t)(p - c->at));
        c->at = p;
        if (p == c->end || (unsigned char)*p < 0x20) {
            (void)wrong(c, p, p == c->end ? "the closing quote of a string" : "an escaped control character");
            return;
        }
        if (*p == '"') {
            emit(c, c->at++, 1);
            return;
        }
        escape(c);
    }
}

static bool digits(scan *c) {
    const char *start = c->at;
    while (c->at < c->end && *c->at >= '0' && *c->at <= '9') c->at++;
    if (c->at == start) (void)wrong(c, c->at, "a digit");
    return c->at > start;
}

static void number(scan *c) {
    static const char open[] = {'"', TAG_NUMBER};
    const char *start = c->at;
    if (*c->at == '-') c->at++;
    if (c->at < c->end && *c->at == '0')
        c->at++;
    else if (!digits(c))
        return;
    if (c->at < c->end && *c->at == '.') {
        c->at++;
        if (!digits(c)) return;
    }
    if (c->at < c->end && (*c->at == 'e' || *c->at == 'E')) {
        c->at++;
        if (c->at < c->end && (*c->at == '+' || *c->at == '-')) c->at++;
        if (!digits(c)) return;
    }
    emit(c, open, 2);
    emit(c, start, (size_t)(c->at - start));
    emit(c, "\"", 1);
}

static bool literal(scan *c, const char *word) {
    const size_t n = strlen(word);
    if ((size_t)(c->end - c->at) < n || memcmp(c->at, word, n) != 0) return false;
    emit(c, word, n);
    c->at += n;
    return true;
}

/* A key and its colon. */
static void key(scan *c) {
    if (c->at == c->end || *c->at != '"') {
        (void)wrong(c, c->at, "a key in quotes");
        return;
    }
    string(c);
    if (c->code) return;
    space(c);
    if (c->at == c->end || *c->at != ':')
        (void)wrong(c, c->at, "':'");
    else
        emit(c, c->at++, 1);
    space(c);
}

/* The whole text. stack holds the brackets that are open. */
static void check(scan *c) {
    char stack[DEPTH];
    int depth = 0;
    space(c);
    for (bool value = true; !c->code;) {
        if (value) { /* c->at is where a value must start */
            const char ch = c->at < c->end ? *c->at : '\0';
            if (ch == '{' || ch == '[') {
                if (depth == DEPTH) {
                    (void)wrong(c, c->at, "nesting of at most 200");
                    return;
                }
                stack[depth++] = ch == '{' ? '}' : ']';
                emit(c, c->at++, 1);
                space(c);
                if (c->at < c->end && *c->at == stack[depth - 1])
                    value = false;
                else if (ch == '{')
                    key(c);
                continue;
            }
            if (ch == '"')
                string(c);
            else if (ch == '-' || (ch >= '0' && ch <= '9'))
                number(c);
            else if (!literal(c, "true") && !literal(c, "false") && !literal(c, "null"))
                (void)wrong(c, c->at, "a value");
            value = false;
            continue;
        }
        space(c);
        if (depth == 0) {
            if (c->at < c->end) (void)wrong(c, c->at, "nothing more");
            return;
        }
        if (c->at < c->end && *c->at == stack[depth - 1]) {
            emit(c, c->at++, 1);
            depth--;
        } else if (c->at < c->end && *c->at == ',') {
            emit(c, c->at++, 1);
            space(c);
            if (stack[depth - 1] == '}') key(c);
            value = true;
        } else {
            (void)wrong(c, c->at, stack[depth - 1] == '}' ? "',' or '}'" : "',' or ']'");
        }
    }
}

/* ---- after cJSON ---- */

/* Undoes the escapes of emit_char in place; returns the length. */
static size_t restore(char *s) {
    const char *from = strchr(s, TAG_ESCAPE);
    if (!from) return strlen(s);
    char *to = s + (from - s);
    while (*from) {
        if (*from == TAG_ESCAPE) {
            *to++ = (char)(from[1] - 1);
            from += 2;
        } else {
            *to++ = *from++;
        }
    }
    *to = '\0';
    return (size_t)(to - s);
}

static kd_str key_of(const cJSON *n) { return (kd_str){n->string, (size_t)n->valueint}; }

/* Refuses an object with one key twice. A table of slots by hash; small objects are compared pair by pair. */
static kd_code unique_keys(const cJSON *obj, size_t count, const char *what, kd_err *e) {
    const cJSON *twice = NULL;
    if (count <= 8) {
        for (const cJSON *a = obj->child; a && !twice; a = a->next)
            for (const cJSON *b = obj->child; b != a; b = b->next)
                if (kd_str_eq(key_of(a), key_of(b))) twice = a;
    } else {
        size_t slots = 32;
        while (slots < count * 2) slots *= 2;
        const cJSON **table = kd_calloc(slots, sizeof *table);
        if (!table) return kd_fail(e, KD_ENOMEM, "%s: no memory to parse it", what);
        for (const cJSON *a = obj->child; a && !twice; a = a->next) {
            size_t i = (size_t)kd_hash64(a->string, (size_t)a->valueint, (uint64_t)(uintptr_t)table) & (slots - 1);
            for (; table[i] && !twice; i = (i + 1) & (slots - 1))
                if (kd_str_eq(key_of(a), key_of(table[i]))) twice = a;
            table[i] = a;
        }
        kd_free(table);
    }
    if (!twice) return KD_OK;
    return kd_fail(e, KD_EFORMAT, "%s: the key \"%.*s\" is there twice in one object", what, twice->valueint > 80 ? 80 : twice->valueint,
                   twice->string);
}

static kd_code settle(cJSON *n, const char *what, kd_err *e) {
    if (n->string) {
        const size_t len = restore(n->string);
        if (len > INT_MAX) return kd_fail(e, KD_EFORMAT, "%s: a key of %zu bytes", what, len);
        n->valueint = (int)len;
    }
    if (cJSON_IsString(n)) {
        if (n->valuestring[0] == TAG_NUMBER) {
            const size_t len = strlen(n->valuestring) - 1;
            memmove(n->valuestring, n->valuestring + 1, len + 1);
            n->type = cJSON_Number;
            n->valuedouble = (double)len;
        } else {
            n->valuedouble = (double)restore(n->valuestring);
        }
    } else if (cJSON_IsArray(n) || cJSON_IsObject(n)) {
        size_t count = 0;
        for (cJSON *child = n->child; child; child = child->next, count++) {
            const kd_code c = settle(child, what, e);
            if (c) return c;
        }
        n->valuedouble = (double)count;
        if (cJSON_IsObject(n)) return unique_keys(n, count, what, e);
    }
    return KD_OK;
}

static void use_our_memory(void) {
    cJSON_Hooks hooks = {kd_malloc, kd_free};
    cJSON_InitHooks(&hooks);
}

kd_code kd_json_parse(kd_json **out, const char *text, size_t len, const char *what, kd_err *e) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, use_our_memory);
    *out = NULL;
    if (len == 0) text = "";
    scan c = {.s = text, .end = text + len, .at = text, .what = what, .e = e};
    if (len >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0) c.at += 3; /* a byte order mark is skipped, as RFC 8259 allows */
    kd_json *doc = kd_calloc(1, sizeof *doc);
    if (!doc || kd_buf_reserve(&c.out, len + len / 8)) c.code = kd_fail(e, KD_ENOMEM, "%s: no memory to parse it", what);
    if (!c.code) check(&c);
    if (!c.code && doc) {
        /* What the checker passed is good JSON, so a refusal means that there was no memory. */
        doc->root = cJSON_ParseWithLengthOpts(c.out.data, c.out.len, NULL, 0);
        c.code = doc->root ? settle(doc->root, what, e) : kd_fail(e, KD_ENOMEM, "%s: no memory to parse it", what);
    }
    kd_buf_clear(&c.out);
    if (c.code) {
        kd_json_free(doc);
        return c.code;
    }
    *out = doc;
    return KD_OK;
}

void kd_json_free(kd_json *doc) {
    if (!doc) return;
    cJSON_Delete(doc->root);
    kd_free(doc);
}

/* ---- getters ---- */

static const cJSON *inside(const kd_json_node *n) { return (const cJSON *)n; }
static const kd_json_node *outside(const cJSON *n) { return (const kd_json_node *)n; }

const kd_json_node *kd_json_root(const kd_json *doc) { return doc ? outside(doc->root) : NULL; }

kd_json_type kd_json_typeof(const kd_json_node *n) {
    if (!n) return KD_JSON_ABSENT;
    switch (inside(n)->type & 0xff) {
    case cJSON_NULL: return KD_JSON_NULL;
    case cJSON_False:
    case cJSON_True: return KD_JSON_BOOL;
    case cJSON_Number: return KD_JSON_NUMBER;
    case cJSON_String: return KD_JSON_STRING;
    case cJSON_Array: return KD_JSON_ARRAY;
    default: return KD_JSON_OBJECT;
    }
}

static bool holds_others(const kd_json_node *n) { return n && (cJSON_IsArray(inside(n)) || cJSON_IsObject(inside(n))); }

size_t kd_json_count(const kd_json_node *n) { return holds_others(n) ? (size_t)inside(n)->valuedouble : 0; }

const kd_json_node *kd_json_get(const kd_json_node *obj, const char *key) {
    if (!obj || !cJSON_IsObject(inside(obj))) return NULL;
    for (const cJSON *m = inside(obj)->child; m; m = m->next)
        if (kd_str_is(key_of(m), key)) return outside(m);
    return NULL;
}

const kd_json_node *kd_json_first(const kd_json_node *n) { return holds_others(n) ? outside(inside(n)->child) : NULL; }

const kd_json_node *kd_json_next(const kd_json_node *n) { return n ? outside(inside(n)->next) : NULL; }

kd_str kd_json_key(const kd_json_node *member) { return member && inside(member)->string ? key_of(inside(member)) : (kd_str){NULL, 0}; }

kd_str kd_json_string(const kd_json_node *n) {
    if (kd_json_typeof(n) != KD_JSON_STRING) return (kd_str){NULL, 0};
    return (kd_str){inside(n)->valuestring, (size_t)inside(n)->valuedouble};
}

bool kd_json_bool(const kd_json_node *n, bool otherwise) {
    return kd_json_typeof(n) == KD_JSON_BOOL ? cJSON_IsTrue(inside(n)) != 0 : otherwise;
}

double kd_json_number(const kd_json_node *n, double otherwise) {
    return kd_json_typeof(n) == KD_JSON_NUMBER ? strtod(inside(n)->valuestring, NULL) : otherwise;
}

bool kd_json_int(const kd_json_node *n, int64_t *out) {
    if (kd_json_typeof(n) != KD_JSON_NUMBER) return false;
    const char *s = inside(n)->valuestring;
    if (strpbrk(s, ".eE")) { /* 3.0 and 1e3 are integers too, as far as a double tells them all apart */
        const double v = strtod(s, NULL);
        if (!(v >= -9007199254740992.0 && v <= 9007199254740992.0) || v != (double)(int64_t)v) return false;
        *out = (int64_t)v;
        return true;
    }
    errno = 0;
    const long long v = strtoll(s, NULL, 10);
    if (errno) return false;
    *out = v;
    return true;
}

kd_str kd_json_number_text(const kd_json_node *n) {
    if (kd_json_typeof(n) != KD_JSON_NUMBER) return (kd_str){NULL, 0};
    return (kd_str){inside(n)->valuestring, (size_t)inside(n)->valuedouble};
}
