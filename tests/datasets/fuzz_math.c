/* tests/datasets/fuzz_math.c - two answers out of any bytes (cut at the first NUL): judged in bounded time; nothing is unlike itself. */
#include "datasets/label.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *s = (const char *)data, *nul = size ? memchr(s, 0, size) : NULL;
    kd_str a = {s, nul ? (size_t)(nul - s) : size}, b = nul ? (kd_str){nul + 1, size - a.len - 1} : a;
    kd_verdict x, y, self;
    kd_judgement j;
    kd_err e;
    double v;
    if (kd_math_equal(&x, a, b, &e) || kd_math_equal(&y, b, a, &e) || kd_math_equal(&self, a, a, &e) || kd_label_math(&j, a, b, &e) ||
        kd_label_repeats(&v, a, &e))
        abort();
    if (self == KD_WRONG || !(v >= 0 && v <= 1) || strlen(j.reason) >= sizeof j.reason) abort();
    return 0;
}
