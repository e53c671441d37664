/* student/net.c - the whole pass over a micro-batch: embedding, layers, head in chunks of loss rows, and back. Leans on layer.h, math/ops.h. */
#include "student/layer.h"

#include "distill/math/codec.h"
#include "distill/math/ops.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { ROWS = 32, COLS = 64 };
static size_t blocks(size_t n, size_t of) { return (n + of - 1) / of; }

struct kd_net {
    kd_config c; /* borrowed pointers inside: the model's */
    kd_params *params;
    kd_net_shape shape;
    kd_mat embed, head;
    float *d_embed, *d_head;    /* NULL where frozen; the same when tied */
    size_t first_token, tokens; /* rows of these are trained beside an adapter, instead of the stored ones */
    kd_mat own_embed, own_head;
    float *d_own_embed, *d_own_head; /* the same when tied; NULL where there are none */
    const float *final_norm;
    float *d_final_norm;
    kd_net_layer *layers;
    uint32_t lowest; /* layer that has something to learn: gradients go no further down */
    kd_tape tape;
    void *slab;
    bool dora;
};

const char *kd_mem_name(kd_mem_kind k) {
    static const char *const names[KD_MEM_KINDS] = {"weights",     "trained", "gradients", "optimizer",
                                                    "activations", "work",    "logits",    "data"};
    return names[k];
}

/* ---- making one ---- */
static kd_mat trained_or(const kd_params *p, const kd_param *q, const kd_mat *m) {
    return q ? kd_mat_f32(kd_param_value(p, q), q->rows, q->cols) : *m;
}
static const float *vec_or(const kd_params *p, const kd_param *q, const float *v) { return q ? kd_param_value(p, q) : v; }

static const kd_role bias_of[KD_MATS] = {KD_Q_BIAS, KD_K_BIAS, KD_V_BIAS, KD_O_BIAS, KD_GATE_BIAS, KD_UP_BIAS, KD_DOWN_BIAS};

static void wire_proj(kd_net *n, kd_proj *j, const kd_model *m, const kd_train_method *tm, kd_role r, uint32_t l, float **dora) {
    const kd_params *p = n->params;
    const kd_param *w = kd_params_find(p, r, l, 0), *b = kd_params_find(p, bias_of[r], l, 0);
    j->w = trained_or(p, w, &m->layers[l].mat[r]);
    j->bias = vec_or(p, b, m->layers[l].bias[r]);
    j->dw = kd_param_grad(p, w);
    j->dbias = kd_param_grad(p, b);
    const kd_param *A = kd_params_find(p, r, l, 'A'), *B = kd_params_find(p, r, l, 'B'), *M = kd_params_find(p, r, l, 'M');
    if (!A || !B) return;
    const kd_rank rank = kd_method_rank(tm, r, l);
    j->r = rank.r;
    j->scale = kd_lora_scale(rank.alpha, rank.r, tm->lora.rslora);
    j->dropout = tm->lora.dropout;
    j->a = kd_param_value(p, A);
    j->b = kd_param_value(p, B);
    j->da = kd_param_grad(p, A);
    j->db = kd_param_grad(p, B);
    j->stream = (uint64_t)l * KD_MATS + r + 1;
    if (!M) return;
    j->mag = kd_param_value(p, M);
    j->dmag = kd_param_grad(p, M);
    j->c = *dora;
    j->inv_norm = *dora + (M->n + 15) / 16 * 16;
    *dora += (M->n + 15) / 16 * 32;
}

static bool learns(const kd_net_layer *w) {
    bool any = w->d_attn_norm || w->d_mlp_norm || w->d_q_norm || w->d_k_norm;
    for (kd_role r = 0; r < KD_MATS; r++) any |= w->proj[r].r || w->proj[r].dw || w->proj[r].dbias;
    return any;
}
static void find_lowest(kd_net *n) {
    n->lowest = 0;
    while (!n->d_embed && !n->tokens && n->lowest < n->c.L && !learns(&n->layers[n->lowest])) n->lowest++;
}

