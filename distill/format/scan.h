/* distill/format/scan.h - inside of the room: a strict reader of the little JSON that headers and indexes of safetensors are made of.
 * It builds no tree, so that a header costs the memory of its tensors and no more. Leans on base/mem.h. Not for other rooms. */
#ifndef KD_FORMAT_SCAN_H
#define KD_FORMAT_SCAN_H

#include "distill/base/mem.h"

typedef struct {
    const char *s;
    size_t n, at;
    const char *what; /* names the text in messages */
    kd_arena *text;   /* strings go here; NULL: they are passed over, their escapes unread */
} kd_scan;

/* Checks UTF-8 and starts. */
kd_code kd_scan_init(kd_scan *j, const char *s, size_t n, const char *what, kd_arena *text, kd_err *e);
/* Skips white space, then the byte c or an error. */
kd_code kd_scan_expect(kd_scan *j, char c, kd_err *e);
/* The byte behind white space, 0 at the end; nothing is taken. */
char kd_scan_peek(kd_scan *j);
/* A string, escapes undone, NUL-terminated in the arena. U+0000 only where nul is true. */
kd_code kd_scan_string(kd_scan *j, kd_str *out, bool nul, kd_err *e);
/* A number that is a whole count: digits alone. */
kd_code kd_scan_u64(kd_scan *j, uint64_t *out, kd_err *e);
/* Any value, to be passed over; depth at most 64. */
kd_code kd_scan_skip(kd_scan *j, kd_err *e);
/* Between members or elements: takes ',' (*more = true) or close (*more = false). first: no comma is asked before the first one. */
kd_code kd_scan_more(kd_scan *j, char close, bool first, bool *more, kd_err *e);
kd_code kd_scan_end(kd_scan *j, kd_err *e); /* only white space is left */
kd_code kd_scan_fail(const kd_scan *j, const char *expected, kd_err *e);

#endif
