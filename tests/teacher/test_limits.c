/* tests/teacher/test_limits.c - buckets and the window of requests in flight, over times of our own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "distill/base/rng.h"

#include "teacher/limits.h"

static void test_bucket(void **state) {
    (void)state;
    kd_bucket b = kd_bucket_of(10, 5, 100), none = kd_bucket_of(0, 1, 100);
    int passed = 0;
    for (int ms = 0; ms <= 2000; ms++)
        while (kd_bucket_wait(&b, 1, 100 + ms / 1000.0) <= 0) kd_bucket_take(&b, 1), passed++;
    assert_in_range(passed, 24, 25); /* what it held, and 10 a second; the last may fall to rounding */
    assert_true(kd_bucket_wait(&none, 1e9, 100) == 0);
    b = kd_bucket_of(10, 5, 0);
    assert_true(kd_bucket_wait(&b, 50, 0) == 0); /* more than it can ever hold passes when it is full, and is paid for after */
    kd_bucket_take(&b, 50);
    assert_true(fabs(kd_bucket_wait(&b, 1, 0) - 4.6) < 1e-9);
    kd_bucket_take(&b, -1000); /* what is given back never overflows it */
    assert_true(b.level == 5);
}

static void test_pace(void **state) {
    (void)state;
    kd_pace p = kd_pace_of(64);
    assert_true(p.limit == 64);
    kd_pace_cut(&p, 1.0, 2.0);
    for (int i = 0; i < 63; i++) kd_pace_cut(&p, 1.5, 2.1); /* the burst: sent before the cut */
    assert_true(p.limit == 32);
    kd_pace_cut(&p, 2.5, 3.0);
    assert_true(p.limit == 16);
    for (int i = 0; i < 16; i++) kd_pace_answer(&p, 0, 0, false); /* a round of answers adds about one */
    assert_true(p.limit > 16.9 && p.limit < 17.01);
    for (int i = 0; i < 10000; i++) kd_pace_answer(&p, 0, 0, false);
    assert_true(p.limit == 64);
    for (int i = 0; i < 20; i++) kd_pace_cut(&p, 10 + i, 10 + i + 0.5);
    assert_true(p.limit == 1);
    kd_pace_hold(&p, 50);
    kd_pace_hold(&p, 40);
    assert_true(p.hold == 50);
}

/* ---- a server that queues, simulated ---- */
enum { FLYING = 8192 };
typedef struct {
    double due, sent;
} job;
typedef struct {
    double window, rate; /* means over the last fifth of the answers */
    double latency;
} settled;

/* slots serve for .service seconds (spread: exponentially), the others wait; slots 0: nobody waits. grow > 0: as a batching engine does, a service takes
 * .service * (1 + busy / grow). */
static settled simulate(double most, int slots, double service, bool spread, double grow, int answers) {
    static job flying[FLYING];
    static double slot[4096];
    memset(slot, 0, sizeof slot);
    kd_pace p = kd_pace_of(most);
    kd_rng rng = {.key = 3};
    settled out = {0};
    size_t n = 0;
    double now = 0, from = 0;
    int counted = 0;
    for (int done = 0; done < answers; done++) {
        while ((double)n < kd_pace_window(&p) && n < FLYING) {
            double takes = service * (grow > 0 ? 1 + (double)n / grow : 1) * (spread ? -log(1 - kd_rng_uniform(&rng)) : 1), at = now;
            if (slots > 0) {
                int free = 0;
                for (int k = 1; k < slots; k++)
                    if (slot[k] < slot[free]) free = k;
                at = fmax(now, slot[free]);
                slot[free] = at + takes;
            }
            flying[n++] = (job){at + takes, now};
        }
        size_t first = 0;
        for (size_t i = 1; i < n; i++)
            if (flying[i].due < flying[first].due) first = i;
        job j = flying[first];
        now = j.due;
        bool full = (double)n >= kd_pace_window(&p);
        flying[first] = flying[--n];
        kd_pace_answer(&p, j.sent, now, full);
        if (done >= answers * 4 / 5) {
            if (!counted) from = now;
            counted++, out.window += kd_pace_window(&p), out.latency += now - j.sent;
        }
    }
    out.window /= counted, out.latency /= counted, out.rate = counted / (now - from);
    return out;
}

static void test_knee(void **state) {
    (void)state;
    static const struct {
        const char *what;
        double most;
        int slots;
        double service;
        bool spread;
        double grow, rate; /* what the server can do a second */
        double least, longest, window;
    } t[] = {{"queues behind 16, even", 512, 16, 0.2, false, 0, 80, 0.93, 0.7, 56},
             {"queues behind 16, spread", 512, 16, 0.2, true, 0, 80, 0.85, 1.0, 80},
             {"queues behind 64, 256 allowed", 256, 64, 2, true, 0, 32, 0.85, 6.5, 205},
             {"queues behind 1", 64, 1, 0.5, false, 0, 2, 0.93, 10, 20},
             {"never queues", 4096, 0, 0.5, false, 0, 8192, 0.8, 0.51, 4096},
             {"never queues, spread", 2048, 0, 0.5, true, 0, 4096, 0.75, 0.55, 2048},
             {"a batch that slows down", 2048, 0, 1, true, 64, 64, 0.7, 8, 512}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        settled s = simulate(t[i].most, t[i].slots, t[i].service, t[i].spread, t[i].grow, t[i].most > 1000 ? 150000 : 30000);
        printf("# %-32s window %6.1f, %7.1f/s of %.0f, %.2f s an answer\n", t[i].what, s.window, s.rate, t[i].rate, s.latency);
        if (!getenv("TELL") && (s.rate < t[i].least * t[i].rate || s.latency > t[i].longest || s.window > t[i].window + 1e-9))
            fail_msg("%s: window %.1f, %.1f a second, %.2f s", t[i].what, s.window, s.rate, s.latency);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_bucket), cmocka_unit_test(test_pace), cmocka_unit_test(test_knee)};
    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
