/* Evaluation: interval and test values against closed forms and an independent computation (numbers noted beside them), grouping by question,
 * consensus, incomplete questions; and the word problems: the same everywhere, disjoint, their answers right. */
#include "datasets/evaluate.h"
#include "datasets/import.h"
#include "datasets/label.h"
#include "datasets/problems.h"
#include "distill/base/file.h"
#include "distill/base/gz.h"
#include "distill/base/json.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define OK(call)                                                                                                                           \
    do {                                                                                                                                   \
        kd_err *const e = &err;                                                                                                            \
        if ((call) != KD_OK) fail_msg("%s: %s", #call, e->msg);                                                                            \
    } while (0)
static kd_err err;

static void near(double a, double b, double tol) {
    if (!(fabs(a - b) <= tol)) fail_msg("%.9g is not %.9g", a, b);
}

static void wilson(void **state) {
    double ci[2];
    (void)state;
    kd_wilson(0.5, 100, ci); /* statsmodels proportion_confint(50, 100, method='wilson') */
    near(ci[0], 0.4038315, 1e-6);
    near(ci[1], 0.5961685, 1e-6);
    kd_wilson(0, 20, ci);
    near(ci[0], 0, 1e-12);
    near(ci[1], 0.1611252, 1e-6);
}

/* A study of questions with gold answers and given answers: rows[i] = answers of question i, parted by '|'. */
static kd_study *study_of(const char *path, const char *const *rows, size_t n, int64_t *settings) {
    kd_study *s;
    kd_work *w;
    kd_buf f = {0};
    char file[256];
    kd_work_item items[64];
    size_t got = 0;
    unlink(path);
    snprintf(file, sizeof file, "%s.jsonl", path);
    for (size_t i = 0; i < n; i++) assert_int_equal(kd_buf_printf(&f, "{\"question\":\"q%zu\",\"answer\":\"%zu\"}\n", i, i), KD_OK);
    OK(kd_file_write(file, f.data, f.len, e));
    OK(kd_study_open(&s, path, KD_STUDY_CREATE, e));
    kd_import_report rep;
    OK(kd_import_file(s, file, &(kd_import_opts){.split = "test"}, NULL, &rep, e));
    OK(kd_study_settings(s, settings, "{\"teacher\":\"t\",\"model\":\"m\"}", NULL, e));
    int most = 1;
    for (size_t i = 0; i < n; i++) {
        int k = 1;
        for (const char *p = rows[i]; *p; p++) k += *p == '|';
        most = k > most ? k : most;
    }
    OK(kd_work_open(&w, s, *settings, &(kd_work_opts){.samples = most}, e));
    OK(kd_work_next(w, items, 64, &got, e));
    assert_int_equal(got, n * (size_t)most);
    for (size_t i = 0; i < got; i++) {
        char copy[256], *save = NULL;
        snprintf(copy, sizeof copy, "%s", rows[i / (size_t)most]);
        char *a = strtok_r(copy, "|", &save);
        for (int k = 0; a && k < items[i].sample; k++) a = strtok_r(NULL, "|", &save);
        if (!a) continue;
        kd_answer answer = {.prompt = items[i].prompt,
                            .sample = items[i].sample,
                            .answer = kd_str_of(a),
                            .finish = "stop",
                            .prompt_tokens = -1,
                            .completion_tokens = 10,
                            .reasoning_tokens = -1,
                            .cached_tokens = -1,
                            .cost = -1,
                            .seconds = -1,
                            .first_token_seconds = -1};
        OK(kd_study_commit(s, *settings, 0, &answer, 1, NULL, 0, NULL, e));
    }
    kd_work_close(w);
    kd_buf_clear(&f);
    unlink(file);
    return s;
}

static void counts(void **state) {
    (void)state;
    /* question 3 has too few answers; right: q0 2/3, q1 0/3, q2 3/3. Majority: q0 right, q1 wrong, q2 right. */
    static const char *const rows[] = {"The answer is 0|\\\\boxed{0}|5", "7|7|2", "2|2.0|The answer is 2", "3"};
    int64_t settings;
    kd_eval v;
    kd_study *s = study_of("/tmp/kd-test-evaluate.db", rows, 4, &settings);
    OK(kd_evaluate(&v, s, settings, "test", 0, 3, NULL, e));
    assert_int_equal(v.questions, 3);
    assert_int_equal(v.incomplete, 1);
    near(v.pass1, (2.0 / 3 + 0 + 1) / 3, 1e-9);
    near(v.passk, 2.0 / 3, 1e-9);
    near(v.consk, 2.0 / 3, 1e-9);
    assert_true(v.ci[0] < v.pass1 && v.pass1 < v.ci[1]);
    kd_eval_clear(&v);
    OK(kd_evaluate(&v, s, settings, "test", 2, 1, NULL, e)); /* the first two questions, first answers */
    assert_int_equal(v.questions, 2);
    near(v.pass1, 0.5, 1e-9);
    kd_eval_clear(&v);
    kd_study_close(s);
    unlink("/tmp/kd-test-evaluate.db");
}

static void pairs(void **state) {
    (void)state;
    enum { N = 40 };
    int64_t ids[N];
    float a[N] = {0}, b[N] = {0};
    for (int i = 0; i < N; i++) ids[i] = i + 1, a[i] = i < 10, b[i] = i >= 2 && i < 20; /* better 10, worse 2 */
    kd_eval x = {.questions = N, .k = 1, .prompt = ids, .mean = a}, y = {.questions = N, .k = 1, .prompt = ids, .mean = b};
    kd_paired p;
    kd_eval_compare(&p, &x, &y);
    assert_int_equal(p.better, 10);
    assert_int_equal(p.worse, 2);
    near(p.difference, 8.0 / N, 1e-9);
    near(p.p, 0.038574219, 1e-8); /* scipy.stats.binomtest(2, 12).pvalue */
    x.k = y.k = 4;
    kd_eval_compare(&p, &x, &y);
    near(p.p, 0.038574219, 0.006); /* the permutation test of the same differences */
    kd_eval_compare(&p, &x, &x);
    near(p.p, 1, 1e-9);
}

static void problems(void **state) {
    (void)state;
    kd_buf text = {0}, again = {0};
    for (int form = 0; form < KD_PROBLEM_FORMS; form++)
        for (uint64_t n = 0; n < 50; n++) {
            int64_t x, y;
            text.len = again.len = 0;
            OK(kd_problem(&text, &x, form, 7, n));
            OK(kd_problem(&again, &y, form, 7, n));
            assert_int_equal(x, y);
            assert_string_equal(text.data, again.data);
            assert_true(x >= 0 && x < 100000 && text.data[text.len - 1] == '?');
        }
    kd_buf_clear(&text);
    kd_buf_clear(&again);
    const char *dir = "/tmp/kd-test-problems", *const files[] = {"test", "forms", "dev", "train"};
    const size_t sizes[] = {120, 30, 60, 300};
    char *seen[1024];
    size_t n = 0;
    OK(kd_remove_tree(dir, e));
    OK(kd_problems_write(dir, &(kd_problem_counts){300, 60, 120, 30}, 3, " End.", e));
    for (int i = 0; i < 4; i++) {
        char path[128];
        kd_lines *l;
        kd_str line;
        bool more;
        size_t here = 0;
        snprintf(path, sizeof path, "%s/%s.jsonl", dir, files[i]);
        OK(kd_lines_open(&l, path, e));
        for (;;) {
            kd_json *doc;
            OK(kd_lines_next(l, &line, &more, e));
            if (!more) break;
            OK(kd_json_parse(&doc, line.data, line.len, path, e));
            kd_str q = kd_json_string(kd_json_get(kd_json_root(doc), "question"));
            assert_true(kd_str_ends(q, " End."));
            for (size_t j = 0; j < n; j++) assert_string_not_equal(seen[j], q.data);
            seen[n++] = strdup(q.data);
            here++;
            kd_json_free(doc);
        }
        assert_int_equal(here, sizes[i]);
        kd_lines_close(l);
    }
    while (n) free(seen[--n]);
    OK(kd_remove_tree(dir, e));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(wilson), cmocka_unit_test(counts), cmocka_unit_test(pairs),
                                       cmocka_unit_test(problems)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
