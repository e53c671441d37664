/* distill/format/safetensors.c - the reader: headers, indexes, and the checks that everything else relies on.
 * Leans on set.h, scan.h. The writer is safetensors_write.c. */
#include "distill/format/safetensors.h"

#include "distill/format/scan.h"
#include "distill/format/set.h"

#include <stdlib.h>
#include <string.h>

#define NAME_MAX_BYTES 1024
#define INDEX_MAX (32u << 20)

typedef struct {
    kd_str key, value;
} pair;

struct kd_safetensors {
    kd_tensors set;
    pair *meta; /* of the first file */
    size_t metas, metas_cap;
};

static const struct {
    const char *name;
    kd_dtype type;
} TYPES[] = {{"F64", KD_F64}, {"F32", KD_F32}, {"F16", KD_F16}, {"BF16", KD_BF16}, {"F8_E4M3", KD_F8_E4M3}, {"I64", KD_I64},
             {"I32", KD_I32}, {"I16", KD_I16}, {"I8", KD_I8},   {"U8", KD_U8},     {"BOOL", KD_BOOL}};

const char *kd_safetensors_type(kd_dtype t) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (TYPES[i].type == t) return TYPES[i].name;
    return NULL;
}

/* "__metadata__": {string: string ...} */
static kd_code read_meta(kd_safetensors *s, kd_scan *j, bool keep, kd_err *e) {
    kd_table seen = {0};
    pair *v = NULL;
    size_t n = 0, cap = 0;
    bool more = true, twice = false;
    kd_code c = kd_scan_expect(j, '{', e);
    while (!c && !(c = kd_scan_more(j, '}', n == 0, &more, e)) && more) {
        void *p = v;
        if ((c = kd_grow(&p, &cap, n + 1, sizeof *v))) kd_fail(e, c, "%s: no memory for its metadata", j->what);
        v = p;
        if (c || (c = kd_scan_string(j, &v[n].key, false, e)) || (c = kd_scan_expect(j, ':', e)) ||
            (c = kd_scan_string(j, &v[n].value, true, e)))
            break;
        if ((c = kd_table_add(&seen, n, v, sizeof *v, &twice)))
            kd_fail(e, c, "%s: no memory for its metadata", j->what);
        else if (twice)
            c = kd_fail(e, KD_EFORMAT, "%s: metadata key %s is there twice", j->what, KD_SHOW(v[n].key));
        n++;
    }
    kd_table_clear(&seen);
    if (!c && keep) {
        s->meta = v;
        s->metas = n;
        return KD_OK;
    }
    kd_free(v);
    return c;
}

static kd_code read_dtype(kd_scan *j, kd_tensor *t, kd_err *e) {
    kd_str name;
    kd_code c = kd_scan_string(j, &name, false, e);
    if (c) return c;
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (kd_str_is(name, TYPES[i].name)) {
            t->type = TYPES[i].type;
            return KD_OK;
        }
    return kd_fail(e, KD_EUNSUPPORTED, "%s: tensor %s has dtype \"%s\", which is not read here", j->what, KD_SHOW(t->name), KD_SHOW(name));
}

static kd_code read_shape(kd_scan *j, kd_tensor *t, kd_err *e) {
    bool more = true;
    kd_code c = kd_scan_expect(j, '[', e);
    for (int i = 0; i < KD_MAX_DIMS; i++) t->shape[i] = 1;
    while (!c && !(c = kd_scan_more(j, ']', t->ndim == 0, &more, e)) && more) {
        if (t->ndim == KD_MAX_DIMS)
            return kd_fail(e, KD_EFORMAT, "%s: tensor %s has more than %d dimensions", j->what, KD_SHOW(t->name), KD_MAX_DIMS);
        c = kd_scan_u64(j, &t->shape[t->ndim], e);
        t->ndim += !c;
    }
    return c;
}

