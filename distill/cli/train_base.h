/* distill/cli/train_base.h - the base that a student stands on: as it came, or with what it lacked installed; and what would fail at the end, looked for before the
 * beginning. Leans on cli.h, model/extend.h, student/trainer.h; convert/convert.h for what an export would say. */
#ifndef KD_CLI_TRAIN_BASE_H
#define KD_CLI_TRAIN_BASE_H

#include "distill/cli/cli.h"
#include "distill/model/extend.h"
#include "student/trainer.h"

/* What --chat-template, --add-tokens, --eos and --rope-theta ask for, worked out on m; *out = NULL where none is given. */
kd_code kd_train_extension(kd_extension **out, kd_cli *cli, const kd_model *m, kd_err *e);
/* RUN/base or RUN/base.gguf of m: written unless a run has it already. *m becomes that model, base (PATH_MAX) its absolute path. */
kd_code kd_train_install(const kd_extension *x, kd_model **m, const char *run, char *base, kd_err *e);
/* Room on the disk for checkpoints, base and result; a config that the result can be written with. adapter: the result is one. */
kd_code kd_train_preflight(const kd_cli *cli, const kd_model *m, const kd_extension *x, const kd_train_options *o, const kd_train_plan *p,
                           kd_err *e);
/* What `convert RUN student.gguf` will say of this base, asked before the first update: a remark where it would refuse, or the disk has no room for it. The run
 * goes on: its own result, an adapter or a Hugging Face folder, is good without. */
void kd_train_export_check(kd_cli *cli, const char *base, kd_pool *pool);
/* FLOPs a second of f32 (or bf16) products on all workers, measured for a moment. 0: no memory to measure it in. */
double kd_train_peak(kd_pool *pool, bool bf16);

#endif
