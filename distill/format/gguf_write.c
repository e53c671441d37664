/* distill/format/gguf_write.c - the writer of GGUF, in one file or in parts. Leans on parts.h, gguf_inside.h. */
#include "distill/format/gguf_inside.h"
#include "distill/format/parts.h"

#include "distill/base/utf8.h"

#include <string.h>

typedef struct {
    kd_str key;
    kd_buf value; /* type and value as they stand in the file */
} setting;

struct kd_gguf_writer {
    kd_output o;
    setting *v;
    size_t n, cap;
    kd_table keys;
    size_t align;
};

kd_code kd_gguf_writer_new(kd_gguf_writer **out, const char *path, uint64_t split_bytes, kd_err *e) {
    *out = kd_calloc(1, sizeof **out);
    if (!*out) return kd_fail(e, KD_ENOMEM, "%s: no memory to write it", path);
    (*out)->align = 32;
    kd_code c = kd_output_init(&(*out)->o, path, split_bytes, e);
    if (c) {
        kd_free(*out);
        *out = NULL;
    }
    return c;
}

void kd_gguf_writer_free(kd_gguf_writer *w) {
    if (!w) return;
    for (size_t i = 0; i < w->n; i++) kd_buf_clear(&w->v[i].value);
    kd_free(w->v);
    kd_table_clear(&w->keys);
    kd_output_clear(&w->o);
    kd_free(w);
}

static kd_code put_le(kd_buf *b, uint64_t v, size_t n) {
    unsigned char p[8];
    for (size_t i = 0; i < 8; i++) p[i] = (unsigned char)(v >> (8 * i));
    return kd_buf_append(b, p, n);
}

static kd_code put_str(kd_buf *b, kd_str s) {
    kd_code c = put_le(b, s.len, 8);
    return c || !s.len ? c : kd_buf_append(b, s.data, s.len);
}

/* n values of C's type, as they stand in a file */
static kd_code put_values(kd_buf *b, kd_gguf_type type, const void *values, uint64_t n) {
    size_t size = kd_gguf_type_bytes((int)type);
    kd_code c = KD_OK;
    if (type == KD_GGUF_STRING) {
        const kd_str *s = values;
        for (uint64_t i = 0; i < n && !c; i++) c = put_str(b, s[i]);
        return c;
    }
    const unsigned char *p = values;
    for (uint64_t i = 0; i < n && !c; i++, p += size) {
        uint64_t v = 0;
        uint8_t v8;
        uint16_t v16;
        uint32_t v32;
        if (size == 1)
            memcpy(&v8, p, 1), v = type == KD_GGUF_BOOL ? v8 != 0 : v8;
        else if (size == 2)
            memcpy(&v16, p, 2), v = v16;
        else if (size == 4)
            memcpy(&v32, p, 4), v = v32;
        else
            memcpy(&v, p, 8);
        c = put_le(b, v, size);
    }
    return c;
}

/* Takes value. */
static kd_code set(kd_gguf_writer *w, kd_str key, kd_buf *value, kd_code c, kd_err *e) {
    if (c) goto done;
    size_t i = kd_table_find(&w->keys, key, w->v, sizeof *w->v);
    if (i != KD_NONE) {
        kd_buf_clear(&w->v[i].value);
        w->v[i].value = *value;
        return KD_OK;
    }
    void *p = w->v;
    bool twice;
    char *own = NULL;
    if (!kd_grow(&p, &w->cap, w->n + 1, sizeof *w->v)) own = kd_arena_strndup(&w->o.text, key.data, key.len);
    w->v = p;
    if (own) {
        w->v[w->n] = (setting){{own, key.len}, *value};
        if (!kd_table_add(&w->keys, w->n, w->v, sizeof *w->v, &twice)) {
            w->n++;
            return KD_OK;
        }
    }
    c = KD_ENOMEM;
done:
    kd_buf_clear(value);
    return kd_fail(e, c, "%s: no memory for key %s", w->o.path, KD_SHOW(key));
}

