/* distill/math/ops_attend.h - attention over a paged cache for the instruction set of the file that includes it: scores by the tile of the
 * f32 products (query vectors against keys), softmax with a running maximum, then values weighted. Every key and value is read and expanded once
 * for all query vectors of a call. Leans on linear_tile.h, ops_body.h. */
#include "distill/base/dtype.h"
#include "distill/math/linear_tile.h"

#include <assert.h>

enum {
    PIECE = 16,
    CHUNK = 64,
    WIDE = KD_ATTEND_MAX_D,
    VECS = KD_ATTEND_VECS
}; /* keys expanded at once; keys between two looks at the maximum */

KD_INLINE void expand_halves(float *dst, const char *src, size_t D) {
    size_t d = 0;
    for (; d + VW <= D; d += VW) v_store(dst + d, v_half(src + 2 * d));
    if (d < D) { /* filled to whole vectors: what is behind D is zero */
        char t[2 * VW] = {0};
        memcpy(t, src + 2 * d, 2 * (D - d));
        v_store(dst + d, v_half(t));
    }
}
KD_INLINE void expand_bytes(float *dst, const char *src, size_t D) { /* q8_0: blocks of a half and 32 bytes */
    for (size_t d = 0; d < D; d += 32, src += 34) {
        float scale[VW];
        char h[2 * VW] = {0};
        memcpy(h, src, 2);
        v_store(scale, v_half(h));
        vf s = v_set(scale[0]);
        for (size_t i = 0; i < 32; i += VW) v_store(dst + d + i, v_i8(src + 2 + i) * s);
    }
}
KD_INLINE void expand_floats(float *dst, const char *src, size_t D) {
    size_t d = 0;
    for (; d + VW <= D; d += VW) v_store(dst + d, v_load(src + 4 * d));
    if (d < D) v_store(dst + d, v_load_n(src + 4 * d, D - d));
}

/* Keys or values s0 .. s0 + n of group g, as far as there are any before `all`, into the first cache. */
static void fetch_rows(const void *const *pages, const kd_kv_view *kv, size_t s0, size_t n, size_t all, size_t g) {
    if (s0 >= all) return;
    if (n > all - s0) n = all - s0;
    size_t page = s0 / kv->page_rows, at = s0 % kv->page_rows;
    for (; n; page++, at = 0) {
        const size_t k = n < kv->page_rows - at ? n : kv->page_rows - at, stride = kv->row_stride;
        const char *row = (const char *)pages[page] + at * stride + g * kv->head_stride;
        if (stride <= 1024) /* rows side by side */
            for (size_t i = 0; i < k * stride; i += 64) __builtin_prefetch(row + i);
        n -= k;
    }
}

/* Keys or values s0 .. s0 + n of group g as floats, [n, Dp]. */
static void expand(float *dst, size_t Dp, const void *const *pages, const kd_kv_view *kv, size_t s0, size_t n, size_t g, size_t D) {
    size_t page = s0 / kv->page_rows, at = s0 % kv->page_rows;
    for (size_t s = 0; s < n; s++, dst += Dp) {
        const char *row = (const char *)pages[page] + at * kv->row_stride + g * kv->head_stride;
        if (kv->type == KD_F16)
            expand_halves(dst, row, D);
        else if (kv->type == KD_Q8_0)
            expand_bytes(dst, row, D);
        else
            expand_floats(dst, row, D);
        if (++at == kv->page_rows) at = 0, page++;
    }
}

/* score[i, s] = q[i] . k[s0 + s] * scale for `vecs` query vectors and n <= CHUNK keys. */
static void scores(float *score, const float *q, size_t vecs, const kd_kv_view *kv, size_t s0, size_t n, size_t all, size_t g, size_t D,
                   float scale) {
    float keys[PIECE * WIDE];
    size_t Dp = (D + VW - 1) / VW * VW;
    for (size_t p = 0; p < n; p += PIECE) {
        size_t k = n - p < PIECE ? n - p : PIECE;
        fetch_rows(kv->v_pages, kv, s0 + p, k, all, g); /* wanted when these scores are known */
        expand(keys, Dp, kv->k_pages, kv, s0 + p, k, g, D);
        for (size_t i = 0; i < vecs; i += TILE_M) {
            size_t m = vecs - i < TILE_M ? vecs - i : TILE_M;
            for (size_t s = 0; s < k; s += TILE_R) {
                float sum[TILE_M * TILE_R];
                const char *row[TILE_R];
                for (size_t t = 0; t < TILE_R; t++) /* tiles take keys by four: the last stands in for those that are not there */
                    row[t] = (const char *)(keys + (s + t < k ? s + t : k - 1) * Dp);
                tiles[m](row, q + i * D, D, D, NULL, 0, sum, TILE_R);
                for (size_t j = 0; j < m; j++)
                    for (size_t t = 0; t < TILE_R; t++) /* CHUNK is whole fours: there is room */
                        score[(i + j) * CHUNK + p + s + t] = sum[j * TILE_R + t] * scale;
            }
        }
    }
}

