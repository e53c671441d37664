/* Optimizers beside others' in float64: Muon beside torch.optim.Muon and Adafactor beside transformers' (tests/student/golden/optim.json, made by
 * make_optim_golden.py), 8-bit AdamW beside AdamW, averages of weights by hand; all alike at any number of threads. Guards. */
#include "tests/student/oracle.h"

/* The numbers of make_optim_golden.py. */
static float number_at(size_t i) { return (float)((double)((i * 2654435761u & 0xffffffffu) >> 8) / 16777216.0 - 0.5); }

typedef struct {
    kd_params p;
    kd_param one;
    kd_pool *pool;
    kd_optimizer o;
} world;
static void open_world(world *w, kd_optimizer_options o, size_t rows, size_t cols, int threads) {
    *w = (world){0};
    w->one = (kd_param){.name = "w", .rows = rows, .cols = cols, .n = rows * (cols ? cols : 1), .decay = true, .role = KD_UP};
    w->p = (kd_params){.at = &w->one, .n = 1, .floats = (w->one.n + 15) / 16 * 16, .trained = w->one.n};
    w->p.grads = w->p.floats;
    OK(kd_params_alloc(&w->p, ERR));
    if (threads > 1) OK(kd_pool_new(&w->pool, threads, ERR));
    OK(kd_optimizer_init(&w->o, &o, &w->p, w->pool, ERR));
    for (size_t i = 0; i < w->one.n; i++) w->p.value[i] = number_at(1 + i);
}
static void close_world(world *w) {
    kd_optimizer_clear(&w->o);
    kd_pool_free(w->pool);
    kd_free(w->p.value);
    kd_free(w->p.grad);
}
static void five_steps(world *w, float lr) {
    for (size_t step = 0; step < 5; step++) {
        for (size_t i = 0; i < w->one.n; i++) w->p.grad[i] = number_at(1000 * (step + 1) + i) * (float)pow(10, (double)step - 2);
        kd_optimizer_step(&w->o, lr, 1);
    }
}

static void test_golden(void **state) {
    (void)state;
    static const struct {
        const char *name;
        kd_optimizer_kind kind;
        size_t rows, cols;
    } cases[] = {{"muon-wide", KD_MUON, 5, 40},
                 {"muon-tall", KD_MUON, 48, 36},
                 {"adafactor-wide", KD_ADAFACTOR, 5, 40},
                 {"adafactor-tall", KD_ADAFACTOR, 48, 36},
                 {"adafactor-vector", KD_ADAFACTOR, 50, 0}};
    kd_buf text = {0};
    kd_json *doc = NULL;
    OK(kd_file_read(&text, "tests/student/golden/optim.json", 1 << 20, ERR));
    OK(kd_json_parse(&doc, text.data, text.len, "optim.json", ERR));
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++)
        for (int threads = 1; threads <= 3; threads += 2) {
            world w;
            const kd_optimizer_options o = {.kind = cases[c].kind, .decay = 0.1f, .momentum = 0.9f};
            open_world(&w, o, cases[c].rows, cases[c].cols, threads);
            five_steps(&w, 0.02f);
            const kd_json_node *want = kd_json_get(kd_json_root(doc), cases[c].name);
            assert_int_equal(kd_json_count(want), w.one.n);
            double off = 0, norm = 0;
            size_t i = 0;
            for (const kd_json_node *n = kd_json_first(want); n; n = kd_json_next(n), i++) {
                const double d = kd_json_number(n, 0) - (double)w.p.value[i];
                off += d * d;
                norm += kd_json_number(n, 0) * kd_json_number(n, 0);
            }
            printf("# %-18s %d threads: %.1e\n", cases[c].name, threads, sqrt(off / norm));
            assert_true(sqrt(off / norm) < 2e-6);
            close_world(&w);
        }
    kd_json_free(doc);
    kd_buf_clear(&text);
}

