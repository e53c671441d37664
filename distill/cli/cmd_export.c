/* distill/cli/cmd_export.c - selected samples as JSON lines. Leans on datasets/import.h. */
#include "datasets/import.h"
#include "distill/cli/cli.h"

#include <stdlib.h>
#include <string.h>

static kd_code print_line(void *ctx, kd_str line, kd_err *e) {
    kd_cli *cli = ctx;
    kd_code rc = kd_out_str(cli, line);
    if (!rc) rc = kd_out_str(cli, KD_STR("\n"));
    return rc ? kd_fail(e, rc, "standard output: cannot be written") : KD_OK;
}

static kd_code tell(kd_cli *cli, const char *path, uint64_t rows, uint64_t prompts, kd_err *e) {
    if (!cli->json) {
        if (cli->dry_run)
            return kd_out(cli, "%s: %llu rows of %llu questions\n", path, (unsigned long long)rows, (unsigned long long)prompts);
        return kd_out(cli, "%s: %llu rows\n", path, (unsigned long long)rows);
    }
    kd_jsonw *w = kd_out_json(cli);
    kd_jsonw_object(w);
    kd_jsonw_key(w, "file");
    kd_jsonw_cstr(w, path);
    kd_jsonw_key(w, "rows");
    kd_jsonw_int(w, (int64_t)rows);
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

/* "0.1:0.9" */
static kd_code read_difficulty(const char *text, kd_select_opts *o, kd_err *e) {
    char *end = NULL;
    if (!text) return KD_OK;
    o->hardest = strtod(text, &end);
    const bool parted = *end == ':';
    if (parted) o->easiest = strtod(end + 1, &end);
    if (!parted || *end || !(o->hardest >= 0 && o->hardest <= o->easiest && o->easiest <= 1))
        return kd_fail(e, KD_EINVAL, "--difficulty: expected two pass rates such as 0.1:0.9, found %s", text);
    if (o->easiest == 0) return kd_fail(e, KD_EINVAL, "--difficulty: 0:0 takes only what is never right; say pass_rate = 0 in --select");
    return KD_OK;
}

/* What the flags say of the selection, or the one kept under a name. */
static kd_code choose(kd_cli *cli, kd_study *s, kd_arena *arena, kd_select_opts *o, kd_err *e) {
    const char *kept = kd_opt_string(cli, "selection"), *save = kd_opt_string(cli, "save");
    char hash[65];
    if (kept) return kd_selection_load(s, kept, arena, o, hash, e);
    const int prefer = kd_opt_word(cli, "prefer");
    o->per_question = (int)kd_opt_int(cli, "per-question");
    o->max_tokens = kd_opt_int(cli, "max-tokens");
    o->balance = kd_opt_string(cli, "balance");
    o->prefer = prefer > 0 ? (unsigned)prefer : KD_PREFER_FIRST;
    o->seed = cli->seed;
    kd_code rc = read_difficulty(kd_opt_string(cli, "difficulty"), o, e);
    if (!rc && save && !cli->dry_run && !(rc = kd_selection_save(s, save, o, hash, e))) kd_note(cli, "selection %s: %.12s", save, hash);
    return rc;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    kd_select *q = NULL;
    uint64_t rows = 0, prompts = 0;
    const char *out = cli->args[1];
    kd_export_opts o = {.select = {.select = kd_opt_string(cli, "select"),
                                   .split = kd_opt_string(cli, "split"),
                                   .any = kd_opt_flag(cli, "all")},
                        .bare = kd_opt_flag(cli, "bare")};
    kd_arena arena = {0};
    (void)kd_row_form_named(kd_opt_string(cli, "format"), &o.form);
    kd_code rc = kd_study_open(&s, cli->args[0], kd_opt_string(cli, "save") && !cli->dry_run ? KD_STUDY_WRITE : KD_STUDY_READ, e);
    if (!rc) rc = choose(cli, s, &arena, &o.select, e);
    if (!rc && cli->dry_run) {
        if (!(rc = kd_select_open(&q, s, &o.select, e)) && !(rc = kd_select_count(q, &rows, &prompts, e)))
            rc = tell(cli, out, rows, prompts, e);
    } else if (!rc && strcmp(out, "-") == 0) {
        rc = kd_export_lines(s, &o, print_line, cli, &rows, e);
    } else if (!rc && !(rc = kd_export_file(s, out, &o, cli->watch, &rows, e))) {
        rc = tell(cli, out, rows, prompts, e);
    }
    kd_select_close(q);
    kd_study_close(s);
    kd_arena_clear(&arena);
    return rc;
}

static const kd_opt options[] = {
    {"format", 0, KD_OPT_ENUM, "messages|prompt|alpaca|sharegpt", "messages", "form of the rows", "Output"},
    {"bare", 0, KD_OPT_FLAG, NULL, NULL, "without labels and lineage", "Output"},
    {"select", 0, KD_OPT_STRING, "SQL", NULL,
     "samples for which this expression holds (else: split train, finished, and right where there is an answer)", "Selection"},
    {"split", 0, KD_OPT_STRING, "NAME", NULL, "of this split", "Selection"},
    {"all", 0, KD_OPT_FLAG, NULL, NULL, "every sample, judged or not", "Selection"},
    {"per-question", 0, KD_OPT_INT, "K", NULL, "at most K samples a question", "Selection", .min = 1, .max = 1e6},
    {"prefer", 0, KD_OPT_ENUM, "first|shortest|longest|random", "first", "which of them", "Selection"},
    {"difficulty", 0, KD_OPT_STRING, "LO:HI", NULL, "only questions whose pass rate lies in between, such as 0.1:0.9", "Selection"},
    {"max-tokens", 0, KD_OPT_INT, "N", NULL, "only answers of at most N tokens", "Selection", .min = 1, .max = 1e12},
    {"balance", 0, KD_OPT_STRING, "COLUMN", NULL, "as many rows of each value of this column or label as of the rarest", "Selection"},
    {"save", 0, KD_OPT_STRING, "NAME", NULL, "keep the selection under this name", "Selection"},
    {"selection", 0, KD_OPT_STRING, "NAME", NULL, "the selection kept under this name, instead of the flags above", "Selection"},
    {0}};

const kd_cmd kd_cmd_export = {
    .name = "export",
    .help = "selected samples out: JSONL or JSONL.gz",
    .usage = "STUDY OUT.jsonl[.gz]",
    .about = "Gzip where the name ends in .gz; - is standard output. Importing the file gives the same rows.\n\n"
             "  distill export demo.study good.jsonl.gz --select \"math = 'right' and repeats < 0.2\"\n",
    .opts = options,
    .min_args = 2,
    .max_args = 2,
    .run = run,
};
