/* datasets/logprobs_read.c - see logprobs.h: the packed form as JSON again. Everything read is checked: anybody may have made it. */
#include "datasets/logprobs_int.h"

#include "distill/base/gz.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const size_t TEXT_MOST = (size_t)1 << 30, PART_MOST = (size_t)256 << 20;
const char *const kd_lp_names[KD_LP_MEMBERS] = {"token", "logprob", "bytes", "id", "top_logprobs"};
const char kd_lp_letters[KD_LP_MEMBERS + 1] = "tlbiT";

/* The shortest decimal that strtof reads back. */
static size_t float_text(float f, char *s) {
    for (int digits = 1; digits <= 9; digits++) {
        char t[32];
        snprintf(t, sizeof t, "%.*g", digits, (double)f);
        if (strtof(t, NULL) == f) return kd_double_text(strtod(t, NULL), s);
    }
    return kd_double_text((double)f, s);
}

/* What JSON writers put for whole numbers differs: ours is "-1.0". */
size_t kd_lp_spell(float f, int style, char *s) { return style ? float_text(f, s) : kd_double_text((double)f, s); }

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
    char shape[2][KD_LP_MEMBERS + 1];
    entry *words;
    size_t n, s, m;
    int style;
    uint64_t *which, *counts, *others; /* words of tokens; alternatives of each; words of those */
    float *values;                     /* n of tokens, m of alternatives */
} unpacking;

