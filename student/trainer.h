/* student/trainer.h - training: a plan of memory, then update after update. Leans on batch.h, optim.h, net.h.
 * An update takes batch_size lessons from the endless row of epochs, cut into micro-batches that fit; its loss is the mean over all its loss
 * tokens. The same lessons, options and CPU level give the same bits, whatever the number of threads and layers recomputed. */
#ifndef KD_STUDENT_TRAINER_H
#define KD_STUDENT_TRAINER_H

#include "student/batch.h"
#include "student/optim.h"

typedef struct {
    kd_train_method method;
    kd_optimizer_options optimizer;
    double learning_rate, warmup_ratio;
    kd_schedule_kind schedule;
    double epochs; /* used where max_steps is 0 */
    uint64_t max_steps;
    size_t batch_size; /* lessons an update */
    bool no_shuffle;
    uint64_t seed;
    double clip_norm; /* 0: none */
    kd_ce objective;
    size_t rows;         /* a micro-batch at most; 0: the plan says (never less than the longest lesson) */
    size_t logit_rows;   /* rows of logits at once; 0: the plan says */
    int recompute;       /* layers computed a second time; -1: the plan says */
    uint64_t memory;     /* bytes that may be used; 0: what is free now */
    bool bf16;           /* arithmetic of the large products; weights, sums and everything else stay f32 */
    kd_source_mix mix;   /* sources with weights; sources 0: all lessons alike */
    size_t held_rows;    /* rows of the longest lesson that kd_trainer_score will get beside those learned */
    uint64_t held_bytes; /* memory that measuring takes besides */
    bool any_state;      /* AdamW's state may take a byte a moment where four do not fit (the plan says) */
    bool skip_faults;    /* an update whose loss or gradient is not finite, or spikes, is left out and counted; else it stops the run */
    double spike;        /* a loss above so many times the mean of the last updates' is a fault; 0: never */
} kd_train_options;
enum { KD_GUARD_LOSSES = 32 };
/* What the guards know of the run; part of a checkpoint. */
typedef struct {
    uint64_t skipped;               /* updates left out */
    uint64_t optimizer_steps;       /* taken by the optimizer (with the active block) */
    uint32_t n;                     /* losses held */
    double losses[KD_GUARD_LOSSES]; /* of the last updates, the newest last */
} kd_train_guard;

/* What training will take. */
typedef struct {
    size_t bytes[KD_MEM_KINDS];
    uint64_t total, limit;
    kd_net_shape shape;
    uint64_t steps, warmup;
    uint64_t trained; /* parameters */
    size_t longest;   /* rows of the longest lesson */
    size_t tokens;    /* of all lessons */
    size_t rows;      /* of all lessons */
    size_t lessons;
    kd_optimizer_kind optimizer; /* the one asked for, or its narrower form */
} kd_train_plan;
/* Chooses rows and recompute so that the total stays within the limit. Errors: KD_ELIMIT says what the least would be; KD_EINVAL options. */
kd_code kd_train_plan_make(kd_train_plan *plan, const kd_model *m, const kd_lesson *lessons, size_t n, const kd_train_options *o,
                           int threads, kd_err *e);
/* out += lines for people: "weights  270.0 MB  as stored" ... */
kd_code kd_train_plan_text(kd_buf *out, const kd_train_plan *plan, const kd_config *c);

typedef struct {
    uint64_t step; /* from 1 */
    double loss, grad_norm, learning_rate;
    size_t tokens, loss_tokens;
    size_t rows, padded; /* rows computed; tokens, were it padded to the longest */
    double seconds, flops;
    struct {
        double loss; /* mean over its loss tokens, weighted as they are */
        size_t loss_tokens;
    } source[KD_SOURCES_MAX];
    double processor_seconds; /* of all threads */
    bool skipped;             /* nothing was changed: why says what and which rows */
    char why[200];
} kd_train_report;

typedef struct kd_trainer kd_trainer;
/* m and lessons are kept, not owned. Full training copies the weights; adapters start new (seed) or from start. */
kd_code kd_trainer_new(kd_trainer **out, const kd_model *m, const kd_lesson *lessons, size_t n, const kd_train_options *o,
                       const kd_train_plan *plan, const kd_adapter *start, kd_pool *pool, kd_err *e);
void kd_trainer_free(kd_trainer *t);
/* One update. Errors: KD_ECHECK when loss or gradient is not finite, or the loss spikes: nothing was changed, the message names the lessons' rows.
 * With skip_faults such an update counts as taken, and the report says so; KD_ECHECK comes after 32 in a row. */
kd_code kd_trainer_step(kd_trainer *t, kd_train_report *r, kd_err *e);
/* Gradients of the next update without taking it (tests, probes); report as of step. */
void kd_trainer_gradients(kd_trainer *t, kd_train_report *r);
uint64_t kd_trainer_steps(const kd_trainer *t); /* taken */
kd_params *kd_trainer_params(kd_trainer *t);
kd_optimizer *kd_trainer_optimizer(kd_trainer *t);
/* Puts the averaged weights in place of the trained ones, and back; nothing where there is no average. For saving: no update in between. */
void kd_trainer_swap_ema(kd_trainer *t);
/* The guards' memory as it is now. */
const kd_train_guard *kd_trainer_guard(kd_trainer *t);
/* Makes the block active that update `steps` trained, so that its state can be put in place. */
void kd_trainer_seek(kd_trainer *t, uint64_t steps);
/* Goes on behind update `steps`; values and optimizer state were put in place by the caller, after kd_trainer_seek. */
void kd_trainer_resume(kd_trainer *t, uint64_t steps, const kd_train_guard *g);
/* Loss of each learned token of these lessons (nats, in order) into loss, which has room for all; nothing is trained. */
void kd_trainer_score(kd_trainer *t, const kd_lesson *lessons, size_t n, double *loss);

#endif
