/* distill/math/ops_attend.h - attention over a paged cache for the instruction set of the file that includes it: scores by the tile of the
 * f32 products (heads of a group against keys), softmax, then values weighted in one pass; every key and value is read and expanded once for
 * all heads of its group. Leans on linear_tile.h, ops_body.h. */
#include "distill/base/dtype.h"
#include "distill/math/linear_tile.h"

#include <assert.h>

enum { CHUNK = 16, WIDE = KD_ATTEND_MAX_D };

/* One stored row of D numbers to floats; dst is filled to whole vectors (what is behind D is zero). */
static void expand_row(float *dst, const char *src, int type, size_t D) {
    size_t d = 0;
    if (type == KD_Q8_0) { /* blocks of a half and 32 bytes */
        for (; d < D; d += 32, src += 34) {
            float scale[VW > 16 ? VW : 16];
            char h[2 * VW] = {0};
            memcpy(h, src, 2);
            v_store(scale, v_half(h));
            vf s = v_set(scale[0]);
            for (size_t i = 0; i < 32; i += VW)
                v_store(dst + d + i, v_i8(src + 2 + i) * s);
        }
        return;
    }
    size_t size = type == KD_F16 ? 2 : 4;
    for (; d + VW <= D; d += VW)
        v_store(dst + d, type == KD_F16 ? v_half(src + 2 * d) : v_load(src + 4 * d));
    if (d < D) {
        char t[4 * VW] = {0};
        memcpy(t, src + size * d, size * (D - d));
        v_store(dst + d, type == KD_F16 ? v_half(t) : v_load(t));
    }
}

static const char *kv_row(const void *const *pages, const kd_kv_view *kv, size_t s, size_t g) {
    return (const char *)pages[s / kv->page_rows] + s % kv->page_rows * kv->row_stride + g * kv->head_stride;
}

/* work[r, s] = q[r] . k[s] * scale for the R heads of group g. */
static void scores(float *work, size_t ldw, const float *q, const kd_kv_view *kv, size_t len, size_t g, size_t R, size_t D, float scale) {
    float chunk[CHUNK * WIDE];
    size_t Dp = (D + VW - 1) / VW * VW;
    for (size_t s0 = 0; s0 < len; s0 += CHUNK) {
        size_t n = len - s0 < CHUNK ? len - s0 : CHUNK;
        const char *row[CHUNK];
        for (size_t s = 0; s < CHUNK; s++) {
            size_t at = s < n ? s : n - 1; /* tiles take keys by four: the last stands in for those that are not there */
            row[s] = kv_row(kv->k_pages, kv, s0 + at, g);
            if (kv->type != KD_F32) {
                if (s < n)
                    expand_row(chunk + s * Dp, row[s], kv->type, D);
                row[s] = (const char *)(chunk + at * Dp);
            }
        }
        for (size_t r = 0; r < R; r += TILE_M) {
            size_t m = R - r < TILE_M ? R - r : TILE_M;
            for (size_t s = 0; s < n; s += TILE_R) {
                float sum[TILE_M * TILE_R];
                tiles[m](row + s, q + r * D, D, D, NULL, 0, sum, TILE_R);
                for (size_t i = 0; i < m; i++)
                    for (size_t t = 0; t < TILE_R && s + t < n; t++)
                        work[(r + i) * ldw + s0 + s + t] = sum[i * TILE_R + t] * scale;
            }
        }
    }
}

/* o[r, 0..4 vectors) += p[r, s] * v[s, ...] for M <= 4 heads and C <= 4 vectors of the width, over n rows in order. */
KD_INLINE void weigh(size_t M, size_t C, float *o, size_t ldo, const float *p, size_t ldp, const float *v, size_t ldv, size_t n) {
    vf a[4][4];
#pragma GCC unroll 4
    for (size_t i = 0; i < M; i++)
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++)
            a[i][c] = v_load(o + i * ldo + c * VW);
    for (size_t s = 0; s < n; s++) {
        vf x[4];
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++)
            x[c] = v_load(v + s * ldv + c * VW);
#pragma GCC unroll 4
        for (size_t i = 0; i < M; i++) {
            vf w = v_set(p[i * ldp + s]);
#pragma GCC unroll 4
            for (size_t c = 0; c < C; c++)
                a[i][c] = v_fma(w, x[c], a[i][c]);
        }
    }
#pragma GCC unroll 4
    for (size_t i = 0; i < M; i++)
#pragma GCC unroll 4
        for (size_t c = 0; c < C; c++)
            v_store(o + i * ldo + c * VW, a[i][c]);
}
#if KD_ISA == 512
enum { WM = 4, WC = 4 };
#else
enum { WM = 4, WC = 2 };
#endif
static __attribute__((noinline)) void weigh_any(size_t M, size_t C, float *o, size_t ldo, const float *p, size_t ldp, const float *v, size_t ldv,
                                                size_t n) {
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

static void attend(float *out, const float *q, const kd_kv_view *kv, size_t len, size_t H, size_t G, size_t D, float scale, float *work) {
    enum { HEADS = 8 }; /* heads of a group whose sums are held at once */
    assert(D <= WIDE && H % G == 0);
    size_t R = H / G, Dp = (D + VW - 1) / VW * VW, ldw = len;
    for (size_t g = 0; g < G; g++) {
        float *w = work + g * R * ldw;
        scores(w, ldw, q + g * R * D, kv, len, g, R, D, scale);
        for (size_t r = 0; r < R; r++)
            softmax(w + r * ldw, len);
        for (size_t r0 = 0; r0 < R; r0 += HEADS) {
            size_t M = R - r0 < HEADS ? R - r0 : HEADS;
            float o[HEADS * WIDE], chunk[CHUNK * WIDE];
            for (size_t i = 0; i < M * Dp; i++)
                o[i] = 0;
            for (size_t s0 = 0; s0 < len; s0 += CHUNK) {
                size_t n = len - s0 < CHUNK ? len - s0 : CHUNK;
                for (size_t s = 0; s < n; s++)
                    expand_row(chunk + s * Dp, kv_row(kv->v_pages, kv, s0 + s, g), kv->type, D);
                weigh_any(M, Dp / VW, o, Dp, w + r0 * ldw + s0, ldw, chunk, Dp, n);
            }
            for (size_t r = 0; r < M; r++)
                memcpy(out + (g * R + r0 + r) * D, o + r * Dp, D * sizeof(float));
        }
    }
}
