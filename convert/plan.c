/* convert/plan.c - opens the source and lists what the output will hold. Leans on plan.h. */
#include "convert/folder.h"
#include "convert/plan.h"

#include "distill/math/codec.h"

#include <stdio.h>
#include <string.h>

void kd_plan_clear(kd_plan *p) {
    kd_free(p->v);
    kd_arena_clear(&p->arena);
    kd_adapter_free(p->adapter);
    kd_safetensors_close(p->st);
    kd_model_free(p->model);
    kd_source_clear(&p->source);
    *p = (kd_plan){0};
}

static kd_code add(kd_plan *p, const kd_item *it, kd_err *e) {
    void *v = p->v;
    kd_code c = kd_grow(&v, &p->cap, p->n + 1, sizeof *p->v);
    p->v = v;
    if (c) return kd_fail(e, c, "%s: no memory for its list of tensors", p->source.path);
    p->v[p->n] = *it;
    kd_item *w = &p->v[p->n];
    if (!kd_dtype_row_bytes((int)w->type, w->cols, &w->row_bytes))
        return kd_fail(e, KD_EINVAL, "%s: tensor %s: rows of %zu are no whole blocks of %s", p->source.path, w->name, w->cols,
                       kd_dtype_get((int)w->type)->name);
    if (!kd_can_write((int)w->type) && !(w->from && w->from->type == w->type && !w->lora && !w->embed && !w->token_rows))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: tensor %s: type %s is not written here", p->source.path, w->name,
                       kd_dtype_get((int)w->type)->name);
    p->n++;
    p->result.tensors++;
    p->result.type_tensors[w->type]++;
    p->result.type_bytes[w->type] += (uint64_t)w->rows * w->row_bytes;
    return KD_OK;
}

/* Where GGUF wants a head's rows interleaved: output row s is Hugging Face's row map[s]. NULL = no memory. */
static const uint32_t *permutation(kd_plan *p, uint32_t rows, uint32_t D) {
    uint32_t *map = kd_arena_alloc(&p->arena, rows * sizeof *map);
    for (uint32_t r = 0; map && r < rows; r++) map[kd_llama_permuted_row(r, D)] = r;
    return map;
}

static kd_dtype vector_type(const kd_plan *p, kd_role r, uint32_t layer) {
    char s[96];
    if (p->gguf) return KD_F32;
    if (p->type) return p->type->type;
    const kd_tensor *t = p->st ? kd_tensors_find(kd_safetensors_tensors(p->st), kd_name_hf(s, r, layer)) : NULL;
    return t && (t->type == KD_F16 || t->type == KD_BF16) ? t->type : KD_F32;
}

static kd_dtype matrix_type(kd_plan *p, kd_role r, uint32_t layer, const kd_mat *m) {
    if (p->gguf && r == KD_ROUTER) return KD_F32; /* small, and what decides everything else */
    if (p->mix) return kd_mix_type(p->mix, r, layer);
    if (p->gguf && p->type) {
        kd_dtype d = kd_convert_type_of(p->type, &p->config, r, layer, m->cols);
        p->result.fallbacks += m->cols % kd_dtype_get((int)p->type->type)->block != 0;
        return d;
    }
    if (p->type) return p->type->type;
    if (p->gguf) return m->type < KD_TYPES ? m->type : KD_F32;
    return m->type == KD_F16 || m->type == KD_BF16 ? m->type : KD_F32;
}

static void name(const kd_plan *p, kd_item *it, uint32_t expert) {
    kd_name_stored(it->name, &p->config, p->gguf, it->role, it->layer, expert);
}

static kd_code add_matrix(kd_plan *p, kd_role r, uint32_t layer, const uint32_t *map, kd_err *e) {
    const kd_config *c = &p->model->config;
    size_t n;
    const kd_mat *m = kd_model_mats(p->model, r, layer, &n);
    kd_item it = {
        .role = r, .layer = layer, .ndim = 2, .shape = {m->rows, m->cols}, .rows = m->rows, .cols = m->cols, .from = m, .mats = 1};
    const float *saved = !p->adapter ? NULL : r == KD_EMBED ? p->adapter->saved_embed : r == KD_HEAD ? p->adapter->saved_head : NULL;
    if (saved) it.values = saved, it.from = NULL;
    if (p->adapter && r == KD_EMBED && p->adapter->embed.r)
        it.embed = &p->adapter->embed, it.embed_rows = c->V;
    else if (p->adapter && r != KD_EMBED)
        it.lora = kd_adapter_lora(p->adapter, r, layer);
    if (p->adapter && (r == KD_EMBED || r == KD_HEAD) && p->adapter->rows.n) {
        it.tokens = &p->adapter->rows;
        it.token_rows = r == KD_EMBED ? it.tokens->embed : kd_adapter_head_rows(p->adapter, c);
    }
    it.type = matrix_type(p, r, layer, m);
    it.row_map = map;
    name(p, &it, 0);
    return add(p, &it, e);
}

