/* distill/model/adapter.c - adapters in memory: making, applying, merging. Their files are adapter_file.c. Leans on adapter.h, math/linear.h, math/ops.h. */
#include "distill/model/adapter.h"

#include "distill/math/codec.h"
#include "distill/math/linear.h"
#include "distill/math/ops.h"

#include <math.h>
#include <string.h>

static void clear_lora(kd_lora *l) {
    kd_free(l->a), kd_free(l->b), kd_free(l->magnitude), kd_free(l->row_scale);
    memset(l, 0, sizeof *l);
}

void kd_adapter_free(kd_adapter *a) {
    if (!a) return;
    for (size_t i = 0; a->layers && i < (size_t)a->L * KD_MATS; i++) clear_lora(&a->layers[i]);
    clear_lora(&a->embed);
    clear_lora(&a->head);
    kd_free(a->rows.token), kd_free(a->rows.row_of), kd_free(a->rows.embed), kd_free(a->rows.head);
    kd_free(a->layers), kd_free(a->saved_embed), kd_free(a->saved_head), kd_free(a->config.base);
    kd_free(a);
}

kd_code kd_adapter_add_rows(kd_adapter *a, const kd_config *c, const int32_t *tokens, size_t n, bool embed, bool head, kd_err *e) {
    kd_token_rows *r = &a->rows;
    if (!n || n > c->V || r->n) return kd_fail(e, KD_EINVAL, "adapter: expected 1 to %u rows of tokens, once, found %zu", c->V, n);
    r->token = kd_calloc(n, sizeof *r->token);
    r->row_of = kd_calloc(c->V, sizeof *r->row_of);
    r->embed = embed ? kd_calloc(n * c->C, sizeof(float)) : NULL;
    r->head = head && !c->tied ? kd_calloc(n * c->C, sizeof(float)) : NULL;
    if (!r->token || !r->row_of || (embed && !r->embed) || (head && !c->tied && !r->head))
        return kd_fail(e, KD_ENOMEM, "adapter: no memory for rows of %zu tokens", n);
    for (uint32_t v = 0; v < c->V; v++) r->row_of[v] = -1;
    for (size_t i = 0; i < n; i++) {
        if (tokens[i] < 0 || (uint32_t)tokens[i] >= c->V || r->row_of[tokens[i]] >= 0)
            return kd_fail(e, KD_EINVAL, "trainable_token_indices: expected ids below %u, each once, found %d", c->V, (int)tokens[i]);
        r->token[i] = tokens[i];
        r->row_of[tokens[i]] = (int32_t)i;
    }
    r->n = n;
    bool follow = embed && (head || c->tied);
    for (size_t i = 1; i < n; i++) follow &= tokens[i] == tokens[i - 1] + 1;
    if (follow) a->config.first_token = (uint32_t)tokens[0], a->config.tokens = (uint32_t)n;
    return KD_OK;
}

kd_lora *kd_adapter_lora(kd_adapter *a, kd_role r, uint32_t layer) {
    kd_lora *l = r == KD_EMBED                 ? &a->embed
                 : r == KD_HEAD                ? &a->head
                 : r < KD_MATS && layer < a->L ? &a->layers[layer * KD_MATS + (uint32_t)r]
                                               : NULL;
    return l && l->r ? l : NULL;
}

float kd_lora_scale(float alpha, uint32_t r, bool rslora) { return rslora ? alpha / sqrtf((float)r) : alpha / (float)r; }

kd_code kd_lora_new(kd_lora *l, uint32_t r, float alpha, bool rslora, bool dora, size_t in, size_t out, kd_err *e) {
    *l = (kd_lora){.r = r, .alpha = alpha, .scale = kd_lora_scale(alpha, r, rslora)};
    l->a = kd_calloc((size_t)r * in, sizeof(float));
    l->b = kd_calloc((size_t)r * out, sizeof(float));
    l->magnitude = dora ? kd_calloc(out, sizeof(float)) : NULL;
    if (l->a && l->b && (!dora || l->magnitude)) return KD_OK;
    clear_lora(l);
    return kd_fail(e, KD_ENOMEM, "adapter of rank %u on %zu x %zu: out of memory", r, out, in);
}

