/* tests/distill/engine/test_engine.c - the same request gives the same tokens and log-probabilities, to the bit, alone and among 64, with and
 * without shared beginnings, with memory for all and for few, by one thread and by three; and what ends an answer. On the oracle's models. */
#include "distill/base/mem.h"
#include "distill/base/rng.h"
#include "distill/base/utf8.h"
#include "distill/engine/engine.h"
#include "distill/math/codec.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

enum { REQS = 64, MAX_NEW = 24, TOP = 3, LONGEST = 90 };
typedef struct {
    int32_t tokens[MAX_NEW];
    float logprobs[MAX_NEW];
    kd_top top[MAX_NEW * TOP];
    size_t n, shared;
    kd_finish finish;
    int calls;
} got;

static const char *const names[] = {"tests/oracle/models/llama-tied-rope3", "tests/oracle/models/qwen2-tied",
                                    "tests/oracle/models/qwen3-untied"};

/* A model of quantized weights in memory, a type a matrix, heads wide enough for 8-bit keys: what the oracle's models are too narrow for. */
enum { BIG_C = 256, BIG_F = 512, BIG_L = 2, BIG_H = 4, BIG_G = 2, BIG_D = 64, BIG_V = 320 };
static void *big_own[8 * BIG_L + 8];
static size_t big_owned;

static kd_mat big_matrix(kd_dtype t, size_t rows, size_t cols, float size) {
    kd_mat m = {.type = t, .rows = rows, .cols = cols};
    float v[BIG_F];
    kd_rng r = {.key = 11, .stream = big_owned};
    assert_true(kd_dtype_row_bytes((int)t, cols, &m.row_bytes));
    char *bytes = kd_malloc(rows * m.row_bytes);
    for (size_t i = 0; i < rows; i++) {
        for (size_t c = 0; c < cols; c++) v[c] = size * (float)kd_rng_normal(&r);
        assert_int_equal(kd_quantize(t, v, bytes + i * m.row_bytes, cols, NULL, NULL), KD_OK);
    }
    m.data = big_own[big_owned++] = bytes;
    return m;
}

static kd_model *big_model(void) {
    static kd_model m;
    static kd_layer layers[BIG_L];
    static float ones[BIG_C];
    static const kd_dtype types[BIG_L][KD_MATS] = {{KD_Q4_K, KD_Q5_0, KD_Q8_0, KD_Q6_K, KD_Q4_0, KD_Q5_K, KD_Q4_1},
                                                   {KD_Q5_1, KD_Q2_K, KD_IQ4_NL, KD_Q3_K, KD_MXFP4, KD_IQ4_XS, KD_Q4_K}};
    static const size_t rows[] = {BIG_C, BIG_G * BIG_D, BIG_G * BIG_D, BIG_C, BIG_F, BIG_F, BIG_C};
    for (size_t c = 0; c < BIG_C; c++) ones[c] = 1;
    m = (kd_model){.config = {.arch = KD_LLAMA,
                              .L = BIG_L,
                              .C = BIG_C,
                              .H = BIG_H,
                              .G = BIG_G,
                              .D = BIG_D,
                              .F = BIG_F,
                              .V = BIG_V,
                              .context = 256,
                              .norm_eps = 1e-5f,
                              .tied = true,
                              .rope = {.theta = 10000}},
                   .final_norm = ones,
                   .layers = layers};
    m.embed = m.head = big_matrix(KD_Q8_0, BIG_V, BIG_C, 0.15f);
    for (size_t l = 0; l < BIG_L; l++) {
        layers[l] = (kd_layer){.attn_norm = ones, .mlp_norm = ones};
        for (size_t r = 0; r < KD_MATS; r++)
            layers[l].mat[r] = big_matrix(types[l][r], rows[r], r == KD_DOWN ? BIG_F : BIG_C, r == KD_DOWN ? 0.06f : 0.08f);
    }
    return &m;
}

static void close_model(kd_model *m) {
    if (m->files) {
        kd_model_free(m);
        return;
    }
    while (big_owned) kd_free(big_own[--big_owned]);
}

/* NULL: big_model. */
static kd_model *open_model(const char *path) {
    kd_model *m = NULL;
    kd_err e;
    if (!path) return big_model();
    if (kd_model_open(&m, path, &e) != KD_OK) fail_msg("%s", e.msg);
    return m;
}

