/* student/tape.h - the buffers of a training pass, laid out in one slab; private to student. Leans on net.h. */
#ifndef KD_STUDENT_TAPE_H
#define KD_STUDENT_TAPE_H

#include "student/net.h"

/* What one layer keeps for its backward pass. NQ rows where only loss rows go on (the last layer), else N. */
typedef struct {
    float *rstd1, *rstd2;   /* [N], [NQ] */
    float *q, *k, *v;       /* [NQ,H*D], [N,G*D] after norm and rope */
    float *q_raw, *k_raw;   /* before q/k norm; NULL where the model has none */
    float *q_rstd, *k_rstd; /* [NQ*H], [N*G] */
    float *o, *lse;         /* [NQ,H*D], [NQ*H] */
    float *xm;              /* [NQ,C] after attention */
    float *gate, *up;       /* [NQ,F] */
    kd_proj_tape proj[KD_MATS];
} kd_layer_tape;

typedef struct {
    float **x;            /* [L+1] inputs of the layers, and the last one's output */
    kd_layer_tape *layer; /* [L]; recomputed layers share one */
    /* shared buffers */
    float *xn, *dxn; /* [N,C] */
    float *xq;       /* [NQ,C] gathered rows */
    float *h, *dh;   /* [N,F] */
    float *dattn, *dq, *dk, *dv, *part;
    float *dx, *dx_loss;        /* [N,C], [NL,C] */
    float *hidden, *dhidden;    /* [NL,C] */
    float *logits;              /* [logit_rows,V] */
    float *cos_, *sin_;         /* [positions,D/2] */
    size_t *tasks, *loss_tasks; /* [spans+1] */
    float *dora;                /* c and inv_norm of every row of every adapted matrix */
    size_t logit_rows;
    void *gemm_scratch, *attn_scratch;
    kd_proj_work work;
} kd_tape;

/* Takes pieces of a slab in turn; base NULL: counts only. */
typedef struct {
    char *base;
    size_t used;
    size_t by[KD_MEM_KINDS];
} kd_bump;
/* Lays out t (pointers stay NULL when counting). t->x and t->layer must be there ([L+1], [L]). */
void kd_tape_layout(kd_tape *t, kd_bump *b, const kd_config *c, const kd_train_method *m, const kd_net_shape *s, int threads);
size_t kd_logit_rows(const kd_net_shape *s, size_t V, bool few); /* few: where memory is short */

#endif
