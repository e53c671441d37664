/* distill/math/linear_avx512.c - the f32 panel product for AVX-512. Leans on linear_body.h. */
#if defined(__x86_64__)
#define KD_ISA 512
#define PANEL kd_panel_avx512
#include "distill/math/linear_body.h"
#else
typedef int kd_linear_avx512_is_for_x86;
#endif