static void on_done(void *user, const kd_result *r) {
    got *g = user;
    g->calls++;
    g->n = r->n;
    g->finish = r->finish;
    g->shared = r->shared_tokens;
    assert_in_range(r->n, 0, MAX_NEW);
    memcpy(g->tokens, r->tokens, r->n * sizeof *r->tokens);
    if (r->logprobs) memcpy(g->logprobs, r->logprobs, r->n * sizeof *r->logprobs);
    if (r->top) memcpy(g->top, r->top, r->n * TOP * sizeof *r->top);
}

/* Request i: groups of four ask the same prompt; all prompts begin alike. */
static size_t prompt_of(size_t i, size_t V, int32_t *t) {
    size_t group = i / 4, n = 20 + (group * 13) % (LONGEST - 20);
    for (size_t k = 0; k < n; k++) t[k] = (int32_t)(kd_rng_at(7, k < 17 ? 0 : 1 + group, k) % V);
    return n;
}

static kd_request request_of(size_t i, size_t V, int32_t *t, got *g) {
    kd_request r = {.prompt = t,
                    .seed = 42,
                    .stream = i,
                    .max_tokens = 4 + i % (MAX_NEW - 3),
                    .logprobs = true,
                    .top_logprobs = i % 3 ? 0 : TOP,
                    .on_done = on_done,
                    .user = g};
    r.prompt_n = prompt_of(i, V, t);
    r.sampling = i % 5 == 0   ? (kd_sampling){0}
                 : i % 5 == 1 ? (kd_sampling){.temperature = 0.7f, .top_k = 40, .top_p = 0.9f, .min_p = 0.02f}
                              : (kd_sampling){.temperature = 1.0f, .repetition_penalty = i % 5 == 3 ? 1.2f : 0};
    return r;
}

typedef struct {
    size_t n;
    int32_t tokens[150];
    float logprobs[150];
} long_answer;
static void on_long(void *user, const kd_result *r) {
    long_answer *a = user;
    a->n = r->n;
    assert_in_range(r->n, 1, 150);
    memcpy(a->tokens, r->tokens, r->n * sizeof *r->tokens);
    memcpy(a->logprobs, r->logprobs, r->n * sizeof *r->logprobs);
}

static void run(const kd_model *m, const kd_engine_options *o, size_t first, size_t n, got *all, kd_engine_stats *stats) {
    kd_engine *en;
    kd_err e = {0};
    int32_t t[LONGEST];
    if (kd_engine_new(&en, m, NULL, NULL, o, &e) != KD_OK) fail_msg("%s", e.msg);
    for (size_t i = first; i < first + n; i++) {
        kd_request r = request_of(i, m->config.V, t, &all[i]);
        all[i] = (got){0};
        if (kd_engine_submit(en, &r, NULL, &e) != KD_OK) fail_msg("%s", e.msg);
    }
    if (kd_engine_run(en, NULL, &e) != KD_OK) fail_msg("%s", e.msg);
    if (stats) *stats = kd_engine_get_stats(en);
    kd_engine_free(en);
}

static void same(const got *a, const got *b, const char *what, size_t i) {
    if (a->calls != 1 || b->calls != 1 || a->n != b->n || a->finish != b->finish || memcmp(a->tokens, b->tokens, sizeof a->tokens) != 0 ||
        memcmp(a->logprobs, b->logprobs, sizeof a->logprobs) != 0 || memcmp(a->top, b->top, sizeof a->top) != 0)
        fail_msg("%s: request %zu differs (%zu and %zu tokens)", what, i, a->n, b->n);
}

