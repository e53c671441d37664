/* tests/teacher/test_kills.c - several processes and their ends: two on one study, two under one budget, SIGKILL at random moments (KILLS=N, default 10; SEED=N). */
#include "remote_help.h"

#include <sys/mman.h>

#include "distill/base/rng.h"

/* What a process that may be killed said last of what it saved; shared with the parent. */
static volatile uint64_t *told;

static void tell(void *ctx, const kd_event *ev) {
    (void)ctx;
    if (ev->done > *told) *told = ev->done;
}

static int run_child(const char *study, const char *url, int samples, double budget) {
    kd_study *s = NULL;
    kd_teach_report r;
    kd_err err = {0};
    const kd_watch w = {.emit = tell};
    kd_teach_opts o = opts(samples);
    kd_remote_opts ro = remote_at(url);
    ro.budget = budget, ro.timeout = 600; /* a machine that stands still is no fault */
    kd_code c = kd_study_open(&s, study, KD_STUDY_WRITE, &err);
    if (!c) c = kd_teach_remote(s, &o, &ro, &w, &r, &err);
    if (c && (c != KD_ELIMIT || budget < 0)) fprintf(stderr, "%s\n", err.msg);
    if (!c && (r.failed || r.duplicates)) fprintf(stderr, "%d failed, %d twice\n", (int)r.failed, (int)r.duplicates);
    kd_study_close(s);
    return c == KD_ELIMIT ? 75 : c || r.failed || r.duplicates ? 1 : 0;
}

/* Two at once; both must end with code. */
static void run_two(const char *study, const server *h, int samples, double budget, int code) {
    pid_t pid[2];
    for (int i = 0; i < 2; i++)
        if (!(pid[i] = fork())) _exit(run_child(study, server_url(h), samples, budget));
    for (int i = 0; i < 2; i++) {
        int status = 1;
        waitpid(pid[i], &status, 0);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), code);
    }
}

static void test_two(void **state) {
    (void)state;
    char path[160];
    kd_study_close(study_of("two.study", 100));
    server *h = server_start(slow, NULL);
    snprintf(path, sizeof path, "%s", in_tmp("two.study"));
    run_two(path, h, 3, -1, 0);
    assert_int_equal(server_requests(h), 300);
    server_stop(h);
    holds_all(path, 300);
    assert_int_equal(sql(path, "SELECT count(DISTINCT run) FROM samples"), 2); /* both had some */
    assert_int_equal(sql(path, "SELECT count(*) FROM attempts"), 0);
}

/* One budget for both: what the server's usage comes to never passes it, and a third that comes later spends what was added alone. */
typedef struct {
    double cost;
    kd_rng rng;
} till;

static void pricey(void *ctx, const request *q, reply *a) {
    till *t = ctx;
    char text[40];
    int in = 10 + (int)kd_rng_below(&t->rng, 40), out = 1 + (int)kd_rng_below(&t->rng, 100);
    t->cost += in * 1e-6 + out * 2e-6;
    snprintf(text, sizeof text, "answer %d", q->number);
    a->body = completion(text, in, out);
    a->delay_ms = q->number % 9;
    if (q->number % 7 == 3) a->cut = 30, a->end = END_CLOSE; /* paid, never seen */
}

static void test_budget_of_two(void **state) {
    (void)state;
    char path[160];
    kd_study_close(study_of("purse.study", 300));
    till t = {.rng = {.key = 5}};
    server *h = server_start(pricey, &t);
    snprintf(path, sizeof path, "%s", in_tmp("purse.study"));
    const double budgets[] = {0.012, 0.012, 0.02};
    for (int i = 0; i < 3; i++) {
        const int before = server_requests(h);
        run_two(path, h, 1, budgets[i], 75);
        assert_true(i == 1 ? server_requests(h) == before : server_requests(h) > before + 10);
        double charged = 1e-9 * (double)sql(path, "SELECT 1e9*total(cost) FROM totals");
        assert_true(t.cost <= budgets[i] && charged <= budgets[i] && charged >= t.cost - 1e-6);
        printf("# two processes, budget $%.4f: charged $%.6f, usage says $%.6f, %d requests\n", budgets[i], charged, t.cost,
               server_requests(h));
    }
    server_stop(h);
    assert_true(books_balance(path));
    assert_int_equal(sql(path, "SELECT count(DISTINCT run) FROM samples") >= 2, 1);
}

static void test_kills(void **state) {
    (void)state;
    const char *n = getenv("KILLS"), *seed = getenv("SEED");
    int kills = n ? atoi(n) : 10, done = 0, killed = 0, status = 0;
    kd_rng rng = {.key = seed ? (uint64_t)atoll(seed) : (uint64_t)time(NULL)};
    int questions = 150 + 15 * kills, lives = 0;
    printf("# seed %llu\n", (unsigned long long)rng.key);
    kd_study_close(study_of("killed.study", questions));
    server *h = server_start(slow, NULL);
    char path[160];
    uint64_t most_told = 0;
    snprintf(path, sizeof path, "%s", in_tmp("killed.study"));
    while (!done && lives++ < 50 * kills + 50) {
        *told = 0;
        pid_t pid = fork();
        if (!pid) _exit(run_child(path, server_url(h), 2, -1));
        if (killed < kills) {
            struct timespec t = {0, 1000000 * (long)(5 + kd_rng_below(&rng, 250))};
            nanosleep(&t, NULL);
            kill(pid, SIGKILL);
        }
        waitpid(pid, &status, 0);
        killed += WIFSIGNALED(status);
        done = WIFEXITED(status);
        /* what it had said to be saved is there */
        const int64_t there = sql(path, "SELECT count(*) FROM samples");
        if ((int64_t)*told > there)
            fail_msg("after kill %d: %llu were told saved, %lld are there", killed, (unsigned long long)*told, (long long)there);
        most_told = *told > most_told ? *told : most_told;
    }
    assert_true(done && WEXITSTATUS(status) == 0);
    int64_t all = 2 * (int64_t)questions, lost = sql(path, "SELECT count(*) FROM attempts WHERE reason='lost'"), asked = server_requests(h);
    server_stop(h);
    holds_all(path, all); /* each the server's own, once */
    assert_true(most_told == (uint64_t)all);
    const int64_t other = sql(path, "SELECT count(*) FROM attempts WHERE reason<>'lost'");
    if (other) fail_msg("%lld attempts failed that nobody killed", (long long)other);
    /* everything that the server was asked is accounted for: kept, or lost and charged (a try noted just before the kill may not have gone out) */
    assert_true(all + lost >= asked);
    assert_true(sql(path, "SELECT 1e9*total(cost) FROM totals") >= asked * 20000 - 1);
    printf("# %d kills, %lld answers, %lld requests, %lld tries lost and charged\n", killed, (long long)all, (long long)asked,
           (long long)lost);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_two), cmocka_unit_test(test_budget_of_two), cmocka_unit_test(test_kills)};
    signal(SIGPIPE, SIG_IGN);
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) return 1;
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("kills", tests, make_tmp, drop_tmp);
}
