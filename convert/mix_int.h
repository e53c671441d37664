/* convert/mix_int.h - inside of the room: what the parts of the search for a mix share. Leans on mix.h. */
#ifndef KD_CONVERT_MIX_INT_H
#define KD_CONVERT_MIX_INT_H

#include "convert/mix.h"

enum { KD_MIX_TYPES = 16 };

/* A matrix, and what each type would make of it. */
typedef struct {
    kd_role role;
    uint32_t layer;
    kd_mat mat;         /* as the source has it */
    kd_lora *lora;      /* merged in, or NULL */
    const float *im;    /* [cols] or NULL */
    bool settled;       /* one type alone: an adapter changes it in ways that are not probed */
    double sensitivity; /* KL a unit of error; < 0: not measured */
    int n;              /* types worth having, rising in bytes, falling in error */
    int at;             /* the one chosen */
    kd_dtype probe;     /* the one that is probed, and its error */
    double probe_error;
    kd_dtype type[KD_MIX_TYPES];
    uint64_t bytes[KD_MIX_TYPES];
    double error[KD_MIX_TYPES]; /* sum over rows and columns of importance * (w - w')^2, from a sample of rows */
} kd_mix_tensor;

typedef struct {
    kd_model *m;
    kd_adapter *a;
    kd_pool *pool;
    const kd_watch *watch;
    kd_mix_tensor *t; /* layers' matrices, embedding, head (or not, if tied) */
    size_t n;
    /* rows that are measured on */
    int32_t *tokens;
    size_t *start; /* [seqs + 1] */
    size_t seqs, rows;
    float *stream;   /* [L + 1, rows, C] what enters each layer of the source, and the final norm */
    float *p;        /* [rows, V] its probabilities */
    double *entropy; /* [rows] what that row of KL counts from */
    float *cur;      /* [rows, C] of the mix under test */
    float *logits;   /* [longest sequence, V] */
    double *kl;      /* [rows] */
    kd_forward *f;
    kd_kv_pool *pages;
    kd_kv *kv;
    size_t *want;
    float *work; /* [workers, 2 * widest] rows */
    size_t widest;
    unsigned char *bytes; /* matrices under test */
    size_t cap;
    kd_lora nothing; /* an adapter that adds nothing */
    /* for the tap */
    float *tap_to;
    size_t tap_row;
    bool tap_all;
    uint64_t done, total; /* of the bar */
} kd_mix_job;

/* mix_measure.c */
kd_code kd_mix_prepare(kd_mix_job *j, const kd_compare_row *rows, size_t n, size_t tokens, kd_err *e); /* the source's own pass */
kd_code kd_mix_probe(kd_mix_job *j, const kd_mix_tensor *t, double *kl, kd_err *e);                    /* t alone in its probed type */
kd_code kd_mix_whole(kd_mix_job *j, double *kl, kd_err *e);                                            /* every t in its chosen type */
void kd_mix_step(kd_mix_job *j);                                                                       /* the bar goes on */

/* mix_error.c: fills type, bytes, error of every tensor. */
kd_code kd_mix_errors(kd_mix_job *j, kd_err *e);
/* w [cols] becomes row r of t as the source has it, adapter merged in. */
void kd_mix_row(const kd_mix_tensor *t, size_t r, float *w);

#endif
