/* distill/model/packed.c - reads quantization_config, finds the tensors of a packed matrix, unpacks rows. Leans on packed.h, math/codec.h. */
#include "distill/model/packed.h"

#include "distill/math/codec.h"

#include <stdio.h>
#include <string.h>

const char *kd_packing_name(const kd_packing *p) {
    switch (p->kind) {
    case KD_PACK_FP8: return "FP8 (e4m3)";
    case KD_PACK_GPTQ: return p->bits == 8 ? "GPTQ, 8 bits" : "GPTQ, 4 bits";
    case KD_PACK_AWQ: return "AWQ, 4 bits";
    case KD_PACK_COMPRESSED:
        return p->floats ? "compressed-tensors, FP8" : p->bits == 8 ? "compressed-tensors, 8 bits" : "compressed-tensors, 4 bits";
    default: return "none";
    }
}

/* --- quantization_config --- */

static const kd_json_node *get(const kd_json_node *o, const char *key) {
    const kd_json_node *n = kd_json_get(o, key);
    return kd_json_typeof(n) == KD_JSON_NULL ? NULL : n;
}
static kd_code bad(kd_err *e, kd_code c, const char *what, const char *key, const char *why) {
    return kd_fail(e, c, "%s: quantization_config.%s: %s", what, key, why);
}
static bool says(const kd_json_node *o, const char *key, const char *a, const char *b) {
    const kd_str s = kd_json_string(get(o, key));
    return s.data && (kd_str_is(s, a) || (b && kd_str_is(s, b)));
}

static kd_code read_bits(kd_packing *p, const kd_json_node *o, const char *key, bool eight, const char *what, kd_err *e) {
    int64_t v = 0;
    if (!kd_json_int(get(o, key), &v) || (v != 4 && !(eight && v == 8)))
        return bad(e, KD_EUNSUPPORTED, what, key, eight ? "only 4 and 8 bits are read" : "only 4 bits are read");
    p->bits = (unsigned)v;
    return KD_OK;
}
/* -1 and absent: a row is one group. */
static kd_code read_group(kd_packing *p, const kd_json_node *o, const char *what, kd_err *e) {
    int64_t v = -1;
    const kd_json_node *n = get(o, "group_size");
    if (n && (!kd_json_int(n, &v) || v == 0 || v < -1 || v > 1 << 20))
        return bad(e, KD_EFORMAT, what, "group_size", "expected -1 or a number of columns");
    p->group = v > 0 ? (size_t)v : 0;
    return KD_OK;
}

static kd_code read_gptq(kd_packing *p, const kd_json_node *o, const char *what, kd_err *e) {
    const kd_json_node *form = get(o, "checkpoint_format");
    kd_code c = read_bits(p, o, "bits", true, what, e);
    if (!c) c = read_group(p, o, what, e);
    if (c) return c;
    p->v2 = says(o, "checkpoint_format", "gptq_v2", NULL);
    if (form && !p->v2 && !says(o, "checkpoint_format", "gptq", NULL))
        return bad(e, KD_EUNSUPPORTED, what, "checkpoint_format", "only gptq and gptq_v2 are read");
    if (kd_json_bool(get(o, "is_marlin_format"), false))
        return bad(e, KD_EUNSUPPORTED, what, "is_marlin_format", "weights in Marlin's order are not read");
    if (get(o, "dynamic") && kd_json_count(get(o, "dynamic")))
        return bad(e, KD_EUNSUPPORTED, what, "dynamic", "modules that differ in bits are not read");
    return KD_OK;
}

static kd_code read_awq(kd_packing *p, const kd_json_node *o, const char *what, kd_err *e) {
    const kd_json_node *version = get(o, "version");
    kd_code c = read_bits(p, o, get(o, "bits") ? "bits" : "w_bit", false, what, e);
    if (!c) c = read_group(p, o, what, e);
    if (c) return c;
    if (version && !says(o, "version", "gemm", "GEMM")) return bad(e, KD_EUNSUPPORTED, what, "version", "only gemm is read");
    if (get(o, "zero_point") && !kd_json_bool(get(o, "zero_point"), true))
        return bad(e, KD_EUNSUPPORTED, what, "zero_point", "weights without zero points are not read");
    return KD_OK;
}

