/* distill/base/file.c - maps, whole-file reads, folders, path checks. Writing is in writer.c. Leans on mem.h, err.h. */
#include "distill/base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct kd_map {
    unsigned char *data;
    size_t size;
    char *path;
};

/* Opens a regular file for reading; -1 with *c and the message set. Never blocks on a fifo. */
static int open_regular(const char *path, struct stat *st, kd_code *c, kd_err *e) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        *c = kd_fail_errno(e, errno == ENOMEM ? KD_ENOMEM : KD_ENOENT, errno, "%s", path);
        return -1;
    }
    if (fstat(fd, st) != 0)
        *c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
    else if (S_ISDIR(st->st_mode))
        *c = kd_fail(e, KD_ENOENT, "%s: a folder, a file was expected", path);
    else if (!S_ISREG(st->st_mode))
        *c = kd_fail(e, KD_ENOENT, "%s: not a regular file", path);
    else
        return fd;
    (void)close(fd);
    return -1;
}

kd_code kd_map_open(kd_map **out, const char *path, kd_err *e) {
    struct stat st;
    kd_code c = KD_OK;
    *out = NULL;
    const int fd = open_regular(path, &st, &c, e);
    if (fd < 0) return c;
    kd_map *m = kd_calloc(1, sizeof *m);
    if (!m || !(m->path = kd_strdup(path))) {
        c = kd_fail(e, KD_ENOMEM, "%s: no memory", path);
        goto done;
    }
    if ((uintmax_t)st.st_size > SIZE_MAX / 2) {
        c = kd_fail(e, KD_EIO, "%s: %jd bytes do not fit the address space", path, (intmax_t)st.st_size);
        goto done;
    }
    m->size = (size_t)st.st_size;
    if (m->size > 0) {
        void *p = mmap(NULL, m->size, PROT_READ, MAP_SHARED, fd, 0);
        if (p == MAP_FAILED)
            c = kd_fail_errno(e, errno == ENOMEM ? KD_ENOMEM : KD_EIO, errno, "%s: cannot be mapped", path);
        else
            m->data = p;
    }
done:
    (void)close(fd);
    if (c) {
        kd_map_close(m);
        return c;
    }
    *out = m;
    return KD_OK;
}

const unsigned char *kd_map_data(const kd_map *m) { return m->data; }
size_t kd_map_size(const kd_map *m) { return m->size; }
const char *kd_map_path(const kd_map *m) { return m->path; }

void kd_map_advise(const kd_map *m, size_t offset, size_t n, kd_map_advice a) {
    static const int advice[] = {MADV_NORMAL, MADV_WILLNEED, MADV_DONTNEED, MADV_SEQUENTIAL};
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    if (!m->data || offset >= m->size) return;
    if (n > m->size - offset) n = m->size - offset;
    size_t from = offset - offset % page, to = offset + n;
    if (a == KD_MAP_DONTNEED) { /* only whole pages within: a neighbour may still be wanted */
        from = (offset + page - 1) / page * page;
        if (to != m->size) to -= to % page;
    }
    if (to > from) (void)madvise(m->data + from, to - from, advice[a]);
}

void kd_pages_release(const void *p, size_t n) {
#ifdef MADV_PAGEOUT
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)p + page - 1) / page * page,
                    to = ((uintptr_t)p + n) / page * page;
    if (to > from) (void)madvise((void *)from, to - from, MADV_PAGEOUT); /* unlike DONTNEED harmless to pages that are no file's */
#else
    (void)p, (void)n;
#endif
}

void kd_map_close(kd_map *m) {
    if (!m) return;
    if (m->data) (void)munmap(m->data, m->size);
    kd_free(m->path);
    kd_free(m);
}

/* Reads fd to its end into out. */
static kd_code read_all(kd_buf *out, int fd, const char *name, size_t limit, size_t guess, kd_err *e) {
    const size_t start = out->len;
    size_t step = guess < limit ? guess + 1 : limit;
    for (;;) {
        if (step < 65536) step = 65536;
        if (kd_buf_reserve(out, step)) return kd_fail(e, KD_ENOMEM, "%s: no memory for %zu bytes", name, out->len - start + step);
        const ssize_t got = read(fd, out->data + out->len, out->cap - out->len - 1);
        if (got < 0) {
            if (errno == EINTR) continue;
            return kd_fail_errno(e, KD_EIO, errno, "%s", name);
        }
        if (got == 0) break;
        out->len += (size_t)got;
        if (out->len - start > limit) return kd_fail(e, KD_EFORMAT, "%s: more than %zu bytes, the most that is read here", name, limit);
        step = 65536;
    }
    out->data[out->len] = '\0';
    return KD_OK;
}