static kd_code check_key(const kd_gguf_writer *w, kd_str key, kd_err *e) {
    if (w->o.parts) return kd_fail(e, KD_EINVAL, "%s: key %s set after the writing began", w->o.path, KD_SHOW(key));
    if (!key.len || key.len > KD_GGUF_KEY_MAX || !kd_utf8_valid(key.data, key.len))
        return kd_fail(e, KD_EINVAL, "%s: key \"%s\" is empty, too long or not UTF-8", w->o.path, KD_SHOW(key));
    return KD_OK;
}

static kd_code check_value(kd_gguf_writer *w, kd_str key, kd_gguf_type type, const void *values, uint64_t n, bool array, kd_err *e) {
    if ((int)type < 0 || type >= KD_GGUF_TYPES || type == KD_GGUF_ARRAY || n > SIZE_MAX / 64)
        return kd_fail(e, KD_EINVAL, "%s: key %s of type %d cannot be written", w->o.path, KD_SHOW(key), (int)type);
    const kd_str *s = values;
    for (uint64_t i = 0; type == KD_GGUF_STRING && i < n; i++)
        if (s[i].len > KD_GGUF_STRING_MAX || (s[i].len && !kd_utf8_valid(s[i].data, s[i].len)))
            return kd_fail(e, KD_EINVAL, "%s: key %s: string %llu is too long or not UTF-8", w->o.path, KD_SHOW(key),
                           (unsigned long long)i);
    if (!kd_str_is(key, "general.alignment")) return KD_OK;
    uint32_t a = 0;
    if (type == KD_GGUF_U32 && !array) memcpy(&a, values, sizeof a);
    if (a < 8 || a > KD_GGUF_ALIGN_MAX || (a & (a - 1)))
        return kd_fail(e, KD_EINVAL, "%s: general.alignment must be a u32, a power of two from 8 to %u", w->o.path, KD_GGUF_ALIGN_MAX);
    w->align = a;
    return KD_OK;
}

static kd_code set_values(kd_gguf_writer *w, const char *name, kd_gguf_type type, const void *values, uint64_t n, bool array, kd_err *e) {
    kd_buf b = {0};
    kd_str key = kd_str_of(name);
    kd_code c = check_key(w, key, e);
    if (c || (c = check_value(w, key, type, values, n, array, e))) return c;
    if (array) c = put_le(&b, KD_GGUF_ARRAY, 4);
    if (!c) c = put_le(&b, (uint64_t)type, 4);
    if (!c && array) c = put_le(&b, n, 8);
    if (!c) c = put_values(&b, type, values, n);
    return set(w, key, &b, c, e);
}

kd_code kd_gguf_writer_set(kd_gguf_writer *w, const char *key, kd_gguf_type type, const void *value, kd_err *e) {
    return set_values(w, key, type, value, 1, false, e);
}
kd_code kd_gguf_writer_set_array(kd_gguf_writer *w, const char *key, kd_gguf_type elem, const void *values, uint64_t n, kd_err *e) {
    return set_values(w, key, elem, values, n, true, e);
}
kd_code kd_gguf_writer_str(kd_gguf_writer *w, const char *key, kd_str v, kd_err *e) {
    return set_values(w, key, KD_GGUF_STRING, &v, 1, false, e);
}
kd_code kd_gguf_writer_u32(kd_gguf_writer *w, const char *key, uint32_t v, kd_err *e) {
    return set_values(w, key, KD_GGUF_U32, &v, 1, false, e);
}
kd_code kd_gguf_writer_f32(kd_gguf_writer *w, const char *key, float v, kd_err *e) {
    return set_values(w, key, KD_GGUF_F32, &v, 1, false, e);
}
kd_code kd_gguf_writer_bool(kd_gguf_writer *w, const char *key, bool v, kd_err *e) {
    return set_values(w, key, KD_GGUF_BOOL, &v, 1, false, e);
}

