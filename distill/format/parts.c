/* distill/format/parts.c - tensors declared, cut over files, filled and committed. Leans on parts.h. */
#include "distill/format/parts.h"

#include <string.h>

kd_code kd_output_init(kd_output *o, const char *path, uint64_t limit, kd_err *e) {
    *o = (kd_output){.path = kd_strdup(path), .limit = limit};
    return o->path ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory to write it", path);
}

void kd_output_clear(kd_output *o) {
    for (size_t i = 0; i < o->parts; i++) {
        kd_writer_close(o->part[i].w);
        kd_free(o->part[i].path);
    }
    kd_free(o->part);
    kd_free(o->v);
    kd_free(o->path);
    kd_table_clear(&o->table);
    kd_arena_clear(&o->text);
    *o = (kd_output){0};
}

kd_code kd_output_declare(kd_output *o, const char *name, size_t name_max, kd_dtype type, int ndim, int ndim_max, const uint64_t *shape,
                          size_t *index, kd_err *e) {
    char text[128];
    kd_declared d = {.type = type, .ndim = ndim};
    kd_str view = kd_str_of(name);
    if (o->parts) return kd_fail(e, KD_EINVAL, "%s: tensor %s declared after the writing began", o->path, name);
    if (kd_check_name(view, name_max, o->path, e)) return e ? (e->code = KD_EINVAL) : KD_EINVAL;
    if (ndim < 0 || ndim > ndim_max)
        return kd_fail(e, KD_EINVAL, "%s: tensor %s has %d dimensions, at most %d can be written", o->path, name, ndim, ndim_max);
    for (int i = 0; i < KD_MAX_DIMS; i++) d.shape[i] = i < ndim ? shape[i] : 1;
    if (!kd_tensor_size((int)type, ndim, shape, &d.bytes))
        return kd_fail(e, KD_EINVAL, "%s: tensor %s: shape %s is no whole number of blocks of its type, or does not fit", o->path, name,
                       kd_shape_text(ndim, shape, text, sizeof text));
    void *p = o->v;
    bool twice = false;
    kd_code c = kd_grow(&p, &o->cap, o->n + 1, sizeof *o->v);
    o->v = p;
    if (!c) {
        char *own = kd_arena_strndup(&o->text, name, view.len);
        c = own ? KD_OK : KD_ENOMEM;
        d.name = (kd_str){own, view.len};
    }
    if (!c) {
        o->v[o->n] = d;
        c = kd_table_add(&o->table, o->n, o->v, sizeof *o->v, &twice);
    }
    if (c) return kd_fail(e, c, "%s: no memory for %zu tensors", o->path, o->n + 1);
    if (twice) return kd_fail(e, KD_EINVAL, "%s: tensor %s declared twice", o->path, name);
    if (index) *index = o->n;
    o->n++;
    return KD_OK;
}

kd_code kd_output_cut(kd_output *o, const char *suffix, kd_err *e) {
    size_t parts = 1;
    uint64_t used = 0;
    for (size_t i = 0; i < o->n; i++) {
        if (o->limit && used && o->v[i].bytes > o->limit - (used < o->limit ? used : o->limit)) {
            parts++;
            used = 0;
        }
        o->v[i].part = (uint32_t)(parts - 1);
        used += o->v[i].bytes;
    }
    size_t n = strlen(o->path), m = strlen(suffix);
    char *stem = kd_strndup(o->path, n > m && !strcmp(o->path + n - m, suffix) ? n - m : n);
    o->part = kd_calloc(parts, sizeof *o->part);
    if (o->part) o->parts = parts;
    bool whole = stem && o->part;
    for (size_t i = 0; i < parts && whole; i++)
        whole = (o->part[i].path = parts == 1 ? kd_strdup(o->path) : kd_part_path(stem, i + 1, parts, suffix)) != NULL;
    kd_free(stem);
    return whole ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for %zu parts", o->path, parts);
}

kd_code kd_output_open(kd_output *o, size_t i, kd_str header, kd_err *e) {
    kd_part *p = &o->part[i];
    kd_code c = kd_writer_open(&p->w, p->path, e);
    if (c || (c = kd_writer_write(p->w, header.data, header.len, e))) return c;
    p->start = header.len;
    if (p->size) /* its full length now: what nobody writes (padding) is zero */
        c = kd_writer_at(p->w, p->start + p->size - 1, "", 1, e);
    return c;
}

kd_code kd_output_put(kd_output *o, size_t i, const void *p, size_t n, kd_err *e) {
    if (i >= o->n || !o->parts)
        return kd_fail(e, KD_EINVAL, "%s: bytes for tensor %zu of %zu%s", o->path, i, o->n, o->parts ? "" : " before the writing began");
    kd_declared *d = &o->v[i];
    kd_part *part = &o->part[d->part];
    if (n > d->bytes - d->written)
        return kd_fail(e, KD_EINVAL, "%s: tensor %s takes %zu bytes, given %zu", o->path, d->name.data, d->bytes, d->written + n);
    kd_code c = n ? kd_writer_at(part->w, part->start + d->offset + d->written, p, n, e) : KD_OK;
    if (!c) d->written += n;
    return c;
}

kd_code kd_output_whole(const kd_output *o, kd_err *e) {
    for (size_t i = 0; i < o->n; i++)
        if (o->v[i].written != o->v[i].bytes)
            return kd_fail(e, KD_EINVAL, "%s: tensor %s has %zu of its %zu bytes", o->path, o->v[i].name.data, o->v[i].written,
                           o->v[i].bytes);
    return o->parts ? KD_OK : kd_fail(e, KD_EINVAL, "%s: commit before the writing began", o->path);
}

kd_code kd_output_commit(kd_output *o, size_t part, kd_err *e) {
    kd_code c = kd_writer_commit(o->part[part].w, e);
    kd_writer_close(o->part[part].w);
    o->part[part].w = NULL;
    return c;
}

kd_place kd_output_place(const kd_output *o, size_t i) {
    const kd_part *p = &o->part[o->v[i].part];
    return (kd_place){p->path, p->start + o->v[i].offset};
}

void kd_output_keep(kd_output *o) {
    for (size_t i = 0; i < o->parts; i++)
        if (o->part[i].w) kd_writer_keep(o->part[i].w);
}

uint64_t kd_output_bytes(const kd_output *o) {
    uint64_t n = 0;
    for (size_t i = 0; i < o->parts; i++) n += o->part[i].start + o->part[i].size;
    for (size_t i = 0; i < o->n && !o->parts; i++) n += o->v[i].bytes;
    return n;
}