static kd_code read_fp8(kd_packing *p, const kd_json_node *o, const char *what, kd_err *e) {
    const kd_json_node *block = get(o, "weight_block_size");
    int64_t h = 0, w = 0;
    p->bits = 8;
    if (get(o, "fmt") && !says(o, "fmt", "e4m3", "float8_e4m3fn")) return bad(e, KD_EUNSUPPORTED, what, "fmt", "only e4m3 is read");
    if (get(o, "scale_fmt") && !says(o, "scale_fmt", "float", "float32"))
        return bad(e, KD_EUNSUPPORTED, what, "scale_fmt", "only float scales are read");
    if (!block) return KD_OK;
    if (kd_json_count(block) != 2 || !kd_json_int(kd_json_first(block), &h) || !kd_json_int(kd_json_next(kd_json_first(block)), &w) ||
        h < 1 || w < 1 || h > 1 << 20 || w > 1 << 20)
        return bad(e, KD_EFORMAT, what, "weight_block_size", "expected two numbers of rows and columns");
    p->block[0] = (size_t)h, p->block[1] = (size_t)w;
    return KD_OK;
}

static bool empty(const kd_json_node *n) { return !n || (kd_json_typeof(n) == KD_JSON_OBJECT && !kd_json_count(n)); }

static kd_code read_compressed(kd_packing *p, const kd_json_node *o, const char *what, kd_err *e) {
    const bool packed = says(o, "format", "pack-quantized", NULL), ints = says(o, "format", "int-quantized", NULL),
               floats = says(o, "format", "float-quantized", NULL), naive = says(o, "format", "naive-quantized", NULL);
    const kd_json_node *sparse = get(o, "sparsity_config");
    if (!packed && !ints && !floats && !naive)
        return bad(e, KD_EUNSUPPORTED, what, "format", "only pack-quantized, int-quantized, float-quantized and naive-quantized are read");
    if (!empty(sparse) && !says(sparse, "format", "dense", NULL))
        return bad(e, KD_EUNSUPPORTED, what, "sparsity_config", "sparse weights are not read");
    if (!empty(get(o, "transform_config")))
        return bad(e, KD_EUNSUPPORTED, what, "transform_config", "weights that are transformed are not read");
    size_t groups = 0;
    for (const kd_json_node *g = kd_json_first(get(o, "config_groups")); g; g = kd_json_next(g), groups++) {
        const kd_json_node *w = get(g, "weights");
        kd_packing one = {0};
        kd_code c = w ? read_bits(&one, w, "num_bits", true, what, e)
                      : bad(e, KD_EFORMAT, what, "config_groups", "expected weights in every group");
        if (c) return c;
        one.floats = says(w, "type", "float", NULL);
        if (groups && (one.bits != p->bits || one.floats != p->floats))
            return bad(e, KD_EUNSUPPORTED, what, "config_groups", "groups of modules that differ in their type are not read");
        p->bits = one.bits, p->floats = one.floats;
    }
    if (!groups) return bad(e, KD_EFORMAT, what, "config_groups", "expected at least one");
    if ((packed && p->floats) || (floats && !p->floats) || (p->floats && p->bits != 8) || (!packed && p->bits != 8))
        return bad(e, KD_EUNSUPPORTED, what, "config_groups", "this number of bits is not read in this format");
    return KD_OK;
}

kd_code kd_packing_read(kd_packing *out, const kd_json_node *node, const char *what, kd_err *e) {
    memset(out, 0, sizeof *out);
    if (!node || kd_json_typeof(node) == KD_JSON_NULL) return KD_OK;
    const kd_str method = kd_json_string(kd_json_get(node, "quant_method"));
    if (kd_str_is(method, "gptq")) return out->kind = KD_PACK_GPTQ, read_gptq(out, node, what, e);
    if (kd_str_is(method, "awq")) return out->kind = KD_PACK_AWQ, read_awq(out, node, what, e);
    if (kd_str_is(method, "fp8")) return out->kind = KD_PACK_FP8, read_fp8(out, node, what, e);
    if (kd_str_is(method, "compressed-tensors")) return out->kind = KD_PACK_COMPRESSED, read_compressed(out, node, what, e);
    return kd_fail(e, KD_EUNSUPPORTED, "%s: quantization_config.quant_method: '%.40s' is not read (fp8, gptq, awq, compressed-tensors are)",
                   what, method.data ? method.data : "");
}

/* --- tensors --- */

typedef struct {
    const kd_tensors *set;
    const char *module, *path;
    kd_err *e;
} finder;

