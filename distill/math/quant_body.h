/* distill/math/quant_body.h - the searched quantizers, type by type, built once an instruction set: candidates, loops over the row, packing.
 * Leans on quant_sym.h, quant_asym.h, quant_pack.h. The including file sets KD_W, KD_SEARCH (the name of the table) and the target. */
#include "distill/math/quant_asym.h"
#include "distill/math/quant_pack.h"

typedef float codes_scale[KD_LANES];

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))

/* --- blocks of 32 with an f16 scale --- */

static const float places_8[] = {-8.4f, -9.4f, -7.2f, -6.2f, -7.8f, 8.4f, -8.8f, -6.7f, -5.4f, -8.1f, 7.7f, -5.9f};
static const float places_16[] = {-16.2f, -14.9f, -17.3f, -13.6f, -12.2f, -15.6f, -13, -11, -14.2f, -16.7f, 16.1f, -15.3f};
static const float places_127[] = {127.0f, 126.5f, 126.0f, 127.4f};
static const float places_iq4_w[] = {-130, 118, -148, -110, 132, -122, 108, 90, -98, -138, -86, 124, 110, 80};
static const float places_iq4[] = {-130, 116, -122, -138, -108, 124, 108, -126};

static void q4_0(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q4_0 *o = dst;
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds;
        uint8_t q[32];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        block_scales(GRID_8, &g, places_8, COUNT(places_8), 2, -8, ds);
        for (int b = 0; b < count; b++, o++) {
            encode(GRID_8, x + at + 32 * b, g.inv[b], ds[b], 8, 32, q);
            o->d = half_bits(&g, b, ds[b]);
            pack_nibbles(q, o->qs);
        }
    }
}
static void q5_0(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q5_0 *o = dst;
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds;
        uint8_t q[32];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        block_scales(GRID_16, &g, places_16, COUNT(places_16), 1, -16, ds);
        for (int b = 0; b < count; b++, o++) {
            encode(GRID_16, x + at + 32 * b, g.inv[b], ds[b], 16, 32, q);
            o->d = half_bits(&g, b, ds[b]);
            o->qh = pack_fifth(q);
            pack_nibbles(q, o->qs);
        }
    }
}
static void q8_0(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q8_0 *o = dst;
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds;
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        block_scales(GRID_127, &g, places_127, COUNT(places_127), 1, -127, ds);
        for (int b = 0; b < count; b++, o++) {
            uint8_t q[32];
            encode(GRID_127, x + at + 32 * b, g.inv[b], ds[b], 0, 32, q);
            memcpy(o->qs, q, 32);
            o->d = half_bits(&g, b, ds[b]);
        }
    }
}
static void iq4_nl(const float *x, void *dst, size_t n, const float *im) {
    kd_block_iq4_nl *o = dst;
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds;
        uint8_t q[32];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        block_scales(GRID_IQ4, &g, im ? places_iq4_w : places_iq4, im ? COUNT(places_iq4_w) : COUNT(places_iq4), 2, -127, ds);
        for (int b = 0; b < count; b++, o++) {
            encode(GRID_IQ4, x + at + 32 * b, g.inv[b], ds[b], 0, 32, q);
            o->d = half_bits(&g, b, ds[b]);
            pack_nibbles(q, o->qs);
        }
    }
}

/* --- super-blocks with signed scales --- */

static const float places_4_w[] = {-4.4f, -3.4f, -4.9f, 3.9f, -3.9f, -2.9f, -2.5f, -3.6f};
static const float places_4[] = {-4.2f, -3.4f};
static const float places_32_w[] = {-32, -29.7f, -28.4f, -30.9f, -26, -33.2f, -27.3f, -29, -30.3f, -27.9f, -31.5f, -32.4f};
static const float places_32[] = {-32, -31, -30, -29, -27.1f, -28.1f, -26, -32.4f};
static const float tops_32[16] = {-32, -31.5f, -31, -30.5f, -30, -29.5f, -29, -28.5f, -28, -27.5f, -27, -26.5f, -26, -25, -24, -33};
static const float tops_128[16] = {-128, -127, -126, -125, -124, -123, -122, -121, -120, -118, -116, -114, -112, -110, -108, -106};

