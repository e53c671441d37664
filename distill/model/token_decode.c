/* distill/model/token_decode.c - ids to text, whole or as they arrive: one engine for both, so that the pieces joined are the whole. Each decoder
 * stage takes tokens and gives tokens; behind ByteLevel or Fuse there is only one token, which then passes in fragments of whole characters.
 * Leans on token_impl.h. */
#include "distill/model/token_impl.h"

typedef struct {
    kd_buf hold; /* BYTE_LEVEL: a character that is not whole; BYTE_FALLBACK: a run of bytes; others: a token gathered to its end */
    kd_buf work;
    size_t count; /* METASPACE: tokens so far; STRIP of fragments: characters cut so far */
    bool fused;   /* what comes in is one token in fragments */
    bool gather;  /* and this stage needs all of it */
    bool started; /* STRIP of fragments: something else than the character was seen */
} stage;

struct kd_detokenizer {
    const kd_tokenizer *t;
    tok_work *w;
    unsigned flags;
    size_t tokens; /* so far */
    kd_buf *out;
    kd_err *e;
    stage s[TOK_STAGES_MAX];
};

typedef kd_detokenizer detok;
enum { DECODED_MAX = 1 << 26 /* bytes of a token behind a Replace: stages must not multiply without end */ };
#define UNKNOWN "\xef\xbf\xbd"

static kd_code emit(detok *d, size_t k, const char *s, size_t n);

static kd_code add(detok *d, kd_buf *b, const void *p, size_t n) { return kd_buf_append(b, p, n) ? kd_tok_enomem(d->e) : KD_OK; }

/* ---- stages that are fed a token, or where they do not care, a fragment ---- */

static kd_code to_bytes(detok *d, size_t k, const char *s, size_t n) {
    stage *x = &d->s[k];
    bool whole;
    if (kd_tok_unmap(&x->hold, (kd_str){s, n}, &whole)) return kd_tok_enomem(d->e);
    kd_code c = whole ? KD_OK : add(d, &x->hold, s, n); /* a token with other characters stands for its own bytes */
    if (c) return c;
    const size_t partial = kd_utf8_partial(x->hold.data, x->hold.len), sure = x->hold.len - partial;
    if (sure == 0) return KD_OK;
    x->work.len = 0;
    if (kd_utf8_replace(&x->work, x->hold.data, sure)) return kd_tok_enomem(d->e);
    memmove(x->hold.data, x->hold.data + sure, partial);
    x->hold.len = partial;
    return emit(d, k + 1, x->work.data, x->work.len);
}

static int hex(char c) { return c >= '0' && c <= '9' ? c - '0' : (c | 0x20) >= 'a' && (c | 0x20) <= 'f' ? (c | 0x20) - 'a' + 10 : -1; }

/* The byte of "<0x41>", or -1. Rust reads a sign too. */
static int byte_token(const char *s, size_t n) {
    if (n != 6 || memcmp(s, "<0x", 3) != 0 || s[5] != '>') return -1;
    const int low = hex(s[4]), high = s[3] == '+' ? 0 : hex(s[3]);
    return low < 0 || high < 0 ? -1 : high << 4 | low;
}

static kd_code flush_run(detok *d, size_t k) {
    kd_buf *b = &d->s[k].hold;
    const size_t n = b->len;
    kd_code c = KD_OK;
    if (n == 0) return KD_OK;
    b->len = 0;
    if (kd_utf8_valid(b->data, n)) return emit(d, k + 1, b->data, n);
    for (size_t i = 0; i < n && !c; i++) c = emit(d, k + 1, UNKNOWN, 3);
    return c;
}

static kd_code fallback(detok *d, size_t k, const char *s, size_t n) {
    const int b = byte_token(s, n);
    if (b >= 0) {
        const char byte = (char)b;
        return add(d, &d->s[k].hold, &byte, 1);
    }
    const kd_code c = flush_run(d, k);
    return c ? c : emit(d, k + 1, s, n);
}

typedef struct {
    detok *d;
    const tok_dec *p;
    kd_buf *out;
    const char *s;
} replacer;

static kd_code replace_segment(void *ctx, size_t start, size_t end, bool match) {
    replacer *r = ctx;
    if (r->out->len > DECODED_MAX)
        return kd_fail(r->d->e, KD_ELIMIT, "tokenizer: a Replace makes more than %d bytes of a token", DECODED_MAX);
    return add(r->d, r->out, match ? r->p->content.data : r->s + start, match ? r->p->content.len : end - start);
}

