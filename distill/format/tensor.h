/* distill/format/tensor.h - a named array inside a mapped file, and sets of them; what both formats hand out.
 * Leans on base/dtype.h, base/mem.h, base/file.h. Knows bytes and shapes, not what they mean. */
#ifndef KD_FORMAT_TENSOR_H
#define KD_FORMAT_TENSOR_H

#include "distill/base/dtype.h"
#include "distill/base/file.h"

#define KD_MAX_DIMS 6

/* One tensor. Everything in it was checked when its file was opened: bytes is the size that type and shape ask for, data[0..bytes) lies
 * inside the map, overlaps no other tensor, and the last dimension is whole blocks of the type. Lives as long as the file is open. */
typedef struct {
    kd_str name; /* valid UTF-8 without U+0000, NUL-terminated besides; unique in its set */
    kd_dtype type;
    int ndim;                    /* 0 (a scalar: one element) .. KD_MAX_DIMS */
    uint64_t shape[KD_MAX_DIMS]; /* row-major, slowest first, as NumPy says it (GGUF's order reversed); 1 behind ndim */
    const void *data;            /* on any byte: read it with memcpy or through kd_mat */
    size_t bytes;
    uint32_t file;   /* which file of the set (shard), from 0 */
    uint64_t offset; /* of data from the start of that file */
} kd_tensor;

/* The same array as a matrix: cols = the last dimension, rows = the product of the others (1-D and scalars: one row). */
static inline size_t kd_tensor_cols(const kd_tensor *t) { return t->ndim ? (size_t)t->shape[t->ndim - 1] : 1; }
static inline size_t kd_tensor_rows(const kd_tensor *t) {
    size_t r = 1;
    for (int i = 0; i + 1 < t->ndim; i++) r *= (size_t)t->shape[i];
    return r;
}
static inline size_t kd_tensor_elements(const kd_tensor *t) { return kd_tensor_rows(t) * kd_tensor_cols(t); }

/* Bytes that a tensor takes; false if the type is unknown, a row is not whole blocks, or the elements or bytes do not fit. */
bool kd_tensor_size(int type, int ndim, const uint64_t *shape, size_t *bytes);
/* "[2, 3]", cut to fit; returns buf. */
const char *kd_shape_text(int ndim, const uint64_t *shape, char *buf, size_t n);

/* Where a tensor that is being written will lie: the file by its final name, which lives as long as its writer, and the place of its first byte. */
typedef struct {
    const char *path;
    uint64_t offset;
} kd_place;

/* Tensors in the order of their file (shard after shard), with lookup by name in O(1). Borrowed from the file that holds it. */
typedef struct kd_tensors kd_tensors;
size_t kd_tensors_count(const kd_tensors *s);
const kd_tensor *kd_tensors_at(const kd_tensors *s, size_t i);           /* i < count */
const kd_tensor *kd_tensors_find(const kd_tensors *s, const char *name); /* NULL if there is none */
const kd_tensor *kd_tensors_find_str(const kd_tensors *s, kd_str name);
size_t kd_tensors_files(const kd_tensors *s);
const kd_map *kd_tensors_map(const kd_tensors *s, uint32_t file); /* the mapped file of t->file: its path, advice to the kernel */
/* Tells the kernel that t's pages will be, or are no longer, needed. */
void kd_tensors_advise(const kd_tensors *s, const kd_tensor *t, kd_map_advice a);

#endif
