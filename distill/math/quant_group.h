/* distill/math/quant_group.h - sixteen blocks side by side, scaled to magnitudes near 1, and the passes over them. Leans on quant_lanes.h.
 * Each block has a unit, the power of two at its largest magnitude: dividing by it is exact and keeps squares inside float32 whatever the input
 * (1e-38 or 1e38). Weights are divided by their largest, plus a trace, so that a value without weight still gets a sane code. */
#include "distill/math/quant_lanes.h"

enum { KD_LANES = 16 };
#define KD_HALF_MAX 65504.0f

typedef struct {
    _Alignas(64) float x[32][KD_LANES], w[32][KD_LANES]; /* [i][lane]: value i of block lane */
    _Alignas(64) float unit[KD_LANES], inv[KD_LANES];
} group;

/* out[i][lane] = src[lane * n + i] for lanes below count, 0 beyond. */
static void spread(float (*out)[KD_LANES], const float *src, int n, int count) {
    int l = 0;
#if KD_W > 1
    for (; l + 8 <= count; l += 8)
        for (int i = 0; i < n; i += 8) v_transpose8((float(*)[KD_LANES])(out[i] + l), src + (size_t)l * (size_t)n + i, (size_t)n);
#endif
    for (; l < KD_LANES; l++)
        for (int i = 0; i < n; i++) out[i][l] = l < count ? src[(size_t)l * (size_t)n + (size_t)i] : 0;
}
/* Per lane the largest magnitude of its super-block of per lanes. */
static void largest(float (*x)[KD_LANES], int n, int per, float m[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf a = v_set(0);
        for (int i = 0; i < n; i++) a = v_max(v_abs(v_load(x[i] + l)), a);
        v_store(m + l, a);
    }
    for (int b = 0; per > 1 && b < KD_LANES; b += per) {
        float a = 0;
        for (int l = b; l < b + per; l++) a = m[l] > a ? m[l] : a;
        for (int l = b; l < b + per; l++) m[l] = a;
    }
}
static float power_of_two(unsigned biased) {
    uint32_t u = biased << 23;
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* Blocks of n values into lanes 0..count-1, zeros into the rest; per lanes (a super-block) share a unit of at least 2^low. */
static void load_group(group *g, const float *src, const float *im, int n, int count, int per, int low) {
    _Alignas(64) float m[KD_LANES];
    spread(g->x, src, n, count);
    largest(g->x, n, per, m);
    for (int l = 0; l < KD_LANES; l++) {
        uint32_t u;
        memcpy(&u, m + l, sizeof u);
        unsigned e = u >> 23 & 255, least = (unsigned)(low + 127);
        e = e < least ? least : e > 253 ? 253 : e;
        g->unit[l] = power_of_two(e);
        g->inv[l] = power_of_two(254 - e);
    }
    if (im) {
        spread(g->w, im, n, count);
        largest(g->w, n, per, m);
        for (int l = 0; l < KD_LANES; l++) /* nothing to weigh by: all alike */
            m[l] = m[l] > 1e-30f ? 1.0f / (m[l] < 1e30f ? m[l] : 1e30f) : 0;
    }
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf inv = v_load(g->inv + l), winv = im ? v_load(m + l) : v_set(0), trace = v_sel(v_lt(v_set(0), winv), v_set(1e-8f), v_set(1));
        for (int i = 0; i < n; i++) {
            v_store(g->x[i] + l, v_mul(v_load(g->x[i] + l), inv));
            v_store(g->w[i] + l, im ? v_fma(v_min(v_max(v_load(g->w[i] + l), v_set(0)), v_set(1e30f)), winv, trace) : v_set(1));
        }
    }
}