static void alone_and_among_others(void **state) {
    (void)state;
    static got alone[REQS], many[REQS];
    for (size_t k = 0; k <= sizeof names / sizeof *names; k++)
        for (int v = 0; v < 4; v++) { /* both arithmetics; the other types of keys and values, in two kinds of company */
            bool exact = v == 1;
            kd_kv_kind kv = v == 2 ? KD_KV_Q8_0 : v == 3 ? KD_KV_F32 : KD_KV_F16;
            kd_model *m = open_model(k < sizeof names / sizeof *names ? names[k] : NULL);
            kd_engine_options one = {.threads = 1, .sequences = 1, .exact = exact, .kv = kv, .no_share = true, .context = 128};
            for (size_t i = 0; i < REQS; i++) run(m, &one, i, 1, alone, NULL);
            bool big = !m->files;
            size_t page = 32 * kd_engine_plan_of(m, &one).kv_a_token;
            const struct {
                const char *what;
                kd_engine_options o;
            } ways[] = {
                {"64 at once, two threads", {.threads = 2, .sequences = 64, .context = 128}},
                {"64 at once, prompts in pieces", {.threads = 3, .sequences = 64, .rows = 67, .context = 128}},
                {"32 at once, nothing shared", {.threads = 1, .sequences = 32, .no_share = true, .context = 128}},
                {"7 at once", {.threads = 2, .sequences = 7, .rows = 19, .context = 128}},
                {"4 at once, guessing", {.threads = 2, .sequences = 4, .context = 128, .draft = 7, .draft_always = true}},
                {"one at a time, guessing, in little memory",
                 {.threads = 1, .sequences = 1, .context = 128, .draft = 16, .draft_always = true, .kv_bytes = 5 * page}},
                {"memory for few", {.threads = 2, .sequences = 64, .context = 128, .kv_bytes = 9 * page}},
            };
            for (size_t w = 0; w < (v < 2 || big ? sizeof ways / sizeof *ways : 2); w++) {
                kd_engine_options o = ways[w].o;
                kd_engine_stats st;
                o.exact = exact, o.kv = kv;
                run(m, &o, 0, REQS, many, &st);
                for (size_t i = 0; i < REQS; i++) same(&alone[i], &many[i], ways[w].what, i);
                assert_int_equal(st.waiting + st.running, 0);
                if (w == 0) assert_true(st.shared_tokens > st.prompt_tokens / 2);
                if (w == 2) assert_int_equal(st.shared_tokens, 0);
                if (w == 4) assert_true(st.drafted_tokens > 0);
                if (w == 6) assert_true(st.preemptions > 0 && st.kv_bytes <= 9 * page);
            }
            close_model(m);
        }
}

/* `memory` bounds everything: keys and values get what is left, and where no page is left the engine is refused in words. */
static void memory_bounds_all(void **state) {
    (void)state;
    kd_model *m = open_model(names[0]);
    kd_engine *en;
    kd_err e = {0};
    kd_engine_options o = {.threads = 1, .sequences = 4, .rows = 32, .context = 128};
    kd_engine_plan p = kd_engine_plan_of(m, &o);
    uint64_t page = 32 * p.kv_a_token;
    o.memory = p.weights + p.work + 3 * page + page / 2;
    p = kd_engine_plan_of(m, &o);
    assert_int_equal(p.kv_bound, 3 * page + page / 2);
    assert_int_equal(kd_engine_new(&en, m, NULL, NULL, &o, &e), KD_OK);
    assert_int_equal(kd_engine_context(en), 96);
    kd_engine_free(en);
    o.kv_bytes = 2 * page;
    assert_int_equal(kd_engine_plan_of(m, &o).kv_bound, 2 * page);
    o.kv_bytes = 0, o.memory = p.weights + p.work + page - 1;
    assert_int_equal(kd_engine_new(&en, m, NULL, NULL, &o, &e), KD_EINVAL);
    assert_non_null(strstr(e.msg, "memory"));
    o.memory = 1;
    assert_int_equal(kd_engine_new(&en, m, NULL, NULL, &o, &e), KD_EINVAL);
    kd_model_free(m);
}

/* Long answers that repeat themselves: with guesses the same bits in fewer steps; another sample of the same question is a source too. */
static void guessing_ahead(void **state) {
    (void)state;
    enum { LONG = 150 };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        kd_model *m = open_model(names[k]);
        static long_answer a[3][6];
        kd_engine_stats st[3];
        for (int way = 0; way < 3; way++) {
            kd_engine *en;
            kd_err e = {0};
            kd_engine_options o = {.threads = 2, .sequences = 2, .context = 256, .draft = way ? 8 : 0, .draft_always = way == 1};
            if (kd_engine_new(&en, m, NULL, NULL, &o, &e) != KD_OK) fail_msg("%s", e.msg);
            for (size_t i = 0; i < 6; i++) {
                int32_t t[LONGEST];
                kd_request r = request_of(4 * (i / 3), m->config.V, t, NULL);
                r.max_tokens = LONG, r.no_loop_guard = true, r.on_done = on_long, r.user = &a[way][i], r.stream = i;
                r.sampling = i % 3 == 2 ? (kd_sampling){.temperature = 0.3f, .repetition_penalty = 1.01f, .dry_multiplier = 0.01f}
                                        : (kd_sampling){0};
                assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_OK);
                if (i % 2) assert_int_equal(kd_engine_run(en, NULL, &e), KD_OK);
            }
            st[way] = kd_engine_get_stats(en);
            kd_engine_free(en);
        }
        assert_memory_equal(a[0], a[1], sizeof a[0]);
        assert_memory_equal(a[0], a[2], sizeof a[0]);
        assert_int_equal(st[0].drafted_tokens, 0);
        assert_true(st[1].accepted_tokens > 100 && st[1].steps * 5 < st[0].steps * 4);
        assert_int_equal(st[0].generated_tokens, st[1].generated_tokens);
        print_message("# %s: %llu steps without guesses, %llu always guessing (%llu of %llu right), %llu where it pays\n", names[k],
                      (unsigned long long)st[0].steps, (unsigned long long)st[1].steps, (unsigned long long)st[1].accepted_tokens,
                      (unsigned long long)st[1].drafted_tokens, (unsigned long long)st[2].steps);
        kd_model_free(m);
    }
}

