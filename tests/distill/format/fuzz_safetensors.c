/* tests/distill/format/fuzz_safetensors.c - any bytes as a safetensors file (first byte even) or as an index over one known shard (odd). */
#include "distill/format/safetensors.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static volatile unsigned sink;
static char dir[64], file[128], list[128], shard[128];

static void put(const char *path, const void *p, size_t n) {
    (void)unlink(path); /* a file cut to nothing and written again is flushed at its close by some file systems */
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(p, 1, n, f) != n || fclose(f)) abort();
}
static void gone(void) { kd_remove_tree(dir, NULL); }
static void start(void) {
    static char SHARD[] = "\0\0\0\0\0\0\0\0{\"a\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]},\"__metadata__\":{}}x";
    SHARD[0] = (char)(sizeof SHARD - 1 - 8 - 1);
    strcpy(dir, "/tmp/kd-fuzz-XXXXXX");
    if (!mkdtemp(dir)) abort();
    snprintf(file, sizeof file, "%s/x.safetensors", dir);
    snprintf(list, sizeof list, "%s/x.safetensors.index.json", dir);
    snprintf(shard, sizeof shard, "%s/s.safetensors", dir);
    put(shard, SHARD, sizeof SHARD - 1);
    kd_safetensors *s;
    if (kd_safetensors_open(&s, shard, NULL)) abort();
    kd_safetensors_close(s);
    atexit(gone);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!dir[0]) start();
    if (!size) return 0;
    bool index = data[0] & 1;
    put(index ? list : file, data + 1, size - 1);
    kd_safetensors *s;
    kd_err e = {0};
    if (kd_safetensors_open(&s, index ? list : file, &e)) {
        if (!e.msg[0] || s) abort();
        return 0;
    }
    const kd_tensors *set = kd_safetensors_tensors(s);
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        if (t->bytes) sink += ((const unsigned char *)t->data)[0] + ((const unsigned char *)t->data)[t->bytes - 1];
        if (kd_tensors_find_str(set, t->name) != t) abort();
    }
    for (size_t i = 0; i < kd_safetensors_meta_count(s); i++) {
        kd_str k, v;
        kd_safetensors_meta_at(s, i, &k, &v);
        sink += (unsigned)(k.len + v.len);
    }
    kd_safetensors_close(s);
    return 0;
}
