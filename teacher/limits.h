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

/* Requests in flight: 1 to most. One answer adds 1/limit (so 1 a round), one burst of 429 or 503 halves: answers to requests that were sent before the last cut
 * belong to its burst. */
typedef struct {
    double most, limit, cut_at, hold; /* hold: nothing is sent before this time */
} kd_pace;
kd_pace kd_pace_of(double most);
void kd_pace_answer(kd_pace *p);
void kd_pace_cut(kd_pace *p, double sent, double now);
void kd_pace_hold(kd_pace *p, double until); /* the longest asked for holds */

#endif
