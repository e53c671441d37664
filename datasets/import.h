/* datasets/import.h - question files in, and what comes out again. Leans on study.h, base. */
#ifndef KD_DATASETS_IMPORT_H
#define KD_DATASETS_IMPORT_H

#include "datasets/study.h"

/* ---- rows of JSON, whatever their form ---- */
typedef enum { KD_ROW_SNIFF, KD_ROW_MESSAGES, KD_ROW_PROMPT, KD_ROW_ALPACA, KD_ROW_SHAREGPT, KD_ROW_QUESTION } kd_row_form;
bool kd_row_form_named(const char *name, kd_row_form *out); /* "messages" "prompt" "alpaca" "sharegpt" "question" */
const char *kd_row_form_name(kd_row_form f);

typedef struct {
    kd_row_form form;
    kd_str messages;        /* canonical JSON: the conversation before the last assistant turn */
    kd_str tools;           /* canonical JSON, or {NULL,0} */
    kd_str completion;      /* the last assistant turn, completion or output as one text, thought inside; {NULL,0} if there is none */
    kd_str thought, answer; /* its parts */
    kd_thought_from thought_from;
    kd_str gold, reference; /* the bare answer (behind #### where there is one), and the text it came from */
    kd_str task, split;     /* the row's own, or {NULL,0} */
    kd_str meta;            /* what else the row had, a JSON object, or {NULL,0} */
    kd_str finish;          /* of an exported row (its lineage): why the teacher stopped; {NULL,0} if it does not say */
    int64_t tokens;         /* likewise, of the completion; -1 if it does not say */
} kd_row_parts;
/* Reads one line. Views live in arena. Errors: KD_EFORMAT says what is missing or of a wrong type; KD_ENOMEM. Test: tests/datasets/test_import.c,
 * fuzz_import_row.c */
kd_code kd_row_parse(kd_row_parts *out, kd_arena *arena, kd_str line, kd_row_form form, kd_err *e);

/* Of the first line of a file: another container is refused by name, and the way out is told: Parquet, Arrow, ORC, zip, zstd, xz, bzip2, a JSON array. KD_OK
 * for whatever may be a line of JSON. Errors: KD_EUNSUPPORTED. */
kd_code kd_question_head_check(const char *path, kd_str line, kd_err *e);

/* ---- import ---- */
typedef struct {
    kd_row_form form;  /* KD_ROW_SNIFF: by the first row of each file, and every row must be of that form */
    const char *split; /* NULL: the row's own "split", else "train" */
    const char *task;  /* NULL: the row's own "task", else "math" where there is an answer that checks can read, else "text" */
    uint64_t limit;    /* rows a file; 0: all */
    void (*bad_row)(void *ctx, const char *file, size_t line, const char *why); /* each bad row; may be NULL */
    void *ctx;
} kd_import_opts;
typedef struct {
    uint64_t rows, bad;        /* lines read (empty ones apart), lines refused */
    uint64_t prompts, samples; /* new ones */
    uint64_t known;            /* rows that added nothing */
    uint64_t conflicts;        /* of these, known with another split or another gold answer: the first stays */
} kd_import_report;
/* Adds one file, in transactions of some thousand rows: may be killed and run again. Bad rows are counted, told, and passed over. */
kd_code kd_import_file(kd_study *s, const char *path, const kd_import_opts *o, const kd_watch *w, kd_import_report *out, kd_err *e);

/* ---- export ---- */
typedef struct {
    kd_row_form form; /* KD_ROW_SNIFF counts as messages; question is refused */
    kd_select_opts select;
    bool bare;     /* without the members "labels" and "lineage" */
    bool logprobs; /* lineage has the log-probabilities that came with the answer, as the study holds them, or null; not with bare */
} kd_export_opts;
/* Writes the selected rows as JSON lines, gzip where the name ends in .gz; the file appears whole or not at all. "-" is refused (KD_EINVAL): cli
 * prints lines itself through kd_export_lines. */
kd_code kd_export_file(kd_study *s, const char *path, const kd_export_opts *o, const kd_watch *w, uint64_t *rows, kd_err *e);
kd_code kd_export_lines(kd_study *s, const kd_export_opts *o, kd_code (*line)(void *ctx, kd_str line, kd_err *e), void *ctx, uint64_t *rows,
                        kd_err *e);

/* ---- stats ---- */
/* o: the selection whose funnel is told (how many samples each of its conditions turns away, alone and in sequence, whole and by source), NULL: the default one.
 * out += one JSON object: counts by split and task, samples by teacher and settings, finish reasons, tokens, cost, attempts by reason, labels
 * (verdicts, means), pass rates, and the funnel of the default selection (how many fall at each step, alone and in sequence). */
kd_code kd_stats_json(kd_buf *out, kd_study *s, const kd_select_opts *o, kd_err *e);

#endif
