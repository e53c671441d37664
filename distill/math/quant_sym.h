/* distill/math/quant_sym.h - types whose values are scale * code: Q4_0 Q5_0 Q8_0 IQ4_NL (an f16 scale a block), Q3_K Q6_K IQ4_XS (an integer
 * scale a block times one f16 a super-block). Leans on quant_group.h.
 * For a scale the best codes are the nearest ones, and for codes the best scale is sum(wxq)/sum(wqq); so each block tries scales that send
 * its extreme value to chosen places of the grid, from both ends, and the best is alternated to rest. A super-block then looks only at what
 * can be stored: for several f16 scales d, every block takes the integer s of least true error near its wish, and d is refitted to the choice. */
#include "distill/math/quant_group.h"

/* Calls body with gr as a constant: one copy of each body a grid. */
#define KD_BY_GRID(body, ...)                                                                                                              \
    switch (gr) {                                                                                                                          \
    case GRID_4: body(GRID_4, __VA_ARGS__); break;                                                                                         \
    case GRID_8: body(GRID_8, __VA_ARGS__); break;                                                                                         \
    case GRID_16: body(GRID_16, __VA_ARGS__); break;                                                                                       \
    case GRID_32: body(GRID_32, __VA_ARGS__); break;                                                                                       \
    case GRID_127: body(GRID_127, __VA_ARGS__); break;                                                                                     \
    case GRID_IQ4: body(GRID_IQ4, __VA_ARGS__); break;                                                                                     \
    }

/* Per lane: the scale of the best of the candidates (places on the grid of the extreme value), alternated rounds times, and its sum w*q*q. */
KD_INLINE void search_scale_in(grid gr, const group *g, int n, const float *places, int count, int rounds, float scale[KD_LANES],
                               float weight[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf inv = v_inverse(extreme_pass(g, n, l)), best = v_set(0), at = v_set(0), wqq = v_set(0);
        for (int c = 0; c < count + rounds; c++) {
            vf num, den;
            fit_pass(gr, g, n, l, c < count ? v_mul(inv, v_set(places[c])) : v_inverse(at), &num, &den);
            vf s = v_mul(num, v_inverse(den)), gain = v_mul(s, num);
            vm better = v_lt(best, gain);
            best = v_sel(better, gain, best);
            at = v_sel(better, s, at);
            wqq = v_sel(better, den, wqq);
        }
        v_store(scale + l, at);
        v_store(weight + l, wqq);
    }
}
static void search_scale(grid gr, const group *g, int n, const float *places, int count, int rounds, float scale[KD_LANES],
                         float weight[KD_LANES]){KD_BY_GRID(search_scale_in, g, n, places, count, rounds, scale, weight)}

/* Codes of one block in its own order, offset added: bytes. */
KD_INLINE void encode_in(grid gr, const float *src, float inv, float ds, float offset, int n, uint8_t *q) {
    float id = fabsf(ds) < 1e-30f ? 0 : 1.0f / ds;
    for (int i = 0; i < n; i += KD_W) {
        vf x = v_mul(v_load(src + i), v_set(inv));
        v_bytes(q + i, gr == GRID_IQ4 ? v_book_index(v_mul(x, v_set(id)), kd_iq4_tree) : v_add(nearest(gr, x, v_set(id)), v_set(offset)));
    }
}
static void encode(grid gr, const float *src, float inv, float ds, float offset, int n, uint8_t *q) {
    KD_BY_GRID(encode_in, src, inv, ds, offset, n, q)
}

/* Where what is left is no more than the rounding of an f16 scale (a constant, values of a few multiples), it is luck which scale rounds best, and
 * worth trying them all: error below this share of the energy. */
#define KD_NEARLY_EXACT 0x1p-16f
/* Of 16 places on a grid down to lo, the kth. */
static inline float place_of(grid gr, float lo, int k) { return gr == GRID_IQ4 ? kd_iq4_book[k] : lo * (float)(k + 1) / 16; }
KD_INLINE void try_all_scales_in(grid gr, const group *g, float lo, float ds[KD_LANES], float e[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf m = extreme_pass(g, 32, l), best = v_load(e + l), at = v_load(ds + l);
        for (int k = 0; k < 16; k++) {
            vf s = half_in(g, l, v_div(m, v_set(place_of(gr, lo, k)))), err = error_pass(gr, g, 32, l, s);
            vm better = v_lt(err, best);
            best = v_sel(better, err, best);
            at = v_sel(better, s, at);
        }
        v_store(ds + l, at);
    }
}
static void try_all_scales(grid gr, const group *g, float lo, float ds[KD_LANES], float e[KD_LANES]) {
    KD_BY_GRID(try_all_scales_in, g, lo, ds, e)
}
/* True if any super-block of per lanes with errors e is nearly exact but not quite. */
static bool nearly_exact(const group *g, int n, int per, const float e[KD_LANES]) {
    _Alignas(64) float energy[KD_LANES];
    bool any = false;
    for (int l = 0; l < KD_LANES; l += KD_W) v_store(energy + l, energy_pass(g, n, l));
    for (int b = 0; b < KD_LANES; b += per) {
        float left = 0, all = 0;
        for (int l = b; l < b + per; l++) {
            left += e[l];
            all += energy[l];
        }
        any |= left > 0 && left < KD_NEARLY_EXACT * all;
    }
    return any;
}
/* Scales become what an f16 can hold, with the error that they have then. */
KD_INLINE void round_scales_in(grid gr, const group *g, float ds[KD_LANES], float e[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf s = half_in(g, l, v_load(ds + l));
        v_store(ds + l, s);
        v_store(e + l, error_pass(gr, g, 32, l, s));
    }
}
static void round_scales(grid gr, const group *g, float ds[KD_LANES], float e[KD_LANES]) { KD_BY_GRID(round_scales_in, g, ds, e) }
/* Blocks of 32 with an f16 scale each: scales (in units) of up to 16 blocks. lo: the lowest code. */
static void block_scales(grid gr, const group *g, const float *places, int count, int rounds, float lo, float ds[KD_LANES]) {
    _Alignas(64) float e[KD_LANES];
    search_scale(gr, g, 32, places, count, rounds, ds, e);
    round_scales(gr, g, ds, e);
    if (gr != GRID_127 && nearly_exact(g, 32, 1, e)) try_all_scales(gr, g, lo, ds, e);
}