static void q3_k(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q3_k *o = dst;
    const sym_plan plan = {16,         16,      -32,        31,        im ? places_4_w : places_4, im ? COUNT(places_4_w) : COUNT(places_4),
                           im ? 2 : 1, tops_32, im ? 2 : 1, im ? 3 : 0};
    for (size_t at = 0; at < n; at += 256, o++) {
        group g;
        sym_choice c;
        uint8_t q[256];
        int s[16];
        load_group(&g, x + at, im ? im + at : NULL, 16, 16, 16, -60);
        super_sym(GRID_4, &g, plan, &c);
        for (int b = 0; b < 16; b++) {
            s[b] = (int)c.s[b];
            encode(GRID_4, x + at + 16 * b, g.inv[b], c.d[b] * c.s[b], 4, 16, q + 16 * b);
        }
        o->d = half_bits(&g, 0, c.d[0]);
        pack_q3_k(o, q, s);
    }
}
static void q6_k(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q6_k *o = dst;
    const sym_plan plan = {16, 16, -128, 127, im ? places_32_w : places_32, im ? COUNT(places_32_w) : COUNT(places_32), 0, tops_128, 2, 1};
    for (size_t at = 0; at < n; at += 256, o++) {
        group g;
        sym_choice c;
        uint8_t q[256];
        int s[16];
        load_group(&g, x + at, im ? im + at : NULL, 16, 16, 16, -60);
        super_sym(GRID_32, &g, plan, &c);
        for (int b = 0; b < 16; b++) {
            s[b] = (int)c.s[b];
            encode(GRID_32, x + at + 16 * b, g.inv[b], c.d[b] * c.s[b], 32, 16, q + 16 * b);
        }
        o->d = half_bits(&g, 0, c.d[0]);
        pack_q6_k(o, q, s);
    }
}
static void iq4_xs(const float *x, void *dst, size_t n, const float *im) {
    kd_block_iq4_xs *o = dst;
    const sym_plan plan = {32, 8, -32, 31, im ? places_iq4_w : places_iq4, im ? COUNT(places_iq4_w) : COUNT(places_iq4), 2, tops_32, 1, 2};
    for (size_t at = 0; at < n; at += 512) {
        int count = n - at < 512 ? 8 : 16;
        group g;
        sym_choice c;
        uint8_t q[256];
        int s[8];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 8, -60);
        super_sym(GRID_IQ4, &g, plan, &c);
        for (int b = 0; b < count; b += 8, o++) {
            for (int k = 0; k < 8; k++) {
                s[k] = (int)c.s[b + k];
                encode(GRID_IQ4, x + at + 32 * (b + k), g.inv[b + k], c.d[b] * c.s[b + k], 0, 32, q + 32 * k);
            }
            o->d = half_bits(&g, b, c.d[b]);
            pack_iq4_xs(o, q, s);
        }
    }
}

/* --- scale and offset --- */

static const float ends_3_w[] = {-0.45f, 3.45f, 0, 3.9f, -0.75f, 3, -0.15f, 3.6f, 0.45f, 3.9f, -0.9f, 2.7f, -0.45f, 3.15f, 0.6f, 3};
static const float ends_3[] = {-0.3f, 3.3f, -0.75f, 3.15f, 0, 3.45f, 0, 2.85f, 0.15f, 3.75f, -0.75f, 3.75f};
static const float ends_15_w[] = {-0,   15.2f, -0.6f, 15,    0.2f,  15.6f, -0,    14,    -0.6f, 16.2f, 1,     14,    -1.4f, 15.8f,
                                  -0,   14.8f, -0.2f, 16.6f, 1,     13.4f, -1.6f, 15.2f, 0.2f,  14.2f, -0.6f, 16.6f, -0.8f, 15.8f,
                                  0.8f, 14.6f, 0.4f,  16.6f, -0.8f, 14.8f, 1.6f,  14,    -0.4f, 15.2f, -1.4f, 16.2f};
static const float ends_15[] = {-0.2f, 15.2f, 0.2f, 15.4f, -0.4f, 14.8f, 1,     15,    -0, 15.2f,
                                -0.2f, 15,    1,    14,    0.6f,  15,    -0.8f, 15.2f, -0, 14.4f};
static const float ends_31_w[] = {-0.2f, 31,    0.6f, 31.2f, 1,    29.8f, -0,    31.8f, 1.6f, 30.2f, -0.8f, 31,    0.2f, 30.2f,
                                  -0,    31.2f, 1.6f, 29.4f, -1,   31.8f, 1,     29.4f, 0.8f, 30.4f, -1.6f, 31.4f, 0.2f, 32.4f,
                                  -0.4f, 30.8f, 1,    30.8f, 0.4f, 30.8f, -1.6f, 32.4f, 1.4f, 29.4f, -0.4f, 31.6f};
