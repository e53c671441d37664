/* distill/math/qlinear_avx2.c - 8-bit products for AVX2 (maddubs). Leans on qlinear_body.h, qlinear_many.h. */
#if defined(__x86_64__)
#define KD_ISA 256
#define QDOT 0
#include "distill/math/qlinear_body.h"
#include "distill/math/qlinear_many.h"

const kd_qkernels kd_qkernels_avx2 = {"int8 panels (avx2)", true, WIDES, TILES, quantize, scales, OPENS, MANIES, 12, true, many_finish};
#else
typedef int kd_qlinear_avx2_is_for_x86;
#endif