static void wire(kd_net *n, const kd_model *m, const kd_train_method *tm) {
    const kd_params *p = n->params;
    float *dora = n->tape.dora;
    const kd_param *q = kd_params_find(p, KD_EMBED, 0, 0), *h = n->c.tied ? q : kd_params_find(p, KD_HEAD, 0, 0);
    n->embed = trained_or(p, q, &m->embed);
    n->head = trained_or(p, h, &m->head);
    n->d_embed = kd_param_grad(p, q);
    n->d_head = kd_param_grad(p, h);
    const kd_param *te = kd_params_find(p, KD_EMBED, 0, 'T'), *th = n->c.tied ? te : kd_params_find(p, KD_HEAD, 0, 'T');
    if (te && th) {
        n->first_token = tm->lora.first_token;
        n->tokens = te->rows;
        n->own_embed = kd_mat_f32(kd_param_value(p, te), te->rows, te->cols);
        n->own_head = kd_mat_f32(kd_param_value(p, th), th->rows, th->cols);
        n->d_own_embed = kd_param_grad(p, te);
        n->d_own_head = kd_param_grad(p, th);
    }
    const kd_param *f = kd_params_find(p, KD_FINAL_NORM, 0, 0);
    n->final_norm = vec_or(p, f, m->final_norm);
    n->d_final_norm = kd_param_grad(p, f);
    for (uint32_t l = 0; l < n->c.L; l++) {
        kd_net_layer *w = &n->layers[l];
        const kd_layer *from = &m->layers[l];
        for (kd_role r = 0; r < KD_MATS; r++) wire_proj(n, &w->proj[r], m, tm, r, l, &dora);
        const kd_param *an = kd_params_find(p, KD_ATTN_NORM, l, 0), *mn = kd_params_find(p, KD_MLP_NORM, l, 0);
        const kd_param *qn = kd_params_find(p, KD_Q_NORM, l, 0), *kn = kd_params_find(p, KD_K_NORM, l, 0);
        w->attn_norm = vec_or(p, an, from->attn_norm);
        w->mlp_norm = vec_or(p, mn, from->mlp_norm);
        w->q_norm = vec_or(p, qn, from->q_norm);
        w->k_norm = vec_or(p, kn, from->k_norm);
        w->d_attn_norm = kd_param_grad(p, an);
        w->d_mlp_norm = kd_param_grad(p, mn);
        w->d_q_norm = kd_param_grad(p, qn);
        w->d_k_norm = kd_param_grad(p, kn);
    }
    find_lowest(n);
}

void kd_net_rewire(kd_net *n) {
    const kd_params *p = n->params;
    for (uint32_t l = 0; l < n->c.L; l++) {
        kd_net_layer *w = &n->layers[l];
        for (kd_role r = 0; r < KD_MATS; r++) {
            w->proj[r].dw = kd_param_grad(p, kd_params_find(p, r, l, 0));
            w->proj[r].dbias = kd_param_grad(p, kd_params_find(p, bias_of[r], l, 0));
        }
        w->d_attn_norm = kd_param_grad(p, kd_params_find(p, KD_ATTN_NORM, l, 0));
        w->d_mlp_norm = kd_param_grad(p, kd_params_find(p, KD_MLP_NORM, l, 0));
        w->d_q_norm = kd_param_grad(p, kd_params_find(p, KD_Q_NORM, l, 0));
        w->d_k_norm = kd_param_grad(p, kd_params_find(p, KD_K_NORM, l, 0));
    }
    find_lowest(n);
}

static kd_code lay_out(kd_net *n, const kd_train_method *tm, kd_pool *pool, kd_err *e) {
    const int threads = kd_pool_threads(pool);
    n->tape.x = kd_calloc(n->c.L + 1, sizeof *n->tape.x);
    n->tape.layer = kd_calloc(n->c.L, sizeof *n->tape.layer);
    if (!n->tape.x || !n->tape.layer) return kd_fail(e, KD_ENOMEM, "no memory for the training tape");
    kd_bump count = {0};
    kd_tape_layout(&n->tape, &count, &n->c, tm, &n->shape, threads);
    n->slab = kd_aligned_alloc(64, count.used);
    if (!n->slab) return kd_fail(e, KD_ENOMEM, "no memory for %.1f MB of training buffers", (double)count.used / 1e6);
    kd_bump place = {.base = n->slab};
    kd_tape_layout(&n->tape, &place, &n->c, tm, &n->shape, threads);
    n->tape.work.gemm = (kd_gemm){.pool = pool, .scratch = n->tape.gemm_scratch, .bf16 = n->shape.bf16};
    kd_gemm_hold(&n->tape.work.gemm, NULL);
    return KD_OK;
}