/* o[r, 0..4 vectors) += p[r, s] * v[s, ...] for M <= 4 heads and C <= 4 vectors of the width, over n rows in order. */
KD_INLINE void weigh(size_t M, size_t C, float *o, size_t ldo, const float *p, size_t ldp, const float *v, size_t ldv, size_t n) {
    vf a[4][4];
    KD_UNROLL(4)
    for (size_t i = 0; i < M; i++) KD_UNROLL(4)
    for (size_t c = 0; c < C; c++) a[i][c] = v_load(o + i * ldo + c * VW);
    for (size_t s = 0; s < n; s++) {
        vf x[4];
        KD_UNROLL(4)
        for (size_t c = 0; c < C; c++) x[c] = v_load(v + s * ldv + c * VW);
        KD_UNROLL(4)
        for (size_t i = 0; i < M; i++) {
            vf w = v_set(p[i * ldp + s]);
            KD_UNROLL(4)
            for (size_t c = 0; c < C; c++) a[i][c] = v_fma(w, x[c], a[i][c]);
        }
    }
    KD_UNROLL(4)
    for (size_t i = 0; i < M; i++) KD_UNROLL(4)
    for (size_t c = 0; c < C; c++) v_store(o + i * ldo + c * VW, a[i][c]);
}
#if KD_ISA == 512
enum { WM = 4, WC = 4 };
#else
enum { WM = 4, WC = 2 };
#endif
static __attribute__((noinline)) void weigh_any(size_t M, size_t C, float *o, size_t ldo, const float *p, size_t ldp, const float *v,
                                                size_t ldv, size_t n) {
    size_t c = 0, m;
    for (; c < C; c += WC)
        for (m = 0; m < M; m += WM) {
            size_t k = M - m < WM ? M - m : WM, w = C - c < WC ? C - c : WC;
            float *oc = o + m * ldo + c * VW;
            if (w == WC && k == 4)
                weigh(4, WC, oc, ldo, p + m * ldp, ldp, v + c * VW, ldv, n);
            else if (w == WC && k == 3)
                weigh(3, WC, oc, ldo, p + m * ldp, ldp, v + c * VW, ldv, n);
            else if (w == WC && k == 2)
                weigh(2, WC, oc, ldo, p + m * ldp, ldp, v + c * VW, ldv, n);
            else if (w == WC)
                weigh(1, WC, oc, ldo, p + m * ldp, ldp, v + c * VW, ldv, n);
            else
                for (size_t i = 0; i < k; i++)
                    for (size_t e = 0; e < w; e++)
                        weigh(1, 1, oc + i * ldo + e * VW, ldo, p + (m + i) * ldp, ldp, v + (c + e) * VW, ldv, n);
        }
}

/* What a query vector has seen: the maximum of its scores, and the sum of their exponentials. */
typedef struct {
    float max;
    double sum;
} seen;

/* Scores of n keys become weights; what was summed before is scaled to the new maximum. */
static void weights(seen *z, float *score, size_t n, float *o, size_t Dp) {
    float m = max_of(score, n);
    if (m > z->max) {
        float f;
        vexp(&f, &(float){z->max - m}, 1);
        vf fv = v_set(f);
        for (size_t d = 0; d < Dp; d += VW) v_store(o + d, v_load(o + d) * fv);
        z->sum *= (double)f;
        z->max = m;
    }
    z->sum += exp_sum(score, score, n, z->max, 1.0f);
}

static void attend(float *out, size_t ldo, const float *q, size_t ldq, size_t rows, const kd_kv_view *kv, size_t len, size_t g, size_t R,
                   size_t D, float scale) {
    float vec[VECS * WIDE], o[VECS * WIDE], score[VECS * CHUNK], values[PIECE * WIDE];
    seen z[VECS];
    size_t Dp = (D + VW - 1) / VW * VW, vecs = rows * R, all = len + rows - 1;
    assert(D <= WIDE && vecs <= VECS);
    for (size_t i = 0; i < vecs; i++) {
        memcpy(vec + i * D, q + i / R * ldq + i % R * D, D * sizeof *vec);
        z[i] = (seen){-INFINITY, 0};
    }
    for (size_t i = 0; i < vecs * Dp; i++) o[i] = 0;
    for (size_t s0 = 0; s0 < all; s0 += CHUNK) {
        size_t n = all - s0 < CHUNK ? all - s0 : CHUNK;
        scores(score, vec, vecs, kv, s0, n, all, g, D, scale);
        for (size_t i = 0; i < vecs; i++)
            if (len + i / R > s0) weights(&z[i], score + i * CHUNK, len + i / R - s0 < n ? len + i / R - s0 : n, o + i * Dp, Dp);
        for (size_t p = 0; p < n; p += PIECE) {
            size_t k = n - p < PIECE ? n - p : PIECE;
            fetch_rows(kv->k_pages, kv, s0 + CHUNK + p, PIECE, all, g);
            expand(values, Dp, kv->v_pages, kv, s0 + p, k, g, D);
            for (size_t r = 0; r < rows; r++)
                if (len + r > s0 + p) /* rows that end before take no part, so that nothing behind them is felt */
                    weigh_any(R, Dp / VW, o + r * R * Dp, Dp, score + r * R * CHUNK + p, CHUNK, values, Dp,
                              len + r - s0 - p < k ? len + r - s0 - p : k);
        }
    }
    for (size_t i = 0; i < vecs; i++) {
        float *y = out + i / R * ldo + i % R * D, f = (float)(1.0 / z[i].sum);
        for (size_t d = 0; d < D; d++) y[d] = o[i * Dp + d] * f;
    }
}