/* {"dtype": ..., "shape": [...], "data_offsets": [begin, end]}, in any order, each once; begin into t->offset, from the start of the data */
static kd_code read_entry(kd_scan *j, kd_tensor *t, kd_err *e) {
    unsigned have = 0;
    uint64_t begin = 0, end = 0;
    bool more = true;
    kd_code c = kd_scan_expect(j, '{', e);
    while (!c && !(c = kd_scan_more(j, '}', have == 0, &more, e)) && more) {
        kd_str key;
        if ((c = kd_scan_string(j, &key, false, e)) || (c = kd_scan_expect(j, ':', e))) return c;
        unsigned bit = kd_str_is(key, "dtype") ? 1 : kd_str_is(key, "shape") ? 2 : kd_str_is(key, "data_offsets") ? 4 : 0;
        if (!bit || (have & bit))
            return kd_fail(e, KD_EFORMAT, "%s: tensor %s has \"%s\" %s", j->what, KD_SHOW(t->name), KD_SHOW(key),
                           bit ? "twice" : "beside dtype, shape and data_offsets");
        have |= bit;
        if (bit == 1)
            c = read_dtype(j, t, e);
        else if (bit == 2)
            c = read_shape(j, t, e);
        else if (!(c = kd_scan_expect(j, '[', e)) && !(c = kd_scan_u64(j, &begin, e)) && !(c = kd_scan_expect(j, ',', e)) &&
                 !(c = kd_scan_u64(j, &end, e)))
            c = kd_scan_expect(j, ']', e);
    }
    if (c) return c;
    if (have != 7)
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s lacks %s", j->what, KD_SHOW(t->name),
                       !(have & 1)   ? "dtype"
                       : !(have & 2) ? "shape"
                                     : "data_offsets");
    char shape[128];
    kd_shape_text(t->ndim, t->shape, shape, sizeof shape);
    if (!kd_tensor_size((int)t->type, t->ndim, t->shape, &t->bytes))
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s: the size of shape %s does not fit", j->what, KD_SHOW(t->name), shape);
    if (end < begin || end - begin != t->bytes)
        return kd_fail(e, KD_EFORMAT, "%s: tensor %s: shape %s of %s takes %zu bytes, data_offsets are %llu to %llu", j->what,
                       KD_SHOW(t->name), shape, kd_safetensors_type(t->type), t->bytes, (unsigned long long)begin, (unsigned long long)end);
    t->offset = begin;
    return KD_OK;
}

static int by_place(const void *a, const void *b) {
    const kd_tensor *x = a, *y = b;
    if (x->offset != y->offset) return x->offset < y->offset ? -1 : 1;
    return x->bytes < y->bytes ? -1 : x->bytes > y->bytes;
}

/* Sorts the tensors from first on by place, and sees that they fill the data section without gap or overlap; then points them into it. */
static kd_code place(kd_tensors *set, size_t first, size_t header, kd_err *e) {
    const kd_map *m = set->maps[set->files - 1];
    uint64_t data = kd_map_size(m) - 8 - header, at = 0;
    bool sorted = true;
    for (size_t i = first + 1; i < set->n && sorted; i++) sorted = by_place(&set->v[i - 1], &set->v[i]) <= 0;
    if (!sorted) qsort(set->v + first, set->n - first, sizeof *set->v, by_place);
    for (size_t i = first; i < set->n; i++) {
        kd_tensor *t = &set->v[i];
        if (t->offset != at)
            return kd_fail(e, KD_EFORMAT, "%s: tensor %s begins at byte %llu of the data, expected %llu: %s", kd_map_path(m),
                           KD_SHOW(t->name), (unsigned long long)t->offset, (unsigned long long)at,
                           t->offset < at ? "an overlap" : "a hole");
        if (t->bytes > data - at)
            return kd_fail(e, KD_EFORMAT, "%s: tensor %s ends at byte %llu of the data, the file holds %llu", kd_map_path(m),
                           KD_SHOW(t->name), (unsigned long long)(at + t->bytes), (unsigned long long)data);
        at += t->bytes;
        t->offset += 8 + header;
        t->data = kd_map_data(m) + t->offset;
        t->file = (uint32_t)(set->files - 1);
    }
    if (at != data)
        return kd_fail(e, KD_EFORMAT, "%s: the tensors end at byte %llu of the data, the file holds %llu", kd_map_path(m),
                       (unsigned long long)at, (unsigned long long)data);
    return KD_OK;
}

