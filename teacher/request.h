/* teacher/request.h - what a remote teacher is sent, and what that may cost. Leans on teacher.h. Private to this room. */
#ifndef KD_TEACHER_REQUEST_H
#define KD_TEACHER_REQUEST_H

#include "distill/base/json.h"
#include "teacher/teacher.h"

/* The options, checked, with --extra-body parsed. */
typedef struct {
    const kd_teach_opts *o;
    const kd_remote_opts *ro;
    kd_json *extra; /* or NULL */
    double most;    /* completion tokens of a request at most; 0 unknown */
} kd_asking;
kd_code kd_asking_init(kd_asking *q, const kd_teach_opts *o, const kd_remote_opts *ro, kd_err *e);
void kd_asking_clear(kd_asking *q);

kd_code kd_asking_settings(kd_buf *json, const kd_asking *q, kd_err *e);
/* The body of the request for one item; members of --extra-body stand in the place of ours. */
kd_code kd_asking_body(kd_buf *out, const kd_asking *q, const kd_work_item *item, kd_err *e);

bool kd_asking_priced(const kd_asking *q);
/* USD of so many tokens (negative: not told, nothing); of the prompt's, cached ones at their own price where they have one. */
double kd_asking_price(const kd_asking *q, int64_t prompt, int64_t completion, int64_t cached);
/* Worst case of a request whose body has n bytes: a token a byte and an allowance for the template. */
double kd_asking_worst_tokens(const kd_asking *q, size_t n);
double kd_asking_worst_price(const kd_asking *q, size_t n);

#endif
