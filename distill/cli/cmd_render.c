/* distill/cli/cmd_render.c - conversations through a model's chat template, as text and tokens, or as lessons. Leans on render_opts.h, base/gz.h. */
#include "distill/base/gz.h"
#include "distill/base/utf8.h"
#include "distill/cli/render_opts.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const kd_opt options[] = {KD_RENDER_OPTIONS,
                                 {"add-generation-prompt", 0, KD_OPT_FLAG, NULL, NULL,
                                  "end with what an answer begins with, for lines that do not say", "Conversation"},
                                 {"lesson", 0, KD_OPT_FLAG, NULL, NULL,
                                  "what training learns of it: prompt, answer with its thought, end of turn, and the loss mask", "Output"},
                                 {0}};

typedef struct {
    kd_cli *cli;
    kd_render_setup s;
    kd_render_counts counts;
    kd_buf text, clean;
    size_t lines;
} work;

static void put_numbers(kd_jsonw *j, const char *key, const int32_t *ids, const uint8_t *flags, size_t n) {
    assert(ids || flags || !n);
    kd_jsonw_key(j, key);
    kd_jsonw_array(j);
    for (size_t i = 0; i < n; i++) kd_jsonw_int(j, ids ? ids[i] : flags[i]);
    kd_jsonw_end_array(j);
}

static kd_code print(work *w, const int32_t *tokens, const uint8_t *loss, size_t n, kd_err *e) {
    if (!w->cli->json) {
        const kd_code c = kd_out_str(w->cli, kd_buf_view(&w->text));
        return c ? kd_fail(e, c, "standard output: cannot be written") : KD_OK;
    }
    kd_jsonw *j = kd_out_json(w->cli);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "text");
    kd_jsonw_str(j, kd_buf_view(&w->text));
    put_numbers(j, "tokens", tokens, NULL, n);
    if (loss) put_numbers(j, "loss", NULL, loss, n);
    kd_jsonw_end_object(j);
    return kd_out_json_end(w->cli, e);
}

/* {"messages":...} with add_generation_prompt where the line does not have it. */
static kd_code with_prompt(kd_json **out, const kd_json_node *line, kd_err *e) {
    kd_buf b = {0};
    kd_jsonw j = {.out = &b};
    kd_jsonw_object(&j);
    for (const kd_json_node *n = kd_json_first(line); n; n = kd_json_next(n)) {
        kd_jsonw_key_str(&j, kd_json_key(n));
        kd_jsonw_node(&j, n);
    }
    kd_jsonw_key(&j, "add_generation_prompt");
    kd_jsonw_bool(&j, true);
    kd_jsonw_end_object(&j);
    kd_code c = j.code ? kd_fail(e, j.code, "render: no memory") : kd_json_parse(out, b.data, b.len, "line", e);
    kd_buf_clear(&b);
    return c;
}

static kd_code render_line(work *w, const kd_json_node *line, kd_err *e) {
    int32_t *tokens = NULL;
    size_t n = 0;
    kd_json *doc = NULL;
    kd_code c = KD_OK;
    w->text.len = 0;
    if (kd_opt_flag(w->cli, "lesson")) {
        kd_lesson l = {0};
        c = kd_render_lesson(&l, &w->text, &w->counts, &w->s.render, line, e);
        if (!c) c = print(w, l.tokens, l.loss ? l.loss : (const uint8_t *)"", l.n, e);
        kd_lesson_clear(&l);
        return c;
    }
    if (!kd_json_get(line, "messages")) return kd_fail(e, KD_EFORMAT, "expected {\"messages\":[...]}");
    if (kd_opt_flag(w->cli, "add-generation-prompt") && !kd_json_get(line, "add_generation_prompt")) {
        c = with_prompt(&doc, line, e);
        line = kd_json_root(doc);
    }
    if (!c) c = kd_render_chat(&w->text, w->cli->json ? &tokens : NULL, &n, &w->s.render, line, e);
    if (!c) c = print(w, tokens, NULL, n, e);
    kd_free(tokens);
    kd_json_free(doc);
    return c;
}

static kd_code one_file(work *w, const char *path, kd_err *e) {
    kd_lines *in = NULL;
    kd_str line;
    bool more = true;
    kd_code c = kd_lines_open(&in, path, e);
    while (!c && !(c = kd_lines_next(in, &line, &more, e)) && more) {
        kd_json *doc = NULL;
        kd_err why = {0};
        if (line.len == 0) continue;
        w->clean.len = 0;
        w->lines++;
        if (kd_utf8_replace(&w->clean, line.data, line.len)) c = kd_fail(&why, KD_ENOMEM, "no memory");
        if (!c) c = kd_json_parse(&doc, w->clean.data, w->clean.len, "JSON", &why);
        if (!c) c = render_line(w, kd_json_root(doc), &why);
        if (c) kd_fail(e, c, "%s:%zu: %s", path, kd_lines_number(in), why.msg);
        kd_json_free(doc);
    }
    kd_lines_close(in);
    return c;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    work w = {.cli = cli};
    kd_code c = kd_render_setup_open(&w.s, cli, e);
    if (!c && cli->dry_run)
        c = kd_out(cli, "would render %zu files by %s\n", cli->n_args,
                   kd_opt_string(cli, "chat-template") ? "the template given" : "the model's template");
    for (size_t i = 0; i < cli->n_args && !c && !cli->dry_run; i++) c = one_file(&w, cli->args[i], e);
    if (!c && (w.counts.turns_without || w.counts.empty))
        kd_note(cli,
                "%zu of %zu assistant turns carry no loss (the template renders them otherwise once more follows); %zu of %zu rows teach "
                "nothing",
                w.counts.turns_without, w.counts.turns + w.counts.turns_without, w.counts.empty, w.lines);
    kd_render_setup_close(&w.s);
    kd_buf_clear(&w.text);
    kd_buf_clear(&w.clean);
    return c;
}

const kd_cmd kd_cmd_render = {
    .name = "render",
    .help = "conversations by a model's chat template",
    .usage = "--model PATH FILE|-",
    .about = "A line of FILE.jsonl is {\"messages\":[...], \"tools\":[...]?, \"documents\":[...]?, \"chat_template_kwargs\":{...}?,\n"
             "\"add_generation_prompt\":true?}; with --lesson also {\"prompt\":..., \"completion\":...}. Prints the text as it is, or with "
             "--json a line\n"
             "each: {\"text\":..., \"tokens\":[ids]}, and \"loss\":[0|1 ...] with --lesson.",
    .opts = options,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