static kd_code read_header(kd_safetensors *s, kd_scan *j, kd_err *e) {
    bool more = true, meta = false;
    size_t from = s->set.n;
    kd_code c = kd_scan_expect(j, '{', e);
    while (!c && !(c = kd_scan_more(j, '}', s->set.n == from && !meta, &more, e)) && more) {
        kd_tensor t = {0};
        if ((c = kd_scan_string(j, &t.name, false, e)) || (c = kd_scan_expect(j, ':', e))) return c;
        if (kd_str_is(t.name, "__metadata__")) {
            if (meta) return kd_fail(e, KD_EFORMAT, "%s: __metadata__ is there twice", j->what);
            meta = true;
            c = read_meta(s, j, s->set.files == 1, e);
            continue;
        }
        if (s->set.n >= KD_SAFETENSORS_TENSORS_MAX)
            return kd_fail(e, KD_EFORMAT, "%s: more than %u tensors", j->what, KD_SAFETENSORS_TENSORS_MAX);
        if (!(c = kd_check_name(t.name, NAME_MAX_BYTES, j->what, e)) && !(c = read_entry(j, &t, e))) c = kd_tensors_add(&s->set, &t, e);
    }
    return c ? c : kd_scan_end(j, e);
}

/* Maps one file and adds its tensors. */
static kd_code add_file(kd_safetensors *s, const char *path, kd_err *e) {
    kd_map *m;
    kd_code c = kd_map_open(&m, path, e);
    if (c || (c = kd_tensors_add_map(&s->set, m, e))) return c;
    size_t size = kd_map_size(m), first = s->set.n;
    if (size < 10) return kd_fail(e, KD_EFORMAT, "%s: %zu bytes, a safetensors file has 10 or more", path, size);
    const unsigned char *p = kd_map_data(m);
    uint64_t header = 0;
    for (int i = 7; i >= 0; i--) header = header << 8 | p[i];
    if (header > size - 8)
        return kd_fail(e, KD_EFORMAT, "%s: header length %llu goes past the end, the file has %zu bytes", path, (unsigned long long)header,
                       size);
    if (header > KD_SAFETENSORS_HEADER_MAX)
        return kd_fail(e, KD_EFORMAT, "%s: header length %llu, at most %u are read", path, (unsigned long long)header,
                       KD_SAFETENSORS_HEADER_MAX);
    if (header < 2 || p[8] != '{')
        return kd_fail(e, KD_EFORMAT, "%s: header of %llu bytes does not begin with '{'", path, (unsigned long long)header);
    kd_scan j;
    if ((c = kd_scan_init(&j, (const char *)p + 8, (size_t)header, path, &s->set.text, e)) || (c = read_header(s, &j, e)) ||
        (c = place(&s->set, first, (size_t)header, e)))
        return c;
    return kd_tensors_index(&s->set, first, e);
}

/* An index: which tensor is in which file. */
typedef struct {
    kd_str name;
    uint32_t file;
} where;
typedef struct {
    where *v;
    kd_str *files;
    size_t n, cap, nfiles, files_cap;
    kd_table names, file_names;
    kd_arena text;
} index_map;

static void index_clear(index_map *x) {
    kd_free(x->v);
    kd_free(x->files);
    kd_table_clear(&x->names);
    kd_table_clear(&x->file_names);
    kd_arena_clear(&x->text);
}

