/* tests/teacher/fuzz_headers.c - header lines of a stranger; durations and dates in them. */
#include "teacher/headers.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    kd_head h;
    const char *p = (const char *)data, *end = p + size;
    kd_head_clear(&h);
    while (p < end) {
        const char *line = memchr(p, '\n', (size_t)(end - p));
        size_t n = line ? (size_t)(line - p) + 1 : (size_t)(end - p);
        kd_head_line(&h, p, n);
        p += n;
    }
    kd_head_end(&h, 1769903940);
    if (h.retry_after < -1 || h.left[0] < -1 || h.left[1] < -1 || h.reset[0] < -1 || h.reset[1] < -1) __builtin_trap();
    if (memchr(h.type, 0, sizeof h.type) == NULL) __builtin_trap();
    return 0;
}
