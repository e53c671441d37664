/* distill/cli/select_opts.h - the flags that choose samples of a study, shared by the commands that read one. Leans on cli.h, datasets/study.h. */
#ifndef KD_CLI_SELECT_OPTS_H
#define KD_CLI_SELECT_OPTS_H

#include "datasets/study.h"
#include "distill/cli/cli.h"

#define KD_SELECT_OPTIONS                                                                                                                  \
    {"select",                                                                                                                             \
     0,                                                                                                                                    \
     KD_OPT_STRING,                                                                                                                        \
     "SQL|@NAME",                                                                                                                          \
     NULL,                                                                                                                                 \
     "samples for which this expression holds, or the selection kept as NAME (else: split train, finished, and right where there is an "   \
     "answer)",                                                                                                                            \
     "Selection"},                                                                                                                         \
        {"split", 0, KD_OPT_STRING, "NAME", NULL, "of this split", "Selection"},                                                           \
        {"all", 0, KD_OPT_FLAG, NULL, NULL, "every sample, judged or not", "Selection"},                                                   \
        {"per-question", 0, KD_OPT_INT, "K", NULL, "at most K samples a question", "Selection", .min = 1, .max = 1e6},                     \
        {"prefer",    0,                                                                                                                   \
         KD_OPT_ENUM, "first|shortest|longest|random|diverse",                                                                             \
         "first",     "which of them; diverse: those whose thoughts share the fewest runs of five words",                                  \
         "Selection"},                                                                                                                     \
        {"difficulty", 0, KD_OPT_STRING, "LO:HI", NULL, "only questions whose pass rate lies in between, such as 0.1:0.9", "Selection"},   \
        {"max-tokens", 0, KD_OPT_INT, "N", NULL, "only answers of at most N tokens", "Selection", .min = 1, .max = 1e12},                  \
        {"balance", 0, KD_OPT_STRING, "COLUMN", NULL, "as many rows of each value of this column or label as of the rarest", "Selection"}, \
        {"save", 0, KD_OPT_STRING, "NAME", NULL, "keep the selection under this name", "Selection"}, {                                     \
        "selection", 0, KD_OPT_STRING, "NAME", NULL, "the selection kept under this name, instead of the flags above", "Selection"         \
    }

/* Opens the study (for writing, where --save asks for it) and reads the flags. Strings of *o live in arena or in cli. */
kd_code kd_select_opts_open(kd_study **s, kd_select_opts *o, kd_arena *arena, kd_cli *cli, kd_err *e);
bool kd_select_opts_given(const kd_cli *cli); /* a flag says something of the selection */

#endif
