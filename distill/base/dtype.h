/* distill/base/dtype.h - the storage types of arrays: names, and bytes a block. Includes nothing of ours.
 * It stands on floor 0 because format (what a file says) and math (what the bytes mean) both need it and may not know each other.
 * Numbers are ggml's own type numbers, as GGUF files store them. */
#ifndef KD_BASE_DTYPE_H
#define KD_BASE_DTYPE_H

#include <stdbool.h>
#include <stddef.h>

typedef enum {
    KD_F32 = 0,
    KD_F16 = 1,
    KD_Q4_0 = 2,
    KD_Q4_1 = 3,
    KD_Q5_0 = 6,
    KD_Q5_1 = 7,
    KD_Q8_0 = 8,
    KD_Q2_K = 10,
    KD_Q3_K = 11,
    KD_Q4_K = 12,
    KD_Q5_K = 13,
    KD_Q6_K = 14,
    KD_IQ4_NL = 20,
    KD_IQ4_XS = 23,
    KD_I8 = 24,
    KD_I16 = 25,
    KD_I32 = 26,
    KD_I64 = 27,
    KD_F64 = 28,
    KD_BF16 = 30,
    KD_MXFP4 = 39,
    KD_TYPES = 40, /* numbers from here on are no GGUF types */
    KD_F8_E4M3 = 100,
    KD_U8 = 101,
    KD_BOOL = 102 /* safetensors only */
} kd_dtype;

typedef struct {
    const char *name;    /* lower case: "q4_k" */
    size_t block, bytes; /* elements and bytes a block; rows are whole blocks */
    bool quantized;
} kd_dtype_info;
const kd_dtype_info *kd_dtype_get(int type);                   /* NULL for a number we do not know */
bool kd_dtype_named(const char *name, kd_dtype *out);          /* any case */
bool kd_dtype_row_bytes(int type, size_t cols, size_t *bytes); /* false: unknown type, cols not whole blocks, or overflow */

#endif
