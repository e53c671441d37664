/* distill/model/forward.c - the forward pass of a dense decoder over many sequences. Leans on forward.h, math/linear.h, math/ops.h, math/codec.h.
 * Walk of a layer: norm, q k v, (q/k norm), rope, keys and values into their pages, attention row by row, o; norm, gate and up, SwiGLU, down.
 * In the last layer only rows whose logits are wanted go on after keys and values. */
#include "distill/model/forward.h"

#include "distill/base/clock.h"
#include "distill/math/codec.h"
#include "distill/math/linear.h"

#include <math.h>
#include <string.h>

/* A product that the pass needs: the stored matrix, its bias, the adapter's share, and its panels in 8-bit arithmetic. */
typedef struct {
    const kd_mat *w;
    const float *bias;
    const kd_lora *lora;
    kd_qmat *q;
} product;

struct kd_forward {
    const kd_model *m;
    kd_adapter *adapter;
    kd_forward_options o;
    kd_pool *pool;
    product *mats, head;                                /* [L * KD_MATS], layer-major */
    char *panels;                                       /* of all of them, or NULL */
    kd_mat saved_head;                                  /* modules_to_save of the adapter */
    float *x, *h, *q, *k, *v, *att, *g, *u, *low, *sum; /* rows of each width; low: of adapters' ranks; sum [rows,C]: their products */
    float *cos_, *sin_, *inv_freq, rope_scale;
    size_t positions; /* in the rope tables */
    int32_t *pos;     /* [rows] */
    uint32_t *owner;  /* [rows] which sequence of the batch */
    void *scratch;
    struct block {
        uint32_t first, rows;
    } * blocks;         /* [rows] of attention: rows of one sequence that are looked at together */
    const void **pages; /* k and v pages of all sequences of the batch */
    size_t pages_cap;
    kd_kv_view *views;
    size_t views_cap;
    uint64_t bytes;
    kd_forward_times times;
    kd_forward_tap_fn *tap; /* or NULL */
    void *tap_ctx;
};

enum { FEW = 8 }; /* rows that are no work for another thread */

static size_t max_size(size_t a, size_t b) { return a > b ? a : b; }

static float *floats(kd_forward *f, size_t rows, size_t width) {
    size_t n;
    if (!kd_mul_size(rows, width, &n) || !kd_mul_size(n, sizeof(float), &n)) return NULL;
    f->bytes += n;
    return kd_large_alloc(n);
}

/* Rows padded to whole cache lines, so that every row starts aligned. */
static size_t pad16(size_t n) { return (n + 15) & ~(size_t)15; }

static size_t max_rank(const kd_adapter *a) {
    size_t r = 1;
    if (!a) return r;
    for (size_t i = 0; i < (size_t)a->L * KD_MATS; i++) r = max_size(r, a->layers[i].r);
    return max_size(r, max_size(a->head.r, a->embed.r));
}

static kd_code make_buffers(kd_forward *f, kd_err *e) {
    const kd_config *c = &f->m->config;
    size_t R = f->o.max_rows, qd = (size_t)c->H * c->D, kd = (size_t)c->G * c->D;
    size_t widest = max_size(max_size(c->C, qd), c->F);
    int threads = kd_pool_threads(f->pool);
    f->x = floats(f, R, c->C), f->h = floats(f, R, max_size(c->C, qd)), f->q = floats(f, R, qd), f->k = floats(f, R, kd),
    f->v = floats(f, R, kd);
    f->att = floats(f, R, qd), f->g = floats(f, R, c->F), f->u = floats(f, R, c->F);
    f->low = floats(f, R, max_rank(f->adapter));
    f->sum = floats(f, f->adapter ? R : 1, c->C);
    f->inv_freq = floats(f, 1, c->D / 2);
    f->pos = kd_malloc(R * sizeof *f->pos);
    f->owner = kd_malloc(R * sizeof *f->owner);
    f->blocks = kd_malloc(R * sizeof *f->blocks);
    size_t scratch = max_size(kd_linear_scratch(widest, R, threads), f->o.fast ? kd_qlinear_scratch(widest, R, threads) : 0);
    f->scratch = kd_large_alloc(pad16(scratch));
    f->bytes += scratch;
    if (!f->x || !f->h || !f->q || !f->k || !f->v || !f->att || !f->g || !f->u || !f->low || !f->sum || !f->inv_freq || !f->pos ||
        !f->owner || !f->blocks || !f->scratch)
        return kd_fail(e, KD_ENOMEM, "forward pass of %zu rows: out of memory", R);
    kd_config_inv_freq(c, f->inv_freq, &f->rope_scale);
    return KD_OK;
}

