/* teacher/remote.c - OpenAI-compatible endpoints as the teacher: the loop of a run. One thread leases, sends and retries; the keeper's thread commits.
 * Leans on remote_int.h. */
#include "teacher/remote_int.h"

#include "distill/base/clock.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { BATCH = 64 };
static const double BROKE_S = 0.02; /* how long a no of the budget holds: what comes home may make room */

/* ---- waiting flights, a binary heap by due ---- */
kd_code kd_run_wait(kd_run *r, kd_flight *f) {
    if (kd_grow((void **)&r->waiting, &r->cap_waiting, r->n_waiting + 1, sizeof *r->waiting)) return KD_ENOMEM;
    size_t i = r->n_waiting++;
    for (; i && r->waiting[(i - 1) / 2]->due > f->due; i = (i - 1) / 2) r->waiting[i] = r->waiting[(i - 1) / 2];
    r->waiting[i] = f;
    return KD_OK;
}

kd_flight *kd_run_next(kd_run *r) {
    kd_flight *top = r->waiting[0], *f = r->waiting[--r->n_waiting];
    size_t i = 0, n = r->n_waiting;
    for (size_t k; (k = 2 * i + 1) < n; i = k) {
        k += k + 1 < n && r->waiting[k + 1]->due < r->waiting[k]->due;
        if (r->waiting[k]->due >= f->due) break;
        r->waiting[i] = r->waiting[k];
    }
    if (n) r->waiting[i] = f;
    return top;
}

void kd_flight_free(kd_flight *f) {
    if (f) kd_buf_clear(&f->body);
    kd_free(f);
}

void kd_run_stop(kd_run *r, kd_code c, const char *why) {
    if (!r->code) {
        r->code = c;
        kd_fail(&r->err, c, "%s", why);
    }
    r->draining = true;
}

/* ---- leasing ---- */
/* Items [at, at + n) are samples of one question: one request. */
static kd_code add_flight(kd_run *r, const kd_work_item *items, int n, double now, kd_err *e) {
    kd_flight *f = kd_calloc(1, sizeof *f + (size_t)n * sizeof *f->sample);
    if (!f) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    f->prompt = items[0].prompt, f->n = n;
    for (int i = 0; i < n; i++) f->sample[i] = items[i].sample;
    f->due = now; /* so a retry that is due earlier goes first, one that is due later does not wait for the last question */
    f->model = r->ends[0].model;
    kd_code c = kd_asking_body(&f->body, &r->q, items, f->model, n, false, e);
    f->tokens = kd_asking_worst_tokens(&r->q, f->body.len, n);
    r->worst_each = kd_asking_worst_price(&r->q, &r->ends[0].prices, f->body.len, n) / n;
    if (!c && kd_run_wait(r, f)) c = kd_fail(e, KD_ENOMEM, "generate: out of memory");
    if (c) kd_flight_free(f);
    return c;
}

static kd_code lease(kd_run *r, size_t want, bool *dry, kd_err *e) {
    kd_work_item items[BATCH];
    size_t n = 0, most = r->ro->choices > 1 ? (size_t)r->ro->choices : 1;
    kd_code c = kd_work_next(r->work, items, want * most < BATCH ? want * most : BATCH, &n, e);
    double now = kd_now();
    *dry = n == 0;
    for (size_t i = 0, k; !c && i < n; i += k) {
        for (k = 1; k < most && i + k < n && items[i + k].prompt == items[i].prompt;) k++;
        c = add_flight(r, &items[i], (int)k, now, e);
    }
    return c;
}

/* ---- sending ---- */
static bool bound(const char **limit, const char *name, double wait, double *most) {
    if (wait <= *most) return false;
    *most = wait, *limit = name;
    return true;
}

/* The next flight, if it may go now, and where to. */
static kd_flight *next_due(kd_run *r, double now, double *next) {
    double none = INFINITY;
    if (!r->n_waiting || r->draining || (r->broke > 0 && now - r->broke < BROKE_S)) return NULL;
    kd_flight *f = r->waiting[0];
    double wait = f->due - now;
    r->limit = NULL;
    wait = fmax(wait, 0);
    bound(&r->limit, "rps", kd_bucket_wait(&r->rps, 1, now), &wait);
    bound(&r->limit, "rpm", kd_bucket_wait(&r->rpm, 1, now), &wait);
    bound(&r->limit, "tpm", kd_bucket_wait(&r->tpm, f->tokens, now), &wait);
    if (wait > 0) {
        *next = fmin(*next, wait);
        return NULL;
    }
    kd_endpoint *p = kd_endpoint_choose(r->ends, r->n_ends, f->tries ? f->at : NULL, now, &none);
    if (!p) {
        *next = fmin(*next, none);
        r->limit = none < INFINITY ? "the endpoint's word" : NULL;
        return NULL;
    }
    f->at = p;
    return f;
}

