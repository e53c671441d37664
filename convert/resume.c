/* convert/resume.c - see resume.h. A journal that cannot be written costs the resuming, not the conversion. */
#include "convert/resume.h"

#include "distill/base/hash.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { LEAST = 4 /* windows that an output must have */, RECORDS_MAX = 1 << 20, LEFT_MAX = 512 };

typedef struct {
    uint64_t hash, n;
} record;
typedef struct {
    char magic[8];
    uint64_t fingerprint, pid, at_work; /* 0: it stopped by itself */
} head;

/* A file of the output as the run before left it. */
typedef struct {
    const char *final; /* the writer's name for it */
    int fd;            /* it has no name any more */
} leftover;

struct kd_resume {
    char *journal;
    leftover *left;
    size_t lefts, left_cap;
    head h;
    int out;   /* -1: none */
    record *v; /* of the run before */
    size_t n;
};

/* Eight bytes at a time in four lanes: as fast as memory, and no defence against anyone but chance. */
static uint64_t hash_of(const void *bytes, size_t n) {
    const unsigned char *p = bytes;
    uint64_t h[4] = {n, 0x9e3779b97f4a7c15u, 0xc2b2ae3d27d4eb4fu, 0x165667b19e3779f9u}, w[4];
    for (; n >= 32; n -= 32, p += 32) {
        memcpy(w, p, 32);
        for (int k = 0; k < 4; k++) {
            h[k] = (h[k] ^ w[k]) * 0x9fb21c651e98df25u;
            h[k] ^= h[k] >> 29;
        }
    }
    for (size_t i = 0; i < n; i++) h[i & 3] = (h[i & 3] ^ p[i]) * 0x9fb21c651e98df25u + (h[i & 3] >> 31);
    for (int k = 1; k < 4; k++) h[0] = (h[0] ^ (h[k] >> 32)) * 0x9fb21c651e98df25u + h[k];
    return h[0] ^ h[0] >> 32;
}

static uint64_t join(uint64_t a, uint64_t b) { return hash_of((uint64_t[]){a, b}, 16); }
static uint64_t floats(uint64_t h, const float *v, size_t n) { return v ? join(h, hash_of(v, n * sizeof *v)) : join(h, 1); }
static uint64_t lora(uint64_t h, const kd_lora *l, size_t in, size_t out) {
    uint32_t bits;
    memcpy(&bits, &l->scale, sizeof bits);
    h = join(h, (uint64_t)l->r << 32 | bits);
    h = floats(h, l->a, l->r * in);
    h = floats(h, l->b, l->r * out);
    return floats(h, l->magnitude, out);
}

static uint64_t of_adapter(uint64_t h, const kd_plan *p) {
    const kd_adapter *a = p->adapter;
    const kd_config *c = &p->model->config;
    size_t rows, cols;
    if (!a) return h;
    for (uint32_t l = 0; l < a->L; l++)
        for (int r = 0; r < KD_MATS; r++) {
            kd_role_shape(c, (kd_role)r, &rows, &cols);
            h = lora(h, &a->layers[(size_t)l * KD_MATS + (size_t)r], cols, rows);
        }
    h = lora(lora(h, &a->embed, c->V, c->C), &a->head, c->C, c->V);
    h = floats(floats(h, a->saved_embed, (size_t)c->V * c->C), a->saved_head, (size_t)c->V * c->C);
    return floats(floats(join(h, a->rows.n), a->rows.embed, a->rows.n * c->C), a->rows.head, a->rows.n * c->C);
}

/* Everything that the bytes depend on: version, source files (path, size, time), adapter, importance, names, types and shapes. */
static uint64_t fingerprint(const kd_plan *p) {
    uint64_t h = hash_of(KD_VERSION, sizeof KD_VERSION);
    const kd_tensors *set = p->st ? kd_safetensors_tensors(p->st) : kd_gguf_tensors(kd_model_gguf(p->model));
    for (size_t i = 0; i < kd_tensors_files(set); i++) {
        const kd_map *m = kd_tensors_map(set, (uint32_t)i);
        struct stat st = {0};
        (void)stat(kd_map_path(m), &st);
        h = join(join(h, hash_of(kd_map_path(m), strlen(kd_map_path(m)))), kd_map_size(m));
        h = join(join(h, (uint64_t)st.st_mtim.tv_sec), join((uint64_t)st.st_mtim.tv_nsec, (uint64_t)st.st_ino));
    }
    h = of_adapter(h, p);
    for (size_t i = 0; i < p->n; i++) {
        const kd_item *it = &p->v[i];
        h = join(join(h, hash_of(it->name, strlen(it->name))), join(it->type, join(it->rows, it->cols)));
        if (it->ndim == 1) h = floats(h, it->values, it->cols);
        for (size_t k = 0; it->importance && k < it->mats; k++) h = floats(h, it->importance[k], it->cols);
    }
    return h;
}

/* BASE.tmp-PID-N of the process that wrote the journal, among the names in dir. */
static char *find_leftover(const char *dir, char *const *names, size_t n, const char *base, uint64_t pid) {
    char prefix[40];
    const size_t stem = strlen(base);
    snprintf(prefix, sizeof prefix, ".tmp-%llu-", (unsigned long long)pid);
    for (size_t i = 0; i < n; i++)
        if (!strncmp(names[i], base, stem) && !strncmp(names[i] + stem, prefix, strlen(prefix))) return kd_path_join(dir, names[i]);
    return NULL;
}

