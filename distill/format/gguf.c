/* distill/format/gguf.c - the reader: header, keys, tensors, parts, and the checks that everything else relies on. Leans on set.h.
 * Getters are gguf_value.c, the writer gguf_write.c. */
#include "distill/format/gguf_inside.h"

#include "distill/base/utf8.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Where we are in a file's header. n is where reading may go: the end of the file or of what a header may be. */
typedef struct {
    const unsigned char *p;
    size_t n, at;
    const char *path;
    bool capped;
    const kd_map *map;
    size_t shed; /* pages before this were given back */
} cursor;

/* Long lists of strings are walked once: what is behind us need not stay in memory. */
static void shed(cursor *c) {
    if (c->at - c->shed >= 4u << 20) {
        kd_map_advise(c->map, c->shed, c->at - c->shed, KD_MAP_DONTNEED);
        c->shed = c->at;
    }
}

static kd_code need(const cursor *c, uint64_t n, const char *what, kd_str name, kd_err *e) {
    if (n <= c->n - c->at) return KD_OK;
    return kd_fail(e, KD_EFORMAT, "%s: byte %zu: %s%s%s needs %llu bytes, %s %zu", c->path, c->at, what, name.len ? " of " : "",
                   name.len ? KD_SHOW(name) : "", (unsigned long long)n, c->capped ? "a header may go on for" : "the file goes on for",
                   c->n - c->at);
}

static kd_code take(cursor *c, size_t bytes, uint64_t *v, const char *what, kd_str name, kd_err *e) {
    kd_code r = need(c, bytes, what, name, e);
    if (r) return r;
    *v = kd_gguf_le(c->p + c->at, bytes);
    c->at += bytes;
    return KD_OK;
}

static kd_code take_str(cursor *c, uint64_t limit, kd_str *out, const char *what, kd_str name, kd_err *e) {
    uint64_t n;
    kd_code r = take(c, 8, &n, what, name, e);
    if (r) return r;
    if (n > limit)
        return kd_fail(e, KD_EFORMAT, "%s: byte %zu: %s%s%s has %llu bytes, at most %llu are read", c->path, c->at - 8, what,
                       name.len ? " of " : "", name.len ? KD_SHOW(name) : "", (unsigned long long)n, (unsigned long long)limit);
    if ((r = need(c, n, what, name, e))) return r;
    *out = (kd_str){(const char *)c->p + c->at, (size_t)n};
    if (!kd_utf8_valid(out->data, out->len))
        return kd_fail(e, KD_EFORMAT, "%s: byte %zu: %s%s%s is not UTF-8", c->path, c->at, what, name.len ? " of " : "",
                       name.len ? KD_SHOW(name) : "");
    c->at += (size_t)n;
    return KD_OK;
}

/* Bytes of one value, 0 for strings and arrays. */
size_t kd_gguf_type_bytes(int type) {
    static const unsigned char SIZES[KD_GGUF_TYPES] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    return type >= 0 && type < KD_GGUF_TYPES ? SIZES[type] : 0;
}

static kd_code walk_strings(kd_gguf_header *h, cursor *c, kd_gguf_kv *kv, kd_err *e) {
    if (kv->count > (c->n - c->at) / 8)
        return kd_fail(e, KD_EFORMAT, "%s: key %s: %llu strings need at least %llu bytes, %zu are left", c->path, KD_SHOW(kv->key),
                       (unsigned long long)kv->count, (unsigned long long)(kv->count > UINT64_MAX / 8 ? UINT64_MAX : kv->count * 8),
                       c->n - c->at);
    uint64_t *marks = kd_arena_alloc(&h->marks, ((size_t)kv->count / 8 + 1) * sizeof *marks);
    if (!marks)
        return kd_fail(e, KD_ENOMEM, "%s: key %s: no memory for %llu strings", c->path, KD_SHOW(kv->key), (unsigned long long)kv->count);
    for (uint64_t i = 0; i < kv->count; i++) {
        kd_str s;
        if (i % 8 == 0) marks[i / 8] = (uint64_t)(c->p + c->at - kv->value);
        kd_code r = take_str(c, KD_GGUF_STRING_MAX, &s, "a string", kv->key, e);
        if (r) return r;
        if (i % 1024 == 0) shed(c);
    }
    kv->marks = marks;
    return KD_OK;
}

