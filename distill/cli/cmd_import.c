/* distill/cli/cmd_import.c - question files into a study. Leans on datasets/import.h. */
#include "datasets/import.h"
#include "distill/base/gz.h"
#include "distill/cli/cli.h"

#include <stdio.h>

enum { BAD_SHOWN = 20 }; /* bad rows told one by one, a file; the rest is a number */

typedef struct {
    kd_cli *cli;
    size_t shown;
} teller;

static void bad_row(void *ctx, const char *file, size_t line, const char *why) {
    teller *t = ctx;
    if (t->shown++ < BAD_SHOWN) kd_warn(t->cli, "%s:%zu: %s", file, line, why);
}

static void tell_rest(const teller *t, const char *file) {
    if (t->shown > BAD_SHOWN) kd_warn(t->cli, "%s: %zu more bad rows", file, t->shown - BAD_SHOWN);
}

/* What import would read, without a study. */
static kd_code look_at(kd_cli *cli, const char *path, const kd_import_opts *o, kd_import_report *r, kd_err *e) {
    kd_lines *lines = NULL;
    kd_arena arena = {0};
    kd_str line;
    bool more = true;
    kd_row_form form = o->form;
    *r = (kd_import_report){0};
    kd_code rc = kd_lines_open(&lines, path, e);
    while (!rc && (!o->limit || r->rows < o->limit) && !(rc = kd_lines_next(lines, &line, &more, e)) && more) {
        kd_row_parts p;
        kd_err why;
        size_t i = 0;
        if (kd_lines_number(lines) == 1 && (rc = kd_question_head_check(path, line, e))) break;
        while (i < line.len && (line.data[i] == ' ' || line.data[i] == '\t')) i++;
        if (i == line.len) continue;
        r->rows++;
        rc = kd_row_parse(&p, &arena, line, form, &why);
        if (rc == KD_ENOMEM) {
            (void)kd_fail(e, rc, "%s: %s", path, why.msg);
        } else if (rc) {
            rc = KD_OK;
            r->bad++;
            o->bad_row(o->ctx, path, kd_lines_number(lines), why.msg);
        } else {
            form = p.form;
            r->prompts++;
            r->samples += p.completion.data != NULL;
        }
        kd_arena_clear(&arena);
    }
    kd_lines_close(lines);
    if (!rc && !cli->json) kd_note(cli, "%s: form %s", path, form == KD_ROW_SNIFF ? "unknown" : kd_row_form_name(form));
    return rc;
}

static kd_code tell(kd_cli *cli, const char *path, const kd_import_report *r, kd_err *e) {
    if (!cli->json)
        return kd_out(cli, "%s: %llu rows, %llu new questions, %llu new samples, %llu known, %llu conflicts, %llu bad\n", path,
                      (unsigned long long)r->rows, (unsigned long long)r->prompts, (unsigned long long)r->samples,
                      (unsigned long long)r->known, (unsigned long long)r->conflicts, (unsigned long long)r->bad);
    kd_jsonw *w = kd_out_json(cli);
    const struct {
        const char *key;
        uint64_t v;
    } list[] = {{"rows", r->rows},   {"prompts", r->prompts},     {"samples", r->samples},
                {"known", r->known}, {"conflicts", r->conflicts}, {"bad", r->bad}};
    kd_jsonw_object(w);
    kd_jsonw_key(w, "file");
    kd_jsonw_cstr(w, path);
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        kd_jsonw_key(w, list[i].key);
        kd_jsonw_int(w, (int64_t)list[i].v);
    }
    kd_jsonw_end_object(w);
    return kd_out_json_end(cli, e);
}

static kd_code run(kd_cli *cli, kd_err *e) {
    kd_study *s = NULL;
    teller t = {.cli = cli};
    uint64_t good = 0, bad = 0;
    const char *form = kd_opt_string(cli, "format");
    kd_import_opts o = {.split = kd_opt_string(cli, "split"),
                        .task = kd_opt_string(cli, "task"),
                        .limit = (uint64_t)kd_opt_int(cli, "limit"),
                        .bad_row = bad_row,
                        .ctx = &t};
    if (form) (void)kd_row_form_named(form, &o.form); /* the option table holds the same words */
    if (o.split && !*o.split) return kd_fail(e, KD_EINVAL, "--split: expected a name, found an empty one");
    kd_code rc = cli->dry_run ? KD_OK : kd_study_open(&s, cli->args[0], KD_STUDY_CREATE, e);
    for (size_t i = 1; i < cli->n_args && !rc; i++) {
        kd_import_report r;
        t.shown = 0;
        rc = cli->dry_run ? look_at(cli, cli->args[i], &o, &r, e) : kd_import_file(s, cli->args[i], &o, cli->watch, &r, e);
        tell_rest(&t, cli->args[i]);
        if (!rc) rc = tell(cli, cli->args[i], &r, e);
        good += r.rows - r.bad;
        bad += r.bad;
        if (!rc && r.conflicts)
            kd_warn(cli, "%s: %llu questions are in the study with another split or another answer; the first stays", cli->args[i],
                    (unsigned long long)r.conflicts);
    }
    kd_study_close(s);
    if (!rc && bad > 0 && good == 0) return kd_fail(e, KD_EFORMAT, "none of %llu rows could be read", (unsigned long long)bad);
    return rc;
}

static const kd_opt options[] = {{"format", 0, KD_OPT_ENUM, "messages|prompt|alpaca|sharegpt|question", NULL,
                                  "form of the rows (else told by the first one of each file)", "Input"},
                                 {"split", 0, KD_OPT_STRING, "NAME", NULL, "train, test or another name (else the row's own, else train)",
                                  "Input"},
                                 {"task", 0, KD_OPT_STRING, "NAME", NULL,
                                  "math, code, text or another name (else the row's own, else math where an answer can be checked)",
                                  "Input"},
                                 {"limit", 0, KD_OPT_INT, "N", NULL, "the first N rows of each file", "Input", .min = 0, .max = 1e15},
                                 {0}};

const kd_cmd kd_cmd_import = {
    .name = "import",
    .help = "questions in: JSONL or JSONL.gz",
    .usage = "STUDY FILE...",
    .about =
        "Rows are messages, prompt[/completion], alpaca, sharegpt or question/answer. A completion, an output or a last assistant turn\n"
        "comes along as a sample of the source \"import\"; `answer` is the reference to check against. Importing twice adds nothing.\n\n"
        "  distill import demo.study train.jsonl --split train\n",
    .opts = options,
    .min_args = 2,
    .max_args = -1,
    .run = run,
};
