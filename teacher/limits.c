/* teacher/limits.c - see limits.h. */
#include "teacher/limits.h"

#include <math.h>

kd_bucket kd_bucket_of(double rate, double cap, double now) { return (kd_bucket){.rate = rate, .level = cap, .cap = cap, .at = now}; }

double kd_bucket_wait(kd_bucket *b, double n, double now) {
    if (b->rate <= 0) return 0;
    b->level = fmin(b->cap, b->level + (now - b->at) * b->rate);
    b->at = now;
    n = fmin(n, b->cap);
    return b->level >= n ? 0 : (n - b->level) / b->rate;
}

void kd_bucket_take(kd_bucket *b, double n) { b->level = fmin(b->cap, b->level - n); }

kd_pace kd_pace_of(double most) { return (kd_pace){.most = most, .limit = most, .cut_at = -INFINITY, .hold = -INFINITY}; }

void kd_pace_answer(kd_pace *p) { p->limit = fmin(p->most, p->limit + 1 / p->limit); }

void kd_pace_cut(kd_pace *p, double sent, double now) {
    if (sent <= p->cut_at) return;
    p->limit = fmax(1, p->limit / 2);
    p->cut_at = now;
}

void kd_pace_hold(kd_pace *p, double until) { p->hold = fmax(p->hold, until); }
