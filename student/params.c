/* student/params.c - the list of trained arrays, and their values from models and adapters. Leans on params.h, math/codec.h, base/rng.h. */
#include "student/params.h"

#include "distill/base/rng.h"
#include "distill/math/codec.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static kd_code add(kd_params *p, kd_param q, kd_err *e) {
    void *at = p->at;
    if (kd_grow(&at, &p->cap, p->n + 1, sizeof *p->at) != KD_OK) return kd_fail(e, KD_ENOMEM, "no memory for the list of parameters");
    p->at = at;
    size_t cols = q.cols ? q.cols : 1, padded;
    if (!kd_mul_size(q.rows, cols, &q.n) || !kd_add_size(q.n, 15, &padded) || !kd_add_size(p->floats, padded, &padded))
        return kd_fail(e, KD_EINVAL, "parameter %s is too large", q.name);
    q.at = p->floats;
    p->floats += (q.n + 15) / 16 * 16;
    p->trained += q.n;
    p->at[p->n++] = q;
    return KD_OK;
}

static kd_code add_weight(kd_params *p, const kd_config *c, kd_role r, uint32_t layer, kd_err *e) {
    kd_param q = {.role = r, .layer = layer};
    kd_role_shape(c, r, &q.rows, &q.cols);
    q.decay = q.cols > 0;
    kd_name_hf(q.name, r, layer);
    return add(p, q, e);
}

static kd_code add_lora(kd_params *p, const kd_config *c, const kd_adapter_config *ac, kd_role r, uint32_t layer, kd_err *e) {
    size_t out, in;
    kd_role_shape(c, r, &out, &in);
    char name[96];
    kd_name_hf(name, r, layer);
    size_t len = strlen(name);
    if (len > 7 && strcmp(name + len - 7, ".weight") == 0) name[len - 7] = 0;
    kd_param a = {.role = r, .layer = layer, .part = 'A', .rows = ac->r, .cols = in, .decay = true};
    kd_param b = {.role = r, .layer = layer, .part = 'B', .rows = out, .cols = ac->r, .decay = true};
    kd_param m = {.role = r, .layer = layer, .part = 'M', .rows = out};
    snprintf(a.name, sizeof a.name, "base_model.model.%s.lora_A.weight", name);
    snprintf(b.name, sizeof b.name, "base_model.model.%s.lora_B.weight", name);
    snprintf(m.name, sizeof m.name, "base_model.model.%s.lora_magnitude_vector", name);
    kd_code code = add(p, a, e);
    if (code == KD_OK) code = add(p, b, e);
    if (code == KD_OK && ac->dora) code = add(p, m, e);
    return code;
}

/* Rows of tokens, trained whole. */
static kd_code add_rows(kd_params *p, const kd_config *c, const kd_adapter_config *ac, kd_role r, kd_err *e) {
    kd_param q = {.role = r, .part = 'T', .rows = ac->tokens, .cols = c->C, .decay = true};
    if (ac->first_token >= c->V || ac->tokens > c->V - ac->first_token)
        return kd_fail(e, KD_EINVAL, "rows of tokens %u to %u of a vocabulary of %u", ac->first_token, ac->first_token + ac->tokens - 1,
                       c->V);
    snprintf(q.name, sizeof q.name, "base_model.model.%s.token_adapter.trainable_tokens_delta",
             r == KD_EMBED ? "model.embed_tokens" : "lm_head");
    return add(p, q, e);
}

kd_code kd_params_list(kd_params *p, const kd_config *c, const kd_train_method *m, kd_err *e) {
    kd_code code = KD_OK;
    if (m->method == KD_FULL) {
        code = add_weight(p, c, KD_EMBED, 0, e);
        for (uint32_t l = 0; l < c->L; l++)
            for (kd_role r = 0; r < KD_LAYER_ROLES && code == KD_OK; r++)
                if (kd_role_present(c, r)) code = add_weight(p, c, r, l, e);
        if (code == KD_OK) code = add_weight(p, c, KD_FINAL_NORM, 0, e);
        if (code == KD_OK && !c->tied) code = add_weight(p, c, KD_HEAD, 0, e);
        return code;
    }
    const uint32_t known = (1u << KD_MATS) - 1;
    if (m->lora.r == 0 || m->lora.targets == 0)
        return kd_fail(e, KD_EINVAL, "an adapter needs a rank of at least 1 and at least one target");
    if (m->lora.targets & ~known)
        return kd_fail(e, KD_EUNSUPPORTED, "LoRA on embed_tokens or lm_head is not trained here; targets are q_proj ... down_proj");
    for (uint32_t l = 0; l < c->L; l++)
        for (kd_role r = 0; r < KD_MATS && code == KD_OK; r++)
            if (m->lora.targets >> r & 1) code = add_lora(p, c, &m->lora, r, l, e);
    if (code == KD_OK && m->lora.tokens) code = add_rows(p, c, &m->lora, KD_EMBED, e);
    if (code == KD_OK && m->lora.tokens && !c->tied) code = add_rows(p, c, &m->lora, KD_HEAD, e);
    return code;
}

