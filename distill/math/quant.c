/* distill/math/quant.c - which types are searched, and their bodies. Leans on quant.h. */
#include "distill/math/quant.h"

#include <assert.h>

bool kd_quant_searches(int t) {
    (void)t;
    return false;
}

void kd_quant_search(kd_dtype t, const float *src, void *dst, size_t n, const float *importance) {
    (void)t, (void)src, (void)dst, (void)n, (void)importance;
    assert(0);
}
