/* teacher/teacher.h - where samples come from: what every teacher is asked and how its answers reach the study. Leans on datasets/study.h.
 * local.c asks a model of ours through the engine, remote.c an OpenAI-compatible endpoint. Neither judges an answer. */
#ifndef KD_TEACHER_TEACHER_H
#define KD_TEACHER_TEACHER_H

#include "datasets/study.h"
#include "distill/base/json.h"
#include "distill/engine/engine.h"
#include "teacher/prices.h"

/* What is asked, of any teacher. Numbers that are negative are not given: the local teacher takes its default, a remote one is not sent them. */
typedef struct {
    kd_work_opts work;                /* split, limit, samples */
    double temperature, top_p, min_p; /* local defaults: 0.7, 0.95, 0 */
    int64_t top_k;                    /* local default: 0 (off) */
    int64_t max_tokens;               /* local default: 1024, or less where the context ends */
    const char *system;               /* a system turn put first where the conversation has none; NULL: none */
    const char *const *stop;
    size_t stops;
    uint64_t seed;
    const char *
        prefill; /* how every answer begins: the conversation ends with it, and it stands before what is said; remote alone; NULL: nothing */
    /* Called on the committing thread with questions that have new answers in s (and once at the start, n = 0: whatever lacks a verdict). NULL: nobody judges. */
    kd_code (*judge)(void *ctx, kd_study *s, int64_t settings, const int64_t *prompts, size_t n, kd_err *e);
    void *judge_ctx;
    const char *purpose; /* what else than answers is asked for ("judge"), a member of the settings; NULL: answers */
} kd_teach_opts;

typedef struct {
    uint64_t total, done_before;           /* wanted; there when we began (questions, where they are asked until right) */
    uint64_t answered, duplicates, failed; /* by this call; failed: given up for now */
    uint64_t prompt_tokens, completion_tokens;
    uint64_t retried;  /* tries after the first */
    double cost;       /* USD, of this call; 0 where prices are not known */
    double seconds;    /* of asking, model loading apart */
    int64_t settings;  /* under which the answers stand */
    double latency[3]; /* remote: seconds that half, nine tenths and 99 in 100 of the answers took at most (to 6 %) */
} kd_teach_report;

/* The settings of o as a JSON object into out; teacher and model name who answers, fingerprint (or NULL) tells two models of one name apart. What is
 * not given is absent. extra: members more, as JSON text without braces, or NULL. */
kd_code kd_teach_settings(kd_buf *out, const kd_teach_opts *o, const char *teacher, const char *model, const char *fingerprint,
                          const char *extra, kd_err *e);
/* The conversation of an item as one parsed object {"messages":[...],"tools":[...]}, the system turn put in, prefill (or NULL) an assistant turn at its end; the
 * caller frees it. */
kd_code kd_teach_conversation(kd_json **out, const kd_work_item *item, const char *system, const char *prefill, kd_err *e);

/* ---- local ---- */
typedef struct {
    const char *model;         /* anything --model takes */
    const char *adapter;       /* a PEFT folder or run instead of the model's own, or NULL */
    bool no_adapter;           /* a run's base alone */
    const char *chat_template; /* file, or NULL */
    int threads;
    size_t parallel, context;     /* 0: engine's defaults (context: enough for the prompt and max_tokens) */
    uint64_t memory;              /* bytes for keys and values; 0: the engine's own bound */
    bool exact;                   /* f32 arithmetic */
    int kv;                       /* kd_kv_kind: type of keys and values */
    int64_t now;                  /* the date templates call now, seconds since 1970 */
    bool logprobs;                /* the drawn tokens' are kept, and those of */
    size_t top_logprobs;          /* so many most likely ones (at most KD_TOP_MOST), */
    double logprobs_step;         /* as multiples of it; 0: exactly (datasets/logprobs.h) */
    bool ignore_missing_template; /* a model without a chat template gets the contents of the messages, a line each */
    /* What every request takes besides, or NULL: fills *like once the vocabulary is known (sampling apart from temperature, top-p, top-k and min-p; limits;
     * the form). What it points to must live until the call that was given this returns. */
    kd_code (*shape)(void *ctx, kd_request *like, const kd_tokenizer *tok, size_t V, kd_err *e);
    void *shape_ctx;
    const char *shape_json; /* the same as members of the settings, under which the answers stand; NULL or "" for none */
} kd_local_opts;
/* Asks for everything that is missing; returns when it is there, or when watch says stop (its code; running it again goes on). Answers are committed at the
 * end of the step that finished them. Errors: those of the model, the study, the engine. Test: tests/teacher/test_local.c */
