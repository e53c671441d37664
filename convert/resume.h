/* convert/resume.h - inside of the room: a conversion that was killed at work goes on. Beside DST.tmp-PID-N, which a writer leaves then, lies DST.resume: a
 * fingerprint of everything that the output depends on, and a hash of each window of output in order. The next run takes the windows that the
 * leftover still holds whole, and computes the rest. For GGUF files in one part. Leans on plan.h. */
#ifndef KD_CONVERT_RESUME_H
#define KD_CONVERT_RESUME_H

#include "convert/plan.h"

typedef struct kd_resume kd_resume;
/* NULL in *out where nothing is kept: small outputs, split ones, folders. window: bytes a window. */
kd_code kd_resume_open(kd_resume **out, const kd_plan *p, const char *dst, uint64_t window, kd_err *e);
/* Bytes [at, at + n) of the leftover into to; false: there is none, or it ends before. */
bool kd_resume_read(const kd_resume *r, uint64_t at, void *to, size_t n);
/* Whether window number i was written as these bytes before. */
bool kd_resume_same(const kd_resume *r, size_t i, const void *bytes, size_t n);
/* Whether it is worth reading window i at all. */
bool kd_resume_has(const kd_resume *r, size_t i, size_t n);
/* Window after window, once it is written. whole false: not to be taken again (values that are not finite were in it). */
void kd_resume_note(kd_resume *r, const void *bytes, size_t n, bool whole);
/* done: the output is whole, nothing is left to go on with; otherwise the journal stays. */
void kd_resume_close(kd_resume *r, bool done);

#endif
