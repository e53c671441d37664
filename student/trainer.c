/* student/trainer.c - update after update. Leans on trainer.h, base/clock.h. */
#include "student/trainer.h"

#include "distill/base/clock.h"

#include <math.h>

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
};

static kd_code set_up(kd_trainer *t, size_t n, const kd_adapter *start, kd_err *e) {
    kd_code code = kd_params_list(&t->params, &t->m->config, &t->o.method, e);
    if (code == KD_OK) code = kd_params_alloc(&t->params, e);
    if (code == KD_OK) code = kd_optimizer_init(&t->optimizer, &t->o.optimizer, &t->params, t->pool, e);
    if (code == KD_OK)
        code = t->o.mix.sources ? kd_order_mix(&t->order, &t->o.mix, !t->o.no_shuffle, t->o.seed, e)
                                : kd_order_init(&t->order, n, !t->o.no_shuffle, t->o.seed, e);
    if (code == KD_OK) code = kd_rows_init(&t->rows, t->plan.shape.rows, t->o.batch_size, e);
    if (code == KD_OK) code = kd_net_new(&t->net, t->m, &t->params, &t->o.method, &t->plan.shape, t->pool, e);
    if (code != KD_OK) return code;
    if (t->o.method.method == KD_FULL)
        kd_params_from_model(&t->params, t->m, t->pool);
    else if (!start)
        kd_params_init_lora(&t->params, t->o.seed), kd_params_rows_from_model(&t->params, &t->o.method, t->m);
    else
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
void kd_trainer_resume(kd_trainer *t, uint64_t steps) {
    t->steps = steps;
    t->optimizer.steps = steps;
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

void kd_trainer_gradients(kd_trainer *t, kd_train_report *r) {
    *r = (kd_train_report){.step = t->steps + 1};
    double weight[KD_SOURCES_MAX] = {0};
    const double begin = kd_now();
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
}

/* "rows 3, 17, 20 ..." of the update's lessons. */
static kd_code fault(kd_trainer *t, const kd_train_report *r, kd_err *e) {
    kd_buf b = {0};
    for (size_t i = 0; i < t->o.batch_size && i < 16; i++) (void)kd_buf_printf(&b, "%s%zu", i ? ", " : "", t->rows.lessons[i]->row);
    kd_code code = kd_fail(e, KD_ECHECK,
                           "update %llu: loss %g, gradient norm %g: not finite; its lessons are of rows %s%s. A smaller --learning-rate or "
                           "--clip-norm may help",
                           (unsigned long long)r->step, r->loss, r->grad_norm, b.data ? b.data : "?", t->o.batch_size > 16 ? " ..." : "");
    kd_buf_clear(&b);
    return code;
}

kd_code kd_trainer_step(kd_trainer *t, kd_train_report *r, kd_err *e) {
    const double begin = kd_now();
    kd_trainer_gradients(t, r);
    if (!isfinite(r->loss) || !isfinite(r->grad_norm)) return fault(t, r, e);
    kd_optimizer_step(&t->optimizer, (float)r->learning_rate, (float)kd_clip_scale(r->grad_norm, t->o.clip_norm));
    kd_net_bind(t->net, false);
    t->steps++;
    r->seconds = kd_now() - begin;
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