static kd_code make_products(kd_forward *f, kd_err *e) {
    const kd_model *m = f->m;
    uint32_t L = m->config.L;
    if (!(f->mats = kd_calloc((size_t)L * KD_MATS, sizeof *f->mats))) return kd_fail(e, KD_ENOMEM, "forward pass: out of memory");
    for (uint32_t l = 0; l < L; l++)
        for (int r = 0; r < KD_MATS; r++) {
            product *p = &f->mats[l * KD_MATS + (uint32_t)r];
            p->w = &m->layers[l].mat[r];
            p->bias = m->layers[l].bias[r];
            p->lora = f->adapter ? kd_adapter_lora(f->adapter, (kd_role)r, l) : NULL;
        }
    f->head.w = &m->head;
    if (f->adapter) {
        const float *saved = f->adapter->saved_head ? f->adapter->saved_head : m->config.tied ? f->adapter->saved_embed : NULL;
        f->head.lora = kd_adapter_lora(f->adapter, KD_HEAD, 0);
        if (saved) {
            f->saved_head = (kd_mat){
                .type = KD_F32, .rows = m->head.rows, .cols = m->head.cols, .row_bytes = m->head.cols * sizeof(float), .data = saved};
            f->head.w = &f->saved_head;
        }
    }
    return KD_OK;
}

kd_code kd_forward_new(kd_forward **out, const kd_model *m, kd_adapter *adapter, const kd_forward_options *o, kd_pool *pool, kd_err *e) {
    *out = NULL;
    kd_forward *f = kd_calloc(1, sizeof *f);
    if (!f) return kd_fail(e, KD_ENOMEM, "forward pass: out of memory");
    f->m = m, f->adapter = adapter, f->pool = pool;
    if (o) f->o = *o;
    if (!f->o.max_rows) f->o.max_rows = 512;
    if (!f->o.max_logits || f->o.max_logits > f->o.max_rows) f->o.max_logits = f->o.max_rows;
    if (!f->o.context) f->o.context = m->config.context;
    kd_code c = adapter ? kd_adapter_bind(adapter, m, pool, e) : KD_OK;
    if (!c) c = make_buffers(f, e);
    if (!c) c = make_products(f, e);
    if (c)
        kd_forward_free(f);
    else
        *out = f;
    return c;
}

void kd_forward_free(kd_forward *f) {
    if (!f) return;
    for (size_t i = 0; f->mats && i < (size_t)f->m->config.L * KD_MATS; i++) kd_qmat_free(f->mats[i].q);
    kd_qmat_free(f->head.q);
    void *all[] = {f->panels, f->mats, f->x,    f->h,        f->q,   f->k,     f->v,       f->att,    f->g,     f->u,    f->low,
                   f->sum,    f->cos_, f->sin_, f->inv_freq, f->pos, f->owner, f->scratch, f->blocks, f->pages, f->views};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) kd_free(all[i]);
    kd_free(f);
}

uint64_t kd_forward_bytes(const kd_forward *f) {
    uint64_t n = f->bytes + 2 * f->positions * (f->m->config.D / 2) * sizeof(float);
    for (size_t i = 0; i < (size_t)f->m->config.L * KD_MATS; i++) n += f->mats[i].q ? kd_qmat_bytes(f->mats[i].q) : 0;
    return n + (f->head.q ? kd_qmat_bytes(f->head.q) : 0);
}

/* Panels of all products, made when they are first needed: side by side, in the order in which they are read. */
static kd_code ready_all(kd_forward *f, kd_err *e) {
    const size_t n = (size_t)f->m->config.L * KD_MATS;
    kd_code c = KD_OK;
    if (!f->o.fast || f->head.q) return KD_OK;
    if (!f->o.no_repack && !f->panels) {
        uint64_t bytes = kd_qmat_plan(f->head.w);
        for (size_t i = 0; i < n; i++) bytes += kd_qmat_plan(f->mats[i].w);
        if (bytes > SIZE_MAX || !(f->panels = kd_large_alloc((size_t)bytes)))
            return kd_fail(e, KD_ENOMEM, "panels of %llu bytes: out of memory", (unsigned long long)bytes);
    }
    char *room = f->panels;
    for (size_t i = 0; !c && i <= n; i++) { /* the head last */
        product *p = i < n ? &f->mats[i] : &f->head;
        if (!p->q) c = room ? kd_qmat_new_in(&p->q, p->w, room, f->pool, e) : kd_qmat_new(&p->q, p->w, false, f->pool, e);
        if (room) room += kd_qmat_plan(p->w);
    }
    return c;
}

