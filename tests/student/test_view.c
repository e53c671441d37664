/* A model in the midst of training, seen by the forward pass of distill/model: the same log-probabilities as the trainer's own, for all weights and for adapters. */
#include "tests/student/oracle.h"

#include "distill/model/score.h"
#include "student/view.h"

static double worst_difference(kd_trainer *t, const kd_model *m, const kd_train_method *method, const kd_lesson *l) {
    kd_view v;
    kd_scorer *s;
    double want[256], worst = 0;
    uint8_t all[256];
    const size_t V = m->config.V;
    memset(all, 1, sizeof all);
    kd_lesson one = *l;
    one.loss = all;
    kd_trainer_score(t, &one, 1, want);
    OK(kd_view_make(&v, t, m, method, ERR));
    OK(kd_scorer_new(&s, &v.model, v.adapter, NULL, NULL, ERR));
    kd_scorer_begin(s);
    for (size_t at = 0; at + 1 < l->n; at += kd_scorer_chunk(s)) {
        const size_t rows = l->n - 1 - at < kd_scorer_chunk(s) ? l->n - 1 - at : kd_scorer_chunk(s);
        const float *logits;
        OK(kd_scorer_feed(s, l->tokens + at, rows, &logits, ERR));
        for (size_t k = 0; k < rows; k++) {
            double sum = 0, top = -1e30;
            for (size_t i = 0; i < V; i++) top = logits[k * V + i] > top ? logits[k * V + i] : top;
            for (size_t i = 0; i < V; i++) sum += exp(logits[k * V + i] - top);
            const double d = fabs(logits[k * V + (size_t)l->tokens[at + k + 1]] - top - log(sum) + want[at + k]);
            if (!(d <= worst)) worst = d;
        }
    }
    kd_scorer_free(s);
    kd_view_clear(&v);
    return worst;
}

static void follow(const char *model, kd_train_method method) {
    kd_model *m;
    kd_trainer *t;
    kd_train_plan plan;
    kd_train_report r;
    kd_lesson lessons[SEQUENCES];
    char path[300];
    const kd_train_options o = {.method = method,
                                .optimizer = {.kind = KD_SGD},
                                .learning_rate = 0.5,
                                .clip_norm = 1,
                                .batch_size = 4,
                                .max_steps = 3,
                                .recompute = -1,
                                .memory = (uint64_t)4 << 30};
    OK(kd_model_open(&m, oracle_path(path, sizeof path, model, ""), ERR));
    oracle_lessons(lessons, model, false);
    OK(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, ERR));
    OK(kd_trainer_new(&t, m, lessons, SEQUENCES, &o, &plan, NULL, NULL, ERR));
    for (int i = 0; i < 3; i++) OK(kd_trainer_step(t, &r, ERR));
    const double off = worst_difference(t, m, &o.method, &lessons[1]);
    printf("# %-18s %s: %.1e nats\n", model, method.method == KD_FULL ? "full" : method.lora.dora ? "dora" : "lora", off);
    assert_true(off <= 3e-5);
    kd_trainer_free(t);
    oracle_lessons_clear(lessons);
    kd_model_free(m);
}

static void test_views(void **state) {
    (void)state;
    for (int i = 0; i < ORACLES; i++) {
        follow(oracle_names[i], (kd_train_method){.method = KD_FULL});
        follow(oracle_names[i], (kd_train_method){.method = KD_LORA_METHOD, .lora = {.r = 3, .alpha = 6, .targets = (1u << KD_MATS) - 1}});
        follow(oracle_names[i],
               (kd_train_method){.method = KD_LORA_METHOD, .lora = {.r = 3, .alpha = 6, .dora = true, .targets = (1u << KD_MATS) - 1}});
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_views)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
