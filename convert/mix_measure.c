/* convert/mix_measure.c - KL of a model with some of its matrices quantized, against itself. Leans on mix_int.h, model/forward.h, math/ops.h.
 * The source runs once; what enters each of its layers is kept, so that a probe begins at the layer that it changes. A whole mix runs a layer at a
 * time, its matrices quantized just before: no more than one layer of it is in memory. */
#include "convert/mix_int.h"

#include "distill/math/codec.h"
#include "distill/math/ops.h"

#include <string.h>

enum { SEQUENCE = 128, TOKENS = 384, LOGITS_MAX = 160 << 20 };

void kd_mix_step(kd_mix_job *j) {
    kd_emit(j->watch, (kd_event){.kind = KD_EV_STEP, .stage = "search", .done = ++j->done, .total = j->total, .unit = "steps"});
}

/* Streams into tap_to: every layer's entrance (tap_all), or whatever passes. */
static void tap(void *ctx, kd_role r, uint32_t layer, const float *x, size_t n) {
    kd_mix_job *j = ctx;
    const size_t C = j->m->config.C;
    if ((r != KD_ATTN_NORM && r != KD_FINAL_NORM) || !j->tap_to) return;
    float *to = j->tap_to + (j->tap_all ? (size_t)layer * j->rows * C : 0) + j->tap_row * C;
    memcpy(to, x, n * C * sizeof *x);
}

/* Sequences of at most SEQUENCE tokens, until there are enough. */
static kd_code cut_rows(kd_mix_job *j, const kd_compare_row *rows, size_t n, size_t most, kd_err *e) {
    const size_t longest = j->m->config.context < SEQUENCE ? j->m->config.context : SEQUENCE;
    size_t cap = 0;
    if (!(j->tokens = kd_malloc(most * sizeof *j->tokens))) return kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    for (size_t i = 0; i < n && j->rows < most; i++)
        for (size_t at = 0; at < rows[i].n && j->rows < most; at += longest) {
            size_t k = rows[i].n - at < longest ? rows[i].n - at : longest;
            k = most - j->rows < k ? most - j->rows : k;
            if (k < 2) continue;
            if (kd_grow((void **)&j->start, &cap, j->seqs + 2, sizeof *j->start))
                return kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
            memcpy(j->tokens + j->rows, rows[i].tokens + at, k * sizeof *j->tokens);
            j->start[j->seqs++] = j->rows;
            j->rows += k;
            j->start[j->seqs] = j->rows;
        }
    return j->rows ? KD_OK : kd_fail(e, KD_EINVAL, "search for a mix: expected at least two tokens to measure on, found none");
}

static float *floats(size_t a, size_t b) {
    size_t n;
    return kd_mul_size(a, b, &n) && kd_mul_size(n, sizeof(float), &n) ? kd_aligned_alloc(64, (n + 63) & ~(size_t)63) : NULL;
}

static kd_code make_buffers(kd_mix_job *j, kd_err *e) {
    const kd_config *c = &j->m->config;
    size_t lora = c->C, workers = (size_t)kd_pool_threads(j->pool);
    for (size_t i = 0; i < j->n; i++) {
        j->widest = j->t[i].mat.cols > j->widest ? j->t[i].mat.cols : j->widest;
        lora = j->t[i].mat.rows > lora && j->t[i].lora ? j->t[i].mat.rows : lora;
    }
    j->widest = (j->widest + 15) & ~(size_t)15;
    lora = lora > j->widest ? lora : j->widest;
    j->stream = floats((size_t)(c->L + 1) * j->rows, c->C);
    j->p = floats(j->rows, c->V);
    j->cur = floats(j->rows, c->C);
    j->logits = floats(SEQUENCE, c->V);
    j->work = floats(workers * 2, j->widest);
    j->entropy = kd_calloc(j->rows, sizeof *j->entropy);
    j->kl = kd_calloc(j->rows, sizeof *j->kl);
    j->want = kd_calloc(SEQUENCE, sizeof *j->want);
    j->nothing = (kd_lora){.r = 1, .alpha = 1, .a = kd_calloc(lora, sizeof(float)), .b = kd_calloc(lora, sizeof(float))};
    if (!j->stream || !j->p || !j->cur || !j->logits || !j->work || !j->entropy || !j->kl || !j->want || !j->nothing.a || !j->nothing.b)
        return kd_fail(e, KD_ENOMEM, "search for a mix on %zu tokens: out of memory", j->rows);
    for (size_t i = 0; i < SEQUENCE; i++) j->want[i] = i;
    kd_code r = kd_forward_new(&j->f, j->m, j->a, &(kd_forward_options){.max_rows = SEQUENCE, .context = SEQUENCE}, j->pool, e);
    if (!r) r = kd_kv_pool_new(&j->pages, c, KD_F32, 64, 0, e);
    if (!r) r = kd_kv_new(&j->kv, j->pages, e);
    if (!r) kd_forward_tap(j->f, tap, j);
    return r;
}

