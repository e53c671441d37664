/* distill/cli/train_data.c - lessons for `train`: rendered from a study's selection or from JSONL files. Leans on train_data.h, datasets/render.h,
 * datasets/study.h, base/hash.h. */
#include "distill/cli/train_data.h"

#include "datasets/study.h"
#include "distill/base/gz.h"
#include "distill/base/hash.h"
#include "distill/model/tokenizer.h"

#include <stdio.h>
#include <string.h>

/* The words of the model, opened when a source first needs them. */
typedef struct {
    kd_chat *chat;
    kd_tokenizer *tokenizer;
    kd_render render;
} words;

static kd_code open_words(words *w, const kd_model *m, const kd_train_source *s, kd_err *e) {
    if (w->chat) return KD_OK;
    kd_code code = kd_chat_open(&w->chat, m->path, s->chat_template, e);
    if (code == KD_OK) code = kd_tokenizer_open(&w->tokenizer, m->path, e);
    if (code == KD_OK && !kd_chat_has(w->chat))
        code = kd_fail(e, KD_EUNSUPPORTED, "%s has no chat template: give one with --chat-template FILE", m->path);
    w->render = (kd_render){.chat = w->chat, .tokenizer = w->tokenizer, .now = s->now};
    return code;
}

static kd_code is_study(const char *path, bool *yes, kd_err *e) {
    static const char magic[] = "SQLite format 3";
    *yes = false;
    if (strcmp(path, "-") == 0) return KD_OK;
    kd_map *map = NULL;
    kd_code code = kd_map_open(&map, path, e);
    if (code == KD_OK) *yes = kd_map_size(map) > sizeof magic && memcmp(kd_map_data(map), magic, sizeof magic) == 0;
    kd_map_close(map);
    return code;
}

static kd_code read_study(kd_lessons *l, kd_render_counts *counts, words *w, const char *path, const kd_train_source *s, kd_err *e) {
    kd_study *study = NULL;
    kd_select *rows = NULL;
    const kd_select_opts o = {.select = s->select, .refuse_test = true};
    kd_buf completion = {0};
    kd_code code = kd_study_open(&study, path, KD_STUDY_READ, e);
    if (code == KD_OK) code = kd_select_open(&rows, study, &o, e);
    for (bool more = true; code == KD_OK;) {
        kd_row row;
        kd_lesson one = {0};
        code = kd_select_next(rows, &row, &more, e);
        if (code != KD_OK || !more) break;
        completion.len = 0;
        code = kd_completion(&completion, row.thought_from, row.thought, row.answer);
        if (code != KD_OK) code = kd_fail(e, code, "%s: no memory for an answer", path);
        const bool ended = !kd_str_is(row.finish, "length");
        if (code == KD_OK)
            code = kd_render_sample(&one, NULL, counts, &w->render, row.messages, row.tools, kd_buf_view(&completion), ended, e);
        one.row = (size_t)row.sample_id;
        if (code == KD_OK && one.n) code = kd_lessons_add(l, &one, e);
        kd_lesson_clear(&one);
    }
    kd_buf_clear(&completion);
    kd_select_close(rows);
    kd_study_close(study);
    return code;
}

/* True if the first line of a file holds tokens already: then the model's words are not needed. */
static kd_code holds_tokens(const char *path, bool *yes, kd_err *e) {
    kd_lines *in = NULL;
    kd_json *doc = NULL;
    kd_str line = {NULL, 0};
    bool more = true;
    *yes = false;
    if (strcmp(path, "-") == 0) return KD_OK; /* cannot be read twice */
    kd_code code = kd_lines_open(&in, path, e);
    while (code == KD_OK && more && line.len == 0) code = kd_lines_next(in, &line, &more, e);
    if (code == KD_OK && more && kd_json_parse(&doc, line.data, line.len, path, NULL) == KD_OK)
        *yes = kd_json_typeof(kd_json_get(kd_json_root(doc), "tokens")) == KD_JSON_ARRAY;
    kd_json_free(doc);
    kd_lines_close(in);
    return code;
}

