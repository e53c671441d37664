/* convert/mix.c - the choice: sensitivities, the steps worth taking, and the mix that a target asks for. Leans on mix_int.h. */
#include "convert/mix_int.h"

#include "distill/base/clock.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { PROBED = 8, ROUNDS = 4 };

void kd_mix_free(kd_mix *m) {
    if (!m) return;
    kd_free(m->type);
    kd_free(m);
}

kd_dtype kd_mix_type(const kd_mix *m, kd_role r, uint32_t layer) {
    const size_t n = (size_t)m->L * KD_MATS;
    return (kd_dtype)m->type[r == KD_EMBED ? n : r == KD_HEAD ? n + 1 : (size_t)layer * KD_MATS + (size_t)r];
}

static void clear(kd_mix_job *j) {
    kd_kv_free(j->kv);
    kd_kv_pool_free(j->pages);
    kd_forward_free(j->f);
    void *all[] = {j->t,      j->tokens, j->start, j->stream, j->p,     j->entropy,   j->cur,
                   j->logits, j->kl,     j->want,  j->work,   j->bytes, j->nothing.a, j->nothing.b};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
}

static kd_code list_tensors(kd_mix_job *j, const kd_importance *im, kd_err *e) {
    const kd_config *g = &j->m->config;
    j->n = (size_t)g->L * KD_MATS + (g->tied ? 1 : 2);
    kd_code c = (j->t = kd_calloc(j->n, sizeof *j->t)) ? KD_OK : kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    for (size_t i = 0; i < j->n && !c; i++) {
        kd_mix_tensor *t = &j->t[i];
        const bool layer = i < (size_t)g->L * KD_MATS;
        char name[96];
        t->role = layer ? (kd_role)(i % KD_MATS) : i == (size_t)g->L * KD_MATS ? KD_EMBED : KD_HEAD;
        t->layer = layer ? (uint32_t)(i / KD_MATS) : 0;
        t->mat = *kd_model_mat(j->m, t->role, t->layer);
        t->lora = j->a && layer ? kd_adapter_lora(j->a, t->role, t->layer) : NULL;
        t->settled = j->a && !layer && (j->a->embed.r || j->a->head.r || j->a->saved_embed || j->a->saved_head || j->a->rows.n);
        t->sensitivity = -1;
        if (!im || (t->role == KD_EMBED && !g->tied)) continue;
        kd_name_gguf(name, t->role, t->layer);
        if (t->role == KD_EMBED && !kd_importance_find(im, name)) kd_name_gguf(name, KD_HEAD, 0);
        c = kd_importance_of(&t->im, im, name, t->mat.cols, 1, 0, e);
    }
    return c;
}

/* Whether layer l is one of those that are probed: the ends, where layers differ most, and some between. */
static bool probed(uint32_t l, uint32_t L) {
    if (L <= PROBED || l < 2 || l + 1 == L) return true;
    for (int k = 1; k <= PROBED - 3; k++)
        if (l == 1 + (uint32_t)k * (L - 2) / (PROBED - 2)) return true;
    return false;
}

/* Sensitivities of a role: measured ones, and a line through their logarithms between. */
static void draw(kd_mix_job *j, size_t role) {
    const uint32_t L = j->m->config.L;
    for (uint32_t l = 0; l < L; l++) {
        kd_mix_tensor *t = &j->t[(size_t)l * KD_MATS + role];
        if (t->sensitivity >= 0) continue;
        uint32_t a = l, b = l;
        while (a > 0 && j->t[(size_t)a * KD_MATS + role].sensitivity < 0) a--;
        while (b + 1 < L && (b == l || !probed(b, L))) b++;
        const double x = fmax(j->t[(size_t)a * KD_MATS + role].sensitivity, 1e-30),
                     y = fmax(j->t[(size_t)b * KD_MATS + role].sensitivity, 1e-30);
        t->sensitivity = exp(log(x) + (log(y) - log(x)) * (double)(l - a) / (double)(b - a));
    }
}

