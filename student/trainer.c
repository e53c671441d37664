/* student/trainer.c - update after update. Leans on trainer.h, base/clock.h. */
#include "student/trainer.h"

#include "distill/base/clock.h"
#include "distill/base/rng.h"

#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

struct kd_trainer {
    const kd_model *m;
    const kd_lesson *lessons;
    kd_train_options o;
    kd_train_plan plan;
    kd_params params;
    kd_optimizer optimizer;
    kd_order order;
    kd_rows rows;
    kd_net *net;
    kd_pool *pool;
    uint64_t steps;
    kd_train_guard guard;
    unsigned faults; /* in a row */
};

/* The block that update number `step` trains, from the last layer to the first, or shuffled anew each round. */
static uint32_t block_of(const kd_trainer *t, uint64_t step) {
    const uint64_t turn = step / t->o.method.interval, L = t->params.blocks, at = turn % L;
    if (!t->o.method.random_blocks) return (uint32_t)(L - 1 - at);
    /* the at-th of a permutation drawn in passing: small enough to draw again */
    uint64_t left[1024];
    kd_rng r = {.key = t->o.seed, .stream = 0x626c6f63u + (turn / L << 32)}; /* "bloc" */
    if (L > sizeof left / sizeof *left) return (uint32_t)kd_rng_below(&r, L);
    for (uint64_t i = 0; i < L; i++) left[i] = i;
    kd_rng_shuffle(&r, left, L);
    return (uint32_t)left[at];
}
static void activate(kd_trainer *t, uint64_t step) {
    if (!t->params.blocks) return;
    const uint32_t b = block_of(t, step);
    const bool first = t->steps == step && step % t->o.method.interval == 0;
    if (b == t->params.active && !first) return;
    t->params.active = b;
    kd_optimizer_activate(&t->optimizer);
    kd_net_rewire(t->net);
}

static kd_code set_up(kd_trainer *t, size_t n, const kd_adapter *start, kd_err *e) {
    kd_code code = kd_params_list(&t->params, &t->m->config, &t->o.method, e);
    if (code == KD_OK) code = kd_params_alloc(&t->params, e);
    if (code == KD_OK) t->params.active = t->params.blocks ? block_of(t, 0) : 0;
    if (code == KD_OK) code = kd_optimizer_init(&t->optimizer, &t->o.optimizer, &t->params, t->pool, e);
    if (code == KD_OK)
        code = t->o.mix.sources ? kd_order_mix(&t->order, &t->o.mix, !t->o.no_shuffle, t->o.seed, e)
                                : kd_order_init(&t->order, n, !t->o.no_shuffle, t->o.seed, e);
    if (code == KD_OK) code = kd_rows_init(&t->rows, t->plan.shape.rows, t->o.batch_size, e);
    if (code == KD_OK) code = kd_net_new(&t->net, t->m, &t->params, &t->o.method, &t->plan.shape, t->pool, e);
    if (code != KD_OK) return code;
    if (t->o.method.method == KD_FULL)
        kd_params_from_model(&t->params, t->m, t->pool);
    else if (!start) {
        kd_params_from_model(&t->params, t->m, t->pool); /* what is trained whole beside the adapter */
        kd_params_init_lora(&t->params, t->o.seed);
        kd_params_rows_from_model(&t->params, &t->o.method, t->m);
    } else
        code = kd_params_from_adapter(&t->params, start, e);
    if (code == KD_OK) kd_net_bind(t->net, !start);
    return code;
}

kd_code kd_trainer_new(kd_trainer **out, const kd_model *m, const kd_lesson *lessons, size_t n, const kd_train_options *o,
                       const kd_train_plan *plan, const kd_adapter *start, kd_pool *pool, kd_err *e) {
    *out = NULL;
    kd_trainer *t = kd_calloc(1, sizeof *t);
    if (!t) return kd_fail(e, KD_ENOMEM, "no memory for the trainer");
    t->m = m;
    t->lessons = lessons;
    t->o = *o;
    t->o.optimizer.kind = plan->optimizer;
    t->o.optimizer.seed = o->seed;
    t->plan = *plan;
    t->pool = pool;
    kd_code code = set_up(t, n, start, e);
    if (code == KD_OK)
        *out = t;
    else
        kd_trainer_free(t);
    return code;
}

void kd_trainer_free(kd_trainer *t) {
    if (!t) return;
    kd_net_free(t->net);
    kd_rows_clear(&t->rows);
    kd_order_clear(&t->order);
    kd_optimizer_clear(&t->optimizer);
    kd_params_clear(&t->params);
    kd_free(t);
}

uint64_t kd_trainer_steps(const kd_trainer *t) { return t->steps; }
kd_params *kd_trainer_params(kd_trainer *t) { return &t->params; }
kd_optimizer *kd_trainer_optimizer(kd_trainer *t) { return &t->optimizer; }
const kd_train_guard *kd_trainer_guard(kd_trainer *t) {
    t->guard.optimizer_steps = t->optimizer.steps;
    return &t->guard;
}
void kd_trainer_swap_ema(kd_trainer *t) {
    if (t->optimizer.steps == 0) return; /* no average yet */
    for (size_t i = 0; i < t->params.n; i++) {
        float *a = t->params.value + t->params.at[i].at, *b = kd_optimizer_ema(&t->optimizer, i);
        for (size_t k = 0; b && k < t->params.at[i].n; k++) {
            const float x = a[k];
            a[k] = b[k];
            b[k] = x;
        }
    }
}
void kd_trainer_seek(kd_trainer *t, uint64_t steps) {
    if (steps) activate(t, steps - 1);
}
void kd_trainer_resume(kd_trainer *t, uint64_t steps, const kd_train_guard *g) {
    t->steps = steps;
    t->guard = *g;
    t->optimizer.steps = g->optimizer_steps;
    kd_net_bind(t->net, false);
}