static kd_code check_bools(const cursor *c, const kd_gguf_kv *kv, kd_err *e) {
    for (uint64_t i = 0; i < kv->count; i++)
        if (kv->value[i] > 1)
            return kd_fail(e, KD_EFORMAT, "%s: key %s: element %llu is the bool %u, expected 0 or 1", c->path, KD_SHOW(kv->key),
                           (unsigned long long)i, kv->value[i]);
    return KD_OK;
}

static kd_code read_value(kd_gguf_header *h, cursor *c, kd_gguf_kv *kv, kd_err *e) {
    uint64_t type;
    kd_code r = take(c, 4, &type, "the type", kv->key, e);
    if (r) return r;
    kv->count = 1;
    if (type == KD_GGUF_ARRAY) {
        kv->type = KD_GGUF_ARRAY;
        if ((r = take(c, 4, &type, "the element type", kv->key, e)) || (r = take(c, 8, &kv->count, "the count", kv->key, e))) return r;
        if (type == KD_GGUF_ARRAY)
            return kd_fail(e, KD_EFORMAT, "%s: key %s is an array of arrays, which is not read here", c->path, KD_SHOW(kv->key));
    }
    if (type >= KD_GGUF_TYPES)
        return kd_fail(e, KD_EFORMAT, "%s: key %s has type %llu, expected 0 to %d", c->path, KD_SHOW(kv->key), (unsigned long long)type,
                       KD_GGUF_TYPES - 1);
    kv->elem = (kd_gguf_type)type;
    if (kv->type != KD_GGUF_ARRAY) kv->type = kv->elem;
    kv->value = c->p + c->at;
    if (type == KD_GGUF_STRING && kv->type != KD_GGUF_ARRAY) {
        kd_str s;
        return take_str(c, KD_GGUF_STRING_MAX, &s, "the string", kv->key, e);
    }
    if (type == KD_GGUF_STRING) return walk_strings(h, c, kv, e);
    uint64_t bytes;
    if (!kd_mul_u64(kv->count, kd_gguf_type_bytes((int)type), &bytes))
        return kd_fail(e, KD_EFORMAT, "%s: key %s: %llu elements do not fit", c->path, KD_SHOW(kv->key), (unsigned long long)kv->count);
    if ((r = need(c, bytes, "the value", kv->key, e))) return r;
    if (type == KD_GGUF_BOOL && (r = check_bools(c, kv, e))) return r;
    c->at += (size_t)bytes;
    return KD_OK;
}

static kd_code read_keys(kd_gguf_header *h, cursor *c, uint64_t count, kd_err *e) {
    for (uint64_t i = 0; i < count; i++) {
        kd_gguf_kv kv = {0};
        kd_code r = take_str(c, KD_GGUF_KEY_MAX, &kv.key, "a key", (kd_str){0}, e);
        if (r) return r;
        for (size_t k = 0; k < kv.key.len; k++)
            if ((unsigned char)kv.key.data[k] < 0x20)
                return kd_fail(e, KD_EFORMAT, "%s: key \"%s\" has a control byte at %zu", c->path, KD_SHOW(kv.key), k);
        if (!kv.key.len) return kd_fail(e, KD_EFORMAT, "%s: key %llu is empty", c->path, (unsigned long long)i);
        if ((r = read_value(h, c, &kv, e))) return r;
        bool twice = false;
        void *p = h->kv;
        r = kd_grow(&p, &h->cap, h->n + 1, sizeof *h->kv);
        h->kv = p;
        if (!r) {
            h->kv[h->n++] = kv;
            r = kd_table_add(&h->keys, h->n - 1, h->kv, sizeof *h->kv, &twice);
        }
        if (r) return kd_fail(e, r, "%s: no memory for %llu keys", c->path, (unsigned long long)count);
        if (twice) return kd_fail(e, KD_EFORMAT, "%s: key %s is there twice", c->path, KD_SHOW(kv.key));
    }
    return KD_OK;
}

static const char *foreign_type(uint64_t t) {
    static const char *const NAMES[40] = {
        [4] = " (q4_2)",    [5] = " (q4_3)",     [9] = " (q8_1)",   [15] = " (q8_k)",  [16] = " (iq2_xxs)",
        [17] = " (iq2_xs)", [18] = " (iq3_xxs)", [19] = " (iq1_s)", [21] = " (iq3_s)", [22] = " (iq2_s)",
        [29] = " (iq1_m)",  [34] = " (tq1_0)",   [35] = " (tq2_0)"};
    return t < 40 && NAMES[t] ? NAMES[t] : "";
}

