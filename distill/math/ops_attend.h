/* distill/math/ops_attend.h - attention over a paged cache for the instruction set of the file that includes it: query vectors against keys, softmax
 * with a running maximum, values weighted. Both products are one tile: a few vectors' worth of sums in registers, one chain of multiply-adds each, so
 * nothing is summed across lanes and the tile's shape changes no bit. Halves are turned into floats where they are used when few query vectors look at
 * them, and once for all where there are many. What the next product will read is fetched meanwhile. Leans on ops_body.h. */
#include "distill/base/dtype.h"

#include <assert.h>

enum {
    LANES = KD_KV_LANES,
    PIECE = 64,  /* positions turned into floats at once */
    CHUNK = 128, /* positions between two looks at the maximum */
    WIDE = KD_ATTEND_MAX_D,
    VECS = KD_ATTEND_VECS,
    FEW_VECS = 8, /* query vectors for which halves are not turned apart */
#if KD_ISA == 512
    TILE_VECS = 8
#else
    TILE_VECS = 6
#endif
};
_Static_assert(CHUNK % PIECE == 0 && PIECE % (2 * LANES) == 0 && LANES % VW == 0, "whole vectors everywhere");

/* What a product reads: vector c of step k at base[c] + k * step bytes. */
typedef struct {
    const char *base[2];
    size_t step;
} operand;

KD_INLINE vf v_either(bool half, const char *p) {
    if (half) return v_half(p);
    return v_load(p);
}

/* out[m, c] (+)= scale * sum over k < K of a[m, k] * b[k, c], for M rows and C vectors; a line of `ahead` is fetched a step. */
KD_INLINE void product_tile(size_t M, size_t C, bool half, float *out, size_t ldo, const float *a, size_t lda, operand b, size_t K,
                            bool add, float scale, const char *ahead, size_t lines) {
    vf sum[TILE_VECS][2];
    KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) KD_UNROLL(2)
    for (size_t c = 0; c < C; c++) {
        sum[m][c] = v_zero();
        if (add) sum[m][c] = v_load(out + m * ldo + c * VW);
    }
    for (size_t k = 0; k < K; k++) {
        vf v[2];
        if (k < lines) __builtin_prefetch(ahead + 64 * k);
        KD_UNROLL(2)
        for (size_t c = 0; c < C; c++) v[c] = v_either(half, b.base[c] + k * b.step);
        KD_UNROLL(8)
        for (size_t m = 0; m < M; m++) {
            const vf w = v_set(a[m * lda + k]);
            KD_UNROLL(2)
            for (size_t c = 0; c < C; c++) sum[m][c] = v_fma(w, v[c], sum[m][c]);
        }
    }
    const vf s = v_set(scale);
    KD_UNROLL(8)
    for (size_t m = 0; m < M; m++) KD_UNROLL(2)
    for (size_t c = 0; c < C; c++) v_store(out + m * ldo + c * VW, sum[m][c] * s);
}
typedef void product_fn(float *out, size_t ldo, const float *a, size_t lda, operand b, size_t K, bool add, float scale, const char *ahead,
                        size_t lines);
#define PRODUCT(name, M, C, half)                                                                                                          \
    static __attribute__((noinline)) void name(float *out, size_t ldo, const float *a, size_t lda, operand b, size_t K, bool add,          \
                                               float scale, const char *ahead, size_t lines) {                                             \
        if (add)                                                                                                                           \
            product_tile(M, C, half, out, ldo, a, lda, b, K, true, scale, ahead, lines);                                                   \
        else                                                                                                                               \
            product_tile(M, C, half, out, ldo, a, lda, b, K, false, scale, ahead, lines);                                                  \
    }
