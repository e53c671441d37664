/* distill/base/gz.c - zlib and gzip: whole buffers, and files line by line. Leans on mem.h, err.h. */
#include "distill/base/gz.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

enum { INPUT = 1 << 17 };
#define LINE_LIMIT ((size_t)1 << 30)

static voidpf take(voidpf unused, uInt count, uInt size) {
    (void)unused;
    return kd_calloc(count, size);
}

static void give(voidpf unused, voidpf p) {
    (void)unused;
    kd_free(p);
}

/* zlib counts in 32 bits: gives it the next part of what is left. */
static void feed(z_stream *z, size_t *left) {
    const size_t n = *left < UINT_MAX / 2 ? *left : UINT_MAX / 2;
    z->avail_in = (uInt)n;
    *left -= n;
}

static void offer_room(z_stream *z, kd_buf *out) {
    const size_t room = out->cap - out->len - 1;
    z->next_out = (Bytef *)out->data + out->len;
    z->avail_out = room < UINT_MAX / 2 ? (uInt)room : UINT_MAX / 2;
}

/* After zlib wrote: moves out's end to where it stopped. */
static void accept(const z_stream *z, kd_buf *out) {
    out->len = (size_t)((char *)z->next_out - out->data);
    out->data[out->len] = '\0';
}

/* A window that holds all n bytes and 262 more, and what goes with it: for a body of a kilobyte zlib's own choice clears 128 KiB, which takes longer than packing it. The
 * matches found, and the blocks, are the same. wrap: 0 zlib's own, 16 gzip's. */
static int begin(z_stream *z, size_t n, int level, int wrap) {
    int bits = 9;
    while (bits < 15 && n + 262 > (size_t)1 << bits) bits++;
    return deflateInit2(z, level, Z_DEFLATED, bits + wrap, bits < 14 ? bits - 6 : 8, Z_DEFAULT_STRATEGY);
}

