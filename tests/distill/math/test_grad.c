/* Every backward of grad.h against central differences of its formula in double, on each instruction set; the same bits on all of them. */
#include "distill/base/cpu.h"
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/math/grad.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void noise(float *v, size_t n, uint64_t seed) {
    kd_rng r = {.key = seed};
    for (size_t i = 0; i < n; i++) v[i] = (float)kd_rng_normal(&r);
}

/* A formula in double of one array of inputs, with whatever else it needs in ctx. */
typedef double formula(const double *x, void *ctx);
/* got [n] must be the gradient of f at x. */
static void check(const char *what, formula *f, void *ctx, const float *x, const float *got, size_t n, double tolerance) {
    double *v = kd_malloc(n * sizeof *v), off = 0, norm = 0;
    for (size_t i = 0; i < n; i++) v[i] = (double)x[i];
    for (size_t i = 0; i < n; i++) {
        const double h = 1e-5, at = v[i];
        v[i] = at + h;
        double up = f(v, ctx);
        v[i] = at - h;
        double down = f(v, ctx);
        v[i] = at;
        double want = (up - down) / (2 * h);
        off += (want - (double)got[i]) * (want - (double)got[i]);
        norm += want * want;
    }
    kd_free(v);
    if (!(sqrt(off) <= tolerance * sqrt(norm) + 1e-9)) fail_msg("%s: gradient off by %.2e of its norm", what, sqrt(off / norm));
}

static const char *const levels[] = {"scalar", "avx2", "avx512"};
enum { LEVELS = 3 };
/* Runs body at each level; out must be the same bytes each time. */
static void each_level(void (*body)(float *out), size_t n) {
    float *first = kd_malloc(n * sizeof *first), *out = kd_malloc(n * sizeof *out);
    for (int i = 0; i < LEVELS; i++) {
        assert_true(kd_cpu_cap(levels[i]));
        memset(out, 0, n * sizeof *out);
        body(out);
        if (i == 0)
            memcpy(first, out, n * sizeof *out);
        else
            assert_memory_equal(first, out, n * sizeof *out);
    }
    kd_cpu_cap(NULL);
    kd_free(first);
    kd_free(out);
}

/* ---- rmsnorm ---- */
enum { NN = 5, NC = 37 };
static float nx[NN * NC], nw[NC], ndy[NN * NC];
static const double eps = 1e-3;
static double norm_of(const double *x, const double *w) {
    double total = 0;
    for (int n = 0; n < NN; n++) {
        double s = 0;
        for (int c = 0; c < NC; c++) s += x[n * NC + c] * x[n * NC + c];
        double r = 1 / sqrt(s / NC + eps);
        for (int c = 0; c < NC; c++) total += (double)ndy[n * NC + c] * w[c] * x[n * NC + c] * r;
    }
    return total;
}
static double norm_x(const double *x, void *ctx) {
    (void)ctx;
    double w[NC];
    for (int c = 0; c < NC; c++) w[c] = (double)nw[c];
    return norm_of(x, w);
}
static double norm_w(const double *w, void *ctx) {
    (void)ctx;
    double x[NN * NC];
    for (int i = 0; i < NN * NC; i++) x[i] = (double)nx[i];
    return norm_of(x, w);
}
static void norm_body(float *out) {
    float rstd[NN];
    for (int n = 0; n < NN; n++) {
        double s = 0;
        for (int c = 0; c < NC; c++) s += (double)nx[n * NC + c] * (double)nx[n * NC + c];
        rstd[n] = (float)(1 / sqrt(s / NC + eps));
    }
    kd_rmsnorm_backward(out, ndy, nx, nw, rstd, NN, NC);
    kd_rmsnorm_dw(out + NN * NC, ndy, nx, rstd, NN, NC, NC);
    check("rmsnorm dx", norm_x, NULL, nx, out, NN * NC, 1e-6);
    check("rmsnorm dw", norm_w, NULL, nw, out + NN * NC, NC, 1e-6);
}
static void test_rmsnorm(void **state) {
    (void)state;
    noise(nx, NN * NC, 1);
    noise(nw, NC, 2);
    noise(ndy, NN * NC, 3);
    each_level(norm_body, NN * NC + NC);
}