static kd_code replace(detok *d, size_t k, const char *s, size_t n) {
    replacer r = {d, &d->t->dec[k], &d->s[k].work, s};
    r.out->len = 0;
    if (r.p->pattern.kind == SM_REGEX && !d->w) {
        const kd_code c = kd_tok_work_get(d->t, &d->w, d->e);
        if (c) return c;
    }
    const kd_code c = kd_tok_segments(d->w, &r.p->pattern, s, n, replace_segment, &r, d->e);
    return c ? c : emit(d, k + 1, r.out->data ? r.out->data : "", r.out->len);
}

static kd_code metaspace(detok *d, size_t k, const char *s, size_t n) {
    stage *x = &d->s[k];
    const tok_dec *p = &d->t->dec[k];
    const bool drop = p->drop_first && (x->fused || x->count == 0);
    x->count++;
    x->work.len = 0;
    kd_code c = add(d, &x->work, "", 0);
    for (size_t i = 0, len; i < n && !c; i += len) {
        (void)tok_cp((const unsigned char *)s + i, &len);
        if (len != p->content.len || memcmp(s + i, p->content.data, len) != 0)
            c = add(d, &x->work, s + i, len);
        else if (!drop)
            c = add(d, &x->work, " ", 1);
    }
    return c ? c : emit(d, k + 1, x->work.data, x->work.len);
}

static bool is_char(kd_str c, const char *s, size_t n) { return n >= c.len && memcmp(s, c.data, c.len) == 0; }

static kd_code strip(detok *d, size_t k, const char *s, size_t n) {
    stage *x = &d->s[k];
    const tok_dec *p = &d->t->dec[k];
    const kd_str c = p->content;
    size_t a = 0, cut = x->fused && !x->gather ? x->count : 0;
    if (x->started) cut = p->start;
    while (cut < p->start && is_char(c, s + a, n - a)) {
        a += c.len;
        cut++;
    }
    x->count = cut;
    if (a < n) x->started = x->fused && !x->gather;
    for (size_t i = 0; i < p->stop && n - a >= c.len && is_char(c, s + n - c.len, c.len); i++) n -= c.len;
    return emit(d, k + 1, s + a, n - a);
}

/* ---- the row ---- */

static kd_code run(detok *d, size_t k, const char *s, size_t n) {
    switch (d->t->dec[k].kind) {
    case DC_BYTE_LEVEL: return to_bytes(d, k, s, n);
    case DC_BYTE_FALLBACK: return fallback(d, k, s, n);
    case DC_REPLACE: return replace(d, k, s, n);
    case DC_FUSE: return emit(d, k + 1, s, n);
    case DC_STRIP: return strip(d, k, s, n);
    case DC_METASPACE: return metaspace(d, k, s, n);
    }
    return KD_OK;
}

static kd_code emit(detok *d, size_t k, const char *s, size_t n) {
    if (k == d->t->decs) return n ? add(d, d->out, s, n) : KD_OK;
    return d->s[k].gather ? add(d, &d->s[k].hold, s, n) : run(d, k, s, n);
}

static kd_code end_stage(detok *d, size_t k) {
    stage *x = &d->s[k];
    kd_code c = KD_OK;
    if (x->gather) { /* now the token is whole */
        kd_buf whole = x->hold;
        x->hold = (kd_buf){0};
        c = run(d, k, whole.data ? whole.data : "", whole.len);
        kd_buf_clear(&whole);
    }
    if (c) return c;
    if (d->t->dec[k].kind == DC_BYTE_FALLBACK) return flush_run(d, k);
    if (d->t->dec[k].kind == DC_BYTE_LEVEL && x->hold.len) {
        x->work.len = 0;
        if (kd_utf8_replace(&x->work, x->hold.data, x->hold.len)) return kd_tok_enomem(d->e);
        x->hold.len = 0;
        return emit(d, k + 1, x->work.data, x->work.len);
    }
    return KD_OK;
}

/* A stage that works character by character may take a fused token in fragments. */
static bool takes_fragments(const tok_dec *p) {
    switch (p->kind) {
    case DC_FUSE:
    case DC_METASPACE: return true;
    case DC_STRIP: return p->stop == 0;
    case DC_REPLACE: return p->pattern.kind == SM_LITERAL && kd_utf8_count(p->pattern.text.data, p->pattern.text.len) == 1;
    default: return false;
    }
}

