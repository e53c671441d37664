/* The trainer against transformers and PEFT in float64 (tests/oracle): log-probabilities, gradients, whole trajectories of full SGD and AdamW, LoRA,
 * rsLoRA and DoRA, of all four models; then the same numbers under every way of cutting the work. Worst deviations are printed. */
#include "tests/student/oracle.h"

typedef struct {
    int threads, recompute; /* recompute -1: the plan's */
    size_t rows, logit_rows;
    const char *cpu;
} setting;
static const setting plain = {1, 0, 0, 0, NULL};

typedef struct {
    kd_model *m;
    kd_lesson lessons[SEQUENCES];
    kd_pool *pool;
    kd_adapter *start;
    kd_trainer *t;
    kd_train_options o;
} world;

static const double no_number = -1;
static double number(const kd_json_node *n, const char *key) { return kd_json_number(kd_json_get(n, key), no_number); }

/* Options as trajectories.json says them; run NULL: full, all eight sequences in one update. */
static kd_train_options options_of(const kd_json_node *run) {
    kd_train_options o = {.method = {.method = KD_FULL},
                          .batch_size = SEQUENCES,
                          .max_steps = 1,
                          .no_shuffle = true,
                          .recompute = -1,
                          .memory = (uint64_t)4 << 30};
    if (!run) return o;
    const kd_json_node *s = kd_json_get(run, "settings");
    kd_str method = kd_json_string(kd_json_get(s, "method")), optimizer = kd_json_string(kd_json_get(s, "optimizer"));
    o.batch_size = (size_t)number(s, "batch_size");
    o.max_steps = (uint64_t)number(s, "steps");
    o.learning_rate = number(s, "learning_rate");
    o.clip_norm = number(s, "clip_norm");
    assert_true(kd_optimizer_named(optimizer.data, &o.optimizer.kind));
    o.optimizer.decay = (float)number(s, "weight_decay");
    if (o.optimizer.kind == KD_ADAMW) {
        o.optimizer.beta1 = (float)number(s, "beta1");
        o.optimizer.beta2 = (float)number(s, "beta2");
        o.optimizer.eps = (float)number(s, "epsilon");
    }
    if (!kd_str_is(method, "full")) {
        o.method.method = KD_LORA_METHOD;
        o.method.lora = (kd_adapter_config){.r = (uint32_t)number(s, "rank"),
                                            .alpha = (float)number(s, "alpha"),
                                            .rslora = kd_json_bool(kd_json_get(s, "rslora"), false),
                                            .dora = kd_str_is(method, "dora"),
                                            .targets = (1u << KD_MATS) - 1};
    }
    return o;
}

static void open_world(world *w, const char *model, kd_train_options o, const char *start, const setting *s, bool all_loss) {
    char path[300];
    *w = (world){.o = o};
    kd_cpu_cap(s->cpu);
    w->o.rows = s->rows;
    w->o.recompute = s->recompute;
    OK(kd_model_open(&w->m, oracle_path(path, sizeof path, model, ""), ERR));
    if (s->threads > 1) OK(kd_pool_new(&w->pool, s->threads, ERR));
    oracle_lessons(w->lessons, model, all_loss);
    if (start) OK(kd_adapter_open(&w->start, oracle_path(path, sizeof path, model, start), &w->m->config, ERR));
    kd_train_plan plan;
    OK(kd_train_plan_make(&plan, w->m, w->lessons, SEQUENCES, &w->o, s->threads, ERR));
    plan.shape.logit_rows = s->logit_rows;
    OK(kd_trainer_new(&w->t, w->m, w->lessons, SEQUENCES, &w->o, &plan, w->start, w->pool, ERR));
}
static void close_world(world *w) {
    kd_trainer_free(w->t);
    kd_adapter_free(w->start);
    oracle_lessons_clear(w->lessons);
    kd_pool_free(w->pool);
    kd_model_free(w->m);
    kd_cpu_cap(NULL);
}

static void within(const char *model, const char *what, double off, double limit) {
    printf("# %-18s %-28s %.1e of %.0e\n", model, what, off, limit);
    if (!(off <= limit)) fail_msg("%s: %s deviates by %.2e, allowed %.0e", model, what, off, limit);
}

