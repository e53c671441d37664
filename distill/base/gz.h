/* distill/base/gz.h - zlib and gzip. The one room that includes zlib. Leans on mem.h, err.h. */
#ifndef KD_BASE_GZ_H
#define KD_BASE_GZ_H

#include "distill/base/mem.h"

/* out += zlib stream (RFC 1950) of in. level 1..9. */
kd_code kd_zip(kd_buf *out, const void *in, size_t n, int level, kd_err *e);
/* out += one gzip member (RFC 1952, no name, no time: the same bytes for the same text); members one after another make one file. */
kd_code kd_gzip(kd_buf *out, const void *in, size_t n, int level, kd_err *e);
/* out += what the zlib or gzip stream in holds, refused beyond limit bytes (KD_EFORMAT); trailing bytes are an error. */
kd_code kd_unzip(kd_buf *out, const void *in, size_t n, size_t limit, kd_err *e);

/* Lines of a file, gzip or plain by its first bytes; "-" is standard input. */
typedef struct kd_lines kd_lines;
kd_code kd_lines_open(kd_lines **out, const char *path, kd_err *e);
/* *line = next line without its end (LF or CRLF), valid until the next call, NUL bytes and all; *more = false at the end.
 * A cut or damaged gzip stream is KD_EFORMAT, a line beyond 1 GiB too. */
kd_code kd_lines_next(kd_lines *l, kd_str *line, bool *more, kd_err *e);
size_t kd_lines_number(const kd_lines *l);                                  /* of the last line given, from 1 */
void kd_lines_progress(const kd_lines *l, uint64_t *done, uint64_t *total); /* bytes of the file; total 0 = unknown */
void kd_lines_close(kd_lines *l);

#endif
