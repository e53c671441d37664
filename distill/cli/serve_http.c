/* distill/cli/serve_http.c - sockets and HTTP. The one file that includes libmicrohttpd. A thread a connection: it reads the request, runs serve_answer, which
 * may wait for the engine, and writes the answer. Bodies are bounded; a client that leaves is noticed while its answer is made. */
#include "distill/cli/serve.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { IDLE_SECONDS = 60, BACKLOG = 128, BLOCK_BYTES = 16384 };

struct serve_http {
    serve *s;
    struct MHD_Daemon *daemon;
};

/* What one request is made of, from its first line to the last byte of its answer. */
typedef struct {
    serve *s;
    struct MHD_Connection *connection;
    kd_buf body;
    int fd;
} exchange;

static bool gone(void *ctx) {
    char c;
    ssize_t n = recv(((exchange *)ctx)->fd, &c, 1, MSG_PEEK | MSG_DONTWAIT);
    return n == 0 || (n < 0 && errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
}

typedef struct {
    job *j;
    exchange *x;
} reading;

static ssize_t read_stream(void *cls, uint64_t pos, char *buf, size_t max) {
    reading *r = cls;
    (void)pos;
    long n = job_read(r->j, buf, max, gone, r->x);
    return n > 0 ? n : n == 0 ? MHD_CONTENT_READER_END_OF_STREAM : MHD_CONTENT_READER_END_WITH_ERROR;
}

static void end_stream(void *cls) {
    reading *r = cls;
    job_cancel(r->j); /* a no-op where it has ended */
    job_release(r->j);
    kd_free(r);
}

static struct MHD_Response *response_of(exchange *x, http_reply *r) {
    if (!r->stream) {
        size_t n = r->body.len;
        char *text = kd_buf_take(&r->body);
        struct MHD_Response *m = MHD_create_response_from_buffer_with_free_callback(n, text ? text : NULL, kd_free);
        if (!m) kd_free(text);
        return m;
    }
    reading *reader = kd_calloc(1, sizeof *reader);
    if (!reader) return NULL;
    *reader = (reading){r->stream, x};
    struct MHD_Response *m = MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, BLOCK_BYTES, read_stream, reader, end_stream);
    if (!m)
        kd_free(reader);
    else
        r->stream = NULL; /* the response's now */
    return m;
}

static enum MHD_Result send_reply(exchange *x, http_reply *r) {
    struct MHD_Response *m = response_of(x, r);
    if (r->stream) {
        job_cancel(r->stream);
        job_release(r->stream);
    }
    kd_buf_clear(&r->body);
    if (!m) return MHD_NO;
    MHD_add_response_header(m, "Content-Type", r->type ? r->type : "application/json");
    MHD_add_response_header(m, "Cache-Control", "no-store");
    MHD_add_response_header(m, "X-Content-Type-Options", "nosniff");
    if (r->allow) MHD_add_response_header(m, "Allow", r->allow);
    if (r->status == 401) MHD_add_response_header(m, "WWW-Authenticate", "Bearer");
    if (r->status == 503) MHD_add_response_header(m, "Retry-After", "5");
    if (r->status == 413 || r->status == 503 || atomic_load(&x->s->draining)) MHD_add_response_header(m, "Connection", "close");
    enum MHD_Result ok = MHD_queue_response(x->connection, r->status, m);
    MHD_destroy_response(m);
    serve_count(x->s, r->status);
    return ok;
}

static enum MHD_Result too_large(exchange *x) {
    http_reply r = {0};
    ask_error e;
    ask_fail(&e, 413, NULL, "the body is larger than %zu bytes", x->s->max_body);
    r.status = 413;
    say_error(&r.body, &e);
    return send_reply(x, &r);
}