kd_forward_times kd_forward_time(const kd_forward *f) { return f->times; }

void kd_forward_tap(kd_forward *f, kd_forward_tap_fn *fn, void *ctx) { f->tap = fn, f->tap_ctx = ctx; }

static void show(const kd_forward *f, const product *p, const float *x, size_t N) {
    size_t i = p == &f->head ? 0 : (size_t)(p - f->mats);
    f->tap(f->tap_ctx, p == &f->head ? KD_HEAD : (kd_role)(i % KD_MATS), (uint32_t)(i / KD_MATS), x, N);
}

/* y [N, rows] (+)= W x + bias, with the adapter's share where there is one. */
static void multiply(kd_forward *f, const product *p, const float *x, float *y, size_t N, bool accumulate) {
    size_t in = p->w->cols, out = p->w->rows;
    if (f->tap) show(f, p, x, N);
    if (!y) return;
    bool apart = p->lora != NULL;
    float *dst = apart && accumulate ? f->sum : y;
    const float *bias = apart ? NULL : p->bias;
    if (p->q)
        kd_qlinear(p->q, bias, x, in, dst, out, N, accumulate && !apart, f->pool, f->scratch);
    else
        kd_linear_f32(p->w, bias, x, in, dst, out, N, accumulate && !apart, f->pool, f->scratch);
    if (!apart) return;
    kd_lora_apply(p->lora, x, in, dst, out, N, in, out, f->low, f->pool, f->scratch);
    for (size_t n = 0; p->bias && n < N; n++) kd_axpy_f32(dst + n * out, 1.0f, p->bias, out);
    if (dst != y) kd_axpy_f32(y, 1.0f, dst, N * out);
}

/* One row of x against n products side by side, in one go over the pool; next: what comes after it. False: that is not possible here. */
static bool multiply_row(kd_forward *f, const product *p, size_t n, const float *x, float *const *y, size_t N, bool accumulate,
                         const product *next, size_t next_n) {
    kd_qproduct now[KD_QTOGETHER], then[KD_QTOGETHER];
    if (N != 1 || f->tap) return false;
    for (size_t i = 0; i < n; i++) {
        if (!p[i].q || p[i].lora || !y[i]) return false;
        now[i] = (kd_qproduct){p[i].q, p[i].bias, y[i]};
    }
    for (size_t i = 0; i < next_n; i++) then[i] = (kd_qproduct){next[i].q, NULL, NULL};
    kd_qlinear_row(now, n, x, accumulate, then, next_n, f->pool, f->scratch);
    return true;
}

static void embed(kd_forward *f, const int32_t *tokens, size_t n) {
    const kd_model *m = f->m;
    size_t C = m->config.C, V = m->config.V;
    const kd_adapter *a = f->adapter;
    for (size_t i = 0; i < n; i++) {
        float *x = f->x + i * C;
        size_t t = (size_t)tokens[i];
        const int32_t own = a && a->rows.embed ? a->rows.row_of[t] : -1;
        if (own >= 0)
            memcpy(x, a->rows.embed + (size_t)own * C, C * sizeof(float));
        else if (a && a->saved_embed)
            memcpy(x, a->saved_embed + t * C, C * sizeof(float));
        else
            kd_dequantize(m->embed.type, kd_mat_row(&m->embed, t), x, C);
        if (a && a->embed.r) /* embedding adapters: x += scale * B A[:,t], A [r,V], B [C,r] */
            for (size_t c = 0; c < C; c++) {
                float s = 0;
                for (uint32_t r = 0; r < a->embed.r; r++) s += a->embed.b[c * a->embed.r + r] * a->embed.a[(size_t)r * V + t];
                x[c] += a->embed.scale * s;
            }
    }
}

/* Work on rows, which do not feel each other: each worker gets its share in one piece, the same from step to step as far as can be, so that rows
 * stay in a core's own cache. */
typedef void rows_fn(kd_forward *f, const void *ctx, size_t first, size_t n);
typedef struct {
    kd_forward *f;
    rows_fn *fn;
    const void *ctx;
    size_t n, parts;
} rows_job;