kd_code kd_net_new(kd_net **out, const kd_model *m, kd_params *p, const kd_train_method *method, const kd_net_shape *s, kd_pool *pool,
                   kd_err *e) {
    *out = NULL;
    kd_net *n = kd_calloc(1, sizeof *n);
    if (!n) return kd_fail(e, KD_ENOMEM, "no memory for the training network");
    n->c = m->config;
    n->params = p;
    n->shape = *s;
    n->dora = method->method != KD_FULL && method->lora.dora;
    n->layers = kd_calloc(n->c.L, sizeof *n->layers);
    float *inv_freq = kd_malloc(n->c.D / 2 * sizeof *inv_freq);
    kd_code code = n->layers && inv_freq ? lay_out(n, method, pool, e) : kd_fail(e, KD_ENOMEM, "no memory for the training network");
    if (code == KD_OK) {
        float scale;
        kd_config_inv_freq(&n->c, inv_freq, &scale);
        kd_rope_table(n->tape.cos_, n->tape.sin_, s->positions, inv_freq, n->c.D, scale);
        wire(n, m, method);
        *out = n;
    } else {
        kd_net_free(n);
    }
    kd_free(inv_freq);
    return code;
}

void kd_net_free(kd_net *n) {
    if (!n) return;
    kd_free(n->slab);
    kd_free(n->layers);
    kd_free(n->tape.x);
    kd_free(n->tape.layer);
    kd_free(n);
}

void kd_net_plan(size_t bytes[KD_MEM_KINDS], const kd_config *c, const kd_train_method *method, const kd_net_shape *s, int threads) {
    kd_tape t = {.x = kd_calloc(c->L + 1, sizeof *t.x), .layer = kd_calloc(c->L, sizeof *t.layer)};
    kd_bump count = {0};
    if (t.x && t.layer) kd_tape_layout(&t, &count, c, method, s, threads);
    memcpy(bytes, count.by, sizeof count.by);
    kd_free(t.x);
    kd_free(t.layer);
}

void kd_net_bind(kd_net *n, bool new_magnitudes) {
    if (!n->dora) return;
    for (uint32_t l = 0; l < n->c.L; l++)
        for (kd_role r = 0; r < KD_MATS; r++) {
            kd_proj *p = &n->layers[l].proj[r];
            if (p->mag)
                kd_proj_norm(&n->tape.work, p, new_magnitudes ? kd_param_value(n->params, kd_params_find(n->params, r, l, 'M')) : NULL);
        }
}

/* ---- embedding and head ---- */
typedef struct {
    kd_net *n;
    const kd_micro *b;
    const kd_ce *ce;
    size_t from, rows;
    bool grad;
    float *rstd;
} job;

