/* distill/engine/engine.h - many sequences generated at once over one model: continuous batching, prompts' common beginnings computed once,
 * sampling, stop conditions, loop guard, thoughts, forms to hold, guessing ahead. Leans on model/forward.h, model/tokenizer.h, sample.h.
 * What a request gives depends on the request and the model alone, to the bit: not on what else runs, on the order of submission, on memory
 * or threads. It knows nothing of where prompts come from. One thread at a time a kd_engine. */
#ifndef KD_ENGINE_ENGINE_H
#define KD_ENGINE_ENGINE_H

#include "distill/base/event.h"
#include "distill/engine/grammar.h"
#include "distill/engine/sample.h"
#include "distill/model/forward.h"
#include "distill/model/tokenizer.h"

typedef struct kd_engine kd_engine;
typedef enum { KD_KV_F16, KD_KV_Q8_0, KD_KV_F32 } kd_kv_kind; /* Q8_0 falls back to F16 where no block of 32 divides D */

/* The zero value is the default of every field. */
typedef struct {
    int threads;      /* 0: one a processor that we may use; ignored when a pool is lent */
    kd_pool *pool;    /* lent, or NULL */
    size_t sequences; /* decoded together at most (32) */
    size_t context;   /* positions of a sequence, prompt and answer (the model's own) */
    size_t rows;      /* rows of a forward pass at most (512); prompts longer than what is left of it are computed in pieces */
    kd_kv_kind kv;
    uint64_t memory;   /* weights, panels, buffers, keys and values together at most; 0: what the machine has free */
    uint64_t kv_bytes; /* keys and values at most, cached prefixes included (what `memory` leaves; without it half of what is free) */
    bool exact;        /* f32 arithmetic instead of 8-bit activations */
    bool no_repack;    /* keep the shared mapping, no panels */
    bool no_share;     /* compute every prompt whole; for measuring */
    size_t
        draft; /* tokens guessed ahead of a sequence at most (16), where few sequences run and it pays; 0: none. No answer changes by it */
    bool draft_always; /* even where it costs; for tests and measuring */
} kd_engine_options;

/* model, adapter (or NULL) and tok outlive the engine; tok NULL: ids only, no text, no stop strings, and nothing ends a sequence but
 * stop_tokens and length. Errors: KD_EINVAL, KD_ENOMEM, those of kd_forward_new. */
kd_code kd_engine_new(kd_engine **out, const kd_model *m, kd_adapter *adapter, const kd_tokenizer *tok, const kd_engine_options *o,
                      kd_err *e);
size_t kd_engine_context(const kd_engine *en); /* as it came out: at most what keys and values have room for */
void kd_engine_free(kd_engine *en);            /* unfinished requests are dropped without a word */

typedef enum {
    KD_FINISH_STOP,   /* an end-of-generation token or a stop token or string */
    KD_FINISH_LENGTH, /* max_tokens, or the end of the context */
    KD_FINISH_LOOP,   /* the loop guard: the answer has fallen into a cycle (loop.h) */
    KD_FINISH_CANCELLED
} kd_finish;
const char *kd_finish_name(kd_finish f); /* "stop", "length", "loop", "cancelled" */

enum { KD_TOP_MOST = 64 };
typedef struct {
    int32_t id;
    float logprob; /* nats, of the model's own distribution (before temperature, cuts and penalties) */
} kd_top;
typedef struct {
    uint64_t id; /* as kd_engine_submit gave it */
    kd_finish finish;
    const int32_t *tokens; /* [n] all that was generated, an ending token and the tokens of a stop string included */
    size_t n;
    const char *text; /* text_len bytes of valid UTF-8, NUL behind; without control tokens (unless asked for) and without the stop string */
    size_t text_len;
    const float *logprobs; /* [n], or NULL if not asked for */
    const kd_top *top;     /* [n, top_k] falling, or NULL */
    size_t top_k;
    size_t prompt_tokens, shared_tokens;       /* of the prompt; those among them that were not computed anew */
    size_t thought_tokens;                     /* of the n: inside a thought, its tags counted in */
    int64_t queued_ns, prompt_ns, generate_ns; /* waiting; from admission to the first token; from there to the end */
} kd_result;                                   /* valid during the call */

