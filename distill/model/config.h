/* distill/model/config.h - what a model is: family, sizes, rope, biases; read from config.json (both spellings) or from GGUF keys.
 * A feature that a config asks for and we lack is refused by name. Leans on packed.h, base/json.h, format/gguf.h. */
#ifndef KD_MODEL_CONFIG_H
#define KD_MODEL_CONFIG_H

#include "distill/model/packed.h"

typedef struct kd_gguf kd_gguf; /* distill/format/gguf.h */

typedef enum { KD_LLAMA, KD_QWEN2, KD_QWEN3, KD_ARCHS } kd_arch;
typedef enum { KD_ROPE_DEFAULT, KD_ROPE_LINEAR, KD_ROPE_LLAMA3, KD_ROPE_YARN } kd_rope_kind;

typedef struct {
    kd_rope_kind kind;
    double theta, factor;
    double low_freq_factor, high_freq_factor;        /* llama3 */
    double original_context;                         /* llama3, yarn */
    double beta_fast, beta_slow;                     /* yarn */
    double attention_factor, mscale, mscale_all_dim; /* yarn; attention_factor < 0: by formula; mscales 0: not given */
    bool truncate;                                   /* yarn: round the correction range, as Hugging Face does unless told not to */
    float *factors;                                  /* [D/2] explicit divisors (GGUF's rope_freqs.weight), or NULL; the config's own */
} kd_rope_config;

typedef struct {
    kd_arch arch;
    uint32_t L, C, H, G, D, F, V; /* layers, hidden, query heads, kv heads, head width, feed-forward, vocabulary rows */
    uint32_t context;             /* max_position_embeddings */
    float norm_eps;
    bool tied; /* head is the embedding */
    bool qkv_bias, o_bias, mlp_bias, qk_norm;
    kd_rope_config rope;
    int64_t bos, eos[8]; /* as the config says; -1 none. eos may be a list */
    int eos_count;
    int64_t pad;
    double initializer_range;
    uint32_t experts, experts_used,
        expert_F;       /* mixture of experts: their number in a layer, how many a token takes, width of each; 0: dense */
    bool norm_topk;     /* the weights of those taken are made to sum to 1 */
    kd_packing packing; /* quantization_config; kd_config_from_json refuses it */
} kd_config;

const char *kd_arch_name(kd_arch a);  /* "llama", "qwen2", "qwen3": Hugging Face's model_type and GGUF's general.architecture alike */
const char *kd_arch_class(kd_arch a); /* "LlamaForCausalLM" ... */

/* The names of a config's family: Hugging Face's model_type and class, GGUF's architecture; those of the dense family but for experts ("qwen3_moe",
 * "mixtral"; "qwen3moe", "llama"). */
const char *kd_config_type(const kd_config *c);
const char *kd_config_class(const kd_config *c);
const char *kd_config_gguf_arch(const kd_config *c);

/* From the text of config.json. what names it in messages. Errors: KD_EFORMAT a field that is absent, of the wrong type or out of bounds;
 * KD_EUNSUPPORTED a family or feature we lack, named. */
kd_code kd_config_from_json(kd_config *out, const char *text, size_t len, const char *what, kd_err *e);
/* The same for who only converts: mixtures of experts (Qwen3-MoE, Mixtral) and packed weights are read too. */
kd_code kd_config_from_json_stored(kd_config *out, const char *text, size_t len, const char *what, kd_err *e);
kd_code kd_config_from_gguf_stored(kd_config *out, const kd_gguf *g, kd_err *e);
/* From GGUF metadata (and its rope_freqs.weight, and the presence of output.weight and biases). */
kd_code kd_config_from_gguf(kd_config *out, const kd_gguf *g, kd_err *e);
/* config.json for c, in Hugging Face's older spelling, which every version reads; dtype: "float32", "bfloat16", "float16". */
kd_code kd_config_to_json(kd_buf *out, const kd_config *c, const char *dtype, kd_err *e);
/* What holds for a config from anywhere: heads divide, an even head width, an epsilon in (0,1). KD_EFORMAT. */
kd_code kd_config_check(const kd_config *c, const char *what, kd_err *e);
void kd_config_clear(kd_config *c);

/* inv_freq [D/2] f32 with the scaling applied, and what cos and sin are multiplied with (yarn's attention factor, else 1).
 * Sources: transformers' modeling_rope_utils (facts: default, linear, llama3, yarn); Peng et al. 2023, arXiv:2309.00071. */
void kd_config_inv_freq(const kd_config *c, float *inv_freq, float *scale);
/* [D/2] divisors of llama3 scaling, as GGUF's rope_freqs.weight holds them; false when the rope has none. */
bool kd_config_rope_factors(const kd_config *c, float *factors);
uint64_t kd_config_parameters(const kd_config *c); /* weights in all, a tied head counted once */

#endif
