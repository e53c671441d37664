/* teacher/headers.h - what the header lines of an answer say about waiting and limits. Leans on base. Private to this room. */
#ifndef KD_TEACHER_HEADERS_H
#define KD_TEACHER_HEADERS_H

#include "distill/base/mem.h"

/* Of requests and tokens: index 0 and 1. Tokens are counted together, or prompts' and completions' apart (anthropic-ratelimit-input-tokens-*): then the lesser. */
typedef struct {
    double retry_after;       /* seconds to wait; -1 if none */
    int should_retry;         /* x-should-retry: 1, 0; -1 if none */
    double left[2], reset[2]; /* what is left; seconds until it is full again. -1: nothing said, or that there is no limit */
    int64_t date;             /* the server's clock, seconds since 1970; -1 if none */
    char type[128];           /* Content-Type */
    char later[64];           /* retry-after as it came: read when the Date is known */
} kd_head;

void kd_head_clear(kd_head *h);
/* One line, with or without its end, of n bytes; a status line clears what came before. Never fails: what it cannot read it leaves alone. */
void kd_head_line(kd_head *h, const char *p, size_t n);
void kd_head_end(kd_head *h, int64_t now); /* after the last line: dates are told from the server's own Date, or from now */

/* Seconds of "12ms", "1m30s", "6h0m0.5s", "0.5", "120", an RFC 3339 time, or a time since 1970 in seconds or milliseconds; -1 if none of these.
 * now: seconds since 1970. */
double kd_span_seconds(const char *v, int64_t now);
/* Seconds since 1970 of an HTTP date in any of its three forms (RFC 9110, 5.6.7), or of an RFC 3339 time; -1 if neither. */
int64_t kd_http_date(const char *v);

#endif