static void rows_task(void *ctx, size_t task, int worker) {
    const rows_job *j = ctx;
    const size_t first = j->n * task / j->parts;
    (void)worker;
    j->fn(j->f, j->ctx, first, j->n * (task + 1) / j->parts - first);
}

static void by_rows(kd_forward *f, rows_fn *fn, const void *ctx, size_t n) {
    const size_t threads = (size_t)kd_pool_threads(f->pool);
    rows_job j = {f, fn, ctx, n, n < 2 * FEW ? 1 : n / FEW < threads ? n / FEW : threads};
    kd_pool_run(f->pool, rows_task, &j, j.parts);
}

static void norm_rows(kd_forward *f, const void *weight, size_t first, size_t n) {
    const size_t C = f->m->config.C;
    kd_rmsnorm(f->h + first * C, NULL, f->x + first * C, weight, n, C, f->m->config.norm_eps);
}

typedef struct {
    kd_forward *f;
    const kd_batch *b;
    const size_t *rows; /* which rows of the batch the queries are, or NULL for all */
    uint32_t layer;
    const int32_t *pos; /* of the queries */
} attention;

/* One kv head of one block. */
static void attend_task(void *ctx, size_t task, int worker) {
    const attention *a = ctx;
    kd_forward *f = a->f;
    const kd_config *c = &f->m->config;
    size_t g = task % c->G, R = c->H / c->G, qd = (size_t)c->H * c->D, i = f->blocks[task / c->G].first;
    size_t row = a->rows ? a->rows[i] : i, at = i * qd + g * R * c->D;
    (void)worker;
    kd_attend_rows(f->att + at, qd, f->q + at, qd, f->blocks[task / c->G].rows, &f->views[f->owner[row]], (size_t)f->pos[row] + 1, g, R,
                   c->D, 1.0f / sqrtf((float)c->D));
}

/* Cuts n query rows (a->rows, or all) into blocks; how many. */
static size_t cut_blocks(kd_forward *f, const size_t *rows, size_t n) {
    size_t k = 0, most = kd_attend_block(f->m->config.H / f->m->config.G);
    for (size_t i = 0; i < n; i++) {
        size_t row = rows ? rows[i] : i;
        struct block *b = k ? &f->blocks[k - 1] : NULL;
        size_t before = row - 1;
        if (b && b->rows < most && (rows ? rows[i - 1] : i - 1) == before && f->owner[before] == f->owner[row])
            b->rows++;
        else
            f->blocks[k++] = (struct block){(uint32_t)i, 1};
    }
    return k;
}

/* n rows of heads: norm (NULL: none), then rope at their positions. */
static void turn_heads(kd_forward *f, float *v, size_t heads, const float *norm, const int32_t *pos, size_t n) {
    const size_t D = f->m->config.D;
    if (norm) kd_rmsnorm(v, NULL, v, norm, n * heads, D, f->m->config.norm_eps);
    kd_rope(v, heads * D, pos, f->cos_, f->sin_, n, heads, D);
}

/* Keys as they are kept, and both into their pages. */
static void key_rows(kd_forward *f, const void *ctx, size_t first, size_t n) {
    const attention *a = ctx;
    const kd_config *c = &f->m->config;
    const size_t kd = c->G * c->D;
    turn_heads(f, f->k + first * kd, c->G, f->m->layers[a->layer].k_norm, f->pos + first, n);
    for (size_t i = first; i < first + n; i++)
        kd_kv_put(a->b->seqs[f->owner[i]].kv, a->layer, (size_t)f->pos[i], f->k + i * kd, f->v + i * kd);
}

static void query_rows(kd_forward *f, const void *ctx, size_t first, size_t n) {
    const attention *a = ctx;
    const kd_config *c = &f->m->config;
    turn_heads(f, f->q + first * c->H * c->D, c->H, f->m->layers[a->layer].q_norm, a->pos + first, n);
}

static void keep_rows(float *v, size_t width, const size_t *rows, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (rows[i] != i) memcpy(v + i * width, v + rows[i] * width, width * sizeof(float));
}