static const float ends_31[] = {-0.2f, 31.2f, -0.2f, 30.2f, 0.8f, 30.2f, -0.4f, 31,    0.2f,  31.2f,
                                1.2f,  30.8f, 1.6f,  30.2f, 0.2f, 30.6f, 1,     29.4f, -0.6f, 30.8f};
static const float tops_15[96] = {9,  9,  9,  9,  10.5f, 10.5f, 10.5f, 10.5f, 12, 12, 12, 12, 13, 13, 13, 13, 14, 14, 14, 14,
                                  15, 15, 15, 15, 16,    16,    16,    16,    18, 18, 18, 18, 21, 21, 21, 21, 25, 25, 25, 25,
                                  30, 30, 30, 30, 40,    40,    40,    40,    12, 15, 18, 24, 12, 15, 18, 24, 12, 15, 18, 24,
                                  12, 15, 18, 24, 12,    15,    18,    24,    12, 15, 18, 24, 12, 15, 18, 24, 12, 15, 18, 24,
                                  12, 15, 18, 24, 12,    15,    18,    24,    12, 15, 18, 24, 12, 15, 18, 24};
static const float tops_63[32] = {63, 63, 63, 63, 61, 61, 61, 61, 59, 59, 59, 59, 57, 57, 57, 57,
                                  63, 61, 59, 57, 63, 61, 59, 57, 63, 61, 59, 57, 63, 61, 59, 57};

/* Codes of a block in its own order. */
static void encode_affine(const float *src, float inv, float scale, float min, float top, int n, uint8_t *q) {
    float id = fabsf(scale) < 1e-30f ? 0 : 1.0f / scale;
    for (int i = 0; i < n; i += KD_W) v_bytes(q + i, v_round_mul(v_add(v_mul(v_load(src + i), v_set(inv)), v_set(min)), v_set(id), 0, top));
}

