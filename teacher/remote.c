/* teacher/remote.c - an OpenAI-compatible endpoint as the teacher. One thread leases, sends and retries; the keeper's thread commits.
 * Leans on http.h, response.h, keeper.h. */
#include "distill/base/clock.h"
#include "distill/base/json.h"
#include "distill/base/rng.h"
#include "teacher/http.h"
#include "teacher/keeper.h"
#include "teacher/teacher.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { ALLOWANCE = 64 }; /* tokens of a template around a prompt, for the worst case */

/* One question: leased, then flying or waiting for its next try, until it is kept or given up. */
typedef struct flight {
    int64_t prompt;
    int sample, tries;
    kd_buf body;
    double due, sent;  /* when to try (again); when it was sent */
    double reserved;   /* USD that its try may cost at most */
    double tokens;     /* that it counts against tokens a minute */
} flight;

/* What comes in at a rate, and what may be held at most. */
typedef struct {
    double rate, level, cap, at;
} bucket;

typedef struct {
    kd_study *study;
    kd_work *work;
    kd_http *http;
    kd_keeper *keeper;
    const kd_teach_opts *o;
    const kd_remote_opts *ro;
    kd_teach_report *r;
    char *url;
    kd_buf key; /* the Authorization header */
    const char **headers;
    size_t n_headers;
    flight **waiting; /* a heap by due */
    size_t n_waiting, cap_waiting;
    bucket rps, rpm, tpm;
    double limit;     /* of requests in flight, moved by the endpoint */
    double cut_at;    /* when it was last cut: answers to requests sent before count as the same burst */
    double began, spent, reserved;
    uint64_t good, bad, refused; /* answers; failures of any kind; failures that trying again does not mend, in a row from the start */
    bool draining, unreachable_only;
    kd_code code;     /* why we stop */
    kd_err err;
} run;

/* ---- waiting flights, a binary heap by due ---- */
static kd_code heap_push(run *r, flight *f) {
    if (kd_grow((void **)&r->waiting, &r->cap_waiting, r->n_waiting + 1, sizeof *r->waiting))
        return KD_ENOMEM;
    size_t i = r->n_waiting++;
    for (; i && r->waiting[(i - 1) / 2]->due > f->due; i = (i - 1) / 2)
        r->waiting[i] = r->waiting[(i - 1) / 2];
    r->waiting[i] = f;
    return KD_OK;
}

static flight *heap_pop(run *r) {
    flight *top = r->waiting[0], *f = r->waiting[--r->n_waiting];
    size_t i = 0, n = r->n_waiting;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        k += k + 1 < n && r->waiting[k + 1]->due < r->waiting[k]->due;
        if (r->waiting[k]->due >= f->due)
            break;
        r->waiting[i] = r->waiting[k];
    }
    if (n)
        r->waiting[i] = f;
    return top;
}

static void free_flight(flight *f) {
    if (f)
        kd_buf_clear(&f->body);
    kd_free(f);
}

/* ---- limits ---- */
static bucket bucket_of(double rate_a_second, double cap) {
    return (bucket){.rate = rate_a_second, .level = cap, .cap = cap, .at = kd_now()};
}

/* Seconds until n may pass; 0: now. */
static double bucket_wait(bucket *b, double n, double now) {
    if (b->rate <= 0)
        return 0;
    b->level = fmin(b->cap, b->level + (now - b->at) * b->rate);
    b->at = now;
    n = fmin(n, b->cap);
    return b->level >= n ? 0 : (n - b->level) / b->rate;
}

static void bucket_take(bucket *b, double n) {
    b->level -= n;
}

static double price(const run *r, double prompt, double completion) {
    double p = 0;
    if (r->ro->price_input > 0)
        p += prompt * r->ro->price_input / 1e6;
    if (r->ro->price_output > 0)
        p += completion * r->ro->price_output / 1e6;
    return p;
}

static bool priced(const run *r) {
    return r->ro->price_input >= 0 || r->ro->price_output >= 0;
}

static void stop(run *r, kd_code c, const char *why) {
    if (!r->code) {
        r->code = c;
        kd_fail(&r->err, c, "%s", why);
    }
    r->draining = true;
}

