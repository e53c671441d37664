/* distill/model/adapter.h - low-rank adapters (LoRA, rsLoRA, DoRA) in PEFT's layout: files, part of the forward pass, merging.
 * Leans on model.h, format/safetensors.h. Rows are in Hugging Face's order whatever the base is stored in.
 * Sources: Hu et al. 2021 arXiv:2106.09685; Kalajdzievski 2023 arXiv:2312.03732; Liu et al. 2024 arXiv:2402.09353. */
#ifndef KD_MODEL_ADAPTER_H
#define KD_MODEL_ADAPTER_H

#include "distill/base/pool.h"
#include "distill/model/model.h"

/* One adapted matrix [out,in]: W' = W + scale * B A; with DoRA, row o of W' times magnitude[o] / ||W'[o]||. r = 0: not adapted. */
typedef struct {
    uint32_t r;
    float alpha, scale; /* scale = alpha/r, or alpha/sqrt(r) (rsLoRA) */
    float *a, *b;       /* a [r,in], b [out,r] */
    float *magnitude;   /* [out] or NULL; DoRA */
    float *row_scale;   /* [out] magnitude / ||W + scale B A||, or NULL until kd_adapter_bind */
} kd_lora;

typedef struct {
    uint32_t r;
    float alpha, dropout;
    bool rslora, dora;
    char *base;                   /* base_model_name_or_path, may be NULL */
    uint32_t targets;             /* bit KD_Q .. KD_DOWN, bit KD_EMBED, bit KD_HEAD */
    uint32_t first_token, tokens; /* rows brought along whole, of tokens one behind the other; tokens 0: none, or others than that */
} kd_adapter_config;

/* Rows of the embedding and of the head that an adapter brings along whole, instead of the base's (PEFT's trainable_token_indices). */
typedef struct {
    size_t n;
    int32_t *token;      /* [n] */
    int32_t *row_of;     /* [V] place in token, -1: the base's own */
    float *embed, *head; /* [n,C]; either may be NULL; a tied head's rows are the embedding's */
} kd_token_rows;

typedef struct kd_adapter {
    kd_adapter_config config;
    uint32_t L;
    kd_lora *layers;                 /* [L * KD_MATS], layer-major */
    kd_lora embed, head;             /* LoRA on embed_tokens (a [r,V], b [C,r] as PEFT has them) and lm_head */
    float *saved_embed, *saved_head; /* [V,C] modules_to_save, or NULL */
    kd_token_rows rows;
} kd_adapter;

/* An adapter of zeros for these targets (all r, alpha alike); the trainer initialises. Errors: KD_EINVAL, KD_ENOMEM. */
kd_code kd_adapter_new(kd_adapter **out, const kd_config *c, const kd_adapter_config *ac, kd_err *e);
/* From a PEFT folder: adapter_config.json and adapter_model.safetensors; rank_pattern and alpha_pattern honoured; what we lack refused by name. */
kd_code kd_adapter_open(kd_adapter **out, const char *dir, const kd_config *c, kd_err *e);
/* Into a PEFT folder (made if absent); files appear whole. base: what base_model_name_or_path says. */
kd_code kd_adapter_save(const kd_adapter *a, const char *dir, const kd_config *c, const char *base, kd_err *e);
void kd_adapter_free(kd_adapter *a);
/* Room for rows of these tokens: embed's, and head's of an untied model. Errors: KD_EINVAL a token twice or outside the vocabulary; KD_ENOMEM. */
kd_code kd_adapter_add_rows(kd_adapter *a, const kd_config *c, const int32_t *tokens, size_t n, bool embed, bool head, kd_err *e);
/* The rows that the head of a model of this config takes from the adapter, or NULL. */
static inline const float *kd_adapter_head_rows(const kd_adapter *a, const kd_config *c) {
    return a->rows.head ? a->rows.head : c->tied ? a->rows.embed : NULL;
}
kd_lora *kd_adapter_lora(kd_adapter *a, kd_role r, uint32_t layer); /* NULL where r is not adapted */
/* alpha/r, or alpha/sqrt(r) where rslora. */
float kd_lora_scale(float alpha, uint32_t r, bool rslora);
/* One pair of zero factors for a matrix [out,in] (and a zero magnitude for DoRA). */
kd_code kd_lora_new(kd_lora *l, uint32_t r, float alpha, bool rslora, bool dora, size_t in, size_t out, kd_err *e);
/* Computes row_scale of DoRA rows against m's weights. Needed before kd_adapter_apply and merging. */
kd_code kd_adapter_bind(kd_adapter *a, const kd_model *m, kd_pool *pool, kd_err *e);

/* y (already W x, without bias) becomes the adapted product: y = row_scale * (y + scale * B (A x)); bias is added behind. x [N,in], y [N,out].
 * work: N * r floats; scratch as kd_linear_f32 has it. Row n depends on row n alone, to the bit. */
void kd_lora_apply(const kd_lora *l, const float *x, size_t ldx, float *y, size_t ldy, size_t N, size_t in, size_t out, float *work,
                   kd_pool *pool, void *scratch);
/* row o of the merged matrix: w [in] (the stored row as f32) becomes row_scale * (w + scale * B[o] A). */
void kd_lora_merge_row(const kd_lora *l, size_t o, float *w, size_t in);

#endif
