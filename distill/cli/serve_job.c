/* distill/cli/serve_job.c - between the connections' threads, which wait, and the one thread that drives the engine. A job has two holders, and is freed when
 * both have let go. Its stream of bytes and its end are under its lock; the queue and the counts are under the server's. */
#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/cli/serve.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static void after_ms(struct timespec *t, long ms) {
    clock_gettime(CLOCK_MONOTONIC, t);
    t->tv_sec += ms / 1000, t->tv_nsec += ms % 1000 * 1000000;
    if (t->tv_nsec >= 1000000000) t->tv_sec++, t->tv_nsec -= 1000000000;
}

static void wait_a_little(pthread_cond_t *c, pthread_mutex_t *m, long ms) {
    struct timespec t;
    after_ms(&t, ms);
    pthread_cond_timedwait(c, m, &t);
}

static void choice_clear(choice *c) {
    kd_buf *all[] = {&c->text, &c->thought, &c->think.held, &c->logprobs, &c->lp[0], &c->lp[1], &c->lp[2]};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_buf_clear(all[i]);
}

static void job_free(job *j) {
    for (size_t i = 0; i < j->n; i++) choice_clear(&j->choices[i]);
    kd_free(j->choices);
    kd_dry_free(j->dry);
    form_let_go(j->of, j->form);
    kd_buf_clear(&j->out);
    if (j->a) ask_clear(j->a);
    kd_free(j->a);
    pthread_mutex_destroy(&j->lock);
    pthread_cond_destroy(&j->moved);
    kd_free(j);
}

void job_release(job *j) {
    if (j && atomic_fetch_sub(&j->holders, 1) == 1) job_free(j);
}

job *job_new(serve *s, ask *a, kd_err *e) {
    job *j = kd_calloc(1, sizeof *j);
    size_t n = a->n_prompts * a->choices;
    if (!j || !(j->choices = kd_calloc(n, sizeof *j->choices))) {
        kd_free(j);
        kd_fail(e, KD_ENOMEM, "out of memory");
        return NULL;
    }
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&j->lock, NULL);
    pthread_cond_init(&j->moved, &attr);
    pthread_condattr_destroy(&attr);
    j->of = s, j->n = j->left = n, j->a = a;
    atomic_init(&j->holders, 2);
    atomic_init(&j->cancelled, false);
    j->created = kd_unix_ms() / 1000, j->t_begin = (int64_t)kd_now_ns();
    uint64_t number[2] = {s->entropy, atomic_fetch_add(&s->counter, 1)};
    snprintf(j->name, sizeof j->name, "%s-%016llx%08llx", a->chat ? "chatcmpl" : "cmpl",
             (unsigned long long)kd_hash64(number, sizeof number, 0), (unsigned long long)(number[1] & 0xffffffff));
    if (!a->seeded) a->seed = kd_hash64(number, sizeof number, 1);
    for (size_t i = 0; i < n; i++) {
        choice *c = &j->choices[i];
        const struct ask_prompt *p = &a->prompts[i / a->choices];
        c->of = j, c->index = i, c->prompt = p->tokens, c->prompt_n = p->n;
        /* As generate numbers the samples of a question (teacher/local.c): the same seed gives the same tokens. */
        c->stream = kd_hash64(p->tokens, p->n * sizeof *p->tokens, i % a->choices);
        c->think.at = !a->chat || !s->split_thoughts ? THINK_OUT : a->opened ? THINK_IN : THINK_MAYBE;
        if (i % a->choices == 0) j->prompt_tokens += p->n;
    }
    return j;
}

bool job_submit(job *j) {
    serve *s = j->of;
    bool ok = false;
    pthread_mutex_lock(&s->lock);
    if (!atomic_load(&s->draining)) {
        if (s->queue)
            s->queue_end->next = j;
        else
            s->queue = j;
        s->queue_end = j;
        atomic_fetch_add(&s->jobs, 1);
        ok = true;
        pthread_cond_signal(&s->work);
    }
    pthread_mutex_unlock(&s->lock);
    if (!ok) job_release(j); /* the engine's share of it */
    return ok;
}

void job_cancel(job *j) { atomic_store(&j->cancelled, true); }

bool job_wait(job *j, bool (*gone)(void *), void *ctx) {
    bool left = false;
    pthread_mutex_lock(&j->lock);
    while (!j->ended) {
        wait_a_little(&j->moved, &j->lock, 100);
        if (!j->ended && !left && gone(ctx)) left = true, job_cancel(j);
    }
    pthread_mutex_unlock(&j->lock);
    return !left;
}

long job_read(job *j, char *buf, size_t max, bool (*gone)(void *), void *ctx) {
    long n = 0;
    pthread_mutex_lock(&j->lock);
    while (j->out.len == j->sent && !j->ended && !n) {
        wait_a_little(&j->moved, &j->lock, 100);
        if (gone(ctx)) n = -1;
    }
    if (n < 0) {
        job_cancel(j);
    } else if (j->out.len > j->sent) {
        n = (long)(j->out.len - j->sent < max ? j->out.len - j->sent : max);
        memcpy(buf, j->out.data + j->sent, (size_t)n);
        j->sent += (size_t)n;
        if (j->sent == j->out.len) j->sent = j->out.len = 0;
    }
    pthread_mutex_unlock(&j->lock);
    return n;
}

/* ---- the engine's thread ---- */