/* ---- requests ---- */
static kd_code write_body(kd_buf *out, const run *r, const kd_work_item *item, kd_err *e) {
    const kd_teach_opts *o = r->o;
    kd_json *doc, *extra = NULL;
    kd_code c = kd_teach_conversation(&doc, item, o->system, e);
    if (c)
        return c;
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    kd_jsonw_key(&w, "model"), kd_jsonw_cstr(&w, r->ro->model);
    kd_jsonw_key(&w, "messages"), kd_jsonw_node(&w, kd_json_get(kd_json_root(doc), "messages"));
    if (item->tools.len)
        kd_jsonw_key(&w, "tools"), kd_jsonw_raw(&w, item->tools);
    const struct {
        const char *key;
        double v;
    } f[] = {{"temperature", o->temperature}, {"top_p", o->top_p}, {"min_p", o->min_p}};
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        if (f[i].v >= 0)
            kd_jsonw_key(&w, f[i].key), kd_jsonw_double(&w, f[i].v);
    if (o->top_k >= 0)
        kd_jsonw_key(&w, "top_k"), kd_jsonw_int(&w, o->top_k);
    if (o->max_tokens > 0)
        kd_jsonw_key(&w, "max_tokens"), kd_jsonw_int(&w, o->max_tokens);
    if (r->ro->send_seed)
        kd_jsonw_key(&w, "seed"), kd_jsonw_int(&w, (int64_t)((o->seed + (uint64_t)item->sample) & INT32_MAX));
    if (o->stops) {
        kd_jsonw_key(&w, "stop");
        kd_jsonw_array(&w);
        for (size_t i = 0; i < o->stops; i++)
            kd_jsonw_cstr(&w, o->stop[i]);
        kd_jsonw_end_array(&w);
    }
    if (r->ro->logprobs >= 0)
        kd_jsonw_key(&w, "logprobs"), kd_jsonw_bool(&w, true), kd_jsonw_key(&w, "top_logprobs"), kd_jsonw_int(&w, r->ro->logprobs);
    kd_jsonw_key(&w, "stream"), kd_jsonw_bool(&w, r->ro->stream);
    if (r->ro->stream) {
        kd_jsonw_key(&w, "stream_options");
        kd_jsonw_object(&w);
        kd_jsonw_key(&w, "include_usage"), kd_jsonw_bool(&w, true);
        kd_jsonw_end_object(&w);
    }
    if (r->ro->extra_body && !(c = kd_json_parse(&extra, r->ro->extra_body, strlen(r->ro->extra_body), "--extra-body", e)))
        for (const kd_json_node *n = kd_json_first(kd_json_root(extra)); n; n = kd_json_next(n))
            kd_jsonw_key_str(&w, kd_json_key(n)), kd_jsonw_node(&w, n);
    kd_jsonw_end_object(&w);
    if (!c && w.code)
        c = kd_fail(e, KD_ENOMEM, "request: out of memory");
    kd_json_free(extra);
    kd_json_free(doc);
    return c;
}

static double worst_tokens(const run *r, const flight *f) {
    return (double)f->body.len + ALLOWANCE + (r->o->max_tokens > 0 ? (double)r->o->max_tokens : 0);
}

static kd_code lease(run *r, size_t want, bool *dry, kd_err *e) {
    kd_work_item items[64];
    size_t n = 0;
    kd_code c = kd_work_next(r->work, items, want < 64 ? want : 64, &n, e);
    *dry = n == 0;
    for (size_t i = 0; !c && i < n; i++) {
        flight *f = kd_calloc(1, sizeof *f);
        if (!f)
            return kd_fail(e, KD_ENOMEM, "generate: out of memory");
        f->prompt = items[i].prompt, f->sample = items[i].sample;
        c = write_body(&f->body, r, &items[i], e);
        f->tokens = worst_tokens(r, f);
        f->reserved = price(r, (double)f->body.len + ALLOWANCE, r->o->max_tokens > 0 ? (double)r->o->max_tokens : 0);
        if (!c && heap_push(r, f))
            c = kd_fail(e, KD_ENOMEM, "generate: out of memory");
        if (c)
            free_flight(f);
    }
    return c;
}

/* ---- endings ---- */
static void count_spend(run *r, const flight *f, double cost) {
    r->reserved -= f->reserved;
    r->spent += cost;
    r->r->cost += cost;
}

