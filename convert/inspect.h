/* convert/inspect.h - what is in a file, as one JSON object: the CLI prints it, or draws it for people. Leans on model/model.h, format. */
#ifndef KD_CONVERT_INSPECT_H
#define KD_CONVERT_INSPECT_H

#include "distill/base/json.h"
#include "distill/base/pool.h"

enum {
    KD_INSPECT_TENSORS = 1, /* a list of them */
    KD_INSPECT_STATS = 2,   /* with range, mean, spread, outliers and histogram of each: reads every byte */
    KD_INSPECT_KEYS = 4,    /* every metadata key with its value (long ones cut) */
    /* every invariant: that the tensors are those that the config promises, that all values are finite, that files are what SHA256SUMS, FILE.sha256 or
     * the hub's cache say ("hashes_checked": how many it knew of) */
    KD_INSPECT_VERIFY = 8,
    KD_INSPECT_HASHES = 16 /* SHA-256 of every tensor's bytes and of the file */
};
/* out += {"path", "format", "architecture", "parameters", "bytes", "types": [...], "tokenizer": {...}, "config": {...}, "lineage": {...}, ...}.
 * path: GGUF file, safetensors file, model folder, adapter folder, run folder. *faults counts what verification found wrong (they are
 * in "faults" too). Errors: those of opening the file. */
kd_code kd_inspect(kd_jsonw *out, const char *path, unsigned what, kd_pool *pool, size_t *faults, kd_err *e);

/* out += {"a", "b", "different": [{"name", "a", "b", "max_abs", "relative"}...], "tensors", "one_sided", "identical"}: two models of one shape
 * compared value by value, whatever format and type each is in. *same: equal to the bit. Errors: KD_EINVAL models of different shapes. */
kd_code kd_inspect_diff(kd_jsonw *out, const char *a, const char *b, kd_pool *pool, bool *same, kd_err *e);

#endif
