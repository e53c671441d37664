/* student/layer.h - one decoder layer, forward and backward; private to student. Leans on tape.h. */
#ifndef KD_STUDENT_LAYER_H
#define KD_STUDENT_LAYER_H

#include "student/tape.h"

typedef struct {
    kd_proj proj[KD_MATS];
    const float *attn_norm, *mlp_norm, *q_norm, *k_norm;
    float *d_attn_norm, *d_mlp_norm, *d_q_norm, *d_k_norm; /* NULL where frozen */
} kd_net_layer;

/* The rows a layer works on. */
typedef struct {
    const kd_config *c;
    const kd_micro *b;
    kd_tape *t;
    kd_attention attn; /* spans of this layer's queries */
    size_t N, NQ;
    const uint32_t *pick; /* [NQ] rows that go on after keys and values; NULL: all */
    const int32_t *qpos;  /* [NQ] */
    uint64_t row0, qrow0; /* for dropout */
} kd_layer_run;

/* x_out (NULL: only what backward needs) = the layer of x [N,C]. */
void kd_layer_forward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *x_out, const float *x);
/* dx holds the gradient of the layer's output [NQ,C] and receives that of its input: in t->dx [N,C]. need_dx false: only the parameters'. */
void kd_layer_backward(const kd_layer_run *r, const kd_net_layer *w, kd_layer_tape *t, float *dx_out, const float *x, bool need_dx);

#endif
