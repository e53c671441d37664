/* convert/types.c - the names that --type takes, and which tensor becomes what. Leans on convert.h.
 * The mixes are facts of llama.cpp (src/llama-quant.cpp of b11028): which matrices get more bits, and what stands in where a row is no
 * multiple of 256. */
#include "convert/convert.h"

#include <string.h>
#include <strings.h>

static const kd_convert_type TYPES[] = {
    {"f32", KD_F32, false, 0},     {"f16", KD_F16, false, 1},        {"bf16", KD_BF16, false, 32},     {"q8_0", KD_Q8_0, false, 7},
    {"q4_0", KD_Q4_0, false, 2},   {"q4_1", KD_Q4_1, false, 3},      {"q5_0", KD_Q5_0, false, 8},      {"q5_1", KD_Q5_1, false, 9},
    {"q2_k", KD_Q2_K, false, 10},  {"q3_k", KD_Q3_K, false, 11},     {"q4_k", KD_Q4_K, false, 14},     {"q5_k", KD_Q5_K, false, 16},
    {"q6_k", KD_Q6_K, false, 18},  {"iq4_nl", KD_IQ4_NL, false, 25}, {"iq4_xs", KD_IQ4_XS, false, 30}, {"mxfp4", KD_MXFP4, false, 38},
    {"q2_k_s", KD_Q2_K, true, 21}, {"q3_k_s", KD_Q3_K, true, 11},    {"q3_k_m", KD_Q3_K, true, 12},    {"q3_k_l", KD_Q3_K, true, 13},
    {"q4_k_s", KD_Q4_K, true, 14}, {"q4_k_m", KD_Q4_K, true, 15},    {"q5_k_s", KD_Q5_K, true, 16},    {"q5_k_m", KD_Q5_K, true, 17},
};
enum { FT_Q3_K_M = 12, FT_Q3_K_L = 13, FT_Q4_K_S = 14, FT_Q4_K_M = 15, FT_Q5_K_M = 17, FT_Q2_K_S = 21 };

const kd_convert_type *kd_convert_type_named(const char *name) {
    for (size_t i = 0; i < sizeof TYPES / sizeof *TYPES; i++)
        if (!strcasecmp(name, TYPES[i].name)) return &TYPES[i];
    return NULL;
}

const kd_convert_type *kd_convert_type_at(size_t i) { return i < sizeof TYPES / sizeof *TYPES ? &TYPES[i] : NULL; }

/* The first and the last eighth of the layers, and every third between. */
static bool more_bits(uint32_t l, uint32_t n) { return l < n / 8 || l >= 7 * n / 8 || (l - n / 8) % 3 == 2; }

static kd_dtype mix_v(const kd_convert_type *t, const kd_config *c, uint32_t l) {
    kd_dtype d = t->type;
    switch (t->file_type) {
    case FT_Q2_K_S: d = c->H / c->G >= 4 ? KD_Q4_K : d; break;
    case FT_Q3_K_M: d = l < 2 ? KD_Q5_K : KD_Q4_K; break;
    case FT_Q3_K_L: d = KD_Q5_K; break;
    case FT_Q4_K_S: d = l < 4 ? KD_Q5_K : d; break;
    case FT_Q4_K_M:
    case FT_Q5_K_M: d = more_bits(l, c->L) ? KD_Q6_K : d; break;
    default: break;
    }
    if (c->experts == 8) return KD_Q8_0; /* small beside eight experts */
    /* 80 layers: llama.cpp's 70B, whose v matrices are small. */
    return c->L == 80 && c->H != c->G && c->arch == KD_LLAMA && (d == KD_Q3_K || d == KD_Q4_K) ? KD_Q5_K : d;
}

static kd_dtype mix_down(const kd_convert_type *t, const kd_config *c, uint32_t l) {
    switch (t->file_type) {
    case FT_Q2_K_S: return l < c->L / 8 ? KD_Q4_K : t->type;
    case FT_Q3_K_M: return l < c->L / 16 ? KD_Q5_K : KD_Q4_K;
    case FT_Q3_K_L: return KD_Q5_K;
    case FT_Q4_K_S: return l < c->L / 8 ? KD_Q5_K : t->type;
    case FT_Q4_K_M:
    case FT_Q5_K_M: return more_bits(l, c->L) ? KD_Q6_K : t->type;
    default: return t->type;
    }
}

static kd_dtype mixed(const kd_convert_type *t, const kd_config *c, kd_role r, uint32_t l, size_t cols) {
    if (r == KD_HEAD || (r == KD_EMBED && c->tied)) return cols % 256 ? KD_Q8_0 : KD_Q6_K;
    if (r == KD_V) return mix_v(t, c, l);
    if (r == KD_K && c->experts == 8) return KD_Q8_0;
    if (r == KD_DOWN || r == KD_EXP_DOWN) return mix_down(t, c, l);
    if (r == KD_O && c->experts == 8)
        return t->type == KD_Q5_K || t->file_type == FT_Q3_K_L || t->file_type == FT_Q2_K_S ? t->type : KD_Q5_K;
    if (r == KD_O && t->file_type == FT_Q3_K_M) return KD_Q4_K;
    if (r == KD_O && t->file_type == FT_Q3_K_L) return KD_Q5_K;
    return t->type;
}

/* What stands in for a type of 256 where rows are multiples of 32 only. */
static kd_dtype smaller(kd_dtype t) {
    switch (t) {
    case KD_Q2_K:
    case KD_Q3_K: return KD_Q4_0;
    case KD_Q4_K: return KD_Q5_0;
    case KD_Q5_K: return KD_Q5_1;
    case KD_Q6_K: return KD_Q8_0;
    case KD_IQ4_XS: return KD_IQ4_NL;
    default: return t;
    }
}

kd_dtype kd_convert_type_of(const kd_convert_type *t, const kd_config *c, kd_role r, uint32_t layer, size_t cols) {
    kd_dtype d = t->mix ? mixed(t, c, r, layer, cols) : t->type;
    if (t->mix && cols % kd_dtype_get((int)d)->block) d = smaller(d);
    return cols % kd_dtype_get((int)d)->block ? KD_F16 : d;
}
