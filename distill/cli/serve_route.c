/* distill/cli/serve_route.c - which path does what. Runs on the connections' threads: checks, renders, tokenizes there, and hands jobs to the engine. */
#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/cli/serve.h"

#include <stdio.h>
#include <string.h>

static void refuse(http_reply *r, const ask_error *x) {
    r->status = x->status, r->type = "application/json";
    r->body.len = 0;
    say_error(&r->body, x);
}

bool serve_authorized(const serve *s, const http_request *q) {
    unsigned char want[32], got[32], differ = 0;
    kd_sha256 h;
    if (!s->key.len) return true;
    const char *given = q->authorization && !strncmp(q->authorization, "Bearer ", 7) ? q->authorization + 7 : "";
    kd_sha256_init(&h), kd_sha256_add(&h, s->key.data, s->key.len), kd_sha256_end(&h, want);
    kd_sha256_init(&h), kd_sha256_add(&h, given, strlen(given)), kd_sha256_end(&h, got);
    for (size_t i = 0; i < sizeof want; i++) differ |= want[i] ^ got[i]; /* the same time wherever they differ */
    return !differ;
}

void serve_count(serve *s, unsigned status) {
    pthread_mutex_lock(&s->lock);
    s->requests[status / 100 < 6 ? status / 100 : 0]++;
    pthread_mutex_unlock(&s->lock);
}

/* ---- small answers ---- */

static void health(serve *s, http_reply *r) {
    bool draining = atomic_load(&s->draining);
    r->status = draining ? 503 : 200, r->type = "application/json";
    kd_buf_puts(&r->body, draining ? "{\"status\":\"draining\"}" : "{\"status\":\"ok\"}");
}

static void put_model(kd_jsonw *w, const serve *s) {
    kd_jsonw_object(w);
    kd_jsonw_key(w, "id"), kd_jsonw_cstr(w, s->model);
    kd_jsonw_key(w, "object"), kd_jsonw_cstr(w, "model");
    kd_jsonw_key(w, "created"), kd_jsonw_int(w, s->started);
    kd_jsonw_key(w, "owned_by"), kd_jsonw_cstr(w, "distill");
    kd_jsonw_key(w, "context_length"), kd_jsonw_int(w, (int64_t)s->context);
    kd_jsonw_end_object(w);
}

static void models(const serve *s, const char *one, http_reply *r) {
    kd_jsonw w = {.out = &r->body};
    ask_error x;
    r->status = 200, r->type = "application/json";
    if (one && strcmp(one, s->model) != 0) {
        ask_fail(&x, 404, "model", "the model '%.200s' does not exist here; '%s' does", one, s->model);
        x.code = "model_not_found";
        refuse(r, &x);
        return;
    }
    if (one) {
        put_model(&w, s);
        return;
    }
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "object"), kd_jsonw_cstr(&w, "list");
    kd_jsonw_key(&w, "data");
    kd_jsonw_array(&w);
    put_model(&w, s);
    kd_jsonw_end_array(&w);
    kd_jsonw_end_object(&w);
}

static void metric(kd_buf *b, const char *name, const char *kind, const char *help, double v) {
    kd_buf_printf(b, "# HELP distill_%s %s\n# TYPE distill_%s %s\ndistill_%s %.17g\n", name, help, name, kind, name, v);
}

