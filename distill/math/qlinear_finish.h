/* distill/math/qlinear_finish.h - how products of many rows end: y [N, rows <= 32] (+)= acc [N, 32] + bias. Leans on ops_vec.h, qlinear_kernels.h. */
static void many_finish(const float *acc, size_t N, const float *bias, float *y, size_t ldy, size_t rows, bool accumulate) {
    for (size_t n = 0; n < N; n++, y += ldy, acc += 2 * KD_QROWS)
        for (size_t r = 0; r < rows; r += VW) {
            const size_t left = rows - r;
            vf v = v_load(acc + r);
            if (bias) v = v + (left >= VW ? v_load(bias + r) : v_load_n(bias + r, left));
            if (accumulate) v = v + (left >= VW ? v_load(y + r) : v_load_n(y + r, left));
            if (left >= VW)
                v_store(y + r, v);
            else
                v_store_n(y + r, v, left);
        }
}
