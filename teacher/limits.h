/* teacher/limits.h - how fast a remote teacher may be asked: token buckets for what a user allows, a window of requests in flight for what an endpoint bears.
 * Pure arithmetic over times that the caller gives. */
#ifndef KD_TEACHER_LIMITS_H
#define KD_TEACHER_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

/* What comes in at rate a second, and what may be held at most. rate 0: no limit. What is in flight was taken when it was sent. */
typedef struct {
    double rate, level, cap, at;
} kd_bucket;
kd_bucket kd_bucket_of(double rate, double cap, double now);
double kd_bucket_wait(kd_bucket *b, double n, double now); /* seconds until n may pass (a full bucket passes more than it holds); 0: now */
void kd_bucket_take(kd_bucket *b, double n);               /* n < 0 gives back */

/* Requests in flight: 1 to most. Two things bound them.
 * What is refused: one answer adds 1/limit (so 1 a round), one burst of 429 or 503 halves; answers to requests that were sent before the last cut belong to its burst.
 * What queues: a server that never refuses lets its queue grow instead. Throughput is measured at one window (requests that were under way before it began are let
 * pass first), then at another; a larger one is kept if it brings at least a fifth of what it grew, a smaller one if it loses no more than a fifth of what it shrank
 * and no more than 10 % of the best of late. Steps that fail are taken back and tried again ever later. Below 50 ms an answer nothing is moved: such a queue hurts nobody. */
typedef enum { KD_PACE_BASE, KD_PACE_UP, KD_PACE_DOWN, KD_PACE_REST } kd_pace_phase;
typedef struct {
    double most, limit, cut_at, hold; /* hold: nothing is sent before this time */
    double knee;                      /* the window that queueing allows */
    kd_pace_phase phase;
    double turned;      /* when the present window began: requests sent before are let pass */
    uint64_t passed, n; /* answers let pass besides; answers measured */
    double seconds;     /* that these took, in sum */
    double base, base_rate, best;
    int rest, patience; /* epochs to wait; how many the next failure waits */
} kd_pace;
kd_pace kd_pace_of(double most);
double kd_pace_window(const kd_pace *p);                             /* how many may be in flight now */
void kd_pace_answer(kd_pace *p, double sent, double now, bool full); /* full: as many were in flight as might be */
void kd_pace_cut(kd_pace *p, double sent, double now);
void kd_pace_hold(kd_pace *p, double until); /* the longest asked for holds */

#endif
