/* convert/resume.h - inside of the room: a conversion that was stopped at work goes on. Beside the temporary files that a writer leaves then lies
 * FILE.resume: a fingerprint of everything that the output depends on, and a hash of each window of output in order. The next run takes the
 * windows that the leftovers still hold whole, and computes the rest. Leans on plan.h. */
#ifndef KD_CONVERT_RESUME_H
#define KD_CONVERT_RESUME_H

#include "convert/plan.h"

typedef struct kd_resume kd_resume;
/* The writer in s has begun; file: what it was given. before: the folder that holds what a stopped run left, or NULL: file's own.
 * NULL in *out where nothing is kept: small outputs. window: bytes a window. */
kd_code kd_resume_open(kd_resume **out, const kd_plan *p, const kd_sink *s, const char *file, const char *before, uint64_t window,
                       kd_err *e);
/* Bytes [at, at + n) behind a place in the leftovers into to; false: there are none, or they end before. */
bool kd_resume_read(const kd_resume *r, kd_place where, uint64_t at, void *to, size_t n);
/* Whether window number i was written as these bytes before. */
bool kd_resume_same(const kd_resume *r, size_t i, const void *bytes, size_t n);
/* Whether it is worth reading window i at all. */
bool kd_resume_has(const kd_resume *r, size_t i, size_t n);
/* Window after window, once it is written. whole false: not to be taken again (values that are not finite were in it). */
void kd_resume_note(kd_resume *r, const void *bytes, size_t n, bool whole);
/* stopped: in order, and the writer keeps its files: the journal stays. Otherwise there is nothing to go on with. */
void kd_resume_close(kd_resume *r, bool stopped);

#endif
