/* teacher/keeper.c - see keeper.h. A group is what arrived while the last one was being written, and within 6 ms of its first: a commit costs the same for one answer
 * as for fifty, and an answer shall be on disk within 20 ms. */
#include "teacher/keeper.h"

#include <pthread.h>
#include <string.h>
#include <time.h>

enum { WAITING_MAX = 4096, GROUP_MAX = 512, LINGER_NS = 6000000, LINGER_FEW = 128 };

struct kd_keeper {
    kd_study *study;
    const kd_teach_opts *o;
    int64_t settings, run;
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t some, room;
    kd_kept *first, **last;
    size_t waiting;
    bool ending, busy, lingering;
    uint64_t added, duplicates;
    kd_err err;
};

kd_kept *kd_kept_new(void) {
    kd_kept *k = kd_calloc(1, sizeof *k);
    if (k) kd_response_clear(&k->response);
    return k;
}

void kd_kept_free(kd_kept *k) {
    if (!k) return;
    kd_response_clear(&k->response);
    kd_buf_clear(&k->raw), kd_buf_clear(&k->logprobs), kd_buf_clear(&k->meta);
    kd_free(k);
}

static kd_code commit(kd_keeper *k, kd_kept *group, size_t n, kd_err *e) {
    kd_answer *a = kd_calloc(n + 1, sizeof *a);
    kd_attempt *f = kd_calloc(n + 1, sizeof *f);
    size_t na = 0, nf = 0, added = 0;
    kd_code c = a && f ? KD_OK : kd_fail(e, KD_ENOMEM, "commit of %zu answers: out of memory", n);
    for (kd_kept *g = group; !c && g; g = g->next) {
        if (g->failed) {
            f[nf] = g->attempt;
            f[nf].reason = g->reason, f[nf++].raw = kd_buf_view(&g->raw);
            continue;
        }
        a[na] = g->answer;
        a[na].thought = kd_buf_view(&g->response.thought), a[na].answer = kd_buf_view(&g->response.answer);
        a[na].thought_from = g->response.thought_from;
        a[na].finish = g->response.finish[0] ? g->response.finish : NULL;
        a[na].logprobs = kd_buf_view(&g->logprobs);
        a[na].meta = kd_buf_view(&g->meta);
        a[na++].raw = kd_buf_view(&g->raw);
    }
    if (!c) c = kd_study_commit(k->study, k->settings, k->run, a, na, f, nf, &added, e);
    if (!c) {
        pthread_mutex_lock(&k->lock);
        k->added += added, k->duplicates += na - added;
        pthread_mutex_unlock(&k->lock);
    }
    kd_free(a), kd_free(f);
    return c;
}

/* The questions that have new answers, each once. */
static kd_code judge(kd_keeper *k, const kd_kept *group, size_t n, kd_err *e) {
    size_t m = 0;
    if (!k->o->judge) return KD_OK;
    int64_t *prompts = kd_calloc(n + 1, sizeof *prompts);
    if (!prompts) return kd_fail(e, KD_ENOMEM, "verdicts on %zu answers: out of memory", n);
    for (const kd_kept *g = group; g; g = g->next)
        if (!g->failed && (!m || prompts[m - 1] != g->answer.prompt)) prompts[m++] = g->answer.prompt;
    kd_code c = m ? k->o->judge(k->o->judge_ctx, k->study, k->settings, prompts, m, e) : KD_OK;
    kd_free(prompts);
    return c;
}

/* Gives others some time to come along. The lock is held. */
static void linger(kd_keeper *k) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += LINGER_NS;
    if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
    k->lingering = true;
    while (!k->ending && k->waiting < LINGER_FEW && pthread_cond_timedwait(&k->some, &k->lock, &until) == 0) continue;
    k->lingering = false;
}

