/* teacher/remote.c - an OpenAI-compatible endpoint as the teacher. One thread leases, sends and retries; the keeper's thread commits.
 * Leans on http.h, request.h, limits.h, response.h, keeper.h. */
#include "distill/base/clock.h"
#include "distill/base/rng.h"
#include "teacher/http.h"
#include "teacher/keeper.h"
#include "teacher/limits.h"
#include "teacher/request.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { TRIES_UNREACHABLE = 3, REFUSALS = 5, BATCH = 64, HOLD_MOST = 60, AUTH_WAIT = 10 };

/* One question: leased, then flying or waiting for its next try, until it is kept or given up. */
typedef struct flight {
    int64_t prompt;
    int sample, tries;
    kd_buf body;
    double due, sent, first; /* when to try (again); when it was sent last, and first */
    double reserved;         /* USD that its try may cost at most */
    double tokens;           /* that it counts against tokens a minute */
} flight;

typedef enum { BECAUSE_LIMIT, BECAUSE_SERVER, BECAUSE_NETWORK, BECAUSE_BODY, BECAUSES } because;

typedef struct {
    kd_study *study;
    kd_work *work;
    kd_http *http;
    kd_http_target *target;
    kd_keeper *keeper;
    kd_asking q;
    const kd_remote_opts *ro;
    kd_teach_report *r;
    char *url;
    kd_buf key; /* the Authorization header */
    const char **headers;
    size_t n_headers;
    flight **waiting; /* a heap by due */
    size_t n_waiting, cap_waiting;
    kd_bucket rps, rpm, tpm;
    kd_pace pace;
    double began, spent, reserved;
    double shown, last_good, drain_until;
    uint64_t good, refused, again[BECAUSES]; /* answers; refusals in a row from the start; retries by reason */
    bool draining, reached;
    kd_code code; /* why we stop */
    kd_err err;
} run;

/* ---- waiting flights, a binary heap by due ---- */
static kd_code heap_push(run *r, flight *f) {
    if (kd_grow((void **)&r->waiting, &r->cap_waiting, r->n_waiting + 1, sizeof *r->waiting)) return KD_ENOMEM;
    size_t i = r->n_waiting++;
    for (; i && r->waiting[(i - 1) / 2]->due > f->due; i = (i - 1) / 2) r->waiting[i] = r->waiting[(i - 1) / 2];
    r->waiting[i] = f;
    return KD_OK;
}

static flight *heap_pop(run *r) {
    flight *top = r->waiting[0], *f = r->waiting[--r->n_waiting];
    size_t i = 0, n = r->n_waiting;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        k += k + 1 < n && r->waiting[k + 1]->due < r->waiting[k]->due;
        if (r->waiting[k]->due >= f->due) break;
        r->waiting[i] = r->waiting[k];
    }
    if (n) r->waiting[i] = f;
    return top;
}

static void free_flight(flight *f) {
    if (f) kd_buf_clear(&f->body);
    kd_free(f);
}

static void stop(run *r, kd_code c, const char *why) {
    if (!r->code) {
        r->code = c;
        kd_fail(&r->err, c, "%s", why);
    }
    r->draining = true;
}

static kd_code lease(run *r, size_t want, bool *dry, kd_err *e) {
    kd_work_item items[BATCH];
    size_t n = 0;
    kd_code c = kd_work_next(r->work, items, want < BATCH ? want : BATCH, &n, e);
    double now = kd_now();
    *dry = n == 0;
    for (size_t i = 0; !c && i < n; i++) {
        flight *f = kd_calloc(1, sizeof *f);
        if (!f) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
        f->prompt = items[i].prompt, f->sample = items[i].sample;
        f->due = now; /* so a retry that is due earlier goes first, one that is due later does not wait for the last question */
        c = kd_asking_body(&f->body, &r->q, &items[i], e);
        f->tokens = kd_asking_worst_tokens(&r->q, f->body.len);
        f->reserved = kd_asking_worst_price(&r->q, f->body.len);
        if (!c && heap_push(r, f)) c = kd_fail(e, KD_ENOMEM, "generate: out of memory");
        if (c) free_flight(f);
    }
    return c;
}