/* Sequence s from layer `from` (0 and x NULL: from its tokens) to before `until` (0: to the logits). */
static kd_code run(kd_mix_job *j, size_t s, const float *x, uint32_t from, uint32_t until, kd_err *e) {
    const size_t first = j->start[s], k = j->start[s + 1] - first;
    const kd_batch_seq q = {j->kv, k};
    const int stop = kd_stopping(j->watch);
    if (stop) return kd_fail(e, (kd_code)stop, "stopped");
    kd_kv_truncate(j->kv, 0);
    j->tap_row = first;
    kd_code c = kd_kv_reserve(j->kv, k, e);
    if (c) return c;
    return kd_forward_run(j->f,
                          &(kd_batch){.tokens = j->tokens + first,
                                      .n = k,
                                      .seqs = &q,
                                      .nseq = 1,
                                      .want = j->want,
                                      .nwant = k,
                                      .x = x ? x + first * j->m->config.C : NULL,
                                      .from = from,
                                      .until = until},
                          j->logits, e);
}

static double dot(const float *a, const float *b, size_t n) {
    double s = 0;
    for (size_t i = 0; i < n; i += 1024) s += (double)kd_dot_f32(a + i, b + i, n - i < 1024 ? n - i : 1024);
    return s;
}

typedef struct {
    kd_mix_job *j;
    size_t first;
    bool source;
} rows_job;

/* KL = (lse(z) - p.z) - the same of the source's own logits. */
static void one_row(void *ctx, size_t i, int worker) {
    const rows_job *r = ctx;
    kd_mix_job *j = r->j;
    const size_t V = j->m->config.V, row = r->first + i;
    const float *z = j->logits + i * V;
    float *p = j->p + row * V;
    (void)worker;
    if (r->source) {
        memcpy(p, z, V * sizeof *p);
        const double lse = kd_softmax(p, V);
        j->entropy[row] = lse - dot(p, z, V);
        return;
    }
    const double kl = kd_logsumexp(z, V) - dot(p, z, V) - j->entropy[row];
    j->kl[row] = kl > 0 ? kl : 0;
}

static void rows_of(kd_mix_job *j, size_t s, bool source) {
    rows_job r = {j, j->start[s], source};
    kd_pool_run(j->pool, one_row, &r, j->start[s + 1] - j->start[s]);
}

static double mean(const kd_mix_job *j) {
    double sum = 0;
    for (size_t i = 0; i < j->rows; i++) sum += j->kl[i];
    return sum / (double)j->rows;
}

kd_code kd_mix_prepare(kd_mix_job *j, const kd_compare_row *rows, size_t n, size_t tokens, kd_err *e) {
    size_t most = LOGITS_MAX / sizeof(float) / j->m->config.V;
    tokens = tokens ? tokens : TOKENS;
    most = most < 64 ? 64 : most;
    kd_code c = cut_rows(j, rows, n, tokens < most ? tokens : most, e);
    if (!c) c = make_buffers(j, e);
    j->tap_to = j->stream, j->tap_all = true;
    for (size_t s = 0; s < j->seqs && !c; s++) {
        if (!(c = run(j, s, NULL, 0, 0, e))) rows_of(j, s, true);
    }
    j->tap_to = NULL, j->tap_all = false;
    return c;
}

/* --- matrices under test --- */

typedef struct {
    kd_mix_job *j;
    const kd_mix_tensor *t;
    kd_dtype type;
    size_t row_bytes;
    unsigned char *to;
} writing;

enum { ROWS = 16 };
static void write_rows(void *ctx, size_t task, int worker) {
    const writing *x = ctx;
    float *w = x->j->work + (size_t)worker * 2 * x->j->widest;
    const size_t end = (task + 1) * ROWS < x->t->mat.rows ? (task + 1) * ROWS : x->t->mat.rows;
    for (size_t r = task * ROWS; r < end; r++) {
        kd_mix_row(x->t, r, w);
        (void)kd_quantize(x->type, w, x->to + r * x->row_bytes, x->t->mat.cols, x->t->im, NULL);
    }
}

static kd_mat *slot(kd_model *m, const kd_mix_tensor *t) {
    return t->role == KD_EMBED ? &m->embed : t->role == KD_HEAD ? &m->head : &m->layers[t->layer].mat[t->role];
}

/* What a matrix under test stands in for. */
typedef struct {
    kd_mat mat, head;
    kd_lora lora;
} was;

/* t in a type, at *at of the buffer, and *at behind it. */
static void put(kd_mix_job *j, const kd_mix_tensor *t, kd_dtype type, size_t *at, was *w) {
    writing x = {.j = j, .t = t, .type = type, .to = j->bytes + *at};
    kd_dtype_row_bytes((int)x.type, t->mat.cols, &x.row_bytes);
    kd_pool_run(j->pool, write_rows, &x, (t->mat.rows + ROWS - 1) / ROWS);
    kd_mat now = {.type = x.type, .rows = t->mat.rows, .cols = t->mat.cols, .row_bytes = x.row_bytes, .data = x.to};
    w->mat = *slot(j->m, t);
    w->head = j->m->head;
    *slot(j->m, t) = now;
    if (t->role == KD_EMBED && j->m->config.tied) j->m->head = now;
    if (t->lora) {
        w->lora = *t->lora;
        *t->lora = j->nothing;
    }
    *at += (x.row_bytes * t->mat.rows + 63) & ~(size_t)63;
}
static void take_back(kd_mix_job *j, const kd_mix_tensor *t, const was *w) {
    *slot(j->m, t) = w->mat;
    if (t->role == KD_EMBED && j->m->config.tied) j->m->head = w->head;
    if (t->lora) *t->lora = w->lora;
}