/* A try that brought nothing: a row of attempts, charged by its usage, or in full where it may have cost something and said nothing. */
static void keep_failure(run *r, flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp, bool final) {
    kd_kept *k = kd_kept_new();
    bool reached = a->end != KD_HTTP_UNREACHABLE && a->end != KD_HTTP_TLS;
    bool known = resp && (resp->prompt_tokens >= 0 || resp->completion_tokens >= 0);
    bool free_of_charge = !reached || (a->end == KD_HTTP_OK && a->status != 200);
    double cost = free_of_charge ? 0 : known ? price(r, fmax(0, (double)resp->prompt_tokens), fmax(0, (double)resp->completion_tokens)) : f->reserved;
    count_spend(r, f, cost);
    r->bad++;
    if (!k) {
        stop(r, KD_ENOMEM, "generate: out of memory");
        return;
    }
    k->failed = true;
    snprintf(k->reason, sizeof k->reason, "%s", reason);
    k->attempt = (kd_attempt){.prompt = f->prompt, .sample = f->sample, .status = a->status, .prompt_tokens = known ? resp->prompt_tokens : -1,
                              .completion_tokens = known ? resp->completion_tokens : -1, .cost = priced(r) ? cost : -1, .seconds = a->seconds, .final = final};
    if (a->body.len && a->body.len <= 1 << 20 && kd_buf_append(&k->raw, a->body.data, a->body.len))
        k->raw.len = 0;
    kd_keeper_give(r->keeper, k);
}

static void give_up(run *r, flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    keep_failure(r, f, reason, a, resp, true);
    r->r->failed++;
    kd_err err = {0};
    if (kd_work_release(r->work, f->prompt, f->sample, &err))
        stop(r, err.code, err.msg);
    free_flight(f);
}

/* Fewer at once: one cut for all answers to requests that were sent before it. */
static void slow_down(run *r, const flight *f) {
    if (f->sent <= r->cut_at)
        return;
    r->limit = fmax(1, r->limit / 2);
    r->cut_at = kd_now();
}

/* Seconds before try number tries + 1: what the endpoint asks, else 1, 2, 4 ... 60, spread by a quarter. */
static double pause_before(const run *r, const flight *f, const kd_http_answer *a) {
    double base = fmin(60, ldexp(1, f->tries > 6 ? 6 : f->tries - 1));
    double u = (double)kd_rng_at((uint64_t)f->prompt, (uint64_t)f->sample, (uint64_t)f->tries) / 4294967296.0;
    (void)r;
    double asked = a->retry_after >= 0 ? fmin(a->retry_after, 3600) + 0.25 * u : 0;
    return fmax(asked, a->retry_after >= 0 ? 0 : base * (0.75 + 0.5 * u));
}

static void try_again(run *r, flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    int most = 1 + (r->ro->retries >= 0 ? r->ro->retries : 6);
    if (f->tries >= most || r->draining || a->should_retry == 0) {
        give_up(r, f, reason, a, resp);
        return;
    }
    keep_failure(r, f, reason, a, resp, false);
    r->r->retried++;
    f->due = kd_now() + pause_before(r, f, a);
    if (heap_push(r, f)) {
        free_flight(f);
        stop(r, KD_ENOMEM, "generate: out of memory");
    }
}

static void keep_answer(run *r, flight *f, kd_kept *k, const kd_http_answer *a) {
    const kd_response *x = &k->response;
    bool known = x->prompt_tokens >= 0 && x->completion_tokens >= 0;
    double cost = known ? price(r, (double)x->prompt_tokens, (double)x->completion_tokens) : f->reserved;
    count_spend(r, f, cost);
    k->answer = (kd_answer){.prompt = f->prompt, .sample = f->sample, .prompt_tokens = x->prompt_tokens, .completion_tokens = x->completion_tokens,
                            .reasoning_tokens = x->reasoning_tokens, .cached_tokens = x->cached_tokens, .cost = priced(r) ? cost : -1, .seconds = a->seconds,
                            .first_token_seconds = r->ro->stream ? a->first_byte : -1, .attempts = f->tries};
    if (kd_buf_append(&k->raw, a->body.data, a->body.len)) {
        kd_kept_free(k);
        free_flight(f);
        stop(r, KD_ENOMEM, "generate: out of memory");
        return;
    }
    r->r->prompt_tokens += x->prompt_tokens > 0 ? (uint64_t)x->prompt_tokens : 0;
    r->r->completion_tokens += x->completion_tokens > 0 ? (uint64_t)x->completion_tokens : 0;
    kd_keeper_give(r->keeper, k);
    r->good++;
    if (r->limit < (double)r->ro->concurrency)
        r->limit = fmin((double)r->ro->concurrency, r->limit + 1 / r->limit);
    free_flight(f);
}

