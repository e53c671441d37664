/* distill/model/token_added.c - finds added tokens in text: leftmost, of those the longest, then what their flags say. Leans on token_impl.h. */
#include "distill/model/token_impl.h"

void kd_tok_trie_clear(tok_trie *t) {
    kd_free(t->node);
    *t = (tok_trie){0};
}

static uint32_t child_of(const tok_trie *t, uint32_t at, unsigned char byte) {
    uint32_t k = t->node[at].child;
    while (k && t->node[k].byte != byte) k = t->node[k].next;
    return k;
}

static kd_code add_node(tok_trie *t, unsigned char byte, uint32_t next, uint32_t *at, kd_err *e) {
    if (kd_grow((void **)&t->node, &t->cap, t->n + 2, sizeof *t->node)) return kd_tok_enomem(e);
    if (t->n == 0) t->node[t->n++] = (tok_node){0}; /* node 0 stands for "none" */
    t->node[t->n] = (tok_node){.byte = byte, .next = next, .id = -1};
    *at = (uint32_t)t->n++;
    return KD_OK;
}

kd_code kd_tok_trie_put(tok_trie *t, kd_str text, int32_t id, kd_err *e) {
    if (text.len == 0) return KD_OK;
    const unsigned char *p = (const unsigned char *)text.data;
    uint32_t at = t->root[p[0]];
    kd_code c = KD_OK;
    if (!at) {
        if ((c = add_node(t, p[0], 0, &at, e))) return c;
        bool other = false;
        for (unsigned b = 0; b < 256; b++) other |= t->root[b] != 0;
        t->one = other ? -1 : p[0];
        t->root[p[0]] = at;
    }
    for (size_t i = 1; i < text.len; i++) {
        uint32_t k = child_of(t, at, p[i]);
        if (!k) {
            if ((c = add_node(t, p[i], t->node[at].child, &k, e))) return c;
            t->node[at].child = k;
        }
        at = k;
    }
    if (t->node[at].id < 0) t->node[at].id = id;
    return KD_OK;
}

/* The next match at or after from: leftmost, then longest. */
static bool find(const tok_trie *t, const unsigned char *s, size_t n, size_t from, size_t *start, size_t *end, int32_t *id) {
    for (size_t i = from; i < n; i++) {
        if (t->one >= 0) {
            const unsigned char *p = memchr(s + i, t->one, n - i);
            if (!p) return false;
            i = (size_t)(p - s);
        }
        uint32_t at = t->root[s[i]];
        int32_t best = -1;
        for (size_t k = i + 1; at; k++) {
            if (t->node[at].id >= 0) {
                best = t->node[at].id;
                *end = k;
            }
            if (k == n) break;
            at = child_of(t, at, s[k]);
        }
        if (best >= 0) {
            *start = i;
            *id = best;
            return true;
        }
    }
    return false;
}

static bool word_before(const char *s, size_t i) {
    size_t len;
    return i > 0 && (kd_tok_class[tok_cp((const unsigned char *)s + tok_back(s, i), &len)] & TC_WORD);
}

static bool word_at(const char *s, size_t n, size_t i) {
    size_t len;
    return i < n && (kd_tok_class[tok_cp((const unsigned char *)s + i, &len)] & TC_WORD);
}

static size_t spaces_before(const char *s, size_t i) {
    while (i > 0) {
        size_t len;
        const size_t k = tok_back(s, i);
        if (!(kd_tok_class[tok_cp((const unsigned char *)s + k, &len)] & TC_SPACE)) break;
        i = k;
    }
    return i;
}

static size_t spaces_after(const char *s, size_t n, size_t i) {
    while (i < n) {
        size_t len;
        if (!(kd_tok_class[tok_cp((const unsigned char *)s + i, &len)] & TC_SPACE)) break;
        i += len;
    }
    return i;
}

kd_code kd_tok_added_split(tok_call *c, const tok_trie *trie, const char *s, size_t n, bool first, tok_between_fn *fn) {
    size_t done = 0, from = 0, start, end;
    int32_t id;
    kd_code rc = KD_OK;
    while (trie->n && find(trie, (const unsigned char *)s, n, from, &start, &end, &id)) {
        const unsigned flags = c->t->entry[id].flags;
        from = end; /* whatever becomes of it, the search goes on behind the text that was found */
        if (c->forbid && (flags & TF_SPECIAL)) continue;
        if ((flags & TF_SINGLE) && (word_before(s, start) || word_at(s, n, end))) continue;
        if (flags & TF_LSTRIP) {
            const size_t left = spaces_before(s, start);
            start = left > done ? left : done;
        }
        if (flags & TF_RSTRIP) end = spaces_after(s, n, end);
        if (done < start && (rc = fn(c, s + done, start - done, first && done == 0))) return rc;
        if (start < end && kd_ids_push(c->out, id)) return kd_tok_enomem(c->e); /* nothing is left of it where an rstrip took it all */
        done = end;
    }
    return done < n ? fn(c, s + done, n - done, first && done == 0) : KD_OK;
}
