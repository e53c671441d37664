/* distill/engine/dry.h - DRY ("don't repeat yourself") as llama.cpp defines it: a token that would go on with what has been said before is made less
 * likely, exponentially in the length of the repetition. Leans on model/tokenizer.h.
 *   logit(t) -= multiplier * base ^ (n - allowed_length)   for n >= allowed_length
 * where n is the longest end of the sequence that occurred before with t behind it. No repetition reaches back across a breaker. */
#ifndef KD_ENGINE_DRY_H
#define KD_ENGINE_DRY_H

#include "distill/model/tokenizer.h"

typedef struct kd_dry kd_dry; /* breakers, as tokens; never changed once made, so many sequences share it */

/* A breaker is every token whose text holds one of the strings, and every token that ends with the beginning of one, followed by the tokens of its rest.
 * strings NULL: a line's end, ":", "\"" and "*", as llama.cpp has them. V: the model's; tokens beyond are left out. Errors: KD_EINVAL (an empty
 * string, one of more than 40 bytes, more than 64), KD_ENOMEM. Test: tests/distill/engine/test_penalty.c */
kd_code kd_dry_new(kd_dry **out, const kd_tokenizer *tok, size_t V, const char *const *strings, size_t n, kd_err *e);
void kd_dry_free(kd_dry *d);
/* The same from tokens: sequence i is tokens[at[i]] .. tokens[at[i + 1]), none empty. */
kd_code kd_dry_of_tokens(kd_dry **out, size_t V, const int32_t *tokens, const size_t *at, size_t n, kd_err *e);

bool kd_dry_single(const kd_dry *d, int32_t id); /* this token alone breaks */
/* How many tokens at the end of seen [n] lie behind the last breaker: as far as a repetition may reach. d NULL: n. */
size_t kd_dry_reach(const kd_dry *d, const int32_t *seen, size_t n);

#endif
