/* distill/engine/grammar_int.h - what a form is made of. Private to grammar*.c. Leans on grammar.h.
 *   grammar_build.c  nodes, byte sets, characters as bytes; what is dead
 *   grammar_regex.c  regular expressions into nodes
 *   grammar_schema.c JSON schemas into nodes (grammar_value.c: numbers, strings, literals)
 *   grammar_run.c    states as they are met, masks of tokens
 *   grammar_trie.c   the vocabulary
 * Nodes are built from the end: every maker takes what comes next and gives where it begins. */
#ifndef KD_ENGINE_GRAMMAR_INT_H
#define KD_ENGINE_GRAMMAR_INT_H

#include "distill/engine/grammar.h"

typedef enum { G_FAIL, G_RETURN, G_BYTES, G_SPLIT, G_CALL } g_kind;
typedef struct {
    uint8_t kind;
    bool live;     /* an end can be reached from here */
    uint32_t a, b; /* BYTES: set, next; SPLIT: both ways; CALL: rule, next */
} g_node;
typedef struct {
    uint64_t w[4];
} g_set;
#define G_NONE UINT32_MAX /* over the range of an enumerator */
enum { G_NOWHERE = 0, G_END = 1, G_MOST_NODES = 400000, G_MOST_DEPTH = 128 };

/* A place to return to, and the frames under it; frame 0 is the bottom. */
typedef struct {
    uint32_t node, under, depth, next_same; /* next_same: chain of the hash table */
} g_frame;
/* A set of (node, frame) pairs, sorted: where the text so far may stand. */
typedef struct {
    uint32_t at, n; /* of pairs */
    uint32_t next_same;
    bool accepts, ends;
    uint32_t *go;   /* [classes] states, G_NONE where not known yet; or NULL */
    uint64_t *mask; /* of the trie's tokens; or NULL */
} g_state;

struct kd_grammar {
    g_node *nodes;
    size_t n, cap;
    g_set *sets;
    size_t nsets, sets_cap;
    uint32_t *rules; /* where each begins; G_NOWHERE until it is built */
    size_t nrules, rules_cap;
    kd_code code; /* of building; sticks */
    uint32_t begin[2];
    /* walking */
    uint8_t class_of[256];
    size_t classes;
    uint8_t byte_of[256]; /* one byte of each class */
    g_frame *frames;
    size_t nframes, frames_cap;
    uint32_t *frame_table; /* [table] */
    g_state *states;
    size_t nstates, states_cap;
    uint32_t *state_table;
    uint64_t *pairs;
    size_t npairs, pairs_cap;
    uint64_t *work, *todo;
    size_t work_cap, todo_cap;
    uint64_t *seen; /* pairs of the closure being made, a hash set */
    size_t seen_cap;
    kd_grammar_state start[2];
    const kd_token_trie *masked_for;
    size_t tables, masks, users;
    size_t spent; /* places looked at since the last call from outside */
};

struct kd_token_trie {
    size_t V, n; /* nodes in preorder, the root not among them */
    uint8_t *byte;
    uint32_t *depth, *skip; /* skip: the node behind this one's subtree */
    uint32_t *first;        /* [n + 1] into tokens */
    int32_t *tokens;
    size_t deepest;
    bool strips; /* a text's leading space is taken away */
};

/* grammar_build.c. All give G_NOWHERE once g->code says why. */
kd_code g_new(kd_grammar **out, kd_err *e);
uint32_t g_bytes(kd_grammar *g, const g_set *s, uint32_t next);
uint32_t g_range(kd_grammar *g, unsigned lo, unsigned hi, uint32_t next);
uint32_t g_text(kd_grammar *g, const char *s, size_t n, uint32_t next);
uint32_t g_split(kd_grammar *g, uint32_t a, uint32_t b);
uint32_t g_loop(kd_grammar *g); /* a split whose first way is set later: g->nodes[it].a; its second is b */
uint32_t g_call(kd_grammar *g, uint32_t rule, uint32_t next);
uint32_t g_rule(kd_grammar *g); /* a new one, to be built; G_NONE without memory */
/* rule, from least to most times (most SIZE_MAX: without bound). */
uint32_t g_times(kd_grammar *g, uint32_t rule, size_t least, size_t most, uint32_t next);

typedef struct {
    uint32_t lo, hi;
} g_span;
/* One character of the spans (code points, any order) as UTF-8; json: as it stands within a JSON string, escaped where it must be. */
uint32_t g_char(kd_grammar *g, const g_span *spans, size_t n, bool json, uint32_t next);
/* Built: finds what is dead and the classes of bytes. Errors: g->code, or KD_EFORMAT where no text fits. */
kd_code g_finish(kd_grammar *g, const char *what, kd_err *e);

/* grammar_regex.c. json: within a JSON string. search: the pattern may match anywhere in the text, unless its anchors say otherwise. */
kd_code g_regex(kd_grammar *g, uint32_t *begin, const char *pattern, size_t len, bool json, bool search, uint32_t next, kd_err *e);

/* grammar_run.c */
kd_code g_run_begin(kd_grammar *g, kd_err *e);
void g_run_clear(kd_grammar *g);

#endif
