/* distill/cli/sampling_opts.h - the flags about sampling that chat, serve, generate and eval share. Leans on cli.h, engine/engine.h, teacher/teacher.h. */
#ifndef KD_CLI_SAMPLING_OPTS_H
#define KD_CLI_SAMPLING_OPTS_H

#include "distill/cli/cli.h"
#include "distill/engine/engine.h"
#include "teacher/teacher.h"

/* clang-format off */
#define KD_SAMPLING_OPTIONS \
    {"typical-p", 0, KD_OPT_FLOAT, "P", "1", "keep the most typical tokens that hold this much probability (1 = all)", "Sampling", .max = 1}, \
    {"repetition-penalty", 0, KD_OPT_FLOAT, "X", "1", "logits of seen tokens are divided by it", "Sampling", .max = 1000}, \
    {"presence-penalty", 0, KD_OPT_FLOAT, "X", "0", "taken from the logit of every token seen", "Sampling", .min = -1000, .max = 1000}, \
    {"frequency-penalty", 0, KD_OPT_FLOAT, "X", "0", "taken from it once each time it was seen", "Sampling", .min = -1000, .max = 1000}, \
    {"penalty-last", 0, KD_OPT_INT, "N", "64", "how many of the last tokens count as seen", "Sampling", .min = 1, .max = 1e9}, \
    {"dry-multiplier", 0, KD_OPT_FLOAT, "X", "0", "DRY: against going on with what was said before (0 = off; 0.8 is usual)", "Sampling", .max = 1000}, \
    {"dry-base", 0, KD_OPT_FLOAT, "X", "1.75", "DRY: grows with every token of a repetition", "Sampling", .min = 1, .max = 1000}, \
    {"dry-allowed-length", 0, KD_OPT_INT, "N", "2", "DRY: repetitions shorter than this are free", "Sampling", .min = 1, .max = 1e9}, \
    {"dry-last", 0, KD_OPT_INT, "N", "0", "DRY: how many of the last tokens are searched (0 = all)", "Sampling", .max = 1e9}, \
    {"dry-breaker", 0, KD_OPT_STRINGS, "TEXT", NULL, "DRY: no repetition reaches across it (a line's end, : \" and *)", "Sampling"}, \
    {"logit-bias", 0, KD_OPT_STRINGS, "ID=X", NULL, "added to a token's logit; -inf bans it; may be given more than once", "Sampling"}, \
    {"min-tokens", 0, KD_OPT_INT, "N", "0", "an answer does not end before", "Sampling", .max = 1e9}, \
    {"max-thinking", 0, KD_OPT_INT, "N", "0", "tokens of a thought; then </think> is forced (0 = no bound)", "Sampling", .max = 1e9}, \
    {"loop-guard", 0, KD_OPT_FLAG, NULL, "true", "end an answer that goes round in circles (finish reason loop)", "Sampling"}, \
    {"json-schema", 0, KD_OPT_PATH, "FILE", NULL, "hold answers to this JSON schema", "Form"}, \
    {"regex", 0, KD_OPT_STRING, "PATTERN", NULL, "hold answers to this regular expression, the whole of them", "Form"}
/* clang-format on */

typedef struct {
    kd_sampling sampling; /* what these flags say; temperature, top-p, top-k, min-p are the command's own */
    size_t min_tokens, max_thinking;
    bool no_loop_guard;
    kd_logit_bias *bias;
    kd_grammar *form; /* NULL without one */
    kd_dry *dry;      /* NULL unless DRY is on, or breakers were given */
} kd_sampling_opts;
/* Errors: KD_EINVAL names the flag. On failure *o can still be cleared. */
kd_code kd_sampling_opts_read(kd_sampling_opts *o, const kd_cli *cli, const kd_tokenizer *tok, size_t V, kd_err *e);
void kd_sampling_opts_clear(kd_sampling_opts *o);
/* All of it into a request, whose temperature, top-p, top-k and min-p stay. *o must outlive the request. */
void kd_sampling_opts_apply(const kd_sampling_opts *o, kd_request *r);
/* out += what was said otherwise than the defaults, as members of a JSON object ("" if nothing): what tells two runs apart. A schema by its hash. */
kd_code kd_sampling_opts_members(kd_buf *out, const kd_cli *cli, kd_err *e);
/* For a teacher here: both of these into *l. sampling, members: cleared by the caller, after the teacher. */
typedef struct {
    const kd_cli *cli;
    kd_sampling_opts sampling;
    kd_buf members;
} kd_sampling_shape;
kd_code kd_sampling_shape_into(kd_local_opts *l, kd_sampling_shape *s, const kd_cli *cli, kd_err *e);
void kd_sampling_shape_clear(kd_sampling_shape *s);
/* The first of these flags that was given, or NULL: for a teacher at a URL, which takes none of them. */
const char *kd_sampling_opts_given(const kd_cli *cli);

#endif
