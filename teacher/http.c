/* teacher/http.c - see http.h. libcurl's multi interface; easy handles are kept and used again, so connections and sessions are too. */
#include "teacher/http.h"

#include <ctype.h>
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* libcurl is loaded when the first request is made, not with the program: it and its TLS library take some 5 ms to start, more than all the rest of
 * a `distill --version`. One line a function that we call. */
#undef curl_easy_setopt
#undef curl_easy_getinfo
#undef curl_multi_setopt
#define FUNCTIONS(F)                                                                                                                       \
    F(easy_init)                                                                                                                           \
    F(easy_cleanup) F(easy_reset) F(easy_setopt) F(easy_getinfo) F(easy_strerror) F(slist_append) F(slist_free_all) F(multi_init)          \
        F(multi_cleanup) F(multi_add_handle) F(multi_remove_handle) F(multi_setopt) F(multi_perform) F(multi_poll) F(multi_wakeup)         \
            F(multi_info_read) F(multi_strerror) F(getdate) F(global_init)
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

typedef struct call {
    struct call *next, *prev; /* in the list of the flying, or of the idle */
    kd_http *owner;
    CURL *easy;
    struct curl_slist *headers;
    kd_buf sent, body;
    void *user;
    double retry_after, left[2], reset[2]; /* left, reset: of requests, of tokens */
    int should_retry;
    time_t date;
    bool too_big, no_memory;
    char type[128], later[64], why[CURL_ERROR_SIZE];
} call;

struct kd_http {
    CURLM *multi;
    kd_http_opts o;
    char *ca_file;
    kd_http_done *done;
    kd_http_drop *drop;
    void *ctx;
    call *flying, *idle;
    size_t n;
};

kd_code kd_http_new(kd_http **out, const kd_http_opts *o, kd_http_done *done, kd_http_drop *drop, void *ctx, kd_err *e) {
    *out = NULL;
    pthread_once(&once, start);
    if (not_started) return kd_fail(e, KD_EUNSUPPORTED, "HTTP: %s", not_started);
    kd_http *h = kd_calloc(1, sizeof *h);
    if (!h || !(h->multi = curl.multi_init())) {
        kd_free(h);
        return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    }
    h->o = *o, h->done = done, h->drop = drop, h->ctx = ctx;
    h->o.timeout = o->timeout > 0 ? o->timeout : 600;
    h->o.connect_timeout = o->connect_timeout > 0 ? o->connect_timeout : 30;
    h->o.max_body = o->max_body ? o->max_body : (size_t)64 << 20;
    h->o.connections = o->connections ? o->connections : 256;
    if (o->ca_file && !(h->ca_file = kd_strdup(o->ca_file))) {
        kd_http_free(h);
        return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    }
    curl.multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl.multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->o.connections);
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

/* One of them holds the key. */
static void free_headers(call *c) {
    for (struct curl_slist *l = c->headers; l; l = l->next) explicit_bzero(l->data, strlen(l->data));
    curl.slist_free_all(c->headers);
    c->headers = NULL;
}

static void free_call(call *c) {
    curl.easy_cleanup(c->easy);
    free_headers(c);
    kd_buf_clear(&c->sent);
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
    curl.multi_cleanup(h->multi);
    kd_free(h->ca_file);
    kd_free(h);
}

static size_t on_body(char *p, size_t size, size_t n, void *user) {
    call *c = user;
    (void)size;
    if (c->body.len + n > c->owner->o.max_body)
        c->too_big = true;
    else if (kd_buf_append(&c->body, p, n))
        c->no_memory = true;
    return c->too_big || c->no_memory ? 0 : n;
}

/* Seconds of "120" or of an HTTP date; -1 if neither. server: the answer's own Date, so that our clock need not be right; -1: ours is taken. */
static double retry_seconds(const char *v, time_t server) {
    char *end;
    double s = strtod(v, &end);
    if (end != v && s >= 0 && s < 1e7) {
        while (isspace((unsigned char)*end)) end++;
        if (!*end) return s;
    }
    time_t when = curl.getdate(v, NULL), now = server > 0 ? server : time(NULL);
    return when < 0 ? -1 : when > now ? (double)(when - now) : 0;
}

