/* tests/teacher/test_http2.c - the remote teacher over HTTP/2 and TLS: nghttpx (Debian's nghttp2-proxy) in front of the scripted server. That requests share a connection
 * is read in the proxy's log; faults are those that a proxy passes on or makes: cut and stalled streams among well ones, a connection that is ended politely or not. */
#include "remote_help.h"

#include <sys/prctl.h>

#include "distill/base/json.h"

static char proxy_url[64];
static int proxy_port;
static pid_t proxy;

/* A port that nobody has now. */
static int free_port(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, n) || getsockname(fd, (struct sockaddr *)&a, &n)) abort();
    close(fd);
    return ntohs(a.sin_port);
}

static bool answers(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool there = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof a) == 0;
    if (fd >= 0) close(fd);
    return there;
}

/* On proxy_port, before the server. */
static void proxy_start(const server *s) {
    char front[64], back[64], log[200], err[200];
    snprintf(front, sizeof front, "--frontend=127.0.0.1,%d", proxy_port);
    snprintf(back, sizeof back, "--backend=127.0.0.1,%d", server_port(s));
    snprintf(log, sizeof log, "--accesslog-file=%s", in_tmp("access.log"));
    snprintf(err, sizeof err, "--errorlog-file=%s", in_tmp("error.log"));
    if (!(proxy = fork())) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        char *const argv[] = {(char *)"nghttpx",
                              (char *)"--conf=/dev/null",
                              (char *)"--single-process",
                              (char *)"--no-ocsp",
                              (char *)"--accesslog-format=$alpn $remote_port $status",
                              front,
                              back,
                              log,
                              err,
                              strdup(in_tmp("key.pem")),
                              strdup(in_tmp("cert.pem")),
                              NULL};
        if (!freopen("/dev/null", "w", stderr) || !freopen("/dev/null", "w", stdout)) _exit(1);
        execvp("nghttpx", argv);
        execv("/usr/sbin/nghttpx", argv);
        _exit(127);
    }
    for (int i = 0; i < 2000 && !answers(proxy_port); i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
    assert_true(answers(proxy_port));
}

static void proxy_stop(int sig) {
    kill(proxy, sig);
    waitpid(proxy, NULL, 0);
}

static int begin(void **state) {
    char cmd[700];
    if (make_tmp(state)) return -1;
    snprintf(cmd, sizeof cmd,
             "cd %s && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=here -addext "
             "subjectAltName=IP:127.0.0.1 >/dev/null 2>&1",
             tmp_dir);
    if (system(cmd)) return -1;
    proxy_port = free_port();
    snprintf(proxy_url, sizeof proxy_url, "https://127.0.0.1:%d/v1", proxy_port);
    return 0;
}

static kd_remote_opts over_http2(void) {
    static char ca[160];
    kd_remote_opts ro = remote_at(proxy_url);
    snprintf(ca, sizeof ca, "%s", in_tmp("cert.pem"));
    ro.ca_file = ca, ro.concurrency = 64, ro.key = "s3cret-key";
    return ro;
}

/* Lines of the log, and connections in it; every one must be of HTTP/2. The log begins anew. */
static int connections(int *lines) {
    kd_buf b = {0};
    int ports[256], n = 0;
    *lines = 0;
    OK(kd_file_read(&b, in_tmp("access.log"), 1 << 24, &e));
    for (char *line = strtok(b.data, "\n"); line; line = strtok(NULL, "\n"), (*lines)++) {
        int port = 0, i = 0;
        if (sscanf(line, "h2 %d", &port) != 1) fail_msg("expected HTTP/2, the proxy's log says: %s", line);
        while (i < n && ports[i] != port) i++;
        if (i == n && n < 256) ports[n++] = port;
    }
    kd_buf_clear(&b);
    if (truncate(in_tmp("access.log"), 0)) abort();
    return n;
}

static void unhurried(void *ctx, const request *q, reply *a) {
    good(ctx, q, a);
    a->delay_ms = 20;
}

/* n questions asked through the proxy, which is gone then; the study is at path. */
static server *through_proxy(char path[160], const char *name, int n, answer_fn *answer, const kd_remote_opts *ro, kd_teach_report *r) {
    kd_study *s = study_of(name, n);
    server *h = server_start(answer, NULL);
    kd_teach_opts o = opts(1);
    proxy_start(h);
    snprintf(path, 160, "%s", in_tmp(name));
    OK(kd_teach_remote(s, &o, ro, NULL, r, &e));
    kd_study_close(s);
    proxy_stop(SIGTERM);
    return h;
}

static void test_shared(void **state) {
    (void)state;
    char path[160];
    int lines;
    const kd_remote_opts ro = over_http2();
    kd_teach_report r;
    server *h = through_proxy(path, "shared.study", 400, unhurried, &ro, &r);
    const int n = connections(&lines), most = server_most(h);
    server_stop(h);
    printf("# %d requests over %d connection(s) of HTTP/2, %d answered at one time\n", lines, n, most);
    assert_int_equal(lines, 400);
    assert_int_equal(n, 1);
    assert_true(most > 16 && most <= 64);
    holds_all(path, 400);
}

/* What a proxy passes on, or makes of it. The first requests meet them, a fault each; others share their connection. */
static const reply faults[] = {{.status = 429, .headers = "retry-after-ms: 20\r\n"},
                               {.status = 503, .headers = "Retry-After: 0\r\n"},
                               {.status = 500},
                               {.cut = 40, .end = END_RESET},
                               {.cut = 40, .end = END_CLOSE},
                               {.cut = 60, .pieces = 16, .end = END_CLOSE},
                               {.cut = 40, .end = END_STALL},
                               {.no_answer = true, .end = END_STALL},
                               {.no_answer = true, .end = END_CLOSE},
                               {.no_answer = true, .end = END_RESET},
                               {.headers = "Content-Type: text/event-stream\r\n", .cut = 30, .pieces = 9, .end = END_CLOSE}};
