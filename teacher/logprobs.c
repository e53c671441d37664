/* teacher/logprobs.c - see logprobs.h. What is packed is unpacked again before it is believed. */
#include "teacher/logprobs.h"

#include "distill/base/gz.h"
#include "distill/base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MEMBERS = 5, LEVEL = 6 };
static const size_t TEXT_MOST = (size_t)1 << 30;
static const char *const names[MEMBERS] = {"token", "logprob", "bytes", "id", "top_logprobs"};
static const char letters[] = "tlbiT";

/* ---- numbers ---- */
static kd_code put_varint(kd_buf *b, uint64_t v) {
    char s[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) s[n++] = (char)(v | 0x80);
    s[n++] = (char)v;
    return kd_buf_append(b, s, n);
}

/* The shortest decimal that strtof reads back. */
static size_t float_text(float f, char *s) {
    for (int digits = 1; digits <= 9; digits++) {
        char t[32];
        snprintf(t, sizeof t, "%.*g", digits, (double)f);
        if (strtof(t, NULL) == f) return kd_double_text(strtod(t, NULL), s);
    }
    return kd_double_text((double)f, s);
}

/* The spelling of a value as style says; what JSON writers put for whole numbers differs: ours is "-1.0". */
static size_t spell(float f, int style, char *s) { return style ? float_text(f, s) : kd_double_text((double)f, s); }

/* ---- strings, numbered by first use ---- */
typedef struct {
    kd_str text;
    const kd_json_node *bytes;
    int64_t id;
} word;
typedef struct {
    word *w;
    size_t n, cap;
    uint32_t *table; /* hash -> place + 1 */
    size_t size;
    bool ids, odd; /* odd: the array has what version 1 cannot say */
} words;

static bool same_bytes(const kd_json_node *a, const kd_json_node *b) {
    if (kd_json_typeof(a) != kd_json_typeof(b) || kd_json_count(a) != kd_json_count(b)) return false;
    const kd_json_node *x = kd_json_first(a), *y = kd_json_first(b);
    for (; x && y; x = kd_json_next(x), y = kd_json_next(y))
        if (kd_json_number(x, -1) != kd_json_number(y, -1)) return false;
    return true;
}

static kd_code rehash(words *v) {
    size_t size = v->size ? 2 * v->size : 256;
    uint32_t *t = kd_calloc(size, sizeof *t);
    if (!t) return KD_ENOMEM;
    for (size_t i = 0; i < v->n; i++) {
        size_t at = kd_hash64(v->w[i].text.data, v->w[i].text.len, (uint64_t)v->w[i].id) & (size - 1);
        while (t[at]) at = (at + 1) & (size - 1);
        t[at] = (uint32_t)i + 1;
    }
    kd_free(v->table);
    v->table = t, v->size = size;
    return KD_OK;
}

static kd_code number_of(words *v, const kd_json_node *o, size_t *place) {
    word w = {.text = kd_json_string(kd_json_get(o, "token")), .bytes = kd_json_get(o, "bytes"), .id = -1};
    if (v->ids && (!kd_json_int(kd_json_get(o, "id"), &w.id) || w.id < 0)) v->odd = true;
    if (!w.text.data) v->odd = true, w.text = KD_STR("");
    if (v->n * 2 >= v->size && rehash(v)) return KD_ENOMEM;
    size_t at = kd_hash64(w.text.data, w.text.len, (uint64_t)w.id) & (v->size - 1);
    for (; v->table[at]; at = (at + 1) & (v->size - 1)) {
        const word *u = &v->w[v->table[at] - 1];
        if (u->id == w.id && kd_str_eq(u->text, w.text) && same_bytes(u->bytes, w.bytes)) {
            *place = v->table[at] - 1;
            return KD_OK;
        }
    }
    if (kd_grow((void **)&v->w, &v->cap, v->n + 1, sizeof *v->w)) return KD_ENOMEM;
    v->table[at] = (uint32_t)v->n + 1;
    *place = v->n;
    v->w[v->n++] = w;
    return KD_OK;
}

