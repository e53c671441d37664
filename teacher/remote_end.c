/* teacher/remote_end.c - what became of a request: kept, tried again, given up, or the end of the run. Leans on remote_int.h, response.h. */
#include "teacher/remote_int.h"

#include "distill/base/clock.h"
#include "distill/base/rng.h"
#include "datasets/logprobs.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TRIES_UNREACHABLE = 3, REFUSALS = 5, HOLD_MOST = 60, AUTH_WAIT = 10 };

static void out_of_memory(kd_run *r) { kd_run_stop(r, KD_ENOMEM, "generate: out of memory"); }

/* A try came home: what it reserved is free, what it cost is spent, what it did not use of tokens a minute is given back. */
static void settle(kd_run *r, const kd_flight *f, double cost, double tokens) {
    r->reserved = fmax(0, r->reserved - f->reserved);
    r->spent += cost;
    r->r->cost += cost;
    kd_bucket_take(&r->tpm, tokens - f->tokens);
}

/* ---- failures ---- */
/* The rows of a failed try, a sample each; the first carries the cost and the body. */
static void keep_failure_rows(kd_run *r, kd_flight *f, const char *reason, const kd_http_answer *a, const kd_usage *u, double cost,
                              bool final) {
    bool priced = kd_asking_priced(&r->q);
    for (int i = 0; i < f->n; i++) {
        kd_kept *k = kd_kept_new();
        if (!k) {
            out_of_memory(r);
            return;
        }
        k->failed = true;
        kd_response_error(k->reason, sizeof k->reason, kd_str_of(reason));
        k->attempt = (kd_attempt){.prompt = f->prompt,
                                  .sample = f->sample[i],
                                  .status = a->status,
                                  .prompt_tokens = i   ? 0
                                                   : u ? u->prompt
                                                       : -1,
                                  .completion_tokens = i   ? 0
                                                       : u ? u->completion
                                                           : -1,
                                  .cost = !priced ? -1
                                          : i     ? 0
                                                  : cost,
                                  .seconds = a->seconds,
                                  .final = final};
        if (!i && a->body->len && a->body->len <= 1 << 20 && kd_buf_append(&k->raw, a->body->data, a->body->len)) k->raw.len = 0;
        kd_keeper_give(r->keeper, k);
    }
}

/* A try that brought nothing: charged by its usage, or in full where it may have cost something and did not say what. Refusals (4xx) and "not now" (503) cost
 * nothing. */
static void keep_failure(kd_run *r, kd_flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp, bool final) {
    const kd_usage *u = resp && kd_usage_known(&resp->usage) ? &resp->usage : NULL;
    bool arrived = a->end != KD_HTTP_UNREACHABLE && a->end != KD_HTTP_TLS;
    bool free_of_charge = !arrived || (a->end == KD_HTTP_OK && a->status != 200 && (a->status < 500 || a->status == 503));
    double cost = free_of_charge ? 0 : u ? kd_prices_cost(&f->at->prices, u) : f->reserved;
    settle(r, f, cost, free_of_charge ? 0 : u ? kd_usage_tokens(u) : f->tokens);
    keep_failure_rows(r, f, reason, a, u, cost, final);
}

/* Not to be had for now; the commit of the attempts ends the leases. */
static void give_up(kd_run *r, kd_flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    keep_failure(r, f, reason, a, resp, true);
    r->r->failed += (uint64_t)f->n;
    kd_flight_free(f);
}

/* Seconds before try number tries + 1: what the endpoint asks, else 1, 2, 4 ... 60, spread by a quarter. */
static double pause_before(const kd_flight *f, const kd_http_answer *a) {
    double u = (double)kd_rng_at((uint64_t)f->prompt, (uint64_t)f->sample[0], (uint64_t)f->tries) / 4294967296.0;
    if (a->head->retry_after >= 0) return fmin(a->head->retry_after, 3600) + 0.25 * u;
    return fmin(60, ldexp(1, f->tries > 6 ? 6 : f->tries - 1)) * (0.75 + 0.5 * u);
}

/* A question is at the end of its tries, and nothing was answered since its first: it is not the question. */
static void out_of_tries(kd_run *r, const kd_flight *f, const char *reason) {
    char why[480];
    if (r->last_good >= f->first) return;
    snprintf(why, sizeof why, "%s: no answer in %.0f s of trying again: %s", f->at->url, kd_now() - f->first, reason);
    kd_run_stop(r, r->reached ? KD_ELIMIT : KD_EUNREACHABLE, why);
}

