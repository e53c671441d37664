/* tests/distill/cli/test_progress.c - the bar on a terminal (a pty), plain lines elsewhere (a pipe), and the signals. */
#include "tests/distill/base/check.h"

#include "distill/cli/state.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/wait.h>

static kd_buf seen;

/* Everything that has come out so far, appended to seen. */
static void drain(int fd) {
    char s[4096];
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 30) > 0 && (p.revents & POLLIN)) {
        const ssize_t n = read(fd, s, sizeof s);
        if (n <= 0) break;
        assert_int_equal(kd_buf_append(&seen, s, (size_t)n), KD_OK);
    }
}

/* Waits until text has come out: no clock is held to anything but patience. */
static void expect(int fd, const char *text) {
    for (int i = 0; i < 500; i++) {
        drain(fd);
        if (seen.data && strstr(seen.data, text)) return;
    }
    fail_msg("'%s' never came; there was: %s", text, seen.data ? seen.data : "");
}

static kd_progress *start(int fd, bool tty, bool quiet) {
    kd_progress *p;
    const kd_progress_options o = {.fd = fd, .tty = tty, .colour = tty, .quiet = quiet, .patience = 0.01, .every = 0.02};
    assert_int_equal(kd_progress_new(&p, &o, NULL), KD_OK);
    seen.len = 0;
    return p;
}

static void send(kd_progress *p, kd_event_kind kind, uint64_t done, uint64_t total, const char *text) {
    kd_emit(kd_progress_watch(p),
            (kd_event){.kind = kind, .stage = "train", .done = done, .total = total, .unit = "updates", .text = text});
}

static void open_terminal(int *master, int *slave) {
    *master = posix_openpt(O_RDWR | O_NOCTTY);
    assert_true(*master >= 0 && grantpt(*master) == 0 && unlockpt(*master) == 0);
    *slave = open(ptsname(*master), O_RDWR | O_NOCTTY);
    assert_true(*slave >= 0);
}

static void test_bar(void **state) {
    (void)state;
    int master, slave;
    open_terminal(&master, &slave);
    kd_progress *p = start(slave, true, false);
    send(p, KD_EV_BEGIN, 0, 200, NULL);
    send(p, KD_EV_STEP, 50, 200, "loss 1.23");
    expect(master, "\rtrain ######..................  25% 50/200 updates");
    expect(master, "loss 1.23");
    seen.len = 0;
    send(p, KD_EV_WARN, 0, 0, "something odd");
    expect(master, "\r\033[K\033[33mdistill: warning: \033[0msomething odd\r\n"); /* the bar is wiped, then the line */
    expect(master, "25%");                                                        /* and drawn again below it */
    seen.len = 0;
    send(p, KD_EV_END, 200, 200, NULL);
    expect(master, "200/200 updates in ");
    kd_progress_free(p);
    drain(master);
    assert_null(strstr(seen.data, "25%"));
    (void)close(slave);
    (void)close(master);
}

