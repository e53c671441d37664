/* distill/format/tensor.c - sizes and names of tensors, sets with lookup, paths of parts. Leans on set.h, base/hash.h, base/utf8.h. */
#include "distill/format/set.h"

#include "distill/base/clock.h"
#include "distill/base/hash.h"
#include "distill/base/utf8.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

bool kd_tensor_size(int type, int ndim, const uint64_t *shape, size_t *bytes) {
    const kd_dtype_info *info = kd_dtype_get(type);
    if (!info || ndim < 0 || ndim > KD_MAX_DIMS) return false;
    /* A dimension of 0 must not hide that the others overflow: the product is taken over max(dim, 1), and emptied at the end. */
    size_t n = 1, cols = 1;
    bool empty = false;
    for (int i = 0; i < ndim; i++) {
        if (shape[i] > SIZE_MAX / 2 || !kd_mul_size(n, shape[i] ? (size_t)shape[i] : 1, &n)) return false;
        empty |= shape[i] == 0;
    }
    if (ndim) cols = (size_t)shape[ndim - 1];
    size_t total;
    if (cols % info->block || n > PTRDIFF_MAX || !kd_mul_size(n / info->block + 1, info->bytes, &total) || total > PTRDIFF_MAX)
        return false;
    if (ndim == 0 && info->block != 1) return false;
    *bytes = empty ? 0 : n / info->block * info->bytes;
    return true;
}

const char *kd_shape_text(int ndim, const uint64_t *shape, char *buf, size_t n) {
    size_t at = 0;
    if (!n) return "";
    buf[0] = 0;
    for (int i = 0; i < ndim && at < n; i++)
        at += (size_t)snprintf(buf + at, n - at, "%s%llu", i ? ", " : "[", (unsigned long long)shape[i]);
    if (at < n) snprintf(buf + at, n - at, ndim ? "]" : "[]");
    return buf;
}

struct kd_slot {
    uint32_t hash, at; /* at: place + 1, 0 = free */
};

static kd_str name_at(const void *items, size_t stride, size_t i) {
    kd_str s;
    memcpy(&s, (const char *)items + i * stride, sizeof s);
    return s;
}

size_t kd_table_find(const kd_table *t, kd_str name, const void *items, size_t stride) {
    if (!t->n) return KD_NONE;
    uint64_t h = kd_hash64(name.data, name.len, t->seed);
    for (size_t k = (size_t)h & (t->cap - 1); t->slot[k].at; k = (k + 1) & (t->cap - 1))
        if (t->slot[k].hash == (uint32_t)(h >> 32) && kd_str_eq(name_at(items, stride, t->slot[k].at - 1), name)) return t->slot[k].at - 1;
    return KD_NONE;
}

static kd_code table_grow(kd_table *t, const void *items, size_t stride) {
    size_t cap = t->cap ? t->cap * 2 : 64;
    struct kd_slot *slot = kd_calloc(cap, sizeof *slot);
    if (!slot) return KD_ENOMEM;
    if (!t->seed && getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) != (ssize_t)sizeof t->seed)
        t->seed = kd_now_ns() ^ (uint64_t)(uintptr_t)slot;
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slot[i].at) continue;
        kd_str name = name_at(items, stride, t->slot[i].at - 1);
        size_t k = (size_t)kd_hash64(name.data, name.len, t->seed) & (cap - 1);
        while (slot[k].at) k = (k + 1) & (cap - 1);
        slot[k] = t->slot[i];
    }
    kd_free(t->slot);
    t->slot = slot;
    t->cap = cap;
    return KD_OK;
}

kd_code kd_table_add(kd_table *t, size_t i, const void *items, size_t stride, bool *twice) {
    if (t->n + t->n / 2 + 1 > t->cap) {
        kd_code c = table_grow(t, items, stride);
        if (c) return c;
    }
    kd_str name = name_at(items, stride, i);
    uint64_t h = kd_hash64(name.data, name.len, t->seed);
    size_t k = (size_t)h & (t->cap - 1);
    for (; t->slot[k].at; k = (k + 1) & (t->cap - 1)) {
        if (t->slot[k].hash == (uint32_t)(h >> 32) && kd_str_eq(name_at(items, stride, t->slot[k].at - 1), name)) {
            *twice = true;
            return KD_OK;
        }
    }
    t->slot[k] = (struct kd_slot){(uint32_t)(h >> 32), (uint32_t)i + 1};
    t->n++;
    *twice = false;
    return KD_OK;
}

void kd_table_clear(kd_table *t) {
    kd_free(t->slot);
    *t = (kd_table){0};
}

void kd_tensors_clear(kd_tensors *s) {
    for (size_t i = 0; i < s->files; i++) kd_map_close(s->maps[i]);
    kd_free(s->maps);
    kd_free(s->v);
    kd_arena_clear(&s->text);
    kd_table_clear(&s->table);
    *s = (kd_tensors){0};
}

kd_code kd_tensors_add_map(kd_tensors *s, kd_map *m, kd_err *e) {
    void *p = s->maps;
    kd_code c = kd_grow(&p, &s->files_cap, s->files + 1, sizeof *s->maps);
    s->maps = p;
    if (c) {
        c = kd_fail(e, c, "%s: no memory for its map", kd_map_path(m));
        kd_map_close(m);
        return c;
    }
    s->maps[s->files++] = m;
    return KD_OK;
}

kd_code kd_tensors_add(kd_tensors *s, const kd_tensor *t, kd_err *e) {
    void *p = s->v;
    kd_code c = kd_grow(&p, &s->cap, s->n + 1, sizeof *s->v);
    s->v = p;
    if (c) return kd_fail(e, c, "no memory for %zu tensors", s->n + 1);
    s->v[s->n++] = *t;
    return KD_OK;
}

