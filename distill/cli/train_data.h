/* distill/cli/train_data.h - what `train` learns from, and what it is held against: studies' selections and JSONL files. Leans on datasets, cli.h. */
#ifndef KD_CLI_TRAIN_DATA_H
#define KD_CLI_TRAIN_DATA_H

#include "datasets/render.h"
#include "distill/cli/cli.h"
#include "distill/model/model.h"
#include "student/batch.h"

typedef enum { KD_LONG_DROP, KD_LONG_CUT, KD_LONG_REFUSE } kd_long;
typedef struct {
    size_t max_length; /* tokens of a lesson; 0: the model's context */
    kd_long longer;
    const char *select;  /* SQL, or "@NAME" of a selection kept in the study; NULL: verified answers of the train split */
    const char *weight;  /* SQL over columns and labels: a sample's weight in the loss; NULL: 1 */
    const kd_chat *chat; /* of the student */
    const kd_tokenizer *tokenizer;
    bool installs; /* the template is new to the model: its end of turn must be the model's eos */
    uint32_t V;
    int64_t now; /* what templates that name the date show: seconds since 1970 */
} kd_train_source;

/* One argument of the command: FILE, STUDY, or either with =WEIGHT. Its lessons lie together, in the order of the arguments. */
typedef struct {
    char path[4096];
    const char *name;   /* within path: its last part */
    double weight;      /* 0: none given */
    char selection[65]; /* hash of the selection kept in the study, "" if none was named */
    size_t lessons, tokens, loss_tokens;
} kd_train_part;
typedef struct {
    kd_train_part part[KD_SOURCES_MAX];
    size_t parts;
    size_t dropped, cut, cut_tokens; /* lessons too long */
    size_t empty;                    /* lessons with nothing to learn */
    size_t tokens, loss_tokens;
    int32_t turn_end; /* the token that ends a turn, -1: no source was rendered */
    char sha256[65];  /* of all tokens, flags and weights, in order */
} kd_train_data;

/* The arguments taken apart: paths and weights. Errors: KD_EINVAL some have a weight and some have none; KD_ENOENT. */
kd_code kd_train_parts(kd_train_data *d, const kd_cli *cli, kd_err *e);
/* Lessons of every part, in order. Errors: those of files, studies and rendering; KD_ECHECK a row of the test split; KD_EUNSUPPORTED no end of turn. */
kd_code kd_train_data_read(kd_lessons *l, kd_train_data *d, kd_cli *cli, const kd_train_source *s, kd_err *e);
/* Lessons to be measured on: path's rows (of a study: the split's), every one cut to the length at most. text: a plain file is one text, cut into
 * pieces of 512 tokens, and every token counts. limit: tokens at most, 0: all. */
kd_code kd_held_read(kd_lessons *l, const char *path, const char *split, bool text, size_t limit, const kd_train_source *s, kd_err *e);
/* A lesson as people read it: the end of its prompt, and what of it is learned. */
kd_code kd_lesson_show(kd_cli *cli, const kd_lesson *l, const kd_tokenizer *t, kd_err *e);

#endif