/* One entry of the tensor list; *at = where in the data it must begin, moved past it and its padding. */
static kd_code read_tensor(kd_tensors *set, cursor *c, size_t align, uint64_t *at, kd_err *e) {
    kd_tensor t = {0};
    kd_str name;
    uint64_t ndim, type, offset;
    kd_code r = take_str(c, KD_GGUF_NAME_MAX, &name, "a tensor's name", (kd_str){0}, e);
    if (r || (r = kd_check_name(name, KD_GGUF_NAME_MAX, c->path, e)) || (r = take(c, 4, &ndim, "the dimensions", name, e))) return r;
    if (ndim > KD_GGUF_DIMS_MAX)
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s has %llu dimensions, at most %d are legal", c->path, KD_SHOW(name),
                       (unsigned long long)ndim, KD_GGUF_DIMS_MAX);
    t.ndim = (int)ndim;
    for (int i = 0; i < KD_MAX_DIMS; i++) t.shape[i] = 1;
    for (int i = t.ndim - 1; i >= 0; i--)
        if ((r = take(c, 8, &t.shape[i], "a dimension", name, e))) return r;
    if ((r = take(c, 4, &type, "the type", name, e)) || (r = take(c, 8, &offset, "the offset", name, e))) return r;
    if (type >= KD_TYPES || !kd_dtype_get((int)type))
        return kd_fail(e, KD_EUNSUPPORTED, "%s: tensor %s has type %llu%s, which is not read here", c->path, KD_SHOW(name),
                       (unsigned long long)type, foreign_type(type));
    char shape[128];
    t.type = (kd_dtype)type;
    if (!kd_tensor_size((int)type, t.ndim, t.shape, &t.bytes))
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s: the size of shape %s of %s (rows in blocks of %zu) does not fit", c->path,
                       KD_SHOW(name), kd_shape_text(t.ndim, t.shape, shape, sizeof shape), kd_dtype_get((int)type)->name,
                       kd_dtype_get((int)type)->block);
    if (offset != *at)
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s begins at byte %llu of the data, expected %llu: %s", c->path, KD_SHOW(name),
                       (unsigned long long)offset, (unsigned long long)*at,
                       offset % align ? "misaligned"
                       : offset < *at ? "an overlap"
                                      : "a hole");
    t.offset = offset;
    uint64_t end;
    if (!kd_add_u64(*at, t.bytes, &end) || !kd_add_u64(end, align - 1, &end))
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s of %zu bytes goes past the end of any file", c->path, KD_SHOW(name), t.bytes);
    *at = end & ~(uint64_t)(align - 1);
    char *own = kd_arena_strndup(&set->text, name.data, name.len);
    if (!own) return kd_fail(e, KD_ENOMEM, "%s: no memory for the names of its tensors", c->path);
    t.name = (kd_str){own, name.len};
    return kd_tensors_add(set, &t, e);
}

static kd_code read_alignment(kd_gguf_header *h, const char *path, kd_err *e) {
    h->align = 32;
    size_t i = kd_table_find(&h->keys, KD_STR("general.alignment"), h->kv, sizeof *h->kv);
    if (i == KD_NONE) return KD_OK;
    if (h->kv[i].type != KD_GGUF_U32)
        return kd_fail(e, KD_EFORMAT, "%s: key general.alignment has type %s, expected u32", path, kd_gguf_type_name((int)h->kv[i].type));
    uint64_t a = kd_gguf_le(h->kv[i].value, 4);
    if (a < 8 || a > KD_GGUF_ALIGN_MAX || (a & (a - 1)))
        return kd_fail(e, KD_EFORMAT, "%s: general.alignment is %llu, expected a power of two from 8 to %u", path, (unsigned long long)a,
                       KD_GGUF_ALIGN_MAX);
    h->align = (size_t)a;
    return KD_OK;
}