static void attention_part(kd_forward *f, const kd_batch *b, uint32_t l, bool last) {
    const kd_config *c = &f->m->config;
    const kd_layer *y = &f->m->layers[l];
    product *p = &f->mats[l * KD_MATS];
    size_t n = b->n;
    if (f->tap) f->tap(f->tap_ctx, KD_ATTN_NORM, l, f->x, n);
    by_rows(f, norm_rows, y->attn_norm, n);
    const bool whole =
        (!last || (b->nwant == 1)) && multiply_row(f, &p[KD_Q], 3, f->h, (float *[]){f->q, f->k, f->v}, n, false, &p[KD_O], 1);
    if (!whole) multiply(f, &p[KD_K], f->h, f->k, n, false);
    if (!whole) multiply(f, &p[KD_V], f->h, f->v, n, false);
    attention a = {.f = f, .b = b, .rows = last ? b->want : NULL, .layer = l, .pos = f->pos};
    by_rows(f, key_rows, &a, n);
    const void **pages = f->pages;
    for (size_t s = 0; s < b->nseq; s++) {
        size_t np = kd_kv_pages(b->seqs[s].kv);
        kd_kv_view_of(b->seqs[s].kv, l, pages, pages + np, &f->views[s]);
        pages += 2 * np;
    }
    if (last) { /* h and x shrink to the wanted rows; pos stays whole for attend_task */
        n = b->nwant;
        keep_rows(f->h, c->C, b->want, n);
        keep_rows(f->x, c->C, b->want, n);
        int32_t *pos = (int32_t *)f->k; /* keys are stored: their buffer is free */
        a.pos = pos;
        for (size_t i = 0; i < n; i++) pos[i] = f->pos[b->want[i]];
    }
    if (!whole) multiply(f, &p[KD_Q], f->h, f->q, n, false);
    by_rows(f, query_rows, &a, n);
    const uint64_t began = kd_now_ns();
    kd_pool_run(f->pool, attend_task, &a, cut_blocks(f, a.rows, n) * c->G);
    f->times.attention += kd_now_ns() - began;
    if (!multiply_row(f, &p[KD_O], 1, f->att, &f->x, n, true, &p[KD_GATE], 2)) multiply(f, &p[KD_O], f->att, f->x, n, true);
}

static void swiglu_rows(kd_forward *f, const void *ctx, size_t first, size_t n) {
    size_t F = f->m->config.F;
    (void)ctx;
    for (size_t i = first; i < first + n; i++) kd_swiglu(f->g + i * F, f->g + i * F, f->u + i * F, F);
}

static void mlp_part(kd_forward *f, size_t n, uint32_t l) {
    product *p = &f->mats[l * KD_MATS];
    by_rows(f, norm_rows, f->m->layers[l].mlp_norm, n);
    if (!multiply_row(f, &p[KD_GATE], 2, f->h, (float *[]){f->g, f->u}, n, false, &p[KD_DOWN], 1)) {
        multiply(f, &p[KD_GATE], f->h, f->g, n, false);
        multiply(f, &p[KD_UP], f->h, f->u, n, false);
    }
    by_rows(f, swiglu_rows, NULL, n);
    const product *next = l + 1 < f->m->config.L ? p + KD_MATS : &f->head;
    if (!multiply_row(f, &p[KD_DOWN], 1, f->g, &f->x, n, true, next, next == &f->head ? 1 : 3))
        multiply(f, &p[KD_DOWN], f->g, f->x, n, true);
}

/* Logits of tokens whose rows the adapter brings along. */
static void own_logits(kd_forward *f, float *logits, size_t n) {
    const kd_config *c = &f->m->config;
    const float *rows = f->adapter ? kd_adapter_head_rows(f->adapter, c) : NULL;
    for (size_t i = 0; rows && i < n; i++)
        for (size_t k = 0; k < f->adapter->rows.n; k++)
            logits[i * c->V + (size_t)f->adapter->rows.token[k]] = kd_dot_f32(f->h + i * c->C, rows + k * c->C, c->C);
}

