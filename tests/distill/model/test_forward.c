/* The forward pass against the oracle models (transformers, float64): log-probabilities, logits, adapted models; and its own promise that a row
 * depends on its sequence alone. Prints the worst deviation a model. */
#include "distill/format/safetensors.h"
#include "distill/model/forward.h"
#include "oracle.h"

#include <math.h>

enum { MAX_SEQ = 16 };
typedef struct {
    kd_model *m;
    kd_adapter *a;
    kd_forward *f;
    kd_kv_pool *pages;
    kd_pool *pool;
    float *logits;
} rig;

static rig rig_new(const char *model, const char *adapter, kd_dtype kv, int threads) {
    rig r = {0};
    char path[256];
    OK(kd_model_open(&r.m, oracle_path(path, model, NULL), e));
    if (adapter) OK(kd_adapter_open(&r.a, oracle_path(path, model, adapter), &r.m->config, e));
    if (threads > 1) OK(kd_pool_new(&r.pool, threads, e));
    OK(kd_kv_pool_new(&r.pages, &r.m->config, kv, 16, 0, e));
    OK(kd_forward_new(&r.f, r.m, r.a, &(kd_forward_options){.max_rows = 512}, r.pool, e));
    r.logits = malloc((size_t)512 * r.m->config.V * sizeof(float));
    return r;
}
static void rig_free(rig *r) {
    kd_forward_free(r->f);
    kd_kv_pool_free(r->pages);
    kd_adapter_free(r->a);
    kd_model_free(r->m);
    kd_pool_free(r->pool);
    free(r->logits);
}

/* All logits [n,V] of one sequence, computed in pieces of at most piece rows. */
static void run_alone(rig *r, const oracle_seq *s, size_t piece, float *logits) {
    kd_kv *kv;
    OK(kd_kv_new(&kv, r->pages, e));
    OK(kd_kv_reserve(kv, s->n, e));
    size_t want[512];
    for (size_t i = 0; i < 512; i++) want[i] = i;
    for (size_t at = 0; at < s->n; at += piece) {
        size_t n = s->n - at < piece ? s->n - at : piece;
        kd_batch_seq q = {kv, n};
        kd_batch b = {.tokens = s->tokens + at, .n = n, .seqs = &q, .nseq = 1, .want = want, .nwant = n};
        OK(kd_forward_run(r->f, &b, logits + at * r->m->config.V, e));
    }
    assert_int_equal(kd_kv_len(kv), s->n);
    kd_kv_free(kv);
}

static double logprob(const float *z, size_t V, int32_t id) { return z[id] - kd_logsumexp(z, V); }

static double worst_against(rig *r, const oracle_seq *s, const kd_json_node *expect) {
    double worst = 0;
    run_alone(r, s, 512, r->logits);
    const kd_json_node *x = kd_json_first(expect);
    for (size_t i = 0; i + 1 < s->n; i++, x = kd_json_next(x)) {
        assert_non_null(x);
        worst = fmax(worst, fabs(logprob(r->logits + i * r->m->config.V, r->m->config.V, s->tokens[i + 1]) - kd_json_number(x, NAN)));
    }
    assert_null(x);
    return worst;
}

static void logprobs_agree(void **state) {
    (void)state;
    for (int o = 0; o < ORACLE_COUNT; o++) {
        oracle_seq seq[MAX_SEQ];
        size_t n = oracle_sequences(seq, MAX_SEQ, ORACLES[o]);
        kd_json *doc = oracle_json(ORACLES[o], "expect.json");
        const kd_json_node *list = kd_json_first(kd_json_get(kd_json_root(doc), "logprobs"));
        rig r = rig_new(ORACLES[o], NULL, KD_F32, 2);
        double worst = 0;
        for (size_t i = 0; i < n; i++, list = kd_json_next(list)) {
            double d = worst_against(&r, &seq[i], list);
            assert_true(isfinite(d));
            worst = fmax(worst, d);
        }
        print_message("# %-18s log-probabilities: worst %.2e nats (bound 3e-5)\n", ORACLES[o], worst);
        assert_true(worst <= 3e-5);
        rig_free(&r);
        oracle_free(seq, n);
        kd_json_free(doc);
    }
}

