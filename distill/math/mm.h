/* distill/math/mm.h - the inner kernels of gemm.c: packed panels and the tile that multiplies them; private to distill/math.
 * Source of the scheme: Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication".
 * A panel of A holds mr rows interleaved by depth, [depth][mr]; a panel of B holds nr columns, [depth][nr]; ragged edges are zeros.
 * f32: a step of depth is one float. bf16: a step is two values rounded to bfloat16, side by side in 32 bits; sums stay f32. */
#ifndef KD_MATH_MM_H
#define KD_MATH_MM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { KD_MM_STRIP = 64 }; /* columns of B that a task packs: a multiple of every nr */

typedef struct {
    size_t mr, nr, pair; /* pair: values a step (1, or 2 for bf16) */
    /* c[mr,nr] (stride ldc) (+)= alpha * A B + bias[nr] (NULL: none); steps of depth */
    void (*tile)(float *c, size_t ldc, const void *a, const void *b, size_t steps, float alpha, bool accumulate, const float *bias);
    /* dst = panels of `lanes` (mr or nr) from n rows of `depth` floats: lane i is row i. src row-major with stride ld. */
    void (*pack_rows)(void *dst, size_t lanes, const float *src, size_t ld, size_t n, size_t depth);
    /* dst = a panel of `lanes` from depth rows whose first n <= lanes floats are the lanes. */
    void (*pack_columns)(void *dst, size_t lanes, const float *src, size_t ld, size_t n, size_t depth);
    /* The same from numbers stored as bfloat16; NULL where panels are floats. */
    void (*pack_rows_bits)(void *dst, size_t lanes, const uint16_t *src, size_t ld, size_t n, size_t depth);
    void (*pack_columns_bits)(void *dst, size_t lanes, const uint16_t *src, size_t ld, size_t n, size_t depth);
} kd_mm;
/* A tile whose left operand was not packed: c[mr,cols] (+)= alpha * sum_k a[i*rs + k*cs] b[k*ldb + j]. All mr rows of a are read, all cols columns
 * of b and c must be there. In f32. */
typedef void kd_mm_open(float *c, size_t ldc, const float *a, size_t rs, size_t cs, const float *b, size_t ldb, size_t steps, float alpha,
                        bool accumulate);
enum { KD_MM_NARROW = 16, KD_MM_ROWS = 14 }; /* columns of the narrow tile; most mr of any */
typedef struct {
    size_t mr, nr;             /* of wide; narrow is mr x KD_MM_NARROW */
    kd_mm_open *wide, *narrow; /* rows any distance apart */
    kd_mm_open *turned;        /* narrow, rs 1 */
} kd_mm_tiles;
const kd_mm_tiles *kd_mm_open_tiles(void); /* by kd_cpu_get; NULL: none for this CPU */
const kd_mm *kd_mm_f32(void);              /* by kd_cpu_get; NULL: none for this CPU */
const kd_mm *kd_mm_bf16(void);             /* NULL without AVX512-BF16 */

#endif