static kd_code probe_all(kd_mix_job *j, size_t *probes, kd_err *e) {
    const uint32_t L = j->m->config.L;
    kd_code c = KD_OK;
    for (size_t i = 0; i < j->n && !c; i++) {
        kd_mix_tensor *t = &j->t[i];
        double kl;
        if (t->settled || (i < (size_t)L * KD_MATS && !probed(t->layer, L))) continue;
        if ((c = kd_mix_probe(j, t, &kl, e))) break;
        t->sensitivity = t->probe_error > 0 ? fmax(kl, 1e-9) / t->probe_error : 0;
        ++*probes;
        kd_mix_step(j);
    }
    for (size_t r = 0; r < KD_MATS && !c; r++) draw(j, r);
    return c;
}

/* A step up of one matrix: from the type it has to type number `to`. */
typedef struct {
    size_t tensor;
    int to;
    double gain; /* KL saved a byte */
} step;

static int steeper(const void *a, const void *b) {
    const step *x = a, *y = b;
    if (x->gain != y->gain) return x->gain > y->gain ? -1 : 1;
    if (x->tensor != y->tensor) return x->tensor < y->tensor ? -1 : 1;
    return x->to - y->to;
}

static double cost(const kd_mix_tensor *t, int k) { return t->settled ? 0 : t->sensitivity * t->error[k]; }

/* Steps along the lower hull of (bytes, cost) of one matrix, from its smallest type up. */
static size_t hull(const kd_mix_tensor *t, size_t tensor, step *out) {
    size_t n = 0;
    for (int at = 0; at < t->n;) {
        int best = -1;
        double most = 0;
        for (int k = at + 1; k < t->n; k++) {
            const double gain = (cost(t, at) - cost(t, k)) / (double)(t->bytes[k] - t->bytes[at]);
            if (gain > most) best = k, most = gain;
        }
        if (best < 0) break;
        out[n++] = (step){tensor, best, most};
        at = best;
    }
    return n;
}

static uint64_t bytes_of(const kd_mix_job *j) {
    uint64_t n = 0;
    for (size_t i = 0; i < j->n; i++) n += j->t[i].bytes[j->t[i].at];
    return n;
}
static double cost_of(const kd_mix_job *j) {
    double s = 0;
    for (size_t i = 0; i < j->n; i++) s += cost(&j->t[i], j->t[i].at);
    return s;
}

/* Takes steps in order: all that fit into bytes, or until the costs are at most kl. A matrix whose step did not fit stops there. */
static void climb(kd_mix_job *j, const step *s, size_t n, uint64_t bytes, double kl, bool *stuck) {
    uint64_t used;
    double left;
    memset(stuck, 0, j->n * sizeof *stuck);
    for (size_t i = 0; i < j->n; i++) j->t[i].at = 0;
    used = bytes_of(j), left = cost_of(j);
    for (size_t i = 0; i < n && (bytes || left > kl); i++) {
        kd_mix_tensor *t = &j->t[s[i].tensor];
        if (stuck[s[i].tensor]) continue;
        const uint64_t next = used - t->bytes[t->at] + t->bytes[s[i].to];
        if (bytes && next > bytes) {
            stuck[s[i].tensor] = true;
            continue;
        }
        left += cost(t, s[i].to) - cost(t, t->at);
        used = next;
        t->at = s[i].to;
    }
}

static kd_code to_size(kd_mix_job *j, const step *s, size_t n, uint64_t bytes, bool *stuck, kd_mix *out, kd_err *e) {
    for (size_t i = 0; i < j->n; i++) j->t[i].at = 0;
    const uint64_t least = bytes_of(j);
    if (least > bytes)
        return kd_fail(e, KD_EINVAL, "--target-size: the smallest types of all matrices together take %.1f MB, %.1f MB are left for them",
                       (double)least / 1e6, (double)bytes / 1e6);
    climb(j, s, n, bytes, 0, stuck);
    out->predicted = cost_of(j);
    return kd_mix_whole(j, &out->measured, e);
}

