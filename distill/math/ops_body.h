/* distill/math/ops_body.h - the operators of ops.h for the instruction set of the file that includes it. Leans on ops_vec.h, ops_kernels.h. */
#include "distill/math/ops_kernels.h"
#include "distill/math/ops_vec.h"

static float dot(const float *a, const float *b, size_t n) {
    vf s0 = v_zero(), s1 = v_zero();
    size_t i = 0;
    for (; i + 2 * VW <= n; i += 2 * VW) {
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
        s1 = v_fma(v_load(a + i + VW), v_load(b + i + VW), s1);
    }
    if (i + VW <= n) {
        s0 = v_fma(v_load(a + i), v_load(b + i), s0);
        i += VW;
    }
    if (i < n) s1 = v_fma(v_load_n(a + i, n - i), v_load_n(b + i, n - i), s1);
    return v_sum(s0 + s1);
}

static void axpy(float *y, float a, const float *x, size_t n) {
    vf av = v_set(a);
    size_t i = 0;
    for (; i + VW <= n; i += VW) v_store(y + i, v_fma(av, v_load(x + i), v_load(y + i)));
    if (i < n) v_store_n(y + i, v_fma(av, v_load_n(x + i, n - i), v_load_n(y + i, n - i)), n - i);
}

static void rmsnorm(float *y, float *rstd, const float *x, const float *w, size_t N, size_t C, float eps) {
    for (size_t n = 0; n < N; n++, x += C, y += C) {
        float r = 1.0f / sqrtf(dot(x, x, C) / (float)C + eps);
        vf rv = v_set(r);
        size_t c = 0;
        for (; c + VW <= C; c += VW) v_store(y + c, v_load(w + c) * (v_load(x + c) * rv));
        if (c < C) v_store_n(y + c, v_load_n(w + c, C - c) * (v_load_n(x + c, C - c) * rv), C - c);
        if (rstd) rstd[n] = r;
    }
}

static void rope(float *x, const float *cos_, const float *sin_, size_t heads, size_t D, float sign) {
    size_t half = D / 2;
    for (size_t h = 0; h < heads; h++, x += D) {
        size_t j = 0;
        float *a = x, *b = x + half;
        for (; j + VW <= half; j += VW) {
            vf c = v_load(cos_ + j), s = v_load(sin_ + j) * v_set(sign), va = v_load(a + j), vb = v_load(b + j);
            v_store(a + j, va * c - vb * s);
            v_store(b + j, vb * c + va * s);
        }
        if (j < half) {
            size_t n = half - j;
            vf c = v_load_n(cos_ + j, n), s = v_load_n(sin_ + j, n) * v_set(sign), va = v_load_n(a + j, n), vb = v_load_n(b + j, n);
            v_store_n(a + j, va * c - vb * s, n);
            v_store_n(b + j, vb * c + va * s, n);
        }
    }
}

KD_INLINE vf silu_mul(vf g, vf u) { return g / (v_set(1.0f) + v_exp(v_zero() - g)) * u; }
static void swiglu(float *y, const float *g, const float *u, size_t n) {
    size_t i = 0;
    for (; i + VW <= n; i += VW) v_store(y + i, silu_mul(v_load(g + i), v_load(u + i)));
    if (i < n) v_store_n(y + i, silu_mul(v_load_n(g + i, n - i), v_load_n(u + i, n - i)), n - i);
}

static void vexp(float *y, const float *x, size_t n) {
    size_t i = 0;
    for (; i + VW <= n; i += VW) v_store(y + i, v_exp(v_load(x + i)));
    if (i < n) v_store_n(y + i, v_exp(v_load_n(x + i, n - i)), n - i);
}

static float max_of(const float *v, size_t n) {
    float m = -INFINITY;
    size_t i = 0;
    if (n >= VW) {
        vf mv = v_load(v);
        for (i = VW; i + VW <= n; i += VW) mv = v_max(mv, v_load(v + i));
        m = v_max_lane(mv);
    }
    for (; i < n; i++) m = v[i] > m ? v[i] : m;
    return m;
}

/* sum of exp((v[i] - m) * a), stored over out if not NULL. Blocks of 16 vectors are summed in floats, blocks in double. */
static double exp_sum(float *out, const float *v, size_t n, float m, float a) {
    vf mv = v_set(m), av = v_set(a);
    double sum = 0;
    for (size_t i = 0; i < n;) {
        vf s = v_zero();
        size_t end = n - i < 16 * VW ? n : i + 16 * VW;
        for (; i + VW <= end; i += VW) {
            vf e = v_exp((v_load(v + i) - mv) * av);
            s = s + e;
            if (out) v_store(out + i, e);
        }
        if (i < end) { /* the lanes outside read as 0 and must not count */
            float t[VW];
            v_store(t, v_exp((v_load_n(v + i, end - i) - mv) * av));
            for (size_t k = 0; i < end; i++, k++) {
                sum += (double)t[k];
                if (out) out[i] = t[k];
            }
        }
        sum += v_sum_double(s);
    }
    return sum;
}

static double softmax(float *v, size_t n) {
    float m = max_of(v, n);
    double sum = exp_sum(v, v, n, m, 1.0f);
    vf r = v_set((float)(1.0 / sum));
    size_t i = 0;
    for (; i + VW <= n; i += VW) v_store(v + i, v_load(v + i) * r);
    if (i < n) v_store_n(v + i, v_load_n(v + i, n - i) * r, n - i);
    return (double)m + log(sum);
}

static double logsumexp(const float *v, size_t n) {
    float m = max_of(v, n);
    return (double)m + log(exp_sum(NULL, v, n, m, 1.0f));
}