/* ---- endings ---- */
/* A try came home: what it reserved is free, what it cost is spent, what it did not use of tokens a minute is given back. */
static void settle(run *r, const flight *f, double cost, double tokens) {
    r->reserved = fmax(0, r->reserved - f->reserved);
    r->spent += cost;
    r->r->cost += cost;
    kd_bucket_take(&r->tpm, tokens - f->tokens);
}

/* A try that brought nothing: a row of attempts, charged by its usage, or in full where it may have cost something and did not say what. Refusals (4xx) and
 * "not now" (503) cost nothing. */
static void keep_failure(run *r, flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp, bool final) {
    kd_kept *k = kd_kept_new();
    bool known = resp && resp->prompt_tokens >= 0 && resp->completion_tokens >= 0;
    bool arrived = a->end != KD_HTTP_UNREACHABLE && a->end != KD_HTTP_TLS;
    bool free_of_charge = !arrived || (a->end == KD_HTTP_OK && a->status != 200 && (a->status < 500 || a->status == 503));
    double cost = free_of_charge ? 0
                  : known        ? kd_asking_price(&r->q, resp->prompt_tokens, resp->completion_tokens, resp->cached_tokens)
                                 : f->reserved;
    settle(r, f, cost, free_of_charge ? 0 : known ? (double)(resp->prompt_tokens + resp->completion_tokens) : f->tokens);
    if (!k) {
        stop(r, KD_ENOMEM, "generate: out of memory");
        return;
    }
    k->failed = true;
    kd_response_error(k->reason, sizeof k->reason, kd_str_of(reason));
    k->attempt = (kd_attempt){.prompt = f->prompt,
                              .sample = f->sample,
                              .status = a->status,
                              .prompt_tokens = known ? resp->prompt_tokens : -1,
                              .completion_tokens = known ? resp->completion_tokens : -1,
                              .cost = kd_asking_priced(&r->q) ? cost : -1,
                              .seconds = a->seconds,
                              .final = final};
    if (a->body->len && a->body->len <= 1 << 20 && kd_buf_append(&k->raw, a->body->data, a->body->len)) k->raw.len = 0;
    kd_keeper_give(r->keeper, k);
}

/* Not to be had for now; the commit of the attempt ends its lease. */
static void give_up(run *r, flight *f, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    keep_failure(r, f, reason, a, resp, true);
    r->r->failed++;
    free_flight(f);
}

/* Seconds before try number tries + 1: what the endpoint asks, else 1, 2, 4 ... 60, spread by a quarter. */
static double pause_before(const flight *f, const kd_http_answer *a) {
    double u = (double)kd_rng_at((uint64_t)f->prompt, (uint64_t)f->sample, (uint64_t)f->tries) / 4294967296.0;
    if (a->head->retry_after >= 0) return fmin(a->head->retry_after, 3600) + 0.25 * u;
    return fmin(60, ldexp(1, f->tries > 6 ? 6 : f->tries - 1)) * (0.75 + 0.5 * u);
}

/* A question is at the end of its tries, and nothing was answered since its first: it is not the question. */
static void out_of_tries(run *r, const flight *f, const char *reason) {
    char why[480];
    if (r->last_good >= f->first) return;
    snprintf(why, sizeof why, "%s: no answer in %.0f s of trying again: %s", r->url, kd_now() - f->first, reason);
    stop(r, r->reached ? KD_ELIMIT : KD_EUNREACHABLE, why);
}

static void try_again(run *r, flight *f, because b, const char *reason, const kd_http_answer *a, const kd_response *resp) {
    int most = 1 + (r->ro->retries >= 0 ? r->ro->retries : 6);
    if (!r->draining && (f->tries >= most || a->head->should_retry == 0)) {
        if (f->tries >= most) out_of_tries(r, f, reason);
        give_up(r, f, reason, a, resp);
        return;
    }
    keep_failure(r, f, reason, a, resp, false);
    if (r->draining) { /* the next run asks it */
        free_flight(f);
        return;
    }
    r->r->retried++;
    r->again[b]++;
    f->due = kd_now() + pause_before(f, a);
    if (heap_push(r, f)) {
        free_flight(f);
        stop(r, KD_ENOMEM, "generate: out of memory");
    }
}