/* Everything that can fail, before anything changes. */
static kd_code prepare(kd_forward *f, const kd_batch *b, kd_err *e) {
    const kd_config *c = &f->m->config;
    size_t rows = 0, longest = 0, pages = 0;
    if (b->n > f->o.max_rows || b->nwant > f->o.max_logits)
        return kd_fail(e, KD_EINVAL, "forward pass: expected at most %zu rows and %zu logits, found %zu and %zu", f->o.max_rows,
                       f->o.max_logits, b->n, b->nwant);
    for (size_t s = 0; s < b->nseq; s++) {
        size_t at = kd_kv_len(b->seqs[s].kv), end;
        if (!kd_add_size(at, b->seqs[s].rows, &end) || end > f->o.context || !kd_add_size(rows, b->seqs[s].rows, &rows) || rows > b->n)
            return kd_fail(e, KD_EINVAL, "forward pass: sequence %zu: rows %zu behind position %zu exceed the batch or the context of %zu",
                           s, b->seqs[s].rows, at, f->o.context);
        longest = max_size(longest, end);
        for (size_t i = at; i < end; i++)
            f->pos[rows - b->seqs[s].rows + (i - at)] = (int32_t)i, f->owner[rows - b->seqs[s].rows + (i - at)] = (uint32_t)s;
        pages += 2 * kd_kv_pages(b->seqs[s].kv);
    }
    if (rows != b->n) return kd_fail(e, KD_EINVAL, "forward pass: expected %zu rows over the sequences, found %zu", b->n, rows);
    if ((b->x && b->from > c->L) || b->until > c->L || (b->until && b->x && b->from >= b->until))
        return kd_fail(e, KD_EINVAL, "forward pass: layers %u to %u: expected within 0..%u", b->from, b->until, c->L);
    for (size_t i = 0; i < b->n && !b->x; i++)
        if (b->tokens[i] < 0 || (uint32_t)b->tokens[i] >= c->V)
            return kd_fail(e, KD_EINVAL, "forward pass: token %d: expected 0..%u", b->tokens[i], c->V - 1);
    for (size_t i = 0; i < b->nwant; i++)
        if (b->want[i] >= b->n || (i && b->want[i] <= b->want[i - 1]))
            return kd_fail(e, KD_EINVAL, "forward pass: wanted rows must rise and lie below %zu", b->n);
    if (kd_grow((void **)&f->pages, &f->pages_cap, pages, sizeof *f->pages) ||
        kd_grow((void **)&f->views, &f->views_cap, b->nseq, sizeof *f->views))
        return kd_fail(e, KD_ENOMEM, "forward pass: out of memory");
    if (longest > f->positions) {
        size_t want = max_size(256, 2 * f->positions), half = c->D / 2;
        want = max_size(longest, want < f->o.context ? want : f->o.context);
        float *cos_ = kd_aligned_alloc(64, max_size(want * half * sizeof(float), 64)),
              *sin_ = kd_aligned_alloc(64, max_size(want * half * sizeof(float), 64));
        if (!cos_ || !sin_) {
            kd_free(cos_), kd_free(sin_);
            return kd_fail(e, KD_ENOMEM, "rope tables of %zu positions: out of memory", want);
        }
        kd_free(f->cos_), kd_free(f->sin_);
        f->cos_ = cos_, f->sin_ = sin_, f->positions = want;
        kd_rope_table(cos_, sin_, want, f->inv_freq, c->D, f->rope_scale);
    }
    return ready_all(f, e);
}

kd_code kd_forward_run(kd_forward *f, const kd_batch *b, float *logits, kd_err *e) {
    kd_code code = prepare(f, b, e);
    if (code || !b->n) return code;
    const kd_config *c = &f->m->config;
    const uint64_t began = kd_now_ns();
    if (b->x)
        memcpy(f->x, b->x, b->n * c->C * sizeof(float));
    else
        embed(f, b->tokens, b->n);
    const uint32_t end = b->until ? b->until : c->L;
    for (uint32_t l = b->x ? b->from : 0; l < end; l++) {
        bool last = l + 1 == c->L;
        attention_part(f, b, l, last);
        mlp_part(f, last ? b->nwant : b->n, l);
    }
    for (size_t s = 0; s < b->nseq; s++) kd_kv_set_len(b->seqs[s].kv, kd_kv_len(b->seqs[s].kv) + b->seqs[s].rows);
    if (f->tap) f->tap(f->tap_ctx, end < c->L ? KD_ATTN_NORM : KD_FINAL_NORM, end, f->x, end < c->L ? b->n : b->nwant);
    if (b->nwant && !b->until) {
        by_rows(f, norm_rows, f->m->final_norm, b->nwant);
        const uint64_t head = kd_now_ns();
        if (!multiply_row(f, &f->head, 1, f->h, &logits, b->nwant, false, f->mats, 3)) multiply(f, &f->head, f->h, logits, b->nwant, false);
        f->times.head += kd_now_ns() - head;
        own_logits(f, logits, b->nwant);
    }
    f->times.all += kd_now_ns() - began;
    return KD_OK;
}
