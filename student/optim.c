/* student/optim.c - optimizers, clipping, schedules. Leans on optim.h. */
#include "student/optim.h"

#include "distill/math/grad.h"

#include <math.h>
#include <string.h>

enum { CHUNK = 1 << 15 };

static const char *const optimizer_names[KD_OPTIMIZERS] = {"adamw", "sgd"};
static const char *const schedule_names[KD_SCHEDULES] = {"constant", "linear", "cosine", "wsd"};
static bool named(const char *const *names, int n, const char *name, int *out) {
    for (int i = 0; i < n; i++)
        if (strcmp(names[i], name) == 0) {
            *out = i;
            return true;
        }
    return false;
}
const char *kd_optimizer_name(kd_optimizer_kind k) { return optimizer_names[k]; }
const char *kd_schedule_name(kd_schedule_kind k) { return schedule_names[k]; }
bool kd_optimizer_named(const char *name, kd_optimizer_kind *out) {
    int i;
    if (!named(optimizer_names, KD_OPTIMIZERS, name, &i)) return false;
    *out = (kd_optimizer_kind)i;
    return true;
}
bool kd_schedule_named(const char *name, kd_schedule_kind *out) {
    int i;
    if (!named(schedule_names, KD_SCHEDULES, name, &i)) return false;
    *out = (kd_schedule_kind)i;
    return true;
}

size_t kd_optimizer_state(kd_optimizer_kind k) { return k == KD_ADAMW ? 2 : 0; }

kd_code kd_optimizer_init(kd_optimizer *o, const kd_optimizer_options *opts, kd_params *p, kd_pool *pool, kd_err *e) {
    *o = (kd_optimizer){.o = *opts, .params = p, .pool = pool};
    o->first = kd_calloc(p->n + 1, sizeof *o->first);
    bool ok = o->first != NULL;
    for (size_t i = 0; ok && i < p->n; i++) o->first[i + 1] = o->first[i] + (p->at[i].n + CHUNK - 1) / CHUNK;
    if (ok) ok = (o->partial = kd_calloc(o->first[p->n] + 1, sizeof *o->partial)) != NULL;
    if (ok && opts->kind == KD_ADAMW) {
        o->m = kd_aligned_alloc(64, p->floats * sizeof *o->m);
        o->v = kd_aligned_alloc(64, p->floats * sizeof *o->v);
        ok = o->m && o->v;
        if (ok) {
            memset(o->m, 0, p->floats * sizeof *o->m);
            memset(o->v, 0, p->floats * sizeof *o->v);
        }
    }
    if (ok) return KD_OK;
    kd_optimizer_clear(o);
    return kd_fail(e, KD_ENOMEM, "no memory for the state of the optimizer (%zu parameters)", p->floats);
}

void kd_optimizer_clear(kd_optimizer *o) {
    kd_free(o->first);
    kd_free(o->partial);
    kd_free(o->m);
    kd_free(o->v);
    *o = (kd_optimizer){0};
}

typedef struct {
    kd_optimizer *o;
    kd_adamw adam;
    float scale;
} job;

/* Chunk number task: parameter, place in the slabs, elements. */
static const kd_param *chunk(const kd_optimizer *o, size_t task, size_t *at, size_t *n) {
    size_t lo = 0, hi = o->params->n;
    while (hi - lo > 1) {
        size_t mid = lo + (hi - lo) / 2;
        if (o->first[mid] <= task)
            lo = mid;
        else
            hi = mid;
    }
    const kd_param *q = &o->params->at[lo];
    size_t from = (task - o->first[lo]) * CHUNK;
    *at = q->at + from;
    *n = q->n - from < CHUNK ? q->n - from : CHUNK;
    return q;
}

static void norm_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at, n;
    chunk(j->o, task, &at, &n);
    j->o->partial[task] = kd_sum_squares(j->o->params->grad + at, n);
}
double kd_optimizer_norm(kd_optimizer *o) {
    job j = {.o = o};
    const size_t chunks = o->first[o->params->n];
    kd_pool_run(o->pool, norm_task, &j, chunks);
    double sum = 0;
    for (size_t i = 0; i < chunks; i++) sum += o->partial[i];
    return sqrt(sum);
}

static void zero_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at, n;
    chunk(j->o, task, &at, &n);
    memset(j->o->params->grad + at, 0, n * sizeof(float));
}
void kd_optimizer_zero(kd_optimizer *o) {
    job j = {.o = o};
    kd_pool_run(o->pool, zero_task, &j, o->first[o->params->n]);
}

static void step_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    size_t at, n;
    const kd_param *q = chunk(j->o, task, &at, &n);
    kd_params *p = j->o->params;
    kd_adamw a = j->adam;
    if (!q->decay) a.decay = 0;
    if (j->o->o.kind == KD_ADAMW)
        kd_adamw_step(p->value + at, p->grad + at, j->o->m + at, j->o->v + at, n, j->scale, &a);
    else
        kd_sgd_step(p->value + at, p->grad + at, n, j->scale, a.lr, a.decay);
}
void kd_optimizer_step(kd_optimizer *o, float lr, float scale) {
    o->steps++;
    job j = {.o = o, .scale = scale};
    j.adam = (kd_adamw){.lr = lr,
                        .beta1 = o->o.beta1,
                        .beta2 = o->o.beta2,
                        .eps = o->o.eps,
                        .decay = o->o.decay,
                        .correct1 = 1 - pow((double)o->o.beta1, (double)o->steps),
                        .correct2 = 1 - pow((double)o->o.beta2, (double)o->steps)};
    kd_pool_run(o->pool, step_task, &j, o->first[o->params->n]);
}

double kd_clip_scale(double norm, double max_norm) {
    if (max_norm <= 0) return 1;
    double s = max_norm / (norm + 1e-6);
    return s < 1 ? s : 1;
}

double kd_schedule_factor(kd_schedule_kind k, uint64_t t, uint64_t T, uint64_t warmup) {
    if (t < warmup) return (double)(t + 1) / (double)warmup;
    if (t >= T) t = T ? T - 1 : 0;
    const double left = T > warmup ? (double)(T - t) / (double)(T - warmup) : 1;
    const double tail = ceil((double)T / 5);
    switch (k) {
    case KD_LINEAR: return left;
    case KD_COSINE: return 0.5 * (1 - cos(acos(-1.0) * left));
    case KD_WSD: return (double)(T - t) < tail ? (double)(T - t) / tail : 1;
    case KD_CONSTANT:
    case KD_SCHEDULES: break;
    }
    return 1;
}