kd_code kd_tensors_index(kd_tensors *s, size_t from, kd_err *e) {
    for (size_t i = from; i < s->n; i++) {
        bool twice;
        kd_code c = kd_table_add(&s->table, i, s->v, sizeof *s->v, &twice);
        if (c) return kd_fail(e, c, "no memory for the names of %zu tensors", s->n);
        if (twice) return kd_fail(e, KD_EFORMAT, "%s: tensor %s is there twice", kd_map_path(s->maps[s->v[i].file]), KD_SHOW(s->v[i].name));
    }
    return KD_OK;
}

size_t kd_tensors_count(const kd_tensors *s) { return s->n; }
const kd_tensor *kd_tensors_at(const kd_tensors *s, size_t i) { return &s->v[i]; }
const kd_tensor *kd_tensors_find_str(const kd_tensors *s, kd_str name) {
    size_t i = kd_table_find(&s->table, name, s->v, sizeof *s->v);
    return i == KD_NONE ? NULL : &s->v[i];
}
const kd_tensor *kd_tensors_find(const kd_tensors *s, const char *name) { return kd_tensors_find_str(s, kd_str_of(name)); }
size_t kd_tensors_files(const kd_tensors *s) { return s->files; }
const kd_map *kd_tensors_map(const kd_tensors *s, uint32_t file) { return s->maps[file]; }
void kd_tensors_advise(const kd_tensors *s, const kd_tensor *t, kd_map_advice a) {
    kd_map_advise(s->maps[t->file], (size_t)t->offset, t->bytes, a);
}

const char *kd_show(kd_str s, char *buf, size_t n) {
    size_t m = s.len < n - 1 ? s.len : n - 1;
    if (m < s.len && n > 4) m = n - 4;
    if (m) memcpy(buf, s.data, m);
    size_t cut = m < s.len ? kd_utf8_partial(buf, m) : 0;
    m -= cut;
    for (size_t i = 0; i < m; i++)
        if ((unsigned char)buf[i] < 0x20 || buf[i] == 0x7f) buf[i] = '?';
    memcpy(buf + m, m + cut < s.len ? "..." : "", m + cut < s.len ? 4 : 1);
    return buf;
}

kd_code kd_check_name(kd_str name, size_t max, const char *path, kd_err *e) {
    if (!name.len || name.len > max)
        return kd_fail(e, KD_EFORMAT, "%s: tensor name \"%s\" has %zu bytes, expected 1 to %zu", path, KD_SHOW(name), name.len, max);
    if (!kd_utf8_valid(name.data, name.len)) return kd_fail(e, KD_EFORMAT, "%s: tensor name of %zu bytes is not UTF-8", path, name.len);
    size_t part = 0;
    for (size_t i = 0; i <= name.len; i++) {
        char c = i < name.len ? name.data[i] : '/';
        if ((unsigned char)c < 0x20 || c == 0x7f)
            return kd_fail(e, KD_EFORMAT, "%s: tensor name \"%s\" has a control byte at %zu", path, KD_SHOW(name), i);
        if (c != '/' && c != '\\') continue;
        size_t n = i - part;
        if (n == 0 || (n == 1 && name.data[part] == '.') || (n == 2 && !memcmp(name.data + part, "..", 2)))
            return kd_fail(e, KD_EFORMAT, "%s: tensor name \"%s\" has parts of a path", path, KD_SHOW(name));
        part = i + 1;
    }
    return KD_OK;
}

char *kd_path_folder(const char *path) {
    const char *base = kd_path_base(path);
    if (base == path) return kd_strdup(".");
    size_t n = (size_t)(base - path);
    while (n > 1 && path[n - 1] == '/') n--;
    return kd_strndup(path, n);
}

static bool inside(const char *dir, const char *file) {
    size_t n = strlen(dir);
    return !strncmp(dir, file, n) && (file[n] == '/' || (n && dir[n - 1] == '/'));
}

/* dir = X/snapshots/REV and file in X/blobs */
static bool in_hub_blobs(char *dir, const char *file) {
    char *rev = strrchr(dir, '/');
    if (!rev) return false;
    *rev = 0;
    char *snap = strrchr(dir, '/');
    if (!snap || strcmp(snap, "/snapshots")) return false;
    memcpy(snap, "/blobs", sizeof "/blobs"); /* shorter than what stands there */
    return inside(dir, file);
}

kd_code kd_check_inside(const char *dir, const char *name, kd_err *e) {
    char real_dir[PATH_MAX], real_file[PATH_MAX];
    char *path = kd_path_join(dir, name);
    if (!path) return kd_fail(e, KD_ENOMEM, "%s: no memory for the path of %s", dir, name);
    kd_code c = KD_OK;
    if (!realpath(dir, real_dir) || !realpath(path, real_file))
        c = kd_fail_errno(e, KD_ENOENT, errno, "%s", path);
    else if (!inside(real_dir, real_file) && !in_hub_blobs(real_dir, real_file))
        c = kd_fail(e, KD_EFORMAT, "%s: a link that leads out of its folder, to %s", path, real_file);
    kd_free(path);
    return c;
}

char *kd_part_path(const char *stem, size_t part, size_t parts, const char *suffix) {
    kd_buf b = {0};
    if (kd_buf_printf(&b, "%s-%05zu-of-%05zu%s", stem, part, parts, suffix)) {
        kd_buf_clear(&b);
        return NULL;
    }
    return kd_buf_take(&b);
}
