/* distill/math/linear_scalar.c - the f32 panel product for any machine. Leans on linear_body.h. */
#define KD_ISA 4
#define PANEL kd_panel_scalar
#include "distill/math/linear_body.h"
