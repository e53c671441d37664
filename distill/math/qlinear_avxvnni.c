/* distill/math/qlinear_avxvnni.c - 8-bit products for AVX-VNNI. Leans on qlinear_body.h. */
#if defined(__x86_64__)
#define KD_ISA 256
#define KD_ISA_MORE ",avxvnni"
#define QDOT 1
#include "distill/math/qlinear_body.h"

const kd_qkernels kd_qkernels_avxvnni = {"int8 panels (avx vnni)", false, WIDES, TILES, quantize, scales};
#else
typedef int kd_qlinear_avxvnni_is_for_x86;
#endif