kd_code kd_teach_local(kd_study *s, const kd_teach_opts *o, const kd_local_opts *l, const kd_watch *w, kd_teach_report *r, kd_err *e);
/* What it would do: work, tokens at most, memory. Loads the model's header alone. */
typedef struct {
    uint64_t total, missing;
    uint64_t weights, work, kv;
    size_t parallel;
} kd_local_plan;
kd_code kd_teach_local_plan(kd_study *s, const kd_teach_opts *o, const kd_local_opts *l, kd_local_plan *p, kd_err *e);

/* ---- remote ---- */
/* One of several endpoints that the same questions may go to. */
typedef struct {
    const char *url;    /* the API's base, ".../v1" */
    const char *model;  /* its name there; NULL: that of the options */
    const char *key;    /* or NULL: no Authorization header */
    size_t concurrency; /* 0: that of the options */
    kd_prices prices;   /* negative: those of the options */
} kd_endpoint_opts;
/* Endpoints of a file: a JSON object a line, {"url":..., "model":..., "api_key_file":..., "concurrency":..., "price_input":..., "price_output":..., "price_cached":...,
 * "price_reasoning":...}, of which url is needed. Empty lines and lines that begin with # are passed over. Everything lives in arena; keys are to be wiped by
 * kd_endpoints_forget. Errors: KD_ENOENT; KD_ECONFIG with the line and what is wrong; KD_EAUTH a key that others may read. */
kd_code kd_endpoints_read(kd_endpoint_opts **out, size_t *n, kd_arena *arena, const char *path, kd_err *e);
void kd_endpoints_forget(kd_endpoint_opts *v, size_t n);
/* The key in a file: one line, of a file that nobody else may read. Errors: KD_ENOENT, KD_EAUTH. */
kd_code kd_key_read(kd_buf *key, const char *path, kd_err *e);

typedef struct {
    const char *url;   /* the API's base, ".../v1"; with endpoints: unused */
    const char *model; /* its name there */
    const char *key;   /* or NULL: no Authorization header */
    const kd_endpoint_opts
        *endpoints; /* the teacher is all of these; each has a state of health: what fails rests, and is tried again by one request */
    size_t n_endpoints;
    const char *ca_file;
    const char *const *headers; /* more, "Name: value" */
    size_t n_headers;
    const char *extra_body; /* members more of every request, a JSON object, or NULL */
    size_t concurrency;     /* 0: 32 */
    int choices;            /* answers asked for by one request ("n"), where a question lacks so many; 0: 1 */
    double rps, rpm, tpm;   /* 0: no limit */
    double timeout;         /* seconds of a request; 0: 600 */
    int retries;            /* of a request after its first try; negative: 6 */
    double budget;          /* USD for these settings, what was spent before counted in, by any process; negative: none */
    kd_prices prices;
    int logprobs;         /* top alternatives asked for; negative: none */
    double logprobs_step; /* nats: they are kept as the nearest multiples of it; 0: to the last digit */
    bool stream, send_seed, insecure_http;
} kd_remote_opts;
/* Asks for everything that is missing. Errors: KD_EAUTH 401 or 403 (at once); KD_EUNREACHABLE nothing was ever reached; KD_ELIMIT the budget is reached, or
 * the endpoint refuses everything; KD_EINVAL options that do not fit (a budget without prices and max_tokens, plain http to another machine). What is
 * in flight when a stop or an error comes is waited for and kept, errors of the study apart. */
kd_code kd_teach_remote(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, const kd_watch *w, kd_teach_report *r, kd_err *e);
/* Requests missing, tokens and cost at most (worst case: a token a byte of the prompt; cost negative where prices are not known). */
typedef struct {
    uint64_t total, missing, prompt_tokens, completion_tokens;
    double cost, spent;
    double seconds; /* as the answers so far took under these settings, at full concurrency; negative: not known yet */
} kd_remote_plan;   /* nothing is written: s may be open for reading alone */
kd_code kd_teach_remote_plan(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_remote_plan *p, kd_err *e);

#endif