static void refused(run *r, flight *f, const kd_http_answer *a) {
    char said[320], reason[400];
    kd_response_error(said, sizeof said, a->body);
    snprintf(reason, sizeof reason, "http %d: %s", a->status, said);
    if (a->status == 401 || a->status == 403) {
        char why[480];
        snprintf(why, sizeof why, "%s: the key was refused (%s)", r->ro->url, reason);
        stop(r, KD_EAUTH, why);
        give_up(r, f, reason, a, NULL);
        return;
    }
    if (a->status == 429 || a->status == 503)
        slow_down(r, f);
    if (a->should_retry == 1 || a->status == 408 || a->status == 409 || a->status == 429 || a->status >= 500)
        try_again(r, f, reason, a, NULL);
    else {
        give_up(r, f, reason, a, NULL);
        if (!r->good && ++r->refused >= 5) {
            char why[480];
            snprintf(why, sizeof why, "%s refuses every request: %s", r->ro->url, reason);
            stop(r, KD_ELIMIT, why);
        }
    }
}

static void on_done(void *ctx, void *user, const kd_http_answer *a) {
    run *r = ctx;
    flight *f = user;
    static const char *const ends[] = {"", "unreachable", "tls", "timeout", "cut", "too big", "failed"};
    if (a->end != KD_HTTP_OK) {
        char reason[300];
        snprintf(reason, sizeof reason, "%s: %s", ends[a->end], a->why);
        if (a->end == KD_HTTP_UNREACHABLE && !r->good && r->unreachable_only && f->tries >= 3) {
            char why[400];
            snprintf(why, sizeof why, "%s cannot be reached: %s", r->ro->url, a->why);
            stop(r, KD_EUNREACHABLE, why);
        }
        if (a->end == KD_HTTP_TLS) {
            char why[400];
            snprintf(why, sizeof why, "%s: %s", r->ro->url, a->why);
            stop(r, KD_EUNREACHABLE, why);
        }
        try_again(r, f, reason, a, NULL);
        return;
    }
    r->unreachable_only = false;
    if (a->status != 200) {
        refused(r, f, a);
        return;
    }
    kd_kept *k = kd_kept_new();
    kd_err why = {0};
    kd_code c = k ? kd_response_parse(&k->response, a->body, !strncmp(a->type, "text/event-stream", 17), &why) : KD_ENOMEM;
    if (c == KD_ENOMEM) {
        kd_kept_free(k);
        free_flight(f);
        stop(r, KD_ENOMEM, "generate: out of memory");
    } else if (c) {
        try_again(r, f, why.msg, a, &k->response);
        kd_kept_free(k);
    } else
        keep_answer(r, f, k, a);
}

/* ---- the loop ---- */
static kd_code send_due(run *r, double now, double *next, kd_err *e) {
    while (r->n_waiting && !r->draining && kd_http_flying(r->http) < (size_t)r->limit) {
        flight *f = r->waiting[0];
        double wait = f->due - now;
        wait = fmax(wait, bucket_wait(&r->rps, 1, now));
        wait = fmax(wait, bucket_wait(&r->rpm, 1, now));
        wait = fmax(wait, bucket_wait(&r->tpm, f->tokens, now));
        if (wait > 0) {
            *next = fmin(*next, wait);
            return KD_OK;
        }
        if (r->ro->budget >= 0 && r->spent + r->reserved + f->reserved > r->ro->budget) {
            if (kd_http_flying(r->http)) /* what is in flight may cost less than it reserves */
                return KD_OK;
            stop(r, KD_ELIMIT, "the budget is reached: another request might pass it");
            return KD_OK;
        }
        heap_pop(r);
        f->tries++;
        f->sent = now;
        kd_code c = kd_http_send(r->http, r->url, kd_buf_view(&f->body), r->headers, r->n_headers, f, e);
        if (c) {
            free_flight(f);
            return c;
        }
        r->reserved += f->reserved;
        bucket_take(&r->rps, 1), bucket_take(&r->rpm, 1), bucket_take(&r->tpm, f->tokens);
    }
    return KD_OK;
}

static void show(run *r, const kd_watch *w) {
    char text[160], cost[48] = "";
    double s = fmax(kd_now() - r->began, 1e-3);
    if (priced(r))
        snprintf(cost, sizeof cost, ", $%.4f", r->spent);
    snprintf(text, sizeof text, "%zu in flight, %.1f/s, %.0f tokens/s%s, %llu retries", kd_http_flying(r->http), (double)r->good / s,
             (double)r->r->completion_tokens / s, cost, (unsigned long long)r->r->retried);
    kd_emit(w, (kd_event){.kind = KD_EV_STEP, .stage = "generate", .done = r->r->done_before + r->good, .total = r->r->total, .unit = "answers", .text = text});
}

