/* distill/cli/serve.h - what the server is made of. Private to cmd_serve.c and serve_*.c. Leans on engine/engine.h, datasets/render.h.
 *   serve_http.c    sockets and HTTP (libmicrohttpd), a thread a connection
 *   serve_route.c   which path does what; from a request to jobs, from jobs to the answer
 *   serve_ask.c     the body of a request, checked
 *   serve_say.c     answers, chunks and errors as OpenAI writes them
 *   serve_job.c     what lies between the connections' threads and the one thread that drives the engine
 *   serve_form.c    forms that answers are held to, compiled once
 *   serve_think.c   a thought split off while it streams */
#ifndef KD_CLI_SERVE_H
#define KD_CLI_SERVE_H

#include "datasets/render.h"
#include "distill/cli/cli.h"
#include "distill/engine/engine.h"

#include <pthread.h>
#include <stdatomic.h>

enum { ASK_MOST_CHOICES = 128, ASK_MOST_PROMPTS = 2048, ASK_MOST_STOPS = 32, ASK_MOST_TOP = 20 };

/* An error as OpenAI's clients read it. */
typedef struct {
    unsigned status; /* 0: none */
    const char *type, *code;
    char param[64];
    char message[512];
} ask_error;
/* Fills *x (type by status) and returns false. */
bool ask_fail(ask_error *x, unsigned status, const char *param, const char *fmt, ...) KD_PRINTF(4, 5);

/* What a request says, checked; all of it lives in the arena or the document. */
typedef struct {
    kd_json *doc;
    kd_arena arena;
    bool chat, stream, usage, opened; /* opened: the prompt ends inside a thought */
    kd_buf conversation;              /* chat: {"messages":[...],"tools":...}, as templates want it */
    kd_buf literal; /* the same with the arguments of tool calls as text, where there are any: for templates that join them to text */
    struct ask_prompt {
        kd_str text;     /* completions: a text ... */
        int32_t *tokens; /* ... or tokens [n] */
        size_t n;
    } * prompts;
    size_t n_prompts;
    size_t choices; /* of each prompt */
    kd_sampling sampling;
    size_t max_tokens, min_tokens, max_thinking;
    bool seeded, logprobs, no_loop_guard, ignore_eos;
    uint64_t seed;
    size_t top_logprobs;
    const char **stop;
    size_t stops;
    const kd_json_node *schema; /* what the answer is held to: a schema, ... */
    kd_str regex;               /* ... a regular expression, ... */
    bool any_object;            /* ... or JSON */
    const char **dry_breakers;  /* NULL: the server's */
    size_t n_dry_breakers;
} ask;

/* body: a chat or a completion request. d: what holds where the request says nothing. False: *x says why, with the member's name.
 * Bounded: JSON of depth 200 (base/json.h), the counts above. Test: tests/distill/cli/fuzz_serve_ask.c, test_serve.sh */
bool ask_parse(ask *a, kd_str body, bool chat, const ask *d, ask_error *x);
void ask_clear(ask *a);

/* serve_think.c: pieces of an answer, parted into thought and answer; tags and the white space around them go. */
typedef struct {
    enum { THINK_MAYBE, THINK_IN, THINK_SKIP, THINK_OUT } at;
    kd_buf held; /* not yet known where it belongs */
    bool begun;  /* some of the thought has come out */
} thinker;
/* thought, answer: appended to. last: nothing comes behind. */
kd_code think_push(thinker *t, kd_str piece, bool last, kd_buf *thought, kd_buf *answer);

typedef struct serve serve;
typedef struct job job;
/* A compiled form, kept for those who ask for the same again. Only the engine's thread walks it. */
typedef struct form {
    struct form *next;
    kd_buf text; /* what it was made of */
    kd_grammar *grammar;
    size_t users; /* jobs; under the server's lock */
} form;
typedef struct {
    job *of;
    size_t index;
    uint64_t id; /* the engine's, 0 before and after */
    const int32_t *prompt;
    size_t prompt_n, shared;
    uint64_t stream;
    bool opened, begun, done;
    kd_buf text, thought; /* the whole answer, where it does not stream */
    thinker think;
    kd_buf logprobs; /* JSON: the entries so far of chat, or of completions' arrays in lp */
    kd_buf lp[3];    /* completions: tokens' log-probabilities, top ones, offsets */
    size_t offset, tokens, thought_tokens;
    kd_finish finish;
} choice;