/* ---- swiglu ---- */
enum { SN = 75 };
static float sg[SN], su[SN], sdy[SN];
static double silu(double v) { return v / (1 + exp(-v)); }
static double swiglu_g(const double *g, void *ctx) {
    (void)ctx;
    double t = 0;
    for (int i = 0; i < SN; i++) t += (double)sdy[i] * silu(g[i]) * (double)su[i];
    return t;
}
static double swiglu_u(const double *u, void *ctx) {
    (void)ctx;
    double t = 0;
    for (int i = 0; i < SN; i++) t += (double)sdy[i] * silu((double)sg[i]) * u[i];
    return t;
}
static void swiglu_body(float *out) {
    kd_swiglu_backward(out, out + SN, sdy, sg, su, SN);
    check("swiglu dg", swiglu_g, NULL, sg, out, SN, 1e-6);
    check("swiglu du", swiglu_u, NULL, su, out + SN, SN, 1e-6);
}
static void test_swiglu(void **state) {
    (void)state;
    noise(sg, SN, 4);
    noise(su, SN, 5);
    noise(sdy, SN, 6);
    kd_scale(sg, 4, SN);
    each_level(swiglu_body, 2 * SN);
    float big[3] = {-100, 100, 0}, one[3] = {1, 1, 1}, dg[3], du[3]; /* where exp leaves f32 */
    kd_swiglu_backward(dg, du, one, big, one, 3);
    assert_true(fabsf(dg[0]) < 1e-30f && fabsf(dg[1] - 1) < 1e-6f && fabsf(dg[2] - 0.5f) < 1e-6f);
    assert_true(fabsf(du[0]) < 1e-30f && du[1] == 100 && du[2] == 0);
}

/* ---- cross-entropy ---- */
enum { V = 1203 };
static float cz[V];
typedef struct {
    size_t target;
    kd_ce o;
    double weight;
} ce_case;
static double ce_formula(const double *z, void *ctx) {
    const ce_case *k = ctx;
    double top = -DBL_MAX, s = 0, mean = 0;
    for (int i = 0; i < V; i++) top = z[i] > top ? z[i] : top;
    for (int i = 0; i < V; i++) {
        s += exp(z[i] - top);
        mean += z[i] / V;
    }
    double L = top + log(s), sm = (double)k->o.smoothing;
    return k->weight * ((1 - sm) * (L - z[k->target]) + sm * (L - mean) + (double)k->o.zloss * L * L);
}
static void ce_body(float *out) {
    const ce_case cases[] = {{7, {0, 0}, 1}, {1200, {0.1f, 0}, 0.25}, {0, {0, 1e-2f}, 3}, {500, {0.05f, 1e-3f}, 0.5}};
    double z[V];
    for (int i = 0; i < V; i++) z[i] = (double)cz[i];
    for (int k = 0; k < 4; k++) {
        ce_case c = cases[k];
        float *g = out + k * V;
        memcpy(g, cz, sizeof cz);
        assert_true(fabs(kd_cross_entropy(g, V, c.target, 1, &c.o, false) * c.weight - ce_formula(z, &c)) < 1e-5);
        assert_memory_equal(g, cz, sizeof cz);
        double loss = kd_cross_entropy(g, V, c.target, (float)c.weight, &c.o, true);
        assert_true(fabs(loss * c.weight - ce_formula(z, &c)) < 1e-5);
        check("cross-entropy", ce_formula, &c, cz, g, V, 2e-6);
    }
}
static void test_cross_entropy(void **state) {
    (void)state;
    noise(cz, V, 7);
    kd_scale(cz, 3, V);
    each_level(ce_body, 4 * V);
    float z[3] = {1, NAN, 2};
    assert_true(isnan(kd_cross_entropy(z, 3, 0, 1, NULL, true)) || isnan(z[0]) || isnan(z[1])); /* a fault shows */
    float far[2] = {-1e4f, 1e4f};
    double loss = kd_cross_entropy(far, 2, 0, 1, NULL, true);
    assert_true(fabs(loss - 2e4) < 1e-2 && far[0] == -1 && far[1] == 1);
}