kd_code kd_file_read(kd_buf *out, const char *path, size_t limit, kd_err *e) {
    const size_t before = out->len;
    kd_code c = KD_OK;
    if (strcmp(path, "-") == 0) {
        c = read_all(out, STDIN_FILENO, "standard input", limit, 0, e);
    } else {
        /* A pipe (process substitution) is welcome here, so this opens without asking for a regular file. */
        const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        struct stat st;
        if (fd < 0) return kd_fail_errno(e, KD_ENOENT, errno, "%s", path);
        if (fstat(fd, &st) != 0)
            c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
        else if (S_ISDIR(st.st_mode))
            c = kd_fail(e, KD_ENOENT, "%s: a folder, a file was expected", path);
        else if (S_ISREG(st.st_mode) && (uintmax_t)st.st_size > limit)
            c = kd_fail(e, KD_EFORMAT, "%s: %jd bytes, at most %zu are read here", path, (intmax_t)st.st_size, limit);
        else
            c = read_all(out, fd, path, limit, S_ISREG(st.st_mode) ? (size_t)st.st_size : 0, e);
        (void)close(fd);
    }
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

bool kd_file_exists(const char *path) {
    struct stat st;
    return stat(path, &st) == 0;
}

bool kd_is_dir(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

kd_code kd_file_size(const char *path, uint64_t *size, kd_err *e) {
    struct stat st;
    if (stat(path, &st) != 0) return kd_fail_errno(e, errno == ENOENT || errno == ENOTDIR ? KD_ENOENT : KD_EIO, errno, "%s", path);
    *size = (uint64_t)st.st_size;
    return KD_OK;
}

kd_code kd_mkdirs(const char *path, kd_err *e) {
    char *p = kd_strdup(path);
    kd_code c = KD_OK;
    if (!p) return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    for (char *s = p + (*p == '/');; s++) {
        if (*s != '/' && *s != '\0') continue;
        const char kept = *s;
        *s = '\0';
        if (*p && mkdir(p, 0777) != 0 && !kd_is_dir(p)) {
            c = errno == EEXIST ? kd_fail(e, KD_ECREATE, "%s: in the way, a folder was expected", p)
                                : kd_fail_errno(e, KD_ECREATE, errno, "%s: cannot be created", p);
            break;
        }
        *s = kept;
        if (!kept) break;
    }
    kd_free(p);
    return c;
}

/* The folder that holds path, the caller's; NULL = no memory. */
static char *parent_of(const char *path) {
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') n--;
    while (n > 0 && path[n - 1] != '/') n--;
    if (n == 0) return kd_strdup(".");
    while (n > 1 && path[n - 1] == '/') n--;
    return kd_strndup(path, n);
}

kd_code kd_fsync_dir(const char *path, kd_err *e) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return kd_fail_errno(e, KD_EIO, errno, "%s", path);
    kd_code c = KD_OK;
    /* Some file systems cannot sync a folder and say EINVAL; there is nothing more to be done then. */
    if (fsync(fd) != 0 && errno != EINVAL) c = kd_fail_errno(e, KD_EIO, errno, "%s: cannot be synced", path);
    (void)close(fd);
    return c;
}

kd_code kd_rename_dir(const char *from, const char *to, kd_err *e) {
    char *parent = parent_of(to);
    if (!parent) return kd_fail(e, KD_ENOMEM, "%s: no memory", to);
    kd_code c = KD_OK;
    if (renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE) != 0) {
        if (errno == EINVAL || errno == ENOSYS) { /* a file system without the flag */
            struct stat st;
            if (lstat(to, &st) == 0)
                c = kd_fail(e, KD_ECREATE, "%s: exists already", to);
            else if (rename(from, to) != 0)
                c = kd_fail_errno(e, KD_ECREATE, errno, "%s: cannot be renamed to %s", from, to);
        } else {
            c = errno == EEXIST ? kd_fail(e, KD_ECREATE, "%s: exists already", to)
                                : kd_fail_errno(e, KD_ECREATE, errno, "%s: cannot be renamed to %s", from, to);
        }
    }
    if (!c) c = kd_fsync_dir(parent, e);
    kd_free(parent);
    return c;
}

