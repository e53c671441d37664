/* tests/student/reference.h - the loss of a training update in float64, written from the formulas: what central differences are taken of. Trained values
 * are read from a slab of doubles laid out as kd_params has it, all else from the model. For the tests of student. */
#ifndef KD_TEST_REFERENCE_H
#define KD_TEST_REFERENCE_H

#include "distill/base/mem.h"
#include "tests/student/oracle.h"

typedef struct {
    const kd_model *m;
    const kd_train_method *method;
    const kd_params *p;
    kd_ce ce;
    uint64_t seed, update;
    const kd_lesson *lessons;
    size_t n;
    double *theta; /* as p->value */
    float *cos_, *sin_;
    double *held[64][KD_ROLES]; /* weights of the model by layer and role */
    double *norm[64][KD_MATS];  /* DoRA: ||W + scale B A|| by row, constant */
} reference;

static const double *ref_trained(const reference *f, kd_role r, uint32_t l, char part) {
    const kd_param *q = kd_params_find(f->p, r, l, part);
    return q ? f->theta + q->at : NULL;
}
static const double *ref_weight(reference *f, kd_role r, uint32_t l) {
    const double *own = ref_trained(f, r, l, 0);
    if (own) return own;
    if (f->held[l][r]) return f->held[l][r];
    size_t rows, cols;
    kd_role_shape(&f->m->config, r, &rows, &cols);
    const size_t n = rows * (cols ? cols : 1);
    double *d = f->held[l][r] = kd_malloc(n * sizeof *d);
    float *tmp = kd_malloc(n * sizeof *tmp);
    if (cols)
        kd_mat_rows(kd_model_mat(f->m, r, l), 0, rows, tmp);
    else
        memcpy(tmp, kd_model_vec(f->m, r, l), n * sizeof *tmp);
    for (size_t i = 0; i < n; i++) d[i] = (double)tmp[i];
    kd_free(tmp);
    return d;
}

static void ref_norm(double *y, const double *x, const double *w, size_t n, double eps) {
    double s = 0;
    for (size_t i = 0; i < n; i++) s += x[i] * x[i];
    s = 1 / sqrt(s / (double)n + eps);
    for (size_t i = 0; i < n; i++) y[i] = w[i] * x[i] * s;
}

/* y [N,out] of x [N,in]; rows of dropout are numbered from row0, or by number[]. */
static void ref_proj(reference *f, kd_role r, uint32_t l, double *y, const double *x, size_t N, const uint64_t *number) {
    size_t out, in;
    kd_role_shape(&f->m->config, r, &out, &in);
    static const kd_role bias_of[] = {KD_Q_BIAS, KD_K_BIAS, KD_V_BIAS, KD_O_BIAS, KD_GATE_BIAS, KD_UP_BIAS, KD_DOWN_BIAS};
    const double *W = ref_weight(f, r, l), *A = ref_trained(f, r, l, 'A'), *B = ref_trained(f, r, l, 'B'), *M = ref_trained(f, r, l, 'M');
    const double *b = kd_role_present(&f->m->config, bias_of[r]) ? ref_weight(f, bias_of[r], l) : NULL;
    const kd_rank rank = A ? kd_method_rank(f->method, r, l) : (kd_rank){0};
    const double s = A ? (double)kd_lora_scale(rank.alpha, rank.r, f->method->lora.rslora) : 0;
    double *xd = kd_malloc(in * sizeof *xd), *xa = kd_malloc((rank.r + 1) * sizeof *xa);
    float *mask = kd_malloc(in * sizeof *mask), *ones = kd_malloc(in * sizeof *ones);
    for (size_t c = 0; c < in; c++) ones[c] = 1;
    if (M && !f->norm[l][r]) {
        f->norm[l][r] = kd_malloc(out * sizeof(double));
        for (size_t o = 0; o < out; o++) {
            double sum = 0;
            for (size_t c = 0; c < in; c++) {
                double v = W[o * in + c];
                for (size_t k = 0; k < rank.r; k++) v += s * B[o * rank.r + k] * A[k * in + c];
                sum += v * v;
            }
            f->norm[l][r][o] = sqrt(sum);
        }
    }
    for (size_t n = 0; n < N; n++) {
        const bool drop = A && f->method->lora.dropout > 0;
        if (drop)
            kd_dropout(mask, in, ones, in, 1, in, f->method->lora.dropout, f->seed, (uint64_t)l * KD_MATS + r + 1 + (f->update << 20),
                       number[n]);
        for (size_t c = 0; c < in; c++) xd[c] = x[n * in + c] * (drop ? (double)mask[c] : 1);
        for (size_t k = 0; k < rank.r; k++) {
            xa[k] = 0;
            for (size_t c = 0; c < in; c++) xa[k] += xd[c] * A[k * in + c];
        }
        for (size_t o = 0; o < out; o++) {
            double base = 0, low = 0, dropped = 0;
            for (size_t c = 0; c < in; c++) {
                base += W[o * in + c] * x[n * in + c];
                dropped += W[o * in + c] * xd[c];
            }
            for (size_t k = 0; k < rank.r; k++) low += s * B[o * rank.r + k] * xa[k];
            if (M) {
                const double c = M[o] / f->norm[l][r][o];
                base += (c - 1) * dropped + c * low;
            } else {
                base += low;
            }
            y[n * out + o] = base + (b ? b[o] : 0);
        }
    }
    kd_free(xd), kd_free(xa), kd_free(mask), kd_free(ones);
}

