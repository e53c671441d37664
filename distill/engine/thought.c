/* distill/engine/thought.c - the thought that an answer begins with: where it is, how long it is, and that it ends. "<think>" opens it, in the prompt
 * or as the first text of the answer; "</think>" closes it. Past max_thinking tokens the closing tag comes whatever the model says. */
#include "distill/engine/engine_seq.h"

#include <string.h>

static const char open_tag[] = "<think>", close_tag[] = "</think>";

static bool blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

/* Whether the answer begins with a thought, as soon as that can be said. */
static void look_for_open(seq *s) {
    size_t at = 0, n = sizeof open_tag - 1;
    while (at < s->text.len && blank(s->text.data[at])) at++;
    size_t have = s->text.len - at;
    if (have && memcmp(s->text.data + at, open_tag, have < n ? have : n) != 0)
        s->thought = THOUGHT_DONE;
    else if (have >= n)
        s->thought = THOUGHT_IN, s->thought_from = at + n;
}

void thought_push(kd_engine *en, seq *s) {
    if (s->forced) s->forced--;
    if (!en->tok || s->thought == THOUGHT_DONE) return;
    if (s->thought == THOUGHT_MAYBE) look_for_open(s);
    if (s->thought == THOUGHT_DONE) {
        s->thought_tokens = 0;
        return;
    }
    s->thought_tokens++;
    if (s->thought != THOUGHT_IN) return;
    const char *end = s->text.len > s->thought_from
                          ? memmem(s->text.data + s->thought_from, s->text.len - s->thought_from, close_tag, sizeof close_tag - 1)
                          : NULL;
    if (end) {
        s->thought = THOUGHT_DONE, s->thought_from = (size_t)(end - s->text.data) + sizeof close_tag - 1;
        return;
    }
    size_t keep = sizeof close_tag - 2;
    if (s->text.len > s->thought_from + keep) s->thought_from = s->text.len - keep;
    if (s->r.max_thinking && s->thought_tokens >= s->r.max_thinking && !s->forced) s->forced = en->close_thought.n;
}

int32_t thought_forced(const kd_engine *en, const seq *s, size_t ahead) {
    return s->forced > ahead ? en->close_thought.id[en->close_thought.n - s->forced + ahead] : -1;
}

size_t thought_cut(const kd_engine *en, const seq *s, size_t guesses) {
    if (s->forced) return 0;
    if (!en->tok || !s->r.max_thinking || s->thought == THOUGHT_DONE) return guesses;
    if (s->thought == THOUGHT_MAYBE || s->thought_tokens >= s->r.max_thinking) return 0;
    size_t left = s->r.max_thinking - s->thought_tokens - 1; /* behind so many the tag would be forced, which no guess knows */
    return guesses < left ? guesses : left;
}