static void keep_answer(run *r, flight *f, kd_kept *k, const kd_http_answer *a) {
    const kd_response *x = &k->response;
    bool known = x->prompt_tokens >= 0 && x->completion_tokens >= 0;
    double cost = known ? kd_asking_price(&r->q, x->prompt_tokens, x->completion_tokens, x->cached_tokens) : f->reserved;
    double used = known ? (double)(x->prompt_tokens + x->completion_tokens) : f->tokens;
    settle(r, f, cost, used);
    k->answer = (kd_answer){.prompt = f->prompt,
                            .sample = f->sample,
                            .prompt_tokens = x->prompt_tokens,
                            .completion_tokens = x->completion_tokens,
                            .reasoning_tokens = x->reasoning_tokens,
                            .cached_tokens = x->cached_tokens,
                            .cost = kd_asking_priced(&r->q) ? cost : -1,
                            .seconds = a->seconds,
                            .first_token_seconds = r->ro->stream ? a->first_byte : -1,
                            .attempts = f->tries};
    k->raw = *a->body;
    *a->body = (kd_buf){0};
    r->r->prompt_tokens += x->prompt_tokens > 0 ? (uint64_t)x->prompt_tokens : 0;
    r->r->completion_tokens += x->completion_tokens > 0 ? (uint64_t)x->completion_tokens : 0;
    kd_keeper_give(r->keeper, k);
    r->good++;
    r->last_good = kd_now();
    kd_pace_answer(&r->pace);
    if (a->head->left[1] >= 0 && a->head->left[1] < used && a->head->reset[1] > 0) /* the next one like it would be refused */
        kd_pace_hold(&r->pace, r->last_good + fmin(a->head->reset[1], HOLD_MOST));
    free_flight(f);
}

static void refused(run *r, flight *f, const kd_http_answer *a) {
    char said[320], reason[400], why[480];
    kd_response_error(said, sizeof said, kd_buf_view(a->body));
    snprintf(reason, sizeof reason, "http %d: %s", a->status, said);
    bool slow = a->status == 429 || a->status == 503;
    if (a->status == 401 || a->status == 403) {
        snprintf(why, sizeof why, "%s: the key was refused (%s)", r->url, reason);
        stop(r, KD_EAUTH, why);
        r->drain_until = fmin(r->drain_until, kd_now() + AUTH_WAIT);
        keep_failure(r, f, reason, a, NULL, true);
        free_flight(f);
        return;
    }
    if (slow) {
        kd_pace_cut(&r->pace, f->sent, kd_now());
        if (a->head->retry_after > 0) /* said to one, meant for all */
            kd_pace_hold(&r->pace, kd_now() + fmin(a->head->retry_after, HOLD_MOST));
    }
    if (a->head->should_retry == 1 || a->status == 408 || a->status == 409 || a->status == 429 || a->status >= 500) {
        try_again(r, f, slow ? BECAUSE_LIMIT : BECAUSE_SERVER, reason, a, NULL);
        return;
    }
    give_up(r, f, reason, a, NULL);
    if (!r->good && ++r->refused >= REFUSALS) {
        snprintf(why, sizeof why, "%s refuses every request: %s", r->url, reason);
        stop(r, KD_ELIMIT, why);
    }
}

static void no_answer(run *r, flight *f, const kd_http_answer *a) {
    static const char *const ends[] = {"", "unreachable", "tls", "timeout", "cut", "too big", "failed"};
    char reason[400], why[480];
    snprintf(reason, sizeof reason, "%s: %s", ends[a->end], a->why);
    snprintf(why, sizeof why, "%s cannot be reached: %s", r->url, a->why);
    if (a->end == KD_HTTP_TLS && !r->reached)
        stop(r, KD_EUNREACHABLE, why);
    else if (a->end == KD_HTTP_UNREACHABLE && !r->reached && f->tries >= TRIES_UNREACHABLE)
        stop(r, KD_EUNREACHABLE, why);
    try_again(r, f, BECAUSE_NETWORK, reason, a, NULL);
}