static kd_code put_word(kd_buf *b, const word *w, words *v) {
    kd_code c = put_varint(b, w->text.len);
    if (!c) c = kd_buf_append(b, w->text.data, w->text.len);
    size_t n = kd_json_count(w->bytes), i = 0;
    bool same = kd_json_typeof(w->bytes) == KD_JSON_ARRAY && n == w->text.len;
    for (const kd_json_node *x = kd_json_first(w->bytes); x; x = kd_json_next(x), i++) {
        double d = kd_json_number(x, -1);
        if (!(d >= 0 && d <= 255 && d == floor(d))) v->odd = true;
        same = same && d == (double)(unsigned char)w->text.data[i];
    }
    int kind = same ? 0 : kd_json_typeof(w->bytes) == KD_JSON_ARRAY ? 2 : 1;
    if (!c) c = kd_buf_putc(b, (char)kind);
    if (!c && kind == 2) {
        c = put_varint(b, n);
        for (const kd_json_node *x = kd_json_first(w->bytes); x && !c; x = kd_json_next(x))
            c = kd_buf_putc(b, (char)(unsigned char)kd_json_number(x, 0));
    }
    return c || !v->ids ? c : put_varint(b, (uint64_t)(w->id < 0 ? 0 : w->id));
}

/* ---- packing ---- */
/* The members of o as letters; false if there are others, or one twice. */
static bool shape_of(const kd_json_node *o, char *s) {
    size_t n = 0;
    for (const kd_json_node *m = kd_json_first(o); m; m = kd_json_next(m)) {
        int k = 0;
        while (k < MEMBERS && !kd_str_is(kd_json_key(m), names[k])) k++;
        if (k == MEMBERS || n == MEMBERS) return false;
        s[n++] = letters[k];
    }
    s[n] = 0;
    return n > 0 && strchr(s, 't') && strchr(s, 'l');
}

typedef struct {
    words v;
    kd_buf which, counts, others, values, more; /* values of tokens; more: of alternatives */
    char shape[2][MEMBERS + 1];
    int style;
    size_t n, m;
} packing;

static void add_value(packing *p, kd_buf *to, const kd_json_node *o, kd_code *c) {
    const kd_json_node *l = kd_json_get(o, "logprob");
    char s[40];
    float f = (float)kd_json_number(l, 0);
    kd_str text = kd_json_number_text(l);
    size_t n = spell(f, p->style, s);
    if (!p->n && !p->m && !to->len && (!text.data || n != text.len || memcmp(s, text.data, n))) { /* the first tells how they are spelt */
        p->style = 1;
        n = spell(f, 1, s);
    }
    if (!text.data || n != text.len || memcmp(s, text.data, n)) p->v.odd = true;
    if (!*c) *c = kd_buf_append(to, &f, sizeof f);
}

static kd_code pack_token(packing *p, const kd_json_node *o) {
    size_t place, k = 0;
    char shape[MEMBERS + 1];
    kd_code c = KD_OK;
    if (!shape_of(o, shape) || (p->n && strcmp(shape, p->shape[0]))) p->v.odd = true;
    if (!p->n) {
        memcpy(p->shape[0], shape, sizeof shape);
        p->v.ids = strchr(shape, 'i') != NULL;
    }
    if (p->v.odd || (c = number_of(&p->v, o, &place)) || (c = put_varint(&p->which, place))) return c;
    add_value(p, &p->values, o, &c);
    p->n++;
    for (const kd_json_node *a = kd_json_first(kd_json_get(o, "top_logprobs")); a && !c && !p->v.odd; a = kd_json_next(a), k++) {
        if (!shape_of(a, shape) || strchr(shape, 'T') || (p->m && strcmp(shape, p->shape[1])) || (strchr(shape, 'i') != NULL) != p->v.ids)
            p->v.odd = true;
        if (!p->m) memcpy(p->shape[1], shape, sizeof shape);
        if (!p->v.odd && !(c = number_of(&p->v, a, &place))) c = put_varint(&p->others, place);
        add_value(p, &p->more, a, &c);
        p->m++;
    }
    return c ? c : put_varint(&p->counts, k);
}