/* What is nearly exact: its range over every number of codes, begun at each of the first eight, for the f16 pair that rounds best. */
static void try_all_affine(const group *g, float top, codes_scale ds, codes_scale dm, codes_scale e) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        extent t = extent_pass(g, 32, l, 0);
        vf best = v_load(e + l), s = v_load(ds + l), m = v_load(dm + l);
        for (int k = (int)top; k > 0; k--) {
            vf sk = half_in(g, l, v_mul(t.span, v_set(1 / (float)k)));
            for (int j = 0; j < 8 && j <= (int)top - k; j++) {
                vf unused, mj = half_in(g, l, v_fma(sk, v_set((float)j), v_sub(v_set(0), t.base)));
                vf err = asym_error(g, 32, l, sk, mj, top, &unused);
                vm better = v_lt(err, best);
                best = v_sel(better, err, best);
                s = v_sel(better, sk, s);
                m = v_sel(better, mj, m);
            }
        }
        v_store(ds + l, s);
        v_store(dm + l, m);
    }
}
/* Blocks of 32 with an f16 scale and an f16 offset each, in units. The offset is rounded first, and the scale fitted to what is left. */
static void affine_scales(const group *g, const asym_plan p, codes_scale ds, codes_scale dm) {
    affine a;
    codes_scale left;
    search_affine(g, p, &a);
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf m = half_in(g, l, v_load(a.min + l)), s = v_load(a.scale + l);
        moments t = moments_pass(g, 32, l, s, m, v_sub(v_set(0), m), p.top);
        vf rest = v_set(0); /* where all codes are 0, the greatest one spells what rounding the offset lost */
        for (int i = 0; i < 32; i++) rest = v_fma(v_add(v_load(g->x[i] + l), m), v_load(g->w[i] + l), rest);
        rest = v_mul(rest, v_inverse(v_load(a.w + l)));
        vf one = half_in(g, l, rest), all = half_in(g, l, v_mul(rest, v_set(1 / p.top)));
        vm coarse = v_lt(v_abs(v_fnma(all, v_set(p.top), rest)), v_abs(v_sub(one, rest))); /* the last code or the first one */
        s = v_sel(v_lt(v_set(0), t.qq), v_mul(t.xq, v_inverse(t.qq)), v_sel(coarse, all, one));
        s = half_in(g, l, s);
        vf unused, e = asym_error(g, 32, l, s, m, p.top, &unused);
        vm hopeless = v_lt(energy_pass(g, 32, l), e); /* far below what f16 can hold: zeros are nearer */
        v_store(dm + l, v_sel(hopeless, v_set(0), m));
        v_store(ds + l, v_sel(hopeless, v_set(0), s));
        v_store(left + l, v_min(e, energy_pass(g, 32, l)));
    }
    if (nearly_exact(g, 32, 1, left)) try_all_affine(g, p.top, ds, dm, left);
}
static void q4_1(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q4_1 *o = dst;
    const asym_plan plan = {32, 1, 0, 15, im ? ends_15_w : ends_15, im ? COUNT(ends_15_w) / 2 : COUNT(ends_15) / 2, 2, 0, NULL, 0, 0, 0};
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds, dm;
        uint8_t q[32];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        affine_scales(&g, plan, ds, dm);
        for (int b = 0; b < count; b++, o++) {
            encode_affine(x + at + 32 * b, g.inv[b], ds[b], dm[b], 15, 32, q);
            o->d = half_bits(&g, b, ds[b]);
            o->m = half_bits(&g, b, -dm[b]);
            pack_nibbles(q, o->qs);
        }
    }
}
static void q5_1(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q5_1 *o = dst;
    const asym_plan plan = {32, 1, 0, 31, im ? ends_31_w : ends_31, im ? COUNT(ends_31_w) / 2 : COUNT(ends_31) / 2, 2, 0, NULL, 0, 0, 0};
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        codes_scale ds, dm;
        uint8_t q[32];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -60);
        affine_scales(&g, plan, ds, dm);
        for (int b = 0; b < count; b++, o++) {
            encode_affine(x + at + 32 * b, g.inv[b], ds[b], dm[b], 31, 32, q);
            o->d = half_bits(&g, b, ds[b]);
            o->m = half_bits(&g, b, -dm[b]);
            o->qh = pack_fifth(q);
            pack_nibbles(q, o->qs);
        }
    }
}
static void q2_k(const float *x, void *dst, size_t n, const float *im) {
    kd_block_q2_k *o = dst;
    const asym_plan plan = {16, 16, 1, 3, im ? ends_3_w : ends_3, im ? COUNT(ends_3_w) / 2 : COUNT(ends_3) / 2, 1, 15, tops_15, 48, 1, 2};
    for (size_t at = 0; at < n; at += 256, o++) {
        group g;
        asym_choice c;
        uint8_t q[256];
        load_group(&g, x + at, im ? im + at : NULL, 16, 16, 16, -60);
        super_asym(&g, plan, &c);
        for (int b = 0; b < 16; b++) {
            o->scales[b] = (uint8_t)((int)c.s[b] | (int)c.m[b] << 4);
            encode_affine(x + at + 16 * b, g.inv[b], c.d[b] * c.s[b], c.dmin[b] * c.m[b], 3, 16, q + 16 * b);
        }
        o->d = half_bits(&g, 0, c.d[0]);
        o->dmin = half_bits(&g, 0, c.dmin[0]);
        pack_2bit(q, o->qs);
    }
}
/* Q4_K and Q5_K, two super-blocks at a time: d, dmin, scales and codes of each to put. */
static void k45(const float *x, size_t n, const float *im, const asym_plan plan, void *dst, size_t size,
                void (*put)(void *block, const uint16_t d[2], const int s[8], const int m[8], const uint8_t q[256])) {
    for (size_t at = 0; at < n; at += 512) {
        int count = n - at < 512 ? 8 : 16;
        group g;
        asym_choice c;
        uint8_t q[256];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 8, -60);
        super_asym(&g, plan, &c);
        for (int b = 0; b < count; b += 8, dst = (char *)dst + size) {
            int s[8], m[8];
            for (int k = 0; k < 8; k++) {
                s[k] = (int)c.s[b + k];
                m[k] = (int)c.m[b + k];
                encode_affine(x + at + 32 * (b + k), g.inv[b], c.d[b] * c.s[b + k], c.dmin[b] * c.m[b + k], plan.top, 32, q + 32 * k);
            }
            uint16_t d[2] = {half_bits(&g, b, c.d[b]), half_bits(&g, b, c.dmin[b])};
            put(dst, d, s, m, q);
        }
    }
}
static void put_q4_k(void *block, const uint16_t d[2], const int s[8], const int m[8], const uint8_t q[256]) {
    kd_block_q4_k *o = block;
    o->d = d[0];
    o->dmin = d[1];
    pack_scales_k4(o->scales, s, m);
    pack_low(q, o->qs);
}
static void put_q5_k(void *block, const uint16_t d[2], const int s[8], const int m[8], const uint8_t q[256]) {
    kd_block_q5_k *o = block;
    o->d = d[0];
    o->dmin = d[1];
    pack_scales_k4(o->scales, s, m);
    pack_bit(q, 4, o->qh);
    pack_low(q, o->qs);
}
static void q4_k(const float *x, void *dst, size_t n, const float *im) {
    const asym_plan plan = {32,      8,  1, 15, im ? ends_15_w : ends_15, im ? COUNT(ends_15_w) / 2 : COUNT(ends_15) / 2, 1, 63,
                            tops_63, 16, 1, 2};
    k45(x, n, im, plan, dst, sizeof(kd_block_q4_k), put_q4_k);
}
static void q5_k(const float *x, void *dst, size_t n, const float *im) {
    const asym_plan plan = {32,      8,  1, 31, im ? ends_31_w : ends_31, im ? COUNT(ends_31_w) / 2 : COUNT(ends_31) / 2, 1, 63,
                            tops_63, 16, 1, 2};
    k45(x, n, im, plan, dst, sizeof(kd_block_q5_k), put_q5_k);
}