static kd_code ask(run *r, const kd_watch *w, kd_err *e) {
    kd_code c = KD_OK;
    bool dry = false;
    double looked = 0, beat = kd_now();
    r->began = kd_now();
    while (!c) {
        double now = kd_now(), next = 0.25;
        int code = kd_stopping(w);
        if (code)
            stop(r, (kd_code)code, "stopped; run it again to go on");
        if (kd_keeper_failed(r->keeper))
            stop(r, KD_EIO, "an answer could not be kept");
        size_t ahead = 2 * (size_t)r->limit + 8, have = r->n_waiting + kd_http_flying(r->http);
        if (!r->draining && have < ahead && (!dry || now - looked > 2))
            c = lease(r, ahead - have, &dry, e), looked = now;
        if (!c)
            c = send_due(r, now, &next, e);
        if (c || (!kd_http_flying(r->http) && (r->draining || (dry && !r->n_waiting))))
            break;
        c = kd_http_poll(r->http, dry || r->n_waiting ? (int)(1000 * next) + 1 : 1, e);
        if (!c && kd_now() - beat > 20)
            c = kd_work_beat(r->work, e), beat = kd_now();
        show(r, w);
    }
    r->r->seconds = kd_now() - r->began;
    return c ? c : r->code ? kd_fail(e, r->code, "%s", r->err.msg) : KD_OK;
}

static kd_code check_options(const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    if (strncmp(ro->url, "http://", 7) && strncmp(ro->url, "https://", 8))
        return kd_fail(e, KD_EINVAL, "%s: expected a URL that begins with http:// or https://", ro->url);
    if (!ro->model || !*ro->model)
        return kd_fail(e, KD_EINVAL, "%s: --teacher-model NAME is needed", ro->url);
    if (!strncmp(ro->url, "http://", 7) && !kd_url_local(ro->url) && !ro->insecure_http)
        return kd_fail(e, KD_EINVAL, "%s: plain http to another machine would show key and answers to everyone between; use https, or --insecure-http", ro->url);
    if (ro->budget >= 0 && (ro->price_input < 0 || ro->price_output < 0 || o->max_tokens <= 0))
        return kd_fail(e, KD_EINVAL, "a budget needs --price-input, --price-output and --max-tokens: without them no request's worst case is known");
    return KD_OK;
}

static kd_code settings_of(kd_buf *json, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e) {
    kd_buf extra = {0};
    kd_teach_opts known = *o;
    kd_code c = KD_OK;
    if (!ro->send_seed)
        known.seed = 0;
    if (ro->extra_body)
        c = kd_buf_printf(&extra, "\"extra_body\":%s", ro->extra_body);
    if (!c && ro->logprobs >= 0)
        c = kd_buf_printf(&extra, "%s\"logprobs\":%d", extra.len ? "," : "", ro->logprobs);
    c = c ? kd_fail(e, c, "settings: out of memory") : kd_teach_settings(json, &known, ro->url, ro->model, NULL, extra.data, e);
    kd_buf_clear(&extra);
    return c;
}

static kd_code prepare(run *r, kd_err *e) {
    const kd_remote_opts *ro = r->ro;
    kd_buf url = {0};
    size_t n = strlen(ro->url);
    while (n && ro->url[n - 1] == '/')
        n--;
    kd_code c = kd_buf_printf(&url, "%.*s/chat/completions", (int)n, ro->url);
    r->url = kd_buf_take(&url);
    r->headers = kd_calloc(ro->n_headers + 2, sizeof *r->headers);
    if (!c && ro->key)
        c = kd_buf_printf(&r->key, "Authorization: Bearer %s", ro->key);
    if (c || !r->url || !r->headers)
        return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    r->headers[r->n_headers++] = "Content-Type: application/json";
    if (r->key.len)
        r->headers[r->n_headers++] = r->key.data;
    for (size_t i = 0; i < ro->n_headers; i++)
        r->headers[r->n_headers++] = ro->headers[i];
    r->limit = (double)ro->concurrency;
    r->rps = bucket_of(ro->rps, fmax(1, ro->rps));
    r->rpm = bucket_of(ro->rpm / 60, fmax(1, ro->rpm / 60));
    r->tpm = bucket_of(ro->tpm / 60, fmax(1, ro->tpm));
    r->unreachable_only = true;
    return kd_http_new(&r->http, &(kd_http_opts){.ca_file = ro->ca_file, .timeout = ro->timeout, .stall = ro->stream ? 120 : 0, .connections = ro->concurrency + 8},
                       on_done, r, e);
}

