/* distill/cli/cmd_tokenize.c - text to token ids by a model's vocabulary. Leans on model/tokenizer.h; no weights are read. */
#include "distill/base/gz.h"
#include "distill/base/utf8.h"
#include "distill/cli/cli.h"
#include "distill/model/tokenizer.h"

#include <stdio.h>

static const kd_opt options[] = {{"model", 'm', KD_OPT_PATH, "PATH", NULL,
                                  "whose vocabulary: a folder, a .gguf (a vocabulary alone will do), a run", "Model"},
                                 {"text", 0, KD_OPT_STRING, "TEXT", NULL, "this text instead of a file", "Input"},
                                 {"add-special", 0, KD_OPT_FLAG, NULL, NULL, "add what the model puts around a text", "Tokens"},
                                 {"parse-special", 0, KD_OPT_FLAG, NULL, NULL,
                                  "let control tokens in the text be what they are; otherwise they are plain text", "Tokens"},
                                 {0}};

typedef struct {
    kd_cli *cli;
    const kd_tokenizer *t;
    unsigned flags;
    kd_ids ids;
    kd_buf piece, clean;
} work;

static kd_code print_json(work *w, kd_err *e) {
    kd_jsonw *j = kd_out_json(w->cli);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "tokens");
    kd_jsonw_array(j);
    for (size_t i = 0; i < w->ids.n; i++) kd_jsonw_int(j, w->ids.id[i]);
    kd_jsonw_end_array(j);
    kd_jsonw_end_object(j);
    return kd_out_json_end(w->cli, e);
}

/* For people: a line a token, its text as JSON would write it. */
static kd_code print_table(work *w, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < w->ids.n && !c; i++) {
        w->piece.len = w->clean.len = 0;
        if ((c = kd_tokenizer_piece(w->t, w->ids.id[i], &w->piece, e))) break;
        kd_jsonw j = {.out = &w->clean};
        kd_jsonw_str(&j, kd_buf_view(&w->piece));
        if (j.code) return kd_fail(e, KD_ENOMEM, "tokenize: no memory");
        c = kd_out(w->cli, "%8d  %s\n", (int)w->ids.id[i], w->clean.data);
    }
    return c ? c : kd_out(w->cli, "%zu tokens\n", w->ids.n);
}

static kd_code one_text(work *w, kd_str text, kd_err *e) {
    w->ids.n = 0;
    const kd_code c = kd_tokenizer_encode(w->t, &w->ids, text.data ? text.data : "", text.len, w->flags, e);
    return c ? c : w->cli->json ? print_json(w, e) : print_table(w, e);
}

/* FILE.jsonl[.gz]: {"text":...} a line. */
static kd_code each_line(work *w, const char *path, kd_err *e) {
    kd_lines *lines;
    kd_str line;
    bool more = true;
    kd_code c = kd_lines_open(&lines, path, e);
    if (c) return c;
    while (!(c = kd_lines_next(lines, &line, &more, e)) && more) {
        char what[300];
        kd_json *doc = NULL;
        snprintf(what, sizeof what, "%s:%zu", path, kd_lines_number(lines));
        if (line.len == 0) continue;
        w->clean.len = 0;
        if (kd_utf8_replace(&w->clean, line.data, line.len)) c = kd_fail(e, KD_ENOMEM, "%s: no memory", what);
        if (!c) c = kd_json_parse(&doc, w->clean.data, w->clean.len, what, e);
        const kd_str text = kd_json_string(kd_json_get(kd_json_root(doc), "text"));
        if (!c && !text.data) c = kd_fail(e, KD_EFORMAT, "%s: expected {\"text\":...}", what);
        if (!c) c = one_text(w, text, e);
        kd_json_free(doc);
        if (c) break;
    }
    kd_lines_close(lines);
    return c;
}

static kd_code one_file(work *w, const char *path, kd_err *e) {
    const kd_str name = kd_str_of(path);
    if (kd_str_ends(name, ".jsonl") || kd_str_ends(name, ".jsonl.gz")) return each_line(w, path, e);
    kd_buf whole = {0};
    kd_code c = kd_file_read(&whole, path, (size_t)1 << 31, e);
    if (!c) c = one_text(w, kd_buf_view(&whole), e);
    kd_buf_clear(&whole);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    const char *model = kd_opt_string(cli, "model"), *text = kd_opt_string(cli, "text");
    kd_tokenizer *t = NULL;
    work w = {.cli = cli};
    if (!model || (!text && cli->n_args == 0))
        return kd_fail(e, KD_EINVAL, "tokenize: expected --model PATH and a FILE, - or --text, found %s", model ? "no text" : "no model");
    if (kd_opt_flag(cli, "add-special")) w.flags |= KD_TOK_ADD_SPECIAL;
    if (kd_opt_flag(cli, "parse-special")) w.flags |= KD_TOK_PARSE_SPECIAL;
    kd_code c = kd_tokenizer_open(&t, model, e);
    w.t = t;
    if (!c && cli->dry_run)
        c = kd_out(cli, "would tokenize %zu files%s with the %zu tokens of %s\n", cli->n_args, text ? " and a text" : "",
                   kd_tokenizer_size(t), model);
    else if (!c && text)
        c = one_text(&w, kd_str_of(text), e);
    for (size_t i = 0; i < cli->n_args && !c && !cli->dry_run; i++) c = one_file(&w, cli->args[i], e);
    kd_ids_clear(&w.ids);
    kd_buf_clear(&w.piece);
    kd_buf_clear(&w.clean);
    kd_tokenizer_free(t);
    return c;
}

const kd_cmd kd_cmd_tokenize = {
    .name = "tokenize",
    .help = "text to token ids",
    .usage = "--model PATH FILE|-",
    .about = "FILE.jsonl holds a line {\"text\":...} a text; any other file is one text. With --json a line each: {\"tokens\":[ids]}.\n"
             "Nothing is added and nothing in a text is taken for a control token unless the flags say so.",
    .opts = options,
    .min_args = 0,
    .max_args = -1,
    .run = run,
};
