/* datasets/logprobs.c - see logprobs.h: packing. What is packed is unpacked again before it is believed. */
#include "datasets/logprobs_int.h"

#include "distill/base/gz.h"
#include "distill/base/hash.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { LEVEL = 6 };

/* ---- numbers ---- */
static kd_code put_varint(kd_buf *b, uint64_t v) {
    char s[10];
    size_t n = 0;
    for (; v >= 0x80; v >>= 7) s[n++] = (char)(v | 0x80);
    s[n++] = (char)v;
    return kd_buf_append(b, s, n);
}

static kd_code put_signed(kd_buf *b, int64_t v) { return put_varint(b, (uint64_t)v << 1 ^ (uint64_t)(v >> 63)); }

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
    bool ids, odd; /* odd: the array has what version 2 cannot say */
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
        while (k < KD_LP_MEMBERS && !kd_str_is(kd_json_key(m), kd_lp_names[k])) k++;
        if (k == KD_LP_MEMBERS || n == KD_LP_MEMBERS) return false;
        s[n++] = kd_lp_letters[k];
    }
    s[n] = 0;
    return n > 0 && strchr(s, 't') && strchr(s, 'l');
}

typedef struct {
    size_t word;
    float value;
    int64_t steps; /* rounded: value is so many */
} said;
typedef struct {
    words v;
    kd_buf counts, own, alone, low, high, first, values; /* columns; first: values of tokens that are none of their alternatives */
    char shape[2][KD_LP_MEMBERS + 1];
    bool can[2]; /* every number so far is spelt so */
    double step;
    size_t n, m;
} packing;

/* Word and value of a token or an alternative. */
static kd_code read_said(packing *p, said *x, const kd_json_node *o) {
    const kd_json_node *l = kd_json_get(o, "logprob");
    kd_str text = kd_json_number_text(l);
    double d = kd_json_number(l, 0);
    char s[40];
    *x = (said){.value = (float)d};
    if (!text.data || !isfinite(x->value)) p->v.odd = true;
    if (!p->v.odd && p->step > 0) {
        x->steps = llround(d / p->step);
        x->value = kd_lp_value(x->steps, p->step);
    } else
        for (int style = 0; style < 2 && !p->v.odd; style++)
            if (p->can[style] && (kd_lp_spell(x->value, style, s) != text.len || memcmp(s, text.data, text.len) != 0))
                p->can[style] = false;
    if (!p->can[0] && !p->can[1]) p->v.odd = true;
    return p->v.odd ? KD_OK : number_of(&p->v, o, &x->word);
}

static kd_code put_value(const packing *p, kd_buf *to, const said *x, int64_t before) {
    return p->step > 0 ? put_signed(to, x->steps - before) : kd_buf_append(to, &x->value, sizeof x->value);
}

/* The alternatives into their columns; *own: which of them the token is, from 1. */
static kd_code pack_alternatives(packing *p, const kd_json_node *list, const said *token, size_t *n, size_t *own) {
    char shape[KD_LP_MEMBERS + 1];
    int64_t before = 0;
    kd_code c = KD_OK;
    *n = *own = 0;
    for (const kd_json_node *a = kd_json_first(list); a && !c; a = kd_json_next(a)) {
        said x;
        if (!shape_of(a, shape) || strchr(shape, 'T') || (p->m && strcmp(shape, p->shape[1]) != 0) ||
            (strchr(shape, 'i') != NULL) != p->v.ids)
            p->v.odd = true;
        if (p->v.odd) return KD_OK;
        if (!p->m++) memcpy(p->shape[1], shape, sizeof shape);
        if ((c = read_said(p, &x, a)) || p->v.odd) return c;
        ++*n;
        if (!*own && x.word == token->word && x.value == token->value && signbit(x.value) == signbit(token->value))
            *own = *n; /* 0.0 is not -0.0 */
        c = kd_buf_putc(&p->low, (char)(x.word & 255));
        if (!c) c = put_varint(&p->high, x.word >> 8);
        if (!c) c = put_value(p, &p->values, &x, before);
        before = x.steps;
    }
    return c;
}

static kd_code pack_token(packing *p, const kd_json_node *o) {
    size_t k, own;
    char shape[KD_LP_MEMBERS + 1];
    said x;
    if (!shape_of(o, shape) || (p->n && strcmp(shape, p->shape[0]) != 0)) {
        p->v.odd = true;
        return KD_OK;
    }
    if (!p->n++) {
        memcpy(p->shape[0], shape, sizeof shape);
        p->v.ids = strchr(shape, 'i') != NULL;
    }
    kd_code c = read_said(p, &x, o);
    if (!c && !p->v.odd) c = pack_alternatives(p, kd_json_get(o, "top_logprobs"), &x, &k, &own);
    if (c || p->v.odd) return c;
    c = put_varint(&p->counts, k);
    if (!c) c = put_varint(&p->own, own);
    if (!c && !own && !(c = put_varint(&p->alone, x.word))) c = put_value(p, &p->first, &x, 0);
    return c;
}

static kd_code put_planes(kd_buf *b, const kd_buf *x, const kd_buf *y) {
    kd_code c = KD_OK;
    for (int plane = 3; plane >= 0 && !c; plane--) {
        for (size_t i = (size_t)plane; i < x->len && !c; i += 4) c = kd_buf_putc(b, x->data[i]);
        for (size_t i = (size_t)plane; i < y->len && !c; i += 4) c = kd_buf_putc(b, y->data[i]);
    }
    return c;
}

