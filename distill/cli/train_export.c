/* distill/cli/train_export.c - see train_export.h. */
#include "distill/cli/train_export.h"

#include "convert/convert.h"
#include "distill/base/file.h"

void kd_train_export_check(kd_cli *cli, const char *base, kd_pool *pool) {
    kd_err why = {0};
    kd_convert_result r = {0};
    char *file = kd_path_join(kd_opt_string(cli, "output"), "student.gguf");
    const kd_code c = file ? kd_convert(base, file, &(kd_convert_options){0}, true, pool, NULL, &r, &why) : KD_OK;
    if (c != KD_OK) kd_warn(cli, "a GGUF file of this student cannot be made as things are: %s", why.msg);
    kd_free(file);
}
