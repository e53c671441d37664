/* convert/convert.h - a model from one format into another, in one pass: Hugging Face folder, GGUF file, run folder, with or without an
 * adapter on top -> GGUF file, Hugging Face folder, safetensors file. Leans on model/model.h, model/adapter.h, format.
 * Memory is bounded by a window of output and a few rows a worker, whatever the model's size; outputs appear whole or not at all. */
#ifndef KD_CONVERT_CONVERT_H
#define KD_CONVERT_CONVERT_H

#include "convert/mix.h"
#include "distill/base/pool.h"

/* A name that --type takes. A plain type is every matrix in it (F16 where its blocks do not divide a row); names ending in _s, _m, _l are
 * llama.cpp's mixes, with its fallbacks. Vectors are F32 in GGUF files, whatever the type. */
typedef struct {
    const char *name; /* "q4_k_m" */
    kd_dtype type;    /* what most matrices become */
    bool mix;
    int file_type; /* general.file_type */
} kd_convert_type;
const kd_convert_type *kd_convert_type_named(const char *name); /* any case; NULL if there is none */
const kd_convert_type *kd_convert_type_at(size_t i);            /* NULL behind the last */
/* What a matrix [rows, cols] of a model becomes under t in a GGUF file. */
kd_dtype kd_convert_type_of(const kd_convert_type *t, const kd_config *c, kd_role r, uint32_t layer, size_t cols);

typedef struct {
    const char *type;                /* NULL: as stored (quantized matrices become F32 in safetensors, which has no blocks) */
    const char *adapter;             /* PEFT folder merged in, or NULL: the source's own, if it is a run or an adapter */
    const char *name;                /* general.name; NULL: from the source's path */
    uint64_t split_bytes;            /* cut the output into parts of at most this; 0: one file */
    bool allow_nonfinite;            /* NaN and infinities in weights are reported, not refused */
    uint64_t window;                 /* bytes of output computed and written at a time (0: 16 MB) */
    bool force;                      /* replace a folder whatever is in it */
    const kd_importance *importance; /* weights of the squared error where a type searches, or NULL */
    const kd_mix *mix;               /* or: each matrix's type (GGUF alone; then type is NULL) */
    const char *importance_name;     /* what the file says they come from; may be NULL */
    /* Called when the output is whole, before it takes dst's place; path: what can be opened as a model. Anything but KD_OK and the
     * output is thrown away, dst stays as it was. NULL: no check. Not for .safetensors, which are no model alone. */
    kd_code (*check)(void *ctx, const char *path, kd_err *e);
    void *check_ctx;
} kd_convert_options;

typedef struct {
    uint64_t bytes_in, bytes_out; /* of weights stored, of files written */
    size_t tensors;
    size_t fallbacks;              /* matrices whose rows the type's blocks do not divide */
    size_t nonfinite;              /* tensors with NaN or infinities */
    size_t weighted, unweighted;   /* matrices searched with importance; with none, or none for some experts, though there was some given */
    uint64_t type_bytes[KD_TYPES]; /* of the output, by type */
    size_t type_tensors[KD_TYPES];
    uint64_t resumed; /* bytes taken from what a killed run left */
    double seconds;   /* without the check */
} kd_convert_result;

/* dst: NAME.gguf, NAME.safetensors (weights alone, Hugging Face's names), any other: a Hugging Face folder. plan_only: everything is checked
 * and *result filled (sizes as they will be), nothing is written.
 * Errors: those of opening; KD_EINVAL a type the target has no words for; KD_EUNSUPPORTED a feature it has none for; KD_EFORMAT
 * NaN in weights (tensor named); KD_EIO no room on the disk; KD_ECREATE something else is in the way. Then dst is as it was.
 * Test: tests/convert/test_convert.c */
kd_code kd_convert(const char *src, const char *dst, const kd_convert_options *o, bool plan_only, kd_pool *pool, const kd_watch *watch,
                   kd_convert_result *result, kd_err *e);

/* The value that a line "key: value" or "# key: value" of RUN/config.yaml records, without quotes; a view. */
kd_str kd_card_recorded(kd_str yaml, const char *key);

#endif
