/* tests/distill/format/dump.h - what is in a file as sorted lines of text, the same that make_golden.py writes; temporary files. */
#ifndef DUMP_H
#define DUMP_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "distill/base/file.h"
#include "distill/base/hash.h"
#include "distill/format/gguf.h"
#include "distill/format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN "tests/distill/format/golden/"
#define UNUSED __attribute__((unused))

static char temp_dir[64];

UNUSED static int temp_make(void **state) {
    (void)state;
    strcpy(temp_dir, "/tmp/kd-format-XXXXXX");
    return mkdtemp(temp_dir) ? 0 : -1;
}
UNUSED static int temp_remove(void **state) {
    (void)state;
    return kd_remove_tree(temp_dir, NULL);
}
/* temp_dir/name; a ring of 8 */
UNUSED static const char *temp(const char *name) {
    static char ring[8][256];
    static int at;
    at = (at + 1) % 8;
    snprintf(ring[at], sizeof ring[at], "%s/%s", temp_dir, name);
    return ring[at];
}

#define must(call)                                                                                                                         \
    do {                                                                                                                                   \
        kd_err must_e = {0};                                                                                                               \
        kd_err *er = &must_e;                                                                                                              \
        if (call) fail_msg("%s: %s", #call, must_e.msg);                                                                                   \
    } while (0)

static int by_text(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static void sorted(kd_buf *out, char **line, size_t n) {
    qsort(line, n, sizeof *line, by_text);
    for (size_t i = 0; i < n; i++) {
        kd_buf_printf(out, "%s\n", line[i]);
        kd_free(line[i]);
    }
    kd_free(line);
}

static void dump_tensors(kd_buf *out, const kd_tensors *set) {
    size_t n = kd_tensors_count(set);
    char **line = kd_calloc(n + 1, sizeof *line);
    for (size_t i = 0; i < n; i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        char hex[65], shape[128];
        kd_buf b = {0};
        kd_sha256_hex(t->data, t->bytes, hex);
        assert_ptr_equal(kd_tensors_find(set, t->name.data), t);
        assert_int_equal(strlen(t->name.data), t->name.len);
        assert_true((const unsigned char *)t->data == kd_map_data(kd_tensors_map(set, t->file)) + t->offset);
        kd_buf_printf(&b, "%s %s %s %.16s", t->name.data, kd_dtype_get((int)t->type)->name,
                      kd_shape_text(t->ndim, t->shape, shape, sizeof shape), hex);
        line[i] = kd_buf_take(&b);
    }
    sorted(out, line, n);
}

UNUSED static char *dump_safetensors(const char *path) {
    kd_safetensors *s;
    kd_buf out = {0};
    must(kd_safetensors_open(&s, path, er));
    dump_tensors(&out, kd_safetensors_tensors(s));
    kd_safetensors_close(s);
    return kd_buf_take(&out);
}

static void dump_elem(kd_buf *b, const kd_gguf_kv *kv, uint64_t i) {
    double d;
    int64_t n;
    if (kv->elem == KD_GGUF_F32 || kv->elem == KD_GGUF_F64) {
        assert_true(kd_gguf_elem_f64(kv, i, &d));
        char s[32];
        snprintf(s, sizeof s, "%.17g", d);
        if (strtod("1e+300", NULL) == d) strcpy(s, "1e+300");
        kd_buf_printf(b, " %s", s);
    } else if (kd_gguf_elem_i64(kv, i, &n))
        kd_buf_printf(b, " %lld", (long long)n);
    else {
        uint64_t u;
        memcpy(&u, kv->value + 8 * i, 8);
        kd_buf_printf(b, " %llu", (unsigned long long)u);
    }
}

static char *dump_key(const kd_gguf_kv *kv) {
    kd_buf b = {0}, all = {0};
    kd_str s;
    kd_buf_append(&b, kv->key.data, kv->key.len);
    if (kv->type == KD_GGUF_STRING) {
        assert_true(kd_gguf_elem_str(kv, 0, &s));
        kd_buf_puts(&b, " string \"");
        for (size_t i = 0; i < s.len; i++) s.data[i] ? kd_buf_putc(&b, s.data[i]) : kd_buf_puts(&b, "\\0");
        kd_buf_puts(&b, "\"");
        return kd_buf_take(&b);
    }
    kd_buf_printf(&b, kv->type == KD_GGUF_ARRAY ? " [%s %llu]" : " %s", kd_gguf_type_name((int)kv->elem), (unsigned long long)kv->count);
    if (kv->elem == KD_GGUF_STRING) {
        char hex[65];
        for (uint64_t i = 0; i < kv->count; i++) {
            assert_true(kd_gguf_elem_str(kv, i, &s));
            if (i) kd_buf_putc(&all, '\n');
            kd_buf_append(&all, s.data, s.len);
        }
        assert_false(kd_gguf_elem_str(kv, kv->count, &s));
        kd_sha256_hex(all.data, all.len, hex);
        kd_buf_printf(&b, " %.16s", hex);
        kd_buf_clear(&all);
        return kd_buf_take(&b);
    }
    for (uint64_t i = 0; i < kv->count; i++) dump_elem(&b, kv, i);
    return kd_buf_take(&b);
}

UNUSED static char *dump_gguf(const char *path) {
    kd_gguf *g;
    kd_buf out = {0};
    must(kd_gguf_open(&g, path, er));
    size_t n = 0;
    char **line = kd_calloc(kd_gguf_count(g) + 1, sizeof *line);
    for (size_t i = 0; i < kd_gguf_count(g); i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        if (!kd_str_starts(kv->key, "split.")) line[n++] = dump_key(kv);
    }
    sorted(&out, line, n);
    dump_tensors(&out, kd_gguf_tensors(g));
    kd_gguf_close(g);
    return kd_buf_take(&out);
}

/* Without an fsync a file, of which these tests make thousands. */
UNUSED static void put_file(const char *path, const void *p, size_t n) {
    (void)unlink(path); /* a file cut to nothing and written again is flushed at its close by some file systems */
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(p, 1, n, f), n);
    assert_int_equal(fclose(f), 0);
}

UNUSED static char *slurp(const char *path) {
    kd_buf b = {0};
    must(kd_file_read(&b, path, 1 << 24, er));
    return kd_buf_take(&b);
}

/* path must be refused with code and a message that names it and holds word. */
UNUSED static void refused(const char *what, kd_code got, const kd_err *e, const char *word) {
    if (got == KD_OK) fail_msg("%s: accepted", what);
    if (got != KD_EFORMAT && got != KD_EUNSUPPORTED && got != KD_ENOENT) fail_msg("%s: code %d, %s", what, got, e->msg);
    if (!strstr(e->msg, word)) fail_msg("%s: the message lacks \"%s\": %s", what, word, e->msg);
}

#endif