/* A byte a moment stays near four: after 30 steps of noisy gradients the way gone differs by a few percent of its length, with no drift along it. */
static void test_8bit(void **state) {
    (void)state;
    enum { ROWS = 64, COLS = 100, N = ROWS * COLS };
    world w[2];
    for (int k = 0; k < 2; k++) {
        const kd_optimizer_options o = {.kind = k ? KD_ADAMW_8BIT : KD_ADAMW, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f, .seed = 5};
        open_world(&w[k], o, ROWS, COLS, k ? 2 : 1);
        for (size_t step = 0; step < 30; step++) {
            for (size_t i = 0; i < N; i++)
                w[k].p.grad[i] = (number_at(i * 7 + 3) + number_at(step * 9973 + i)) * (float)pow(10, -(double)(i % 5));
            kd_optimizer_step(&w[k].o, 1e-2f, 1);
        }
    }
    double off = 0, way = 0, along = 0;
    for (size_t i = 0; i < N; i++) {
        const double a = (double)w[0].p.value[i] - (double)number_at(1 + i), b = (double)w[1].p.value[i] - (double)number_at(1 + i);
        off += (a - b) * (a - b);
        way += a * a;
        along += a * b;
    }
    printf("# 8-bit beside f32: off by %.3f of the way, %.4f along it\n", sqrt(off / way), along / way);
    assert_true(sqrt(off / way) < 0.08);
    assert_true(fabs(along / way - 1) < 0.02);
    assert_true(kd_optimizer_state_bytes(&w[1].o.o, &w[1].p) * 3 < kd_optimizer_state_bytes(&w[0].o.o, &w[0].p));
    for (int k = 0; k < 2; k++) close_world(&w[k]);
}

static void test_ema(void **state) {
    (void)state;
    world w;
    const kd_optimizer_options o = {.kind = KD_SGD, .ema = 0.75f};
    open_world(&w, o, 3, 4, 1);
    double want[12], p[12];
    for (size_t i = 0; i < 12; i++) want[i] = p[i] = (double)w.p.value[i];
    for (int step = 0; step < 6; step++) {
        for (size_t i = 0; i < 12; i++) {
            w.p.grad[i] = (float)(i + 1);
            p[i] -= 0.5 * (double)(i + 1);
            want[i] = 0.75 * want[i] + 0.25 * p[i];
        }
        kd_optimizer_step(&w.o, 0.5f, 1);
    }
    for (size_t i = 0; i < 12; i++) assert_true(fabs(want[i] - (double)kd_optimizer_ema(&w.o, 0)[i]) < 1e-5 * fabs(want[i]));
    close_world(&w);
}

/* ---- the trainer with them ---- */
typedef struct {
    kd_model *m;
    kd_lesson lessons[SEQUENCES];
    kd_pool *pool;
    kd_trainer *t;
} run;
static kd_train_options options(kd_method method, kd_optimizer_kind kind) {
    return (kd_train_options){.method = {.method = method, .lora = {.r = 4, .alpha = 8, .targets = (1u << KD_MATS) - 1}},
                              .optimizer = {.kind = kind, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f},
                              .learning_rate = 1e-3,
                              .max_steps = 1000,
                              .batch_size = 4,
                              .no_shuffle = true,
                              .clip_norm = 1,
                              .recompute = -1,
                              .memory = (uint64_t)1 << 30};
}
static void start(run *r, const char *model, const kd_train_options *o, int threads) {
    char path[300];
    kd_train_plan plan;
    *r = (run){0};
    OK(kd_model_open(&r->m, oracle_path(path, sizeof path, model, ""), ERR));
    oracle_lessons(r->lessons, model, false);
    if (threads > 1) OK(kd_pool_new(&r->pool, threads, ERR));
    OK(kd_train_plan_make(&plan, r->m, r->lessons, SEQUENCES, o, threads, ERR));
    OK(kd_trainer_new(&r->t, r->m, r->lessons, SEQUENCES, o, &plan, NULL, r->pool, ERR));
}
static void end(run *r) {
    kd_trainer_free(r->t);
    oracle_lessons_clear(r->lessons);
    kd_pool_free(r->pool);
    kd_model_free(r->m);
}
/* Updates with no allocation in them; the last loss. */
static double updates(run *r, int n) {
    kd_train_report report = {0};
    for (int i = 0; i < n; i++) {
        kd_alloc_fail_at(0);
        OK(kd_trainer_step(r->t, &report, ERR));
        assert_int_equal(kd_alloc_count(), 0);
    }
    return report.loss;
}

