/* teacher/endpoint.h - where a request may go: one endpoint or several, each with its window and its health. Leans on http.h, limits.h, teacher.h.
 * Private to this room. */
#ifndef KD_TEACHER_ENDPOINT_H
#define KD_TEACHER_ENDPOINT_H

#include "teacher/http.h"
#include "teacher/limits.h"
#include "teacher/teacher.h"

typedef enum { KD_WELL, KD_RESTING, KD_GONE } kd_health;
typedef struct {
    const char *url, *model; /* borrowed from the options */
    kd_prices prices;
    kd_http_target *target;
    kd_pace pace;
    size_t flying;
    double full_at; /* when more would have gone here last, had the window allowed it */
    kd_health
        health; /* resting: after failures in a row, until .until; then one request tries whether it is well again. gone: its key was refused */
    int failures; /* in a row */
    double until, rest;
    bool reached; /* it answered something, once */
    uint64_t good;
} kd_endpoint;

/* *out: n of them, freed by kd_endpoints_free. Errors: KD_ENOMEM, those of kd_http_target_new. */
kd_code kd_endpoints_new(kd_endpoint **out, size_t *n, const kd_remote_opts *ro, kd_err *e);
void kd_endpoints_free(kd_endpoint *v, size_t n);

/* The one that a request goes to now: of those that may take it the one least full; not the one that failed it last, if another may. NULL: none, and then *next is
 * made no later than the time from now that one may. */
kd_endpoint *kd_endpoint_choose(kd_endpoint *v, size_t n, const kd_endpoint *not_this, double now, double *next);
void kd_endpoint_good(kd_endpoint *p);
void kd_endpoint_bad(kd_endpoint *p, bool alone,
                     double now); /* no answer, or a server's error; alone: there is no other, so it never rests */

#endif
