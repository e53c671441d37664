/* distill/cli/train_export.h - whether what is going to be trained can be exported. Leans on cli.h, convert/convert.h. (convert and student both have a kd_mix: a file sees one.) */
#ifndef KD_CLI_TRAIN_EXPORT_H
#define KD_CLI_TRAIN_EXPORT_H

#include "distill/base/pool.h"
#include "distill/cli/cli.h"

/* What `convert RUN student.gguf` will say of this base, asked before the first update: a remark where it would refuse, or the disk has no room for it. The run
 * goes on: its own result, an adapter or a Hugging Face folder, is good without. */
void kd_train_export_check(kd_cli *cli, const char *base, kd_pool *pool);

#endif