/* v (in units of its lane) as an f16 can hold it, and the bits to store. */
KD_INLINE vf half_in(const group *g, int l, vf v) {
    vf t = v_clamp(v_mul(v, v_load(g->unit + l)), -KD_HALF_MAX, KD_HALF_MAX);
    return v_mul(v_half(t), v_load(g->inv + l));
}
KD_INLINE vf half_uniform(const group *g, int l, vf v) { /* every lane in units of lane l */
    return v_mul(v_half(v_clamp(v_mul(v, v_set(g->unit[l])), -KD_HALF_MAX, KD_HALF_MAX)), v_set(g->inv[l]));
}
static float half_of(const group *g, int l, float v) {
    float t = v * g->unit[l];
    t = t > KD_HALF_MAX ? KD_HALF_MAX : t < -KD_HALF_MAX ? -KD_HALF_MAX : t;
    return kd_f16_to_f32(kd_f32_to_f16(t)) * g->inv[l];
}
static uint16_t half_bits(const group *g, int l, float v) { return kd_f32_to_f16(v * g->unit[l]); }

/* Codes that a symmetric scale multiplies. */
typedef enum { GRID_4, GRID_8, GRID_16, GRID_32, GRID_127, GRID_IQ4 } grid;
extern const float kd_iq4_tree[16], kd_iq4_book[16];
KD_INLINE vf nearest(grid gr, vf x, vf id) {
    switch (gr) {
    case GRID_4: return v_round_mul(x, id, -4, 3);
    case GRID_8: return v_round_mul(x, id, -8, 7);
    case GRID_16: return v_round_mul(x, id, -16, 15);
    case GRID_32: return v_round_mul(x, id, -32, 31);
    case GRID_127: return v_round_mul(x, id, -127, 127);
    case GRID_IQ4: break;
    }
    return v_book(v_mul(x, id), kd_iq4_tree, kd_iq4_book);
}

/* Codes of every lane at scale 1/id and what least squares needs of them: num = sum w*x*q, den = sum w*q*q. Here and below values of even
 * and of odd place are summed apart: two chains of additions, each half as long. */
KD_INLINE void fit_pass(grid gr, const group *g, int n, int l, vf id, vf *num, vf *den) {
    vf a[2] = {v_set(0), v_set(0)}, b[2] = {v_set(0), v_set(0)};
    for (int i = 0; i < n; i += 2) {
        KD_UNROLL
        for (int k = 0; k < 2; k++) {
            vf x = v_load(g->x[i + k] + l), q = nearest(gr, x, id), wq = v_mul(v_load(g->w[i + k] + l), q);
            a[k] = v_fma(wq, x, a[k]);
            b[k] = v_fma(wq, q, b[k]);
        }
    }
    *num = v_add(a[0], a[1]);
    *den = v_add(b[0], b[1]);
}
/* sum w * (x - ds*q)^2 with q the nearest code. */
KD_INLINE vf error_pass(grid gr, const group *g, int n, int l, vf ds) {
    vf id = v_inverse(ds), e[2] = {v_set(0), v_set(0)};
    for (int i = 0; i < n; i += 2) {
        KD_UNROLL
        for (int k = 0; k < 2; k++) {
            vf x = v_load(g->x[i + k] + l), r = v_fnma(ds, nearest(gr, x, id), x);
            e[k] = v_fma(v_mul(v_load(g->w[i + k] + l), r), r, e[k]);
        }
    }
    return v_add(e[0], e[1]);
}
/* sum w * x^2: the error of giving up. */
KD_INLINE vf energy_pass(const group *g, int n, int l) {
    vf e = v_set(0);
    for (int i = 0; i < n; i++) e = v_fma(v_mul(v_load(g->w[i] + l), v_load(g->x[i] + l)), v_load(g->x[i] + l), e);
    return e;
}
/* The value of largest magnitude, signed. */
KD_INLINE vf extreme_pass(const group *g, int n, int l) {
    vf m = v_load(g->x[0] + l);
    for (int i = 1; i < n; i++) {
        vf x = v_load(g->x[i] + l);
        m = v_sel(v_lt(v_abs(m), v_abs(x)), x, m);
    }
    return m;
}

/* True if in some super-block one of v >= 0 towers above the rest: the scale that it asks for is then a bad guess for all others. */
static bool uneven(const float v[KD_LANES], int per) {
    bool any = false;
    for (int b = 0; b < KD_LANES; b += per) {
        float most = 0, sum = 0;
        for (int l = b; l < b + per; l++) {
            most = fabsf(v[l]) > most ? fabsf(v[l]) : most;
            sum += fabsf(v[l]);
        }
        any |= most * (float)per > ((float)per / 4 + 2) * sum;
    }
    return any;
}