/* A piece of text (may be empty) and the token that brought it; text held back because a stop string may begin in it comes with a later token, or with
 * id -1 at the end. */
typedef struct {
    int32_t id;
    const char *text; /* len bytes of valid UTF-8 */
    size_t len;
    float logprob; /* if asked for; so top */
    const kd_top *top;
    size_t top_k;
} kd_piece;
typedef void kd_on_token(void *user, const kd_piece *p); /* called from kd_engine_step */
typedef void kd_on_done(void *user, const kd_result *r); /* once a request; it may submit and cancel */

typedef struct {
    const int32_t *prompt; /* [prompt_n], at least one, each < V */
    size_t prompt_n;
    kd_sampling sampling;
    uint64_t seed, stream;   /* token t is drawn with numbers 2t, 2t+1 of stream `stream` of key `seed` (base/rng.h) */
    size_t max_tokens;       /* 0: to the end of the context */
    size_t min_tokens;       /* until then no end-of-generation or stop token is drawn */
    const char *const *stop; /* [stops] strings that end the answer, found across token borders */
    size_t stops;
    const int32_t *stop_tokens; /* beside the tokenizer's end-of-generation tokens */
    size_t stop_tokens_n;
    bool ignore_eog; /* the tokenizer's end-of-generation tokens are drawn but do not end (for measuring) */
    bool no_loop_guard;
    kd_grammar *grammar;   /* lent: holds the answer (what is behind its thought) to a form; NULL: none. Needs a tokenizer */
    bool thought_opened;   /* the prompt ends inside a thought: "<think>" is its own */
    size_t max_thinking;   /* so many tokens of a thought, then "</think>" is forced; 0: no bound. Needs a tokenizer */
    bool keep_answer;      /* the next prompt will likely begin with this prompt and its answer (a talk goes on): keep both */
    bool show_special;     /* control tokens appear in the text */
    bool logprobs;         /* of the drawn tokens */
    size_t top_logprobs;   /* and of the most likely ones (at most KD_TOP_MOST) */
    kd_on_token *on_token; /* or NULL */
    kd_on_done *on_done;   /* or NULL */
    void *user;
} kd_request; /* copied */

/* Errors: KD_EINVAL (empty prompt, a token out of range, a prompt that leaves no room in the context or in kv_bytes, a setting out of its
 * domain: named), KD_ENOMEM; then nothing was taken. id may be NULL. */
kd_code kd_engine_submit(kd_engine *en, const kd_request *r, uint64_t *id, kd_err *e);
/* on_done with KD_FINISH_CANCELLED, at once or within the next step. False: no such request. */
bool kd_engine_cancel(kd_engine *en, uint64_t id);
/* One forward pass: the next token of every running sequence, and a piece of the prompts of those that join. *left: requests unfinished (0: none;
 * then nothing was done). Errors: KD_ENOMEM, those of kd_forward_run: the engine can still be freed, nothing else. */
kd_code kd_engine_step(kd_engine *en, size_t *left, kd_err *e);
/* Steps until nothing is left, or until watch says stop (its code comes back; unfinished requests stay). */
kd_code kd_engine_run(kd_engine *en, const kd_watch *watch, kd_err *e);

typedef struct {
    size_t waiting, running;
    uint64_t steps, prompt_tokens, shared_tokens, generated_tokens,
        preemptions,                            /* since the start; preempted rows computed again are not counted twice */
        drafted_tokens, accepted_tokens;        /* guessed ahead; those that the model then drew itself */
    uint64_t kv_bytes, model_bytes, work_bytes; /* keys and values now; weights as stored; buffers and panels */
    uint64_t step_ns, draw_ns;                  /* steps so far; what draws took of it */
    kd_forward_times forward;                   /* what the forward passes took of it */
} kd_engine_stats;
kd_engine_stats kd_engine_get_stats(const kd_engine *en);

/* What an engine with these options will hold, before it is made: panels and buffers, and keys and values of `sequences` full contexts. */
typedef struct {
    uint64_t weights, work, kv_a_token, kv_full;
    uint64_t kv_bound; /* what keys and values may take */
} kd_engine_plan;
kd_engine_plan kd_engine_plan_of(const kd_model *m, const kd_engine_options *o);

#endif
