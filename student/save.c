/* student/save.c - what a finished run leaves: an adapter in PEFT's layout, or a model in Hugging Face's. Leans on checkpoint.h, model/adapter.h. */
#include "student/checkpoint.h"

#include "distill/format/safetensors.h"

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
    if (code == KD_OK) code = fill(r, made.data, e);
    if (code == KD_OK) code = kd_fsync_dir(made.data, e);
    if (code == KD_OK) code = kd_remove_tree(dir, e);
    if (code == KD_OK) code = kd_rename_dir(made.data, dir, e);
    if (code != KD_OK && made.data) (void)kd_remove_tree(made.data, NULL);
    kd_buf_clear(&made);
    return code;
}

static kd_code fill_adapter(const result *r, const char *to, kd_err *e) {
    kd_adapter *a = NULL;
    kd_code code = kd_adapter_new(&a, &r->m->config, &r->method->lora, e);
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

static kd_code fill_weights(const result *r, const char *path, kd_err *e) {
    const kd_params *p = kd_trainer_params(r->t);
    kd_safetensors_writer *w = NULL;
    kd_code code = kd_safetensors_writer_new(&w, path, (uint64_t)5000000000u, e);
    if (code == KD_OK) code = kd_safetensors_writer_meta(w, "format", KD_STR("pt"), e);
    for (size_t i = 0; i < p->n && code == KD_OK; i++) {
        const uint64_t shape[2] = {p->at[i].rows, p->at[i].cols};
        code = kd_safetensors_writer_declare(w, p->at[i].name, KD_F32, p->at[i].cols ? 2 : 1, shape, NULL, e);
    }
    if (code == KD_OK) code = kd_safetensors_writer_begin(w, e);
    for (size_t i = 0; i < p->n && code == KD_OK; i++)
        code = kd_safetensors_writer_put(w, i, p->value + p->at[i].at, p->at[i].n * sizeof(float), e);
    if (code == KD_OK) code = kd_safetensors_writer_commit(w, e);
    kd_safetensors_writer_free(w);
    return code;
}

static kd_code fill_model(const result *r, const char *to, kd_err *e) {
    /* What belongs to a model and training does not change. */
    static const char *const beside[] = {
        "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",     "tokenizer.model", "vocab.json",
        "merges.txt",     "chat_template.jinja",   "chat_template.json",      "generation_config.json"};
    kd_buf text = {0};
    kd_code code = kd_config_to_json(&text, &r->m->config, "float32", e);
    char *path = kd_path_join(to, "config.json"), *weights = kd_path_join(to, "model.safetensors");
    if (code == KD_OK && (!path || !weights)) code = kd_fail(e, KD_ENOMEM, "no memory to save %s", to);
    if (code == KD_OK) code = kd_file_write(path, text.data, text.len, e);
    if (code == KD_OK) code = fill_weights(r, weights, e);
    for (size_t i = 0; i < sizeof beside / sizeof *beside && code == KD_OK && r->m->kind == KD_SOURCE_HF; i++)
        code = copy_file(r->m->path, to, beside[i], e);
    kd_free(path);
    kd_free(weights);
    kd_buf_clear(&text);
    return code;
}
kd_code kd_save_model(kd_trainer *t, const kd_model *m, const char *dir, kd_err *e) {
    const result r = {t, m, NULL, NULL};
    return whole(dir, fill_model, &r, e);
}
