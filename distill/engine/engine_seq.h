/* distill/engine/engine_seq.h - what an engine and its sequences are made of. Private to distill/engine. Leans on engine.h, loop.h. */
#ifndef KD_ENGINE_SEQ_H
#define KD_ENGINE_SEQ_H

#include "distill/engine/engine.h"
#include "distill/engine/loop.h"

typedef struct seq {
    uint64_t id;
    kd_request r; /* its arrays and strings are copies of ours, in arena */
    kd_arena arena;
    kd_ids ids;    /* prompt, then what was generated */
    size_t limit;  /* ids at most */
    kd_kv *kv;     /* NULL while waiting */
    size_t shared; /* prompt positions taken from others at first admission */
    bool admitted, cancelled;
    kd_detokenizer *detok; /* NULL without text */
    kd_buf text;
    size_t sent, longest_stop;
    kd_loop loop;
    enum { THOUGHT_MAYBE, THOUGHT_IN, THOUGHT_DONE } thought;
    size_t thought_from, thought_tokens;             /* where in text to look for its tags */
    enum { FORM_NONE, FORM_WAITS, FORM_HOLDS } form; /* waits: for the thought's end */
    kd_grammar_state form_at;                        /* behind all that was drawn */
    size_t forced;                                   /* of en->close_thought, so many tokens are still to come, whatever the model says */
    size_t ndraft, match; /* tokens behind ids.n in ids.id that are guesses; how long the match was that they follow */
    float *logprobs;
    kd_top *top;
    size_t logprobs_cap, top_cap;
    int64_t t_submit, t_admit, t_first;
} seq;

/* A prompt's keys and values kept for those that begin alike. */
typedef struct {
    kd_ids ids;
    kd_kv *kv;
    uint64_t used; /* the step that last took from it */
} prefix;

typedef struct {
    seq **v;
    size_t n, cap;
} seq_list;

/* One drawn token, filled by a worker. */
typedef struct {
    seq *s;
    size_t ahead;      /* guesses that are taken for drawn before this one */
    float *logits;     /* [V] */
    uint64_t *allowed; /* [V] bits: what the form lets come; made for the first form */
    bool held, may_end;
    int32_t id;
    float logprob;
    kd_top top[KD_TOP_MOST];
} draw;

/* What guessing ahead has learned (draft.c). */
enum { DRAFT_SEQS = 4, DRAFT_MOST = 16, DRAFT_BINS = 17, DRAFT_HISTORY = 64 };
typedef struct {
    double accept[DRAFT_BINS]; /* by length of the match: how often a guess was right */
    double w, n, ns, nn, nns;  /* of decode steps, fading: weight, sums of rows, nanoseconds, rows^2, rows * nanoseconds */
    uint64_t asked;
    struct {
        uint64_t prompt; /* hash */
        kd_ids ids;      /* an earlier answer */
    } past[DRAFT_HISTORY];
    size_t next_past;
} drafting;

enum { PAGE_ROWS = 32, PREFIXES = 32, SHARE_LEAST = 8, MAX_TOP = KD_TOP_MOST };

struct kd_engine {
    const kd_model *model;
    const kd_tokenizer *tok;
    kd_engine_options o; /* resolved */
    kd_pool *pool;
    bool own_pool;
    kd_forward *forward;
    kd_kv_pool *kv_pool;
    size_t V, page_budget;     /* pages in all; SIZE_MAX without a bound */
    seq_list waiting, running; /* running in order of admission */
    prefix *prefixes;          /* [sequences + PREFIXES] */
    size_t nprefix;
    uint64_t next_id;
    kd_engine_stats stats;
    /* of a step */
    int32_t *tokens;     /* [rows] */
    kd_batch_seq *batch; /* [sequences] */
    size_t *want;        /* [max_draws] */
    size_t max_draws;    /* sequences, or more for guesses */
    draw *draws;         /* [max_draws] */
    float *logits;       /* [max_draws, V] */
    char *work;          /* [threads] of work_bytes */
    size_t work_bytes;
    kd_ids close_thought; /* what ends a thought: a line's end, the tag, an empty line */
    drafting drafting;
    kd_token_trie *trie; /* made for the first form */
    int32_t think_token; /* "<think>", where the vocabulary has it as one token; -1 */
};

/* answer.c: takes the drawn token into the answer: text, stops, loop, log-probabilities. *done and *finish say whether that ended it. */
kd_code answer_push(kd_engine *en, seq *s, const draw *d, bool *done, kd_finish *finish, kd_err *e);
/* Tells on_done; s must be out of every list. Frees it (not its kv). */
void answer_end(kd_engine *en, seq *s, kd_finish finish);
void seq_free(seq *s);
/* draw.c: fills id, logprob, top of n draws, spread over the pool. */
void draw_all_rows(kd_engine *en, size_t n);
/* form.c: the form that an answer is held to. begin: of a new sequence; leave: of one that ends. */
kd_code form_begin(kd_engine *en, seq *s, kd_err *e);
void form_leave(seq *s);
/* What may come at each of n draws. */
kd_code form_masks(kd_engine *en, size_t n, kd_err *e);
/* The drawn token is taken in; its text begins at was in s->text. *over: nothing can come behind it. */
kd_code form_push(kd_engine *en, seq *s, int32_t id, size_t was, bool *over, kd_err *e);
/* How many of the guesses the form lets stand. */
size_t form_cut(kd_engine *en, seq *s, const int32_t *guesses, size_t n);
/* thought.c: the token whose text stands in s->text is taken in. */
void thought_push(kd_engine *en, seq *s);
/* The token that is forced at the place `ahead` guesses from here, or -1. */
int32_t thought_forced(const kd_engine *en, const seq *s, size_t ahead);
/* How many guesses a thought's budget lets stand. */
size_t thought_cut(const kd_engine *en, const seq *s, size_t guesses);
/* draft.c: puts guesses behind s's ids (at most as many as there is room for in the draws) and sets ndraft; others: rows beside it in this step. */
void draft_propose(kd_engine *en, seq *s, size_t others, size_t room);
void draft_learn(kd_engine *en, const seq *s, size_t guessed, size_t right); /* right of the guesses were drawn */
void draft_timed(kd_engine *en, size_t rows, int64_t ns);                    /* a step of so many rows, all generating */
void draft_keep(kd_engine *en, const seq *s);                                /* an answer has ended: others may repeat it */
void draft_clear(kd_engine *en);
/* prefix.c */
/* The longest beginning of ids[0..n) that someone has computed (at most n - 1), as a fork in *kv (NULL if under SHARE_LEAST). *wait: someone is
 * computing a longer one right now. */
kd_code prefix_take(kd_engine *en, const int32_t *ids, size_t n, kd_kv **kv, size_t *len, bool *wait, kd_err *e);
void prefix_keep(kd_engine *en, seq *s); /* takes s->kv, to keep it or drop it */
bool prefix_evict(kd_engine *en);        /* drops the one longest unused; false if there is none */
void seq_list_remove(seq_list *l, size_t i);

#endif
