/* distill/cli/cmd_preview.c - a few rows on their way to training: as they lie there, rendered, as tokens, with the loss mask. Leans on
 * render_opts.h, datasets/study.h, base/gz.h. */
#include "distill/base/file.h"
#include "distill/base/gz.h"
#include "distill/base/utf8.h"
#include "distill/cli/render_opts.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const kd_opt options[] = {KD_RENDER_OPTIONS,
                                 {"select", 0, KD_OPT_STRING, "SQL", NULL,
                                  "of a study: samples for which this holds (else as train selects)", "Rows"},
                                 {"split", 0, KD_OPT_STRING, "NAME", NULL, "of a study: of this split", "Rows"},
                                 {"all", 0, KD_OPT_FLAG, NULL, NULL, "of a study: every sample", "Rows"},
                                 {"limit", 0, KD_OPT_INT, "N", "3", "how many rows", "Rows", .min = 1, .max = 1e9},
                                 {0}};

typedef struct {
    kd_cli *cli;
    kd_render_setup s;
    kd_render_counts counts;
    int64_t shown, limit;
    bool colour;
    const char *learned, *rest, *head, *off; /* escapes, or the brackets that stand for them */
} work;

/* Text for the eye: control characters but the newline in hexadecimal. */
static kd_code show_text(kd_cli *cli, kd_str s) {
    kd_code c = KD_OK;
    size_t from = 0;
    for (size_t i = 0; i <= s.len && !c; i++) {
        const unsigned char u = i < s.len ? (unsigned char)s.data[i] : 0;
        if (i < s.len && (u >= 0x20 || u == '\n') && u != 0x7f) continue;
        c = kd_out_str(cli, (kd_str){s.data + from, i - from});
        if (!c && i < s.len) c = kd_out(cli, "\\x%02x", u);
        from = i + 1;
    }
    return c;
}

/* A token's text on one line. */
static kd_code show_token(work *w, int32_t id, bool learned, kd_err *e) {
    kd_buf piece = {0}, text = {0};
    kd_code c = kd_tokenizer_piece(w->s.tokenizer, id, &piece, e);
    if (!c && kd_utf8_replace(&text, piece.data ? piece.data : "", piece.len)) c = kd_fail(e, KD_ENOMEM, "preview: no memory");
    if (!c) c = kd_out(w->cli, "%s", learned ? w->learned : w->rest);
    for (size_t i = 0; i < text.len && !c; i++) {
        const char u = text.data[i];
        c = u == '\n'                 ? kd_out(w->cli, "\\n")
            : (unsigned char)u < 0x20 ? kd_out(w->cli, "\\x%02x", u)
                                      : kd_out_str(w->cli, (kd_str){&u, 1});
    }
    if (!c) c = kd_out(w->cli, "%s", learned ? w->off : w->colour ? w->off : "");
    if (!c) c = kd_out(w->cli, "%s", w->colour ? "\xc2\xb7" : "|");
    kd_buf_clear(&piece);
    kd_buf_clear(&text);
    return c;
}

static kd_code show_tokens(work *w, const kd_lesson *l, kd_err *e) {
    kd_code c = KD_OK;
    for (size_t i = 0; i < l->n && !c; i++) {
        c = show_token(w, l->tokens[i], l->loss[i] != 0, e);
        kd_buf piece = {0};
        if (!c) c = kd_tokenizer_piece(w->s.tokenizer, l->tokens[i], &piece, e);
        if (!c && piece.len && piece.data[piece.len - 1] == '\n') c = kd_out(w->cli, "\n");
        kd_buf_clear(&piece);
    }
    return c ? c : kd_out(w->cli, "\n");
}

static kd_code show_json(work *w, const char *where, kd_str raw, const kd_lesson *l, kd_str text, kd_err *e) {
    kd_jsonw *j = kd_out_json(w->cli);
    kd_jsonw_object(j);
    kd_jsonw_key(j, "row");
    kd_jsonw_cstr(j, where);
    kd_jsonw_key(j, "raw");
    kd_jsonw_raw(j, raw);
    kd_jsonw_key(j, "text");
    kd_jsonw_str(j, text);
    kd_jsonw_key(j, "tokens");
    kd_jsonw_array(j);
    for (size_t i = 0; i < l->n; i++) kd_jsonw_int(j, l->tokens[i]);
    kd_jsonw_end_array(j);
    kd_jsonw_key(j, "loss");
    kd_jsonw_array(j);
    for (size_t i = 0; i < l->n; i++) kd_jsonw_int(j, l->loss[i]);
    kd_jsonw_end_array(j);
    kd_jsonw_end_object(j);
    return kd_out_json_end(w->cli, e);
}

static kd_code show(work *w, const char *where, kd_str raw, const kd_lesson *l, kd_str text, kd_err *e) {
    w->shown++;
    if (w->cli->json) return show_json(w, where, raw, l, text, e);
    kd_code c = kd_out(w->cli, "%s%s: as it lies there%s\n", w->head, where, w->off[0] == ']' ? "" : w->off);
    if (!c) c = show_text(w->cli, raw);
    if (!c) c = kd_out(w->cli, "\n\n%srendered%s\n", w->head, w->off[0] == ']' ? "" : w->off);
    if (!c) c = show_text(w->cli, text);
    if (!c)
        c = kd_out(w->cli, "\n\n%s%zu tokens, %zu learned (%s)%s\n", w->head, l->n, l->n_loss, w->colour ? "in green" : "in brackets",
                   w->off[0] == ']' ? "" : w->off);
    if (!c) c = show_tokens(w, l, e);
    if (!c) c = kd_out(w->cli, "\n");
    return c && c != KD_ENOMEM ? kd_fail(e, c, "standard output: cannot be written") : c;
}

