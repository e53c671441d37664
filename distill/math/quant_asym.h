/* distill/math/quant_asym.h - types whose values are scale * code + offset: Q4_1 Q5_1 (two f16 a block) and Q2_K Q4_K Q5_K (an integer scale
 * and an integer min a block, times two f16 a super-block). Leans on quant_sym.h.
 * Each block tries ranges around its own, solves scale and offset by least squares for their codes, and alternates the best. A super-block then
 * looks only at what can be stored: for several pairs of f16 scales every block takes the pair of integers of least true error near its wish,
 * and both f16 scales are refitted together to the choice. */
#include "distill/math/quant_sym.h"

typedef struct {
    vf q, qq, xq; /* sums of w*q, w*q*q, w*x*q */
} moments;
/* Moments of the codes at (scale, min): value = scale * code - min; x is measured from base. */
KD_INLINE moments moments_pass(const group *g, int n, int l, vf scale, vf min, vf base, float top) {
    vf id = v_inverse(scale);
    moments m[2] = {{v_set(0), v_set(0), v_set(0)}, {v_set(0), v_set(0), v_set(0)}};
    for (int i = 0; i < n; i += 2) {
        KD_UNROLL
        for (int k = 0; k < 2; k++) {
            vf x = v_load(g->x[i + k] + l), q = v_round_mul(v_add(x, min), id, 0, top), wq = v_mul(v_load(g->w[i + k] + l), q);
            m[k].q = v_add(m[k].q, wq);
            m[k].qq = v_fma(wq, q, m[k].qq);
            m[k].xq = v_fma(wq, v_sub(x, base), m[k].xq);
        }
    }
    return (moments){v_add(m[0].q, m[1].q), v_add(m[0].qq, m[1].qq), v_add(m[0].xq, m[1].xq)};
}
/* Error at (scale, min), and sum w*q of its codes. */
KD_INLINE vf asym_error(const group *g, int n, int l, vf scale, vf min, float top, vf *sum_q) {
    vf id = v_inverse(scale), e[2] = {v_set(0), v_set(0)}, a[2] = {v_set(0), v_set(0)};
    for (int i = 0; i < n; i += 2) {
        KD_UNROLL
        for (int k = 0; k < 2; k++) {
            vf y = v_add(v_load(g->x[i + k] + l), min), w = v_load(g->w[i + k] + l), q = v_round_mul(y, id, 0, top),
               r = v_fnma(scale, q, y);
            e[k] = v_fma(v_mul(w, r), r, e[k]);
            a[k] = v_fma(w, q, a[k]);
        }
    }
    *sum_q = v_add(a[0], a[1]);
    return v_add(e[0], e[1]);
}
typedef struct {
    vf base, span, w, x; /* least value (0 if all are above and mins are unsigned), range, sums of w and of w*(x-base) */
} extent;
KD_INLINE extent extent_pass(const group *g, int n, int l, int unsigned_min) {
    vf lo = v_load(g->x[0] + l), hi = lo;
    extent t = {lo, lo, v_set(0), v_set(0)};
    for (int i = 1; i < n; i++) {
        lo = v_min(v_load(g->x[i] + l), lo);
        hi = v_max(v_load(g->x[i] + l), hi);
    }
    t.base = unsigned_min ? v_min(lo, v_set(0)) : lo;
    t.span = v_sub(hi, t.base);
    for (int i = 0; i < n; i++) {
        t.w = v_add(t.w, v_load(g->w[i] + l));
        t.x = v_fma(v_load(g->w[i] + l), v_sub(v_load(g->x[i] + l), t.base), t.x);
    }
    return t;
}
/* Least squares of scale and offset u above base for the moments; gain = what it takes off sum w*(x-base)^2. The offset stays <= -base where
 * mins are unsigned. */
