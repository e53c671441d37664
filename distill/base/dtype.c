/* distill/base/dtype.c - the table of storage types. Leans on mem.h for checked sizes. */
#include "distill/base/dtype.h"

#include "distill/base/mem.h"

#include <strings.h>

static const struct {
    int type;
    kd_dtype_info info;
} table[] = {
    {KD_F32, {"f32", 1, 4, false}},
    {KD_F16, {"f16", 1, 2, false}},
    {KD_BF16, {"bf16", 1, 2, false}},
    {KD_F64, {"f64", 1, 8, false}},
    {KD_I8, {"i8", 1, 1, false}},
    {KD_I16, {"i16", 1, 2, false}},
    {KD_I32, {"i32", 1, 4, false}},
    {KD_I64, {"i64", 1, 8, false}},
    {KD_U8, {"u8", 1, 1, false}},
    {KD_BOOL, {"bool", 1, 1, false}},
    {KD_F8_E4M3, {"f8_e4m3", 1, 1, false}},
    {KD_Q4_0, {"q4_0", 32, 18, true}},
    {KD_Q4_1, {"q4_1", 32, 20, true}},
    {KD_Q5_0, {"q5_0", 32, 22, true}},
    {KD_Q5_1, {"q5_1", 32, 24, true}},
    {KD_Q8_0, {"q8_0", 32, 34, true}},
    {KD_Q2_K, {"q2_k", 256, 84, true}},
    {KD_Q3_K, {"q3_k", 256, 110, true}},
    {KD_Q4_K, {"q4_k", 256, 144, true}},
    {KD_Q5_K, {"q5_k", 256, 176, true}},
    {KD_Q6_K, {"q6_k", 256, 210, true}},
    {KD_IQ4_NL, {"iq4_nl", 32, 18, true}},
    {KD_IQ4_XS, {"iq4_xs", 256, 136, true}},
    {KD_MXFP4, {"mxfp4", 32, 17, true}},
};

const kd_dtype_info *kd_dtype_get(int type) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].type == type) return &table[i].info;
    return NULL;
}

bool kd_dtype_named(const char *name, kd_dtype *out) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcasecmp(table[i].info.name, name) == 0) {
            *out = (kd_dtype)table[i].type;
            return true;
        }
    return false;
}

bool kd_dtype_row_bytes(int type, size_t cols, size_t *bytes) {
    const kd_dtype_info *t = kd_dtype_get(type);
    if (!t || cols % t->block != 0) return false;
    return kd_mul_size(cols / t->block, t->bytes, bytes);
}
