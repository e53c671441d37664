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
/* The body of the request for one item, choices answers at once; members of --extra-body stand in the place of ours. model: its name at the endpoint. batch: for a
 * file of requests, so never a stream. */
kd_code kd_asking_body(kd_buf *out, const kd_asking *q, const kd_work_item *item, const char *model, int choices, bool batch, kd_err *e);

bool kd_asking_priced(const kd_asking *q);
/* Worst case of a request whose body has n bytes: a token a byte and an allowance for the template; completion tokens for each choice. */
double kd_asking_worst_tokens(const kd_asking *q, size_t n, int choices);
double kd_asking_worst_price(const kd_asking *q, const kd_prices *p, size_t n, int choices);

#endif