static void logits_agree(void **state) {
    (void)state;
    for (int o = 0; o < ORACLE_COUNT; o++) {
        oracle_seq seq[MAX_SEQ];
        char path[256];
        size_t n = oracle_sequences(seq, MAX_SEQ, ORACLES[o]);
        kd_safetensors *st;
        OK(kd_safetensors_open(&st, oracle_path(path, ORACLES[o], "logits-of-sequence-3.safetensors"), e));
        const kd_tensor *t = kd_tensors_at(kd_safetensors_tensors(st), 0);
        rig r = rig_new(ORACLES[o], NULL, KD_F32, 1);
        size_t V = r.m->config.V;
        assert_int_equal(t->shape[0], seq[3].n);
        assert_int_equal(t->shape[1], V);
        run_alone(&r, &seq[3], 7, r.logits);
        double worst = 0;
        for (size_t i = 0; i < seq[3].n * V; i++) {
            double want;
            float v;
            if (t->type == KD_F64)
                memcpy(&want, (const char *)t->data + 8 * i, 8);
            else
                memcpy(&v, (const char *)t->data + 4 * i, 4), want = v;
            worst = fmax(worst, fabs(r.logits[i] - want));
        }
        print_message("# %-18s logits: worst %.2e\n", ORACLES[o], worst);
        assert_true(worst <= 5e-5);
        rig_free(&r);
        kd_safetensors_close(st);
        oracle_free(seq, n);
    }
}

static void adapted_agree(void **state) {
    (void)state;
    static const char *const kinds[] = {"lora", "rslora", "dora"};
    for (int o = 0; o < ORACLE_COUNT; o++)
        for (int k = 0; k < 3; k++) {
            oracle_seq seq[MAX_SEQ];
            char end[32];
            size_t n = oracle_sequences(seq, MAX_SEQ, ORACLES[o]);
            kd_json *doc = oracle_json(ORACLES[o], "trajectories.json");
            snprintf(end, sizeof end, "%s-end", kinds[k]);
            const kd_json_node *want = kd_json_get(kd_json_get(kd_json_root(doc), kinds[k]), "logprobs_of_sequence_1_at_end");
            rig r = rig_new(ORACLES[o], end, KD_F32, 1);
            double worst = worst_against(&r, &seq[1], want);
            print_message("# %-18s %s: worst %.2e nats\n", ORACLES[o], end, worst);
            assert_true(worst <= 3e-5);
            rig_free(&r);
            oracle_free(seq, n);
            kd_json_free(doc);
        }
}

/* All sequences in one batch, at two threads, in uneven pieces, give the bits of each one alone, token by token. */
static void batch_invariant(void **state) {
    (void)state;
    static const kd_dtype kvs[] = {KD_F32, KD_F16};
    for (int o = 0; o < ORACLE_COUNT; o++)
        for (int k = 0; k < 2; k++) {
            oracle_seq seq[MAX_SEQ];
            size_t n = oracle_sequences(seq, MAX_SEQ, ORACLES[o]);
            rig one = rig_new(ORACLES[o], "lora-end", kvs[k], 1), all = rig_new(ORACLES[o], "lora-end", kvs[k], 2);
            size_t V = one.m->config.V, at[MAX_SEQ] = {0};
            float *alone[MAX_SEQ];
            kd_kv *kv[MAX_SEQ];
            for (size_t i = 0; i < n; i++) {
                alone[i] = malloc(seq[i].n * V * sizeof(float));
                run_alone(&one, &seq[i], 1, alone[i]);
                OK(kd_kv_new(&kv[i], all.pages, e));
                OK(kd_kv_reserve(kv[i], seq[i].n, e));
            }
            for (size_t round = 0, left = 1; left; round++) {
                kd_batch_seq q[MAX_SEQ];
                int32_t tokens[512];
                size_t want[512], from[MAX_SEQ], which[MAX_SEQ], rows = 0, ns = 0;
                left = 0;
                for (size_t i = 0; i < n; i++) {
                    size_t take = 1 + (i * 5 + round * 3) % 11;
                    take = take < seq[i].n - at[i] ? take : seq[i].n - at[i];
                    if (!take) continue;
                    memcpy(tokens + rows, seq[i].tokens + at[i], take * sizeof *tokens);
                    for (size_t j = 0; j < take; j++) want[rows + j] = rows + j;
                    q[ns] = (kd_batch_seq){kv[i], take}, which[ns] = i, from[ns++] = rows;
                    rows += take, left = 1;
                }
                if (!left) break;
                kd_batch b = {.tokens = tokens, .n = rows, .seqs = q, .nseq = ns, .want = want, .nwant = rows};
                OK(kd_forward_run(all.f, &b, all.logits, e));
                for (size_t s = 0; s < ns; s++) {
                    size_t i = which[s];
                    assert_memory_equal(all.logits + from[s] * V, alone[i] + at[i] * V, q[s].rows * V * sizeof(float));
                    at[i] += q[s].rows;
                }
            }
            for (size_t i = 0; i < n; i++) kd_kv_free(kv[i]), free(alone[i]);
            rig_free(&one);
            rig_free(&all);
            oracle_free(seq, n);
        }
}