/* A share of the loss from a teacher who is known at four tokens, the target among them. */
static const int32_t taught_token[4] = {3, 0, 17, 9};
static const float taught_logprob[4] = {-0.4f, -1.9f, -2.5f, -4};
static double taught_formula(const double *z, void *ctx) {
    const double a = *(const double *)ctx;
    double sum = 0, mass = 0, kl = 0, mean = 0;
    for (int i = 0; i < V; i++) {
        sum += exp(z[i]);
        mean += z[i] / V;
    }
    const double L = log(sum), ce = 0.9 * (L - z[3]) + 0.1 * (L - mean) + 0.02 * L * L;
    for (int i = 0; i < 4; i++) mass += exp((double)taught_logprob[i]);
    for (int i = 0; i < 4; i++) {
        const double p = exp((double)taught_logprob[i]) / mass;
        kl += p * (log(p) - z[taught_token[i]] + L);
    }
    return 0.7 * ((1 - a) * ce + a * kl);
}
static void taught_body(float *out) {
    const kd_taught t = {taught_token, taught_logprob, 4}, none = {NULL, NULL, 0};
    double z[V];
    for (int i = 0; i < V; i++) z[i] = (double)cz[i];
    for (int k = 0; k < 3; k++) {
        double a = k / 2.0;
        const kd_ce o = {.smoothing = 0.1f, .zloss = 0.02f, .taught = (float)a};
        float *g = out + k * V;
        memcpy(g, cz, sizeof cz);
        const double loss = kd_cross_entropy_taught(g, V, 3, 0.7f, &o, &t, true);
        assert_true(fabs(loss * 0.7 - taught_formula(z, &a)) < 1e-5);
        check("cross-entropy with a teacher", taught_formula, &a, cz, g, V, 2e-6);
        float plain[V], unknown[V];
        memcpy(plain, cz, sizeof cz);
        memcpy(unknown, cz, sizeof cz);
        const double x = kd_cross_entropy(plain, V, 3, 0.7f, &o, true), y = kd_cross_entropy_taught(unknown, V, 3, 0.7f, &o, &none, true);
        assert_true(x == y && memcmp(plain, unknown, sizeof plain) == 0); /* a row without a teacher is as it was */
    }
}
static void test_taught(void **state) {
    (void)state;
    noise(cz, V, 17);
    kd_scale(cz, 3, V);
    each_level(taught_body, 3 * V);
}