static double worst_logprob(const double *loss, const kd_json_node *want) {
    double worst = 0;
    for (const kd_json_node *p = kd_json_first(want); p; p = kd_json_next(p), loss++) {
        double d = fabs(-*loss - kd_json_number(p, 0));
        if (!(d <= worst)) worst = d;
    }
    return worst;
}

static void test_logprobs(void **state) {
    (void)state;
    for (int i = 0; i < ORACLES; i++) {
        world w;
        open_world(&w, oracle_names[i], options_of(NULL), NULL, &plain, true);
        kd_json *expect = oracle_json(oracle_names[i], "expect.json");
        double worst = 0, *loss = kd_calloc(1024, sizeof *loss);
        const kd_json_node *row = kd_json_first(kd_json_get(kd_json_root(expect), "logprobs"));
        for (size_t k = 0; k < SEQUENCES; k++, row = kd_json_next(row)) {
            assert_int_equal(kd_json_count(row), w.lessons[k].n - 1);
            kd_trainer_score(w.t, &w.lessons[k], 1, loss);
            double d = worst_logprob(loss, row);
            if (!(d <= worst)) worst = d;
        }
        within(oracle_names[i], "log-probabilities (nats)", worst, 3e-5);
        kd_free(loss);
        kd_json_free(expect);
        close_world(&w);
    }
}

static void test_gradients(void **state) {
    (void)state;
    for (int i = 0; i < ORACLES; i++) {
        world w;
        kd_train_report r;
        open_world(&w, oracle_names[i], options_of(NULL), NULL, &plain, false);
        kd_json *expect = oracle_json(oracle_names[i], "expect.json");
        kd_trainer_gradients(w.t, &r);
        assert_int_equal(r.loss_tokens, (size_t)number(kd_json_root(expect), "loss_tokens"));
        within(oracle_names[i], "mean loss", fabs(r.loss / number(kd_json_root(expect), "loss") - 1), 2e-5);
        within(oracle_names[i], "gradients",
               oracle_worst(kd_trainer_params(w.t), kd_trainer_params(w.t)->grad, oracle_names[i], "grads.safetensors"), 1e-5);
        kd_json_free(expect);
        close_world(&w);
    }
}

/* One trajectory of trajectories.json under one setting. */
static void follow(const char *model, const char *run, const char *start, const char *end, double end_limit, const setting *s,
                   const char *label) {
    kd_json *doc = oracle_json(model, "trajectories.json");
    const kd_json_node *node = kd_json_get(kd_json_root(doc), run);
    world w;
    open_world(&w, model, options_of(node), start, s, false);
    double loss = 0, norm = 0;
    for (const kd_json_node *l = kd_json_first(kd_json_get(node, "log")); l; l = kd_json_next(l)) {
        kd_train_report r;
        OK(kd_trainer_step(w.t, &r, ERR));
        assert_int_equal(r.loss_tokens, (size_t)number(l, "loss_tokens"));
        double a = fabs(r.loss / number(l, "loss") - 1), b = fabs(r.grad_norm / number(l, "grad_norm") - 1);
        if (!(a <= loss)) loss = a;
        if (!(b <= norm)) norm = b;
    }
    char what[100];
    snprintf(what, sizeof what, "%s%s losses", run, label);
    within(model, what, loss, 2e-5);
    snprintf(what, sizeof what, "%s%s gradient norms", run, label);
    within(model, what, norm, 2e-5);
    snprintf(what, sizeof what, "%s%s end weights", run, label);
    within(model, what, oracle_worst(kd_trainer_params(w.t), kd_trainer_params(w.t)->value, model, end), end_limit);
    const kd_json_node *at_end = kd_json_get(node, "logprobs_of_sequence_1_at_end");
    if (at_end) {
        double got[256];
        kd_lesson one = w.lessons[1];
        uint8_t all[256];
        memset(all, 1, sizeof all);
        one.loss = all;
        kd_trainer_score(w.t, &one, 1, got);
        snprintf(what, sizeof what, "%s%s log-probabilities", run, label);
        within(model, what, worst_logprob(got, at_end), 3e-5);
    }
    close_world(&w);
    kd_json_free(doc);
}

