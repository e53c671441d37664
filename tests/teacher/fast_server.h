/* tests/teacher/fast_server.h - a server that is not the bottleneck: one process, epoll, a fixed completion. For benches and for what queueing looks like.
 * Answers after .delay_ms of service in one of .slots (0: as many as come, nobody queues); a request that finds no slot waits, and is never refused. */
#ifndef KD_TESTS_FAST_SERVER_H
#define KD_TESTS_FAST_SERVER_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef struct {
    double delay_ms;
    int slots;           /* at most 4096 */
    size_t answer_bytes; /* of the content; 0: 300 */
    int core;            /* pinned there; negative: anywhere */
} fast_opts;
typedef struct {
    uint64_t requests, most_open, most_waiting; /* waiting: taken in, not answered, queue and service alike */
} fast_seen;
typedef struct {
    int port;
    pid_t pid;
    char url[64];
    volatile fast_seen *seen; /* shared with the child */
} fast_server;

enum { FAST_IN = 16384, FAST_MOST = 16384 };
typedef struct {
    int fd, n, busy;
    char *in;
} fast_conn;
typedef struct {
    fast_conn *c;
    int fd;
    double due;
} fast_due;

static double fast_clock(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void fast_pin(int core) {
    cpu_set_t set;
    CPU_ZERO(&set);
    if (core < 0) return;
    CPU_SET((unsigned)core, &set);
    if (sched_setaffinity(0, sizeof set, &set)) perror("sched_setaffinity");
}

/* Bytes of the first whole request in c->in; 0: not whole yet. */
static int fast_whole(const fast_conn *c) {
    char *end = memmem(c->in, (size_t)c->n, "\r\n\r\n", 4);
    if (!end) return 0;
    *end = 0;
    char *at = strcasestr(c->in, "content-length:");
    int n = (int)(end - c->in) + 4 + (at ? atoi(at + 15) : 0);
    *end = '\r';
    return n <= c->n ? n : 0;
}

static char *fast_answer(size_t bytes, int *n) {
    static const char words[] = "Let us add the two numbers step by step; the sum is what was asked for. ";
    char *body = malloc(bytes + 1000), *out = malloc(bytes + 1300);
    size_t k =
        (size_t)sprintf(body, "{\"id\":\"chatcmpl-9\",\"object\":\"chat.completion\",\"created\":1700000000,\"model\":\"fast\",\"choices\":"
                              "[{\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"");
    for (size_t i = 0; i < bytes; i++) body[k++] = words[i % (sizeof words - 1)];
    k += (size_t)sprintf(body + k,
                         "\"},\"logprobs\":null,\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":14,\"completion_tokens\":70,"
                         "\"total_tokens\":84}}");
    *n = sprintf(out, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s", k, body);
    free(body);
    return out;
}

static void fast_serve(int listener, const fast_opts *o, volatile fast_seen *seen) {
    static fast_due ring[FAST_MOST * 2];
    static double slot[4096];
    static struct epoll_event ev[512];
    size_t head = 0, tail = 0, next_slot = 0, open = 0;
    int n_answer, ep = epoll_create1(EPOLL_CLOEXEC);
    char *answer = fast_answer(o->answer_bytes ? o->answer_bytes : 300, &n_answer);
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &(struct epoll_event){.events = EPOLLIN});
    for (;;) {
        double now = fast_clock(), wait = tail != head ? (ring[head % (FAST_MOST * 2)].due - now) * 1000 : 1000;
        int n = epoll_wait(ep, ev, 512, wait <= 0 ? 0 : (int)wait + 1);
        now = fast_clock();
        for (int i = 0; i < n; i++) {
            fast_conn *c = ev[i].data.ptr;
            if (!c) {
                for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
                    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                    c = calloc(1, sizeof *c);
                    c->fd = fd, c->in = malloc(FAST_IN + 1);
                    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &(struct epoll_event){.events = EPOLLIN | EPOLLRDHUP, .data.ptr = c});
                    open++;
                    if (open > seen->most_open) seen->most_open = open;
                }
                continue;
            }
            ssize_t got = recv(c->fd, c->in + c->n, (size_t)(FAST_IN - c->n), 0);
            if (got == 0 || (got < 0 && errno != EAGAIN)) {
                epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
                close(c->fd);
                c->fd = -1; /* a due answer may still point here: the few bytes are let go of with the process */
                open--;
                continue;
            }
            if (got > 0) c->n += (int)got, c->in[c->n] = 0;
            int whole = fast_whole(c);
            if (!whole) continue;
            memmove(c->in, c->in + whole, (size_t)(c->n - whole));
            c->n -= whole;
            seen->requests = seen->requests + 1;
            if (o->delay_ms <= 0) {
                if (send(c->fd, answer, (size_t)n_answer, MSG_NOSIGNAL) != n_answer) perror("send");
                continue;
            }
            double from = now;
            if (o->slots > 0) {
                from = slot[next_slot] > now ? slot[next_slot] : now;
                slot[next_slot] = from + o->delay_ms / 1000;
                next_slot = (next_slot + 1) % (size_t)o->slots;
            }
            ring[tail++ % (FAST_MOST * 2)] = (fast_due){c, c->fd, from + o->delay_ms / 1000};
            if (tail - head > seen->most_waiting) seen->most_waiting = tail - head;
        }
        for (now = fast_clock(); head != tail && ring[head % (FAST_MOST * 2)].due <= now; head++) {
            fast_due *d = &ring[head % (FAST_MOST * 2)];
            if (d->c->fd == d->fd && send(d->fd, answer, (size_t)n_answer, MSG_NOSIGNAL) != n_answer) perror("send");
        }
    }
}

static fast_server fast_start(const fast_opts *o) {
    fast_server s = {0};
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    s.seen = mmap(NULL, sizeof *s.seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, 8192) || getsockname(fd, (struct sockaddr *)&a, &len) ||
        s.seen == MAP_FAILED)
        abort();
    s.port = ntohs(a.sin_port);
    snprintf(s.url, sizeof s.url, "http://127.0.0.1:%d/v1", s.port);
    fflush(NULL);
    if (!(s.pid = fork())) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        struct rlimit lim;
        if (!getrlimit(RLIMIT_NOFILE, &lim)) lim.rlim_cur = lim.rlim_max, setrlimit(RLIMIT_NOFILE, &lim);
        fast_pin(o->core);
        fast_serve(fd, o, s.seen);
        _exit(0);
    }
    close(fd);
    return s;
}

static void fast_stop(fast_server *s) {
    kill(s->pid, SIGKILL);
    waitpid(s->pid, NULL, 0);
    munmap((void *)(uintptr_t)s->seen, sizeof *s->seen);
}

#endif
