/* distill/base/file.h - files: mapped reading, writing that a kill cannot half-do, folders, path checks. Leans on mem.h, err.h. */
#ifndef KD_BASE_FILE_H
#define KD_BASE_FILE_H

#include "distill/base/mem.h"

/* A file mapped for reading, shared between processes. Refuses what is not a regular file.
 * The size is taken once, when it is opened. Who shortens the file in place while it is mapped makes a read beyond its new end raise
 * SIGBUS (distill/cli turns that into exit 74); a file replaced by rename, as kd_writer does it, leaves the map as it was. */
typedef struct kd_map kd_map;
kd_code kd_map_open(kd_map **out, const char *path, kd_err *e); /* KD_ENOENT, KD_EIO; an empty file maps to size 0 */
const unsigned char *kd_map_data(const kd_map *m);
size_t kd_map_size(const kd_map *m);
const char *kd_map_path(const kd_map *m);
typedef enum { KD_MAP_NORMAL, KD_MAP_WILLNEED, KD_MAP_DONTNEED, KD_MAP_SEQUENTIAL } kd_map_advice;
void kd_map_advise(const kd_map *m, size_t offset, size_t n, kd_map_advice a); /* a hint; never fails */
void kd_map_close(kd_map *m);
/* Tells the kernel that the whole pages within p[0..n) are not needed for now: those of a file leave memory, contents are kept. A hint; for
 * borrowed views into maps. */
void kd_pages_release(const void *p, size_t n);

/* The whole file, NUL-terminated behind its length; refused beyond limit bytes (KD_EFORMAT). "-" is standard input. */
kd_code kd_file_read(kd_buf *out, const char *path, size_t limit, kd_err *e);

/* Writes beside the target (PATH.tmp-PID-N), and only kd_writer_commit makes it PATH: fsync, rename, fsync of the folder.
 * Closing without commit removes it. Errors are sticky: commit reports the first. Messages name the path; a full disk is KD_EIO. */
typedef struct kd_writer kd_writer;
kd_code kd_writer_open(kd_writer **out, const char *path, kd_err *e);                    /* KD_ECREATE */
kd_code kd_writer_write(kd_writer *w, const void *p, size_t n, kd_err *e);               /* buffered */
kd_code kd_writer_pad(kd_writer *w, size_t n, kd_err *e);                                /* n zero bytes */
kd_code kd_writer_at(kd_writer *w, uint64_t offset, const void *p, size_t n, kd_err *e); /* overwrites or extends at offset (pwrite) */
uint64_t kd_writer_offset(const kd_writer *w);                                           /* bytes appended by write and pad */
kd_code kd_writer_commit(kd_writer *w, kd_err *e);                                       /* then only close is left */
void kd_writer_keep(kd_writer *w); /* closing without commit leaves the temporary file where it is, for a later run */
void kd_writer_close(kd_writer *w);
kd_code kd_file_write(const char *path, const void *p, size_t n, kd_err *e); /* open, write, commit, close */

bool kd_file_exists(const char *path);
bool kd_is_dir(const char *path);
kd_code kd_file_size(const char *path, uint64_t *size, kd_err *e);
kd_code kd_mkdirs(const char *path, kd_err *e);                     /* with parents; existing is fine */
kd_code kd_rename_dir(const char *from, const char *to, kd_err *e); /* atomic; to must not exist; fsyncs the parent */
kd_code kd_fsync_dir(const char *path, kd_err *e);
kd_code kd_remove_tree(const char *path, kd_err *e); /* never follows links; absent is fine */
/* Names in a folder, sorted by bytes, without . and ..; freed with kd_names_free. */
kd_code kd_list_dir(const char *path, char ***names, size_t *n, kd_err *e);
void kd_names_free(char **names, size_t n);
kd_code kd_disk_free(const char *path, uint64_t *bytes, kd_err *e); /* for an ordinary user, at path or its nearest existing parent */

char *kd_path_join(const char *dir, const char *name); /* NULL = no memory */
const char *kd_path_base(const char *path);            /* what follows the last '/' */
/* True if name is one plain file name: not empty, no '/', no NUL or control byte, not "." or "..", at most 255 bytes. For names out of files. */
bool kd_path_plain(kd_str name);

#endif