/* Every optimizer and layer-wise training teach, give the same bits at two threads, and allocate nothing inside an update. */
static void test_learns(void **state) {
    (void)state;
    for (int k = 0; k < KD_OPTIMIZERS + 2; k++) {
        const bool blocks = k >= KD_OPTIMIZERS;
        kd_train_options o = options(k % 2 && !blocks ? KD_LORA_METHOD : KD_FULL, blocks ? KD_ADAMW : (kd_optimizer_kind)k);
        if (o.optimizer.kind == KD_SGD) o.learning_rate = 0.2;
        if (o.optimizer.kind == KD_MUON) o.learning_rate = 5e-4;
        o.method.interval = blocks ? 3 : 0;
        o.method.random_blocks = k > KD_OPTIMIZERS;
        run a, b;
        start(&a, "qwen3-untied", &o, 1);
        start(&b, "qwen3-untied", &o, 2);
        const double first = updates(&a, 1), last = updates(&a, 20);
        updates(&b, 21);
        const kd_params *p = kd_trainer_params(a.t), *q = kd_trainer_params(b.t);
        assert_memory_equal(p->value, q->value, p->floats * sizeof(float));
        printf("# %-10s%s loss %.4f to %.4f\n", kd_optimizer_name(o.optimizer.kind), blocks ? " by layers" : "", first, last);
        assert_true(last < first);
        end(&a);
        end(&b);
    }
}

/* A layer's turn moves that layer alone, as full training with AdamW would from the same state; gradients need a layer's room. */
static void test_blocks(void **state) {
    (void)state;
    kd_train_options o = options(KD_FULL, KD_ADAMW), whole = o;
    o.method.interval = 2;
    run a, b;
    start(&a, "llama-untied-spm", &o, 1);
    start(&b, "llama-untied-spm", &whole, 1);
    kd_params *p = kd_trainer_params(a.t), *q = kd_trainer_params(b.t);
    const uint32_t last = a.m->config.L - 1;
    kd_train_report r;
    kd_trainer_gradients(a.t, &r);
    kd_trainer_gradients(b.t, &r);
    size_t same = 0;
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *x = &p->at[i], *y = kd_params_find(q, x->role, x->layer, 0);
        assert_true((kd_param_grad(p, x) != NULL) == (x->layer == last));
        if (kd_param_grad(p, x)) assert_memory_equal(kd_param_grad(p, x), kd_param_grad(q, y), x->n * sizeof(float)), same++;
    }
    assert_true(same > 0 && p->grads < q->grads / 2);
    updates(&a, 2);
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *x = &p->at[i], *y = kd_params_find(q, x->role, x->layer, 0);
        const bool moved = memcmp(p->value + x->at, q->value + y->at, x->n * sizeof(float)) != 0;
        assert_true(moved == (x->layer == last));
    }
    updates(&a, 1);
    assert_int_equal(p->active, last - 1);
    end(&a);
    end(&b);
}

/* A lesson that breaks is skipped and counted, or stops the run with its row named; a spike likewise. */
static void test_guards(void **state) {
    (void)state;
    for (int kind = 0; kind < 2; kind++) {
        kd_train_options o = options(KD_LORA_METHOD, KD_ADAMW);
        o.batch_size = 1;
        o.skip_faults = true;
        o.spike = kind ? 0.5 : 0; /* every loss is a spike once four are known */
        run r;
        kd_train_report s;
        start(&r, "qwen2-tied", &o, 1);
        const unsigned done = kind ? 4 : 5;
        updates(&r, (int)done);
        const size_t floats = kd_trainer_params(r.t)->floats;
        float *before = kd_malloc(floats * sizeof *before);
        memcpy(before, kd_trainer_params(r.t)->value, floats * sizeof *before);
        float *value = kd_trainer_params(r.t)->value;
        for (size_t i = 0; i < floats && !kind; i++) value[i] = NAN; /* as a broken row would have it */
        OK(kd_trainer_step(r.t, &s, ERR));
        if (kind) assert_memory_equal(before, value, floats * sizeof *before);
        memcpy(value, before, floats * sizeof *before);
        printf("# guard %d: loss %g, %s\n", kind, s.loss, s.why);
        assert_true(s.skipped);
        assert_non_null(strstr(s.why, kind ? "times the mean" : "not finite"));
        assert_non_null(strstr(s.why, kind ? "rows 5" : "rows 6"));
        assert_int_equal(kd_trainer_guard(r.t)->skipped, 1);
        assert_int_equal(kd_trainer_guard(r.t)->optimizer_steps, done);
        updates(&r, 1);
        assert_int_equal(kd_trainer_steps(r.t), done + 2);
        kd_free(before);
        end(&r);
    }
}