static const kd_tensor *find(const finder *f, const char *suffix) {
    char name[192];
    const int n = snprintf(name, sizeof name, "%s.%s", f->module, suffix);
    return n > 0 && (size_t)n < sizeof name ? kd_tensors_find(f->set, name) : NULL;
}
static bool shaped(const kd_tensor *t, size_t a, size_t b) { return t->ndim == 2 && t->shape[0] == a && t->shape[1] == b; }
static bool is_float(const kd_tensor *t) { return t->type == KD_F32 || t->type == KD_F16 || t->type == KD_BF16; }
static kd_code wrong(const finder *f, const kd_tensor *t, const char *suffix, const char *expected) {
    char s[64];
    if (!t) return kd_fail(f->e, KD_EFORMAT, "%s: tensor %s.%s: expected %s, found none", f->path, f->module, suffix, expected);
    return kd_fail(f->e, KD_EFORMAT, "%s: tensor %s: expected %s, found %s %s", f->path, t->name.data, expected,
                   kd_dtype_get((int)t->type)->name, kd_shape_text(t->ndim, t->shape, s, sizeof s));
}

/* Every column's group is one of the groups. */
static kd_code check_order(const finder *f, const kd_packed *p) {
    if (!p->order) return KD_OK;
    if (p->order->type != KD_I32 || p->order->ndim != 1 || p->order->shape[0] != p->cols)
        return wrong(f, p->order, "", "an i32 for every column");
    for (size_t i = 0; i < p->cols; i++) {
        int32_t g;
        memcpy(&g, (const char *)p->order->data + 4 * i, 4);
        if (g < 0 || (size_t)g >= p->groups)
            return kd_fail(f->e, KD_EFORMAT, "%s: tensor %s: column %zu: expected a group below %zu, found %d", f->path,
                           p->order->name.data, i, p->groups, (int)g);
    }
    return KD_OK;
}

static kd_code find_words(const finder *f, kd_packed *p) {
    const size_t per = 32 / p->how.bits;
    const bool gptq = p->how.kind == KD_PACK_GPTQ;
    if (p->how.group && p->cols % p->how.group && !find(f, "g_idx"))
        return kd_fail(f->e, KD_EFORMAT, "%s: tensor %s.qweight: %zu columns are no whole groups of %zu", f->path, f->module, p->cols,
                       p->how.group);
    p->groups = p->how.group ? (p->cols + p->how.group - 1) / p->how.group : 1;
    if (p->rows % per || (gptq && p->cols % per))
        return kd_fail(f->e, KD_EFORMAT, "%s: tensor %s.qweight: %zu x %zu are no whole words of %zu codes", f->path, f->module, p->rows,
                       p->cols, per);
    p->scales = find(f, "scales"), p->zeros = find(f, "qzeros"), p->order = gptq ? find(f, "g_idx") : NULL;
    if (p->codes->type != KD_I32 || (gptq ? !shaped(p->codes, p->cols / per, p->rows) : !shaped(p->codes, p->cols, p->rows / per)))
        return wrong(f, p->codes, "qweight", "the codes of its matrix in i32");
    if (!p->scales || !is_float(p->scales) || !shaped(p->scales, p->groups, p->rows))
        return wrong(f, p->scales, "scales", "a float for every group and row");
    if (!p->zeros || p->zeros->type != KD_I32 || !shaped(p->zeros, p->groups, p->rows / per))
        return wrong(f, p->zeros, "qzeros", "the zero of every group and row in i32");
    return check_order(f, p);
}

/* Scales [rows, groups], [rows], [1] or []. */
static kd_code find_scales(const finder *f, kd_packed *p, const char *suffix) {
    const kd_tensor *t = find(f, suffix);
    if (!t || !is_float(t) || t->ndim > 2) return wrong(f, t, suffix, "the scales of its matrix in floats");
    p->scales = t;
    const size_t n = kd_tensor_elements(t);
    if (n == 1) return p->groups = 0, KD_OK;
    if (t->ndim == 1 ? n != p->rows : t->shape[0] != p->rows || !t->shape[1] || p->cols % t->shape[1])
        return wrong(f, t, suffix, "a scale for every row, or every row's groups of columns");
    p->groups = t->ndim == 1 ? 1 : (size_t)t->shape[1];
    return KD_OK;
}

