/* convert/importance_file.c - llama.cpp's imatrix files, both forms, in and out. Leans on importance_int.h, format/gguf.h.
 * The forms are facts of llama.cpp's tools/imatrix. GGUF: NAME.in_sum2 [mats, cols] sums of squares, NAME.counts [mats] rows of each. The older one,
 * little-endian: n entries of {length, name, calls, values, mean * calls each}, then calls in all and the name of the text. */
#include "convert/importance_int.h"

#include "distill/base/utf8.h"
#include "distill/format/gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

enum { NAME_MAX_ = 128, VALUES_MAX = 1 << 28, ENTRIES_MAX = 1 << 16 };

/* Sums of one matrix become means. */
static kd_code take(kd_importance_entry *x, size_t mat, const void *sums, double count, const char *path, kd_err *e) {
    const unsigned char *p = sums;
    if (!(count >= 0) || count > 1e15)
        return kd_fail(e, KD_EFORMAT, "%s: importance of %s: expected a count of rows, found %g", path, x->name, count);
    x->rows[mat] = (uint64_t)(count + 0.5);
    if (!x->rows[mat]) return KD_OK;
    for (size_t j = 0; j < x->cols; j++) {
        float v;
        memcpy(&v, p + j * sizeof v, sizeof v);
        if (!isfinite(v) || v < 0)
            return kd_fail(e, KD_EFORMAT, "%s: importance of %s: column %zu: expected a number of at least 0, found %g", path, x->name, j,
                           (double)v);
        x->mean[mat * x->cols + j] = (float)((double)v / count);
    }
    return KD_OK;
}

static kd_code read_pair(kd_importance *im, const kd_tensor *sum, const kd_tensor *count, size_t name_len, const char *path, kd_err *e) {
    kd_importance_entry *x;
    const size_t n = kd_tensor_elements(sum), counts = kd_tensor_elements(count);
    const char *name = sum->name.data;
    if (sum->type != KD_F32 || count->type != KD_F32)
        return kd_fail(e, KD_EFORMAT, "%s: importance of %.*s: expected sums and counts in f32", path, (int)name_len, name);
    if (!n || !counts || n % counts || (counts > 1 && kd_tensor_rows(sum) % counts))
        return kd_fail(e, KD_EFORMAT, "%s: importance of %.*s: %zu sums do not go with %zu counts", path, (int)name_len, name, n, counts);
    const size_t mats = counts > 1 ? counts : kd_tensor_rows(sum); /* one count may stand for a whole stack */
    kd_code c = kd_importance_add(im, name, name_len, n / mats, mats, &x, e);
    for (size_t k = 0; k < mats && !c; k++) {
        float rows;
        memcpy(&rows, (const char *)count->data + (counts > 1 ? k : 0) * sizeof rows, sizeof rows);
        c = take(x, k, (const float *)sum->data + k * x->cols, (double)rows, path, e);
    }
    return c;
}

static kd_code read_gguf(kd_importance *im, const char *path, kd_err *e) {
    kd_gguf *g;
    kd_str type, set;
    kd_code c = kd_gguf_open(&g, path, e);
    if (c) return c;
    const kd_tensors *t = kd_gguf_tensors(g);
    if (!kd_gguf_str(g, "general.type", &type) || !kd_str_is(type, "imatrix"))
        c = kd_fail(e, KD_EFORMAT, "%s: general.type: expected \"imatrix\": this GGUF file holds no importance", path);
    for (size_t i = 0; i < kd_tensors_count(t) && !c; i++) {
        const kd_tensor *sum = kd_tensors_at(t, i);
        char name[NAME_MAX_];
        if (!kd_str_ends(sum->name, ".in_sum2") || sum->name.len >= NAME_MAX_) continue;
        const size_t n = sum->name.len - 8;
        snprintf(name, sizeof name, "%.*s.counts", (int)n, sum->name.data);
        const kd_tensor *count = kd_tensors_find(t, name);
        c = count ? read_pair(im, sum, count, n, path, e)
                  : kd_fail(e, KD_EFORMAT, "%s: tensor %s: expected beside %s, found none", path, name, sum->name.data);
    }
    const kd_gguf_kv *sets = kd_gguf_find(g, "imatrix.datasets");
    if (!c && sets && kd_gguf_elem_str(sets, 0, &set) && set.len) {
        im->dataset = kd_strndup(set.data, set.len);
        if (!im->dataset) c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    }
    kd_gguf_close(g);
    return c;
}

