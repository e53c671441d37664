/* Every gradient of the trainer against central differences, in float64, of a loss written from the formulas (reference.h): each method, objective and
 * thing trained, one random direction through each array. */
#include "distill/base/rng.h"
#include "distill/math/ops.h"
#include "tests/student/reference.h"

enum { LESSONS = 3, TOKENS = 14 };

typedef struct {
    const char *name, *model;
    kd_train_method method;
    kd_ce ce;
    bool weights;
} kase;

/* Values that nothing is special about: adapters are not zero, magnitudes are not the norms. */
static void shake(kd_params *p) {
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        kd_rng r = {.key = 11, .stream = i};
        for (size_t k = 0; k < q->n; k++) {
            float *v = p->value + q->at + k;
            const float noise = (float)kd_rng_normal(&r);
            if (q->part == 'M')
                *v *= 1 + 0.1f * noise;
            else
                *v += 0.1f * noise;
        }
    }
}

/* Worst deviation of the derivative along one direction of each array, in units of the gradient's norm. */
static double worst_direction(reference *f, const kd_params *p, const char **where) {
    double worst = 0;
    for (size_t i = 0; i < p->n; i++) {
        const kd_param *q = &p->at[i];
        const float *g = kd_param_grad(p, q);
        if (!g) continue; /* not its turn */
        double *v = kd_malloc(q->n * sizeof *v), along = 0, norm = 0, length = 0;
        kd_rng r = {.key = 5, .stream = i};
        for (size_t k = 0; k < q->n; k++) {
            v[k] = kd_rng_normal(&r);
            length += v[k] * v[k];
        }
        const double h = 1e-4 / sqrt(length);
        for (size_t k = 0; k < q->n; k++) {
            along += (double)g[k] * v[k];
            norm += (double)g[k] * (double)g[k];
        }
        double side[2];
        for (int s = 0; s < 2; s++) {
            for (size_t k = 0; k < q->n; k++) f->theta[q->at + k] = (double)p->value[q->at + k] + (s ? -h : h) * v[k];
            side[s] = ref_loss(f);
        }
        for (size_t k = 0; k < q->n; k++) f->theta[q->at + k] = (double)p->value[q->at + k];
        const double off = fabs((side[0] - side[1]) / (2 * h) - along) / sqrt(norm);
        assert_true(norm > 0);
        if (!(off <= worst)) {
            worst = off;
            *where = q->name;
        }
        kd_free(v);
    }
    return worst;
}

static void check(const kase *t) {
    char path[300];
    kd_model *m;
    kd_lesson all[SEQUENCES];
    kd_trainer *tr;
    kd_train_plan plan;
    kd_train_report report;
    OK(kd_model_open(&m, oracle_path(path, sizeof path, t->model, ""), ERR));
    oracle_lessons(all, t->model, false);
    for (size_t i = 0; i < LESSONS; i++) {
        if (all[i].n > TOKENS + i) all[i].n = TOKENS + i;
        for (size_t k = 0; k < all[i].n; k++) all[i].loss[k] = k == 3 || k > 6; /* the last layer skips some rows */
        if (t->weights) all[i].weight = 0.5f + (float)i;
        if (t->method.lora.tokens) all[i].tokens[2] = (int32_t)t->method.lora.first_token + (int32_t)(i % 2);
    }
    kd_train_options o = {.method = t->method, .batch_size = LESSONS, .max_steps = 1, .no_shuffle = true, .seed = 3, .objective = t->ce};
    o.recompute = 1;
    o.rows = 2 * TOKENS + 1; /* two micro-batches */
    o.memory = (uint64_t)1 << 30;
    OK(kd_train_plan_make(&plan, m, all, LESSONS, &o, 1, ERR));
    plan.shape.logit_rows = 5;
    OK(kd_trainer_new(&tr, m, all, LESSONS, &o, &plan, NULL, NULL, ERR));
    kd_params *p = kd_trainer_params(tr);
    shake(p);
    kd_trainer_resume(tr, 0, &(kd_train_guard){0}); /* DoRA's norms anew */
    kd_trainer_gradients(tr, &report);
    reference f = {.m = m, .method = &t->method, .p = p, .ce = t->ce, .seed = 3, .lessons = all, .n = LESSONS};
    const size_t D2 = m->config.D / 2, positions = 2 * TOKENS;
    float *inv = kd_malloc(D2 * sizeof *inv), scale;
    f.cos_ = kd_malloc(positions * D2 * sizeof *f.cos_);
    f.sin_ = kd_malloc(positions * D2 * sizeof *f.sin_);
    kd_config_inv_freq(&m->config, inv, &scale);
    kd_rope_table(f.cos_, f.sin_, positions, inv, m->config.D, scale);
    f.theta = kd_malloc(p->floats * sizeof *f.theta);
    for (size_t i = 0; i < p->floats; i++) f.theta[i] = (double)p->value[i];
    const double loss = fabs(report.loss / ref_loss(&f) - 1);
    const char *where = "";
    const double off = worst_direction(&f, p, &where);
    printf("# %-34s %-18s loss %.1e of 5e-06, derivative %.1e of 2e-05 (%s)\n", t->name, t->model, loss, off, where);
    if (!(loss <= 5e-6)) fail_msg("%s: loss off by %.1e", t->name, loss);
    if (!(off <= 2e-5)) fail_msg("%s: %s: derivative off by %.1e of the gradient's norm", t->name, where, off);
    ref_clear(&f);
    kd_free(inv);
    kd_trainer_free(tr);
    oracle_lessons_clear(all);
    kd_model_free(m);
}

