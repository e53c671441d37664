/* distill/model/loaded.c - opens what a path names. Leans on loaded.h. */
#include "distill/model/loaded.h"

#include <string.h>

void kd_unload(kd_loaded *l) {
    kd_tokenizer_free(l->tokenizer);
    kd_adapter_free(l->adapter);
    kd_model_free(l->model);
    kd_source_clear(&l->source);
    kd_free(l->adapter_dir);
    memset(l, 0, sizeof *l);
}

/* The adapter folder that path is, or that the run in path made. */
static kd_code adapter_folder(char **out, const char *path, kd_err *e) {
    kd_source s;
    kd_code c = KD_OK;
    *out = NULL;
    const char *const tails[] = {"adapter_config.json", "adapter/adapter_config.json"};
    for (int i = 0; i < 2 && !*out; i++) {
        char *config = kd_path_join(path, tails[i]);
        if (!config) return kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
        if (kd_file_exists(config)) *out = i ? kd_path_join(path, "adapter") : kd_strdup(path);
        kd_free(config);
    }
    if (!*out && !(c = kd_source_resolve(&s, path, e))) {
        kd_source_clear(&s);
        c = kd_fail(e, KD_EFORMAT, "%s: expected an adapter (adapter_config.json, or a run that made one), found a whole model", path);
    }
    return c;
}

kd_code kd_load(kd_loaded *out, const char *path, const char *adapter, unsigned what, kd_err *e) {
    memset(out, 0, sizeof *out);
    kd_code c = kd_source_resolve(&out->source, path, e);
    if (c) return c;
    if (adapter)
        c = adapter_folder(&out->adapter_dir, adapter, e);
    else if (out->source.adapter && !(what & KD_LOAD_BASE) && !(out->adapter_dir = kd_strdup(out->source.adapter)))
        c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    if (!c && (what & KD_LOAD_WEIGHTS)) c = kd_model_open(&out->model, out->source.path, e);
    if (!c && out->model && out->adapter_dir) c = kd_adapter_open(&out->adapter, out->adapter_dir, &out->model->config, e);
    if (!c && (what & KD_LOAD_VOCABULARY)) c = kd_tokenizer_open(&out->tokenizer, out->source.path, e);
    if (c) kd_unload(out);
    return c;
}