static kd_code put_planes(kd_buf *b, const kd_buf *x, const kd_buf *y) {
    kd_code c = KD_OK;
    for (int plane = 3; plane >= 0 && !c; plane--) {
        for (size_t i = (size_t)plane; i < x->len && !c; i += 4) c = kd_buf_putc(b, x->data[i]);
        for (size_t i = (size_t)plane; i < y->len && !c; i += 4) c = kd_buf_putc(b, y->data[i]);
    }
    return c;
}

static kd_code put_all(kd_buf *b, packing *p) {
    kd_code c = kd_buf_printf(b, "%s/%s", p->shape[0], p->shape[1]);
    if (!c) c = kd_buf_putc(b, 0);
    if (!c) c = kd_buf_putc(b, (char)p->style);
    if (!c) c = put_varint(b, p->n);
    if (!c) c = put_varint(b, p->v.n);
    if (!c) c = put_varint(b, p->m);
    for (size_t i = 0; i < p->v.n && !c; i++) c = put_word(b, &p->v.w[i], &p->v);
    const kd_buf *const parts[] = {&p->which, &p->counts, &p->others};
    for (int i = 0; i < 3 && !c; i++)
        if (parts[i]->len) c = kd_buf_append(b, parts[i]->data, parts[i]->len);
    return c ? c : put_planes(b, &p->values, &p->more);
}

static void clear_packing(packing *p) {
    kd_buf *const all[] = {&p->which, &p->counts, &p->others, &p->values, &p->more};
    for (int i = 0; i < 5; i++) kd_buf_clear(all[i]);
    kd_free(p->v.w), kd_free(p->v.table);
}

static kd_code as_text(kd_buf *out, kd_str json, kd_err *e) {
    kd_code c = kd_buf_putc(out, 0);
    return c ? kd_fail(e, c, "log-probabilities: out of memory") : kd_zip(out, json.data, json.len, LEVEL, e);
}

kd_code kd_logprobs_pack(kd_buf *out, const kd_json_node *array, kd_err *e) {
    packing p = {0};
    kd_buf plain = {0}, text = {0}, back = {0};
    size_t before = out->len;
    kd_jsonw w = {.out = &text};
    kd_jsonw_node(&w, array);
    kd_code c = w.code;
    for (const kd_json_node *o = kd_json_first(array); o && !c && !p.v.odd; o = kd_json_next(o)) c = pack_token(&p, o);
    if (!c && !p.v.odd) c = put_all(&plain, &p);
    if (c) {
        c = kd_fail(e, c, "log-probabilities: out of memory");
    } else if (!p.v.odd && p.n) {
        c = kd_buf_putc(out, 1) ? kd_fail(e, KD_ENOMEM, "log-probabilities: out of memory") : kd_zip(out, plain.data, plain.len, LEVEL, e);
        kd_code u = c ? c : kd_logprobs_unpack(&back, (kd_str){out->data + before, out->len - before}, NULL);
        if (u == KD_ENOMEM) c = u;
        if (!c && (u || !kd_str_eq(kd_buf_view(&back), kd_buf_view(&text)))) {
            out->len = before;
            c = as_text(out, kd_buf_view(&text), e);
        }
    } else
        c = as_text(out, kd_buf_view(&text), e);
    if (c) out->len = before;
    clear_packing(&p);
    kd_buf_clear(&plain), kd_buf_clear(&text), kd_buf_clear(&back);
    return c;
}

/* ---- unpacking ---- */
typedef struct {
    const unsigned char *p, *end;
    bool bad;
} reader;

static uint64_t get_varint(reader *r) {
    uint64_t v = 0;
    for (int shift = 0; shift < 64; shift += 7) {
        if (r->p == r->end) break;
        unsigned char c = *r->p++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (!(c & 0x80)) return v;
    }
    r->bad = true;
    return 0;
}