/* Removes name within the folder fd, and what is below it. depth bounds the recursion. */
static int remove_at(int at, const char *name, int depth) {
    if (unlinkat(at, name, 0) == 0 || errno == ENOENT) return 0;
    if (errno != EISDIR && errno != EPERM) return -1;
    const int fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return -1;
    if (depth > 200) {
        (void)close(fd);
        errno = ELOOP;
        return -1;
    }
    DIR *d = fdopendir(fd);
    if (!d) {
        (void)close(fd);
        return -1;
    }
    int rc = 0;
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            if (errno) rc = -1;
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if ((rc = remove_at(dirfd(d), entry->d_name, depth + 1)) != 0) break;
    }
    const int kept = errno;
    (void)closedir(d);
    errno = kept;
    if (rc == 0 && unlinkat(at, name, AT_REMOVEDIR) != 0 && errno != ENOENT) rc = -1;
    return rc;
}

kd_code kd_remove_tree(const char *path, kd_err *e) {
    return remove_at(AT_FDCWD, path, 0) == 0 ? KD_OK : kd_fail_errno(e, KD_EIO, errno, "%s: cannot be removed", path);
}

static int by_bytes(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

kd_code kd_list_dir(const char *path, char ***names, size_t *n, kd_err *e) {
    char **list = NULL;
    size_t count = 0, cap = 0;
    kd_code c = KD_OK;
    *names = NULL;
    *n = 0;
    DIR *d = opendir(path);
    if (!d) return kd_fail_errno(e, KD_ENOENT, errno, "%s", path);
    for (;;) {
        errno = 0;
        const struct dirent *entry = readdir(d);
        if (!entry) {
            if (errno) c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
            break;
        }
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0) continue;
        if (kd_grow((void **)&list, &cap, count + 1, sizeof *list) || !(list[count] = kd_strdup(entry->d_name))) {
            c = kd_fail(e, KD_ENOMEM, "%s: no memory for its names", path);
            break;
        }
        count++;
    }
    (void)closedir(d);
    if (c) {
        kd_names_free(list, count);
        return c;
    }
    if (count) qsort(list, count, sizeof *list, by_bytes);
    *names = list;
    *n = count;
    return KD_OK;
}

void kd_names_free(char **names, size_t n) {
    for (size_t i = 0; i < n; i++) kd_free(names[i]);
    kd_free(names);
}

kd_code kd_disk_free(const char *path, uint64_t *bytes, kd_err *e) {
    char *p = kd_strdup(path);
    if (!p) return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    kd_code c = KD_OK;
    struct statvfs s;
    while (statvfs(p, &s) != 0) {
        char *up = NULL;
        if ((errno != ENOENT && errno != ENOTDIR) || strcmp(p, ".") == 0 || strcmp(p, "/") == 0) {
            c = kd_fail_errno(e, KD_EIO, errno, "%s", path);
            goto done;
        }
        if (!(up = parent_of(p))) {
            c = kd_fail(e, KD_ENOMEM, "%s: no memory", path);
            goto done;
        }
        kd_free(p);
        p = up;
    }
    if (!kd_mul_u64(s.f_bavail, s.f_frsize, bytes)) *bytes = UINT64_MAX;
done:
    kd_free(p);
    return c;
}

char *kd_path_join(const char *dir, const char *name) {
    const size_t a = strlen(dir), b = strlen(name);
    const bool slash = a > 0 && dir[a - 1] != '/';
    size_t n;
    if (!kd_add_size(a, b, &n) || !kd_add_size(n, 2, &n)) return NULL;
    char *p = kd_malloc(n);
    if (!p) return NULL;
    memcpy(p, dir, a);
    if (slash) p[a] = '/';
    memcpy(p + a + slash, name, b + 1);
    return p;
}

const char *kd_path_base(const char *path) {
    const char *s = strrchr(path, '/');
    return s ? s + 1 : path;
}

bool kd_path_plain(kd_str name) {
    if (name.len == 0 || name.len > 255 || kd_str_is(name, ".") || kd_str_is(name, "..")) return false;
    for (size_t i = 0; i < name.len; i++) {
        const unsigned char c = (unsigned char)name.data[i];
        if (c < 0x20 || c == 0x7f || c == '/') return false;
    }
    return true;
}
