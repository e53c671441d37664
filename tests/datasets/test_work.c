/* tests/datasets/test_work.c - the queue: order, limits, leases between processes, kills at random moments, a full disk. */
#include "study_help.h"

#include "distill/base/rng.h"

#include <errno.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

static int64_t settings_of(kd_study *s) {
    int64_t set;
    OK(kd_study_settings(s, &set, "{\"teacher\":\"t\"}", NULL, &e));
    return set;
}

static void test_order(void **state) {
    (void)state;
    kd_study *s = study_of("order.study", 5);
    int64_t set = settings_of(s);
    kd_work *w = NULL;
    kd_work_item items[7];
    kd_work_state st;
    size_t n = 0;
    char got[200] = "";
    OK(kd_study_commit(s, set, 0, (kd_answer[]){answer_of(2, 1, "x"), answer_of(3, 0, "x"), answer_of(3, 1, "x"), answer_of(3, 2, "x")}, 4,
                       NULL, 0, NULL, &e));
    OK(kd_work_open(&w, s, set, &(kd_work_opts){.limit = 4, .samples = 3}, &e));
    OK(kd_work_count(w, &st, &e));
    assert_int_equal(st.total, 12);
    assert_int_equal(st.done, 4);
    for (;;) {
        OK(kd_work_next(w, items, 2, &n, &e));
        if (n == 0) break;
        for (size_t i = 0; i < n; i++) {
            size_t at = strlen(got);
            snprintf(got + at, sizeof got - at, "%lld.%d ", (long long)items[i].prompt, items[i].sample);
            char text[80];
            snprintf(text, sizeof text, "[{\"content\":\"What is %d + %d?\",\"role\":\"user\"}]", (int)items[i].prompt - 1,
                     (int)items[i].prompt - 1);
            assert_true(kd_str_is(items[i].messages, text));
            assert_true(kd_str_is(items[i].task, "math") && !items[i].tools.data && items[i].gold.len >= 1);
        }
    }
    assert_string_equal(got, "1.0 1.1 1.2 2.0 2.2 4.0 4.1 4.2 ");
    OK(kd_work_count(w, &st, &e));
    assert_int_equal(st.here, 8);
    assert_int_equal(st.elsewhere, 0);
    kd_work_close(w);
    /* What was given back is to be had again, and more samples ask only what is missing. */
    OK(kd_work_open(&w, s, set, &(kd_work_opts){.split = "train", .limit = 2}, &e));
    OK(kd_work_next(w, items, 7, &n, &e));
    assert_int_equal(n, 2);
    kd_work_close(w);
    OK(kd_work_open(&w, s, set, &(kd_work_opts){.split = "test"}, &e));
    OK(kd_work_next(w, items, 7, &n, &e));
    assert_int_equal(n, 0);
    kd_work_close(w);
    FAILS(KD_EINVAL, "samples", kd_work_open(&w, s, set, &(kd_work_opts){.samples = -1}, &e));
    kd_study_close(s);
}

/* Two queues of one process: no item twice; what one releases or leaves behind the other gets. */
static void test_share(void **state) {
    (void)state;
    kd_study *s = study_of("share.study", 10);
    int64_t set = settings_of(s);
    kd_work *a = NULL, *b = NULL;
    kd_work_item items[20];
    size_t n = 0;
    OK(kd_work_open(&a, s, set, NULL, &e));
    OK(kd_work_open(&b, s, set, NULL, &e));
    OK(kd_work_next(a, items, 6, &n, &e));
    assert_int_equal(n, 6);
    OK(kd_work_next(b, items, 20, &n, &e));
    assert_int_equal(n, 4);
    OK(kd_work_next(b, items, 20, &n, &e));
    assert_int_equal(n, 0);
    OK(kd_study_commit(s, set, 0, (kd_answer[]){answer_of(1, 0, "x")}, 1, NULL, 0, NULL, &e));
    OK(kd_work_release(a, 2, 0, &e));
    OK(kd_work_next(a, items, 20, &n, &e));
    assert_int_equal(n, 0); /* not what it released itself */
    kd_work_close(a);       /* leaves 3..6 */
    struct timespec rest = {2, 100000000};
    nanosleep(&rest, NULL);
    OK(kd_work_next(b, items, 20, &n, &e));
    assert_int_equal(n, 5);
    assert_int_equal(items[0].prompt, 2);
    kd_work_close(b);
    kd_study_close(s);
}