static kd_str get_bytes(reader *r, uint64_t n) {
    if (r->bad || n > (uint64_t)(r->end - r->p)) {
        r->bad = true;
        return (kd_str){"", 0};
    }
    kd_str s = {(const char *)r->p, (size_t)n};
    r->p += n;
    return s;
}

typedef struct {
    kd_str text, bytes;
    int kind;
    uint64_t id;
} entry;
typedef struct {
    entry *words;
    size_t n, s, m;
    int style;
    uint64_t *which, *counts, *others;
    const unsigned char *values; /* four planes of n + m */
} unpacking;

static void put_entry(kd_jsonw *w, const char *shape, const unpacking *u, uint64_t word_at, size_t value_at) {
    const entry *x = &u->words[word_at];
    size_t all = u->n + u->m;
    unsigned char raw[4];
    float f;
    char s[40];
    for (const char *k = shape; *k; k++) {
        kd_jsonw_key(w, names[strchr(letters, *k) - letters]);
        switch (*k) {
        case 't': kd_jsonw_str(w, x->text); break;
        case 'i': kd_jsonw_int(w, (int64_t)x->id); break;
        case 'l':
            for (size_t i = 0; i < 4; i++) raw[i] = u->values[(3 - i) * all + value_at];
            memcpy(&f, raw, 4);
            kd_jsonw_raw(w, (kd_str){s, isfinite(f) ? spell(f, u->style, s) : (size_t)snprintf(s, sizeof s, "0")});
            break;
        case 'b':
            if (x->kind == 1) {
                kd_jsonw_null(w);
                break;
            }
            kd_jsonw_array(w);
            kd_str b = x->kind == 2 ? x->bytes : x->text;
            for (size_t i = 0; i < b.len; i++) kd_jsonw_int(w, (unsigned char)b.data[i]);
            kd_jsonw_end_array(w);
            break;
        default: return; /* 'T': the caller goes on */
        }
    }
}

/* A token; its members before and behind top_logprobs. */
static void put_token(kd_jsonw *w, const char *shapes[2], const unpacking *u, size_t i, size_t *alt) {
    char part[MEMBERS + 1];
    const char *top = strchr(shapes[0], 'T');
    size_t n = top ? (size_t)(top - shapes[0]) : strlen(shapes[0]);
    memcpy(part, shapes[0], n);
    part[n] = 0;
    kd_jsonw_object(w);
    put_entry(w, part, u, u->which[i], i);
    if (top) {
        kd_jsonw_key(w, "top_logprobs");
        kd_jsonw_array(w);
        for (uint64_t k = 0; k < u->counts[i]; k++, (*alt)++) {
            kd_jsonw_object(w);
            put_entry(w, shapes[1], u, u->others[*alt], u->n + *alt);
            kd_jsonw_end_object(w);
        }
        kd_jsonw_end_array(w);
        put_entry(w, top + 1, u, u->which[i], i);
    }
    kd_jsonw_end_object(w);
}

static bool shape_good(const char *s) {
    for (const char *k = s; *k; k++)
        if (!strchr(letters, *k) || strchr(k + 1, *k)) return false;
    return strlen(s) <= MEMBERS;
}

static kd_code read_words(reader *r, unpacking *u, bool ids) {
    if (u->s > (size_t)(r->end - r->p) || !(u->words = kd_calloc(u->s + 1, sizeof *u->words))) return u->words ? KD_OK : KD_EFORMAT;
    for (size_t i = 0; i < u->s && !r->bad; i++) {
        entry *x = &u->words[i];
        x->text = get_bytes(r, get_varint(r));
        kd_str kind = get_bytes(r, 1);
        x->kind = kind.len ? kind.data[0] : 0;
        if (x->kind < 0 || x->kind > 2) r->bad = true;
        if (x->kind == 2) x->bytes = get_bytes(r, get_varint(r));
        if (ids) x->id = get_varint(r);
    }
    return r->bad ? KD_EFORMAT : KD_OK;
}

