/* distill/engine/grammar_trie.c - the vocabulary as a trie of bytes, its nodes in preorder: one pass over an array walks it, and skips what does not fit. */
#include "distill/engine/grammar_int.h"

#include <stdlib.h>
#include <string.h>

typedef struct {
    const char *text;
    uint32_t n;
    int32_t id;
} word;

static int by_text(const void *a, const void *b) {
    const word *x = a, *y = b;
    size_t n = x->n < y->n ? x->n : y->n;
    int d = n ? memcmp(x->text, y->text, n) : 0;
    return d ? d : x->n != y->n ? (x->n > y->n) - (x->n < y->n) : (x->id > y->id) - (x->id < y->id);
}

void kd_token_trie_free(kd_token_trie *t) {
    if (!t) return;
    kd_free(t->byte);
    kd_free(t->depth);
    kd_free(t->skip);
    kd_free(t->first);
    kd_free(t->tokens);
    kd_free(t);
}

/* Words of every token that spells something, their text in *text; *n of them. */
static kd_code words_of(word *w, size_t *n, kd_buf *text, const kd_tokenizer *tok, size_t V, kd_err *e) {
    size_t size = kd_tokenizer_size(tok), from;
    kd_code c = KD_OK;
    *n = 0;
    for (size_t i = 0; i < size && i < V && !c; i++) {
        kd_token t = kd_tokenizer_token(tok, (int32_t)i);
        bool spells = t.type == KD_TOKEN_NORMAL || t.type == KD_TOKEN_BYTE || t.type == KD_TOKEN_USER;
        if (!spells || t.special || kd_tokenizer_is_eog(tok, (int32_t)i)) continue;
        from = text->len;
        c = kd_tokenizer_piece(tok, (int32_t)i, text, e);
        if (!c && text->len > from && text->len - from < 1024)
            w[(*n)++] = (word){NULL, (uint32_t)(text->len - from), (int32_t)i};
        else if (!c)
            text->len = from;
    }
    from = 0;
    for (size_t i = 0; i < *n && !c; i++) w[i].text = text->data + from, from += w[i].n;
    if (!c && *n) qsort(w, *n, sizeof *w, by_text);
    return c;
}

/* Sorted words give the trie in preorder; path[d]: the node of depth d that is open. */
static void build(kd_token_trie *t, const word *w, size_t n, uint32_t *path) {
    size_t open = 0, tokens = 0;
    for (size_t i = 0; i < n; i++) {
        size_t same = 0;
        if (i)
            while (same < w[i].n && same < w[i - 1].n && w[i].text[same] == w[i - 1].text[same]) same++;
        while (open > same) t->skip[path[open--]] = (uint32_t)t->n;
        while (open < w[i].n) {
            t->byte[t->n] = (uint8_t)w[i].text[open];
            t->first[t->n] = (uint32_t)tokens;
            path[++open] = (uint32_t)t->n;
            t->depth[t->n++] = (uint32_t)open;
        }
        if (open > t->deepest) t->deepest = open;
        t->tokens[tokens++] = w[i].id;
    }
    while (open > 0) t->skip[path[open--]] = (uint32_t)t->n;
    t->first[t->n] = (uint32_t)tokens;
}

/* Whether a text's first token loses its leading space when it is decoded. */
static kd_code find_strips(kd_token_trie *t, const word *w, size_t n, const kd_tokenizer *tok, kd_err *e) {
    for (size_t i = 0; i < n; i++) {
        kd_buf b = {0};
        if (w[i].n < 2 || w[i].text[0] != ' ' || w[i].text[1] <= ' ') continue;
        kd_code c = kd_tokenizer_decode(tok, &b, &w[i].id, 1, 0, e);
        t->strips = !c && b.len && b.data[0] != ' ';
        kd_buf_clear(&b);
        return c;
    }
    return KD_OK;
}

kd_code kd_token_trie_new(kd_token_trie **out, const kd_tokenizer *tok, size_t V, kd_err *e) {
    kd_buf text = {0};
    size_t n = 0, bytes = 0;
    uint32_t *path = kd_calloc(1025, sizeof *path);
    word *w = kd_calloc(V + 1, sizeof *w);
    kd_token_trie *t = *out = kd_calloc(1, sizeof *t);
    kd_code c = t && w && path ? words_of(w, &n, &text, tok, V, e) : KD_ENOMEM;
    if (!c) {
        for (size_t i = 0; i < n; i++) bytes += w[i].n;
        t->V = V;
        t->byte = kd_malloc(bytes + 1);
        t->depth = kd_malloc((bytes + 1) * sizeof *t->depth);
        t->skip = kd_malloc((bytes + 1) * sizeof *t->skip);
        t->first = kd_malloc((bytes + 1) * sizeof *t->first);
        t->tokens = kd_malloc((n + 1) * sizeof *t->tokens);
        c = t->byte && t->depth && t->skip && t->first && t->tokens ? KD_OK : KD_ENOMEM;
    }
    if (!c) build(t, w, n, path), c = find_strips(t, w, n, tok, e);
    kd_buf_clear(&text);
    kd_free(w);
    kd_free(path);
    if (c) {
        kd_token_trie_free(t);
        *out = NULL;
    }
    return c == KD_ENOMEM ? kd_fail(e, c, "grammar: no memory for a vocabulary of %zu", V) : c;
}

bool kd_token_trie_strips(const kd_token_trie *t) { return t->strips; }
