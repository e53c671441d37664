/* distill/model/names.h - the tensors of a dense decoder: roles, shapes, and their names in Hugging Face's and GGUF's words. Leans on config.h. */
#ifndef KD_MODEL_NAMES_H
#define KD_MODEL_NAMES_H

#include "distill/model/config.h"

typedef enum {
    /* matrices of a layer that adapters may sit on, in this order */
    KD_Q,
    KD_K,
    KD_V,
    KD_O,
    KD_GATE,
    KD_UP,
    KD_DOWN,
    KD_MATS, /* 7 */
    /* vectors of a layer */
    KD_Q_BIAS = KD_MATS,
    KD_K_BIAS,
    KD_V_BIAS,
    KD_O_BIAS,
    KD_GATE_BIAS,
    KD_UP_BIAS,
    KD_DOWN_BIAS,
    KD_ATTN_NORM,
    KD_MLP_NORM,
    KD_Q_NORM,
    KD_K_NORM,
    KD_LAYER_ROLES,
    /* of the whole model; layer is ignored */
    KD_EMBED = KD_LAYER_ROLES,
    KD_FINAL_NORM,
    KD_HEAD,
    /* of a layer again, in mixtures of experts: KD_ROUTER [experts, C]; of each expert KD_EXP_GATE, KD_EXP_UP [expert_F, C], KD_EXP_DOWN */
    KD_ROUTER,
    KD_EXP_GATE,
    KD_EXP_UP,
    KD_EXP_DOWN,
    KD_ROLES
} kd_role;

/* True if a model of this config has the tensor (biases, q/k norms, untied head). */
bool kd_role_present(const kd_config *c, kd_role r);
/* Shape: rows and cols of a matrix; cols = 0 for a vector of rows elements. */
void kd_role_shape(const kd_config *c, kd_role r, size_t *rows, size_t *cols);
/* "model.layers.3.self_attn.q_proj.weight" / "blk.3.attn_q.weight"; s holds 96 bytes; returns s. */
char *kd_name_hf(char *s, kd_role r, uint32_t layer);
char *kd_name_gguf(char *s, kd_role r, uint32_t layer);
/* The same by config, for the roles of experts too (KD_EXP_*: of one expert in Hugging Face's words, of the whole stack in GGUF's, where expert is
 * ignored). */
char *kd_name_stored(char *s, const kd_config *c, bool gguf, kd_role r, uint32_t layer, uint32_t expert);
/* The inverse of it. */
bool kd_name_parse_stored(const char *name, const kd_config *c, bool gguf, kd_role *r, uint32_t *layer, uint32_t *expert);
const char *kd_module_name(kd_role r); /* "q_proj" ... "down_proj", "embed_tokens", "lm_head"; NULL for vectors */
/* The inverse: true if name (either wording) is a tensor of the families we know; *layer set for roles of a layer. */
bool kd_name_parse(const char *name, bool gguf, kd_role *r, uint32_t *layer);

/* GGUF files of Llama store q and k (weights, biases, LoRA B rows) with each head's rows interleaved: stored row of Hugging Face's row r.
 * Hugging Face's row h*D + half*D/2 + j is stored at h*D + 2*j + half. */
static inline uint32_t kd_llama_permuted_row(uint32_t r, uint32_t D) {
    uint32_t h = r / D, i = r % D;
    return h * D + 2 * (i % (D / 2)) + i / (D / 2);
}
bool kd_role_permuted(kd_arch a, kd_role r); /* true for Llama's KD_Q, KD_K and their biases */

#endif
