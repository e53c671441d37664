/* tests/distill/base/test_pool.c */
#include "check.h"

#include "distill/base/pool.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { MOST = 5000 };
typedef struct {
    atomic_int times[MOST];
    atomic_int workers[16];
    int threads;
    int slow;
} job;

static void count(void *ctx, size_t task, int worker) {
    job *j = ctx;
    if (!(worker >= 0 && worker < j->threads)) abort();
    atomic_fetch_add(&j->times[task], 1);
    atomic_fetch_add(&j->workers[worker], 1);
    for (volatile int i = 0; i < j->slow; i++) {}
}

static void each_once(kd_pool *p, size_t tasks, int slow) {
    static job j;
    memset(&j, 0, sizeof j);
    j.threads = kd_pool_threads(p);
    j.slow = slow;
    kd_pool_run(p, count, &j, tasks);
    for (size_t i = 0; i < MOST; i++) assert_int_equal(atomic_load(&j.times[i]), i < tasks);
}

static void test_each_task_once(void **state) {
    (void)state;
    for (int threads = 1; threads <= 9; threads += 4) {
        kd_pool *p;
        kd_err e = {0};
        assert_int_equal(kd_pool_new(&p, threads, &e), KD_OK);
        assert_int_equal(kd_pool_threads(p), threads);
        for (size_t tasks = 0; tasks <= 20; tasks++) each_once(p, tasks, 0);
        each_once(p, MOST, 10);
        for (int i = 0; i < 300; i++) each_once(p, 3, i % 3 == 0 ? 20000 : 0);
        (void)usleep(2000); /* the workers go to sleep, and wake again */
        each_once(p, 100, 1000);
        kd_pool_free(p);
    }
    kd_pool_free(NULL);
}

static void test_no_pool(void **state) {
    (void)state;
    assert_int_equal(kd_pool_threads(NULL), 1);
    each_once(NULL, 17, 0);
}

static void in_order(void *ctx, size_t task, int worker) {
    size_t *next = ctx;
    (void)worker;
    if (*next != task) abort();
    ++*next;
}

static void test_alone_in_order(void **state) {
    (void)state;
    size_t next = 0;
    kd_pool_run(NULL, in_order, &next, 100);
    assert_int_equal(next, 100);
}

/* What the caller wrote before a run the workers see, and what they wrote the caller sees after it: for the thread sanitizer. */
static long table[64], sums[64];
static void sum_up(void *ctx, size_t task, int worker) {
    (void)ctx, (void)worker;
    sums[task] += table[task];
}

static void test_memory_order(void **state) {
    (void)state;
    kd_pool *p;
    assert_int_equal(kd_pool_new(&p, 4, NULL), KD_OK);
    long expected = 0;
    memset(sums, 0, sizeof sums);
    for (long round = 0; round < 5000; round++) {
        for (int i = 0; i < 64; i++) table[i] = round + i;
        kd_pool_run(p, sum_up, NULL, 64);
        expected += round;
        if (round % 1000 == 999) (void)usleep(1000);
    }
    for (int i = 0; i < 64; i++) assert_int_equal(sums[i], expected + 5000L * i);
    kd_pool_free(p);
}

static void test_arguments(void **state) {
    (void)state;
    kd_pool *p;
    kd_err e = {0};
    assert_int_equal(kd_pool_new(&p, -1, &e), KD_EINVAL);
    assert_null(p);
    assert_int_equal(kd_pool_new(&p, 5000, &e), KD_EINVAL);
    assert_int_equal(kd_pool_new(&p, 0, &e), KD_OK);
    assert_true(kd_pool_threads(p) >= 1);
    kd_pool_free(p);
    SWEEP(kd_pool_new(&p, 3, &e), kd_pool_free(p));
}

/* Signals are the caller's: workers keep them all blocked. */
static atomic_int handled_by_caller;
static pthread_t caller;
static void handler(int sig) {
    (void)sig;
    atomic_store(&handled_by_caller, pthread_equal(pthread_self(), caller) ? 1 : 2);
}

static void test_signals(void **state) {
    (void)state;
    kd_pool *p;
    caller = pthread_self();
    (void)signal(SIGUSR1, handler);
    assert_int_equal(kd_pool_new(&p, 4, NULL), KD_OK);
    for (int i = 0; i < 50; i++) {
        atomic_store(&handled_by_caller, 0);
        (void)kill(getpid(), SIGUSR1);
        while (atomic_load(&handled_by_caller) == 0) (void)usleep(10);
        assert_int_equal(atomic_load(&handled_by_caller), 1);
    }
    kd_pool_free(p);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_each_task_once), cmocka_unit_test(test_no_pool),
                                       cmocka_unit_test(test_alone_in_order), cmocka_unit_test(test_memory_order),
                                       cmocka_unit_test(test_arguments),      cmocka_unit_test(test_signals)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
