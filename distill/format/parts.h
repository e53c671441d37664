/* distill/format/parts.h - inside of the room: what both writers share: tensors declared, cut over files, filled and committed.
 * Leans on set.h, base/file.h. Not for other rooms. */
#ifndef KD_FORMAT_PARTS_H
#define KD_FORMAT_PARTS_H

#include "distill/format/set.h"

typedef struct {
    kd_str name;
    kd_dtype type;
    int ndim;
    uint64_t shape[KD_MAX_DIMS];
    size_t bytes, written;
    uint32_t part;
    uint64_t offset; /* in its part's data section */
} kd_declared;

typedef struct {
    char *path;
    kd_writer *w;
    uint64_t start, size; /* of the data section: where it begins, bytes with padding */
} kd_part;

typedef struct {
    char *path;
    uint64_t limit; /* bytes of data a part; 0 = one file */
    kd_declared *v;
    size_t n, cap;
    kd_table table;
    kd_arena text;
    kd_part *part; /* [parts], once cut */
    size_t parts;
} kd_output;

kd_code kd_output_init(kd_output *o, const char *path, uint64_t limit, kd_err *e);
void kd_output_clear(kd_output *o); /* removes what was not committed */
/* Errors: KD_EINVAL for a name or shape that the format refuses, a name twice, or after the cut. */
kd_code kd_output_declare(kd_output *o, const char *name, size_t name_max, kd_dtype type, int ndim, int ndim_max, const uint64_t *shape,
                          size_t *index, kd_err *e);
/* Deals the tensors out over parts, in order, and names the files: path itself, or STEM-0000i-of-0000NSUFFIX of path = STEM SUFFIX. */
kd_code kd_output_cut(kd_output *o, const char *suffix, kd_err *e);
/* Creates part i: header is written, the data section follows at its end, size bytes long. */
kd_code kd_output_open(kd_output *o, size_t i, kd_str header, kd_err *e);
kd_code kd_output_put(kd_output *o, size_t i, const void *p, size_t n, kd_err *e);
kd_code kd_output_whole(const kd_output *o, kd_err *e); /* KD_EINVAL naming the tensor that lacks bytes */
kd_code kd_output_commit(kd_output *o, size_t part, kd_err *e);
uint64_t kd_output_bytes(const kd_output *o);
kd_place kd_output_place(const kd_output *o, size_t i);
void kd_output_keep(kd_output *o);

#endif
