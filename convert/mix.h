/* convert/mix.h - which matrix deserves which type: the mix of types that costs least KL at a size, or least size at a KL, from measured
 * sensitivity. Leans on importance.h, model/forward.h. */
#ifndef KD_CONVERT_MIX_H
#define KD_CONVERT_MIX_H

#include "convert/importance.h"

typedef struct {
    uint32_t L;
    uint8_t *type;              /* [L * KD_MATS + 2] kd_dtype: the layers' matrices, the embedding, the head */
    uint64_t bytes;             /* of all of them */
    double predicted, measured; /* mean KL(source || mix) in nats on the rows of the search: by the sensitivities, and run */
    size_t tokens, probes;      /* measured on, single matrices quantized alone */
    double seconds;
} kd_mix;
void kd_mix_free(kd_mix *m);
kd_dtype kd_mix_type(const kd_mix *m, kd_role r, uint32_t layer);

typedef struct {
    uint64_t bytes; /* of all matrices, at most; or 0 and */
    double kl;      /* mean KL at most, as measured on the rows */
    size_t tokens;  /* of the rows to measure on at most (0: 384); fewer where their logits would take more than 160 MB */
} kd_mix_target;

/* How it goes: single matrices of some layers are quantized to about 4 bits alone, and the KL that costs is measured; divided by that matrix's
 * squared error, weighted by importance, it is the matrix's sensitivity, drawn through the layers between. Errors of every type on every
 * matrix (of a sample of rows) times sensitivity are what a choice costs; steps up are taken in the order of KL saved a byte. The mix is then run.
 * m and a are changed while it works, and put back. Errors: KD_EINVAL a target below the least that the types can do (said), or above what is left to
 * gain, no tokens; those of the forward pass. Test: tests/convert/test_mix.c */
kd_code kd_mix_search(kd_mix **out, kd_model *m, kd_adapter *a, const kd_importance *im, const kd_compare_row *rows, size_t n,
                      const kd_mix_target *target, kd_pool *pool, const kd_watch *w, kd_err *e);

#endif
