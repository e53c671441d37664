/* student/net.h - a model that learns: forward and backward over a packed micro-batch. Leans on params.h, proj.h, model/model.h.
 * Weights stay as stored and are expanded inside the products; what backward needs is kept on a tape, or, for the first `recompute`
 * layers, computed a second time from their input. Nothing is allocated after kd_net_new. */
#ifndef KD_STUDENT_NET_H
#define KD_STUDENT_NET_H

#include "student/params.h"
#include "student/proj.h"

/* What memory is for; the plan says it by these. */
typedef enum {
    KD_MEM_WEIGHTS, /* the stored model, mapped */
    KD_MEM_PARAMS,  /* trained values */
    KD_MEM_GRADS,
    KD_MEM_OPTIMIZER,
    KD_MEM_ACTIVATIONS, /* the tape */
    KD_MEM_WORK,        /* buffers that every layer uses in turn */
    KD_MEM_LOGITS,
    KD_MEM_DATA, /* lessons, tables */
    KD_MEM_KINDS
} kd_mem_kind;
const char *kd_mem_name(kd_mem_kind k);

typedef struct {
    size_t rows;        /* most rows a micro-batch may have */
    size_t loss_rows;   /* most rows that carry loss; 0 = rows */
    size_t spans;       /* most sequences in it; 0 = rows */
    size_t positions;   /* longest sequence */
    uint32_t recompute; /* layers, from the first, whose activations are not kept; L = all */
    size_t logit_rows;  /* rows of logits at once; 0 = by size */
    bool no_grad;       /* loss only */
    bool bf16;          /* large products of bfloat16 operands, sums in f32 */
} kd_net_shape;

/* A micro-batch: sequences end to end, rows of tokens whose successors are learned or are context. */
typedef struct {
    size_t N;                    /* rows */
    const int32_t *tokens, *pos; /* [N]; pos counts from 0 in each sequence */
    const kd_span *spans;        /* [n_spans] of rows, q and k alike */
    size_t n_spans;
    size_t NL;                 /* rows with loss */
    const uint32_t *loss_row;  /* [NL] ascending */
    const int32_t *target;     /* [NL] the token that follows */
    const float *weight;       /* [NL] of its loss in the update's objective: sample weight / loss tokens of the update */
    const kd_taught *taught;   /* [NL] log-probabilities of a teacher, or NULL (no lesson brings any yet) */
    const int32_t *loss_pos;   /* [NL] */
    const kd_span *loss_spans; /* [n_spans] queries among the loss rows, keys among all rows */
    uint64_t row0, loss_row0;  /* rows, and loss rows, of this update before these */
    double *loss;              /* [NL] receives -log p(target), or the objective's loss, in nats */
} kd_micro;

typedef struct kd_net kd_net;

/* m is kept, not owned. adapter_scale: alpha / r or alpha / sqrt(r). p holds values (kd_params_alloc) or is only listed (for kd_net_plan). */
kd_code kd_net_new(kd_net **out, const kd_model *m, kd_params *p, const kd_train_method *method, const kd_net_shape *s, kd_pool *pool,
                   kd_err *e);
void kd_net_free(kd_net *n);
/* Where gradients go, after another block of parameters became active. */
void kd_net_rewire(kd_net *n);
/* Bytes of the buffers that kd_net_new would make, by kind; nothing is made. */
void kd_net_plan(size_t bytes[KD_MEM_KINDS], const kd_config *c, const kd_train_method *method, const kd_net_shape *s, int threads);

/* DoRA's row scales from the weights as they are; after every change of them. new_magnitudes: magnitudes = norms first. */
void kd_net_bind(kd_net *n, bool new_magnitudes);
/* Adds the gradient of sum_i weight[i] * loss_i to the parameters' gradients (unless no_grad). seed and update number dropout. */
void kd_net_run(kd_net *n, const kd_micro *b, const kd_ce *ce, uint64_t seed, uint64_t update, bool train);
/* FLOPs of the products of one micro-batch, counted by formula: forward and backward, recomputation not counted. */
double kd_net_flops(const kd_net *n, const kd_micro *b);

#endif
