/* distill/format/safetensors_write.c - the writer of safetensors, in one file or in shards under an index. Leans on parts.h, base/json.h. */
#include "distill/base/json.h"
#include "distill/format/parts.h"
#include "distill/format/safetensors.h"

#include <string.h>

typedef struct {
    kd_str key, value;
} pair;

struct kd_safetensors_writer {
    kd_output o;
    pair *meta;
    size_t metas, metas_cap;
};

kd_code kd_safetensors_writer_new(kd_safetensors_writer **out, const char *path, uint64_t shard_bytes, kd_err *e) {
    *out = kd_calloc(1, sizeof **out);
    if (!*out) return kd_fail(e, KD_ENOMEM, "%s: no memory to write it", path);
    kd_code c = kd_output_init(&(*out)->o, path, shard_bytes, e);
    if (c) {
        kd_free(*out);
        *out = NULL;
    }
    return c;
}

void kd_safetensors_writer_free(kd_safetensors_writer *w) {
    if (!w) return;
    kd_output_clear(&w->o);
    kd_free(w->meta);
    kd_free(w);
}

kd_code kd_safetensors_writer_meta(kd_safetensors_writer *w, const char *key, kd_str value, kd_err *e) {
    size_t i = 0;
    while (i < w->metas && !kd_str_is(w->meta[i].key, key)) i++;
    void *p = w->meta;
    kd_code c = w->o.parts ? KD_EINVAL : kd_grow(&p, &w->metas_cap, i + 1, sizeof *w->meta);
    w->meta = p;
    char *k = NULL, *v = NULL;
    if (!c && (!(k = kd_arena_strndup(&w->o.text, key, strlen(key))) || !(v = kd_arena_strndup(&w->o.text, value.data, value.len))))
        c = KD_ENOMEM;
    if (c) return kd_fail(e, c, "%s: metadata %s %s", w->o.path, key, c == KD_EINVAL ? "set after the writing began" : "finds no memory");
    w->meta[i] = (pair){{k, strlen(key)}, {v, value.len}};
    w->metas += i == w->metas;
    return KD_OK;
}

kd_code kd_safetensors_writer_declare(kd_safetensors_writer *w, const char *name, kd_dtype type, int ndim, const uint64_t *shape,
                                      size_t *index, kd_err *e) {
    if (!kd_safetensors_type(type) || !strcmp(name, "__metadata__"))
        return kd_fail(e, KD_EINVAL, "%s: tensor %s of type %s cannot stand in a safetensors file", w->o.path, name,
                       kd_dtype_get((int)type) ? kd_dtype_get((int)type)->name : "?");
    return kd_output_declare(&w->o, name, 1024, type, ndim, KD_MAX_DIMS, shape, index, e);
}

/* Offsets in every part: elements of 8 bytes first, then 4, 2, 1, so that each is aligned to its size as some readers need it. */
static void lay_out(kd_output *o) {
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < o->n; i++)
            if (kd_dtype_get((int)o->v[i].type)->bytes == size) {
                o->v[i].offset = o->part[o->v[i].part].size;
                o->part[o->v[i].part].size += o->v[i].bytes;
            }
}

static void entry(kd_jsonw *j, const kd_declared *d) {
    kd_jsonw_key_str(j, d->name);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "dtype");
    kd_jsonw_cstr(j, kd_safetensors_type(d->type));
    kd_jsonw_key(j, "shape");
    kd_jsonw_array(j);
    for (int i = 0; i < d->ndim; i++) kd_jsonw_int(j, (int64_t)d->shape[i]);
    kd_jsonw_end_array(j);
    kd_jsonw_key(j, "data_offsets");
    kd_jsonw_array(j);
    kd_jsonw_int(j, (int64_t)d->offset);
    kd_jsonw_int(j, (int64_t)(d->offset + d->bytes));
    kd_jsonw_end_array(j);
    kd_jsonw_end_object(j);
}