/* PEFT's patterns: the first that fits counts, keys match the end of a module's name, and what fits nothing is refused. */
static void test_patterns(void **state) {
    (void)state;
    kd_model *m = NULL;
    char path[300];
    OK(kd_model_open(&m, oracle_path(path, sizeof path, "qwen2-tied", ""), ERR));
    const kd_config *c = &m->config;
    const kd_adapter_config ac = {.r = 4, .alpha = 8, .targets = 1u << KD_Q | 1u << KD_DOWN};
    kd_rank *ranks = kd_calloc((size_t)c->L * KD_MATS, sizeof *ranks);
    kd_err e;
    OK(kd_ranks_resolve(ranks, c, &ac, "layers.0.mlp.down_proj=7,down_proj=2", "q_proj=16", ERR));
    assert_int_equal(ranks[KD_DOWN].r, 7);
    assert_int_equal(ranks[KD_MATS + KD_DOWN].r, 2);
    assert_int_equal(ranks[KD_Q].r, 4);
    assert_true(ranks[KD_Q].alpha == 16 && ranks[KD_DOWN].alpha == 8);
    assert_int_equal(kd_ranks_resolve(ranks, c, &ac, "k_proj=2", NULL, &e), KD_EINVAL);
    assert_int_equal(kd_ranks_resolve(ranks, c, &ac, "q_proj=x", NULL, &e), KD_EINVAL);
    assert_int_equal(kd_ranks_resolve(ranks, c, &ac, "q_proj=1.5", NULL, &e), KD_EINVAL);
    /* such an adapter trains at other cuts alike, and becomes what it was */
    OK(kd_ranks_resolve(ranks, c, &ac, "layers.0.mlp.down_proj=7", "q_proj=16", ERR));
    kd_train_options o = options(KD_LORA_METHOD, KD_ADAMW), again;
    o.method.lora.targets = ac.targets;
    o.method.ranks = ranks;
    o.method.embed = true;
    o.recompute = 0;
    again = o;
    again.recompute = 99;
    run a, b;
    start(&a, "qwen2-tied", &o, 1);
    start(&b, "qwen2-tied", &again, 1);
    updates(&a, 3);
    updates(&b, 3);
    kd_params *p = kd_trainer_params(a.t);
    assert_memory_equal(p->value, kd_trainer_params(b.t)->value, p->floats * sizeof(float));
    kd_adapter *made = NULL;
    OK(kd_params_adapter(&made, c, &o.method, ERR));
    OK(kd_params_to_adapter(p, made, ERR));
    assert_int_equal(made->layers[KD_DOWN].r, 7);
    assert_true(made->saved_embed && made->saved_head); /* tied: PEFT takes both */
    assert_memory_equal(made->saved_embed, made->saved_head, (size_t)c->V * c->C * sizeof(float));
    memset(kd_trainer_params(b.t)->value, 0, p->floats * sizeof(float));
    OK(kd_params_from_adapter(kd_trainer_params(b.t), made, ERR));
    assert_memory_equal(p->value, kd_trainer_params(b.t)->value, p->floats * sizeof(float));
    kd_adapter_free(made);
    end(&a);
    end(&b);
    kd_free(ranks);
    kd_model_free(m);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_golden),  cmocka_unit_test(test_8bit),   cmocka_unit_test(test_ema),
                                       cmocka_unit_test(test_learns),  cmocka_unit_test(test_blocks), cmocka_unit_test(test_guards),
                                       cmocka_unit_test(test_patterns)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
