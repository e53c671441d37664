/* distill/math/mat.h - a weight matrix as it is stored. Leans on base/dtype.h. */
#ifndef KD_MATH_MAT_H
#define KD_MATH_MAT_H

#include "distill/base/dtype.h"

#include <stdint.h>

/* W [rows, cols], row-major, in its stored type; y = W x. Borrowed: usually points into a mapped file.
 * Row r of the matrix is the stored row row_map[r], or r where row_map is NULL (GGUF files of Llama keep q and k rows permuted; the map
 * gives every reader Hugging Face's order while the bytes stay where they are). Rows start on any byte. */
typedef struct {
    kd_dtype type;
    size_t rows, cols;
    size_t row_bytes;
    const void *data;
    const uint32_t *row_map;
} kd_mat;
static inline const void *kd_mat_row(const kd_mat *m, size_t r) {
    return (const char *)m->data + (m->row_map ? (size_t)m->row_map[r] : r) * m->row_bytes;
}

#endif
