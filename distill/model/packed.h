/* distill/model/packed.h - matrices that a Hugging Face folder keeps quantized, each in several tensors: FP8 with block scales, GPTQ, AWQ,
 * compressed-tensors. Read row by row as float32; nothing is computed with them as they are. Leans on base/json.h, format/tensor.h.
 * The forms are facts of transformers' quantizers, AutoGPTQ, AutoAWQ and compressed-tensors. */
#ifndef KD_MODEL_PACKED_H
#define KD_MODEL_PACKED_H

#include "distill/base/json.h"
#include "distill/format/tensor.h"

typedef enum { KD_PACK_NONE, KD_PACK_FP8, KD_PACK_GPTQ, KD_PACK_AWQ, KD_PACK_COMPRESSED } kd_pack_kind;

/* What quantization_config of config.json says. */
typedef struct {
    kd_pack_kind kind;
    unsigned bits;
    bool v2;         /* GPTQ: zeros are stored as they are, not one less */
    size_t group;    /* GPTQ, AWQ: columns that share a scale; 0: all of a row */
    size_t block[2]; /* FP8: rows and columns that share a scale; 0: one scale a tensor or a row */
    bool floats;     /* compressed-tensors: 8-bit floats, not integers */
} kd_packing;
/* node absent or null: KD_PACK_NONE. Errors: KD_EUNSUPPORTED a method or variant that is not read, named; KD_EFORMAT a value out of its domain. */
kd_code kd_packing_read(kd_packing *out, const kd_json_node *node, const char *what, kd_err *e);
const char *kd_packing_name(const kd_packing *p); /* "gptq 4-bit" for people; static */

typedef struct {
    kd_packing how;
    size_t rows, cols, groups;
    const kd_tensor *codes, *scales, *zeros, *order, *shape; /* zeros, order (a column's group), shape may be NULL */
} kd_packed;
/* The tensors of module (its name without ".weight") [rows, cols] in set; *found false: none of them is there. Errors: KD_EFORMAT a part that is
 * missing, of another type or shape, or a group out of range; the tensor is named. Test: tests/distill/model/test_packed.c */
kd_code kd_packed_find(kd_packed *out, bool *found, const kd_packing *how, const kd_tensors *set, const char *module, size_t rows,
                       size_t cols, const char *path, kd_err *e);
enum { KD_PACKED_ROWS = 16 }; /* at once at most, and best: neighbours share words of 32 bits */
/* out [n, cols] = rows first .. first + n of the matrix. Allocates nothing; reentrant. */
void kd_packed_rows(const kd_packed *p, size_t first, size_t n, float *out);

#endif