/* The header of a part: length (little-endian), JSON, spaces up to a multiple of 8. */
static kd_code header(const kd_safetensors_writer *w, size_t part, kd_buf *b) {
    kd_jsonw j = {.out = b};
    kd_code c = kd_buf_append(b, "\0\0\0\0\0\0\0\0", 8);
    kd_jsonw_object(&j);
    if (w->metas) {
        kd_jsonw_key(&j, "__metadata__");
        kd_jsonw_object(&j);
        for (size_t i = 0; i < w->metas; i++) {
            kd_jsonw_key_str(&j, w->meta[i].key);
            kd_jsonw_str(&j, w->meta[i].value);
        }
        kd_jsonw_end_object(&j);
    }
    for (size_t size = 8; size; size /= 2)
        for (size_t i = 0; i < w->o.n; i++)
            if (w->o.v[i].part == part && kd_dtype_get((int)w->o.v[i].type)->bytes == size) entry(&j, &w->o.v[i]);
    kd_jsonw_end_object(&j);
    while (!c && !j.code && b->len % 8) c = kd_buf_putc(b, ' ');
    for (size_t i = 0; i < 8 && b->len >= 8; i++) b->data[i] = (char)(unsigned char)((b->len - 8) >> (8 * i));
    return c ? c : j.code;
}

kd_code kd_safetensors_writer_begin(kd_safetensors_writer *w, kd_err *e) {
    if (w->o.parts) return kd_fail(e, KD_EINVAL, "%s: the writing has begun already", w->o.path);
    kd_code c = kd_output_cut(&w->o, ".safetensors", e);
    if (c) return c;
    lay_out(&w->o);
    for (size_t i = 0; i < w->o.parts && !c; i++) {
        kd_buf b = {0};
        if ((c = header(w, i, &b)))
            kd_fail(e, c, "%s: no memory for its header", w->o.path);
        else if (b.len - 8 > KD_SAFETENSORS_HEADER_MAX)
            c = kd_fail(e, KD_EINVAL, "%s: a header of %zu bytes, at most %u can be read back", w->o.path, b.len - 8,
                        KD_SAFETENSORS_HEADER_MAX);
        else
            c = kd_output_open(&w->o, i, kd_buf_view(&b), e);
        kd_buf_clear(&b);
    }
    return c;
}

kd_place kd_safetensors_writer_place(const kd_safetensors_writer *w, size_t i) { return kd_output_place(&w->o, i); }
void kd_safetensors_writer_keep(kd_safetensors_writer *w) { kd_output_keep(&w->o); }
uint64_t kd_safetensors_writer_bytes(const kd_safetensors_writer *w) { return kd_output_bytes(&w->o); }

kd_code kd_safetensors_writer_put(kd_safetensors_writer *w, size_t i, const void *p, size_t n, kd_err *e) {
    return kd_output_put(&w->o, i, p, n, e);
}

static kd_code write_index(const kd_output *o, kd_err *e) {
    kd_buf b = {0}, path = {0};
    kd_jsonw j = {.out = &b};
    uint64_t total = 0;
    for (size_t i = 0; i < o->n; i++) total += o->v[i].bytes;
    kd_jsonw_object(&j);
    kd_jsonw_key(&j, "metadata");
    kd_jsonw_object(&j);
    kd_jsonw_key(&j, "total_size");
    kd_jsonw_int(&j, (int64_t)total);
    kd_jsonw_end_object(&j);
    kd_jsonw_key(&j, "weight_map");
    kd_jsonw_object(&j);
    for (size_t i = 0; i < o->n; i++) {
        kd_jsonw_key_str(&j, o->v[i].name);
        kd_jsonw_cstr(&j, kd_path_base(o->part[o->v[i].part].path));
    }
    kd_jsonw_end_object(&j);
    kd_jsonw_end_object(&j);
    kd_code c = j.code ? j.code : kd_buf_printf(&path, "%s.index.json", o->path);
    c = c ? kd_fail(e, c, "%s: no memory for its index", o->path) : kd_file_write(path.data, b.data, b.len, e);
    kd_buf_clear(&b);
    kd_buf_clear(&path);
    return c;
}

kd_code kd_safetensors_writer_commit(kd_safetensors_writer *w, kd_err *e) {
    kd_code c = kd_output_whole(&w->o, e);
    for (size_t i = 0; i < w->o.parts && !c; i++) c = kd_output_commit(&w->o, i, e);
    if (!c && w->o.parts > 1) c = write_index(&w->o, e);
    return c;
}