static void try_again(kd_run *r, kd_flight *f, kd_again b, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    int most = 1 + (r->ro->retries >= 0 ? r->ro->retries : 6);
    if (!r->draining && (f->tries >= most || a->head->should_retry == 0)) {
        if (f->tries >= most) out_of_tries(r, f, reason);
        give_up(r, f, reason, a, resp);
        return;
    }
    keep_failure(r, f, reason, a, resp, false);
    if (r->draining) { /* the next run asks it */
        kd_flight_free(f);
        return;
    }
    r->r->retried++;
    r->again[b]++;
    f->due = kd_now() + (r->n_ends > 1 && b != KD_AGAIN_BODY ? 0 : pause_before(f, a)); /* another endpoint may have it at once */
    if (kd_run_wait(r, f)) {
        kd_flight_free(f);
        out_of_memory(r);
    }
}

/* The key of an endpoint was refused: of several the others go on. */
static void no_key(kd_run *r, kd_flight *f, const char *reason, const kd_http_answer *a) {
    char why[480];
    size_t left = 0;
    f->at->health = KD_GONE;
    for (size_t i = 0; i < r->n_ends; i++) left += r->ends[i].health != KD_GONE;
    snprintf(why, sizeof why, "%s: the key was refused (%s)", f->at->url, reason);
    if (left) {
        kd_emit(r->watch, (kd_event){.kind = KD_EV_WARN, .stage = "generate", .text = why});
        try_again(r, f, KD_AGAIN_SERVER, reason, a, NULL);
        return;
    }
    kd_run_stop(r, KD_EAUTH, why);
    r->drain_until = fmin(r->drain_until, kd_now() + AUTH_WAIT);
    keep_failure(r, f, reason, a, NULL, true);
    kd_flight_free(f);
}

static void refused(kd_run *r, kd_flight *f, const kd_http_answer *a) {
    char said[320], reason[400], why[480];
    double now = kd_now();
    kd_response_error(said, sizeof said, kd_buf_view(a->body));
    snprintf(reason, sizeof reason, "http %d: %s", a->status, said);
    bool slow = a->status == 429 || a->status == 503;
    if (a->status == 401 || a->status == 403) {
        no_key(r, f, reason, a);
        return;
    }
    if (slow) {
        kd_pace_cut(&f->at->pace, f->sent, now);
        if (a->head->retry_after > 0) /* said to one, meant for all */
            kd_pace_hold(&f->at->pace, now + fmin(a->head->retry_after, HOLD_MOST));
        else if (r->n_ends > 1)
            kd_pace_hold(&f->at->pace, now + 1);
    }
    if (a->status >= 500) kd_endpoint_bad(f->at, r->n_ends == 1, now);
    if (a->head->should_retry == 1 || a->status == 408 || a->status == 409 || a->status == 429 || a->status >= 500) {
        try_again(r, f, slow ? KD_AGAIN_LIMIT : KD_AGAIN_SERVER, reason, a, NULL);
        return;
    }
    snprintf(why, sizeof why, "%s refuses every request: %s", f->at->url, reason);
    give_up(r, f, reason, a, NULL);
    if (!r->good && ++r->refused >= REFUSALS) kd_run_stop(r, KD_ELIMIT, why);
}

static bool nobody_reached(const kd_run *r) {
    for (size_t i = 0; i < r->n_ends; i++)
        if (r->ends[i].reached || (r->n_ends > 1 && r->ends[i].failures < TRIES_UNREACHABLE)) return false;
    return true;
}

static void no_answer(kd_run *r, kd_flight *f, const kd_http_answer *a) {
    static const char *const ends[] = {"", "unreachable", "tls", "timeout", "cut", "too big", "failed"};
    char reason[400], why[480];
    snprintf(reason, sizeof reason, "%s: %s", ends[a->end], a->why);
    snprintf(why, sizeof why, "%s cannot be reached: %s", f->at->url, a->why);
    kd_endpoint_bad(f->at, r->n_ends == 1, kd_now());
    if (nobody_reached(r) && ((a->end == KD_HTTP_TLS && r->n_ends == 1) || ((a->end == KD_HTTP_UNREACHABLE || a->end == KD_HTTP_TLS) &&
                                                                            (r->n_ends > 1 || f->tries >= TRIES_UNREACHABLE))))
        kd_run_stop(r, KD_EUNREACHABLE, why);
    try_again(r, f, KD_AGAIN_NETWORK, reason, a, NULL);
}

