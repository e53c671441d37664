/* student/params.c - the list of trained arrays, and their values from models and adapters. Leans on params.h, math/codec.h, base/rng.h. */
#include "student/params.h"

#include "distill/base/regex.h"
#include "distill/base/rng.h"
#include "distill/math/codec.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
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
    if (!p->blocks) {
        q.grad_at = q.at;
        p->grads = p->floats;
    } else { /* blocks lie over each other; arrays of one come one behind the other */
        const kd_param *last = p->n ? &p->at[p->n - 1] : NULL;
        q.block = q.layer;
        q.grad_at = last && last->block == q.block ? last->grad_at + (last->n + 15) / 16 * 16 : 0;
        const size_t end = q.grad_at + (q.n + 15) / 16 * 16;
        if (end > p->grads) p->grads = end;
    }
    p->trained += q.n;
    assert(p->at);
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

kd_rank kd_method_rank(const kd_train_method *m, kd_role r, uint32_t layer) {
    return m->ranks ? m->ranks[layer * KD_MATS + (uint32_t)r] : (kd_rank){m->lora.r, m->lora.alpha};
}
uint32_t kd_method_most_rank(const kd_train_method *m, const kd_config *c) {
    uint32_t most = m->ranks ? 0 : m->lora.r;
    for (uint32_t i = 0; m->ranks && i < c->L * KD_MATS; i++)
        if ((m->lora.targets >> i % KD_MATS & 1) && m->ranks[i].r > most) most = m->ranks[i].r;
    return most;
}

/* One pattern table. */
static kd_code apply_pattern(kd_rank *ranks, const kd_config *c, const kd_adapter_config *ac, const char *text, bool rank, kd_err *e) {
    const char *what = rank ? "rank pattern" : "alpha pattern";
    bool *set = kd_calloc((size_t)c->L * KD_MATS, sizeof *set);
    kd_code code = set ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory for a pattern");
    for (const char *at = text; code == KD_OK && *at;) {
        const size_t n = strcspn(at, ",");
        const char *eq = memchr(at, '=', n);
        char *end = NULL;
        const double value = eq ? strtod(eq + 1, &end) : 0;
        bool used = false;
        if (!eq || eq == at || end != at + n || !(value > 0) || value > 65536 || (rank && value != floor(value))) {
            code = kd_fail(e, KD_EINVAL, "%s: expected MODULE=%s, found %.*s", what, rank ? "RANK" : "ALPHA", (int)n, at);
            break;
        }
        kd_buf b = {0};
        kd_regex *re = NULL;
        code = kd_buf_printf(&b, "^(.*\\.)?(%.*s)$", (int)(eq - at), at) ? kd_fail(e, KD_ENOMEM, "no memory for a pattern")
                                                                         : kd_regex_new(&re, b.data, b.len, e);
        for (uint32_t i = 0; code == KD_OK && i < c->L * KD_MATS; i++) {
            char name[96];
            bool found = false;
            size_t from, to;
            if (!(ac->targets >> i % KD_MATS & 1)) continue;
            kd_name_hf(name, (kd_role)(i % KD_MATS), i / KD_MATS);
            *strrchr(name, '.') = 0;
            code = kd_regex_find(re, name, strlen(name), 0, &found, &from, &to, NULL, 0, e);
            used |= found;
            if (!found || set[i]) continue;
            set[i] = true;
            if (rank)
                ranks[i].r = (uint32_t)value;
            else
                ranks[i].alpha = (float)value;
        }
        if (code == KD_OK && !used) code = kd_fail(e, KD_EINVAL, "%s: %.*s fits no module that is adapted", what, (int)(eq - at), at);
        kd_regex_free(re);
        kd_buf_clear(&b);
        at += n + (at[n] != 0);
    }
    kd_free(set);
    return code;
}
kd_code kd_ranks_resolve(kd_rank *ranks, const kd_config *c, const kd_adapter_config *ac, const char *rank_pattern,
                         const char *alpha_pattern, kd_err *e) {
    for (uint32_t i = 0; i < c->L * KD_MATS; i++) ranks[i] = (kd_rank){ac->r, ac->alpha};
    kd_code code = rank_pattern ? apply_pattern(ranks, c, ac, rank_pattern, true, e) : KD_OK;
    return code == KD_OK && alpha_pattern ? apply_pattern(ranks, c, ac, alpha_pattern, false, e) : code;
}