/* The body names the model as its endpoint does: it begins with {"model":"...". */
static kd_code rename_model(kd_flight *f, kd_err *e) {
    kd_buf old = {0}, body = {0};
    kd_jsonw a = {.out = &old}, b = {.out = &body};
    if (strcmp(f->model, f->at->model) == 0) return KD_OK;
    kd_jsonw_object(&a), kd_jsonw_key(&a, "model"), kd_jsonw_cstr(&a, f->model);
    kd_jsonw_object(&b), kd_jsonw_key(&b, "model"), kd_jsonw_cstr(&b, f->at->model);
    kd_code c = a.code ? a.code : b.code;
    if (!c) c = kd_buf_append(&body, f->body.data + old.len, f->body.len - old.len);
    kd_buf_clear(&old);
    if (c) {
        kd_buf_clear(&body);
        return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    }
    kd_buf_clear(&f->body);
    f->body = body, f->model = f->at->model;
    return KD_OK;
}

static void take_off(kd_run *r, kd_flight *f, double now) {
    f->tries++;
    f->sent = now;
    f->first = f->tries == 1 ? now : f->first;
    f->reserved = kd_asking_worst_price(&r->q, &f->at->prices, f->body.len, f->n);
    f->at->flying++;
    r->reserved += f->reserved;
    r->asked++;
    kd_bucket_take(&r->rps, 1), kd_bucket_take(&r->rpm, 1), kd_bucket_take(&r->tpm, f->tokens);
}

/* The budget said no: as if it had not been taken up. */
static kd_code put_back(kd_run *r, kd_flight *f, double now, kd_err *e) {
    f->tries--;
    f->at->flying--;
    r->reserved = fmax(0, r->reserved - f->reserved);
    r->asked--;
    r->broke = now;
    kd_bucket_take(&r->rps, -1), kd_bucket_take(&r->rpm, -1), kd_bucket_take(&r->tpm, -f->tokens);
    if (!kd_run_wait(r, f)) return KD_OK;
    kd_flight_free(f);
    return kd_fail(e, KD_ENOMEM, "generate: out of memory");
}

/* Notes the tries in the study, whole requests alone: *go of the n may go. */
static kd_code note(kd_run *r, kd_flight **group, size_t n, size_t *go, kd_err *e) {
    kd_work_try few[BATCH], *tries = few;
    size_t m = 0, all = 0, may = 0;
    *go = 0;
    for (size_t i = 0; i < n; i++) all += (size_t)group[i]->n;
    if (all > BATCH && !(tries = kd_calloc(all, sizeof *tries))) return kd_fail(e, KD_ENOMEM, "generate: out of memory");
    bool priced = kd_asking_priced(&r->q);
    for (size_t i = 0; i < n; i++)
        for (int k = 0; k < group[i]->n; k++) /* the first carries the cost of all */
            tries[m++] = (kd_work_try){group[i]->prompt, group[i]->sample[k], !priced ? -1 : k ? 0 : group[i]->reserved};
    kd_code c = kd_work_sent(r->work, tries, m, r->ro->budget, &may, e);
    while (!c && *go < n && may >= (size_t)group[*go]->n) may -= (size_t)group[(*go)++]->n;
    if (tries != few) kd_free(tries);
    return c;
}

/* Sends what is due, a group at a time: noted in the study first, so that a kill cannot make its cost vanish. */
static kd_code send_due(kd_run *r, double now, double *next, kd_err *e) {
    size_t most = r->ro->choices > 1 ? 1 : BATCH; /* several answers a request: one at a time, so that none of them is noted and not sent */
    for (size_t n = most, go = 0; n == most;) {
        kd_flight *group[BATCH];
        for (n = 0; n < most && next_due(r, now, next); n++) {
            group[n] = kd_run_next(r);
            take_off(r, group[n], now);
        }
        kd_code c = note(r, group, n, &go, e);
        for (size_t i = 0; i < n; i++) {
            kd_flight *f = group[i];
            if (!c && i >= go) {
                c = put_back(r, f, now, e);
                continue;
            }
            if (c || (c = rename_model(f, e)) || (c = kd_http_send(r->http, f->at->target, KD_HTTP_POST, kd_buf_view(&f->body), f, e)))
                kd_flight_free(f);
        }
        if (c) return c;
        if (go < n) { /* the budget */
            *next = fmin(*next, BROKE_S);
            if (!kd_http_flying(r->http) && kd_keeper_idle(r->keeper))
                kd_run_stop(r, KD_ELIMIT, "the budget is reached: another request might pass it");
            break;
        }
    }
    return KD_OK;
}