static kd_code room(kd_mix_job *j, uint64_t bytes, kd_err *e) {
    if (bytes <= j->cap) return KD_OK;
    kd_free(j->bytes);
    j->bytes = bytes < SIZE_MAX / 2 ? kd_aligned_alloc(64, ((size_t)bytes + 63) & ~(size_t)63) : NULL;
    j->cap = j->bytes ? (size_t)bytes : 0;
    return j->bytes ? KD_OK : kd_fail(e, KD_ENOMEM, "search for a mix: no memory for %llu bytes", (unsigned long long)bytes);
}

kd_code kd_mix_probe(kd_mix_job *j, const kd_mix_tensor *t, double *kl, kd_err *e) {
    const kd_config *g = &j->m->config;
    const uint32_t from = t->role == KD_EMBED ? 0 : t->role == KD_HEAD ? g->L : t->layer;
    size_t at = 0;
    was w;
    size_t row = 0;
    (void)kd_dtype_row_bytes((int)t->probe, t->mat.cols, &row);
    kd_code c = room(j, (uint64_t)row * t->mat.rows + 64, e);
    if (c) return c;
    put(j, t, t->probe, &at, &w);
    for (size_t s = 0; s < j->seqs && !c; s++)
        if (!(c = run(j, s, t->role == KD_EMBED ? NULL : j->stream + (size_t)from * j->rows * g->C, from, 0, e))) rows_of(j, s, false);
    take_back(j, t, &w);
    *kl = mean(j);
    return c;
}

/* One layer of the mix over every sequence: cur holds what enters it, and then what leaves it. */
static kd_code whole_layer(kd_mix_job *j, uint32_t l, kd_err *e) {
    const kd_config *g = &j->m->config;
    const bool last = l + 1 == g->L;
    const kd_mix_tensor *t = j->t + (size_t)l * KD_MATS;
    uint64_t bytes = 0;
    size_t at = 0;
    was w[KD_MATS];
    for (int r = 0; r < KD_MATS; r++) bytes += t[r].bytes[t[r].at] + 64;
    kd_code c = room(j, bytes, e);
    if (c) return c;
    for (int r = 0; r < KD_MATS; r++) put(j, &t[r], t[r].type[t[r].at], &at, &w[r]);
    for (size_t s = 0; s < j->seqs && !c; s++) c = run(j, s, j->cur, l, last ? g->L : l + 1, e);
    for (int r = 0; r < KD_MATS; r++) take_back(j, &t[r], &w[r]);
    return c;
}

/* The embedding alone: what it makes of the tokens, into cur. */
static kd_code whole_embedding(kd_mix_job *j, const kd_mix_tensor *t, kd_err *e) {
    const size_t C = j->m->config.C;
    size_t row;
    unsigned char *b;
    if (t->settled || !kd_dtype_row_bytes((int)t->type[t->at], C, &row) || !(b = kd_malloc(row))) {
        memcpy(j->cur, j->stream, j->rows * C * sizeof *j->cur); /* an adapter's embedding is as good as kept */
        return t->settled ? KD_OK : kd_fail(e, KD_ENOMEM, "search for a mix: out of memory");
    }
    for (size_t i = 0; i < j->rows; i++) {
        kd_mix_row(t, (size_t)j->tokens[i], j->work);
        (void)kd_quantize(t->type[t->at], j->work, b, C, t->im, NULL);
        kd_dequantize(t->type[t->at], b, j->cur + i * C, C);
    }
    kd_free(b);
    return KD_OK;
}

kd_code kd_mix_whole(kd_mix_job *j, double *kl, kd_err *e) {
    const kd_config *g = &j->m->config;
    const kd_mix_tensor *embed = &j->t[(size_t)g->L * KD_MATS], *head = g->tied ? embed : embed + 1;
    size_t at = 0;
    was w;
    kd_code c = whole_embedding(j, embed, e);
    j->tap_to = j->cur;
    for (uint32_t l = 0; l < g->L && !c; l++) c = whole_layer(j, l, e);
    j->tap_to = NULL;
    if (c || (!head->settled && (c = room(j, head->bytes[head->at] + 64, e)))) return c;
    if (!head->settled) put(j, head, head->type[head->at], &at, &w);
    for (size_t s = 0; s < j->seqs && !c; s++)
        if (!(c = run(j, s, j->cur, g->L, 0, e))) rows_of(j, s, false);
    if (!head->settled) take_back(j, head, &w);
    *kl = mean(j);
    return c;
}
