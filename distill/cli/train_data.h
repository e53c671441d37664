/* distill/cli/train_data.h - what `train` learns from: a study's selection, or JSONL files. Leans on datasets, cli.h. */
#ifndef KD_CLI_TRAIN_DATA_H
#define KD_CLI_TRAIN_DATA_H

#include "datasets/render.h"
#include "distill/cli/cli.h"
#include "distill/model/model.h"

typedef enum { KD_LONG_DROP, KD_LONG_CUT, KD_LONG_REFUSE } kd_long;
typedef struct {
    size_t max_length; /* tokens of a lesson; 0: the model's context */
    kd_long longer;
    const char *select, *chat_template; /* NULL: defaults */
    int64_t now;                        /* what templates that name the date show: seconds since 1970 */
} kd_train_source;
typedef struct {
    size_t dropped, cut; /* lessons too long */
    size_t empty;        /* lessons with nothing to learn */
    size_t tokens, loss_tokens;
    char sha256[65]; /* of all tokens and flags, in order */
} kd_train_data;

/* Lessons of every argument of the command, in order. Errors: those of files, studies and rendering; KD_ECHECK a row of the test split. */
kd_code kd_train_data_read(kd_lessons *l, kd_train_data *d, kd_cli *cli, const kd_model *m, const kd_train_source *s, kd_err *e);

#endif
