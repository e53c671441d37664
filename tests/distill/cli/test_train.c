/* `distill train` as a user types it, against transformers and PEFT: every method of every oracle model, from the command line to the files. */
#include "tests/student/oracle.h"

#include "distill/base/file.h"

#include <stdlib.h>
#include <unistd.h>

static char work[200];

static void within(const char *model, const char *what, double off, double limit) {
    printf("# %-18s %-24s %.1e of %.0e\n", model, what, off, limit);
    if (!(off <= limit)) fail_msg("%s: %s deviates by %.2e, allowed %.0e", model, what, off, limit);
}

/* losses and gradient norms of RUN/metrics.jsonl against the log of a trajectory */
static void metrics(const char *model, const char *run, const char *dir, const kd_json_node *log) {
    char path[400];
    kd_buf text = {0};
    snprintf(path, sizeof path, "%s/metrics.jsonl", dir);
    OK(kd_file_read(&text, path, 1 << 24, ERR));
    double loss = 0, norm = 0;
    char *line = text.data;
    for (const kd_json_node *l = kd_json_first(log); l; l = kd_json_next(l)) {
        char *end = strchr(line, '\n');
        assert_non_null(end);
        kd_json *doc = NULL;
        OK(kd_json_parse(&doc, line, (size_t)(end - line), path, ERR));
        const kd_json_node *got = kd_json_root(doc);
        double a = fabs(kd_json_number(kd_json_get(got, "loss"), NAN) / kd_json_number(kd_json_get(l, "loss"), 0) - 1);
        double b = fabs(kd_json_number(kd_json_get(got, "grad_norm"), NAN) / kd_json_number(kd_json_get(l, "grad_norm"), 0) - 1);
        if (!(a <= loss)) loss = a;
        if (!(b <= norm)) norm = b;
        assert_true(kd_json_number(kd_json_get(got, "loss_tokens"), 0) == kd_json_number(kd_json_get(l, "loss_tokens"), -1));
        kd_json_free(doc);
        line = end + 1;
    }
    assert_true(*line == 0);
    char what[60];
    snprintf(what, sizeof what, "%s losses", run);
    within(model, what, loss, 2e-5);
    snprintf(what, sizeof what, "%s gradient norms", run);
    within(model, what, norm, 2e-5);
    kd_buf_clear(&text);
}

/* every tensor of the oracle's file against the result's */
static void weights(const char *model, const char *run, const char *got, const char *want, double limit) {
    char path[300], what[60];
    kd_safetensors *g = NULL, *w = NULL;
    OK(kd_safetensors_open(&g, got, ERR));
    OK(kd_safetensors_open(&w, oracle_path(path, sizeof path, model, want), ERR));
    const kd_tensors *set = kd_safetensors_tensors(g);
    assert_int_equal(kd_tensors_count(set), kd_tensors_count(kd_safetensors_tensors(w)));
    double worst = 0;
    for (size_t i = 0; i < kd_tensors_count(set); i++) {
        const kd_tensor *t = kd_tensors_at(set, i);
        assert_int_equal(t->type, KD_F32);
        const size_t n = kd_tensor_elements(t);
        float *v = kd_malloc(n * sizeof *v);
        memcpy(v, t->data, n * sizeof *v);
        double d = oracle_deviation(w, t->name.data, v, n);
        if (!(d <= worst)) worst = d;
        kd_free(v);
    }
    snprintf(what, sizeof what, "%s end weights", run);
    within(model, what, worst, limit);
    kd_safetensors_close(g);
    kd_safetensors_close(w);
}

static void train(const char *model, const char *run, const char *flags, const char *end, double limit) {
    char command[1600], dir[300], path[400], m[300];
    kd_json *doc = oracle_json(model, "trajectories.json");
    const kd_json_node *node = kd_json_get(kd_json_root(doc), run), *s = kd_json_get(node, "settings");
    const double beta1 = kd_json_number(kd_json_get(s, "beta1"), 0.9), beta2 = kd_json_number(kd_json_get(s, "beta2"), 0.999);
    snprintf(dir, sizeof dir, "%s/%s-%s", work, model, run);
    oracle_path(m, sizeof m, model, "");
    snprintf(command, sizeof command,
             "%s/distill train %s/sequences.jsonl --model %s -o %s %s --no-shuffle --schedule constant --optimizer %s --learning-rate "
             "%.17g --batch-size %d "
             "--max-steps %d --clip-norm %.17g --weight-decay %.17g --beta1 %.17g --beta2 %.17g -q >%s/log 2>&1",
             getenv("KD_BUILD") ? getenv("KD_BUILD") : "build/release", m, m, dir, flags, kd_json_string(kd_json_get(s, "optimizer")).data,
             kd_json_number(kd_json_get(s, "learning_rate"), 0), (int)kd_json_number(kd_json_get(s, "batch_size"), 0),
             (int)kd_json_number(kd_json_get(s, "steps"), 0), kd_json_number(kd_json_get(s, "clip_norm"), 0),
             kd_json_number(kd_json_get(s, "weight_decay"), 0), beta1, beta2, work);
    if (system(command) != 0) {
        kd_buf log = {0};
        snprintf(path, sizeof path, "%s/log", work);
        (void)kd_file_read(&log, path, 1 << 20, NULL);
        fail_msg("%s\n%s", command, log.data ? log.data : "");
    }
    metrics(model, run, dir, kd_json_get(node, "log"));
    const bool full = strstr(flags, "full") != NULL;
    snprintf(path, sizeof path, "%s/%s", dir, full ? "model/model.safetensors" : "adapter/adapter_model.safetensors");
    weights(model, run, path, end, limit);
    kd_json_free(doc);
}

static void test_methods(void **state) {
    (void)state;
    for (int i = 0; i < ORACLES; i++) {
        char flags[400], start[300];
        const char *model = oracle_names[i];
        train(model, "full-sgd", "--method full", "full-sgd.safetensors", 2e-5);
        train(model, "full-adamw", "--method full --threads 2", "full-adamw.safetensors", 2e-4);
        snprintf(flags, sizeof flags, "--adapter %s --method lora --lora-rank 4 --lora-alpha 8",
                 oracle_path(start, sizeof start, model, "lora-start"));
        train(model, "lora", flags, "lora-end/adapter_model.safetensors", 2e-4);
        snprintf(flags, sizeof flags, "--adapter %s --rslora --rows 100", oracle_path(start, sizeof start, model, "rslora-start"));
        train(model, "rslora", flags, "rslora-end/adapter_model.safetensors", 2e-4);
        snprintf(flags, sizeof flags, "--adapter %s --method dora --recompute 2", oracle_path(start, sizeof start, model, "dora-start"));
        train(model, "dora", flags, "dora-end/adapter_model.safetensors", 2e-4);
    }
}

int main(void) {
    const char *tmp = getenv("TMPDIR");
    snprintf(work, sizeof work, "%s/kd-train-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(work)) return 1;
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_methods)};
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)kd_remove_tree(work, NULL);
    return failed;
}
