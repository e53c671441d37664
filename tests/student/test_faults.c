/* Every allocation of a training run failing in turn; adapters that do not fit; numbers that blow up; plans that do not. */
#include "student/run.h"
#include "tests/student/oracle.h"

#include <stdlib.h>

static kd_train_options small(bool dora) {
    return (
        kd_train_options){.method = {.method = KD_LORA_METHOD, .lora = {.r = 2, .alpha = 4, .dora = dora, .targets = (1u << KD_MATS) - 1}},
                          .optimizer = {.kind = KD_ADAMW, .beta1 = 0.9f, .beta2 = 0.999f, .eps = 1e-8f},
                          .learning_rate = 1e-3,
                          .max_steps = 2,
                          .batch_size = 2,
                          .clip_norm = 1,
                          .recompute = -1,
                          .memory = (uint64_t)1 << 30};
}

/* Opens, plans, trains two updates into a run folder; the code of whatever failed. */
static kd_code life(const kd_model *m, const kd_lesson *lessons, const kd_train_options *o, const char *dir, kd_err *e) {
    kd_run *run = NULL;
    kd_trainer *t = NULL;
    kd_train_plan plan;
    kd_run_report report;
    const kd_run_options ro = {.save_every = 1, .base = "base"};
    static const char *const none[] = {NULL};
    kd_code code = kd_run_open(&run, dir, true, e);
    if (code == KD_OK) code = kd_train_plan_make(&plan, m, lessons, SEQUENCES, o, 1, e);
    if (code == KD_OK) code = kd_run_settle(run, KD_STR("a: 1\n# b: 2\n"), none, e);
    if (code == KD_OK) code = kd_trainer_new(&t, m, lessons, SEQUENCES, o, &plan, NULL, NULL, e);
    if (code == KD_OK) code = kd_run_train(run, t, m, o, &plan, &ro, NULL, &report, e);
    kd_trainer_free(t);
    kd_run_close(run);
    return code;
}

static void test_no_memory(void **state) {
    (void)state;
    /* every life syncs files: on a disk that is minutes, in memory it is nothing */
    const bool shm = kd_is_dir("/dev/shm");
    char path[300], in_memory[] = "/dev/shm/kd-faults-XXXXXX", on_disk[] = "/tmp/kd-faults-XXXXXX", *dir = shm ? in_memory : on_disk;
    const long stride = shm ? 1 : 17;
    kd_model *m = NULL;
    kd_lesson lessons[SEQUENCES];
    assert_non_null(mkdtemp(dir));
    OK(kd_model_open(&m, oracle_path(path, sizeof path, "qwen2-tied", ""), ERR));
    oracle_lessons(lessons, "qwen2-tied", false);
    kd_train_options o = small(true);
    long failures = 0;
    for (long at = 1;; at += stride) {
        kd_err e = {0};
        kd_alloc_fail_at(at);
        kd_code code = life(m, lessons, &o, dir, &e);
        const bool reached = kd_alloc_count() >= at;
        kd_alloc_fail_at(0);
        if (!reached) {
            assert_int_equal(code, KD_OK);
            break;
        }
        failures += code != KD_OK;
        if (code != KD_OK) assert_true(e.msg[0] != 0);
    }
    assert_true(failures > 50 / stride);
    kd_err e = {0};
    assert_int_equal(life(m, lessons, &o, dir, &e), KD_OK); /* nothing stuck */
    OK(kd_remove_tree(dir, ERR));
    oracle_lessons_clear(lessons);
    kd_model_free(m);
}

static void test_refusals(void **state) {
    (void)state;
    char path[300];
    kd_model *m = NULL, *other = NULL;
    kd_adapter *a = NULL;
    kd_trainer *t = NULL;
    kd_lesson lessons[SEQUENCES];
    kd_train_plan plan;
    kd_err e = {0};
    OK(kd_model_open(&m, oracle_path(path, sizeof path, "qwen2-tied", ""), ERR));
    OK(kd_model_open(&other, oracle_path(path, sizeof path, "llama-tied-rope3", ""), ERR));
    oracle_lessons(lessons, "qwen2-tied", false);
    kd_train_options o = small(false);
    /* an adapter of another rank */
    OK(kd_adapter_open(&a, oracle_path(path, sizeof path, "qwen2-tied", "lora-start"), &m->config, ERR));
    OK(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, ERR));
    assert_int_equal(kd_trainer_new(&t, m, lessons, SEQUENCES, &o, &plan, a, NULL, &e), KD_EINVAL);
    assert_null(t);
    /* too little memory says what is needed */
    o.memory = 1 << 20;
    assert_int_equal(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, &e), KD_ELIMIT);
    assert_non_null(strstr(e.msg, "at least"));
    o.memory = (uint64_t)1 << 30;
    /* a token outside the vocabulary, nothing to learn, no updates, no batch */
    const int32_t keep = lessons[3].tokens[5];
    lessons[3].tokens[5] = 352;
    assert_int_equal(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, &e), KD_EFORMAT);
    lessons[3].tokens[5] = keep;
    uint8_t none[100] = {0};
    kd_lesson silent = lessons[1];
    silent.loss = none;
    assert_int_equal(kd_train_plan_make(&plan, m, &silent, 1, &o, 1, &e), KD_EFORMAT);
    assert_int_equal(kd_train_plan_make(&plan, m, lessons, 0, &o, 1, &e), KD_EFORMAT);
    o.batch_size = 0;
    assert_int_equal(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, &e), KD_EINVAL);
    o = small(false);
    o.method.lora.targets = 1u << KD_HEAD;
    assert_int_equal(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, &e), KD_EUNSUPPORTED);
    kd_adapter_free(a);
    oracle_lessons_clear(lessons);
    kd_model_free(other);
    kd_model_free(m);
}