/* Greedy answers are the argmax of a plain forward pass over the whole sequence, log-probabilities its log-softmax. */
static void greedy_is_argmax(void **state) {
    (void)state;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        kd_model *m = open_model(names[k]);
        size_t V = m->config.V;
        got g[5] = {{.n = 0}};
        kd_engine_options o = {.threads = 1, .exact = true, .kv = KD_KV_F32, .context = 128};
        run(m, &o, 0, 1, g, NULL);
        assert_int_equal(g[0].finish, KD_FINISH_LENGTH);
        assert_int_equal(g[0].n, 4);
        int32_t t[LONGEST + MAX_NEW];
        size_t n = prompt_of(0, V, t);
        for (size_t j = 0; j < g[0].n; j++) {
            kd_forward *f;
            kd_kv_pool *p;
            kd_kv *kv;
            float *logits = kd_malloc(V * sizeof *logits);
            kd_forward_options fo = {.context = 128};
            assert_int_equal(kd_forward_new(&f, m, NULL, &fo, NULL, NULL), KD_OK);
            assert_int_equal(kd_kv_pool_new(&p, &m->config, KD_F32, 16, 0, NULL), KD_OK);
            assert_int_equal(kd_kv_new(&kv, p, NULL), KD_OK);
            assert_int_equal(kd_kv_reserve(kv, n, NULL), KD_OK);
            kd_batch_seq s = {kv, n};
            size_t want = n - 1, best = 0;
            kd_batch b = {t, n, &s, 1, &want, 1};
            assert_int_equal(kd_forward_run(f, &b, logits, NULL), KD_OK);
            for (size_t v = 1; v < V; v++) best = logits[v] > logits[best] ? v : best;
            assert_int_equal(g[0].tokens[j], best);
            assert_true(g[0].logprobs[j] == (float)((double)logits[best] - kd_logsumexp(logits, V)));
            assert_int_equal(g[0].top[j * TOP].id, best);
            assert_true(g[0].top[j * TOP].logprob >= g[0].top[j * TOP + 1].logprob);
            t[n++] = (int32_t)best;
            kd_kv_free(kv), kd_kv_pool_free(p), kd_forward_free(f), kd_free(logits);
        }
        kd_model_free(m);
    }
}