static void embed_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t C = j->n->c.C, end = (task + 1) * ROWS < j->b->N ? (task + 1) * ROWS : j->b->N;
    for (size_t i = task * ROWS; i < end; i++) {
        const size_t token = (size_t)j->b->tokens[i], own = token - j->n->first_token;
        const kd_mat *m = own < j->n->tokens ? &j->n->own_embed : &j->n->embed;
        kd_dequantize(m->type, kd_mat_row(m, own < j->n->tokens ? own : token), j->n->tape.x[0] + i * C, C);
    }
}
/* dE[token] += dx, rows in order; a task owns a stretch of columns. */
static void embed_back_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t C = j->n->c.C, c = task * COLS, n = C - c < COLS ? C - c : COLS;
    for (size_t i = 0; i < j->b->N; i++) {
        const size_t token = (size_t)j->b->tokens[i], own = token - j->n->first_token;
        float *to = own < j->n->tokens ? j->n->d_own_embed + own * C : j->n->d_embed ? j->n->d_embed + token * C : NULL;
        if (to) kd_add(to + c, j->n->tape.dx + i * C + c, n);
    }
}
static void final_norm_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t C = j->n->c.C, at = task * ROWS, n = j->b->NL - at < ROWS ? j->b->NL - at : ROWS;
    kd_rmsnorm(j->n->tape.hidden + at * C, j->rstd + at, j->n->tape.x[j->n->c.L] + at * C, j->n->final_norm, n, C, j->n->c.norm_eps);
}
static void final_norm_back_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    kd_tape *t = &j->n->tape;
    const size_t C = j->n->c.C, at = task * ROWS, n = j->b->NL - at < ROWS ? j->b->NL - at : ROWS;
    memset(t->dx_loss + at * C, 0, n * C * sizeof(float));
    kd_rmsnorm_backward(t->dx_loss + at * C, t->dhidden + at * C, t->x[j->n->c.L] + at * C, j->n->final_norm, j->rstd + at, n, C);
}
static void final_norm_dw_task(void *ctx, size_t task, int worker) {
    (void)worker;
    const job *j = ctx;
    kd_tape *t = &j->n->tape;
    const size_t C = j->n->c.C, c = task * COLS;
    kd_rmsnorm_dw(j->n->d_final_norm + c, t->dhidden + c, t->x[j->n->c.L] + c, j->rstd, j->b->NL, C, C - c < COLS ? C - c : COLS);
}
static void ce_task(void *ctx, size_t i, int worker) {
    (void)worker;
    const job *j = ctx;
    const size_t row = j->from + i, V = j->n->c.V;
    j->b->loss[row] = kd_cross_entropy_taught(j->n->tape.logits + i * V, V, (size_t)j->b->target[row], j->b->weight[row], j->ce,
                                              j->b->taught ? &j->b->taught[row] : NULL, j->grad);
}

/* The share of a chunk's gradient that goes through tokens with rows of their own; then it is taken out of the logits' gradient. */
static void own_head_back(kd_net *n, float *dhidden, const float *h, size_t rows) {
    const kd_gemm *g = &n->tape.work.gemm;
    const size_t C = n->c.C, V = n->c.V;
    float *dl = n->tape.logits + n->first_token;
    kd_gemm_dx(g, dhidden, C, dl, V, &n->own_head, rows, 1, false);
    kd_gemm_dw(g, n->d_own_head, C, dl, V, h, C, rows, n->tokens, C, 1);
    for (size_t i = 0; i < rows; i++) memset(dl + i * V, 0, n->tokens * sizeof *dl);
}

/* Loss of the loss rows, and their gradient in t->dx_loss when training. */
static void head(kd_net *n, const kd_micro *b, const kd_ce *ce, bool train) {
    kd_tape *t = &n->tape;
    const kd_gemm *g = &t->work.gemm;
    const size_t C = n->c.C, V = n->c.V;
    job j = {.n = n, .b = b, .ce = ce, .grad = train, .rstd = t->xq}; /* xq is free here and has room */
    kd_pool_run(g->pool, final_norm_task, &j, blocks(b->NL, ROWS));
    for (size_t at = 0; at < b->NL; at += t->logit_rows) {
        const size_t rows = b->NL - at < t->logit_rows ? b->NL - at : t->logit_rows;
        const float *h = t->hidden + at * C;
        j.from = at;
        kd_gemm_y(g, t->logits, V, h, C, &n->head, NULL, rows, 1, false);
        if (n->tokens) kd_gemm_y(g, t->logits + n->first_token, V, h, C, &n->own_head, NULL, rows, 1, false);
        kd_pool_run(g->pool, ce_task, &j, rows);
        if (!train) continue;
        if (n->tokens) own_head_back(n, t->dhidden + at * C, h, rows);
        kd_gemm_dx(g, t->dhidden + at * C, C, t->logits, V, &n->head, rows, 1, n->tokens > 0);
        if (n->d_head) kd_gemm_dw(g, n->d_head, C, t->logits, V, h, C, rows, V, C, 1);
    }
    if (!train) return;
    kd_pool_run(g->pool, final_norm_back_task, &j, blocks(b->NL, ROWS));
    if (n->d_final_norm) kd_pool_run(g->pool, final_norm_dw_task, &j, blocks(C, COLS));
}