kd_code kd_gguf_writer_copy(kd_gguf_writer *w, const kd_gguf_kv *kv, kd_err *e) {
    kd_code c = check_key(w, kv->key, e);
    bool array = kv->type == KD_GGUF_ARRAY;
    size_t size = kd_gguf_type_bytes((int)kv->elem) * (size_t)kv->count;
    kd_buf b = {0};
    if (c) return c;
    if (kd_str_is(kv->key, "general.alignment")) {
        uint32_t a = (uint32_t)kd_gguf_le(kv->value, 4);
        return set_values(w, "general.alignment", KD_GGUF_U32, &a, 1, false, e);
    }
    if (array) c = put_le(&b, KD_GGUF_ARRAY, 4);
    if (!c) c = put_le(&b, (uint64_t)kv->elem, 4);
    if (!c && array) c = put_le(&b, kv->count, 8);
    if (!c && kv->elem == KD_GGUF_STRING && kv->count) {
        kd_str last;
        kd_gguf_elem_str(kv, kv->count - 1, &last);
        size = (size_t)((const unsigned char *)last.data + last.len - kv->value);
    }
    if (!c && size) c = kd_buf_append(&b, kv->value, size);
    return set(w, kv->key, &b, c, e);
}

kd_code kd_gguf_writer_declare(kd_gguf_writer *w, const char *name, kd_dtype type, int ndim, const uint64_t *shape, size_t *index,
                               kd_err *e) {
    if (type >= KD_TYPES || !kd_dtype_get((int)type))
        return kd_fail(e, KD_EINVAL, "%s: tensor %s of type %s cannot stand in a GGUF file", w->o.path, name,
                       kd_dtype_get((int)type) ? kd_dtype_get((int)type)->name : "?");
    return kd_output_declare(&w->o, name, KD_GGUF_NAME_MAX, type, ndim, KD_GGUF_DIMS_MAX, shape, index, e);
}

static kd_code lay_out(kd_gguf_writer *w, kd_err *e) {
    for (size_t i = 0; i < w->o.n; i++) {
        kd_declared *d = &w->o.v[i];
        uint64_t *at = &w->o.part[d->part].size, end;
        if (!kd_add_u64(*at, d->bytes, &end) || !kd_add_u64(end, w->align - 1, &end))
            return kd_fail(e, KD_EINVAL, "%s: the tensors do not fit into any file", w->o.path);
        d->offset = *at;
        *at = end & ~(uint64_t)(w->align - 1);
    }
    return KD_OK;
}

static kd_code put_tensor(kd_buf *b, const kd_declared *d) {
    kd_code c = put_str(b, d->name);
    if (!c) c = put_le(b, (uint64_t)d->ndim, 4);
    for (int i = d->ndim - 1; i >= 0 && !c; i--) c = put_le(b, d->shape[i], 8);
    if (!c) c = put_le(b, (uint64_t)d->type, 4);
    return c ? c : put_le(b, d->offset, 8);
}

static kd_code put_split_key(kd_buf *b, const char *key, kd_gguf_type type, uint64_t v) {
    kd_code c = put_str(b, kd_str_of(key));
    if (!c) c = put_le(b, (uint64_t)type, 4);
    return c ? c : put_le(b, v, kd_gguf_type_bytes((int)type));
}

static bool is_split_key(kd_str key) { return kd_str_starts(key, "split."); }

