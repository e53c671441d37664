/* teacher/http.c - see http.h. libcurl's multi interface driven by epoll, so that a request costs the same among five thousand as among five; easy handles are
 * kept with their options, so connections, sessions and settings are used again. */
#include "teacher/http.h"

#include "distill/base/clock.h"

#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

/* libcurl is loaded when the first request is made, not with the program: it and its TLS library take some 5 ms to start, more than all the rest of
 * a `distill --version`. One line a function that we call. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
/* clang-format off */
#define FUNCTIONS(F) \
    F(easy_init) F(easy_cleanup) F(easy_setopt) F(easy_getinfo) F(easy_strerror) F(slist_append) F(slist_free_all) F(multi_init) \
    F(multi_cleanup) F(multi_add_handle) F(multi_remove_handle) F(multi_setopt) F(multi_socket_action) F(multi_assign) F(multi_info_read) \
    F(multi_strerror) F(global_init)
/* clang-format on */
#define DECLARE(name) __typeof__(curl_##name) *name;
static struct { FUNCTIONS(DECLARE) } curl;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static const char *not_started = "libcurl could not be started"; /* why, or NULL */

#define LOOK_UP(name)                                                                                                                      \
    void *at_##name = dlsym(lib, "curl_" #name);                                                                                           \
    memcpy(&curl.name, &at_##name, sizeof at_##name);                                                                                      \
    missing = missing || !at_##name;

static void start(void) {
    void *lib = dlopen("libcurl.so.4", RTLD_NOW | RTLD_LOCAL);
    bool missing = false;
    if (!lib) {
        not_started = "libcurl.so.4 is not installed (Debian: libcurl4)";
        return;
    }
    FUNCTIONS(LOOK_UP)
    if (missing)
        not_started = "libcurl.so.4 is too old: 7.85 or later is needed";
    else if (!curl.global_init(CURL_GLOBAL_DEFAULT))
        not_started = NULL;
}

enum { RECEIVE = 8192, EVENTS = 256, KEEP_BODY = 16384 };

struct kd_http_target {
    char *url;
    struct curl_slist *headers;
    bool tls;
};

typedef struct call {
    struct call *next, *prev; /* in the list of the flying, or of the idle */
    kd_http *owner;
    CURL *easy;
    kd_http_target *target; /* that easy is set up for, or NULL */
    kd_http_verb verb;
    kd_buf body;
    void *user;
    kd_head head;
    double sent, began;
    int goes; /* times that it was put on a connection */
    bool too_big, no_memory;
    char why[CURL_ERROR_SIZE];
} call;

struct kd_http {
    CURLM *multi;
    int epoll, wake;
    double timer; /* when libcurl wants to be called; INFINITY: not */
    kd_http_opts o;
    char *ca_file;
    kd_http_done *done;
    kd_http_drop *drop;
    kd_http_began *began;
    void *ctx;
    call *flying, *idle;
    size_t n;
};

/* ---- libcurl's sockets and timer ---- */
static int on_socket(CURL *easy, curl_socket_t fd, int what, void *ctx, void *known) {
    kd_http *h = ctx;
    (void)easy;
    struct epoll_event ev = {.data.fd = fd};
    if (what == CURL_POLL_REMOVE) {
        epoll_ctl(h->epoll, EPOLL_CTL_DEL, fd, NULL);
        curl.multi_assign(h->multi, fd, NULL);
        return 0;
    }
    ev.events = (what & CURL_POLL_IN ? (uint32_t)EPOLLIN : 0) | (what & CURL_POLL_OUT ? (uint32_t)EPOLLOUT : 0);
    if (epoll_ctl(h->epoll, known ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &ev) &&
        epoll_ctl(h->epoll, known ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, fd, &ev))
        return -1;
    curl.multi_assign(h->multi, fd, h);
    return 0;
}

static int on_timer(CURLM *multi, long ms, void *ctx) {
    kd_http *h = ctx;
    (void)multi;
    h->timer = ms < 0 ? INFINITY : kd_now() + (double)ms / 1000;
    return 0;
}

/* ---- making and ending ---- */
static kd_code set_up(kd_http *h, kd_err *e) {
    if (!(h->multi = curl.multi_init())) return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    if ((h->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0 || (h->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) < 0 ||
        epoll_ctl(h->epoll, EPOLL_CTL_ADD, h->wake, &(struct epoll_event){.events = EPOLLIN, .data.fd = h->wake}))
        return kd_fail_errno(e, KD_EIO, errno, "HTTP: epoll");
    curl.multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl.multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->o.connections);
    curl.multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl.multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h);
    curl.multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl.multi_setopt(h->multi, CURLMOPT_TIMERDATA, h);
    return KD_OK;
}

