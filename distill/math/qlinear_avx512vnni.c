/* distill/math/qlinear_avx512vnni.c - 8-bit products for AVX-512 VNNI. Leans on qlinear_body.h, qlinear_many512.h. */
#if defined(__x86_64__)
#define KD_ISA 512
#define KD_ISA_MORE ",avx512vnni"
#define QDOT 1
#include "distill/math/qlinear_body.h"
#include "distill/math/qlinear_many512.h"

const kd_qkernels kd_qkernels_avx512vnni = {
    "int8 panels (avx512 vnni)", false, WIDES, TILES, quantize, scales, OPENS, MANIES, 5, false, many_finish};
#else
typedef int kd_qlinear_avx512vnni_is_for_x86;
#endif
