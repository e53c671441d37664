/* distill/model/token_norm.c - normalizers: text before it is cut. Unicode forms are those of `tokenizers`, which knows Unicode 9 there: what came
 * later has no decomposition, no combining class and composes with nothing. Leans on token_impl.h, base/utf8.h. */
#include "distill/model/token_impl.h"

static bool ascii(const char *s, size_t n) {
    size_t i = 0;
    for (; i + 8 <= n; i += 8) {
        uint64_t v;
        memcpy(&v, s + i, 8);
        if (v & 0x8080808080808080u) return false;
    }
    for (; i < n; i++)
        if ((unsigned char)s[i] >= 0x80) return false;
    return true;
}

static kd_code form(kd_buf *out, const char *s, size_t n, kd_normal_form f, kd_err *e) {
    size_t done = 0;
    kd_code c = KD_OK;
    for (size_t i = 0, len; i < n && !c; i += len) {
        if (!(kd_tok_class[tok_cp((const unsigned char *)s + i, &len)] & TC_NEW)) continue;
        c = kd_utf8_normalize(out, s + done, i - done, f, e);
        if (!c && kd_buf_append(out, s + i, len)) c = kd_tok_enomem(e);
        done = i + len;
    }
    return c ? c : kd_utf8_normalize(out, s + done, n - done, f, e);
}

/* Letters whose lower case is younger than our Unicode, or longer than one letter: Rust's to_lowercase. */
static const struct {
    uint32_t first, last;
    int32_t delta;
} young[] = {{0x1c89, 0x1c89, 1},      {0xa7cb, 0xa7cb, 0x264 - 0xa7cb},
             {0xa7cc, 0xa7cc, 1},      {0xa7ce, 0xa7ce, 1},
             {0xa7d2, 0xa7d2, 1},      {0xa7d4, 0xa7d4, 1},
             {0xa7da, 0xa7da, 1},      {0xa7dc, 0xa7dc, 0x19b - 0xa7dc},
             {0x10d50, 0x10d65, 0x20}, {0x16ea0, 0x16eb8, 27}};

static kd_code lower(kd_buf *out, const char *s, size_t n) {
    if (kd_buf_reserve(out, n + n / 2 + 8)) return KD_ENOMEM;
    for (size_t i = 0, len; i < n; i += len) {
        uint32_t cp = tok_cp((const unsigned char *)s + i, &len);
        char u[4];
        if (cp == 0x130) {
            if (kd_buf_append(out, "i\xcc\x87", 3)) return KD_ENOMEM;
            continue;
        }
        const uint32_t was = cp;
        if (cp >= 0x1c89)
            for (size_t k = 0; k < sizeof young / sizeof *young && was == cp; k++)
                if (cp >= young[k].first && cp <= young[k].last) cp = (uint32_t)((int32_t)cp + young[k].delta);
        if (was == cp) cp = kd_uc_tolower(cp);
        if (kd_buf_append(out, u, kd_utf8_put(u, cp))) return KD_ENOMEM;
    }
    return KD_OK;
}

typedef struct {
    kd_buf *out;
    const char *s;
    kd_str content;
    bool gone; /* the first characters were replaced by nothing */
    tok_work *w;
    kd_err *e;
} replacer;

static kd_code replace_segment(void *ctx, size_t start, size_t end, bool match) {
    replacer *r = ctx;
    if (match && start == 0 && end > 0 && r->content.len == 0) r->gone = true;
    if (r->out->len > r->w->limit) return kd_tok_work_made(r->w, r->out->len, r->e);
    if (kd_buf_append(r->out, match ? r->content.data : r->s + start, match ? r->content.len : end - start)) return kd_tok_enomem(r->e);
    return KD_OK;
}

/* Spaces around; *first = false where some were cut in front. */
static kd_code strip(kd_buf *out, const tok_norm *m, const char *s, size_t n, bool *first) {
    size_t a = 0, b = n, len;
    while (m->left && a < n && (kd_tok_class[tok_cp((const unsigned char *)s + a, &len)] & TC_SPACE)) a += len;
    while (m->right && b > a) {
        const size_t k = tok_back(s, b);
        if (!(kd_tok_class[tok_cp((const unsigned char *)s + k, &len)] & TC_SPACE)) break;
        b = k;
    }
    if (a > 0) *first = false;
    return kd_buf_append(out, s + a, b - a);
}

static kd_code accents(kd_buf *out, const char *s, size_t n, bool *first) {
    const size_t before = out->len;
    for (size_t i = 0, len; i < n; i += len) {
        const unsigned v = kd_tok_class[tok_cp((const unsigned char *)s + i, &len)];
        if ((v & TC_M) && !(v & TC_NEW)) {
            if (out->len == before) *first = false;
            continue;
        }
        if (kd_buf_append(out, s + i, len)) return KD_ENOMEM;
    }
    return KD_OK;
}

static kd_code one(const tok_norm *m, tok_work *w, kd_buf *out, const char *s, size_t n, bool *first, kd_err *e) {
    kd_code c = KD_OK;
    switch (m->kind) {
    case NM_FORM: return form(out, s, n, m->form, e);
    case NM_LOWER: c = lower(out, s, n); break;
    case NM_REPLACE: {
        replacer r = {.out = out, .s = s, .content = m->content, .w = w, .e = e};
        c = kd_tok_segments(w, &m->pattern, s, n, replace_segment, &r, e);
        if (r.gone) *first = false;
        return c;
    }
    case NM_PREPEND:
        if (n && !c) c = kd_buf_append(out, m->content.data, m->content.len);
        if (!c) c = kd_buf_append(out, s, n);
        break;
    case NM_STRIP: c = strip(out, m, s, n, first); break;
    case NM_ACCENTS: c = accents(out, s, n, first); break;
    case NM_BYTE_LEVEL:
        if ((c = kd_buf_reserve(out, 2 * n + 4))) break;
        for (size_t i = 0; i < n; i++) out->len += kd_utf8_put(out->data + out->len, kd_tok_byte_char[(unsigned char)s[i]]);
        out->data[out->len] = '\0';
        break;
    }
    return c ? kd_tok_enomem(e) : KD_OK;
}

kd_code kd_tok_norm_run(const kd_tokenizer *t, tok_work *w, const char **s, size_t *n, bool *first, kd_err *e) {
    int turn = 0;
    for (size_t i = 0; i < t->norms; i++) {
        if (t->norm[i].kind == NM_FORM && ascii(*s, *n)) continue;
        kd_buf *out = &w->norm[turn];
        out->len = 0;
        kd_code c = one(&t->norm[i], w, out, *s, *n, first, e);
        if (!c) c = kd_tok_work_made(w, out->len, e);
        if (c) return c;
        *s = out->data ? out->data : "";
        *n = out->len;
        turn ^= 1;
    }
    return KD_OK;
}