/* Ranks of 3 on every linear layer; more is set by the caller. */
static kase lora(const char *name, const char *model) {
    return (kase){name, model, {.method = KD_LORA_METHOD, .lora = {.r = 3, .alpha = 5, .targets = (1u << KD_MATS) - 1}}, {0}, false};
}
static void test_methods(void **state) {
    (void)state;
    const kase cases[] = {
        {"full", "llama-tied-rope3", {.method = KD_FULL}, {0}, false},
        {"full", "qwen3-untied", {.method = KD_FULL}, {0}, false},
        {"full, one layer at a time", "qwen2-tied", {.method = KD_FULL, .interval = 1}, {0}, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i]);
    kase plain = lora("LoRA", "llama-untied-spm"), some = lora("LoRA of four modules", "qwen2-tied"),
         rs = lora("rsLoRA, dropout", "qwen3-untied");
    kase dora = lora("DoRA", "qwen2-tied"), dropped = lora("DoRA, dropout", "llama-untied-spm");
    some.method.lora.targets = 0x2b;
    rs.method.lora.rslora = dora.method.lora.dora = dropped.method.lora.dora = true;
    rs.method.lora.dropout = dropped.method.lora.dropout = 0.2f;
    const kase *more[] = {&plain, &some, &rs, &dora, &dropped};
    for (size_t i = 0; i < sizeof more / sizeof *more; i++) check(more[i]);
}

static void test_objectives(void **state) {
    (void)state;
    const kase cases[] = {
        {"label smoothing", "qwen3-untied", {.method = KD_FULL}, {.smoothing = 0.1f}, false},
        {"z-loss", "llama-tied-rope3", {.method = KD_FULL}, {.zloss = 0.01f}, false},
        {"weights of rows", "llama-untied-spm", {.method = KD_FULL}, {0}, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(&cases[i]);
    kase both = lora("DoRA, both, weights of rows", "qwen2-tied");
    both.method.lora.dora = both.weights = true;
    both.ce = (kd_ce){.smoothing = 0.2f, .zloss = 0.02f};
    check(&both);
}

/* Embedding and head trained whole or in part beside an adapter, of tied and of untied models; ranks by module. */
static void test_beside(void **state) {
    (void)state;
    kd_rank ranks[3 * KD_MATS];
    for (size_t i = 0; i < 3 * KD_MATS; i++) ranks[i] = (kd_rank){1 + (uint32_t)(i % 4), 2 + (float)(i % 3)};
    kase tied = lora("LoRA, embedding that is the head", "qwen2-tied"), untied = lora("LoRA, embedding and head", "qwen3-untied");
    kase few = lora("LoRA, rows of tokens, tied", "llama-tied-rope3"), many = lora("LoRA, rows of tokens, untied", "llama-untied-spm");
    kase own = lora("LoRA, ranks by module", "qwen3-untied");
    tied.method.embed = tied.method.head = untied.method.embed = untied.method.head = untied.weights = true;
    few.method.lora.first_token = many.method.lora.first_token = 300;
    few.method.lora.tokens = many.method.lora.tokens = 4;
    own.method.ranks = ranks;
    const kase *cases[] = {&tied, &untied, &few, &many, &own};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) check(cases[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods), cmocka_unit_test(test_objectives), cmocka_unit_test(test_beside)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
