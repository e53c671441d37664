/* tests/distill/math/fuzz_codec.c - any bytes as blocks of any type, at any alignment; then any floats through every writer, weights and all.
 * Byte 0 picks the type, byte 1 the instruction set, byte 2 whether there are weights. Output buffers are exactly as long as they must be. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/math/codec.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char *const levels[] = {"scalar", "avx2", "avx512"};
    if (size < 4) return 0;
    int t = data[0] % 103;
    const kd_dtype_info *info = kd_dtype_get(t);
    kd_cpu_cap(levels[data[1] % 3]);
    int weighted = data[2] & 1;
    data += 3;
    size -= 3;
    if (info && kd_can_read(t)) {
        size_t blocks = size / info->bytes, n = blocks * info->block;
        uint8_t *src = kd_malloc(blocks * info->bytes); /* a copy, so that a byte read too far is seen */
        float *dst = kd_malloc(n * sizeof *dst);
        if (!src || !dst) abort();
        memcpy(src, data, blocks * info->bytes);
        kd_dequantize((kd_dtype)t, src, dst, n);
        kd_free(src);
        kd_free(dst);
    }
    if (info && kd_can_write(t)) {
        size_t n = size / (weighted ? 8 : 4) / info->block * info->block, bytes = n / info->block * info->bytes;
        float *x = kd_malloc(n * 4), *w = kd_malloc(n * 4);
        uint8_t *dst = kd_malloc(bytes);
        if (!x || !w || !dst) abort();
        memcpy(x, data, n * 4);
        memcpy(w, data + (weighted ? n * 4 : 0), n * 4);
        kd_all_finite(x, n);
        if (kd_quantize((kd_dtype)t, x, dst, n, weighted ? w : NULL, NULL) != KD_OK) abort();
        kd_free(x);
        kd_free(w);
        kd_free(dst);
    }
    kd_cpu_cap(NULL);
    return 0;
}