static kd_code put_words(kd_buf *b, packing *p) {
    kd_code c = kd_buf_printf(b, "%s/%s", p->shape[0], p->shape[1]);
    if (!c) c = kd_buf_putc(b, 0);
    if (!c) c = kd_buf_putc(b, p->step > 0 || !p->can[0] ? 1 : 0);
    if (!c) c = put_varint(b, p->n);
    if (!c) c = put_varint(b, p->v.n);
    if (!c) c = put_varint(b, p->m);
    for (size_t i = 0; i < p->v.n && !c; i++) c = put_word(b, &p->v.w[i], &p->v);
    return c;
}

static kd_code put_columns(kd_buf *b, const kd_buf *const *column, size_t n) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < n && !c; i++)
        if (column[i]->len) c = kd_buf_append(b, column[i]->data, column[i]->len);
    return c;
}

static kd_code put_parts(kd_buf *out, packing *p, kd_err *e) {
    kd_buf plain = {0}, zipped[3] = {{0}};
    const kd_buf *const places[] = {&p->counts, &p->own, &p->alone, &p->low, &p->high}, *const values[] = {&p->first, &p->values};
    float step = (float)p->step;
    kd_code c = KD_OK;
    for (int i = 0; i < 3 && !c; i++) {
        plain.len = 0;
        c = i == 0        ? put_words(&plain, p)
            : i == 1      ? put_columns(&plain, places, 5)
            : p->step > 0 ? put_columns(&plain, values, 2)
                          : put_planes(&plain, &p->first, &p->values);
        if (!c) c = kd_zip(&zipped[i], plain.len ? plain.data : "", plain.len, LEVEL, e);
    }
    if (!c) c = kd_buf_putc(out, KD_LP_PARTS);
    if (!c) c = kd_buf_append(out, &step, sizeof step);
    for (int i = 0; i < 2 && !c; i++) c = put_varint(out, zipped[i].len);
    for (int i = 0; i < 3; i++) {
        if (!c) c = kd_buf_append(out, zipped[i].data, zipped[i].len);
        kd_buf_clear(&zipped[i]);
    }
    kd_buf_clear(&plain);
    return c;
}

/* Whether a says what b does, log-probabilities up to half a step. */
static bool alike(const kd_json_node *a, const kd_json_node *b, double step) {
    kd_json_type t = kd_json_typeof(a);
    if (t != kd_json_typeof(b) || kd_json_count(a) != kd_json_count(b) || !kd_str_eq(kd_json_key(a), kd_json_key(b))) return false;
    if (t == KD_JSON_STRING) return kd_str_eq(kd_json_string(a), kd_json_string(b));
    if (t == KD_JSON_NUMBER) {
        double x = kd_json_number(a, 0), y = kd_json_number(b, 0);
        return kd_str_is(kd_json_key(a), "logprob") ? fabs(x - y) <= step / 2 + 1e-6 * fabs(x) : x == y;
    }
    const kd_json_node *x = kd_json_first(a), *y = kd_json_first(b);
    while (x && y && alike(x, y, step)) x = kd_json_next(x), y = kd_json_next(y);
    return !x && !y;
}

/* Whether packed gives the array back; text: its own. */
static kd_code gives_back(bool *well, kd_str packed, const kd_json_node *array, kd_str text, double step) {
    kd_buf back = {0};
    kd_json *doc = NULL;
    kd_code c = kd_logprobs_unpack(&back, packed, NULL);
    if (!c && step > 0) c = kd_json_parse(&doc, back.data, back.len, "log-probabilities", NULL);
    *well = !c && (step > 0 ? alike(array, kd_json_root(doc), step) : kd_str_eq(kd_buf_view(&back), text));
    kd_json_free(doc);
    kd_buf_clear(&back);
    return c == KD_ENOMEM ? c : KD_OK;
}

static void clear_packing(packing *p) {
    kd_buf *const all[] = {&p->counts, &p->own, &p->alone, &p->low, &p->high, &p->first, &p->values};
    for (int i = 0; i < 7; i++) kd_buf_clear(all[i]);
    kd_free(p->v.w), kd_free(p->v.table);
}

kd_code kd_logprobs_pack(kd_buf *out, const kd_json_node *array, double step, kd_err *e) {
    packing p = {.can = {true, true}, .step = step > 0 ? (double)(float)step : 0};
    kd_buf text = {0};
    bool packed = false;
    size_t before = out->len;
    kd_jsonw w = {.out = &text};
    kd_jsonw_node(&w, array);
    kd_code c = w.code;
    for (const kd_json_node *o = kd_json_first(array); o && !c && !p.v.odd; o = kd_json_next(o)) c = pack_token(&p, o);
    if (!c && !p.v.odd && p.n && !(c = put_parts(out, &p, e)))
        c = gives_back(&packed, (kd_str){out->data + before, out->len - before}, array, kd_buf_view(&text), p.step);
    if (!c && !packed) {
        out->len = before;
        if (!(c = kd_buf_putc(out, KD_LP_TEXT))) c = kd_zip(out, text.data, text.len, LEVEL, e);
    }
    if (c) {
        out->len = before;
        kd_fail(e, c, "log-probabilities: out of memory");
    }
    clear_packing(&p);
    kd_buf_clear(&text);
    return c;
}
