/* distill/model/extend_int.h - what extend.c and extend_write.c share: the source's tensors, and the rows that are new. Leans on extend.h, format. */
#ifndef KD_MODEL_EXTEND_INT_H
#define KD_MODEL_EXTEND_INT_H

#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"
#include "distill/model/extend.h"

#include <stdio.h>

/* A new row as stored: of the embedding [0], of a head that the source stores [1]. */
struct kd_extend_mean {
    void *row;
    size_t bytes;
};

typedef struct {
    kd_safetensors *st; /* a folder's; NULL for a GGUF file */
    const kd_gguf *gguf;
    const kd_tensors *set;
    bool tied;
} kd_extend_source;
kd_code kd_extend_source_open(kd_extend_source *s, const kd_model *m, kd_err *e);
void kd_extend_source_close(kd_extend_source *s);
/* The embedding (0), the head (1) where it is stored and used; or NULL. */
const kd_tensor *kd_extend_table(const kd_extend_source *s, int which);

#endif