/* A learning rate that blows the model up is stopped, with the rows named, before the weights take harm. */
static void test_not_finite(void **state) {
    (void)state;
    char path[300];
    kd_model *m = NULL;
    kd_trainer *t = NULL;
    kd_lesson lessons[SEQUENCES];
    kd_train_plan plan;
    kd_train_report r;
    kd_err e = {0};
    OK(kd_model_open(&m, oracle_path(path, sizeof path, "llama-tied-rope3", ""), ERR));
    oracle_lessons(lessons, "llama-tied-rope3", false);
    kd_train_options o = small(false);
    o.method.method = KD_FULL;
    o.optimizer.kind = KD_SGD;
    o.learning_rate = 1e30;
    o.clip_norm = 0;
    o.max_steps = 10;
    OK(kd_train_plan_make(&plan, m, lessons, SEQUENCES, &o, 1, ERR));
    OK(kd_trainer_new(&t, m, lessons, SEQUENCES, &o, &plan, NULL, NULL, ERR));
    kd_code code = KD_OK;
    for (int i = 0; i < 10 && code == KD_OK; i++) code = kd_trainer_step(t, &r, &e);
    assert_int_equal(code, KD_ECHECK);
    assert_non_null(strstr(e.msg, "not finite"));
    assert_non_null(strstr(e.msg, "rows "));
    assert_true(kd_trainer_steps(t) < 10);
    kd_trainer_free(t);
    oracle_lessons_clear(lessons);
    kd_model_free(m);
}

/* A plan says what is taken, to the byte of its slab, and less memory means less of it. */
static void test_plans(void **state) {
    (void)state;
    char path[300];
    kd_model *m = NULL;
    kd_lesson lessons[SEQUENCES];
    kd_train_plan wide, tight;
    OK(kd_model_open(&m, oracle_path(path, sizeof path, "qwen3-untied", ""), ERR));
    oracle_lessons(lessons, "qwen3-untied", false);
    kd_train_options o = small(false);
    OK(kd_train_plan_make(&wide, m, lessons, SEQUENCES, &o, 2, ERR));
    assert_int_equal(wide.shape.recompute, 0);
    o.memory = wide.total - 1;
    OK(kd_train_plan_make(&tight, m, lessons, SEQUENCES, &o, 2, ERR));
    assert_true(tight.total < wide.total && tight.total <= o.memory);
    uint64_t sum = 0;
    for (int k = 0; k < KD_MEM_KINDS; k++) sum += tight.bytes[k];
    assert_int_equal(sum, tight.total);
    oracle_lessons_clear(lessons);
    kd_model_free(m);
}

/* Schedules by hand, and the order of lessons: every epoch each once, another order each time, the same again for the same seed. */
static void test_schedules_and_order(void **state) {
    (void)state;
    const struct {
        kd_schedule_kind k;
        uint64_t t, T, w;
        double want;
    } cases[] = {{KD_CONSTANT, 5, 10, 0, 1}, {KD_CONSTANT, 0, 10, 4, 0.25}, {KD_LINEAR, 0, 10, 0, 1}, {KD_LINEAR, 9, 10, 0, 0.1},
                 {KD_LINEAR, 2, 10, 2, 1},   {KD_LINEAR, 6, 10, 2, 0.5},    {KD_COSINE, 0, 10, 0, 1}, {KD_COSINE, 5, 10, 0, 0.5},
                 {KD_WSD, 7, 10, 0, 1},      {KD_WSD, 8, 10, 0, 1},         {KD_WSD, 9, 10, 0, 0.5},  {KD_LINEAR, 99, 10, 0, 0.1}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        assert_true(fabs(kd_schedule_factor(cases[i].k, cases[i].t, cases[i].T, cases[i].w) - cases[i].want) < 1e-12);
    kd_order a, b;
    OK(kd_order_init(&a, 50, true, 7, ERR));
    OK(kd_order_init(&b, 50, true, 7, ERR));
    bool differs = false;
    for (uint64_t epoch = 0; epoch < 3; epoch++) {
        int seen[50] = {0};
        for (uint64_t i = 0; i < 50; i++) {
            const size_t x = kd_order_at(&a, epoch * 50 + i);
            seen[x]++;
            differs |= epoch && x != kd_order_at(&b, i);
        }
        for (int i = 0; i < 50; i++) assert_int_equal(seen[i], 1);
    }
    assert_true(differs);
    for (uint64_t i = 0; i < 150; i += 13) assert_int_equal(kd_order_at(&a, i), kd_order_at(&b, i));
    kd_order_clear(&a);
    kd_order_clear(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_no_memory), cmocka_unit_test(test_refusals), cmocka_unit_test(test_not_finite),
                                       cmocka_unit_test(test_plans), cmocka_unit_test(test_schedules_and_order)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
