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

enum { START = 1024, MEASURE = 128, PATIENCE = 8, MOST_PATIENCE = 32 };
static const double UP = 2, DOWN = 0.7, SHARE = 0.2, LOSS = 0.1, SHORT = 0.05;

kd_pace kd_pace_of(double most) {
    return (kd_pace){.most = most, .limit = most, .knee = fmin(most, START), .cut_at = -INFINITY, .hold = -INFINITY, .patience = PATIENCE};
}

double kd_pace_window(const kd_pace *p) { return fmin(p->limit, p->knee); }

/* Measures the next window from anew. */
static void turn(kd_pace *p, double knee, kd_pace_phase phase, double now) {
    p->knee = fmax(1, fmin(p->most, knee));
    p->phase = phase;
    p->passed = p->n = 0;
    p->turned = now;
    p->seconds = 0;
}

static void wait_a_while(kd_pace *p, double now) {
    p->rest = p->patience;
    p->patience = p->patience * 2 < MOST_PATIENCE ? p->patience * 2 : MOST_PATIENCE;
    turn(p, p->base, KD_PACE_REST, now);
}

static void step(kd_pace *p, bool up, double rate, double latency, double now) {
    p->base = p->knee, p->base_rate = rate;
    if (up && p->knee < p->most)
        turn(p, p->knee * UP, KD_PACE_UP, now);
    else if (latency >= SHORT && p->knee > 2)
        turn(p, floor(p->knee * DOWN), KD_PACE_DOWN, now);
    else
        wait_a_while(p, now);
}

static void epoch(kd_pace *p, double latency, double now) {
    double rate =
        p->knee / latency; /* Little's law: what is in flight = rate x time; far steadier than counting, where answers come in bursts */
    double grown = p->knee / fmax(1, p->base) - 1, gained = p->base_rate > 0 ? rate / p->base_rate - 1 : 0;
    p->best = fmax(p->best * 0.97, rate);
    switch (p->phase) {
    case KD_PACE_BASE: step(p, true, rate, latency, now); return;
    case KD_PACE_REST:
        if (--p->rest <= 0)
            step(p, true, rate, latency, now);
        else
            p->n = 0, p->seconds = 0; /* the same window again */
        return;
    case KD_PACE_UP:
        if (gained >= SHARE * grown)
            step(p, true, rate, latency, now);
        else /* taken back; is a smaller one as good? */
            turn(p, floor(p->base * DOWN), KD_PACE_DOWN, now);
        return;
    case KD_PACE_DOWN:
        if (-gained > SHARE * -grown || rate < (1 - LOSS) * p->best) {
            wait_a_while(p, now);
            return;
        }
        p->patience = PATIENCE;
        step(p, false, rate, latency, now);
        return;
    }
}

void kd_pace_answer(kd_pace *p, double sent, double now, bool full) {
    p->limit = fmin(p->most, p->limit + 1 / p->limit);
    if (!full || p->limit < p->knee) { /* something else bounds what is in flight: this tells nothing */
        if (p->phase == KD_PACE_UP || p->phase == KD_PACE_DOWN)
            turn(p, p->base, KD_PACE_BASE, now);
        else
            turn(p, p->knee, p->phase, now);
        return;
    }
    if (sent <= p->turned) return;
    if (p->passed < 3 * (uint64_t)p->knee) { /* the first to come back are the short ones: let the mixture settle */
        p->passed++;
        return;
    }
    p->n++, p->seconds += fmax(1e-6, now - sent);
    if (p->n >= MEASURE && p->n >= (uint64_t)p->knee) epoch(p, p->seconds / (double)p->n, now);
}

void kd_pace_cut(kd_pace *p, double sent, double now) {
    if (sent <= p->cut_at) return;
    p->limit = fmax(1, fmin(p->limit, p->knee) / 2);
    p->cut_at = now;
}

void kd_pace_hold(kd_pace *p, double until) { p->hold = fmax(p->hold, until); }
