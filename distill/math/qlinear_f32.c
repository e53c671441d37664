/* distill/math/qlinear_f32.c - the fallback of linear.h's 8-bit products for matrices that have no 8-bit form: f32 arithmetic. Leans on linear.h. */
#include "distill/base/mem.h"
#include "distill/math/linear.h"

struct kd_qmat {
    kd_mat w;
};

kd_code kd_qmat_new(kd_qmat **out, const kd_mat *w, bool repack, kd_pool *pool, kd_err *e) {
    (void)repack, (void)pool;
    *out = kd_malloc(sizeof **out);
    if (!*out)
        return kd_fail(e, KD_ENOMEM, "matrix of %zu x %zu: out of memory", w->rows, w->cols);
    (*out)->w = *w;
    return KD_OK;
}
void kd_qmat_free(kd_qmat *q) {
    kd_free(q);
}
size_t kd_qmat_bytes(const kd_qmat *q) {
    return sizeof *q;
}
const char *kd_qmat_kind(const kd_qmat *q) {
    (void)q;
    return "f32";
}
void kd_qlinear(const kd_qmat *q, const float *bias, const float *x, size_t ldx, float *y, size_t ldy, size_t N, bool accumulate, kd_pool *pool,
                void *scratch) {
    kd_linear_f32(&q->w, bias, x, ldx, y, ldy, N, accumulate, pool, scratch);
}
size_t kd_qlinear_scratch(size_t max_cols, size_t max_n, int threads) {
    return kd_linear_scratch(max_cols, max_n, threads);
}