/* Server-sent events, by the word of the answer's type, or by the look of it where a server does not say. */
static bool is_stream(const run *r, const kd_http_answer *a) {
    if (!strncasecmp(a->head->type, "text/event-stream", 17)) return true;
    return r->ro->stream && strncasecmp(a->head->type, "application/json", 16) != 0 && a->body->len && a->body->data[0] != '{' &&
           a->body->data[0] != '<';
}

static void on_done(void *ctx, void *user, const kd_http_answer *a) {
    run *r = ctx;
    flight *f = user;
    if (a->end != KD_HTTP_OK) {
        r->reached = r->reached || a->end == KD_HTTP_CUT || a->end == KD_HTTP_TIMEOUT;
        no_answer(r, f, a);
        return;
    }
    r->reached = true;
    if (a->head->left[0] >= 0 && a->head->left[0] < 1 && a->head->reset[0] > 0)
        kd_pace_hold(&r->pace, kd_now() + fmin(a->head->reset[0], HOLD_MOST));
    if (a->status != 200) {
        refused(r, f, a);
        return;
    }
    kd_kept *k = kd_kept_new();
    kd_err why = {0};
    kd_code c = k ? kd_response_parse(&k->response, kd_buf_view(a->body), is_stream(r, a), &why) : KD_ENOMEM;
    if (c == KD_ENOMEM) {
        kd_kept_free(k);
        free_flight(f);
        stop(r, KD_ENOMEM, "generate: out of memory");
        return;
    }
    if (!c && k->response.empty && f->tries < 2 && !r->draining) /* some answer nothing now and then; twice is an answer */
        c = kd_fail(&why, KD_EFORMAT, "an empty answer, finish reason %s", k->response.finish);
    if (c) {
        try_again(r, f, BECAUSE_BODY, why.msg, a, &k->response);
        kd_kept_free(k);
    } else
        keep_answer(r, f, k, a);
}

static void on_drop(void *ctx, void *user) {
    (void)ctx;
    free_flight(user);
}

/* ---- the loop ---- */
/* The next flight, if it may go now. */
static flight *next_due(run *r, double now, size_t flying, double *next) {
    if (!r->n_waiting || r->draining || flying >= (size_t)r->pace.limit) return NULL;
    flight *f = r->waiting[0];
    double wait = fmax(f->due, r->pace.hold) - now;
    wait = fmax(wait, kd_bucket_wait(&r->rps, 1, now));
    wait = fmax(wait, kd_bucket_wait(&r->rpm, 1, now));
    wait = fmax(wait, kd_bucket_wait(&r->tpm, f->tokens, now));
    if (wait > 0) {
        *next = fmin(*next, wait);
        return NULL;
    }
    if (r->ro->budget >= 0 && r->spent + r->reserved + f->reserved > r->ro->budget) {
        if (!flying) /* else what is in flight may cost less than it reserves */
            stop(r, KD_ELIMIT, "the budget is reached: another request might pass it");
        return NULL;
    }
    return f;
}

/* Sends what is due, a group at a time: noted in the study first, so that a kill cannot make its cost vanish. */
static kd_code send_due(run *r, double now, double *next, kd_err *e) {
    for (size_t n = BATCH; n == BATCH;) {
        flight *group[BATCH];
        kd_work_try tries[BATCH];
        kd_code c = KD_OK;
        for (n = 0; n < BATCH && next_due(r, now, kd_http_flying(r->http) + n, next); n++) {
            flight *f = group[n] = heap_pop(r);
            tries[n] = (kd_work_try){f->prompt, f->sample, kd_asking_priced(&r->q) ? f->reserved : -1};
            f->tries++;
            f->sent = now;
            f->first = f->tries == 1 ? now : f->first;
            r->reserved += f->reserved;
            kd_bucket_take(&r->rps, 1), kd_bucket_take(&r->rpm, 1), kd_bucket_take(&r->tpm, f->tokens);
        }
        c = kd_work_sent(r->work, tries, n, e);
        for (size_t i = 0; i < n; i++)
            if (c || (c = kd_http_send(r->http, r->target, KD_HTTP_POST, kd_buf_view(&group[i]->body), group[i], e)))
                free_flight(group[i]);
        if (c) return c;
    }
    return KD_OK;
}