static void ends_and_refusals(void **state) {
    (void)state;
    kd_model *m = open_model(names[1]);
    kd_engine *en;
    kd_err e = {0};
    got g[4];
    memset(g, 0, sizeof g);
    int32_t t[LONGEST];
    kd_engine_options o = {.threads = 1, .context = 64};
    assert_int_equal(kd_engine_new(&en, m, NULL, NULL, &o, &e), KD_OK);
    kd_request r = request_of(0, m->config.V, t, &g[0]);
    r.max_tokens = 20, r.no_loop_guard = true;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_OK);
    assert_int_equal(kd_engine_run(en, NULL, &e), KD_OK);
    /* its third token, or the same one earlier, ends it; with min_tokens it is not drawn until then */
    size_t first = 0;
    while (g[0].tokens[first] != g[0].tokens[2]) first++;
    r.stop_tokens = &g[0].tokens[2], r.stop_tokens_n = 1, r.user = &g[1];
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_OK);
    r.min_tokens = 9, r.user = &g[2];
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_OK);
    uint64_t id;
    r.min_tokens = 0, r.user = &g[3];
    assert_int_equal(kd_engine_submit(en, &r, &id, &e), KD_OK);
    assert_true(kd_engine_cancel(en, id));
    assert_false(kd_engine_cancel(en, id + 100));
    assert_int_equal(kd_engine_run(en, NULL, &e), KD_OK);
    assert_int_equal(g[1].finish, KD_FINISH_STOP);
    assert_int_equal(g[1].n, first + 1);
    assert_true(g[2].n > 9);
    for (size_t i = 0; i < 9; i++) assert_int_not_equal(g[2].tokens[i], g[0].tokens[2]);
    assert_int_equal(g[3].finish, KD_FINISH_CANCELLED);
    assert_int_equal(g[3].calls, 1);
    r.stop_tokens_n = 0, r.prompt_n = 0;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_EINVAL);
    r.prompt_n = 3, t[1] = (int32_t)m->config.V;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_EINVAL);
    t[1] = -1;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_EINVAL);
    t[1] = 0, r.sampling.temperature = -1;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_EINVAL);
    int32_t far[70] = {0};
    r.sampling.temperature = 0, r.prompt = far, r.prompt_n = 64;
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_EINVAL);
    r.prompt_n = 63, r.max_tokens = 20; /* the end of the context */
    g[1].calls = 0, r.user = &g[1];
    assert_int_equal(kd_engine_submit(en, &r, NULL, &e), KD_OK);
    assert_int_equal(kd_engine_run(en, NULL, &e), KD_OK);
    assert_int_equal(g[1].n, 1);
    assert_int_equal(g[1].finish, KD_FINISH_LENGTH);
    kd_engine_free(en);
    kd_model_free(m);
}

typedef struct {
    kd_buf pieces, text;
    kd_finish finish;
    size_t n, thought;
} told;
static void piece(void *user, const kd_piece *p) {
    told *t = user;
    assert_true(kd_utf8_valid(p->text, p->len)); /* never half a character */
    assert_int_equal(kd_buf_append(&t->pieces, p->text, p->len), KD_OK);
}
static void told_done(void *user, const kd_result *r) {
    told *t = user;
    t->finish = r->finish, t->n = r->n, t->thought = r->thought_tokens;
    assert_int_equal(r->text[r->text_len], 0);
    assert_int_equal(kd_buf_append(&t->text, r->text, r->text_len), KD_OK);
}
static void tell(kd_engine *en, kd_request *r, told *t) {
    kd_err e = {0};
    kd_buf_clear(&t->pieces), kd_buf_clear(&t->text);
    r->on_token = piece, r->on_done = told_done, r->user = t;
    if (kd_engine_submit(en, r, NULL, &e) != KD_OK || kd_engine_run(en, NULL, &e) != KD_OK) fail_msg("%s", e.msg);
    assert_int_equal(t->pieces.len, t->text.len);
    assert_memory_equal(t->pieces.data ? t->pieces.data : "", t->text.data ? t->text.data : "", t->text.len);
}

/* A stop string ends the text before its first place, wherever it lies across tokens; nothing of it is ever sent. */
static void stop_strings(void **state) {
    (void)state;
    static const char *const models[] = {"tests/oracle/models/llama-tied-rope3", "tests/oracle/models/llama-untied-spm"};
    for (size_t k = 0; k < 2; k++) {
        kd_model *m = open_model(models[k]);
        kd_tokenizer *tok;
        kd_engine *en;
        kd_err e = {0};
        if (kd_tokenizer_open(&tok, models[k], &e) != KD_OK) fail_msg("%s", e.msg);
        kd_engine_options o = {.threads = 1, .context = 128};
        assert_int_equal(kd_engine_new(&en, m, NULL, tok, &o, &e), KD_OK);
        told whole = {.n = 0}, t = {.n = 0};
        size_t seen = 0, across = 0;
        for (uint64_t stream = 0; stream < 12; stream++) {
            int32_t prompt[4] = {5, 9, 11, (int32_t)stream};
            kd_request r = {.prompt = prompt,
                            .prompt_n = 4,
                            .sampling = {.temperature = 1},
                            .seed = 3,
                            .stream = stream,
                            .max_tokens = 40,
                            .ignore_eog = true};
            tell(en, &r, &whole);
            assert_int_equal(whole.n, 40);
            for (size_t at = 0; at < whole.text.len; at += 3)
                for (size_t len = 1; len <= 7 && at + len <= whole.text.len; len += 3) {
                    char stop[16] = {0};
                    memcpy(stop, whole.text.data + at, len);
                    if (!kd_utf8_valid(stop, len) || memchr(stop, 0, len)) continue;
                    r.stop = (const char *const[]){"no such text", stop}, r.stops = 2;
                    tell(en, &r, &t);
                    const char *first = memmem(whole.text.data, whole.text.len, stop, len);
                    assert_int_equal(t.finish, KD_FINISH_STOP);
                    assert_int_equal(t.text.len, first - whole.text.data);
                    assert_memory_equal(t.text.data ? t.text.data : "", whole.text.data, t.text.len);
                    seen++, across += len > 3;
                }
        }
        assert_true(seen > 50 && across > 20);
        kd_buf_clear(&whole.pieces), kd_buf_clear(&whole.text), kd_buf_clear(&t.pieces), kd_buf_clear(&t.text);
        kd_engine_free(en);
        kd_tokenizer_free(tok);
        kd_model_free(m);
    }
}