static kd_code index_file(index_map *x, kd_str file, const char *path, uint32_t *out, kd_err *e) {
    size_t i = kd_table_find(&x->file_names, file, x->files, sizeof *x->files);
    if (i == KD_NONE) {
        bool twice;
        void *p = x->files;
        if (!kd_path_plain(file) || !kd_str_ends(file, ".safetensors"))
            return kd_fail(e, KD_EFORMAT, "%s: weight_map names \"%s\", expected a .safetensors file of the same folder", path,
                           KD_SHOW(file));
        if (x->nfiles == KD_SAFETENSORS_SHARDS_MAX)
            return kd_fail(e, KD_EFORMAT, "%s: weight_map names more than %u files", path, KD_SAFETENSORS_SHARDS_MAX);
        kd_code c = kd_grow(&p, &x->files_cap, x->nfiles + 1, sizeof *x->files);
        x->files = p;
        if (!c) {
            x->files[i = x->nfiles++] = file;
            c = kd_table_add(&x->file_names, i, x->files, sizeof *x->files, &twice);
        }
        if (c) return kd_fail(e, c, "%s: no memory for its index", path);
    }
    *out = (uint32_t)i;
    return KD_OK;
}

static kd_code index_entry(index_map *x, kd_scan *j, kd_err *e) {
    where w = {0};
    kd_str file;
    bool twice;
    kd_code c;
    if ((c = kd_scan_string(j, &w.name, false, e)) || (c = kd_check_name(w.name, NAME_MAX_BYTES, j->what, e)) ||
        (c = kd_scan_expect(j, ':', e)) || (c = kd_scan_string(j, &file, false, e)) || (c = index_file(x, file, j->what, &w.file, e)))
        return c;
    if (x->n >= KD_SAFETENSORS_TENSORS_MAX) return kd_fail(e, KD_EFORMAT, "%s: more than %u tensors", j->what, KD_SAFETENSORS_TENSORS_MAX);
    void *p = x->v;
    c = kd_grow(&p, &x->cap, x->n + 1, sizeof *x->v);
    x->v = p;
    if (!c) {
        x->v[x->n] = w;
        c = kd_table_add(&x->names, x->n, x->v, sizeof *x->v, &twice);
    }
    if (c) return kd_fail(e, c, "%s: no memory for its index", j->what);
    if (twice) return kd_fail(e, KD_EFORMAT, "%s: weight_map names tensor %s twice", j->what, KD_SHOW(w.name));
    x->n++;
    return KD_OK;
}

static kd_code read_index(index_map *x, const kd_map *m, kd_err *e) {
    const char *path = kd_map_path(m);
    kd_scan j;
    bool more = true, members = true, first = true, have = false;
    if (kd_map_size(m) > INDEX_MAX)
        return kd_fail(e, KD_EFORMAT, "%s: %zu bytes, an index of at most %u is read", path, kd_map_size(m), INDEX_MAX);
    kd_code c = kd_scan_init(&j, (const char *)kd_map_data(m), kd_map_size(m), path, &x->text, e);
    if (c || (c = kd_scan_expect(&j, '{', e))) return c;
    for (; !(c = kd_scan_more(&j, '}', first, &members, e)) && members; first = false) {
        kd_str key;
        if ((c = kd_scan_string(&j, &key, true, e)) || (c = kd_scan_expect(&j, ':', e))) return c;
        if (!kd_str_is(key, "weight_map")) {
            if ((c = kd_scan_skip(&j, e))) return c;
            continue;
        }
        if (have) return kd_fail(e, KD_EFORMAT, "%s: weight_map is there twice", path);
        have = true;
        c = kd_scan_expect(&j, '{', e);
        while (!c && !(c = kd_scan_more(&j, '}', x->n == 0, &more, e)) && more) c = index_entry(x, &j, e);
        if (c) return c;
    }
    if (!c && !have) c = kd_fail(e, KD_EFORMAT, "%s: expected a weight_map, found none", path);
    return c ? c : kd_scan_end(&j, e);
}