static kd_code find_compressed(const finder *f, kd_packed *p) {
    const size_t per = 32 / p->how.bits;
    const bool words = p->codes->type == KD_I32;
    if (words ? !shaped(p->codes, p->rows, (p->cols + per - 1) / per)
              : p->codes->type != (p->how.floats ? KD_F8_E4M3 : KD_I8) || !shaped(p->codes, p->rows, p->cols))
        return wrong(f, p->codes, "", "the codes of its matrix");
    kd_code c = find_scales(f, p, "weight_scale");
    if (c) return c;
    p->zeros = find(f, "weight_zero_point"), p->order = find(f, "weight_g_idx"), p->shape = find(f, "weight_shape");
    if (p->zeros && (!p->groups || (p->zeros->type == KD_I32  ? !shaped(p->zeros, (p->rows + per - 1) / per, p->groups)
                                    : p->zeros->type == KD_I8 ? kd_tensor_elements(p->zeros) != p->rows * p->groups
                                                              : true)))
        return wrong(f, p->zeros, "weight_zero_point", "the zero of every scale");
    if (p->order && !p->groups) return wrong(f, p->order, "weight_g_idx", "no order where there are no groups");
    return check_order(f, p);
}

static kd_code find_fp8(const finder *f, kd_packed *p) {
    const size_t h = p->how.block[0], w = p->how.block[1];
    if (!shaped(p->codes, p->rows, p->cols)) return wrong(f, p->codes, "weight", "the codes of its matrix");
    if (!h) return find_scales(f, p, find(f, "weight_scale_inv") ? "weight_scale_inv" : "weight_scale");
    p->scales = find(f, "weight_scale_inv");
    if (!p->scales || !is_float(p->scales) || !shaped(p->scales, (p->rows + h - 1) / h, (p->cols + w - 1) / w))
        return wrong(f, p->scales, "weight_scale_inv", "a float for every block");
    return KD_OK;
}

kd_code kd_packed_find(kd_packed *out, bool *found, const kd_packing *how, const kd_tensors *set, const char *module, size_t rows,
                       size_t cols, const char *path, kd_err *e) {
    const finder f = {set, module, path, e};
    *out = (kd_packed){.how = *how, .rows = rows, .cols = cols};
    *found = false;
    switch (how->kind) {
    case KD_PACK_GPTQ:
    case KD_PACK_AWQ: out->codes = find(&f, "qweight"); break;
    case KD_PACK_FP8: out->codes = find(&f, "weight"); break;
    case KD_PACK_COMPRESSED:
        out->codes = find(&f, "weight_packed");
        if (!out->codes) out->codes = find(&f, "weight");
        break;
    default: return KD_OK;
    }
    if (!out->codes || is_float(out->codes)) return KD_OK; /* left as it was */
    *found = true;
    if (how->kind == KD_PACK_FP8 && out->codes->type != KD_F8_E4M3) return wrong(&f, out->codes, "weight", "f8_e4m3");
    return how->kind == KD_PACK_FP8 ? find_fp8(&f, out) : how->kind == KD_PACK_COMPRESSED ? find_compressed(&f, out) : find_words(&f, out);
}

/* --- rows --- */

static float float_at(const kd_tensor *t, size_t i) {
    uint16_t h;
    float v;
    if (t->type == KD_F32) {
        memcpy(&v, (const char *)t->data + 4 * i, 4);
        return v;
    }
    memcpy(&h, (const char *)t->data + 2 * i, 2);
    return t->type == KD_F16 ? kd_f16_to_f32(h) : kd_bf16_to_f32(h);
}
static uint32_t word_at(const kd_tensor *t, size_t i) {
    uint32_t v;
    memcpy(&v, (const char *)t->data + 4 * i, 4);
    return v;
}
static size_t group_of(const kd_packed *p, size_t col) {
    int32_t g;
    if (!p->order) return p->how.group ? col / p->how.group : 0;
    memcpy(&g, (const char *)p->order->data + 4 * col, 4);
    return (size_t)g;
}

/* Where code o of eight lies in AWQ's words. */
static const unsigned char AWQ_AT[8] = {0, 4, 1, 5, 2, 6, 3, 7};