/* ---- answers ---- */
/* meta of a sample: what has no column of its own. */
static kd_code write_meta(kd_buf *out, const kd_run *r, const kd_flight *f, const kd_response *x, int i) {
    kd_jsonw w = {.out = out};
    kd_jsonw_object(&w);
    if (x->model[0] && strcmp(x->model, f->at->model) != 0) kd_jsonw_key(&w, "model"), kd_jsonw_cstr(&w, x->model);
    if (r->n_ends > 1) kd_jsonw_key(&w, "endpoint"), kd_jsonw_cstr(&w, f->at->url);
    if (x->refusal) kd_jsonw_key(&w, "refusal"), kd_jsonw_bool(&w, true);
    if (x->tool_calls) kd_jsonw_key(&w, "tool_calls"), kd_jsonw_bool(&w, true);
    if (f->n > 1) { /* one body for all of them, kept with the first */
        kd_jsonw_key(&w, "choice"), kd_jsonw_int(&w, i);
        if (i) kd_jsonw_key(&w, "body_of"), kd_jsonw_int(&w, f->sample[0]);
    }
    kd_jsonw_end_object(&w);
    if (out->len == 2) out->len = 0; /* {} */
    return w.code;
}

/* The raw body, less the log-probabilities that are kept by themselves. */
static kd_code take_raw(kd_kept *k, kd_buf *body, bool stream, kd_err *e) {
    assert(k);
    if (!k->logprobs.len || stream) {
        k->raw = *body;
        *body = (kd_buf){0};
        return KD_OK;
    }
    return kd_response_rest(&k->raw, kd_buf_view(body), e);
}

/* Choice i of the answer as a sample to keep; *u: usage, told by the first alone. */
static kd_code fill_kept(kd_run *r, kd_flight *f, kd_kept *k, const kd_http_answer *a, int i, double cost, kd_err *e) {
    const kd_response *x = &k->response;
    kd_json *doc = NULL;
    kd_code c = write_meta(&k->meta, r, f, x, i) ? kd_fail(e, KD_ENOMEM, "generate: out of memory") : KD_OK;
    if (!c && x->logprobs.len && !(c = kd_json_parse(&doc, x->logprobs.data, x->logprobs.len, "logprobs", e)))
        c = kd_logprobs_pack(&k->logprobs, kd_json_root(doc), r->ro->logprobs_step, e);
    kd_json_free(doc);
    bool first = i == 0;
    k->answer = (kd_answer){.prompt = f->prompt,
                            .sample = f->sample[i],
                            .prompt_tokens = first ? x->usage.prompt : -1,
                            .completion_tokens = first ? x->usage.completion : -1,
                            .reasoning_tokens = first ? x->usage.reasoning : -1,
                            .cached_tokens = first ? x->usage.cached : -1,
                            .cost = !kd_asking_priced(&r->q) ? -1
                                    : first                  ? cost
                                                             : 0,
                            .seconds = a->seconds,
                            .first_token_seconds = r->ro->stream ? a->began : -1,
                            .attempts = f->tries};
    return c;
}

static void note_latency(kd_run *r, double seconds) {
    double at = log(fmax(seconds, 1e-3) / 1e-3) / log(1.06);
    r->latency[at >= KD_LATENCIES - 1 ? KD_LATENCIES - 1 : (size_t)at]++;
}

double kd_run_latency(const kd_run *r, double q) {
    uint64_t all = 0, so_far = 0;
    for (int i = 0; i < KD_LATENCIES; i++) all += r->latency[i];
    for (int i = 0; i < KD_LATENCIES && all; i++)
        if ((double)(so_far += r->latency[i]) >= q * (double)all) return 1e-3 * pow(1.06, i + 1);
    return 0;
}

