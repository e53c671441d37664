/* distill/math/grad_body.h - the vector body of grad.h, included once per instruction set with KD_TARGET and KD_SUFFIX defined.
 * Vectors are 16 lanes whatever the registers hold, no product is fused into a sum: every build gives the same bits. */
#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define FN(name) CAT(name, KD_SUFFIX)
#define INL static inline __attribute__((always_inline)) KD_TARGET

INL vf FN(load)(const float *p) { return *(const vfu *)p; }
INL void FN(store)(float *p, vf v) { *(vfu *)p = v; }
INL vf FN(splat)(float a) { return (vf){a, a, a, a, a, a, a, a, a, a, a, a, a, a, a, a}; }
/* The first n < 16 floats, zero (or fill) behind. */
INL vf FN(load_tail)(const float *p, size_t n, float fill) {
    float t[16];
    for (size_t i = 0; i < 16; i++) t[i] = fill;
    memcpy(t, p, n * sizeof *p);
    return FN(load)(t);
}
INL void FN(store_tail)(float *p, vf v, size_t n) {
    float t[16];
    FN(store)(t, v);
    memcpy(p, t, n * sizeof *p);
}
INL vf FN(blend)(vi mask, vf a, vf b) { return (vf)(((vi)a & mask) | ((vi)b & ~mask)); }
INL vf FN(max)(vf a, vf b) { return FN(blend)(a > b, a, b); }
INL float FN(sum)(vf v) {
    float t[16];
    FN(store)(t, v);
    float s[4];
    for (int i = 0; i < 4; i++) s[i] = (t[i] + t[i + 4]) + (t[i + 8] + t[i + 12]);
    return (s[0] + s[1]) + (s[2] + s[3]);
}
INL float FN(top)(vf v) {
    float t[16], m;
    FN(store)(t, v);
    m = t[0];
    for (int i = 1; i < 16; i++)
        if (t[i] > m) m = t[i];
    return m;
}
/* exp within 2 ulp for x in [-87, 88]; 0 below; NaN stays NaN. */
INL vf FN(exp)(vf x) {
    vi low = x < FN(splat)(-87.0f);
    vf xc = FN(blend)(low, FN(splat)(-87.0f), x);
    xc = FN(blend)(xc > FN(splat)(88.0f), FN(splat)(88.0f), xc);
    vf t = xc * FN(splat)(1.44269504088896341f) + FN(splat)(12582912.0f);
    vf n = t - FN(splat)(12582912.0f);
    vf r = xc - n * FN(splat)(0.693359375f);
    r = r - n * FN(splat)(-2.12194440e-4f);
    vf p = FN(splat)(1.9875691500e-4f);
    p = p * r + FN(splat)(1.3981999507e-3f);
    p = p * r + FN(splat)(8.3334519073e-3f);
    p = p * r + FN(splat)(4.1665795894e-2f);
    p = p * r + FN(splat)(1.6666665459e-1f);
    p = p * r + FN(splat)(5.0000001201e-1f);
    p = p * (r * r) + r + FN(splat)(1.0f);
    vi e = ((vi)t - 0x4B400000) << 23;
    vf y = (vf)((vi)p + e) + (xc - xc); /* NOLINT: NaN from NaN */
    return (vf)((vi)y & ~low);
}