static kd_code read_magic(kd_gguf_header *h, cursor *c, uint64_t *tensors, uint64_t *keys, kd_err *e) {
    uint64_t version = 0;
    if (c->n < 4 || memcmp(c->p, "GGUF", 4)) return kd_fail(e, KD_EFORMAT, "%s: does not begin with \"GGUF\"", c->path);
    c->at = 4;
    kd_code r = take(c, 4, &version, "the version", (kd_str){0}, e);
    if (r) return r;
    if (version != 2 && version != 3)
        return kd_fail(e, KD_EFORMAT, "%s: GGUF version %llu, expected 2 or 3%s", c->path, (unsigned long long)version,
                       version && !(version & 0xffff) ? " (a big-endian file)" : "");
    h->version = (uint32_t)version;
    if ((r = take(c, 8, tensors, "the count of tensors", (kd_str){0}, e)) || (r = take(c, 8, keys, "the count of keys", (kd_str){0}, e)))
        return r;
    /* The smallest key takes 14 bytes (length, one letter, type, value), the smallest tensor 25. */
    if (*keys > KD_GGUF_KEYS_MAX || *keys > (c->n - c->at) / 14)
        return kd_fail(e, KD_EFORMAT, "%s: %llu keys, at most %u are read and %zu bytes are left", c->path, (unsigned long long)*keys,
                       KD_GGUF_KEYS_MAX, c->n - c->at);
    if (*tensors > KD_GGUF_TENSORS_MAX || *tensors > (c->n - c->at) / 25)
        return kd_fail(e, KD_EFORMAT, "%s: %llu tensors, at most %u are read and %zu bytes are left", c->path, (unsigned long long)*tensors,
                       KD_GGUF_TENSORS_MAX, c->n - c->at);
    return KD_OK;
}

/* Reads the file of set's last map: its keys into h, its tensors behind those of set. */
static kd_code read_file(kd_gguf_header *h, kd_tensors *set, kd_err *e) {
    const kd_map *m = set->maps[set->files - 1];
    size_t size = kd_map_size(m), first = set->n;
    bool capped = size > KD_GGUF_HEADER_MAX;
    cursor c = {kd_map_data(m), capped ? KD_GGUF_HEADER_MAX : size, 0, kd_map_path(m), capped, m, 0};
    uint64_t tensors = 0, keys = 0, total = 0;
    kd_code r = read_magic(h, &c, &tensors, &keys, e);
    if (r || (r = read_keys(h, &c, keys, e)) || (r = read_alignment(h, c.path, e))) return r;
    for (uint64_t i = 0; i < tensors; i++) {
        if (set->n >= KD_GGUF_TENSORS_MAX) return kd_fail(e, KD_EFORMAT, "%s: more than %u tensors", c.path, KD_GGUF_TENSORS_MAX);
        if ((r = read_tensor(set, &c, h->align, &total, e))) return r;
    }
    size_t start = (c.at + h->align - 1) & ~(h->align - 1);
    bool vocabulary = tensors == 0 && size >= c.at && size <= start; /* nothing to align */
    if (!vocabulary && (start > size || total != size - start))
        return kd_fail(e, KD_EFORMAT, "%s: the tensors take %llu bytes from byte %zu on, the file has %zu", c.path,
                       (unsigned long long)total, start, size);
    for (size_t i = first; i < set->n; i++) {
        set->v[i].offset += start;
        set->v[i].data = c.p + set->v[i].offset;
        set->v[i].file = (uint32_t)(set->files - 1);
    }
    return kd_tensors_index(set, first, e);
}

static void header_clear(kd_gguf_header *h) {
    kd_free(h->kv);
    kd_table_clear(&h->keys);
    kd_arena_clear(&h->marks);
    *h = (kd_gguf_header){0};
}

static kd_code add_file(kd_gguf_header *h, kd_tensors *set, const char *path, kd_err *e) {
    kd_map *m;
    kd_code c = kd_map_open(&m, path, e);
    if (c || (c = kd_tensors_add_map(set, m, e))) return c;
    return read_file(h, set, e);
}

/* An integer of 0..limit under key; absent gives otherwise. */
static kd_code split_key(const kd_gguf_header *h, const char *key, int64_t limit, int64_t otherwise, int64_t *out, const char *path,
                         kd_err *e) {
    size_t i = kd_table_find(&h->keys, kd_str_of(key), h->kv, sizeof *h->kv);
    *out = otherwise;
    if (i != KD_NONE && (h->kv[i].type == KD_GGUF_ARRAY || !kd_gguf_elem_i64(&h->kv[i], 0, out) || *out < 0 || *out > limit))
        return kd_fail(e, KD_EFORMAT, "%s: key %s is %s, expected a whole number of 0 to %lld", path, key,
                       kd_gguf_type_name((int)h->kv[i].type), (long long)limit);
    return KD_OK;
}