static kd_code add_lora(kd_params *p, const kd_config *c, const kd_train_method *method, kd_role r, uint32_t layer, kd_err *e) {
    const kd_adapter_config *ac = &method->lora;
    const uint32_t rank = kd_method_rank(method, r, layer).r;
    size_t out, in;
    kd_role_shape(c, r, &out, &in);
    char name[96];
    kd_name_hf(name, r, layer);
    size_t len = strlen(name);
    if (len > 7 && strcmp(name + len - 7, ".weight") == 0) name[len - 7] = 0;
    kd_param a = {.role = r, .layer = layer, .part = 'A', .rows = rank, .cols = in, .decay = true};
    kd_param b = {.role = r, .layer = layer, .part = 'B', .rows = out, .cols = rank, .decay = true};
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
    p->tied = c->tied;
    if (m->method == KD_FULL) {
        p->blocks = m->interval ? c->L : 0;
        if (!m->interval) code = add_weight(p, c, KD_EMBED, 0, e);
        for (uint32_t l = 0; l < c->L; l++)
            for (kd_role r = 0; r < KD_LAYER_ROLES && code == KD_OK; r++)
                if (kd_role_present(c, r)) code = add_weight(p, c, r, l, e);
        if (m->interval) return code;
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
            if (m->lora.targets >> r & 1) code = add_lora(p, c, m, r, l, e);
    if ((m->embed || m->head) && m->lora.tokens)
        return kd_fail(e, KD_EUNSUPPORTED, "rows of new tokens are trained beside an adapter, or the whole embedding and head: not both");
    if (code == KD_OK && (m->embed || (m->head && c->tied))) code = add_weight(p, c, KD_EMBED, 0, e);
    if (code == KD_OK && m->head && !c->tied) code = add_weight(p, c, KD_HEAD, 0, e);
    if (code == KD_OK && m->lora.tokens) code = add_rows(p, c, &m->lora, KD_EMBED, e);
    if (code == KD_OK && m->lora.tokens && !c->tied) code = add_rows(p, c, &m->lora, KD_HEAD, e);
    return code;
}

kd_code kd_params_alloc(kd_params *p, kd_err *e) {
    size_t bytes = 0, grads = p->grads * sizeof(float);
    if (kd_mul_size(p->floats, sizeof(float), &bytes)) {
        p->value = kd_aligned_alloc(64, bytes);
        p->grad = kd_aligned_alloc(64, grads);
    }
    if (!p->value || !p->grad) return kd_fail(e, KD_ENOMEM, "no memory for %zu parameters and their gradients", p->floats);
    memset(p->value, 0, bytes);
    memset(p->grad, 0, grads);
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
    if (q->part) return;
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
        if (!q->part) continue;
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
    if (!q->part) return q->role == KD_EMBED ? a->saved_embed : q->role == KD_HEAD ? a->saved_head : NULL;
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

/* Modules whose rank or alpha is their own. */
static kd_code set_ranks(kd_adapter *a, const kd_config *c, const kd_train_method *method, kd_err *e) {
    const kd_adapter_config *ac = &method->lora;
    kd_code code = KD_OK;
    for (uint32_t i = 0; i < a->L * KD_MATS && code == KD_OK; i++) {
        kd_lora *l = &a->layers[i];
        const kd_rank want = method->ranks[i];
        size_t out, in;
        if (!l->r || (l->r == want.r && l->alpha == want.alpha)) continue;
        kd_free(l->a);
        kd_free(l->b);
        kd_free(l->magnitude);
        *l = (kd_lora){0};
        kd_role_shape(c, (kd_role)(i % KD_MATS), &out, &in);
        code = kd_lora_new(l, want.r, want.alpha, ac->rslora, ac->dora, in, out, e);
    }
    return code;
}

kd_code kd_params_adapter(kd_adapter **out, const kd_config *c, const kd_train_method *method, kd_err *e) {
    kd_code code = kd_adapter_new(out, c, &method->lora, e);
    if (code == KD_OK && method->ranks) code = set_ranks(*out, c, method, e);
    if (code == KD_OK || !*out) return code;
    kd_adapter_free(*out);
    *out = NULL;
    return code;
}

static kd_code make_saved(float **to, size_t n, kd_err *e) {
    if (!*to) *to = kd_malloc(n * sizeof **to);
    return *to ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory for the weights beside the adapter");
}
kd_code kd_params_to_adapter(const kd_params *p, kd_adapter *a, kd_err *e) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        kd_code code = q->part ? KD_OK : make_saved(q->role == KD_EMBED ? &a->saved_embed : &a->saved_head, q->n, e);
        if (code == KD_OK && !q->part && q->role == KD_EMBED && p->tied) {
            code = make_saved(&a->saved_head, q->n, e);
            if (code == KD_OK) memcpy(a->saved_head, p->value + q->at, q->n * sizeof(float));
        }
        if (code != KD_OK) return code;
        float *to = adapter_array(a, q);
        if (!to) return kd_fail(e, KD_EBUG, "the adapter to save has no %s of this shape", q->name);
        memcpy(to, p->value + q->at, q->n * sizeof *to);
    }
    return KD_OK;
}
