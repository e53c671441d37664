/* distill/cli/serve_think.c - a thought split off while it streams. "<think>" at the beginning opens it (or the prompt has), "</think>" closes it; what may
 * be part of a tag, and white space that may turn out to be at a border, waits. */
#include "distill/cli/serve.h"

#include <string.h>

static bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* How many bytes at the end of s may be the beginning of tag. */
static size_t maybe_tag(kd_str s, const char *tag) {
    size_t n = strlen(tag) - 1;
    if (n > s.len) n = s.len;
    while (n && memcmp(s.data + s.len - n, tag, n) != 0) n--;
    return n;
}

static void eat(kd_buf *b, size_t n) {
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
}

static void eat_blank(kd_buf *b) {
    size_t n = 0;
    while (n < b->len && blank(b->data[n])) n++;
    if (n) eat(b, n);
}

/* Whether it begins with a thought; THINK_MAYBE while that is open. */
static void begin(thinker *t, bool last) {
    size_t lead = 0, tag = strlen("<think>");
    while (lead < t->held.len && blank(t->held.data[lead])) lead++;
    size_t have = t->held.len - lead;
    bool alike = have && memcmp(t->held.data + lead, "<think>", have < tag ? have : tag) == 0;
    if (alike && have >= tag) {
        eat(&t->held, lead + tag);
        t->at = THINK_IN;
    } else if (last || (have && !alike)) {
        t->at = THINK_OUT;
    }
}

/* The thought goes on. */
static kd_code inside(thinker *t, bool last, kd_buf *thought) {
    char *end = t->held.len ? memmem(t->held.data, t->held.len, "</think>", 8) : NULL;
    size_t n = end    ? (size_t)(end - t->held.data)
               : last ? t->held.len
                      : t->held.len - maybe_tag(kd_buf_view(&t->held), "</think>"),
           all = n;
    while (n && blank(t->held.data[n - 1])) n--; /* only what stands before more of it is its own */
    kd_code c = n ? kd_buf_append(thought, t->held.data, n) : KD_OK;
    if (c) return c;
    if (end) {
        eat(&t->held, all + 8);
        t->at = THINK_SKIP;
    } else if (n) {
        eat(&t->held, n);
    }
    return KD_OK;
}

kd_code think_push(thinker *t, kd_str piece, bool last, kd_buf *thought, kd_buf *answer) {
    kd_code c = piece.len ? kd_buf_append(&t->held, piece.data, piece.len) : KD_OK;
    if (!c && t->at == THINK_MAYBE && (t->held.len || last)) begin(t, last);
    if (!c && t->at == THINK_IN && t->held.len) {
        if (!t->begun) eat_blank(&t->held);
        size_t before = thought->len;
        c = inside(t, last, thought);
        t->begun |= thought->len > before;
    }
    if (!c && t->at == THINK_SKIP) {
        eat_blank(&t->held);
        if (t->held.len) t->at = THINK_OUT;
    }
    if (!c && t->at == THINK_OUT && t->held.len) {
        c = kd_buf_append(answer, t->held.data, t->held.len);
        t->held.len = 0;
    }
    return c;
}