KD_INLINE void solve(const extent *t, const moments *m, int unsigned_min, vf *scale, vf *off, vf *gain) {
    vf full = v_mul(t->w, m->qq), det = v_fnma(m->q, m->q, full), inv = v_inverse(det), none = v_set(0);
    vf s = v_mul(v_fnma(t->x, m->q, v_mul(t->w, m->xq)), inv), u = v_mul(v_fnma(m->q, m->xq, v_mul(m->qq, t->x)), inv);
    vm flat = v_lt(det, v_mul(full, v_set(1e-5f))); /* one code for all: the scale alone */
    u = v_sel(flat, none, u);
    s = v_sel(flat, v_mul(m->xq, v_inverse(m->qq)), s);
    if (unsigned_min) { /* min = -(base + u) must be >= 0; else u = -base and the scale alone is fitted */
        vf edge = v_sub(v_set(0), t->base);
        vm over = v_lt(edge, u);
        u = v_sel(over, edge, u);
        s = v_sel(over, v_mul(v_fnma(edge, m->q, m->xq), v_inverse(m->qq)), s);
    }
    *scale = s;
    *off = u;
    /* sum w(x-b)^2 - sum w(x-b-u-sq)^2 */
    vf lin = v_fma(s, m->xq, v_mul(u, t->x)), quad = v_fma(s, v_fma(s, m->qq, v_mul(v_add(u, u), m->q)), v_mul(v_mul(u, u), t->w));
    *gain = v_sub(v_add(lin, lin), quad);
}

typedef struct {
    int n, per, unsigned_min;
    float top;         /* greatest code */
    const float *ends; /* pairs: where on the grid the least and the greatest value of a block are put */
    int count, rounds;
    float slots;        /* greatest integer scale and min */
    const float *tops;  /* pairs of places (scales, then mins) tried for the greatest scale and the greatest min of a super-block */
    int pairs;          /* how many: 16, 32, 48 */
    int radius, refits; /* around the wished integer; how often d and dmin are fitted anew */
} asym_plan;
typedef struct {
    _Alignas(64) float scale[KD_LANES], min[KD_LANES];         /* value = scale * code - min */
    float q[KD_LANES], qq[KD_LANES], w[KD_LANES], x[KD_LANES]; /* sums of w*q, w*q*q, w, w*x */
} affine;

/* Per lane: the best candidate, alternated p.rounds times; scale 0 where a constant is as good. */
static void search_affine(const group *g, const asym_plan p, affine *out) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        extent t = extent_pass(g, p.n, l, p.unsigned_min);
        vf best, at = v_set(0), q = v_set(0), qq = v_set(0), off = v_mul(t.x, v_inverse(t.w)), low = v_sub(v_set(0), t.base);
        if (p.unsigned_min) off = v_min(off, low);
        best = v_mul(off, v_fnma(off, t.w, v_add(t.x, t.x)));
        for (int c = 0; c < p.count + p.rounds; c++) {
            vf s, u, gain, sc = at, mn = v_sub(low, off);
            if (c < p.count) {
                sc = v_mul(t.span, v_set(1.0f / (p.ends[2 * c + 1] - p.ends[2 * c])));
                mn = v_fma(sc, v_set(p.ends[2 * c]), low);
            }
            moments m = moments_pass(g, p.n, l, sc, mn, t.base, p.top);
            solve(&t, &m, p.unsigned_min, &s, &u, &gain);
            vm better = v_lt(best, gain);
            best = v_sel(better, gain, best);
            at = v_sel(better, s, at);
            off = v_sel(better, u, off);
            q = v_sel(better, m.q, q);
            qq = v_sel(better, m.qq, qq);
        }
        v_store(out->scale + l, at);
        v_store(out->min + l, v_sub(low, off));
        v_store(out->q + l, q);
        v_store(out->qq + l, qq);
        v_store(out->w + l, t.w);
        v_store(out->x + l, v_fma(t.base, t.w, t.x));
    }
}

