/* distill/model/score.c - a forward pass over one sequence, rows of logits a chunk at a time. Leans on score.h. */
#include "distill/model/score.h"

#include <math.h>

struct kd_scorer {
    kd_forward *forward;
    kd_kv_pool *pages;
    kd_kv *kv;
    float *logits;
    size_t *want, chunk;
};

kd_code kd_scorer_new(kd_scorer **out, const kd_model *m, kd_adapter *adapter, const kd_score_options *o, kd_pool *pool, kd_err *e) {
    *out = NULL;
    kd_scorer *s = kd_calloc(1, sizeof *s);
    if (!s) return kd_fail(e, KD_ENOMEM, "scoring: out of memory");
    size_t n;
    s->chunk = o && o->chunk ? o->chunk : 64;
    s->want = kd_malloc(s->chunk * sizeof *s->want);
    s->logits = kd_mul_size(s->chunk * sizeof(float), m->config.V, &n) ? kd_aligned_alloc(64, (n + 63) & ~(size_t)63) : NULL;
    kd_forward_options fo = {.max_rows = s->chunk, .fast = o && o->fast, .context = o ? o->context : 0};
    kd_code c =
        s->want && s->logits ? KD_OK : kd_fail(e, KD_ENOMEM, "scoring: out of memory for %zu rows of %u logits", s->chunk, m->config.V);
    if (!c) c = kd_forward_new(&s->forward, m, adapter, &fo, pool, e);
    if (!c) c = kd_kv_pool_new(&s->pages, &m->config, o && o->fast ? KD_F16 : KD_F32, 64, 0, e);
    if (!c) c = kd_kv_new(&s->kv, s->pages, e);
    if (c) {
        kd_scorer_free(s);
        return c;
    }
    for (size_t i = 0; i < s->chunk; i++) s->want[i] = i;
    *out = s;
    return KD_OK;
}

void kd_scorer_free(kd_scorer *s) {
    if (!s) return;
    kd_kv_free(s->kv);
    kd_kv_pool_free(s->pages);
    kd_forward_free(s->forward);
    kd_free(s->logits), kd_free(s->want);
    kd_free(s);
}

void kd_scorer_begin(kd_scorer *s) { kd_kv_truncate(s->kv, 0); }

size_t kd_scorer_chunk(const kd_scorer *s) { return s->chunk; }

kd_code kd_scorer_feed(kd_scorer *s, const int32_t *tokens, size_t n, const float **logits, kd_err *e) {
    if (!n || n > s->chunk) return kd_fail(e, KD_EINVAL, "scoring: expected 1..%zu tokens at once, found %zu", s->chunk, n);
    kd_code c = kd_kv_reserve(s->kv, kd_kv_len(s->kv) + n, e);
    kd_batch_seq q = {s->kv, n};
    if (!c)
        c = kd_forward_run(s->forward, &(kd_batch){.tokens = tokens, .n = n, .seqs = &q, .nseq = 1, .want = s->want, .nwant = n}, s->logits,
                           e);
    if (!c) *logits = s->logits;
    return c;
}

void kd_top_logprobs(const float *logits, size_t V, double lse, size_t k, int32_t *ids, double *nats) {
    size_t have = 0;
    for (size_t v = 0; v < V; v++) { /* insertion into a short sorted list */
        size_t at = have;
        while (at && logits[v] > logits[ids[at - 1]]) at--;
        if (at >= k) continue;
        for (size_t j = have < k ? have : k - 1; j > at; j--) ids[j] = ids[j - 1];
        ids[at] = (int32_t)v;
        have += have < k;
    }
    for (size_t j = 0; j < have; j++) nats[j] = logits[ids[j]] - lse;
    for (size_t j = have; j < k; j++) ids[j] = -1, nats[j] = -HUGE_VAL;
}