static void put_entry(kd_jsonw *w, const char *shape, const unpacking *u, uint64_t word_at, size_t value_at) {
    const entry *x = &u->words[word_at];
    float f = u->values[value_at];
    char s[40];
    for (const char *k = shape; *k; k++) {
        kd_jsonw_key(w, kd_lp_names[strchr(kd_lp_letters, *k) - kd_lp_letters]);
        switch (*k) {
        case 't': kd_jsonw_str(w, x->text); break;
        case 'i': kd_jsonw_int(w, (int64_t)x->id); break;
        case 'l': kd_jsonw_raw(w, (kd_str){s, isfinite(f) ? kd_lp_spell(f, u->style, s) : (size_t)snprintf(s, sizeof s, "0")}); break;
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
static void put_token(kd_jsonw *w, const unpacking *u, size_t i, size_t *alt) {
    char part[KD_LP_MEMBERS + 1];
    const char *top = strchr(u->shape[0], 'T');
    size_t n = top ? (size_t)(top - u->shape[0]) : strlen(u->shape[0]);
    memcpy(part, u->shape[0], n);
    part[n] = 0;
    kd_jsonw_object(w);
    put_entry(w, part, u, u->which[i], i);
    if (top) {
        kd_jsonw_key(w, "top_logprobs");
        kd_jsonw_array(w);
        for (uint64_t k = 0; k < u->counts[i]; k++, (*alt)++) {
            kd_jsonw_object(w);
            put_entry(w, u->shape[1], u, u->others[*alt], u->n + *alt);
            kd_jsonw_end_object(w);
        }
        kd_jsonw_end_array(w);
        put_entry(w, top + 1, u, u->which[i], i);
    }
    kd_jsonw_end_object(w);
}

static kd_code put_array(kd_buf *out, const unpacking *u) {
    kd_jsonw w = {.out = out};
    size_t alt = 0, from = out->len;
    kd_jsonw_array(&w);
    for (size_t i = 0; i < u->n && !w.code && out->len - from < TEXT_MOST; i++) put_token(&w, u, i, &alt);
    kd_jsonw_end_array(&w);
    return w.code ? w.code : out->len - from >= TEXT_MOST ? KD_EFORMAT : KD_OK;
}

static bool shape_good(const char *s) {
    for (const char *k = s; *k; k++)
        if (!strchr(kd_lp_letters, *k) || strchr(k + 1, *k)) return false;
    return strlen(s) <= KD_LP_MEMBERS;
}

/* The shape, how numbers are spelt, how many there are of everything, and the words. */
static kd_code read_words(reader *r, unpacking *u) {
    const char *from = (const char *)r->p;
    size_t left = (size_t)(r->end - r->p);
    const char *nul = left ? memchr(from, 0, left) : NULL, *slash = nul ? memchr(from, '/', (size_t)(nul - from)) : NULL;
    if (!slash || slash - from > KD_LP_MEMBERS || nul - slash - 1 > KD_LP_MEMBERS) return KD_EFORMAT;
    memcpy(u->shape[0], from, (size_t)(slash - from));
    memcpy(u->shape[1], slash + 1, (size_t)(nul - slash - 1));
    if (!shape_good(u->shape[0]) || !shape_good(u->shape[1]) || strchr(u->shape[1], 'T')) return KD_EFORMAT;
    r->p += nul - from + 1;
    kd_str style = get_bytes(r, 1);
    u->style = style.len && style.data[0];
    uint64_t n = get_varint(r), s = get_varint(r), m = get_varint(r);
    if (r->bad || n > PART_MOST || s > (size_t)(r->end - r->p) || m > PART_MOST) return KD_EFORMAT;
    u->n = (size_t)n, u->s = (size_t)s, u->m = (size_t)m;
    if (!(u->words = kd_calloc(u->s + 1, sizeof *u->words))) return KD_ENOMEM;
    for (size_t i = 0; i < u->s && !r->bad; i++) {
        entry *x = &u->words[i];
        x->text = get_bytes(r, get_varint(r));
        kd_str kind = get_bytes(r, 1);
        x->kind = kind.len ? kind.data[0] : 0;
        if (x->kind < 0 || x->kind > 2) r->bad = true;
        if (x->kind == 2) x->bytes = get_bytes(r, get_varint(r));
        if (strchr(u->shape[0], 'i')) x->id = get_varint(r);
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

/* The counts, which add up to m. */
static kd_code read_counts(reader *r, unpacking *u) {
    uint64_t sum = 0;
    kd_code c = read_places(r, &u->counts, u->n, u->m + 1);
    for (size_t i = 0; i < u->n && !c; i++) sum += u->counts[i];
    return c ? c : sum != u->m ? KD_EFORMAT : KD_OK;
}

/* v = n floats that lie in four planes. */
static kd_code read_planes(reader *r, float *v, size_t n) {
    kd_str s = get_bytes(r, 4 * (uint64_t)n);
    for (size_t i = 0; i < n && !r->bad; i++) {
        unsigned char raw[4];
        for (size_t k = 0; k < 4; k++) raw[k] = (unsigned char)s.data[(3 - k) * n + i];
        memcpy(&v[i], raw, 4);
    }
    return r->bad || r->p != r->end ? KD_EFORMAT : KD_OK;
}

static kd_code read_old(reader *r, unpacking *u) {
    kd_code c = read_words(r, u);
    if (!c) c = read_places(r, &u->which, u->n, u->s);
    if (!c) c = read_counts(r, u);
    if (!c) c = read_places(r, &u->others, u->m, u->s);
    if (!c && u->n + u->m > (size_t)(r->end - r->p) / 4) c = KD_EFORMAT;
    if (!c && !(u->values = kd_malloc((u->n + u->m + 1) * sizeof *u->values))) c = KD_ENOMEM;
    return c ? c : read_planes(r, u->values, u->n + u->m);
}

/* which[i] = which of its alternatives token i is, from 1, or 0: then its word follows. *alone: how many of those there are. */
static kd_code read_parts_places(reader *r, unpacking *u, uint64_t **own, size_t *alone) {
    kd_code c = read_counts(r, u);
    if (!c) c = read_places(r, own, u->n, u->m + 1);
    *alone = 0;
    for (size_t i = 0; i < u->n && !c; i++) {
        if ((*own)[i] > u->counts[i]) c = KD_EFORMAT;
        *alone += !(*own)[i];
    }
    if (!c) c = read_places(r, &u->which, *alone, u->s);
    kd_str low = c ? (kd_str){0} : get_bytes(r, u->m);
    if (!c && r->bad) c = KD_EFORMAT;
    if (!c) c = read_places(r, &u->others, u->m, u->s / 256 + 1);
    for (size_t i = 0; i < u->m && !c; i++)
        if ((u->others[i] = u->others[i] << 8 | (unsigned char)low.data[i]) >= u->s) c = KD_EFORMAT;
    return c ? c : r->p != r->end ? KD_EFORMAT : KD_OK;
}

static int64_t get_signed(reader *r) {
    uint64_t z = get_varint(r);
    return (int64_t)(z >> 1) ^ -(int64_t)(z & 1);
}

static kd_code read_rounded(reader *r, const unpacking *u, float *v, size_t alone, double step) {
    static const int64_t most = (int64_t)1 << 53;
    size_t at = alone;
    for (size_t i = 0; i < alone && !r->bad; i++) v[i] = kd_lp_value(get_signed(r), step);
    for (size_t i = 0; i < u->n && !r->bad; i++) {
        int64_t k = 0;
        for (uint64_t a = 0; a < u->counts[i] && !r->bad; a++) {
            int64_t d = get_signed(r);
            if (d < -most || d > most || k + d < -most || k + d > most)
                r->bad = true;
            else
                v[at++] = kd_lp_value(k += d, step);
        }
    }
    return r->bad || r->p != r->end ? KD_EFORMAT : KD_OK;
}

/* Words and values of all tokens, from those that are none of their alternatives, and from the alternatives. */
static kd_code spread(unpacking *u, const uint64_t *own, const float *v, size_t alone) {
    uint64_t *which = kd_malloc((u->n + 1) * sizeof *which);
    u->values = kd_malloc((u->n + u->m + 1) * sizeof *u->values);
    if (!which || !u->values) {
        kd_free(which);
        return KD_ENOMEM;
    }
    for (size_t i = 0, k = 0, at = 0; i < u->n; at += (size_t)u->counts[i++]) {
        which[i] = own[i] ? u->others[at + own[i] - 1] : u->which[k];
        u->values[i] = own[i] ? v[alone + at + own[i] - 1] : v[k];
        k += !own[i];
    }
    memcpy(u->values + u->n, v + alone, u->m * sizeof *v);
    kd_free(u->which);
    u->which = which;
    return KD_OK;
}

static kd_code read_parts(unpacking *u, const kd_buf part[3], double step) {
    reader r[3];
    uint64_t *own = NULL;
    size_t alone = 0;
    for (int i = 0; i < 3; i++)
        r[i] = (reader){(const unsigned char *)part[i].data, (const unsigned char *)part[i].data + part[i].len, false};
    kd_code c = read_words(&r[0], u);
    if (!c && r[0].p != r[0].end) c = KD_EFORMAT;
    if (!c) c = read_parts_places(&r[1], u, &own, &alone);
    if (!c && alone + u->m > part[2].len) c = KD_EFORMAT; /* a byte each at least */
    float *v = c ? NULL : kd_malloc((alone + u->m + 1) * sizeof *v);
    if (!c && !v) c = KD_ENOMEM;
    if (!c) c = step > 0 ? read_rounded(&r[2], u, v, alone, step) : read_planes(&r[2], v, alone + u->m);
    if (!c) c = spread(u, own, v, alone);
    kd_free(own), kd_free(v);
    return c;
}

/* The three parts, unzipped. */
static kd_code get_parts(kd_buf part[3], double *step, kd_str packed, kd_err *e) {
    reader r = {(const unsigned char *)packed.data + 1, (const unsigned char *)packed.data + packed.len, false};
    kd_str s = get_bytes(&r, 4);
    float f = 0;
    if (s.len == 4) memcpy(&f, s.data, 4);
    uint64_t n[3] = {get_varint(&r), get_varint(&r)};
    n[2] = (uint64_t)(r.end - r.p) - n[0] - n[1];
    if (r.bad || !(f >= 0 && f <= 1) || n[0] > (uint64_t)(r.end - r.p) || n[1] > (uint64_t)(r.end - r.p) - n[0])
        return kd_fail(e, KD_EFORMAT, "log-probabilities: damaged");
    *step = (double)f;
    kd_code c = KD_OK;
    for (int i = 0; i < 3 && !c; i++) {
        s = get_bytes(&r, n[i]);
        c = kd_unzip(&part[i], s.data, s.len, PART_MOST, e);
    }
    return c;
}

kd_code kd_logprobs_unpack(kd_buf *out, kd_str packed, kd_err *e) {
    kd_buf part[3] = {{0}};
    unpacking u = {0};
    double step = 0;
    size_t before = out->len;
    if (packed.len < 2 || packed.data[0] < KD_LP_TEXT || packed.data[0] > KD_LP_PARTS)
        return kd_fail(e, KD_EFORMAT, "log-probabilities: expected version 0, 1 or 2, found %s", packed.len ? "another" : "nothing");
    if (packed.data[0] == KD_LP_TEXT) return kd_unzip(out, packed.data + 1, packed.len - 1, TEXT_MOST, e);
    bool old = packed.data[0] == KD_LP_OLD;
    kd_code c = old ? kd_unzip(part, packed.data + 1, packed.len - 1, PART_MOST, e) : get_parts(part, &step, packed, e);
    if (!c) {
        reader r = {(const unsigned char *)part->data, (const unsigned char *)part->data + part->len, false};
        c = old ? read_old(&r, &u) : read_parts(&u, part, step);
        if (!c) c = put_array(out, &u);
        if (c) kd_fail(e, c, c == KD_ENOMEM ? "log-probabilities: out of memory" : "log-probabilities: damaged");
    }
    if (c) out->len = before;
    kd_free(u.words), kd_free(u.which), kd_free(u.counts), kd_free(u.others), kd_free(u.values);
    for (int i = 0; i < 3; i++) kd_buf_clear(&part[i]);
    return c;
}
