/* student/view.c - trained values in the places where a model keeps its weights. Leans on view.h. */
#include "student/view.h"

#include <string.h>

static void take_mat(kd_mat *to, const kd_params *p, kd_role r, uint32_t layer) {
    const kd_param *q = kd_params_find(p, r, layer, 0);
    if (q) *to = kd_mat_f32(kd_param_value(p, q), q->rows, q->cols);
}
static void take_vec(const float **to, const kd_params *p, kd_role r, uint32_t layer) {
    const kd_param *q = kd_params_find(p, r, layer, 0);
    if (q) *to = kd_param_value(p, q);
}

kd_code kd_view_make(kd_view *v, kd_trainer *t, const kd_model *m, const kd_train_method *method, kd_err *e) {
    const kd_params *p = kd_trainer_params(t);
    const kd_config *c = &m->config;
    *v = (kd_view){.model = *m};
    if (method->method != KD_FULL) {
        kd_code code = kd_params_adapter(&v->adapter, c, method, e);
        if (code == KD_OK) code = kd_params_to_adapter(p, v->adapter, e);
        if (code != KD_OK) kd_view_clear(v);
        return code;
    }
    v->layers = kd_calloc(c->L, sizeof *v->layers);
    if (!v->layers) return kd_fail(e, KD_ENOMEM, "no memory for a view of the model");
    memcpy(v->layers, m->layers, c->L * sizeof *v->layers);
    v->model.layers = v->layers;
    take_mat(&v->model.embed, p, KD_EMBED, 0);
    if (c->tied)
        v->model.head = v->model.embed;
    else
        take_mat(&v->model.head, p, KD_HEAD, 0);
    take_vec(&v->model.final_norm, p, KD_FINAL_NORM, 0);
    for (uint32_t l = 0; l < c->L; l++) {
        kd_layer *y = &v->layers[l];
        for (int r = 0; r < KD_MATS; r++) {
            take_mat(&y->mat[r], p, (kd_role)r, l);
            take_vec(&y->bias[r], p, (kd_role)(KD_Q_BIAS + r), l);
        }
        take_vec(&y->attn_norm, p, KD_ATTN_NORM, l);
        take_vec(&y->mlp_norm, p, KD_MLP_NORM, l);
        take_vec(&y->q_norm, p, KD_Q_NORM, l);
        take_vec(&y->k_norm, p, KD_K_NORM, l);
    }
    return KD_OK;
}

void kd_view_clear(kd_view *v) {
    kd_adapter_free(v->adapter);
    kd_free(v->layers);
    *v = (kd_view){0};
}