/* What is left of the older form. */
typedef struct {
    const unsigned char *at, *end;
    const char *path;
} bytes;
static bool int_of(bytes *b, int32_t *v) {
    if (b->end - b->at < 4) return false;
    *v = (int32_t)((uint32_t)b->at[0] | (uint32_t)b->at[1] << 8 | (uint32_t)b->at[2] << 16 | (uint32_t)b->at[3] << 24);
    b->at += 4;
    return true;
}

static kd_code read_entry(kd_importance *im, bytes *b, int32_t i, kd_err *e) {
    int32_t len, calls, values;
    kd_importance_entry *x;
    if (!int_of(b, &len) || len < 1 || len >= NAME_MAX_ || b->end - b->at < len || !kd_utf8_valid((const char *)b->at, (size_t)len) ||
        memchr(b->at, 0, (size_t)len))
        return kd_fail(e, KD_EFORMAT, "%s: entry %d: expected the name of a tensor", b->path, i);
    const char *name = (const char *)b->at;
    b->at += len;
    if (!int_of(b, &calls) || !int_of(b, &values) || values < 1 || values > VALUES_MAX || (b->end - b->at) / 4 < values)
        return kd_fail(e, KD_EFORMAT, "%s: importance of %.*s: ends before its values", b->path, len, name);
    kd_code c = kd_importance_add(im, name, (size_t)len, (size_t)values, 1, &x, e);
    if (!c) c = take(x, 0, b->at, calls > 0 ? calls : 1, b->path, e);
    b->at += (size_t)values * 4;
    return c;
}

static kd_code read_old(kd_importance *im, const char *path, const kd_map *m, kd_err *e) {
    const unsigned char *data = kd_map_size(m) ? kd_map_data(m) : (const unsigned char *)""; /* an empty file has no map */
    bytes b = {data, data + kd_map_size(m), path};
    int32_t n, calls, len;
    if (!int_of(&b, &n) || n < 1 || n > ENTRIES_MAX)
        return kd_fail(e, KD_EFORMAT, "%s: expected an imatrix file (GGUF, or llama.cpp's older form), found neither", path);
    kd_code c = KD_OK;
    for (int32_t i = 0; i < n && !c; i++) c = read_entry(im, &b, i, e);
    if (!c && int_of(&b, &calls) && int_of(&b, &len) && len > 0 && len < 4096 && b.end - b.at >= len &&
        kd_utf8_valid((const char *)b.at, (size_t)len) && !(im->dataset = kd_strndup((const char *)b.at, (size_t)len)))
        c = kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    return c;
}

kd_code kd_importance_read(kd_importance **out, const char *path, kd_err *e) {
    kd_map *m = NULL;
    kd_importance *im = kd_calloc(1, sizeof *im);
    *out = NULL;
    kd_code c = im ? kd_map_open(&m, path, e) : kd_fail(e, KD_ENOMEM, "%s: out of memory", path);
    if (!c) c = kd_map_size(m) >= 4 && !memcmp(kd_map_data(m), "GGUF", 4) ? read_gguf(im, path, e) : read_old(im, path, m, e);
    if (!c && !im->n) c = kd_fail(e, KD_EFORMAT, "%s: holds no importance", path);
    if (!c) kd_importance_sort(im);
    for (size_t i = 1; !c && i < im->n; i++)
        if (!strcmp(im->v[i - 1].name, im->v[i].name))
            c = kd_fail(e, KD_EFORMAT, "%s: importance of %s is there twice", path, im->v[i].name);
    kd_map_close(m);
    if (c)
        kd_importance_free(im);
    else
        *out = im;
    return c;
}

static uint64_t chunks_of(const kd_importance *im, uint32_t window) {
    uint64_t most = 0;
    for (size_t i = 0; i < im->n; i++)
        for (size_t k = 0; k < im->v[i].mats; k++) most = im->v[i].rows[k] > most ? im->v[i].rows[k] : most;
    return (most + window - 1) / window;
}

static kd_code put_int(kd_buf *b, uint64_t n) {
    const uint32_t v = n > INT32_MAX ? INT32_MAX : (uint32_t)n;
    const unsigned char p[4] = {(unsigned char)v, (unsigned char)(v >> 8), (unsigned char)(v >> 16), (unsigned char)(v >> 24)};
    return kd_buf_append(b, p, 4);
}

