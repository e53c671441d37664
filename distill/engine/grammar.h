/* distill/engine/grammar.h - forms that an answer can be held to: a JSON schema, or a regular expression. Leans on base/json.h, model/tokenizer.h.
 * A form is compiled to an automaton over bytes with calls (so that it nests), which is made deterministic as it is walked. A state is a number; the
 * tokens that may come in a state are found by walking the vocabulary as a trie of bytes, once a state, and kept.
 * One thread at a time a grammar. Everything that a form from outside can cost is bounded: its nodes, their expansion, states, memory. */
#ifndef KD_ENGINE_GRAMMAR_H
#define KD_ENGINE_GRAMMAR_H

#include "distill/base/json.h"
#include "distill/model/tokenizer.h"

typedef struct kd_grammar kd_grammar;
typedef uint32_t kd_grammar_state;
enum { KD_GRAMMAR_DEAD = 0 }; /* no text goes on like that */

/* A JSON schema (drafts 7 to 2020-12; what OpenAI's structured outputs and pydantic write). Objects hold their properties in the order of the schema, and
 * no others where properties are named and additionalProperties is absent. oneOf is taken for anyOf. schema may go away afterwards.
 * Errors: KD_EUNSUPPORTED names the keyword and its place; KD_EFORMAT a schema that is none; KD_ELIMIT too large; KD_ENOMEM. Then *out = NULL. */
kd_code kd_grammar_new_schema(kd_grammar **out, const kd_json_node *schema, kd_err *e);
/* Any JSON object (response_format json_object), or any JSON value. */
kd_code kd_grammar_new_json(kd_grammar **out, bool object, kd_err *e);
/* The whole text matches pattern (Perl's syntax without what no automaton can do: look-around, back references, word borders). */
kd_code kd_grammar_new_regex(kd_grammar **out, const char *pattern, size_t len, kd_err *e);
void kd_grammar_free(kd_grammar *g);

/* The state before any byte; after_thought: a little white space may come first. */
kd_grammar_state kd_grammar_start(const kd_grammar *g, bool after_thought);
/* *to: behind the n bytes (KD_GRAMMAR_DEAD: they do not fit). Errors: KD_ELIMIT (the form has too many states), KD_ENOMEM. */
kd_code kd_grammar_step(kd_grammar *g, kd_grammar_state from, const char *bytes, size_t n, kd_grammar_state *to, kd_err *e);
bool kd_grammar_accepts(const kd_grammar *g, kd_grammar_state s); /* the text may end here */
bool kd_grammar_ends(const kd_grammar *g, kd_grammar_state s);    /* it must */

/* Around each text that is held to it: when nobody holds it any more, the states that were met are forgotten if they are many. */
void kd_grammar_enter(kd_grammar *g);
void kd_grammar_leave(kd_grammar *g);

/* The vocabulary as a trie of bytes. Control tokens are not in it. */
typedef struct kd_token_trie kd_token_trie;
kd_code kd_token_trie_new(kd_token_trie **out, const kd_tokenizer *tok, size_t V, kd_err *e);
void kd_token_trie_free(kd_token_trie *t);
bool kd_token_trie_strips(const kd_token_trie *t); /* the first token of a text loses its leading space */
/* mask [(V + 63) / 64]: bit i of word i / 64 says whether token i may come in state s. first: it would be the answer's first token, whose leading space
 * the tokenizer takes away where it puts one before every text. Errors: as kd_grammar_step. */
kd_code kd_grammar_mask(kd_grammar *g, const kd_token_trie *t, kd_grammar_state s, bool first, uint64_t *mask, kd_err *e);

/* For reports: states met, masks computed, bytes held. */
typedef struct {
    size_t nodes, states, masks, bytes;
} kd_grammar_size;
kd_grammar_size kd_grammar_sizes(const kd_grammar *g);

#endif