kd_code kd_detokenizer_new(kd_detokenizer **out, const kd_tokenizer *t, unsigned flags, kd_err *e) {
    detok *d = *out = kd_calloc(1, sizeof *d);
    if (!d) return kd_tok_enomem(e);
    d->t = t;
    d->flags = flags;
    bool fused = false;
    for (size_t k = 0; k < t->decs; k++) {
        d->s[k].fused = fused;
        d->s[k].gather = fused && !takes_fragments(&t->dec[k]);
        fused |= t->dec[k].kind == DC_FUSE || t->dec[k].kind == DC_BYTE_LEVEL;
    }
    return KD_OK;
}

void kd_detokenizer_free(kd_detokenizer *d) {
    if (!d) return;
    for (size_t k = 0; k < TOK_STAGES_MAX; k++) {
        kd_buf_clear(&d->s[k].hold);
        kd_buf_clear(&d->s[k].work);
    }
    if (d->w) kd_tok_work_put(d->t, d->w);
    kd_free(d);
}

kd_code kd_detokenizer_push(kd_detokenizer *d, int32_t id, kd_buf *out, kd_err *e) {
    const kd_tokenizer *t = d->t;
    if (id < 0 || (size_t)id >= t->size) return KD_OK;
    const tok_entry *x = &t->entry[id];
    const kd_str s = x->added.data ? x->shown : x->model;
    if (!s.data || x->type == KD_TOKEN_UNUSED || ((d->flags & KD_TOK_SKIP_SPECIAL) && (x->flags & TF_SKIP))) return KD_OK;
    d->out = out;
    d->e = e;
    if (!t->has_decoder && d->tokens++ > 0) { /* a tokenizer without a decoder puts spaces between its tokens */
        const kd_code c = emit(d, 0, " ", 1);
        if (c) return c;
    }
    return emit(d, 0, s.data, s.len);
}

kd_code kd_detokenizer_end(kd_detokenizer *d, kd_buf *out, kd_err *e) {
    kd_code c = KD_OK;
    d->out = out;
    d->e = e;
    for (size_t k = 0; k < d->t->decs && !c; k++) c = end_stage(d, k);
    for (size_t k = 0; k < d->t->decs; k++) {
        d->s[k].hold.len = d->s[k].count = 0;
        d->s[k].started = false;
    }
    d->tokens = 0;
    return c;
}

kd_code kd_tokenizer_decode(const kd_tokenizer *t, kd_buf *out, const int32_t *ids, size_t n, unsigned flags, kd_err *e) {
    const size_t before = out->len;
    kd_detokenizer *d;
    kd_code c = kd_detokenizer_new(&d, t, flags, e);
    for (size_t i = 0; i < n && !c; i++) c = kd_detokenizer_push(d, ids[i], out, e);
    if (!c) c = kd_detokenizer_end(d, out, e);
    kd_detokenizer_free(d);
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

kd_code kd_tokenizer_piece(const kd_tokenizer *t, int32_t id, kd_buf *out, kd_err *e) {
    if (id < 0 || (size_t)id >= t->size) return KD_OK;
    const tok_entry *x = &t->entry[id];
    const kd_str s = x->added.data ? x->added : x->model;
    bool whole = false;
    if (!s.data) return KD_OK;
    if (t->kind == KD_TOKENIZER_BPE && !x->added.data && kd_tok_unmap(out, s, &whole)) return kd_tok_enomem(e);
    if (whole) return KD_OK;
    const int b = t->kind == KD_TOKENIZER_SPM ? byte_token(s.data, s.len) : -1;
    if (b >= 0) return kd_buf_putc(out, (char)b) ? kd_tok_enomem(e) : KD_OK;
    for (size_t i = 0; i < s.len;) {
        const bool space = t->kind == KD_TOKENIZER_SPM && !x->added.data && s.len - i >= 3 && memcmp(s.data + i, "\xe2\x96\x81", 3) == 0;
        if (space ? kd_buf_putc(out, ' ') : kd_buf_putc(out, s.data[i])) return kd_tok_enomem(e);
        i += space ? 3 : 1;
    }
    return KD_OK;
}
