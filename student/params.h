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
    uint32_t block; /* of layer-wise training: its layer */
    size_t grad_at; /* place in the slab of gradients; that of its value unless blocks are trained in turn */
    char part;      /* 0 the weight itself, 'A', 'B' or 'M' (magnitude) of an adapter, 'T' rows of tokens beside it */
} kd_param;

typedef struct {
    kd_param *at;
    size_t n, cap;
    size_t floats;   /* of the slab of values */
    size_t grads;    /* of the slab of gradients */
    uint32_t blocks; /* trained in turn, one active at a time; 0: all at once */
    uint32_t active;
    bool tied;        /* the head is the embedding */
    uint64_t trained; /* parameters, padding not counted */
    float *value, *grad;
} kd_params;

typedef enum { KD_FULL, KD_LORA_METHOD } kd_method;
/* Rank and alpha of one module where they differ (PEFT's rank_pattern and alpha_pattern). */
typedef struct {
    uint32_t r;
    float alpha;
} kd_rank;
typedef struct {
    kd_method method;
    /* full, layer-wise (BAdam, Luo et al. 2024, arXiv:2404.02827): the weights of one layer at a time, another every `interval` updates, from the
     * last layer to the first or by chance; embedding, head and final norm stay. 0: all weights at once */
    uint64_t interval;
    bool random_blocks;
    kd_adapter_config lora; /* r, alpha, dropout, rslora, dora, targets */
    const kd_rank *ranks;   /* [L * KD_MATS] layer-major, or NULL: r and alpha everywhere. Borrowed */
    bool embed, head;       /* trained whole beside the adapter (modules_to_save); of tied weights either means both */
} kd_train_method;
kd_rank kd_method_rank(const kd_train_method *m, kd_role r, uint32_t layer);
uint32_t kd_method_most_rank(const kd_train_method *m, const kd_config *c);
/* ranks [L * KD_MATS] from PEFT's patterns, "KEY=NUMBER,KEY=NUMBER" or NULL: a KEY is matched as PEFT does, (.*\.)?(KEY)$ on the module's name; the first
 * that fits counts. Errors: KD_EINVAL a key that fits no adapted module, a number that is none. */
kd_code kd_ranks_resolve(kd_rank *ranks, const kd_config *c, const kd_adapter_config *ac, const char *rank_pattern,
                         const char *alpha_pattern, kd_err *e);

/* Lists the parameters; allocates no slab. Errors: KD_EINVAL, KD_ENOMEM. */
kd_code kd_params_list(kd_params *p, const kd_config *c, const kd_train_method *m, kd_err *e);
/* Slabs, zeroed. Then full: weights from m. */
kd_code kd_params_alloc(kd_params *p, kd_err *e);
void kd_params_clear(kd_params *p);
/* The array of a role: NULL if it is not trained. */
const kd_param *kd_params_find(const kd_params *p, kd_role r, uint32_t layer, char part);
static inline float *kd_param_value(const kd_params *p, const kd_param *q) { return q ? p->value + q->at : NULL; }
static inline bool kd_param_active(const kd_params *p, const kd_param *q) { return !p->blocks || q->block == p->active; }
/* NULL: not trained, or not now. */
static inline float *kd_param_grad(const kd_params *p, const kd_param *q) {
    return q && p->grad && kd_param_active(p, q) ? p->grad + q->grad_at : NULL;
}

/* Values of weights that are trained whole from the model, expanded; spread over pool. */
void kd_params_from_model(kd_params *p, const kd_model *m, kd_pool *pool);
/* Start of an adapter as PEFT makes it: A uniform in +-1/sqrt(in) (Kaiming with a = sqrt 5), B zero; numbers from (seed, parameter, element).
 * Magnitudes are left to kd_net (they need the weights' norms). */
void kd_params_init_lora(kd_params *p, uint64_t seed);
/* Rows of tokens beside an adapter as m has them. */
void kd_params_rows_from_model(kd_params *p, const kd_train_method *method, const kd_model *m);
/* An adapter of zeros as the method has it, every module's own rank and alpha. */
kd_code kd_params_adapter(kd_adapter **out, const kd_config *c, const kd_train_method *method, kd_err *e);
/* Values from and to an adapter; shapes and targets must agree: KD_EINVAL names what does not. Weights trained whole beside it become its
 * modules_to_save; tied ones are saved as embedding and as head, as PEFT loads them. */
kd_code kd_params_from_adapter(kd_params *p, const kd_adapter *a, kd_err *e);
kd_code kd_params_to_adapter(const kd_params *p, kd_adapter *a, kd_err *e);

#endif