/* ---- the pass ---- */
static kd_layer_run layer_run(kd_net *n, const kd_micro *b, bool last) {
    kd_layer_run r = {.c = &n->c, .b = b, .t = &n->tape, .N = b->N, .NQ = last ? b->NL : b->N, .row0 = b->row0};
    r.pick = last ? b->loss_row : NULL;
    r.qpos = last ? b->loss_pos : b->pos;
    r.qrow0 = last ? b->loss_row0 : b->row0;
    r.attn = (kd_attention){.spans = last ? b->loss_spans : b->spans,
                            .n = b->n_spans,
                            .qpos = r.qpos,
                            .tasks = last ? n->tape.loss_tasks : n->tape.tasks,
                            .H = n->c.H,
                            .G = n->c.G,
                            .D = n->c.D,
                            .scale = 1.0f / sqrtf((float)n->c.D)};
    return r;
}

void kd_net_run(kd_net *n, const kd_micro *b, const kd_ce *ce, uint64_t seed, uint64_t update, bool train) {
    kd_tape *t = &n->tape;
    const uint32_t L = n->c.L;
    assert(b->N <= n->shape.rows && b->NL && (!train || !n->shape.no_grad));
    t->work.train = train;
    t->work.seed = seed;
    t->work.update = update;
    kd_attention_tasks(t->tasks, b->spans, b->n_spans);
    kd_attention_tasks(t->loss_tasks, b->loss_spans, b->n_spans);
    const kd_layer_run all = layer_run(n, b, false), last = layer_run(n, b, true);
    job j = {.n = n, .b = b};
    kd_pool_run(t->work.gemm.pool, embed_task, &j, blocks(b->N, ROWS));
    for (uint32_t l = 0; l < L; l++) kd_layer_forward(l + 1 == L ? &last : &all, &n->layers[l], &t->layer[l], t->x[l + 1], t->x[l]);
    head(n, b, ce, train);
    if (!train) return;
    for (uint32_t l = L; l-- > n->lowest;) {
        const kd_layer_run *r = l + 1 == L ? &last : &all;
        if (l < n->shape.recompute && l + 1 < L) kd_layer_forward(r, &n->layers[l], &t->layer[l], NULL, t->x[l]);
        kd_layer_backward(r, &n->layers[l], &t->layer[l], l + 1 == L ? t->dx_loss : t->dx, t->x[l],
                          l > n->lowest || n->d_embed || n->tokens);
    }
    if (n->d_embed || n->tokens) kd_pool_run(t->work.gemm.pool, embed_back_task, &j, blocks(n->c.C, COLS));
}

double kd_net_flops(const kd_net *n, const kd_micro *b) {
    const kd_config *c = &n->c;
    double total = 0, attention = 0;
    for (uint32_t l = 0; l < c->L; l++) {
        const double NQ = (double)(l + 1 == c->L ? b->NL : b->N);
        for (kd_role r = 0; r < KD_MATS; r++) {
            const kd_proj *p = &n->layers[l].proj[r];
            const double rows = r == KD_K || r == KD_V ? (double)b->N : NQ, w = (double)p->w.rows * (double)p->w.cols;
            const bool back = l >= n->lowest, dx = back && (l > n->lowest || n->d_embed || n->tokens || r == KD_O || r >= KD_GATE);
            total += 2 * rows * w * (1 + dx + (p->dw != NULL));
            total += 2 * rows * (double)p->r * (double)(p->w.rows + p->w.cols) * (back ? 3 : 1);
        }
        const kd_span *spans = l + 1 == c->L ? b->loss_spans : b->spans;
        const int32_t *pos = l + 1 == c->L ? b->loss_pos : b->pos;
        for (size_t s = 0; s < b->n_spans; s++)
            for (size_t i = 0; i < spans[s].nq; i++) attention += (double)(pos[spans[s].q0 + i] + 1) * (l >= n->lowest ? 2 + 5 : 2);
    }
    total += attention * (double)c->H * (double)c->D * 2;
    total += 2 * (double)b->NL * (double)c->V * (double)c->C * (2 + (n->d_head != NULL));
    return total;
}