static void end_job(job *j) {
    serve *s = j->of;
    kd_code c = j->failed.code || !j->a->stream || atomic_load(&j->cancelled) ? KD_OK : say_end(j);
    if (c) kd_fail(&j->failed, c, "out of memory");
    int64_t now = (int64_t)kd_now_ns();
    size_t generated = 0;
    for (size_t i = 0; i < j->n; i++) generated += j->choices[i].tokens;
    for (job **p = &s->running; *p; p = &(*p)->next)
        if (*p == j) {
            *p = j->next;
            break;
        }
    pthread_mutex_lock(&s->lock);
    if (atomic_load(&j->cancelled)) s->cancelled++;
    if (j->t_first) s->first_seconds += 1e-9 * (double)(j->t_first - j->t_begin), s->first_n++;
    s->seconds += 1e-9 * (double)(now - j->t_begin), s->seconds_n++;
    pthread_mutex_unlock(&s->lock);
    atomic_fetch_sub(&s->jobs, 1);
    if (s->cli->verbose)
        kd_note(s->cli, "%s: %zu prompt tokens (%zu shared), %zu generated in %.2f s%s", j->name, j->prompt_tokens, j->shared_tokens,
                generated, 1e-9 * (double)(now - j->t_begin),
                atomic_load(&j->cancelled) ? ", its client left"
                : j->failed.code           ? ", failed"
                                           : "");
    pthread_mutex_lock(&j->lock);
    j->ended = true;
    pthread_cond_broadcast(&j->moved);
    pthread_mutex_unlock(&j->lock);
    job_release(j);
}

static void on_token(void *user, const kd_piece *p) {
    choice *c = user;
    job *j = c->of;
    if (atomic_load(&j->cancelled) || j->failed.code) return;
    if (!j->t_first) j->t_first = (int64_t)kd_now_ns();
    if (say_piece(c, p, false)) kd_fail(&j->failed, KD_ENOMEM, "out of memory"), job_cancel(j);
}

static void on_done(void *user, const kd_result *r) {
    choice *c = user;
    job *j = c->of;
    c->done = true, c->finish = r->finish, c->tokens = r->n, c->thought_tokens = r->thought_tokens, c->shared = r->shared_tokens;
    j->shared_tokens += r->shared_tokens;
    if (!atomic_load(&j->cancelled) && say_piece(c, &(kd_piece){.id = -1, .text = ""}, true))
        kd_fail(&j->failed, KD_ENOMEM, "out of memory");
    if (--j->left == 0) end_job(j);
}

static void submit(serve *s, job *j) {
    const ask *a = j->a;
    j->next = s->running, s->running = j;
    size_t taken = 0;
    for (; taken < j->n && !j->failed.code && !atomic_load(&j->cancelled); taken++) {
        choice *c = &j->choices[taken];
        kd_request q = {.prompt = c->prompt,
                        .prompt_n = c->prompt_n,
                        .sampling = a->sampling,
                        .seed = a->seed,
                        .stream = c->stream,
                        .max_tokens = a->max_tokens,
                        .min_tokens = a->min_tokens,
                        .grammar = j->form ? j->form->grammar : s->form,
                        .max_thinking = a->max_thinking,
                        .thought_opened = a->opened,
                        .stop = a->stop,
                        .stops = a->stops,
                        .ignore_eog = a->ignore_eos,
                        .no_loop_guard = a->no_loop_guard,
                        .logprobs = a->logprobs,
                        .top_logprobs = a->top_logprobs,
                        .keep_answer = a->chat && a->choices == 1,
                        .on_token = on_token,
                        .on_done = on_done,
                        .user = c};
        q.sampling.dry_breakers = j->dry ? j->dry : s->dry;
        if (kd_engine_submit(s->engine, &q, &c->id, &j->failed)) break;
    }
    if (taken == j->n) return;
    /* Refused, or its client has left already: what was taken ends by itself, the rest never was. */
    for (size_t i = 0; i < taken; i++) kd_engine_cancel(s->engine, j->choices[i].id);
    if (!(j->left = taken)) end_job(j);
}

static void sweep(serve *s) {
    for (job *j = s->running, *next; j; j = next) {
        next = j->next;
        for (size_t i = 0; atomic_load(&j->cancelled) && i < j->n; i++)
            if (!j->choices[i].done) kd_engine_cancel(s->engine, j->choices[i].id);
    }
}

kd_code serve_turn(serve *s, kd_err *e) {
    size_t left = 0;
    pthread_mutex_lock(&s->lock);
    if (!s->queue && !s->running) wait_a_little(&s->work, &s->lock, 100);
    job *j = s->queue;
    s->queue = s->queue_end = NULL;
    pthread_mutex_unlock(&s->lock);
    for (job *next; j; j = next) {
        next = j->next;
        submit(s, j);
    }
    sweep(s);
    kd_code c = s->running ? kd_engine_step(s->engine, &left, e) : KD_OK;
    kd_engine_stats st = kd_engine_get_stats(s->engine);
    pthread_mutex_lock(&s->lock);
    s->stats = st;
    pthread_mutex_unlock(&s->lock);
    return c;
}

void serve_drop_all(serve *s, const kd_err *why) {
    pthread_mutex_lock(&s->lock);
    atomic_store(&s->draining, true);
    job *queued = s->queue;
    s->queue = s->queue_end = NULL;
    pthread_mutex_unlock(&s->lock);
    while (queued) {
        job *next = queued->next;
        queued->next = s->running, s->running = queued;
        queued = next;
    }
    while (s->running) {
        s->running->failed = *why;
        end_job(s->running);
    }
}