static void metrics(serve *s, http_reply *r) {
    pthread_mutex_lock(&s->lock);
    kd_engine_stats t = s->stats;
    uint64_t req[6], cancelled = s->cancelled, first_n = s->first_n, seconds_n = s->seconds_n;
    double first = s->first_seconds, seconds = s->seconds;
    memcpy(req, s->requests, sizeof req);
    pthread_mutex_unlock(&s->lock);
    kd_buf *b = &r->body;
    r->status = 200, r->type = "text/plain; version=0.0.4";
    kd_buf_puts(b, "# HELP distill_requests_total requests answered, by status\n# TYPE distill_requests_total counter\n");
    for (int i = 2; i < 6; i++) kd_buf_printf(b, "distill_requests_total{status=\"%dxx\"} %llu\n", i, (unsigned long long)req[i]);
    const struct {
        const char *name, *kind, *help;
        double v;
    } all[] = {{"requests_cancelled_total", "counter", "requests whose client left", (double)cancelled},
               {"prompt_tokens_total", "counter", "tokens of prompts", (double)t.prompt_tokens},
               {"prompt_tokens_shared_total", "counter", "of these, not computed anew", (double)t.shared_tokens},
               {"generated_tokens_total", "counter", "tokens generated", (double)t.generated_tokens},
               {"drafted_tokens_total", "counter", "tokens guessed ahead", (double)t.drafted_tokens},
               {"accepted_tokens_total", "counter", "of these, drawn by the model itself", (double)t.accepted_tokens},
               {"steps_total", "counter", "forward passes", (double)t.steps},
               {"preemptions_total", "counter", "sequences that gave their memory to older ones", (double)t.preemptions},
               {"sequences_running", "gauge", "sequences in the batch", (double)t.running},
               {"sequences_waiting", "gauge", "sequences waiting for room", (double)t.waiting},
               {"requests_in_flight", "gauge", "requests not yet answered", (double)atomic_load(&s->jobs)},
               {"connections", "gauge", "requests being read, answered or written", (double)atomic_load(&s->connections)},
               {"kv_bytes", "gauge", "memory of keys and values", (double)t.kv_bytes},
               {"work_bytes", "gauge", "memory of buffers and panels", (double)t.work_bytes},
               {"model_bytes", "gauge", "weights as stored", (double)t.model_bytes},
               {"time_to_first_token_seconds_sum", "counter", "from a request's arrival to its first token", first},
               {"time_to_first_token_seconds_count", "counter", "requests that had one", (double)first_n},
               {"request_seconds_sum", "counter", "from a request's arrival to its last token", seconds},
               {"request_seconds_count", "counter", "requests that ended", (double)seconds_n}};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) metric(b, all[i].name, all[i].kind, all[i].help, all[i].v);
}

/* ---- generation ---- */

static bool from_err(ask_error *x, const char *param, const kd_err *e) {
    return ask_fail(x, e->code == KD_ENOMEM ? 500 : 400, param, "%s", e->msg);
}

/* A conversation's tokens; a template that joins arguments to text is given them as text. */
static bool render(serve *s, ask *a, ask_error *x) {
    const kd_buf *ways[] = {&a->conversation, &a->literal};
    kd_err e = {0};
    kd_code c = KD_EFORMAT;
    int32_t *tokens = NULL;
    size_t n = 0;
    if (!s->has_template)
        return ask_fail(x, 400, NULL, "%s has no chat template: start the server with --chat-template, or use /v1/completions", s->model);
    for (size_t i = 0; i < 2 && c && c != KD_ENOMEM && ways[i]->len; i++) {
        kd_json *doc = NULL;
        kd_buf text = {0};
        c = kd_json_parse(&doc, ways[i]->data, ways[i]->len, "conversation", &e);
        if (!c) c = kd_render_prompt(&text, &tokens, &n, &a->opened, &s->render, kd_json_root(doc), &e);
        kd_json_free(doc);
        kd_buf_clear(&text);
    }
    if (c) return from_err(x, "messages", &e);
    if ((a->prompts = kd_arena_alloc(&a->arena, sizeof *a->prompts)))
        a->prompts->tokens = kd_arena_alloc(&a->arena, (n + 1) * sizeof *tokens);
    bool ok = a->prompts && a->prompts->tokens;
    if (ok) memcpy(a->prompts->tokens, tokens, n * sizeof *tokens), a->prompts->n = n, a->n_prompts = 1;
    kd_free(tokens);
    return ok ? true : ask_fail(x, 500, NULL, "out of memory");
}

static bool tokenize(serve *s, ask *a, ask_error *x) {
    for (size_t i = 0; i < a->n_prompts; i++) {
        struct ask_prompt *p = &a->prompts[i];
        kd_ids ids = {0};
        kd_err e = {0};
        if (p->tokens) continue;
        if (kd_tokenizer_encode(s->tokenizer, &ids, p->text.data, p->text.len, KD_TOK_ADD_SPECIAL | KD_TOK_PARSE_SPECIAL, &e))
            return from_err(x, "prompt", &e);
        if ((p->tokens = kd_arena_alloc(&a->arena, (ids.n + 1) * sizeof *p->tokens)) && ids.n)
            memcpy(p->tokens, ids.id, (p->n = ids.n) * sizeof *ids.id);
        kd_ids_clear(&ids);
        if (!p->tokens) return ask_fail(x, 500, NULL, "out of memory");
    }
    return true;
}

