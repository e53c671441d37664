/* distill/math/linear_avx2.c - the f32 panel product for AVX2. Leans on linear_body.h. */
#if defined(__x86_64__)
#define KD_ISA 256
#define PANEL kd_panel_avx2
#include "distill/math/linear_body.h"
#else
typedef int kd_linear_avx2_is_for_x86;
#endif
