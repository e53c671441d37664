/* distill/base/err.c - filling the error record. Leans on nothing. */
#include "distill/base/err.h"

#undef kd_fail /* err.h: macros for the analyzer */
#undef kd_fail_errno

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Bytes of s[0..n) without a character cut off at its end. */
static size_t whole_characters(const char *s, size_t n) {
    size_t start = n;
    for (int back = 0; start > 0 && back < 4; back++) {
        const unsigned char c = (unsigned char)s[--start];
        if (c < 0x80) return n;
        if (c >= 0xc0) {
            const size_t want = c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2;
            return n - start < want ? start : n;
        }
    }
    return n;
}

static void fill(kd_err *e, kd_code c, const char *fmt, va_list ap, const char *tail) {
    char text[sizeof e->msg + 1]; /* one byte more, so that a cut shows */
    int wrote = vsnprintf(text, sizeof text, fmt, ap);
    size_t n = wrote < 0 ? 0 : (size_t)wrote;
    if (n > sizeof text - 1) n = sizeof text - 1;
    if (tail) {
        const size_t tail_len = strlen(tail), room = sizeof e->msg - 1;
        const size_t keep = tail_len + 2 < room ? room - tail_len - 2 : 0; /* the reason matters more than the end of a long path */
        if (n > keep) n = whole_characters(text, keep);
        wrote = snprintf(text + n, sizeof text - n, ": %s", tail);
        n += wrote < 0 ? 0 : (size_t)wrote;
    }
    if (n > sizeof e->msg - 1) n = whole_characters(text, sizeof e->msg - 1);
    memcpy(e->msg, text, n);
    e->msg[n] = '\0';
    e->code = c;
}

kd_code kd_fail(kd_err *e, kd_code c, const char *fmt, ...) {
    if (e) {
        va_list ap;
        va_start(ap, fmt);
        fill(e, c, fmt, ap, NULL);
        va_end(ap);
    }
    return c;
}

kd_code kd_fail_errno(kd_err *e, kd_code c, int errnum, const char *fmt, ...) {
    if (e) {
        char buf[128];
        const char *why = strerror_r(errnum, buf, sizeof buf); /* GNU's: returns the text */
        va_list ap;
        va_start(ap, fmt);
        fill(e, c, fmt, ap, why);
        va_end(ap);
    }
    return c;
}

void kd_err_clear(kd_err *e) {
    if (!e) return;
    e->code = KD_OK;
    e->msg[0] = '\0';
}
