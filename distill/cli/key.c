/* distill/cli/key.c - see key.h. */
#include "distill/cli/key.h"

#include "distill/base/file.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

kd_code kd_key_read(kd_buf *key, const char *file, kd_err *e) {
    struct stat st;
    if (stat(file, &st)) return kd_fail_errno(e, KD_ENOENT, errno, "%s", file);
    if (st.st_mode & (S_IRWXG | S_IRWXO))
        return kd_fail(e, KD_EAUTH, "%s: others may read it (mode %03o): chmod 600 it first", file, (unsigned)(st.st_mode & 0777));
    kd_code c = kd_file_read(key, file, 65536, e);
    while (!c && key->len && strchr(" \t\r\n", key->data[key->len - 1])) key->data[--key->len] = 0;
    if (!c && (!key->len || strpbrk(key->data, "\r\n"))) c = kd_fail(e, KD_EAUTH, "%s: expected one line with the key", file);
    return c;
}