kd_code kd_adapter_new(kd_adapter **out, const kd_config *c, const kd_adapter_config *ac, kd_err *e) {
    *out = NULL;
    if (!ac->r || ac->r > 65536 || !(ac->alpha > 0) || !ac->targets)
        return kd_fail(e, KD_EINVAL, "adapter: expected a rank in 1..65536, alpha above 0 and at least one target, found %u, %g, %u", ac->r,
                       (double)ac->alpha, ac->targets);
    if (ac->dora && (ac->targets >> KD_EMBED & 1)) return kd_fail(e, KD_EUNSUPPORTED, "adapter: DoRA on embed_tokens");
    kd_adapter *a = kd_calloc(1, sizeof *a);
    if (!a) return kd_fail(e, KD_ENOMEM, "adapter: out of memory");
    a->config = *ac;
    a->config.base = NULL;
    a->config.tokens = 0;
    a->L = c->L;
    kd_code code = KD_OK;
    if (!(a->layers = kd_calloc((size_t)c->L * KD_MATS, sizeof *a->layers)) || (ac->base && !(a->config.base = kd_strdup(ac->base))))
        code = kd_fail(e, KD_ENOMEM, "adapter: out of memory");
    size_t rows, cols;
    for (uint32_t l = 0; !code && l < c->L; l++)
        for (int r = 0; !code && r < KD_MATS; r++)
            if (ac->targets >> r & 1) {
                kd_role_shape(c, (kd_role)r, &rows, &cols);
                code = kd_lora_new(&a->layers[l * KD_MATS + (uint32_t)r], ac->r, ac->alpha, ac->rslora, ac->dora, cols, rows, e);
            }
    if (!code && (ac->targets >> KD_EMBED & 1)) code = kd_lora_new(&a->embed, ac->r, ac->alpha, ac->rslora, false, c->V, c->C, e);
    if (!code && (ac->targets >> KD_HEAD & 1)) code = kd_lora_new(&a->head, ac->r, ac->alpha, ac->rslora, ac->dora, c->C, c->V, e);
    int32_t *ids = !code && ac->tokens ? kd_calloc(ac->tokens, sizeof *ids) : NULL;
    if (!code && ac->tokens && !ids) code = kd_fail(e, KD_ENOMEM, "adapter: out of memory");
    for (uint32_t i = 0; ids && i < ac->tokens; i++) ids[i] = (int32_t)(ac->first_token + i);
    if (!code && ids) code = kd_adapter_add_rows(a, c, ids, ac->tokens, true, true, e);
    kd_free(ids);
    if (code)
        kd_adapter_free(a);
    else
        *out = a;
    return code;
}

void kd_lora_merge_row(const kd_lora *l, size_t o, float *w, size_t in) {
    for (uint32_t r = 0; r < l->r; r++) kd_axpy_f32(w, l->scale * l->b[o * l->r + r], l->a + (size_t)r * in, in);
    for (size_t c = 0; l->row_scale && c < in; c++) w[c] *= l->row_scale[o];
}

typedef struct {
    const kd_lora *l;
    const kd_mat *w;
    float *rows; /* [workers, in] */
} binding;

static void bind_row(void *ctx, size_t o, int worker) {
    binding *b = ctx;
    size_t in = b->w->cols;
    float *w = b->rows + (size_t)worker * in;
    kd_dequantize(b->w->type, kd_mat_row(b->w, o), w, in);
    for (uint32_t r = 0; r < b->l->r; r++) kd_axpy_f32(w, b->l->scale * b->l->b[o * b->l->r + r], b->l->a + (size_t)r * in, in);
    double s = 0;
    for (size_t c = 0; c < in; c++) s += (double)w[c] * w[c];
    b->l->row_scale[o] = s > 0 ? (float)(b->l->magnitude[o] / sqrt(s)) : 0;
}

static kd_code bind_lora(kd_lora *l, const kd_mat *w, float *rows, kd_pool *pool, kd_err *e) {
    if (!l->r || !l->magnitude) return KD_OK;
    if (!l->row_scale && !(l->row_scale = kd_malloc(w->rows * sizeof(float)))) return kd_fail(e, KD_ENOMEM, "adapter: out of memory");
    binding b = {l, w, rows};
    kd_pool_run(pool, bind_row, &b, w->rows);
    return KD_OK;
}

kd_code kd_adapter_bind(kd_adapter *a, const kd_model *m, kd_pool *pool, kd_err *e) {
    const kd_config *c = &m->config;
    if (a->L != c->L) return kd_fail(e, KD_EINVAL, "adapter of %u layers on a model of %u", a->L, c->L);
    size_t widest = c->C > c->F ? c->C : c->F, qd = (size_t)c->H * c->D;
    float *rows = kd_malloc((qd > widest ? qd : widest) * (size_t)kd_pool_threads(pool) * sizeof(float));
    kd_code code = rows ? KD_OK : kd_fail(e, KD_ENOMEM, "adapter: out of memory");
    for (uint32_t l = 0; !code && l < c->L; l++)
        for (int r = 0; !code && r < KD_MATS; r++)
            code = bind_lora(&a->layers[l * KD_MATS + (uint32_t)r], &m->layers[l].mat[r], rows, pool, e);
    if (!code) code = bind_lora(&a->head, &m->head, rows, pool, e);
    kd_free(rows);
    return code;
}

void kd_lora_apply(const kd_lora *l, const float *x, size_t ldx, float *y, size_t ldy, size_t N, size_t in, size_t out, float *work,
                   kd_pool *pool, void *scratch) {
    kd_mat a = {.type = KD_F32, .rows = l->r, .cols = in, .row_bytes = in * sizeof(float), .data = l->a};
    kd_mat b = {.type = KD_F32, .rows = out, .cols = l->r, .row_bytes = l->r * sizeof(float), .data = l->b};
    kd_linear_f32(&a, NULL, x, ldx, work, l->r, N, false, pool, scratch);
    for (size_t i = 0; i < N * l->r; i++) work[i] *= l->scale;
    kd_linear_f32(&b, NULL, work, l->r, y, ldy, N, true, pool, scratch);
    for (size_t n = 0; l->row_scale && n < N; n++)
        for (size_t o = 0; o < out; o++) y[n * ldy + o] *= l->row_scale[o];
}