/* Seconds of "12ms", "1m30s", "6h0m0.5s", "0.5", or from now to an RFC 3339 time ("2026-01-31T23:59:59Z"); -1 if none of these. */
static double span_seconds(const char *v, time_t server) {
    struct tm tm = {0};
    double total = 0;
    const char *p = v;
    if (strptime(v, "%Y-%m-%dT%H:%M:%S", &tm)) {
        time_t when = timegm(&tm), now = server > 0 ? server : time(NULL);
        return when > now ? (double)(when - now) : 0;
    }
    do {
        char *end;
        double x = strtod(p, &end);
        if (end == p || !(x >= 0 && x < 1e9) || !isdigit((unsigned char)*p)) return -1;
        if (!*end && p == v) return x;
        p = end;
        double unit = !strncmp(p, "ms", 2) ? 1e-3 : *p == 's' ? 1 : *p == 'm' ? 60 : *p == 'h' ? 3600 : *p == 'd' ? 86400 : 0;
        if (unit == 0) return -1;
        total += x * unit;
        p += unit < 1 ? 2 : 1;
    } while (*p);
    return total;
}

/* What an endpoint says of its limits, as OpenAI and as Anthropic spell it; kind 0 requests, 1 tokens. */
static void limit_header(call *c, const char *name, const char *v) {
    static const char *const left[2][2] = {{"x-ratelimit-remaining-requests", "anthropic-ratelimit-requests-remaining"},
                                           {"x-ratelimit-remaining-tokens", "anthropic-ratelimit-tokens-remaining"}};
    static const char *const reset[2][2] = {{"x-ratelimit-reset-requests", "anthropic-ratelimit-requests-reset"},
                                            {"x-ratelimit-reset-tokens", "anthropic-ratelimit-tokens-reset"}};
    for (int kind = 0; kind < 2; kind++)
        for (int how = 0; how < 2; how++) {
            char *end;
            double x = strtod(v, &end);
            if (!strcasecmp(name, left[kind][how]) && end != v && x >= 0) /* -1 says that there is none */
                c->left[kind] = x;
            if (!strcasecmp(name, reset[kind][how])) c->reset[kind] = span_seconds(v, c->date);
        }
}

static void forget_headers(call *c) {
    c->retry_after = c->left[0] = c->left[1] = c->reset[0] = c->reset[1] = -1;
    c->should_retry = -1, c->date = -1, c->type[0] = c->later[0] = 0;
}

static size_t on_header(char *p, size_t size, size_t n, void *user) {
    call *c = user;
    char line[512];
    size_t len = n < sizeof line ? n : sizeof line - 1;
    (void)size;
    memcpy(line, p, len);
    line[len] = 0;
    char *colon = strchr(line, ':');
    if (!strncmp(line, "HTTP/", 5)) { /* a new answer begins (100-continue came before) */
        forget_headers(c);
        return n;
    }
    if (!colon) return n;
    *colon = 0;
    char *v = colon + 1;
    while (isspace((unsigned char)*v)) v++;
    for (char *end = v + strlen(v); end > v && isspace((unsigned char)end[-1]);) *--end = 0;
    if (!strcasecmp(line, "retry-after-ms")) {
        char *end;
        double ms = strtod(v, &end);
        if (end != v && ms >= 0 && ms < 1e10) c->retry_after = ms / 1000;
    } else if (!strcasecmp(line, "retry-after"))
        snprintf(c->later, sizeof c->later, "%s", v); /* read when the Date is known */
    else if (!strcasecmp(line, "date"))
        c->date = curl.getdate(v, NULL);
    else if (!strcasecmp(line, "x-should-retry"))
        c->should_retry = !strcasecmp(v, "true") ? 1 : !strcasecmp(v, "false") ? 0 : -1;
    else if (!strcasecmp(line, "content-type"))
        snprintf(c->type, sizeof c->type, "%s", v);
    else
        limit_header(c, line, v);
    return n;
}

