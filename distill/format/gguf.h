/* distill/format/gguf.h - reads and writes GGUF version 3 (reads 2), split files too. Leans on tensor.h.
 * Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md, little-endian; its reader in ggml is the yardstick of what is legal. */
#ifndef KD_FORMAT_GGUF_H
#define KD_FORMAT_GGUF_H

#include "distill/format/tensor.h"

#define KD_GGUF_HEADER_MAX (96u << 20) /* bytes before the tensor data */
#define KD_GGUF_KEYS_MAX (1u << 16)
#define KD_GGUF_TENSORS_MAX (1u << 18)
#define KD_GGUF_KEY_MAX 65535u         /* bytes of a key */
#define KD_GGUF_STRING_MAX (40u << 20) /* some files carry a whole tokenizer.json of 33 MB */
#define KD_GGUF_NAME_MAX 63u           /* bytes of a tensor's name: ggml keeps 64 with the NUL */
#define KD_GGUF_DIMS_MAX 4
#define KD_GGUF_ALIGN_MAX 65536u /* a power of two from 8 */
#define KD_GGUF_SPLITS_MAX 4096u

typedef enum {
    KD_GGUF_U8,
    KD_GGUF_I8,
    KD_GGUF_U16,
    KD_GGUF_I16,
    KD_GGUF_U32,
    KD_GGUF_I32,
    KD_GGUF_F32,
    KD_GGUF_BOOL,
    KD_GGUF_STRING,
    KD_GGUF_ARRAY,
    KD_GGUF_U64,
    KD_GGUF_I64,
    KD_GGUF_F64,
    KD_GGUF_TYPES
} kd_gguf_type;
const char *kd_gguf_type_name(int type); /* "u32"; "?" for no type */

typedef struct kd_gguf kd_gguf;

/* Opens a file, or the whole set if path is any part of one (NAME-00001-of-00003.gguf). Files without tensors (vocabulary only) are fine.
 * Checked before use: magic, version, counts, every length and type of every key and element, UTF-8, duplicate keys and names, dimensions,
 * types, sizes, alignment, that data lie in order without overlap or hole up to the end of the file; parts that do not belong together.
 * Errors: KD_ENOENT, KD_EFORMAT, KD_EUNSUPPORTED (a tensor type we lack), KD_ENOMEM, KD_EIO. Then *out = NULL.
 * Test: tests/distill/format/test_gguf.c */
kd_code kd_gguf_open(kd_gguf **out, const char *path, kd_err *e);
void kd_gguf_close(kd_gguf *g);
const kd_tensors *kd_gguf_tensors(const kd_gguf *g);
uint32_t kd_gguf_version(const kd_gguf *g);
size_t kd_gguf_alignment(const kd_gguf *g);

/* A key of the first file. type KD_GGUF_ARRAY: elem and count say what is in it; otherwise count is 1. */
typedef struct {
    kd_str key;
    kd_gguf_type type, elem;
    uint64_t count;
    const unsigned char *value; /* little-endian, on any byte; strings: u64 length, bytes */
    const uint64_t *marks;      /* arrays of strings: where every 8th begins, from value */
} kd_gguf_kv;
size_t kd_gguf_count(const kd_gguf *g);
const kd_gguf_kv *kd_gguf_at(const kd_gguf *g, size_t i);
const kd_gguf_kv *kd_gguf_find(const kd_gguf *g, const char *key); /* NULL if absent */

/* Typed getters: true if the key is there with that kind of value. The integer getters take any integer type whose value fits, float
 * any float type. */
bool kd_gguf_str(const kd_gguf *g, const char *key, kd_str *out);
bool kd_gguf_u32(const kd_gguf *g, const char *key, uint32_t *out);
bool kd_gguf_i64(const kd_gguf *g, const char *key, int64_t *out);
bool kd_gguf_f64(const kd_gguf *g, const char *key, double *out); /* integers too */
bool kd_gguf_bool(const kd_gguf *g, const char *key, bool *out);
/* Element i of an array (or the scalar itself, i = 0); false if i is out of range or of another kind. */
bool kd_gguf_elem_str(const kd_gguf_kv *kv, uint64_t i, kd_str *out);
bool kd_gguf_elem_strs(const kd_gguf_kv *kv, uint64_t i, kd_str *out, size_t n); /* n >= 1 from i on, in one walk */
bool kd_gguf_elem_i64(const kd_gguf_kv *kv, uint64_t i, int64_t *out);           /* any integer type; bool as 0, 1 */
bool kd_gguf_elem_f64(const kd_gguf_kv *kv, uint64_t i, double *out);            /* any number */

/* Writes one, streaming: new, keys and tensors, begin, put, commit. general.alignment is 32 unless set before (u32). split_bytes > 0 cuts
 * path "x.gguf", when the tensors exceed that, into x-00001-of-0000N.gguf, the keys in the first. Temporary until commit renames. */
typedef struct kd_gguf_writer kd_gguf_writer;
kd_code kd_gguf_writer_new(kd_gguf_writer **out, const char *path, uint64_t split_bytes, kd_err *e);
/* value points to the C type (uint8_t ... double, bool, kd_str); arrays to n of them. Setting a key again replaces it. */
kd_code kd_gguf_writer_set(kd_gguf_writer *w, const char *key, kd_gguf_type type, const void *value, kd_err *e);
kd_code kd_gguf_writer_set_array(kd_gguf_writer *w, const char *key, kd_gguf_type elem, const void *values, uint64_t n, kd_err *e);
kd_code kd_gguf_writer_copy(kd_gguf_writer *w, const kd_gguf_kv *kv, kd_err *e); /* a key as another file has it */
kd_code kd_gguf_writer_str(kd_gguf_writer *w, const char *key, kd_str v, kd_err *e);
kd_code kd_gguf_writer_u32(kd_gguf_writer *w, const char *key, uint32_t v, kd_err *e);
kd_code kd_gguf_writer_f32(kd_gguf_writer *w, const char *key, float v, kd_err *e);
kd_code kd_gguf_writer_bool(kd_gguf_writer *w, const char *key, bool v, kd_err *e);
/* shape row-major, slowest first; *index (or NULL) = the number to put under. */
kd_code kd_gguf_writer_declare(kd_gguf_writer *w, const char *name, kd_dtype type, int ndim, const uint64_t *shape, size_t *index,
                               kd_err *e);
kd_code kd_gguf_writer_begin(kd_gguf_writer *w, kd_err *e);
/* What one file would take, before begin; split files take a little more. */
kd_code kd_gguf_writer_measure(const kd_gguf_writer *w, uint64_t *bytes, kd_err *e);
kd_place kd_gguf_writer_place(const kd_gguf_writer *w, size_t i); /* of tensor i, known after begin */
uint64_t kd_gguf_writer_bytes(const kd_gguf_writer *w);           /* of all files together, known after begin */
kd_code kd_gguf_writer_put(kd_gguf_writer *w, size_t i, const void *p, size_t n,
                           kd_err *e); /* a tensor's bytes in order, tensors in any order */
kd_code kd_gguf_writer_commit(kd_gguf_writer *w, kd_err *e);
void kd_gguf_writer_keep(kd_gguf_writer *w); /* free leaves the temporary files, for a run that goes on from them */
void kd_gguf_writer_free(kd_gguf_writer *w);

#endif
