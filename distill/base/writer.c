/* distill/base/writer.c - writing a file so that a kill leaves the old one or the new one, never half of either.
 * The other half of file.h. Leans on mem.h, err.h. */
#include "distill/base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUFFER = 1 << 18 };

struct kd_writer {
    int fd;
    char *path, *temp;
    unsigned char *buffer;
    size_t held; /* bytes in buffer, which belong at offset - held */
    uint64_t offset;
    kd_err first; /* the first error; sticky */
    bool committed, keep;
};

static atomic_uint serial;

kd_code kd_writer_open(kd_writer **out, const char *path, kd_err *e) {
    kd_code c = KD_OK;
    struct stat st;
    *out = NULL;
    const bool exists = stat(path, &st) == 0;
    if (exists && S_ISDIR(st.st_mode)) return kd_fail(e, KD_ECREATE, "%s: a folder is in the way", path);
    if (exists && !S_ISREG(st.st_mode)) return kd_fail(e, KD_ECREATE, "%s: not a regular file, it will not be replaced", path);
    kd_writer *w = kd_calloc(1, sizeof *w);
    if (!w) return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    w->fd = -1;
    const size_t room = strlen(path) + 40;
    if (!(w->path = kd_strdup(path)) || !(w->temp = kd_malloc(room)) || !(w->buffer = kd_malloc(BUFFER))) {
        c = kd_fail(e, KD_ENOMEM, "%s: no memory", path);
        goto done;
    }
    w->temp[0] = '\0';
    for (int tries = 0; tries < 1000; tries++) { /* a dead process may have had our number */
        (void)snprintf(w->temp, room, "%s.tmp-%ld-%u", path, (long)getpid(), atomic_fetch_add(&serial, 1));
        w->fd = open(w->temp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
        if (w->fd >= 0 || errno != EEXIST) break;
    }
    if (w->fd < 0) {
        c = kd_fail_errno(e, KD_ECREATE, errno, "%s: cannot be created", path);
        w->temp[0] = '\0';
        goto done;
    }
    if (exists) (void)fchmod(w->fd, st.st_mode & 0777); /* a replaced file keeps its mode */
done:
    if (c) {
        kd_writer_close(w);
        return c;
    }
    *out = w;
    return KD_OK;
}

static kd_code broken(kd_writer *w, kd_err *e) {
    if (e) *e = w->first;
    return w->first.code;
}

static kd_code put(kd_writer *w, const unsigned char *p, size_t n, uint64_t at) {
    while (n > 0) {
        if (at > INT64_MAX) return kd_fail(&w->first, KD_EIO, "%s: offset %ju is beyond what a file can hold", w->path, (uintmax_t)at);
        const ssize_t put = pwrite(w->fd, p, n, (off_t)at);
        if (put < 0) {
            if (errno == EINTR) continue;
            return kd_fail_errno(&w->first, KD_EIO, errno, "%s: writing at byte %ju", w->path, (uintmax_t)at);
        }
        p += put;
        n -= (size_t)put;
        at += (uint64_t)put;
    }
    return KD_OK;
}

static kd_code flush(kd_writer *w) {
    const size_t n = w->held;
    w->held = 0;
    return put(w, w->buffer, n, w->offset - n);
}

kd_code kd_writer_write(kd_writer *w, const void *p, size_t n, kd_err *e) {
    if (w->first.code) return broken(w, e);
    if (n > BUFFER - w->held && flush(w)) return broken(w, e);
    if (n >= BUFFER) {
        if (put(w, p, n, w->offset)) return broken(w, e);
    } else if (n > 0) {
        memcpy(w->buffer + w->held, p, n);
        w->held += n;
    }
    w->offset += n;
    return KD_OK;
}

kd_code kd_writer_pad(kd_writer *w, size_t n, kd_err *e) {
    static const unsigned char zero[4096];
    while (n > 0) {
        const size_t step = n < sizeof zero ? n : sizeof zero;
        const kd_code c = kd_writer_write(w, zero, step, e);
        if (c) return c;
        n -= step;
    }
    return w->first.code ? broken(w, e) : KD_OK;
}

kd_code kd_writer_at(kd_writer *w, uint64_t offset, const void *p, size_t n, kd_err *e) {
    if (w->first.code) return broken(w, e);
    return flush(w) || put(w, p, n, offset) ? broken(w, e) : KD_OK;
}

uint64_t kd_writer_offset(const kd_writer *w) { return w->offset; }

/* fsync of the folder that holds path. */
static kd_code sync_parent(const char *path, kd_err *e) {
    const char *base = kd_path_base(path);
    if (base == path) return kd_fsync_dir(".", e);
    char *dir = kd_strndup(path, (size_t)(base - path));
    if (!dir) return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    const kd_code c = kd_fsync_dir(dir, e);
    kd_free(dir);
    return c;
}

kd_code kd_writer_commit(kd_writer *w, kd_err *e) {
    if (w->first.code || flush(w)) return broken(w, e);
    if (fsync(w->fd) != 0)
        (void)kd_fail_errno(&w->first, KD_EIO, errno, "%s: cannot be synced", w->path);
    else if (rename(w->temp, w->path) != 0)
        (void)kd_fail_errno(&w->first, KD_ECREATE, errno, "%s: cannot be put in place", w->path);
    else
        w->committed = true;
    if (w->committed) (void)sync_parent(w->path, &w->first);
    return w->first.code ? broken(w, e) : KD_OK;
}

void kd_writer_keep(kd_writer *w) { w->keep = true; }

void kd_writer_close(kd_writer *w) {
    if (!w) return;
    if (w->fd >= 0) (void)close(w->fd);
    if (w->temp && w->temp[0] && !w->committed && !w->keep) (void)unlink(w->temp);
    kd_free(w->path);
    kd_free(w->temp);
    kd_free(w->buffer);
    kd_free(w);
}

kd_code kd_file_write(const char *path, const void *p, size_t n, kd_err *e) {
    kd_writer *w;
    kd_code c = kd_writer_open(&w, path, e);
    if (c) return c;
    if (!(c = kd_writer_write(w, p, n, e))) c = kd_writer_commit(w, e);
    kd_writer_close(w);
    return c;
}
