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
    case KD_GATE:
    case KD_UP:
    case KD_DOWN: return !c->experts;
    case KD_ROUTER:
    case KD_EXP_GATE:
    case KD_EXP_UP:
    case KD_EXP_DOWN: return c->experts != 0;
    case KD_Q_BIAS:
    case KD_K_BIAS:
    case KD_V_BIAS: return c->qkv_bias;
    case KD_O_BIAS: return c->o_bias;
    case KD_GATE_BIAS:
    case KD_UP_BIAS:
    case KD_DOWN_BIAS: return c->mlp_bias && !c->experts;
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
    case KD_ROUTER: R = c->experts, K = c->C; break;
    case KD_EXP_GATE:
    case KD_EXP_UP: R = c->expert_F, K = c->C; break;
    case KD_EXP_DOWN: R = c->C, K = c->expert_F; break;
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

/* What experts are called: behind "model.layers.N." and "blk.N."; %u the expert. */
typedef struct {
    const char *qwen, *mixtral, *gguf;
} expert_name;
static const expert_name EXPERT[4] = {
    {"mlp.gate.weight", "block_sparse_moe.gate.weight", "ffn_gate_inp.weight"},
    {"mlp.experts.%u.gate_proj.weight", "block_sparse_moe.experts.%u.w1.weight", "ffn_gate_exps.weight"},
    {"mlp.experts.%u.up_proj.weight", "block_sparse_moe.experts.%u.w3.weight", "ffn_up_exps.weight"},
    {"mlp.experts.%u.down_proj.weight", "block_sparse_moe.experts.%u.w2.weight", "ffn_down_exps.weight"},
};
static const char *expert_form(const kd_config *c, bool gguf, kd_role r) {
    const expert_name *x = &EXPERT[r - KD_ROUTER];
    return gguf ? x->gguf : c->arch == KD_LLAMA ? x->mixtral : x->qwen;
}

char *kd_name_stored(char *s, const kd_config *c, bool gguf, kd_role r, uint32_t layer, uint32_t expert) {
    if (r < KD_ROUTER) return gguf ? kd_name_gguf(s, r, layer) : kd_name_hf(s, r, layer);
    const char *form = expert_form(c, gguf, r), *mark = strstr(form, "%u");
    if (mark)
        snprintf(s, 96, "model.layers.%u.%.*s%u%s", (unsigned)layer, (int)(mark - form), form, (unsigned)expert, mark + 2);
    else
        snprintf(s, 96, "%s%u.%s", gguf ? "blk." : "model.layers.", (unsigned)layer, form);
    return s;
}

/* A number without signs or leading zeros; NULL if there is none. */
static const char *number(const char *p, uint32_t *v) {
    const char *from = p;
    for (*v = 0; *p >= '0' && *p <= '9' && p - from < 6; p++) *v = *v * 10 + (uint32_t)(*p - '0');
    return p == from || (p - from > 1 && *from == '0') ? NULL : p;
}

bool kd_name_parse_stored(const char *name, const kd_config *c, bool gguf, kd_role *r, uint32_t *layer, uint32_t *expert) {
    const char *prefix = gguf ? "blk." : "model.layers.";
    *expert = 0;
    if (kd_name_parse(name, gguf, r, layer)) return true;
    if (strncmp(name, prefix, strlen(prefix))) return false;
    const char *p = number(name + strlen(prefix), layer);
    if (!p || *p != '.') return false;
    for (int k = 0; k < 4; k++) {
        const char *form = expert_form(c, gguf, (kd_role)(KD_ROUTER + k)), *mark = strstr(form, "%u"), *rest = p + 1;
        if (mark) {
            if (strncmp(rest, form, (size_t)(mark - form)) || !(rest = number(rest + (mark - form), expert))) continue;
            form = mark + 2;
        }
        if (!strcmp(rest, form)) return *r = (kd_role)(KD_ROUTER + k), true;
    }
    return false;
}

const char *kd_module_name(kd_role r) {
    static const char *const names[KD_MATS] = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};
    if (r < KD_MATS) return names[r];
    return r == KD_EMBED ? "embed_tokens" : r == KD_HEAD ? "lm_head" : NULL;
}

bool kd_name_parse(const char *name, bool gguf, kd_role *r, uint32_t *layer) {
    const char *prefix = gguf ? "blk." : "model.layers.";
    size_t n = strlen(prefix);
    int first = KD_LAYER_ROLES, last = KD_ROUTER;
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