/* What has no data is stored as 1, as llama.cpp does: all columns alike. */
static kd_code write_old(const kd_importance *im, const char *path, uint32_t window, kd_err *e) {
    kd_buf b = {0};
    kd_code c = put_int(&b, im->n);
    for (size_t i = 0; i < im->n && !c; i++) {
        const kd_importance_entry *x = &im->v[i];
        uint64_t most = 1;
        for (size_t k = 0; k < x->mats; k++) most = x->rows[k] > most ? x->rows[k] : most;
        const uint64_t calls = (most + window - 1) / window;
        if ((c = put_int(&b, strlen(x->name))) || (c = kd_buf_puts(&b, x->name)) || (c = put_int(&b, calls)) ||
            (c = put_int(&b, x->cols * x->mats)))
            break;
        for (size_t j = 0; j < x->cols * x->mats && !c; j++) {
            const float v = (x->rows[j / x->cols] ? x->mean[j] : 1.0f) * (float)calls;
            c = kd_buf_append(&b, &v, sizeof v);
        }
    }
    if (!c) c = put_int(&b, chunks_of(im, window));
    if (!c) c = put_int(&b, im->dataset ? strlen(im->dataset) : 0);
    if (!c && im->dataset) c = kd_buf_puts(&b, im->dataset);
    c = c ? kd_fail(e, c, "%s: out of memory", path) : kd_file_write(path, b.data, b.len, e);
    kd_buf_clear(&b);
    return c;
}

static kd_code put_entry(kd_gguf_writer *w, const kd_importance_entry *x, size_t *index, kd_err *e) {
    float *sums = kd_malloc(x->cols * sizeof *sums), *counts = kd_malloc(x->mats * sizeof *counts);
    kd_code c = sums && counts ? KD_OK : kd_fail(e, KD_ENOMEM, "importance of %s: out of memory", x->name);
    for (size_t k = 0; k < x->mats && !c; k++) {
        for (size_t j = 0; j < x->cols; j++) sums[j] = (float)((double)x->mean[k * x->cols + j] * (double)x->rows[k]);
        counts[k] = (float)x->rows[k];
        c = kd_gguf_writer_put(w, *index, sums, x->cols * sizeof *sums, e);
    }
    if (!c) c = kd_gguf_writer_put(w, *index + 1, counts, x->mats * sizeof *counts, e);
    *index += 2;
    kd_free(sums);
    kd_free(counts);
    return c;
}

static kd_code write_gguf(const kd_importance *im, const char *path, uint32_t window, kd_err *e) {
    kd_gguf_writer *w = NULL;
    const kd_str set = kd_str_of(im->dataset ? im->dataset : "");
    size_t index = 0;
    kd_code c = kd_gguf_writer_new(&w, path, 0, e);
    if (!c) c = kd_gguf_writer_str(w, "general.type", KD_STR("imatrix"), e);
    if (!c) c = kd_gguf_writer_set_array(w, "imatrix.datasets", KD_GGUF_STRING, &set, 1, e);
    if (!c) c = kd_gguf_writer_u32(w, "imatrix.chunk_count", (uint32_t)chunks_of(im, window), e);
    if (!c) c = kd_gguf_writer_u32(w, "imatrix.chunk_size", window, e);
    for (size_t i = 0; i < im->n && !c; i++) {
        const kd_importance_entry *x = &im->v[i];
        char name[NAME_MAX_ + 16];
        const uint64_t shape[2] = {x->mats, x->cols}, counts[2] = {x->mats, 1};
        snprintf(name, sizeof name, "%s.in_sum2", x->name);
        if ((c = kd_gguf_writer_declare(w, name, KD_F32, 2, shape, NULL, e))) break;
        snprintf(name, sizeof name, "%s.counts", x->name);
        c = kd_gguf_writer_declare(w, name, KD_F32, 2, counts, NULL, e);
    }
    if (!c) c = kd_gguf_writer_begin(w, e);
    for (size_t i = 0; i < im->n && !c; i++) c = put_entry(w, &im->v[i], &index, e);
    if (!c) c = kd_gguf_writer_commit(w, e);
    kd_gguf_writer_free(w);
    return c;
}

kd_code kd_importance_write(const kd_importance *im, const char *path, uint32_t window, kd_err *e) {
    if (!window) window = 512;
    return kd_str_ends(kd_str_of(path), ".dat") ? write_old(im, path, window, e) : write_gguf(im, path, window, e);
}