enum { KD_TOPS = 256 }; /* pairs that spread_tops takes at most */
typedef struct {
    float d[KD_LANES], dmin[KD_LANES], s[KD_LANES], m[KD_LANES], e[KD_LANES], total[KD_LANES];
} asym_choice;

/* The integer min that goes with a scale off by ds from the wished one, the codes kept. */
KD_INLINE vf min_for(vf min, vf ds, vf q, vf w, vf inv, float slots) {
    return v_round_mul(v_fma(ds, v_mul(q, v_inverse(w)), min), inv, 0, slots);
}
/* For the f16 scales of c: integers s and m of each block, near its wish, of the least error found. */
static void choose_pairs(const group *g, const asym_plan p, const affine *a, int radius, asym_choice *c) {
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf d = v_load(c->d + l), dmin = v_load(c->dmin + l), inv = v_inverse(dmin), w = v_load(a->w + l), scale = v_load(a->scale + l);
        vf mid = v_round(v_mul(scale, v_inverse(d))), best = v_set(INFINITY), s = v_set(0), m = v_set(0);
        for (int k = -radius; k <= radius; k++) {
            vf sk = v_clamp(v_add(mid, v_set((float)k)), 0, p.slots), ds = v_mul(sk, d), sq;
            vf mk = min_for(v_load(a->min + l), v_sub(ds, scale), v_load(a->q + l), w, inv, p.slots);
            vf e = asym_error(g, p.n, l, ds, v_mul(mk, dmin), p.top, &sq);
            for (int turn = 0; turn < 2; turn++) {
                vm better = v_lt(e, best);
                best = v_sel(better, e, best);
                s = v_sel(better, sk, s);
                m = v_sel(better, mk, m);
                if (turn == 0) { /* the codes moved: the min that suits them now */
                    mk = v_round_mul(v_mul(v_sub(v_mul(ds, sq), v_load(a->x + l)), v_inverse(w)), inv, 0, p.slots);
                    e = asym_error(g, p.n, l, ds, v_mul(mk, dmin), p.top, &sq);
                }
            }
        }
        v_store(c->s + l, s);
        v_store(c->m + l, m);
        v_store(c->e + l, best);
    }
    for (int b = 0; b < KD_LANES; b += p.per) {
        c->total[b] = 0;
        for (int l = b; l < b + p.per; l++) c->total[b] += c->e[l];
    }
}
static void keep_better_pairs(asym_choice *best, const asym_choice *c, int per) {
    size_t bytes = (size_t)per * sizeof(float);
    for (int b = 0; b < KD_LANES; b += per) {
        if (!(c->total[b] < best->total[b])) continue;
        best->total[b] = c->total[b];
        memcpy(best->d + b, c->d + b, bytes);
        memcpy(best->dmin + b, c->dmin + b, bytes);
        memcpy(best->s + b, c->s + b, bytes);
        memcpy(best->m + b, c->m + b, bytes);
        memcpy(best->e + b, c->e + b, bytes);
    }
}
/* Both f16 scales of each super-block by least squares for the codes at best, integers kept; into c. a takes the moments. */
static void refit_pairs(const group *g, const asym_plan p, const asym_choice *best, affine *a, asym_choice *c) {
    _Alignas(64) float xq[KD_LANES];
    for (int l = 0; l < KD_LANES; l += KD_W) {
        vf s = v_mul(v_load(best->d + l), v_load(best->s + l)), m = v_mul(v_load(best->dmin + l), v_load(best->m + l));
        moments t = moments_pass(g, p.n, l, s, m, v_set(0), p.top);
        v_store(a->scale + l, s);
        v_store(a->min + l, m);
        v_store(a->q + l, t.q);
        v_store(a->qq + l, t.qq);
        v_store(xq + l, t.xq);
    }
    for (int b = 0; b < KD_LANES; b += p.per) {
        double a11 = 0, a12 = 0, a22 = 0, b1 = 0, b2 = 0;
        for (int l = b; l < b + p.per; l++) {
            double s = (double)best->s[l], m = (double)best->m[l];
            a11 += s * s * (double)a->qq[l];
            a12 += s * m * (double)a->q[l];
            a22 += m * m * (double)a->w[l];
            b1 += s * (double)xq[l];
            b2 += m * (double)a->x[l];
        }
        double det = a11 * a22 - a12 * a12;
        float dmin = det > 1e-12 * a11 * a22 ? half_of(g, b, (float)((a12 * b1 - a11 * b2) / det)) : best->dmin[b];
        dmin = dmin > 0 ? dmin : best->dmin[b];
        float d = a11 > 0 ? half_of(g, b, (float)((b1 + (double)dmin * a12) / a11)) : best->d[b];
        for (int l = b; l < b + p.per; l++) {
            c->d[l] = d > 0 ? d : best->d[b];
            c->dmin[l] = dmin;
        }
    }
}
static float greatest(const float *v, int n) {
    float m = 0;
    for (int i = 0; i < n; i++) m = v[i] > m ? v[i] : m;
    return m;
}
/* d and dmin of each super-block: of the pairs that put its greatest scale and min at tops, the one that costs least when every block's
 * are rounded to multiples (the codes kept: the quadratic form of their moments). A lane is a pair. */
