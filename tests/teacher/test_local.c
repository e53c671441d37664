/* tests/teacher/test_local.c - the local teacher on small random models: the same answers alone, in a batch of 32, after a stop, after kills (KILLS=N,
 * default 10) and with more samples asked for later. */
#include "tests/datasets/study_help.h"

#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <time.h>

#include "datasets/logprobs.h"
#include "datasets/study_int.h"
#include "distill/base/hash.h"
#include "distill/base/rng.h"
#include "teacher/teacher.h"

enum { QUESTIONS = 12, SAMPLES = 3 };
static const char *const models[] = {"llama-tied-rope3", "llama-untied-spm", "qwen2-tied", "qwen3-untied"};

/* Everything that was answered, whoever and whenever, as one hash; *n answers, *most tokens of the longest. */
static void answers(const char *study, char hash[65], int *n, int64_t *most) {
    kd_db *db = NULL;
    kd_stmt *q = NULL;
    kd_buf all = {0};
    bool row;
    *n = 0, *most = 0;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_stmt_new(&q, db,
                   "SELECT prompt, number, coalesce(thought,'') || '|' || answer || '|' || finish, completion_tokens, prompt_tokens FROM "
                   "samples ORDER BY prompt, number",
                   &e));
    for (;; (*n)++) {
        OK(kd_stmt_step(q, &row, &e));
        if (!row) break;
        kd_str text = kd_col_text(q, 2);
        kd_buf_printf(&all, "%lld %lld %lld %lld ", (long long)kd_col_int(q, 0), (long long)kd_col_int(q, 1), (long long)kd_col_int(q, 3),
                      (long long)kd_col_int(q, 4));
        kd_buf_append(&all, text.data, text.len);
        *most = kd_col_int(q, 3) > *most ? kd_col_int(q, 3) : *most;
    }
    kd_stmt_free(q);
    kd_db_close(db);
    kd_sha256_hex(all.data, all.len, hash);
    kd_buf_clear(&all);
}

static int64_t count(const char *study, const char *q) {
    kd_db *db = NULL;
    int64_t v = -1;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_db_int(db, q, &v, &e));
    kd_db_close(db);
    return v;
}

static kd_teach_opts opts(int samples) {
    return (
        kd_teach_opts){.work = {.samples = samples}, .temperature = 1, .top_p = -1, .min_p = -1, .top_k = -1, .max_tokens = 24, .seed = 11};
}

static kd_local_opts local(const char *name, size_t parallel, int threads) {
    static char path[4][120];
    static int at;
    char *p = path[at++ % 4];
    snprintf(p, sizeof path[0], "tests/oracle/models/%s", name);
    return (kd_local_opts){.model = p, .threads = threads, .parallel = parallel, .now = 1700000000};
}

/* The answers of one unbroken run, one question at a time. */
static void reference(const char *model, char hash[65]) {
    kd_study *s = study_of("reference.study", QUESTIONS);
    kd_teach_opts o = opts(SAMPLES);
    kd_local_opts l = local(model, 1, 1);
    kd_teach_report r;
    int n;
    int64_t most;
    OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
    assert_int_equal(r.answered, QUESTIONS * SAMPLES);
    assert_int_equal(r.failed, 0);
    kd_study_close(s);
    answers(in_tmp("reference.study"), hash, &n, &most);
    assert_int_equal(n, QUESTIONS * SAMPLES);
    assert_true(most > 0 && most <= 24);
    assert_true(count(in_tmp("reference.study"), "SELECT count(DISTINCT answer || thought_from || coalesce(thought,'')) FROM samples") >
                QUESTIONS); /* samples differ */
    for (int i = 0; i < 3; i++) {
        const char *ends[] = {"", "-wal", "-shm"};
        char name[40];
        snprintf(name, sizeof name, "reference.study%s", ends[i]);
        unlink(in_tmp(name));
    }
}

static void same(const char *study, const char *hash) {
    char found[65];
    int n;
    int64_t most;
    answers(in_tmp(study), found, &n, &most);
    assert_int_equal(n, QUESTIONS * SAMPLES);
    assert_string_equal(found, hash);
}

