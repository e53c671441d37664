/* tests/teacher/server.c - see server.h. Included by the tests that use it (a test is one file). */
#include "server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MOST_CONNECTIONS = 1024 };

typedef struct {
    int fd;
    char *in;
    size_t n_in, cap_in;
    bool busy; /* a reply is under way */
    reply a;
    char *out; /* header and body as they will be written */
    size_t n_out, sent, head;
    double due; /* when the next bytes may go */
} connection;

struct server {
    int listener, port, wake[2];
    char url[64];
    answer_fn *f;
    void *ctx;
    pthread_t thread;
    pthread_mutex_t lock;
    int requests, busy, most; /* under lock */
    connection c[MOST_CONNECTIONS];
    struct pollfd p[MOST_CONNECTIONS + 2];
    size_t n;
};

static double clock_s(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

char *copy_of(const char *text) {
    char *p = malloc(strlen(text) + 1);
    if (!p) abort();
    return strcpy(p, text);
}

char *completion(const char *text, int prompt_tokens, int completion_tokens) {
    char *p = malloc(strlen(text) + 300);
    if (!p) abort();
    sprintf(p,
            "{\"id\":\"x\",\"object\":\"chat.completion\",\"model\":\"scripted\",\"choices\":[{\"index\":0,\"message\":{\"role\":"
            "\"assistant\",\"content\":\"%s\"},"
            "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":%d,\"completion_tokens\":%d}}",
            text, prompt_tokens, completion_tokens);
    return p;
}

static void one_done(server *s) {
    pthread_mutex_lock(&s->lock);
    s->busy--;
    pthread_mutex_unlock(&s->lock);
}

static void close_connection(server *s, size_t i, bool reset) {
    connection *c = &s->c[i];
    if (reset) setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &(struct linger){1, 0}, sizeof(struct linger));
    close(c->fd);
    if (c->busy) one_done(s);
    free(c->in), free(c->out), free(c->a.body);
    *c = s->c[--s->n];
}

/* Header and body of c->a into c->out. */
static void compose(connection *c) {
    const reply *a = &c->a;
    size_t n = !a->body    ? 0
               : a->length ? a->length
                           : strlen(a->body),
           cap = n * (a->pieces ? 12 : 1) + 2000 + (a->headers ? strlen(a->headers) : 0);
    bool typed = a->headers && strcasestr(a->headers, "content-type:");
    c->out = malloc(cap);
    if (!c->out) abort();
    int k = snprintf(c->out, cap, "HTTP/1.1 %d Scripted\r\n%s%s", a->status ? a->status : 200,
                     typed ? "" : "Content-Type: application/json\r\n", a->headers ? a->headers : "");
    if (a->pieces)
        k += snprintf(c->out + k, cap - (size_t)k, "Transfer-Encoding: chunked\r\n\r\n");
    else
        k += snprintf(c->out + k, cap - (size_t)k, "Content-Length: %zu\r\n\r\n", n);
    c->head = c->n_out = (size_t)k;
    for (size_t at = 0; a->pieces && at < n; at += a->pieces) {
        size_t m = n - at < a->pieces ? n - at : a->pieces;
        c->n_out += (size_t)sprintf(c->out + c->n_out, "%zx\r\n", m);
        memcpy(c->out + c->n_out, a->body + at, m);
        memcpy(c->out + c->n_out + m, "\r\n", 2);
        c->n_out += m + 2;
    }
    if (a->pieces) {
        memcpy(c->out + c->n_out, "0\r\n\r\n", 5);
        c->n_out += 5;
    } else if (n) {
        memcpy(c->out + c->n_out, a->body, n);
        c->n_out += n;
    }
    if (a->no_answer)
        c->n_out = 0;
    else if (a->cut && c->head + a->cut < c->n_out)
        c->n_out = c->head + a->cut;
    c->sent = 0;
}

/* A whole request at the start of c->in begins its reply. */
static void look(server *s, connection *c) {
    char *end = c->n_in ? memmem(c->in, c->n_in, "\r\n\r\n", 4) : NULL;
    size_t length = 0;
    if (c->busy || !end) return;
    *end = 0;
    char *at = strcasestr(c->in, "content-length:");
    if (at) length = strtoul(at + 15, NULL, 10);
    *end = '\r';
    size_t head = (size_t)(end - c->in) + 4;
    if (c->n_in < head + length) return;
    end[2] = 0;
    char *body = malloc(length + 1);
    if (!body) abort();
    memcpy(body, c->in + head, length);
    body[length] = 0;
    memset(&c->a, 0, sizeof c->a);
    pthread_mutex_lock(&s->lock);
    int number = s->requests++;
    s->busy++;
    s->most = s->busy > s->most ? s->busy : s->most;
    pthread_mutex_unlock(&s->lock);
    s->f(s->ctx, &(request){.number = number, .body = body, .head = c->in}, &c->a);
    free(body);
    memmove(c->in, c->in + head + length, c->n_in - head - length);
    c->n_in -= head + length;
    c->busy = true;
    c->due = clock_s() + c->a.delay_ms / 1000.0;
    compose(c);
}