static void spread_tops(const group *g, const asym_plan p, const affine *a, const float *tops, int pairs, asym_choice *c) {
    for (int b = 0; b < KD_LANES; b += p.per) {
        _Alignas(64) float cost[KD_TOPS], step[KD_TOPS], stepm[KD_TOPS];
        float s = greatest(a->scale + b, p.per), m = greatest(a->min + b, p.per);
        int at = 0;
        for (int k = 0; k < pairs; k += KD_W) {
            vf h = half_uniform(g, b, v_div(v_set(s), v_load(tops + k)));
            vf hm = half_uniform(g, b, v_div(v_set(m), v_load(tops + pairs + k)));
            vf inv = v_inverse(h), invm = v_inverse(hm), e = v_set(0);
            for (int l = b; l < b + p.per; l++) {
                vf q = v_set(a->q[l]), w = v_set(a->w[l]), min = v_set(a->min[l]);
                vf ds = v_sub(v_mul(v_round_mul(v_set(a->scale[l]), inv, 0, p.slots), h), v_set(a->scale[l]));
                vf dm = v_sub(v_mul(min_for(min, ds, q, w, invm, p.slots), hm), min), cross = v_mul(v_mul(ds, dm), q);
                e = v_add(e, v_fma(v_mul(ds, ds), v_set(a->qq[l]), v_sub(v_mul(v_mul(dm, dm), w), v_add(cross, cross))));
            }
            v_store(step + k, h);
            v_store(stepm + k, hm);
            v_store(cost + k, e);
        }
        for (int k = 1; k < pairs; k++) at = cost[k] < cost[at] ? k : at;
        for (int l = b; l < b + p.per; l++) {
            c->d[l] = step[at] == 0 && s > 0 ? 0x1p-24f * g->inv[b] : step[at];
            c->dmin[l] = stepm[at] == 0 && m > 0 ? 0x1p-24f * g->inv[b] : stepm[at];
        }
    }
}

/* Measures the guesses that put the greatest scale of every super-block at one place and the greatest min at another. */
static void try_pair(const group *g, const asym_plan p, const affine *wish, float top, float topm, asym_choice *best) {
    asym_choice c;
    for (int l = 0; l < KD_LANES; l++) {
        c.d[l] = half_of(g, l, greatest(wish->scale + l / p.per * p.per, p.per) / top);
        c.dmin[l] = half_of(g, l, greatest(wish->min + l / p.per * p.per, p.per) / topm);
    }
    choose_pairs(g, p, wish, 1, &c);
    keep_better_pairs(best, &c, p.per);
}
/* For what is nearly exact it is luck which f16 rounds best, and blocks must agree on the codes to share it: of the ways to spread a block's
 * range over 0..k the first few that suit all; for each the best of many pairs of integers for the greatest scale and min. */