static void test_quiet_and_quick(void **state) {
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    kd_progress *p = start(fd[1], false, true);
    send(p, KD_EV_BEGIN, 0, 10, NULL);
    (void)usleep(20000);
    send(p, KD_EV_STEP, 5, 10, NULL);
    send(p, KD_EV_NOTE, 0, 0, "a remark");
    send(p, KD_EV_WARN, 0, 0, "a warning");
    send(p, KD_EV_END, 10, 10, NULL);
    kd_progress_free(p);
    drain(fd[0]);
    assert_string_equal(seen.data, "distill: warning: a warning\n"); /* with -q, warnings alone */
    const kd_progress_options slow = {.fd = fd[1]};
    assert_int_equal(kd_progress_new(&p, &slow, NULL), KD_OK); /* what ends within two seconds shows nothing */
    seen.len = 0;
    send(p, KD_EV_BEGIN, 0, 10, NULL);
    send(p, KD_EV_STEP, 5, 10, NULL);
    send(p, KD_EV_END, 10, 10, NULL);
    kd_progress_free(p);
    drain(fd[0]);
    assert_int_equal(seen.len, 0);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void test_plain_lines(void **state) {
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    kd_progress *p = start(fd[1], false, false);
    send(p, KD_EV_BEGIN, 100, 1000, NULL); /* resumed at 100: the rate counts from there */
    for (uint64_t i = 101; i < 110; i++) {
        (void)usleep(11000);
        send(p, KD_EV_STEP, i, 1000, "ctrl\033[2J");
    }
    send(p, KD_EV_NOTE, 0, 0, "a remark");
    send(p, KD_EV_END, 0, 0, NULL);
    kd_progress_free(p);
    drain(fd[0]);
    assert_non_null(strstr(seen.data, "train: 10"));
    assert_non_null(strstr(seen.data, "/1000 updates"));
    assert_non_null(strstr(seen.data, " left"));
    assert_non_null(strstr(seen.data, "\na remark\n"));
    assert_non_null(strstr(seen.data, "109/1000 updates in "));
    assert_null(strchr(seen.data, '\033')); /* no escape of ours, and none of a text's */
    assert_null(strchr(seen.data, '\r'));
    (void)close(fd[0]);
    (void)close(fd[1]);
}

/* Nested stages, more than are shown, and events out of place do no harm. */
static void test_nesting(void **state) {
    (void)state;
    int fd[2];
    assert_int_equal(pipe(fd), 0);
    kd_progress *p = start(fd[1], false, false);
    send(p, KD_EV_END, 1, 1, NULL);
    send(p, KD_EV_STEP, 1, 1, NULL);
    for (int i = 0; i < 10; i++) send(p, KD_EV_BEGIN, 0, 1, NULL);
    send(p, KD_EV_STEP, 7, 1, NULL); /* more done than there is */
    for (int i = 0; i < 12; i++) send(p, KD_EV_END, 0, 0, NULL);
    kd_progress_free(p);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void *emit_many(void *arg) {
    for (uint64_t i = 0; i < 2000; i++) send(arg, i % 100 ? KD_EV_STEP : KD_EV_NOTE, i, 2000, "x");
    return NULL;
}

static void test_many_threads(void **state) {
    (void)state;
    const int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    kd_progress *p = start(fd, true, false);
    pthread_t t[4];
    send(p, KD_EV_BEGIN, 0, 2000, NULL);
    for (int i = 0; i < 4; i++) assert_int_equal(pthread_create(&t[i], NULL, emit_many, p), 0);
    for (int i = 0; i < 4; i++) (void)pthread_join(t[i], NULL);
    send(p, KD_EV_END, 2000, 2000, NULL);
    kd_progress_free(p);
    (void)close(fd);
}

/* A child in a stage (or not), sent signals; its exit status. */
static int child(bool in_stage, int first, int second) {
    int ready[2];
    assert_int_equal(pipe(ready), 0);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
        kd_progress *p = start(null, false, true);
        kd_progress_signals();
        if (in_stage) send(p, KD_EV_BEGIN, 0, 0, NULL);
        (void)!write(ready[1], "r", 1);
        int stop;
        while (!(stop = kd_stopping(kd_progress_watch(p)))) (void)usleep(500);
        (void)!write(ready[1], "s", 1);
        if (second) /* saves for a long time */
            for (;;) (void)usleep(500);
        _exit(kd_exit_status((kd_code)stop));
    }
    char c;
    int status;
    assert_int_equal(read(ready[0], &c, 1), 1);
    (void)kill(pid, first);
    if (second) {
        assert_int_equal(read(ready[0], &c, 1), 1);
        (void)kill(pid, second);
    }
    (void)close(ready[1]);
    (void)waitpid(pid, &status, 0);
    (void)close(ready[0]);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static void test_signals(void **state) {
    (void)state;
    assert_int_equal(child(true, SIGINT, 0), 130);
    assert_int_equal(child(true, SIGTERM, 0), 143);
    assert_int_equal(child(true, SIGINT, SIGINT), 130); /* the second leaves at once */
    assert_int_equal(child(true, SIGTERM, SIGINT), 130);
    assert_int_equal(child(false, SIGINT, 0), 130); /* nothing under way: at once */
}

/* A mapped file cut short in use ends with a message and 74, not with a core. */
static void test_cut_map(void **state) {
    (void)state;
    char *dir = scratch_folder(), *path = kd_path_join(dir, "m");
    char *text = kd_calloc(1, 1 << 16);
    assert_int_equal(kd_file_write(path, text, 1 << 16, NULL), KD_OK);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        kd_map *m;
        kd_progress_signals();
        (void)close(STDERR_FILENO);
        if (kd_map_open(&m, path, NULL) || truncate(path, 10) != 0) _exit(1);
        volatile unsigned char c = kd_map_data(m)[40000];
        (void)c;
        _exit(2);
    }
    int status;
    (void)waitpid(pid, &status, 0);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 74);
    kd_free(text);
    kd_free(path);
    scratch_remove(dir);
}

static void test_human(void **state) {
    (void)state;
    char s[32];
    assert_string_equal(kd_human_bytes(0, s), "0 B");
    assert_string_equal(kd_human_bytes(1023, s), "1023 B");
    assert_string_equal(kd_human_bytes(1536, s), "1.5 KiB");
    assert_string_equal(kd_human_bytes(((uint64_t)1 << 20) - 1, s), "1.0 MiB");
    assert_string_equal(kd_human_bytes(UINT64_MAX, s), "16.0 EiB");
    assert_string_equal(kd_human_time(0.04, s), "0.0 s");
    assert_string_equal(kd_human_time(59.4, s), "59 s");
    assert_string_equal(kd_human_time(125, s), "2 min 05 s");
    assert_string_equal(kd_human_time(3599.9, s), "1 h 00 min");
    assert_string_equal(kd_human_time(90000, s), "1 d 01 h");
    assert_string_equal(kd_human_time(-1, s), "?");
    assert_string_equal(kd_human_time(1e300, s), "?");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bar),          cmocka_unit_test(test_quiet_and_quick),
                                       cmocka_unit_test(test_plain_lines),  cmocka_unit_test(test_nesting),
                                       cmocka_unit_test(test_many_threads), cmocka_unit_test(test_signals),
                                       cmocka_unit_test(test_cut_map),      cmocka_unit_test(test_human)};
    const int rc = cmocka_run_group_tests(tests, NULL, NULL);
    kd_buf_clear(&seen);
    return rc;
}
