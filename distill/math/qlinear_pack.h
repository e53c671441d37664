/* distill/math/qlinear_pack.h - stored rows into panels. Private to distill/math. Leans on mat.h, qlinear_kernels.h. */
#ifndef KD_MATH_QLINEAR_PACK_H
#define KD_MATH_QLINEAR_PACK_H

#include "distill/math/mat.h"
#include "distill/math/qlinear_kernels.h"

/* Rows row0.. (16, or as many as there are) of w: code gets cols/32 * kd_qcode_bytes, scale its scales; both are written whole. */
void kd_qpack_panel(const kd_mat *w, size_t row0, const kd_qformat *f, uint8_t *code, char *scale);

#endif