static double spent(kd_study *s, int64_t set, uint64_t *attempts) {
    kd_spend t;
    OK(kd_study_spend(s, set, &t, &e));
    *attempts = t.attempts;
    return t.cost_failed;
}

/* Tries in the air when a process dies are counted at their worst; those that came home, and those never sent, are not. */
static void test_lost(void **state) {
    (void)state;
    kd_study *s = study_of("lost.study", 6);
    int64_t set = settings_of(s);
    uint64_t attempts;
    pid_t pid = fork();
    if (pid == 0) {
        kd_study *own = NULL;
        kd_work *w = NULL;
        kd_work_item items[6];
        size_t n, may;
        if (kd_study_open(&own, in_tmp("lost.study"), KD_STUDY_WRITE, NULL) || kd_work_open(&w, own, set, NULL, NULL) ||
            kd_work_next(w, items, 5, &n, NULL))
            _exit(3);
        kd_work_try t[] = {{1, 0, 0.5}, {2, 0, 0.25}, {3, 0, 0.125}, {4, 0, -1}};
        kd_attempt failed = {.prompt = 2, .reason = "http 500", .prompt_tokens = -1, .completion_tokens = -1, .cost = 0};
        kd_answer a = answer_of(1, 0, "x");
        a.cost = 0;
        if (kd_work_sent(w, t, 4, -1, &may, NULL) || kd_study_commit(own, set, 0, &a, 1, &failed, 1, NULL, NULL)) _exit(4);
        kill(getpid(), SIGKILL); /* 1 is answered, 2 waits for its next try, 3 and 4 are in the air, 5 was never sent */
    }
    int status = 0;
    waitpid(pid, &status, 0);
    assert_true(WIFSIGNALED(status));
    assert_true(spent(s, set, &attempts) == 0 && attempts == 1);
    kd_work *w = NULL;
    OK(kd_work_open(&w, s, set, NULL, &e));
    assert_true(spent(s, set, &attempts) == 0.125 && attempts == 3);
    kd_work_item items[6];
    size_t n = 0;
    OK(kd_work_next(w, items, 6, &n, &e));
    assert_int_equal(n, 5);
    OK(kd_work_sent(w, &(kd_work_try){6, 0, 1.0}, 1, -1, &n, &e));
    kd_work_close(w); /* closed with one in the air */
    assert_true(spent(s, set, &attempts) == 1.125 && attempts == 4);
    kd_study_close(s);
}

/* One worker process: leases, answers in groups, says on the pipe what was reported saved. */
static void worker(int out, int64_t set, int samples, unsigned seed) {
    kd_study *s = NULL;
    kd_work *w = NULL;
    kd_work_item items[16];
    kd_answer a[16];
    kd_err e;
    size_t n = 0;
    kd_rng r = {.key = seed};
    if (kd_study_open(&s, in_tmp("many.study"), KD_STUDY_WRITE, &e) || kd_work_open(&w, s, set, &(kd_work_opts){.samples = samples}, &e)) {
        fprintf(stderr, "%s\n", e.msg);
        _exit(3);
    }
    for (;;) {
        if (kd_work_next(w, items, 1 + kd_rng_below(&r, 16), &n, &e)) {
            fprintf(stderr, "%s\n", e.msg);
            _exit(4);
        }
        if (n == 0) {
            kd_work_state st;
            if (kd_work_count(w, &st, &e)) _exit(5);
            if (st.done == st.total) break;
            struct timespec rest = {0, 50000000};
            nanosleep(&rest, NULL);
            continue;
        }
        for (size_t i = 0; i < n; i++) a[i] = answer_of(items[i].prompt, items[i].sample, "42");
        if (kd_study_commit(s, set, 0, a, n, NULL, 0, NULL, &e)) {
            fprintf(stderr, "%s\n", e.msg);
            _exit(6);
        }
        for (size_t i = 0; i < n; i++) {
            int32_t said[2] = {(int32_t)items[i].prompt, items[i].sample};
            if (write(out, said, sizeof said) != sizeof said) _exit(7);
        }
    }
    kd_work_close(w);
    kd_study_close(s);
    _exit(0);
}