/* --- mxfp4: scales are powers of two, so all that matter are tried --- */

KD_INLINE vf fp4_magnitude(vf a) { /* the nearest of 0 .5 1 1.5 2 3 4 6: steps of half the power of two below, at least 1/2 */
    vf m = v_mul(v_floor2(v_max(a, v_set(1))), v_set(0x1.8p22f));
    return v_min(v_sub(v_add(a, m), m), v_set(6));
}
/* Magnitudes in units are below 2, so a scale of 1/2 clips nothing up to 3 and 1/4 up to 1.5; 1/8 is for blocks of low weight at the top. */
static void fp4_scales(const group *g, float scale[KD_LANES]) {
    static const float steps[] = {0.25f, 0.5f, 0.125f};
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf best = v_set(INFINITY), keep = v_set(1);
        for (int k = 0; k < 3; k++) {
            vf e = v_set(0), s = v_set(steps[k]), inv = v_set(1 / steps[k]);
            for (int i = 0; i < 32; i++) {
                vf a = v_abs(v_load(g->x[i] + l)), r = v_fnma(s, fp4_magnitude(v_mul(a, inv)), a);
                e = v_fma(v_mul(v_load(g->w[i] + l), r), r, e);
            }
            vm better = v_lt(e, best);
            best = v_sel(better, e, best);
            keep = v_sel(better, s, keep);
        }
        v_store(scale + l, keep);
    }
}
static void mxfp4(const float *x, void *dst, size_t n, const float *im) {
    kd_block_mxfp4 *o = dst;
    for (size_t at = 0; at < n; at += 32 * KD_LANES) {
        int count = n - at < 32 * KD_LANES ? (int)((n - at) / 32) : KD_LANES;
        group g;
        _Alignas(64) float scale[KD_LANES];
        load_group(&g, x + at, im ? im + at : NULL, 32, count, 1, -124);
        fp4_scales(&g, scale);
        for (int b = 0; b < count; b++, o++) {
            float step = g.unit[b] * scale[b]; /* a power of two, 2^-127 at least: of 1.0 in e2m1 */
            uint8_t q[32];
            int e;
            frexpf(step, &e);
            o->e = (uint8_t)(e + 126);
            for (int i = 0; i < 32; i += KD_W) {
                vf v = v_mul(v_load(x + at + 32 * (size_t)b + i), v_set(g.inv[b])), c = fp4_magnitude(v_mul(v_abs(v), v_set(1 / scale[b])));
                c = v_min(v_min(v_add(c, c), v_add(c, v_set(2))), v_fma(c, v_set(0.5f), v_set(4))); /* its index */
                v_bytes(q + i, v_add(c, v_sel(v_lt(v, v_set(0)), v_set(8), v_set(0))));
            }
            pack_nibbles(q, o->qs);
        }
    }
}

kd_search_fn *const KD_SEARCH[KD_CODEC_SLOTS] = {
    [KD_Q4_0] = q4_0, [KD_Q4_1] = q4_1, [KD_Q5_0] = q5_0, [KD_Q5_1] = q5_1,     [KD_Q8_0] = q8_0,     [KD_Q2_K] = q2_k,   [KD_Q3_K] = q3_k,
    [KD_Q4_K] = q4_k, [KD_Q5_K] = q5_k, [KD_Q6_K] = q6_k, [KD_IQ4_NL] = iq4_nl, [KD_IQ4_XS] = iq4_xs, [KD_MXFP4] = mxfp4,
};