static void set_timeout(struct MHD_Connection *c, unsigned seconds) {
    MHD_set_connection_option(c, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static enum MHD_Result begin(serve *s, struct MHD_Connection *c, void **con) {
    exchange *x = kd_calloc(1, sizeof *x);
    if (!x) return MHD_NO;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
    *x = (exchange){.s = s, .connection = c, .fd = info ? (int)info->connect_fd : -1};
    *con = x;
    atomic_fetch_add(&s->connections, 1);
    const char *length = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Length");
    return length && strtoull(length, NULL, 10) > s->max_body ? too_large(x) : MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method, const char *version,
                                  const char *data, size_t *size, void **con) {
    serve *s = cls;
    exchange *x = *con;
    (void)version;
    if (!x) return begin(s, c, con);
    if (*size) {
        if (*size > s->max_body - x->body.len || kd_buf_append(&x->body, data, *size))
            return MHD_NO; /* a length that was not told, or no memory */
        *size = 0;
        return MHD_YES;
    }
    set_timeout(c, 0); /* the engine may take longer than a client may be silent */
    http_request q = {.method = method,
                      .path = url,
                      .authorization = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Authorization"),
                      .content_type = MHD_lookup_connection_value(c, MHD_HEADER_KIND, "Content-Type"),
                      .body = {x->body.data ? x->body.data : "", x->body.len},
                      .gone = gone,
                      .ctx = x};
    http_reply r = {0};
    serve_answer(s, &q, &r);
    if (s->cli->verbose > 1) kd_note(s->cli, "%s %s: %u", method, url, r.status);
    return send_reply(x, &r);
}

static void on_completed(void *cls, struct MHD_Connection *c, void **con, enum MHD_RequestTerminationCode why) {
    serve *s = cls;
    exchange *x = *con;
    (void)why;
    if (!x) return;
    set_timeout(c, IDLE_SECONDS);
    kd_buf_clear(&x->body);
    kd_free(x);
    *con = NULL;
    atomic_fetch_sub(&s->connections, 1);
}

/* ---- the socket ---- */

static int listen_on(const struct addrinfo *a, int *why) {
    int fd = socket(a->ai_family, a->ai_socktype | SOCK_CLOEXEC, a->ai_protocol), on = 1;
    if (fd >= 0 && !setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) && !bind(fd, a->ai_addr, a->ai_addrlen) &&
        !listen(fd, BACKLOG))
        return fd;
    *why = errno;
    if (fd >= 0) close(fd);
    return -1;
}

/* A listening socket, and where it listens as a URL. */
static kd_code open_socket(int *fd, const char *host, int port, char url[160], kd_err *e) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV}, *list = NULL;
    char service[16], name[100];
    int why = 0;
    snprintf(service, sizeof service, "%d", port);
    int bad = getaddrinfo(host, service, &hints, &list);
    if (bad) return kd_fail(e, KD_EINVAL, "--host %s: %s", host, gai_strerror(bad));
    *fd = -1;
    for (struct addrinfo *a = list; a && *fd < 0; a = a->ai_next) *fd = listen_on(a, &why);
    freeaddrinfo(list);
    if (*fd < 0) return kd_fail_errno(e, KD_ECREATE, why, "%s port %d", host, port);
    struct sockaddr_storage at = {0};
    socklen_t n = sizeof at;
    if (getsockname(*fd, (struct sockaddr *)&at, &n) ||
        getnameinfo((struct sockaddr *)&at, n, name, sizeof name, service, sizeof service, NI_NUMERICHOST | NI_NUMERICSERV)) {
        close(*fd);
        return kd_fail(e, KD_EIO, "%s port %d: no address to be had", host, port);
    }
    snprintf(url, 160, at.ss_family == AF_INET6 ? "http://[%s]:%s" : "http://%s:%s", name, service);
    return KD_OK;
}

kd_code serve_http_start(serve_http **out, serve *s, const char *host, int port, size_t clients, char url[160], kd_err *e) {
    int fd;
    serve_http *h = kd_calloc(1, sizeof *h);
    *out = NULL;
    if (!h) return kd_fail(e, KD_ENOMEM, "serve: out of memory");
    kd_code c = open_socket(&fd, host, port, url, e);
    if (c) {
        kd_free(h);
        return c;
    }
    h->s = s;
    h->daemon = MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC, 0, NULL,
                                 NULL, on_request, s, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)clients,
                                 MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS, MHD_OPTION_NOTIFY_COMPLETED, on_completed, s,
                                 MHD_OPTION_END);
    if (!h->daemon) {
        close(fd);
        kd_free(h);
        return kd_fail(e, KD_ECREATE, "%s port %d: the HTTP server does not start", host, port);
    }
    *out = h;
    return KD_OK;
}

void serve_http_quiesce(serve_http *h) {
    MHD_socket fd = MHD_quiesce_daemon(h->daemon);
    if (fd != MHD_INVALID_SOCKET) close(fd);
}

void serve_http_stop(serve_http *h) {
    if (!h) return;
    for (int i = 0; i < 100 && atomic_load(&h->s->connections); i++) nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    MHD_stop_daemon(h->daemon);
    kd_free(h);
}