/* Experts: one stack in GGUF, a tensor each in Hugging Face's layout. */
static kd_code add_experts(kd_plan *p, kd_role r, uint32_t layer, kd_err *e) {
    size_t n;
    const kd_mat *m = kd_model_mats(p->model, r, layer, &n);
    kd_item it = {.role = r, .layer = layer, .cols = m->cols, .from = m, .type = matrix_type(p, r, layer, m)};
    if (p->gguf) {
        it.ndim = 3, it.mats = n, it.rows = n * m->rows;
        it.shape[0] = n, it.shape[1] = m->rows, it.shape[2] = m->cols;
        name(p, &it, 0);
        return add(p, &it, e);
    }
    kd_code c = KD_OK;
    it.ndim = 2, it.mats = 1, it.rows = m->rows, it.shape[0] = m->rows, it.shape[1] = m->cols;
    for (size_t k = 0; k < n && !c; k++) {
        it.from = &m[k];
        name(p, &it, (uint32_t)k);
        c = add(p, &it, e);
    }
    return c;
}

static kd_code add_vector(kd_plan *p, kd_role r, uint32_t layer, const uint32_t *map, kd_err *e) {
    size_t rows, cols;
    kd_role_shape(&p->config, r, &rows, &cols);
    kd_item it = {.role = r,
                  .layer = layer,
                  .ndim = 1,
                  .shape = {rows},
                  .rows = 1,
                  .mats = 1,
                  .cols = rows,
                  .values = kd_model_vec(p->model, r, layer)};
    if (map) {
        float *v = kd_arena_alloc(&p->arena, rows * sizeof *v);
        if (!v) return kd_fail(e, KD_ENOMEM, "%s: no memory for its vectors", p->source.path);
        for (size_t i = 0; i < rows; i++) v[i] = it.values[map[i]];
        it.values = v;
    }
    it.type = vector_type(p, r, layer);
    name(p, &it, 0);
    return add(p, &it, e);
}

/* rope_freqs.weight: how GGUF says llama3 scaling. */
static kd_code add_factors(kd_plan *p, kd_err *e) {
    size_t n = p->config.D / 2;
    float *f = kd_arena_alloc(&p->arena, n * sizeof *f);
    if (!f) return kd_fail(e, KD_ENOMEM, "%s: no memory for its rope factors", p->source.path);
    if (!kd_config_rope_factors(&p->config, f)) return KD_OK;
    kd_item it = {.name = "rope_freqs.weight",
                  .role = KD_ROLES,
                  .ndim = 1,
                  .shape = {n},
                  .rows = 1,
                  .mats = 1,
                  .cols = n,
                  .values = f,
                  .type = KD_F32};
    return add(p, &it, e);
}

static kd_code list_layer(kd_plan *p, uint32_t l, const uint32_t *q_map, const uint32_t *k_map, kd_err *e) {
    static const kd_role ORDER[] = {KD_ATTN_NORM, KD_Q,         KD_Q_BIAS, KD_K,        KD_K_BIAS, KD_V,         KD_V_BIAS, KD_O,
                                    KD_O_BIAS,    KD_Q_NORM,    KD_K_NORM, KD_MLP_NORM, KD_GATE,   KD_GATE_BIAS, KD_UP,     KD_UP_BIAS,
                                    KD_DOWN,      KD_DOWN_BIAS, KD_ROUTER, KD_EXP_GATE, KD_EXP_UP, KD_EXP_DOWN};
    kd_code c = KD_OK;
    for (size_t i = 0; i < sizeof ORDER / sizeof *ORDER && !c; i++) {
        kd_role r = ORDER[i];
        const uint32_t *map = !p->gguf || !kd_role_permuted(p->config.arch, r) ? NULL : r == KD_Q || r == KD_Q_BIAS ? q_map : k_map;
        if (!kd_role_present(&p->config, r)) continue;
        c = r > KD_ROUTER                   ? add_experts(p, r, l, e)
            : r < KD_MATS || r == KD_ROUTER ? add_matrix(p, r, l, map, e)
                                            : add_vector(p, r, l, map, e);
    }
    return c;
}

static kd_code list(kd_plan *p, kd_err *e) {
    const kd_config *f = &p->config;
    const uint32_t *q_map = NULL, *k_map = NULL;
    if (p->gguf && f->arch == KD_LLAMA) {
        q_map = permutation(p, f->H * f->D, f->D);
        k_map = permutation(p, f->G * f->D, f->D);
        if (!q_map || !k_map) return kd_fail(e, KD_ENOMEM, "%s: no memory for its rows", p->source.path);
    }
    kd_code c = p->gguf ? add_factors(p, e) : KD_OK;
    if (!c) c = add_matrix(p, KD_EMBED, 0, NULL, e);
    for (uint32_t l = 0; l < f->L && !c; l++) c = list_layer(p, l, q_map, k_map, e);
    if (!c) c = add_vector(p, KD_FINAL_NORM, 0, NULL, e);
    if (!c && kd_role_present(f, KD_HEAD)) c = add_matrix(p, KD_HEAD, 0, NULL, e);
    return c;
}

