/* distill/format/gguf_inside.h - inside of the room: what the parts of the GGUF reader share. Leans on gguf.h, set.h. */
#ifndef KD_FORMAT_GGUF_INSIDE_H
#define KD_FORMAT_GGUF_INSIDE_H

#include "distill/format/gguf.h"
#include "distill/format/set.h"

/* The keys of one file. */
typedef struct {
    kd_gguf_kv *kv;
    size_t n, cap;
    kd_table keys;
    kd_arena marks;
    uint32_t version;
    size_t align;
} kd_gguf_header;

struct kd_gguf {
    kd_gguf_header h; /* of the first file */
    kd_tensors set;
};

size_t kd_gguf_type_bytes(int type); /* 0 for strings and arrays */

static inline uint64_t kd_gguf_le(const unsigned char *p, size_t n) {
    uint64_t v = 0;
    while (n--) v = v << 8 | p[n];
    return v;
}

#endif