enum { PROMPTS = 400, SAMPLES = 3, PROCESSES = 3, KILLS = 60 };

/* Processes share a study and are killed at random moments: in the end every answer is there once, and whatever was reported saved is there. */
static void test_kills(void **state) {
    (void)state;
    kd_study *s = study_of("many.study", PROMPTS);
    int64_t set = settings_of(s);
    static int said[PROMPTS + 1][SAMPLES];
    memset(said, 0, sizeof said);
    kd_study_close(s); /* nothing of SQLite crosses the fork */
    int pipes[PROCESSES][2], pids[PROCESSES] = {0}, alive = PROCESSES, kills = 0;
    unsigned seed = 1;
    kd_rng r = {.key = 77};
    for (int i = 0; i < PROCESSES; i++) assert_int_equal(pipe(pipes[i]), 0);
    while (alive > 0) {
        for (int i = 0; i < PROCESSES; i++)
            if (pids[i] == 0 && (pids[i] = fork()) == 0) worker(pipes[i][1], set, SAMPLES, seed + (unsigned)i);
        seed += PROCESSES;
        struct timespec rest = {0, (long)kd_rng_below(&r, 12000000)};
        nanosleep(&rest, NULL);
        int victim = (int)kd_rng_below(&r, PROCESSES), status;
        if (kills < KILLS && pids[victim] > 0) {
            kill(pids[victim], SIGKILL);
            kills++;
        }
        for (int i = 0; i < PROCESSES; i++)
            if (pids[i] > 0 && waitpid(pids[i], &status, kills < KILLS && i != victim ? WNOHANG : 0) == pids[i]) {
                if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                    pids[i] = -1;
                    alive--;
                } else if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) {
                    pids[i] = 0;
                } else {
                    fail_msg("a worker ended with status %x", status);
                }
            }
    }
    for (int i = 0; i < PROCESSES; i++) {
        int32_t one[2];
        close(pipes[i][1]);
        while (read(pipes[i][0], one, sizeof one) == sizeof one) said[one[0]][one[1]]++;
        close(pipes[i][0]);
    }
    OK(kd_study_open(&s, in_tmp("many.study"), KD_STUDY_READ, &e));
    OK(kd_study_check(s, &e));
    kd_select *q = NULL;
    kd_row row;
    bool more = true;
    int rows = 0, twice = 0, lost = 0;
    OK(kd_select_open(&q, s, &(kd_select_opts){.any = true}, &e));
    for (;;) {
        OK(kd_select_next(q, &row, &more, &e));
        if (!more) break;
        rows++;
        twice += said[row.prompt][row.sample] > 1;
        lost += said[row.prompt][row.sample] == 0; /* saved, but killed before it could say so */
        said[row.prompt][row.sample] = -1;
    }
    for (int p = 1; p <= PROMPTS; p++)
        for (int k = 0; k < SAMPLES; k++) assert_true(said[p][k] == -1); /* reported saved and there */
    assert_int_equal(rows, PROMPTS * SAMPLES);
    assert_int_equal(twice, 0);
    kd_spend spend;
    OK(kd_study_spend(s, 0, &spend, &e));
    assert_int_equal(spend.samples, PROMPTS * SAMPLES);
    print_message("# %d kills, %d answers saved whose report was lost\n", kills, lost);
    kd_select_close(q);
    kd_study_close(s);
}

