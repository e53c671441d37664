/* distill/format/safetensors.h - reads and writes safetensors: a file, or shards under an index. Leans on tensor.h.
 * Format: https://github.com/huggingface/safetensors (header length, JSON header, data). Types: F64 F32 F16 BF16 F8_E4M3 I64 I32 I16 I8 U8 BOOL;
 * any other is refused by name. */
#ifndef KD_FORMAT_SAFETENSORS_H
#define KD_FORMAT_SAFETENSORS_H

#include "distill/format/tensor.h"

#define KD_SAFETENSORS_HEADER_MAX (16u << 20) /* bytes of a header; the largest known model's is under 10 MB */
#define KD_SAFETENSORS_TENSORS_MAX (1u << 18) /* in one file or set */
#define KD_SAFETENSORS_SHARDS_MAX 4096u

typedef struct kd_safetensors kd_safetensors;

/* Opens path: a .safetensors file, an index (*.safetensors.index.json), or a folder that holds model.safetensors or
 * model.safetensors.index.json (adapter_model.safetensors too, if neither is there). Maps, copies no data.
 * Everything that is read is checked before it is used: header length and its JSON (duplicate names and keys, UTF-8), types, shapes (products
 * that overflow), offsets (order, overlaps, holes, bytes left over), an index that names files outside its folder (path parts,
 * links that lead out) or tensors that their shard lacks.
 * Errors: KD_ENOENT, KD_EFORMAT, KD_EUNSUPPORTED (a type we lack), KD_ENOMEM, KD_EIO. Then *out = NULL. Test: tests/distill/format/test_safetensors.c */
kd_code kd_safetensors_open(kd_safetensors **out, const char *path, kd_err *e);
void kd_safetensors_close(kd_safetensors *s);
const kd_tensors *kd_safetensors_tensors(const kd_safetensors *s);
/* A string of __metadata__ of the first file; {NULL,0} if absent. */
kd_str kd_safetensors_meta(const kd_safetensors *s, const char *key);
size_t kd_safetensors_meta_count(const kd_safetensors *s);
void kd_safetensors_meta_at(const kd_safetensors *s, size_t i, kd_str *key, kd_str *value);

/* Writes one, streaming: new, meta and declare for everything, begin, put the bytes, commit. All files are temporary until commit renames
 * them, the index last. The data lie by falling element size, then in declared order, so that every tensor is aligned to its element.
 * path names the file ("x.safetensors"). shard_bytes > 0 cuts it, when the tensors exceed that, into x-00001-of-0000N.safetensors
 * and x.safetensors.index.json (a tensor is never cut). */
typedef struct kd_safetensors_writer kd_safetensors_writer;
kd_code kd_safetensors_writer_new(kd_safetensors_writer **out, const char *path, uint64_t shard_bytes, kd_err *e);
kd_code kd_safetensors_writer_meta(kd_safetensors_writer *w, const char *key, kd_str value, kd_err *e);
/* *index (or NULL) = the number to put under, counting from 0. Errors: KD_EINVAL for a name twice, a type the format lacks, a bad shape. */
kd_code kd_safetensors_writer_declare(kd_safetensors_writer *w, const char *name, kd_dtype type, int ndim, const uint64_t *shape,
                                      size_t *index, kd_err *e);
kd_code kd_safetensors_writer_begin(kd_safetensors_writer *w,
                                    kd_err *e);                       /* lays out and writes the headers; nothing may be declared after */
uint64_t kd_safetensors_writer_bytes(const kd_safetensors_writer *w); /* of all files together, known after begin; data so far before */
/* Appends n bytes to tensor i: a tensor's bytes in order, the tensors in any order. */
kd_code kd_safetensors_writer_put(kd_safetensors_writer *w, size_t i, const void *p, size_t n, kd_err *e);
/* KD_EINVAL, naming it, if a tensor is not whole. */
kd_code kd_safetensors_writer_commit(kd_safetensors_writer *w, kd_err *e);
kd_place kd_safetensors_writer_place(const kd_safetensors_writer *w, size_t i); /* of tensor i, known after begin */
void kd_safetensors_writer_keep(kd_safetensors_writer *w); /* free leaves the temporary files, for a run that goes on from them */
void kd_safetensors_writer_free(kd_safetensors_writer *w); /* removes what was not committed */

#endif
