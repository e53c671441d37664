/* distill/model/names.c - tensor roles and their names. Leans on names.h alone. */
#include "distill/model/names.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

typedef struct {
    const char *hf;   /* behind "model.layers.N." for roles of a layer, whole otherwise */
    const char *gguf; /* behind "blk.N." */
} role_name;

static const role_name ROLE[KD_ROLES] = {
    [KD_Q] = {"self_attn.q_proj.weight", "attn_q.weight"},
    [KD_K] = {"self_attn.k_proj.weight", "attn_k.weight"},
    [KD_V] = {"self_attn.v_proj.weight", "attn_v.weight"},
    [KD_O] = {"self_attn.o_proj.weight", "attn_output.weight"},
    [KD_GATE] = {"mlp.gate_proj.weight", "ffn_gate.weight"},
    [KD_UP] = {"mlp.up_proj.weight", "ffn_up.weight"},
    [KD_DOWN] = {"mlp.down_proj.weight", "ffn_down.weight"},
    [KD_Q_BIAS] = {"self_attn.q_proj.bias", "attn_q.bias"},
    [KD_K_BIAS] = {"self_attn.k_proj.bias", "attn_k.bias"},
    [KD_V_BIAS] = {"self_attn.v_proj.bias", "attn_v.bias"},
    [KD_O_BIAS] = {"self_attn.o_proj.bias", "attn_output.bias"},
    [KD_GATE_BIAS] = {"mlp.gate_proj.bias", "ffn_gate.bias"},
    [KD_UP_BIAS] = {"mlp.up_proj.bias", "ffn_up.bias"},
    [KD_DOWN_BIAS] = {"mlp.down_proj.bias", "ffn_down.bias"},
    [KD_ATTN_NORM] = {"input_layernorm.weight", "attn_norm.weight"},
    [KD_MLP_NORM] = {"post_attention_layernorm.weight", "ffn_norm.weight"},
    [KD_Q_NORM] = {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    [KD_K_NORM] = {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    [KD_EMBED] = {"model.embed_tokens.weight", "token_embd.weight"},
    [KD_FINAL_NORM] = {"model.norm.weight", "output_norm.weight"},
    [KD_HEAD] = {"lm_head.weight", "output.weight"},
};

bool kd_role_present(const kd_config *c, kd_role r) {
    switch (r) {
    case KD_Q_BIAS:
    case KD_K_BIAS:
    case KD_V_BIAS: return c->qkv_bias;
    case KD_O_BIAS: return c->o_bias;
    case KD_GATE_BIAS:
    case KD_UP_BIAS:
    case KD_DOWN_BIAS: return c->mlp_bias;
    case KD_Q_NORM:
    case KD_K_NORM: return c->qk_norm;
    case KD_HEAD: return !c->tied;
    default: return true;
    }
}

void kd_role_shape(const kd_config *c, kd_role r, size_t *rows, size_t *cols) {
    size_t qd = (size_t)c->H * c->D, kd = (size_t)c->G * c->D;
    size_t R = c->C, K = 0;
    switch (r) {
    case KD_Q: R = qd, K = c->C; break;
    case KD_K:
    case KD_V: R = kd, K = c->C; break;
    case KD_O: R = c->C, K = qd; break;
    case KD_GATE:
    case KD_UP: R = c->F, K = c->C; break;
    case KD_DOWN: R = c->C, K = c->F; break;
    case KD_EMBED:
    case KD_HEAD: R = c->V, K = c->C; break;
    case KD_Q_BIAS: R = qd; break;
    case KD_K_BIAS:
    case KD_V_BIAS: R = kd; break;
    case KD_GATE_BIAS:
    case KD_UP_BIAS: R = c->F; break;
    case KD_Q_NORM:
    case KD_K_NORM: R = c->D; break;
    default: break;
    }
    *rows = R, *cols = K;
}

static char *name_of(char *s, const char *prefix, const char *name, kd_role r, uint32_t layer) {
    if (r < KD_LAYER_ROLES)
        snprintf(s, 96, "%s%u.%s", prefix, (unsigned)layer, name);
    else
        snprintf(s, 96, "%s", name);
    return s;
}

char *kd_name_hf(char *s, kd_role r, uint32_t layer) { return name_of(s, "model.layers.", ROLE[r].hf, r, layer); }

char *kd_name_gguf(char *s, kd_role r, uint32_t layer) { return name_of(s, "blk.", ROLE[r].gguf, r, layer); }

const char *kd_module_name(kd_role r) {
    static const char *const names[KD_MATS] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    if (r < KD_MATS) return names[r];
    return r == KD_EMBED ? "embed_tokens" : r == KD_HEAD ? "lm_head" : NULL;
}

bool kd_name_parse(const char *name, bool gguf, kd_role *r, uint32_t *layer) {
    const char *prefix = gguf ? "blk." : "model.layers.";
    size_t n = strlen(prefix);
    int first = KD_LAYER_ROLES, last = KD_ROLES;
    *layer = 0;
    if (!strncmp(name, prefix, n)) {
        const char *p = name + n;
        uint32_t v = 0;
        int digits = 0;
        while (*p >= '0' && *p <= '9' && digits < 6) v = v * 10 + (uint32_t)(*p++ - '0'), digits++;
        if (!digits || *p != '.' || (digits > 1 && name[n] == '0')) return false;
        name = p + 1, *layer = v, first = 0, last = KD_LAYER_ROLES;
    }
    for (int i = first; i < last; i++)
        if (!strcmp(name, gguf ? ROLE[i].gguf : ROLE[i].hf)) return *r = (kd_role)i, true;
    return false;
}

bool kd_role_permuted(kd_arch a, kd_role r) { return a == KD_LLAMA && (r == KD_Q || r == KD_K || r == KD_Q_BIAS || r == KD_K_BIAS); }
