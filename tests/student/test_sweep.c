/* Packing, micro-batch, chunk of logits, recomputation and threads, every one with every other, for every method and every optimizer: threads and
 * recomputation leave every bit of losses, gradients and weights; another cut of the rows moves a gradient by at most 5e-6 of its norm. */
#include "tests/student/oracle.h"

typedef struct {
    const char *name, *model;
    kd_train_method method;
    kd_optimizer_options optimizer;
    kd_ce ce;
} kase;

/* rows: of a micro-batch at most; 60 holds one sequence, 4096 all eight. */
static const size_t rows_of[] = {60, 130, 4096}, chunk_of[] = {5, 64, 0};
static const int recompute_of[] = {0, 1, 99}, threads_of[] = {1, 2, 3};
enum { STEPS = 2, LEVELS = 3 };

typedef struct {
    float *grad, *value;
    double loss[STEPS];
    size_t n, values;
} outcome;

static kd_model *model;
static kd_lesson lessons[SEQUENCES];

static outcome train(const kase *k, size_t rows, size_t chunk, int recompute, int threads, kd_pool *pool) {
    outcome r = {0};
    kd_trainer *t;
    kd_train_plan plan;
    kd_train_report report;
    kd_train_options o = {.method = k->method, .optimizer = k->optimizer, .objective = k->ce, .batch_size = SEQUENCES, .max_steps = STEPS};
    o.learning_rate = 1e-3, o.clip_norm = 1, o.seed = 4;
    o.rows = rows, o.recompute = recompute, o.memory = (uint64_t)2 << 30;
    OK(kd_train_plan_make(&plan, model, lessons, SEQUENCES, &o, threads, ERR));
    plan.shape.logit_rows = chunk;
    OK(kd_trainer_new(&t, model, lessons, SEQUENCES, &o, &plan, NULL, threads > 1 ? pool : NULL, ERR));
    for (int s = 0; s < STEPS; s++) {
        OK(kd_trainer_step(t, &report, ERR));
        r.loss[s] = report.loss;
    }
    kd_trainer_gradients(t, &report);
    const kd_params *p = kd_trainer_params(t);
    r.n = p->grads, r.values = p->floats;
    r.grad = kd_malloc(r.n * sizeof *r.grad);
    r.value = kd_malloc(r.values * sizeof *r.value);
    memcpy(r.grad, p->grad, r.n * sizeof *r.grad);
    memcpy(r.value, p->value, r.values * sizeof *r.value);
    kd_trainer_free(t);
    return r;
}
static void forget(outcome *r) { kd_free(r->grad), kd_free(r->value); }

static double off(const float *a, const float *b, size_t n) {
    double d = 0, norm = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
        norm += (double)b[i] * (double)b[i];
    }
    return norm > 0 ? sqrt(d / norm) : sqrt(d);
}

static void sweep(const kase *k) {
    kd_pool *pool[4] = {NULL};
    char path[300];
    OK(kd_model_open(&model, oracle_path(path, sizeof path, k->model, ""), ERR));
    oracle_lessons(lessons, k->model, false);
    for (int t = 2; t <= 3; t++) OK(kd_pool_new(&pool[t], t, ERR));
    outcome first = {0};
    double loss = 0, grad = 0;
    int same = 0, cuts = 0;
    for (int r = 0; r < LEVELS; r++)
        for (int c = 0; c < LEVELS; c++) {
            outcome cut = {0};
            for (int a = 0; a < LEVELS; a++)
                for (int t = 0; t < LEVELS; t++) {
                    if ((r + c + a + t) % 2 && (a || t))
                        continue; /* of every pair of settings each combination, of all four every second */
                    outcome got = train(k, rows_of[r], chunk_of[c], recompute_of[a], threads_of[t], pool[threads_of[t]]);
                    if (!cut.grad) {
                        cut = got;
                        continue;
                    }
                    assert_memory_equal(cut.loss, got.loss, sizeof got.loss);
                    assert_memory_equal(cut.grad, got.grad, got.n * sizeof *got.grad);
                    assert_memory_equal(cut.value, got.value, got.values * sizeof *got.value);
                    same++;
                    forget(&got);
                }
            if (first.grad) {
                for (int s = 0; s < STEPS; s++) loss = fmax(loss, fabs(cut.loss[s] / first.loss[s] - 1));
                grad = fmax(grad, off(cut.grad, first.grad, cut.n));
                cuts++;
                forget(&cut);
            } else {
                first = cut;
            }
        }
    printf("# %-24s %-18s %d runs equal to the bit; over %d cuts losses %.1e of 2e-06, gradients %.1e of 5e-06\n", k->name, k->model, same,
           cuts, loss, grad);
    if (!(loss <= 2e-6)) fail_msg("%s: losses move by %.1e", k->name, loss);
    if (!(grad <= 5e-6)) fail_msg("%s: gradients move by %.1e of their norm", k->name, grad);
    forget(&first);
    for (int t = 2; t <= 3; t++) kd_pool_free(pool[t]);
    oracle_lessons_clear(lessons);
    kd_model_free(model);
}

static kase method(const char *name, const char *of) {
    kase k = {.name = name, .model = of, .optimizer = {.kind = KD_SGD}};
    k.method = (kd_train_method){.method = KD_LORA_METHOD, .lora = {.r = 3, .alpha = 6, .targets = (1u << KD_MATS) - 1}};
    return k;
}
/* SGD, so that what the cut moved in one gradient stays as small in the next weights. */
static void test_methods(void **state) {
    (void)state;
    kase full = method("full", "qwen3-untied"), badam = method("layers in turn", "qwen2-tied"), lora = method("LoRA", "llama-tied-rope3");
    kase rs = method("rsLoRA, dropout", "qwen2-tied"), dora = method("DoRA", "llama-untied-spm"),
         both = method("DoRA, dropout, z-loss", "qwen3-untied");
    kase tokens = method("LoRA, rows of tokens", "llama-untied-spm"), head = method("LoRA, embedding, head", "qwen2-tied");
    full.method = badam.method = (kd_train_method){.method = KD_FULL};
    badam.method.interval = 2;
    rs.method.lora.rslora = dora.method.lora.dora = both.method.lora.dora = true;
    rs.method.lora.dropout = both.method.lora.dropout = 0.25f;
    both.ce = (kd_ce){.smoothing = 0.1f, .zloss = 0.01f};
    tokens.method.lora.first_token = 300, tokens.method.lora.tokens = 6;
    head.method.embed = head.method.head = true;
    const kase *all[] = {&full, &badam, &lora, &rs, &dora, &both, &tokens, &head};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) sweep(all[i]);
}

/* Adaptive steps divide by what a gradient is used to be: epsilon keeps elements that are nothing but rounding from deciding. */
static void test_optimizers(void **state) {
    (void)state;
    for (int o = 0; o < KD_OPTIMIZERS; o++)
        for (int full = 0; full < 2; full++) {
            char name[60];
            snprintf(name, sizeof name, "%s, %s", kd_optimizer_name((kd_optimizer_kind)o), full ? "full" : "LoRA");
            kase k = method(name, full ? "qwen2-tied" : "qwen3-untied");
            if (full) k.method = (kd_train_method){.method = KD_FULL};
            k.optimizer = (kd_optimizer_options){
                .kind = (kd_optimizer_kind)o, .beta1 = 0.9f, .beta2 = 0.99f, .eps = 1e-3f, .decay = 0.01f, .ema = 0.9f};
            sweep(&k);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods), cmocka_unit_test(test_optimizers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