/* A thought past its budget is closed; what comes then is the model's own again. With guesses the same. */
static void thought_budget(void **state) {
    (void)state;
    const char *path = "tests/oracle/models/llama-tied-rope3";
    kd_model *m = open_model(path);
    kd_tokenizer *tok;
    kd_err e = {0};
    if (kd_tokenizer_open(&tok, path, &e) != KD_OK) fail_msg("%s", e.msg);
    kd_buf first = {0};
    for (int draft = 0; draft < 2; draft++) {
        kd_engine *en;
        kd_engine_options o = {.threads = 1, .context = 128, .draft = draft ? 8 : 0, .draft_always = true};
        assert_int_equal(kd_engine_new(&en, m, NULL, tok, &o, &e), KD_OK);
        for (size_t budget = 0; budget < 24; budget += 6) {
            told t = {.n = 0};
            int32_t prompt[4] = {5, 9, 11, 12};
            kd_request r = {.prompt = prompt, .prompt_n = 4, .seed = 3, .max_tokens = 60, .ignore_eog = true, .no_loop_guard = true};
            r.thought_opened = true, r.max_thinking = budget;
            tell(en, &r, &t);
            const char *end = t.text.data ? memmem(t.text.data, t.text.len, "\n</think>\n\n", 11) : NULL;
            assert_int_equal(t.n, 60);
            assert_true(!budget == !end);
            if (end) assert_null(memmem(end + 1, t.text.len - (size_t)(end + 1 - t.text.data), "\n</think>", 9)); /* once */
            if (budget) assert_true(t.thought >= budget && t.thought < budget + 12);
            if (!draft && budget == 12) assert_int_equal(kd_buf_append(&first, t.text.data, t.text.len), KD_OK);
            if (draft && budget == 12) assert_memory_equal(first.data, t.text.data, t.text.len);
            kd_buf_clear(&t.pieces), kd_buf_clear(&t.text);
        }
        kd_engine_free(en);
    }
    kd_buf_clear(&first);
    kd_tokenizer_free(tok);
    kd_model_free(m);
}

/* Every allocation fails once: an error comes back, nothing leaks (asan), nothing crashes. */
static void without_memory(void **state) {
    (void)state;
    kd_model *m = open_model(names[0]);
    long at = 0;
    for (bool failed = true; failed; at++) {
        kd_engine *en = NULL;
        kd_engine_options o = {.threads = 1, .sequences = 2, .context = 64};
        got g = {.n = 0};
        int32_t t[LONGEST];
        kd_request r = request_of(0, m->config.V, t, &g);
        r.sampling.biases = 1, r.sampling.bias = &(kd_logit_bias){3, 0.5f}, r.stops = 1, r.stop = &(const char *){"x"};
        kd_alloc_fail_at(at + 1);
        kd_code c = kd_engine_new(&en, m, NULL, NULL, &o, NULL);
        if (c == KD_OK && (c = kd_engine_submit(en, &r, NULL, NULL)) == KD_OK) c = kd_engine_run(en, NULL, NULL);
        failed = kd_alloc_count() > at;
        kd_alloc_fail_at(0);
        assert_true(c == KD_OK || c == KD_ENOMEM);
        if (!failed) assert_int_equal(c, KD_OK);
        kd_engine_free(en);
        assert_in_range(at, 0, 5000);
    }
    kd_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(greedy_is_argmax),  cmocka_unit_test(alone_and_among_others),
                                       cmocka_unit_test(memory_bounds_all), cmocka_unit_test(guessing_ahead),
                                       cmocka_unit_test(ends_and_refusals), cmocka_unit_test(stop_strings),
                                       cmocka_unit_test(thought_budget),    cmocka_unit_test(without_memory)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