/* Each source's share of a micro-batch's loss, and its weight. */
static void by_source(const kd_trainer *t, const kd_micro *m, kd_train_report *r, double *weight) {
    for (size_t i = 0; i < m->NL; i++) {
        const size_t s = t->rows.source[i] < KD_SOURCES_MAX ? t->rows.source[i] : 0;
        r->source[s].loss += (double)m->weight[i] * m->loss[i];
        r->source[s].loss_tokens++;
        weight[s] += (double)m->weight[i];
    }
}

static double processor(void) {
    struct timespec now;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

void kd_trainer_gradients(kd_trainer *t, kd_train_report *r) {
    *r = (kd_train_report){.step = t->steps + 1};
    double weight[KD_SOURCES_MAX] = {0};
    const double begin = kd_now(), cpu = processor();
    activate(t, t->steps);
    kd_optimizer_zero(&t->optimizer);
    kd_rows_begin(&t->rows, t->lessons, &t->order, t->steps * t->o.batch_size);
    for (const kd_micro *m; (m = kd_rows_next(&t->rows)) != NULL;) {
        kd_net_run(t->net, m, &t->o.objective, t->o.seed, t->steps, true);
        for (size_t i = 0; i < m->NL; i++) r->loss += (double)m->weight[i] * m->loss[i];
        by_source(t, m, r, weight);
        r->flops += kd_net_flops(t->net, m);
    }
    r->tokens = t->rows.tokens_in;
    r->loss_tokens = t->rows.loss_tokens;
    r->rows = t->rows.rows_in;
    r->padded = t->rows.padded;
    for (size_t i = 0; i < KD_SOURCES_MAX; i++)
        if (weight[i] > 0) r->source[i].loss /= weight[i];
    r->grad_norm = kd_optimizer_norm(&t->optimizer);
    r->learning_rate = t->o.learning_rate * kd_schedule_factor(t->o.schedule, t->steps, t->plan.steps, t->plan.warmup);
    r->seconds = kd_now() - begin;
    r->processor_seconds = processor() - cpu;
}

/* What is wrong with an update: text NULL-terminated in why, "rows 3, 17, 20 ..." named; false: nothing. */
static bool faulty(const kd_trainer *t, const kd_train_report *r, char *why, size_t n) {
    const kd_train_guard *g = &t->guard;
    double mean = 0;
    for (uint32_t i = 0; i < g->n; i++) mean += g->losses[i] / g->n;
    int at;
    if (!isfinite(r->loss) || !isfinite(r->grad_norm))
        at = snprintf(why, n, "loss %g, gradient norm %g: not finite", r->loss, r->grad_norm);
    else if (t->o.spike > 0 && g->n >= 4 && r->loss > t->o.spike * mean)
        at = snprintf(why, n, "loss %g is more than %g times the mean of the last %u (%g)", r->loss, t->o.spike, g->n, mean);
    else
        return false;
    at += snprintf(why + at, n - (size_t)at, "; its lessons are of rows ");
    for (size_t i = 0; i < t->o.batch_size && (size_t)at + 32 < n; i++) {
        const bool enough = i == 16 || (size_t)at + 64 > n;
        at += enough ? snprintf(why + at, n - (size_t)at, " ...")
                     : snprintf(why + at, n - (size_t)at, "%s%zu", i ? ", " : "", t->rows.lessons[i]->row);
        if (enough) break;
    }
    return true;
}

static void remember(kd_train_guard *g, double loss) {
    if (g->n == KD_GUARD_LOSSES)
        memmove(g->losses, g->losses + 1, (KD_GUARD_LOSSES - 1) * sizeof *g->losses);
    else
        g->n++;
    g->losses[g->n - 1] = loss;
}

kd_code kd_trainer_step(kd_trainer *t, kd_train_report *r, kd_err *e) {
    const double begin = kd_now(), cpu = processor();
    kd_trainer_gradients(t, r);
    if (faulty(t, r, r->why, sizeof r->why)) {
        if (!t->o.skip_faults || ++t->faults > 32)
            return kd_fail(e, KD_ECHECK, "update %llu: %s. A smaller --learning-rate or --clip-norm may help%s",
                           (unsigned long long)r->step, r->why, t->o.skip_faults ? "; too many in a row were skipped" : "");
        r->skipped = true;
        t->guard.skipped++;
    } else {
        t->faults = 0;
        remember(&t->guard, r->loss);
        kd_optimizer_step(&t->optimizer, (float)r->learning_rate, (float)kd_clip_scale(r->grad_norm, t->o.clip_norm));
        kd_net_bind(t->net, false);
    }
    t->steps++;
    r->seconds = kd_now() - begin;
    r->processor_seconds = processor() - cpu;
    return KD_OK;
}

void kd_trainer_score(kd_trainer *t, const kd_lesson *lessons, size_t n, double *loss) {
    for (size_t i = 0; i < n; i++) {
        kd_order one = {.n = 1};
        kd_rows r = t->rows;
        r.batch_size = 1;
        kd_rows_begin(&r, &lessons[i], &one, 0);
        for (const kd_micro *m; (m = kd_rows_next(&r)) != NULL;) {
            kd_net_run(t->net, m, NULL, 0, 0, false);
            for (size_t k = 0; k < m->NL; k++) *loss++ = m->loss[k];
        }
    }
}
