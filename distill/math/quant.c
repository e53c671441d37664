/* distill/math/quant.c - which types are searched, by which body, and the tables that the bodies share. Leans on quant.h, base/cpu.h. */
#include "distill/math/quant.h"

#include "distill/base/cpu.h"

#include <assert.h>

/* kd_iq4_values as floats, and the midpoints between them in heap order (entry 1 the root; 0 unused). */
extern const float kd_iq4_tree[16], kd_iq4_book[16];
const float kd_iq4_book[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
const float kd_iq4_tree[16] = {0, -4.5f, -57, 45.5f, -93.5f, -28.5f, 19, 79, -115.5f, -74, -42, -16, 7, 31.5f, 61, 101};

bool kd_quant_searches(int t) { return t >= 0 && t < KD_CODEC_SLOTS && kd_search_scalar[t]; }

void kd_quant_search(kd_dtype t, const float *src, void *dst, size_t n, const float *importance) {
    assert(kd_quant_searches((int)t));
    kd_search_fn *const *table = kd_search_scalar;
#if defined(__x86_64__)
    kd_cpu_level level = kd_cpu_get()->level;
    if (level != KD_CPU_SCALAR) table = level == KD_CPU_AVX512 ? kd_search_avx512 : kd_search_avx2;
#endif
    table[t](src, dst, n, importance);
}