/* ---- attention ---- */
enum { AH = 4, AG = 2, AD = 10, AS = 3, AN = 300, AQ = 150 };
static float aq[AN * AH * AD], ak[AN * AG * AD], av[AN * AG * AD], ado[AN * AH * AD];
static kd_span spans[AS], sparse[AS];
static int32_t pos_all[AN], pos_some[AN];
static const kd_span *use_spans;
static const int32_t *use_pos;
static size_t use_nq;
static const double ascale = 0.3;
static double attention_of(const double *q, const double *k, const double *v, double *o) {
    double total = 0;
    for (int s = 0; s < AS; s++)
        for (size_t r = use_spans[s].q0; r < use_spans[s].q0 + use_spans[s].nq; r++)
            for (int h = 0; h < AH; h++) {
                double p[AN], sum = 0;
                const int g = h / (AH / AG), n = use_pos[r] + 1;
                for (int i = 0; i < n; i++) {
                    double dot = 0;
                    for (int d = 0; d < AD; d++)
                        dot += q[r * AH * AD + (size_t)(h * AD + d)] * k[(use_spans[s].k0 + (size_t)i) * AG * AD + (size_t)(g * AD + d)];
                    p[i] = exp(ascale * dot);
                    sum += p[i];
                }
                for (int d = 0; d < AD; d++) {
                    double y = 0;
                    for (int i = 0; i < n; i++) y += p[i] / sum * v[(use_spans[s].k0 + (size_t)i) * AG * AD + (size_t)(g * AD + d)];
                    if (o) o[r * AH * AD + (size_t)(h * AD + d)] = y;
                    total += y * (double)ado[r * AH * AD + (size_t)(h * AD + d)];
                }
            }
    return total;
}
static double dq_[AN * AH * AD], dk_[AN * AG * AD], dv_[AN * AG * AD];
static void widen(void) {
    for (int i = 0; i < AN * AH * AD; i++) dq_[i] = (double)aq[i];
    for (int i = 0; i < AN * AG * AD; i++) {
        dk_[i] = (double)ak[i];
        dv_[i] = (double)av[i];
    }
}
/* Central differences of a few hundred places: each costs a whole pass. */
static void check_some(const char *what, double *x, const float *got, size_t n, size_t step) {
    double off = 0, norm = 0;
    for (size_t i = 0; i < n; i += step) {
        const double h = 1e-4, at = x[i];
        x[i] = at + h;
        double up = attention_of(dq_, dk_, dv_, NULL);
        x[i] = at - h;
        double down = attention_of(dq_, dk_, dv_, NULL);
        x[i] = at;
        double want = (up - down) / (2 * h);
        off += (want - (double)got[i]) * (want - (double)got[i]);
        norm += want * want;
    }
    if (!(sqrt(off) <= 3e-6 * sqrt(norm))) fail_msg("attention %s: off by %.2e of its norm", what, sqrt(off / norm));
}
static void attend(float *out, int threads, bool thorough) {
    kd_pool *pool = NULL;
    if (threads > 1) assert_int_equal(kd_pool_new(&pool, threads, NULL), KD_OK);
    size_t tasks[AS + 1];
    kd_attention_tasks(tasks, use_spans, AS);
    kd_attention a = {.spans = use_spans, .n = AS, .qpos = use_pos, .tasks = tasks, .H = AH, .G = AG, .D = AD, .scale = (float)ascale};
    void *scratch = kd_aligned_alloc(64, kd_attention_scratch(threads, AD)), *gs = kd_aligned_alloc(64, kd_gemm_scratch(threads));
    float *lse = kd_malloc(AN * AH * sizeof *lse), *part = kd_malloc(2 * AN * AH * AD * sizeof *part);
    kd_gemm g = {.pool = pool, .scratch = gs};
    const size_t Q = (size_t)AH * AD, K = (size_t)AG * AD;
    float *o = out, *dq = out + AN * Q, *dk = dq + AN * Q, *dv = dk + AN * K;
    kd_attention_forward(&g, &a, o, Q, lse, aq, Q, ak, av, K, scratch);
    kd_attention_backward(&g, &a, dq, dk, dv, ado, Q, o, lse, aq, Q, ak, av, K, AN, part, scratch);
    if (thorough) {
        static double want[AN * AH * AD];
        widen();
        attention_of(dq_, dk_, dv_, want);
        for (size_t i = 0; i < use_nq * Q; i++) assert_true(fabs(want[i] - (double)o[i]) < 2e-6);
        check_some("dq", dq_, dq, use_nq * Q, use_nq * Q / 40 + 1);
        check_some("dk", dk_, dk, AN * K, AN * K / 40 + 1);
        check_some("dv", dv_, dv, AN * K, AN * K / 40 + 1);
    }
    kd_free(scratch);
    kd_free(gs);
    kd_free(lse);
    kd_free(part);
    kd_pool_free(pool);
}
/* Its products are tiles of another shape at each level, so only the threads leave every bit; each level is held against the formula by itself. */
static void attention_levels(size_t n) {
    float *out = kd_malloc(n * sizeof *out), *two = kd_malloc(n * sizeof *two);
    for (int i = 0; i < LEVELS; i++) {
        assert_true(kd_cpu_cap(levels[i]));
        memset(out, 0, n * sizeof *out);
        memset(two, 0, n * sizeof *two);
        attend(out, 1, true);
        attend(two, 3, false);
        assert_memory_equal(out, two, n * sizeof *out);
    }
    kd_cpu_cap(NULL);
    kd_free(out);
    kd_free(two);
}
static void test_attention(void **state) {
    (void)state;
    noise(aq, AN * AH * AD, 8);
    noise(ak, AN * AG * AD, 9);
    noise(av, AN * AG * AD, 10);
    noise(ado, AN * AH * AD, 11);
    const size_t len[AS] = {1, 40, 259}; /* one of several blocks, its last one ragged */
    size_t at = 0, q = 0;
    for (int s = 0; s < AS; s++) {
        spans[s] = (kd_span){at, len[s], at, len[s]};
        sparse[s] = (kd_span){q, 0, at, len[s]};
        for (size_t i = 0; i < len[s]; i++) {
            pos_all[at + i] = (int32_t)i;
            if (i % 2 == 0) {
                pos_some[q++] = (int32_t)i; /* every second row asks, as in the last layer */
                sparse[s].nq++;
            }
        }
        at += len[s];
    }
    const size_t n = (size_t)AN * AH * AD * 2 + (size_t)AN * AG * AD * 2;
    for (int which = 0; which < 2; which++) {
        use_spans = which ? sparse : spans;
        use_pos = which ? pos_some : pos_all;
        use_nq = which ? q : AN;
        attention_levels(n);
    }
}