static void test_batch(void **state) {
    (void)state;
    for (size_t m = 0; m < sizeof models / sizeof *models; m++) {
        char hash[65], name[40];
        reference(models[m], hash);
        snprintf(name, sizeof name, "batch%zu.study", m);
        kd_study *s = study_of(name, QUESTIONS);
        kd_teach_opts o = opts(1);
        kd_local_opts l = local(models[m], 32, 2);
        kd_teach_report r;
        OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
        assert_int_equal(r.answered, QUESTIONS);
        o.work.samples = SAMPLES; /* asks only what is missing */
        OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
        assert_int_equal(r.done_before, QUESTIONS);
        assert_int_equal(r.answered, QUESTIONS * (SAMPLES - 1));
        OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
        assert_int_equal(r.answered, 0);
        kd_study_close(s);
        same(name, hash);
    }
}

static int steps, stop_at;
static void step(void *ctx, const kd_event *ev) {
    (void)ctx;
    steps += ev->kind == KD_EV_STEP;
}
static int stopping(void *ctx) {
    (void)ctx;
    return steps >= stop_at ? KD_ETERMINATE : 0;
}

static void test_stop(void **state) {
    (void)state;
    char hash[65];
    reference(models[3], hash);
    kd_study *s = study_of("stop.study", QUESTIONS);
    kd_teach_opts o = opts(SAMPLES);
    kd_local_opts l = local(models[3], 8, 1);
    kd_watch w = {.emit = step, .stop = stopping};
    kd_teach_report r;
    uint64_t before = 0;
    kd_code c = KD_ETERMINATE;
    int stops = 0;
    for (; c == KD_ETERMINATE && stops < 100; stops++) {
        kd_err err;
        steps = 0, stop_at = 31;
        c = kd_teach_local(s, &o, &l, &w, &r, &err);
        assert_int_equal(r.done_before, before); /* what was committed stayed */
        before += r.answered;
    }
    assert_int_equal(c, KD_OK);
    assert_true(stops > 2);
    kd_study_close(s);
    same("stop.study", hash);
    assert_int_equal(count(in_tmp("stop.study"), "SELECT count(*) FROM leases"), 0);
}

static int child(const char *path, const char *model, size_t parallel) {
    kd_study *s = NULL;
    kd_err err = {0};
    kd_teach_opts o = opts(SAMPLES);
    kd_local_opts l = local(model, parallel, 1);
    kd_teach_report r;
    kd_code c = kd_study_open(&s, path, KD_STUDY_WRITE, &err);
    if (!c) c = kd_teach_local(s, &o, &l, NULL, &r, &err);
    if (c) fprintf(stderr, "%s\n", err.msg);
    kd_study_close(s);
    return c != KD_OK;
}

