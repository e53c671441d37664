/* distill/model/token_split.c - pre-tokenizers: what cuts normalized text into words. Each stage hands its pieces to the next, the last to the
 * merges, so no list of pieces is ever kept. Leans on token_impl.h. */
#include "distill/model/token_impl.h"

typedef struct {
    tok_call *c;
    const tok_pre *p;
    size_t stage;
    const char *s;
    bool first;
    /* the piece being gathered */
    size_t start, end;
    bool open, was_match;
} splitter;

static kd_code give(splitter *x, size_t start, size_t end) {
    return start < end ? kd_tok_pre(x->c, x->stage + 1, x->s + start, end - start, x->first && start == 0) : KD_OK;
}

static kd_code flush(splitter *x) {
    const bool open = x->open;
    x->open = false;
    return open ? give(x, x->start, x->end) : KD_OK;
}

static kd_code segment(void *ctx, size_t start, size_t end, bool match) {
    splitter *x = ctx;
    match ^= x->p->invert;
    const bool was = x->was_match;
    bool join = false;
    x->was_match = match;
    switch (x->p->behavior) {
    case SB_ISOLATED: return give(x, start, end);
    case SB_REMOVED: return match ? KD_OK : give(x, start, end);
    case SB_CONTIGUOUS: join = match == was; break;
    case SB_PREVIOUS: join = match && !was; break;
    case SB_NEXT: join = !match && was; break;
    }
    if (!join || !x->open) {
        const kd_code c = flush(x);
        if (c) return c;
        x->start = start;
    }
    x->end = end;
    x->open = true;
    return KD_OK;
}

static kd_code split(tok_call *c, size_t stage, const tok_pattern *pattern, const char *s, size_t n, bool first) {
    splitter x = {.c = c, .p = &c->t->pre[stage], .stage = stage, .s = s, .first = first};
    if (pattern->kind == SM_SCAN && x.p->behavior == SB_ISOLATED) { /* what most models do, without ceremony */
        kd_code rc = KD_OK;
        size_t done = 0;
        for (size_t i = 0, end; i < n && !rc;) {
            if (pattern->scan((const unsigned char *)s, n, i, &end)) {
                if (done < i) rc = give(&x, done, i);
                if (!rc) rc = give(&x, i, end);
                done = i = end;
                continue;
            }
            size_t len;
            (void)tok_cp((const unsigned char *)s + i, &len);
            i = end > i + len ? end : i + len;
        }
        return !rc && done < n ? give(&x, done, n) : rc;
    }
    const kd_code rc = kd_tok_segments(c->w, pattern, s, n, segment, &x, c->e);
    return rc ? rc : flush(&x);
}

/* The text that a stage has written, to the next. */
static kd_code made(tok_call *c, size_t stage, const kd_buf *b, bool first) {
    const kd_code rc = kd_tok_work_made(c->w, b->len, c->e);
    return rc ? rc : kd_tok_pre(c, stage + 1, b->data, b->len, first);
}

/* The byte-level alphabet for each byte; words of raw mode stay bytes. */
static kd_code map_bytes(tok_call *c, size_t stage, const char *s, size_t n, bool first) {
    if (c->t->raw) return kd_tok_word(c, s, n);
    kd_buf *b = &c->w->level[stage];
    b->len = 0;
    if (kd_buf_reserve(b, 2 * n + 4)) return kd_tok_enomem(c->e);
    for (size_t i = 0; i < n; i++) b->len += kd_utf8_put(b->data + b->len, kd_tok_byte_char[(unsigned char)s[i]]);
    return made(c, stage, b, first);
}

static kd_code prefix_space(tok_call *c, size_t stage, const char *s, size_t n, bool first) {
    if (s[0] == ' ') return kd_tok_pre(c, stage + 1, s, n, first);
    kd_buf *b = &c->w->level[stage];
    b->len = 0;
    if (kd_buf_putc(b, ' ') || kd_buf_append(b, s, n)) return kd_tok_enomem(c->e);
    return made(c, stage, b, first);
}

static kd_code metaspace(tok_call *c, size_t stage, const char *s, size_t n, bool first) {
    const tok_pre *p = &c->t->pre[stage];
    const kd_str r = p->replacement;
    kd_buf *b = &c->w->level[stage];
    b->len = 0;
    const bool has = s[0] == ' ' || (n >= r.len && memcmp(s, r.data, r.len) == 0);
    if (!has && (p->scheme == MS_ALWAYS || (p->scheme == MS_FIRST && first)) && kd_buf_append(b, r.data, r.len)) return kd_tok_enomem(c->e);
    for (size_t i = 0; i < n;) {
        const char *at = memchr(s + i, ' ', n - i);
        const size_t end = at ? (size_t)(at - s) : n;
        if (kd_buf_append(b, s + i, end - i) || (at && kd_buf_append(b, r.data, r.len))) return kd_tok_enomem(c->e);
        i = end + (at != NULL);
    }
    return made(c, stage, b, first);
}

kd_code kd_tok_pre(tok_call *c, size_t stage, const char *s, size_t n, bool first) {
    if (n == 0) return KD_OK;
    if (stage == c->t->pres) return kd_tok_word(c, s, n);
    const tok_pre *p = &c->t->pre[stage];
    switch (p->kind) {
    case ST_SPLIT: return split(c, stage, &p->pattern, s, n, first);
    case ST_PREFIX_SPACE: return prefix_space(c, stage, s, n, first);
    case ST_MAP_BYTES: return map_bytes(c, stage, s, n, first);
    case ST_METASPACE: return metaspace(c, stage, s, n, first);
    }
    return KD_OK;
}