#define PRODUCTS(M) PRODUCT(f1_##M, M, 1, false) PRODUCT(f2_##M, M, 2, false) PRODUCT(h1_##M, M, 1, true) PRODUCT(h2_##M, M, 2, true)
PRODUCTS(1)
PRODUCTS(2)
PRODUCTS(3)
PRODUCTS(4)
PRODUCTS(5)
PRODUCTS(6)
#if KD_ISA == 512
PRODUCTS(7)
PRODUCTS(8)
#define ALL_OF(p)                                                                                                                          \
    { NULL, p##1, p##2, p##3, p##4, p##5, p##6, p##7, p##8 }
#else
#define ALL_OF(p)                                                                                                                          \
    { NULL, p##1, p##2, p##3, p##4, p##5, p##6 }
#endif
static product_fn *const products[2][2][TILE_VECS + 1] = {{ALL_OF(f1_), ALL_OF(f2_)}, {ALL_OF(h1_), ALL_OF(h2_)}};

/* Columns of one product for all query vectors, C <= 2 vectors of them. */
static void product(float *out, size_t ldo, const float *a, size_t lda, size_t vecs, const operand *b, size_t C, bool half, size_t K,
                    bool add, float scale, const char *ahead, size_t lines) {
    const size_t blocks = (vecs + TILE_VECS - 1) / TILE_VECS;
    for (size_t i = 0, m = 0; i < blocks; i++) {
        const size_t M = (vecs - m + blocks - i - 1) / (blocks - i);
        products[half][C - 1][M](out + m * ldo, ldo, a + m * lda, lda, *b, K, add, scale, ahead, i ? 0 : lines);
        m += M;
    }
}

/* n positions from s on of group g, which lie side by side in one page: where they begin, keys and values alike. */
static const char *rows_at(const void *const *pages, const kd_kv_view *kv, size_t s, size_t g) {
    return (const char *)pages[s / kv->page_rows] + s % kv->page_rows * kv->row_bytes + g * kv->head_stride;
}

/* What is to be fetched of n positions from s on (of `all`): as much as lies side by side. */
static const char *ahead_of(const void *const *pages, const kd_kv_view *kv, size_t s, size_t n, size_t all, size_t g, size_t *lines) {
    *lines = 0;
    if (s >= all) return NULL;
    if (n > all - s) n = all - s;
    if (n > kv->page_rows - s % kv->page_rows) n = kv->page_rows - s % kv->page_rows;
    *lines = (n * kv->row_bytes + 63) / 64;
    return rows_at(pages, kv, s, g);
}

KD_INLINE vf v_scale16(const char *p) { /* a half for every lane */
    float one[VW];
    char h[2 * VW] = {0};
    memcpy(h, p, 2);
    v_store(one, v_half(h));
    return v_set(one[0]);
}

/* One value row as floats, filled to whole vectors. */
KD_INLINE void value_row(float *dst, const char *src, int type, size_t D) {
    size_t d = 0;
    if (type == KD_Q8_0) { /* blocks of a half and 32 bytes */
        for (; d < D; d += 32, src += 34) {
            const vf s = v_scale16(src);
            for (size_t i = 0; i < 32; i += VW) v_store(dst + d + i, v_i8(src + 2 + i) * s);
        }
        return;
    }
    for (; d + VW <= D; d += VW) v_store(dst + d, v_either(type == KD_F16, src + (type == KD_F16 ? 2 : 4) * d));
    if (d == D) return;
    char t[4 * VW] = {0};
    memcpy(t, src + (type == KD_F16 ? 2 : 4) * d, (type == KD_F16 ? 2 : 4) * (D - d));
    v_store(dst + d, v_either(type == KD_F16, t));
}

/* Sixteen keys as floats, dst [D, ld]. */
KD_INLINE void key_group(float *dst, size_t ld, const char *src, int type, size_t D) {
    for (size_t i = 0; i < LANES; i += VW)
        if (type == KD_Q8_0) {
            const char *block = src;
            for (size_t d = 0; d < D; d += 32, block += 34 * LANES) {
                const vf s = v_half(block + 2 * i);
                for (size_t k = 0; k < 32; k++) v_store(dst + (d + k) * ld + i, v_i8(block + 2 * LANES + k * LANES + i) * s);
            }
        } else
            for (size_t d = 0; d < D; d++)
                v_store(dst + d * ld + i, v_either(type == KD_F16, src + (type == KD_F16 ? 2 : 4) * (d * LANES + i)));
}

/* score[i, s - s0] = q[i] . k[s] * scale for positions s0 .. s0 + n, n <= CHUNK, of `all`; behind n up to whole groups lies what nobody asks for. */
static void scores(float *score, const float *q, size_t vecs, const kd_kv_view *kv, size_t s0, size_t n, size_t all, size_t g, size_t D,
                   float scale) {
    const bool half = kv->type == KD_F16 && vecs <= FEW_VECS;
    float keys[PIECE * WIDE];
    for (size_t p = 0; p < n; p += PIECE) {
        const size_t k = n - p < PIECE ? n - p : PIECE;
        for (size_t s = 0; s < k && !half; s += LANES) key_group(keys + s, PIECE, rows_at(kv->k_pages, kv, s0 + p + s, g), kv->type, D);
        for (size_t s = 0; s < k; s += 2 * VW) { /* the values of these positions are wanted when their scores are known */
            size_t lines;
            const char *ahead = ahead_of(kv->v_pages, kv, s0 + p + s, 2 * VW, all, g, &lines);
            operand b = {.step = half ? 2 * LANES : PIECE * sizeof(float)};
            const size_t C = s + VW < (k + LANES - 1) / LANES * LANES ? 2 : 1;
            for (size_t c = 0; c < C; c++) {
                const size_t at = s + c * VW;
                b.base[c] = half ? rows_at(kv->k_pages, kv, s0 + p + at / LANES * LANES, g) + 2 * (at % LANES) : (const char *)(keys + at);
            }
            product(score + p + s, CHUNK, q, D, vecs, &b, C, half, D, false, scale, ahead, lines);
        }
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

/* o[i] += weights of positions s .. s + n times their values, for the query vectors of R heads and `rows` rows that all see them. */
static void weigh(float *o, size_t Dp, const float *score, size_t vecs, const kd_kv_view *kv, const float *values, size_t s, size_t n,
                  size_t next, size_t all, size_t g) {
    const bool half = !values;
    for (size_t d = 0; d < Dp; d += 2 * VW) {
        size_t lines;
        const char *ahead = ahead_of(kv->k_pages, kv, next, PIECE, all, g, &lines), *from = values ? NULL : rows_at(kv->v_pages, kv, s, g);
        const size_t done = d / (2 * VW) * n; /* lines fetched by the columns before */
        const operand b = {{half ? from + 2 * d : (const char *)(values + d), half ? from + 2 * (d + VW) : (const char *)(values + d + VW)},
                           half ? kv->row_bytes : Dp * sizeof(float)};
        product(o + d, Dp, score, CHUNK, vecs, &b, d + VW < Dp ? 2 : 1, half, n, true, 1.0f, ahead ? ahead + 64 * done : ahead,
                lines > done ? lines - done : 0);
    }
}

/* Positions s0 .. s0 + n, whose scores are weights by now. Rows that end among them come one by one, so that nothing behind their end is felt. */
static void values_of(float *o, size_t Dp, const float *score, size_t rows, size_t R, const kd_kv_view *kv, size_t s0, size_t n, size_t len,
                      size_t all, size_t g, size_t D) {
    const bool half = kv->type == KD_F16 && D == Dp && rows * R <= FEW_VECS;
    float values[PIECE * WIDE];
    for (size_t p = 0, k; p < n; p += k) {
        const size_t s = s0 + p, left = n - p;
        size_t r = 0;
        k = half ? kv->page_rows - s % kv->page_rows : PIECE;
        k = k < PIECE ? k : PIECE;
        k = k < left ? k : left;
        for (size_t i = 0; i < k && !half; i++) value_row(values + i * Dp, rows_at(kv->v_pages, kv, s + i, g), kv->type, D);
        for (; r < rows && len + r < s + k; r++)
            if (len + r > s) weigh(o + r * R * Dp, Dp, score + r * R * CHUNK + p, R, kv, half ? NULL : values, s, len + r - s, all, all, g);
        if (r < rows)
            weigh(o + r * R * Dp, Dp, score + r * R * CHUNK + p, (rows - r) * R, kv, half ? NULL : values, s, k, s + CHUNK, all, g);
    }
}

static void attend(float *out, size_t ldo, const float *q, size_t ldq, size_t rows, const kd_kv_view *kv, size_t len, size_t g, size_t R,
                   size_t D, float scale) {
    float vec[VECS * WIDE], o[VECS * WIDE], score[VECS * CHUNK];
    seen z[VECS];
    size_t Dp = (D + VW - 1) / VW * VW, vecs = rows * R, all = len + rows - 1;
    assert(D <= WIDE && vecs <= VECS && kv->page_rows % LANES == 0);
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
        values_of(o, Dp, score, rows, R, kv, s0, n, len, all, g, D);
    }
    for (size_t i = 0; i < vecs; i++) {
        float *y = out + i / R * ldo + i % R * D, f = (float)(1.0 / z[i].sum);
        for (size_t d = 0; d < D; d++) y[d] = o[i * Dp + d] * f;
    }
}
