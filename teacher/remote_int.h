/* teacher/remote_int.h - a remote run's state, shared by remote.c (lease, send, stop) and remote_end.c (what became of a request). Private to these two. */
#ifndef KD_TEACHER_REMOTE_INT_H
#define KD_TEACHER_REMOTE_INT_H

#include "teacher/endpoint.h"
#include "teacher/keeper.h"
#include "teacher/request.h"

/* One request: samples of one question, leased, then flying or waiting for the next try, until they are kept or given up. */
typedef struct {
    int64_t prompt;
    int n, tries;
    kd_buf body;
    kd_endpoint *at;         /* where it is, or was tried last; NULL: nowhere yet */
    const char *model;       /* that the body names */
    double due, sent, first; /* when to try (again); when it was sent last, and first */
    double reserved;         /* USD that its try may cost at most */
    double tokens;           /* that it counts against tokens a minute */
    int sample[];            /* [n] their numbers */
} kd_flight;

typedef enum { KD_AGAIN_LIMIT, KD_AGAIN_SERVER, KD_AGAIN_NETWORK, KD_AGAIN_BODY, KD_AGAINS } kd_again;
enum { KD_LATENCIES = 256 };

typedef struct {
    kd_study *study;
    kd_work *work;
    kd_http *http;
    kd_keeper *keeper;
    kd_asking q;
    const kd_remote_opts *ro;
    const kd_watch *watch;
    kd_teach_report *r;
    kd_endpoint *ends;
    size_t n_ends;
    kd_flight **waiting; /* a heap by due */
    size_t n_waiting, cap_waiting;
    kd_bucket rps, rpm, tpm;
    double began, spent, reserved, worst_each; /* worst_each: USD that the last question leased may cost at most */
    double shown, last_good, drain_until;
    double broke;                                    /* when the budget last said no; 0: not */
    const char *limit;                               /* in force now, or NULL */
    uint64_t good, asked, refused, again[KD_AGAINS]; /* samples had; requests sent; refusals in a row from the start; retries by reason */
    uint64_t latency[KD_LATENCIES];                  /* answers by the logarithm of their seconds */
    bool draining, reached;
    kd_code code; /* why we stop */
    kd_err err;
} kd_run;

void kd_run_stop(kd_run *r, kd_code c, const char *why);
kd_code kd_run_wait(kd_run *r, kd_flight *f); /* into the heap; KD_ENOMEM */
kd_flight *kd_run_next(kd_run *r);            /* out of the heap, the one due first */
void kd_flight_free(kd_flight *f);
/* Seconds below which the share q of the answers stayed. */
double kd_run_latency(const kd_run *r, double q);

/* kd_http's calls, ctx a kd_run, user a kd_flight. */
void kd_run_done(void *ctx, void *user, const kd_http_answer *a);
void kd_run_dropped(void *ctx, void *user);

#endif
