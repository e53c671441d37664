/* distill/model/model.h - a model's named weights, as stored: matrices mapped, vectors as f32. Leans on config.h, names.h, source.h, math/mat.h.
 * Everything is in Hugging Face's row order (GGUF's permuted q and k carry a row map). */
#ifndef KD_MODEL_MODEL_H
#define KD_MODEL_MODEL_H

#include "distill/math/mat.h"
#include "distill/model/names.h"
#include "distill/model/source.h"

typedef struct {
    kd_mat mat[KD_MATS];               /* q [H*D,C]  k, v [G*D,C]  o [C,H*D]  gate, up [F,C]  down [C,F] */
    const float *bias[KD_MATS];        /* [rows] or NULL */
    const float *attn_norm, *mlp_norm; /* [C] */
    const float *q_norm, *k_norm;      /* [D] or NULL */
    kd_mat router,
        *experts[3]; /* of mixtures: [experts,C]; gate, up, down [experts] of one expert each. Then mat[KD_GATE..KD_DOWN] are empty */
} kd_layer;

/* The type of a kd_mat whose data is a kd_packed: no type of a file, and none that is computed with; kd_mat_rows reads it. */
enum { KD_PACKED_TYPE = 127 };

typedef struct kd_model {
    kd_config config;
    kd_mat embed;            /* [V,C] */
    kd_mat head;             /* [V,C]; the same bytes as embed when tied */
    const float *final_norm; /* [C] */
    kd_layer *layers;        /* [L] */
    kd_source_kind kind;
    char *path;
    uint64_t bytes;               /* of the stored weights */
    struct kd_model_files *files; /* maps and expanded vectors; private */
} kd_model;

/* path: the model alone (kd_source.path), adapters apart. Every tensor's presence, shape and type is checked; tensors we do not know are
 * refused by name (rotary buffers of old checkpoints apart). Nothing is read but headers and vectors. Errors as of format and config. */
kd_code kd_model_open(kd_model **out, const char *path, kd_err *e);
/* The same for who only converts or looks: mixtures of experts and packed weights (quantization_config) too. What comes back may not be run, trained
 * or adapted if kd_model_stored_only says so. */
kd_code kd_model_open_stored(kd_model **out, const char *path, kd_err *e);
bool kd_model_stored_only(const kd_model *m);
void kd_model_free(kd_model *m);
/* The matrix of a role (KD_Q..KD_DOWN of a layer, KD_EMBED, KD_HEAD) and the vector of a role, NULL where there is none. */
const kd_mat *kd_model_mat(const kd_model *m, kd_role r, uint32_t layer);
const float *kd_model_vec(const kd_model *m, kd_role r, uint32_t layer);
/* The matrices of a role: one, or the experts' (*n of them). */
const kd_mat *kd_model_mats(const kd_model *m, kd_role r, uint32_t layer, size_t *n);
/* out [n, cols] = rows first .. first + n of a matrix as float32, whatever it is stored as, packed too. Allocates nothing; reentrant. */
void kd_mat_rows(const kd_mat *m, size_t first, size_t n, float *out);
/* The opened GGUF file of a model that is one (borrowed), or NULL. */
const kd_gguf *kd_model_gguf(const kd_model *m);

#endif
