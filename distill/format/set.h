/* distill/format/set.h - inside of the room: name tables, the making of tensor sets, and what both readers ask of names and paths.
 * Leans on tensor.h. Not for other rooms. */
#ifndef KD_FORMAT_SET_H
#define KD_FORMAT_SET_H

#include "distill/format/tensor.h"

/* Open addressing from names to places in an array whose elements begin with a kd_str. The seed is drawn at random: a file cannot
 * choose names that collide. {0} is empty; at most 2^31 names. */
typedef struct {
    struct kd_slot *slot;
    size_t cap, n;
    uint64_t seed;
} kd_table;
#define KD_NONE ((size_t)-1)
size_t kd_table_find(const kd_table *t, kd_str name, const void *items, size_t stride); /* KD_NONE if absent */
/* Adds items[i]; *twice = true, and nothing added, if its name is there already. KD_ENOMEM. */
kd_code kd_table_add(kd_table *t, size_t i, const void *items, size_t stride, bool *twice);
void kd_table_clear(kd_table *t);

struct kd_tensors {
    kd_tensor *v;
    size_t n, cap;
    kd_map **maps; /* owned */
    size_t files, files_cap;
    kd_arena text; /* names and other strings */
    kd_table table;
};
void kd_tensors_clear(kd_tensors *s);
kd_code kd_tensors_add_map(kd_tensors *s, kd_map *m, kd_err *e); /* takes m, also on failure */
kd_code kd_tensors_add(kd_tensors *s, const kd_tensor *t, kd_err *e);
/* Enters v[from..n) into the table; KD_EFORMAT for a name that is there twice. */
kd_code kd_tensors_index(kd_tensors *s, size_t from, kd_err *e);

/* A tensor's name as both formats must have it: not empty, at most max bytes, UTF-8, no control byte, no path (absolute, or with a part
 * "." or ".."), for names become file names in other people's tools. path names the file in messages. */
kd_code kd_check_name(kd_str name, size_t max, const char *path, kd_err *e);
/* Text out of a file made safe to print: cut, control bytes as '?'. Returns buf. */
const char *kd_show(kd_str s, char *buf, size_t n);
#define KD_SHOW(s) kd_show((s), (char[80]){0}, 80)

/* Refuses dir/name when links lead it out of dir. The hub's cache, where snapshots/REV/name links to blobs/, counts as inside. */
kd_code kd_check_inside(const char *dir, const char *name, kd_err *e);
/* The folder part of a path: "a/b" -> "a", "b" -> ".", "/b" -> "/". NULL = no memory. */
char *kd_path_folder(const char *path);
const char *kd_safetensors_type(kd_dtype t); /* "F32"; NULL if the format lacks it */
/* STEM-00002-of-00005SUFFIX. NULL = no memory. */
char *kd_part_path(const char *stem, size_t part, size_t parts, const char *suffix);

#endif