kd_code kd_http_new(kd_http **out, const kd_http_opts *o, kd_http_done *done, kd_http_drop *drop, kd_http_began *began, void *ctx,
                    kd_err *e) {
    *out = NULL;
    pthread_once(&once, start);
    if (not_started) return kd_fail(e, KD_EUNSUPPORTED, "HTTP: %s", not_started);
    kd_http *h = kd_calloc(1, sizeof *h);
    if (!h) return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    *h = (kd_http){.o = *o, .done = done, .drop = drop, .began = began, .ctx = ctx, .epoll = -1, .wake = -1, .timer = INFINITY};
    h->o.timeout = o->timeout > 0 ? o->timeout : 600;
    h->o.connect_timeout = o->connect_timeout > 0 ? o->connect_timeout : 30;
    h->o.max_body = o->max_body ? o->max_body : (size_t)64 << 20;
    h->o.connections = o->connections ? o->connections : 256;
    kd_code c = set_up(h, e);
    if (!c && o->ca_file && !(h->ca_file = kd_strdup(o->ca_file))) c = kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    if (c) {
        kd_http_free(h);
        return c;
    }
    *out = h;
    return KD_OK;
}

static void unlink_call(call **list, call *c) {
    if (c->prev)
        c->prev->next = c->next;
    else
        *list = c->next;
    if (c->next) c->next->prev = c->prev;
}

static void link_call(call **list, call *c) {
    c->prev = NULL, c->next = *list;
    if (*list) (*list)->prev = c;
    *list = c;
}

static void free_call(call *c) {
    curl.easy_cleanup(c->easy);
    kd_buf_clear(&c->body);
    kd_free(c);
}

void kd_http_free(kd_http *h) {
    if (!h) return;
    while (h->flying) {
        call *c = h->flying;
        unlink_call(&h->flying, c);
        if (h->drop) h->drop(h->ctx, c->user);
        curl.multi_remove_handle(h->multi, c->easy);
        free_call(c);
    }
    while (h->idle) {
        call *c = h->idle;
        unlink_call(&h->idle, c);
        free_call(c);
    }
    if (h->multi) curl.multi_cleanup(h->multi);
    if (h->epoll >= 0) close(h->epoll);
    if (h->wake >= 0) close(h->wake);
    kd_free(h->ca_file);
    kd_free(h);
}

/* ---- where requests go ---- */
static bool add_header(kd_http_target *t, const char *line) {
    struct curl_slist *more = curl.slist_append(t->headers, line);
    if (more) t->headers = more;
    return more != NULL;
}

kd_code kd_http_target_new(kd_http_target **out, const char *url, const char *const *headers, size_t n, kd_err *e) {
    *out = NULL;
    if (strncmp(url, "http://", 7) != 0 && strncmp(url, "https://", 8) != 0) return kd_fail(e, KD_EINVAL, "expected an http(s) URL");
    pthread_once(&once, start);
    if (not_started) return kd_fail(e, KD_EUNSUPPORTED, "HTTP: %s", not_started);
    kd_http_target *t = kd_calloc(1, sizeof *t);
    bool ok = t && (t->url = kd_strdup(url)) && add_header(t, "Expect:"); /* no 100-continue: it costs a second where nobody sends it */
    for (size_t i = 0; ok && i < n; i++) ok = add_header(t, headers[i]);
    if (!ok) {
        kd_http_target_free(t);
        return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    }
    t->tls = !strncmp(url, "https:", 6);
    *out = t;
    return KD_OK;
}

void kd_http_target_free(kd_http_target *t) {
    if (!t) return;
    for (struct curl_slist *l = t->headers; l; l = l->next) explicit_bzero(l->data, strlen(l->data)); /* one of them holds the key */
    curl.slist_free_all(t->headers);
    kd_free(t->url);
    kd_free(t);
}

/* ---- one request ---- */
static size_t on_body(char *p, size_t size, size_t n, void *user) {
    call *c = user;
    kd_http *h = c->owner;
    (void)size;
    if (c->body.len + n > h->o.max_body)
        c->too_big = true;
    else if (kd_buf_append(&c->body, p, n))
        c->no_memory = true;
    else if (h->began && c->began < 0 && h->began(h->ctx, c->user, kd_buf_view(&c->body)))
        c->began = kd_now() - c->sent;
    return c->too_big || c->no_memory ? 0 : n;
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    call *c = user;
    (void)size;
    kd_head_line(&c->head, p, n);
    return n;
}

