/* distill/model/source.h - what a path given as a model is. Leans on base/file.h.
 * `--model`, SRC and `--teacher` take a Hugging Face folder, a GGUF file (the first of a split one), a .safetensors file inside a Hugging Face
 * folder, or a run folder of `train` (its base and adapter, or its full model). */
#ifndef KD_MODEL_SOURCE_H
#define KD_MODEL_SOURCE_H

#include "distill/base/file.h"

typedef enum { KD_SOURCE_HF, KD_SOURCE_GGUF } kd_source_kind;
typedef struct {
    kd_source_kind kind;
    char *path;    /* of the base model: folder or file */
    char *adapter; /* PEFT folder, or NULL */
    char *run;     /* the run folder it came from, or NULL */
} kd_source;
/* Errors: KD_ENOENT; KD_EFORMAT when the path is none of these, saying what was looked for. */
kd_code kd_source_resolve(kd_source *out, const char *path, kd_err *e);
void kd_source_clear(kd_source *s);

#endif
