/* teacher/http.c - see http.h. libcurl's multi interface; easy handles are kept and used again, so connections and sessions are too. */
#include "teacher/http.h"

#include <ctype.h>
#include <curl/curl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

typedef struct call {
    struct call *next, *prev; /* in the list of the flying, or of the idle */
    kd_http *owner;
    CURL *easy;
    struct curl_slist *headers;
    kd_buf sent, body;
    void *user;
    double retry_after;
    int should_retry;
    bool too_big, no_memory;
    char type[128], why[CURL_ERROR_SIZE];
} call;

struct kd_http {
    CURLM *multi;
    kd_http_opts o;
    char *ca_file;
    kd_http_done *done;
    void *ctx;
    call *flying, *idle;
    size_t n;
};

static pthread_once_t once = PTHREAD_ONCE_INIT;
static CURLcode started;
static void start(void) {
    started = curl_global_init(CURL_GLOBAL_DEFAULT);
}

kd_code kd_http_new(kd_http **out, const kd_http_opts *o, kd_http_done *done, void *ctx, kd_err *e) {
    *out = NULL;
    pthread_once(&once, start);
    kd_http *h = started ? NULL : kd_calloc(1, sizeof *h);
    if (!h || !(h->multi = curl_multi_init())) {
        kd_free(h);
        return kd_fail(e, KD_ENOMEM, "HTTP: libcurl could not be started");
    }
    h->o = *o, h->done = done, h->ctx = ctx;
    h->o.timeout = o->timeout > 0 ? o->timeout : 600;
    h->o.connect_timeout = o->connect_timeout > 0 ? o->connect_timeout : 30;
    h->o.max_body = o->max_body ? o->max_body : (size_t)64 << 20;
    h->o.connections = o->connections ? o->connections : 256;
    if (o->ca_file && !(h->ca_file = kd_strdup(o->ca_file))) {
        kd_http_free(h);
        return kd_fail(e, KD_ENOMEM, "HTTP: out of memory");
    }
    curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_MULTIPLEX);
    curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, (long)h->o.connections);
    *out = h;
    return KD_OK;
}

static void unlink_call(call **list, call *c) {
    if (c->prev)
        c->prev->next = c->next;
    else
        *list = c->next;
    if (c->next)
        c->next->prev = c->prev;
}

static void link_call(call **list, call *c) {
    c->prev = NULL, c->next = *list;
    if (*list)
        (*list)->prev = c;
    *list = c;
}

static void free_call(call *c) {
    curl_easy_cleanup(c->easy);
    curl_slist_free_all(c->headers);
    if (c->sent.data) /* a body may hold what is nobody's business */
        memset(c->sent.data, 0, c->sent.cap);
    kd_buf_clear(&c->sent);
    kd_buf_clear(&c->body);
    kd_free(c);
}

void kd_http_free(kd_http *h) {
    if (!h)
        return;
    while (h->flying) {
        call *c = h->flying;
        unlink_call(&h->flying, c);
        curl_multi_remove_handle(h->multi, c->easy);
        free_call(c);
    }
    while (h->idle) {
        call *c = h->idle;
        unlink_call(&h->idle, c);
        free_call(c);
    }
    curl_multi_cleanup(h->multi);
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

/* Seconds of "120" or of an HTTP date; -1 if neither. */
static double retry_seconds(const char *v) {
    char *end;
    double s = strtod(v, &end);
    if (end != v && s >= 0 && s < 1e7) {
        while (isspace((unsigned char)*end))
            end++;
        if (!*end)
            return s;
    }
    time_t when = curl_getdate(v, NULL), now = time(NULL);
    return when < 0 ? -1 : when > now ? (double)(when - now) : 0;
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
        c->retry_after = -1, c->should_retry = -1, c->type[0] = 0;
        return n;
    }
    if (!colon)
        return n;
    *colon = 0;
    char *v = colon + 1;
    while (isspace((unsigned char)*v))
        v++;
    for (char *end = v + strlen(v); end > v && isspace((unsigned char)end[-1]);)
        *--end = 0;
    if (!strcasecmp(line, "retry-after-ms")) {
        char *end;
        double ms = strtod(v, &end);
        if (end != v && ms >= 0 && ms < 1e10)
            c->retry_after = ms / 1000;
    } else if (!strcasecmp(line, "retry-after")) {
        if (c->retry_after < 0)
            c->retry_after = retry_seconds(v);
    } else if (!strcasecmp(line, "x-should-retry"))
        c->should_retry = !strcasecmp(v, "true") ? 1 : !strcasecmp(v, "false") ? 0 : -1;
    else if (!strcasecmp(line, "content-type"))
        snprintf(c->type, sizeof c->type, "%s", v);
    return n;
}