/* Opened, they need no name: whatever becomes of this run, nothing of theirs stays behind. */
static void open_leftovers(kd_resume *r, const kd_plan *p, const kd_sink *s, const char *dir, uint64_t pid) {
    char **names = NULL;
    size_t n = 0;
    const char *last = NULL;
    if (kd_list_dir(dir, &names, &n, NULL)) return;
    for (size_t i = 0; i < p->n; i++) {
        const char *final = kd_sink_place(s, p->v[i].index).path;
        void *v = r->left;
        if (final == last) continue;
        last = final;
        bool known = r->lefts >= LEFT_MAX;
        for (size_t k = 0; k < r->lefts && !known; k++) known = r->left[k].final == final;
        if (known || kd_grow(&v, &r->left_cap, r->lefts + 1, sizeof *r->left)) continue;
        r->left = v;
        char *path = find_leftover(dir, names, n, kd_path_base(final), pid);
        const int fd = path ? open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW) : -1;
        if (fd >= 0) r->left[r->lefts++] = (leftover){final, fd};
        if (path) (void)unlink(path);
        kd_free(path);
    }
    kd_names_free(names, n);
}

/* What a run before left, if it was of the same conversion and is no more at work. */
static void read_journal(kd_resume *r, const kd_plan *p, const kd_sink *s, const char *dir, const char *journal) {
    kd_buf b = {0};
    head h;
    if (!kd_file_exists(journal) || kd_file_read(&b, journal, sizeof h + RECORDS_MAX * sizeof(record), NULL)) return;
    if (b.len >= sizeof h) {
        memcpy(&h, b.data, sizeof h);
        const bool gone = !h.at_work || (h.pid > 0 && h.pid < INT32_MAX && kill((pid_t)h.pid, 0) != 0 && errno == ESRCH);
        if (!memcmp(h.magic, r->h.magic, sizeof h.magic) && gone) {
            const size_t n = (b.len - sizeof h) / sizeof(record);
            open_leftovers(r, p, s, dir, h.pid);
            if (r->lefts && h.fingerprint == r->h.fingerprint && (r->v = kd_malloc((n + 1) * sizeof(record)))) {
                memcpy(r->v, b.data + sizeof h, n * sizeof(record));
                r->n = n;
            }
        }
    }
    kd_buf_clear(&b);
}

static void write_head(kd_resume *r) {
    if (r->out < 0 || pwrite(r->out, &r->h, sizeof r->h, 0) == (ssize_t)sizeof r->h) return;
    (void)close(r->out);
    r->out = -1;
}

kd_code kd_resume_open(kd_resume **out, const kd_plan *p, const kd_sink *s, const char *file, const char *before, uint64_t window,
                       kd_err *e) {
    kd_buf name = {0}, old = {0};
    const char *base = kd_path_base(file);
    *out = NULL;
    if (p->result.bytes_out / LEAST < window) return KD_OK;
    kd_resume *r = kd_calloc(1, sizeof *r);
    char *dir = before ? kd_strdup(before) : base == file ? kd_strdup(".") : kd_strndup(file, (size_t)(base - file));
    if (!r || !dir || kd_buf_printf(&name, "%s.resume", file) || kd_buf_printf(&old, "%s/%s.resume", dir, base) ||
        !(r->journal = kd_buf_take(&name))) {
        kd_buf_clear(&name);
        kd_buf_clear(&old);
        kd_free(dir);
        kd_free(r);
        return kd_fail(e, KD_ENOMEM, "%s: out of memory", file);
    }
    r->h = (head){.magic = "kdresum", .fingerprint = fingerprint(p), .pid = (uint64_t)getpid(), .at_work = 1};
    read_journal(r, p, s, dir, old.data);
    kd_buf_clear(&old);
    kd_free(dir);
    (void)unlink(r->journal);
    r->out = open(r->journal, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0666);
    write_head(r);
    if (r->out >= 0) (void)lseek(r->out, sizeof r->h, SEEK_SET);
    *out = r;
    return KD_OK;
}

bool kd_resume_has(const kd_resume *r, size_t i, size_t n) { return r && r->lefts && i < r->n && r->v[i].n == n && n; }

bool kd_resume_read(const kd_resume *r, kd_place where, uint64_t at, void *to, size_t n) {
    unsigned char *p = to;
    int fd = -1;
    for (size_t i = 0; i < r->lefts; i++)
        if (r->left[i].final == where.path) fd = r->left[i].fd;
    for (at += where.offset; n && fd >= 0;) {
        const ssize_t got = pread(fd, p, n, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        p += got, at += (uint64_t)got, n -= (size_t)got;
    }
    return !n;
}

bool kd_resume_same(const kd_resume *r, size_t i, const void *bytes, size_t n) { return r->v[i].hash == hash_of(bytes, n); }

void kd_resume_note(kd_resume *r, const void *bytes, size_t n, bool whole) {
    const record x = {whole ? hash_of(bytes, n) : 0, whole ? n : 0};
    if (!r || r->out < 0 || write(r->out, &x, sizeof x) == (ssize_t)sizeof x) return;
    (void)close(r->out); /* no more records: what comes after would be taken for others */
    r->out = -1;
}

void kd_resume_close(kd_resume *r, bool stopped) {
    if (!r) return;
    for (size_t i = 0; i < r->lefts; i++) (void)close(r->left[i].fd);
    r->h.at_work = 0;
    if (stopped) write_head(r);
    if (r->out >= 0) (void)close(r->out);
    if (!stopped) (void)unlink(r->journal);
    kd_free(r->left);
    kd_free(r->journal);
    kd_free(r->v);
    kd_free(r);
}