/* For the f16 scale d of each lane: the integer s in lo..hi within radius of want/d that has the least error. */
KD_INLINE void choose_scales_in(grid gr, const group *g, int n, const float d[KD_LANES], const float want[KD_LANES], int radius, float lo,
                                float hi, float s[KD_LANES], float e[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf vd = v_load(d + l), mid = v_round(v_mul(v_load(want + l), v_inverse(vd))), best = v_set(INFINITY), at = v_set(0);
        for (int k = -radius; k <= radius; k++) {
            vf c = v_clamp(v_add(mid, v_set((float)k)), lo, hi), err = error_pass(gr, g, n, l, v_mul(c, vd));
            vm better = v_lt(err, best);
            best = v_sel(better, err, best);
            at = v_sel(better, c, at);
        }
        v_store(s + l, at);
        v_store(e + l, best);
    }
}
static void choose_scales(grid gr, const group *g, int n, const float d[KD_LANES], const float want[KD_LANES], int radius, float lo,
                          float hi, float s[KD_LANES], float e[KD_LANES]) {
    KD_BY_GRID(choose_scales_in, g, n, d, want, radius, lo, hi, s, e)
}

typedef struct {
    int n, per;          /* values a block, blocks a super-block */
    float lo, hi;        /* of the integer scales */
    const float *places; /* candidates of search_scale */
    int count, rounds;
    const float *tops;  /* 16 places tried for the largest scale of a super-block */
    int radius, refits; /* around the wished integer; how often d is fitted anew */
} sym_plan;

typedef struct {
    float d[KD_LANES], s[KD_LANES], e[KD_LANES], total[KD_LANES]; /* total: of the super-block, in its first lane */
} sym_choice;

static void sum_errors(sym_choice *c, int per) {
    for (int b = 0; b < KD_LANES; b += per) {
        c->total[b] = 0;
        for (int l = b; l < b + per; l++) c->total[b] += c->e[l];
    }
}
/* Super-blocks that are better in c move into best. */
static void keep_better(sym_choice *best, const sym_choice *c, int per) {
    for (int b = 0; b < KD_LANES; b += per) {
        if (!(c->total[b] < best->total[b])) continue;
        best->total[b] = c->total[b];
        memcpy(best->d + b, c->d + b, (size_t)per * sizeof(float));
        memcpy(best->s + b, c->s + b, (size_t)per * sizeof(float));
        memcpy(best->e + b, c->e + b, (size_t)per * sizeof(float));
    }
}
static inline float largest_scale(const float *scale, int per) {
    float m = 0;
    for (int l = 0; l < per; l++) m = fabsf(scale[l]) > fabsf(m) ? scale[l] : m;
    return m;
}
enum { KD_PLACES = 128 }; /* that spread_top takes at most, in sixteens */
/* d of each super-block: of those that put its largest scale at tops, the one that costs least when every block's scale is rounded to a
 * multiple (the codes kept: weight * (s*d - scale)^2). A lane is a place. */