static kd_code read_places(reader *r, uint64_t **out, size_t n, uint64_t below) {
    if (n > (size_t)(r->end - r->p)) return KD_EFORMAT;
    if (!(*out = kd_calloc(n + 1, sizeof **out))) return KD_ENOMEM;
    for (size_t i = 0; i < n && !r->bad; i++)
        if (((*out)[i] = get_varint(r)) >= below) r->bad = true;
    return r->bad ? KD_EFORMAT : KD_OK;
}

static kd_code unpack_plain(kd_buf *out, kd_str plain) {
    char shape[2 * MEMBERS + 2] = "";
    unpacking u = {0};
    reader r = {(const unsigned char *)plain.data, (const unsigned char *)plain.data + plain.len, false};
    const char *nul = plain.len ? memchr(plain.data, 0, plain.len) : NULL;
    if (!nul || (size_t)(nul - plain.data) >= sizeof shape) return KD_EFORMAT;
    memcpy(shape, plain.data, (size_t)(nul - plain.data));
    r.p += nul - plain.data + 1;
    char *slash = strchr(shape, '/');
    if (!slash) return KD_EFORMAT;
    *slash = 0;
    const char *shapes[2] = {shape, slash + 1};
    if (!shape_good(shapes[0]) || !shape_good(shapes[1]) || strchr(shapes[1], 'T')) return KD_EFORMAT;
    kd_str style = get_bytes(&r, 1);
    u.style = style.len && style.data[0];
    uint64_t n = get_varint(&r), s = get_varint(&r), m = get_varint(&r), sum = 0;
    if (r.bad || n > plain.len || s > plain.len || m > plain.len) return KD_EFORMAT;
    u.n = (size_t)n, u.s = (size_t)s, u.m = (size_t)m;
    kd_code c = read_words(&r, &u, strchr(shapes[0], 'i') != NULL);
    if (!c) c = read_places(&r, &u.which, u.n, s);
    if (!c) c = read_places(&r, &u.counts, u.n, m + 1);
    if (!c) c = read_places(&r, &u.others, u.m, s);
    for (size_t i = 0; i < u.n && !c; i++) sum += u.counts[i];
    if (!c && (sum != m || (size_t)(r.end - r.p) != 4 * (u.n + u.m))) c = KD_EFORMAT;
    u.values = r.p;
    kd_jsonw w = {.out = out};
    size_t alt = 0, from = out->len;
    if (!c) {
        kd_jsonw_array(&w);
        for (size_t i = 0; i < u.n && !w.code && out->len - from < TEXT_MOST; i++) put_token(&w, shapes, &u, i, &alt);
        kd_jsonw_end_array(&w);
        c = w.code ? w.code : out->len - from >= TEXT_MOST ? KD_EFORMAT : KD_OK;
    }
    kd_free(u.words), kd_free(u.which), kd_free(u.counts), kd_free(u.others);
    return c;
}

kd_code kd_logprobs_unpack(kd_buf *out, kd_str packed, kd_err *e) {
    kd_buf plain = {0};
    size_t before = out->len;
    if (packed.len < 2 || packed.data[0] < 0 || packed.data[0] > 1)
        return kd_fail(e, KD_EFORMAT, "log-probabilities: expected version 0 or 1, found %s", packed.len ? "another" : "nothing");
    if (packed.data[0] == 0) return kd_unzip(out, packed.data + 1, packed.len - 1, TEXT_MOST, e);
    kd_code c = kd_unzip(&plain, packed.data + 1, packed.len - 1, (size_t)256 << 20, e);
    if (!c && (c = unpack_plain(out, kd_buf_view(&plain))))
        kd_fail(e, c, c == KD_ENOMEM ? "log-probabilities: out of memory" : "log-probabilities: damaged");
    if (c) out->len = before;
    kd_buf_clear(&plain);
    return c;
}