/* Import and label killed at random moments, then run to their end: the same study as an unbroken run's. */
static void test_kill_import_label(void **state) {
    (void)state;
    enum { ROWS = 6000 };
    kd_buf b = {0};
    const char *file = in_tmp("big.jsonl");
    for (int i = 0; i < ROWS; i++)
        kd_buf_printf(&b, "{\"prompt\":\"How many is %d and %d?\",\"completion\":\"I say %d.\",\"answer\":\"%d\"}\n", i, i,
                      2 * i + (i % 3 == 0), 2 * i);
    write_text(file, b.data);
    kd_buf_clear(&b);
    kd_rng r = {.key = 5};
    for (int round = 0; round <= 12; round++) {
        int pid = fork(), status;
        if (pid == 0) {
            kd_study *s = NULL;
            kd_err e;
            kd_code rc = kd_study_open(&s, in_tmp("broken.study"), KD_STUDY_CREATE, &e);
            if (!rc) rc = kd_import_file(s, file, NULL, NULL, NULL, &e);
            if (!rc) rc = kd_label_run(s, NULL, NULL, NULL, &e);
            if (rc) fprintf(stderr, "%s\n", e.msg);
            _exit(rc ? 1 : 0);
        }
        if (round < 12) {
            struct timespec rest = {0, (long)kd_rng_below(&r, 150000000)};
            nanosleep(&rest, NULL);
            kill(pid, SIGKILL);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        if (round == 12) assert_int_equal(status, 0);
    }
    kd_study *s = NULL;
    OK(kd_study_open(&s, in_tmp("broken.study"), KD_STUDY_WRITE, &e));
    OK(kd_study_check(s, &e));
    kd_select *q = NULL;
    uint64_t rows = 0, prompts = 0;
    OK(kd_select_open(&q, s, NULL, &e));
    OK(kd_select_count(q, &rows, &prompts, &e));
    assert_int_equal(rows, ROWS - ROWS / 3);
    assert_int_equal(prompts, rows);
    kd_select_close(q);
    kd_label_report rep;
    OK(kd_label_run(s, NULL, NULL, &rep, &e));
    assert_int_equal(rep.looked, 0);
    kd_study_close(s);
}

/* A file that may not grow stands for a full disk: the commit fails as a whole and says so; with room again it goes on. */
static void test_disk_full(void **state) {
    (void)state;
    kd_study *s = study_of("full.study", 200);
    int64_t set = settings_of(s);
    kd_study_close(s);
    int pid = fork(), status;
    if (pid == 0) {
        kd_err e;
        size_t added = 0, total = 0;
        char *big = malloc(50000);
        memset(big, 'x', 49999);
        big[49999] = 0;
        signal(SIGXFSZ, SIG_IGN);
        if (kd_study_open(&s, in_tmp("full.study"), KD_STUDY_WRITE, &e)) _exit(1);
        struct rlimit lim = {2 << 20, RLIM_INFINITY};
        setrlimit(RLIMIT_FSIZE, &lim);
        kd_code rc = KD_OK;
        int k = 0;
        for (; k < 200 && !rc; k++) {
            kd_answer a[2] = {answer_of(1 + k, 0, big), answer_of(1 + k, 1, big)};
            rc = kd_study_commit(s, set, 0, a, 2, NULL, 0, &added, &e);
            total += added;
        }
        if (rc != KD_EIO || added != 0 || total != 2 * (size_t)(k - 1)) {
            fprintf(stderr, "code %d, %zu added, %zu in all, %d groups: %s\n", (int)rc, added, total, k, e.msg);
            _exit(2);
        }
        lim.rlim_cur = RLIM_INFINITY;
        setrlimit(RLIMIT_FSIZE, &lim);
        for (k--; k < 200; k++) {
            kd_answer a[2] = {answer_of(1 + k, 0, big), answer_of(1 + k, 1, big)};
            if (kd_study_commit(s, set, 0, a, 2, NULL, 0, &added, &e) || added != 2) {
                fprintf(stderr, "with room again: %s\n", e.msg);
                _exit(3);
            }
        }
        kd_study_close(s);
        free(big);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    OK(kd_study_open(&s, in_tmp("full.study"), KD_STUDY_READ, &e));
    OK(kd_study_check(s, &e));
    kd_spend spend;
    OK(kd_study_spend(s, set, &spend, &e));
    assert_int_equal(spend.samples, 400);
    kd_study_close(s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_share),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_kills),
        cmocka_unit_test(test_kill_import_label),
        cmocka_unit_test(test_disk_full),
    };
    return cmocka_run_group_tests_name("work", tests, make_tmp, drop_tmp);
}