/* A forked sequence goes on with the bits of the whole one, and what it writes does not reach the other. */
static void forks_share(void **state) {
    (void)state;
    oracle_seq seq[MAX_SEQ];
    size_t n = oracle_sequences(seq, MAX_SEQ, ORACLES[2]);
    rig r = rig_new(ORACLES[2], NULL, KD_F16, 1);
    size_t V = r.m->config.V, half = 21, want = 0;
    kd_kv *a, *b;
    float *x = malloc(3 * V * sizeof(float));
    OK(kd_kv_new(&a, r.pages, e));
    OK(kd_kv_reserve(a, half, e));
    OK(kd_forward_run(r.f, &(kd_batch){.tokens = seq[1].tokens, .n = half, .seqs = &(kd_batch_seq){a, half}, .nseq = 1}, NULL, e));
    OK(kd_kv_fork(&b, a, half, e));
    uint64_t held = kd_kv_bytes(r.pages);
    OK(kd_kv_reserve(b, half + 1, e));
    assert_int_equal(kd_kv_bytes(r.pages) - held, kd_kv_page_bytes(r.pages)); /* the half-written page was copied */
    OK(kd_kv_reserve(a, half + 1, e));
    kd_batch_seq sa = {a, 1}, sb = {b, 1};
    int32_t other = (seq[1].tokens[half] + 1) % (int32_t)V;
    OK(kd_forward_run(r.f, &(kd_batch){.tokens = &other, .n = 1, .seqs = &sb, .nseq = 1, .want = &want, .nwant = 1}, x, e));
    OK(kd_forward_run(r.f, &(kd_batch){.tokens = &seq[1].tokens[half], .n = 1, .seqs = &sa, .nseq = 1, .want = &want, .nwant = 1}, x + V,
                      e));
    kd_kv_truncate(b, half);
    OK(kd_kv_reserve(b, half + 1, e));
    OK(kd_forward_run(r.f, &(kd_batch){.tokens = &seq[1].tokens[half], .n = 1, .seqs = &sb, .nseq = 1, .want = &want, .nwant = 1},
                      x + 2 * V, e));
    assert_memory_equal(x + V, x + 2 * V, V * sizeof(float));
    assert_memory_not_equal(x, x + V, V * sizeof(float));
    kd_kv_free(a);
    kd_kv_free(b);
    assert_int_equal(kd_kv_bytes(r.pages), 0);
    free(x);
    rig_free(&r);
    oracle_free(seq, n);
}

static void refuses(void **state) {
    (void)state;
    rig r = rig_new(ORACLES[0], NULL, KD_F32, 1);
    kd_kv *kv;
    kd_err err = {0};
    int32_t t = (int32_t)r.m->config.V;
    OK(kd_kv_new(&kv, r.pages, e));
    OK(kd_kv_reserve(kv, 300, e));
    assert_int_equal(kd_forward_run(r.f, &(kd_batch){.tokens = &t, .n = 1, .seqs = &(kd_batch_seq){kv, 1}, .nseq = 1}, NULL, &err),
                     KD_EINVAL);
    assert_non_null(strstr(err.msg, "token"));
    assert_int_equal(kd_kv_len(kv), 0);
    int32_t many[300] = {0};
    assert_int_equal(kd_forward_run(r.f, &(kd_batch){.tokens = many, .n = 300, .seqs = &(kd_batch_seq){kv, 300}, .nseq = 1}, NULL, &err),
                     KD_EINVAL);
    kd_kv_free(kv);
    rig_free(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(logprobs_agree),  cmocka_unit_test(logits_agree), cmocka_unit_test(adapted_agree),
                                       cmocka_unit_test(batch_invariant), cmocka_unit_test(forks_share),  cmocka_unit_test(refuses)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