static kd_code pack(kd_buf *out, const void *in, size_t n, int level, int wrap, kd_err *e) {
    const size_t before = out->len;
    z_stream z = {.zalloc = take, .zfree = give};
    if (level < 1 || level > 9) return kd_fail(e, KD_EINVAL, "compression level %d, expected 1 to 9", level);
    if (begin(&z, n, level, wrap) != Z_OK) return kd_fail(e, KD_ENOMEM, "compression: no memory");
    size_t left = n;
    int rc = Z_OK;
    kd_code c = KD_OK;
    z.next_in = (Bytef *)(uintptr_t)in; /* zlib's interface is older than const; it only reads */
    while (rc != Z_STREAM_END) {
        if (z.avail_in == 0 && left > 0) feed(&z, &left);
        if (kd_buf_reserve(out, n / 4 + 256)) {
            c = kd_fail(e, KD_ENOMEM, "compression: no memory");
            break;
        }
        offer_room(&z, out);
        rc = deflate(&z, left == 0 ? Z_FINISH : Z_NO_FLUSH);
        accept(&z, out);
    }
    (void)deflateEnd(&z);
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

kd_code kd_zip(kd_buf *out, const void *in, size_t n, int level, kd_err *e) { return pack(out, in, n, level, 0, e); }

kd_code kd_gzip(kd_buf *out, const void *in, size_t n, int level, kd_err *e) { return pack(out, in, n, level, 16, e); }

static kd_code unzip_all(z_stream *z, kd_buf *out, size_t left, size_t limit, kd_err *e) {
    const size_t before = out->len;
    for (int rc = Z_OK; rc != Z_STREAM_END;) {
        if (z->avail_in == 0 && left > 0) feed(z, &left);
        const size_t have = out->len - before, step = have < 4096 ? 4096 : have;
        if (kd_buf_reserve(out, step < limit - have ? step : limit - have + 1)) return kd_fail(e, KD_ENOMEM, "compressed data: no memory");
        offer_room(z, out);
        rc = inflate(z, Z_NO_FLUSH);
        accept(z, out);
        if (out->len - before > limit) return kd_fail(e, KD_EFORMAT, "compressed data: more than %zu bytes inside", limit);
        if (rc == Z_MEM_ERROR) return kd_fail(e, KD_ENOMEM, "compressed data: no memory");
        if (rc == Z_NEED_DICT || rc == Z_DATA_ERROR || rc == Z_STREAM_ERROR)
            return kd_fail(e, KD_EFORMAT, "compressed data: damaged (%s)", z->msg ? z->msg : "zlib");
        if (rc != Z_STREAM_END && z->avail_in == 0 && left == 0 && z->avail_out > 0)
            return kd_fail(e, KD_EFORMAT, "compressed data: cut off");
    }
    if (z->avail_in > 0 || left > 0) return kd_fail(e, KD_EFORMAT, "compressed data: %zu bytes behind its end", (size_t)z->avail_in + left);
    return KD_OK;
}

kd_code kd_unzip(kd_buf *out, const void *in, size_t n, size_t limit, kd_err *e) {
    const size_t before = out->len;
    z_stream z = {.zalloc = take, .zfree = give};
    if (inflateInit2(&z, 15 + 32) != Z_OK) return kd_fail(e, KD_ENOMEM, "compressed data: no memory");
    z.next_in = (Bytef *)(uintptr_t)in;
    if (limit > SIZE_MAX - 1) limit = SIZE_MAX - 1;
    const kd_code c = unzip_all(&z, out, n, limit, e);
    (void)inflateEnd(&z);
    if (c && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return c;
}

/* ---- lines ---- */

struct kd_lines {
    int fd;
    char *path;
    bool gzip, inside; /* inside: within a member, whose end must come */
    bool ended;        /* no more bytes will come */
    z_stream z;
    bool z_open;
    unsigned char *input;
    size_t in_len, in_at;
    kd_buf text; /* bytes read and not given yet, from at on; searched: those known to hold no newline */
    size_t at, searched;
    size_t number;
    uint64_t done, total;
};

/* The next piece of the file into l->input; *got = 0 at its end. */
static kd_code fill(kd_lines *l, size_t *got, kd_err *e) {
    for (;;) {
        const ssize_t n = read(l->fd, l->input, INPUT);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail_errno(e, KD_EIO, errno, "%s", l->path);
        *got = l->in_len = (size_t)n;
        l->in_at = 0;
        l->done += (uint64_t)n;
        return KD_OK;
    }
}

void kd_lines_close(kd_lines *l) {
    if (!l) return;
    if (l->z_open) (void)inflateEnd(&l->z);
    if (l->fd > STDIN_FILENO) (void)close(l->fd);
    kd_buf_clear(&l->text);
    kd_free(l->input);
    kd_free(l->path);
    kd_free(l);
}

static kd_code open_input(kd_lines *l, const char *path, kd_err *e) {
    struct stat st;
    l->fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (l->fd < 0) return kd_fail_errno(e, KD_ENOENT, errno, "%s", path);
    if (fstat(l->fd, &st) != 0) return kd_fail_errno(e, KD_EIO, errno, "%s", l->path);
    if (S_ISDIR(st.st_mode)) return kd_fail(e, KD_ENOENT, "%s: a folder, a file was expected", path);
    if (S_ISREG(st.st_mode)) l->total = (uint64_t)st.st_size;
    /* Two bytes tell gzip from text; a pipe may hand them over one by one. */
    while (l->in_len < 2) {
        const ssize_t n = read(l->fd, l->input + l->in_len, INPUT - l->in_len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return kd_fail_errno(e, KD_EIO, errno, "%s", l->path);
        if (n == 0) break;
        l->in_len += (size_t)n;
        l->done += (uint64_t)n;
    }
    l->gzip = l->in_len >= 2 && l->input[0] == 0x1f && l->input[1] == 0x8b;
    if (!l->gzip) return KD_OK;
    l->z = (z_stream){.zalloc = take, .zfree = give};
    if (inflateInit2(&l->z, 15 + 16) != Z_OK) return kd_fail(e, KD_ENOMEM, "%s: no memory", l->path);
    l->z_open = l->inside = true;
    return KD_OK;
}

kd_code kd_lines_open(kd_lines **out, const char *path, kd_err *e) {
    *out = NULL;
    kd_lines *l = kd_calloc(1, sizeof *l);
    if (!l) return kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    l->fd = -1;
    kd_code c = KD_OK;
    l->path = kd_strdup(strcmp(path, "-") == 0 ? "standard input" : path);
    l->input = kd_malloc(INPUT);
    if (!l->path || !l->input)
        c = kd_fail(e, KD_ENOMEM, "%s: no memory", path);
    else
        c = open_input(l, path, e);
    if (c) {
        kd_lines_close(l);
        return c;
    }
    *out = l;
    return KD_OK;
}

/* Between two members of a gzip file: another may start, zeros may fill it up, nothing else may come. */
static kd_code between_members(kd_lines *l, kd_err *e) {
    while (l->in_at < l->in_len && l->input[l->in_at] == 0) l->in_at++;
    if (l->in_at == l->in_len) return KD_OK;
    if (l->input[l->in_at] != 0x1f) return kd_fail(e, KD_EFORMAT, "%s: bytes behind the end of the gzip stream", l->path);
    if (inflateReset(&l->z) != Z_OK) return kd_fail(e, KD_EBUG, "%s: gzip stream cannot start again", l->path);
    l->inside = true;
    return KD_OK;
}

/* Unpacks some of l->input behind l->text. */
static kd_code unpack(kd_lines *l, kd_err *e) {
    if (!l->inside) {
        const kd_code c = between_members(l, e);
        if (c || !l->inside) return c;
    }
    if (kd_buf_reserve(&l->text, INPUT)) return kd_fail(e, KD_ENOMEM, "%s: no memory", l->path);
    l->z.next_in = l->input + l->in_at;
    l->z.avail_in = (uInt)(l->in_len - l->in_at);
    offer_room(&l->z, &l->text);
    const int rc = inflate(&l->z, Z_NO_FLUSH);
    accept(&l->z, &l->text);
    l->in_at = l->in_len - l->z.avail_in;
    if (rc == Z_STREAM_END)
        l->inside = false;
    else if (rc == Z_MEM_ERROR)
        return kd_fail(e, KD_ENOMEM, "%s: no memory", l->path);
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
        return kd_fail(e, KD_EFORMAT, "%s: gzip stream damaged (%s)", l->path, l->z.msg ? l->z.msg : "zlib");
    return KD_OK;
}

/* More bytes behind l->text, or l->ended. */
static kd_code more_text(kd_lines *l, kd_err *e) {
    kd_code c = KD_OK;
    if (l->at > 0) { /* what was given may go */
        memmove(l->text.data, l->text.data + l->at, l->text.len - l->at);
        l->text.len -= l->at;
        l->searched -= l->at;
        l->at = 0;
    }
    if (l->text.len > LINE_LIMIT) return kd_fail(e, KD_EFORMAT, "%s: line %zu is longer than 1 GiB", l->path, l->number + 1);
    if (l->in_at == l->in_len) {
        size_t got = 0;
        if ((c = fill(l, &got, e))) return c;
        if (got == 0) {
            if (l->inside) return kd_fail(e, KD_EFORMAT, "%s: gzip stream cut off", l->path);
            l->ended = true;
            return KD_OK;
        }
    }
    if (l->gzip) return unpack(l, e);
    if (kd_buf_append(&l->text, l->input + l->in_at, l->in_len - l->in_at)) return kd_fail(e, KD_ENOMEM, "%s: no memory", l->path);
    l->in_at = l->in_len;
    return KD_OK;
}

kd_code kd_lines_next(kd_lines *l, kd_str *line, bool *more, kd_err *e) {
    *more = false;
    *line = (kd_str){NULL, 0};
    for (;;) {
        const char *start = l->text.data + l->at;
        const char *end = l->searched < l->text.len ? memchr(l->text.data + l->searched, '\n', l->text.len - l->searched) : NULL;
        size_t len = l->text.len - l->at;
        if (end) {
            len = (size_t)(end - start);
            l->at += len + 1;
            l->searched = l->at;
        } else if (l->ended) {
            if (len == 0) return KD_OK;
            l->at = l->searched = l->text.len;
        } else {
            l->searched = l->text.len;
            const kd_code c = more_text(l, e);
            if (c) return c;
            continue;
        }
        if (len > LINE_LIMIT) return kd_fail(e, KD_EFORMAT, "%s: line %zu is longer than 1 GiB", l->path, l->number + 1);
        if (end && len > 0 && start[len - 1] == '\r') len--;
        *line = (kd_str){start, len};
        l->number++;
        *more = true;
        return KD_OK;
    }
}

size_t kd_lines_number(const kd_lines *l) { return l->number; }

void kd_lines_progress(const kd_lines *l, uint64_t *done, uint64_t *total) {
    *done = l->done - (l->in_len - l->in_at);
    *total = l->total;
}
