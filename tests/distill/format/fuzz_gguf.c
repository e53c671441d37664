/* tests/distill/format/fuzz_gguf.c - any bytes as a GGUF file: refused, or everything it says it holds can be read. */
#include "distill/format/gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static int fd = -1;
    static char path[64];
    if (fd < 0) {
        fd = memfd_create("fuzz", 0);
        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    }
    if (ftruncate(fd, 0) || pwrite(fd, data, size, 0) != (ssize_t)size) abort();
    kd_gguf *g;
    kd_err e = {0};
    if (kd_gguf_open(&g, path, &e)) {
        if (!e.msg[0] || g) abort();
        return 0;
    }
    for (size_t i = 0; i < kd_gguf_count(g); i++) {
        const kd_gguf_kv *kv = kd_gguf_at(g, i);
        for (uint64_t k = 0; k < kv->count; k++) {
            kd_str s;
            int64_t n;
            double d;
            if (kd_gguf_elem_str(kv, k, &s)) sink += s.len ? (unsigned char)s.data[s.len - 1] : 0;
            kd_gguf_elem_i64(kv, k, &n);
            kd_gguf_elem_f64(kv, k, &d);
        }
    }
    const kd_tensors *set = kd_gguf_tensors(g);
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        if (t->bytes) sink += ((const unsigned char *)t->data)[0] + ((const unsigned char *)t->data)[t->bytes - 1];
        if (kd_tensors_find_str(set, t->name) != t) abort();
    }
    kd_gguf_close(g);
    return 0;
}
