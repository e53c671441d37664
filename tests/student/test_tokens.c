/* Rows of tokens trained beside an adapter, against PEFT in float64 (golden/tokens-*, made by make_tokens_golden.py): log-probabilities of the trainer and of
 * the forward pass of distill/model, gradients, and the adapter's way through its files. */
#include "tests/student/oracle.h"

#include "distill/model/score.h"

#include <stdlib.h>

static const char *const models[] = {"qwen2-tied", "llama-untied-spm"};

typedef struct {
    kd_model *m;
    kd_adapter *a;
    kd_lesson lessons[SEQUENCES];
    kd_json *expect;
    char dir[200], base[200];
} world;

static void open_world(world *w, const char *model) {
    char path[300];
    *w = (world){0};
    snprintf(w->dir, sizeof w->dir, "tests/student/golden/tokens-%s", model);
    OK(kd_model_open(&w->m, oracle_path(w->base, sizeof w->base, model, ""), ERR));
    OK(kd_adapter_open(&w->a, w->dir, &w->m->config, ERR));
    oracle_lessons(w->lessons, model, false);
    kd_buf text = {0};
    snprintf(path, sizeof path, "%s/expect.json", w->dir);
    OK(kd_file_read(&text, path, 1u << 20, ERR));
    OK(kd_json_parse(&w->expect, text.data, text.len, path, ERR));
    kd_buf_clear(&text);
}
static void close_world(world *w) {
    kd_json_free(w->expect);
    oracle_lessons_clear(w->lessons);
    kd_adapter_free(w->a);
    kd_model_free(w->m);
}

static double worst(const double *got, double sign, const kd_json_node *want, size_t n) {
    double off = 0;
    assert_int_equal(kd_json_count(want), n);
    for (const kd_json_node *p = kd_json_first(want); p; p = kd_json_next(p), got++) {
        double d = fabs(sign * *got - kd_json_number(p, 0));
        if (!(d <= off)) off = d;
    }
    return off;
}

static void test_training(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++)
        for (int threads = 1; threads <= 3; threads += 2) {
            world w;
            kd_pool *pool = NULL;
            kd_trainer *t;
            kd_train_plan plan;
            kd_train_report r;
            open_world(&w, models[i]);
            if (threads > 1) OK(kd_pool_new(&pool, threads, ERR));
            kd_train_options o = {.method = {.method = KD_LORA_METHOD, .lora = w.a->config},
                                  .batch_size = SEQUENCES,
                                  .max_steps = 1,
                                  .no_shuffle = true,
                                  .recompute = threads > 1 ? 1 : 0,
                                  .rows = threads > 1 ? 96 : 0,
                                  .memory = (uint64_t)4 << 30};
            assert_true(o.method.lora.tokens > 0);
            OK(kd_train_plan_make(&plan, w.m, w.lessons, SEQUENCES, &o, threads, ERR));
            if (threads > 1) plan.shape.logit_rows = 7;
            OK(kd_trainer_new(&t, w.m, w.lessons, SEQUENCES, &o, &plan, w.a, pool, ERR));
            kd_trainer_gradients(t, &r);
            const double loss = kd_json_number(kd_json_get(kd_json_root(w.expect), "loss"), 0);
            kd_safetensors *f;
            char path[300];
            double off = 0;
            snprintf(path, sizeof path, "%s/grads.safetensors", w.dir);
            OK(kd_safetensors_open(&f, path, ERR));
            const kd_params *p = kd_trainer_params(t);
            assert_int_equal(kd_tensors_count(kd_safetensors_tensors(f)), p->n);
            for (size_t k = 0; k < p->n; k++) {
                double d = oracle_deviation(f, p->at[k].name, p->grad + p->at[k].at, p->at[k].n);
                if (!(d <= off)) off = d;
            }
            kd_safetensors_close(f);
            printf("# %-18s %d threads: gradients %.1e, loss %.1e\n", models[i], threads, off, fabs(r.loss / loss - 1));
            assert_true(off <= 1e-5 && fabs(r.loss / loss - 1) <= 2e-5);
            double got[256];
            uint8_t all[256];
            memset(all, 1, sizeof all);
            kd_lesson one = w.lessons[1];
            one.loss = all;
            kd_trainer_score(t, &one, 1, got);
            assert_true(worst(got, -1, kd_json_get(kd_json_root(w.expect), "logprobs_of_sequence_1"), one.n - 1) <= 3e-5);
            kd_trainer_free(t);
            kd_pool_free(pool);
            close_world(&w);
        }
}

/* The adapter saved and opened again scores as it did, by the forward pass that everybody else uses. */
static void test_forward(void **state) {
    (void)state;
    for (size_t i = 0; i < 2; i++) {
        world w;
        char dir[] = "/tmp/kd-tokens-XXXXXX";
        double got[256];
        open_world(&w, models[i]);
        assert_non_null(mkdtemp(dir));
        for (int again = 0; again < 2; again++) {
            kd_scorer *s;
            OK(kd_scorer_new(&s, w.m, w.a, NULL, NULL, ERR));
            const size_t V = w.m->config.V, n = w.lessons[1].n;
            kd_scorer_begin(s);
            for (size_t at = 0; at + 1 < n; at += kd_scorer_chunk(s)) {
                const size_t rows = n - 1 - at < kd_scorer_chunk(s) ? n - 1 - at : kd_scorer_chunk(s);
                const float *logits;
                OK(kd_scorer_feed(s, w.lessons[1].tokens + at, rows, &logits, ERR));
                for (size_t k = 0; k < rows; k++) {
                    double sum = 0, top = -1e30;
                    for (size_t v = 0; v < V; v++) top = logits[k * V + v] > top ? logits[k * V + v] : top;
                    for (size_t v = 0; v < V; v++) sum += exp(logits[k * V + v] - top);
                    got[at + k] = logits[k * V + (size_t)w.lessons[1].tokens[at + k + 1]] - top - log(sum);
                }
            }
            kd_scorer_free(s);
            const double off = worst(got, 1, kd_json_get(kd_json_root(w.expect), "logprobs_of_sequence_1"), w.lessons[1].n - 1);
            printf("# %-18s forward %.1e\n", models[i], off);
            assert_true(off <= 3e-5);
            if (again) break;
            OK(kd_adapter_save(w.a, dir, &w.m->config, "base", ERR));
            kd_adapter_free(w.a);
            w.a = NULL;
            OK(kd_adapter_open(&w.a, dir, &w.m->config, ERR));
        }
        OK(kd_remove_tree(dir, ERR));
        close_world(&w);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_training), cmocka_unit_test(test_forward)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
