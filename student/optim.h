/* student/optim.h - optimizers, clipping and schedules over the slabs of params.h. Leans on params.h, math/grad.h.
 * Everything runs in chunks of fixed size, so that bits do not depend on threads. */
#ifndef KD_STUDENT_OPTIM_H
#define KD_STUDENT_OPTIM_H

#include "student/params.h"

typedef enum { KD_ADAMW, KD_SGD, KD_OPTIMIZERS } kd_optimizer_kind;
const char *kd_optimizer_name(kd_optimizer_kind k);
bool kd_optimizer_named(const char *name, kd_optimizer_kind *out);

typedef struct {
    kd_optimizer_kind kind;
    float beta1, beta2, eps, decay; /* decay acts where kd_param.decay says */
} kd_optimizer_options;

typedef struct {
    kd_optimizer_options o;
    kd_params *params;
    kd_pool *pool;
    float *m, *v;    /* slabs like the parameters', or NULL */
    uint64_t steps;  /* taken */
    size_t *first;   /* [n+1] chunks before each parameter */
    double *partial; /* [chunks] */
} kd_optimizer;

kd_code kd_optimizer_init(kd_optimizer *o, const kd_optimizer_options *opts, kd_params *p, kd_pool *pool, kd_err *e);
void kd_optimizer_clear(kd_optimizer *o);
size_t kd_optimizer_state(kd_optimizer_kind k); /* floats kept per parameter */
/* Norm of all gradients as one vector. */
double kd_optimizer_norm(kd_optimizer *o);
void kd_optimizer_zero(kd_optimizer *o); /* gradients = 0 */
/* One step with gradients times scale. */
void kd_optimizer_step(kd_optimizer *o, float lr, float scale);
/* PyTorch's clipping: min(1, max_norm / (norm + 1e-6)); max_norm 0: 1. */
double kd_clip_scale(double norm, double max_norm);

typedef enum { KD_CONSTANT, KD_LINEAR, KD_COSINE, KD_WSD, KD_SCHEDULES } kd_schedule_kind;
const char *kd_schedule_name(kd_schedule_kind k);
bool kd_schedule_named(const char *name, kd_schedule_kind *out);
/* Factor of the learning rate at update t of T, from 0. The first `warmup` updates rise to 1 in even steps; then: constant 1; linear to 0 at T;
 * cosine to 0 at T; wsd stays at 1 and falls linearly to 0 over the last fifth. */
double kd_schedule_factor(kd_schedule_kind k, uint64_t t, uint64_t T, uint64_t warmup);

#endif