/* ---- telling ---- */
static const char *limit_text(const kd_run *r, double now, char s[64]) {
    const kd_pace *p = &r->ends[0].pace;
    if (r->broke > 0 && now - r->broke < 1) return ", limit: budget";
    if (r->limit) {
        snprintf(s, 64, ", limit: %s", r->limit);
        return s;
    }
    if (p->limit < fmin(p->knee, p->most) - 1) return ", limit: 429";
    return p->phase != KD_PACE_BASE && p->knee < p->most - 1 ? ", limit: the endpoint queues" : "";
}

static void show(kd_run *r) {
    char text[240], cost[64] = "", again[96] = "", limit[64];
    double now = kd_now(), s = fmax(now - r->began, 1e-3), window = 0;
    size_t n = 0;
    if (now - r->shown < 0.1) return;
    r->shown = now;
    const uint64_t kept = kd_keeper_added(r->keeper), done = r->r->done_before + kept; /* what is told to be done is on disk */
    for (size_t i = 0; i < r->n_ends; i++) window += r->ends[i].health == KD_WELL ? floor(kd_pace_window(&r->ends[i].pace)) : 0;
    if (kd_asking_priced(&r->q)) {
        double each = r->good ? r->r->cost / (double)r->good : 0;
        bool known = r->good && !r->q.o->work.until && r->r->total >= done;
        n = (size_t)snprintf(cost, sizeof cost, ", $%.4f", r->spent);
        if (known) snprintf(cost + n, sizeof cost - n, " of ~$%.4f", r->spent + each * (double)(r->r->total - done));
    }
    static const char *const names[] = {"limit", "server", "network", "body"};
    n = r->r->retried ? (size_t)snprintf(again, sizeof again, ", retries") : 0;
    for (int i = 0; i < KD_AGAINS && n; i++)
        if (r->again[i]) n += (size_t)snprintf(again + n, sizeof again - n, " %s %llu", names[i], (unsigned long long)r->again[i]);
    snprintf(text, sizeof text, "%zu/%.0f in flight, tok/s %.0f in %.0f out%s%s%s", kd_http_flying(r->http), window,
             (double)r->r->prompt_tokens / s, (double)r->r->completion_tokens / s, cost, again, limit_text(r, now, limit));
    if (r->q.o->work.until) { /* questions are settled by verdicts: counted now and then, for it takes a walk */
        kd_emit(r->watch, (kd_event){.kind = KD_EV_STEP, .stage = "generate", .done = kept, .unit = "answers", .text = text});
        return;
    }
    kd_emit(r->watch,
            (kd_event){.kind = KD_EV_STEP, .stage = "generate", .done = done, .total = r->r->total, .unit = "answers", .text = text});
}

/* ---- the loop ---- */
static double window_of(const kd_run *r) {
    double all = 0;
    for (size_t i = 0; i < r->n_ends; i++) all += kd_pace_window(&r->ends[i].pace);
    return all;
}

/* Nothing is left to ask, to come home, or to be judged. look: when the queue was last found empty. */
static bool all_done(kd_run *r, bool dry, bool settled) {
    if (kd_http_flying(r->http)) return false;
    if (r->draining) return true;
    if (!dry || r->n_waiting) return false;
    bool verdicts = r->q.o->work.until || r->q.o->work.adaptive;
    return !verdicts || (settled && !kd_work_open_questions(r->work));
}

static kd_code ask(kd_run *r, kd_err *e) {
    kd_code c = KD_OK;
    bool dry = false, idle = false, settled = false, verdicts = r->q.o->work.until || r->q.o->work.adaptive;
    double looked = 0, beat = kd_now();
    r->began = kd_now();
    while (!c) {
        double now = kd_now(), next = 0.25;
        int code = kd_stopping(r->watch);
        if (code) kd_run_stop(r, (kd_code)code, "stopped; run it again to go on");
        if (kd_keeper_failed(r->keeper)) { /* what else comes could not be kept either */
            kd_run_stop(r, KD_EIO, "an answer could not be kept");
            break;
        }
        const double window = window_of(r);
        const size_t ahead = (size_t)(1.5 * window) + 16, low = (size_t)window + 8, have = r->n_waiting + kd_http_flying(r->http);
        if (!r->draining && have < low && /* many at a time: a lease is a transaction */ (!dry || now - looked > (verdicts ? 0.02 : 2))) {
            idle = !kd_http_flying(r->http) && !r->n_waiting && kd_keeper_idle(r->keeper);
            if (idle) kd_work_look(r->work);
            c = lease(r, ahead - have, &dry, e), looked = now;
            settled = dry && idle; /* nothing to be had while every verdict was known */
        }
        if (!c) c = send_due(r, kd_now(), &next, e);
        if (c || all_done(r, dry, settled) || now > r->drain_until) break;
        if (verdicts && dry) next = fmin(next, 0.02);
        c = kd_http_poll(r->http, dry || r->n_waiting ? (int)(1000 * next) + 1 : 1, e);
        if (!c && kd_now() - beat > 20) c = kd_work_beat(r->work, e), beat = kd_now();
        show(r);
    }
    r->shown = 0; /* the last word is of now */
    show(r);
    r->r->seconds = kd_now() - r->began;
    return c ? c : r->code ? kd_fail(e, r->code, "%s", r->err.msg) : KD_OK;
}