/* Called when a connection is there, before a request goes out on it. Where a connection that was used before dies without a byte, libcurl would ask again by itself,
 * though the first asking may have arrived and cost money: whether to ask again is decided by who counts. */
static int on_going(void *user, char *to, char *from, int to_port, int from_port) {
    call *c = user;
    (void)to, (void)from, (void)to_port, (void)from_port;
    return ++c->goes > 1 ? CURL_PREREQFUNC_ABORT : CURL_PREREQFUNC_OK;
}

#define SET(x, option, value) rc = rc ? rc : curl.easy_setopt(x, option, value)
/* Options of every request of an easy handle: set when it is made. false: no memory (texts are copied), and one that lacks an option must not go out. */
static bool set_once(kd_http *h, call *c) {
    CURL *x = c->easy;
    CURLcode rc = CURLE_OK;
    SET(x, CURLOPT_PROTOCOLS_STR, "http,https");
    SET(x, CURLOPT_FOLLOWLOCATION, 0L);
    SET(x, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(x, CURLOPT_PROXY, "");
    SET(x, CURLOPT_NOSIGNAL, 1L);
    SET(x, CURLOPT_BUFFERSIZE, (long)RECEIVE);
    SET(x, CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    SET(x, CURLOPT_DNS_CACHE_TIMEOUT, 60L);
    SET(x, CURLOPT_ACCEPT_ENCODING, "");
    SET(x, CURLOPT_USERAGENT, "distill/" KD_VERSION);
    SET(x, CURLOPT_TCP_KEEPALIVE, 1L);
    SET(x, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    SET(x, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->o.connect_timeout * 1000));
    if (h->o.stall > 0) {
        SET(x, CURLOPT_LOW_SPEED_LIMIT, 1L);
        SET(x, CURLOPT_LOW_SPEED_TIME, (long)(h->o.stall + 0.999));
    }
    SET(x, CURLOPT_ERRORBUFFER, c->why);
    SET(x, CURLOPT_WRITEFUNCTION, on_body);
    SET(x, CURLOPT_WRITEDATA, c);
    SET(x, CURLOPT_HEADERFUNCTION, on_header);
    SET(x, CURLOPT_HEADERDATA, c);
    SET(x, CURLOPT_PREREQFUNCTION, on_going);
    SET(x, CURLOPT_PREREQDATA, c);
    SET(x, CURLOPT_PRIVATE, c);
    if (h->ca_file) SET(x, CURLOPT_CAINFO, h->ca_file);
    return rc == CURLE_OK;
}

/* What another target or verb needs otherwise. */
static bool aim(call *c, kd_http_target *t, kd_http_verb verb) {
    CURL *x = c->easy;
    CURLcode rc = CURLE_OK;
    SET(x, CURLOPT_URL, t->url);
    SET(x, CURLOPT_HTTPHEADER, t->headers);
    curl.easy_setopt(x, CURLOPT_HTTP_VERSION,
                     (long)(t->tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1)); /* without HTTP/2 in libcurl: 1.1 */
    SET(x, CURLOPT_PIPEWAIT, t->tls ? 1L : 0L); /* one handshake tells whether all may share a connection */
    if (verb == KD_HTTP_GET) SET(x, CURLOPT_HTTPGET, 1L);
    if (verb == KD_HTTP_POST) SET(x, CURLOPT_POST, 1L);
    c->target = rc ? NULL : t, c->verb = verb;
    return rc == CURLE_OK;
}

static call *take_call(kd_http *h) {
    call *c = h->idle;
    if (c) {
        unlink_call(&h->idle, c);
    } else {
        if (!(c = kd_calloc(1, sizeof *c))) return NULL;
        if (!(c->easy = curl.easy_init())) {
            kd_free(c);
            return NULL;
        }
        c->owner = h;
        if (!set_once(h, c)) {
            free_call(c);
            return NULL;
        }
    }
    c->body.len = 0;
    c->goes = 0;
    c->too_big = c->no_memory = false;
    c->why[0] = 0;
    c->sent = kd_now(), c->began = -1;
    kd_head_clear(&c->head);
    return c;
}

kd_code kd_http_send(kd_http *h, kd_http_target *t, kd_http_verb verb, kd_str body, void *user, kd_err *e) {
    call *c = take_call(h);
    if (!c) return kd_fail(e, KD_ENOMEM, "HTTP: out of memory for a request");
    c->user = user;
    CURLcode rc = CURLE_OK;
    bool ok = (c->target == t && c->verb == verb) || aim(c, t, verb);
    if (verb == KD_HTTP_POST) {
        SET(c->easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body.len);
        SET(c->easy, CURLOPT_POSTFIELDS, body.len ? body.data : "");
    }
    if (!ok || rc || curl.multi_add_handle(h->multi, c->easy)) {
        free_call(c);
        return kd_fail(e, KD_ENOMEM, "HTTP: out of memory for a request");
    }
    link_call(&h->flying, c);
    h->n++;
    return KD_OK;
}

static kd_http_end end_of(CURLcode rc, const call *c) {
    switch (rc) {
    case CURLE_OK: return KD_HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT: return KD_HTTP_UNREACHABLE;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS: return KD_HTTP_TLS;
    case CURLE_OPERATION_TIMEDOUT: return KD_HTTP_TIMEOUT;
    case CURLE_WRITE_ERROR: return c->too_big ? KD_HTTP_TOO_BIG : KD_HTTP_OTHER;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_ABORTED_BY_CALLBACK: /* on_going's */
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY: return KD_HTTP_CUT;
    default: return KD_HTTP_OTHER;
    }
}

static void finish(kd_http *h, call *c, CURLcode rc) {
    long status = 0;
    double first = 0, begun = 0;
    curl.easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl.easy_getinfo(c->easy, CURLINFO_STARTTRANSFER_TIME, &first);
    curl.easy_getinfo(c->easy, CURLINFO_PRETRANSFER_TIME, &begun); /* not that of connecting: it is 0 where a connection is used again */
    kd_head_end(&c->head, c->head.later[0] ? (int64_t)time(NULL) : 0);
    curl.multi_remove_handle(h->multi, c->easy);
    unlink_call(&h->flying, c);
    h->n--;
    if (rc == CURLE_OPERATION_TIMEDOUT && begun <= 0) /* nobody was there to be asked */
        rc = CURLE_COULDNT_CONNECT;
    kd_http_answer a = {.end = end_of(rc, c),
                        .status = (int)status,
                        .body = &c->body,
                        .head = &c->head,
                        .seconds = kd_now() - c->sent,
                        .first_byte = first,
                        .began = c->began};
    a.why = a.end == KD_HTTP_OK               ? ""
            : a.end == KD_HTTP_TOO_BIG        ? "the answer is too big"
            : rc == CURLE_ABORTED_BY_CALLBACK ? "the connection died before a byte of the answer came"
            : c->why[0]                       ? c->why
                                              : curl.easy_strerror(rc);
    h->done(h->ctx, c->user, &a);
    if (c->body.cap > KEEP_BODY) kd_buf_clear(&c->body);
    link_call(&h->idle, c);
}

static CURLMcode act(kd_http *h, const struct epoll_event *ev, int n) {
    int running;
    CURLMcode rc = CURLM_OK;
    for (int i = 0; i < n && !rc; i++) {
        uint64_t count;
        if (ev[i].data.fd == h->wake) {
            if (read(h->wake, &count, sizeof count) < 0) continue; /* woken, that is all */
            continue;
        }
        int how = (ev[i].events & EPOLLIN ? CURL_CSELECT_IN : 0) | (ev[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                  (ev[i].events & (EPOLLERR | EPOLLHUP) ? CURL_CSELECT_ERR : 0);
        rc = curl.multi_socket_action(h->multi, ev[i].data.fd, how, &running);
    }
    if (!rc && h->timer <= kd_now()) {
        h->timer = INFINITY; /* before the call, which may set it again */
        rc = curl.multi_socket_action(h->multi, CURL_SOCKET_TIMEOUT, 0, &running);
    }
    return rc;
}

kd_code kd_http_poll(kd_http *h, int ms, kd_err *e) {
    struct epoll_event ev[EVENTS];
    int left;
    double until = h->timer - kd_now();
    if (until * 1000 < ms) ms = until > 0 ? (int)(until * 1000) + 1 : 0;
    int n = epoll_wait(h->epoll, ev, EVENTS, ms);
    CURLMcode rc = act(h, ev, n > 0 ? n : 0);
    if (rc) return kd_fail(e, rc == CURLM_OUT_OF_MEMORY ? KD_ENOMEM : KD_EBUG, "HTTP: %s", curl.multi_strerror(rc));
    for (CURLMsg *m; (m = curl.multi_info_read(h->multi, &left));) {
        char *p = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        CURLcode result = m->data.result;
        curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
        finish(h, (call *)(void *)p, result);
    }
    return KD_OK;
}

void kd_http_wake(kd_http *h) {
    uint64_t one = 1;
    if (write(h->wake, &one, sizeof one) < 0) return; /* full: it will wake anyway */
}

size_t kd_http_flying(const kd_http *h) { return h->n; }