KD_TARGET static void FN(add)(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + 16 <= n; i += 16) FN(store)(y + i, FN(load)(y + i) + FN(load)(x + i));
    for (; i < n; i++) y[i] += x[i];
}
KD_TARGET static void FN(scale)(float *y, float a, size_t n) {
    size_t i = 0;
    vf s = FN(splat)(a);
    for (; i + 16 <= n; i += 16) FN(store)(y + i, FN(load)(y + i) * s);
    for (; i < n; i++) y[i] *= a;
}
KD_TARGET static double FN(dot)(const float *a, const float *b, size_t n) {
    double total = 0;
    for (size_t i = 0; i < n; i += 512) {
        size_t m = n - i < 512 ? n - i : 512, j = 0;
        vf s = FN(splat)(0);
        for (; j + 16 <= m; j += 16) s += FN(load)(a + i + j) * FN(load)(b + i + j);
        if (j < m) s += FN(load_tail)(a + i + j, m - j, 0) * FN(load_tail)(b + i + j, m - j, 0);
        total += (double)FN(sum)(s);
    }
    return total;
}
KD_TARGET static void FN(scale_columns)(float *y, const float *z, const float *s, const float *bias, size_t C, bool accumulate) {
    size_t i = 0;
    for (; i + 16 <= C; i += 16) {
        vf v = FN(load)(s + i) * FN(load)(z + i);
        if (bias) v += FN(load)(bias + i);
        if (accumulate) v += FN(load)(y + i);
        FN(store)(y + i, v);
    }
    for (; i < C; i++) {
        float v = s[i] * z[i];
        if (bias) v += bias[i];
        if (accumulate) v += y[i];
        y[i] = v;
    }
}
/* out[0..16) += scale * sum_n a * b, in stretches of 64 rows so that late rows are not lost in a large sum; b NULL counts as 1. */
KD_TARGET static void FN(column_sums)(float *out, const float *a, size_t lda, const float *b, size_t ldb, const float *scale,
                                      const float *row, size_t N, size_t C) {
    for (size_t c = 0; c < C; c += 16) {
        size_t m = C - c < 16 ? C - c : 16;
        vf total = FN(splat)(0);
        for (size_t n0 = 0; n0 < N; n0 += 64) {
            vf s = FN(splat)(0);
            size_t end = N - n0 < 64 ? N : n0 + 64;
            for (size_t n = n0; n < end; n++) {
                vf v = m == 16 ? FN(load)(a + n * lda + c) : FN(load_tail)(a + n * lda + c, m, 0);
                if (b) v *= m == 16 ? FN(load)(b + n * ldb + c) : FN(load_tail)(b + n * ldb + c, m, 0);
                if (row) v *= FN(splat)(row[n]);
                s += v;
            }
            total += s;
        }
        if (scale) total *= FN(load_tail)(scale + c, m, 0);
        FN(store_tail)(out + c, FN(load_tail)(out + c, m, 0) + total, m);
    }
}
KD_TARGET static void FN(rmsnorm_backward)(float *dx, const float *dy, const float *x, const float *w, float rstd, size_t C) {
    vf s = FN(splat)(0);
    size_t i = 0;
    for (; i + 16 <= C; i += 16) s += FN(load)(w + i) * FN(load)(dy + i) * FN(load)(x + i);
    if (i < C) s += FN(load_tail)(w + i, C - i, 0) * FN(load_tail)(dy + i, C - i, 0) * FN(load_tail)(x + i, C - i, 0);
    float k = FN(sum)(s) * rstd * rstd / (float)C;
    vf vk = FN(splat)(k), vr = FN(splat)(rstd);
    for (i = 0; i + 16 <= C; i += 16)
        FN(store)(dx + i, FN(load)(dx + i) + vr * (FN(load)(w + i) * FN(load)(dy + i) - FN(load)(x + i) * vk));
    for (; i < C; i++) dx[i] += rstd * (w[i] * dy[i] - x[i] * k);
}
KD_TARGET static void FN(swiglu_backward)(float *dg, float *du, const float *dy, const float *g, const float *u, size_t n) {
    vf one = FN(splat)(1.0f);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        bool full = m == 16;
        vf vg = full ? FN(load)(g + i) : FN(load_tail)(g + i, m, 0), vu = full ? FN(load)(u + i) : FN(load_tail)(u + i, m, 0);
        vf vd = full ? FN(load)(dy + i) : FN(load_tail)(dy + i, m, 0);
        vf sig = one / (one + FN(exp)(-vg)), act = vg * sig;
        vf a = vd * vu * sig * (one + vg * (one - sig)), b = vd * act;
        if (full) {
            FN(store)(dg + i, a);
            FN(store)(du + i, b);
        } else {
            FN(store_tail)(dg + i, a, m);
            FN(store_tail)(du + i, b, m);
        }
    }
}
/* p[i] = exp(z[i] - m), and their sum. out may be z; NULL: the sum alone. */
KD_TARGET static double FN(exp_sum)(float *out, const float *z, size_t n, float m) {
    double total = 0;
    vf vm = FN(splat)(m);
    for (size_t i = 0; i < n; i += 1024) {
        size_t k = n - i < 1024 ? n - i : 1024, j = 0;
        vf s = FN(splat)(0);
        for (; j + 16 <= k; j += 16) {
            vf e = FN(exp)(FN(load)(z + i + j) - vm);
            s += e;
            if (out) FN(store)(out + i + j, e);
        }
        if (j < k) {
            vf e = FN(exp)(FN(load_tail)(z + i + j, k - j, -INFINITY) - vm);
            s += e;
            if (out) FN(store_tail)(out + i + j, e, k - j);
        }
        total += (double)FN(sum)(s);
    }
    return total;
}
KD_TARGET static float FN(row_max)(const float *z, size_t n) {
    vf m = FN(splat)(-INFINITY);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) m = FN(max)(FN(load)(z + i), m);
    if (i < n) m = FN(max)(FN(load_tail)(z + i, n - i, -INFINITY), m);
    return FN(top)(m);
}
/* z = a * exp(z - L) - b */
KD_TARGET static void FN(ce_gradient)(float *z, size_t n, float L, float a, float b) {
    vf vl = FN(splat)(L), va = FN(splat)(a), vb = FN(splat)(b);
    for (size_t i = 0; i < n; i += 16) {
        size_t m = n - i < 16 ? n - i : 16;
        vf x = m == 16 ? FN(load)(z + i) : FN(load_tail)(z + i, m, 0);
        x = va * FN(exp)(x - vl) - vb;
        if (m == 16)
            FN(store)(z + i, x);
        else
            FN(store_tail)(z + i, x, m);
    }
}
/* One row of attention backward: p = exp(s - L) into s, ds = p * (dp - delta) into dp, for the first n; zero up to width. */
KD_TARGET static void FN(attention_row)(float *s, float *dp, size_t n, size_t width, float L, float delta) {
    vf vl = FN(splat)(L), vd = FN(splat)(delta);
    size_t i = 0;
    for (; i + 16 <= n; i += 16) {
        vf p = FN(exp)(FN(load)(s + i) - vl);
        FN(store)(s + i, p);
        FN(store)(dp + i, p * (FN(load)(dp + i) - vd));
    }
    if (i < n) {
        vf p = FN(exp)(FN(load_tail)(s + i, n - i, -INFINITY) - vl);
        FN(store_tail)(s + i, p, n - i);
        FN(store_tail)(dp + i, p * (FN(load_tail)(dp + i, n - i, 0) - vd), n - i);
    }
    for (i = n; i < width; i++) s[i] = dp[i] = 0;
}
KD_TARGET static void FN(adamw)(float *p, const float *g, float *m, float *v, size_t n, float scale, const kd_adamw *o) {
    const float shrink = 1.0f - o->lr * o->decay, step = (float)((double)o->lr / o->correct1), root = (float)sqrt(o->correct2);
    const float c1 = 1.0f - o->beta1, c2 = 1.0f - o->beta2;
    for (size_t i = 0; i < n; i += 16) {
        size_t k = n - i < 16 ? n - i : 16;
        bool full = k == 16;
        vf vg = (full ? FN(load)(g + i) : FN(load_tail)(g + i, k, 0)) * FN(splat)(scale);
        vf vm = full ? FN(load)(m + i) : FN(load_tail)(m + i, k, 0), vv = full ? FN(load)(v + i) : FN(load_tail)(v + i, k, 0);
        vf vp = full ? FN(load)(p + i) : FN(load_tail)(p + i, k, 0);
        vm = vm + (vg - vm) * FN(splat)(c1);
        vv = vv * FN(splat)(o->beta2) + vg * vg * FN(splat)(c2);
        float t[16];
        FN(store)(t, vv);
        for (int j = 0; j < 16; j++) t[j] = __builtin_sqrtf(t[j]);
        vp = vp * FN(splat)(shrink) - FN(splat)(step) * vm / (FN(load)(t) / FN(splat)(root) + FN(splat)(o->eps));
        if (full) {
            FN(store)(m + i, vm);
            FN(store)(v + i, vv);
            FN(store)(p + i, vp);
        } else {
            FN(store_tail)(m + i, vm, k);
            FN(store_tail)(v + i, vv, k);
            FN(store_tail)(p + i, vp, k);
        }
    }
}
const kd_grad_ops FN(kd_grad_ops_) = {
    FN(add),     FN(scale),   FN(dot),         FN(scale_columns), FN(column_sums), FN(rmsnorm_backward), FN(swiglu_backward),
    FN(exp_sum), FN(row_max), FN(ce_gradient), FN(attention_row), FN(adamw)};
#undef CAT_
#undef CAT
#undef FN
#undef INL