static void keep_answers(kd_run *r, kd_flight *f, kd_kept **k, const kd_http_answer *a, bool stream) {
    const kd_usage *u = &k[0]->response.usage;
    bool known = kd_usage_known(u);
    double cost = known ? kd_prices_cost(&f->at->prices, u) : f->reserved, used = known ? kd_usage_tokens(u) : f->tokens, now = kd_now();
    kd_err why = {0};
    kd_code c = KD_OK;
    settle(r, f, cost, used);
    for (int i = 0; i < f->n && !c; i++) c = fill_kept(r, f, k[i], a, i, cost, &why);
    if (!c) c = take_raw(k[0], a->body, stream, &why);
    if (c) {
        for (int i = 0; i < f->n; i++) kd_kept_free(k[i]);
        kd_flight_free(f);
        kd_run_stop(r, c, why.msg);
        return;
    }
    r->r->prompt_tokens += u->prompt > 0 ? (uint64_t)u->prompt : 0;
    r->r->completion_tokens += u->completion > 0 ? (uint64_t)u->completion : 0;
    for (int i = 0; i < f->n; i++) kd_keeper_give(r->keeper, k[i]);
    r->good += (uint64_t)f->n;
    r->last_good = now;
    note_latency(r, a->seconds);
    kd_endpoint_good(f->at);
    kd_pace_answer(&f->at->pace, f->sent, now, f->at->full_at >= f->sent);
    if (a->head->left[1] >= 0 && a->head->left[1] < used && a->head->reset[1] > 0) /* the next one like it would be refused */
        kd_pace_hold(&f->at->pace, now + fmin(a->head->reset[1], HOLD_MOST));
    kd_flight_free(f);
}

/* Server-sent events, by the word of the answer's type, or by the look of it where a server does not say. */
static bool is_stream(const kd_run *r, const kd_http_answer *a) {
    const char *type = a->head->type;
    if (!strncasecmp(type, "text/event-stream", 17)) return true;
    return r->ro->stream && strncasecmp(type, "application/json", 16) != 0 && a->body->len && a->body->data[0] != '{' &&
           a->body->data[0] != '<';
}

/* Reads every choice into k[f->n]. */
static kd_code read_choices(kd_run *r, kd_flight *f, kd_kept **k, const kd_http_answer *a, bool stream, kd_err *e) {
    kd_code c = KD_OK;
    for (int i = 0; i < f->n && !c; i++) {
        if (!(k[i] = kd_kept_new())) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
        c = kd_response_parse(&k[i]->response, kd_buf_view(a->body), stream, i, e);
        if (!c) c = kd_response_prefill(&k[i]->response, r->q.o->prefill, e);
        if (!c && k[i]->response.empty && f->tries < 2 && !r->draining) /* some answer nothing now and then; twice is an answer */
            c = kd_fail(e, KD_EFORMAT, "an empty answer, finish reason %s", k[i]->response.finish);
    }
    return c;
}

void kd_run_done(void *ctx, void *user, const kd_http_answer *a) {
    kd_run *r = ctx;
    kd_flight *f = user;
    kd_kept *few[8] = {NULL}, **k = few;
    kd_err why = {0};
    int n = f->n;
    f->at->flying--;
    if (a->end != KD_HTTP_OK) {
        f->at->reached = f->at->reached || a->end == KD_HTTP_CUT || a->end == KD_HTTP_TIMEOUT;
        r->reached = r->reached || f->at->reached;
        no_answer(r, f, a);
        return;
    }
    r->reached = f->at->reached = true;
    if (a->head->left[0] >= 0 && a->head->left[0] < 1 && a->head->reset[0] > 0)
        kd_pace_hold(&f->at->pace, kd_now() + fmin(a->head->reset[0], HOLD_MOST));
    if (a->status != 200) {
        refused(r, f, a);
        return;
    }
    bool stream = is_stream(r, a);
    if (f->n > 8 && !(k = kd_calloc((size_t)f->n, sizeof *k))) {
        kd_flight_free(f);
        out_of_memory(r);
        return;
    }
    kd_code c = read_choices(r, f, k, a, stream, &why);
    if (!c) {
        keep_answers(r, f, k, a, stream);
    } else {
        if (c == KD_ENOMEM) {
            kd_flight_free(f);
            out_of_memory(r);
        } else {
            kd_endpoint_bad(f->at, r->n_ends == 1, kd_now());
            try_again(r, f, KD_AGAIN_BODY, why.msg, a, k[0] ? &k[0]->response : NULL);
        }
        for (int i = 0; i < n; i++) kd_kept_free(k[i]);
    }
    if (k != few) kd_free(k);
}

void kd_run_dropped(void *ctx, void *user) {
    (void)ctx;
    kd_flight_free(user);
}