static void set_options(kd_http *h, call *c, const char *url, bool post) {
    CURL *x = c->easy;
    curl.easy_reset(x);
    curl.easy_setopt(x, CURLOPT_URL, url);
    curl.easy_setopt(x, CURLOPT_PROTOCOLS_STR, "http,https");
    curl.easy_setopt(x, CURLOPT_FOLLOWLOCATION, 0L);
    curl.easy_setopt(x, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl.easy_setopt(x, CURLOPT_PROXY, "");
    curl.easy_setopt(x, CURLOPT_NOSIGNAL, 1L);
    curl.easy_setopt(x, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl.easy_setopt(x, CURLOPT_ACCEPT_ENCODING, "");
    curl.easy_setopt(x, CURLOPT_USERAGENT, "distill/" KD_VERSION);
    curl.easy_setopt(x, CURLOPT_TCP_KEEPALIVE, 1L);
    curl.easy_setopt(x, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    curl.easy_setopt(x, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->o.connect_timeout * 1000));
    if (h->o.stall > 0) {
        curl.easy_setopt(x, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl.easy_setopt(x, CURLOPT_LOW_SPEED_TIME, (long)(h->o.stall + 0.999));
    }
    curl.easy_setopt(x, CURLOPT_ERRORBUFFER, c->why);
    curl.easy_setopt(x, CURLOPT_WRITEFUNCTION, on_body);
    curl.easy_setopt(x, CURLOPT_WRITEDATA, c);
    curl.easy_setopt(x, CURLOPT_HEADERFUNCTION, on_header);
    curl.easy_setopt(x, CURLOPT_HEADERDATA, c);
    curl.easy_setopt(x, CURLOPT_PRIVATE, c);
    curl.easy_setopt(x, CURLOPT_HTTPHEADER, c->headers);
    if (h->ca_file) curl.easy_setopt(x, CURLOPT_CAINFO, h->ca_file);
    if (post) {
        curl.easy_setopt(x, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->sent.len);
        curl.easy_setopt(x, CURLOPT_POSTFIELDS, c->sent.data);
    }
}

static call *take_call(kd_http *h) {
    call *c = h->idle;
    if (c)
        unlink_call(&h->idle, c);
    else if ((c = kd_calloc(1, sizeof *c)) && !(c->easy = curl.easy_init()))
        kd_free(c), c = NULL;
    if (!c) return NULL;
    c->owner = h;
    c->sent.len = c->body.len = 0;
    c->too_big = c->no_memory = false;
    c->why[0] = 0;
    forget_headers(c);
    return c;
}

kd_code kd_http_send(kd_http *h, const char *url, kd_str body, const char *const *headers, size_t n, void *user, kd_err *e) {
    kd_code bad = kd_url_check(url, e);
    if (bad) return bad;
    call *c = take_call(h);
    if (!c || (body.data && kd_buf_append(&c->sent, body.data, body.len))) goto memory;
    for (size_t i = 0; i <= n; i++) { /* no 100-continue: it costs a second where nobody sends it */
        struct curl_slist *more = curl.slist_append(c->headers, i < n ? headers[i] : "Expect:");
        if (!more) goto memory;
        c->headers = more;
    }
    c->user = user;
    set_options(h, c, url, body.data != NULL);
    if (curl.multi_add_handle(h->multi, c->easy)) goto memory;
    link_call(&h->flying, c);
    h->n++;
    return KD_OK;
memory:
    if (c) free_call(c);
    return kd_fail(e, KD_ENOMEM, "HTTP: out of memory for a request");
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
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY: return KD_HTTP_CUT;
    default: return KD_HTTP_OTHER;
    }
}

static void finish(kd_http *h, call *c, CURLcode rc) {
    long status = 0;
    double total = 0, first = 0, connected = 0;
    curl.easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl.easy_getinfo(c->easy, CURLINFO_TOTAL_TIME, &total);
    curl.easy_getinfo(c->easy, CURLINFO_STARTTRANSFER_TIME, &first);
    curl.easy_getinfo(c->easy, CURLINFO_CONNECT_TIME, &connected);
    if (c->retry_after < 0 && c->later[0]) c->retry_after = retry_seconds(c->later, c->date);
    curl.multi_remove_handle(h->multi, c->easy);
    unlink_call(&h->flying, c);
    h->n--;
    free_headers(c);
    if (rc == CURLE_OPERATION_TIMEDOUT && connected <= 0) /* nobody ever answered */
        rc = CURLE_COULDNT_CONNECT;
    kd_http_answer a = {.end = end_of(rc, c),
                        .status = (int)status,
                        .body = kd_buf_view(&c->body),
                        .type = c->type,
                        .retry_after = c->retry_after,
                        .should_retry = c->should_retry,
                        .left_requests = c->left[0],
                        .left_tokens = c->left[1],
                        .reset_requests = c->reset[0],
                        .reset_tokens = c->reset[1],
                        .seconds = total,
                        .first_byte = first};
    a.why = a.end == KD_HTTP_OK ? "" : a.end == KD_HTTP_TOO_BIG ? "the answer is too big" : c->why[0] ? c->why : curl.easy_strerror(rc);
    h->done(h->ctx, c->user, &a);
    if (c->body.cap > 1 << 20) kd_buf_clear(&c->body);
    link_call(&h->idle, c);
}

kd_code kd_http_poll(kd_http *h, int ms, kd_err *e) {
    int running, left;
    CURLMcode rc = curl.multi_perform(h->multi, &running);
    if (!rc && (size_t)running == h->n) rc = curl.multi_poll(h->multi, NULL, 0, ms, NULL);
    if (!rc) rc = curl.multi_perform(h->multi, &running);
    if (rc) return kd_fail(e, KD_EBUG, "HTTP: %s", curl.multi_strerror(rc));
    for (CURLMsg *m; (m = curl.multi_info_read(h->multi, &left));) {
        char *p = NULL;
        if (m->msg != CURLMSG_DONE) continue;
        CURLcode result = m->data.result;
        curl.easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
        finish(h, (call *)(void *)p, result);
    }
    return KD_OK;
}

void kd_http_wake(kd_http *h) { curl.multi_wakeup(h->multi); }

size_t kd_http_flying(const kd_http *h) { return h->n; }

/* Where the host of a URL stands in it; false if it is no http(s) URL. *user: it names a user before the host. */
static bool host_of(const char *url, const char **host, size_t *n, bool *user) {
    const char *at = !strncmp(url, "http://", 7) ? url + 7 : !strncmp(url, "https://", 8) ? url + 8 : NULL;
    if (!at) return false;
    size_t len = strcspn(at, "/?#\\"); /* some parsers end the host at a backslash: so it is no part of one here */
    const char *sign = memrchr(at, '@', len);
    *user = sign != NULL;
    *host = sign ? sign + 1 : at;
    len -= (size_t)(*host - at);
    *n = **host == '[' ? strcspn(*host, "]") + 1 : strcspn(*host, ":/?#\\");
    return *n > 0 && *n <= len;
}

bool kd_url_local(const char *url) {
    const char *at;
    char host[64], more;
    size_t n;
    bool user;
    unsigned a, b, c, d;
    if (!host_of(url, &at, &n, &user) || n >= sizeof host) return false;
    memcpy(host, at, n);
    host[n] = 0;
    return !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
           (sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &more) == 4 && a == 127 && b < 256 && c < 256 && d < 256);
}

kd_code kd_url_check(const char *url, kd_err *e) {
    const char *at;
    size_t n;
    bool user = false;
    if (!host_of(url, &at, &n, &user)) /* not quoted: it may hold a key all the same */
        return kd_fail(e, KD_EINVAL, "expected a URL that begins with http:// or https:// and names a host");
    if (user || strpbrk(url, "?#"))
        return kd_fail(e, KD_EINVAL,
                       "a URL with a user, a password, a query or a fragment would be written down with what it holds: give the API's base "
                       "alone, and the key by --api-key-file");
    for (const char *p = url; *p; p++)
        if ((unsigned char)*p <= 0x20 || *p == '\\' || *p == 0x7f)
            return kd_fail(e, KD_EINVAL, "%s: a URL holds no white space, control characters or backslashes", url);
    return KD_OK;
}