/* GPTQ and AWQ: codes go down the columns, so a tile of rows is read a column at a time. */
static void word_rows(const kd_packed *p, size_t first, size_t n, float *out) {
    const unsigned bits = p->how.bits, mask = (1u << bits) - 1;
    const size_t per = 32 / bits, cols = p->cols;
    const bool awq = p->how.kind == KD_PACK_AWQ;
    const float shift = p->how.kind == KD_PACK_GPTQ && !p->how.v2 ? 1.0f : 0.0f;
    float scale[KD_PACKED_ROWS], zero[KD_PACKED_ROWS];
    size_t at = SIZE_MAX;
    for (size_t i = 0; i < cols; i++) {
        const size_t g = group_of(p, i);
        for (size_t r = 0; r < n && g != at; r++) {
            const size_t o = first + r;
            const uint32_t z = word_at(p->zeros, g * (p->rows / per) + o / per);
            scale[r] = float_at(p->scales, g * p->rows + o);
            zero[r] = (float)(z >> bits * (awq ? AWQ_AT[o % 8] : (unsigned)(o % per)) & mask) + shift;
        }
        at = g;
        for (size_t r = 0; r < n; r++) {
            const size_t o = first + r;
            const uint32_t q = awq ? word_at(p->codes, i * (p->rows / per) + o / per) >> 4 * AWQ_AT[o % 8]
                                   : word_at(p->codes, i / per * p->rows + o) >> bits * (unsigned)(i % per);
            out[r * cols + i] = scale[r] * ((float)(q & mask) - zero[r]);
        }
    }
}

/* The zero of one scale of a packed row, in units of codes as they are stored. */
static float zero_of(const kd_packed *p, size_t row, size_t g, float middle) {
    const size_t per = 32 / p->how.bits;
    int8_t v;
    if (!p->zeros) return middle;
    if (p->zeros->type == KD_I32)
        return (float)(word_at(p->zeros, row / per * p->groups + g) >> p->how.bits * (unsigned)(row % per) & ((1u << p->how.bits) - 1));
    memcpy(&v, (const char *)p->zeros->data + row * p->groups + g, 1);
    return middle + (float)v;
}

static void compressed_row(const kd_packed *p, size_t row, float *out) {
    const unsigned bits = p->how.bits;
    const size_t cols = p->cols, per = 32 / bits, words = (cols + per - 1) / per, group = p->groups ? cols / p->groups : cols;
    const bool packed = p->codes->type == KD_I32;
    const float middle = packed ? (float)(1u << (bits - 1)) : 0;
    float scale = 0, zero = 0;
    size_t at = SIZE_MAX;
    if (p->how.floats) kd_dequantize(KD_F8_E4M3, (const char *)p->codes->data + row * cols, out, cols);
    for (size_t i = 0; i < cols; i++) {
        const size_t g = p->order ? group_of(p, i) : i / group;
        int8_t code;
        if (g != at) {
            scale = float_at(p->scales, p->groups ? row * p->groups + g : 0);
            zero = p->how.floats ? 0 : zero_of(p, row, g, middle);
            at = g;
        }
        if (packed)
            out[i] = (float)(word_at(p->codes, row * words + i / per) >> bits * (unsigned)(i % per) & ((1u << bits) - 1));
        else if (!p->how.floats) {
            memcpy(&code, (const char *)p->codes->data + row * cols + i, 1);
            out[i] = (float)code;
        }
        out[i] = scale * (out[i] - zero);
    }
}

static void fp8_row(const kd_packed *p, size_t row, float *out) {
    const size_t cols = p->cols,
                 w = p->how.block[1] ? p->how.block[1]
                     : p->groups     ? cols / p->groups
                                     : cols,
                 blocks = (cols + w - 1) / w,
                 base = p->how.block[0] ? row / p->how.block[0] * blocks
                        : p->groups     ? row * p->groups
                                        : 0;
    kd_dequantize(KD_F8_E4M3, (const char *)p->codes->data + row * cols, out, cols);
    for (size_t b = 0; b < blocks; b++) {
        const float s = float_at(p->scales, base + b);
        for (size_t i = b * w; i < cols && i < (b + 1) * w; i++) out[i] *= s;
    }
}

void kd_packed_rows(const kd_packed *p, size_t first, size_t n, float *out) {
    if (p->how.kind == KD_PACK_GPTQ || p->how.kind == KD_PACK_AWQ) {
        for (size_t r = 0; r < n; r += KD_PACKED_ROWS)
            word_rows(p, first + r, n - r < KD_PACKED_ROWS ? n - r : KD_PACKED_ROWS, out + r * p->cols);
        return;
    }
    for (size_t r = 0; r < n; r++) {
        if (p->how.kind == KD_PACK_FP8)
            fp8_row(p, first + r, out + r * p->cols);
        else
            compressed_row(p, first + r, out + r * p->cols);
    }
}
