/* distill/cli/cmd_export.c - selected samples as JSON lines. Leans on datasets/import.h. */
#include "datasets/import.h"
#include "distill/cli/select_opts.h"

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

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    kd_select *q = NULL;
    uint64_t rows = 0, prompts = 0;
    const char *out = cli->args[1];
    kd_export_opts o = {.bare = kd_opt_flag(cli, "bare"), .logprobs = kd_opt_flag(cli, "logprobs")};
    kd_arena arena = {0};
    if (o.bare && o.logprobs) return kd_fail(e, KD_EINVAL, "export: --logprobs are part of the lineage, which --bare leaves out");
    (void)kd_row_form_named(kd_opt_string(cli, "format"), &o.form);
    kd_code rc = kd_select_opts_open(&s, &o.select, &arena, cli, e);
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

static const kd_opt options[] = {{"format", 0, KD_OPT_ENUM, "messages|prompt|alpaca|sharegpt", "messages", "form of the rows", "Output"},
                                 {"bare", 0, KD_OPT_FLAG, NULL, NULL, "without labels and lineage", "Output"},
                                 {"logprobs", 0, KD_OPT_FLAG, NULL, NULL,
                                  "in the lineage, the log-probabilities that came with each answer", "Output"},
                                 KD_SELECT_OPTIONS,
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