static kd_code of_file(work *w, const char *path, kd_err *e) {
    kd_lines *in = NULL;
    kd_str line;
    bool more = true;
    kd_buf text = {0}, clean = {0};
    kd_code c = kd_lines_open(&in, path, e);
    while (!c && w->shown < w->limit && !(c = kd_lines_next(in, &line, &more, e)) && more) {
        kd_json *doc = NULL;
        kd_lesson l = {0};
        kd_err why = {0};
        char where[300];
        snprintf(where, sizeof where, "%s:%zu", path, kd_lines_number(in));
        if (line.len == 0) continue;
        text.len = clean.len = 0;
        if (kd_utf8_replace(&clean, line.data, line.len)) c = kd_fail(&why, KD_ENOMEM, "no memory");
        if (!c) c = kd_json_parse(&doc, clean.data, clean.len, "JSON", &why);
        if (!c) c = kd_render_lesson(&l, &text, &w->counts, &w->s.render, kd_json_root(doc), &why);
        if (c) kd_fail(e, c, "%s: %s", where, why.msg);
        if (!c) c = show(w, where, kd_buf_view(&clean), &l, kd_buf_view(&text), e);
        kd_lesson_clear(&l);
        kd_json_free(doc);
    }
    kd_lines_close(in);
    kd_buf_clear(&text);
    kd_buf_clear(&clean);
    return c;
}

/* A sample as JSON: what there is of it in the study. */
static kd_code raw_row(kd_buf *out, const kd_row *row) {
    kd_jsonw j = {.out = out};
    kd_jsonw_object(&j);
    kd_jsonw_key(&j, "messages");
    kd_jsonw_raw(&j, row->messages);
    if (row->tools.len) kd_jsonw_key(&j, "tools"), kd_jsonw_raw(&j, row->tools);
    if (row->thought.len) kd_jsonw_key(&j, "thought"), kd_jsonw_str(&j, row->thought);
    kd_jsonw_key(&j, "answer"), kd_jsonw_str(&j, row->answer);
    if (row->labels.len) kd_jsonw_key(&j, "labels"), kd_jsonw_raw(&j, row->labels);
    kd_jsonw_end_object(&j);
    return j.code;
}

static kd_code of_study(work *w, const char *path, kd_err *e) {
    kd_study *s = NULL;
    kd_select *q = NULL;
    kd_buf text = {0}, raw = {0};
    kd_select_opts o = {.select = kd_opt_string(w->cli, "select"),
                        .split = kd_opt_string(w->cli, "split"),
                        .any = kd_opt_flag(w->cli, "all")};
    kd_code c = kd_study_open(&s, path, KD_STUDY_READ, e);
    if (!c) c = kd_select_open(&q, s, &o, e);
    for (bool more = true; !c && w->shown < w->limit;) {
        kd_row row;
        kd_lesson l = {0};
        char where[64];
        c = kd_select_next(q, &row, &more, e);
        if (c || !more) break;
        text.len = raw.len = 0;
        snprintf(where, sizeof where, "sample %lld", (long long)row.sample_id);
        c = kd_render_row(&l, &text, &w->counts, &w->s.render, &row, e);
        if (!c && (c = raw_row(&raw, &row))) kd_fail(e, c, "preview: no memory");
        if (!c) c = show(w, where, kd_buf_view(&raw), &l, kd_buf_view(&text), e);
        kd_lesson_clear(&l);
    }
    kd_select_close(q);
    kd_study_close(s);
    kd_buf_clear(&text);
    kd_buf_clear(&raw);
    return c;
}

/* A study is an SQLite file by its first bytes. */
static bool is_study(const char *path) {
    char head[16] = {0};
    FILE *f = strcmp(path, "-") == 0 ? NULL : fopen(path, "rb");
    const bool yes = f && fread(head, 1, 16, f) == 16 && memcmp(head, "SQLite format 3", 16) == 0;
    if (f) (void)fclose(f);
    return yes;
}

static kd_code run(kd_cli *cli, kd_err *e) {
    const char *no_color = getenv("NO_COLOR");
    work w = {.cli = cli, .limit = kd_opt_int(cli, "limit"), .colour = isatty(STDOUT_FILENO) && !(no_color && *no_color)};
    w.learned = w.colour ? "\033[32m" : "[";
    w.rest = w.colour ? "\033[2m" : "";
    w.head = w.colour ? "\033[1m" : "";
    w.off = w.colour ? "\033[0m" : "]";
    kd_code c = kd_render_setup_open(&w.s, cli, e);
    for (size_t i = 0; i < cli->n_args && !c; i++)
        c = is_study(cli->args[i]) ? of_study(&w, cli->args[i], e) : of_file(&w, cli->args[i], e);
    if (!c && w.counts.turns_without)
        kd_note(cli, "%zu assistant turns carry no loss: the template renders them otherwise once more follows", w.counts.turns_without);
    if (!c && !w.shown) kd_note(cli, "nothing to show");
    kd_render_setup_close(&w.s);
    return c;
}

const kd_cmd kd_cmd_preview = {
    .name = "preview",
    .help = "rows as training will see them: raw, rendered, tokens, loss mask",
    .usage = "STUDY|FILE --model PATH",
    .about = "On a terminal what is learned is green; elsewhere it stands in brackets. Tokens are parted by dots or bars.",
    .opts = options,
    .min_args = 1,
    .max_args = -1,
    .run = run,
};