static void follow_all(const char *run, const char *start, const char *end, double end_limit) {
    for (int i = 0; i < ORACLES; i++) follow(oracle_names[i], run, start, end, end_limit, &plain, "");
}
static void test_full_sgd(void **state) {
    (void)state;
    follow_all("full-sgd", NULL, "full-sgd.safetensors", 2e-5);
}
static void test_full_adamw(void **state) {
    (void)state;
    follow_all("full-adamw", NULL, "full-adamw.safetensors", 2e-4);
}
static void test_lora(void **state) {
    (void)state;
    follow_all("lora", "lora-start", "lora-end", 2e-4);
}
static void test_rslora(void **state) {
    (void)state;
    follow_all("rslora", "rslora-start", "rslora-end", 2e-4);
}
static void test_dora(void **state) {
    (void)state;
    follow_all("dora", "dora-start", "dora-end", 2e-4);
}

/* Every method of every model, at other threads, cuts, recomputation and instruction sets. */
static void test_settings(void **state) {
    (void)state;
    const setting sweep[] = {{2, 0, 0, 0, NULL}, {2, 2, 96, 0, NULL}, {3, 99, 100, 7, "avx2"}, {1, 1, 128, 33, "scalar"}};
    for (size_t s = 0; s < sizeof sweep / sizeof *sweep; s++)
        for (int i = 0; i < ORACLES; i++) {
            char label[40];
            snprintf(label, sizeof label, " [%d thr, %d rec, %zu rows]", sweep[s].threads, sweep[s].recompute, sweep[s].rows);
            follow(oracle_names[i], "full-adamw", NULL, "full-adamw.safetensors", 2e-4, &sweep[s], label);
            follow(oracle_names[i], "rslora", "rslora-start", "rslora-end", 2e-4, &sweep[s], label);
            follow(oracle_names[i], "dora", "dora-start", "dora-end", 2e-4, &sweep[s], label);
        }
}

static float *gradients(const char *model, kd_train_options o, const char *start, const setting *s, size_t *floats) {
    world w;
    kd_train_report r;
    open_world(&w, model, o, start, s, false);
    kd_trainer_gradients(w.t, &r);
    *floats = kd_trainer_params(w.t)->floats;
    float *g = kd_malloc(*floats * sizeof *g);
    memcpy(g, kd_trainer_params(w.t)->grad, *floats * sizeof *g);
    close_world(&w);
    return g;
}
/* Threads and recomputation leave every bit of the gradient; other cuts leave it within 5e-6 of its norm. */
static void test_bits(void **state) {
    (void)state;
    const char *runs[] = {"full-adamw", "lora", "dora"}, *starts[] = {NULL, "lora-start", "dora-start"};
    for (int i = 0; i < ORACLES; i++)
        for (int k = 0; k < 3; k++) {
            kd_json *doc = oracle_json(oracle_names[i], "trajectories.json");
            kd_train_options o = options_of(kd_json_get(kd_json_root(doc), runs[k]));
            o.batch_size = SEQUENCES;
            if (k == 2) o.method.lora.dropout = 0.3f; /* its numbers follow the row, not the cut */
            const setting same[] = {{2, 0, 0, 0, NULL}, {3, 2, 0, 0, NULL}, {1, 99, 0, 0, NULL}};
            const setting cut[] = {{1, 0, 90, 0, NULL}, {2, 1, 200, 16, NULL}};
            size_t n;
            float *want = gradients(oracle_names[i], o, starts[k], &plain, &n);
            for (size_t s = 0; s < sizeof same / sizeof *same; s++) {
                float *g = gradients(oracle_names[i], o, starts[k], &same[s], &n);
                assert_memory_equal(want, g, n * sizeof *g);
                kd_free(g);
            }
            for (size_t s = 0; s < sizeof cut / sizeof *cut; s++) {
                float *g = gradients(oracle_names[i], o, starts[k], &cut[s], &n);
                double off = 0, norm = 0;
                for (size_t j = 0; j < n; j++) {
                    off += ((double)g[j] - (double)want[j]) * ((double)g[j] - (double)want[j]);
                    norm += (double)want[j] * (double)want[j];
                }
                assert_true(sqrt(off) <= 5e-6 * sqrt(norm));
                kd_free(g);
            }
            kd_free(want);
            kd_json_free(doc);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_logprobs),   cmocka_unit_test(test_gradients), cmocka_unit_test(test_full_sgd),
                                       cmocka_unit_test(test_full_adamw), cmocka_unit_test(test_lora),      cmocka_unit_test(test_rslora),
                                       cmocka_unit_test(test_dora),       cmocka_unit_test(test_settings),  cmocka_unit_test(test_bits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