static void try_all_pairs(const group *g, const asym_plan p, asym_choice *best) {
    const int slots = (int)p.slots;
    _Alignas(64) float tops[2 * KD_TOPS];
    for (int k = 0; k < KD_TOPS; k++) {
        tops[k] = (float)(1 + k % slots);
        tops[KD_TOPS + k] = (float)(1 + (29 * k + k / slots) % slots);
    }
    for (int top = (int)p.top, found = 0; top > 0 && found < 3; top -= 1 + top / 8) {
        float ends[2] = {0, (float)top};
        asym_plan one = p;
        asym_choice c;
        affine a;
        one.ends = ends;
        one.count = 1;
        one.rounds = 0;
        search_affine(g, one, &a);
        spread_tops(g, p, &a, tops, KD_TOPS, &c);
        choose_pairs(g, p, &a, 0, &c);
        keep_better_pairs(best, &c, p.per);
        found += nearly_exact(g, p.n, p.per, c.e);
    }
}
/* The same where there are no mins: d is a little too large each time, and mins take back what that adds. */
static void try_lifted(const group *g, const asym_plan p, const affine *a, asym_choice *best) {
    for (int k = 1; k <= (int)p.slots; k += 1 + k / 4) {
        asym_choice c = *best;
        affine t = *a;
        for (int b = 0; b < KD_LANES; b += p.per) {
            float h = half_of(g, b, greatest(a->scale + b, p.per) / (float)k * (1 + 0x1p-10f)), most = 0;
            for (int l = b; l < b + p.per && h > 0; l++) {
                t.scale[l] = h * rintf(a->scale[l] / h);
                float over = (t.scale[l] * a->q[l] - a->x[l]) / a->w[l];
                t.min[l] = over > 0 ? over : 0;
                most = t.min[l] > most ? t.min[l] : most;
            }
            float step = half_of(g, b, most / p.slots);
            for (int l = b; l < b + p.per; l++) {
                c.d[l] = greatest(best->m + b, p.per) > 0 ? best->d[b] : h;
                c.dmin[l] = greatest(best->m + b, p.per) > 0 ? best->dmin[b] : step > 0 ? step : 0x1p-24f * g->inv[b];
            }
        }
        choose_pairs(g, p, &t, 0, &c);
        keep_better_pairs(best, &c, p.per);
    }
}

/* f16 scales of each super-block and integers of each block, of the least error found; in units. */
static void super_asym(const group *g, const asym_plan p, asym_choice *best) {
    affine wish, a;
    asym_choice c;
    search_affine(g, p, &wish);
    spread_tops(g, p, &wish, p.tops, p.pairs, best);
    choose_pairs(g, p, &wish, p.radius, best);
    for (int k = 0; k < 16 && (uneven(wish.scale, p.per) || uneven(wish.min, p.per)); k++) /* then guesses are measured */
        try_pair(g, p, &wish, p.tops[k * (p.pairs / 16)], p.tops[p.pairs + k * (p.pairs / 16)], best);
    for (int k = 0; k < p.refits; k++) {
        memcpy(a.w, wish.w, sizeof a.w);
        memcpy(a.x, wish.x, sizeof a.x);
        refit_pairs(g, p, best, &a, &c);
        choose_pairs(g, p, &a, 1, &c);
        keep_better_pairs(best, &c, p.per);
    }
    if (nearly_exact(g, p.n, p.per, best->e)) try_all_pairs(g, p, best);
    if (nearly_exact(g, p.n, p.per, best->e) && greatest(wish.min, KD_LANES) <= 0) try_lifted(g, p, &wish, best);
}