/* Drops, cuts or refuses lessons from first on that are longer than max. */
static kd_code limit_length(kd_lessons *l, kd_train_data *d, size_t first, const char *path, size_t max, kd_long longer, kd_err *e) {
    size_t kept = first;
    for (size_t i = first; i < l->n; i++) {
        kd_lesson *one = &l->at[i];
        bool keep = true;
        if (one->n > max) {
            if (longer == KD_LONG_REFUSE)
                return kd_fail(e, KD_EFORMAT, "%s: row %zu: a lesson of %zu tokens; --max-seq-length is %zu", path, one->row, one->n, max);
            if (longer == KD_LONG_DROP)
                d->dropped++;
            else
                d->cut++;
            keep = longer == KD_LONG_CUT;
            one->n = max;
        }
        bool teaches = false;
        for (size_t k = 1; k < one->n && keep; k++) teaches |= one->loss[k] != 0;
        if (keep && !teaches) d->empty++;
        if (keep && teaches)
            l->at[kept++] = *one;
        else
            kd_lesson_clear(one);
    }
    l->n = kept;
    return KD_OK;
}

static void summarize(const kd_lessons *l, kd_train_data *d) {
    kd_sha256 h;
    unsigned char digest[32];
    kd_sha256_init(&h);
    for (size_t i = 0; i < l->n; i++) {
        const kd_lesson *one = &l->at[i];
        const uint64_t n = one->n;
        kd_sha256_add(&h, &n, sizeof n);
        kd_sha256_add(&h, one->tokens, one->n * sizeof *one->tokens);
        kd_sha256_add(&h, one->loss, one->n);
        kd_sha256_add(&h, &one->weight, sizeof one->weight);
        d->tokens += one->n;
        for (size_t k = 1; k < one->n; k++) d->loss_tokens += one->loss[k];
    }
    kd_sha256_end(&h, digest);
    kd_hex(digest, 32, d->sha256);
}

static kd_code read_one(kd_lessons *l, kd_train_data *d, kd_render_counts *counts, words *w, const char *path, const kd_model *m,
                        const kd_train_source *s, kd_err *e) {
    bool study = false, tokens = false;
    const size_t first = l->n;
    kd_code code = is_study(path, &study, e);
    if (code == KD_OK && !study) code = holds_tokens(path, &tokens, e);
    if (code == KD_OK && !tokens) code = open_words(w, m, s, e);
    if (code == KD_OK && study)
        code = read_study(l, counts, w, path, s, e);
    else if (code == KD_OK)
        code = kd_lessons_read(l, counts, path, tokens ? NULL : &w->render, m->config.V, e);
    if (code == KD_OK) code = limit_length(l, d, first, path, s->max_length ? s->max_length : m->config.context, s->longer, e);
    return code;
}

kd_code kd_train_data_read(kd_lessons *l, kd_train_data *d, kd_cli *cli, const kd_model *m, const kd_train_source *s, kd_err *e) {
    words w = {0};
    kd_render_counts counts = {0};
    kd_code code = KD_OK;
    *d = (kd_train_data){0};
    for (size_t i = 0; i < cli->n_args && code == KD_OK; i++) code = read_one(l, d, &counts, &w, cli->args[i], m, s, e);
    d->empty += counts.empty;
    if (code == KD_OK && counts.turns_without)
        kd_note(cli, "%zu assistant turns are rendered otherwise once others follow: present, but not learned", counts.turns_without);
    if (code == KD_OK && l->n == 0)
        code = kd_fail(e, KD_EFORMAT, "%s: nothing to learn: %zu lessons too long, %zu without a token to learn", cli->args[0], d->dropped,
                       d->empty);
    if (code == KD_OK) summarize(l, d);
    kd_tokenizer_free(w.tokenizer);
    kd_chat_free(w.chat);
    return code;
}
