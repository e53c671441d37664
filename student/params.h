/* student/params.h - what is trained: named arrays in one slab, their gradients in another. Leans on model/model.h, model/adapter.h.
 * Full training copies every weight into the slab as f32; LoRA and DoRA train A, B and magnitudes, and the base stays as it is stored. */
#ifndef KD_STUDENT_PARAMS_H
#define KD_STUDENT_PARAMS_H

#include "distill/base/pool.h"
#include "distill/model/adapter.h"

typedef struct {
    char name[160];    /* Hugging Face's name, or PEFT's key */
    size_t rows, cols; /* cols = 0: a vector of rows elements */
    size_t n, at;      /* elements; place in the slabs, a multiple of 16 */
    bool decay;        /* weight decay acts on it: matrices and embeddings */
    kd_role role;
    uint32_t layer;
    char part; /* 0 the weight itself, 'A', 'B' or 'M' (magnitude) of an adapter, 'T' rows of tokens beside it */
} kd_param;

typedef struct {
    kd_param *at;
    size_t n, cap;
    size_t floats;    /* of a slab */
    uint64_t trained; /* parameters, padding not counted */
    float *value, *grad;
} kd_params;

typedef enum { KD_FULL, KD_LORA_METHOD } kd_method;
typedef struct {
    kd_method method;
    kd_adapter_config lora; /* r, alpha, dropout, rslora, dora, targets */
} kd_train_method;

/* Lists the parameters; allocates no slab. Errors: KD_EINVAL, KD_ENOMEM. */
kd_code kd_params_list(kd_params *p, const kd_config *c, const kd_train_method *m, kd_err *e);
/* Slabs, zeroed. Then full: weights from m. */
kd_code kd_params_alloc(kd_params *p, kd_err *e);
void kd_params_clear(kd_params *p);
/* The array of a role: NULL if it is not trained. */
const kd_param *kd_params_find(const kd_params *p, kd_role r, uint32_t layer, char part);
static inline float *kd_param_value(const kd_params *p, const kd_param *q) { return q ? p->value + q->at : NULL; }
static inline float *kd_param_grad(const kd_params *p, const kd_param *q) { return q && p->grad ? p->grad + q->at : NULL; }

/* Values of full training from the model, expanded; spread over pool. */
void kd_params_from_model(kd_params *p, const kd_model *m, kd_pool *pool);
/* Start of an adapter as PEFT makes it: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5), B zero; numbers from (seed, parameter, element).
 * Magnitudes are left to kd_net (they need the weights' norms). */
void kd_params_init_lora(kd_params *p, uint64_t seed);
/* Rows of tokens beside an adapter as m has them. */
void kd_params_rows_from_model(kd_params *p, const kd_train_method *method, const kd_model *m);
/* Values from and to an adapter; shapes and targets must agree: KD_EINVAL names what does not. */
kd_code kd_params_from_adapter(kd_params *p, const kd_adapter *a, kd_err *e);
kd_code kd_params_to_adapter(const kd_params *p, kd_adapter *a, kd_err *e);

#endif