/* Every tensor of the index is in the file that it names. (What the files hold besides is there to be loaded, as transformers does.) */
static kd_code check_index(const kd_safetensors *s, const index_map *x, const char *path, kd_err *e) {
    for (size_t i = 0; i < x->n; i++) {
        const kd_tensor *t = kd_tensors_find_str(&s->set, x->v[i].name);
        if (!t || t->file != x->v[i].file)
            return kd_fail(e, KD_EFORMAT, "%s: tensor %s is not in %s", path, KD_SHOW(x->v[i].name), KD_SHOW(x->files[x->v[i].file]));
    }
    return KD_OK;
}

static kd_code add_indexed(kd_safetensors *s, const char *path, kd_err *e) {
    index_map x = {0};
    char *dir = NULL;
    kd_map *m = NULL;
    kd_code c = kd_map_open(&m, path, e);
    if (c) return c;
    if ((c = read_index(&x, m, e))) goto done;
    if (!(dir = kd_path_folder(path))) {
        c = kd_fail(e, KD_ENOMEM, "%s: no memory for its folder", path);
        goto done;
    }
    for (size_t i = 0; i < x.nfiles && !c; i++) {
        char *file = NULL;
        if (!(c = kd_check_inside(dir, x.files[i].data, e))) {
            file = kd_path_join(dir, x.files[i].data);
            c = file ? add_file(s, file, e) : kd_fail(e, KD_ENOMEM, "%s: no memory for its shards", path);
        }
        kd_free(file);
    }
    if (!c) c = check_index(s, &x, path, e);
done:
    index_clear(&x);
    kd_free(dir);
    kd_map_close(m);
    return c;
}

static kd_code add_folder(kd_safetensors *s, const char *dir, kd_err *e) {
    static const char *const NAMES[] = {"model.safetensors", "model.safetensors.index.json", "adapter_model.safetensors"};
    for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES; i++) {
        char *path = kd_path_join(dir, NAMES[i]);
        if (!path) return kd_fail(e, KD_ENOMEM, "%s: no memory for a path", dir);
        if (!kd_file_exists(path)) {
            kd_free(path);
            continue;
        }
        kd_code c = kd_check_inside(dir, NAMES[i], e);
        if (!c) c = i == 1 ? add_indexed(s, path, e) : add_file(s, path, e);
        kd_free(path);
        return c;
    }
    return kd_fail(e, KD_ENOENT, "%s: no model.safetensors, model.safetensors.index.json or adapter_model.safetensors in it", dir);
}

kd_code kd_safetensors_open(kd_safetensors **out, const char *path, kd_err *e) {
    *out = NULL;
    kd_safetensors *s = kd_calloc(1, sizeof *s);
    if (!s) return kd_fail(e, KD_ENOMEM, "%s: no memory to open it", path);
    kd_code c;
    if (kd_is_dir(path))
        c = add_folder(s, path, e);
    else if (kd_str_ends(kd_str_of(path), ".json"))
        c = add_indexed(s, path, e);
    else
        c = add_file(s, path, e);
    if (c) {
        kd_safetensors_close(s);
        return c;
    }
    *out = s;
    return KD_OK;
}

void kd_safetensors_close(kd_safetensors *s) {
    if (!s) return;
    kd_tensors_clear(&s->set);
    kd_free(s->meta);
    kd_free(s);
}

const kd_tensors *kd_safetensors_tensors(const kd_safetensors *s) { return &s->set; }

kd_str kd_safetensors_meta(const kd_safetensors *s, const char *key) {
    for (size_t i = 0; i < s->metas; i++)
        if (kd_str_is(s->meta[i].key, key)) return s->meta[i].value;
    return (kd_str){NULL, 0};
}
size_t kd_safetensors_meta_count(const kd_safetensors *s) { return s->metas; }
void kd_safetensors_meta_at(const kd_safetensors *s, size_t i, kd_str *key, kd_str *value) {
    *key = s->meta[i].key;
    *value = s->meta[i].value;
}
