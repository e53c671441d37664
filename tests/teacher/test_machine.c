/* tests/teacher/test_machine.c - the machine fails under a remote run: the wall clock jumps back, every write fails in turn (no room; an error of the disk), every
 * allocation of the process fails in turn, libraries' own counted in. clock_gettime, the writing calls and malloc are this program's, so libcurl and SQLite meet them
 * too. EVERY=1: each call in turn, not a stride of them. */
#include "remote_help.h"

#include <stdatomic.h>
#include <sys/syscall.h>

#include "distill/base/rng.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OWN_MALLOC 0 /* the sanitizer's is there */
#else
#define OWN_MALLOC 1
#endif

/* ---- the clock on the wall ---- */
static _Atomic long set_back; /* seconds */

int clock_gettime(clockid_t id, struct timespec *t) {
    int rc = (int)syscall(SYS_clock_gettime, id, t);
    if (!rc && id == CLOCK_REALTIME) t->tv_sec -= set_back;
    return rc;
}

time_t time(time_t *out) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out) *out = t.tv_sec;
    return t.tv_sec;
}

/* ---- writes: the nth from now on fails, and the rest of them too where lasting ---- */
static _Atomic long write_left; /* 0: none fails */
static _Atomic int write_errno, lasting;

static bool write_fails(void) {
    long was = atomic_load(&write_left);
    if (was <= 0) return false;
    was = atomic_fetch_sub(&write_left, 1);
    if (was > 1) return false;
    if (lasting) atomic_store(&write_left, 1);
    errno = write_errno;
    return true;
}

ssize_t pwrite64(int fd, const void *p, size_t n, off_t at) { return write_fails() ? -1 : (ssize_t)syscall(SYS_pwrite64, fd, p, n, at); }
int fdatasync(int fd) { return write_fails() ? -1 : (int)syscall(SYS_fdatasync, fd); }
int ftruncate64(int fd, off_t n) { return write_fails() ? -1 : (int)syscall(SYS_ftruncate, fd, n); }

/* ---- allocations ---- */
static _Atomic long alloc_left, alloc_failed;
static _Thread_local bool exempt; /* the server's thread */

static bool alloc_fails(void) {
    if (atomic_load(&alloc_left) <= 0 || exempt) return false;
    if (atomic_fetch_sub(&alloc_left, 1) != 1) return false;
    atomic_fetch_add(&alloc_failed, 1);
    errno = ENOMEM;
    return true;
}

#if OWN_MALLOC
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
void *malloc(size_t n) { return alloc_fails() ? NULL : __libc_malloc(n); }
void *calloc(size_t n, size_t size) { return alloc_fails() ? NULL : __libc_calloc(n, size); }
void *realloc(void *p, size_t n) { return alloc_fails() ? NULL : __libc_realloc(p, n); }
#endif

/* ---- tests ---- */
static long next_of(long i) { return getenv("EVERY") ? i + 1 : i + 1 + i / 12; }

/* Goes back by a day while requests are in the air, and while some wait for a date that was said in the old time. */
static void jump(void *ctx, const request *q, reply *a) {
    static const char *const headers = "retry-after-ms: 30\r\n";
    static char date[80];
    (void)ctx;
    good(NULL, q, a);
    a->delay_ms = 5;
    if (q->number == 10) {
        free(a->body);
        a->status = 429, a->headers = headers, a->body = copy_of("wait");
    } else if (q->number == 20) {
        set_back = 86400;
    } else if (q->number == 40) { /* a second from now, by the clock as it is */
        time_t then = time(NULL) + 1;
        struct tm tm;
        strftime(date, sizeof date, "Retry-After: %a, %d %b %Y %H:%M:%S GMT\r\n", gmtime_r(&then, &tm));
        free(a->body);
        a->status = 503, a->headers = date, a->body = copy_of("wait");
    } else if (q->number == 60)
        set_back = -86400 * 400L;
}

static void test_clock(void **state) {
    (void)state;
    char path[160];
    kd_study *s = study_of("clock.study", 100);
    server *h = server_start(jump, NULL);
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = remote(h);
    kd_teach_report r;
    snprintf(path, sizeof path, "%s", in_tmp("clock.study"));
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(r.answered == 100 && r.retried == 2 && r.seconds >= 0 && r.latency[0] > 0);
    set_back = 86400 * 3000L; /* and a whole run in another year */
    o.work.samples = 2;
    OK(kd_teach_remote(s, &o, &ro, NULL, &r, &e));
    assert_true(r.answered == 100 && r.done_before == 100);
    assert_int_equal(server_requests(h), 202);
    kd_study_close(s);
    set_back = 0;
    server_stop(h);
    holds_all(path, 200);
    assert_int_equal(sql(path, "SELECT count(*) FROM samples WHERE seconds<0 OR seconds>100"), 0);
}