static bool began(void *ctx, void *user, kd_str so_far) {
    (void)ctx, (void)user;
    return kd_response_began(so_far);
}

static kd_code prepare(kd_run *r, kd_err *e) {
    const kd_remote_opts *ro = r->ro;
    kd_code c = kd_endpoints_new(&r->ends, &r->n_ends, ro, e);
    if (c) return c;
    double now = kd_now();
    r->rps = kd_bucket_of(ro->rps, fmax(1, ro->rps / 10), now); /* small buckets: a full one adds to what its first minute may pass */
    r->rpm = kd_bucket_of(ro->rpm / 60, fmax(1, ro->rpm / 60), now);
    r->tpm = kd_bucket_of(ro->tpm / 60, fmax(1, ro->tpm / 20), now);
    r->drain_until = INFINITY, r->last_good = -INFINITY;
    kd_http_opts o = {.ca_file = ro->ca_file,
                      .timeout = ro->timeout,
                      .stall = ro->stream ? 120 : 0,
                      .connections = r->n_ends * ro->concurrency + 8};
    return kd_http_new(&r->http, &o, kd_run_done, kd_run_dropped, ro->stream ? began : NULL, r, e);
}

static void clear(kd_run *r) {
    kd_http_free(r->http);
    kd_endpoints_free(r->ends, r->n_ends);
    while (r->n_waiting) kd_flight_free(kd_run_next(r));
    kd_free(r->waiting);
    kd_work_close(r->work);
    kd_asking_clear(&r->q);
}

/* Asks, keeps, and closes the record of the run. */
static kd_code run_all(kd_run *r, const char *json, const kd_work_state *state, kd_err *e) {
    kd_teach_report *rep = r->r;
    int64_t id = 0;
    kd_code c = prepare(r, e), k;
    if (!c) c = kd_run_begin(r->study, &id, "generate", json, NULL, e);
    if (!c && r->q.o->judge) c = r->q.o->judge(r->q.o->judge_ctx, r->study, rep->settings, NULL, 0, e);
    if (!c) c = kd_keeper_begin(&r->keeper, r->study, r->q.o, rep->settings, id, e);
    if (c) return c;
    const char *unit = r->q.o->work.until ? "questions" : "answers";
    kd_emit(r->watch, (kd_event){.kind = KD_EV_BEGIN, .stage = "generate", .done = state->done, .total = state->total, .unit = unit});
    c = ask(r, e);
    kd_err kept = {0};
    k = kd_keeper_end(r->keeper, &rep->answered, &rep->duplicates, &kept);
    if (k) /* the study's own trouble comes first: answers were lost */
        c = kd_fail(e, k, "%s", kept.msg);
    static const double shares[] = {0.5, 0.9, 0.99};
    for (int i = 0; i < 3; i++) rep->latency[i] = kd_run_latency(r, shares[i]);
    kd_emit(
        r->watch,
        (kd_event){.kind = KD_EV_END, .stage = "generate", .done = rep->done_before + rep->answered, .total = rep->total, .unit = unit});
    k = kd_run_end(r->study, id, c == KD_OK ? "done" : c == KD_EINTERRUPT || c == KD_ETERMINATE ? "interrupted" : "failed", c ? NULL : e);
    return c ? c : k;
}

kd_code kd_teach_remote(kd_study *s, const kd_teach_opts *o, const kd_remote_opts *given, const kd_watch *w, kd_teach_report *rep,
                        kd_err *e) {
    kd_remote_opts ro = *given;
    kd_run r = {.study = s, .ro = &ro, .r = rep, .watch = w};
    kd_buf json = {0};
    kd_work_state state;
    kd_spend spend;
    memset(rep, 0, sizeof *rep);
    ro.concurrency = given->concurrency ? given->concurrency : 32;
    kd_code c = kd_asking_init(&r.q, o, &ro, e);
    if (c) return c;
    c = kd_asking_settings(&json, &r.q, e);
    if (!c) c = kd_study_settings(s, &rep->settings, json.data, NULL, e);
    if (!c) c = kd_work_open(&r.work, s, rep->settings, &o->work, e);
    if (!c) c = kd_work_count(r.work, &state, e);
    if (!c) c = kd_study_spend(s, rep->settings, &spend, e);
    if (!c) {
        rep->total = state.total, rep->done_before = state.done, r.spent = spend.cost;
        if (state.done < state.total) c = run_all(&r, json.data, &state, e);
    }
    clear(&r);
    kd_buf_clear(&json);
    return c;
}