/* Things a config may say that GGUF has no words for, or llama.cpp no ears. */
static kd_code check_gguf(const kd_plan *p, kd_err *e) {
    const kd_config *c = &p->config;
    const char *arch = kd_arch_name(c->arch);
    if (c->rope.kind == KD_ROPE_YARN && !c->rope.truncate)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: rope_scaling.truncate false has no words in GGUF", p->source.path);
    if (c->arch != KD_LLAMA && (c->rope.kind == KD_ROPE_LLAMA3 || c->rope.factors))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: llama3 rope scaling of a %s model has no words in GGUF", p->source.path, arch);
    if (c->arch != KD_LLAMA && c->o_bias)
        return kd_fail(e, KD_EUNSUPPORTED, "%s: a bias of o_proj in a %s model has no words in GGUF", p->source.path, arch);
    return KD_OK;
}

/* config.json says llama3 scaling by its numbers, GGUF by its factors: the numbers must be found again. */
static bool name_factors(kd_plan *p) {
    kd_config was;
    kd_str text;
    if (!p->config.rope.factors) return true;
    if (!kd_config_kept(&was, p, &text)) return kd_rope_fit_llama3(&p->config);
    p->config.rope = was.rope;
    kd_config_clear(&was);
    return true;
}

static kd_code check_folder(kd_plan *p, kd_err *e) {
    if (!name_factors(p))
        return kd_fail(e, KD_EUNSUPPORTED,
                       "%s: rope_freqs.weight holds factors that are no llama3 scaling, for which config.json has no words",
                       p->source.path);
    if (p->type && p->type->type != KD_F32 && p->type->type != KD_F16 && p->type->type != KD_BF16)
        return kd_fail(e, KD_EINVAL, "--type %s: safetensors holds f32, f16 and bf16; blocks are GGUF's", p->type->name);
    return KD_OK;
}

/* dir: a PEFT folder, or a run folder that has one in adapter/. */
static kd_code open_adapter(kd_plan *p, const char *dir, kd_pool *pool, kd_err *e) {
    char *own = kd_path_join(dir, "adapter_config.json"), *sub = kd_path_join(dir, "adapter"),
         *theirs = sub ? kd_path_join(sub, "adapter_config.json") : NULL;
    kd_code c = own && theirs ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
    if (!c) c = kd_adapter_open(&p->adapter, !kd_file_exists(own) && kd_file_exists(theirs) ? sub : dir, &p->model->config, e);
    kd_free(own);
    kd_free(sub);
    kd_free(theirs);
    if (!c) c = kd_adapter_bind(p->adapter, p->model, pool, e);
    /* An adapter on one of the two alone parts what was tied. */
    const kd_adapter *a = p->adapter;
    if (!c && (a->embed.r || a->head.r || a->saved_embed || a->saved_head)) p->config.tied = false;
    return c;
}

kd_code kd_plan_make(kd_plan *p, const char *src, const kd_convert_options *o, bool gguf, kd_pool *pool, kd_err *e) {
    *p = (kd_plan){.gguf = gguf, .mix = o->mix};
    if (o->mix && !gguf) return kd_fail(e, KD_EINVAL, "a mix of types goes into a GGUF file");
    if (o->type && !(p->type = kd_convert_type_named(o->type)))
        return kd_fail(e, KD_EINVAL,
                       "--type %s: no such type; f32 f16 bf16 q8_0 q4_0 q4_1 q5_0 q5_1 q2_k ... q6_k iq4_nl iq4_xs mxfp4, or q2_k_s q3_k_s "
                       "q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m",
                       o->type);
    kd_code c = kd_source_resolve(&p->source, src, e);
    if (c || (c = kd_model_open_stored(&p->model, p->source.path, e))) return c;
    p->config = p->model->config;
    if (p->mix && (kd_model_stored_only(p->model) || p->mix->L != p->config.L))
        return kd_fail(e, KD_EINVAL, "%s: the mix was searched for another model", p->source.path);
    p->result.bytes_in = p->model->bytes;
    if (!kd_model_gguf(p->model) && (c = kd_safetensors_open(&p->st, p->source.path, e))) return c;
    const char *dir = o->adapter ? o->adapter : p->source.adapter;
    if (dir && kd_model_stored_only(p->model))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: an adapter on %s: convert the base first, then merge", p->source.path,
                       p->config.experts ? "a mixture of experts, which we do not have" : "packed weights");
    if (dir && (c = open_adapter(p, dir, pool, e))) return c;
    if ((c = gguf ? check_gguf(p, e) : check_folder(p, e)) || (c = list(p, e))) return c;
    return gguf && o->importance ? kd_plan_weigh(p, o->importance, e) : KD_OK;
}