/* One request on its way. Made by a connection's thread, driven by the engine's, freed when both let go. */
struct job {
    serve *of;
    ask *a;
    job *next;
    choice *choices;
    size_t n, left; /* of the choices: unfinished */
    kd_dry *dry;
    form *form;
    kd_buf out;  /* server-sent events not yet sent */
    size_t sent; /* of out */
    char name[40];
    int64_t created;
    size_t prompt_tokens, shared_tokens;
    kd_err failed; /* code: the engine refused */
    bool ended, counted;
    pthread_mutex_t lock; /* out, sent, ended, failed; choices once ended */
    pthread_cond_t moved;
    atomic_bool cancelled;
    atomic_int holders;
    int64_t t_begin, t_first;
};

struct serve {
    kd_cli *cli;
    kd_engine *engine;
    kd_render render;
    kd_tokenizer *tokenizer;
    bool has_template;
    size_t V, context, max_body;
    char *model; /* its name */
    kd_dry *dry;
    kd_grammar *form; /* of requests that bring none, or NULL */
    ask defaults;
    kd_buf key;
    bool split_thoughts;
    uint64_t entropy;
    atomic_ullong counter;
    int64_t started;
    pthread_mutex_t lock; /* queue, stats */
    pthread_cond_t work;
    form *forms;            /* the last used first */
    job *queue, *queue_end; /* handed in */
    job *running;           /* the engine's thread alone */
    atomic_bool draining;
    atomic_size_t jobs, connections;
    kd_engine_stats stats;
    uint64_t requests[6], cancelled; /* answered, by hundreds of the status */
    double first_seconds, seconds;   /* sums */
    uint64_t first_n, seconds_n;
};

/* serve_job.c */
job *job_new(serve *s, ask *a, kd_err *e); /* takes a when it succeeds; two holders */
void job_release(job *j);
bool job_submit(job *j); /* false: the server drains */
/* Waits until the job has ended, or gone(ctx) says that nobody waits for it any more (then it is cancelled). */
bool job_wait(job *j, bool (*gone)(void *), void *ctx);
/* Bytes of the stream into buf, at least one; 0 at its end, -1 when the reader has gone. */
long job_read(job *j, char *buf, size_t max, bool (*gone)(void *), void *ctx);
void job_cancel(job *j);
/* The engine's thread: takes what was handed in, steps once or waits a moment. */
kd_code serve_turn(serve *s, kd_err *e);
void serve_drop_all(serve *s, const kd_err *why); /* every job ends with this error */

/* serve_form.c */
bool form_take(serve *s, job *j, ask_error *x); /* j->form, by what j->a asks for */
void form_let_go(serve *s, form *f);
void form_drop_all(serve *s);

/* serve_say.c */
void say_error(kd_buf *out, const ask_error *x);
kd_code say_piece(choice *c, const kd_piece *p, bool last); /* a part of an answer: into the job's stream, or kept for say_whole */
kd_code say_end(job *j);                                    /* a stream's usage and its end */
kd_code say_whole(kd_buf *out, job *j);

/* serve_route.c */
typedef struct {
    const char *method, *path, *authorization, *content_type;
    kd_str body;
    bool (*gone)(void *ctx); /* the client is no longer there */
    void *ctx;
} http_request;
typedef struct {
    unsigned status;
    const char *type, *allow;
    kd_buf body;
    job *stream; /* instead of the body; the caller releases it */
} http_reply;
bool serve_authorized(const serve *s, const http_request *q);
void serve_answer(serve *s, const http_request *q, http_reply *r);
void serve_count(serve *s, unsigned status);

/* serve_http.c */
typedef struct serve_http serve_http;
kd_code serve_http_start(serve_http **out, serve *s, const char *host, int port, size_t clients, char url[160], kd_err *e);
void serve_http_quiesce(serve_http *h); /* takes no new connections */
void serve_http_stop(serve_http *h);    /* waits a little for answers on their way, then cuts */

#endif
