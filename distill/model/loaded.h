/* distill/model/loaded.h - a model ready to be used, from any path that --model takes: weights, adapter, tokenizer. Leans on model.h, adapter.h, tokenizer.h. */
#ifndef KD_MODEL_LOADED_H
#define KD_MODEL_LOADED_H

#include "distill/model/adapter.h"
#include "distill/model/tokenizer.h"

typedef struct {
    kd_source source;
    char *adapter_dir; /* the PEFT folder in use, or NULL */
    kd_model *model;
    kd_adapter *adapter; /* or NULL */
    kd_tokenizer *tokenizer;
} kd_loaded;

typedef enum { KD_LOAD_VOCABULARY = 1, KD_LOAD_WEIGHTS = 2, KD_LOAD_ALL = 3, KD_LOAD_BASE = 4 /* a run's base alone */ } kd_load_what;
/* adapter: a PEFT folder, or a run that made one, instead of the path's own; or NULL. On failure *out is empty. */
kd_code kd_load(kd_loaded *out, const char *path, const char *adapter, unsigned what, kd_err *e);
void kd_unload(kd_loaded *l);

#endif
