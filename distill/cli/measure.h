/* distill/cli/measure.h - rows to measure a model on, and two models held against each other on them: what `compare` and the end of
 * `convert` share. Leans on convert/compare.h, datasets/render.h, model/loaded.h, cli.h. */
#ifndef KD_CLI_MEASURE_H
#define KD_CLI_MEASURE_H

#include "convert/compare.h"
#include "datasets/render.h"
#include "distill/cli/cli.h"
#include "distill/model/loaded.h"

typedef struct {
    kd_lesson *at; /* tokens, and loss where it is known (NULL: every token counts) */
    size_t n, cap;
    uint64_t tokens, limit; /* limit 0: all */
    const char *what;       /* of a study: which of its rows they are; static */
} kd_measure_rows;
void kd_measure_clear(kd_measure_rows *r);
/* Until the limit: a study's answers (of split test; none there: those that train would take; else all), .jsonl lines of text, messages,
 * prompt/completion or tokens; any other file is one text. all: prompts count too. Errors: those of files, rendering and the tokenizer. */
kd_code kd_measure_read(kd_measure_rows *r, const char *path, const kd_render *render, bool all, kd_err *e);
/* The same of what a student learned from: of a study the rows that select (NULL: train's own selection) takes, every token counting. */
kd_code kd_measure_read_lessons(kd_measure_rows *r, const char *path, const char *select, const kd_render *render, kd_err *e);
/* Whether path is a study. */
kd_code kd_measure_is_study(const char *path, bool *yes, kd_err *e);
/* KD_EFORMAT unless both mean the same by an id. */
kd_code kd_measure_same_words(const kd_loaded *a, const kd_loaded *b, kd_err *e);

typedef struct {
    size_t window;
    bool fast_a, fast_b;
} kd_measure_options;
kd_code kd_measure(kd_cli *cli, kd_comparison *out, const kd_loaded *a, const kd_loaded *b, const kd_measure_rows *r,
                   const kd_measure_options *o, kd_err *e);
/* As members of the open object of w; as lines for people. */
void kd_measure_json(kd_jsonw *w, const kd_comparison *r);
kd_code kd_measure_print(kd_cli *cli, const kd_comparison *r);

#endif