static void clear(run *r) {
    kd_http_free(r->http);
    while (r->n_waiting)
        free_flight(heap_pop(r));
    if (r->key.data)
        memset(r->key.data, 0, r->key.cap);
    kd_buf_clear(&r->key);
    kd_free(r->waiting), kd_free(r->headers), kd_free(r->url);
    kd_work_close(r->work);
}

kd_code kd_teach_remote(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *given, const kd_watch *w, kd_teach_report *rep, kd_err *e) {
    kd_remote_opts ro = *given;
    run r = {.study = s, .o = o, .ro = &ro, .r = rep};
    kd_buf json = {0};
    kd_work_state state;
    kd_spend spend;
    int64_t id = 0;
    memset(rep, 0, sizeof *rep);
    ro.concurrency = given->concurrency ? given->concurrency : 32;
    kd_code c = check_options(o, &ro, e);
    if (!c)
        c = settings_of(&json, o, &ro, e);
    if (!c)
        c = kd_study_settings(s, &rep->settings, json.data, NULL, e);
    if (!c)
        c = kd_work_open(&r.work, s, rep->settings, &o->work, e);
    if (!c)
        c = kd_work_count(r.work, &state, e);
    if (!c)
        c = kd_study_spend(s, rep->settings, &spend, e);
    if (c)
        goto done;
    rep->total = state.total, rep->done_before = state.done, r.spent = spend.cost;
    if (state.done == state.total)
        goto done;
    c = prepare(&r, e);
    if (!c)
        c = kd_run_begin(s, &id, "generate", json.data, NULL, e);
    if (!c)
        c = kd_keeper_begin(&r.keeper, s, rep->settings, id, e);
    if (c)
        goto done;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "generate", .done = state.done, .total = state.total, .unit = "answers"});
    c = ask(&r, w, e);
    kd_err kept = {0};
    kd_code k = kd_keeper_end(r.keeper, &rep->answered, &rep->duplicates, &kept);
    if (k) /* the study's own trouble comes first: answers were lost */
        c = kd_fail(e, k, "%s", kept.msg);
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "generate", .done = rep->done_before + rep->answered, .total = rep->total, .unit = "answers"});
    k = kd_run_end(s, id, c == KD_OK ? "done" : c == KD_EINTERRUPT || c == KD_ETERMINATE ? "interrupted" : "failed", c ? NULL : e);
    c = c ? c : k;
done:
    clear(&r);
    kd_buf_clear(&json);
    return c;
}

kd_code kd_teach_remote_plan(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *ro, kd_remote_plan *p, kd_err *e) {
    kd_buf json = {0};
    kd_work *work = NULL;
    kd_prompts *rows = NULL;
    kd_work_state state;
    kd_spend spend;
    int64_t id;
    memset(p, 0, sizeof *p);
    kd_code c = check_options(o, ro, e);
    if (!c)
        c = settings_of(&json, o, ro, e);
    if (!c)
        c = kd_study_settings(s, &id, json.data, NULL, e);
    if (!c)
        c = kd_work_open(&work, s, id, &o->work, e);
    if (!c)
        c = kd_work_count(work, &state, e);
    if (!c)
        c = kd_study_spend(s, id, &spend, e);
    uint64_t n = 0, bytes = 0;
    if (!c)
        c = kd_prompts_open(&rows, s, o->work.split, o->work.limit, NULL, e);
    for (bool more = true; !c && more;) {
        kd_prompt row;
        c = kd_prompts_next(rows, &row, &more, e);
        if (!c && more)
            n++, bytes += row.messages.len + ALLOWANCE;
    }
    if (!c) {
        p->total = state.total, p->missing = state.total - state.done;
        p->prompt_tokens = n ? (uint64_t)((double)bytes / (double)n * (double)p->missing) : 0;
        p->completion_tokens = o->max_tokens > 0 ? p->missing * (uint64_t)o->max_tokens : 0;
        p->cost = ro->price_input >= 0 && ro->price_output >= 0 && o->max_tokens > 0
                      ? (double)p->prompt_tokens * ro->price_input / 1e6 + (double)p->completion_tokens * ro->price_output / 1e6
                      : -1;
        p->spent = spend.cost;
    }
    kd_prompts_close(rows);
    kd_work_close(work);
    kd_buf_clear(&json);
    return c;
}