enum { FAULTS = sizeof faults / sizeof *faults };

static void faulty(void *ctx, const request *q, reply *a) {
    (void)ctx;
    if (q->number >= FAULTS) {
        unhurried(NULL, q, a);
        return;
    }
    *a = faults[q->number];
    a->body = completion("half", 10, 5);
}

static void test_faults(void **state) {
    (void)state;
    char path[160];
    int lines;
    kd_remote_opts ro = over_http2();
    kd_teach_report r;
    ro.timeout = 3;
    server *h = through_proxy(path, "faults.study", 100, faulty, &ro, &r);
    const int n = connections(&lines);
    printf("# %d requests over %d connection(s), %llu tried again\n", lines, n, (unsigned long long)r.retried);
    assert_int_equal(r.retried, FAULTS);
    assert_true(n <= 4); /* one stream's fault is not the connection's end */
    assert_int_equal(sql(path, "SELECT count(*) FROM samples WHERE answer='half'"), 0);
    assert_int_equal(sql(path, "SELECT count(*) FROM attempts WHERE substr(reason,1,8)='timeout:'"), 2);
    assert_true(sql(path, "SELECT count(*) FROM attempts WHERE substr(reason,1,4)='cut:'") >= 4);
    assert_int_equal(sql(path, "SELECT count(*) FROM attempts WHERE substr(reason,1,8) IN ('http 429','http 503','http 500')") >= 3, 1);
    holds_all(path, 100);
    server_stop(h);
}

/* The proxy goes away amid the run: killed; then, politely, with GOAWAY; and comes back each time. */
static server *behind;
static int gone;
static pid_t leaving;
static int leave(void *ctx) {
    (void)ctx;
    const int at = server_requests(behind);
    pthread_mutex_lock(&behind->lock);
    const int busy = behind->busy;
    pthread_mutex_unlock(&behind->lock);
    if (busy > 8 && ((gone == 0 && at >= 60) || (gone == 1 && at >= 180))) {
        if (gone++) { /* it ends when our streams have: not waited for here */
            kill(leaving = proxy, SIGQUIT);
            for (int i = 0; i < 200 && answers(proxy_port); i++) nanosleep(&(struct timespec){0, 10000000}, NULL);
        } else
            proxy_stop(SIGKILL);
        proxy_start(behind);
    }
    return 0;
}

static void uneven(void *ctx, const request *q, reply *a) {
    good(ctx, q, a);
    a->delay_ms = 5 + q->number * 7 % 40;
}

static void test_gone(void **state) {
    (void)state;
    char path[160];
    kd_study *s = study_of("gone.study", 300);
    const kd_watch w = {.stop = leave};
    kd_teach_opts o = opts(1);
    kd_remote_opts ro = over_http2();
    kd_teach_report r;
    behind = server_start(uneven, NULL);
    proxy_start(behind);
    ro.concurrency = 32;
    snprintf(path, sizeof path, "%s", in_tmp("gone.study"));
    OK(kd_teach_remote(s, &o, &ro, &w, &r, &e));
    kd_study_close(s);
    proxy_stop(SIGTERM);
    if (leaving) kill(leaving, SIGKILL), waitpid(leaving, NULL, 0);
    int lines;
    connections(&lines);
    assert_int_equal(gone, 2);
    printf("# 300 answers, %d requests, %llu tried again\n", server_requests(behind), (unsigned long long)r.retried);
    assert_true(r.answered == 300 && r.failed == 0 && r.retried > 0);
    assert_true(server_requests(behind) <= 300 + (int)r.retried);
    holds_all(path, 300);
    server_stop(behind);
}

static void streaming(void *ctx, const request *q, reply *a) {
    char text[400];
    (void)ctx;
    snprintf(text, sizeof text,
             "data: {\"choices\":[{\"delta\":{\"content\":\"answer \"}}]}\n\ndata: "
             "{\"choices\":[{\"delta\":{\"content\":\"%d\"},\"finish_reason\":\"stop\"}]}\n\n"
             "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":10,\"completion_tokens\":5}}\n\ndata: [DONE]\n\n",
             q->number);
    a->headers = "Content-Type: text/event-stream\r\n";
    a->body = copy_of(text);
    a->pieces = 40;
}

static void test_stream(void **state) {
    (void)state;
    char path[160];
    int lines;
    kd_remote_opts ro = over_http2();
    kd_teach_report r;
    ro.stream = true;
    server *h = through_proxy(path, "stream.study", 100, streaming, &ro, &r);
    assert_int_equal(connections(&lines), 1);
    server_stop(h);
    holds_all(path, 100);
    assert_int_equal(sql(path, "SELECT count(*) FROM samples WHERE completion_tokens=5 AND first_token_seconds>=0"), 100);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_shared), cmocka_unit_test(test_faults), cmocka_unit_test(test_gone),
                                       cmocka_unit_test(test_stream)};
    signal(SIGPIPE, SIG_IGN);
    if (system("PATH=$PATH:/usr/sbin; command -v nghttpx >/dev/null && command -v openssl >/dev/null")) {
        puts("1..1\nok 1 - HTTP/2 # SKIP no nghttpx");
        return 0;
    }
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests_name("http2", tests, begin, drop_tmp);
}
