/* student/proj.h - one linear layer that learns: its stored weight, its gradient or its adapter, forward and backward. Leans on math/gemm.h, math/grad.h.
 *   y = W x + b + scale B A drop(x)                                        LoRA
 *   y = W x + b + (c - 1) W drop(x) + c scale B A drop(x)                  DoRA, c = magnitude / ||W + scale B A|| by row, the norm held constant
 * Source of DoRA's form: PEFT, whose dropped input reaches both products; without dropout it is c (W x + scale B A x) + b. */
#ifndef KD_STUDENT_PROJ_H
#define KD_STUDENT_PROJ_H

#include "distill/math/grad.h"

typedef struct {
    kd_mat w;
    const float *bias; /* [rows] or NULL */
    float *dw, *dbias; /* NULL where frozen */
    uint32_t r;        /* 0: no adapter */
    float scale, dropout;
    const float *a, *b, *mag; /* a [r,cols], b [rows,r], mag [rows] (DoRA) or NULL */
    float *da, *db, *dmag;
    float *c, *inv_norm; /* [rows]; DoRA, set by kd_proj_norm */
    uint64_t stream;     /* which numbers its dropout takes */
} kd_proj;

/* What backward needs again, beside x; NULL where the projection has no use for it. */
typedef struct {
    float *xa; /* [N,r] A drop(x) */
    float *z;  /* [N,rows] W drop(x) + scale B A drop(x); DoRA */
} kd_proj_tape;

/* Buffers shared by all projections; at least N rows of what is said. */
typedef struct {
    kd_gemm gemm;
    float *t;              /* [N,r] */
    float *xd, *dxd;       /* [N, widest input]; dropout */
    float *dyc;            /* [N, widest output]; DoRA */
    bool train;            /* dropout acts */
    uint64_t seed, update; /* of dropout */
} kd_proj_work;

/* y [N,rows] (+)= the projection of x [N,cols]. y NULL: only the tape is filled.
 * row0: number of the first row within its update, for dropout. */
void kd_proj_forward(kd_proj_work *wk, const kd_proj *p, kd_proj_tape *t, float *y, const float *x, size_t N, uint64_t row0,
                     bool accumulate);
/* Adds the gradients of what is trained; dx (+)= unless NULL. dy is left as it is. */
void kd_proj_backward(kd_proj_work *wk, const kd_proj *p, const kd_proj_tape *t, float *dx, const float *dy, const float *x, size_t N,
                      uint64_t row0, bool accumulate);
/* c and inv_norm from the weights as they are now; initial: mag = the norm first (a new DoRA). */
void kd_proj_norm(kd_proj_work *wk, kd_proj *p, float *mag_init);

#endif