static void show(run *r, const kd_watch *w) {
    char text[240], cost[48] = "", again[96] = "";
    double now = kd_now(), s = fmax(now - r->began, 1e-3);
    if (now - r->shown < 0.1) return;
    r->shown = now;
    if (kd_asking_priced(&r->q)) snprintf(cost, sizeof cost, ", $%.4f", r->spent);
    if (r->r->retried)
        snprintf(again, sizeof again, ", retries: %llu limit, %llu server, %llu network, %llu body",
                 (unsigned long long)r->again[BECAUSE_LIMIT], (unsigned long long)r->again[BECAUSE_SERVER],
                 (unsigned long long)r->again[BECAUSE_NETWORK], (unsigned long long)r->again[BECAUSE_BODY]);
    snprintf(text, sizeof text, "%zu in flight of %.0f, %.1f/s, %.0f tokens/s%s%s%s", kd_http_flying(r->http), floor(r->pace.limit),
             (double)r->good / s, (double)r->r->completion_tokens / s, cost, again, r->pace.hold > now ? ", held by the endpoint" : "");
    kd_emit(w, (kd_event){.kind = KD_EV_STEP,
                          .stage = "generate",
                          .done = r->r->done_before + r->good,
                          .total = r->r->total,
                          .unit = "answers",
                          .text = text});
}

static kd_code ask(run *r, const kd_watch *w, kd_err *e) {
    kd_code c = KD_OK;
    bool dry = false;
    double looked = 0, beat = kd_now();
    r->began = kd_now();
    while (!c) {
        double now = kd_now(), next = 0.25;
        int code = kd_stopping(w);
        if (code) stop(r, (kd_code)code, "stopped; run it again to go on");
        if (kd_keeper_failed(r->keeper)) { /* what else comes could not be kept either */
            stop(r, KD_EIO, "an answer could not be kept");
            break;
        }
        size_t ahead = (size_t)(1.5 * r->pace.limit) + 16, have = r->n_waiting + kd_http_flying(r->http);
        if (!r->draining && have < ahead && (!dry || now - looked > 2)) c = lease(r, ahead - have, &dry, e), looked = now;
        if (!c) c = send_due(r, kd_now(), &next, e);
        if (c || (!kd_http_flying(r->http) && (r->draining || (dry && !r->n_waiting))) || now > r->drain_until) break;
        c = kd_http_poll(r->http, dry || r->n_waiting ? (int)(1000 * next) + 1 : 1, e);
        if (!c && kd_now() - beat > 20) c = kd_work_beat(r->work, e), beat = kd_now();
        show(r, w);
    }
    r->r->seconds = kd_now() - r->began;
    return c ? c : r->code ? kd_fail(e, r->code, "%s", r->err.msg) : KD_OK;
}

