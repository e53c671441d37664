/* teacher/batch_int.h - one request after another to a provider's batch API, shared by batch.c and batch_fetch.c. Private to these two. */
#ifndef KD_TEACHER_BATCH_INT_H
#define KD_TEACHER_BATCH_INT_H

#include "teacher/batch.h"
#include "teacher/http.h"
#include "teacher/request.h"

typedef struct {
    kd_http *http;
    const kd_remote_opts *ro;
    kd_buf body; /* of the answer last had */
    int status;
    bool done;
    kd_code code;
    kd_err err;
    double wait; /* seconds it asks to wait, or negative */
} kd_line;
kd_code kd_line_open(kd_line *l, const kd_remote_opts *ro, kd_err *e);
void kd_line_close(kd_line *l);
/* base/path, up to five times where that helps; type: of body. Status 2xx or an error: KD_EAUTH, KD_EUNREACHABLE, KD_ELIMIT. */
kd_code kd_line_call(kd_line *l, const char *base, const char *path, kd_http_verb verb, const char *type, kd_str body, kd_err *e);

/* Batches taken and never told to be sent: found at the provider by their mark, or freed. */
kd_code kd_batch_adopt(kd_study *s, kd_line *l, kd_err *e);

#endif
