/* distill/cli/key.h - a key in a file that nobody else may read: teacher/endpoint.c reads it. Leans on base/mem.h. */
#ifndef KD_CLI_KEY_H
#define KD_CLI_KEY_H

#include "distill/base/mem.h"

/* key += the one line of file. Errors: KD_ENOENT; KD_EAUTH (others may read it; no line, or more than one). The caller wipes it. */
kd_code kd_key_read(kd_buf *key, const char *file, kd_err *e);

#endif