static kd_code prepare(run *r, kd_err *e) {
    const kd_remote_opts *ro = r->ro;
    kd_buf url = {0};
    size_t n = strlen(ro->url);
    while (n && ro->url[n - 1] == '/') n--;
    kd_code c = kd_buf_printf(&url, "%.*s/chat/completions", (int)n, ro->url);
    r->url = kd_buf_take(&url);
    r->headers = kd_calloc(ro->n_headers + 2, sizeof *r->headers);
    if (!c && ro->key) c = kd_buf_printf(&r->key, "Authorization: Bearer %s", ro->key);
    if (c || !r->url || !r->headers) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    r->headers[r->n_headers++] = "Content-Type: application/json";
    if (r->key.len) r->headers[r->n_headers++] = r->key.data;
    for (size_t i = 0; i < ro->n_headers; i++) r->headers[r->n_headers++] = ro->headers[i];
    double now = kd_now();
    r->pace = kd_pace_of((double)ro->concurrency);
    r->rps = kd_bucket_of(ro->rps, fmax(1, ro->rps / 10), now); /* small buckets: a full one adds to what its first minute may pass */
    r->rpm = kd_bucket_of(ro->rpm / 60, fmax(1, ro->rpm / 60), now);
    r->tpm = kd_bucket_of(ro->tpm / 60, fmax(1, ro->tpm / 20), now);
    r->drain_until = INFINITY, r->last_good = -INFINITY;
    if ((c = kd_http_target_new(&r->target, r->url, r->headers, r->n_headers, e))) return c;
    return kd_http_new(
        &r->http,
        &(kd_http_opts){.ca_file = ro->ca_file, .timeout = ro->timeout, .stall = ro->stream ? 120 : 0, .connections = ro->concurrency + 8},
        on_done, on_drop, NULL, r, e);
}

static void clear(run *r) {
    kd_http_free(r->http);
    kd_http_target_free(r->target);
    while (r->n_waiting) free_flight(heap_pop(r));
    if (r->key.data) explicit_bzero(r->key.data, r->key.cap);
    kd_buf_clear(&r->key);
    kd_free(r->waiting), kd_free(r->headers), kd_free(r->url);
    kd_work_close(r->work);
    kd_asking_clear(&r->q);
}

kd_code kd_teach_remote(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *given, const kd_watch *w, kd_teach_report *rep,
                        kd_err *e) {
    kd_remote_opts ro = *given;
    run r = {.study = s, .ro = &ro, .r = rep};
    kd_buf json = {0};
    kd_work_state state;
    kd_spend spend;
    int64_t id = 0;
    memset(rep, 0, sizeof *rep);
    ro.concurrency = given->concurrency ? given->concurrency : 32;
    kd_code c = kd_asking_init(&r.q, o, &ro, e);
    if (c) return c;
    c = kd_asking_settings(&json, &r.q, e);
    if (!c) c = kd_study_settings(s, &rep->settings, json.data, NULL, e);
    if (!c) c = kd_work_open(&r.work, s, rep->settings, &o->work, e);
    if (!c) c = kd_work_count(r.work, &state, e);
    if (!c) c = kd_study_spend(s, rep->settings, &spend, e);
    if (c) goto done;
    rep->total = state.total, rep->done_before = state.done, r.spent = spend.cost;
    if (state.done == state.total) goto done;
    if (ro.budget >= 0 && state.elsewhere) /* it reserves what we cannot see */
        c = kd_fail(e, KD_ELIMIT, "%s: another process asks under these settings: a hard budget is for one at a time", kd_study_path(s));
    if (!c) c = prepare(&r, e);
    if (!c) c = kd_run_begin(s, &id, "generate", json.data, NULL, e);
    if (!c) c = kd_keeper_begin(&r.keeper, s, rep->settings, id, e);
    if (c) goto done;
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "generate", .done = state.done, .total = state.total, .unit = "answers"});
    c = ask(&r, w, e);
    kd_err kept = {0};
    kd_code k = kd_keeper_end(r.keeper, &rep->answered, &rep->duplicates, &kept);
    if (k) /* the study's own trouble comes first: answers were lost */
        c = kd_fail(e, k, "%s", kept.msg);
    kd_emit(w,
            (kd_event){
                .kind = KD_EV_END, .stage = "generate", .done = rep->done_before + rep->answered, .total = rep->total, .unit = "answers"});
    k = kd_run_end(s, id, c == KD_OK ? "done" : c == KD_EINTERRUPT || c == KD_ETERMINATE ? "interrupted" : "failed", c ? NULL : e);
    c = c ? c : k;
done:
    clear(&r);
    kd_buf_clear(&json);
    return c;
}
