/* student/optim.h - optimizers, clipping and schedules over the slabs of params.h. Leans on params.h, math/grad.h.
 * Everything runs in pieces of fixed size, so that bits do not depend on threads.
 *   adamw       Loshchilov and Hutter 2019, as PyTorch steps it; two f32 a parameter
 *   adamw_8bit  the same with a byte a moment (math/adam8.h) in arrays of 4096 elements and more
 *   adafactor   Shazeer and Stern 2018, arXiv:1804.04235, as transformers' Adafactor with relative_step, scale_parameter off: sums of rows and columns
 *   muon        Jordan 2024, as torch.optim.Muon with adjust_lr_fn match_rms_adamw, products in f32; matrices of layers and of adapters, AdamW for the rest
 *   sgd         without momentum
 * Test: tests/student/test_optim.c */
#ifndef KD_STUDENT_OPTIM_H
#define KD_STUDENT_OPTIM_H

#include "student/params.h"

#include "distill/math/gemm.h"

typedef enum { KD_ADAMW, KD_SGD, KD_ADAMW_8BIT, KD_ADAFACTOR, KD_MUON, KD_OPTIMIZERS } kd_optimizer_kind;
const char *kd_optimizer_name(kd_optimizer_kind k);
bool kd_optimizer_named(const char *name, kd_optimizer_kind *out);

typedef struct {
    kd_optimizer_kind kind;
    float beta1, beta2, eps, decay; /* decay acts where kd_param.decay says; betas and eps are AdamW's */
    float momentum;                 /* Muon's; 0 counts as 0.95 */
    float ema;                      /* running average of the weights, its decay; 0: none */
    uint64_t seed;                  /* of the 8-bit state's rounding */
} kd_optimizer_options;

/* One array of a parameter's state, as checkpoints name it: NAME + suffix. */
typedef struct {
    const char *suffix;
    kd_dtype type; /* KD_F32 or KD_U8 */
    size_t rows, cols, bytes;
    size_t at; /* behind the parameter's place in the state */
} kd_state_array;
enum { KD_STATE_ARRAYS = 5 };
/* The arrays that this optimizer keeps for q; returns how many. */
size_t kd_optimizer_arrays(kd_state_array out[KD_STATE_ARRAYS], const kd_optimizer_options *o, const kd_param *q);

typedef struct {
    kd_optimizer_options o;
    kd_params *params;
    kd_pool *pool;
    char *state;     /* all arrays of all active parameters */
    size_t *place;   /* [n] of each parameter in it */
    uint64_t steps;  /* taken (with the block that is active) */
    size_t *first;   /* [n+1] chunks before each parameter */
    double *partial; /* of sums, a piece each */
    float *work;     /* Adafactor: columns; Muon: four matrices */
    void *scratch;   /* of Muon's products */
} kd_optimizer;

kd_code kd_optimizer_init(kd_optimizer *o, const kd_optimizer_options *opts, kd_params *p, kd_pool *pool, kd_err *e);
void kd_optimizer_clear(kd_optimizer *o);
/* Bytes that init would take for state, and for work. */
size_t kd_optimizer_state_bytes(const kd_optimizer_options *o, const kd_params *p);
size_t kd_optimizer_work_bytes(const kd_optimizer_options *o, const kd_params *p, int threads);
/* Another block of parameters is active (params.h): its state begins at zero. */
void kd_optimizer_activate(kd_optimizer *o);
static inline void *kd_optimizer_at(const kd_optimizer *o, size_t param, const kd_state_array *a) {
    return o->state + o->place[param] + a->at; /* NOLINT: it does not see that kd_optimizer_arrays fills what it counts */
}
/* The averaged weights of parameter i, or NULL. */
float *kd_optimizer_ema(const kd_optimizer *o, size_t i);
/* Norm of all gradients as one vector. */
double kd_optimizer_norm(kd_optimizer *o);
void kd_optimizer_zero(kd_optimizer *o); /* gradients = 0 */
/* One step with gradients times scale. */
void kd_optimizer_step(kd_optimizer *o, float lr, float scale);
/* PyTorch's clipping: min(1, max_norm / (norm + 1e-6)); max_norm 0: 1. */
double kd_clip_scale(double norm, double max_norm);

/* ---- private to student ---- */
typedef enum { KD_FORM_NONE, KD_FORM_ADAM, KD_FORM_ADAM8, KD_FORM_FACTORED, KD_FORM_SECOND, KD_FORM_MOMENTUM } kd_state_form;
kd_state_form kd_optimizer_form(const kd_optimizer_options *o, const kd_param *q);
void kd_adafactor_step(kd_optimizer *o, size_t i, float lr, float scale);
void kd_muon_step(kd_optimizer *o, size_t i, float lr, float scale);

typedef enum { KD_CONSTANT, KD_LINEAR, KD_COSINE, KD_WSD, KD_SCHEDULES } kd_schedule_kind;
const char *kd_schedule_name(kd_schedule_kind k);
bool kd_schedule_named(const char *name, kd_schedule_kind *out);
/* Factor of the learning rate at update t of T, from 0. The first `warmup` updates rise to 1 in even steps; then: constant 1; linear to 0 at T;
 * cosine to 0 at T; wsd stays at 1 and falls linearly to 0 over the last fifth. */
double kd_schedule_factor(kd_schedule_kind k, uint64_t t, uint64_t T, uint64_t warmup);

#endif
