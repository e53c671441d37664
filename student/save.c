/* student/save.c - what a finished run leaves: an adapter in PEFT's layout, or a model in Hugging Face's. Leans on checkpoint.h, model/adapter.h. */
#include "student/checkpoint.h"

#include "distill/format/safetensors.h"
#include "distill/math/codec.h"

#include <stdio.h>
#include <string.h>

/* Makes the folder under another name, lets fill write into it, and puts it in place of an older one. */
typedef struct {
    kd_trainer *t;
    const kd_model *m;
    const kd_train_method *method;
    const char *base;
} result;
static kd_code whole(const char *dir, kd_code (*fill)(const result *r, const char *to, kd_err *e), const result *r, kd_err *e) {
    kd_buf made = {0};
    kd_code code = kd_buf_printf(&made, "%s.tmp", dir) == KD_OK ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory to save %s", dir);
    if (code == KD_OK) code = kd_remove_tree(made.data, e);
    if (code == KD_OK) code = kd_mkdirs(made.data, e);
    if (code == KD_OK) {
        kd_trainer_swap_ema(r->t);
        code = fill(r, made.data, e);
        kd_trainer_swap_ema(r->t);
    }
    if (code == KD_OK) code = kd_fsync_dir(made.data, e);
    if (code == KD_OK) code = kd_remove_tree(dir, e);
    if (code == KD_OK) code = kd_rename_dir(made.data, dir, e);
    if (code != KD_OK && made.data) (void)kd_remove_tree(made.data, NULL);
    kd_buf_clear(&made);
    return code;
}

static kd_code fill_adapter(const result *r, const char *to, kd_err *e) {
    kd_adapter *a = NULL;
    kd_code code = kd_params_adapter(&a, &r->m->config, r->method, e);
    if (code == KD_OK) code = kd_params_to_adapter(kd_trainer_params(r->t), a, e);
    if (code == KD_OK) code = kd_adapter_save(a, to, &r->m->config, r->base, e);
    kd_adapter_free(a);
    return code;
}
kd_code kd_save_adapter(kd_trainer *t, const kd_model *m, const kd_train_method *method, const char *dir, const char *base, kd_err *e) {
    const result r = {t, m, method, base};
    return whole(dir, fill_adapter, &r, e);
}

static kd_code copy_file(const char *from_dir, const char *to_dir, const char *name, kd_err *e) {
    char *from = kd_path_join(from_dir, name), *to = kd_path_join(to_dir, name);
    kd_buf b = {0};
    kd_code code = from && to ? KD_OK : kd_fail(e, KD_ENOMEM, "no memory to copy %s", name);
    if (code == KD_OK && kd_file_exists(from)) {
        code = kd_file_read(&b, from, (size_t)1 << 30, e);
        if (code == KD_OK) code = kd_file_write(to, b.data, b.len, e);
    }
    kd_buf_clear(&b);
    kd_free(from);
    kd_free(to);
    return code;
}

/* Every weight of the model, role by role: its trained values, or the stored ones where it was not trained. */
typedef struct {
    const result *r;
    kd_safetensors_writer *w;
    float *row; /* NULL: declaring */
    size_t at;
} weights;
static kd_code one_weight(weights *w, kd_role role, uint32_t layer, kd_err *e) {
    const kd_params *p = kd_trainer_params(w->r->t);
    const kd_param *q = kd_params_find(p, role, layer, 0);
    char name[96];
    size_t rows, cols;
    kd_role_shape(&w->r->m->config, role, &rows, &cols);
    kd_name_hf(name, role, layer);
    if (!w->row) return kd_safetensors_writer_declare(w->w, name, KD_F32, cols ? 2 : 1, (const uint64_t[2]){rows, cols}, NULL, e);
    const size_t i = w->at++;
    if (q) return kd_safetensors_writer_put(w->w, i, p->value + q->at, q->n * sizeof(float), e);
    if (!cols) return kd_safetensors_writer_put(w->w, i, kd_model_vec(w->r->m, role, layer), rows * sizeof(float), e);
    const kd_mat *m = kd_model_mat(w->r->m, role, layer);
    kd_code code = KD_OK;
    for (size_t n = 0; n < rows && code == KD_OK; n++) {
        kd_dequantize(m->type, kd_mat_row(m, n), w->row, cols);
        code = kd_safetensors_writer_put(w->w, i, w->row, cols * sizeof(float), e);
    }
    return code;
}
static kd_code all_weights(weights *w, kd_err *e) {
    const kd_config *c = &w->r->m->config;
    kd_code code = one_weight(w, KD_EMBED, 0, e);
    for (uint32_t l = 0; l < c->L; l++)
        for (kd_role r = 0; r < KD_LAYER_ROLES && code == KD_OK; r++)
            if (kd_role_present(c, r)) code = one_weight(w, r, l, e);
    if (code == KD_OK) code = one_weight(w, KD_FINAL_NORM, 0, e);
    if (code == KD_OK && !c->tied) code = one_weight(w, KD_HEAD, 0, e);
    return code;
}

static kd_code fill_weights(const result *r, const char *path, kd_err *e) {
    const kd_config *c = &r->m->config;
    const size_t qd = (size_t)c->H * c->D, most = c->F > c->C ? c->F : c->C;
    weights w = {.r = r};
    float *row = kd_malloc((qd > most ? qd : most) * sizeof *row);
    kd_code code =
        row ? kd_safetensors_writer_new(&w.w, path, (uint64_t)5000000000u, e) : kd_fail(e, KD_ENOMEM, "no memory to save %s", path);
    if (code == KD_OK) code = kd_safetensors_writer_meta(w.w, "format", KD_STR("pt"), e);
    if (code == KD_OK) code = all_weights(&w, e);
    if (code == KD_OK) code = kd_safetensors_writer_begin(w.w, e);
    w.row = row;
    if (code == KD_OK) code = all_weights(&w, e);
    if (code == KD_OK) code = kd_safetensors_writer_commit(w.w, e);
    kd_safetensors_writer_free(w.w);
    kd_free(row);
    return code;
}

static kd_code fill_model(const result *r, const char *to, kd_err *e) {
    /* What belongs to a model and training does not change. */
    static const char *const beside[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",     "tokenizer.model", "vocab.json",
        "merges.txt",     "chat_template.jinja",   "chat_template.json",      "generation_config.json"};
    kd_buf text = {0};
    kd_code code = kd_config_to_json(&text, &r->m->config, "float32", e);
    char *path = kd_path_join(to, "config.json"), *file = kd_path_join(to, "model.safetensors");
    if (code == KD_OK && (!path || !file)) code = kd_fail(e, KD_ENOMEM, "no memory to save %s", to);
    if (code == KD_OK) code = kd_file_write(path, text.data, text.len, e);
    if (code == KD_OK) code = fill_weights(r, file, e);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && code == KD_OK && r->m->kind == KD_SOURCE_HF; i++)
        code = copy_file(r->m->path, to, beside[i], e);
    kd_free(path);
    kd_free(file);
    kd_buf_clear(&text);
    return code;
}
kd_code kd_save_model(kd_trainer *t, const kd_model *m, const char *dir, kd_err *e) {
    const result r = {t, m, NULL, NULL};
    return whole(dir, fill_model, &r, e);
}