static void spread_top(const group *g, const sym_plan p, const float scale[KD_LANES], const float weight[KD_LANES], const float *tops,
                       int count, float d[KD_LANES]) {
    for (int b = 0; b < KD_LANES; b += p.per) {
        _Alignas(64) float cost[KD_PLACES], step[KD_PLACES];
        float m = largest_scale(scale + b, p.per);
        int at = 0;
        step[0] = 0;
        for (int k = 0; k < count; k += KD_W) {
            vf h = half_uniform(g, b, v_div(v_set(m), v_load(tops + k))), inv = v_inverse(h), e = v_set(0);
            for (int l = b; l < b + p.per; l++) {
                vf r = v_fnma(v_round_mul(v_set(scale[l]), inv, p.lo, p.hi), h, v_set(scale[l]));
                e = v_fma(v_mul(r, r), v_set(weight[l]), e);
            }
            v_store(step + k, h);
            v_store(cost + k, e);
        }
        for (int k = 1; k < count; k++) at = cost[k] < cost[at] ? k : at;
        float h = step[at] == 0 && m != 0 ? 0x1p-24f * g->inv[b] : step[at];
        for (int l = b; l < b + p.per; l++) d[l] = h;
    }
}
KD_INLINE void fit_choice_in(grid gr, const group *g, int n, const sym_choice *c, float num[KD_LANES], float den[KD_LANES]) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf a, b;
        fit_pass(gr, g, n, l, v_inverse(v_mul(v_load(c->d + l), v_load(c->s + l))), &a, &b);
        v_store(num + l, a);
        v_store(den + l, b);
    }
}
static void fit_choice(grid gr, const group *g, int n, const sym_choice *c, float num[KD_LANES], float den[KD_LANES]) {
    KD_BY_GRID(fit_choice_in, g, n, c, num, den)
}
/* d of each super-block by least squares for the codes at c, every s kept. */
static void refit(grid gr, const group *g, int n, int per, const sym_choice *c, float d[KD_LANES]) {
    _Alignas(64) float num[KD_LANES], den[KD_LANES];
    fit_choice(gr, g, n, c, num, den);
    for (int b = 0; b < KD_LANES; b += per) {
        double top = 0, bottom = 0;
        for (int l = b; l < b + per; l++) {
            top += (double)c->s[l] * (double)num[l];
            bottom += (double)c->s[l] * (double)c->s[l] * (double)den[l];
        }
        float h = bottom > 0 ? half_of(g, b, (float)(top / bottom)) : c->d[b];
        for (int l = b; l < b + per; l++) d[l] = h;
    }
}

/* Measures the guess d = largest wish / place for each of the 16 places, in every super-block. */
static void try_places(grid gr, const group *g, const sym_plan p, const float wish[KD_LANES], const float places[16], sym_choice *best) {
    for (int k = 0; k < 16; k++) {
        sym_choice c;
        for (int l = 0; l < KD_LANES; l++) c.d[l] = half_of(g, l, largest_scale(wish + l / p.per * p.per, p.per) / places[k]);
        choose_scales(gr, g, p.n, c.d, wish, 1, p.lo, p.hi, c.s, c.e);
        sum_errors(&c, p.per);
        keep_better(best, &c, p.per);
    }
}
/* For what is nearly exact it is luck which f16 rounds best: the largest scale at every integer, the extreme value at several codes. */
static void try_every_place(grid gr, const group *g, const sym_plan p, const float wish[KD_LANES], const float weight[KD_LANES],
                            sym_choice *best) {
    const float lowest = gr == GRID_4 ? 4 : 32;
    _Alignas(64) float places[KD_PLACES], other[KD_LANES];
    for (int k = 0; k < KD_PLACES; k++) places[k] = p.lo + (float)(k % (int)-p.lo);
    for (int part = 0; part < (gr == GRID_4 ? 4 : 8); part++) {
        float times = gr == GRID_IQ4 ? kd_iq4_book[0] / kd_iq4_book[part] : lowest / (lowest - (float)part);
        sym_choice c;
        for (int l = 0; l < KD_LANES; l++) other[l] = wish[l] * times;
        spread_top(g, p, other, weight, places, -(int)p.lo, c.d);
        choose_scales(gr, g, p.n, c.d, other, 0, p.lo, p.hi, c.s, c.e);
        sum_errors(&c, p.per);
        keep_better(best, &c, p.per);
    }
}
/* Super-block scale d and block scales s of least error; in units. */
static void super_sym(grid gr, const group *g, const sym_plan p, sym_choice *best) {
    static const float rough[16] = {1, 0.96f, 0.92f, 0.88f, 0.84f, 0.8f, 0.76f, 0.72f, 1.2f, 1.4f, 1.6f, 1.8f, 2, 2.2f, 2.4f, 2.6f};
    _Alignas(64) float wish[KD_LANES], weight[KD_LANES], now[KD_LANES], places[16];
    search_scale(gr, g, p.n, p.places, p.count, p.rounds, wish, weight);
    spread_top(g, p, wish, weight, p.tops, 16, best->d);
    choose_scales(gr, g, p.n, best->d, wish, p.radius, p.lo, p.hi, best->s, best->e);
    sum_errors(best, p.per);
    if (uneven(wish, p.per)) {
        for (int k = 0; k < 16; k++) places[k] = p.lo * rough[k];
        try_places(gr, g, p, wish, places, best);
    }
    for (int k = 0; k < p.refits; k++) {
        sym_choice c;
        refit(gr, g, p.n, p.per, best, c.d);
        for (int l = 0; l < KD_LANES; l++) now[l] = best->d[l] * best->s[l];
        choose_scales(gr, g, p.n, c.d, now, 1, p.lo, p.hi, c.s, c.e);
        sum_errors(&c, p.per);
        keep_better(best, &c, p.per);
    }
    if (nearly_exact(g, p.n, p.per, best->e)) try_every_place(gr, g, p, wish, weight, best);
}