/* What the engine would refuse, said in terms of the request. */
static bool fits(const serve *s, const ask *a, ask_error *x) {
    const char *what = a->chat ? "messages" : "prompt";
    kd_err e = {0};
    for (size_t i = 0; i < a->n_prompts; i++) {
        const struct ask_prompt *p = &a->prompts[i];
        if (!p->n) return ask_fail(x, 400, what, "%s: no token in it", what);
        for (size_t k = 0; k < p->n; k++)
            if ((size_t)p->tokens[k] >= s->V)
                return ask_fail(x, 400, what, "%s: token %d is outside the vocabulary of %zu", what, p->tokens[k], s->V);
        if (p->n >= s->context) {
            ask_fail(x, 400, what, "%s: %zu tokens leave no room in the context of %zu", what, p->n, s->context);
            x->code = "context_length_exceeded";
            return false;
        }
    }
    return kd_sampling_check(&a->sampling, s->V, &e) ? from_err(x, NULL, &e) : true;
}

static bool make_dry(serve *s, job *j, ask_error *x) {
    kd_err e = {0};
    const ask *a = j->a;
    if (!a->dry_breakers || !(a->sampling.dry_multiplier > 0)) return true;
    return kd_dry_new(&j->dry, s->tokenizer, s->V, a->dry_breakers, a->n_dry_breakers, &e) ? from_err(x, "dry_sequence_breakers", &e)
                                                                                           : true;
}

static void reply_whole(job *j, http_reply *r) {
    ask_error x;
    r->status = 200, r->type = "application/json";
    if (!j->failed.code && say_whole(&r->body, j)) kd_fail(&j->failed, KD_ENOMEM, "out of memory");
    if (!j->failed.code) return;
    ask_fail(&x, j->failed.code == KD_EINVAL ? 400 : 500, NULL, "%s", j->failed.msg);
    refuse(r, &x);
}

static void generate(serve *s, const http_request *q, bool chat, http_reply *r) {
    ask_error x;
    kd_err e = {0};
    ask *a = kd_calloc(1, sizeof *a);
    job *j = NULL;
    if (!a) ask_fail(&x, 500, NULL, "out of memory");
    const bool ok = a && ask_parse(a, q->body, chat, &s->defaults, &x) && (chat ? render(s, a, &x) : tokenize(s, a, &x)) && fits(s, a, &x);
    if (ok && !(j = job_new(s, a, &e))) ask_fail(&x, 500, NULL, "%s", e.msg);
    if (!j) {
        if (a) ask_clear(a);
        kd_free(a);
        refuse(r, &x);
        return;
    }
    if (!make_dry(s, j, &x) || !form_take(s, j, &x)) {
        job_release(j), job_release(j);
        refuse(r, &x);
        return;
    }
    if (!job_submit(j)) {
        job_release(j);
        ask_fail(&x, 503, NULL, "the server is shutting down");
        refuse(r, &x);
        return;
    }
    if (a->stream) {
        r->status = 200, r->type = "text/event-stream", r->stream = j;
        return;
    }
    job_wait(j, q->gone, q->ctx);
    reply_whole(j, r);
    job_release(j);
}

static bool is_json(const char *type) {
    return !type || !strncasecmp(type, "application/json",
                                 16); /* a web page's form cannot say so: no page of others speaks to us through a browser */
}

void serve_answer(serve *s, const http_request *q, http_reply *r) {
    bool post = !strcmp(q->method, "POST"), get = !strcmp(q->method, "GET") || !strcmp(q->method, "HEAD");
    const char *path = !strncmp(q->path, "/v1/", 4) ? q->path + 3 : q->path;
    bool chat = !strcmp(path, "/chat/completions"), text = !strcmp(path, "/completions"), one = !strncmp(path, "/models/", 8);
    bool reads = one || !strcmp(path, "/models") || !strcmp(path, "/health") || !strcmp(path, "/metrics");
    ask_error x = {0};
    if (strcmp(path, "/health") != 0 && !serve_authorized(s, q)) {
        ask_fail(&x, 401, NULL, "expected the server's key in Authorization: Bearer KEY");
        x.code = "invalid_api_key";
    } else if (!chat && !text && !reads) {
        ask_fail(&x, 404, NULL, "no such path: %.200s", q->path);
    } else if ((chat || text) ? !post : !get) {
        r->allow = reads ? "GET" : "POST";
        ask_fail(&x, 405, NULL, "%.20s is not for %.200s, %s is", q->method, q->path, r->allow);
    } else if (post && !is_json(q->content_type)) {
        ask_fail(&x, 415, NULL, "expected Content-Type: application/json, found %.100s", q->content_type);
    }
    if (x.status)
        refuse(r, &x);
    else if (chat || text)
        generate(s, q, chat, r);
    else if (!strcmp(path, "/health"))
        health(s, r);
    else if (!strcmp(path, "/metrics"))
        metrics(s, r);
    else
        models(s, one ? path + 8 : NULL, r);
}