/* The prediction is only in proportion: aim, run, aim again. What is kept is the smallest mix that was seen to meet the target. */
static kd_code to_kl(kd_mix_job *j, const step *s, size_t n, double kl, bool *stuck, int *keep, kd_mix *out, kd_err *e) {
    double aim = kl;
    uint64_t best = UINT64_MAX;
    kd_code c = KD_OK;
    for (int round = 0; round < ROUNDS && !c; round++) {
        double got;
        climb(j, s, n, 0, aim, stuck);
        const double predicted = cost_of(j);
        const uint64_t bytes = bytes_of(j);
        if ((c = kd_mix_whole(j, &got, e))) break;
        if (got <= kl && bytes < best) {
            best = bytes;
            out->predicted = predicted, out->measured = got;
            for (size_t i = 0; i < j->n; i++) keep[i] = j->t[i].at;
        }
        if (got <= kl && got > 0.97 * kl) break;
        aim = predicted * 0.99 * kl / fmax(got, 1e-12);
    }
    if (!c && best == UINT64_MAX)
        c = kd_fail(e, KD_EINVAL, "--target-kl %g: no mix of the types that are searched comes so near to the source; f16 or bf16 may", kl);
    for (size_t i = 0; i < j->n && !c; i++) j->t[i].at = keep[i];
    return c;
}

static kd_code choose(kd_mix_job *j, const kd_mix_target *target, kd_mix *out, kd_err *e) {
    step *s = kd_calloc(j->n * KD_MIX_TYPES, sizeof *s);
    bool *stuck = kd_calloc(j->n, sizeof *stuck);
    int *keep = kd_calloc(j->n, sizeof *keep);
    size_t n = 0;
    kd_code c = s && stuck && keep ? KD_OK : kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    for (size_t i = 0; i < j->n && !c; i++) n += hull(&j->t[i], i, s + n);
    if (!c && n) qsort(s, n, sizeof *s, steeper);
    if (!c) c = target->bytes ? to_size(j, s, n, target->bytes, stuck, out, e) : to_kl(j, s, n, target->kl, stuck, keep, out, e);
    kd_free(s);
    kd_free(stuck);
    kd_free(keep);
    return c;
}

static kd_code fill(kd_mix *out, const kd_mix_job *j, kd_err *e) {
    const size_t n = (size_t)j->m->config.L * KD_MATS;
    out->L = j->m->config.L;
    if (!(out->type = kd_calloc(n + 2, 1))) return kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    for (size_t i = 0; i < j->n; i++) out->type[i] = (uint8_t)j->t[i].type[j->t[i].at];
    if (j->n == n + 1) out->type[n + 1] = out->type[n];
    out->bytes = bytes_of(j);
    out->tokens = j->rows;
    return KD_OK;
}

kd_code kd_mix_search(kd_mix **out, kd_model *m, kd_adapter *a, const kd_importance *im, const kd_compare_row *rows, size_t n,
                      const kd_mix_target *target, kd_pool *pool, const kd_watch *w, kd_err *e) {
    kd_mix_job j = {.m = m, .a = a, .pool = pool, .watch = w};
    const double start = kd_now();
    kd_mix *x = kd_calloc(1, sizeof *x);
    kd_code c = x ? list_tensors(&j, im, e) : kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    *out = NULL;
    const uint32_t L = m->config.L;
    size_t layers = 0;
    for (uint32_t l = 0; l < L; l++) layers += probed(l, L);
    j.total = j.n + layers * KD_MATS + (j.n - (size_t)L * KD_MATS);
    kd_emit(w, (kd_event){.kind = KD_EV_BEGIN, .stage = "search", .total = j.total, .unit = "steps"});
    if (!c) c = kd_mix_prepare(&j, rows, n, target->tokens, e);
    if (!c) c = kd_mix_errors(&j, e);
    if (!c) c = probe_all(&j, &x->probes, e);
    if (!c) c = choose(&j, target, x, e);
    if (!c) c = fill(x, &j, e);
    kd_emit(w, (kd_event){.kind = KD_EV_END, .stage = "search", .done = j.total, .total = j.total, .unit = "steps"});
    clear(&j);
    if (c) {
        kd_mix_free(x);
        return c;
    }
    x->seconds = kd_now() - start;
    *out = x;
    return KD_OK;
}