/* One study, killed and begun again until it is whole. Returns the kills. */
static int killed_study(const char *name, const char *hash, kd_rng *rng, int most) {
    char path[160];
    int status = 0, killed = 0;
    int64_t had = 0;
    kd_study_close(study_of(name, QUESTIONS));
    snprintf(path, sizeof path, "%s", in_tmp(name));
    do {
        pid_t pid = fork();
        if (!pid) _exit(child(path, models[2], 1 + kd_rng_below(rng, 6)));
        if (killed < most) {
            struct timespec t = {0, 1000000 * (long)(1 + kd_rng_below(rng, 40))};
            nanosleep(&t, NULL);
            kill(pid, SIGKILL);
        }
        waitpid(pid, &status, 0);
        killed += WIFSIGNALED(status);
        int64_t have = count(path, "SELECT count(*) FROM samples");
        assert_true(have >= had && have <= QUESTIONS * SAMPLES); /* nothing that was committed is lost */
        had = have;
    } while (!WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    same(name, hash);
    return killed;
}

static void test_kills(void **state) {
    (void)state;
    const char *n = getenv("KILLS"), *seed = getenv("SEED");
    int kills = n ? atoi(n) : 10, killed = 0, studies = 0;
    kd_rng rng = {.key = seed ? (uint64_t)atoll(seed) : (uint64_t)time(NULL)};
    char hash[65], name[40];
    reference(models[2], hash);
    printf("# seed %llu\n", (unsigned long long)rng.key);
    while (killed < kills && studies < 20 * kills) {
        snprintf(name, sizeof name, "killed%d.study", studies++);
        killed += killed_study(name, hash, &rng, kills - killed);
    }
    assert_true(killed == kills);
    printf("# %d kills over %d studies\n", killed, studies);
}

/* ---- asked until right, or where answers disagree ---- */
/* Random models are never right: an answer counts as right by its length, which is as good as a die and the same on every run. */
static kd_code judge(void *ctx, kd_study *s, int64_t settings, const int64_t *prompts, size_t n, kd_err *err) {
    (void)settings, (void)prompts, (void)n;
    (*(int *)ctx)++;
    return kd_db_exec(
        s->db,
        "INSERT INTO labels(sample, name, value, version) SELECT id, 'math', CASE WHEN length(answer) % 3 = 0 THEN 'right' ELSE "
        "'wrong' END, 1 FROM samples WHERE id NOT IN (SELECT sample FROM labels)",
        err);
}

static void test_until(void **state) {
    (void)state;
    int judged = 0;
    char path[160];
    kd_study *s = study_of("until.study", QUESTIONS);
    kd_teach_opts o = opts(6);
    kd_local_opts l = local(models[2], 8, 1);
    kd_teach_report r;
    snprintf(path, sizeof path, "%s", in_tmp("until.study"));
    o.work.until = 1, o.judge = judge, o.judge_ctx = &judged;
    OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
    assert_int_equal(r.total, QUESTIONS);
    /* a question that has a right answer was not asked behind it; one that has none was asked six times */
    const int64_t right = count(path, "SELECT count(*) FROM labels WHERE value='right'"), all = count(path, "SELECT count(*) FROM samples");
    printf("# %lld of %d questions came right, by %lld answers, judged in %d parts\n", (long long)right, QUESTIONS, (long long)all, judged);
    assert_true(right > 0 && all < 6 * QUESTIONS && judged > 1);
    assert_int_equal(
        count(path, "SELECT count(*) FROM (SELECT s.prompt, max(s.number) AS last, min(CASE WHEN l.value='right' THEN s.number END) AS "
                    "first FROM samples s JOIN labels l ON l.sample=s.id GROUP BY s.prompt) WHERE coalesce(first, 5) <> last"),
        0);
    OK(kd_teach_local(s, &o, &l, NULL, &r, &e)); /* every question is settled */
    assert_true(r.answered == 0 && r.done_before == QUESTIONS);
    kd_study_close(s);
    assert_int_equal(count(path, "SELECT count(*) FROM leases"), 0);
}

static int enough(void *ctx) { return count(ctx, "SELECT count(*) FROM samples") >= 4 * QUESTIONS ? KD_ETERMINATE : 0; }

static void test_adaptive(void **state) {
    (void)state;
    int judged = 0;
    char path[160];
    kd_study *s = study_of("adaptive.study", QUESTIONS);
    kd_teach_opts o = opts(8);
    kd_local_opts l = local(models[2], 2, 1);
    kd_teach_report r;
    snprintf(path, sizeof path, "%s", in_tmp("adaptive.study"));
    kd_watch w = {.stop = enough, .ctx = path};
    o.work.adaptive = true, o.work.first = 2, o.judge = judge, o.judge_ctx = &judged;
    FAILS(KD_ETERMINATE, "run it again", kd_teach_local(s, &o, &l, &w, &r, &e));
    /* everybody has two; beyond them, those that answers agree on (all right, all wrong) have fewer than those that they disagree on */
    assert_int_equal(count(path, "SELECT min(n) FROM (SELECT count(*) AS n FROM samples GROUP BY prompt)") >= 2, 1);
    const char *mean =
        "SELECT 1000*avg(n) FROM (SELECT s.prompt, count(*) AS n, total(l.value='right') AS ok FROM samples s JOIN labels l ON "
        "l.sample=s.id GROUP BY s.prompt) WHERE (ok BETWEEN 1 AND n-1) = %d";
    char q[400];
    snprintf(q, sizeof q, mean, 1);
    const int64_t split = count(path, q);
    snprintf(q, sizeof q, mean, 0);
    const int64_t agreed = count(path, q);
    printf("# answers a question: %.2f where they disagree, %.2f where they agree\n", (double)split / 1000, (double)agreed / 1000);
    assert_true(split > agreed);
    OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
    kd_study_close(s);
    assert_int_equal(count(path, "SELECT count(*) FROM samples"), 8 * QUESTIONS);
}

/* A question that cannot be asked is said and passed over. */
static void test_too_long(void **state) {
    (void)state;
    kd_study *s = NULL;
    kd_buf b = {0};
    kd_import_report ir;
    kd_teach_opts o = opts(1);
    kd_local_opts l = local(models[3], 4, 1);
    kd_teach_report r;
    kd_buf_puts(&b, "{\"question\":\"short\"}\n{\"question\":\"");
    for (int i = 0; i < 400; i++) kd_buf_printf(&b, "w%d ", i);
    kd_buf_puts(&b, "\"}\n");
    write_text(in_tmp("long.jsonl"), b.data);
    kd_buf_clear(&b);
    OK(kd_study_open(&s, in_tmp("long.study"), KD_STUDY_CREATE, &e));
    OK(kd_import_file(s, in_tmp("long.jsonl"), NULL, NULL, &ir, &e));
    OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
    assert_int_equal(r.answered, 1);
    assert_int_equal(r.failed, 1);
    kd_local_plan p;
    OK(kd_teach_local_plan(s, &o, &l, &p, &e));
    assert_int_equal(p.missing, 1);
    FAILS(KD_ENOENT, "nowhere", kd_teach_local(s, &o, &(kd_local_opts){.model = in_tmp("nowhere")}, NULL, &r, &e));
    kd_study_close(s);
    assert_int_equal(count(in_tmp("long.study"), "SELECT count(*) FROM attempts WHERE final AND reason LIKE '%leaves no room%'"), 1);
}

/* Log-probabilities of every token drawn: kept, the most likely ones falling and the drawn one no likelier; rounded where told. */
static void check_logprobs(const char *study, size_t k, double step) {
    kd_db *db = NULL;
    kd_stmt *q = NULL;
    kd_buf text = {0};
    bool row;
    int n = 0;
    OK(kd_db_open(&db, study, KD_DB_READ, &e));
    OK(kd_stmt_new(&q, db, "SELECT logprobs, completion_tokens FROM bodies JOIN samples ON sample = id", &e));
    for (;; n++) {
        kd_json *doc;
        OK(kd_stmt_step(q, &row, &e));
        if (!row) break;
        text.len = 0;
        OK(kd_logprobs_unpack(&text, kd_col_text(q, 0), &e));
        OK(kd_json_parse(&doc, text.data, text.len, "test", &e));
        assert_int_equal(kd_json_count(kd_json_root(doc)), kd_col_int(q, 1));
        for (const kd_json_node *t = kd_json_first(kd_json_root(doc)); t; t = kd_json_next(t)) {
            const kd_json_node *top = kd_json_get(t, "top_logprobs");
            double own = kd_json_number(kd_json_get(t, "logprob"), 1), last = 0;
            assert_int_equal(kd_json_count(top), k);
            for (const kd_json_node *a = kd_json_first(top); a; a = kd_json_next(a)) {
                double v = kd_json_number(kd_json_get(a, "logprob"), 1);
                assert_true(v <= last);
                if (a == kd_json_first(top)) assert_true(own <= v);
                if (step > 0) assert_true(fabs(v / step - round(v / step)) < 1e-3);
                last = v;
            }
        }
        kd_json_free(doc);
    }
    assert_int_equal(n, QUESTIONS * SAMPLES);
    kd_stmt_free(q);
    kd_db_close(db);
    kd_buf_clear(&text);
}

/* The answers are those that are had without. */
static void test_logprobs(void **state) {
    (void)state;
    char hash[65];
    reference(models[1], hash);
    for (int rounded = 0; rounded < 2; rounded++) {
        const char *name = rounded ? "logprobs-rounded.study" : "logprobs.study";
        kd_study *s = study_of(name, QUESTIONS);
        kd_teach_opts o = opts(SAMPLES);
        kd_local_opts l = local(models[1], 8, 2);
        kd_teach_report r;
        l.logprobs = true, l.top_logprobs = 3, l.logprobs_step = rounded ? 0.25 : 0;
        OK(kd_teach_local(s, &o, &l, NULL, &r, &e));
        l.top_logprobs = KD_TOP_MOST + 1;
        FAILS(KD_EINVAL, "at most 64", kd_teach_local(s, &o, &l, NULL, &r, &e));
        kd_study_close(s);
        same(name, hash);
        check_logprobs(in_tmp(name), 3, l.logprobs_step);
    }
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_batch),   cmocka_unit_test(test_stop),     cmocka_unit_test(test_kills),
                                       cmocka_unit_test(test_until),   cmocka_unit_test(test_adaptive), cmocka_unit_test(test_too_long),
                                       cmocka_unit_test(test_logprobs)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("local", tests, make_tmp, drop_tmp);
}