static kd_code header(const kd_gguf_writer *w, size_t part, kd_buf *b) {
    uint64_t tensors = 0, keys = 0;
    bool split = w->o.parts > 1;
    for (size_t i = 0; i < w->o.n; i++) tensors += w->o.v[i].part == part;
    for (size_t i = 0; i < w->n; i++) keys += !is_split_key(w->v[i].key) && (!part || kd_str_is(w->v[i].key, "general.alignment"));
    kd_code c = kd_buf_append(b, "GGUF\3\0\0\0", 8);
    if (!c) c = put_le(b, tensors, 8);
    if (!c) c = put_le(b, keys + (split ? 3 : 0), 8);
    for (size_t i = 0; i < w->n && !c; i++) {
        if (is_split_key(w->v[i].key) || (part && !kd_str_is(w->v[i].key, "general.alignment"))) continue;
        if (!(c = put_str(b, w->v[i].key))) c = kd_buf_append(b, w->v[i].value.data, w->v[i].value.len);
    }
    if (!c && split && !(c = put_split_key(b, "split.no", KD_GGUF_U16, part)) &&
        !(c = put_split_key(b, "split.count", KD_GGUF_U16, w->o.parts)))
        c = put_split_key(b, "split.tensors.count", KD_GGUF_I32, w->o.n);
    for (size_t i = 0; i < w->o.n && !c; i++)
        if (w->o.v[i].part == part) c = put_tensor(b, &w->o.v[i]);
    while (!c && b->len % w->align) c = kd_buf_putc(b, 0);
    return c;
}

kd_code kd_gguf_writer_begin(kd_gguf_writer *w, kd_err *e) {
    if (w->o.parts) return kd_fail(e, KD_EINVAL, "%s: the writing has begun already", w->o.path);
    kd_code c = kd_output_cut(&w->o, ".gguf", e);
    if (c || (c = lay_out(w, e))) return c;
    if (w->o.parts > KD_GGUF_SPLITS_MAX || w->o.n > KD_GGUF_TENSORS_MAX || w->n > KD_GGUF_KEYS_MAX)
        return kd_fail(e, KD_EINVAL, "%s: %zu parts, %zu tensors, %zu keys are more than can be read back", w->o.path, w->o.parts, w->o.n,
                       w->n);
    for (size_t i = 0; i < w->o.parts && !c; i++) {
        kd_buf b = {0};
        if ((c = header(w, i, &b)))
            kd_fail(e, c, "%s: no memory for its header", w->o.path);
        else if (b.len > KD_GGUF_HEADER_MAX)
            c = kd_fail(e, KD_EINVAL, "%s: a header of %zu bytes, at most %u can be read back", w->o.path, b.len, KD_GGUF_HEADER_MAX);
        else
            c = kd_output_open(&w->o, i, kd_buf_view(&b), e);
        kd_buf_clear(&b);
    }
    return c;
}

kd_code kd_gguf_writer_measure(const kd_gguf_writer *w, uint64_t *bytes, kd_err *e) {
    kd_buf b = {0};
    kd_code c = header(w, 0, &b);
    uint64_t n = b.len;
    kd_buf_clear(&b);
    if (c) return kd_fail(e, c, "%s: no memory for its header", w->o.path);
    for (size_t i = 0; i < w->o.n; i++)
        if (!kd_add_u64(n, w->o.v[i].bytes, &n) || !kd_add_u64(n, (0 - (uint64_t)w->o.v[i].bytes) & (w->align - 1), &n))
            return kd_fail(e, KD_EINVAL, "%s: the tensors do not fit into any file", w->o.path);
    *bytes = n;
    return KD_OK;
}

kd_place kd_gguf_writer_place(const kd_gguf_writer *w, size_t i) { return kd_output_place(&w->o, i); }
void kd_gguf_writer_keep(kd_gguf_writer *w) { kd_output_keep(&w->o); }
uint64_t kd_gguf_writer_bytes(const kd_gguf_writer *w) { return kd_output_bytes(&w->o); }

kd_code kd_gguf_writer_put(kd_gguf_writer *w, size_t i, const void *p, size_t n, kd_err *e) { return kd_output_put(&w->o, i, p, n, e); }

/* The first part last: without it no part can be opened. */
kd_code kd_gguf_writer_commit(kd_gguf_writer *w, kd_err *e) {
    kd_code c = kd_output_whole(&w->o, e);
    for (size_t i = w->o.parts; i-- > 0 && !c;) c = kd_output_commit(&w->o, i, e);
    return c;
}