/* STEM-00001-of-00003.gguf: the stem's length; false if path is not so or speaks of another number of parts. */
static bool part_stem(const char *path, int64_t parts, size_t *stem) {
    size_t n = strlen(path);
    char tail[64];
    int m = snprintf(tail, sizeof tail, "-of-%05lld.gguf", (long long)parts);
    if (m < 0 || n < (size_t)m + 6 || strcmp(path + n - (size_t)m, tail)) return false;
    const char *p = path + n - (size_t)m - 6;
    if (*p != '-' || strspn(p + 1, "0123456789") < 5) return false;
    *stem = (size_t)(p - path);
    return true;
}

/* All parts of a split file, of which path is one. g is empty. */
static kd_code add_parts(kd_gguf *g, const char *path, int64_t parts, size_t stem_len, kd_err *e) {
    char *stem = kd_strndup(path, stem_len), *dir = kd_path_folder(path);
    int64_t total = -1, v;
    kd_code c = stem && dir ? KD_OK : kd_fail(e, KD_ENOMEM, "%s: no memory for its parts", path);
    for (int64_t i = 0; i < parts && !c; i++) {
        kd_gguf_header other = {0}, *h = i ? &other : &g->h;
        char *part = kd_part_path(stem, (size_t)i + 1, (size_t)parts, ".gguf");
        if (!part)
            c = kd_fail(e, KD_ENOMEM, "%s: no memory for its parts", path);
        else if (!strcmp(part, path) || !(c = kd_check_inside(dir, kd_path_base(part), e)))
            c = add_file(h, &g->set, part, e);
        if (!c && !(c = split_key(h, "split.count", KD_GGUF_SPLITS_MAX, 0, &v, part, e)) && v != parts)
            c = kd_fail(e, KD_EFORMAT, "%s: split.count is %lld, expected %lld as its name says", part, (long long)v, (long long)parts);
        if (!c && !(c = split_key(h, "split.no", KD_GGUF_SPLITS_MAX, -1, &v, part, e)) && v != i)
            c = kd_fail(e, KD_EFORMAT, "%s: split.no is %lld, expected %lld as its name says", part, (long long)v, (long long)i);
        if (!c && !i) c = split_key(h, "split.tensors.count", KD_GGUF_TENSORS_MAX, -1, &total, part, e);
        kd_free(part);
        header_clear(&other);
    }
    if (!c && total >= 0 && (uint64_t)total != g->set.n)
        c = kd_fail(e, KD_EFORMAT, "%s: split.tensors.count is %lld, the parts hold %zu tensors", path, (long long)total, g->set.n);
    kd_free(stem);
    kd_free(dir);
    return c;
}

kd_code kd_gguf_open(kd_gguf **out, const char *path, kd_err *e) {
    *out = NULL;
    kd_gguf *g = kd_calloc(1, sizeof *g);
    if (!g) return kd_fail(e, KD_ENOMEM, "%s: no memory to open it", path);
    int64_t parts = 1;
    size_t stem;
    kd_code c = add_file(&g->h, &g->set, path, e);
    if (!c) c = split_key(&g->h, "split.count", KD_GGUF_SPLITS_MAX, 1, &parts, path, e);
    if (!c && parts > 1) {
        if (!part_stem(path, parts, &stem))
            c = kd_fail(e, KD_EFORMAT, "%s: split.count is %lld, so its name should end in -00001-of-%05lld.gguf", path, (long long)parts,
                        (long long)parts);
        else {
            kd_tensors_clear(&g->set);
            header_clear(&g->h);
            c = add_parts(g, path, parts, stem, e);
        }
    }
    if (c) {
        kd_gguf_close(g);
        return c;
    }
    *out = g;
    return KD_OK;
}

void kd_gguf_close(kd_gguf *g) {
    if (!g) return;
    kd_tensors_clear(&g->set);
    header_clear(&g->h);
    kd_free(g);
}