/* ---- sums, dropout, steps ---- */
static void test_sums(void **state) {
    (void)state;
    enum { N = 200, C = 21 };
    static float a[N * C], b[N * C];
    float out[C] = {0}, prod[C] = {0}, s[C];
    noise(a, N * C, 12);
    noise(b, N * C, 13);
    noise(s, C, 14);
    kd_sum_rows(out, a, C, N, C);
    kd_sum_products(prod, a, C, b, C, s, N, C);
    for (int c = 0; c < C; c++) {
        double w1 = 0, w2 = 0;
        for (int n = 0; n < N; n++) {
            w1 += (double)a[n * C + c];
            w2 += (double)a[n * C + c] * (double)b[n * C + c] * (double)s[c];
        }
        assert_true(fabs(w1 - (double)out[c]) < 1e-4 && fabs(w2 - (double)prod[c]) < 1e-4);
    }
    double dot = 0;
    for (int i = 0; i < N * C; i++) dot += (double)a[i] * (double)b[i];
    assert_true(fabs(dot - kd_dot_rows(a, b, N * C)) < 1e-3);
    float tiny[3] = {1e-23f, 1e-23f, 0};
    assert_true(fabs(kd_sum_squares(tiny, 3) / 2e-46 - 1) < 1e-6); /* f32 squares would vanish */
    float z[C], y[C], bias[C];
    memcpy(z, a, sizeof z);
    memcpy(bias, b, sizeof bias);
    memset(y, 0, sizeof y);
    kd_scale_columns(y, C, z, C, s, bias, 1, C, true);
    for (int c = 0; c < C; c++) assert_true(fabsf(y[c] - (s[c] * z[c] + bias[c])) < 1e-6f);
}

static void test_dropout(void **state) {
    (void)state;
    enum { N = 64, C = 100 };
    static float x[N * C], y[N * C], z[N * C];
    for (int i = 0; i < N * C; i++) x[i] = 1;
    kd_dropout(y, C, x, C, N, C, 0.25f, 9, 3, 5);
    int zero = 0;
    for (int i = 0; i < N * C; i++) {
        assert_true(y[i] == 0 || fabsf(y[i] - 1 / 0.75f) < 1e-6f);
        zero += y[i] == 0;
    }
    assert_true(abs(zero - N * C / 4) < 4 * 35);                 /* four sigma of the binomial */
    kd_dropout(z + 10 * C, C, x, C, N - 10, C, 0.25f, 9, 3, 15); /* the same rows, cut elsewhere */
    assert_memory_equal(y + 10 * C, z + 10 * C, (N - 10) * C * sizeof *y);
    kd_dropout(z, C, x, C, N, C, 0.25f, 9, 4, 5);
    assert_memory_not_equal(y, z, sizeof y);
}

static void steps_body(float *out) {
    enum { N = 19 };
    float *p = out, *m = out + N, *v = out + 2 * N, g[N];
    double P[N], M[N] = {0}, W[N] = {0};
    noise(p, N, 15);
    for (int i = 0; i < N; i++) P[i] = (double)p[i];
    for (int t = 1; t <= 5; t++) {
        noise(g, N, 20 + (uint64_t)t);
        kd_adamw o = {.lr = 0.01f,
                      .beta1 = 0.9f,
                      .beta2 = 0.95f,
                      .eps = 1e-8f,
                      .decay = 0.1f,
                      .correct1 = 1 - pow(0.9, t),
                      .correct2 = 1 - pow(0.95, t)};
        kd_adamw_step(p, g, m, v, N, 0.5f, &o);
        for (int i = 0; i < N; i++) {
            double d = 0.5 * (double)g[i];
            P[i] *= 1 - 0.01 * 0.1;
            M[i] = 0.9 * M[i] + 0.1 * d;
            W[i] = 0.95 * W[i] + 0.05 * d * d;
            P[i] -= 0.01 / (1 - pow(0.9, t)) * M[i] / (sqrt(W[i]) / sqrt(1 - pow(0.95, t)) + 1e-8);
            assert_true(fabs(P[i] - (double)p[i]) < 1e-6);
        }
    }
    float q[2] = {1, 2}, d[2] = {4, -4};
    kd_sgd_step(q, d, 2, 0.5f, 0.1f, 0.5f);
    assert_true(fabsf(q[0] - (0.95f - 0.2f)) < 1e-6f && fabsf(q[1] - (1.9f + 0.2f)) < 1e-6f);
}
static void test_steps(void **state) {
    (void)state;
    each_level(steps_body, 57);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_rmsnorm),       cmocka_unit_test(test_swiglu),
                                       cmocka_unit_test(test_cross_entropy), cmocka_unit_test(test_taught),
                                       cmocka_unit_test(test_attention),     cmocka_unit_test(test_sums),
                                       cmocka_unit_test(test_dropout),       cmocka_unit_test(test_steps)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
