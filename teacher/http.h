/* teacher/http.h - many HTTP requests at once on one thread. The one room that includes libcurl, which is loaded at the first use. Leans on headers.h, base.
 * Redirects are not followed, TLS is verified, nothing is read from the environment or a .netrc, and a key never appears in a message. */
#ifndef KD_TEACHER_HTTP_H
#define KD_TEACHER_HTTP_H

#include "teacher/headers.h"

typedef struct kd_http kd_http;

typedef struct {
    const char *ca_file;    /* PEM of certificates to trust in the place of the system's, or NULL */
    double timeout;         /* seconds of a whole request; 0: 600 */
    double connect_timeout; /* 0: 30 */
    double stall;           /* seconds without a byte, waiting for the first one counted in (so for streams alone); 0: none */
    size_t max_body;        /* bytes; 0: 64 MiB */
    size_t connections;     /* kept open at most; 0: 256 */
} kd_http_opts;

typedef enum {
    KD_HTTP_OK,          /* an answer came whole, whatever its status */
    KD_HTTP_UNREACHABLE, /* no address, refused, no route */
    KD_HTTP_TLS,         /* certificate or handshake */
    KD_HTTP_TIMEOUT,     /* the request's time is up, or it stalled */
    KD_HTTP_CUT,         /* the connection broke before the answer was whole */
    KD_HTTP_TOO_BIG,     /* the answer passed max_body */
    KD_HTTP_OTHER
} kd_http_end;

typedef struct {
    kd_http_end end;
    const char *why; /* for end != KD_HTTP_OK: what went wrong, libcurl's words */
    int status;      /* 0 if none came */
    kd_buf *body;    /* never NULL; what it holds may be taken away */
    const kd_head *head;
    double seconds, first_byte; /* from the start; of the first byte of the answer */
    double began;               /* of the first piece that opts.began said yes to; -1 if none */
} kd_http_answer;               /* valid during the call */
typedef void kd_http_done(void *ctx, void *user, const kd_http_answer *a);
typedef void kd_http_drop(void *ctx, void *user); /* a request that ends with its kd_http, unanswered */
/* Asked as a body grows, until it says true once: does the body so far hold what is waited for? */
typedef bool kd_http_began(void *ctx, void *user, kd_str so_far);

/* Errors: KD_EUNSUPPORTED no libcurl here (it is loaded now, not with the program); KD_ENOMEM. */
kd_code kd_http_new(kd_http **out, const kd_http_opts *o, kd_http_done *done, kd_http_drop *drop, kd_http_began *began, void *ctx,
                    kd_err *e);
void kd_http_free(kd_http *h); /* what is under way is dropped, without a call of done; drop (or NULL) takes each */

/* Where requests go, and the header lines that go along ("Name: value", n of them; copied, and wiped at the end: one of them holds a key).
 * Errors: KD_EINVAL a URL that is not http(s); KD_ENOMEM. Freed after its kd_http. */
typedef struct kd_http_target kd_http_target;
kd_code kd_http_target_new(kd_http_target **out, const char *url, const char *const *headers, size_t n, kd_err *e);
void kd_http_target_free(kd_http_target *t);

typedef enum { KD_HTTP_POST, KD_HTTP_GET } kd_http_verb;
/* Starts a request. body is not copied: it lives until done or drop. user comes back with done. Errors: KD_ENOMEM. */
kd_code kd_http_send(kd_http *h, kd_http_target *t, kd_http_verb verb, kd_str body, void *user, kd_err *e);
/* Moves everything on, waits at most ms milliseconds for something to happen, and calls done for what ended. Another thread may cut the wait short with wake. */
kd_code kd_http_poll(kd_http *h, int ms, kd_err *e);
void kd_http_wake(kd_http *h);
size_t kd_http_flying(const kd_http *h);

/* True if a URL's host is this machine (localhost, 127.0.0.0/8, [::1]). */
bool kd_url_local(const char *url);
/* Errors: KD_EINVAL not http(s), no host, white space in it, or parts that may hold a secret (user, query), which then are not quoted. */
kd_code kd_url_check(const char *url, kd_err *e);

#endif
