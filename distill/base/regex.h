/* distill/base/regex.h - regular expressions. The one room that includes PCRE2 (with its JIT where it has one). Leans on mem.h, err.h. */
#ifndef KD_BASE_REGEX_H
#define KD_BASE_REGEX_H

#include "distill/base/mem.h"

typedef struct kd_regex kd_regex; /* compiled; one thread at a time (holds its match data) */

/* pattern in Perl's syntax, UTF-8 with Unicode properties (UTF | UCP). Messages carry the pattern and the offset.
 * Matching is bounded in steps and depth: a pattern that runs away ends with KD_ELIMIT. */
kd_code kd_regex_new(kd_regex **out, const char *pattern, size_t len, kd_err *e);
void kd_regex_free(kd_regex *r);
/* First match at or after from in the valid UTF-8 text s[0..n): *found, and its bytes [*start, *end). groups (or NULL) receives up to
 * max_groups pairs of offsets, group 0 first; (size_t)-1 where a group took no part. */
kd_code kd_regex_find(kd_regex *r, const char *s, size_t n, size_t from, bool *found, size_t *start, size_t *end, size_t *groups,
                      int max_groups, kd_err *e);

#endif
