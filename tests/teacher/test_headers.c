/* tests/teacher/test_headers.c - what header lines say of waiting and limits, in every spelling that providers use. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "teacher/headers.h"

static bool near(double a, double b) { return a - b < 1e-9 && b - a < 1e-9; }

static void test_spans(void **state) {
    (void)state;
    static const struct {
        const char *text;
        double seconds;
    } t[] = {{"12ms", 0.012},
             {"1m30s", 90},
             {"6h0m0.5s", 21600.5},
             {"0.5", 0.5},
             {"120", 120},
             {"1d", 86400},
             {"7.66s", 7.66},
             {"-1", -1},
             {"", -1},
             {"s", -1},
             {"1x", -1},
             {"1m-3s", -1},
             {"1e400s", -1},
             {"nan", -1},
             {"0s", 0},
             {"2h", 7200},
             {"2026-01-31T23:59:59Z", 59},
             {"1769903999", 59},
             {"1769903999000", 59},
             {"2026-02-01T00:59:59+01:00", 59},
             {"2020-01-01T00:00:00Z", 0},
             {"1m30", -1}};
    for (size_t i = 0; i < sizeof t / sizeof *t; i++) {
        double s = kd_span_seconds(t[i].text, 1769903940); /* 2026-01-31T23:59:00Z */
        if (!near(s, t[i].seconds)) fail_msg("%s: %g, expected %g", t[i].text, s, t[i].seconds);
    }
}

static void test_dates(void **state) {
    (void)state;
    assert_int_equal(kd_http_date("Sun, 06 Nov 1994 08:49:37 GMT"), 784111777);
    assert_int_equal(kd_http_date("Sunday, 06-Nov-94 08:49:37 GMT"), 784111777);
    assert_int_equal(kd_http_date("Sun Nov  6 08:49:37 1994"), 784111777);
    assert_int_equal(kd_http_date("2026-01-31T23:59:59.123Z"), 1769903999);
    static const char *const bad[] = {
        "", "soon", "Sun, 32 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "2026-13-01T00:00:00Z", "Sun, 06 Nov 1994"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        if (kd_http_date(bad[i]) != -1) fail_msg("%s was read", bad[i]);
}

static kd_head read(const char *const *lines) {
    kd_head h;
    kd_head_clear(&h);
    for (; *lines; lines++) kd_head_line(&h, *lines, strlen(*lines));
    kd_head_end(&h, 1769903940);
    return h;
}
#define LINES(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_lines(void **state) {
    (void)state;
    kd_head h =
        read(LINES("HTTP/1.1 429 Slow\r\n", "Retry-After: 7\r\n", "X-Should-Retry: false\r\n", "Content-Type:  application/json \r\n"));
    assert_true(near(h.retry_after, 7) && h.should_retry == 0);
    assert_string_equal(h.type, "application/json");
    h = read(LINES("retry-after: Sun, 06 Nov 1994 08:50:37 GMT",
                   "Date: Sun, 06 Nov 1994 08:49:37 GMT")); /* by the server's clock, whatever ours says */
    assert_true(near(h.retry_after, 60));
    h = read(LINES("Retry-After: Sat, 31 Jan 2026 23:59:59 GMT"));
    assert_true(near(h.retry_after, 59));
    h = read(LINES("retry-after-ms: 250", "retry-after: 7"));
    assert_true(near(h.retry_after, 0.25));
    h = read(LINES("Retry-After: -3", "x-should-retry: maybe"));
    assert_true(h.retry_after == -1 && h.should_retry == -1);
    h = read(LINES("x-ratelimit-remaining-requests: 3", "x-ratelimit-reset-requests: 1m30s", "x-ratelimit-remaining-tokens: -1",
                   "x-ratelimit-reset-tokens: 12ms"));
    assert_true(h.left[0] == 3 && near(h.reset[0], 90) && h.left[1] == -1 && near(h.reset[1], 0.012));
    h = read(LINES("Date: Sat, 31 Jan 2026 23:59:00 GMT", "anthropic-ratelimit-requests-remaining: 0",
                   "anthropic-ratelimit-requests-reset: 2026-01-31T23:59:30Z", "anthropic-ratelimit-input-tokens-remaining: 5000",
                   "anthropic-ratelimit-output-tokens-remaining: 800", "anthropic-ratelimit-input-tokens-reset: 2026-01-31T23:59:10Z",
                   "anthropic-ratelimit-output-tokens-reset: 2026-01-31T23:59:20Z"));
    assert_true(h.left[0] == 0 && near(h.reset[0], 30) && h.left[1] == 800 && near(h.reset[1], 20));
    h = read(LINES("HTTP/1.1 100 Continue", "Retry-After: 9", "HTTP/1.1 200 OK", "X-RateLimit-Remaining: 11"));
    assert_true(h.retry_after == -1 && h.left[0] == 11);
    char longest[3000];
    memset(longest, 'a', sizeof longest);
    memcpy(longest, "Content-Type: ", 14);
    kd_head_line(&h, longest, sizeof longest);
    assert_true(strlen(h.type) == sizeof h.type - 1);
    kd_head_line(&h, "retry-after", 11), kd_head_line(&h, "r\0:1", 4), kd_head_line(&h, "", 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_spans), cmocka_unit_test(test_dates), cmocka_unit_test(test_lines)};
    return cmocka_run_group_tests_name("headers", tests, NULL, NULL);
}