static void ref_heads(reference *f, kd_role norm, uint32_t l, double *x, size_t N, size_t heads) {
    const size_t D = f->m->config.D;
    for (size_t n = 0; n < N; n++)
        for (size_t h = 0; h < heads; h++) {
            double *v = x + (n * heads + h) * D;
            if (f->m->config.qk_norm) ref_norm(v, v, ref_weight(f, norm, l), D, (double)f->m->config.norm_eps);
            for (size_t j = 0; j < D / 2; j++) {
                const double c = (double)f->cos_[n * (D / 2) + j], s = (double)f->sin_[n * (D / 2) + j], a = v[j], b = v[j + D / 2];
                v[j] = a * c - b * s;
                v[j + D / 2] = b * c + a * s;
            }
        }
}

static void ref_attend(const reference *f, double *o, const double *q, const double *k, const double *v, size_t N) {
    const size_t H = f->m->config.H, G = f->m->config.G, D = f->m->config.D;
    double *p = kd_malloc(N * sizeof *p);
    for (size_t n = 0; n < N; n++)
        for (size_t h = 0; h < H; h++) {
            const size_t g = h / (H / G);
            double sum = 0;
            for (size_t i = 0; i <= n; i++) {
                double dot = 0;
                for (size_t d = 0; d < D; d++) dot += q[(n * H + h) * D + d] * k[(i * G + g) * D + d];
                p[i] = exp(dot / sqrt((double)D));
                sum += p[i];
            }
            for (size_t d = 0; d < D; d++) {
                double y = 0;
                for (size_t i = 0; i <= n; i++) y += p[i] / sum * v[(i * G + g) * D + d];
                o[(n * H + h) * D + d] = y;
            }
        }
    kd_free(p);
}

/* Row of a token in the embedding or the head. */
static const double *ref_row(reference *f, kd_role r, size_t token) {
    const kd_role from = r == KD_HEAD && f->m->config.tied ? KD_EMBED : r;
    const double *own = ref_trained(f, from, 0, 'T');
    const size_t C = f->m->config.C, at = token - f->method->lora.first_token;
    const kd_param *q = kd_params_find(f->p, from, 0, 'T');
    return own && at < q->rows ? own + at * C : ref_weight(f, from, 0) + token * C;
}

static double ref_ce(const reference *f, const double *z, size_t V, size_t target) {
    double sum = 0, mean = 0;
    for (size_t i = 0; i < V; i++) {
        sum += exp(z[i]);
        mean += z[i] / (double)V;
    }
    const double L = log(sum), s = (double)f->ce.smoothing;
    return (1 - s) * (L - z[target]) + s * (L - mean) + (double)f->ce.zloss * L * L;
}