kd_code kd_params_alloc(kd_params *p, kd_err *e) {
    size_t bytes;
    if (kd_mul_size(p->floats, sizeof(float), &bytes)) {
        p->value = kd_aligned_alloc(64, bytes);
        p->grad = kd_aligned_alloc(64, bytes);
    }
    if (!p->value || !p->grad) return kd_fail(e, KD_ENOMEM, "no memory for %zu parameters and their gradients", p->floats);
    memset(p->value, 0, bytes);
    memset(p->grad, 0, bytes);
    return KD_OK;
}

void kd_params_clear(kd_params *p) {
    kd_free(p->at);
    kd_free(p->value);
    kd_free(p->grad);
    *p = (kd_params){0};
}

const kd_param *kd_params_find(const kd_params *p, kd_role r, uint32_t layer, char part) {
    for (size_t i = 0; i < p->n; i++)
        if (p->at[i].role == r && p->at[i].part == part && (r >= KD_LAYER_ROLES || p->at[i].layer == layer)) return &p->at[i];
    return NULL;
}

typedef struct {
    kd_params *p;
    const kd_model *m;
} fill;
static void fill_task(void *ctx, size_t i, int worker) {
    (void)worker;
    const fill *f = ctx;
    const kd_param *q = &f->p->at[i];
    float *to = f->p->value + q->at;
    if (q->cols == 0) {
        memcpy(to, kd_model_vec(f->m, q->role, q->layer), q->n * sizeof *to);
        return;
    }
    const kd_mat *w = kd_model_mat(f->m, q->role, q->layer);
    for (size_t r = 0; r < w->rows; r++) kd_dequantize(w->type, kd_mat_row(w, r), to + r * w->cols, w->cols);
    kd_pages_release(w->data, w->rows * w->row_bytes); /* the copy is what is trained */
}
void kd_params_from_model(kd_params *p, const kd_model *m, kd_pool *pool) {
    fill f = {p, m};
    kd_pool_run(pool, fill_task, &f, p->n);
}

void kd_params_init_lora(kd_params *p, uint64_t seed) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        float *v = p->value + q->at;
        if (q->part != 'A') {
            memset(v, 0, q->n * sizeof *v);
            continue;
        }
        const double bound = 1.0 / sqrt((double)q->cols);
        kd_rng r = {.key = seed, .stream = 0x4c6f5241u + ((uint64_t)i << 32)}; /* "LoRA" */
        for (size_t k = 0; k < q->n; k++) v[k] = (float)((2.0 * kd_rng_uniform(&r) - 1.0) * bound);
    }
}

void kd_params_rows_from_model(kd_params *p, const kd_train_method *method, const kd_model *m) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        if (q->part != 'T') continue;
        const kd_mat *w = kd_model_mat(m, q->role, 0);
        for (size_t r = 0; r < q->rows; r++)
            kd_dequantize(w->type, kd_mat_row(w, method->lora.first_token + r), p->value + q->at + r * q->cols, q->cols);
    }
}

/* The array of an adapter that parameter q is. */
static float *adapter_array(const kd_adapter *a, const kd_param *q) {
    if (q->part == 'T') return a->config.tokens != q->rows ? NULL : q->role == KD_EMBED ? a->rows.embed : a->rows.head;
    const kd_lora *l = kd_adapter_lora((kd_adapter *)(uintptr_t)a, q->role, q->layer);
    size_t rank = q->part == 'A' ? q->rows : q->cols;
    if (!l || l->r == 0 || (q->part != 'M' && l->r != rank)) return NULL;
    return q->part == 'A' ? l->a : q->part == 'B' ? l->b : l->magnitude;
}

kd_code kd_params_from_adapter(kd_params *p, const kd_adapter *a, kd_err *e) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        const float *from = adapter_array(a, q);
        if (!from) return kd_fail(e, KD_EINVAL, "the adapter to start from has no %s of this shape", q->name);
        memcpy(p->value + q->at, from, q->n * sizeof *from);
    }
    return KD_OK;
}

kd_code kd_params_to_adapter(const kd_params *p, kd_adapter *a, kd_err *e) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        float *to = adapter_array(a, q);
        if (!to) return kd_fail(e, KD_EBUG, "the adapter to save has no %s of this shape", q->name);
        memcpy(to, p->value + q->at, q->n * sizeof *to);
    }
    return KD_OK;
}