/* Writes what may go; false: the connection is to be closed. *reset says how. */
static bool move_on(server *s, connection *c, bool *reset) {
    if (!c->busy || clock_s() < c->due) return true;
    while (c->sent < c->n_out) {
        size_t m = c->n_out - c->sent;
        if (c->a.pieces && m > c->a.pieces + 16) m = c->a.pieces + 16; /* streams trickle: a few bytes a write */
        ssize_t n = send(c->fd, c->out + c->sent, m, MSG_NOSIGNAL);
        if (n < 0) return errno == EAGAIN;
        c->sent += (size_t)n;
        if (c->a.pieces) return true;
    }
    if (c->a.end == END_HALF) shutdown(c->fd, SHUT_WR);
    if (c->a.end == END_STALL || c->a.end == END_HALF) return true;
    *reset = c->a.end == END_RESET;
    free(c->out), free(c->a.body);
    c->out = c->a.body = NULL;
    c->n_out = 0;
    c->busy = false;
    one_done(s);
    return c->a.end == END_WELL;
}

static void take_in(server *s, size_t *i) {
    connection *c = &s->c[*i];
    if (c->cap_in < c->n_in + 65536) {
        c->cap_in = 2 * c->cap_in + 65537;
        if (!(c->in = realloc(c->in, c->cap_in))) abort();
    }
    ssize_t n = recv(c->fd, c->in + c->n_in, c->cap_in - c->n_in - 1, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN)) {
        close_connection(s, (*i)--, false);
        return;
    }
    c->n_in += n > 0 ? (size_t)n : 0;
    c->in[c->n_in] = 0;
}

static void *serve(void *ctx) {
    server *s = ctx;
    struct pollfd *p = s->p;
    for (;;) {
        double now = clock_s(), wait = 1;
        p[0] = (struct pollfd){.fd = s->wake[0], .events = POLLIN};
        p[1] = (struct pollfd){.fd = s->listener, .events = s->n < MOST_CONNECTIONS ? POLLIN : 0};
        for (size_t i = 0; i < s->n; i++) {
            connection *c = &s->c[i];
            bool write = c->busy && c->sent < c->n_out && now >= c->due;
            p[i + 2] = (struct pollfd){.fd = c->fd, .events = (short)(POLLIN | (write ? POLLOUT : 0))};
            if (c->busy && now < c->due && c->due - now < wait) wait = c->due - now;
        }
        size_t known = s->n;
        if (poll(p, known + 2, (int)(1000 * wait) + 1) < 0 && errno != EINTR) abort();
        if (p[0].revents) return NULL;
        if (p[1].revents & POLLIN) {
            int fd = accept4(s->listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
            if (fd >= 0) {
                setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
                s->c[s->n++] = (connection){.fd = fd};
            }
        }
        for (size_t k = known; k-- > 0;)
            if (p[k + 2].revents & (POLLIN | POLLHUP | POLLERR)) { /* from the last: closing moves the last one, seen already, here */
                size_t i = k;
                take_in(s, &i);
            }
        for (size_t i = 0; i < s->n; i++) {
            bool reset = false;
            look(s, &s->c[i]);
            if (!move_on(s, &s->c[i], &reset)) close_connection(s, i--, reset);
        }
    }
}

server *server_start(answer_fn *f, void *ctx) {
    server *s = calloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    if (!s) abort();
    s->f = f, s->ctx = ctx;
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (s->listener < 0 || bind(s->listener, (struct sockaddr *)&a, n) || listen(s->listener, 512) ||
        getsockname(s->listener, (struct sockaddr *)&a, &n) || pipe2(s->wake, O_CLOEXEC))
        abort();
    s->port = ntohs(a.sin_port);
    snprintf(s->url, sizeof s->url, "http://127.0.0.1:%d/v1", s->port);
    pthread_mutex_init(&s->lock, NULL);
    if (pthread_create(&s->thread, NULL, serve, s)) abort();
    return s;
}

int server_port(const server *s) { return s->port; }
const char *server_url(const server *s) { return s->url; }

int server_requests(server *s) {
    pthread_mutex_lock(&s->lock);
    int n = s->requests;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int server_most(server *s) {
    pthread_mutex_lock(&s->lock);
    int n = s->most;
    pthread_mutex_unlock(&s->lock);
    return n;
}

void server_stop(server *s) {
    if (write(s->wake[1], "x", 1) != 1) abort();
    pthread_join(s->thread, NULL);
    while (s->n) close_connection(s, s->n - 1, false);
    close(s->listener), close(s->wake[0]), close(s->wake[1]);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