/* The loss of one lesson, its rows numbered from row0, its loss rows from loss0. */
static double ref_lesson(reference *f, const kd_lesson *ls, double weight, uint64_t row0, uint64_t *loss0) {
    const kd_config *c = &f->m->config;
    const size_t N = kd_lesson_rows(ls), C = c->C, HD = (size_t)c->H * c->D, GD = (size_t)c->G * c->D, F = c->F, V = c->V;
    double *x = kd_malloc(N * C * sizeof *x), *xn = kd_malloc(N * C * sizeof *x), *q = kd_malloc(N * HD * sizeof *x),
           *o = kd_malloc(N * HD * sizeof *x);
    double *k = kd_malloc(N * GD * sizeof *x), *v = kd_malloc(N * GD * sizeof *x), *g = kd_malloc(N * F * sizeof *x),
           *u = kd_malloc(N * F * sizeof *x);
    double *y = kd_malloc(N * C * sizeof *x), *z = kd_malloc(V * sizeof *z), total = 0;
    uint64_t *all = kd_malloc(N * sizeof *all), *some = kd_malloc(N * sizeof *some), seen = *loss0;
    for (size_t n = 0; n < N; n++) {
        all[n] = row0 + n;
        some[n] = seen; /* of rows without loss nothing is asked in the last layer */
        seen += ls->loss[n + 1] != 0;
        memcpy(x + n * C, ref_row(f, KD_EMBED, (size_t)ls->tokens[n]), C * sizeof *x);
    }
    for (uint32_t l = 0; l < c->L; l++) {
        const uint64_t *late = l + 1 == c->L ? some : all;
        for (size_t n = 0; n < N; n++) ref_norm(xn + n * C, x + n * C, ref_weight(f, KD_ATTN_NORM, l), C, (double)c->norm_eps);
        ref_proj(f, KD_Q, l, q, xn, N, late);
        ref_proj(f, KD_K, l, k, xn, N, all);
        ref_proj(f, KD_V, l, v, xn, N, all);
        ref_heads(f, KD_Q_NORM, l, q, N, c->H);
        ref_heads(f, KD_K_NORM, l, k, N, c->G);
        ref_attend(f, o, q, k, v, N);
        ref_proj(f, KD_O, l, y, o, N, late);
        for (size_t i = 0; i < N * C; i++) x[i] += y[i];
        for (size_t n = 0; n < N; n++) ref_norm(xn + n * C, x + n * C, ref_weight(f, KD_MLP_NORM, l), C, (double)c->norm_eps);
        ref_proj(f, KD_GATE, l, g, xn, N, late);
        ref_proj(f, KD_UP, l, u, xn, N, late);
        for (size_t i = 0; i < N * F; i++) u[i] *= g[i] / (1 + exp(-g[i]));
        ref_proj(f, KD_DOWN, l, y, u, N, late);
        for (size_t i = 0; i < N * C; i++) x[i] += y[i];
    }
    for (size_t n = 0; n < N; n++) {
        if (!ls->loss[n + 1]) continue;
        ref_norm(xn, x + n * C, ref_weight(f, KD_FINAL_NORM, 0), C, (double)c->norm_eps);
        for (size_t t = 0; t < V; t++) {
            const double *w = ref_row(f, KD_HEAD, t);
            z[t] = 0;
            for (size_t i = 0; i < C; i++) z[t] += w[i] * xn[i];
        }
        total += weight * ref_ce(f, z, V, (size_t)ls->tokens[n + 1]);
    }
    *loss0 = seen;
    void *gone[] = {x, xn, q, o, k, v, g, u, y, z, all, some};
    for (size_t i = 0; i < sizeof gone / sizeof *gone; i++) kd_free(gone[i]);
    return total;
}

static double ref_loss(reference *f) {
    double weights = 0, total = 0;
    uint64_t row = 0, loss_row = 0;
    for (size_t i = 0; i < f->n; i++)
        for (size_t k = 1; k < f->lessons[i].n; k++) weights += f->lessons[i].loss[k] ? (double)f->lessons[i].weight : 0;
    for (size_t i = 0; i < f->n; i++) {
        total += ref_lesson(f, &f->lessons[i], (double)f->lessons[i].weight / weights, row, &loss_row);
        row += kd_lesson_rows(&f->lessons[i]);
    }
    return total;
}

static void ref_clear(reference *f) {
    for (size_t l = 0; l < 64; l++) {
        for (size_t r = 0; r < KD_ROLES; r++) kd_free(f->held[l][r]);
        for (size_t r = 0; r < KD_MATS; r++) kd_free(f->norm[l][r]);
    }
    kd_free(f->theta), kd_free(f->cos_), kd_free(f->sin_);
}

#endif
