/* student/tape.c - lays out the buffers of a training pass: the same code counts them for the plan. Leans on tape.h. */
#include "student/tape.h"

#include <string.h>

static void *take(kd_bump *b, kd_mem_kind kind, size_t bytes) {
    bytes = (bytes + 63) / 64 * 64;
    void *p = b->base ? b->base + b->used : NULL;
    b->used += bytes;
    b->by[kind] += bytes;
    return p;
}
static float *floats(kd_bump *b, kd_mem_kind kind, size_t n) { return take(b, kind, n * sizeof(float)); }

size_t kd_logit_rows(const kd_net_shape *s, size_t V, bool few) {
    size_t most = s->loss_rows ? s->loss_rows : s->rows, rows = s->logit_rows;
    if (rows == 0) { /* 256 or 64 MiB, in whole tiles: the head's weights are laid out anew for each chunk of rows */
        rows = ((size_t)(few ? 64 : 256) << 20) / (V * sizeof(float)) / 32 * 32;
        rows = rows < 128 ? 128 : rows > 1024 ? 1024 : rows;
    }
    return rows < most ? rows : most;
}

/* l: the layer whose ranks count; recomputed layers share a tape that has room for any of them. */
static void lay_layer(kd_layer_tape *t, kd_bump *b, const kd_config *c, const kd_train_method *m, uint32_t l, bool share, size_t N,
                      size_t NQ, bool no_grad) {
    const kd_mem_kind A = KD_MEM_ACTIVATIONS;
    const size_t HD = (size_t)c->H * c->D, GD = (size_t)c->G * c->D;
    t->rstd1 = floats(b, A, N);
    t->rstd2 = floats(b, A, NQ);
    t->q = floats(b, A, NQ * HD);
    t->k = floats(b, A, N * GD);
    t->v = floats(b, A, N * GD);
    if (c->qk_norm) {
        t->q_rstd = floats(b, A, NQ * c->H);
        t->k_rstd = floats(b, A, N * c->G);
        t->q_raw = no_grad ? t->q : floats(b, A, NQ * HD);
        t->k_raw = no_grad ? t->k : floats(b, A, N * GD);
    }
    t->o = floats(b, A, NQ * HD);
    t->lse = floats(b, A, NQ * c->H);
    t->xm = floats(b, A, NQ * c->C);
    t->gate = floats(b, A, NQ * c->F);
    t->up = floats(b, A, NQ * c->F);
    if (m->method == KD_FULL) return;
    for (kd_role r = 0; r < KD_MATS; r++) {
        if (!(m->lora.targets >> r & 1)) continue;
        size_t out, in, n = r == KD_K || r == KD_V ? N : NQ;
        kd_role_shape(c, r, &out, &in);
        t->proj[r].xa = floats(b, A, n * (share ? kd_method_most_rank(m, c) : kd_method_rank(m, r, l).r));
        if (m->lora.dora) t->proj[r].z = floats(b, A, n * out);
    }
}

static void lay_work(kd_tape *t, kd_bump *b, const kd_config *c, const kd_train_method *m, const kd_net_shape *s, int threads) {
    const kd_mem_kind W = KD_MEM_WORK;
    const size_t N = s->rows, NL = s->loss_rows ? s->loss_rows : N, C = c->C, F = c->F, HD = (size_t)c->H * c->D, GD = (size_t)c->G * c->D;
    const size_t spans = s->spans ? s->spans : N;
    size_t widest = C > F ? C : F;
    if (HD > widest) widest = HD;
    t->xn = floats(b, W, N * C);
    t->xq = floats(b, W, NL * C);
    t->h = floats(b, W, N * F);
    t->hidden = floats(b, W, NL * C);
    if (!s->no_grad) {
        t->dxn = floats(b, W, N * C);
        t->dh = floats(b, W, N * F);
        t->dattn = floats(b, W, N * (HD > C ? HD : C)); /* the last layer's dq W passes through it too */
        t->dq = floats(b, W, N * HD);
        t->dk = floats(b, W, N * GD);
        t->dv = floats(b, W, N * GD);
        if (c->H != c->G) t->part = floats(b, W, 2 * N * HD);
        t->dx = floats(b, W, N * C);
        t->dx_loss = floats(b, W, NL * C);
        t->dhidden = floats(b, W, NL * C);
    }
    t->gemm_scratch = take(b, W, kd_gemm_scratch(threads));
    t->attn_scratch = take(b, W, kd_attention_scratch(threads, c->D));
    if (m->method != KD_FULL) {
        t->work.t = floats(b, W, N * kd_method_most_rank(m, c));
        if (m->lora.dropout > 0) {
            t->work.xd = floats(b, W, N * widest);
            t->work.dxd = floats(b, W, N * widest);
        }
        if (m->lora.dora) {
            t->work.dyc = floats(b, W, N * widest);
            size_t rows = 0;
            for (kd_role r = 0; r < KD_MATS; r++) {
                size_t out, in;
                kd_role_shape(c, r, &out, &in);
                if (m->lora.targets >> r & 1) rows += (out + 15) / 16 * 16;
            }
            t->dora = floats(b, W, 2 * rows * c->L);
        }
    }
    t->logit_rows = kd_logit_rows(s, c->V, false);
    t->logits = floats(b, KD_MEM_LOGITS, t->logit_rows * c->V);
    t->cos_ = floats(b, KD_MEM_DATA, s->positions * c->D / 2);
    t->sin_ = floats(b, KD_MEM_DATA, s->positions * c->D / 2);
    t->tasks = take(b, KD_MEM_DATA, (spans + 1) * sizeof(size_t));
    t->loss_tasks = take(b, KD_MEM_DATA, (spans + 1) * sizeof(size_t));
}

void kd_tape_layout(kd_tape *t, kd_bump *b, const kd_config *c, const kd_train_method *m, const kd_net_shape *s, int threads) {
    const size_t N = s->rows, NL = s->loss_rows ? s->loss_rows : N;
    kd_layer_tape shared = {0};
    bool have_shared = false;
    for (uint32_t l = 0; l < c->L; l++) {
        const bool share = l < s->recompute || s->no_grad;
        const size_t NQ = l + 1 == c->L ? NL : N;
        if (s->no_grad && l > 1)
            t->x[l] = t->x[l & 1]; /* two are enough when nothing goes back */
        else
            t->x[l] = floats(b, KD_MEM_ACTIVATIONS, N * c->C);
        if (share && have_shared) {
            t->layer[l] = shared;
            continue;
        }
        lay_layer(&t->layer[l], b, c, m, l, share, N, share ? N : NQ, s->no_grad);
        if (share) {
            shared = t->layer[l];
            have_shared = true;
        }
    }
    t->x[c->L] = floats(b, KD_MEM_ACTIVATIONS, NL * c->C);
    lay_work(t, b, c, m, s, threads);
}