/* An asking of one more sample of each question, with everything opened anew. */
static kd_code ask(const char *path, const server *h, int samples, kd_err *e) {
    kd_study *s = NULL;
    kd_teach_report r;
    kd_teach_opts o = opts(samples);
    kd_remote_opts ro = remote(h);
    ro.concurrency = 4;
    kd_code c = kd_study_open(&s, path, KD_STUDY_WRITE, e);
    if (!c) c = kd_teach_remote(s, &o, &ro, NULL, &r, e);
    kd_study_close(s);
    return c;
}

/* The leases of a run that could not even give them back belong to this process, which lives: for the test it has died. */
static void bury(const char *path) {
    kd_db *db = NULL;
    OK(kd_db_open(&db, path, KD_DB_WRITE, &e));
    OK(kd_db_exec(db, "UPDATE owners SET start='1'", &e));
    kd_db_close(db);
}

static void test_writes(void **state) {
    (void)state;
    char path[160];
    static const int errors[] = {ENOSPC, ENOSPC, EIO};
    snprintf(path, sizeof path, "%s", in_tmp("writes.study"));
    kd_study_close(study_of("writes.study", 3));
    server *h = server_start(good, NULL);
    int failures = 0, rounds = 0, samples = 1;
    for (int kind = 0; kind < 3; kind++) { /* one write, all from there on, one with an error of the disk */
        for (long i = 1;; i = next_of(i), rounds++) {
            kd_err err = {0};
            write_errno = errors[kind];
            lasting = kind == 1;
            write_left = i;
            kd_code c = ask(path, h, samples, &err);
            bool reached = lasting ? c != KD_OK : write_left <= 0;
            write_left = 0;
            if (c && (c != KD_EIO || !strstr(err.msg, "writes.study")))
                fail_msg("write %ld of kind %d: code %d %s", i, kind, (int)c, err.msg);
            failures += c != KD_OK;
            bury(path);
            OK(ask(path, h, samples, &e)); /* with room again: what is missing */
            holds_all(path, 3 * samples);
            samples++;
            if (!reached) break;
        }
    }
    printf("# %d runs, %d of them failed for a write\n", rounds, failures);
    assert_true(failures > 30);
    int64_t asked = server_requests(h), lost = sql(path, "SELECT count(*) FROM attempts WHERE reason='lost'");
    assert_true(asked <= 3 * (samples - 1) + lost); /* what was asked again had been counted as lost */
    server_stop(h);
}

static void excuse(void *ctx, const request *q, reply *a) {
    exempt = true;
    good(ctx, q, a);
}

static void test_allocations(void **state) {
    (void)state;
    char path[160];
    if (!OWN_MALLOC) {
        print_message("# the sanitizer's malloc cannot fail in turn: left to the plain build\n");
        return;
    }
    snprintf(path, sizeof path, "%s", in_tmp("memory.study"));
    kd_study_close(study_of("memory.study", 1));
    server *h = server_start(excuse, NULL);
    kd_err err = {0};
    int failures = 0, samples = 1, rounds = 0;
    OK(ask(path, h, samples++, &err)); /* libcurl is loaded, the server's thread is known */
    for (long i = 1;; i = next_of(i), rounds++) {
        alloc_failed = 0;
        alloc_left = i;
        kd_code c = ask(path, h, samples, &err);
        alloc_left = 0;
        if (c && c != KD_ENOMEM) fail_msg("allocation %ld: code %d %s", i, (int)c, err.msg);
        failures += c != KD_OK;
        bury(path);
        OK(ask(path, h, samples, &e));
        assert_int_equal(sql(path, "SELECT count(*) FROM samples"), samples);
        samples++;
        if (!alloc_failed) break;
    }
    printf("# %d runs, %d of them failed for memory\n", rounds, failures);
    assert_true(failures > 30);
    server_stop(h);
    holds_all(path, samples - 1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_clock), cmocka_unit_test(test_writes), cmocka_unit_test(test_allocations)};
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("machine", tests, make_tmp, drop_tmp);
}