static void *keep(void *ctx) {
    kd_keeper *k = ctx;
    for (;;) {
        pthread_mutex_lock(&k->lock);
        k->busy = false;
        while (!k->first && !k->ending) pthread_cond_wait(&k->some, &k->lock);
        if (k->first) linger(k);
        k->busy = true;
        kd_kept *group = k->first, *g = group;
        bool failed = k->err.code != KD_OK;
        size_t n = g != NULL;
        for (; g && g->next && n < GROUP_MAX; n++) g = g->next;
        if (g) {
            k->first = g->next, g->next = NULL;
            if (!k->first) k->last = &k->first;
            k->waiting -= n;
        }
        pthread_cond_broadcast(&k->room);
        pthread_mutex_unlock(&k->lock);
        if (!group) return NULL; /* ending, and nothing left */
        kd_err err = {0};
        if (!failed && (commit(k, group, n, &err) || judge(k, group, n, &err))) {
            pthread_mutex_lock(&k->lock);
            k->err = err;
            pthread_mutex_unlock(&k->lock);
        }
        while (group) {
            g = group->next;
            kd_kept_free(group);
            group = g;
        }
    }
}

kd_code kd_keeper_begin(kd_keeper **out, kd_study *s, const kd_teach_opts *o, int64_t settings, int64_t run, kd_err *e) {
    kd_keeper *k = kd_calloc(1, sizeof *k);
    *out = NULL;
    if (!k) return kd_fail(e, KD_ENOMEM, "commit thread: out of memory");
    k->study = s, k->o = o, k->settings = settings, k->run = run;
    k->last = &k->first;
    pthread_mutex_init(&k->lock, NULL);
    pthread_condattr_t steady;
    pthread_condattr_init(&steady);
    pthread_condattr_setclock(&steady, CLOCK_MONOTONIC);
    pthread_cond_init(&k->some, &steady);
    pthread_condattr_destroy(&steady);
    pthread_cond_init(&k->room, NULL);
    int rc = pthread_create(&k->thread, NULL, keep, k);
    if (rc) {
        kd_free(k);
        return kd_fail_errno(e, KD_ENOMEM, rc, "commit thread");
    }
    *out = k;
    return KD_OK;
}

void kd_keeper_give(kd_keeper *k, kd_kept *one) {
    one->next = NULL;
    pthread_mutex_lock(&k->lock);
    while (k->waiting >= WAITING_MAX) pthread_cond_wait(&k->room, &k->lock);
    *k->last = one;
    k->last = &one->next;
    k->waiting++;
    if (!k->lingering || k->waiting >= LINGER_FEW) pthread_cond_signal(&k->some);
    pthread_mutex_unlock(&k->lock);
}

bool kd_keeper_failed(kd_keeper *k) {
    pthread_mutex_lock(&k->lock);
    bool failed = k->err.code != KD_OK;
    pthread_mutex_unlock(&k->lock);
    return failed;
}

bool kd_keeper_idle(kd_keeper *k) {
    pthread_mutex_lock(&k->lock);
    bool idle = !k->first && !k->busy;
    pthread_mutex_unlock(&k->lock);
    return idle;
}

uint64_t kd_keeper_added(kd_keeper *k) {
    pthread_mutex_lock(&k->lock);
    uint64_t added = k->added;
    pthread_mutex_unlock(&k->lock);
    return added;
}

kd_code kd_keeper_end(kd_keeper *k, uint64_t *added, uint64_t *duplicates, kd_err *e) {
    if (!k) return KD_OK;
    pthread_mutex_lock(&k->lock);
    k->ending = true;
    pthread_cond_signal(&k->some);
    pthread_mutex_unlock(&k->lock);
    pthread_join(k->thread, NULL);
    *added = k->added, *duplicates = k->duplicates;
    kd_err err = k->err;
    pthread_mutex_destroy(&k->lock);
    pthread_cond_destroy(&k->some);
    pthread_cond_destroy(&k->room);
    kd_free(k);
    return err.code ? kd_fail(e, err.code, "%s", err.msg) : KD_OK;
}
