/* distill/format/gguf_value.c - typed access to the keys of an opened GGUF file. Leans on gguf_inside.h. */
#include "distill/format/gguf_inside.h"

#include <string.h>

const char *kd_gguf_type_name(int type) {
    static const char *const NAMES[KD_GGUF_TYPES] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                                     "bool", "string", "array", "u64", "i64", "f64"};
    return type >= 0 && type < KD_GGUF_TYPES ? NAMES[type] : "?";
}

const kd_tensors *kd_gguf_tensors(const kd_gguf *g) { return &g->set; }
uint32_t kd_gguf_version(const kd_gguf *g) { return g->h.version; }
size_t kd_gguf_alignment(const kd_gguf *g) { return g->h.align; }
size_t kd_gguf_count(const kd_gguf *g) { return g->h.n; }
const kd_gguf_kv *kd_gguf_at(const kd_gguf *g, size_t i) { return &g->h.kv[i]; }
const kd_gguf_kv *kd_gguf_find(const kd_gguf *g, const char *key) {
    size_t i = kd_table_find(&g->h.keys, kd_str_of(key), g->h.kv, sizeof *g->h.kv);
    return i == KD_NONE ? NULL : &g->h.kv[i];
}

bool kd_gguf_elem_str(const kd_gguf_kv *kv, uint64_t i, kd_str *out) {
    if (kv->elem != KD_GGUF_STRING || i >= kv->count) return false;
    const unsigned char *p = kv->value;
    if (kv->marks) {
        p += kv->marks[i / 8];
        for (uint64_t k = i % 8; k; k--) p += 8 + (size_t)kd_gguf_le(p, 8);
    }
    *out = (kd_str){(const char *)p + 8, (size_t)kd_gguf_le(p, 8)};
    return true;
}

bool kd_gguf_elem_strs(const kd_gguf_kv *kv, uint64_t i, kd_str *out, size_t n) {
    if (n > kv->count || i > kv->count - n || !kd_gguf_elem_str(kv, i, out)) return false;
    for (size_t k = 1; k < n; k++) {
        const unsigned char *p = (const unsigned char *)out[k - 1].data + out[k - 1].len;
        out[k] = (kd_str){(const char *)p + 8, (size_t)kd_gguf_le(p, 8)};
    }
    return true;
}

/* The bits of element i; false if it is no number. */
static bool bits(const kd_gguf_kv *kv, uint64_t i, uint64_t *v) {
    size_t n = kd_gguf_type_bytes((int)kv->elem);
    if (!n || i >= kv->count) return false;
    *v = kd_gguf_le(kv->value + i * n, n);
    return true;
}

bool kd_gguf_elem_i64(const kd_gguf_kv *kv, uint64_t i, int64_t *out) {
    uint64_t v;
    if (!bits(kv, i, &v)) return false;
    switch (kv->elem) {
    case KD_GGUF_I8: *out = (int8_t)v; return true;
    case KD_GGUF_I16: *out = (int16_t)v; return true;
    case KD_GGUF_I32: *out = (int32_t)v; return true;
    case KD_GGUF_U8:
    case KD_GGUF_U16:
    case KD_GGUF_U32:
    case KD_GGUF_BOOL:
    case KD_GGUF_I64: *out = (int64_t)v; return true;
    case KD_GGUF_U64:
        if (v > INT64_MAX) return false;
        *out = (int64_t)v;
        return true;
    default: return false;
    }
}

bool kd_gguf_elem_f64(const kd_gguf_kv *kv, uint64_t i, double *out) {
    uint64_t v;
    int64_t n;
    if (kv->elem == KD_GGUF_BOOL || !bits(kv, i, &v)) return false;
    if (kv->elem == KD_GGUF_F32) {
        uint32_t u = (uint32_t)v;
        float f;
        memcpy(&f, &u, sizeof f);
        *out = (double)f;
    } else if (kv->elem == KD_GGUF_F64)
        memcpy(out, &v, sizeof *out);
    else if (kd_gguf_elem_i64(kv, i, &n))
        *out = (double)n;
    else
        *out = (double)v; /* a u64 beyond int64 */
    return true;
}

static const kd_gguf_kv *scalar(const kd_gguf *g, const char *key) {
    const kd_gguf_kv *kv = kd_gguf_find(g, key);
    return kv && kv->type != KD_GGUF_ARRAY ? kv : NULL;
}

bool kd_gguf_str(const kd_gguf *g, const char *key, kd_str *out) {
    const kd_gguf_kv *kv = scalar(g, key);
    return kv && kd_gguf_elem_str(kv, 0, out);
}
bool kd_gguf_i64(const kd_gguf *g, const char *key, int64_t *out) {
    const kd_gguf_kv *kv = scalar(g, key);
    return kv && kv->type != KD_GGUF_BOOL && kd_gguf_elem_i64(kv, 0, out);
}
bool kd_gguf_u32(const kd_gguf *g, const char *key, uint32_t *out) {
    int64_t v;
    if (!kd_gguf_i64(g, key, &v) || v < 0 || v > UINT32_MAX) return false;
    *out = (uint32_t)v;
    return true;
}
bool kd_gguf_f64(const kd_gguf *g, const char *key, double *out) {
    const kd_gguf_kv *kv = scalar(g, key);
    return kv && kd_gguf_elem_f64(kv, 0, out);
}
bool kd_gguf_bool(const kd_gguf *g, const char *key, bool *out) {
    const kd_gguf_kv *kv = scalar(g, key);
    if (!kv || kv->type != KD_GGUF_BOOL) return false;
    *out = kv->value[0] != 0;
    return true;
}