static void set_options(kd_http *h, call *c, const char *url, bool post) {
    CURL *x = c->easy;
    curl_easy_reset(x);
    curl_easy_setopt(x, CURLOPT_URL, url);
    curl_easy_setopt(x, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(x, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(x, CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    curl_easy_setopt(x, CURLOPT_PROXY, "");
    curl_easy_setopt(x, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(x, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_2TLS);
    curl_easy_setopt(x, CURLOPT_ACCEPT_ENCODING, "");
    curl_easy_setopt(x, CURLOPT_USERAGENT, "distill/" KD_VERSION);
    curl_easy_setopt(x, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(x, CURLOPT_TIMEOUT_MS, (long)(h->o.timeout * 1000));
    curl_easy_setopt(x, CURLOPT_CONNECTTIMEOUT_MS, (long)(h->o.connect_timeout * 1000));
    if (h->o.stall > 0) {
        curl_easy_setopt(x, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(x, CURLOPT_LOW_SPEED_TIME, (long)(h->o.stall + 0.999));
    }
    curl_easy_setopt(x, CURLOPT_ERRORBUFFER, c->why);
    curl_easy_setopt(x, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(x, CURLOPT_WRITEDATA, c);
    curl_easy_setopt(x, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(x, CURLOPT_HEADERDATA, c);
    curl_easy_setopt(x, CURLOPT_PRIVATE, c);
    curl_easy_setopt(x, CURLOPT_HTTPHEADER, c->headers);
    if (h->ca_file)
        curl_easy_setopt(x, CURLOPT_CAINFO, h->ca_file);
    if (post) {
        curl_easy_setopt(x, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)c->sent.len);
        curl_easy_setopt(x, CURLOPT_POSTFIELDS, c->sent.data);
    }
}

static call *take_call(kd_http *h) {
    call *c = h->idle;
    if (c)
        unlink_call(&h->idle, c);
    else if ((c = kd_calloc(1, sizeof *c)) && !(c->easy = curl_easy_init()))
        kd_free(c), c = NULL;
    if (!c)
        return NULL;
    c->owner = h;
    c->sent.len = c->body.len = 0;
    c->retry_after = -1, c->should_retry = -1, c->too_big = c->no_memory = false;
    c->why[0] = c->type[0] = 0;
    return c;
}

kd_code kd_http_send(kd_http *h, const char *url, kd_str body, const char *const *headers, size_t n, void *user, kd_err *e) {
    if (strncmp(url, "http://", 7) && strncmp(url, "https://", 8))
        return kd_fail(e, KD_EINVAL, "%s: expected a URL that begins with http:// or https://", url);
    call *c = take_call(h);
    if (!c || (body.data && kd_buf_append(&c->sent, body.data, body.len)))
        goto memory;
    for (size_t i = 0; i < n; i++) {
        struct curl_slist *more = curl_slist_append(c->headers, headers[i]);
        if (!more)
            goto memory;
        c->headers = more;
    }
    c->user = user;
    set_options(h, c, url, body.data != NULL);
    if (curl_multi_add_handle(h->multi, c->easy))
        goto memory;
    link_call(&h->flying, c);
    h->n++;
    return KD_OK;
memory:
    if (c)
        free_call(c);
    return kd_fail(e, KD_ENOMEM, "HTTP: out of memory for a request");
}

static kd_http_end end_of(CURLcode rc, const call *c) {
    switch (rc) {
    case CURLE_OK:
        return KD_HTTP_OK;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
    case CURLE_COULDNT_CONNECT:
        return KD_HTTP_UNREACHABLE;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_INVALIDCERTSTATUS:
        return KD_HTTP_TLS;
    case CURLE_OPERATION_TIMEDOUT:
        return KD_HTTP_TIMEOUT;
    case CURLE_WRITE_ERROR:
        return c->too_big ? KD_HTTP_TOO_BIG : KD_HTTP_OTHER;
    case CURLE_PARTIAL_FILE:
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_GOT_NOTHING:
    case CURLE_HTTP2:
    case CURLE_HTTP2_STREAM:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_WEIRD_SERVER_REPLY:
        return KD_HTTP_CUT;
    default:
        return KD_HTTP_OTHER;
    }
}

static void finish(kd_http *h, call *c, CURLcode rc) {
    long status = 0;
    double total = 0, first = 0;
    curl_easy_getinfo(c->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(c->easy, CURLINFO_TOTAL_TIME, &total);
    curl_easy_getinfo(c->easy, CURLINFO_STARTTRANSFER_TIME, &first);
    curl_multi_remove_handle(h->multi, c->easy);
    unlink_call(&h->flying, c);
    h->n--;
    curl_slist_free_all(c->headers);
    c->headers = NULL;
    kd_http_answer a = {.end = end_of(rc, c), .status = (int)status, .body = kd_buf_view(&c->body), .type = c->type, .retry_after = c->retry_after,
                        .should_retry = c->should_retry, .seconds = total, .first_byte = first};
    a.why = a.end == KD_HTTP_OK ? "" : a.end == KD_HTTP_TOO_BIG ? "the answer is too big" : c->why[0] ? c->why : curl_easy_strerror(rc);
    h->done(h->ctx, c->user, &a);
    if (c->body.cap > 1 << 20)
        kd_buf_clear(&c->body);
    link_call(&h->idle, c);
}

kd_code kd_http_poll(kd_http *h, int ms, kd_err *e) {
    int running, left;
    CURLMcode rc = curl_multi_perform(h->multi, &running);
    if (!rc && (size_t)running == h->n)
        rc = curl_multi_poll(h->multi, NULL, 0, ms, NULL);
    if (!rc)
        rc = curl_multi_perform(h->multi, &running);
    if (rc)
        return kd_fail(e, KD_EBUG, "HTTP: %s", curl_multi_strerror(rc));
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
        char *p = NULL;
        if (m->msg != CURLMSG_DONE)
            continue;
        CURLcode result = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, &p);
        finish(h, (call *)(void *)p, result);
    }
    return KD_OK;
}

void kd_http_wake(kd_http *h) {
    curl_multi_wakeup(h->multi);
}

size_t kd_http_flying(const kd_http *h) {
    return h->n;
}

bool kd_url_local(const char *url) {
    CURLU *u = curl_url();
    char *host = NULL;
    bool local = false;
    if (u && !curl_url_set(u, CURLUPART_URL, url, 0) && !curl_url_get(u, CURLUPART_HOST, &host, 0)) {
        unsigned a, b, c, d;
        char more;
        local = !strcasecmp(host, "localhost") || !strcmp(host, "[::1]") ||
                (sscanf(host, "%3u.%3u.%3u.%3u%c", &a, &b, &c, &d, &more) == 4 && a == 127 && b < 256 && c < 256 && d < 256);
    }
    curl_free(host);
    curl_url_cleanup(u);
    return local;
}
